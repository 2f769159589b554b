"""Rules of reductions: of joined and chosen lines, from those of the parts.

Along the axis of joining, what the parts give is combined; across it, it stands side by side. What
is exact (extremes, counts, integers) keeps its bits. Sums of floating point numbers are rounded in
another order; spread is merged from counts, means and sums of squares of deviations, which does not
cancel unless the means of the parts differ by much less than they are large, and is left to NumPy
there (reference: section 2.4, C1, C2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima import cost
from lima.node import Spec, new_node
from lima.op import Op
from lima.ops.labelled import COUNTS
from lima.ops.normal import SQUARES, TOTALS
from lima.ops.subsets import stretches
from lima.pattern import BITWISE, ROUNDING, Declined, Filled, Offer, Rule

COMBINED = {
    "sum": "add", "prod": "multiply", "count_nonzero": "add", "max": "maximum", "min": "minimum",
    "any": "logical_or", "all": "logical_and",
}  # fmt: skip
"""What puts together the results of parts, by reduction."""

MOST_PARTS = 64
STEP = 8e-6
"""Seconds of one operation of a derivation."""

AMPLIFIED = 8.0
"""How much larger than rounding errors those of merged variances may be by the guard's estimate."""


class Call:
    """A reduction as it was asked for: its operand, the axis from the front, other parameters."""

    def __init__(self, p: Any, row: Op, spec: Spec, value: Any) -> None:
        self.p, self.row, self.value = p, row, value
        self.shape, self.dtype = value.meta
        self.options = dict(spec.params)
        axis = self.options.get("axis")
        self.axis = axis if axis is None else axis % len(self.shape)
        self.keeps = self.options.get("keepdims") is True

    def meta(self) -> tuple[tuple[int, ...], Any]:
        """Shape and dtype of the result."""
        asked = {k: v for k, v in self.options.items() if k not in ("ddof", "correction")}
        one = self.row.kernel(np.ones((1,) * len(self.shape), self.dtype), **asked)
        kept = [1 if k == self.axis or self.axis is None else n for k, n in enumerate(self.shape)]
        if self.keeps:
            return tuple(kept), one.dtype
        return tuple([n for k, n in enumerate(kept) if k != self.axis][: one.ndim]), one.dtype

    def run(self, name: str, part: Any, **changed: Any) -> Any:
        """The reduction `name` of a part, with the parameters of this one."""
        return self.p.run(name, part, **{**self.options, **changed})

    def known(self, name: str, version: int, part: Any) -> bool:
        """Whether the cache has that."""
        spec = Spec(name, tuple(self.options.items()), 1, version)
        node = new_node(spec, (part.node,))
        return self.p.session.cache.peek(node.digest) is not None

    def reading(self, part: Any) -> float:
        """Seconds of reducing a part as it is."""
        shape, dtype = part.meta
        size = 1
        for n in shape:
            size *= n
        nbytes = size * dtype.itemsize * max(1.0, self.row.weight / 4.0)
        return float(cost.CALL + nbytes / cost.machine().stream + self.p.building(part))


def fitting(p: Any, row: Op, spec: Spec, inputs: Sequence[Any], kinds: str) -> Call | None:
    """The call, if it is of a matrix or vector with elements of these kinds and no odd options."""
    if len(inputs) != 1 or not hasattr(inputs[0], "meta"):
        return None
    shape, dtype = inputs[0].meta
    if dtype.kind not in kinds or len(shape) not in (1, 2) or 0 in shape or dtype.char == "e":
        return None
    for name, given in spec.params:
        fits = (name == "axis" and type(given) is int and -len(shape) <= given < len(shape)) or (
            name == "keepdims" and given is True
        ) or (name == "ddof" and type(given) in (int, float))  # fmt: skip
        if not fits:
            return None
    return Call(p, row, spec, inputs[0])


def upright(p: Any, part: Any, axis: int, ndim: int) -> Any:
    """A part as it lies in the joined array."""
    if len(part.meta[0]) == ndim:
        return p.bare(part)
    index = (slice(None), None) if axis else (None, slice(None))
    return p.run("slice", part, index=index)


def parts_of(p: Any, call: Call, axis: int) -> list[Any] | None:
    """The parts that the operand joins along `axis`, if there are some and none is empty."""
    found = p.parts(call.value, axis)
    if found is None and axis == 0:
        found = stretches(p, call.value)
    if found is None or len(found) > MOST_PARTS or any(0 in x.meta[0] for x in found):
        return None
    return list(found)


# --------------------------------------------------------------------------- along the joining


