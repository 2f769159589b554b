"""Reductions down columns: NumPy's bits, for every shape, dtype, order, number and thread count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lima
from lima.op import FUSES

pytestmark = pytest.mark.skipif(not FUSES, reason="lima is not compiled: NumPy itself runs")

WILD = [1.0, -1.0, 0.1, 1e10, 0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, 1e-200]
NAMES = ["sum", "mean", "max", "min", "var", "std"]
SPREADS = ["var", "std"]


def same(found, wanted):
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert found.tobytes() == wanted.tobytes()


def kernels():
    from lima.columns import KERNELS

    return KERNELS


def test_all_have_a_kernel():
    assert set(kernels()) == set(NAMES)


def numbers(rng, shape, dtype, wild):
    """Random numbers of a dtype, columns of all sizes; `wild` ones overflow, vanish, are not any."""
    a = rng.standard_normal(shape) * 10.0 ** rng.integers(-9, 9, shape[1:])
    if np.dtype(dtype).kind in "iu":
        return (rng.random(shape) * 2.0**62).astype(np.int64).astype(dtype)
    if wild:
        a = np.where(rng.random(a.shape) < 0.1, rng.choice(WILD, a.shape), a)
    return a.astype(dtype)


@given(
    st.sampled_from(NAMES),
    st.sampled_from([np.float64, np.float32, np.int64, np.uint64, np.int8, np.uint16]),
    st.one_of(
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    ),
    st.sampled_from([0, 1, 1.5, -2]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_bits_are_those_of_numpy(name, dtype, shape, ddof, keepdims, wild, seed):
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        a = numbers(rng, shape, dtype, wild)
        more = {"ddof": ddof} if name in SPREADS else {}
        found = kernels()[name](a, keepdims, **more)
        if found is None:
            adds = name not in ("max", "min")
            other = a.dtype.kind in "iu" and adds and (name != "sum" or a.itemsize < 8)
            assert wild or other or a[0].size == 1 or (more and shape[0] - ddof <= 0)
        else:
            same(found, getattr(np, name)(a, axis=0, keepdims=keepdims, **more))


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("columns", [2, 63, 64, 65, 100, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_threads_share_the_columns_and_not_the_bits(name, columns, threads):
    rng = np.random.default_rng(columns)
    a = rng.choice([0.0, -0.0, 1.0, -1.0, 0.5], (1_200_000 // columns, columns))
    a[:, 1] = rng.choice([0.0, -0.0], len(a))
    for b in (a, a.astype(np.float32)):
        same(kernels()[name](b, False, threads=threads), getattr(np, name)(b, axis=0))


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_what_numpy_warns_of_is_left_to_it(name):
    a = np.full((3, 4), 1.7e308)
    a[1, 2] = np.nan
    found = kernels()[name](a, False)
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(a, axis=0)
    assert found is None or found.tobytes() == wanted.tobytes()
    if name in ("sum", "mean"):
        assert found is None
        with pytest.warns(RuntimeWarning, match="overflow encountered in reduce"):
            lima.traced(lambda a: getattr(np, name)(a, axis=0))(np.full((3000, 40), 1.7e308))


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
        np.eye(3, dtype=np.float16),
        np.eye(3, dtype=bool),
        np.eye(3, dtype=complex),
        np.frombuffer(bytes(73), np.uint8)[1:].view(np.float64).reshape(3, 3),
    ],
    ids=[
        "fortran", "strided", "swapped", "no rows", "no columns", "vector", "one column", "half",
        "truth", "complex", "unaligned",
    ],
)  # fmt: skip
def test_other_arrays_are_left_to_numpy(a):
    assert [f(a, False) for f in kernels().values()] == [None] * len(NAMES)


@pytest.mark.parametrize("a", [[[np.inf, 1.0], [1.0, 2.0]], [[1e200, 1.0], [-1e200, 1.0]]])
@pytest.mark.parametrize("name", SPREADS)
def test_spreads_that_are_not_finite_are_left_to_numpy(name, a):
    assert kernels()[name](np.array(a), False) is None


def test_squares_that_vanish_are_left_to_numpy_where_it_tells_of_them():
    a = np.array([[1e-200, 1], [3e-200, 2]])
    assert kernels()["var"](a, False)[0] == 0.0
    with np.errstate(under="warn"):
        assert kernels()["var"](a, False) is None


@pytest.mark.parametrize("name", NAMES)
def test_traced_calls_give_the_same_in_every_spelling(name):
    function = getattr(np, name)

    def spelled(a):
        method = getattr(a, name)
        return (
            method(axis=0), method(0), function(a, axis=-2), function(a, axis=0, keepdims=True),
            method(), method(axis=1), function(a.T, axis=0), function(a, axis=(0,)),
            *([function(a, axis=0, ddof=1)] if name in SPREADS else []),
            *([function(a, 0, None, method(axis=0))] if name not in ("max", "min") else []),
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
