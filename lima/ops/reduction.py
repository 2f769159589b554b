"""Rows of reductions, scans, order statistics and statistics of samples.

A parameter that NumPy defaults to "no value" has here the default that means the same, so that
`keepdims=False` written out is the same call. Reductions of integers to Python or NumPy scalars
return what NumPy returns (`np.count_nonzero` a Python int before NumPy 2.4).
Weights are measured on 20,000 elements and rounded to a power of two.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lima.node import Spec
from lima.op import ALONG, DOWN, FUSES, WHOLE, Fold, Meta, op
from lima.ops import reach, reach_axes, reach_matrices
from lima.ops.counted import HISTOGRAM
from lima.ops.joined import RULES
from lima.ops.scans import GROUPED, SCANS
from lima.ops.spelling import family, path, permitting
from lima.pattern import Rule

ALONG_ROWS: dict[str, Callable[..., Any]] = {}
ALONG_COLUMNS: dict[str, Callable[..., Any]] = {}
if FUSES:
    from lima.columns import KERNELS as ALONG_COLUMNS
    from lima.short_rows import KERNELS as ALONG_ROWS

ALL_ANY = "a, axis=None, out=None, keepdims=False, where=True"
EXTREME = "a, axis=None, out=None, keepdims=False, initial=MISSING, where=True"
ADDING = "a, axis=None, dtype=None, out=None, keepdims=False, initial=MISSING, where=True"
MEAN = "a, axis=None, dtype=None, out=None, keepdims=False, where=True"
SPREAD = (
    "a, axis=None, dtype=None, out=None, ddof=0, keepdims=False, where=True, mean=MISSING,"
    " correction=MISSING"
)
PLACE = "a, axis=None, out=None, keepdims=False"
SCAN = "a, axis=None, dtype=None, out=None"
WEIGHTS = {SPREAD: 8.0, SCAN: 8.0}
MEDIAN = "a, axis=None, out=None, overwrite_input=False, keepdims=False"
QUANTILE = (
    "a, q, axis=None, out=None, overwrite_input=False, method='linear', keepdims=False,"
    " weights=None"
)

# --------------------------------------------------------------------------- reductions and scans


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's function, or one of lima's own along short rows or down columns where that serves."""
    name = function.__name__
    along, down = ALONG_ROWS.get(name), ALONG_COLUMNS.get(name)
    if along is None and down is None:
        return function

    @functools.wraps(function)
    def kernel(a: Any, axis: Any = None, threads: int = 1, **options: Any) -> Any:
        if type(a) is np.ndarray and type(axis) is int and options.keys() <= _OWN:
            found = None
            asked = {"keepdims": False, **options}
            if down is not None and axis in (0, -a.ndim):
                found = down(a, threads=threads, **asked)
            if found is None and along is not None and axis in (-1, a.ndim - 1):
                found = along(a, **asked)
            if found is not None:
                return found
        return function(a, axis=axis, **options)

    return kernel


_OWN = {"keepdims", "ddof"}
"""Parameters beside the axis that lima's own kernels take."""

WIDEST = 1 << 16
"""Elements of a row up to which rows are folded as they are computed."""


def _folds(name: str) -> Callable[[Spec, Meta], Fold | None] | None:
    """How the reduction of this name folds a value that waits; None if it does not."""
    function = _FOLDED.get(name)
    if name in _PLACES:
        return functools.partial(_row_by_row, _PLACES[name])
    if function is None:
        return None

    def folds(spec: Spec, meta: Meta) -> Fold | None:
        shape, dtype = meta
        given = dict(spec.params)
        axis, keepdims = given.pop("axis", None), given.pop("keepdims", False)
        if given or type(keepdims) is not bool or dtype.char not in "df":
            return None
        ndim, size = len(shape), math.prod(shape)
        if axis is None or (ndim == 1 and axis in (0, -1)):
            way, left, count = WHOLE, (1,) * ndim if keepdims else None, size
        elif axis in (0, -ndim) and 1 < size // shape[0] <= WIDEST:
            way, left, count = DOWN, ((1,) if keepdims else ()) + shape[1:], shape[0]
        elif axis in (-1, ndim - 1) and 1 < shape[-1] <= WIDEST:
            way, left, count = ALONG, shape[:-1] + ((1,) if keepdims else ()), shape[-1]
        else:
            return None
        finish = functools.partial(_divided, count) if name == "mean" else None
        return Fold(function, way, left, finish)

    return folds


def _row_by_row(extreme: Any, spec: Spec, meta: Meta) -> Fold | None:
    """`argmin` and the like along the last axis: of whole rows."""
    given = dict(spec.params)
    axis, keepdims = given.pop("axis", None), given.pop("keepdims", False)
    ndim = len(meta[0])
    if (
        given
        or type(keepdims) is not bool
        or axis is None
        or ndim < 2
        or axis not in (-1, ndim - 1)
    ):
        return None
    left = meta[0][:-1] + ((1,) if keepdims else ())
    return Fold(None, ALONG, left, None, extreme)


