"""The traced twin of a NumPy callable, compiled so that warnings name the line of the user."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from lima.barriers import opened
from lima.calls import function, ufunc
from lima.code import BEHIND
from lima.frame import active
from lima.handle import Handle


def carries_array(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a traced array is among the arguments, also inside lists and tuples."""
    stack: list[Any] = [*args, *kwargs.values()]
    seen: set[int] = set()  # a list may contain itself
    while stack:
        x = stack.pop()
        if isinstance(x, Handle):
            return True
        if type(x) in (list, tuple) and id(x) not in seen:
            seen.add(id(x))
            stack.extend(x)
    return False


class Twin:
    """A NumPy callable that is traced while a traced call runs, or when given traced arrays."""

    def __init__(self, plain: Any, always: bool, shown: Callable[..., Any] | None = None) -> None:
        self._plain = plain
        self._always = always
        self._traced = shown or functools.partial(_through, plain)
        self._converts = shown is not None
        functools.update_wrapper(self, plain, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._converts and active() is None:
            return self._plain(*args, **kwargs)  # outside of traced code, to plain arrays
        for a in args:
            if isinstance(a, Handle):
                return self._traced(args, kwargs)
        if active() is None:
            if not carries_array(args, kwargs):
                return self._plain(*args, **kwargs)
        elif not self._always and not _any_array(args, kwargs):
            try:
                return self._plain(*args, **kwargs)
            except ValueError as error:
                arrays = opened(error, args, kwargs)
                if arrays is None:
                    raise
                args, kwargs = arrays
        return self._traced(args, kwargs)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._plain, name)
        return TWIN_OF[0](found) if callable(found) else found

    def __reduce__(self) -> Any:
        return _twin_again, (self._plain,)

    def __eq__(self, other: object) -> bool:
        return self._plain is other or (type(other) is Twin and other._plain is self._plain)

    def __hash__(self) -> int:
        return hash(self._plain)

    def __repr__(self) -> str:
        return f"<traced {self._plain!r}>"


def _twin_again(plain: Any) -> Any:
    """What a pickled or copied twin is: itself."""
    return TWIN_OF[0](plain)


def _through(plain: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return (ufunc if isinstance(plain, np.ufunc) else function)(plain, args, kwargs)


def _any_array(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Traced arrays anywhere, or a plain array (a leaf by its content) as an argument."""
    return carries_array(args, kwargs) or any(type(a) is np.ndarray for a in args)


BEHIND[Twin] = lambda x: x._plain

TWIN_OF: list[Callable[[Any], Any]] = []
"""What makes twins (`lima.twin`), of the methods of a universal function too."""
