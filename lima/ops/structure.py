"""Rows of layout: views of an array, copies, joining and splitting, picking elements.

A VIEW row that has `infer` always shares memory with its operand; one that has none (`np.reshape`,
`np.asarray`) may return a copy, which depends on strides, and the runtime looks at the memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.frame import refuse
from lima.op import CALLS, OPS, Kind, op
from lima.ops import forms, infer, reach, reach_axes
from lima.ops.infer import as_shape, as_view, transposed
from lima.ops.spelling import (
    SPELLINGS,
    Args,
    Kwargs,
    Respelled,
    by_name,
    family,
    renamed,
    spelling,
    written,
)

VIEW, LIGHT = Kind.VIEW, Kind.LIGHT

# --------------------------------------------------------------------------- views

# `np.permute_dims` is `np.transpose`.


def _transpose(a: Any, axes: Any = None) -> Any:
    """`np.transpose`; of an array without its detours."""
    if axes is None and type(a) is np.ndarray:
        return a.T
    return np.transpose(a, axes)


def _transpose_text(inputs: list[str], params: dict[str, str]) -> str:
    """`x.T`, as people write it, where it is one and `x` is no number of Python's."""
    if params or not inputs[0][0].isalpha():
        return written("np.transpose", "axes")(inputs, params)
    return f"{inputs[0]}.T"


op(
    "transpose",
    _transpose,
    VIEW,
    calls=(np.transpose,),
    infer=transposed,
    form=forms.swapped,
    source=_transpose_text,
)
op(
    "matrix_transpose",
    np.matrix_transpose,
    VIEW,
    operands="x",
    infer=as_view,
    form=forms.swapped,
    calls=(np.matrix_transpose, np.linalg.matrix_transpose),
)
family((np.swapaxes, np.moveaxis), VIEW, infer=as_view, form=forms.swapaxes)
family((np.rollaxis, np.squeeze, np.expand_dims), VIEW, infer=as_view)
op("diagonal", np.diagonal, VIEW, infer=as_view, readonly=True)
op("linalg.diagonal", np.linalg.diagonal, VIEW, operands="x", infer=as_view, readonly=True)
family((np.flip, np.fliplr, np.flipud, np.rot90), VIEW, operands="m", infer=as_view)
family((np.real, np.imag), VIEW, operands="val", infer=as_view, reach=reach.elementwise)
op("broadcast_to", np.broadcast_to, VIEW, operands="array", infer=as_view, readonly=True)
op(
    "lib.stride_tricks.sliding_window_view",
    np.lib.stride_tricks.sliding_window_view,
    VIEW,
    operands="x",
    infer=as_view,
    readonly=True,
)


op(
    "lib.stride_tricks.as_strided",
    np.lib.stride_tricks.as_strided,
    VIEW,
    operands="x",
    signature="x, shape=None, strides=None, subok=False",
)


@spelling(np.lib.stride_tricks.as_strided)
def _respell_as_strided(args: Args, kwargs: Kwargs) -> Respelled:
    """Only where it stays within the array, whose elements alone are what its digest is of."""
    named = by_name(("x", "shape", "strides", "subok", "writeable"), args, kwargs)
    x, writeable = named["x"], named.pop("writeable", True)
    shape = x.shape if named.get("shape") is None else named["shape"]
    strides = x.strides if named.get("strides") is None else named["strides"]
    if writeable is not True or not (x.flags.c_contiguous or x.flags.f_contiguous):
        return None, args, kwargs
    steps = [s * (int(n) - 1) for s, n in zip(strides, shape, strict=True)]
    if min(steps, default=0) < 0 or sum(steps) + x.itemsize > x.nbytes:
        return None, args, kwargs
    return OPS["lib.stride_tricks.as_strided"], (), named


family((np.atleast_1d, np.atleast_2d, np.atleast_3d), VIEW, signature="a", infer=as_view)


