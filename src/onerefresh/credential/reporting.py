"""What client integrations tell a credential of its API's answers, and ask it of them."""

from __future__ import annotations

from onerefresh.credential.session_commands import SessionCommands
from onerefresh.credential.targets import Takers
from onerefresh.damping import Target, print_of
from onerefresh.renewal import commands
from onerefresh.telling import shown_host
from onerefresh.token import Token
from onerefresh.user_code import asks_itself, runs_user_code

__all__ = ["Reporting"]


class Reporting(SessionCommands):
    """What a client integration uses beside the token itself."""

    __slots__ = ()

    @property
    def unproven(self) -> Token | None:
        """The present token, if it was just refreshed and no call has succeeded with it yet; else None."""
        return self._memory.acceptance.unproven

    @property
    def asked_by_refresher(self) -> bool:
        """Whether this very credential's refresher is running here, so that a call would wait for itself."""
        return runs_user_code() and asks_itself(self._memory.store, self.key)

    @property
    def host(self) -> str | None:
        """The token endpoint's host and port, if the refresher states it, as events name it."""
        return shown_host(self._options.refresher)

    @property
    def takers(self) -> Takers | None:
        """The targets that are known to have accepted the present token."""
        return self._memory.takers

    def accepted(self, token: Token, target: Target) -> None:
        """Remember that `target` has accepted `token`. Does not block.

        If it refuses the same token later, the token has ended.
        """
        memory = self._memory
        if memory.acceptance.unproven is token:
            self.replayed(token, accepted=True, target=target)
        memory.accepted(token, target)

    def replayed(self, token: Token, *, accepted: bool, target: Target | None = None) -> None:
        """Report whether the API accepted a call that was replayed with `token`. Does not block.

        A token that is refused although it was just refreshed is not refreshed again for a while, by any process that
        shares the credential. An accepted one ends this. `target`: the origin and the path of the call, where they are
        known: a target that accepts calls ends it for itself alone.
        """
        if self._memory.replayed(token, accepted=accepted, target=target):
            request = self._launcher.request()
            where = "" if target is None else print_of(target, self.key)
            self._launcher.run_command(
                lambda world: commands.report_replay(world, token.identity, request, accepted=accepted, target=where),
                None,
                moves=False,
            )
