"""Long lineages in memory: stretches that nobody refers to are wound up as columns.

A node takes some 140 bytes, and the lineage of a long loop little else than nodes of which only the
next ones know. Every few thousand operations the `Winder` looks at what was made before. Nodes that
only other nodes of the stretch refer to are replaced by a `Spool`: the few distinct steps of the
stretch (`Step`), which step each node is, and what varies from node to node, packed. An operand is
named by how far back it stands, so the rounds of a loop are the same steps again.

What somebody else refers to stays the very same node: only its inputs are in the spool from then
on, and are made again when they are asked for (`Node.inputs`). Nodes made again have the digests,
places and outcomes of those that were wound up. So a reference that is overlooked costs memory and
never truth, and walks need not know of spools.
"""

from __future__ import annotations

import zlib
from typing import Any

from lima.graph import WALKS
from lima.node import Node, hasten
from lima.stats import OutcomeRow
from lima.steps import Step, Steps, feeds, items_of, made_again, matches, outer_of, take

SPARED = 16
"""Spools that may stay unwound until the next winding."""

IRREGULAR = 1024
"""Distinct steps from which a stretch is given up if they are more than half of its nodes."""


class Spool:
    """A stretch of lineage that was wound up.

    count    how many nodes it stands for
    outer    the nodes outside of it that they refer to
    edges    of the nodes that live on, by their places: digest, height and whether they are inexact
    made     the nodes, as long as they are there again
    """

    __slots__ = ("count", "edges", "high", "low", "made", "outer", "steps")

    def __init__(
        self, steps: list[Step], low: bytearray, high: bytearray, outer: tuple[Node, ...]
    ) -> None:
        self.count = len(low)
        self.steps = tuple(steps)
        self.low, self.high = zlib.compress(low, 1), zlib.compress(high, 1)
        self.outer = outer
        self.edges: dict[int, Any] = {}
        self.made: list[Node] | None = None

    def inputs_of(self, node: Node) -> tuple[Any, ...]:
        """The inputs of a node that lives on."""
        items: tuple[Any, ...] = self.opened()[-1 - node.mark]._inputs
        return items

    def opened(self) -> list[Node]:
        """The nodes, which stay until the next winding at least."""
        made = self.made
        if made is not None:
            return made
        with WALKS.lock:
            if self.made is None:
                made = self.unwound()
                if self.made is None:
                    self.made = made
                    OPEN.spools.append(self)
            return self.made

    def lacking(self) -> list[Node]:
        """The nodes whose digests are needed before those of the spool."""
        return [node for node in self.outer if node._digest is None]

    def finish(self, node: Node) -> None:
        """Give a node that lives on its digest; nothing that it refers to lacks one."""
        known = self.edges.get(-1 - node.mark)
        if known is None:
            made = self.unwound() if self.made is None else self.made
            for below in made:
                below.digest  # noqa: B018
            for place in self.edges:
                below = made[place]
                self.edges[place] = below._digest, below._height, below.inexact
            known = self.edges[-1 - node.mark]
        digest, node._height, inexact = known
        node.inexact = node.inexact or inexact
        node._digest = digest

    def unwound(self) -> list[Node]:
        """All nodes made again."""
        low, high = zlib.decompress(self.low), zlib.decompress(self.high)
        columns: list[Any] = [feeds(step) for step in self.steps]
        made: list[Node] = []
        for k in range(self.count):
            number = low[k] | high[k] << 8
            step = self.steps[number]
            feed = columns[number]
            node = made_again(step, feed, made, k)
            made.append(node)
        return made


class _Open:
    """The spools whose nodes are there.

    They go with the next winding; where they are many, with the next operation or the next walk.
    """

    def __init__(self) -> None:
        self.spools: list[Spool] = []
        WALKS.begun, WALKS.ended = self.begin, self.end

    def close(self) -> None:
        """Let the nodes go again, unless somebody is walking."""
        with WALKS.lock:
            if not WALKS.count:
                spools, self.spools = self.spools, []
                for spool in spools:
                    spool.made = None

    def begin(self) -> None:
        """Nobody is walking, and somebody will."""
        if len(self.spools) > SPARED:
            self.close()

    def end(self) -> None:
        """Nobody is walking any more; what was made is perhaps still looked at."""
        if len(self.spools) > SPARED:
            hasten()


OPEN = _Open()


def wind(nodes: list[Node], first: int, end: int, worth: int) -> Spool | None:
    """The nodes from `first` up to `end`, whose marks are their places + 1, as a spool.

    None where they do not repeat enough for it to take less than half of `worth` bytes a node.
    """
    steps = Steps()
    low, high = bytearray(), bytearray()
    last = Step(0, None)
    for k in range(first, end):
        node = nodes[k]
        items = node._inputs
        if node.derived is not None or not items:
            items = items_of(node)
        step = last.after
        if step is None or not matches(step, node, items, k + 1, first):
            if node.outcome is not None and type(node.outcome) is not OutcomeRow:
                return None
            step = last.after = steps.find(node, items, k + 1, first)
            if len(steps.all) > IRREGULAR + (k - first) // 2:
                return None
        take(step, node, items, k + 1, first)
        number = step.number
        low.append(number & 255)
        high.append(number >> 8)
        last = step
    last.after = None
    size = sum([step.pack() for step in steps.all])
    if 2 * size > worth * (end - first):
        return None
    return Spool(steps.all, low, high, outer_of(steps.all))
