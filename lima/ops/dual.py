"""The rule of dual ridge regression: a Gram matrix that is larger than what it is made of.

With fewer rows than columns, Z'Z + cI is as good as the much smaller Z Z' + cI: the solution is had
from that (Woodbury), and Z'Z need not be made at all. For that it *waits* for what reads it
(`wide`). Solutions are refined and checked in every element against Z and c themselves, so that
nothing hangs on how well the small matrix did (reference: section 2.4, D6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lima import cost
from lima.node import Node, Spec
from lima.op import Op
from lima.ops.ridge import KINDS, diagonal_of, order_of
from lima.ops.solving import ELIMINATION, SAFE
from lima.pattern import ROUNDING, Declined, Offer, Rule

SMALLEST = 192
"""Order of a matrix below which it is made and solved with as asked."""

WIDE = 2
"""How many times as many columns as rows a matrix has whose Gram matrix waits."""

PASSES = 12
"""Products with Z that a solution takes: two or three rounds, with their checks."""

OVERHEAD = 6.0
"""Derivations' worth of time that finding the parts and checking take."""

PRODUCTS = {"matmul", "dot"}
SCALING = {"multiply", "divide"}
NUMBERS = (int, float)


class Gram(NamedTuple):
    """A sum c Z'Z + D that waits.

    z      the matrix, with fewer rows than columns
    scale  the number c
    added  the diagonal of D, as a value
    """

    z: Any
    scale: float
    added: Any


def wide(p: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Shape and dtype of Z' Z where it had better wait, since it is much larger than Z."""
    if spec.params == () or len(inputs) != 2:
        return None
    a, b = inputs
    (shape, dtype), (other, kind) = a.meta, b.meta
    if len(shape) != 2 or len(other) != 2 or dtype.char not in "fd" or kind != dtype:
        return None
    n, m = shape
    if n < SMALLEST or not 0 < WIDE * m <= n or other != (m, n):
        return None
    z = _factor(a, b)
    return None if z is None or not _plain(z) else ((n, n), dtype)


def _plain(z: Any) -> bool:
    """Whether a matrix is present as a whole.

    Of others the rules of products see how they came about, which is forgotten once they are made.
    """
    root = z.root
    return z.data is not None and (root is None or root.data.size == z.data.size)


def _factor(a: Any, b: Any) -> Any:
    """Z of a product that is Z' Z, in the spelling `Z.T @ Z` or, with Z = W.T, `W @ W.T`."""
    return b if _turned(a.node, b.node) or _turned(b.node, a.node) else None


def _turned(a: Node, b: Node) -> bool:
    """Whether `a` is the transpose of `b`."""
    spec = a.spec
    return spec.op == "transpose" and not spec.params and a.inputs[0] is b


def _gram(x: Any) -> tuple[Any, float] | None:
    """Z and c, if a value waits as c Z' Z."""
    scale = 1.0
    for _ in range(2):
        args: Sequence[Any] = getattr(x, "args", None) or ()
        if getattr(x, "data", x) is not None or len(args) != 2:
            return None
        name = x.row.name
        if name in PRODUCTS and x.node.spec.params:
            z = _factor(*args)
            return None if z is None else (z, scale)
        if name not in SCALING or x.node.spec.params:
            return None
        x, by = args if type(args[1]) in NUMBERS else args[::-1]
        if type(by) not in NUMBERS or (name == "divide" and x is not args[0]) or not by > 0:
            return None
        scale *= float(by) if name == "multiply" else 1.0 / float(by)
    return None


def _sum(p: Any, a: Any) -> Gram | None:
    """What waits as the sum of a wide Gram matrix and a diagonal one."""
    if a.data is not None or a.row.name != "add" or not a.args or len(a.args) != 2:
        return None
    for base, other in (a.args, a.args[::-1]):
        found = _gram(base)
        if found is not None and base.meta == a.meta:
            added = diagonal_of(p, other, a.meta)
            return None if added is None else Gram(*found, added)
    return None


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """A solution from the inverse of the small matrix."""
    if len(inputs) != 2 or not all(hasattr(x, "meta") for x in inputs):
        return None
    a, b = inputs
    (shape, dtype), (right, other) = a.meta, b.meta
    if a.data is not None or len(shape) != 2 or shape[0] != shape[1] or shape[0] < SMALLEST:
        return None
    given = dict(spec.params)
    kind = given.pop("assume_a", None)
    given.pop("check_finite", None)
    if given or kind not in KINDS or len(right) not in (1, 2) or 0 in right:
        return None
    if right[0] != shape[0] or other != dtype or dtype.char not in "fd":
        return None
    gram = _sum(p, a)
    if gram is None:
        return None
    shift = _shift(p, gram)
    account = p.account(("dual", gram.z.node.digest, gram.scale))
    if shift is None or (account.table is not None and shift <= account.table):
        return None
    (m, n), size = gram.z.meta[0], dtype.itemsize
    columns = right[1] if len(right) == 2 else 1
    speed = cost.machine().flops * ELIMINATION
    direct = cost.CALL + (2.0 / 3.0) * n**3 / speed + p.building(a)
    direct += cost.product(n, n, columns, size)
    price = OVERHEAD * cost.DERIVATION + cost.product(m, n, m, size, True) + 2.0 * m**3 / speed
    price += PASSES * cost.product(m, n, columns, size)
    if price >= direct:
        return None
    by_rows = b.data is None or b.data.flags.c_contiguous
    order = "C" if len(right) == 1 else order_of(row, spec, by_rows, columns)

    def make() -> Any:
        x = _solved(p, gram, shift, b, order)
        if x is None or not np.isfinite(x.data).all():
            account.table = shift  # nor will a smaller one do
            raise Declined
        return x

    return Offer(rule, (right, dtype), make, direct - price, direct, price)


def _shift(p: Any, gram: Gram) -> float | None:
    """The one number that is added to all of the diagonal, if it is positive."""
    added = p.present(gram.added)
    first = float(added[0])
    fits = 0.0 < first < np.inf and 0.0 < gram.scale < np.inf
    return first if fits and bool((added == added[0]).all()) else None


def _solved(p: Any, gram: Gram, shift: float, b: Any, order: str) -> Any:
    """The solution, NaN where it does not pass the check; None where nothing comes of it."""
    z = gram.z
    dtype = z.meta[1]
    small = p.run("matmul", z, p.run("transpose", z))
    ratio = shift / gram.scale
    around = float(np.trace(p.data(small))) + ratio
    if not ratio > SAFE * z.meta[0][1] * float(np.finfo(dtype).eps) * around:
        return None  # SciPy might warn of such a matrix
    line = p.run("full", shape=(z.meta[0][0],), fill_value=ratio, dtype=dtype)
    try:
        half = p.run("linalg.inv", p.run("add", small, p.run("diag", line)))
    except np.linalg.LinAlgError:
        return None
    return p.run("linalg.solve.dual", half, z, b, shift=shift, scale=gram.scale, order=order)


DUAL = Rule(
    name="dual-ridge",
    equation="solve(Z'Z + cI, b) = (b - Z' (Z Z' + cI)^-1 Z b) / c",
    saves="making and factorising a Gram matrix that is larger than the matrix it is made of",
    exactness=ROUNDING,
    plan=plan,
    example=(
        "def f(X, d):\n"
        "    Z = X[:60] @ np.tile(np.eye(X.shape[1]), 30)\n"
        "    b = Z.T @ X[:60, 0]\n"
        "    return b, np.linalg.solve(Z.T @ Z + 0.5 * np.eye(Z.shape[1]), b)"
    ),
    structured=False,
)
