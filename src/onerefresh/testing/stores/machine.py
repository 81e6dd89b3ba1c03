"""Random histories of a store, compared with a dict."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Sequence

from onerefresh.errors import ConfigurationError
from onerefresh.store import Conflict, Store

try:
    from hypothesis import strategies as st
    from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
except ImportError:
    raise ConfigurationError(
        "onerefresh.testing.StoreMachine needs hypothesis: pip install 'onerefresh[testing]'"
    ) from None

__all__ = ["StoreMachine"]

NAMES = "abc"


class StoreMachine(RuleBasedStateMachine):
    """A Hypothesis state machine that uses several `stores` of one place in turn. Each run takes new keys.

    Run it with ``run_state_machine_as_test(lambda: StoreMachine([store, again]))``, as `StoreContract` does.
    """

    versions = Bundle("versions")

    def __init__(self, stores: Sequence[Store]) -> None:
        super().__init__()
        self.stores = stores
        self.store = stores[0]
        self.keys = {name: f"{name} {secrets.token_hex(8)}" for name in NAMES}
        self.model: dict[str, tuple[str, str]] = {}
        self.seen: defaultdict[str, set[str]] = defaultdict(set)

    @rule(target=versions, name=st.sampled_from(NAMES), body=st.text(max_size=50), version=versions | st.none())
    def write_over(self, name: str, body: str, version: str | None) -> object:
        """Write over any version; that must be a conflict, unless it is the present one."""
        if self._present(name) == version:
            return self._written(name, version, body)
        try:
            written = self.store.cas(self.keys[name], version, body)
        except Conflict:
            return multiple()
        raise AssertionError(f"wrote {written!r} over {version!r}, which is not the current version")

    @rule(target=versions, name=st.sampled_from(NAMES), body=st.text(max_size=50))
    def write_over_the_present(self, name: str, body: str) -> str:
        """Write over the present version."""
        return self._written(name, self._present(name), body)

    @rule(name=st.sampled_from(NAMES), version=versions)
    def remove(self, name: str, version: str) -> None:
        """Remove any version; that must be a conflict, unless it is the present one."""
        try:
            self.store.remove(self.keys[name], version)
        except Conflict:
            assert self._present(name) != version, f"{version!r} is the current version, and was not removed"
        except ConfigurationError:
            return  # this store does not remove records
        else:
            assert self._present(name) == version, f"removed {version!r}, which is not the current version"
            del self.model[name]

    @rule(name=st.sampled_from(NAMES))
    def hold_and_release(self, name: str) -> None:
        """Take the lock, which must be free since there is no other holder."""
        hold = self.store.hold(self.keys[name])
        assert hold is not None
        hold.release()

    @rule(name=st.sampled_from(NAMES))
    def wait(self, name: str) -> None:
        """Wait for no time at all."""
        self.store.wait(self.keys[name], "another version", 0.0)

    @rule(data=st.data())
    def turn_to_another_opening(self, data: st.DataObject) -> None:
        """Continue with another of the stores."""
        self.store = self.stores[data.draw(st.integers(0, len(self.stores) - 1))]

    @invariant()
    def the_store_holds_what_was_written(self) -> None:
        """Each key has its last version and body, or nothing."""
        found = {name: self.store.load(key) for name, key in self.keys.items()}
        assert found == {name: self.model.get(name) for name in NAMES}

    def _present(self, name: str) -> str | None:
        return self.model[name][0] if name in self.model else None

    def _written(self, name: str, version: str | None, body: str) -> str:
        written = self.store.cas(self.keys[name], version, body)
        assert written not in self.seen[name], f"version {written!r} came back"
        self.seen[name].add(written)
        self.model[name] = (written, body)
        return written
