"""A worker that needs a new token again and again: ``python -m tests.moving.worker TOKEN_URL STORE [MOVED_FROM]``.

It works until its standard input ends, or its credentials have moved to a store that it does not know. It prints how
many tokens it got, and the names of the errors.
"""

from __future__ import annotations

import json
import sys
import threading

from onerefresh import Credentials, OnerefreshError
from onerefresh.errors import CredentialMoved
from onerefresh.oauth2 import TokenEndpoint

KEYS = [f"customer-{number}" for number in range(6)]


def _watch(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main() -> None:
    url, store, *before = sys.argv[1:]
    over = threading.Event()
    threading.Thread(target=_watch, args=(over,), daemon=True).start()
    login = TokenEndpoint(url, client_id="client", client_secret="secret")
    tokens, problems, moved = 0, set(), set[str]()
    with Credentials(login, store=store, moved_from=before[0] if before else None) as customers:
        print("ready", flush=True)
        while not over.is_set() and len(moved) < len(KEYS):
            for key in KEYS:
                try:
                    customers[key].token()
                    tokens += 1
                except CredentialMoved:
                    moved.add(key)
                except OnerefreshError as error:
                    problems.add(f"{type(error).__name__}: {error.message}")
    print(json.dumps({"tokens": tokens, "moved": len(moved), "problems": sorted(problems)}), flush=True)


if __name__ == "__main__":
    main()
