"""Multinomial logistic regression by a trust-region Newton method with conjugate gradients.

After Lin, Weng, Keerthi: Trust Region Newton Method for Large-Scale Logistic Regression, JMLR 9
(2008), extended from two classes to many.  Class 0 is the baseline, whose score is 0, so that
K classes have K - 1 columns of betas.
"""

import numpy as np

from . import intercept

ACCEPT, POOR, GOOD = 1e-4, 0.25, 0.75  # eta 0, 1, 2 of the paper: actual over predicted reduction
SHRINK_MOST, SHRINK, GROW = 0.25, 0.5, 4.0  # sigma 1, 2, 3: how far the radius may move at once
CG_TOLERANCE = 0.1  # xi: conjugate gradients end at this share of the gradient's norm
STALLED = 1e-14  # a change of the objective below this share of it is rounding


def fit(
    X: np.ndarray,
    y: np.ndarray,
    icpt: int = 2,
    reg: float = 1.0,
    tol: float = 1e-6,
    max_outer: int = 100,
    max_inner: int = 20,
) -> np.ndarray:
    """Betas (d, K - 1), with an intercept (d + 1, K - 1), that minimise the penalised deviance.

    X is float64 (n, d), y int64 (n,) with labels 0..K-1.  `icpt` is explained in `intercept`.
    Ends when the gradient's norm is `tol` of what it was at zero betas, when rounding stops
    progress, or after `max_outer` Newton steps of `max_inner` conjugate gradient steps each.

    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 1, 0, 1])
    >>> B = fit(X, y, icpt=1, reg=0.1)
    >>> predict(X, B, icpt=1)
    array([0, 0, 1, 1])
    """
    X, shift, scale = intercept.extend(X, icpt)
    Y = np.eye(int(np.max(y)) + 1)[y][:, 1:]
    penalty = intercept.penalties(X.shape[1], icpt, reg)[:, None]
    B = np.zeros((X.shape[1], Y.shape[1]))
    P, objective = evaluate(X, Y, B, penalty)
    G = X.T @ (P - Y) + penalty * B
    first_norm = np.sqrt(np.sum(G**2))
    radius = 0.5 * np.sqrt(X.shape[1]) / np.max(np.sqrt(np.sum(X**2, axis=1)))

    for outer in range(max_outer):
        if np.sqrt(np.sum(G**2)) <= tol * first_norm:
            break
        S, R, at_boundary = newton_step(X, P, G, penalty, radius, max_inner)
        P_new, objective_new = evaluate(X, Y, B + S, penalty)
        slope = np.sum(G * S)
        predicted = 0.5 * (np.sum(S * R) - slope)
        actual = objective - objective_new
        ratio = actual / predicted
        length = np.sqrt(np.sum(S**2))
        if outer == 0:
            radius = min(radius, length)
        radius = next_radius(radius, length, ratio, slope, actual)
        size = abs(objective) + abs(objective_new)
        if ratio > ACCEPT:
            B, P, objective = B + S, P_new, objective_new
            G = X.T @ (P - Y) + penalty * B
        if not at_boundary and abs(actual) <= STALLED * size:
            break
    return intercept.restore(B, shift, scale, icpt)


def evaluate(
    X: np.ndarray, Y: np.ndarray, B: np.ndarray, penalty: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, K - 1) of the classes but the baseline, and the penalised deviance / 2."""
    L = X @ B
    top = np.maximum(np.max(L, axis=1, keepdims=True), 0.0)
    E = np.exp(L - top)
    total = np.exp(-top) + np.sum(E, axis=1, keepdims=True)
    fit_term = np.sum(np.log(total) + top) - np.sum(Y * L)
    return E / total, fit_term + 0.5 * np.sum(penalty * B**2)


def newton_step(
    X: np.ndarray,
    P: np.ndarray,
    G: np.ndarray,
    penalty: np.ndarray,
    radius: float,
    max_inner: int,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Conjugate gradients on H S = -G within ||S|| <= radius: S, the residual, edge reached?"""
    S, R, V = np.zeros_like(G), -G, -G
    rr = np.sum(R**2)
    enough = CG_TOLERANCE**2 * np.sum(G**2)
    for _ in range(max_inner):
        if rr <= enough:
            break
        Q = P * (X @ V)
        HV = X.T @ (Q - P * np.sum(Q, axis=1, keepdims=True)) + penalty * V
        alpha = rr / np.sum(V * HV)
        if np.sum((S + alpha * V) ** 2) > radius**2:
            alpha = to_boundary(S, V, radius)
            return S + alpha * V, R - alpha * HV, True
        S = S + alpha * V
        R = R - alpha * HV
        rr_new = np.sum(R**2)
        V = R + (rr_new / rr) * V
        rr = rr_new
    return S, R, False


def to_boundary(S: np.ndarray, V: np.ndarray, radius: float) -> np.ndarray:
    """The t >= 0 with ||S + t V|| = radius, in the form of the root that does not cancel."""
    sv, vv, room = np.sum(S * V), np.sum(V**2), radius**2 - np.sum(S**2)
    root = np.sqrt(sv**2 + vv * room)
    return room / (sv + root) if sv >= 0 else (root - sv) / vv


def next_radius(radius: float, length: float, ratio: float, slope: float, actual: float) -> float:
    """The trust radius after a step of `length` that reduced the objective by `actual`.

    A parabola through the old value, the slope there and the new value says how long the step
    should have been; the ratio of actual to predicted reduction says how far to follow it
    (paper, section 2).
    """
    bend = -actual - slope
    factor = GROW if bend <= 0 else max(SHRINK_MOST, -0.5 * slope / bend)
    wanted = factor * length
    if ratio < ACCEPT:
        return min(wanted, SHRINK * radius)
    if ratio < POOR:
        return max(SHRINK_MOST * radius, min(wanted, SHRINK * radius))
    if ratio < GOOD:
        return max(SHRINK_MOST * radius, min(wanted, GROW * radius))
    return max(radius, min(wanted, GROW * radius))


def predict(X: np.ndarray, B: np.ndarray, icpt: int = 2) -> np.ndarray:
    """The likeliest label, int64 (n,), of every row of X under betas from `fit`."""
    others = intercept.scores(X, B, icpt)
    return np.argmax(np.hstack([np.zeros((X.shape[0], 1)), others]), axis=1)


def accuracy(X: np.ndarray, y: np.ndarray, B: np.ndarray, icpt: int = 2) -> float:
    """Share of the rows whose label is predicted."""
    return np.mean(predict(X, B, icpt) == y)
