"""The rule of repeated least squares: one matrix, ever other right-hand sides.

NumPy takes the singular values of the matrix at every call. Once that has cost as much as keeping
them with both sets of vectors, a solution is two products with the matrix. It is what NumPy's way
amounts to, by the same singular values; matrices whose rank is in doubt are left to NumPy
(reference: section 2.4, D2, D3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima import cost
from lima.node import Spec
from lima.op import Op
from lima.ops.solutions import full_rank
from lima.pattern import ROUNDING, Declined, Offer, Rule

SLOWER = 16.0
"""How much slower than a product the least squares of LAPACK run, for each of their operations."""

FACTORS = 3.0
"""Seconds of an orthogonal base with its singular values, as a multiple of those of a solution."""

LEAST = 1 << 14
"""Elements of a matrix below which solving takes no longer than deriving."""

OVERHEAD = 2.0
"""Derivations' worth of time that finding and checking take."""


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """A solution from the singular vectors that were kept, or pay."""
    if len(inputs) != 2 or not all(hasattr(x, "meta") for x in inputs):
        return None
    a, b = inputs
    (shape, dtype), (right, other) = a.meta, b.meta
    if len(shape) != 2 or shape[0] <= shape[1] or shape[0] * shape[1] < LEAST or other != dtype:
        return None
    m, n = shape
    if dtype.char not in "fd" or n == 0 or len(right) not in (1, 2) or right[0] != m or 0 in right:
        return None
    cut = spec.get("rcond")
    if cut is None:
        cut = float(np.finfo(dtype).eps) * m
    if type(cut) not in (int, float) or len(spec.params) > 1 or not cut < 1.0:
        return None
    account = p.account(("base", a.node.digest))
    if account.barred:
        return None
    columns = right[1] if len(right) == 2 else 1
    direct = cost.CALL + 4.0 * m * n * n * SLOWER / cost.machine().flops
    price = OVERHEAD * cost.DERIVATION + 2 * cost.product(n, m, columns, dtype.itemsize)
    base = p.recall(account.node) if account.node is not None else None
    investment = 0.0 if base is not None else FACTORS * direct
    if direct <= price or (base is not None and not full_rank(base.data[-1], cut)):
        return None
    saved = (direct if base is not None else account.allows(direct)) - price - investment
    if saved <= 0.0:
        account.spent += direct
        return None

    def make() -> Any:
        made = base
        if made is None:
            made = _made(p, account, a, investment)
        found = p.run("linalg.lstsq.again", made, a, b, cut=float(cut))
        if not np.isfinite(found.data[0]).all():
            raise Declined
        return found

    few = right[1:] or (1,)
    metas = ((n, *right[1:]), dtype), (few, dtype), ((), np.dtype(np.int32)), ((n,), dtype)
    return Offer(rule, metas, make, saved, direct, price + investment)


def _made(p: Any, account: Any, a: Any, seconds: float) -> Any:
    try:
        made = p.run("linalg.base", a)
    except np.linalg.LinAlgError:
        account.barred = True
        raise Declined from None
    account.barred = not p.hold(made, seconds)
    account.node = made.node
    return made


AGAIN = Rule(
    name="least-squares-again",
    equation="lstsq(A, b) = V ((U' b) / s)  with  A = U diag(s) V'",
    saves="taking the singular values of a matrix again for every right-hand side",
    exactness=ROUNDING,
    plan=plan,
    example=(
        "def f(X, d):\n"
        "    Z = X * 2.0\n"
        "    for k in range(12):\n"
        "        x, rest, _, s = np.linalg.lstsq(Z, np.cos(X[:, 0] * k))\n"
        "    return Z, x, rest, s"
    ),
    structured=False,
)
