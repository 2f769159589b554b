# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Chains of elementwise operations in one pass over memory, by NumPy's own inner loops.

A `Program` is a list of steps, each an inner loop of a universal function. It runs all steps on
one block of elements, which stays in the processor's first cache, before it takes the next block.
Since the loops are NumPy's, and blocks begin where its vector loops begin a turn, the bits are
those of one call after the other (checked for every loop before it is used, see `Loop`).

There is no twin in Python: without this module, operations run one by one.
"""

import os

import numpy as np

cimport numpy as cnp
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset
from numpy cimport npy_intp

cnp.import_array()
cnp.import_ufunc()

cdef extern from "<fenv.h>" nogil:
    int FE_ALL_EXCEPT, FE_DIVBYZERO, FE_INVALID, FE_OVERFLOW, FE_UNDERFLOW
    int feclearexcept(int)
    int fetestexcept(int)

cdef inline void forget_errors() noexcept nogil:
    """Clear the flags that are read: rarely any is set, and clearing takes as long as a pass over
    a hundred elements."""
    if fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID):
        feclearexcept(FE_ALL_EXCEPT)


cdef extern from "pythread.h" nogil:
    ctypedef void *PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock)
    int PyThread_acquire_lock(PyThread_type_lock, int)
    void PyThread_release_lock(PyThread_type_lock)
    unsigned long PyThread_start_new_thread(void (*)(void *) noexcept nogil, void *)
    unsigned long PYTHREAD_INVALID_THREAD_ID

cdef extern from *:
    """
    #ifdef _MSC_VER
    #include <intrin.h>
    static inline long lima_add(volatile long *p, long n) { return _InterlockedExchangeAdd(p, n); }
    static inline long lima_swap(volatile long *p, long n) { return _InterlockedExchange(p, n); }
    static inline void lima_or(volatile long *p, long n) { _InterlockedOr(p, n); }
    static inline int lima_replace(volatile long *p, long old, long n) {
        return _InterlockedCompareExchange(p, n, old) == old; }
    #else
    static inline long lima_add(long *p, long n) { return __atomic_fetch_add(p, n, __ATOMIC_SEQ_CST); }
    static inline long lima_swap(long *p, long n) { return __atomic_exchange_n(p, n, __ATOMIC_SEQ_CST); }
    static inline void lima_or(long *p, long n) { __atomic_fetch_or(p, n, __ATOMIC_SEQ_CST); }
    static inline int lima_replace(long *p, long old, long n) {
        return __atomic_compare_exchange_n(p, &old, n, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
    #endif
    #define lima_set(p, n) ((void)lima_swap(p, n))
    /* One more behind the gate, if it is open. */
    static inline int lima_enter(long *gate, long open) {
        for (;;) {
            const long seen = lima_add(gate, 0);
            if (!(seen & open)) return 0;
            if (lima_replace(gate, seen, seen + 1)) return 1;
        } }
    static inline void lima_fetch(const char *p, npy_intp bytes) {
    #ifdef __GNUC__
        const char *end = p + bytes; for (; p < end; p += 64) __builtin_prefetch(p);
    #else
        (void)p; (void)bytes;
    #endif
    }
    #if defined(__x86_64__) || defined(_M_X64)
    #include <immintrin.h>
    #define lima_pause() _mm_pause()
    #elif defined(__aarch64__) && !defined(_MSC_VER)
    #define lima_pause() __asm__ volatile("yield")
    #else
    #define lima_pause() ((void)0)
    #endif
    #ifdef _WIN32
    #include <windows.h>
    static inline double lima_seconds(void) {
        LARGE_INTEGER now, rate; QueryPerformanceCounter(&now); QueryPerformanceFrequency(&rate);
        return (double)now.QuadPart / (double)rate.QuadPart; }
    #define lima_block_signals() ((void)0)
    #define lima_yield() SwitchToThread()
    #else
    #include <pthread.h>
    #include <sched.h>
    #define lima_yield() sched_yield()
    #include <signal.h>
    #include <time.h>
    static inline double lima_seconds(void) {
        struct timespec now; clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec; }
    static inline void lima_block_signals(void) {
        sigset_t all; sigfillset(&all); pthread_sigmask(SIG_SETMASK, &all, NULL); }
    #endif
    """
    long lima_add(long *, long) nogil
    long lima_swap(long *, long) nogil
    void lima_or(long *, long) nogil
    void lima_set(long *, long) nogil
    bint lima_enter(long *, long) nogil
    void lima_fetch(const char *, npy_intp) nogil
    double lima_seconds() nogil
    void lima_pause() nogil
    void lima_yield() nogil
    void lima_block_signals() nogil

cdef extern from *:
    """
    #ifdef _MSC_VER
    #define LIMA_APART __restrict
    #else
    #define LIMA_APART __restrict__
    #endif
    static inline int lima_truth(npy_bool e) { int v = e != 0; return v; }
    /* Conversions that NumPy does by a cast in C and that raise no floating point error. */
    /* Pointers that do not overlap, and truth values by way of int: else no vector code comes of it. */
    #define LIMA_CAST(NAME, FROM, TO, VALUE) \\
    static void NAME(char **a, const npy_intp *n, const npy_intp *s, void *d) { \\
        const FROM *LIMA_APART x = (const FROM *)a[0]; TO *LIMA_APART y = (TO *)a[1]; \\
        const npy_intp m = n[0]; npy_intp k; (void)d; \\
        if (s[0] == 0) { const FROM e = *x; const TO v = (TO)(VALUE); for (k = 0; k < m; k++) y[k] = v; } \\
        else for (k = 0; k < m; k++) { const FROM e = x[k]; y[k] = (TO)(VALUE); } }
    #define LIMA_CASTS(CODE, FROM, VALUE) \\
        LIMA_CAST(lima_##CODE##_b, FROM, npy_int8, VALUE) LIMA_CAST(lima_##CODE##_h, FROM, npy_int16, VALUE) \\
        LIMA_CAST(lima_##CODE##_i, FROM, npy_int32, VALUE) LIMA_CAST(lima_##CODE##_l, FROM, npy_int64, VALUE) \\
        LIMA_CAST(lima_##CODE##_f, FROM, npy_float32, VALUE) LIMA_CAST(lima_##CODE##_d, FROM, npy_float64, VALUE)
    LIMA_CASTS(bool, npy_bool, lima_truth(e))
    LIMA_CASTS(b, npy_int8, e) LIMA_CASTS(B, npy_uint8, e) LIMA_CASTS(h, npy_int16, e)
    LIMA_CASTS(H, npy_uint16, e) LIMA_CASTS(i, npy_int32, e) LIMA_CASTS(I, npy_uint32, e)
    LIMA_CASTS(l, npy_int64, e) LIMA_CASTS(L, npy_uint64, e)
    LIMA_CAST(lima_f_d, npy_float32, npy_float64, e)
    typedef void (*lima_loop)(char **, const npy_intp *, const npy_intp *, void *);
    #define LIMA_ROW(CODE) { lima_##CODE##_b, lima_##CODE##_h, lima_##CODE##_i, lima_##CODE##_l, lima_##CODE##_f, lima_##CODE##_d }
    static lima_loop lima_casts[10][6] = {
        LIMA_ROW(bool), LIMA_ROW(b), LIMA_ROW(B), LIMA_ROW(h), LIMA_ROW(H), LIMA_ROW(i), LIMA_ROW(I),
        LIMA_ROW(l), LIMA_ROW(L), { 0, 0, 0, 0, 0, lima_f_d } };
    """
    loop_t lima_casts[10][6]

SOURCES = "? b B h H i I l L f".split()
TARGETS = "b h i l f d".split()
CODES = frozenset("?bBhHiIlLqQfd")
"""Types of elements that programs work on: no complex ones, whose loops look at alignment."""

UNEVEN = frozenset({
    np.add, np.subtract, np.multiply, np.divide, np.equal, np.not_equal, np.less, np.less_equal,
    np.greater, np.greater_equal, np.logical_and, np.logical_or, np.logical_xor, np.bitwise_and,
    np.bitwise_or, np.bitwise_xor,
})
"""Functions that give the same bits whether an operand is a vector that is repeated or not.

Others may treat the last elements of each row otherwise (which zero is the larger one of -0.0 and
0.0), or take another way for operands that do not lie close.
"""


cdef void select(char **a, const npy_intp *n, const npy_intp *s, void *d) noexcept nogil:
    """`np.where` of a truth value; `d` tells the size of an element."""
    cdef npy_intp k
    cdef size_t size = <size_t>d
    cdef char *c = a[0]
    cdef char *x = a[1]
    cdef char *y = a[2]
    cdef char *z = a[3]
    for k in range(n[0]):
        if size == 8:
            (<uint64_t *>z)[k] = (<uint64_t *>(x if c[0] else y))[0]
        elif size == 4:
            (<uint32_t *>z)[k] = (<uint32_t *>(x if c[0] else y))[0]
        elif size == 2:
            (<uint16_t *>z)[k] = (<uint16_t *>(x if c[0] else y))[0]
        else:
            (<uint8_t *>z)[k] = (<uint8_t *>(x if c[0] else y))[0]
        c += s[0]
        x += s[1]
        y += s[2]


cdef class Loop:
    """One inner loop: `function` for operands of exactly these dtypes.

    Raises LookupError where the function has no such loop, or one that is not what calls run.
    """

    def __init__(self, object function, tuple dtypes, object dtype):
        self.function = function
        self.dtypes = dtypes
        self.dtype = dtype
        self.uneven = function in UNEVEN
        self.adds = function is np.add
        if not all([is_native(d) for d in (*dtypes, dtype)]):
            raise LookupError(f"{function} of {dtypes}")
        for k, d in enumerate(dtypes):
            self.codes[k] = d.num
        if function is np.where:
            self.loop = select
            self.data = <void *><size_t>dtype.itemsize
        else:
            self._find(function, "".join([d.char for d in dtypes]) + "->" + dtype.char)
        self._check()

    cdef object _find(self, object function, str text):
        cdef cnp.ufunc ufunc = function
        cdef int k
        if text not in function.types:
            raise LookupError(f"{function} has no loop {text}")
        k = function.types.index(text)
        self.loop = <loop_t><void *>ufunc.functions[k]
        self.data = NULL if ufunc.data == NULL else (<void **>ufunc.data)[k]

    def _check(self):
        """Run it beside NumPy, on numbers of all kinds."""
        program = Program((len(_SAMPLE),), 1)
        samples = [np.roll(_SAMPLE, 5 * k).astype(d) for k, d in enumerate(self.dtypes)]
        slot = program.step(self, [program.operand(s) for s in samples])
        found = np.empty(len(_SAMPLE), self.dtype)
        program.output(slot, found)
        with np.errstate(all="ignore"):
            try:
                wanted = self.function(*samples)
            except ValueError as error:  # negative powers of integers
                raise LookupError(f"{self.function} of {self.dtypes}: {error}") from None
        program.run()
        if wanted.dtype != self.dtype or wanted.tobytes() != found.tobytes():
            raise LookupError(f"{self.function} does not run its loop for {self.dtypes}")


_SAMPLE = np.concatenate([
    [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0, -7.0, 100.0, 1e-3, 17.25, -0.3],
    np.linspace(-9.0, 60.0, 62),
])


cdef bint is_native(cnp.dtype dtype):
    """Whether programs work on elements of this type (see `CODES`)."""
    return dtype.type_num < 32 and known >> dtype.type_num & 1 and cnp.PyDataType_ISNOTSWAPPED(dtype)


cdef unsigned int known  # bits of the numbers of these types
known = sum([1 << np.dtype(c).num for c in CODES])


cdef class Program:
    """Steps on operands of a shape, C-ordered arrays or what broadcasts to them.

    `operand` and `constant` name inputs, `step` what is computed, `output` where results go: all
    by the number of a slot. `most` is the number of steps at most.
    """

    def __cinit__(self, tuple shape, int most):
        self.most = 4 * most  # each operand may need a conversion
        self.capacity = 8 * most + 8
        self.slots = <Slot *>PyMem_Malloc(self.capacity * sizeof(Slot))
        self.steps = <Step *>PyMem_Malloc(self.most * sizeof(Step))
        if self.slots == NULL or self.steps == NULL:
            raise MemoryError()
        self.shape = shape
        self.keep = []
        self.dtypes = []
        self.size = 1
        for n in shape:
            self.size *= n

    def __dealloc__(self):
        PyMem_Free(self.slots)
        PyMem_Free(self.steps)

    cdef int _slot(self, object dtype) except -1:
        cdef Slot *slot
        if self.nslots == self.capacity:
            raise LookupError("a program is full")
        slot = &self.slots[self.nslots]
        slot.base = NULL
        slot.itemsize = (<cnp.dtype>dtype).itemsize
        slot.code = (<cnp.dtype>dtype).type_num
        slot.stride = slot.itemsize
        slot.period = slot.repeat = 0
        slot.last = slot.buffer = -1
        self.dtypes.append(dtype)
        self.nslots += 1
        return self.nslots - 1

    cpdef object dtype(self, int slot):
        """The dtype of what is in a slot."""
        return self.dtypes[slot]

    cpdef int code(self, int slot):
        """The number of that dtype, as `dtype.num`."""
        return self.slots[slot].code

    cpdef int operand(self, cnp.ndarray array) except -2:
        """The slot of an array that broadcasts to the shape; -1 where it lies in a way that no
        program reads."""
        cdef int slot, axis, first = -1, last = -1, ndim = array.ndim, whole = len(self.shape)
        cdef int offset = whole - ndim
        cdef npy_intp size = cnp.PyArray_SIZE(array), ahead = 1, behind = 1
        if offset < 0 or not cnp.PyArray_ISALIGNED(array) or not is_native(array.dtype):
            return -1
        if size == 1:
            return self.constant(array)
        if not cnp.PyArray_IS_C_CONTIGUOUS(array):
            return -1
        slot = self._slot(array.dtype)
        self.slots[slot].base = <char *>cnp.PyArray_DATA(array)
        self.slots[slot].kept = len(self.keep)
        self.keep.append(array)
        if size == self.size:
            return slot
        for axis in range(ndim):
            if array.shape[axis] != 1:
                last = axis
                if first < 0:
                    first = axis
        for axis in range(whole):
            if axis < first + offset:
                ahead *= self.shape[axis]
            elif axis > last + offset:
                behind *= self.shape[axis]
            elif array.shape[axis - offset] != self.shape[axis]:
                return -1
        if array.dtype.kind == "f" and np.isnan(array).any():  # its sign may depend on the loop
            return -1
        if behind == 1:
            self.slots[slot].period = size
        elif ahead == 1:
            self.slots[slot].repeat = behind
        else:
            return -1
        return slot

    cpdef int constant(self, object number) except -2:
        """The slot of one number, an array of one element or a NumPy scalar; or -1."""
        cdef cnp.ndarray array = np.asarray(number)
        cdef int slot
        if not is_native(array.dtype):
            return -1
        slot = self._slot(array.dtype)
        self.slots[slot].base = <char *>cnp.PyArray_DATA(array)
        self.slots[slot].stride = 0
        self.keep.append(array)
        return slot

    cpdef int number(self, object literal, object dtype) except -2:
        """The slot of a Python number as one of `dtype`; -1 where it would be another number."""
        cdef int slot
        cdef double value
        if (<cnp.dtype>dtype).type_num == cnp.NPY_DOUBLE and type(literal) in (int, float):
            try:
                value = literal
            except OverflowError:
                return -1
            slot = self._slot(dtype)
            self.slots[slot].number = value
            self.slots[slot].base = <char *>&self.slots[slot].number
            self.slots[slot].stride = 0
            return slot
        try:
            number = np.array(literal, dtype)
        except (TypeError, ValueError):
            return -1
        if not np.isfinite(number) and abs(literal) != np.inf and literal == literal:
            return -1
        return self.constant(number)

    cpdef bint is_whole(self, int slot):
        """Whether a slot has an element for each place, not one number or a repeated vector."""
        cdef Slot *it = &self.slots[slot]
        return it.stride > 0 and it.period == 0 and it.repeat == 0

    cpdef bint is_repeated(self, int slot):
        """Whether a slot has a vector that is repeated."""
        return self.slots[slot].period > 0 or self.slots[slot].repeat > 0

    cdef int _step(self, loop_t loop, void *data, list operands, object dtype) except -1:
        cdef int k, slot
        cdef Step *step
        if self.nsteps == self.most:
            raise LookupError("a program is full")
        slot = self._slot(dtype)
        step = &self.steps[self.nsteps]
        step.loop = loop
        step.data = data
        step.count = len(operands)
        for k in range(step.count):
            step.slots[k] = operands[k]
            self.slots[step.slots[k]].last = self.nsteps
        step.slots[step.count] = slot
        self.slots[slot].last = self.nsteps
        self.nsteps += 1
        return slot

    cpdef int step(self, Loop loop, list operands) except -2:
        """The slot of the result of a loop; -1 where an operand cannot be converted for it."""
        cdef int k
        for k in range(len(operands)):
            if self.slots[<int>operands[k]].code != loop.codes[k]:
                operands[k] = self._converted(operands[k], loop.dtypes[k])
                if operands[k] < 0:
                    return -1
        return self._step(loop.loop, loop.data, operands, loop.dtype)

    cdef int _converted(self, int slot, object dtype) except -2:
        if self.dtypes[slot] == dtype:  # C types of one size have numbers of their own
            return slot
        source, target = self.dtypes[slot].char, dtype.char
        source, target = _SAME.get(source, source), _SAME.get(target, target)
        if source not in SOURCES or target not in TARGETS:
            return -1
        cdef loop_t loop = lima_casts[<int>SOURCES.index(source)][<int>TARGETS.index(target)]
        return -1 if loop == NULL else self._step(loop, NULL, [slot], dtype)

    cpdef object output(self, int slot, cnp.ndarray array):
        """Write what is in a slot into a C-ordered array of the shape."""
        self.slots[slot].base = <char *>cnp.PyArray_DATA(array)
        self.keep.append(array)

    cpdef int run(self, int threads=1) except -1:
        """Compute, on as many threads at most; the floating point errors that came up: bits 1, 2,
        4, 8 for division by zero, overflow, underflow and invalid values, in the order of
        `np.geterr()`."""
        cdef Work work
        self._begin(&work)
        return do(&work, self.size * self.nsteps, threads)

    cpdef int fold(self, int slot, Loop loop, cnp.ndarray total, int way) except -1:
        """As `run`, and what is in a slot is folded into `total` and never written: by the loop,
        in the order in which NumPy's `reduce` takes the elements (see `Way`)."""
        cdef Work work
        cdef Stream stream
        cdef npy_intp columns = self.size
        if way == DOWN:
            columns //= <npy_intp>self.shape[0]
        elif way == ALONG:
            columns = self.shape[len(self.shape) - 1]
        self._begin(&work)
        work.raised = 0
        stream.work, stream.itemsize = &work, self.slots[slot].itemsize
        stream.next = stream.at = stream.have = 0
        stream.scratch = <char *>malloc(work.bytes)
        stream.ring = <char *>malloc((min(columns, BLOCK) + columns * (way != WHOLE) + BLOCK) * 8)
        try:
            if stream.scratch == NULL or stream.ring == NULL:
                raise MemoryError()
            stream.source = aligned(stream.scratch) + self.slots[slot].buffer * BLOCK * 8
            with nogil:
                fold_stream(
                    &stream, loop.loop, loop.data, <char *>cnp.PyArray_DATA(total), way, columns,
                    loop.adds)
        finally:
            free(stream.scratch)
            free(stream.ring)
        return errors(work.raised)

    cdef size_t _begin(self, Work *work) except 0:
        cdef int buffers = self._allot()
        self._spread()
        work.part = run_blocks
        work.slots, work.nslots = self.slots, self.nslots
        work.steps, work.nsteps = self.steps, self.nsteps
        work.size = self.size
        work.piece = 0
        work.bytes = (buffers * BLOCK + 8) * 8
        return work.bytes

    cdef int _allot(self) except -1:
        """Which scratch buffer holds what: a buffer is free after the last step that reads it."""
        cdef int k, j, slot, idles = 0, count = 0
        cdef int *idle = <int *>malloc((self.nslots + 1) * sizeof(int))
        if idle == NULL:
            raise MemoryError()
        for slot in range(self.nslots):
            if self.slots[slot].repeat and self.slots[slot].last >= 0:
                self.slots[slot].buffer = count
                count += 1
        for k in range(self.nsteps):
            slot = self.steps[k].slots[self.steps[k].count]
            if self.slots[slot].base == NULL:
                if idles:
                    idles -= 1
                    self.slots[slot].buffer = idle[idles]
                else:
                    self.slots[slot].buffer = count
                    count += 1
            for j in range(self.steps[k].count + 1):
                slot = self.steps[k].slots[j]
                if self.slots[slot].last == k and self.slots[slot].base == NULL:
                    if not _stands_before(&self.steps[k], j):
                        idle[idles] = self.slots[slot].buffer
                        idles += 1
        free(idle)
        return count

    cdef object _spread(self):
        """Repeat short vectors, so that a block of them can be read from any place on."""
        cdef Slot *it
        cdef npy_intp have, wanted
        cdef char *longer
        cdef int slot
        for slot in range(self.nslots):
            it = &self.slots[slot]
            if it.period and it.last >= 0:
                have, wanted = it.period * it.itemsize, (it.period + BLOCK) * it.itemsize
                memory = np.empty(wanted, np.uint8)
                longer = <char *>cnp.PyArray_DATA(memory)
                memcpy(longer, it.base, have)
                while have < wanted:  # what is there, once more
                    memcpy(longer + have, longer, min(have, wanted - have))
                    have *= 2
                self.keep.append(memory)
                it.base = longer


cdef char *aligned(char *scratch) noexcept nogil:
    return scratch + 64 - (<size_t>scratch) % 64


cdef void note(Work *work, int raised) noexcept nogil:
    """Floating point errors that came up while a thread did a piece of the work."""
    forget_errors()
    if raised:
        lima_or(&work.raised, raised)


cdef int errors(long raised) noexcept nogil:
    """Floating point errors in the order of `np.geterr()`."""
    return (
        (1 if raised & FE_DIVBYZERO else 0) + (2 if raised & FE_OVERFLOW else 0)
        + (4 if raised & FE_UNDERFLOW else 0) + (8 if raised & FE_INVALID else 0)
    )


cdef void run_blocks(Work *work, char *scratch, npy_intp start, npy_intp stop) noexcept nogil:
    """All steps for the elements from `start` on, which is a multiple of a block, to `stop`."""
    cdef npy_intp count
    cdef npy_intp strides[MOST]
    cdef char *places[MOST]
    cdef int k, j, raised = 0
    cdef Slot *slot
    cdef Step *step
    cdef bint far = work.size > FAR
    scratch = aligned(scratch)
    forget_errors()
    while start < stop:
        count = min(stop - start, BLOCK)
        for k in range(work.nslots):
            slot = &work.slots[k]
            if slot.buffer >= 0:
                if slot.repeat:
                    _repeat(slot, scratch + slot.buffer * BLOCK * 8, start, count)
            elif far and slot.stride and not slot.period and start + 2 * BLOCK <= stop:
                # The next block is on its way while this one is computed.
                lima_fetch(slot.base + (start + BLOCK) * slot.stride, BLOCK * slot.stride)
        for k in range(work.nsteps):
            step = &work.steps[k]
            for j in range(step.count + 1):
                slot = &work.slots[step.slots[j]]
                strides[j] = slot.stride
                if slot.buffer >= 0:
                    places[j] = scratch + slot.buffer * BLOCK * 8
                elif slot.period:
                    places[j] = slot.base + (start % slot.period) * slot.stride
                else:
                    places[j] = slot.base + start * slot.stride
            step.loop(places, &count, strides, step.data)
            raised |= fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID)
        start += count
    note(work, raised)


cdef char *take(Stream *s, npy_intp count) noexcept nogil:
    """The next elements, which are computed now."""
    cdef npy_intp more
    while s.have - s.at < count:
        if s.at:
            s.have -= s.at
            memmove(s.ring, s.ring + s.at * s.itemsize, s.have * s.itemsize)
            s.at = 0
        s.work.raised |= fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID)
        more = min(BLOCK, s.work.size - s.next)
        run_blocks(s.work, s.scratch, s.next, s.next + more)
        memcpy(s.ring + s.have * s.itemsize, s.source, more * s.itemsize)
        s.have += more
        s.next += more
    s.at += count
    return s.ring + (s.at - count) * s.itemsize


cdef void reduce_once(loop_t loop, void *data, char *total, char *x, npy_intp count, int itemsize) noexcept nogil:
    cdef npy_intp strides[3]
    cdef char *places[3]
    places[0] = places[2] = total
    places[1] = x
    strides[0] = strides[2] = 0
    strides[1] = itemsize
    loop(places, &count, strides, data)


cdef double pairs(Stream *s, loop_t loop, void *data, npy_intp count) noexcept nogil:
    """The sum of the next elements, halved until they are few, as NumPy adds them up."""
    cdef double total = -0.0
    cdef float single = -0.0
    cdef npy_intp half
    if count > PAIRED:
        half = count // 2
        half -= half % 8
        total = pairs(s, loop, data, half)
        if s.itemsize == sizeof(float):
            return <float>(<float>total + <float>pairs(s, loop, data, count - half))
        return total + pairs(s, loop, data, count - half)
    if s.itemsize == sizeof(float):
        reduce_once(loop, data, <char *>&single, take(s, count), count, s.itemsize)
        return single
    reduce_once(loop, data, <char *>&total, take(s, count), count, s.itemsize)
    return total


cdef void fold_stream(
    Stream *s, loop_t loop, void *data, char *total, int way, npy_intp columns, bint adds
) noexcept nogil:
    """`Program.fold`; a sum begins with zero, others with the first element or row."""
    cdef npy_intp left = s.work.size, count, itemsize = s.itemsize
    cdef npy_intp strides[3]
    cdef char *places[3]
    cdef char *x
    cdef double whole
    cdef bint first = not adds
    forget_errors()
    if way == WHOLE and adds:
        whole = pairs(s, loop, data, left)
        if itemsize == sizeof(double):
            (<double *>total)[0] = 0.0 + whole
        else:
            (<float *>total)[0] = <float>0.0 + <float>whole
    elif way == DOWN:
        strides[0] = strides[1] = strides[2] = itemsize
        if adds:
            memset(total, 0, columns * itemsize)
        while left:
            x = take(s, columns)
            if first:
                memcpy(total, x, columns * itemsize)
                first = False
            else:
                places[0] = places[2] = total
                places[1] = x
                count = columns
                loop(places, &count, strides, data)
            left -= columns
    else:
        while left:
            count = min(columns, BLOCK, left) if way == WHOLE else columns
            x = take(s, count)
            left -= count
            if adds:
                memset(total, 0, itemsize)
            elif first or way == ALONG:
                memcpy(total, x, itemsize)
                x += itemsize
                count -= 1
                first = False
            if count:
                reduce_once(loop, data, total, x, count, itemsize)
            if way == ALONG:
                total += itemsize
    s.work.raised |= fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID)
    forget_errors()


cdef int fold(Loop loop, cnp.ndarray matrix, cnp.ndarray total, int threads) except -1:
    """Fold the rows of a C-ordered array, one after the other, into `total`, as NumPy's `reduce`
    does along the first axis: each row in turn, by the loop. It begins with zeros for `np.add`,
    with the first row for others. On as many threads at most; each takes columns. The errors that
    came up, as `run`.
    """
    cdef Work work
    cdef npy_intp columns = cnp.PyArray_SIZE(total)
    work.part = fold_columns
    work.loop, work.data = loop.loop, loop.data
    work.matrix = <char *>cnp.PyArray_DATA(matrix)
    work.total = <char *>cnp.PyArray_DATA(total)
    work.itemsize = cnp.PyArray_ITEMSIZE(matrix)
    work.rows = matrix.shape[0]
    work.fresh = loop.adds
    work.size = columns
    work.piece = even_piece(columns, threads, 8 if loop.uneven else 64)
    work.bytes = 1
    return do(&work, cnp.PyArray_SIZE(matrix), min(threads, columns // work.piece + 1))


cdef npy_intp even_piece(npy_intp size, int parts, npy_intp turn) noexcept nogil:
    """What each of some threads takes, a multiple of what a vector loop takes in one turn."""
    cdef npy_intp share = (size + max(parts, 1) - 1) // max(parts, 1)
    return (share + turn - 1) // turn * turn


cdef void fold_columns(Work *work, char *scratch, npy_intp start, npy_intp stop) noexcept nogil:
    """`fold`, for the columns from `start` to `stop`."""
    cdef npy_intp count = stop - start, row, line = work.size * work.itemsize
    cdef npy_intp strides[3]
    cdef char *places[3]
    cdef char *total = work.total + start * work.itemsize
    cdef char *here = work.matrix + start * work.itemsize
    cdef int raised
    strides[0] = strides[1] = strides[2] = work.itemsize
    if work.fresh:
        memset(total, 0, count * work.itemsize)
    else:
        memcpy(total, here, count * work.itemsize)
    forget_errors()
    for row in range(0 if work.fresh else 1, work.rows):
        places[0] = places[2] = total
        places[1] = here + row * line
        work.loop(places, &count, strides, work.data)
    raised = fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID)
    note(work, raised)


# --------------------------------------------------------------------------- several threads
#
# Blocks do not depend on each other, so any thread may run any of them. Helpers are threads of the
# system that never enter Python. Nobody waits for a helper that has not begun: whoever asked for
# help takes pieces until none is left, shuts the gate, and then waits for pieces under way only.


cdef struct Helper:
    PyThread_type_lock bell  # held while there is nothing to do
    long resting  # 1 where the bell must be rung
    char *scratch
    size_t bytes


cdef Helper crew[MOST_HELPERS]
cdef int crew_size = 0
cdef long taken = 0  # 1 while some thread has the crew at work; others go on alone
cdef long gate = 0  # OPEN, plus the number of helpers at the present work
cdef Work *present = NULL
cdef long next_piece = 0
cdef double LATE = 2e-4  # seconds of waiting that tell that a helper lost its processor to others
cdef int penalty = 1
cdef int alone = 0  # works to do without helpers: on a busy machine they cost more than they give

cdef long OPEN = 1 << 16


cdef int hire(int wanted) except -1:
    """How many helpers there are, at most `wanted`; they are started when first wanted."""
    global crew_size
    cdef Helper *helper
    wanted = min(wanted, MOST_HELPERS)
    while crew_size < wanted:
        helper = &crew[crew_size]
        helper.bell = PyThread_allocate_lock()
        if helper.bell == NULL:
            break
        PyThread_acquire_lock(helper.bell, 1)
        helper.resting = 0
        helper.scratch = NULL
        helper.bytes = 0
        if PyThread_start_new_thread(help_out, helper) == PYTHREAD_INVALID_THREAD_ID:
            PyThread_free_lock(helper.bell)
            break
        crew_size += 1
    return min(wanted, crew_size)


def dismiss():
    """Forget the helpers: a forked process has none."""
    global crew_size, taken, gate
    crew_size = 0
    taken = gate = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=dismiss)


cdef void help_out(void *given) noexcept nogil:
    """The life of a helper."""
    cdef Helper *helper = <Helper *>given
    lima_block_signals()
    while True:
        lima_set(&helper.resting, 1)
        PyThread_acquire_lock(helper.bell, 1)
        if not lima_enter(&gate, OPEN):
            continue
        if helper.bytes < present.bytes:
            free(helper.scratch)
            helper.scratch = <char *>malloc(present.bytes)
            helper.bytes = present.bytes if helper.scratch != NULL else 0
        if helper.scratch != NULL:
            take_pieces(present, helper.scratch)
        lima_add(&gate, -1)


cdef void take_pieces(Work *work, char *scratch) noexcept nogil:
    """Run pieces of the present work until none is left."""
    cdef npy_intp start = lima_add(&next_piece, 1) * work.piece
    while start < work.size:
        work.part(work, scratch, start, min(start + work.piece, work.size))
        start = lima_add(&next_piece, 1) * work.piece


cdef int do(Work *work, npy_intp elements, int threads) except -1:
    """All of the work, which goes through so many elements; the errors that came up, as `run`."""
    cdef int helpers = min(threads - 1, elements // SHARE)
    cdef char *scratch = <char *>malloc(work.bytes)
    if scratch == NULL:
        raise MemoryError()
    work.raised = 0
    if helpers > 0:
        helpers = hire(helpers)
    with nogil:
        if helpers > 0:
            run_shared(work, scratch, helpers)
        else:
            work.part(work, scratch, 0, work.size)
    free(scratch)
    return errors(work.raised)


cdef void run_shared(Work *work, char *scratch, int helpers) noexcept nogil:
    """All of the work, with the help of those who come."""
    global present, alone, penalty
    cdef int k
    cdef double start
    cdef npy_intp blocks = (work.size + BLOCK - 1) // BLOCK
    if alone > 0:
        alone -= 1
        work.part(work, scratch, 0, work.size)
        return
    if lima_swap(&taken, 1):  # they help another thread of the program
        work.part(work, scratch, 0, work.size)
        return
    present = work
    if work.piece == 0:
        work.piece = max(1, min(32, blocks // (4 * (helpers + 1)))) * BLOCK
    lima_set(&next_piece, 0)
    lima_set(&gate, OPEN)
    for k in range(helpers):
        if lima_swap(&crew[k].resting, 0):
            PyThread_release_lock(crew[k].bell)
    take_pieces(work, scratch)
    lima_add(&gate, -OPEN)
    start = lima_seconds()
    k = 0
    while lima_add(&gate, 0):
        k += 1
        if k < 4096:
            lima_pause()
        else:
            lima_yield()
    if lima_seconds() - start > LATE:
        penalty = min(2 * penalty, 64)
        alone = penalty
    elif penalty > 1:
        penalty //= 2
    lima_set(&taken, 0)


_SAME = {"q": "l", "Q": "L"} if np.dtype("l").itemsize == 8 else {"l": "i", "L": "I", "q": "l", "Q": "L"}
"""Names of C types by those of the conversions, where "l" has 64 bits."""


cdef bint _stands_before(Step *step, int j) noexcept nogil:
    """Whether an operand is the same as one before it, as in `x * x`."""
    cdef int k
    for k in range(j):
        if step.slots[k] == step.slots[j]:
            return True
    return False


cdef void _repeat(Slot *slot, char *target, npy_intp start, npy_intp count) noexcept nogil:
    """A block of a vector whose elements each stand `slot.repeat` times."""
    cdef npy_intp row = start // slot.repeat
    cdef npy_intp left = slot.repeat - start % slot.repeat
    cdef npy_intp k, n
    cdef int size = slot.itemsize
    cdef char *source = slot.base + row * size
    while count:
        n = min(left, count)
        if size == 8:
            for k in range(n):
                (<uint64_t *>target)[k] = (<uint64_t *>source)[0]
        elif size == 4:
            for k in range(n):
                (<uint32_t *>target)[k] = (<uint32_t *>source)[0]
        else:
            for k in range(n):
                memcpy(target + k * size, source, size)
        target += n * size
        source += size
        count -= n
        left = slot.repeat
