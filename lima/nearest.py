"""Why an operation was not reused: the nearest that is kept, and where the two part.

What was returned by traced functions lately is searched, so the answer is bounded in time, not
complete: `RECENT` results, `VISITED` nodes behind them, `CANDIDATES` for each operation.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from lima.aligned import Difference
from lima.compare import closest
from lima.graph import topological
from lima.labels import label
from lima.node import Node
from lima.sessions import current
from lima.stats import Outcome
from lima.tree import recent

RECENT, VISITED, CANDIDATES = 64, 20_000, 16

DEAREST = 3
"""Operations whose missing reuse is explained."""

WORTH = 20e-6
"""Seconds below which nobody asks why an operation was not reused."""


class Miss(NamedTuple):
    """An operation that was computed although something like it is kept, or was.

    node        the operation
    reason      one sentence
    differences where it and the nearest that is kept part, the earliest first: (kept | this)
    """

    node: Node
    reason: str
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        at = "" if self.node.line is None else f" at {self.node.line}"
        lines = [f"  {label(self.node)}{at}: {self.reason}"]
        lines += ["    " + str(found).replace("\n", "\n  ") for found in self.differences]
        return "\n".join(lines)


def misses(nodes: Iterable[Node]) -> list[Miss]:
    """For the dearest of `nodes` that were computed: what stood in the way of a hit."""
    held = {node.digest: node for node in nodes}
    computed = [
        node
        for node in held.values()
        if node.outcome is not None
        and node.outcome.outcome is Outcome.COMPUTED
        and node.outcome.seconds >= WORTH
    ]
    computed.sort(key=lambda node: -node.outcome.seconds)
    wanted = computed[:DEAREST]
    alike = _alike({node.spec.op for node in wanted}, held) if wanted else {}
    found = (_miss(node, alike.get(node.spec.op, [])) for node in wanted)
    causes: dict[object, Miss] = {}
    for miss in filter(None, found):  # one cause that stops several operations is told once
        told = tuple((d.kind, d.then, d.now) for d in miss.differences)
        causes.setdefault(told or miss.node.digest, miss)
    return list(causes.values())


def _alike(ops: set[str], own: dict[bytes, Node]) -> dict[str, list[Node]]:
    """By operation, what the cache keeps of it, the latest first, without the lineage itself."""
    cache = current().cache
    found: dict[str, list[Node]] = {}
    seen: set[bytes] = set()
    for node in islice(topological(recent(RECENT)), VISITED):
        op = node.spec.op
        if op not in ops or node.digest in own or node.digest in seen:
            continue
        seen.add(node.digest)
        if len(found.setdefault(op, [])) < CANDIDATES and cache.peek(node.digest) is not None:
            found[op].append(node)
    return found


def _miss(node: Node, candidates: list[Node]) -> Miss | None:
    cache = current().cache
    entry, ghost = cache.peek(node.digest), cache.ghost(node.digest)
    known = entry if entry is not None else ghost
    if known is not None and known.evicted:
        return Miss(node, "was kept before, and had been evicted", ())
    if ghost is not None and ghost.sights > 1:
        text = f"was wanted {ghost.sights} times, and is cheaper to compute than to keep"
        return Miss(node, text, ())
    differences = closest(node, candidates)
    if differences is None:
        return None
    return Miss(node, "the nearest that is kept parts from it in (kept | this)", differences)
