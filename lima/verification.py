"""Whether a lineage still gives what was logged: its named results computed again and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lima.environment import differences, environment
from lima.labels import label
from lima.log import Check
from lima.node import Node
from lima.queries import ancestors
from lima.record import Lineage, check_of
from lima.replay import results

SAME, DIFFERS, UNKNOWN = "same", "differs", "not logged"
"""What is said of a result: `UNKNOWN` where the log has no checksum of it."""

SUSPECTS = 10
"""Nodes that are printed between the results that are right and the first that is not."""


class Verified(NamedTuple):
    """One named result: `status` is "same", "differs" or "not logged"; then what was and is."""

    name: str
    node: Node
    status: str
    then: Check | None
    now: Check | None


class Verification:
    """What `lima.verify` found; true if no result differs. `print` shows it.

    results      one `Verified` for each named result, in the order of the log's nodes
    first        the first of them that differs: nothing before it does; None if none differs
    suspects     the nodes that led to it and to no result that came out the same
    environment  what differs from the environment of the log and can change bits

    >>> import lima, numpy as np
    >>> x = lima.array(np.ones(3), name="x")
    >>> found = lima.verify(lima.lineage(total=x.sum()))
    >>> bool(found), found.results[0].name, found.results[0].status
    (True, 'total', 'same')
    """

    def __init__(self, results: list[Verified], suspects: list[Node], changed: list[str]) -> None:
        self.results = results
        self.first = next((r for r in results if r.status == DIFFERS), None)
        self.suspects = suspects
        self.environment = changed

    def __bool__(self) -> bool:
        return self.first is None

    def __str__(self) -> str:
        lines = [self._line(r) for r in self.results]
        if self.environment:
            lines.append(f"another environment: {'; '.join(self.environment)}")
        if self.first is not None:
            lines.append(f"the first that differs is {self.first.name}, computed by")
            lines += [f"  {label(node)}" for node in reversed(self.suspects[-SUSPECTS:])]
            rest = len(self.suspects) - SUSPECTS
            lines += [f"  and {rest} nodes before"] if rest > 0 else []
        return "\n".join(lines)

    __repr__ = __str__

    @staticmethod
    def _line(found: Verified) -> str:
        then, now = found.then, found.now
        if found.status != DIFFERS or then is None or now is None:
            return f"{found.name}: {found.status}"
        was, is_now = f"content {then.content}", f"content {now.content}"
        if (then.dtype, then.shape) != (now.dtype, now.shape):
            was, is_now = f"{then.dtype} {then.shape}", f"{now.dtype} {now.shape}"
        return f"{found.name}: differs, {was} was logged, recomputed is {is_now}"


def verify(lineage: Lineage, inputs: Mapping[str, Any]) -> Verification:
    """Compute every result again and compare it with its checksum; see `lima.verify`."""
    places = {node.digest: k for k, node in enumerate(lineage.nodes)}
    found = results(lineage, inputs)
    rows = []
    for name, node in sorted(lineage.outputs.items(), key=lambda pair: places[pair[1].digest]):
        then, now = lineage.checks.get(name), check_of(found[name])
        status = UNKNOWN if then is None else (SAME if now == then else DIFFERS)
        rows.append(Verified(name, node, status, then, now))
    changed = differences(lineage.environment, environment())
    return Verification(rows, _suspects(lineage, rows), changed)


def _suspects(lineage: Lineage, rows: list[Verified]) -> list[Node]:
    first = next((r.node for r in rows if r.status == DIFFERS), None)
    if first is None:
        return []
    right = {r.node.digest for r in rows if r.status == SAME}
    right |= {node.digest for node in ancestors(lineage.nodes, right)}
    led = [*ancestors(lineage.nodes, {first.digest}), first]
    return [node for node in led if node.digest not in right and not node.is_leaf]
