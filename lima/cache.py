"""The memory tier: one map from digest to value under a hard byte budget.

A `Cache` decides three things, each in one place: what is worth keeping (`worth_keeping`), what
goes when room is needed (a row of `POLICIES`), and how many bytes are held (`Cache._account`).
Threads that want one value at the same time compute it once (`Flight`).

Cached values never change: every array that is let in becomes read-only, and arrays whose memory
belongs to someone else stay out. Containers are kept as they are, so whoever hands them out copies.
"""

from __future__ import annotations

import heapq
import math
import operator
import os
import weakref
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Event, RLock, get_ident
from typing import Any, NamedTuple, TypeVar

import cachetools
import numpy as np
from numpy.typing import NDArray

from lima.errors import ConfigError, InternalError

Array = NDArray[Any]
Memory = tuple[tuple[Array, ...], Sequence[Array], int, int]
Score = tuple[float, float]
R = TypeVar("R")

# What it takes to be kept. Keeping a large and cheap intermediate is a loss even when memory is
# free: its pages cannot be used again, so the next result of that size needs fresh ones. An
# addition of float64 arrays of 64 KB to 8 MB was measured to take 0.04 to 0.14 ns for each byte of
# its result when the last result was dropped, and 0.4 to 0.8 ns when it was kept.
MIN_SECONDS = 20e-6  # cheaper than this, computing again costs no more than to probe and to keep
TINY_BYTES = 4096  # so small that only the time matters
FIRST_SIGHT = 1e-9  # seconds a byte, more than its fresh pages cost: kept at once
SURELY = 20e-9  # seconds a byte, beside which fresh pages are nothing: kept even without credit
SECOND_SIGHT = 0.05e-9  # seconds a byte, half of what a copy takes: kept if wanted before

GHOSTS = 65_536  # keys remembered after a refusal or an eviction; 14 MB when full
ENTRY_BYTES = 760  # what an entry takes beside its value (objects, map, queue, buffer table)
WAIT_SLICE = 0.1  # seconds a waiter sleeps at a time, so that Ctrl-C reaches it on every platform


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
        "loose",  # bytes that are not in `owners`: scalars, text, containers
        "owners",  # the distinct arrays that own the memory
        "sights",  # how often it was wanted until it came in, computed or hit
        "tick",  # its place among equals in the policy's queue
    )
    age: float
    tick: int

    def __init__(
        self, key: bytes, value: Any, memory: Memory, seconds: float, height: int, level: str
    ) -> None:
        self.key = key
        self.value = value
        self.owners, _, self.loose, self.nbytes = memory
        self.seconds = seconds
        self.height = height
        self.level = level
        self.hits = 0
        self.sights = 1
        self.evicted = 0
        self.density = seconds / (self.nbytes + ENTRY_BYTES)

    def __repr__(self) -> str:
        kind = type(self.value).__name__
        return f"<Entry {kind}, {self.nbytes} bytes, {self.seconds:.3g} s, {self.hits} hits>"


class Ghost(NamedTuple):
    """What is remembered of a key whose value is not kept: never a value, never lineage."""

    sights: int  # how often it was wanted: computed or hit
    evicted: int
    density: float  # seconds that a use would have saved for each byte held


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
    seen: bool,
    least_seconds: float = MIN_SECONDS,
    first_sight: float = FIRST_SIGHT,
) -> bool:
    """Whether a value that took `seconds` and would add `nbytes` to the cache is kept.

    `seen`: the key was wanted before.

    >>> worth_keeping(1e-3, 100_000, seen=False), worth_keeping(1e-6, 8, seen=True)
    (True, False)
    >>> worth_keeping(1e-3, 10_000_000, seen=False), worth_keeping(1e-3, 10_000_000, seen=True)
    (False, True)
    """
    if not seconds >= least_seconds:  # nor NaN
        return False
    if nbytes <= TINY_BYTES or seconds >= first_sight * nbytes:
        return True
    return seen and seconds >= SECOND_SIGHT * nbytes


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InternalError(f"the cache is inconsistent: {message}")


# Reads an item of a policy; None when it has gone since a reader without a lock saw it.
_look: Callable[[cachetools.Cache[bytes, Entry], bytes], Any] = cachetools.Cache.__getitem__


# -- policies: a map from key to Entry whose `popitem` chooses the victim -------------------------


