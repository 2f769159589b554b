"""One matrix with ever other multiples of the identity: solutions and inverses from one eigensystem."""

import warnings

import numpy as np
import pytest
import scipy.linalg

import lima
from lima import cost
from lima.op import OPS
from lima.ops import ridge
from lima.record import loads

N = 110
COUNT = 14
SHIFTS = np.logspace(-4, 4, COUNT).tolist()


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))
    monkeypatch.setattr(ridge, "PASSES", 0)
    monkeypatch.setattr(ridge, "DECOMPOSING", 1.5)


rng = np.random.default_rng(7)
ROUGH = rng.standard_normal((3 * N, N))
SCALES = np.logspace(-5, 5, N)
FACTORS = {
    "random": ROUGH,
    "columns of all scales": ROUGH * SCALES,
    "nearly collinear": np.column_stack([ROUGH[:, :-1], ROUGH[:, 0] * (1 + 1e-13)]),
    "fewer rows than columns": ROUGH[:40],
    "tiny": ROUGH * 1e-120,
    "huge": ROUGH * 1e120,
    "far from the origin": ROUGH + 1e5,
}


def eye(G, c):
    return G + c * np.eye(len(G))


def eye_first(G, c):
    return np.eye(len(G)) * c + G


def identity(G, c):
    return G + np.identity(len(G)) / (1 / c)


def diagonal(G, c):
    return G + np.diag(np.full(len(G), c))


def intercept(G, c):
    E = np.eye(len(G))
    E[0, 0] = 0
    return G + c * E


def intercept_last(G, c):
    d = np.full(len(G), c)
    d[-1] = 0.0
    return G + np.diag(d)


def indices(G, c):
    A = G.copy()
    A[np.diag_indices(len(G))] += c
    return A


def flat(G, c):
    A = G.copy()
    A.flat[:: len(G) + 1] += c
    return A


def flat_but_one(G, c):
    A = G.copy()
    A.flat[len(G) + 1 :: len(G) + 1] += c
    return A


def fill(G, c):
    A = G.copy()
    np.fill_diagonal(A, A.diagonal() + c)
    return A


def in_place(G, c):
    A = G.copy()
    A += c * np.eye(len(G))
    return A


SPELLINGS = (
    in_place, eye, eye_first, identity, diagonal, intercept, intercept_last, indices, flat, flat_but_one, fill,
)  # fmt: skip


def path(X, b, shifts, spelling, solve):
    G = X.T @ X
    return [solve(spelling(G, c), b) for c in shifts]


def traced_path(X, b, shifts, spelling, solve, **session):
    with lima.session(strict=True, **{"exactness": "rounding", **session}) as here:
        got = lima.traced(path)(X, b, shifts, spelling, solve)
        return got, here.stats.partial


