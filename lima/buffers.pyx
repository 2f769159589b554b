"""The buffer protocol of `lima.Array`, for compiled code that takes memoryviews of its arguments.

Only a class of C can offer it before Python 3.12. Without this module (lima is not compiled) such
code is to be given `np.asarray(x)`.
"""

from cpython.buffer cimport PyBUF_INDIRECT, PyBUF_WRITABLE, PyObject_GetBuffer
from cpython.ref cimport Py_DECREF


cdef class Buffered:
    """What lends its memory; `_lend(writable)` of a subclass gives the ndarray to lend.

    Python's `memoryview`, by which NumPy would read the array, is refused: NumPy then asks
    `__array__`, which knows more than a buffer can say.
    """

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        if flags & PyBUF_INDIRECT == PyBUF_INDIRECT:
            raise BufferError("a traced array has no memoryview; use memoryview(np.asarray(x))")
        data = self._lend(flags & PyBUF_WRITABLE == PyBUF_WRITABLE)
        Py_DECREF(None)  # which Cython has put into buffer.obj, and the next line overwrites
        PyObject_GetBuffer(data, buffer, flags)
