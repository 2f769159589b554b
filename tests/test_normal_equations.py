"""Gradients and sums of squared residuals from the normal equations, and products that wait."""

import gc

import numpy as np
import pytest

import lima
from lima import cost
from lima.op import OPS
from lima.ops import anchors, normal
from lima.record import loads
from lima.values import Pending

M, N = 33_000, 6


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e12, 8e9, 2e9))
    monkeypatch.setattr(normal, "LEAST", 0)
    monkeypatch.setattr(normal, "NOTED", 0)


@pytest.fixture
def no_anchors(monkeypatch):
    monkeypatch.setattr(anchors, "MAX_COLUMNS", 0)


rng = np.random.default_rng(11)
PLAIN = rng.standard_normal((M, N))
NOISE = rng.standard_normal(M)
TRUTH = rng.standard_normal(N)
MATRICES = {
    "random": PLAIN,
    "columns of all scales": PLAIN * np.logspace(-6, 6, N),
    "nearly collinear": np.column_stack([PLAIN[:, :-1], PLAIN[:, 0] * (1 + 1e-12)]),
    "far from the origin": PLAIN + 100.0,
    "tiny": PLAIN * 1e-150,
    "huge": PLAIN * 1e120,
    "F order": np.asfortranarray(PLAIN),
}


def gradients(X, y, vectors):
    return [
        part
        for v in vectors
        for part in (X.T @ (X @ v - y), X.T @ (y - X @ v), (X @ v - y) @ X, X.T.dot(X.dot(v) + y),
                     X.T @ (X @ v), np.matmul(X.T, np.subtract(X @ v, y)))
    ]  # fmt: skip


def squares(X, y, vectors):
    found = []
    for v in vectors:
        r = X @ v - y
        found += [
            ((X @ v - y) ** 2).sum(), np.sum(np.square(y - X @ v)), ((X @ v + y) ** 2).sum(),
            np.mean((X.dot(v) - y) ** 2), np.linalg.norm(X @ v - y), r @ r, (r * r).sum(),
            np.dot(r, r), np.sqrt(np.mean(np.power(r, 2))), ((X @ v) ** 2).sum(),
        ]  # fmt: skip
    return found


def known(X, y, vectors, program):
    G = X.T @ X
    return program(X, y, vectors), G


def unknown(X, y, vectors, program):
    return program(X, y, vectors), None


def traced(program, X, y, vectors, outer=known, **session):
    with lima.session(strict=True, **{"exactness": "rounding", **session}) as here:
        got, _ = lima.traced(outer)(X, y, vectors, program)
        return got, here.stats.partial


def vectors(k, scale=1.0):
    made = np.random.default_rng(k)
    return [TRUTH + scale * made.standard_normal(N) for _ in range(k)]


def exact(program, X, y, vectors):
    """In more digits, as far as the machine has them."""
    long = np.longdouble
    return program(X.astype(long), y.astype(long), [v.astype(long) for v in vectors])


@pytest.mark.parametrize("outer", [known, unknown])
def test_every_spelling_of_a_gradient(outer):
    X, V = PLAIN, vectors(5)
    y = X @ TRUTH + NOISE
    got, partial = traced(gradients, X, y, V, outer)
    assert partial["gradient"] >= (30 if outer is known else 20)
    reach = np.abs(X.T) @ (np.abs(X) @ np.abs(np.array(V)).max(axis=0) + np.abs(y))
    for g, w in zip(got, gradients(X, y, V), strict=True):
        assert (g.dtype, g.shape, g.flags.c_contiguous) == (w.dtype, w.shape, w.flags.c_contiguous)
        assert (np.abs(g - w) <= 2 * (M + N + 8) * np.finfo(float).eps * reach).all()
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-13 * reach.max())


@pytest.mark.parametrize("outer", [known, unknown])
def test_every_spelling_of_squared_residuals(outer):
    X, V = PLAIN, vectors(5)
    y = X @ TRUTH + NOISE
    got, partial = traced(squares, X, y, V, outer)
    assert partial["squared-residuals"] >= (50 if outer is known else 30)
    for g, w in zip(got, squares(X, y, V), strict=True):
        assert np.asarray(g).dtype == np.asarray(w).dtype and np.shape(g) == ()
        np.testing.assert_allclose(g, w, rtol=1e-12)


