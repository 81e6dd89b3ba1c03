"""Publishes the events of one renewal or command, with the facts that operators need.

This includes the events that its store is down, or answers again. They are published when the renewal reports something
else or waits: a user's hook must not delay a new token that is saved nowhere yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from onerefresh import errors, events
from onerefresh.events import Event, Facts, Kind
from onerefresh.expiry import LEAST_SKEW
from onerefresh.foreign import vetted
from onerefresh.outages import outages
from onerefresh.real_time import monotonic
from onerefresh.redaction import NOTHING_KNOWN, Redactor, plain
from onerefresh.refresher import host_of
from onerefresh.store import Conflict, Store, Unreadable

__all__ = ["ClockNews", "Telling", "clock_news", "shown_host", "store_news"]

T = TypeVar("T")
SINCE_IT_BEGAN = frozenset({Kind.CLAIMED, Kind.TAKEN_OVER})
SINCE_IT_SENT = frozenset({Kind.FAILED, Kind.REFRESHED, Kind.SPOOLED, Kind.UNSAVED, Kind.ORPHANED, Kind.DEAD})
"""Of these events the duration is the time since the last token request was sent, until the answer was dealt with."""


SAID_AGAIN, MOST_HOSTS = 3600.0, 1000
"""Seconds after which it is said again that a clock is off; and at how many hosts that is remembered."""


def store_news(
    key: str,
    store: Store,
    error: BaseException | None = None,
    redactor: Redactor = NOTHING_KNOWN,
    *,
    writes: bool = False,
) -> Event | None:
    """The event, if any, that follows where `store` was read or written, or has raised `error` instead."""
    name = plain(str(store.name))
    if error is None or isinstance(error, (Conflict, Unreadable)):  # it has done its work
        lasted = outages.answered(store, writes=writes)
        if lasted is None:
            return None
        return Event(Kind.STORE_UP, key, detail=f"{name} answers again", facts=Facts(name, duration=lasted))
    if isinstance(error, errors.OnerefreshError) and not isinstance(error, errors.StoreUnavailable):
        return None
    if not outages.failed(store, writes=writes):
        return None
    raised, shown = redactor.masked(plain(type(error).__name__)), vetted(error, redactor)
    why = shown.message if isinstance(shown, errors.StoreUnavailable) else raised
    return Event(Kind.STORE_DOWN, key, detail=f"{name} does not answer: {why}", facts=Facts(name, error=raised))


def shown_host(refresher: object) -> str | None:
    """The token endpoint's host as a user's refresher states it, as one short line; None where that raises."""
    try:
        host = host_of(refresher)
    except Exception:  # noqa: BLE001 - a user's class may raise anything, and an event must not cost a token
        return None
    return plain(host) if host else None


class ClockNews:
    """What this process has last said about its clock, for each token endpoint's host.

    It says it again where the clock has been set since, and once in an hour: not with each refresh of each credential.
    """

    def __init__(self) -> None:
        self._said: dict[str | None, tuple[float, float]] = {}

    def is_news(self, host: str | None, skew: float | None) -> bool:
        """Whether to say that the clock is off by `skew` seconds; if so, that counts as said."""
        now, (said, at) = monotonic(), self._said.get(host, (0.0, 0.0))
        if abs((skew or 0.0) - said) <= LEAST_SKEW and now - at < SAID_AGAIN:
            return False
        if len(self._said) >= MOST_HOSTS:
            self._said.clear()
        self._said[host] = (skew or 0.0, now)
        return True


clock_news = ClockNews()


class Telling:
    """Publishes the events of the run of `key` on `store`.

    * `refresher`: may state the token endpoint's host.
    * `redactor`: returns what knows the secrets that no text may show.
    """

    def __init__(self, key: str, store: Store, refresher: object, redactor: Callable[[], Redactor]) -> None:
        self._key, self._store, self._refresher, self._redactor = key, store, refresher, redactor
        self._began, self._sent = monotonic(), 0.0
        self._news: list[Event] = []

    def sends(self) -> None:
        """Note that a token request is sent now."""
        self._sent = monotonic()

    def of_store(self, operation: Callable[[], T], *, writes: bool = False) -> T:
        """Read or write the store, and note whether it answers. Raises what `operation` raises."""
        try:
            result = operation()
        except Exception as error:
            self._note(store_news(self._key, self._store, error, self._redactor(), writes=writes))
            raise
        self._note(store_news(self._key, self._store, writes=writes))
        return result

    def _note(self, news: Event | None) -> None:
        if news is not None:
            self._news.append(news)

    def tell(self, event: Event) -> None:
        """Publish an event of the run, after the news so far."""
        self.tell_news()
        if event.kind is Kind.CLOCK_OFF and not clock_news.is_news(shown_host(self._refresher), event.facts.duration):
            return
        now, duration = monotonic(), event.facts.duration
        if event.kind in SINCE_IT_BEGAN:
            duration = now - self._began
        elif event.kind in SINCE_IT_SENT and self._sent:
            duration = now - self._sent
        facts = replace(event.facts, host=event.facts.host or shown_host(self._refresher), duration=duration)
        events.publish(replace(event, facts=facts))

    def tell_news(self) -> None:
        """Publish what has become of the store."""
        while self._news:
            events.publish(self._news.pop(0))
