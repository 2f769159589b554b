"""A lineage as a small program: lines, patches of lines that run again and again, and streams.

What a line computes is the value of its number until the line is run again, as with a variable of
a program. So an operand is named by the lines that may have made it: `%4` is the value of line 4,
`%4/7` that of whichever of the two ran last (what goes round in a loop: first the initial value,
then that of the round before), and `~2` after it means two values back in the same sense. A number
that varies from round to round is a stream of the patch, `$1`.

The order of execution is the order of the log, so the program says exactly which nodes there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lima.node import Node, encode
from lima.segments import Call, Free, Stretch, call_of, filled, parts, stretches
from lima.streams import Slot

SMALL = 32
"""Nodes below which nothing is looked for."""


class Latest(NamedTuple):
    """An operand: the value that `back` values before was the latest of some lines.

    >>> Latest((4, 7), 0), Latest((4, 7), Slot(2))
    (%4/7, %4/7~$2)
    """

    lines: tuple[int, ...]
    back: int | Slot
    once: bool = False  # whether no value is read twice in this place

    def __repr__(self) -> str:
        text = f"%{'/'.join(map(str, self.lines))}"
        return text if self.back == 0 and type(self.back) is int else f"{text}~{self.back}"


class Line(NamedTuple):
    """One line: its number, and the call, with `Latest` for nodes and `Slot` for what varies."""

    number: int
    call: Call


class Patch(NamedTuple):
    """Lines that run one after the other, and the streams of their slots, in the order of runs."""

    name: str
    lines: tuple[Line, ...]
    streams: tuple[list[Any], ...]


class Run(NamedTuple):
    """Patches by name, in the order in which they run; `new` are those that run first here."""

    new: tuple[Patch, ...]
    names: list[str]


class Program(NamedTuple):
    """The lines and runs of a lineage in order, and the line of every result.

    lines  the number of the line that made each node, in the order of the nodes
    """

    blocks: list[Line | Run]
    outputs: dict[str, Latest]
    nodes: int
    lines: np.ndarray[Any, np.dtype[np.int64]]


def program_of(nodes: Sequence[Node], outputs: Mapping[str, Node]) -> Program | None:
    """The program of distinct nodes in the order of the log; None where nothing repeats."""
    if len(nodes) < SMALL:
        return None
    cut = stretches(nodes)
    if all(one.patch is None for one in cut):
        return None
    return _Maker(nodes, cut).program(outputs)


class Round(NamedTuple):
    """Where a node stands in a loop: the operations of a round, which of them, which round."""

    ops: tuple[str, ...]
    line: int
    round: int


def rounds_of(nodes: Sequence[Node]) -> dict[bytes, Round]:
    """For the nodes that are in patches, by digest, where they stand; rounds count from 1."""
    found: dict[bytes, Round] = {}
    if len(nodes) < SMALL:
        return found
    counts: Counter[int] = Counter()
    for start, length, patch in stretches(nodes):
        if patch is not None:
            counts[patch] += 1
            inner = nodes[start : start + length]
            ops = tuple([node.spec.op for node in inner])
            found.update((n.digest, Round(ops, k, counts[patch])) for k, n in enumerate(inner))
    return found


class _Maker:
    """Numbers the lines, and names every operand by lines.

    places   the place of a node among the nodes, by digest
    line_of  the line of the node at each place
    runs     the places that a line has made, in order
    """

    def __init__(self, nodes: Sequence[Node], cut: list[Stretch]) -> None:
        self.nodes, self.cut = nodes, cut
        self.places = {node.digest: k for k, node in enumerate(nodes)}
        self.line_of = np.zeros(len(nodes), np.int64)
        self.starts: dict[int, list[int]] = {}
        self.first: dict[int, int] = {}
        self.lengths: dict[int, int] = {}
        count = 0
        for start, length, patch in cut:
            if patch is None:
                count += 1
                self.line_of[start] = count
                continue
            self.starts.setdefault(patch, []).append(start)
            if patch not in self.first:
                self.first[patch] = count + 1
                self.lengths[patch] = length
                count += length
        for patch, first in self.first.items():
            starts = np.array(self.starts[patch])
            for k in range(self.lengths[patch]):
                self.line_of[starts + k] = first + k
        order = np.argsort(self.line_of, kind="stable")
        ends = np.cumsum(np.bincount(self.line_of, minlength=count + 1))
        self.runs = [order[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        self.merged: dict[tuple[int, ...], Any] = {}

    def program(self, outputs: Mapping[str, Node]) -> Program:
        names = {patch: f"p{k}" for k, patch in enumerate(self.first, 1)}
        blocks: list[Line | Run] = []
        known: set[int] = set()
        new: list[Patch] = []
        run: list[str] = []
        for start, _, patch in self.cut:
            if patch is None:
                if run:
                    blocks.append(Run(tuple(new), run))
                    new, run = [], []
                blocks.append(self.line(start))
                continue
            if patch not in known:
                known.add(patch)
                new.append(self.patch(names[patch], patch))
            run.append(names[patch])
        if run:
            blocks.append(Run(tuple(new), run))
        end = np.array([len(self.nodes)])
        results = {
            name: self.operand(np.array([self.places[node.digest]]), end, [])
            for name, node in outputs.items()
        }
        return Program(blocks, results, len(self.nodes), self.line_of)

    def line(self, place: int) -> Line:
        """The line of a node that is in no patch."""
        call = call_of(self.nodes[place], str)
        at = np.array([place])
        inputs = tuple(
            [
                self.operand(np.array([self.places[i.digest]]), at, []) if type(i) is Node else i
                for i in call.inputs
            ]
        )
        return Line(int(self.line_of[place]), call._replace(inputs=inputs))

    def patch(self, name: str, patch: int) -> Patch:
        starts, first = np.array(self.starts[patch]), self.first[patch]
        streams: list[list[Any]] = []
        places = range(self.lengths[patch])
        lines = tuple([self.patch_line(starts + k, first + k, streams) for k in places])
        return Patch(name, lines, tuple(streams))

    def patch_line(self, at: Any, number: int, streams: list[list[Any]]) -> Line:
        """The line that stands for the nodes at these places."""
        nodes = [self.nodes[k] for k in at.tolist()]
        first = call_of(nodes[0])
        given: list[Any] = [node.inputs for node in nodes]
        named: list[Any] = [node.spec.params for node in nodes]
        if nodes[0].is_leaf:
            calls = [call_of(node) for node in nodes]
            given, named = [call.inputs for call in calls], [call.params for call in calls]
        inputs: list[Any] = []
        for k, item in enumerate(first.inputs):
            column = [items[k] for items in given]
            if type(item) is Node:
                read = np.array([self.places[node.digest] for node in column])
                inputs.append(self.operand(read, at, streams))
            else:
                inputs.append(_joined(column, streams))
        params = tuple(
            [
                (key, _joined([items[k][1] for items in named], streams))
                for k, (key, _) in enumerate(first.params)
            ]
        )
        return Line(number, first._replace(inputs=tuple(inputs), params=params))

    def operand(self, read: Any, at: Any, streams: list[list[Any]]) -> Latest:
        """How the nodes at the places `read` are named by lines that run at the places `at`."""
        lines = tuple(np.unique(self.line_of[read]).tolist())
        if len(lines) == 1 and len(self.runs[lines[0]]) == 1:
            return Latest(lines, 0, len(read) == 1)
        once = len(np.unique(read)) == len(read)
        merged = self.merged.get(lines)
        if merged is None:
            found = np.concatenate([self.runs[line] for line in lines])
            merged = self.merged[lines] = np.sort(found)
        back = np.searchsorted(merged, at) - 1 - np.searchsorted(merged, read)
        if (back == back[0]).all():
            return Latest(lines, int(back[0]), once)
        return Latest(lines, _stream(back.tolist(), streams), once)


def _joined(values: list[Any], streams: list[list[Any]]) -> Any:
    """One value for all rounds, with a slot in the place of each part that varies."""
    first = values[0]
    if all(value is first for value in values):
        return str(first) if type(first) is Free else first
    if type(first) is int or type(first) is float:
        return _column(values, streams)
    columns = zip(*[parts(value) for value in values], strict=True)
    return filled(values[0], iter([_column(list(column), streams) for column in columns]))


def _column(values: list[Any], streams: list[list[Any]]) -> Any:
    first = values[0]
    if type(first) is int and all(type(v) is int and v == first for v in values):
        return first
    if type(first) is Free:
        values = list(map(str, values))
        first = values[0]
    code = encode(first)
    if all(v is first or encode(v) == code for v in values):
        return first
    return _stream(values, streams)


def _stream(values: list[Any], streams: list[list[Any]]) -> Slot:
    """The slot of these values; streams that are equal are one."""
    for k, known in enumerate(streams, 1):
        if _equal(known, values):
            return Slot(k)
    streams.append(values)
    return Slot(len(streams))


def _equal(a: list[Any], b: list[Any]) -> bool:
    return all(
        x is y or (type(x) is type(y) and encode(x) == encode(y)) for x, y in zip(a, b, strict=True)
    )
