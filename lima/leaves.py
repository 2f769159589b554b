"""Where the arrays behind leaves can be found again, so that a log can be made self-contained.

Arrays of the user's are held weakly and checked by content when asked for; arrays that exist
nowhere else (results of barriers, long literals), and copies of small ones, which often are gone
after the statement, are held, up to `HELD_BYTES`.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from contextlib import suppress
from threading import Lock
from typing import Any

import cachetools

from lima.errors import NotCanonical
from lima.node import layout_of, leaf

HELD_BYTES = 64_000_000
"""Bytes of arrays kept for logs although nothing else refers to them."""

SMALL_BYTES = 1024
"""Bytes of an array of the user's up to which a copy of it is held."""

SEEN_LIMIT = 1 << 14
"""Arrays of the user's that are remembered (weakly)."""

_held: cachetools.LRUCache[bytes, Any] = cachetools.LRUCache(
    HELD_BYTES, getsizeof=lambda a: int(a.nbytes)
)
TWINS = 4
"""Arrays of one content that are remembered: some may go, or be written."""

_seen: OrderedDict[bytes, tuple[weakref.ref[Any], ...]] = OrderedDict()
_lock = Lock()


def seen(digest: bytes, a: Any) -> None:
    """Remember where the leaf `digest` came from, without keeping the array alive."""
    if a.nbytes <= SMALL_BYTES and type(layout_of(a)) is str:
        if digest not in _held:
            kept = a.copy("K")
            with suppress(NotCanonical):
                if leaf(kept).digest == digest:
                    hold(digest, kept)
        return
    with _lock:
        others = [ref for ref in _seen.get(digest, ()) if ref() is not None and ref() is not a]
        _seen[digest] = (weakref.ref(a), *others[: TWINS - 1])
        if len(_seen) > SEEN_LIMIT:
            _forget()


def _forget() -> None:
    """Make room: what has gone goes first, then the oldest."""
    for key in [key for key, refs in _seen.items() if all(ref() is None for ref in refs)]:
        del _seen[key]
    while len(_seen) > SEEN_LIMIT - SEEN_LIMIT // 4:
        _seen.popitem(last=False)


def hold(digest: bytes, a: Any) -> None:
    """Keep the array of a leaf that exists nowhere else."""
    if a.nbytes <= HELD_BYTES // 16:
        with _lock:
            _held[digest] = a


def find(digest: bytes) -> Any:
    """The array of a leaf, if it still exists with the content it had; None otherwise."""
    with _lock:
        kept = _held.get(digest)
        refs = _seen.get(digest, ())
    if kept is not None:
        return kept
    for ref in refs:
        a = ref()
        try:
            if a is not None and leaf(a).digest == digest:
                return a
        except NotCanonical:
            continue
    return None


def _in_child() -> None:
    """After a fork: another thread may have held the lock."""
    global _lock
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
