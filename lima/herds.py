"""What waits, computed by one of the processes that share a store while the others wait for it.

Most passes are not worth it: what memory sets the time of is read from a disk no faster than it is
computed. It is for long chains, functions that are dear, and reductions over either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from lima.store import Store
from lima.values import Pending


def computed(
    store: Store,
    value: Pending,
    plan: Sequence[tuple[Pending, Any]],
    run: Callable[[], Any],
    find: Callable[[], bool],
) -> Any:
    """The data of `value`, which `run` computes by what is in `plan`, or `find` finds."""
    node, turns = value.node, store.turns
    name = passed(value.row.name)
    work = sum([item.size * item.row.weight for item, _ in plan])
    dtype = value.meta[1]
    if not node.inexact and store.worth(turns.expected(name, work), value.size * dtype.itemsize):
        digest = node.digest

        def again() -> Any:
            return value.data if find() else None

        return turns.once(name, work, digest, partial(store.find, digest, True), again, run)
    start = perf_counter()
    data = run()
    turns.learn(name, perf_counter() - start, work)
    return data


def passed(operation: str) -> str:
    """Under what name is learnt what an operation takes together with what waits below it."""
    return f"{operation} in a pass"


def waiting_below(inputs: Sequence[Any]) -> float:
    """Elements and operations below a reduction of what waits, about; 0 if it is there."""
    return float(
        sum([x.size * x.depth for x in inputs if isinstance(x, Pending) and x.data is None])
    )
