"""Single flight: one thread computes what several want (`Cache.flight`)."""

from __future__ import annotations

from threading import Event, get_ident
from typing import TYPE_CHECKING, Any

from lima.entries import FIRST_SIGHT, Entry, freeze, memory_of

if TYPE_CHECKING:
    from lima.cache import Cache

WAIT_SLICE = 0.1  # seconds a waiter sleeps at a time, so that Ctrl-C reaches it on every platform


class _Call:
    """A computation under way; the owner is a thread."""

    __slots__ = ("done", "entry", "kept", "owner", "waiters")

    def __init__(self, owner: int) -> None:
        self.owner = owner
        self.waiters = 0
        self.done: Event | None = None  # made by the first waiter
        self.entry: Entry | None = None  # what was delivered
        self.kept = False  # whether the cache keeps it


class Flight:
    """One thread's wish for a value: it is served, or computes the value and delivers it.

    While the owner of a key computes, other threads that enter wait. They get what it delivers even
    if the cache refuses to keep it. If it leaves without delivering, they all compute for
    themselves, as without a cache: its failure is most likely theirs, and taking turns would add
    up their times. Who would wait for itself, directly or around a cycle of threads, computes as
    well. No lock is held while anything computes, and Ctrl-C ends a wait.

    >>> from lima.cache import Cache
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

    def __init__(self, cache: Cache, key: bytes, level: str, probed: bool) -> None:
        self.entry: Entry | None = None
        self.delivered = False
        self.value: Any = None
        self._owned: _Call | None = None  # the computation that this thread owes to others
        self._waited: _Call | None = None  # the one that it waits for
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
            entry = cache._table.get(key)
            if entry is not None:
                self._served(entry)
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
        lineage: Any = None,
    ) -> bool:
        """Put the value into the cache and hand it to the waiters; True when it is kept.

        Parameters as for `Cache.put`. What waiters get is read-only, kept or not; a value that must
        not be shared (an unknown kind, foreign memory) is not handed over, and they compute.
        """
        level = level or self._level
        return self.hand_over(value, seconds, height, level, owned, first_sight, lineage)

    def hand_over(
        self,
        value: Any,
        seconds: float,
        height: int,
        level: str,
        owned: bool,
        first_sight: float,
        lineage: Any,
    ) -> bool:
        """`deliver`, for hot paths."""
        cache, call = self._cache, self._owned
        kept = entry = cache._offer(
            self._key, value, seconds, height, level, owned, first_sight, self, lineage
        )
        if kept is None and call is not None and call.waiters:
            memory = memory_of(value, owned)
            if memory is not None:
                freeze(memory[1])
                entry = Entry(self._key, value, memory, seconds, height, level)
                entry.lineage = lineage
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
        if getattr(self, "_owned", None) is not None:  # an interrupt may come before it is set
            self._abandon()
