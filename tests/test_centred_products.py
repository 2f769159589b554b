"""Products of centred and scaled matrices from those of the matrix, where little cancels."""

import numpy as np
import pytest

import lima
from lima import cost
from lima.ops import shifted

ROWS, COLUMNS = 6000, 12
PLAIN, FAR = "centred-product", "centred-product-guarded"


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(shifted, "STEP", 1e-12)


def matrix(seed, shift=0.0, scale=1.0, dtype="f8", columns=COLUMNS):
    rng = np.random.default_rng(seed)
    return ((rng.standard_normal((ROWS, columns)) + shift) * scale).astype(dtype)


FORMS = {
    "standardised": lambda X, c, d: (X - c) / d,
    "standardised by rows": lambda X, c, d: (X - c[None, :]) / d[None, :],
    "centred": lambda X, c, d: X - c,
    "shifted": lambda X, c, d: c + X,
    "shifted by a number": lambda X, c, d: X - 0.25,
    "scaled": lambda X, c, d: X * d,
    "scaled from the left": lambda X, c, d: d * X,
    "scaled by a number": lambda X, c, d: X / 3,
    "scaled by one for all": lambda X, c, d: X / d[3],
    "centred by one for all": lambda X, c, d: X - X.dtype.type(0.25),
    "shifted and scaled": lambda X, c, d: (X + c) * d,
    "columns": lambda X, c, d: (X[:, ::-1] - c) / d,
    "stacked": lambda X, c, d: (np.vstack([X[:4000], X[5000:]]) - c) / d,
    "a copy": lambda X, c, d: ((X - c) / d).copy(),
    # no shift and scale of columns, or of more than one layer each
    "rows": lambda X, c, d: X * X[:, :1],
    "both ways": lambda X, c, d: X - X,
    "divided into": lambda X, c, d: c / (X + 9.0),
    "subtracted from": lambda X, c, d: c - X,
    "twice": lambda X, c, d: (X - c) - d,
    "scaled first": lambda X, c, d: X * d - c,
}
MATCHED = list(FORMS)[: list(FORMS).index("rows")]


def use(form, X, c, d, y, Y):
    Z = form(X, c, d)
    n = Z.shape[0]
    base = X[:, ::-1] if form is FORMS["columns"] else X
    if form is FORMS["stacked"]:
        base = np.vstack([X[:4000], X[5000:]])
    known = base.T @ base
    return known, Z.T @ Z, Z.T @ y[:n], Z.T @ Y[:n], form(X, c, d).T @ form(X, c, d), Y[:n].T @ Z


def outcome(form, X, c, d, **session):
    arguments = X, c, d, matrix(7, dtype=X.dtype)[:, 0], matrix(8, dtype=X.dtype, columns=3)
    with np.errstate(all="ignore"):
        want = use(form, *arguments)
        with lima.session(strict=True, **{"exactness": "rounding", **session}) as here:
            got = lima.traced(lambda *given: use(form, *given))(*arguments)
    return got, want, form(X, c, d), arguments[3:], here.stats.partial


def limits(Z, y, Y, factor):
    """Elementwise bounds by the norms of columns, of which the rule allows a factor."""
    n = Z.shape[0]
    norm = np.linalg.norm
    eps = factor * 4 * (n + 8) * np.finfo(Z.dtype).eps
    z = norm(Z, axis=0)
    both = np.outer(z, norm(Y[:n], axis=0))
    return [
        eps * np.outer(z, z),
        eps * z * norm(y[:n]),
        eps * both,
        eps * np.outer(z, z),
        eps * both.T,
    ]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_products_of_any_form(name, dtype):
    X = matrix(1, 0.5, dtype=dtype)
    c, d = X.mean(axis=0), np.linspace(0.1, 7, COLUMNS).astype(dtype)
    got, want, Z, others, fired = outcome(FORMS[name], X, c, d)
    assert (fired[PLAIN] >= 2) == (name in MATCHED)
    for g, w, limit in zip(got[1:], want[1:], limits(Z, *others, 16), strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        assert (np.abs(g - w) <= limit).all()
    for gram in (got[1], got[4]):
        assert gram.tobytes() == gram.T.copy().tobytes()


@pytest.mark.parametrize("scale", [1e-170, 1e-100, 1e-8, 1.0, 1e8, 1e100, 1e160])
def test_tiny_and_huge_data(scale):
    """Squares that would vanish or overflow are never taken, though those of Z are ordinary."""
    X = matrix(1, 0.5, scale)
    got, want, Z, others, _ = outcome(
        FORMS["standardised"], X, X.mean(axis=0), np.full(COLUMNS, scale)
    )
    for g, w, limit in zip(got[1:], want[1:], limits(Z, *others, 16), strict=True):
        assert (np.abs(g - w) <= limit).all()


@pytest.mark.parametrize("d", [1e-200, 1e200, 0.0, np.inf, np.nan])
def test_scales_whose_squares_vanish(d):
    X = matrix(1)
    scales = np.ones(COLUMNS)
    scales[3] = d
    got, want, *_ = outcome(FORMS["scaled"], X, 0 * scales, scales)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=0 if d == 1e-200 else 1e-9)


