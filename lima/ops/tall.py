"""Rules of X' w for a tall matrix X: in the pass that makes w of X v, or of the rows that count.

Gradients and products with Hessians are such: X' (X v - y), X' (w (X v)), X' (g(X v) - y). Where
X v waits for what reads it, blocks of rows are multiplied with v, taken through f, and multiplied
with the result, while they are in the cache (`lima.tall`). The order in which products are added
up is another than BLAS's, and known: the rows `tall.dots` and `tall.sums` have the bits of the
pass, so that lineage says what was computed. Whether X v had better wait is seen when such a
product was computed in two passes before.

Where many elements of w are zero (hinge losses, of which most rows are on the right side; clipped
residuals; assignments), only the other rows of X are read. NumPy would say NaN of zero times
infinity, so all of X has to be finite, which is looked at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima import cost
from lima.node import Node, Spec
from lima.op import FUSED, FUSES, Kind, Op, op
from lima.pattern import ROUNDING, Declined, Offer, Rule, finite

if FUSES:
    from lima import tall

PRODUCTS = {"matmul", "dot"}

LEAST = 1 << 21
"""Bytes of a matrix from which a pass over it takes longer than finding this out."""

NARROWEST = {"d": 8, "f": 32}
"""Columns below which the kernels lose what they gain, by dtype."""

LOOKED_AT = 48
"""Operations among which the product is looked for."""


# --------------------------------------------------------------------------- kernels and twins


def row_products(x: Any, v: Any) -> Any:
    """X v as `lima.tall.dots` adds it up."""
    lanes = 64 // x.itemsize
    whole = x.shape[1] // lanes * lanes
    sums = np.zeros((len(x), lanes), x.dtype)
    for j in range(0, whole, lanes):
        sums += x[:, j : j + lanes] * v[j : j + lanes]
    while lanes > 1:
        lanes //= 2
        sums = sums[:, :lanes] + sums[:, lanes:]
    found = sums[:, 0]
    for j in range(whole, x.shape[1]):
        found = found + x[:, j] * v[j]
    return found


def row_sums(x: Any, w: Any, some: bool = False) -> Any:
    """X' w as `lima.tall.sums` adds it up, or `some`: without the rows where w is zero."""
    size = max(8192, (len(x) + 65535) // 65536 * 1024)
    total = None
    for start in range(0, len(x), size):
        rows = np.arange(start, min(start + size, len(x)))
        if some:
            rows = rows[w[rows] != 0]
        part = x[rows] * w[rows, None]
        whole = len(part) // 8 * 8
        eights = part[:whole].reshape(whole // 8, 8, x.shape[1])
        while eights.shape[1] > 1:
            eights = eights[:, ::2] + eights[:, 1::2]
        found = np.zeros(x.shape[1], x.dtype)
        for line in [*eights[:, 0], *part[whole:]]:
            found += line
        total = found if total is None else total + found
    return total


def _some(x: Any, w: Any, threads: int = 1) -> Any:
    fits = FUSES and tall.takes(x, w, long=True)
    return tall.some(x, w, threads)[0] if fits else row_sums(x, w, some=True)


def _dots(x: Any, v: Any) -> Any:
    fits = FUSES and tall.takes(x, v)
    return tall.dots(x, v)[0] if fits else row_products(x, v)


def _sums(x: Any, w: Any) -> Any:
    fits = FUSES and tall.takes(x, w, long=True)
    return tall.sums(x, w)[0] if fits else row_sums(x, w)


def _called(name: str) -> Any:
    return lambda inputs, params: f"{name}({', '.join(inputs)})"


op("tall.dots", _dots, Kind.EFFECT, operands="x v", calls=(), params={},
   source=_called("row_products"))  # fmt: skip
op("tall.sums", _sums, Kind.EFFECT, operands="x w", calls=(), params={},
   source=_called("row_sums"))  # fmt: skip

op("tall.some", _some, Kind.EFFECT, operands="x w", calls=(), params={}, threaded=True,
   source=lambda inputs, params: f"row_sums({', '.join(inputs)}, some=True)")  # fmt: skip

HELPERS = (row_products, row_sums)
"""Functions that a program defines when it calls them (`lima.spelled`)."""


# --------------------------------------------------------------------------- the rules


def _account(p: Any, x: Node) -> Any:
    return p.account(("tall", x.digest))


def _fits(shape: Any, dtype: Any) -> bool:
    if len(shape) != 2 or dtype.char not in NARROWEST or shape[0] <= FUSED:
        return False
    nbytes = shape[0] * shape[1] * dtype.itemsize
    return bool(nbytes >= LEAST) and bool(shape[1] >= NARROWEST[dtype.char])


def waits(p: Any, x: Any, v: Any) -> bool:
    """Whether X v had better wait, since products with X' of what is made of it are asked for."""
    (shape, dtype), (other, kind) = x.meta, v.meta
    if not FUSES or len(other) != 1 or kind != dtype or other[0] != shape[-1]:
        return False
    if x.data is None or not _fits(shape, dtype) or ROUNDING not in p.session.allowed:
        return False
    account = p.accounts.get(("tall", x.node.digest))
    return account is not None and bool(account.spent > 0.0)


def _sides(a: Any, b: Any) -> tuple[Any, Any] | None:
    """X and w of `X.T @ w` or `w @ X`."""
    if len(b.meta[0]) == 1 and len(a.meta[0]) == 2:
        node, root = a.node, a.root
        if root is None or node.spec.op != "transpose" or node.spec.params:
            return None
        return (root, b) if node.inputs[0] is root.node else None
    return (b, a) if len(a.meta[0]) == 1 and len(b.meta[0]) == 2 else None


def _tall_sides(spec: Spec, inputs: Sequence[Any]) -> tuple[Any, Any] | None:
    """X and w of a product X' w that the kernels may take, X being present."""
    if not FUSES or len(inputs) != 2 or spec.params:
        return None
    a, b = inputs
    if not (hasattr(a, "meta") and hasattr(b, "meta")):
        return None
    found = _sides(a, b)
    if found is None:
        return None
    x, w = found
    shape, dtype = x.meta
    fits = x.data is not None and _fits(shape, dtype) and w.meta == ((shape[0],), dtype)
    return found if fits else None


def _below(w: Any, x: Any) -> Any:
    """The product X v that waits below `w`; None if there is none, or more than one."""
    found: Any = None
    stack, seen = [w], {id(w)}
    while stack and len(seen) <= LOOKED_AT:
        value = stack.pop()
        if value.data is not None or not getattr(value, "args", None):
            continue
        if value.row.name in PRODUCTS:
            if value.args[0] is x or value.args[0].node is x.node:
                if found is not None:
                    return None
                found = value
            continue
        for one in value.args:
            if hasattr(one, "meta") and id(one) not in seen:
                seen.add(id(one))
                stack.append(one)
    return found


def _made_of(node: Node, x: Node) -> bool:
    """Whether a product X v is among the operations that made something lately."""
    line, seen = [node], {id(node)}
    for below in line:
        if below.spec.op in PRODUCTS and below.inputs[0] is x:
            return True
        for one in below.inputs:
            if type(one) is Node and id(one) not in seen and len(line) < LOOKED_AT:
                seen.add(id(one))
                line.append(one)
    return False


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """X' f(X v) in one pass; notes where it was asked for and X v had not waited."""
    found = _tall_sides(spec, inputs)
    if found is None:
        return None
    x, w = found
    (shape, dtype), data = x.meta, x.data
    z = _below(w, x)
    if z is None:
        account = _account(p, x.node)
        if not account.spent and _made_of(w.node, x.node):
            account.spent = p.product(*inputs)
        return None
    v = z.args[1]
    if not tall.takes(data, p.data(v)):
        return None
    once = shape[0] * shape[1] * dtype.itemsize / cost.machine().stream
    price = cost.DERIVATION + once + p.building(w) - p.product(x, v)

    def make() -> Any:
        made = p.through(x, v, z, w)
        if made is None:
            raise Declined
        return made

    direct = price + once
    return Offer(rule, ((shape[1],), dtype), make, direct - price, direct, price, True)


TALL = Rule(
    name="product-in-one-pass",
    equation="X' f(X v) = sum over blocks of rows B of B' f(B v)",
    saves="the second of two passes over a tall matrix",
    exactness=ROUNDING,
    plan=plan,
    example=(
        "def f(X, d):\n"
        "    X = np.tile(X, (4, 2))[:20000, :16].copy()\n"
        "    v = np.ones(16)\n"
        "    for _ in range(3):\n"
        "        first, v = v, X.T @ np.tanh(X @ v) / len(X)\n"
        "    return first, v"
    ),
    structured=False,
)


SPARSE = 0.6
"""Rows with weights, as a part of all, up to which leaving out the others is worth it."""

SAMPLED = 16
"""One of so many weights is looked at to find out."""


def plan_some(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """X' w of the rows where w is not zero, if X is finite."""
    found = _tall_sides(spec, inputs)
    if found is None:
        return None
    x, w = found
    (shape, dtype), data = x.meta, x.data
    if _below(w, x) is not None:
        return None  # it may be had in one pass
    account, direct = p.account(("some", x.node.digest)), p.product(*inputs)
    weights = None if account.barred or direct <= cost.DERIVATION else p.data(w)
    if weights is None or not tall.takes(data, weights, long=True):
        return None
    sample = weights[::SAMPLED]
    part = np.count_nonzero(sample) / len(sample)
    if part > SPARSE:
        return None
    price = cost.DERIVATION + direct * part + cost.build(w.meta[0], dtype.itemsize)
    if account.node is None:  # X has not been looked at
        once = shape[0] * shape[1] * dtype.itemsize / cost.machine().stream
        if account.allows(direct - price) < once:
            account.spent += max(0.0, direct - price)
            return None

    def make() -> Any:
        if account.node is None and not finite(data):
            account.barred = True
            raise Declined
        account.node = x.node
        return p.run("tall.some", x, w)

    return Offer(rule, ((shape[1],), dtype), make, direct - price, direct, price)


SOME = Rule(
    name="product-of-weighted-rows",
    equation="X' w = X[k]' w[k], where k are the rows with w[k] != 0",
    saves="reading the other rows of a tall matrix that is finite",
    exactness=ROUNDING,
    plan=plan_some,
    example=(
        "def f(X, d):\n"
        "    X = np.tile(X, (4, 2))[:20000, :16].copy()\n"
        "    hinge = np.maximum(X[:, 0] - 0.5, 0.0)\n"
        "    return [X.T @ (hinge / k) for k in range(1, 6)]"
    ),
    structured=False,
)
