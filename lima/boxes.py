"""Arrays of Python objects, and of records with such fields: what they hold, and replacing it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.handle import turn_writing
from lima.walk import ATOMS, Layout


def is_box(x: Any) -> bool:
    """Whether `x` is an array or a record that holds Python objects."""
    return type(x) in (np.ndarray, np.void) and x.dtype.hasobject


def held_items(x: Any) -> list[Any]:
    """The objects in an array or a record, field by field; none where all are numbers or text."""
    return [item for part in _parts(x) for item in _objects(part)]


def _parts(x: Any) -> list[Any]:
    """The arrays of objects that an array or record with such fields consists of."""
    if x.dtype.names is None:
        return [x]
    fields = [x.dtype.fields[name][0] for name in x.dtype.names]
    named = [name for name, d in zip(x.dtype.names, fields, strict=True) if d.hasobject]
    return [part for name in named for part in _parts(_field(x, name))]


def _field(x: Any, name: str) -> Any:
    """A field as an array that shares memory: that of one record too."""
    return (x if type(x) is np.ndarray else np.asarray(x))[name]


def _objects(a: Any) -> list[Any]:
    found = list(a.flat)
    return [] if ATOMS.issuperset(map(type, found)) else found


def _refill(x: Any, items: list[Any]) -> None:
    """Set what `held_items` gave, in arrays that nobody may write too."""
    rest = iter(items)
    for part in _parts(x):
        if not _objects(part):
            continue
        new = np.empty(part.size, object)
        for k in range(part.size):
            new[k] = next(rest)
        locked = not part.flags.writeable
        if locked:
            turn_writing(part, True)
        if part.flags.writeable:
            part[...] = new.reshape(part.shape)
        if locked:
            part.setflags(write=False)


BOX = Layout(held_items, _refill, None)
