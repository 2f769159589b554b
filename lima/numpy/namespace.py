"""NumPy's modules as namespaces whose functions are traced everywhere, and give traced arrays.

Functions with a row take the way of all traced calls. What other functions return is looked at: an
array in memory that plain code may see too is a handle on it, read anew at each use, so that
writes on either side show on the other, as in the plain program. Any other array is a leaf.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from lima.barriers import adopt
from lima.calls import LITERALS, function
from lima.code import BEHIND
from lima.frame import Frame, _frame, active
from lima.handle import Handle, outside
from lima.nesting import each
from lima.op import owner
from lima.ops.spelling import METADATA, SPELLINGS
from lima.stand_in import Twin
from lima.twin import TRACED_MODULES, TwinModule, twin_of


class Always:
    """A function of NumPy that is traced outside of traced calls too."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._twin = twin_of(plain)
        functools.update_wrapper(self, plain, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        frame = active()
        if frame is not None and not frame.namespace:
            return self._twin(*args, **kwargs)
        token = _frame.set(Frame(None, namespace=True))
        try:
            converts = getattr(self._twin, "_converts", False)
            return taken(self._call(args, kwargs), (args, kwargs), converts)
        finally:
            _frame.reset(token)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        twin = self._twin
        if type(twin) is Twin:
            only_numbers = not twin._always and not kwargs and LITERALS.issuperset(map(type, args))
            return twin._plain(*args) if only_numbers else twin._traced(args, kwargs)
        if self._plain in SPELLINGS and next(arrays_in((args, kwargs)), None) is not None:
            return function(self._plain, windows(args), windows(kwargs))  # composed of traced calls
        return twin(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._plain, name)
        return always(found) if callable(found) else found

    def __eq__(self, other: object) -> bool:
        return bool(self._twin == (other._twin if type(other) is Always else other))

    def __hash__(self) -> int:
        return hash(self._twin)

    def __instancecheck__(self, x: Any) -> bool:
        return isinstance(x, self._twin)  # `RandomState` and `Generator` are called and asked for

    def __reduce__(self) -> Any:
        return always, (self._plain,)

    def __repr__(self) -> str:
        return f"<traced {self._plain!r}>"


class AlwaysMade:
    """An object that makes arrays when it is indexed: `np.r_`, `np.mgrid`."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._twin = twin_of(plain)
        self.__doc__ = plain.__doc__

    def __getitem__(self, key: Any) -> Any:
        return taken(self._twin[key], key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def __len__(self) -> int:
        return 0

    def __reduce__(self) -> Any:
        return always, (self._plain,)

    def __repr__(self) -> str:
        return f"<traced {self._plain!r}>"


BEHIND[Always] = BEHIND[AlwaysMade] = lambda x: x._plain

_INDEXED = tuple({type(x) for x in (np.r_, np.c_, np.mgrid, np.ogrid)})


def namespace_of(plain: types.ModuleType) -> TwinModule:
    """The twin of a module whose functions are traced everywhere."""
    made = TwinModule(plain)
    made.__dict__["_wrap"] = always
    return made


def always(x: Any) -> Any:
    """What stands for `x`, a member of NumPy's modules, in the namespace.

    Types, constants and what asks for shapes, dtypes or memory are NumPy's own.
    """
    if isinstance(x, types.ModuleType):
        return namespace_of(x) if x.__name__ in TRACED_MODULES else x
    if isinstance(x, _INDEXED):
        return AlwaysMade(x)
    if not callable(x) or x in METADATA or (isinstance(x, type) and twin_of(x) is x):
        return x
    known = _made.get(id(x))
    if known is None:
        known = _made[id(x)] = Always(x)
    return known


_made: dict[int, Always] = {}
"""Functions of the namespace by the identity of NumPy's, which they keep alive."""


# ----------------------------------------------------------------------------- plain arrays


def arrays_in(x: Any) -> Iterator[Any]:
    """The arrays, traced and plain, in `x` and in lists, tuples and dictionaries inside."""
    stack = [x]
    while stack:
        item = stack.pop()
        if type(item) in (list, tuple):
            stack.extend(item)
        elif type(item) is dict:
            stack.extend(item.values())
        elif isinstance(item, (Handle, np.ndarray)):
            yield item


def windows(x: Any) -> Any:
    """`x` with a outside on each plain array in it."""
    kind = type(x)
    if kind is np.ndarray:
        return outside(x)
    if kind in (list, tuple):
        return kind(each(windows, x))
    if kind is dict:
        return dict(zip(x, each(windows, x.values()), strict=True))
    return x


def taken(found: Any, arguments: Any, converts: bool = False) -> Any:
    """The result of a call with the plain arrays in it replaced by traced ones.

    `converts`: the call makes arrays of objects, which may keep them. What other calls made is
    copied, since there is no knowing who else holds it (a callback may return what it likes).
    """
    kind = type(found)
    if kind is np.ndarray:
        memory = owner(found)
        if converts or type(memory) is not np.ndarray or not memory.flags.owndata:
            return outside(found)
        if any(memory is owner(a) for a in arrays_in(arguments) if type(a) is kind):
            return outside(found)
        return adopt(found.copy(order="K"), "made by a function that is not traced")
    if kind in (list, tuple):
        if any(type(item) is np.ndarray for item in found):
            return kind(each(lambda item: taken(item, arguments), found))
    elif isinstance(found, tuple) and hasattr(found, "_fields"):
        return kind(*each(lambda item: taken(item, arguments), found))
    return found
