"""The rule of products that are spelled as sums over labels.

`np.einsum` of two matrices with one label in common is a matrix product, which NumPy sums element
by element unless it is told to `optimize`. BLAS takes a tenth of the time, and the product is known
to every other rule and to whoever spells it with `@`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lima import cost
from lima.node import Spec
from lima.op import Op
from lima.pattern import ROUNDING, Offer, Rule

SPEED = 2e9
"""Multiplications and additions a second of `np.einsum` without BLAS, and rather too high."""

OPTIONS = {"subscripts", "optimize", "alias"}


@lru_cache(maxsize=256)
def roles(subscripts: str) -> tuple[str, str, str, str] | None:
    """Labels of two matrices, of the result, and the one label that is summed over.

    >>> roles("ij,kj->ik"), roles("ij,ij->i")
    (('ij', 'kj', 'ik', 'j'), None)
    """
    before, arrow, after = subscripts.partition("->")
    a, _, b = before.partition(",")
    if len({*a}) != 2 or len({*b}) != 2 or len(a + b) != 4 or not (a + b).isalpha():
        return None
    shared = {*a} & {*b}
    free = sorted({*a} ^ {*b})
    if len(shared) != 1 or (arrow and sorted(after) != free):
        return None
    return a, b, after if arrow else "".join(free), shared.pop()


@lru_cache(maxsize=256)
def in_rows(subscripts: str, orders: str, optimize: bool) -> bool:
    """Whether NumPy's result lies in C order, which hangs on how the operands lie."""
    a, b = [np.ones((2, 2), order=order) for order in orders]  # type: ignore[call-overload]
    return bool(np.einsum(subscripts, a, b, optimize=optimize).flags.c_contiguous)


def _order(value: Any) -> str | None:
    if value.data is None:
        return "C"
    strides = value.data.strides
    if min(strides) < 0:
        return None
    return "C" if strides[0] >= strides[1] else "F"


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """The matrix product that a sum over one label is."""
    if len(inputs) != 2 or any(name not in OPTIONS for name, _ in spec.params):
        return None
    found = roles(spec.get("subscripts"))
    if found is None or not all(hasattr(x, "meta") for x in inputs):
        return None
    metas = [x.meta for x in inputs]
    dtype = metas[0][1]
    if metas[1][1] != dtype or dtype.char not in "fdFD" or {len(m[0]) for m in metas} != {2}:
        return None
    labels, wanted, shared = found[:2], found[2], found[3]
    sizes = dict(zip("".join(labels), metas[0][0] + metas[1][0], strict=True))
    if metas[0][0][labels[0].index(shared)] != sizes[shared] or 0 in sizes.values():
        return None  # a single line that NumPy repeats
    if cost.CALL + sizes[wanted[0]] * sizes[shared] * sizes[wanted[1]] / SPEED < cost.DERIVATION:
        return None
    orders = [_order(x) for x in inputs]
    optimize = spec.get("optimize", False)
    if None in orders or type(optimize) is not bool:
        return None
    by_rows = in_rows(spec.get("subscripts"), "".join(map(str, orders)), optimize)
    first, second = tuple(wanted if by_rows else wanted[::-1])
    one, other = (0, 1) if first in labels[0] else (1, 0)
    m, k, n = sizes[first], sizes[shared], sizes[second]
    fast = cost.product(m, k, n, dtype.itemsize)
    waits = sum([p.building(x) for x in inputs])
    direct = waits + (fast if optimize else cost.CALL + m * k * n / SPEED)
    turned = 0.0 if by_rows else cost.build((m, n), dtype.itemsize)
    a, b = inputs[one], inputs[other]

    def operands() -> tuple[Any, Any]:
        left = a if labels[one] == first + shared else p.run("transpose", a)
        right = b if labels[other] == shared + second else p.run("transpose", b)
        return left, right

    price = cost.DERIVATION + turned
    known = optimize and p.known("matmul", *operands())
    price += cost.CALL if known else fast + waits
    if price >= direct:
        return None

    def make() -> Any:
        made = p.run("matmul", *operands())
        return made if by_rows else p.run("transpose", made)

    shape = (sizes[wanted[0]], sizes[wanted[1]])
    return Offer(rule, (shape, dtype), make, direct - price, direct, price)


CONTRACTION = Rule(
    name="sum-over-labels",
    equation="einsum('ij,jk->ik', A, B) = A B;  einsum('ji,jk->ik', A, B) = A' B",
    saves="the element by element sums of `np.einsum`, and products that are known",
    exactness=ROUNDING,
    plan=plan,
    example='def f(X, d):\n    return X.T @ X, np.einsum("ij,ik->jk", X, X)',
    structured=False,
)
