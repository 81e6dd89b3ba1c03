from __future__ import annotations

import copy
import json
import pickle
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerefresh import errors
from onerefresh.bodies import parse_retry_after
from onerefresh.judge_answer import judge_answer
from onerefresh.judge_exception import judge_exception
from onerefresh.redaction import Redactor
from onerefresh.secret import Secret
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

EMPTY = {"Content-Length": "0"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<!doctype html><title>Bad gateway</title>"

BY_CODE = [
    ("invalid_grant", FailureKind.DEAD),
    ("INVALID_GRANT", FailureKind.DEAD),
    ("token_not_valid", FailureKind.DEAD),
    ("bad_refresh_token", FailureKind.DEAD),
    ("refresh_token_already_used", FailureKind.DEAD),
    ("invalidRefreshToken", FailureKind.DEAD),
    ("invalid-refresh-token", FailureKind.DEAD),
    ("InvalidGrant", FailureKind.DEAD),
    ("REFRESH_TOKEN_EXPIRED", FailureKind.DEAD),
    ("refreshTokenRevoked", FailureKind.DEAD),
    ("InvalidToken", FailureKind.DOUBTFUL),
    ("invalid_client", FailureKind.CLIENT_REJECTED),
    ("unauthorized_client", FailureKind.CLIENT_REJECTED),
    ("incorrect_client_credentials", FailureKind.CLIENT_REJECTED),
    ("invalid_request", FailureKind.REQUEST_REJECTED),
    ("invalid_scope", FailureKind.REQUEST_REJECTED),
    ("invalid_target", FailureKind.REQUEST_REJECTED),
    ("unsupported_grant_type", FailureKind.REQUEST_REJECTED),
    ("interaction_required", FailureKind.INTERACTION),
    ("mfa_required", FailureKind.INTERACTION),
    ("temporarily_unavailable", FailureKind.UNAVAILABLE),
    ("ratelimited", FailureKind.UNAVAILABLE),
    ("server_error", FailureKind.SERVER_ERROR),
    ("something_of_their_own", FailureKind.DOUBTFUL),
    ("invalid_token", FailureKind.DOUBTFUL),
    ("NotAuthorizedException", FailureKind.DOUBTFUL),
]


@pytest.mark.parametrize(("code", "kind"), BY_CODE)
def test_an_answer_is_judged_by_its_error_code(code: str, kind: FailureKind) -> None:
    verdict = judge_answer(400, json.dumps({"error": code}).encode())
    assert (verdict.kind, verdict.detail) == (kind, f"the token endpoint answered 400 {code!r}")


@pytest.mark.parametrize(
    "body",
    [
        {"error": "invalid_grant"},
        {"code": "token_not_valid", "detail": "Token is invalid or expired"},
        {"error": {"code": 400, "message": "TOKEN_EXPIRED", "status": "INVALID_ARGUMENT"}},
        {"error": {"code": "invalid_grant"}},
        {"code": 400, "error_code": "refresh_token_not_found", "msg": "Invalid Refresh Token"},
    ],
)
def test_an_error_code_is_found_wherever_apis_put_it(body: dict[str, object]) -> None:
    for form in (body, json.dumps(body), json.dumps(body).encode()):
        assert judge_answer(400, form).kind is FailureKind.DEAD


BY_STATUS: list[tuple[int, bytes | None, dict[str, str], FailureKind]] = [
    (200, b"{}", {}, FailureKind.PROTOCOL),
    (200, b"[]", {}, FailureKind.PROTOCOL),
    (200, b"OK", {}, FailureKind.PROTOCOL),
    (200, b"", EMPTY, FailureKind.PROTOCOL),
    (204, None, {}, FailureKind.PROTOCOL),
    (204, b"", {"Date": "Mon, 01 Jan 2024 00:00:00 GMT"}, FailureKind.PROTOCOL),  # it never has a length
    (200, b"", {"Content-Type": "application/json"}, FailureKind.NO_ANSWER),
    (200, b'{"access_token": "half', {}, FailureKind.NO_ANSWER),
    (200, PAGE, {}, FailureKind.NO_ANSWER),
    (200, None, HTML, FailureKind.NO_ANSWER),
    (200, b'{"error": "invalid_grant"}', {}, FailureKind.DEAD),
    (103, b"", {}, FailureKind.NO_ANSWER),
    (302, PAGE, HTML, FailureKind.REQUEST_REJECTED),
    (308, b"", {}, FailureKind.REQUEST_REJECTED),
    (400, b"", EMPTY, FailureKind.DOUBTFUL),
    (400, b"", {}, FailureKind.DOUBTFUL),
    (400, None, {}, FailureKind.DOUBTFUL),
    (400, b"{}", {}, FailureKind.DOUBTFUL),
    (400, b"Bad Request", {}, FailureKind.DOUBTFUL),
    (400, PAGE, {}, FailureKind.UNAVAILABLE),
    (401, b"", EMPTY, FailureKind.DOUBTFUL),
    (401, None, {}, FailureKind.DOUBTFUL),
    (401, b'{"detail": "Unauthorized"}', {}, FailureKind.DOUBTFUL),
    (401, b'{"error": "invalid_client"}', {}, FailureKind.CLIENT_REJECTED),
    (401, PAGE, {}, FailureKind.UNAVAILABLE),
    (403, b"{}", {}, FailureKind.REQUEST_REJECTED),
    (403, b'{"error": "invalid_grant"}', {}, FailureKind.DEAD),
    (403, PAGE, HTML, FailureKind.UNAVAILABLE),
    (404, PAGE, HTML, FailureKind.REQUEST_REJECTED),
    (405, b"", EMPTY, FailureKind.REQUEST_REJECTED),
    (408, b"", EMPTY, FailureKind.UNAVAILABLE),
    (429, b'{"error": "access_denied"}', {}, FailureKind.UNAVAILABLE),
    (429, b'{"error": "invalid_grant"}', {}, FailureKind.UNAVAILABLE),
    (500, b"", EMPTY, FailureKind.SERVER_ERROR),
    (502, PAGE, HTML, FailureKind.SERVER_ERROR),
    (500, b'{"error": "invalid_token"}', {}, FailureKind.SERVER_ERROR),
    (503, PAGE, HTML, FailureKind.UNAVAILABLE),
    (504, b"", EMPTY, FailureKind.NO_ANSWER),
    (504, b'{"error": "temporarily_unavailable"}', {}, FailureKind.UNAVAILABLE),
    (524, b"", EMPTY, FailureKind.NO_ANSWER),
]


@pytest.mark.parametrize(("status", "body", "headers", "kind"), BY_STATUS)
def test_an_answer_without_a_known_code_is_judged_by_its_status(
    status: int, body: bytes | None, headers: dict[str, str], kind: FailureKind
) -> None:
    assert judge_answer(status, body, headers).kind is kind


def test_only_what_may_have_reached_the_server_may_have_spent_the_token() -> None:
    spent = {kind for kind in FailureKind if kind.may_have_spent}
    assert spent == {FailureKind.SERVER_ERROR, FailureKind.NO_ANSWER, FailureKind.PROTOCOL, FailureKind.REFRESHER}


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://me:pw@login.example:8443/new?code=hidden#part", " and points to https://login.example:8443/new"),
        ("/token/", " and points to /token/"),
        ("https://login.example:99999/", ""),
        ("https://login.example/\x1b[31m", ""),
        (None, ""),
    ],
)
def test_a_redirect_tells_origin_and_path_alone(location: str | None, shown: str) -> None:
    verdict = judge_answer(302, b"", {"Location": location} if location else {})
    hint = "; redirects are not followed for token requests: correct the token endpoint URL"
    assert verdict.detail == f"the token endpoint answered 302{shown}{hint}"