def check_solutions(X, b, spelling, got, want):
    """Each solves a system that differs from the given one by rounding in every element."""
    eps = np.finfo(X.dtype).eps
    for c, g, w in zip(SHIFTS, got, want, strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        assert (g.flags.c_contiguous, g.flags.f_contiguous) == (
            w.flags.c_contiguous,
            w.flags.f_contiguous,
        )
        if g.tobytes() != w.tobytes():
            A = spelling(X.T @ X, c)
            rest = np.abs(b - A @ g)
            assert (rest <= 3 * (N + 8) * eps * (np.abs(A) @ np.abs(g) + np.abs(b))).all()
            bound = np.linalg.cond(A) * 4 * N * eps
            size = np.abs(w).max()
            assert np.linalg.norm((g - w) / size) <= bound * np.linalg.norm(w / size)


SIDES = {
    "vector": ROUGH[0],
    "columns": ROUGH[:3].T.copy(),
    "F order": np.asfortranarray(ROUGH[:3].T),
    "one column": ROUGH[0][:, None],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("side", SIDES)
def test_every_spelling(spelling, side):
    X, b = ROUGH, SIDES[side]
    want = path(X, b, SHIFTS, spelling, np.linalg.solve)
    got, partial = traced_path(X, b, SHIFTS, spelling, np.linalg.solve)
    assert partial["ridge-path"] > COUNT // 2
    check_solutions(X, b, spelling, got, want)


SINGLE = [name for name in FACTORS if name not in ("tiny", "huge", "columns of all scales")]
"""Those within the range of single precision."""


@pytest.mark.parametrize("spelling", [eye, intercept, flat])
@pytest.mark.parametrize(
    ("name", "dtype"), [*[(name, "f8") for name in FACTORS], *[(name, "f4") for name in SINGLE]]
)
def test_any_scale_and_condition(name, spelling, dtype):
    X, b = FACTORS[name].astype(dtype), ROUGH[1].astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = path(X, b, SHIFTS, spelling, np.linalg.solve)
        got, _ = traced_path(X, b, SHIFTS, spelling, np.linalg.solve)
    check_solutions(X, b, spelling, got, want)


@pytest.mark.parametrize("kind", [None, "gen", "sym", "pos"])
@pytest.mark.parametrize("side", SIDES)
def test_solve_of_scipy(kind, side):
    def solve(A, b):
        return scipy.linalg.solve(A, b, assume_a=kind)

    b = SIDES[side]
    want = path(ROUGH, b, SHIFTS, eye, solve)
    got, partial = traced_path(ROUGH, b, SHIFTS, eye, solve)
    assert partial["ridge-path"] > COUNT // 2
    check_solutions(ROUGH, b, eye, got, want)


def test_errors_and_warnings_of_scipy():
    """A matrix that is not positive definite raises, one that is nearly singular warns."""

    def solve(A, b):
        return scipy.linalg.solve(A, b, assume_a="pos")

    for X, shifts in ((ROUGH, [*SHIFTS, -1e3]), (ROUGH[:40], [*SHIFTS, 1e-13])):
        for run in (path, lambda *given: traced_path(*given)[0]):
            with (
                warnings.catch_warnings(),
                pytest.raises((np.linalg.LinAlgError, scipy.linalg.LinAlgWarning)),
            ):
                warnings.simplefilter("error")
                run(X, ROUGH[0], shifts, eye, solve)


def inverse(A, b):
    return np.linalg.inv(A)


@pytest.mark.parametrize("spelling", [eye, diagonal, flat])
@pytest.mark.parametrize("exactness", ["rounding", "guarded"])
def test_inverses(spelling, exactness):
    want = path(ROUGH, None, SHIFTS, spelling, inverse)
    got, partial = traced_path(ROUGH, None, SHIFTS, spelling, inverse, exactness=exactness)
    assert partial["ridge-inverse"] + partial["ridge-inverse-guarded"] > COUNT // 2
    for c, g, w in zip(SHIFTS, got, want, strict=True):
        assert g.flags.c_contiguous and g.dtype == w.dtype
        bound = 4 * N * np.finfo(float).eps * np.linalg.cond(spelling(ROUGH.T @ ROUGH, c))
        assert np.abs(g - w).max() <= bound * np.abs(w).max()


@pytest.mark.parametrize("exactness", ["rounding", "guarded"])
def test_inverses_are_refused_where_digits_would_be_lost(exactness):
    """A condition number above the limit of the class: bit for bit NumPy's own."""
    X = ROUGH * np.logspace(0, 7, N)
    shifts = [c * 1e-3 for c in SHIFTS]
    got, partial = traced_path(X, None, shifts, eye, inverse, exactness=exactness)
    assert not partial
    for g, w in zip(got, path(X, None, shifts, eye, inverse), strict=True):
        assert g.tobytes() == w.tobytes()


def test_matrices_that_are_not_symmetric():
    def square(X, b, shifts):
        A = X[:N]
        return [np.linalg.solve(A + c * np.eye(N), b) for c in shifts]

    with lima.session(strict=True, exactness="rounding") as session:
        got = lima.traced(square)(ROUGH, ROUGH[0], SHIFTS)
        assert not session.stats.partial
    for g, w in zip(got, square(ROUGH, ROUGH[0], SHIFTS), strict=True):
        assert g.tobytes() == w.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_shifts_and_sides_that_are_not_finite(value):
    for shifts, b in (([*SHIFTS, value], ROUGH[0]), (SHIFTS, ROUGH[0] * value)):
        with np.errstate(all="ignore"):
            want = path(ROUGH, b, shifts, eye, np.linalg.solve)
            got, _ = traced_path(ROUGH, b, shifts, eye, np.linalg.solve)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-9)


def test_other_diagonals_are_other_matrices():
    """Two numbers on the diagonal, one place that is free and then another, writes elsewhere."""

    def mixed(X, b, shifts):
        G = X.T @ X
        n, found = len(G), []
        for k, c in enumerate(shifts):
            E = np.eye(n)
            E[k % 3, k % 3] = 0.0
            found.append(np.linalg.solve(G + c * E, b))
            found.append(np.linalg.solve(G + np.diag(np.where(np.arange(n) % 2, c, 1.0)), b))
            A = G.copy()
            A[0, 1] += c
            found.append(np.linalg.solve(A, b))
            A.flat[:: n + 1] += c
            A[3] *= 1.5
            found.append(np.linalg.solve(A, b))
            found.append(np.linalg.solve(G + c * np.eye(n, k=1), b))
            found.append(np.linalg.solve(G - c * np.eye(n) + G * 0.0, b))
        return found

    want = mixed(ROUGH, ROUGH[0], SHIFTS)
    with lima.session(strict=True, exactness="rounding"):
        for _ in range(2):
            got = lima.traced(mixed)(ROUGH, ROUGH[0], SHIFTS)
            for g, w in zip(got, want, strict=True):
                np.testing.assert_allclose(g, w, rtol=1e-8, atol=1e-12 * np.abs(w).max())


def test_a_matrix_that_was_written_is_another_one():
    def written(X, b, shifts):
        G = X.T @ X
        found = [np.linalg.solve(G + c * np.eye(N), b) for c in shifts]
        G[2, 3] += 100.0
        G[3, 2] += 100.0
        return found + [np.linalg.solve(G + c * np.eye(N), b) for c in shifts]

    with lima.session(strict=True, exactness="rounding") as session:
        got = lima.traced(written)(ROUGH, ROUGH[0], SHIFTS)
        assert session.stats.partial["ridge-path"] > COUNT
    for g, w in zip(got, written(ROUGH, ROUGH[0], SHIFTS), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(
    ("spelling", "solve"),
    [
        (eye, np.linalg.solve),
        (intercept, np.linalg.solve),
        (indices, np.linalg.solve),
        (eye, inverse),
    ],
)
def test_its_lineage_computes_the_same_bits(spelling, solve):
    with lima.session(strict=True, exactness="rounding") as session:
        w = lima.traced(path)(ROUGH, ROUGH[0].copy(), SHIFTS, spelling, solve)[-1]
        assert session.stats.partial
        record = lima.lineage(w)
        names = {leaf.name for leaf in record.leaves}
        given = {name: a for name, a in (("X", ROUGH), ("b", ROUGH[0].copy())) if name in names}
        assert lima.recompute(loads(record.log()), given).tobytes() == w.tobytes()
        scope = {}
        exec(lima.to_python(record), scope)
        assert scope["program"](**given).tobytes() == w.tobytes()


@pytest.mark.parametrize("options", [{"exactness": "bitwise"}, {"reuse": "full"}])
def test_sessions_that_do_not_allow_it(options):
    got, partial = traced_path(ROUGH, ROUGH[0], SHIFTS, eye, np.linalg.solve, **options)
    assert not partial
    for g, w in zip(got, path(ROUGH, ROUGH[0], SHIFTS, eye, np.linalg.solve), strict=True):
        assert g.tobytes() == w.tobytes()


def test_not_where_it_costs_more(monkeypatch):
    """Few shifts, small matrices, as many right-hand sides as unknowns."""
    monkeypatch.setattr(ridge, "PASSES", 3)
    monkeypatch.setattr(ridge, "DECOMPOSING", 14.0)
    assert not traced_path(ROUGH, ROUGH[0], SHIFTS[:8], eye, np.linalg.solve)[1]
    assert not traced_path(ROUGH[:, :60], ROUGH[0, :60], SHIFTS, eye, np.linalg.solve)[1]
    many = ROUGH[: 2 * N].T.copy()
    assert not traced_path(ROUGH, many, SHIFTS * 4, eye, np.linalg.solve)[1]


def test_the_decomposition_is_made_once_and_not_too_early(monkeypatch):
    monkeypatch.setattr(ridge, "DECOMPOSING", 4.0)
    made, plain = [], []
    for name, seen in (("linalg.pencil", made), ("linalg.solve", plain)):
        kernel = OPS[name].kernel

        def counting(*args, seen=seen, kernel=kernel, **options):
            seen.append(1)
            return kernel(*args, **options)

        monkeypatch.setattr(OPS[name], "kernel", counting)
    _, partial = traced_path(ROUGH, ROUGH[0], SHIFTS, eye, np.linalg.solve)
    assert len(made) == 1 and 3 <= len(plain) <= 5
    assert partial["ridge-path"] == COUNT - len(plain)


def test_a_multiple_of_the_matrix_in_every_round():
    """`G / m` is written anew for each shift; where it is large, it waits."""
    A = rng.standard_normal((600, 200))

    def program(A):
        G = A.T @ A
        return [np.linalg.solve(G / 600 + c * np.eye(200), A[0]) for c in SHIFTS]

    with lima.session(strict=True, exactness="rounding") as here:
        got = lima.traced(program)(A)
        assert here.stats.partial["ridge-path"] >= COUNT - 5
    for g, w in zip(got, program(A), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-12)
