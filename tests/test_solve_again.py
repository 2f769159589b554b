"""One matrix, ever other right-hand sides: solutions from a kept inverse, checked one by one."""

import warnings

import numpy as np
import pytest
import scipy.linalg

import lima
from lima import cost
from lima.op import OPS
from lima.ops import solving

N = 90


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))
    monkeypatch.setattr(solving, "PASSES", 0)


def hilbert(n):
    k = np.arange(n)
    return 1.0 / (k[:, None] + k + 1.0)


rng = np.random.default_rng(3)
ROUGH = rng.standard_normal((N, N))
SCALES = np.logspace(-9, 9, N)
MATRICES = {
    "random": ROUGH,
    "dominant": ROUGH + N * np.eye(N),
    "symmetric": ROUGH.T @ ROUGH,
    "rows of all scales": ROUGH * SCALES[:, None],
    "columns of all scales": ROUGH * SCALES,
    "both": ROUGH * SCALES * SCALES[::-1, None],
    "tiny": ROUGH * 1e-150,
    "huge": ROUGH * 1e150,
    "ill": ROUGH @ np.diag(np.logspace(0, -10, N)) @ ROUGH.T,
    "triangular": np.tril(ROUGH) + 3 * np.eye(N),
    "F order": np.asfortranarray(ROUGH),
    "every other": np.repeat(ROUGH, 2, axis=1)[:, ::2],
    "nearly singular": hilbert(N),
}


def growing(n):
    """Wilkinson's matrix, on which elimination loses all digits, and so does the inverse."""
    A = np.eye(n) - np.tril(np.ones((n, n)), -1)
    A[:, -1] = 1.0
    return A


def sides(dtype, k):
    made = np.random.default_rng(k).standard_normal((N, 3)).astype(dtype)
    return [made[:, 0], made[:, :1], made, np.asfortranarray(made), made[::-1, 1], 0 * made][k % 6]


def solved(A, count, dtype="f8", **session):
    """What is solved plainly and traced, one right-hand side after the other; and the statistics."""
    found = []
    with lima.session(strict=True, **{"exactness": "rounding", **session}) as here:
        T = lima.array(A)
        for k in range(count):
            b = sides(dtype, k)
            found.append((b, np.linalg.solve(A, b), np.asarray(np.linalg.solve(T, lima.array(b)))))
        return found, here.stats.partial["solve-again"]


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("dtype", ["f8", "f4", "c16"])
def test_solutions_are_exact_but_for_rounding(name, dtype):
    """Of a system that differs by rounding in every element, or NumPy's own."""
    A = MATRICES[name]
    if np.dtype(dtype).kind == "c":
        A = A + 1j * A[::-1]
    if dtype == "f4" and name in (
        "tiny",
        "huge",
        "both",
        "rows of all scales",
        "columns of all scales",
    ):
        A = ROUGH * 1e10
    A = A.astype(dtype) if name not in ("F order", "every other") else A.astype(dtype, order="K")
    found, fired = solved(A, 14, dtype)
    eps = np.finfo(dtype).eps
    for b, want, got in found:
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        assert got.flags.c_contiguous == want.flags.c_contiguous
        if got.tobytes() != want.tobytes():
            rest = np.abs(b - A @ got)
            assert (rest <= 3 * (N + 8) * eps * (np.abs(A) @ np.abs(got) + np.abs(b))).all()
            bound = np.linalg.cond(A) * 2 * N * eps
            assert np.linalg.norm(got - want) <= bound * np.linalg.norm(want)
    assert fired


def test_it_is_seen_to_refuse():
    """A matrix whose inverse overflows: the check fails once, then NumPy solves, bit for bit."""
    A = ROUGH * 1e-310
    with lima.session(strict=True, exactness="rounding") as session:
        T = lima.array(A)
        for k in range(12):
            b = A @ (sides("f8", 0) + k)
            want = np.linalg.solve(A, b)
            assert np.isfinite(want).all()
            assert np.asarray(np.linalg.solve(T, lima.array(b))).tobytes() == want.tobytes()
        assert not session.stats.partial


def test_it_does_not_lose_digits_that_elimination_loses():
    A = growing(N)
    found, fired = solved(A, 12)
    assert fired
    for b, want, got in found:
        if got.tobytes() != want.tobytes():
            rest = np.abs(b - A @ got)
            assert (rest <= 1e-12 * (np.abs(A) @ np.abs(got) + np.abs(b))).all()


def test_a_singular_matrix_raises_as_ever():
    A = np.ones((N, N))
    with lima.session(strict=True, exactness="rounding"):
        T = lima.array(A)
        for k in range(8):
            with pytest.raises(np.linalg.LinAlgError, match="Singular"):
                np.linalg.solve(T, lima.array(sides("f8", 0) + k))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_right_hand_sides_that_are_not_finite(value):
    A = MATRICES["dominant"]
    with lima.session(strict=True, exactness="rounding"), np.errstate(all="ignore"):
        T = lima.array(A)
        for k in range(9):
            b = sides("f8", 0) + k
            b[5] = value if k == 6 else 1.0
            want = np.linalg.solve(A, b)
            np.testing.assert_allclose(np.asarray(np.linalg.solve(T, lima.array(b))), want)


