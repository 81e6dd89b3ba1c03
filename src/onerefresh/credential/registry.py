"""Which objects share a token in this process: those of one name on one store, and namesakes on other stores."""

from __future__ import annotations

import weakref

from onerefresh.credential.memory import SessionMemory, spread_anew
from onerefresh.flight import NO_GROUP, Flight
from onerefresh.locks import Lock
from onerefresh.policy import recovery_time
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.known import Known
from onerefresh.renewal.servers import Servers
from onerefresh.store import Store, is_shared, reset_in_child
from onerefresh.token import Token

__all__ = [
    "flights_of",
    "free",
    "is_under_way",
    "keep",
    "known_of",
    "known_tokens",
    "memory_of",
    "newest_known",
    "release",
    "reserves",
    "runs_under_way",
    "seeded",
    "servers_of",
    "sharing",
]


class _Registry:
    """Every `SessionMemory` in use: the first of each key by the key, further ones by store and key.

    `_lock` guards all maps; no other code is called under it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: weakref.WeakValueDictionary[str | tuple[int, str], SessionMemory] = weakref.WeakValueDictionary()
        self._namesakes: weakref.WeakValueDictionary[str, weakref.WeakSet[SessionMemory]] = (
            weakref.WeakValueDictionary()  # of keys that have several, which keep the set
        )
        self._kept: dict[SessionMemory, None] = {}  # of hosts, where the newest token is saved nowhere yet
        self._sending: dict[tuple[str, str], object] = {}  # of hosts: by key and digest, the run that may send a token
        self._seeds: weakref.WeakValueDictionary[str, SessionMemory] = weakref.WeakValueDictionary()  # by their digests
        self._servers: dict[int, tuple[weakref.ref[Store], Servers]] = {}  # by the id of the store
        reset_in_child(self)

    def find(self, store: Store, key: str) -> SessionMemory:
        """The memory of `key` on `store`, which is made where there is none yet."""
        with self._lock:
            first = self._known.get(key)
            if first is not None and first.store is store:
                return first
            found = self._known.get((id(store), key))
            if found is None:
                found = SessionMemory(store, key, self._servers_of(store))
                self._known[key if first is None else (id(store), key)] = found
                namesakes = self._namesakes.get(key)  # also where the first one is gone, and others still exist
                if namesakes is None and first is not None:
                    namesakes = self._namesakes[key] = first.namesakes = weakref.WeakSet([first])
                if namesakes is not None:
                    namesakes.add(found)
                    found.namesakes = namesakes
            return found

    def seeded(self, memory: SessionMemory, digest: str) -> str | None:
        """See the function of this name."""
        with self._lock:
            other = self._seeds.get(digest)
            if other is None or other.key == memory.key:
                self._seeds[digest] = memory
                return None
            return other.key

    def tokens(self, store: Store, key: str) -> list[Token]:
        """The tokens of this name that are in memory."""
        with self._lock:
            found = [self._known.get(key), self._known.get((id(store), key))]
        return [memory.newest for memory in found if memory is not None and memory.newest is not None]

    def servers(self, store: Store) -> Servers:
        """The servers that have answered for this store."""
        with self._lock:
            return self._servers_of(store)

    def _servers_of(self, store: Store) -> Servers:
        known = self._servers.get(id(store))
        if known is None or known[0]() is not store:
            if len(self._servers) > 100:
                self._servers = {key: one for key, one in self._servers.items() if one[0]() is not None}
            known = self._servers[id(store)] = weakref.ref(store), Servers()
        return known[1]

    def sharing(self, store: Store) -> list[SessionMemory]:
        """The memories of this store."""
        with self._lock:
            return [memory for memory in list(self._known.values()) if memory.store is store]

    def newest(self, memory: SessionMemory) -> Token | None:
        """See `newest_known`."""
        newest = memory.newest
        identity = newest.identity if newest is not None else _begins_with(memory)
        if identity is None:
            return None
        for other in self.others(memory):
            token = other.newest
            if token is not None and token.family == identity[0] and token.generation > identity[1]:
                newest, identity = token, token.identity
            elif token is not None and newest is not None and other.has_gone_on_from(newest):
                newest = token.numbered(newest.family, newest.generation + 1)
                identity = newest.identity
        return newest

    def spent(self, memory: SessionMemory) -> tuple[str, ...]:
        """Digests of the refresh tokens that objects of this name have traded in, where the host saves."""
        if memory.save is None:
            return ()
        return tuple(digest for one in (memory, *self.others(memory)) for digest in one.spent)

    def reserves(self, memory: SessionMemory, identity: tuple[str, int], run: object) -> bool:
        """See the function of this name."""
        newest = self.newest(memory) if self._may_have_namesakes(memory) else None
        if newest is None or newest.refresh_token is None:
            return True
        if self._sending.setdefault((memory.key, newest.refresh_token.fingerprint()), run) is not run:
            return False
        # Again, now that it is reserved: the run that had it before may have brought a newer token a moment ago.
        newest = self.newest(memory)
        return newest is None or newest.family != identity[0] or newest.generation <= identity[1]

    def free(self, run: object) -> None:
        """See the function of this name."""
        for name in [name for name, other in list(self._sending.items()) if other is run]:
            self._sending.pop(name, None)

    def keep(self, memory: SessionMemory) -> None:
        """See the function of this name."""
        if self._may_have_namesakes(memory):
            self._kept[memory] = None

    def _may_have_namesakes(self, memory: SessionMemory) -> bool:
        """Whether a host may make other objects of this name, each with a record of its own."""
        known = self._known.get(memory.key), self._known.get((id(memory.store), memory.key))
        return memory.save is not None and memory in known

    def release(self, memory: SessionMemory) -> None:
        """See the function of this name."""
        if self._kept:
            for one in (memory, *self.others(memory)):
                self._kept.pop(one, None)

    def others(self, memory: SessionMemory) -> list[SessionMemory]:
        """Memories of the same name at the same place that belong to other store objects."""
        namesakes = self._namesakes.get(memory.key)
        if namesakes is None:
            return []
        with self._lock:
            return [other for other in namesakes if _same_place(memory, other)] if memory in namesakes else []

    def flights(self, store: Store, group: object) -> list[Flight[Outcome]]:
        """See `flights_of`."""
        with self._lock:
            known = list(self._known.values())
        flights = [flight for memory in known if memory.store is store for flight in memory.flights]
        return [flight for flight in flights if flight.group in (group, NO_GROUP)]

    def after_fork(self) -> None:
        self._lock, self._sending = Lock(), {}
        spread_anew()
        for memory in list(self._known.values()):
            memory.after_fork()


_registry = _Registry()


def _begins_with(memory: SessionMemory) -> tuple[str, int] | None:
    """An identity older than the first token, where only that is known and its session is not over."""
    seed = memory.seed
    if seed is None or memory.sightings.know_a_logout:
        return None
    family = seed.seed_fingerprint()
    return None if family in memory.earlier else (family, 0)


def _same_place(one: SessionMemory, other: SessionMemory) -> bool:
    """Whether both keep their tokens in one place, as far as is known: stores of one name, or one ``save``."""
    if is_shared(one.store):
        return one.store.name == other.store.name != Store.name
    return one.save is not None and one.save == other.save


def memory_of(store: Store, key: str) -> SessionMemory:
    """What all objects of this name on this store share."""
    return _registry.find(store, key)


def seeded(memory: SessionMemory, seed: Token) -> str | None:
    """Note the first token of a session; the name of another credential in use that began with its refresh token."""
    refresh = seed.refresh_token
    return None if refresh is None else _registry.seeded(memory, refresh.fingerprint())


def sharing(store: Store) -> list[SessionMemory]:
    """The memories of all credentials on this store."""
    return _registry.sharing(store)


def known_tokens(store: Store, key: str) -> list[Token]:
    """The tokens of this name that are in memory, from this store or from the first one of the name."""
    return _registry.tokens(store, key)


def servers_of(store: Store) -> Servers:
    """The servers that have answered for this store, as this process has seen it."""
    return _registry.servers(store)


def newest_known(memory: SessionMemory) -> Token | None:
    """The newest token that this process knows of the session in `memory`.

    Another object of this name may have a newer one: on another store object that leads to the same place (a client
    that was handed in beside a URL, an encrypted store beside a plain one), or for the same host application. The
    family, a digest of a refresh token, shows that it belongs to the same session.
    """
    return _registry.newest(memory)


def known_of(memory: SessionMemory) -> Known:
    """What this process knows of the credential now."""
    may_go_back = memory.store.may_go_back
    return Known(
        newest=newest_known(memory),
        owner=memory.owner,
        earlier=memory.earlier,
        proven=memory.acceptance.proven,
        sent=memory.leased,
        may_go_back=may_go_back,
        recovery=recovery_time(may_go_back=may_go_back) if is_shared(memory.store) else 0.0,
        spent=_registry.spent(memory),
    )


def is_under_way(memory: SessionMemory, identity: tuple[str, int], run: object) -> bool:
    """Whether a renewal of this process other than `run` has sent this refresh token and still waits."""
    theirs = [one.under_way or {} for one in (memory, *_registry.others(memory))]
    return any(sent == identity for each in theirs for other, sent in each.items() if other is not run)


def reserves(memory: SessionMemory, identity: tuple[str, int], run: object) -> bool:
    """Whether `run` alone may send the refresh token of this identity until it is over.

    Where a host application saves the tokens, each object has a record of its own, so that no claim decides between
    several objects of one name: this does.
    """
    return _registry.reserves(memory, identity, run)


def runs_under_way(memory: SessionMemory) -> list[object]:
    """The renewals of this process that have sent a refresh token of this credential and are not over."""
    return [run for one in (memory, *_registry.others(memory)) for run in one.under_way or ()]


def free(run: object) -> None:
    """Let others send what `run` has reserved: it is over."""
    _registry.free(run)


def keep(memory: SessionMemory) -> None:
    """Keep the memory of a host's session whose newest token is saved nowhere yet, for the next object of the name."""
    _registry.keep(memory)


def release(memory: SessionMemory) -> None:
    """Keep it no longer: its newest token is saved, or a login or logout has come."""
    _registry.release(memory)


def flights_of(store: Store, group: object) -> list[Flight[Outcome]]:
    """The renewals of one group that are under way on this store, also those whose `Credential` objects are gone.

    Those that no credential has launched yet belong to each group.
    """
    return _registry.flights(store, group)
