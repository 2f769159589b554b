"""Where two results part: the differences of two lineages, the earliest first."""

from __future__ import annotations

import heapq
import html
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from lima import side_by_side
from lima.aligned import Difference, Walk
from lima.environment import differences as environment_differences
from lima.folding import LIMIT
from lima.labels import cut
from lima.node import Node
from lima.patches import Round, rounds_of
from lima.record import NOTEBOOK, Lineage

FIRST = 20
"""Differences that `lima.diff` keeps, unless asked for otherwise."""

NEAR = 3
"""Differences up to which two computations are near each other."""

NEAR_PAIRS = 2000
"""Pairs of nodes that are compared before two computations are taken to be unlike."""


class Diff:
    """The places where two results part, the earliest of the computation first.

    A sequence of `Difference`; empty, and so false, where the two lineages are one. `print` shows
    it. `total` counts all that were found, of which the first are kept; `counts` by kind. What
    differs at one place of every round of a loop is kept once, and counted in `places` once.

    >>> import lima, numpy as np
    >>> x = lima.array(np.ones(3), name="x")
    >>> print(lima.diff(x + 1.0, x + 2.0))
    1 difference
      1. literal: 1.0 | 2.0
         in add(·, 1.0)
         by result
    """

    def __init__(
        self,
        differences: list[Difference],
        counts: Counter[str],
        nodes: int,
        places: int,
        sides: tuple[Lineage, Lineage],
        pairs: Sequence[tuple[Node, Node]],
    ) -> None:
        self.differences = tuple(differences)
        self._sides = sides
        self._pairs = pairs
        self.places = places
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
        rest = self.places - len(self)
        head = f"{self.total} difference{'s' * (self.total != 1)}"
        head += f" in {self.places} place{'s' * (self.places != 1)}" * (self.places != self.total)
        head += f", the first {len(self)}" if rest else ""
        lines = [f"  {k}. {found}" for k, found in enumerate(self.differences, 1)]
        return "\n".join([head, *lines])

    __repr__ = __str__

    def to_svg(self, limit: int = LIMIT) -> str:
        """Both lineages side by side as an SVG image, what differs in red, what follows in yellow.

        What is compared stands at one height. Of what both have, only what the rest reads is shown;
        of more than `limit` nodes, what repeats is one box.
        """
        return side_by_side.svg(*self._both(limit))

    def to_html(self, limit: int = LIMIT) -> str:
        """Both lineages side by side as a page without network: zoom, search, details of boxes."""
        return side_by_side.page(*self._both(limit), str(self))

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>{self.to_svg(NOTEBOOK)}"

    def _both(self, limit: int) -> tuple[side_by_side.Sides, int]:
        a, b = self._sides
        named = side_by_side.Side(a.nodes, a.outputs), side_by_side.Side(b.nodes, b.outputs)
        return side_by_side.Sides(*named, self._pairs, self.differences), limit


def diff(a: Lineage, b: Lineage, first: int = FIRST) -> Diff:
    """The differences of two lineages; `lima.diff` takes results and files as well."""
    walk = Walk()
    found = _by_place(_all(walk, a, b), a, b)
    kept = heapq.nsmallest(max(first, 1), found, key=_earliest)
    if found:
        longer = _rounds(walk, a, b)
        kept = [*longer, *kept][: max(first, 1)]
        pairs = [place[:2] for place in walk.places]
        return Diff(kept, walk.counts, 0, len(found) + len(longer), (a, b), pairs)
    return Diff([], walk.counts, len(a), 0, (a, b), ())


def _by_place(found: Iterable[Difference], a: Lineage, b: Lineage) -> list[Difference]:
    """The differences, those at one place of the rounds of a loop as one: the earliest."""
    kept: dict[Any, Difference] = {}
    rounds: list[dict[bytes, Round]] = []
    for one in found:
        if not rounds:
            rounds = [rounds_of(a.nodes), rounds_of(b.nodes)]
        left, right = (
            None if node is None else places.get(node.digest)
            for node, places in zip((one.a, one.b), rounds, strict=True)
        )
        if left is None or right is None:
            kept[len(kept)] = one
            continue
        key = (one.kind, one.output, left[:2], right[:2])
        known = kept.get(key)
        at = left.round
        if known is None or known.rounds is None:
            one.rounds = (at, at, 1)
            kept[key] = one
            continue
        begin, end, count = known.rounds
        earlier = known if _earliest(known) <= _earliest(one) else one
        earlier.rounds = (min(begin, at), max(end, at), count + 1)
        kept[key] = earlier
    return list(kept.values())


def _rounds(walk: Walk, a: Lineage, b: Lineage) -> list[Difference]:
    """Loops of the same operations that have another number of rounds."""
    counts: list[dict[tuple[str, ...], int]] = []
    for record in (a, b):
        found: dict[tuple[str, ...], int] = {}
        for ops, _, number in rounds_of(record.nodes).values():
            found[ops] = max(found.get(ops, 0), number)
        counts.append(found)
    notes = []
    for ops, n in counts[0].items():
        m = counts[1].get(ops, n)
        if m != n:
            names = cut(", ".join(dict.fromkeys(ops)), 44)
            notes.append(walk.note("rounds", None, None, f"{n:,} of {names}", f"{m:,}", ""))
    return notes


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
        if not was.endswith(f" {is_now}"):  # of the same two numbers of threads, perhaps
            yield walk.note("environment", None, None, was, is_now, "")
