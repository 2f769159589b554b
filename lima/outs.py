"""Calls with `out=` that only names a place: what they mean without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from lima.forcing import force
from lima.handle import Handle
from lima.node import Ref, Spec
from lima.op import VIEW, Op, evaluate
from lima.runtime import apply
from lima.sessions import current
from lima.values import Borrowed, Value, size_of
from lima.writes import detach, repoint


def without_out(row: Op, spec: Spec, inputs: Sequence[Any]) -> Spec | None:
    """The call without `out=`, where that says no more than the place: it is all overwritten.

    What the array held before is then no part of the lineage, so a buffer that serves again and
    again has no history. None where it is: with `where=`, with overlaps, in in-place operators;
    and where the array has a layout that NumPy would not choose.
    """
    last = len(inputs) - 1
    if spec.out is None or spec.out.index != last or spec.npos != last:
        return None
    if spec.get("where", True) is not True or (spec.get("alias") and not row.aliasing):
        return None
    out = inputs[last]
    if type(out.data) is not np.ndarray or not _is_plain(out.data):
        return None
    for i in inputs[:last]:
        if i is out:
            return None
    return Spec(row.name, tuple([p for p in spec.params if p[0] != "out"]), last, row.version)


def _runs_back(value: Value) -> bool:
    """Whether elements lie in descending order. NumPy goes along such axes from the other end.

    But not where an array is given for the result, whose elements ascend: `np.einsum` then adds in
    another order.
    """
    data = value.data
    if data is None:
        if current().rounds or value.row.kind is not VIEW:  # type: ignore[attr-defined]
            return False
        data = force(value)
    return type(data) is np.ndarray and any(step < 0 for step in data.strides)


def _is_plain(a: Any) -> bool:
    """Whether the elements lie in C order, axes of length one included."""
    step = a.itemsize
    for length, stride in zip(reversed(a.shape), reversed(a.strides), strict=True):
        if stride != step:
            return False
        step *= length
    return bool(step)


def replace(target: Handle, row: Op, bare: Spec, inputs: Sequence[Any]) -> bool:
    """Let `target` be the result of the call without `out=`, which may be found, or wait.

    False if it does not fit, and NumPy casts it, or refuses, or adds in another order.
    """
    old = inputs[-1].data
    if inputs[-1].given:
        return False  # others see the very memory
    dtype = _dtype_of(row, bare, inputs[:-1]) if old.ndim else None  # else it gives a number
    if dtype is None or dtype != old.dtype:
        return False
    if any(isinstance(i, Value) and _runs_back(i) for i in inputs[:-1]):
        return False
    try:
        value = apply(row, bare, inputs[:-1])
    except Exception:  # NumPy says it again, with what it has written by then
        return False
    found = value.data
    if value.meta != (old.shape, old.dtype):
        return False
    if found is not None and not (type(found) is np.ndarray and _is_plain(found)):
        return False
    if type(inputs[-1]) is Borrowed:  # the argument's own memory, which will be written after all
        detach(inputs[-1])
    repoint(target, value, None)
    return True


_dtypes: dict[Any, Any] = {}


def _dtype_of(row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """The dtype of a result, tried on small arrays. None where that fails, or `out=` is ignored."""
    forms = [i.meta if isinstance(i, Value) else type(i) for i in inputs]
    key = (spec.prefix, *[(len(f[0]), f[1]) if type(f) is tuple else f for f in forms])
    if key not in _dtypes:
        found = None
        with suppress(Exception), np.errstate(all="ignore"):
            found = _tried(row, spec, [_small(i, _one) for i in inputs])
            if found is not None and found.char in "efF":
                found = _tried(row, spec, [_small(i, _large) for i in inputs])
        if len(_dtypes) > MAX_FORMS:
            _dtypes.clear()
        _dtypes[key] = found
    return _dtypes[key]


def _tried(row: Op, spec: Spec, data: list[Any]) -> Any:
    made = evaluate(row, spec, data)
    other = np.invert(np.frombuffer(made.tobytes(), np.uint8)).view(made.dtype).reshape(made.shape)
    into = Spec(spec.op, (*spec.params, ("out", Ref(len(data)))), spec.npos, spec.version)
    written = evaluate(row, into, [*data, other], other.copy())
    return made.dtype if written.tobytes() == made.tobytes() else None


def _small(x: Any, number: Callable[[np.dtype[Any]], Any]) -> Any:
    if not isinstance(x, Value):
        return x
    shape, dtype = x.meta
    return np.full((3 if len(shape) < 7 else 1,) * len(shape), number(dtype), dtype)


def _one(dtype: np.dtype[Any]) -> Any:
    return 1


def _large(dtype: np.dtype[Any]) -> Any:
    """A number of which no two can be added. Who adds them in more digits, as `np.mean` does for
    float16, has to put the sum into `out=`."""
    return np.finfo(dtype).max if dtype.kind in "fc" else 1


MAX_FORMS = 4096
"""Forms of calls of which the dtype of the result is remembered."""


LARGE = 1 << 13
"""Elements of an array from which in-place operators are looked at."""


def is_new(row: Op, inputs: Sequence[Any]) -> bool:
    """Whether an in-place operator on a large array gives what the operator itself would give.

    `G += D` is `G + D` then: rules see it, and the results of both are one.
    """
    if row.infer is None or size_of(inputs[0].meta[0]) < LARGE:
        return False
    data = force(inputs[0])
    return type(data) is np.ndarray and _is_plain(data) and fills(row, row.spec, inputs)


def fills(row: Op, bare: Spec, inputs: Sequence[Any]) -> bool:
    """Whether an elementwise result has the dtype, the shape and the layout of the array given."""
    old = inputs[-1].data
    for i in inputs[:-1]:
        if isinstance(i, Value) and i.meta[0] and not force(i).flags.c_contiguous:
            return False
    assert row.infer is not None
    return bool(row.infer(inputs[:-1], bare) == (old.shape, old.dtype))
