"""Rules of ridge paths: one matrix with ever other multiples of the identity added to it.

One eigendecomposition G = V diag(g) V' gives (G + cI)^-1 for every c. Where some of the diagonal
is left alone, as that of an intercept, G and the rest of the identity are brought to diagonal form
together. Solutions are refined and *checked* as those of `lima.ops.solving` are, against the matrix
that was asked for, so that nothing hangs on how well the decomposition did, nor on whether the
matrix was rightly recognised (reference: section 2.4, D1).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from lima import cost
from lima.node import Node, Spec
from lima.op import Op
from lima.ops.solutions import shifted_values
from lima.ops.solving import ELIMINATION
from lima.pattern import GUARDED, ROUNDING, Declined, Offer, Rule

SMALLEST = 96
"""Order of a matrix below which solving takes no longer than deriving."""

DECOMPOSING = 14.0
"""Seconds of an eigendecomposition, as a multiple of those of elimination."""

INVERTING = 5.0
"""Likewise those of `np.linalg.inv`."""

PASSES = 3
"""Products with the matrix that a solution takes."""

OVERHEAD = 4.0
"""Derivations' worth of time that looking at the diagonal and checking take."""

LIMITS = {ROUNDING: 1e3, GUARDED: 1e8}
"""By class: the largest condition number of a matrix whose inverse is not checked."""

STEPS = 6
"""Operations that are looked through on the way to the matrix that was shifted."""

KINDS = {
    None, "gen", "sym", "her", "pos", "general", "symmetric", "hermitian", "positive definite",
}  # fmt: skip
DEFINITE = {"pos", "positive definite"}

DIAGONAL = {"eye", "identity", "diag"}
SCALING = {"multiply", "divide"}
WRITES = {"assign", "fill_diagonal"}
KEEPING = DIAGONAL | SCALING | WRITES


class Shifted(NamedTuple):
    """A symmetric matrix and what was added to its diagonal.

    key    digest of the matrix without it
    base   that matrix as a value; None if it has gone
    added  what was added, as a vector; None where it is to be seen from the data
    """

    key: bytes
    base: Any
    added: Any


def shifted(p: Any, a: Any) -> Shifted | None:
    """`a` as the sum of a matrix and a diagonal one, whether it waits or is present."""
    if a.data is not None:
        origin = _origin(a.node)
        return None if origin is None else Shifted(origin.digest, None, None)
    if a.row.name != "add" or a.args is None:
        return None
    for base, other in (a.args, a.args[::-1]):
        if hasattr(base, "meta") and base.meta == a.meta and _at_hand(base):
            added = diagonal_of(p, other, a.meta)
            if added is not None:
                p.present(base)
                return Shifted(base.node.digest, base, added)
    return None


def _at_hand(base: Any) -> bool:
    """Whether a matrix is present, or one operation on the elements of such, as `G / m`."""
    if base.data is not None:
        return True
    below = [x for x in base.args or () if hasattr(x, "meta")]
    row = base.row
    by_element = row.elides or row.inner is not None
    return by_element and all(x.data is not None for x in below)


def _origin(node: Node) -> Node | None:
    """What a present matrix was before its diagonal grew, by its lineage alone."""
    found = None
    for _ in range(STEPS):
        name, inputs = node.spec.op, node.inputs
        if name == "add" and found is None and len(inputs) == 2:
            sides = [x for x in inputs if type(x) is Node and not _is_diagonal(x)]
            return sides[0] if len(sides) == 1 and type(inputs[0]) is type(inputs[1]) else None
        if not inputs or type(inputs[0]) is not Node:
            break
        if name == "copy" and found is not None:
            return inputs[0]
        if name not in WRITES:
            break
        node = found = inputs[0]
    return found


def _is_diagonal(node: Node) -> bool:
    """Whether a node makes a diagonal matrix, or one that was so before it was written to."""
    for _ in range(STEPS):
        name, inputs = node.spec.op, node.inputs
        if name in DIAGONAL:
            return True
        if name in SCALING:
            inner = [x for x in inputs if type(x) is Node and x.spec.op in KEEPING]
            if not inner:
                return False
            node = inner[0]
        elif name in WRITES and type(inputs[0]) is Node:
            node = inputs[0]
        else:
            return False
    return False


