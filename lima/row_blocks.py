"""Reductions along rows of what waits, by blocks of rows that stay in the second cache (D15).

`((X[:, None] - C) ** 2).sum(2)`, `(norms - 2 * X @ C.T + squares).argmin(1)`: what lies between is
many times as large as the result. A block of rows takes all steps, NumPy's own functions on
arrays that are reused from block to block, before the next one is begun. Elementwise functions and
reductions of single rows have the same bits by blocks; products may not, so a lineage says where
they were computed so (`matmul.rows`).

Nobody but the reduction is known to read what lies between, so it is not written. What the program
asks for later after all is computed once more, and then written: one pass too many at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lima.node import Spec, new_node
from lima.op import ALONG, OPS, Op, evaluate
from lima.row_passes import row_pass
from lima.sessions import Session, current
from lima.values import Pending, Value, nodes_of

ROOM = 1 << 18
"""Bytes of all arrays of a block."""

TURN = 64
"""Rows of a block are a multiple: a vector loop begins a turn there, as it does in the whole."""

LEAST = 1 << 20
"""Bytes of an operand from which writing it takes longer than calling functions block by block."""

WIDEST = 1 << 14
"""Bytes of a row beyond which a block is no longer one."""

IN_ROWS, NARROW = "matmul.rows", "matmul.narrow"

Plan = Sequence[tuple[Pending, Sequence[Any]]]


class _Step:
    """One function of a block. `operands` are names: numbers of steps, or (array, sliced)."""

    __slots__ = ("buffer", "function", "item", "operands")

    def __init__(self, item: Pending, function: Any, operands: list[Any]) -> None:
        self.item = item
        self.function = function
        self.operands = operands
        self.buffer = -1


class Blocks:
    """The steps that lead to a value that waits, for any rows of it; `steps` is None if some
    operation cannot run by blocks. What `apart` names must have been computed before."""

    def __init__(self, goal: Pending, plan: Plan) -> None:
        self.goal = goal
        self.rows: int = goal._meta[0][0]
        self.steps: list[_Step] | None = []
        self.places: dict[Value, int] = {}
        self.compiled = row_pass(goal, plan, [i for i, _ in plan if is_product(i)])
        for item, args in plan:
            if item.data is not None:
                continue
            step = self._step(item, args)
            if step is None:
                self.steps = None
                return
            self.places[item] = len(self.steps)
            self.steps.append(step)
        self._allot()

    def _step(self, item: Pending, args: Sequence[Any]) -> _Step | None:
        node = item.node
        if is_product(item):
            left, right = args
            found = self._operand(left, 2)
            other = right.data
            if found is None or (type(found) is tuple and not found[1]) or other is None:
                return None
            return _Step(item, np.matmul, [found, (other, False)])
        function: Any = item.row.inner
        if function is None or node.derived is not None or node.spec.params:
            return None
        if type(function) is not np.ufunc:
            function = function(args)
        if function is None:
            return None
        count = getattr(function, "nin", len(args))
        operands = [self._operand(a, len(item._meta[0])) for a in args[:count]]
        return (
            None if None in [type(o) and o for o in operands] else _Step(item, function, operands)
        )

    def _operand(self, a: Any, ndim: int) -> Any:
        """The number of the step that makes `a`, or the array and whether to take its rows; None
        if it lies in a way that changes how NumPy goes through the whole."""
        if not isinstance(a, Value):
            return (a, False)
        if a in self.places:
            return self.places[a]
        data = a.data
        if data is None or type(data) is tuple:
            return None
        if not isinstance(data, np.ndarray):
            return (data, False)
        strides = [s for s, n in zip(data.strides, data.shape, strict=True) if n != 1]
        if any(s <= 0 for s in strides) or strides != sorted(strides, reverse=True):
            return None
        return (data, data.ndim == ndim and data.shape[0] != 1)

    def _allot(self) -> None:
        """Which buffer each step writes to: one is free again after the last step that reads it."""
        steps = self.steps or []
        last = list(range(len(steps)))
        for k, step in enumerate(steps):
            for o in step.operands:
                if type(o) is int:
                    last[o] = k
        self.buffers: list[tuple[Any, Any]] = []
        idle: list[int] = []
        for k, step in enumerate(steps):
            done = [steps[j].buffer for j in range(k) if last[j] == k]
            in_place = step.function is not np.matmul
            shape, dtype = step.item._meta
            kind = (shape[1:], dtype)
            fits = [b for b in idle + done * in_place if self.buffers[b] == kind]
            if fits:
                step.buffer = fits[0]
            else:
                step.buffer = len(self.buffers)
                self.buffers.append(kind)
            idle = [b for b in idle + done if b != step.buffer]

    @property
    def block(self) -> int:
        """Rows at a time; 0 where a row is too wide."""
        width: int = sum(math.prod(s) * d.itemsize for s, d in self.buffers)
        if width > WIDEST:
            return 0
        return max(ROOM // max(width, 1) // TURN * TURN, TURN)

    def reduced(self, asked: Sequence[tuple[Op, Spec]]) -> list[Any]:
        """What reductions make of the goal, along its last axis."""
        if self.compiled is not None:
            made = self.compiled.reduced(asked, current().threads)
            if made is not None:
                found, raised = made
                for k, mode in enumerate(np.geterr().values()):
                    if raised >> k & 1 and mode != "ignore":
                        raise FloatingPointError
                return found  # type: ignore[no-any-return]
            self.compiled = None
        return self._by_blocks(asked)

    def _by_blocks(self, asked: Sequence[tuple[Op, Spec]]) -> list[Any]:
        """The same by NumPy's functions, block by block."""
        size = self.block
        room = [np.empty((min(size + TURN, self.rows), *s), d) for s, d in self.buffers]
        found: list[Any] = []
        start = 0
        while start < self.rows:
            stop = start + size
            if stop + TURN > self.rows:  # no block of few rows, which NumPy may take otherwise
                stop = self.rows
            made = self._made(room, start, stop)
            parts = [evaluate(row, spec, [made]) for row, spec in asked]
            if not found:
                found = [np.empty((self.rows, *part.shape[1:]), part.dtype) for part in parts]
            for whole, part in zip(found, parts, strict=True):
                whole[start:stop] = part
            start = stop
        return found

    def _made(self, room: list[Any], start: int, stop: int) -> Any:
        made: list[Any] = []
        for step in self.steps or ():
            operands = []
            for o in step.operands:
                if type(o) is int:
                    operands.append(made[o])
                else:
                    operands.append(o[0][start:stop] if o[1] else o[0])
            out = room[step.buffer][: stop - start]
            if step.function is np.where:
                np.copyto(out, np.where(*operands))
            else:
                step.function(*operands, out=out)
            made.append(out)
        return made[-1]


