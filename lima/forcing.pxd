cimport cython
from lima.fusion cimport Group
from lima.node cimport Node
from lima.values cimport Pending, Value

@cython.locals(item=Pending, below=Pending, plan=list, seen=set, stack=list, ready=bint)
cpdef object force(Value value)

@cython.locals(value=Value, found=list)
cpdef list forced(object inputs)

@cython.locals(size=Py_ssize_t, n=Py_ssize_t)
cpdef Py_ssize_t size_of(tuple shape)

@cython.locals(node=Node)
cpdef bint _found(object here, Pending item)

cdef class _Pass:
    cdef public Pending goal
    cdef public object here
    cdef public dict local
    cdef public list plan
    cdef public object pool
    cdef public dict readers

    @cython.locals(item=Pending, members=set, group=Group)
    cpdef object run(self)

    cpdef object alone(self, Pending item, object args, set members)

    cpdef object put(self, Pending item, object result, set members)

    @cython.locals(item=Pending, keeps=bint)
    cpdef object together(self, Group group, set members)

    cpdef object done_with(self, Pending a)

    @cython.locals(user=Value)
    cpdef bint temporary(self, Pending item, set members)

    @cython.locals(node=Node)
    cpdef object compute(self, Pending item, object args)

    cpdef object read(self, Value a)

    cpdef object spare(self, Pending item, object args, list data)
