"""Sizes that depend on the data: how many rows `removeEmpty` left, which column is the best one.

Where the translation of a log needs such a number, the steps before it are computed. That happens
when a log is recomputed or reconstructed, never when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lima.graph import topological
from lima.node import LEAF, OUTPUT, Node, Unique
from lima.op import OPS, evaluate


class Measure:
    """Values of nodes, computed when they are first asked for and kept for the next question."""

    def __init__(self) -> None:
        self.known: dict[bytes, Any] = {}

    def value(self, root: Node, data: Mapping[bytes, Any]) -> Any:
        """The value of `root`, given those of leaves; None where it cannot be computed."""

        def below(node: Node) -> tuple[Any, ...]:
            return () if node.digest in self.known else node.inputs

        try:
            with np.errstate(all="ignore"):
                for node in topological([root], below):
                    if node.digest not in self.known:
                        self.known[node.digest] = self._computed(node, data)
        except Exception:  # whatever a kernel raises: recomputing will say so, and where
            return None
        return self.known[root.digest]

    def _computed(self, node: Node, data: Mapping[bytes, Any]) -> Any:
        if node.spec.op == LEAF:
            return data[node.digest]
        if any(type(item) is Unique for item in node.inputs):
            raise LookupError("a value that the log does not tell")
        values = [self.known[i.digest] if type(i) is Node else i for i in node.inputs]
        if node.spec.op == OUTPUT:
            return values[0][node.spec.get("index")]
        return evaluate(OPS[node.spec.op], node.spec, values)
