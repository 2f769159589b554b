"""Reductions of joined and chosen lines: from those of the parts, or as NumPy does them."""

import numpy as np
import pytest

import lima
from lima import cost
from lima.ops import joined

EXACT = ["max", "min", "any", "all", "count_nonzero", "sum", "prod"]
ROUNDED = ["sum", "mean", "var", "std"]
SHAPES = {
    "vstack": lambda X, D, v: np.vstack([X, D, X[:50]]),
    "vstack of vectors": lambda X, D, v: np.vstack([X, X[3], D]),
    "hstack": lambda X, D, v: np.hstack([X, X[:, 1:4]]),
    "column_stack": lambda X, D, v: np.column_stack([v, X, v]),
    "concatenate": lambda X, D, v: np.concatenate([v, v[:40]] * 15),
    "columns": lambda X, D, v: X[:, [3, 0, 3, 1, 2, 5]],
    "one column": lambda X, D, v: X[:, [4]],
    "rows": lambda X, D, v: X[5:5000:2],
    "joined rows": lambda X, D, v: np.concatenate([X[:400], X[700:]]),
    "columns backwards": lambda X, D, v: X[:, ::-1],
    "a copy": lambda X, D, v: np.vstack([X, D]).copy(),
    "nested": lambda X, D, v: np.vstack([np.vstack([X, D]), np.vstack([D, X])]),
    "with ones": lambda X, D, v: np.hstack([X, np.ones((len(X), 1), X.dtype)]),
    "empty part": lambda X, D, v: np.vstack([X, X[:0]]),
    "F order": lambda X, D, v: np.vstack([np.asfortranarray(X), D]),
}


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(joined, "STEP", 1e-12)


def arrays(dtype, scale=1.0, shift=0.0):
    rng = np.random.default_rng(5)
    made = []
    for shape in ((6000, 7), (900, 7), 6000):
        x = rng.standard_normal(shape) * scale + shift
        if np.dtype(dtype).kind == "c":
            x = x + 1j * rng.standard_normal(shape)
        made.append((x * (9 if np.dtype(dtype).kind in "iu" else 1)).astype(dtype))
    return made


def run(shape, name, options, given, **session):
    """What the reduction gives, plainly and traced, once its parts are known; and the rules."""
    build, reduce = SHAPES[shape], getattr(np, name)
    want = reduce(build(*given), **options)
    with lima.session(strict=True, **{"exactness": "rounding", **session}) as here:
        X, D, v = map(lima.array, given)
        for part in (X, D):
            for axis in (0, 1):
                reduce(part, axis=axis)
        got = reduce(build(X, D, v), **options)
        data = np.asarray(got)
        if shape in ("vstack", "hstack", "rows", "nested"):  # others have leaves besides
            assert np.asarray(lima.recompute(lima.lineage(got))).tobytes() == data.tobytes()
        return data, want, here.stats.partial


WAITING = SHAPES.keys() - {"empty part", "with ones", "one column", "F order", "rows"}


@pytest.mark.parametrize("shape", sorted(WAITING))
def test_every_shape_is_derived_for_some_axis(shape):
    axes = ({"axis": 0}, {"axis": -1}) if shape != "concatenate" else ({}, {"axis": 0})
    assert any(run(shape, "sum", options, arrays("f8"))[2] for options in axes)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["i8", "i1", "?", "f4"])
def test_exact_reductions_keep_their_bits(name, shape, dtype):
    """In a session that wants bits: integers wrap, and floating point sums are not derived."""
    given = arrays(dtype)
    for options in ({}, {"axis": 0}, {"axis": -1}, {"axis": 0, "keepdims": True}):
        got, want, fired = run(shape, name, options, given, exactness="bitwise")
        assert got.dtype == want.dtype and got.shape == want.shape
        assert got.tobytes() == np.asarray(want).tobytes()
        if np.dtype(dtype).kind == "f" and name not in ("max", "min"):
            assert not fired


DATA = [
    *(("f8", 1.0, 0.0), ("f8", 1e-150, 1e-150), ("f8", 1e-3, 1e3), ("f8", 1e120, 1e123)),
    *(("f4", 1e-15, 1e-15), ("c16", 1e6, 3e6)),
]


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "scale", "shift"), DATA)
def test_sums_are_off_by_rounding_only(name, shape, dtype, scale, shift):
    given = arrays(dtype, scale, shift)
    for options in ({}, {"axis": 0}, {"axis": -1}, {"axis": 0, "keepdims": True}):
        got, want, _ = run(shape, name, options, given)
        Z = SHAPES[shape](*given)
        assert got.dtype == want.dtype and got.shape == want.shape
        n, eps = Z.size + 8, np.finfo(dtype).eps
        if name in ("sum", "mean"):
            limit = 2 * n * eps * getattr(np, name)(np.abs(Z), **options)
        else:
            limit = 2 * n * eps * np.abs(want)
        assert (np.abs(got - want) <= limit + np.finfo(dtype).tiny).all()


