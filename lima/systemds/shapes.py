"""Sizes of matrices, as far as a log tells them.

A size is a number, unknown (None), or a `Dim`: one of a few numbers, of which the operations
further down the log exclude some. That is how it comes out whether `tsmm` was X'X or XX', which a
log does not record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Shape = tuple[Any, ...]
"""() for a scalar, (rows, columns) for a matrix."""


class Misfit(Exception):
    """Shapes that no run of the operation can have had; the reader adds the line."""


class Dim:
    """A size that is one of `sizes`; equal ones share a root."""

    __slots__ = ("parent", "sizes")

    def __init__(self, sizes: Iterable[int]) -> None:
        self.sizes = frozenset(sizes)
        self.parent: Dim | None = None

    def root(self) -> Dim:
        found = self
        while found.parent is not None:
            found = found.parent
        if found is not self:
            self.parent = found  # the next walk is shorter
        return found


def settled(size: Any) -> Any:
    """The number that is left of a `Dim`, or its root; anything else as it is."""
    if type(size) is not Dim:
        return size
    root = size.root()
    return next(iter(root.sizes)) if len(root.sizes) == 1 else root


def known(size: Any) -> int | None:
    """A size where it is known by now."""
    found = settled(size)
    return found if type(found) is int else None


def same(a: Any, b: Any) -> Any:
    """The size that `a` and `b` both are; Misfit where they cannot be one."""
    a, b = settled(a), settled(b)
    if a is None or b is None or a is b:
        return b if a is None else a
    if type(a) is int and type(b) is int:
        if a != b:
            raise Misfit(f"{a} is not {b}")
        return a
    if type(a) is int:
        a, b = b, a
    return _restrict(a, {b}) if type(b) is int else _joined(a, b)


def _restrict(dim: Dim, allowed: Iterable[int]) -> Any:
    left = dim.sizes & frozenset(allowed)
    if not left:
        raise Misfit(f"{spelled(dim)} is not {spelled(Dim(allowed))}")
    dim.sizes = left
    return settled(dim)


def _joined(a: Dim, b: Dim) -> Any:
    found = _restrict(a, b.sizes)
    b.sizes = a.sizes
    b.parent = a
    return found


def spread(a: Any, b: Any) -> Any:
    """The size that comes of `a` and `b` where a 1 is repeated."""
    a, b = settled(a), settled(b)
    if a == 1 or b == 1:
        return b if a == 1 else a
    if type(a) is int and type(b) is int:
        return same(a, b)
    if a is None or b is None:
        return None
    if type(a) is int:
        a, b = b, a
    if type(b) is int:
        _restrict(a, {1, b})
        return b
    return None if 1 in a.sizes | b.sizes else same(a, b)


def total(sizes: Iterable[Any]) -> int | None:
    """The sum of sizes that are all known."""
    found = [known(size) for size in sizes]
    return None if None in found else sum(size for size in found if size is not None)


def broadcast(shapes: Iterable[Shape]) -> Shape:
    """The shape of an elementwise result: vectors are repeated along the axis that they lack."""
    rows: Any = 1
    columns: Any = 1
    scalar = True
    for shape in shapes:
        if shape:
            if not scalar:
                _not_single((rows, columns), shape)
                _not_single(shape, (rows, columns))
            scalar = False
            rows, columns = spread(rows, shape[0]), spread(columns, shape[1])
    return () if scalar else (rows, columns)


def _not_single(a: Shape, b: Shape) -> None:
    """Exclude that a square `a` is 1 x 1 beside a `b` that is no vector: SystemDS refuses that."""
    dim = settled(a[0])
    if type(dim) is Dim and dim is settled(a[1]) and 1 in dim.sizes and not any(map(_maybe_one, b)):
        _restrict(dim, dim.sizes - {1})


def _maybe_one(size: Any) -> bool:
    found = settled(size)
    return 1 in found.sizes if type(found) is Dim else found in (None, 1)


def spelled(size: Any) -> str:
    """A size as an error message writes it."""
    found = settled(size)
    if type(found) is Dim:
        return " or ".join(map(str, sorted(found.sizes)))
    return "?" if found is None else str(found)


def shape_text(shape: Shape) -> str:
    """A shape as an error message writes it.

    >>> shape_text((3, None)), shape_text(())
    ('3 x ?', 'a scalar')
    """
    return " x ".join(map(spelled, shape)) if shape else "a scalar"
