"""Columns of matrices that are read again and again, with their elements side by side.

Rules that multiply the parts of a joined matrix (`lima.ops.products`) read its columns one by one.
"""

from __future__ import annotations

import functools
from typing import Any

from lima import cost
from lima.node import Spec
from lima.op import OPS


@functools.cache
def _first_column() -> Spec:
    row = OPS["slice"]
    return Spec(row.name, (("index", (slice(None), 0)),), 1, row.version)


def first_column(p: Any, value: Any) -> Any:
    """`value[:, 0]`."""
    return p.apply(OPS["slice"], _first_column(), (value,))


def in_columns(p: Any, part: Any) -> Any:
    """A joined matrix with its columns one after the other in memory.

    BLAS reads them fastest so, and the next longer one is made from them.
    """
    account = p.account(("columns", part.node.digest))
    return part if account.barred else p.run("transpose", _lines(p, part, account))


def _lines(p: Any, joined: Any, account: Any) -> Any:
    """The columns of a joined matrix as rows."""
    found = p.recall(account.node) if account.node is not None else None
    if found is not None:
        return found
    lines = []
    for part in p.parts(joined, 1):
        if len(part.meta[0]) == 2 and p.parts(part, 1) is not None:
            lines.append(_lines(p, part, p.account(("columns", part.node.digest))))
        elif len(part.meta[0]) == 1:
            lines.append(contiguous(p, part))
        elif part.meta[0][1] == 1:
            lines.append(contiguous(p, first_column(p, p.bare(part))))
        else:
            lines.append(p.run("transpose", p.bare(part)))
    building = p.building(joined)
    made = p.run("vstack", *lines)
    account.barred = not p.hold(made, building)
    account.node = made.node
    return made


def contiguous(p: Any, line: Any) -> Any:
    """A line of a matrix; from the second time on, a copy whose elements lie side by side."""
    data = line.data
    if data is None or data.ndim != 1 or data.strides[0] == data.itemsize:
        return line
    account = p.account(("line", line.node.digest))
    if account.node is not None:
        found = p.recall(account.node)
        if found is not None:
            return found
    account.spent += 1.0
    if account.barred or account.spent < 2.0:
        return line
    made = p.run("copy", line)
    account.barred = not p.hold(made, cost.build(data.shape, data.itemsize))
    account.node = made.node
    return made
