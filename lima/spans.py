"""Which part of a lineage a call of a traced function made.

A lineage has operations only; a program that is written from it shall have the functions that the
traced one had (`lima.outlined`). So the last calls are remembered, with the nodes of what went in
and what came out. What lies between is the part that each of them made. Lineages are not changed
by this, and a call that has been forgotten is written as the operations that it made.
"""

from __future__ import annotations

from collections import deque
from types import ModuleType
from typing import Any, NamedTuple

from lima.handle import Handle, value_of
from lima.node import Node, large_line

KEPT = 1024
"""Calls that are remembered; they hold nodes, and no data."""

PARTS = 16
"""Arrays of a sequence or an object among the arguments that count as arguments."""


class Span(NamedTuple):
    """A call: its function, arrays and numbers that went in by name, and arrays that came out.

    total  how many things came out, whatever they were
    place  the line that called
    """

    function: str
    given: tuple[tuple[str, Node | float], ...]
    results: tuple[Node, ...]
    total: int
    place: int


_calls: deque[tuple[Any, list[Any], Any, int, int]] = deque(maxlen=KEPT)
_atoms = frozenset({int, bool, str, bytes, type(None)})


def given(names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """What goes into a call, names and nodes or numbers in turn; `names` are those of positions.

    It is taken down before the call runs, which may write its arguments.
    """
    found: list[Any] = []
    for k in range(min(len(args), len(names))):
        _take(found, names[k], args[k])
    if kwargs:
        for name, x in kwargs.items():
            _take(found, name, x)
    return found


def _take(found: list[Any], name: str, x: Any) -> None:
    if isinstance(x, Handle):
        found.append(name)
        found.append(value_of(x).node)
        return
    kind = type(x)
    if kind is float:
        found.append(name)
        found.append(x)
    elif kind is list or kind is tuple:
        for k, a in enumerate(x[:PARTS], 1):
            if isinstance(a, Handle):
                _take(found, f"{name}_{k}", a)
    elif kind not in _atoms and kind.__dictoffset__ and not isinstance(x, (type, ModuleType)):
        # as it lies there: no code of the object runs
        for key, a in list(object.__getattribute__(x, "__dict__").items())[:PARTS]:
            if isinstance(a, Handle):
                _take(found, key, a)


def note(function: Any, parts: list[Any], result: Any) -> None:
    """Remember a call of `function` that has ended, given `parts`."""
    if isinstance(result, Handle):
        nodes: Any = value_of(result).node
        total = 1
    elif type(result) is tuple or type(result) is list:
        nodes = tuple([value_of(a).node for a in result if isinstance(a, Handle)])
        total = len(result)
        if not nodes:
            return
    else:
        return
    _calls.append((function.__name__, parts, nodes, total, large_line()))


def recent() -> list[Span]:
    """The remembered calls that made something; of nested ones the inner before the outer.

    A node without a digest is in no lineage that somebody asks for, so it is left out.
    """
    found = []
    for name, parts, nodes, total, place in tuple(_calls):
        pairs = tuple([(n, x) for n, x in zip(parts[::2], parts[1::2], strict=True) if _known(x)])
        entered = {x.digest for _, x in pairs if isinstance(x, Node)}
        results = nodes if type(nodes) is tuple else (nodes,)
        made = [n for n in results if not n.is_leaf and _known(n) and n.digest not in entered]
        if made and type(name) is str and name.isidentifier():
            found.append(Span(name, pairs, tuple(made), total, place))
    return found


def _known(x: Node | float) -> bool:
    return not isinstance(x, Node) or x._digest is not None


def forget() -> None:
    """Forget all calls."""
    _calls.clear()
