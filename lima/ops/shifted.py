"""Rules of products of centred and scaled matrices, from those of the matrix as it was.

Z = (X - 1 c') D, where c and D have a number for each column: Z' Z is had from X' X and the column
sums, and Z' y from X' y, so that neither Z nor its product is made for each of many c and D (folds
of a cross validation, of which each is standardised by itself). Subtraction cancels: how much is
seen from the diagonal, which holds the squared norms of the columns before and after. The rule of
class `rounding` allows what is within a small factor of the error of the plain product; that of
class `guarded` more (reference: section 2.4, A9, A10, A12).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lima import cost
from lima.node import Spec, new_node
from lima.op import OPS, Op
from lima.pattern import GUARDED, ROUNDING, Declined, Offer, Rule, limit_of

LIMITS = {ROUNDING: 16.0, GUARDED: 1e6}
"""By class: how much larger the squared norms of columns may be than those of centred ones."""

STEP = 8e-6
"""Seconds of one operation of a derivation."""

LARGEST = 1e300
"""Numbers beyond it are left alone, as a Python integer may be too large for a float."""

LAYERS = {"add", "subtract", "multiply", "divide"}

UPRIGHT = (slice(None), None)


class Layers(NamedTuple):
    """A matrix as columns of another one, shifted, then scaled.

    base    the matrix whose columns they are
    sign    -1 where `shift` is subtracted, 1 where it is added
    shift   a number for each column, or one for all; None for none
    by      "multiply" or "divide": how `scale` is applied
    scale   likewise; None for none
    """

    base: Any
    sign: int
    shift: Any
    by: str
    scale: Any


def layers(p: Any, value: Any) -> Layers | None:
    """What waits as centring and scaling of the columns of a matrix."""
    if not _waits(value) or len(value.meta[0]) != 2:
        return None
    scale, by = None, "multiply"
    inner = value
    if value.row.name in ("multiply", "divide"):
        by = value.row.name
        found = _operands(p, value, by == "multiply")
        if found is None:
            return None
        inner, scale = found
    shift, sign = None, -1
    if _waits(inner) and inner.row.name in ("add", "subtract"):
        sign = 1 if inner.row.name == "add" else -1
        found = _operands(p, inner, sign == 1)
        if found is None:
            return None
        inner, shift = found
    if inner is value or (_waits(inner) and inner.row.name in LAYERS):
        return None  # errors of layers below others would multiply
    return Layers(inner, sign, shift, by, scale)


def _waits(value: Any) -> bool:
    return bool(value.data is None and hasattr(value, "row") and value.args is not None)


def _operands(p: Any, item: Any, swaps: bool) -> tuple[Any, Any] | None:
    """The matrix and what stands for a number for each of its columns."""
    spec, args = item.node.spec, item.args
    if spec.params or len(args) != 2:
        return None
    for a, b in (args, args[::-1]) if swaps else (args,):
        if getattr(a, "meta", None) == item.meta and _for_columns(b, item.meta):
            return p.bare(a), b
    return None


def is_number(x: Any) -> bool:
    """Whether it is a real number of Python or NumPy that a float can hold."""
    return isinstance(x, (int, float, np.integer, np.floating)) and bool(-LARGEST < x < LARGEST)


def _for_columns(x: Any, meta: Any) -> bool:
    if not hasattr(x, "meta"):
        return is_number(x)
    (m, n), dtype = meta
    return bool(x.meta[1] == dtype and x.meta[0] in ((n,), (1, n), ()) and m > 1)


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Z' Z or Z' y, where Z waits and the product of what it was made of is known."""
    if rule.exactness == ROUNDING and GUARDED in p.session.allowed:
        return None  # the other one takes what this one would
    if len(inputs) != 2 or any(name != "alias" for name, _ in spec.params):
        return None
    a, b = inputs
    if not (hasattr(a, "meta") and hasattr(b, "meta")) or len(a.meta[0]) != 2:
        return None
    above, across = p.upright(a, 0)
    above = p.bare(above)
    if across != 1 or above.data is not None:
        return None
    z = layers(p, above)
    dtype = a.meta[1]
    if z is None or dtype.char not in "fd" or b.meta[1] != dtype or 0 in b.meta[0]:
        return None
    right = p.bare(b)
    same = _waits(right) and right.meta == above.meta
    gram = right is above or (same and right.node.digest == above.node.digest)
    flipped = p.run("transpose", z.base)
    direct = float(p.product(a, b, gram) + p.building(above) + p.building(b))
    price = cost.DERIVATION + 14 * STEP + 4 * cost.build((a.meta[0][0], *b.meta[0][1:]), 8)
    norming = _parts(p, row, flipped, z.base) if gram or z.shift is not None else 0.0
    if norming is None:
        return None
    price += norming
    if not gram:
        crossing = _parts(p, row, flipped, b)
        if crossing is None:
            crossing = p.product(flipped, b) + p.building(z.base) + p.building(b)
        price += crossing
    if z.shift is not None and not _sums_known(p, z.base):
        price += cost.CALL + _size(z.base.meta) / cost.machine().stream
    if price >= direct:
        return None
    shape = (a.meta[0][0], *b.meta[0][1:])
    limit = limit_of(rule, LIMITS, dtype)
    make = _gram if gram else _cross
    return Offer(
        rule, (shape, dtype), lambda: make(p, row.name, z, b, limit), direct - price, direct, price
    )


