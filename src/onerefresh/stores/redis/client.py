"""A Redis client that a user hands in: whether it can be used, and to which place it leads."""

from __future__ import annotations

from typing import Any

from onerefresh.errors import ConfigurationError

__all__ = ["checked", "is_client", "place_of", "pool_of"]

PACKAGES = ("redis", "valkey")


def is_client(thing: object) -> bool:
    """Whether it is an object of a Redis package, or of a subclass of theirs."""
    return any(kind.__module__.partition(".")[0] in PACKAGES for kind in type(thing).__mro__)


def checked(client: Any) -> Any:
    """The client. Raises `ConfigurationError` where it cannot be used."""
    if not is_client(client):
        raise ConfigurationError(f"a Redis store takes a URL or a client of the package redis, not {_kind(client)}")
    if any("asyncio" in kind.__module__.split(".") for kind in type(client).__mro__):
        raise ConfigurationError("an asyncio Redis client cannot be a store: pass a blocking redis.Redis")
    if hasattr(client, "command_stack") or not hasattr(client, "get_connection_kwargs"):
        raise ConfigurationError(f"a Redis store needs a redis.Redis or redis.RedisCluster, not {_kind(client)}")
    pool = pool_of(client, client.get_default_node()) if hasattr(client, "nodes_manager") else client.connection_pool
    if not getattr(pool, "is_master", True):
        raise ConfigurationError("this client reads from replicas: pass the client of Sentinel.master_for")
    if "Blocking" in type(pool).__name__ and pool.timeout is None:
        raise ConfigurationError("the pool of this Redis client would wait forever for a connection: give it a timeout")
    if pool.connection_class(**pool.connection_kwargs).socket_timeout is None:  # it is not connected
        raise ConfigurationError(
            "this Redis client would wait forever if its server hangs: give it a socket_timeout, such as 5 seconds"
        )
    return client


def pool_of(cluster: Any, node: Any) -> Any:
    """The pool of a cluster's node."""
    connected = getattr(cluster, "get_redis_connection", None) or cluster.get_valkey_connection
    return connected(node).connection_pool


def place_of(client: Any) -> str:
    """The place to which the client leads, named as by its URL, without user and password."""
    if hasattr(client, "nodes_manager"):
        return f"redis+cluster://{','.join(sorted(f'{node.host}:{node.port}' for node in client.get_nodes()))}"
    pool = client.connection_pool
    settings = pool.connection_kwargs
    db = settings.get("db") or 0
    if hasattr(pool, "sentinel_manager"):
        them = (one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels)
        hosts = ",".join(f"{host}:{port}" for host, port in sorted((one["host"].lower(), one["port"]) for one in them))
        return f"redis+sentinel://{hosts}/{pool.service_name}/{db}"
    if "path" in settings:
        return f"unix://{settings['path']}?db={db}"
    return f"redis://{str(settings.get('host', 'localhost')).lower()}:{settings.get('port', 6379)}/{db}"


def _kind(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
