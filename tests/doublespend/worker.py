"""The worker of `tests.processes`, with several credentials, and a clock that can be set.

`time.time` is replaced before the library looks it up. Each command may say whose token it is about: `key`.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

AT_ONCE = 16
_real = time.time
_ahead = [0.0]


def shown() -> float:
    """What this process's clock shows."""
    return _real() + _ahead[0]


time.time = shown

from tests.processes import worker  # noqa: E402

from onerefresh import Credential, OnerefreshError  # noqa: E402 - after the clock was replaced


class Worker(worker.Worker):
    """Each command is answered with the generation of the token that it got, or with an error."""

    def _credential(self, key: str) -> Credential:
        found = self._others.get(key)
        if found is None:
            found = self._others[key] = Credential(
                key,
                worker.Refresher(self.config, self.gates),
                token=self.config.get("token"),
                store=self.config["store"],
                max_wait=self.config.get("max_wait", 60.0),
            )
        return found

    @property
    def _others(self) -> dict[str, Credential]:
        made: dict[str, Credential] = self.__dict__.setdefault("made", {"acme": self.credential})
        return made

    def token(self, max_wait: float | None = None, key: str = "acme") -> None:
        worker.tell("token", self._credential(key).token(max_wait=max_wait).generation)

    def refused(self, max_wait: float | None = None, key: str = "acme") -> None:
        """The API refused the token that this process holds: get the next one."""
        credential = self._credential(key)
        worker.tell("token", credential.token(refused=credential.token(), max_wait=max_wait).generation)

    def expired(self, seconds: float, max_wait: float | None = None, key: str = "acme") -> None:
        """So many seconds have passed here: get a token."""
        _ahead[0] += seconds
        self.token(max_wait, key)

    def many(self, of: str, keys: list[str]) -> None:
        """The same command for each of the keys, on some threads at once: how often each answer came."""
        credentials = [self._credential(key) for key in keys]

        def answer(credential: Credential) -> str:
            try:
                token = credential.token()
                return str((credential.token(refused=token) if of == "refused" else token).generation)
            except OnerefreshError as error:
                return type(error).__name__

        with ThreadPoolExecutor(AT_ONCE) as pool:
            worker.tell("answers", Counter(pool.map(answer, credentials)))


def main() -> None:
    config = json.loads(sys.stdin.readline())
    member = Worker(config)
    worker.tell("ready")
    worker.follow(member, sys.stdin)


if __name__ == "__main__":
    main()
