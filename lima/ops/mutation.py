"""Rows of calls that write their first operand and return nothing.

The kernel writes `data[0]`, which is private to it (`lima.op.evaluate`); the handle of the operand
is then re-pointed to the result. Methods of ndarray that no NumPy function spells are rows under
their own names: `np.ndarray.fill(a, 0)` is how source text writes `a.fill(0)`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.op import OPS, Kind, op
from lima.ops import reach, reach_axes
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
    reach=reach.moved,
)
# Lists stand as parameters where NumPy casts a list and refuses an array of the same numbers.
op("put", np.put, LIGHT, into="a", reach=reach_axes.moved_by(blank="v"))
op("place", np.place, LIGHT, operands="arr mask", into="arr",
   reach=reach_axes.moved_by(1, blank="vals"))  # fmt: skip
op("putmask", np.putmask, LIGHT, operands="a mask", signature="a, mask, values", into="a",
   reach=reach_axes.moved_by(1, blank="values"))  # fmt: skip
spelling(np.putmask)(lambda args, kwargs: (OPS["putmask"] if args else None, args, kwargs))
op("put_along_axis", np.put_along_axis, LIGHT, operands="arr indices values", into="arr",
   reach=reach_axes.moved_by(1))  # fmt: skip
op("fill_diagonal", np.fill_diagonal, LIGHT, operands="a val", into="a", reach=reach.moved)

# --------------------------------------------------------------------------- methods of ndarray

renamed(np.ndarray.put, "put", indices="ind", values="v")
op("ndarray.fill", np.ndarray.fill, LIGHT, operands="a value", signature="a, value", into="a",
   reach=reach.moved)  # fmt: skip
op("ndarray.sort", np.ndarray.sort, signature="a, axis=-1, kind=None, order=None, stable=None",
   into="a", weight=16.0, reach=reach.along)  # fmt: skip
op(
    "ndarray.partition",
    np.ndarray.partition,
    signature="a, kth, axis=-1, kind='introselect', order=None",
    into="a",
    weight=4.0,
    reach=reach.along,
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


def _byteswapped(a: Any) -> Any:
    return a.byteswap()  # of an array or a scalar


op("ndarray.byteswap", _byteswapped, LIGHT, signature="a", calls=(np.ndarray.byteswap,))


def _byteswap_in_place(a: Any) -> Any:
    np.copyto(a, a.byteswap())
    return a


@spelling(np.ndarray.byteswap)
def _respell_byteswap(args: Args, kwargs: Kwargs) -> Respelled:
    named = by_name(("a", "inplace"), args, kwargs)
    in_place = named.pop("inplace", False)
    return _byteswap_in_place if in_place else OPS["ndarray.byteswap"], (named.pop("a"),), named


def _nan_to_num_in_place(x: Any, **options: Any) -> Any:
    cleaned = np.nan_to_num(x, **options)
    if cleaned.dtype.kind not in "fc":  # nothing to clean, so NumPy does not write
        return x if x.ndim else x[()]
    np.copyto(x, cleaned)
    return x if x.ndim else x[()]


@spelling(np.nan_to_num)
def _respell_nan_to_num(args: Args, kwargs: Kwargs) -> Respelled:
    row = OPS["nan_to_num"]
    if len(args) < 2 and kwargs.get("copy", True):
        return row, args, kwargs
    named = by_name(row.names, args, kwargs)
    if named.pop("copy", True):
        return row, (), named
    if not isinstance(named["x"], np.ndarray):
        return None, args, kwargs  # what is no array cannot be written: an error
    return _nan_to_num_in_place, (), named
