"""Rules of scans and group sums of joined vectors, from those of the parts.

A running sum goes on where that of the first part ended, one addition after the other as NumPy
does it, so that its bits are those of the plain operation. Counts add up; so do the sums of groups,
in another order (reference: section 2.4, C4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima import cost
from lima.node import Ref, Spec, new_node
from lima.op import Op
from lima.ops.joined import MOST_PARTS, STEP, upright
from lima.pattern import BITWISE, ROUNDING, Offer, Rule

SPEED = 4e-9
"""Seconds that an element of a running sum takes, at least."""

DEAR = 1e-3
"""Seconds of a running sum from which it is worth keeping before it is asked for again."""

VENTURES = 4
"""Running sums that are kept without ever being of use."""

LAST, REST = slice(-1, None), slice(1, None)


def plan_scan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """The running sum (product) of the first part, which is known, and its continuation."""
    if len(inputs) != 1 or any(name != "axis" for name, _ in spec.params):
        return None
    (value,) = inputs
    if not hasattr(value, "meta") or value.data is not None or value.meta[1].kind not in "biufc":
        return None
    shape = value.meta[0]
    axis = spec.get("axis")
    if len(shape) != (1 if axis is None else len(shape)) or len(shape) not in (1, 2):
        return None
    if axis is not None and axis % len(shape) != 0:
        return None
    parts = p.parts(value, 0)
    if parts is None or len(parts) > MOST_PARTS or any(0 in x.meta[0] for x in parts):
        return None
    if p.depth:
        return None
    first, rest = parts[0], parts[1:]
    size = _size(shape)
    direct = size * SPEED + p.building(value)
    ahead = p.account(("scans",))
    if ahead.table is None:
        ahead.table = 0
    if len(first.meta[0]) != len(shape):
        return None
    node = new_node(spec, (first.node,))
    account = p.accounts.get(("scan", node.digest))
    held = account is not None and account.node is not None
    known = p.recall(account.node if held else node)
    if known is None:
        if ahead.table >= VENTURES or size * SPEED < DEAR or 2 * _size(first.meta[0]) < size:
            return None
        meta = shape, row.kernel(np.ones((1,) * len(shape), value.meta[1])).dtype
        return Offer(
            rule, meta, lambda: _ahead(p, row, spec, value, ahead), cost.CALL, direct, direct
        )
    left = sum([_size(x.meta[0]) for x in rest])
    price = cost.DERIVATION + (4 + 2 * len(rest)) * STEP + 2 * left * SPEED
    price += cost.build(shape, known.meta[1].itemsize)
    if price >= direct:
        return None

    def make() -> Any:
        ahead.table = 0
        last = p.run("slice", known, index=LAST)
        tail = [upright(p, x, 0, len(shape)) for x in rest]
        joined = p.run("concatenate", last, *tail)
        added = p.run("slice", p.run(row.name, joined, **dict(spec.params)), index=REST)
        made = p.run("concatenate", known, added)
        if p.hold(made, direct):
            p.account(("scan", new_node(spec, (value.node,)).digest)).node = made.node
            if account is not None and not account.spent:  # the longer one has its elements
                p.cache.evict(account.node.digest)
                account.node, account.spent = None, direct
        return made

    return Offer(rule, (shape, known.meta[1]), make, direct - price, direct, price)


def _ahead(p: Any, row: Op, spec: Spec, value: Any, account: Any) -> Any:
    """The plain operation, whose result is kept: what was appended to may be so again."""
    account.table += 1
    made = p.apply(row, spec, (value,))
    p.hold(made, cost.CALL)
    return made


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


# --------------------------------------------------------------------------- groups


def plan_counts(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Counts of integers: exact in any order."""
    return _groups(p, rule, row, spec, inputs) if len(inputs) == 1 else None


