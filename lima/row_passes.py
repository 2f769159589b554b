"""Products of rows with a small matrix, and reductions along rows of what is made of them (D15).

What `row_blocks` does by NumPy's functions, for the programs that `lima.narrow` can take: one
product at most, and elementwise steps before and after it, of two axes. No Python runs between the
blocks, so that threads can share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lima.fusion import Group
from lima.node import Spec
from lima.op import FUSES, Op
from lima.values import Pending, Value

if FUSES:
    from lima import narrow

Step = tuple[Pending, Sequence[Any]]

MOST_ASKED = 4
"""Reductions of one pass, as `narrow.KINDS`."""


class RowPass:
    """The steps that lead to `goal`, for a compiled pass over blocks of rows.

    product  the value that waits for a product, or None
    before   what makes the rows that are multiplied
    after    what is made of the product
    """

    def __init__(self, goal: Pending, product: Pending | None) -> None:
        self.goal = goal
        self.product = product
        self.before: Group | None = None
        self.after: Group | None = None
        self.rows: Any = None if product is None else (product.args or (None,))[0]
        self.x: Any = None
        self.v: Any = None

    def reduced(self, asked: Sequence[tuple[Op, Spec]], threads: int) -> Any:
        """What reductions make of the goal, and the floating point errors that came up; None where
        that is up to NumPy."""
        folds = [row.folds(spec, self.goal._meta) for row, spec in asked if row.folds is not None]
        (_, width), dtype = self.goal._meta
        wanted = []
        found: Any
        for fold in folds:
            if fold is None:
                return None
            function = fold.function or fold.place
            if function not in narrow.KINDS_OF or (function is np.add and width > summed()):
                return None
            wanted.append((function, fold.function is None))
        if len(wanted) != len(asked) or len(wanted) > MOST_ASKED:
            return None
        before, after, z = self.before, self.after, self.product
        found, raised = narrow.reduced(
            None if before is None else before.program,
            -1 if before is None else before.slots[self.rows],
            self.x,
            self.v,
            None if after is None else after.program,
            -1 if after is None or z is None else after.slots[z],
            -1 if after is None else after.slots[self.goal],
            width,
            dtype,
            tuple(wanted),
            threads,
        )
        if found is None:
            return None
        made = []
        for fold, one in zip(folds, found, strict=True):
            if fold is not None:
                one = one.reshape(fold.shape)
                made.append(one if fold.finish is None else fold.finish(one))
        return made, raised


def row_pass(goal: Pending, plan: Sequence[Step], products: Sequence[Pending]) -> RowPass | None:
    """The pass that leads to a value that waits; None where some step is not for it."""
    shape, dtype = goal._meta
    if not FUSES or len(shape) != 2 or dtype.char not in "fd" or len(products) > 1:
        return None
    z = products[0] if products else None
    if z is not None and (z._meta != goal._meta or z.args is None):
        return None
    made = RowPass(goal, z)
    above: set[Value] = set() if z is None else {z}
    steps: list[Step] = []
    below: list[Step] = []
    rows = made.rows
    needed = {rows} if isinstance(rows, Pending) and rows.data is None else set()
    for item, args in reversed(plan):  # what makes the rows that are multiplied
        if item in needed and item.data is None:
            below.append((item, args))
            needed.update(a for a in args if isinstance(a, Pending) and a.data is None)
    below.reverse()
    for item, args in plan:
        if item.data is not None or item is z or item in needed:
            continue
        if any(isinstance(a, Value) and a in needed and a is not z for a in args):
            return None  # rows that are read beside the product as well
        if any(isinstance(a, Value) and a in above for a in args):
            above.add(item)
        steps.append((item, args))
    if z is not None and not _multiplies(made, z, below):
        return None
    if steps:
        local: dict[Value, Any] = (
            {} if z is None else {z: np.empty(shape, dtype)}
        )  # never read or written
        made.after = _group(steps, local)
        if made.after is None or made.after.members[-1][0] is not goal:
            return None
        if z is not None and z not in made.after.slots:
            return None
    return made if steps or z is goal else None


def _multiplies(made: RowPass, z: Pending, below: Sequence[Step]) -> bool:
    """Whether the kernel takes the product, whose rows `below` makes."""
    rows, small = z.args or ()
    v = small.data
    if type(v) is not np.ndarray:
        return False
    if not below:
        x = rows.data
        made.x, made.v = x, v
        return type(x) is np.ndarray and bool(narrow.takes(x, v))
    made.v = v
    (_, columns), dtype = rows._meta
    if dtype != v.dtype or v.shape[0] != columns or not narrow.fits(v):
        return False
    made.before = _group(below, {})
    return made.before is not None and made.before.members[-1][0] is rows


def _group(steps: Sequence[Step], local: dict[Value, Any]) -> Group | None:
    """All of the steps, in one group."""
    group = Group(steps[0][0])
    for item, args in steps:
        if not group.add(item, args, local):
            return None
    return group


@lru_cache(maxsize=1)
def summed() -> int:
    """Elements of a row up to which its sum has NumPy's bits; how NumPy adds is not documented."""
    rng = np.random.default_rng(0)
    for width in (1, 2, 3, 7, 8, 9, 15, 16, 17, 20, 63, 64, 65, 100, 127, 128):
        for char in "df":
            a = (rng.standard_normal((67, width)) * 10.0 ** rng.integers(-6, 6)).astype(char)
            a[3], a[5] = 0.0, -0.0
            if narrow.totals(a).tobytes() != np.add.reduce(a, axis=1).tobytes():
                return 0
    return int(narrow.WIDEST)
