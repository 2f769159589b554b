"""The folder of a store: making it, and telling where none should be."""

from __future__ import annotations

import os
from pathlib import Path

from lima.errors import StoreError

TAG = "CACHEDIR.TAG"

FILES = {
    TAG: "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Results that lima keeps; they can be computed again. See https://bford.info/cachedir/\n",
    ".gitignore": "*\n",
}
"""What tells backups and version control to leave the folder alone."""

REMOTE = frozenset(
    "nfs nfs4 cifs smb smb2 smb3 smbfs afs ceph lustre gpfs beegfs glusterfs ncpfs pvfs2 orangefs"
    " fuse.sshfs fuse.glusterfs fuse.s3fs fuse.gcsfuse fuse.rclone fuse.ceph davfs".split()
)
"""File systems on which SQLite's locks are not to be trusted."""


def prepare(path: Path) -> bool:
    """Make the folder of a store, or look at the one that is there; whether it is read-only.

    Raises StoreError where there can be none: a file, a folder of something else, a network mount.
    """
    kind = mounted_as(path)
    if kind in REMOTE:
        raise StoreError(
            f"{path} lies on a network mount ({kind}), where SQLite's locks are not to be trusted: "
            "take a folder on a disk of this machine"
        )
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = set(os.listdir(path))
        if names and TAG not in names:
            raise StoreError(f"{path} holds other files: give the path of a new folder")
        return not _make(path, names)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error


def _make(path: Path, names: set[str]) -> bool:
    """Make what is missing; False where nothing can be written."""
    for name in ("objects", "aside"):
        if (path / name).is_symlink():
            raise StoreError(f"{path / name} is a link, which a store does not have")
    if not os.access(path, os.W_OK):
        return False
    try:
        for name, text in FILES.items():
            if name not in names:
                (path / name).write_text(text)
        for name in ("objects", "aside"):
            (path / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        if "index.sqlite" in names:  # a read-only mount, a full disk: what is there can be read
            return False
        raise StoreError(f"{path}: {error.strerror or error}") from error
    return all(os.access(path / name, os.W_OK) for name in ("objects", "aside"))


def mounted_as(path: Path, table: str = "/proc/self/mountinfo") -> str:
    """The kind of file system that `path` lies on; "" where that cannot be told."""
    try:
        with open(table, encoding="utf-8", errors="replace") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return ""
    real = os.path.realpath(path)
    found, best = "", -1
    for line in lines:
        before, _, after = line.partition(" - ")
        words = before.split()
        if len(words) < 5 or not after:
            continue
        point = words[4].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            found, best = after.split()[0], len(point)
    return found
