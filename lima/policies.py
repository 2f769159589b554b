"""Policies: maps from key to Entry whose `popitem` chooses the victim."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections import OrderedDict

import cachetools

from lima.entries import Entry
from lima.errors import InternalError

Score = tuple[float, float]


def require(holds: bool, message: str) -> None:
    if not holds:
        raise InternalError(f"the cache is inconsistent: {message}")


class Scored(cachetools.Cache[bytes, Entry]):
    """The lowest score goes first, the oldest of equals; uses may raise a score, nothing lowers it.

    It holds any number of entries (`maxsize` infinite): the cache counts the bytes, since a buffer
    that several entries share has no size of its own in each. From the first eviction on, a heap
    holds one record for each entry with the score it had when it was pushed: a lower bound.
    `least` corrects the top record until it is exact, so a use costs no heap operation and an
    eviction O(log n) amortised.

    `table` has the entries by key once more: the base class takes two calls of Python for a look.
    """

    step = 0.0  # how far a use moves the clock

    def __init__(self) -> None:
        super().__init__(math.inf)
        self.table: dict[bytes, Entry] = {}
        self.clock = 0.0  # a use writes it into the entry's `age`
        self._heap: list[tuple[Score, int, bytes]] | None = None  # none before an eviction
        self._ticks = 0

    def score(self, entry: Entry) -> Score:
        raise NotImplementedError

    def yields(self, newcomer: Entry) -> bool:
        """Whether the next victim makes room for `newcomer`; else the newcomer is refused."""
        return len(self) > 0

    def __setitem__(self, key: bytes, entry: Entry) -> None:
        self.clock = entry.age = self.clock + self.step
        self._ticks = entry.tick = self._ticks + 1
        cachetools.Cache.__setitem__(self, key, entry)
        self.table[key] = entry
        if self._heap is not None:
            heapq.heappush(self._heap, (self.score(entry), entry.tick, key))

    def __delitem__(self, key: bytes) -> None:
        cachetools.Cache.__delitem__(self, key)
        del self.table[key]
        if self._heap is not None and len(self._heap) > 64 + 2 * len(self):
            self._heap = None  # mostly records of what was deleted: made anew when needed

    def _recorded(self, record: tuple[Score, int, bytes]) -> Entry | None:
        """The entry that a record stands for, or None when it has gone."""
        entry = self.table.get(record[2])
        return entry if entry is not None and entry.tick == record[1] else None

    def least(self) -> Entry | None:
        """The next victim, at the top of the heap under its exact score."""
        heap = self._heap
        if heap is None:
            every = self.table.values()
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
        del self.table[entry.key]
        return entry.key, entry

    def check(self) -> None:
        require(self.currsize == len(self), f"{len(self)} entries, {self.currsize} counted")
        require(self.table == dict(self.items()), "its table is not what it holds")
        if self._heap is None:
            return
        found = [(record[0], self._recorded(record)) for record in self._heap]
        live = [(recorded, entry) for recorded, entry in found if entry is not None]
        require(len(live) == len(self), f"{len(self)} entries, {len(live)} of them queued")
        low = [entry for recorded, entry in live if self.score(entry) < recorded]
        require(not low, f"scores fell below their records: {low}")


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


class Adaptive(Scored):
    """Least recently used, or what saves least for each byte: whichever was less to blame lately.

    Both name a victim; where they differ, whose word counts is decided by what their earlier
    victims cost. An evicted key that comes back was computed again: that speaks against the one who
    had named it, the more the longer computing took, and the less the longer ago it was. So it has
    the order of `CostSize`, with its ageing, in which what is dear stays, and that of `Recency` in
    phases where what is dear is of no use any more. At most `BLAMES` keys are remembered.

    The clock counts uses. How far ageing had come at the last use is looked up in `_levels`.
    """

    step = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.trust = START  # in recency: logarithm of the odds
        self._turn = 0.0
        self._level = 0.0  # of ageing
        self._times = [0.0]  # at these times of the clock ...
        self._levels = [0.0]  # ... ageing reached these levels
        self._queue: list[tuple[float, int, bytes]] | None = None  # by last use; as `_heap`
        self._blames: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self._seconds = 0.0  # that a victim took, about

    def score(self, entry: Entry) -> Score:
        level = self._levels[bisect_right(self._times, entry.age) - 1]
        return level + (entry.sights + entry.hits) * entry.density, 0.0

    @property
    def recency(self) -> float:
        """The share of victims that go by last use."""
        return 1.0 / (1.0 + math.exp(-self.trust))

    def __setitem__(self, key: bytes, entry: Entry) -> None:
        blame = self._blames.pop(key, None)
        if blame is not None:
            side, when = blame
            long_ago = (self.clock - when) / (4.0 * len(self) + 64.0)
            weight = entry.seconds / (self._seconds or entry.seconds)
            change = side * RATE * min(weight, 8.0) * math.exp(-long_ago)
            self.trust += max(-1.0, min(1.0, change))
            self.trust = max(-BOUND, min(BOUND, self.trust))
        super().__setitem__(key, entry)
        if self._queue is not None:
            heapq.heappush(self._queue, (entry.age, entry.tick, key))

    def __delitem__(self, key: bytes) -> None:
        super().__delitem__(key)
        if self._queue is not None and len(self._queue) > 64 + 2 * len(self):
            self._queue = None

    def yields(self, newcomer: Entry) -> bool:
        victim = self.least()
        if victim is None:
            return False
        newcomer.age = self.clock
        own, theirs = self.score(newcomer), self.score(victim)
        if theirs <= own or self._turn + self.recency >= 1.0:
            return True
        self._blame(newcomer, 1.0)
        self._age(own[0])
        return False

    def popitem(self) -> tuple[bytes, Entry]:
        dull, old = self.least(), self._oldest()
        if dull is None or old is None:
            raise KeyError(f"{type(self).__name__} is empty")
        self._turn += self.recency
        by_time = self._turn >= 1.0
        self._turn -= by_time
        victim = old if by_time else dull
        if dull is not old:
            self._blame(victim, -1.0 if by_time else 1.0)
        if not by_time:
            self._age(self.score(victim)[0])
        del self[victim.key]
        return victim.key, victim

    def _blame(self, victim: Entry, side: float) -> None:
        self._seconds += (victim.seconds - self._seconds) * (0.05 if self._seconds else 1.0)
        share = self.recency if side < 0.0 else 1.0 - self.recency  # few victims count for more
        self._blames[victim.key] = side / max(share, 0.02), self.clock
        self._blames.move_to_end(victim.key)
        if len(self._blames) > BLAMES:
            self._blames.popitem(last=False)

    def _age(self, level: float) -> None:
        """Ageing goes on; what was used before keeps the level that it had then."""
        if level <= self._level:
            return
        self._level = level
        if self._times[-1] == self.clock:
            self._levels[-1] = level
        else:
            self._times.append(self.clock)
            self._levels.append(level)
        if len(self._times) > 4096:  # the oldest steps become one; scores only rise by that
            cut = len(self._times) // 2
            self._times[:cut], self._levels[:cut] = [0.0], [self._levels[cut - 1]]

    def _oldest(self) -> Entry | None:
        """What was used longest ago, at the top of the queue."""
        queue = self._queue
        if queue is None:
            queue = self._queue = [(e.age, e.tick, e.key) for e in self.table.values()]
            heapq.heapify(queue)
        while queue:
            age, tick, key = queue[0]
            entry = self.table.get(key)
            if entry is None or entry.tick != tick:
                heapq.heappop(queue)
            elif entry.age > age:
                heapq.heapreplace(queue, (entry.age, tick, key))
            else:
                return entry
        return None


START = -4.0
"""Trust in recency at the beginning: logarithm of the odds, 1 to 55."""

BOUND = 5.0
RATE = 0.1
"""How much a victim of the usual cost that comes back at once changes the trust."""

BLAMES = 4096
"""Victims that are remembered to find out whether they come back."""


POLICIES: dict[str, type[Scored]] = {
    "lru": Recency,
    "dag-height": DagHeight,
    "cost-size": CostSize,
    "adaptive": Adaptive,
}
