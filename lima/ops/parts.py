"""Rows of operations that rules use and that no NumPy function spells (`lima.ops.products`)."""

from __future__ import annotations

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


def _lines(a: Any, *, rows: tuple[int, ...], columns: tuple[int, ...]) -> Any:
    return a.take(rows, axis=0).take(columns, axis=1)


op(
    "lines",
    _lines,
    Kind.EFFECT,
    signature="a, rows, columns",
    calls=(),
    source=lambda inputs, params: f"{inputs[0]}[np.ix_({params['rows']}, {params['columns']})]",
)
