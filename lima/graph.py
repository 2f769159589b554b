"""Walks over lineage, none of which recurses: in order, and to other nodes in the place of some."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from lima.node import Node, new_node


def topological(
    roots: Iterable[Node], below: Callable[[Node], tuple[Any, ...]] = operator.attrgetter("inputs")
) -> Iterator[Node]:
    """Every ancestor of `roots` and the roots, inputs before users, each object once.

    `below` gives what comes before a node.
    """
    seen: set[int] = set()
    with WALKS:
        for root in roots:
            if id(root) in seen:
                continue
            stack: list[tuple[Node, Iterator[Any]]] = [(root, iter(below(root)))]
            seen.add(id(root))
            while stack:
                node, rest = stack[-1]
                for item in rest:
                    if type(item) is Node and id(item) not in seen:
                        seen.add(id(item))
                        stack.append((item, iter(below(item))))
                        break
                else:
                    stack.pop()
                    yield node


class Walks:
    """How many walks are under way: they tell nodes apart by their places in memory.

    Meanwhile no node that only lineage refers to may go away. `begun` is called before the first
    of them, `ended` after the last.
    """

    __slots__ = ("begun", "count", "ended", "lock")

    def __init__(self) -> None:
        self.count = 0
        self.lock = threading.RLock()
        self.begun: Callable[[], None] | None = None
        self.ended: Callable[[], None] | None = None

    def __enter__(self) -> None:
        with self.lock:
            if not self.count and self.begun is not None:
                self.begun()
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.count -= 1
            if not self.count and self.ended is not None:
                self.ended()


WALKS = Walks()


def _in_child() -> None:
    """After a fork: the walks of other threads have ended, one of which may have held the lock."""
    WALKS.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def settled(roots: Sequence[Node]) -> list[Node]:
    """The roots with, for every result that a rule derived, the operations that gave its bits.

    Nodes without such an ancestor are kept as they are.
    """
    return _rebuilt(roots, True)


def as_asked(root: Node) -> Node:
    """`root` as if no rule had stood in for it or any ancestor."""
    return _rebuilt([root], False)[0]


def _rebuilt(roots: Sequence[Node], derivations: bool) -> list[Node]:
    with WALKS:
        return _made_anew(roots, derivations)


def _made_anew(roots: Sequence[Node], derivations: bool) -> list[Node]:
    made: dict[int, Node] = {}
    for root in roots:
        stack = [root]
        while stack:
            node = stack[-1]
            if id(node) in made:
                stack.pop()
                continue
            stands_in = node.derived if derivations else None
            if not derivations and not node.inexact:
                made[id(node)] = node
                continue
            inputs = node.inputs if stands_in is None else (stands_in,)
            waiting = [i for i in inputs if type(i) is Node and id(i) not in made]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            if stands_in is not None:
                made[id(node)] = made[id(stands_in)]
                continue
            below = tuple([made[id(i)] if type(i) is Node else i for i in inputs])
            same = all(x is y for x, y in zip(below, inputs, strict=True))
            if same and node.derived is None:
                made[id(node)] = node
            else:
                fresh = made[id(node)] = new_node(node.spec, below)
                fresh.name, fresh.outcome, fresh.place = node.name, node.outcome, node.place
    return [made[id(root)] for root in roots]


def exchanged(roots: Sequence[Node], other: Callable[[Node], Node | None]) -> list[Node]:
    """The roots with `other(node)` in the place of every node for which it gives one."""
    made: dict[int, Node] = {}
    for node in topological(roots):  # which holds all nodes until the last has been seen
        fresh = other(node)
        if fresh is None:
            fresh = node
            inputs = tuple([made[id(i)] if type(i) is Node else i for i in node.inputs])
            if any(x is not y for x, y in zip(inputs, node.inputs, strict=True)):
                fresh = new_node(node.spec, inputs)
                fresh.name, fresh.outcome, fresh.place = node.name, node.outcome, node.place
        made[id(node)] = fresh
    return [made[id(root)] for root in roots]


def count_nodes(roots: Iterable[Node]) -> int:
    """Number of distinct nodes in the lineage of `roots`."""
    return sum(1 for _ in topological(roots))
