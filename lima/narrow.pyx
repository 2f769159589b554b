# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Products of many rows with a small matrix, and sums over rows of small products, in one pass.

X V has as many rows as X and few columns, and often a program wants of it no more than which column
is the least of each row, or a sum along it. A block of rows is multiplied with V, taken through the
steps that wait for the product, and reduced, while it is in the cache; blocks are shared by threads.
X' diag(w) Y and the sums of rows by label read X once, and write nothing in between.

The order of addition follows from the sizes alone, whatever the threads, blocks or processor:

* X V: the products of a row one after the other.
* X' diag(w) Y: `CHUNK` rows one after the other, each of w Y; chunk after chunk, and the sum of
  each `portion` of rows by itself.
* Sums by label: the rows of a portion one after the other, portion after portion.

`lima.ops.by_rows`, `lima.ops.in_blocks` and `lima.ops.labelled` have twins in NumPy, with the same
bits. Reductions along rows have the bits of NumPy's, or decline.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset
from numpy cimport npy_intp

from lima.loops cimport Program, Slot, Work, do, errors, note, run_blocks
from lima.tall import portion

cnp.import_array()

cdef extern from "<fenv.h>" nogil:
    int FE_ALL_EXCEPT, FE_DIVBYZERO, FE_INVALID, FE_OVERFLOW, FE_UNDERFLOW
    int feclearexcept(int)
    int fetestexcept(int)

cdef extern from "lanes.h":
    pass

