"""Rules of one-hot matrices: sums of rows by label, and counts of labels.

`M = (labels[:, None] == np.arange(k)).astype(float)` is written to choose rows: M' X has the sums
of the rows of each label, and the sums down M are how many there are. Of the labels both take one
pass over X, or over nothing but them; M, which is as large as X where there are as many labels as
columns, is not made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lima import cost
from lima.node import Spec
from lima.op import FUSED, FUSES, Kind, Op, op
from lima.pattern import BITWISE, ROUNDING, Declined, Offer, Rule

if FUSES:
    from lima import narrow

MOST = 1 << 10
"""Labels that there may be."""

EXACT = {"d": 1 << 53, "f": 1 << 24}
"""Numbers up to which counting in floating point is exact, by dtype."""


# --------------------------------------------------------------------------- kernels and twins


def sums_by_label(labels: Any, x: Any, *, first: int, count: int) -> Any:
    """Sums of the rows of each of `count` labels from `first` on, as `lima.narrow` adds them up."""
    places = labels.reshape(-1).astype(np.int64) - first
    size = max(8192, (len(x) + 65535) // 65536 * 1024)
    total = None
    for start in range(0, len(x), size):
        found = np.zeros((count, x.shape[1]), x.dtype)
        np.add.at(found, places[start : start + size], x[start : start + size])
        total = found if total is None else total + found
    return total


def _sums(labels: Any, x: Any, *, first: int, count: int, threads: int = 1) -> Any:
    found = None
    if FUSES and narrow.lies(x):
        places = np.ascontiguousarray(labels.reshape(-1), dtype=np.int64)
        found = narrow.labelled(x, places, first, count, threads)
    return sums_by_label(labels, x, first=first, count=count) if found is None else found


def _counts(labels: Any, *, first: int, count: int, dtype: Any) -> Any:
    places = labels.reshape(-1).astype(np.int64)
    inside = (places >= first) & (places < first + count)
    if not inside.all():
        places = places[inside]
    return np.bincount(places - first, minlength=count).astype(dtype)


def _text(inputs: list[str], params: dict[str, str]) -> str:
    given = ", ".join(f"{name}={params[name]}" for name in ("first", "count"))
    return f"sums_by_label({', '.join(inputs)}, {given})"


op(
    "matmul.labelled",
    _sums,
    Kind.EFFECT,
    operands="labels x",
    calls=(),
    signature="labels, x, first, count",
    threaded=True,
    source=_text,
)
op("labels.counted", _counts, operands="labels", calls=(), signature="labels, first, count, dtype")

HELPERS = (sums_by_label,)
"""Functions that a program defines when it calls them (`lima.spelled`)."""


# --------------------------------------------------------------------------- the rules


class OneHot(NamedTuple):
    """A matrix that waits, of ones where a label is that of its line, and zeros elsewhere.

    labels  a live value, of integers: as many as there are rows, or columns
    first   the label of the first line of the other axis; the next ones follow
    kinds   how many there are
    axis    that along which the labels go
    """

    labels: Any
    first: int
    kinds: int
    axis: int


def one_hot(p: Any, value: Any) -> OneHot | None:
    """What waits as a comparison of labels with consecutive numbers, made floating point."""
    if value.data is not None or getattr(value, "args", None) is None or value.row.name != "astype":
        return None
    shape, dtype = value.meta
    if len(shape) != 2 or dtype.char not in EXACT or shape[0] * shape[1] <= FUSED:
        return None
    if any(name not in ("dtype", "copy") for name, _ in value.node.spec.params):
        return None
    equal = value.args[0]
    if getattr(equal, "data", True) is not None or getattr(equal, "args", None) is None:
        return None
    if equal.row.name != "equal" or equal.node.spec.params:
        return None
    for labels, lines in (equal.args, equal.args[::-1]):
        for axis in (0, 1):
            if _lies_along(labels, shape, axis) and _lies_along(lines, shape, 1 - axis):
                known = p.data(lines).reshape(-1)
                first = int(known[0])
                few = len(known) <= MOST and len(known) * 4 <= shape[axis]
                if few and np.array_equal(known, np.arange(first, first + len(known))):
                    return OneHot(labels, first, len(known), axis)
    return None


def _lies_along(value: Any, shape: tuple[int, ...], axis: int) -> bool:
    """Whether these are integers, one for each line along an axis."""
    if not hasattr(value, "meta") or value.meta[1].kind != "i":
        return False
    found = value.meta[0]
    if axis == 1 and found == shape[1:]:
        return True
    return (
        len(found) == 2 and found[axis] == shape[axis] and found[1 - axis] == 1 != shape[1 - axis]
    )


def plan_sums(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """M' X for a one-hot M."""
    if len(inputs) != 2 or spec.params:
        return None
    a, x = inputs
    if getattr(a, "data", True) is not None or not hasattr(x, "meta"):
        return None
    if len(a.meta[0]) != 2 or len(x.meta[0]) != 2 or x.meta[1] != a.meta[1]:
        return None
    matrix, axis = a, 1
    if getattr(a, "row", None) is not None and a.row.name == "transpose":
        if a.node.spec.params:
            return None
        matrix, axis = a.args[0], 0
    if not hasattr(matrix, "meta") or x.data is None:
        return None
    found = one_hot(p, matrix)
    if found is None or found.axis != axis:
        return None
    (n, columns), dtype = x.meta
    direct = float(p.product(a, x) + p.building(matrix))
    price = cost.DERIVATION + 2 * n * columns * dtype.itemsize / cost.machine().stream

    def make() -> Any:
        labels = p.data(found.labels)
        if labels.min() < found.first or labels.max() >= found.first + found.kinds:
            raise Declined  # a row that belongs to none may hold what is not finite
        return p.run("matmul.labelled", found.labels, x, first=found.first, count=found.kinds)

    return Offer(rule, ((found.kinds, columns), dtype), make, direct - price, direct, price)


