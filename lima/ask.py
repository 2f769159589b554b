"""What users ask about results beyond how they were made.

Where two of them part, whether a log still gives its results, what made one NaN.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from lima import leaves
from lima.api import lineage, load_log, prepared
from lima.array import Array
from lima.compare import FIRST, Diff
from lima.compare import diff as _diff
from lima.errors import UnknownLineage
from lima.handle import data_of
from lima.node import Node
from lima.nonfinite import Blame, Search
from lima.record import Lineage
from lima.sessions import current
from lima.verification import Verification
from lima.verification import verify as _verify


def _lineage(x: Any) -> Lineage:
    """A lineage as it is, that of a log file, or that of a result."""
    if isinstance(x, Lineage):
        return x
    return load_log(x) if isinstance(x, str | os.PathLike) else lineage(x)


def diff(a: Any, b: Any, *, first: int = FIRST) -> Diff:
    """The places where two results part, the earliest of the computation first.

    a and b are results (`lima.Array` or what a traced function returned), lineages, or paths of
    logs. Results of lineages are compared by name; if each has one, whatever its name. Both graphs
    are walked side by side from the results down, and where they are equal the walk stops; what
    comes after a difference is not reported again. Data is told apart by its content, names aside.

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


def verify(x: Any, inputs: Mapping[str, Any] | None = None) -> Verification:
    """Compute the results of a log again and compare each with the checksum that was logged.

    x is the path of a log, or a lineage; leaves come from where `lima.recompute` takes them. The
    first result that differs is named, with the operations that led to it and to none that is
    right: the more results have names, the closer. Raises ReplayError where nothing can be
    computed: a leaf is missing or has other elements, an operation failed.

    >>> import lima, numpy as np
    >>> X = lima.array(np.arange(6.0).reshape(3, 2), name="X")
    >>> lima.verify(lima.lineage(gram=X.T @ X, total=X.sum()))
    gram: same
    total: same
    """
    return _verify(*prepared(_lineage(x), inputs))


def blame(x: Any, inputs: Mapping[str, Any] | None = None) -> Blame:
    """The first operation that made the NaN or the infinity in a result of finite operands.

    x is a result, or a lineage or the path of a log with one result. What the cache or the program
    holds is looked at; only what lies between is computed again, from the leaves in memory, beside
    the log or in `inputs`.

    >>> import lima, numpy as np
    >>> x = lima.array(np.array([0.0, 1.0]), name="x")
    >>> with np.errstate(all="ignore"):
    ...     ratio = x / x
    >>> print(lima.blame(ratio + 1.0))
    nan at (0,) of divide(·, ·), which has finite operands
      nan  add(·, 1.0)
    """
    record = _lineage(x)
    if len(record.outputs) != 1:
        names = ", ".join(record.outputs)
        raise UnknownLineage(f"blame takes one result, this lineage has {names}")
    value = None
    if isinstance(x, Array):
        value = data_of(x)
    elif isinstance(x, np.ndarray | np.generic):
        value = x
    record, given = prepared(record, inputs)
    (root,) = record.outputs.values()

    found: dict[bytes, Any] = {}  # a leaf is hashed when it is looked for: once

    def known(node: Node) -> Any:
        if node is root and value is not None:
            return value
        if not node.is_leaf:
            return _cached(node)
        if node.digest not in found:
            found[node.digest] = leaves.find(node.digest)
        return found[node.digest]

    return Search(record, given, known).blame(root)


def _cached(node: Node) -> Any:
    entry = current().cache.peek(node.digest)
    return None if entry is None else entry.value
