"""Products of conjugated complex matrices that were joined and chosen."""

import numpy as np
import pytest

import lima
from lima import cost

rng = np.random.default_rng(31)
X = rng.standard_normal((6000, 12)) + 1j * rng.standard_normal((6000, 12))
D = rng.standard_normal((6000, 3)) - 1j * rng.standard_normal((6000, 3))


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))


def appended(X, D):
    return np.hstack([X, D])


def inserted(X, D):
    return np.concatenate([X[:, :5], D, X[:, 5:]], axis=1)


def chosen(X, D):
    return X[:, [3, 7, 1, 1, 10]]


def leading(X, D):
    return X[:, :5]


def intercept(X, D):
    return np.column_stack([np.ones(len(X), X.dtype), X, D[:, 0]])


def imaginary(X, D):
    return np.hstack([X, np.full((len(X), 2), 1.0 + 2.0j)])


def computed(X, D):
    """Constants that were looked at, and then computed."""
    F, E = np.full((len(X), 20), 1.5 + 0.0j), np.full((len(X), 20), 1.0j)
    Z = np.hstack([F, X, E])
    G = Z.conj().T @ X, F[3:].copy(), E[3:].copy()
    return Z if len(G) else None


def stacked(X, D):
    return np.vstack([X, np.hstack([D, D, D, D])])


def twice(X, D):
    return np.hstack([np.conj(X), D])


def gram(Z):
    return Z.conj().T @ Z


def gram_of_transpose(Z):
    return Z.T.conj() @ Z


def by_name(Z):
    return np.dot(np.conj(Z).T, Z)


def conjugate_right(Z):
    return Z.T @ np.conjugate(Z)


def outer(Z):
    return Z[:40] @ Z[:40].conj().T


STRUCTURES = [appended, computed, inserted, chosen, leading, intercept, imaginary, stacked, twice]
PRODUCTS = [gram, gram_of_transpose, by_name, conjugate_right, outer]


@pytest.mark.parametrize("build", STRUCTURES)
@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("dtype", ["c16", "c8"])
def test_products(build, product, dtype):
    def program(X, D):
        first = product(X)
        Z = build(X, D)
        return first, product(Z), Z

    args = X.astype(dtype), D.astype(dtype)
    wanted = program(*args)
    with lima.session(exactness="rounding", reuse="partial", strict=True):
        got = lima.traced(program)(*args)
    eps = np.finfo(dtype).eps
    for g, w in zip(got, wanted, strict=True):
        assert (g.dtype, g.shape, g.flags.c_contiguous) == (w.dtype, w.shape, w.flags.c_contiguous)
        size = np.abs(w).max() * (1 if product is not outer else 9)
        assert np.abs(g - w).max() <= 2 * 6008 * eps * size


@pytest.mark.parametrize("build", [appended, inserted, chosen, leading, stacked])
def test_what_is_known_is_used(build):
    with lima.session(exactness="rounding", reuse="partial", strict=True) as session:
        Y = lima.array(np.tile(X, (4, 1)))
        gram(Y)
        gram(build(Y, lima.array(np.tile(D, (4, 1)))))
        assert sum(session.stats.partial.values()) >= 1


@pytest.mark.parametrize("build", STRUCTURES)
def test_bits_of_other_readers(build):
    """Sums, elements and writes of what is conjugated."""

    def program(X, D):
        X = X.copy()
        Z = np.conj(build(X, D))
        C = np.conj(build(X, D))
        first = C.T @ Z.conj()
        X[0] = 2.0 - 1.0j
        C[1] = 3.0
        return Z, C, Z[3], np.conj(build(X, D))[0], Z.sum(axis=0), first

    wanted = program(X, D)
    with lima.session(exactness="rounding", reuse="partial", strict=True):
        got = lima.traced(program)(X, D)
    for g, w in zip(got[:4], wanted[:4], strict=True):
        assert g.tobytes() == w.tobytes() and g.dtype == w.dtype and g.shape == w.shape
    for g, w in zip(got[4:], wanted[4:], strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-8)


def test_real_matrices_and_exactness_bitwise():
    def program(X, D):
        return np.conj(X).T @ X, np.conj(np.hstack([X, D])).T @ np.hstack([X, D])

    for args, options in (
        ((X.real.copy(), D.real.copy()), {}),
        ((X, D), {"exactness": "bitwise"}),
    ):
        wanted = program(*args)
        with lima.session(**{"exactness": "rounding", "strict": True, **options}):
            got = lima.traced(program)(*args)
        for g, w in zip(got, wanted, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-11, atol=1e-9)
            assert not options or g.tobytes() == w.tobytes()
