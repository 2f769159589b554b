"""Rows of the universal functions and of other functions that work element by element."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from lima.node import Spec
from lima.op import OPS, Kind, Meta, evaluate, op
from lima.ops import forms, reach, reach_axes
from lima.ops.spelling import Args, Kwargs, Respelled, family, spelling, written

# --------------------------------------------------------------------------- inference

_NUMBERS = frozenset({int, float, complex, bool})

LARGE = 1 << 64
"""Python integers beyond it may be too large for a float, which is an error."""

MOST_DTYPES = 4096
"""Combinations of dtypes that are remembered."""

_dtypes: dict[tuple[Any, ...], np.dtype[Any] | None] = {}
"""Dtype of an operation's result by the dtypes of its operands (types, if Python numbers)."""


def broadcast(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """Meta of an elementwise result: shapes broadcast, dtype as NumPy's own loop says.

    None (run at once) when the call has parameters, when a Python integer meets integers (whether
    it fits decides about an error), or when NumPy refuses the operands.
    """
    if spec.params:
        return None
    shape: tuple[int, ...] = ()
    key: list[Any] = [spec.op]
    uneven = False
    for item in inputs:
        kind = type(item)
        if kind in _NUMBERS:
            if kind is int and not -LARGE < item < LARGE:
                return None
            key.append(kind)
            continue
        meta = getattr(item, "meta", None)
        if meta is not None:
            key.append(meta[1])
            if not shape:
                shape = meta[0]
            elif meta[0] and meta[0] != shape:
                uneven = True
        elif isinstance(item, np.generic):
            key.append(item.dtype)
        else:
            return None
    kinds = tuple(key)
    dtype = _dtypes[kinds] if kinds in _dtypes else _learn(kinds, inputs, spec)
    if dtype is None:
        return None
    if uneven:
        try:
            shape = np.broadcast_shapes(*[i.meta[0] for i in inputs if hasattr(i, "meta")])
        except ValueError:
            return None
    return shape, dtype


def inexact_only(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """As `broadcast`, for functions that may raise on integers (`np.power` of negative ones)."""
    meta = broadcast(inputs, spec)
    return meta if meta is not None and meta[1].kind in "fc" else None


def _learn(key: tuple[Any, ...], inputs: Sequence[Any], spec: Spec) -> np.dtype[Any] | None:
    """The dtype that NumPy gives operands of these kinds; None where it may refuse them."""
    dtype = None
    if True in [isinstance(kind, np.dtype) and kind.hasobject for kind in key]:
        return None  # each element has its own way to refuse
    weak = True in [kind is int for kind in key]
    if not weak or True in [isinstance(kind, np.dtype) and kind.kind in "fc" for kind in key]:
        with suppress(Exception):  # what NumPy refuses runs at once, and raises for the user there
            one = [_one(i) for i in inputs]
            with np.errstate(all="ignore"):
                dtype = evaluate(OPS[spec.op], spec, one).dtype
    if len(_dtypes) >= MOST_DTYPES:
        _dtypes.clear()
    _dtypes[key] = dtype
    return dtype


def _one(item: Any) -> Any:
    """Something of the dtype, or of the Python type, of an operand."""
    if hasattr(item, "meta"):
        return np.ones(1, item.meta[1])
    return np.ones(1, item.dtype)[0] if isinstance(item, np.generic) else type(item)(1)


# --------------------------------------------------------------------------- universal functions

UFUNC_PARAMS = (
    "out=None, where=True, casting='same_kind', order='K', dtype=None, subok=True, signature=None"
)


def ufunc(
    function: np.ufunc,
    infix: str | None = None,
    infer: Any = broadcast,
    weight: float = 1.0,
    **facts: Any,
) -> None:
    """The row of a universal function, and those of its methods."""
    name = function.__name__
    operands = " ".join(["x", "y", "z", "w"][: function.nin])
    many = function.nout > 1
    op(
        name,
        function,
        Kind.LIGHT,
        operands=operands,
        signature=f"{operands.replace(' ', ', ')}, {UFUNC_PARAMS}",
        infix=infix,
        infer=None if many else infer,
        wrap=tuple if many else None,
        weight=weight,
        **facts,
    )
    if function.nin == 2 and not many:
        _methods(function, name)


REACHES: dict[str, reach.Reach] = {
    "reduce": reach.reduced,
    "accumulate": reach.onward,
    "outer": reach.outer,
    "reduceat": reach_axes.sums_of_stretches,
}


def _methods(function: np.ufunc, name: str) -> None:
    for method, signature in {
        "reduce": "array, axis=0, dtype=None, out=None, keepdims=False, initial=MISSING,"
        " where=True",
        "accumulate": "array, axis=0, dtype=None, out=None",
        "reduceat": "array, indices, axis=0, dtype=None, out=None",
        "outer": "A, B, *, out=None, where=True, casting='same_kind', dtype=None",
    }.items():
        operands = {"reduceat": "array indices", "outer": "A B"}.get(method, "array")
        op(
            f"{name}.{method}",
            getattr(function, method),
            operands=operands,
            signature=signature,
            reach=REACHES.get(method),
        )
    op(
        f"{name}.at",
        _at(function),
        signature="a, indices, b",
        calls=(function.at,),
        into="a",
        reach=reach_axes.written_at,
        source=written(f"np.{name}.at", "indices", "b"),
    )


def _at(function: np.ufunc) -> Any:
    """`function.at`. Indices are a parameter: a tuple of them is no array, nor is a slice."""

    def at(a: Any, *, indices: Any, b: Any) -> None:
        function.at(a, indices, b)

    return at


def ufuncs(functions: Iterable[np.ufunc], infer: Any = broadcast, weight: float = 1.0) -> None:
    """The rows of universal functions that have no operator."""
    for function in functions:
        ufunc(function, infer=infer, weight=weight)


# arithmetic
ufunc(np.add, "+")
ufunc(np.subtract, "-")
ufunc(np.multiply, "*")
ufunc(np.divide, "/")
ufunc(np.floor_divide, "//")
ufunc(np.remainder, "%")
ufunc(np.power, None, inexact_only, weight=16.0)


def _square(inputs: Sequence[Any]) -> Any:
    base, power = inputs
    two = type(power) in (int, float) and power == 2
    return np.square if two and base.meta[1].kind == "f" else None


# The operator has short cuts that the function lacks: `x ** 2` is a square, `x ** 0.5` a root.
op("pow", operator.pow, Kind.LIGHT, operands="x y", params={}, calls=(), infix="**",
   reach=reach.elementwise, infer=inexact_only, weight=16.0, inner=_square)  # fmt: skip


# Python's operators on complex scalars do not round as the functions do.
op("mul", operator.mul, Kind.LIGHT, operands="x y", params={}, calls=(), infix="*",
   reach=reach.elementwise)  # fmt: skip
op("abs", operator.abs, Kind.LIGHT, operands="x", params={}, calls=(),
   reach=reach.elementwise, source=lambda texts, params: f"abs({texts[0]})")  # fmt: skip


def _ipow(x: Any, y: Any) -> None:
    x **= y


op("ipow", _ipow, Kind.LIGHT, operands="x y", params={}, calls=(), into="x",
   source=lambda texts, params: f"{texts[0]} **= {texts[1]}")  # fmt: skip
ufuncs((np.reciprocal, np.float_power), inexact_only)
ufuncs((
    np.negative, np.positive, np.absolute, np.fabs, np.sign, np.square, np.sqrt, np.cbrt, np.fmod,
    np.heaviside, np.hypot, np.copysign, np.nextafter, np.spacing, np.ldexp,
    np.signbit, np.gcd, np.lcm, np.divmod, np.modf, np.frexp,
))  # fmt: skip

# In `Z.conj().T @ Z` of a joined `Z`, rules see through it.
ufunc(np.conjugate, form=forms.each)

for function_, operator_ in (("multiply", "mul"), ("absolute", "abs")):
    OPS[function_].scalars = OPS[operator_].spec

# exponentials, logarithms, trigonometry
ufuncs((
    np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.logaddexp, np.logaddexp2,
    np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan, np.arctan2, np.sinh, np.cosh,
    np.tanh, np.arcsinh, np.arccosh, np.arctanh, np.deg2rad, np.rad2deg, np.degrees, np.radians,
), weight=16.0)  # fmt: skip

# comparison and logic
ufunc(np.equal, "==", lenient=True)
ufunc(np.not_equal, "!=", lenient=True)
ufunc(np.less, "<")
ufunc(np.less_equal, "<=")
ufunc(np.greater, ">")
ufunc(np.greater_equal, ">=")
ufuncs((
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not, np.maximum, np.minimum, np.fmax,
    np.fmin, np.isfinite, np.isinf, np.isnan, np.isnat,
))  # fmt: skip

# bits
ufunc(np.bitwise_and, "&")
ufunc(np.bitwise_or, "|")
ufunc(np.bitwise_xor, "^")
ufunc(np.left_shift, "<<")
ufunc(np.right_shift, ">>")
ufuncs((np.invert, np.bitwise_count))

# rounding
ufuncs((np.rint, np.floor, np.ceil, np.trunc))

# --------------------------------------------------------------------------- other elementwise

op(
    "where",
    np.where,
    Kind.LIGHT,
    operands="condition x y",
    signature="condition, x, y",
    infer=broadcast,
    reach=reach.elementwise,
    inner=lambda inputs: np.where if len(inputs) == 3 else None,
)


@spelling(np.where)
def _respell_where(args: Args, kwargs: Kwargs) -> Respelled:
    if kwargs:
        return None, args, kwargs  # by position alone
    return OPS["where" if len(args) > 1 else "nonzero"], args, kwargs


def is_scalar(a: Any) -> bool:
    """Whether NumPy calls a method of scalars, which do without `out=`."""
    return isinstance(a, np.generic)


def _clip(a: Any, *, a_min: Any = None, a_max: Any = None, **options: Any) -> Any:
    """`np.clip`, whose bounds could not be left out at first."""
    return np.clip(a, a_min, a_max, **options)


def _clip_text(inputs: list[str], params: dict[str, str]) -> str:
    bounds = {"a_min": params.get("a_min", "None"), "a_max": params.get("a_max", "None")}
    return f"np.clip({', '.join([*inputs, *map('='.join, (params | bounds).items())])})"


op(
    "clip",
    _clip,
    Kind.LIGHT,
    signature="a, a_min=None, a_max=None, out=None, where=True, casting='same_kind', dtype=None",
    calls=(np.clip,),
    reach=reach.elementwise,
    source=_clip_text,
    unboxes=is_scalar,
)


@spelling(np.clip)
def _respell_clip(args: Args, kwargs: Kwargs) -> Respelled:
    """Bounds are spelled `min` and `max` as well (NumPy 2.1 and later)."""
    names = {"min": "a_min", "max": "a_max"}
    old = len(args) == 2 or not kwargs.keys().isdisjoint(names.values())
    if old and len(args) + sum(k in kwargs for k in names.values()) != 3:
        return None, args, kwargs  # the old names come in pairs, and without the new: an error
    return OPS["clip"], args, {names.get(k, k): v for k, v in kwargs.items()}


op("isclose", np.isclose, Kind.LIGHT, operands="a b", reach=reach.elementwise)
op("round", np.round, Kind.LIGHT, calls=(np.round, np.around), reach=reach.elementwise,
   unboxes=is_scalar)  # fmt: skip
op("angle", np.angle, Kind.LIGHT, operands="z", reach=reach.elementwise)
op("unwrap", np.unwrap, Kind.LIGHT, operands="p")
family(
    (np.sinc, np.i0, np.nan_to_num, np.isposinf, np.isneginf, np.fix, np.iscomplex, np.isreal),
    Kind.LIGHT,
    operands="x",
    reach=reach.elementwise,
)

# As the universal functions, but complex where a real result does not exist.
for _function in (
    np.emath.sqrt, np.emath.log, np.emath.log2, np.emath.log10, np.emath.arccos, np.emath.arcsin,
    np.emath.arctanh,
):  # fmt: skip
    op(f"emath.{_function.__name__}", _function, Kind.LIGHT, operands="x")
op("emath.logn", np.emath.logn, Kind.LIGHT, operands="n x")
op("emath.power", np.emath.power, Kind.LIGHT, operands="x p")
