"""Rows of sorting, searching, sets, comparison of whole arrays, differences and interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.op import OPS, op
from lima.ops.spelling import Args, Kwargs, Respelled, path, spelling, written

# --------------------------------------------------------------------------- sorting

op("sort", np.sort)
op("sort_complex", np.sort_complex)
op("argsort", np.argsort)
op("partition", np.partition)
op("argpartition", np.argpartition)
# The keys are one array or a sequence of arrays.
op("lexsort", np.lexsort, operands="", signature="keys, axis=-1")

# --------------------------------------------------------------------------- searching

op("nonzero", np.nonzero, wrap=tuple)
op("argwhere", np.argwhere)
op("flatnonzero", np.flatnonzero)
op("searchsorted", np.searchsorted, operands="a v")
op("digitize", np.digitize, operands="x bins")
op("interp", np.interp, operands="x xp fp")

# --------------------------------------------------------------------------- sets

# The class of a named tuple, found on one element: NumPy has no public name for them.
_ONE: Any = np.ones(1)

op("unique", np.unique, operands="ar", wrap=tuple)  # a tuple with `return_...`
op("unique_values", np.unique_values, operands="x")
family((np.unique_all, np.unique_counts, np.unique_inverse), operands="x", wrap=type(_function(_ONE)))
op("intersect1d", np.intersect1d, operands="ar1 ar2", wrap=tuple)  # with return_indices
family((np.union1d, np.setdiff1d, np.setxor1d), operands="ar1 ar2")
op("isin", np.isin, operands="element test_elements")

# --------------------------------------------------------------------------- comparison

# These return a Python bool.
op("allclose", np.allclose, operands="a b")
op("array_equal", np.array_equal, operands="a1 a2")
op("array_equiv", np.array_equiv, operands="a1 a2")

# --------------------------------------------------------------------------- differences, integrals


def _gradient(f: Any, *, spacing: Any = (), **options: Any) -> Any:
    return np.gradient(f, *spacing, **options)


op("diff", np.diff)
op("ediff1d", np.ediff1d, operands="ary")
op("trapezoid", np.trapezoid, operands="y")
op(
    "gradient",
    _gradient,
    operands="f",
    signature="f, spacing=(), axis=None, edge_order=1",
    calls=(),
    wrap=tuple,  # one array along one axis
    source=written("np.gradient", "*spacing"),
)


@spelling(np.gradient)
def _respell_gradient(args: Args, kwargs: Kwargs) -> Respelled:
    return OPS["gradient"], args[:1], {"spacing": args[1:], **kwargs}
