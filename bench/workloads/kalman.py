"""A Kalman filter: products of 4 x 4 matrices, thousands of them."""

import numpy as np


def data(steps):
    """Positions in the plane, seen with noise, and the model that they follow."""
    rng = np.random.default_rng(21)
    positions = np.cumsum(rng.standard_normal((steps, 2)), axis=0) + rng.standard_normal((steps, 2))
    F = np.eye(4) + np.diag([0.1, 0.1], 2)
    return positions, F, np.eye(2, 4), 0.01 * np.eye(4), 0.1 * np.eye(2)


def plain(positions, F, H, Q, R):
    """The estimated states, and the last covariance."""
    x, P, states = np.zeros(4), np.eye(4), []
    for z in positions:
        x = F @ x
        P = F @ P @ F.T + Q
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        x = x + K @ (z - H @ x)
        P = (np.eye(4) - K @ H) @ P
        states.append(x)
    return np.array(states), P


hand = None
