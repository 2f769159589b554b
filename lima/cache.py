"""The memory tier: one map from digest to value under a hard byte budget.

A `Cache` decides three things, each in one place: what is worth keeping (`worth_keeping`), what
goes when room is needed (a row of `POLICIES`), and how many bytes are held (`Cache._account`).
Threads that want one value at the same time compute it once (`Flight`).

Cached values never change: every array that is let in becomes read-only, and arrays whose memory
belongs to someone else stay out. Containers are kept as they are, so whoever hands them out copies.
"""

from __future__ import annotations

import operator
import os
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from threading import RLock, get_ident
from typing import Any, TypeVar

from lima.entries import (
    ENTRY_BYTES,
    FIRST_SIGHT,
    GHOSTS,
    MIN_SECONDS,
    RENT,
    SECOND_SIGHT,
    CacheInfo,
    CacheStats,
    Entry,
    Ghost,
    Memory,
    freeze,
    memory_of,
    worth_keeping,
)
from lima.errors import ConfigError
from lima.flight import Flight, _Call
from lima.policies import POLICIES, require
from lima.spill import Spill

_UNSEEN = (0, 0, 0.0, 0.0)

R = TypeVar("R")


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
        self._entries.budget = self.budget
        self._table = self._entries.table
        self._buffers: dict[int, tuple[int, int]] = {}  # id(owner) -> (entries, bytes)
        self._ghosts: OrderedDict[bytes, tuple[int, int, float, float]] = OrderedDict()
        self._calls: dict[bytes, _Call] = {}  # what is being computed
        self._waiting: dict[int, _Call] = {}  # thread -> what it waits for
        self.spill: Spill | None = None  # where evicted values go
        # Reentrant: a finalizer that the collector runs amid bookkeeping may come back here.
        self._lock = RLock()
        _caches.add(self)

    def get(self, key: bytes, level: str = "operation") -> Entry | None:
        """The entry of `key`, counted as a hit and a use; None is counted as a miss of `level`."""
        # No lock, which would add half to the cost: an entry is right whenever it is found, and a
        # count that free-threaded Python may lose is only a count.
        entry = self._table.get(key)
        if entry is not None:
            self._hit(entry)
            return entry
        if self.spill is not None:
            entry = self.reload(key)
            if entry is not None:
                self._hit(entry)
                return entry
        self.stats.misses[level] += 1
        return None

    def reload(self, key: bytes) -> Entry | None:
        """The entry of a value that went to disk, in memory again if the policy has room for it."""
        entry = self._table.get(key)
        if entry is not None or self.spill is None:
            return entry
        entry = self.spill.find(key)
        if entry is None:
            return None
        there, victims = self._change(self._return, entry)
        self.spill.offer(victims)
        return there

    def _return(self, entry: Entry) -> tuple[Entry, list[Entry]]:
        """Let in what was there before: it was worth its place, so only room decides."""
        there = self._table.get(entry.key)
        if there is not None:
            return there, []
        victims: list[Entry] = []
        if entry.nbytes + ENTRY_BYTES <= self.budget:
            self._account(entry, 1)
            if self.stats.bytes <= self.budget or self._make_room(victims, entry):
                self._entries[entry.key] = entry
                self._ghosts.pop(entry.key, None)
            else:
                self._account(entry, -1)
        return entry, victims

    def _hit(self, entry: Entry) -> None:
        stats, entries = self.stats, self._entries
        entries.clock = entry.age = entries.clock + entries.step
        if entries.uses is not None:
            entries.uses.append(entry)
        entry.hits += 1
        stats.hits[entry.level] += 1
        stats.seconds_saved += entry.seconds
        stats.bytes_saved += entry.nbytes

    def peek(self, key: bytes) -> Entry | None:
        """The entry of `key` or None; nothing is counted and the policy does not learn of it."""
        return self._table.get(key)

    def ghost(self, key: bytes) -> Ghost | None:
        """What is remembered of a key that was refused or evicted."""
        ghost = self._ghosts.get(key)
        return None if ghost is None else Ghost(*ghost)

    def sighted(self, key: bytes, seconds: float, nbytes: int) -> bool:
        """Whether `put` may be worth a try; if not, `key` is remembered, which costs less."""
        ghosts = self._ghosts
        if key in self._table:
            return True
        sights, evicted, density, spent = ghosts.get(key, _UNSEEN)
        if spent and spent + seconds >= RENT * nbytes:
            return True
        ghosts[key] = (sights + 1, evicted, density or seconds / nbytes, spent + seconds)
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
        lineage: Any = None,
    ) -> bool:
        """Offer a value that took `seconds` to compute; True when `key` is kept now.

        `value`: an array, a NumPy or Python scalar, nested tuples, lists and dicts of such, or an
        object whose `buffers()` gives its arrays. On admission its arrays become read-only. A view
        is refused unless `owned` says that nobody else writes to the memory it sees (then all of
        that memory is charged). A key that is there keeps its first value. `first_sight`: seconds a
        byte from which it is kept although it was never wanted before. `lineage`: what a hit shall
        know of how the value was got, beyond its key.
        """
        kept = self._offer(key, value, seconds, height, level, owned, first_sight, lineage=lineage)
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
        lineage: Any = None,
    ) -> Entry | None:
        """Keep a value if it is worth it; from then on nobody joins the `flight` it comes from."""
        memory = memory_of(value, owned) if seconds >= self.worth else None
        entry = None if memory is None else Entry(key, value, memory, seconds, height, level)
        if entry is not None:
            entry.lineage = lineage
        with self._lock:
            try:  # as in _change, whose extra call would cost a tenth of a put
                kept, victims = self._admit(key, entry, memory, first_sight)
                if flight is not None:
                    flight.close()
            except BaseException:
                self._rebuild()
                raise
        if self.spill is not None and victims:
            self.spill.offer(victims)
        return kept  # and the victims are freed, now that the lock is open

    def _admit(
        self, key: bytes, entry: Entry | None, memory: Memory | None, first_sight: float
    ) -> tuple[Entry | None, Sequence[Entry]]:
        there = self._table.get(key)
        if there is not None:
            return there, ()
        if entry is None or memory is None:
            self.stats.refused += 1
            return None, ()
        ghost = self._ghosts.get(key)
        if ghost is not None:
            entry.sights, entry.evicted = ghost[0] + 1, ghost[1]
            entry.spent += ghost[3]
        fresh = entry.loose
        for owner in entry.owners:
            if id(owner) not in self._buffers:
                fresh += owner.nbytes
        victims: list[Entry] = []
        if entry.nbytes + ENTRY_BYTES <= self.budget:
            before = entry.spent - entry.seconds
            if worth_keeping(entry.seconds, fresh, before, self.worth, first_sight):
                self._account(entry, 1)
                if self.stats.bytes <= self.budget or self._make_room(victims, entry):
                    freeze(memory[1])  # before anyone else can see it
                    self._entries[key] = entry
                    if ghost is not None:
                        del self._ghosts[key]
                    self.stats.admitted += 1
                    return entry, victims
                self._account(entry, -1)
                victims.append(entry)  # it may be worth a place on disk
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
        sights, spent = entry.sights + entry.hits, entry.spent + entry.hits * entry.seconds
        ghosts[entry.key] = (sights, entry.evicted, entry.density, spent)
        ghosts.move_to_end(entry.key)
        if len(ghosts) > GHOSTS:
            ghosts.popitem(last=False)

    def evict(self, key: bytes) -> None:
        """Forget `key` and what is remembered of it; a key that is not there is no error."""
        self._change(self._forget, key)
        if self.spill is not None:
            self.spill.forget(key)

    def clear(self) -> None:
        """Forget all values and ghosts; counters stay, and computations under way go on."""
        self._change(self._forget_all)
        if self.spill is not None:
            self.spill.clear()

    def _forget(self, key: bytes) -> Entry | None:
        self._ghosts.pop(key, None)
        entry = self._table.get(key)
        if entry is not None:
            del self._entries[key]
            self._account(entry, -1)
        return entry

    def _forget_all(self) -> list[Entry | None]:
        self._ghosts.clear()
        return [self._forget(key) for key in list(self._entries)]

    def resize(self, budget: int) -> None:
        """Set the budget in bytes; what no longer fits is evicted now."""
        victims = self._change(self._set_budget, _whole(budget))
        if self.spill is not None:
            self.spill.offer(victims)

    def _set_budget(self, budget: int) -> list[Entry]:
        victims: list[Entry] = []
        self.budget = self._entries.budget = budget
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
        self._entries.budget = self.budget
        self._table = self._entries.table
        self._buffers.clear()
        self.stats.bytes = 0
        for entry in held:
            self._ghosts.pop(entry.key, None)
            self._account(entry, 1)
            self._entries[entry.key] = entry
        self._make_room([])

    def _held(self) -> list[Entry]:
        return list(self._table.values())

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
            require(self._buffers == table, f"buffers {self._buffers} counted, {table} held")
            require(self.stats.bytes == total, f"{self.stats.bytes} bytes counted, {total} held")
            require(total <= self.budget, f"{total} bytes held, the budget is {self.budget}")
            require(len(self._ghosts) <= GHOSTS, f"{len(self._ghosts)} ghosts, at most {GHOSTS}")
            require(not both, f"kept and remembered as gone: {both}")
            require(not open_, f"cached buffers are writable, of shapes {open_}")

    def flight(self, key: bytes, level: str = "operation", *, probed: bool = False) -> Flight:
        """Get a value or compute it, once for all threads that want it; see `Flight`.

        `probed`: the caller's `get` has just counted the miss, so it is not counted again.
        """
        return Flight(self, key, level, probed)


def blocked_by(thread: int) -> set[int]:
    """The threads that wait for what `thread` computes, directly or for one that does."""
    pairs = [pair for cache in list(_caches) for pair in list(cache._waiting.items())]
    waiting = {one: call.owner for one, call in pairs}
    found: set[int] = set()
    for one in waiting:
        above: int | None = one
        for _ in range(len(waiting)):
            above = waiting.get(above) if above is not None else None
            if above == thread:
                found.add(one)
                break
    return found


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
