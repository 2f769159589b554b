cimport cython
from lima.cache cimport Cache
from lima.entries cimport Entry
from lima.forcing cimport folded, forced
from lima.node cimport Node, Spec, new_node
from lima.op cimport Op
from lima.pieces cimport structured
from lima.places cimport here
from lima.sessions cimport Session, current
from lima.stats cimport outcome_row
from lima.values cimport Foreign, Pending, Value, error_modes, new_pending, new_value, nodes_of, size_of, spec_for, watch

@cython.locals(node=Node, here=Session)
cpdef Value apply(Op row, Spec spec, object inputs)

@cython.locals(node=Node, value=Value, here=Session, large=bint, total=Py_ssize_t, size=Py_ssize_t)
cpdef Value light(Op row, Spec spec, object inputs)

@cython.locals(value=Value, elements=Py_ssize_t)
cpdef object effort(Op row, object inputs)

@cython.locals(value=Value, below=Pending, size=Py_ssize_t, nodes=list, little=bint)
cpdef Pending waiting(Op row, Spec spec, object inputs)

@cython.locals(below=Pending)
cpdef bint _spares(object inputs)

@cython.locals(value=Value, plain=bint, waits=bint, inputs=tuple, spec=Spec)
cpdef Value binary(Op row, object a, object b, object run)

@cython.locals(value=Value, base=Value)
cpdef Value run_view(Op row, Spec spec, Node node, object inputs)

cpdef Value run(Op row, Spec spec, Node node, object inputs, object buffer=*)

cpdef tuple _form(Op row, object inputs)

@cython.locals(count=int)
cpdef bint rests(dict brief, tuple form)

@cython.locals(count=int)
cpdef object tire(dict brief, tuple form, double seconds)

@cython.locals(nbytes=Py_ssize_t, entry=Entry, digest=bytes, kept=bint, seconds=double, start=double, form=tuple)
cpdef Value probe(Session here, Op row, Spec spec, Node node, object inputs)

cpdef bint raising()

cpdef Value _hit(Node node, Entry entry)

cpdef tuple _timed(Session here, Op row, Spec spec, Node node, object data)

cpdef Value _reduced(Session here, Op row, Node node, object result, double seconds)

cpdef Value _kept(Node node, object data)
