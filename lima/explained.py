"""What `lima.explain` says: how each operation behind a result was got."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lima.nearest import Miss, misses
from lima.node import Node
from lima.patches import rounds_of
from lima.places import Line
from lima.queries import metas
from lima.stats import Outcome, outcome_row
from lima.upkeep import Kept

SHOWN = 60
"""Operations that an explanation lists, the dearest first to be kept."""

NAMED = 8
"""Leaves that are named."""

RECORDED, STORED = "recorded", "stored"
"""Outcomes in a lineage that was read: nothing is known but that it was; a store has the value."""

COLUMNS = (
    "times", "operation", "outcome", "seconds", "shape", "dtype", "file", "line", "function", "why",
)  # fmt: skip
"""Columns of an explanation as a table."""


class Explanation:
    """How each operation behind a result was got; `print` it, or look at `.rows` and `.misses`.

    rows are (operation, outcome, seconds, why), inputs before users; `lines` are the user's lines
    that asked for them (file, line, function), None where they were not recorded: see the option
    `lines` of `lima.session`. A result that was reused shows the line that it was first made at,
    or in an operation's case the one that asked for it here. Results of calls that are
    not traced ("refused") and plain arrays that traced code met ("entered") stand among them,
    with the name of the call or the place. `misses` says of the dearest operations that were
    computed why they were not reused.

    Of a lineage that was read, operations are "recorded"; those whose values a store holds are
    "stored", with the seconds that a use saves, uses and bytes.

    >>> import lima, numpy as np
    >>> lima.explain(lima.array(np.ones(3), name="x").sum()).counts()
    Counter({'computed': 1})
    """

    def __init__(self, nodes: Iterable[Node], kept: Mapping[bytes, Kept] | None = None) -> None:
        self._nodes = {node.digest: node for node in nodes}
        self._kept = kept
        seen = self._nodes.values()
        self._shown = [n for n in seen if not n.is_leaf or n.outcome]
        self.rows = [(repr(n.spec), *self._outcome(n)) for n in self._shown]
        self.lines = [n.line for n in self._shown]
        self.leaves = [n.name or n.digest.hex()[:12] for n in seen if n.is_leaf]

    def _outcome(self, node: Node) -> tuple[str, float, str]:
        if self._kept is None:
            row = node.outcome or _PLAIN
            return row.outcome.value, row.seconds, row.why
        if node.digest not in self._kept:
            return RECORDED, 0.0, ""
        kept = self._kept[node.digest]
        return STORED, kept.seconds, f"{kept.uses:,} uses, {kept.nbytes:,} bytes"

    @functools.cached_property
    def misses(self) -> list[Miss]:
        """Of what was computed, up to three operations: what stood in the way of a hit.

        Each has `node`, `reason` and `differences` to the nearest that is kept among what traced
        functions returned lately. It is looked for when first asked for.
        """
        return misses(self._nodes.values())

    def counts(self) -> Counter[str]:
        """Number of operations by outcome."""
        return Counter(outcome for _, outcome, _, _ in self.rows)

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(self.counts().items()))
        operations = sum(outcome != Outcome.ENTERED.value for _, outcome, _, _ in self.rows)
        head = f"{operations} operations on {self._origin()}: {counts or 'nothing computed'}"
        if self._kept is None:
            spent, saved = map(self._seconds, (Outcome.COMPUTED.value, Outcome.HIT.value))
            head += f"; {spent:.3g} s spent, {saved:.3g} s saved"
        rows, places = self.rows, self.lines
        if len(rows) > SHOWN:
            together = self._together()
            rows, places = [one.row for one in together], [one.line for one in together]
        dearest = sorted(range(len(rows)), key=lambda k: self._rank(rows[k]))[:SHOWN]
        lines = [self._line(*rows[k], places[k]) for k in sorted(dearest)]
        rest = len(rows) - len(lines)
        lines += [f"  ... and {rest} more"] if rest else []
        if self.misses:
            lines += ["not reused:", *map(str, self.misses)]
        return "\n".join([head, *lines])

    def _origin(self) -> str:
        more = len(self.leaves) - NAMED
        shown = ", ".join(self.leaves[:NAMED]) or "no leaves"
        return shown + (f" and {more:,} more" if more > 0 else "")

    def _seconds(self, outcome: str) -> float:
        return sum(seconds for _, found, seconds, _ in self.rows if found == outcome)

    def _together(self) -> list[_Alike]:
        """The rows, those of one place in a loop (the same in all but its numbers) as one."""
        rounds = rounds_of(list(self._nodes.values()))
        found: dict[Any, _Alike] = {}
        for node, row, line in zip(self._shown, self.rows, self.lines, strict=True):
            place = rounds.get(node.digest)
            key: Any = len(found) if place is None else (place[:2], row[1], row[3], line)
            one = found.setdefault(key, _Alike(node, *row, line))
            if one.count:
                one.seconds += row[2]
            one.count += 1
        return list(found.values())

    def table(self) -> dict[str, list[Any]]:
        """The rows as columns, those of one place in a loop as one.

        Columns: times, operation, outcome, seconds (None for what only a log tells of), shape and
        dtype (None where only computing would tell), file, line, function, why.
        """
        known = metas(self._nodes.values(), self._kept or {})
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for one in self._together():
            shape, dtype = known.get(one.node.digest, (None, None))
            values = (
                *(one.count, one.what, one.outcome),
                None if one.outcome == RECORDED else one.seconds,
                None if shape is None else list(shape),
                None if dtype is None else dtype.str,
                *(one.line or (None, None, None)),
                one.why or None,
            )
            for name, value in zip(COLUMNS, values, strict=True):
                columns[name].append(value)
        return columns

    @staticmethod
    def _rank(row: tuple[str, str, float, str]) -> tuple[bool, float]:
        """What has no history comes first, then what was dear."""
        _, outcome, seconds, _ = row
        return outcome not in (Outcome.REFUSED.value, Outcome.ENTERED.value), -seconds

    @staticmethod
    def _line(what: str, outcome: str, seconds: float, why: str, line: Line | None) -> str:
        shown = what if len(what) <= 58 else what[:55] + "..."
        shown += f"  {line}" if line else ""
        took = f"{seconds * 1e3:10.3f} ms" if outcome != RECORDED else " " * 13
        return f"  {outcome:<9} {took}  {shown}" + (f"  ({why})" if why else "")

    __repr__ = __str__


_PLAIN = outcome_row(Outcome.COMPUTED)


@dataclass(slots=True)
class _Alike:
    """Operations that are shown as one: a row, and how many there are."""

    node: Node
    what: str
    outcome: str
    seconds: float
    why: str
    line: Line | None
    count: int = 0

    @property
    def row(self) -> tuple[str, str, float, str]:
        what = f"{self.count:,} × {self.what}" if self.count > 1 else self.what
        return what, self.outcome, self.seconds, self.why
