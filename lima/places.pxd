cimport cython

cpdef object here()

cdef dict _numbers
cdef dict _passed

@cython.locals(steps=int, kind=int, lines=dict)
cpdef int stand()