@pytest.mark.parametrize("options", [{"ddof": 1}, {"ddof": 1, "axis": 0}, {"ddof": 0.5, "axis": 0}])
def test_degrees_of_freedom(options):
    for name in ("var", "std"):
        got, want, _ = run("vstack", name, options, arrays("f8"))
        np.testing.assert_allclose(got, want, rtol=1e-12)


OTHERWISE = [{"dtype": "f4"}, {"initial": 3.0}, {"where": np.arange(7) > 2}, {"axis": ()}]


@pytest.mark.parametrize("options", OTHERWISE)
def test_what_a_parameter_changes_is_left_to_numpy(options):
    got, want, fired = run("vstack of vectors", "sum", options, arrays("f8"))
    assert got.tobytes() == np.asarray(want).tobytes() and not fired


@pytest.mark.parametrize("dtype", ["f2", "O"])
def test_halves_and_objects_are_left_to_numpy(dtype):
    got, want, fired = run("one column", "sum", {"axis": 0}, arrays(dtype))
    assert got.tolist() == want.tolist() and not fired


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_not_finite_comes_from_numpy(value):
    X, D, v = arrays("f8")
    D[5, 3] = value
    for name in ("max", "min", "sum", "mean", "var"):
        with np.errstate(all="ignore"):
            got, want, _ = run("vstack", name, {"axis": 0}, (X, D, v), exactness="bitwise")
            assert got.tobytes() == want.tobytes()
            got, want, _ = run("vstack", name, {"axis": 0}, (X, D, v))
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_zeros_of_both_signs():
    """Which of two zeros is the larger depends on the order; NumPy's answer is given."""
    X, D, v = (-np.abs(a) for a in arrays("f8"))
    X[:, 2], D[:, 2] = -0.0, -0.0
    X[::3, 2], D[::7, 2] = 0.0, 0.0
    for shape in ("vstack", "hstack", "columns"):
        for name in ("max", "min"):
            got, want, fired = run(shape, name, {"axis": 0}, (X, D, v), exactness="bitwise")
            assert got.tobytes() == want.tobytes()
            assert name == "min" or shape == "columns" or not fired


def test_spread_is_not_merged_where_means_are_large():
    """The guard is seen to refuse: means a billion standard deviations away, nearly equal."""
    rng = np.random.default_rng(1)
    X, D = rng.standard_normal((6000, 7)), 0.3 + rng.standard_normal((900, 7))
    for shift, fires in ((0.0, True), (1.0, True), (1e9, False)):
        given = X + shift, D + shift, X[:, 0]
        got, want, fired = run("vstack", "var", {"axis": 0}, given)
        assert bool(fired) == fires
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_spread_of_constant_columns():
    X, D, v = arrays("f8")
    X[:, 1], D[:, 1] = 0.1, 0.1
    got, want, _ = run("vstack", "std", {"axis": 0}, (X, D, v))
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


def test_not_chosen_where_it_costs_more(monkeypatch):
    monkeypatch.setattr(joined, "STEP", 1.0)
    for name in ("max", "sum", "var"):
        got, want, fired = run("vstack", name, {"axis": 0}, arrays("f8"))
        assert not fired and got.tobytes() == want.tobytes()


def test_the_joined_array_is_not_built():
    given = [lima.array(a) for a in arrays("f8")]
    with lima.session(strict=True, exactness="rounding") as session:
        np.max(given[0], axis=0), np.max(given[1], axis=0)
        Z = np.vstack(given[:2])
        np.max(Z, axis=0)
        assert session.stats.partial["reduction-of-lines"] == 1 and Z._value.data is None


def test_parts_that_were_written_since():
    X, D, _ = arrays("f8")

    @lima.traced
    def use(X, D):
        first = X.sum(axis=0), D.max(axis=0)
        X[7], D[3, 2] = 4.0, 99.0
        Z = np.vstack([X, D])
        return *first, Z.sum(axis=0), Z.max(axis=0)

    with lima.session(strict=True, exactness="rounding") as session:
        want = use.__wrapped__(X.copy(), D.copy())
        for got, w in zip(use(X.copy(), D.copy()), want, strict=True):
            np.testing.assert_allclose(got, w, rtol=1e-12, atol=1e-9)
        assert session.stats.partial


def test_one_reduction_of_the_whole_once_the_parts_have_paid_for_it(monkeypatch):
    X = arrays("f8")[0]
    with lima.session(strict=True, exactness="rounding", reuse="partial") as session:
        T = lima.array(X)
        for k in range(20):
            columns = [(3 * k + j) % 7 for j in range(6 + k % 2)]
            got = np.asarray(T[:, columns].sum(axis=0))
            np.testing.assert_allclose(got, X[:, columns].sum(axis=0), rtol=1e-9, atol=1e-9)
        assert session.stats.partial["sum-of-lines"] >= 14


@pytest.mark.parametrize("shape", ["vstack", "hstack", "rows"])
@pytest.mark.parametrize("name", ["var", "std"])
def test_planning_a_spread_says_nothing(shape, name, recwarn):
    """One degree of freedom less than rows is no news where there are thousands of rows."""
    run(shape, name, {"axis": 0, "ddof": 1}, arrays(np.float64))
    assert not recwarn.list
