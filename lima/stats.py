"""Records of what happened: outcomes of single operations, totals of a session."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple


class Outcome(enum.Enum):
    """How the value of an operation was got."""

    COMPUTED = "computed"
    HIT = "hit"
    PARTIAL = "partial"
    REFUSED = "refused"
    ENTERED = "entered"
    ASIDE = "aside"


COMPUTED, HIT, PARTIAL, REFUSED, ENTERED, ASIDE = (
    Outcome  # for hot paths, as the kinds in `lima.op`
)


class OutcomeRow(NamedTuple):
    """What `lima.explain` shows for a node: outcome, seconds spent (or saved), and why."""

    outcome: Outcome
    seconds: float
    why: str


_new = tuple.__new__  # a third of the cost of the constructor


def outcome_row(outcome: Outcome, seconds: float = 0.0, why: str = "") -> OutcomeRow:
    return _new(OutcomeRow, (outcome, seconds, why))


@dataclass(slots=True)
class Stats:
    """Totals of a session; seconds are wall-clock seconds, bytes are bytes.

    hits, function_hits        operations and whole calls whose results came from the cache
    store_hits                 operations whose results came from the store on disk
    partial, seconds_partial   results that rules had from parts, by rule; estimated seconds saved
    computed                   operations that were probed or forced and had to be computed
    seconds_saved              compute seconds of everything that was hit
    seconds_computed           compute seconds of everything that was not
    bytes, entries             held by the cache now
    admitted, refused, evicted decisions of the cache
    barriers                   calls that ran without lineage
    asides                     calls that ran as plain NumPy, since tracing them did not pay
    faults                     rules that failed; the operation was then computed as asked

    >>> print(Stats(hits=2, seconds_saved=0.5).summary())
    2 operation hits, 0 call hits, 0 computed, 0.5 s saved, 0 bytes held
    """

    hits: int = 0
    function_hits: int = 0
    function_misses: int = 0
    partial: Counter[str] = field(default_factory=Counter)
    seconds_partial: float = 0.0
    computed: int = 0
    seconds_saved: float = 0.0
    seconds_computed: float = 0.0
    bytes: int = 0
    entries: int = 0
    admitted: int = 0
    refused: int = 0
    evicted: int = 0
    barriers: int = 0
    asides: int = 0
    faults: int = 0
    store_hits: int = 0

    def with_cache(self, cache: Any) -> Stats:
        """These totals with those of `cache` filled in."""
        seen = cache.stats
        return replace(
            self,
            hits=seen.hits["operation"],
            function_hits=seen.hits["function"],
            function_misses=seen.misses["function"],
            seconds_saved=seen.seconds_saved,
            bytes=seen.bytes,
            entries=len(cache),
            admitted=seen.admitted,
            refused=seen.refused,
            evicted=seen.evicted,
        )

    def summary(self) -> str:
        """One line: hits, computed, seconds saved, bytes held."""
        return (
            f"{self.hits} operation hits, {self.function_hits} call hits, "
            f"{self.computed} computed, {self.seconds_saved:.3g} s saved, {self.bytes:,} bytes held"
        )

    def table(self) -> str:
        """One line a figure."""
        rows: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        by_rule = rows.pop("partial")
        rows |= {f"partial: {name}": count for name, count in sorted(by_rule.items())}
        width = max(map(len, rows))
        return "\n".join(
            f"{name:<{width}}  {value:,.4f}"
            if isinstance(value, float)
            else f"{name:<{width}}  {value:,}"
            for name, value in rows.items()
        )
