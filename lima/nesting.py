"""Steps of recursions over nested containers.

This module is never compiled: each level passes an interpreted frame, so that containers that are
nested too deeply end in a RecursionError, and not at the end of the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`function` of every item.

    >>> each(abs, (-1, 2))
    [1, 2]
    """
    return [function(item) for item in items]
