cimport cython
from lima.handle cimport Handle, handle, new_handle, root_of, value_of, view_handle
from lima.node cimport Node, Spec, new_node
from lima.values cimport Value, new_value, nodes_of, watch
from lima.runtime cimport apply

@cython.locals(a=Value, base=Handle, other=Handle)
cpdef object binary(object row, Handle x, object y, bint swapped=*, object run=*)

@cython.locals(value=Value, node=Node)
cpdef object unary(object row, Handle x, object run=*)

cpdef object result(Value value, object row)

@cython.locals(form=list)
cpdef object _form(object row, object args, dict kwargs)

@cython.locals(value=Value)
cpdef object transposed(Handle a)

@cython.locals(found=Value)
cpdef object view_of_present(Handle a, Value value, Spec spec, object data)
