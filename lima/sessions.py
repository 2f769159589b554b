"""Sessions: a cache with its options and statistics, and which one is in force."""

from __future__ import annotations

import atexit
import copy
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from lima.cache import Cache
from lima.catalog import Stored
from lima.config import TEMPORARY, Config
from lima.entries import FIRST_SIGHT, SECOND_SIGHT, SURELY, TINY_BYTES, Entry
from lima.environment import thread_budget
from lima.errors import ConfigError
from lima.node import Node, record_lines
from lima.op import Meta, Op
from lima.pattern import CLASSES, ROUNDING
from lima.spill import Spill
from lima.stats import HIT, Stats, outcome_row
from lima.store import Store, opened
from lima.winding import WINDER as _WINDER  # noqa: F401  (winds up what is traced)

CREDIT = 8_000_000
"""Bytes of results of one operation that are kept on trust (see `Session.keep`)."""

POOL_SHARE = 32
"""The part of the memory budget, one in so many, that dead buffers may take."""

LEVEL = "operation"

CALL_SECONDS = 1e-4
"""Seconds from which a whole call is worth keeping."""


class Pool:
    """Dead buffers of temporaries, for results of the same shape and dtype.

    A buffer that is used again has its pages and is in the processor's cache; one from the
    allocator may have neither. Bounded in bytes; one per session and thread.
    """

    __slots__ = ("buffers", "bytes", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.buffers: dict[Meta, list[Any]] = {}

    def give(self, buffer: Any) -> None:
        if self.bytes + buffer.nbytes <= self.limit and buffer.flags.c_contiguous:
            self.bytes += buffer.nbytes
            self.buffers.setdefault((buffer.shape, buffer.dtype), []).append(buffer)

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        kept = self.buffers.get((shape, dtype))
        if not kept:
            return None
        buffer = kept.pop()
        self.bytes -= buffer.nbytes
        return buffer


class Session:
    """A cache with its options and statistics; made by `lima.session`.

    Attributes: `config` (the options in force), `cache`, `stats` (a record, see `lima.Stats`).

    >>> with session(memory="1MB") as s:
    ...     s.config.memory, s.stats.computed
    (1000000, 0)
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cache = Cache(config.memory, config.policy)
        self.counts = Stats()
        self.reuses = config.reuse != "none"
        self.functions = config.reuse in ("hybrid", "full", "estimate")
        self.asides = config.aside and self.functions and config.reuse != "estimate"
        self.ledger: Any = LEDGER[0](config) if config.reuse == "estimate" else None
        self.allowed = frozenset(
            CLASSES[: CLASSES.index(config.exactness) + 1]
            if config.reuse in ("hybrid", "partial")
            else ()
        )
        self.rounds = ROUNDING in self.allowed
        self._planner: Any = None
        self.call_seconds = CALL_SECONDS
        self.credit: dict[str, int] = {}
        self._pools = threading.local()
        self._threads = 0
        if config.spill and self.ledger is None:
            place = None if config.spill == TEMPORARY else config.spill
            self.cache.spill = Spill(place, config.spill_bytes)
            _spilling.add(self.cache.spill)
        place = "" if self.ledger is not None else config.store
        self.store: Store | None = opened(
            place, config.store_bytes, config.environment, config.remote
        )

    @property
    def planner(self) -> Any:
        """What tries rules in this session (`lima.rewrite.Planner`)."""
        if self._planner is None:
            self._planner = PLANNER[0](self)
        return self._planner

    @property
    def threads(self) -> int:
        """Threads that a pass over memory may take; the number is settled at first use."""
        if self._threads == 0:
            self._threads = self.config.threads or thread_budget()
        return self._threads

    def with_threads(self, threads: int) -> Session:
        """The same session, cache and statistics, for work that may take so many threads."""
        _ = self.planner  # one for all
        made = copy.copy(self)
        made._threads = threads
        return made

    @property
    def pool(self) -> Pool:
        """The dead buffers of this thread."""
        found = getattr(self._pools, "pool", None)
        if found is None:
            found = self._pools.pool = Pool(self.config.memory // POOL_SHARE)
        return found

    def look(self, node: Node) -> Any:
        """The entry of `node`, counted as a hit or a miss.

        Derived bits have no place among those of a session that allows no rules, though the digest
        is the same: an array may have come from another session.
        """
        digest = node.digest
        return None if node.inexact and not self.rounds else self.cache.get(digest)

    def find_stored(self, node: Node) -> Stored | None:
        """What the store on disk has of `node`; nothing is read of it yet.

        In a session that allows no rules only where nothing was derived, see `look`.
        """
        digest = node.digest
        if self.store is None or (node.inexact and not self.rounds):
            return None
        found = self.store.find(digest)
        if found is not None:
            node.outcome = outcome_row(HIT, found.seconds)
        return found

    def fetched(self, row: Op, found: Stored) -> Entry | None:
        """What was found in the store, read into the cache; None if it is of no use."""
        if self.store is None or found.kind not in ("one", "tuple", "named"):
            return None
        value = self.store.read(found, row.wrap)
        if value is None:
            return None
        key, seconds, height = found.key, found.seconds, found.height
        self.counts.store_hits += 1
        self.cache.stats.seconds_saved += seconds
        least = max(seconds, self.cache.worth)
        self.cache.put(key, value, seconds=least, height=height, owned=True, first_sight=0.0)
        return self.cache.peek(key) or Entry(key, value, ((), (), 0, 0), seconds, height, LEVEL)

    def stored(self, row: Op, node: Node) -> Entry | None:
        """The entry of `node` from the store on disk."""
        found = self.find_stored(node)
        return None if found is None else self.fetched(row, found)

    def keep(self, row: Op, node: Node, result: Any, seconds: float, flight: Any = None) -> bool:
        """Offer a result to the cache, and to the store; whether its buffer is shared now."""
        if self.ledger is not None:
            self.ledger.note(row, node, result, seconds)
            return False
        kept = self._keep(row, node, result, seconds, flight)
        if self.store is not None and self.store.offer(node, result, seconds, row.wrap):
            return True
        return kept

    def _keep(self, row: Op, node: Node, result: Any, seconds: float, flight: Any) -> bool:
        """Offer a result to the cache."""
        first_sight = self.trust(row, node, result, seconds, flight is None)
        if first_sight < 0.0:
            return False
        lineage = node if node.inexact else None
        height = node.height
        if flight is not None:
            return bool(
                flight.hand_over(result, seconds, height, LEVEL, True, first_sight, lineage)
            )
        digest = node.digest
        entry = self.cache._offer(
            digest, result, seconds, height, LEVEL, True, first_sight, None, lineage
        )
        return entry is not None

    def trust(self, row: Op, node: Node, result: Any, seconds: float, alone: bool) -> float:
        """The seconds a byte from which a result is kept at once; below 0 if it is not kept.

        Keeping what is never asked for again costs the fresh pages that the next result takes.
        So each operation has a credit of bytes for results that are kept at first sight although
        they took little time for their size; hits fill it up again. `alone`: no other thread waits
        for it.
        """
        if node.inexact and not self.rounds:
            return -1.0
        nbytes = result.nbytes if type(result) is np.ndarray else 0
        first_sight = FIRST_SIGHT
        if nbytes > TINY_BYTES and seconds < SURELY * nbytes:
            left = self.credit.get(row.name, CREDIT) - nbytes
            if left < 0:
                first_sight = SURELY
            elif seconds >= FIRST_SIGHT * nbytes:
                self.credit[row.name] = left
            cheap = alone and seconds < first_sight * nbytes
            if cheap and seconds < SECOND_SIGHT * nbytes:
                return -1.0
            if cheap and not self.cache.sighted(node.digest, seconds, nbytes):
                return -1.0
        return first_sight

    def repaid(self, row: Op, value: Any) -> None:
        """A result of `row` was asked for again."""
        if row.name in self.credit:
            more = value.nbytes if type(value) is np.ndarray else 0
            self.credit[row.name] = min(CREDIT, self.credit[row.name] + 2 * more)

    def estimate(self) -> Any:
        """What reuse would save and cost (`lima.ledger.Estimate`), with `reuse="estimate"`."""
        if self.ledger is None:
            raise ConfigError(
                f"this session has reuse={self.config.reuse!r}: open one with reuse='estimate', "
                "which computes everything and notes what reuse would have saved"
            )
        return ESTIMATE[0](self.ledger)

    @property
    def stats(self) -> Stats:
        """Counts and seconds so far, by level: hits, misses, seconds saved, bytes held."""
        return self.counts.with_cache(self.cache)

    def report(self) -> str:
        """The statistics as a table for reading."""
        return self.stats.table()

    def clear(self) -> None:
        """Forget every cached value; what is in the store on disk stays."""
        self.cache.clear()
        if self._planner is not None:
            self._planner.lately.clear()

    def close(self) -> None:
        """Write what is on its way to the store, let go of its files, delete what was spilled."""
        if self.cache.spill is not None:
            self.cache.spill.close()
        if self.store is not None:
            self.store.close()

    def __repr__(self) -> str:
        return f"<lima.Session {self.config.summary()}; {self.stats.summary()}>"


PLANNER: list[Callable[[Session], Any]] = []
"""What makes the planner of a session (`lima.runtime`, since a planner runs operations)."""

LEDGER: list[Callable[[Config], Any]] = []
ESTIMATE: list[Callable[[Any], Any]] = []
"""What notes what reuse would save, and says so (`lima.ledger`, which has a session inside)."""

_spilling: weakref.WeakSet[Spill] = weakref.WeakSet()


def _at_exit() -> None:
    for spill in list(_spilling):
        spill.close()


atexit.register(_at_exit)

_session: ContextVar[Session | None] = ContextVar("lima_session", default=None)
_default: Session | None = None
_seen: Session | None = None
"""What threads without a session of their own see; see `_shared`."""
_apart = False
"""Whether that is the session of another thread than the main one, which does not see it."""
_main: int | None = threading.main_thread().ident
_open: list[tuple[Session, Session | None, int]] = []
"""Open sessions, what was in force where each was opened, and the thread that opened it."""
_opening = threading.RLock()


def current() -> Session:
    """The session in force here.

    That is the innermost `with lima.session(...)` of this context; in a thread that has none the
    one that `_shared` chose, so that workers share the session of the program that started them;
    else the process-wide one.
    """
    session = _session.get()
    if session is not None:
        return session
    if _seen is not None and not (_apart and threading.get_ident() == _main):
        return _seen
    return default()


def default() -> Session:
    """The process-wide session."""
    global _default
    if _default is None:
        with _opening:
            if _default is None:
                _default = Session(Config.load())
                _record_lines()
    return _default


def _record_lines() -> None:
    """Nodes remember lines while any session wants it: the hot path asks no session."""
    wanted = {made.config.lines for made, _, _ in _open}
    if _default is not None:
        wanted.add(_default.config.lines)
    record_lines("all" in wanted, "large" in wanted)


def _shared() -> Session | None:
    """The session that threads without one of their own see.

    Who started a thread cannot be told. So it is the innermost one of the main thread; where the
    main thread has none, that of the only thread that has one (the main thread itself does not see
    it). Where that leaves a choice (several
    threads, or tasks of an event loop, that each have their own) it is the one around them all, if
    there is one in that thread: nobody's work goes into another's session.
    """
    global _apart
    threads = {thread for _, _, thread in _open}
    _apart = _main not in threads
    if _apart and len(threads) > 1:
        return None
    chosen = next(iter(threads), None) if _apart else _main
    innermost: Session | None = None
    left = [(made, around) for made, around, thread in _open if thread == chosen]
    mine = {id(made) for made, _ in left}
    inside = [pair for pair in left if pair[1] is None or id(pair[1]) not in mine]
    while len(inside) == 1:
        innermost = inside[0][0]
        inside = [pair for pair in left if pair[1] is innermost]
    return innermost


def _opens(made: Session, around: Session | None) -> None:
    global _seen
    with _opening:
        _open.append((made, around, threading.get_ident()))
        _seen = _shared()


def _closes(made: Session) -> None:
    global _seen
    with _opening:
        _open[:] = [entry for entry in _open if entry[0] is not made]
        _seen = _shared()


def _in_child() -> None:
    """After a fork: the sessions of other threads are not in force anywhere."""
    global _seen, _opening, _main
    _opening = threading.RLock()
    _main = threading.main_thread().ident
    me = threading.get_ident()
    if any(entry[2] == me for entry in _open):
        _open[:] = [entry for entry in _open if entry[2] == me]
    _seen = _shared()
    for spill in _spilling:
        spill.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def configure(**options: Any) -> Session:
    """Replace the process-wide default session by one with these options; returns it.

    Takes the options of `lima.session`. What the old default session had cached is dropped.

    >>> configure(memory="64MB").config.memory
    64000000
    """
    global _default
    if _default is not None:
        _default.close()
    _default = Session(Config.load(**options))
    _record_lines()
    return _default


@contextmanager
def session(**options: Any) -> Iterator[Session]:
    """A session of its own for the `with` block: an empty cache, options, statistics.

    Threads that are started inside, and have no session of their own, share it: a thread that has
    none sees the innermost session that is open in the main thread, or, where the main thread has
    none, that of the only thread that has one.

    * `memory`: byte budget of the cache, a number of bytes or text such as "2GB".
    * `policy`: row of the eviction table, "cost-size", "lru", "dag-height" or "adaptive".
    * `reuse`: "none" (trace only), "operation", "full" (operations and calls), "partial"
      (operations, and results from parts by rules), or "hybrid" (all of these). "estimate": compute
      everything and note what "full" would have saved, see `Session.estimate`.
    * `exactness`: how near rules must come to the plain computation. "bitwise": its bits;
      "rounding": an error of the order of rounding; "guarded": also rules that cancellation could
      hurt, where a check at run time lets them.
    * `threads`: threads that a pass over elements of large arrays may take; 0, the default, for as
      many as BLAS takes. The bits do not depend on it.
    * `store`: a folder on a disk of this machine where results outlive the process; none by
      default. `store_bytes` is its budget. `environment` is "same", or "any" to use also what was
      computed with another NumPy, BLAS, number of threads or kind of processor. `remote` is a
      second level behind it, a folder or an address that fsspec knows, such as "s3://bucket/lima".
    * `lines`: which operations remember the user's line that asked for them, as `lima.explain`,
      `lima.diff` and tables show it: "large" (heavy ones, and those on large arrays), "all" (some
      0.1 µs for each small operation), or "none".
    * `spill`: a folder for what memory has no room for, or True for a temporary one. Values go
      there when they are evicted, if reading them back takes less time than computing them again,
      and are deleted with the session. `spill_bytes` is the budget.
    * `aside`: whether calls whose operations are too small for tracing to pay run as plain NumPy
      (see the architecture page); their lineage is traced when it is asked for.
    * `strict`: whether a fault of a rule raises its error; else the operation is computed as asked.

    Raises ConfigError for an unknown option or value.

    >>> with session(memory="100MB") as s:
    ...     s.stats.hits
    0
    """
    made = Session(Config.load(**options))
    around = _session.get()
    token = _session.set(made)
    _opens(made, around)
    _record_lines()
    try:
        yield made
    finally:
        _closes(made)
        _record_lines()
        _session.reset(token)
        made.close()
        made._planner = None  # which refers back: so the cache goes with the session, at once
