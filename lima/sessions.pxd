cimport cython
from lima.cache cimport Cache
from lima.entries cimport Entry
from lima.node cimport Node
from lima.op cimport Op

cdef class Pool:
    cdef public dict buffers
    cdef public object bytes
    cdef public object limit

    cpdef object give(self, object buffer)

    cpdef object take(self, tuple shape, object dtype)

cdef class Session:
    cdef object __weakref__
    cdef public object config
    cdef public Cache cache
    cdef public object counts
    cdef public bint reuses
    cdef public bint functions
    cdef public bint asides
    cdef public object allowed
    cdef public bint rounds
    cdef public object _planner
    cdef public double call_seconds
    cdef public dict credit
    cdef public object _pools
    cdef public int _threads
    cdef public object store
    cdef public object ledger

    cpdef Entry look(self, Node node)

    cpdef object find_stored(self, Node node)

    cpdef bint keep(self, Op row, Node node, object result, double seconds, object flight=*)

    @cython.locals(first_sight=double, entry=Entry)
    cpdef bint _keep(self, Op row, Node node, object result, double seconds, object flight)

    @cython.locals(first_sight=double)
    cpdef double trust(self, Op row, Node node, object result, double seconds, bint alone)

    cpdef object repaid(self, Op row, object value)

cdef Session _default
cdef Session _seen
cdef list _open

@cython.locals(session=Session)
cpdef Session current()
