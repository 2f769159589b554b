"""Shape and dtype of results that wait, without computing them.

Every function here takes the inputs (with `.meta`, or literals) and the spec of a call. It answers
None for anything out of the ordinary: the call then runs at once, where NumPy handles or refuses
it. What it answers must be exactly what the kernel gives.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from lima.node import Ref, Spec
from lima.op import OPS, Meta, evaluate, owner

Shape = tuple[int, ...]
Infer = Callable[[Sequence[Any], Spec], Meta | None]

FLOAT = np.dtype(float)
LARGEST = 1 << 56
"""Elements that no array of numbers has: NumPy refuses the shape."""


def meta_of(item: Any) -> Meta | None:
    """Shape and dtype of a traced value; None for a literal."""
    return getattr(item, "meta", None)


def is_plain(dtype: Any) -> bool:
    """Whether `dtype` is a native boolean or number: these promote and cast without surprises."""
    return isinstance(dtype, np.dtype) and dtype.kind in "biufc" and dtype.isnative


def only(spec: Spec, *names: str) -> bool:
    """Whether the call gives no parameter but `names`."""
    return all(name in names for name, _ in spec.params)


def place(axis: Any, ndim: int) -> int | None:
    """`axis` counted from the front; None when there is no such axis."""
    try:
        k = operator.index(axis)
    except TypeError:
        return None
    return k % ndim if -ndim <= k < ndim else None


def as_shape(value: Any) -> Shape | None:
    """A shape parameter as a tuple; None when it is none."""
    try:
        items = [operator.index(n) for n in (value if type(value) in (tuple, list) else (value,))]
    except TypeError:
        return None
    fits = prod(max(n, 1) for n in items) <= LARGEST
    return tuple(items) if fits and all(n >= 0 for n in items) else None


# --------------------------------------------------------------------------- views and copies


def as_view(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """A view, found by asking the kernel for the view of an array without memory.

    The operand's own form, the same object, where the kernel gives the operand itself.
    """
    meta = meta_of(inputs[0]) if len(inputs) == 1 else None
    if meta is None:
        return None
    shape, dtype = meta
    base = hollow(shape, dtype)
    found = evaluate(OPS[spec.op], spec, [base])
    if found is base:
        return meta
    if owner(found) is not owner(base):
        return None
    return found.shape, found.dtype


def hollow(shape: Shape, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """An array of this form whose elements all lie in one place, to ask NumPy for views of it."""
    if is_plain(dtype) and 0 not in shape:
        return np.ndarray(shape, dtype, _NOTHING, 0, (0,) * len(shape))
    return np.broadcast_to(np.zeros((), dtype), shape)


_NOTHING = np.zeros(64, np.uint8)
_NOTHING.setflags(write=False)


def transposed(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """The transpose with its axes in reverse order; else as any view."""
    meta = meta_of(inputs[0]) if len(inputs) == 1 else None
    if meta is None or spec.params:
        return as_view(inputs, spec)
    return meta[0][::-1], meta[1]


def same(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """As the first input."""
    return meta_of(inputs[0])


def cast(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """The first input cast to `dtype`, where that cannot fail or warn about lost parts."""
    meta, dtype = meta_of(inputs[0]), spec.get("dtype")
    if meta is None or not (is_plain(meta[1]) and is_plain(dtype)):
        return None
    if meta[1].kind == "c" != dtype.kind or not np.can_cast(
        meta[1], dtype, spec.get("casting", "unsafe")
    ):
        return None
    return meta[0], dtype


def flat(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """All elements of the first input in one dimension."""
    meta = meta_of(inputs[0])
    return None if meta is None else ((prod(meta[0]),), meta[1])


def rolled(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.roll` of a whole array or along one axis."""
    meta, axis = meta_of(inputs[0]), spec.get("axis")
    if meta is None or len(inputs) != 1 or type(spec.get("shift")) is not int:
        return None
    return meta if axis is None or place(axis, len(meta[0])) is not None else None


