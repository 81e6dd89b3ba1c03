"""Finds out on which file system a path is."""

from __future__ import annotations

import os
import re
from pathlib import Path

from onerefresh.errors import ConfigurationError

__all__ = ["refuse_network_file_system"]

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs",
        "nfs", "nfs4", "ocfs2", "orangefs", "prl_fs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs",
        "fuse.beegfs", "fuse.blobfuse2", "fuse.ceph-fuse", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs",
        "fuse.goofys", "fuse.juicefs", "fuse.mount-s3", "fuse.nfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
        "fuse.vmhgfs-fuse",
    }
)  # fmt: skip


def refuse_network_file_system(path: Path, mounts: str | None = None) -> None:
    """Raise `ConfigurationError` where `path` is on a network file system, because locks are not reliable there.

    `mounts`: the text of ``/proc/self/mounts``; read where there is one.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape")
        except OSError:
            return  # this system has no such list
    real = Path(os.path.realpath(path))
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1]))
        depth = len(point.parts)
        if real.is_relative_to(point) and depth >= best:  # of two mounts on one place, the later one covers the other
            best, kind = depth, fields[2]
    if kind in NETWORK_FILE_SYSTEMS:
        raise ConfigurationError(
            f"{path} is on a network file system ({kind}), where file locks are not reliable: "
            "use a local path, or a server such as redis:// or postgresql://"
        )
