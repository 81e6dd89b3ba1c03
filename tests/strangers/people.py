"""Other users of the machine: one process of root's that becomes whoever is asked for, in a child for each deed.

Run as ``python -m tests.strangers.people``; each line of its input asks for one deed, each line of its output is what
came of it.
"""

from __future__ import annotations

import codecs
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
SECONDS = 60

ADA, EVE, SHARED = 2_001, 2_002, 2_500
"""Who uses onerefresh, who attacks, and a group of several users. None of them has an account."""


class People:
    """Asks for deeds."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.strangers.people"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def do(self, uid: int, deed: str, *arguments: object, **setting: Any) -> Any:
        """What a function of `tests.strangers.deeds` returned, done by this user; or "KIND: MESSAGE" of its error.

        `setting`: groups, env, umask, cwd, namespace (a user namespace of its own).
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wish = {"uid": uid, "deed": deed, "arguments": arguments, **setting}
        self._process.stdin.write(json.dumps(wish, default=str) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve() -> None:
    from tests.strangers import deeds

    for name in deeds.NEEDED:
        importlib.import_module(name)
    for encoding in ("ascii", "latin-1", "utf-8-sig"):
        codecs.lookup(encoding)
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            os.close(reading)
            with os.fdopen(writing, "w") as said:
                said.write(json.dumps(done(json.loads(line)), default=str))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as said:
            sys.stdout.write((said.read() or '"died"') + "\n")
            sys.stdout.flush()
        os.waitpid(child, 0)


def done(wish: dict[str, Any]) -> Any:
    from tests.strangers import deeds

    from onerefresh import OnerefreshError

    try:
        os.environ.update(wish.get("env", {}))
        os.umask(wish.get("umask", 0o022))
        os.setgroups(wish.get("groups", []))
        if wish["uid"] != 0:
            os.setgid(wish["uid"])
            os.setuid(wish["uid"])
        if wish.get("namespace"):
            deeds.enter_user_namespace(wish["uid"])
        os.chdir(wish.get("cwd", "/"))
        return getattr(deeds, wish["deed"])(*wish["arguments"])
    except OnerefreshError as error:
        return f"{type(error).__name__}: {error.message}"
    except Exception:  # noqa: BLE001 - it is the test's to judge
        return traceback.format_exc()


if __name__ == "__main__":
    serve()
