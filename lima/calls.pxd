cimport cython
from lima.handle cimport Handle, handle, new_handle, root_of, value_of, view_handle
from lima.node cimport Node, Spec, new_node
from lima.op cimport Op
from lima.trials cimport tick
from lima.values cimport Value, new_value, nodes_of, watch
from lima.runtime cimport apply, binary as _binary

@cython.locals(a=Value, base=Handle, other=Handle)
cpdef object binary(Op row, Handle x, object y, bint swapped=*, object run=*)

@cython.locals(value=Value, node=Node)
cpdef object unary(Op row, Handle x, object run=*)

cpdef object result(Value value, Op row)

@cython.locals(form=list)
cpdef object _form(Op row, object args, dict kwargs)

@cython.locals(value=Value)
cpdef object transposed(Handle a)

@cython.locals(found=Value)
cpdef object view_of_present(Handle a, Value value, Spec spec, object data)
