cimport cython
from lima.entries cimport Entry
from lima.fusion cimport Group
from lima.node cimport Node, Spec
from lima.op cimport Op
from lima.sessions cimport Pool, Session, current
from lima.stats cimport outcome_row
from lima.values cimport Pending, Value, error_modes, live_users

@cython.locals(here=Session, probed=Pending)
cpdef object force(Value value)

@cython.locals(item=Pending, row=Op, plan=list, seen=set, stack=list, reuses=bint)
cpdef list _planned(Session here, Pending value, Pending probed)

@cython.locals(value=Pending, made=_Pass)
cpdef object folded(Session here, Op row, Spec spec, object inputs)

@cython.locals(value=Value, found=list)
cpdef list forced(object inputs)

@cython.locals(node=Node, entry=Entry)
cpdef bint _found(Session here, Pending item)

cdef class _Pass:
    cdef public object fold
    cdef public object folded
    cdef public Pending goal
    cdef public Session here
    cdef public dict local
    cdef public set members
    cdef public list plan
    cdef public Pool pool
    cdef public dict readers

    @cython.locals(item=Pending, group=Group, fuses=bint)
    cpdef object run(self)

    cpdef object alone(self, Pending item, object args)

    cpdef object put(self, Pending item, object result)

    @cython.locals(item=Pending, goal=Pending, here=Session, lonely=bint, members=list, made=list, partial=bint, keeps=bint)
    cpdef object together(self, Group group)

    @cython.locals(readers=dict)
    cpdef object count(self, object args, int change)

    cpdef object free(self, object args)

    @cython.locals(user=Value)
    cpdef bint temporary(self, Pending item)

    @cython.locals(here=Session, node=Node, row=Op)
    cpdef object compute(self, Pending item, object args)

    cpdef object read(self, Value a)

    cpdef object spare(self, Pending item, object args, list data)
