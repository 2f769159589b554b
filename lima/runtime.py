"""The one pipeline that every traced operation runs through.

    bind -> node -> wait | probe -> force operands -> execute -> admit -> outcome

`apply` is the pipeline; when to wait is decided by `waiting`, in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from threading import active_count
from time import perf_counter
from typing import Any

import numpy as np

from lima.entries import Entry
from lima.forcing import adopt_lineage, folded, forced, mark_inexact
from lima.herds import passed, waiting_below
from lima.node import Node, Spec, large_line, new_node
from lima.op import FUSED, HEAVY, LIGHT, VIEW, Op, clone, evaluate, own, owner
from lima.pieces import structured
from lima.places import here
from lima.rewrite import SMALL, Planner
from lima.sessions import LEVEL, PLANNER, Session, current
from lima.stats import COMPUTED, HIT, outcome_row
from lima.store import Store
from lima.turns import LEASE_SECONDS
from lima.values import (
    Foreign,
    Pending,
    Value,
    error_modes,
    new_pending,
    new_value,
    nodes_of,
    size_of,
    spec_for,
    watch,
)

MIN_EFFORT = 8192
"""Elements of work below which an operation is cheaper to run than to probe and keep (D9)."""

FLIGHT_BYTES = 1 << 16
"""Operand bytes from which equal work in several threads is worth coordinating."""

BRIEF = 1e-3
"""Seconds of an operation up to which asking all rules about it is a good part of it."""

QUICK = 20e-6
"""Seconds of one about which asking takes longer than it could save: it counts eight times."""

PATIENCE = 256
"""Times that rules may have nothing for brief operations of one form."""

SELDOM = 8
"""One in so many asks then. What that may miss is less than what was asked for nothing before."""

FORMS = 1024
"""Forms of brief operations that are counted."""

DEAR = 500e-6
"""Seconds that a derivation took from which its result is kept at once, else at second sight."""

QUIET = frozenset({"ignore", "warn"})
"""Modes of `np.errstate` under which a floating point error may come to light later."""

MAX_DEPTH = 64
"""Longest chain of operations that waits."""

MAX_HELD = 1 << 28
"""Bytes of computed operands that one waiting result may keep alive."""


def apply(row: Op, spec: Spec, inputs: Sequence[Any]) -> Value:
    """Trace one operation on values and literals, and compute it now or let it wait."""
    kind = row.kind
    if kind is LIGHT:
        return light(row, spec, inputs)
    node = new_node(spec, nodes_of(inputs))
    if kind is VIEW:
        waits = True in [isinstance(i, Value) and i.data is None for i in inputs]
        return wait_view(row, spec, node, inputs) if waits else run_view(row, spec, node, inputs)
    node.place = large_line()
    here = current()
    if kind is HEAVY and here.reuses and effort(row, inputs) > MIN_EFFORT:
        return probe(here, row, spec, node, inputs)
    return run(row, spec, node, inputs)


def light(row: Op, spec: Spec, inputs: Sequence[Any]) -> Value:
    """`apply` for light operations. Small operands are not looked at any further."""
    large = not inputs
    total = 0
    for i in inputs:
        if isinstance(i, Value):
            value = i
            data = value.data
            if data is None:
                large = True
            else:
                size = data.size
                total = total + size if row.variadic else max(total, size)
                large = large or total > row.at_once
    if large:
        made = waiting(row, spec, inputs)
        if made is not None:
            return made
    node = new_node(spec, nodes_of(inputs))
    if total > row.small:
        node.place = large_line()
        here = current()
        if here.reuses:
            return probe(here, row, spec, node, inputs)
    return run(row, spec, node, inputs)


def wait_view(row: Op, spec: Spec, node: Node, inputs: Sequence[Any]) -> Value:
    """A view of a value that waits; it waits as well, if its shape is known.

    NumPy gives some arrays back themselves (`squeeze` without axes of length one): so does this.
    """
    meta = row.infer(inputs, spec) if row.infer is not None else None
    if meta is None:
        return run_view(row, spec, node, inputs)
    viewed: Value = inputs[0]
    if meta is viewed.meta:
        return viewed
    value = Pending(node, row, inputs, meta)
    value.root = viewed.root or viewed
    return value


def effort(row: Op, inputs: Sequence[Any]) -> float:
    """Estimated work of a heavy operation, in elements touched once."""
    elements = 0
    for i in inputs:
        if isinstance(i, Value):
            data = i.data
            if data is None:
                elements += size_of(i.meta[0])
            elif type(data) is tuple:
                return MIN_EFFORT + 1
            else:
                elements += data.size
    growth = row.growth
    return row.weight * (elements if growth == 1.0 else elements**growth)


def waiting(row: Op, spec: Spec, inputs: Sequence[Any]) -> Pending | None:
    """What a light operation makes, as a value that waits; None when it must run at once.

    The one place of the policy: small results are cheaper to compute than to keep waiting; without
    reuse only what can run in one pass with others waits (no plan could use the structure);
    `np.errstate(...="raise")` wants errors where they happen; chains and the memory they hold are
    bounded.
    """
    modes = error_modes()
    if row.infer is None or (modes is not _quiet_modes and raising()):
        return None
    meta = row.infer(inputs, spec)
    if meta is None:
        return None
    size = size_of(meta[0])
    little = size <= FUSED or row.inner is None
    if little and (size <= row.small or not current().reuses) and not _spares(inputs):
        return None
    held = 0
    nodes: list[Any] = []
    for i in inputs:
        if not isinstance(i, Value):
            nodes.append(i)
            continue
        value = i
        nodes.append(value.node)
        if isinstance(value, Pending):
            below = value
            if below.data is None:
                held += below.held
                if below.depth >= MAX_DEPTH:
                    return None
        elif isinstance(value, Foreign):
            return None
    if held >= MAX_HELD:
        return None
    made = new_pending(new_node(spec, tuple(nodes)), row, inputs, meta, modes)
    if row.kind is not VIEW:
        made.place = here()
        made.node.place = large_line()
    return made


def _spares(inputs: Sequence[Any]) -> bool:
    """Whether a product waits below that what reads it may do without, however small it is."""
    for i in inputs:
        if isinstance(i, Pending):
            below = i
            if below.data is None and below.spares:
                return True
    return False


def raising() -> bool:
    """Whether floating point errors raise or call something here (`np.errstate(all="raise")`)."""
    global _quiet_modes
    modes = error_modes()
    if modes is _quiet_modes:
        return False
    if not QUIET.issuperset(modes):
        return True
    _quiet_modes = modes
    return False


_quiet_modes: tuple[str, ...] = ()
"""The modes that were looked at last, if they are quiet."""


def binary(row: Op, a: Any, b: Any, run: Any) -> Value:
    """`apply` for an elementwise operation of two operands: the hot path, small results at once."""
    inputs = (a, b)
    at_once = row.at_once
    waits = False
    for i in inputs:
        if isinstance(i, Value):
            value = i
            data = value.data
            waits = waits or data is None or data.size > at_once
    if waits and not _are_odd(inputs):
        return light(row, row.spec, inputs)
    x, y = forced(inputs)
    found = run(x, y)
    plain = row.scalars is None or run is row.kernel
    spec = row.spec if plain else spec_for(row, found, x, y)
    return new_value(new_node(spec, nodes_of(inputs)), found)


def _are_odd(inputs: Sequence[Any]) -> bool:
    """Whether an operand holds records or dates: Python's operators compare them with anything."""
    return True in [isinstance(i, Value) and i.meta[1].kind in "VMm" for i in inputs]


