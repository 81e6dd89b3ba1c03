"""One of many credentials, and what only `Credentials` does with it."""

from __future__ import annotations

from onerefresh.credential.credential import Credential
from onerefresh.credential.terms import Terms
from onerefresh.flight import Flight
from onerefresh.renewal import commands
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.world import World
from onerefresh.store import Store

__all__ = ["Tenant"]


class Tenant(Credential):
    """A `Credential` whose terms were checked before, and whose store belongs to others too."""

    __slots__ = ()

    def __init__(self, key: str, terms: Terms, store: Store) -> None:
        self._begin(key, terms, store, None, owns_store=False)

    @property
    def terms(self) -> Terms:
        return self._terms

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def flight(self) -> Flight[Outcome] | None:
        """The renewal under way."""
        return self._flying()

    def refuse_to_block(self, home: object) -> None:
        """Raise `ConfigurationError` where a wait for what runs on the loop `home` would block this very loop."""
        self._check_caller(blocking=True, home=home)

    def renew_ahead(self, within: float, home: object) -> tuple[Flight[Outcome], bool]:
        """The flight that renews the token if it ends within so many seconds; whether it began with this call.

        `home`: the event loop on which async functions run, where there is none of the terms.
        """
        self._check_open()
        self._check_caller(blocking=False, home=None)
        return self._ahead(within, home if self._terms.loop is None else self._terms.loop)

    def delete(self) -> Flight[None]:
        """Empty the record, whatever is in it, and forget the token."""

        async def work(world: World) -> None:
            await commands.delete(world, self._launcher.request())
            self._shared.forget()

        return self._launcher.run_apart(work, None)

    def shut(self) -> None:
        """Refuse further calls; a renewal under way goes on."""
        self._closed = True

    def let_go(self) -> None:
        """Forget the token."""
        self._let_go()
