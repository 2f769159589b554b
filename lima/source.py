"""A lineage as a Python program that needs NumPy alone and gives the same bits.

The program is one function of the leaves with one statement for each node; views, and arithmetic of
scalars, are written where they are used. Calls that write do so in place, as the traced program did
(`lima.owned` gives them memory to write). Two things more keep the bits: operands of a product that
lima held in two buffers are held in two buffers (kernels look); and no arithmetic of arrays is
nested, since NumPy may put the result of a nested expression into a temporary with another memory
order.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lima.errors import ReplayError
from lima.log import Check, distinct
from lima.looped import Looped
from lima.named import names_of
from lima.node import OUTPUT, Node
from lima.op import Kind, Op
from lima.ops.of_scipy import module_of, row_of
from lima.outlined import Function, outlined
from lima.owned import UNWRITTEN, drawn, is_copy, owned, shuffles, splits, targets_of
from lima.patches import program_of
from lima.queries import shapes
from lima.spans import recent
from lima.spelled import (
    HELPERS,
    NEEDS,
    Text,
    Write,
    call_text,
    helper_text,
    literal,
    note_of,
    noted,
    operator_text,
    write_text,
)

SHORT = 60
"""Characters of the longest expression that is written inside another one."""

LONG = 500
"""Nodes from which a program deletes the variables that it no longer needs."""

PROGRAM = "program"
"""The name of the function of the leaves."""

RESERVED = frozenset(
    {"np", "copy", "inspect", "scipy", "sys", "Path", "main", "folder", "results"}
    | {"out", "complex", "slice", "bytes", "range", "zip", "map", "iter", "next", "float"}
    | set(keyword.kwlist)
)
"""Names that a program uses itself."""


NO_FUNCTIONS = RESERVED | {PROGRAM, *HELPERS, *dir(builtins)}
"""Names that no function of a program has: it is at the level of the module."""


def to_python(
    outputs: Mapping[str, Node],
    data_dir: Path | None = None,
    checks: Mapping[str, Check] | None = None,
) -> str:
    """The program that computes `outputs`: a function `program` of the leaves.

    Run as a script, it loads the leaves from `.npy` files named by digest (in `data_dir`, or the
    folder given as first argument) and saves the outputs as `.npz` (second argument). Raises
    ReplayError for what NumPy alone cannot do.
    """
    recorded = list(distinct(outputs.values()))
    sure = {
        outputs[name].digest: check for name, check in (checks or {}).items() if name in outputs
    }
    known = shapes(recorded, sure)
    whole, functions, origins = outlined(outputs, recent(), NO_FUNCTIONS)
    taken = {function.name for function in functions}
    parts = [_function(function, known, taken) for function in functions]
    leaves = [node for node in recorded if node.is_leaf]
    body, names = _body(PROGRAM, leaves, whole, origins, known, taken)
    return _program(parts, body, names, data_dir, dict(checks or {}))


Known = Mapping[bytes, tuple[Any, Any]]
"""Shapes and dtypes by the digests of what was recorded."""


def _body(
    function: str,
    leaves: list[Node],
    outputs: Mapping[str, Node],
    before: Mapping[bytes, bytes],
    known: Known,
    taken: set[str],
) -> tuple[Any, _Names]:
    """The statements of a function of leaves, and its names; `before` says what stood for what."""
    nodes, outputs, origins = owned(outputs)
    notes = {}
    for node in nodes:
        digest = origins.get(node.digest, node.digest)
        meta = known.get(before.get(digest, digest))
        if meta is not None:
            notes[node.digest] = note_of(*meta)
    names = _Names(function, leaves, nodes, outputs, notes, taken)
    program = program_of(nodes, outputs)
    return _Body(outputs, names) if program is None else Looped(program, outputs, names), names


def _function(function: Function, known: Known, taken: set[str]) -> str:
    """The text of a function that a traced function became."""
    leaves = [leaf for _, leaf in function.parameters]
    body, names = _body(function.name, leaves, function.outputs, function.origins, known, taken)
    *lines, last, returns = _lines(body, names)
    name, equals, expression = last.partition(" = ")
    if equals and returns == f"    return {name.removeprefix('    ')}":  # not the end of a loop
        last = f"    return {expression}"
    else:
        lines.append(last)
        last = returns
    return "\n".join([*lines, last]) + "\n"


def _lines(body: Any, names: _Names, docstring: Iterable[str] = ()) -> list[str]:
    return [
        f"def {names.function}({', '.join(names.leaves.values())}):",
        *docstring,
        *(f"    {statement}" for statement in body.statements),
        f"    return {', '.join(body.results())}",
    ]


class _Names:
    """Python names for leaves, outputs and intermediate results."""

    def __init__(
        self,
        function: str,
        leaves: list[Node],
        nodes: list[Node],
        outputs: Mapping[str, Node],
        notes: dict[bytes, str],
        taken: set[str],
    ) -> None:
        self.taken: set[str] = {*RESERVED, *HELPERS, *taken, function}
        self.count = 0
        self.nodes = nodes
        self.function = function
        self.sources = leaves
        self.given = names_of(nodes)
        self.notes = notes
        self.leaves = {
            node.digest: self.fresh(node.name or f"x{k}") for k, node in enumerate(leaves, 1)
        }
        self.wanted: dict[bytes, str] = {}
        for name, node in outputs.items():
            draw = drawn(node) == 0 and not shuffles(node.inputs[0])
            digest = node.inputs[0].digest if draw else node.digest
            if digest not in self.leaves and digest not in self.wanted:
                self.wanted[digest] = self.fresh(name)
        for node in self.nodes:
            state = node.inputs[0] if _threads(node) else None
            if state is not None and state.spec.op != OUTPUT and state.digest not in self.wanted:
                self.wanted[state.digest] = self.fresh("rng")

    def fresh(self, wish: str) -> str:
        """A name that is not taken yet, as close to `wish` as Python allows."""
        base = re.sub(r"[^A-Za-z0-9_]", "_", wish) or "x"
        base = base if base[0].isalpha() else f"x{base}"
        if re.fullmatch(r"(v|out)[0-9]+", base):
            base += "_"  # these are given to results without a name
        name, number = base, 1
        while name in self.taken:
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        return name

    def of(self, node: Node) -> str:
        """The name of the variable that shall hold `node`."""
        wanted = self.wanted.get(node.digest)
        if wanted is not None:
            return wanted
        given = self.given.get(node.digest)
        return self.numbered() if given is None else self.fresh(given)

    def numbered(self) -> str:
        """A name for a result that nobody has named."""
        self.count += 1
        return f"v{self.count}"


def _row(node: Node) -> Op:
    row = row_of(node.spec.op)
    if row is None:
        raise ReplayError(f"{node.spec.op!r} is no operation that can be written in Python")
    return row


def _threads(node: Node) -> bool:
    row = row_of(node.spec.op)
    return row is not None and row.threads_state is not None and isinstance(node.inputs[0], Node)


def _inputs(node: Node) -> list[Node]:
    return [item for item in node.inputs if isinstance(item, Node)]


def _same(a: Any, b: Any) -> bool:
    return type(a) is Node and a.digest == b.digest


class _Body:
    """The statements of the function, and how the text of each value reads.

    texts      what is written where a value is used: a variable or an inlined expression
    variables  of a value that has one
    left       nodes and outputs that still have to use a value
    parts      of an inlined expression: the nodes it is made of
    written    of a call that writes and returns something else: the variables of items it writes
    ends       of a value that is written: what becomes of it in the end
    """

    def __init__(self, outputs: Mapping[str, Node], names: _Names) -> None:
        self.outputs, self.names = outputs, names
        self.statements: list[str] = []
        self.variables = dict(names.leaves)
        self.texts = {digest: Text(name) for digest, name in names.leaves.items()}
        self.parts: dict[bytes, list[bytes]] = {}
        self.written: dict[bytes, dict[int, str]] = {}
        self.scalars: set[bytes] = set()
        self.ends: dict[bytes, bytes] = {}
        self.left = Counter(node.digest for node in outputs.values())
        for node in names.nodes:
            self.left.update(item.digest for item in _inputs(node))
        for node in reversed(names.nodes):
            end = self.ends.get(node.digest, node.digest)
            if drawn(node) == 0 and shuffles(node.inputs[0]):
                self.ends[node.inputs[0].inputs[1].digest] = end
            elif not splits(node):
                self.ends.update((node.inputs[place].digest, end) for place in targets_of(node))
        for node in names.nodes:
            self.add(node)

    def results(self) -> list[str]:
        """How each output reads."""
        wanted, texts = self.names.wanted, self.texts
        return [wanted.get(n.digest) or str(texts[n.digest]) for n in self.outputs.values()]

    def add(self, node: Node) -> None:
        """Write `node`: as a statement, or for use inside others."""
        if node.is_leaf:
            if node.spec.get("layout") == "scalar":
                self.scalars.add(node.digest)
        elif node.spec.op == OUTPUT:
            self.add_item(node)
        elif is_copy(node):
            name = self.name_of(node)
            self.assign(node, name, f"{name} = {node.spec.op}({self.text(node.inputs[0])})")
        elif targets_of(node):
            self.add_write(node, _row(node))
        else:
            self.add_call(node, _row(node))

    def name_of(self, node: Node) -> str:
        """The variable for a value: named after what it will be in the end, where it is written."""
        end = self.ends.get(node.digest, node.digest)
        return self.names.wanted.get(end) or self.names.of(node)

    def add_call(self, node: Node, row: Op) -> None:
        digest, view = node.digest, row.kind is Kind.VIEW
        text = self.expression(node, row)
        scalar = self.is_scalar(node, row)
        once = self.left[digest] == 1 and (view or scalar)
        # A row of views that infers its shapes gives views only; others may give copies.
        often = view and row.infer is not None and len(text) <= SHORT // 4
        if (once or often) and len(text) <= SHORT and digest not in self.names.wanted:
            self.texts[digest] = text
            self.parts[digest] = [item.digest for item in _inputs(node)]
            return
        name = self.name_of(node)
        self.assign(node, name, noted(f"{name} = {text}", self.names.notes.get(digest)))

    def is_scalar(self, node: Node, row: Op) -> bool:
        """Whether `node` is a scalar computed from scalars."""
        scalar = (
            isinstance(row.kernel, np.ufunc)
            and not node.spec.params
            and all(item.digest in self.scalars for item in _inputs(node))
            and all(isinstance(i, Node | np.generic | int | float | complex) for i in node.inputs)
        )
        if scalar:
            self.scalars.add(node.digest)
        return scalar

    def assign(self, node: Node, name: str, statement: str) -> None:
        self.statements.append(statement)
        self.variables[node.digest] = name
        self.texts[node.digest] = Text(name)
        self.used(_inputs(node), name)

    def add_item(self, node: Node) -> None:
        """Item k of a tuple: a subscript; or a variable, where a call writes and returns."""
        (call,) = node.inputs
        digest, index = node.digest, node.spec.get("index")
        items = self.written.get(call.digest)
        if items is not None:
            text = Text(items.get(index) or self.variables[call.digest])
            self.variables[digest] = text
            self.left[call.digest] -= 1
        else:
            text = Text(f"{self.texts[call.digest]}[{index}]")
            if digest in self.names.given and digest not in self.names.wanted:
                name = self.names.of(node)  # `Q, R = np.linalg.qr(A)`
                self.assign(node, name, f"{name} = {text}")
                return
            self.parts[digest] = [call.digest]
        self.texts[digest] = text
        wanted = self.names.wanted.get(digest)
        if wanted is not None and wanted != text:
            self.statements.append(f"{wanted} = {text}")

    def add_write(self, node: Node, row: Op) -> None:
        """A call that writes one of its operands, an array or a generator."""
        digest, places = node.digest, targets_of(node)
        inputs = [self.text(item) for item in node.inputs]
        draws = row.threads_state is not None
        names = []
        for place in places:
            target = node.inputs[place]
            name = self.variables.pop(target.digest, None)
            if name is None:
                wish = "rng" if draws and place == 0 else "a"
                name = self.names.fresh(wish) if splits(node) else self.name_of(node)
                self.statements.append(f"{name} = {self.text(target)}")
            names.append(name)
            inputs = [
                Text(name) if _same(item, target) else text
                for item, text in zip(node.inputs, inputs, strict=True)
            ]
        items = node.inputs
        ahead, call = write_text(
            Write(row, node.spec.params, node.spec.npos, places),
            inputs,
            lambda j, k: _same(items[j], items[k]),
            self.param,
            self.names.numbered,
        )
        self.statements += ahead
        if splits(node):
            self.written[digest] = {1 if draws else 0: names[0]}
            if shuffles(node):
                self.written[digest][0] = names[1]
                self.assign(node, names[0], call)
                return
            made = self.names.of(node)
            self.assign(node, made, f"{made} = {call}")
            return
        (name,) = names
        self.assign(node, name, call)
        wanted = self.names.wanted.get(digest, name)
        if wanted != name:
            self.statements.append(f"{wanted} = {name}")
            self.variables[digest] = wanted
            self.texts[digest] = Text(wanted)

    # ----------------------------------------------------------------- expressions

    def expression(self, node: Node, row: Op) -> Text:
        """The call of `row` that `node` stands for."""
        spec = node.spec
        inputs = [self.text(item) for item in node.inputs]
        params = {k: self.param(v, inputs) for k, v in spec.params if k not in UNWRITTEN}
        if row.infix is not None and not params and len(inputs) == 2:
            text = operator_text(row.infix, node.inputs, inputs)
            if text is not None:
                return text
        return Text(call_text(row, inputs[: spec.npos], params))

    def text(self, item: Any) -> Text:
        return self.texts[item.digest] if isinstance(item, Node) else literal(item)

    def param(self, value: Any, inputs: list[Text]) -> Text:
        """A parameter, in which references are replaced by the inputs that they name."""
        return literal(value, lambda ref: inputs[ref.index])

    # ----------------------------------------------------------------- what is needed

    def used(self, nodes: list[Node], keep: str) -> None:
        """`nodes` have been used once more; a long program deletes what is used no more."""
        gone: set[str] = set()
        todo = [node.digest for node in nodes]
        while todo:
            digest = todo.pop()
            self.left[digest] -= 1
            if self.left[digest]:
                continue
            todo.extend(self.parts.get(digest, ()))
            if digest in self.variables and digest not in self.names.leaves:
                gone.add(self.variables.pop(digest))
        gone.discard(keep)
        if gone and len(self.names.nodes) > LONG:
            self.statements.append(f"del {', '.join(sorted(gone))}")


# --------------------------------------------------------------------------- the whole program


def _program(
    parts: list[str],
    body: Any,
    names: _Names,
    data_dir: Path | None,
    checks: dict[str, Check],
) -> str:
    code = _lines(body, names, _docstring(names, body.outputs, checks))
    sparse = any(re.search(r"\bsparse\(", line) for line in code)
    main = _main(names, body.outputs, data_dir, sparse)
    text = "".join(f"{part}\n\n" for part in parts)
    text += "\n".join([*code, "", "", *main]) + "\n"
    called = {name for name in HELPERS if re.search(rf"\b{name}\(", text)}
    for _ in NEEDS:
        called |= {NEEDS[name] for name in called if name in NEEDS}
    helpers = [helper_text(name) for name in HELPERS if name in called]
    whole = "".join([*helpers, text])
    imports = [f"import {name}" for name in ("copy", "inspect", "sys") if f"{name}." in whole]
    head = [*imports, "from pathlib import Path", "", "import numpy as np"]
    named = {module_of(name) for name in re.findall(r"\b(scipy(?:\.\w+)+)[(,]", whole)}
    if "scipy.sparse" in whole:
        named.add("scipy.sparse")
    head += [*(f"import {module}" for module in sorted(named)), ""]
    parts = ["\n".join(head), *helpers, "", text]
    return "\n".join(parts)


def _docstring(
    names: _Names, outputs: Mapping[str, Node], checks: dict[str, Check]
) -> Iterator[str]:
    """What the function takes and returns. Names are those of variables: they hold no surprises."""
    yield f'    """Returns {", ".join(map(_plain, outputs))}.'
    rows = [
        (names.leaves[node.digest], node.spec.get("dtype"), node.spec.get("shape"))
        for node in names.sources
    ]
    rows += [(_plain(name), c.dtype, c.shape) for name, c in checks.items() if name in outputs]
    if rows:
        yield ""
        yield from (f"    {name}: {_plain(dtype, '<>|')} {shape}" for name, dtype, shape in rows)
    yield '    """'