cdef extern from *:
    """
    #include <math.h>
    #include <string.h>
    #ifdef __GNUC__
    #define LIMA_MORE(s, e, y) s += (e) * (y)
    #else
    #define LIMA_MORE(s, x, y) \\
        { int k_; for (k_ = 0; k_ < (int)(64 / sizeof(x)); k_++) s.e[k_] += (x) * (y).e[k_]; }
    #endif
    #define LIMA_ZERO(s) memset(&s, 0, 64)
    #define LIMA_AT(REAL, p) (*(lima_lanes_##REAL *)(p))
    #define LIMA_FROM(REAL, p) (*(const lima_lanes_##REAL *)(p))
    #define LIMA_NARROW(REAL) \\
    LIMA_LANES(REAL) \\
    /* z[i, j] = sum over p of x[i, p] v[p, j]; rows of x are `line` elements apart, rows of v \\
       `padded`, those of z `width`. What stands after a row of z is written before the next one. */ \\
    LIMA_CLONES static void lima_rows_##REAL( \\
        const REAL *x, npy_intp rows, npy_intp columns, npy_intp line, \\
        const REAL *v, npy_intp padded, npy_intp width, REAL *z) { \\
        const npy_intp lanes = 64 / sizeof(REAL); npy_intp i = 0, p, left; \\
        for (; i + 4 <= rows; i += 4) { \\
            const REAL *a = x + i * line, *b = a + line, *c = b + line, *d = c + line; \\
            REAL *to = z + i * width; \\
            lima_lanes_##REAL a0, b0, c0, d0, a1, b1, c1, d1; \\
            left = padded; \\
            if (padded / lanes & 1) { \\
                left -= lanes; \\
                LIMA_ZERO(a0); LIMA_ZERO(b0); LIMA_ZERO(c0); LIMA_ZERO(d0); \\
                for (p = 0; p < columns; p++) { \\
                    const lima_lanes_##REAL y = LIMA_FROM(REAL, v + p * padded + left); \\
                    LIMA_MORE(a0, a[p], y); LIMA_MORE(b0, b[p], y); \\
                    LIMA_MORE(c0, c[p], y); LIMA_MORE(d0, d[p], y); } \\
                LIMA_AT(REAL, to + left) = a0; LIMA_AT(REAL, to + width + left) = b0; \\
                LIMA_AT(REAL, to + 2 * width + left) = c0; LIMA_AT(REAL, to + 3 * width + left) = d0; } \\
            while (left) { \\
                left -= 2 * lanes; \\
                LIMA_ZERO(a0); LIMA_ZERO(b0); LIMA_ZERO(c0); LIMA_ZERO(d0); \\
                LIMA_ZERO(a1); LIMA_ZERO(b1); LIMA_ZERO(c1); LIMA_ZERO(d1); \\
                for (p = 0; p < columns; p++) { \\
                    const REAL *f = v + p * padded + left; \\
                    const lima_lanes_##REAL y = LIMA_FROM(REAL, f), w = LIMA_FROM(REAL, f + lanes); \\
                    LIMA_MORE(a0, a[p], y); LIMA_MORE(b0, b[p], y); \\
                    LIMA_MORE(c0, c[p], y); LIMA_MORE(d0, d[p], y); \\
                    LIMA_MORE(a1, a[p], w); LIMA_MORE(b1, b[p], w); \\
                    LIMA_MORE(c1, c[p], w); LIMA_MORE(d1, d[p], w); } \\
                LIMA_AT(REAL, to + left) = a0; LIMA_AT(REAL, to + left + lanes) = a1; \\
                LIMA_AT(REAL, to + width + left) = b0; LIMA_AT(REAL, to + width + left + lanes) = b1; \\
                LIMA_AT(REAL, to + 2 * width + left) = c0; \\
                LIMA_AT(REAL, to + 2 * width + left + lanes) = c1; \\
                LIMA_AT(REAL, to + 3 * width + left) = d0; \\
                LIMA_AT(REAL, to + 3 * width + left + lanes) = d1; } } \\
        for (; i < rows; i++) { \\
            const REAL *a = x + i * line; lima_lanes_##REAL s; \\
            for (left = padded; left;) { \\
                left -= lanes; LIMA_ZERO(s); \\
                for (p = 0; p < columns; p++) LIMA_MORE(s, a[p], LIMA_FROM(REAL, v + p * padded + left)); \\
                LIMA_AT(REAL, z + i * width + left) = s; } } } \\
    /* out[p, j] += sum over i of x[i, p] y[i, j]; rows of x are `line` elements apart, those of \\
       y and out `padded`. */ \\
    LIMA_CLONES static void lima_gram_##REAL( \\
        const REAL *x, npy_intp rows, npy_intp columns, npy_intp line, \\
        const REAL *y, npy_intp padded, REAL *out) { \\
        const npy_intp lanes = 64 / sizeof(REAL); npy_intp i, p = 0, j; \\
        for (; p + 8 <= columns; p += 8) for (j = 0; j < padded; j += lanes) { \\
            lima_lanes_##REAL s0, s1, s2, s3, s4, s5, s6, s7; REAL *to = out + p * padded + j; \\
            LIMA_ZERO(s0); LIMA_ZERO(s1); LIMA_ZERO(s2); LIMA_ZERO(s3); \\
            LIMA_ZERO(s4); LIMA_ZERO(s5); LIMA_ZERO(s6); LIMA_ZERO(s7); \\
            for (i = 0; i < rows; i++) { \\
                const REAL *a = x + i * line + p; \\
                const lima_lanes_##REAL e = LIMA_FROM(REAL, y + i * padded + j); \\
                LIMA_MORE(s0, a[0], e); LIMA_MORE(s1, a[1], e); LIMA_MORE(s2, a[2], e); \\
                LIMA_MORE(s3, a[3], e); LIMA_MORE(s4, a[4], e); LIMA_MORE(s5, a[5], e); \\
                LIMA_MORE(s6, a[6], e); LIMA_MORE(s7, a[7], e); } \\
            LIMA_MORE(LIMA_AT(REAL, to), (REAL)1, s0); LIMA_MORE(LIMA_AT(REAL, to + padded), (REAL)1, s1); \\
            LIMA_MORE(LIMA_AT(REAL, to + 2 * padded), (REAL)1, s2); \\
            LIMA_MORE(LIMA_AT(REAL, to + 3 * padded), (REAL)1, s3); \\
            LIMA_MORE(LIMA_AT(REAL, to + 4 * padded), (REAL)1, s4); \\
            LIMA_MORE(LIMA_AT(REAL, to + 5 * padded), (REAL)1, s5); \\
            LIMA_MORE(LIMA_AT(REAL, to + 6 * padded), (REAL)1, s6); \\
            LIMA_MORE(LIMA_AT(REAL, to + 7 * padded), (REAL)1, s7); } \\
        for (; p < columns; p++) for (j = 0; j < padded; j += lanes) { \\
            lima_lanes_##REAL s; REAL *to = out + p * padded + j; \\
            LIMA_ZERO(s); \\
            for (i = 0; i < rows; i++) LIMA_MORE(s, x[i * line + p], LIMA_FROM(REAL, y + i * padded + j)); \\
            LIMA_MORE(LIMA_AT(REAL, to), (REAL)1, s); } } \\
    /* Sums of rows in NumPy's order: one after the other, or eight at once by pairs. */ \\
    LIMA_CLONES static void lima_totals_##REAL(const REAL *x, npy_intp rows, npy_intp width, REAL *out) { \\
        npy_intp i, j, k; const npy_intp whole = width / 8 * 8; \\
        for (i = 0; i < rows; i++, x += width) { \\
            REAL total; \\
            if (width < 8) { total = x[0]; for (j = 1; j < width; j++) total += x[j]; } \\
            else { \\
                REAL r[8]; \\
                for (k = 0; k < 8; k++) r[k] = x[k]; \\
                for (j = 8; j < whole; j += 8) for (k = 0; k < 8; k++) r[k] += x[j + k]; \\
                total = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7])); \\
                for (; j < width; j++) total += x[j]; } \\
            out[i] = (REAL)0 + total; } }
    /* The extreme of a row, its place, or both; whether the bits are a matter of NumPy's loops. */
    #define LIMA_EXTREME(REAL, PLACE, NAME, BEFORE) \\
    static int lima_##NAME##_of_##REAL(const REAL *x, npy_intp width, npy_intp *place, REAL *extreme) { \\
        REAL best = x[0]; npy_intp at = 0, j; int odd = 0; \\
        for (j = 0; j < width; j++) { \\
            if (x[j] != x[j]) { if (place) *place = j; return extreme != 0; } \\
            if (x[j] BEFORE best) { best = x[j]; at = j; } } \\
        if (best == 0 && extreme) for (j = 0; j < width; j++) \\
            odd |= x[j] == 0 && !signbit(x[j]) != !signbit(best); \\
        if (place) *place = at; \\
        if (extreme) *extreme = best; \\
        return odd; }
    #if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12)
    #define LIMA_PAIR(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
    /* Eight rows at a time, whose elements are turned so that one vector has those of a column. */
    #define LIMA_TURNED(REAL, PLACE) \\
    typedef REAL lima_eight_##REAL __attribute__((vector_size(8 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias)); \\
    typedef PLACE lima_eight_at_##REAL __attribute__((vector_size(8 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias)); \\
    static inline __attribute__((always_inline)) void lima_turn_##REAL( \\
        const REAL *x, npy_intp width, lima_eight_##REAL *to) { \\
        typedef lima_eight_##REAL V; typedef const lima_eight_##REAL C; \\
        C a0 = *(C *)x, a1 = *(C *)(x + width), a2 = *(C *)(x + 2 * width), a3 = *(C *)(x + 3 * width); \\
        C a4 = *(C *)(x + 4 * width), a5 = *(C *)(x + 5 * width); \\
        C a6 = *(C *)(x + 6 * width), a7 = *(C *)(x + 7 * width); \\
        C b0 = LIMA_PAIR(a0, a1, 0, 8, 2, 10, 4, 12, 6, 14), b1 = LIMA_PAIR(a0, a1, 1, 9, 3, 11, 5, 13, 7, 15); \\
        C b2 = LIMA_PAIR(a2, a3, 0, 8, 2, 10, 4, 12, 6, 14), b3 = LIMA_PAIR(a2, a3, 1, 9, 3, 11, 5, 13, 7, 15); \\
        C b4 = LIMA_PAIR(a4, a5, 0, 8, 2, 10, 4, 12, 6, 14), b5 = LIMA_PAIR(a4, a5, 1, 9, 3, 11, 5, 13, 7, 15); \\
        C b6 = LIMA_PAIR(a6, a7, 0, 8, 2, 10, 4, 12, 6, 14), b7 = LIMA_PAIR(a6, a7, 1, 9, 3, 11, 5, 13, 7, 15); \\
        C c0 = LIMA_PAIR(b0, b2, 0, 1, 8, 9, 4, 5, 12, 13), c2 = LIMA_PAIR(b0, b2, 2, 3, 10, 11, 6, 7, 14, 15); \\
        C c1 = LIMA_PAIR(b1, b3, 0, 1, 8, 9, 4, 5, 12, 13), c3 = LIMA_PAIR(b1, b3, 2, 3, 10, 11, 6, 7, 14, 15); \\
        C c4 = LIMA_PAIR(b4, b6, 0, 1, 8, 9, 4, 5, 12, 13), c6 = LIMA_PAIR(b4, b6, 2, 3, 10, 11, 6, 7, 14, 15); \\
        C c5 = LIMA_PAIR(b5, b7, 0, 1, 8, 9, 4, 5, 12, 13), c7 = LIMA_PAIR(b5, b7, 2, 3, 10, 11, 6, 7, 14, 15); \\
        V *t = to; \\
        t[0] = LIMA_PAIR(c0, c4, 0, 1, 2, 3, 8, 9, 10, 11); t[4] = LIMA_PAIR(c0, c4, 4, 5, 6, 7, 12, 13, 14, 15); \\
        t[1] = LIMA_PAIR(c1, c5, 0, 1, 2, 3, 8, 9, 10, 11); t[5] = LIMA_PAIR(c1, c5, 4, 5, 6, 7, 12, 13, 14, 15); \\
        t[2] = LIMA_PAIR(c2, c6, 0, 1, 2, 3, 8, 9, 10, 11); t[6] = LIMA_PAIR(c2, c6, 4, 5, 6, 7, 12, 13, 14, 15); \\
        t[3] = LIMA_PAIR(c3, c7, 0, 1, 2, 3, 8, 9, 10, 11); t[7] = LIMA_PAIR(c3, c7, 4, 5, 6, 7, 12, 13, 14, 15); }
    #define LIMA_EXTREMES(REAL, PLACE, NAME, BEFORE) \\
    LIMA_EXTREME(REAL, PLACE, NAME, BEFORE) \\
    LIMA_CLONES static int lima_##NAME##_##REAL( \\
        const REAL *x, npy_intp rows, npy_intp width, npy_intp *place, REAL *extreme) { \\
        npy_intp i = 0, j; int q, r, odd = 0; \\
        for (; i + 8 <= rows; i += 8, x += 8 * width) { \\
            lima_eight_##REAL t[8], best = {x[0], x[width], x[2 * width], x[3 * width], \\
                x[4 * width], x[5 * width], x[6 * width], x[7 * width]}; \\
            lima_eight_at_##REAL at = {0}, nan = {0}, zero; PLACE any = 0; \\
            for (j = 0; j < width; j += 8) { \\
                const int n = width - j < 8 ? (int)(width - j) : 8; \\
                lima_turn_##REAL(x + j, width, t); \\
                for (q = 0; q < n; q++) { \\
                    const lima_eight_at_##REAL take = t[q] BEFORE best; \\
                    nan |= t[q] != t[q]; \\
                    best = (lima_eight_##REAL)((take & (lima_eight_at_##REAL)t[q]) | (~take & (lima_eight_at_##REAL)best)); \\
                    at = (take & (PLACE)(j + q)) | (~take & at); } } \\
            zero = nan | (best == 0); \\
            for (r = 0; r < 8; r++) any |= zero[r]; \\
            if (any) for (r = 0; r < 8; r++) \\
                odd |= lima_##NAME##_of_##REAL( \\
                    x + r * width, width, place ? place + i + r : 0, extreme ? extreme + i + r : 0); \\
            else { \\
                if (place) for (r = 0; r < 8; r++) place[i + r] = at[r]; \\
                if (extreme) *(lima_eight_##REAL *)(extreme + i) = best; } } \\
        for (; i < rows; i++, x += width) \\
            odd |= lima_##NAME##_of_##REAL(x, width, place ? place + i : 0, extreme ? extreme + i : 0); \\
        return odd; }
    LIMA_TURNED(double, npy_int64)
    LIMA_TURNED(float, npy_int32)
    #else
    #define LIMA_EXTREMES(REAL, PLACE, NAME, BEFORE) \\
    LIMA_EXTREME(REAL, PLACE, NAME, BEFORE) \\
    static int lima_##NAME##_##REAL( \\
        const REAL *x, npy_intp rows, npy_intp width, npy_intp *place, REAL *extreme) { \\
        npy_intp i; int odd = 0; \\
        for (i = 0; i < rows; i++, x += width) \\
            odd |= lima_##NAME##_of_##REAL(x, width, place ? place + i : 0, extreme ? extreme + i : 0); \\
        return odd; }
    #endif
    LIMA_NARROW(double)
    LIMA_NARROW(float)
    LIMA_EXTREMES(double, npy_int64, least, <)
    LIMA_EXTREMES(double, npy_int64, most, >)
    LIMA_EXTREMES(float, npy_int32, least, <)
    LIMA_EXTREMES(float, npy_int32, most, >)
    """
    void lima_rows_double(const double *, npy_intp, npy_intp, npy_intp, const double *, npy_intp, npy_intp, double *) nogil
    void lima_rows_float(const float *, npy_intp, npy_intp, npy_intp, const float *, npy_intp, npy_intp, float *) nogil
    void lima_gram_double(const double *, npy_intp, npy_intp, npy_intp, const double *, npy_intp, double *) nogil
    void lima_gram_float(const float *, npy_intp, npy_intp, npy_intp, const float *, npy_intp, float *) nogil
    void lima_totals_double(const double *, npy_intp, npy_intp, double *) nogil
    void lima_totals_float(const float *, npy_intp, npy_intp, float *) nogil
    bint lima_least_double(const double *, npy_intp, npy_intp, npy_intp *, double *) nogil
    bint lima_most_double(const double *, npy_intp, npy_intp, npy_intp *, double *) nogil
    bint lima_least_float(const float *, npy_intp, npy_intp, npy_intp *, float *) nogil
    bint lima_most_float(const float *, npy_intp, npy_intp, npy_intp *, float *) nogil

