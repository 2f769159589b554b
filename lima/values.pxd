cimport cython
from lima.node cimport Node, Spec
from lima.op cimport Op

cdef class Value:
    cdef object __weakref__
    cdef public Node node
    cdef public object data
    cdef public Value root
    cdef public bint shared
    cdef public bint given
    cdef public list users

    cdef object _hold(self, Node node, object data, Value root)

@cython.locals(value=Value)
cpdef Value new_value(Node node, object data)

@cython.locals(value=Value, found=list)
cpdef tuple nodes_of(object inputs)

@cython.locals(root=Value)
cpdef object watch(Value value, Value user)

cdef class Foreign(Value):
    pass

cdef class Borrowed(Value):
    pass

cdef class Pending(Value):
    cdef public object _meta
    cdef public object args
    cdef public Py_ssize_t depth
    cdef public bint folded
    cdef public Py_ssize_t held
    cdef public object handle
    cdef public tuple modes
    cdef public dict notes
    cdef public object place
    cdef public Op row
    cdef public Py_ssize_t size
    cdef public bint spares

    @cython.locals(depth=Py_ssize_t, spares=bint, root=Value, value=Value, below=Pending)
    cdef object _wait(self, Op row, object args, object meta, tuple modes)

    cpdef object arrive(self, object data)

@cython.locals(value=Pending)
cpdef Pending new_pending(Node node, Op row, object args, object meta, tuple modes)

cpdef tuple error_modes()

cpdef object spec_for(Op row, object found, object x, object y=*)

@cython.locals(size=Py_ssize_t, n=Py_ssize_t)
cpdef Py_ssize_t size_of(tuple shape)

cpdef list live_users(Value value)

@cython.locals(root=Value)
cpdef object memory_of(Value value)

cpdef bint rounds_in_place(Value value)

@cython.locals(roots=list)
cpdef Spec aliased(Op row, Spec spec, object inputs)

cpdef object hush()

cpdef object unhush(object before)
