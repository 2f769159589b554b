cimport cython

cdef class Entry:
    cdef public bytes key
    cdef public object value
    cdef public object nbytes
    cdef public double seconds
    cdef public object height
    cdef public str level
    cdef public object hits
    cdef public double age
    cdef public double density
    cdef public object evicted
    cdef public object lineage
    cdef public object loose
    cdef public tuple owners
    cdef public object sights
    cdef public double spent
    cdef public object tick

@cython.locals(least_seconds=double, first_sight=double)
cpdef bint worth_keeping(
    double seconds, double nbytes, double spent=*, double least_seconds=*, double first_sight=*
)

cpdef object memory_of(object value, bint owned=*)

cpdef object freeze(object arrays)
