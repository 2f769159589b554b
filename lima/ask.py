"""What users ask about results beyond how they were made: where two of them part."""

from __future__ import annotations

import os
from typing import Any

from lima.api import lineage, load_log
from lima.compare import FIRST, Diff
from lima.compare import diff as _diff
from lima.record import Lineage


def _lineage(x: Any) -> Lineage:
    """A lineage as it is, that of a log file, or that of a result."""
    if isinstance(x, Lineage):
        return x
    return load_log(x) if isinstance(x, str | os.PathLike) else lineage(x)


def diff(a: Any, b: Any, *, first: int = FIRST) -> Diff:
    """The places where two results part, the earliest of the computation first.

    a and b are results (of traced functions, or `lima.Array`s), lineages, or paths of logs. Results
    of lineages are compared by name; if each has one, whatever its name. Both graphs are walked
    side by side from the results down, and where they are equal the walk stops, so what comes
    after a difference is not reported again. Data is told apart by its content, names aside.

    Returns a sequence of at most `first` differences; it is empty, and so false, where the two
    lineages are one.

    >>> import lima, numpy as np
    >>> @lima.traced
    ... def ridge(X, y, reg):
    ...     return np.linalg.solve(X.T @ X + reg * np.eye(2), X.T @ y)
    >>> X, y = np.ones((3, 2)), np.ones(3)
    >>> print(lima.diff(ridge(X, y, 0.1), ridge(X, y, 0.2)))
    1 difference
      1. literal: 0.1 | 0.2
         in multiply(0.1, ·)
         by result < linalg.solve[0] < add[1]
    """
    return _diff(_lineage(a), _lineage(b), first)
