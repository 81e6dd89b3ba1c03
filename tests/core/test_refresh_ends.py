"""The refresh token's own end: when it makes a token age, when it is due, and when a refresh cannot help."""

from __future__ import annotations

import itertools
import json
import math
import time
from dataclasses import replace

import pytest
from tests.core.driver import START, make_request, needy, seed
from tests.effects import EFFECTS

from onerefresh import Credential, Token
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.oauth2.codec import TokenRequest, TokenResponse
from onerefresh.policy import due_at, renewal_ends_at, thresholds
from onerefresh.record_text import token_from_fields, token_to_fields
from onerefresh.renewal.renew import renew


def token(*, lives: float | None = 3600.0, refresh_lives: float | None = None, **others: object) -> Token:
    ends_at = None if refresh_lives is None else START + refresh_lives
    return Token(
        "a",
        "r",
        issued_at=START,
        expires_in=lives,
        **{"refresh_expires_at": ends_at, **others},  # type: ignore[arg-type]
    )


# --- When it ages ---


@pytest.mark.parametrize(
    ("lives", "refresh_lives", "ages_after", "ends_after"),
    [
        pytest.param(3600.0, None, 3300.0, 3595.0, id="not known"),
        pytest.param(3600.0, 86_400.0, 3300.0, 3595.0, id="it ends later"),
        pytest.param(3600.0, 1800.0, 1440.0, 3595.0, id="it ends first"),
        pytest.param(3600.0, 3600.0, 2880.0, 3595.0, id="both end together: while the refresh token still works"),
        pytest.param(None, 1800.0, 1440.0, math.inf, id="only its end is known"),
        pytest.param(86_400.0 * 90, 86_400.0 * 30, 86_400.0 * 24, 86_400.0 * 90 - 5.0, id="days"),
        pytest.param(3600.0, 0.0, 3300.0, 3595.0, id="over when it came: a refresh cannot help"),
        pytest.param(3600.0, -60.0, 3300.0, 3595.0, id="long over when it came"),
    ],
)
def test_a_token_ages_by_the_earlier_of_both_ends(
    lives: float | None, refresh_lives: float | None, ages_after: float, ends_after: float
) -> None:
    found = thresholds(token(lives=lives, refresh_lives=refresh_lives), 0.0)
    assert found.refresh_at - START == pytest.approx(ages_after)
    assert found.unusable_at - START == ends_after, "the access token works as long as it did"


def test_an_end_that_the_last_refresh_did_not_move_makes_nothing_age() -> None:
    found = thresholds(token(refresh_lives=1800.0, refresh_end_moves=False), 0.0)
    assert found.refresh_at - START == pytest.approx(3300.0)


def test_the_end_of_a_refresh_token_that_is_not_there_counts_for_nothing() -> None:
    assert renewal_ends_at(Token("a", issued_at=START, refresh_expires_at=START + 60.0)) is None


@pytest.mark.parametrize("early", [False, 1.0, 0.01])
def test_it_counts_however_late_the_user_wants_a_refresh(early: float) -> None:
    """Else the session would end with it."""
    found = thresholds(token(refresh_lives=1800.0), 0.0, early or False)
    assert found.refresh_at - START == pytest.approx(1440.0)


# --- When it is due ---


@pytest.mark.parametrize(
    ("refresh_lives", "within", "unused_for", "due_after"),
    [
        (None, 600.0, None, 3000.0),
        (86_400.0, 600.0, None, 3000.0),
        (1800.0, 600.0, None, 1200.0),
        (1800.0, 10_000.0, None, 180.0),  # never in the first tenth of its life
        (None, None, 86_400.0, 86_400.0),
        (None, 600.0, 86_400.0, 3000.0),
        (None, 600.0, 1000.0, 1000.0),
        (30 * 86_400.0, None, 20 * 86_400.0, 20 * 86_400.0),
        (10 * 86_400.0, None, 20 * 86_400.0, 8 * 86_400.0),
        (None, None, None, math.inf),
    ],
)
def test_what_is_due_of_idle_sessions(
    refresh_lives: float | None, within: float | None, unused_for: float | None, due_after: float
) -> None:
    assert due_at(token(refresh_lives=refresh_lives), within, unused_for) - START == pytest.approx(due_after)


def test_without_a_refresh_token_nothing_dies_of_disuse() -> None:
    assert due_at(Token("a", issued_at=START, expires_in=60.0), None, 1000.0) == math.inf


# --- What a refresh does to it ---


@pytest.mark.parametrize(
    ("passed", "before", "after", "moves"),
    [
        pytest.param(600.0, 1800.0, 2400.0, True, id="an idle time-out: it moves with each use"),
        pytest.param(600.0, 1800.0, 1800.0, False, id="a session's maximum"),
        pytest.param(600.0, 1800.0, 1801.0, False, id="the same, in whole seconds"),
        pytest.param(600.0, 1800.0, 1799.0, False, id="the same, rounded down"),
        pytest.param(600.0, 1800.0, 1900.0, False, id="the last bit before the maximum"),
        pytest.param(600.0, 1800.0, 2200.0, True, id="most of it"),
        pytest.param(600.0, 1800.0, 1200.0, False, id="it comes nearer"),
        pytest.param(600.0, None, 1800.0, True, id="not known before"),
        pytest.param(600.0, 1800.0, None, True, id="not known now"),
        pytest.param(1.0, 1800.0, 1800.0, True, id="too short a time to tell"),
    ],
)
def test_whether_a_refresh_has_moved_the_end(
    passed: float, before: float | None, after: float | None, moves: bool
) -> None:
    old = token(refresh_lives=before)
    now = START + passed
    new = Token("b", "r-2", issued_at=now, expires_in=3600.0, refresh_expires_at=after and START + after)
    assert new.following(old).refresh_end_moves is moves


