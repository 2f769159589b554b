"""Products of many rows with a small matrix, by blocks of rows (`lima.row_blocks`).

X C' is many times as large as C, and often all that is asked of it is which column is the least
of each row, or a sum along it. Where that was seen of a product at a line of the program, the next
ones at that line wait, so that it can be computed by blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima.node import Node, large_line
from lima.op import FUSES, Kind, op
from lima.pattern import ROUNDING

if FUSES:
    from lima import narrow

FEWEST = 4096
"""Rows from which a product waits."""

LEAST = 1 << 20
"""Bytes of a product from which it waits."""

MOST = 64
"""Columns of either operand."""

LOOKED_AT = 24
"""Operations among which a product is looked for."""

PRODUCTS = {"matmul", "dot"}


def product_of_rows(x: Any, v: Any, *, rows: int) -> Any:
    """X V by blocks of so many rows, the last of which has up to 64 more."""
    found = np.empty((len(x), v.shape[1]), x.dtype)
    start = 0
    while start < len(x):
        stop = start + rows if start + rows + 64 <= len(x) else len(x)
        np.matmul(x[start:stop], v, out=found[start:stop])
        start = stop
    return found


def narrow_product(x: Any, v: Any) -> Any:
    """X V, the products of a row added up one after the other, as `lima.narrow` does it."""
    found = np.zeros((len(x), v.shape[1]), x.dtype)
    for p in range(v.shape[0]):
        found += x[:, p : p + 1] * v[p]
    return found


def _narrow(x: Any, v: Any, threads: int = 1) -> Any:
    fits = FUSES and narrow.takes(x, v)
    return narrow.product(x, v, threads)[0] if fits else narrow_product(x, v)


op(
    "matmul.narrow",
    _narrow,
    Kind.EFFECT,
    operands="x v",
    calls=(),
    params={},
    threaded=True,
    source=lambda inputs, params: f"narrow_product({', '.join(inputs)})",
)

op(
    "matmul.rows",
    product_of_rows,
    Kind.EFFECT,
    operands="x v",
    calls=(),
    signature="x, v, rows",
    source=lambda inputs, params: f"product_of_rows({', '.join(inputs)}, rows={params['rows']})",
)

HELPERS = (product_of_rows, narrow_product)
"""Functions that a program defines when it calls them (`lima.spelled`)."""


def waits_for_rows(p: Any, inputs: Sequence[Any]) -> bool:
    """Whether a product had better wait, since one of this line was reduced along its rows."""
    x, v = inputs
    (shape, dtype), (other, kind) = x.meta, v.meta
    if not FUSES or len(shape) != 2 or len(other) != 2 or shape[1] != other[0] or kind != dtype:
        return False
    if max(other) > MOST or 0 in other or shape[0] < FEWEST or dtype.char not in "fd":
        return False
    if shape[0] * other[1] * dtype.itemsize < LEAST or ROUNDING not in p.session.allowed:
        return False
    data = x.data
    if data is None:
        if x.row.inner is None:
            return False
    elif not data.flags.c_contiguous:
        return False
    line = large_line()
    return bool(line) and ("rows", line) in p.accounts


def note_reduced(p: Any, node: Node) -> None:
    """Note the lines of the products that something is made of which is reduced along rows."""
    line, seen = [node], {id(node)}
    for below in line:
        if below.spec.op in PRODUCTS and below.place:
            p.account(("rows", below.place))
            continue
        for one in below.inputs:
            if type(one) is Node and id(one) not in seen and len(line) < LOOKED_AT:
                seen.add(id(one))
                line.append(one)
