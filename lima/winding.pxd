cimport cython
from lima.node cimport Node

cdef int OLD, _VISITING
cdef Py_ssize_t _OWN, _OWN_TUPLE

cdef Py_ssize_t _references(list nodes, Py_ssize_t place)
cdef Py_ssize_t _tuple_references(Node node)

@cython.locals(node=Node, mark=int, k=Py_ssize_t, below=Node, old=int)
cdef _survey(list stack, list order, list counts)

cdef _push(Node node, list stack, int old)

@cython.locals(nodes=list, first=Py_ssize_t, k=Py_ssize_t, node=Node, held=bint, inside=bint, cut=bint, items=tuple, j=Py_ssize_t, below=Node, mark=int)
cdef list _chosen(list order, list counts, bytearray kept, list cuts, Py_ssize_t longest)

@cython.locals(below=Node, k=Py_ssize_t, derived=Node)
cdef _note_readers(list nodes, list spans, list spools, bytearray kept)

@cython.locals(node=Node, k=Py_ssize_t, first=Py_ssize_t, end=Py_ssize_t)
cdef _let_go(list nodes, list inputs, list spans, list spools, bytearray kept, int left, Py_ssize_t shortest)