def run_view(row: Op, spec: Spec, node: Node, inputs: Sequence[Any]) -> Value:
    """A view of data that is present. Rows whose result may be a copy are looked at."""
    base = inputs[0]
    if not isinstance(base, Value):
        return run(row, spec, node, inputs)
    data = evaluate(row, spec, forced(inputs))
    if _is_view(data) and (data is base.data or owner(data) is owner(base.data)):
        value = Value(node, data, base.root or base)
        watch(base, value)
        return value
    return Value(node, data)


def _is_view(data: Any) -> bool:
    """Whether `data` can be a view: an array, or one record of an array."""
    return type(data) is np.ndarray or type(data) is np.void


def run(row: Op, spec: Spec, node: Node, inputs: Sequence[Any], buffer: Any = None) -> Value:
    """Compute at once, without the cache."""
    if row.folds is not None:
        found = folded(current(), row, spec, inputs)
        if found is not None:
            return new_value(node, found)
    data = forced(inputs)
    return new_value(node, own(evaluate(row, spec, data, buffer), data))


def probe(here: Session, row: Op, spec: Spec, node: Node, inputs: Sequence[Any]) -> Value:
    """Look the result up; on a miss compute it and offer it to the cache.

    Under `np.errstate(...="raise")` it is computed: a hit would swallow the error.
    """
    if raising():
        return run(row, spec, node, inputs)
    digest = node.digest
    if node.inexact and not here.rounds:
        return run(row, spec, node, inputs)
    entry = here.cache.get(digest)
    if entry is not None:
        here.repaid(row, entry.value)
        return _hit(node, entry)
    if here.store is not None:
        found = recalled(here, row, spec, node, inputs)
        if found is not None:
            return found
    form: tuple[Any, ...] | None = None
    if row.rules and here.allowed:
        form = _form(row, inputs)
        if not rests(here.planner.brief, form):
            made = sparing(here, row, spec, node, inputs) if row.spared is not None else None
            if made is None:
                made = derive(here, row, spec, node, inputs)
            if made is not None:
                here.planner.brief.pop(form, None)
                return made
    if row.folds is not None:
        reduced = _folded(here, row, spec, node, inputs)
        if reduced is not None:
            return reduced
    data = forced(inputs)
    if here.counts.partial:
        mark_inexact(node)
    nbytes = 0
    for d in data:
        if type(d) is np.ndarray:
            nbytes += d.nbytes
    store = here.store
    if store is not None and not node.inexact and store.turns.dear(row.name, effort(row, inputs)):
        return _in_turn(here, store, row, spec, node, inputs, data)
    if nbytes < FLIGHT_BYTES or active_count() == 1:
        result, seconds = _timed(here, row, spec, node, data)
        if form is not None:
            tire(here.planner.brief, form, seconds)
        if store is not None and seconds > LEASE_SECONDS:
            store.turns.learn(row.name, seconds, effort(row, inputs))
        if seconds > here.cache.worth and here.keep(row, node, result, seconds):
            return _kept(node, result)
        return new_value(node, result)
    with here.cache.flight(digest, probed=True) as flight:
        if flight.entry is not None:
            return _hit(node, flight.entry)
        if flight.delivered:
            node.outcome = outcome_row(HIT, 0.0)
            return _kept(node, flight.value)
        result, seconds = _timed(here, row, spec, node, data)
        kept = here.keep(row, node, result, seconds, flight)
    return _kept(node, result) if kept else Value(node, result)


