"""Three ways to give a linear model an intercept, shared by the models of this folder.

| icpt | columns of X | betas |
|---|---|---|
| 0 | as they are | one per column |
| 1 | as they are, and a column of ones | the intercept comes last and is not regularised |
| 2 | shifted and rescaled to mean 0 and variance 1, and a column of ones | as 1, scaled back |
"""

import numpy as np


def extend(X: np.ndarray, icpt: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X as the solver sees it, and the (shift, scale) of its columns that `restore` needs.

    Columns without variance are shifted but not rescaled.

    >>> extend(np.array([[1.0], [3.0]]), 1)[0]
    array([[1., 1.],
           [3., 1.]])
    """
    shift, scale = np.zeros(X.shape[1]), np.ones(X.shape[1])
    if icpt == 2:
        shift = np.mean(X, axis=0)
        variance = np.var(X, axis=0, ddof=1)
        scale = 1.0 / np.sqrt(np.where(variance > 0, variance, 1.0))
        X = (X - shift) * scale
    if icpt > 0:
        X = np.hstack([X, np.ones((X.shape[0], 1))])
    return X, shift, scale


def penalties(num_columns: int, icpt: int, reg: float) -> np.ndarray:
    """The regularisation of each beta, (num_columns,); nothing for the intercept.

    >>> penalties(3, 1, 0.5)
    array([0.5, 0.5, 0. ])
    """
    if icpt == 0:
        return np.full(num_columns, reg)
    return np.append(np.full(num_columns - 1, reg), 0.0)


def restore(B: np.ndarray, shift: np.ndarray, scale: np.ndarray, icpt: int) -> np.ndarray:
    """Betas (d, k) of the extended X turned into betas for the columns as they came."""
    if icpt < 2:
        return B
    weights = B[:-1] * scale[:, None]
    return np.vstack([weights, B[-1] - shift @ weights])


def scores(X: np.ndarray, B: np.ndarray, icpt: int) -> np.ndarray:
    """Linear scores (n, k) of rows as they came, under restored betas.

    >>> scores(np.array([[2.0]]), np.array([[3.0], [1.0]]), 1)
    array([[7.]])
    """
    return X @ B if icpt == 0 else X @ B[:-1] + B[-1]
