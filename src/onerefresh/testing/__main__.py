"""The child of `RemoteServer.start`: options are one line of JSON; a second line, or the end of input, ends it."""

from __future__ import annotations

import json
import signal
import sys

from onerefresh.testing.server import AuthServer


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    server = AuthServer(**json.loads(sys.stdin.readline()))
    print(json.dumps({"url": server.url, "control_key": server.control_key}), flush=True)  # noqa: T201 - for the parent
    sys.stdin.readline()
    server.stop()


if __name__ == "__main__":
    main()
