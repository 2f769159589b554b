"""Computing what waits: one iterative pass, temporaries in dead buffers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from lima import herds
from lima.entries import MIN_SECONDS, Entry
from lima.errors import InternalError
from lima.fusion import Group
from lima.graph import as_asked
from lima.node import Node, Spec
from lima.op import ALONG, FUSED, VIEW, Fold, Op, clone, evaluate, own
from lima.ops.by_rows import note_reduced
from lima.places import Said, modes, warn_at
from lima.row_blocks import Blocks, again, apart, asked_with, fits, is_product, note
from lima.sessions import Session, current
from lima.stats import COMPUTED, HIT, outcome_row
from lima.values import Pending, Value, error_modes, live_users

SHARED = 1 << 18
"""Elements from which an operation by itself is worth several threads."""


def force(value: Value) -> Any:
    """The data of `value`; what waits below it is computed first, in one iterative pass."""
    if value.data is not None:
        return value.data
    if not isinstance(value, Pending):
        raise InternalError("a value lost its data although something still refers to it")
    here = current()
    probed = None
    if value.row.rules and here.reuses and here.allowed:
        if _found(here, value) or _derived(here, value):
            return value.data
        probed = value
    plan = _planned(here, value, probed)
    made = _Pass(here, value, plan, None)
    if here.store is not None and here.reuses and value.size > value.row.small:
        return herds.computed(here.store, value, plan, made.run, partial(_found, here, value))
    return made.run()


def _planned(
    here: Session, value: Pending, probed: Pending | None
) -> list[tuple[Pending, Sequence[Any]]]:
    """What has to be computed for `value`, operands before their users."""
    plan: list[tuple[Pending, Sequence[Any]]] = []
    seen: set[Pending] = set()
    stack: list[Any] = [value]
    reuses = here.reuses
    while stack:
        below = stack.pop()
        if type(below) is tuple:  # whatever it needs is in the plan
            plan.append(below)
            continue
        item = below
        args = item.args
        if item.data is not None or args is None or item in seen:
            continue
        seen.add(item)
        if reuses and item is not probed:
            row = item.row
            if row.kind is not VIEW and item.size > row.small and _found(here, item):
                continue
            if row.spared is not None and here.allowed and _derived(here, item):
                continue
        stack.append((item, args))
        for a in reversed(args):  # the first operand first, as the program would have
            if isinstance(a, Pending):
                stack.append(a)
    return plan


FEW = 3
"""Operations on elements that one thread does as fast as several, since memory is what they wait
for."""


def folded(here: Session, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """What a reduction makes of a value that waits, which is computed block by block and never
    written; None where it must be.

    That is for what nobody but the reduction is known to read. If somebody does later, it is
    computed once more, and then written: so it costs at most one pass too many.
    """
    if len(inputs) != 1 or not isinstance(inputs[0], Pending):
        return None
    value = inputs[0]
    if value.data is not None or value.row.inner is None:
        return None
    fold = row.folds(spec, value._meta) if row.folds is not None else None
    if fold is None:
        return None
    if value.folded and value.notes is not None and fold.way == ALONG:
        found = again(here, row, spec, value, error_modes())
        if found is not None:
            return found
    if value.folded or value.shared or value.size <= FUSED or live_users(value):
        return None
    if fold.way == ALONG and fits(value):
        found = _by_rows(here, row, spec, value, fold)
        if found is not None:
            return found
    shared = here.threads > 1 and value.size * value.depth >= SHARED
    if fold.function is None or (shared and value.depth > FEW):
        return None
    looks = bool(value.row.rules) and here.reuses and here.allowed
    if looks and (_found(here, value) or _derived(here, value)):  # as in `force`
        return None
    made = _Pass(here, value, _planned(here, value, value if looks else None), fold)
    value.folded = True
    made.run()
    return made.folded


def _by_rows(here: Session, row: Op, spec: Spec, value: Pending, fold: Fold) -> Any:
    """What a reduction along rows makes of a value that waits, by blocks of rows; None where it
    had better be made in another way."""
    if here.rounds and here.reuses:
        note_reduced(here.planner, value.node)
    asked = asked_with(here, row, spec, value)
    plan = _planned(here, value, None)
    if value.data is not None:
        return None
    simple = fold.function is not None and len(value._meta[0]) == 2
    if simple and not any(is_product(item) for item, _ in plan):
        return None  # as it is computed, without Python
    for item in apart(value, plan):
        force(item)
    blocks = Blocks(value, plan)
    if not blocks.steps or not blocks.block:
        return None
    modes = [step.item.modes for step in blocks.steps] + [error_modes()]
    loud = [any(one[k] != "ignore" for one in modes) for k in range(4)]
    raising = {
        kind: "raise" if is_loud else "ignore" for kind, is_loud in zip(KINDS, loud, strict=True)
    }
    try:
        with np.errstate(**raising):  # type: ignore[arg-type]
            found = blocks.reduced(asked)
    except FloatingPointError:  # NumPy shall say so, of the whole
        return None
    here.counts.computed += len(blocks.steps)
    if note(blocks):
        here.counts.partial["product-in-rows"] += 1
    notes = value.notes
    if notes is not None:
        for (_, one), made in zip(asked[1:], found[1:], strict=True):
            notes[one.op, one.params, error_modes()] = made
    return found[0]


KINDS = ("divide", "over", "under", "invalid")
"""Kinds of floating point errors, in the order of `np.geterr()`."""


def forced(inputs: Sequence[Any]) -> list[Any]:
    """The data of the inputs of an operation, computed if need be; literals as they are."""
    found = []
    for i in inputs:
        if isinstance(i, Value):
            value = i
            data = value.data
            found.append(force(value) if data is None else data)
        else:
            found.append(i)
    return found


def _found(here: Session, item: Pending) -> bool:
    entry = here.look(item.node)
    if entry is None and here.store is not None:
        entry = here.stored(item.row, item.node)
    if entry is None:
        return False
    here.repaid(item.row, entry.value)
    item.node.outcome = outcome_row(HIT, entry.seconds)
    adopt_lineage(item.node, entry)
    item.shared = True
    item.arrive(entry.value)
    return True


def _derived(here: Session, item: Pending) -> bool:
    """Whether a rule gave what waits."""
    planner = here.planner
    if item.args is None or planner.depth:
        return False
    made = planner.derive(item.row, item.node.spec, item.node, item.args)
    if made is None:
        return False
    data = made.data
    if data is None:  # lines of what is kept, which a copy would be
        data = force(made)
    elif made.root is not None:
        data = clone(data)
    item.shared = item.shared or made.shared
    item.arrive(data)
    return True


def adopt_lineage(node: Node, entry: Entry) -> None:
    """Let the node of a hit know what the entry knows of how its bits came about."""
    made = entry.lineage
    if made is not None:
        node.inputs = made.inputs
        node.derived = made.derived
        node.inexact = True
    elif node.inexact:  # computed as asked, from operands that a rule gave only later
        node.inputs = as_asked(node).inputs
        node.derived = None
        node.inexact = False


def mark_inexact(node: Node) -> None:
    """Note that an operand was derived after the digest of `node` was asked for."""
    for item in node.inputs:
        if type(item) is Node and item.inexact:
            node.inexact = True


class _Pass:
    """One pass over values that wait.

    What nothing but this pass will read (no handle, no other user) is a temporary: it stays in
    `local`, unknown to other threads, and its buffer takes the result of its last reader where
    NumPy would have reused it too. With a `fold`, the goal is not written either if it can be
    folded: that gives `folded`.
    """

    __slots__ = ("fold", "folded", "goal", "here", "local", "members", "plan", "pool", "readers")

    def __init__(
        self,
        here: Session,
        goal: Pending,
        plan: list[tuple[Pending, Sequence[Any]]],
        fold: Fold | None,
    ) -> None:
        self.fold = fold
        self.folded: Any = None
        self.here = here
        self.goal = goal
        self.plan = plan
        self.pool = here.pool
        self.members: set[Pending] = set()
        self.local: dict[Value, Any] = {}
        self.readers: dict[Value, int] = {}
        readers = self.readers
        for item, args in plan:
            self.members.add(item)
            for a in args:
                if isinstance(a, Pending):
                    readers[a] = readers[a] + 1 if a in readers else 1

    def run(self) -> Any:
        group: Group | None = None
        for item, args in self.plan:
            if item.data is not None:  # another thread was faster
                continue
            fuses = item.size > FUSED and item.row.inner is not None
            if group is not None:
                if fuses and group.add(item, args, self.local):
                    continue
                if fuses or group.needs(args):
                    self.together(group)
                    group = None
            if fuses:
                group = Group(item)
                if group.add(item, args, self.local):
                    continue
                group = None
            self.alone(item, args)
        if group is not None:
            self.together(group)
        return self.goal.data

    def alone(self, item: Pending, args: Sequence[Any]) -> None:
        """One operation, as NumPy does it where that stands; there it warns, too."""
        said = Said()
        with np.errstate(**modes(item.modes), call=said):  # type: ignore[arg-type]
            result = self.compute(item, args)
        for text in said.texts:
            warn_at(item.place, text)
        self.put(item, result)

    def put(self, item: Pending, result: Any) -> None:
        """Deliver a result, or remember it where only this pass will read it."""
        if self.temporary(item):
            self.local[item] = result
        elif item.data is None:  # else another thread was faster, and its buffer may be in use
            item.arrive(result)

    def together(self, group: Group) -> None:
        """The operations of a group, in one pass; alone if NumPy has something to say of it."""
        members = group.members
        fold = self.fold if members[-1][0] is self.goal else None
        goal = self.goal if fold is not None else None
        lonely = len(members) == 1 and goal is None
        if lonely and (members[0][0].size < SHARED or self.here.threads == 1):
            self.alone(*members[0])
            return
        start = perf_counter()
        for _, args in members:
            self.count(args, -1)
        made: list[tuple[Pending, Any]] = []
        for item, _ in members:
            if item is goal:
                continue
            if self.readers.get(item, 0) > 0 or not self.temporary(item):
                shape, dtype = item._meta
                array = self.pool.take(shape, dtype)
                if array is None:
                    array = np.empty(shape, dtype)
                group.write(item, array)
                made.append((item, array))
        if goal is not None and fold is not None:
            self.folded = group.fold(goal, fold, error_modes())
            done = self.folded is not None
        else:
            done = group.run(self.here.threads)
        if not done:
            for _, args in members:
                self.count(args, 1)
            for item, args in members:
                self.alone(item, args)
            return
        seconds = perf_counter() - start
        here = self.here
        count = len(members)
        here.counts.computed += count
        here.counts.seconds_computed += seconds
        partial = bool(here.counts.partial)
        outcome = outcome_row(
            COMPUTED,
            seconds / count,
            f"in one pass with {count - 1} others" if count > 1 else "",
        )
        for item, args in members:
            item.node.outcome = outcome
            if partial:
                mark_inexact(item.node)
            self.free(args)
        share = seconds / max(len(made), 1)
        for item, array in made:
            keeps = here.reuses and share > MIN_SECONDS
            if keeps and here.keep(item.row, item.node, array, share):
                item.shared = True
            self.put(item, array)

    def count(self, args: Sequence[Any], change: int) -> None:
        """The operands have `change` more readers to come."""
        for a in args:
            if isinstance(a, Pending):
                self.readers[a] += change

    def free(self, args: Sequence[Any]) -> None:
        """Give away the buffers of temporaries among the operands that nobody will read."""
        if self.local:
            for a in args:
                if isinstance(a, Pending) and self.readers[a] == 0:
                    buffer = self.local.pop(a, None)
                    if buffer is not None and buffer.base is None and buffer.flags.writeable:
                        self.pool.give(buffer)

    def temporary(self, item: Pending) -> bool:
        """Whether nobody outside of this pass can ask for `item`."""
        if item is self.goal or item.shared or item.root is not None:
            return False
        if item.handle is not None and item.handle() is not None:
            return False
        if item.users is not None:
            for ref in item.users:
                user = ref()
                if user is not None and (user not in self.members or user.root is not None):
                    return False
        return True

    def compute(self, item: Pending, args: Sequence[Any]) -> Any:
        here, node, row = self.here, item.node, item.row
        data: list[Any] = []
        for a in args:
            data.append(self.read(a) if isinstance(a, Value) else a)
        start = perf_counter()
        buffer = self.spare(item, args, data)
        if row.elides and node.derived is None and not node.spec.params:
            result = row.kernel(*data, out=buffer)
        else:
            spec = node.spec if node.derived is None else node.derived.spec
            result = evaluate(row, spec, data)
        seconds = perf_counter() - start
        shape, dtype = item._meta
        if result.shape != shape or result.dtype != dtype:
            raise InternalError(
                f"{row.name}: inferred {shape} {dtype}, computed {result.shape} {result.dtype}"
            )
        if here.counts.partial:
            mark_inexact(node)
        if row.kind is VIEW:
            return result
        result = result if row.elides else own(result, data)
        node.outcome = outcome_row(COMPUTED, seconds)
        here.counts.computed += 1
        here.counts.seconds_computed += seconds
        if here.reuses and seconds > MIN_SECONDS and here.keep(row, node, result, seconds):
            item.shared = True
        return result

    def read(self, a: Value) -> Any:
        data = a.data
        return self.local[a] if data is None else data

    def spare(self, item: Pending, args: Sequence[Any], data: list[Any]) -> Any:
        """A buffer for the result of `item`: that of a temporary it reads last, or a pooled one.

        Only where every matrix among the operands lies in C order: there the result does so anyway.
        """
        shape, dtype = item._meta
        found = None
        for a in args:
            if not isinstance(a, Pending):
                continue
            self.readers[a] -= 1
            if self.readers[a] > 0:
                continue
            buffer = self.local.pop(a, None)
            if buffer is None or buffer.base is not None or not buffer.flags.writeable:
                continue
            if found is None and buffer.shape == shape and buffer.dtype == dtype:
                found = buffer
            else:
                self.pool.give(buffer)
        if not item.row.elides:
            return None
        for d in data:
            if type(d) is not np.ndarray or d.flags.c_contiguous:
                continue
            if d.ndim > 1 or d.shape == shape:  # a broadcast one may decide on the order as well
                return None
        return found if found is not None else self.pool.take(shape, dtype)
