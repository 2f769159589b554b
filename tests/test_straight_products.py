"""Products with factors on the line through two earlier ones."""

import numpy as np
import pytest

import lima
from lima import cost
from lima.ops import straight

ROWS, COLUMNS = 30_000, 80
RULE, FAR = "product-along-a-line", "product-along-a-line-guarded"
STEPS = (0.0, 1.0, 0.5, 0.25, 0.125, 2.0, -1.0, 0.3)


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))
    monkeypatch.setattr(straight, "STEP", 1e-12)
    # products are kept, however fast this machine is
    monkeypatch.setattr("lima.cache.worth_keeping", lambda *args, **kwargs: True)
    monkeypatch.setattr("lima.sessions.FIRST_SIGHT", 0.0)
    monkeypatch.setattr("lima.sessions.SURELY", 0.0)


def matrix(seed, rows=ROWS, columns=COLUMNS, dtype="f8"):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(dtype)


def search(X, w, d, steps):
    return [X @ (w + t * d) for t in steps]


def run(X, w, d, steps=STEPS, program=search, **session):
    with np.errstate(all="ignore"):
        want = program(X, w, d, steps)
        with lima.session(**{"strict": True, "exactness": "rounding", **session}) as here:
            got = lima.traced(program)(X, w, d, steps)
    return got, want, here.stats.partial


def within(got, want, X, w, d, steps=STEPS, factor=16):
    norms = np.linalg.norm(X, axis=0)
    for g, x, t in zip(got, want, steps, strict=True):
        assert (g.dtype, g.shape) == (x.dtype, x.shape)
        assert g.flags.c_contiguous == x.flags.c_contiguous
        eps = factor * 8 * (len(w) + 16) * np.finfo(X.dtype).eps
        assert np.all(np.linalg.norm(g - x, axis=0) <= eps * (norms @ np.abs(w + t * d)))


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("columns", [0, 1, 3])
def test_steps_along_a_line(dtype, columns):
    X = matrix(1, dtype=dtype)
    w, d = (matrix(k, COLUMNS, max(columns, 1), dtype) for k in (2, 3))
    w = np.abs(w) + 1
    if not columns:
        w, d = w[:, 0].copy(), d[:, 0].copy()
    d *= np.asarray(0.3, dtype)
    got, want, fired = run(X, w, d, [np.asarray(t, dtype)[()] for t in STEPS])
    assert fired[RULE] == len(STEPS) - 2
    within(got, want, X, w, d, [np.asarray(t, dtype)[()] for t in STEPS])


def test_only_two_products_are_computed(monkeypatch):
    from lima.op import OPS

    kernel, work = OPS["matmul"].kernel, []

    def counting(a, b):
        work.append(a.shape)
        return kernel(a, b)

    object.__setattr__(OPS["matmul"], "kernel", counting)
    try:
        X, w, d = lima.array(matrix(1)), lima.array(np.ones(COLUMNS)), matrix(2)[0] * 0.1
        with lima.session(strict=True, exactness="rounding"):
            for t in (0.0, 1.0, *np.linspace(0.1, 0.9, 20)):
                X @ (w + t * d)
    finally:
        object.__setattr__(OPS["matmul"], "kernel", kernel)
    assert len(work) == 2


def test_factors_beside_the_line():
    X, w, d = matrix(1), np.ones(COLUMNS), matrix(2)[0] * 0.1

    def program(X, w, d, steps):
        e = np.zeros(COLUMNS)
        e[5] = 1e-9
        return [X @ w, X @ (w + d), X @ (w + 0.5 * d + e), X @ (w + d * d), X @ (w + d + e)]

    got, want, fired = run(X, w, d, program=program)
    assert not fired[RULE]
    assert all(g.tobytes() == x.tobytes() for g, x in zip(got, want, strict=True))


@pytest.mark.parametrize(("far", "plain", "guarded"), [(1.0, 1, 1), (3e2, 0, 1), (1e9, 0, 0)])
def test_the_guard_refuses_where_cancellation_hurts(far, plain, guarded):
    """Two factors far away on opposite sides of a small one."""
    X, w, d = matrix(1), np.ones(COLUMNS), matrix(2)[0]
    steps = (-far, far, 0.25)
    for exactness, fires, factor in (("rounding", plain, 16), ("guarded", guarded, 1e6)):
        got, want, fired = run(X, w, d, steps, exactness=exactness)
        assert bool(fired[RULE] + fired[FAR]) == fires
        within(got, want, X, w, d, steps, factor)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-8, 1e8, 1e160, 1e300])
def test_tiny_and_huge_data(scale):
    w, d = np.ones(COLUMNS), matrix(2)[0] * 0.1
    for X, v, e in (
        (matrix(1) * scale, w, d),
        (matrix(1), w * scale, d * scale),
        (matrix(1) * scale, w / scale, d / scale),
        (matrix(1) * np.logspace(-5, 5, COLUMNS), w, d),
    ):
        got, want, _ = run(X, v, e)
        for g, x in zip(got, want, strict=True):
            np.testing.assert_allclose(g, x, rtol=1e-9, atol=1e-12 * np.abs(x).max())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite(value):
    X, w, d = matrix(1), np.ones(COLUMNS), matrix(2)[0] * 0.1
    X[5, 2] = value
    got, want, _ = run(X, w, d)
    for g, x in zip(got, want, strict=True):
        np.testing.assert_allclose(g, x, rtol=1e-9, atol=1e-12)
    X, w[3] = matrix(1), value
    got, want, _ = run(X, w, d)
    for g, x in zip(got, want, strict=True):
        np.testing.assert_allclose(g, x, rtol=1e-9, atol=1e-12)


def test_what_was_written_since():
    def program(X, w, d, steps):
        found = []
        for t in steps:
            w += t * d
            found.append(X @ w)
            if len(found) == 4:
                X[9] = 5.0
        return found

    X, w, d = matrix(1), np.ones(COLUMNS), matrix(2)[0] * 0.1
    with lima.session(strict=True, exactness="rounding") as session:
        got = lima.traced(program)(X.copy(), w.copy(), d, STEPS)
        assert session.stats.partial[RULE] >= 2
    for g, x in zip(got, program(X, w, d, STEPS), strict=True):
        np.testing.assert_allclose(g, x, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("options", [{"exactness": "bitwise"}, {"reuse": "full"}])
def test_sessions_that_do_not_allow_it(options):
    got, want, fired = run(matrix(1), np.ones(COLUMNS), matrix(2)[0], **options)
    assert not fired
    assert all(g.tobytes() == x.tobytes() for g, x in zip(got, want, strict=True))


def test_not_where_it_costs_more(monkeypatch):
    monkeypatch.setattr(straight, "STEP", 1.0)
    assert not run(matrix(1), np.ones(COLUMNS), matrix(2)[0])[2][RULE]


def test_its_lineage_computes_the_same_bits():
    X, w, d = lima.array(matrix(1), name="X"), lima.array(np.ones(COLUMNS), name="w"), lima.array(matrix(2)[0] * 0.1, name="d")  # fmt: skip
    with lima.session(strict=True, exactness="rounding") as session:
        *_, y = search(X, w, d, STEPS)
        assert session.stats.partial[RULE] == 6 and RULE in str(lima.explain(y))
        assert lima.recompute(lima.lineage(y)).tobytes() == np.asarray(y).tobytes()
