"""Lorenz's equations by the classical Runge-Kutta method: vectors of three numbers."""

import numpy as np


def data(steps):
    return np.array([1.0, 1.0, 1.0]), 0.01, steps


def plain(x, dt, steps):
    """The path."""

    def slope(x):
        return np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])

    path = []
    for _ in range(steps):
        a = slope(x)
        b = slope(x + dt / 2 * a)
        c = slope(x + dt / 2 * b)
        d = slope(x + dt * c)
        x = x + dt / 6 * (a + 2 * b + 2 * c + d)
        path.append(x)
    return np.array(path)


hand = None
