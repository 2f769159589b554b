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
from lima.op import OPS, Op
from lima.ops.anchors import Near, cast, moved, near
from lima.ops.by_rows import waits_for_rows
from lima.ops.products import table_of
from lima.ops.solutions import least_square
from lima.ops.tall import waits
from lima.pattern import GUARDED, ROUNDING, Declined, Offer, Rule, limit_of

LIMITS = {ROUNDING: 256.0, GUARDED: 1e8}
"""By class: the square of how much larger the parts of a residual may be than the residual."""

MOST = 8
"""Vectors at a time."""

LEAST = 1 << 16
"""Elements of a matrix below which a pass over it takes no longer than deriving."""

NOTED = 1 << 16
"""Elements from which it is noted what squaring a residual took whose product did not wait."""

TALL = 4
"""Rows for each column from which the normal equations are thought of."""

OVERHEAD = 3.0
"""Derivations' worth of time that finding the parts and checking take."""

PRODUCTS = {"matmul", "dot"}
POWERS = {"pow", "power"}
SUMS = {"sum", "mean"}
SUM, DIFFERENCE = "add", "subtract"
TERMS = 4
"""Terms of a sum beyond which it is no residual."""

ALIASED = (("alias", True),)
"""Parameters of a product whose operands are one buffer."""

PATIENCE = 3.0
"""Residuals in a row in which too much cancels, after which few others are tried."""

NARROW = 8
"""Columns that a matrix which has gone is taken to have had, at least."""


class Residual(NamedTuple):
    """X v + c + y, which waits, or whose product with X was computed already.

    x      the node of X
    left   X itself, where the product waits; else None
    v      the vector, likewise
    c      a number, such as an intercept; None for none
    y      another vector; None for none
    signs  of the three of them, 1 or -1
    """

    x: Node
    left: Any
    v: Any
    c: Any
    y: Any
    signs: tuple[int, int, int]


def residual(value: Any) -> Residual | None:
    """`value` as a residual, read off what waits and off lineage."""
    if not _waits(value):  # it was computed: what matters is what that cost
        x = _matrix(value.node, 3)
        return None if x is None else Residual(x, None, None, None, None, (1, 1, 1))
    terms: list[tuple[Any, int]] = []
    _collect(value, 1, value.meta, terms)
    if len(terms) > 3:
        return None
    made: list[Any] = [None, None, None]
    signs = [1, 1, 1]
    for term, sign in terms:
        kind = _kind(term, value.meta)
        if kind is None or made[kind] is not None:
            return None
        made[kind], signs[kind] = term, sign
    product, c, y = made
    if product is None:
        return None
    x, left, v = product if type(product) is tuple else (product, None, None)
    return Residual(x, left, v, c, y, (signs[0], signs[1], signs[2]))


def _collect(value: Any, sign: int, meta: Any, terms: list[tuple[Any, int]]) -> None:
    """The terms of a sum: values, numbers, products that wait, and nodes of matrices of others."""
    if len(terms) >= TERMS:
        return
    if not hasattr(value, "meta") or value.meta != meta:
        terms.append((value, sign))
        return
    found = _product(value)
    if found is not None:
        terms.append((found if found[1] is not None else found[0], sign))
        return
    node = value.node
    name, args = node.spec.op, value.args if value.data is None else None
    if name not in (SUM, DIFFERENCE) or node.spec.params or len(node.inputs) != 2:
        terms.append((value, sign))
    elif args is not None and value.row.name == name:
        below: list[tuple[Any, int]] = []
        _collect(args[0], sign, meta, below)
        _collect(args[1], -sign if name == DIFFERENCE else sign, meta, below)
        has_product = any(type(term) in (tuple, Node) for term, _ in below)
        terms.extend(below if has_product else [(value, sign)])
    else:
        matrix = _matrix(node, 2)
        terms.append((value if matrix is None else matrix, sign))


def _waits(value: Any) -> bool:
    """Whether something below a value waits, or the value itself as a product."""
    if value.data is not None or not value.args:
        return False
    if value.row.name in PRODUCTS:
        return True
    return any(hasattr(x, "meta") and x.data is None for x in value.args)


