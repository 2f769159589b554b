"""Values as bytes on disk: `.npy` files that are named by their digest, never a pickle.

A file is written aside, then renamed, so that it is there as a whole or not at all. Whoever reads
one compares size, digest and header with what the index says before the value is used, so that
neither a broken nor a hostile file can do more than be refused.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from xxhash import xxh3_128, xxh3_128_digest

from lima.errors import NotCanonical
from lima.node import dtype_text
from lima.op import clone

fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None
"""Locks of files, which Windows does not have."""

INLINE_BYTES = 4096
"""Bytes up to which a value lies in the index itself: a file of its own would cost more."""

MAPPED_BYTES = 1 << 20
"""Bytes from which a value is mapped into memory instead of read."""

PIECE = 1 << 22
"""Bytes that are written, and digested, at a time."""

HEADER_BYTES = 4096
"""Longest header of a file that is read."""

TOO_OLD = 24 * 3600.0
"""Seconds after which a file written aside is given up where files cannot be locked."""

_DTYPE = re.compile(r"[<>|][biufcmMSU][0-9]{1,9}(\[[0-9]{0,9}[A-Za-z]{1,2}\])?", re.ASCII)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_READ = os.O_RDONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_ASIDE = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW | getattr(os, "O_BINARY", 0)
_WHOLE = getattr(mmap, "MAP_POPULATE", 0)


class Broken(Exception):
    """What was found in a store is not what had been stored; the message says how it differs."""


class Form(NamedTuple):
    """What an array is besides its elements: dtype, shape, strides in bytes, whether a scalar."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    scalar: bool

    def text(self) -> str:
        return json.dumps(self)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Part(NamedTuple):
    """One array of a value: `name` is the digest of its file, `nbytes` that file's size."""

    name: bytes
    nbytes: int
    form: Form
    inline: bytes | None


class Packed(NamedTuple):
    """One array ready to be written: the header of its file, its elements, and their part."""

    header: bytes
    content: Any
    part: Part


# --------------------------------------------------------------------------- forms


def form_of(x: Any) -> Form | None:
    """The form of an array or NumPy number; None for what no file can hold exactly.

    That are Python objects, records, subclasses, and arrays whose elements do not fill their
    memory: kernels look at strides, so a value must come back with its own.
    """
    scalar = isinstance(x, np.number | np.bool_)
    if type(x) is not np.ndarray and not scalar:
        return None
    try:
        kind = dtype_text(x.dtype)
    except NotCanonical:
        return None
    if not is_plain_dtype(kind) or not x.dtype.itemsize:
        return None
    if not scalar and _upright(x) is None:
        return None
    return Form(kind, x.shape, () if scalar else x.strides, scalar)


def is_plain_dtype(text: Any) -> bool:
    """Whether a dtype has one word for its spelling: numbers, text, times."""
    return type(text) is str and _DTYPE.fullmatch(text) is not None


def _upright(a: Any) -> Any:
    """`a` with its axes in the order of memory, C-contiguous; None where that is impossible."""
    if a.flags.c_contiguous:
        return a
    order = sorted(range(a.ndim), key=lambda k: -a.strides[k])
    turned = a.transpose(order)
    return turned if turned.flags.c_contiguous else None


def read_form(text: Any) -> Form:
    """The form that `Form.text` wrote; raises Broken for any other text."""
    try:
        kind, shape, strides, scalar = json.loads(text)
        sizes = [*shape, *strides]
        good = type(scalar) is bool and len(shape) <= 64 and _DTYPE.fullmatch(kind)
        if not good or any(type(n) is not int or not -(2**62) < n < 2**62 for n in sizes):
            raise ValueError
        if len(strides) != (0 if scalar else len(shape)) or any(n < 0 for n in shape):
            raise ValueError
        np.dtype(kind)
    except (TypeError, ValueError, RecursionError):
        raise Broken(f"{text!r:.80} is no form of an array") from None
    return Form(kind, tuple(shape), tuple(strides), scalar)


# --------------------------------------------------------------------------- to bytes


def pack(x: Any) -> Packed | None:
    """`x` as the content of a `.npy` file; None for what no file can hold exactly.

    >>> packed = pack(np.arange(3.0))
    >>> np.load(io.BytesIO(packed.header + bytes(packed.content)))
    array([0., 1., 2.])
    """
    form = form_of(x)
    if form is None:
        return None
    array = np.asarray(x)
    header = io.BytesIO()
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    upright = _upright(array)
    described = {
        "descr": npy.dtype_to_descr(array.dtype),
        "fortran_order": fortran,
        "shape": array.shape if fortran else upright.shape,
    }
    npy.write_array_header_1_0(header, described)
    content: Any = memoryview(upright.reshape(-1).view(np.uint8)) if array.size else b""
    head = header.getvalue()
    nbytes = len(head) + len(content)
    if nbytes <= INLINE_BYTES:
        raw = head + bytes(content)
        return Packed(head, content, Part(xxh3_128_digest(raw), nbytes, form, raw))
    digest = xxh3_128(head)
    for start in range(0, len(content), PIECE):
        digest.update(content[start : start + PIECE])
    return Packed(head, content, Part(digest.digest(), nbytes, form, None))


def write(packed: Packed, folder: Path, aside: Path) -> None:
    """Write a file into `folder` under its digest, unless it is there; raises OSError.

    It is not forced to the disk: after a loss of power its digest tells that it is not whole.
    """

    def pieces() -> Iterator[Any]:
        for whole in (packed.header, packed.content):
            for start in range(0, len(whole), PIECE):
                yield memoryview(whole)[start : start + PIECE]

    receive(pieces(), packed.part, folder, aside)


