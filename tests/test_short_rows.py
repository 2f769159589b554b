"""Places of extremes along short rows: NumPy's answer, for every length, dtype and order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lima
from lima.op import FUSES

pytestmark = pytest.mark.skipif(not FUSES, reason="lima is not compiled: NumPy itself runs")

DTYPES = (np.float64, np.float32, np.int64, np.int32)
ODD = [0.0, -0.0, 1.0, -1.0, 3.0, 3.0, np.inf, -np.inf, np.nan, -np.nan, 1e300, 5e-324]


@given(
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 5), max_size=2),
    st.integers(1, 14),
    st.integers(0, 2**32 - 1),
)
def test_places_are_those_of_numpy(dtype, lead, length, seed):
    from lima.short_rows import places

    rng = np.random.default_rng(seed)
    a = rng.choice(ODD, (*lead, length))
    if np.dtype(dtype).kind == "i":
        a = rng.integers(-2, 3, a.shape)
    with np.errstate(all="ignore"):
        a = a.astype(dtype)
    for least, function in ((False, np.argmax), (True, np.argmin)):
        found = places(a, least)
        if found is None:
            assert a.ndim < 2 or length > 12
            continue
        wanted = function(a, axis=-1)
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        assert np.array_equal(found, wanted)


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
    from lima.short_rows import places

    assert places(a, False) is None


def test_traced_calls_give_the_same_in_every_spelling():
    @lima.traced
    def spelled(a):
        return (
            a.argmax(axis=1), a.argmax(-1), np.argmin(a, axis=1), np.argmin(a, axis=-1, keepdims=True),
            a.argmax(), a.argmin(axis=0), np.argmax(a.T, axis=1),
        )  # fmt: skip

    a = np.random.default_rng(0).standard_normal((9000, 4))
    a[17, 2] = a[40, 0] = np.nan
    wanted = (
        a.argmax(axis=1), a.argmax(-1), np.argmin(a, axis=1), np.argmin(a, axis=-1, keepdims=True),
        a.argmax(), a.argmin(axis=0), np.argmax(a.T, axis=1),
    )  # fmt: skip
    with lima.session():
        for _ in range(2):
            for found, want in zip(spelled(a), wanted, strict=True):
                assert found.dtype == want.dtype and np.array_equal(found, want)
    for axis in (2, -3):
        with pytest.raises(np.exceptions.AxisError):
            lima.traced(lambda a, axis=axis: a.argmax(axis=axis))(a)