def _parts(p: Any, row: Op, a: Any, b: Any) -> float | None:
    """Seconds of a product that is known, or had from parts; None if it is neither."""
    if p.known(row.name, a, b):
        return 0.0
    found = p.best(row, row.spec, (a, b))
    return None if found is None else float(found.price)


def _size(meta: Any) -> float:
    (m, n), dtype = meta
    return float(m * n * dtype.itemsize)


def _sums_known(p: Any, base: Any) -> bool:
    row = OPS["sum"]
    node = new_node(Spec(row.name, (("axis", 0),), 1, row.version), (base.node,))
    return p.session.cache.peek(node.digest) is not None


def _vector(p: Any, x: Any, n: int, dtype: Any) -> Any:
    """A number for each column as a vector."""
    if not hasattr(x, "meta"):
        return p.run("full", shape=(n,), fill_value=float(x), dtype=dtype)
    if x.meta[0] == ():
        return p.run("multiply", p.run("ones", shape=(n,), dtype=dtype), x)
    return x if len(x.meta[0]) == 1 else p.run("slice", x, index=(0, slice(None)))


def _outer(p: Any, x: Any, y: Any) -> Any:
    return p.run("multiply", p.run("slice", x, index=UPRIGHT), y)


def _moments(p: Any, name: str, z: Layers) -> tuple[Any, Any, Any, Any]:
    """X' X, column sums, the vector that is subtracted, and the squared norms of columns."""
    (m, n), dtype = z.base.meta
    gram = p.run(name, p.run("transpose", z.base), z.base)
    before = np.diagonal(p.data(gram))
    if z.shift is None:
        return gram, None, None, (before, before)
    sums = p.run("sum", z.base, axis=0)
    c = _vector(p, z.shift, n, dtype)
    if z.sign == 1:
        c = p.run("negative", c)
    at, total = p.data(c), p.data(sums)
    after = before - 2 * at * total + m * at * at
    return gram, sums, c, (before + m * at * at + 2 * np.abs(at * total), after)


def _check(norms: Any, limit: float) -> None:
    """Decline where columns lose too much of their norm, or where squares may have underflowed."""
    before, after = norms
    if not (np.all(before <= limit * after) and np.all(before > _smallest(before.dtype))):
        raise Declined


def _smallest(dtype: Any) -> Any:
    info = np.finfo(dtype)
    return info.tiny / info.eps**2


def _scaled(p: Any, z: Layers, made: Any, factor: Any) -> Any:
    """`made` times (or divided by) factors, unless some digits are lost on the way."""
    size = np.abs(p.data(factor))
    least = _smallest(size.dtype)
    if not (np.all(size > least) and np.all(size < 1 / least)):
        raise Declined
    found = p.run(z.by, made, factor)
    if np.any((p.data(made) != 0) & (np.abs(p.data(found)) < least)):
        raise Declined
    return found


def _gram(p: Any, name: str, z: Layers, b: Any, limit: float) -> Any:
    """D (G - c s' - s c' + m c c') D, symmetric in every bit."""
    (m, n), dtype = z.base.meta
    made, sums, c, norms = _moments(p, name, z)
    _check(norms, limit)
    if z.shift is not None:
        half = _outer(p, c, sums)
        both = p.run("add", half, p.run("transpose", half))
        around = p.run("multiply", _outer(p, c, c), float(m))
        made = p.run("add", p.run("subtract", made, both), around)
    if z.scale is not None:
        d = _vector(p, z.scale, n, dtype)
        made = _scaled(p, z, made, _outer(p, d, d))
    return made


def _cross(p: Any, name: str, z: Layers, b: Any, limit: float) -> Any:
    """D (X' y - c (1' y))."""
    (_, n), dtype = z.base.meta
    if z.shift is not None:
        _, _, c, norms = _moments(p, name, z)
        _check(norms, limit)
        largest = np.abs(p.data(b)).max()
        if not np.all(np.sqrt(norms[0]) * largest > _smallest(dtype)):
            raise Declined
    made = p.run(name, p.run("transpose", z.base), b)
    if z.shift is None:
        if not np.all(np.abs(p.data(made)) > _smallest(dtype)):
            raise Declined
    else:
        total = p.run("sum", b, axis=0)
        if len(b.meta[0]) == 2:
            made = p.run("subtract", made, _outer(p, c, total))
        else:
            made = p.run("subtract", made, p.run("multiply", c, total))
    if z.scale is not None:
        d = _vector(p, z.scale, n, dtype)
        made = _scaled(p, z, made, p.run("slice", d, index=UPRIGHT) if len(b.meta[0]) == 2 else d)
    return made


EQUATION = "((X - 1c') D)' (X - 1c') D = D (X'X - c s' - s c' + m c c') D;  s = X' 1"
SAVES = "the products of a centred or scaled matrix, and making that matrix"
EXAMPLE = (
    "def f(X, d):\n"
    "    G = X.T @ X\n"
    "    Z = (X - X.mean(axis=0)) / X.std(axis=0)\n"
    "    return G, Z.T @ Z"
)

SHIFTED = Rule(
    name="centred-product",
    equation=EQUATION,
    saves=SAVES,
    exactness=ROUNDING,
    plan=plan,
    example=EXAMPLE,
    structured=False,
)

RULES = (
    SHIFTED,
    SHIFTED.guarded(example=EXAMPLE.replace("    G = X", "    X = X + 30.0\n    G = X")),
)
