"""What the cache holds: entries, what they weigh, and when one is worth its place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Memory = tuple[tuple[Array, ...], Sequence[Array], int, int]

# What it takes to be kept. Keeping a large and cheap intermediate is a loss even when memory is
# free: its pages cannot be used again, so the next result of that size needs fresh ones. An
# addition of float64 arrays of 64 KB to 8 MB was measured to take 0.04 to 0.14 ns for each byte of
# its result when the last result was dropped, and 0.4 to 0.8 ns when it was kept.
MIN_SECONDS = 20e-6  # cheaper than this, computing again costs no more than to probe and to keep
TINY_BYTES = 4096  # so small that only the time matters
FIRST_SIGHT = 2e-9  # seconds a byte, a few times what fresh pages cost: kept at once
SURELY = 20e-9  # seconds a byte, beside which fresh pages are nothing: kept even without credit
SECOND_SIGHT = 0.05e-9  # seconds a byte, half of what a copy takes: remembered if not kept
RENT = 2e-9  # seconds a byte that computing it again and again has taken: then it is kept

GHOSTS = 65_536  # keys remembered after a refusal or an eviction; 14 MB when full
ENTRY_BYTES = 760  # what an entry takes beside its value (objects, map, queue, buffer table)


class Entry:
    """A cached value and what is known of it; it stays usable after its eviction.

    `nbytes` is all memory the value holds on to, in bytes; `seconds` what computing it took;
    `height` that of its lineage; `hits` how often it was reused since it came in.
    """

    __slots__ = (
        *("key", "value", "nbytes", "seconds", "height", "level", "hits"),
        "age",  # the policy's clock at the last use
        "density",  # seconds that a use saves for each byte held
        "evicted",  # how often it was evicted before
        "lineage",  # the node, where rules gave the bits of it or of its ancestors
        "loose",  # bytes that are not in `owners`: scalars, text, containers
        "owners",  # the distinct arrays that own the memory
        "sights",  # how often it was wanted until it came in, computed or hit
        "spent",  # seconds that computing it has taken, all times together
        "tick",  # its place among equals in the policy's queue
    )

    def __init__(
        self, key: bytes, value: Any, memory: Memory, seconds: float, height: int, level: str
    ) -> None:
        self.key = key
        self.value = value
        self.owners, _, self.loose, self.nbytes = memory
        self.seconds = seconds
        self.height = height
        self.level = level
        self.lineage: Any = None
        self.hits = 0
        self.sights = 1
        self.spent = seconds
        self.evicted = 0
        self.age = 0.0
        self.tick = 0
        self.density = seconds / (self.nbytes + ENTRY_BYTES)

    def __repr__(self) -> str:
        kind = type(self.value).__name__
        return f"<Entry {kind}, {self.nbytes} bytes, {self.seconds:.3g} s, {self.hits} hits>"


class Ghost(NamedTuple):
    """What is remembered of a key whose value is not kept: never a value, never lineage."""

    sights: int  # how often it was wanted: computed or hit
    evicted: int
    density: float  # seconds that a use would have saved for each byte held
    spent: float  # seconds that computing it has taken so far, all times together


class CacheInfo(NamedTuple):
    """As `functools.lru_cache` reports, sizes in bytes, with the seconds that hits saved."""

    hits: int
    misses: int
    maxsize: int
    currsize: int
    seconds_saved: float


def _by_level() -> defaultdict[str, int]:
    return defaultdict(int, operation=0, function=0)


@dataclass(slots=True)
class CacheStats:
    """Counters since the cache was made; `bytes` is what is held now."""

    hits: defaultdict[str, int] = field(default_factory=_by_level)
    misses: defaultdict[str, int] = field(default_factory=_by_level)
    admitted: int = 0
    refused: int = 0
    evicted: int = 0
    seconds_saved: float = 0.0  # sum over hits of the seconds that computing took
    bytes_saved: int = 0  # sum over hits of the bytes not made again
    bytes: int = 0
    waits: int = 0  # how often a thread waited for another's computation


def worth_keeping(
    seconds: float,
    nbytes: int,
    spent: float = 0.0,
    least_seconds: float = MIN_SECONDS,
    first_sight: float = FIRST_SIGHT,
) -> bool:
    """Whether a value that took `seconds` and would add `nbytes` to the cache is kept.

    `spent`: seconds that computing it took before. As with skis that one may rent or buy, a value
    is kept once what was spent on it reaches the price of keeping it: so the total is never much
    more than twice that of the best choice. `first_sight`: seconds a byte from which it is kept at
    once; what is kept for less at first sight (calls) is so at later ones.

    >>> worth_keeping(1e-3, 100_000), worth_keeping(1e-6, 8)
    (True, False)
    >>> worth_keeping(1e-3, 1_000_000), worth_keeping(1e-3, 1_000_000, spent=1e-3)
    (False, True)
    """
    if not seconds >= least_seconds:  # nor NaN
        return False
    if nbytes <= TINY_BYTES or seconds >= first_sight * nbytes:
        return True
    return spent > 0.0 and spent + seconds >= min(RENT, first_sight) * nbytes


# -- what a value holds ---------------------------------------------------------------------------

_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)


def memory_of(value: Any, owned: bool = False) -> Memory | None:
    """What `value` holds on to, or None when it cannot be kept.

    The result: the distinct arrays that own its memory, the arrays that it is made of, the bytes of
    the rest (scalars, text, containers), and the bytes of all. It cannot be kept when a part is of
    an unknown kind, can still be changed (object elements, `np.void`), or sees memory of someone
    else: of no array, or a view's base unless it is `owned`.

    >>> memory_of(np.zeros(4))[3], memory_of((np.zeros(4)[1:], 2))
    (32, None)
    """
    if type(value) is np.ndarray and value.base is None:  # the common case, without the walk
        free = value.flags.owndata and not value.dtype.hasobject
        return ((value,), (value,), 0, value.nbytes) if free else None
    if isinstance(value, np.number):  # nor does a number need it
        loose = value.__sizeof__()
        return (), (), loose, loose
    owners: dict[int, Array] = {}
    arrays: list[Array] = []
    loose = 0
    seen: dict[int, Any] = {}  # each part counts once, and a cycle ends
    stack = [value]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        if isinstance(item, np.ndarray):
            owner = _owner(item, owned)
            if owner is None:
                return None
            owners[id(owner)] = owner
            arrays.append(item)
            continue
        loose += item.__sizeof__()
        if isinstance(item, (tuple, list)):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend((*item.keys(), *item.values()))
        elif item is value and hasattr(item, "buffers"):
            stack.extend(item.buffers())
        elif not isinstance(item, _PLAIN) or isinstance(item, np.void):
            return None
    nbytes = loose + sum([owner.nbytes for owner in owners.values()])
    return tuple(owners.values()), arrays, loose, nbytes


def _owner(array: Any, owned: bool) -> Array | None:
    """The array that owns the memory of `array`, or None where it may not be kept."""
    while type(array) is np.ndarray:
        base = array.base
        if base is None:
            return array if array.flags.owndata and not array.dtype.hasobject else None
        if not owned:
            return None
        array = base
    return None


def freeze(arrays: Iterable[Array]) -> None:
    """Make arrays, and those whose memory they see, read-only."""
    for array in arrays:
        array.setflags(False)  # type: ignore[call-arg]  # by name it takes twice as long
        if array.base is not None:
            freeze((array.base,))
