"""Lineage as text that other programs draw: Graphviz's DOT, Mermaid, a NetworkX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lima.folding import Box, fold
from lima.labels import label
from lima.node import Node
from lima.queries import metas

COLOURS = {
    "hit": ("#d9f2dd", "#2e7d46"),
    "partial": ("#fdf0cf", "#a97500"),
    "computed": ("#dfe9f7", "#3567a8"),
    "refused": ("#f9dcd9", "#b3362b"),
    "data": ("#ffffff", "#777777"),
    "": ("#f3f3f3", "#777777"),
    "port": ("#ffffff", "#bbbbbb"),
}
"""Fill and line by outcome; "data" is that of leaves, "" where no outcome is known."""

COSTS = ("#f3f3f3", "#fff3d6", "#fddc9a", "#f9b36b", "#ee7f53", "#d9483b")
"""Fill by the share of all seconds that a box took: none, less than 1, 3, 10, 30 %, and more."""

_DOT_SHAPES = {"data": "ellipse", "loop": "box3d", "function": "component", "rest": "note"}
_MERMAID_SHAPES = {"data": ('(["', '"])'), "loop": ('[["', '"]]'), "rest": ('[/"', '"/]')}
_MERMAID_SHAPES["function"] = _MERMAID_SHAPES["loop"]


def colour(box: Box) -> tuple[str, str]:
    """Fill and line of a box."""
    return COLOURS[box.kind if box.kind in ("data", "port") else box.outcome]


def cost(box: Box, seconds: float) -> int:
    """The place in `COSTS` of a box, where all boxes took so many seconds."""
    if box.kind == "port" or not box.seconds:
        return 0
    share = box.seconds / seconds
    return 1 + sum(share >= bound for bound in (0.01, 0.03, 0.1, 0.3))


def dot(nodes: Sequence[Node], outputs: Mapping[str, Node], limit: int) -> str:
    """The picture in the language of Graphviz, inputs above users."""
    parts = ["digraph lineage {", '  node [shape=box style=filled fontname="sans-serif"];']
    results: list[str] = []
    for k, box in enumerate(fold(nodes, outputs, limit), 1):
        shape = _DOT_SHAPES.get(box.kind)
        fill, line = colour(box)
        look = f'fillcolor="{fill}" color="{line}"' + (f" shape={shape}" if shape else "")
        hint = f" tooltip={_dot_text(box.note)}" if box.note else ""
        parts.append(f"  n{k} [label={_dot_text(box.title)} {look}{hint}];")
        parts += [f"  n{source + 1} -> n{k};" for source in box.inputs]
        for name in box.results:
            number = len(results) // 2
            results += [
                f"  out{number} [label={_dot_text(name)} shape=plaintext style=solid];",
                f"  n{k} -> out{number};",
            ]
    return "\n".join([*parts, *results, "}"]) + "\n"


def _dot_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def mermaid(nodes: Sequence[Node], outputs: Mapping[str, Node], limit: int) -> str:
    """The picture as a Mermaid flowchart, which Markdown on many sites shows."""
    boxes = fold(nodes, outputs, limit)
    parts = ["flowchart TD"]
    members: dict[str, list[str]] = {}
    for k, box in enumerate(boxes, 1):
        opening, closing = _MERMAID_SHAPES.get(box.kind, ('["', '"]'))
        parts.append(f"  n{k}{opening}{_mermaid_text(f'{box.title} {box.note}'.strip())}{closing}")
        parts += [f"  n{source + 1} --> n{k}" for source in box.inputs]
        members.setdefault("data" if box.kind == "data" else box.outcome, []).append(f"n{k}")
    count = 0
    for k, box in enumerate(boxes, 1):
        for name in box.results:
            count += 1
            parts.append(f'  n{k} --> out{count}(["{_mermaid_text(name)}"])')
    for key, names in members.items():
        fill, line = COLOURS[key]
        parts.append(f"  classDef {key or 'unknown'} fill:{fill},stroke:{line},color:#111")
        parts.append(f"  class {','.join(names)} {key or 'unknown'}")
    return "\n".join(parts) + "\n"


def _mermaid_text(text: str) -> str:
    """Text in which nothing is taken for syntax, Markdown or HTML."""
    return "".join(c if c.isalnum() or c in " .,:=%()·×-_+/" else f"#{ord(c)};" for c in text)


def networkx(nodes: Sequence[Node], outputs: Mapping[str, Node], checks: Mapping[str, Any]) -> Any:
    """A `networkx.MultiDiGraph` with an edge from each input to its user; nodes are numbered."""
    import networkx as nx  # optional, and slow to load

    graph = nx.MultiDiGraph()
    numbers = {node.digest: k for k, node in enumerate(nodes, 1)}
    known = metas(nodes, {outputs[name].digest: check for name, check in checks.items()})
    names: dict[bytes, list[str]] = {}
    for name, node in outputs.items():
        names.setdefault(node.digest, []).append(name)
    for node in nodes:
        shape, dtype = known.get(node.digest, (None, None))
        graph.add_node(
            numbers[node.digest],
            op=node.spec.op,
            label=label(node, numbers),
            name=node.name,
            results=names.get(node.digest, []),
            shape=shape,
            dtype=None if dtype is None else dtype.str,
            outcome=None if node.outcome is None else node.outcome.outcome.value,
            seconds=None if node.outcome is None else node.outcome.seconds,
            digest=node.digest.hex(),
        )
    for node in nodes:
        for k, item in enumerate(node.inputs):
            if isinstance(item, Node):
                graph.add_edge(numbers[item.digest], numbers[node.digest], input=k)
    return graph
