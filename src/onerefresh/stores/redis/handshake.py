"""What a Redis server is asked before a connection to it is used: which server it is, and whether it keeps records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from onerefresh.stores.redis.connection import Command
from onerefresh.stores.redis.errors import RedisFailure

__all__ = ["handshake"]

WAITS = ("WAITAOF", 1, 0, 1)
SYNCS = ("CONFIG", "GET", "appendfsync")


def handshake(*, durable: bool) -> tuple[Sequence[Command], Callable[..., str | RedisFailure | None]]:
    """The commands, and the function that judges their replies.

    The function returns the server's run id (None where it does not tell), or why the server must not be used.
    """
    return ([("INFO",), WAITS, SYNCS], _judged) if durable else ([("INFO",)], _judged)


def _judged(info: Any, waits: Any = None, syncs: Any = None) -> str | RedisFailure | None:
    if isinstance(info, RedisFailure) and info.code != "NOPERM":
        return info
    if isinstance(waits, RedisFailure):
        if waits.code in ("NOPERM", "LOADING", "NOAUTH"):
            return waits
        return RedisFailure(
            "durable=True needs Redis 7.2 or any Valkey, with `appendonly yes` (CONFIG SET appendonly yes)"
        )
    if isinstance(syncs, list) and b"no" in syncs:
        return RedisFailure(
            "durable=True needs a server that syncs its file: CONFIG SET appendfsync everysec, or always"
        )
    if isinstance(info, RedisFailure):
        return None  # the user may not run INFO
    fields = dict(line.split(":", 1) for line in info.decode("utf-8", "replace").splitlines() if ":" in line)
    policy = fields.get("maxmemory_policy", "")
    if fields.get("maxmemory", "0") != "0" and policy.startswith("allkeys"):
        return RedisFailure(
            f"it deletes records, and so loses sessions, when its memory is full (maxmemory-policy {policy}): "
            "CONFIG SET maxmemory-policy noeviction, or volatile-lru, which leaves these records alone"
        )
    return fields.get("run_id") or None