_PLACES = {"argmin": np.minimum, "argmax": np.maximum}

_FOLDED = {"sum": np.add, "mean": np.add, "max": np.maximum, "min": np.minimum}


def _divided(count: int, total: Any) -> Any:
    """A sum as a mean, in the way of `np.mean`."""
    if type(total) is np.ndarray:
        return np.true_divide(total, np.intp(count), out=total, casting="unsafe")
    return total.dtype.type(total / np.intp(count))


def _rules(name: str) -> tuple[Rule, ...]:
    return SCANS if name in ("cumsum", "cumprod") else RULES.get(name, ())


_REDUCTIONS: dict[str, tuple[Any, ...]] = {
    ALL_ANY: (np.all, np.any),
    EXTREME: (np.nanmax, np.nanmin),
    ADDING: (np.sum, np.prod, np.nansum, np.nanprod),
    MEAN: (np.mean, np.nanmean),
    SPREAD: (np.std, np.var, np.nanstd, np.nanvar),
    PLACE: (np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.ptp),
    SCAN: (np.cumsum, np.cumprod, np.nancumsum, np.nancumprod),
}

for _signature, _functions in _REDUCTIONS.items():
    for _function in _functions:
        _weight = WEIGHTS.get(_signature, 4.0)
        op(
            path(_function),
            _kernel(_function),
            signature=_signature,
            weight=_weight,
            calls=(_function,),
            threaded=_function.__name__ in ALONG_COLUMNS,
            folds=_folds(_function.__name__),
            reach=reach.onward if _signature is SCAN else reach.reduced,
            rules=_rules(path(_function)),
        )

for _function, _other in ((np.max, np.amax), (np.min, np.amin)):
    op(
        _function.__name__,
        _kernel(_function),
        signature=EXTREME,
        weight=2.0,
        calls=(_function, _other),
        threaded=_function.__name__ in ALONG_COLUMNS,
        folds=_folds(_function.__name__),
        reach=reach.reduced,
        rules=RULES[_function.__name__],
    )
op("count_nonzero", np.count_nonzero, weight=4.0, reach=reach.reduced, rules=RULES["count_nonzero"])
op("trace", np.trace, reach=reach_matrices.traced)
op("average", np.average, wrap=tuple, weight=8.0, reach=reach.reduced)  # a tuple with returned=True

for _name in ("cumulative_sum", "cumulative_prod"):  # NumPy 2.1 and later
    if hasattr(np, _name):
        op(_name, getattr(np, _name), operands="x", weight=8.0, reach=reach_axes.summed_on)

# --------------------------------------------------------------------------- order statistics

op("median", np.median, signature=MEDIAN, weight=32.0, reach=reach.reduced)
op("nanmedian", np.nanmedian, signature=MEDIAN, weight=32.0, reach=reach.reduced)
family(
    (np.percentile, np.quantile, np.nanpercentile, np.nanquantile),
    operands="a q",
    signature=QUANTILE,
    weight=32.0,
    reach=reach.quantiles,
)

# `overwrite_input=True` allows NumPy to spoil its operand; a value that others may read is not
# offered for that.
permitting(np.median, np.nanmedian, np.percentile, np.quantile, np.nanpercentile, np.nanquantile)

# --------------------------------------------------------------------------- statistics


def _cov(m: Any, **options: Any) -> Any:
    """`np.cov`, which multiplies `aweights` into `fweights` in place when it is given both."""
    if options.get("fweights") is not None and options.get("aweights") is not None:
        options["fweights"] = np.array(options["fweights"])
    return np.cov(m, **options)


# Both copy their operands before the product, so that it cannot matter whether two are one buffer.
op(
    "cov",
    _cov,
    operands="m",
    signature="m, y=None, rowvar=True, bias=False, ddof=None, fweights=None, aweights=None,"
    " dtype=None",
    calls=(np.cov,),
    weight=8.0,
    growth=1.5,
)
op("corrcoef", np.corrcoef, operands="x", weight=8.0, growth=1.5)
op(
    "bincount",
    np.bincount,
    operands="x",
    signature="x, weights=None, minlength=0",
    weight=4.0,
    rules=GROUPED,
)
op("histogram", np.histogram, wrap=tuple, gives=True, weight=32.0, rules=(HISTOGRAM,))
op("histogram_bin_edges", np.histogram_bin_edges, gives=True, weight=8.0)
op("histogram2d", np.histogram2d, operands="x y", wrap=tuple, gives=True, weight=128.0)
# The second item is a list of arrays. The sample is a parameter, as it may be a list of arrays.
op(
    "histogramdd",
    np.histogramdd,
    gives=True,
    operands="",
    signature="sample, bins=10, range=None, density=None, weights=None",
    weight=128.0,
    wrap=tuple,
)
