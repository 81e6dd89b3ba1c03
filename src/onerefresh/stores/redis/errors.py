"""What went wrong between a Redis client and its server, in words for the server's operator.

Exceptions of the packages `redis` and `valkey` are both recognised by the names of their classes. Their texts are never
quoted: a server's text may repeat a part of a command, and a command holds tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["POOL", "RedisFailure", "is_refusal", "lost", "refused", "unreached"]

WORDS = {
    "LOADING": "it is still loading its data: try again soon",
    "READONLY": "it is a replica: connect to the primary, or to its sentinels (redis+sentinel://…)",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "CLUSTERDOWN": "the cluster is down: some of its slots have no primary",
    "TRYAGAIN": "the cluster is moving this slot: try again soon",
    "MOVED": "it is part of a cluster that is changing, or a cluster that needs a redis+cluster://… URL",
    "ASK": "it is part of a cluster that is changing, or a cluster that needs a redis+cluster://… URL",
    "OOM": "its memory is full: raise maxmemory",
    "MISCONF": "it refuses writes because it cannot save to its disk: see its log",
    "NOREPLICAS": "it refuses writes because it has too few replicas (min-replicas-to-write)",
    "BUSY": "it is busy with a script of another client",
    "WRONGTYPE": "another program has stored something under this key: give the store another prefix",
    "NOAUTH": "it requires a password",
    "WRONGPASS": "it does not accept the user or the password",
    "NOPERM": "the user may not do this: grant the commands that are listed in the documentation of stores",
    "NOPROTO": "it does not support the protocol that the client requests",
    "MAXCLIENTS": "it has too many clients (maxclients)",
    "NOSCRIPT": "it no longer has a script that was sent to it just before",
}
CODES = {
    "BusyLoadingError": "LOADING",
    "ReadOnlyError": "READONLY",
    "MasterDownError": "MASTERDOWN",
    "ClusterDownError": "CLUSTERDOWN",
    "TryAgainError": "TRYAGAIN",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "OutOfMemoryError": "OOM",
    "NoScriptError": "NOSCRIPT",
    "NoPermissionError": "NOPERM",
    "AuthenticationError": "WRONGPASS",
    "AuthorizationError": "WRONGPASS",
    "AuthenticationWrongNumberOfArgsError": "WRONGPASS",
}

POOL = "POOL"
"""The code, of this library, for a pool that has no connection left."""


@dataclass(frozen=True, slots=True)
class RedisFailure:
    """Why there is no answer.

    * `sent`: the request may have been carried out all the same.
    * `again`: another connection may succeed.
    * `code`: the server's own code, where it refused. `place`: the node to which it refers.
    * `dropped`: the client has dropped the connection because of it.
    """

    message: str
    sent: bool = False
    again: bool = False
    code: str = ""
    place: tuple[str, int] | None = None
    dropped: bool = False


def is_refusal(error: BaseException) -> bool:
    """Whether this is a refusal of the server, which did nothing; otherwise the connection failed."""
    names = _names(error)
    return "ResponseError" in names or any(name in CODES for name in names) or bool(_special(error))


def refused(error: BaseException) -> RedisFailure:
    """The failure for a refusal of the server."""
    code = _code(error)
    place = (error.host, error.port) if code in ("MOVED", "ASK") else None  # type: ignore[attr-defined]  # theirs have it
    message = WORDS.get(code, "it does not accept a command: is it Redis 6 or Valkey, or newer?")
    # A sentinel's client has dropped the connection to the demoted primary, and asks for the new one at its next use.
    again = code == "READONLY" and bool(_special(error))
    return RedisFailure(message, code=code, place=place, again=again, dropped="ConnectionError" in _names(error))


def unreached(error: BaseException) -> RedisFailure:
    """The failure where no connection was available: nothing was sent."""
    refusal = next((found for found in _chain(error) if is_refusal(found)), None)
    if str(error).endswith("Cluster mode is not enabled on this node"):
        return RedisFailure("it is not a cluster (use redis://HOST), or the user may not run CLUSTER SLOTS")
    if refusal is not None:
        return refused(refusal)
    names = _names(error)
    if "MasterNotFoundError" in names:
        if "SSL" in str(error).partition(" : ")[2]:  # each sentinel's message follows there
            return RedisFailure("TLS failed with its sentinels: check ssl_ca_certs, ssl_certfile and ssl_keyfile")
        return RedisFailure("no sentinel knows a primary of this service that is up, or these are not sentinels")
    if "SlotNotCoveredError" in names:
        return RedisFailure(WORDS["CLUSTERDOWN"])
    if "MaxConnectionsError" in names or str(error) in ("Too many connections", "No connection available."):
        message = "all connections of this client's pool are in use: give the client a larger max_connections"
        return RedisFailure(message, code=POOL)
    return RedisFailure(f"it cannot be reached: {_cause(error)}")


def lost(error: BaseException) -> RedisFailure:
    """The failure of a connection after something may have been sent. One that timed out would only do so again."""
    timed_out = "TimeoutError" in _names(error)
    return RedisFailure(
        "it did not answer in time" if timed_out else "the connection was lost", sent=True, again=not timed_out
    )


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _special(error: BaseException) -> str:
    """The code of answers that the clients do not know by their code, or turn into errors of the connection."""
    text = str(error)
    if text == "The previous master is now a slave":
        return "READONLY"
    if "ACL failure in script" in text:
        return "NOPERM"
    return "MAXCLIENTS" if text == "max number of clients reached" else ""


def _code(error: BaseException) -> str:
    found = _special(error) or next(
        (CODES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in CODES), ""
    )
    if found == "WRONGPASS":
        return str(getattr(error, "status_code", None) or found)
    if found:
        return found
    words = str(error).replace("-", " ").split()  # before Redis 7, a script's error follows its line in the script
    return next((word for word in words if word in WORDS), "")


def _cause(error: BaseException) -> str:
    """What TLS or the operating system reported, or the kind of error."""
    for found in _chain(error):
        names = _names(found)
        if "TimeoutError" in names:
            return "it did not answer in time"
        if "SSLCertVerificationError" in names:
            message = getattr(found, "verify_message", "").rstrip(".")
            return f"TLS failed: {message}: check ssl_ca_certs and the server's certificate"
        if "SSLError" in names:
            return (
                "TLS failed: check that this port uses TLS, that ssl_ca_certs contains certificates, and that "
                "ssl_certfile and ssl_keyfile are what the server requires"
            )
        if isinstance(found, FileNotFoundError):
            return "there is no such file: check the socket's path, or ssl_ca_certs, ssl_certfile and ssl_keyfile"
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
    return type(error).__name__


def _chain(error: BaseException) -> list[BaseException]:
    """The error and those behind it."""
    found = [error]
    while (behind := found[-1].__cause__ or found[-1].__context__) is not None and behind not in found:
        found.append(behind)
    return found
