"""The lineage log: the DAG written down as text, one line for one node (design decision D14).

`lines` writes and `parse` reads, both as streams. Reading builds nodes and executes nothing; it
knows the operations of the table and no other. The grammar is written down in
`docs/log-format.md`. Equal digests are written once, and numbers follow a walk from the outputs,
so equal lineage gives equal text however it came about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from xxhash import xxh3_128

from lima.errors import LogError
from lima.literal import quoted, spell
from lima.node import LEAF, OUTPUT, Node, Param, Ref, Spec, leaf_with, refs_in, topological
from lima.ops.of_scipy import row_of
from lima.scan import Scanner, check_layout, check_shape

VERSION = 1
"""Version of the grammar, in the first line of every log."""

MAX_LINE = 1 << 26
"""Characters in the longest line."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{32}", re.ASCII)
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
    """The content of a log: named nodes, checks of some results, facts of the environment."""

    outputs: dict[str, Node]
    checks: dict[str, Check] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def distinct(roots: Iterable[Node]) -> Iterator[Node]:
    """The ancestors of `roots` and the roots, inputs before users, each digest once."""
    seen: set[bytes] = set()
    for node in topological(roots):
        digest = node.digest
        if digest not in seen:
            seen.add(digest)
            yield node


# --------------------------------------------------------------------------- writing


def lines(log: Log) -> Iterator[str]:
    """The lines of `log`, each with its line end.

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
    numbers: dict[bytes, int] = {}
    for line in _body(log, numbers):
        if len(line) > MAX_LINE:
            raise LogError(f"a line of {len(line)} characters; the longest may have {MAX_LINE}")
        checksum.update(line.encode())
        yield line
    count = f"nodes={len(numbers)} outputs={len(log.outputs)}"
    yield f'end {count} checksum="{checksum.hexdigest()}"\n'


def _body(log: Log, numbers: dict[bytes, int]) -> Iterator[str]:
    yield f"lima-log {VERSION}\n"
    for key, value in log.environment.items():
        yield f"# {key}: {' '.join(value.split())}\n"
    for node in topological(log.outputs.values()):
        if node.digest not in numbers:
            text = node_text(node, numbers)
            numbers[node.digest] = len(numbers) + 1
            yield f"%{len(numbers)} = {text}\n"
    for name, node in log.outputs.items():
        plain = _NAME.fullmatch(name) and name != "end"
        text = f"{name if plain else quoted(name)} = %{numbers[node.digest]}"
        check = log.checks.get(name)
        if check is not None:
            text += f', dtype={quoted(check.dtype)}, shape={check.shape}, content="{check.content}"'
        yield text + "\n"


def node_text(node: Node, numbers: Mapping[bytes, int]) -> str:
    """The call that a line of the log records, given the numbers of the input nodes."""
    spec = node.spec
    if spec.op == LEAF:
        return _leaf_text(node)
    parts = [f"%{numbers[i.digest]}" if type(i) is Node else spell(i) for i in node.inputs]
    npos = len(parts) if spec.npos is None else spec.npos
    text = ", ".join(parts[:npos])
    if npos < len(parts):
        text = f"{text} | {', '.join(parts[npos:])}".lstrip()
    for key, value in spec.params:
        text += f"{', ' if text else ''}{key}={spell(value)}"
    label = spec.op if spec.version == 1 else f"{spec.op}#{spec.version}"
    return f"{label}({text})"


def _leaf_text(node: Node) -> str:
    parts = [] if node.name is None else [quoted(node.name)]
    parts += [f"{key}={spell(value)}" for key, value in node.spec.params]
    return f'{LEAF}({", ".join(parts)}, digest="{node.digest.hex()}")'


# --------------------------------------------------------------------------- reading


def parse(text: Iterable[str]) -> Log:
    """The log that these lines spell, with or without line ends.

    Raises LogError, which gives the line number and what was expected, for anything that is no
    complete, unchanged log: unknown versions and operations, nodes out of order, truncation.

    >>> parse(["lima-log 2"])
    Traceback (most recent call last):
    lima.errors.LogError: line 1: expected 'lima-log 1', found version 2 (made by a newer lima?)
    """
    reader = _Reader()
    number = 1
    try:
        for line in text:
            reader.feed(line.rstrip("\r\n"))
            number += 1
        reader.close()
    except LogError as error:
        raise LogError(f"line {number}: {error}") from None
    return Log(reader.outputs, reader.checks, reader.environment)


class Lines:
    """Reads calls one by one; `nodes` are those that have been read."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    def one(self, text: str) -> Node:
        """The node that `node_text` wrote, its inputs numbered as in `nodes`."""
        node = self.call(Scanner(text))
        self.nodes.append(node)
        return node

    def call(self, scanner: Scanner) -> Node:
        op, _, version = scanner.next("name", "the name of an operation").partition("#")
        scanner.expect("(")
        inputs, npos, params = self.arguments(scanner)
        scanner.end()
        return make_node(op, int(version or 1), inputs, npos, params)

    def arguments(self, scanner: Scanner) -> tuple[list[Any], int, list[tuple[str, Param]]]:
        """Inputs, how many of them are positional, and parameters, up to the closing bracket."""
        inputs: list[Any] = []
        params: list[tuple[str, Param]] = []
        if scanner.took(")"):
            return inputs, 0, params
        npos = 0 if scanner.took("|") else None
        while True:
            key = scanner.keyword()
            if key is not None:
                params.append((key, scanner.value()))
            elif params:
                raise LogError(f"expected a parameter such as axis=0, found {scanner.here()}")
            else:
                inputs.append(self.argument(scanner))
            if scanner.took(")"):
                return inputs, len(inputs) if npos is None else npos, params
            if npos is None and not params and scanner.took("|"):
                npos = len(inputs)
            else:
                scanner.expect(",")

    def argument(self, scanner: Scanner) -> Any:
        return self.known(scanner) if scanner.kind == "node" else scanner.value()

    def known(self, scanner: Scanner) -> Node:
        text = scanner.next("node", "a node such as %1")
        number = int(text[1:])
        if not 1 <= number <= len(self.nodes):
            raise LogError(f"expected a node of a line above, found {text}")
        return self.nodes[number - 1]


