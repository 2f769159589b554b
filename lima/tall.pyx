# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Products of a tall matrix with vectors: X v and X' w, and X' f(X v) in one pass over X.

BLAS reads X from memory for each product; where f works element by element, a block of rows that
was just multiplied with v is still in the cache when it is multiplied with f's part of w.

The order of addition follows from the sizes alone, whatever the threads, blocks or processor:

* X v: sixteen sums of float32 or eight of float64, of every sixteenth or eighth product, then
  these by halves, then what is left at the end of the row.
* X' w: rows in eights, added up by halves, eight after eight, what is left row by row; `portion`
  rows make a sum of their own. Where w is mostly zero, the same of the rows where it is not.

`lima.ops.tall` has twins in NumPy, with the same bits.
"""

import numpy as np

cimport numpy as cnp
from numpy cimport npy_intp

from lima.loops cimport BLOCK, Program, Work, do, errors, note, run_blocks

cnp.import_array()

cdef extern from "<fenv.h>" nogil:
    int FE_ALL_EXCEPT, FE_DIVBYZERO, FE_INVALID, FE_OVERFLOW, FE_UNDERFLOW
    int feclearexcept(int)
    int fetestexcept(int)

cdef extern from "lanes.h":
    pass

cdef extern from *:
    """
    #include <string.h>
    #ifdef __GNUC__
    #define lima_ahead(p) __builtin_prefetch(p)
    #define LIMA_MORE(REAL, s, x, y) \\
        s += *(const lima_lanes_##REAL *)(x) * *(const lima_lanes_##REAL *)(y)
    #else
    #define lima_ahead(p) ((void)0)
    #define LIMA_MORE(REAL, s, x, y) \\
        { int k_; for (k_ = 0; k_ < (int)(64 / sizeof(REAL)); k_++) ((REAL *)&s)[k_] += (x)[k_] * (y)[k_]; }
    #endif
    #define LIMA_HALVES(REAL, s, out) { \\
        REAL e_[64 / sizeof(REAL)]; int h_, k_; memcpy(e_, &s, 64); \\
        for (h_ = 32 / sizeof(REAL); h_; h_ /= 2) for (k_ = 0; k_ < h_; k_++) e_[k_] += e_[k_ + h_]; \\
        out = e_[0]; }
    #define LIMA_TALL(REAL) \\
    LIMA_LANES(REAL) \\
    /* z[i] = sum over j of x[i, j] v[j]; rows are `line` elements apart. */ \\
    LIMA_CLONES static void lima_dots_##REAL( \\
        const REAL *x, npy_intp rows, npy_intp columns, npy_intp line, const REAL *v, REAL *z) { \\
        const npy_intp lanes = 64 / sizeof(REAL), far = 16 * line; npy_intp i = 0, j; \\
        for (; i + 4 <= rows; i += 4) { \\
            const REAL *a = x + i * line, *b = a + line, *c = b + line, *d = c + line; \\
            REAL p, q, r, t; \\
            lima_lanes_##REAL s0, s1, s2, s3; \\
            memset(&s0, 0, 64); memset(&s1, 0, 64); memset(&s2, 0, 64); memset(&s3, 0, 64); \\
            for (j = 0; j + lanes <= columns; j += lanes) { \\
                lima_ahead(a + j + far); lima_ahead(b + j + far); \\
                lima_ahead(c + j + far); lima_ahead(d + j + far); \\
                LIMA_MORE(REAL, s0, a + j, v + j); LIMA_MORE(REAL, s1, b + j, v + j); \\
                LIMA_MORE(REAL, s2, c + j, v + j); LIMA_MORE(REAL, s3, d + j, v + j); } \\
            LIMA_HALVES(REAL, s0, p) LIMA_HALVES(REAL, s1, q) \\
            LIMA_HALVES(REAL, s2, r) LIMA_HALVES(REAL, s3, t) \\
            for (; j < columns; j++) { \\
                p += a[j] * v[j]; q += b[j] * v[j]; r += c[j] * v[j]; t += d[j] * v[j]; } \\
            z[i] = p; z[i + 1] = q; z[i + 2] = r; z[i + 3] = t; } \\
        for (; i < rows; i++) { \\
            const REAL *a = x + i * line; REAL p; \\
            lima_lanes_##REAL s0; memset(&s0, 0, 64); \\
            for (j = 0; j + lanes <= columns; j += lanes) LIMA_MORE(REAL, s0, a + j, v + j); \\
            LIMA_HALVES(REAL, s0, p) \\
            for (; j < columns; j++) p += a[j] * v[j]; \\
            z[i] = p; } } \\
    /* out[j] += sum over i of x[i, j] w[i], eight rows at a time. */ \\
    LIMA_CLONES static void lima_sums_##REAL( \\
        const REAL *x, npy_intp rows, npy_intp columns, npy_intp line, const REAL *w, \\
        REAL *LIMA_ALONE out) { \\
        npy_intp i = 0, j; \\
        for (; i + 8 <= rows; i += 8) { \\
            const REAL *a = x + i * line, *b = a + line, *c = b + line, *d = c + line; \\
            const REAL *e = d + line, *f = e + line, *g = f + line, *h = g + line; \\
            const REAL p = w[i], q = w[i + 1], r = w[i + 2], s = w[i + 3]; \\
            const REAL t = w[i + 4], u = w[i + 5], y = w[i + 6], z = w[i + 7]; \\
            for (j = 0; j < columns; j++) \\
                out[j] += ((p * a[j] + q * b[j]) + (r * c[j] + s * d[j])) \\
                    + ((t * e[j] + u * f[j]) + (y * g[j] + z * h[j])); } \\
        for (; i < rows; i++) { \\
            const REAL *a = x + i * line; const REAL p = w[i]; \\
            for (j = 0; j < columns; j++) out[j] += p * a[j]; } } \\
    /* The same over the rows where w is not zero, in eights of these. */ \\
    LIMA_CLONES static void lima_some_##REAL( \\
        const REAL *x, npy_intp rows, npy_intp columns, npy_intp line, const REAL *w, \\
        REAL *LIMA_ALONE out) { \\
        enum { LANES = 64 / sizeof(REAL), ROOM = 512 }; \\
        npy_intp at[ROOM + 16], i, j, k, m, n = 0; \\
        for (i = 0; i < rows; i++) { \\
            at[n] = i; n += w[i] != 0; \\
            if (n < ROOM && i < rows - 1) continue; \\
            for (k = 0; k < 16; k++) at[n + k] = i; \\
            for (k = 0; k + 8 <= n; k += 8) { \\
                const npy_intp *o = at + k, *next = at + k + 8; \\
                const REAL *a = x + o[0] * line, *b = x + o[1] * line, *c = x + o[2] * line; \\
                const REAL *d = x + o[3] * line, *e = x + o[4] * line, *f = x + o[5] * line; \\
                const REAL *g = x + o[6] * line, *h = x + o[7] * line; \\
                const REAL p = w[o[0]], q = w[o[1]], r = w[o[2]], s = w[o[3]]; \\
                const REAL t = w[o[4]], u = w[o[5]], y = w[o[6]], z = w[o[7]]; \\
                for (j = 0; j + LANES <= columns; j += LANES) { \\
                    for (m = 0; m < 8; m++) lima_ahead(x + next[m] * line + j); \\
                    for (m = j; m < j + LANES; m++) \\
                        out[m] += ((p * a[m] + q * b[m]) + (r * c[m] + s * d[m])) \\
                            + ((t * e[m] + u * f[m]) + (y * g[m] + z * h[m])); } \\
                for (; j < columns; j++) \\
                    out[j] += ((p * a[j] + q * b[j]) + (r * c[j] + s * d[j])) \\
                        + ((t * e[j] + u * f[j]) + (y * g[j] + z * h[j])); } \\
            for (m = 0; k < n; k++) at[m++] = at[k]; \\
            n = m; } \\
        for (k = 0; k < n; k++) { \\
            const REAL *a = x + at[k] * line; const REAL p = w[at[k]]; \\
            for (j = 0; j < columns; j++) out[j] += p * a[j]; } }
    #ifdef _MSC_VER
    #define LIMA_ALONE __restrict
    #else
    #define LIMA_ALONE __restrict__
    #endif
    LIMA_TALL(double)
    LIMA_TALL(float)
    """
    void lima_dots_double(const double *, npy_intp, npy_intp, npy_intp, const double *, double *) nogil
    void lima_sums_double(const double *, npy_intp, npy_intp, npy_intp, const double *, double *) nogil
    void lima_some_double(const double *, npy_intp, npy_intp, npy_intp, const double *, double *) nogil
    void lima_some_float(const float *, npy_intp, npy_intp, npy_intp, const float *, float *) nogil
    void lima_dots_float(const float *, npy_intp, npy_intp, npy_intp, const float *, float *) nogil
    void lima_sums_float(const float *, npy_intp, npy_intp, npy_intp, const float *, float *) nogil

cdef npy_intp ROOM = 1 << 17
"""Bytes of rows that are taken at a time, at least `FEWEST` rows."""

FEWEST = 64
"""Rows of a block: a multiple of what any vector loop takes in one turn, and of eight."""

WIDEST = 1 << 19
"""Bytes of a block that a second cache holds, at most."""


cdef struct Pass:
    Work *steps  # what makes w of X v, if anything is to be done
    char *x
    char *v  # NULL where X v is not wanted
    char *z
    char *w  # as a whole, or NULL where it is what the steps leave in their scratch memory
    char *sums  # of each portion; NULL where X' w is not wanted
    npy_intp columns, line, rows  # of a block
    npy_intp place  # of w in the scratch memory
    int itemsize
    bint some  # whether rows are left out where w is zero


def portion(n):
    """Rows whose sum is made by itself: at most 64 portions of at least 8192 rows."""
    return max(8192, (n + 64 * 1024 - 1) // (64 * 1024) * 1024)


def takes(cnp.ndarray x, cnp.ndarray v, bint long=False):
    """Whether a matrix and a vector lie as the kernels take them: a factor of its columns, or with
    `long` of its rows."""
    return (
        x.ndim == 2 and v.ndim == 1 and v.shape[0] == x.shape[0 if long else 1]
        and cnp.PyArray_TYPE(x) == cnp.PyArray_TYPE(v)
        and cnp.PyArray_TYPE(x) in (cnp.NPY_DOUBLE, cnp.NPY_FLOAT)
        and cnp.PyArray_ISALIGNED(x) and cnp.PyArray_ISALIGNED(v)
        and cnp.PyDataType_ISNOTSWAPPED(x.dtype) and cnp.PyDataType_ISNOTSWAPPED(v.dtype)
        and x.shape[1] > 0 and x.strides[1] == x.itemsize and v.strides[0] == v.itemsize
        and x.strides[0] >= x.shape[1] * x.itemsize and x.strides[0] % x.itemsize == 0
        and FEWEST * x.strides[0] <= WIDEST
    )


def dots(cnp.ndarray x, cnp.ndarray v, int threads=1):
    """X v, and the floating point errors that came up, as of `Program.run`."""
    cdef cnp.ndarray z = np.empty(x.shape[0], x.dtype)
    return z, _passed(None, -1, x, v, z, None, None, threads)


def sums(cnp.ndarray x, cnp.ndarray w, int threads=1):
    """X' w, likewise."""
    cdef cnp.ndarray out = np.empty(x.shape[1], x.dtype)
    return out, _passed(None, -1, x, None, None, w, out, threads)


