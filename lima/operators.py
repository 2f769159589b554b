"""Python's operators on traced arrays, the hot path of nearly every program."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from lima.calls import binary, unary
from lima.handle import Handle, new_handle, value_of
from lima.node import new_node
from lima.op import OPS, Op
from lima.trials import tick
from lima.values import new_value, spec_for


class Operator:
    """One of Python's operators: what it runs, and the facts of its row that are asked for often.

    `direct`: small operands that are present need nothing but to be computed.
    """

    __slots__ = ("direct", "row", "run", "spec")

    def __init__(self, name: str, row: Op) -> None:
        self.run = getattr(operator, f"__{name}__")
        self.row = row
        self.spec = row.spec
        self.direct = not (row.aliasing or row.lenient)


_ARRAY, _SCALAR = np.ndarray, np.generic
_NUMBERS = frozenset({float, int, np.float64, np.int64})


def forward(op: Operator, x: Handle, y: Any) -> Any:
    """`x op y`.

    The case of present, small operands is written out, since it is what most operations of most
    programs are; `calls.binary` is the whole story.
    """
    tick()
    if op.direct:
        a = value_of(x)
        left = a.data
        kind = type(y)
        at_once = op.row.at_once
        if kind is type(x):
            b = value_of(y)
            right = b.data
            if (
                left is not None
                and right is not None
                and left.size <= at_once
                and right.size <= at_once
            ):
                found = op.run(left, right)
                if type(found) is not _ARRAY and not isinstance(found, _SCALAR):
                    return found  # what Python objects gave
                spec = op.spec if op.row.scalars is None else spec_for(op.row, found, left, right)
                return new_handle(new_value(new_node(spec, (a.node, b.node)), found))
        elif kind in _NUMBERS and left is not None and left.size <= at_once:
            found = op.run(left, y)
            if type(found) is not _ARRAY and not isinstance(found, _SCALAR):
                return found
            spec = op.spec if op.row.scalars is None else spec_for(op.row, found, left)
            return new_handle(new_value(new_node(spec, (a.node, y)), found))
    return binary(op.row, x, y, False, op.run)


def reflected(op: Operator, x: Handle, y: Any) -> Any:
    """`y op x`, where `y` is no traced array."""
    tick()
    return binary(op.row, x, y, True, op.run)


_ADD = Operator("add", OPS["add"])
_SUB = Operator("sub", OPS["subtract"])
_MUL = Operator("mul", OPS["multiply"])
_TRUEDIV = Operator("truediv", OPS["divide"])
_FLOORDIV = Operator("floordiv", OPS["floor_divide"])
_MOD = Operator("mod", OPS["remainder"])
_POW = Operator("pow", OPS["pow"])
_MATMUL = Operator("matmul", OPS["matmul"])
_AND = Operator("and", OPS["bitwise_and"])
_OR = Operator("or", OPS["bitwise_or"])
_XOR = Operator("xor", OPS["bitwise_xor"])
_LSHIFT = Operator("lshift", OPS["left_shift"])
_RSHIFT = Operator("rshift", OPS["right_shift"])
_EQ = Operator("eq", OPS["equal"])
_NE = Operator("ne", OPS["not_equal"])
_LT = Operator("lt", OPS["less"])
_LE = Operator("le", OPS["less_equal"])
_GT = Operator("gt", OPS["greater"])
_GE = Operator("ge", OPS["greater_equal"])
_NEG = OPS["negative"]
_POS = OPS["positive"]
_ABS = OPS["absolute"]
_INVERT = OPS["invert"]


class Operators(Handle):
    """The operators of `lima.Array`, each the operation of its row."""

    __slots__ = ()

    def __add__(self, other: Any) -> Any:
        return forward(_ADD, self, other)

    def __radd__(self, other: Any) -> Any:
        return reflected(_ADD, self, other)

    def __sub__(self, other: Any) -> Any:
        return forward(_SUB, self, other)

    def __rsub__(self, other: Any) -> Any:
        return reflected(_SUB, self, other)

    def __mul__(self, other: Any) -> Any:
        return forward(_MUL, self, other)

    def __rmul__(self, other: Any) -> Any:
        return reflected(_MUL, self, other)

    def __truediv__(self, other: Any) -> Any:
        return forward(_TRUEDIV, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return reflected(_TRUEDIV, self, other)

    def __floordiv__(self, other: Any) -> Any:
        return forward(_FLOORDIV, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return reflected(_FLOORDIV, self, other)

    def __mod__(self, other: Any) -> Any:
        return forward(_MOD, self, other)

    def __rmod__(self, other: Any) -> Any:
        return reflected(_MOD, self, other)

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        return NotImplemented if modulo is not None else forward(_POW, self, other)

    def __rpow__(self, other: Any, modulo: Any = None) -> Any:
        return NotImplemented if modulo is not None else reflected(_POW, self, other)

    def __matmul__(self, other: Any) -> Any:
        return forward(_MATMUL, self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return reflected(_MATMUL, self, other)

    def __and__(self, other: Any) -> Any:
        return forward(_AND, self, other)

    def __rand__(self, other: Any) -> Any:
        return reflected(_AND, self, other)

    def __or__(self, other: Any) -> Any:
        return forward(_OR, self, other)

    def __ror__(self, other: Any) -> Any:
        return reflected(_OR, self, other)

    def __xor__(self, other: Any) -> Any:
        return forward(_XOR, self, other)

    def __rxor__(self, other: Any) -> Any:
        return reflected(_XOR, self, other)

    def __lshift__(self, other: Any) -> Any:
        return forward(_LSHIFT, self, other)

    def __rlshift__(self, other: Any) -> Any:
        return reflected(_LSHIFT, self, other)

    def __rshift__(self, other: Any) -> Any:
        return forward(_RSHIFT, self, other)

    def __rrshift__(self, other: Any) -> Any:
        return reflected(_RSHIFT, self, other)

    def __eq__(self, other: Any) -> Any:
        return forward(_EQ, self, other)

    def __ne__(self, other: Any) -> Any:
        return forward(_NE, self, other)

    def __lt__(self, other: Any) -> Any:
        return forward(_LT, self, other)

    def __le__(self, other: Any) -> Any:
        return forward(_LE, self, other)

    def __gt__(self, other: Any) -> Any:
        return forward(_GT, self, other)

    def __ge__(self, other: Any) -> Any:
        return forward(_GE, self, other)

    def __neg__(self) -> Any:
        return unary(_NEG, self)

    def __pos__(self) -> Any:
        return unary(_POS, self)

    def __abs__(self) -> Any:
        return unary(_ABS, self, abs)

    def __invert__(self) -> Any:
        return unary(_INVERT, self)
