"""The planner: whether a result may be had from parts, and at what price (D8).

Rules (`lima.pattern.Rule`, in the rows) see structure and prices through a `Planner` and carry out
their derivation with ordinary operations, which run through the pipeline like any other: they are
probed, planned, kept and have lineage. A rule never touches the cache, and takes its parts from
live data; nothing is locked while it computes.

Investment: a rule that would compute more than was asked for, since much was asked for in parts
before, keeps an `Account` of the seconds spent on the parts. It invests as soon as the total stays
within twice that of the best choice made with hindsight (`Account.allows`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import get_ident
from time import perf_counter
from typing import Any

import numpy as np

from lima import cost
from lima.errors import InternalError
from lima.forcing import adopt_lineage, force, mark_inexact
from lima.node import Node, Spec, new_node
from lima.op import OPS, Op, is_simple
from lima.passes import through, weighted
from lima.pattern import BITWISE, Declined, Offer, Same, Selected, finite
from lima.pieces import Piece, bare, constant, form_of, parts, pieces, structured, upright
from lima.stats import Outcome, outcome_row
from lima.values import Pending, Value, aliased, hush, new_value, nodes_of, unhush

VENTURE = 1e-3
"""Seconds of a plain operation from which a session may invest ahead of the requests."""

ACCOUNTS = 1024
"""Accounts that a session keeps; the oldest go first."""

LATELY = 32
"""Small results of rules that the planner remembers, whether the cache has them or not."""

SMALL = 1 << 17
"""Bytes up to which a result of a rule is one of those."""


class Account:
    """What is known of a larger product that requests see in part.

    spent   seconds that went into computing parts without it
    node    what was made, once it was
    table   node of a table of products, the lines of its base that it covers, None for all, and
            whether it is finite; they change at once, as another thread may read them
    barred  it could not be kept, so it is not computed again
    size    its largest magnitude, where a rule wants to know
    """

    __slots__ = ("barred", "node", "size", "spent", "table")

    def __init__(self) -> None:
        self.spent = 0.0
        self.node: Node | None = None
        self.table: tuple[Node, Any, bool] | None = None
        self.barred = False
        self.size: float = np.inf

    def allows(self, direct: float) -> float:
        """Seconds that the larger product may take, now that a part of `direct` seconds is asked.

        With s spent on parts, the best choice made with hindsight would have taken min(s + direct,
        price) so far, and investing takes s + price: at most twice that if price <= s + 2 direct.
        The first request alone is no sign that more will come.
        """
        return self.spent + (2.0 * direct if self.spent > 0.0 else direct)


class Tools:
    """What rules see of a session: structure, prices, accounts, and the pipeline."""

    __slots__ = ("_depths", "accounts", "apply", "awaited", "brief", "cache", "lately", "session")

    def __init__(self, session: Any, apply: Callable[..., Value]) -> None:
        self.session = session
        self.cache = session.cache
        self.apply = apply
        self.accounts: dict[Any, Account] = {}
        self.awaited: Account | None = None  # what was invested ahead of the requests
        self.lately: dict[bytes, Value] = {}  # see `note`
        self.brief: dict[tuple[Any, ...], int] = {}  # see `runtime.rests`
        self._depths: dict[int, int] = {}  # by thread

    @property
    def depth(self) -> int:
        """How many derivations this thread is in the midst of."""
        return self._depths.get(get_ident(), 0)

    def present(self, value: Value) -> Any:
        """The data of a value whose elements a rule has to see; it is computed if it waits."""
        return force(value)

    def symmetric(self, name: str, a: Value, b: Value) -> bool:
        """Whether two operands are one buffer, so that BLAS computes half of their product."""
        row = OPS[name]
        return aliased(row, row.spec, (a, b)) is not row.spec

    def run(self, name: str, *inputs: Any, **params: Any) -> Value:
        """An operation of the table on values and literals."""
        row = OPS[name]
        spec = row.spec
        if params:
            spec = Spec(name, tuple(params.items()), len(inputs), row.version)
            if all(map(is_simple, params.values())):
                spec._fixed = params
        if row.aliasing:
            spec = aliased(row, spec, inputs)
        return self.apply(row, spec, inputs)

    def data(self, value: Value) -> Any:
        """The elements of a value, which may have waited for this."""
        return force(value)

    def snapshot(self, value: Value) -> Value:
        """A small value as it is now: what a rule may remember, whoever writes the original."""
        made = new_value(value.node, np.array(force(value)))
        made.shared = True
        return made

    def known(self, name: str, a: Value, b: Value) -> bool:
        """Whether the result of an operation of two operands is in the cache."""
        row = OPS[name]
        inputs = (a, b)
        spec = aliased(row, row.spec, inputs) if row.aliasing else row.spec
        node = new_node(spec, nodes_of(inputs))
        return self.has(node)

    def has(self, node: Node) -> bool:
        """Whether `recall` gives something."""
        digest = node.digest
        return digest in self.lately or self.cache.peek(digest) is not None

    def note(self, value: Value) -> None:
        """Remember a small result of a rule: such are rather derived again than kept at first
        sight, but other rules ask for them soon after (X'X and X'y, for the residuals). What is
        written later is a copy, as the value is shared from now on.
        """
        lately = self.lately
        if value.data.nbytes > self.cache.budget // (8 * LATELY):
            return  # they are not counted: together they stay below an eighth of the budget
        if len(lately) >= LATELY:
            for old in list(lately)[: LATELY // 2]:
                lately.pop(old, None)
        value.shared = True
        lately[value.node.digest] = value

    def again(self, node: Node) -> Value | None:
        """What a rule gave lately for the very operation of `node`, which is asked for again.

        From the second time on the cache has it.
        """
        digest = node.digest
        found = self.lately.get(digest) if self.lately else None
        if found is None:
            return None
        made = found.node
        node.inputs, node.derived, node.inexact = made.inputs, made.derived, made.inexact
        seconds = 0.0 if made.outcome is None else made.outcome.seconds
        node.outcome = outcome_row(Outcome.HIT, seconds)
        value = new_value(node, found.data)
        value.shared = True
        self.session.keep(OPS[node.spec.op], node, found.data, max(seconds, self.cache.worth))
        return value

    def product_of(self, name: str, a: Value, b: Value) -> Value:
        """`run(name, a, b)`, which may have been computed lately."""
        row = OPS[name]
        inputs = (a, b)
        spec = aliased(row, row.spec, inputs) if row.aliasing else row.spec
        lately = self.lately
        found = lately.get(new_node(spec, nodes_of(inputs)).digest) if lately else None
        return self.apply(row, spec, inputs) if found is None else found

    def recall(self, node: Node) -> Value | None:
        """The value of `node` if the cache still has it, or if a rule gave it lately."""
        cache = self.cache
        digest = node.digest
        found = self.lately.get(digest)
        if found is not None:
            return found
        entry = cache.get(digest) if cache.peek(digest) is not None else None
        if entry is None:
            return None
        if entry.lineage is not None or node.inexact:  # what is kept may have come about otherwise
            inexact, node = node.inexact, new_node(node.spec, node.inputs)
            node.inexact = inexact
            adopt_lineage(node, entry)
        value = new_value(node, entry.value)
        value.shared = True
        return value

    def hold(self, value: Value, seconds: float) -> bool:
        """Keep what a rule invested in, whatever admission thinks of it; False if it is too big."""
        data = force(value)
        cache, node = self.cache, value.node
        if type(data) is not np.ndarray or data.nbytes > cache.budget // 4:
            return False
        digest = node.digest
        mark_inexact(node)
        kept: bool = cache.put(
            digest,
            data,
            seconds=max(seconds, cache.worth),
            height=node.height,
            owned=value.root is None,
            first_sight=0.0,
            lineage=node if node.inexact else None,
        )
        value.shared = value.shared or kept
        return kept

    def account(self, key: Any) -> Account:
        """The account of a larger product. Without a lock: what two threads do at once is lost."""
        accounts = self.accounts
        found = accounts.get(key)
        if found is None:
            found = accounts.setdefault(key, Account())
            if len(accounts) > ACCOUNTS:
                for old in list(accounts)[: ACCOUNTS // 4]:
                    accounts.pop(old, None)
        return found

    def recent(self, kind: str, key: Any, most: int) -> None:
        """Note that the account `key` holds data: of its kind, so many may, and the oldest goes."""
        line = self.account((kind,))
        seen: Any = line.table or ()
        keys = [*[k for k in seen if k != key], key]
        for old in keys[:-most]:
            self.accounts.pop(old, None)
        line.table = tuple(keys[-most:])

    def ventures(self, direct: float, price: float) -> bool:
        """Whether to invest before anything was spent on parts.

        Leading columns are mostly asked for again, a few more of them each time, and what they are
        multiplied with may be gone by then. So one investment of a session may run ahead of the
        requests, and the next one once it was of use. It stays below twice the plain operation.
        """
        return self.awaited is None and direct >= VENTURE and price <= 2.0 * direct

    def through(self, x: Value, v: Value, z: Pending, w: Pending) -> Value | None:
        """X' w in one pass over X, for a w that waits for z, which is X v (`lima.passes`)."""
        return through(self.session, x, v, z, w)

    def weighted(self, x: Value, w: Value, y: Value, twice: bool) -> Value | None:
        """X' diag(w) Y in one pass, for few columns (`lima.passes`)."""
        return weighted(self.session, x, w, y, twice)

    def building(self, value: Value) -> float:
        """Seconds that computing what waits below `value`, itself included, would take."""
        if value.data is not None or not isinstance(value, Pending):
            return 0.0
        top = value
        notes = top.notes
        if notes is not None and "building" in notes:
            return notes["building"]  # type: ignore[no-any-return]
        seconds = 0.0
        todo: list[Any] = [top]
        seen: set[int] = set()
        while todo and len(seen) < 64:
            below = todo.pop()
            if not isinstance(below, Pending) or below.data is not None or id(below) in seen:
                continue
            item = below
            seen.add(id(item))
            args = item.args or ()
            if item.root is None:
                shape, dtype = item._meta
                row = item.row
                runs = len(args) * shape[0] if row.variadic and shape else 0
                seconds += cost.build(shape, dtype.itemsize, runs)
                form = form_of(item)
                if type(form) is Selected and form.axis == 1:
                    data = args[0].data
                    if data is not None and data.strides[0] > data.strides[1]:
                        seconds += cost.columns(data.shape, data.dtype, len(form.picked))
                if row.spared is not None:
                    seconds += self.product(args[0], args[1])
            todo.extend(args)
        if notes is not None:
            notes["building"] = seconds
        return seconds

    def side(
        self, make: Callable[..., Any], value: Value, found: list[Piece], flat: bool, inner: int
    ) -> Any:
        """What a rule makes of the lines of `value`, once for all products with it."""
        notes = value.notes if isinstance(value, Pending) and value.data is None else None
        if notes is None or flat or found[0].base is value:  # no cycle of references
            return make(self, found, flat, inner)
        known = notes.get("side")
        if known is None or known[0] is not found:
            known = notes["side"] = (found, make(self, found, flat, inner))
        return known[1]

    def product(self, a: Value, b: Value, symmetric: bool = False) -> float:
        """Seconds of a product of two present arrays of these shapes."""
        shape, dtype = a.meta
        other = b.meta[0]
        m = shape[0] if len(shape) == 2 else 1
        n = other[1] if len(other) == 2 else 1
        return cost.product(m, shape[-1], n, dtype.itemsize, symmetric)


