"""Short texts for people: what a node is, what a value is, each on less than a line.

The log spells values so that they can be read back; here they are cut to what the eye wants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lima.errors import LogError, NotCanonical
from lima.literal import spell
from lima.node import LEAF, Node
from lima.op import Kind
from lima.ops.of_scipy import row_of

WIDTH = 60
"""Characters of a label, unless asked for otherwise."""

HELD = "·"
"""Stands for an input that is a node where the label does not number it."""


def cut(text: str, width: int = WIDTH) -> str:
    """`text` on one line of at most `width` characters.

    >>> cut("a long line of words", 10)
    'a long ...'
    """
    line = " ".join(text.split())
    return line if len(line) <= width else line[: max(width - 3, 0)] + "..."


def short(value: Any, width: int = WIDTH) -> str:
    """A literal or parameter as the log spells it, long ones cut, large ones described.

    >>> short(np.zeros((100, 100))), short({"low": 1}), short(0.1)
    ('<array of (100, 100) float64>', '{"low": 1}', '0.1')
    """
    if isinstance(value, np.ndarray) and value.size > 8:
        return f"<array of {value.shape} {value.dtype}>"
    if isinstance(value, np.ndarray):
        return cut(f"array({value.tolist()}, {value.dtype})", width)
    if isinstance(value, str | bytes) and len(value) > width:
        value = value[:width]
    if isinstance(value, tuple | list | dict) and len(value) > width:
        return f"<{type(value).__name__} of {len(value)}>"
    try:
        return cut(spell(value), width)
    except (NotCanonical, LogError):
        return f"<{type(value).__name__}>"


def label(
    node: Node,
    numbers: Mapping[bytes, int] | None = None,
    *,
    width: int = WIDTH,
    text_of: Callable[[Any], str] = short,
) -> str:
    """What a node is: a leaf's name, dtype and shape, or a call with its literals and parameters.

    Inputs that are nodes stand as `%n` where `numbers` has them.

    >>> from lima.node import Spec, leaf
    >>> x = leaf(np.ones((2, 3)), "X")
    >>> label(x), label(Node(Spec("sum", (("axis", 0),)), (x,)))
    ('X: <f8 (2, 3)', 'sum(·, axis=0)')
    """
    spec = node.spec
    if spec.op == LEAF:
        name = node.name or f"data {node.digest.hex()[:8]}"
        return cut(f"{name}: {spec.get('dtype')} {spec.get('shape')}", width)
    known = numbers or {}
    parts = []
    for item in node.inputs:
        number = known.get(item.digest) if isinstance(item, Node) else None
        if isinstance(item, Node):
            parts.append(HELD if number is None else f"%{number}")
        else:
            parts.append(text_of(item))
    if len(parts) > 12:
        parts[6:-5] = [f"... {len(parts) - 11} more"]
    parts += [f"{key}={text_of(value)}" for key, value in spec.params]
    return cut(f"{spec.op}({', '.join(parts)})", width)


def is_seed(node: Node) -> bool:
    """Whether a node is where random numbers begin: a generator made of a seed or of a state."""
    if node.is_leaf or any(isinstance(item, Node) for item in node.inputs):
        return False
    row = row_of(node.spec.op)
    return row is not None and row.kind is Kind.EFFECT and not row.operands
