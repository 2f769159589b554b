"""Rules of matrix products: any block, at any position, of any width, from products of bases.

A product is a table of lines against lines: row i of the left against column j of the right. So
lines that were selected, repeated, permuted or joined on the free sides select and join the same
lines of the result; and where the contracted side is joined, the products of the parts add up.
Gram matrices of grown and cut matrices, cross products, intercepts, folds, projections on leading
components are all cases of these two equations (reference: sections 2.1, 2.2 and 2.4, A1, A3, A4,
A6, A11, A13, A14, B1, B2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lima import cost
from lima.node import Ref, Spec
from lima.op import OPS, Op
from lima.ops.in_columns import contiguous, first_column, in_columns
from lima.pattern import ROUNDING, Filled, Offer, Picked, Rule, Swapped, finite

UPRIGHT = (slice(None), None)
ALIASED = (("alias", True),)
"""Parameters of a product whose operands are one buffer."""

GROWTH = 1.5
"""How far a window of leading lines reaches beyond those that were asked for."""

MAX_LINES = 4096
"""Lines of an operand that are looked at one by one."""

MAX_GROUPS = 12
"""Bases of one side that are looked at."""

MAX_BLOCKS = 16
"""Pairs of bases of which it is noted that they were asked for together with others."""

SHARE = 4
"""A pair is the better part of a table if it has at least one in so many of its products."""


class Group:
    """Lines of one base among the lines of an operand.

    base, axis   the base and the axis of its lines; a vector is one line
    length       number of lines of the base
    window       the lines that the table of products covers
    key          what identifies it; of a constant line the number, its length and its dtype
    is_constant  whether it is one that stands upright: `settle` makes the vector, if it is needed
    """

    __slots__ = ("axis", "base", "is_constant", "is_vector", "key", "length", "window")

    def __init__(self, piece: Any, key: Any, is_constant: bool) -> None:
        self.base = piece.base
        self.axis = piece.axis
        self.length = piece.length
        self.window: Picked = range(piece.length)
        self.key = key
        self.is_vector = is_constant or len(piece.base.meta[0]) == 1
        self.is_constant = is_constant

    def settle(self, p: Any) -> None:
        if self.is_constant:
            value, inner, _ = self.key
            dtype = self.base.meta[1]
            self.base = p.run("full", shape=(inner,), fill_value=value, dtype=dtype)
            self.is_constant = False


class Side:
    """One operand of a product: the bases of its lines, and which of their lines it has."""

    __slots__ = ("_places", "flat", "groups", "key", "picked", "whole")

    def __init__(self, p: Any, pieces: Sequence[Any], flat: bool, inner: int) -> None:
        self.groups: list[Group] = []
        self.flat = flat  # a vector: its one line is no axis of the result
        self.picked: list[tuple[int, Picked]] = []  # group, lines of its base
        self.whole = len(pieces) == 1 and pieces[0].whole
        at: dict[Any, int] = {}
        for piece in pieces:
            base = piece.base
            form = p.constant(piece)
            upright = False
            if form is not None:
                shape, dtype = base.meta
                key: Any = (form.value, inner, dtype.char)
                upright = len(shape) == 2
            else:
                key = (base.node.digest, piece.axis)
            k = at.get(key)
            if k is None:
                k = at[key] = len(self.groups)
                self.groups.append(Group(piece, key, upright))
            self.picked.append((k, piece.picked))
        self.key = tuple(at)
        self._places: Picked | None = None

    def places(self) -> Picked:
        """Where the lines of the operand stand among those of the table."""
        if self._places is None:
            self._places = self._place()
        return self._places

    def _place(self) -> Picked:
        starts, total = [], 0
        for g in self.groups:
            starts.append(total)
            total += len(g.window)
        found: list[int] = []
        for k, picked in self.picked:
            g, start = self.groups[k], starts[k]
            if len(g.window) != g.length:
                picked = [g.window.index(line) for line in picked]  # type: ignore[assignment]
            elif start == 0 and len(self.picked) == 1:
                return picked
            found.extend([start + line for line in picked])
        first = found[0]
        if found == list(range(first, first + len(found))):
            return range(first, first + len(found))
        return tuple(found)

    def width(self) -> int:
        return sum([len(g.window) for g in self.groups])


class Table:
    """The products of all lines of the left bases with all lines of the right ones."""

    __slots__ = (
        "account", "ahead", "finite", "found", "key", "left", "p", "right", "row", "same",
        "seconds",
    )  # fmt: skip

    def __init__(self, p: Any, row: Op, left: Side, right: Side) -> None:
        self.p = p
        self.row = row
        self.left = left
        self.right = right
        self.same = left is right or left.key == right.key
        self.found: Any = None
        self.seconds = 0.0  # what making it was estimated to take
        self.finite = False  # it was kept, and is known to hold finite numbers alone
        self.ahead = False  # it is made before requests have paid for it
        self.key = (row.name, left.key, None if self.same else right.key, right.flat, left.flat)
        self.account = p.account(self.key)

    def blocks(self) -> list[tuple[Any, float]]:
        """Accounts of the tables of pairs of bases, with the share of this one that they are."""
        left, right = self.left.groups, self.right.groups
        if len(left) == len(right) == 1 or len(left) * len(right) > MAX_BLOCKS:
            return []
        every = sum([g.length for g in left]) * sum([h.length for h in right])
        found = []
        for g in left:
            for h in right:
                same = g.key == h.key
                if (not same and self.same) or g.length * h.length * SHARE < every:
                    continue
                other = None if same else (h.key,)
                key = (self.row.name, (g.key,), other, self.right.flat, self.left.flat)
                found.append((self.p.account(key), g.length * h.length / every))
        return found

    def allows(self, direct: float) -> float:
        """As `Account.allows`; what was spent on a part of the table counts as well."""
        spent: float = self.account.spent
        for account, _ in self.blocks():
            spent = max(spent, account.spent)
        return spent + (2.0 * direct if spent > 0.0 else direct)

    def spend(self, direct: float) -> None:
        """Note a request that was computed as asked."""
        self.account.spent += direct
        for account, share in self.blocks():
            account.spent += share * direct

    def recall(self) -> bool:
        """Whether the table that was made before is kept and covers the lines in use."""
        made = self.account.table
        if made is None:
            return False
        node, window, self.finite = made
        if window is not None:
            (group,) = self.right.groups
            for _, picked in self.right.picked:
                for line in picked:
                    if line not in window:
                        return False
            group.window = window
        self.found = self.p.recall(node)
        return self.found is not None

    def price(self) -> float:
        """Seconds of making it, less what is cached."""
        for g in (*self.left.groups, *self.right.groups):
            g.settle(self.p)
        total = 0.0
        for i, g in enumerate(self.left.groups):
            for j, h in enumerate(self.right.groups):
                if self.same and j < i:
                    continue
                total += self._price(g, h, self.same and i == j)
        size = self.left.width() * self.right.width()
        return total + cost.build((size,), self.left.groups[0].base.meta[1].itemsize)

    def _price(self, g: Group, h: Group, symmetric: bool) -> float:
        shape, dtype = g.base.meta
        inner = shape[0] if len(shape) == 1 else shape[1 - g.axis]
        seconds = cost.product(len(g.window), inner, len(h.window), dtype.itemsize, symmetric)
        if seconds > 10 * cost.CALL and len(h.window) == h.length:
            a, b = self._operands(g, h)
            if self.p.known(self.row.name, a, b):
                return cost.CALL
            split = plan_split(self.p, SPLIT, self.row, self.row.spec, (a, b))
            if split is not None:
                return float(split.price)
        return float(seconds + self.p.building(g.base) + self.p.building(h.base))

    def _operands(self, g: Group, h: Group) -> tuple[Any, Any]:
        """The operands of the product of two bases, in the one order that both ways share."""
        if g.is_vector and not h.is_vector:
            g, h = h, g
        a = g.base if g.is_vector or g.axis == 0 else self.p.run("transpose", g.base)
        b = h.base if h.is_vector or h.axis == 1 else self.p.run("transpose", h.base)
        if len(h.window) != h.length:
            b = choose(self.p, b, 1, h.window)
        return a, b

    def product(self, g: Group, h: Group) -> Any:
        """The products of the lines of two bases; a vector if one of them is one."""
        return self.p.run(self.row.name, *self._operands(g, h))

    def value(self) -> Any:
        """The table itself: as it was kept, or made now."""
        if self.found is not None:
            return self.found
        made = self._flat() if self.right.flat or self.left.flat else self._blocks()
        (h,) = self.right.groups if len(self.right.groups) == 1 else (None,)
        partial = h is not None and len(h.window) != h.length
        self.account.barred = not self.p.hold(made, self.seconds)
        if self.ahead and not self.account.barred:
            self.p.awaited = self.account
        window = h.window if h is not None and partial else None
        self.account.table = made.node, window, finite(made.data)
        return made

    def lines(self) -> Any:
        """The lines of it that were asked for."""
        made, left, right = self.value(), self.left, self.right
        if right.flat:
            return cut(self.p, made, left.places(), None)
        if left.flat:
            return cut(self.p, made, right.places(), None)
        return cut(self.p, made, left.places(), right.places())

    def _flat(self) -> Any:
        """Against the one line of a vector: a vector."""
        vector, side = (self.right, self.left) if self.right.flat else (self.left, self.right)
        (v,) = vector.groups
        found = [self.product(g, v) for g in side.groups]
        return (
            found[0]
            if len(found) == 1 and not side.groups[0].is_vector
            else self.p.run("hstack", *found)
        )

    def _blocks(self) -> Any:
        p, left, right = self.p, self.left.groups, self.right.groups
        made: dict[tuple[int, int], Any] = {}
        nested: list[list[Ref]] = []
        inputs: list[Any] = []
        for i, g in enumerate(left):
            line = []
            for j, h in enumerate(right):
                if self.same and j < i:
                    block = made[j, i]
                    if len(block.meta[0]) == 2:
                        block = p.run("transpose", block)
                else:
                    block = made[i, j] = self.product(g, h)
                if len(block.meta[0]) == 1 and h.is_vector and not g.is_vector:
                    block = p.run("slice", block, index=UPRIGHT)
                line.append(Ref(len(inputs)))
                inputs.append(block)
            nested.append(line)
        if len(inputs) == 1 and len(inputs[0].meta[0]) == 2:
            return inputs[0]
        row = OPS["block"]
        return p.apply(row, Spec(row.name, (("arrays", nested),), 0, row.version), inputs)


def choose(p: Any, value: Any, axis: int, picked: Picked) -> Any:
    """The lines `picked` of `value` along `axis`: a view where they are evenly spaced."""
    if type(picked) is range:
        stop: int | None = picked.stop if picked.step > 0 or picked.stop >= 0 else None
        if len(picked) == 1:
            part = slice(picked[0], picked[0] + 1)
        else:
            part = slice(picked.start, stop, None if picked.step == 1 else picked.step)
        index = (slice(None), part) if axis else part
        return p.run("slice", value, index=index)
    return p.run("take", value, indices=picked, axis=axis)


def cut(p: Any, table: Any, rows: Picked | None, columns: Picked | None) -> Any:
    """Rows and columns of a table; a copy, which may wait if it is large."""
    shape = table.meta[0]
    if rows is not None and rows == range(shape[0]):
        rows = None
    if columns is not None and columns == range(shape[1]):
        columns = None
    if rows is None and columns is None:
        return table
    if type(rows) is tuple and columns is not None:
        return p.run("lines", table, rows=rows, columns=tuple(columns))
    if rows is not None:
        table = choose(p, table, 0, rows)
    if columns is not None:
        table = choose(p, table, 1, columns)
    return table if table.root is None else p.run("copy", table, order="C")


def _direct(p: Any, a: Any, b: Any, symmetric: bool) -> float:
    """Seconds of the product as the program asked for it; of X' and X the one is built for both."""
    both = 0.0 if symmetric else p.building(a)
    return float(p.product(a, b, symmetric) + p.building(b) + both)


