cimport cython
from lima.entries cimport Entry, freeze, memory_of, worth_keeping

cdef class Cache:
    cdef object __weakref__
    cdef public object budget
    cdef public str policy
    cdef public double worth
    cdef public object stats
    cdef public object _entries
    cdef public dict _table
    cdef public dict _buffers
    cdef public object _ghosts
    cdef public dict _calls
    cdef public dict _waiting
    cdef public object _lock
    cdef public object spill

    @cython.locals(entry=Entry)
    cpdef Entry get(self, bytes key, str level=*)

    cpdef Entry reload(self, bytes key)

    cpdef object _hit(self, Entry entry)

    cpdef Entry peek(self, bytes key)

    @cython.locals(sights=object, spent=double, density=double)
    cpdef bint sighted(self, bytes key, double seconds, object nbytes)

    @cython.locals(entry=Entry)
    cpdef Entry _offer(
        self, bytes key, object value, double seconds, object height, str level, bint owned,
        double first_sight=*, object flight=*, object lineage=*,
    )

    @cython.locals(there=Entry, before=double, victims=list)
    cpdef tuple _admit(self, bytes key, Entry entry, object memory, double first_sight)

    @cython.locals(buffers=dict)
    cpdef object _account(self, Entry entry, int step)
