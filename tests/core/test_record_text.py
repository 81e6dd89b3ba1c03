"""The text of a record: a table of names, and what other versions of this library wrote is kept."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.calls import Refresher
from tests.core.driver import START, make_lease, make_request, seed

from onerefresh import Credential, LoginRequired, StoreUnavailable, Token, spool
from onerefresh import transitions as records
from onerefresh.damping import RefusedTarget, Targets
from onerefresh.failure import Failure
from onerefresh.policy import FOR_GOOD
from onerefresh.record import Entry, Grant, Lease, Probation, Record, State, TokenClock
from onerefresh.record_text import (
    FAILURE,
    FLOOR,
    LEASE,
    PROBATION,
    RECORD,
    TARGETS,
    TOKEN,
    TOKEN_CLOCK,
    decode,
    encode,
    token_from_fields,
    token_to_fields,
)
from onerefresh.refresh_rate import Floor
from onerefresh.renewal.decide import decide
from onerefresh.renewal.steps import Claim, Fail, Pause, Use
from onerefresh.renewal.world import Spooled
from onerefresh.secret import Secret
from onerefresh.spool import ENTRY, Spool
from onerefresh.store import Unreadable
from onerefresh.stored_fields import MOST_NESTED, Field
from onerefresh.stored_values import CHECKSUM, LAST
from onerefresh.stores.memory import MemoryStore
from onerefresh.verdict import FailureKind, Verdict

DOWN = Verdict(FailureKind.UNAVAILABLE, "down")
DEAD = Verdict(FailureKind.DEAD, "invalid_grant")
LATER: dict[str, object] = {"later": {"nested": [1, None, "a"]}, "ceiling": 7}
"""What a newer version writes into an object that this one knows otherwise."""

# --- The tables ---

OF_THE_PROCESS = {"clock_skew", "doubt", "taken_from"}
"""What only one process knows.

