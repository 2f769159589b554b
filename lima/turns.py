"""Taking turns: what one process computes, those that share its store wait for (D10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from time import perf_counter, sleep
from typing import Any, TypeVar

from lima.cache import blocked_by
from lima.leases import ALONE, MINE, WAITS, Leases

R = TypeVar("R")

LEASE_SECONDS = 0.01
"""Seconds from which it is worth asking whether another process is computing the same. Asking takes
some 40 microseconds; what takes less is not stored (`lima.store`), so nothing would come of it."""

PRIOR = 1e-9
"""Seconds for each unit of work of an operation that has not been seen yet."""

FRUITLESS = 3
"""Leases in a row of which nothing came, after which none are taken for that operation or call."""

PATIENCE = 300.0
"""Seconds of looks after which who waits computes, whatever the owner does."""

STALE = 30.0
"""Seconds of looks at an owner that does not beat, after which its lease is taken over.

Long, since a library may hold the interpreter for a while; that a process has ended is seen at
once."""

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.05
"""Seconds between two looks; they grow, so that short work is seen soon and long work not asked
after all the time."""

TURNS = 2
"""Owners that may fail before who waits computes: their failure is most likely its own."""


class Turn:
    """A `with` block in which one process computes `key`, and others wait at its door.

    `found` is what `look` gave where another process has computed it meanwhile; else it is to be
    computed. `doomed` tells that nothing will come of it, so that nobody waits any longer.
    """

    def __init__(
        self,
        leases: Leases,
        key: bytes,
        look: Callable[[], Any],
        doomed: Callable[[], bool] | None = None,
    ) -> None:
        self.leases = leases
        self.key = key
        self.look = look
        self.doomed = doomed
        self.found: Any = None
        self.owns = False
        self.fruitful: bool | None = None  # whether a value came of this turn, if it was one
        self.threads = {get_ident()}

    def __enter__(self) -> Turn:
        waited = False
        try:
            state = self.leases.take(self.key, self.threads)
            if state == WAITS:
                self.leases.waits += 1
                waited = True
                state = self._wait()
            if state == MINE:
                self.owns = True
                self.leases.hold(self.key, self.doomed)
                self.found = self.look()
                if self.found is not None:
                    self._end()
        except BaseException:
            self._end()
            raise
        finally:
            if waited:
                self.leases.leave(self.threads)
        return self

    def _wait(self) -> str:
        """Wait until the value is there, the owner has failed, or patience ends."""
        leases = self.leases
        pause, waited, still, failed = FIRST_PAUSE, 0.0, 0.0, 0
        last, state = leases.seen(self.key), WAITS
        while state == WAITS and waited < PATIENCE:
            sleep(pause)
            waited += pause
            seen = leases.seen(self.key)
            still = still + pause if seen is not None and seen == last else 0.0
            ended = seen is None or last is None or seen.owner != last.owner
            if ended:
                self.found = self.look()
                failed += 1
                if self.found is not None or failed >= TURNS:
                    return ALONE
            behind = blocked_by(get_ident()) - self.threads
            self.threads |= behind
            if seen is None or seen.is_dead() or still > STALE or behind:
                state = leases.take(self.key, self.threads, seen if still > STALE else None)
            last = seen
            pause = min(1.5 * pause, LONGEST_PAUSE)
        return state

    def __exit__(self, *exc: object) -> None:
        if not self.owns:
            return
        held = self.leases.held.get(self.key)  # None if it has been written already
        doomed = self.doomed is not None and self.doomed()
        self.fruitful = not doomed and (held is None or held.queued)
        if not self.fruitful:
            self._end()

    def _end(self) -> None:
        if self.owns:
            self.leases.give_back(self.key)
            self.owns = False


class Turns:
    """What is worth taking turns for in one store, by what was measured and what came of it."""

    def __init__(self, leases: Leases, env: bytes) -> None:
        self.leases = leases
        self.env = env
        self.rates: dict[str, float] = {}  # seconds for each unit of work, by operation
        self._fruitless: Counter[str] = Counter()

    def dear(self, name: str, work: float) -> bool:
        """Whether an operation is expected to take so long that others may wait for it."""
        return self.expected(name, work) >= LEASE_SECONDS and self.shares(name)

    def expected(self, name: str, work: float) -> float:
        """Seconds that so much work is expected to take."""
        return self.rates.get(name, PRIOR) * work

    def lasts(self, seconds: float | None) -> bool:
        """Whether a call that took so long lately is worth it; None where nobody knows."""
        return seconds is None or seconds >= LEASE_SECONDS

    def shares(self, name: str) -> bool:
        """Whether something came of the leases of an operation or call, as far as any is known."""
        return self.leases.usable and self._fruitless[name] < FRUITLESS

    def learn(self, name: str, seconds: float, work: float) -> None:
        """An operation took so long for so much work."""
        self.rates[name] = seconds / max(work, 1.0)

    @contextmanager
    def turn(
        self,
        name: str,
        key: bytes,
        look: Callable[[], Any],
        doomed: Callable[[], bool] | None = None,
    ) -> Iterator[Turn]:
        """Compute in the `with` block what no other process computes at the time (`leases`).

        Where one does it is waited for; its `found` is then what `look` gives. `name`: what it is
        an instance of, so that what is never stored is not waited for again and again.
        """
        turn = Turn(self.leases, self.lease(key), look, doomed)
        with turn:
            yield turn
        if turn.fruitful is not None:
            self._fruitless[name] = 0 if turn.fruitful else self._fruitless[name] + 1

    def once(
        self,
        name: str,
        work: float,
        key: bytes,
        look: Callable[[], Any],
        again: Callable[[], R | None],
        anew: Callable[[], R],
    ) -> R:
        """What `anew` computes, if that is dear by one process of those that want it at the time.

        The others have what `again` makes of it. What the work took is learnt in any case.
        """
        start = perf_counter()
        if not self.dear(name, work):
            made = anew()
        else:
            with self.turn(name, key, look) as turn:
                there = again() if turn.found is not None else None
                if there is not None:
                    return there
                start = perf_counter()
                made = anew()
        if made is not None:
            self.learn(name, perf_counter() - start, work)
        return made

    def lease(self, key: bytes) -> bytes:
        """Under what name `key` is wanted: the bits of one numeric environment."""
        return key + self.env
