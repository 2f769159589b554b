"""Questions to a lineage that its nodes answer: what came of what, seeds, literals, a table."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from lima.errors import UnknownLineage
from lima.graph import settled
from lima.handle import Handle, value_of
from lima.labels import is_seed, label, short
from lima.node import LEAF, OUTPUT, Node, leaf
from lima.op import CALLS, OPS, Kind, Meta
from lima.ops import reach

SAID = 12
"""Names that an error lists."""


class Literal(NamedTuple):
    """A number, text or other value that stands in a lineage: where, and what.

    node   whose input or parameter it is
    place  number of the input, or name of the parameter
    value  the value itself
    """

    node: Node
    place: int | str
    value: Any


class Named(NamedTuple):
    """What names mean in a lineage: its nodes, and the results that have names."""

    nodes: Sequence[Node]
    outputs: Mapping[str, Node]


def digests(within: Named, x: Any) -> set[bytes]:
    """The digests of the nodes that `x` means: a name, a node, an array, or several of these.

    A name is that of a result or of leaves. A plain array means the leaf with its content.
    Raises UnknownLineage for what the lineage does not have.
    """
    if isinstance(x, tuple | list | set | frozenset):
        return set().union(*(digests(within, one) for one in x))
    found = _meant(within, x)
    if not found:
        raise UnknownLineage(_unknown(within, x))
    return found


def uses(within: Named, x: Any) -> bool:
    """Whether the lineage has what `x` means: the name of a leaf, a node, or an array."""
    if isinstance(x, str):
        return any(node.name == x for node in within.nodes if node.is_leaf)
    return bool(_meant(within, x))


def _meant(within: Named, x: Any) -> set[bytes]:
    if isinstance(x, str):
        found = {node.digest for node in within.nodes if node.is_leaf and node.name == x}
        return found | ({within.outputs[x].digest} if x in within.outputs else set())
    if isinstance(x, Node):
        wanted = x.digest
    elif isinstance(x, Handle):
        (made,) = settled([value_of(x).node])  # as the lineage has it
        wanted = made.digest
    elif isinstance(x, np.ndarray | np.generic):
        wanted = leaf(x).digest
    else:
        raise UnknownLineage(
            f"expected a name, a node or an array of the lineage, got {type(x).__name__}"
        )
    return {wanted} if any(node.digest == wanted for node in within.nodes) else set()


def _unknown(within: Named, x: Any) -> str:
    names = dict.fromkeys([*within.outputs, *(n.name for n in within.nodes if n.name)])
    shown = ", ".join(list(names)[:SAID]) + (", ..." if len(names) > SAID else "")
    what = repr(x) if isinstance(x, str) else f"this {type(x).__name__}"
    return f"the lineage has nothing that {what} means; its results and leaves are {shown}"


def find(
    within: Named,
    op: str | Callable[..., Any] | None,
    name: str | None,
    where: Callable[[Node], bool] | None,
) -> list[Node]:
    """The nodes of an operation (patterns such as "linalg.*" are allowed), of a name, or both."""
    nodes: Iterable[Node] = within.nodes
    if op is not None:
        wanted = op if isinstance(op, str) else getattr(CALLS.get(op), "name", None)
        nodes = [] if wanted is None else (n for n in nodes if fnmatchcase(n.spec.op, wanted))
    if name is not None:
        named = {n.digest for n in within.nodes if n.name and fnmatchcase(n.name, name)}
        named |= {n.digest for key, n in within.outputs.items() if fnmatchcase(key, name)}
        nodes = (n for n in nodes if n.digest in named)
    if where is not None:
        nodes = filter(where, nodes)
    return list(nodes)


# --------------------------------------------------------------------------- what came of what


def ancestors(nodes: Sequence[Node], of: Container[bytes]) -> list[Node]:
    """What the nodes of these digests were made from, themselves left out, inputs before users."""
    reached: set[bytes] = set()
    for node in reversed(nodes):
        if node.digest in of or node.digest in reached:
            reached.update(item.digest for item in _below(node))
    return [node for node in nodes if node.digest in reached]


def descendants(nodes: Sequence[Node], of: Container[bytes]) -> list[Node]:
    """What was made from the nodes of these digests, themselves left out."""
    reached: set[bytes] = set()
    found = []
    for node in nodes:
        if any(item.digest in of or item.digest in reached for item in _below(node)):
            reached.add(node.digest)
            found.append(node)
    return found


def between(nodes: Sequence[Node], start: set[bytes], end: set[bytes]) -> list[Node]:
    """Every node on a way from `start` to `end`, both included; none if there is no way."""
    after = start | {node.digest for node in descendants(nodes, start)}
    before = end | {node.digest for node in ancestors(nodes, end)}
    return [node for node in nodes if node.digest in after and node.digest in before]


def _below(node: Node) -> Iterator[Node]:
    return (item for item in node.inputs if isinstance(item, Node))


# --------------------------------------------------------------------------- values


def seeds(nodes: Iterable[Node]) -> list[Node]:
    """The nodes at which random numbers begin: generators, with their seed or state."""
    return [node for node in nodes if is_seed(node)]


def literals(nodes: Iterable[Node]) -> list[Literal]:
    """Every value that stands in the lineage itself: inputs that are no nodes, and parameters."""
    found = []
    for node in nodes:
        if node.spec.op in (LEAF, OUTPUT):
            continue
        found += [Literal(node, k, i) for k, i in enumerate(node.inputs) if type(i) is not Node]
        found += [Literal(node, key, v) for key, v in node.spec.params if key != "alias"]
    return found


class _Known(NamedTuple):
    """A value of which only shape and dtype are known, as rows infer with it."""

    meta: Meta | None


def metas(nodes: Iterable[Node], checks: Mapping[bytes, Any] | None = None) -> dict[bytes, Meta]:
    """Shape and dtype by digest, where leaves, checks or rows tell them; nothing is computed."""
    known: dict[bytes, Meta] = {}
    for node in nodes:
        found = _known(node, known, checks or {})
        if found is not None:
            known[node.digest] = found
    return known


def _known(node: Node, known: dict[bytes, Meta], checks: Mapping[bytes, Any]) -> Meta | None:
    """Shape and dtype of one node, where those of its inputs are known."""
    check = checks.get(node.digest)
    meta = _meta(node, known) if check is None else (check.shape, check.dtype)
    if meta is None:
        return None
    try:
        return tuple(meta[0]), np.dtype(meta[1])
    except (TypeError, ValueError):  # a dtype that is spelled as a description
        return None


def _meta(node: Node, known: dict[bytes, Meta]) -> Meta | None:
    spec = node.spec
    if node.is_leaf:
        return spec.get("shape"), spec.get("dtype")
    row = OPS.get(spec.op)
    if row is None:
        return None
    if spec.out is not None or (row.into is not None and row.wrap is None):
        target = node.inputs[0 if spec.out is None else spec.out.index]
        return known.get(target.digest) if isinstance(target, Node) else None
    if row.infer is None:
        return None
    given: list[Any] = []
    for item in node.inputs:
        if not isinstance(item, Node):
            given.append(item)
        elif item.digest not in known:
            return None
        else:
            given.append(_Known(known[item.digest]))
    try:
        return row.infer(given, spec)
    except Exception:  # a row infers what a call would give; of a call that fails, nothing is known
        return None


Shape = tuple[int, ...]


def shapes(
    nodes: Iterable[Node], checks: Mapping[bytes, Any]
) -> dict[bytes, tuple[Shape, np.dtype[Any] | None]]:
    """Shapes by digest, and dtypes as far as they are known; nothing is computed.

    More than `metas`: of a heavy operation the shape is told by which lines depend on which.
    """
    nodes = list(nodes)
    known: dict[bytes, Meta] = {}
    guessed: set[bytes] = set()
    for node in nodes:
        found = _known(node, known, checks)
        if found is not None:
            known[node.digest] = found
            if any(isinstance(i, Node) and i.digest in guessed for i in node.inputs):
                guessed.add(node.digest)
        else:
            shape = _reached(node, known)
            if shape is not None:
                known[node.digest] = shape, np.dtype(np.float64)
                guessed.add(node.digest)
    return {
        digest: (shape, None if digest in guessed else dtype)
        for digest, (shape, dtype) in known.items()
    }


def _reached(node: Node, known: dict[bytes, Meta]) -> Shape | None:
    """The shape of what a heavy operation gives, if its row tells which lines hang on which."""
    row = OPS.get(node.spec.op)
    if row is None or row.kind is not Kind.HEAVY or row.reach in (None, reach.moved):
        return None
    if not all(i.digest in known for i in node.inputs if isinstance(i, Node)):
        return None
    parts = [
        reach.Part(known[i.digest][0], None) if isinstance(i, Node) else i for i in node.inputs
    ]
    try:
        part = row.reach(row, node.spec, parts)
    except Exception:  # as in `_meta`
        return None
    return None if part is None else part.shape


def table(within: Named, checks: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The nodes as columns of equal length, one item a node, inputs before users."""
    names: dict[bytes, list[str]] = {}
    for key, node in within.outputs.items():
        names.setdefault(node.digest, []).append(key)
    sure = {within.outputs[key].digest: check for key, check in checks.items()}
    known = metas(within.nodes, sure)
    numbers = {node.digest: k for k, node in enumerate(within.nodes, 1)}
    columns: dict[str, list[Any]] = {key: [] for key in COLUMNS}
    for node in within.nodes:
        row = node.outcome
        shape, dtype = known.get(node.digest, (None, None))
        params = {} if node.is_leaf else {k: short(v) for k, v in node.spec.params}
        values = (
            numbers[node.digest],
            node.spec.op,
            node.name or ", ".join(names.get(node.digest, ())) or None,
            [numbers[item.digest] for item in _below(node)],
            [short(item) for item in node.inputs if not isinstance(item, Node)],
            ", ".join(f"{key}={text}" for key, text in params.items()) or None,
            None if shape is None else list(shape),
            None if dtype is None else dtype.str,
            None if row is None else row.outcome.value,
            None if row is None else row.seconds,
            *(node.line or (None, None, None)),
            label(node, numbers),
            node.digest.hex(),
        )
        for key, value in zip(COLUMNS, values, strict=True):
            columns[key].append(value)
    return columns