class Scored(cachetools.Cache[bytes, Entry]):
    """The lowest score goes first, the oldest of equals; uses may raise a score, nothing lowers it.

    It holds any number of entries (`maxsize` infinite): the cache counts the bytes, since a buffer
    that several entries share has no size of its own in each. From the first eviction on, a heap
    holds one record for each entry with the score it had when it was pushed: a lower bound.
    `least` corrects the top record until it is exact, so a use costs no heap operation and an
    eviction O(log n) amortised.
    """

    step = 0.0  # how far a use moves the clock

    def __init__(self) -> None:
        super().__init__(math.inf)
        self.clock = 0.0  # a use writes it into the entry's `age`
        self._heap: list[tuple[Score, int, bytes]] | None = None  # none before an eviction
        self._ticks = 0

    def score(self, entry: Entry) -> Score:
        raise NotImplementedError

    def yields(self, newcomer: Entry) -> bool:
        """Whether the next victim makes room for `newcomer`; else the newcomer is refused."""
        return len(self) > 0

    def peek(self, key: bytes) -> Entry | None:
        return _look(self, key) if key in self else None

    def __missing__(self, key: bytes) -> Any:
        return None

    def __setitem__(self, key: bytes, entry: Entry) -> None:
        self.clock = entry.age = self.clock + self.step
        self._ticks = entry.tick = self._ticks + 1
        cachetools.Cache.__setitem__(self, key, entry)
        if self._heap is not None:
            heapq.heappush(self._heap, (self.score(entry), entry.tick, key))

    def __delitem__(self, key: bytes) -> None:
        cachetools.Cache.__delitem__(self, key)
        if self._heap is not None and len(self._heap) > 64 + 2 * len(self):
            self._heap = None  # mostly records of what was deleted: made anew when needed

    def _recorded(self, record: tuple[Score, int, bytes]) -> Entry | None:
        """The entry that a record stands for, or None when it has gone."""
        entry = self.peek(record[2])
        return entry if entry is not None and entry.tick == record[1] else None

    def least(self) -> Entry | None:
        """The next victim, at the top of the heap under its exact score."""
        heap = self._heap
        if heap is None:
            every = [_look(self, key) for key in self]
            heap = self._heap = [(self.score(entry), entry.tick, entry.key) for entry in every]
            heapq.heapify(heap)
        while heap:
            entry = self._recorded(heap[0])
            if entry is None:
                heapq.heappop(heap)
                continue
            score = self.score(entry)
            if score <= heap[0][0]:
                return entry
            heapq.heapreplace(heap, (score, entry.tick, entry.key))
        return None

    def popitem(self) -> tuple[bytes, Entry]:
        entry = self.least()
        if entry is None or self._heap is None:
            raise KeyError(f"{type(self).__name__} is empty")
        heapq.heappop(self._heap)
        cachetools.Cache.__delitem__(self, entry.key)
        return entry.key, entry

    def check(self) -> None:
        _require(self.currsize == len(self), f"{len(self)} entries, {self.currsize} counted")
        if self._heap is None:
            return
        found = [(record[0], self._recorded(record)) for record in self._heap]
        live = [(recorded, entry) for recorded, entry in found if entry is not None]
        _require(len(live) == len(self), f"{len(self)} entries, {len(live)} of them queued")
        low = [entry for recorded, entry in live if self.score(entry) < recorded]
        _require(not low, f"scores fell below their records: {low}")


class Recency(Scored):
    """The least recently used goes first."""

    step = 1.0

    def score(self, entry: Entry) -> Score:
        return entry.age, 0.0


class DagHeight(Scored):
    """The highest lineage goes first; calls of functions count as low as leaves.

    Score 1/height, ties by seconds per byte (LIMA's DAG-Height).
    """

    def score(self, entry: Entry) -> Score:
        height = 1 if entry.level == "function" else max(entry.height, 1)
        return 1 / height, entry.density


class CostSize(Scored):
    """What saves the fewest seconds for each byte it holds goes first, with ageing.

    Score L + (hits + misses) · seconds / bytes (LIMA's Cost&Size), where misses count the earlier
    computations that ghosts remember, and L, the clock, is the highest score of a victim until the
    entry's last use: what is no longer used falls behind (GreedyDual-Size-Frequency).
    A newcomer below all who are there is its own victim: otherwise a single large and cheap value
    pushes out all others.
    """

    def score(self, entry: Entry) -> Score:
        return entry.age + (entry.sights + entry.hits) * entry.density, 0.0

    def yields(self, newcomer: Entry) -> bool:
        victim = self.least()
        if victim is None:
            return False
        newcomer.age = self.clock
        own, theirs = self.score(newcomer), self.score(victim)
        self.clock = max(self.clock, min(own, theirs)[0])
        return theirs <= own


