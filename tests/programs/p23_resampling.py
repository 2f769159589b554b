"""Bootstrap intervals, a permutation test and cross validation from one generator."""


def statistic(np, x, y):
    xc, yc = x - x.mean(), y - y.mean()
    return (xc * yc).sum() / np.sqrt((xc**2).sum() * (yc**2).sum())


def folds(np, n, k, rng):
    order = rng.permutation(n)
    for part in np.array_split(order, k):
        mask = np.ones(n, dtype=bool)
        mask[part] = False
        yield np.flatnonzero(mask), part


def main(np, scale=1.0):
    n, rounds = max(int(400 * scale), 20), max(int(300 * scale), 10)
    rng = np.random.default_rng(2024)
    x = rng.gamma(2.0, size=n)
    y = 0.4 * x + rng.standard_t(4, n)
    seen = statistic(np, x, y)

    boot = np.empty(rounds)
    for r in range(rounds):
        pick = rng.integers(0, n, n)
        boot[r] = statistic(np, x[pick], y[pick])
    low, high = np.quantile(boot, [0.025, 0.975])

    null, shuffled = [], y.copy()
    for r in range(rounds):
        rng.shuffle(shuffled)
        null.append(statistic(np, x, shuffled))
    null = np.asarray(null)
    p = (np.abs(null) >= abs(seen)).mean()

    design = np.stack([np.ones(n), x, x**2], axis=1)
    table = []
    for lam in (0.0, 0.1, 10.0):
        errors = []
        for train, test in folds(np, n, 5, np.random.default_rng(5)):
            G = design[train].T @ design[train] + lam * np.eye(3)
            beta = np.linalg.solve(G, design[train].T @ y[train])
            errors.append(((y[test] - design[test] @ beta) ** 2).mean())
        table.append([lam, np.mean(errors), np.std(errors)])
    state = rng.bit_generator.state["state"]["state"] % 2**31
    return {
        "seen": np.asarray(seen),
        "interval": np.array([low, high]),
        "p": np.asarray(p),
        "table": np.array(table),
        "boot": np.sort(boot),
        "next": rng.normal(size=3),
        "state": np.asarray(state),
        "counts": np.bincount(rng.choice(6, size=50, p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])),
    }
