"""What reuse would save and hold, noted while a program runs as asked (`reuse="estimate"`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from threading import RLock
from time import perf_counter
from typing import Any

from lima.config import Config
from lima.cost import NEW_PAGES
from lima.entries import FIRST_SIGHT, Entry, memory_of
from lima.node import Node
from lima.op import Op
from lima.sessions import ESTIMATE, LEDGER, Session

_free: ContextVar[bool] = ContextVar("lima_free", default=False)
"""Whether a call runs here that reuse would have had as a whole: nothing in it would happen."""

LOOK_UP = 8e-6
"""Seconds that looking up an operation takes, with its digest and its place in the cache."""


@dataclass(slots=True)
class Line:
    """One operation or function: how often it ran, and how often reuse would have spared that."""

    runs: int = 0
    hits: int = 0
    seconds: float = 0.0  # of all runs
    saved: float = 0.0  # of those that would have been hits

    def add(self, seconds: float, hit: bool) -> None:
        self.runs += 1
        self.seconds += seconds
        if hit:
            self.hits += 1
            self.saved += seconds


class Size:
    """Stands for an array that owns memory."""

    __slots__ = ("nbytes",)

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


class Ledger:
    """A cache that holds no values: which would be there, by the rules of a session with reuse.

    Sizes, seconds and the policy decide as they would. What a call returns counts once if it is
    there as the result of an operation; other memory that values share counts for each.
    """

    def __init__(self, config: Config) -> None:
        self.shadow = Session(replace(config, reuse="full", store="", spill=""))
        self.operations: dict[str, Line] = {}
        self.calls: dict[str, Line] = {}
        self.most = 0  # bytes held at one time
        self.kept = 0  # bytes that were kept, all together
        self.looked = 0
        self.start = perf_counter()
        self._lock = RLock()

    # ------------------------------------------------------------ what a session tells

    def note(self, row: Op, node: Node, result: Any, seconds: float) -> None:
        """An operation was computed that reuse would have looked up."""
        if _free.get():
            return
        with self._lock:
            self.looked += 1
            entry = self.shadow.cache.peek(node.digest)
            self._line(self.operations, row.name).add(seconds, entry is not None)
            if entry is not None:
                self.shadow.cache.get(node.digest)
                self.shadow.repaid(row, result)
                return
            memory = memory_of(result, True)
            trust = self.shadow.trust(row, node, result, seconds, True)
            if memory is not None and trust >= 0.0:
                self._admit(node.digest, memory, seconds, node.height, "operation", trust)

    def drawn(self, name: str, node: Node, pair: Any, seconds: float) -> None:
        """A random draw was made, of an array and the state after it."""
        memory = None if _free.get() else memory_of(pair)
        if memory is None:
            return
        with self._lock:
            self.looked += 1
            entry = self.shadow.cache.peek(node.digest)
            self._line(self.operations, name).add(seconds, entry is not None)
            if entry is not None:
                self.shadow.cache.get(node.digest)
                return
            height = node.height
            self._admit(node.digest, memory, seconds, height, "operation", FIRST_SIGHT)

    def offered(self, key: bytes, record: Any, seconds: float, first_sight: float) -> None:
        """A call was made that could be kept as a whole."""
        memory = None if _free.get() else memory_of(record)
        if memory is None:
            return
        with self._lock:
            owners: dict[int, Any] = {}
            for kept in record.kept:
                entry = self.shadow.cache.peek(kept.node.digest)
                shared = entry.owners if entry is not None else (Size(kept.data.nbytes),)
                owners |= {id(one): one for one in shared}
            size: Any = (tuple(owners.values()), (), memory[2], memory[3])
            self._admit(key, size, seconds, 1, "function", first_sight)

    @contextmanager
    def call(self, key: bytes, name: str) -> Iterator[bool]:
        """Run a call in the `with` block; what it does counts as one if it would be a hit."""
        if _free.get():
            yield False
            return
        with self._lock:
            entry = self.shadow.cache.get(key, "function")
        token = _free.set(True) if entry is not None else None
        start = perf_counter()
        try:
            yield False
            with self._lock:
                line = self._line(self.calls, name)
                line.add(perf_counter() - start, entry is not None)
        finally:
            if token is not None:
                _free.reset(token)

    @property
    def free(self) -> bool:
        """Whether what runs here is part of a call that would be a hit."""
        return _free.get()

    def knows(self, key: bytes) -> bool:
        """Whether a call or an operation with this key would be a hit."""
        return self.shadow.cache.peek(key) is not None

    @staticmethod
    def _line(table: dict[str, Line], name: str) -> Line:
        found = table.get(name)
        if found is None:
            found = table[name] = Line()
        return found

    def _admit(
        self, key: bytes, memory: Any, seconds: float, height: int, level: str, sight: float
    ) -> None:
        """Let something in that has a size and no value."""
        cache = self.shadow.cache
        if seconds < cache.worth:
            return
        owners = tuple(x if type(x) is Size else Size(x.nbytes) for x in memory[0])
        size: Any = (owners, (), *memory[2:])
        before = cache.stats.bytes
        kept, _ = cache._admit(key, Entry(key, None, size, seconds, height, level), size, sight)
        if kept is not None:
            self.kept += max(cache.stats.bytes - before, 0)
            self.most = max(self.most, cache.stats.bytes)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What reuse would have saved and cost in a program that ran without it.

    seconds            that the program took, traced; `plain`: without tracing, None if unknown
    saved              seconds of operations and calls that would have been hits
    hits, call_hits    how many operations and calls that would have been
    cost               seconds of tracing, looking up and keeping
    bytes, most        bytes that the cache would hold at the end, and at most
    budget             bytes that it may hold
    evicted            values that it would have let go for others
    operations, calls  a `Line` for each operation and function: runs, hits, seconds, saved

    Where `plain` is known, tracing cost what the program took longer; else look-ups alone count.
    Results that rules would have had from parts, and what lies in a store, are not estimated.

    >>> line = Line(runs=4, hits=3, seconds=4.0, saved=3.0)
    >>> Estimate(4.1, 4.0, 3.0, 3, 0, 0.1, 800, 800, 10**9, 0, {"inv": line}, {}).predicted
    1.1
    """

    seconds: float
    plain: float | None
    saved: float
    hits: int
    call_hits: int
    cost: float
    bytes: int
    most: int
    budget: int
    evicted: int
    operations: dict[str, Line]
    calls: dict[str, Line]

    @property
    def predicted(self) -> float:
        """Seconds that the program would take with reuse."""
        base = self.seconds if self.plain is None else self.plain
        return max(round(base - self.saved + self.cost, 9), 0.0)

    def __repr__(self) -> str:
        base, what = (self.plain, "plain") if self.plain is not None else (self.seconds, "traced")
        lines = [
            f"with reuse {_time(self.predicted)} instead of {_time(base)} ({what}): "
            f"{_time(self.saved)} saved, {_time(self.cost)} of tracing, looking up and keeping",
            f"{self.hits:,} operation hits, {self.call_hits:,} call hits; the cache holds "
            f"{self.most:,} bytes at most, of {self.budget:,}, and lets {self.evicted:,} values go",
        ]
        rows = [("call " + name, line) for name, line in self.calls.items()]
        rows = sorted([*rows, *self.operations.items()], key=lambda row: -row[1].saved)
        rows = [row for row in rows if row[1].hits][:12]
        if rows:
            lines.append(f"{'':30} {'runs':>8} {'hits':>8} {'seconds':>11} {'saved':>11}")
        lines += [
            f"{name[:30]:30} {line.runs:8,} {line.hits:8,} {line.seconds:11.4f} {line.saved:11.4f}"
            for name, line in rows
        ]
        return "\n".join(lines)


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def estimate_of(
    ledger: Ledger, seconds: float | None = None, plain: float | None = None
) -> Estimate:
    """What a ledger says so far. Calls that would be hits count as one, whatever is in them."""
    with ledger._lock:
        cache = ledger.shadow.cache
        seconds = perf_counter() - ledger.start if seconds is None else seconds
        tracing = ledger.looked * LOOK_UP if plain is None else max(seconds - plain, 0.0)
        tables = (ledger.operations, ledger.calls)
        return Estimate(
            seconds,
            plain,
            sum(line.saved for table in tables for line in table.values()),
            sum(line.hits for line in ledger.operations.values()),
            sum(line.hits for line in ledger.calls.values()),
            tracing + ledger.kept * NEW_PAGES,
            cache.stats.bytes,
            ledger.most,
            cache.budget,
            cache.stats.evicted,
            *({name: replace(line) for name, line in table.items()} for table in tables),
        )


LEDGER.append(Ledger)
ESTIMATE.append(estimate_of)
