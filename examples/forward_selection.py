"""Forward selection of features for linear regression on UCI Adult, by Akaike's criterion.

Start from no feature; in each round try every feature that is left beside those chosen, with
normal equations solved from scratch, and keep the one that lowers the criterion most.
"""

from collections.abc import Callable

import numpy as np

import lima

from . import adult, intercept, linear

SUBSET = {
    "num_bins": 10,
    "icpts": (0, 1),
    "regs": (1e-3, 1e0),
    "max_features": 6,
    "threshold": 1e-3,
}
FULL = {
    "num_bins": 10,
    "icpts": (0, 1, 2),
    "regs": (1e3, 1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
    "max_features": 30,
    "threshold": 1e-3,
}


@lima.traced(modules=(adult, intercept, linear), ignore=("progress",))
def main(
    data: adult.Adult,
    num_bins: int,
    icpts: tuple[int, ...],
    regs: tuple[float, ...],
    max_features: int,
    threshold: float,
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Select features under every intercept mode and regularisation.

    Returns `table`, one row [icpt, reg, criterion, train accuracy, test accuracy] for each setting;
    `selected`, the chosen columns of the design in their order, filled up with -1; `best`, the row
    of the lowest criterion; and the `betas` of that model. `progress` is called with the number of
    settings that are done.
    """
    y, y_test = data.train.label.astype(float), data.test.label.astype(float)
    rows, selections, best, best_betas = [], [], 0, None
    for icpt in icpts:
        for reg in regs:
            X, X_test = adult.binned_design(data, num_bins)
            chosen, criterion = select(X, y, icpt, reg, max_features, threshold)
            betas = linear.fit(X[:, chosen], y, icpt, reg)
            train = linear.accuracy(X[:, chosen], y, betas, icpt)
            test = linear.accuracy(X_test[:, chosen], y_test, betas, icpt)
            rows.append([icpt, reg, criterion, train, test])
            selections.append(chosen + [-1] * (max_features - len(chosen)))
            if best_betas is None or criterion < rows[best][2]:
                best, best_betas = len(rows) - 1, betas
            if progress:
                progress(len(rows))

    table = np.array(rows)
    return {
        "table": table,
        "selected": np.array(selections),
        "best": table[best],
        "betas": best_betas,
    }


def select(
    X: np.ndarray, y: np.ndarray, icpt: int, reg: float, max_features: int, threshold: float
) -> tuple[list[int], float]:
    """Indices of the chosen columns, and the criterion of the model they give.

    Ends after `max_features`, or when the best feature lowers the criterion by less than
    `threshold` of its value.
    """
    n, num_columns = X.shape
    center = np.mean(y) if icpt > 0 else 0.0
    lowest = 2.0 * (icpt > 0) + n * np.log(np.mean((y - center) ** 2))
    chosen: list[int] = []
    X_chosen = X[:, :0]
    while len(chosen) < max_features:
        criteria = np.full(num_columns, np.inf)
        for j in range(num_columns):
            if j not in chosen:
                criteria[j] = akaike(np.hstack([X_chosen, X[:, j : j + 1]]), y, icpt, reg)
        # Some columns say the same (female or male): rounded, such ties go to the first of them.
        j = int(np.argmin(np.round(criteria, 6)))
        if not lowest - criteria[j] > threshold * abs(lowest):
            break
        chosen.append(j)
        lowest = criteria[j]
        X_chosen = np.hstack([X_chosen, X[:, j : j + 1]])
    return chosen, lowest


def akaike(X: np.ndarray, y: np.ndarray, icpt: int, reg: float) -> float:
    """Akaike's criterion of the regression of y on X: 2 parameters + n log(mean squared error)."""
    beta = linear.fit(X, y, icpt, reg)
    n = X.shape[0]
    return 2.0 * len(beta) + n * np.log(linear.squared_error(X, y, beta, icpt) / n)
