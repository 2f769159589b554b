"""The lineage log: the DAG written down as text, one line for one node (design decision D14).

`lines` writes and `parse` reads, both as streams. Reading builds nodes and executes nothing; it
knows the operations of the table and no other. The grammar is written down in
`docs/log-format.md`. Equal digests are written once, and numbers follow a walk from the outputs,
so equal lineage gives equal text however it came about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xxhash import xxh3_128

from lima.errors import LogError
from lima.graph import topological
from lima.literal import quoted, spell
from lima.node import LEAF, Node, Param
from lima.origins import Section, lines_by_digest, section
from lima.patches import Latest, Line, Program, program_of
from lima.reading import Lines, check_hex, operand
from lima.scan import Scanner, check_shape
from lima.streams import pattern
from lima.unfolding import BODY, Folded, Placed

VERSION = 1
"""Version of the grammar, in the first line of every log."""

LOOPS = 2
"""Version of the grammar of a log with patches."""

MAX_LINE = 1 << 26
"""Characters in the longest line."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*", re.ASCII)
_HEADER = re.compile(r"lima-log ([0-9]{1,9})", re.ASCII)
_FACT = re.compile(r"# ([a-z][a-z0-9_]*): (.*)", re.ASCII)
_END = re.compile(r'end nodes=([0-9]{1,15}) outputs=([0-9]{1,15}) checksum="([0-9a-f]{32})"')


@dataclass(frozen=True, slots=True)
class Check:
    """What a result was when it was logged: dtype, shape, digest of its elements in C order."""

    dtype: str
    shape: tuple[int, ...]
    content: str


@dataclass(frozen=True, slots=True)
class Log:
    """The content of a log: named nodes, checks of some results, facts of the environment.

    Of a log with patches that was read, `folded` is the program in the place of nodes.
    """

    outputs: dict[str, Node]
    checks: dict[str, Check] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    folded: Folded | None = None


def distinct(roots: Iterable[Node]) -> Iterator[Node]:
    """The ancestors of `roots` and the roots, inputs before users, each digest once."""
    seen: set[bytes] = set()
    for node in topological(roots):
        digest = node.digest
        if digest not in seen:
            seen.add(digest)
            yield node


# --------------------------------------------------------------------------- writing


def lines(log: Log, origins: bool = False) -> Iterator[str]:
    """The lines of `log`, each with its line end.

    `origins`: with a section that says at which lines of the user's program operations stood.

    Raises LogError for a value that no line can hold, NotCanonical for one without a spelling.

    >>> from lima.node import leaf
    >>> import numpy as np
    >>> print(*lines(Log({"x": leaf(np.zeros(3), "X")})), sep="", end="")  # doctest: +ELLIPSIS
    lima-log 1
    %1 = leaf("X", dtype="<f8", shape=(3,), layout="C", digest="...")
    x = %1
    end nodes=1 outputs=1 checksum="..."
    """
    checksum = xxh3_128()
    nodes = list(distinct(log.outputs.values()))
    program = program_of(nodes, log.outputs)
    for line in _body(log, nodes, program):
        if len(line) > MAX_LINE:
            raise LogError(f"a line of {len(line)} characters; the longest may have {MAX_LINE}")
        checksum.update(line.encode())
        yield line
    count = f"nodes={len(nodes)} outputs={len(log.outputs)}"
    yield f'end {count} checksum="{checksum.hexdigest()}"\n'
    if origins:
        yield from section(nodes, program, lines_by_digest(topological(log.outputs.values())))


def _body(log: Log, nodes: list[Node], program: Program | None) -> Iterator[str]:
    yield f"lima-log {VERSION if program is None else LOOPS}\n"
    for key, value in log.environment.items():
        yield f"# {key}: {' '.join(value.split())}\n"
    if program is None:
        numbers: dict[bytes, int] = {}
        for number, node in enumerate(nodes, 1):
            yield f"%{number} = {node_text(node, numbers)}\n"
            numbers[node.digest] = number
        results = {name: f"%{numbers[node.digest]}" for name, node in log.outputs.items()}
    else:
        yield from _program(program)
        results = {name: repr(place) for name, place in program.outputs.items()}
    for name, result in results.items():
        plain = _NAME.fullmatch(name) and name != "end"
        text = f"{name if plain else quoted(name)} = {result}"
        check = log.checks.get(name)
        if check is not None:
            text += f', dtype={quoted(check.dtype)}, shape={check.shape}, content="{check.content}"'
        yield text + "\n"


