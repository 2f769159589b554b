"""What a user's array variable is: a handle that points to a value and can be re-pointed (D6).

A view is a handle with a base handle and the path of view operations that lead to it. It is
derived anew when its base has moved on, which is how a write through one is seen by all.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from lima.errors import InternalError
from lima.forcing import force
from lima.gates import of_content
from lima.graph import settled
from lima.node import Node, Spec, leaf
from lima.op import OPS, evaluate
from lima.runtime import apply
from lima.sessions import current
from lima.values import Foreign, Pending, Value


class Handle:
    """The fields of `lima.Array`; see there."""

    __slots__ = ("__weakref__", "_base", "_locked", "_path", "_rivals", "_value")

    _value: Value
    _base: Handle | None
    _path: tuple[Spec, ...]
    _locked: bool  # NumPy would refuse to write it
    _rivals: Callable[[], None] | None  # what to do before it is written


_class: type[Handle] = Handle


def make_handles(kind: type[Handle]) -> None:
    """Let every new handle be one of this class."""
    global _class
    _class = kind


def new_handle(value: Value) -> Any:
    """A handle on a value that does not wait."""
    made = _class.__new__(_class)
    made._value = value
    made._base = None
    made._path = ()
    made._locked = False
    made._rivals = None
    return made


def handle(value: Value) -> Any:
    """A new handle on `value`."""
    made = new_handle(value)
    if type(value) is Pending:
        value.handle = weakref.ref(made)
    return made


def view_handle(value: Value, base: Handle, spec: Spec) -> Any:
    """A handle on a view, `spec` of `base`."""
    made = handle(value)
    made._base = root_of(base)
    made._path = (*base._path, spec)
    if locked(base) or (OPS[spec.op].readonly and not spec.get("writeable")):
        made._locked = True
    return made


def root_of(a: Handle) -> Handle:
    """The handle that owns the elements of `a`: its base, or itself."""
    base = a._base
    return a if base is None or base is _OUTSIDE else base


def locked(a: Handle) -> bool:
    """Whether NumPy would refuse to write through this array."""
    if a._base is _OUTSIDE and not a._path:  # it is for the owner of the memory to say
        return not a._value.data.flags.writeable
    return a._locked


def value_of(a: Handle) -> Value:
    """The present value of `a`; a view whose base was written is derived again."""
    base = a._base
    if base is None or a._value.root is base._value:
        return a._value
    if base._base is not None:
        return _outside(a, root_of(a))
    value = base._value
    for spec in a._path:
        value = apply(OPS[spec.op], spec, (value,))
    if value.root is not base._value:
        raise InternalError(f"the view {a._path!r} no longer shares memory with its base")
    a._value = value
    return value


def release(a: Handle, data: Any) -> None:
    """Hand the memory of `a` over to plain code: from now on `a` means the plain array `data`.

    Its base becomes one that sends every look at `a`, and at views of it, through `_outside`.
    """
    if a._locked and type(data) is np.ndarray:
        data.setflags(write=False)
    a._base = _OUTSIDE
    a._path = ()
    a._value = Foreign(_NOWHERE, data)


def outside(data: Any) -> Any:
    """A handle on memory of plain code, which is read anew at each use and written in place."""
    made = new_handle(Foreign(_NOWHERE, data))
    release(made, data)
    made._locked = not data.flags.writeable
    return made


_NOWHERE = leaf(np.zeros(0))
"""Stands for the lineage of a released array, which nobody asks: each look makes a leaf."""


_OUTSIDE = Handle.__new__(Handle)
_OUTSIDE._base = _OUTSIDE
_OUTSIDE._path = ()
_OUTSIDE._value = Foreign(_NOWHERE, None)
"""The base of released handles. No cycle of each handle with itself: its data goes when it goes."""


def is_outside(a: Handle) -> bool:
    """Whether the memory of `a` belongs to plain code."""
    base = a._base
    return base is not None and base._base is not None


def _outside(a: Handle, base: Handle) -> Value:
    """A leaf by content: plain code may have written the memory since the last look."""
    data = base._value.data
    for spec in a._path:
        data = evaluate(OPS[spec.op], spec, (data,))
    if a._path and type(data) is np.ndarray and data.flags.writeable is a._locked:
        turn_writing(data, not a._locked)
    value = Foreign(settled_here(of_content(leaf(data))), data)
    value.shared = True
    return value


def settled_here(made: Node) -> Node:
    """What made the bytes that came in: without rules only what gave these bits tells them."""
    if made.digest and made.inexact and not current().rounds:
        (made,) = settled([made])
    return made


def turn_writing(view: Any, wanted: bool) -> None:
    """Make a new view writable or not, as it was before its base was locked, or unlocked."""
    try:
        view.setflags(write=wanted)
    except ValueError:  # its base was locked after the view of the program was made
        base = view.base
        if type(base) is not np.ndarray or not base.flags.owndata:
            return
        base.setflags(write=True)
        view.setflags(write=True)
        base.setflags(write=False)


def data_of(a: Handle) -> Any:
    """The computed data of `a`: an ndarray that must not be written, or a NumPy scalar."""
    return force(value_of(a))
