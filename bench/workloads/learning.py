"""Temporal-difference learning on a chain of states: single elements, read and written."""

import numpy as np


def data(steps):
    return 20, steps, 7


def plain(states, steps, seed):
    """The value of each state."""
    rng = np.random.default_rng(seed)
    values, here = np.zeros(states), states // 2
    moves = rng.integers(0, 2, steps) * 2 - 1
    for move in moves:
        there = min(max(here + move, 0), states - 1)
        reward = 1.0 if there == states - 1 else 0.0
        values[here] += 0.1 * (reward + 0.9 * values[there] - values[here])
        here = states // 2 if there in (0, states - 1) else there
    return values


hand = None
