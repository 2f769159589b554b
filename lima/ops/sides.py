"""The rule of right-hand sides: columns that were solved for are joined and chosen.

A solution belongs to its own column of the right-hand side alone. So the columns of a larger one
that were solved for with the same matrix need not be solved for again, and those of a chosen one
not at all, however the program spelled the joining and choosing (reference: section 2.4, D2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lima import cost
from lima.node import Spec, new_node
from lima.op import Op
from lima.ops.joined import STEP
from lima.ops.products import choose
from lima.ops.ridge import order_of
from lima.ops.solving import ELIMINATION
from lima.pattern import ROUNDING, Offer, Rule

SMALLEST = 32
"""Order of a matrix below which solving takes no longer than deriving."""

MOST = 16
"""Pieces of a right-hand side that are looked at."""


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Known solutions of some or all of the columns, beside those of the others."""
    if len(inputs) != 2 or not all(hasattr(x, "meta") for x in inputs):
        return None
    a, b = inputs
    (shape, dtype), (right, other) = a.meta, b.meta
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < SMALLEST or other != dtype:
        return None
    if len(right) not in (1, 2) or right[0] != shape[0] or 0 in right or dtype.char not in "fdFD":
        return None
    found = p.pieces(b, 1 if len(right) == 2 else 0)
    if len(found) > MOST or (len(found) == 1 and found[0].base is b):
        return None
    known = [_known(p, spec, a, piece) for piece in found]
    known = [node if node is not None and p.has(node) else None for node in known]
    if all(node is None for node in known):
        return None
    left = sum([len(x.picked) for x, node in zip(found, known, strict=True) if node is None])
    columns = right[1] if len(right) == 2 else 1
    direct = _seconds(shape[0], columns, dtype.itemsize) + p.building(b)
    price = cost.DERIVATION + 2 * STEP * len(found) + cost.build(right, dtype.itemsize)
    price += _seconds(shape[0], left, dtype.itemsize) if left else 0.0
    if price >= direct:
        return None
    order = "C" if len(right) == 1 else order_of(row, spec, _by_rows(b), columns)

    def make() -> Any:
        made, rest = [], []
        for piece, node in zip(found, known, strict=True):
            solved = None if node is None else p.recall(node)
            if solved is None:
                rest.append(_columns(p, piece))
            made.append(None if solved is None else _lines(p, solved, piece, len(right)))
        if len(right) == 1:
            return made[0] if made[0] is not None else p.apply(row, spec, (a, b))
        if rest:
            joined = rest[0] if len(rest) == 1 else p.run("hstack", *rest)
            others, at = p.apply(row, spec, (a, p.bare(joined))), 0
            for k, piece in enumerate(found):
                if made[k] is None:
                    made[k] = choose(p, others, 1, range(at, at + len(piece.picked)))
                    at += len(piece.picked)
        whole = made[0] if len(made) == 1 else p.run("hstack", *made)
        return p.run("copy", whole, order=order)

    return Offer(rule, (right, dtype), make, direct - price, direct, price)


def _known(p: Any, spec: Spec, a: Any, piece: Any) -> Any:
    """The node of the solution for the base of a piece, if its columns are what was chosen."""
    base = piece.base
    shape, dtype = base.meta
    if shape[0] != a.meta[0][0] or dtype != a.meta[1]:
        return None
    if len(shape) == 2 and (piece.axis != 1 or p.constant(piece) is not None):
        return None
    return new_node(spec, (a.node, base.node))


def _seconds(n: int, columns: int, itemsize: int) -> float:
    """Seconds of factorising a matrix and solving for so many columns."""
    elimination = (2.0 / 3.0) * n**3 / (cost.machine().flops * ELIMINATION)
    return float(elimination + cost.product(n, n, columns, itemsize))


def _by_rows(b: Any) -> bool:
    return b.data is None or bool(b.data.flags.c_contiguous)


def _lines(p: Any, solved: Any, piece: Any, ndim: int) -> Any:
    """Of the solutions for a base those of a piece, as they stand in the whole."""
    if len(solved.meta[0]) == 1:
        return solved if ndim == 1 else p.run("slice", solved, index=(slice(None), None))
    if ndim == 1:
        return p.run("copy", p.run("slice", solved, index=(slice(None), piece.picked[0])))
    return solved if piece.whole else choose(p, solved, 1, piece.picked)


def _columns(p: Any, piece: Any) -> Any:
    """The columns of a piece as a matrix."""
    base = piece.base
    if len(base.meta[0]) == 1:
        return p.run("slice", base, index=(slice(None), None))
    if piece.axis == 0 and p.constant(piece) is None:
        base = p.run("transpose", base)
    return base if piece.whole else choose(p, base, 1, piece.picked)


SIDES = Rule(
    name="solutions-of-columns",
    equation="solve(A, [B C]) = [solve(A, B) solve(A, C)];  solve(A, B[:, T]) = solve(A, B)[:, T]",
    saves="solving again for columns that were solved for, joined with others or chosen",
    exactness=ROUNDING,
    plan=plan,
    example=(
        "def f(X, d):\n"
        "    A = np.kron(X[:900].T @ X[:900], np.eye(24)) + 9.0 * np.eye(24 * X.shape[1])\n"
        "    B = np.tile(X[: len(A)], (1, 24))\n"
        "    Y = np.linalg.solve(A, B)\n"
        "    return Y, np.linalg.solve(A, B[:, 1:99])"
    ),
)
