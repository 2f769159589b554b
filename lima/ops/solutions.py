"""Rows of operations that rules of solving use and that no NumPy function spells.

Their kernels are plain functions of NumPy, whose text programs take as it stands (`to_python`).
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np

from lima.op import Kind, op


def pencil(a: Any, *, free: tuple[int, ...] = ()) -> Any:
    """W' of the n x n matrix W that makes W' a W diagonal, and W' E W as well.

    E is the identity, but for zeros at the places `free`. Then come two rows: the numbers of
    W' a W, and those of W' E W, which are one or zero. NaN where `a` is not symmetric but for
    rounding, or not positive at the free places.
    """
    n = len(a)
    system = np.full((n + 2, n), np.nan, a.dtype)
    largest = np.abs(a).max()
    if not np.abs(a - a.T).max() <= 4 * n * np.finfo(a.dtype).eps * largest:
        return system
    system[n + 1] = 1.0
    if not free:
        system[n], vectors = np.linalg.eigh(a)
        system[:n] = vectors.T
        return system
    places, bound = np.asarray(free), np.setdiff1d(np.arange(n), free)
    alone, vectors = np.linalg.eigh(a[np.ix_(places, places)])
    if not alone[0] > n * np.finfo(a.dtype).eps * alone[-1]:
        return system
    roots = vectors / np.sqrt(alone)
    cross = roots @ (roots.T @ a[np.ix_(places, bound)])
    rest = a[np.ix_(bound, bound)] - a[np.ix_(bound, places)] @ cross
    values, vectors = np.linalg.eigh(rest)
    k = len(bound)
    system[:n] = 0.0
    system[:k, bound] = vectors.T
    system[:k, free] = -(cross @ vectors).T
    system[k:n, free] = roots.T
    system[n, :k], system[n, k:] = values, 1.0
    system[n + 1, k:] = 0.0
    return system


def shifted_values(system: Any, added: Any) -> Any:
    """The numbers of W' (a + D) W, where `added` is the diagonal of D."""
    shift = added[np.abs(added).argmax()]
    return system[-2] + shift * system[-1]


def solve_shifted(
    system: Any, a: Any, added: Any, b: Any, *, whole: bool, definite: bool, order: Any
) -> Any:
    """The solution of (a + D) x = b, given `pencil` of `a`; with `whole`, `a` has D within itself.

    Refined and checked as in `solve_again`; NaN if that does not come about, if the matrix is not
    positive `definite` although it should be, or if it is nearly singular.
    """
    n, eps = len(a), np.finfo(a.dtype).eps
    rows, values = system[:n], shifted_values(system, added)
    limit = (n + 8) * eps
    sizes = np.abs(values)
    fits = sizes.min() > 64 * n * eps * sizes.max()
    if not fits or (definite and not values.min() > 0.0):
        return np.full(b.shape, np.nan, a.dtype, order)
    diagonal = a.diagonal() if whole else a.diagonal() + added
    if b.ndim == 2:
        values, added, diagonal = values[:, None], added[:, None], diagonal[:, None]
    x = rows.T @ ((rows @ b) / values)
    for k in range(4):
        rest = b - a @ x
        if not whole:
            rest -= added * x
        short, size = np.abs(rest), np.abs(x)
        if np.all(short <= limit * (np.abs(diagonal) * size + np.abs(b))):
            return np.asarray(x, order=order)
        if k:
            around = np.abs(a) @ size
            around = around if whole else around + np.abs(added) * size
            if np.all(short <= limit * (around + np.abs(b))):
                return np.asarray(x, order=order)
        x = x + rows.T @ ((rows @ rest) / values)
    return np.full(b.shape, np.nan, a.dtype, order)


def solve_dual(half: Any, z: Any, b: Any, *, shift: float, scale: float, order: Any) -> Any:
    """The solution of (scale z' z + shift) x = b, given the inverse of z z' + shift / scale.

    Refined and checked as in `solve_again`, where each element of z' z may be off by what rounding
    makes of its sum; NaN if that does not come about.
    """
    limit = (len(z) + len(b) + 8) * np.finfo(z.dtype).eps
    sizes, x, rest = np.abs(z), np.zeros_like(b), b
    for _ in range(4):
        step = rest / shift
        x = x + (step - z.T @ (half @ (z @ step)))
        rest = b - (scale * (z.T @ (z @ x)) + shift * x)
        size = np.abs(x)
        around = scale * (sizes.T @ (sizes @ size)) + shift * size + np.abs(b)
        if np.all(np.abs(rest) <= limit * around):
            return np.asarray(x, order=order)
    return np.full(b.shape, np.nan, z.dtype, order)