def diagonal_of(p: Any, x: Any, meta: Any) -> Any:
    """The diagonal of a matrix that has nothing else, as a vector; None for any other matrix."""
    if not hasattr(x, "meta") or x.meta != meta:
        return None
    (n, _), dtype = meta
    if x.data is not None:
        account = p.account(("is diagonal", x.node.digest))
        if account.table is None:
            data = x.data
            full = data[0, 1] != 0 or data[-1, 0] != 0 or data[1, -1] != 0  # most are seen at once
            rest = full or np.count_nonzero(data) - np.count_nonzero(data.diagonal())
            account.table = (not rest,)
        return p.run("diagonal", x) if account.table[0] else None
    name = x.row.name
    args: Sequence[Any] = x.args or ()
    if name in ("eye", "identity"):
        given = dict(x.node.spec.params)
        if given.get("k", 0) != 0:
            return None
        return p.run("ones", shape=(n,), dtype=dtype)
    if name == "diag":
        return args[0] if args[0].meta == ((n,), dtype) else None
    if name in SCALING and len(args) == 2:
        for inner, factor in ((args[0], args[1]), (args[1], args[0])):
            if name == "divide" and inner is not args[0]:
                continue
            if hasattr(factor, "meta") and factor.meta[0] != ():
                continue
            found = diagonal_of(p, inner, meta) if hasattr(inner, "meta") else None
            if found is not None:
                return p.run(name, *([found, factor] if inner is args[0] else [factor, found]))
    return None


class System(NamedTuple):
    """What a request asks of a decomposition.

    account  that of the decomposition
    added    what is added to the diagonal of what was decomposed
    free     the places of the diagonal that are left alone
    """

    account: Any
    added: Any
    free: tuple[int, ...]


def _system(p: Any, a: Any, found: Shifted) -> System | None:
    """The decomposition that serves a matrix; None where its diagonal has several new numbers."""
    added = found.added
    if added is None:
        here = p.run("diagonal", a)
        first = p.account(("diagonal of", found.key))
        if first.table is None:
            first.table = p.run("copy", here)
            return None
        start = first.table
        if start.meta != here.meta:
            return None
        added = p.run("subtract", here, start)
    free = _free(added.data, found.base if found.base is not None else a)
    if free is None:
        return None
    account = p.account(("pencil", found.key, free, a.meta[1].char))
    if found.added is None and account.table is not None:
        added = p.run("subtract", p.run("diagonal", a), account.table)
    return System(account, added, free)


def _free(added: Any, matrix: Any) -> tuple[int, ...] | None:
    """Where nothing was added, if one and the same number was everywhere else."""
    eps = np.finfo(added.dtype).eps
    room = 8 * eps * np.abs(matrix.data.diagonal())
    shift = added[np.abs(added).argmax()]
    there = np.abs(added) > room
    if not np.all(np.abs(added - shift * there) <= room + 8 * eps * np.abs(shift)):
        return None
    free = np.flatnonzero(~there)
    if len(free) == len(added):
        free = free[:0]  # the matrix itself
    return tuple(free.tolist()) if len(free) <= MOST_FREE else None


MOST_FREE = 8
"""Places of the diagonal that may be left alone."""


class Ask(NamedTuple):
    """A matrix of a path with its decomposition, and estimated seconds.

    direct, price  of the plain operation, and of the derivation by a decomposition that is known
    investment     of the decomposition, if it is not
    """

    a: Any
    base: Any
    system: System
    known: Any
    direct: float
    price: float
    investment: float


def _ask(p: Any, a: Any, times: float, more: float, price: float) -> Ask | None:
    """What is known of a matrix, if an operation of so many eliminations may be spared."""
    shape, dtype = a.meta
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < SMALLEST or dtype.char not in "fd":
        return None
    elimination = (2.0 / 3.0) * shape[0] ** 3 / (cost.machine().flops * ELIMINATION)
    direct = cost.CALL + times * elimination + more + p.building(a)
    found = shifted(p, a) if direct > price else None
    system = None if found is None else _system(p, a, found)
    if found is None or system is None or system.account.barred:
        return None
    account = system.account
    known = p.recall(account.node) if account.node is not None else None
    investment = 0.0 if known is not None else DECOMPOSING * elimination
    return Ask(a, found.base, system, known, direct, price, investment)


def _offered(ask: Ask, rule: Any, meta: Any, limit: float, make: Any) -> Offer | None:
    """An offer, if it pays by itself or by what was spent before, of conditions below a limit."""
    account, direct = ask.system.account, ask.direct
    saved = direct - ask.price
    if ask.known is None:
        saved = account.allows(direct) - ask.price - ask.investment
        if saved <= 0.0:
            account.spent += direct
            return None
    elif _condition(ask.known, ask.system.added) >= limit:
        return None
    return Offer(rule, meta, make, saved, direct, ask.price + ask.investment)