def along(p: Any, rule: Any, call: Call, name: str) -> Any:
    """Combine what the parts give along the axis on which they are joined."""
    axes = (call.axis,) if call.axis is not None else tuple(range(len(call.shape)))
    for axis in axes:
        parts = parts_of(p, call, axis)
        if parts is not None:
            break
    else:
        return None
    direct = call.reading(call.value)
    price = cost.DERIVATION
    ndim = len(call.shape)
    for part in parts:
        seen = len(part.meta[0]) == ndim and call.known(name, 1, part)
        price += STEP + (0.0 if seen else call.reading(part))
    price += (len(parts) - 1) * STEP
    if price >= direct:
        return None

    def make() -> Any:
        total = None
        for part in parts:
            found = call.run(name, upright(p, part, axis, ndim))
            total = found if total is None else p.run(COMBINED[name], total, found)
        return total

    return Offer(rule, call.meta(), make, direct - price, direct, price)


# --------------------------------------------------------------------------- across the lines


def across(p: Any, rule: Any, call: Call) -> Any:
    """Put side by side, or choose from, what the lines of the bases give."""
    if call.axis is None or len(call.shape) != 2 or call.keeps:
        return None
    lines = 1 - call.axis
    found = p.pieces(call.value, lines)
    if len(found) > MOST_PARTS or (len(found) == 1 and found[0].base is call.value):
        return None
    row = call.row
    direct = call.reading(call.value)
    price, spent = cost.DERIVATION + STEP * (len(found) + 1), []
    for piece in found:
        shape = piece.base.meta[0]
        if 0 in shape or type(p.form(piece.base)) is Filled:
            return None
        seen = _base_known(p, call, piece)
        if seen or piece.whole:
            price += 0.0 if seen else call.reading(piece.base)
            continue
        account = p.account(("reduced", row.name, spec_key(call), piece.base.node.digest))
        spent.append(account)
        price += call.reading(piece.base) - account.spent
    if price >= direct:
        for account in spent:
            account.spent += direct / len(spent)
        return None

    def make() -> Any:
        made = [_chosen(p, call, piece) for piece in found]
        return made[0] if len(made) == 1 else p.run("concatenate", *made)

    return Offer(rule, call.meta(), make, direct - price, direct, price)


def spec_key(call: Call) -> tuple[Any, ...]:
    return tuple(call.options.items())


def _base_axis(piece: Any) -> int:
    return 0 if len(piece.base.meta[0]) == 1 else 1 - piece.axis


def _base_known(p: Any, call: Call, piece: Any) -> bool:
    if len(piece.base.meta[0]) == 1:
        return False
    options = {**call.options, "axis": _base_axis(piece)}
    spec = Spec(call.row.name, tuple(options.items()), 1, call.row.version)
    node = new_node(spec, (piece.base.node,))
    return p.session.cache.peek(node.digest) is not None


def _chosen(p: Any, call: Call, piece: Any) -> Any:
    """The results of the lines of a piece."""
    base, name = piece.base, call.row.name
    if len(base.meta[0]) == 1:
        base = p.run("slice", base, index=(None, slice(None)))
        return call.run(name, base, axis=1)
    made = call.run(name, base, axis=_base_axis(piece))
    if not piece.whole:
        p.hold(made, call.reading(base))
        made = p.run("take", made, indices=tuple(piece.picked))
    return made


# --------------------------------------------------------------------------- exact ones


