cimport cython
from lima.node cimport Spec
from lima.op cimport Op

cdef class Group:
    cdef public object base, window
    cdef public tuple key
    cdef public Py_ssize_t axis, length
    cdef public bint is_constant, is_vector

    cpdef object settle(self, object p)

cdef class Side:
    cdef public list groups, picked
    cdef public bint flat, whole
    cdef public tuple key
    cdef public object _places

    cpdef object places(self)

    @cython.locals(g=Group, found=list, starts=list, total=Py_ssize_t, start=Py_ssize_t, k=Py_ssize_t)
    cpdef object _place(self)

    cpdef Py_ssize_t width(self)

cdef class Table:
    cdef public object p, found, account
    cdef public Op row
    cdef public Side left, right
    cdef public bint same, ahead, finite
    cdef public double seconds
    cdef public tuple key

    @cython.locals(group=Group)
    cpdef bint recall(self)

    @cython.locals(g=Group, h=Group)
    cpdef double price(self)

    @cython.locals(seconds=double)
    cpdef double _price(self, Group g, Group h, bint symmetric)

    cpdef tuple _operands(self, Group g, Group h)

    cpdef object product(self, Group g, Group h)

    @cython.locals(left=Side, right=Side)
    cpdef object lines(self)

cdef class Split:
    cdef public object p, a, b, ours, theirs
    cdef public Op row
    cdef public double price

    @cython.locals(inputs=list, widths=list, ndim=Py_ssize_t, width=Py_ssize_t)
    cpdef object _against_whole(self)

cpdef bint _floats(object a, object b)

cpdef object cut(object p, object table, object rows, object columns)

cpdef object choose(object p, object value, Py_ssize_t axis, object picked)
