"""Values on their way to another process, with the lineage of the arrays in them.

Arrays travel as plain arrays, and beside them one log of how they were made. On the other side
traced arrays are traced ones again, and plain arrays that a traced function returned are known.
"""

from __future__ import annotations

import io
import pickle
import sys
from types import FunctionType
from typing import Any

import numpy as np

from lima.array import Array
from lima.block import traced
from lima.calls import call
from lima.code import BEHIND, TRACED, behind
from lima.errors import NotCanonical
from lima.handle import data_of, handle, value_of
from lima.leaves import seen
from lima.node import Node
from lima.op import OPS
from lima.record import Lineage, loads
from lima.tree import recall, remember
from lima.values import Value


def _base() -> Any:
    """The pickler to build on: one for functions of any kind, if it is installed."""
    try:
        from cloudpickle import Pickler
    except ImportError:
        try:
            from joblib.externals.cloudpickle import Pickler
        except ImportError:
            return pickle.Pickler
    return Pickler


class _Luggage:
    """The arrays of one message: their data, and the nodes that made them."""

    def __init__(self) -> None:
        self.arrays: list[tuple[bool, Any]] = []  # whether it is traced, the data
        self.nodes: dict[str, Node] = {}
        self.places: dict[int, int] = {}
        self.alive: list[Any] = []

    def place(self, x: Any) -> int | None:
        """The number of an array that travels with its lineage; None for anything else."""
        traced = type(x) is Array
        if not traced and type(x) is not np.ndarray and not isinstance(x, np.generic):
            return None
        known = self.places.get(id(x))
        if known is not None:
            return known
        node = value_of(x).node if traced else _made(x)
        if node is None:
            return None
        data = data_of(x) if traced else x
        if isinstance(data, np.ndarray) and not (
            data.flags.c_contiguous or data.flags.f_contiguous
        ):
            # It would arrive in another layout, which decides bits of what is made of it.
            copied = call(OPS["copy"], (handle(Value(node, data)),), {"order": "C"})
            node, data = value_of(copied).node, data_of(copied)
        number = len(self.arrays)
        self.arrays.append((traced, data))
        self.nodes[f"v{number}"] = node
        self.places[id(x)] = number
        self.alive.append(x)
        return number


def _made(x: Any) -> Node | None:
    """The node that made a plain array, if a traced function did."""
    try:
        _, made = recall(x)
    except NotCanonical:
        return None
    return made if made is not None and not made.is_leaf else None


def dumps(x: Any) -> bytes:
    """`x` as bytes; raises what pickling raises."""
    luggage = _Luggage()
    file = io.BytesIO()
    base: Any = _base()

    class Packing(base):  # type: ignore[misc]
        def persistent_id(self, item: Any) -> Any:
            return luggage.place(item)

        def reducer_override(self, item: Any) -> Any:
            if base is pickle.Pickler:
                return NotImplemented
            found = _function(item)
            return super().reducer_override(item) if found is None else found

    Packing(file, protocol=pickle.HIGHEST_PROTOCOL).dump(x)
    text = "".join(Lineage(luggage.nodes).lines()) if luggage.nodes else ""
    parts = file.getvalue(), luggage.arrays, text
    return pickle.dumps(parts, protocol=pickle.HIGHEST_PROTOCOL)


def _function(x: Any) -> Any:
    """How what lima has put into users' modules is made again; None for anything else."""
    if type(x) in BEHIND:  # the other process puts its own in the place of the plain thing
        return None if _importable(x) else (_same, (behind(x),))
    if type(x) is not FunctionType or x not in TRACED or _importable(x):
        return None
    work = x.cache_info.__self__  # type: ignore[attr-defined]
    return _traced_again, (behind(x), (work.reuse, work.code.version, work.ignore, work.modules))


def _same(x: Any) -> Any:
    return x


def _importable(f: Any) -> bool:
    """Whether the other process finds the function under its name."""
    home, name = getattr(f, "__module__", None), getattr(f, "__qualname__", None)
    found: Any = sys.modules.get(str(home))
    if found is None or home == "__main__" or not isinstance(name, str):
        return False
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is f


def _traced_again(function: Any, options: tuple[Any, ...]) -> Any:
    reuse, version, ignore, modules = options
    return traced(reuse=reuse, version=version, ignore=ignore, modules=modules)(function)


class Arrivals:
    """What comes in during one loop: equal nodes of several messages become one."""

    def __init__(self) -> None:
        self._known: dict[bytes, Node] = {}

    def loads(self, data: bytes) -> Any:
        """What `dumps` was given. The bytes come from a process of our own: this is a pickle."""
        packed, arrays, text = pickle.loads(data)
        nodes = loads(text) if text else None
        found = [] if nodes is None else self._unpacked(arrays, nodes)

        class Unpacking(pickle.Unpickler):
            def persistent_load(self, number: Any) -> Any:
                return found[number]

        return Unpacking(io.BytesIO(packed)).load()

    def _unpacked(self, arrays: list[Any], lineage: Lineage) -> list[Any]:
        for node in lineage.nodes:
            self._share(node)
        outputs = lineage.outputs
        made = []
        for k, (is_traced, data) in enumerate(arrays):
            node = self._known[outputs[f"v{k}"].digest]
            if not is_traced:
                remember(data, node)
                made.append(data)
                continue
            if isinstance(data, np.ndarray):
                data.setflags(write=False)
            value = Value(node, data)
            value.shared = True
            if node.is_leaf:
                seen(node.digest, data)
            made.append(handle(value))
        return made

    def _share(self, node: Node) -> None:
        """Let `node` be the one that is known, over inputs that are known."""
        if node.digest in self._known:
            return
        inputs = tuple([self._known[i.digest] if type(i) is Node else i for i in node.inputs])
        if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            node = Node(node.spec, inputs)
        self._known[node.digest] = node
