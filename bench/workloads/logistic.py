"""Logistic regression by Newton's method, whose steps conjugate gradients find."""

import numpy as np


def data(rows, cols, iterations):
    """A two-class problem (labels 0 and 1, some flipped)."""
    rng = np.random.default_rng(11)
    X = rng.standard_normal((rows, cols))
    chance = X @ rng.standard_normal(cols) / np.sqrt(cols) + rng.standard_normal(rows)
    return X, (chance > 0).astype(float), 1.0, iterations


def newton_step(X, weights, gradient, reg, most, tol):
    """Solve (X' diag(weights) X + reg) step = -gradient by conjugate gradients."""
    step = np.zeros_like(gradient)
    residual = -gradient
    direction = residual
    norm = residual @ residual
    target = tol * tol * norm
    for _ in range(most):
        image = X.T @ (weights * (X @ direction)) + reg * direction
        length = norm / (direction @ image)
        step = step + length * direction
        residual = residual - length * image
        previous, norm = norm, residual @ residual
        if norm < target:
            break
        direction = residual + norm / previous * direction
    return step


def plain(X, y, reg, iterations):
    """Weights that minimise the log loss plus reg/2 |w|^2, and the loss before each step."""
    w = np.zeros(X.shape[1])
    losses = np.zeros(iterations)
    for i in range(iterations):
        scores = X @ w
        losses[i] = np.sum(np.logaddexp(0.0, scores) - y * scores) + 0.5 * reg * (w @ w)
        p = 1.0 / (1.0 + np.exp(-scores))
        gradient = X.T @ (p - y) + reg * w
        w = w + newton_step(X, p * (1.0 - p), gradient, reg, 15, 1e-3)
    return w, losses


hand = None
