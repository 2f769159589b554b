"""Patterns and rules as data: how a result lies on its operands, and what may be had from parts.

A `Form` says how the lines (rows or columns) of a result lie on the operands of the operation that
made it. Rows of the operation table state it (`Op.form`); rules are written over forms, never over
operations, so that one rule serves however a program spelled its structure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

Picked = range | tuple[int, ...]
"""Places along an axis, counted from the front."""


class Joined(NamedTuple):
    """The operands one after the other along `axis`; one-dimensional ones stand as single lines."""

    axis: int


class Selected(NamedTuple):
    """The lines `picked` of the first operand along `axis`."""

    axis: int
    picked: Picked


class Scattered(NamedTuple):
    """Lines of the first operand along `axis`: too many to be listed.

    `chosen` is the index array or the mask, as the program gave it; with `dropped` these are the
    lines that are missing.
    """

    axis: int
    chosen: Any
    dropped: bool = False


class Line(NamedTuple):
    """One line of the first operand: a vector. `axis` is the one that `place` counts along."""

    axis: int
    place: int


class Upright(NamedTuple):
    """The first operand, a vector, as the only line along `axis` of a matrix."""

    axis: int


class Swapped(NamedTuple):
    """The first operand transposed."""


class Same(NamedTuple):
    """The elements of the first operand in the same places."""


class Each(NamedTuple):
    """The elements of the first operand in the same places, each changed by itself.

    Real numbers stay as they are: a conjugate.
    """


class Filled(NamedTuple):
    """One number everywhere."""

    value: Any


Form = Joined | Selected | Scattered | Line | Upright | Swapped | Same | Each | Filled


BITWISE, ROUNDING, GUARDED = "bitwise", "rounding", "guarded"
CLASSES = (BITWISE, ROUNDING, GUARDED)
"""How near a rule comes to the plain computation, the strictest class first.

bitwise   its very bits (class E0 of the reference's identities)
rounding  an error of the order of rounding, whatever the data (E1, E2)
guarded   a check at run time decides, and declines where cancellation could hurt (E3)
"""


DIGITS_LEFT = 1e-4
"""The error, in units of the result, that cancellation may make of one rounding error."""


def limit_of(rule: Rule, limits: dict[str, float], dtype: Any) -> float:
    """How much may cancel, in sessions of a rule's class. Some digits are to be left."""
    least = limits[ROUNDING]
    return min(limits[rule.exactness], max(DIGITS_LEFT / float(np.finfo(dtype).eps), least))


class Declined(Exception):
    """Raised by `Offer.make` where only the data shows that the derivation will not do."""


class Offer(NamedTuple):
    """A derivation that a rule proposes.

    rule    the rule
    meta    shape and dtype of the result, from those of the operands; of several results, of each
    make    carries it out, and gives a value
    saved   estimated seconds that it saves
    direct  estimated seconds of the plain operation
    price   estimated seconds of the derivation
    finite  whether the result is known to be finite
    """

    rule: Rule
    meta: Any
    make: Callable[[], Any]
    saved: float
    direct: float
    price: float
    finite: bool = False


_sum = np.add.reduce  # an attribute costs time in the hot path


def finite(data: Any) -> bool:
    """Whether all elements are surely finite: a sum that is not may come of large ones as well."""
    total = _sum(data, None)
    return bool(total - total == 0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rule:
    """A named equation: how a result may be had from parts that are known or cheaper.

    name       appears in every explanation and statistic
    equation   what holds, in the notation of mathematics
    saves      what is avoided, in words
    exactness  one of `CLASSES`
    plan       finds an `Offer` for a call, or None; it gets a `lima.rewrite.Planner`
    example    a function in source text whose second result the rule derives from its first
    structured whether it asks for an operand that waits as a layout or is a view of lines; a rule
               that does not is tried at every miss, so its `plan` must decline within a microsecond
    """

    name: str
    equation: str
    saves: str
    exactness: str
    plan: Callable[..., Offer | None]
    example: str
    structured: bool = True

    def guarded(self, **changes: Any) -> Rule:
        """The same rule for sessions that allow larger errors, which `plan` checks for."""
        return replace(self, name=f"{self.name}-guarded", exactness=GUARDED, **changes)