Of a token, the one that got it: the record says the first as `token_clock`, an event the second. Of a lease, the one
that claimed.
"""

TABLES = {
    Record: RECORD,
    Lease: LEASE,
    Failure: FAILURE,
    Probation: PROBATION,
    Floor: FLOOR,
    Targets: TARGETS,
    TokenClock: TOKEN_CLOCK,
    Token: TOKEN,
    Spooled: ENTRY,
}


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
def test_each_attribute_is_stored_once_and_under_one_name(kind: Any) -> None:
    table: tuple[Field, ...] = TABLES[kind]
    named = [field.attribute for field in table]
    attributes = {field.name for field in dataclasses.fields(kind)} - OF_THE_PROCESS
    assert sorted([*named, "unknown"]) == sorted(attributes)
    stored = [field.name for field in table]
    assert len(set(stored)) == len(stored)
    assert not {CHECKSUM, "schema", "sealed"} & set(stored)


@pytest.mark.parametrize("kind", [kind for kind in TABLES if kind is not Token], ids=lambda kind: kind.__name__)
def test_what_may_be_missing_has_a_default(kind: Any) -> None:
    defaults = {field.name for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING}
    assert {field.attribute for field in TABLES[kind] if not field.needed} <= defaults


PAGE = Path(__file__).parents[2] / "docs/explanation/stored-text.md"
ROWS = dict(re.findall(r"^\| (record|spool entry|`\w+`) \| (`.*`) \|$", PAGE.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
def test_the_page_has_each_stored_name_in_its_order(kind: Any) -> None:
    row = {Record: "record", Spooled: "spool entry", Lease: "`attempt`", TokenClock: "`clock`"}.get(
        kind, f"`{kind.__name__.lower()}`"
    )
    stored = [field.name for field in TABLES[kind]]
    if kind is Record:
        stored[-1:-1] = [CHECKSUM, "schema"]
    if kind is Spooled:
        stored.insert(0, CHECKSUM)
    assert re.findall(r"`(\w+)`", ROWS[row]) == stored


# --- Round trips ---

names = st.text(max_size=8)
texts = st.text(st.characters(), max_size=8)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


moments = st.integers(0, int(LAST)) | st.floats(0.0, LAST)
spans = st.integers(0, int(FOR_GOOD)) | st.floats(0.0, FOR_GOOD)


def unknown(table: tuple[Field, ...]) -> st.SearchStrategy[dict[str, object]]:
    known = {field.name for field in table} | {CHECKSUM, "schema"}
    return st.dictionaries(texts.filter(lambda name: name not in known), json_values, max_size=2)


leases = st.builds(
    Lease, id=texts, grant=st.sampled_from(Grant), ttl=spans, clock_epoch=st.none() | texts, at=numbers,
    death_proof=st.none() | texts, contested=st.booleans(), origin=st.sampled_from(State), guess=st.booleans(),
    unknown=unknown(LEASE),
)  # fmt: skip
failures = st.builds(
    Failure, kind=st.sampled_from(FailureKind), detail=texts, count=st.integers(0, 99), at=moments, delay=spans,
    maybe_spent=st.booleans(), contested=st.booleans(), refused=st.booleans(), challenge=st.none() | texts,
    doubts=st.integers(0, 99), prints=st.lists(texts, max_size=2).map(tuple), unknown=unknown(FAILURE),
)  # fmt: skip
probations = st.builds(
    Probation, refusals=st.integers(0, 99), at=moments, delay=spans, by_refusal=st.booleans(),
    reported=st.booleans(), repeated=st.booleans(), unknown=unknown(PROBATION),
)  # fmt: skip
tokens = st.builds(
    Token, access_token=texts.filter(bool), refresh_token=st.none() | texts.filter(bool).map(Secret),
    expires_at=st.none() | st.floats(0.0, LAST), issued_at=moments,
    scope=st.none() | texts, extra=st.dictionaries(texts, json_values, max_size=2), generation=st.integers(0, 99),
    family=texts, unknown=unknown(TOKEN),
)  # fmt: skip
floors = st.builds(
    Floor, generation=st.integers(0, 99), at=floats, clock_epoch=st.none() | texts,
    early=st.lists(floats, max_size=6).map(tuple), unknown=unknown(FLOOR),
)  # fmt: skip
refused_targets = st.builds(RefusedTarget, texts, floats, spans)
targets = st.builds(
    Targets, family=texts, clock_epoch=st.none() | texts, refused=st.lists(refused_targets, max_size=3).map(tuple),
    generation=st.integers(0, 99), count=st.integers(0, 99), at=floats, unknown=unknown(TARGETS),
)  # fmt: skip
clocks = st.builds(
    TokenClock, generation=st.integers(0, 99), machine=texts, skew=floats, clock_epoch=st.none() | texts, ahead=floats,
    unknown=unknown(TOKEN_CLOCK),
)  # fmt: skip
entries = st.builds(Entry, st.integers(0, 99), moments, texts, st.lists(json_values, max_size=3).map(tuple))
some_records = st.builds(
    Record, families=st.lists(texts, max_size=3).map(tuple), generation=st.integers(0, 99),
    state=st.sampled_from(State), token=st.none() | tokens, lease=st.none() | leases,
    failure=st.none() | failures, probation=st.none() | probations, committed_by=st.none() | texts,
    owner=st.none() | texts, unsaved=st.booleans(), history=st.lists(entries, max_size=3).map(tuple),
    floor=st.none() | floors, spent=st.lists(texts, max_size=3).map(tuple),
    targets=st.none() | targets, token_clock=st.none() | clocks, unknown=unknown(RECORD),
).filter(lambda record: record.token is None or record.families)  # fmt: skip


@pytest.mark.seconds
@given(some_records)
def test_any_record_survives_its_text_with_all_that_is_not_known_here(record: Record) -> None:
    text = encode(record)
    assert decode(text, "acme") == record
    assert encode(decode(text, "acme")) == text
    assert text.isascii()


@pytest.mark.seconds
@given(some_records, json_values)
def test_a_checksum_of_another_kind_is_dropped_and_none_is_needed(record: Record, checksum: object) -> None:
    fields = {**json.loads(encode(record)), CHECKSUM: checksum}
    assert encode(decode(json.dumps(fields), "acme")) == encode(record)
    del fields[CHECKSUM]
    assert encode(decode(json.dumps(fields), "acme")) == encode(record)


@pytest.mark.seconds
@given(some_records)
def test_a_store_may_write_the_same_values_otherwise(record: Record) -> None:
    """One of somebody's own may keep JSON: the order and the spaces are its own."""
    text = json.dumps(json.loads(encode(record)), sort_keys=True, indent=1, ensure_ascii=False)
    assert decode(text, "acme") == record