def plan_counts(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """The sums of the lines of a one-hot matrix, over its labels."""
    if len(inputs) != 1 or len(spec.params) != 1 or spec.params[0][0] != "axis":
        return None
    (value,) = inputs
    if not hasattr(value, "meta") or value.data is not None or len(value.meta[0]) != 2:
        return None
    found = one_hot(p, value)
    axis = spec.params[0][1]
    if found is None or type(axis) is not int or axis % 2 != found.axis:
        return None
    shape, dtype = value.meta
    if shape[found.axis] > EXACT[dtype.char]:
        return None
    direct = float(p.building(value))
    price = cost.DERIVATION + cost.build((shape[found.axis],), 8)

    def make() -> Any:
        first, count = found.first, found.kinds
        return p.run("labels.counted", found.labels, first=first, count=count, dtype=dtype)

    return Offer(rule, ((found.kinds,), dtype), make, direct - price, direct, price, True)


SUMS = Rule(
    name="sums-by-label",
    equation="M' X = sums of the rows of X by label;  M[i, j] = (label[i] == j)",
    saves="the matrix of ones and zeros, and the product with its zeros",
    exactness=ROUNDING,
    plan=plan_sums,
    example=(
        "def f(X, d):\n"
        "    X = np.tile(X, (9, 1))\n"
        "    labels = X.argmax(axis=1)\n"
        "    M = (labels[:, None] == np.arange(X.shape[1])).astype(X.dtype)\n"
        "    return labels, M.T @ X"
    ),
    structured=False,
)

COUNTS = Rule(
    name="counts-by-label",
    equation="sum over i of M[i, j] = number of labels j;  M[i, j] = (label[i] == j)",
    saves="the matrix of ones and zeros",
    exactness=BITWISE,
    plan=plan_counts,
    example=(
        "def f(X, d):\n"
        "    labels = np.tile(X, (9, 1)).argmax(axis=1)\n"
        "    M = (labels[:, None] == np.arange(X.shape[1])).astype(X.dtype)\n"
        "    return labels, M.sum(axis=0)"
    ),
    structured=False,
)
