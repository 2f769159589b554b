"""The statements of a program with loops, from the lines and patches of a lineage.

A line is a statement, a patch the body of a loop (or a branch of one, where several patches run in
turn), a stream what a loop goes through. What writes an array or a generator gets a copy, unless
nothing else reads what it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from lima.errors import ReplayError
from lima.literal import spell
from lima.node import LEAF, OUTPUT, Node, Ref, Spec
from lima.op import OPS, Kind, Op
from lima.ops.of_scipy import row_of
from lima.patches import Latest, Line, Patch, Program, Run
from lima.reading import items_of
from lima.scan import Scanner
from lima.spelled import Text, call_text, literal, operator_text
from lima.streams import Floats, Slot, Times, pattern
from lima.variables import Names, Variables

_ARRAY = Node(Spec("array"))
"""Stands for an operand where only its type is looked at."""


class Looped(Variables):
    """The statements of a program, indented as they stand in its function."""

    def __init__(self, program: Program, outputs: Mapping[str, Node], names: Names) -> None:
        super().__init__(program, outputs, names)
        self.feeds: dict[str, list[str]] = {}
        self.own = {key for line in self.lines.values() for key in self._written(line)}
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
        row = row_of(call.op)
        if row is None:
            raise ReplayError(f"{call.op!r} is no operation that can be written in Python")
        if row.into is not None or row.threads_state is not None:
            self.write(line, row)
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
        row = row_of(self.lines[number].call.op)
        return row is not None and (row.into is not None or row.threads_state is not None)

    def write(self, line: Line, row: Op) -> None:
        """A call that writes its first operand, an array or a generator."""
        call, target = line.call, line.call.inputs[0]
        draws, split = row.threads_state is not None, row.wrap is not None
        owned = type(target) is Latest and self.key(target.lines) in self.own
        if owned or (draws and self._spent(target)):
            name = str(self.text(target))
        else:
            name = self.names.fresh("rng" if draws else "a")
            made = f"copy.deepcopy({self.text(target)})" if draws else self.copy_of(target)
            self.say(f"{name} = {made}")
        inputs = [Text(name), *(self.text(item) for item in call.inputs[1:])]
        params = self.params(line, inputs)
        if params.pop("path", None) is not None:
            for op, given in dict(call.params)["path"]:
                texts = {key: self.param(value, inputs) for key, value in given}
                inputs[0] = Text(call_text(OPS[op], [inputs[0]], texts))
        text = call_text(row, inputs[: call.npos], params)
        if split:
            self.hold(line.number, f"({text}, {name})" if draws else f"({name}, {text})")
            return
        self.say(text)
        self.hold(line.number, name)

    def _written(self, line: Line) -> Iterator[tuple[int, ...]]:
        """The lines whose array a line may write in place, because nothing else reads it."""
        row = row_of(line.call.op)
        if row is None or row.into is None or row.wrap is not None:
            return
        target = line.call.inputs[0]
        if type(target) is not Latest or not target.once or target.back != 0:
            return
        key = self.key(target.lines)
        rows = [row_of(self.lines[k].call.op) for k in key]
        views = any(one is not None and one.kind is Kind.VIEW for one in rows)
        others = [found for k in key for found in self.readers[k] if found[0] != line.number]
        if self.back[key] == 0 and not others and not views and not self.block[line.number]:
            yield key

    def private(self, number: int) -> bool:
        """Whether a line gives an array that no other value shares memory with."""
        call = self.lines[number].call
        row = row_of(call.op)
        if row is None or "out" in dict(call.params):
            return False
        if row.into is not None:
            return row.wrap is None
        return (
            row.kernel is np.copy
            or row.aliasing
            or isinstance(getattr(row.kernel, "__self__", row.kernel), np.ufunc)
        )

    def _spent(self, operand: Any) -> bool:
        """Whether nothing else reads what `operand` is, so that it may be written."""
        return (
            type(operand) is Latest
            and operand.once
            and operand.back == 0
            and self.back[operand.lines] == 0
            and all(len(self.readers[line]) == 1 for line in operand.lines)
        )

    def expression(self, line: Line, row: Op) -> Text:
        call = line.call
        inputs = [self.text(item) for item in call.inputs]
        if row.aliasing and not dict(call.params).get("alias"):
            self.keep_apart(call.inputs, inputs)
        params = self.params(line, inputs)
        out = dict(call.params).get("out")
        if out is not None:
            params["out"] = Text(self.copy_of(call.inputs[out.index]))
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

    def params(self, line: Line, inputs: list[Text]) -> dict[str, Text]:
        named = {k: v for k, v in line.call.params if k != "alias"}
        return {
            key: Text("") if key == "path" else self.param(value, inputs)
            for key, value in named.items()
        }

    def param(self, value: Any, inputs: list[Text]) -> Text:
        def refer(place: Any) -> Text:
            return inputs[place.index] if type(place) is Ref else self.slots[place.index - 1]

        return literal(value, refer)

    def text(self, item: Any) -> Text:
        return self.operand(item) if type(item) is Latest else self.param(item, [])

    def keep_apart(self, items: tuple[Any, ...], inputs: list[Text]) -> None:
        """Copy operands that may share memory with an operand before them."""
        seen: set[int] = set()
        for k, item in enumerate(items):
            if type(item) is Latest:
                homes = self.homes(item)
                if homes & seen:
                    inputs[k] = Text(self.copy_of(item))
                seen |= homes

    def homes(self, operand: Latest) -> set[int]:
        """The lines whose memory an operand may be in."""
        found: set[int] = set()
        todo, seen = list(operand.lines), set(operand.lines)
        while todo:
            line = self.lines[todo.pop()]
            row = row_of(line.call.op)
            first = line.call.inputs[0] if line.call.inputs else None
            if row is None or row.kind is not Kind.VIEW or type(first) is not Latest:
                found.add(line.number)
                continue
            todo += [m for m in first.lines if m not in seen]
            seen |= set(first.lines)
        return found

    def copy_of(self, item: Any) -> str:
        """A copy in the same memory order, gaps included."""
        gaps = type(item) is Latest and any(map(self.has_gaps, item.lines))
        return f"{'clone' if gaps else 'np.copy'}({self.text(item)})"

    def has_gaps(self, number: int) -> bool:
        """Whether there may be memory between the elements of a value."""
        call = self.lines[number].call
        row = row_of(call.op)
        if call.op == LEAF:
            return type(dict(call.params)["layout"]) is tuple
        if row is None or row.kind is Kind.VIEW or row.into is not None:
            return True
        return any(key == "out" for key, _ in call.params)

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
            items = [*line.call.inputs, *(value for _, value in line.call.params)]
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
                if type(value) is Slot and line.call.op != LEAF:
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
