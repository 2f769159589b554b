"""Monte Carlo with the legacy generator, module-level arrays and a memo of its own."""
import numpy as np
from numpy.random import RandomState

RATES = np.array([0.01, 0.03])
STRIKES = np.linspace(80, 120, 5)
seen = {}


def paths(n, steps, rate, vol):
    z = np.random.standard_normal((n, steps))
    z[n // 2:] = -z[: n - n // 2]
    dt = 1.0 / steps
    logs = np.cumsum((rate - 0.5 * vol ** 2) * dt + vol * np.sqrt(dt) * z, axis=1)
    return 100 * np.exp(logs)


def price(rate, vol, barrier):
    key = (float(rate), vol)
    if key not in seen:
        np.random.seed(42)
        seen[key] = paths(400, 24, rate, vol)
    S = seen[key]
    alive = ~(np.minimum.accumulate(S, axis=1) < barrier).any(axis=1)
    pay = np.maximum(S[:, -1, None] - STRIKES, 0) * alive[:, np.newaxis]
    return np.exp(-rate) * pay.mean(axis=0), pay.std(axis=0, ddof=1) / np.sqrt(len(S)), alive.mean()


def main():
    seen.clear()
    np.random.seed(7)
    table, errors, share = [], [], []
    for rate in RATES:
        for vol in (0.1, 0.3):
            for barrier in (0, 70, 90):
                p, e, a = price(rate, vol, barrier)
                table.append(p)
                errors.append(e)
                share.append(a)
    deck = np.arange(20)
    np.random.shuffle(deck)
    own = RandomState(3)
    draw = own.uniform(size=(2, 3))
    np.random.seed(99)
    tail = [np.random.rand() for _ in range(3)] + [np.random.randint(10) for _ in range(3)]
    return {"table": np.array(table), "errors": np.array(errors), "share": np.array(share), "deck": deck,
            "draw": draw, "tail": np.array(tail), "normal": np.random.normal(3, 0.5, size=4),
            "choice": np.random.choice(["a", "b", "c"], 6), "permutation": np.random.permutation(5)}