def node_text(node: Node, numbers: Mapping[bytes, int]) -> str:
    """The call that a line of the log records, given the numbers of the input nodes."""
    spec = node.spec
    if spec.op == LEAF:
        return _leaf_text(node)
    inputs = [f"%{numbers[i.digest]}" if type(i) is Node else spell(i) for i in node.inputs]
    return _call_text(spec.op, spec.version, spec.npos, inputs, spec.params)


def _call_text(
    op: str,
    version: int,
    npos: int | None,
    parts: Sequence[str],
    params: tuple[tuple[str, Param], ...],
) -> str:
    npos = len(parts) if npos is None else npos
    text = ", ".join(parts[:npos])
    if npos < len(parts):
        text = f"{text} | {', '.join(parts[npos:])}".lstrip()
    for key, value in params:
        text += f"{', ' if text else ''}{key}={spell(value)}"
    return f"{op if version == 1 else f'{op}#{version}'}({text})"


def _leaf_text(node: Node) -> str:
    parts = [] if node.name is None else [quoted(node.name)]
    parts += [f"{key}={spell(value)}" for key, value in node.spec.params]
    return f'{LEAF}({", ".join(parts)}, digest="{node.digest.hex()}")'


def _program(program: Program) -> Iterator[str]:
    """The lines of a lineage that repeats."""
    for block in program.blocks:
        if isinstance(block, Line):
            yield _line_text(block)
            continue
        for patch in block.new:
            yield f"patch {patch.name}\n"
            yield from map(_line_text, patch.lines)
            for k, stream in enumerate(patch.streams, 1):
                yield f"${k} = {pattern(stream, spell)}\n"
        yield f"run {pattern(block.names, str)}\n"


def _line_text(line: Line) -> str:
    op, version, npos, inputs, params = line.call
    parts = [repr(i) if type(i) is Latest else spell(i) for i in inputs]
    return f"%{line.number} = {_call_text(op, version, npos, parts, params)}\n"


# --------------------------------------------------------------------------- reading


def parse(text: Iterable[str]) -> Log:
    """The log that these lines spell, with or without line ends.

    Raises LogError, which gives the line number and what was expected, for anything that is no
    complete, unchanged log: unknown versions and operations, nodes out of order, truncation.

    >>> parse(["lima-log 3"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    lima.errors.LogError: line 1: expected 'lima-log 1' or 2, found version 3 (made by ...
    """
    reader = _Reader()
    try:
        for line in text:
            reader.number += 1
            reader.feed(line.rstrip("\r\n"))
        reader.number += 1
        reader.close()
    except Placed as error:
        raise LogError(str(error)) from None
    except LogError as error:
        raise LogError(f"line {max(reader.number, 1)}: {error}") from None
    return Log(reader.outputs, reader.checks, reader.environment, reader.folded)


