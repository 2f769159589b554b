"""Reading a log with patches: the program of `lima.patches` run on nodes instead of arrays.

Nothing is executed but this: a line, run again, makes a node again. How many nodes there will be is
counted before any is made, so that a short text cannot ask for a long computation.
"""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from lima.errors import LogError
from lima.node import LEAF, OUTPUT, Node, Param, Spec
from lima.patches import Latest
from lima.reading import Lines, make_node
from lima.scan import Scanner
from lima.streams import Slot, Times, counted, length, values

MAX_NODES = 1 << 24
"""Nodes that the loops of a log may stand for."""

_PATCH = re.compile(r"patch (p[0-9]{1,9})", re.ASCII)
_RUN = re.compile(r"run (?!=)", re.ASCII)
_STREAM = re.compile(r"\$([0-9]{1,9}) = ", re.ASCII)


class _Line(NamedTuple):
    """A line of a patch: the arguments of `make_node`, with `Latest` for nodes and slots."""

    number: int
    op: str
    version: int
    inputs: list[Any]
    npos: int
    params: list[tuple[str, Param]]
    varies: bool  # whether parameters have slots


class _Patch:
    """A patch that is being read or run.

    specs    of each line the spec that all of its nodes share, once it is known
    streams  the values that its slots still get
    left     how many values each stream has that were not given out yet
    """

    def __init__(self) -> None:
        self.lines: list[_Line] = []
        self.specs: list[Spec | None] = []
        self.streams: list[Iterator[Any]] = []
        self.left: list[int] = []
        self.slots = 0


