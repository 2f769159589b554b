"""A lineage as SVG, and as a page of its own with zoom, search and details.

The layout is a plain layered one: a box stands below all that it reads; long edges pass through
the layers between at places of their own; places within a layer follow those of the neighbours.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lima.folding import Box, fold, opened
from lima.labels import cut, label
from lima.node import Node
from lima.page import PAGE
from lima.pictures import COLOURS, COSTS, colour, cost

HEIGHT, ROW, GAP, MARGIN = 28, 64, 16, 14
"""Pixels: of a box, from one layer to the next, between boxes, around the picture."""

LETTER = 6.7
"""Pixels of a letter, of 11-pixel monospace."""

SWEEPS = 6
"""How often places are brought closer to those of their neighbours."""

DETAILS = 60
"""Nodes of a box that the page lists."""

DRAWN = 4000
"""Boxes from which a page draws no more of what boxes open to."""


@dataclass(slots=True)
class Place:
    """Where a box stands, or where a long edge passes a layer (then `box` is None)."""

    box: Box | None
    layer: int
    width: float
    above: list[Place] = field(default_factory=list)
    below: list[Place] = field(default_factory=list)
    x: float = 0.0  # of its centre

    @property
    def y(self) -> float:
        return MARGIN + HEIGHT / 2 + self.layer * ROW


def svg(
    nodes: Sequence[Node], outputs: Mapping[str, Node], limit: int, colours: str = "outcome"
) -> str:
    """The picture as an SVG element that needs nothing beside itself.

    colours  "outcome": how results were got; "cost": the share of all seconds
    """
    boxes = fold(nodes, outputs, limit)
    if colours not in ("outcome", "cost"):
        raise ValueError(f"colours={colours!r}: it is 'outcome' or 'cost'")
    if colours == "outcome":
        return _svg(boxes, colour)
    seconds = _seconds(boxes)
    return _svg(boxes, lambda box: (COSTS[cost(box, seconds)], "#777777"))


class Sheet(NamedTuple):
    """One picture of a page: boxes, the number of the first of them, and where to go back to."""

    title: str
    boxes: list[Box]
    first: int
    outer: int


def page(nodes: Sequence[Node], outputs: Mapping[str, Node], title: str, limit: int) -> str:
    """The picture as an HTML page that needs no network: zoom, search, details of each box.

    Boxes of several nodes open to pictures of their own, as long as there are few enough.
    """
    sheets = [Sheet("whole", fold(nodes, outputs, limit), 0, 0)]
    opens: dict[int, int] = {}
    count = len(sheets[0].boxes)
    for number, sheet in enumerate(sheets):  # which grows meanwhile
        around = {node.digest: box for box in sheet.boxes for node in box.nodes}
        for k, box in enumerate(sheet.boxes, sheet.first):
            inner = opened(box, outputs, around) if count < DRAWN else []
            if inner:
                opens[k] = len(sheets)
                sheets.append(Sheet(box.title, inner, count, number))
                count += len(inner)
    numbers = {node.digest: k for k, node in enumerate(nodes, 1)}
    seconds = _seconds(sheets[0].boxes)
    details = [
        {**details_of(box, numbers), "cost": cost(box, seconds), "opens": opens.get(k, 0)}
        for sheet in sheets
        for k, box in enumerate(sheet.boxes, sheet.first)
    ]
    drawn = [_svg(sheet.boxes, colour, sheet.first) for sheet in sheets]
    closed = [
        f'<template data-title="{html.escape(s.title)}" data-outer="{s.outer}">{text}</template>'
        for s, text in zip(sheets[1:], drawn[1:], strict=True)
    ]
    legend = "".join(_legend([box for sheet in sheets for box in sheet.boxes]))
    return paged(title, drawn[0] + "".join(closed), legend, details)


def _seconds(boxes: Iterable[Box]) -> float:
    return sum(box.seconds for box in boxes)


def paged(
    title: str, svg: str, legend: str, details: Sequence[Mapping[str, Any]], notes: str = ""
) -> str:
    """The page around a picture; `title` and `notes` are plain text, `legend` is HTML.

    After the picture may stand others, in templates, which boxes open to.
    """
    text = json.dumps(list(details), ensure_ascii=True)
    parts = {
        "TITLE": html.escape(title),
        "COSTS": "\n".join(
            f'.cost .box[data-c="{k}"] rect {{ fill: {fill}; }}' for k, fill in enumerate(COSTS)
        ),
        "SVG": svg,
        "LEGEND": legend,
        "NOTES": f"<pre>{html.escape(notes)}</pre>" if notes else "",
        "DETAILS": text.replace("<", "\\u003c"),  # no text ends the script that holds it
    }
    # One pass over the page: what was put in is not looked at again.
    return re.sub(r"<!--([A-Z]+)-->", lambda mark: parts[mark[1]], PAGE)


def details_of(box: Box, numbers: Mapping[bytes, int]) -> dict[str, Any]:
    """What the page shows of a box when it is chosen."""
    shown = box.nodes[:DETAILS]
    lines = [
        f"%{numbers[node.digest]} {label(node, numbers, width=120)}"
        + ("" if node.line is None else f"  at {node.line}")
        for node in shown
    ]
    if len(box.nodes) > len(shown):
        lines.append(f"... {len(box.nodes) - len(shown):,} more")
    return {"title": title_of(box), "about": _about(box), "lines": lines}


def _about(box: Box) -> str:
    counts = [f"{count:,} {outcome}" for outcome, count in sorted(box.outcomes.items())]
    facts = [f"{len(box.nodes):,} nodes"] if len(box.nodes) > 1 else []
    facts += counts
    facts += [f"{box.seconds * 1e3:.3g} ms"] if box.seconds else []
    facts += [f"result {name}" for name in box.results]
    return ", ".join(facts)


def _legend(boxes: Iterable[Box]) -> Iterable[str]:
    yield '<span class="outcomes">'
    shown = (box.kind if box.kind in ("data", "port") else box.outcome for box in boxes)
    for key in dict.fromkeys(shown):
        fill, line = COLOURS[key]
        yield legend_of({"": "not timed", "port": "from outside"}.get(key, key), fill, line)
    yield '</span><span class="costs">'
    for fill, share in zip(COSTS, ("none", "&lt; 1 %", "1 %", "3 %", "10 %", "30 %"), strict=True):
        yield legend_of(share, fill, "#777777")
    yield "of the time</span>"


def legend_of(name: str, fill: str, line: str) -> str:
    """What a colour means."""
    return f'<span style="background:{fill};border:1px solid {line}">{name}</span> '


# ------------------------------------------------------------------------------------- layout


class Picture(NamedTuple):
    """Drawn boxes and edges; `left` and `right` are where they end, `layers` how many there are."""

    parts: list[str]
    left: float
    right: float
    layers: int

    @property
    def height(self) -> float:
        return 2 * MARGIN + HEIGHT + (self.layers - 1) * ROW


Paint = Callable[[Box], tuple[str, str]]


def picture(boxes: list[Box], depth: list[int], paint: Paint, first: int = 0) -> Picture:
    """The boxes in layers of these numbers; boxes are numbered from `first` on."""
    layers = _layers(boxes, depth)
    _settle(layers)
    left = min(p.x - p.width / 2 for layer in layers for p in layer) - MARGIN
    right = max(p.x + p.width / 2 for layer in layers for p in layer) + MARGIN
    numbers = {id(box): k for k, box in enumerate(boxes, first)}
    everything = [place for layer in layers for place in layer]
    parts = [_edge(place, user) for place in everything for user in place.below]
    for place in everything:
        if place.box is not None:
            parts.append(_drawn(place, place.box, numbers, paint(place.box)))
    return Picture(parts, left, right, len(layers))


def framed(parts: Iterable[str], left: float, top: float, width: float, height: float) -> str:
    """The SVG element around what was drawn."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{left:.0f} {top:.0f} {width:.0f} {height:.0f}" '
        'font-family="monospace" font-size="11">'
    )
    return "\n".join([head, *parts, "</svg>"])


