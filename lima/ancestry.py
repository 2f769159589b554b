"""The lineage of what is stored, node by node, as the index keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lima.catalog import LINES, MAX_TEXT, Catalog, Row
from lima.errors import LogError, NotCanonical
from lima.graph import topological
from lima.log import node_text
from lima.node import Node, Unique
from lima.objects import is_plain_dtype
from lima.origins import MAX_TEXT as MAX_NAME
from lima.origins import lines_by_digest, printable
from lima.places import Line, noted
from lima.reading import Lines

if TYPE_CHECKING:
    from sqlite3 import Connection

MAX_NODES = 1000
"""New nodes that any value may bring along ..."""

NODES_A_SECOND = 50_000
"""... and more of them for each second that computing it took: noting one takes some 10 µs."""


class TooLong(Exception):
    """A lineage that is not worth its place, or that no other process could have."""


def ancestry(roots: Iterable[Node], known: set[bytes], most: int) -> list[Row]:
    """Rows for `roots` and those of their ancestors that are not `known`, inputs before users.

    Raises TooLong for more than `most`, and for a lineage with an object that equals no other.
    """

    def below(node: Node) -> tuple[Any, ...]:
        return () if node.digest in known else node.inputs

    rows: list[Row] = []
    seen: set[bytes] = set()
    for node in topological(roots, below):
        digest = node.digest
        if digest in known or digest in seen:
            continue
        if len(seen) >= most:
            raise TooLong
        seen.add(digest)
        rows.append(_row(node))
    return rows


def _row(node: Node) -> Row:
    if node.is_leaf and not is_plain_dtype(node.spec.get("dtype")):
        raise TooLong  # of Python objects, perhaps
    for x in (*node.inputs, *[v for _, v in node.spec.params]):
        if type(x) not in _SURE and _is_unique(x):
            raise TooLong
    inputs = list(dict.fromkeys(i.digest for i in node.inputs if type(i) is Node))
    try:
        text = node_text(node, {digest: k for k, digest in enumerate(inputs, 1)})
    except (LogError, NotCanonical):
        raise TooLong from None
    if len(text) > MAX_TEXT // 8:
        raise TooLong
    return Row(node.digest, node.spec.op, node.height, node.name, b"".join(inputs), text)


_SURE = frozenset({Node, bool, int, float, str, type(None)})


def _is_unique(x: Any) -> bool:
    stack = [x]
    while stack:
        item = stack.pop()
        if type(item) is Unique:
            return True
        if isinstance(item, (tuple, list)):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend((*item.keys(), *item.values()))
        elif isinstance(item, slice):
            stack.extend((item.start, item.stop, item.step))
    return False


def rebuilt(
    rows: Iterable[tuple[bytes, bytes, str]], known: dict[bytes, Node] | None = None
) -> dict[bytes, Node]:
    """Nodes by their digests, from (digest, inputs, text) of each, inputs before users.

    They are added to those that are `known`. Reading executes nothing. Raises LogError where a row
    is missing or is not what was written.
    """
    made: dict[bytes, Node] = {} if known is None else known
    for digest, inputs, text in rows:
        if type(inputs) is not bytes or type(text) is not str or len(inputs) % 16:
            raise LogError("the lineage is damaged")
        names = [inputs[k : k + 16] for k in range(0, len(inputs), 16)]
        if any(name not in made for name in names):
            raise LogError("a part of the lineage is missing")
        node = Lines([made[name] for name in names]).one(text)
        if node.digest != digest:
            raise LogError("the lineage is damaged: a node has another digest")
        made[digest] = node
    return made


# --------------------------------------------------------------------------- lines of the program


def lines_of(roots: Iterable[Node], rows: Iterable[Row]) -> dict[bytes, Line]:
    """The users' lines of the nodes that get these rows."""
    wanted = {row.digest for row in rows}
    if not wanted:
        return {}

    def below(node: Node) -> tuple[Any, ...]:
        return node.inputs if node.digest in wanted else ()

    return lines_by_digest(n for n in topological(roots, below) if n.digest in wanted)


def note_lines(writer: Connection, lines: Mapping[bytes, Line]) -> None:
    """Write down where nodes stood; of one that has a line already, that stays."""
    if lines:
        writer.execute(LINES.replace("TABLE", "TABLE IF NOT EXISTS"))
        rows = [(digest, *_written(line)) for digest, line in lines.items()]
        writer.executemany("INSERT OR IGNORE INTO lines VALUES (?,?,?,?)", rows)


def _written(line: Line) -> tuple[str, int, str]:
    return printable(line.file), max(line.line, 0), printable(line.function)


def place_of(file: Any, line: Any, function: Any) -> int:
    """The number of a line (`places.noted`) that a row says; 0 for what is no line."""
    texts = (file, function)
    if type(line) is not int or not 0 <= line < 1 << 31 or any(type(t) is not str for t in texts):
        return 0
    if any(len(text) > MAX_NAME or not text.isprintable() for text in texts):
        return 0
    return noted(Line(file, line, function))


def stand(catalog: Catalog, nodes: Iterable[Node]) -> None:
    """Say of nodes from a store where they stood."""
    if not catalog.has_lines():
        return
    query = "SELECT file, line, function FROM lines WHERE digest=?"
    for node in nodes:
        for row in catalog.rows(query, (node.digest,)):
            node.place = place_of(*row)