POLICIES: dict[str, type[Scored]] = {
    "lru": Recency,
    "dag-height": DagHeight,
    "cost-size": CostSize,
}


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
    nbytes = loose + sum(owner.nbytes for owner in owners.values())
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


def _freeze(arrays: Iterable[Array]) -> None:
    """Make arrays, and those whose memory they see, read-only."""
    for array in arrays:
        array.setflags(False)  # type: ignore[call-arg]  # by name it takes twice as long
        if array.base is not None:
            _freeze((array.base,))


def _whole(budget: int) -> int:
    try:
        whole = operator.index(budget)
    except TypeError:
        whole = -1
    if whole < 0:
        raise ConfigError(f"a cache budget is a number of bytes, 0 or more; got {budget!r}")
    return whole


class Cache:
    """Values by digest within `budget` bytes, overhead included; safe for any number of threads.

    `policy` is a row of `POLICIES`; `ConfigError` (a ValueError) names them. Each entry is charged
    `ENTRY_BYTES` besides its value; memory that several entries share is charged once.

    >>> cache = Cache(1 << 20)
    >>> cache.put(b"key", np.arange(100.0), seconds=0.01)
    True
    >>> cache.get(b"key").value.flags.writeable, cache.stats.hits["operation"]
    (False, 1)
    """

    def __init__(self, budget: int, policy: str = "cost-size") -> None:
        if policy not in POLICIES:
            rows = ", ".join(map(repr, POLICIES))
            raise ConfigError(f"unknown cache policy {policy!r}; the policies are {rows}")
        self.budget = _whole(budget)
        self.policy = policy
        self.worth = MIN_SECONDS  # what took less is refused, so it need not be offered
        self.stats = CacheStats()
        self._entries = POLICIES[policy]()
        self._buffers: dict[int, tuple[int, int]] = {}  # id(owner) -> (entries, bytes)
        self._ghosts: OrderedDict[bytes, tuple[int, int, float]] = OrderedDict()
        self._calls: dict[bytes, _Call] = {}  # what is being computed
        self._waiting: dict[int, _Call] = {}  # thread -> what it waits for
        # Reentrant: a finalizer that the collector runs amid bookkeeping may come back here.
        self._lock = RLock()
        _caches.add(self)

    def get(self, key: bytes, level: str = "operation") -> Entry | None:
        """The entry of `key`, counted as a hit and a use; None is counted as a miss of `level`."""
        # No lock, which would add half to the cost: an entry is right whenever it is found, and a
        # count that free-threaded Python may lose is only a count.
        entries = self._entries
        if key in entries:
            entry: Entry | None = _look(entries, key)
            if entry is not None:
                self._hit(entry)
                return entry
        self.stats.misses[level] += 1
        return None

    def _hit(self, entry: Entry) -> None:
        stats, entries = self.stats, self._entries
        entries.clock = entry.age = entries.clock + entries.step
        entry.hits += 1
        stats.hits[entry.level] += 1
        stats.seconds_saved += entry.seconds
        stats.bytes_saved += entry.nbytes

    def peek(self, key: bytes) -> Entry | None:
        """The entry of `key` or None; nothing is counted and the policy does not learn of it."""
        return self._entries.peek(key)

    def ghost(self, key: bytes) -> Ghost | None:
        """What is remembered of a key that was refused or evicted."""
        ghost = self._ghosts.get(key)
        return None if ghost is None else Ghost(*ghost)

    def sighted(self, key: bytes) -> bool:
        """Whether `key` was wanted before; from now on it was. Cheaper than a refused `put`."""
        ghosts = self._ghosts
        if key in ghosts:
            return True
        ghosts[key] = (1, 0, 0.0)
        if len(ghosts) > GHOSTS:
            with self._lock:
                ghosts.popitem(last=False)
        return False

    def __len__(self) -> int:
        return len(self._entries)

    def info(self) -> CacheInfo:
        """Counts and bytes in the manner of `functools.lru_cache`."""
        with self._lock:
            stats = self.stats
            hits, misses = sum(stats.hits.values()), sum(stats.misses.values())
            return CacheInfo(hits, misses, self.budget, stats.bytes, stats.seconds_saved)

    def put(
        self,
        key: bytes,
        value: Any,
        *,
        seconds: float,
        height: int = 1,
        level: str = "operation",
        owned: bool = False,
        first_sight: float = FIRST_SIGHT,
    ) -> bool:
        """Offer a value that took `seconds` to compute; True when `key` is kept now.

        `value`: an array, a NumPy or Python scalar, nested tuples, lists and dicts of such, or an
        object whose `buffers()` gives its arrays. On admission its arrays become read-only. A view
        is refused unless `owned` says that nobody else writes to the memory it sees (then all of
        that memory is charged). A key that is there keeps its first value. `first_sight`: seconds a
        byte from which it is kept although it was never wanted before.
        """
        kept = self._offer(key, value, seconds, height, level, owned, first_sight)
        return kept is not None

    def _offer(
        self,
        key: bytes,
        value: Any,
        seconds: float,
        height: int,
        level: str,
        owned: bool,
        first_sight: float = FIRST_SIGHT,
        flight: Flight | None = None,
    ) -> Entry | None:
        """Keep a value if it is worth it; from then on nobody joins the `flight` it comes from."""
        memory = memory_of(value, owned) if seconds >= self.worth else None
        entry = None if memory is None else Entry(key, value, memory, seconds, height, level)
        with self._lock:
            try:  # as in _change, whose extra call would cost a tenth of a put
                kept, _victims = self._admit(key, entry, memory, first_sight)
                if flight is not None:
                    flight.close()
            except BaseException:
                self._rebuild()
                raise
        return kept  # and the victims are freed, now that the lock is open

    def _admit(
        self, key: bytes, entry: Entry | None, memory: Memory | None, first_sight: float
    ) -> tuple[Entry | None, Sequence[Entry]]:
        entries = self._entries
        if key in entries:
            return entries.peek(key), ()
        if entry is None or memory is None:
            self.stats.refused += 1
            return None, ()
        ghost = self._ghosts.get(key)
        if ghost is not None:
            entry.sights, entry.evicted = ghost[0] + 1, ghost[1]
        fresh = entry.loose
        for owner in entry.owners:
            if id(owner) not in self._buffers:
                fresh += owner.nbytes
        victims: list[Entry] = []
        if entry.nbytes + ENTRY_BYTES <= self.budget:
            if worth_keeping(entry.seconds, fresh, ghost is not None, self.worth, first_sight):
                self._account(entry, 1)
                if self.stats.bytes <= self.budget or self._make_room(victims, entry):
                    _freeze(memory[1])  # before anyone else can see it
                    entries[key] = entry
                    if ghost is not None:
                        del self._ghosts[key]
                    self.stats.admitted += 1
                    return entry, victims
                self._account(entry, -1)
            if entry.seconds >= SECOND_SIGHT * fresh:
                self._remember(entry)
        self.stats.refused += 1
        return None, victims

    def _account(self, entry: Entry, step: int) -> None:
        """Let `entry` in (`step` 1) or out (-1): the only place where the bytes held change."""
        change = ENTRY_BYTES + entry.loose
        buffers = self._buffers
        for owner in entry.owners:
            ident = id(owner)
            held = buffers.get(ident)
            if held is None:  # the first one in
                buffers[ident] = 1, owner.nbytes
                change += owner.nbytes
            elif held[0] + step:
                buffers[ident] = held[0] + step, held[1]
            else:  # the last one out
                del buffers[ident]
                change += held[1]
        self.stats.bytes += step * change

    def _make_room(self, victims: list[Entry], newcomer: Entry | None = None) -> bool:
        """Evict until the budget holds; False when the policy would rather refuse `newcomer`."""
        entries = self._entries
        while self.stats.bytes > self.budget:
            if newcomer is not None and not entries.yields(newcomer):
                return False
            _, victim = entries.popitem()
            victims.append(victim)
            self._account(victim, -1)
            self.stats.evicted += 1
            victim.evicted += 1
            self._remember(victim)
        return True

    def _remember(self, entry: Entry) -> None:
        ghosts = self._ghosts
        ghosts[entry.key] = (entry.sights + entry.hits, entry.evicted, entry.density)
        ghosts.move_to_end(entry.key)
        if len(ghosts) > GHOSTS:
            ghosts.popitem(last=False)

    def evict(self, key: bytes) -> None:
        """Forget `key` and what is remembered of it; a key that is not there is no error."""
        self._change(self._forget, key)

    def clear(self) -> None:
        """Forget all values and ghosts; counters stay, and computations under way go on."""
        self._change(self._forget_all)

    def _forget(self, key: bytes) -> Entry | None:
        self._ghosts.pop(key, None)
        entry = self._entries.peek(key)
        if entry is not None:
            del self._entries[key]
            self._account(entry, -1)
        return entry

    def _forget_all(self) -> list[Entry | None]:
        self._ghosts.clear()
        return [self._forget(key) for key in list(self._entries)]

    def resize(self, budget: int) -> None:
        """Set the budget in bytes; what no longer fits is evicted now."""
        self._change(self._set_budget, _whole(budget))

    def _set_budget(self, budget: int) -> list[Entry]:
        victims: list[Entry] = []
        self.budget = budget
        self._make_room(victims)
        return victims

    def _change(self, step: Callable[..., R], *args: Any) -> R:
        """Change the books under the lock; an interrupt (Ctrl-C) amid it leaves them right."""
        with self._lock:
            try:
                return step(*args)
            except BaseException:
                self._rebuild()
                raise

    def _rebuild(self) -> None:
        held = self._held()
        self._entries = POLICIES[self.policy]()
        self._buffers.clear()
        self.stats.bytes = 0
        for entry in held:
            self._ghosts.pop(entry.key, None)
            self._account(entry, 1)
            self._entries[entry.key] = entry
        self._make_room([])

    def _held(self) -> list[Entry]:
        return [_look(self._entries, key) for key in self._entries]

    def check(self) -> None:
        """Reconcile the books with what is held; `InternalError`, an AssertionError, on a fault."""
        with self._lock:
            held = self._held()
            owners = {id(owner): owner for entry in held for owner in entry.owners}
            holders = Counter(id(owner) for entry in held for owner in entry.owners)
            table = {ident: (holders[ident], owner.nbytes) for ident, owner in owners.items()}
            total = sum(ENTRY_BYTES + entry.loose for entry in held)
            total += sum(owner.nbytes for owner in owners.values())
            both = [key for key in self._entries if key in self._ghosts]
            open_ = [owner.shape for owner in owners.values() if owner.flags.writeable]
            self._entries.check()
            _require(self._buffers == table, f"buffers {self._buffers} counted, {table} held")
            _require(self.stats.bytes == total, f"{self.stats.bytes} bytes counted, {total} held")
            _require(total <= self.budget, f"{total} bytes held, the budget is {self.budget}")
            _require(len(self._ghosts) <= GHOSTS, f"{len(self._ghosts)} ghosts, at most {GHOSTS}")
            _require(not both, f"kept and remembered as gone: {both}")
            _require(not open_, f"cached buffers are writable, of shapes {open_}")

    def flight(self, key: bytes, level: str = "operation", *, probed: bool = False) -> Flight:
        """Get a value or compute it, once for all threads that want it; see `Flight`.

        `probed`: the caller's `get` has just counted the miss, so it is not counted again.
        """
        return Flight(self, key, level, probed)


