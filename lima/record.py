"""`Lineage`: the record of how named results were made; saving it and reading it back."""

from __future__ import annotations

import html
import io
import itertools
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
from xxhash import xxh3_128_hexdigest

from lima import drawing, exports, pictures, queries
from lima.environment import recorded as present_environment
from lima.errors import LogError, ReplayError, UnknownLineage
from lima.folding import LIMIT
from lima.formats import Parts, taken
from lima.graph import settled
from lima.histories import resolved
from lima.log import MAX_LINE, Check, Log, distinct, lines, node_text, parse
from lima.node import Node, content_bytes, dtype_text, encode
from lima.placeholders import unfolded
from lima.source import to_python
from lima.systemds import ENVIRONMENT as OF_SYSTEMDS
from lima.systemds import Source, recognised
from lima.unfolding import Folded
from lima.upkeep import Kept

MAX_ROWS = 200
"""Nodes that the HTML form of a lineage lists."""

NOTEBOOK = 40
"""Boxes of the picture in a notebook."""

Target = str | os.PathLike[str] | IO[str]


class Lineage:
    """How named results were made: their nodes and, through them, all that led to them.

    outputs      name -> Node
    checks       name -> Check, what a result was, where it is known
    environment  facts of the process that computed the results (see `lima.environment`)
    data_dir     folder with the arrays of the leaves, for a lineage that was read from a file
    foreign      the log of another system that this is read from (`lima.systemds`)
    folded       the program of a log with patches; nodes are made of it when they are asked for
    kept         values of a store, by digest, for a lineage that was read from one

    >>> from lima.node import Node, Spec, leaf
    >>> x = leaf(np.ones((2, 3)), "X")
    >>> lineage = Lineage({"z": Node(Spec("matmul"), (Node(Spec("transpose"), (x,)), x))})
    >>> lineage
    <Lineage of z: 3 nodes from X>
    >>> lineage.uses("X"), len(lineage.find("matmul"))
    (True, 1)
    """

    __slots__ = (
        "_nodes", "_outputs", "checks", "data_dir", "environment", "folded", "foreign", "kept"
    )  # fmt: skip

    def __init__(
        self,
        outputs: Mapping[str, Node],
        *,
        checks: Mapping[str, Check] | None = None,
        environment: Mapping[str, str] | None = None,
        data_dir: Path | None = None,
        foreign: Source | None = None,
        folded: Folded | None = None,
        kept: Mapping[bytes, Kept] | None = None,
    ) -> None:
        nodes = resolved(unfolded(settled(list(outputs.values()))))
        made = dict(zip(outputs, nodes, strict=True))
        self._outputs: dict[str, Node] | None = made if folded is None else None
        self.folded = folded
        self.checks = dict(checks or {})
        self.environment = dict(present_environment() if environment is None else environment)
        self.data_dir = data_dir
        self.foreign = foreign
        self.kept = kept
        self._nodes: list[Node] | None = None

    @property
    def outputs(self) -> dict[str, Node]:
        """name -> Node."""
        if self._outputs is None:
            assert self.folded is not None
            self._outputs = self.folded.nodes()
        return self._outputs

    @property
    def nodes(self) -> list[Node]:
        """Every node once, inputs before users, in the order of the log."""
        if self._nodes is None:
            self._nodes = list(distinct(self.outputs.values()))
        return list(self._nodes)

    @property
    def leaves(self) -> list[Node]:
        """The nodes whose data came from outside."""
        if self._outputs is None and self.folded is not None:
            return list(self.folded.leaves)
        return [node for node in self.nodes if node.is_leaf]

    def find(
        self,
        op: str | Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        where: Callable[[Node], bool] | None = None,
    ) -> list[Node]:
        """The nodes of an operation, of a name, or for which `where` holds; all that is given.

        `op` is the name of the operation, a pattern such as "linalg.*", or the NumPy function;
        `name` that of leaves or results.
        """
        return queries.find(self._named, op, name, where)

    def uses(self, x: Any) -> bool:
        """Whether any result depends on `x`: the name of a leaf, a node, or an array.

        Which results depend on some rows of it, `lima.reached` tells.
        """
        return queries.uses(self._named, x)

    def meant(self, x: Any) -> list[Node]:
        """The nodes that `x` means, as in `ancestors`."""
        wanted = queries.digests(self._named, self._meant(x))
        return [node for node in self.nodes if node.digest in wanted]

    def ancestors(self, x: Any) -> list[Node]:
        """What `x` was made from, inputs before users.

        `x` is the name of a result or leaf, a node, an array, or several of these. A plain array
        means the results with its content, else the leaf. Raises UnknownLineage for what the
        lineage does not have.
        """
        return queries.ancestors(self.nodes, queries.digests(self._named, self._meant(x)))

    def descendants(self, x: Any) -> list[Node]:
        """What was made from `x`, which is as in `ancestors`."""
        return queries.descendants(self.nodes, queries.digests(self._named, self._meant(x)))

    def between(self, start: Any, end: Any) -> list[Node]:
        """The nodes on every way from `start` to `end`, with both; empty if none leads there."""
        within = self._named
        ends = (queries.digests(within, self._meant(x)) for x in (start, end))
        return queries.between(within.nodes, *ends)

    def seeds(self) -> list[Node]:
        """The nodes at which random numbers begin: generators with their seed or state."""
        return queries.seeds(self.nodes)

    def literals(self) -> list[queries.Literal]:
        """The values that stand in the lineage itself, as (node, place, value).

        `place` is the number of an input or the name of a parameter.
        """
        return queries.literals(self.nodes)

    def table(self) -> dict[str, list[Any]]:
        """The nodes as columns, which pandas, Polars and DuckDB take as they are.

        Columns: id, op, name, inputs (ids), literals, params, shape, dtype (None where only
        computing would tell), outcome and seconds (None for a lineage from a file), file, line and
        function (of the user's program, where they were recorded), call, digest.
        """
        return queries.table(self._named, self.checks)

    def tree(self, depth: int | None = 10, limit: int = 200) -> str:
        """The lineage as an indented tree, results first: at most `limit` lines and this deep."""
        return "\n".join(queries.tree(self._named, depth, limit))

    def _meant(self, x: Any) -> Any:
        """The names of the results that a plain array is by its content; else `x` itself."""
        if not isinstance(x, np.ndarray | np.generic):
            return x
        check = check_of(x)
        return [name for name, known in self.checks.items() if known == check] or x

    @property
    def _named(self) -> queries.Named:
        return queries.Named(self.nodes, self.outputs)

    def only(self, *names: str) -> Lineage:
        """The lineage of some of the results; UnknownLineage for a name that is none of them."""
        for name in names:
            if name not in self.outputs:
                has = ", ".join(self.outputs)
                raise UnknownLineage(f"{name!r} is none of the results {has}")
        return Lineage(
            {name: self.outputs[name] for name in names},
            checks={name: self.checks[name] for name in names if name in self.checks},
            environment=self.environment,
            data_dir=self.data_dir,
            kept=self.kept,
        )

    def digest(self, name: str | None = None) -> str:
        """The digest of an output as 32 hexadecimal digits; the name may be left out of one."""
        digests = self._identity()
        if name is None and len(digests) == 1:
            (name,) = digests
        if name not in digests:
            raise KeyError(f"{name!r} is none of the outputs {', '.join(digests)}")
        return digests[name].hex()

    def log(self, *, lines: bool = False) -> str:
        """The lineage as text, in the grammar of `docs/log-format.md`.

        `lines`: followed by the lines of the user's program at which operations stood.
        """
        return "".join(self.lines(lines))

    def lines(self, origins: bool = False) -> Iterator[str]:
        """The lines of `log`, one after the other; `origins` is its `lines`."""
        return lines(Log(self.outputs, self.checks, self.environment), origins)

    def to_python(self) -> str:
        """A Python program that needs NumPy alone and gives the same bits (`lima.to_python`)."""
        if self.foreign is not None:
            source = self.foreign.measured()
            source.check()
            return to_python(_foreign(source).outputs)
        return to_python(self.outputs, self.data_dir, self.checks)

    def bound(self, inputs: Mapping[str, Any]) -> Lineage:
        """What is recomputed with these inputs: the lineage itself, if it is one of lima's.

        A log of another system does not say what its inputs held: its lineage depends on them.
        """
        return self if self.foreign is None else _foreign(self.foreign.bound(inputs).measured())

    def given(self, inputs: Mapping[str, Any]) -> tuple[Lineage, dict[str, Any]]:
        """The lineage for these inputs, and what is known of the data of its leaves.

        Raises ReplayError where the log of another system does not carry enough.
        """
        made = self.bound(inputs)
        if made.foreign is None:
            return made, dict(inputs)
        made.foreign.check(absent=True)
        arrays = made.foreign.arrays
        return made, {node.digest.hex(): arrays[node.digest] for node in made.leaves}

    @property
    def cautions(self) -> tuple[str, ...]:
        """Why the log may have recorded something else than what ran; only of other systems."""
        return () if self.foreign is None else self.foreign.cautions

    def to_dot(self, limit: int = LIMIT) -> str:
        """The graph in the language of Graphviz, inputs above users.

        Of more than `limit` nodes, what repeats is drawn as one box, and so is the middle of what
        is still too much. The same holds for the other pictures.
        """
        return pictures.dot(self.nodes, self.outputs, limit)

    def to_mermaid(self, limit: int = LIMIT) -> str:
        """The graph as a Mermaid flowchart, which Markdown on many sites shows."""
        return pictures.mermaid(self.nodes, self.outputs, limit)

    def to_svg(self, limit: int = LIMIT, colours: str = "outcome") -> str:
        """The graph as an SVG image, coloured by how each result was got.

        With `colours="cost"` it is coloured by the share of all seconds that a box took, or would
        have taken where its results were reused. Raises ValueError for other colours.
        """
        return drawing.svg(self.nodes, self.outputs, limit, colours)

    def to_html(self, limit: int = LIMIT) -> str:
        """The graph as a page that needs no network: zoom, search, details of every box.

        Boxes for loops, for what one function asked for and for the rest open to pictures of their
        own. The colours show how results were got, or what they cost.
        """
        return drawing.page(self.nodes, self.outputs, repr(self), limit)

    def to_networkx(self) -> Any:
        """The graph as a `networkx.MultiDiGraph`, all of its nodes; needs NetworkX."""
        return pictures.networkx(self.nodes, self.outputs, self.checks)

    def to_prov(self) -> str:
        """The lineage as W3C PROV, in PROV-JSON: entities, activities, and what used what."""
        return exports.prov(self.nodes, self.outputs, self.checks, self.environment)

    def to_openlineage(
        self, job: str = "program", namespace: str = "lima", time: datetime | None = None
    ) -> str:
        """The lineage as one OpenLineage event: leaves are its inputs, results its outputs.

        `time` is that of the event, now by default.
        """
        return exports.openlineage(
            self.nodes, self.outputs, self.checks, self.environment,
            job=job, namespace=namespace, time=time,
        )  # fmt: skip

    def _numbers(self) -> dict[bytes, int]:
        return {node.digest: k for k, node in enumerate(self.nodes, 1)}

    def __len__(self) -> int:
        return len(self.nodes) if self.folded is None else self.folded.count

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lineage):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(frozenset(self._identity().items()))

    def _identity(self) -> dict[str, bytes]:
        if self.folded is not None:
            return self.folded.digests
        return {name: node.digest for name, node in self.outputs.items()}

    def __repr__(self) -> str:
        names = [leaf.name or "an unnamed array" for leaf in self.leaves]
        shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        origin = f" from {shown}" if names else ""
        return f"<Lineage of {', '.join(self._identity())}: {len(self)} nodes{origin}>"

    def _repr_html_(self) -> str:
        numbers = self._numbers()
        rows = [(f"%{numbers[n.digest]}", node_text(n, numbers)) for n in self.nodes[:MAX_ROWS]]
        if len(self) > MAX_ROWS:
            rows.append(("...", f"{len(self) - MAX_ROWS} more"))
        rows += [(name, f"%{numbers[n.digest]}") for name, n in self.outputs.items()]
        body = "".join(
            f"<tr><td>{html.escape(name)}</td>"
            f'<td style="text-align:left"><code>{html.escape(text[:300])}</code></td></tr>'
            for name, text in rows
        )
        return (
            f"<p>{html.escape(repr(self))}</p>{self.to_svg(NOTEBOOK)}"
            f"<details><summary>{len(self)} nodes</summary><table>{body}</table></details>"
        )


