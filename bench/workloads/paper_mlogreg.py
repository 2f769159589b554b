"""A grid of penalties for multinomial logistic regression, and the grid run time and again."""

import numpy as np


def data(rows, cols, classes, regs, repeats, iterations):
    """A problem of several classes, the penalties, and how often the grid is run."""
    rng = np.random.default_rng(24)
    X = rng.standard_normal((rows, cols))
    scores = X @ rng.standard_normal((cols, classes)) / np.sqrt(cols)
    labels = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    return X, labels, classes, np.logspace(-3, 2, regs).tolist(), repeats, iterations


def mlogreg(X, labels, classes, reg, iterations):
    """Coefficients and intercepts after some steps of accelerated gradient descent."""
    m = X.shape[0]
    Z = np.column_stack([X, np.ones(m)])
    targets = (labels[:, None] == np.arange(classes)).astype(float)
    bound = 0.5 * np.linalg.norm(Z.T @ Z / m, 2) + reg / m
    W = V = np.zeros((Z.shape[1], classes))
    for k in range(iterations):
        scores = Z @ V
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances = powers / powers.sum(axis=1, keepdims=True)
        gradient = Z.T @ (chances - targets) / m + reg / m * V
        before, W = W, V - gradient / bound
        V = W + k / (k + 3) * (W - before)
    return W


def plain(X, labels, classes, regs, repeats, iterations):
    """The coefficients for each penalty, of the last time that the grid was run."""
    for _ in range(repeats):
        found = [mlogreg(X, labels, classes, reg, iterations) for reg in regs]
    return np.array(found)


def hand(X, labels, classes, regs, repeats, iterations):
    """As plain; what does not depend on the penalty is done once, and the grid is run once."""
    m = X.shape[0]
    Z = np.column_stack([X, np.ones(m)])
    targets = (labels[:, None] == np.arange(classes)).astype(float)
    largest = 0.5 * np.linalg.norm(Z.T @ Z / m, 2)
    found = []
    for reg in regs:
        bound = largest + reg / m
        W = V = np.zeros((Z.shape[1], classes))
        for k in range(iterations):
            scores = Z @ V
            scores -= scores.max(axis=1, keepdims=True)
            chances = np.exp(scores, out=scores)
            chances /= chances.sum(axis=1, keepdims=True)
            chances -= targets
            gradient = Z.T @ chances / m + reg / m * V
            before, W = W, V - gradient / bound
            V = W + k / (k + 3) * (W - before)
        found.append(W)
    return np.array(found)
