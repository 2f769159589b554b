cimport cython
from lima.cache cimport Cache
from lima.entries cimport Entry
from lima.node cimport Node, Spec, new_node
from lima.op cimport Op
from lima.pieces cimport bare, constant, form_of, parts, pieces, structured, upright
from lima.values cimport Pending, Value, aliased, hush, new_value, nodes_of, unhush

cdef class Account:
    cdef public double spent, size
    cdef public Node node
    cdef public object table
    cdef public bint barred

    cpdef double allows(self, double direct)

cdef class Tools:
    cdef public object session, apply
    cdef public Cache cache
    cdef public dict accounts, lately, brief
    cdef public Account awaited
    cdef public dict _depths

    @cython.locals(row=Op, spec=Spec, node=Node)
    cpdef bint known(self, str name, object a, object b)

    cpdef bint has(self, Node node)

    cpdef void note(self, Value value)

    @cython.locals(found=Value, made=Node, value=Value)
    cpdef Value again(self, Node node)

    @cython.locals(row=Op, spec=Spec, found=Value)
    cpdef Value product_of(self, str name, Value a, Value b)

    @cython.locals(value=Value, found=Value, inexact=bint, entry=Entry, cache=Cache)
    cpdef Value recall(self, Node node)

    @cython.locals(node=Node, kept=bint, cache=Cache)
    cpdef bint hold(self, Value value, double seconds)

    @cython.locals(accounts=dict, found=Account)
    cpdef Account account(self, object key)

    cpdef bint ventures(self, double direct, double price)

    @cython.locals(top=Pending, item=Pending, notes=dict, seconds=double, todo=list, seen=set, row=Op)
    cpdef double building(self, Value value)

    @cython.locals(notes=dict)
    cpdef object side(self, object make, Value value, list found, bint flat, Py_ssize_t inner)

    cpdef double product(self, Value a, Value b, bint symmetric=*)
