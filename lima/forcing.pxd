cimport cython
from lima.node cimport Node
from lima.values cimport Pending, Value

@cython.locals(item=Pending, below=Pending, plan=list, seen=set, stack=list, ready=bint)
cpdef object force(Value value)

@cython.locals(value=Value, found=list)
cpdef list forced(object inputs)

@cython.locals(node=Node)
cpdef bint _found(object here, Pending item)

cdef class _Pass:
    cdef public Pending goal
    cdef public object here
    cdef public dict local
    cdef public list plan
    cdef public object pool
    cdef public dict readers

    @cython.locals(item=Pending, members=set)
    cpdef object run(self)

    @cython.locals(user=Value)
    cpdef bint temporary(self, Pending item, set members)

    @cython.locals(node=Node)
    cpdef object compute(self, Pending item, object args)

    cpdef object read(self, Value a)

    cpdef object spare(self, Pending item, object args, list data)
