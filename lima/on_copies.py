"""Traced arrays for code that takes no read-only ones: writable copies of them.

Compiled code often asks for memory that it may write, and then reads it (`scipy.signal.sosfilt`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.errors import UnsupportedError
from lima.handle import Handle, data_of, root_of
from lima.nesting import each
from lima.op import clone

_HARMLESS = (Handle, np.generic, np.dtype, str, bytes, bool, int, float, complex, slice)
"""Kinds of arguments that a call that failed cannot have changed: traced arrays were read-only."""


def is_asked(error: BaseException, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a call failed as it got read-only arrays, and may be made again with copies.

    Not if it was given what it may have written or drawn from by then, or views of one memory.
    """
    if "read-only" not in str(error) or not are_apart(args, kwargs):
        return False
    return all(x is None or isinstance(x, (_HARMLESS, type)) for x in _items(args, kwargs))


def are_apart(args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether there are traced arrays among the arguments, and no two are views of one memory."""
    arrays = {id(x): x for x in _items(args, kwargs) if isinstance(x, Handle)}
    return len({id(root_of(x)) for x in arrays.values()}) == len(arrays) > 0


def _items(args: Any, kwargs: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    _collect((args, kwargs), found)
    return found


def _collect(x: Any, found: list[Any]) -> None:
    if type(x) in (list, tuple, dict):
        each(lambda item: _collect(item, found), x.values() if type(x) is dict else x)
    else:
        found.append(x)


class Copies:
    """Hands out a copy for each traced array, the same for the same."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[Handle, Any, Any]] = {}

    def __call__(self, x: Any) -> Any:
        """`x` with copies in the places of traced arrays, in containers too."""
        if isinstance(x, Handle):
            data = data_of(x)
            if type(data) is not np.ndarray:
                return data
            return self._pairs.setdefault(id(x), (x, data, clone(data)))[2]
        if type(x) in (list, tuple):
            return type(x)(each(self, x))
        return dict(zip(x, each(self, x.values()), strict=True)) if type(x) is dict else x

    def written(self) -> list[tuple[Handle, Any]]:
        """Arrays whose copies were written, and these."""
        return [(h, c) for h, data, c in self._pairs.values() if c.tobytes() != data.tobytes()]

    def back(self, found: Any, name: str) -> Any:
        """`found` with the arrays in the places of their copies. Views of these are refused."""
        if type(found) in (list, tuple):
            return type(found)(each(lambda item: self.back(item, name), found))
        for h, _, copy in self._pairs.values():
            if found is copy:
                return h
            if isinstance(found, np.ndarray) and np.may_share_memory(found, copy):
                raise UnsupportedError(
                    f"{name} writes into a traced array and gives a view of it, which lima cannot "
                    f"follow; give it a copy (x.copy())"
                )
        return found
