"""The rules of products along a line: X w, where w lies on the line through two earlier factors.

A line search multiplies one matrix with w + t d for ever other t. From two such products the others
are had as their weighted sum. That w lies on the line is seen from its elements, however they were
computed. Only products that were computed as asked are taken, so that errors do not add up; and
only where what is added up is not much larger than the result (reference: section 2.4, B4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima import cost
from lima.node import Spec, new_node
from lima.op import Op
from lima.ops.shifted import LIMITS
from lima.pattern import GUARDED, ROUNDING, Declined, Offer, Rule, limit_of

STEP = 8e-6
"""Seconds of one operation of a derivation."""

DEAR = 20.0
"""How many times as long as a derivation a product takes that is looked at."""

LONGEST = 1 << 14
"""Elements of a factor that is remembered."""

Before = tuple[Any, Any]
"""A factor, as a live value, and the node of the product with it."""

MATRICES = 32
"""Matrices of which factors are remembered, the latest."""

LOOSE = 4.0
"""Rounding errors by which elements may lie beside the line."""


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """(1 - t) X v + t X u for w = (1 - t) v + t u."""
    if rule.exactness == ROUNDING and GUARDED in p.session.allowed:
        return None  # the other one takes what this one would
    if len(inputs) != 2 or spec.params:
        return None
    x, w = inputs
    if not (hasattr(x, "meta") and hasattr(w, "meta")) or x.data is None or w.data is None:
        return None
    (shape, dtype), (other, _) = x.meta, w.meta
    if len(shape) != 2 or x.root is not None or len(other) not in (1, 2):
        return None
    if w.data.size > LONGEST or dtype.char not in "fd" or w.data.dtype != dtype:
        return None
    direct = float(p.product(x, w))
    if direct < DEAR * cost.DERIVATION or 0 in shape or 0 in other:
        return None
    meta = (shape[0], *other[1:]), dtype
    key = "straight", row.name, x.node.digest, other
    account = p.account(key)
    known: tuple[Before, ...] = account.table or ()
    if len(known) == 2:
        price = cost.DERIVATION + 3 * (STEP + cost.build(meta[0], dtype.itemsize))
        t = on_line(known[0][0].data, known[1][0].data, w.data) if price < direct else None
        if t is not None and all(p.session.cache.peek(n.digest) is not None for _, n in known):
            limit = limit_of(rule, LIMITS, dtype)
            return Offer(
                rule,
                meta,
                lambda: _between(p, x, w, known, t, limit),
                direct - price,
                direct,
                price,
            )
    account.table = (*known, (p.snapshot(w), new_node(spec, (x.node, w.node))))[-2:]
    p.recent("straight", key, MATRICES)
    return None


def on_line(v: Any, u: Any, w: Any) -> float | None:
    """The t with w = (1 - t) v + t u, but for rounding.

    >>> on_line(np.array([1.0, 2.0]), np.array([3.0, 2.0]), np.array([0.0, 2.0]))
    -0.5
    """
    step = (u - v).ravel()
    k = int(np.abs(step).argmax())
    if not step[k]:
        return None
    t = float((w.flat[k] - v.flat[k]) / step[k])
    if not abs(t) < 1e6:
        return None
    eps = LOOSE * np.finfo(v.dtype).eps
    for j in (0, len(step) // 2, len(step) - 1):  # most often this says no
        a, b, c = v.flat[j], u.flat[j], w.flat[j]
        size = abs((1 - t) * a) + abs(t * b)
        if not abs(c - a - t * (b - a)) <= eps * (size + abs(c)):
            return None
    size = np.abs((1 - t) * v) + np.abs(t * u)
    off = np.abs(w - v - t * (u - v))
    return t if np.all(off <= eps * (size + np.abs(w))) else None


def _between(p: Any, x: Any, w: Any, known: Any, t: float, limit: float) -> Any:
    (v, first), (u, second) = known
    y, z = p.recall(first), p.recall(second)
    if y is None or z is None:
        raise Declined
    _check(_norms(p, x), (1 - t) * v.data, t * u.data, w.data, limit)
    near = p.run("multiply", y, 1.0 - t)
    return p.run("add", near, p.run("multiply", z, t))


def _norms(p: Any, x: Any) -> Any:
    """Norms of the columns, once for each matrix."""
    account = p.account(("norms", x.node.digest))
    if account.table is None:
        account.table = np.einsum("ij,ij->j", x.data, x.data)
    return np.sqrt(account.table)


def _check(norms: Any, one: Any, other: Any, w: Any, limit: float) -> None:
    """Decline where much more is added up than is left, or where products may have vanished."""
    info = np.finfo(w.dtype)
    least = info.tiny / info.eps**2
    before = norms @ (np.abs(one) + np.abs(other))
    after = norms @ np.abs(w)
    if not (np.all(before <= limit * after) and np.all(after > least) and np.all(norms > least)):
        raise Declined


EQUATION = "X ((1 - t) v + t u) = (1 - t) X v + t X u"
SAVES = "the product with a factor on the line through two earlier ones"
EXAMPLE = (
    "def f(X, d):\n"
    "    Z = np.tile(X, (5, 16))\n"
    "    w, step = np.arange(1.0, Z.shape[1] + 1), np.ones(Z.shape[1])\n"
    "    return Z @ w, *[Z @ (w + t * step) for t in (1.0, 0.5, 0.25)]"
)

STRAIGHT = Rule(
    name="product-along-a-line",
    equation=EQUATION,
    saves=SAVES,
    exactness=ROUNDING,
    plan=plan,
    example=EXAMPLE,
    structured=False,
)

RULES = (STRAIGHT, STRAIGHT.guarded())
