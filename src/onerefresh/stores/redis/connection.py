"""Commands to Redis and their answers, one exchange at a time, on connections of a client's pools.

The clients' own `execute_command` is not used: it sends a command again where the answer was lost, and does not say so.
Here it is known what was sent. And nothing is raised, because the frames that an exception leaves would show the tokens
in them.
"""

from __future__ import annotations

import functools
import inspect
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onerefresh.chance import CHANCE
from onerefresh.locks import Lock
from onerefresh.real_time import monotonic
from onerefresh.store import reset_in_child
from onerefresh.stores.flock import shared_seconds
from onerefresh.stores.redis.client import pool_of
from onerefresh.stores.redis.errors import POOL, RedisFailure, is_refusal, lost, refused, unreached

__all__ = ["Answer", "Command", "RedisConnection", "Script"]

Command = tuple[bytes | str | int, ...]
ROUTES = 5
"""How often a cluster may redirect an exchange, which it does while it moves slots or elects a primary."""
REST = 0.05
"""Seconds before an exchange is redirected again."""
QUEUE = 2.0
"""Seconds to wait for a connection where all of a pool's are in use. Exchanges take milliseconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to each command, and when the exchange began and ended, by `shared_seconds`.

    `server`: the run id of the server that answered. `doubtful`: an earlier try of this exchange may have been carried
    out, too.
    """

    replies: tuple[Any, ...] = field(repr=False)  # they may hold tokens
    server: str | None
    began: float
    ended: float
    doubtful: bool = False

    @property
    def first(self) -> Any:
        return self.replies[0]


class Script:
    """A Lua script that is sent by its digest, and in full where the server does not know it."""

    def __init__(self, source: str) -> None:
        import hashlib

        self._source = source
        self._digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    def call(self, key: bytes, *arguments: bytes | str | int, whole: bool = False) -> Command:
        how: Command = ("EVAL", self._source) if whole else ("EVALSHA", self._digest)
        return (*how, 1, key, *arguments)


class RedisConnection:
    """The way to the server that has a key: through the client's one pool, or the pool of a cluster's node.

    * `make`: makes the client, when it is first needed. `_making` guards that.
    * `handshake`, `greet`: commands for each new connection before it is used, and the function that judges the
      replies. It returns the server's run id, or why the server must not be used.
    * `mine`: no other code uses the client.
    """

    def __init__(
        self, make: Callable[[], Any], handshake: Sequence[Command], greet: Callable[..., Any], *, mine: bool
    ) -> None:
        self._make, self._mine = make, mine
        self._made: Any = None
        self._unmade: tuple[float, RedisFailure] | None = None  # when it could not be made, and why
        self._making = Lock()
        self._stale = False
        """Whether to ask a cluster again which node has which slots."""
        self._handshake, self._greet = handshake, greet
        self._known: weakref.WeakKeyDictionary[Any, _Known] = weakref.WeakKeyDictionary()
        reset_in_child(self)

    def after_fork(self) -> None:
        """Make a new client in a forked child: another thread may have held a lock of the old one.

        A cluster's client, or one that was handed in, stays in use: its pools notice themselves that they are in a
        child.
        """
        self._making = Lock()
        if self._mine and self._made is not None and not self._is_cluster():
            for client in _with_sentinels(self._made):
                client.auto_close_connection_pool = False  # else it would wait for that lock when it is collected
            self._made = None
        self._known = weakref.WeakKeyDictionary()

    def close(self) -> None:
        """Close idle connections. Others in use are left alone, and new ones can be opened again."""
        made = self._made
        if made is not None:
            if self._is_cluster():
                pools = [pool_of(made, node) for node in made.get_nodes()]
            else:
                pools = [client.connection_pool for client in _with_sentinels(made)]
            for pool in pools:
                pool.disconnect(inuse_connections=False)

    def ask(self, key: bytes, commands: Callable[[bool], Sequence[Command]]) -> Answer | RedisFailure:
        """The answers to `commands(whole)`, which is called again where a script must be sent in full.

        After a lost connection, the exchange is tried once more on a new one.
        """
        whole, asking, doubtful, broken = False, False, False, False
        place: tuple[str, int] | None = None
        problem = RedisFailure("the cluster sends this from node to node")
        for _ in range(ROUTES):
            pool = self._pool(key, place)
            found = pool if isinstance(pool, RedisFailure) else self.exchange(pool, commands(whole), asking=asking)
            if isinstance(found, RedisFailure):
                self._stale, doubtful = self._is_cluster(), doubtful or found.sent
                if broken or not (found.again or (self._is_cluster() and not found.sent)):
                    return replace(found, sent=doubtful)
                broken, place, asking = True, None, False
                continue
            if not isinstance(found.first, RedisFailure):
                return replace(found, doubtful=doubtful)
            problem = found.first
            match problem.code:
                case "NOSCRIPT" if not whole:
                    whole = True
                case "ASK" if self._is_cluster():
                    place, asking = problem.place, True
                case "MOVED" | "TRYAGAIN" | "CLUSTERDOWN" if self._is_cluster():
                    place, asking, self._stale = problem.place, False, True
                    time.sleep(REST)
                case _ if problem.again and not broken:
                    broken = True
                case _:
                    break
        return replace(problem, sent=doubtful)

    def exchange(self, pool: Any, commands: Sequence[Command], *, asking: bool = False) -> Answer | RedisFailure:
        """Send the commands on one connection, and read an answer to each: a value, or a `RedisFailure`."""
        connection = _taken(pool)
        if isinstance(connection, RedisFailure):
            return connection
        whole = False
        try:
            server = self._greeted(connection)
            if isinstance(server, RedisFailure):
                return server
            found = _talk(connection, [("ASKING",), *commands] if asking else commands)
            whole = not isinstance(found, RedisFailure)
            if isinstance(found, RedisFailure):
                return found
            replies, began, ended = found
            return Answer(tuple(replies[1:] if asking else replies), server, began, ended)
        finally:
            if not whole:
                connection.disconnect()  # a late answer must not be taken for the answer to another command
            pool.release(connection)

    def pools(self) -> Iterator[Any]:
        """The pool of each primary. Yields a `RedisFailure` where there is none."""
        client = self._client()
        if isinstance(client, RedisFailure) or not self._is_cluster():
            yield client if isinstance(client, RedisFailure) else client.connection_pool
            return
        self._stale = True
        self._look_around()
        for node in client.get_primaries():
            yield pool_of(client, node)

    def dedicated_connection(self) -> Any:
        """A new connection outside of the pool, so that long listening blocks no exchange. May raise anything."""
        client = self._client()
        if isinstance(client, RedisFailure):
            raise ConnectionError(client.message)
        pool = pool_of(client, CHANCE.choice(client.get_primaries())) if self._is_cluster() else client.connection_pool
        connection = pool.connection_class(**pool.connection_kwargs)
        connection.connect()
        return connection

    def _client(self) -> Any:
        if self._made is None:
            since = monotonic()
            with self._making:
                if self._made is None:
                    if self._unmade is not None and self._unmade[0] >= since:
                        return self._unmade[1]  # another thread has tried meanwhile, which may take seconds
                    try:
                        self._made = self._make()
                    except Exception as error:  # noqa: BLE001 - a cluster's client connects when it is made
                        self._unmade = monotonic(), unreached(error)
                        return self._unmade[1]
        return self._made

    def _is_cluster(self) -> bool:
        return hasattr(self._made, "nodes_manager")

    def _pool(self, key: bytes, place: tuple[str, int] | None) -> Any:
        client = self._client()
        if isinstance(client, RedisFailure) or not self._is_cluster():
            return client if isinstance(client, RedisFailure) else client.connection_pool
        self._look_around()
        try:
            node = (client.get_node(*place) if place else None) or client.get_node_from_key(key)
            return pool_of(client, node)
        except Exception as error:  # noqa: BLE001 - a slot without a node, or whatever else a client raises
            return unreached(error)

    def _look_around(self) -> None:
        """Ask a cluster that has caused a problem which node has which slots now."""
        if self._stale:
            self._stale = False
            try:
                self._made.nodes_manager.initialize()
            except Exception:  # noqa: BLE001 - the old assignment stays in use
                self._stale = True

    def _greeted(self, connection: Any) -> Any:
        """The server's run id (None where it does not tell), or a `RedisFailure`. Asked once for each connection."""
        known = self._known.get(connection)
        if known is None:
            known = self._known[connection] = _Known()
            connection.register_connect_callback(known.forget)
        if known.fresh:
            found = _talk(connection, self._handshake)
            if isinstance(found, RedisFailure):
                return replace(found, sent=False)
            server = self._greet(*found[0])
            if isinstance(server, RedisFailure):
                return server
            known.server, known.fresh = server, False
        return known.server


