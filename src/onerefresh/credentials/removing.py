"""Removing a tenant that is gone: `delete` ends its session, and `purge` removes what is left of it."""

from __future__ import annotations

import abc
from typing import TypeVar

from onerefresh import errors
from onerefresh.credential.arguments import check_key
from onerefresh.credential.context_managed import ContextManaged
from onerefresh.credential.options import CredentialOptions
from onerefresh.credentials.lru import LruWithWeakTail
from onerefresh.credentials.tenant import Tenant
from onerefresh.flight import Flight
from onerefresh.renewal.revocation import LoggedOut
from onerefresh.store import Store

__all__ = ["Removing"]

T = TypeVar("T")


class Removing(ContextManaged):
    """The methods of `Credentials` that remove a tenant."""

    _options: CredentialOptions
    _store: Store
    _recent: LruWithWeakTail[Tenant]

    def purge(self, key: str) -> None:
        """Remove what `delete` has left of a tenant: the record with the name, the client and the times.

        As long as that record is there, no process can bring the tenant back. Afterwards, a process that still has a
        token of the tenant in memory would store it again. So call this when all such processes have ended. Nothing
        happens if there is no record.

        Raises `ConfigurationError` where the tenant was not deleted, and where the store cannot remove records;
        `StoreUnavailable`, and `WaitTimeout` after `max_wait`.
        """
        self._removed(key, self._tenant_that_is_gone(key).purge_record(), "removing what is left of it")

    async def apurge(self, key: str) -> None:
        """As `purge`, for tasks."""
        await self._aremoved(key, self._tenant_that_is_gone(key).purge_record(), "removing what is left of it")

    def delete(self, key: str) -> LoggedOut:
        """End the session of a tenant that is gone, here and in the store, and delete its spooled tokens on this host.

        A record without tokens remains, so that no process that still knows a token can restore it. A record that
        cannot be read is replaced as well: one that is damaged, or was encrypted with a key that is lost. The token is
        revoked where the `refresher` of all can do that, as at a logout, and the result says whether the server has
        done so. Raises `StoreUnavailable`, and `WaitTimeout` after `max_wait`.
        """
        return self._removed(key, self._tenant_that_is_gone(key).delete(), "emptying its record")

    async def adelete(self, key: str) -> LoggedOut:
        """As `delete`, for tasks."""
        return await self._aremoved(key, self._tenant_that_is_gone(key).delete(), "emptying its record")

    @abc.abstractmethod
    def _check_open(self) -> None:
        """Raise `CredentialClosed` where these credentials were closed."""

    def _tenant_that_is_gone(self, key: str) -> Tenant:
        """The credential of a tenant for whom neither `refresher_for` nor `token_for` is asked."""
        self._check_open()
        check_key(key)
        tenant = self._recent.peek(key)
        return tenant if tenant is not None and not tenant.is_closed else Tenant(key, self._options, self._store)

    def _removed(self, key: str, flight: Flight[T], what: str) -> T:
        """Wait for the end of `flight`, which removes a tenant."""
        if not flight.wait(self._options.max_wait):
            raise _too_late(key, what)
        found = flight.result()
        self._recent.release(key)
        return found

    async def _aremoved(self, key: str, flight: Flight[T], what: str) -> T:
        """As `_removed`, for tasks."""
        if not await flight.wait_async(self._options.max_wait):
            raise _too_late(key, what)
        found = flight.result()
        self._recent.release(key)
        return found


def _too_late(key: str, what: str) -> errors.WaitTimeout:
    return errors.WaitTimeout(f"max_wait is over and {what} has not finished", credential=key)