def in_columns(X, Y, vectors):
    found = []
    for v in vectors:
        W = np.stack([v, v[::-1], v * 2], axis=1)[:, : Y.shape[1]]
        r = X @ W - Y
        found += [
            X.T @ r, X.T @ (Y - X @ W), X.T @ (X @ W), (r**2).sum(), ((X @ W) ** 2).mean(),
            np.mean((Y - X @ W) ** 2), np.linalg.norm(r), (r**2).sum(axis=0), r.T @ r, r.T @ X,
            X.T @ (X @ W - Y[:, :1]), ((X @ W - Y[:, 0][:, None]) ** 2).sum(),
        ]  # fmt: skip
    return found


def with_intercept(X, y, vectors):
    """A number beside the product, in every place that it may have; and sums of residuals."""
    c = np.array([0.25, -0.5])[1]
    found = []
    for k, v in enumerate(vectors):
        r = X @ v + 0.5 - y
        s = y - (X @ v + c)
        found += [
            X.T @ r, X.T @ s, X.T @ (X @ v + k), (X @ v - y - c) @ X, X.T @ (c - X @ v + y),
            r.sum(), s.mean(), np.sum(X @ v - y), np.mean(y - X @ v), (X @ v).sum(), (c + X @ v).sum(),
            (r**2).sum(), (s * s).mean(), np.linalg.norm(X @ v + c), ((1.5 - X @ v) ** 2).sum(), r @ r,
        ]  # fmt: skip
    return found


@pytest.mark.parametrize("outer", [known, unknown])
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_a_number_beside_the_product(outer, dtype):
    X, V = (PLAIN + 0.3).astype(dtype), [v.astype(dtype) for v in vectors(5, 0.5)]
    y = (X @ TRUTH + NOISE).astype(dtype)
    got, partial = traced(with_intercept, X, y, V, outer)
    if dtype == "f8":
        assert partial["gradient"] >= 15 and partial["squared-residuals"] >= 15
        assert partial["sum-of-residuals"] >= 20
    room = 1e-9 if dtype == "f8" else 3e-3
    norms = np.linalg.norm(X.astype("f8"), axis=0).max() * np.linalg.norm(y.astype("f8"))
    for g, w in zip(got, with_intercept(X, y, V), strict=True):
        assert np.asarray(g).dtype == np.asarray(w).dtype and np.shape(g) == np.shape(w)
        np.testing.assert_allclose(g, w, rtol=room, atol=norms * np.finfo(dtype).eps)


@pytest.mark.parametrize("noise", [1.0, 1e-2, 1e-5, 0.0])
@pytest.mark.parametrize("number", [0.5, 1e3, 1e8, np.nan, 0])
@pytest.mark.parametrize("exactness", ["rounding", "guarded"])
def test_errors_of_sums_stay_within_the_limit_of_the_class(noise, number, exactness):
    y = PLAIN @ TRUTH + noise * NOISE + number

    def sums(X, y, vectors):
        return [(X @ v + number - y).sum() for v in vectors] + [
            ((X @ v + number - y) ** 2).sum() for v in vectors
        ]

    with np.errstate(all="ignore"):
        got, _ = traced(sums, PLAIN, y, vectors(3, 1e-3), exactness=exactness)
        want = sums(PLAIN, y, vectors(3, 1e-3))
        truth = exact(sums, PLAIN, y, vectors(3, 1e-3))
    limit = normal.LIMITS[exactness]
    for k, (g, w, t) in enumerate(zip(got, want, truth, strict=True)):
        if np.asarray(g).tobytes() != np.asarray(w).tobytes():
            square = truth[k % 3 + 3]
            size = np.sqrt(M * square) * limit**0.5 if k < 3 else limit * square
            assert abs(g - t) <= (M + 8) * np.finfo(float).eps * size


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("outer", [known, unknown])
def test_several_columns(columns, outer):
    X, V = PLAIN, vectors(4)
    Y = (X @ TRUTH)[:, None] + np.stack([NOISE, NOISE[::-1], NOISE * 2], axis=1)[:, :columns]
    got, partial = traced(in_columns, X, Y, V, outer)
    assert partial["gradient"] >= 9 and partial["squared-residuals"] >= 9
    for g, w in zip(got, in_columns(X, Y, V), strict=True):
        assert np.asarray(g).dtype == np.asarray(w).dtype and np.shape(g) == np.shape(w)
        if np.ndim(w):
            assert g.flags.c_contiguous == w.flags.c_contiguous
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-9 * np.abs(w).max())


