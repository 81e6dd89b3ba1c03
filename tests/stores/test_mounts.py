"""Which file systems are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from onerefresh import ConfigurationError
from onerefresh.stores.network_filesystems import refuse_network_file_system

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/export /net nfs4 rw 0 0
host /net/local ext4 rw 0 0
bucket /with\\040blank fuse.s3fs rw 0 0
systemd-1 /auto autofs rw 0 0
server:/home /auto cifs rw 0 0
broken
"""


@pytest.mark.parametrize("path", ["/net/tokens.db", "/net/a/b/tokens.db", "/with blank/tokens.db", "/auto/tokens.db"])
def test_a_network_file_system_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"network file system .*use a local path"):
        refuse_network_file_system(Path(path), MOUNTS)


@pytest.mark.parametrize("path", ["/tokens.db", "/tmp/tokens.db", "/net/local/tokens.db", "/network/tokens.db"])
def test_a_local_file_system_is_not_refused(path: str) -> None:
    refuse_network_file_system(Path(path), MOUNTS)
