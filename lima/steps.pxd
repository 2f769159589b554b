cimport cython
from lima.node cimport Node, Spec

cdef int SAME, BACK, ANY, BACKS

cdef class Step:
    cdef public int number, place
    cdef public Step after
    cdef public object frame, name, how, why, seconds
    cdef public list atoms, columns
    cdef public tuple items
    cdef public bytes kinds
    cdef public bint varies, inexact, derived, leaf
    cdef public Spec spec

cpdef tuple items_of(Node node)

@cython.locals(spec=Spec, kinds=bytes, mine=tuple, k=Py_ssize_t, kind=int, below=Node, mark=int)
cpdef bint matches(Step step, Node node, tuple items, int at, int first)

@cython.locals(k=Py_ssize_t, columns=list, column=list, below=Node, kinds=bytes)
cpdef take(Step step, Node node, tuple items, int at, int first)

@cython.locals(node=Node, spec=Spec, kinds=bytes, items=list, k=Py_ssize_t, kind=int, back=Py_ssize_t)
cpdef Node made_again(Step step, tuple feed, list made, Py_ssize_t place)
