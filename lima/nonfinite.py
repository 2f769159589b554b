"""Where a NaN or an infinity came from: the first operation that made one of finite operands.

Values that are known (data, what the cache holds) are looked at and not computed. What lies between
them is computed again, one value after the other, each looked at once and freed after its last use.
The search then goes from the result down through values that are not finite. A NaN that was masked
on the way (`np.where`) ends at the mask, and is not blamed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lima.graph import topological
from lima.labels import label
from lima.node import Node
from lima.op import Kind
from lima.ops.of_scipy import row_of
from lima.record import Lineage
from lima.replay import Leaves, Run

SHOWN = 12
"""Operations of the way to the result that are printed."""


class Found(NamedTuple):
    """The first element of a value that is not finite: "nan" (before any "inf"), and where."""

    kind: str
    at: tuple[int, ...]


class Link(NamedTuple):
    """A value on the way from the origin to the result, and what is not finite in it."""

    node: Node
    kind: str
    at: tuple[int, ...]


class Blame:
    """What made a result NaN or infinite; false if all of its elements are finite.

    origin    the node that made the first NaN or infinity of finite operands; None if there is none
    kind      "nan" or "inf", as the origin gave it
    index     place of the first such element in the origin's value
    path      the way from the origin to the result, as (node, kind, at)
    others    further nodes that made one, and from which it reached the result
    computed  how many operations were computed again

    >>> import lima, numpy as np
    >>> x = lima.array(np.array([1.0, -1.0]), name="x")
    >>> with np.errstate(invalid="ignore"):
    ...     found = lima.blame((np.sqrt(x) * 2.0).sum())
    >>> found.origin.spec.op, found.kind, found.index
    ('sqrt', 'nan', (1,))
    """

    def __init__(self, path: tuple[Link, ...], others: tuple[Node, ...], computed: int) -> None:
        self.path = path
        self.others = others
        self.computed = computed
        self.origin = path[0].node if path else None
        self.kind = path[0].kind if path else ""
        self.index = path[0].at if path else ()

    def __bool__(self) -> bool:
        return bool(self.path)

    def __str__(self) -> str:
        if self.origin is None:
            return "all elements are finite"
        how = "is in the data" if self.origin.is_leaf else _cause(self.origin)
        at = f" at {self.index}" if self.index else ""
        lines = [f"{self.kind}{at} of {label(self.origin)}, which {how}"]
        rest = len(self.path) - 1 - SHOWN
        shown = list(self.path[1:])
        if rest > 0:
            shown[SHOWN // 2 : -SHOWN // 2] = []
        lines += [f"  {link.kind:<3}  {label(link.node)}" for link in shown]
        if rest > 0:
            lines.insert(1 + SHOWN // 2, f"  ... {rest} more operations")
        lines += [f"also from {label(node)}" for node in self.others[:SHOWN]]
        return "\n".join(lines)

    __repr__ = __str__


def _cause(node: Node) -> str:
    given = [i for i in node.inputs if type(i) is not Node and not _finite(i)]
    return f"was given the literal {given[0]}" if given else "has finite operands"


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        return True


def look(value: Any) -> Found | None:
    """The first NaN of a value, else its first infinity; None if there is neither.

    >>> look(np.array([[1.0, np.inf], [np.nan, 2.0]])), look(np.arange(3))
    (Found(kind='nan', at=(1, 0)), None)
    """
    if type(value) in (tuple, list):
        return next(filter(None, map(look, value)), None)
    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "fc":
        return None
    array = np.asarray(value)
    with np.errstate(all="ignore"):
        if np.isfinite(array.sum()):  # one pass without a temporary; NaN and infinity reach a sum
            return None
    for kind, test in (("nan", np.isnan), ("inf", np.isinf)):
        bad = test(array)
        if bad.any():
            at = np.unravel_index(int(bad.argmax()), array.shape)
            return Found(kind, tuple(map(int, at)))
    return None


class Search:
    """The search for the origins of what is not finite in one result.

    known  gives the value of a node without computing it, None where that cannot be
    flags  by digest, what was found in the values that were looked at
    """

    def __init__(
        self, lineage: Lineage, inputs: Mapping[str, Any], known: Callable[[Node], Any]
    ) -> None:
        self.numbers = {node.digest: k for k, node in enumerate(lineage.nodes, 1)}
        self.leaves = Leaves(lineage, dict(inputs))
        self.known = known
        self.flags: dict[bytes, Found | None] = {}
        self.computed = 0

    def blame(self, root: Node) -> Blame:
        """The origins that reach `root`, in the order of the log."""
        self.learn([root])
        if self.flags[root.digest] is None:
            return Blame((), (), self.computed)
        users: dict[bytes, Node | None] = {root.digest: None}
        origins = []
        todo = [root]
        while todo:
            node = todo.pop()
            inputs = [item for item in node.inputs if isinstance(item, Node)]
            self.learn([item for item in inputs if item.digest not in self.flags])
            bad = [item for item in inputs if self.flags[item.digest] is not None]
            if not bad:
                origins.append(node)
            for item in bad:
                if item.digest not in users:
                    users[item.digest] = node
                    todo.append(item)
        first, *others = sorted(origins, key=lambda node: self.numbers[node.digest])
        return Blame(tuple(self.way(first, users)), tuple(others), self.computed)

    def way(self, node: Node | None, users: Mapping[bytes, Node | None]) -> Iterable[Link]:
        while node is not None:
            found = self.flags[node.digest]
            assert found is not None
            yield Link(node, *found)
            node = users[node.digest]

    def learn(self, nodes: list[Node]) -> None:
        """Look at the values of these nodes, and at those that have to be computed for them."""
        held: dict[bytes, Any] = {}

        def below(node: Node) -> tuple[Any, ...]:
            value = self.known(node)
            if value is None:
                return node.inputs
            held[node.digest] = value
            return ()

        region = {node.digest: node for node in topological(nodes, below)}
        for node in nodes:
            if node.digest in held:
                self.flags[node.digest] = look(held[node.digest])
        plan = [node for digest, node in region.items() if digest not in held]
        outputs = [node for node in nodes if node.digest not in held]
        if plan:
            with np.errstate(all="ignore"):
                Run(plan, outputs, self.leaves, self.numbers, held, self.watch).all()

    def watch(self, node: Node, value: Any) -> None:
        if node.digest in self.flags:
            return
        self.computed += not node.is_leaf
        row = row_of(node.spec.op)
        moves = row is not None and row.kind is Kind.VIEW
        if moves and all(self.flags.get(i.digest, ()) is None for i in _nodes(node)):
            self.flags[node.digest] = None  # the elements of finite operands
        else:
            self.flags[node.digest] = look(value)


def _nodes(node: Node) -> Iterable[Node]:
    return (item for item in node.inputs if isinstance(item, Node))
