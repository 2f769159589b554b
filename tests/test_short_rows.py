"""Reductions along short rows: NumPy's bits, for every length, dtype and order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lima
from lima.op import FUSES

pytestmark = pytest.mark.skipif(not FUSES, reason="lima is not compiled: NumPy itself runs")

NAMES = ("argmax", "argmin", "max", "min", "sum", "mean")
DTYPES = (np.float64, np.float32, np.int64, np.int32)
TAME = [1.0, -1.0, 3.0, 3.0, 0.1, -7.7, 1e10, 1e-10, 0.0]
WILD = [*TAME, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e300, -1e300, 5e-324]


def same(found, wanted):
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert found.tobytes() == wanted.tobytes()


@given(
    st.sampled_from(NAMES),
    st.sampled_from(DTYPES),
    st.sampled_from([TAME, WILD]),
    st.lists(st.integers(0, 5), max_size=2),
    st.integers(1, 14),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_bits_are_those_of_numpy(name, dtype, numbers, lead, length, keepdims, seed):
    from lima.short_rows import KERNELS, LONGEST

    rng = np.random.default_rng(seed)
    a = rng.choice(numbers, (*lead, length))
    if np.dtype(dtype).kind == "i":
        a = rng.integers(-2, 3, a.shape)
    with np.errstate(all="ignore"):
        a = a.astype(dtype)
    found = KERNELS[name](a, keepdims)
    places = name.startswith("arg")
    short = a.ndim >= 2 and 1 < length <= LONGEST and (places or a.dtype.kind == "f")
    if found is None:
        assert numbers is WILD or not short
        return
    assert short
    same(found, getattr(np, name)(a, axis=-1, keepdims=keepdims))


def test_zeros_of_both_signs_and_what_is_not_finite_are_left_to_numpy():
    from lima.short_rows import KERNELS

    zeros, nan, inf = np.array([[0.0, -0.0]]), np.array([[np.nan, 1.0]]), np.array([[1e308, 1e308]])
    for name in ("max", "min"):
        assert KERNELS[name](zeros, False) is None and KERNELS[name](nan, False) is None
        assert KERNELS[name](np.zeros((2, 3)), False).tolist() == [0.0, 0.0]
    for name in ("sum", "mean"):
        assert KERNELS[name](nan, False) is None and KERNELS[name](inf, False) is None
    assert KERNELS["sum"](-np.zeros((2, 2)), False) is None


@pytest.mark.parametrize(
    "a",
    [
        np.asfortranarray(np.eye(3)),
        np.eye(6)[:, ::2],
        np.eye(3).astype(">f8"),
        np.zeros((3, 0)),
        np.eye(3, dtype=np.float16),
        np.eye(3, dtype=bool),
        np.eye(3, dtype=complex),
        np.frombuffer(bytes(73), np.uint8)[1:].view(np.float64).reshape(3, 3),
    ],
    ids=["fortran", "strided", "swapped", "empty", "half", "bool", "complex", "unaligned"],
)
def test_other_arrays_are_left_to_numpy(a):
    from lima.short_rows import KERNELS

    assert [name for name in NAMES if KERNELS[name](a, False) is not None] == []


@pytest.mark.parametrize("name", NAMES)
def test_traced_calls_give_the_same_in_every_spelling(name):
    function = getattr(np, name)

    def spelled(a):
        method = getattr(a, name)
        return (
            method(axis=1), method(-1), function(a, axis=1), function(a, axis=-1, keepdims=True),
            method(), method(axis=0), function(a.T, axis=1), method(axis=1, out=method(axis=1)),
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


def test_an_overflow_warns_as_in_numpy():
    a = np.full((9000, 2), 1e308)
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert np.isinf(lima.traced(lambda a: a.sum(axis=1))(a)).all()
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        lima.traced(lambda a: a.sum(axis=1))(a)
