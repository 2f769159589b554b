"""The Lasso by iterative soft thresholding, for a path of penalties."""

import numpy as np


def data(rows, cols, regs, iterations):
    """A regression in which one column of ten matters."""
    rng = np.random.default_rng(13)
    X = rng.standard_normal((rows, cols))
    true = rng.standard_normal(cols) * (rng.random(cols) < 0.1)
    y = X @ true + rng.standard_normal(rows)
    return X, y, (rows * np.logspace(-1, -3, regs)).tolist(), iterations


def largest_eigenvalue(X, rounds):
    """The largest eigenvalue of X'X by the power method, from below."""
    v = np.ones(X.shape[1]) / np.sqrt(X.shape[1])
    for _ in range(rounds):
        image = X.T @ (X @ v)
        size = np.sqrt(image @ image)
        v = image / size
    return size


def plain(X, y, regs, iterations):
    """The coefficients for each penalty, one row each, each from those before."""
    length = 1.0 / (1.05 * largest_eigenvalue(X, 10))
    w = np.zeros(X.shape[1])
    path = np.zeros((len(regs), X.shape[1]))
    for k, reg in enumerate(regs):
        for _ in range(iterations):
            w = w - length * (X.T @ (X @ w - y))
            w = np.sign(w) * np.maximum(np.abs(w) - length * reg, 0.0)
        path[k] = w
    return path


hand = None
