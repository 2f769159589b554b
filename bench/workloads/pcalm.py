"""PCALM: principal components, then linear regression on the first K of them, for growing K."""

import numpy as np


def data(rows, cols, first, last):
    """Correlated columns with a decaying spectrum, and the range of K."""
    rng = np.random.default_rng(4)
    spectrum = 0.97 ** np.arange(cols)
    X = (rng.standard_normal((rows, cols)) * spectrum) @ rng.standard_normal((cols, cols))
    y = X @ rng.standard_normal(cols) / np.sqrt(cols) + rng.standard_normal(rows)
    return X, y, first, last


def pca(X, k):
    """The scores of the rows of X on its first k principal components."""
    centred = X - X.mean(axis=0)
    covariance = centred.T @ centred / (X.shape[0] - 1)
    _, vectors = np.linalg.eigh(covariance)
    return centred @ vectors[:, ::-1][:, :k]


def adjusted_r2(P, y):
    """Adjusted R2 of the least-squares fit of y on the columns of P and an intercept."""
    n, k = P.shape
    Z = np.hstack([P, np.ones((n, 1))])
    beta = np.linalg.solve(Z.T @ Z, Z.T @ y)
    residual = y - Z @ beta
    r2 = 1 - residual @ residual / np.sum((y - y.mean()) ** 2)
    return 1 - (1 - r2) * (n - 1) / (n - k - 1)


def plain(X, y, first, last):
    """Adjusted R2 for each K of first..last."""
    return np.array([adjusted_r2(pca(X, k), y) for k in range(first, last + 1)])


def hand(X, y, first, last):
    """As plain; one eigensystem, one projection on the largest K, one Gram matrix cut to size."""
    n = len(X)
    centred = X - X.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred / (n - 1))
    # The intercept goes first, so that the model of any K is a leading block.
    Z = np.hstack([np.ones((n, 1)), centred @ vectors[:, ::-1][:, :last]])
    gram, moment = Z.T @ Z, Z.T @ y
    total = np.sum((y - y.mean()) ** 2)
    scores = []
    for k in range(first, last + 1):
        beta = np.linalg.solve(gram[: k + 1, : k + 1], moment[: k + 1])
        residual = y - Z[:, : k + 1] @ beta
        scores.append(1 - (residual @ residual / total) * (n - 1) / (n - k - 1))
    return np.array(scores)