class TestDescriptions:
    def said(self, description: object, *hidden: str) -> str:
        body = json.dumps({"error": "invalid_grant", "error_description": description})
        return judge_answer(400, body, hidden=Redactor([Secret(text) for text in hidden], complete=True)).detail

    def test_a_description_is_quoted(self) -> None:
        assert self.said("Token is not active", "rt-12345678").endswith("'invalid_grant' (Token is not active)")

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"message": "too old"}, "(too old)"),
            ({"code": 20026, "msg": "too old"}, "code 20026 (too old)"),
            ({"errcode": 40030, "errmsg": "too old"}, "code 40030 (too old)"),
            ({"error": {"code": 400, "message": "TOO_OLD", "status": "INVALID"}}, "'TOO_OLD'"),
            ({"error": {"code": 190, "message": "it is too old"}}, "code 190 (it is too old)"),
            ({"status": 401, "error": "it is too old"}, "(it is too old)"),
            ({"detail": "too old", "code": "gone"}, "'gone' (too old)"),
            ({"errors": [{"message": "too old", "extensions": {"code": "GONE"}}]}, "(too old)"),
            ({"error": "gone", "error_description": "too old", "message": "other"}, "'gone' (too old)"),
            ({"error": "gone", "message": "gone"}, "'gone'"),
            ({"code": 10**5000, "message": "too old"}, "(too old)"),
        ],
    )
    def test_the_words_of_plain_json_apis_are_quoted(self, body: dict[str, object], said: str) -> None:
        found = judge_answer(401, body, hidden=Redactor([], complete=True)).detail
        assert found == f"the token endpoint answered 401{', ' if said.startswith('code') else ' '}{said}"
        assert judge_answer(401, body).detail.startswith("the token endpoint answered 401")
        assert "too old" not in judge_answer(401, body).detail

    @pytest.mark.parametrize(
        "text", ["no session for rt-12345678", "rt-12345678", "rt-12345… unknown", "-1234567 has expired"]
    )
    def test_a_description_that_shows_part_of_a_secret_is_not(self, text: str) -> None:
        assert self.said(text, "rt-12345678").endswith("answered 400 'invalid_grant'")

    def test_a_description_is_not_quoted_where_the_secrets_are_not_known(self) -> None:
        body = json.dumps({"error": "invalid_grant", "error_description": "abc"})
        assert judge_answer(400, body).detail.endswith("answered 400 'invalid_grant'")

    def test_a_description_is_one_printable_line_of_200_characters_at_most(self) -> None:
        assert self.said("a\r\nb\x1b[31m\u202ec").endswith("(a b [31m c)")
        assert self.said("x" * 5000).endswith(f"({'x' * 200})")

    @pytest.mark.parametrize("text", [None, 5, ["a"], "", " \n"])
    def test_what_is_no_description_is_left_out(self, text: object) -> None:
        assert self.said(text).endswith("answered 400 'invalid_grant'")

    def test_a_code_that_is_the_secret_is_not_quoted(self) -> None:
        verdict = judge_answer(400, {"error": "rt-12345678"}, hidden=Redactor([Secret("rt-12345678")], complete=True))
        assert verdict.detail == "the token endpoint answered 400"


