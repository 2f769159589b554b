"""The steps of a spool (`lima.spools`): what nodes of a long lineage have in common.

An operand is named by how far back it stands, so the rounds of a loop are the same steps again.
"""

from __future__ import annotations

from typing import Any

from lima.node import LEAF, Node, Spec
from lima.packed import frame_of_spec, framed_spec, pack, unpack
from lima.stats import outcome_row

DISTINCT = 16
"""Steps of one form that are kept apart; what is different still shares one step, with columns."""

STEP_BYTES = 500
"""About what a step takes."""

SAME, BACK, ANY, BACKS = range(4)
"""Kinds of operands: one object for all nodes of a step, or a node that stands as far back for all;
or a column of objects, or of distances."""


class Step:
    """What nodes of a spool have in common.

    spec       their spec; of a step with a `frame` it varies, and `atoms` are its columns
    items      their operands as far as they are alike, of the kinds `kinds`: the inputs, and what
               `derived` refers to; of a leaf its digest, height and name
    columns    for each operand what varies, or None
    how, why   their outcome; the seconds are a column
    after      while winding: the step that came next the last time
    """

    __slots__ = (
        "after", "atoms", "columns", "derived", "frame", "how", "inexact", "items", "kinds", "leaf",
        "name", "number", "place", "seconds", "spec", "varies", "why",
    )  # fmt: skip

    def __init__(self, number: int, node: Node | None) -> None:
        self.number = number
        self.after: Step | None = None
        self.frame: Any = None
        self.atoms: list[Any] | None = None
        self.items: tuple[Any, ...] = ()
        self.kinds = b""
        self.columns: list[Any] | None = None
        self.varies = False
        self.seconds: list[Any] | None = None
        self.how: Any = None
        self.why: Any = None
        if node is None:
            self.spec: Spec | None = None
            return
        self.spec = node.spec
        self.name = node.name
        self.place = node.place
        self.inexact = node.inexact
        self.derived = node.derived is not None
        self.leaf = node.spec.op == LEAF
        row = node.outcome
        if row is not None:
            self.how, self.why = row[0], row[2]
            self.seconds = []

    def vary(self, frame: Any) -> None:
        """Have columns for all operands, and for the numbers of the spec if that has a frame."""
        self.varies = True
        self.kinds = bytes([ANY if kind == SAME else BACKS for kind in self.kinds])
        self.columns = [[] for _ in self.kinds]
        self.frame = frame
        if frame is not None:
            self.spec = None

    def pack(self) -> int:
        """Put the columns away; returns about how many bytes they take."""
        self.after = None
        size = STEP_BYTES
        if self.seconds is not None:
            self.seconds = pack(self.seconds)
            size += bytes_of(self.seconds)
        for columns in (self.columns, self.atoms):
            for k, column in enumerate(columns or ()):
                columns[k] = pack(column)  # type: ignore[index]
                size += bytes_of(columns[k])  # type: ignore[index]
        return size


def bytes_of(column: Any) -> int:
    kind, _, data = column
    return 64 if kind is None else len(data) * (8 if kind is object else 1) + 64


def items_of(node: Node) -> tuple[Any, ...]:
    """What `Step.items` are of a node."""
    if node.spec.op == LEAF:
        return node._digest, node._height, node.name
    items: tuple[Any, ...] = node._inputs
    return items if node.derived is None else (*items, node.derived)


def matches(step: Step, node: Node, items: tuple[Any, ...], at: int, first: int) -> bool:
    """Whether a node, the `at`-th, is this step; operands after the `first` are in the spool."""
    spec = step.spec
    if spec is not node.spec and spec is not None:
        return False
    if step.place != node.place or step.inexact != node.inexact:
        return False
    row = node.outcome
    if row is None:
        if step.how is not None:
            return False
    elif step.how is not row[0] or step.why != row[2]:
        return False
    kinds, mine = step.kinds, step.items
    if len(items) != len(kinds) or step.derived != (node.derived is not None):
        return False
    for k in range(len(kinds)):
        item = items[k]
        kind = kinds[k]
        if type(item) is Node:
            below = item
            mark = below.mark
            if mark > first:
                if kind == BACK:
                    if at - mark != mine[k]:
                        return False
                elif kind != BACKS:
                    return False
                continue
        if kind == SAME:
            if item is not mine[k]:
                return False
        elif kind != ANY:
            return False
    if not step.leaf and step.name != node.name:
        return False
    return spec is not None or _fits(step, node)


def _fits(step: Step, node: Node) -> bool:
    return bool(step.frame == frame_of_spec(node.spec, []))


