cdef int _left

cpdef tick()