COLUMNS = (
    "id", "op", "name", "inputs", "literals", "params", "shape", "dtype", "outcome", "seconds",
    "file", "line", "function", "call", "digest",
)  # fmt: skip
"""Columns of a table of nodes."""


# --------------------------------------------------------------------------- a tree


def tree(within: Named, depth: int | None, limit: int) -> Iterator[str]:
    """The lines of a tree, results first, each node below the one that uses it.

    What was shown above is only named.
    """
    numbers = {node.digest: k for k, node in enumerate(within.nodes, 1)}
    shown: set[bytes] = set()
    # a node, the text before it, the text before its inputs, how deep it stands
    todo: list[tuple[Node, str, str, int]] = []
    lines = 0
    for name, root in reversed(list(within.outputs.items())):
        todo.append((root, f"{name} = ", "", 0))
    while todo:
        node, before, under, level = todo.pop()
        lines += 1
        if lines > limit:
            yield f"... the rest of {len(within.nodes)} nodes is not shown"
            return
        inputs = list(_below(node))
        again = node.digest in shown and bool(inputs)
        shown.add(node.digest)
        hidden = bool(inputs) and not again and depth is not None and level >= depth
        note = "  (above)" if again else ("  ..." if hidden else "")
        yield f"{before}%{numbers[node.digest]} {label(node, numbers)}{note}"
        if again or hidden:
            continue
        for k, item in reversed(list(enumerate(inputs))):
            last = k == len(inputs) - 1
            head, tail = ("└─ ", "   ") if last else ("├─ ", "│  ")
            todo.append((item, under + head, under + tail, level + 1))
