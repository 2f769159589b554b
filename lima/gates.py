"""Where traced data leaves for code that lima does not see, and comes back as plain arrays (D3).

Compiled code and third-party packages take plain arrays: `np.asarray(x)` in them calls
`x.__array__`. What they hand back is recognised, if it is the array that was given or a copy of
it, and keeps its lineage. Anything else is a leaf, which notes the place where it came in.
"""

from __future__ import annotations

import sys
import weakref
from types import FrameType
from typing import Any, NamedTuple

from lima.node import Node, leaf
from lima.stats import Outcome, outcome_row
from lima.tasks import Noted

REMEMBERED = 256
"""Arrays given out that are recognised when they come back; the oldest is forgotten first."""

SMALL_BYTES = 4096
"""Arrays up to this size are hashed when they are given out, and known when they are gone."""

LENT = ("Borrowed", "Foreign")
"""Kinds of values in memory of plain code, which may have written it since it was given out."""

LIBRARIES = frozenset(
    "lima numpy scipy pandas sklearn numba joblib matplotlib xarray statsmodels dask".split()
)
"""Packages whose lines are not the user's."""


class _Given(NamedTuple):
    array: weakref.ref[Any]
    handle: weakref.ref[Any]
    value: weakref.ref[Any]


_given = Noted(REMEMBERED)
_nodes = Noted(REMEMBERED)


def give(array: Any, handle: Any, value: Any) -> None:
    """Note that untraced code gets `array`, a read-only array of the elements of `value`.

    `handle` is what the program has of it.
    """
    entry = _Given(weakref.ref(array), weakref.ref(handle), weakref.ref(value))
    _given.note(id(array), entry)
    if array.nbytes <= SMALL_BYTES:
        _nodes.note(leaf(array).digest, value.node)


def known(array: Any, node: Node) -> None:
    """Note that `node` made the bytes of `array`, which plain code may keep."""
    _nodes.note(leaf(array).digest, node)


def of_content(entered: Node) -> Node:
    """What made the bytes of a leaf, if it is known; else the leaf."""
    return _nodes.get(entered.digest) or entered


def given_back(array: Any) -> tuple[Any, Any]:
    """The handle and the value that `array` was given out for, if it is that very array.

    Either is None where it is gone.
    """
    entry = _given.get(id(array))
    if entry is None or entry.array() is not array:
        return None, None
    value = entry.value()
    gone = value is not None and value.data is None  # it was written where it lay
    return entry.handle(), None if gone else value


def made_by(array: Any, entered: Node) -> Node | None:
    """The lineage of a copy of something that was given out; `entered` is the copy as a leaf."""
    known: Node | None = _nodes.get(entered.digest)
    for entry in () if known is not None else reversed(_given.latest()):
        value: Any = entry.value()
        data: Any = None if type(value).__name__ in LENT else getattr(value, "data", None)
        if getattr(data, "shape", None) == array.shape and data.dtype == array.dtype:
            digest = leaf(data).digest
            _nodes.note(digest, value.node)
            if digest == entered.digest:
                return value.node  # type: ignore[no-any-return]
    return known


# --------------------------------------------------------------------------- places


def note_entry(node: Node) -> None:
    """Let a leaf say where it came in, if nothing else is known of it."""
    if node.outcome is None and node.name is None:
        node.outcome = outcome_row(Outcome.ENTERED, why=f"a plain array, met {place()}")


def place() -> str:
    """The user's line that is running, and the function of a library that it called."""
    frame: FrameType | None = sys._getframe(1)
    called = ""
    while frame is not None:
        home = str(frame.f_globals.get("__name__", ""))
        top = home.partition(".")[0]
        if top not in LIBRARIES:
            return f"at {frame.f_code.co_filename}:{frame.f_lineno}{called}"
        if top != "lima":
            called = f", in {home}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return f"nowhere in Python{called}"
