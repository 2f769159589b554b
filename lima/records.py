"""One record of a traced array: NumPy's `void` scalar, which is a view, and acts as a tuple."""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.handle import Handle, data_of


def is_record(a: Handle) -> bool:
    """Whether a plain program would have a `void` scalar with fields here."""
    data = data_of(a)
    return type(data) is np.void and data.dtype.names is not None


def fields(a: Any) -> list[Any]:
    """The fields of a record, in order, as NumPy's scalars and as views."""
    return [a[name] for name in a.dtype.names]


def as_tuple(a: Any) -> tuple[Any, ...]:
    """The fields of a record as Python objects. Arrays among them are views, as in NumPy."""
    return tuple([_as_python(x) for x in fields(a)])


def _as_python(x: Any) -> Any:
    if not isinstance(x, Handle):
        return x.item() if isinstance(x, np.character) else x
    made: Any = x
    if made.shape:
        return made
    return data_of(x).item() if made.dtype.names is None else as_tuple(made)


def as_lists(a: Any) -> Any:
    """`ndarray.tolist` of records."""
    return [as_lists(row) for row in a] if a.shape else as_tuple(a)