@given(tokens)
def test_any_token_survives_its_fields(token: Token) -> None:
    assert token_from_fields(json.loads(json.dumps(token_to_fields(token)))) == token


def test_the_token_comes_last_and_nothing_that_is_not_known_before_the_rest() -> None:
    """Redis writes the beginning of a slow command's argument into its log."""
    fields = list(json.loads(encode(replace(full(), unknown=LATER))))
    assert fields[: len(RECORD) - 1] == [field.name for field in RECORD if field.name != "token"]
    assert fields[-3:] == [CHECKSUM, "schema", "token"]
    assert encode(full()).index('"token"') > 128


@pytest.mark.parametrize("where", ["unknown", "token.extra", "token.unknown", "history"])
def test_what_is_nested_without_end_costs_no_token(where: str) -> None:
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"deeper": deep}
    record = idle()
    assert record.token is not None
    record = {
        "unknown": replace(record, unknown=deep),
        "token.extra": replace(record, token=replace(record.token, extra=deep)),
        "history": replace(record, history=(Entry(1, START, "seed", (deep,)),)),
        "token.unknown": replace(record, token=replace(record.token, unknown=deep)),
    }[where]
    found = decode(encode(record), "acme")
    assert encode(found).count("deeper") <= MOST_NESTED + 2
    assert found.identity == record.identity


# --- What a newer version wrote ---


def idle(**others: Any) -> Record:
    return replace(records.new_session(None, seed(), now=START, owner=None, what="seed"), **others)


def full() -> Record:
    """A record with every object that a record can have."""
    record = records.claimed(idle(), make_lease(), owner="me")
    failure = Failure(FailureKind.UNAVAILABLE, "down", 1, START, 0.5)
    floor = Floor(1, START, "an era", (START - 10.0, START))
    probation, clock = Probation(0, START, 10.0, by_refusal=True), TokenClock(1, "web-3", 90.0, "an era", 30.0)
    targets = Targets(record.family, "an era", (RefusedTarget("a print", START, 10.0),), 1, 1, START)
    record = replace(record, failure=failure, probation=probation, floor=floor)
    return replace(record, targets=targets, token_clock=clock)


OBJECTS = ("attempt", "failure", "probation", "floor", "targets", "clock", "token")


def fields_of(record: Record) -> dict[str, Any]:
    """What is stored of it, without the checksum: it is about to be changed."""
    fields: dict[str, Any] = json.loads(encode(record))
    del fields[CHECKSUM]
    return fields


def without_checksum(text: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(text).items() if name != CHECKSUM}


def of_later(record: Record) -> Record:
    """The record as a newer version might have written it, read by this one."""
    fields = fields_of(record)
    for name in OBJECTS:
        if fields[name] is not None:
            fields[name] |= LATER
    for entry in fields["history"]:
        entry += ["a host", {"process": 7}]
    return decode(json.dumps({**fields, **LATER}), "acme")


