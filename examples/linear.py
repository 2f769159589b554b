"""Linear regression by normal equations, with ridge penalty and three kinds of intercept."""

import numpy as np

from . import intercept


def fit(X: np.ndarray, y: np.ndarray, icpt: int = 0, reg: float = 1e-6) -> np.ndarray:
    """Betas (d,), with an intercept (d + 1,), of y (n,) on X (n, d); `icpt` as in `intercept`.

    Raises `numpy.linalg.LinAlgError` if X'X + reg I is singular.

    >>> fit(np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0]), icpt=1, reg=0.0).round(9)
    array([2., 1.])
    """
    X, shift, scale = intercept.extend(X, icpt)
    A = X.T @ X + np.diag(intercept.penalties(X.shape[1], icpt, reg))
    B = np.linalg.solve(A, X.T @ y[:, None])
    return intercept.restore(B, shift, scale, icpt)[:, 0]


def predict(X: np.ndarray, beta: np.ndarray, icpt: int = 0) -> np.ndarray:
    """Fitted values (n,) of the rows of X under betas from `fit`."""
    return intercept.scores(X, beta[:, None], icpt)[:, 0]


def squared_error(X: np.ndarray, y: np.ndarray, beta: np.ndarray, icpt: int = 0) -> float:
    """Sum of squared residuals."""
    return np.sum((y - predict(X, beta, icpt)) ** 2)


def accuracy(X: np.ndarray, y: np.ndarray, beta: np.ndarray, icpt: int = 0) -> float:
    """Share of the rows on whose side of one half the fitted value lies; y is 0 or 1."""
    return np.mean((predict(X, beta, icpt) > 0.5) == (y > 0.5))