def _atleast(function: Any) -> None:
    """With several arrays, a tuple of what each gives by itself."""

    def several(*arrays: Any) -> tuple[Any, ...]:
        return tuple(function(a) for a in arrays)

    def respell(args: Args, kwargs: Kwargs) -> Respelled:
        return (CALLS[function] if len(args) == 1 else several), args, kwargs

    SPELLINGS[function] = respell


_atleast(np.atleast_1d)
_atleast(np.atleast_2d)
_atleast(np.atleast_3d)


@spelling(np.broadcast_arrays)
def _broadcast_arrays(args: Args, kwargs: Kwargs) -> Respelled:
    def each(*arrays: Any, subok: bool = False) -> tuple[Any, ...]:
        shape = np.broadcast_shapes(*map(np.shape, arrays))
        return tuple(a if np.shape(a) == shape else np.broadcast_to(a, shape) for a in arrays)

    return each, args, kwargs


# --------------------------------------------------------------------------- views if possible


def _reshape(a: Any, *, shape: Any, order: Any = "C", copy: Any = None) -> Any:
    """`np.reshape`, whose second argument had another name and which had no `copy` at first."""
    if copy is None:
        return np.reshape(a, shape, order=order)
    return np.reshape(a, shape, order=order, copy=copy)


op(
    "reshape",
    _reshape,
    VIEW,
    signature="a, shape, order='C', copy=None",
    calls=(np.reshape,),
    form=forms.reshaped,
    reach=reach.ordered,
    source=written("np.reshape", "shape"),
)
renamed(np.reshape, "reshape", newshape="shape")
op("ravel", np.ravel, VIEW, reach=reach.ordered)


def _viewed(a: Any, dtype: Any = None) -> Any:
    """The bytes of an array, or of a scalar, read as another dtype."""
    return a.view() if dtype is None else a.view(dtype)


def _view_text(inputs: list[str], params: dict[str, str]) -> str:
    a = inputs[0] if inputs[0][0].isalpha() else f"np.asarray({inputs[0]})"
    return f"{a}.view({params.get('dtype', '')})"


op(
    "ndarray.view",
    _viewed,
    VIEW,
    signature="a, dtype=None",
    calls=(np.ndarray.view,),
    source=_view_text,
)
op("ndarray.getfield", np.ndarray.getfield, VIEW, signature="a, dtype, offset=0")

# Which view these give depends on the elements, so it is no step of the lineage by itself.


def _real_if_close(a: Any, tol: Any = 100) -> Any:
    plain = np.asarray(a)
    close = np.real_if_close(plain, tol).dtype.kind != "c"
    return np.real(a) if close and plain.dtype.kind == "c" else a


def _trim_zeros(filt: Any, trim: Any = "fb", **axis: Any) -> Any:
    plain = np.asarray(filt)
    if not plain.ndim:
        return filt[...]
    index = []
    for places, n, kept in zip(
        np.nonzero(plain), plain.shape, np.trim_zeros(plain, trim, **axis).shape, strict=True
    ):
        first = int(places.min()) if kept < n and kept and "f" in trim.lower() else 0
        index.append(slice(first, first + kept))
    return filt[tuple(index)]


SPELLINGS[np.real_if_close] = lambda args, kwargs: (_real_if_close, args, kwargs)
SPELLINGS[np.trim_zeros] = lambda args, kwargs: (_trim_zeros, args, kwargs)

# --------------------------------------------------------------------------- copies


def _astype(x: Any, *, dtype: Any, **options: Any) -> Any:
    return x.astype(dtype, **options)


def _astype_text(inputs: list[str], params: dict[str, str]) -> str:
    rest = {k: v for k, v in params.items() if k != "dtype"}
    options = [params["dtype"], *[f"{k}={v}" for k, v in rest.items()]]
    return f"{inputs[0]}.astype({', '.join(options)})"


ASTYPE = "x, dtype, order='K', casting='unsafe', subok=True, copy=True"

