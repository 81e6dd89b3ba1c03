"""What the server saw: a log of exchanges, and counters, with fingerprints in place of tokens."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from onerefresh.locks import Lock
from onerefresh.real_time import monotonic

Kind = Literal["token", "api", "revoke", "foreign"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One exchange, written when its answer is about to be sent.

    * `number`: the order of arrival, from 1.
    * `arrived`, `answered`: `time.monotonic()`, in seconds.
    * `path`: without the query. `call`: the request's `X-Call` header, for diagrams.
    * `presented`: the fingerprint of the token in the request. `issued`: that of the access token in the answer.
    * `generation`: of the issued pair, else of the presented token; None for a token that was never issued.
    * `outcome`: api: `accepted`, `refused`. token: `issued`, `reissued`, `lost` (rotated, but the answer was dropped),
      `failed` (as ordered), `reuse`, or an OAuth error. revoke: `revoked`, or an OAuth error. foreign: `seen`.
    * `status`: None where the connection was closed without an answer.
    """

    number: int
    arrived: float
    answered: float
    kind: Kind
    method: str
    path: str
    call: str | None
    presented: str | None
    issued: str | None
    generation: int | None
    outcome: str
    status: int | None


@dataclass(frozen=True, slots=True)
class Counters:
    """How often each thing has happened so far.

    * `token_requests`: requests at `/token` and `/auth/refresh`, counted when they arrive.
    * `refreshes`: refresh tokens that were traded for a new generation. `reissues`: the same pair answered again (mode
      `grace`).
    * `reuse_detected`: refresh tokens that were presented again after they were spent.
    * `client_credentials`: access tokens issued by that grant. `revocations`: requests at `/revoke` that were carried
      out.
    * `api`: answers of the API by status. `foreign`: requests at the foreign origin.
    """

    token_requests: int
    refreshes: int
    reissues: int
    reuse_detected: int
    client_credentials: int
    revocations: int
    api: Mapping[int, int]
    foreign: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that is not answered yet."""

    number: int
    at: float
    kind: Kind
    method: str
    path: str
    call: str | None


class Log:
    """Collects entries in the order of their answers. `_lock` guards entries and counts."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._arrivals: Counter[Kind] = Counter()
        self._entries: list[Entry] = []

    def arrive(self, kind: Kind, method: str, path: str, call: str | None) -> Arrival:
        with self._lock:
            self._arrivals[kind] += 1
            return Arrival(self._arrivals.total(), monotonic(), kind, method, path, call)

    def finish(
        self,
        arrival: Arrival,
        outcome: str,
        status: int | None,
        *,
        presented: str | None = None,
        issued: str | None = None,
        generation: int | None = None,
    ) -> None:
        """Write the entry. `presented` and `issued` are tokens, of which only fingerprints are kept."""
        with self._lock:
            self._entries.append(
                Entry(
                    number=arrival.number,
                    arrived=arrival.at,
                    answered=monotonic(),
                    kind=arrival.kind,
                    method=arrival.method,
                    path=arrival.path,
                    call=arrival.call,
                    presented=fingerprint(presented),
                    issued=fingerprint(issued),
                    generation=generation,
                    outcome=outcome,
                    status=status,
                )
            )

    def entries(self) -> list[Entry]:
        with self._lock:
            return list(self._entries)

    def arrivals(self, kind: Kind) -> int:
        with self._lock:
            return self._arrivals[kind]

    def statuses(self, kind: Kind) -> dict[int, int]:
        """How often each status was answered."""
        with self._lock:
            found = Counter(entry.status for entry in self._entries if entry.kind == kind)
            return {status: count for status, count in sorted(found.items(), key=str) if status is not None}


def fingerprint(token: str | None) -> str | None:
    """The first 12 hex digits of a token's SHA-256: enough to tell tokens apart, and useless as a token."""
    return None if token is None else hashlib.sha256(token.encode()).hexdigest()[:12]
