cimport cython
from lima.calls cimport binary, unary
from lima.handle cimport Handle, new_handle, value_of
from lima.node cimport Node, Spec, new_node
from lima.op cimport Op
from lima.trials cimport tick
from lima.values cimport Value, new_value, spec_for

cdef class Operator:
    cdef public bint direct
    cdef public Op row
    cdef public object run
    cdef public Spec spec

@cython.locals(a=Value, b=Value, spec=Spec, small=Py_ssize_t)
cdef object forward(Operator op, Handle x, object y)

cdef object reflected(Operator op, Handle x, object y)

cdef class Operators(Handle):
    pass