def deleted(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.delete` of lines by a number, a slice, or an index array or mask that is at hand."""
    meta, axis = meta_of(inputs[0]), spec.get("axis")
    if meta is None or not only(spec, "obj", "axis") or not is_plain(meta[1]):
        return None
    shape, dtype = meta
    k = place(axis, len(shape)) if axis is not None else (0 if len(shape) == 1 else None)
    obj = spec.get("obj")
    if type(obj) is Ref:
        obj = getattr(inputs[obj.index], "data", None)
        if type(obj) is not np.ndarray or obj.ndim != 1 or obj.dtype.kind not in "iub":
            return None
    elif type(obj) not in (int, slice) or len(inputs) != 1:
        return None
    if k is None:
        return None
    kept = np.ones(shape[k], dtype=bool)
    try:
        kept[obj] = False
    except IndexError:
        return None
    return (*shape[:k], int(np.count_nonzero(kept)), *shape[k + 1 :]), dtype


def triangle(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.tril`, `np.triu` of a matrix or a stack of matrices."""
    meta = meta_of(inputs[0])
    if meta is None or len(meta[0]) < 2 or type(spec.get("k", 0)) is not int:
        return None
    return meta if is_plain(meta[1]) else None


def diagonal_matrix(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.diag` of a vector, `np.diagflat` of anything."""
    meta, k = meta_of(inputs[0]), spec.get("k", 0)
    if meta is None or type(k) is not int or not is_plain(meta[1]):
        return None
    if spec.op == "diag" and len(meta[0]) != 1:
        return None
    n = prod(meta[0]) + abs(k)
    return (n, n), meta[1]


def repeated(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.repeat` by one number."""
    meta, times, axis = meta_of(inputs[0]), spec.get("repeats"), spec.get("axis")
    if meta is None or type(times) is not int or times < 0:
        return None
    shape, dtype = meta
    if axis is None:
        return (prod(shape) * times,), dtype
    k = place(axis, len(shape))
    return None if k is None else ((*shape[:k], shape[k] * times, *shape[k + 1 :]), dtype)


def tiled(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.tile`: shape and repetitions are aligned at the last axis and multiplied."""
    meta, reps = meta_of(inputs[0]), as_shape(spec.get("reps"))
    if meta is None or reps is None:
        return None
    ndim = max(len(reps), len(meta[0]))
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - len(meta[0])) + meta[0]
    return tuple(n * r for n, r in zip(shape, reps, strict=True)), meta[1]


# --------------------------------------------------------------------------- joining


def joining(as_parts: Callable[[list[Shape], Spec], tuple[list[Shape], Any]]) -> Infer:
    """Inference of a function that reshapes its arrays and then concatenates them.

    `as_parts` gives the shapes after reshaping and the axis.
    """

    def infer(inputs: Sequence[Any], spec: Spec) -> Meta | None:
        metas = [meta_of(item) for item in inputs]
        if not metas or None in metas or not only(spec, "axis", "dtype"):
            return None
        dtype = _joined_dtype([m[1] for m in metas if m], spec.get("dtype"))
        shapes, axis = as_parts([m[0] for m in metas if m], spec)
        shape = _joined_shape(shapes, axis)
        return None if dtype is None or shape is None else (shape, dtype)

    return infer


def _joined_dtype(dtypes: list[np.dtype[Any]], wanted: Any) -> np.dtype[Any] | None:
    if not all(map(is_plain, dtypes)):
        return None
    found = dtypes[0] if len(set(dtypes)) == 1 else np.result_type(*dtypes)
    if wanted is None:
        return found
    return wanted if is_plain(wanted) and np.can_cast(found, wanted, "same_kind") else None


def _joined_shape(shapes: list[Shape], axis: Any) -> Shape | None:
    if axis is None:
        return (sum(map(prod, shapes)),)
    first = shapes[0]
    k = place(axis, len(first))
    if k is None or any(len(s) != len(first) for s in shapes):
        return None
    before, after = first[:k], first[k + 1 :]
    if any(s[:k] != before or s[k + 1 :] != after for s in shapes):
        return None
    return (*before, sum(s[k] for s in shapes), *after)


def _at_least(ndim: int, shape: Shape) -> Shape:
    """The shape that `np.atleast_1d`, `2d`, `3d` give."""
    if ndim == 3 and len(shape) in (1, 2):
        return (1, *shape, 1) if len(shape) == 1 else (*shape, 1)
    return (1,) * (ndim - len(shape)) + shape


def _stack(shapes: list[Shape], spec: Spec) -> tuple[list[Shape], Any]:
    k = place(spec.get("axis", 0), len(shapes[0]) + 1)
    if k is None or any(s != shapes[0] for s in shapes):
        return [()], 0  # no such axis: nothing is inferred
    return [(*s[:k], 1, *s[k:]) for s in shapes], k


def _hstack(shapes: list[Shape], spec: Spec) -> tuple[list[Shape], Any]:
    shapes = [_at_least(1, s) for s in shapes]
    return shapes, 0 if len(shapes[0]) == 1 else 1


def _columns(shapes: list[Shape], spec: Spec) -> tuple[list[Shape], Any]:
    return [(*s, *(1,) * (2 - len(s))) for s in shapes], 1


concatenated = joining(lambda shapes, spec: (shapes, spec.get("axis", 0)))
stacked = joining(_stack)
vstacked = joining(lambda shapes, spec: ([_at_least(2, s) for s in shapes], 0))
hstacked = joining(_hstack)
dstacked = joining(lambda shapes, spec: ([_at_least(3, s) for s in shapes], 2))
columns_stacked = joining(_columns)


def appended(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.append`: concatenation, of all elements where no axis is given."""
    metas = [meta_of(item) for item in inputs]
    if len(metas) != 2 or None in metas:
        return None
    dtype = _joined_dtype([m[1] for m in metas if m], None)
    shape = _joined_shape([m[0] for m in metas if m], spec.get("axis"))
    return None if dtype is None or shape is None else (shape, dtype)


def blocks(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.block`: the innermost lists are joined along the last axis, those around them before."""
    metas = [meta_of(item) for item in inputs]
    nested = spec.get("arrays")
    depth = _depth(nested)
    if depth is None or not metas or None in metas:
        return None
    shapes = [m[0] for m in metas if m]
    dtype = _joined_dtype([m[1] for m in metas if m], None)
    ndim = max(depth, *map(len, shapes))

    def shape_of(item: Any, axis: int) -> Shape | None:
        if type(item) is Ref:
            return (1,) * (ndim - len(shapes[item.index])) + shapes[item.index]
        parts = [shape_of(part, axis + 1) for part in item]
        known = [part for part in parts if part is not None]
        return _joined_shape(known, axis) if len(known) == len(parts) else None

    shape = shape_of(nested, ndim - depth)
    return None if dtype is None or shape is None else (shape, dtype)


def _depth(item: Any) -> int | None:
    """How deep lists are nested around the arrays, if everywhere equally deep."""
    if type(item) is Ref:
        return 0
    if type(item) is not list or not item:
        return None
    depths = {_depth(part) for part in item}
    inner = depths.pop()
    return None if depths or inner is None else inner + 1


# --------------------------------------------------------------------------- new arrays


def _new(shape: Any, dtype: Any) -> Meta | None:
    found = as_shape(shape)
    return (found, dtype) if found is not None and is_plain(dtype) else None


def filled(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.zeros`, `np.ones`: floating point where no dtype is given."""
    return None if inputs else _new(spec.get("shape"), _wanted(spec))


def full(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.full` with a Python number."""
    value = spec.get("fill_value")
    if inputs or type(value) not in (bool, int, float, complex):
        return None
    dtype = _wanted(spec, np.asarray(value).dtype)
    return _new(spec.get("shape"), dtype) if _holds(dtype, value) else None


def like(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.zeros_like` and its kin, without a shape of their own."""
    meta = meta_of(inputs[0])
    if meta is None or not only(spec, "dtype", "order", "fill_value"):
        return None
    dtype = _wanted(spec, meta[1])
    return _new(meta[0], dtype) if _holds(dtype, spec.get("fill_value", 0)) else None


def eye(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.eye`, `np.identity`, `np.tri`."""
    rows = spec.get("N", spec.get("n"))
    columns = spec.get("M")
    if inputs or type(spec.get("k", 0)) is not int:
        return None
    return _new((rows, rows if columns is None else columns), _wanted(spec))


def array(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """`np.array` of an array, with leading dimensions up to `ndmin`."""
    meta = meta_of(inputs[0]) if spec.get("dtype") is None else cast(inputs, spec)
    if meta is None:
        return None
    return (1,) * (spec.get("ndmin", 0) - len(meta[0])) + meta[0], meta[1]


def _wanted(spec: Spec, default: Any = FLOAT) -> Any:
    dtype = spec.get("dtype")
    return default if dtype is None else dtype


def _holds(dtype: Any, value: Any) -> bool:
    """Whether `dtype` surely takes a Python number without an error or a warning."""
    if not is_plain(dtype):
        return False
    if type(value) is int and dtype.kind in "iu":
        return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)
    if type(value) is int:
        return abs(value) < 1 << 15
    return type(value) is bool or (dtype.kind in {float: "fc", complex: "c"}.get(type(value), ""))
