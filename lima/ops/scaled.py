"""The rule of products of scaled operands: the factors move to where little is multiplied.

A factor of all elements, of the rows of the left operand or of the columns of the right one is one
of the result, so that the product may be known, and the scaled operand need not be made. Factors
of the columns of the left operand scale the rows of the right one likewise. Rounding errors stay
what they were; what could leave the range of numbers on the new way is computed as asked
(reference: section 2.4, A10, A12, B3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lima import cost
from lima.node import Spec
from lima.op import Op
from lima.ops.shifted import UPRIGHT, is_number
from lima.pattern import ROUNDING, Declined, Offer, Rule

STEP = 8e-6
"""Seconds of one operation of a derivation."""

SCALING = {"multiply", "divide"}

GROWTH = 16.0
"""Factor up to which a zero stays one: what vanished in a product might have been that large."""


class Scaled(NamedTuple):
    """An operand as `by(inner, factor)`.

    along  the axis whose lines have a factor each; None for one number
    """

    inner: Any
    by: str
    factor: Any
    along: int | None


def scaled(p: Any, value: Any) -> Scaled | None:
    """What waits as a matrix or vector times, or divided by, factors."""
    value, _ = p.upright(value, 0)
    value = p.bare(value)
    if value.data is not None or getattr(value, "args", None) is None:
        return None
    by = value.row.name
    if by not in SCALING or value.node.spec.params:
        return None
    first, second = value.args
    for inner, factor in ((first, second), (second, first)) if by == "multiply" else (value.args,):
        if getattr(inner, "meta", None) != value.meta:
            continue
        if not hasattr(factor, "meta"):
            return Scaled(inner, by, factor, None) if is_number(factor) else None
        shape, other = value.meta[0], factor.meta[0]
        if factor.meta[1] != value.meta[1]:
            continue
        if other == () or (len(other) == len(shape) and set(other) == {1}):
            return Scaled(inner, by, factor, None) if other == () else None
        if len(shape) == 2 and other in ((shape[1],), (1, shape[1])):
            return Scaled(inner, by, factor, 1)
        if len(shape) == 2 and other == (shape[0], 1):
            return Scaled(inner, by, factor, 0)
    return None


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """The product of what is scaled, scaled; or with inner factors on the other side."""
    if len(inputs) != 2:
        return None
    a, b = inputs
    if not (hasattr(a, "meta") and hasattr(b, "meta")) or (
        a.data is not None and b.data is not None
    ):
        return None
    dtype = a.meta[1]
    if dtype.char not in "fd" or b.meta[1] != dtype or {len(a.meta[0]), len(b.meta[0])} - {1, 2}:
        return None
    if len(a.meta[0]) + len(b.meta[0]) < 3 or 0 in a.meta[0] or 0 in b.meta[0]:
        return None
    for k, value in enumerate((a, b)):
        found = scaled(p, value)
        if found is None:
            continue
        turned = p.upright(value, 0)[1] == 1 and len(value.meta[0]) == 2
        along = found.along
        if turned and along is not None:
            along = 1 - along
        offer = _offer(p, rule, row, (a, b), k, found, turned, along)
        if offer is not None:
            return offer
    return None


def _offer(
    p: Any, rule: Any, row: Op, pair: Any, k: int, found: Scaled, turned: bool, along: int | None
) -> Any:
    """With the operand `k` of `pair` taken as `found`, transposed if `turned`."""
    a, b = pair
    meta = (*a.meta[0][:-1], *b.meta[0][1:]), a.meta[1]
    inner = p.run("transpose", found.inner) if turned else found.inner
    other = pair[1 - k]
    outside = along is None or along == k
    same = p.symmetric(row.name, a, b)
    direct = float(p.product(a, b, same) + p.building(a) + (0.0 if same else p.building(b)))
    price = cost.DERIVATION + 4 * STEP
    if outside:
        left, right = (inner, b) if k == 0 else (a, inner)
        known = p.known(row.name, left, right)
        if not known and along is None and _is_computed(found.inner):
            return None
        price += cost.CALL if known else p.product(left, right) + p.building(left)
        price += (0.0 if known else p.building(right)) + 2 * cost.build(meta[0], meta[1].itemsize)
    else:
        if 4 * _size(other) > _size(inner):
            return None
        price += p.product(a, b) + p.building(inner) + p.building(other)
        price += 2 * cost.build(other.meta[0], meta[1].itemsize)
    if price >= direct:
        return None

    def make() -> Any:
        factor = found.factor
        if outside:
            made = p.run(row.name, *((inner, b) if k == 0 else (a, inner)))
            if along is not None:
                factor = _upright(p, factor, along == 0 and len(meta[0]) == 2)
            return times(p, made, found.by, factor, True)
        factor = _upright(p, factor, k == 0 and len(other.meta[0]) == 2)
        moved = times(p, other, found.by, factor, False)
        return p.run(row.name, *((inner, moved) if k == 0 else (moved, inner)))

    return Offer(rule, meta, make, direct - price, direct, price)


def _is_computed(inner: Any) -> bool:
    """Whether it waits as elements of an expression, which take a factor in the same pass."""
    waits = inner.data is None and getattr(inner, "args", None) is not None
    return waits and inner.row.inner is not None


def _size(value: Any) -> int:
    size = 1
    for n in value.meta[0]:
        size *= n
    return size


def _upright(p: Any, factor: Any, column: bool) -> Any:
    """Factors as a column, or as a vector."""
    shape = factor.meta[0]
    if len(shape) == 2:
        factor = p.run("reshape", factor, shape=(max(shape),))
    return p.run("slice", factor, index=UPRIGHT) if column else factor


def times(p: Any, made: Any, by: str, factor: Any, product: bool) -> Any:
    """`made` times (or divided by) factors, unless some digits may be lost on the way.

    What is smallest has lost some; and zeros of a `product` may have been something.
    """
    before = p.data(made)
    info = np.finfo(before.dtype)
    least = info.tiny / info.eps
    size = np.abs(p.data(factor) if hasattr(factor, "meta") else before.dtype.type(factor))
    if not (np.all(size > least) and np.all(size < 1 / least)):
        raise Declined
    found = p.run(by, made, factor)
    sizes, after = np.abs(before), np.abs(p.data(found))
    growth = size if by == "multiply" else 1 / size
    lost = np.minimum(sizes, after) < least
    if lost.any() and np.any(lost & ((sizes != 0) | (product & (growth > GROWTH)))):
        raise Declined
    return found


SCALED = Rule(
    name="scaled-product",
    equation="(c A) B = c (A B);  (D A) (B E) = D (A B) E;  (A D) B = A (D B)",
    saves="making a scaled operand, and a product that is known without the factors",
    exactness=ROUNDING,
    plan=plan,
    example=(
        "def f(X, d):\n"
        "    w = np.arange(float(X.shape[1]))\n"
        "    return X @ w, (X / X.std(axis=0)) @ w"
    ),
    structured=False,
)
