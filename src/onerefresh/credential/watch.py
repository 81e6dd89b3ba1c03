"""A look in the background at whether the stores still have what this process knows: one thread for all of them.

A store may be emptied, restored from a backup, or replaced by a server that lacks the last writes. Whoever holds a
fresh token asks the store nothing, and would learn of that too late: others, with an older copy, would have sent a
refresh token that is used up. So each process reads the note that whoever finds a record lost leaves in the store
(`onerefresh.losses`): every 2.5 s where the store may lose writes, else every 10 s. It also reads the credential that
it learned last: every 10 s, and as often as the note where nothing tells which server answers. Where something is lost
it brings back what it knows.
"""

from __future__ import annotations

import contextlib
import logging
import time
import weakref
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from onerefresh import errors
from onerefresh.credential.shared import Shared, newest_known, servers_of, sharing
from onerefresh.latches import Changes, interpreter_ends, start
from onerefresh.losses import JITTER, Losses, digest, read_losses, report_losses
from onerefresh.policy import HTTP_TIMEOUT, look_every, profile_named, recovery_time
from onerefresh.renewal.decision import Wish
from onerefresh.renewal.effects import Effect, Instant
from onerefresh.renewal.saving import bring_back, has_lost
from onerefresh.runner import Runner
from onerefresh.store import Store, cleaned_after_fork
from onerefresh.token import Answer, Token

__all__ = ["Watch", "watch"]

NEWEST_EVERY = 4
"""Looks at the note for one at the credential learned last, where the store's clock tells which server answers."""
FIRST_LOOK = (0.2, 0.5)
"""Seconds until the first look: many programs end sooner."""
BATCH = 50
"""Credentials that are brought back without a rest in between."""
REST = 0.02
"""Seconds between two batches, at most."""
FIRST_REST = 0.3
"""Seconds at most until the first batch: the processes of a fleet see the loss at about the same time."""


@dataclass(slots=True)
class _Seen:
    """What is known of one store. `at`: when to look again, on the monotonic clock; `looks`: how many there were."""

    store: weakref.ref[Store]
    at: float
    losses: Losses | None = None
    server: str | None = None
    looks: int = 0


