"""Calls that give an argument itself, or a view of one, so that writes to the one change the other.

They are composed, not computed: `np.diff(x, n=0)` is `x`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.op import OPS
from lima.ops.spelling import Args, Kwargs, Respelled, by_name, spelling


def _itself(x: Any) -> Any:
    return x


@spelling(np.diff)
def _diff(args: Args, kwargs: Kwargs) -> Respelled:
    named = by_name(("a", "n", "axis", "prepend", "append"), args, kwargs)
    if _is(named.get("n"), 0) and isinstance(named.get("a"), np.ndarray):
        return _itself, (named["a"],), {}
    return OPS["diff"], args, kwargs


@spelling(np.linalg.matrix_power)
def _matrix_power(args: Args, kwargs: Kwargs) -> Respelled:
    named = by_name(("a", "n"), args, kwargs)
    a = named.get("a")
    square = isinstance(a, np.ndarray) and a.ndim > 1 and a.shape[-1] == a.shape[-2]
    if square and _is(named.get("n"), 1):
        return _itself, (a,), {}
    return OPS["linalg.matrix_power"], args, kwargs


@spelling(np.polyder)
def _polyder(args: Args, kwargs: Kwargs) -> Respelled:
    return _of_polynomial("polyder", ("p", "m"), args, kwargs)


@spelling(np.polyint)
def _polyint(args: Args, kwargs: Kwargs) -> Respelled:
    return _of_polynomial("polyint", ("p", "m", "k"), args, kwargs)


def _of_polynomial(name: str, names: tuple[str, ...], args: Args, kwargs: Kwargs) -> Respelled:
    named = by_name(names, args, kwargs)
    p = named.get("p")
    fits = isinstance(p, np.ndarray) and p.ndim == 1 and named.get("k") is None
    if fits and _is(named.get("m"), 0):
        return _itself, (p,), {}
    return OPS[name], args, kwargs


def _is(x: Any, wanted: int) -> bool:
    return type(x) is int and x == wanted


@spelling(np.ix_)
def _ix(args: Args, kwargs: Kwargs) -> Respelled:
    """Views of arrays of numbers; where anything else is among them, a row."""
    numbers = [isinstance(x, np.ndarray) and x.ndim == 1 and x.dtype.kind != "b" for x in args]
    return (OPS["ix_"], (args,), kwargs) if kwargs or not all(numbers) else (_open_mesh, args, {})


def _open_mesh(*args: Any) -> tuple[Any, ...]:
    return tuple([_along(x, k, len(args)) for k, x in enumerate(args)])


def _along(x: Any, axis: int, ndim: int) -> Any:
    return x.reshape((1,) * axis + (-1,) + (1,) * (ndim - axis - 1))


@spelling(np.meshgrid)
def _meshgrid(args: Args, kwargs: Kwargs) -> Respelled:
    known = kwargs.keys() <= {"copy", "sparse", "indexing"}
    arrays = all(isinstance(x, np.ndarray) for x in args)
    if kwargs.get("copy", True) is not False or not known or not arrays:
        return OPS["meshgrid"], (args,), kwargs
    if kwargs.get("indexing", "xy") not in ("xy", "ij"):
        return OPS["meshgrid"], (args,), kwargs  # which raises
    return _views_of_mesh, args, {k: v for k, v in kwargs.items() if k != "copy"}


_SPARSE: Any = type(np.meshgrid(np.ones(1), copy=False, sparse=True))
"""A list, where NumPy has not made them all tuples."""


def _views_of_mesh(*args: Any, sparse: Any = False, indexing: str = "xy") -> Any:
    places = list(range(len(args)))
    if indexing == "xy":
        places[:2] = places[1::-1] if len(args) > 1 else places
    found = [_along(x, axis, len(args)) for x, axis in zip(args, places, strict=True)]
    return _SPARSE(found) if sparse else tuple(np.broadcast_arrays(*found))
