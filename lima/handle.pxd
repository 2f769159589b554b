cimport cython
from lima.node cimport Spec
from lima.values cimport Value

cdef class Handle:
    cdef object __weakref__
    cdef public Value _value
    cdef public Handle _base
    cdef public tuple _path
    cdef public bint _locked
    cdef public object _rivals

cdef type _class

@cython.locals(made=Handle)
cpdef Handle new_handle(Value value)

@cython.locals(made=Handle)
cpdef Handle handle(Value value)

@cython.locals(made=Handle)
cpdef Handle view_handle(Value value, Handle base, Spec spec)

cpdef Handle root_of(Handle a)

@cython.locals(base=Handle, value=Value)
cpdef Value value_of(Handle a)
