cimport cython
from lima.node cimport Node
from lima.steps cimport Step, items_of, made_again, matches, take

cdef class Spool:
    cdef public Py_ssize_t count
    cdef public tuple steps, outer
    cdef public bytes low, high
    cdef public dict edges
    cdef public list made

    @cython.locals(below=Node)
    cpdef tuple inputs_of(self, Node node)
    @cython.locals(made=list)
    cpdef list opened(self)
    @cython.locals(node=Node)
    cpdef list lacking(self)
    @cython.locals(below=Node, made=list)
    cpdef finish(self, Node node)
    @cython.locals(low=bytes, high=bytes, columns=list, made=list, k=Py_ssize_t, number=int, step=Step, feed=tuple, node=Node)
    cpdef list unwound(self)

@cython.locals(low=bytearray, high=bytearray, last=Step, step=Step, k=Py_ssize_t, node=Node, items=tuple, number=int)
cpdef wind(list nodes, Py_ssize_t first, Py_ssize_t end, Py_ssize_t worth)
