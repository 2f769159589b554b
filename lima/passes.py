"""Passes over the rows of a tall matrix: what waits between two products with it (D15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima.forcing import _Pass, _planned, force, mark_inexact
from lima.fusion import Group
from lima.node import new_node
from lima.op import FUSES, OPS
from lima.sessions import Session
from lima.stats import COMPUTED, outcome_row
from lima.values import Pending, Value, new_value, nodes_of

if FUSES:
    from lima import tall

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
