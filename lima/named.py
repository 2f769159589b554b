"""What the traced program called its values, read off the lines at which they were made.

A node remembers a line of the program, where lines are recorded. If that line assigns the result
of the very operation to a name (`gram = X.T @ X`), the value has this name in programs written from
the lineage. A file that has changed since gives other names, or none; nothing but names depends on
it.
"""

from __future__ import annotations

import ast
import linecache
import os
import re
import tokenize
from collections.abc import Sequence
from typing import NamedTuple

from lima.node import OUTPUT, Node
from lima.ops.called import CALLED
from lima.ops.of_scipy import row_of

LARGEST = 1 << 20
"""Bytes of the largest file that is read."""


class Assigned(NamedTuple):
    """A statement: the operation done last, and the names that its result or its items get."""

    last: str
    names: tuple[str | None, ...]


def names_of(nodes: Sequence[Node]) -> dict[bytes, str]:
    """The names of values by digest, as far as the program tells them."""
    found: dict[bytes, str] = {}
    items: dict[bytes, tuple[str | None, ...]] = {}
    files: dict[str, dict[int, Assigned]] = {}
    for node in nodes:
        if node.spec.op == OUTPUT:
            names, index = items.get(node.inputs[0].digest, ()), node.spec.get("index")
        else:
            names, index = _assigned(node, files), 0
            if len(names) > 1:
                items[node.digest] = names
                continue
        name = names[index] if type(index) is int and index < len(names) else None
        if name is not None and name != "_":
            found[node.digest] = name
    return found


def _assigned(node: Node, files: dict[str, dict[int, Assigned]]) -> tuple[str | None, ...]:
    """The names that the line of a node gives to what it makes; `files` are those read so far."""
    line, row = node.line, row_of(node.spec.op)
    if line is None or row is None:
        return ()
    if line.file not in files:
        files[line.file] = _statements(line.file)
    statement = files[line.file].get(line.line)
    if statement is None:
        return ()
    if row is CALLED:
        return statement.names if statement.last in _called(node) else ()
    known = {row.infix, row.name.rpartition(".")[2], *(_name(call) for call in row.calls)}
    return statement.names if statement.last in known else ()


def _called(node: Node) -> tuple[str, str]:
    """The function that a call names, as it is and without a number that tells it from others."""
    name = str(node.spec.get("function"))
    return name, re.sub(r"_[0-9]+$", "", name)


def _name(call: object) -> str:
    return str(getattr(call, "__name__", ""))


def _statements(file: str) -> dict[int, Assigned]:
    """The assignments to names in a file, by each of their lines."""
    try:
        tree = ast.parse(_text(file))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found: dict[int, Assigned] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign):
            last = SIGNS.get(type(node.op), "")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            last = _last(node.value)
        else:
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        several = target.elts if isinstance(target, ast.Tuple) else [target]
        names = tuple([one.id if isinstance(one, ast.Name) else None for one in several])
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
            found[line] = Assigned(last, names)
    return found


def _text(file: str) -> str:
    """The text of a program. The name may be out of a log from elsewhere: it may be of any file."""
    if file in linecache.cache and not os.path.exists(file):  # a cell of a notebook
        return "".join(linecache.getlines(file))
    if not file.endswith(".py") or not os.path.isfile(file) or os.path.getsize(file) > LARGEST:
        return ""
    with tokenize.open(file) as source:
        return source.read(LARGEST)


SIGNS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.LShift: "<<", ast.RShift: ">>", ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=",
    ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
"""Operators as rows have them."""


def _last(value: ast.expr | None) -> str:
    """The operation that an expression does last: a sign, or the name of what it calls."""
    if isinstance(value, ast.BinOp):
        return SIGNS.get(type(value.op), "")
    if isinstance(value, ast.Compare) and len(value.ops) == 1:
        return SIGNS.get(type(value.ops[0]), "")
    if isinstance(value, ast.Call):
        called = value.func
        return getattr(called, "attr", "") or getattr(called, "id", "")
    return ""
