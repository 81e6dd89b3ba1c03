"""A program that shares a credential by its name and a store: what it is to do comes as a line of JSON."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from onerefresh import Credential, OnerefreshError, Token
from onerefresh.oauth2 import TokenEndpoint

CALLS = 10


def tell(what: object) -> None:
    print(json.dumps(what), flush=True)


def calls(acme: Credential, url: str) -> None:
    """Call the API, ten calls at once: their statuses, or the names of their errors."""

    def status_with(token: Token) -> int:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token.reveal()}"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def call(_: int) -> int | str:
        try:
            token = acme.token()
            status = status_with(token)
            return status_with(acme.token(refused=token)) if status == 401 else status
        except OnerefreshError as error:
            return type(error).__name__

    with ThreadPoolExecutor(CALLS) as pool:
        tell(list(pool.map(call, range(CALLS))))


def interrupted(acme: Credential, url: str) -> None:
    """Refresh a token that was refused, until Ctrl-C."""
    try:
        acme.token(refused=acme.token())
    except KeyboardInterrupt:
        tell("interrupted")


def main() -> None:
    config: dict[str, Any] = json.loads(sys.stdin.readline())
    login = TokenEndpoint(config["token_url"], client_id=config["client_id"], client_secret=config["client_secret"])
    acme = Credential("acme", login, store=config["store"])
    tell("ready")
    sys.stdin.readline()
    {"calls": calls, "interrupted": interrupted}[config["task"]](acme, config["origin"] + "/api/items")


if __name__ == "__main__":
    main()