def test_what_is_not_known_is_kept_with_its_object_and_shown_nowhere() -> None:
    record = of_later(full())
    objects = (record.lease, record.failure, record.probation, record.floor, record.targets, record.token_clock)
    assert [thing and thing.unknown for thing in (record, *objects, record.token)] == [LATER] * 8
    assert [entry.more for entry in record.history] == [("a host", {"process": 7})]
    assert "later" not in repr(record)
    assert "a host" not in repr(record)
    assert of_later(full()) == record != full()
    assert isinstance(hash(replace(record, history=())), int)


NEW = Token("access-new", "refresh-new")


def dead(record: Record) -> Record:
    return records.died(record, DEAD, now=START, refused=False)


def moving(record: Record) -> Record:
    return records.moving(replace(record, state=State.IDLE, lease=None), "another store", id="m", now=START)


TRANSITIONS: Mapping[str, Callable[[Record], Record]] = {
    "login": lambda record: records.new_session(record, NEW, now=START, owner=None, what="login"),
    "logout": lambda record: records.logged_out(record, now=START),
    "taken over": lambda record: records.claimed(record, make_lease(id="another"), owner=None),
    "committed": lambda record: records.committed(record, NEW, by="b", grant=Grant.REFRESH, now=START, refused=False),
    "obtained": lambda record: records.committed(record, NEW, by="b", grant=Grant.OBTAIN, now=START, refused=False),
    "released": lambda record: records.released(record, None, now=START, jitter=0.0),
    "failed": lambda record: records.released(record, DOWN, now=START, jitter=0.0),
    "died": dead,
    "unsent": lambda record: records.unsent(record, "its loop ended", now=START, taken_over=True),
    "retried": lambda record: records.retried(replace(record, state=State.IDLE, lease=None), now=START),
    "forgotten": lambda record: records.forgotten(record, 2),
    "restored": lambda record: records.restored(record, NEW.numbered(record.family, 9), now=START),
    "replay accepted": lambda record: records.replay_reported(record, accepted=True, now=START),
    "replay refused": lambda record: records.replay_reported(record, accepted=False, now=START),
    "saved": lambda record: records.saved(record),
    "moving": moving,
    "arrived": lambda record: records.arrived(moving(record)),
    "left behind": lambda record: records.left_behind(moving(record)),
}
KEPT = {
    "login": set(),
    "logout": set(),
    "taken over": {"clock", "floor", "failure", "probation", "targets", "token"},
    "committed": {"floor", "targets"},
    "obtained": {"floor", "targets"},
    "released": {"clock", "floor", "failure", "probation", "targets", "token"},
    "failed": {"clock", "floor", "probation", "targets", "token"},
    "died": {"clock", "floor", "probation", "targets", "token"},
    "unsent": {"clock", "floor", "failure", "probation", "targets", "token"},
    "retried": {"clock", "failure", "probation", "token"},
    "forgotten": {"clock", "floor", "probation", "targets"},
    "restored": {"floor", "probation", "targets"},
    "replay accepted": {"clock", "floor", "attempt", "failure", "targets", "token"},
    "replay refused": {"clock", "floor", "attempt", "failure", "probation", "targets", "token"},
    "saved": {"clock", "floor", "attempt", "failure", "probation", "targets", "token"},
    "moving": {"clock", "floor", "failure", "probation", "targets", "token"},
    "arrived": {"clock", "floor", "failure", "probation", "targets", "token"},
    "left behind": set(),
}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_each_transition_keeps_the_record_s_own_and_that_of_each_object_that_goes_on(name: str) -> None:
    record = TRANSITIONS[name](of_later(full()))
    assert record.unknown == LATER
    objects = {line.name: getattr(record, line.attribute) for line in RECORD if line.name in OBJECTS}
    assert {each for each, thing in objects.items() if thing is not None and thing.unknown} == KEPT[name]
    assert record.history[0].more == ("a host", {"process": 7})
    assert decode(encode(record), "acme") == record