class _Known:
    """What is known of the server behind a connection."""

    def __init__(self) -> None:
        self.server: str | None = None
        self.fresh = True

    def forget(self, connection: Any) -> None:
        """Note that the connection was opened anew, perhaps to another server."""
        self.fresh = True


def _with_sentinels(client: Any) -> list[Any]:
    """The client, and the clients by which it asks sentinels for the primary."""
    manager = getattr(client.connection_pool, "sentinel_manager", None)
    return [client, *(manager.sentinels if manager else ())]


def _taken(pool: Any) -> Any:
    """A connection of the pool that is ready to send, or a `RedisFailure`."""
    deadline = monotonic() + QUEUE
    while True:
        try:
            connection = pool.get_connection("EVALSHA") if _wants_a_name(pool.__class__) else pool.get_connection()
        except Exception as error:  # noqa: BLE001 - whatever a client raises, it gives no connection
            problem = unreached(error)
            if problem.code != POOL or monotonic() > deadline:
                return problem
            time.sleep(0.002)
            continue
        try:
            connection.check_health()
        except Exception as error:  # noqa: BLE001 - the connection is broken, whatever the client raises
            connection.disconnect()
            pool.release(connection)
            return unreached(error)
        return connection


@functools.cache
def _wants_a_name(kind: Any) -> bool:
    """Whether a pool of this kind needs to know what the connection is for, as in older packages."""
    asked = inspect.signature(kind.get_connection).parameters.get("command_name")
    return asked is not None and asked.default is inspect.Parameter.empty


def _talk(connection: Any, commands: Sequence[Command]) -> tuple[list[Any], float, float] | RedisFailure:
    """Send all commands, then read all replies.

    Half an exchange is a `RedisFailure`: the connection is of no use then.
    """
    began, replies = shared_seconds(), []
    try:
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        for _ in commands:
            replies.append(reply := _read(connection))
            if isinstance(reply, RedisFailure) and reply.dropped:
                break  # no further answer comes
    except Exception as error:  # noqa: BLE001 - whatever a client raises, what was done is not known
        return lost(error)
    finally:
        del commands  # they hold tokens, and would show in a traceback with locals
    return replies, began, shared_seconds()


def _read(connection: Any) -> Any:
    try:
        return connection.read_response(disable_decoding=True)
    except Exception as error:
        if not is_refusal(error):
            raise
        return refused(error)
