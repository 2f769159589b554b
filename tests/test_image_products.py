"""Products of images P = X W from those of X, where the columns of P are not too short."""

import numpy as np
import pytest

import lima
from bench import parts
from lima import cost
from lima.ops import images

ROWS, COLUMNS = 30_000, 12
RULE, FAR = "product-of-images", "product-of-images-guarded"


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))
    monkeypatch.setattr(images, "STEP", 1e-12)


def matrix(seed, rows=ROWS, columns=COLUMNS, dtype="f8"):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(dtype)


def use(X, W, y, Y):
    P = X @ W
    return X.T @ X, X.T @ y, X.T @ Y, P, P.T @ P, P.T @ y, P.T @ Y, (X @ W).T @ (X @ W)


def outcome(X, W, y=None, Y=None, program=use, **session):
    y = matrix(7, dtype=X.dtype)[:, 0].copy() if y is None else y
    Y = matrix(8, columns=3, dtype=X.dtype) if Y is None else Y
    with np.errstate(all="ignore"):
        want = program(X, W, y, Y)
        with lima.session(**{"strict": True, "exactness": "rounding", **session}) as here:
            got = lima.traced(program)(X, W, y, Y)
    return got, want, here.stats.partial, (y, Y)


def within(got, want, P, others, factor):
    eps = factor * 8 * (len(P) + 40) * np.finfo(P.dtype).eps
    p = np.linalg.norm(P, axis=0)
    y, Y = others
    limits = p[:, None] * p, p * np.linalg.norm(y), p[:, None] * np.linalg.norm(Y, axis=0)
    for g, w, limit in zip(got[4:], want[4:], (*limits, limits[0]), strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        assert g.flags.c_contiguous == w.flags.c_contiguous
        assert (np.abs(g - w) <= eps * limit).all()


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("columns", [1, 5, 12])
def test_images(dtype, columns):
    X, W = matrix(1, dtype=dtype), np.linalg.qr(matrix(2, COLUMNS))[0][:, :columns].astype(dtype)
    got, want, fired, others = outcome(X, W)
    assert fired[RULE] >= 3
    within(got, want, X @ W, others, 16)
    assert got[4].tobytes() == got[4].T.copy().tobytes()


@pytest.mark.parametrize(("near", "plain", "far"), [(1.0, 1, 1), (1e-2, 0, 1), (1e-9, 0, 0)])
def test_the_guard_refuses_where_columns_cancel(near, plain, far):
    """X is nearly collinear, and W takes the difference of its columns."""
    X = matrix(1)
    X[:, 1] = X[:, 0] + near * X[:, 2]
    W = np.eye(COLUMNS)[:, :3].copy()
    W[1, 0] = -1.0
    for exactness, fires, factor in (("rounding", plain, 16), ("guarded", far, 1e6)):
        got, want, fired, others = outcome(X, W, exactness=exactness)
        assert bool(fired[RULE] + fired[FAR]) == fires
        within(got, want, X @ W, others, factor)
        if not fires:
            assert got[4].tobytes() == want[4].tobytes()


@pytest.mark.parametrize("scale", [1e-200, 1e-120, 1e-8, 1e8, 1e120, 1e200])
def test_tiny_and_huge_data(scale):
    for X, W in (
        (matrix(1) * scale, matrix(2, COLUMNS, 4)),
        (matrix(1) * scale, matrix(2, COLUMNS, 4) / scale),
        (matrix(1) * np.logspace(-5, 5, COLUMNS) * scale, matrix(2, COLUMNS, 4)),
    ):
        got, want, _, others = outcome(X, W)
        if np.isfinite(want[4]).all() and np.diagonal(want[4]).min() > 1e-280:
            within(got, want, X @ W, others, 16)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_what_is_not_finite(value):
    X, W = matrix(1), matrix(2, COLUMNS, 4)
    X[5, 2] = value
    got, want, *_ = outcome(X, W)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-9)


def test_what_was_written_since():
    def program(X, W, y, Y):
        G, P = X.T @ X, X @ W
        W[0] = 9.0
        first = P.T @ P
        Q = X @ W
        P[3] = 0.0
        second = P.T @ P, Q.T @ Q, Q.T @ P
        X[:, 1] = 2.0
        return G, first, *second, (X @ W).T @ (X @ W), Q.T @ Q

    with lima.session(strict=True, exactness="rounding"):
        given = [matrix(1), matrix(2, COLUMNS, 4), None, None]
        got = lima.traced(program)(*[None if x is None else x.copy() for x in given])
    for g, w in zip(got, program(*given), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-9)


def test_without_a_known_product_it_is_computed_as_asked():
    T, W = lima.array(matrix(1)), lima.array(matrix(2, COLUMNS, 4))
    with lima.session(strict=True, exactness="guarded") as session:
        P = T @ W
        P.T @ P, P.T @ T
        assert not session.stats.partial


@pytest.mark.parametrize("options", [{"exactness": "bitwise"}, {"reuse": "full"}])
def test_sessions_that_do_not_allow_it(options):
    got, want, fired, _ = outcome(matrix(1), matrix(2, COLUMNS, 4), **options)
    assert not fired and got[4].tobytes() == want[4].tobytes()


def test_not_where_it_costs_more(monkeypatch):
    monkeypatch.setattr(images, "STEP", 1.0)
    assert not outcome(matrix(1), matrix(2, COLUMNS, 4))[2][RULE]


def test_its_lineage_computes_the_same_bits():
    T, W = lima.array(matrix(1), name="X"), lima.array(matrix(2, COLUMNS, 4), name="W")
    with lima.session(strict=True, exactness="rounding") as session:
        T.T @ T
        P = T @ W
        G = P.T @ P
        assert session.stats.partial[RULE] == 1 and RULE in str(lima.explain(G))
        assert lima.recompute(lima.lineage(G)).tobytes() == np.asarray(G).tobytes()


def test_an_image_that_waits_as_lines_of_a_known_product():
    lines = ["v0 = F.T @ F", "v3 = np.c_[v0, W]", "v4 = v0 @ v3[:, :2]", "v8 = v4.T @ v4"]
    assert parts.check(lines, 20396) is None
