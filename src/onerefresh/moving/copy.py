"""Moving all credentials of one store to another, several at a time, while processes use both."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import islice

from onerefresh import errors
from onerefresh.chance import CHANCE
from onerefresh.foreign import store_failed
from onerefresh.latches import Latch
from onerefresh.losses import KEY as LOSSES
from onerefresh.move_run import MoveRun
from onerefresh.policy import HTTP_TIMEOUT
from onerefresh.profile import profile_named
from onerefresh.record import Record
from onerefresh.record_text import decode, token_to_fields
from onerefresh.renewal.moving import Move, Moved, Result, move
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.sightings import Sightings
from onerefresh.runner import Runner
from onerefresh.secret import Secret
from onerefresh.store import Store, is_shared
from onerefresh.stores import open_store
from onerefresh.tasks import run_here
from onerefresh.token import Token
from onerefresh.user_code import Functions, sends_nothing

__all__ = ["Copied", "Progress", "copy"]

AT_ONCE = 8
"""Credentials that are moved at the same time, so that waiting for the refresh of one holds up no other."""
PASSES = 5
"""How often the source is listed: workers may log in there during the copy."""
PATIENCE = 0.2
"""Seconds between two checks of whether the copy was interrupted."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy has done.

    * `total`: the credentials that the source has.
    * `moved`: they were moved now; `already`: others had moved them before, or purged them meanwhile.
    * `kept`: the target had something newer, which it keeps.
    * `failed`: those that could not be moved, with the errors by name.
    * `differ`: with `verify`, what is not as it should be afterwards, by name.
    """

    total: int = 0
    moved: int = 0
    already: int = 0
    kept: int = 0
    failed: dict[str, errors.OnerefreshError] = field(default_factory=dict)
    differ: dict[str, str] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many have been dealt with."""
        return self.moved + self.already + self.kept + len(self.failed)


Progress = Callable[[str, Moved | errors.OnerefreshError, Copied], None]
"""Called for each credential: with its name, with what was done or why that failed, and with the sum so far."""


def copy(
    source: str | Secret | Store,
    target: str | Secret | Store,
    *,
    verify: bool = False,
    progress: Progress | None = None,
    at_once: int = AT_ONCE,
) -> Copied:
    """Move every credential from `source` to `target`: a URL or a `Store` each.

    Processes may use both meanwhile. In the source each record remains without its token, and says where it was moved:
    whoever opens it there gets `CredentialMoved`. A copy that was interrupted is continued by the next one. `verify`
    compares both stores afterwards.

    Raises `ConfigurationError` for one and the same place, and where the source cannot list its records;
    `StoreUnavailable` where listing fails.
    """
    stores = open_store(source), open_store(target)
    if stores[0] is stores[1] or _is_one_place(*stores):
        raise errors.ConfigurationError(f"{stores[0].name} cannot be copied to itself")
    return _Copy(*stores, progress, at_once).run(verify=verify)


def _is_one_place(source: Store, target: Store) -> bool:
    return is_shared(source) and source.name == target.name != Store.name


