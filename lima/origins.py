"""The last section of a log: where in the user's program its operations stood.

It is no part of the lineage. It comes after the end line, so that a log is the same with it and
without it up to there, and has an end line of its own. A line of the program has a short name; each
line of the log (`%3`) is said to stand at one of them, or, in a loop, at a pattern of them, one for
each time that it runs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from xxhash import xxh3_128

from lima.errors import LogError
from lima.literal import quoted
from lima.node import Node
from lima.patches import Program
from lima.places import Line, line_of, noted
from lima.reading import items_of
from lima.scan import Scanner
from lima.streams import length, pattern

VERSION = 1
"""Version of the section, in its first line."""

NOWHERE = "l0"
"""Stands for no line."""

MAX_TEXT = 4096
"""Characters of the longest name of a file or function."""

_HEADER = re.compile(r"lines ([0-9]{1,9})", re.ASCII)
_LINE = re.compile(r"l([1-9][0-9]{0,8}) = ", re.ASCII)
_NODES = re.compile(r"%([0-9]{1,12}(?:/[0-9]{1,12})*) = ", re.ASCII)
_END = re.compile(r'end lines=([0-9]{1,15}) checksum="([0-9a-f]{32})"', re.ASCII)


# --------------------------------------------------------------------------- writing


def lines_by_digest(nodes: Iterable[Node]) -> dict[bytes, Line]:
    """The line of each node that has one.

    Of several nodes that are one in the log, the first line in the order of files and numbers:
    which of them ran first does not matter.
    """
    known: dict[int, Line | None] = {0: None}
    found: dict[bytes, Line] = {}
    for node in nodes:
        place = node.place
        if place not in known:
            known[place] = line_of(place)
        line = known[place]
        if line is not None:
            other = found.get(node.digest)
            found[node.digest] = line if other is None else min(line, other)
    return found


def section(
    nodes: Sequence[Node], program: Program | None, lines: Mapping[bytes, Line]
) -> Iterator[str]:
    """The text of the section, for distinct nodes in the order of the log; nothing for no lines."""
    if not lines:
        return
    checksum = xxh3_128()
    ordered = sorted(set(lines.values()))
    for text in itertools.chain(_header(ordered), _body(nodes, program, lines, ordered)):
        checksum.update(text.encode())
        yield text
    yield f'end lines={len(ordered)} checksum="{checksum.hexdigest()}"\n'


def _header(ordered: Sequence[Line]) -> Iterator[str]:
    yield f"lines {VERSION}\n"
    for k, line in enumerate(ordered, 1):
        file, function = map(printable, (line.file, line.function))
        yield f"l{k} = {quoted(file)}, {max(line.line, 0)}, {quoted(function)}\n"


def printable(text: str) -> str:
    """A name of a file or function with what does not print escaped, at most `MAX_TEXT` long."""
    if not text.isprintable():
        text = text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return text[-MAX_TEXT:]


def _body(
    nodes: Sequence[Node],
    program: Program | None,
    lines: Mapping[bytes, Line],
    ordered: Sequence[Line],
) -> Iterator[str]:
    names = {line: f"l{k}" for k, line in enumerate(ordered, 1)}
    names_of: dict[int, list[str]] = {}
    numbers = itertools.count(1) if program is None else program.lines.tolist()
    for number, node in zip(numbers, nodes, strict=False):
        line = lines.get(node.digest)
        names_of.setdefault(number, []).append(NOWHERE if line is None else names[line])
    alike: dict[str, list[int]] = {}
    for number, found in sorted(names_of.items()):
        same = all(name == found[0] for name in found)
        alike.setdefault(found[0] if same else pattern(found, str), []).append(number)
    alike.pop(NOWHERE, None)
    for text, places in alike.items():
        yield f"%{'/'.join(map(str, places))} = {text}\n"


# --------------------------------------------------------------------------- reading


class Section:
    """Reads the section line by line; `at` has what it says.

    runs  how often each line of the log runs, from line 1 on
    at    by the number of a line of the log the number of the user's line (`places.noted`), or the
          items of a pattern of such numbers
    """

    def __init__(self, runs: Sequence[int]) -> None:
        self.runs = runs
        self.at: dict[int, int | list[Any]] = {}
        self.names: dict[str, int] = {NOWHERE: 0}
        self.checksum = xxh3_128()
        self.begun = self.done = False

    @staticmethod
    def begins(line: str) -> bool:
        """Whether the section begins here; LogError for one of a version that is not known."""
        match = _HEADER.fullmatch(line)
        if match is not None and int(match[1]) != VERSION:
            newer = f"version {match[1]} (made by a newer lima?)"
            raise LogError(f"expected 'lines {VERSION}', found {newer}")
        return match is not None

    def feed(self, line: str) -> None:
        if line.startswith("end "):
            self.end(line)
            return
        self.checksum.update(line.encode() + b"\n")
        match = _LINE.match(line)
        if match is not None:
            self.line(line, int(match[1]))
            return
        match = _NODES.match(line)
        if match is not None:
            self.nodes(line, [int(number) for number in match[1].split("/")])
        elif self.begun or not Section.begins(line):
            raise LogError(f"expected a line of the program or an end line, found {line[:40]!r}")
        self.begun = True

    def line(self, text: str, number: int) -> None:
        """Read `l1 = "model.py", 12, "fit"`."""
        if number != len(self.names):
            raise LogError(f"expected l{len(self.names)}, found l{number}")
        if self.at:
            raise LogError("expected the lines of the program before what stands there")
        scanner = Scanner(text[text.index("=") + 1 :])
        found = [scanner.value()]
        while scanner.took(","):
            found.append(scanner.value())
        scanner.end()
        if [type(item) for item in found] != [str, int, str] or not 0 <= found[1] < 1 << 31:
            raise LogError(f'expected "file", line, "function", found {text[:80]!r}')
        if any(len(item) > MAX_TEXT or not item.isprintable() for item in (found[0], found[2])):
            raise LogError(f"expected at most {MAX_TEXT} characters that print")
        self.names[f"l{number}"] = noted(Line(*found))

    def nodes(self, text: str, numbers: list[int]) -> None:
        """Read `%3/10 = l1`, or `%5 = times(50, l1), l2`."""
        if numbers != sorted(set(numbers)):
            raise LogError("expected the numbers of lines in order, each once")
        for number in numbers:
            if not 1 <= number <= len(self.runs):
                raise LogError(f"expected a line of the log, found %{number}")
            if number in self.at:
                raise LogError(f"expected every line once, found %{number} again")
        scanner = Scanner(text[text.index("=") + 1 :])
        items = items_of(scanner, self.names, "a line of the program such as l1")
        scanner.end()
        if items[0] in self.names and len(items) == 1:
            self.at.update(dict.fromkeys(numbers, self.names[items[0]]))
            return
        for number in numbers:
            runs = self.runs[number - 1]
            if length(items) != runs:
                raise LogError(f"%{number} runs {runs} times, found {length(items)} lines for it")
        made = [_numbered(item, self.names) for item in items]
        self.at.update(dict.fromkeys(numbers, made))

    def end(self, line: str) -> None:
        match = _END.fullmatch(line)
        if match is None:
            raise LogError(f"expected 'end lines=... checksum=...', found {line[:80]!r}")
        if int(match[1]) != len(self.names) - 1:
            raise LogError(f"expected lines={len(self.names) - 1}, found {line[:80]!r}")
        if match[2] != self.checksum.hexdigest():
            raise LogError("the checksum does not match: the lines above were changed")
        self.done = True


def _numbered(item: Any, names: Mapping[str, int]) -> Any:
    """An item of a pattern with numbers in the place of names."""
    if type(item) is str:
        return names[item]
    return item._replace(items=tuple([_numbered(one, names) for one in item.items]))
