"""Products whose transposes are known."""

import numpy as np
import pytest

import lima
from lima import cost

rng = np.random.default_rng(51)
X, Y = rng.standard_normal((4000, 30)), rng.standard_normal((4000, 50))


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 1e-12)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))


def products(X, Y):
    return X.T @ Y, Y.T @ X


def of_dot(X, Y):
    return np.dot(X.T, Y), np.dot(Y.T, X)


def of_wholes(X, Y):
    A, B = X.T.copy(), Y.copy()
    return A @ B, B.T @ A.T


def three(X, Y):
    return X.T @ Y, (Y.T @ X) @ (X.T @ Y)


@pytest.mark.parametrize("program", [products, of_dot, of_wholes, three])
@pytest.mark.parametrize("dtype", ["f8", "f4", "c16"])
def test_products(program, dtype):
    args = X.astype(dtype), Y.astype(dtype)
    with lima.session(exactness="rounding", reuse="partial", strict=True) as session:
        got = lima.traced(program)(*args)
        assert session.stats.partial["transposed-product"] == 1
    for g, w in zip(got, program(*args), strict=True):
        assert (g.dtype, g.shape, g.flags.c_contiguous) == (w.dtype, w.shape, True)
        assert g.flags.writeable
        assert np.abs(g - w).max() <= 1e4 * np.finfo(dtype).eps * max(1.0, np.abs(w).max())


def test_others_are_not_mistaken():
    """Conjugates, other orders, and what was written in between."""

    def program(X, Y, C):
        X, Y = X.copy(), Y.copy()
        S, T = X[:30], Y[:30, :30]
        found = [X.T @ Y, S @ T, T @ S, T.T @ S, S.T @ T.T, C.T @ Y, Y.T @ C.conj()]
        X[0] = 3.0
        found.append(Y.T @ X)
        Y[:, 0] *= 2.0
        found += [Y.T @ X, X.T @ Y]
        found[-1][0] = 5.0
        return [*found, Y.T @ X]

    args = X, Y, X + 1j * X[::-1]
    with lima.session(exactness="rounding", reuse="partial", strict=True):
        got = lima.traced(program)(*args)
    for g, w in zip(got, program(*args), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-9)


def test_exactness_bitwise():
    with lima.session(exactness="bitwise", reuse="partial", strict=True):
        got = lima.traced(products)(X, Y)
    assert all(g.tobytes() == w.tobytes() for g, w in zip(got, products(X, Y), strict=True))