def _form(row: Op, inputs: Sequence[Any]) -> tuple[Any, ...]:
    """What decides what an operation costs and what rules may find in it.

    That is its row, the shapes of its operands, which of them wait, and whether one has structure.
    """
    found: list[Any] = [row.name, structured(inputs)]
    for i in inputs:
        if isinstance(i, Value):
            found.append(i.meta[0])
            found.append(i.data is None)
    return tuple(found)


def rests(brief: dict[tuple[Any, ...], int], form: tuple[Any, ...]) -> bool:
    """Whether no rule is asked this time, as none had anything for operations of the form.

    >>> brief = {}
    >>> for _ in range(256):
    ...     tire(brief, ("matmul", (200, 200), (200, 200)), 4e-4)
    >>> sum(not rests(brief, ("matmul", (200, 200), (200, 200))) for _ in range(80))
    10
    """
    count = brief.get(form, 0)
    if count < PATIENCE:
        return False
    brief[form] = count + 1
    return count % SELDOM != 0


def tire(brief: dict[tuple[Any, ...], int], form: tuple[Any, ...], seconds: float) -> None:
    """Note that no rule had anything for an operation that took so long."""
    count = brief.get(form, 0)
    if seconds < BRIEF and count < PATIENCE:
        if len(brief) >= FORMS:
            brief.clear()
        brief[form] = count + (1 if seconds > QUICK else 8)
    elif seconds > 10 * BRIEF and count:
        del brief[form]


def _in_turn(
    here: Session,
    store: Store,
    row: Op,
    spec: Spec,
    node: Node,
    inputs: Sequence[Any],
    data: Sequence[Any],
) -> Value:
    """Compute what is dear, unless another thread or another process with the same store does."""
    turns, digest = store.turns, node.digest
    look = partial(store.find, digest, True)
    with here.cache.flight(digest, probed=True) as flight:
        if flight.entry is not None:
            return _hit(node, flight.entry)
        if flight.delivered:
            node.outcome = outcome_row(HIT, 0.0)
            return _kept(node, flight.value)
        with turns.turn(row.name, digest, look) as turn:
            entry = here.fetched(row, turn.found) if turn.found is not None else None
            if entry is not None:
                seconds, height = entry.seconds, entry.height
                flight.hand_over(entry.value, seconds, height, LEVEL, True, 0.0, None)
                return _hit(node, entry)
            result, seconds = _timed(here, row, spec, node, data)
            turns.learn(row.name, seconds, effort(row, inputs))
            kept = here.keep(row, node, result, seconds, flight)
    return _kept(node, result) if kept else Value(node, result)


