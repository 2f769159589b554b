"""Rules of least squares from the normal equations: gradients and sums of squared residuals.

X'(X v - y) = G v - X'y and |X v - y|^2 = v'G v - 2 v'X'y + y'y with G = X'X, for ever other v:
the steps of a gradient method, or the scores of a grid. A step then takes n^2 operations instead of
two passes over X. For that, `X @ v` must not run at the call: where G is known, or has been paid
for, it *waits* for what reads it (`spared`). Subtraction cancels where the fit is good, so the
squares of norms are compared before and after, as in `lima.ops.shifted` (reference: section 2.4,
B5, B6).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lima import cost
from lima.node import Node, Spec, new_node
from lima.op import FUSED, Op
from lima.pattern import GUARDED, ROUNDING, Declined, Offer, Rule

LIMITS = {ROUNDING: 256.0, GUARDED: 1e8}
"""By class: the square of how much larger the parts of a residual may be than the residual."""

MOST = 8
"""Vectors at a time."""

TALL = 4
"""Rows for each column from which the normal equations are thought of."""

OVERHEAD = 3.0
"""Derivations' worth of time that finding the parts and checking take."""

PRODUCTS = {"matmul", "dot"}
POWERS = {"pow", "power"}
SUMS = {"sum", "mean"}
ALIASED = (("alias", True),)
"""Parameters of a product whose operands are one buffer."""

NARROW = 8
"""Columns that a matrix which has gone is taken to have had, at least."""


class Residual(NamedTuple):
    """X v, or X v - y, or y - X v, which waits, or whose product with X was computed already.

    x      the node of X
    left   X itself, where the product waits; else None
    v      the vector, likewise
    y      the other vector; None for none
    sign   that of X v; that of y is the opposite, but for a sum
    other  that of y
    """

    x: Node
    left: Any
    v: Any
    y: Any
    sign: int
    other: int


def residual(value: Any) -> Residual | None:
    """`value` as a residual, read off what waits and off lineage."""
    found = _product(value)
    if found is not None:
        return Residual(*found, None, 1, 0)
    node = value.node
    if node.spec.op not in ("subtract", "add") or node.spec.params or len(node.inputs) != 2:
        return None
    if value.data is not None:
        for inner in node.inputs:
            if type(inner) is Node and inner.spec.op in PRODUCTS and not inner.spec.params:
                x = inner.inputs[0]
                return Residual(x, None, None, None, 1, 0) if type(x) is Node else None
        return None
    if value.args is None:
        return None
    first, second = value.args
    minus = -1 if node.spec.op == "subtract" else 1
    for inner, y, sign, other in ((first, second, 1, minus), (second, first, minus, 1)):
        if hasattr(inner, "meta") and hasattr(y, "meta") and y.meta == value.meta:
            found = _product(inner)
            if found is not None and inner.meta == value.meta:
                return Residual(*found, y, sign, other)
    return None


def _product(value: Any) -> tuple[Node, Any, Any] | None:
    """The matrix and the vector of a product: as values if it waits, else the matrix as a node."""
    node = value.node
    if node.spec.op not in PRODUCTS or node.spec.params or len(value.meta[0]) > 2:
        return None
    if value.data is None:
        args: Sequence[Any] = value.args or ()
        if value.row.name not in PRODUCTS or not all(hasattr(x, "meta") for x in args):
            return None
        return (args[0].node, *args) if len(args[0].meta[0]) == 2 else None
    x = node.inputs[0]
    return (x, None, None) if type(x) is Node and len(node.inputs) == 2 else None


def _account(p: Any, x: Node) -> Any:
    """What is known of X: its node is that of X'X, as it was last asked for or made."""
    return p.account(("normal", x.digest))


def _worth(shape: tuple[int, ...]) -> bool:
    """Whether a matrix is tall, and so large that what is computed of its products waits."""
    return len(shape) == 2 and shape[0] > FUSED and shape[0] >= TALL * shape[1] > 0


def _investment(shape: tuple[int, ...], dtype: Any) -> float:
    """Seconds of X'X and X'y."""
    (m, n), size = shape, dtype.itemsize
    return cost.product(n, m, n, size, True) + cost.product(n, m, 1, size)


