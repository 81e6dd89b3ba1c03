"""Which of many records are due or in trouble: pure, except for the function that gives a key's options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onerefresh import errors
from onerefresh.credential.first_token import raised_by
from onerefresh.credential.options import CredentialOptions
from onerefresh.credentials.summary import Result, What
from onerefresh.failure import Failure
from onerefresh.foreign import cleaned
from onerefresh.policy import due_at, thresholds
from onerefresh.record import Record, State
from onerefresh.record_text import decode
from onerefresh.refresher import endpoint_of
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.reports import moved
from onerefresh.renewal.request import UNSTATED
from onerefresh.renewal.sights import dated_by_store
from onerefresh.renewal.token_clocks import skew_here
from onerefresh.store import Versioned
from onerefresh.this_process import machine

__all__ = ["NO_IDENTITY", "Due", "DueFilter", "Other", "error_of", "what_of"]

NO_IDENTITY = (
    "this refresher does not state whose tokens it refreshes (a TokenEndpoint does, with its `identity`), and a "
    "refresh token must never be sent to a foreign endpoint: pass the keys yourself with keys="
)
"""Why the records of a store cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Due:
    """The credential `key` is to be refreshed.

    * `identity`: that of its present token.
    * `endpoint`: its token endpoint's host and client, where its refresher states them.
    * `failed`: its last refresh failed.
    """

    key: str
    identity: tuple[str, int]
    endpoint: tuple[str, str | None] | None = None
    failed: bool = False

    @property
    def host(self) -> str | None:
        """The token endpoint's host."""
        return self.endpoint[0] if self.endpoint is not None else None


class Other:
    """The record belongs to another refresher."""


@dataclass(frozen=True, slots=True)
class DueFilter:
    """What is looked for.

    * `within`, `unused_for`: as for `policy.due_at`.
    * `named`: the keys were given, so each belongs here; one without a record is in trouble.
    * `gives_first`: there may be a first token for a key without a record: who refreshes it looks that up.
    """

    within: float | None
    named: bool
    terms_of: Callable[[str], CredentialOptions]
    gives_first: bool
    unused_for: float | None = None

    def judge(
        self, key: str, found: Versioned | errors.OnerefreshError | None, now: Instant
    ) -> Due | Result | Other | None:
        """What is to be done about a record, or why nothing can be; None: nothing."""
        if isinstance(found, errors.OnerefreshError):
            unreadable = isinstance(found, errors.StoreUnavailable)
            return Result(key, What.UNREADABLE if unreadable else What.FAILED, found)
        try:
            record = None if found is None else dated_by_store(cleaned(decode(found.body, key)), now)
        except errors.StoreUnavailable as error:
            return Result(key, What.UNREADABLE, error_of(error))
        try:
            return self._judge(key, record, now)
        except _NotOurs:
            return Other()
        except errors.OnerefreshError as error:
            return Result(key, What.FAILED, error_of(error.about(key)))
        except Exception as error:  # noqa: BLE001 - one tenant's refresher may raise anything, and the others go on
            return Result(key, What.FAILED, raised_by("an attribute of its refresher", key, error))

    def _judge(self, key: str, record: Record | None, now: Instant) -> Due | Result | Other | None:
        if record is None or record.state is State.EMPTY:
            return self._begin(key, record) if self.named else None
        origin = record.lease.origin if record.state is State.LEASED and record.lease else record.state
        dead = origin is State.DEAD
        if not dead and not self._is_due(record, now.wall - skew_here(record, now, machine())):
            return None
        options = self._options(key)
        if not self.named and options.owner is None and record.owner in (None, UNSTATED):
            raise errors.ConfigurationError(NO_IDENTITY)
        if not self.named and record.owner != options.owner:
            return Other()
        if dead and options.obtain is None:
            message = record.failure.detail if record.failure else "it was ended"
            login = errors.LoginRequired(f"the session is over, log in again: {message}", credential=key)
            return Result(key, What.NEEDS_LOGIN, login.about(key, record.generation))
        failure = record.failure
        if failure is not None and options.must_rest(record, now.wall):
            return Result(key, what_of(failure), failure.verdict(now.wall).error().about(key, record.generation))
        return Due(key, record.identity, endpoint_of(options.refresher), failure is not None)

    def _is_due(self, record: Record, now: float) -> bool:
        """Whether the record's token is due. `now`: by the clock by which the token is dated."""
        token = record.token
        if token is None:
            return False
        due = due_at(token, self.within, self.unused_for)
        return now >= (due if self.within is None else min(due, thresholds(token, 0.0).unusable_at))

    def _begin(self, key: str, record: Record | None) -> Due | Result:
        """A named key without a session: it is due where there may be a first token, or one can be obtained."""
        if record is not None and record.moved_to is not None:
            raise moved(record)
        logged_out = record is not None and record.is_logged_out
        if not logged_out and ((options := self._options(key)).obtain is not None or self.gives_first):
            return Due(key, ("", 0) if record is None else record.identity, endpoint_of(options.refresher))
        message = "logged out: log in again" if logged_out else "there is no token yet: log in"
        return Result(key, What.NEEDS_LOGIN, errors.LoginRequired(message, credential=key))

    def _options(self, key: str) -> CredentialOptions:
        try:
            return self.terms_of(key)
        except errors.OnerefreshError:
            raise
        except LookupError as error:
            if not self.named:
                raise _NotOurs from None  # `refresher_for` does not know it: a tenant of another kind
            failed = raised_by("refresher_for", key, error)
        except Exception as error:  # noqa: BLE001 - whatever `refresher_for` raises, the others go on
            failed = raised_by("refresher_for", key, error)
        raise failed


def what_of(failure: Failure) -> What:
    """The result for a credential whose last refresh failed in this way."""
    return What.NEEDS_LOGIN if failure.is_doubtful else What.FAILED


class _NotOurs(Exception):
    """The key is no tenant of this kind."""


def error_of(error: errors.OnerefreshError) -> errors.OnerefreshError:
    """The error without its traceback, which would keep everything in its frames alive."""
    return error.with_traceback(None)
