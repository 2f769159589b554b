"""What of a result depends on some lines of matrices, one or a stack of them: more of `reach`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from lima.node import Ref, Spec
from lima.op import Op
from lima.ops.reach import Part, Reach, given, is_scalar, whole
from lima.ops.reach_axes import Several, labelled, stack_of

# --------------------------------------------------------------------------- stacks of matrices

_HARMLESS = frozenset({"UPLO", "hermitian", "rcond", "rtol", "tol", "alias", "n"})
"""Parameters of functions of matrices that decide no shape, given as values."""


def matrices(*items: str) -> Reach:
    """Each result comes of one matrix of a stack: `mn` is one of its shape, `k` its shorter side.

    Several items are those of a tuple.
    """

    def reach(row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
        first = inputs[0]
        if not isinstance(first, Part) or len(first.shape) < 2 or len(given(inputs)) != 1:
            return None
        if any(name not in _HARMLESS or type(value) is Ref for name, value in spec.params):
            return None
        return _of_matrices(first, items)

    return reach


def _of_matrices(first: Part, items: Sequence[str]) -> Any:
    m, n = first.shape[-2:]
    more = {"m": m, "n": n, "k": min(m, n)}
    stack = stack_of(len(first.shape), 2)
    found = [
        labelled([first], [[*stack, "x", "y"]], [*stack, *[(k, c) for k, c in enumerate(item)]],
                 {(k, c): more[c] for k, c in enumerate(item)})
        for item in items
    ]  # fmt: skip
    return found[0] if len(found) == 1 else Several(tuple(found))


def singular(row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Singular value decompositions."""
    first, known = inputs[0], ("full_matrices", "compute_uv", "hermitian")
    if not isinstance(first, Part) or len(first.shape) < 2 or len(inputs) != 1:
        return None
    if any(name not in known or type(value) is not bool for name, value in spec.params):
        return None
    if not spec.get("compute_uv", True):
        return _of_matrices(first, ["k"])
    full = spec.get("full_matrices", True)
    return _of_matrices(first, ["mm", "k", "nn"] if full else ["mk", "k", "kn"])


def orthogonal(row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """QR factors."""
    first = inputs[0]
    if not isinstance(first, Part) or len(first.shape) < 2 or len(inputs) != 1:
        return None
    forms = {"reduced": ["mk", "kn"], "complete": ["mm", "mn"], "r": ["kn"]}
    mode = spec.get("mode", "reduced")
    return _of_matrices(first, forms[mode]) if mode in forms else None


def triangular_factor(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """A Cholesky factor: row after row, each with those before it."""
    first = inputs[0]
    if spec.params or len(first.shape) != 2 or first.lines is None:
        found: Part | None = matrices("mn")(row, spec, inputs)
        return found
    lines = [None if one is None else np.logical_or.accumulate(one) for one in first.lines]
    made = [None if one is None or one.all() else one for one in lines]
    return Part(first.shape, tuple(made))


def solution(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """The solution of systems of equations: each column for a column of the right side."""
    parts = given(inputs)
    if spec.params or len(parts) != 2 or len(parts[0].shape) < 2 or not parts[1].shape:
        return None
    a, b = parts
    left = [*stack_of(len(a.shape), 2), "x", "y"]
    if len(b.shape) == 1:
        right: list[Hashable] = ["z"]
        after: list[Hashable] = [*left[:-2], "m"]
    else:
        right = [*stack_of(len(b.shape), 2), "z", "n"]
        deepest = max(len(a.shape), len(b.shape)) - 2
        after = [*range(-deepest, 0), "m", "n"]
    return labelled(parts, [left, right], after, {"m": a.shape[-1]})


def fitted(row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Least squares: a column of the solution for a column of the right side."""
    parts = given(inputs)
    if len(parts) != 2 or len(inputs) != 2 or len(parts[0].shape) != 2:
        return None
    a, b = parts
    if len(b.shape) not in (1, 2) or any(type(value) is Ref for _, value in spec.params):
        return None
    right = ["z", "n"][: len(b.shape)]
    x = labelled(parts, [("x", "y"), right], ["m", *right[1:]], {"m": a.shape[1]})
    return Several((x, None, None, _of_matrices(a, ["k"])))


def number(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """One number of all elements."""
    if any(value is not None and not is_scalar(value) for _, value in spec.params):
        return None
    return whole(()) if any(part.touched for part in given(inputs)) else Part((), None)


def traced(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """The sum of a diagonal."""
    first, offset = inputs[0], spec.get("offset", 0)
    if len(inputs) != 1 or len(first.shape) != 2 or type(offset) is not int:
        return None
    if any(name not in ("offset", "dtype") for name, _ in spec.params):
        return None
    if first.lines is None:
        return Part((), None)
    rows, columns = [
        np.ones(n, bool) if one is None else one
        for n, one in zip(first.shape, first.lines, strict=True)
    ]
    k = np.arange(max(0, -offset), min(len(rows), len(columns) - offset))
    return whole(()) if (rows[k] & columns[k + offset]).any() else Part((), None)
