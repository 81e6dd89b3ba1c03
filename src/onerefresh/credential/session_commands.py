"""What a person or a program does with a session as a whole: it logs in and out, asks for its state, adopts it."""

from __future__ import annotations

from onerefresh.credential.arguments import seed_from
from onerefresh.credential.commanding import Commanding
from onerefresh.credential.status import Status
from onerefresh.credential.waiting import LOOK
from onerefresh.renewal.revocation import LoggedOut
from onerefresh.token import Answer, Token

__all__ = ["SessionCommands"]


class SessionCommands(Commanding):
    """The public commands beside the token itself. Each starts a flight, and waits for it."""

    __slots__ = ()

    def login(self, answer: Answer | None = None) -> Token:
        """Start a new session and return its token.

        `answer`: a token response or a `Token` as for ``token=``; None: ``obtain=`` gets one. It replaces the stored
        session, for every process that shares the store. If it is the stored token itself, nothing changes. For tokens
        that a newer session may have replaced, use ``token=`` or ``token_for=`` instead.

        Raises `ConfigurationError` for an `answer` without a usable token, and if there is neither `answer` nor
        ``obtain=``; also, without any change, for a refresh token that was exchanged for a newer one already, if the
        server rotates refresh tokens. Raises `SaveFailed` where ``save`` fails, and `WaitTimeout` where the login takes
        longer than `max_wait`.
        """
        try:
            token = seed_from(answer, "login()", self._options.bearer_field, self._options.refresher, new=True)
        finally:
            del answer  # it holds tokens, as in the constructor
        return self._result(self._log_in(token, blocking=True), "the login").token

    async def alogin(self, answer: Answer | None = None) -> Token:
        """As `login`, for tasks."""
        try:
            token = seed_from(answer, "login()", self._options.bearer_field, self._options.refresher, new=True)
        finally:
            del answer  # it holds tokens, as in the constructor
        return (await self._aresult(self._log_in(token, blocking=False), "the login")).token

    def logout(self) -> LoggedOut:
        """Forget the session, in this process and in the store, and revoke its token where the refresher can do that.

        Returns whether the server has revoked it; the logout is done in any case. A refresh under way can no longer
        save its token. Raises `StoreUnavailable`, and `WaitTimeout`.
        """
        return self._result(self._log_out(), "the logout")

    async def alogout(self) -> LoggedOut:
        """As `logout`, for tasks."""
        return await self._aresult(self._log_out(), "the logout")

    def status(self) -> Status:
        """Return what the store knows of this credential; nothing is refreshed. Raises `StoreUnavailable`."""
        return self._result(self._look_at(), LOOK)

    async def astatus(self) -> Status:
        """As `status`, for tasks."""
        return await self._aresult(self._look_at(), LOOK)

    def purge(self) -> None:
        """Remove the record that a logout has left, with the credential's name and all times, from the store.

        As long as that record is there, no process can bring the session back. Afterwards, a process that still has the
        token in memory would store it again. So call this when all such processes have ended.

        Raises `ConfigurationError` where there is still a session, and where the store cannot remove records;
        `StoreUnavailable`, and `WaitTimeout`.
        """
        self._result(self._purge(), LOOK)

    async def apurge(self) -> None:
        """As `purge`, for tasks."""
        await self._aresult(self._purge(), LOOK)

    def adopt(self) -> str | None:
        """Make the stored token this refresher's, whoever stored it; return the earlier owner.

        Returns None where there was nothing to do. From then on the refresh token is sent to this refresher's server.
        Raises `ConfigurationError` where the refresher states no ``identity``.
        """
        return self._result(self._adopt(), LOOK)

    async def aadopt(self) -> str | None:
        """As `adopt`, for tasks."""
        return await self._aresult(self._adopt(), LOOK)