class _Reader(Lines):
    """What has been read so far; `step` reads the next line.

    Of a log with patches the lines of its program are collected, and run when the last was read.
    """

    def __init__(self) -> None:
        super().__init__([])
        self.number = 0
        self.program: list[tuple[int, str]] | None = None
        self.places: dict[str, Latest] = {}
        self.folded: Folded | None = None
        self.outputs: dict[str, Node] = {}
        self.checks: dict[str, Check] = {}
        self.environment: dict[str, str] = {}
        self.checksum = xxh3_128()
        self.section: Section | None = None
        self.step = self.header

    def feed(self, line: str) -> None:
        if len(line) > MAX_LINE:
            raise LogError(f"expected at most {MAX_LINE} characters, found {len(line)}")
        try:
            raw = line.encode()
        except UnicodeEncodeError:
            raise LogError("expected text, found a lone surrogate") from None
        if line.startswith("end ") and self.step not in (self.header, self.after, self.origin):
            self.end(line)
            return
        self.checksum.update(raw + b"\n")
        self.step(line)

    def header(self, line: str) -> None:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise LogError(f"expected 'lima-log {VERSION}', found {line[:40]!r}")
        version = int(match[1])
        if version not in (VERSION, LOOPS):
            newer = f"version {version} (made by a newer lima?)"
            raise LogError(f"expected 'lima-log {VERSION}' or {LOOPS}, found {newer}")
        if version == LOOPS:
            self.program = []
        self.step = self.fact

    def fact(self, line: str) -> None:
        match = _FACT.fullmatch(line)
        if match is not None:
            if match[1] in self.environment:
                raise LogError(f"expected every fact once, found {match[1]!r} again")
            self.environment[match[1]] = match[2]
            return
        self.step = self.node
        self.node(line)

    def node(self, line: str) -> None:
        if self.program is not None and BODY.match(line):
            self.program.append((self.number, line))
        elif self.program is None and line.startswith("%"):
            scanner = Scanner(line)
            found = scanner.next("node", "a node such as %1")
            if found != f"%{len(self.nodes) + 1}":
                raise LogError(f"expected node %{len(self.nodes) + 1}, found {found}")
            scanner.expect("=")
            self.nodes.append(self.call(scanner))
        else:
            self.step = self.output
            self.output(line)

    def output(self, line: str) -> None:
        scanner = Scanner(line)
        kind = scanner.kind
        name = scanner.term() if kind == "string" else scanner.next("name", "a node or an output")
        if kind == "name" and not _NAME.fullmatch(name):
            raise LogError(f"expected the name of an output, found {name!r}")
        if name in self.outputs or name in self.places:
            raise LogError(f"expected every output once, found {name!r} again")
        scanner.expect("=")
        if self.program is None:
            self.outputs[name] = self.known(scanner)
        else:
            self.places[name] = operand(scanner)
        facts = {}
        while scanner.took(","):
            key = scanner.keyword()
            facts[key] = scanner.value()
        scanner.end()
        if facts:
            self.checks[name] = _check(facts)

    def end(self, line: str) -> None:
        match = _END.fullmatch(line)
        if match is None:
            raise LogError(
                f"expected 'end nodes=... outputs=... checksum=...', found {line[:80]!r}"
            )
        counts = (len(self.nodes), len(self.outputs))
        if self.program is not None:
            self.folded = Folded(self.program, self.places)
            counts = (self.folded.count, len(self.places))
        if (int(match[1]), int(match[2])) != counts:
            raise LogError(f"expected nodes={counts[0]} outputs={counts[1]}, found {line[:80]!r}")
        if match[3] != self.checksum.hexdigest():
            raise LogError("the checksum does not match: the lines above were changed")
        self.step = self.after

    def after(self, line: str) -> None:
        if self.section is not None or not Section.begins(line):
            raise LogError(f"expected nothing after the end line, found {line[:40]!r}")
        runs = [1] * len(self.nodes) if self.folded is None else self.folded.runs
        self.section = Section(runs)
        self.step = self.origin
        self.origin(line)

    def origin(self, line: str) -> None:
        """A line of the section that says where operations stood."""
        assert self.section is not None
        self.section.feed(line)
        if self.section.done:
            self.step = self.after

    def close(self) -> None:
        if self.step != self.after:
            raise LogError("expected an end line, found the end of the log: it was cut off")
        if self.section is None:
            return
        if self.folded is not None:
            self.folded.at = self.section.at
            return
        for number, place in self.section.at.items():
            self.nodes[number - 1].place = place  # type: ignore[assignment]


def _check(facts: dict[Any, Any]) -> Check:
    if set(facts) != {"dtype", "shape", "content"} or type(facts["dtype"]) is not str:
        raise LogError(f"expected dtype, shape and content, found {', '.join(map(str, facts))}")
    check_shape(facts["shape"])
    check_hex("content", facts["content"])
    return Check(**facts)
