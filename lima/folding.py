"""A lineage as a picture shows it: boxes, of which some stand for many nodes.

Up to a limit every node is a box. Beyond it, operations that repeat in the order of the log (the
rounds of a loop) become one box, loops in loops as well; where it is still too much, what one
function of the program asked for in a row, if its lines are known; and at last the middle of the
computation. A box always holds nodes that follow each other in an order with inputs before users.
So no way leads out of a box and back into it: the picture has no cycles, and has none either
where `opened` puts other boxes in the place of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from lima.labels import cut, label
from lima.node import Node
from lima.stats import Outcome

LIMIT = 120
"""Boxes of a picture, unless asked for otherwise."""

PERIOD = 256
"""Longest round of a loop, in boxes, that is looked for."""

TRIES = 3
"""Lengths of a round that are tried from one place on: bounds the search."""

ROUNDS = 3
"""Rounds from which a repetition is folded."""

PASSES = 4
"""How deep loops in loops are folded."""


@dataclass(slots=True)
class Box:
    """What is drawn as one box.

    kind     "data", "operation", "loop" (the same operations again and again), "function" (what
             one function asked for), "rest", or "port" (what an opened box reads from elsewhere)
    title    its text
    note     what follows the text where there is room: dtype and shape of data
    nodes    all that it stands for, in the order of the log
    inputs   numbers of the boxes that it reads
    results  names of results that it gives
    rounds   of a loop: how many there are
    units    what it can be opened to, see `opened`
    """

    kind: str
    title: str
    nodes: list[Node]
    inputs: list[int] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    rounds: int = 1
    note: str = ""
    units: Sequence[_Unit] = ()

    @property
    def outcomes(self) -> Counter[str]:
        """How many of the nodes were hit, computed, ...; empty where nothing is known."""
        rows = (node.outcome for node in self.nodes if not node.is_leaf)
        return Counter(row.outcome.value for row in rows if row is not None)

    @property
    def outcome(self) -> str:
        """The word that colours it: of several, what cost most attention comes first."""
        found = self.outcomes
        return next((o.value for o in _ORDER if found[o.value]), "")

    @property
    def seconds(self) -> float:
        """Seconds that computing took or would have taken, where they are known."""
        return sum(float(n.outcome.seconds) for n in self.nodes if n.outcome is not None)


_ORDER = (Outcome.REFUSED, Outcome.PARTIAL, Outcome.COMPUTED, Outcome.HIT)


class _Unit(NamedTuple):
    """A node, or a run of them, in the sequence that is searched for repetitions.

    key      what makes two of them alike
    rounds   of a loop: how many
    first    of a loop the first round, of a function all that it asked for
    name     of a function
    """

    key: Any
    nodes: list[Node]
    rounds: int = 1
    first: tuple[_Unit, ...] = ()
    name: str = ""


def fold(nodes: Sequence[Node], outputs: Mapping[str, Node], limit: int = LIMIT) -> list[Box]:
    """The boxes of a picture, inputs before users: at most about `limit` of them.

    Inputs that are not among `nodes` are left out.
    """
    data = [node for node in nodes if node.is_leaf]
    units = [_Unit(_key(node), [node]) for node in nodes if not node.is_leaf]
    if len(nodes) > limit:
        for _ in range(PASSES):
            before = len(units)
            units = _repetitions(units)
            if len(units) == before:
                break
    room = max(limit // 4, 1)
    boxes = [_data(node) for node in data[:room]]
    if len(data) > room:
        boxes.append(_more_data(data[room:], f"{len(data) - room} more arrays"))
    boxes += _shortened(units, max(limit - len(boxes), 3))
    _connect(boxes, outputs)
    return boxes


def opened(box: Box, outputs: Mapping[str, Node], around: Mapping[bytes, Box]) -> list[Box]:
    """The boxes that a box opens to, at most about `LIMIT`; none where it is a single node.

    A loop opens to its first round, and a box for the others, whose operations are the same.
    The boxes hold the nodes of the box in their order. Ahead of them stands a port for each box
    that they read; `around` tells which box holds a node, by digest.
    """
    units = list(box.units)
    if not units:
        return []
    if box.kind == "data":
        made = [_of_data(part) for part in _pieces(units, LIMIT)]
    else:
        made = _grouped(units, LIMIT)
    if box.kind == "loop":
        count = sum(len(unit.nodes) for unit in units)
        made.append(Box("rest", f"{box.rounds - 1:,} more rounds", box.nodes[count:]))
    own = {node.digest for node in box.nodes}
    ports: dict[int, Box] = {}
    for node in box.nodes:
        for item in node.inputs:
            if isinstance(item, Node) and item.digest not in own and item.digest in around:
                read = around[item.digest]
                ports.setdefault(id(read), Box("port", read.title, [])).nodes.append(item)
    made = [*ports.values(), *made]
    _connect(made, {name: node for name, node in outputs.items() if node.digest in own})
    for port in ports.values():
        port.inputs = []
    return made


def _grouped(units: list[_Unit], limit: int) -> list[Box]:
    """The boxes of units, of which so many that they fit are taken together."""
    if len(units) > limit:
        units = _by_function(units)
    if len(units) <= limit:
        return [_box(unit) for unit in units]
    return [_box(part[0]) if len(part) == 1 else _rest(part) for part in _pieces(units, limit)]


def _pieces(units: list[_Unit], limit: int) -> list[list[_Unit]]:
    """The units in at most `limit` runs that are about as long as there are of them."""
    most = max(round(len(units) ** 0.5), -(-len(units) // max(limit, 2)), 1)
    if len(units) <= limit:
        most = 1
    return [units[k : k + most] for k in range(0, len(units), most)]


def _of_data(part: list[_Unit]) -> Box:
    nodes = [unit.nodes[0] for unit in part]
    return _data(nodes[0]) if len(nodes) == 1 else _more_data(nodes, f"{len(nodes)} arrays")


def _more_data(nodes: list[Node], title: str) -> Box:
    return Box("data", title, nodes, units=[_Unit(None, [node]) for node in nodes])


def _data(node: Node) -> Box:
    sizes = "×".join(map(str, node.spec.get("shape")))
    title = cut(node.name or f"data {node.digest.hex()[:8]}", 34)
    return Box("data", title, [node], note=cut(f"{node.spec.get('dtype')} {sizes}".strip(), 24))


def _key(node: Node) -> Any:
    """What makes two nodes alike in a loop: operation and kinds of operands, not the values."""
    return node.spec.op, tuple([isinstance(item, Node) for item in node.inputs])


def _repetitions(units: list[_Unit]) -> list[_Unit]:
    """The sequence with runs of equal rounds as one unit each."""
    names: dict[Any, int] = {}
    keys = [names.setdefault(unit.key, len(names)) for unit in units]
    following = _next_places(keys)
    found = []
    at = 0
    while at < len(units):
        period, rounds = _run(keys, following, at)
        if rounds < ROUNDS:
            found.append(units[at])
            at += 1
            continue
        end = at + period * rounds
        part = units[at:end]
        first = tuple(part[:period])
        key = ("loop", tuple(unit.key for unit in first))
        found.append(_Unit(key, [n for unit in part for n in unit.nodes], rounds, first))
        at = end
    return found


def _next_places(keys: list[int]) -> list[int]:
    """For each place the next one with the same key; -1 where there is none."""
    following = [-1] * len(keys)
    last: dict[int, int] = {}
    for place in range(len(keys) - 1, -1, -1):
        following[place] = last.get(keys[place], -1)
        last[keys[place]] = place
    return following


def _run(keys: list[int], following: list[int], at: int) -> tuple[int, int]:
    """Length and number of the rounds that begin here; one round where nothing repeats."""
    again = at
    for _ in range(TRIES):
        again = following[again]
        period = again - at
        if again < 0 or period > PERIOD:
            break
        end = at
        while end + period < len(keys) and keys[end] == keys[end + period]:
            end += 1
        rounds = 1 + (end - at) // period
        if rounds >= ROUNDS:
            return period, rounds
    return 1, 1


def _by_function(units: list[_Unit]) -> list[_Unit]:
    """The sequence with runs of what one function asked for as one unit each, if that is known."""
    found: list[_Unit] = []
    for (file, name), run in groupby(units, _function):
        part = tuple(run)
        if not name or len(part) == 1:
            found += part
            continue
        nodes = [node for unit in part for node in unit.nodes]
        found.append(_Unit(("function", file, name), nodes, 1, part, name))
    return found if len(found) > 1 else units


def _function(unit: _Unit) -> tuple[str, str]:
    line = unit.nodes[0].line
    return ("", "") if line is None else (line.file, line.function)


def _shortened(units: list[_Unit], room: int) -> list[Box]:
    """The boxes of units; the middle as one where there are too many, most kept at the result."""
    if len(units) > room:
        units = _by_function(units)
    if len(units) <= room:
        return [_box(unit) for unit in units]
    begin = room // 3
    end = len(units) - (room - begin - 1)
    middle = units[begin:end]
    rest = _rest(middle, f"{sum(len(unit.nodes) for unit in middle):,} more operations")
    return [*map(_box, units[:begin]), rest, *map(_box, units[end:])]


def _rest(units: list[_Unit], title: str = "") -> Box:
    nodes = [node for unit in units for node in unit.nodes]
    return Box("rest", title or f"{len(nodes):,} operations: {_most(nodes)}", nodes, units=units)


def _most(nodes: list[Node]) -> str:
    """The commonest operations."""
    return cut(", ".join(op for op, _ in Counter(n.spec.op for n in nodes).most_common(4)), 34)


def _box(unit: _Unit) -> Box:
    if unit.name:
        title = cut(f"{unit.name}: {len(unit.nodes):,} operations", 44)
        return Box("function", title, unit.nodes, units=unit.first)
    if unit.rounds == 1:
        return Box("operation", label(unit.nodes[0], width=34), unit.nodes)
    ops = dict.fromkeys(node.spec.op for part in unit.first for node in part.nodes)
    title = cut(f"{unit.rounds:,} × {', '.join(ops)}", 44)
    return Box("loop", title, unit.nodes, rounds=unit.rounds, units=unit.first)


def _connect(boxes: list[Box], outputs: Mapping[str, Node]) -> None:
    where = {node.digest: k for k, box in enumerate(boxes) for node in box.nodes}
    for k, box in enumerate(boxes):
        read = (where.get(i.digest, k) for n in box.nodes for i in n.inputs if isinstance(i, Node))
        box.inputs = [source for source in dict.fromkeys(read) if source != k]
    for name, node in outputs.items():
        boxes[where[node.digest]].results.append(name)
