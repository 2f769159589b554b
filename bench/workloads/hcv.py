"""HCV: leave-one-fold-out cross validation of ridge regression over a grid of penalties."""

import numpy as np


def data(rows, cols, folds, regs):
    """A regression problem and the grid; rows is cut into equal folds."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((rows, cols))
    y = X @ rng.standard_normal(cols) + rng.standard_normal(rows)
    return X, y, folds, np.logspace(-4, 3, regs).tolist()


def ridge(X, y, reg):
    """Ridge coefficients by normal equations."""
    return np.linalg.solve(X.T @ X + reg * np.eye(X.shape[1]), X.T @ y)


def plain(X, y, folds, regs):
    """Mean squared error of each reg on each held-out fold, shape (regs, folds)."""
    Xs, ys = np.split(X, folds), np.split(y, folds)
    errors = np.zeros((len(regs), folds))
    for r, reg in enumerate(regs):
        for k in range(folds):
            X_train = np.vstack(Xs[:k] + Xs[k + 1 :])
            y_train = np.concatenate(ys[:k] + ys[k + 1 :])
            beta = ridge(X_train, y_train, reg)
            errors[r, k] = np.mean((ys[k] - Xs[k] @ beta) ** 2)
    return errors


def hand(X, y, folds, regs):
    """As plain; X'X and X'y once per fold, summed without the held-out one, no fold is stacked.

    The sums run over the other folds, never total minus fold: subtraction cancels.
    """
    Xs, ys = np.split(X, folds), np.split(y, folds)
    grams = [F.T @ F for F in Xs]
    moments = [F.T @ t for F, t in zip(Xs, ys, strict=True)]
    errors = np.zeros((len(regs), folds))
    for k in range(folds):
        gram, moment = sum(grams[:k] + grams[k + 1 :]), sum(moments[:k] + moments[k + 1 :])
        for r, reg in enumerate(regs):
            beta = np.linalg.solve(gram + reg * np.eye(X.shape[1]), moment)
            errors[r, k] = np.mean((ys[k] - Xs[k] @ beta) ** 2)
    return errors
