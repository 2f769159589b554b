"""Reading a log with patches: the program of `lima.patches` run on nodes instead of arrays.

Nothing is executed but this: a line, run again, makes a node again. How many nodes there will be is
counted before any is made, so that a short text cannot ask for a long computation. Of what a line
has made only as much is kept as some line reads, so the memory is that of the text.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from lima.errors import LogError
from lima.node import LEAF, OUTPUT, Node, Param, Spec
from lima.patches import Latest
from lima.reading import Lines, items_of, make_node, operand
from lima.scan import Scanner
from lima.streams import Slot, counted, largest, length, values

MAX_NODES = 1 << 26
"""Nodes that the loops of a log may stand for."""

BODY = re.compile(r"%|patch p[0-9]|run (?!=)|\$[0-9]", re.ASCII)
"""How the lines begin that a program is made of."""

_PATCH = re.compile(r"patch (p[0-9]{1,9})", re.ASCII)
_NAME = re.compile(r"p[0-9]+", re.ASCII)
_STREAM = re.compile(r"\$([0-9]{1,9}) = ", re.ASCII)
_READ = re.compile(r"%([0-9]{1,12}(?:/[0-9]{1,12})*)(?:~(\$?)([0-9]{1,12}))?", re.ASCII)


MAX_KEPT = 1 << 24
"""Nodes that operands may reach back over, all together: so many are kept at most."""


class Placed(LogError):
    """An error whose message names its line."""


class Folded:
    """The program of a log: its lines with their numbers, and the operands that are its results.

    count    how many nodes it stands for
    digests  of the results, by name
    leaves   the nodes of data
    runs     how often each line runs
    at       the user's line of each line, or a pattern of them, where the log says it
    """

    def __init__(self, lines: list[tuple[int, str]], outputs: dict[str, Latest]) -> None:
        """Run it once, to see that it is right. Raises LogError with the number of the line."""
        self.lines, self.outputs = lines, outputs
        self.needs = _Needs(lines, outputs.values())
        self.at: dict[int, int | list[Any]] = {}
        machine = _Digests(self.needs)
        found = self.run(machine)
        self.count = machine.count
        self.leaves = machine.leaves
        home = self.needs.home
        self.runs = [machine.times[home.get(k, "")] for k in range(1, machine.known_lines + 1)]
        self.digests = {name: node.digest for name, node in found.items()}

    def run(self, machine: Machine) -> dict[str, Any]:
        """What a machine makes of the results."""
        number = 0
        machine.stand(self.at)
        try:
            for number, line in self.lines:  # noqa: B007
                machine.feed(line)
            machine.done()
            number += 1
            return {name: machine.found(place, ()) for name, place in self.outputs.items()}
        except LogError as error:
            raise Placed(f"line {number}: {error}") from None

    def nodes(self) -> dict[str, Node]:
        """The results as nodes with all that led to them: this takes the memory of the trace."""
        return self.run(Machine(self.needs))


class _Needs:
    """What lines read, found before any of them runs.

    depth    how many values of some lines are kept, the latest ones
    readers  of a line the operands that read it: by which line (0 for a result), of how many lines
             it is the latest, and whether by the latest value
    home     of a line its patch, if it is in one
    runs     how many lines run a patch
    """

    def __init__(self, lines: list[tuple[int, str]], outputs: Iterable[Latest]) -> None:
        self.depth: defaultdict[tuple[int, ...], int] = defaultdict(int)
        self.readers: defaultdict[int, list[tuple[int, int, bool]]] = defaultdict(list)
        self.home: dict[int, str] = {}
        self.runs: Counter[str] = Counter()
        waiting: list[tuple[tuple[int, ...], int]] = []
        count, patch = 0, ""
        for number, line in lines:
            if line.startswith("patch"):
                waiting = []
                patch = line[6:]
            elif line.startswith("run"):
                patch = ""
                self.runs.update(set(_NAME.findall(line)))
            elif line.startswith("%"):
                count += 1
                if patch:
                    self.home[count] = patch
                for names, slot, back in _READ.findall(line.partition("=")[2]):
                    lines_read = tuple(map(int, names.split("/")))
                    if slot:
                        waiting.append((lines_read, int(back)))
                    self.note(count, lines_read, 0 if slot or not back else int(back), bool(slot))
            elif _STREAM.match(line) and waiting:
                most = _largest(number, line)
                index = int(line[1 : line.index(" ")])
                for lines_read, wanted in waiting:
                    if wanted == index:
                        self.depth[lines_read] = max(self.depth[lines_read], most + 1)
        for place in outputs:
            self.note(0, place.lines, int(place.back))  # type: ignore[arg-type]
        kept = sum(self.depth.values())
        if kept > MAX_KEPT + len(self.depth):
            raise LogError(f"operands reach back over {kept} nodes, more than {MAX_KEPT}")

    def note(self, reader: int, lines: tuple[int, ...], back: int, far: bool = False) -> None:
        self.depth[lines] = max(self.depth[lines], min(back, MAX_NODES) + 1)
        for line in lines:
            self.readers[line].append((reader, len(lines), back == 0 and not far))


def _largest(number: int, line: str) -> int:
    scanner = Scanner(line[line.index("=") + 1 :])
    try:
        return min(largest(items_of(scanner)), MAX_NODES)
    except LogError as error:
        raise Placed(f"line {number}: {error}") from None


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


class Machine(Lines):
    """Runs the lines of a program, each of which makes a node.

    What is kept of a node is an *item*: here the node itself.

    histories  of lines that are read together, their last items in the order of running
    readers    of a line, which may come later, the histories that its items go to
    count      nodes that were made
    targets    of a line its first operand
    kinds      of a line its operation
    times      how often each patch has run; "" stands for no patch
    """

    def __init__(self, needs: _Needs) -> None:
        super().__init__([])
        self.needs = needs
        self.histories = {lines: deque[Any](maxlen=n) for lines, n in needs.depth.items()}
        self.readers: defaultdict[int, list[deque[Any]]] = defaultdict(list)
        for lines, history in self.histories.items():
            for line in lines:
                self.readers[line].append(history)
        self.count = self.known_lines = 0
        self.patches: dict[str, _Patch] = {}
        self.patch: _Patch | None = None
        self.times = Counter({"": 1})
        self.at: dict[int, int] = {}
        self.next_at: dict[int, Iterator[int]] = {}
        self.targets: dict[int, Latest] = {}
        self.kinds: dict[int, str] = {}

    def made(self, number: int, node: Node, items: list[Any]) -> Any:
        """The item of a node that line `number` made of these items and literals."""
        return node

    def inputs(self, items: list[Any]) -> list[Any]:
        """The nodes of items."""
        return items

    # ----------------------------------------------------------------- lines

    def feed(self, line: str) -> None:
        """Read one line, and run what it says."""
        match = _PATCH.fullmatch(line)
        if match is not None:
            self.begin(match[1])
        elif line.startswith("%"):
            self.line(line)
        elif line.startswith("run "):
            self.run(line)
        elif _STREAM.match(line):
            self.stream(line)
        else:
            raise LogError(f"expected a line of a patch or a run, found {line[:40]!r}")

    def line(self, line: str) -> None:
        """Read `%n = ...`: a node, or a line of the patch that was begun."""
        slots: list[Slot] = []
        patch = self.patch
        scanner = Scanner(line, None if patch is None else slots)
        found = scanner.next("node", "a node such as %1")
        number = self.known_lines + 1
        if found != f"%{number}":
            raise LogError(f"expected line %{number}, found {found}")
        scanner.expect("=")
        op, version, inputs, npos, params = self.parts(scanner)
        self.known_lines = number
        self.kinds[number] = op
        if inputs and type(inputs[0]) is Latest:
            self.targets[number] = inputs[0]
        if patch is None:
            items = [self.found(i, ()) if type(i) is Latest else i for i in inputs]
            node = make_node(op, version, self.inputs(items), npos, params)
            self.ran(number, node, items)
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
        """An operand."""
        place = operand(scanner)
        if self.patch is None and place.lines[-1] > self.known_lines:
            raise LogError(f"expected a node of a line above, found {place!r}")
        if self.patch is None and type(place.back) is Slot:
            raise LogError(f"expected a node, found {place!r} outside of a patch")
        return place

    # ----------------------------------------------------------------- patches

    def begin(self, name: str) -> None:
        self.close()
        if name in self.patches:
            raise LogError(f"expected every patch once, found {name} again")
        self.patch = self.patches[name] = _Patch()

    def close(self) -> None:
        """End the patch that was begun, and see whether it is complete."""
        patch = self.patch
        if patch is None:
            return
        if not patch.lines:
            raise LogError("expected the lines of the patch, found none")
        if patch.slots != len(patch.streams):
            found = len(patch.streams)
            raise LogError(f"expected {patch.slots} streams of the patch above, found {found}")

    def stream(self, line: str) -> None:
        patch = self.patch
        if patch is None:
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
        made = self.count
        for name, count in counted(items).items():
            patch = self.patches[name]
            made += count * len(patch.lines)
            self.times[name] += count
            for k, left in enumerate(patch.left):
                if left < count:
                    raise LogError(f"${k + 1} of {name} ends before its runs do")
                patch.left[k] = left - count
        if made > MAX_NODES:
            raise LogError(f"the loops stand for {made} nodes; a log may have {MAX_NODES}")
        self.patch = None
        for name in values(items):
            self.apply(self.patches[name])

    def apply(self, patch: _Patch) -> None:
        """One run of a patch."""
        given = [next(stream) for stream in patch.streams]
        for k, line in enumerate(patch.lines):
            items = [
                self.found(i, given) if type(i) is Latest else _filled(i, given)
                for i in line.inputs
            ]
            spec = patch.specs[k]
            if spec is not None:
                self.ran(line.number, Node(spec, tuple(self.inputs(items))), items)
                continue
            params = line.params
            if line.varies:
                params = [(name, _filled(value, given)) for name, value in params]
            node = make_node(line.op, line.version, self.inputs(items), line.npos, params)
            if not line.varies and line.op not in (LEAF, OUTPUT):
                patch.specs[k] = node.spec
            self.ran(line.number, node, items)

    def done(self) -> None:
        """See that nothing is left over where the lines end."""
        if self.patch is not None:
            raise LogError("expected the run of the patch above")
        last = max(self.readers, default=0)
        if last > self.known_lines:
            raise LogError(f"%{last} is read, which is no line")
        for name, patch in self.patches.items():
            if any(patch.left):
                raise LogError(f"a stream of {name} has more values than the patch has runs")

    def stand(self, at: Mapping[int, int | list[Any]]) -> None:
        """Say at which of the user's lines each line stands, before any runs."""
        for number, one in at.items():
            if type(one) is int:
                self.at[number] = one
            else:
                self.next_at[number] = values(one)  # type: ignore[arg-type]

    # ----------------------------------------------------------------- nodes

    def ran(self, number: int, node: Node, items: list[Any]) -> None:
        """Line `number` has made a node."""
        if number in self.next_at:
            node.place = next(self.next_at[number])
        else:
            node.place = self.at.get(number, 0)
        item = self.made(number, node, items)
        for history in self.readers.get(number, ()):
            history.append(item)
        self.count += 1

    def found(self, place: Latest, given: Any) -> Any:
        """The item that an operand is now."""
        back: Any = place.back
        if type(back) is Slot:
            back = given[back.index - 1]
            if type(back) is not int or back < 0:
                raise LogError(f"expected counts of values in {place!r}, found {back!r:.40}")
        history = self.histories[place.lines]
        if back >= len(history):
            raise LogError(f"{place!r} is read before it has a value")
        return history[-1 - back]


class _Digests(Machine):
    """Keeps of every node what identifies it, not what it was made of."""

    def __init__(self, needs: _Needs) -> None:
        super().__init__(needs)
        self.leaves: list[Node] = []
        self.met: set[bytes] = set()

    def made(self, number: int, node: Node, items: list[Any]) -> Any:
        digest = node.digest
        node.inputs = ()
        if node.spec.op == LEAF and digest not in self.met:
            self.met.add(digest)
            self.leaves.append(node)
        return node


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