class _Reader(Lines):
    """What has been read so far; `step` reads the next line."""

    def __init__(self) -> None:
        super().__init__([])
        self.outputs: dict[str, Node] = {}
        self.checks: dict[str, Check] = {}
        self.environment: dict[str, str] = {}
        self.checksum = xxh3_128()
        self.step = self.header

    def feed(self, line: str) -> None:
        if len(line) > MAX_LINE:
            raise LogError(f"expected at most {MAX_LINE} characters, found {len(line)}")
        try:
            raw = line.encode()
        except UnicodeEncodeError:
            raise LogError("expected text, found a lone surrogate") from None
        if line.startswith("end ") and self.step not in (self.header, self.after):
            self.end(line)
            return
        self.checksum.update(raw + b"\n")
        self.step(line)

    def header(self, line: str) -> None:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise LogError(f"expected 'lima-log {VERSION}', found {line[:40]!r}")
        if int(match[1]) != VERSION:
            newer = f"version {int(match[1])} (made by a newer lima?)"
            raise LogError(f"expected 'lima-log {VERSION}', found {newer}")
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
        if not line.startswith("%"):
            self.step = self.output
            self.output(line)
            return
        scanner = Scanner(line)
        found = scanner.next("node", "a node such as %1")
        if found != f"%{len(self.nodes) + 1}":
            raise LogError(f"expected node %{len(self.nodes) + 1}, found {found}")
        scanner.expect("=")
        self.nodes.append(self.call(scanner))

    def output(self, line: str) -> None:
        scanner = Scanner(line)
        kind = scanner.kind
        name = scanner.term() if kind == "string" else scanner.next("name", "a node or an output")
        if kind == "name" and not _NAME.fullmatch(name):
            raise LogError(f"expected the name of an output, found {name!r}")
        if name in self.outputs:
            raise LogError(f"expected every output once, found {name!r} again")
        scanner.expect("=")
        self.outputs[name] = self.known(scanner)
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
        if (int(match[1]), int(match[2])) != counts:
            raise LogError(f"expected nodes={counts[0]} outputs={counts[1]}, found {line[:80]!r}")
        if match[3] != self.checksum.hexdigest():
            raise LogError("the checksum does not match: the lines above were changed")
        self.step = self.after

    def after(self, line: str) -> None:
        raise LogError(f"expected nothing after the end line, found {line[:40]!r}")

    def close(self) -> None:
        if self.step != self.after:
            raise LogError("expected an end line, found the end of the log: it was cut off")