ctypedef fused real:
    double
    float

MOST = 64
"""Columns of either factor of a product."""

WIDEST = 128
"""Elements up to which NumPy adds up a row in one go."""

cdef npy_intp ROOM = 1 << 17
"""Bytes of what is made of a block of rows."""

cdef npy_intp TURN = 64
"""Rows of a block are a multiple: a vector loop begins a turn there, as it does in the whole."""

cdef enum:
    KINDS = 4  # reductions of one pass
    CHUNK = 256  # rows whose products X' w Y are added up by themselves

cdef struct Asked:
    int kind  # of the function: 0 sum, 1 least, 2 most
    char *values  # where sums or extremes go, or NULL
    npy_intp *places  # where places of extremes go, or NULL

cdef struct Pass:
    Work *before  # what makes the rows that are multiplied, if anything is to be done
    Work *after  # what is made of the product, likewise
    int made, read, left  # slots: of these rows, of the product, and of what is reduced
    char *x  # the rows, where they are present
    char *v  # the small matrix, its rows padded; NULL where there is no product
    char *out  # where the product goes, if it is asked for itself
    npy_intp columns, line, width, padded, rows  # `rows` of a block
    size_t scratch  # bytes of scratch memory of the steps
    size_t room  # bytes of a block of what is multiplied
    int itemsize
    int nasked
    Asked asked[KINDS]


