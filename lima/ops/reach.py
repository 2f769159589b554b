"""What of a result depends on some lines of the operands: the `reach` of rows.

A `Part` says of every axis of a value which lines may depend on what was asked for; together they
are a box, which may be larger than the truth and is never smaller. Functions here take the row, the
spec of a call and its inputs: a `Part` for each that is an array, literals as they are. They answer
with the part of the result, or None where they cannot tell: then all of it is taken to depend.

Operations that only move elements need no description. Their kernel is run on booleans that say
which elements are meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lima.node import Ref, Spec, resolve
from lima.op import Kind, Op
from lima.ops.infer import place

LIMIT = 1 << 26
"""Elements up to which a kernel is run on booleans, and a result is looked at."""

Lines = tuple[np.ndarray[Any, Any] | None, ...]


class Part(NamedTuple):
    """A part of an array.

    shape  of the array
    lines  for each axis the lines that belong to the part as booleans, None for all of them; None
           in the place of all axes where the part is empty
    value  the elements of the array, where they are known
    """

    shape: tuple[int, ...]
    lines: Lines | None
    value: Any = None

    @property
    def touched(self) -> bool:
        return self.lines is not None


Reach = Callable[[Op, Spec, Sequence[Any]], Part | None]


def whole(shape: tuple[int, ...]) -> Part:
    """All of an array."""
    return Part(shape, (None,) * len(shape))


def reach_of(row: Op) -> Reach | None:
    """What a row states, or what goes for all rows of its kind."""
    if row.reach is not None:
        return row.reach
    if isinstance(row.kernel, np.ufunc) and row.kernel.signature is None:
        return elementwise
    return moved if row.kind is Kind.VIEW and row.infer is not None else None


def union(parts: Sequence[Part]) -> Lines | None:
    """The smallest box around parts of arrays of one shape."""
    found = [part.lines for part in parts if part.lines is not None]
    if not found:
        return None
    return tuple([_either(lines) for lines in zip(*found, strict=True)])


def _either(lines: Sequence[Any]) -> Any:
    if any(one is None for one in lines):
        return None
    made = np.logical_or.reduce(lines)
    return None if made.all() else made


def given(inputs: Sequence[Any]) -> list[Part]:
    """The operands that are arrays."""
    return [item for item in inputs if isinstance(item, Part)]


# --------------------------------------------------------------------------- elements

_HARMLESS = frozenset(
    {"casting", "order", "dtype", "subok", "signature", "alias", "copy", "device"}
)
"""Parameters of elementwise operations that decide no shape."""


def elementwise(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """Each element of the result comes of those at its place in the operands, `where` and `out`."""
    for name, value in spec.params:
        if name not in _HARMLESS and type(value) is not Ref and not is_scalar(value):
            return None
    parts = given(inputs)
    shapes = [part.shape for part in parts]
    shapes += [np.shape(item) for item in inputs if not isinstance(item, Part)]
    shape = np.broadcast_shapes(*shapes)
    return Part(shape, union([_spread(part, shape) for part in parts]))


def is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | complex | str | np.generic)


def _spread(part: Part, shape: tuple[int, ...]) -> Part:
    """A part of an operand as it lies in the shape that operands are broadcast to."""
    if part.lines is None:
        return Part(shape, None)
    missing = len(shape) - len(part.shape)
    lines: list[Any] = [None] * missing
    for n, one, length in zip(shape[missing:], part.lines, part.shape, strict=True):
        lines.append(one if length == n else None)
    return Part(shape, tuple(lines))


def shaped(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """The result depends on the shape of the first operand alone."""
    first = inputs[0]
    if not isinstance(first, Part) or spec.get("shape") is not None:
        return None
    if any(part.touched for part in given(inputs[1:])):
        return None
    return Part(first.shape, None)


# --------------------------------------------------------------------------- elements that move


def moved(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """The elements of the operands in other places; parameters that are arrays say where.

    Those must be known and not be part of what was asked for.
    """
    count = len(inputs) if spec.npos is None else spec.npos
    rest = list(inputs[count:])
    if any(not isinstance(i, Part) or i.touched or i.value is None for i in rest):
        return None
    return run(row, spec, list(inputs[:count]), [part.value for part in rest])


def moved_within(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """As `moved`, where the operands stand inside parameters (`np.block`)."""
    return run(row, spec, list(inputs), [])


def ordered(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """As `moved`, where the order may be that of the memory, which is not known here."""
    first = inputs[0]
    plain = spec.get("order", "C") in ("C", "F")
    return moved(row, spec, inputs) if plain or len(first.shape) < 2 else None


def run(
    row: Op,
    spec: Spec,
    operands: list[Any],
    rest: list[Any],
    fixed: Mapping[int, Any] | None = None,
) -> Part | None:
    """The kernel run on booleans; operands in `fixed` are what they are."""
    views = row.kind is Kind.VIEW and row.infer is not None  # else it may copy
    if not views and sum(math.prod(part.shape) for part in given(operands)) > LIMIT:
        return None
    fixed = fixed or {}
    empty = [fixed[k] if k in fixed else _nothing(item) for k, item in enumerate(operands)]
    found: list[Part] = []
    for k, part in enumerate(operands):
        if k in fixed or not isinstance(part, Part) or part.lines is None:
            continue
        axes: list[int | None] = [k for k, one in enumerate(part.lines) if one is not None]
        boxes: list[Part] = []
        for axis in axes or [None]:  # each by itself, so that the booleans take no memory
            data = [*empty, *rest]
            data[k] = _marked(part, axis)
            made = _lines_of(_evaluated(row, spec, data, len(operands)))
            if made is None:
                return None
            boxes.append(made)
        found.append(_common(boxes))
    if not found:
        made = _lines_of(_evaluated(row, spec, [*empty, *rest], len(operands)))
        return None if made is None else Part(made.shape, None)
    return Part(found[0].shape, union(found))


def _nothing(item: Any) -> Any:
    shape = item.shape if isinstance(item, Part) else np.shape(item)
    return np.broadcast_to(np.False_, shape) if shape else np.zeros((), bool)


def _marked(part: Part, axis: int | None) -> Any:
    """Booleans in the shape of an operand: the lines of the part along one axis."""
    if not part.shape or axis is None:
        return np.broadcast_to(np.True_, part.shape) if part.shape else np.ones((), bool)
    assert part.lines is not None
    form = [1] * len(part.shape)
    form[axis] = part.shape[axis]
    return np.broadcast_to(part.lines[axis].reshape(form), part.shape)  # type: ignore[union-attr]


def _evaluated(row: Op, spec: Spec, data: list[Any], count: int) -> Any:
    if row.into is not None:
        data[0] = np.array(data[0])
    named = {k: resolve(v, data) for k, v in spec.params if k != "alias"}
    operands = data[:count] if spec.npos is None else data[: spec.npos]
    made = row.kernel(operands, **named) if row.variadic else row.kernel(*operands, **named)
    return data[0] if row.into is not None else made


def _lines_of(marks: Any) -> Part | None:
    """The lines in which there are marks; None for more elements than are looked at."""
    if not isinstance(marks, np.ndarray | np.generic):
        return None
    marks = np.asarray(marks)
    if not marks.size:
        return Part(marks.shape, None)
    small = marks[tuple([slice(None) if step else slice(1) for step in marks.strides])]
    if small.size > LIMIT:
        return None
    small = small != 0
    if not small.any():
        return Part(marks.shape, None)
    lines: list[Any] = []
    for axis, n in enumerate(small.shape):
        others = tuple([k for k in range(small.ndim) if k != axis])
        one = small.any(axis=others)
        lines.append(None if n < marks.shape[axis] or one.all() else one)
    return Part(marks.shape, tuple(lines))


def _common(boxes: list[Part]) -> Part:
    """What lies in all of the boxes."""
    lines: list[Any] = list(boxes[0].lines or ())
    for box in boxes:
        if box.lines is None:
            return box
        for axis, other in enumerate(box.lines):
            mine = lines[axis]
            if other is not None and mine is not other:
                lines[axis] = other if mine is None else mine & other
    if any(one is not None and not one.any() for one in lines):
        return Part(boxes[0].shape, None)
    return Part(boxes[0].shape, tuple(lines))


# --------------------------------------------------------------------------- lines that mix


def _only_first(row: Op, spec: Spec, inputs: Sequence[Any]) -> bool:
    """Whether no other operand is part of what was asked for, nor adds to the shape."""
    first = inputs[0]
    return isinstance(first, Part) and not any(
        not isinstance(i, Part) or i.touched for i in inputs[1:]
    )


def _axis(row: Op, spec: Spec) -> Any:
    return spec.get("axis", row.params.get("axis"))


def reduced(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """One number for all elements, or along some axes."""
    if not _only_first(row, spec, inputs) or (row.wrap is not None and spec.get("returned")):
        return None
    first: Part = inputs[0]
    axis, ndim = _axis(row, spec), len(first.shape)
    keepdims = spec.get("keepdims", False)
    if type(keepdims) is not bool:
        return None
    asked = range(ndim) if axis is None else axis if type(axis) is tuple else (axis,)
    gone = {place(one, ndim) for one in asked}
    if None in gone:
        return None
    lines = first.lines or (None,) * ndim
    kept = [
        (1, None) if k in gone else (n, one)
        for k, (n, one) in enumerate(zip(first.shape, lines, strict=True))
        if keepdims or k not in gone
    ]
    shape = tuple([n for n, _ in kept])
    return Part(shape, tuple([one for _, one in kept]) if first.touched else None)


def quantiles(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """As `reduced`, of an operand and one quantile."""
    q = inputs[1]
    if isinstance(q, Part) or not is_scalar(q):
        return None
    return reduced(row, spec, [inputs[0], *inputs[2:]])


def along(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """The elements of each line along one axis with each other; the shape stays."""
    return _along(row, spec, inputs, lambda lines: None)


def transformed(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """As `along`, where no other length of the lines is asked for."""
    plain = all(name in ("axis", "norm") for name, _ in spec.params)
    return along(row, spec, inputs) if plain else None


def differenced(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """Each element with the next ones along an axis: differences of some order."""
    order, first = spec.get("n", 1), inputs[0]
    if any(name not in ("n", "axis") for name, _ in spec.params) or type(order) is not int:
        return None
    k = place(_axis(row, spec), len(first.shape)) if isinstance(first, Part) else None
    if k is None or not 0 <= order < first.shape[k]:
        return None
    length = first.shape[k] - order
    shape = (*first.shape[:k], length, *first.shape[k + 1 :])
    if first.lines is None:
        return Part(shape, None)
    lines = list(first.lines)
    one = lines[k]
    if one is not None:
        lines[k] = np.logical_or.reduce([one[i : i + length] for i in range(order + 1)])
        if not lines[k].any():
            return Part(shape, None)
    return Part(shape, tuple(lines))


def onward(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """Along one axis each element with those before it: cumulative sums."""
    return _along(row, spec, inputs, lambda lines: lines and np.logical_or.accumulate(lines[0]))


def _along(
    row: Op, spec: Spec, inputs: Sequence[Any], mix: Callable[[list[Any]], Any]
) -> Part | None:
    if not _only_first(row, spec, inputs):
        return None
    first: Part = inputs[0]
    axis, ndim = _axis(row, spec), len(first.shape)
    if axis is None:
        if ndim != 1:
            return Part((math.prod(first.shape),), _flat(first, mix))
        axis = 0
    k = place(axis, ndim)
    if k is None:
        return None
    if first.lines is None:
        return Part(first.shape, None)
    lines = list(first.lines)
    known = lines[k]
    lines[k] = None if known is None else mix([known])
    return Part(first.shape, tuple(lines))


def _flat(part: Part, mix: Callable[[list[Any]], Any]) -> Lines | None:
    """What `mix` makes of the elements in C order, or of those from the first line on."""
    if part.lines is None:
        return None
    first = [0 if one is None else int(np.argmax(one)) for one in part.lines]
    after = np.zeros(math.prod(part.shape), bool)
    after[np.ravel_multi_index(first, part.shape) :] = True
    found = mix([after])
    return (None if found is None or found.all() else found,)


# --------------------------------------------------------------------------- products


def outer(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """Every element of one vector with every element of the other."""
    parts = given(inputs)
    if spec.params or len(inputs) != 2 or any(len(part.shape) != 1 for part in parts):
        return None
    if len(parts) != 2:
        return None
    a, b = parts
    shape = (*a.shape, *b.shape)
    left = None if a.lines is None else (a.lines[0], None)
    right = None if b.lines is None else (None, b.lines[0])
    return Part(shape, union([Part(shape, left), Part(shape, right)]))
