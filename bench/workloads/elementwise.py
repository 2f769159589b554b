"""A chain of a dozen elementwise operations on arrays that no cache holds."""

import numpy as np

BLOCK = 8192


def data(size):
    """Two columns of measurements."""
    rng = np.random.default_rng(10)
    return rng.standard_normal(size), rng.standard_normal(size)


def plain(x, y):
    """A damped polynomial of two variables, cut off below and weighted by the sign of one."""
    square = x * x + y * y
    damped = (1.0 - square / 4.0 + square * square / 32.0) / (1.0 + square)
    return np.where(x > 0, damped, -damped) + np.maximum(y, 0.0) * 0.5


def hand(x, y):
    """As plain, block by block into buffers that stay in the cache."""
    result = np.empty_like(x)
    square, damped, other = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for start in range(0, len(x), BLOCK):
        part = slice(start, start + BLOCK)
        a, b, out = x[part], y[part], result[part]
        n = len(a)
        s, d, t = square[:n], damped[:n], other[:n]
        np.multiply(a, a, out=s)
        np.multiply(b, b, out=t)
        np.add(s, t, out=s)
        np.divide(s, 4.0, out=d)
        np.subtract(1.0, d, out=d)
        np.multiply(s, s, out=t)
        np.divide(t, 32.0, out=t)
        np.add(d, t, out=d)
        np.add(s, 1.0, out=s)
        np.divide(d, s, out=d)
        np.negative(d, out=t)
        np.maximum(b, 0.0, out=out)
        np.multiply(out, 0.5, out=out)
        np.add(np.where(a > 0, d, t), out, out=out)
    return result
