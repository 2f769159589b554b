cimport cython
from lima.forcing cimport forced
from lima.node cimport Node, Spec, new_node
from lima.op cimport Op
from lima.values cimport Foreign, Pending, Value, error_modes, new_pending, new_value, nodes_of, size_of, spec_for, watch

@cython.locals(node=Node)
cpdef Value apply(Op row, Spec spec, object inputs)

@cython.locals(node=Node, value=Value, large=bint, total=Py_ssize_t, size=Py_ssize_t)
cpdef Value light(Op row, Spec spec, object inputs)

@cython.locals(value=Value, elements=Py_ssize_t)
cpdef object effort(Op row, object inputs)

@cython.locals(value=Value, below=Pending, size=Py_ssize_t, nodes=list)
cpdef Pending waiting(Op row, Spec spec, object inputs)

@cython.locals(value=Value, plain=bint, waits=bint, inputs=tuple, spec=Spec)
cpdef Value binary(Op row, object a, object b, object run)

@cython.locals(value=Value, base=Value)
cpdef Value run_view(Op row, Spec spec, Node node, object inputs)

cpdef Value run(Op row, Spec spec, Node node, object inputs, object buffer=*)

@cython.locals(nbytes=Py_ssize_t)
cpdef Value probe(object here, Op row, Spec spec, Node node, object inputs)

cpdef bint raising()

cpdef Value _hit(Node node, object entry)

cpdef tuple _timed(object here, Op row, Spec spec, Node node, object data)

cpdef Value _kept(Node node, object data)
