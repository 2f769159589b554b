"""Subsets: ridge regressions on random sets of columns, for each penalty, intercept and tolerance."""

import numpy as np


def data(rows, cols, width, subsets, regs, tols):
    """A regression problem, the sets of columns to try, and the grid of each."""
    rng = np.random.default_rng(9)
    X = rng.standard_normal((rows, cols)) * np.linspace(0.5, 4.0, cols) + 1.0
    y = X @ rng.standard_normal(cols) + rng.standard_normal(rows)
    chosen = [np.sort(rng.choice(cols, width, replace=False)) for _ in range(subsets)]
    return (
        X,
        y,
        chosen,
        (0, 1),
        np.logspace(-4, 3, regs).tolist(),
        np.logspace(-12, -8, tols).tolist(),
    )


def lm(X, y, icpt, reg, tol):
    """Fit one model; the direct solver takes a tolerance, as all of its family do, and needs none."""
    if icpt == 1:
        X = np.column_stack([X, np.ones(X.shape[0])])
    penalty = np.full(X.shape[1], reg)
    if icpt == 1:
        penalty[-1] = 0.0
    return np.linalg.solve(X.T @ X + np.diag(penalty), X.T @ y)


def plain(X, y, chosen, icpts, regs, tols):
    """The coefficients of every model, one row each, padded with a zero."""
    rows = []
    for columns in chosen:
        for icpt in icpts:
            for reg in regs:
                for tol in tols:
                    beta = lm(X[:, columns], y, icpt, reg, tol)
                    rows.append(beta if icpt == 1 else np.append(beta, 0.0))
    return np.array(rows)


def hand(X, y, chosen, icpts, regs, tols):
    """As plain; one cross product of all columns, the constant and y, cut to size for each model.

    The solution of each penalty is computed once, since the direct solver ignores the tolerance.
    """
    Z = np.column_stack([X, np.ones(X.shape[0])])
    gram, moment = Z.T @ Z, Z.T @ y
    rows = []
    for columns in chosen:
        for icpt in icpts:
            places = np.append(columns, X.shape[1]) if icpt == 1 else columns
            part, right = gram[np.ix_(places, places)], moment[places]
            for reg in regs:
                penalty = np.full(len(places), reg)
                if icpt == 1:
                    penalty[-1] = 0.0
                beta = np.linalg.solve(part + np.diag(penalty), right)
                rows += [beta if icpt == 1 else np.append(beta, 0.0)] * len(tols)
    return np.array(rows)
