"""Reading the calls of a log: one line, one node of a known operation.

Nothing is executed: the operations are those of lima's table, and the rest are constants
(`lima.scan`).
"""

from __future__ import annotations

import re
from typing import Any

from lima.errors import LogError
from lima.node import LEAF, OUTPUT, Node, Param, Ref, Spec, leaf_with, refs_in
from lima.ops.of_scipy import row_of
from lima.patches import Latest
from lima.scan import Scanner, check_layout, check_shape
from lima.streams import Floats, Slot, Times

_HEX = re.compile(r"[0-9a-f]{32}", re.ASCII)


RENAMED = {"empty": "zeros", "empty_like": "zeros_like"}
"""Operations of older logs, and what they are called now."""


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
        return make_node(*self.parts(scanner))

    def parts(self, scanner: Scanner) -> tuple[str, int, list[Any], int, list[tuple[str, Param]]]:
        """What a call is made of, as `make_node` takes it."""
        op, _, version = scanner.next("name", "the name of an operation").partition("#")
        op = RENAMED.get(op, op)
        scanner.expect("(")
        inputs, npos, params = self.arguments(scanner)
        scanner.end()
        return op, int(version or 1), inputs, npos, params

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

    def known(self, scanner: Scanner) -> Any:
        text = scanner.next("node", "a node such as %1")
        number = int(text[1:]) if text[1:].isdigit() else 0
        if not 1 <= number <= len(self.nodes):
            raise LogError(f"expected a node of a line above, found {text}")
        return self.nodes[number - 1]


def operand(scanner: Scanner) -> Latest:
    """Read `%4/7~1`."""
    text = scanner.next("node", "a node such as %1")[1:]
    names, _, back = text.partition("~")
    lines = tuple(map(int, names.split("/")))
    if list(lines) != sorted(set(lines)) or lines[0] < 1:
        raise LogError(f"expected the numbers of lines in order, each once, found %{text}")
    return Latest(lines, Slot(int(back[1:])) if back.startswith("$") else int(back or 0))


def check_hex(name: str, value: Any) -> None:
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
    check_hex("digest", params["digest"])
    digest = bytes.fromhex(params.pop("digest"))
    return leaf_with(digest, **params, name=inputs[0] if inputs else None)


def _make_output(version: int, inputs: list[Any], params: list[tuple[str, Param]]) -> Node:
    index = params[0][1] if len(params) == 1 and params[0][0] == "index" else None
    if type(index) is not int or not 0 <= index < 1 << 16 or version != 1:
        raise LogError("expected output(%n, index=k)")
    if len(inputs) != 1 or type(inputs[0]) is not Node or inputs[0].spec.op == LEAF:
        raise LogError("expected output() of a node with several results")
    return Node(Spec(OUTPUT, (("index", index),)), tuple(inputs))


# --------------------------------------------------------------------------- patterns


def items_of(
    scanner: Scanner, names: Any = None, what: str = "a patch of a line above"
) -> list[Any]:
    """The items of a pattern up to the end of the line: of values, or of `names`."""
    found = [_item(scanner, names, what)]
    while scanner.took(","):
        found.append(_item(scanner, names, what))
    return found


def _item(scanner: Scanner, names: Any, what: str) -> Any:
    word = scanner.tokens[scanner.at]
    if word not in ("times", "range"):
        return scanner.value() if names is None else _name(scanner, names, what)
    scanner.at += 1
    scanner.expect("(")
    if word == "range":
        ends, _ = scanner.items(")", scanner.value)
        floats = [type(e) is float and abs(e) < 1 << 53 and e.is_integer() for e in ends]
        if all(floats):
            ends = [int(e) for e in ends]
        if names is not None or len(ends) != 3 or any(type(e) is not int for e in ends):
            raise LogError("expected range(start, stop, step) of whole numbers in a stream")
        if ends[2] == 0 or any(abs(e) >= 1 << 62 for e in ends):
            raise LogError(f"no progression is range{tuple(ends)!r:.80}")
        return Floats(range(*ends)) if all(floats) else range(*ends)
    count = scanner.value()
    if type(count) is not int or not 1 <= count < 1 << 62:
        raise LogError(f"expected times(count, ...), found {count!r:.40}")
    scanner.expect(",")
    inner, _ = scanner.items(")", lambda: _item(scanner, names, what))
    if not inner:
        raise LogError("expected what comes several times, found nothing")
    return Times(count, tuple(inner))


def _name(scanner: Scanner, names: Any, what: str) -> str:
    name = scanner.next("name", what)
    if name not in names:
        raise LogError(f"expected {what}, found {name!r:.40}")
    return name
