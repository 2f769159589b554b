"""HCV as the reference has it: the grid of its HLM, each model cross validated."""

import numpy as np


def data(rows, cols, width, subsets, regs, tols, folds):
    """A regression problem, the sets of columns, and the grid of each; rows are cut into folds."""
    rng = np.random.default_rng(22)
    X = rng.standard_normal((rows, cols)) * np.linspace(0.5, 2.0, cols) + 0.5
    y = X @ rng.standard_normal(cols) + rng.standard_normal(rows)
    chosen = [np.sort(rng.choice(cols, width, replace=False)) for _ in range(subsets)]
    grid = np.logspace(-4, 3, regs).tolist(), np.logspace(-12, -8, tols).tolist()
    return X, y, chosen, (0, 1, 2), *grid, folds


def design(X, icpt):
    """X for a kind of intercept, as in paper_hlm."""
    if icpt == 2:
        X = (X - X.mean(axis=0)) / X.std(axis=0)
    return X if icpt == 0 else np.column_stack([X, np.ones(X.shape[0])])


def penalties(width, icpt, reg):
    """The diagonal that is added; that of an intercept is left alone."""
    penalty = np.full(width, reg)
    if icpt > 0:
        penalty[-1] = 0.0
    return np.diag(penalty)


def lm(X, y, icpt, reg, tol):
    """Ridge coefficients by normal equations; the tolerance is for other solvers of the family."""
    return np.linalg.solve(X.T @ X + penalties(X.shape[1], icpt, reg), X.T @ y)


def validated(X, y, icpt, reg, tol, folds):
    """The mean squared error of the model over the held-out folds."""
    Xs, ys = np.split(design(X, icpt), folds), np.split(y, folds)
    total = 0.0
    for k in range(folds):
        beta = lm(np.vstack(Xs[:k] + Xs[k + 1 :]), np.hstack(ys[:k] + ys[k + 1 :]), icpt, reg, tol)
        total += np.mean((ys[k] - Xs[k] @ beta) ** 2)
    return total / folds


def plain(X, y, chosen, icpts, regs, tols, folds):
    """The error of every model."""
    errors = []
    for columns in chosen:
        for icpt in icpts:
            for reg in regs:
                for tol in tols:
                    errors.append(validated(X[:, columns], y, icpt, reg, tol, folds))
    return np.array(errors)


def hand(X, y, chosen, icpts, regs, tols, folds):
    """As plain; X'X and X'y of each fold once, summed without the held-out one, a model once."""
    errors = []
    for columns in chosen:
        for icpt in icpts:
            Xs, ys = np.split(design(X[:, columns], icpt), folds), np.split(y, folds)
            grams = [F.T @ F for F in Xs]
            moments = [F.T @ t for F, t in zip(Xs, ys, strict=True)]
            sums = [
                (sum(grams[:k] + grams[k + 1 :]), sum(moments[:k] + moments[k + 1 :]))
                for k in range(folds)
            ]
            for reg in regs:
                total = 0.0
                for k, (gram, moment) in enumerate(sums):
                    beta = np.linalg.solve(gram + penalties(len(gram), icpt, reg), moment)
                    total += np.mean((ys[k] - Xs[k] @ beta) ** 2)
                errors += [total / folds] * len(tols)
    return np.array(errors)
