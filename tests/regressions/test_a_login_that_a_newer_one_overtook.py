"""A login that was slow to finish put its session into memory over a newer one, which was in the store already."""

from __future__ import annotations

import threading

from tests.core.calls import PATIENCE, Refresher, first_token

from onerefresh import Credential, Token


def test_memory_keeps_the_newer_session() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def save(token: Token) -> None:
        if token.reveal() == "access-older":
            begun.set()
            assert go_on.wait(PATIENCE)

    with Credential("acme", Refresher(), token=first_token(), save=save) as credential:
        older = {"access_token": "access-older", "refresh_token": "refresh-older"}
        logging_in = threading.Thread(target=credential.login, args=(older,))
        logging_in.start()
        assert begun.wait(PATIENCE)
        credential.login({"access_token": "access-newer", "refresh_token": "refresh-newer"})
        go_on.set()
        logging_in.join(PATIENCE)
        assert credential.token().reveal() == "access-newer"
