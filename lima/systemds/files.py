"""Matrices that a log was computed from, where they lie beside it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

MAX_CELLS = 1 << 28
"""Elements of the largest matrix that is filled from a list of cells (2 GiB)."""


class Read(NamedTuple):
    """A file that the program read, as the log records it; -1 stands for what is unknown."""

    path: str
    format: str
    rows: int
    columns: int
    header: bool = False
    separator: str = ","
    default: float = 0.0


class Unreadable(Exception):
    """There is no such matrix beside the log; the message says why."""


def located(folder: Path | None, path: str) -> Path:
    """The file in `folder` that `path` means: as it stands, or by its last part.

    Nothing outside of the folder is looked at, whatever the log says.
    """
    plain = PurePosixPath(path.replace("\\", "/"))
    if folder is None or not plain.name:
        raise Unreadable("it is not beside the log")
    inside = not plain.is_absolute() and ".." not in plain.parts and ":" not in path
    with contextlib.suppress(OSError):  # a name that the system cannot have
        for part in ([plain] if inside else []) + [PurePosixPath(plain.name)]:
            found = folder / part
            if found.is_file():
                return found
    raise Unreadable("it is not beside the log")


def metadata(path: Path) -> dict[str, Any]:
    """What SystemDS wrote beside a matrix (`X.csv.mtd`); empty where that cannot be read."""
    try:
        found = json.loads(path.with_name(f"{path.name}.mtd").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if type(found) is dict else {}


def size_in(facts: dict[str, Any], key: str) -> int | None:
    """The number of rows or columns that metadata states."""
    value = facts.get(key)
    return value if type(value) is int and value >= 0 else None


def read(folder: Path | None, source: Read) -> np.ndarray[Any, Any]:
    """The matrix as float64; Unreadable where it is missing or of another form than was said."""
    path = located(folder, source.path)
    reader = READERS.get(source.format)
    if reader is None:
        raise Unreadable(f"files of the format {source.format!r} are not read")
    try:
        found = reader(path, source)
        if not found.size:
            raise ValueError("it is empty")
    except (OSError, ValueError, OverflowError, IndexError) as error:
        raise Unreadable(f"it cannot be read as {source.format}: {error}") from None
    for what, then, now in zip(("rows", "columns"), source[2:4], found.shape, strict=True):
        if then not in (-1, now):
            raise Unreadable(f"it has {now} {what}, the log says {then}")
    return found


def _csv(path: Path, source: Read) -> np.ndarray[Any, Any]:
    if not path.stat().st_size:
        raise ValueError("it is empty")
    try:
        found = np.loadtxt(
            path, delimiter=source.separator, skiprows=int(source.header), ndmin=2, comments=None,
            encoding="utf-8",
        )  # fmt: skip
    except (ValueError, TypeError):  # TypeError: the separator has several characters
        found = _csv_with_gaps(path, source)
    return np.ascontiguousarray(found, np.float64)


def _csv_with_gaps(path: Path, source: Read) -> np.ndarray[Any, Any]:
    """As SystemDS reads it: an empty field is the default of the read."""

    def number(field: str) -> float:
        return float(field) if field.strip() else source.default

    lines = path.read_text("utf-8").splitlines()[int(source.header) :]
    rows = [list(map(number, line.split(source.separator))) for line in lines if line]
    return np.array(rows, np.float64, ndmin=2)


def _lines(path: Path) -> Iterator[list[str]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("%"):
                yield line.split()


def _filled(
    rows: int, columns: int, cells: Iterator[list[str]], mirror: float
) -> np.ndarray[Any, Any]:
    if rows < 0 or columns < 0 or rows * columns > MAX_CELLS:
        raise ValueError(f"a matrix of {rows} x {columns}")
    found = np.zeros((rows, columns))
    for cell in cells:
        i, j = int(cell[0]), int(cell[1])
        if not (1 <= i <= rows and 1 <= j <= columns):
            raise ValueError(f"cell ({i}, {j}) of a matrix of {rows} x {columns}")
        value = float(cell[2]) if len(cell) > 2 else 1.0
        found[i - 1, j - 1] = value
        if mirror and i != j:
            found[j - 1, i - 1] = mirror * value
    return found


def _cells(path: Path, source: Read) -> np.ndarray[Any, Any]:
    """Lines of row, column and value; the size is in the log or in the metadata."""
    facts = metadata(path)
    rows, columns = source.rows, source.columns
    if rows < 0 or columns < 0:
        stated = size_in(facts, "rows"), size_in(facts, "cols")
        if stated[0] is None or stated[1] is None:
            raise ValueError("neither the log nor a .mtd file says how large the matrix is")
        rows, columns = stated[0], stated[1]
    return _filled(rows, columns, _lines(path), 0.0)


MIRRORS = {"general": 0.0, "symmetric": 1.0, "skew-symmetric": -1.0}
"""What the symmetries of Matrix Market say of the other triangle."""


def _market(path: Path, source: Read) -> np.ndarray[Any, Any]:
    with open(path, encoding="utf-8") as file:
        head = file.readline(200).lower().split()
    if head[:2] != ["%%matrixmarket", "matrix"] or len(head) != 5 or head[4] not in MIRRORS:
        raise ValueError(f"expected a header of Matrix Market, found {' '.join(head)[:60]!r}")
    if head[3] not in ("real", "integer", "pattern"):
        raise ValueError(f"elements of the kind {head[3]} are not read")
    lines = _lines(path)
    size = [int(word) for word in next(lines, [])]
    if head[2] == "coordinate":
        rows, columns, _ = size
        return _filled(rows, columns, lines, MIRRORS[head[4]])
    if head[4] != "general":
        raise ValueError("an array of Matrix Market is read as general only")
    rows, columns = size
    return np.array([float(line[0]) for line in lines]).reshape((rows, columns), order="F")


READERS: dict[str, Callable[[Path, Read], np.ndarray[Any, Any]]] = {
    "csv": _csv,
    "text": _cells,
    "mm": _market,
    "mtx": _market,
}
"""By the format that the log names. The binary format of Hadoop is not among them."""
