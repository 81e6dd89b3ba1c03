"""A server that wants the token in its own way takes it in no other."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from onerefresh.testing import AuthServer, RemoteServer, fingerprint
from onerefresh.testing.http import Request
from onerefresh.testing.wanted import BEARER, Doubled, Wanted

EXTRA = {"account": "a7", "shop": {"id": 42}}


def request(query: str = "", **headers: list[str]) -> Request:
    return Request("GET", "/api/a", query, "HTTP/1.1", {name.replace("_", "-"): headers[name] for name in headers}, b"")


@pytest.mark.parametrize(
    ("attach", "right", "wrong"),
    [
        (BEARER, request(authorization=["bearer  t1 "]), request(authorization=["Token t1"])),
        ("Token {token}", request(authorization=["Token t1"]), request(authorization=["token t1"])),
        ('S Token="{token}"', request(authorization=['S Token="t1"']), request(authorization=["S Token=t1"])),
        ("{token}", request(authorization=["t1"]), request(x_key=["t1"])),
        ({"X-Key": "{token}"}, request(x_key=["t1"]), request(authorization=["t1"])),
        ({"?k[0]": "{token}"}, request("a=b&k%5B0%5D=t1"), request("k=t1")),
        ({"cookie:s": "{token}"}, request(cookie=["a=b; s=t1;"]), request("s=t1")),
        (
            {"X-A": "{token}", "X-B": "{extra.account}/{extra.shop.id}"},
            request(x_a=["t1"], x_b=["a7/42"]),
            request(x_a=["t1"], x_b=["a7/43"]),
        ),
        ({"X-A": "{token}", "?b": "{token}"}, request("b=t1", x_a=["t1"]), request("b=t2", x_a=["t1"])),
        ({"X-A": "{token}", "X-B": "2"}, request(x_a=["t1"], x_b=["2"]), request(x_a=["t1"])),
    ],
)
def test_the_token_is_found_where_it_is_wanted_alone(attach: Any, right: Request, wrong: Request) -> None:
    wanted = Wanted(attach, EXTRA)
    assert wanted.token_in(right) == "t1"
    assert wanted.token_in(wrong) is None
    assert wanted.token_in(request()) is None


@pytest.mark.parametrize(
    ("attach", "doubled"),
    [
        (BEARER, request(authorization=["Bearer t1", "Bearer t1"])),
        ({"?k": "{token}"}, request("k=t1&k=t1")),
        ({"?k": "{token}"}, request("k=t1&%6B=t1")),
        ({"cookie:s": "{token}"}, request(cookie=["s=t1; s=t1"])),
        ({"cookie:s": "{token}"}, request(cookie=["s=t1", "s=t1"])),
    ],
)
def test_a_second_value_is_no_request_at_all(attach: Any, doubled: Request) -> None:
    with pytest.raises(Doubled):
        Wanted(attach, EXTRA).token_in(doubled)


@pytest.mark.parametrize(
    ("attach", "says"),
    [
        ("Bearer", "has no"),
        ({"X-A": "{token}", "X-B": "{extra.other}"}, "the field 'other'"),
        (lambda _: "x", "not functions"),
        (7, "must be a template"),
    ],
)
def test_a_wish_that_no_text_can_meet_is_refused_when_the_server_is_made(attach: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        AuthServer(attach=attach, extra=EXTRA)
    with pytest.raises(ValueError, match=says):
        RemoteServer.start(attach=attach, extra=EXTRA)


def test_a_server_in_a_process_of_its_own_wants_it_too() -> None:
    with RemoteServer.start(attach={"?k": "{token}"}) as server, httpx2.Client(trust_env=False) as client:
        token = str(server.issue()["access_token"])
        assert client.get(server.api_url + "/a", headers={"Authorization": f"Bearer {token}"}).status_code == 401
        assert client.get(f"{server.api_url}/a?k={token}").status_code == 200
        assert client.get(f"{server.api_url}/a?k={token}&k={token}").status_code == 400
        assert [entry.presented for entry in server.log] == [None, fingerprint(token), None]
        copied = client.get(f"{server.api_url}/redirect?to=/b%3Fx=1&copy=yes&status=302&k={token}&y=2")
        assert copied.headers["location"] == f"/b?x=1&k={token}&y=2"


@pytest.mark.parametrize(
    "sent",
    [
        {"headers": {"Authorization": "Bearer {}"}},
        {"headers": {"X-Any": 'Odd Token="{}"'}},
        {"headers": {"Cookie": "a=b; s={}"}},
        {"params": {"k": "{}"}},
        {"params": {"next": "/a?k=%2F{}"}},
    ],
)
def test_the_other_origin_sees_a_token_wherever_it_stands(sent: dict[str, dict[str, str]]) -> None:
    with AuthServer() as server, httpx2.Client(trust_env=False) as client:
        token = str(server.issue()["access_token"])
        filled = {how: {name: text.replace("{}", token) for name, text in sent[how].items()} for how in sent}
        client.get(server.foreign.url + "/a", **filled)  # type: ignore[arg-type]  # headers or params
        client.get(server.foreign.url + "/a?b=c")
        assert server.foreign.authorizations == [fingerprint(token)]
