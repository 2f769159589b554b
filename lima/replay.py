"""Replaying a lineage: computing its results again, to the same bits."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lima.environment import differences, environment
from lima.errors import LogError, NotCanonical, ReplayError
from lima.literal import arrange
from lima.log import node_text
from lima.node import LEAF, OUTPUT, Node, Unique, dtype_text, layout_of, leaf
from lima.op import Kind, evaluate, own, owner
from lima.ops.callbacks import is_live
from lima.ops.of_scipy import row_of
from lima.record import Lineage, check_of, loads, read, write
from lima.source import to_python
from lima.unfolding import Folded, Machine

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
    found = results(lineage, inputs)
    _compare(lineage, found, bool(changed))
    return found


def results(lineage: Lineage, inputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The results by name, as `recompute` gives them, compared with nothing."""
    leaves = Leaves(lineage, dict(inputs or {}))
    if lineage.folded is not None:
        rounds = Rounds(lineage.folded, leaves)
        return _own({name: item[1] for name, item in lineage.folded.run(rounds).items()}, leaves)
    nodes = lineage.nodes
    numbers = {node.digest: k for k, node in enumerate(nodes, 1)}
    run = Run(nodes, lineage.outputs.values(), leaves, numbers)
    present = run.all()
    return _own({name: present[node.digest] for name, node in lineage.outputs.items()}, leaves)


class Run:
    """The values that are present during a replay, by digest, each freed after its last use.

    plan     the nodes to compute, inputs before users, each digest once
    numbers  what errors call them
    known    values that are there, by digest; they are in no plan
    watch    what looks at the value of every node of the plan
    uses     inputs and outputs that still need a value
    roots    of a value that shares memory with an operand: the value that owns the memory
    views    how many values that are present share the memory of a root
    """

    def __init__(
        self,
        plan: list[Node],
        outputs: Iterable[Node],
        leaves: Leaves,
        numbers: Mapping[bytes, int],
        known: Mapping[bytes, Any] | None = None,
        watch: Callable[[Node, Any], None] | None = None,
    ) -> None:
        self.plan = plan
        self.leaves = leaves
        self.numbers = numbers
        self.watch = watch
        self.present: dict[bytes, Any] = dict(known or {})
        self.roots: dict[bytes, bytes] = {}
        self.views: Counter[bytes] = Counter()
        self.uses = Counter(node.digest for node in outputs)
        for node in self.plan:
            self.uses.update(i.digest for i in node.inputs if isinstance(i, Node))

    def all(self) -> dict[bytes, Any]:
        """Compute every node; what is left are the outputs."""
        for node in self.plan:
            number = self.numbers[node.digest]
            data = [self.present[i.digest] if isinstance(i, Node) else i for i in node.inputs]
            value = _value(node, data, self.leaves, number, self.spent(node, data))
            self.keep(node, value, data)
            if self.watch is not None:
                self.watch(node, value)
            del data, value
            for item in node.inputs:
                if isinstance(item, Node):
                    self.release(item.digest)
        return self.present

    def keep(self, node: Node, value: Any, data: list[Any]) -> None:
        digest = node.digest
        self.present[digest] = value
        if type(value) is not np.ndarray:
            return
        memory = owner(value)
        for item, operand in zip(node.inputs, data, strict=True):
            if isinstance(item, Node) and owner(operand) is memory:
                root = self.roots[digest] = self.roots.get(item.digest, item.digest)
                self.views[root] += 1
                return

    def release(self, digest: bytes) -> None:
        self.uses[digest] -= 1
        if self.uses[digest] == 0 and digest in self.present:
            del self.present[digest]
            root = self.roots.pop(digest, None)
            if root is not None:
                self.views[root] -= 1

    def spent(self, node: Node, data: list[Any]) -> Any:
        """The written operand itself, if nothing else needs it: then no copy has to be made."""
        row = row_of(node.spec.op)
        if row is None or row.into is None or not node.inputs:
            return None
        item = node.inputs[0]
        if not isinstance(item, Node) or item.spec.op in (LEAF, OUTPUT):
            return None
        digest = item.digest
        used_here = sum(isinstance(i, Node) and i.digest == digest for i in node.inputs)
        free = self.uses[digest] == used_here == 1
        if not free or digest in self.roots or self.views[digest]:
            return None
        target = data[0]
        owned = type(target) is np.ndarray and target.base is None and target.flags.writeable
        return target if owned else None


class Rounds(Machine):
    """Computes the lines of a folded lineage; an item is a node and its value."""

    def __init__(self, folded: Folded, leaves: Leaves) -> None:
        super().__init__(folded.needs)
        self.leaves = leaves

    def inputs(self, items: list[Any]) -> list[Any]:
        return [item[0] if type(item) is tuple and _is_item(item) else item for item in items]

    def made(self, number: int, node: Node, items: list[Any]) -> Any:
        pairs = zip(node.inputs, items, strict=True) if node.inputs else ()
        data = [item[1] if type(i) is Node else i for i, item in pairs]
        value = _value(node, data, self.leaves, number, None)  # writes get a copy
        node.inputs = ()  # they would keep all rounds
        return node, value


def _is_item(item: tuple[Any, ...]) -> bool:
    return len(item) == 2 and type(item[0]) is Node


def _value(node: Node, data: list[Any], leaves: Leaves, number: int, buffer: Any) -> Any:
    spec = node.spec
    if spec.op == LEAF:
        return leaves.get(node)
    if spec.op == OUTPUT:
        return _item(node, data[0], number)
    row = row_of(spec.op)
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
        result = evaluate(row, spec, data, buffer)
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
    return type(value) is Unique and not is_live(value.token)


def _own(values: dict[str, Any], leaves: Leaves) -> dict[str, Any]:
    """The results as arrays of their own: no views, no input, none twice."""
    given = set(map(id, leaves.used))
    found: dict[str, Any] = {}
    for name, value in values.items():
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


class Leaves:
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
    try:
        dtype = dtype_text(array.dtype)
    except NotCanonical as error:
        raise ReplayError(f"{_leaf_label(node)}: {origin} cannot be compared: {error}") from None
    for what, then, now in (
        ("dtype", spec.get("dtype"), dtype),
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