def receive(pieces: Iterable[Any], part: Part, folder: Path, aside: Path) -> None:
    """Write a file from pieces of its bytes. What `pieces` raises ends it; then there is none."""
    target = folder / file_name(part.name)
    if _size(target) == part.nbytes:
        return
    path = aside / f"{part.name.hex()}-{os.getpid()}-{os.urandom(8).hex()}"
    fd = os.open(path, _ASIDE, 0o600)
    try:
        try:
            if fcntl is not None:
                fcntl.flock(fd, fcntl.LOCK_EX)  # until it is closed: `sweep` lets it be
            for piece in pieces:
                _write_all(fd, memoryview(piece))
            os.replace(path, target)
        finally:
            os.close(fd)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


def file_name(name: bytes) -> str:
    """The name of the file of a digest. Made of 16 bytes, it cannot lead anywhere else."""
    if type(name) is not bytes or len(name) != 16:
        raise Broken(f"{name!r:.80} is no digest of 16 bytes")
    return name.hex() + ".npy"


def _size(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def discard(path: Path) -> int:
    """Delete a file, or an empty folder that stands in its place; the bytes that it had."""
    try:
        size = path.lstat().st_size
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    except FileNotFoundError:
        return 0
    return size


def is_whole(folder: Path, part: Part) -> bool:
    """Whether a part is there with its size; its bytes are not looked at."""
    return part.inline is not None or _size(folder / file_name(part.name)) == part.nbytes


def sweep(aside: Path, now: float) -> int:
    """Remove files written aside whose writer is gone; returns their bytes."""
    freed = 0
    for path in list(aside.iterdir()):
        try:
            with _opened(path, os.O_RDWR | _NOFOLLOW) as fd:
                found = os.fstat(fd)
                if fcntl is not None:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                elif abs(now - found.st_mtime) < TOO_OLD:
                    continue
                path.unlink()
                freed += found.st_size
        except OSError:  # being written, or somebody else was faster
            continue
    return freed


# --------------------------------------------------------------------------- from bytes


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def read(part: Part, folder: Path) -> Any:
    """The array or number of a part, read-only; mapped if it is large.

    Raises Broken where file and part differ, OSError where there is no file.
    """
    if part.inline is not None:
        if len(part.inline) != part.nbytes:
            raise Broken(f"{len(part.inline)} bytes instead of {part.nbytes}")
        return _array(np.frombuffer(part.inline, np.uint8), part)
    with _opened(folder / file_name(part.name), _READ) as fd:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise Broken("it is no file")
        # Before anything of that size is asked for: the size of the file, of the elements that
        # the index promises, and the size that was written are one.
        if found.st_size != part.nbytes:
            raise Broken(f"{found.st_size} bytes instead of {part.nbytes}")
        if not 0 < part.nbytes - part.form.nbytes <= HEADER_BYTES:
            raise Broken(f"{part.form.nbytes} bytes of elements in a file of {part.nbytes}")
        if part.nbytes >= MAPPED_BYTES:
            return _array(np.frombuffer(_mapped(fd, part.nbytes), np.uint8), part)
        raw = bytearray(part.nbytes)
        with os.fdopen(os.dup(fd), "rb", buffering=0) as stream:
            if stream.readinto(raw) != part.nbytes:
                raise Broken("it was cut off")
        return _array(np.frombuffer(raw, np.uint8), part)


def _mapped(fd: int, nbytes: int) -> mmap.mmap:
    if _WHOLE:  # its pages all at once, as all of them are looked at
        return mmap.mmap(fd, nbytes, mmap.MAP_SHARED | _WHOLE, mmap.PROT_READ)
    return mmap.mmap(fd, nbytes, access=mmap.ACCESS_READ)


def _array(raw: Any, part: Part) -> Any:
    """The array whose file has the bytes `raw`."""
    if xxh3_128_digest(raw) != part.name:
        raise Broken("its bytes have changed")
    start = _start(bytes(raw[:HEADER_BYTES]), part)
    form = part.form
    dtype = np.dtype(form.dtype)
    try:
        array: Any = np.ndarray(form.shape, dtype, raw.data, start, form.strides or None)
    except (TypeError, ValueError) as error:
        raise Broken(str(error)) from None
    if form.scalar:
        return array[()]
    if part.nbytes < MAPPED_BYTES:
        array = clone(array)
        array.setflags(write=False)
    return array


def _start(head: bytes, part: Part) -> int:
    """Where the elements begin; the header must promise what the index does."""
    stream = io.BytesIO(head)
    try:
        if npy.read_magic(stream) != (1, 0):
            raise ValueError("another version of the format")
        shape, _, dtype = npy.read_array_header_1_0(stream, max_header_size=HEADER_BYTES)
    except Exception as error:  # a header is text that NumPy parses; it may fail in many ways
        raise Broken(f"no header of a .npy file: {error}") from None
    if dtype != np.dtype(part.form.dtype) or math.prod(shape) != math.prod(part.form.shape):
        raise Broken(f"its header promises {dtype} {shape}, the index {part.form}")
    if stream.tell() + part.form.nbytes != part.nbytes:
        raise Broken(f"{part.nbytes} bytes, with {part.form.nbytes} of elements")
    return stream.tell()
