"""What a value is made of along an axis: lines of bases, read off the structure that waits.

The normal form of structure. However a program spelled it (`hstack`, `column_stack`, slices of
slices, transposes, copies, an index array), the lines of a matrix along an axis are pieces: lines
of a base, in an order. Nothing is computed here, and nothing is looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima.node import Node, new_node
from lima.op import OPS, Kind
from lima.pattern import Each, Filled, Joined, Line, Picked, Same, Selected, Swapped, Upright
from lima.values import Pending, Value

MAX_PIECES = 256
"""Pieces of one value beyond which it is a base of its own."""


_ARRAY = np.ndarray  # an attribute costs time in the hot path


class Piece:
    """Lines of a base.

    base     a live value, a matrix or a vector; of a vector there is one line, itself
    axis     the axis of the base along which its lines are counted
    picked   which lines, in order
    length   how many lines the base has
    """

    __slots__ = ("axis", "base", "length", "picked")

    def __init__(self, base: Value, axis: int, picked: Picked, length: int) -> None:
        self.base = base
        self.axis = axis
        self.picked = picked
        self.length = length

    @property
    def whole(self) -> bool:
        """Whether these are all lines of the base, in order."""
        return self.picked == range(self.length)


def structured(inputs: Sequence[Any]) -> bool:
    """Whether an operand may be lines of something: a layout that waits, or a view of lines.

    Cheap enough to be asked of every heavy operation; the rest of this module is for those that
    pass. A plain array has no structure, nor has the transpose of one.
    """
    for x in inputs:
        if not isinstance(x, Value):
            continue
        value, _ = upright(x, 0)
        data = value.data
        if data is None:
            if isinstance(value, Pending) and value.row.form is not None:
                return True
            continue
        root = value.root
        if root is None or root is value or type(data) is not _ARRAY:
            continue
        base = root.data
        fits = type(base) is _ARRAY and base.ndim < 3
        if fits and (base.size != data.size or min(data.strides, default=0) < 0):
            return True
    return False


def form_of(value: Value) -> Any:
    """How `value` lies on its operands, if it waits; None if it does not or if no row says."""
    if not isinstance(value, Pending):
        return None
    item = value
    if item.data is not None or item.args is None or item.row.form is None:
        return None
    notes = item.notes
    if notes is None:
        notes = item.notes = {}
    elif "form" in notes:
        return notes["form"]
    notes["form"] = None
    shapes = [a.meta[0] for a in item.args if isinstance(a, Value)]
    node = item.node.derived or item.node
    found = item.row.form(shapes, node.spec, item.args)
    if type(found) is Joined:
        dtype = item._meta[1]
        for a in item.args:
            if not isinstance(a, Value) or a.meta[1] != dtype:
                return None
    notes["form"] = found
    return found


def pieces(value: Value, axis: int) -> list[Piece]:
    """The lines of a matrix along `axis`, or the one line of a vector, as pieces of bases."""
    found: list[Piece] = []
    if not isinstance(value, Pending):
        _collect(value, axis, found)
        return found
    form = form_of(value)
    item = value
    if form is None or 0 in item._meta[0]:
        if form is None:
            _collect(value, axis, found)
        return found or [_whole(value, axis)]
    known = item.notes.get(axis) if item.notes is not None else None
    if known is not None and not _is_gone(known):
        return known  # type: ignore[no-any-return]
    _collect(value, axis, found)
    if len(found) > MAX_PIECES:
        found = [_whole(value, axis)]
    if item.notes is not None and found[0].base is not value:  # no cycle of references
        item.notes[axis] = found
    return found


def _is_gone(known: list[Piece]) -> bool:
    """Whether a base was written since, so that its elements are no longer there."""
    for piece in known:
        base = piece.base
        if base.data is None and (not isinstance(base, Pending) or base.args is None):
            return True
    return False


def constant(piece: Piece) -> Filled | None:
    """What a piece is filled with, if it is the line of a constant, computed since or not."""
    base = piece.base
    if piece.length != 1 or piece.axis != 0 or not isinstance(base, Pending) or base.node.inputs:
        return None
    form = base.row.form
    found = None if form is None else form([], base.node.spec, None)
    return found if type(found) is Filled else None


def upright(value: Value, axis: int) -> tuple[Value, int]:
    """`value` and `axis`, or what it is the transpose of and the same axis there."""
    while type(form_of(value)) is Swapped:
        value, axis = value.args[0], 1 - axis  # type: ignore[attr-defined]
    return value, axis


def _whole(value: Value, axis: int) -> Piece:
    shape = value.meta[0]
    length = shape[axis] if len(shape) == 2 else 1
    return Piece(value, axis if len(shape) == 2 else 0, range(length), length)


def _collect(value: Value, axis: int, found: list[Piece]) -> None:
    form = form_of(value)
    if form is None:
        if value.data is not None and value.root is not None and value.root is not value:
            _view(value, axis, found)
        else:
            found.append(_whole(value, axis))
        return
    kind = type(form)
    args = value.args  # type: ignore[attr-defined]
    ndim = len(value.meta[0])
    below: list[Piece]
    if kind is Same:
        _collect(args[0], axis, found)
    elif kind is Swapped:
        _collect(args[0], 1 - axis, found)
    elif kind is Each:
        below = []
        _collect(args[0], axis, below)
        numbers = [constant(piece) for piece in below]
        if below[0].base is args[0] or not _real(numbers):
            found.append(_whole(value, axis))
            return
        for piece, number in zip(below, numbers, strict=True):
            base = piece.base if number is not None else _changed(value, piece.base)
            found.append(Piece(base, piece.axis, piece.picked, piece.length))
    elif kind is Joined and ndim == 2 and form.axis == axis:
        for part in args:
            found.extend(pieces(part, axis))
    elif kind is Selected and ndim == 2 and form.axis == axis:
        below = []
        _collect(args[0], axis, below)
        select(below, form.picked, found)
    elif kind is Upright and form.axis == axis:
        _collect(args[0], 0, found)
    elif kind is Line:
        below = []
        _collect(args[0], form.axis, below)
        select(below, (form.place,), found)
    elif kind is Filled:
        picked: Picked = range(1) if ndim == 1 else (0,) * value.meta[0][axis]
        found.append(Piece(value, 0, picked, 1))
    else:
        found.append(_whole(value, axis))


def _real(numbers: Sequence[Any]) -> bool:
    """Whether a function of elements leaves constants among lines as they are: real numbers."""
    return True not in [form is not None and np.iscomplexobj(form.value) for form in numbers]


def _changed(value: Value, base: Value) -> Value:
    """The function of elements that `value` waits for, of what its operand is made of."""
    item: Pending = value  # type: ignore[assignment]
    return Pending(new_node(item.row.spec, (base.node,)), item.row, (base,), base.meta)


def _view(value: Value, axis: int, found: list[Piece]) -> None:
    """A view of data that is present, as lines of the array that it is a view of."""
    root: Value = value.root  # type: ignore[assignment]
    form: Any
    path: list[Node] = []
    node = value.node
    while node is not root.node:
        row = OPS.get(node.spec.op)
        if row is None or row.kind is not Kind.VIEW or row.form is None:
            break
        path.append(node)
        if not node.inputs or type(node.inputs[0]) is not Node:
            break
        node = node.inputs[0]
    data = value.data
    if node is not root.node or type(data) is not _ARRAY or type(root.data) is not _ARRAY:
        found.append(_whole(value, axis))
        return
    shape = root.data.shape
    if len(path) == 1 and len(shape) == 2:  # the common case
        form = OPS[path[0].spec.op].form([shape], path[0].spec, None)  # type: ignore[misc]
        if type(form) is Selected:
            if form.axis == axis:
                found.append(Piece(root, axis, form.picked, shape[axis]))
            else:
                found.append(_whole(value, axis))
            return
    here: list[Piece] = []
    # From the root to the view: what lies along either axis of the array that is reached.
    lines: list[list[Piece] | None] = [
        [_whole(root, k)] if k < max(1, len(shape)) else None for k in (0, 1)
    ]
    if len(shape) not in (1, 2):
        found.append(_whole(value, axis))
        return
    for step in reversed(path):
        spec = step.spec
        form = OPS[spec.op].form([shape], spec, None)  # type: ignore[misc]
        kind = type(form)
        if kind is Same:
            continue
        if kind is Swapped:
            lines = [lines[1], lines[0]]
            shape = (shape[1], shape[0])
        elif kind is Selected and len(shape) == 2:
            k = form.axis
            before = lines[k]
            shape = (len(form.picked), shape[1]) if k == 0 else (shape[0], len(form.picked))
            lines[1 - k] = None  # other lines than those of the root: shorter ones
            if before is not None:
                here = []
                select(before, form.picked, here)
                lines[k] = here
        elif kind is Line and lines[form.axis] is not None and step is path[0]:
            here = []
            select(lines[form.axis], (form.place,), here)
            found.extend(here)
            return
        elif kind is Upright and step is path[0] and len(path) == 1 and form.axis == axis:
            found.append(_whole(root, 0))
            return
        else:
            found.append(_whole(value, axis))
            return
    along = lines[axis] if len(shape) == 2 else None
    if along is None:
        found.append(_whole(value, axis))
    else:
        found.extend(along)


def select(below: Sequence[Piece], picked: Picked, found: list[Piece]) -> None:
    """Append what the places `picked` of the lines of `below` are."""
    if len(below) == 1:
        piece = below[0]
        found.append(Piece(piece.base, piece.axis, compose(piece.picked, picked), piece.length))
        return
    ends: list[int] = []
    total = 0
    for piece in below:
        total += len(piece.picked)
        ends.append(total)
    k = -1
    run: list[int] = []
    for place in picked:
        at = 0
        while place >= ends[at]:
            at += 1
        line = below[at].picked[place - (ends[at - 1] if at else 0)]
        if at != k and run:
            found.append(Piece(below[k].base, below[k].axis, tidy(run), below[k].length))
            run = []
        k = at
        run.append(line)
    if run:
        found.append(Piece(below[k].base, below[k].axis, tidy(run), below[k].length))


def compose(first: Picked, second: Picked) -> Picked:
    """The places `second` of the places `first`.

    >>> compose(range(10, 0, -2), range(1, 3)), compose((5, 6, 7), (0, 2))
    (range(8, 4, -2), (5, 7))
    """
    if type(first) is range and type(second) is range:
        start = first.start + second.start * first.step
        step = first.step * second.step
        return range(start, start + len(second) * step, step)
    if type(first) is range and first.start == 0 and first.step == 1:
        return second
    chosen = []
    for k in second:
        chosen.append(first[k])
    return tuple(chosen)


def tidy(places: Sequence[int]) -> Picked:
    """`places` as a range where they are evenly spaced.

    >>> tidy([3, 4, 5]), tidy([3, 5, 4])
    (range(3, 6), (3, 5, 4))
    """
    if len(places) == 1:
        return range(places[0], places[0] + 1)
    step = places[1] - places[0]
    if step == 0:
        return tuple(places)
    even = range(places[0], places[0] + step * len(places), step)
    return even if tuple(even) == tuple(places) else tuple(places)


def parts(value: Value, axis: int) -> Sequence[Value] | None:
    """The values that `value` joins along `axis`; None where it waits for no such joining."""
    form = form_of(value)
    if form is None:
        return None
    kind = type(form)
    args: Sequence[Value] = value.args  # type: ignore[attr-defined]
    if kind is Same:
        return parts(args[0], axis)
    if kind is Each:
        found = parts(args[0], axis)
        return None if found is None else [_changed(value, part) for part in found]
    return args if kind is Joined and form.axis == axis and len(args) > 1 else None


def bare(value: Value) -> Value:
    """`value`, or what it would be a copy of: enough for whoever only reads it."""
    while type(form_of(value)) is Same:
        value = value.args[0]  # type: ignore[attr-defined]
    return value
