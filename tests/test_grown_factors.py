"""Cholesky factors of matrices that grow by rows and columns at their end."""

import itertools

import numpy as np
import pytest
import scipy.linalg

import lima
from lima import cost
from lima.op import OPS
from lima.ops import bordered
from lima.record import loads

N = 140


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))
    monkeypatch.setattr(bordered, "SMALLEST", 32)
    monkeypatch.setattr(bordered, "SHARE", 2)
    monkeypatch.setattr(bordered, "ELIMINATION", 1e-6)


rng = np.random.default_rng(9)
ROUGH = rng.standard_normal((N, N))
PLAIN = ROUGH @ ROUGH.T / N + np.eye(N)
SCALES = np.logspace(-60, 60, N)
MATRICES = {
    "random": PLAIN,
    "all scales": PLAIN * SCALES * SCALES[:, None],
    "all scales, mixed": PLAIN * SCALES[rng.permutation(N)] * SCALES[rng.permutation(N)][:, None],
    "ill": ROUGH @ np.diag(np.logspace(0, -12, N)) @ ROUGH.T + 1e-13 * np.eye(N),
    "smooth kernel": np.exp(-(np.subtract.outer(np.arange(N), np.arange(N)) ** 2) / 50)
    + 1e-9 * np.eye(N),
    "tiny": PLAIN * 1e-290,
    "huge": PLAIN * 1e290,
}
one = SCALES[rng.permutation(N)]
MATRICES["all scales, mixed"] = PLAIN * one * one[:, None]
SIZES = (60, 70, 71, 85, 100, 130, 140)


def leading(K, sizes):
    return [np.linalg.cholesky(K[:k, :k]) for k in sizes]


def blocks(K, sizes):
    found, A = [], K[: sizes[0], : sizes[0]]
    for j, k in zip(sizes, (*sizes[1:], None), strict=True):
        found.append(np.linalg.cholesky(A))
        if k is not None:
            A = np.block([[A, K[:j, j:k]], [K[j:k, :j], K[j:k, j:k]]])
    return found


def chosen(K, sizes):
    order = np.arange(len(K))[::-1]
    K = K[np.ix_(order, order)]
    return [
        np.linalg.cholesky(K[::-1, ::-1][np.ix_(order[-k:][::-1], order[-k:][::-1])]) for k in sizes
    ]


def gram(K, sizes):
    X = np.asarray(ROUGH)
    return [np.linalg.cholesky(X[:, :k].T @ X[:, :k]) for k in (60, 65, 70, 75)]


def traced(program, K, sizes=SIZES, **session):
    with lima.session(strict=True, **{"exactness": "rounding", **session}) as here:
        got = lima.traced(program)(K, sizes)
        return got, here.stats.partial["bordered-cholesky"]


def check(K, got):
    """L L' is A but for rounding, on the scale of its own rows and columns."""
    for L in got:
        n = len(L)
        A = K[:n, :n]
        assert (np.triu(L, 1) == 0).all() and L.flags.c_contiguous and L.flags.writeable
        eps = np.finfo(L.dtype).eps
        size = np.sqrt(np.diag(A))
        L = (L / size[:, None]).astype("f8")
        A = (A / size / size[:, None]).astype("f8")
        assert np.abs(L @ L.T - A).max() <= 4 * (n + 8) * eps


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("program", [leading, blocks, chosen])
def test_factors_are_exact_but_for_rounding(name, program):
    K = MATRICES[name]
    K = (K + K.T) / 2
    got, fired = traced(program, K)
    check(K, got)
    assert fired >= len(SIZES) - 2
    for g, w in zip(got, program(K, SIZES), strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)


def test_single_precision():
    K = PLAIN.astype("f4")
    got, fired = traced(leading, K)
    assert fired >= len(SIZES) - 2 and all(g.dtype == K.dtype for g in got)
    check(K, got)


def test_gram_matrices_of_more_columns():
    got, _ = traced(gram, PLAIN)
    for g, w in zip(got, gram(PLAIN, SIZES), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-8, atol=1e-9)


def test_others_are_not_mistaken():
    """The same corner and last row, but one element between that differs; and shrinking ones."""

    def program(K, sizes):
        found = []
        for j, k in enumerate(sizes):
            A = K[:k, :k].copy()
            A[5 + j, 3] += 1e-3
            found += [np.linalg.cholesky(A), np.linalg.cholesky(K[:k, :k])]
        return found + [np.linalg.cholesky(K[:k, :k]) for k in sizes[::-1]]

    got, _ = traced(program, PLAIN)
    for g, w in zip(got, program(PLAIN, SIZES), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-12)