def check_of(value: Any) -> Check | None:
    """What a log records of a result, None for one whose bytes say nothing (Python objects).

    >>> check_of(np.arange(3.0)).shape
    (3,)
    """
    parts = taken(value)
    if parts is not None:
        return _check_of_sparse(parts)
    array = np.asarray(value)
    if array.dtype.hasobject:
        return None
    content = xxh3_128_hexdigest(content_bytes(np.asarray(array, order="C")))
    return Check(dtype_text(array.dtype), array.shape, content)


def _check_of_sparse(parts: Parts) -> Check | None:
    """As of an array; the content is class, state and all arrays."""
    checks = [check_of(a) for a in parts.arrays]
    if None in checks:
        return None
    facts = [(c.dtype, c.shape, c.content) for c in checks if c is not None]
    content = xxh3_128_hexdigest(encode((parts.kind, parts.extras, facts)))
    return Check(facts[0][0], parts.shape, content)


# --------------------------------------------------------------------------- files


def write(
    target: Target,
    lineage: Lineage,
    data: Mapping[bytes, Any] | None = None,
    lines: bool = False,
) -> None:
    """Write a log to a path or an open text file, with the lines of the user's program if asked.

    `data` maps digests of leaves to their arrays; they are stored in the folder `<path>.data`,
    one `.npy` file each, so that the log can be recomputed anywhere. Files are written aside and
    renamed: a reader sees an old or a new file, never half of one. Raises ReplayError for an array
    that cannot be stored (Python objects).
    """
    if isinstance(target, str | os.PathLike):
        path = Path(target)
        if data:
            _write_arrays(data_dir_of(path), data)
        _write_aside(path, lambda file: _write_lines(file, lineage, lines))
        return
    if data:
        raise TypeError("arrays are stored beside a file: give a path, not an open file")
    for line in lineage.lines(lines):
        target.write(line)