def _meta(a: Any, b: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype of a product."""
    return (*a.meta[0][:-1], *b.meta[0][1:]), a.meta[1]


def _floats(a: Any, b: Any) -> bool:
    """Whether the operands are matrices or vectors of one floating point dtype."""
    if not (hasattr(a, "meta") and hasattr(b, "meta")):
        return False
    sa, da = a.meta
    sb, db = b.meta
    if not (da is db or da == db) or da.kind not in "fc":
        return False
    return 1 <= len(sa) <= 2 and 1 <= len(sb) <= 2 and len(sa) + len(sb) > 2


def table_of(p: Any, row: Op, a: Any, b: Any, trivial: bool = False) -> Table | None:
    """The table of which `a b` is lines; None where they cannot be listed.

    Where it is that very product the table is `trivial`, and None as well, unless it is asked for.
    """
    above, across = p.upright(a, 0)
    left_pieces = p.pieces(above, across)
    right_pieces = p.pieces(b, 1 if len(b.meta[0]) == 2 else 0)
    single = len(left_pieces) == len(right_pieces) == 1
    if single and not trivial and left_pieces[0].whole and right_pieces[0].whole:
        return None
    if 0 in a.meta[0] or 0 in b.meta[0] or not (_few(left_pieces) and _few(right_pieces)):
        return None
    inner = a.meta[0][-1]
    left = p.side(Side, above, left_pieces, len(a.meta[0]) == 1, inner)
    if right_pieces is left_pieces:
        right = left
    else:
        right = Side(p, right_pieces, len(b.meta[0]) == 1, inner)
    if len(left.groups) > MAX_GROUPS or len(right.groups) > MAX_GROUPS:
        return None
    for side in (left, right):  # a column of a matrix as a vector: only lines of whole vectors
        if side.flat and not side.groups[0].is_vector:
            return None
    return Table(p, row, left, right)


def plan_table(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Lines of a table of products that is known, or pays."""
    if len(inputs) != 2 or not (spec.params == () or spec.params == ALIASED):
        return None
    a, b = inputs
    if not _floats(a, b):
        return None
    table = table_of(p, row, a, b)
    if table is None:
        return None
    account = table.account
    if account.barred:
        return None
    direct = _direct(p, a, b, table.same)
    if table.recall():
        if p.awaited is account:
            p.awaited = None
        price, saved = cost.AT_HAND, direct - cost.AT_HAND
    else:
        opened = p.depth == 0 and not table.same  # else both sides would be cut
        opened = opened and _open_window(table.left, table.right)
        price = table.seconds = table.price()
        saved = table.allows(direct) - price
        if saved <= 0.0 and opened and p.ventures(direct, price):
            table.ahead, saved = True, cost.CALL
    if saved <= 0.0:
        table.spend(direct)
        return None
    return Offer(rule, _meta(a, b), table.lines, saved, direct, price, table.finite)


def _few(pieces: Sequence[Any]) -> bool:
    """Whether the lines of an operand can be listed: few, or evenly spaced in one base."""
    if len(pieces) == 1 and type(pieces[0].picked) is range:
        return True
    return sum([len(piece.picked) for piece in pieces]) <= MAX_LINES


def _open_window(left: Side, right: Side) -> bool:
    """Of evenly spaced lines of one base on the right, ask for half as many again, not for all."""
    if not left.whole or len(right.groups) != 1:
        return False
    (group,) = right.groups
    ((_, picked), *more) = right.picked
    if more or type(picked) is not range or group.is_vector or 2 * len(picked) >= group.length:
        return False
    if len(picked) > 1:
        start, step = picked.start, picked.step
        wanted = [start + step * k for k in range(int(len(picked) * GROWTH) + 1)]
        inside = len([k for k in wanted if 0 <= k < group.length])
        group.window = range(start, start + step * inside, step)
    return bool(len(group.window) != group.length)


# --------------------------------------------------------------------------- contracted sides


def _joined(p: Any, value: Any, axis: int) -> list[Any] | None:
    """The parts that `value` joins along `axis`, each as it lies in `value`."""
    form = p.form(value)
    if type(form) is Swapped:
        found = p.parts(value.args[0], 1 - axis)
        return (
            None
            if found is None
            else [p.run("transpose", part) if len(part.meta[0]) == 2 else part for part in found]
        )
    return p.parts(value, axis)  # type: ignore[no-any-return]


def _extent(part: Any, axis: int, ndim: int) -> int:
    shape = part.meta[0]
    return 1 if len(shape) < ndim else shape[axis]


class Split:
    """A product as the sum of the products of parts of its contracted side."""

    __slots__ = ("a", "b", "ours", "p", "price", "row", "theirs")

    def __init__(self, p: Any, row: Op, a: Any, b: Any, ours: Any, theirs: Any) -> None:
        self.p = p
        self.row = row
        self.a = a
        self.b = b
        self.ours = ours
        self.theirs = theirs
        self.price = 0.0

    def terms(self) -> list[tuple[Any, Any]]:
        """Pairs of parts, where the right side is joined."""
        if self.ours is not None:
            return list(zip(self.ours, self.theirs, strict=True))
        found, start = [], 0
        axis = len(self.a.meta[0]) - 1
        for part in self.theirs:
            stop = start + _extent(part, 0, len(self.b.meta[0]))
            found.append((choose(self.p, self.a, axis, range(start, stop)), part))
            start = stop
        return found

    def make(self) -> Any:
        if self.theirs is None:
            return self._against_whole()
        p, found = self.p, None
        for x, y in self.terms():
            if len(x.meta[0]) < len(self.a.meta[0]):
                x = p.run("slice", x, index=UPRIGHT)
            if len(y.meta[0]) < len(self.b.meta[0]):
                y = p.run("slice", y, index=(None, slice(None)))
            term = p.run(self.row.name, p.bare(x), p.bare(y))
            found = term if found is None else p.run("add", found, term)
        return found

    def _against_whole(self) -> Any:
        """One pass over the parts of the left side, each against its stretch of the right one."""
        p = self.p
        ndim = len(self.a.meta[0])
        inputs, widths = [], []
        for part in self.ours:
            width = _extent(part, ndim - 1, ndim)
            form = p.form(part)
            widths.append(width)
            if type(form) is Filled and width == 1:
                inputs.append(form.value)
            elif ndim == 2 and width == 1:
                line = p.bare(part)
                if len(line.meta[0]) == 2:
                    line = first_column(p, line)
                inputs.append(contiguous(p, line))
            elif ndim == 2 and p.parts(part, 1) is not None:
                inputs.append(in_columns(p, part))
            else:
                inputs.append(p.bare(part))
        return p.run("matmul.parts", *inputs, self.b, widths=tuple(widths))


def plan_split(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """The sum of the products of parts, which are known, or spare the joining."""
    if len(inputs) != 2 or not (spec.params == () or spec.params == ALIASED):
        return None
    a, b = inputs
    if not _floats(a, b) or 0 in a.meta[0] or 0 in b.meta[0]:
        return None
    ours, theirs = _joined(p, a, len(a.meta[0]) - 1), _joined(p, b, 0)
    if len(a.meta[0]) == 1 and theirs is None:
        ours = None
    if ours is None and theirs is None:
        return None
    if ours is not None and theirs is not None:
        ndims = len(a.meta[0]), len(b.meta[0])
        cuts = [_extent(x, ndims[0] - 1, ndims[0]) for x in ours]
        if cuts != [_extent(x, 0, ndims[1]) for x in theirs]:
            theirs = None
    if len(ours or theirs or ()) > MAX_TERMS:
        return None
    if ours and False not in [type(p.form(x)) is Filled for x in ours]:
        return None
    split = Split(p, row, a, b, ours, theirs)
    symmetric = spec.params != ()
    split.price = _price_of(p, split)
    direct = _direct(p, a, b, symmetric)
    if split.price >= direct:
        return None
    return Offer(rule, _meta(a, b), split.make, direct - split.price, direct, split.price)


def _price_of(p: Any, split: Split) -> float:
    a, b = split.a, split.b
    shape, dtype = _meta(a, b)
    itemsize = dtype.itemsize
    inner = a.meta[0][-1]
    both = split.ours is not None and split.theirs is not None
    total = cost.DERIVATION
    pairs = split.terms() if both else [(x, None) for x in split.ours or split.theirs]
    for x, y in pairs:
        filled = type(p.form(x)) is Filled
        if both and not filled and p.known(split.row.name, x, y):
            total += 2 * cost.CALL
            continue
        ndim = len(a.meta[0]) if split.ours else len(b.meta[0])
        width = _extent(x, ndim - 1 if split.ours else 0, ndim)
        rows = a.meta[0][0] if len(a.meta[0]) == 2 else 1
        columns = b.meta[0][1] if len(b.meta[0]) == 2 else 1
        if not filled:
            symmetric = both and p.symmetric(split.row.name, x, y)
            total += cost.product(rows, min(width, inner), columns, itemsize, symmetric)
            total += p.building(p.bare(x)) + (p.building(y) if y is not None else 0.0)
        total += cost.build(shape, itemsize)
    return total


MAX_TERMS = 64
"""Parts of a contracted side that are looked at."""

TABLE = Rule(
    name="product-of-lines",
    equation="(A[S, :] B[:, T]) = (A B)[S, T];  [A; D] [B E] = [AB AE; DB DE]",
    saves="the product of lines whose products are known, and the joining and selecting of lines",
    exactness=ROUNDING,
    plan=plan_table,
    example="def f(X, d):\n    G = X.T @ X\n    Z = np.column_stack([X, d])\n    return G, Z.T @ Z",
)

SPLIT = Rule(
    name="product-of-parts",
    equation="[A D] [B; E] = A B + D E",
    saves="the joining of the contracted sides, and products of parts that are known",
    exactness=ROUNDING,
    plan=plan_split,
    example="def f(X, F):\n    G = X.T @ X\n    Z = np.vstack([X, F])\n    return G, Z.T @ Z",
)

RULES = (TABLE, SPLIT)
