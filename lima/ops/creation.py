"""Rows of functions that make arrays from parameters, and of conversions to arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.op import OPS, Kind, op
from lima.ops import forms, infer, reach
from lima.ops.spelling import (
    SPELLINGS,
    Args,
    Kwargs,
    Respelled,
    by_name,
    family,
    permitting,
    spelling,
    written,
)

LIGHT, VIEW = Kind.LIGHT, Kind.VIEW

# --------------------------------------------------------------------------- constant fills

FILL = "shape, dtype=None, order='C'"
LIKE = "dtype=None, order='K', subok=True, shape=None"
MOVED: dict[str, Any] = {"reach": reach.moved}

# What `np.empty` holds is not determined, and what is not determined can be neither reused nor
# computed again. Zeros are one of the values that it may hold.
op(
    "zeros",
    np.zeros,
    LIGHT,
    operands="",
    signature=FILL,
    calls=(np.zeros, np.empty),
    infer=infer.filled,
    form=forms.filled(0.0),
)
op(
    "ones",
    np.ones,
    LIGHT,
    operands="",
    signature=FILL,
    infer=infer.filled,
    form=forms.filled(1.0),
)
op(
    "full",
    np.full,
    LIGHT,
    operands="",
    signature="shape, fill_value, dtype=None, order='C'",
    infer=infer.full,
    form=forms.filled(),
)
family(
    (np.zeros_like, np.ones_like),
    LIGHT,
    signature=f"a, {LIKE}",
    infer=infer.like,
    reach=reach.shaped,
)
op(
    "full_like",
    np.full_like,
    LIGHT,
    signature=f"a, fill_value, {LIKE}",
    infer=infer.like,
    reach=reach.shaped,
)

op(
    "eye",
    np.eye,
    LIGHT,
    operands="",
    signature="N, M=None, k=0, dtype=float, order='C'",
    infer=infer.eye,
)
op("identity", np.identity, LIGHT, operands="", signature="n, dtype=None", infer=infer.eye)
op("tri", np.tri, LIGHT, operands="", signature="N, M=None, k=0, dtype=float", infer=infer.eye)

# --------------------------------------------------------------------------- sequences, grids


def _arange(*, bounds: Any, step: Any = 1, dtype: Any = None) -> Any:
    return np.arange(*bounds, step=step, dtype=dtype)  # type: ignore[call-overload]


op(
    "arange",
    _arange,
    LIGHT,
    operands="",
    signature="bounds, step=1, dtype=None",
    calls=(np.arange,),
    source=written("np.arange", "*bounds"),
)


@spelling(np.arange)
def _respell_arange(args: Args, kwargs: Kwargs) -> Respelled:
    """`bounds` is (stop,) or (start, stop): NumPy takes the dtype from those that are given."""
    named = {k: v for k, v in kwargs.items() if k != "like"}
    if named.pop("device", None) not in (None, "cpu") or not 1 <= len(args) <= 4:
        return None, args, kwargs
    bounds = args[:2]
    if "stop" in named and len(args) == 1:
        bounds = (*bounds, named.pop("stop"))
    named = by_name(("step", "dtype"), args[2:], named)
    if bounds[-1] is None:  # np.arange(3, None) is np.arange(3)
        bounds = bounds[:-1]
    return OPS["arange"], (), {"bounds": bounds, **named}


# The ends may be arrays. The result is a tuple with retstep=True.
op("linspace", np.linspace, LIGHT, operands="start stop", wrap=tuple)
op("logspace", np.logspace, LIGHT, operands="start stop")
op("geomspace", np.geomspace, LIGHT, operands="start stop")
op("indices", np.indices, LIGHT, operands="", wrap=tuple)  # a tuple with sparse=True
op("tril_indices", np.tril_indices, LIGHT, operands="", wrap=tuple)
op("triu_indices", np.triu_indices, LIGHT, operands="", wrap=tuple)
op("diag_indices", np.diag_indices, LIGHT, operands="", wrap=tuple)
family((np.fft.fftfreq, np.fft.rfftfreq), LIGHT, operands="", signature="n, d=1.0")
family((np.bartlett, np.blackman, np.hamming, np.hanning, np.kaiser), LIGHT, operands="")

# --------------------------------------------------------------------------- conversions

ARRAY = "object, dtype=None, order='K', subok=False, ndmin=0"

op(
    "array",
    np.array,
    LIGHT,
    operands="object",
    signature=ARRAY,
    infer=infer.array,
    reach=reach.moved,
)
# A list or tuple, nested, with arrays anywhere inside.
op(
    "nested",
    np.array,
    LIGHT,
    operands="",
    signature=ARRAY,
    calls=(),
    source=written("np.array", "object"),
    reach=reach.moved_within,
)
# With copy=None or False the result may be the operand itself.
op(
    "array.view",
    np.array,
    VIEW,
    operands="object",
    signature=f"{ARRAY}, copy=True",
    calls=(),
    reach=reach.moved,
    source=written("np.array"),
)
family(
    (np.asarray, np.asanyarray),
    VIEW,
    signature="a, dtype=None, order=None, copy=None",
    reach=reach.elementwise,
)
family((np.ascontiguousarray, np.asfortranarray), VIEW, signature="a, dtype=None", **MOVED)
op("require", np.require, VIEW, signature="a, dtype=None, requirements=None")


@spelling(np.array)
def _respell_array(args: Args, kwargs: Kwargs) -> Respelled:
    named = {k: v for k, v in kwargs.items() if k != "like"}
    if args and type(args[0]) in (list, tuple):
        named.pop("copy", None)
        return OPS["nested"], args, named
    if "copy" not in named or named["copy"] is True:
        named.pop("copy", None)
        return OPS["array"], args, named
    return OPS["array.view"], args, named


@spelling(np.require)
def _respell_require(args: Args, kwargs: Kwargs) -> Respelled:
    """Whether an array may be written is not for its buffer to say, which may be shared."""
    named = by_name(("a", "dtype", "requirements", "like"), args, kwargs)
    wanted = named.pop("requirements", None)
    wanted = [wanted] if isinstance(wanted, str) else list(wanted or ())
    rest = [w for w in wanted if str(w).upper() not in ("W", "WRITEABLE")]
    if len(rest) == len(wanted) or getattr(named["a"], "flags", None) is None:
        return OPS["require"], args, {k: v for k, v in kwargs.items() if k != "like"}
    if named["a"].flags.writeable:
        return (
            OPS["require"],
            (),
            {k: v for k, v in named.items() if k != "like"}
            | ({"requirements": rest} if rest else {}),
        )
    orders = [o for o in "FC" if any(str(w).upper().startswith(o) for w in rest)]
    # A copy for another dtype keeps the order, a copy for the flag alone does not.
    same = named.get("dtype") in (None, named["a"].dtype)
    order = orders[0] if orders else "A" if same else "K"
    return OPS["array"], (named["a"], named.get("dtype"), order), {}


# `like` chooses who answers, `device` has one value in NumPy.
permitting(
    np.zeros, np.ones, np.full, np.empty, np.zeros_like, np.ones_like, np.full_like,
    np.eye, np.identity, np.tri, np.linspace, np.asarray, np.asanyarray,
    np.ascontiguousarray, np.asfortranarray, np.fft.fftfreq, np.fft.rfftfreq,
)  # fmt: skip


@spelling(np.empty_like)
def _respell_empty_like(args: Args, kwargs: Kwargs) -> Respelled:
    named = {"a" if name == "prototype" else name: value for name, value in kwargs.items()}
    row, given, options = SPELLINGS[np.zeros_like](args, named)
    return (None, args, kwargs) if row is None else (row, given, options)
