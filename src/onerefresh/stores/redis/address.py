"""The URL of a Redis store, and the client for it: the one file that imports the package `redis`.

    redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]                       one server
    unix://[[USER]:PASSWORD@]/PATH/TO/SOCKET[?db=DB]                 one server behind a socket of this machine
    redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],…/SERVICE[/DB]    the primary that these sentinels name
    redis+cluster://[[USER]:PASSWORD@]HOST[:PORT],…                  a cluster, found through any of these nodes

`rediss` is Redis over TLS; `valkey` and `valkeys` are other names of `redis` and `rediss`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from onerefresh.errors import ConfigurationError
from onerefresh.secret import Secret

__all__ = ["PREFIX", "SCHEMES", "SHAPES", "Address", "Kind", "need_redis"]

PREFIX = "onerefresh:"
SECONDS = 5.0
"""Seconds that a client made here waits for a server's answer, unless the URL states another number."""
PORT, SENTINEL_PORT = 6379, 26379
ROOTS = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
SCHEMES = frozenset({"unix", *(root + how for root in ROOTS for how in ("", "+sentinel", "+cluster"))})
SHAPES = (
    "'redis://[:PASSWORD@]HOST[:PORT][/DB]', 'unix:///PATH/TO/SOCKET', 'redis+sentinel://HOST:PORT,…/SERVICE[/DB]' or "
    "'redis+cluster://HOST:PORT,…' (rediss for TLS)"
)
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
OPTIONS = frozenset(
    {"db", "durable", "prefix", "socket_timeout", "sentinel_username", "sentinel_password", *TLS_OPTIONS}
)


class Kind(enum.StrEnum):
    """What an address leads to."""

    SERVER = "server"
    SOCKET = "socket"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a URL.

    `hosts`: of the server, the sentinels or some nodes. `login`: user and password. `seconds`: the socket's time-out.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    tls: bool = False
    login: tuple[str, Secret] | None = None
    sentinel_login: tuple[str, Secret] | None = None
    seconds: float = SECONDS
    files: Mapping[str, str] = field(default_factory=dict)
    durable: bool = False
    prefix: str = PREFIX

    @classmethod
    def parse(cls, url: Secret) -> Address:
        """The parts of `url`.

        Raises `ConfigurationError`, which quotes nothing of the URL, since it may hold a password.
        """
        try:
            return cls._parsed(url.reveal())
        except _WrongUrl as error:
            message = str(error)
        # Raised here, where no frame with a part of the URL is left.
        raise ConfigurationError(f"this is not a URL of a Redis store{message}. Write {SHAPES}")

    @classmethod
    def _parsed(cls, url: str) -> Address:
        scheme, _, rest = url.partition("://")
        rest, _, query = rest.partition("?")
        fragment = "#" in rest + query
        userinfo, at, rest = rest.rpartition("@")
        login = _login(Secret(userinfo)) if at else None
        options = {name: Secret(unquote(value)) for name, _, value in (one.partition("=") for one in query.split("&"))}
        if scheme not in SCHEMES or fragment:
            raise _wrong()
        if options.keys() - OPTIONS - {""}:  # not quoted: after a question mark in a password, they are its end
            raise _wrong(f"the possible options are {', '.join(sorted(OPTIONS))}; in a password, write '?' as %3F")
        return cls(
            **_place(scheme, rest, options),
            login=login,
            sentinel_login=_sentinel_login(options),
            seconds=_seconds(options),
            files={name: options[name].reveal() for name in TLS_OPTIONS if name in options},
            durable=_flag(options),
            prefix=options["prefix"].reveal() if "prefix" in options else PREFIX,
        )

    @property
    def name(self) -> str:
        """The place, without user and password."""
        if self.kind is Kind.SOCKET:
            return f"unix://{self.path}?db={self.db}"
        hosts = ",".join(f"{host}:{port}" for host, port in sorted(self.hosts))
        redis = "rediss" if self.tls else "redis"
        match self.kind:
            case Kind.SERVER:
                return f"{redis}://{hosts}/{self.db}"
            case Kind.SENTINEL:
                return f"{redis}+sentinel://{hosts}/{self.service}/{self.db}"
            case Kind.CLUSTER:
                return f"{redis}+cluster://{hosts}"

    def client(self) -> Any:
        """A client of the package `redis` that sends nothing twice. Only a cluster's client is connected already.

        Raises `ConfigurationError` where the package is missing, and what the package raises for a cluster.
        """
        redis = need_redis()
        match self.kind:
            case Kind.SERVER:
                [(host, port)] = self.hosts
                return redis.Redis(host, port, db=self.db, **self._tls(), **self._settings(redis, self.login))
            case Kind.SOCKET:
                settings = self._settings(redis, self.login)
                return redis.Redis(unix_socket_path=self.path, db=self.db, **settings)
            case Kind.SENTINEL:
                mine = self._settings(redis, self.sentinel_login)
                sentinel = redis.Sentinel(self.hosts, sentinel_kwargs={**mine, **self._tls()})
                return sentinel.master_for(self.service, db=self.db, **self._tls(), **self._settings(redis, self.login))
            case Kind.CLUSTER:
                nodes = [redis.cluster.ClusterNode(host, port) for host, port in self.hosts]
                return redis.RedisCluster(startup_nodes=nodes, **self._tls(), **self._settings(redis, self.login))

    def _settings(self, redis: Any, login: tuple[str, Secret] | None) -> dict[str, Any]:
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        user, password = login or ("", Secret(""))
        return {
            "username": user or None,
            "password": password.reveal() or None,
            "socket_timeout": self.seconds,
            "socket_connect_timeout": self.seconds,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }

    def _tls(self) -> dict[str, Any]:
        return {"ssl": True, **self.files} if self.tls else {}