class Watch:
    """Looks at each store for as long as something of it is in memory. The thread ends with the last of them.

    Nothing here is locked: what others ask for goes through a queue, and all the rest belongs to the thread.
    """

    def __init__(self) -> None:
        self._asked: deque[weakref.ref[Store]] = deque()
        self._news = Changes()
        self._left: dict[int, weakref.ref[Store]] = {}  # by their ids: a store of the user's may have no hash
        self._learned: dict[int, weakref.ref[Shared]] = {}  # the credential learned last, by the id of its store
        self._running: dict[str, object] = {}  # not empty while there is a thread
        cleaned_after_fork(self)

    def learned(self, shared: Shared) -> None:
        """This process has learned a token: look at its store from now on. Neither blocks nor raises."""
        last = self._last(shared.store)
        if last is None or _issued(last) <= _issued(shared):
            self._learned[id(shared.store)] = weakref.ref(shared)
        if not shared.watched:
            self._left.pop(id(shared.store), None)
            self._ask(weakref.ref(shared.store, self._ask))  # again when the store is gone
            self._start()
            shared.watched = True

    def leave(self, store: Store) -> None:
        """Look at `store` no more: it closes."""
        for left in [left for left, reference in list(self._left.items()) if reference() is None]:
            self._left.pop(left, None)
        self._left[id(store)] = weakref.ref(store)
        self._ask(weakref.ref(store))

    def after_fork(self) -> None:
        """The thread is not in the child."""
        self._asked, self._news, self._running = deque(), Changes(), {}

    def _ask(self, reference: weakref.ref[Store]) -> None:
        self._asked.append(reference)
        self._news.tell()

    def _start(self) -> None:
        claim = object()
        try:
            if self._running.setdefault("by", claim) is not claim:
                return  # the thread finds what is asked for, or starts another one when it ends
            start(self._work, "onerefresh watch", daemon=True)
        except BaseException as error:
            if self._running.get("by") is claim:
                self._running.clear()
            if not isinstance(error, RuntimeError):  # Ctrl-C; else no thread can start, and the next token tries again
                raise

    def _work(self) -> None:
        asked, news, running = self._asked, self._news, self._running
        due: dict[int, _Seen] = {}  # by the id of the store
        try:
            while True:
                now = time.monotonic()
                first = min((seen.at for seen in due.values()), default=now)
                # Not at a queue: gevent may have patched the process since that was made, and it would hold up the hub.
                if news.wait_for(lambda: bool(asked), first - now):
                    reference = asked.popleft()
                    store = reference()
                    due = {place: seen for place, seen in due.items() if self._is_wanted(seen.store)}
                    if store is not None and self._is_wanted(reference):
                        due.setdefault(id(store), _Seen(reference, now + JITTER.uniform(*FIRST_LOOK)))
                    del store
                    continue
                self._look_at(due)
                if not due:
                    break
        finally:
            running.clear()
        if asked and not interpreter_ends():
            self._start()

    def _is_wanted(self, reference: weakref.ref[Store]) -> bool:
        store = reference()
        return store is not None and not self._has_left(store)

    def _has_left(self, store: Store) -> bool:
        reference = self._left.get(id(store))
        return reference is not None and reference() is store

    def _look_at(self, due: dict[int, _Seen]) -> None:
        for place, seen in list(due.items()):
            if seen.at > time.monotonic():
                continue
            store = seen.store()
            last = self._last(store) if store is not None and not self._has_left(store) else None
            if store is None or last is None or interpreter_ends():
                del due[place]
                continue
            lost = self._look(store, seen, last)
            if lost is None or lost:
                shareds = [shared for shared in sharing(store) if shared.known is not None]
                self._bring_back(store, shareds, lost, seen)
            seen.at = time.monotonic() + _interval(store)

    def _look(self, store: Store, seen: _Seen, last: Shared) -> frozenset[str] | None:
        """The digests of the records that may be lost; None: any of them."""
        moment, can_note = None, True
        try:
            losses = read_losses(store)
            moment = store.moment()
        except errors.OnerefreshError:
            return frozenset()  # the next look follows
        except Exception:  # noqa: BLE001 - a store of the user's may raise anything, for what is no credential's name say
            losses, can_note = seen.losses or Losses(), False
        server = servers_of(store).sees(Instant(time.time(), time.monotonic(), moment, 0.0), has_the_note=True)
        is_first = seen.losses is None
        # What the note names at the first look may have been lost since this process learned it.
        lost = frozenset(losses.lost) if seen.losses is None else losses.since(seen.losses)
        seen.losses = losses
        if server is not None and server != seen.server:
            if seen.server is not None:
                lost = None  # another server, which may lack the last writes
            seen.server = server
        if is_first:
            return lost
        seen.looks += 1
        if not can_note or not store.may_go_back or seen.server is None or seen.looks % NEWEST_EVERY == 0:
            lost = None if lost is None or _performed(last, has_lost(_wish(last), last.leased)) else lost
        return lost

    def _last(self, store: Store) -> Shared | None:
        """The credential of `store` whose token this process learned last, as far as it is still in memory."""
        reference = self._learned.get(id(store))
        last = reference() if reference is not None else None
        if last is None or last.store is not store or last.known is None:
            left = [shared for shared in sharing(store) if shared.known is not None]
            last = max(left, key=_issued, default=None)
            if last is not None:
                self._learned[id(store)] = weakref.ref(last)
            else:
                self._learned.pop(id(store), None)
        return last

    def _bring_back(self, store: Store, shareds: list[Shared], lost: frozenset[str] | None, seen: _Seen) -> None:
        """Bring back what is lost of these, in batches; where it may be any, those first that are named meanwhile."""
        left = deque(shared for shared in shareds if lost is None or digest(shared.key) in lost)
        JITTER.shuffle(left)
        if left:
            time.sleep(JITTER.uniform(0.0, FIRST_REST))
        while left and not self._has_left(store) and not interpreter_ends():
            batch = [left.popleft() for _ in range(min(BATCH, len(left)))]
            brought = [shared.key for shared in batch if _performed(shared, bring_back(_wish(shared), shared.leased))]
            report_losses(store, brought)  # others may know a newer one
            if lost is None and left:
                left = self._urgent_first(store, left, seen)
            time.sleep(JITTER.uniform(0.0, REST))

    def _urgent_first(self, store: Store, left: deque[Shared], seen: _Seen) -> deque[Shared]:
        """Those first whose loss somebody has noted: an old copy of theirs is sent when its recovery lease is over."""
        try:
            now = read_losses(store)
        except Exception:  # noqa: BLE001 - as in `_look`
            return left
        named, seen.losses = now.since(seen.losses or Losses()), now
        if not named:
            return left
        return deque(sorted(left, key=lambda shared: digest(shared.key) not in named))


def _interval(store: Store) -> float:
    """Seconds until the next look."""
    return look_every(may_go_back=store.may_go_back) * JITTER.uniform(0.75, 1.0)


def _issued(shared: Shared) -> float:
    return shared.known.issued_at if shared.known is not None else 0.0


def _wish(shared: Shared) -> Wish:
    """What a look needs to know: nothing is sent."""
    return Wish(
        key=shared.key,
        profile=profile_named("strict"),
        http_timeout=HTTP_TIMEOUT,
        spread=shared.spread,
        seed=shared.seed,
        look_again=lambda: shared.store.may_go_back,
        recovery=lambda: recovery_time(may_go_back=shared.store.may_go_back),
        sightings=shared.sightings,
        earlier=lambda: shared.earlier,
        owner=shared.owner,
        known=newest_known(shared),
        newest=lambda: newest_known(shared),
    )


def _performed(shared: Shared, looking: Coroutine[Effect[Any], Any, bool]) -> bool:
    """What came of it; False where the store cannot be read now, or whatever else it raises: the next look follows."""
    runner = Runner(
        shared.key,
        shared.store,
        refresher=_nothing,
        obtain=None,
        save=None,
        home=None,
        publish=_nobody_waits,
        overdue=lambda *_: contextlib.nullcontext(),
        wanted=lambda: False,
        afterwards=_nobody_waits,
        known=filter(None, [shared.known, shared.unsaved]),
    )
    try:
        return runner.run(looking)
    except errors.OnerefreshError:
        return False
    except Exception:  # whatever one store raises, it must not end the looks at the others
        logging.getLogger("onerefresh").exception("looking at whether a store has lost its record failed")
        return False


def _nothing(token: Token) -> Answer:
    raise NotImplementedError  # a look sends nothing


def _nobody_waits(*_: object) -> None:
    """A look has no waiters, and leaves nothing to be done later."""


watch = Watch()
