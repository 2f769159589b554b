"""HLM: a grid search of linear regression by normal equations, with three kinds of intercept."""

import numpy as np


def data(rows, cols, regs, tols):
    """A regression problem with badly scaled columns, and the grid to search."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((rows, cols)) * np.linspace(0.5, 4.0, cols) + 1.0
    y = X @ rng.standard_normal(cols) + rng.standard_normal(rows)
    return (
        X,
        y,
        (0, 1, 2),
        np.logspace(-4, 3, regs).tolist(),
        np.logspace(-12, -8, tols).tolist(),
    )


def lm(X, y, icpt, reg, tol):
    """Fit one model; icpt 1 adds an intercept, icpt 2 also shifts and scales the columns.

    The direct solver takes a tolerance, as every solver of the family does, and needs none.
    """
    if icpt == 2:
        X = (X - X.mean(axis=0)) / X.std(axis=0)
    if icpt > 0:
        X = np.column_stack([X, np.ones(X.shape[0])])
    penalty = np.full(X.shape[1], reg)
    if icpt > 0:
        penalty[-1] = 0.0
    return np.linalg.solve(X.T @ X + np.diag(penalty), X.T @ y)


def plain(X, y, icpts, regs, tols):
    """The coefficients of every model of the grid, one row each, padded with zeros."""
    betas = np.zeros((len(icpts) * len(regs) * len(tols), X.shape[1] + 1))
    row = 0
    for icpt in icpts:
        for reg in regs:
            for tol in tols:
                beta = lm(X, y, icpt, reg, tol)
                betas[row, : len(beta)] = beta
                row += 1
    return betas


def hand(X, y, icpts, regs, tols):
    """As plain; X'X and X'y once per intercept, one solve per reg, none for the unused tol."""
    betas = np.zeros((len(icpts) * len(regs) * len(tols), X.shape[1] + 1))
    row = 0
    for icpt in icpts:
        Z = X
        if icpt == 2:
            Z = (X - X.mean(axis=0)) / X.std(axis=0)
        if icpt > 0:
            Z = np.column_stack([Z, np.ones(len(Z))])
        gram, moment, width = Z.T @ Z, Z.T @ y, Z.shape[1]
        for reg in regs:
            penalty = np.full(width, reg)
            if icpt > 0:
                penalty[-1] = 0.0
            beta = np.linalg.solve(gram + np.diag(penalty), moment)
            betas[row : row + len(tols), :width] = beta
            row += len(tols)
    return betas
