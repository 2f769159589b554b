cimport cython
from lima.node cimport Node, Spec
from lima.values cimport Foreign, Pending, Value

@cython.locals(node=Node, value=Value, present=bint, large=bint, total=Py_ssize_t, size=Py_ssize_t)
cpdef Value apply(object row, Spec spec, object inputs)

@cython.locals(value=Value, elements=Py_ssize_t)
cpdef object effort(object row, object inputs)

@cython.locals(value=Value, below=Pending, shape=tuple, its=tuple, key=list, nodes=list)
cpdef Value waiting(object row, tuple inputs)

@cython.locals(value=Value, waits=bint, inputs=tuple)
cpdef Value binary(object row, object a, object b, object run)

@cython.locals(value=Value, base=Value)
cpdef Value run_view(object row, Spec spec, Node node, object inputs)

cpdef Value run(object row, Spec spec, Node node, object inputs, object buffer=*)

@cython.locals(nbytes=Py_ssize_t)
cpdef Value probe(object here, object row, Spec spec, Node node, object inputs)

cpdef bint _raising()

cpdef Value _hit(Node node, object entry)

cpdef tuple _timed(object here, object row, Spec spec, Node node, object data)

cpdef Value _kept(Node node, object data)
