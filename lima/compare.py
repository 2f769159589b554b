"""Where two results part: the differences of two lineages, the earliest first."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lima.aligned import Difference, Walk
from lima.environment import differences as environment_differences
from lima.node import Node
from lima.record import Lineage

FIRST = 20
"""Differences that `lima.diff` keeps, unless asked for otherwise."""

NEAR = 3
"""Differences up to which two computations are near each other."""

NEAR_PAIRS = 2000
"""Pairs of nodes that are compared before two computations are taken to be unlike."""


class Diff:
    """The places where two results part, the earliest of the computation first.

    A sequence of `Difference`; empty, and so false, where the two lineages are one. `print` shows
    it. `total` counts all that were found, of which the first are kept; `counts` by kind.

    >>> import lima, numpy as np
    >>> x = lima.array(np.ones(3), name="x")
    >>> print(lima.diff(x + 1.0, x + 2.0))
    1 difference
      1. literal: 1.0 | 2.0
         in add(·, 1.0)
         by result
    """

    def __init__(self, differences: list[Difference], counts: Counter[str], nodes: int) -> None:
        self.differences = tuple(differences)
        self.counts = counts
        self.nodes = nodes

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def first(self) -> Difference | None:
        """The earliest difference, None if there is none."""
        return self.differences[0] if self.differences else None

    def __bool__(self) -> bool:
        return self.total > 0

    def __len__(self) -> int:
        return len(self.differences)

    def __getitem__(self, k: int) -> Difference:
        return self.differences[k]

    def __iter__(self) -> Iterator[Difference]:
        return iter(self.differences)

    def __str__(self) -> str:
        if not self.total:
            return f"the same lineage: {self.nodes} nodes"
        rest = self.total - len(self)
        head = f"{self.total} difference{'s' * (self.total != 1)}"
        head += f", the first {len(self)}" if rest else ""
        lines = [f"  {k}. {found}" for k, found in enumerate(self.differences, 1)]
        return "\n".join([head, *lines])

    __repr__ = __str__


def diff(a: Lineage, b: Lineage, first: int = FIRST) -> Diff:
    """The differences of two lineages; `lima.diff` takes results and files as well."""
    walk = Walk()
    found = heapq.nsmallest(max(first, 1), _all(walk, a, b), key=_earliest)
    return Diff(found, walk.counts, 0 if found else len(a))


def closest(node: Node, candidates: Iterable[Node]) -> tuple[Difference, ...] | None:
    """How the candidate that is nearest to `node` parts from it: the fewest differences.

    None where nothing is near: every candidate is another computation on other data.
    """
    best: tuple[Difference, ...] | None = None
    for other in candidates:
        walk = Walk(NEAR_PAIRS)
        found = tuple(itertools.islice(walk.differences("the result", other, node), NEAR + 1))
        near = len(found) <= NEAR and not walk.gave_up
        if near and (best is None or len(found) < len(best)):
            best = tuple(sorted(found, key=_earliest))
    return best


def _earliest(found: Difference) -> tuple[int, int]:
    """Height in the computation; what concerns no node comes last."""
    heights = [node.height for node in (found.a, found.b) if node is not None]
    return (0, max(heights)) if heights else (1, 0)


class _Pair(NamedTuple):
    """Two results that are compared, with their names."""

    name: str
    other: str
    a: Node
    b: Node


def _paired(a: Lineage, b: Lineage) -> list[_Pair]:
    """Results of one name, or the only ones."""
    if len(a.outputs) == len(b.outputs) == 1:
        ((name, x),) = a.outputs.items()
        ((other, y),) = b.outputs.items()
        return [_Pair(name, other, x, y)]
    return [_Pair(n, n, x, b.outputs[n]) for n, x in a.outputs.items() if n in b.outputs]


def _all(walk: Walk, a: Lineage, b: Lineage) -> Iterator[Difference]:
    pairs = _paired(a, b)
    paired = {pair.name for pair in pairs}, {pair.other for pair in pairs}
    for name, node in a.outputs.items():
        if name not in paired[0]:
            yield walk.note("output", node, None, name, "missing", name)
    for name, node in b.outputs.items():
        if name not in paired[1]:
            yield walk.note("output", None, node, "missing", name, name)
    for name, other, x, y in pairs:
        yield from walk.differences(name, x, y)
        then, now = a.checks.get(name), b.checks.get(other)
        if x.digest == y.digest and then is not None and now is not None and then != now:
            yield walk.note("bits", x, y, f"content {then.content}", now.content, name)
    for fact in environment_differences(a.environment, b.environment):
        was, _, is_now = fact.partition(", now ")
        yield walk.note("environment", None, None, was, is_now, "")
