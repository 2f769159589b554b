"""Two lineages side by side, in one picture: what they have in common, and where they part.

Each is drawn by itself; what the comparison paired stands in the same layer of both. Of what both
have, only what the rest reads is drawn, since it may be most of a long computation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lima.aligned import Difference
from lima.drawing import Paint, depths, details_of, framed, legend_of, paged, picture
from lima.folding import Box, fold
from lima.node import Node

APART, HEAD, NARROWEST = 60, 26, 90
"""Pixels between the two pictures, above them for their names, and of the width of one."""

NAMES = ("the first", "the second")

SAME, AFTER, APARTS = "in both", "follows from it", "differs"

COLOURS = {
    SAME: ("#f3f3f3", "#777777"),
    AFTER: ("#fdf0cf", "#a97500"),
    APARTS: ("#f9dcd9", "#b3362b"),
}
"""Fill and line: what both have, what comes of a difference, the difference itself."""


class Side(NamedTuple):
    """One of two lineages: its nodes, inputs before users, and its results."""

    nodes: Sequence[Node]
    outputs: Mapping[str, Node]


class Sides(NamedTuple):
    """What is drawn: two lineages, the nodes that were compared, and what was found."""

    a: Side
    b: Side
    pairs: Sequence[tuple[Node, Node]]
    differences: Sequence[Difference]


class _Drawing:
    """The boxes of both sides, their layers and their colours."""

    def __init__(self, sides: Sides, limit: int) -> None:
        mine = {node.digest for node in sides.a.nodes}
        self.common = mine & {node.digest for node in sides.b.nodes}
        self.texts: list[dict[bytes, list[str]]] = [{}, {}]
        for k, found in enumerate(sides.differences, 1):
            for texts, node in zip(self.texts, (found.a, found.b), strict=True):
                if node is not None:
                    texts.setdefault(node.digest, []).append(f"{k}. {found}")
        both = sides.a, sides.b
        self.boxes = [
            fold(self.shown(side), side.outputs, max(limit // 2, 4)) if side.outputs else []
            for side in both
        ]
        self.numbers = [{n.digest: k for k, n in enumerate(side.nodes, 1)} for side in both]
        self.depth = _aligned(self.boxes, _partners(self.boxes, sides.pairs, self.common))
        for boxes, texts in zip(self.boxes, self.texts, strict=True):
            for box in boxes:
                marks = [
                    text.partition(".")[0] for n in box.nodes for text in texts.get(n.digest, ())
                ]
                if marks:
                    told = ", ".join(dict.fromkeys(marks))
                    box.note = f"{box.note} ≠ {told}".strip() if box.note else f"≠ {told}"

    def shown(self, side: Side) -> list[Node]:
        """What one side has alone, with what that reads."""
        wanted = {node.digest for node in side.outputs.values()}
        for node in side.nodes:
            if node.digest not in self.common:
                wanted.add(node.digest)
                wanted.update(item.digest for item in node.inputs if isinstance(item, Node))
        return [node for node in side.nodes if node.digest in wanted]

    def state(self, box: Box, side: int) -> str:
        if any(node.digest in self.texts[side] for node in box.nodes):
            return APARTS
        return SAME if all(node.digest in self.common for node in box.nodes) else AFTER

    def svg(self) -> str:
        parts: list[str] = []
        at, height, first = 0.0, 40.0, 0
        for side, name in enumerate(NAMES):
            boxes = self.boxes[side]
            if not boxes:
                continue
            if at:
                line = at - APART / 2
                parts.append(f'<path d="M{line:.1f} 4v{HEAD + height:.1f}" stroke="#ccc"/>')
            made = picture(boxes, self.depth[side], self.paint(side), first)
            width = max(made.right - made.left, NARROWEST)
            middle = at + width / 2
            parts.append(f'<text x="{middle:.1f}" y="16" text-anchor="middle">{name}</text>')
            shift = middle - (made.left + made.right) / 2
            parts.append(f'<g transform="translate({shift:.1f} {HEAD})">')
            parts += [*made.parts, "</g>"]
            at += width + APART
            height = max(height, made.height)
            first += len(boxes)
        return framed(parts, 0, 0, max(at - APART, NARROWEST), HEAD + height)

    def paint(self, side: int) -> Paint:
        """The colours of the boxes of one side."""
        return lambda box: COLOURS[self.state(box, side)]

    def details(self) -> Iterable[dict[str, object]]:
        """What the page shows of the boxes, in the order in which they are numbered."""
        for side, boxes in enumerate(self.boxes):
            for box in boxes:
                made = details_of(box, self.numbers[side])
                texts = [t for n in box.nodes for t in self.texts[side].get(n.digest, ())]
                about = ", ".join(filter(None, [self.state(box, side), str(made["about"])]))
                yield {**made, "about": about, "lines": [*texts, *made["lines"]]}


def _partners(
    boxes: list[list[Box]], pairs: Iterable[tuple[Node, Node]], common: set[bytes]
) -> dict[int, int]:
    """The box of the second side that stands beside a box of the first."""
    theirs = {node.digest: k for k, box in enumerate(boxes[1]) for node in box.nodes}
    beside = {digest: digest for digest in common}
    for x, y in pairs:
        beside.setdefault(x.digest, y.digest)
    found: dict[int, int] = {}
    taken: set[int] = set()
    for k, box in enumerate(boxes[0]):
        for node in box.nodes:
            other = theirs.get(beside.get(node.digest, b""))
            if other is not None and other not in taken:
                found[k] = other
                taken.add(other)
                break
    return found


def _aligned(boxes: list[list[Box]], partners: Mapping[int, int]) -> list[list[int]]:
    """The layers of all boxes: below what they read, partners in one.

    Where that cannot be, as two steps have changed places, each side is by itself.
    """
    count = len(boxes[0])
    merged = {count + other: k for k, other in partners.items()}
    reads: dict[int, set[int]] = {}
    for start, side in ((0, boxes[0]), (count, boxes[1])):
        for k, box in enumerate(side, start):
            below = {merged.get(start + i, start + i) for i in box.inputs}
            reads.setdefault(merged.get(k, k), set()).update(below)
    depth = _longest(reads)
    if depth is None:
        return [depths(side) for side in boxes]
    users: dict[int, int] = {}
    for k, below in reads.items():
        for source in below:
            users[source] = min(users.get(source, depth[k]), depth[k])
    for source, user in users.items():
        if not reads[source]:
            depth[source] = user - 1  # what reads nothing stands just above its first user
    where = [depth[merged.get(k, k)] for k in range(count + len(boxes[1]))]
    return [where[:count], where[count:]]


def _longest(reads: Mapping[int, set[int]]) -> dict[int, int] | None:
    """How far each is from what reads nothing; None if they go round in a circle."""
    waiting = {k: len(below) for k, below in reads.items()}
    users: dict[int, list[int]] = {k: [] for k in reads}
    for k, below in reads.items():
        for source in below:
            users[source].append(k)
    depth = {k: 0 for k, n in waiting.items() if n == 0}
    ready = list(depth)
    for k in ready:
        for user in users[k]:
            depth[user] = max(depth.get(user, 0), depth[k] + 1)
            waiting[user] -= 1
            if waiting[user] == 0:
                ready.append(user)
    return depth if len(ready) == len(reads) else None


def svg(sides: Sides, limit: int) -> str:
    """Both lineages as one SVG element that needs nothing beside itself."""
    return _Drawing(sides, limit).svg()


def page(sides: Sides, limit: int, text: str) -> str:
    """Both lineages as an HTML page that needs no network; `text` is listed beside them."""
    drawn = _Drawing(sides, limit)
    legend = "".join(legend_of(name, *colours) for name, colours in COLOURS.items())
    title = text.partition("\n")[0]
    return paged(title, drawn.svg(), legend, list(drawn.details()), text)
