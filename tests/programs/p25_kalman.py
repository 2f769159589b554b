"""A Kalman filter and smoother: many tiny matrices in lists, and likelihoods on a grid."""


def kalman(np, ys, F, H, Q, R):
    d = F.shape[0]
    x, P = np.zeros(d), np.eye(d) * 10
    loglik = 0.0
    means, covs, predicted = [], [], []
    for y in ys:
        x = F @ x
        P = F @ P @ F.T + Q
        predicted.append((x, P))
        if not np.isnan(y).any():
            S = H @ P @ H.T + R
            K = np.linalg.solve(S.T, (P @ H.T).T).T
            e = y - H @ x
            x = x + K @ e
            P = (np.eye(d) - K @ H) @ P
            sign, logdet = np.linalg.slogdet(S)
            loglik -= 0.5 * (logdet + e @ np.linalg.inv(S) @ e + len(e) * np.log(2 * np.pi))
            assert sign > 0
        means.append(x)
        covs.append(P)
    return np.array(means), np.array(covs), predicted, loglik


def smooth(np, means, covs, predicted, F):
    out = means.copy()
    for t in range(len(means) - 2, -1, -1):
        xp, Pp = predicted[t + 1]
        G = covs[t] @ F.T @ np.linalg.inv(Pp)
        out[t] += G @ (out[t + 1] - xp)
    return out


def main(np, scale=1.0):
    steps = max(int(200 * scale), 12)
    rng = np.random.RandomState(12)
    F = np.array([[1.0, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.1], [0, 0, 0, 1]])
    H = np.zeros((2, 4))
    H[[0, 1], [0, 2]] = 1
    truth = np.empty((steps, 4))
    truth[0] = [0, 1, 0, -0.5]
    for t in range(1, steps):
        truth[t] = F @ truth[t - 1] + rng.normal(0, 0.05, 4)
    ys = truth @ H.T + rng.normal(0, 0.5, (steps, 2))
    ys[rng.rand(steps) < 0.2] = np.nan
    grid = []
    for q in (1e-3, 1e-2, 1e-1):
        for r in (0.1, 0.25, 1.0):
            *_, loglik = kalman(np, ys, F, H, q * np.eye(4), r * np.eye(2))
            grid.append((q, r, loglik))
    grid = np.array(grid)
    q, r, _ = grid[grid[:, 2].argmax()]
    means, covs, predicted, _ = kalman(np, ys, F, H, q * np.eye(4), r * np.eye(2))
    smoothed = smooth(np, means, covs, predicted, F)
    error = lambda a: np.sqrt(((a - truth)[:, ::2] ** 2).mean())
    return {"grid": grid, "means": means, "covs": covs[-1], "smoothed": smoothed,
            "errors": np.array([error(means), error(smoothed)])}
