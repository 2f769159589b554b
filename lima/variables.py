"""What a program with loops calls its values: variables, values of rounds before, lists of values.

An operand that several lines may have made is a variable that each of them sets. Where one set of
lines is read only after the rest of a larger one ran, once, both are one variable: what goes round
in a loop, and the value that it begins with.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Protocol

from lima.node import LEAF, Node
from lima.patches import Latest, Line, Patch, Program
from lima.spelled import Text, noted
from lima.streams import Slot

LAGS = 3
"""Values back up to which a value has a variable; more of them are a list."""


class Names(Protocol):
    """What gives out names (`lima.source`)."""

    nodes: list[Node]
    leaves: dict[bytes, str]
    wanted: dict[bytes, str]
    given: dict[bytes, str]
    notes: dict[bytes, str]

    def fresh(self, wish: str) -> str: ...
    def numbered(self) -> str: ...


class Variables:
    """The variables of a program, and the statements that set them.

    lines      all lines by number
    block      of each line its patch; 0 for a line of its own
    readers    of each line the operands that read it, with the number of the line that does
    variables  of lines that are read together the variable that holds the latest value
    back       of them how many values back are read; -1 where any may be
    joined     of lines that are read together others in whose variable their values are as well
    together   of each line the sets of several lines that it is in
    inlined    what is written in the place of a variable
    given      of lines the name that the traced program had for their values
    notes      of lines what a comment says of their values, the same in all rounds
    """

    def __init__(self, program: Program, outputs: Mapping[str, Node], names: Names) -> None:
        self.program, self.outputs, self.names = program, outputs, names
        self.lines: dict[int, Line] = {}
        self.block: dict[int, int] = {}
        self.patches: dict[str, Patch] = {}
        self.readers: defaultdict[int, list[tuple[int, Latest]]] = defaultdict(list)
        self.variables: dict[tuple[int, ...], str] = {}
        self.back: defaultdict[tuple[int, ...], int] = defaultdict(int)
        self.joined: dict[tuple[int, ...], tuple[int, ...]] = {}
        self.together: defaultdict[int, list[tuple[int, ...]]] = defaultdict(list)
        self.inlined: dict[int, Text] = {}
        self.statements: list[str] = []
        self.depth = self.now = 0
        self.slots: list[Text] = []
        self.runs: defaultdict[str, int] = defaultdict(int)
        self.given: dict[int, str] = {}
        self.notes: dict[int, str] = {}
        for number, node in zip(program.lines.tolist(), names.nodes, strict=True):
            name = names.given.get(node.digest)
            if name is not None:
                self.given.setdefault(number, name)
            note = names.notes.get(node.digest, "")
            if self.notes.setdefault(number, note) != note:
                self.notes[number] = ""  # another shape in another round
        self._collect()
        self._join()
        for name, node in outputs.items():
            operand = program.outputs[name]
            wanted = names.wanted.get(node.digest)
            if wanted is not None and operand.back == 0:
                self.variables.setdefault(self.key(operand.lines), wanted)
        for lines, back in self.back.items():
            if self.key(lines) != lines:
                continue
            if back > 0:
                shown = [self.variable(lines), *(self.lagged(lines, k) for k in range(1, back + 1))]
                self.say(f"{' = '.join(shown)} = None")
            elif back < 0:
                self.say(f"{self.lagged(lines, 0)} = []")

    def _collect(self) -> None:
        """Note which lines there are, and who reads them."""
        for one in self.program.blocks:
            if isinstance(one, Line):
                self._note(one, 0)
                continue
            for patch in one.new:
                self.patches[patch.name] = patch
                for line in patch.lines:
                    self._note(line, len(self.patches))
            for name in set(one.names):
                self.runs[name] += 1
        for operand in self.program.outputs.values():
            self._read(0, operand)

    def _note(self, line: Line, block: int) -> None:
        self.lines[line.number] = line
        self.block[line.number] = block
        for item in line.call.inputs:
            if type(item) is Latest:
                self._read(line.number, item)

    def _read(self, reader: int, operand: Latest) -> None:
        for line in operand.lines:
            self.readers[line].append((reader, operand))
        back: Any = operand.back
        far = type(back) is Slot or back > LAGS
        known = self.back[operand.lines]
        self.back[operand.lines] = -1 if far or known < 0 else max(known, back)

    def _join(self) -> None:
        """Let what is read after other lines ran, once, be read together with these."""
        for lines in self.back:
            if len(lines) > 1:
                for line in lines:
                    self.together[line].append(lines)
        for lines in sorted(self.back, key=len, reverse=True):
            for more in self.together.get(lines[0], ()):
                rest = set(more) - set(lines)
                within = len(more) > len(lines) and len(more) - len(rest) == len(lines)
                if within and all(self.block[k] == 0 and k < lines[0] for k in rest):
                    self.joined[lines] = more
                    backs = self.back[lines], self.back[more]
                    self.back[more] = -1 if min(backs) < 0 else max(backs)
                    break

    def key(self, lines: tuple[int, ...], reader: int = 0) -> tuple[int, ...]:
        """The lines whose variable holds the latest value of these when `reader` runs."""
        while lines in self.joined:
            lines = self.joined[lines]
        if reader and len(lines) == 1 and self.block[reader] == self.block[lines[0]] == 0:
            for more in self.together.get(lines[0], ()):
                if all(k > reader for k in more if k != lines[0]):
                    return self.key(more)
        return lines

    def say(self, statement: str) -> None:
        self.statements.append("    " * self.depth + statement)

    def results(self) -> list[str]:
        """How each output reads."""
        return [str(self.operand(operand)) for operand in self.program.outputs.values()]

    # ----------------------------------------------------------------- variables

    def variable(self, lines: tuple[int, ...]) -> str:
        """The name of the variable that holds the latest value of these lines."""
        name = self.variables.get(lines)
        if name is None:
            first = self.lines[lines[0]].call
            leaf = first.inputs[0] if first.op == LEAF and first.inputs else None
            wish = self.given.get(lines[0])
            if type(leaf) is str and len(lines) > 1:
                wish = f"{leaf}_now"
            name = self.names.numbered() if wish is None else self.names.fresh(wish)
            self.variables[lines] = name
        return name

    def lagged(self, lines: tuple[int, ...], back: int) -> str:
        """The variable of the value so many values back; for 0 the list of all values."""
        key = (*lines, -1 - back)
        if key not in self.variables:
            wish = f"{self.variable(lines)}_{'all' if back == 0 else f'before_{back}'}"
            self.variables[key] = self.names.fresh(wish)
        return self.variables[key]

    def operand(self, operand: Latest) -> Text:
        lines = self.key(operand.lines, self.now)
        back: Any = operand.back
        if type(back) is Slot:
            return Text(f"{self.lagged(lines, 0)}[-1 - {self.slots[back.index - 1]}]")
        if lines[0] in self.inlined and len(lines) == 1:
            return self.inlined[lines[0]]
        if back == 0:
            return Text(self.variable(lines))
        if self.back[lines] < 0:
            return Text(f"{self.lagged(lines, 0)}[{-1 - back}]")
        return Text(self.lagged(lines, back))

    def targets(self, number: int) -> list[tuple[int, ...]]:
        """The sets of lines, one of them this line, whose latest value is read."""
        found = [self.key(operand.lines, who) for who, operand in self.readers[number]]
        known = (number,) if number in self.inlined else None
        return [lines for lines in dict.fromkeys(found) if lines != known]

    def hold(self, number: int, text: str) -> None:
        """Let the variables of a line hold what `text` computes."""
        targets = self.targets(number)
        if not targets:
            return
        if len(targets) == 1 and self.back[targets[0]] == 0:
            name = self.variable(targets[0])
            if name != text:
                note = None if text.isidentifier() else self.notes.get(number)
                self.say(noted(f"{name} = {text}", note))
            return
        if not text.isidentifier():
            new = self.names.numbered()
            self.say(noted(f"{new} = {text}", self.notes.get(number)))
            text = new
        for lines in targets:
            name, back = self.variable(lines), self.back[lines]
            olds = [name, *(self.lagged(lines, k) for k in range(1, back + 1))]
            for old, older in reversed(list(itertools.pairwise(olds))):
                self.say(f"{older} = {old}")
            self.say(f"{name} = {text}")
            if back < 0:
                self.say(f"{self.lagged(lines, 0)}.append({name})")
