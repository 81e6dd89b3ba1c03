"""A process that shares one credential with processes of other versions: which version it is, ``PYTHONPATH`` says.

Only the public face is used, as it was in the oldest version that runs this. Each line on standard input is a command,
each line on standard output its answer as JSON.
"""

from __future__ import annotations

import json
import sys

import onerefresh
from onerefresh.oauth2 import TokenEndpoint


def main() -> None:
    config = json.loads(sys.argv[1])
    login = TokenEndpoint(config["url"], client_id=config["client_id"], client_secret=config["client_secret"])
    with onerefresh.Credential("acme", login, store=config["store"]) as acme:
        print(json.dumps(onerefresh.__file__), flush=True)
        held: onerefresh.Token | None = None
        for line in sys.stdin:
            try:
                match line.split():
                    case ["token"]:
                        held = acme.token()
                    case ["refused"]:
                        held = acme.token(refused=held)
                    case ["logout"]:
                        acme.logout()
                    case ["login", access, refresh]:
                        held = acme.login({"access_token": access, "refresh_token": refresh, "expires_in": 3600})
            except onerefresh.OnerefreshError as error:
                answer: list[object] = [type(error).__name__]
            else:
                answer = [held.generation, held.access_token.fingerprint()] if held else []
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