def _matrix(node: Node, depth: int) -> Node | None:
    """The node of the matrix of a product that was a term of a sum."""
    if not depth or node.spec.params or not node.inputs:
        return None
    if node.spec.op in PRODUCTS:
        x = node.inputs[0]
        return x if type(x) is Node else None
    if node.spec.op not in (SUM, DIFFERENCE):
        return None
    found = [_matrix(x, depth - 1) for x in node.inputs if type(x) is Node]
    return next((x for x in found if x is not None), None)


def _kind(term: Any, meta: Any) -> int | None:
    """Whether a term is the product, the number or the vector of a residual."""
    if type(term) is tuple or type(term) is Node:
        return 0
    shape, dtype = meta
    if not hasattr(term, "meta"):
        return 1 if type(term) in (int, float) and dtype.char == "d" and len(shape) == 1 else None
    if term.meta == meta:
        return 2
    return 1 if term.meta == ((), dtype) and len(shape) == 1 else None


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
    return len(shape) == 2 and shape[0] * shape[1] >= LEAST and shape[0] >= TALL * shape[1]


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
    if len(other) == 2 and waits_for_rows(p, inputs):
        return (shape[0], other[1]), dtype
    if not _few(other) or not _worth(shape) or other[0] != shape[1]:
        return None
    if dtype.char not in "fd" or kind != dtype:
        return None
    meta = (shape[0], *other[1:]), dtype
    if waits(p, x, v):
        return meta
    account = p.accounts.get(("normal", x.node.digest))
    if account is None or account.barred:
        return None
    known = account.node is not None and p.has(account.node)
    if not known and account.spent < _investment(shape, dtype):
        return None
    if known and _passes(p, x, shape[1], other[1:]) < OVERHEAD * cost.DERIVATION:
        return None
    if _hopeless(p, shape[0]):
        return None
    return meta


def _passes(p: Any, x: Any, n: int, columns: tuple[int, ...]) -> float:
    """Seconds of squaring `X v - y`: the product, the difference, and its squares."""
    meta = x.meta if hasattr(x, "meta") else x
    (m, *_), dtype = meta
    count = math.prod(columns)
    seconds = cost.product(n, m, count, dtype.itemsize)
    if hasattr(x, "meta") and x.data is None:  # it is built, or its parts are multiplied
        seconds += min(cost.DERIVATION + cost.build((m, count), dtype.itemsize), p.building(x))
    return seconds + cost.build((m, count), dtype.itemsize)


def _hopeless(p: Any, rows: int) -> bool:
    """Whether too much cancelled time and again in residuals of so many rows.

    Another one is let through after as many as were refused, so that a better fit is noticed.
    """
    account = p.accounts.get(("refused", rows))
    if account is None or account.spent < PATIENCE:
        return False
    account.size -= 1.0
    return bool(account.size > 0.0)


def _refused(p: Any, rows: int, refused: bool) -> None:
    """Count the residuals in a row in which too much cancelled."""
    if refused:
        account = p.account(("refused", rows))
        account.spent += 1.0
        account.size = 2.0 ** min(account.spent - PATIENCE, 6.0)
    elif ("refused", rows) in p.accounts:
        p.account(("refused", rows)).spent = 0.0


def _few(shape: tuple[int, ...]) -> bool:
    """Whether these are vectors of which there is one, or few."""
    return len(shape) == 1 or (len(shape) == 2 and 0 < shape[1] <= MOST)


def _sides(p: Any, a: Any, b: Any) -> tuple[Any, Any] | None:
    """X and what it is multiplied with in `X.T @ r` or `r @ X`."""
    sa, sb = a.meta[0], b.meta[0]
    if len(sa) == 2 and len(sb) <= 2 and _worth(sa[::-1]):
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
    if a.meta[0] and a.meta[0][-1] < TALL:
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
    return _reduced(p, rule, row, r, "gram.squares")


