"""What the scripts share: their options, and a refresher of one's own for the test server's JSON endpoint."""

from __future__ import annotations

import json
import os
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


async def refresh_on_a_loop(token: Token) -> dict[str, object]:
    return refresh(token)


def credential() -> Credential:
    """The one that the test has put into the store; its refresher is async where ``how=async``."""
    refresher = refresh_on_a_loop if OPTIONS.get("how") == "async" else refresh
    return Credential("acme", refresher, store=OPTIONS["store"])


def say(line: str) -> None:
    """Tell the test, in one piece: other threads and processes tell it things too."""
    os.write(1, f"{line}\n".encode())


def heard() -> str:
    """The next line from the test."""
    return sys.stdin.readline().rstrip("\n")
