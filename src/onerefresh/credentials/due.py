"""Refreshing what is due, with limits on the rate and on concurrency; no failure stops the rest."""

from __future__ import annotations

import math
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from onerefresh import errors
from onerefresh.chance import CHANCE
from onerefresh.circuit import circuits
from onerefresh.credential.first_token import raised_by
from onerefresh.credentials.due_filter import Due, DueFilter, Other, error_of, what_of
from onerefresh.credentials.due_records import DueRecords, Found
from onerefresh.credentials.host_answers import HostAnswers
from onerefresh.credentials.summary import Result, Summary, Tally, What
from onerefresh.credentials.tenant import Tenant
from onerefresh.flight import Flight
from onerefresh.real_time import monotonic
from onerefresh.record import State
from onerefresh.renewal.attempt import Outcome
from onerefresh.store import Store

__all__ = ["Progress", "Run"]

Progress = Callable[[Result, Summary], object]

AHEAD = 100
"""Due credentials that are gathered before the first is refreshed.

They are then refreshed in random order, so that workers do not run in step.
"""
TRIES = 3
SLOW = 5.0
"""Seconds after which a renewal that is under way no longer counts for `at_once`."""
MOST_SLOW = 3
"""So many times `at_once` are such renewals at most."""
SOON = 0.1
"""Seconds within which a host's first renewal is to end; then the host gets a few others before it has answered.

Four threads start at once, and others only while the processor has time to spare. The first renewals of one host that
hangs would take all four.
"""
SLICE = 0.1
"""Seconds between two checks of whether the run has to stop."""


@dataclass(slots=True)
class _UnderWay:
    due: Due
    ours: bool
    begun: float
    tries: int


