"""Python's operators with objects that are no operands: sequences, subclasses, other classes.

Python asks both sides, and NumPy leaves some work to the other one. So does a traced array.
It is compiled as its callers are: a frame of Python's between the program and NumPy would take the
place of the user's line in warnings.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.barriers import adopt, barrier, plain
from lima.handle import Handle, data_of
from lima.op import Op

_NUMBERS = (np.ndarray, np.generic)

SEQUENCES = frozenset({list, tuple})


def with_sequence(x: Handle, y: Any, swapped: bool, run: Any) -> Any:
    """What a scalar does with a list or tuple: `3 * [0]` repeats it, `3.0 * [0]` is an error."""
    data = data_of(x)
    with np.errstate(all="ignore"):
        return run(y, data) if swapped else run(data, y)


def of_their_own(row: Op, x: Handle, y: Any, swapped: bool, run: Any) -> Any:
    """`x op y` where the class of `y` has its own idea of universal functions, as NumPy asks it."""
    theirs = y.__array_ufunc__
    if run is None or theirs is None:
        return NotImplemented
    if isinstance(y, _NUMBERS):
        return NotImplemented if swapped else _of_subclass(x, y, run)
    pair = (y, x) if swapped else (x, y)
    return theirs(row.calls[0], "__call__", *pair) if row.calls else barrier(run, pair, {}, "")


def _of_subclass(x: Handle, y: Any, run: Any) -> Any:
    """`x op y` where `y` is of a subclass of ndarray, which Python asks first if it has an idea.

    If that declines, as `np.matrix` does for powers, the plain operator has its turn.
    """
    name = f"__r{run.__name__.strip('_')}__"
    own = getattr(type(y), name, None)
    if own is None or own is getattr(np.ndarray, name, None) or not isinstance(y, np.ndarray):
        return NotImplemented
    home = getattr(own, "__module__", None) or ""
    ours = not home.startswith("numpy.")  # whose masked arrays note the class of `x`
    found = own(y, x if ours else plain(x))
    if found is not NotImplemented:
        return found if ours else adopt(found, f"an operator of {type(y).__name__}")
    return barrier(run, (x, y), {}, f"{type(y).__name__} leaves it to NumPy")


def leaves_to(y: Any) -> bool:
    """Whether NumPy's operators leave the work to an object, the right one of two."""
    if isinstance(y, (Handle, *_NUMBERS)):
        return False
    if hasattr(y, "__array_ufunc__"):
        return y.__array_ufunc__ is None
    return bool(getattr(y, "__array_priority__", -1) > 0)


def untraceable(x: Handle, y: Any, swapped: bool, run: Any, why: str) -> Any:
    """`x op y` where `y` is no operand: NumPy takes it for a sequence or for an object.

    It leaves the operator to classes of a higher priority, as those of sparse arrays.
    """
    if run is None or (not swapped and leaves_to(y)):
        return NotImplemented
    return barrier(run, (y, x) if swapped else (x, y), {}, why)
