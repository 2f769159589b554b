"""Grid search of multinomial logistic regression on UCI Adult.

Three results, each with its accuracy on the training and on the test set: one-hot categoricals
beside raw numerics; one-hot categoricals beside one-hot bins; and the best of a grid over the
intercept mode, the regularisation and the number of bins.  Every model prepares its own data.
"""

from collections.abc import Callable

import numpy as np

import lima

from . import adult, intercept, multilogreg

COLUMNS = ("num_bins", "icpt", "reg", "train_accuracy", "test_accuracy")
DEFAULT = (10, 2, 1.0)  # bins, intercept mode, regularisation outside the grid

SUBSET = {
    "num_bins": (10, 20),
    "icpts": (0, 1, 2),
    "regs": (1e0, 1e-3),
    "tol": 1e-3,
    "max_outer": 10,
    "max_inner": 10,
}
FULL = {
    "num_bins": (10, 100, 1_000, 10_000),
    "icpts": (0, 1, 2),
    "regs": (1e3, 1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
    "tol": 1e-6,
    "max_outer": 100,
    "max_inner": 20,
}


@lima.traced(modules=(adult, intercept, multilogreg), ignore=("progress",))
def main(
    data: adult.Adult,
    num_bins: tuple[int, ...],
    icpts: tuple[int, ...],
    regs: tuple[float, ...],
    tol: float,
    max_outer: int,
    max_inner: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Train a model for every setting and keep the one that is best on the training set.

    Returns `one_hot` and `binned`, each [train accuracy, test accuracy] at the `DEFAULT` setting;
    `table`, one row of `COLUMNS` for each setting; `best`, the row of the best; and its `betas`.
    `progress` is called with the number of settings that are done.
    """
    control = {"tol": tol, "max_outer": max_outer, "max_inner": max_inner}
    y, y_test = data.train.label, data.test.label
    bins, icpt, reg = DEFAULT

    X, X_test = adult.one_hot_design(data)
    betas = multilogreg.fit(X, y, icpt, reg, **control)
    one_hot = both_accuracies(X, y, X_test, y_test, betas, icpt)

    X, X_test = adult.binned_design(data, bins)
    betas = multilogreg.fit(X, y, icpt, reg, **control)
    binned = both_accuracies(X, y, X_test, y_test, betas, icpt)

    rows, best, best_betas = [], 0, None
    for bins in num_bins:
        for icpt in icpts:
            for reg in regs:
                X, X_test = adult.binned_design(data, bins)
                betas = multilogreg.fit(X, y, icpt, reg, **control)
                train, test = both_accuracies(X, y, X_test, y_test, betas, icpt)
                rows.append([bins, icpt, reg, train, test])
                if best_betas is None or train > rows[best][3]:
                    best, best_betas = len(rows) - 1, betas
                if progress:
                    progress(len(rows))

    table = np.array(rows)
    return {
        "one_hot": np.array(one_hot),
        "binned": np.array(binned),
        "table": table,
        "best": table[best],
        "betas": best_betas,
    }


def both_accuracies(
    X: np.ndarray,
    y: np.ndarray,
    X_test: np.ndarray,
    y_test: np.ndarray,
    betas: np.ndarray,
    icpt: int,
) -> tuple[float, float]:
    """Share of right predictions in the training and in the test set."""
    train = multilogreg.accuracy(X, y, betas, icpt)
    test = multilogreg.accuracy(X_test, y_test, betas, icpt)
    return train, test
