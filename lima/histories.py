"""How plain results came about: traced anew when somebody asks (D16).

A call whose operations are too small to be traced runs as plain NumPy. Its results are leaves by
content, and lie here with what traces the call anew, up to `HELD_BYTES` of arguments. So nothing
is traced that nobody asks for, and yet a log has every operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from threading import Lock
from typing import NamedTuple

import cachetools

from lima.graph import exchanged, topological
from lima.node import Node

HELD_BYTES = 64_000_000
"""Bytes of arguments of calls that are kept for questions."""

OVERHEAD = 4096
"""Bytes that one of them takes besides."""


class History(NamedTuple):
    """A call that ran untraced.

    serial   later ones have larger numbers
    trace    traces it anew; gives the nodes of its arrays in their order, or None
    nbytes   of what it holds
    """

    serial: int
    trace: Callable[[], list[Node] | None]
    nbytes: int


MOST = 8
"""Histories of one content that are kept: the first, and the latest."""

_held: cachetools.LRUCache[bytes, list[tuple[History, int]]] = cachetools.LRUCache(
    HELD_BYTES, getsizeof=lambda items: sum(history.nbytes for history, _ in items)
)
_lock = Lock()
_serials = count()


def note(digests: Sequence[bytes], trace: Callable[[], list[Node] | None], nbytes: int) -> None:
    """Remember that a call with arguments of so many bytes gave arrays with these contents."""
    history = History(next(_serials), trace, nbytes + OVERHEAD)
    with _lock:
        for k, digest in enumerate(digests):
            known = _held.get(digest, [])
            _held[digest] = [*known[:1], *known[1:][2 - MOST :], (history, k)]


def forget() -> None:
    """Drop all histories: results of calls that ran as plain NumPy are leaves from now on."""
    with _lock:
        _held.clear()


def resolved(roots: Sequence[Node]) -> list[Node]:
    """The nodes, with its operations in the place of every leaf that has a history.

    What was an argument of one call may be the result of an earlier one, never of a later one
    with the same content.
    """
    if not _held:
        return list(roots)
    traced: dict[int, list[Node]] = {}
    leaves = {-1: _known(roots, None)}
    todo = [*leaves[-1].values()]
    while todo:
        history, _ = todo.pop()
        if history.serial in traced:
            continue
        traced[history.serial] = history.trace() or []
        known = _known(traced[history.serial], history.serial)
        leaves[history.serial] = known
        todo.extend(known.values())
    for serial in sorted(traced):
        traced[serial] = _replaced(traced[serial], leaves[serial], traced)
    return _replaced(roots, leaves[-1], traced)


def _known(roots: Sequence[Node], before: int | None) -> dict[bytes, tuple[History, int]]:
    """The histories of leaves among the ancestors of `roots`, by digest."""
    found = {}
    for node in topological(roots):
        if node.is_leaf:
            with _lock:
                items = _held.get(node.digest, [])
            for item in items:
                if before is None or item[0].serial < before:
                    found[node.digest] = item
    return found


def _replaced(
    roots: Sequence[Node],
    leaves: dict[bytes, tuple[History, int]],
    traced: dict[int, list[Node]],
) -> list[Node]:
    """The nodes, with those that were traced anew in the place of leaves."""
    if not leaves:
        return list(roots)

    def other(node: Node) -> Node | None:
        item = leaves.get(node.digest) if node.is_leaf else None
        nodes = traced.get(item[0].serial, []) if item is not None else []
        return nodes[item[1]] if item is not None and item[1] < len(nodes) else None

    return exchanged(roots, other)
