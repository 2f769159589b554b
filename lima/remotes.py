"""Where stores exchange what they have: a folder, or any place that fsspec knows.

A place holds files that are written once, under names of lima's own making. Nothing that is read
from it is believed: sizes are asked for before anything of that size is, and who reads compares
digests (`exchange`).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from lima.errors import StoreError

PIECE = 1 << 22
"""Bytes that are moved at a time."""

NAME = re.compile(r"(entries|objects)/[0-9a-f-]{1,80}\.(json|npy)|MANIFEST", re.ASCII)
"""What a file may be called: nothing that leads elsewhere."""

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Place(Protocol):
    """Files under names; other errors than FileNotFoundError are the place's own."""

    def names(self, folder: str) -> Iterator[str]:
        """The names of files in "entries" or "objects", without the folder."""

    def size(self, name: str) -> int | None:
        """The bytes of a file; None where there is none."""

    def pieces(self, name: str, most: int) -> Iterator[bytes]:
        """The bytes of a file, piece by piece, at most so many."""

    def send(self, name: str, source: Path | bytes) -> None:
        """Write a file, whole or not at all, where the place can do that."""


def checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise StoreError(f"{name!r:.80} is no name of a file in a remote store")
    return name


def read(place: Place, name: str, most: int) -> bytes:
    """The bytes of a small file; raises StoreError for one of more than `most`."""
    found = b"".join(place.pieces(name, most + 1))
    if len(found) > most:
        raise StoreError(f"{name}: more than {most:,} bytes")
    return found


def place_of(where: str | os.PathLike[str]) -> Place:
    """The place of a path, a `file://` address, or an address that fsspec knows, as `s3://...`."""
    text = os.fspath(where)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)(::|://)", text)
    if scheme is None:
        return Folder(Path(os.path.expanduser(text)))
    if scheme[1] == "file" and scheme[2] == "://":
        return Folder(Path(unquote(urlsplit(text).path)))
    return Elsewhere(text)


class Folder:
    """A folder of this machine, or one that is mounted: no locks are asked of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self, folder: str) -> Iterator[str]:
        try:
            with os.scandir(self.path / folder) as found:
                for entry in found:
                    if entry.is_file(follow_symlinks=False):
                        yield entry.name
        except FileNotFoundError:
            return

    def size(self, name: str) -> int | None:
        try:
            found = (self.path / checked(name)).lstat()
        except FileNotFoundError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def pieces(self, name: str, most: int) -> Iterator[bytes]:
        fd = os.open(self.path / checked(name), os.O_RDONLY | _NOFOLLOW)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise StoreError(f"{name} is no file")
            while most > 0 and (piece := os.read(fd, min(PIECE, most))):
                most -= len(piece)
                yield piece
        finally:
            os.close(fd)

    def send(self, name: str, source: Path | bytes) -> None:
        target = self.path / checked(name)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}-{os.urandom(8).hex()}")
        try:
            with open(aside, "xb") as out:
                for piece in _pieces(source):
                    out.write(piece)
            os.replace(aside, target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def _pieces(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with open(source, "rb") as stream:
        while piece := stream.read(PIECE):
            yield piece


def _system_of(address: str) -> tuple[Any, str]:
    """What fsspec opens for an address, and the path in it."""
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise StoreError(
            f"{address} needs fsspec (`pip install 'lima-lineage[remote]'`); a folder does not"
        ) from None
    try:
        system, root = url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise StoreError(f"{address}: {error}") from None
    return system, str(root)


class Elsewhere:
    """Any place that fsspec knows.

    Its systems may have threads and connections, which a forked process does not have: it makes
    its own.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._system: Any = None
        self._pid = 0
        self.root = ""
        _ = self.system

    @property
    def system(self) -> Any:
        if self._pid != os.getpid():
            self._system, self.root = _system_of(self.address)
            self._pid = os.getpid()
        return self._system

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{checked(name)}"

    def names(self, folder: str) -> Iterator[str]:
        try:
            found: Any = self.system.ls(f"{self.root.rstrip('/')}/{folder}", detail=False)
        except FileNotFoundError:
            return
        for path in found:
            yield str(path).rstrip("/").rpartition("/")[2]

    def size(self, name: str) -> int | None:
        try:
            found = self.system.info(self._path(name))
        except FileNotFoundError:
            return None
        size = found.get("size")
        return size if type(size) is int and found.get("type") == "file" else None

    def pieces(self, name: str, most: int) -> Iterator[bytes]:
        with self.system.open(self._path(name), "rb") as stream:
            while most > 0 and (piece := stream.read(min(PIECE, most))):
                most -= len(piece)
                yield piece

    def send(self, name: str, source: Path | bytes) -> None:
        path = self._path(name)
        self.system.makedirs(path.rpartition("/")[0], exist_ok=True)
        if isinstance(source, bytes):
            self.system.pipe_file(path, source)
        else:
            self.system.put_file(os.fspath(source), path)
