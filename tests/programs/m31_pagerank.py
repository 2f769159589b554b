"""Graphs as matrices: power iteration until it converges, closures, sets of array scalars, memoised helpers."""
import functools

import numpy as np
from numpy import linalg as la

DAMPING = [0.85]


def graph(n, seed):
    rng = np.random.default_rng(seed)
    A = (rng.random((n, n)) < 0.08).astype(float)
    np.fill_diagonal(A, 0)
    A[:, 0] = 0
    return A


def transition(A):
    out = A.sum(axis=1)
    P = np.divide(A, out[:, None], out=np.zeros_like(A), where=out[:, None] > 0)
    P[out == 0] = 1 / len(A)
    return P


def rank(P, tol=1e-10):
    n = len(P)
    x = np.full(n, 1 / n)
    for k in range(200):
        new = DAMPING[0] * (x @ P) + (1 - DAMPING[0]) / n
        delta = la.norm(new - x, 1)
        x[:] = new
        if delta < tol:
            break
    return x, k


def reach(A, start):
    seen, front = set(), {start}
    while front:
        seen |= front
        front = {int(j) for i in front for j in np.nonzero(A[i])[0]} - seen
    return sorted(seen)


def distances(A):
    D = np.where(A > 0, A, np.inf)
    np.fill_diagonal(D, 0)
    for k in range(len(D)):
        np.minimum(D, D[:, k, None] + D[k], out=D)
    return D


def main():
    @functools.lru_cache(maxsize=None)
    def harmonic(n):
        return sum(1 / i for i in range(1, n + 1))

    def scaled(by):
        return lambda a: a * by / harmonic(3)

    A = graph(40, 1)
    P = transition(A)
    x, k = rank(P)
    DAMPING[0] = 0.5
    y, j = rank(P)
    DAMPING[0] = 0.85
    L = np.diag((A + A.T).sum(0)) - (A + A.T)
    w, V = la.eigh(L)
    sign = np.sign(V[np.abs(V).argmax(axis=0), np.arange(len(V))])
    D = distances(A)
    top = sorted(range(len(x)), key=lambda i: (-x[i], i))[:5]
    return {"x": x, "y": y, "rounds": np.array([k, j]), "top": np.array(top), "reach": np.array(reach(A, 3)),
            "w": w[:4], "fiedler": (V * sign)[:, 1], "far": np.asarray(D[np.isfinite(D)].max()),
            "hist": np.histogram(D[np.isfinite(D)], bins=[0, 1, 2, 3, 99])[0], "scaled": scaled(2)(x[:3]),
            "cut": np.flatnonzero(V[:, 1] > 0), "paths": la.matrix_power(A.astype(int), 3).trace()}
