"""Mini-batches: forty elementwise operations on each of many small distinct batches."""

import numpy as np


def data(batch, cols, batches):
    """One matrix that holds every batch; no two batches are alike, so nothing can be reused."""
    X = np.random.default_rng(8).standard_normal((batch * batches, cols))
    return X, batch


def plain(X, batch):
    """The row sums after ten rounds of four operations (values stay within a factor of 20)."""
    sums = []
    for start in range(0, X.shape[0], batch):
        B = X[start : start + batch]
        for i in range(1, 11):
            B = ((B + B) * i - B) / (i + 1)
        sums.append(B.sum(axis=1))
    return np.concatenate(sums)


hand = None
