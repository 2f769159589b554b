"""From sizes to seconds: what this machine needs, measured once per process in a few milliseconds.

Only the ratio of two estimates decides anything, so a factor of two does no harm.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

CALL = 2e-6
"""Seconds that the smallest NumPy call takes."""

AT_HAND = 4 * CALL
"""Seconds of cutting a result out of what is there; nothing better is looked for."""

DERIVATION = 30e-6
"""Seconds that finding and carrying out a derivation takes besides its operations."""

SKINNY = 12
"""A product of tall matrices with few columns takes as long as if they had so many more."""

RUN = 6e-9
"""Seconds for each piece of contiguous memory that a concatenation copies."""

NEW_PAGES = 0.5e-9
"""Seconds a byte that memory costs which the system hands out anew, page by page."""

REUSED = 1 << 24
"""Bytes up to which an array mostly gets memory that was used before."""


class Machine:
    """Speeds: `flops` of a matrix product, `stream` bytes read, `fresh` bytes written, a second."""

    __slots__ = ("flops", "fresh", "stream")

    def __init__(self, flops: float, stream: float, fresh: float) -> None:
        self.flops = flops
        self.stream = stream
        self.fresh = fresh


_machine: Machine | None = None


def machine() -> Machine:
    """The speeds of this machine with the threads that BLAS has now."""
    global _machine
    if _machine is None:
        a = np.full((192, 192), 0.5)
        x = np.full(1 << 21, 0.5)  # 16 MB: more than caches hold
        product = _seconds(partial(np.matmul, a, a))
        read = _seconds(partial(np.matmul, x, x))
        write = _seconds(partial(np.add, x, x))
        _machine = Machine(2 * 192**3 / product, x.nbytes / read, x.nbytes / write)
    return _machine


def _seconds(run: Any) -> float:
    best = float("inf")
    for _ in range(3):
        start = perf_counter()
        run()
        best = min(best, perf_counter() - start)
    return max(best, 1e-7)


def product(m: int, k: int, n: int, itemsize: int, symmetric: bool = False) -> float:
    """Seconds of a product of an m x k and a k x n matrix; `symmetric`: of X' and X.

    >>> product(1000, 1000, 1000, 8) > product(1000, 1000, 10, 8)
    True
    """
    speed = machine()
    narrow, wide = min(m, n), max(m, n)
    work = 2.0 * k * wide * (narrow * (0.6 if symmetric else 1.0) + SKINNY) / speed.flops
    if narrow == 1:
        work = 0.0
    traffic = itemsize * (m * k + k * n * (not symmetric) + m * n) / speed.stream
    return CALL + max(work, traffic)


def build(shape: tuple[int, ...], itemsize: int, runs: int = 0) -> float:
    """Seconds of writing a new array, such as a sum, or a concatenation of so many runs."""
    nbytes: float = itemsize
    for n in shape:
        nbytes *= n
    pages = nbytes * NEW_PAGES if nbytes > REUSED else 0.0
    return CALL + nbytes / machine().fresh + runs * RUN + pages


def columns(shape: tuple[int, ...], dtype: Any, count: int) -> float:
    """Seconds of reading so many columns of a matrix that lies row by row: whole cache lines."""
    rows, width = shape
    itemsize: int = dtype.itemsize
    return rows * min(width * itemsize, count * LINE) / machine().stream


LINE = 64
"""Bytes that come from memory together."""
