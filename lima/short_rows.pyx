# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reductions along short rows, where NumPy spends most of the time on starting each row.

Every function takes an array and whether the reduced axis stays, and returns what NumPy's function
of that name returns along the last axis, bit for bit; or None, and NumPy shall do it: long rows,
another memory order or dtype, and rows in which NaN, infinity or zeros of both signs make bits or
warnings depend on how NumPy goes about it.

There is no twin in Python but NumPy itself: without this module, its functions run.
"""

import numpy as np

cimport numpy as cnp
from libc.math cimport isfinite, signbit

cnp.import_array()

ctypedef fused real:
    double
    float

ctypedef fused number:
    double
    float
    cnp.int64_t
    cnp.int32_t

LONGEST = 12
"""Elements of a row up to which this is faster than NumPy, whose loops need longer ones to pay."""


cdef bint _is_short(cnp.ndarray a):
    return a.ndim >= 2 and cnp.PyArray_ISCARRAY_RO(a) and 1 < a.shape[a.ndim - 1] <= LONGEST


cdef cnp.ndarray _empty(cnp.ndarray a, bint keepdims, object dtype):
    cdef tuple shape = (<object>a).shape[:-1]
    return np.empty((*shape, 1) if keepdims else shape, dtype)


# --------------------------------------------------------------------------- places of extremes


cdef void _places(
    const number *x, cnp.npy_intp *place, cnp.npy_intp rows, cnp.npy_intp length, bint least
) noexcept nogil:
    cdef cnp.npy_intp row, k, found
    cdef number best, item
    cdef bint nan
    for row in range(rows):
        best = x[0]
        found = 0
        nan = best != best
        if least:
            for k in range(1, length):
                item = x[k]
                nan |= item != item
                found = k if item < best else found
                best = item if item < best else best
        else:
            for k in range(1, length):
                item = x[k]
                nan |= item != item
                found = k if item > best else found
                best = item if item > best else best
        if nan:  # the first one is the extreme
            found = 0
            while x[found] == x[found]:
                found += 1
        place[row] = found
        x += length


cdef object _place(cnp.ndarray a, bint keepdims, bint least):
    if not _is_short(a):
        return None
    cdef int kind = cnp.PyArray_TYPE(a)
    cdef cnp.npy_intp length = a.shape[a.ndim - 1]
    cdef cnp.npy_intp rows = cnp.PyArray_SIZE(a) // length
    cdef cnp.ndarray found = _empty(a, keepdims, np.intp)
    cdef cnp.npy_intp *place = <cnp.npy_intp *>cnp.PyArray_DATA(found)
    cdef void *x = cnp.PyArray_DATA(a)
    if kind == cnp.NPY_DOUBLE:
        with nogil:
            _places[double](<double *>x, place, rows, length, least)
    elif kind == cnp.NPY_FLOAT:
        with nogil:
            _places[float](<float *>x, place, rows, length, least)
    elif kind == cnp.NPY_INT64:
        with nogil:
            _places[cnp.int64_t](<cnp.int64_t *>x, place, rows, length, least)
    elif kind == cnp.NPY_INT32:
        with nogil:
            _places[cnp.int32_t](<cnp.int32_t *>x, place, rows, length, least)
    else:
        return None
    return found


def argmax(cnp.ndarray a, bint keepdims):
    return _place(a, keepdims, False)


def argmin(cnp.ndarray a, bint keepdims):
    return _place(a, keepdims, True)


# --------------------------------------------------------------------------- extremes


cdef bint _extremes(
    const real *x, real *out, cnp.npy_intp rows, cnp.npy_intp length, bint least
) noexcept nogil:
    """False where NaN, or zeros of both signs as the extreme, leave the bits to NumPy."""
    cdef cnp.npy_intp row, k
    cdef real best, item
    cdef bint nan
    for row in range(rows):
        best = x[0]
        nan = best != best
        if least:
            for k in range(1, length):
                item = x[k]
                nan |= item != item
                best = item if item < best else best
        else:
            for k in range(1, length):
                item = x[k]
                nan |= item != item
                best = item if item > best else best
        if nan:
            return False
        if best == 0:
            for k in range(length):
                if x[k] == 0 and (signbit(x[k]) != 0) != (signbit(best) != 0):
                    return False
        out[row] = best
        x += length
    return True


cdef object _extreme(cnp.ndarray a, bint keepdims, bint least):
    if not _is_short(a):
        return None
    cdef int kind = cnp.PyArray_TYPE(a)
    if kind != cnp.NPY_DOUBLE and kind != cnp.NPY_FLOAT:
        return None
    cdef cnp.npy_intp length = a.shape[a.ndim - 1]
    cdef cnp.npy_intp rows = cnp.PyArray_SIZE(a) // length
    cdef cnp.ndarray found = _empty(a, keepdims, a.dtype)
    cdef void *out = cnp.PyArray_DATA(found)
    cdef void *x = cnp.PyArray_DATA(a)
    cdef bint done
    with nogil:
        if kind == cnp.NPY_DOUBLE:
            done = _extremes[double](<double *>x, <double *>out, rows, length, least)
        else:
            done = _extremes[float](<float *>x, <float *>out, rows, length, least)
    return found if done else None


def max(cnp.ndarray a, bint keepdims):
    return _extreme(a, keepdims, False)


def min(cnp.ndarray a, bint keepdims):
    return _extreme(a, keepdims, True)


# --------------------------------------------------------------------------- sums


cdef bint _sums(const real *x, real *out, cnp.npy_intp rows, cnp.npy_intp length) noexcept nogil:
    """In the order in which NumPy adds: one after the other, or eight at once by pairs."""
    cdef cnp.npy_intp row, k
    cdef real total
    for row in range(rows):
        if length < 8:
            total = x[0]
            for k in range(1, length):
                total += x[k]
        else:
            total = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]))
            for k in range(8, length):
                total += x[k]
        if not isfinite(total) or (total == 0 and signbit(total)):
            return False
        out[row] = total
        x += length
    return True


def sum(cnp.ndarray a, bint keepdims):
    if not _is_short(a):
        return None
    cdef int kind = cnp.PyArray_TYPE(a)
    if kind != cnp.NPY_DOUBLE and kind != cnp.NPY_FLOAT:
        return None
    cdef cnp.npy_intp length = a.shape[a.ndim - 1]
    cdef cnp.npy_intp rows = cnp.PyArray_SIZE(a) // length
    cdef cnp.ndarray found = _empty(a, keepdims, a.dtype)
    cdef void *out = cnp.PyArray_DATA(found)
    cdef void *x = cnp.PyArray_DATA(a)
    cdef bint done
    with nogil:
        if kind == cnp.NPY_DOUBLE:
            done = _sums[double](<double *>x, <double *>out, rows, length)
        else:
            done = _sums[float](<float *>x, <float *>out, rows, length)
    return found if done else None


def mean(cnp.ndarray a, bint keepdims):
    found = sum(a, keepdims)
    return None if found is None else np.true_divide(found, a.shape[a.ndim - 1], out=found)


# --------------------------------------------------------------------------- trust


def _adds_as_numpy():
    """Whether sums have NumPy's bits here; its order of adding is not documented."""
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        for length in range(2, LONGEST + 1):
            a = (rng.standard_normal((64, length)) * 10.0 ** rng.integers(-6, 6)).astype(dtype)
            if sum(a, False).tobytes() != np.add.reduce(a, axis=1).tobytes():
                return False
    return True


KERNELS = {"argmax": argmax, "argmin": argmin, "max": max, "min": min}
"""The reductions, by the name of NumPy's function."""

if _adds_as_numpy():
    KERNELS.update(sum=sum, mean=mean)
