"""What changes an array itself: Python's in-place operators, its size, its flags."""

from __future__ import annotations

import math
import operator
from functools import cache
from typing import Any

import numpy as np

from lima.barriers import write_untraced
from lima.calls import LIFT, binary, function
from lima.errors import InternalError, NotCanonical, UnsupportedError
from lima.forcing import force
from lima.frame import refuse
from lima.handle import Handle, is_outside, locked, root_of, value_of
from lima.node import Ref, Spec, new_node
from lima.op import OPS, Op
from lima.outs import is_new
from lima.values import (
    Borrowed,
    Value,
    live_users,
    memory_of,
    nodes_of,
    overlapping,
    rounds_in_place,
)
from lima.writes import kept, repoint, set_in_place, share, write

OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide",
    "floordiv": "floor_divide", "mod": "remainder", "pow": "pow", "matmul": "matmul",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "left_shift", "rshift": "right_shift",
}  # fmt: skip
"""Python's in-place operators and the rows that they mean."""

ARITHMETIC = {"add", "sub", "mul", "truediv"}
"""Those whose bits do not depend on where the result goes."""


def _shape_of(x: Any) -> tuple[int, ...]:
    return x.meta[0] if isinstance(x, Value) else ()


NO_MATRICES = (
    "inplace matrix multiplication requires the first operand to have at least one and the second "
    "at least two dimensions."
)


def operator_of(name: str, row: Op) -> Any:
    """The method of `Array` for one of them."""
    run = getattr(operator, f"__i{name}__")
    writing = OPS.get(f"i{row.name}", row)  # a row of its own where `out=` means something else
    spec = writing.spec if writing.into else Spec(row.name, (("out", Ref(2)),), 2, row.version)
    matrices = getattr(row.kernel, "signature", None) is not None

    def in_place(self: Any, other: Any) -> Any:
        value = value_of(self)
        if isinstance(value.data, np.generic):
            return binary(row, self, other, False, run)  # scalars are immutable: a new one
        try:
            right = value_of(other) if isinstance(other, Handle) else LIFT.operand(other)
        except NotCanonical as why:
            kind = type(other)
            if (
                not hasattr(kind, "__array_ufunc__")
                and getattr(other, "__array_priority__", -1) > 0
            ):
                return NotImplemented  # as NumPy does for sparse arrays: a new array, by their `+`
            return write_untraced(run, self, (self, other), {}, str(why))
        if matrices and len(_shape_of(right)) == 1:
            raise ValueError(NO_MATRICES)
        inputs = (value, right) if writing.into else (value, right, value)
        meant, node = spec, None
        aliases = isinstance(right, Value) and memory_of(right) is memory_of(value)
        if aliases or (writing.into is None and rounds_in_place(value)):
            meant = overlapping(spec, inputs, 0 if writing.into else 2, 32, False)
        elif name in ARITHMETIC and self._base is None and is_new(row, inputs):
            node = new_node(row.spec, nodes_of(inputs[:-1]))
        write(self, writing, meant, inputs, None, node)
        return self

    in_place.__name__ = f"__i{name}__"
    return in_place


def set_writeable(a: Handle, wanted: bool) -> None:
    """Make an array read-only, or writable again.

    Whether an argument can be unlocked is for its memory to say: it is the caller's from then on.
    """
    if wanted and a._base is None and type(a._value) is Borrowed and locked(a):
        share(a)
    if is_outside(a) and not a._path:
        data = a._value.data  # it stands for this very array of plain code
        refuse("it changes the flags of an array")
        data.setflags(write=wanted)
        a._locked = not data.flags.writeable
        return
    if wanted is not locked(a):
        return
    if wanted and a._base is not None and locked(a._base):
        root = root_of(a)
        if type(root._value) is not Borrowed and not is_outside(root):
            raise ValueError("cannot set WRITEABLE flag to True of this array")
        share(root)
        value_of(a).data.view().setflags(
            write=True
        )  # as NumPy says, which knows whose memory it is
    refuse("it changes the flags of an array")
    a._locked = not wanted


def fill_objects(a: Handle, value: Any) -> None:
    """`a.fill(value)` of Python objects: a list is one of them."""
    given = kept(value) if isinstance(value, Handle) else value

    def fill(target: Any) -> None:
        target.fill(given)

    write_untraced(fill, a, (a,), {}, "Python objects")


def resize(a: Any, shape: Any, refcheck: bool) -> None:
    """Change shape and size of an array; zeros follow where it grows."""
    new = tuple(shape) if isinstance(shape, (tuple, list)) else (operator.index(shape),)
    if min(new, default=0) < 0:
        raise ValueError("negative dimensions not allowed")
    count, size = math.prod(new), a.size
    if count != size:
        _refuse_resize(a, refcheck)
        flat = function(np.ravel, (a,), {})
        more = np.zeros(max(count - size, 0), a.dtype)
        grown = function(np.concatenate, ([flat[:count], more],), {})
        force(value_of(grown))
        repoint(a, value_of(grown), None)
    set_in_place(a, OPS["reshape"], new)


@cache
def _shared_in_words() -> str:
    """What NumPy says of an array that others hold, which hangs on its version and Python's."""
    array = np.zeros(1)
    for count in range(3):  # how few NumPy minds hangs on who calls it
        held = (array,) * count
        try:
            array.resize(2 + count)
        except ValueError as error:
            return str(error)
    raise InternalError(f"NumPy resizes what {len(held)} others hold")


def _refuse_resize(a: Handle, refcheck: bool) -> None:
    if a._base is not None:
        raise ValueError("cannot resize this array: it does not own its data")
    value = value_of(a)
    lent = isinstance(value, Borrowed)
    if refcheck and (lent or any(user.root is value for user in live_users(value))):
        raise ValueError(_shared_in_words())
    if lent:
        raise UnsupportedError("an argument cannot be resized in place; use np.resize(x, shape)")