def _decomposed(p: Any, ask: Ask) -> tuple[Any, Any]:
    """The decomposition, made now if need be, and what is added to the diagonal of its matrix."""
    system = ask.system
    account = system.account
    if ask.known is not None:
        return ask.known, system.added
    base, added = ask.base, system.added
    if base is None:  # the matrix that was shifted has gone: take this one for it
        base = ask.a
        account.table = p.run("copy", p.run("diagonal", base))
        added = p.run("subtract", account.table, account.table)
    params = {"free": system.free} if system.free else {}
    try:
        made = p.run("linalg.pencil", base, **params)
    except np.linalg.LinAlgError:
        account.barred = True
        raise Declined from None
    fits = bool(np.isfinite(made.data).all()) and p.hold(made, ask.investment)
    account.barred = not fits
    if not fits:
        raise Declined
    account.node = made.node
    return made, added


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """A solution from the decomposition that was kept, or pays."""
    if len(inputs) != 2 or not all(hasattr(x, "meta") for x in inputs):
        return None
    a, b = inputs
    shape = a.meta[0]
    if len(shape) != 2 or shape[0] < SMALLEST:
        return None
    given = dict(spec.params)
    kind = given.pop("assume_a", None)
    given.pop("check_finite", None)
    right, dtype = b.meta
    if given or kind not in KINDS or len(right) not in (1, 2) or 0 in right:
        return None
    if right[0] != shape[0] or dtype != a.meta[1]:
        return None
    columns = right[1] if len(right) == 2 else 1
    once = cost.product(right[0], right[0], columns, dtype.itemsize)
    ask = _ask(p, a, 1.0, once, OVERHEAD * cost.DERIVATION + PASSES * once)
    if ask is None:
        return None
    by_rows = b.data is None or b.data.flags.c_contiguous
    order = "C" if len(right) == 1 else order_of(row, spec, by_rows, columns)

    def make() -> Any:
        system, added = _decomposed(p, ask)
        whole = ask.base is None
        x = p.run(
            "linalg.solve.shifted",
            *(system, ask.a if whole else ask.base, added, b),
            whole=whole,
            definite=kind in DEFINITE,
            order=order,
        )
        if not np.isfinite(x.data).all():
            ask.system.account.size = _condition(system, added)
            raise Declined
        return x

    return _offered(ask, rule, (right, dtype), ask.system.account.size, make)


@lru_cache(maxsize=256)
def order_of(row: Op, spec: Spec, by_rows: bool, columns: int) -> str:
    """How several solutions lie in memory, which hangs on the function and on its operands."""
    a = np.eye(3) + 1.0
    b = np.ones((3, columns), order="C" if by_rows else "F")
    return "C" if row.kernel(a, b, **dict(spec.params)).flags.c_contiguous else "F"


def _condition(system: Any, added: Any) -> float:
    """How far the numbers are apart by which a solution divides.

    The account of a system notes the one at which a solution did not pass the check.
    """
    values = np.abs(shifted_values(system.data, added.data))
    return float(values.max() / max(values.min(), np.finfo(float).tiny))


def plan_inverse(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """An inverse from the decomposition that was kept, or pays."""
    if rule.exactness == ROUNDING and GUARDED in p.session.allowed:
        return None  # the other one takes what this one would
    if len(inputs) != 1 or spec.params or not hasattr(inputs[0], "meta"):
        return None
    shape, dtype = meta = inputs[0].meta
    if len(shape) != 2:
        return None
    price = cost.product(shape[0], shape[0], shape[0], dtype.itemsize, True)
    ask = _ask(p, inputs[0], INVERTING, 0.0, OVERHEAD * cost.DERIVATION + price)
    if ask is None or ask.system.free:
        return None
    limit = LIMITS[rule.exactness]

    def make() -> Any:
        system, added = _decomposed(p, ask)
        found = p.run("linalg.inv.shifted", system, added, limit=limit)
        if not np.isfinite(found.data).all():
            raise Declined
        return found

    return _offered(ask, rule, meta, limit, make)


EXAMPLE = (
    "def f(X, d):\n"
    "    K = X[:150] @ X[:150].T\n"
    "    for k in range(1, 40):\n"
    "        w = np.linalg.solve(K + k * np.eye(150), X[:150, 0])\n"
    "    return K, w"
)

PATH = Rule(
    name="ridge-path",
    equation="solve(G + cI, b) = V ((V' b) / (g + c))  with  G = V diag(g) V'",
    saves="factorising a symmetric matrix again for every multiple of the identity added to it",
    exactness=ROUNDING,
    plan=plan,
    example=EXAMPLE,
    structured=False,
)

INVERTED = EXAMPLE.replace("solve", "inv").replace(", X[:150, 0])", ")")

INVERSES = tuple(
    Rule(
        name=name,
        equation="inv(G + cI) = V diag(1 / (g + c)) V'  with  G = V diag(g) V'",
        saves="inverting a symmetric matrix again for every multiple of the identity added to it",
        exactness=exactness,
        plan=plan_inverse,
        example=example,
        structured=False,
    )
    for name, exactness, example in (
        ("ridge-inverse", ROUNDING, INVERTED),
        ("ridge-inverse-guarded", GUARDED, INVERTED.replace("K + k", "K + 0.01 * k")),
    )
)
