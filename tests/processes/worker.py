"""A process that uses one credential, and is steered by lines of JSON.

The first line on standard input configures it; each later one is a command, or opens a gate. What happens comes out as
lines of JSON on standard output, each as ``{"told": kind, "what": value}``.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from onerefresh import Credential, OnerefreshError, Token, events

_printing = threading.Lock()
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def tell(kind: str, what: object = None) -> None:
    line = json.dumps({"told": kind, "what": what})
    with _printing:
        print(line, flush=True)


class Gates:
    """Places where the process stops until it is told to go on."""

    def __init__(self, closed: list[str]) -> None:
        self._open = {name: threading.Event() for name in closed}

    def pass_through(self, name: str) -> None:
        gate = self._open.get(name)
        if gate is not None:
            tell("gate", name)
            gate.wait()

    def open(self, name: str) -> None:
        self._open[name].set()


class Refresher:
    """A function of the kind that users write, with gates before and after its request."""

    def __init__(self, config: Mapping[str, Any], gates: Gates) -> None:
        self.timeout = config.get("http_timeout", 10.0)
        self._config = config
        self._gates = gates

    def __call__(self, token: Token) -> dict[str, Any]:
        self._gates.pass_through("before sending")
        body = json.dumps({"refresh_token": token.reveal_refresh_token()}).encode()
        request = urllib.request.Request(
            self._config["json_refresh_url"], body, {"Content-Type": "application/json"}, method="POST"
        )
        with _OPENER.open(request, timeout=30) as reply:
            answer: dict[str, Any] = json.load(reply)
        self._gates.pass_through("answered")
        if "die" in self._config:
            die_at(*self._config["die"])
        return answer


def die_at(when: str, statement: str) -> None:
    """From now on, die before or after the first such SQL statement, or tell that it is about to run."""

    class Doomed(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if not sql.strip().startswith(statement):
                return super().execute(sql, *parameters)
            if when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if when == "during":
                tell("doomed")
            cursor = super().execute(sql, *parameters)
            if when == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            return cursor

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Doomed)  # type: ignore[assignment]


class Worker:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.gates = Gates(config.get("gates", []))
        for path, value in config.get("patches", {}).items():
            module, _, name = path.rpartition(".")
            setattr(importlib.import_module(module), name, value)
        if "boot" in config:
            for module in ("flock", "sqlite"):
                vars(importlib.import_module(f"onerefresh.stores.{module}"))["boot"] = lambda: config["boot"]
        logging.getLogger("onerefresh").addHandler(logging.NullHandler())  # what it says is told as events
        events.subscribe(self.heard)
        self.credential = Credential(
            "acme",
            Refresher(config, self.gates),
            token=config.get("token"),
            store=config["store"],
            profile=config.get("profile", "strict"),
            max_wait=config.get("max_wait", 60.0),
        )

    def heard(self, event: events.Event) -> None:
        tell("event", {"kind": event.kind.value, "generation": event.generation, "detail": event.detail})
        self.gates.pass_through(event.kind.value)

    def call(self, _: int = 0) -> int:
        """One call of the API, as a client integration makes it: its status in the end."""
        token = self.credential.current() or self.credential.token()
        status = self._get(token)
        if status == 401:
            status = self._get(self.credential.token(refused=token))
        return status

    def _get(self, token: Token) -> int:
        url = self.config["api_url"] + "/thing"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token.reveal()}"})
        try:
            with _OPENER.open(request, timeout=60) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    # --- Commands ---

    def calls(self, count: int) -> None:
        with ThreadPoolExecutor(count) as pool:
            tell("statuses", sorted(pool.map(self.call, range(count))))

    def token(self, max_wait: float | None = None) -> None:
        tell("token", self.credential.token(max_wait=max_wait).generation)

    def refused(self) -> None:
        """The token that is stored was refused: get the next one."""
        tell("token", self.credential.token(refused=self.credential.token()).generation)

    def logout(self) -> None:
        self.credential.logout()
        tell("logged out")

    def status(self) -> None:
        status = self.credential.status()
        tell("status", {"state": status.state, "generation": status.generation})

    def obey(self, command: dict[str, Any]) -> None:
        name = command.pop("do")
        try:
            getattr(self, name)(**command)
        except OnerefreshError as error:
            tell("error", [type(error).__name__, error.message])


def drop_privileges(uid: int) -> None:
    """Become another user; what is imported later must not lie in a folder that this one cannot read."""
    import asyncio  # noqa: F401
    import encodings.ascii
    import encodings.idna
    import encodings.latin_1  # noqa: F401

    import onerefresh.stores.sqlite  # noqa: F401

    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def main() -> None:
    config = json.loads(sys.stdin.readline())
    if config.get("uid") is not None:
        drop_privileges(config["uid"])
    worker = Worker(config)
    tell("ready")
    follow(worker, sys.stdin)


def follow(worker: Worker, lines: Iterable[str]) -> None:
    """Obey each line, on a thread of its own."""
    commands = []
    for line in lines:
        command = json.loads(line)
        if "open" in command:
            worker.gates.open(command["open"])
        else:
            thread = threading.Thread(target=worker.obey, args=(command,))
            commands.append(thread)
            thread.start()
    for thread in commands:
        thread.join()


if __name__ == "__main__":
    main()
