"""Rows of indexing: views, single elements, selections by index arrays and masks, assignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima.node import Ref, Spec
from lima.op import OPS, Kind, Meta, op
from lima.ops import forms, reach
from lima.ops.infer import hollow

Path = tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]
"""View operations, each with its parameters, that lead from a base array to a view of it."""


def _get(a: Any, *, index: Any) -> Any:
    return a[index]


def _slice_meta(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    shape, dtype = inputs[0].meta
    found = hollow(shape, dtype)[spec.get("index")]
    if not found.shape and found.dtype.names is not None:
        return None  # one record: whether its items are views depends on what it is
    return found.shape, found.dtype


def _select_meta(inputs: Sequence[Any], spec: Spec) -> Meta | None:
    """Meta of one index array or mask among full slices; anything else runs at once."""
    shape, dtype = inputs[0].meta
    index = spec.get("index")
    items = index if type(index) is tuple else (index,)
    places = [k for k, item in enumerate(items) if item != slice(None)]
    if len(places) != 1 or type(items[places[0]]) is not Ref or len(items) > len(shape):
        return None
    axis = places[0]
    chosen = inputs[items[axis].index]
    found = getattr(chosen, "data", None)
    if type(found) is not np.ndarray or found.ndim != 1:
        return None
    if found.dtype.kind == "b":
        count = int(np.count_nonzero(found)) if len(found) == shape[axis] else None
    else:
        count = _count_valid(found, shape[axis])
    if count is None:
        return None
    return (*shape[:axis], count, *shape[axis + 1 :]), dtype


def _count_valid(places: np.ndarray[Any, Any], length: int) -> int | None:
    if places.dtype.kind not in "iu" or not len(places):
        return None
    return len(places) if places.min() >= -length and places.max() < length else None


def index_text(index: Any, texts: Any = repr) -> str:
    """An index as it is written between brackets."""

    def one(item: Any) -> str:
        if type(item) is slice:
            ends = ["" if e is None else str(e) for e in (item.start, item.stop)]
            return ":".join(ends if item.step is None else [*ends, str(item.step)])
        if item is Ellipsis:
            return "..."
        return "None" if item is None else texts(item)

    if type(index) is not tuple:
        return one(index)
    return ", ".join(map(one, index)) + ("," if len(index) == 1 else "") if index else "()"


op(
    "slice",
    _get,
    Kind.VIEW,
    calls=(),
    params={"index": None},
    infer=_slice_meta,
    form=forms.sliced,
)
op("element", _get, Kind.LIGHT, calls=(), params={"index": None}, reach=reach.moved)
op(
    "gather",
    _get,
    Kind.LIGHT,
    calls=(),
    params={"index": None},
    infer=_select_meta,
    form=forms.gathered,
    reach=reach.moved,
)


def follow(a: Any, path: Path) -> Any:
    """The view of `a` that the view operations of `path` lead to."""
    for name, params in path:
        a = OPS[name].kernel(a, **dict(params))
    return a


def open_window(a: Any, path: Path) -> Any:
    """The view of `a` to write by; what NumPy gives locked (`np.diagonal`) was unlocked by then."""
    window = follow(a, path)
    if type(window) is np.ndarray and not window.flags.writeable and a.flags.writeable:
        window.setflags(write=True)
    return window


def _assign(a: Any, value: Any, *, path: Path = (), index: Any = ...) -> None:
    open_window(a, path)[index] = value


op(
    "assign",
    _assign,
    Kind.LIGHT,
    calls=(),
    operands="a value",
    params={"path": (), "index": ...},
    into="a",
    reach=reach.moved,
)
