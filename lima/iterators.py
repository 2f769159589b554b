"""`np.nditer` of traced arrays: what it may write shares its memory with the array from then on.

What it only reads it gets as any code that is not traced, by `__array__`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from lima import twin
from lima.frame import active
from lima.handle import Handle
from lima.writes import share

WRITING = frozenset({"readwrite", "writeonly"})
"""Flags of operands that are written."""


def _lending(plain: Any) -> Callable[..., Any]:
    """`np.nditer` or `np.nested_iters`, with the memory of what is written.

    Where the flags do not fit the operands NumPy gets both as they are, and raises.
    """
    place = 1 if plain is np.nditer else 2

    def made(*args: Any, **kwargs: Any) -> Any:
        op = args[0] if args else kwargs.get("op")
        flags = kwargs.get("op_flags", args[place + 1] if len(args) > place + 1 else None)
        op = _lent(op, flags)
        return plain(op, *args[1:], **kwargs) if args else plain(**{**kwargs, "op": op})

    return made


def _lent(op: Any, flags: Any) -> Any:
    several = type(op) in (tuple, list)
    ops = op if several else [op]
    if type(flags) not in (tuple, list) or not flags:
        return op
    if all(type(flag) is str for flag in flags):
        flags = [flags] * len(ops)
    if len(flags) != len(ops):
        return op
    writes = [not WRITING.isdisjoint(f) for f in flags]
    lent = [
        share(x) if w and isinstance(x, Handle) else x for x, w in zip(ops, writes, strict=True)
    ]
    return type(op)(lent) if several else lent[0]


def _nested_iters(*args: Any, **kwargs: Any) -> Any:
    return (np.nested_iters if active() is None else _lending(np.nested_iters))(*args, **kwargs)


twin.SPECIAL[id(np.nditer)] = twin.traced_maker(np.nditer, _lending(np.nditer))
twin.SPECIAL[id(np.nested_iters)] = functools.wraps(np.nested_iters)(_nested_iters)
