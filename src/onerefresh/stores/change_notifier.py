"""Waiting for changes of many keys on one connection, which is open only while some thread waits.

Any problem of the connection ends the wait early, after a short sleep, since a wake-up is only a hint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from onerefresh.latches import Latch
from onerefresh.locks import Lock
from onerefresh.store import POLL, reset_in_child
from onerefresh.threads import Job, start

__all__ = ["ChangeNotifier", "Subscription"]

TURN = 0.05
"""Seconds that the listener listens before it checks whether threads want to listen to more keys."""
LINGER = 0.25
"""Seconds for which it still listens to a key for which no thread waits: many threads read the record and come back."""


class Subscription(Protocol):
    """One connection on which the server announces changes. One thread uses it.

    `reusable`: once it is closed, its connection is available to the threads that were waiting.
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
    """Lets any number of threads wait for changes, with one listener thread and one connection for all of them.

    `connect` opens a subscription; it and the subscription's methods may raise anything. `_lock` guards the waits and
    the choice of the listener.
    """

    def __init__(self, connect: Callable[[], Subscription]) -> None:
        self._connect = connect
        self._lock = Lock()
        self._waits: dict[str, _Waits] = {}
        self._listener: Job | None = None
        reset_in_child(self)

    def wait(self, key: str, version: str, seconds: float, changed: Callable[[], bool]) -> None:
        """Wait until `key` is not at `version`, for at most `seconds`; shorter where no change can be received.

        `changed` checks whether it has changed already. It is called once the subscription listens, so that no later
        change is missed. It is not called where the subscription itself has read the record, or does not listen in
        time.
        """
        deadline = time.monotonic() + seconds
        waiter = _Waiter(version)
        try:
            try:
                try:
                    self._enter(key, waiter)
                except RuntimeError:  # no thread can start any more: the interpreter ends, or the system is full
                    waiter.unreachable = True
                    waiter.listening.set()
                if not waiter.listening.wait(seconds) or (not waiter.looked and changed()):
                    return
                left = max(deadline - time.monotonic(), 0.0)
                if waiter.unreachable:
                    time.sleep(min(left, POLL))
                else:
                    waiter.woken.wait(left)
            finally:
                self._leave(key, waiter)
        finally:
            self._leave(key, waiter)  # again, where an interrupt cut it short: a wait that is left keeps it open

    def after_fork(self) -> None:
        """Forget the listener and its connection, which belong to the parent."""
        self._lock = Lock()
        self._waits, self._listener = {}, None

    def _enter(self, key: str, waiter: _Waiter) -> None:
        with self._lock:
            waits = self._waits.setdefault(key, _Waits())
            waits.waiters.add(waiter)
            if waits.listening:
                waiter.listening.set()
            if self._listener is None:
                self._listener = start(self._listen, "onerefresh listener", daemon=True)

    def _leave(self, key: str, waiter: _Waiter) -> None:
        with self._lock:
            waits = self._waits.get(key)
            if waits is not None:
                waits.waiters.discard(waiter)
                waits.left_at = time.monotonic()

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
                    news = self._tell_listening(wanted, subscription.listen(wanted))
                    listening = wanted
                news = news or subscription.receive(TURN)
                if subscription.reusable and (last := self._last(me, news)):
                    break
                self._ring(news)
        except BaseException as error:  # whatever happens to it: the waiting threads read the record
            self._give_up(me)
            if not isinstance(error, Exception):
                raise
        finally:
            try:
                if subscription is not None:
                    _close(subscription)
            finally:
                for waiter in last:
                    waiter.woken.set()

    def _wanted(self, me: Job | None) -> frozenset[str]:
        """The keys to listen to. Where none is left, the listener is not this notifier's any more, and ends."""
        with self._lock:
            if me is None or self._listener is not me:
                return frozenset()  # in a forked child's copy, or after it gave up
            past = time.monotonic() - LINGER
            self._waits = {key: waits for key, waits in self._waits.items() if waits.waiters or waits.left_at > past}
            if not self._waits:
                self._listener = None
            return frozenset(self._waits)

    def _tell_listening(self, keys: frozenset[str], seen: Mapping[str, str]) -> Collection[str]:
        """Note that the subscription listens; return the keys that are at another version than a thread waits for."""
        news = set()
        with self._lock:
            for key in keys:
                if (waits := self._waits.get(key)) is not None:
                    waits.listening = True
                    for waiter in waits.waiters:
                        waiter.looked = key in seen
                        waiter.listening.set()
                        if seen.get(key, waiter.version) != waiter.version:
                            news.add(key)
        return news

    def _last(self, me: Job | None, news: Collection[str]) -> Collection[_Waiter]:
        """All waiting threads, if they wait only for keys in the news: the listener then ends.

        They are woken once the subscription is closed, because they need its connection.
        """
        with self._lock:
            waiting = {key for key, waits in self._waits.items() if waits.waiters}
            if self._listener is not me or not waiting or not waiting.issubset(news):
                return ()
            waits, self._waits, self._listener = self._waits, {}, None
            return [waiter for one in waits.values() for waiter in one.waiters]

    def _ring(self, keys: Collection[str]) -> None:
        """Wake all threads that wait for these keys."""
        with self._lock:
            for key in keys:
                if (waits := self._waits.get(key)) is not None:
                    for waiter in waits.waiters:
                        waiter.woken.set()

    def _give_up(self, me: Job | None) -> None:
        """Wake all waiting threads, which have to read the record by themselves."""
        with self._lock:
            if me is None or self._listener is not me:
                return
            waits, self._waits, self._listener = self._waits, {}, None
            for one in waits.values():
                for waiter in one.waiters:
                    waiter.unreachable = True
                    waiter.listening.set()
                    waiter.woken.set()


class _Waiter:
    """One waiting thread.

    * `version`: the version that it knows.
    * `looked`: the subscription has read whether there is another version already.
    * `unreachable`: no change can be received, so that the thread must read the record by itself.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.looked = False
        self.listening = Latch()
        self.woken = Latch()
        self.unreachable = False


class _Waits:
    """The threads that wait for one key. `listening`: the subscription is known to announce its changes."""

    def __init__(self) -> None:
        self.waiters: set[_Waiter] = set()
        self.listening = False
        self.left_at = time.monotonic()


def _close(subscription: Subscription) -> None:
    try:
        subscription.close()
    except Exception:  # noqa: BLE001 - it was of no use any more
        return