def _svg(boxes: list[Box], paint: Paint, first: int = 0) -> str:
    made = picture(boxes, depths(boxes), paint, first)
    return framed(made.parts, made.left, 0, made.right - made.left, made.height)


def depths(boxes: list[Box]) -> list[int]:
    """The layer of each box: below all that it reads."""
    depth = [0] * len(boxes)
    for k, box in enumerate(boxes):  # inputs come first
        depth[k] = 1 + max((depth[source] for source in box.inputs), default=-1)
    for source, user in _first_users(boxes, depth).items():
        if not boxes[source].inputs:
            depth[source] = user - 1  # what reads nothing stands just above its first user
    return depth


def _layers(boxes: list[Box], depth: list[int]) -> list[list[Place]]:
    """Places by layer, with a chain of passing places for each edge over several layers."""
    layers: list[list[Place]] = [[] for _ in range(max(depth, default=0) + 1)]
    places = []
    for k, box in enumerate(boxes):
        width = 18 + LETTER * max(len(title_of(box)), 6)
        places.append(Place(box, depth[k], width))
        layers[depth[k]].append(places[k])
    passing: dict[tuple[int, int], Place] = {}
    for k, box in enumerate(boxes):
        for source in box.inputs:
            at = places[source]
            for layer in range(depth[source] + 1, depth[k]):
                step = passing.get((source, layer))
                if step is None:  # shared by all users further down
                    step = passing[source, layer] = Place(None, layer, 4.0)
                    layers[layer].append(step)
                    _join(at, step)
                at = step
            _join(at, places[k])
    return layers


