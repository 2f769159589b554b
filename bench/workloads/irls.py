"""Logistic regression by iteratively reweighted least squares."""

import numpy as np


def data(rows, cols, iterations):
    """Counts out of one: a two-class problem with an intercept."""
    rng = np.random.default_rng(12)
    X = np.column_stack([np.ones(rows), rng.standard_normal((rows, cols - 1))])
    scores = X @ rng.standard_normal(cols) / np.sqrt(cols)
    return X, (rng.random(rows) < 1.0 / (1.0 + np.exp(-scores))).astype(float), iterations


def plain(X, y, iterations):
    """Coefficients and the deviance before each step."""
    beta = np.zeros(X.shape[1])
    deviances = np.zeros(iterations)
    for i in range(iterations):
        eta = X @ beta
        mu = 1.0 / (1.0 + np.exp(-eta))
        deviances[i] = -2.0 * np.sum(y * np.log(mu) + (1.0 - y) * np.log(1.0 - mu))
        weights = mu * (1.0 - mu)
        working = eta + (y - mu) / weights
        hessian = X.T @ (weights[:, None] * X)
        beta = np.linalg.solve(hessian, X.T @ (weights * working))
    return beta, deviances


hand = None
