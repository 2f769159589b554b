"""The rule of weighted products, X' diag(w) Y, by blocks of rows whose scaled rows stay in a cache.

`X.T @ (w[:, None] * X)` writes a scaled copy of X and reads it again, which takes as long as the
product itself where X has few columns: iteratively reweighted least squares, Hessians, covariances
of mixtures. Block by block only X is read (reference: section 2.4, A8): by BLAS, or for up to 64
columns by a kernel (`lima.narrow`), which makes X as it goes where X waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima import cost
from lima.node import Spec
from lima.op import FUSES, Kind, Op, op
from lima.ops.weighted import weighted
from lima.pattern import ROUNDING, Declined, Offer, Rule

if FUSES:
    from lima import narrow

ROOM = 1 << 17
"""Bytes of scaled rows that are multiplied at a time."""

FEWEST = 128
"""Rows of a block at least: BLAS wants some."""

LEAST = 3 << 19
"""Bytes of a scaled matrix from which not writing it pays."""

WIDEST = 256
"""Columns beyond which the product takes most of the time, and BLAS does it best as a whole."""

PART = 0.4
"""What of the plain operation is saved, as measured."""


def weighted_product(x: Any, w: Any, y: Any, *, rows: int, twice: bool) -> Any:
    """X' diag(w) Y, by blocks of so many rows; `twice`: of the squares of w, where Y is X."""
    w = w.reshape(-1, 1)
    total = np.zeros((x.shape[1], y.shape[1]), y.dtype)
    part = np.empty_like(total)
    room = np.empty((rows, y.shape[1]), y.dtype)
    for start in range(0, len(x), rows):
        lines = y[start : start + rows]
        scaled = np.multiply(lines, w[start : start + rows], out=room[: len(lines)])
        left = scaled if twice else x[start : start + rows]
        total += np.matmul(left.T, scaled, out=part)
    return total


def _text(inputs: list[str], params: dict[str, str]) -> str:
    given = ", ".join(f"{name}={params[name]}" for name in ("rows", "twice"))
    return f"weighted_product({', '.join(inputs)}, {given})"


op(
    "matmul.weighted",
    weighted_product,
    Kind.EFFECT,
    operands="x w y",
    calls=(),
    signature="x, w, y, rows, twice",
    source=_text,
)


def weighted_sums(x: Any, w: Any, y: Any, *, twice: bool) -> Any:
    """X' diag(w) Y as `lima.narrow` adds it up; `twice`: of the squares of w, where Y is X."""
    scaled = y * w.reshape(-1, 1)
    left = scaled if twice else x
    size = max(8192, (len(x) + 65535) // 65536 * 1024)
    total = None
    for start in range(0, len(x), size):
        stop = min(start + size, len(x))
        found = np.zeros((x.shape[1], y.shape[1]), y.dtype)
        for first in range(start, stop, 256):
            part = np.zeros_like(found)
            for i in range(first, min(first + 256, stop)):
                part += left[i, :, None] * scaled[i]
            found += part
        total = found if total is None else total + found
    return total


def _sums(x: Any, w: Any, y: Any, *, twice: bool, threads: int = 1) -> Any:
    if not (FUSES and narrow.lies(x) and narrow.lies(y)):
        return weighted_sums(x, w, y, twice=twice)
    other = None if y is x or twice else y
    return narrow.gram(None, -1, x, w.reshape(-1), other, x.shape[1], twice, threads)[0]


op(
    "matmul.weighted_sums",
    _sums,
    Kind.EFFECT,
    operands="x w y",
    calls=(),
    signature="x, w, y, twice",
    threaded=True,
    source=lambda inputs, params: f"weighted_sums({', '.join(inputs)}, twice={params['twice']})",
)

HELPERS = (weighted_product, weighted_sums)
"""Functions that a program defines when it calls them (`lima.spelled`)."""


def plan(p: Any, rule: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """X' diag(w) Y without writing diag(w) Y."""
    if len(inputs) != 2:
        return None
    a, b = inputs
    if not (hasattr(a, "meta") and hasattr(b, "meta")) or (
        a.data is not None and b.data is not None
    ):
        return None
    if not len(a.meta[0]) == len(b.meta[0]) == 2 or a.meta[1].char not in "fd":
        return None
    (n, m), columns, dtype = a.meta[0], b.meta[0][1], a.meta[1]
    if b.meta[1] != dtype or max(n, columns) > WIDEST:
        return None
    if m * columns * dtype.itemsize < LEAST:
        return None
    found = weighted(p, a, b)
    if found is None:
        return None
    direct = float(p.product(a, b) + cost.build((m, columns), dtype.itemsize))

    def make() -> Any:
        if FUSES and max(n, columns) <= narrow.MOST:
            made = p.weighted(found.x, found.w, found.y, found.twice)
            if made is not None:
                return made
        x, y = p.data(found.x), p.data(found.y)
        if not (x.flags.c_contiguous and y.flags.c_contiguous):
            raise Declined
        rows = ROOM * p.session.threads // (columns * dtype.itemsize)
        rows = min(max(rows // FEWEST, 1) * FEWEST, m)
        return p.run("matmul.weighted", found.x, found.w, found.y, rows=rows, twice=found.twice)

    saved = PART * direct - cost.DERIVATION
    return Offer(rule, ((n, columns), dtype), make, saved, direct, direct - saved)


IN_BLOCKS = Rule(
    name="weighted-product-in-blocks",
    equation="X' diag(w) Y = sum over blocks of rows B of X[B]' (w[B] Y[B])",
    saves="writing the scaled matrix",
    exactness=ROUNDING,
    plan=plan,
    example=(
        "def f(X, d):\n"
        "    X = np.tile(X, (4, 1))\n"
        "    w = np.linspace(1.0, 2.0, len(X))\n"
        "    return w, X.T @ (w[:, None] * X)"
    ),
    structured=False,
)
