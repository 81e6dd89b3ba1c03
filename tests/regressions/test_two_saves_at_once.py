"""A refresh and a login were saved at once, and the host ended with the older token: the session of before."""

from __future__ import annotations

import threading

from tests.core.calls import PATIENCE, Refresher, expired

from onerefresh import Credential, Token


def test_the_newest_token_is_saved_last() -> None:
    begun, go_on = threading.Event(), threading.Event()
    kept: list[str] = []

    def save(token: Token) -> None:
        if not begun.is_set():
            begun.set()
            assert go_on.wait(PATIENCE)
        kept.append(token.reveal())

    with Credential("acme", Refresher(), token=expired(), save=save) as credential:
        asking = threading.Thread(target=credential.token)
        asking.start()
        assert begun.wait(PATIENCE)
        credential.login({"access_token": "access-new", "refresh_token": "refresh-new", "expires_in": 3600})
        assert kept == ["access-new"]
        go_on.set()
        asking.join(PATIENCE)
        assert credential.token().reveal() == "access-new"
        assert kept[-1] == "access-new"
        assert len(kept) == 3