def recalled(here: Session, row: Op, spec: Spec, node: Node, inputs: Sequence[Any]) -> Value | None:
    """The result from the store on disk; None if it has none.

    A large one waits, as if it were still to be computed, and is read when it is needed. So an
    intermediate is never read if all that is made of it is in the store as well.
    """
    found = here.find_stored(node)
    if found is None:
        return None
    meta = found.large()
    if meta is not None and row.into is None and spec.out is None and _may_wait(inputs):
        return new_pending(node, row, inputs, meta, error_modes())
    entry = here.fetched(row, found)
    return None if entry is None else _hit(node, entry)


def _may_wait(inputs: Sequence[Any]) -> bool:
    held = 0
    for i in inputs:
        if isinstance(i, Foreign):
            return False
        if isinstance(i, Pending) and i.data is None:
            held += i.held
            if i.depth >= MAX_DEPTH:
                return False
    return held < MAX_HELD


def sparing(session: Session, row: Op, spec: Spec, node: Node, inputs: Sequence[Any]) -> Any:
    """A heavy operation as a value that waits, if what reads it may do without; else None."""
    planner = session.planner
    if planner.depth or not session.rounds or row.spared is None:
        return None
    meta = row.spared(planner, row, spec, inputs)
    if meta is None or not _may_wait(inputs):
        return None
    made = new_pending(node, row, inputs, meta, error_modes())
    made.place = here()
    return made


def derive(here: Session, row: Op, spec: Spec, node: Node, inputs: Sequence[Any]) -> Value | None:
    """The result from parts, by the rule that saves most; None where none does.

    The derivation runs through the pipeline itself. Its lineage is the truth about the bits, so
    the node remembers it; the digest stays that of the operation that was asked for.
    """
    start = perf_counter()
    planner = here.planner
    known = planner.again(node)
    if known is not None:
        return known  # type: ignore[no-any-return]
    made = planner.derive(row, spec, node, inputs)
    if made is None:
        return None
    data = made.data
    seconds = perf_counter() - start
    if data is None:  # lines of a table that is kept: whoever needs them cuts them
        return Pending(node, made.row, made.args, made.meta)
    if made.root is not None:
        data = clone(data)
    value = new_value(node, data)
    value.shared = made.shared
    nbytes = data.nbytes if type(data) is not tuple else 0
    keeps = seconds > DEAR or nbytes == 0 or here.cache.sighted(node.digest, seconds, nbytes)
    if keeps and seconds > here.cache.worth and here.keep(row, node, data, seconds):
        value.shared = True
    elif 0 < nbytes <= SMALL:
        planner.note(value)
    return value


def _hit(node: Node, entry: Entry) -> Value:
    node.outcome = outcome_row(HIT, entry.seconds)
    adopt_lineage(node, entry)
    return _kept(node, entry.value)


def _kept(node: Node, data: Any) -> Value:
    value = new_value(node, data)
    value.shared = True
    return value


def _timed(
    here: Session, row: Op, spec: Spec, node: Node, data: Sequence[Any]
) -> tuple[Any, float]:
    start = perf_counter()
    result = own(evaluate(row, spec, data, None, here.threads), data)
    seconds = perf_counter() - start
    node.outcome = outcome_row(COMPUTED, seconds)
    here.counts.computed += 1
    here.counts.seconds_computed += seconds
    return result, seconds


def _folded(here: Session, row: Op, spec: Spec, node: Node, inputs: Sequence[Any]) -> Value | None:
    """A reduction of what waits, as that is computed; None where it is computed first."""
    store = here.store
    work = 0.0 if store is None or node.inexact else waiting_below(inputs)
    if store is None or not work:
        return _folded_now(here, row, spec, node, inputs)
    digest = node.digest
    look = partial(store.find, digest, True)
    again = partial(recalled, here, row, spec, node, inputs)
    anew = partial(_folded_now, here, row, spec, node, inputs)
    return store.turns.once(passed(row.name), work, digest, look, again, anew)


def _folded_now(
    here: Session, row: Op, spec: Spec, node: Node, inputs: Sequence[Any]
) -> Value | None:
    start = perf_counter()
    result = folded(here, row, spec, inputs)
    if result is None:
        return None
    return _reduced(here, row, node, result, perf_counter() - start)


def _reduced(here: Session, row: Op, node: Node, result: Any, seconds: float) -> Value:
    """What was folded as it was computed: to get it again takes all of that."""
    if here.counts.partial:
        mark_inexact(node)
    node.outcome = outcome_row(COMPUTED, seconds, "as its operand was computed")
    here.counts.computed += 1
    if seconds > here.cache.worth and here.keep(row, node, result, seconds):
        return _kept(node, result)
    return new_value(node, result)


def _new_planner(here: Session) -> Planner:
    return Planner(here, apply)


PLANNER.append(_new_planner)