def test_one_column_of_several_that_fits_too_well_is_enough_to_refuse(no_anchors):
    X, V = PLAIN, [TRUTH]

    def program(X, Y, V):
        W = np.stack([V[0], V[0]], axis=1)
        return X.T @ (X @ W - Y), ((X @ W - Y) ** 2).sum()

    Y = (X @ TRUTH)[:, None] + np.stack([NOISE, NOISE * 1e-9], axis=1)
    got, partial = traced(program, X, Y, V)
    assert not partial
    for g, w in zip(got, program(X, Y, V), strict=True):
        np.testing.assert_array_equal(g, w)


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("noise", [10.0, 1.0, 1e-2, 1e-5, 0.0])
@pytest.mark.parametrize("exactness", ["rounding", "guarded"])
def test_errors_stay_within_the_limit_of_the_class(name, noise, exactness):
    """Near-perfect fits too: relative to the squares, `limit` times any order of summation."""
    X = MATRICES[name]
    size = np.abs(X).max()
    y = X @ (TRUTH / np.abs(X).max(axis=0)) + noise * NOISE
    V = [v / np.abs(X).max(axis=0) for v in vectors(3, 0.0 if noise < 1 else 1e-3)]
    with np.errstate(all="ignore"):
        got, _ = traced(squares, X, y, V, exactness=exactness)
        want, truth = squares(X, y, V), exact(squares, X, y, V)
    limit = normal.LIMITS[exactness]
    assert size > 0
    for g, w, t in zip(got, want, truth, strict=True):
        if np.asarray(g).tobytes() != np.asarray(w).tobytes():
            assert abs(g - t) <= limit * (M + 8) * np.finfo(float).eps * abs(t)
            assert abs(g - t) <= max(1e-3 * limit**0.5 * 1e-9, 1e-11) * abs(t)


def test_near_perfect_fits_are_refused(no_anchors):
    """Bit for bit NumPy's own, once for the class that guards and once for the default."""
    X = PLAIN
    for noise, exactness in ((1e-2, "rounding"), (1e-6, "guarded")):
        y = X @ TRUTH + noise * NOISE
        V = [TRUTH, TRUTH * (1 + 1e-9)]

        def program(X, y, V):
            return [((X @ v - y) ** 2).sum() for v in V] + [X.T @ (X @ v - y) for v in V]

        got, partial = traced(program, X, y, V, exactness=exactness)
        assert not partial
        for g, w in zip(got, program(X, y, V), strict=True):
            np.testing.assert_array_equal(g, w)


def test_the_guarded_class_goes_further():
    X = PLAIN
    y = X @ TRUTH + 1e-2 * NOISE
    got, partial = traced(squares, X, y, [TRUTH], exactness="guarded")
    assert partial["squared-residuals-guarded"]
    np.testing.assert_allclose(got, squares(X, y, [TRUTH]), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["f4", "c16", "i8"])
def test_other_dtypes(dtype):
    X, y = (PLAIN * 8).astype(dtype), (NOISE * 8).astype(dtype)
    V = [(v * 4).astype(dtype) for v in vectors(3)]
    for program in (gradients, squares):
        got, partial = traced(program, X, y, V)
        assert bool(partial) == (dtype == "f4")
        for g, w in zip(got, program(X, y, V), strict=True):
            assert np.asarray(g).dtype == np.asarray(w).dtype
            np.testing.assert_allclose(g, w, rtol=2e-3, atol=1e-3 * np.abs(w).max())


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_what_is_not_finite_is_computed_as_asked(value):
    y = PLAIN @ TRUTH + NOISE
    for spoil in ("X", "y", "v"):
        X, t, V = PLAIN.copy(), y.copy(), vectors(2)
        {"X": X[3], "y": t, "v": V[1]}[spoil][0] = value
        with np.errstate(all="ignore"):
            for program in (gradients, squares):
                got, _ = traced(program, X, t, V)
                for g, w in zip(got, program(X, t, V), strict=True):
                    np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-9 * np.abs(TRUTH).max())