def test_a_matrix_that_is_not_definite_raises_as_ever():
    K = PLAIN.copy()
    K[100, 100] = -1.0
    for run in (leading, lima.traced(leading)):
        with (
            lima.session(strict=True, exactness="rounding"),
            pytest.raises(np.linalg.LinAlgError, match="positive definite"),
        ):
            run(K, SIZES)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite(value):
    K = PLAIN.copy()
    K[100, 3] = K[3, 100] = value
    with np.errstate(all="ignore"):
        try:
            want = leading(K, SIZES)
        except np.linalg.LinAlgError:
            with pytest.raises(np.linalg.LinAlgError):
                traced(leading, K)
            return
        for g, w in zip(traced(leading, K)[0], want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-9)


def test_results_are_the_callers_own():
    def program(K, sizes):
        found = []
        for k in sizes:
            L = np.linalg.cholesky(K[:k, :k])
            found.append(L.copy())
            L[:] = 7.0
            K[0, 0] += 0.0
        return found

    got, fired = traced(program, PLAIN.copy())
    assert fired
    check(PLAIN, got)


def test_its_lineage_computes_the_same_bits():
    with lima.session(strict=True, exactness="rounding") as session:
        L = lima.traced(leading)(PLAIN, SIZES)[-1]
        assert session.stats.partial["bordered-cholesky"]
        record = lima.lineage(L)
        given = {"K": PLAIN}
        assert lima.recompute(loads(record.log()), given).tobytes() == L.tobytes()
        scope = {}
        exec(lima.to_python(record), scope)
        assert scope["program"](**given).tobytes() == L.tobytes()


@pytest.mark.parametrize("options", [{"exactness": "bitwise"}, {"reuse": "full"}])
def test_sessions_that_do_not_allow_it(options):
    got, fired = traced(leading, PLAIN, **options)
    assert not fired
    for g, w in zip(got, leading(PLAIN, SIZES), strict=True):
        assert g.tobytes() == w.tobytes()


def test_not_where_it_costs_more(monkeypatch):
    """Small matrices, those that grow by much, and where the border takes as long as the whole."""
    assert not traced(leading, PLAIN, (20, 60, 130))[1]
    monkeypatch.setattr(bordered, "SMALLEST", 256)
    assert not traced(leading, PLAIN)[1]
    monkeypatch.setattr(bordered, "SMALLEST", 32)
    monkeypatch.setattr(bordered, "ELIMINATION", 1e6)
    calls = []
    kernel = OPS["linalg.cholesky.grown"].kernel

    def counting(a, factor=None):
        calls.append(factor is None)
        return kernel(a, factor)

    monkeypatch.setattr(OPS["linalg.cholesky.grown"], "kernel", counting)
    traced(leading, PLAIN)
    assert all(calls)


def upper(K, sizes):
    return [np.linalg.cholesky(K[:k, :k], upper=True) for k in sizes]


def scipy_lower(K, sizes):
    return [scipy.linalg.cholesky(K[:k, :k], lower=True) for k in sizes]


def scipy_upper(K, sizes):
    return [scipy.linalg.cholesky(K[:k, :k], check_finite=False) for k in sizes]


def mixed(K, sizes):
    found = []
    for j, k in enumerate(sizes):
        A = K[:k, :k]
        found += [scipy.linalg.cholesky(A) if j % 2 else np.linalg.cholesky(A)]
    return found


@pytest.mark.parametrize(
    ("program", "lopsided"),
    [*itertools.product([upper, scipy_lower, scipy_upper], [False, True]), (mixed, False)],
)
def test_other_spellings(program, lopsided):
    """Either factor is that of the triangle which the function reads, in the same memory order."""
    K = PLAIN.copy()
    if lopsided:  # the other triangle is none of the function's business
        low = program.__name__ == "scipy_lower"
        K[np.triu_indices(N, 1) if low else np.tril_indices(N, -1)] = 5.0
    wanted = program(K, SIZES)
    got, fired = traced(program, K, reuse="partial")
    assert fired >= len(SIZES) - 2
    for g, w in zip(got, wanted, strict=True):
        assert (g.dtype, g.shape, g.flags.writeable) == (w.dtype, w.shape, w.flags.writeable)
        assert g.flags.c_contiguous == w.flags.c_contiguous
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-11)
