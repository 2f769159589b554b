cimport cython
from lima.values cimport Pending, Value

cpdef object force(Value value)

@cython.locals(value=Value, found=list)
cpdef list forced(object inputs)