def test_other_matrices_are_other_matrices():
    """Its transpose, itself after a write, and a view of a part of it."""

    @lima.traced
    def use(A, b):
        found = [np.linalg.solve(A, b + k) for k in range(8)]
        found += [np.linalg.solve(A.T, b + k) for k in range(8)]
        found += [np.linalg.solve(A[:70, :70], b[:70] + k) for k in range(8)]
        A[3, 3] += 1.0
        return [*found, *[np.linalg.solve(A, b + k) for k in range(8)]]

    A, b = MATRICES["dominant"], sides("f8", 0)
    with lima.session(strict=True, exactness="rounding") as session:
        for got, want in zip(use(A.copy(), b), use.__wrapped__(A.copy(), b), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-11)
        assert session.stats.partial["solve-again"] >= 12


def test_its_lineage_computes_the_same_bits():
    A = lima.array(MATRICES["random"], name="A")
    with lima.session(strict=True, exactness="rounding") as session:
        u = lima.array(sides("f8", 0), name="u")
        for _ in range(12):
            u = np.linalg.solve(A, u)
            u = u / np.linalg.norm(u)
        assert session.stats.partial["solve-again"]
        record = lima.lineage(u)
        assert record.find("linalg.solve.again")
        leaves = {"A": np.asarray(A), "u": sides("f8", 0)}
        assert lima.recompute(record, leaves).tobytes() == np.asarray(u).tobytes()
        scope = {}
        exec(lima.to_python(record), scope)
        got = scope["program"](**leaves)
        assert got.tobytes() == np.asarray(u).tobytes()


@pytest.mark.parametrize("options", [{"exactness": "bitwise"}, {"reuse": "full"}])
def test_sessions_that_do_not_allow_it(options):
    found, fired = solved(MATRICES["random"], 9, **options)
    assert not fired
    assert all(got.tobytes() == want.tobytes() for _, want, got in found)


def test_not_where_it_costs_more(monkeypatch):
    """Right-hand sides as many as unknowns, small matrices, and a matrix that is met once."""
    monkeypatch.setattr(solving, "PASSES", 5)
    assert not solved(MATRICES["random"], 1)[1]
    with lima.session(strict=True, exactness="rounding") as session:
        T, S = lima.array(MATRICES["random"]), lima.array(ROUGH[:40, :40])
        for k in range(9):
            np.linalg.solve(T, lima.array(ROUGH + k))
            np.linalg.solve(S, lima.array(ROUGH[0, :40] + k))
        assert not session.stats.partial


def test_the_inverse_is_made_once_and_not_too_early(monkeypatch):
    made, solutions = [], []
    for name, seen in (("linalg.inv", made), ("linalg.solve", solutions)):
        kernel = OPS[name].kernel

        def counting(*args, seen=seen, kernel=kernel):
            seen.append(1)
            return kernel(*args)

        monkeypatch.setattr(OPS[name], "kernel", counting)
    _, fired = solved(MATRICES["random"], 30)
    assert len(made) == 1 and len(solutions) >= 2 and fired == 30 - len(solutions)


def test_an_inverse_that_the_program_asked_for_serves_at_once():
    @lima.traced
    def use(A, b):
        B = np.linalg.inv(A)
        return B @ b, np.linalg.solve(A, b), np.linalg.solve(A, b + 1.0)

    A, b = MATRICES["dominant"], sides("f8", 0)
    with lima.session(strict=True, exactness="rounding") as session:
        got = use(A, b)
        assert session.stats.partial["solve-again"] == 2
    for g, w in zip(got, use.__wrapped__(A, b), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-11)


def test_a_matrix_that_is_computed_anew_is_the_same_one():
    """Another object each time, of one lineage."""

    @lima.traced
    def use(A, b):
        return [np.linalg.solve(A * 2.0 + np.eye(N), b + k) for k in range(12)]

    A, b = MATRICES["dominant"], sides("f8", 0)
    with lima.session(strict=True, exactness="rounding") as session:
        got = use(A, b)
        assert session.stats.partial["solve-again"] >= 8
    for g, w in zip(got, use.__wrapped__(A, b), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-11)


def scipy_solved(A, count, **how):
    with lima.session(strict=True, exactness="rounding", reuse="partial") as here:

        def program(A, sides):
            return [scipy.linalg.solve(A, b, **how) for b in sides]

        given = [np.cos(np.arange(N) + k) for k in range(count)]
        wanted = program(A, given)
        got = lima.traced(program)(A, given)
        for g, w in zip(got, wanted, strict=True):
            assert (g.dtype, g.shape, g.flags.writeable) == (w.dtype, w.shape, True)
            np.testing.assert_allclose(g, w, rtol=1e-8, atol=1e-11 * np.abs(w).max())
        return here.stats.partial["solve-again"]


@pytest.mark.parametrize("how", [{}, {"assume_a": "gen"}, {"check_finite": False}])
def test_scipy(how):
    assert scipy_solved(ROUGH, 12, **how) >= 6


@pytest.mark.parametrize("how", [{"assume_a": "pos"}, {"assume_a": "sym"}, {"transposed": True}])
def test_scipy_with_structure(how):
    assert scipy_solved(ROUGH @ ROUGH.T + np.eye(N), 12, **how) == 0


@pytest.mark.parametrize("A", [np.tril(ROUGH) + 9 * np.eye(N), np.diag(np.arange(1.0, N + 1))])
def test_scipy_finds_triangles_itself(A):
    assert scipy_solved(A, 12) == 0


def test_scipy_warns_of_nearly_singular_matrices():
    A = ROUGH.copy()
    A[-1] = A[0] * (1 + 1e-15) + 1e-16

    def program(A):
        told = []
        for k in range(12):
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                scipy.linalg.solve(A, np.cos(np.arange(N) + k))
            told.append(len(seen))
        return told

    with lima.session(strict=True, exactness="rounding", reuse="partial"):
        assert lima.traced(program)(A) == program(A)
