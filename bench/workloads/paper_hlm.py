"""HLM as the reference has it: random sets of columns, penalties, three intercepts, tolerances."""

import numpy as np


def data(rows, cols, width, subsets, regs, tols):
    """A regression problem with badly scaled columns, the sets of columns, and the grid of each."""
    rng = np.random.default_rng(21)
    X = rng.standard_normal((rows, cols)) * np.linspace(0.5, 4.0, cols) + 1.0
    y = X @ rng.standard_normal(cols) + rng.standard_normal(rows)
    chosen = [np.sort(rng.choice(cols, width, replace=False)) for _ in range(subsets)]
    grid = np.logspace(-4, 3, regs).tolist(), np.logspace(-12, -8, tols).tolist()
    return X, y, chosen, (0, 1, 2), *grid


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


def plain(X, y, chosen, icpts, regs, tols):
    """The coefficients of every model, one row each, padded with a zero."""
    rows = []
    for columns in chosen:
        for icpt in icpts:
            for reg in regs:
                for tol in tols:
                    beta = lm(X[:, columns], y, icpt, reg, tol)
                    rows.append(beta if icpt > 0 else np.append(beta, 0.0))
    return np.array(rows)


def hand(X, y, chosen, icpts, regs, tols):
    """As plain; the design, X'X and X'y once for a set and an intercept, a solution per penalty."""
    rows = []
    for columns in chosen:
        for icpt in icpts:
            Z = X[:, columns]
            if icpt == 2:
                Z = (Z - Z.mean(axis=0)) / Z.std(axis=0)
            if icpt > 0:
                Z = np.column_stack([Z, np.ones(len(Z))])
            gram, moment = Z.T @ Z, Z.T @ y
            for reg in regs:
                penalty = np.full(Z.shape[1], reg)
                if icpt > 0:
                    penalty[-1] = 0.0
                beta = np.linalg.solve(gram + np.diag(penalty), moment)
                rows += [beta if icpt > 0 else np.append(beta, 0.0)] * len(tols)
    return np.array(rows)
