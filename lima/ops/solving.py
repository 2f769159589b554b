"""The rule of repeated solving: one matrix, ever other right-hand sides.

NumPy factorises the matrix at every call. Once that has cost as much as inverting it, the inverse
is kept; a solution is then a few products, refined and *checked*: it is taken only if it solves a
system that differs from the given one by rounding in every element, which is more than can be said
of elimination in general. Where it does not come to that (nearly singular matrices), NumPy solves
(reference: section 2.4, D2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima import cost
from lima.node import Spec, new_node
from lima.op import OPS, Op
from lima.pattern import ROUNDING, Declined, Offer, Rule

SMALLEST = 64
"""Order of a matrix below which solving takes no longer than deriving."""

ELIMINATION = 0.5
"""Speed of elimination, as a part of that of products."""

PASSES = 5
"""Products of a solution that needs one refinement."""


GENERAL = {None, "gen", "general"}
"""Structures of a matrix that `scipy.linalg.solve` may be told, which leave it to elimination.

Told nothing, it looks for triangles and bands, with which it is much faster: a corner is zero then.
"""

SAFE = 64.0
"""How much better than the worst a matrix must be for SciPy not to warn."""


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """A solution from the inverse that was kept, or pays."""
    if len(inputs) != 2 or not all(hasattr(x, "meta") for x in inputs):
        return None
    given = dict(spec.params)
    if given.pop("assume_a", None) not in GENERAL or not given.keys() <= {"check_finite"}:
        return None
    (shape, dtype), (right, other) = inputs[0].meta, inputs[1].meta
    n = shape[0] if len(shape) == 2 else 0
    if n < SMALLEST or shape[1] != n or other != dtype or dtype.char not in "fdFD":
        return None
    if len(right) not in (1, 2) or right[0] != n or 0 in right:
        return None
    a, b = inputs
    looks = "assume_a" in row.params
    if looks and (len(right) != 1 or a.data is None or not (a.data[0, -1] and a.data[-1, 0])):
        return None
    account = p.account(("inverse", a.node.digest))
    if account.barred:
        return None
    columns = right[1] if len(right) == 2 else 1
    speed = cost.machine().flops * ELIMINATION
    solving = cost.product(n, n, columns, dtype.itemsize)
    direct = cost.CALL + (2.0 / 3.0) * n**3 / speed + solving
    price = cost.DERIVATION + PASSES * solving
    if account.node is None:
        asked = new_node(OPS["linalg.inv"].spec, (a.node,))
        if p.session.cache.peek(asked.digest) is not None:
            account.node = asked  # the program inverted it
    inverse = p.recall(account.node) if account.node is not None else None
    investment = 0.0 if inverse is not None else 2.0 * n**3 / speed + cost.build(shape, 8)
    if direct <= price:
        return None
    saved = (direct if inverse is not None else account.allows(direct)) - price - investment
    if saved <= 0.0:
        account.spent += direct
        return None

    def make() -> Any:
        x = _solved(p, account, a, b, inverse, investment, looks)
        if not np.isfinite(x.data).all():
            account.barred = True
            raise Declined
        return x

    return Offer(rule, (right, dtype), make, saved, direct, price + investment)


def _solved(p: Any, account: Any, a: Any, b: Any, inverse: Any, seconds: float, looks: bool) -> Any:
    if inverse is None:
        try:
            inverse = p.run("linalg.inv", a)
        except np.linalg.LinAlgError:
            account.barred = True
            raise Declined from None
        account.barred = not p.hold(inverse, seconds)
        account.node = inverse.node
    sizes = p.account(("magnitudes", a.node.digest))
    size = p.recall(sizes.node) if sizes.node is not None else None
    if size is None:
        size = p.run("absolute", a)
        if p.hold(size, seconds / 8):
            sizes.node = size.node
    if looks:
        _well_conditioned(account, size.data, inverse.data)
    return p.run("linalg.solve.again", a, inverse, size, b)


def _well_conditioned(account: Any, size: Any, inverse: Any) -> None:
    """Decline where SciPy warns that a matrix is nearly singular, or might."""
    if not np.isfinite(account.size):
        account.size = float(size.sum(axis=0).max() * np.abs(inverse).sum(axis=0).max())
    limit = len(size) * float(np.finfo(size.dtype).eps) * SAFE
    account.barred = account.barred or not account.size * limit < 1.0
    if account.barred:
        raise Declined


SOLVING = Rule(
    name="solve-again",
    equation="solve(A, b) = x + B (b - A x)  with  x = B b, B = inv(A)",
    saves="factorising a matrix again for every right-hand side",
    exactness=ROUNDING,
    plan=plan,
    example=(
        "def f(X, d):\n"
        "    G = X[:900].T @ X[:900] + X[900:912].T @ X[900:912]\n"
        "    A = np.kron(G, np.eye(24))\n"
        "    u = np.ones(len(A))\n"
        "    for _ in range(30):\n"
        "        u = np.linalg.solve(A, u)\n"
        "    return A, u"
    ),
    structured=False,
)
