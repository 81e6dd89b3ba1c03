"""The API behind the authorization server, the second origin, and the log that holds no token."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx2
import pytest
from aiohttp import ClientSession

from onerefresh.testing import CHALLENGES, AuthServer, fingerprint


@pytest.fixture
def server() -> Iterator[AuthServer]:
    with AuthServer() as server:
        yield server


@pytest.fixture
def bearer(server: AuthServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.issue()['access_token']}"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"])
def test_a_call_learns_what_the_server_received(
    client: httpx2.Client, server: AuthServer, bearer: dict[str, str], method: str
) -> None:
    answer = client.request(method, server.api_url + "/a/b?c=d", headers=bearer, content=b"body")
    assert answer.status_code == 200
    assert answer.json() == {
        "path": "/api/a/b",
        "query": "c=d",
        "method": method,
        "content_type": None,
        "body_length": 4,
        "body_sha256": hashlib.sha256(b"body").hexdigest(),
        "generation": 1,
    }


def test_a_head_request_gets_the_head_alone(client: httpx2.Client, server: AuthServer, bearer: dict[str, str]) -> None:
    assert client.head(server.api_url + "/x", headers=bearer).content == b""
    assert client.get(server.api_url + "/x", headers=bearer).json()["method"] == "GET"


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_of_any_size_arrive_whole_with_or_without_chunks(
    client: httpx2.Client, server: AuthServer, bearer: dict[str, str], size: int, chunked: bool
) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    content = (body[start : start + 40_000] for start in range(0, size, 40_000)) if chunked else body
    received = client.post(server.api_url + "/x", headers=bearer, content=content).json()
    assert (received["body_length"], received["body_sha256"]) == (size, hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("name", CHALLENGES)
def test_a_refusal_has_the_shape_that_was_chosen_for_the_server_or_for_the_call(
    client: httpx2.Client, server: AuthServer, name: str
) -> None:
    headers = {"Authorization": "Bearer wrong"}
    expected = CHALLENGES[name]
    for_the_call = client.get(f"{server.api_url}/x?challenge={name}", headers=headers)
    server.refuse_with(name)
    for_the_server = client.get(f"{server.api_url}/x", headers=headers)
    for answer in (for_the_call, for_the_server):
        assert answer.status_code == expected.status
        assert answer.content == expected.body
        given = [(header, value) for header, value in expected.headers if header == "WWW-Authenticate"]
        assert answer.headers.get_list("www-authenticate") == [value for _, value in given]


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, "Bearer"),
        ({"Authorization": "Basic Y2xpZW50OnNlY3JldA=="}, "Bearer"),
        ({"Authorization": "Bearer wrong"}, 'error="invalid_token"'),
    ],
)
def test_a_call_without_a_good_token_is_refused(
    client: httpx2.Client, server: AuthServer, headers: dict[str, str], challenge: str
) -> None:
    answer = client.get(server.api_url + "/x", headers=headers)
    assert answer.status_code == 401
    assert challenge in answer.headers["www-authenticate"]
    assert ("error=" in answer.headers["www-authenticate"]) is ("error=" in challenge)


def test_two_authorization_headers_are_a_bad_request(server: AuthServer, client: httpx2.Client) -> None:
    pairs = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    assert client.get(server.api_url + "/x", headers=pairs).status_code == 400


def test_a_good_token_is_refused_where_the_path_says_so(
    client: httpx2.Client, server: AuthServer, bearer: dict[str, str]
) -> None:
    assert client.get(server.api_url + "/refused", headers=bearer).status_code == 401
    assert server.log[-1].generation == 1


def test_a_refusal_can_be_large(client: httpx2.Client, server: AuthServer) -> None:
    answer = client.get(server.api_url + "/x?bytes=2000000", headers={"Authorization": "Bearer x"})
    assert (answer.status_code, len(answer.content)) == (401, 2_000_000)


@pytest.mark.parametrize("status", [302, 303, 307, 308])
def test_redirects_lead_where_the_query_says(
    client: httpx2.Client, server: AuthServer, bearer: dict[str, str], status: int
) -> None:
    target = server.api_url + "/end?a=b&c=d"
    query: dict[str, str | int] = {"to": target, "status": status}
    answer = client.post(server.api_url + "/redirect", params=query, headers=bearer, content=b"body")
    assert (answer.status_code, answer.headers["location"]) == (status, target)


@pytest.mark.parametrize(
    "path", ["/redirect", "/redirect?to=%0d%0aX:1", "/x?challenge=nonsense", "/stream?count=x", "/status/x"]
)
def test_a_query_that_makes_no_sense_is_a_bad_request(
    client: httpx2.Client, server: AuthServer, bearer: dict[str, str], path: str
) -> None:
    url = server.api_url + path
    refused_or_not = bearer if "challenge" not in path else {"Authorization": "Bearer wrong"}
    answer = client.get(url, headers=refused_or_not)
    assert answer.status_code == 400
    assert answer.text


def test_streams_come_in_pieces(client: httpx2.Client, server: AuthServer, bearer: dict[str, str]) -> None:
    with client.stream("GET", server.api_url + "/stream?count=3&pause=0.01", headers=bearer) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        assert list(answer.iter_lines()) == ["chunk 1", "chunk 2", "chunk 3"]
    events = client.get(server.api_url + "/events?count=2", headers=bearer)
    assert events.headers["content-type"] == "text/event-stream"
    assert events.text == "data: 1\n\ndata: 2\n\n"


def test_any_status_can_be_had(client: httpx2.Client, server: AuthServer, bearer: dict[str, str]) -> None:
    assert client.get(server.api_url + "/status/503", headers=bearer).status_code == 503
    assert client.get(server.api_url + "/status/204", headers=bearer).status_code == 204
    assert server.counters.api == {204: 1, 503: 1}


async def _talk(server: AuthServer, headers: dict[str, str]) -> list[str]:
    async with ClientSession() as session, session.ws_connect(server.api_url + "/websocket", headers=headers) as socket:
        answers = []
        for text in ("hello", "ß" * 40_000, "x" * 70_000):
            await socket.send_str(text)
            answers.append(await socket.receive_str())
        await socket.ping()
        return answers


def test_a_websocket_echoes_text_of_any_length(server: AuthServer, bearer: dict[str, str]) -> None:
    assert asyncio.run(_talk(server, bearer)) == ["hello", "ß" * 40_000, "x" * 70_000]
    assert server.log[-1].status == 101


def test_a_websocket_handshake_with_a_wrong_token_is_refused(client: httpx2.Client, server: AuthServer) -> None:
    answer = client.get(server.api_url + "/websocket", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


def test_a_call_that_is_no_handshake_is_told_to_upgrade(
    client: httpx2.Client, server: AuthServer, bearer: dict[str, str]
) -> None:
    assert client.get(server.api_url + "/websocket", headers=bearer).status_code == 426


def test_the_foreign_origin_notes_what_it_was_sent(client: httpx2.Client, server: AuthServer) -> None:
    assert client.get(server.foreign.url + "/x").json() == {"path": "/x", "method": "GET", "authorization": None}
    assert server.foreign.authorizations == []
    client.get(server.foreign.url + "/x", headers={"Authorization": "Bearer abc"})
    client.get(server.foreign.url + "/x", headers={"Authorization": "abc"})
    assert server.foreign.authorizations == [fingerprint("abc")] * 2
    assert client.get(server.foreign.url + "/refused?challenge=basic").headers["www-authenticate"].startswith("Basic")
    back = client.get(server.foreign.url + "/redirect", params={"to": server.api_url + "/x"})
    assert (back.status_code, back.headers["location"]) == (307, server.api_url + "/x")
    assert server.counters.foreign == 5


def test_the_log_tells_the_story_and_holds_no_token(client: httpx2.Client, server: AuthServer) -> None:
    server.expect_reuse()
    seed = server.issue()
    access, refresh = str(seed["access_token"]), str(seed["refresh_token"])
    server.revoke_access()
    headers = {"Authorization": "Bearer " + access, "X-Call": "call 1"}
    client.get(f"{server.api_url}/x?token={access}", headers=headers)
    answer = client.post(server.json_refresh_url, json={"refresh_token": refresh}).json()
    client.post(server.json_refresh_url, json={"refresh_token": refresh})
    client.post(server.revoke_url, data={"token": access}, auth=("client", "secret"))
    client.get(server.foreign.url, headers=headers)

    log = server.log
    assert [entry.number for entry in log] == [1, 2, 3, 4, 5]
    assert [(entry.kind, entry.outcome, entry.status) for entry in log] == [
        ("api", "refused", 401),
        ("token", "issued", 200),
        ("token", "reuse", 401),
        ("revoke", "revoked", 200),
        ("foreign", "seen", 200),
    ]
    assert [entry.call for entry in log] == ["call 1", None, None, None, "call 1"]
    assert [entry.generation for entry in log] == [1, 2, 1, 1, None]
    assert all(entry.arrived <= entry.answered for entry in log)
    assert log[0].presented == fingerprint(access) == log[4].presented
    assert (log[1].presented, log[1].issued) == (fingerprint(refresh), fingerprint(answer["access_token"]))
    story = repr(log) + repr(server.counters)
    for token in (access, refresh, answer["access_token"], answer["refresh_token"]):
        assert token not in story


def test_two_hundred_connections_at_once_are_served(server: AuthServer, bearer: dict[str, str]) -> None:
    server.hold("api")

    def call(_: int) -> int:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
        connection.request("GET", "/api/x", headers=bearer)
        status = connection.getresponse().status
        connection.close()
        return status

    with ThreadPoolExecutor(200) as pool:
        answers = pool.map(call, range(200))
        server.wait_for("api", 200, timeout=60)
        server.release("api")
        assert list(answers) == [200] * 200


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /api/x HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /api/x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /api/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n",
    ],
)
def test_bytes_that_are_no_request_get_a_400_and_the_server_lives(
    server: AuthServer, client: httpx2.Client, sent: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=20) as connection:
        connection.sendall(sent)
        with connection.makefile("rb") as answer:
            assert answer.readline().startswith(b"HTTP/1.1 400 ")
    assert client.get(server.url).status_code == 404


def test_a_client_that_waits_for_100_continue_gets_it(server: AuthServer, bearer: dict[str, str]) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=20) as connection:
        head = f"POST /api/x HTTP/1.1\r\nAuthorization: {bearer['Authorization']}\r\nContent-Length: 2\r\n"
        connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert answer.readline() == b"\r\n"
            connection.sendall(b"ab")
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"


def test_an_http_1_0_client_gets_its_answer_and_the_end_of_the_connection(
    server: AuthServer, bearer: dict[str, str]
) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=20) as connection:
        head = f"GET /api/stream?count=2 HTTP/1.0\r\nAuthorization: {bearer['Authorization']}\r\n\r\n"
        connection.sendall(head.encode())
        with connection.makefile("rb") as answer:
            assert answer.read().partition(b"\r\n\r\n")[2] == b"chunk 1\nchunk 2\n"


def test_a_connection_serves_many_calls(server: AuthServer, bearer: dict[str, str]) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    connection.connect()
    port = connection.sock.getsockname()[1]
    for _ in range(5):
        connection.request("POST", "/api/x", b"body", bearer)
        assert json.loads(connection.getresponse().read())["body_length"] == 4
        assert connection.sock.getsockname()[1] == port
    connection.close()
