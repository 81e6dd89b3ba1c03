"""What the scripts share: their options, and a refresher of one's own for the test server's JSON endpoint."""

from __future__ import annotations

import json
import sys
import urllib.request

from onerefresh import Credential, Token

OPTIONS = dict(argument.split("=", 1) for argument in sys.argv[1:])


def refresh(token: Token) -> dict[str, object]:
    body = json.dumps({"refresh_token": token.reveal_refresh_token()}).encode()
    request = urllib.request.Request(OPTIONS["url"], body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def credential() -> Credential:
    """The one that the test has founded in the store."""
    return Credential("acme", refresh, store=OPTIONS["store"])


def say(line: str) -> None:
    print(line, flush=True)


def heard() -> str:
    """The next line from the test."""
    return sys.stdin.readline().rstrip("\n")
