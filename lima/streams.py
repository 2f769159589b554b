"""Sequences that repeat: where they do, and how they are written short.

A stream is what one place of a loop holds from round to round. It is written as a pattern: values,
`range(start, stop, step)` for a progression of whole numbers, and `times(n, ...)` for a part that
comes n times; patterns nest. Nothing here knows of lineage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

Keys = np.ndarray[Any, np.dtype[np.int64]]

ROUNDS = 3
"""Rounds from which something is taken to repeat."""

LONGEST = 1 << 14
"""Longest round that is looked for."""

NEXT = 4
"""Places of the same key after a place whose distances are tried as lengths of a round."""

LENGTHS = 32
"""Lengths of a round that are tried in one search."""

STEPS = 4
"""Integers from which a progression is written as one."""


class Slot:
    """A place in a line that stream number `index` of its patch fills, round by round."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __repr__(self) -> str:
        return f"${self.index}"


class Repeat(NamedTuple):
    """`rounds` equal stretches of `period` keys each, the first at `start`."""

    start: int
    period: int
    rounds: int

    @property
    def end(self) -> int:
        return self.start + self.period * self.rounds


def repeats(
    keys: Keys, saved: int, rounds: int = ROUNDS, sizes: Keys | None = None
) -> list[Repeat]:
    """The repetitions in a sequence, none overlapping, each saving at least `saved` keys.

    `sizes` says what lies before each key and at the end, where keys do not count alike. Short
    rounds are found before long ones: a loop inside a loop comes first.

    >>> repeats(np.array([7, 1, 2, 1, 2, 1, 2, 8]), 2)
    [Repeat(start=1, period=2, rounds=3)]
    """
    taken = np.zeros(len(keys), bool)
    found: list[Repeat] = []
    for period in _lengths(keys):
        same = np.concatenate(([False], keys[period:] == keys[:-period], [False]))
        (edges,) = np.nonzero(same[1:] != same[:-1])
        starts, lengths = edges[::2], edges[1::2] - edges[::2]
        counts = 1 + lengths // period
        before = np.arange(len(keys) + 1) if sizes is None else sizes
        worth = before[starts + period * counts] - before[starts + period]
        for k in np.flatnonzero((counts >= rounds) & (worth >= saved)):
            one = Repeat(int(starts[k]), period, int(counts[k]))
            if not taken[one.start : one.end].any():
                taken[one.start : one.end] = True
                found.append(one)
    return sorted(found)


