cimport cython
from lima.loops cimport Loop, Program
from lima.node cimport Node, Spec
from lima.values cimport Pending, Value

cdef class Group:
    cdef public set made
    cdef public list members
    cdef public tuple modes
    cdef public Program program
    cdef public tuple shape
    cdef public dict slots

    cpdef bint add(self, Pending item, object args, dict local)

    @cython.locals(slots=list, code=long, shift=int, whole=bint, repeated=bint, slot=int, k=int,
                   program=Program, node=Node, spec=Spec, table=dict, loop=Loop)
    cdef bint _add(self, Pending item, object args, dict local) except -1

    @cython.locals(slot=int)
    cdef int _slot(self, Value a, dict local) except -2

    cpdef bint needs(self, object args)

    cpdef object write(self, Pending item, object array)

    cpdef bint run(self, int threads)

    @cython.locals(loop=Loop)
    cpdef object fold(self, Pending item, object fold, tuple modes)

