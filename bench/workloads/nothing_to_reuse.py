"""Nothing to reuse: operations of 100 microseconds and more, each on data not seen before."""

import numpy as np


def data(rows, cols, blocks):
    """Tall blocks that are all different; at 5000 x 100 no operation takes under 100 us."""
    return (np.random.default_rng(9).standard_normal((blocks, rows, cols)),)


def plain(blocks):
    """Four statistics per column and block, after a dozen different operations on the block."""
    statistics = []
    for A in blocks:
        roots = np.sqrt(np.square(A) + 0.25)
        product = roots.T @ A
        mixed = A @ product
        mixed = mixed / np.abs(mixed).max(axis=0)
        curve = np.exp(mixed) - A
        clipped = np.maximum(curve, roots)
        ranked = np.sort(clipped, axis=1)
        statistics.append(roots.sum(axis=0))
        statistics.append(curve.mean(axis=0))
        statistics.append(clipped.std(axis=0))
        statistics.append(ranked.max(axis=0))
    return np.vstack(statistics)


hand = None
