"""Where values go that memory has no room for: files that live as long as the session.

A value is written when it is evicted if that and reading it back take less time than computing it
again, by the speeds that this disk has shown. What is read back is an entry like any other; its
file stays, so that it need not be written again. Files are no part of the cache's budget, and have
one of their own. Whatever goes wrong with them is a miss.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from threading import Lock, RLock
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from xxhash import xxh3_128_digest

from lima.entries import Entry, freeze, memory_of
from lima.errors import StoreWarning
from lima.objects import fcntl

OVERHEAD = 1e-3
"""Seconds that a value must save besides: files have to be made, found and deleted."""

PROBE = 1 << 22
"""Bytes that are written and read to get a first notion of the speed of a disk."""

LEARNING = 0.3
"""The weight of the last measurement of a speed."""

MOST = 1 << 14
"""Values that are remembered at a time: some hundred bytes of each stay in memory."""

PREFIX = "lima-spill-"


class _File(NamedTuple):
    """The elements of one array on disk."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    nbytes: int
    digest: bytes


class _Spilled(NamedTuple):
    """A value on disk: its files, what it is made of besides, and what its entry knew."""

    shell: Any
    files: tuple[_File, ...]
    nbytes: int
    seconds: float
    height: int
    level: str
    lineage: Any
    history: tuple[int, float, int]


