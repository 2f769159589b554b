"""Rows of sorting, searching, sets, whole arrays compared, interpolation, calendars."""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.op import OPS, Op, op
from lima.ops import reach, reach_axes, reach_matrices
from lima.ops.spelling import Args, Kwargs, Respelled, family, spelling, written

# --------------------------------------------------------------------------- sorting

op("sort", np.sort, weight=16.0, reach=reach.along)
op("sort_complex", np.sort_complex, weight=64.0)
op("argsort", np.argsort, weight=32.0, reach=reach.along)
op("partition", np.partition, weight=4.0, reach=reach.along)
op("argpartition", np.argpartition, weight=8.0, reach=reach.along)
# The keys are one array or a sequence of arrays.
op("lexsort", np.lexsort, operands="", signature="keys, axis=-1", weight=128.0)

# --------------------------------------------------------------------------- searching

op("nonzero", np.nonzero, wrap=tuple, weight=8.0)
op("argwhere", np.argwhere, weight=8.0)
op("flatnonzero", np.flatnonzero, weight=8.0)
op("searchsorted", np.searchsorted, operands="a v", weight=128.0, reach=reach_axes.looked_up(0))
op("digitize", np.digitize, operands="x bins", weight=16.0, reach=reach_axes.looked_up(1))
op("interp", np.interp, operands="x xp fp", weight=128.0, reach=reach_axes.looked_up(1, 2))

# --------------------------------------------------------------------------- sets

# The class of a named tuple, found on one element: NumPy has no public name for them.
_ONE: Any = np.ones(1)

op("unique", np.unique, operands="ar", wrap=tuple, weight=32.0)  # a tuple with `return_...`
op("unique_values", np.unique_values, operands="x", weight=32.0)
op("unique_all", np.unique_all, operands="x", wrap=type(np.unique_all(_ONE)), weight=32.0)
op("unique_counts", np.unique_counts, operands="x", wrap=type(np.unique_counts(_ONE)), weight=32.0)
op(
    "unique_inverse",
    np.unique_inverse,
    operands="x",
    wrap=type(np.unique_inverse(_ONE)),
    weight=32.0,
)
op(
    "intersect1d", np.intersect1d, operands="ar1 ar2", wrap=tuple, weight=64.0
)  # with return_indices
family((np.union1d, np.setdiff1d, np.setxor1d), operands="ar1 ar2", weight=64.0)
op("isin", np.isin, operands="element test_elements", weight=16.0, reach=reach_axes.looked_up(1))

# --------------------------------------------------------------------------- comparison

# These return a Python bool.
op("allclose", np.allclose, operands="a b", weight=8.0, reach=reach_matrices.number)
op("array_equal", np.array_equal, operands="a1 a2", weight=2.0, reach=reach_matrices.number)
op("array_equiv", np.array_equiv, operands="a1 a2", weight=4.0, reach=reach_matrices.number)

# --------------------------------------------------------------------------- differences, integrals


def _gradient(f: Any, *, spacing: Any = (), **options: Any) -> Any:
    return np.gradient(f, *spacing, **options)


op("diff", np.diff, weight=2.0, reach=reach.differenced)
op("ediff1d", np.ediff1d, operands="ary", weight=2.0, reach=reach_axes.linear)
op("trapezoid", np.trapezoid, operands="y", weight=4.0, reach=reach.reduced)
op(
    "gradient",
    _gradient,
    operands="f",
    signature="f, spacing=(), axis=None, edge_order=1",
    calls=(),
    wrap=tuple,  # one array along one axis
    weight=8.0,
    source=written("np.gradient", "*spacing"),
    reach=reach_axes.linear,
)


@spelling(np.gradient)
def _respell_gradient(args: Args, kwargs: Kwargs) -> Respelled:
    return OPS["gradient"], args[:1], {"spacing": args[1:], **kwargs}


# --------------------------------------------------------------------------- calendars

# A `busdaycalendar` object is no parameter that can be written down: with one, NumPy computes.
WEEK = "weekmask='1111100', holidays=None, busdaycal=None, out=None"

op("is_busday", np.is_busday, operands="dates", signature=f"dates, {WEEK}", weight=16.0)
op(
    "busday_offset",
    np.busday_offset,
    operands="dates offsets",
    signature=f"dates, offsets, roll='raise', {WEEK}",
    weight=16.0,
)
op(
    "busday_count",
    np.busday_count,
    operands="begindates enddates",
    signature=f"begindates, enddates, {WEEK.replace('holidays=None', 'holidays=()')}",
    weight=16.0,
)


def _with_dates(row: Op, *dtypes: str) -> None:
    """NumPy takes an empty list for one of what is asked for, not of floats."""

    @spelling(row.calls[0])
    def respell(args: Args, kwargs: Kwargs) -> Respelled:
        empty = dict(zip(row.operands, dtypes, strict=False))
        args = tuple(
            [_typed(x, d) for x, d in zip(args, (*dtypes, *[""] * len(args)), strict=False)]
        )
        return row, args, {k: _typed(x, empty.get(k, "")) for k, x in kwargs.items()}


def _typed(x: Any, dtype: str) -> Any:
    return np.empty(0, dtype) if dtype and type(x) in (list, tuple) and not x else x


_with_dates(OPS["is_busday"], "M8[D]")
_with_dates(OPS["busday_offset"], "M8[D]", "i8")
_with_dates(OPS["busday_count"], "M8[D]", "M8[D]")
