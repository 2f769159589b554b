cimport cython
from lima.node cimport Spec

cdef class Op:
    cdef public bint aliasing, elides, gives, lenient, needs, readonly, threaded, variadic
    cdef public Py_ssize_t at_once, small
    cdef public double growth, weight
    cdef public Spec spec, scalars
    cdef public object calls, folds, form, infer, infix, inner, into, kernel, kind, name, names, operands
    cdef public object params, reach, rules, source, spared, threads_state, unboxes, version, wrap

cpdef bint is_simple(object value)

cpdef object owner(object a)

cpdef object _apart(Spec spec, object data)

cpdef object own(object result, object data)