def _plain(text: str, more: str = "") -> str:
    return re.sub(f"[^A-Za-z0-9_{more}]", "_", text)


def _main(
    names: _Names, outputs: Mapping[str, Node], data_dir: Path | None, sparse: bool
) -> Iterator[str]:
    folder = "leaves" if data_dir is None else data_dir.as_posix()
    yield f"def main(folder={folder!a}, results='results.npz'):"
    yield '    """Load the leaves from .npy files in `folder`, and save what comes out."""'
    if names.leaves:
        yield "    folder = Path(folder)"
    for node in names.sources:
        yield f"    {names.leaves[node.digest]} = {_loaded(node)}"
    call = f"{names.function}({', '.join(names.leaves.values())})"
    found = [f"out{k}" for k in range(1, len(outputs) + 1)]
    keys = [f"{name}_" if name in ("file", "allow_pickle") else name for name in outputs]
    if all(key.isidentifier() and not keyword.iskeyword(key) for key in keys):
        saved = ", ".join(f"{key}={var}" for key, var in zip(keys, found, strict=True))
    else:
        pairs = ", ".join(f"{key!a}: {var}" for key, var in zip(keys, found, strict=True))
        saved = f"**{{{pairs}}}"
    yield f"    {', '.join(found)} = {call}"
    if sparse:
        saved = f"**saved({saved})"
    yield f"    np.savez(results, {saved})"
    yield from ("", "", 'if __name__ == "__main__":', "    main(*sys.argv[1:])")


def _loaded(node: Node) -> str:
    """How a program loads a leaf, in the memory order that it had."""
    layout, loaded = node.spec.get("layout"), f"np.load(folder / '{node.digest.hex()}.npy')"
    forms = {"scalar": f"{loaded}[()]", "C": loaded, "F": loaded}
    return forms[layout] if type(layout) is str else f"strided({loaded}, {layout!r})"
