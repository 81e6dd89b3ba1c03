"""Certificates for the servers of tests: an authority's, a server's of this machine, and a client's."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme


class Certificates:
    """Files in `folder`, which `owner` alone may read: `name.pem` with the certificate, `name.key` with its key.

    The authority is in `ca.pem`, another one, which signed nothing, in `other.pem`.
    """

    def __init__(self, folder: Path, owner: int | None) -> None:
        self.folder = folder
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        trustme.CA().cert_pem.write_to_path(str(folder / "other.pem"))
        self._write("server", authority.issue_cert("127.0.0.1", "localhost"))
        self._write("elsewhere", authority.issue_cert("db.example.com"))
        self._write("app", authority.issue_cert("app.example.com", common_name="app"))
        for path in (folder, *folder.iterdir()):
            path.chmod(0o700 if path.is_dir() else 0o600)
            if owner is not None:
                os.chown(path, owner, owner)

    def __getitem__(self, file: str) -> str:
        return str(self.folder / file)

    def _write(self, name: str, made: trustme.LeafCert) -> None:
        for part in made.cert_chain_pems:
            part.write_to_path(self[f"{name}.pem"], append=True)
        made.private_key_pem.write_to_path(self[f"{name}.key"])


@contextmanager
def certificates(owner: int | None = None) -> Iterator[Certificates]:
    """New ones. `owner`: the user as whom the server runs, where that is another one."""
    folder = Path(tempfile.mkdtemp(prefix="onerefresh-tls-"))
    try:
        yield Certificates(folder, owner)
    finally:
        shutil.rmtree(folder)
