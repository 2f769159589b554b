"""The core of stepLm as the reference measures it: Z'Z of [X y] for ever other columns y."""

import numpy as np


def data(rows, cols, candidates):
    """A matrix and the candidates for one more column."""
    rng = np.random.default_rng(23)
    return rng.standard_normal((rows, cols)), rng.standard_normal((rows, candidates))


def plain(X, Y):
    """The trace of each cross product, and the last one."""
    traces = []
    for k in range(Y.shape[1]):
        Z = np.hstack([X, Y[:, k : k + 1]])
        gram = Z.T @ Z
        traces.append(np.trace(gram))
    return np.array(traces), gram


def hand(X, Y):
    """As plain; X'X once, X'Y in one product, and each cross product put together from these."""
    n = X.shape[1]
    gram = np.empty((n + 1, n + 1))
    gram[:n, :n] = X.T @ X
    cross, squares = X.T @ Y, np.einsum("ij,ij->j", Y, Y)
    traces = []
    for k in range(Y.shape[1]):
        gram = gram.copy()  # the program has a matrix of its own for each
        gram[n, :n] = gram[:n, n] = cross[:, k]
        gram[n, n] = squares[k]
        traces.append(np.trace(gram))
    return np.array(traces), gram
