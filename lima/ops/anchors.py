"""Anchors: residuals near which others are looked for.

Where a fit is good, |X v + y|^2 cancels when it is formed from X'X, X'y and y'y. A residual
r = X v0 + y that was formed on the rows takes the place of y then: X v + y = X (v - v0) + r, of
which little cancels for as long as v is near v0. The columns may be others meanwhile: of an anchor
those count that both matrices have, wherever they stand. So the fits of a forward selection, which
grow better at each step, lie near that of the columns kept so far, and the steps of a descent near
an earlier one.

The first residual of some y in which too much cancels is an anchor, since it is formed on the rows
in any case. Another one takes passes over the rows, and is cast once the residuals in which too
much cancelled have taken as many (`Account.allows`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from lima import cost
from lima.node import Node
from lima.op import OPS
from lima.ops.products import table_of

MAX_COLUMNS = 1024
"""Columns of a matrix that are looked at one by one."""


class Anchor(NamedTuple):
    """r = X v0 + y, or X v0 - y.

    matrix  the digest of X
    lines   its columns, as `lines` names them; a part of them where v0 is for a part
    start   v0
    rest    the node of r
    """

    matrix: bytes
    lines: list[Any]
    start: Any
    rest: Node


class Near(NamedTuple):
    """An anchor that fits a residual.

    start   v0
    rest    r
    places  where its columns are in the matrix; None where they are those of the matrix
    fresh   whether r is the residual itself, which was computed just now
    """

    start: Any
    rest: Any
    places: list[int] | None
    fresh: bool = False


def lines(p: Any, x: Any) -> list[Any]:
    """Names of the columns of a matrix: equal ones are of equal columns."""
    found: list[Any] = []
    for piece in p.pieces(x, 1):
        form = p.constant(piece)
        of = (form.value,) if form is not None else (piece.base.node.digest, piece.axis)
        found.extend([(of, k) for k in piece.picked])
    return found


def _key(parts: Any) -> Any:
    """The account of residuals with one y; its table is the columns of the last in which too much
    cancelled, and the anchor.
    """
    sign, _, other = parts.signs
    return "anchor", parts.y.node.digest, sign * other


def _can(parts: Any) -> bool:
    return parts.y is not None and parts.c is None and parts.v.meta[0][0] <= MAX_COLUMNS


def near(p: Any, parts: Any) -> Near | None:
    """The anchor of a residual, if one was cast whose columns the matrix has."""
    if not _can(parts):
        return None
    account = p.accounts.get(_key(parts))
    anchor = None if account is None or account.table is None else account.table[1]
    if anchor is None or anchor.start.meta[0][1:] != parts.v.meta[0][1:]:
        return None
    places = None
    if anchor.matrix != parts.x.digest or len(anchor.lines) != parts.v.meta[0][0]:
        here = lines(p, parts.left)
        at = {line: k for k, line in reversed(list(enumerate(here)))}
        places = [at.get(line, -1) for line in anchor.lines]
        if -1 in places or len(set(places)) < len(places):
            return None
    rest = p.recall(anchor.rest)
    return None if rest is None else Near(anchor.start, rest, places)


def moved(p: Any, parts: Any, by: Near) -> Any:
    """The residual as X (v - v0) + r, or the negative of that."""
    if by.places is None:
        step = p.run("subtract", parts.v, by.start)
    else:
        step = p.run("gram.step", parts.v, by.start, places=tuple(by.places))
    sign = parts.signs[0]
    return parts._replace(v=step, y=by.rest, signs=(sign, 1, sign))


def cast(p: Any, product: str, parts: Any, direct: float) -> Near | None:
    """A new anchor near a residual in which too much cancels, if such have paid for it.

    The first one is the residual itself. `direct` are the seconds that it takes as the program
    asked for it.
    """
    if not _can(parts):
        return None
    account = p.account(_key(parts))
    if account.barred:
        return None
    last, anchor = account.table or ((), None)
    here = lines(p, parts.left)
    shared = set(last)
    common = {line: k for k, line in reversed(list(enumerate(here))) if line in shared}
    places = sorted(common.values())
    account.table = here, anchor
    price = direct + _price(p, parts.left, math.prod(parts.v.meta[0][1:]))
    paid = bool(places) and account.allows(direct) >= price
    if not paid:
        account.spent += direct
        if anchor is not None:
            return None
        places = list(range(len(here)))  # this residual has to be formed in any case
    fresh = len(places) == len(here)
    v = parts.v if fresh else p.run("gram.part", parts.v, places=tuple(places))
    same = parts.signs[0] == parts.signs[2]
    rest = p.run("add" if same else "subtract", p.run(product, parts.left, v), parts.y)
    if not p.hold(rest, direct):
        account.barred = True
        return None
    if not fresh:
        v = p.run("take", v, indices=tuple(places), axis=0)
    found = [here[k] for k in places]
    account.table = here, Anchor(parts.x.digest, found, p.snapshot(v), rest.node)
    if paid:
        account.spent = 0.0
        table = table_of(p, OPS[product], p.run("transpose", parts.left), rest, trivial=True)
        if table is not None and not table.recall():
            table.price()
            table.value()
    return Near(v, rest, None if fresh else places, fresh)


def _price(p: Any, x: Any, columns: int) -> float:
    """Seconds of the products of r with all columns of the bases of `x`, as others will be next."""
    seen = {}
    for piece in p.pieces(x, 1):
        seen[id(piece.base)] = piece.length
    shape, dtype = x.meta
    return cost.product(sum(seen.values()), shape[0], columns, dtype.itemsize)