# -- single flight --------------------------------------------------------------------------------


class _Call:
    """A computation under way; the owner is a thread."""

    waiters = 0
    done: Event | None = None  # made by the first waiter
    entry: Entry | None = None  # what was delivered
    kept = False  # whether the cache keeps it

    def __init__(self, owner: int) -> None:
        self.owner = owner


class Flight:
    """One thread's wish for a value: it is served, or computes the value and delivers it.

    While the owner of a key computes, other threads that enter wait. They get what it delivers even
    if the cache refuses to keep it. If it leaves without delivering, they all compute for
    themselves, as without a cache: its failure is most likely theirs, and taking turns would add
    up their times. Who would wait for itself, directly or around a cycle of threads, computes as
    well. No lock is held while anything computes, and Ctrl-C ends a wait.

    >>> cache = Cache(1 << 20)
    >>> with cache.flight(b"key") as f:
    ...     if f.entry is not None:
    ...         value = f.entry.value
    ...     elif f.delivered:
    ...         value = f.value
    ...     else:
    ...         value = 6 * 7
    ...         kept = f.deliver(value, seconds=1.0)
    >>> value, cache.get(b"key").value
    (42, 42)
    """

    entry: Entry | None = None
    delivered = False
    value: Any = None
    _owned: _Call | None = None  # the computation that this thread owes to others
    _waited: _Call | None = None  # the one that it waits for

    def __init__(self, cache: Cache, key: bytes, level: str, probed: bool) -> None:
        self._cache = cache
        self._key = key
        self._level = level
        self._probed = probed

    def __enter__(self) -> Flight:
        try:
            self._board()
            if self._waited is not None:
                self._wait(self._waited)
            return self
        except BaseException:  # an interrupt: __exit__ will not be called
            self._abandon()
            raise

    def _wait(self, call: _Call) -> None:
        try:
            while call.done is not None and not call.done.wait(WAIT_SLICE):
                pass
            self._take(call)
        finally:
            with self._cache._lock:
                call.waiters -= 1
                self._cache._waiting.pop(get_ident(), None)
            self._waited = None

    def _board(self) -> None:
        """Be served, join the thread that computes, or become the one."""
        cache, key, me = self._cache, self._key, get_ident()
        with cache._lock:
            if key in cache._entries:
                self._served(_look(cache._entries, key))
                return
            call = cache._calls.get(key)
            if call is None:
                self._owned = cache._calls[key] = _Call(me)
            elif not self._circular(call, me):
                call.done = call.done or Event()
                call.waiters += 1
                cache._waiting[me] = self._waited = call
                cache.stats.waits += 1
                return
        self._unserved()

    def _circular(self, call: _Call | None, me: int) -> bool:
        """Whether waiting for `call` would, owner by owner, come back to thread `me`."""
        waiting = self._cache._waiting
        for _ in range(len(waiting) + 1):  # bounded: an interrupt may have left an edge behind
            if call is None or call.owner == me:
                break
            call = waiting.get(call.owner)
        return call is not None

    def _take(self, call: _Call) -> None:
        with self._cache._lock:
            if call.entry is None:
                self._unserved()
            else:
                self._served(call.entry)
                if not call.kept:
                    self.entry, self.delivered, self.value = None, True, call.entry.value

    def _served(self, entry: Entry) -> None:
        self.entry = entry
        self._cache._hit(entry)
        if self._probed:
            self._cache.stats.misses[self._level] -= 1

    def _unserved(self) -> None:
        if not self._probed:
            self._cache.stats.misses[self._level] += 1

    def deliver(
        self,
        value: Any,
        *,
        seconds: float,
        height: int = 1,
        level: str | None = None,
        owned: bool = False,
        first_sight: float = FIRST_SIGHT,
    ) -> bool:
        """Put the value into the cache and hand it to the waiters; True when it is kept.

        Parameters as for `Cache.put`. What waiters get is read-only, kept or not; a value that must
        not be shared (an unknown kind, foreign memory) is not handed over, and they compute.
        """
        cache, call, level = self._cache, self._owned, level or self._level
        kept = entry = cache._offer(
            self._key, value, seconds, height, level, owned, first_sight, self
        )
        if kept is None and call is not None and call.waiters:
            memory = memory_of(value, owned)
            if memory is not None:
                _freeze(memory[1])
                entry = Entry(self._key, value, memory, seconds, height, level)
        self._land(entry, kept is not None)
        return kept is not None

    def close(self) -> None:
        """Let nobody join any more (under the lock of the cache)."""
        if self._owned is not None and self._cache._calls.get(self._key) is self._owned:
            del self._cache._calls[self._key]

    def _land(self, entry: Entry | None, kept: bool) -> None:
        """Let the waiters go with what there is."""
        call = self._owned
        if call is not None:
            call.entry, call.kept = entry, kept
            if call.done is not None:
                call.done.set()
            self._owned = None  # last: after an interrupt, __exit__ or __del__ does it again

    def _abandon(self) -> None:
        if self._owned is not None:
            with self._cache._lock:
                self.close()
            self._land(None, False)

    def __exit__(self, *exc: object) -> None:
        if self._owned is not None:
            self._abandon()

    def __del__(self) -> None:  # a frame that was dropped between entering and leaving
        if self._owned is not None:
            self._abandon()


# -- fork: a child has the memory of all threads, but only the one that forked --------------------

_caches: weakref.WeakSet[Cache] = weakref.WeakSet()
_forking: dict[int, list[Cache]] = {}  # thread -> the caches it holds for the moment of its fork


def _before_fork() -> None:
    _forking[get_ident()] = caches = sorted(_caches, key=id)
    for cache in caches:
        cache._lock.acquire()


def _after_fork() -> None:
    for cache in _forking.pop(get_ident(), ()):
        cache._lock.release()


def _in_child() -> None:
    me = get_ident()
    for cache in _forking.get(me, ()):
        cache._calls = {key: call for key, call in cache._calls.items() if call.owner == me}
        cache._waiting.clear()
        for call in cache._calls.values():
            call.waiters, call.done = 0, None
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
