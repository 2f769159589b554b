"""stepLm: forward selection of columns for linear regression by Akaike's criterion."""

import numpy as np


def data(rows, cols, steps):
    """A regression problem in which more than steps columns matter, each less than the last."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((rows, cols))
    X[:, 1::2] += 0.5 * X[:, ::2]
    y = 1.0 + X @ (rng.permutation(0.8 ** np.arange(cols)) * 3.0) + rng.standard_normal(rows)
    return X, y, steps


def criterion(X, y):
    """Akaike's criterion of the least-squares fit of y on the columns of X."""
    n, k = X.shape
    beta = np.linalg.solve(X.T @ X, X.T @ y)
    residual = y - X @ beta
    return n * np.log(residual @ residual / n) + 2 * k


def plain(X, y, steps):
    """Columns in the order they were taken, and the criterion after each."""
    chosen, path = [], []
    kept = np.ones((X.shape[0], 1))
    for _ in range(steps):
        best, winner = np.inf, -1
        for j in range(X.shape[1]):
            if j in chosen:
                continue
            score = criterion(np.hstack([kept, X[:, j : j + 1]]), y)
            if score < best:
                best, winner = score, j
        chosen.append(winner)
        path.append(best)
        kept = np.hstack([kept, X[:, winner : winner + 1]])
    return np.array(chosen), np.array(path)


def hand(X, y, steps):
    """As plain; the cross products of the kept columns grow by one row per step.

    A candidate borders the Gram matrix of the kept columns with one row and one column, and is
    never stacked beside them. Residuals are formed on the rows, as in plain: the short cut through
    the Gram matrix (y'y - b'X'y) cancels.
    """
    n, cols = X.shape
    columns = np.ascontiguousarray(X.T)
    moments, squares = columns @ y, np.einsum("ij,ij->i", columns, columns)
    kept = np.ones((1, n))
    gram, moment = np.array([[float(n)]]), np.array([y.sum()])
    cross = columns.sum(axis=1)[np.newaxis]
    chosen, path = [], []
    for step in range(steps):
        k = step + 1
        bordered, right = np.empty((k + 1, k + 1)), np.empty(k + 1)
        bordered[:k, :k], right[:k] = gram, moment
        best, winner = np.inf, -1
        for j in range(cols):
            if j in chosen:
                continue
            bordered[k, :k] = bordered[:k, k] = cross[:, j]
            bordered[k, k], right[k] = squares[j], moments[j]
            beta = np.linalg.solve(bordered, right)
            residual = y - beta[:k] @ kept
            residual -= beta[k] * columns[j]
            score = n * np.log(residual @ residual / n) + 2 * (k + 1)
            if score < best:
                best, winner = score, j
        chosen.append(winner)
        path.append(best)
        border = cross[:, winner : winner + 1]
        gram = np.block([[gram, border], [border.T, squares[winner]]])
        moment = np.append(moment, moments[winner])
        kept = np.vstack([kept, columns[winner]])
        cross = np.vstack([cross, columns @ columns[winner]])
    return np.array(chosen), np.array(path)