def _write_lines(file: IO[bytes], lineage: Lineage, origins: bool) -> None:
    for line in lineage.lines(origins):
        file.write(line.encode())


def _write_arrays(folder: Path, data: Mapping[bytes, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for digest, value in data.items():
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise ReplayError(f"leaf {digest.hex()} holds Python objects, which cannot be stored")
        path = folder / f"{digest.hex()}.npy"
        if not path.exists():
            _write_aside(path, lambda file, a=array: np.save(file, a, allow_pickle=False))  # type: ignore[misc]


def _write_aside(path: Path, fill: Callable[[IO[bytes]], None]) -> None:
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(aside, "wb") as file:
            fill(file)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def data_dir_of(path: str | os.PathLike[str]) -> Path:
    """The folder beside the log at `path` that holds the arrays of its leaves."""
    path = Path(path)
    return path.with_name(path.name + ".data")


def read(source: Target) -> Lineage:
    """The lineage that the log at a path or in an open text file records.

    A log of SystemDS is recognised by its first line. Nothing is executed. Raises LogError, with
    the line number, for a malformed log.
    """
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return _parsed(_lines_of(file), Path(source))
    return _parsed(iter(lambda: source.readline(MAX_LINE + 2), ""), None)


def _parsed(text: Iterator[str], path: Path | None) -> Lineage:
    try:
        first = next(text, "")
    except LogError as error:
        raise LogError(f"line 1: {error}") from None
    rest = itertools.chain([first] if first else [], text)
    if recognised(first):
        return _foreign(Source.read(rest, path))
    return _lineage(parse(rest), None if path is None else data_dir_of(path))


def _foreign(source: Source) -> Lineage:
    return Lineage({"result": source.root}, environment=OF_SYSTEMDS, foreign=source, kept={})


def loads(text: str) -> Lineage:
    """The lineage that the text of a log records; see `read`."""
    return read(io.StringIO(text, newline="\n"))


def _lineage(found: Log, data_dir: Path | None) -> Lineage:
    return Lineage(
        found.outputs, checks=found.checks, environment=found.environment, data_dir=data_dir,
        folded=found.folded, kept={},
    )  # fmt: skip


def _lines_of(file: IO[bytes]) -> Iterator[str]:
    for raw in iter(lambda: file.readline(4 * MAX_LINE), b""):
        try:
            yield raw.decode()
        except UnicodeDecodeError as error:
            raise LogError(f"expected UTF-8 text: {error.reason} at byte {error.start}") from None
