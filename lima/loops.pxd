cimport numpy as cnp
from numpy cimport npy_intp

ctypedef void (*loop_t)(char **, const npy_intp *, const npy_intp *, void *) noexcept nogil
ctypedef void (*part_t)(Work *, char *, npy_intp, npy_intp) noexcept nogil

cdef enum:
    BLOCK = 1024  # elements; a multiple of what any vector loop takes in one turn
    MOST = 6  # operands and results of a step
    MOST_HELPERS = 15  # threads beside the one that asks
    FAR = 2097152  # elements of arrays that lie in no cache
    PAIRED = 128  # elements that NumPy adds up one after the other, more by halves
    SHARE = 262144  # elements times steps for which one more thread is worth waking

cdef struct Slot:
    char *base
    double number  # a constant's own bytes
    npy_intp stride  # bytes from element to element; 0 for one number
    npy_intp period  # elements after which an operand repeats itself; 0 if it does not
    npy_intp repeat  # times that each element of an operand stands; 0 if once
    int itemsize
    int code  # the number of the dtype
    int kept  # which array of `keep` it is
    int last  # the last step that reads it
    int buffer  # which scratch buffer holds a block of it; -1 for none


cdef struct Step:
    loop_t loop
    void *data
    int count  # of operands; the result stands after them
    int slots[MOST]


cdef struct Work:
    part_t part  # does it from one element or column to another, with scratch memory
    npy_intp size  # of these
    npy_intp piece  # that a thread takes at a time
    size_t bytes  # of scratch memory for one thread
    long raised  # floating point errors that came up
    Slot *slots  # what `run_blocks` works on
    Step *steps
    int nslots, nsteps
    loop_t loop  # what is done with the columns of a matrix
    void *data
    char *matrix
    char *mean
    char *total
    npy_intp rows
    int itemsize
    bint fresh  # whether folding begins with zeros
    long odd  # whether something came up that NumPy shall see


cdef class Loop:
    cdef loop_t loop
    cdef void *data
    cdef int codes[MOST]
    cdef readonly object function
    cdef readonly tuple dtypes
    cdef readonly object dtype
    cdef readonly bint uneven, adds

    cdef object _find(self, object function, str text)


cdef enum Way:  # how a reduction goes through the elements of an array in C order
    WHOLE = 0  # all in turn; sums by pairs, as NumPy takes them
    DOWN = 1  # row by row, element by element
    ALONG = 2  # each row by itself


cdef struct Stream:
    Work *work
    char *scratch
    char *source  # where a block of what is folded stands
    char *ring  # what was computed and not taken yet, from `at` to `have`
    npy_intp next, at, have
    int itemsize


cdef bint is_native(cnp.dtype dtype)

cdef int do(Work *work, npy_intp elements, int threads) except -1

cdef void note(Work *work, int raised) noexcept nogil

cdef int errors(long raised) noexcept nogil

cdef void run_blocks(Work *work, char *scratch, npy_intp start, npy_intp stop) noexcept nogil

cdef npy_intp even_piece(npy_intp size, int parts, npy_intp turn) noexcept nogil

cdef int fold(Loop loop, cnp.ndarray matrix, cnp.ndarray total, int threads) except -1


cdef class Program:
    cdef Slot *slots
    cdef Step *steps
    cdef int nslots, nsteps, capacity, most
    cdef npy_intp size
    cdef readonly tuple shape
    cdef list keep, dtypes

    cdef int _slot(self, object dtype) except -1
    cpdef object dtype(self, int slot)
    cpdef int code(self, int slot)
    cpdef int operand(self, cnp.ndarray array) except -2
    cpdef int constant(self, object number) except -2
    cpdef int number(self, object literal, object dtype) except -2
    cpdef bint is_whole(self, int slot)
    cpdef bint is_repeated(self, int slot)
    cdef int _step(self, loop_t loop, void *data, list operands, object dtype) except -1
    cpdef int step(self, Loop loop, list operands) except -2
    cdef int _converted(self, int slot, object dtype) except -2
    cpdef object output(self, int slot, cnp.ndarray array)
    cpdef int run(self, int threads=*) except -1
    cpdef int fold(self, int slot, Loop loop, cnp.ndarray total, int way) except -1
    cdef size_t _begin(self, Work *work) except 0
    cdef int _allot(self) except -1
    cdef object _spread(self)