def _lengths(keys: Keys) -> list[int]:
    """Distances at which keys come again most often, the shortest first."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    counts = np.zeros(LONGEST + 1, np.int64)
    for k in range(1, min(NEXT, len(keys) - 1) + 1):
        gaps = (order[k:] - order[:-k])[ordered[k:] == ordered[:-k]]
        counts += np.bincount(gaps[gaps <= LONGEST], minlength=LONGEST + 1)
    likely = np.argsort(-counts, kind="stable")[:LENGTHS]
    return sorted(int(p) for p in likely if counts[p] > 0)


# --------------------------------------------------------------------------- writing


def pattern(values: Sequence[Any], spell: Callable[[Any], str]) -> str:
    """The values as a pattern, the items of a `[...]` without its brackets.

    >>> pattern([0, 32, 64, 96, 0, 32, 64, 96, 0, 32, 64, 96, 5], str)
    'times(3, range(0, 128, 32)), 5'
    """
    if len(values) >= STEPS and all(type(v) is int for v in values):
        texts = list(_progressions(values))
    elif len(values) >= STEPS and all(type(v) is float and _is_whole(v) for v in values):
        texts = list(_progressions([int(v) for v in values], ".0"))
    else:
        texts = [spell(v) for v in values]
    before = len(texts) + 1
    while len(texts) < before:
        before = len(texts)
        texts = _shortened(_runs(texts))
    return ", ".join(texts)


def _is_whole(x: float) -> bool:
    return x.is_integer() and abs(x) < 1 << 52 and (x != 0 or math.copysign(1, x) > 0)


def _progressions(values: Sequence[int], end_of: str = "") -> Iterator[str]:
    """Integers as progressions; `end_of` follows each of them in the text."""
    at = 0
    while at < len(values):
        step = values[at + 1] - values[at] if at + 1 < len(values) else 0
        end = at + 1
        while step and end < len(values) and values[end] - values[end - 1] == step:
            end += 1
        if end - at < STEPS:
            yield f"{values[at]}{end_of}"
            at += 1
        else:
            ends = (values[at], values[end - 1] + step, step)
            yield f"range({', '.join(f'{e}{end_of}' for e in ends)})"
            at = end


def _runs(texts: list[str]) -> list[str]:
    """Equal neighbours as one item."""
    found: list[str] = []
    at = 0
    while at < len(texts):
        end = at + 1
        while end < len(texts) and texts[end] == texts[at]:
            end += 1
        short = f"times({end - at}, {texts[at]})"
        whole = (len(texts[at]) + 2) * (end - at)
        found += [short] if len(short) < whole else texts[at:end]
        at = end
    return found


def _shortened(texts: list[str]) -> list[str]:
    """Stretches that come again and again as one item each, where that is shorter.

    What is not worth it must not stand in the way of longer stretches: `a, b, b, a, b, b`.
    """
    found: list[str] = []
    at = 0
    sizes = np.cumsum([0, *[len(text) + 2 for text in texts]])
    worth = len("times(00, ), ") + 1
    for one in repeats(numbered(texts), worth, 2, sizes) if len(texts) > 3 else ():
        inner = ", ".join(texts[one.start : one.start + one.period])
        found += texts[at : one.start]
        found.append(f"times({one.rounds}, {inner})")
        at = one.end
    return found + texts[at:]


def numbered(items: Sequence[Hashable]) -> Keys:
    """Equal items as equal numbers, in the order in which they first come."""
    names: dict[Hashable, int] = {}
    return np.array([names.setdefault(item, len(names)) for item in items], np.int64)


# --------------------------------------------------------------------------- reading


class Times(NamedTuple):
    """Items that come `rounds` times."""

    rounds: int
    items: tuple[Any, ...]


class Floats(NamedTuple):
    """A progression of whole numbers as floats."""

    numbers: range


Item = Any
"""A value, a `range`, `Floats`, or `Times` of items."""


def length(items: Sequence[Item]) -> int:
    """How many values a pattern has; nothing is written out."""
    return sum(_sized(item) for item in items)


def _sized(item: Item) -> int:
    if type(item) is Times:
        return item.rounds * length(item.items)
    if type(item) is Floats:
        item = item.numbers
    if type(item) is range:
        return max(0, -((item.start - item.stop) // item.step))
    return 1


def largest(items: Sequence[Item]) -> int:
    """The largest integer of a pattern, at least 0."""
    most = 0
    for item in items:
        if type(item) is Times:
            most = max(most, largest(item.items))
        elif type(item) is range:
            most = max(most, item.start, item.stop)
        elif type(item) is int:
            most = max(most, item)
    return most


def values(items: Sequence[Item]) -> Iterator[Any]:
    """The values of a pattern, one after the other."""
    for item in items:
        if type(item) is Times:
            for _ in range(item.rounds):
                yield from values(item.items)
        elif type(item) is range:
            yield from item
        elif type(item) is Floats:
            yield from map(float, item.numbers)
        else:
            yield item


def counted(items: Sequence[Item]) -> dict[Any, int]:
    """How often each value of a pattern without progressions comes."""
    found: dict[Any, int] = {}
    for item in items:
        inner = counted(item.items) if type(item) is Times else {item: 1}
        factor = item.rounds if type(item) is Times else 1
        for value, count in inner.items():
            found[value] = found.get(value, 0) + count * factor
    return found
