"""Products of scaled operands: the factors move to the result, or to the smaller side."""

import numpy as np
import pytest

import lima
from lima import cost
from lima.ops import scaled

ROWS, COLUMNS = 6000, 12
RULE = "scaled-product"


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))
    monkeypatch.setattr(scaled, "STEP", 1e-12)


def matrix(seed, rows=ROWS, columns=COLUMNS, scale=1.0, dtype="f8"):
    made = np.random.default_rng(seed).standard_normal((rows, columns)) * scale
    return made.astype(dtype)


# X 6000 x 12, r a factor for each row, d for each column, Y 12 x 4, V 6000 x 12, w 12, v 6000
FORMS = {
    "a number": lambda X, r, d, Y, V, w, v: (X * 3, Y),
    "a number at the right": lambda X, r, d, Y, V, w, v: (X.T, V / 7.5),
    "one for all": lambda X, r, d, Y, V, w, v: (X / r[5], Y),
    "rows": lambda X, r, d, Y, V, w, v: (r[:, None] * X, Y),
    "rows and a vector": lambda X, r, d, Y, V, w, v: (X / r[:, None], w),
    "columns": lambda X, r, d, Y, V, w, v: (X * d, Y),
    "columns and a vector": lambda X, r, d, Y, V, w, v: (X / d, w),
    "columns as a row": lambda X, r, d, Y, V, w, v: (d[None, :] * X, Y),
    "columns of the right": lambda X, r, d, Y, V, w, v: (X.T, V * d),
    "rows of the right": lambda X, r, d, Y, V, w, v: (V[:, :2].T, r[:, None] * X),
    "rows of the right, a vector": lambda X, r, d, Y, V, w, v: (v, X / r[:, None]),
    "transposed": lambda X, r, d, Y, V, w, v: ((X * 2.5).T, V),
    "transposed rows": lambda X, r, d, Y, V, w, v: (V.T, (d * X)),
    "rows, transposed": lambda X, r, d, Y, V, w, v: ((X / r[:, None]).T, v),
    # none of them
    "both ways": lambda X, r, d, Y, V, w, v: (X * X, Y),
    "divided into": lambda X, r, d, Y, V, w, v: (d / (X + 9), Y),
    "a sum": lambda X, r, d, Y, V, w, v: (X + d, Y),
}
MATCHED = list(FORMS)[: list(FORMS).index("both ways")]


def arguments(dtype="f8", scale=1.0, seed=1):
    r = np.linspace(0.1, 7, ROWS).astype(dtype)
    d = np.linspace(-3, 5, COLUMNS).astype(dtype)
    X, Y, V = matrix(seed, scale=scale), matrix(2, COLUMNS, 4), matrix(3, ROWS)
    return X.astype(dtype), r, d, Y.astype(dtype), V.astype(dtype), Y[:, 0].astype(dtype), V[:, 1].astype(dtype)  # fmt: skip


def run(form, given, **session):
    def use(X, r, d, Y, V, w, v):
        known = X @ Y, X @ w, X.T @ V, V.T @ X, X.T @ v
        a, b = form(X, r, d, Y, V, w, v)
        return known, a @ b, np.dot(*form(X, r, d, Y, V, w, v))

    with lima.session(**{"strict": True, "exactness": "rounding", **session}) as here:
        return lima.traced(use)(*given)[1:], use(*given)[1:], here.stats.partial


def within(got, want, a, b):
    eps = np.finfo(a.dtype).eps
    limit = 4 * (a.shape[-1] + 8) * eps * (np.abs(a) @ np.abs(b)) + np.finfo(a.dtype).tiny
    for g, w in zip(got, want, strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        assert g.flags.c_contiguous == w.flags.c_contiguous
        assert (np.abs(g - w) <= limit).all()


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_products_of_any_form(name, dtype):
    given = arguments(dtype)
    got, want, fired = run(FORMS[name], given)
    within(got, want, *FORMS[name](*given))
    assert bool(fired[RULE] + fired["centred-product"]) == (name in MATCHED)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-100, 1e8, 1e150, 1e300])
