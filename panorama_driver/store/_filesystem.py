"""On what kind of file system a path lies: SQLite's shared memory and locks work on local ones only."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = re.compile(
    r"nfs4?|lustre|gpfs|cifs|smb3|smbfs|afs|ceph|glusterfs|beegfs|pvfs2|orangefs|panfs|9p|ocfs2|gfs2|dvs"
    r"|fuse\.(sshfs|glusterfs|ceph|ceph-fuse|juicefs|gcsfuse|s3fs|mfs|rclone)"
)


def network_filesystem(path: str | os.PathLike[str]) -> str | None:
    """Warn of a path on a network file system, in a text to print; None for a local one.

    SQLite in WAL mode shares memory between its processes, so that all must run on one machine, and needs file locks
    that many network file systems only pretend to have (https://www.sqlite.org/wal.html, "Disadvantages").
    """
    if not _MOUNTS.is_file():
        return None
    found = mounted(os.path.realpath(path), _MOUNTS.read_text("utf-8", "surrogateescape"))
    if found is None or not _NETWORK.fullmatch(found[1]):
        return None
    mount_point, kind = found
    return (
        f"{os.fspath(path)} lies on {mount_point}, a network file system ({kind}): all processes that use this store "
        "must run on this machine, and its file locks may fail. Keep the study on a local disk if you can."
    )


def mounted(path: str, mountinfo: str) -> tuple[str, str] | None:
    """Mount point and file system type of an absolute path; format: proc_pid_mountinfo(5).

    The longest mount point wins, and of those mounted over each other the last.
    """
    best: tuple[str, str] | None = None
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        if not source:
            continue
        point = _unescaped(mount.split(" ")[4])
        if _holds(point, path) and (best is None or len(point) >= len(best[0])):
            best = point, source.split(" ")[0]
    return best


def _holds(point: str, path: str) -> bool:
    return point == "/" or path == point or path.startswith(point + "/")


def _unescaped(field: str) -> str:
    """The kernel writes blanks and backslashes in octal: `\\040`."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
