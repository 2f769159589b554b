"""When lineage is wound up (`lima.spools`), and which nodes."""

from __future__ import annotations

import os
import threading
from sys import getrefcount
from typing import Any

from xxhash import xxh3_128_digest

from lima.graph import WALKS
from lima.node import LEAF, Node, Spec, owed, when_grown
from lima.spools import OPEN, Spool, wind

BOUND = 8192
"""Operations between two windings. What is younger than that is not wound up."""

MOST = 1 << 17
"""Operations between two windings of a lineage that does not repeat within `BOUND`."""

LONGEST = 8192
"""Nodes of a spool: so many are made again when one of them is asked for."""

SHORTEST = 128
"""Nodes that are worth a spool."""

SAMPLES = 16
"""Nodes from which a winding goes out, made one soon after the other: of every variable of a loop
one may be among them."""

NODE_BYTES = 136
"""About what a node takes."""

OLD = -1
"""Mark of nodes that were looked at and stay as they are; 0 is that of nodes not looked at yet."""

_VISITING = -(1 << 31) + 1


def _references(nodes: list[Node], place: int) -> int:
    return getrefcount(nodes[place])


def _tuple_references(node: Node) -> int:
    return getrefcount(node._inputs)


_probe = [Node(Spec("probe"), (object(),))]
_OWN = _references(_probe, 0)
_OWN_TUPLE = _tuple_references(_probe[0])


def _survey(stack: list[Node], order: list[Node], counts: list[int]) -> None:
    """What led to the nodes on the stack and was not looked at before, inputs before users.

    It goes to `order`; marks are places + 1. `counts` become how often nodes of the stretch refer
    to each of them.
    """
    old = OLD
    while stack:
        node = stack[-1]
        items = node._inputs
        mark = node.mark
        if mark > 0 or mark == old or type(items) is not tuple:
            stack.pop()
            continue
        if mark != _VISITING:
            if not items and _stated(node):
                node.mark = old
                continue
            node.mark = _VISITING
            if node.derived is not None:
                _push(node.derived, stack, old)
            for k in range(len(items) - 1, -1, -1):
                item = items[k]
                if type(item) is Node:
                    _push(item, stack, old)
            continue
        stack.pop()
        order.append(node)
        counts.append(0)
        node.mark = len(order)
        if node.derived is not None and node.derived.mark > 0:
            counts[node.derived.mark - 1] += 1
        if _tuple_references(node) == _OWN_TUPLE + 1:  # with `items`
            for item in items:
                if type(item) is Node:
                    below = item
                    mark = below.mark
                    if mark > 0:
                        counts[mark - 1] += 1


def _push(node: Node, stack: list[Node], old: int) -> None:
    if node.mark <= 0 and node.mark != _VISITING and node.mark != old:
        stack.append(node)


def _stated(node: Node) -> bool:
    """Whether a node without inputs has a digest that its spec does not tell."""
    leaf = node.spec.op == LEAF
    if node._digest is None:
        return leaf
    return not leaf and node._digest != xxh3_128_digest(node.spec.prefix)


def _chosen(
    order: list[Node], counts: list[int], kept: bytearray, cuts: list[int], longest: int
) -> list[Node]:
    """The nodes of the stretch that may be wound up, with their places + 1 as marks.

    `kept` says of which somebody outside knows. `cuts` are the places where a new spool must
    begin: no node of a spool reads one of the same spool that lives on, as a spool must not refer
    to what refers to it.
    """
    nodes: list[Node] = []
    first = 0
    for k in range(len(order)):
        held = _references(order, k) - _OWN > counts[k]  # before a variable refers to it
        node = order[k]
        inside = cut = False
        items = node._inputs
        for j in range(len(items) + 1):
            item = node.derived if j == len(items) else items[j]
            if type(item) is Node:
                below = item
                mark = below.mark
                if mark > 0:
                    inside = True
                    if mark > first and kept[mark - 1]:
                        cut = True
        if held and not inside:
            node.mark = OLD
            continue
        if cut or len(nodes) - first >= longest:
            first = len(nodes)
            cuts.append(first)
        nodes.append(node)
        node.mark = len(nodes)
        kept.append(held)
    return nodes