def test_every_transition_is_among_them() -> None:
    """Those that make a record of a record: a new one must be added here, and keep what it does not know."""
    found = {name for name in records.__all__ if name.islower()}
    assert found == {
        "arrived", "claimed", "committed", "died", "forgotten", "left_behind", "logged_out", "moving", "new_session",
        "released", "replay_reported", "restored", "retried", "saved", "unsent",
        "lost_record",  # of a record that the store has lost
    }  # fmt: skip


def test_stored_fields_of_a_token_are_that_token_s_alone() -> None:
    token = replace(NEW, unknown=LATER)
    assert token.numbered("f", 7).unknown == LATER
    assert token.arrived(START, START).unknown == LATER
    assert NEW.following(token).unknown == {}
    assert token.following(NEW).unknown == {}  # a refresher that returns a changed copy of what it was given
    assert "later" not in repr(token)


def test_an_unknown_meaning_is_a_failure_that_passes_and_is_written_back() -> None:
    failed = records.released(records.claimed(idle(), make_lease(), owner=None), DOWN, now=START, jitter=0.0)
    for delay, expected in ((2.0, Pause(2.0)), (60.0, Fail)):
        fields = fields_of(failed)
        fields["failure"] |= {"meaning": "withdrawn", "delay": delay}
        record = decode(json.dumps(fields), "acme")
        assert fields_of(record) == fields
        found = decide(record, make_request(refused=record.identity), START, lease_over=False)
        assert found == expected or (isinstance(found, Fail) and expected is Fail)
        if isinstance(found, Fail):
            assert type(found.error).__name__ == "RefreshUnavailable"
    assert records.died(records.claimed(record, make_lease(), owner=None), DEAD, now=START, refused=False).failure == (
        Failure(FailureKind.DEAD, "invalid_grant", 2, START, 0.0)
    )


def test_a_doubtful_end_of_a_newer_version_asks_for_a_login_for_a_while_and_is_never_final() -> None:
    """Stored as a failure of an idle record: `docs/explanation/stored-text.md`."""
    failed = records.released(records.claimed(idle(), make_lease(), owner=None), DOWN, now=START, jitter=0.0)
    fields = fields_of(failed)
    fields["failure"] |= {"meaning": "dead", "delay": 30.0, "doubts": 1, "prints": ["a1b2"]}
    record = decode(json.dumps(fields), "acme")
    asked = make_request(refused=record.identity)
    during = decide(record, asked, START + 29.0, lease_over=False)
    assert isinstance(during, Fail)
    assert isinstance(during.error, LoginRequired)
    assert decide(record, asked, START + 31.0, lease_over=False) == Claim(Grant.REFRESH)
    assert isinstance(decide(record, make_request(), START, lease_over=False), Use)
    assert fields_of(record) == fields


def test_an_unknown_grant_is_a_lease_like_any_other() -> None:
    fields = fields_of(full())
    fields["attempt"]["grant"] = "exchange"
    record = decode(json.dumps(fields), "acme")
    assert record.lease is not None
    assert record.lease.grant is Grant.REFRESH
    assert fields_of(record) == fields
    assert records.claimed(record, make_lease(), owner=None).lease == replace(make_lease(), unknown={})


@pytest.mark.parametrize(
    "change",
    [{"schema": 2}, {"schema": 999, "families": 7}, {"state": "parked"}, {"attempt": {"origin": "parked"}}],
    ids=str,
)
def test_what_only_a_newer_version_can_read_asks_for_an_update_and_not_for_a_login(change: dict[str, Any]) -> None:
    fields = fields_of(full())
    if "attempt" in change:
        change = {"attempt": {**fields["attempt"], **change["attempt"]}}
    with pytest.raises(Unreadable, match=r"update onerefresh; nothing was changed$") as caught:
        decode(json.dumps({**fields, **change}), "acme")
    assert "log in" not in str(caught.value)
    assert caught.value.credential == "acme"


