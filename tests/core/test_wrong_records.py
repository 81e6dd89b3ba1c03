"""Whatever stands in a store: no error but ours comes out, and a person's commands work.

Each field of a record gets every kind of value that does not belong there, over the store itself, so that no checksum
tells. What is read all the same must be of use, and what is damaged is replaced by a login.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import Refresher, first_token
from tests.core.wrong_records import FULL, MISSING, OBJECTS, WRONG, full, places, put, wrong_records
from tests.golden.cases import GOLDEN, KEY, RECORDS

from onerefresh import Credential, Credentials, OnerefreshError, StoreUnavailable, Token, spool
from onerefresh.record import Grant, Record, State
from onerefresh.record_text import decode as decoded
from onerefresh.record_text import encode
from onerefresh.renewal.world import Spooled
from onerefresh.spool import Spool
from onerefresh.store import Store, Unreadable
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore

BASES = (FULL, "idle-held", "dead", "logged-out")
WRITES: dict[str, Callable[[Credential], object]] = {
    "login": lambda acme: acme.login(first_token(expires_in=3600)),
    "logout": lambda acme: acme.logout(),
}
COMMANDS: dict[str, Callable[[Credential], object]] = {
    "status": lambda acme: acme.status(),
    "token": lambda acme: acme.token(),
    "retry": lambda acme: acme.retry(),
    **WRITES,
}


def read(text: str) -> Record | None:
    """The record in a text; None where it is damaged or of a newer version. Nothing else may come out."""
    try:
        return decoded(text, "acme")
    except StoreUnavailable as error:
        caught = error
    assert "log in again to replace it" in str(caught) or isinstance(caught, Unreadable)
    return None


def kept_in(text: object, store: Store | None = None) -> Store:
    store = store or MemoryStore()
    store.cas("acme", None, text)  # type: ignore[arg-type]  # whatever it is
    return store


def raised_by(act: Callable[[], object]) -> OnerefreshError | None:
    try:
        act()
    except OnerefreshError as error:
        return error
    return None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
        yield error


def assert_works(store: Callable[[], Store], *, but: type[OnerefreshError] = OnerefreshError) -> None:
    """Each command, over the same record: what it raises is ours, to the bottom. Both that write do what they say."""
    for name, command in COMMANDS.items():
        place = store()
        with Credential("acme", Refresher(), store=place, max_wait=5.0) as acme:
            error = raised_by(lambda command=command, acme=acme: command(acme))  # type: ignore[misc]
            assert error is None or (name not in WRITES and isinstance(error, but)), f"{name}: {error!r}"
            assert all(isinstance(cause, OnerefreshError) for cause in causes(error)), f"{name}: {error!r}"
            if name == "login":
                assert acme.token().reveal() == "access-0"
                assert Credential("acme", Refresher(), store=place).status().state == State.IDLE
            if name == "logout":
                assert acme.status().state == State.EMPTY
    place = store()
    with Credentials(Refresher(), store=place) as many:
        many.delete("acme")
        assert many["acme"].status().state == State.EMPTY


@pytest.mark.seconds
@pytest.mark.parametrize("base", BASES)
def test_a_wrong_value_is_damage_or_does_no_harm(base: str) -> None:
    """Before types and ranges were checked, 209 of 3,936 such records raised errors that were not ours."""
    seen: set[str] = set()
    for what, text in wrong_records(base):
        record = read(text)
        if record is None:
            continue
        assert decoded(encode(record), "acme") == record, what
        place = what.partition(":")[0]
        if place not in seen:  # one that is read for each place: the others are as harmless
            seen.add(place)
            assert_works(lambda text=text: kept_in(text))  # type: ignore[misc]  # a default that binds


@pytest.mark.parametrize("base", BASES)
def test_what_is_read_of_a_wrong_value_is_of_the_right_type(base: str) -> None:
    """So that nothing behind the reader has to ask."""
    for what, text in wrong_records(base):
        record = read(text)
        if record is not None:
            assert type(record.generation) is int, what
            assert all(type(family) is str for family in record.families), what
            for thing, names in (
                (record.lease, ("ttl",)),
                (record.failure, ("at", "delay", "count", "doubts")),
                (record.probation, ("refusals", "at", "delay")),
                (record.floor, ("generation",)),
                (record.targets, ("generation", "count")),
                (record.token, ("issued_at", "generation")),
            ):
                numbers = [] if thing is None else [getattr(thing, name) for name in names]
                assert all(type(number) in (int, float) and number < 1e12 for number in numbers), what


COMBINED: dict[str, dict[str, Any]] = {
    "a lease without an attempt": {"state": "leased", "attempt": None},
    "a lease without a token": {"state": "leased", "token": None},
    "dead without a failure": {"state": "dead", "failure": None, "attempt": None},
    "dead without a token": {"state": "dead", "token": None, "attempt": None},
    "empty with a token": {"state": "empty", "attempt": None},
    "idle without a token": {"state": "idle", "token": None, "attempt": None},
    "no family": {"families": []},
    "no family and no token": {"families": [], "token": None, "state": "idle", "attempt": None},
    "no generation": {"generation": 0},
    "a late generation": {"generation": 2**40 - 9},
    "no history": {"history": []},
    "all families alike": {"families": ["a"] * 99},
}


@pytest.mark.parametrize("what", COMBINED)
def test_fields_that_do_not_go_together_do_no_harm(what: str) -> None:
    assert_works(lambda: kept_in(json.dumps({**full(), **COMBINED[what]})))


NO_RECORDS: dict[str, object] = {
    "nothing": "",
    "zero bytes": "\0\0\0",
    "half a pair": "\ud800",
    "a number": "7",
    "a list": "[]",
    "no number": "NaN",
    "without end": "Infinity",
    "digits": "9" * 5000,
    "nested": "[" * 100_000,
    "nested objects": '{"a":' * 100_000,
    "a record cut short": encode(RECORDS["idle"])[:-7],
    "two records": encode(RECORDS["idle"]) * 2,
    "another object": '{"schema":1}',
    "a long text": "x" * 1_000_000,
}


def places_to_keep(tmp_path: Path) -> dict[str, Callable[[object], Store]]:
    def sqlite(text: object) -> Store:
        number = len(list(tmp_path.iterdir()))
        return kept_in(text, SQLiteStore(tmp_path / f"{number}.db"))

    return {
        "memory": kept_in,
        "sqlite": sqlite,
        "encrypted": lambda text: kept_in(text, EncryptedStore(MemoryStore(), lambda: KEY)),
        "beneath the encryption": lambda text: EncryptedStore(kept_in(text), lambda: KEY),
        "beneath, where plain text is read": lambda text: EncryptedStore(kept_in(text), lambda: KEY, adopt_plain=True),
    }


@pytest.mark.seconds
@pytest.mark.parametrize("where", places_to_keep(Path()))
def test_what_is_no_record_is_replaced_by_a_login_in_each_store(where: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    keep = places_to_keep(tmp_path)[where]
    for name, text in NO_RECORDS.items():
        if where == "sqlite" and name not in ("zero bytes", "a record cut short", "nested"):
            continue  # it is slow, and its texts are UTF-8
        assert_works(lambda text=text: keep(text), but=StoreUnavailable)  # type: ignore[misc]


@pytest.mark.parametrize("body", [None, b"bytes", b"\xff", 7, 1.5, ["a"], {}], ids=repr)
def test_a_store_of_one_s_own_may_give_what_is_no_text(body: object) -> None:
    assert_works(lambda: kept_in(body), but=StoreUnavailable)
    assert_works(lambda: EncryptedStore(kept_in(body), lambda: KEY), but=StoreUnavailable)


# --- One flipped byte ---


@pytest.mark.parametrize("name", ["idle-held", "leased-fully", "idle-odd"])
def test_one_flipped_byte_is_told_from_truth(name: str) -> None:
    """Each byte of a record, with one of its bits turned: it is damage, or the record is the same.

    The same is what has lost a letter of the checksum's name or kind, and what JSON writes in two ways.
    """
    record = RECORDS[name]
    body = encode(record).encode("ascii")
    unseen = 0
    for place in range(len(body)):
        for bit in (place % 8, 5):
            flipped = bytearray(body)
            flipped[place] ^= 1 << bit
            found = read(flipped.decode("utf-8", "replace"))
            assert found in (None, record)
            unseen += found is not None
    assert unseen < len(body) / 2


def test_a_flipped_schema_or_state_asks_for_no_update() -> None:
    body = encode(RECORDS["idle"])
    for before, after in (('"schema":1', '"schema":3'), ('"idle"', '"idla"')):
        with pytest.raises(StoreUnavailable, match=r"its checksum does not match\); log in again") as caught:
            decoded(body.replace(before, after), "acme")
        assert not isinstance(caught.value, Unreadable)


def test_a_record_without_a_checksum_is_read_and_gets_one_when_it_is_written() -> None:
    old = (GOLDEN / "records/idle-held.json").read_text("ascii")
    assert "checksum" not in old
    new = json.loads(encode(decoded(old, "acme")))
    assert new.pop("checksum").startswith("sha256:")
    before = json.loads(old)
    assert new["token"] | before.pop("token") == new["token"]
    assert new | before == new


def test_every_field_of_the_tables_is_among_the_wrong_ones() -> None:
    """A field that is added later is tried as well, where the record that is taken has it."""
    fields = full()
    found = {place[-1] for place in places(fields)}
    assert {*fields, *(inner for name in OBJECTS for inner in fields[name])} <= found
    assert len(list(wrong_records())) > 1000
    assert put(fields, ("token", "scope"), MISSING)["token"].keys() == fields["token"].keys() - {"scope"}


# --- The files of the spool ---


class Somewhere(MemoryStore):
    name = "somewhere"


ENTRY = Spooled("f", 1, "a1", Grant.REFRESH, refused=False, token=Token("spooled", "spooled-refresh"))


def spool_file(folder: Path, store: Store | None = None) -> tuple[Spool, Path]:
    """A spool with the file of one token."""
    folder.chmod(0o700)
    mine = Spool(store or Somewhere(), "acme", folder)
    assert mine.write(ENTRY)
    [path] = folder.iterdir()
    return mine, path


@pytest.mark.seconds
def test_a_wrong_value_in_a_spool_file_is_damage_or_does_no_harm(tmp_path: Path) -> None:
    """One with ``"generation": Infinity`` raised OverflowError."""
    mine, path = spool_file(tmp_path)
    fields = json.loads(path.read_text())
    del fields["checksum"]
    for place in [(name,) for name in fields] + [("token", name) for name in fields["token"]]:
        for what, value in {**WRONG, "missing": MISSING}.items():
            path.write_text(json.dumps(put(fields, place, value)))
            if (place, what) == (("grant",), "a text"):
                continue  # a newer version's
            found = mine.read()
            assert found is None or isinstance(found.as_next(), Token), f"{place}: {what}"
            if found is not None:
                assert type(found.generation) is int
                assert type(found.refused) is bool
                assert spool._encoded(found)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\xff\xfe",
        b'"\\ud800"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"NaN",
        b"9" * 5000,
        b"[]",
        b'{"sealed":',
    ],
    ids=range(10),
)
@pytest.mark.parametrize("encrypted", [False, True])
def test_what_is_no_spooled_token_is_passed_over(content: bytes, encrypted: bool, tmp_path: Path) -> None:
    mine, path = spool_file(tmp_path, EncryptedStore(Somewhere(), lambda: KEY) if encrypted else None)
    path.write_bytes(content)
    if content == b'{"sealed":' and not encrypted:  # only with its key can anybody tell
        with pytest.raises(StoreUnavailable, match="it is encrypted"):
            mine.read()
    else:
        assert mine.read() is None


@pytest.mark.seconds
@pytest.mark.parametrize("encrypted", [False, True])
def test_one_flipped_byte_of_a_spool_file_is_told_from_truth(encrypted: bool, tmp_path: Path) -> None:
    mine, path = spool_file(tmp_path, EncryptedStore(Somewhere(), lambda: KEY) if encrypted else None)
    body = path.read_bytes()
    for place in range(0, len(body), 3):
        flipped = bytearray(body)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        found: list[object] = []
        error = raised_by(lambda found=found: found.append(mine.read()))  # type: ignore[misc]
        assert error is None or (encrypted and re.search("another key|update onerefresh", str(error)))
        assert found in ([], [None], [ENTRY])
