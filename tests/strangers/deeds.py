"""What the people of the tests do: with onerefresh, and against those who use it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from onerefresh import Credential, OnerefreshError, Token, config
from onerefresh.record import Grant
from onerefresh.renewal.world import Spooled
from onerefresh.spool import Spool
from onerefresh.stores import open_store
from onerefresh.stores.keys import KeyFile, KeyringKey
from onerefresh.stores.memory import MemoryStore

NEEDED = ("grp", "pwd", "subprocess", "tomllib", "onerefresh.oauth2", "onerefresh.stores.sqlite", "difflib", "keyring")
"""What is imported late, and must be there before somebody becomes another user."""

FIRST = {"access_token": "test-access-1", "refresh_token": "test-refresh-1"}
MAGIC = bytes.fromhex("d9d505f920a163d7")


# --- With onerefresh ---


def refresh(token: Token) -> dict[str, str]:
    return {"access_token": "test-access-2", "refresh_token": "test-refresh-2"}


def log_in(url: str) -> str:
    with Credential("acme", refresh, store=url) as credential:
        credential.login(FIRST)
    return "done"


def token(url: str) -> str:
    with Credential("acme", refresh, store=url) as credential:
        return credential.token().reveal()


def refreshed(url: str) -> str:
    with Credential("acme", refresh, store=url) as credential:
        return credential.token(refused=credential.token()).reveal()


def use(url: str) -> dict[str, str]:
    """Each way to use a store."""
    store = open_store(url)
    actions: dict[str, Callable[[], object]] = {
        "cas": lambda: store.cas(os.urandom(4).hex(), None, "body"),
        "load": lambda: store.load("acme"),
        "scan": lambda: [*store.scan()],
        "hold": lambda: store.hold("acme"),
    }
    said = {}
    for name, action in actions.items():
        try:
            action()
            said[name] = "done"
        except OnerefreshError as error:
            said[name] = f"{type(error).__name__}: {error.message}"
    return said


def spool_and_read(folder: str) -> list[object]:
    """Whether a token could be spooled, and what is read then."""
    spool = Spool(MemoryStore(), "acme", Path(folder))
    entry = Spooled("f", 1, "a1", Grant.REFRESH, refused=False, token=Token("test-access-2", "test-refresh-2"))
    kept = spool.write(entry)
    found = spool.read()
    return [kept, found.token.reveal() if found else None]


def key_of(path: str) -> str:
    source = KeyFile(path)
    found = source.read()
    if found is None:
        source.make()
        found = source.read()
    return found.reveal().strip() if found else ""


def configured(path: str) -> list[str]:
    return [*config.read(path).entries]


def secret(path: str, kind: str = "client_secret") -> str:
    """The secret of the credential `acme` of this file."""
    entry = config.read(path).named("acme")
    found = entry.store_url() if kind == "store" else entry.endpoint["client_secret"]()
    return str(found.reveal())


def keyring_lock(state: str) -> str:
    os.environ["ONEREFRESH_STATE"] = state
    source = KeyringKey("onerefresh-test", "strangers")
    with source._making():
        return "held"


# --- Against others ---


def write(path: str, content: str, mode: int = 0o666) -> str:
    Path(path).write_text(content)
    Path(path).chmod(mode)
    return "done"


def plant_journal(path: str) -> str:
    """An empty journal that whoever uses the database writes the old page into."""
    return write(f"{path}-journal", "")


def stolen(path: str) -> str:
    return Path(f"{path}-journal").read_text("latin-1")


def plant_hot_journal(path: str, workshop: str) -> str:
    """A journal that SQLite plays back into the database: it holds the pages of the attacker's own."""
    own = Path(workshop, "own.db")
    with Credential("acme", refresh, store=f"sqlite:///{own}") as credential:
        credential.login({"access_token": "test-access-of-eve", "refresh_token": "test-refresh-of-eve"})
    pages = own.read_bytes()
    size = int.from_bytes(pages[16:18], "big")
    number, nonce = len(pages) // size, 7
    parts = [(MAGIC + struct.pack(">IIIII", number, nonce, number, 512, size)).ljust(512, b"\0")]
    for index in range(number):
        page = pages[index * size : (index + 1) * size]
        checksum = (nonce + sum(page[at] for at in range(size - 200, 0, -200))) & 0xFFFFFFFF
        parts += [struct.pack(">I", index + 1), page, struct.pack(">I", checksum)]
    journal = Path(f"{path}-journal")
    journal.write_bytes(b"".join(parts))
    journal.chmod(0o666)
    return "done"


def take_the_locks(path: str) -> str:
    """Make the folder of the locks first, open to all, and everybody's."""
    Path(f"{path}.locks").mkdir()
    Path(f"{path}.locks").chmod(0o777)
    return "done"


def link(path: str, target: str) -> str:
    Path(path).symlink_to(target)
    return "done"


def make_folder(path: str, mode: int = 0o755) -> str:
    Path(path).mkdir()
    Path(path).chmod(mode)
    return "done"


def locked(path: str) -> bool:
    with Path(path).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def enter_user_namespace(uid: int) -> None:
    """Only this user is known in it; all others are user 65534."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(4, 1)  # who became another user may not write to /proc/self otherwise
    if libc.unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "no user namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{uid} {uid} 1")


def owner_of(path: str) -> int:
    return Path(path).stat().st_uid


def spool_names(folder: str) -> list[str]:
    """The names, without their endings, of the files that `spool_and_read` writes."""
    spool = Spool(MemoryStore(), "acme", Path(folder))
    return [f"{spool._prefix}a1"]


def swap_for_a_link(path: str) -> list[str]:
    """Put a link in the place of a database in use; what its store says then."""
    store = open_store(f"sqlite:///{path}")
    store.load("acme")
    Path(path).rename(f"{path}.moved")
    Path(path).symlink_to(f"{path}.moved")
    said = []
    for action in (lambda: store.load("acme"), lambda: store.cas("acme", None, "body")):
        try:
            action()
        except OnerefreshError as error:
            said.append(error.message)
    return said


def secret_with_path(config_file: str, path: str | None) -> str:
    if path is None:
        os.environ.pop("PATH")
    else:
        os.environ["PATH"] = path
    return secret(config_file)