@pytest.mark.parametrize("schema", [0, -1, True, "2", 1.5, None, [2]], ids=repr)
def test_what_is_no_schema_is_damage(schema: object) -> None:
    with pytest.raises(StoreUnavailable, match=r"damaged.*log in again"):
        decode(json.dumps({**fields_of(idle()), "schema": schema}), "acme")


@pytest.mark.parametrize("name", [field.name for field in RECORD if field.needed])
def test_a_record_without_a_field_that_it_needs_is_damaged(name: str) -> None:
    fields = {other: value for other, value in fields_of(full()).items() if other != name}
    with pytest.raises(StoreUnavailable, match=r"damaged.*log in again"):
        decode(json.dumps(fields), "acme")


@pytest.mark.parametrize("value", [7, "text", [1]])
@pytest.mark.parametrize("name", ["attempt", "failure", "probation", "token", "history"])
def test_what_stands_in_the_place_of_an_object_is_damage(name: str, value: object) -> None:
    with pytest.raises(StoreUnavailable, match=r"damaged.*log in again"):
        decode(json.dumps({**fields_of(full()), name: value}), "acme")


def test_a_session_lives_on_with_what_a_newer_version_wrote() -> None:
    """Through a refresh, a logout and a login of this version."""
    store, refresher = MemoryStore(), Refresher()
    store.cas("acme", None, encode(of_later(idle(token=replace(NEW, generation=1, expires_at=1.0, issued_at=0.0)))))

    def present() -> dict[str, Any]:
        found = store.load("acme")
        assert found is not None
        return dict(json.loads(found.body))

    with Credential("acme", refresher, store=store) as credential:
        for act in (credential.token, credential.logout, lambda: credential.login(Token("a", "refresh-other"))):
            act()
            assert LATER.items() <= present().items()
            assert present()["history"][0][3:] == ["a host", {"process": 7}]
            assert not present()["token"] or not LATER.keys() & present()["token"].keys()
        assert refresher.calls == 1


# --- The spool ---

ENTRY_TEXT = without_checksum(spool._encoded(Spooled("f", 1, "a1", Grant.REFRESH, refused=False, token=NEW)))


def spooled(tmp_path: Path, **fields: object) -> Spool:
    """A spool that holds the file of a newer version."""
    tmp_path.chmod(0o700)
    mine = Spool(Somewhere(), "acme", tmp_path)
    assert mine.write(Spooled("f", 1, "a1", Grant.REFRESH, refused=False, token=NEW))
    [path] = tmp_path.iterdir()
    path.write_text(json.dumps({**ENTRY_TEXT, **fields}))
    return mine


class Somewhere(MemoryStore):
    name = "somewhere"


def test_what_is_not_known_of_a_spooled_token_is_kept(tmp_path: Path) -> None:
    mine = spooled(tmp_path, **LATER, checksum="of the whole", token={**ENTRY_TEXT["token"], **LATER}, schema=1)
    entry = mine.read()
    assert entry is not None
    assert (entry.unknown, entry.token.unknown) == (LATER, LATER)
    assert entry.as_next().unknown == LATER
    assert "later" not in repr(entry)
    assert without_checksum(spool._encoded(entry)) == {
        **ENTRY_TEXT, **LATER, "token": {**ENTRY_TEXT["token"], **LATER}
    }  # fmt: skip


@pytest.mark.parametrize("change", [{"schema": 2}, {"grant": "exchange"}], ids=str)
def test_a_spooled_token_that_only_a_newer_version_understands_is_not_passed_over(
    change: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(StoreUnavailable, match=r"acme.*newer version of onerefresh: update onerefresh; nothing"):
        spooled(tmp_path, **change).read()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "change", [{"schema": 0}, {"grant": 7}, {"token": 7}, {"generation": float("inf")}, {"generation": None}], ids=str
)
def test_a_spooled_text_that_is_damaged_is_none(change: dict[str, object], tmp_path: Path) -> None:
    assert spooled(tmp_path, **change).read() is None
