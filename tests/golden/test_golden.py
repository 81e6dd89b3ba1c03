"""What was stored once can be read for good: each golden file says the same as on the day it was written, and is
written back with at most added fields.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.golden.cases import (
    CONTEXT,
    CREDENTIAL,
    GOLDEN,
    HELD,
    KEY,
    NAMES,
    PLACE,
    RECORDS,
    SPOOLED,
    Named,
    derived,
    opened,
    sealed,
    spooled,
    texts,
)

from onerefresh.record_text import decode, encode
from onerefresh.spool import Spool
from onerefresh.stored_values import CHECKSUM
from onerefresh.stores import envelope
from onerefresh.stores.flock import FlockHold, boot
from onerefresh.stores.sqlite import SQLiteStore


def golden(name: str) -> str:
    return (GOLDEN / name).read_text("ascii")


def assert_only_added(before: Any, after: Any, where: str = "") -> None:
    """`after` says all that `before` says, and perhaps more: fields of an object, elements of a history entry.

    The checksum is of all that it says.
    """
    if where == ".checksum":
        return
    assert type(before) is type(after), where
    if isinstance(before, dict):
        for name, value in before.items():
            assert name in after, f"{where}.{name}"
            assert_only_added(value, after[name], f"{where}.{name}")
    elif isinstance(before, list):
        may_grow = re.fullmatch(r"\.history\.\d+", where)
        assert len(before) == len(after) or (may_grow and len(before) < len(after)), where
        for number, (old, new) in enumerate(zip(before, after, strict=False)):
            assert_only_added(old, new, f"{where}.{number}")
    else:
        assert before == after, where


def without_checksum(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != CHECKSUM}


def assert_written_back(before: str, after: str) -> None:
    # A checksum speaks of its own text, so it is another one where a field was added.
    assert_only_added(without_checksum(json.loads(before)), without_checksum(json.loads(after)))
    assert before == after or json.loads(before) != json.loads(after), "nothing was added, and yet the text differs"


def test_every_golden_file_is_still_made_and_none_was_taken_away() -> None:
    there = {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*.json")}
    assert there == {*texts(), "derived.json"}, "run python -m tests.golden.write; never delete one that was released"


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_read_and_written_back(name: str) -> None:
    text = golden(f"records/{name}.json")
    assert decode(text, CREDENTIAL) == RECORDS[name]
    assert_written_back(text, encode(decode(text, CREDENTIAL)))


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "sealed"])
@pytest.mark.parametrize("name", SPOOLED)
def test_a_spooled_token_is_read_and_written_back(name: str, encrypted: bool, tmp_path: Path) -> None:
    entry, store = SPOOLED[name], Named(PLACE, envelope.Key(KEY) if encrypted else None)
    text = golden(f"spool/{name}{'.sealed' if encrypted else ''}.json")
    tmp_path.chmod(0o700)
    file = tmp_path / spooled(entry, store)[0]
    file.write_text(text, "ascii")
    file.chmod(0o600)
    found = Spool(store, CREDENTIAL, tmp_path).read()
    assert found == entry
    assert found.token.clock_skew == entry.skew  # which is no part of what makes two tokens equal
    assert_written_back(store.unseal(CREDENTIAL, text), store.unseal(CREDENTIAL, spooled(found, store)[1]))


@pytest.mark.parametrize(("number", "name"), list(enumerate(NAMES)))
def test_an_envelope_is_opened_and_written_back(number: int, name: str) -> None:
    text, key = golden(f"envelopes/record-{number}.json"), envelope.Key(KEY)
    inner = opened(text, envelope.Purpose.RECORD, name, key)
    assert decode(inner, name) == HELD
    assert_written_back(text, sealed(inner, envelope.Purpose.RECORD, name, key))


def test_an_envelope_of_a_context_is_opened_and_written_back() -> None:
    text, key = golden("envelopes/context.json"), envelope.Key(KEY)
    inner = opened(text, envelope.Purpose.RECORD, CREDENTIAL, key, CONTEXT)
    assert decode(inner, CREDENTIAL) == HELD
    assert_written_back(text, sealed(inner, envelope.Purpose.RECORD, CREDENTIAL, key, CONTEXT))


def test_an_envelope_of_no_generation_is_opened() -> None:
    text = golden("envelopes/of-no-generation.json")
    assert opened(text, envelope.Purpose.RECORD, CREDENTIAL, envelope.Key(KEY)) == "no JSON"


@pytest.mark.parametrize("kind", json.loads(golden("derived.json")))
def test_a_derived_name_never_changes(kind: str) -> None:
    assert derived()[kind] == json.loads(golden("derived.json"))[kind]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system's own names are compared")
def test_what_processes_of_one_machine_compare_is_made_of_the_same_facts(tmp_path: Path) -> None:
    """The era of a local store's clock, and the proof of a hold: one version must understand another's."""
    said = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    moment = SQLiteStore(tmp_path / "tokens.db").moment()
    assert (boot(), moment and moment.clock_epoch) == (said, said)
    hold = FlockHold.take(tmp_path / "new" / "one.lock")
    assert hold is not None
    found = (tmp_path / "new" / "one.lock").stat()
    assert hold.death_proof == f"flock {said} {found.st_dev}:{found.st_ino}"
    hold.release()