def inv_shifted(system: Any, added: Any, *, limit: float) -> Any:
    """The inverse of a + D; NaN where its condition number is above `limit`."""
    n = system.shape[1]
    values = shifted_values(system, added)
    if not values.min() * limit > values.max():
        return np.full((n, n), np.nan, system.dtype)
    half = system[:n] / np.sqrt(values)[:, None]
    return half.T @ half


def substituted(low: Any, b: Any, sizes: Any) -> Any:
    """W' with low W' = b, but for rounding on the scale of `sizes` of elements; else NaN."""
    x = np.empty(b.shape, b.dtype)
    for i in range(0, len(low), 64):
        j = min(len(low), i + 64)
        strip, rest = low[i:j, i:j], b[i:j] - low[i:j, :i] @ x[:i]
        part = np.linalg.solve(strip, rest)
        for _ in range(3):
            short = rest - strip @ part
            if np.all(np.abs(short) <= 64 * np.finfo(b.dtype).eps * sizes[i:j]):
                break
            part = part + np.linalg.solve(strip, short)
        else:
            part = part * np.nan
        x[i:j] = part
    return x


def cholesky_grown(a: Any, factor: Any = None) -> Any:
    """`np.linalg.cholesky(a)`, given that of the leading rows and columns; NaN as above."""
    if factor is None:
        return np.linalg.cholesky(a)
    k = len(factor)
    size = np.sqrt(np.abs(a.diagonal()))
    across = substituted(factor, a[k:, :k].T, np.outer(size[:k], size[k:]))
    made = np.zeros(a.shape, a.dtype)
    made[:k, :k] = factor
    made[k:, :k] = across.T
    made[k:, k:] = np.linalg.cholesky(a[k:, k:] - across.T @ across)
    return made


def base(a: Any) -> Any:
    """U, V' and s of a = U diag(s) V', for more rows than columns, one below another."""
    q, r = np.linalg.qr(a)
    u, s, v = np.linalg.svd(r)
    return np.vstack([q @ u, v, s])


def full_rank(s: Any, cut: float) -> bool:
    """Whether singular values are far from where `np.linalg.lstsq` takes them for zero."""
    return bool(s[-1] > 16 * cut * s[0])


def lstsq_again(base: Any, a: Any, b: Any, *, cut: float) -> Any:
    """What `np.linalg.lstsq` gives, from `base(a)`; NaN where the rank is not surely full."""
    m, n = a.shape
    u, v, s = base[:m], base[m:-1], base[-1]
    if not full_rank(s, cut):
        s = s * np.nan
    x = v.T @ ((u.T @ b).T / s).T
    rest = np.sum(np.square(b - a @ x).reshape(m, -1), axis=0)
    return x, rest, np.int32(n), s.copy()


def least_square(dtype: Any) -> Any:
    """The square below which too little is left of what it is the square of."""
    info = np.finfo(dtype)
    return info.tiny / info.eps**2


def squared_residual(gram: Any, v: Any, cross: Any, size: Any) -> Any:
    """|X v + y|^2 from X'X, X'y and y'y, and what the sizes of its parts add up to.

    That is infinite where squares vanish.
    """
    reach = np.sqrt(gram.diagonal()) @ np.abs(v)
    both = gram @ v if cross is None else gram @ v + 2 * cross
    squares = v @ both if v.ndim == 1 else np.sum(v * both, axis=0)
    if cross is not None:
        squares = squares + size
        reach = reach + np.sqrt(size)
    least = least_square(gram.dtype)
    seen = (squares > least) & (gram.diagonal() > least).all()
    return squares, np.where(seen, reach, np.inf)


def gram_squares(gram: Any, v: Any, cross: Any = None, size: Any = None, *, limit: float) -> Any:
    """|X v + y|^2 from X'X, X'y and y'y; NaN where more than `limit` times as much cancels."""
    squares, reach = squared_residual(gram, v, cross, size)
    fits = reach <= np.sqrt(limit) * np.sqrt(squares)
    total = squares if v.ndim == 1 else np.sum(squares)
    return total if fits.all() else total * np.nan


