"""What users ask of a result: its lineage, log, source, recomputation, and how it was got."""

from __future__ import annotations

import functools
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lima import leaves
from lima.array import Array, array, node_of
from lima.barriers import plain
from lima.errors import ReplayError, UnknownLineage
from lima.formats import Parts, named_arrays, taken
from lima.nearest import Miss, misses
from lima.node import Node, topological
from lima.op import OPS
from lima.patches import rounds_of
from lima.pattern import Rule
from lima.places import Line
from lima.record import Lineage, check_of
from lima.record import read as _read_log
from lima.record import write as _write_log
from lima.replay import ReplayWarning
from lima.replay import recompute as _recompute
from lima.sparse import Sparse, lineage_of, sparse_node
from lima.stats import Outcome, outcome_row
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
    ran, a ReplayWarning says so. Raises LogError, with the line number, for a malformed log;
    OSError if it cannot be read.

    >>> import lima, numpy as np, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "s.lima"
    >>> _ = lima.save(path, s=lima.array(np.ones(3), name="x").sum())
    >>> lima.load_log(path)
    <Lineage of s: 2 nodes from x>
    """
    record = _read_log(path)
    _caution(record)
    return record


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


# --------------------------------------------------------------------------- explain

SHOWN = 60
"""Operations that an explanation lists, the dearest first to be kept."""


class Explanation:
    """How each operation behind a result was got; `print` it, or look at `.rows` and `.misses`.

    rows are (operation, outcome, seconds, why), inputs before users; `lines` are the user's lines
    that asked for them (file, line, function), None where they were not recorded: see the option
    `lines` of `lima.session`. A result that was reused shows the line that it was first made at,
    or in an operation's case the one that asked for it here. Results of calls that are
    not traced ("refused") and plain arrays that traced code met ("entered") stand among them,
    with the name of the call or the place. `misses` says of the dearest operations that were
    computed why they were not reused.

    >>> import lima, numpy as np
    >>> lima.explain(lima.array(np.ones(3), name="x").sum()).counts()
    Counter({'computed': 1})
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = {node.digest: node for node in nodes}
        seen = self._nodes.values()
        self._shown = [n for n in seen if not n.is_leaf or n.outcome]
        self.rows = [(repr(n.spec), *_outcome(n)) for n in self._shown]
        self.lines = [n.line for n in self._shown]
        self.leaves = [n.name or n.digest.hex()[:12] for n in seen if n.is_leaf]

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
        saved = sum(s for _, outcome, s, _ in self.rows if outcome == Outcome.HIT.value)
        spent = sum(s for _, outcome, s, _ in self.rows if outcome == Outcome.COMPUTED.value)
        counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(self.counts().items()))
        operations = sum(outcome != Outcome.ENTERED.value for _, outcome, _, _ in self.rows)
        head = (
            f"{operations} operations on {', '.join(self.leaves) or 'no leaves'}: {counts}; "
            f"{spent:.3g} s spent, {saved:.3g} s saved"
        )
        rows, places = self.rows, self.lines
        if len(rows) > SHOWN:
            rows, places = self._together()
        dearest = sorted(range(len(rows)), key=lambda k: self._rank(rows[k]))[:SHOWN]
        lines = [self._line(*rows[k], places[k]) for k in sorted(dearest)]
        rest = len(rows) - len(lines)
        lines += [f"  ... and {rest} more"] if rest else []
        if self.misses:
            lines += ["not reused:", *map(str, self.misses)]
        return "\n".join([head, *lines])

    def _together(self) -> tuple[list[tuple[str, str, float, str]], list[Line | None]]:
        """Rows and lines, those of one place in a loop (the same in all but its numbers) as one."""
        rounds = rounds_of(list(self._nodes.values()))
        found: dict[Any, list[Any]] = {}
        lines: list[Line | None] = []
        for node, row, line in zip(self._shown, self.rows, self.lines, strict=True):
            place = rounds.get(node.digest)
            key = len(found) if place is None else (place[:2], row[1], row[3], line)
            if key not in found:
                lines.append(line)
            known = found.setdefault(key, [row[0], row[1], 0.0, row[3], 0])
            known[2] += row[2]
            known[4] += 1
        together = [
            (f"{count:,} × {what}" if count > 1 else what, outcome, seconds, why)
            for what, outcome, seconds, why, count in found.values()
        ]
        return together, lines

    @staticmethod
    def _rank(row: tuple[str, str, float, str]) -> tuple[bool, float]:
        """What has no history comes first, then what was dear."""
        _, outcome, seconds, _ = row
        return outcome not in (Outcome.REFUSED.value, Outcome.ENTERED.value), -seconds

    @staticmethod
    def _line(what: str, outcome: str, seconds: float, why: str, line: Line | None) -> str:
        shown = what if len(what) <= 58 else what[:55] + "..."
        shown += f"  {line}" if line else ""
        return f"  {outcome:<9} {seconds * 1e3:10.3f} ms  {shown}" + (f"  ({why})" if why else "")

    __repr__ = __str__


_PLAIN = outcome_row(Outcome.COMPUTED)


def _outcome(node: Node) -> tuple[str, float, str]:
    row = node.outcome or _PLAIN
    return row.outcome.value, row.seconds, row.why


def explain(x: Any) -> Explanation:
    """Which operations behind a result were computed, taken from the cache, or not traceable.

    x is a result or a lineage. Seconds are compute seconds: spent for what was computed, saved
    for hits. What could not be traced is named with the reason, and a plain array that came in with
    the user's line where traced code met it. An operation whose result a rule
    had from parts is `partial`, with the rule; the operations that gave its bits stand before it.

    >>> import lima, numpy as np
    >>> print(lima.explain(lima.array(np.ones(3), name="x").sum()))  # doctest: +ELLIPSIS
    1 operations on x: 1 computed; ...
    """
    if isinstance(x, Lineage):
        return Explanation(x.nodes)
    return Explanation(topological([_node(x)], _with_derivation))


def _with_derivation(node: Node) -> tuple[Any, ...]:
    return node.inputs if node.derived is None else (*node.inputs, node.derived)
