"""One look at a store: what is read each time, and which credentials have to be compared with it.

Each process reads the note of losses (`onerefresh.losses`), which a process leaves in the store when it finds a record
lost: every 2.5 s where the store may lose writes, else every 10 s. It also reads the credential whose token it learned
last: every 10 s, and as often as the note where nothing identifies the server that answers. Where something is lost,
the process restores what it knows. What cannot be read or written is looked at again soon.
"""

from __future__ import annotations

from collections.abc import Callable

from onerefresh import errors
from onerefresh.chance import CHANCE
from onerefresh.credential.bringing import Bringing, has_gone, now
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.registry import servers_of, sharing
from onerefresh.events import publish
from onerefresh.limited_log import log_exception
from onerefresh.losses import Beats, Losses, digest, read_losses
from onerefresh.policy import LOOK_EVERY, look_every
from onerefresh.redaction import NOTHING_KNOWN, Redactor
from onerefresh.store import Store, StoreTime
from onerefresh.telling import store_news

__all__ = ["Look"]

NEWEST_EVERY = 4
"""Looks at the note for each look at the credential learned last.

This holds where the store's clock identifies the server. Elsewhere that credential is read as often as the note.
"""
FIRST_PAUSE = 0.2
"""Seconds until the next look after one that failed; doubled with each further one."""


class Look:
    """What is known of one store. `goes_on`: whether to go on looking; else unfinished work is dropped."""

    def __init__(self, goes_on: Callable[[], bool]) -> None:
        self._goes_on = goes_on
        self._losses: Losses | None = None
        self._read_at = now()
        self._beats = Beats()
        self._server: str | None = None
        self._looks = self._failures = 0
        self._newest_is_due = False
        self._left: set[str] = set()  # the keys of the credentials that are still to be compared
        self._named: set[str] = set()  # those of them that the note names

    def taken(self, store: Store, last: SessionMemory | None) -> float:
        """Look once; return the seconds until the next look. Never raises.

        `last`: the credential whose token this process learned last.
        """
        interval = LOOK_EVERY
        try:
            interval = look_every(may_go_back=store.may_go_back)
            is_done = last is None or self._look(store, last)
        except errors.OnerefreshError as error:
            is_done = False
            _tell(store, last, error)
        except Exception:  # noqa: BLE001 - an exception of the store must not end the looks
            log_exception("checking whether a store has lost its records failed")
            is_done = False
        self._failures = 0 if is_done else self._failures + 1
        if self._failures:
            interval = min(interval, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 16))
        return interval * CHANCE.uniform(0.75, 1.0)

    def _look(self, store: Store, last: SessionMemory) -> bool:
        """Compare what may be lost; whether all of it was compared."""
        self._read(store, last)
        if self._newest_is_due:
            gone = has_gone(last)
            self._newest_is_due = gone is None
            self._left |= {memory.key for memory in _known(store) if gone}
        if self._left:
            memories = {memory.key: memory for memory in _known(store) if memory.key in self._left}
            named, losses = self._named & set(memories), self._losses or Losses()
            silent, read_at = self._beats.silent(), self._read_at
            bringing = Bringing(store, memories, named, losses, self._goes_on, read_at=read_at, silent=silent)
            self._left = bringing.run()
            self._named = bringing.named & self._left
        return not self._left and not self._newest_is_due

    def _read(self, store: Store, last: SessionMemory) -> None:
        """Read the note and the clock, and remember what may be lost.

        Raises `OnerefreshError`; what was remembered before is kept.
        """
        moment: StoreTime | None = None
        may_go_back, can_note, read_at = store.may_go_back, True, now()
        try:
            losses = read_losses(store)
            _tell(store, last)
            moment = store.moment()
        except errors.OnerefreshError:
            raise
        except Exception:  # noqa: BLE001 - a user's store may raise anything, for the note's key, say
            losses, can_note = self._losses or Losses(), False
        server = servers_of(store).sees(now(moment), has_the_note=True)
        before = self._losses
        is_another = server is not None and server != self._server
        # What the note names at the first look may have been lost after this process had learned it.
        lost = frozenset(losses.lost) if before is None else losses.since(before)
        named = losses.named_since(before) if before is not None else frozenset[str]()
        if is_another and self._server is not None:
            lost = None  # another server, which may lack the last writes
        if lost is None or lost:
            for memory in _known(store):
                name = digest(memory.key)
                self._left |= {memory.key} if lost is None or name in lost else set()
                self._named |= {memory.key} if name in named else set()
        self._losses, self._read_at, self._server = losses, read_at, server if is_another else self._server
        self._beats.sees(losses)
        if before is None:
            return
        self._looks += 1
        if not can_note or not may_go_back or self._server is None or self._looks % NEWEST_EVERY == 0:
            self._newest_is_due = True


def _tell(store: Store, last: SessionMemory | None, error: errors.OnerefreshError | None = None) -> None:
    """Report, once for each outage, that the store is down or answers again. The event names the credential `last`."""
    redactor = Redactor(last.known.secrets) if last is not None and last.known is not None else NOTHING_KNOWN
    news = store_news(last.key, store, error, redactor) if last is not None else None
    if news is not None:
        publish(news)


def _known(store: Store) -> list[SessionMemory]:
    """What this process knows of the store: tokens, and logouts that it has seen."""
    return [memory for memory in sharing(store) if memory.known is not None or memory.sightings.know_a_logout]
