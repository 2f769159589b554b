"""Grid search of linear regression on UCI Adult, judged by cross validation.

The label, 0 or 1, is regressed on the binned design.  Each fold is left out in turn and the
others are stacked into a training set, whose normal equations are solved from scratch.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

import lima

from . import adult, intercept, linear

COLUMNS = ("num_bins", "icpt", "reg", "cv_mean_squared_error", "cv_accuracy")

SUBSET = {
    "num_bins": (10,),
    "icpts": (0, 1, 2),
    "regs": (1e3, 1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
    "num_folds": 5,
}
FULL = {
    "num_bins": (10, 100, 1_000, 10_000),
    "icpts": (0, 1, 2),
    "regs": (1e3, 1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
    "num_folds": 5,
}


@lima.traced(modules=(adult, intercept, linear), ignore=("progress",))
def main(
    data: adult.Adult,
    num_bins: tuple[int, ...],
    icpts: tuple[int, ...],
    regs: tuple[float, ...],
    num_folds: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Cross-validate every setting, then fit the best one on the whole training set.

    Returns `table`, one row of `COLUMNS` for each setting; `best`, the row with the least squared
    error; `betas` of that setting; and `accuracy`, its [train, test] accuracy. `progress` is called
    with the number of settings that are done.
    """
    y, y_test = data.train.label.astype(float), data.test.label.astype(float)
    rows, best = [], 0
    for bins in num_bins:
        for icpt in icpts:
            for reg in regs:
                X, _ = adult.binned_design(data, bins)
                error, accuracy = cross_validate(X, y, icpt, reg, num_folds)
                rows.append([bins, icpt, reg, error, accuracy])
                if error < rows[best][3]:
                    best = len(rows) - 1
                if progress:
                    progress(len(rows))

    bins, icpt, reg = rows[best][:3]
    X, X_test = adult.binned_design(data, bins)
    betas = linear.fit(X, y, icpt, reg)
    train = linear.accuracy(X, y, betas, icpt)
    test = linear.accuracy(X_test, y_test, betas, icpt)
    table = np.array(rows)
    return {
        "table": table,
        "best": table[best],
        "betas": betas,
        "accuracy": np.array([train, test]),
    }


def cross_validate(
    X: np.ndarray, y: np.ndarray, icpt: int, reg: float, num_folds: int
) -> tuple[float, float]:
    """Mean squared error and accuracy on folds of consecutive rows, each left out once."""
    n = X.shape[0]
    bounds = [n * k // num_folds for k in range(num_folds + 1)]
    X_folds = [X[a:b] for a, b in pairwise(bounds)]
    y_folds = [y[a:b] for a, b in pairwise(bounds)]
    error = right = 0.0
    for k in range(num_folds):
        X_train = np.vstack(X_folds[:k] + X_folds[k + 1 :])
        y_train = np.hstack(y_folds[:k] + y_folds[k + 1 :])
        beta = linear.fit(X_train, y_train, icpt, reg)
        error += linear.squared_error(X_folds[k], y_folds[k], beta, icpt)
        right += linear.accuracy(X_folds[k], y_folds[k], beta, icpt) * len(y_folds[k])
    return error / n, right / n
