"""The text of a SystemDS lineage log as items, and nothing of what they mean.

One line is one item, inputs before users; the last line of a block is its root. The first block
is the trace, each further one a patch: the body of a loop along one path, for which the items of
kind D in the trace stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from lima.errors import LogError

MAX_LINE = 1 << 26
"""Characters in the longest line."""

MAX_STEPS = 1 << 22
"""Items of the longest trace, once every loop is written out."""

FIRST = re.compile(r"\([0-9]{1,19}\) \([LCID]\) ", re.ASCII)
"""How the first line of such a log begins."""

_LINE = re.compile(r"\(([0-9]{1,19})\) \(([LCID])\) (.+)", re.ASCII)
_CALL = re.compile(r"([^\s()]+)((?: \([0-9]{1,19}\))*)(?: \[[0-9]{1,19}\])?", re.ASCII)
_PATCH = re.compile(r"patch_(\S+_[^\s_]+_[0-9]{1,19})", re.ASCII)
_HOLE = re.compile(r"IN#([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Item:
    """One line: `name` is the opcode of an I, the patch of a D, else the text that follows."""

    line: int
    label: str
    kind: str
    name: str
    inputs: tuple[int, ...] = ()  # places in the block


@dataclass(frozen=True, slots=True)
class Block:
    """The items of the trace or of a patch, the root last."""

    items: list[Item] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Step:
    """An item of the trace with every loop written out; `inputs` are earlier steps.

    `given` is the name under which its value may be given. A line inside a patch has none, since
    it stands for many values; its root has the name of the D item that it stands for.
    """

    item: Item
    inputs: tuple[int, ...]
    given: str | None


@dataclass(frozen=True, slots=True)
class Text:
    """A whole log: the trace and the patches by name, such as `p_SB8_0`."""

    trace: Block
    patches: dict[str, Block]

    def steps(self) -> list[Step]:
        """The trace with the items of its patch in the place of every D item.

        Raises LogError where a patch is missing or gets too few inputs, and for more than
        `MAX_STEPS` items.
        """
        steps: list[Step] = []
        places: list[int] = []
        for item in self.trace.items:
            inputs = tuple([places[k] for k in item.inputs])
            if item.kind == "D":
                places.append(self._inline(item, inputs, steps))
            else:
                steps.append(Step(item, inputs, f"item_{item.label}"))
                places.append(len(steps) - 1)
        return steps

    def _inline(self, call: Item, given: tuple[int, ...], steps: list[Step]) -> int:
        """Append the items of a patch; the place of its root."""
        patch = self.patches.get(call.name)
        if patch is None:
            raise LogError(
                f"line {call.line}: there is no patch_{call.name} in the log: it was cut off"
            )
        if len(steps) + len(patch.items) > MAX_STEPS:
            raise LogError(
                f"line {call.line}: the loops written out make more than {MAX_STEPS} items"
            )
        places: list[int] = []
        last = len(patch.items) - 1
        for k, item in enumerate(patch.items):
            hole = _HOLE.fullmatch(item.name) if item.kind == "C" else None
            if hole is None:
                name = f"item_{call.label}" if k == last else None
                steps.append(Step(item, tuple([places[j] for j in item.inputs]), name))
                places.append(len(steps) - 1)
            elif int(hole[1]) < len(given):
                places.append(given[int(hole[1])])
            else:
                raise LogError(
                    f"line {item.line}: {item.name} is none of the {len(given)} inputs "
                    f"of ({call.label}) in line {call.line}"
                )
        return places[-1]


def parse(lines: Iterable[str]) -> Text:
    """The log that these lines spell, with or without line ends.

    Raises LogError, which gives the line number and what was expected, for malformed and
    duplicate items, for inputs that no line above has, and for a log that was cut off.
    """
    reader = _Reader()
    number = 1
    try:
        for line in lines:
            reader.feed(line.rstrip("\r\n"), number)
            number += 1
        reader.close()
    except LogError as error:
        raise LogError(f"line {number}: {error}") from None
    return Text(reader.trace, reader.patches)


class _Reader:
    """What has been read so far; `block` is the one that the next line belongs to, if any."""

    def __init__(self) -> None:
        self.trace = self.block = Block()
        self.patches: dict[str, Block] = {}
        self.between = False

    def feed(self, line: str, number: int) -> None:
        if len(line) > MAX_LINE:
            raise LogError(f"expected at most {MAX_LINE} characters, found {len(line)}")
        try:
            line.encode()
        except UnicodeEncodeError:
            raise LogError("expected text, found a lone surrogate") from None
        if not line:
            if not self.between:
                self.finish()
            self.between = True
        elif self.between:
            self.header(line)
            self.between = False
        else:
            self.item(line, number)

    def header(self, line: str) -> None:
        match = _PATCH.fullmatch(line)
        if match is None:
            raise LogError(f"expected a patch such as patch_p_SB8_0, found {line[:60]!r}")
        if match[1] in self.patches:
            raise LogError(f"expected every patch once, found patch_{match[1]} again")
        self.block = self.patches[match[1]] = Block()

    def item(self, line: str, number: int) -> None:
        match = _LINE.fullmatch(line)
        if match is None:
            raise LogError(
                f"expected an item such as '(2) (I) tsmm (0)' of kind L, C, I or D, "
                f"found {line[:60]!r}"
            )
        label, kind, text = match.groups()
        block = self.block
        if label in block.places:
            raise LogError(f"expected every item of a block once, found ({label}) again")
        name, inputs = self.call(kind, text) if kind in "ID" else (text, ())
        block.places[label] = len(block.items)
        block.items.append(Item(number, label, kind, name, inputs))

    def call(self, kind: str, text: str) -> tuple[str, tuple[int, ...]]:
        match = _CALL.fullmatch(text)
        if match is None:
            raise LogError(f"expected an opcode and its inputs, found {text[:60]!r}")
        name = match[1]
        if kind == "D":
            if self.block is not self.trace or not name.startswith("dedup_"):
                raise LogError("expected dedup_VARIABLE_BLOCK_PATH, in the trace only")
            name = name.removeprefix("dedup_")
        inputs = tuple([self.known(label) for label in re.findall(r"[0-9]+", match[2])])
        self.block.used.update(inputs)
        return name, inputs

    def known(self, label: str) -> int:
        place = self.block.places.get(label)
        if place is None:
            raise LogError(
                f"expected an item of a line above, found ({label}): a cycle, or a line is missing"
            )
        return place

    def finish(self) -> None:
        """Check a block that ended: the root uses, by way of others, every item of it."""
        block = self.block
        if not block.items:
            raise LogError("expected an item, found the end of the block")
        for place, item in enumerate(block.items[:-1]):
            if place not in block.used:
                raise LogError(
                    f"expected a line that uses ({item.label}) of line {item.line}, found the "
                    "end of the block: the log was cut off"
                )

    def close(self) -> None:
        if not self.between:
            self.finish()
