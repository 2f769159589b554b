"""Stand-ins for lineage that is in a store and not in memory.

A call that comes from a store brings results without the operations that made them. Their nodes
are leaves that have the digest of what was computed, so all that is made of them has the key that
it would have had. The operations are read when somebody asks how a result was made.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from lima.errors import StoreError
from lima.graph import exchanged, topological
from lima.node import Node, Spec, dtype_text, layout_of, leaf_with
from lima.upkeep import lineage

if TYPE_CHECKING:
    from lima.store import Store

REMEMBERED = 1 << 16
"""Stand-ins whose store is remembered."""

_homes: OrderedDict[bytes, tuple[Store, bytes]] = OrderedDict()
_lock = Lock()


def stand_in(digest: bytes, height: int, x: Any, settled: bytes, store: Store) -> Node:
    """The node of a stored result `x`; `settled` is the digest of what gave its bits.

    The two digests differ where a rule had a part in it.
    """
    layout = "scalar" if isinstance(x, np.generic) else layout_of(x)
    node = leaf_with(digest, dtype_text(x.dtype), x.shape, layout)
    node._height = height
    node.inexact = digest != settled
    remember(digest, settled, store)
    return node


def stated(spec: Spec, digest: bytes, height: int) -> Node:
    """A node without inputs whose digest is known."""
    node = Node(spec)
    node._digest, node._height = digest, height
    return node


def remember(digest: bytes, settled: bytes, store: Store) -> None:
    """Where the lineage of a stand-in is found."""
    with _lock:
        _homes[digest] = store, settled
        _homes.move_to_end(digest)
        if len(_homes) > REMEMBERED:
            _homes.popitem(last=False)


def is_stand_in(node: Node) -> bool:
    """Whether a node stands for others that are in a store."""
    return not node.inputs and node.digest in _homes


def unfolded(roots: Sequence[Node]) -> list[Node]:
    """The roots with the operations in the place of stand-ins, as far as their store has them."""
    if not _homes or not any(map(is_stand_in, topological(roots))):
        return list(roots)
    return exchanged(roots, lambda node: _read(node) if is_stand_in(node) else None)


def _read(node: Node) -> Node:
    known = _homes.get(node.digest)
    if known is None:
        return node
    store, settled = known
    try:
        found = lineage(store, settled.hex())
    except (StoreError, store.catalog.error):  # it has been cleared away
        return node
    found.outcome = node.outcome
    return found


def _in_child() -> None:
    """After a fork: another thread may have held the lock."""
    global _lock
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