def _first_users(boxes: list[Box], depth: list[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for k, box in enumerate(boxes):
        for source in box.inputs:
            found[source] = min(found.get(source, depth[k]), depth[k])
    return found


def _join(above: Place, below: Place) -> None:
    above.below.append(below)
    below.above.append(above)


def _settle(layers: list[list[Place]]) -> None:
    """Give every place an x near those of its neighbours; boxes of a layer do not overlap."""
    for layer in layers:
        _spread(layer, [0.0] * len(layer))
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            wanted = [_middle(p.above if down else p.below, p.x) for p in layer]
            order = sorted(range(len(layer)), key=wanted.__getitem__)
            layer[:] = [layer[k] for k in order]
            _spread(layer, [wanted[k] for k in order])


def _middle(neighbours: list[Place], otherwise: float) -> float:
    return sum(p.x for p in neighbours) / len(neighbours) if neighbours else otherwise


def _spread(layer: list[Place], wanted: list[float]) -> None:
    """Place from left to right, none before it fits; then shift all by what they were off."""
    edge = float("-inf")
    for place, x in zip(layer, wanted, strict=True):
        place.x = max(x, edge + place.width / 2)
        edge = place.x + place.width / 2 + GAP
    off = sum(x - place.x for place, x in zip(layer, wanted, strict=True)) / max(len(layer), 1)
    for place in layer:
        place.x += off


# ------------------------------------------------------------------------------------- drawing


def title_of(box: Box) -> str:
    title = f"{box.title}: {box.note}" if box.note else box.title
    return cut(f"{title} → {', '.join(box.results)}", 64) if box.results else title


def _edge(above: Place, below: Place) -> str:
    """A line from the bottom of what is read to the top of what reads it."""
    top = above.y + (HEIGHT / 2 if above.box else 0)
    bottom = below.y - (HEIGHT / 2 if below.box else 0)
    bend = (bottom - top) / 2
    return (
        f'<path d="M{above.x:.1f} {top:.1f}C{above.x:.1f} {top + bend:.1f} '
        f'{below.x:.1f} {bottom - bend:.1f} {below.x:.1f} {bottom:.1f}" '
        'fill="none" stroke="#999"/>'
    )


def _drawn(place: Place, box: Box, numbers: Mapping[int, int], colours: tuple[str, str]) -> str:
    fill, line = colours
    x, y = place.x - place.width / 2, place.y - HEIGHT / 2
    corner = HEIGHT / 2 if box.kind == "data" else 4
    thick = 2 if box.units or box.kind == "rest" or box.results else 1
    dashes = ' stroke-dasharray="5 3"' if box.kind in ("rest", "port") else ""
    about = "" if box.kind == "port" else _about(box)
    hint = html.escape("\n".join(filter(None, [title_of(box), about])))
    return (
        f'<g class="box" data-k="{numbers[id(box)]}"><title>{hint}</title>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{place.width:.1f}" height="{HEIGHT}" '
        f'rx="{corner}" fill="{fill}" stroke="{line}" stroke-width="{thick}"{dashes}/>'
        f'<text x="{place.x:.1f}" y="{place.y + 4:.1f}" text-anchor="middle" fill="#111">'
        f"{html.escape(title_of(box))}</text></g>"
    )