def plan_exact(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Extremes, counts, truth, and sums of integers, which wrap in any order."""
    extreme = row.name in ("max", "min")
    call = fitting(p, row, spec, inputs, "fiub" if extreme else "iub")
    if call is None or (row.name == "count_nonzero" and call.axis is None):
        return None
    offer = along(p, rule, call, row.name) or across(p, rule, call)
    if offer is None:
        return None
    if call.dtype.kind != "f":
        return offer._replace(finite=True)
    return offer._replace(make=lambda: _signed(p, offer.make()))


def _signed(p: Any, made: Any) -> Any:
    """An extreme, unless it may be the other zero."""
    if not np.all(p.data(made)):
        raise Declined
    return made


# --------------------------------------------------------------------------- rounded ones


def plan_sums(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Sums and means of floating point numbers."""
    call = fitting(p, row, spec, inputs, "fc")
    if call is None or "ddof" in call.options:
        return None
    offer = along(p, rule, call, "sum")
    if offer is None:
        return across(p, rule, call)
    if row.name == "sum":
        return offer
    count = call.value.meta[0][call.axis] if call.axis is not None else _size(call.shape)
    return offer._replace(make=lambda: p.run("divide", offer.make(), count))


def _size(shape: tuple[int, ...]) -> int:
    return shape[0] if len(shape) == 1 else shape[0] * shape[1]


# --------------------------------------------------------------------------- spread


def plan_spread(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Variance and standard deviation: the merge of counts, means and squares of deviations."""
    call = fitting(p, row, spec, inputs, "f")
    if call is None:
        return None
    if call.axis is None or call.keeps or len(call.shape) != 2:
        return None
    parts = parts_of(p, call, call.axis)
    if parts is None:
        return across(p, rule, call)
    ddof = call.options.get("ddof", 0)
    count = call.shape[call.axis]
    if count <= ddof or ddof < 0 or any(len(x.meta[0]) == 1 for x in parts):
        return None
    direct = 2 * call.reading(call.value)
    price = cost.DERIVATION + 6 * STEP * len(parts)
    options = {"axis": call.axis}
    for part in parts:
        node = new_node(Spec("var", tuple(options.items()), 1, 1), (part.node,))
        seen = p.session.cache.peek(node.digest) is not None
        price += 0.0 if seen else 3 * call.reading(part)
    if price >= direct:
        return None

    def make() -> Any:
        return _merged(p, [p.bare(x) for x in parts], call.axis, count - ddof, row.name == "std")

    return Offer(rule, call.meta(), make, direct - price, direct, price)


def _merged(p: Any, parts: list[Any], axis: Any, divisor: float, root: bool) -> Any:
    counts = [part.meta[0][axis] for part in parts]
    means = [p.run("mean", part, axis=axis) for part in parts]
    spreads = [p.run("var", part, axis=axis) for part in parts]
    total = _weighted(p, means, counts)
    mean = p.run("divide", total, sum(counts))
    gaps = [p.run("subtract", one, mean) for one in means]
    squares = [p.run("multiply", gap, gap) for gap in gaps]
    within, between = _weighted(p, spreads, counts), _weighted(p, squares, counts)
    around = p.run("add", within, between)
    seen = [[p.data(x) for x in each] for each in (means, gaps, spreads)]
    _guard(counts, seen[0], seen[1], seen[2], p.data(around))
    made = p.run("divide", around, divisor)
    return p.run("sqrt", made) if root else made


def _weighted(p: Any, values: list[Any], counts: list[int]) -> Any:
    total = None
    for value, count in zip(values, counts, strict=True):
        term = p.run("multiply", value, float(count))
        total = term if total is None else p.run("add", total, term)
    return total


def _guard(counts: Any, means: Any, gaps: Any, spreads: Any, around: Any) -> None:
    """Decline where the rounding errors of means count: the gaps are small beside the means.

    An error e of a mean changes the sum of squares by 2 n |gap| e, where e is some eps of the mean.
    """
    error = 0.0
    for n, mean, gap, spread in zip(counts, means, gaps, spreads, strict=True):
        error = error + n * np.abs(gap) * (np.abs(mean) + np.sqrt(spread))
    if not np.all(error <= AMPLIFIED * around):
        raise Declined


SAVES = "reading and joining parts whose reductions are known"

EXACT = Rule(
    name="reduction-of-lines",
    equation="max([A; D]) = max(max(A), max(D));  max(A[:, S]) = max(A)[S]",
    saves=SAVES,
    exactness=BITWISE,
    plan=plan_exact,
    example="def f(X, d):\n    Z = np.vstack([X, X[:9]])\n    return X.max(axis=0), Z.max(axis=0)",
)

SUMS = Rule(
    name="sum-of-lines",
    equation="sum([A; D]) = sum(A) + sum(D);  sum(A[:, S]) = sum(A)[S]",
    saves=SAVES,
    exactness=ROUNDING,
    plan=plan_sums,
    example="def f(X, d):\n    Z = np.vstack([X, X[:9]])\n    return X.sum(axis=0), Z.mean(axis=0)",
)

SPREAD = Rule(
    name="spread-of-lines",
    equation="m v([A; D]) = a v(A) + d v(D) + a (mean(A) - mean)^2 + d (mean(D) - mean)^2",
    saves=SAVES,
    exactness=ROUNDING,
    plan=plan_spread,
    example="def f(X, d):\n    Z = np.vstack([X, X[:99]])\n    return X.var(axis=0), Z.std(axis=0)",
)

RULES: dict[str, tuple[Rule, ...]] = {
    **dict.fromkeys(("max", "min", "any", "all", "count_nonzero", "prod"), (EXACT,)),
    "sum": (EXACT, SUMS, *SQUARES, *TOTALS, COUNTS),
    "mean": (SUMS, *SQUARES, *TOTALS),
    "var": (SPREAD,),
    "std": (SPREAD,),
}
"""The rules of reductions, by the name of the row."""