class _Copy:
    """One copy. `digests`: of the tokens that it has moved, by name."""

    def __init__(self, source: Store, target: Store, progress: Progress | None, at_once: int) -> None:
        self._source, self._target = source, target
        self._progress, self._at_once = progress, at_once
        self._stopped = Latch()
        self._counts: Counter[Moved] = Counter()
        self._failed: dict[str, errors.OnerefreshError] = {}
        self._digests: dict[str, str] = {}
        self._later: list[str] = []  # a renewal of these is under way
        self._total = 0

    def run(self, *, verify: bool) -> Copied:
        keys = [key for key, _ in self._scan()]
        self._total = len(keys)
        for number in range(PASSES):
            before = self._counts[Moved.MOVED]
            self._all(keys)
            if number and self._counts[Moved.MOVED] == before:
                break
            keys = [key for key, record in self._records() if record is not None and record.moved_to is None]
            keys = [key for key in keys if key not in self._failed]
            if not keys:
                break
            self._total += len(keys)
        differ = dict(self._differences()) if verify else {}
        return replace(self._sum(), differ=differ)

    def _sum(self) -> Copied:
        counts = self._counts
        already = counts[Moved.ALREADY] + counts[Moved.NOTHING]
        return Copied(self._total, counts[Moved.MOVED], already, counts[Moved.NEWER], dict(self._failed))

    def _scan(self) -> Iterator[tuple[str, object]]:
        return ((key, found) for key, found in self._source.scan() if key != LOSSES)

    def _records(self) -> Iterator[tuple[str, Record | None]]:
        """The source's records; None for what cannot be read."""
        for key, _ in self._scan():
            try:
                yield key, _record(self._source, key)
            except errors.StoreUnavailable:
                yield key, None

    def _all(self, keys: Iterable[str]) -> None:
        """Move these keys. Those for which a renewal has to be waited for come last: it may hang, for minutes."""
        self._later = []
        self._some(keys, waits=False)
        self._some(self._later, waits=True)

    def _some(self, keys: Iterable[str], *, waits: bool) -> None:
        """Move these keys, several at a time. An interrupt lets those under way finish, and begins no other.

        `waits`: wait for renewals under way; otherwise such a key is to be moved later.
        """
        left = iter(keys)
        under_way: dict[Future[Result], str] = {}
        with ThreadPoolExecutor(self._at_once, "onerefresh copy") as pool:
            try:
                while True:
                    for key in islice(left, 2 * self._at_once - len(under_way)):
                        under_way[pool.submit(self._move, key, waits=waits)] = key
                    if not under_way:
                        break
                    done, _ = wait(under_way, PATIENCE, FIRST_COMPLETED)
                    for future in done:
                        self._take_in(under_way.pop(future), future)
            finally:
                self._stopped.set()
                for future in under_way:
                    future.cancel()
        self._stopped = Latch()

    def _take_in(self, key: str, future: Future[Result]) -> None:
        did: Moved | errors.OnerefreshError
        try:
            result = future.result()
        except _Later:
            self._later.append(key)
            return
        except errors.OnerefreshError as error:
            did = self._failed[key] = error.about(key)
        else:
            did = result.what
            self._counts[did] += 1
            if result.record is not None and result.record.token is not None:
                self._digests[key] = _digest(result.record.token)
        if self._progress is not None:
            self._progress(key, did, self._sum())

    def _move(self, key: str, *, waits: bool) -> Result:
        source, target = (self._runner(key, store, waits=waits) for store in (self._source, self._target))
        request = RenewalRequest(
            key=key,
            profile=profile_named("strict"),
            http_timeout=HTTP_TIMEOUT,
            jitter=CHANCE.random(),
            sightings=Sightings(),
            can_revoke=False,
        )
        both = Move(source, target, self._source.name, self._target.name, request, request)
        return run_here(target.run(lambda _: move(both)))

    def _runner(self, key: str, store: Store, *, waits: bool) -> Runner:
        kind = MoveRun if waits else _Impatient
        run = kind(store, goes_on=lambda: not self._stopped.is_set)
        return Runner(key, store, run, Functions(sends_nothing))

    # --- Comparing both stores afterwards ---

    def _differences(self) -> Iterator[tuple[str, str]]:
        """What is not as it should be: each key with what is wrong. No secret is shown."""
        for key, _ in self._scan():
            if key not in self._failed and (problem := self._difference(key)):
                yield key, problem

    def _difference(self, key: str) -> str:
        try:
            left, there = _record(self._source, key), _record(self._target, key)
        except errors.StoreUnavailable as error:
            return error.message
        source, target = self._source.name, self._target.name
        if left is None:
            return ""
        if left.moved_to is None or left.token is not None:
            return f"it is still in {source}"
        if there is None:
            return f"it is not in {target}"
        if there.moved_to is not None:
            return f"{target} says that it was moved to {there.moved_to}"
        if left.families and left.family not in there.families:
            return f"{target} has another session"
        if left.family == there.family and there.generation < left.generation and there.token is not None:
            return f"{target} has generation {there.generation}, and generation {left.generation} was moved"
        is_same = (left.family, left.generation) == there.identity
        known = self._digests.get(key) if is_same else None
        if known is not None and (there.token is None or _digest(there.token) != known):
            return f"{target} has another token of generation {there.generation} than was moved"
        return ""


class _Later(Exception):
    """The move would have to wait."""


class _Impatient(MoveRun):
    """The run of a move that ends where it would wait."""

    def go_on(self, key: str) -> None:
        super().go_on(key)
        raise _Later


def _record(store: Store, key: str) -> Record | None:
    try:
        found = store.load(key)
    except errors.OnerefreshError:
        raise
    except Exception as error:  # a user's store may raise anything, and the others are to be moved
        raise store_failed("load", error) from error
    return None if found is None else decode(found.body, key)


def _digest(token: Token) -> str:
    """A digest of all that is stored of a token."""
    text = json.dumps(token_to_fields(token), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
