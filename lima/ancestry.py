"""The lineage of what is stored, node by node, as the index keeps it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lima.catalog import MAX_TEXT, Row
from lima.errors import LogError, NotCanonical
from lima.log import node_text
from lima.node import Node, Unique, topological
from lima.objects import is_plain_dtype
from lima.reading import Lines

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
