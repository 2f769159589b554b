cimport cython
from lima.loops cimport Program
from lima.values cimport Pending, Value

cdef class Group:
    cdef public set made
    cdef public list members
    cdef public tuple modes
    cdef public Program program
    cdef public dict reads
    cdef public tuple shape
    cdef public dict slots

    cpdef bint add(self, Pending item, object args, dict local)

    @cython.locals(value=Value, slots=list, key=list, whole=bint, repeated=bint, slot=int, program=Program)
    cpdef bint _add(self, Pending item, object args, dict local)

    cpdef bint needs(self, object args)

    cpdef object write(self, Pending item, object array)

    cpdef bint run(self)

cpdef object inner_of(Pending item, object args)
