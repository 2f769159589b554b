"""Rows of operations that rules use and that no NumPy function spells (`lima.ops.products`)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from lima.op import Kind, op


def _product_of_parts(arrays: Any, *, widths: tuple[int, ...]) -> Any:
    """`np.hstack(parts) @ b`, without the joining: `b` is cut into stretches of these widths."""
    *parts, b = arrays
    total: Any = None
    rest = []
    start = 0
    for part, width in zip(parts, widths, strict=True):
        stretch = b[start : start + width]
        start += width
        ndim = getattr(part, "ndim", 0)
        if ndim == 0:  # a column of one number
            rest.append(stretch[0] if part == 1.0 else part * stretch[0])
            continue
        if ndim == 1 and width == 1 and b.ndim == 1:
            if total is not None and total.dtype == part.dtype == b.dtype:
                _add_multiple(total, part, stretch[0])
                continue
            term = part * stretch[0]
        elif ndim == 1 and width == 1:
            term = part[:, None] * stretch
        else:
            term = part @ stretch
        total = term if total is None else np.add(total, term, out=total)
    for term in rest:
        total = np.add(total, term, out=total)
    return total


def _add_multiple(total: Any, part: Any, number: Any) -> None:
    """`total += part * number`, in stretches whose products stay in the first cache."""
    room = np.empty(min(BLOCK, len(part)), part.dtype)
    for start in range(0, len(part), BLOCK):
        stretch = part[start : start + BLOCK]
        product = np.multiply(stretch, number, out=room[: len(stretch)])
        np.add(total[start : start + BLOCK], product, out=total[start : start + BLOCK])


BLOCK = 8192
"""Elements of a column that are multiplied before they are added."""


def _product_of_parts_text(inputs: list[str], params: dict[str, str]) -> str:
    *parts, b = inputs
    return f"product_of_parts([{', '.join(parts)}], {b}, {params['widths']})"


op(
    "matmul.parts",
    _product_of_parts,
    Kind.EFFECT,
    operands="arrays",
    signature="arrays, widths",
    calls=(),
    variadic=True,
    aliasing=True,
    source=_product_of_parts_text,
)


MANY = 1 << 14
"""Elements from which lines that stand side by side are copied together."""

BLOCKS = 16
"""Stretches of rows times those of columns beyond which they are taken one by one."""


def _lines(a: Any, *, rows: tuple[int, ...], columns: tuple[int, ...]) -> Any:
    if len(rows) * len(columns) >= MANY:
        down, right = _runs(rows), _runs(columns)
        if len(down) * len(right) <= BLOCKS:
            made = np.empty((len(rows), len(columns)), a.dtype)
            for i, row, m in down:
                for j, column, n in right:
                    made[i : i + m, j : j + n] = a[row : row + m, column : column + n]
            return made
    return a.take(rows, axis=0).take(columns, axis=1)


def _runs(places: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Stretches of places that follow on one another: where each begins, with which, how long."""
    line = np.array(places)
    starts = [0, *(np.flatnonzero(np.diff(line) != 1) + 1).tolist(), len(places)]
    return [(i, places[i], j - i) for i, j in itertools.pairwise(starts)]


op(
    "lines",
    _lines,
    Kind.EFFECT,
    signature="a, rows, columns",
    calls=(),
    source=lambda inputs, params: f"{inputs[0]}[np.ix_({params['rows']}, {params['columns']})]",
)


def _solve_again(a: Any, inverse: Any, size: Any, b: Any) -> Any:
    """The solution of a x = b, given an approximate inverse of `a` and the magnitudes of `a`.

    It is refined until it solves exactly a system whose every element differs from the given one by
    rounding (Oettli and Prager); NaN if that does not come about.
    """
    limit = (len(a) + 8) * np.finfo(a.dtype).eps
    x = inverse @ b
    for _ in range(3):
        rest = b - a @ x
        if np.all(np.abs(rest) <= limit * (size @ np.abs(x) + np.abs(b))):
            return x
        x = x + inverse @ rest
    return np.full_like(x, np.nan)


op(
    "linalg.solve.again",
    _solve_again,
    Kind.EFFECT,
    operands="a inverse size b",
    calls=(),
    aliasing=True,
    source=lambda inputs, params: f"solve_again({', '.join(inputs)})",
)