class Planner(Tools):
    """Tries the rules of an operation, and carries out the best derivation."""

    pieces = staticmethod(pieces)
    constant = staticmethod(constant)
    parts = staticmethod(parts)
    upright = staticmethod(upright)
    form = staticmethod(form_of)
    bare = staticmethod(bare)

    def best(self, row: Op, spec: Spec, inputs: Sequence[Any]) -> Offer | None:
        """The offer that saves most, of the rules of `row` that the session allows."""
        return next(iter(self.offers(row, spec, inputs)), None)

    def offers(self, row: Op, spec: Spec, inputs: Sequence[Any]) -> list[Offer]:
        """What the rules of `row` that the session allows propose, what saves most first."""
        found: list[Offer] = []
        if self._depths.get(get_ident(), 0) > MAX_DEPTH:
            return found
        has_structure = structured(inputs)
        here = self.session
        allowed = here.allowed
        for rule in row.rules:
            if rule.exactness in allowed and (has_structure or not rule.structured):
                offer = rule.plan(self, rule, row, spec, inputs)
                if offer is not None:
                    found.append(offer)
                    if offer.price <= cost.AT_HAND:
                        break
        if len(found) > 1:
            found.sort(key=_saved, reverse=True)
        return found

    def derive(self, row: Op, spec: Spec, node: Node, inputs: Sequence[Any]) -> Value | None:
        """The result of an operation by the best rule, or None; `node` learns how it came about.

        It has its data, or waits as a copy of lines of what is kept. Nothing that goes wrong here
        is the user's trouble (D16), but in strict sessions.
        """
        here = self.session
        start = perf_counter()
        try:
            for offer in self.offers(row, spec, inputs):
                with suppress(Declined):
                    made = self._carried_out(offer)
                    break
            else:
                return None
            meta = made.meta if type(made.data) is not tuple else _metas(made.data)
            if meta != offer.meta:
                raise InternalError(f"{offer.rule.name}: {meta} instead of {offer.meta}")
        except Exception as error:
            if here.config.strict:
                raise
            here.counts.faults += 1
            node.outcome = outcome_row(Outcome.REFUSED, 0.0, f"a rule failed: {error}")
            return None
        data = made.data
        if data is not None:
            items = data if type(data) is tuple else (data,)
            if not (offer.finite or _finite(items)):
                return None  # the plain operation shall say so, with NumPy's warnings
            for item in items:
                made.shared = made.shared or not item.flags.writeable
        mark_inexact(node)
        if offer.rule.exactness != BITWISE or made.node.inexact:
            node.derived = made.node
            node.inexact = True
        seconds = perf_counter() - start
        node.outcome = outcome_row(Outcome.PARTIAL, seconds, offer.rule.name)
        here.counts.partial[offer.rule.name] += 1
        here.counts.seconds_partial += max(0.0, offer.direct - seconds)
        return made

    def _carried_out(self, offer: Offer) -> Value:
        """The value of an offer, which waits only as a copy."""
        me = get_ident()
        depth = self._depths.get(me, 0)
        self._depths[me] = depth + 1
        before = hush()
        try:
            made: Value = offer.make()
            if made.data is None and type(form_of(made)) is not Same:
                force(made)
        finally:
            unhush(before)
            if depth:
                self._depths[me] = depth
            else:
                del self._depths[me]
        return made


def _finite(items: Sequence[Any]) -> bool:
    before = hush()  # infinities of both signs
    try:
        return False not in [finite(item) for item in items]
    finally:
        unhush(before)


def _saved(offer: Offer) -> float:
    return offer.saved


def _metas(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Shapes and dtypes of the results of an operation that has several."""
    return tuple([(item.shape, item.dtype) for item in items])


MAX_DEPTH = 4
"""Derivations within derivations."""
