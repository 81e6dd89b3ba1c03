"""One of many credentials, with what only `Credentials` does with it."""

from __future__ import annotations

from onerefresh.credential.credential import Credential
from onerefresh.credential.first_token import FirstToken
from onerefresh.credential.options import CredentialOptions
from onerefresh.flight import Flight
from onerefresh.policy import FOR_GOOD
from onerefresh.renewal import removal
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.request import Ahead
from onerefresh.renewal.revocation import LoggedOut
from onerefresh.renewal.world import World
from onerefresh.store import Store

__all__ = ["Tenant"]


class Tenant(Credential):
    """A `Credential` whose options are checked already, and whose store others use, too."""

    __slots__ = ()
    _called = "Credential"

    def __init__(self, key: str, options: CredentialOptions, store: Store, first: FirstToken | None = None) -> None:
        self._begin(key, options, store, first)

    @property
    def options(self) -> CredentialOptions:
        return self._options

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def flights(self) -> list[Flight[Outcome]]:
        """The renewals under way."""
        return self._memory.flights

    def refuse_to_block(self, loop: object) -> None:
        """Raise `ConfigurationError` where a wait for code on `loop` would block this very loop."""
        self._check_caller(blocking=True, loop=loop)

    def renew_ahead(
        self, within: float | None, loop: object, unused_for: float | None = None
    ) -> tuple[Flight[Outcome], bool]:
        """The flight that renews the token if it ends `within` so many seconds; whether it began with this call.

        `unused_for`: also if its refresh token was not used for so many seconds. `loop`: the event loop on which async
        functions run, where the options have none.
        """
        self._check_open()
        self._check_caller(blocking=False, loop=None)
        # A hundred years are more than any token lives. More than that is for `retry()`, which says so in the history.
        ahead = Ahead(None if within is None else min(within, FOR_GOOD), unused_for)
        return self._ahead(ahead, loop if self._options.loop is None else self._options.loop)

    def delete(self) -> Flight[LoggedOut]:
        """Empty the record, whatever is in it, and forget the token."""

        async def work(world: World) -> LoggedOut:
            return await removal.delete(world, self._launcher.request(), self._launcher.there, self._memory.forget)

        return self._launcher.run_command(work, None, moves=False, asks=False)

    def purge_record(self) -> Flight[None]:
        """Remove the emptied record, and forget that it was there."""
        return self._purge()

    def shut(self) -> None:
        """Refuse further calls; a renewal under way goes on."""
        self._closed = True

    def release(self) -> None:
        """Forget the token."""
        self._release_all()
