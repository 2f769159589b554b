"""The rule of histograms: of joined samples, from those of the parts.

With edges that are given, each element is counted by itself, and counts are exact in any order
(reference: section 2.4, C4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima import cost
from lima.node import Ref, Spec, new_node
from lima.op import Kind, Op, op
from lima.ops.joined import MOST_PARTS, STEP
from lima.pattern import BITWISE, Offer, Rule

SPEED = 8e-9
"""Seconds that an element takes, at least."""


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """The counts of parts of which some are known, added up."""
    if not inputs:
        return None
    sample = inputs[0]
    if not hasattr(sample, "meta") or sample.data is not None or len(sample.meta[0]) != 1:
        return None
    if sample.meta[1].kind not in "iuf" or not _fixed(spec, inputs):
        return None
    parts = p.parts(sample, 0)
    if parts is None or len(parts) > MOST_PARTS or any(len(x.meta[0]) != 1 for x in parts):
        return None
    rest = inputs[1:]
    after = tuple([x.node if hasattr(x, "node") else x for x in rest])
    known, left = [], 0
    for part in parts:
        node = new_node(spec, (part.node, *after))
        found = p.recall(node) if p.has(node) else None
        left += part.meta[0][0] if found is None else 0
        known.append(found)
    first = next((found.data for found in known if found is not None), None)
    direct = sample.meta[0][0] * SPEED + p.building(sample)
    price = cost.DERIVATION + 4 * STEP * len(parts) + left * SPEED
    if first is None or price >= direct:
        return None

    def make() -> Any:
        made = [
            p.apply(row, spec, (p.bare(part), *rest)) if found is None else found
            for part, found in zip(parts, known, strict=True)
        ]
        return p.run("histogram.added", *made)

    meta = tuple([(item.shape, item.dtype) for item in first])
    return Offer(rule, meta, make, direct - price, direct, price)


def _fixed(spec: Spec, inputs: Sequence[Any]) -> bool:
    """Whether the edges do not hang on the sample, and elements are counted, not weighed."""
    given = dict(spec.params)
    bins, within = given.pop("bins", None), given.pop("range", None)
    if given:
        return False
    if type(bins) is Ref:
        edges = inputs[bins.index]
        return bins.index > 0 and len(edges.meta[0]) == 1
    if _numbers(bins):
        return True
    return _numbers(within) and len(within) == 2 and (bins is None or type(bins) is int)


def _numbers(x: Any) -> bool:
    return type(x) in (tuple, list) and all(type(item) in (int, float) for item in x)


def _added(found: Any) -> Any:
    total = found[0][0]
    for counts, _ in found[1:]:
        total = total + counts
    return total, np.array(found[0][1])


def _text(inputs: list[str], params: dict[str, str]) -> str:
    return f"({' + '.join([f'{x}[0]' for x in inputs])}, {inputs[0]}[1].copy())"


op(
    "histogram.added",
    _added,
    Kind.EFFECT,
    operands="found",
    signature="found",
    calls=(),
    variadic=True,
    wrap=tuple,
    source=_text,
)

HISTOGRAM = Rule(
    name="histogram-of-lines",
    equation="histogram([a; d], edges) = histogram(a, edges) + histogram(d, edges)",
    saves="counting again what was counted before more was appended",
    exactness=BITWISE,
    plan=plan,
    example=(
        "def f(X, d):\n"
        "    x, edges = np.sin(np.arange(400_000.0)), np.linspace(-1.0, 1.0, 30)\n"
        "    first = np.histogram(x, edges)\n"
        "    return first[0], np.histogram(np.append(x, x[:9]), edges)[0]"
    ),
)
