cimport cython
from lima.handle cimport Handle, root_of, value_of, view_handle
from lima.node cimport Node, Spec, new_node
from lima.values cimport Value, new_value
from lima.trials cimport tick
from lima.calls cimport result, view_of_present

cpdef object _get_present(Handle a, Value value, Spec spec, object param)

@cython.locals(value=Value, inputs=list, spec=Spec, found=Value)
cpdef object getitem(Handle a, object index)
