# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reductions down the columns of a matrix, on several threads, and spreads in one pass.

`sum`, `mean`, `max`, `min`, `var` and `std` take a C-ordered array and whether the axis stays, and
return what NumPy's function of that name returns along the first axis, bit for bit: rows are taken
one after the other, by NumPy's own loops; threads share the columns. The deviations that `var`
squares are not written, where NumPy writes and reads them three times over. Or None, and NumPy
shall do it: another memory order or dtype, no degrees of freedom, and whatever NumPy warns of.

There is no twin in Python but NumPy itself: without this module, its functions run.
"""

from contextlib import suppress

import numpy as np

cimport numpy as cnp
from libc.math cimport isfinite
from numpy cimport npy_intp

from lima.loops cimport Loop, Work, do, even_piece, fold

from lima.loops import Loop

cnp.import_array()

ctypedef fused real:
    double
    float


cdef dict _loops = {}  # by function and dtype; None where there is none that serves


cdef object _loop(object function, object dtype):
    """What folds the rows of a matrix whose elements keep their dtype."""
    if (function, dtype) not in _loops:
        found = None
        if dtype.char in "dflLqQ" or function is not np.add and dtype.char in "bBhHiI":
            with suppress(LookupError):
                found = Loop(function, (dtype, dtype), dtype)
        _loops[function, dtype] = found
    return _loops[function, dtype]


cdef cnp.ndarray _folded(object function, cnp.ndarray a, bint keepdims, int threads):
    """The rows of `a`, folded by a universal function; None where NumPy shall do it."""
    cdef cnp.ndarray total
    cdef tuple shape = (<object>a).shape
    if a.ndim < 2 or not cnp.PyArray_ISCARRAY_RO(a):
        return None
    if cnp.PyArray_SIZE(a) <= a.shape[0]:  # empty, or a vector to NumPy, which it adds up by pairs
        return None
    loop = _loop(function, a.dtype)
    if loop is None:
        return None
    total = np.empty((1, *shape[1:]) if keepdims else shape[1:], a.dtype)
    return None if fold(loop, a, total, threads) else total


def sum(cnp.ndarray a, bint keepdims, int threads=1):
    return _folded(np.add, a, keepdims, threads)


def mean(cnp.ndarray a, bint keepdims, int threads=1):
    if cnp.PyArray_TYPE(a) not in (cnp.NPY_DOUBLE, cnp.NPY_FLOAT):
        return None
    total = _folded(np.add, a, keepdims, threads)
    if total is not None:
        np.true_divide(total, np.intp(a.shape[0]), out=total, casting="unsafe")
    return total


def max(cnp.ndarray a, bint keepdims, int threads=1):
    return _folded(np.maximum, a, keepdims, threads)


def min(cnp.ndarray a, bint keepdims, int threads=1):
    return _folded(np.minimum, a, keepdims, threads)


# --------------------------------------------------------------------------- spreads


cdef bint _square(Work *work, const real *x, const real *mean, real *total, npy_intp count) noexcept nogil:
    """Sums over the rows of the squared differences; whether all of them are finite."""
    cdef npy_intp row, k
    cdef real away
    cdef bint finite = True
    for k in range(count):
        away = x[k] - mean[k]
        total[k] = away * away
    for row in range(1, work.rows):
        x += work.size
        for k in range(count):
            away = x[k] - mean[k]
            total[k] += away * away
    for k in range(count):
        finite &= isfinite(total[k]) != 0
    return finite


cdef void _squares(Work *work, char *scratch, npy_intp start, npy_intp stop) noexcept nogil:
    cdef npy_intp place = start * work.itemsize, count = stop - start
    cdef char *x = work.matrix + place
    cdef bint finite
    if work.itemsize == sizeof(double):
        finite = _square[double](
            work, <double *>x, <double *>(work.mean + place), <double *>(work.total + place), count)
    else:
        finite = _square[float](
            work, <float *>x, <float *>(work.mean + place), <float *>(work.total + place), count)
    if not finite:
        work.odd = 1


def var(cnp.ndarray a, bint keepdims, ddof=0, int threads=1):
    cdef cnp.ndarray middle, total
    cdef Work work
    if a.ndim < 2 or not a.shape[0] - ddof > 0 or cnp.PyArray_TYPE(a) not in (cnp.NPY_DOUBLE, cnp.NPY_FLOAT):
        return None
    if np.geterr()["under"] != "ignore":  # NumPy would tell of squares that vanish
        return None
    count = np.intp(a.shape[0])
    with np.errstate(all="ignore"):
        middle = mean(a, keepdims, threads)
        if middle is None:
            return None
        total = np.empty_like(middle)
        work.part = _squares
        work.matrix = <char *>cnp.PyArray_DATA(a)
        work.mean = <char *>cnp.PyArray_DATA(middle)
        work.total = <char *>cnp.PyArray_DATA(total)
        work.itemsize = cnp.PyArray_ITEMSIZE(a)
        work.rows = a.shape[0]
        work.size = cnp.PyArray_SIZE(total)
        work.piece = even_piece(work.size, threads, 8)
        work.bytes = 1
        work.odd = 0
        do(&work, cnp.PyArray_SIZE(a), threads)
        if work.odd:
            return None
        np.true_divide(total, np.maximum(count - ddof, 0), out=total, casting="unsafe")
    return total


def std(cnp.ndarray a, bint keepdims, ddof=0, int threads=1):
    found = var(a, keepdims, ddof, threads)
    return None if found is None else np.sqrt(found, out=found)


# --------------------------------------------------------------------------- the table


def _agrees(object own, object numpy):
    """Whether a reduction has NumPy's bits here; how NumPy goes about one is not documented."""
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        for shape in ((61, 2), (61, 3), (61, 7), (61, 64), (61, 300), (9, 5, 7)):
            a = (rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 6)).astype(dtype)
            a[:, 0] = -0.0
            if own(a, False).tobytes() != numpy(a, axis=0).tobytes():
                return False
    return True


_PAIRS = ((sum, np.sum), (mean, np.mean), (max, np.max), (min, np.min), (var, np.var), (std, np.std))
KERNELS = {numpy.__name__: own for own, numpy in _PAIRS if _agrees(own, numpy)}
"""The reductions, by the name of NumPy's function."""
