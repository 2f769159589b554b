"""The rules of products of images: P = X W, where X' X is known.

P' P is W' (X' X) W, and P' y is W' (X' y): as cheap as X has few columns, however many rows. It
squares the condition of W: where columns of X W are much shorter than what they are added up from,
their digits are gone. The squared norms of both are compared, as for centred products: up to 16
times as large (a million times in class `guarded`) is allowed (reference: section 2.4, A2).
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from lima import cost
from lima.node import Node, Spec, new_node
from lima.op import OPS, Op
from lima.ops.shifted import LIMITS
from lima.pattern import GUARDED, ROUNDING, Declined, Offer, Rule, limit_of

STEP = 8e-6
"""Seconds of one operation of a derivation."""

TALL = 4
"""How many times as many rows as columns a matrix has whose images are looked at."""

DEAR = 4.0
"""How many times as long as a derivation an image takes whose factor is remembered."""

PRODUCTS = {"matmul", "dot"}
ALIASED = (("alias", True),)


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """W' G W or W' (X' y), where P = X W is at hand, and G or X' y is known."""
    if rule.exactness == ROUNDING and GUARDED in p.session.allowed:
        return None  # the other one takes what this one would
    if len(inputs) != 2:
        return None
    a, b = inputs
    if not (hasattr(a, "meta") and hasattr(b, "meta")) or len(a.meta[0]) != 2:
        return None
    shape, dtype = a.meta
    if dtype.char not in "fd" or b.meta[1] != dtype or 0 in shape or 0 in b.meta[0]:
        return None
    _note(p, row, spec, a, b)
    p_node = _image(a)
    if p_node is None:
        return None
    w = _factor(p, a, p_node)
    if w is None or w.data is None:
        return None
    x_node = p_node.inputs[0]
    flipped = new_node(OPS["transpose"].spec, (x_node,))
    gram = Spec(row.name, ALIASED, None, row.version)
    g_node = new_node(gram, (flipped, x_node))
    same = b.node is p_node or b.node.digest == p_node.digest
    y_node = None if same else new_node(row.spec, (flipped, b.node))
    for node in (g_node, y_node):
        if node is not None and p.session.cache.peek(node.digest) is None:
            return None
    n, k = w.meta[0]
    columns = 0 if len(b.meta[0]) == 1 else b.meta[0][1]
    direct = float(p.product(a, b, same))
    size = dtype.itemsize
    price = cost.DERIVATION + 8 * STEP + cost.product(k, n, n, size) + cost.product(k, n, k, size)
    if not same:
        price += cost.product(k, n, max(columns, 1), size)
    if price >= direct:
        return None
    limit = limit_of(rule, LIMITS, dtype)

    def make() -> Any:
        g = p.recall(g_node)
        known = p.recall(y_node) if y_node is not None else None
        if g is None or (y_node is not None and known is None):
            raise Declined
        turned = p.run("transpose", w)
        made = p.run(row.name, turned, p.run(row.name, g, w))
        _check(p.data(g), w.data, np.diagonal(p.data(made)), limit)
        if known is not None:
            return p.run(row.name, turned, known)
        half = p.run("multiply", made, 0.5)  # in every bit symmetric, as a Gram matrix is
        return p.run("add", half, p.run("transpose", half))

    meta = ((k, *b.meta[0][1:]), dtype)
    return Offer(rule, meta, make, direct - price, direct, price)


def _note(p: Any, row: Op, spec: Spec, x: Any, w: Any) -> None:
    """Remember the factor of an image, which its node does not lead to."""
    (m, n), other = x.meta[0], w.meta[0]
    if len(other) != 2 or m < TALL * n or other[1] > n or w.data is None or x.root is not None:
        return
    if p.product(x, w) < DEAR * cost.DERIVATION:
        return
    p.account(("factor", new_node(spec, (x.node, w.node)).digest)).table = weakref.ref(w)


def _factor(p: Any, a: Any, image: Node) -> Any:
    """W of an image that waits for whoever reads it, or was computed and is remembered."""
    waiting = a.args[0] if a.data is None and getattr(a, "args", None) else None
    if waiting is not None and waiting.node is image and waiting.data is None:
        if waiting.row.name not in PRODUCTS or len(waiting.args or ()) != 2:
            return None  # it waits as lines of a product that is known
        w = waiting.args[1]
        return w if hasattr(w, "meta") and len(w.meta[0]) == 2 else None
    account = p.accounts.get(("factor", image.digest))
    return None if account is None or account.table is None else account.table()


def _image(a: Any) -> Node | None:
    """The node of the product that `a` is the transpose of."""
    node = a.node
    if node.spec.op != "transpose" or node.spec.params or type(node.inputs[0]) is not Node:
        return None
    above: Node = node.inputs[0]
    fits = above.spec.op in PRODUCTS and above.spec.params == ()
    return above if fits and type(above.inputs[0]) is Node else None


def _check(g: Any, w: Any, after: Any, limit: float) -> None:
    """Decline where the columns of X W are much shorter than what they are added up from."""
    info = np.finfo(g.dtype)
    least = info.tiny / info.eps**2
    squares = np.diagonal(g)
    before = (np.sqrt(np.abs(squares)) @ np.abs(w)) ** 2
    if not (np.all(squares > least) and np.all(after > least) and np.all(before <= limit * after)):
        raise Declined


EQUATION = "(X W)' (X W) = W' (X' X) W;  (X W)' y = W' (X' y)"
SAVES = "products over all rows of images of a matrix whose own products are known"
EXAMPLE = (
    "def f(X, d):\n"
    "    Z, W = np.tile(X, (20, 1)), np.eye(X.shape[1])[:, :10] + 0.01\n"
    "    G, P = Z.T @ Z, Z @ W\n"
    "    return G, P.T @ P"
)

IMAGES = Rule(
    name="product-of-images",
    equation=EQUATION,
    saves=SAVES,
    exactness=ROUNDING,
    plan=plan,
    example=EXAMPLE,
    structured=False,
)

RULES = (IMAGES, IMAGES.guarded(example=EXAMPLE.replace("+ 0.01", "- 0.3")))
