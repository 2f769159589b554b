"""Replaying a lineage: computing its results again, to the same bits."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lima.environment import differences, environment
from lima.errors import LogError, NotCanonical, ReplayError
from lima.literal import arrange
from lima.log import OUTPUT, node_text
from lima.node import LEAF, Node, Unique, dtype_text, layout_of, leaf
from lima.op import OPS, Kind, evaluate
from lima.record import Lineage, check_of, loads, read, write
from lima.runtime import own
from lima.source import to_python

__all__ = [
    "Lineage", "ReplayWarning", "loads", "read", "recompute", "to_python", "write",
]  # fmt: skip


class ReplayWarning(UserWarning):
    """A lineage is recomputed where its results may have other last bits."""


def recompute(lineage: Lineage, inputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The results that `lineage` records, computed again from its leaves, by name.

    A leaf comes from `inputs` (by its name or its digest in hexadecimal), else from the folder
    stored beside the log. Each is checked against the recorded digest, memory order included. The
    kernels run in the order of the log, and what is no longer needed is freed.

    Raises ReplayError where a leaf is missing or differs, where an operation cannot be replayed,
    and where a result differs from the one logged. Warns with ReplayWarning where the numeric
    environment is another one, as bits may then differ.

    >>> from lima.node import Spec, leaf
    >>> x = np.arange(3.0)
    >>> recompute(Lineage({"y": Node(Spec("sqrt"), (leaf(x, "x"),))}), {"x": x})
    {'y': array([0.        , 1.        , 1.41421356])}
    """
    changed = differences(lineage.environment, environment())
    if changed:
        warnings.warn(
            f"recomputed in another environment, bits may differ: {'; '.join(changed)}",
            ReplayWarning,
            stacklevel=2,
        )
    leaves = _Leaves(lineage, dict(inputs or {}))
    found = _run(lineage, leaves)
    _compare(lineage, found, bool(changed))
    return found


def _run(lineage: Lineage, leaves: _Leaves) -> dict[str, Any]:
    plan = lineage.nodes
    uses: dict[bytes, int] = {}
    for node in (*_inputs_of(plan), *lineage.outputs.values()):
        uses[node.digest] = uses.get(node.digest, 0) + 1
    present: dict[bytes, Any] = {}
    for number, node in enumerate(plan, 1):
        data = [present[i.digest] if isinstance(i, Node) else i for i in node.inputs]
        present[node.digest] = _value(node, data, leaves, number)
        del data
        for item in _inputs_of([node]):
            uses[item.digest] -= 1
            if not uses[item.digest]:
                present.pop(item.digest, None)
    return _outputs(lineage, present, leaves)


def _inputs_of(nodes: list[Node]) -> list[Node]:
    return [item for node in nodes for item in node.inputs if isinstance(item, Node)]


def _value(node: Node, data: list[Any], leaves: _Leaves, number: int) -> Any:
    spec = node.spec
    if spec.op == LEAF:
        return leaves.get(node)
    if spec.op == OUTPUT:
        return _item(node, data[0], number)
    row = OPS.get(spec.op)
    if row is None:
        raise ReplayError(f"%{number}: this lima has no operation {spec.op!r}")
    if row.version != spec.version:
        raise ReplayError(
            f"%{number}: {spec.op} was recorded in version {spec.version}, this lima has "
            f"version {row.version}, which rounds otherwise"
        )
    if any(_is_unique(value) for value in (*node.inputs, *(v for _, v in spec.params))):
        raise ReplayError(
            f"%{number}: {spec.op} was given an object that a log cannot hold: {_label(node)}"
        )
    try:
        result = evaluate(row, spec, data)
        return result if row.kind is Kind.VIEW else own(result, data)
    except Exception as error:  # whatever a kernel raises, the message says where
        text = f"{type(error).__name__}: {error}"
        raise ReplayError(f"%{number}: {_label(node)} failed: {text}") from error


def _item(node: Node, value: Any, number: int) -> Any:
    index = node.spec.get("index")
    if not isinstance(value, tuple | list) or index >= len(value):
        raise ReplayError(f"%{number}: {_label(node)}: there is no result {index}")
    return value[index]