def test_what_was_known_stays_known_where_too_little_time_has_passed() -> None:
    old = token(refresh_lives=1800.0, refresh_end_moves=False)
    new = Token("b", "r-2", issued_at=START + 1.0, refresh_expires_at=START + 1801.0)
    assert not new.following(old).refresh_end_moves


@pytest.mark.parametrize(
    ("refresh", "stated", "ends_after"),
    [
        pytest.param("r", None, 1800.0, id="the same refresh token: its end stays"),
        pytest.param(None, None, 1800.0, id="none in the answer: the old one stays, with its end"),
        pytest.param("r-2", None, None, id="a new one without an end: not known"),
        pytest.param("r-2", 5000.0, 5000.0, id="a new one with its end"),
        pytest.param("r", 5000.0, 5000.0, id="the same one with a new end"),
    ],
)
def test_an_answer_that_does_not_repeat_the_end(
    refresh: str | None, stated: float | None, ends_after: float | None
) -> None:
    new = Token("b", refresh, issued_at=START + 600.0, refresh_expires_at=stated and START + stated)
    found = new.following(token(refresh_lives=1800.0)).refresh_expires_at
    assert (found and found - START) == ends_after


def test_it_is_stored_with_the_token() -> None:
    one = token(refresh_lives=1800.0, refresh_end_moves=False)
    assert token_from_fields(token_to_fields(one)) == one
    fields = token_to_fields(one)
    del fields["refresh_expires_at"], fields["refresh_end_moves"]
    older = token_from_fields(fields)
    assert (older.refresh_expires_at, older.refresh_end_moves) == (None, True)


# --- A session's life ---


def use(idle: float, maximum: float, *, lives: float, every: float) -> tuple[int, float]:
    """A session that is used `every` so many seconds to its end: how many refreshes, and when the last one came.

    The server ends a refresh token after `idle` seconds, and the session after `maximum`.
    """
    world = needy(replace(seed(lives=lives), refresh_expires_at=START + min(idle, maximum)))
    last = 0.0
    while world.now < maximum + lives:
        world.now += every
        token, now = world.present.token, world.now
        assert token is not None
        ends = token.refresh_expires_at
        if ends is not None and world.wall < ends:
            end = START + min(now + idle, maximum)
            world.answers = [
                Token(f"a-{now}", f"r-{now}", expires_in=lives, issued_at=world.wall, refresh_expires_at=end)
            ]
        sent = len(world.sent)
        try:
            world.run(renew(EFFECTS, make_request(background=True)))
        except Exception:  # noqa: BLE001 - the session is over
            break
        if len(world.sent) > sent:
            last = now
    return len(world.sent), last


def test_a_busy_session_lives_to_its_maximum_although_its_refresh_token_ends_first() -> None:
    sent, last = use(1800.0, 36_000.0, lives=7200.0, every=60.0)
    assert last > 36_000.0 - 7200.0, "it was never without a refresh token"
    assert sent <= 36_000.0 / 1440.0 + 3, "and not refreshed in a loop at its end"


@pytest.mark.seconds
def test_near_its_maximum_nothing_is_refreshed_in_vain() -> None:
    sent, _ = use(1800.0, 7200.0, lives=100_000.0, every=10.0)
    assert sent <= 7


# --- A credential ---


def test_the_record_shows_it_and_the_next_answer_moves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{"refresh_expires_in": 1800}, {"refresh_expires_in": 1800}, {}])
    count = itertools.count(1)

    def send(_: TokenRequest) -> TokenResponse:
        number = next(count)
        fields = {"access_token": f"a-{number}", "refresh_token": f"r-{number}", "expires_in": 3600, **next(answers)}
        return TokenResponse(200, {}, json.dumps(fields).encode())

    now = [START]
    monkeypatch.setattr(time, "time", lambda: now[0])
    endpoint = TokenEndpoint("https://acme.test/token", client_id="c", send=send)
    credential = Credential("acme", endpoint, token={"access_token": "a", "refresh_token": "r", "expires_in": 1})
    now[0] += 10.0
    assert credential.token().refresh_expires_at == START + 1810.0
    assert credential.status().refresh_expires_at == START + 1810.0
    now[0] += 1600.0
    assert credential.token().reveal() == "a-1", "it is used"
    flight = credential._memory.flight
    assert flight is None or flight.wait(20.0)
    assert credential.token().refresh_expires_at == START + 3410.0, "and renewed, although it lives for an hour"
    now[0] += 3600.0
    assert credential.token().refresh_expires_at is None, "a new refresh token whose end nobody knows"
    assert credential.status().refresh_end_moves
