"""Arrays at the door of a traced call: leaves on the way in, plain arrays on the way out (D3)."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

import numpy as np

from lima.calls import detach, is_private
from lima.errors import InternalError
from lima.forcing import force
from lima.handle import Handle, data_of, is_outside, locked, release, value_of
from lima.leaves import seen
from lima.node import Node, leaf
from lima.op import OPS, clone, evaluate, owner
from lima.values import Borrowed, Value

# ----------------------------------------------------------------- lineage of plain arrays

KNOWN_LIMIT = 1 << 16
_known: OrderedDict[bytes, Node] = OrderedDict()
_known_lock = Lock()


def remember(a: Any, node: Node) -> None:
    """Note that the bytes of the plain array `a` were made by `node`."""
    digest = leaf(a).digest
    with _known_lock:
        _known[digest] = node
        _known.move_to_end(digest)
        if len(_known) > KNOWN_LIMIT:
            _known.popitem(last=False)


def recall(a: Any) -> tuple[Node, Node | None]:
    """The leaf of the plain array `a`, and the node that made these bytes, if one is known."""
    entered = leaf(a)
    with _known_lock:
        return entered, _known.get(entered.digest)


def entering(a: Any, name: str | None) -> Value:
    """The value of a plain array that enters: recognised by content, or a leaf."""
    entered, made = recall(a)
    if made is None:
        entered.name = name
        seen(entered.digest, a)
    return Borrowed(made or entered, a)


class Rivals:
    """Arguments that lie in common memory.

    Each is traced by itself until one of them is about to be written. From then on they all are
    what they are in the plain program: windows on one memory, read anew at each use.
    """

    def __init__(self, members: list[tuple[Handle, Any]]) -> None:
        self.members = members
        for h, _ in members:
            h._rivals = self

    def __call__(self) -> None:
        for h, original in self.members:
            h._rivals = None
            detach(h._value)
            release(h, original)


# ----------------------------------------------------------------- arrays on their way out


class Leaving:
    """Turns handles into plain arrays with the aliasing that the plain program would have.

    An argument comes back as the caller's own array, a view as a view of its plain base, any other
    array as one that the caller owns.
    """

    def __init__(self, originals: dict[int, tuple[Handle, Any]]) -> None:
        self.originals = originals

    def __call__(self, h: Handle) -> Any:
        if is_outside(h):
            return value_of(h).data
        base = h._base
        if base is not None:
            return self._view(h, self(base))
        known = self.originals.get(id(h))
        if known is not None:
            return known[1]
        value = value_of(h)
        data = force(value)
        if isinstance(data, np.generic):
            remember(data, value.node)
            return data
        if type(data) is not np.ndarray:
            raise InternalError(f"a handle on {type(data)}")
        if not is_private(value):
            data = clone(data)
        data.setflags(write=True)
        remember(data, value.node)
        self.originals[id(h)] = (h, data)
        return data

    def _view(self, h: Handle, data: Any) -> Any:
        for spec in h._path:
            data = evaluate(OPS[spec.op], spec, (data,))
        if locked(h):
            data.setflags(write=False)
        elif not data.flags.writeable and h._path:
            data.setflags(write=True)  # made before its base was locked
        remember(data, value_of(h).node)
        return data

    def finish(self) -> None:
        """Cut the ties between what lima still holds and the memory that the caller owns now."""
        for h, data in self.originals.values():
            detach(h._value)
            if locked(h) and data.flags.writeable:
                data.setflags(write=False)
            release(h, data)


def settle(h: Handle, original: Any) -> None:
    """Bring the caller's array up to date with what the call wrote into it."""
    data = data_of(h)
    if data is not original:
        if data.shape != original.shape:
            original.shape = data.shape
        if owner(data) is not owner(original):
            original[...] = data
