"""Receiving changes through Redis: each write publishes to the channel with the record's own name.

In a cluster this is a plain `PUBLISH`, too: the nodes forward it to each other. So one connection to any node receives
changes of all keys, also while slots move.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

__all__ = ["RedisSubscription"]


class RedisSubscription:
    """A connection that subscribes to the channels of some keys. `channel` gives the channel of a key."""

    reusable = False

    def __init__(self, connection: Any, channel: Callable[[str], bytes]) -> None:
        self._connection, self._channel = connection, channel
        self._keys: dict[bytes, str] = {}
        self._news: set[str] = set()

    def listen(self, keys: frozenset[str]) -> Mapping[str, str]:
        wanted = {self._channel(key): key for key in keys}
        more, fewer = wanted.keys() - self._keys.keys(), self._keys.keys() - wanted.keys()
        self._keys |= wanted
        for verb, channels in (("SUBSCRIBE", more), ("UNSUBSCRIBE", fewer)):
            if channels:
                self._connection.send_command(verb, *channels, check_health=False)
        unconfirmed = len(more) + len(fewer)
        while unconfirmed:
            unconfirmed -= not self._note()
        self._keys = wanted
        return {}  # a connection with subscriptions takes no other commands

    def receive(self, seconds: float) -> Collection[str]:
        while self._connection.can_read(0.0 if self._news else seconds):
            self._note()
        news, self._news = self._news, set()
        return news

    def close(self) -> None:
        self._connection.disconnect()

    def _note(self) -> bool:
        """Read one message; whether it announces a change, rather than confirming a subscription."""
        kind, channel, *_ = self._connection.read_response(disable_decoding=True, push_request=True)
        if kind != b"message":
            return False
        if channel in self._keys:
            self._news.add(self._keys[channel])
        return True
