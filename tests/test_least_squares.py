"""Least squares with one matrix and ever other right-hand sides."""

import numpy as np
import pytest

import lima
from lima import cost
from lima.op import OPS
from lima.ops import least_squares
from lima.record import loads

M, N = 900, 30


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))


rng = np.random.default_rng(5)
PLAIN = rng.standard_normal((M, N))
MATRICES = {
    "random": PLAIN,
    "columns of all scales": PLAIN * np.logspace(-5, 5, N),
    "rows of all scales": PLAIN * np.logspace(-8, 8, M)[:, None],
    "ill": PLAIN @ np.diag(np.logspace(0, -9, N)) @ rng.standard_normal((N, N)),
    "collinear": np.column_stack([PLAIN[:, :-1], PLAIN[:, 0]]),
    "nearly collinear": np.column_stack([PLAIN[:, :-1], PLAIN[:, 0] * (1 + 1e-13)]),
    "tiny": PLAIN * 1e-150,
    "huge": PLAIN * 1e150,
    "F order": np.asfortranarray(PLAIN),
    "no rank": np.zeros((M, N)),
}


def sides(a, k, dtype="f8"):
    """Noise, exact fits and nearly exact ones, as vectors and as several columns."""
    made = np.random.default_rng(k)
    fit = a @ made.standard_normal((N, 3)).astype(dtype)
    scale = np.abs(fit).max() or 1.0
    noise = (made.standard_normal((M, 3)) * scale).astype(dtype)
    b = [noise, fit, fit + (noise * 1e-6).astype(dtype), fit + noise][k % 4]
    return [b[:, 0].copy(), b, np.asfortranarray(b), b[:, :1]][(k // 4) % 4]


def solved(a, count, dtype="f8", rcond=None, **session):
    found = []
    with lima.session(strict=True, **{"exactness": "rounding", **session}) as here:
        t = lima.array(a)
        for k in range(count):
            b = sides(a, k, dtype)
            got = np.linalg.lstsq(t, lima.array(b), rcond=rcond)
            found.append((b, np.linalg.lstsq(a, b, rcond=rcond), [np.asarray(x) for x in got]))
        return found, here.stats.partial["least-squares-again"]


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_solutions_are_as_good_as_those_of_numpy(name, dtype):
    """By the residual, which is least, and by the backward error, whatever the condition."""
    a = MATRICES[name]
    if dtype == "f4" and np.abs(a).max() not in (0,) and not 1e-15 < np.abs(a).max() < 1e15:
        a = PLAIN * 1e10
    a = a.astype(dtype)
    found, fired = solved(a, 20, dtype)
    eps = np.finfo(dtype).eps
    assert bool(fired) == (np.linalg.cond(a.astype("f8")) < 1 / (32 * M * eps))
    top = np.linalg.norm(a.astype("f8"), 2)
    if not fired:
        for _, want, got in found:
            assert [g.tobytes() for g in got] == [np.asarray(w).tobytes() for w in want]
        return
    for b, want, got in found:
        for g, w in zip(got, want, strict=True):
            assert (g.dtype, g.shape) == (np.asarray(w).dtype, np.shape(w))
        x, rest, rank, s = got
        assert rank == want[2]
        np.testing.assert_allclose(s, want[3], rtol=0, atol=8 * N * eps * top)
        wide, b = a.astype("f8"), b.astype("f8")
        slack = 8 * N * eps * (np.linalg.norm(b, axis=0) + top * np.linalg.norm(x, axis=0))
        ours, theirs = [np.linalg.norm(b - wide @ y.astype("f8"), axis=0) for y in (x, want[0])]
        assert (ours <= theirs + slack).all()
        if rest.size:
            np.testing.assert_allclose(
                np.sqrt(rest.astype("f8")), np.atleast_1d(theirs), rtol=1e3 * eps,
                atol=float(np.max(slack)),
            )  # fmt: skip
        error = np.linalg.norm(x.astype("f8") - want[0], axis=0)
        cond = np.linalg.cond(wide)
        room = 8 * N * eps * cond * (1 + cond * theirs / (top * np.linalg.norm(x, axis=0)))
        assert (error <= room * np.linalg.norm(x, axis=0)).all()


@pytest.mark.parametrize("rcond", [None, -1, 1e-3, 0.5, 1e-12])
def test_the_cut_is_that_of_the_call(rcond):
    """Where it lowers the rank NumPy solves, bit for bit."""
    a = PLAIN * np.logspace(0, -5, N)
    found, fired = solved(a, 8, rcond=rcond)
    assert bool(fired) == (rcond in (None, -1, 1e-12))
    for _, want, got in found:
        assert got[2] == want[2]
        if not fired:
            for g, w in zip(got, want, strict=True):
                assert g.tobytes() == np.asarray(w).tobytes()


def test_it_is_made_once_and_not_too_early(monkeypatch):
    made, plain = [], []
    for name, seen in (("linalg.base", made), ("linalg.lstsq", plain)):
        kernel = OPS[name].kernel

        def counting(*args, seen=seen, kernel=kernel, **options):
            seen.append(1)
            return kernel(*args, **options)

        monkeypatch.setattr(OPS[name], "kernel", counting)
    _, fired = solved(PLAIN, 20)
    assert len(made) == 1 and 2 <= len(plain) <= 3 and fired == 20 - len(plain)


def test_other_matrices_are_other_matrices():
    def use(a, b):
        found = [np.linalg.lstsq(a, b * k)[0] for k in range(1, 6)]
        a[3, 3] += 5.0
        found += [np.linalg.lstsq(a, b * k)[0] for k in range(1, 6)]
        x, rest, _, s = np.linalg.lstsq(a, b)
        x[0] = 3.0
        s *= 2
        return [*found, x, rest, s, *np.linalg.lstsq(a, b)]

    want = use(PLAIN.copy(), PLAIN[:, 0] ** 2)
    with lima.session(strict=True, exactness="rounding") as session:
        got = lima.traced(use)(PLAIN.copy(), PLAIN[:, 0] ** 2)
        assert session.stats.partial["least-squares-again"] >= 5
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-11)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sides_that_are_not_finite(value):
    with lima.session(strict=True, exactness="rounding"), np.errstate(all="ignore"):
        t = lima.array(PLAIN)
        for k in range(8):
            b = sides(PLAIN, 0) + k
            b[4] = value if k == 6 else 1.0
            want = np.linalg.lstsq(PLAIN, b)
            for g, w in zip(np.linalg.lstsq(t, lima.array(b)), want, strict=True):
                np.testing.assert_allclose(np.asarray(g), w, rtol=1e-9)


def test_its_lineage_computes_the_same_bits():
    def use(X, y):
        for _ in range(6):
            x, rest, _, s = np.linalg.lstsq(X, y)
            y = y - 0.5 * (X @ x) + s[0]
        return x, rest

    with lima.session(strict=True, exactness="rounding") as session:
        found = lima.traced(use)(PLAIN, PLAIN[:, 0] ** 2)
        assert session.stats.partial["least-squares-again"]
        given = {"X": PLAIN, "y": PLAIN[:, 0] ** 2}
        for x in found:
            record = lima.lineage(x)
            assert lima.recompute(loads(record.log()), given).tobytes() == x.tobytes()
            scope = {}
            exec(lima.to_python(record), scope)
            assert scope["program"](**given).tobytes() == x.tobytes()
            assert "least-squares-again" in str(lima.explain(x))


@pytest.mark.parametrize("options", [{"exactness": "bitwise"}, {"reuse": "full"}])
def test_sessions_that_do_not_allow_it(options):
    found, fired = solved(PLAIN, 8, **options)
    assert not fired
    for _, want, got in found:
        for g, w in zip(got, want, strict=True):
            assert g.tobytes() == np.asarray(w).tobytes()


def test_not_where_it_costs_more(monkeypatch):
    """One right-hand side, as many as columns, and matrices wider than tall."""
    assert not solved(PLAIN, 1)[1]
    monkeypatch.setattr(least_squares, "SLOWER", 1.0)
    with lima.session(strict=True, exactness="rounding") as session:
        t, wide = lima.array(PLAIN), lima.array(PLAIN.T)
        for k in range(9):
            np.linalg.lstsq(t, lima.array(np.tile(PLAIN, 3) + k))
            np.linalg.lstsq(wide, lima.array(PLAIN[0] + k))
        assert not session.stats.partial