@pytest.mark.parametrize("scale", [1e-170, 1e-140, 1e-100, 1e140, 1e160])
def test_squares_that_vanish_or_overflow(scale):
    """Columns so small that X'X is zero, and vectors so large that X v is not."""
    X = PLAIN.copy()
    X[:, 1] *= scale
    V = [v * np.where(np.arange(N) == 1, 1 / scale, 1.0) for v in vectors(2)]
    y = X @ V[0] + NOISE
    for program in (gradients, squares):
        with np.errstate(all="ignore"):
            want, (got, _) = program(X, y, V), traced(program, X, y, V)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-8, atol=1e-12 * np.abs(w).max())


def test_what_the_product_is_compared_with_may_be_a_sum_that_waits():
    def program(X, y, V):
        z = (y * 2.0 + np.cos(y)) - 1.0
        return [part for v in V for part in (X.T @ (X @ v - z), ((z - (X @ v + 2.0)) ** 2).sum())]

    y = PLAIN @ TRUTH + NOISE
    got, partial = traced(program, PLAIN, y, vectors(3))
    assert partial["gradient"] == 3 and partial["squared-residuals"] == 3
    for g, w in zip(got, program(PLAIN, y, vectors(3)), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-8)


# --------------------------------------------------------------------------- products that wait


def test_a_product_that_waits_is_that_of_numpy_when_it_is_read():
    def program(X, y, V):
        found = []
        for v in V:
            p = X @ v
            r = p - y
            found += [X.T @ r, (r**2).sum(), p[:5], p.max(), p * 2, r, p, np.sort(p)[:3], p.T, p[3]]
        return found

    y = PLAIN @ TRUTH + NOISE
    got, partial = traced(program, PLAIN, y, vectors(3))
    assert partial["gradient"] and partial["squared-residuals"]
    for k, (g, w) in enumerate(zip(got, program(PLAIN, y, vectors(3)), strict=True)):
        if k % 10 > 1:
            assert np.asarray(g).tobytes() == np.asarray(w).tobytes()
        else:
            np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-8)


def test_writes_between_the_product_and_its_reader():
    """To the matrix, the vector, the other vector and the product, each in place."""

    def program(X, y, v):
        X, y, v = X.copy(), y.copy(), v.copy()
        G = X.T @ X
        found = [G]
        for k in range(4):
            p = X @ v
            r = p - y
            v[1] += 1.0
            found.append((r**2).sum())
            y[5] -= 3.0
            found += [X.T @ r, X.T @ (X @ v - y)]
            if k == 1:
                X[7] *= 2.0
            if k == 2:
                p[3] = 100.0
            found += [X.T @ (p - y), ((p - y) ** 2).sum(), X.T @ r]
        return found

    y = PLAIN @ TRUTH + NOISE
    want = program(PLAIN, y, TRUTH)
    with lima.session(strict=True, exactness="rounding") as session:
        got = lima.traced(program)(PLAIN, y, TRUTH)
        assert session.stats.partial["gradient"] > 3
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-7)


def test_arguments_that_are_written_in_place():
    def program(X, y, v):
        G = X.T @ X
        p = X @ v
        v += 1.0
        q = X @ v
        X[0] = 0.0
        return G, ((p - y) ** 2).sum(), X.T @ (q - y), p, q, X @ v

    y = PLAIN @ TRUTH + NOISE
    first, second = [PLAIN.copy(), y.copy(), TRUTH.copy()], [PLAIN.copy(), y.copy(), TRUTH.copy()]
    want = program(*first)
    with lima.session(strict=True, exactness="rounding"):
        got = lima.traced(program)(*second)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-8)
    for a, b in zip(first, second, strict=True):
        assert a.tobytes() == b.tobytes()


def test_errors_are_raised_at_the_call():
    @lima.traced
    def program(X, v):
        G = X.T @ X
        with pytest.raises(ValueError, match="mismatch"):
            X @ v[:-1]
        return G

    with lima.session(strict=True, exactness="rounding"):
        program(PLAIN, TRUTH)


def test_other_products_are_not_mistaken():
    """Another matrix, other rows, a residual of another product, two products."""

    def program(X, Z, y, v):
        G, H = X.T @ X, Z.T @ Z
        return [
            Z.T @ (X @ v - y), X.T @ (Z @ v - y), X.T @ (X @ v - Z @ v), X.T @ (X @ v * 2 - y),
            ((X @ v - Z @ v) ** 2).sum(), ((X @ v - y) ** 3).sum(), ((X @ v - y[0]) ** 2).sum(),
            (X @ v - y) @ (Z @ v - y), np.linalg.norm(X @ v - y, 1), ((X @ v - y) ** 2).sum(axis=0),
            ((X[::-1] @ v - y) ** 2).sum(), X[::-1].T @ (X @ v - y), ((X @ v - y) ** 2.5).sum(),
            X.T @ abs(X @ v - y), ((X @ v - y) ** 2).max(), G, H,
        ]  # fmt: skip

    y = PLAIN @ TRUTH + NOISE
    Z = PLAIN[::-1] + 0.5
    with np.errstate(all="ignore"):
        want = program(PLAIN, Z, y, TRUTH)
        with lima.session(strict=True, exactness="rounding"):
            got = lima.traced(program)(PLAIN, Z, y, TRUTH)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-7)


