"""HL2SVM: a grid search of the L2-regularised squared-hinge SVM by nonlinear conjugate gradient."""

import numpy as np


def data(rows, cols, regs, iterations):
    """A two-class problem (labels -1 and 1, some flipped) and the grid."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((rows, cols)) + 0.3
    labels = np.sign(X @ rng.standard_normal(cols) + 2.0 * rng.standard_normal(rows))
    labels[labels == 0] = 1.0
    return X, labels, (0, 1), np.logspace(-2, 3, regs).tolist(), 1e-12, iterations


def line_search(margin, change, labels, slope, curvature, tol):
    """Newton's method for the step that minimises the objective along a direction."""
    step = 0.0
    while True:
        slack = 1 - labels * (margin + step * change)
        active = slack > 0
        first = slope + step * curvature - np.sum(active * slack * labels * change)
        second = curvature + np.sum(active * change * change)
        step = step - first / second
        if first * first / second < tol:
            return step


def l2svm(X, labels, icpt, reg, tol, iterations):
    """Weights that minimise reg/2 |w|^2 + 1/2 sum(max(0, 1 - y Xw)^2), Fletcher-Reeves."""
    if icpt == 1:
        X = np.column_stack([X, np.ones(X.shape[0])])
    w = np.zeros(X.shape[1])
    margin = np.zeros(X.shape[0])
    gradient = X.T @ labels
    direction = gradient
    for _ in range(iterations):
        change = X @ direction
        slope, curvature = reg * (w @ direction), reg * (direction @ direction)
        step = line_search(margin, change, labels, slope, curvature, tol)
        w = w + step * direction
        margin = margin + step * change
        slack = np.maximum(1 - labels * margin, 0)
        objective = 0.5 * np.sum(slack * slack) + 0.5 * reg * (w @ w)
        if step * (direction @ gradient) < tol * objective:
            break
        previous, gradient = gradient, X.T @ (slack * labels) - reg * w
        direction = gradient + (gradient @ gradient) / (previous @ previous) * direction
    return w


def plain(X, labels, icpts, regs, tol, iterations):
    """The weights of every model of the grid, one row each, padded with a zero."""
    weights = np.zeros((len(icpts) * len(regs), X.shape[1] + 1))
    row = 0
    for icpt in icpts:
        for reg in regs:
            w = l2svm(X, labels, icpt, reg, tol, iterations)
            weights[row, : len(w)] = w
            row += 1
    return weights


def descend(X, labels, reg, tol, iterations, gradient, change):
    """As l2svm, from the first gradient and its image under X, which do not depend on reg."""
    w, margin, direction = np.zeros(X.shape[1]), np.zeros(len(X)), gradient
    for i in range(iterations):
        if i > 0:
            change = X @ direction
        slope, curvature = reg * (w @ direction), reg * (direction @ direction)
        step = line_search(margin, change, labels, slope, curvature, tol)
        w = w + step * direction
        margin = margin + step * change
        slack = np.maximum(1 - labels * margin, 0)
        objective = 0.5 * (slack @ slack) + 0.5 * reg * (w @ w)
        if step * (direction @ gradient) < tol * objective:
            break
        previous, gradient = gradient, X.T @ (slack * labels) - reg * w
        direction = gradient + (gradient @ gradient) / (previous @ previous) * direction
    return w


def hand(X, labels, icpts, regs, tol, iterations):
    """As plain; the design matrix and the first iteration's two products once per intercept."""
    weights = np.zeros((len(icpts) * len(regs), X.shape[1] + 1))
    row = 0
    for icpt in icpts:
        Z = np.column_stack([X, np.ones(len(X))]) if icpt == 1 else X
        gradient = Z.T @ labels
        change = Z @ gradient
        for reg in regs:
            w = descend(Z, labels, reg, tol, iterations, gradient, change)
            weights[row, : len(w)] = w
            row += 1
    return weights
