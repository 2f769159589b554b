"""Nodes from the calls of the table."""

from __future__ import annotations

import ast
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lima.node import OUTPUT, Node, Spec
from lima.op import OPS, Kind, bind, evaluate
from lima.systemds.shapes import Misfit
from lima.systemds.table import Operand, Plan

NAMES = "abcdef"

NUMBERS = (int, float, np.bool)
"""What is known of a scalar when a log is read."""


class _Items:
    """Binding as tracing does it, on nodes instead of traced arrays (`op.Lift`)."""

    def operand(self, x: Any) -> Any:
        return x

    def is_array(self, x: Any) -> bool:
        return type(x) is Node

    def numbers(self, x: Any) -> Any:
        return x


_ITEMS = _Items()


@functools.lru_cache(maxsize=4096)
def _parsed(call: str) -> ast.expr:
    return ast.parse(call, mode="eval").body


def build(plan: Plan, operands: Sequence[Operand]) -> Any:
    """The node of a plan, or the number where all of its operands are numbers."""
    names: dict[str, Any] = {**plan.names, "all": [o.item for o in operands]}
    for k, operand in enumerate(operands):
        if k == len(NAMES):
            break
        names[NAMES[k]] = operand.item
        whole = type(operand.item) is int
        names[NAMES[k].upper()] = float(operand.item) if whole else operand.item
    return _value(_parsed(plan.call), names)


def _value(part: ast.expr, names: dict[str, Any]) -> Any:
    if isinstance(part, ast.Constant):
        return part.value
    if isinstance(part, ast.Name):
        return names[part.id]
    if isinstance(part, ast.Tuple):
        return tuple([_value(item, names) for item in part.elts])
    assert isinstance(part, ast.Call)
    name = _name(part.func)
    if name == "fold":
        row = _name(part.args[0])
        return functools.reduce(lambda x, y: call(row, [x, y], {}), names["all"])
    arguments = [_value(item, names) for item in part.args]
    options = {str(k.arg): _value(k.value, names) for k in part.keywords}
    return call(name, arguments, options)


def _name(part: ast.expr) -> str:
    return part.id if isinstance(part, ast.Name) else ast.unparse(part)


def call(name: str, arguments: list[Any], options: dict[str, Any]) -> Any:
    """The node of a call of a row, with the same digest as if the call had been traced.

    A call of numbers alone is folded: sizes and places must be numbers, and a log is full of them.
    """
    if name == OUTPUT:
        return Node(Spec(OUTPUT, (("index", options["index"]),)), tuple(arguments))
    row = OPS[name]
    inputs, spec = bind(row, arguments, options, _ITEMS)
    if str in map(type, inputs):
        raise Misfit("expected a number or a matrix, found text")
    if row.aliasing and len({id(_base(item)) for item in inputs}) < len(inputs):
        spec = Spec(spec.op, (*spec.params, ("alias", True)), spec.npos, spec.version)
    if inputs and all(type(item) in NUMBERS for item in inputs):
        with np.errstate(all="ignore"):
            return _plain(evaluate(row, spec, inputs))
    return Node(spec, tuple(inputs))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.number) else value


def _base(item: Any) -> Any:
    """What a view is of: two operands of one buffer are marked, as tracing does."""
    while type(item) is Node and item.inputs:
        row = OPS.get(item.spec.op)
        if row is None or row.kind is not Kind.VIEW:
            break
        item = item.inputs[0]
    return item
