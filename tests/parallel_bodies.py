"""Functions for `test_parfor.py`, at the top of a module so that other processes find them."""

import os

import numpy as np

import lima


@lima.traced
def gram(X):
    return X.T @ X


@lima.traced
def ridge(X, y, reg):
    return np.linalg.solve(X.T @ X + reg * np.eye(X.shape[1]), X.T @ y)


def ridge_of(item):
    return ridge(*item)


@lima.traced
def grid(X, y, regs, workers, backend="threads"):
    def body(reg):
        return np.linalg.solve(X.T @ X + reg * np.eye(X.shape[1]), X.T @ y)

    return np.stack(lima.parfor(body, regs, workers, backend))


@lima.traced
def ones_by_sum(n):
    return np.zeros(n) + 1.0


@lima.traced
def ones_by_product(n):
    return np.full(n, 0.5) * 2.0


@lima.traced
def doubled(a):
    return a * 2.0


@lima.traced
def sine(a, k):
    return np.sin(a * k).sum(axis=0)


@lima.traced
def solved(a, k):
    return np.linalg.solve(a.T @ a + (k + 1.0) * np.eye(a.shape[1]), a.T @ a[:, 0])


@lima.traced
def stacked(a, k):
    return np.vstack([a, a[: k + 1]]).mean(axis=1)


KINDS = {"gram": lambda a, k: gram(a), "sin": sine, "solve": solved, "stack": stacked}


@lima.traced
def noisy(reg, rng):
    return rng.standard_normal(6) * reg + rng.random()


@lima.traced
def noisy_grid(regs, workers, backend="threads"):
    def body(reg, rng):
        return rng.standard_normal(6) * reg

    return np.stack(lima.parfor(body, regs, workers, backend, rng=11))


def draws_from_all(k):
    return np.random.rand() * k


@lima.traced
def writes_shared(X, workers):
    out = np.zeros(X.shape[0])

    def body(k):
        out[k] = X[k].sum()

    lima.parfor(body, range(X.shape[0]), workers=workers)
    return out


@lima.traced
def fill(row, number):
    row[:] = number


@lima.traced
def fill_row(out, k):
    out[k] = k


class Model:
    def __init__(self, weights):
        self.weights = weights


@lima.traced
def scaled(model, k):
    return model.weights * k


@lima.traced
def fails(X, k):
    total = (X.T @ X).sum()
    if total > -1e300:
        raise FloatingPointError("bad")
    return total


@lima.traced
def _pair(a, k):
    return (a @ a.T).sum() + k, a * 2


def traced_pair(item):
    total, twice = _pair(*item)
    return {"total": total, "twice": twice, "again": twice}


def fails_at_two(k):
    if k in (2, 3):
        raise KeyError(k)
    return k


class Awkward(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a}, {b}")


def fails_awkwardly(k):
    raise Awkward("a", "b")


def dies(k):
    os._exit(3)


def square(k):
    return k * k


@lima.traced
def inverse_of(a):
    return np.linalg.inv(a @ a.T + np.eye(a.shape[0]))


@lima.traced
def waiting(X, workers):
    """Large elementwise values that wait when the loop begins, and views of what is written."""
    large = np.exp(X * 0.25) - X
    base = np.zeros(X.shape)
    row = base[1]
    base += large
    part = large[:, ::2]

    def body(k):
        own = large[k : k + 5].copy()
        own[0] = k
        own *= part[k].sum()
        return own.sum() + row[k] + (large * part.mean()).max(), large[k], base[:, k].T

    found = lima.parfor(body, range(12), workers=workers)
    base[:] = 1.0
    return found, base, row, part


WRITES = {
    "item": lambda a, k: a.__setitem__(k, 1.0),
    "view": lambda a, k: a[1:][::2].__setitem__(0, 1.0),
    "add": lambda a, k: a.__iadd__(1.0),
    "out": lambda a, k: np.add(a, 1.0, out=a),
    "sort": lambda a, k: a.sort(),
    "fill": lambda a, k: a.fill(2.0),
    "copyto": lambda a, k: np.copyto(a, 3.0),
    "put": lambda a, k: np.put(a, [0], 4.0),
    "putmask": lambda a, k: np.putmask(a, a > 0, 4.0),
    "at": lambda a, k: np.add.at(a, [0], 1.0),
    "partition": lambda a, k: a.partition(2),
    "shuffle": lambda a, k: np.random.default_rng(1).shuffle(a),
    "flat": lambda a, k: a.flat.__setitem__(0, 1.0),
    "where": lambda a, k: a.__setitem__(a > 0, 1.0),
    "place": lambda a, k: np.place(a, a > 0, [1.0]),
    "random": lambda a, k: np.random.default_rng(1).random(out=a),
    "shape": lambda a, k: setattr(a, "shape", (2, -1)),
}


@lima.traced
def writes_in(name, workers):
    a = np.arange(8.0) + 1.0
    write = WRITES[name]

    def body(k):
        write(a, k)

    lima.parfor(body, range(3), workers=workers)
    return a


def store_of(item):
    found = lima.sessions.current().store
    return None if found is None else os.fspath(found.path)


def dies_at_two(k):
    if k == 2:
        os._exit(3)
    return k