def descent(X, y, steps):
    w = np.zeros(X.shape[1])
    losses = []
    for _ in range(steps):
        r = X @ w - y
        losses.append((r**2).mean())
        w = w - 0.1 * (X.T @ r) / len(y)
    return w, np.array(losses)


def test_a_descent_pays_for_the_gram_matrix_and_then_is_free(monkeypatch):
    work = []
    kernel = OPS["matmul"].kernel
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))

    def counting(a, b):
        if max(a.shape[0], a.shape[-1]) == M:
            work.append(b.ndim)
        return kernel(a, b)

    monkeypatch.setattr(OPS["matmul"], "kernel", counting)
    y = PLAIN @ TRUTH + NOISE
    with lima.session(strict=True, exactness="rounding"):
        got = lima.traced(descent)(PLAIN, y, 60)
    for g, w in zip(got, descent(PLAIN, y, 60), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-11)
    assert len(work) < 40


def test_its_lineage_computes_the_same_bits():
    y = PLAIN @ TRUTH + NOISE
    with lima.session(strict=True, exactness="rounding") as session:
        w, losses = lima.traced(descent)(PLAIN, y, 8)
        assert session.stats.partial["gradient"] and session.stats.partial["squared-residuals"]
        for found in (w, losses):
            record = lima.lineage(found)
            given = {"X": PLAIN, "y": y}
            assert lima.recompute(loads(record.log()), given).tobytes() == found.tobytes()
            scope = {}
            exec(lima.to_python(record), scope)
            assert scope["program"](**given).tobytes() == found.tobytes()


@pytest.mark.parametrize("options", [{"exactness": "bitwise"}, {"reuse": "full"}])
def test_sessions_that_do_not_allow_it(options):
    y = PLAIN @ TRUTH + NOISE
    for program in (gradients, squares):
        got, partial = traced(program, PLAIN, y, vectors(2), **options)
        assert not partial
        for g, w in zip(got, program(PLAIN, y, vectors(2)), strict=True):
            assert np.asarray(g).tobytes() == np.asarray(w).tobytes()


def test_not_where_it_costs_more(monkeypatch):
    """A matrix that is met once, and one with nearly as many columns as rows."""
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))
    y = PLAIN @ TRUTH + NOISE
    assert not traced(lambda X, y, V: X.T @ (X @ V[0] - y), PLAIN, y, vectors(1), unknown)[1]
    monkeypatch.setattr(normal, "LEAST", 1 << 18)
    assert not traced(squares, PLAIN, y, vectors(2))[1]
    short = PLAIN[:300]
    assert not traced(squares, short, y[:300], vectors(2))[1]


# --------------------------------------------------------------------------- derived parts


def selecting(X, y, columns, after=None):
    """Squared residuals of fits on grown sets of columns, whose X'X are cut out of one product."""
    found, kept = [], np.ones((len(X), 1))
    total = np.hstack([kept, X])
    total = total.T @ total, total.T @ y
    for j in columns:
        Z = np.hstack([kept, X[:, j : j + 1]])
        G, c = Z.T @ Z, Z.T @ y
        beta = np.linalg.solve(G, c)
        if after is not None:
            after(X, y, Z, G, c, beta)
        r = y - Z @ beta
        found.append(r @ r)
        if j % 2:
            kept = Z
    return found, total


def selected(after=None, columns=(0, 1, 2, 3, 4, 5), noise=1.0, exactness="rounding"):
    y = PLAIN @ TRUTH + noise * NOISE
    with lima.session(strict=True, exactness=exactness) as here:
        got, _ = lima.traced(selecting)(PLAIN.copy(), y.copy(), columns, after)
        partial = dict(here.stats.partial)
    want, _ = selecting(PLAIN.copy(), y.copy(), columns, after)
    np.testing.assert_allclose(got, want, rtol=1e-10)
    return partial


