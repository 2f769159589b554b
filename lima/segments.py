"""Where a lineage repeats: its nodes, in the order of the log, cut into patches and single nodes.

A patch is a stretch of nodes with equal operations that comes more than once: the body of a loop
along one path, or what lies between such bodies. Repetitions are looked for from the inside out: a
loop that was found is one item of the sequence in which the next ones are looked for, however many
rounds it has. Only operations and kinds of operands count here; what differs from round to round
are streams of the patch (`lima.patches`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lima.node import LEAF, Node, Ref, encode
from lima.streams import Keys, Slot, numbered, repeats

SAVED = 8
"""Nodes that a loop must save to be written as one."""

WORTH = 16
"""Lines that patches must save, all together, for there to be any."""

ANCHORS = 6
"""Operations at whose places a body with branches is tried to be cut."""

PASSES = 8
"""How deep loops in loops are looked for."""

UNROLLED = 64
"""Nodes of the longest round that is one patch although it has loops, always the same ones."""


class Stretch(NamedTuple):
    """`length` nodes from `start` on; `patch` is the number of their patch, None for one node."""

    start: int
    length: int
    patch: int | None


# --------------------------------------------------------------------------- keys


class Call(NamedTuple):
    """A node as the log spells it; the digest of a leaf is one of its parameters.

    `npos` is None where all inputs are passed by position.
    """

    op: str
    version: int
    npos: int | None
    inputs: tuple[Any, ...]
    params: tuple[tuple[str, Any], ...]


class Free(str):
    """A text that may differ between the rounds of a loop."""

    __slots__ = ()


def call_of(node: Node, text: type[str] = Free) -> Call:
    """The call of a node; name and digest of a leaf as `text`."""
    spec = node.spec
    if spec.op != LEAF:
        return Call(spec.op, spec.version, spec.npos, node.inputs, spec.params)
    names = () if node.name is None else (text(node.name),)
    params = (*spec.params, ("digest", text(node.digest.hex())))
    return Call(LEAF, 1, None, names, params)


OPENED = (tuple, list)


def form(value: Any) -> Any:
    """What a value must share with that of another round: all but numbers and data."""
    kind = type(value)
    if kind in OPENED:
        return (kind, *map(form, value))
    if kind is slice:
        return (kind, form(value.start), form(value.stop), form(value.step))
    if value is None or kind is bool or kind is str or kind is bytes or kind is type(...):
        return (kind, value)
    if kind is Node:
        return Node
    if kind is Ref or isinstance(value, np.dtype | type):
        return encode(value)
    return Slot


def parts(value: Any) -> Iterator[Any]:
    """The numbers and data inside a value, for which `form` has a `Slot`."""
    kind = type(value)
    if kind in OPENED:
        for item in value:
            yield from parts(item)
    elif kind is slice:
        for item in (value.start, value.stop, value.step):
            yield from parts(item)
    elif form(value) is Slot:
        yield value


def filled(value: Any, given: Iterator[Any]) -> Any:
    """`value` with the given items in the places of its `parts`."""
    kind = type(value)
    if kind in OPENED:
        return kind([filled(item, given) for item in value])
    if kind is slice:
        return slice(*[filled(item, given) for item in (value.start, value.stop, value.step)])
    return next(given) if form(value) is Slot else value


def keys_of(nodes: Sequence[Node]) -> Keys:
    """Nodes that may stand in the same line of a patch as equal numbers."""
    known: dict[tuple[int, tuple[Any, ...]], int] = {}
    names: dict[Any, int] = {}
    keys = []
    for node in nodes:
        kinds = tuple([type(item) for item in node.inputs])
        short = (id(node.spec), kinds)  # nodes of one loop often share their spec
        key = known.get(short)
        if key is None:
            call = call_of(node)
            inputs = tuple(map(form, call.inputs))
            params = tuple([(name, form(value)) for name, value in call.params])
            npos = len(inputs) if call.npos is None else call.npos
            full = (call.op, call.version, npos, inputs, params)
            key = names.setdefault(full, len(names))
            if not any(k in OPENED or k in (str, bool, slice, type(None)) for k in kinds):
                known[short] = key
        keys.append(key)
    return numbered(keys)


# --------------------------------------------------------------------------- loops


Span: TypeAlias = tuple[int, int]
"""The first place of a stretch of nodes, and the one after its last."""


class _Item:
    """Nodes from `start` to `end`: one node, or a loop.

    period  of a loop without loops in it: the nodes of a round
    rounds  of another loop: the items of each round
    """

    __slots__ = ("end", "key", "period", "rounds", "start")

    def __init__(self, start: int, end: int, key: Any, period: int = 0) -> None:
        self.start = start
        self.end = end
        self.key = key
        self.period = period
        self.rounds: list[list[_Item]] = []

    @property
    def single(self) -> bool:
        return not self.period and not self.rounds

    def spans(self) -> list[Span]:
        """Where the rounds of a loop are."""
        if self.period:
            return [(k, k + self.period) for k in range(self.start, self.end, self.period)]
        return [(one[0].start, one[-1].end) for one in self.rounds]


def _loop(keys: Keys, start: int, end: int, period: int) -> _Item:
    """A loop of single nodes."""
    return _Item(start, end, ("loop", *keys[start : start + period].tolist()), period)


def _singles(keys: Keys, start: int, end: int) -> list[_Item]:
    return [_Item(k, k + 1, key) for k, key in enumerate(keys[start:end].tolist(), start)]


def stretches(nodes: Sequence[Node]) -> list[Stretch]:
    """The nodes cut into patches that come at least twice, and single nodes."""
    keys = keys_of(nodes)
    items = _looped(_innermost(keys))
    if sum(item.single for item in items) > WORTH:
        items = _looped(_paths(items, keys))
    cut = list(_flat(items, keys))
    names: dict[bytes, int] = {}
    counts: Counter[int] = Counter()
    numbers: list[int | None] = []
    for start, end, whole in cut:
        number = names.setdefault(keys[start:end].tobytes(), len(names)) if whole else None
        numbers.append(number)
        if number is not None:
            counts[number] += 1
    found: list[Stretch] = []
    for (start, end, _), number in zip(cut, numbers, strict=True):
        if number is None or counts[number] == 1:
            found += [Stretch(k, 1, None) for k in range(start, end)]
        else:
            found.append(Stretch(start, end - start, number))
    lines = {one.patch: one.length for one in found if one.patch is not None}
    written = sum(lines.values()) + sum(one.patch is None for one in found)
    if len(nodes) - written < WORTH:
        return [Stretch(k, 1, None) for k in range(len(nodes))]
    return found


def _innermost(keys: Keys) -> list[_Item]:
    """Single nodes, and loops of them."""
    found: list[_Item] = []
    at = 0
    for one in repeats(keys, SAVED):
        found += _singles(keys, at, one.start)
        found.append(_loop(keys, one.start, one.end, one.period))
        at = one.end
    return found + _singles(keys, at, len(keys))


def _looped(items: list[_Item]) -> list[_Item]:
    """The items with loops found, loops of loops as well."""
    for _ in range(PASSES):
        found = _pass(items)
        if len(found) == len(items):
            break
        items = found
    return items


def _pass(items: list[_Item]) -> list[_Item]:
    found: list[_Item] = []
    at = 0
    keys = numbered([item.key for item in items])
    sizes = np.cumsum([0, *[item.end - item.start for item in items]])
    for one in repeats(keys, SAVED, sizes=sizes):
        found += items[at : one.start]
        inner = items[one.start : one.start + one.period]
        key = ("loop", *[item.key for item in inner])
        loop = _Item(inner[0].start, items[one.end - 1].end, key)
        if all(item.single for item in inner):
            loop.period = one.period
        else:
            places = range(one.start, one.end, one.period)
            loop.rounds = [items[k : k + one.period] for k in places]
        found.append(loop)
        at = one.end
    return found + items[at:]


def _paths(items: list[_Item], keys: Keys) -> list[_Item]:
    """The items with what stands between loops cut into stretches that come again.

    These are the paths of a body with branches, whose order follows no rule. They begin, as the
    body does, with one operation; or they are all that stands between two loops. Of such cuts the
    one is taken that is written shortest.
    """
    options = [[(item.start, item.end) for item in _gaps(items)]]
    for spans in ([(0, len(keys))], list(_flat_spans(items))):
        counts = np.bincount(np.concatenate([keys[start:end] for start, end in spans]))
        for anchor in np.argsort(-counts, kind="stable")[:ANCHORS].tolist():
            if counts[anchor] > 2:
                options.append([cut for span in spans for cut in _at_each(anchor, span, keys)])
    best = min(options, key=lambda cuts: _cost(items, cuts, keys))
    return _cut(items, best, keys)


def _flat_spans(items: list[_Item]) -> Iterator[Span]:
    """The stretches of nodes without loops in loops."""
    start: int | None = None
    for item in [*items, None]:
        if item is not None and not item.rounds:
            start = item.start if start is None else start
            end = item.end
        elif start is not None:
            yield start, end
            start = None


def _at_each(anchor: int, span: Span, keys: Keys) -> Iterator[Span]:
    """A stretch cut before each place of the operation `anchor`."""
    start, end = span
    places = [start, *(start + np.flatnonzero(keys[start:end] == anchor)).tolist(), end]
    for first, last in itertools.pairwise(places):
        if first < last:
            yield first, last


def _cut(items: list[_Item], cuts: list[Span], keys: Keys) -> list[_Item]:
    """The items with these stretches, where they come more than once, as a round each."""
    texts = [keys[start:end].tobytes() for start, end in cuts]
    counts = Counter(texts)
    found: list[_Item] = []
    rest = iter(items)
    item = next(rest, None)
    for (start, end), text in zip(cuts, texts, strict=True):
        while item is not None and item.start < start:
            found.append(item)
            item = next(rest, None)
        if counts[text] > 1:
            found.append(_loop(keys, start, end, end - start))
        else:
            found += _singles(keys, start, end)
        while item is not None and item.start < end:
            item = next(rest, None)
    return found + ([] if item is None else [item, *rest])


def _cost(items: list[_Item], cuts: list[Span], keys: Keys) -> int:
    """About how many lines and names of patches it takes to write the nodes cut in this way."""
    texts = [keys[start:end].tobytes() for start, end in cuts]
    covered = np.zeros(len(keys) + 1, bool)
    for start, end in cuts:
        covered[start:end] = True
    for item in items:
        if not item.single and not covered[item.start]:
            start, end = item.spans()[0]
            texts.append(keys[start:end].tobytes())
    lines = sum(map(len, set(texts))) // keys.itemsize
    return lines + sum(a != b for a, b in zip(texts, ["", *texts], strict=False))


def _gaps(items: list[_Item], keep: bool = False) -> Iterator[_Item]:
    """Neighbouring single nodes as one item; with `keep` the loops between them as well."""
    start: int | None = None
    for item in items:
        if item.single:
            start = item.start if start is None else start
            end = item.end
            continue
        if start is not None:
            yield _Item(start, end, None)
            start = None
        if keep:
            yield item
    if start is not None:
        yield _Item(start, end, None)


def _flat(items: Iterable[_Item], keys: Keys) -> Iterator[tuple[int, int, bool]]:
    """The stretches of items in order, and whether they may be patches."""
    for item in items:
        if item.single:
            yield item.start, item.end, False
        elif item.period or _alike(item.spans(), keys):
            yield from ((start, end, True) for start, end in item.spans())
        else:
            for one in item.rounds:
                yield from _round(one, keys)


def _alike(spans: list[Span], keys: Keys) -> bool:
    """Whether rounds with loops in them are the same nodes, not too many."""
    if any(end - start > UNROLLED for start, end in spans):
        return False
    first = keys[spans[0][0] : spans[0][1]]
    return all(
        end - start == len(first) and (keys[start:end] == first).all() for start, end in spans
    )


def _round(items: list[_Item], keys: Keys) -> Iterator[tuple[int, int, bool]]:
    """The stretches of one round: its loops, and what stands between them."""
    for item in _gaps(items, keep=True):
        if item.single:
            yield item.start, item.end, True
        else:
            yield from _flat([item], keys)
