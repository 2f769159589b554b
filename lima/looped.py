"""The statements of a program with loops, from the lines and patches of a lineage.

A line is a statement, a patch the body of a loop (or a branch of one, where several patches run in
turn), a stream what a loop goes through. What writes an array or a generator does so in place
(`lima.owned`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lima.errors import ReplayError
from lima.literal import spell
from lima.node import LEAF, OUTPUT, Node, Ref, Spec
from lima.op import Kind, Op
from lima.ops.of_scipy import row_of
from lima.owned import COPIES, UNWRITTEN, places_written
from lima.patches import Latest, Line, Patch, Program, Run
from lima.reading import items_of
from lima.scan import Scanner
from lima.segments import Call
from lima.spelled import Text, Write, call_text, literal, operator_text, write_text
from lima.streams import Floats, Slot, Times, pattern
from lima.variables import Names, Variables

_ARRAY = Node(Spec("array"))
"""Stands for an operand where only its type is looked at."""


class Looped(Variables):
    """The statements of a program, indented as they stand in its function."""

    def __init__(self, program: Program, outputs: Mapping[str, Node], names: Names) -> None:
        super().__init__(program, outputs, names)
        self.feeds: dict[str, list[str]] = {}
        for one in program.blocks:
            if isinstance(one, Line):
                self.add(one)
            else:
                self.run(one)

    # ----------------------------------------------------------------- lines

    def add(self, line: Line) -> None:
        """The statements of a line."""
        call = line.call
        self.now = line.number
        if call.op == LEAF:
            text = self._leaf(line)
            if self.block[line.number] == 0 and self.back[self.key((line.number,))] == 0:
                self.inlined[line.number] = Text(text)
            self.hold(line.number, text)
            return
        if call.op == OUTPUT:
            self.hold(line.number, f"{self.text(call.inputs[0])}[{self.text(call.params[0][1])}]")
            return
        if call.op in COPIES:
            self.hold(line.number, f"{call.op}({self.text(call.inputs[0])})")
            return
        row = row_of(call.op)
        if row is None:
            raise ReplayError(f"{call.op!r} is no operation that can be written in Python")
        places = _targets(call, row)
        if places:
            self.write(line, row, places)
            return
        text = self.expression(line, row)
        if self._inlines(line, row, text):
            self.inlined[line.number] = text
        else:
            self.hold(line.number, text)

    def _leaf(self, line: Line) -> str:
        digest = dict(line.call.params)["digest"]
        return str(self.text(digest)) if type(digest) is Slot else self._named(digest)

    def _named(self, digest: str) -> str:
        return self.names.leaves[bytes.fromhex(digest)]

    def _inlines(self, line: Line, row: Op, text: Text) -> bool:
        """Whether a view is written where it is used: once, before what it shows may change."""
        found = self.readers[line.number]
        if row.kind is not Kind.VIEW or len(found) != 1 or len(text) > 40:
            return False
        reader, operand = found[0]
        near = reader > line.number and self.block[reader] == self.block[line.number] != 0
        if not near or operand.lines != (line.number,) or operand.back != 0:
            return False
        seen = {m for i in line.call.inputs if type(i) is Latest for m in i.lines}
        return not any(k in seen or self._writes(k) for k in range(line.number, reader))

    def _writes(self, number: int) -> bool:
        call = self.lines[number].call
        return bool(_targets(call, row_of(call.op)))

    def write(self, line: Line, row: Op, places: tuple[int, ...]) -> None:
        """A call that writes an array or a generator; a shuffle writes both."""
        call, draws = line.call, row.threads_state is not None
        inputs = [self.text(item) for item in call.inputs]
        for place in places:
            name, target = inputs[place], call.inputs[place]
            if not name.isidentifier():
                name = Text(self.names.fresh("rng" if draws and place == 0 else "a"))
                self.say(f"{name} = {inputs[place]}")
            inputs = [
                name if _same(item, target) else text
                for item, text in zip(call.inputs, inputs, strict=True)
            ]
        names = [inputs[place] for place in places]
        ahead, text = write_text(
            Write(row, call.params, call.npos, places),
            inputs,
            lambda j, k: _same(call.inputs[j], call.inputs[k]),
            self.param,
            self.names.numbered,
        )
        for statement in ahead:
            self.say(statement)
        if len(places) == 2:
            self.say(text)
            self.hold(line.number, f"({names[1]}, {names[0]})")
        elif row.wrap is not None and dict(call.params).get("out") is None:
            self.hold(line.number, f"({text}, {names[0]})" if draws else f"({names[0]}, {text})")
        else:
            self.say(text)
            self._keep_name(line, call.inputs[places[0]], str(names[0]))
            self.hold(line.number, names[0])

    def _keep_name(self, line: Line, target: Any, name: str) -> None:
        """Let what was written go by the name of its target, where nothing else takes that."""
        found = self.targets(line.number)
        if len(found) != 1 or found[0] in self.variables or self.back[found[0]] != 0:
            return
        known = self.key(target.lines, line.number)
        if found[0] != (line.number,) or target.back != 0 or self.variables.get(known) != name:
            return
        if all(self._comes_of(other, line.number) for other in known):
            self.variables[found[0]] = name

    def _comes_of(self, number: int, first: int) -> bool:
        """Whether a line stands before all loops, or writes what line `first` has written."""
        if self.block[number] == 0 and number < first:
            return True
        while number != first:
            call = self.lines[number].call
            places = _targets(call, row_of(call.op))
            target = call.inputs[places[0]] if len(places) == 1 else None
            if type(target) is not Latest or len(target.lines) != 1 or target.back != 0:
                return False
            (number,) = target.lines
        return True

    def expression(self, line: Line, row: Op) -> Text:
        call = line.call
        inputs = [self.text(item) for item in call.inputs]
        params = {k: self.param(v, inputs) for k, v in call.params if k not in UNWRITTEN}
        if row.infix is not None and not params and len(inputs) == 2:
            items = [self._kind(item) for item in call.inputs]
            text = operator_text(row.infix, items, inputs)
            if text is not None:
                return text
        return Text(call_text(row, inputs[: call.npos], params))

    def _kind(self, item: Any) -> Any:
        """What tells whether an operator may stand beside an operand."""
        if type(item) is Latest:
            return _ARRAY
        if type(item) is not Slot:
            return item
        values = self.patch.streams[item.index - 1]
        same = all(type(value) is type(values[0]) for value in values)
        return values[0] if same else None

    def param(self, value: Any, inputs: list[Text]) -> Text:
        def refer(place: Any) -> Text:
            return inputs[place.index] if type(place) is Ref else self.slots[place.index - 1]

        return literal(value, refer)

    def text(self, item: Any) -> Text:
        return self.operand(item) if type(item) is Latest else self.param(item, [])

    # ----------------------------------------------------------------- loops

    def run(self, run: Run) -> None:
        """A run of patches: a loop, a loop of branches, or the statements alone."""
        items = items_of(Scanner(pattern(run.names, str)), self.patches)
        only = len(set(run.names)) == 1
        if only and len(run.names) > 1:
            self.loop(self.patches[run.names[0]], len(run.names))
        elif only:
            self.feed(self.patches[run.names[0]])
            self.body(run.names[0])
        else:
            names = list(dict.fromkeys(run.names))
            for name in names:
                self.feed(self.patches[name])
            path = self.names.fresh("path")
            quoted: Callable[[Any], str] = lambda name: repr(str(name))  # noqa: E731
            self.say(f"for {path} in {_listed(items, quoted)}:")
            for k, name in enumerate(names):
                word = "if" if k == 0 else "elif"
                head = f"{word} {path} == {name!r}:" if k < len(names) - 1 else "else:"
                self.depth += 1
                self.say(head)
                self.depth += 1
                self.body(name)
                self.depth -= 2

    def loop(self, patch: Patch, rounds: int) -> None:
        """One patch again and again; its streams are what the loop goes through."""
        used = self.used(patch)
        if self.runs[patch.name] > 1:
            self.feed(patch)
            self.say(f"for _ in range({rounds}):")
        elif not used:
            self.say(f"for _ in range({rounds}):")
        else:
            names = self.slot_names(patch)
            self.feeds[patch.name] = names
            shown = [self.stream(patch, k) for k in used]
            heads = [names[k] for k in used]
            if len(used) == 1:
                self.say(f"for {heads[0]} in {shown[0]}:")
            else:
                self.say(f"for {', '.join(heads)} in zip({', '.join(shown)}):")
        self.depth += 1
        self.body(patch.name, fed=self.runs[patch.name] == 1)
        self.depth -= 1

    def used(self, patch: Patch) -> list[int]:
        """The streams that the statements of a patch need."""
        used: set[int] = set()
        for line in patch.lines:
            items = [*line.call.inputs, *(v for k, v in line.call.params if k not in UNWRITTEN)]
            if line.call.op == LEAF:
                items = [dict(line.call.params)["digest"]]
            items += [i.back for i in line.call.inputs if type(i) is Latest]
            for slot in _slots_in(items):
                used.add(slot.index - 1)
        return sorted(used)

    def slot_names(self, patch: Patch) -> list[str]:
        """Names of the streams of a patch: of the parameter that a stream is, if it is one."""
        wishes = {k: f"{patch.name}_{k + 1}" for k in range(len(patch.streams))}
        for line in patch.lines:
            for key, value in line.call.params:
                if type(value) is Slot and line.call.op != LEAF and key not in UNWRITTEN:
                    wishes[value.index - 1] = key
        return [self.names.fresh(wishes[k]) for k in range(len(patch.streams))]

    def feed(self, patch: Patch) -> None:
        """Begin the streams of a patch that more than one loop goes through."""
        if patch.name not in self.feeds:
            names = self.feeds[patch.name] = self.slot_names(patch)
            for k in self.used(patch):
                self.say(f"{names[k]} = iter({self.stream(patch, k)})")

    def stream(self, patch: Patch, k: int) -> str:
        values = patch.streams[k]
        of_leaves = any(
            line.call.op == LEAF and _is_slot(dict(line.call.params)["digest"], k + 1)
            for line in patch.lines
        )
        if of_leaves:
            return f"[{', '.join(self._named(v) for v in values)}]"
        return _listed(items_of(Scanner(pattern(values, spell))), literal)

    def body(self, name: str, fed: bool = False) -> None:
        """The statements of a patch."""
        patch = self.patch = self.patches[name]
        names = self.feeds.get(name, [])
        self.slots = [Text(text) for text in names]
        if not fed:
            used = self.used(patch)
            values = [self.names.fresh(f"{names[k]}_now") for k in used]
            for k, value in zip(used, values, strict=True):
                self.say(f"{value} = next({names[k]})")
                self.slots[k] = Text(value)
        for line in patch.lines:
            self.add(line)
        self.slots = []

    patch: Patch


def _targets(call: Call, row: Op | None) -> tuple[int, ...]:
    return places_written(row, dict(call.params), call.inputs, Latest)


def _same(a: Any, b: Any) -> bool:
    return type(a) is Latest and a[:2] == b[:2]


def _is_slot(value: Any, index: int) -> bool:
    return type(value) is Slot and value.index == index


def _slots_in(value: Any) -> Iterator[Slot]:
    kind = type(value)
    if kind is Slot:
        yield value
    elif kind is tuple or kind is list:
        for item in value:
            yield from _slots_in(item)
    elif kind is slice:
        for item in (value.start, value.stop, value.step):
            yield from _slots_in(item)


def _listed(items: list[Any], write: Callable[[Any], str]) -> str:
    """A pattern as an expression."""
    if len(items) == 1 and type(items[0]) in (range, Floats):
        return _range(items[0])
    return _list(items, write)


def _list(items: list[Any], write: Callable[[Any], str]) -> str:
    return f"[{', '.join(_inner(item, write) for item in items)}]"


def _inner(item: Any, write: Callable[[Any], str]) -> str:
    if type(item) is Times:
        return f"*{item.rounds} * {_list(list(item.items), write)}"
    return f"*{_range(item)}" if type(item) in (range, Floats) else write(item)


def _range(one: range | Floats) -> str:
    if isinstance(one, Floats):
        return f"map(float, {_range(one.numbers)})"
    step = "" if one.step == 1 else f", {one.step}"
    if one.start == 0 and not step:
        return f"range({one.stop})"
    return f"range({one.start}, {one.stop}{step})"
