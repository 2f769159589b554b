"""The rule of grown Cholesky factors: a matrix with further rows and columns at its end.

A Gaussian process that takes in observations, or a forward selection, factorises ever larger
matrices of which all but the end is as before. That is seen from the elements, however the program
came by them: a matrix is remembered by a few of them and, once one was seen to grow, by a digest of
its lower triangle (reference: section 2.4, D2).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from xxhash import xxh3_128

from lima import cost
from lima.node import Node, Spec
from lima.op import Op
from lima.ops.solving import ELIMINATION
from lima.pattern import ROUNDING, Declined, Offer, Rule

SMALLEST = 256
"""Order of a matrix below which its factor takes no longer than deriving it."""

MOST = 4
"""Matrices that are remembered, the latest."""

SHARE = 4
"""A matrix may grow by one part in so many at a time."""

OVERHEAD = 4.0
"""Derivations' worth of time that comparing and bordering take."""


PARAMETERS = {"upper", "lower", "check_finite"}


class Seen(NamedTuple):
    """A matrix whose factor was asked for.

    first, last  its first element and its last row
    digest       of the rows of its lower triangle; None where it was not seen to grow
    node         of its factor, which is kept; likewise
    """

    first: Any
    last: Any
    digest: bytes | None
    node: Node | None


class Way(NamedTuple):
    """Which factor a function gives: the `upper` one or the lower, in which memory order."""

    upper: bool
    order: str


LOWER = Way(False, "C")


@lru_cache(maxsize=64)
def _way(row: Op, spec: Spec) -> Way:
    """Found on a small matrix, of which NumPy's and SciPy's functions give either factor."""
    a = np.array([[4.0, 2.0, 2.0], [2.0, 5.0, 3.0], [2.0, 3.0, 9.0]])
    factor = row.kernel(a, **dict(spec.params))
    return Way(bool(factor[0, 1] != 0.0), "C" if factor.flags.c_contiguous else "F")


def _begins(seen: Seen, data: Any) -> bool:
    """Whether a matrix may begin with one that was seen."""
    k = len(seen.last)
    if not (0 < len(data) - k <= len(data) // SHARE) or data[0, 0] != seen.first:
        return False
    return bool((data[k - 1, :k] == seen.last).all())


def _digests(data: Any, k: int) -> tuple[bytes, bytes]:
    """Of the rows of the lower triangle: of the first `k` of them, and of all."""
    state, before = xxh3_128(), b""
    for i in range(len(data)):
        if i == k:
            before = state.digest()
        state.update(data[i, : i + 1].tobytes())
    return before, state.digest()


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """The factor of a smaller matrix and what borders it."""
    a = inputs[0]
    if len(inputs) != 1 or not hasattr(a, "meta") or not PARAMETERS.issuperset(dict(spec.params)):
        return None
    shape, dtype = a.meta
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < SMALLEST or dtype.char not in "fd":
        return None
    if p.depth:
        return None
    way = _way(row, spec)
    n, data = shape[0], p.present(a)
    data = data.T if way.upper else data
    account = p.account(("cholesky", dtype.char))
    known: tuple[Seen, ...] = account.table or ()
    found = next((seen for seen in known if _begins(seen, data)), None)
    if found is None:
        account.table = (Seen(data[0, 0], data[-1].copy(), None, None), *known)[:MOST]
        return None
    speed = cost.machine().flops * ELIMINATION
    direct = cost.CALL + n**3 / 3.0 / speed
    k = len(found.last)
    price = OVERHEAD * cost.DERIVATION + 2 * cost.build(shape, dtype.itemsize)
    price += 2 * cost.product(n - k, k, k, dtype.itemsize)
    factor = p.recall(found.node) if found.node is not None else None
    if factor is not None and direct <= price:
        return None

    def make() -> Any:
        before, after = _digests(data, k)
        try:
            whole = p.run("transpose", a) if way.upper else a
            if factor is None:
                made = p.run("linalg.cholesky.grown", whole)
            elif before != found.digest:
                raise Declined
            else:
                made = p.run("linalg.cholesky.grown", whole, factor)
        except np.linalg.LinAlgError:
            raise Declined from None
        if not np.isfinite(made.data).all():
            raise Declined
        if p.hold(made, direct):
            if found.node is not None:
                p.session.cache.evict(found.node.digest)
            others = [seen for seen in known if seen is not found]
            account.table = (Seen(data[0, 0], data[-1].copy(), after, made.node), *others)[:MOST]
        if way == LOWER:
            return made
        turned = p.run("transpose", made) if way.upper else made
        return p.run("copy", turned, order=way.order)

    saved = direct - price if factor is not None else cost.CALL
    return Offer(rule, a.meta, make, saved, direct, price if factor is not None else direct)


GROWN = Rule(
    name="bordered-cholesky",
    equation="cholesky([A B'; B C]) = [L 0; W M]  with  L L' = A, W L' = B, M M' = C - W W'",
    saves="factorising a matrix again that grew by rows and columns at its end",
    exactness=ROUNDING,
    plan=plan,
    example=(
        "def f(X, d):\n"
        "    K = X[:400] @ X[:400].T + 9.0 * np.eye(400)\n"
        "    for k in (360, 370, 380, 390):\n"
        "        L = np.linalg.cholesky(K[:k, :k])\n"
        "    return K, L"
    ),
    structured=False,
)
