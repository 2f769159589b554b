cimport cython

cdef class Machine:
    cdef public double flops, stream, fresh

cpdef Machine machine()

@cython.locals(speed=Machine, narrow=double, wide=double, work=double, traffic=double)
cpdef double product(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n, Py_ssize_t itemsize, bint symmetric=*)

@cython.locals(nbytes=double, pages=double, n=Py_ssize_t)
cpdef double build(tuple shape, Py_ssize_t itemsize, Py_ssize_t runs=*)