def need_redis() -> Any:
    """The package `redis`. Raises `ConfigurationError` where it is missing."""
    try:
        import redis
    except ImportError as error:
        missing = error.name
    else:
        return redis
    raise ConfigurationError(f"a Redis store needs the package {missing}: pip install 'onerefresh[redis]'")


class _WrongUrl(ValueError):
    """What is wrong with a URL, after a colon."""


def _wrong(why: str = "") -> _WrongUrl:
    return _WrongUrl(f": {why}" if why else "")


def _place(scheme: str, rest: str, options: Mapping[str, Secret]) -> dict[str, Any]:
    """The parts of the URL other than its login and options."""
    if scheme == "unix":
        if not rest.startswith("/") or rest.endswith("/"):
            raise _wrong("the path of a socket must be absolute")
        return {
            "kind": Kind.SOCKET,
            "path": unquote(rest),
            "db": _db(options["db"].reveal() if "db" in options else ""),
        }
    if "db" in options:
        raise _wrong("the database number must follow the host: redis://HOST/DB")
    root, _, how = scheme.partition("+")
    kind = Kind(how) if how else Kind.SERVER
    hosts, _, path = rest.partition("/")
    parts = [unquote(part) for part in path.split("/")] if path else []
    place: dict[str, Any] = {
        "kind": kind,
        "tls": ROOTS[root],
        "hosts": tuple(_host(one, SENTINEL_PORT if kind is Kind.SENTINEL else PORT) for one in hosts.split(",")),
    }
    if kind is Kind.SENTINEL:
        if not parts or not parts[0] or len(parts) > 2:
            raise _wrong("the name of the service that the sentinels watch must follow them")
        return {**place, "service": parts[0], "db": _db(parts[1] if len(parts) == 2 else "")}
    if kind is Kind.CLUSTER:
        if parts:
            raise _wrong("a cluster has no numbered databases")
        return place
    if len(place["hosts"]) != 1:
        raise _wrong("only sentinels or a cluster can have several hosts")
    if len(parts) > 1:
        raise _wrong("only a database number can follow the host")
    return {**place, "db": _db(parts[0] if parts else "")}


def _host(text: str, usual: int) -> tuple[str, int]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        wrong = not bracket or colon not in ("", ":")
    else:
        host, colon, port = text.partition(":")
        wrong = ":" in port
    if wrong or not host or (colon and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise _wrong("each host must be a name or an address, with a port if it is not the default one")
    return unquote(host).lower(), int(port) if colon else usual


def _db(text: str) -> int:
    if text and not text.isdecimal():
        raise _wrong("a database must be a number")
    return int(text or 0)


def _login(userinfo: Secret) -> tuple[str, Secret]:
    user, _, password = userinfo.reveal().partition(":")
    return unquote(user), Secret(unquote(password))


def _sentinel_login(options: Mapping[str, Secret]) -> tuple[str, Secret] | None:
    if "sentinel_password" not in options:
        return None
    user = options.get("sentinel_username", Secret("")).reveal()
    return user, options["sentinel_password"]


def _seconds(options: Mapping[str, Secret]) -> float:
    if "socket_timeout" not in options:
        return SECONDS
    try:
        seconds = float(options["socket_timeout"].reveal())
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= 60.0:
        raise _wrong("socket_timeout must be a number of seconds, at most 60")
    return seconds


def _flag(options: Mapping[str, Secret]) -> bool:
    message = options["durable"].reveal().lower() if "durable" in options else "no"
    if message not in ("yes", "true", "1", "no", "false", "0"):
        raise _wrong("durable must be yes or no")
    return message in ("yes", "true", "1")
