cpdef object here()
