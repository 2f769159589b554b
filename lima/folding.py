"""A lineage as a picture shows it: boxes, of which some stand for many nodes.

Up to a limit every node is a box. Beyond it, operations that repeat in the order of the log (the
rounds of a loop) become one box, loops in loops as well, and what is still too much is drawn as
one box for the middle of the computation. A box always holds nodes that follow each other in an
order with inputs before users. So no way leads out of a box and back into it: the picture has no
cycles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    kind     "data", "operation", "loop" (the same operations again and again) or "rest"
    title    its text
    note     what follows the text where there is room: dtype and shape of data
    nodes    all that it stands for, in the order of the log
    inputs   numbers of the boxes that it reads
    results  names of results that it gives
    rounds   of a loop: how many there are
    """

    kind: str
    title: str
    nodes: list[Node]
    inputs: list[int] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    rounds: int = 1
    note: str = ""

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
    """A node, or a run of rounds, in the sequence that is searched for repetitions."""

    key: Any
    nodes: list[Node]
    rounds: int = 1
    length: int = 1  # nodes of the first round


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
        boxes.append(Box("data", f"{len(data) - room} more arrays", data[room:]))
    boxes += _shortened(units, max(limit - len(boxes), 3))
    _connect(boxes, outputs)
    return boxes


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
        key = ("loop", tuple(unit.key for unit in part[:period]))
        length = sum(len(unit.nodes) for unit in part[:period])
        found.append(_Unit(key, [n for unit in part for n in unit.nodes], rounds, length))
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


def _shortened(units: list[_Unit], room: int) -> list[Box]:
    """The boxes of units; the middle as one where there are too many, most kept at the result."""
    if len(units) <= room:
        return [_box(unit) for unit in units]
    begin = room // 3
    end = len(units) - (room - begin - 1)
    middle = [node for unit in units[begin:end] for node in unit.nodes]
    rest = Box("rest", f"{len(middle):,} more operations", middle)
    return [*map(_box, units[:begin]), rest, *map(_box, units[end:])]


def _box(unit: _Unit) -> Box:
    if unit.rounds == 1:
        return Box("operation", label(unit.nodes[0], width=34), unit.nodes)
    ops = list(dict.fromkeys(node.spec.op for node in unit.nodes[: unit.length]))
    title = cut(f"{unit.rounds:,} × {', '.join(ops)}", 44)
    return Box("loop", title, unit.nodes, rounds=unit.rounds)


def _connect(boxes: list[Box], outputs: Mapping[str, Node]) -> None:
    where = {node.digest: k for k, box in enumerate(boxes) for node in box.nodes}
    for k, box in enumerate(boxes):
        read = (where.get(i.digest, k) for n in box.nodes for i in n.inputs if isinstance(i, Node))
        box.inputs = [source for source in dict.fromkeys(read) if source != k]
    for name, node in outputs.items():
        boxes[where[node.digest]].results.append(name)
