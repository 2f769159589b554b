"""What users ask about results beyond how they were made.

Where two of them part, whether a log still gives its results, what made one NaN.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lima import leaves
from lima.api import lineage, load_log, prepared
from lima.array import Array
from lima.compare import FIRST, Diff
from lima.compare import diff as _diff
from lima.errors import ReplayError, StoreError, UnknownLineage
from lima.graph import topological
from lima.handle import data_of
from lima.node import Node
from lima.nonfinite import Blame, Search
from lima.queries import metas
from lima.reaching import Reached, part_of
from lima.reaching import reached as _reached
from lima.record import Lineage
from lima.replay import Leaves, Run
from lima.sessions import current
from lima.sql import Rows, Tables
from lima.store import Store
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


def sql(x: Any, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Rows:
    """What a SELECT finds in the tables of a lineage or of a store.

    x is a result, a lineage, the path of a log, a `lima.Store`, the folder of a store, or what
    `lima.tables` made of one of these. `values` stand for `?` or `:name` in the query. Tables are
    nodes, edges, names, parameters, literals, seeds, environment and stored, see "Questions in
    SQL" in the documentation. Nothing can be changed. Raises QueryError for what SQLite refuses.

    >>> import lima, numpy as np
    >>> X = lima.array(np.ones((4, 3)), name="X")
    >>> print(lima.sql((X.T @ X).sum(), "SELECT id, op FROM nodes ORDER BY id"))
    id  op
    --  ---------
    1   leaf
    2   transpose
    3   matmul
    4   sum
    """
    return (x if isinstance(x, Tables) else tables(x)).ask(query, values)


def tables(x: Any) -> Tables:
    """The tables that `lima.sql` asks, for several questions; x is as there.

    >>> import lima, numpy as np
    >>> found = lima.tables(lima.array(np.ones(3), name="x") + 1.0)
    >>> lima.sql(found, "SELECT value FROM literals") == [(1.0,)]
    True
    >>> [name for name, _, kind in lima.sql(found, "SELECT * FROM names") if kind == "leaf"]
    ['x']
    """
    if isinstance(x, Store):
        return Tables(x)
    if isinstance(x, str | os.PathLike) and os.path.isdir(x):
        if not os.path.exists(os.path.join(x, "index.sqlite")):
            raise StoreError(f"{os.fspath(x)}: there is no store")
        store = Store(x)
        try:
            return Tables(store)
        finally:
            store.close()
    return Tables(_lineage(x))


INDEX_NODES = 200
"""Operations that are computed again for the elements of an index array."""


def reached(x: Any, of: Any, *, rows: Any = None, columns: Any = None) -> Reached:
    """Which results depend on some rows or columns of the data, and which lines of them.

    x is a result, several by name (`{"beta": beta, "scores": scores}`), a lineage, or the path of a
    log. `of` is the array that is asked about: the name of a leaf, a plain array with its
    content, or a node. `rows` and `columns` are numbers, a range, a slice or booleans; all if left
    out.

    The lines are followed through slices, selections, joins, transposes, elementwise operations,
    reductions, products and sorting. What mixes lines in another way is taken to depend on all.
    So a result that is not named does not depend on them, and neither do lines that are not named;
    of what is named, more may be said than is true. Selections by index arrays are followed where
    the indices can be found or computed again from the data at hand.

    >>> import lima, numpy as np
    >>> X = lima.array(np.ones((100, 3)), name="X")
    >>> record = lima.lineage(scaled=2.0 * X[:50], mean=X.mean(axis=0), rest=X[50:].sum(axis=1))
    >>> print(lima.reached(record, "X", rows=range(10, 20)))
    scaled: rows 10 to 19
    mean: all of it
    not: rest
    """
    record = lineage(**x) if isinstance(x, Mapping) else _lineage(x)
    start = {}
    for node in record.meant(of):
        found = metas(record.nodes, {}).get(node.digest) if not node.is_leaf else None
        shape = node.spec.get("shape") if node.is_leaf else found and found[0]
        if shape is None:
            raise UnknownLineage("the shape of what is asked about is not known")
        start[node.digest] = part_of(shape, rows, columns, node.name or "the array")
    checks = {record.outputs[name].digest: check for name, check in record.checks.items()}
    indices: dict[bytes, Any] = {}

    def known(node: Node) -> Any:
        if node.digest not in indices:
            indices[node.digest] = _computed(record, node)
        return indices[node.digest]

    return _reached(record.nodes, record.outputs, start, metas(record.nodes, checks), known)


def _computed(record: Lineage, node: Node) -> Any:
    """The value of a node, computed again from the leaves that are at hand; None if that fails."""
    found = _cached(node)
    plan = list(topological([node]))
    if found is not None or len(plan) > INDEX_NODES:
        return found
    given = {n.digest.hex(): leaves.find(n.digest) for n in plan if n.is_leaf}
    data = Leaves(record, {key: a for key, a in given.items() if a is not None})
    numbers = {one.digest: k for k, one in enumerate(plan, 1)}
    try:
        return Run(plan, [node], data, numbers).all()[node.digest]
    except ReplayError:
        return None


def _cached(node: Node) -> Any:
    entry = current().cache.peek(node.digest)
    return None if entry is None else entry.value