def is_product(item: Pending) -> bool:
    """Whether a value waits as a product of rows with a small matrix."""
    shape = item._meta[0]
    return item.row.spared is not None and len(shape) == 2 and not item.node.spec.params


def fits(value: Pending) -> bool:
    """Whether a value is worth the blocks: large, and of rows that are not."""
    shape, dtype = value._meta
    if len(shape) < 2 or shape[0] < 4 * TURN or value.size * dtype.itemsize < LEAST:
        return False
    return value.size // shape[0] * dtype.itemsize <= WIDEST


def apart(value: Pending, plan: Plan) -> list[Pending]:
    """What has to be computed before, as a whole: other shapes, layouts, and what was asked for
    before."""
    rows = value._meta[0][0]
    found = []
    for item, _ in plan:
        shape = item._meta[0]
        sliced = len(shape) == len(value._meta[0]) or (is_product(item) and len(shape) == 2)
        inside = sliced and shape[0] == rows and (item.row.inner is not None or is_product(item))
        lonely = shape[-1:] == (1,) and len(shape) == 2 and value._meta[0][1] > 1
        if item is not value and (not inside or item.folded or lonely):
            found.append(item)
    return found


def asked_with(here: Session, row: Op, spec: Spec, value: Pending) -> list[tuple[Op, Spec]]:
    """A reduction, and those that were asked for after it when this line made a value before."""
    key = (value.node.place, row.name)
    more = here.planner.accounts.get(("asked", key)) if here.reuses and key[0] else None
    if value.notes is None:
        value.notes = {}
    value.notes["asked"] = key
    others = () if more is None else more.table or ()
    return [(row, spec), *[(r, s) for r, s in others if _is_along(r, s, value)]]


def _is_along(row: Op, spec: Spec, value: Pending) -> bool:
    """Whether a reduction goes along the rows of a value."""
    fold = row.folds(spec, value._meta) if row.folds is not None else None
    return fold is not None and fold.way == ALONG


def again(here: Session, row: Op, spec: Spec, value: Pending, modes: tuple[str, ...]) -> Any:
    """What another reduction makes of a value, if it was made beside the first one; else that it
    was asked for is noted."""
    notes = value.notes or {}
    found = notes.pop((spec.op, spec.params, modes), None)
    key = notes.get("asked")
    if found is None and key is not None and key[0] and here.reuses:
        account = here.planner.account(("asked", key))
        known = account.table or ()
        if len(known) < 2 and (row, spec) not in known:
            account.table = (*known, (row, spec))
    return found


def note(blocks: Blocks) -> bool:
    """Remember that the steps have run by blocks; whether products were among them."""
    products = False
    for step in blocks.steps or ():
        item = step.item
        item.folded = True
        if step.function is np.matmul:
            products = True
            compiled = blocks.compiled is not None
            row, node = OPS[NARROW if compiled else IN_ROWS], item.node
            params = () if compiled else (("rows", blocks.block),)
            spec = Spec(row.name, params, None, row.version)
            node.derived = new_node(spec, nodes_of(item.args or ()))
            node.inexact = True
            item.row = row
        else:
            for one in item.node.inputs:
                if getattr(one, "inexact", False):
                    item.node.inexact = True
    return products
