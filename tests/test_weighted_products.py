"""Weighted Gram matrices, of which the weights differ in few rows from earlier ones."""

import numpy as np
import pytest

import lima
from lima import cost
from lima.ops import in_blocks, weighted

ROWS, COLUMNS = 20_000, 12
RULE, FAR = "weighted-product", "weighted-product-guarded"


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))
    monkeypatch.setattr(weighted, "STEP", 1e-12)
    monkeypatch.setattr(in_blocks, "LEAST", 1 << 40)  # that rule has tests of its own


def matrix(seed, rows=ROWS, columns=COLUMNS, dtype="f8"):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(dtype)


def weights(seed, rounds=5, few=30, dtype="f8"):
    """Each differs from the one before in some rows."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(0.1, 2, ROWS)
    found = [w.astype(dtype)]
    for _ in range(rounds - 1):
        w = w.copy()
        w[rng.permutation(ROWS)[:few]] = rng.uniform(0.0, 3, few)
        found.append(w.astype(dtype))
    return found


SPELLINGS = {
    "right": lambda X, w: X.T @ (w[:, None] * X),
    "right, the other way": lambda X, w: X.T @ (X * w[:, None]),
    "left": lambda X, w: (w[:, None] * X).T @ X,
    "across": lambda X, w: (X.T * w) @ X,
    "dot": lambda X, w: np.dot(X.T, w[:, np.newaxis] * X),
    "reshaped": lambda X, w: X.T @ (w.reshape(-1, 1) * X),
    "both": lambda X, w: (X * w[:, None]).T @ (X * w[:, None]),
    "both, one name": lambda X, w: (lambda Z: Z.T @ Z)(X * np.sqrt(w)[:, None]),
}
OTHERS = {
    "two matrices": lambda X, w: X.T @ (w[:, None] * X[:, ::-1]),
    "columns": lambda X, w: X.T @ (X * w[:COLUMNS]),
    "two weights": lambda X, w: (X * w[:, None]).T @ (X * (w + 1)[:, None]),
}


def run(spelling, X, several, **session):
    def use(X, several):
        return [spelling(X, w) for w in several]

    with lima.session(**{"strict": True, "exactness": "rounding", **session}) as here:
        got = lima.traced(use)(X, several)
        return got, use(X, several), here.stats.partial


def within(got, want, X, several, factor=16, squares=False):
    for g, x, w in zip(got, want, several, strict=True):
        assert (g.dtype, g.shape) == (x.dtype, x.shape)
        assert g.flags.c_contiguous == x.flags.c_contiguous
        norm = np.sqrt(np.sum((w * w if squares else np.abs(w))[:, None] * X * X, axis=0))
        eps = factor * 8 * (ROWS + 8) * np.finfo(X.dtype).eps
        assert (np.abs(g - x) <= eps * np.outer(norm, norm)).all()


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_weights_that_differ_in_few_rows(name, dtype):
    X, several = matrix(1, dtype=dtype), weights(2, dtype=dtype)
    got, want, fired = run(SPELLINGS[name], X, several)
    assert fired[RULE] == 4
    within(got, want, X, several, squares=name == "both")


@pytest.mark.parametrize("name", OTHERS)
def test_products_that_are_none(name):
    got, want, fired = run(OTHERS[name], matrix(1), weights(2))
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-8)
    if name != "two matrices":
        assert not fired[RULE]


def test_errors_do_not_add_up():
    """Two hundred changes, each from a matrix that was computed as asked."""
    X = matrix(1) * np.logspace(-6, 6, COLUMNS)
    several = weights(2, 200, 20)
    got, want, fired = run(SPELLINGS["right"], X, several)
    assert fired[RULE] >= 150
    within(got, want, X, several, 1)


@pytest.mark.parametrize("many", [ROWS // 2, ROWS])
def test_many_rows_are_computed_as_asked(many):
    got, want, fired = run(SPELLINGS["right"], matrix(1), weights(2, 4, many))
    assert not fired[RULE]
    assert all(g.tobytes() == w.tobytes() for g, w in zip(got, want, strict=True))


@pytest.mark.parametrize(("size", "plain", "far"), [(1e2, 1, 1), (1e6, 0, 1), (1e12, 0, 0)])
def test_the_guard_refuses_where_cancellation_hurts(size, plain, far):
    """One row held nearly all of the weight, and loses it."""
    X, (w, v) = matrix(1), weights(2, 2)
    w[7], v = size, v.copy()
    v[7] = 1.0
    for exactness, fires, factor in (("rounding", plain, 16), ("guarded", far, 1e6)):
        got, want, fired = run(SPELLINGS["right"], X, [w, v], exactness=exactness)
        assert bool(fired[RULE] + fired[FAR]) == fires
        within(got, want, X, [w, v], factor)


def test_negative_weights_are_computed_as_asked():
    several = [w - 0.5 for w in weights(2)]
    got, want, fired = run(SPELLINGS["right"], matrix(1), several, exactness="guarded")
    assert not fired[FAR]
    assert all(g.tobytes() == w.tobytes() for g, w in zip(got, want, strict=True))


def test_two_matrices_only_where_no_weight_shrinks():
    X, w = matrix(1), weights(2)[0]
    several = [w, np.where(np.arange(ROWS) < 9, w + 2, w), np.where(np.arange(ROWS) < 9, w / 2, w)]
    got, want, fired = run(OTHERS["two matrices"], X, several)
    assert fired[RULE] == 1
    for g, x in zip(got, want, strict=True):
        np.testing.assert_allclose(g, x, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("scale", [1e-170, 1e-100, 1e100, 1e170])
def test_tiny_and_huge_data(scale):
    for X, several in (
        (matrix(1) * scale, weights(2)),
        (matrix(1) * scale, [w / scale for w in weights(2)]),
    ):
        with np.errstate(all="ignore"):
            got, want, _ = run(SPELLINGS["right"], X, several)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-9 * np.abs(w).max())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite(value):
    X, several = matrix(1), weights(2)
    several[2][50] = value
    X[70, 3] = value
    with np.errstate(all="ignore"):
        got, want, _ = run(SPELLINGS["right"], X, several)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-9)


def test_weights_and_rows_that_were_written_in_place():
    def use(X, w):
        found = []
        for k in range(4):
            found.append(X.T @ (w[:, None] * X))
            w[k : k + 3] = 2.5
            if k == 2:
                X[9] = 4.0
        return found

    with lima.session(strict=True, exactness="rounding") as session:
        got = lima.traced(use)(matrix(1), weights(2)[0])
        assert session.stats.partial[RULE] >= 1
    for g, w in zip(got, use(matrix(1), weights(2)[0]), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("options", [{"exactness": "bitwise"}, {"reuse": "full"}])
def test_sessions_that_do_not_allow_it(options):
    got, want, fired = run(SPELLINGS["right"], matrix(1), weights(2), **options)
    assert not fired
    assert all(g.tobytes() == w.tobytes() for g, w in zip(got, want, strict=True))


def test_not_where_it_costs_more(monkeypatch):
    monkeypatch.setattr(weighted, "STEP", 1.0)
    assert not run(SPELLINGS["right"], matrix(1), weights(2))[2][RULE]


def test_its_lineage_computes_the_same_bits():
    X = lima.array(matrix(1), name="X")
    with lima.session(strict=True, exactness="rounding") as session:
        several = [lima.array(w, name=f"w{k}") for k, w in enumerate(weights(2, 2))]
        for w in several:
            G = X.T @ (w[:, None] * X)
        assert session.stats.partial[RULE] == 1 and RULE in str(lima.explain(G))
        assert lima.recompute(lima.lineage(G)).tobytes() == np.asarray(G).tobytes()