def spared(p: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Shape and dtype of `X @ v` where it had better wait, since X'X is known or has been paid."""
    if spec.params or len(inputs) != 2:
        return None
    x, v = inputs
    if not (hasattr(x, "meta") and hasattr(v, "meta")):
        return None
    (shape, dtype), (other, kind) = x.meta, v.meta
    if not _few(other) or not _worth(shape) or other[0] != shape[1]:
        return None
    if dtype.char not in "fd" or kind != dtype:
        return None
    account = p.accounts.get(("normal", x.node.digest))
    if account is None or account.barred:
        return None
    known = account.node is not None and p.session.cache.peek(account.node.digest) is not None
    if not known and account.spent < _investment(shape, dtype):
        return None
    return (shape[0], *other[1:]), dtype


def _few(shape: tuple[int, ...]) -> bool:
    """Whether these are vectors of which there is one, or few."""
    return len(shape) == 1 or (len(shape) == 2 and 0 < shape[1] <= MOST)


def _sides(p: Any, a: Any, b: Any) -> tuple[Any, Any] | None:
    """X and what it is multiplied with in `X.T @ r` or `r @ X`."""
    sa, sb = a.meta[0], b.meta[0]
    if len(sa) == 2 and len(sb) <= 2 and sa[1] > FUSED and sa[1] >= TALL * sa[0]:
        node = a.node
        if node.spec.op != "transpose" or node.spec.params or type(node.inputs[0]) is not Node:
            return None
        return node.inputs[0], b
    if len(sa) == 1 and _worth(sb):
        return b.node, a
    return None


def plan_gradient(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """G v - X'y for X'(X v - y); notes where X'X is asked for."""
    if rule.exactness == ROUNDING and GUARDED in p.session.allowed:
        return None  # the other one takes what this one would
    if len(inputs) != 2 or not (hasattr(inputs[0], "meta") and hasattr(inputs[1], "meta")):
        return None
    a, b = inputs
    if a.meta[0] and a.meta[0][-1] <= FUSED:
        return None
    found = _sides(p, a, b)
    if found is None or a.meta[1].char not in "fd" or a.meta[1] != b.meta[1]:
        return None
    x, r = found
    if r is b and (x is b.node or x.digest == b.node.digest):
        _account(p, x).node = new_node(spec, (a.node, b.node))
        return None
    if spec.params or not _few(r.meta[0]):
        return None
    parts = residual(r)
    if parts is None or (parts.x is not x and parts.x.digest != x.digest):
        return None
    m, n = (a if r is b else b).meta[0][:: -1 if r is b else 1]
    columns = r.meta[0][1:]
    dtype = a.meta[1]
    seconds = 2.0 * cost.product(n, m, math.prod(columns), dtype.itemsize)
    return _offer(p, rule, row, parts, ((n, *columns), dtype), seconds, "gram.gradient")


def plan_squares(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """v'G v - 2 v'X'y + y'y for the squares of residuals: summed, the root of that, or the mean."""
    r = inputs[0]
    if not hasattr(r, "meta") or r.data is not None:
        return None
    if rule.exactness == ROUNDING and GUARDED in p.session.allowed:
        return None
    if len(inputs) == 2:
        if inputs[1] is not r or not (spec.params == () or spec.params == ALIASED):
            return None
        if len(r.meta[0]) != 1:
            return None
    elif spec.params or len(inputs) != 1:
        return None
    elif row.name in SUMS:
        r = _squared(r)
        if r is None:
            return None
    return _squares(p, rule, row, r)


def _squared(squares: Any) -> Any:
    """What a value that waits has the squares of."""
    name, args = squares.row.name, squares.args
    if squares.node.spec.params or not args:
        return None
    r = args[0]
    if not hasattr(r, "meta") or r.meta != squares.meta:
        return None
    if name in POWERS:
        return r if type(args[1]) in (int, float) and args[1] == 2 else None
    return r if name == "square" or (name == "multiply" and args[1] is r) else None


def _squares(p: Any, rule: Any, row: Op, r: Any) -> Offer | None:
    shape, dtype = r.meta
    if not _few(shape) or shape[0] <= FUSED or dtype.char not in "fd":
        return None
    parts = residual(r)
    if parts is None:
        return None
    n = parts.v.meta[0][0] if parts.left is not None else NARROW
    seconds = cost.product(n, shape[0], math.prod(shape[1:]), dtype.itemsize)
    offer = _offer(p, rule, row, parts, ((), dtype), seconds, "gram.squares")
    if offer is None or row.name == "sum" or row.name in PRODUCTS:
        return offer

    def make() -> Any:
        found = offer.make()
        if row.name == "mean":
            return p.run("divide", found, float(math.prod(shape)))
        return p.run("sqrt", found)

    return offer._replace(make=make)


def _offer(
    p: Any, rule: Any, row: Op, parts: Residual, meta: Any, direct: float, name: str
) -> Offer | None:
    """An offer, where the product waits; else it is noted what was spent."""
    account = _account(p, parts.x)
    if account.barred:
        return None
    if parts.left is None:
        account.spent += direct
        return None
    shape, dtype = parts.left.meta
    if not _worth(shape):
        return None
    gram = p.recall(account.node) if account.node is not None else None
    investment = 0.0 if gram is not None else _investment(shape, dtype)
    price = OVERHEAD * cost.DERIVATION
    saved = (direct if gram is not None else account.allows(direct)) - price - investment
    if saved <= 0.0:
        account.spent += direct
        return None
    limit = LIMITS[rule.exactness]

    def make() -> Any:
        made = p.run(name, *_operands(p, row, parts, account, gram, investment), limit=limit)
        if not np.isfinite(made.data).all():
            raise Declined
        return made

    return Offer(rule, meta, make, saved, direct, price + investment)


def _operands(
    p: Any, row: Op, parts: Residual, account: Any, gram: Any, investment: float
) -> tuple[Any, ...]:
    """X'X, v with its sign, and X'y and y'y with that of y."""
    x = parts.left
    name = row.name if row.name in PRODUCTS else "matmul"
    turned = p.run("transpose", x)
    if gram is None:
        gram = p.run(name, turned, x)
        account.node = gram.node
        account.barred = not p.hold(gram, investment)
    v = parts.v if parts.sign == 1 else p.run("negative", parts.v)
    if parts.y is None:
        return gram, v
    about = p.account(("normal", parts.x.digest, parts.y.node.digest))
    if about.table is None:
        cross = p.run(name, turned, parts.y)
        if len(parts.y.meta[0]) == 1:
            size = p.run(name, parts.y, parts.y)
        else:
            size = p.run("sum", p.run("square", parts.y), axis=0)
        about.table = p.run("copy", cross), size
    cross, size = about.table
    return gram, v, cross if parts.other == 1 else p.run("negative", cross), size


EXAMPLE = (
    "def f(X, d):\n"
    "    X, y = np.vstack([X, X, X])[:17000], np.vstack([X, X, X])[:17000, 0] * 1.5 + {noise}\n"
    "    G = X.T @ X\n"
    "    w = np.full(X.shape[1], {start})\n"
    "    return G, {asked}"
)

GRADIENT = "X'(X v - y) = G v - X'y  with  G = X'X"
SQUARED = "|X v - y|^2 = v'G v - 2 v'X'y + y'y  with  G = X'X"
SAVES = "passes over a tall matrix, for ever other vectors"


def _rules(name: str, equation: str, plan: Any, asked: str) -> tuple[Rule, Rule]:
    """A rule of either class."""
    return (
        Rule(
            name=name,
            equation=equation,
            saves=SAVES,
            exactness=ROUNDING,
            plan=plan,
            example=EXAMPLE.format(noise="np.cos(np.arange(17000))", start=0.5, asked=asked),
            structured=False,
        ),
        Rule(
            name=f"{name}-guarded",
            equation=equation,
            saves=SAVES,
            exactness=GUARDED,
            plan=plan,
            example=EXAMPLE.format(noise="np.cos(np.arange(17000))", start=1e3, asked=asked),
            structured=False,
        ),
    )


GRADIENTS = _rules("gradient", GRADIENT, plan_gradient, "X.T @ (X @ w - y)")
SQUARES = _rules("squared-residuals", SQUARED, plan_squares, "((X @ w - y) ** 2).sum()")