@given(
    st.integers(100, 599),
    st.none() | st.binary() | st.text() | st.dictionaries(st.text(), st.none() | st.text() | st.integers()),
    st.dictionaries(st.sampled_from(["Location", "Retry-After", "Content-Type", "X"]), st.text()),
)
def test_any_answer_gets_a_verdict_and_an_error(
    status: int, body: bytes | str | dict[str, object] | None, headers: dict[str, str]
) -> None:
    verdict = judge_answer(status, body, headers, hidden=Redactor(complete=True))
    assert isinstance(verdict.error(), errors.OnerefreshError)
    assert verdict.detail.isprintable()


def test_deeply_nested_json_is_no_error() -> None:
    assert judge_answer(400, "[" * 100_000).kind is FailureKind.DOUBTFUL


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        (formatdate(1_000_090, usegmt=True), 90.0),
        ("Mon, 12 Jan 1970 13:48:10 -0000", 90.0),
        (formatdate(999_000, usegmt=True), 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=1_000_000.0) == seconds


@given(st.text())
def test_no_retry_after_header_is_an_error(value: str) -> None:
    seconds = parse_retry_after(value)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("skew", [0.0, 7200.0, -7200.0])
def test_a_date_to_wait_for_counts_from_the_answer_s_own_date(skew: float, monkeypatch: pytest.MonkeyPatch) -> None:
    server = 1_700_000_000.0
    monkeypatch.setattr("time.time", lambda: server + skew)
    headers = {"Date": formatdate(server, usegmt=True), "Retry-After": formatdate(server + 30.0, usegmt=True)}
    assert judge_answer(503, b"", headers).retry_after == pytest.approx(30.0, abs=1.0)