def gram_gradient(gram: Any, v: Any, cross: Any = None, size: Any = None, *, limit: float) -> Any:
    """X'(X v + y) from X'X, X'y and y'y; NaN as in `gram_squares`."""
    found = gram @ v
    if cross is not None:
        found = found + cross
    return found + 0 * gram_squares(gram, v, cross, size, limit=limit)


def gram_sum(gram: Any, v: Any, cross: Any = None, size: Any = None, *, limit: float) -> Any:
    """1'(X v + y) from what `gram_gradient` takes, where the last column of X is of ones."""
    return gram_gradient(gram, v, cross, size, limit=limit)[-1]


def gram_bordered(gram: Any, sums: Any, *, rows: int) -> Any:
    """X'X with a column of ones beside X, given the sums of the columns."""
    found = np.empty((len(gram) + 1, len(gram) + 1), gram.dtype)
    found[:-1, :-1], found[-1, :-1], found[:-1, -1], found[-1, -1] = gram, sums, sums, rows
    return found


def gram_vector(v: Any, number: Any, *, negative: bool) -> Any:
    """A vector with one more number at its end, or the negative of that."""
    return np.append(v, -number if negative else number).astype(v.dtype)


def gram_part(v: Any, *, places: tuple[int, ...]) -> Any:
    """`v` with zeros but for `places`."""
    part = np.zeros(v.shape, v.dtype)
    part[list(places)] = v[list(places)]
    return part


def gram_step(v: Any, start: Any, *, places: tuple[int, ...]) -> Any:
    """`v` less `start`, whose numbers stand at `places` of it."""
    step = v.copy()
    step[list(places)] -= start
    return step


def _named(function: Any, *options: str) -> Any:
    def text(inputs: list[str], params: dict[str, str]) -> str:
        given = [f"{option}={params[option]}" for option in options if option in params]
        return f"{function.__name__}({', '.join([*inputs, *given])})"

    return text


def _row(
    name: str, function: Any, operands: str, *options: str, wrap: Any = None, version: int = 1
) -> None:
    op(
        name,
        function,
        Kind.EFFECT,
        operands=operands,
        calls=(),
        aliasing=True,
        wrap=wrap,
        source=_named(function, *options),
        version=version,
    )


_row("linalg.pencil", pencil, "a", "free")
_row("linalg.solve.shifted", solve_shifted, "system a added b", "whole", "definite", "order")
_row("linalg.solve.dual", solve_dual, "half z b", "shift", "scale", "order")
_row("linalg.inv.shifted", inv_shifted, "system added", "limit")
_row("linalg.cholesky.grown", cholesky_grown, "a")
_row("linalg.base", base, "a")
_row("linalg.lstsq.again", lstsq_again, "base a b", "cut", wrap=tuple)
_row("gram.squares", gram_squares, "gram v", "limit", version=3)
_row("gram.gradient", gram_gradient, "gram v", "limit", version=3)
_row("gram.sum", gram_sum, "gram v", "limit", version=3)
_row("gram.bordered", gram_bordered, "gram sums", "rows")
_row("gram.vector", gram_vector, "v number", "negative")
_row("gram.part", gram_part, "v", "places")
_row("gram.step", gram_step, "v start", "places")

HELPERS = (
    pencil,
    shifted_values,
    solve_shifted,
    solve_dual,
    inv_shifted,
    substituted,
    cholesky_grown,
    base,
    full_rank,
    lstsq_again,
    least_square,
    squared_residual,
    gram_squares,
    gram_gradient,
    gram_sum,
    gram_bordered,
    gram_vector,
    gram_part,
    gram_step,
)
"""Functions that a program defines when it calls them (`lima.spelled`)."""

NEEDS = {
    "solve_shifted": "shifted_values",
    "inv_shifted": "shifted_values",
    "cholesky_grown": "substituted",
    "lstsq_again": "full_rank",
    "squared_residual": "least_square",
    "gram_squares": "squared_residual",
    "gram_gradient": "gram_squares",
    "gram_sum": "gram_gradient",
}
"""Those that another one calls."""

TYPES = re.compile(r": (Any|bool|str|int|float|tuple\[int, \.\.\.\])(?=\s*[,)=])| -> (Any|bool)")


def helper_text(function: Any) -> str:
    """The source of a helper, as it stands here but for the types."""
    return "\n\n" + TYPES.sub("", inspect.getsource(function))