def plan_groups(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Sums of weights by integers."""
    return _groups(p, rule, row, spec, inputs) if len(inputs) == 2 else None


def _groups(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """The sum over parts of which some are known."""
    options = dict(spec.params)
    weights = options.pop("weights", None)
    least = options.pop("minlength", 0)
    if options or type(least) is not int or any(not hasattr(x, "meta") for x in inputs):
        return None
    if (weights is not None) != (len(inputs) == 2) or (weights is not None and weights != Ref(1)):
        return None
    for x, wanted in zip(inputs, (np.dtype(np.intp), np.dtype(float)), strict=False):
        shape, kind = x.meta
        if len(shape) != 1 or kind.kind not in "iuf" or not np.can_cast(kind, wanted, "safe"):
            return None
    joined = [p.parts(x, 0) for x in inputs]
    if None in joined or len(joined[0]) > MOST_PARTS:
        return None
    cuts = [[x.meta[0] for x in parts] for parts in joined]
    if cuts[0] != cuts[-1] or any(len(s) != 1 or 0 in s for s in cuts[0]):
        return None
    known, left = [], 0
    for part in zip(*joined, strict=True):
        node = new_node(spec, tuple([x.node for x in part]))
        account = p.accounts.get(("groups", node.digest))
        found = p.recall(node if account is None else account.node)
        if found is None:
            if part[0].data is None or part[0].data.min() < 0:
                return None  # how long its result is cannot be told, or it is an error
            left += part[0].meta[0][0]
        known.append((part, found))
    size = inputs[0].meta[0][0]
    direct = size * cost.CALL / 1000 + sum([p.building(x) for x in inputs])
    price = cost.DERIVATION + 3 * STEP * len(known) + 2 * left * cost.CALL / 1000
    if price >= direct or all(found is None for _, found in known):
        return None
    lengths = [
        found.meta[0][0] if found is not None else max(least, int(part[0].data.max()) + 1)
        for part, found in known
    ]
    length = max(lengths)
    dtype = np.dtype(float) if weights is not None else np.dtype(np.intp)

    def make() -> Any:
        total = None
        for part, found in known:
            if found is None or found.meta[0][0] != length:
                changed = dict(spec.params) | {"minlength": length}
                if found is None:
                    found = p.apply(row, _spec(row, changed), part)
                else:
                    more = p.run("zeros", shape=(length - found.meta[0][0],), dtype=dtype)
                    found = p.run("concatenate", found, more)
            total = found if total is None else p.run("add", total, found)
        if total is not None and p.hold(total, direct):
            asked = new_node(spec, tuple([x.node for x in inputs]))
            p.account(("groups", asked.digest)).node = total.node
        return total

    return Offer(rule, ((length,), dtype), make, direct - price, direct, price)


def _spec(row: Op, params: dict[str, Any]) -> Spec:
    return Spec(row.name, tuple(params.items()), 1, row.version)


SCAN = Rule(
    name="scan-of-lines",
    equation="cumsum([a; d]) = [cumsum(a); cumsum([last(cumsum(a)); d])[1:]]",
    saves="adding up again what was added up before more was appended",
    exactness=BITWISE,
    plan=plan_scan,
    example=(
        "def f(X, d):\n"
        "    x = np.sin(np.arange(400_000.0))\n"
        "    a = np.append(x, x[:9])\n"
        "    return np.cumsum(a), np.cumsum(np.append(a, x[:9]))"
    ),
)

COUNTS = Rule(
    name="counts-of-lines",
    equation="bincount([i; j]) = bincount(i) + bincount(j)",
    saves="counting again what was counted before more was appended",
    exactness=BITWISE,
    plan=plan_counts,
    example=(
        "def f(X, d):\n"
        "    i = np.arange(900_000) % 50\n"
        "    return np.bincount(i), np.bincount(np.append(i, i[:70]))"
    ),
)

GROUPS = Rule(
    name="groups-of-lines",
    equation="bincount([i; j], [v; w]) = bincount(i, v) + bincount(j, w)",
    saves="adding up groups again that were added up before more was appended",
    exactness=ROUNDING,
    plan=plan_groups,
    example=(
        "def f(X, d):\n"
        "    i, v = np.arange(900_000) % 50, np.sin(np.arange(900_000.0))\n"
        "    j, w = np.append(i, i[:70]), np.append(v, v[:70])\n"
        "    return np.bincount(i, v), np.bincount(j, w)"
    ),
)

SCANS = (SCAN,)
GROUPED = (COUNTS, GROUPS)
