cimport cython
from lima.node cimport Node
from lima.values cimport Pending, Value

cdef class Piece:
    cdef public Value base
    cdef public Py_ssize_t axis
    cdef public object picked
    cdef public Py_ssize_t length

@cython.locals(value=Value, root=Value)
cpdef bint structured(object inputs)

@cython.locals(item=Pending, node=Node, shapes=list, notes=dict)
cpdef object form_of(Value value)

@cython.locals(item=Pending, found=list)
cpdef list pieces(Value value, Py_ssize_t axis)

@cython.locals(piece=Piece, base=Value)
cpdef bint _is_gone(list known)

@cython.locals(item=Pending, base=Value)
cpdef object constant(Piece piece)

cpdef Piece _whole(Value value, Py_ssize_t axis)

@cython.locals(below=list)
cpdef object _collect(Value value, Py_ssize_t axis, list found)

@cython.locals(root=Value, node=Node, step=Node, path=list, k=Py_ssize_t)
cpdef object _view(Value value, Py_ssize_t axis, list found)

cpdef tuple upright(Value value, Py_ssize_t axis)

cpdef object parts(Value value, Py_ssize_t axis)

cpdef Value bare(Value value)
