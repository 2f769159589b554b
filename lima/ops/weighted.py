"""Rules of weighted Gram matrices: weights of which a few differ from those of before.

X' diag(w) X is a sum over rows. Where w differs from earlier weights in few rows, only these are
multiplied: their differences, added to the earlier matrix. It is always one that was computed as
asked, never one that had been updated, so errors do not add up. Where weights shrink, digits may
cancel: the diagonals, which hold the weighted squares of columns, are compared, as squared norms
are for centred products (reference: section 2.4, A8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lima import cost
from lima.node import Spec, new_node
from lima.op import Op
from lima.ops.shifted import LIMITS, UPRIGHT
from lima.pattern import GUARDED, ROUNDING, Declined, Offer, Rule, limit_of

STEP = 8e-6
"""Seconds of one operation of a derivation."""

KEPT = 4
"""Weights that are remembered for each pair of matrices, the latest."""

PAIRS = 8
"""Pairs of matrices of which weights are remembered, the latest."""

LONGEST = 1 << 22
"""Bytes of weights that are remembered."""

MAX_LINES = 4096
"""Rows whose weights may differ, at most."""

FEW = 4
"""How many times as many rows there are as those whose weights differ, at least."""


class Weighted(NamedTuple):
    """A product X' diag(w) Y.

    x, y   the matrices, live values
    w      a live value: a weight for each row, in whatever shape
    twice  whether both sides are scaled by w, so that the weights are its squares
    """

    x: Any
    y: Any
    w: Any
    twice: bool


Before = tuple[Any, Any]
"""Weights, as a live value, and the node of the product that was computed as asked with them."""


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """A' (w Y) from A' (v Y) and the rows in which w and v differ."""
    if rule.exactness == ROUNDING and GUARDED in p.session.allowed:
        return None  # the other one takes what this one would
    if len(inputs) != 2:
        return None
    a, b = inputs
    if not (hasattr(a, "meta") and hasattr(b, "meta")) or (
        a.data is not None and b.data is not None
    ):
        return None
    if not len(a.meta[0]) == len(b.meta[0]) == 2 or a.meta[1].char not in "fd":
        return None
    found = weighted(p, a, b)
    if found is None or 0 in a.meta[0] or 0 in b.meta[0] or b.meta[1] != a.meta[1]:
        return None
    (n, m), columns = a.meta[0], b.meta[0][1]
    size = a.meta[1].itemsize
    direct = float(p.product(a, b) + p.building(a) + (0.0 if found.twice else p.building(b)))
    price = cost.DERIVATION + 14 * STEP + 4 * cost.build((n, columns), size)
    price += (KEPT + 1) * m * size / cost.machine().stream
    if price >= direct:
        return None
    key = "weighted", row.name, found.x.node.digest, found.y.node.digest, found.twice
    account = p.account(key)
    before, rows = _nearest(p, account.table or (), found.w)
    if before is not None and FEW * rows <= m and rows <= MAX_LINES:
        price += cost.product(n, rows, columns, size) + 3 * cost.build((rows, n + columns), size)
        if price < direct:
            limit = limit_of(rule, LIMITS, a.meta[1])
            return Offer(
                rule,
                ((n, columns), a.meta[1]),
                lambda: _updated(p, row.name, found, before, limit),
                direct - price,
                direct,
                price,
            )
    if m * size <= LONGEST:
        asked = new_node(spec, (a.node, b.node))
        account.table = (*(account.table or ()), (p.snapshot(found.w), asked))[-KEPT:]
        p.recent("weighted", key, PAIRS)
    return None


def _nearest(p: Any, known: Sequence[Before], w: Any) -> tuple[Before | None, int]:
    """The weights that differ in the fewest places, and in how many."""
    best, fewest = None, MAX_LINES + 1
    weights = p.data(w).reshape(-1)
    for one in known:
        if p.session.cache.peek(one[1].digest) is None:
            continue
        count = int(np.count_nonzero(one[0].data.reshape(-1) != weights))
        if count < fewest:
            best, fewest = one, count
    return best, fewest


def weighted(p: Any, a: Any, b: Any) -> Weighted | None:
    """What waits as a product with a weight for each row."""
    left = _flipped(p, a)
    right = p.bare(b)
    ours = _factor(p, left, 0) if left is not None else None
    theirs = _factor(p, right, 0)
    if ours is not None and theirs is not None:
        same = left is right or left.node.digest == right.node.digest
        return Weighted(ours[0], ours[0], ours[1], True) if same else None
    if theirs is not None:
        return None if left is None else Weighted(left, *theirs, False)
    if ours is not None:
        return Weighted(ours[0], right, ours[1], False)
    across = _factor(p, a, 1)  # X.T * w
    x = _flipped(p, across[0]) if across is not None else None
    return None if across is None or x is None else Weighted(x, right, across[1], False)


def _flipped(p: Any, a: Any) -> Any:
    """What `a` is the transpose of."""
    above, across = p.upright(a, 0)
    if across == 1:
        return p.bare(above)
    node, root = a.node, a.root
    if root is None or node.spec.op != "transpose" or node.inputs[0] is not root.node:
        return None
    return root if len(root.meta[0]) == 2 else None


def _factor(p: Any, value: Any, axis: int) -> tuple[Any, Any] | None:
    """The matrix that waits to be multiplied with numbers along `axis`, and these."""
    if value.data is not None or getattr(value, "args", None) is None:
        return None
    if value.row.name != "multiply" or value.node.spec.params:
        return None
    shape, dtype = value.meta
    lines = ((shape[0], 1),) if axis == 0 else ((shape[1],), (1, shape[1]))
    for one, w in (value.args, value.args[::-1]):
        if getattr(one, "meta", None) != value.meta or not hasattr(w, "meta"):
            continue
        if w.meta[1] == dtype and w.meta[0] in lines and w.meta != one.meta:
            return p.bare(one), w
    return None


def _updated(p: Any, name: str, found: Weighted, before: Before, limit: float) -> Any:
    whole, (v, _) = p.recall(before[1]), before
    if whole is None:
        raise Declined
    x, y = found.x, found.y
    old, new = v.data.reshape(-1), p.data(found.w).reshape(-1)
    rows = np.flatnonzero(old != new)
    if not len(rows):
        return whole
    picked = tuple(rows.tolist())
    one, other = [p.run("take", p.run("ravel", w), indices=picked, axis=0) for w in (found.w, v)]
    if found.twice:
        old, new = old * old, new * new
        one, other = p.run("multiply", one, one), p.run("multiply", other, other)
    part = p.run("take", x, indices=picked, axis=0)
    others = part if y is x else p.run("take", y, indices=picked, axis=0)
    change = p.run("slice", p.run("subtract", one, other), index=UPRIGHT)
    more = p.run(name, p.run("transpose", part), p.run("multiply", change, others))
    made = p.run("add", whole, more)
    if old.min() < 0 or new.min() < 0:
        raise Declined  # what is on the diagonal does not bound what was added up
    if x is y:
        _check(np.diagonal(p.data(whole)), np.diagonal(p.data(made)), limit)
    elif not np.all(new >= old):
        raise Declined
    return made


def _check(before: Any, after: Any, limit: float) -> None:
    """Decline where columns lose too much of their norm, or where squares may have underflowed."""
    info = np.finfo(before.dtype)
    least = info.tiny / info.eps**2
    if not (np.all(before <= limit * after) and np.all(before > least)):
        raise Declined


EQUATION = "X' diag(w) Y = X' diag(v) Y + X[S]' diag(w[S] - v[S]) Y[S];  w = v but for S"
SAVES = "the product over rows whose weights are those of an earlier one"
EXAMPLE = (
    "def f(X, d):\n"
    "    w = np.linspace(1.0, 2.0, len(X))[:, None]\n"
    "    first = X.T @ (w * X)\n"
    "    w[:9] = 3.0\n"
    "    return first, X.T @ (w * X)"
)

WEIGHTED = Rule(
    name="weighted-product",
    equation=EQUATION,
    saves=SAVES,
    exactness=ROUNDING,
    plan=plan,
    example=EXAMPLE,
    structured=False,
)

RULES = (WEIGHTED, WEIGHTED.guarded())
