"""Passes over the rows of a tall matrix: what waits between products with it (D15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima.forcing import _Pass, _planned, force, mark_inexact
from lima.fusion import Group
from lima.node import Spec, new_node
from lima.op import FUSES, OPS
from lima.sessions import Session
from lima.stats import COMPUTED, outcome_row
from lima.values import Pending, Value, new_value, nodes_of

if FUSES:
    from lima import narrow, tall

Step = tuple[Pending, Sequence[Any]]


def through(here: Session, x: Value, v: Value, z: Pending, w: Pending) -> Value | None:
    """X' w in one pass over X, where w waits for z, which is X v; None where it must be two.

    Then nothing has changed. Else z is computed, and so is whatever else between z and w may
    still be read. What was added up in another order than BLAS's has a lineage that says so.
    """
    plan = _planned(here, w, None)
    if z.data is not None or w.data is not None:  # another rule, or the cache, had it
        return None
    steps = _above(z, plan)
    if steps is None:
        return None
    found = np.empty(len(x.data), x.data.dtype)
    group = Group(steps[0][0]) if steps else None
    for item, args in steps:
        if group is None or not group.add(item, args, {z: found}):
            return None
    made = _Pass(here, w, plan, None)
    arrays: list[tuple[Pending, Any]] = []
    for _, args in steps:
        made.count(args, -1)
    for item, _ in steps:
        if not made.temporary(item):
            arrays.append((item, np.empty(*item._meta)))
    slot = -1
    if group is not None:
        for item, array in arrays:
            group.write(item, array)
        slot = group.slots[w]
    program = None if group is None else group.program
    out, raised = tall.through(program, slot, x.data, v.data, found, here.threads)
    modes = {z.modes, *[item.modes for item, _ in steps]}
    if any(Group.is_loud(raised, asked) for asked in modes) or not np.isfinite(out).all():
        return None  # NumPy has something to say of it
    _delivered(here, x, v, z, found, steps, arrays)
    value = new_value(new_node(OPS["tall.sums"].spec, nodes_of((x, w))), out)
    mark_inexact(value.node)
    return value


def _above(z: Pending, plan: Sequence[Step]) -> list[Step] | None:
    """What is to be computed in the pass, after what does not hang on z and cannot be in it."""
    hangs: set[Value] = {z}
    steps: list[Step] = []
    for item, args in plan:
        if item is z:
            continue
        if any(isinstance(a, Value) and a in hangs for a in args):
            hangs.add(item)
        elif item._meta[0] != z._meta[0] or item.row.inner is None:
            force(item)
        steps.append((item, args))
    steps = [(item, args) for item, args in steps if item.data is None]
    fits = all(item._meta[0] == z._meta[0] and item.row.inner is not None for item, _ in steps)
    return steps if fits and z.data is None else None


def _delivered(
    here: Session,
    x: Value,
    v: Value,
    z: Pending,
    found: Any,
    steps: Sequence[Step],
    arrays: Sequence[tuple[Pending, Any]],
) -> None:
    """Hand out what the pass has written, and note how it came about."""
    node = z.node
    node.derived = new_node(OPS["tall.dots"].spec, nodes_of((x, v)))
    mark_inexact(node.derived)
    node.inexact = True
    outcome = outcome_row(COMPUTED, 0.0, "in one pass with what reads it")
    node.outcome = outcome
    z.arrive(found)
    here.counts.computed += len(steps) + 1
    for item, _ in steps:
        item.node.outcome = outcome
        mark_inexact(item.node)
    for item, array in arrays:
        item.arrive(array)


def weighted(here: Session, x: Value, w: Value, y: Value, twice: bool) -> Value | None:
    """X' diag(w) Y in one pass, or X' diag(w^2) X; None where the kernel does not take them.

    Where X is Y and waits, its rows are made as they are multiplied, and never written. Nobody can
    know whether the program will read it again: then it is computed once more, and written.
    """
    weights = force(w).reshape(-1)
    steps, group = _rows(here, x) if x is y else ([], None)
    if group is None:
        rows, others = force(x), force(y)
        if not (narrow.lies(rows) and narrow.lies(others)) or rows.dtype != weights.dtype:
            return None
        found, raised = narrow.gram(
            None, -1, rows, weights, None if x is y else others, rows.shape[1], twice, here.threads
        )
    else:
        (_, columns), _ = x.meta
        slot = group.slots[x]
        found, raised = narrow.gram(
            group.program, slot, None, weights, None, columns, twice, here.threads
        )
        if Group.is_loud(raised, group.modes):
            return None
        here.counts.computed += len(steps)
        outcome = outcome_row(COMPUTED, 0.0, "in one pass with what reads it")
        for item, _ in steps:
            item.folded = True
            item.node.outcome = outcome
            mark_inexact(item.node)
    row = OPS["matmul.weighted_sums"]
    spec = Spec(row.name, (("twice", twice),), 3, row.version)
    made = new_value(new_node(spec, nodes_of((x, w, y))), found)
    mark_inexact(made.node)
    return made


def _rows(here: Session, x: Value) -> tuple[Sequence[Step], Group | None]:
    """The steps that make the rows of what waits, if they are to be made as they are read."""
    if not isinstance(x, Pending) or x.data is not None or x.folded or x.row.inner is None:
        return [], None
    plan = _planned(here, x, None)
    for item, _ in plan:
        if item._meta[0] != x._meta[0] or item.row.inner is None:
            force(item)
    steps = [(item, args) for item, args in plan if item.data is None]
    if not steps or x.data is not None:
        return [], None
    group = Group(steps[0][0])
    for item, args in steps:
        if not group.add(item, args, {}):
            return [], None
    return steps, group
