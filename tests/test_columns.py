"""Spread of columns: NumPy's bits, for every shape, dtype, order and number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lima
from lima.op import FUSES

pytestmark = pytest.mark.skipif(not FUSES, reason="lima is not compiled: NumPy itself runs")

WILD = [1.0, -1.0, 0.1, 1e10, 0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, 1e-200]


def same(found, wanted):
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert found.tobytes() == wanted.tobytes()


def kernels():
    from lima.columns import KERNELS

    return KERNELS


def test_both_have_a_kernel():
    assert set(kernels()) == {"var", "std"}


@given(
    st.sampled_from(["var", "std"]),
    st.sampled_from([np.float64, np.float32]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([0, 1, 1.5, -2]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_bits_are_those_of_numpy(name, dtype, rows, columns, ddof, keepdims, wild, seed):
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        a = rng.standard_normal((rows, columns)) * 10.0 ** rng.integers(-9, 9, columns)
        if wild:
            a = np.where(rng.random(a.shape) < 0.1, rng.choice(WILD, a.shape), a)
        a = a.astype(dtype)
        found = kernels()[name](a, keepdims, ddof)
        if found is None:
            assert wild or rows - ddof <= 0 or columns == 1
        else:
            same(found, getattr(np, name)(a, axis=0, ddof=ddof, keepdims=keepdims))


@pytest.mark.parametrize(
    "a",
    [
        np.asfortranarray(np.eye(3)),
        np.eye(6)[:, ::2],
        np.eye(3).astype(">f8"),
        np.zeros((0, 3)),
        np.zeros((3, 0)),
        np.ones(5),
        np.ones((5, 1)),
        np.ones((2, 3, 4)),
        np.eye(3, dtype=np.float16),
        np.eye(3, dtype=int),
        np.eye(3, dtype=complex),
        np.frombuffer(bytes(73), np.uint8)[1:].view(np.float64).reshape(3, 3),
        np.array([[np.inf, 1.0], [1.0, 2.0]]),
        np.array([[1e200, 1], [-1e200, 1]]),
    ],
    ids=[
        "fortran", "strided", "swapped", "no rows", "no columns", "vector", "one column", "cube", "half",
        "integers", "complex", "unaligned", "infinite", "overflow",
    ],
)  # fmt: skip
def test_other_arrays_are_left_to_numpy(a):
    assert [f(a, False) for f in kernels().values()] == [None, None]


def test_squares_that_vanish_are_left_to_numpy_where_it_tells_of_them():
    a = np.array([[1e-200, 1], [3e-200, 2]])
    assert kernels()["var"](a, False)[0] == 0.0
    with np.errstate(under="warn"):
        assert kernels()["var"](a, False) is None


@pytest.mark.parametrize("name", ["var", "std"])
def test_traced_calls_give_the_same_in_every_spelling(name):
    function = getattr(np, name)

    def spelled(a):
        method = getattr(a, name)
        return (
            method(axis=0), method(0), function(a, axis=-2), function(a, axis=0, keepdims=True),
            method(), method(axis=1), function(a, axis=0, ddof=1), function(a.T, axis=0),
            function(a, 0, None, method(axis=0)), function(a, axis=(0,)),
        )  # fmt: skip

    a = np.random.default_rng(0).standard_normal((9000, 4))
    for b in (a, np.where(a > 3, np.nan, a)):
        with lima.session(exactness="bitwise"):
            for _ in range(2):
                for found, wanted in zip(lima.traced(spelled)(b), spelled(b), strict=True):
                    same(found, wanted)
    for axis in (2, -3):
        with pytest.raises(np.exceptions.AxisError):
            lima.traced(lambda a, axis: function(a, axis=axis))(a, axis)


def test_too_few_rows_warn_as_in_numpy():
    with pytest.warns(RuntimeWarning, match="Degrees of freedom"):
        found = lima.traced(lambda a: a.std(axis=0, ddof=1))(np.ones((1, 9000)))
    assert np.isnan(found).all()