def takes(cnp.ndarray x, cnp.ndarray v):
    """Whether the kernels multiply such arrays: rows that lie close, one after the other."""
    return (
        lies(x) and fits(v) and cnp.PyArray_TYPE(x) == cnp.PyArray_TYPE(v)
        and v.shape[0] == x.shape[1]
    )


cpdef bint fits(cnp.ndarray v):
    """Whether this is a small matrix."""
    return (
        v.ndim == 2 and cnp.PyArray_TYPE(v) in (cnp.NPY_DOUBLE, cnp.NPY_FLOAT)
        and cnp.PyDataType_ISNOTSWAPPED(v.dtype)
        and 0 < v.shape[0] <= MOST and 0 < v.shape[1] <= MOST
    )


cpdef bint lies(cnp.ndarray x):
    """Whether these are rows that kernels read."""
    return (
        x.ndim == 2 and cnp.PyArray_TYPE(x) in (cnp.NPY_DOUBLE, cnp.NPY_FLOAT)
        and cnp.PyArray_ISALIGNED(x) and cnp.PyDataType_ISNOTSWAPPED(x.dtype)
        and x.shape[1] > 0 and x.strides[1] == x.itemsize
        and x.strides[0] >= x.shape[1] * x.itemsize and x.strides[0] % x.itemsize == 0
    )


