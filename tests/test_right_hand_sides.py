"""Right-hand sides whose columns were solved for before: joined with others, and chosen."""

import numpy as np
import pytest
import scipy.linalg

import lima
from lima import cost
from lima.ops import joined, sides
from lima.record import loads

N = 90
rng = np.random.default_rng(12)
A = rng.standard_normal((N, N)) + N * np.eye(N)
B = rng.standard_normal((N, 60))
C = rng.standard_normal((N, 4))


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e7, 8e9, 2e9))
    monkeypatch.setattr(sides, "STEP", 1e-12)


def by_numpy(A, b):
    return np.linalg.solve(A, b)


def by_scipy(A, b):
    return scipy.linalg.solve(A, b)


def positive(A, b):
    return scipy.linalg.solve(A + A.T, b, assume_a="pos")


SIDES = {
    "appended": lambda B, C: np.hstack([B, C]),
    "before": lambda B, C: np.concatenate([C, B], axis=1),
    "between": lambda B, C: np.column_stack([B[:, :9], C[:, 0], B[:, 9:]]),
    "both sides": lambda B, C: np.hstack([C[:, :1], B, C[:, 1:]]),
    "some": lambda B, C: B[:, [7, 3, 3, 40]],
    "slice": lambda B, C: B[:, 5:50],
    "backwards": lambda B, C: B[:, ::-1],
    "every other": lambda B, C: B[:, ::2],
    "one as a matrix": lambda B, C: B[:, 7:8],
    "one as a vector": lambda B, C: B[:, 7],
    "mask": lambda B, C: B[:, np.arange(60) % 3 == 0],
    "copy": lambda B, C: np.hstack([B, C]).copy(),
    "F order": lambda B, C: np.asfortranarray(np.hstack([B, C])),
}


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize("solve", [by_numpy, by_scipy, positive])
@pytest.mark.parametrize("dtype", ["f8", "f4", "c16"])
def test_solutions(name, solve, dtype):
    def program(A, B, C):
        first = solve(A, B)
        return first, solve(A, SIDES[name](B, C)), SIDES[name](B, C)

    args = [x.astype(dtype) for x in (A, B, C)]
    if dtype == "c16":
        args[1] = args[1] + 1j * args[1][::-1]
    wanted = program(*args)
    with lima.session(strict=True, exactness="rounding", reuse="partial"):
        got = lima.traced(program)(*args)
    assert got[0].tobytes() == wanted[0].tobytes()
    for g, w in zip(got, wanted, strict=True):
        assert (g.dtype, g.shape, g.flags.writeable) == (w.dtype, w.shape, w.flags.writeable)
        assert g.flags.c_contiguous == w.flags.c_contiguous
        np.testing.assert_allclose(g, w, rtol=1e-10 if dtype != "f4" else 1e-2, atol=1e-6)


@pytest.mark.parametrize("name", ["appended", "slice", "one as a vector", "between"])
def test_what_was_solved_for_is_used(name):
    """Where what is joined is so large that it waits."""
    with lima.session(strict=True, exactness="rounding", reuse="partial") as session:
        a, b, c = lima.array(A), lima.array(np.tile(B, 10)), lima.array(C)
        for _ in range(6):  # until it has taken long enough to be kept
            first = np.linalg.solve(a, b)
        np.linalg.solve(a, SIDES[name](b, c))
        assert session.stats.partial["solutions-of-columns"] == 1
        assert first.shape == b.shape


def test_a_vector_that_was_solved_for():
    with lima.session(strict=True, exactness="rounding", reuse="partial") as session:
        wide = np.tile(B, 10)
        a, b, c = lima.array(A), lima.array(C[:, 0].copy()), lima.array(wide)
        for _ in range(6):
            np.linalg.solve(a, b)
        found = np.asarray(np.linalg.solve(a, np.column_stack([c, b])))
        assert session.stats.partial["solutions-of-columns"] == 1
        np.testing.assert_allclose(
            found, np.linalg.solve(A, np.column_stack([wide, C[:, 0]])), rtol=1e-10, atol=1e-14
        )


