"""How results lie on their operands: the `form` of layout rows (see `lima.pattern`).

Every function takes the shapes of the operands, the spec of the call, and the operands themselves
where they are at hand (else None). None as an answer: nothing that a rule could use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lima.node import Ref, Spec
from lima.ops.infer import place
from lima.pattern import (
    Each,
    Filled,
    Form,
    Joined,
    Line,
    Same,
    Scattered,
    Selected,
    Swapped,
    Upright,
)

JOINED = Joined(0), Joined(1)
EACH, SAME, SWAPPED = Each(), Same(), Swapped()  # making a tuple with names takes a microsecond

Shapes = Sequence[tuple[int, ...]]
FULL = slice(None)
MAX_PICKED = 2048
"""Lines of a selection by index array that rules look at."""


def _matrices(shapes: Shapes, vectors: bool) -> bool:
    return False not in [len(s) == 2 or (vectors and len(s) == 1) for s in shapes]


def _vectors(shapes: Shapes) -> bool:
    return False not in [len(s) == 1 for s in shapes]


def hstacked(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """`np.hstack` of matrices, or of vectors end to end."""
    if spec.params:
        return None
    if _vectors(shapes):
        return JOINED[0]
    return JOINED[1] if _matrices(shapes, False) else None


def columns_stacked(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """`np.column_stack`: vectors stand as columns."""
    return JOINED[1] if _matrices(shapes, True) else None


def vstacked(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """`np.vstack`: vectors lie as rows."""
    return JOINED[0] if not spec.params and _matrices(shapes, True) else None


def concatenated(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """`np.concatenate` of matrices or of vectors."""
    axis = spec.get("axis", 0)
    if axis is None or any(name != "axis" for name, _ in spec.params):
        return None
    if _vectors(shapes):
        return JOINED[0]
    return JOINED[axis % 2] if _matrices(shapes, False) and axis in (-2, -1, 0, 1) else None


def appended(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """`np.append`: with an axis, as `np.concatenate`."""
    if spec.get("axis") is None:
        return JOINED[0] if _vectors(shapes) else None
    return concatenated(shapes, spec) if len(shapes) == 2 else None


def stacked(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """`np.stack` of vectors."""
    axis = spec.get("axis", 0)
    if any(name != "axis" for name, _ in spec.params) or axis not in (-2, -1, 0, 1):
        return None
    return JOINED[axis % 2] if _vectors(shapes) else None


def blocks(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """`np.block` of one row, or of one column, of matrices."""
    nested = spec.get("arrays")
    if not _matrices(shapes, False) or type(nested) is not list:
        return None
    if len(nested) == 1 and type(nested[0]) is list:
        nested, axis = nested[0], 1
    elif all(type(row) is list and len(row) == 1 for row in nested):
        nested, axis = [row[0] for row in nested], 0
    else:
        axis = 1
    in_order = [type(r) is Ref and r.index == k for k, r in enumerate(nested)]
    return JOINED[axis] if all(in_order) and len(nested) == len(shapes) else None


def swapped(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """The transpose of a matrix; of a vector, the vector."""
    if len(shapes[0]) == 1:
        return SAME
    if len(shapes[0]) != 2 or len(shapes) != 1:
        return None
    axes = spec.get("axes")
    if axes is None:
        return SWAPPED
    return SWAPPED if axes[0] % 2 == 1 else SAME


def swapaxes(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """`np.swapaxes` and `np.moveaxis` of a matrix or a vector."""
    axes = [axis for _, axis in spec.params]
    if len(shapes[0]) not in (1, 2) or len(axes) != 2 or {*map(type, axes)} != {int}:
        return None
    return SAME if (axes[0] - axes[1]) % len(shapes[0]) == 0 else SWAPPED


def each(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """The conjugate: of joined and chosen lines it joins and chooses those of the lines."""
    return EACH if len(shapes) == 1 and not spec.params else None


def same(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """A copy, or the array itself, of the same dtype."""
    if len(shapes) != 1 or any(name not in ("order", "copy") for name, _ in spec.params):
        return None
    return SAME


def sliced(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """A slice along one axis of a matrix or a vector, one line of a matrix, or a vector upright."""
    shape, index = shapes[0], spec.get("index")
    items = index if type(index) is tuple else (index,)
    if len(shape) == 1 and len(items) == 2 and None in items and FULL in items:
        return Upright(items.index(None))
    if len(shape) not in (1, 2) or len(items) > len(shape):
        return None
    chosen = [k for k, item in enumerate(items) if item != FULL]
    if not chosen:
        return SAME
    if len(chosen) != 1:
        return None
    (axis,) = chosen
    item = items[axis]
    if type(item) is slice:
        return Selected(axis, range(shape[axis])[item])
    if type(item) is int and len(shape) == 2 and -shape[axis] <= item < shape[axis]:
        return Line(axis, item % shape[axis])
    return None


def reshaped(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """A vector made a matrix of one column or one row."""
    if len(shapes[0]) != 1 or any(name not in ("shape",) for name, _ in spec.params):
        return None
    wanted = spec.get("shape")
    if type(wanted) is not tuple or len(wanted) != 2:
        return None
    n = shapes[0][0]
    if wanted[1] == 1 and wanted[0] in (-1, n):
        return Upright(1)
    return Upright(0) if wanted[0] == 1 and wanted[1] in (-1, n) else None


def gathered(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """Lines chosen by one index array or mask whose elements are at hand."""
    index = spec.get("index")
    items = index if type(index) is tuple else (index,)
    places = [k for k, item in enumerate(items) if item != FULL]
    if inputs is None or len(places) != 1 or type(items[places[0]]) is not Ref:
        return None
    axis = places[0]
    chosen = getattr(inputs[items[axis].index], "data", None)
    if type(chosen) is not np.ndarray or chosen.ndim != 1 or len(shapes[0]) <= axis:
        return None
    return _picked(chosen, axis, shapes[0][axis])


def taken(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """`np.take` along an axis."""
    axis, chosen = spec.get("axis"), spec.get("indices")
    if type(chosen) is Ref and inputs is not None:
        chosen = getattr(inputs[chosen.index], "data", None)
    if type(chosen) in (tuple, list):
        chosen = np.asarray(chosen)
    if any(name not in ("axis", "indices") for name, _ in spec.params):
        return None
    if type(chosen) is not np.ndarray or chosen.ndim != 1 or len(shapes[0]) not in (1, 2):
        return None
    if axis is None and len(shapes[0]) == 1:
        axis = 0
    k = place(axis, len(shapes[0])) if axis is not None else None
    return None if k is None or chosen.dtype.kind == "b" else _picked(chosen, k, shapes[0][k])


def _picked(chosen: np.ndarray[Any, Any], axis: int, length: int) -> Form | None:
    given = chosen
    if chosen.dtype.kind == "b":
        if len(chosen) != length:
            return None
        if length > 8 * MAX_PICKED:
            return Scattered(axis, given)
        chosen = np.flatnonzero(chosen)
    elif chosen.dtype.kind not in "iu":
        return None
    if not len(chosen):
        return None
    if len(chosen) > MAX_PICKED:
        return Scattered(axis, given)
    if chosen.min() < -length or chosen.max() >= length:
        return None
    return Selected(axis, tuple((chosen.astype(np.int64) % length).tolist()))


def deleted(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
    """`np.delete` of lines: what `infer.deleted` lets wait."""
    shape, axis = shapes[0], spec.get("axis")
    k = 0 if axis is None else axis % len(shape)
    obj = spec.get("obj")
    if type(obj) is Ref:
        obj = getattr(inputs[obj.index], "data", None) if inputs is not None else None
    if obj is None or len(shape) not in (1, 2):
        return None
    if shape[k] > MAX_PICKED:
        dropped = np.arange(shape[k])[obj] if type(obj) is slice else np.atleast_1d(obj)
        return Scattered(k, dropped, True)
    kept = np.ones(shape[k], dtype=bool)
    kept[obj] = False
    return _picked(kept, k, shape[k])


def filled(value: Any = None) -> Callable[..., Form | None]:
    """`np.ones` and its kin, of floating point numbers."""

    def form(shapes: Shapes, spec: Spec, inputs: Any = None) -> Form | None:
        number = spec.get("fill_value") if value is None else value
        return Filled(float(number)) if type(number) in (int, float) else None

    return form
