"""What users ask of a result: its lineage, log, source, recomputation, and how it was got."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lima import leaves
from lima.array import Array, array, node_of
from lima.barriers import plain
from lima.errors import ReplayError, StoreError, UnknownLineage
from lima.explained import Explanation
from lima.formats import Parts, named_arrays, taken
from lima.graph import topological
from lima.node import Node
from lima.op import OPS
from lima.pattern import Rule
from lima.record import Lineage, check_of
from lima.record import read as _read_log
from lima.record import write as _write_log
from lima.replay import ReplayWarning
from lima.replay import recompute as _recompute
from lima.sparse import Sparse, lineage_of, sparse_node
from lima.store import INDEX, Store
from lima.tree import recall


def _node(x: Any) -> Node:
    if isinstance(x, Array):
        return node_of(x)
    if type(x) is Sparse:
        return lineage_of(x)
    parts = taken(x)
    if parts is not None:
        return _plain_sparse_node(parts)
    if isinstance(x, (np.ndarray, np.generic)):
        _, made = recall(x)
        if made is not None:
            return made
        raise UnknownLineage(
            "no traced function returned this array, or it was written since: "
            f"shape={x.shape}, dtype={x.dtype}"
        )
    raise UnknownLineage(f"lineage is known of arrays, not of {type(x).__name__}")


def _plain_sparse_node(parts: Parts) -> Node:
    """Of a sparse array whose arrays came out of traced functions, or some of them."""
    found = [recall(a) for a in parts.arrays]
    if all(made is None for _, made in found):
        raise UnknownLineage(
            "no traced function returned this sparse array, or it was written since: "
            f"{parts.kind}, shape={parts.shape}"
        )
    return sparse_node(parts, [made or entered for entered, made in found])


def lineage(*results: Any, **named: Any) -> Lineage:
    """How results were made.

    results are `lima.Array`s, or plain arrays that traced functions returned (recognised by their
    content); keyword arguments give them names, otherwise they are called `result`, `result2`, ...
    Raises UnknownLineage for anything else.

    >>> import lima, numpy as np
    >>> @lima.traced
    ... def total(X):
    ...     return X.sum()
    >>> len(lima.lineage(total(np.full(3, 0.625))))
    2
    """
    for k, x in enumerate(results):
        named["result" if k == 0 else f"result{k + 1}"] = x
    if not named:
        raise UnknownLineage("give at least one result")
    checks = {name: check_of(plain(x)) for name, x in named.items()}
    return Lineage(
        {name: _node(x) for name, x in named.items()},
        checks={name: check for name, check in checks.items() if check is not None},
    )


def save(
    path: str | os.PathLike[str],
    lineage: Lineage | None = None,
    *,
    leaf_data: bool = False,
    lines: bool = False,
    inputs: Mapping[str, Any] | None = None,
    **results: Any,
) -> Path:
    """Write the lineage of results as a log; returns the path.

    With `leaf_data=True` the arrays of the leaves are stored beside it, in `<path>.data`, so that
    the log can be recomputed anywhere. They are found where they still exist unchanged, or given
    in `inputs` (by leaf name). Raises ReplayError, with nothing written, when one is missing.

    With `lines=True` the log also says at which lines of the program operations stood, as far as
    that was recorded (`lima.session(lines=...)`). This comes after the end of the lineage, whose
    text is the same with it and without.

    >>> import lima, numpy as np, tempfile, pathlib
    >>> X = lima.array(np.ones((2, 2)), name="X")
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> lima.save(folder / "g.lima", gram=X.T @ X).name
    'g.lima'
    """
    record = _lineage_of(**results) if lineage is None else _lineage_of(lineage)
    data, given = None, named_arrays(inputs or {})
    if not leaf_data:
        record = record.bound(given)
    elif record.foreign is None:
        data = _leaf_data(record, given)
    else:
        record, found = record.given(given)
        data = {bytes.fromhex(digest): a for digest, a in found.items()}
    _write_log(path, record, data, lines)
    return Path(path)


def _leaf_data(record: Lineage, inputs: dict[str, Any]) -> dict[bytes, Any]:
    found: dict[bytes, Any] = {}
    for node in record.leaves:
        given = inputs.get(node.name or "")
        a = given if given is not None else leaves.find(node.digest)
        if a is None:
            name = repr(node.name) if node.name else f"with digest {node.digest.hex()}"
            raise ReplayError(
                f"the leaf {name} ({node.spec!r}) is no longer in memory: give it in inputs="
            )
        found[node.digest] = np.asarray(a)
    return found


def load_log(path: str | os.PathLike[str]) -> Lineage:
    """The lineage that a log records. Reading executes nothing.

    Logs of Apache SystemDS (`out.csv.lineage`) are read as well, with the matrices that lie beside
    them; see `docs/log-format.md`. Where such a log is known to record something else than what
    ran, a ReplayWarning says so.

    `store/key` means a value of a store: the folder, and a key as `lima store ls` shows it, or how
    it begins. Raises LogError, with the line number, for a malformed log;
    OSError if it cannot be read.

    >>> import lima, numpy as np, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "s.lima"
    >>> _ = lima.save(path, s=lima.array(np.ones(3), name="x").sum())
    >>> lima.load_log(path)
    <Lineage of s: 2 nodes from x>
    """
    record = _stored(path) or _read_log(path)
    _caution(record)
    return record


def _stored(path: str | os.PathLike[str]) -> Lineage | None:
    """The lineage of `store/key`; None for any other path."""
    place = Path(path)
    if (place / INDEX).is_file():
        with Store(place) as store:
            keys = [row.key[:16] for row in store.ls()]
        such = f"name one by its key, such as {place / keys[0]}" if keys else "it is empty"
        raise StoreError(f"{path}: a store holds the lineage of many values: {such}")
    if place.exists() or not (place.parent / INDEX).is_file():
        return None
    with Store(place.parent) as store:
        found = store.lineage(place.name)
    checks = {} if found.value is None else {"result": check_of(found.value)}
    return Lineage(
        found.results,
        checks={name: check for name, check in checks.items() if check is not None},
        environment=found.facts,
        kept=found.kept,
    )


def _caution(record: Lineage) -> None:
    for text in record.cautions:
        warnings.warn(text, ReplayWarning, stacklevel=3)


def _lineage_of(*results: Any, **named: Any) -> Lineage:
    if len(results) == 1 and isinstance(results[0], Lineage):
        return results[0]
    return lineage(*results, **named)


def recompute(lineage: Any, inputs: Mapping[str, Any] | None = None) -> Any:
    """The results of a lineage (or of a result), computed again from its leaves.

    Returns a dict of arrays by name; the array itself for a lineage of one unnamed result or for
    a result. Leaves come from `inputs` (name or hexadecimal digest -> array), from the folder
    stored beside the log, or from memory where they still exist. Every leaf is checked against
    its digest, every result against what was logged: on the same machine and thread count the
    bits are equal. Raises ReplayError.

    >>> import lima, numpy as np
    >>> X = lima.array(np.arange(4.0), name="X")
    >>> lima.recompute(X.sum())
    np.float64(6.0)
    """
    record, given = prepared(_lineage_of(lineage), inputs)
    found = _recompute(record, given)
    return found["result"] if list(found) == ["result"] else found


def prepared(record: Lineage, inputs: Mapping[str, Any] | None) -> tuple[Lineage, dict[str, Any]]:
    """What is to be computed again, and its leaves as far as they are known.

    These are `inputs`, and beside them leaves that still exist in memory, by digest; where arrays
    are stored beside a log, those are taken.
    """
    record, given = record.given(named_arrays(inputs or {}))
    _caution(record)
    named = {node.name for node in record.leaves} & set(given)
    for node in record.leaves:
        key = node.digest.hex()
        if node.name not in named and key not in given and record.data_dir is None:
            a = leaves.find(node.digest)
            if a is not None:
                given[key] = a
    return record, given


def to_python(x: Any) -> str:
    """The text of a Python program that needs NumPy alone and computes the same bits.

    x is a lineage or a result. Leaves are parameters of a function `program`; run as a script it
    loads them from a folder of `.npy` files.

    >>> import lima, numpy as np
    >>> X = lima.array(np.eye(2), name="X")
    >>> "X.T @ X" in lima.to_python(X.T @ X)
    True
    """
    record = _lineage_of(x)
    _caution(record)
    return record.to_python()


def read(path: str | os.PathLike[str], name: str | None = None, **options: Any) -> Array:
    """A traced array from a `.npy` file or from text (`.csv`, `.txt`: `np.loadtxt`, commas).

    The content is hashed at every read, so a changed file is another leaf. `name` defaults to the
    file's stem; options go to `np.loadtxt`. Pickled arrays are refused (ValueError).

    >>> import lima, numpy as np, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.ones(2))
    >>> lima.read(path)
    Array([1., 1.], shape=(2,), dtype=float64, op='leaf', name='x')
    """
    file = Path(path)
    if file.suffix == ".npy":
        data = np.load(file, allow_pickle=False)
    else:
        data = np.loadtxt(file, **{"delimiter": "," if file.suffix == ".csv" else None, **options})
    return array(data, name=name or file.stem)


# --------------------------------------------------------------------------- rules


class RuleInfo(NamedTuple):
    """A rule of partial reuse, as `lima.rules` lists it.

    name        as `lima.explain` and the statistics call it
    operations  the operations that it computes
    equation    what holds
    saves       what is avoided
    exactness   class of its error: "bitwise", "rounding" or "guarded"
    example     a function in source text that the rule serves

    >>> import lima
    >>> {rule.name: rule for rule in lima.rules()}["gradient"].exactness
    'rounding'
    """

    name: str
    operations: tuple[str, ...]
    equation: str
    saves: str
    exactness: str
    example: str


def rules() -> tuple[RuleInfo, ...]:
    """The rules by which results are had from parts, in the order of the operation table.

    >>> import lima
    >>> "gradient" in [rule.name for rule in lima.rules()]
    True
    """
    operations: dict[Rule, list[str]] = {}
    for row in OPS.values():
        for rule in row.rules:
            operations.setdefault(rule, []).append(row.name)
    return tuple(
        RuleInfo(r.name, tuple(names), r.equation, r.saves, r.exactness, r.example)
        for r, names in operations.items()
    )


def explain(x: Any) -> Explanation:
    """Which operations behind a result were computed, taken from the cache, or not traceable.

    x is a result, a lineage, the path of a log, or a value of a store as `store/key`.
    Seconds are compute seconds: spent for what was computed, saved
    for hits. What could not be traced is named with the reason, and a plain array that came in with
    the user's line where traced code met it. An operation whose result a rule
    had from parts is `partial`, with the rule; the operations that gave its bits stand before it.
    A log says nothing of how values were got; of what a store holds, seconds are those that a use
    saves.

    >>> import lima, numpy as np
    >>> print(lima.explain(lima.array(np.ones(3), name="x").sum()))  # doctest: +ELLIPSIS
    1 operations on x: 1 computed; ...
    """
    if isinstance(x, str | os.PathLike):
        x = load_log(x)
    if isinstance(x, Lineage):
        return Explanation(x.nodes, x.kept)
    return Explanation(topological([_node(x)], _with_derivation))


def _with_derivation(node: Node) -> tuple[Any, ...]:
    return node.inputs if node.derived is None else (*node.inputs, node.derived)
