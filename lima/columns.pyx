# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Spread of the columns of a matrix, where NumPy writes and reads the deviations three times over.

`var` and `std` take a matrix in C order, `ddof` and whether the axis stays, and return what NumPy's
function of that name returns along the first axis, bit for bit: differences, squares and sums are
taken in NumPy's order, row by row, only without the array of deviations in between. Or None, and
NumPy shall do it: another memory order or dtype, no degrees of freedom, and results that are not
finite, of which NumPy warns.

There is no twin in Python but NumPy itself: without this module, its functions run.
"""

import numpy as np

cimport numpy as cnp
from libc.math cimport isfinite

cnp.import_array()

ctypedef fused real:
    double
    float


cdef bint _squares(
    const real *x, const real *mean, real *total, cnp.npy_intp rows, cnp.npy_intp columns
) noexcept nogil:
    """Sums over the rows of the squared differences; whether all of them are finite."""
    cdef cnp.npy_intp row, k
    cdef real away
    cdef bint finite = True
    for k in range(columns):
        away = x[k] - mean[k]
        total[k] = away * away
    for row in range(1, rows):
        x += columns
        for k in range(columns):
            away = x[k] - mean[k]
            total[k] += away * away
    for k in range(columns):
        finite &= isfinite(total[k]) != 0
    return finite


def var(cnp.ndarray a, bint keepdims, ddof=0):
    if a.ndim != 2 or not cnp.PyArray_ISCARRAY_RO(a) or cnp.PyArray_SIZE(a) == 0:
        return None
    if a.shape[1] == 1:  # a vector to NumPy, which it adds up by pairs
        return None
    cdef int kind = cnp.PyArray_TYPE(a)
    cdef cnp.npy_intp rows = a.shape[0], columns = a.shape[1]
    cdef cnp.ndarray mean, total
    cdef void *x = cnp.PyArray_DATA(a)
    cdef bint finite
    if kind != cnp.NPY_DOUBLE and kind != cnp.NPY_FLOAT or not rows - ddof > 0:
        return None
    if np.geterr()["under"] != "ignore":  # NumPy would tell of squares that vanish
        return None
    count = np.intp(rows)
    with np.errstate(all="ignore"):
        mean = np.add.reduce(a, axis=0, keepdims=keepdims)
        np.true_divide(mean, count, out=mean, casting="unsafe")
        total = np.empty_like(mean)
        with nogil:
            if kind == cnp.NPY_DOUBLE:
                finite = _squares[double](
                    <double *>x, <double *>cnp.PyArray_DATA(mean),
                    <double *>cnp.PyArray_DATA(total), rows, columns)
            else:
                finite = _squares[float](
                    <float *>x, <float *>cnp.PyArray_DATA(mean),
                    <float *>cnp.PyArray_DATA(total), rows, columns)
        if not finite:
            return None
        np.true_divide(total, np.maximum(count - ddof, 0), out=total, casting="unsafe")
    return total


def std(cnp.ndarray a, bint keepdims, ddof=0):
    found = var(a, keepdims, ddof)
    return None if found is None else np.sqrt(found, out=found)


def _spreads_as_numpy():
    """Whether these are NumPy's bits here; how it goes about a variance is not documented."""
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        for columns in (2, 3, 7, 64, 300):
            a = (rng.standard_normal((61, columns)) * 10.0 ** rng.integers(-6, 6)).astype(dtype)
            for ddof in (0, 1):
                wanted = np.var(a, axis=0, ddof=ddof)
                if var(a, False, ddof).tobytes() != wanted.tobytes():
                    return False
    return True


KERNELS = {"var": var, "std": std} if _spreads_as_numpy() else {}
"""The reductions, by the name of NumPy's function."""