class Unfolded(Lines):
    """Reads the lines of a log with patches; `rows` are the nodes of each line so far.

    nodes    all nodes in the order in which lines ran
    clocks   of each line the times at which it ran
    merged   of several lines their nodes in the order in which they were made
    readers  of a line, which may come later, the lists in `merged` that its nodes go to
    highest  the last line that is read
    """

    def __init__(self) -> None:
        super().__init__([])
        self.rows: list[list[Node]] = []
        self.clocks: list[array[int]] = []
        self.readers: defaultdict[int, list[list[Node]]] = defaultdict(list)
        self.highest = 0
        self.merged: dict[tuple[int, ...], list[Node]] = {}
        self.patches: dict[str, _Patch] = {}
        self.patch: _Patch | None = None
        self.started = False

    def takes(self, line: str) -> bool:
        """Read a line that only a log with patches has; says whether it was one."""
        match = _PATCH.fullmatch(line)
        if match is not None:
            self.begin(match[1])
        elif _RUN.match(line):
            self.run(line)
        elif _STREAM.match(line):
            self.stream(line)
        elif self.started:
            raise LogError(f"expected a line of a patch or a run, found {line[:40]!r}")
        else:
            return False
        return True

    # ----------------------------------------------------------------- lines

    def line(self, line: str) -> None:
        """Read `%n = ...`: a node, or a line of the patch that was begun."""
        slots: list[Slot] = []
        scanner = Scanner(line, slots if self.started else None)
        found = scanner.next("node", "a node such as %1")
        if found != f"%{len(self.rows) + 1}":
            raise LogError(f"expected line %{len(self.rows) + 1}, found {found}")
        scanner.expect("=")
        op, version, inputs, npos, params = self.parts(scanner)
        self.rows.append([])
        self.clocks.append(array("q"))
        number = len(self.rows)
        patch = self.patch
        if not self.started or patch is None:
            inputs = [self.found(i, ()) if type(i) is Latest else i for i in inputs]
            self.ran(number, make_node(op, version, inputs, npos, params))
            return
        if patch.streams:
            raise LogError("expected the lines of a patch before its streams")
        varying = _slots_in([value for _, value in params])
        if varying + _slots_in([i for i in inputs if type(i) is not Latest]) != len(slots):
            raise LogError("expected slots as numbers of a call, of its tuples, lists and slices")
        slots += [i.back for i in inputs if type(i) is Latest and type(i.back) is Slot]
        patch.slots = max([patch.slots, *[slot.index for slot in slots]])
        if any(slot.index < 1 for slot in slots):
            raise LogError("expected slots from $1 on")
        patch.lines.append(_Line(number, op, version, inputs, npos, params, varying > 0))
        patch.specs.append(None)

    def known(self, scanner: Scanner) -> Any:
        """An operand: inside a patch by its lines, elsewhere the node itself."""
        text = scanner.next("node", "a node such as %1")[1:]
        names, _, back = text.partition("~")
        lines = tuple(map(int, names.split("/")))
        if list(lines) != sorted(set(lines)) or lines[0] < 1:
            raise LogError(f"expected the numbers of lines in order, each once, found %{text}")
        if not self.started and lines[-1] > len(self.rows):
            raise LogError(f"expected a node of a line above, found %{text}")
        self.highest = max(self.highest, lines[-1])
        if back.startswith("$"):
            if not self.started:
                raise LogError(f"expected a node, found %{text} outside of a patch")
            return Latest(lines, Slot(int(back[1:])))
        return Latest(lines, int(back or 0))

    def result(self, scanner: Scanner) -> Node:
        """The node that an output is."""
        return self.found(self.known(scanner), ())

    # ----------------------------------------------------------------- patches

    def begin(self, name: str) -> None:
        self.close()
        if name in self.patches:
            raise LogError(f"expected every patch once, found {name} again")
        self.patch = self.patches[name] = _Patch()
        self.started = True

    def close(self) -> None:
        """End the patch that was begun, and see whether it is complete."""
        patch = self.patch
        if not self.started or patch is None:
            return
        if not patch.lines:
            raise LogError("expected the lines of the patch, found none")
        if patch.slots != len(patch.streams):
            found = len(patch.streams)
            raise LogError(f"expected {patch.slots} streams of the patch above, found {found}")

    def stream(self, line: str) -> None:
        patch = self.patch
        if not self.started or patch is None:
            raise LogError("expected a stream inside a patch")
        number = int(line[1 : line.index(" ")])
        if number != len(patch.streams) + 1:
            raise LogError(f"expected stream ${len(patch.streams) + 1}, found ${number}")
        scanner = Scanner(line[line.index("=") + 1 :])
        items = items_of(scanner)
        scanner.end()
        patch.streams.append(values(items))
        patch.left.append(length(items))

    def run(self, line: str) -> None:
        """Run patches in an order; what they will make is counted before."""
        self.close()
        scanner = Scanner(line)
        scanner.next("name", "run")
        items = items_of(scanner, self.patches)
        scanner.end()
        made = len(self.nodes)
        for name, count in counted(items).items():
            patch = self.patches[name]
            made += count * len(patch.lines)
            for k, left in enumerate(patch.left):
                if left < count:
                    raise LogError(f"${k + 1} of {name} ends before its runs do")
                patch.left[k] = left - count
        if made > MAX_NODES:
            raise LogError(f"the loops stand for {made} nodes; a log may have {MAX_NODES}")
        self.started, self.patch = False, None
        for name in values(items):
            self.apply(self.patches[name])

    def apply(self, patch: _Patch) -> None:
        """One run of a patch."""
        given = [next(stream) for stream in patch.streams]
        for k, line in enumerate(patch.lines):
            inputs = [
                self.found(i, given) if type(i) is Latest else _filled(i, given)
                for i in line.inputs
            ]
            spec = patch.specs[k]
            if spec is not None:
                self.ran(line.number, Node(spec, tuple(inputs)))
                continue
            params = line.params
            if line.varies:
                params = [(name, _filled(value, given)) for name, value in params]
            node = make_node(line.op, line.version, inputs, line.npos, params)
            if not line.varies and line.op not in (LEAF, OUTPUT):
                patch.specs[k] = node.spec
            self.ran(line.number, node)

    def done(self) -> None:
        """See that nothing is left over where the outputs begin."""
        if self.started:
            raise LogError("expected the run of the patch above")
        if self.highest > len(self.rows):
            raise LogError(f"a patch reads %{self.highest}, which is no line")
        for name, patch in self.patches.items():
            if any(patch.left):
                raise LogError(f"a stream of {name} has more values than the patch has runs")

    # ----------------------------------------------------------------- nodes

    def ran(self, number: int, node: Node) -> None:
        """Line `number` has made a node."""
        self.rows[number - 1].append(node)
        self.clocks[number - 1].append(len(self.nodes))
        for history in self.readers.get(number, ()):
            history.append(node)
        self.nodes.append(node)

    def found(self, operand: Latest, given: Any) -> Node:
        """The node that an operand is now."""
        lines, place, _ = operand
        back: Any = place
        if type(place) is Slot:
            back = given[place.index - 1]
            if type(back) is not int or back < 0:
                raise LogError(f"expected counts of values in {operand!r}, found {back!r:.40}")
        history: list[Node]
        if len(lines) > 1:
            history = self.together(lines)
        else:
            history = self.rows[lines[0] - 1] if lines[0] <= len(self.rows) else []
        if back >= len(history):
            raise LogError(f"{operand!r} is read before it has a value")
        node: Node = history[-1 - back]
        return node

    def _times(self, line: int) -> Iterable[int]:
        return self.clocks[line - 1] if line <= len(self.clocks) else ()

    def together(self, lines: tuple[int, ...]) -> list[Node]:
        """The nodes of several lines in the order in which they were made."""
        history = self.merged.get(lines)
        if history is None:
            times = sorted(time for line in lines for time in self._times(line))
            history = self.merged[lines] = [self.nodes[time] for time in times]
            for line in lines:
                self.readers[line].append(history)
        return history