@pytest.mark.parametrize("date", ["", "soon", "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_date_of_no_use_leaves_this_machine_s_clock(date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_700_000_000.0
    monkeypatch.setattr("time.time", lambda: now)
    headers = {"Date": date, "Retry-After": formatdate(now + 30.0, usegmt=True)}
    assert judge_answer(503, b"", headers).retry_after == pytest.approx(30.0, abs=1.0)
    old = {**headers, "Date": formatdate(now - 7200.0, usegmt=True), "Age": "7200"}
    assert judge_answer(503, b"", old).retry_after == pytest.approx(30.0, abs=1.0), "from a cache"


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
def test_a_verdict_says_how_long_to_wait(name: str) -> None:
    verdict = judge_answer(429, b"", {name: "7"})
    error = verdict.error()
    assert isinstance(error, errors.RefreshUnavailable)
    assert error.retry_after == 7.0


def test_the_claims_that_a_server_asks_for_are_in_the_error() -> None:
    verdict = judge_answer(400, {"error": "interaction_required", "claims": '{"access_token": {}}'})
    error = verdict.error()
    assert isinstance(error, errors.InteractionRequired)
    assert error.challenge == '{"access_token": {}}'


MADE = {
    FailureKind.DEAD: errors.LoginRequired,
    FailureKind.DOUBTFUL: errors.LoginRequired,
    FailureKind.CLIENT_REJECTED: errors.ClientRejected,
    FailureKind.REQUEST_REJECTED: errors.RequestRejected,
    FailureKind.INTERACTION: errors.InteractionRequired,
    FailureKind.CONFIGURATION: errors.ConfigurationError,
    FailureKind.UNAVAILABLE: errors.RefreshUnavailable,
    FailureKind.SERVER_ERROR: errors.RefreshUnavailable,
    FailureKind.NO_ANSWER: errors.RefreshOutcomeUnknown,
    FailureKind.PROTOCOL: errors.RefreshProtocolError,
    FailureKind.UNUSABLE: errors.RefreshProtocolError,
    FailureKind.REFRESHER: errors.RefresherFailed,
}


@pytest.mark.parametrize("kind", FailureKind)
def test_each_meaning_has_its_error(kind: FailureKind) -> None:
    error = Verdict(kind, "what happened").error()
    assert type(error) is MADE[kind]
    doubt = (
        ": either the session is over, or the client settings or the refresher are wrong: log in again, "
        "or correct them and call retry()"
    )
    assert str(error) == "what happened" + doubt * (kind is FailureKind.DOUBTFUL)


def test_only_a_doubtful_refusal_is_not_proven() -> None:
    for kind, proven in ((FailureKind.DEAD, True), (FailureKind.DOUBTFUL, False)):
        error = Verdict(kind, "what happened").error()
        assert isinstance(error, errors.LoginRequired)
        for one in (error, error.fresh(), error.about("acme", 3).fresh(), pickle.loads(pickle.dumps(error))):
            assert one.proven is proven
            assert one.message == error.message


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if kind is not FailureKind.SERVER_ERROR])
def test_an_error_of_ours_raised_by_a_refresher_keeps_its_meaning(kind: FailureKind) -> None:
    raised = Verdict(kind, "what happened", retry_after=3.0, challenge="more").error()
    if kind in (
        FailureKind.REFRESHER,
        FailureKind.UNUSABLE,
    ):  # whoever raises what the latter raises, has kept nothing
        return
    verdict = judge_exception(raised)
    assert verdict.kind is kind
    assert type(verdict.error()) is type(raised)
    assert vars(verdict.error()) == vars(raised)


def test_a_subclass_of_an_error_of_ours_counts_as_that_error() -> None:
    class Expelled(errors.LoginRequired):
        pass

    assert judge_exception(Expelled("you are out")) == Verdict(FailureKind.DEAD, "you are out")


def test_an_error_about_another_credential_says_nothing_about_this_one() -> None:
    raised = errors.LoginRequired("log in again", credential="parent")
    assert judge_exception(raised).kind is FailureKind.REFRESHER
    assert "credential 'parent': log in again" in judge_exception(raised).detail


@pytest.mark.parametrize("kind", [errors.WaitTimeout, errors.StoreUnavailable, errors.SaveFailed])
def test_an_error_of_ours_that_no_token_endpoint_means_is_the_refreshers_own(
    kind: type[errors.OnerefreshError],
) -> None:
    assert judge_exception(kind("of another credential")).kind is FailureKind.REFRESHER


@pytest.mark.parametrize(
    "error", [ValueError("secret-text"), KeyError("secret-text"), FileNotFoundError("secret-text")]
)
def test_any_other_exception_is_the_refreshers_own_and_its_text_is_not_shown(error: Exception) -> None:
    verdict = judge_exception(error)
    assert verdict == Verdict(FailureKind.REFRESHER, f"the refresher raised {type(error).__name__}")


def test_an_exception_that_carries_an_oauth_error_is_judged_by_it() -> None:
    class OAuth2Error(Exception):
        error = "invalid_grant"

    assert judge_exception(OAuth2Error("no")).kind is FailureKind.DEAD


def test_an_exception_that_refers_to_itself_is_judged() -> None:
    error = ValueError()
    error.args = (error,)
    assert judge_exception(error).kind is FailureKind.REFRESHER


def test_a_judged_failure_stays_as_it_is() -> None:
    failure = RefreshFailure(Verdict(FailureKind.UNAVAILABLE, "down", 2.0))
    assert judge_exception(failure) is failure.verdict
    assert str(failure) == "down"
    for again in (copy.copy(failure), pickle.loads(pickle.dumps(failure))):
        assert again.verdict == failure.verdict
