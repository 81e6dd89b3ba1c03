"""A secret of the client's: given once, or by a function that is called again, since such a secret may change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeAlias

from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.client_auth import checked_secret
from onerefresh.real_time import monotonic
from onerefresh.redaction import Redactor
from onerefresh.secret import Secret

__all__ = ["Given", "SecretValue"]

LOOK_AGAIN = 30.0
"""Seconds between two requests for a secret that the server has refused."""

Given: TypeAlias = str | Secret | Callable[[], str | Secret]
"""What a user may give for a secret."""


class SecretValue:
    """One secret, called `what` in errors.

    Raises `ConfigurationError` for a secret that no request can carry.
    """

    def __init__(self, given: Given, what: str) -> None:
        given = Secret(given) if isinstance(given, str) else given  # first, so that no traceback shows it
        self._what = what
        self._source = given if callable(given) else None
        self._value = checked_secret(given, what) if self._source is None else None
        self._old: Secret | None = None
        self._looks_at = 0.0  # on the monotonic clock

    @property
    def known(self) -> list[Secret]:
        """The secret and the one before it, as far as they are known: no text may show them."""
        return [secret for secret in (self._value, self._old) if secret is not None]

    @property
    def value(self) -> Secret | None:
        """The secret, where it is known."""
        return self._value

    def ask(self, hidden: Redactor) -> None:
        """Call the function, where there is one. Raises `ConfigurationError` where it fails."""
        if self._source is not None:
            self._value = self._asked(hidden)
            self._looks_at = monotonic() + LOOK_AGAIN

    def look(self, hidden: Redactor) -> Secret | None:
        """The secret as far as it is known, asked for again half a minute after the last time."""
        if self._source is not None and monotonic() >= self._looks_at:
            self._looks_at = monotonic() + LOOK_AGAIN
            with contextlib.suppress(ConfigurationError):  # the next renewal reports it
                self._value = self._asked(hidden)
        return self._value

    def current(self, hidden: Redactor) -> Secret:
        """The secret for one request, read once: another thread may reset it after a refusal."""
        value = self._value
        if value is None:
            value = self._value = self._asked(hidden)
        return value

    def refused(self) -> None:
        """Note that the server has refused the secret: it is asked for again, since it may have been changed."""
        if self._source is not None:
            self._old = self._value or self._old
            self._value, self._looks_at = None, 0.0

    def _asked(self, hidden: Redactor) -> Secret:
        assert self._source is not None
        try:
            return checked_secret(self._source(), f"what the {self._what} function returned")
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it raises, nothing was sent and the developer must act
            # A missing file or variable is quoted. The text of any other exception could hold the secret.
            words = hidden.quote(str(error)) if isinstance(error, (OSError, KeyError)) else ""
            reason = f": {words}" if words else ""
            failed = f"the {self._what} function raised {type(error).__name__}{reason}; nothing was sent"
        raise ConfigurationError(failed)
