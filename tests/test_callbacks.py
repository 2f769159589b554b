"""NumPy functions that call the user's function: NumPy's answer, with the lineage kept."""

import numpy as np
import pytest

import lima

X = np.arange(24.0).reshape(2, 3, 4) - 7


def spread(x, times=1.0):
    return (x.max() - x.min()) * times


def centred(x):
    return x - x.mean()


def matrix(x):
    return np.outer(x, x)[:2]


class Reused:
    """A callback that returns the same buffer each time."""

    def __call__(self, x):
        if not hasattr(self, "buffer"):
            self.buffer = np.zeros(2)
        self.buffer[:] = x[:2]
        return self.buffer


def whole_then_half(x):
    return int(x[0]) if x[0] < 0 else float(x[0]) + 0.5


def same(found, wanted):
    assert type(found) is type(wanted)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert found.tobytes() == wanted.tobytes()
    assert found.strides == wanted.strides


@pytest.mark.parametrize("function", [spread, centred, matrix, np.sort, whole_then_half, Reused()])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_apply_along_axis(function, axis):
    wanted = np.apply_along_axis(function, axis, X)
    same(lima.traced(lambda x: np.apply_along_axis(function, axis, x))(X), wanted)


def test_apply_along_axis_of_a_vector_with_arguments():
    wanted = np.apply_along_axis(spread, 0, X[0, 0], times=3.0)
    same(lima.traced(lambda x: np.apply_along_axis(spread, 0, x, times=3.0))(X[0, 0]), wanted)


@pytest.mark.parametrize(
    ("axis", "x"), [(3, X), (0, np.zeros((3, 0)))], ids=["no such axis", "nothing to call for"]
)
def test_apply_along_axis_refuses_as_numpy_does(axis, x):
    with pytest.raises(ValueError) as wanted:
        np.apply_along_axis(spread, axis, x)
    with pytest.raises(type(wanted.value), match=r"\w+") as found:
        lima.traced(lambda x: np.apply_along_axis(spread, axis, x))(x)
    assert str(found.value) == str(wanted.value)


def test_what_a_callback_computes_is_in_the_lineage():
    found = lima.traced(lambda x: np.apply_along_axis(spread, 1, x))(X[0])
    text = lima.lineage(found).log()
    assert "subtract" in text and "max" in text and "stack" in text
    again = lima.recompute(found, {"x": X[0]})
    assert np.asarray(again).tobytes() == found.tobytes()


def test_a_callback_for_thousands_of_lines_is_left_to_numpy():
    many = np.arange(3.0 * 5000).reshape(5000, 3)
    with lima.session() as s:
        found = lima.traced(lambda x: np.apply_along_axis(spread, axis=1, arr=x))(many)
        assert s.stats.barriers == 1
    same(found, np.apply_along_axis(spread, 1, many))


@pytest.mark.parametrize("axes", [0, 2, (0, 2), [1, -1]])
@pytest.mark.parametrize("function", [np.sum, np.cumsum])
def test_apply_over_axes(function, axes):
    wanted = np.apply_over_axes(function, X, axes)
    same(lima.traced(lambda x: np.apply_over_axes(function, x, axes))(X), wanted)


def test_apply_over_axes_refuses_as_numpy_does():
    with pytest.raises(ValueError, match="correct shape"):
        lima.traced(lambda x: np.apply_over_axes(lambda a, axis: a.sum(), x, 0))(X)


PIECES = {
    "numbers": lambda x: np.piecewise(x, [x < 0, x >= 0], [-1, 1]),
    "functions": lambda x: np.piecewise(x, [x < 0, x >= 3], [lambda v: -v, lambda v: v * 2, 7.5]),
    "one condition": lambda x: np.piecewise(x[0, 1], x[0, 1] > -2, [lambda v: v + 1, np.sin]),
    "overlap": lambda x: np.piecewise(x, [x > 0, x > 5], [1, 2]),
    "integers": lambda x: np.piecewise(x.astype(int), [x < 0], [lambda v: v / 2, 3]),
    "arguments": lambda x: np.piecewise(x, [x < 0], [lambda v, k: v * k, 0.0], 3.0),
    "nested list": lambda x: np.piecewise(x, [(x < 0).tolist()], [1, 2]),
    "constants": lambda x: np.piecewise(x[0, 0], [[True, False, True, False]], [1, 2]),
    "nothing there": lambda x: np.piecewise(x, [x > 1e9], [lambda v: 1 / 0, 2.0]),
    "scalar": lambda x: np.piecewise(x[0, 0, 0], [x[0, 0, 0] < 0], [-1, 1]),
}


@pytest.mark.parametrize("name", PIECES)
def test_piecewise(name):
    wanted = PIECES[name](X)
    found = lima.traced(PIECES[name])(X)
    assert np.asarray(found).tobytes() == np.asarray(wanted).tobytes()
    assert found.dtype == wanted.dtype and found.shape == wanted.shape


def test_piecewise_refuses_as_numpy_does():
    with pytest.raises(ValueError, match="2 or 3 functions"):
        lima.traced(lambda x: np.piecewise(x, [x < 0, x > 0], [1, 2, 3, 4]))(X)
