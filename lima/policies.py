"""Policies: maps from key to Entry whose `popitem` chooses the victim."""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, deque
from typing import Any

import cachetools

from lima.entries import ENTRY_BYTES, Entry
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
    uses: deque[Entry] | None = None  # what was used lately, where a policy wants to know
    budget = 0  # bytes, as the cache says

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


class Shadow:
    """What a policy would hold, had it alone decided: keys without values.

    `lost` is what its misses cost, in seconds, of which those long ago count less and less.
    `gone` are the keys that the real cache holds and it does not, in the order of their going.
    """

    def __init__(self, entries: Scored, real: dict[bytes, Entry]) -> None:
        self.entries = entries
        self.real = real
        self.lost = 0.0
        self.nbytes = 0
        self.gone: dict[bytes, None] = {}
        self.sights: OrderedDict[bytes, int] = OrderedDict()

    def fill(self, held: list[Entry]) -> None:
        """Begin with what the real cache holds, which is given in the order of its last uses."""
        for entry in held:
            made = _bare(entry)
            made.hits, made.sights = entry.hits, entry.sights
            self.nbytes += made.nbytes + ENTRY_BYTES
            self.entries[entry.key] = made

    def see(self, wanted: Entry, budget: int, weight: float) -> None:
        """A value is wanted: it is there, or is computed, and then let in or not."""
        entries = self.entries
        there = entries.table.get(wanted.key)
        if there is not None:
            entries.clock = there.age = entries.clock + entries.step
            there.hits += 1
            return
        self.lost += weight * wanted.seconds
        made = _bare(wanted)
        made.sights = self.sights.pop(made.key, 0) + 1
        size = made.nbytes + ENTRY_BYTES
        if size > budget:
            return
        while self.nbytes + size > budget:
            if not entries.yields(made):
                return self._remember(made)
            self._evict()
        self.nbytes += size
        entries[made.key] = made
        self.gone.pop(made.key, None)

    def shrink(self, budget: int) -> None:
        """Let go of what does not fit into a budget that has become smaller."""
        while self.nbytes > budget:
            self._evict()

    def _evict(self) -> None:
        _, victim = self.entries.popitem()
        self.nbytes -= victim.nbytes + ENTRY_BYTES
        self._remember(victim)

    def _remember(self, victim: Entry) -> None:
        if victim.key in self.real:
            self.gone[victim.key] = None
        self.sights[victim.key] = victim.sights + victim.hits
        if len(self.sights) > GHOSTS:
            self.sights.popitem(last=False)


def _bare(entry: Entry) -> Entry:
    """An entry without its value."""
    memory: Any = (), (), entry.nbytes, entry.nbytes
    return Entry(entry.key, None, memory, entry.seconds, entry.height, entry.level)


class Adaptive(Scored):
    """Follows the one of the other policies that would have lost least lately.

    From the first eviction on it keeps books of what each of them would hold now (`Shadow`), had it
    decided alone: the uses of values are noted, and worked off before the next decision. What goes
    is what the best one has let go already. So it loses about what the best one loses, and
    some more where another one becomes the best.
    """

    step = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.shadows: dict[str, Shadow] = {}
        self.leader: Shadow | None = None
        self._weight = 1.0
        self._newcomer: Entry | None = None

    def score(self, entry: Entry) -> Score:
        return entry.age, 0.0

    def _follow(self) -> Shadow:
        """The policy to follow now, after all that has happened."""
        if self.leader is None:
            held = sorted(self.table.values(), key=lambda entry: entry.age)
            for name, policy in FOLLOWED.items():
                self.shadows[name] = Shadow(policy(), self.table)
                self.shadows[name].fill(held)
            self.leader = self.shadows[FIRST]
            self.uses = deque(maxlen=MAX_USES)
        self._catch_up()
        best = min(self.shadows.values(), key=lambda one: one.lost)
        if best.lost < STAY * self.leader.lost:
            self.leader = best
        return self.leader

    def _catch_up(self) -> None:
        """Work off the uses; other threads may note some meanwhile."""
        uses = self.uses
        if uses:
            for _ in range(len(uses)):
                self._see(uses.popleft())

    def _see(self, entry: Entry) -> None:
        self._weight *= 1.0 + 1.0 / (WINDOW * len(self) + 64.0)
        for shadow in self.shadows.values():
            shadow.see(entry, self.budget, self._weight)
        if self._weight > 1e50:
            for shadow in self.shadows.values():
                shadow.lost /= self._weight
            self._weight = 1.0

    def _arrives(self, entry: Entry) -> None:
        """Let everybody see a newcomer, once."""
        if self._newcomer is not entry:
            self._newcomer = entry
            self._catch_up()
            self._see(entry)

    def yields(self, newcomer: Entry) -> bool:
        self._follow()
        self._arrives(newcomer)
        return newcomer.key in self._follow().entries.table

    def __setitem__(self, key: bytes, entry: Entry) -> None:
        if self.leader is not None:
            self._arrives(entry)
            self._newcomer = None
        super().__setitem__(key, entry)
        for shadow in self.shadows.values():
            if key not in shadow.entries.table:
                shadow.gone[key] = None

    def __delitem__(self, key: bytes) -> None:
        self._catch_up()  # a use that is noted would hold the value
        super().__delitem__(key)
        for shadow in self.shadows.values():
            shadow.gone.pop(key, None)

    def popitem(self) -> tuple[bytes, Entry]:
        if not self.table:
            raise KeyError(f"{type(self).__name__} is empty")
        leader = self._follow()
        if not leader.gone:
            leader.shrink(self.budget)
        key = next(iter(leader.gone or self.table))
        victim = self.table[key]
        del self[key]
        return key, victim

    def check(self) -> None:
        super().check()
        for name, shadow in self.shadows.items():
            held = shadow.entries.table
            shadow.entries.check()
            total = sum(entry.nbytes + ENTRY_BYTES for entry in held.values())
            require(total == shadow.nbytes, f"{name}: {shadow.nbytes} bytes counted, {total} held")
            gone = self.table.keys() - held.keys()
            require(shadow.gone.keys() == gone, f"{name}: the wrong keys are noted as gone")
            require(len(shadow.sights) <= GHOSTS, f"{name}: too many keys are remembered")


STAY = 0.9
"""What another policy must have lost, beside the one that is followed, to be followed."""

WINDOW = 4.0
"""Uses for each value held after which a loss counts a third."""

MAX_USES = 1 << 11
"""Uses that wait to be worked off; of more the oldest are forgotten."""

GHOSTS = 1 << 14
"""Keys whose uses a shadow remembers after they have gone."""

FIRST = "cost-size"
FOLLOWED: dict[str, type[Scored]] = {
    "cost-size": CostSize,
    "lru": Recency,
    "dag-height": DagHeight,
}

POLICIES: dict[str, type[Scored]] = {
    "lru": Recency,
    "dag-height": DagHeight,
    "cost-size": CostSize,
    "adaptive": Adaptive,
}
