"""The Redis store, for many machines: Redis or Valkey, one server, a primary that sentinels name, or a cluster.

A record is a hash with a version and a body, written by a script that compares the version. Redis answers before a
write is on disk, and a failover may lose it. So the process that commits checks again, and restores what was lost.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

from onerefresh.errors import ConfigurationError, StoreUnavailable
from onerefresh.pause import Wakeup
from onerefresh.secret import Secret
from onerefresh.store import (
    HEAD_START,
    Conflict,
    StoreOfOurs,
    StoreOutcomeUnknown,
    StoreTime,
    Unreadable,
    Versioned,
    no_text,
    text_of,
)
from onerefresh.stores.change_notifier import ChangeNotifier
from onerefresh.stores.forking import load_modules
from onerefresh.stores.redis.address import PREFIX, Address, need_redis
from onerefresh.stores.redis.client import checked, place_of
from onerefresh.stores.redis.clock import ServerClock
from onerefresh.stores.redis.connection import Answer, Command, RedisConnection, Script
from onerefresh.stores.redis.errors import RedisFailure
from onerefresh.stores.redis.handshake import handshake
from onerefresh.stores.redis.notifier import RedisSubscription

__all__ = ["RedisStore"]

PAGE = 100
ON_DISK_MS = 3000
"""Milliseconds that a durable write may take to reach the disk: with ``appendfsync everysec`` it takes a second."""

# A replica answers with old data. Only a write shows that it is one, so one that changes nothing is tried. (A primary
# that cannot write at the moment may be read.)
REPLICA = """
local tried = redis.pcall('HDEL', KEYS[1], '')
local problem = type(tried) == 'table' and tried.err or ''
if string.find(problem, 'READONLY', 1, true) or string.find(problem, 'ACL', 1, true) then
    return tried
end
"""

READ = Script(f"""{REPLICA}
local found = redis.call('HMGET', KEYS[1], 'version', 'body')
local now = redis.call('TIME')
return {{now[1], now[2], found[1], found[2]}}
""")

# Where its own version is there already, this is the same write, sent again. It is written again, so that a wait for
# the disk covers it. Publishing is a hint, and must not fail the write.
WRITE = Script(f"""
local present = redis.call('HGET', KEYS[1], 'version')
local now = redis.call('TIME')
if present ~= ARGV[2] and (present and '=' .. present or '-') ~= ARGV[1] then
    {REPLICA}
    return {{now[1], now[2], 0}}
end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'body', ARGV[3])
redis.pcall('PUBLISH', KEYS[1], ARGV[2])
return {{now[1], now[2], 1}}
""")

# A hash without fields is gone: so removing needs no right that writing does not need.
REMOVE = Script(f"""
local present = redis.call('HGET', KEYS[1], 'version')
local now = redis.call('TIME')
if present ~= ARGV[1] then
    {REPLICA}
    return {{now[1], now[2], 0}}
