"""A mixture of normal distributions by expectation and maximisation, covariances in full."""

import numpy as np


def data(rows, cols, k, iterations):
    """Clusters of points, and the points to begin with."""
    rng = np.random.default_rng(15)
    centres = 2.0 * rng.standard_normal((k, cols))
    shapes = rng.standard_normal((k, cols, cols)) / np.sqrt(cols)
    label = rng.integers(k, size=rows)
    noise = rng.standard_normal((rows, cols))
    X = centres[label] + np.einsum("ij,ijk->ik", noise, shapes[label])
    return X, X[rng.choice(rows, k, replace=False)], iterations


def plain(X, means, iterations):
    """Shares, means, covariances, and the log likelihood before each step."""
    n, d = X.shape
    k = len(means)
    shares = np.full(k, 1.0 / k)
    covariances = np.array([np.cov(X.T) for _ in range(k)])
    likelihood = np.zeros(iterations)
    for i in range(iterations):
        logs = np.empty((n, k))
        for j in range(k):
            factor = np.linalg.cholesky(covariances[j])
            white = (X - means[j]) @ np.linalg.inv(factor).T
            logs[:, j] = (
                np.log(shares[j])
                - 0.5 * d * np.log(2.0 * np.pi)
                - np.log(np.diag(factor)).sum()
                - 0.5 * (white**2).sum(axis=1)
            )
        top = logs.max(axis=1, keepdims=True)
        weights = np.exp(logs - top)
        total = weights.sum(axis=1, keepdims=True)
        likelihood[i] = (top + np.log(total)).sum()
        member = weights / total
        size = member.sum(axis=0)
        shares = size / n
        means = member.T @ X / size[:, None]
        for j in range(k):
            centred = X - means[j]
            covariances[j] = (member[:, j, None] * centred).T @ centred / size[j]
            covariances[j] += 1e-6 * np.eye(d)
    return shares, means, covariances, likelihood


hand = None