def take(step: Step, node: Node, items: tuple[Any, ...], at: int, first: int) -> None:
    """Note in the columns of a step what a node has of its own."""
    if step.seconds is not None:
        step.seconds.append(node.outcome[1])
    if not step.varies:
        return
    columns = step.columns
    for k in range(len(items)):
        item = items[k]
        column = columns[k]  # type: ignore[index]
        if step.kinds[k] == BACKS:
            below = item
            column.append(at - below.mark)
        else:
            column.append(item)
    if step.spec is None:
        atoms: list[Any] = []
        frame_of_spec(node.spec, atoms)
        if step.atoms is None:
            step.atoms = [[] for _ in atoms]
        for column, value in zip(step.atoms, atoms, strict=True):
            column.append(value)


class Steps:
    """The distinct steps of a stretch, which are found by what they have in common."""

    def __init__(self) -> None:
        self.all: list[Step] = []
        self.exact: dict[Any, Step] = {}
        self.forms: dict[Any, int] = {}
        self.varying: dict[Any, Step] = {}

    def find(self, node: Node, items: tuple[Any, ...], at: int, first: int) -> Step:
        """The step that a node is; a new one where it is like none."""
        spec, row = node.spec, node.outcome
        outcome = None if row is None else (row[0], row[2])
        alike: list[Any] = []
        kinds = bytearray()
        for item in items:
            if type(item) is Node and item.mark > first:
                kinds.append(BACK)
                alike.append(at - item.mark)
            else:
                kinds.append(SAME)
                alike.append(item)
        derived, leaf = node.derived is not None, spec.op == LEAF
        name = None if leaf else node.name
        form = (spec.op, bytes(kinds), node.place, node.inexact, derived, outcome, name)
        keys = [
            value if kind == BACK else id(value) for kind, value in zip(kinds, alike, strict=True)
        ]
        key = (form, id(spec), *keys)
        step = self.exact.get(key)
        if step is not None:
            return step
        one: tuple[Any, Any] = (form, id(spec))
        step = self.varying.get(one)
        if step is not None:
            return step
        count = self.forms[form] = self.forms.get(form, 0) + 1
        if count <= DISTINCT:
            step = self.exact[key] = self.made(node, alike, kinds)
            self.forms[one] = 1
            return step
        frame = None
        if one not in self.forms:
            frame = frame_of_spec(spec, [])
            one = (form, frame)
            step = self.varying.get(one)
            if step is not None:
                return step
        step = self.varying[one] = self.made(node, alike, kinds)
        step.vary(frame)
        return step

    def made(self, node: Node, alike: list[Any], kinds: bytearray) -> Step:
        step = Step(len(self.all), node)
        step.items, step.kinds = tuple(alike), bytes(kinds)
        self.all.append(step)
        return step


def feeds(step: Step) -> tuple[Any, Any, Any]:
    """Iterators over the columns of a step: of its operands, its spec, and seconds."""
    columns = None if step.columns is None else [iter(unpack(c)) for c in step.columns]
    atoms = None if step.atoms is None else [iter(unpack(c)) for c in step.atoms]
    return columns, atoms, None if step.seconds is None else iter(unpack(step.seconds))


def made_again(step: Step, feed: tuple[Any, Any, Any], made: list[Node], place: int) -> Node:
    """The node at a place, after those before it."""
    node = Node.__new__(Node)
    spec = step.spec
    if spec is None:
        spec = framed_spec(step.frame, map(next, feed[1] or ()))
    node.spec = spec
    node._digest = None
    node._height = 0
    node.name = step.name
    node.derived = None
    node.inexact = step.inexact
    node.place = step.place
    node.mark = 0
    node.outcome = None
    if step.how is not None:
        node.outcome = outcome_row(step.how, next(feed[2]), step.why)
    kinds = step.kinds
    items = list(step.items)
    for k in range(len(kinds)):
        kind = kinds[k]
        if kind == SAME:
            continue
        item = items[k] if kind == BACK else next(feed[0][k])
        if kind != ANY:
            back: int = item
            item = made[place - back]
        items[k] = item
    if step.leaf:
        node._digest, node._height, node.name = items
        node._inputs = ()
        return node
    if step.derived:
        node.derived = items.pop()
    node._inputs = tuple(items)
    return node


def outer_of(steps: list[Step]) -> tuple[Node, ...]:
    """The nodes outside of a spool that its steps refer to, each once."""
    found: dict[int, Node] = {}
    for step in steps:
        for kind, item in zip(step.kinds, step.items, strict=True):
            if kind == SAME and type(item) is Node:
                found[id(item)] = item
        for kind, column in zip(step.kinds, step.columns or (), strict=False):
            if kind == ANY and column[0] in (None, object):
                for item in column[2] if column[0] is object else (column[2],):
                    if type(item) is Node:
                        found[id(item)] = item
        if step.varies:
            step.items = (None,) * len(step.kinds)
    return tuple(found.values())