class Run:
    """One run over many credentials, on the thread that calls it.

    Credentials whose last refresh failed come last, and so do those of hosts that do not answer (`HostAnswers`).

    * `reads`: where records are read, which may be `store` and the one from which credentials are moved to it.
    * `rate`: how many renewals begin each second at most. `at_once`: how many are under way at most, beside those that
      take longer than `SLOW` seconds.
    * `max_wait`: seconds after which the run does not wait for a renewal any longer.
    * `loop`: the event loop of async refreshers.
    * `check`: called now and then; raises where the run has to stop.
    """

    def __init__(
        self,
        store: Store,
        reads: Store,
        horizon: DueFilter,
        tenant_of: Callable[[str], Tenant],
        *,
        rate: float | None,
        at_once: int,
        max_wait: float,
        loop: object,
        progress: Progress | None,
        check: Callable[[], None],
    ) -> None:
        self._records, self._horizon, self._tenant_of = DueRecords(store, reads, check), horizon, tenant_of
        self._pause = 1.0 / rate if rate else 0.0
        self._at_once, self._max_wait, self._loop = at_once, max_wait, loop
        self._progress, self._check = progress, check
        self._tally = Tally()
        self._under_way: dict[Flight[Outcome], _UnderWay] = {}
        self._settled: queue.SimpleQueue[Flight[Outcome]] = queue.SimpleQueue()
        self._again: deque[tuple[Due, int]] = deque()
        self._hosts = HostAnswers()
        self._first: deque[tuple[float, str]] = deque()  # until when each host's first renewal is to end
        self._held: dict[str | None, deque[tuple[Due, int]]] = {}  # by host, until that host has answered
        self._next_at = 0.0

    def over(self, keys: Iterable[str] | None) -> Summary:
        """Refresh what is due of these keys, or of all records.

        Raises `StoreUnavailable` where they cannot be listed.
        """
        try:
            return self._over(keys)
        finally:
            self._records.end()

    def _over(self, keys: Iterable[str] | None) -> Summary:
        source = self._due(self._records.all() if keys is None else self._records.named(keys))
        waiting: dict[str, Due] = {}
        ended = False
        while not ended:
            waiting.clear()
            while len(waiting) < AHEAD and not ended:
                due = next(source, None)
                ended = due is None
                if due is not None:
                    waiting[due.key] = due
            together = list(waiting.values())
            CHANCE.shuffle(together)
            together.sort(key=lambda due: due.failed)
            for due in together:
                self._take_in(0.0)  # without a wait: a host that has answered goes on before all records are read
                self._begin(due)
                self._begin_again()
        while self._under_way or self._again:
            self._begin_again()
            if self._under_way:
                self._take_in(SLICE)
        return self._tally.summary()

    def _begin_again(self) -> None:
        while self._again:
            self._begin(*self._again.popleft())

    # --- Finding what is due ---

    def _due(self, records: Iterable[Found]) -> Iterator[Due]:
        """The credentials that are due. Those in trouble are reported at once."""
        for key, found in records:
            self._check()
            self._tally.looked_at += 1
            match self._horizon.judge(key, found, self._records.now()):
                case Due() as due:
                    yield due
                case Result() as result:
                    self._report(result)
                case Other():
                    self._tally.others += 1

    # --- Refreshing ---

    def _begin(self, due: Due, tries: int = 1) -> None:
        """Begin a renewal once there is room for it, or keep it until its host has answered another one."""
        while not self._hosts.is_silent(due.host) and self._hosts.may_begin(due.host) and self._is_full():
            self._take_in(SLICE)
        if self._hosts.is_silent(due.host):
            message = f"not tried: {due.host} has not answered others; the next run tries it"
            self._report(Result(due.key, What.POSTPONED, errors.RefreshUnavailable(message, credential=due.key)))
        elif not self._hosts.may_begin(due.host):
            self._held.setdefault(due.host, deque()).append((due, tries))
        elif not self._begin_now(due, tries):
            self._go_on_with(due.host)

    def _is_full(self) -> bool:
        slow_since = monotonic() - SLOW
        active = sum(one.begun > slow_since for one in self._under_way.values())
        return active >= self._at_once or len(self._under_way) >= self._at_once * (1 + MOST_SLOW)

    def _begin_now(self, due: Due, tries: int) -> bool:
        """Begin a renewal as soon as the rate allows it; whether one is under way that was not before."""
        while (left := self._next_at - monotonic()) > 0.0:
            self._take_in(min(left, SLICE))
        self._check()
        if self._is_done(due):
            self._report(Result(due.key, What.ADOPTED))  # not counted for the rate: workers share the work
            return False
        self._next_at = max(self._next_at, monotonic()) + self._pause
        try:
            flight, ours = self._tenant_of(due.key).renew_ahead(
                self._horizon.within, self._loop, self._horizon.unused_for
            )
        except errors.OnerefreshError as error:
            self._report(Result(due.key, What.FAILED, error_of(error)))
            return False
        except Exception as error:  # noqa: BLE001 - whatever they raise, the others go on
            self._report(Result(due.key, What.FAILED, raised_by("refresher_for", due.key, error)))
            return False
        if flight in self._under_way:
            return False  # the key was given twice
        self._under_way[flight] = _UnderWay(due, ours, monotonic(), tries)
        if self._hosts.begins(due.host) and due.host is not None:
            self._first.append((monotonic() + SOON, due.host))
        flight.when_settled(lambda: self._settled.put(flight))
        return True

    def _is_done(self, due: Due) -> bool:
        """Whether another process has refreshed it since it was read."""
        try:
            record = self._records.record(due.key)
        except errors.StoreUnavailable:
            return False  # the renewal will report that in its own words
        return record is not None and record.identity != due.identity

    def _take_in(self, seconds: float) -> None:
        """Take in a renewal that has settled, after a wait of at most so many seconds."""
        self._check()
        while self._first and self._first[0][0] <= monotonic():
            _, host = self._first.popleft()
            self._hosts.takes_long(host)
            self._go_on_with(host)
        try:
            flight = self._settled.get(timeout=seconds)
        except queue.Empty:
            self._give_up()
            return
        one = self._under_way.pop(flight, None)
        if one is not None:
            self._finish(flight, one)

    def _give_up(self) -> None:
        """Stop waiting for renewals that have taken too long; they go on by themselves."""
        now = monotonic()
        for flight, one in list(self._under_way.items()):
            if now >= one.begun + self._max_wait:
                del self._under_way[flight]
                message = f"max_wait is over and the refresh has not finished: {flight.phase}"
                self._report(Result(one.due.key, What.FAILED, errors.WaitTimeout(message, credential=one.due.key)))
                self._ends(one.due, answered=None if flight.looks_up else False)  # a lookup asks no host

    def _ends(self, due: Due, *, answered: bool | None) -> None:
        """Note what a renewal says about its host, and go on with those that were kept for that."""
        self._hosts.ends(due.host, answered=answered)
        self._go_on_with(due.host)

    def _go_on_with(self, host: str | None) -> None:
        """Let those go on that were kept for this host: as many as may begin there, or all where it is left alone.

        Others stay where they are: with each of a hundred thousand that ends, all others would be moved.
        """
        held = self._held.get(host)
        room = math.inf if self._hosts.is_silent(host) else self._hosts.room(host)
        while held and room > 0:
            self._again.append(held.popleft())
            room -= 1
        if not held:
            self._held.pop(host, None)

    def _answered(self, due: Due, result: Result) -> bool | None:
        """Whether the token endpoint has answered this renewal; None where that is not known."""
        match result.error:
            case None | errors.LoginRequired() | errors.InteractionRequired():
                return True
            case errors.ClientRejected() | errors.RequestRejected() | errors.RefreshProtocolError():
                return True
            case errors.RefreshOutcomeUnknown():
                return False
            case errors.RefreshUnavailable() if due.endpoint is not None and circuits.leaves_alone(due.endpoint):
                return False  # others have found that out
            case errors.RefreshUnavailable():  # without a failure in the record, nothing was sent
                try:
                    record = self._records.record(result.key)
                except errors.StoreUnavailable:
                    return None
                return None if record is None or record.failure is None else False
            case _:
                return None

    def _finish(self, flight: Flight[Outcome], one: _UnderWay) -> None:
        key, result = one.due.key, None
        try:
            outcome = flight.result()
        except (errors.LoginRequired, errors.InteractionRequired) as error:
            result = Result(key, What.NEEDS_LOGIN, error_of(error))
        except errors.OnerefreshError as error:
            result = Result(key, What.FAILED, error_of(error))
        else:
            if outcome.token.identity != one.due.identity:
                result = Result(key, What.REFRESHED if one.ours and outcome.renewed else What.ADOPTED)
            elif not one.ours and one.tries < TRIES:
                self._again.append((one.due, one.tries + 1))  # the present token was enough for its caller
            else:
                result = self._left_alone(key)
        if result is not None:
            self._report(result)
        self._ends(one.due, answered=None if result is None else self._answered(one.due, result))

    def _left_alone(self, key: str) -> Result:
        """The result where nothing was renewed although the token is due: the record says why."""
        try:
            record = self._records.record(key)
        except errors.StoreUnavailable as error:
            return Result(key, What.FAILED, error_of(error))
        failure = record.failure if record is not None else None
        if record is None or failure is None:
            message = (
                "it was not refreshed because it was in use, was not due any more, or had been refreshed too often "
                "recently"
            )
            return Result(key, What.FAILED, errors.RefreshUnavailable(message, credential=key))
        if record.state is State.DEAD:
            login = errors.LoginRequired(f"the session is over, log in again: {failure.detail}", credential=key)
            return Result(key, What.NEEDS_LOGIN, login.about(key, record.generation))
        return Result(key, what_of(failure), failure.verdict(time.time()).error().about(key, record.generation))

    def _report(self, result: Result) -> None:
        self._tally.add(result)
        if self._progress is not None:
            self._progress(result, self._tally.summary())
