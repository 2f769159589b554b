"""The rule of products over windows of rows: a longer window from a shorter one within it.

Learning curves and backtests ask for `X[:k].T @ X[:k]` with ever more rows. A window that contains
known ones is the sum of their products and of those of the rows between; nothing is subtracted
(reference: section 2.4, A4, A7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lima import cost
from lima.node import Node, Spec, new_node
from lima.op import OPS, Op
from lima.pattern import ROUNDING, Offer, Rule, Selected

MOST = 64
"""Windows of one product that are remembered, the latest."""

PIECES = 8
"""Pieces of a window beyond which it is computed as asked."""

STEP = 8e-6
"""Seconds of one operation of a derivation."""

Window = tuple[int, int, Node]


def rows_of(p: Any, value: Any, axis: int) -> tuple[Any, int, int] | None:
    """The array of which `value` is a window along `axis`: its first row, and the one beyond."""
    if len(value.meta[0]) == 2:
        found = p.pieces(value, axis)
        base, picked = found[0].base, found[0].picked
        if len(found) != 1 or found[0].axis != 0 or base is value or len(base.meta[0]) != 2:
            return None
    else:
        base, node = value.root, value.node
        if base is None or base is value or not node.inputs or node.inputs[0] is not base.node:
            return None
        row = OPS.get(node.spec.op)
        if row is None or row.form is None:
            return None
        form = row.form([base.meta[0]], node.spec, None)
        if type(form) is not Selected or form.axis != 0 or len(base.meta[0]) != 1:
            return None
        picked = form.picked
    if type(picked) is not range or picked.step != 1 or not picked:
        return None
    return base, picked.start, picked.stop


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """The sum over known windows and the rows between them."""
    if len(inputs) != 2 or any(name != "alias" for name, _ in spec.params):
        return None
    a, b = inputs
    if not (hasattr(a, "meta") and hasattr(b, "meta")) or len(a.meta[0]) != 2:
        return None
    dtype = a.meta[1]
    if dtype.char not in "fdFD" or b.meta[1] != dtype or len(b.meta[0]) > 2:
        return None
    if 0 in a.meta[0] or 0 in b.meta[0]:
        return None
    left, right = rows_of(p, a, 1), rows_of(p, b, 0)
    if left is None or right is None or left[1:] != right[1:]:
        return None
    x, start, stop = left
    y = right[0]
    account = p.account(("windows", row.name, x.node.digest, y.node.digest))
    known: tuple[Window, ...] = account.table or ()
    asked = new_node(spec, (a.node, b.node))
    account.table = (*[w for w in known if w[:2] != (start, stop)], (start, stop, asked))[-MOST:]
    inside = [w for w in known if start <= w[0] and w[1] <= stop and w[:2] != (start, stop)]
    inside = [w for w in inside if p.session.cache.peek(w[2].digest) is not None]
    if not inside:
        return None
    pieces = cover(start, stop, inside)
    direct = float(p.product(a, b, x is y) + p.building(a) + p.building(b))
    price = cost.DERIVATION + _price(a, b, pieces, x is y)
    if price >= direct or len(pieces) > PIECES:
        return None

    def make() -> Any:
        return _sum(p, row.name, x, y, pieces, account)

    shape = (a.meta[0][0], *b.meta[0][1:])
    return Offer(rule, (shape, dtype), make, direct - price, direct, price)


def cover(start: int, stop: int, inside: list[Window]) -> list[tuple[int, int, Any]]:
    """Pieces of start..stop in order: the longest known window, and what is left on its sides.

    >>> cover(0, 9, [(2, 5, "a"), (3, 4, "b"), (6, 7, "c")])
    [(0, 2, None), (2, 5, 'a'), (5, 6, None), (6, 7, 'c'), (7, 9, None)]
    """
    fits = [w for w in inside if start <= w[0] and w[1] <= stop]
    if not fits:
        return [(start, stop, None)] if start < stop else []
    best = max(fits, key=lambda w: w[1] - w[0])
    return [*cover(start, best[0], fits), best, *cover(best[1], stop, fits)]


def _price(a: Any, b: Any, pieces: list[tuple[int, int, Any]], symmetric: bool) -> float:
    (n, _), dtype = a.meta
    columns = b.meta[0][1] if len(b.meta[0]) == 2 else 1
    total = 0.0
    for start, stop, node in pieces:
        total += STEP + cost.build((n, columns), dtype.itemsize)
        if node is None:
            total += STEP + cost.product(n, stop - start, columns, dtype.itemsize, symmetric)
    return total


def _sum(
    p: Any, name: str, x: Any, y: Any, pieces: list[tuple[int, int, Any]], account: Any
) -> Any:
    total: Any = None
    for start, stop, node in pieces:
        term = p.recall(node) if node is not None else None
        if term is None:
            rows = slice(start, stop)
            part = p.run("slice", x, index=rows)
            other = part if y is x else p.run("slice", y, index=rows)
            term = p.run(name, p.run("transpose", part), other)
        total = term if total is None else p.run("add", total, term)
    if p.hold(total, cost.DERIVATION):
        window = (pieces[0][0], pieces[-1][1], total.node)
        account.table = (*(account.table or ()), window)[-MOST:]
    return total


WINDOW = Rule(
    name="product-of-windows",
    equation="A[i:k]' B[i:k] = A[i:j]' B[i:j] + A[j:k]' B[j:k]",
    saves="the product over rows of which that of a shorter window is known",
    exactness=ROUNDING,
    plan=plan,
    example=("def f(X, d):\n    G = X[:5000].T @ X[:5000]\n    return G, X[:5500].T @ X[:5500]"),
)
