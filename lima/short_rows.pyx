# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Places of extremes along short rows, where NumPy spends most of the time on starting each row.

There is no twin in Python but NumPy itself: without this module, its functions run.
"""

import numpy as np

cimport numpy as cnp

cnp.import_array()

ctypedef fused number:
    double
    float
    cnp.int64_t
    cnp.int32_t

LONGEST = 12
"""Elements of a row up to which this is faster than NumPy, whose loops need longer ones to pay."""


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


def places(cnp.ndarray a, bint least):
    """`a.argmin(axis=-1)` if `least`, else `a.argmax(axis=-1)`, of a C-ordered array.

    None where NumPy shall do it: long rows, few of them, another memory order or dtype.
    """
    cdef cnp.npy_intp length, rows
    cdef cnp.ndarray found
    cdef int kind = cnp.PyArray_TYPE(a)
    if a.ndim < 2 or not cnp.PyArray_ISCARRAY_RO(a):
        return None
    length = a.shape[a.ndim - 1]
    if not 0 < length <= LONGEST:
        return None
    rows = cnp.PyArray_SIZE(a) // length
    found = np.empty((<object>a).shape[:-1], np.intp)
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
