"""k-means by Lloyd's iterations."""

import numpy as np


def data(rows, cols, k, iterations):
    """Clusters of points, and the points to begin with."""
    rng = np.random.default_rng(14)
    centres = 3.0 * rng.standard_normal((k, cols))
    X = centres[rng.integers(k, size=rows)] + rng.standard_normal((rows, cols))
    return X, X[rng.choice(rows, k, replace=False)], iterations


def plain(X, centres, iterations):
    """The centres, the label of each point, and the sum of squared distances at each step."""
    k = len(centres)
    inertia = np.zeros(iterations)
    norms = (X * X).sum(axis=1)
    for i in range(iterations):
        distances = norms[:, None] - 2.0 * (X @ centres.T) + (centres * centres).sum(axis=1)
        labels = distances.argmin(axis=1)
        inertia[i] = distances.min(axis=1).sum()
        member = (labels[:, None] == np.arange(k)).astype(X.dtype)
        centres = member.T @ X / np.maximum(member.sum(axis=0), 1.0)[:, None]
    return centres, labels, inertia


hand = None
