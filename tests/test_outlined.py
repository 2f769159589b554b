"""Programs written from a lineage have the functions that the traced ones had."""

import random
import re

import numpy as np
import pytest
from round_trips import assert_round_trip, strangers

import lima
from lima.handle import value_of


@lima.traced
def standardise(X):
    mu = X.mean(axis=0)
    return (X - mu) / X.std(axis=0)


@lima.traced
def lm(X, y, reg):
    A = X.T @ X + reg * np.eye(X.shape[1])
    return np.linalg.solve(A, X.T @ y)


@lima.traced
def halves(X):
    half = len(X) // 2
    return X[:half] + 0.0, X[half:] * 1.5


@lima.traced
def grown(x, n):
    """Builds an array in place."""
    out = np.zeros((n, len(x)))
    for k in range(n):
        out[k] = x * k
    out += 1.0
    return out


@lima.traced
def scaled_in_place(a, by):
    """Writes its argument, and gives it back."""
    a *= by
    a[0] = 0.0
    return a


@lima.traced
def noise(n, seed):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=n)
    return first + rng.normal(size=n)


@lima.traced
def drawn(rng, x):
    return x + rng.normal(size=len(x)) * 0.5


@lima.traced
def fit(X, y):
    """Calls another traced function, twice."""
    Z = standardise(X)
    return lm(Z, y, 0.5) + lm(Z, y, 5.0)


@lima.traced
def halved(x, n):
    """Calls itself."""
    return x * 0.5 if n == 0 else np.sin(halved(x + 1.0, n - 1)) * 3.0


@lima.traced
def step(w, X, y, rate):
    r = X @ w - y
    return w - rate * (X.T @ r)


@lima.traced
def ranked(A, p):
    """Ends with a loop, the last statement of which makes what it gives."""
    for _ in range(60):
        p = 0.85 * (A @ p) + 0.15
    return p


@lima.traced
def of_one_number(x, factor):
    return np.sqrt(np.abs(x)) * factor + np.float64(0.25)