def _label(node: Node) -> str:
    try:
        numbers = {i.digest: 0 for i in node.inputs if isinstance(i, Node)}
        text = node_text(node, numbers).replace("%0", "...")
    except (LogError, NotCanonical):
        text = node.spec.op
    return text if len(text) <= 100 else text[:97] + "..."


def _is_unique(value: Any) -> bool:
    if type(value) in (tuple, list):
        return any(map(_is_unique, value))
    if type(value) is dict:
        return any(map(_is_unique, (*value, *value.values())))
    return type(value) is Unique


def _outputs(lineage: Lineage, present: dict[bytes, Any], leaves: _Leaves) -> dict[str, Any]:
    """The results as arrays of their own: no views, no input, none twice."""
    given = set(map(id, leaves.used))
    found: dict[str, Any] = {}
    for name, node in lineage.outputs.items():
        value = present[node.digest]
        if isinstance(value, np.ndarray) and (value.base is not None or id(value) in given):
            value = value.copy(order="K")
        given.add(id(value))
        found[name] = value
    return found


def _compare(lineage: Lineage, found: dict[str, Any], elsewhere: bool) -> None:
    for name, check in lineage.checks.items():
        now = check_of(found[name])
        if now == check:
            continue
        if now is None or (now.dtype, now.shape) != (check.dtype, check.shape) or not elsewhere:
            raise ReplayError(
                f"{name} came out differently: {check.shape} {check.dtype} with content "
                f"{check.content} was logged, recomputed is {now}"
            )
        text = f"{name} was recomputed with other bits than were logged"
        warnings.warn(text, ReplayWarning, stacklevel=3)


# --------------------------------------------------------------------------- leaves


class _Leaves:
    """Where the data of the leaves comes from; each is checked before it is used."""

    def __init__(self, lineage: Lineage, inputs: dict[str, Any]) -> None:
        self.inputs = inputs
        self.folder = lineage.data_dir
        self.used: list[Any] = []
        known = {key for node in lineage.leaves for key in (node.name, node.digest.hex())}
        for name in inputs:
            if name not in known:
                names = sorted(node.name or node.digest.hex() for node in lineage.leaves)
                raise ReplayError(f"no leaf is named {name!r}; the leaves are {', '.join(names)}")

    def get(self, node: Node) -> Any:
        """The data of a leaf, in the memory order that was recorded."""
        key = node.digest.hex()
        for name in (key, node.name):
            if name is not None and name in self.inputs:
                value = self.inputs[name]
                self.used.append(value)
                return _fitted(node, value, f"the input {name!r}")
        path = None if self.folder is None else self.folder / f"{key}.npy"
        if path is None or not path.is_file():
            where = "" if path is None else f", and {path} does not exist"
            raise ReplayError(f"{_leaf_label(node)} is missing: give it in inputs={where}")
        return _fitted(node, _loaded(node, path), str(path))


def _loaded(node: Node, path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ReplayError(f"{_leaf_label(node)} cannot be read from {path}: {error}") from error


def _leaf_label(node: Node) -> str:
    spec = node.spec
    name = node.digest.hex() if node.name is None else repr(node.name)
    return f"leaf {name} ({spec.get('shape')} {spec.get('dtype')})"


def _fitted(node: Node, value: Any, origin: str) -> Any:
    """`value` in the recorded memory order; ReplayError where it is not what was recorded."""
    spec = node.spec
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise ReplayError(f"{_leaf_label(node)}: {origin} holds Python objects, which no log can")
    for what, then, now in (
        ("dtype", spec.get("dtype"), dtype_text(array.dtype)),
        ("shape", spec.get("shape"), array.shape),
    ):
        if then != now:
            raise ReplayError(f"{_leaf_label(node)}: {origin} has {what} {now}")
    layout = spec.get("layout")
    found: Any = array[()] if layout == "scalar" else arrange(array, layout)
    if leaf(found).digest != node.digest:
        order = "" if layout == "scalar" else f" in memory order {layout_of(found)}"
        raise ReplayError(f"{_leaf_label(node)}: {origin} has other elements{order}")
    return found
