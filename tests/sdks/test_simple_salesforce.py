"""simple-salesforce, the real package. It speaks https only."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator

import pytest
import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceExpiredSession
from tests.sdks import page
from tests.sdks.storm import CALLS, Ended, Sent, ShapedApi, Storm
from tests.servers.tls import certificates

from onerefresh import Credential, LoginRequired
from onerefresh.clients.requests import BearerAuth
from onerefresh.testing import AuthServer


def shape(sent: Sent) -> object:
    if "/async/" in sent.path or "/jobs/" in sent.path:
        return {"id": "1", "state": "Open"}
    return {"totalSize": 1, "done": True, "records": [{"Id": "1"}]}


@pytest.fixture
def tls(monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    with certificates() as files:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(files["server.pem"], files["server.key"])
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", files["ca.pem"])
        yield tls


@pytest.fixture
def api(server: AuthServer, tls: ssl.SSLContext) -> Iterator[ShapedApi]:
    with ShapedApi(server, shape, tls=tls) as api:
        yield api


def test_sync(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    names = page.run("simple-salesforce", acme, api.url)
    with names["session"]:

        def ask() -> str:
            return str(names["salesforce"].query("SELECT Id FROM Account")["records"][0]["Id"])

        assert storm.threads(ask) == ["1"] * CALLS
        assert isinstance(ended().call(ask), LoginRequired)


def test_without_replace_the_library_says_so(
    acme: Credential, api: ShapedApi, not_attached: Callable[[], list[str]]
) -> None:
    with requests.Session() as session:
        session.auth = BearerAuth(acme, api.url)
        salesforce = Salesforce(instance_url=api.url, session_id="unused", session=session)
        with pytest.raises(SalesforceExpiredSession):
            salesforce.query("SELECT Id FROM Account")
    (told,) = not_attached()
    assert "replace=True" in told


def test_the_second_bulk_api_sends_the_token(acme: Credential, api: ShapedApi) -> None:
    names = page.run("simple-salesforce", acme, api.url)
    with names["session"]:
        assert names["salesforce"].bulk2.Account._client.get_job("1", is_query=True)["id"] == "1"
    assert api.authorizations == [f"Bearer {acme.bearer()}"] * 2


def test_the_first_bulk_api_has_a_header_and_a_refusal_of_its_own(
    acme: Credential, server: AuthServer, tls: ssl.SSLContext, storm: Storm
) -> None:
    refusal = {"exceptionCode": "InvalidSessionId", "exceptionMessage": "Invalid session id"}
    with ShapedApi(server, shape, refusal=(400, refusal), tls=tls) as api:
        names = page.run("simple-salesforce", acme, api.url)
        with names["session"], names["bulk_session"]:

            def create() -> str:
                return str(names["bulk"].Account._create_job(operation="insert", use_serial=False)["id"])

            assert create() == "1"
            assert api.seen[-1].headers["x-sfdc-session"] == acme.bearer()
            assert storm.threads(create) == ["1"] * CALLS