@lima.traced
def first_rows(X):
    """What it gives lies in what it is given."""
    Y = X * 1.0
    return X[: len(Y) // 2]


@lima.traced
def twice(x):
    return x + x


class Model:
    def __init__(self, reg):
        self.reg = reg

    @lima.traced
    def fit(self, X, y):
        self.w = np.linalg.solve(X.T @ X + self.reg * np.eye(X.shape[1]), X.T @ y)
        return self.w + 0.0

    @lima.traced
    def error(self, X, y):
        r = X @ self.w - y
        return np.mean(r * r)


CONSTANT = np.linspace(0.0, 1.0, 6)


@lima.traced
def with_data(x):
    """Reads an array that is no argument."""
    return np.cos(x) * CONSTANT


# Programs, and the functions that the written ones shall have with how often each is called.


def pipeline(X, y):
    Z = standardise(X)
    b = lm(Z, y, 0.1)
    c = lm(Z, y, 10.0)
    r = Z @ (b - c)
    return {"b": b, "c": c, "r": r}


def same_on_other_data(X, y):
    return {"a": lm(X, y, 0.5), "b": lm(X[:40] * 2.0, y[:40] + 1.0, 0.5)}


def several_results(X, y):
    top, bottom = halves(X)
    top[0] = 7.0
    return {"top": top, "bottom": bottom.sum(axis=0), "both": top @ bottom.T}


def one_of_several(X, y):
    return {"bottom": halves(X)[1] + 1.0, "other": y * 2.0}


def in_place(X, y):
    a = grown(X[0], 4)
    b = grown(X[1], 4)
    a[1] -= b[2]
    return {"a": a, "b": b}


def arguments_written(X, y):
    a = y * 2.0
    b = a + 1.0
    c = scaled_in_place(a, 0.25)
    c[1] = 5.0
    return {"a": a, "b": b, "c": c + b}


def randoms(X, y):
    return {"a": noise(5, 1), "b": noise(5, 2) * noise(5, 1)}


def one_generator(X, y):
    rng = np.random.default_rng(4)
    a = drawn(rng, y)
    b = drawn(rng, y + 1.0)
    return {"a": a, "b": b * a, "c": rng.normal(size=3)}


def nested(X, y):
    return {"b": fit(X, y), "c": fit(X + 1.0, y) * 2.0}


def recursive(X, y):
    return {"a": halved(y, 3) + 1.0}


def in_a_loop(X, y):
    w = np.zeros(X.shape[1])
    for _ in range(60):
        w = step(w, X, y, 0.001)
    return {"w": w, "more": w * 2.0}


def with_varying_rates(X, y):
    w = np.zeros(X.shape[1])
    for k in range(60):
        w = step(w, X, y, 0.001 / (k + 1))
    return {"w": w, "more": w * 2.0}


def a_loop_in_a_function(X, y):
    A = X[:6] / 10.0
    return {"p": ranked(A, y[:6]) + 0.5, "q": ranked(A, y[6:12]) * 2.0}


def numbers_and_arrays(X, y):
    return {"a": of_one_number(y, 0.3), "b": of_one_number(y, y + 1.0), "c": of_one_number(y, 0.7)}


def views(X, y):
    a = first_rows(X * 2.0)
    return {"a": a + 1.0}


def small(X, y):
    return {"a": twice(y) * 3.0}


def methods(X, y):
    model = Model(0.5)
    w = model.fit(X, y)
    return {"w": w, "error": model.error(X + 1.0, y)}


def outside_data(X, y):
    return {"a": with_data(X[:, :6]) + 1.0, "b": with_data(X[:, :6] * 2.0)}


PROGRAMS = {
    pipeline: {"standardise": 1, "lm": 2},
    same_on_other_data: {"lm": 2},
    several_results: {"halves": 1},
    one_of_several: {"halves": 1},
    in_place: {"grown": 2},
    arguments_written: {"scaled_in_place": 1},
    randoms: {"noise": 1, "noise_2": 1},
    one_generator: {"drawn": 0},
    nested: {"standardise": 1, "lm": 2, "fit": 2},
    recursive: {"halved": 1, "halved_2": 1, "halved_3": 1, "halved_4": 0},
    in_a_loop: {"step": 1},
    with_varying_rates: {"step": 1},
    a_loop_in_a_function: {"ranked": 2},
    numbers_and_arrays: {"of_one_number": 2, "of_one_number_2": 1},
    views: {"first_rows": 0},
    small: {"twice": 0},
    methods: {"fit": 1, "error": 1},
    outside_data: {"with_data": 2},
}


def data():
    rng = np.random.default_rng(8)
    return rng.normal(size=(60, 6)), rng.normal(size=60)


def calls(text, name):
    return len(re.findall(rf"(?<!def )\b{name}\(", text))


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("reuse", ["none", "hybrid"])
def test_programs(function, reuse):
    strangers()
    X, y = data()  # which a lineage does not keep
    with lima.session(reuse=reuse, exactness="bitwise"):
        results = lima.traced(function)(X, y)
        record = lima.lineage(**results)
        text = assert_round_trip(record, results)
    for name, count in PROGRAMS[function].items():
        assert calls(text, name) == count, text
        assert len(re.findall(rf"^def {name}\(", text, re.MULTILINE)) == (count > 0)
    assert {"in_a_loop", "with_varying_rates"}.isdisjoint([function.__name__]) or "for " in text


def test_calls_from_plain_code():
    strangers()
    X, y = data()
    Z = standardise(X)
    b = lm(Z, y, 0.5)
    text = lima.to_python(lima.lineage(b=b, c=lm(Z[:30], y[:30], 0.25)))
    assert "def standardise(X):" in text and "def lm(X, y, reg):" in text
    assert calls(text, "lm") == 2 and calls(text, "standardise") == 1


def test_names_of_results_are_those_of_the_program():
    strangers()
    with lima.session(lines="all"):
        results = lima.traced(pipeline)(*data())
        text = lima.to_python(lima.lineage(**results))
    assert "Z = standardise(X)" in text
    assert "b = lm(Z, y, 0.1)" in text and "c = lm(Z, y, 10.0)" in text


def test_the_whole_program_is_not_called_by_itself():
    strangers()
    X, y = data()
    assert "def lm(" not in lima.to_python(lm(X, y, 0.5))


def test_names_that_a_program_needs_are_not_given_to_functions():
    strangers()

    @lima.traced
    def program(x):
        return np.cos(x) + 1.0

    def np_(x):
        return np.sin(x) * 2.0

    def total(x):
        return np.tanh(x) * 3.0

    np_.__name__, total.__name__ = "np", "sum"
    np_, total = lima.traced(np_), lima.traced(total)
    x = np.linspace(0.0, 1.0, 5)

    def both(x):
        return {"a": program(x) * np_(x) + total(x)}

    with lima.session(reuse="none"):
        results = lima.traced(both)(x)
        text = assert_round_trip(lima.lineage(**results), results)
    assert all(f"def {name}_2(" in text for name in ("program", "np", "sum"))


def test_an_argument_that_is_a_number_once_and_an_array_once():
    strangers()
    x, weights = np.linspace(0.0, 1.0, 5), np.linspace(0.2, 0.4, 5)

    def program(x, weights):
        return {"a": weighted(x, 0.5), "b": weighted(x, weights)}

    with lima.session(reuse="none"):
        results = lima.traced(program)(x, weights)
        text = assert_round_trip(lima.lineage(**results), results)
    assert "weighted(x)" in text and "weighted_2(x, weights)" in text


def test_numbers_that_may_be_there_by_chance_are_constants():
    strangers()
    x = np.linspace(0.0, 1.0, 5)

    def program(x, weights):
        return {f"a{k}": weighted(x, weight) * 2.0 for k, weight in enumerate(weights)}

    for weights, call in {
        (0.5,): "weighted(x)",  # and 1.0 - 0.5
        (0.1,): "weighted(x, 0.1)",
        (0.3, 0.7): "weighted(x, 0.3)",
    }.items():
        results = lima.traced(program)(x, weights)
        text = assert_round_trip(lima.lineage(**results), results)
        assert call in text


def test_calls_that_nobody_asks_for_are_not_hashed():
    strangers()
    x = np.linspace(0.0, 1.0, 5)
    with lima.session(reuse="none"):
        a, b = lima.array(x), lima.array(x + 1.0)
        other = squares(a)
        asked = squares(b) + 1.0
        lima.to_python(asked)
        assert value_of(other).node._digest is None


def test_many_calls_are_written_as_operations():
    strangers()

    @lima.traced
    def one(x, k):
        return np.cos(x) * k + x

    x = np.linspace(0.0, 1.0, 5)

    def all_of_them(x):
        return {"total": sum(one(x, float(k)) for k in range(700))}

    with lima.session(reuse="none"):
        results = lima.traced(all_of_them)(x)
        text = assert_round_trip(lima.lineage(**results), results)
    assert "def one(" not in text


# ------------------------------------------------------------------------------- any programs


@lima.traced
def squares(x):
    return x * x + 1.0


@lima.traced
def pair(x, y):
    return x + y * 2.0, x - y


@lima.traced
def summed_in_place(x):
    x[1:] += x[:-1]
    x *= 0.5
    return x


@lima.traced
def turned(x):
    return np.cos(x * 0.5)[::-1]


@lima.traced
def the_same_twice(x):
    y = np.sin(x) + 0.25
    return y, y


@lima.traced
def with_a_view(x):
    y = np.sin(x) * 2.0
    return y, y[1:4]


@lima.traced
def shuffled(rng, x):
    y = x + 0.0
    rng.shuffle(y)
    return y * rng.random()


@lima.traced
def of_both(x, y):
    a, b = pair(squares(x), grown(y, 3)[1])
    b[0] = 9.0
    return a, b, noise(6, 3) + a


@lima.traced
def weighted(x, weight):
    return weight * x + (1.0 - weight) * np.tanh(x)


def _written(pool, draw, rng):
    v = draw.choice(pool)
    kind = draw.randrange(4)
    if kind == 0:
        v[draw.randrange(len(v))] = draw.choice((0.5, 3.0))
    elif kind == 1:
        v += draw.choice(pool)[: len(v)].sum()
    elif kind == 2:
        v[::2] = v[0]
    else:
        pool.append(v[::-1])


STATEMENTS = {
    "squares": lambda pool, d, rng: pool.append(squares(d.choice(pool))),
    "pair": lambda pool, d, rng: pool.extend(pair(pool[0], d.choice(pool[1:3]))),
    "summed": lambda pool, d, rng: pool.append(summed_in_place(d.choice(pool))),
    "turned": lambda pool, d, rng: pool.append(turned(d.choice(pool))),
    "same": lambda pool, d, rng: pool.extend(the_same_twice(d.choice(pool))),
    "view": lambda pool, d, rng: pool.extend(with_a_view(pool[0])),
    "shuffled": lambda pool, d, rng: pool.append(shuffled(rng, d.choice(pool))),
    "both": lambda pool, d, rng: pool.extend(of_both(pool[1], pool[0])),
    "grown": lambda pool, d, rng: pool.extend(grown(pool[1], 2)),
    "weighted": lambda pool, d, rng: pool.append(weighted(d.choice(pool), d.choice((0.5, 0.25)))),
    "drawn": lambda pool, d, rng: pool.append(drawn(rng, pool[0])),
    "written": _written,
}


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed):
    draw = random.Random(seed)
    names = [draw.choice(list(STATEMENTS)) for _ in range(draw.randrange(3, 14))]

    def program(x, y):
        choices, rng = random.Random(seed + 1), np.random.default_rng(seed)
        pool = [x * 1.25, y + 0.5, x * y]  # no two arrays of the same content
        for name in names:
            STATEMENTS[name](pool, choices, rng)
        return {f"r{k}": v for k, v in enumerate(pool)}

    x, y = np.linspace(-1.0, 2.0, 6), np.linspace(3.0, 1.0, 6)
    wanted = program(x.copy(), y.copy())
    strangers()
    with lima.session(reuse="none"):
        results = lima.traced(program)(x, y)
        for name, value in wanted.items():
            assert np.array_equal(results[name], value)
        assert_round_trip(lima.lineage(**results), results)