@pytest.mark.parametrize("factor", [1e-300, 1e-150, 1e-8, 1e8, 1e150, 1e300])
def test_tiny_and_huge_data(scale, factor):
    """What would vanish or overflow on the new way, but not on the old one, is left alone."""
    X, r, d, Y, V, w, v = arguments(scale=scale)
    forms = [
        lambda X, r, d, Y, V, w, v: (X * factor, Y),
        lambda X, r, d, Y, V, w, v: (X * (d * factor), Y * 1e-20),
        lambda X, r, d, Y, V, w, v: (X / (d * factor), w * 1e30),
        lambda X, r, d, Y, V, w, v: (V.T, X * (r * factor)[:, None]),
    ]
    for form in forms:
        with np.errstate(all="ignore"):
            got, want, _ = run(form, (X, r, d, Y, V, w, v))
            a, b = form(X, r, d, Y, V, w, v)
            if np.isfinite(a).all() and np.isfinite(np.abs(a) @ np.abs(b)).all():
                vanished = np.abs(a).min() < 1e-290 or np.abs(b).min() < 1e-290
                if not vanished:
                    within(got, want, a, b)


def test_what_vanishes_in_the_known_product_is_computed_as_asked():
    X, r, d, Y, V, w, v = arguments(scale=1e-200)
    Y = Y * 1e-200
    got, want, fired = run(lambda X, r, d, Y, V, w, v: (X * 1e300, Y), (X, r, d, Y, V, w, v))
    assert not fired[RULE] and np.abs(want[0]).max() > 1e-110
    for g, w_ in zip(got, want, strict=True):
        assert g.tobytes() == w_.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_what_is_not_finite(value):
    X, r, d, Y, V, w, v = arguments()
    d[3] = r[9] = value
    for name in MATCHED:
        with np.errstate(all="ignore"):
            got, want, _ = run(FORMS[name], (X, r, d, Y, V, w, v))
        for g, w_ in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w_, rtol=1e-9, atol=1e-9)


def test_sparse_columns_keep_their_zeros():
    X, r, d, Y, V, w, v = arguments()
    X[:, 3:] = 0.0
    Y[:3, 1] = 0.0
    got, want, fired = run(lambda X, r, d, Y, V, w, v: (X * 3, Y), (X, r, d, Y, V, w, v))
    within(got, want, X * 3, Y)
    assert fired[RULE] and not got[0][:, 1].any()


@pytest.mark.parametrize("options", [{"exactness": "bitwise"}, {"reuse": "full"}])
def test_sessions_that_do_not_allow_it(options):
    got, want, fired = run(FORMS["columns"], arguments(), **options)
    assert not fired and got[0].tobytes() == want[0].tobytes()


def test_not_where_it_costs_more(monkeypatch):
    monkeypatch.setattr(scaled, "STEP", 1.0)
    assert not run(FORMS["columns"], arguments())[2][RULE]


def test_factors_that_were_written_since():
    @lima.traced
    def use(X, d, w):
        Z = X * d
        first = Z @ w
        d[2] = 9.0
        return first, (X * d) @ w, Z @ w

    X, _, d, _, _, w, _ = arguments()
    with lima.session(strict=True, exactness="rounding") as session:
        got = use(X, d.copy(), w)
        assert session.stats.partial[RULE] >= 2
    for g, w_ in zip(got, use.__wrapped__(X, d.copy(), w), strict=True):
        np.testing.assert_allclose(g, w_, rtol=1e-12, atol=1e-11)


def test_its_lineage_computes_the_same_bits():
    X, _, d, _, _, w, _ = (lima.array(x, name=f"x{k}") for k, x in enumerate(arguments()))
    with lima.session(strict=True, exactness="rounding") as session:
        y = (X * d) @ w
        assert session.stats.partial[RULE] == 1 and RULE in str(lima.explain(y))
        assert lima.recompute(lima.lineage(y)).tobytes() == np.asarray(y).tobytes()


@pytest.mark.parametrize("spelling", ["square", "power", "product"])
def test_squared_distances_take_the_norms_of_rows_from_the_first_round(spelling):
    """As in k-means: of `|x|^2 + |c|^2 - 2 x c` only the products with the centres are new."""
    square = {"square": np.square, "power": lambda x: x**2, "product": lambda x: x * x}[spelling]

    def distances(X, C):
        norms = square(X).sum(axis=1)
        return norms, norms[:, None] + square(C).sum(axis=1) - 2 * X @ C.T

    X = matrix(1, 30_000, 20)
    T = lima.array(X)
    with lima.session(strict=True, exactness="rounding") as session:
        for seed in range(5):
            C = matrix(seed, 8, 20)
            hits = session.stats.hits
            norms, got = distances(T, lima.array(C))
            assert (session.stats.hits > hits) == (seed > 0)
            np.testing.assert_allclose(np.asarray(got), distances(X, C)[1], rtol=1e-9, atol=1e-9)
            assert norms._value.shared
