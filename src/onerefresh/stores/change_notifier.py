"""Waiting for the changes of many keys on one connection, which is open only while somebody waits.

Whatever goes wrong with the connection ends the wait early, after a short sleep: a wake-up is only a hint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from onerefresh.latches import Job, Latch, Lock, start
from onerefresh.store import POLL, reset_in_child

__all__ = ["ChangeNotifier", "Subscription"]

TURN = 0.05
"""Seconds that the listener listens before it looks whether others want to listen to more keys."""
LINGER = 0.25
"""Seconds for which it goes on listening to a key that nobody waits for: who looked at the record often comes back."""


class Subscription(Protocol):
    """One connection on which the server tells of changes. Used by one thread.

    `reusable`: once it is closed, its connection is at hand for those who were waiting.
    """

    reusable: bool

    def listen(self, keys: frozenset[str]) -> Mapping[str, str]:
        """Listen to exactly these keys from now on; on return the server tells of each change that is made after it.

        It may look at those that are new, once it listens, and give the versions that it saw ("" of no record).
        """

    def receive(self, seconds: float) -> Collection[str]:
        """The keys that were told to have changed, as soon as there are any, or none after so many seconds."""

    def close(self) -> None:
        """Give the connection back."""


class ChangeNotifier:
    """Lets any number of threads wait for changes, with one listener thread and one line for all of them.

    `connect` opens a line; it and the line's methods may raise anything.
    """

    def __init__(self, connect: Callable[[], Subscription]) -> None:
        self._connect = connect
        self._lock = Lock()
        self._waits: dict[str, _Waits] = {}
        self._listener: Job | None = None
        reset_in_child(self)

    def wait(self, key: str, version: str, seconds: float, changed: Callable[[], bool]) -> None:
        """Return when `key` is not at `version`, at the latest after `seconds`; early, too, if nothing can be heard.

        `changed` looks whether it is so already, and is called once the line listens: what happens from then on is
        heard. Where the line itself has looked it is not called, nor where it does not listen in time.
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
            self._leave(key, waiter)  # again, where an interrupt cut it short: the line stays open for whoever waits

    def after_fork(self) -> None:
        """The child has neither the listener nor its line; the parent's connection is left alone."""
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
        except BaseException as error:  # whatever happens to it: those who wait look for themselves
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
        """The keys to listen to. Where there is none any more the listener is no longer this store's."""
        with self._lock:
            if me is None or self._listener is not me:
                return frozenset()  # in a forked child's copy, or after it gave up
            past = time.monotonic() - LINGER
            self._waits = {key: waits for key, waits in self._waits.items() if waits.waiters or waits.left_at > past}
            if not self._waits:
                self._listener = None
            return frozenset(self._waits)

    def _tell_listening(self, keys: frozenset[str], seen: Mapping[str, str]) -> Collection[str]:
        """The keys that somebody waits for in vain: they are at another version already."""
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
        """All who wait, if they wait for nothing but what is in the news: the listener is not this store's any more.

        They are woken once the line is closed, because they need its connection.
        """
        with self._lock:
            waiting = {key for key, waits in self._waits.items() if waits.waiters}
            if self._listener is not me or not waiting or not waiting.issubset(news):
                return ()
            waits, self._waits, self._listener = self._waits, {}, None
            return [waiter for one in waits.values() for waiter in one.waiters]

    def _ring(self, keys: Collection[str]) -> None:
        with self._lock:
            for key in keys:
                if (waits := self._waits.get(key)) is not None:
                    for waiter in waits.waiters:
                        waiter.woken.set()

    def _give_up(self, me: Job | None) -> None:
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
    """One thread that waits.

    `version`: the one that it knows. `looked`: the subscription has seen whether there is another one already.
    `unreachable`: no change can be reported, so it must look by itself.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.looked = False
        self.listening = Latch()
        self.woken = Latch()
        self.unreachable = False


class _Waits:
    """Those who wait for one key. `listening`: the line is known to tell of it."""

    def __init__(self) -> None:
        self.waiters: set[_Waiter] = set()
        self.listening = False
        self.left_at = time.monotonic()


def _close(subscription: Subscription) -> None:
    try:
        subscription.close()
    except Exception:  # noqa: BLE001 - it was of no use any more
        return
