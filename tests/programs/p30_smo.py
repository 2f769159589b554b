"""A support vector machine by sequential minimal optimisation: scalars, clipping, early exits."""


def kernel(np, A, B, gamma):
    d = (A * A).sum(1)[:, None] + (B * B).sum(1) - 2 * A @ B.T
    return np.exp(-gamma * np.maximum(d, 0))


def smo(np, K, y, C, tol=1e-3, rounds=3):
    n = len(y)
    alpha, b = np.zeros(n), 0.0
    errors = -y.astype(float)
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        changed = 0
        for i in range(n):
            r = errors[i] * y[i]
            if not ((r < -tol and alpha[i] < C) or (r > tol and alpha[i] > 0)):
                continue
            j = int(rng.integers(n - 1))
            j += j >= i
            low = max(0, alpha[j] - alpha[i]) if y[i] != y[j] else max(0, alpha[i] + alpha[j] - C)
            high = min(C, C + alpha[j] - alpha[i]) if y[i] != y[j] else min(C, alpha[i] + alpha[j])
            eta = 2 * K[i, j] - K[i, i] - K[j, j]
            if low == high or eta >= 0:
                continue
            new = min(high, max(low, alpha[j] - y[j] * (errors[i] - errors[j]) / eta))
            if abs(new - alpha[j]) < 1e-6:
                continue
            step_j = new - alpha[j]
            step_i = -y[i] * y[j] * step_j
            alpha[i] += step_i
            alpha[j] = new
            shift = errors[i] + y[i] * step_i * K[i, i] + y[j] * step_j * K[i, j]
            errors += y[i] * step_i * K[i] + y[j] * step_j * K[j] - shift
            b -= shift
            changed += 1
        if not changed:
            break
    return alpha, b


def main(np, scale=1.0):
    n = max(int(80 * scale), 16)
    rng = np.random.default_rng(77)
    X = rng.normal(size=(n, 2))
    y = np.where((X**2).sum(axis=1) > 1.2, 1, -1)
    fresh = rng.normal(size=(n, 2))
    wanted = np.where((fresh**2).sum(axis=1) > 1.2, 1, -1)
    rows = []
    for gamma in (0.5, 2.0):
        K = kernel(np, X, X, gamma)
        for C in (0.5, 5.0):
            alpha, b = smo(np, K, y, C)
            score = kernel(np, fresh, X, gamma) @ (alpha * y) + b
            rows.append([gamma, C, b, alpha.sum(), (alpha > 0).sum(), np.mean(np.sign(score) == wanted)])
    return {"rows": np.array(rows), "alpha": alpha, "score": score}
