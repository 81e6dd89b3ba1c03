"""The run of a move in one of its two stores: it sends nothing, and knows nothing beside the store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from onerefresh import errors
from onerefresh.policy import recovery_time
from onerefresh.record import Record
from onerefresh.renewal.clocks import Sent
from onerefresh.renewal.known import Known
from onerefresh.run import Resumable, Run
from onerefresh.store import Store, is_shared
from onerefresh.token import Token

__all__ = ["MoveRun"]


class MoveRun(Run):
    """The run of a move in `store`.

    * `caller`: the renewal or command that needs the credential moved, where there is one.
    * `goes_on`: whether to go on; a wait ends otherwise.
    """

    def __init__(self, store: Store, *, caller: Run | None = None, goes_on: Callable[[], bool] | None = None) -> None:
        self._store, self._caller, self._goes_on = store, caller, goes_on

    def tokens(self) -> Iterable[Token | None]:
        return self._caller.tokens() if self._caller is not None else ()

    def known(self) -> Known:
        may_go_back = self._store.may_go_back
        recovery = recovery_time(may_go_back=may_go_back) if is_shared(self._store) else 0.0
        return Known(may_go_back=may_go_back, recovery=recovery)

    def learn(self, record: Record, skew: float) -> None:
        """Do nothing: the renewal learns what the target has."""

    def is_under_way(self, identity: tuple[str, int]) -> bool:
        return False

    @property
    def has_waiters(self) -> bool:
        return self._caller is not None and self._caller.has_waiters

    def go_on(self, key: str) -> None:
        if self._goes_on is not None and not self._goes_on():
            raise errors.CredentialClosed("the copy was stopped", credential=key)
        super().go_on(key)

    def report(self, phase: str) -> None:
        if self._caller is not None:
            self._caller.report(phase)

    def deliver(self, answer: object, unsaved: Token | None = None) -> None:
        """Do nothing: no caller waits for an answer of the move itself."""

    def defer(self, world: Resumable, rest: Coroutine[Any, Any, None]) -> None:
        rest.close()  # a move leaves nothing to be looked after

    def sending(self, ttl: float, claim: Sent | None) -> contextlib.AbstractContextManager[object]:
        raise NotImplementedError