def _note_readers(
    nodes: list[Node], spans: list[tuple[int, int]], spools: list[Spool | None], kept: bytearray
) -> None:
    """Have `kept` tell also of nodes that others refer to which live on."""
    for (first, end), spool in zip(spans, spools, strict=True):
        outer = () if spool is None else spool.outer
        if spool is None:
            outer = tuple([i for n in nodes[first:end] for i in n._inputs if type(i) is Node])
        for below in outer:
            if below.mark > 0:
                kept[below.mark - 1] = 1
    for k in range(len(nodes) - 1, -1, -1):
        derived = nodes[k].derived if kept[k] else None
        if derived is not None and derived.mark > 0:
            kept[derived.mark - 1] = 1


def _let_go(
    nodes: list[Node],
    inputs: list[Any],
    spans: list[tuple[int, int]],
    spools: list[Spool | None],
    kept: bytearray,
    left: int,
    shortest: int,
) -> None:
    """Have the nodes that live on refer to spools.

    `inputs` are those that were wound up. Nodes of stretches without a spool get the mark `left`,
    but of one that is `shortest` because of what lives on in it, and will not get longer, OLD.
    """
    edges: list[tuple[Node, int, Spool]] = []
    for (first, end), spool in zip(spans, spools, strict=True):
        if spool is None:
            continue
        for k in range(first, end):
            node = nodes[k]
            if kept[k] and node._inputs is inputs[k]:
                for item in node._inputs:
                    if type(item) is Node and item.mark > first:
                        edges.append((node, k - first, spool))
                        break
    for (first, end), spool in zip(spans, spools, strict=True):
        short = end - first < shortest and end < len(nodes)
        for k in range(first, end):
            nodes[k].mark = OLD if spool is not None or short else left
    for node, place, spool in edges:
        digest = node._digest
        spool.edges[place] = None if digest is None else (digest, node._height, node.inexact)
        node.mark = -1 - place
        node._inputs = spool


class Winder:
    """Winds up what is old, from time to time.

    roots   nodes from which the next winding goes out
    wait    operations until then, at `least`
    failed  the error that ended winding, if there was one
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.samples, self.shortest, self.worth = SAMPLES, SHORTEST, NODE_BYTES
        self.restart(BOUND)

    def restart(self, wait: int) -> None:
        """Begin anew, with `wait` operations between two windings."""
        self.roots: list[Node] = []
        self.wait = self.least = wait
        self.wound = 0
        self.failed: Exception | None = None
        when_grown(self.notice)

    def notice(self, node: Node) -> int:
        """Another node was made; returns after how many more of them to call again."""
        if WALKS.count or not self.lock.acquire(blocking=False):
            return 64
        try:
            early = owed()
            if early:
                OPEN.close()
                return early
            if len(self.roots) >= self.samples:
                roots, self.roots = self.roots, []
                OPEN.close()
                self.wind(roots)
            self.roots.append(node)
            count = len(self.roots)
            return self.wait if count >= self.samples else 29 + 2 * count
        except Exception as error:  # lineage stays as it is, and the program goes on
            self.failed = error
            return 1 << 30
        finally:
            self.lock.release()

    def wind(self, roots: list[Node]) -> None:
        """Wind up what led to these nodes, which the list is emptied of."""
        order: list[Node] = []
        try:
            self._wind(roots, order)
        finally:
            for node in order:
                if node.mark > 0:
                    node.mark = 0

    def _wind(self, roots: list[Node], order: list[Node]) -> None:
        counts: list[int] = []
        _survey(roots, order, counts)
        shortest = self.shortest
        if len(order) < shortest:
            return
        kept, cuts = bytearray(), [0]
        nodes = _chosen(order, counts, kept, cuts, max(LONGEST, self.wait))
        inputs = [node._inputs for node in nodes]
        spans = [*zip(cuts, [*cuts[1:], len(nodes)], strict=True)]
        spools = [wind(nodes, a, b, self.worth) if b - a >= shortest else None for a, b in spans]
        pairs = [*zip(spans, spools, strict=True)]
        wound = sum([b - a for (a, b), spool in pairs if spool is not None])
        failed = sum([b - a for (a, b), spool in pairs if spool is None and b - a >= shortest])
        again = failed > wound and self.wait < MOST
        with WALKS.lock:
            if WALKS.count:
                return
            _note_readers(nodes, spans, spools, kept)
            _let_go(nodes, inputs, spans, spools, kept, 0 if again else OLD, shortest)
            order.clear()
            inputs.clear()
            nodes.clear()
        self.wound += wound
        if again:
            self.wait *= 2
        elif wound > failed:  # an irregular part of the program may be over
            self.wait = max(self.least, self.wait // 2)


WINDER = Winder()


def _in_child() -> None:
    """After a fork: another thread may have been winding."""
    WINDER.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
