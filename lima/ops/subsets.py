"""Rules of products over some of the rows: those of all folds but one, of a cleaned sample.

However the rows were chosen (index array, mask, `np.delete`, two slices joined), they are a set of
rows of a base. Where it leaves out one stretch, as the training set of a cross validation does, it
is taken in stretches of that length, whose products add up to those of every other such set: from
the ends to the middle, so that sums over all stretches before and after one are there when they are
asked for, and nothing is subtracted. Where the rows lie scattered, what is left out is subtracted
from the product over all rows, if little of that cancels (reference: section 2.4, A4, A5, A6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lima import cost
from lima.node import Ref, Spec, new_node
from lima.op import OPS, Op
from lima.ops.rowsets import RowSet, alive, rows_of
from lima.ops.shifted import LIMITS
from lima.ops.windows import cover
from lima.pattern import (
    GUARDED,
    ROUNDING,
    Declined,
    Filled,
    Offer,
    Rule,
    limit_of,
)

SMALLEST = 4.0
"""How many times as long as a derivation a product takes whose sets of rows are looked at."""

STEP = 8e-6
"""Seconds of one operation of a derivation."""

CELLS = 128
"""Stretches into which all rows are divided at most."""

MOST = 4 * CELLS
"""Stretches of one product that are remembered, the latest."""

PAIRS = 32
"""Pairs of bases with a first set that is remembered."""

AHEAD = 1.15
"""Stretches are made before they have paid if that takes so many times the plain product at most,
twice for each pair of bases, and again when they were of use."""


# --------------------------------------------------------------------------- the rule


class Sets:
    """What is remembered of the products over sets of rows of two bases.

    windows   stretches whose products were made, and their nodes
    tries     how often stretches were made before they had paid, less how often that was of use
    first     a set whose product was computed as asked, and the node of that
    whole     the node of the product over all rows, once a rule had it
    spent     seconds that went into products as asked, and the last of these
    """

    __slots__ = ("first", "last", "spent", "tries", "whole", "windows")

    def __init__(self) -> None:
        self.windows: tuple[tuple[int, int, Any], ...] = ()
        self.tries = 0
        self.first: tuple[RowSet, Any] | None = None
        self.whole: Any = None
        self.spent = 0.0
        self.last: Any = None


class Case(NamedTuple):
    """A product over rows: its planner, rule, row and bases, and what was asked for."""

    p: Any
    row: Op
    x: Any
    y: Any
    rows: RowSet
    memory: Sets
    direct: float
    meta: Any

    def key(self) -> tuple[Any, ...]:
        """Of the account that has `memory`."""
        return "subsets", self.row.name, self.x.node.digest, self.y.node.digest

    @property
    def gram(self) -> bool:
        return self.x is self.y

    def product(self, x: Any, y: Any) -> Any:
        """The product over rows of the bases, given those rows."""
        return self.p.run(self.row.name, self.p.run("transpose", x), x if y is x else y)

    def over(self, start: int, stop: int) -> Any:
        """The product over a stretch of rows."""
        x, y = [self.p.run("slice", v, index=slice(start, stop)) for v in (self.x, self.y)]
        return self.product(x, x if self.gram else y)

    def without(self, rows: RowSet) -> tuple[Any, Any]:
        """The rows of both bases that are not among `rows`."""
        gap = rows.gap()
        if gap is not None:
            x, y = [self.p.run("slice", v, index=slice(*gap)) for v in (self.x, self.y)]
        elif rows.chosen is None or not alive(rows.chosen[1]):
            raise Declined
        else:
            x, y = [others(self.p, v, *rows.chosen) for v in (self.x, self.y)]
        return x, x if self.gram else y

    def seconds(self, rows: int, scattered: bool = False) -> float:
        """Of the product over so many rows."""
        (n, *more), dtype = self.meta
        columns = more[0] if more else 1
        size = dtype.itemsize
        found = STEP + cost.product(n, rows, columns, size, self.gram)
        if scattered:
            found += cost.build((rows, n if self.gram else n + columns), size, rows)
        return float(found)

    def adding(self) -> float:
        return STEP + cost.build(self.meta[0], self.meta[1].itemsize)


def others(p: Any, base: Any, name: str, chosen: Any) -> Any:
    """The rows that an index array leaves out, or those that a mask or `np.delete` does."""
    if name == "delete" and chosen.meta[1].kind == "b":
        name, chosen = "gather", p.run("logical_not", chosen)
    row = OPS[name]
    params: tuple[Any, ...] = (("index", Ref(1)),)
    if name == "delete":
        params = (("obj", Ref(1)), ("axis", 0))
    return p.apply(row, Spec(name, params, 1, row.version), (base, chosen))


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """The product over a set of rows, from stretches or from all rows."""
    if rule.exactness == ROUNDING and GUARDED in p.session.allowed:
        return None  # the other one takes what this one would
    if len(inputs) != 2:
        return None
    a, b = inputs
    left = _upright(p, a)
    if left is None or not hasattr(b, "meta"):
        return None
    case = _case(p, row, spec, a, b, left)
    if case is None:
        return None
    offer = _by_runs(case, rule) if case.rows.runs is not None else None
    if offer is None:
        offer = _by_rest(case, rule)
    if offer is None and 2 * case.rows.size > case.x.meta[0][0]:
        _note(case, new_node(spec, (a.node, b.node)))
    return offer


def _note(case: Case, node: Any) -> None:
    """Remember what is computed as asked: the next set may be had from it."""
    memory, rows = case.memory, case.rows
    if memory.last != node.digest:
        memory.last = node.digest
        memory.spent += case.direct
    if memory.first is not None and _kept(case.p, memory.first[1]):
        return
    if rows.gap() is not None or rows.chosen is not None:
        memory.first = rows._replace(base=rows.base.meta), node
        case.p.recent("subsets", case.key(), PAIRS)


def _upright(p: Any, a: Any) -> Any:
    """What `a` is the transpose of, where that may be rows of something."""
    if not hasattr(a, "meta") or len(a.meta[0]) != 2:
        return None
    above, across = p.upright(a, 0)
    if across == 0:
        root = a.root
        if root is None or a.data is None or a.node.spec.op != "transpose":
            return None
        if a.node.inputs[0] is not root.node or len(root.meta[0]) != 2:
            return None
        above = root
    above = p.bare(above)
    row = getattr(above, "row", None)
    return above if row is not None and row.form is not None else None


def _case(p: Any, row: Op, spec: Spec, a: Any, b: Any, left: Any) -> Case | None:
    dtype = a.meta[1]
    if dtype.char not in "fdFD" or b.meta[1] != dtype or not 1 <= len(b.meta[0]) <= 2:
        return None
    if any(name != "alias" for name, _ in spec.params) or 0 in a.meta[0] or 0 in b.meta[0]:
        return None
    right = p.bare(b)
    same = right is left or right.node.digest == left.node.digest
    direct = float(p.product(a, b, same) + p.building(left))
    if not same:
        direct += p.building(right)
    if direct < SMALLEST * cost.DERIVATION:
        return None
    ours = rows_of(p, left)
    theirs = ours if same or ours is None else _beside(p, right, ours)
    if ours is None or theirs is None or not ours.same(theirs):
        return None
    x, y = ours.base, theirs.base
    if x.meta[1] != dtype or y.meta[1] != dtype:
        return None
    account = p.account(("subsets", row.name, x.node.digest, y.node.digest))
    if account.table is None:
        account.table = Sets()
    meta = (a.meta[0][0], *b.meta[0][1:]), dtype
    return Case(p, row, x, y, ours, account.table, direct, meta)


def _beside(p: Any, right: Any, rows: RowSet) -> RowSet | None:
    """The rows of the right side; of a constant, those of a longer one."""
    form = p.form(right) if right.data is None else None
    if type(form) is not Filled or len(right.meta[0]) != 1:
        return rows_of(p, right)
    length, dtype = rows.base.meta[0][0], right.meta[1]
    return rows._replace(base=p.run("full", shape=(length,), fill_value=form.value, dtype=dtype))


# --------------------------------------------------------------------------- stretches


def _by_runs(case: Case, rule: Rule) -> Offer | None:
    """The sum over stretches of which some are known, or which will be asked for again."""
    p, memory, rows = case.p, case.memory, case.rows
    runs = rows.runs or ()
    known = [w for w in memory.windows if p.session.cache.peek(w[2].digest) is not None]
    cell = _cell(rows, case.x.meta[0][0])
    pieces = []
    for start, stop in runs:
        for piece in cover(start, stop, known):
            pieces += _divided(piece, cell)
    used = sum([stop - start for start, stop, node in pieces if node is not None])
    price = cost.DERIVATION
    for start, stop, node in pieces:
        price += case.adding() + (0.0 if node is not None else case.seconds(stop - start))
    if price < case.direct and used:
        saved = case.direct - price
    elif cell is not None and memory.tries < 2 and price <= AHEAD * case.direct:
        saved = case.direct  # so that no rule is preferred that saves the joining alone
    else:
        return None

    def make() -> Any:
        memory.tries = memory.tries + 1 if not used else 0
        return _sum(case, pieces, cell)

    return Offer(rule, case.meta, make, saved, case.direct, price)


def _cell(rows: RowSet, length: int) -> tuple[int, int] | None:
    """The one stretch that is left out, if all rows are a few times as many."""
    gap = rows.gap()
    width = gap[1] - gap[0] if gap is not None else 0
    return gap if width and 2 * width <= length <= CELLS * width else None


def _divided(piece: tuple[int, int, Any], cell: Any) -> list[tuple[int, int, Any]]:
    """A stretch of which nothing is known, in stretches of the length of the one left out."""
    start, stop, node = piece
    if node is not None or cell is None:
        return [piece]
    width = cell[1] - cell[0]
    if start >= cell[1]:
        cuts = [*range(start, stop - width // 2, width), stop]
    else:
        cuts = [start, *sorted(range(stop, start + width // 2, -width))]
    if len(cuts) < 2 or cuts[0] != start:
        return [piece]
    return [(cuts[k], cuts[k + 1], None) for k in range(len(cuts) - 1)]


def _sum(case: Case, pieces: list[tuple[int, int, Any]], cell: Any) -> Any:
    """From both ends to the middle, with what adds up on the way kept."""
    split = cell[0] if cell is not None else case.x.meta[0][0]
    before = [piece for piece in pieces if piece[1] <= split]
    after = [piece for piece in pieces if piece[1] > split]
    keeps = cell is not None and _room(case, len(pieces))
    found = [
        _added(case, side, keeps)
        for side in (before, after[::-1] if cell is not None else after)
        if side
    ]
    return found[0] if len(found) == 1 else case.p.run("add", *found)


def _room(case: Case, count: int) -> bool:
    shape, dtype = case.meta
    nbytes = dtype.itemsize * count * 2
    for n in shape:
        nbytes *= n
    return bool(nbytes <= case.p.session.cache.budget // 8)


def _added(case: Case, pieces: list[tuple[int, int, Any]], keeps: bool) -> Any:
    p, total = case.p, None
    first = last = 0
    for start, stop, node in pieces:
        term = p.recall(node) if node is not None else None
        if term is None:
            term = case.over(start, stop)
            _remember(case, start, stop, term, keeps, case.seconds(stop - start))
        if total is None:
            total, first, last = term, start, stop
            continue
        total = p.run("add", total, term)
        first, last = min(first, start), max(last, stop)
        _remember(case, first, last, total, keeps, case.seconds(last - first))
    return total


def _remember(case: Case, start: int, stop: int, made: Any, keeps: bool, seconds: float) -> None:
    if keeps and not case.p.hold(made, seconds):
        return
    memory = case.memory
    others = [w for w in memory.windows if w[:2] != (start, stop)]
    memory.windows = (*others, (start, stop, made.node))[-MOST:]


def stretches(p: Any, value: Any) -> list[Any] | None:
    """Stretches of a base that hold the rows of `value`: the same ones for all folds, mostly."""
    rows = rows_of(p, value) if value.data is None else None
    if rows is None or rows.runs is None or len(rows.base.meta[0]) != len(value.meta[0]):
        return None
    cell = _cell(rows, rows.base.meta[0][0])
    account = p.account(("stretches", rows.base.node.digest))
    seen = account.table or ()
    pieces: list[Any] = []
    for start, stop in rows.runs:
        for piece in cover(start, stop, list(seen)):
            pieces += _divided((piece[0], piece[1], piece[2]), cell)
    new = [(start, stop, True) for start, stop, node in pieces if node is None]
    if cell is not None or seen:
        account.table = (*seen, *new)[-MOST:]
    return [p.run("slice", rows.base, index=slice(start, stop)) for start, stop, _ in pieces]


# --------------------------------------------------------------------------- what is left out


def _by_rest(case: Case, rule: Rule) -> Offer | None:
    """The product over all rows less that over those that are left out."""
    p, memory, rows = case.p, case.memory, case.rows
    length = case.x.meta[0][0]
    rest = length - rows.size
    if not 0 < 2 * rest < length or case.x.meta[1].kind != "f":
        return None
    flipped = p.run("transpose", case.x)
    price = cost.DERIVATION + case.seconds(rest, True) + case.adding() + _norming(case, rest)
    start = None
    if p.known(case.row.name, flipped, case.y) or _kept(p, memory.whole):
        pass
    elif memory.first is not None and _kept(p, memory.first[1]):
        start = memory.first[0]._replace(base=case.x), memory.first[1]
        price += case.seconds(length - start[0].size, True) + case.adding()
    else:
        price += case.seconds(length)
    if price >= case.direct + memory.spent:
        return None
    limit = limit_of(rule, LIMITS, case.meta[1])
    saved = case.direct + memory.spent - price
    return Offer(rule, case.meta, lambda: _less(case, start, limit), saved, case.direct, price)


def _kept(p: Any, node: Any) -> bool:
    return node is not None and p.session.cache.peek(node.digest) is not None


def _norming(case: Case, rest: int) -> float:
    """Seconds of comparing norms, which the diagonals of Gram matrices hold."""
    if case.gram:
        return 2 * STEP
    found = 12 * STEP
    for value in (case.x, case.y):
        account = case.p.accounts.get(("norms", value.node.digest))
        if account is None or account.table is None:
            found += _size(value.meta) / cost.machine().stream
    return found


def _size(meta: Any) -> float:
    shape, dtype = meta
    found: float = dtype.itemsize
    for n in shape:
        found *= n
    return found


def _less(case: Case, start: Any, limit: float) -> Any:
    p, memory = case.p, case.memory
    out = case.without(case.rows)
    lost = case.product(*out)
    whole = p.recall(memory.whole) if start is None and memory.whole is not None else None
    if whole is None and start is not None:
        known = p.recall(start[1])
        if known is None:
            raise Declined
        whole = p.run("add", known, case.product(*case.without(start[0])))
        if p.hold(whole, case.direct):
            memory.whole = whole.node
    elif whole is None:
        whole = case.product(case.x, case.y)
        if p.hold(whole, case.direct):
            memory.whole = whole.node
    if case.gram:
        norms = np.diagonal(p.data(whole)).copy()
        p.account(("norms", case.x.node.digest)).table = norms
        _check(norms, np.diagonal(p.data(lost)), limit)
    else:
        for base, part in zip((case.x, case.y), out, strict=True):
            _check(_norms(p, base, True), _norms(p, part, False), limit)
    return p.run("subtract", whole, lost)


def _norms(p: Any, value: Any, keep: bool) -> Any:
    """Squared norms of the columns."""
    account = p.account(("norms", value.node.digest)) if keep else None
    if account is not None and account.table is not None:
        return account.table
    data = p.data(value)
    found = np.atleast_1d(np.einsum("i...,i...->...", data, data))
    if account is not None:
        account.table = found
    return found


def _check(whole: Any, lost: Any, limit: float) -> None:
    """Decline where columns lose too much of their norm, or where squares may have underflowed."""
    info = np.finfo(whole.dtype)
    rest = whole - lost
    if not (np.all(whole <= limit * rest) and np.all(whole > info.tiny / info.eps**2)):
        raise Declined


EXAMPLE = (
    "def f(X, d):\n"
    "    folds = np.array_split(np.arange(len(X)), 5)\n"
    "    grams = []\n"
    "    for fold in folds:\n"
    "        Z = np.delete(X, fold, axis=0)\n"
    "        grams.append(Z.T @ Z)\n"
    "    return grams[0], grams[4]"
)

SAVES = "the product over rows of which most were multiplied before, and choosing the rows"

SUBSETS = Rule(
    name="product-of-subsets",
    equation="A[S]' B[S] = A[:i]' B[:i] + A[j:]' B[j:];  A[S]' B[S] = A' B - A[~S]' B[~S]",
    saves=SAVES,
    exactness=ROUNDING,
    plan=plan,
    example=EXAMPLE,
    structured=False,
)

RULES = (SUBSETS, SUBSETS.guarded(equation="A[S]' B[S] = A' B - A[~S]' B[~S]"))
