cimport cython
from lima.handle cimport Handle, handle, new_handle, root_of, value_of, view_handle
from lima.node cimport Node, Spec, new_node
from lima.values cimport Value, new_value, nodes_of
from lima.runtime cimport apply

@cython.locals(a=Value, base=Handle, other=Handle)
cpdef object binary(object row, Handle x, object y, bint swapped=*, object run=*)

@cython.locals(value=Value, node=Node)
cpdef object unary(object row, Handle x, object run=*)
