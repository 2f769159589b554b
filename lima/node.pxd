cimport cython
from lima.places cimport stand

cdef class Spec:
    cdef public str op
    cdef public tuple params
    cdef public object npos
    cdef public object version
    cdef public object out
    cdef public bytes _prefix
    cdef public object _fixed

cdef class Node:
    cdef public Spec spec
    cdef public object _inputs
    cdef public bytes _digest
    cdef public int _height
    cdef public object outcome
    cdef public object name
    cdef public Node derived
    cdef public bint inexact
    cdef public int place
    cdef public int mark

cdef bint _records
cdef int _left

@cython.locals(node=Node)
cpdef Node new_node(Spec spec, tuple inputs)

@cython.locals(node=Node, spec=Spec, text=bytes, digest=bytes, height=Py_ssize_t, waiting=bint, inexact=bint, below=Node, stack=list, lacking=list)
cpdef bytes _finish(Node root)