def _filled(value: Any, given: list[Any]) -> Any:
    """`value` with the values of this run in the places of slots."""
    kind = type(value)
    if kind is Slot:
        return given[value.index - 1]
    if kind is tuple or kind is list:
        return kind([_filled(item, given) for item in value])
    if kind is slice:
        return slice(*[_filled(item, given) for item in (value.start, value.stop, value.step)])
    return value


def _slots_in(value: Any) -> int:
    """The slots at places that `_filled` fills."""
    kind = type(value)
    if kind is tuple or kind is list:
        return sum(map(_slots_in, value))
    if kind is slice:
        return sum(map(_slots_in, (value.start, value.stop, value.step)))
    return int(kind is Slot)


# --------------------------------------------------------------------------- patterns


def items_of(scanner: Scanner, names: Any = None) -> list[Any]:
    """The items of a pattern up to the end of the line: of values, or of names of patches."""
    found = [_item(scanner, names)]
    while scanner.took(","):
        found.append(_item(scanner, names))
    return found


def _item(scanner: Scanner, names: Any) -> Any:
    word = scanner.tokens[scanner.at]
    if word not in ("times", "range"):
        return scanner.value() if names is None else _name(scanner, names)
    scanner.at += 1
    scanner.expect("(")
    if word == "range":
        ends, _ = scanner.items(")", scanner.value)
        if names is not None or len(ends) != 3 or any(type(e) is not int for e in ends):
            raise LogError("expected range(start, stop, step) of integers in a stream")
        if ends[2] == 0 or any(abs(e) >= 1 << 62 for e in ends):
            raise LogError(f"no progression is range{tuple(ends)!r:.80}")
        return range(*ends)
    count = scanner.value()
    if type(count) is not int or not 1 <= count < 1 << 62:
        raise LogError(f"expected times(count, ...), found {count!r:.40}")
    scanner.expect(",")
    inner, _ = scanner.items(")", lambda: _item(scanner, names))
    if not inner:
        raise LogError("expected what comes several times, found nothing")
    return Times(count, tuple(inner))


def _name(scanner: Scanner, names: Any) -> str:
    name = scanner.next("name", "the name of a patch")
    if name not in names:
        raise LogError(f"expected a patch of a line above, found {name!r:.40}")
    return name