end
redis.call('HDEL', KEYS[1], 'version', 'body')
redis.pcall('PUBLISH', KEYS[1], '')
return {{now[1], now[2], 1}}
""")


class RedisStore(StoreOfOurs):
    """Records in Redis or Valkey.

    * `place`: a URL (see `onerefresh.stores.redis.address`), or a blocking client of the package `redis` or `valkey`,
      which stays open.
    * `durable`: each write waits until the server has it in its append-only file.
    * `prefix`: the beginning of the store's keys and channels. The rest is the credential's key in braces.

    A URL may also state ``?durable=yes``, ``prefix=…``, ``socket_timeout=SECONDS``, ``ssl_ca_certs=FILE``,
    ``ssl_certfile=FILE``, ``ssl_keyfile=FILE``, ``sentinel_username=…`` and ``sentinel_password=…``.

    Raises `ConfigurationError` for arguments that can never work.
    """

    may_go_back = True
    look_every = 2.0
    head_start = HEAD_START
    forgets = (
        "Redis answers before a write is on its disk, so a crash of Redis may lose the session: "
        "set appendonly yes in Redis, and open the store with durable=True"
    )

    def __init__(self, place: str | Secret | Any, *, durable: bool = False, prefix: str = PREFIX) -> None:
        url = Secret(place) if isinstance(place, str) else place
        del place  # it may hold a password, and would show in a traceback with locals
        load_modules("encodings.idna")  # looking up a host would import it, on any thread
        if isinstance(url, Secret):
            need_redis()
            address = Address.parse(url)
            durable, prefix = durable or address.durable, address.prefix if prefix == PREFIX else prefix
            make, where, self._owns_client = address.client, address.name, True
        else:
            client = checked(url)
            make, where, self._owns_client = lambda: client, place_of(client), False
        if not prefix:
            raise ConfigurationError("a Redis store needs a prefix that distinguishes its keys from others")
        self.durable = durable
        self.name = where if prefix == PREFIX else f"{where}#{prefix}"
        self._prefix = prefix
        self._link = RedisConnection(make, *handshake(durable=durable), mine=self._owns_client)
        self._clock = ServerClock()
        self._notifier = ChangeNotifier(lambda: RedisSubscription(self._link.dedicated_connection(), self._key))

    def load(self, key: str) -> Versioned | None:
        name = self._key(key)
        answer = self._asked(self._link.ask(name, lambda whole: [READ.call(name, whole=whole)]))
        self._clock.sees(answer.server, answer.first[:2], answer.began, answer.ended)
        version, body = answer.first[2:]
        if version is None:
            return None
        found = _versioned(key, version, body)
        if isinstance(found, Unreadable):
            del body  # it may hold tokens, and would show in a traceback with locals
            raise found
        return found

    def cas(self, key: str, expected: str | None, body: str) -> str:
        text = Secret(body)
        del body  # it holds tokens, and would show in a traceback with locals
        name, version = self._key(key), secrets.token_hex(8)
        mark = b"-" if expected is None else f"={expected}".encode("utf-8", "surrogateescape")

        def write(whole: bool) -> Command:
            return WRITE.call(name, mark, version, text.reveal().encode("utf-8", "surrogatepass"), whole=whole)

        self._change(key, write, doubt="another process has written since", done="the record was written, but was")
        return version

    def remove(self, key: str, expected: str) -> None:
        name, mark = self._key(key), expected.encode("utf-8", "surrogateescape")

        def remove(whole: bool) -> Command:
            return REMOVE.call(name, mark, whole=whole)

        doubt, done = "the record is another one now", "the record was removed, but that was"
        self._change(key, remove, doubt=doubt, done=done)

    def subscribe(self, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup:
        return self._notifier.subscribe(key, version, since, wake)

    def moment(self) -> StoreTime | None:
        if not self._clock.asked:
            answer = self._asked(self._link.ask(self._key(""), lambda _: [("TIME",)]))
            self._clock.sees(answer.server, answer.first, answer.began, answer.ended)
        return self._clock.now()

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        for pool in self._link.pools():
            if isinstance(pool, RedisFailure):
                raise self._unavailable(pool)
            cursor, server = b"0", None
            while True:
                page = self._asked(
                    self._link.exchange(pool, [("SCAN", cursor, "MATCH", self._pattern(), "COUNT", PAGE)])
                )
                if cursor != b"0" and page.server != server:
                    cursor = b"0"  # a restart or failover: the cursor means nothing to another server
                    continue
                server, (cursor, names) = page.server, page.first
                yield from self._page(pool, list(dict.fromkeys(names)))
                if cursor == b"0":
                    break

    def close(self) -> None:
        if self._owns_client:
            with contextlib.suppress(Exception):  # the client is of no use any more
                self._link.close()

    def __repr__(self) -> str:
        return f"RedisStore({self.name!r})"

    def _key(self, key: str) -> bytes:
        return f"{self._prefix}{{{key}}}".encode("utf-8", "surrogatepass")

    def _pattern(self) -> bytes:
        return re.sub(r"([\\*?\[\]])", r"\\\1", self._prefix).encode("utf-8", "surrogatepass") + b"{*}"

    def _page(self, pool: Any, names: list[bytes]) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        if not names:
            return
        page = self._link.exchange(pool, [("HMGET", name, "version", "body") for name in names])
        if isinstance(page, RedisFailure):
            raise self._unavailable(page)
        for name, reply in zip(names, page.replies, strict=True):
            whole = text_of(name)
            if whole is None:
                continue  # no credential has such a name
            key = whole[len(self._prefix) + 1 : -1]
            if isinstance(reply, RedisFailure):
                try:
                    found = self.load(key)  # a cluster may have moved the record meanwhile
                except StoreUnavailable as error:
                    yield key, error
                else:
                    if found is not None:
                        yield key, found
            elif reply[0] is not None:
                yield key, _versioned(key, *reply)

    def _change(self, key: str, command: Callable[[bool], Command], *, doubt: str, done: str) -> None:
        """Write or remove the record of `key`, if its version is the expected one. Raises as `cas`.

        `doubt`: what is there instead of the expected record, where the connection was lost, so that this call may have
        changed it. `done`: what has happened, where that is not on disk.
        """

        def commands(whole: bool) -> list[Command]:
            change = command(whole)
            return [change, ("WAITAOF", 1, 0, ON_DISK_MS)] if self.durable else [change]

        found = self._link.ask(self._key(key), commands)
        if isinstance(found, RedisFailure) and found.sent:
            raise StoreOutcomeUnknown(f"{self.name}: {found.message}")
        answer = self._asked(found)
        self._clock.sees(answer.server, answer.first[:2], answer.began, answer.ended)
        if not answer.first[2]:
            if answer.doubtful:
                raise StoreOutcomeUnknown(f"{self.name}: the connection was lost, and {doubt}")
            raise Conflict(key)
        if self.durable and not _is_on_disk(answer.replies[1]):
            raise StoreOutcomeUnknown(f"{self.name}: {done} not on disk after {ON_DISK_MS / 1000:.0f} s")

    def _asked(self, found: Answer | RedisFailure) -> Answer:
        if isinstance(found, RedisFailure):
            raise self._unavailable(found)
        if isinstance(found.first, RedisFailure):
            raise self._unavailable(found.first)
        return found

    def _unavailable(self, problem: RedisFailure) -> StoreUnavailable:
        return StoreUnavailable(f"{self.name}: {problem.message}; nothing was changed")


def _versioned(key: str, version: bytes, body: bytes | None) -> Versioned | Unreadable:
    """The record with its version byte for byte, which a write over a damaged record must name."""
    name, text = version.decode("utf-8", "surrogateescape"), text_of(body)
    return no_text(key, name) if text is None or not name.isascii() else Versioned(name, text)


def _is_on_disk(reply: Any) -> bool:
    return not isinstance(reply, RedisFailure) and reply[0] >= 1
