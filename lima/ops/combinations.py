"""Rules of sums: weighted combinations of arrays that were combined before (reference: F2)."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from typing import Any

import numpy as np

from lima import cost
from lima.node import Spec
from lima.op import Op
from lima.pattern import ROUNDING, Offer, Rule, Scaled, Sum

LEAST = 3
"""Different arrays with weights from which combining them in one pass is worth a look."""

MOST = 64
"""Arrays of a combination that is looked at."""

ONE = 1.0
"""The weight of an array that stands in a sum by itself."""


def _terms(p: Any, inputs: Sequence[Any]) -> list[tuple[Any, Any]] | None:
    """(weight, array) of a sum of weighted arrays, in order; None where it is none."""
    found: list[tuple[Any, Any]] = []
    todo = list(reversed(inputs))
    while todo:
        item = todo.pop()
        if not hasattr(item, "meta"):
            if type(item) in (int, float) and item == 0:  # what sums begin with
                continue
            return None
        form = p.form(item) if item.data is None else None
        if type(form) is Sum:
            todo.extend(reversed(item.args))
        elif type(form) is Scaled:
            found.append((item.args[1 - form.place], item.args[form.place]))
        else:
            found.append((ONE, item))
        if len(found) > MOST:
            return None
    scaled = {array.node.digest for weight, array in found if weight is not ONE}
    return found if len(scaled) >= LEAST else None


def _magnitude(weight: Any, dtype: Any) -> float:
    """The absolute value of a weight; infinity for one that is no number or widens the result."""
    data = weight.data if hasattr(weight, "meta") else weight
    if type(data) in (int, float) or (isinstance(data, np.floating) and data.dtype == dtype):
        size = abs(float(data))
        return size if isfinite(size) else inf
    return inf


def plan_combination(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """One product of the weights with the arrays laid one upon the other."""
    terms = None if spec.params else _terms(p, inputs)
    if terms is None:
        return None
    shape, dtype = terms[0][1].meta
    if dtype.kind != "f":
        return None
    weights = 0.0
    for weight, array in terms:
        data = array.data
        if type(data) is not np.ndarray or data.shape != shape or data.dtype != dtype:
            return None
        if not data.flags.c_contiguous:
            return None
        weights += _magnitude(weight, dtype)
    if weights == inf:
        return None
    arrays = [array for _, array in terms]
    account = p.account(("stack", tuple([a.node.digest for a in arrays])))
    if account.barred:
        return None
    passes = 2 * len(terms) * cost.build(shape, dtype.itemsize)
    building = cost.build((len(terms), *shape), dtype.itemsize)
    stacked = p.recall(account.node) if account.node is not None else None
    if stacked is None:
        account.spent += passes
        if account.spent < 2 * building:
            return None

    def make() -> Any:
        base = stacked
        if base is None:
            base = p.run("stack", *arrays)
            account.barred = not p.hold(base, building)
            account.node = base.node
            account.size = float(np.abs(base.data).max())
        return p.run("combined", *[weight for weight, _ in terms], base)

    price = len(terms) * cost.build(shape, dtype.itemsize) / 2
    finite = weights * account.size < np.finfo(dtype).max / 2
    return Offer(rule, (shape, dtype), make, passes - price, passes, price, finite)


COMBINATIONS = (
    Rule(
        name="weighted-sum",
        equation="w1 P1 + w2 P2 + ... = [w1 w2 ...] [P1; P2; ...]",
        saves="all passes over memory but one, when other weights combined the same arrays before",
        exactness=ROUNDING,
        plan=plan_combination,
        example="def f(X, w):\n    P = [np.exp(X * k / 9) @ np.ones((12, 9)) for k in range(4)]\n"
        "    return [sum((v + k) * p for k, p in enumerate(P)) for v in np.ravel(w)[:6]]",
    ),
)