def test_other_matrices_and_parameters_are_not_mistaken():
    def program(A, B, C):
        found = [np.linalg.solve(A, B)]
        Z = np.hstack([B, C])
        found.append(np.linalg.solve(A.T, Z))
        found.append(np.linalg.solve(A + A.T, Z))
        found.append(scipy.linalg.solve(A + A.T, B, assume_a="sym", lower=True))
        found.append(scipy.linalg.solve(A + A.T, Z, assume_a="sym"))
        found.append(scipy.linalg.solve(A, B, transposed=True))
        found.append(scipy.linalg.solve(A, Z))
        A = A.copy()
        A[0, 0] += 9.0
        found.append(np.linalg.solve(A, Z))
        B = B.copy()
        np.linalg.solve(A, B)
        B[:, 2] = 5.0
        found.append(np.linalg.solve(A, np.hstack([B, C])))
        found.append(np.linalg.solve(A, B[:, 1:4]))
        rows = np.linalg.solve(A, np.vstack([B[:45], B[45:]]))
        return [*found, rows]

    with lima.session(strict=True, exactness="rounding", reuse="partial"):
        got = lima.traced(program)(A, B, C)
    for g, w in zip(got, program(A, B, C), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-12)


SQUARE = rng.standard_normal((N, N))


def _joined(X, F):
    """What is joined was looked at as a constant, and then computed."""
    Z = np.hstack([X, F])
    G = Z.T @ X, np.linalg.solve(A, Z), F[3:].copy(), F.T @ X
    return Z if len(G) else None


ROWS = {
    "transposed": lambda X, C: X.T,
    "some rows": lambda X, C: X.T[:, 3:40],
    "joined": lambda X, C: np.hstack([X.T, C, X[:, 4:9], X.T[:, ::2]]),
    "a row": lambda X, C: X[3],
    "a column": lambda X, C: X[:, 3],
    "both": lambda X, C: np.hstack([X[3:4].T, X[:, 3:4]]),
    "constant": lambda X, C: np.hstack([X, np.full((N, 400), 2.0), X[:, ::3]]),
    "computed constant": lambda X, C: _joined(X, np.full((N, 400), 2.0)),
    "constants": lambda X, C: np.column_stack([np.ones(N), X, np.full((N, 400), 2.0), X.T]),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("side", [lambda X: X, lambda X: X.T, lambda X: np.full((N, 400), 2.0)])
@pytest.mark.parametrize("wide", [False, True])
def test_rows_are_no_columns(name, side, wide):
    def program(A, X, C):
        if wide:  # so that what is joined waits
            X = X * 1.0
            C = np.hstack([C] * 200)
        return np.linalg.solve(A, side(X)), np.linalg.solve(A, ROWS[name](X, C))

    with lima.session(strict=True, exactness="rounding", reuse="partial"):
        got = lima.traced(program)(A, SQUARE, C)
    for g, w in zip(got, program(A, SQUARE, C), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-12)


def test_results_are_the_users():
    """What is written to a result reaches neither the cache nor other results."""

    def program(A, B):
        first = np.linalg.solve(A, B)
        x = np.linalg.solve(A, B[:, 7])
        x[0] = 99.0
        y = np.linalg.solve(A, B[:, 3:9])
        y[:] = 7.0
        first[:, 4] = -1.0
        return first, x, y, np.linalg.solve(A, B[:, 3:9]), np.linalg.solve(A, B[:, 7])

    with lima.session(strict=True, exactness="rounding", reuse="partial"):
        for g, w in zip(lima.traced(program)(A, B), program(A, B), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-13)


def of_arguments(A, B):
    np.linalg.solve(A, B)
    return np.linalg.solve(A, B[:, 5:30])


def test_its_lineage_computes_the_same_bits():
    given = {"A": A, "B": B}
    with lima.session(strict=True, exactness="rounding", reuse="partial") as here:
        x = lima.traced(of_arguments)(**given)
        assert here.stats.partial["solutions-of-columns"] == 1
        record = lima.lineage(x)
        assert lima.recompute(loads(record.log()), given).tobytes() == x.tobytes()
        scope = {}
        exec(lima.to_python(record), scope)
        assert scope["program"](**given).tobytes() == x.tobytes()


def test_exactness_bitwise_and_prices(monkeypatch):
    def program(A, B):
        return np.linalg.solve(A, B), np.linalg.solve(A, B[:, 5:30])

    with lima.session(strict=True, exactness="bitwise", reuse="partial") as here:
        got = lima.traced(program)(A, B)
        assert not here.stats.partial["solutions-of-columns"]
    assert all(g.tobytes() == w.tobytes() for g, w in zip(got, program(A, B), strict=True))
    monkeypatch.setattr(sides, "STEP", 1e9)
    with lima.session(strict=True, exactness="rounding", reuse="partial") as here:
        lima.traced(program)(A, B)
        assert not here.stats.partial["solutions-of-columns"]
    assert joined.STEP < 1.0