op(
    "copy",
    np.copy,
    LIGHT,
    infer=infer.same,
    form=forms.same,
    reach=reach.elementwise,
    signature="a, order='K', subok=False",
)
op(
    "astype",
    _astype,
    LIGHT,
    operands="x",
    signature=ASTYPE,
    calls=(np.astype, np.ndarray.astype),
    infer=infer.cast,
    reach=reach.elementwise,
    source=_astype_text,
)
# `copy=False` may give the array itself.
op(
    "astype.view",
    _astype,
    VIEW,
    operands="x",
    signature=ASTYPE,
    calls=(),
    reach=reach.elementwise,
    source=_astype_text,
)
op(
    "ndarray.flatten",
    np.ndarray.flatten,
    LIGHT,
    signature="a, order='C'",
    infer=infer.flat,
    reach=reach.ordered,
)


@spelling(np.astype, np.ndarray.astype)
def _respell_astype(args: Args, kwargs: Kwargs) -> Respelled:
    named = by_name(OPS["astype"].names, args, kwargs)
    if named.pop("device", None) not in (None, "cpu"):
        return None, args, kwargs
    if getattr(named.get("x"), "dtype", _NO_TEXT).kind in "SU" and _is_date(named.get("dtype")):
        refuse("it makes dates of text, which may mean now")
        return None, args, kwargs
    return OPS["astype" if named.get("copy", True) else "astype.view"], (), named


_NO_TEXT = np.dtype(float)


def _is_date(dtype: Any) -> bool:
    try:
        return bool(np.dtype(dtype).kind == "M")
    except TypeError:
        return False


# --------------------------------------------------------------------------- joining

MOVED: dict[str, Any] = {"reach": reach.moved}
TUPLE: dict[str, Any] = {"operands": "tup", "variadic": True, **MOVED}

op("vstack", np.vstack, LIGHT, infer=infer.vstacked, form=forms.vstacked, **TUPLE)
op("hstack", np.hstack, LIGHT, infer=infer.hstacked, form=forms.hstacked, **TUPLE)
op("dstack", np.dstack, LIGHT, infer=infer.dstacked, **TUPLE)
op(
    "column_stack",
    np.column_stack,
    LIGHT,
    infer=infer.columns_stacked,
    form=forms.columns_stacked,
    **TUPLE,
)
op(
    "concatenate",
    np.concatenate,
    LIGHT,
    operands="arrays",
    signature="arrays, axis=0, out=None, dtype=None, casting='same_kind'",
    variadic=True,
    infer=infer.concatenated,
    form=forms.concatenated,
    **MOVED,
)
op(
    "stack",
    np.stack,
    LIGHT,
    operands="arrays",
    variadic=True,
    infer=infer.stacked,
    form=forms.stacked,
    **MOVED,
)
op(
    "block",
    np.block,
    LIGHT,
    operands="",
    signature="arrays",
    infer=infer.blocks,
    form=forms.blocks,
    reach=reach.moved_within,
)
op(
    "append",
    np.append,
    LIGHT,
    operands="arr values",
    infer=infer.appended,
    form=forms.appended,
    **MOVED,
)

# --------------------------------------------------------------------------- splitting


def _composed(function: Any) -> None:
    """NumPy's own body slices and swaps axes; run on traced arrays it gives traced views."""
    SPELLINGS[function] = lambda args, kwargs: (function.__wrapped__, args, kwargs)


for _name in ("split", "array_split", "hsplit", "vsplit", "dsplit", "unstack"):
    if hasattr(np, _name):  # `np.unstack`: NumPy 2.1 and later
        _composed(getattr(np, _name))

# --------------------------------------------------------------------------- rearranging

op("roll", np.roll, LIGHT, infer=infer.rolled, **MOVED)
op("repeat", np.repeat, LIGHT, infer=infer.repeated, **MOVED)
op("tile", np.tile, LIGHT, operands="A", infer=infer.tiled, **MOVED)


@spelling(np.tile)
def _respell_tile(args: Args, kwargs: Kwargs) -> Respelled:
    """Of nothing, `np.tile` is a view, unless it repeats nothing."""
    named = by_name(OPS["tile"].names, args, kwargs)
    shape, reps = getattr(named.get("A"), "shape", ()), as_shape(named.get("reps"))
    if 0 not in shape or reps is None or set(reps) <= {1}:
        return OPS["tile"], args, kwargs
    ndim = max(len(reps), len(shape))
    pairs = zip((1,) * (ndim - len(shape)) + shape, (1,) * (ndim - len(reps)) + reps, strict=True)
    return OPS["reshape"], (named["A"], tuple(n * r for n, r in pairs)), {}


