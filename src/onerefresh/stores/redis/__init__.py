"""The Redis store."""

from __future__ import annotations

from onerefresh.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
