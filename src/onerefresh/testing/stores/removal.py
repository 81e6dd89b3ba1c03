"""The contract of a store that can remove records, which only `Credentials.purge` needs. A store may leave it out."""

from __future__ import annotations

import contextlib

from onerefresh.errors import ConfigurationError
from onerefresh.store import Conflict, Store
from onerefresh.testing.stores.recording import KEYS

try:
    import pytest
except ImportError as error:
    raise ConfigurationError(
        f"onerefresh.testing.StoreContract needs {error.name}: pip install 'onerefresh[testing]'"
    ) from None

__all__ = ["RemovalContract"]


class RemovalContract:
    """What `StoreContract` demands of `Store.remove`."""

    def test_what_was_removed_leaves_nothing(self, store: Store, again: Store) -> None:
        version = store.cas("acme", None, "body")
        other = store.cas("another", None, "body")
        if not _removes(again, "acme", version):
            return  # this store does not remove records
        assert store.load("acme") is None
        assert again.load("another") == store.load("another") == (other, "body")
        with contextlib.suppress(ConfigurationError):  # this store does not list its records
            assert [key for key, _ in store.scan()] == ["another"]
        new = store.cas("acme", None, "after")
        assert new != version
        assert again.load("acme") == (new, "after")

    @pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
    def test_a_record_of_any_name_is_removed(self, store: Store, key: str) -> None:
        if _removes(store, key, store.cas(key, None, "body")):
            assert store.load(key) is None

    def test_removing_an_old_version_conflicts_and_changes_nothing(self, store: Store, again: Store) -> None:
        old = store.cas("acme", None, "first")
        new = again.cas("acme", old, "second")
        for version in (old, "", "no such version"):
            with pytest.raises((Conflict, ConfigurationError)):
                store.remove("acme", version)
        assert store.load("acme") == again.load("acme") == (new, "second")

    def test_removing_what_is_not_there_conflicts(self, store: Store) -> None:
        with pytest.raises((Conflict, ConfigurationError)):
            store.remove("acme", "no such version")
        version = store.cas("acme", None, "body")
        if _removes(store, "acme", version):
            with pytest.raises(Conflict):
                store.remove("acme", version)


def _removes(store: Store, key: str, version: str) -> bool:
    """Remove the record; whether the store can do that."""
    try:
        store.remove(key, version)
    except ConfigurationError:
        return False
    return True