op("resize", np.resize, LIGHT, **MOVED)
op("insert", np.insert, LIGHT, operands="arr", reach=reach_axes.moved_by(blank="values"))
op("delete", np.delete, LIGHT, operands="arr", infer=infer.deleted, form=forms.deleted, **MOVED)
# What a mode does not know is refused even where it equals another mode's default.
op(
    "pad",
    np.pad,
    LIGHT,
    operands="array",
    signature="array, pad_width, mode='constant', constant_values=MISSING, end_values=MISSING,"
    " stat_length=MISSING, reflect_type=MISSING",
    reach=reach_axes.padded,
)
op("packbits", np.packbits, LIGHT, signature="a, axis=None, bitorder='big'")
op("unpackbits", np.unpackbits, LIGHT, signature="a, axis=None, count=None, bitorder='big'")

# --------------------------------------------------------------------------- triangles, diagonals

op("tril", np.tril, LIGHT, operands="m", infer=infer.triangle, **MOVED)
op("triu", np.triu, LIGHT, operands="m", infer=infer.triangle, **MOVED)
op("diag", np.diag, LIGHT, operands="v", infer=infer.diagonal_matrix, **MOVED)
op("diagflat", np.diagflat, LIGHT, operands="v", infer=infer.diagonal_matrix, **MOVED)
op("vander", np.vander, LIGHT, operands="x")


@spelling(np.diag)
def _respell_diag(args: Args, kwargs: Kwargs) -> Respelled:
    """Of a matrix, `np.diag` is `np.diagonal`, which is a view."""
    if getattr(args[0] if args else kwargs.get("v"), "ndim", None) != 2:
        return OPS["diag"], args, kwargs
    named = by_name(OPS["diag"].names, args, kwargs)
    offset = {"offset": named["k"]} if "k" in named else {}
    return OPS["diagonal"], (named["v"],), offset


# --------------------------------------------------------------------------- picking elements

# The indices are a parameter since an empty list of them is no array of floating point numbers.
op("take", np.take, LIGHT, form=forms.taken, **MOVED)
op(
    "take_along_axis",
    np.take_along_axis,
    LIGHT,
    operands="arr indices",
    reach=reach_axes.moved_by(1, otherwise=reach_axes.along_axis),
)
op("compress", np.compress, LIGHT, operands="condition a", reach=reach_axes.moved_by(0))
op("extract", np.extract, LIGHT, operands="condition arr", reach=reach_axes.moved_by(0))
op("choose", np.choose, LIGHT, reach=reach_axes.across)
op("select", np.select, LIGHT, operands="", reach=reach_axes.across)

# --------------------------------------------------------------------------- index arrays

op(
    "ravel_multi_index",
    np.ravel_multi_index,
    LIGHT,
    operands="",
    signature="multi_index, dims, mode='raise', order='C'",
)
op(
    "unravel_index",
    np.unravel_index,
    LIGHT,
    operands="indices",
    signature="indices, shape, order='C'",
    wrap=tuple,
)
family(
    (np.diag_indices_from, np.tril_indices_from, np.triu_indices_from),
    LIGHT,
    operands="arr",
    wrap=tuple,
)
op(
    "ix_",
    lambda arrays: np.ix_(*arrays),
    LIGHT,
    operands="arrays",
    calls=(),
    variadic=True,
    wrap=tuple,
    source=written("np.ix_"),
    gives=True,
)
op(
    "meshgrid",
    lambda arrays, **options: np.meshgrid(*arrays, **options),
    LIGHT,
    operands="arrays",
    signature="arrays, copy=True, sparse=False, indexing='xy'",
    calls=(),
    variadic=True,
    wrap=tuple,
    source=written("np.meshgrid"),
)
