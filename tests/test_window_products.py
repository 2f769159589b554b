"""Products over windows of rows: the sum over a window within and the rows between."""

import numpy as np
import pytest

import lima
from lima import cost
from lima.ops import windows

RULE = "product-of-windows"


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(windows, "STEP", 1e-12)


def matrix(seed, rows=9000, columns=12, dtype="f8"):
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((rows, columns))
    return (made + 1j * made[::-1] if np.dtype(dtype).kind == "c" else made).astype(dtype)


def use(X, Y, y, spans):
    found = []
    for i, k in spans:
        Z = X[i:k]
        found += [Z.T @ Z, X[i:k].T @ Y[i:k], Z.T @ y[i:k], np.dot(Y[i:k].T, X[i:k])]
    return found


def pairs(X, Y, y, spans):
    for i, k in spans:
        yield from ((X[i:k].T, X[i:k]), (X[i:k].T, Y[i:k]), (X[i:k].T, y[i:k]), (Y[i:k].T, X[i:k]))


SPANS = {
    "growing": [(0, k) for k in range(3000, 9001, 1000)],
    "growing to the front": [(i, 9000) for i in range(6000, -1, -1000)],
    "both ways": [(4000, 5000), (3500, 6000), (100, 8999), (0, 9000)],
    "two within": [(500, 3000), (4000, 7000), (0, 8000)],
    "overlapping": [(0, 4000), (2000, 6000), (0, 7000)],
    "again": [(0, 5000), (0, 6000), (0, 5000), (0, 6000)],
    "negative": [(-9000, -4000), (-9000, -2000), (0, -1000)],
    "empty and single": [(5, 5), (5, 4000), (4, 4001), (3, 4001)],
}


@pytest.mark.parametrize("name", SPANS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "c16"])
def test_windows_of_any_order(name, dtype):
    X, Y, y = (
        matrix(1, dtype=dtype),
        matrix(2, columns=5, dtype=dtype),
        matrix(3, dtype=dtype)[:, 0],
    )
    arguments = X, Y, y.copy(), SPANS[name]
    want = use(*arguments)
    with lima.session(exactness="rounding", strict=True) as session:
        got = lima.traced(use)(*arguments)
        assert session.stats.partial[RULE] >= 1  # the least are not worth keeping
    eps = np.finfo(dtype).eps
    for g, w, (a, b) in zip(got, want, pairs(*arguments), strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        assert g.flags.c_contiguous == w.flags.c_contiguous
        assert (np.abs(g - w) <= 2 * (a.shape[-1] + 8) * eps * (np.abs(a) @ np.abs(b))).all()
    for gram in got[::4]:
        assert dtype == "c16" or gram.tobytes() == gram.T.copy().tobytes()


@pytest.mark.parametrize("scale", [1e-150, 1e120])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_errors_stay_rounding_errors(scale, shift):
    X = (matrix(1) * np.logspace(-6, 6, 12) + shift) * scale
    with lima.session(exactness="rounding", strict=True) as session:
        T = lima.array(X)
        for k in range(2000, 9000, 1000):
            Z = X[:k]
            got = np.asarray(T[:k].T @ T[:k])
            bound = 2 * (k + 8) * np.finfo("f8").eps * (np.abs(Z).T @ np.abs(Z))
            assert (np.abs(got - Z.T @ Z) <= bound).all()
        assert session.stats.partial[RULE] >= 6


def test_windows_that_are_none(monkeypatch):
    """Other steps, other stretches on either side, other arrays, other columns, integers."""
    X = matrix(1)
    with lima.session(exactness="rounding", strict=True) as session:
        for A in (lima.array(X), lima.array((X * 9).astype("i8"))):
            B = lima.array(np.asarray(A) * 2)
            P, Q = np.asarray(A), np.asarray(B)
            for k in (4000, 5000):
                for a, b, c, d in (
                    (A[:k:2], A[:k:2], P[:k:2], P[:k:2]),
                    (A[:k], A[1 : k + 1], P[:k], P[1 : k + 1]),
                    (A[:k], B[1 : k + 1], P[:k], Q[1 : k + 1]),
                    (A[:k][::-1], A[:k][::-1], P[:k], P[:k]),
                    (A[:k, 2:], A[:k, 2:], P[:k, 2:], P[:k, 2:]),
                ):
                    np.testing.assert_allclose(np.asarray(a.T @ b), c.T @ d, rtol=1e-9, atol=1e-9)
        assert not session.stats.partial[RULE]


def test_rows_that_were_written_since():
    @lima.traced
    def use(X):
        first = X[:5000].T @ X[:5000]
        X[40] = 7.0
        return first, X[:6000].T @ X[:6000], X[:7000].T @ X[:7000]

    with lima.session(exactness="rounding", strict=True) as session:
        for got, want in zip(use(matrix(1)), use.__wrapped__(matrix(1)), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-9)
        assert session.stats.partial[RULE] == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite(value):
    X = matrix(1)
    X[5500, 3] = value
    with lima.session(exactness="rounding", strict=True), np.errstate(all="ignore"):
        T = lima.array(X)
        for k in (5000, 6000, 7000, 5400):
            want = X[:k].T @ X[:k]
            np.testing.assert_allclose(np.asarray(T[:k].T @ T[:k]), want, rtol=1e-9, atol=1e-9)


def test_what_was_evicted_is_computed_again():
    X = matrix(1)
    with lima.session(exactness="rounding", strict=True) as session:
        T = lima.array(X)
        for k in (4000, 5000, 6000, 7000):
            np.testing.assert_allclose(np.asarray(T[:k].T @ T[:k]), X[:k].T @ X[:k], atol=1e-9)
            session.clear()
        assert not session.stats.partial


@pytest.mark.parametrize("options", [{"exactness": "bitwise"}, {"reuse": "full"}])
def test_sessions_that_do_not_allow_it(options):
    X = matrix(1)
    with lima.session(**{"exactness": "rounding", "strict": True, **options}) as session:
        T = lima.array(X)
        for k in (4000, 5000, 6000):
            assert np.asarray(T[:k].T @ T[:k]).tobytes() == (X[:k].T @ X[:k]).tobytes()
        assert not session.stats.partial


def test_not_where_it_costs_more(monkeypatch):
    monkeypatch.setattr(windows, "STEP", 1.0)
    with lima.session(exactness="rounding", strict=True) as session:
        T = lima.array(matrix(1))
        for k in (4000, 5000, 6000):
            T[:k].T @ T[:k]
        assert not session.stats.partial


def test_its_lineage_computes_the_same_bits():
    T = lima.array(matrix(1), name="X")
    with lima.session(exactness="rounding", strict=True) as session:
        for k in (4000, 5000, 6000):
            G = T[:k].T @ T[:k]
        assert session.stats.partial[RULE] == 2 and RULE in str(lima.explain(G))
        assert lima.recompute(lima.lineage(G)).tobytes() == np.asarray(G).tobytes()
