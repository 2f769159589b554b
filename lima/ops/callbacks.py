"""Functions of NumPy that call the user's function: composed of traced calls.

NumPy's own bodies would hand plain arrays to the callback. These do the same work on traced
arrays, so that what the callback computes stays in the lineage.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from lima.errors import ReplayError
from lima.node import Unique
from lima.op import MISSING, op
from lima.ops.spelling import SPELLINGS, Args, Kwargs, Respelled, by_name, spelling


def _along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """`np.apply_along_axis`. The first result decides shape and dtype of all, as there."""
    axis = normalize_axis_index(axis, arr.ndim)
    lines = np.moveaxis(arr, axis, -1)
    lead = lines.shape[:-1]
    if 0 in lead:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    made: list[Any] = []
    for index in np.ndindex(*lead):
        # a copy: the callback may return one buffer again and again
        item = np.copy(func1d(lines[(*index, ...)], *args, **kwargs))
        if made and item.dtype != made[0].dtype:
            item = item.astype(made[0].dtype)
        if made and item.shape != made[0].shape:
            item = np.broadcast_to(item, made[0].shape)
        made.append(item)
    joined = np.stack(made).reshape(lead + made[0].shape)
    ahead = range(axis), range(len(lead), joined.ndim), range(axis, len(lead))
    return np.transpose(joined, [k for axes in ahead for k in axes])


def _over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """`np.apply_over_axes`."""
    count = a.ndim
    for axis in (axes,) if np.ndim(axes) == 0 else axes:
        place = axis + count if axis < 0 else axis
        found = func(a, place)
        if found.ndim != a.ndim:
            found = np.expand_dims(found, place)
        if found.ndim != a.ndim:
            raise ValueError("function is not returning an array of the correct shape")
        a = found
    return a


@spelling(np.apply_along_axis)
def _respell_along_axis(args: Args, kwargs: Kwargs) -> Respelled:
    """Composed up to some thousand lines: each costs several times what it does in NumPy."""
    named = by_name(("func1d", "axis", "arr"), args[:3], {k: kwargs[k] for k in _OWN & {*kwargs}})
    arr: Any = named.get("arr")
    if not _has_axis(arr, named):
        return None, args, kwargs
    lines = arr.size // max(arr.shape[named["axis"]], 1)
    return None if lines > MAX_LINES else _along_axis, args, kwargs


def _has_axis(arr: Any, named: Kwargs) -> bool:
    axis, ndim = named.get("axis"), getattr(arr, "ndim", 0)
    return type(axis) is int and -ndim <= axis < ndim


MAX_LINES = 4096
"""Calls of a callback up to which they are traced."""

_OWN = {"func1d", "axis", "arr"}


SPELLINGS[np.apply_over_axes] = lambda args, kwargs: (_over_axes, args, kwargs)


@spelling(np.piecewise)
def _respell_piecewise(args: Args, kwargs: Kwargs) -> Respelled:
    """Composed where each condition is an array like `x`; NumPy knows more spellings."""
    if len(args) < 3:
        return None, args, kwargs
    x, conditions, functions = args[:3]
    shape = getattr(x, "shape", ())
    if len(shape) == 1 and getattr(conditions, "shape", None) == shape:
        conditions = [conditions]
    fits = type(conditions) in (list, tuple) and conditions and type(x) is not np.ndarray and shape
    if not fits or not all(getattr(c, "shape", None) == shape for c in conditions):
        return None, args, kwargs
    if len(functions) - len(conditions) not in (0, 1):
        return None, args, kwargs
    return _piecewise, (x, conditions, *args[2:]), kwargs


def _piecewise(x: Any, conditions: Any, functions: Any, *args: Any, **kwargs: Any) -> Any:
    conditions = [c if c.dtype == bool else c.astype(bool) for c in conditions]
    if len(functions) > len(conditions):
        known = conditions[0]
        for condition in conditions[1:]:
            known = known | condition
        conditions.append(~known)
    found = np.zeros_like(x)
    for condition, function in zip(conditions, functions, strict=True):
        if not callable(function):
            found[condition] = function
            continue
        values = x[condition]
        if values.size > 0:
            found[condition] = function(values, *args, **kwargs)
    return found


# --------------------------------------------------------------------------- np.vectorize


class Unsteady(Exception):
    """A callback did more than compute: `found` is right, but no other call may have it."""

    def __init__(self, found: Any, why: str) -> None:
        super().__init__(why)
        self.found = found


Run = Callable[[Args, Kwargs], Any]
"""Calls a callback for all elements of some arguments; raises Unsteady."""

RUNNING: ContextVar[tuple[bytes, Run] | None] = ContextVar("lima_vectorize", default=None)
"""The callback of the call that is being made, and the token that stands for it in the node."""

LIVE: OrderedDict[bytes, Any] = OrderedDict()
"""Callbacks that computed something lately, by token: with them a lineage can be recomputed."""

MAX_LIVE = 64
"""Callbacks that are remembered."""


def remember(token: bytes, live: Any) -> None:
    """Let `live()` give the callback behind a token, or None when it has gone."""
    LIVE[token] = live
    while len(LIVE) > MAX_LIVE:
        LIVE.popitem(last=False)


def is_live(token: bytes) -> bool:
    """Whether the callback that a token stands for is still there."""
    live = LIVE.get(token)
    return live is not None and live() is not None


def _vectorize(*, function: Unique, args: Args, kwargs: Kwargs, **_how: Any) -> Any:
    """The callback for each element. What it is, and what it uses, stands behind `function`."""
    running = RUNNING.get()
    if running is None or running[0] != function.token:
        live = LIVE.get(function.token)
        running = None if live is None else live()
    if running is None:
        raise ReplayError(f"the function {function.what} is not there any more")
    return running[1](args, kwargs)


op(
    "vectorize",
    _vectorize,
    operands="",
    params=dict.fromkeys(
        ("function", "args", "kwargs", "otypes", "signature", "excluded", "cache", "uses"), MISSING
    ),
    calls=(),
    wrap=tuple,
    weight=256.0,
)
