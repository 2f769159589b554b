"""What NumPy makes arrays of, in traced code: nested sequences, files, buffers, `r_`, `mgrid`.

Functions with a meaning of their own, which `lima.twin` makes the twins of (`OWN`), and the objects
that are indexed instead of called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lima.barriers import adopt, barrier, opened, plain
from lima.calls import LITERALS, call, function
from lima.frame import active
from lima.handle import Handle, outside
from lima.indexing import getitem
from lima.op import OPS, owner
from lima.ops.coverage import why_not
from lima.stand_in import carries_array
from lima.writes import kept, share

DEEPEST = 64
"""Levels of nesting that NumPy makes axes of."""

SHORT = 64
"""Numbers up to which a nested sequence stands in the lineage as it is; a longer one is a leaf."""


def _uncopied(plain: Any, x: Any, found: Any) -> Any:
    """What a conversion of `x` that need not copy found.

    It may lie in memory of the object, which others write: it is looked at anew at each use.
    """
    if found is x or np.isscalar(x) or type(x) is np.ndarray:
        return found
    if found.base is not None or hasattr(type(x), "__array__"):
        return outside(found)
    return adopt(found, f"{plain.__name__} of a {type(x).__qualname__}")


_ORDERED = (np.asarray, np.asanyarray)
"""Conversions that take the memory order by position."""


def _from_sequence(plain: Any) -> Callable[..., Any]:
    """`np.array` and kin: a sequence becomes a step, or a leaf if it is long and has no history."""

    def made(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not args and plain is np.array and "object" in kwargs:
            kwargs = dict(kwargs)
            args = (kwargs.pop("object"),)
        x = args[0] if args else None
        if type(kwargs.get("copy")) is str or len(args) > (3 if plain in _ORDERED else 2):
            return plain(*args, **kwargs)  # which raises
        if type(x) in (list, tuple):
            named = dict(zip(("object", "dtype", "order"), args, strict=False)) | kwargs
            named.pop("like", None)
            device, copies = named.pop("device", None), named.pop("copy", None)
            if device not in (None, "cpu") or copies is False:
                return plain(*args, **kwargs)  # which raises
            carried = carries_array(args, kwargs)
            if carried and _keeps(named.get("dtype"), ()):
                return adopt(_of_objects(plain, args, kwargs), f"{plain.__name__} of objects")
            if not carried and (_count(x, SHORT) > SHORT or _keeps(named.get("dtype"), x)):
                return _of_sequence(plain, args, kwargs, made)
            if plain is np.asfortranarray:
                named["order"] = "F"
            del named["object"]
            return call(OPS["nested"], (x,), {k: v for k, v in named.items() if v is not None})
        copies = plain is np.array and kwargs.get("copy", True) is True
        if copies or isinstance(x, Handle):
            return function(plain, args, kwargs)
        try:
            found = plain(*args, **kwargs)
        except ValueError as error:
            arrays = opened(error, args, kwargs)
            if arrays is None:
                raise
            return function(plain, *arrays)
        return _uncopied(plain, x, found)

    return made


def _of_sequence(convert: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> Any:
    """A sequence as a leaf; again, as `made` does, where objects in it hand out traced arrays."""
    try:
        return adopt(convert(*args, **kwargs), f"{convert.__name__} of a sequence")
    except ValueError as error:
        arrays = opened(error, args, kwargs)
        if arrays is None:
            raise
        return made(*arrays)


def _of_objects(convert: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An array of Python objects. Where arrays are among them, they stay what they are."""
    found = convert(*plain(args), **kwargs)
    holds = any(type(item) is np.ndarray for item in found.flat)
    return convert(kept(args[0]), *args[1:], **kwargs) if holds else found


def _keeps(dtype: Any, x: Any) -> bool:
    """Whether an array of the sequence would hold objects themselves, which others may change."""
    if dtype is not None:
        return bool(np.dtype(dtype).hasobject)
    stack = list(x)
    while stack:
        item = stack.pop()
        if type(item) in (list, tuple):
            stack.extend(item)
        elif type(item) not in LITERALS:
            return not isinstance(item, np.generic)
    return False


def _count(x: Any, limit: int, depth: int = 0) -> int:
    """Number of items in a nested sequence, counted up to a little over `limit`."""
    if type(x) not in (list, tuple):
        return 1
    if depth > DEEPEST:
        return limit + 1
    total = 0
    for item in x:
        total += _count(item, limit, depth + 1)
        if total > limit:
            break
    return total


OWN: dict[Any, Callable[[tuple[Any, ...], dict[str, Any]], Any]] = {
    plain: _from_sequence(plain)
    for plain in (np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray)
}
"""Functions with a meaning for traced arrays that no row expresses."""


