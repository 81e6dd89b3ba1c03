"""Processes that make the same keys at the same time. Run as a program, it is one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from keyring.backend import KeyringBackend

from onerefresh.stores.keys import KeyFile, KeyringKey, KeySource, keys_in

PROCESSES = 4


class InFiles(KeyringBackend):
    """A keyring that processes share, without any lock: as real ones, it has no "set where there is none"."""

    priority = 1
    folder = Path(os.environ.get("CROWD_FOLDER", "."))

    def get_password(self, service: str, username: str) -> str | None:
        path = self.folder / f"{service}.{username}"
        return path.read_text() if path.exists() else None

    def set_password(self, service: str, username: str, password: str) -> None:
        part = self.folder / f"{service}.{username}.{os.getpid()}"
        part.write_text(password)
        part.replace(self.folder / f"{service}.{username}")


def crowd(kind: str, folder: Path, *, rounds: int) -> list[tuple[str, ...]]:
    """For each round, the ids of the key that each process has got."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, kind, str(folder), str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CROWD_FOLDER": str(folder)},
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    assert [len(ids) for ids in told] == [rounds] * PROCESSES
    return list(zip(*told, strict=True))


def main(kind: str, folder: str, rounds: str) -> None:
    import keyring

    keyring.set_keyring(InFiles())  # type: ignore[no-untyped-call]  # the package has no type for it
    sources: list[KeySource] = [
        KeyFile(Path(folder) / f"{number}.key") if kind == "key_file" else KeyringKey(f"service-{number}", "user")
        for number in range(int(rounds))
    ]
    print("ready", flush=True)
    sys.stdin.readline()
    for source in sources:
        if source.read() is None:
            source.make()
        found = source.read()
        assert found is not None
        print(keys_in(found, source)[0].id)


if __name__ == "__main__":
    main(*sys.argv[1:])
