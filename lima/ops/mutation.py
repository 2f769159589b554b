"""Rows of calls that write their first operand and return nothing.

The kernel writes `data[0]`, which is private to it (`lima.op.evaluate`); the handle of the operand
is then re-pointed to the result. Methods of ndarray that no NumPy function spells are rows under
their own names: `np.ndarray.fill(a, 0)` is how source text writes `a.fill(0)`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.op import OPS, Kind, op
from lima.ops.spelling import Args, Kwargs, Respelled, by_name, renamed, spelling

LIGHT = Kind.LIGHT

# --------------------------------------------------------------------------- NumPy functions

op(
    "copyto",
    np.copyto,
    LIGHT,
    operands="dst src",
    signature="dst, src, casting='same_kind', where=True",
    into="dst",
)
op("put", np.put, LIGHT, operands="a ind v", into="a")
op("place", np.place, LIGHT, operands="arr mask vals", into="arr")
op(
    "putmask",
    np.putmask,
    LIGHT,
    operands="a mask values",
    signature="a, mask, values",
    into="a",
)
op("put_along_axis", np.put_along_axis, LIGHT, operands="arr indices values", into="arr")
op("fill_diagonal", np.fill_diagonal, LIGHT, operands="a val", into="a")

# --------------------------------------------------------------------------- methods of ndarray

renamed(np.ndarray.put, "put", indices="ind", values="v")
op("ndarray.fill", np.ndarray.fill, LIGHT, operands="a value", signature="a, value", into="a")
op("ndarray.sort", np.ndarray.sort, signature="a, axis=-1, kind=None, order=None, stable=None",
   into="a")  # fmt: skip
op(
    "ndarray.partition",
    np.ndarray.partition,
    signature="a, kth, axis=-1, kind='introselect', order=None",
    into="a",
)
op(
    "ndarray.setfield",
    np.ndarray.setfield,
    LIGHT,
    operands="a val",
    signature="a, val, dtype, offset=0",
    into="a",
)

# --------------------------------------------------------------------------- on request in place


def _byteswap(a: Any) -> None:
    a.byteswap(inplace=True)


op("ndarray.byteswap", np.ndarray.byteswap, LIGHT, signature="a")
op(
    "ndarray.byteswap.inplace",
    _byteswap,
    LIGHT,
    calls=(),
    into="a",
    source=lambda inputs, params: f"{inputs[0]}.byteswap(inplace=True)",
)


@spelling(np.ndarray.byteswap)
def _respell_byteswap(args: Args, kwargs: Kwargs) -> Respelled:
    named = by_name(("a", "inplace"), args, kwargs)
    name = "ndarray.byteswap.inplace" if named.pop("inplace", False) else "ndarray.byteswap"
    return OPS[name], (named.pop("a"),), named


def _nan_to_num(x: Any, **options: Any) -> None:
    np.nan_to_num(x, copy=False, **options)


# Its result is the array that it writes.
op(
    "nan_to_num.inplace",
    _nan_to_num,
    LIGHT,
    operands="x",
    signature="x, nan=0.0, posinf=None, neginf=None",
    calls=(),
    into="x",
    source=lambda inputs, params: (
        f"np.nan_to_num({', '.join([*inputs, 'copy=False', *map('='.join, params.items())])})"
    ),
)


@spelling(np.nan_to_num)
def _respell_nan_to_num(args: Args, kwargs: Kwargs) -> Respelled:
    row = OPS["nan_to_num"]
    if len(args) < 2 and kwargs.get("copy", True):
        return row, args, kwargs
    named = by_name(row.names, args, kwargs)
    return OPS["nan_to_num" if named.pop("copy", True) else "nan_to_num.inplace"], (), named
