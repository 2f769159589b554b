"""`lima.estimate`: what reuse would save and cost, before it is turned on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import perf_counter
from typing import Any

from lima.block import disabled, traced
from lima.ledger import Estimate, estimate_of
from lima.sessions import session


def estimate(
    function: Callable[..., Any],
    grid: Iterable[Any] | Mapping[str, Iterable[Any]],
    plain: bool = True,
    **options: Any,
) -> Estimate:
    """Run `function` for each item of `grid`, and say what reuse would save, cost and hold.

    An item is a tuple of arguments, a dict of keyword arguments, or one argument. A dict of lists
    stands for all combinations of what they hold. `function` may be traced already. Nothing is
    reused and no value is kept: the program runs twice as it is, once without tracing (unless
    `plain` is false) and once with it. `options`: those of `lima.session` that decide what is
    kept, such as `memory` and `policy`.

    >>> import numpy as np
    >>> def ridge(X, reg):
    ...     return np.linalg.inv(X.T @ X + reg * np.eye(X.shape[1]))
    >>> X = np.random.default_rng(0).standard_normal((2000, 80))
    >>> found = estimate(ridge, {"X": [X], "reg": [0.1, 1.0, 10.0]})
    >>> found.operations["matmul"].runs, found.operations["matmul"].hits
    (3, 2)
    """
    items = list(_items(grid))
    work = function if hasattr(function, "cache_info") else traced(function)
    seconds = _run_plain(function, items) if plain else None
    with session(**{**options, "reuse": "estimate"}) as s:
        start = perf_counter()
        for args, kwargs in items:
            work(*args, **kwargs)
        return estimate_of(s.ledger, perf_counter() - start, seconds)


def _items(grid: Any) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    if isinstance(grid, Mapping):
        for values in itertools.product(*grid.values()):
            yield (), dict(zip(grid, values, strict=True))
        return
    for item in grid:
        if isinstance(item, Mapping):
            yield (), dict(item)
        else:
            yield (item if type(item) is tuple else (item,)), {}


def _run_plain(function: Callable[..., Any], items: list[Any]) -> float:
    with disabled():
        start = perf_counter()
        for args, kwargs in items:
            function(*args, **kwargs)
        return perf_counter() - start