def product(cnp.ndarray x, cnp.ndarray v, int threads=1):
    """X V, and the floating point errors that came up, as of `Program.run`."""
    cdef cnp.ndarray out = np.empty((x.shape[0], v.shape[1]), x.dtype)
    found = reduced(None, -1, x, v, None, -1, -1, v.shape[1], x.dtype, (), threads, out)
    return out, found[1]


def totals(cnp.ndarray x):
    """Sums along the rows of a C-ordered matrix, of float32 or float64."""
    cdef cnp.ndarray out = np.empty(x.shape[0], x.dtype)
    cdef Asked asked
    asked.kind = 0
    asked.places, asked.values = NULL, <char *>cnp.PyArray_DATA(out)
    reduce(&asked, <char *>cnp.PyArray_DATA(x), 0, x.shape[0], x.shape[1], x.itemsize)
    return out


KINDS_OF = {np.add: 0, np.minimum: 1, np.maximum: 2}
"""Reductions along rows, by the function that folds."""


def reduced(
    Program before, int made, cnp.ndarray x, cnp.ndarray v, Program after, int read, int left,
    npy_intp width, object dtype, tuple asked, int threads=1, cnp.ndarray out=None
):
    """Reductions of rows that are made of X V, and the floating point errors that came up.

    X is `x`, or what `before` leaves in the slot `made`; without v, `after` makes the rows by
    itself. It reads the product in the slot `read` and leaves what is reduced in `left`, `width`
    elements of `dtype` in a row; without it that is the product. `asked` has pairs of a function of
    `KINDS_OF` and whether the place is wanted. In the place of the results there is None where
    their bits, or those of the product, had better be NumPy's.
    """
    cdef Pass it
    cdef Work work, first, last
    cdef Program whole = after if before is None else before
    cdef cnp.ndarray matrix, array
    cdef npy_intp rows = x.shape[0] if x is not None else <npy_intp>whole.shape[0]
    cdef npy_intp columns = width, most
    cdef int k, raised
    cdef list found = []
    memset(&it, 0, sizeof(Pass))
    it.itemsize = dtype.itemsize
    it.width = width
    it.made, it.read, it.left = made, read, left
    if v is not None:
        columns = it.columns = v.shape[0]
        width = v.shape[1]
        it.padded = (width * it.itemsize + 63) // 64 * 64 // it.itemsize
        matrix = np.zeros((v.shape[0], it.padded), dtype)
        matrix[:, :width] = v
        it.v = <char *>cnp.PyArray_DATA(matrix)
    if x is not None:
        it.x = <char *>cnp.PyArray_DATA(x)
        it.line = x.strides[0] // it.itemsize
    else:
        it.line = columns
    if before is not None:
        it.scratch = before._begin(&first)
        first.raised = 0
        it.before = &first
    if after is not None:
        it.scratch = max(it.scratch, after._begin(&last))
        last.raised = 0
        it.after = &last
    if out is not None:
        it.out = <char *>cnp.PyArray_DATA(out)
    if len(asked) > KINDS:
        raise ValueError(f"reduced: {len(asked)} reductions, at most {KINDS}")
    it.nasked = 0
    for function, place in asked:
        k = 0
        while k < it.nasked and (it.asked[k].kind != KINDS_OF[function] or it.asked[k].kind == 0):
            k += 1
        if k == it.nasked:
            it.nasked += 1
            it.asked[k].kind = KINDS_OF[function]
        array = np.empty(rows, np.intp if place else dtype)
        if place:
            it.asked[k].places = <npy_intp *>cnp.PyArray_DATA(array)
        else:
            it.asked[k].values = <char *>cnp.PyArray_DATA(array)
        found.append(array)
    most = max(it.width, columns, width)
    it.rows = max(TURN, min(ROOM // (2 * most * it.itemsize), 1024) // TURN * TURN)
    it.room = (it.rows * most * it.itemsize + 2 * 64 + 63) // 64 * 64
    work.part = pass_rows
    work.data = &it
    work.size = rows
    work.piece = max(<npy_intp>1, min(<npy_intp>16, rows // (it.rows * 4 * max(threads, 1)))) * it.rows
    work.bytes = (it.scratch + 63) // 64 * 64 + 2 * it.room + 2 * 64 + slots_of(&it)
    work.odd = 0
    raised = do(&work, rows * (columns + 1) * it.width // 4, threads)
    if before is not None:
        raised |= errors(first.raised)
    if after is not None:
        raised |= errors(last.raised)
    return (None if work.odd else found), raised


cdef char *aligned(char *scratch) noexcept nogil:
    return scratch + 64 - (<size_t>scratch) % 64


cdef size_t slots_of(Pass *it) noexcept nogil:
    """Bytes of the slots of a thread."""
    cdef size_t count = 0
    if it.before != NULL:
        count += it.before.nslots
    if it.after != NULL:
        count += it.after.nslots
    return count * sizeof(Slot)


cdef void own_slots(Work *mine, Work *steps, char *place) noexcept nogil:
    """Steps with slots of a thread, whose blocks lie in its own memory."""
    memcpy(mine, steps, sizeof(Work))
    memcpy(place, steps.slots, steps.nslots * sizeof(Slot))
    mine.slots = <Slot *>place
    mine.raised = 0


cdef void put(Work *mine, int slot, char *place, npy_intp start) noexcept nogil:
    """Let a slot have its elements from `start` on at a place."""
    cdef Slot *it = &mine.slots[slot]
    it.base = place - start * it.itemsize
    it.buffer = -1


cdef void pass_rows(Work *work, char *scratch, npy_intp start, npy_intp stop) noexcept nogil:
    """Blocks of rows, whole ones but for the last."""
    cdef Pass *it = <Pass *>work.data
    cdef Work before, after
    cdef npy_intp end, count, line
    cdef char *x
    cdef char *z
    cdef char *made
    cdef char *room = aligned(scratch + (it.scratch + 63) // 64 * 64)
    cdef char *slots = room + 2 * it.room
    cdef int k, raised = 0, loud = 0
    if it.before != NULL:
        own_slots(&before, it.before, slots)
        slots += it.before.nslots * sizeof(Slot)
    if it.after != NULL:
        own_slots(&after, it.after, slots)
    z = room + it.room
    feclearexcept(FE_ALL_EXCEPT)
    while start < stop and not work.odd:
        end = min(start + it.rows, stop)
        count = end - start
        x, line = it.x + start * it.line * it.itemsize, it.line
        if it.before != NULL:
            x = room
            put(&before, it.made, room, start * it.columns)
            run_blocks(&before, scratch, start * it.columns, end * it.columns)
        if it.v != NULL:
            if it.itemsize == sizeof(double):
                lima_rows_double(
                    <double *>x, count, it.columns, line, <double *>it.v, it.padded, it.width,
                    <double *>z)
            else:
                lima_rows_float(
                    <float *>x, count, it.columns, line, <float *>it.v, it.padded, it.width,
                    <float *>z)
            loud = fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID)
            raised |= loud
            if loud & (FE_OVERFLOW | FE_INVALID) and it.out == NULL:
                work.odd = 1
            if it.out != NULL:
                memcpy(
                    it.out + start * it.width * it.itemsize, z, count * it.width * it.itemsize)
        made = z
        if it.after != NULL:
            if it.read >= 0:
                put(&after, it.read, z, start * it.width)
            put(&after, it.left, z, start * it.width)
            run_blocks(&after, scratch, start * it.width, end * it.width)
        for k in range(it.nasked):
            if reduce(&it.asked[k], made, start, count, it.width, it.itemsize):
                work.odd = 1
            if it.asked[k].kind == 0:
                raised |= fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID)
            feclearexcept(FE_ALL_EXCEPT)  # comparing with NaN is no error to NumPy
        start = end
    note(work, raised)
    if it.before != NULL:
        note(it.before, before.raised)
    if it.after != NULL:
        note(it.after, after.raised)


cdef bint reduce(
    Asked *asked, char *z, npy_intp start, npy_intp count, npy_intp width, int itemsize
) noexcept nogil:
    cdef npy_intp *places = NULL if asked.places == NULL else asked.places + start
    cdef char *values = NULL if asked.values == NULL else asked.values + start * itemsize
    if asked.kind == 0:
        if itemsize == sizeof(double):
            lima_totals_double(<double *>z, count, width, <double *>values)
        else:
            lima_totals_float(<float *>z, count, width, <float *>values)
        return False
    if itemsize == sizeof(double):
        if asked.kind == 1:
            return lima_least_double(<double *>z, count, width, places, <double *>values)
        return lima_most_double(<double *>z, count, width, places, <double *>values)
    if asked.kind == 1:
        return lima_least_float(<float *>z, count, width, places, <float *>values)
    return lima_most_float(<float *>z, count, width, places, <float *>values)


# --------------------------------------------------------------------------- sums of small products


cdef struct Sums:
    Work *before  # what makes the rows, if anything is to be done
    int made
    char *x
    char *w  # a weight for each row, or NULL
    char *y  # the rows that are weighted; NULL where these are x's
    int64_t *labels  # the sum to which a row belongs, in the place of weights
    int64_t first, count  # labels that there are
    npy_intp columns, line, wide, far, padded, apart
    size_t scratch
    char *sums  # of each portion
    int itemsize
    bint twice


def gram(
    Program before, int made, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, npy_intp columns,
    bint twice, int threads=1
):
    """X' diag(w) Y, or with `twice` X' diag(w^2) X, and the floating point errors that came up.

    X is `x`, or `columns` elements a row that `before` leaves in the slot `made`; without y, Y is X.
    """
    cdef Sums it
    cdef Work work, first
    cdef cnp.ndarray parts, out
    cdef object dtype = w.dtype
    cdef npy_intp rows = w.shape[0], wide = columns if y is None else <npy_intp>y.shape[1]
    memset(&it, 0, sizeof(Sums))
    it.itemsize = dtype.itemsize
    it.columns, it.wide, it.twice = columns, wide, twice
    it.padded = (wide * it.itemsize + 63) // 64 * 64 // it.itemsize
    it.line = columns
    if x is not None:
        it.x, it.line = <char *>cnp.PyArray_DATA(x), x.strides[0] // it.itemsize
    if y is not None:
        it.y, it.far = <char *>cnp.PyArray_DATA(y), y.strides[0] // it.itemsize
    it.w, it.apart = <char *>cnp.PyArray_DATA(w), w.strides[0] // it.itemsize
    if before is not None:
        it.scratch = before._begin(&first)
        first.raised = 0
        it.before, it.made = &first, made
    work.part = gram_rows
    work.size, work.piece = rows, portion(rows)
    work.bytes = (it.scratch + 63) // 64 * 64 + 3 * 64
    work.bytes += CHUNK * (columns + it.padded) * it.itemsize
    if before is not None:
        work.bytes += first.nslots * sizeof(Slot)
    parts = np.zeros(((rows + work.piece - 1) // work.piece, columns, it.padded), dtype)
    it.sums = <char *>cnp.PyArray_DATA(parts)
    work.data = &it
    raised = do(&work, rows * columns * it.padded // 4, threads)
    if before is not None:
        raised |= errors(first.raised)
    out = parts[0]
    for k in range(1, len(parts)):
        np.add(out, parts[k], out=out)
    return np.ascontiguousarray(out[:, :wide]), raised


cdef void gram_rows(Work *work, char *scratch, npy_intp start, npy_intp stop) noexcept nogil:
    """Portions of rows, whole ones but for the last, by chunks."""
    cdef Sums *it = <Sums *>work.data
    cdef Work before
    cdef npy_intp end, count, line
    cdef char *room = aligned(scratch + (it.scratch + 63) // 64 * 64)
    cdef char *scaled = room
    cdef char *x
    cdef char *y
    cdef char *total
    cdef int raised
    room += CHUNK * it.padded * it.itemsize
    if it.before != NULL:
        own_slots(&before, it.before, room + (CHUNK * it.columns * it.itemsize + 63) // 64 * 64)
    feclearexcept(FE_ALL_EXCEPT)
    while start < stop:
        end = min(start + CHUNK, (start // work.piece + 1) * work.piece, stop)
        count = end - start
        x, line = it.x + start * it.line * it.itemsize, it.line
        if it.before != NULL:
            x = room
            put(&before, it.made, room, start * it.columns)
            run_blocks(&before, scratch, start * it.columns, end * it.columns)
        y = x if it.y == NULL else it.y + start * it.far * it.itemsize
        total = it.sums + start // work.piece * it.columns * it.padded * it.itemsize
        if it.itemsize == sizeof(double):
            scale[double](
                it, <double *>y, line if it.y == NULL else it.far, <double *>it.w, start, count,
                <double *>scaled)
            if it.twice:
                x, line = scaled, it.padded
            lima_gram_double(
                <double *>x, count, it.columns, line, <double *>scaled, it.padded, <double *>total)
        else:
            scale[float](
                it, <float *>y, line if it.y == NULL else it.far, <float *>it.w, start, count,
                <float *>scaled)
            if it.twice:
                x, line = scaled, it.padded
            lima_gram_float(
                <float *>x, count, it.columns, line, <float *>scaled, it.padded, <float *>total)
        raised = fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID)
        note(work, raised)
        start = end
    if it.before != NULL:
        note(it.before, before.raised)


cdef void scale(
    Sums *it, const real *y, npy_intp line, const real *w, npy_intp start, npy_intp count, real *to
) noexcept nogil:
    """Rows multiplied with their weights, with zeros up to the width of vectors."""
    cdef npy_intp i, j
    cdef real weight
    for i in range(count):
        weight = w[(start + i) * it.apart]
        for j in range(it.wide):
            to[j] = y[j] * weight
        for j in range(it.wide, it.padded):
            to[j] = 0
        y += line
        to += it.padded


def labelled(cnp.ndarray x, cnp.ndarray labels, int64_t first, int64_t count, int threads=1):
    """Sums of the rows of each label, from `first` on; None where a row has another label."""
    cdef Sums it
    cdef Work work
    cdef cnp.ndarray parts, out
    cdef npy_intp rows = x.shape[0], k
    memset(&it, 0, sizeof(Sums))
    it.itemsize = x.itemsize
    it.columns, it.line = x.shape[1], x.strides[0] // x.itemsize
    it.x = <char *>cnp.PyArray_DATA(x)
    it.labels = <int64_t *>cnp.PyArray_DATA(labels)
    it.first, it.count = first, count
    work.part = label_rows
    work.size, work.piece = rows, portion(rows)
    work.bytes = 1
    work.odd = 0
    parts = np.zeros(((rows + work.piece - 1) // work.piece, count, x.shape[1]), x.dtype)
    it.sums = <char *>cnp.PyArray_DATA(parts)
    work.data = &it
    do(&work, rows * it.columns * 4, threads)
    if work.odd:
        return None
    out = parts[0]
    for k in range(1, len(parts)):
        np.add(out, parts[k], out=out)
    return out.copy()


cdef void label_rows(Work *work, char *scratch, npy_intp start, npy_intp stop) noexcept nogil:
    """Portions of rows, whole ones but for the last."""
    cdef Sums *it = <Sums *>work.data
    cdef npy_intp end, size = it.count * it.columns * it.itemsize
    cdef bint odd = False
    while start < stop:
        end = min((start // work.piece + 1) * work.piece, stop)
        if it.itemsize == sizeof(double):
            odd |= add_rows[double](it, <double *>it.x, start, end, <double *>(it.sums + start // work.piece * size))
        else:
            odd |= add_rows[float](it, <float *>it.x, start, end, <float *>(it.sums + start // work.piece * size))
        start = end
    if odd:
        work.odd = 1
    note(work, 0)


cdef bint add_rows(Sums *it, const real *x, npy_intp start, npy_intp stop, real *total) noexcept nogil:
    cdef npy_intp i, j
    cdef int64_t label
    cdef real *to
    for i in range(start, stop):
        label = it.labels[i] - it.first
        if label < 0 or label >= it.count:
            return True
        to = total + label * it.columns
        for j in range(it.columns):
            to[j] += x[i * it.line + j]
    return False