def _check(facts: dict[Any, Any]) -> Check:
    if set(facts) != {"dtype", "shape", "content"} or type(facts["dtype"]) is not str:
        raise LogError(f"expected dtype, shape and content, found {', '.join(map(str, facts))}")
    check_shape(facts["shape"])
    _check_hex("content", facts["content"])
    return Check(**facts)


def _check_hex(name: str, value: Any) -> None:
    if type(value) is not str or not _HEX.fullmatch(value):
        raise LogError(f"expected {name} as 32 hexadecimal digits, found {value!r:.80}")


# --------------------------------------------------------------------------- nodes


def make_node(
    op: str, version: int, inputs: list[Any], npos: int, params: list[tuple[str, Param]]
) -> Node:
    """A node of a known operation with parameters that the operation has; LogError otherwise."""
    names = [key for key, _ in params]
    if len(set(names)) != len(names):
        raise LogError(f"expected every parameter once, found {', '.join(names)}")
    for _, value in params:
        for ref in refs_in(value):
            if ref.index >= len(inputs):
                raise LogError(f"{ref!r} refers to none of the {len(inputs)} inputs")
    if op == LEAF:
        return _make_leaf(version, inputs, dict(params))
    if op == OUTPUT:
        return _make_output(version, inputs, params)
    row = row_of(op)
    if row is None:
        raise LogError(f"unknown operation {op!r}: this lima has no row of that name")
    if not 1 <= version <= row.version:
        raise LogError(f"expected {op!r} up to version {row.version}, found version {version}")
    unknown = [name for name in names if name not in row.params and name != "alias"]
    if unknown:
        raise LogError(f"{op!r} has no parameter {unknown[0]!r}")
    if not params and npos == len(inputs) and version == row.version:
        return Node(row.spec, tuple(inputs))
    out = dict(params).get("out")
    if out is not None and type(out) is not Ref:
        raise LogError(f"expected out= to name an input, found {out!r:.80}")
    return Node(Spec(row.name, tuple(params), npos, version), tuple(inputs))


def _make_leaf(version: int, inputs: list[Any], params: dict[str, Param]) -> Node:
    if list(params) != ["dtype", "shape", "layout", "digest"] or version != 1:
        raise LogError("expected leaf(name, dtype=, shape=, layout=, digest=)")
    if len(inputs) > 1 or any(type(name) is not str for name in inputs):
        raise LogError(f"expected at most a name as text before dtype=, found {inputs!r:.80}")
    if type(params["dtype"]) is not str:
        raise LogError(f"expected dtype as text, found {params['dtype']!r:.80}")
    check_shape(params["shape"])
    if params["layout"] != "scalar":
        check_layout(params["shape"], params["layout"])
    elif params["shape"] != ():
        raise LogError(f"expected shape=() of a scalar, found {params['shape']!r:.80}")
    _check_hex("digest", params["digest"])
    digest = bytes.fromhex(params.pop("digest"))
    return leaf_with(digest, **params, name=inputs[0] if inputs else None)


def _make_output(version: int, inputs: list[Any], params: list[tuple[str, Param]]) -> Node:
    index = params[0][1] if len(params) == 1 and params[0][0] == "index" else None
    if type(index) is not int or not 0 <= index < 1 << 16 or version != 1:
        raise LogError("expected output(%n, index=k)")
    if len(inputs) != 1 or type(inputs[0]) is not Node or inputs[0].spec.op in (LEAF, OUTPUT):
        raise LogError("expected output() of a node with several results")
    return Node(Spec(OUTPUT, (("index", index),)), tuple(inputs))
