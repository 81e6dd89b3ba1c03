"""A background thread for each store, which checks whether the store still has what this process knows.

A store may be emptied, restored from a backup, or replaced by a server that lacks the last writes. A process with a
fresh token asks the store nothing, and would notice too late: by then, others with an older copy would have sent a
refresh token that is spent. The thread repeats what `onerefresh.credential.look` does. Each store has a thread of its
own, so that a store that hangs delays only its own users.
"""

from __future__ import annotations

import functools
import weakref

from onerefresh.chance import CHANCE
from onerefresh.credential.bringing import issued
from onerefresh.credential.look import Look
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.registry import sharing
from onerefresh.interpreter import interpreter_ends
from onerefresh.latches import Changes
from onerefresh.limited_log import log_exception
from onerefresh.policy import LOOK_SELDOM
from onerefresh.store import Store, reset_in_child
from onerefresh.threads import start

__all__ = ["Watch", "begin_to_watch", "watch"]

FIRST_LOOK = (0.2, 0.5)
"""The range of seconds until the first look. Many programs end sooner."""
NAME = "onerefresh watch"


class _Eye:
    """One thread's view of its store. `has_left`: the store is closing."""

    __slots__ = ("__weakref__", "has_left", "news", "place", "store")

    def __init__(self, store: Store) -> None:
        self.news = news = Changes()
        self.place = id(store)  # an id, since a user's store may not be hashable
        self.store = weakref.ref(store, lambda _: news.notify())
        self.has_left = False

    @property
    def is_over(self) -> bool:
        """Whether the thread has to end: the store is closing or gone, or the interpreter ends."""
        return self.has_left or self.store() is None or interpreter_ends()


class Watch:
    """Watches each store while something of it is in memory. A store's thread ends with the last of it.

    There is no lock here: `learned` may be called anywhere.
    """

    def __init__(self) -> None:
        self._eyes: dict[int, _Eye] = {}  # those with a thread, by the ids of their stores
        self._learned: dict[int, weakref.ref[SessionMemory]] = {}  # the one learned last, by the id of its store
        self._left: dict[int, weakref.ref[Store]] = {}  # stores that have closed: late work must open none again
        reset_in_child(self)

    def learned(self, memory: SessionMemory) -> None:
        """Watch the store of a token that this process has learned. Neither blocks nor raises."""
        last = self._last(memory.store)
        if last is None or issued(last) <= issued(memory):
            self._learned[id(memory.store)] = weakref.ref(memory)
        if not memory.watched:
            memory.watched = self._begin(memory.store)

    def enter(self, store: Store) -> None:
        """Allow looks at `store` again where it has closed, because it is used again."""
        self._left.pop(id(store), None)

    def leave(self, store: Store) -> None:
        """Stop watching `store`, which is closing."""
        self._left = {place: one for place, one in self._left.items() if one() is not None}
        self._left[id(store)] = weakref.ref(store)
        eye = self._eyes.get(id(store))
        if eye is not None and eye.store() is store:
            eye.has_left = True
            eye.news.notify()
        for memory in sharing(store):  # a user that opens it again goes on with what is in memory
            memory.watched = False
            with memory.lock:
                memory.look_with_the_next_call()

    def after_fork(self) -> None:
        """Forget the threads, which a forked child does not have."""
        self._eyes = {}

    def _begin(self, store: Store) -> bool:
        """Start a thread for the store; whether one runs now. Where none can start, the next token tries again."""
        left = self._left.get(id(store))
        if left is not None and left() is store:
            return False
        mine = _Eye(store)
        try:
            eye = self._eyes.setdefault(mine.place, mine)
            if eye is not mine:
                if not eye.is_over and eye.store() is store:
                    return True
                self._eyes[mine.place] = mine  # the other thread is ending
            start(functools.partial(self._work, mine), NAME, daemon=True)
        except BaseException as error:
            self._ended(mine)
            if not isinstance(error, RuntimeError):  # Ctrl-C
                raise
            return False
        return True

    def _work(self, eye: _Eye) -> None:
        """Look at the store again and again until nothing is left to look for."""
        look, seconds, is_needed = Look(lambda: not eye.is_over), CHANCE.uniform(*FIRST_LOOK), True
        try:
            while True:
                if not is_needed or eye.news.wait_for(lambda: eye.is_over, seconds):
                    break
                try:
                    is_needed, seconds = self._look(eye, look)
                except Exception:  # noqa: BLE001 - a defect must not end the looks
                    log_exception("checking what a store still holds failed")
                    seconds = LOOK_SELDOM
        finally:
            self._ended(eye)
            if not is_needed:
                self._begin_again(eye)

    def _look(self, eye: _Eye, look: Look) -> tuple[bool, float]:
        """Look once; whether there is anything to look for, and the seconds until the next look."""
        store = eye.store()
        last = self._last(store) if store is not None else None
        if store is None or (last is None and not sharing(store)):
            return False, 0.0
        return True, look.taken(store, last)

    def _ended(self, eye: _Eye) -> None:
        """Forget the thread of `eye`, so that the next token starts another one."""
        if self._eyes.get(eye.place) is eye:
            self._eyes.pop(eye.place, None)
        store = eye.store() if not eye.has_left else None  # a late look must not open a closed store again
        for memory in sharing(store) if store is not None else ():
            memory.watched = False

    def _begin_again(self, eye: _Eye) -> None:
        """Start another thread where a token was learned while this one was about to end."""
        store = eye.store()
        for memory in sharing(store) if store is not None else ():
            if not memory.watched:
                self.learned(memory)

    def _last(self, store: Store) -> SessionMemory | None:
        """The credential of `store` whose token this process learned last, of those still in memory."""
        reference = self._learned.get(id(store))
        last = reference() if reference is not None else None
        if last is None or last.store is not store or last.known is None:
            left = [memory for memory in sharing(store) if memory.known is not None]
            last = max(left, key=issued, default=None)
            if last is not None:
                self._learned[id(store)] = weakref.ref(last)
            else:
                self._learned.pop(id(store), None)
        return last


watch = Watch()


def begin_to_watch(memory: SessionMemory) -> None:
    """Check in the background, from now on, whether the store still has what this process knows."""
    if memory.needs_looks:
        watch.learned(memory)
        if not memory.watched and not interpreter_ends():  # no thread could start
            with memory.lock:
                memory.look_with_the_next_call()
