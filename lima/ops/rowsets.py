"""Sets of rows: which rows of a base a value consists of, however they were chosen.

An index array in any order, a mask, `np.delete`, or two slices joined. What was read off is
remembered by the digest of the value, since its operands are gone once it is computed.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np

from lima.op import OPS
from lima.pattern import Joined, Scattered, Selected

SHORT = 64
"""Places that are compared one by one."""

RUNS = 8
"""Stretches of a set beyond which its rows count as scattered."""

RECENT = 8
"""Index arrays that are kept, the latest, for selections that are computed before a product is."""

SELECTIONS = 64
"""Selections of which something is remembered."""


class RowSet(NamedTuple):
    """Rows of a base.

    base   the matrix or vector, a live value
    runs   its stretches in order, as (first, beyond), None where they are many
    mask   which rows they are, packed; None if there are runs
    order  what else than increasing order they are in: the digest of an index array; None for that
    size   how many they are
    chosen the row that chose them, and by what: an index array or mask; None for stretches
    """

    base: Any
    runs: tuple[tuple[int, int], ...] | None
    mask: Any
    order: Any
    size: int
    chosen: tuple[str, Any] | None

    def same(self, other: RowSet) -> bool:
        """Whether the same rows of another base are meant, in the same order."""
        if self.size != other.size or self.runs != other.runs or self.order != other.order:
            return False
        if len(self.base.meta[0]) < 1 or self.base.meta[0][0] != other.base.meta[0][0]:
            return False
        return self.mask is other.mask or (
            self.mask is not None
            and other.mask is not None
            and bool(np.array_equal(self.mask, other.mask))
        )

    def gap(self) -> tuple[int, int] | None:
        """The one stretch of rows that is left out; None if there are more, or none."""
        runs, length = self.runs or (), self.base.meta[0][0]
        if len(runs) == 2 and runs[0][0] == 0 and runs[1][1] == length:
            return runs[0][1], runs[1][0]
        if len(runs) != 1 or (runs[0][0] > 0) == (runs[0][1] < length):
            return None
        return (runs[0][1], length) if runs[0][0] == 0 else (0, runs[0][0])


# --------------------------------------------------------------------------- reading off


def rows_of(p: Any, value: Any) -> RowSet | None:
    """The rows of a base that `value` consists of; None if it is no such thing."""
    value = p.bare(value)
    row = getattr(value, "row", None)
    if row is None or row.form is None:
        return None
    account = None
    if value.data is None:
        form = p.form(value)
        if type(form) not in (Selected, Scattered, Joined) or form.axis != 0:
            return None
        account = p.account(("rows", value.node.digest))
    else:  # it was computed since
        account = p.accounts.get(("rows", value.node.digest))
    if account is None or account.barred:
        return None
    if account.table is not None:
        return _recalled(account.table)
    if value.data is not None:
        return None
    found = _joined(p, value) if type(form) is Joined else _chosen(p, value, form)
    if found is None:
        account.barred = True
        return None
    index = found.chosen
    if index is not None:
        index[1].shared = True  # nobody shall write what is remembered
        recent = p.account(("chosen by",))
        recent.table = (*(recent.table or ()), index[1])[-RECENT:]
        index = index[0], weakref.ref(index[1])
    account.table = found._replace(base=weakref.ref(found.base), chosen=index)
    p.recent("rows", ("rows", value.node.digest), SELECTIONS)
    return found


def _recalled(rows: Any) -> RowSet | None:
    """What was read off before, if its base is still there."""
    base, index = rows.base(), rows.chosen
    if not alive(base):
        return None
    if index is not None:
        index = index[0], index[1]()
        if not alive(index[1]):
            index = None
    return rows._replace(base=base, chosen=index)  # type: ignore[no-any-return]


def alive(value: Any) -> bool:
    """Whether a value that was remembered is there: a write takes the data of the one before."""
    return value is not None and (
        value.data is not None or getattr(value, "args", None) is not None
    )


def _joined(p: Any, value: Any) -> RowSet | None:
    """Two stretches of one base, one after the other."""
    parts = [part for part in value.args if 0 not in part.meta[0]]
    if not 1 <= len(parts) <= 2 or len(value.args) > 2:
        return None
    base: Any = None
    runs: list[tuple[int, int]] = []
    for part in parts:
        root, start, stop = part.root, 0, part.meta[0][0]
        if root is None:
            root = part
        elif part.node.spec.op != "slice" or part.node.inputs[0] is not root.node:
            return None
        else:
            form = OPS["slice"].form([root.meta[0]], part.node.spec, None)  # type: ignore[misc]
            if type(form) is not Selected or form.axis != 0 or type(form.picked) is not range:
                return None
            start, stop = form.picked.start, form.picked.stop
            if form.picked.step != 1:
                return None
        if (base is not None and root is not base) or (runs and start < runs[-1][1]):
            return None
        base = root
        runs.append((start, stop))
    if base is None or len(base.meta[0]) != len(value.meta[0]):
        return None
    if len(runs) == 2 and runs[0][1] == runs[1][0]:
        runs = [(runs[0][0], runs[1][1])]
    count = sum([stop - start for start, stop in runs])
    return RowSet(base, tuple(runs), None, None, count, None)


def _chosen(p: Any, value: Any, form: Any) -> RowSet | None:
    """Rows by an index array or a mask, each of them once."""
    base = p.bare(value.args[0])
    shape = base.meta[0]
    length, order = shape[0], None
    if type(form) is Selected:
        if type(form.picked) is range:
            return None
        chosen, dropped = np.asarray(form.picked), False
    else:
        chosen, dropped = np.asarray(form.chosen), form.dropped
    mask = np.zeros(length, dtype=bool)
    mask[chosen] = True
    if dropped:
        np.logical_not(mask, out=mask)
    count = int(np.count_nonzero(mask))
    if not dropped and chosen.dtype.kind != "b":
        if count != len(chosen):
            return None
        if count > 1 and not (np.all(chosen[1:] > chosen[:-1]) and chosen[0] >= 0):
            order = _order(value, chosen)
            if order is None:
                return None
    if not count:
        return None
    index = _index(value, form, length - count)
    edges = np.flatnonzero(mask[1:] != mask[:-1]) + 1
    if len(edges) > 2 * RUNS:
        return RowSet(base, None, np.packbits(mask), order, count, index)
    ends = [0, *edges.tolist(), length] if mask[0] else [*edges.tolist(), length]
    runs = tuple([(ends[k], ends[k + 1]) for k in range(0, len(ends) - 1, 2)])
    return RowSet(base, runs, None, order, count, index)


def _order(value: Any, chosen: Any) -> Any:
    """What tells index arrays apart: the elements of a short one, the digest of a long one."""
    if len(chosen) <= SHORT:
        return chosen.tobytes()
    inputs = value.node.inputs
    return inputs[1].digest if len(inputs) == 2 else None


def _index(value: Any, form: Any, rest: int) -> tuple[str, Any] | None:
    """The row and the operand by which the other rows of the base are had."""
    if len(value.args) != 2 or type(form) not in (Selected, Scattered):
        return None
    chosen = value.args[1]
    mask = chosen.meta[1].kind == "b"
    if getattr(form, "dropped", False) or value.node.spec.get("obj") is not None:
        return ("gather", chosen) if mask or chosen.meta[0] == (rest,) else None
    return "delete", chosen