@pytest.mark.parametrize(
    ("shift", "plain", "far"), [(1.0, True, True), (30.0, False, True), (1e4, False, False)]
)
def test_the_guard_refuses_where_cancellation_hurts(shift, plain, far):
    """Means of so many standard deviations: one class after the other declines."""
    X = matrix(1, shift)
    form = FORMS["standardised"]
    for exactness, fires, factor in (("rounding", plain, 16), ("guarded", far, 1e6)):
        got, want, Z, others, fired = outcome(
            form, X, X.mean(axis=0), X.std(axis=0), exactness=exactness
        )
        assert bool(fired[PLAIN] + fired[FAR]) == fires
        if not fires:
            assert got[1].tobytes() == want[1].tobytes()
        for g, w, limit in zip(got[1:], want[1:], limits(Z, *others, factor), strict=True):
            assert (np.abs(g - w) <= limit).all()
    assert not fired[PLAIN]


def test_one_column_that_is_far_away_or_constant():
    for value in (1e6 + matrix(2)[:, 0], 3.5, 0.0):
        X = matrix(1)
        X[:, 4] = value
        form = FORMS["centred"]
        got, want, *_, fired = outcome(form, X, X.mean(axis=0), None, exactness="guarded")
        assert not fired[FAR] and got[1].tobytes() == want[1].tobytes()


def test_sessions_that_do_not_allow_it_and_prices(monkeypatch):
    X = matrix(1)
    arguments = FORMS["standardised"], X, X.mean(axis=0), X.std(axis=0)
    assert not outcome(*arguments, exactness="bitwise")[-1]
    monkeypatch.setattr(shifted, "STEP", 1.0)
    got, want, *_, fired = outcome(*arguments)
    assert not fired[PLAIN] and got[1].tobytes() == want[1].tobytes()


def test_without_a_known_product_it_is_computed_as_asked():
    X = lima.array(matrix(1))
    with lima.session(strict=True, exactness="guarded") as session:
        Z = (X - X.mean(axis=0)) / X.std(axis=0)
        Z.T @ Z
        assert not session.stats.partial


def test_its_lineage_computes_the_same_bits():
    X = lima.array(matrix(1), name="X")
    with lima.session(strict=True, exactness="rounding") as session:
        X.T @ X
        Z = (X - X.mean(axis=0)) / X.std(axis=0)
        G = Z.T @ Z
        assert session.stats.partial[PLAIN] == 1 and PLAIN in str(lima.explain(G))
        assert lima.recompute(lima.lineage(G)).tobytes() == np.asarray(G).tobytes()


@pytest.mark.parametrize("shift", [3.0, 10.0, 100.0, 300.0, 1000.0])
def test_few_digits_are_not_all_given_away(shift):
    X = matrix(3, shift, dtype="f4")
    wide = X.astype("f8") - X.mean(axis=0).astype("f8")

    @lima.traced
    def centred(X):
        known, Z = X.T @ X, X - X.mean(axis=0)
        return known, Z.T @ Z

    with lima.session(exactness="guarded") as session:
        found = centred(X)[1]
    assert np.abs(found - wide.T @ wide).max() <= 2e-3 * ROWS
    assert bool(session.stats.partial) == (shift < 30.0)