def some(cnp.ndarray x, cnp.ndarray w, int threads=1):
    """X' w of the rows where w is not zero, likewise."""
    cdef cnp.ndarray out = np.empty(x.shape[1], x.dtype)
    return out, _passed(None, -1, x, None, None, w, out, threads, True)


def through(Program program, int slot, cnp.ndarray x, cnp.ndarray v, cnp.ndarray z, int threads=1):
    """X' w for the w that `program` leaves in a slot, where it reads X v, likewise.

    X v is written to `z`, an operand of the program; without one, w is X v itself.
    """
    cdef cnp.ndarray out = np.empty(x.shape[1], x.dtype)
    return out, _passed(program, slot, x, v, z, z if program is None else None, out, threads)


cdef int _passed(
    Program program, int slot, cnp.ndarray x, cnp.ndarray v, cnp.ndarray z, cnp.ndarray w,
    cnp.ndarray out, int threads, bint some=False
) except -1:
    cdef Work work, steps
    cdef Pass it
    cdef npy_intp k, portions
    cdef int raised
    cdef cnp.ndarray parts = None
    work.part = pass_rows
    work.data = &it
    work.size = x.shape[0]
    work.piece = portion(x.shape[0])
    work.bytes = 1
    portions = (work.size + work.piece - 1) // work.piece
    it.itemsize = x.itemsize
    it.x = <char *>cnp.PyArray_DATA(x)
    it.columns = x.shape[1]
    it.line = x.strides[0] // it.itemsize
    it.rows = max(<npy_intp>FEWEST, min(BLOCK, ROOM // x.strides[0] // FEWEST * FEWEST))
    it.some = some
    if some:
        it.rows = work.piece
    it.v = NULL if v is None else <char *>cnp.PyArray_DATA(v)
    it.z = NULL if z is None else <char *>cnp.PyArray_DATA(z)
    it.w = NULL if w is None else <char *>cnp.PyArray_DATA(w)
    it.sums = NULL
    it.steps = NULL
    it.place = 0
    if program is not None:
        program._begin(&steps)
        steps.raised = 0
        it.steps = &steps
        work.bytes = steps.bytes
        it.w = program.slots[slot].base
        it.place = program.slots[slot].buffer * BLOCK * 8
    if out is not None:
        parts = np.zeros((portions, x.shape[1]), x.dtype)
        it.sums = <char *>cnp.PyArray_DATA(parts)
    raised = do(&work, cnp.PyArray_SIZE(x), threads)
    if program is not None:
        raised |= errors(steps.raised)
    if out is not None:
        out[:] = parts[0]
        for k in range(1, portions):
            np.add(out, parts[k], out=out)
    return raised


cdef void pass_rows(Work *work, char *scratch, npy_intp start, npy_intp stop) noexcept nogil:
    """Portions of rows, whole ones but for the last."""
    cdef Pass *it = <Pass *>work.data
    cdef npy_intp end, count, bytes = it.line * it.itemsize
    cdef char *x
    cdef char *w
    cdef char *total
    cdef char *left = scratch + 64 - (<size_t>scratch) % 64 + it.place
    cdef int raised = 0
    feclearexcept(FE_ALL_EXCEPT)
    while start < stop:
        end = min(start + it.rows, (start // work.piece + 1) * work.piece, stop)
        count = end - start
        x = it.x + start * bytes
        if it.v != NULL:
            if it.itemsize == sizeof(double):
                lima_dots_double(
                    <double *>x, count, it.columns, it.line, <double *>it.v,
                    <double *>it.z + start)
            else:
                lima_dots_float(
                    <float *>x, count, it.columns, it.line, <float *>it.v, <float *>it.z + start)
        if it.steps != NULL:
            raised |= fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID)
            run_blocks(it.steps, scratch, start, end)
        if it.sums != NULL:
            w = left if it.w == NULL else it.w + start * it.itemsize
            total = it.sums + start // work.piece * it.columns * it.itemsize
            if it.some and it.itemsize == sizeof(double):
                lima_some_double(
                    <double *>x, count, it.columns, it.line, <double *>w, <double *>total)
            elif it.some:
                lima_some_float(
                    <float *>x, count, it.columns, it.line, <float *>w, <float *>total)
            elif it.itemsize == sizeof(double):
                lima_sums_double(
                    <double *>x, count, it.columns, it.line, <double *>w, <double *>total)
            else:
                lima_sums_float(
                    <float *>x, count, it.columns, it.line, <float *>w, <float *>total)
        start = end
    raised |= fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID)
    note(work, raised)