def test_residuals_from_a_gram_matrix_that_a_rule_gave():
    partial = selected()
    assert partial["squared-residuals"] >= 4
    assert "product-of-parts" not in partial
    assert "squared-residuals" not in selected(exactness="bitwise")


def doubled(which):
    def after(X, y, Z, G, c, beta):
        target = {"X": X, "y": y, "Z": Z, "G": G, "c": c, "beta": beta}[which]
        target *= 2.0

    return after


def raised(which):
    def after(X, y, Z, G, c, beta):
        target = {"X": X, "y": y, "Z": Z, "G": G, "c": c, "beta": beta}[which]
        target[0] += 3.0

    return after


@pytest.mark.parametrize("which", ["X", "y", "Z", "G", "c", "beta"])
@pytest.mark.parametrize("change", [doubled, raised])
@pytest.mark.parametrize("noise", [1.0, 1e-2])
def test_what_rules_gave_lately_is_not_what_the_program_wrote_since(which, change, noise):
    selected(change(which), noise=noise)


def test_what_rules_gave_lately_goes_with_the_cache():
    y = PLAIN @ TRUTH + NOISE
    with lima.session(strict=True, exactness="rounding") as here:
        lima.traced(selecting)(PLAIN, y, (0, 1, 2))
        assert here.planner.lately
        here.clear()
        assert not here.planner.lately


def test_what_waited_goes_with_the_program():
    """Without the garbage collector: nothing of a selection is computed when the call ends."""
    gc.collect()
    gc.disable()
    try:
        for noise in (1.0, 1e-2):
            selected(noise=noise)
            waiting = [x for x in gc.get_objects() if isinstance(x, Pending) and x.data is None]
            assert not [x for x in waiting if x.row.name == "hstack"]
    finally:
        gc.enable()


def test_few_are_remembered(monkeypatch):
    monkeypatch.setattr(lima.rewrite, "LATELY", 4)
    y = PLAIN @ TRUTH + NOISE
    with lima.session(strict=True, exactness="rounding") as here:
        got, _ = lima.traced(selecting)(PLAIN, y, (0, 1, 2, 3, 4, 5))
        assert 0 < len(here.planner.lately) <= 4
    np.testing.assert_allclose(got, selecting(PLAIN, y, (0, 1, 2, 3, 4, 5))[0], rtol=1e-10)


def test_fits_that_are_too_good_are_not_tried_time_and_again(no_anchors):
    """After a few refusals most products run at once; a worse fit is noticed nevertheless."""
    X = lima.array(PLAIN)
    good, bad = lima.array(PLAIN @ TRUTH + 1e-3 * NOISE), lima.array(NOISE)
    with lima.session(strict=True, exactness="rounding") as here:
        gram = X.T @ X
        found = []
        for k in range(40):
            r = good - X @ lima.array(TRUTH + 1e-9 * k)
            found.append(r @ r)
        account = here.planner.account(("refused", M))
        assert normal.PATIENCE < account.spent < 12
        assert "squared-residuals" not in here.stats.partial
        for k in range(140):
            r = bad - X @ lima.array(0.1 * TRUTH + 1e-9 * k)
            r @ r
        assert here.stats.partial["squared-residuals"] >= 60
        assert account.spent == 0.0
    for k, r in enumerate(found):
        plain = np.asarray(good) - PLAIN @ (TRUTH + 1e-9 * k)
        np.testing.assert_array_equal(r, plain @ plain)
    np.testing.assert_array_equal(gram, PLAIN.T @ PLAIN)


# --------------------------------------------------------------------------- anchors


