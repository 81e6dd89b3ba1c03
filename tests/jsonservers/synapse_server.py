"""Runs Synapse, a Matrix homeserver, as a process of its own on 127.0.0.1 and a port of the system's choice.

Standard input holds one line of JSON: folder. One line of JSON on standard output says that it is ready, and its port.
It ends when standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any


def config_of(folder: Path) -> dict[str, Any]:
    unlimited = {"per_second": 1e6, "burst_count": 1_000_000}
    return {
        "server_name": "localhost",
        "report_stats": False,
        "pid_file": str(folder / "pid"),
        "media_store_path": str(folder / "media"),
        "signing_key_path": str(folder / "signing.key"),
        "suppress_key_server_warning": True,
        "trusted_key_servers": [],
        "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        "listeners": [
            {"port": 0, "bind_addresses": ["127.0.0.1"], "type": "http", "resources": [{"names": ["client"]}]}
        ],
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "macaroon_secret_key": "of a server that lives as long as its test",
        "refreshable_access_token_lifetime": "1h",
        "bcrypt_rounds": 4,
        "rc_login": {"address": unlimited, "account": unlimited, "failed_attempts": unlimited},
        "rc_registration": unlimited,
        "log_config": str(folder / "log.json"),
    }


def main() -> None:
    folder = Path(json.loads(sys.stdin.readline())["folder"])
    logging = {"version": 1, "disable_existing_loggers": False, "root": {"level": "CRITICAL"}}
    (folder / "log.json").write_text(json.dumps(logging))
    (folder / "config.json").write_text(json.dumps(config_of(folder)))  # JSON is YAML, too
    sys.argv = ["synapse", "--config-path", str(folder / "config.json")]
    from signedjson.key import generate_signing_key, write_signing_keys
    from synapse.app import homeserver
    from twisted.internet import reactor, tcp

    with (folder / "signing.key").open("w") as file:
        write_signing_keys(file, [generate_signing_key("a_test")])

    def report() -> None:
        ports = [port.getHost().port for port in reactor.getReaders() if isinstance(port, tcp.Port)]
        if ports:
            os.write(1, json.dumps({"port": ports[0]}).encode() + b"\n")  # Synapse has taken `print` for its log
        else:
            reactor.callLater(0.05, report)

    def end() -> None:
        sys.stdin.read()
        reactor.callFromThread(reactor.stop)

    reactor.callWhenRunning(report)
    threading.Thread(target=end, daemon=True).start()
    homeserver.main()


if __name__ == "__main__":
    main()
