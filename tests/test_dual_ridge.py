"""Ridge regression with fewer rows than columns: solutions from the small matrix Z Z' + cI."""

import numpy as np
import pytest
import scipy.linalg

import lima
from lima import cost
from lima.ops import dual
from lima.record import loads

M, N = 40, 200
rng = np.random.default_rng(5)
ROUGH = rng.standard_normal((M, N))
MATRICES = {
    "random": ROUGH,
    "columns of all scales": ROUGH * np.logspace(-6, 6, N),
    "rows of all scales": ROUGH * np.logspace(-6, 6, M)[:, None],
    "nearly collinear": np.vstack([ROUGH[:-1], ROUGH[0] * (1 + 1e-13)]),
    "equal rows": np.vstack([ROUGH[: M // 2], ROUGH[: M // 2]]),
    "far from the origin": ROUGH + 1e4,
    "tiny": ROUGH * 1e-120,
    "huge": ROUGH * 1e120,
    "single": ROUGH.astype("f4"),
    "F order": np.asfortranarray(ROUGH),
    "one row": ROUGH[:1],
    "zeros": 0 * ROUGH,
}


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))
    monkeypatch.setattr(dual, "PASSES", 0)


def eye(Z, c):
    return Z.T @ Z + c * np.eye(Z.shape[1])


def eye_first(Z, c):
    return np.identity(Z.shape[1]) * c + Z.T @ Z


def diagonal(Z, c):
    return np.dot(Z.T, Z) + np.diag(np.full(Z.shape[1], c))


def upright(Z, c):
    W = Z.T
    return W @ W.T + c * np.eye(len(W))


def mean(Z, c):
    return Z.T @ Z / 40.0 + c * np.eye(Z.shape[1])


def doubled(Z, c):
    return 2.0 * (Z.T @ Z) + c * np.eye(Z.shape[1])


def added(Z, c):
    A = Z.T @ Z
    A += c * np.eye(len(A))
    return A


def of_made(Z, c):
    Z = Z * 1.0
    return Z.T @ Z + c * np.eye(Z.shape[1])


SPELLINGS = [eye, eye_first, diagonal, upright, mean, doubled, of_made]


def by_numpy(A, b):
    return np.linalg.solve(A, b)


def by_scipy(A, b):
    return scipy.linalg.solve(A, b)


def solved(spelling, Z, shifts, b=None, solve=by_numpy, **session):
    """Solutions plainly and traced, and how many of them were derived."""

    def program(Z, b):
        b = Z.T @ Z[:, 0] if b is None else b
        return [solve(spelling(Z, c), b) for c in shifts]

    wanted = program(Z, b)
    session = {"exactness": "rounding", "reuse": "partial", **session}
    with lima.session(strict=True, **session) as here:
        got = lima.traced(program)(Z, b)
        return wanted, got, here.stats.partial["dual-ridge"]


def check(spelling, Z, c, x, b):
    """It solves a system that differs by rounding in every element of the sums that made it."""
    scale = {"mean": 1 / 40.0, "doubled": 2.0}.get(spelling.__name__, 1.0)
    eps, Z, x, b = np.finfo(x.dtype).eps, *(v.astype(np.longdouble) for v in (Z, x, b))
    short = b - (scale * (Z.T @ (Z @ x)) + c * x)
    around = scale * (np.abs(Z).T @ (np.abs(Z) @ np.abs(x))) + c * np.abs(x) + np.abs(b)
    assert (np.abs(short) <= 2 * (sum(Z.shape) + 8) * eps * around).all()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling(spelling):
    wanted, got, fired = solved(spelling, ROUGH, (0.1, 1.0, 30.0))
    assert fired == 3
    for w, g, c in zip(wanted, got, (0.1, 1.0, 30.0), strict=True):
        assert (g.dtype, g.shape, g.flags.writeable) == (w.dtype, w.shape, True)
        check(spelling, ROUGH, c, g, ROUGH.T @ ROUGH[:, 0])
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("side", ["within", "any"])
def test_solutions_are_exact_but_for_rounding(name, side):
    Z = MATRICES[name]
    size = float(np.square(Z, dtype="f8").sum() or 1.0)
    shifts = [Z.dtype.type(size * s) for s in (1e-13, 1e-9, 1e-5, 1e-2, 1.0, 1e6)]
    b = Z.T @ Z[:, 0] if side == "within" else np.cos(np.arange(N)).astype(Z.dtype)
    derived = 0
    for c in shifts:
        wanted, got, fired = solved(typed, Z, [c], b)
        assert (got[0].dtype, got[0].shape) == (wanted[0].dtype, wanted[0].shape)
        if fired:
            check(typed, Z, c, got[0], b)
        derived += fired
    least = {"one row": 0, "tiny": 0, "huge": 0}  # too small to wait; others over- or underflow
    assert derived >= least.get(name, 3)


def typed(Z, c):
    return Z.T @ Z + c * np.eye(Z.shape[1], dtype=Z.dtype)


def test_several_right_hand_sides_and_scipy():
    for b in (np.cos(ROUGH.T), np.asfortranarray(np.cos(ROUGH.T[:, :3]))):
        for solve in (by_numpy, by_scipy):
            wanted, got, fired = solved(eye, ROUGH, (2.0,), b, solve)
            assert fired == 1
            assert got[0].flags.c_contiguous == wanted[0].flags.c_contiguous
            assert got[0].flags.f_contiguous == wanted[0].flags.f_contiguous
            np.testing.assert_allclose(got[0], wanted[0], rtol=1e-9, atol=1e-12)


def free(Z, c):
    penalty = np.full(Z.shape[1], c)
    penalty[-1] = 0.0
    return Z.T @ Z + np.diag(penalty)


def uneven(Z, c):
    return Z.T @ Z + np.diag(np.linspace(c, 2 * c, Z.shape[1]))


def off_diagonal(Z, c):
    E = np.eye(Z.shape[1])
    E[0, 1] = 0.5
    return Z.T @ Z + c * E


def subtracted(Z, c):
    return Z.T @ Z - c * np.eye(Z.shape[1])


def divided(Z, c):
    return c / (Z.T @ Z + 50.0) + np.eye(Z.shape[1])


def of_others(Z, c):
    return Z[:20].T @ Z[20:] + c * np.eye(Z.shape[1])


def changed(Z, c):
    A = Z.T @ Z + c * np.eye(Z.shape[1])
    A[0, 0] += 1.0
    return A


@pytest.mark.parametrize(
    "spelling", [free, uneven, off_diagonal, subtracted, divided, of_others, changed, added]
)
def test_others_are_computed_as_asked(spelling):
    b = np.cos(np.arange(N))
    wanted, got, fired = solved(spelling, ROUGH, (3.0,), b)
    assert fired == 0
    np.testing.assert_allclose(got[0], wanted[0], rtol=1e-8, atol=1e-10)


def test_writes_in_between():
    """What waits is made of the elements as they were when the program asked for it."""

    def program(Z, b):
        Z = Z.copy()
        E = np.eye(Z.shape[1])
        G = Z.T @ Z
        Z[0] = 5.0
        first = np.linalg.solve(G + E, b)
        A = Z.T @ Z + E
        Z *= 2.0
        second = np.linalg.solve(A, b)
        A = Z.T @ Z + E
        E[3, 3] = 7.0
        return first, second, np.linalg.solve(A, b), np.linalg.solve(Z.T @ Z + E, b), G

    b = np.cos(np.arange(N))
    with lima.session(strict=True, exactness="rounding"):
        for g, w in zip(lima.traced(program)(ROUGH, b), program(ROUGH, b), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-11)


def test_one_who_reads_the_gram_matrix_has_its_bits():
    def program(Z):
        G = Z.T @ Z
        return G, G[0] + 1.0, G @ Z[0], np.trace(Z.T @ Z), (Z.T @ Z).sum(axis=0)

    with lima.session(strict=True, exactness="rounding"):
        for g, w in zip(lima.traced(program)(ROUGH), program(ROUGH), strict=True):
            assert g.tobytes() == w.tobytes() and g.flags.writeable == w.flags.writeable


def test_exactness_bitwise_has_the_bits():
    wanted, got, fired = solved(eye, ROUGH, (0.1, 1.0), exactness="bitwise")
    assert not fired and all(g.tobytes() == w.tobytes() for g, w in zip(got, wanted, strict=True))


def test_not_finite_and_singular():
    for bad in (np.nan, np.inf):
        Z = ROUGH.copy()
        Z[3, 3] = bad
        wanted, got, fired = solved(eye, Z, (1.0,), np.ones(N))
        assert not fired and np.array_equal(got[0], wanted[0], equal_nan=True)
    with lima.session(strict=True, exactness="rounding"), pytest.raises(np.linalg.LinAlgError):
        lima.traced(lambda Z: np.linalg.solve(0 * (Z.T @ Z) + 0 * np.eye(N), Z[0]))(ROUGH)


def test_not_where_it_costs_more(monkeypatch):
    monkeypatch.setattr(dual, "PASSES", 1e9)
    assert solved(eye, ROUGH, (1.0,))[2] == 0
    assert solved(eye, rng.standard_normal((150, N)), (1.0,))[2] == 0


def of_arguments(Z, b):
    return np.linalg.solve(Z.T @ Z + 0.5 * np.eye(Z.shape[1]), b)


def test_its_lineage_computes_the_same_bits():
    given = {"Z": ROUGH, "b": np.cos(np.arange(N)) * 3.0}
    with lima.session(strict=True, exactness="rounding") as here:
        x = lima.traced(of_arguments)(**given)
        assert here.stats.partial["dual-ridge"] == 1
        record = lima.lineage(x)
        assert lima.recompute(loads(record.log()), given).tobytes() == x.tobytes()
        scope = {}
        exec(lima.to_python(record), scope)
        assert scope["program"](**given).tobytes() == x.tobytes()
