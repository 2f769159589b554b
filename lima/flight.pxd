cimport cython
from lima.entries cimport Entry, freeze, memory_of

cdef class _Call:
    cdef public object owner
    cdef public object waiters
    cdef public object done
    cdef public Entry entry
    cdef public bint kept

cdef class Flight:
    cdef public Entry entry
    cdef public bint delivered
    cdef public object value
    cdef public _Call _owned
    cdef public _Call _waited
    cdef public object _cache
    cdef public bytes _key
    cdef public str _level
    cdef public bint _probed

    @cython.locals(entry=Entry, call=_Call)
    cpdef object _board(self)

    @cython.locals(entry=Entry, call=_Call)
    cpdef bint hand_over(
        self, object value, double seconds, object height, str level, bint owned,
        double first_sight, object lineage,
    )

    cpdef object close(self)

    @cython.locals(call=_Call)
    cpdef object _land(self, Entry entry, bint kept)
