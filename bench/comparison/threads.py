"""The contenders for threads. Each yields a function that GETs a URL and returns the status."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias

import requests

from bench.comparison.job import Job

Get: TypeAlias = Callable[[str], int]


@contextmanager
def requests_oauthlib(job: Job) -> Iterator[Get]:
    from requests_oauthlib import OAuth2Session

    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # the server is on loopback
    session = OAuth2Session(
        job.client_id,
        token=job.load(),
        auto_refresh_url=job.token_url,
        auto_refresh_kwargs={"client_id": job.client_id, "client_secret": job.client_secret},
        token_updater=job.save,
    )
    with session:
        yield lambda url: session.get(url).status_code


@contextmanager
def authlib(job: Job) -> Iterator[Get]:
    from authlib.integrations.requests_client import OAuth2Session

    session = OAuth2Session(
        job.client_id, job.client_secret, token=job.load(), token_endpoint=job.token_url, update_token=job.save
    )
    with session:
        yield lambda url: session.get(url).status_code


@contextmanager
def google_auth(job: Job) -> Iterator[Get]:
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2.credentials import Credentials

    token = job.load()
    credentials = Credentials(
        token["access_token"],
        refresh_token=token["refresh_token"],
        token_uri=job.token_url,
        client_id=job.client_id,
        client_secret=job.client_secret,
        expiry=datetime.fromtimestamp(token["expires_at"], UTC).replace(tzinfo=None),
    )
    with AuthorizedSession(credentials) as session:
        yield lambda url: session.get(url).status_code


@contextmanager
def requests_oauth2client(job: Job) -> Iterator[Get]:
    from requests_oauth2client import BearerToken, OAuth2AccessTokenAuth, OAuth2Client

    token = job.load()
    client = OAuth2Client(
        job.token_url, client_id=job.client_id, client_secret=job.client_secret, testing=True
    )  # `testing` allows http
    expires_at = datetime.fromtimestamp(token["expires_at"], UTC)
    bearer = BearerToken(token["access_token"], refresh_token=token["refresh_token"], expires_at=expires_at)
    with requests.Session() as session:
        session.auth = OAuth2AccessTokenAuth(client, bearer)
        yield lambda url: session.get(url).status_code


@contextmanager
def singleflight_auth(job: Job) -> Iterator[Get]:
    from singleflight_auth import RequestsSingleFlightAuth

    token = job.load()

    def refresh() -> str:
        token.update(_refreshed(job, token["refresh_token"]))
        job.save(token)
        access: str = token["access_token"]
        return access

    with requests.Session() as session:
        session.auth = RequestsSingleFlightAuth(get_token=lambda: token["access_token"], refresh=refresh)
        yield lambda url: session.get(url).status_code


@contextmanager
def own_lock(job: Job) -> Iterator[Get]:
    """As it is often written: one lock, and under it a look whether somebody else has refreshed meanwhile."""
    token, lock = job.load(), threading.Lock()

    with requests.Session() as session:

        def get(url: str) -> int:
            used = token["access_token"]
            response = session.get(url, headers={"Authorization": f"Bearer {used}"})
            if response.status_code == 401:
                with lock:
                    if token["access_token"] == used:
                        token.update(_refreshed(job, token["refresh_token"]))
                        job.save(token)
                response = session.get(url, headers={"Authorization": f"Bearer {token['access_token']}"})
            return response.status_code

        yield get


@contextmanager
def own_file_lock(job: Job) -> Iterator[Get]:
    """The same with a lock file, under which the stored token is read again: with care, it holds between processes."""
    token, lock = job.load(), threading.Lock()

    with requests.Session() as session, open(f"{job.tokens}.lock", "w") as file:  # noqa: PTH123 - as usually written

        def get(url: str) -> int:
            used = token["access_token"]
            response = session.get(url, headers={"Authorization": f"Bearer {used}"})
            if response.status_code == 401:
                with lock:
                    if token["access_token"] == used:
                        fcntl.flock(file, fcntl.LOCK_EX)
                        try:
                            token.update(job.load())
                            if token["access_token"] == used:
                                token.update(_refreshed(job, token["refresh_token"]))
                                job.save(token)
                        finally:
                            fcntl.flock(file, fcntl.LOCK_UN)
                response = session.get(url, headers={"Authorization": f"Bearer {token['access_token']}"})
            return response.status_code

        yield get


@contextmanager
def onerefresh(job: Job) -> Iterator[Get]:
    from onerefresh import Credential
    from onerefresh.clients.requests import BearerAuth
    from onerefresh.oauth2 import TokenEndpoint

    endpoint = TokenEndpoint(job.token_url, client_id=job.client_id, client_secret=job.client_secret)
    credential = Credential("bench", endpoint, token=job.load(), store=job.store)
    with requests.Session() as session:
        session.auth = BearerAuth(credential, job.api_url.removesuffix("/api"))
        yield lambda url: session.get(url).status_code


def _refreshed(job: Job, refresh_token: str) -> dict[str, Any]:
    answer = requests.post(job.token_url, data={**job.refresh_form, "refresh_token": refresh_token}, timeout=30)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found
