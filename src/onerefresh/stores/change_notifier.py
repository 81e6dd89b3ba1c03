"""Waiting for changes of many keys on one connection, which is open only while somebody waits.

Any problem of the connection ends the waits early, since a wake-up is only a hint; for a moment after it, all waits are
short, and no connection is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from onerefresh.locks import Lock
from onerefresh.pause import Wakeup, after
from onerefresh.real_time import monotonic
from onerefresh.store import POLL, reset_in_child
from onerefresh.stores.subscriber import CHANGED, Subscriber
from onerefresh.threads import Job, start

__all__ = ["ChangeNotifier", "Subscription"]

TURN = 0.05
"""Seconds that the listener listens before it checks whether there are more keys to listen to."""
LINGER = 0.25
"""Seconds for which it still listens to a key for which nobody waits any more: many renewals soon wait again."""


class Subscription(Protocol):
    """One connection on which the server announces changes. One thread uses it.

    `reusable`: once it is closed, its connection is available to those that were waiting.
    """

    reusable: bool

    def listen(self, keys: frozenset[str]) -> Mapping[str, str]:
        """Listen to exactly these keys from now on. On return, the server announces each later change of them.

        It may read the new ones once it listens, and return the versions that it saw ("" for no record).
        """

    def receive(self, seconds: float) -> Collection[str]:
        """The keys that were announced as changed, as soon as there are any; none after so many seconds."""

    def close(self) -> None:
        """Give the connection back."""


class ChangeNotifier:
    """Announces changes to any number of renewals, with one listener thread and one connection for all of them.

    `connect` opens a subscription; it and the subscription's methods may raise anything. `_lock` guards the waits and
    the choice of the listener.
    """

    def __init__(self, connect: Callable[[], Subscription]) -> None:
        self._connect = connect
        self._lock = Lock()
        self._waits: dict[str, _Waits] = {}
        self._listener: Job | None = None
        self._unreachable_until = 0.0  # on the monotonic clock
        reset_in_child(self)

    def subscribe(self, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup:
        """Call `wake` once `key` may not be at `version` any more.

        `since`: when the read that found this version began, on the monotonic clock. A change that came after it, or
        that may have come unnoticed because nothing listened yet, ends the wait at once.
        """
        if monotonic() < self._unreachable_until:
            return after(POLL)
        waiter: _Waiter | None = None
        try:
            with self._lock:
                waits = self._waits.setdefault(key, _Waits())
                waits.left_at = monotonic()
                if waits.listening and since <= waits.sure_since:
                    return CHANGED
                waiter = _Waiter(wake, waits, version)
                waits.waiters[waiter] = None
                if self._listener is None:
                    self._listener = start(self._listen, "onerefresh listener", daemon=True)
            return Wakeup(waiter.end)
        except BaseException as error:
            if waiter is not None:
                waiter.end()  # one that is left keeps the connection open
            if not isinstance(error, RuntimeError):
                raise
        return after(POLL)  # no thread can start any more: the interpreter ends, or the system is full

    def after_fork(self) -> None:
        """Forget the listener and its connection, which belong to the parent."""
        self._lock = Lock()
        self._waits, self._listener = {}, None

    # --- The listener's thread ---

    def _listen(self) -> None:
        subscription: Subscription | None = None
        last: Collection[_Waiter] = ()
        with self._lock:
            me = self._listener  # None in a forked child, which has a copy of its parent's greenlet
        try:
            subscription = self._connect()
            listening: frozenset[str] = frozenset()
            while True:
                if not (wanted := self._wanted(me)):
                    break
                news: Collection[str] = ()
                if wanted != listening:
                    news = self._now_listening(wanted, subscription.listen(wanted))
                    listening = wanted
                news = news or subscription.receive(TURN)
                if subscription.reusable and (last := self._last(me, news)):
                    break
                self._ring(news)
        except BaseException as error:  # whatever happens to it: those that wait read the record
            self._give_up(me)
            if not isinstance(error, Exception):
                raise
        finally:
            try:
                if subscription is not None:
                    _close(subscription)
            finally:
                for waiter in last:
                    waiter.ring()

    def _wanted(self, me: Job | None) -> frozenset[str]:
        """The keys to listen to. Where none is left, the listener is not this notifier's any more, and ends."""
        with self._lock:
            if me is None or self._listener is not me:
                return frozenset()  # in a forked child's copy, or after it gave up
            past = monotonic() - LINGER
            self._waits = {key: waits for key, waits in self._waits.items() if waits.waiters or waits.left_at > past}
            if not self._waits:
                self._listener = None
            return frozenset(self._waits)

    def _now_listening(self, keys: frozenset[str], seen: Mapping[str, str]) -> Collection[str]:
        """Note that the subscription listens; return the keys that may be at another version than is waited for."""
        news = set()
        with self._lock:
            for key in keys:
                if (waits := self._waits.get(key)) is None:
                    continue
                if not waits.listening:
                    waits.listening, waits.sure_since = True, monotonic()
                    if any(seen.get(key) != waiter.version for waiter in list(waits.waiters)):
                        news.add(key)
        return news

    def _last(self, me: Job | None, news: Collection[str]) -> Collection[_Waiter]:
        """All that wait, if they wait only for keys in the news: the listener then ends.

        They are woken once the subscription is closed, because they need its connection.
        """
        with self._lock:
            waiting = {key for key, waits in self._waits.items() if waits.waiters}
            if self._listener is not me or not waiting or not waiting.issubset(news):
                return ()
            waits, self._waits, self._listener = self._waits, {}, None
            return _waiters_of(waits.values())

    def _ring(self, keys: Collection[str]) -> None:
        """Wake all that wait for these keys."""
        with self._lock:
            changed = [waits for key in keys if (waits := self._waits.get(key)) is not None]
            woken = _waiters_of(changed)
            for waits in changed:
                waits.sure_since = monotonic()
        for waiter in woken:
            waiter.ring()

    def _give_up(self, me: Job | None) -> None:
        """Wake all that wait. For a while, they have to read the record by themselves."""
        with self._lock:
            if me is None or self._listener is not me:
                return
            waits, self._waits, self._listener = self._waits, {}, None
            self._unreachable_until = monotonic() + POLL
        for waiter in _waiters_of(waits.values()):
            waiter.ring()


class _Waits:
    """All that wait for one key.

    * `listening`: the subscription is known to announce its changes.
    * `sure_since`: a read that began later has seen each change that was announced so far.
    * `left_at`: when somebody last stopped waiting.
    """

    def __init__(self) -> None:
        self.waiters: dict[_Waiter, None] = {}
        self.listening, self.sure_since = False, 0.0
        self.left_at = monotonic()


class _Waiter(Subscriber):
    """One that waits; see `ChangeNotifier.subscribe`."""

    __slots__ = ("_waits", "version")

    def __init__(self, wake: Callable[[], object], waits: _Waits, version: str) -> None:
        super().__init__(wake, waits.waiters)
        self._waits, self.version = waits, version

    def ring(self) -> None:
        self._waits.left_at = monotonic()
        super().ring()

    def end(self) -> None:
        self._waits.left_at = monotonic()
        super().end()


def _waiters_of(all_waits: Iterable[_Waits]) -> list[_Waiter]:
    return [waiter for waits in all_waits for waiter in list(waits.waiters)]


def _close(subscription: Subscription) -> None:
    try:
        subscription.close()
    except Exception:  # noqa: BLE001 - it was of no use any more
        return
