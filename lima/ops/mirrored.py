"""The rule of transposed products: B' A' where A B is known (reference: section 2.4, A14)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lima import cost
from lima.node import Node, Spec, new_node
from lima.op import OPS, Op
from lima.pattern import ROUNDING, Declined, Offer, Rule

LEAST = 1 << 18
"""Multiplications of a product that is looked at."""

DEAR = 4.0
"""How many times as long as a derivation a product takes that is looked for."""


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """The transpose of the transposed product, if that is known."""
    if spec.params or len(inputs) != 2:
        return None
    a, b = inputs
    if not (hasattr(a, "meta") and hasattr(b, "meta")):
        return None
    (shape, dtype), (other, kind) = a.meta, b.meta
    if len(shape) != 2 or len(other) != 2 or shape[0] * shape[1] * other[1] < LEAST:
        return None
    if dtype.char not in "fdFD" or kind != dtype or shape[1] != other[0]:
        return None
    direct = p.product(a, b)
    if direct < DEAR * cost.DERIVATION:
        return None
    node = new_node(spec, (_turned(b.node), _turned(a.node)))
    if not p.has(node):
        return None
    meta = (shape[0], other[1]), dtype
    price = cost.DERIVATION + cost.build(meta[0], dtype.itemsize)

    def make() -> Any:
        known = p.recall(node)
        if known is None:
            raise Declined
        return p.run("copy", p.run("transpose", known), order="C")

    return Offer(rule, meta, make, direct - price, direct, price) if price < direct else None


def _turned(node: Node) -> Node:
    """The node of a transpose, as a program would have it."""
    if node.spec.op == "transpose" and not node.spec.params and type(node.inputs[0]) is Node:
        return node.inputs[0]
    return new_node(OPS["transpose"].spec, (node,))


MIRRORED = Rule(
    name="transposed-product",
    equation="B' A' = (A B)'",
    saves="a product whose transpose is known",
    exactness=ROUNDING,
    plan=plan,
    example=("def f(X, d):\n    Y = np.tile(X[::-1], (1, 2)) + 1.0\n    return X.T @ Y, Y.T @ X"),
    structured=False,
)