def _chkfinite(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`np.asarray_chkfinite`."""
    made = OWN[np.asarray](args, kwargs)
    if made.dtype.char in np.typecodes["AllFloat"] and not np.isfinite(made).all():
        raise ValueError("array must not contain infs or NaNs")
    return made


def _entering(made_by: Any) -> Callable[..., Any]:
    """A function that makes an array of files or bytes: a leaf that names it."""

    def made(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        views = made_by is np.frombuffer
        if views and args and isinstance(args[0], Handle):
            args = (share(args[0]), *args[1:])
        found = made_by(*plain(tuple(args)), **plain(kwargs))
        ours = bytes if views else (np.ndarray, bytes)  # memory that nobody else writes
        if isinstance(found, np.ndarray) and not isinstance(owner(found), ours):
            return outside(np.asarray(found))  # of a buffer or a file, which others may write
        return adopt(found, f"numpy.{made_by.__name__}: {why_not(made_by)}")

    return made


OWN[np.asarray_chkfinite] = _chkfinite
OWN.update(
    (f, _entering(f))
    for f in (np.load, np.loadtxt, np.genfromtxt, np.fromfile, np.fromregex, np.fromstring,
              np.frombuffer, np.fromiter)
)  # fmt: skip


def _from_dlpack(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A traced array shares memory with what is made of it, as one of NumPy does."""
    x = args[0] if len(args) == 1 else None
    if not isinstance(x, Handle) or not kwargs.keys() <= {"device", "copy"}:
        return np.from_dlpack(*plain(args), **kwargs)
    _EMPTY.to_device(kwargs.get("device") or "cpu")  # NumPy says which device there is
    return function(np.array, (x,), {}) if kwargs.get("copy") else getitem(x, ...)


_EMPTY = np.zeros(0)
OWN[np.from_dlpack] = _from_dlpack


RANGES = (np.linspace, np.logspace, np.geomspace, np.ix_)
"""Functions that make arrays although they have operands, which are mostly numbers."""

COMPOSED = (np.fromfunction,)
"""Functions that make arrays although they are given none, composed of traced calls."""


class Joined:
    """`np.r_` and `np.c_`: what they make of traced arrays is a concatenation."""

    def __init__(self, plain: Any, columns: bool) -> None:
        self._plain = plain
        self._columns = columns
        self.__doc__ = plain.__doc__

    def __getitem__(self, key: Any) -> Any:
        items = key if type(key) is tuple else (key,)
        ends = [e for i in items if type(i) is slice for e in (i.start, i.stop, i.step)]
        if not carries_array((items, *ends), {}):
            return _of_numbers(self._plain, key)
        if any(isinstance(item, str) for item in items):
            return barrier(self._plain.__getitem__, (key,), {}, "a directive as text")
        parts = [self._part(item) for item in items]
        dtype = np.result_type(*[getattr(p, "dtype", p) for p in parts])
        return function(
            np.concatenate,
            (tuple([self._shaped(p, dtype) for p in parts]),),
            {"axis": self._plain.axis},
        )

    def _part(self, item: Any) -> Any:
        if type(item) is slice:
            return self._plain[slice(*plain((item.start, item.stop, item.step)))]
        if isinstance(item, (Handle, np.ndarray, bool, int, float, complex, np.generic)):
            return item
        return function(np.array, (item,), {})

    def _shaped(self, part: Any, dtype: Any) -> Any:
        is_array = isinstance(part, (Handle, np.ndarray))
        if not is_array:
            return function(np.array, ([[part]] if self._columns else [part],), {"dtype": dtype})
        if part.dtype != dtype:
            part = part.astype(dtype)
        if self._columns and part.ndim == 1:
            return part[:, None]
        missing = self._plain.ndmin - part.ndim
        return part.reshape((1,) * missing + part.shape) if missing > 0 else part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"<traced {self._plain!r}>"


class Grid:
    """`np.mgrid` and `np.ogrid`."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self.__doc__ = plain.__doc__

    def __getitem__(self, key: Any) -> Any:
        items = key if type(key) is tuple else (key,)
        ends = [e for i in items if type(i) is slice for e in (i.start, i.stop, i.step)]
        return self._plain[key] if carries_array((*ends,), {}) else _of_numbers(self._plain, key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def __repr__(self) -> str:
        return f"<traced {self._plain!r}>"


def _of_numbers(maker: Any, key: Any) -> Any:
    """What `np.mgrid` and its kin make of numbers: inside traced code a leaf that says so."""
    found = maker[key]
    name = type(maker).__name__.removesuffix("_class").replace("Class", "_").lower()
    return found if active() is None else adopt(found, f"numpy.{name}: made of numbers")
