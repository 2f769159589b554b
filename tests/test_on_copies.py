"""Code that refuses read-only arrays gets copies; what it writes is in the array afterwards."""

import numpy as np
import pytest
from numpy.lib import recfunctions
from same import same
from scipy import linalg, signal
from scipy.linalg import blas

import lima
from lima import on_copies

RECORDS = [("a", "f8"), ("b", "f8")]


def sections(x):
    sos = signal.butter(4, 0.3, output="sos")
    return signal.sosfilt(sos, x), sos * 2, signal.sosfiltfilt(sos, x)


def assigned_by_name(x):
    t = np.zeros(3, RECORDS)
    old = t["a"] + 1
    recfunctions.assign_fields_by_name(t, np.ones(3, [("a", "f8")]), zero_unassigned=False)
    return t, old, t["a"]


def filled(x):
    t = np.zeros(3, RECORDS)
    found = recfunctions.recursive_fill_fields(np.ones(2, RECORDS), t)
    found["a"][0] = 7
    return t, found is t


def unstructured(x):
    t = np.zeros(3, RECORDS)
    u = recfunctions.structured_to_unstructured(t)
    u[0] = 3
    t["b"][1] = 5
    return t, u, u.sum(axis=0)


def locked(x):
    t = np.zeros(3, RECORDS)
    t.setflags(write=False)
    recfunctions.assign_fields_by_name(t, np.ones(3, [("a", "f8")]))


def axpy(x):
    y = np.sort(x)
    old, view = y * 2, y[::2]
    z = linalg.blas.daxpy(np.ones(50), y, a=2)
    blas.dscal(2.0, view)
    return y, z, z is y, old, view


def gemm(x):
    C = np.zeros((2, 2), order="F")
    found = blas.dgemm(1.0, np.eye(2), x[:4].reshape(2, 2), c=C, overwrite_c=1)
    D = np.zeros((2, 2))
    return found, C, found is C, blas.dgemm(1.0, np.eye(2), D, c=D), D


def solved(x):
    A, b = np.asfortranarray(np.eye(2) * 2), np.ones(2)
    (gesv,) = linalg.get_lapack_funcs(("gesv",), (A, b))
    swap = linalg.get_blas_funcs("swap", (x,))
    found = gesv(A, b, overwrite_b=True)
    y = x + 1
    swap(x, y)
    return found, b, A, x, y, gesv.typecode


@pytest.mark.parametrize(
    "program", [sections, axpy, gemm, solved, assigned_by_name, filled, unstructured, locked]
)
def test_programs(program):
    same(program, lambda: (np.sin(np.arange(50.0)),))


def strict(a, *others, back="nothing"):
    """As compiled code that takes no read-only memory."""
    if not a.flags.writeable:
        raise ValueError("buffer source array is read-only")
    a[0] = 7
    return {"nothing": a.sum(), "itself": a, "a view": a[1:], "a list": [a, a.copy()]}[back]


strict.__module__ = "scipy.signal.strict"
strict_of_scipy = strict  # in traced code this means its twin


@pytest.mark.parametrize("back", ["nothing", "itself", "a list"])
def test_what_is_written_and_given_back(back):
    def program(x):
        y = np.sort(x)
        z = y + 1
        found = strict_of_scipy(y[1:], back=back)
        y[2] = 9
        return y, z, found

    same(program, lambda: (np.arange(5) + 0.34375,))


@pytest.mark.parametrize(
    ("use", "why"),
    [
        (lambda y: strict_of_scipy(y, back="a view"), "a view of it"),
        (lambda y: strict_of_scipy(y, y[1:]), "a copy and assign"),  # they lie in one memory
        (lambda y: strict_of_scipy(y, np.abs), "a copy and assign"),  # it may have been called
        (lambda y: strict_of_scipy(y, plain), "a copy and assign"),  # it may have been written
    ],
)
def test_what_cannot_be_followed_is_refused(use, why):
    with lima.session(), pytest.raises(NotImplementedError, match=why):
        lima.traced(lambda x: use(np.sort(x)))(np.arange(3) + 0.34375)


plain = np.zeros(3)


def test_other_errors_are_those_of_the_call():
    assert not on_copies.is_asked(ValueError("other"), (), {})