class Spill:
    """Values on disk below a cache.

    `place`: the folder in which one for this session is made, and deleted by `close`. What is left
    there by processes that were killed is deleted as well.
    """

    def __init__(self, place: str | None, budget: int) -> None:
        self.budget = budget
        self.bytes = self.written = self.read_back = 0
        self._place = os.path.abspath(place) if place else None
        self._folder: Path | None = None
        self._lock_file: int | None = None
        self._owner = os.getpid()
        self._open = True
        self._names = count()
        self._table: OrderedDict[bytes, _Spilled] = OrderedDict()
        self._lock = Lock()
        self._first = RLock()  # held for what is done once
        self._write_speed = self._read_speed = 0.0  # bytes a second; not measured yet

    def __repr__(self) -> str:
        return (
            f"<Spill: {len(self._table)} values, {self.bytes} of {self.budget} bytes; "
            f"{self.written} written, {self.read_back} read back>"
        )

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, key: bytes) -> bool:
        return key in self._table

    # ------------------------------------------------------------ out

    def offer(self, entries: Iterable[Entry]) -> None:
        """Write evicted values that are worth it."""
        for entry in entries:
            if not self._open or os.getpid() != self._owner:
                return
            with self._lock:
                if entry.key in self._table:
                    self._table.move_to_end(entry.key)
                    continue
            try:
                self._offer(entry)
            except OSError as error:  # the disk is full, or the folder is gone
                self._end(error)

    def _offer(self, entry: Entry) -> None:
        if entry.seconds <= OVERHEAD or entry.nbytes > self.budget:
            return
        taken = _taken_apart(entry.value)
        if taken is None:
            return
        shell, arrays = taken
        nbytes = sum(a.nbytes for a in arrays)
        if not nbytes or not self.pays(entry.seconds, nbytes):
            return
        files: list[_File] = []
        try:
            for a in arrays:
                files.append(self._write(a))
        except BaseException:
            _delete(files)
            raise
        history = entry.sights + entry.hits, entry.spent, entry.evicted
        made = _Spilled(
            *(shell, tuple(files), nbytes, entry.seconds, entry.height, entry.level),
            *(entry.lineage, history),
        )
        gone: list[_Spilled] = []
        with self._lock:
            if not self._open:  # meanwhile
                return _delete(files)
            twin = self._table.pop(entry.key, None)  # of another thread
            if twin is not None:
                gone.append(twin)
                self.bytes -= twin.nbytes
            self._table[entry.key] = made
            self.bytes += nbytes
            self.written += 1
            while self.bytes > self.budget or len(self._table) > MOST:
                gone.append(self._table.popitem(last=False)[1])
                self.bytes -= gone[-1].nbytes
        for one in gone:
            _delete(one.files)

    def pays(self, seconds: float, nbytes: int) -> bool:
        """Whether writing and reading so much takes less than `seconds`, by what was measured."""
        with self._first:
            if not self._read_speed:
                self._measure()
        there_and_back = nbytes / self._write_speed + nbytes / self._read_speed
        return seconds > OVERHEAD + there_and_back

    def _measure(self) -> None:
        probe = np.arange(PROBE // 8)
        file = self._write(probe)
        try:
            self._read(file)
        finally:
            _delete([file])

    def _write(self, a: Any) -> _File:
        flat = _flat(a)
        path = self._home() / f"{next(self._names)}.bin"
        start = perf_counter()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        try:
            left = memoryview(flat)
            while left:
                left = left[os.write(fd, left) :]
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        self._write_speed = _learned(self._write_speed, a.nbytes, perf_counter() - start)
        fortran = not a.flags.c_contiguous
        return _File(path, a.shape, a.dtype, fortran, a.nbytes, xxh3_128_digest(flat))

    def _home(self) -> Path:
        """The folder of this session, made when it is first needed."""
        with self._first:
            if not self._open:
                raise FileNotFoundError("the session has ended")
            if self._folder is None:
                place = Path(self._place) if self._place else Path(tempfile.gettempdir())
                place.mkdir(parents=True, exist_ok=True)
                _sweep(place)
                made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
                if fcntl is not None:
                    self._lock_file = os.open(made / "lock", os.O_RDWR | os.O_CREAT, 0o600)
                    fcntl.flock(self._lock_file, fcntl.LOCK_EX)
                self._folder = made
            return self._folder

    # ------------------------------------------------------------ in

    def find(self, key: bytes) -> Entry | None:
        """The entry of a value on disk, read; None where there is none, or trouble with it."""
        found = self._table.get(key)
        if found is None:
            return None
        try:
            arrays = [self._read(file) for file in found.files]
        except (OSError, MemoryError, ValueError) as error:
            if self._is_gone():
                self._end(error)
            elif self.forget(key):  # else another thread made room
                said = f"a spilled value is computed again: {error}"
                warnings.warn(said, StoreWarning, stacklevel=2)
            return None
        value = _put_together(found.shell, arrays)
        memory = memory_of(value, owned=True)
        if memory is None:
            return None
        freeze(memory[1])
        entry = Entry(key, value, memory, found.seconds, found.height, found.level)
        entry.lineage = found.lineage
        entry.sights, entry.spent, entry.evicted = found.history
        self.read_back += 1
        return entry

    def _read(self, file: _File) -> Any:
        a: Any = np.empty(file.shape, file.dtype, order="F" if file.fortran else "C")
        flat = memoryview(_flat(a))
        start = perf_counter()
        with open(file.path, "rb", buffering=0) as stream:
            done = 0
            while done < file.nbytes:
                got = stream.readinto(flat[done:])
                if not got:
                    raise ValueError(f"{file.path} was cut off")
                done += got
        self._read_speed = _learned(self._read_speed, file.nbytes, perf_counter() - start)
        if xxh3_128_digest(flat) != file.digest:
            raise ValueError(f"{file.path} has changed")
        return a

    # ------------------------------------------------------------ the end

    def forget(self, key: bytes) -> bool:
        """Delete a value; whether there was one."""
        with self._lock:
            found = self._table.pop(key, None)
            if found is not None:
                self.bytes -= found.nbytes
        if found is not None and os.getpid() == self._owner:
            _delete(found.files)
        return found is not None

    def clear(self) -> None:
        """Delete all values."""
        for key in list(self._table):
            self.forget(key)

    def close(self) -> None:
        """Delete all values and the folder; nothing is written any more."""
        with self._first:  # a thread that goes on with the session makes no folder afterwards
            self._open = False
            gone, file = self._folder, self._lock_file
            self._folder = self._lock_file = None
        self.clear()
        if gone is not None and os.getpid() == self._owner:
            shutil.rmtree(gone, ignore_errors=True)
        if file is not None:
            os.close(file)

    def _is_gone(self) -> bool:
        folder = self._folder
        return folder is None or not folder.exists()

    def _end(self, error: Exception) -> None:
        """Trouble that all later values would have, too: it is told once, if it is any."""
        with self._lock:
            was, self._open = self._open, False
        if self._is_gone():
            self.clear()
        if was and os.getpid() == self._owner:
            warnings.warn(f"nothing is spilled any more: {error}", StoreWarning, stacklevel=3)

    def after_fork(self) -> None:
        """In a child: another thread may have held a lock."""
        self._lock, self._first = Lock(), RLock()


# --------------------------------------------------------------------------- values and arrays


def _taken_apart(value: Any) -> tuple[Any, list[Any]] | None:
    """A value without its arrays, and these; None for what cannot be put together again."""
    if type(value) is np.ndarray:
        shell: Any = None
        arrays = [value]
    elif isinstance(value, tuple):
        arrays = [x for x in value if isinstance(x, np.ndarray)]
        shell = type(value), tuple(_GAP if isinstance(x, np.ndarray) else x for x in value)
    elif hasattr(value, "with_buffers"):
        arrays = list(value.buffers())
        shell = value.with_buffers(arrays, [None] * len(arrays))
    else:
        return None
    plain = all(type(a) is np.ndarray and _is_whole(a) for a in arrays)
    return (shell, arrays) if plain and _is_flat(shell) else None


def _put_together(shell: Any, arrays: Sequence[Any]) -> Any:
    if shell is None:
        return arrays[0]
    if isinstance(shell, tuple):
        rest = iter(arrays)
        kind, items = shell
        return tuple.__new__(kind, [next(rest) if x is _GAP else x for x in items])
    return shell.with_buffers([None] * len(arrays), arrays)


_GAP = object()
"""Where an array was."""


def _is_flat(shell: Any) -> bool:
    """Whether no arrays are left in the shell of a tuple."""
    if not isinstance(shell, tuple):
        return True
    return not any(isinstance(x, tuple | list) for x in shell[1])


def _is_whole(a: Any) -> bool:
    """Whether the elements of an array fill its memory, in C or Fortran order."""
    flags = a.flags
    return bool((flags.c_contiguous or flags.f_contiguous) and not a.dtype.hasobject)


def _flat(a: Any) -> Any:
    """The bytes of an array, in the order of its memory."""
    if not a.nbytes:
        return np.empty(0, np.uint8)
    return (a if a.flags.c_contiguous else a.T).reshape(-1).view(np.uint8)


def _learned(speed: float, nbytes: int, seconds: float) -> float:
    """What is thought of a speed after one more measurement; small ones say little."""
    if nbytes < PROBE // 4:
        return speed or 5e8
    now = nbytes / max(seconds, 1e-9)
    return now if not speed else (1 - LEARNING) * speed + LEARNING * now


def _delete(files: Iterable[_File]) -> None:
    for file in files:
        try:
            file.path.unlink(missing_ok=True)
        except OSError:  # it goes with the folder
            continue


def _sweep(place: Path) -> None:
    """Delete the folders of processes that are gone: nobody holds their lock."""
    if fcntl is None:
        return
    for old in place.glob(f"{PREFIX}*"):
        try:
            fd = os.open(old / "lock", os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        except OSError:  # just being made, or somebody else's
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(fd)
