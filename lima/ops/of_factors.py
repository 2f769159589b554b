"""Rows of factorisations of `scipy.sparse.linalg`: `splu`, `spilu`, `factorized`.

What they give is an object of SuperLU's, which no cache or log can hold. So an operation on it is
one on the matrix: to solve is to factorise and to solve. In a running program the object is there,
and the kernel takes it from `LIVE`; it factorises again only where it is not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from lima.ops.of_sparse import called, signature, sparse_row

FACTORS = "splu spilu factorized"

SOLVE, PART = ".solve", ".part"
"""What the names of the rows of an object end with."""


class Live(NamedTuple):
    """A factorisation that is there, and what it is of: the arrays of a matrix, and options."""

    factor: Any
    arrays: tuple[Any, ...]
    how: dict[str, Any]


LIVE: ContextVar[Live | None] = ContextVar("lima_factor", default=None)
"""The factorisation of the call that is being made."""

MADE: ContextVar[list[Any] | None] = ContextVar("lima_factors_made", default=None)
"""Where a factorisation that a kernel had to make is left for the program."""


def _factor(function: Any, A: Any, how: dict[str, Any]) -> Any:
    """The factorisation of `A`: that of the program, if it is of this very matrix."""
    live = LIVE.get()
    if live is not None and live.how == how and _are(live.arrays, (A.data, A.indices, A.indptr)):
        return live.factor
    made = called(function, A=A, **how)
    box = MADE.get()
    if box is not None:
        box.append(made)
    return made


def _are(arrays: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return all(_place(a) == _place(b) for a, b in zip(arrays, others, strict=True))


def _place(a: Any) -> tuple[Any, ...]:
    return a.__array_interface__["data"][0], a.shape, a.strides, a.dtype


def _facts(function: Any, /, A: Any, **how: Any) -> Any:
    """What is known of a factorisation: permutations and the number of elements."""
    factor = _factor(function, A, how)
    if not hasattr(factor, "perm_c"):
        return ()
    return np.array(factor.perm_c), np.array(factor.perm_r), factor.nnz


def _solve(function: Any, /, A: Any, rhs: Any, trans: str = "N", **how: Any) -> Any:
    factor = _factor(function, A, how)
    return factor.solve(rhs, trans) if hasattr(factor, "solve") else factor(rhs)


def _part(function: Any, /, A: Any, part: str, **how: Any) -> Any:
    return getattr(_factor(function, A, how), part)


_FACTS = "(lambda f: (np.array(f.perm_c), np.array(f.perm_r), f.nnz))({})"

_ROWS: tuple[tuple[str, Callable[..., Any], tuple[str, ...], str], ...] = (
    ("", _facts, (), _FACTS),
    (SOLVE, _solve, ("rhs", "trans"), "{}.solve(rhs, trans)"),
    (PART, _part, ("part",), "getattr({}, part)"),
)
_ROWS_OF_A_FUNCTION = (("", _facts, (), "()"), (SOLVE, _solve, ("rhs",), "{}(rhs)"))
"""Ends of names, kernels, what they are given beside the matrix and options, and their text."""


def factors(module: Any) -> None:
    """The rows of factorisations, and of what is done with them."""
    for name in FACTORS.split():
        function = getattr(module, name)
        home = f"{module.__name__}.{name}"
        names = tuple(signature(function).parameters)
        for end, kernel, more, text in _ROWS_OF_A_FUNCTION if name == "factorized" else _ROWS:
            defaults = [f"{n}={repr('N') if n == 'trans' else None}" for n in (*names[1:], *more)]
            call = text.format(f"{home}({', '.join(names)})")
            spelled = f"lambda {', '.join([names[0], *defaults])}: {call}"
            run = functools.partial(kernel, function)
            sparse_row(f"{home}{end}", run, (*names, *more), spelled, weight=64.0)