NEARBY = [TRUTH + 1e-4 * v for v in np.random.default_rng(5).standard_normal((12, N))]


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("noise", [1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("rule", ["gradient", "squared-residuals"])
def test_residuals_near_one_that_was_formed_on_the_rows(name, noise, rule):
    """Fits that are too good for the normal equations themselves, with the errors of the class."""
    program, each = (gradients, 6) if rule == "gradient" else (squares, 10)
    X = MATRICES[name]
    scale = np.abs(X).max(axis=0)
    y, V = X @ (TRUTH / scale) + noise * NOISE, [v / scale for v in NEARBY]
    got, partial = traced(program, X, y, V)
    want, truth = program(X, y, V), exact(program, X, y, V)
    if name == "tiny":  # squares of such vanish
        assert not partial
    else:
        assert partial[rule] > (each - 2) * len(V)
    room = 16.0 * (M + 8) * np.finfo(float).eps
    norms = np.sqrt((X**2).sum(axis=0))
    for k, (g, w, t) in enumerate(zip(got, want, truth, strict=True)):
        if rule == "gradient":
            r = X @ V[k // each] + {3: y, 4: 0.0}.get(k % each, -y)
            assert (np.abs(g - t) <= 2 * np.abs(w - t) + room * norms * np.linalg.norm(r)).all()
        else:
            assert abs(g - t) <= 2 * abs(w - t) + 16.0 * room * abs(t)


def test_a_selection_whose_fits_grow_too_good():
    """The columns that two candidates share are those of the anchor."""
    assert selected(noise=1e-2)["squared-residuals"] >= 3


def shuffled(X, y, order, extra):
    """Fits on columns in ever other orders, some of them twice, beside a constant and a vector."""
    found = []
    ones, v = np.ones((len(X), 1)), X[:, 0] * X[:, 1]
    for places in order:
        Z = np.column_stack([X[:, places], ones, v, X[:, :extra]])
        found += [Z.T @ Z, Z.T @ y]
        beta = np.zeros(Z.shape[1])
        beta[: len(places)] = TRUTH[places]
        beta += 1e-6 * np.arange(len(beta))
        r = Z @ beta - y
        found += [r @ r, ((y - Z @ beta) ** 2).sum(), Z.T @ r]
    return found


@pytest.mark.parametrize("extra", [0, 2])
def test_columns_in_other_orders_and_columns_twice(extra):
    order = [[5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5], [3, 2, 1, 0, 5, 4], [1, 0, 3, 2, 4, 5]] * 2
    y = PLAIN @ TRUTH + 1e-2 * NOISE
    with lima.session(strict=True, exactness="rounding") as here:
        got = lima.traced(shuffled)(PLAIN, y, order, extra)
        assert here.stats.partial["squared-residuals"] >= 7
        assert here.stats.partial["gradient"] >= 3
    want = shuffled(PLAIN, y, order, extra)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-10 * np.linalg.norm(w))


def test_an_anchor_goes_when_the_cache_has_lost_it():
    X, y = lima.array(PLAIN), lima.array(PLAIN @ TRUTH + 1e-2 * NOISE)
    with lima.session(strict=True, exactness="rounding") as here:
        gram = X.T @ X
        for k in range(12):
            if k == 6:
                assert here.stats.partial["squared-residuals"] == 6
                here.clear()
                gram = X.T @ X
            r = X @ lima.array(NEARBY[k]) - y
            plain = PLAIN @ NEARBY[k] - np.asarray(y)
            np.testing.assert_allclose(r @ r, plain @ plain, rtol=1e-11)
        assert here.stats.partial["squared-residuals"] >= 8
    assert gram.shape == (N, N)


def test_another_y_has_another_anchor():
    def program(X, ys, vectors):
        gram = X.T @ X
        return [((X @ v - y) ** 2).sum() for v in vectors for y in ys], gram

    ys = [PLAIN @ TRUTH + 1e-2 * NOISE, -(PLAIN @ TRUTH), PLAIN @ TRUTH + 2e-2 * NOISE[::-1]]
    with lima.session(strict=True, exactness="rounding") as here:
        got, _ = lima.traced(program)(PLAIN, ys, NEARBY)
        assert here.stats.partial["squared-residuals"] > 20
    np.testing.assert_allclose(got, program(PLAIN, ys, NEARBY)[0], rtol=1e-10)


def test_a_log_has_the_anchor():
    def program(X, y, vectors):
        gram = X.T @ X
        return [X.T @ (X @ v - y) for v in vectors], gram

    y = PLAIN @ TRUTH + 1e-3 * NOISE
    with lima.session(strict=True, exactness="rounding") as here:
        X, handle = lima.array(PLAIN, name="X"), lima.array(y, name="y")
        got, _ = lima.traced(program)(X, handle, NEARBY)
        assert here.stats.partial["gradient"] > 6
        found = np.asarray(got[-1])
        text = lima.lineage(got[-1]).log()
    assert text.count("= leaf(") == 4  # the first vector is there, too
    assert lima.recompute(loads(text), {"X": PLAIN, "y": y}).tobytes() == found.tobytes()