def plan_sum(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """s'v + m c - 1'y for the sum, or the mean, of a residual."""
    r = inputs[0]
    if len(inputs) != 1 or spec.params or not hasattr(r, "meta") or r.data is not None:
        return None
    if rule.exactness == ROUNDING and GUARDED in p.session.allowed:
        return None
    return _reduced(p, rule, row, r, "gram.sum") if len(r.meta[0]) == 1 else None


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


def _reduced(p: Any, rule: Any, row: Op, r: Any, name: str) -> Offer | None:
    shape, dtype = r.meta
    if not _few(shape) or dtype.char not in "fd":
        return None
    parts = residual(r) if shape[0] >= NOTED or _waits(r) else None
    if parts is None:
        return None
    if parts.left is not None:
        seconds = _passes(p, parts.left, parts.v.meta[0][0], shape[1:])
    else:
        seconds = _passes(p, r.meta, NARROW, shape[1:])
    offer = _offer(p, rule, row, parts, ((), dtype), seconds, name)
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
    by = near(p, parts)
    if gram is not None and parts.y is not None:
        here = parts if by is None else parts._replace(y=by.rest)
        account, investment = _with(p, here), _cross_price(p, row, here)
    price = OVERHEAD * cost.DERIVATION
    saved = (account.allows(direct) if investment else direct) - price - investment
    if saved <= 0.0:
        account.spent += direct
        return None
    limit = limit_of(rule, LIMITS, dtype)

    def make() -> Any:
        found = _made(p, row, parts, by, gram, name, limit)
        other = None
        if found is None and not _vanishes(p, parts):
            other = cast(p, _product_name(row), parts, direct)
        if other is not None and other.fresh:
            _with(p, parts._replace(y=other.rest)).spent += direct
            found = _formed(p, row, parts, other, name)
        else:
            if other is not None:
                found = _made(p, row, parts, other, gram, name, limit)
            _refused(p, shape[0], found is None)
        if found is None:
            raise Declined
        if parts.c is not None and name == "gram.gradient":
            found = p.run("slice", found, index=slice(shape[1]))
        return found

    return Offer(rule, meta, make, saved, direct, price + investment)


def _made(
    p: Any, row: Op, parts: Residual, by: Near | None, gram: Any, name: str, limit: float
) -> Any:
    """What the operation `name` gives, from an anchor if there is one; None if too much cancels."""
    here = parts if by is None else moved(p, parts, by)
    found = p.run(name, *_operands(p, row, here, gram, name), limit=limit)
    return found if np.isfinite(found.data).all() else None


def _vanishes(p: Any, parts: Residual) -> bool:
    """Whether X has columns whose squares are too small to tell anything."""
    gram = p.recall(_account(p, parts.x).node)
    return gram is None or not (p.data(gram).diagonal() > least_square(gram.meta[1])).all()


def _formed(p: Any, row: Op, parts: Residual, by: Near, name: str) -> Any:
    """What the operation `name` gives of a residual that was formed; None if not finite."""
    if name == "gram.squares":
        found = p.run("sum", p.run("square", by.rest))
    elif name == "gram.sum":
        found = p.run("sum", by.rest)
    else:
        found = p.run(_product_name(row), p.run("transpose", parts.left), by.rest)
    if name != "gram.squares" and parts.signs[0] < 0:
        found = p.run("negative", found)
    return found if np.isfinite(p.data(found)).all() else None


def _cross_price(p: Any, row: Op, parts: Residual) -> float:
    """Seconds of X'y, unless it is known or a rule has it for next to nothing."""
    if _with(p, parts).table is not None:
        return 0.0
    turned, y = p.run("transpose", parts.left), parts.y
    if p.known("matmul", turned, y):
        return 0.0
    table = table_of(p, OPS[_product_name(row)], turned, y)
    if table is not None and table.recall():
        return 0.0
    (m, n), dtype = parts.left.meta
    return cost.product(n, m, math.prod(y.meta[0][1:]), dtype.itemsize)


def _product_name(row: Op) -> str:
    """Which of the products a program uses that asks for this reduction of one."""
    return row.name if row.name in PRODUCTS else "matmul"


def _with(p: Any, parts: Residual) -> Any:
    """What is known of X and y together: X'y and y'y, and 1'y."""
    return p.account(("normal", parts.x.digest, parts.y.node.digest))


def _operands(p: Any, row: Op, parts: Residual, gram: Any, name: str) -> tuple[Any, ...]:
    """Z'Z, u with its sign, Z'y and y'y with that of y; Z is X, or X and a column of ones.

    The latter is for a number beside X v, and for the sum of a residual.
    """
    x, (sign, shifted, other) = parts.left, parts.signs
    product = _product_name(row)
    turned = p.run("transpose", x)
    if gram is None:
        account = _account(p, parts.x)
        gram = p.run(product, turned, x)
        account.node = gram.node
        account.barred = not p.hold(gram, _investment(*x.meta))
    u = parts.v if sign == 1 else p.run("negative", parts.v)
    bordered = parts.c is not None or name == "gram.sum"
    if bordered:
        number: Any = 0.0 if parts.c is None else parts.c
        u = p.run("gram.vector", u, number, negative=shifted < 0)
        gram = _bordered(p, parts, gram)
    if parts.y is None:
        return gram, u
    about = _with(p, parts)
    if about.table is None:
        cross = p.product_of(product, turned, parts.y)
        if len(parts.y.meta[0]) == 1:
            size = p.run(product, parts.y, parts.y)
        else:
            size = p.run("sum", p.run("square", parts.y), axis=0)
        about.table = p.run("copy", cross), size, None
    cross, size, total = about.table
    if bordered:
        if total is None:
            total = p.run("hstack", cross, p.run("sum", parts.y))
            about.table = cross, size, total
        cross = total
    return gram, u, cross if other == 1 else p.run("negative", cross), size


def _bordered(p: Any, parts: Residual, gram: Any) -> Any:
    """Z'Z from X'X, where Z is X and a column of ones."""
    account = p.account(("normal", parts.x.digest, "ones"))
    found = p.recall(account.node) if account.node is not None else None
    if found is None:
        sums = p.run("sum", parts.left, axis=0)
        found = p.run("gram.bordered", gram, sums, rows=parts.left.meta[0][0])
        p.hold(found, _investment(*parts.left.meta))
        account.node = found.node
    return found


EXAMPLE = (
    "def f(X, d):\n"
    "    X, y = np.vstack([X] * 6)[:33000], np.vstack([X] * 6)[:33000, 0] * 1.5 + {noise}\n"
    "    G = X.T @ X\n"
    "    for k in (1, 2, 3, 4):\n"
    "        w = np.full(X.shape[1], {start} / k)\n"
    "        found = {asked}\n"
    "    return G, found"
)

GRADIENT = "X'(X v - y) = G v - X'y  with  G = X'X"
SQUARED = "|X v - y|^2 = v'G v - 2 v'X'y + y'y  with  G = X'X"
TOTAL = "1'(X v + c - y) = s'v + m c - 1'y  with  s = X'1"
SAVES = "passes over a tall matrix, for ever other vectors"


def _rules(name: str, equation: str, plan: Any, asked: str) -> tuple[Rule, Rule]:
    """A rule of either class."""
    noise = "np.cos(np.arange(33000))"
    near, far = (EXAMPLE.format(noise=noise, start=s, asked=asked) for s in (0.5, 1e3))
    rule = Rule(
        name=name,
        equation=equation,
        saves=SAVES,
        exactness=ROUNDING,
        plan=plan,
        example=near,
        structured=False,
    )
    return rule, rule.guarded(example=far)


GRADIENTS = _rules("gradient", GRADIENT, plan_gradient, "X.T @ (X @ w - y)")
TOTALS = _rules("sum-of-residuals", TOTAL, plan_sum, "(X @ w + 0.5 - y).sum()")
SQUARES = _rules("squared-residuals", SQUARED, plan_squares, "((X @ w - y) ** 2).sum()")
