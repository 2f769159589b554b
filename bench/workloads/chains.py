"""Chains of five, ten and fifteen elementwise operations, as programs of science have them."""

import numpy as np


def data(size, length):
    """Three columns of measurements, and which chain."""
    rng = np.random.default_rng(17)
    return rng.random(size) + 0.5, rng.random(size), rng.standard_normal(size), length


def five(a, b, c):
    """A residual between two quadratics."""
    return (a - b) * (a + b) - 0.5 * c


def ten(a, b, c):
    """A clipped, standardised score."""
    z = (a - 1.0) / 0.3 + c * b
    return np.where(z > 2.0, 2.0, np.maximum(z, -2.0)) * (a + 0.5 * b) - c


def fifteen(a, b, c):
    """A ratio of polynomials, with a term that is cut off."""
    p = ((0.2 * a + 0.4) * a + 0.6) * a + 1.0
    q = (0.1 * b + 0.3) * b + 1.0
    return p / q - np.sqrt(a) * np.minimum(c, 0.0) + np.abs(c - b)


CHAINS = {5: five, 10: ten, 15: fifteen}


def plain(a, b, c, length):
    """The chain of that length."""
    return CHAINS[length](a, b, c)


hand = None
