"""Metropolis's algorithm for the mean and spread of a hundred numbers."""

import numpy as np


def data(steps):
    return 2.0 + 1.5 * np.random.default_rng(22).standard_normal(100), steps, 5


def plain(y, steps, seed):
    """The chain of mean and spread."""
    rng = np.random.default_rng(seed)

    def density(mean, spread):
        return -0.5 * np.sum(((y - mean) / spread) ** 2) - len(y) * np.log(spread)

    mean, spread = 0.0, 1.0
    here = density(mean, spread)
    chain = np.empty((steps, 2))
    for k in range(steps):
        other, wider = mean + 0.1 * rng.normal(), abs(spread + 0.1 * rng.normal())
        there = density(other, wider)
        if np.log(rng.random()) < there - here:
            mean, spread, here = other, wider, there
        chain[k] = mean, spread
    return chain


hand = None
