"""`np.vectorize` in traced code: one operation, named by what its callback is and uses."""

import threading

import numpy as np
import pytest
from eager import check, eager

import lima
from lima import tree, vectorized
from lima.errors import ReplayError
from lima.ops.callbacks import LIVE
from lima.replay import loads

X = np.linspace(-3.0, 3.0, 300)
N = np.arange(300) % 7
FACTOR = 2.0
TABLE = np.arange(10.0)
SEEN = []
GENERATOR = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """Nothing is known of arrays or callbacks that other tests had; looking always pays."""
    tree._known.table.clear()
    vectorized._accounts.clear()
    monkeypatch.setattr(vectorized, "SHARE", np.inf)  # else a busy machine decides


def ramp(x, slope=1.5):
    return x * slope if x > 0 else 0.0


def scaled(x):
    return x * FACTOR


def looked_up(n):
    return TABLE[n]


@np.vectorize
def decorated(x):
    return -x if x < 0 else x + 0.25


kept = np.vectorize(ramp, otypes=[float])


class Steps:
    """A callback that is an object."""

    def __init__(self, width):
        self.width = width

    def __call__(self, x):
        return x // self.width

    def method(self, x):
        return x % self.width


def same(found, wanted):
    if type(wanted) is tuple:
        assert type(found) is tuple and len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            same(a, b)
        return
    assert type(found) is type(wanted) and found.dtype == wanted.dtype
    assert found.shape == wanted.shape and found.strides == wanted.strides
    assert found.tobytes() == wanted.tobytes() and found.flags.writeable is wanted.flags.writeable


STEPS = {
    "a lambda": lambda x: np.vectorize(lambda t: t * 3 if t > 1 else 7)(x),
    "a global function": lambda x: np.vectorize(ramp)(x),
    "a default": lambda x: np.vectorize(ramp)(x, 2.0),
    "a keyword": lambda x: np.vectorize(ramp)(x, slope=N),
    "excluded by name": lambda x: np.vectorize(ramp, excluded=["slope"])(x, slope=0.5),
    "excluded by place": lambda x: np.vectorize(ramp, excluded=[1])(x, 0.5),
    "excluded array": lambda x: np.vectorize(lambda p, t: p[0] * t, excluded=["p"])(p=x, t=x),
    "otypes": lambda x: np.vectorize(ramp, otypes="f")(x),
    "otypes of dtypes": lambda x: np.vectorize(lambda t: (t + 1, t > 0), otypes=["f8", bool])(x),
    "two results": lambda x: np.vectorize(lambda t, n: (t + n, t * n))(x, N),
    "cache": lambda x: np.vectorize(ramp, cache=True)(x),
    "a signature": lambda x: np.vectorize(lambda r: r.max() - r.min(), signature="(n)->()")(
        x.reshape(10, 30)
    ),
    "a matrix for each": lambda x: np.vectorize(np.outer, signature="(n),(m)->(n,m)")(
        x.reshape(60, 5), x[:4]
    ),
    "broadcast": lambda x: np.vectorize(lambda a, b: a - b)(x[:20, None], N[:30]),
    "a list": lambda x: np.vectorize(ramp)([x[0], 2.0, 3]),
    "a number": lambda x: np.vectorize(ramp)(2.0) + x,
    "a builtin": lambda x: np.vectorize(abs)(x),
    "a function of NumPy": lambda x: np.vectorize(np.hypot)(x, 2.0),
    "an object": lambda x: np.vectorize(Steps(0.5))(x),
    "a method": lambda x: np.vectorize(Steps(0.5).method)(x),
    "a closure": lambda x: (lambda k: np.vectorize(lambda t: t + k)(x))(3),
    "a traced closure": lambda x: np.vectorize(lambda t: t * x[2] + x.size)(x),
    "a global array": lambda x: np.vectorize(looked_up)(N) + x,
    "decorated": lambda x: decorated(x) + kept(x),
    "nested": lambda x: np.vectorize(lambda t: float(np.vectorize(ramp)(t)) + 1)(x),
    "seeded draws": lambda x: np.vectorize(lambda t: np.random.default_rng(3).normal() + t)(x),
    "dates": lambda x: np.vectorize(lambda n: np.datetime64(int(n), "D"))(N),
    "complex": lambda x: np.vectorize(lambda t: complex(t, 1))(x),
}


def program(name):
    """A function of its own each time: its globals are those of this module."""
    return STEPS[name]


@pytest.mark.parametrize("name", STEPS)
def test_it_is_a_step_of_the_lineage_and_reused(name):
    wanted = STEPS[name](X.copy())
    traced = lima.traced(reuse="operation")(program(name))
    with eager() as s:
        same(traced(X), wanted)
        assert s.stats.hits == 0 or name in ("decorated", "nested")
        before = s.stats.hits
        found = traced(X.copy())
        same(found, wanted)
        assert s.stats.hits > before or name in ("a list", "a number")  # too small to look up
        first = found[0] if type(found) is tuple else found
        log = lima.lineage(first).log()
        assert "vectorize(" in log and loads(log).log() == log
    check(program(name), lambda: (X.copy(),))


DIFFERENT = {
    "constants": [
        lambda x: np.vectorize(lambda t: t + 1)(x),
        lambda x: np.vectorize(lambda t: t + 2)(x),
        lambda x: np.vectorize(lambda t: t + 1.0)(x),
        lambda x: np.vectorize(lambda t: t + True)(x),
    ],
    "defaults": [
        lambda x: np.vectorize(lambda t, s=1: t * s)(x),
        lambda x: np.vectorize(lambda t, s=2: t * s)(x),
    ],
    "closures": [
        lambda x: (lambda k: np.vectorize(lambda t: t + k)(x))(3),
        lambda x: (lambda k: np.vectorize(lambda t: t + k)(x))(4),
        lambda x: (lambda k: np.vectorize(lambda t: t + k)(x))(np.float32(3)),
        lambda x: (lambda k: np.vectorize(lambda t: t + k)(x))(x[3]),
        lambda x: (lambda k: np.vectorize(lambda t: t + k)(x))(x[4]),
    ],
    "otypes": [
        lambda x: np.vectorize(ramp)(x),
        lambda x: np.vectorize(ramp, otypes="f")(x),
        lambda x: np.vectorize(ramp, otypes="e")(x),
        lambda x: np.vectorize(ramp, otypes=[complex])(x),
    ],
    "signatures": [
        lambda x: np.vectorize(lambda r: r * 2)(x),
        lambda x: np.vectorize(lambda r: r * 2, signature="()->()")(x[:, None]),
        lambda x: np.vectorize(np.sum, signature="(n)->()")(x.reshape(10, 30)),
        lambda x: np.vectorize(np.sum, signature="(n,m)->()")(x.reshape(10, 30)),
    ],
    "excluded": [
        lambda x: np.vectorize(lambda a, b: np.size(b) + a, otypes="d")(x, b=N),
        lambda x: np.vectorize(lambda a, b: np.size(b) + a, otypes="d", excluded=["b"])(x, b=N),
        lambda x: np.vectorize(lambda a, b: np.size(b) + a, otypes="d", excluded=[1])(x, N),
    ],
    "keywords": [
        lambda x: np.vectorize(lambda t, a=0, b=0: t + a - b)(x, a=1),
        lambda x: np.vectorize(lambda t, a=0, b=0: t + a - b)(x, b=1),
        lambda x: np.vectorize(lambda t, a=0, b=0: t + a - b)(x, a=1.0),
        lambda x: np.vectorize(lambda t, a=0, b=0: t + a - b)(x, a=np.float32(1)),
    ],
    "arguments": [
        lambda x: np.vectorize(lambda t: type(t) is int)([1, 2]),
        lambda x: np.vectorize(lambda t: type(t) is int)([1, 2.5]),
        lambda x: np.vectorize(lambda t: type(t) is int)([True, False]),
        lambda x: np.vectorize(lambda t: type(t) is int)((1, 2, 3)),
    ],
    "objects": [
        lambda x: np.vectorize(Steps(0.5))(x),
        lambda x: np.vectorize(Steps(0.25))(x),
        lambda x: np.vectorize(Steps(0.5).method)(x),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_in_anything_has_another_key(name):
    keys = set()
    with eager():
        for one in DIFFERENT[name]:
            for _ in range(2):
                found = lima.traced(reuse="operation")(one)(X.copy())
                same(found, one(X.copy()))
            keys.add(lima.lineage(found).outputs["result"].digest)
    assert len(keys) == len(DIFFERENT[name])


def test_a_global_that_changes_is_never_stale():
    global FACTOR
    traced = lima.traced(reuse="operation")(lambda x: np.vectorize(scaled)(x))
    with eager():
        for FACTOR in (2.0, 3.0, 2, 2.0):  # noqa: B007  a global that scaled() reads
            same(traced(X), np.vectorize(scaled)(X))


def test_an_array_that_changes_in_place_is_never_stale():
    traced = lima.traced(reuse="operation")(lambda n: np.vectorize(looked_up)(n))
    with eager():
        for k in (0, 1, 2):
            TABLE[k] += 1
            same(traced(N), np.vectorize(looked_up)(N))


def test_an_attribute_that_changes_is_never_stale():
    def work(x, steps):
        first = np.vectorize(steps)(x)
        steps.width *= 2
        return first, np.vectorize(steps)(x)

    with eager():
        for _ in range(2):
            same(lima.traced(reuse="operation")(work)(X, Steps(0.25)), work(X, Steps(0.25)))


def test_a_traced_array_in_a_closure_is_an_operand():
    def work(x, y):
        scale = y * 2
        return np.vectorize(lambda t: t + scale[1])(x)

    with eager() as s:
        traced = lima.traced(reuse="operation")(work)
        for y in (np.arange(3.0), np.arange(3.0) + 1, np.arange(3.0)):
            same(traced(X, y), work(X, y))
        found = traced(X, np.arange(3.0))
        assert '"y"' in lima.lineage(found).log()
        assert s.stats.hits


def test_a_callback_with_effects_has_them_every_time():
    def appending(x):
        seen = []
        found = np.vectorize(lambda t: seen.append(t) or t, otypes="d")(x)
        return found, np.array(seen)

    def counting(x):
        count = [0]

        def step(t):
            count[0] += 1
            return t + count[0]

        return np.vectorize(step)(x), np.vectorize(step)(x)

    def drawing(x):
        rng = np.random.default_rng(3)
        draw = np.vectorize(lambda t: t + rng.normal())
        return draw(x), draw(x)

    def writing(x):
        y = np.zeros(3)

        def step(t):
            y[0] += t
            return y[0]

        return np.vectorize(step)(x), np.vectorize(step)(x), y

    for work in (appending, counting, drawing, writing):
        with eager():
            wanted = work(X.copy())
            for reuse in ("operation", "full"):
                for _ in range(2):
                    same(lima.traced(reuse=reuse)(work)(X.copy()), wanted)


def test_effects_outside_of_the_call_are_never_left_out():
    def noting(x):
        return np.vectorize(lambda t: SEEN.append(t) or t, otypes="d")(x)

    def drawing(x):
        return np.vectorize(lambda t: t + GENERATOR.normal())(x)

    def legacy(x):
        return np.vectorize(lambda t: t + np.random.normal())(x)

    with eager():
        SEEN.clear()
        for k in (1, 2):
            lima.traced(noting)(X)
            assert len(SEEN) == k * len(X)
        state = GENERATOR.bit_generator.state
        found = [lima.traced(drawing)(X) for _ in range(2)]
        GENERATOR.bit_generator.state = state
        for got in found:
            same(got, drawing(X))
        np.random.seed(1)
        found = [lima.traced(legacy)(X) for _ in range(2)]
        np.random.seed(1)
        for got in found:
            same(got, legacy(X))


def test_a_callback_that_was_exchanged_is_a_leaf():
    def work(x):
        f = np.vectorize(lambda t: t + 1, otypes="d")
        first = f(x)
        f.pyfunc = lambda t: t + 2
        return first, f(x)

    with eager():
        for _ in range(2):
            same(lima.traced(reuse="operation")(work)(X), work(X))


def test_recomputing_needs_the_callback():
    def work(x):
        return np.vectorize(lambda t: t * 5 - 1)(x)

    found = lima.traced(work)(X)
    assert np.array_equal(lima.recompute(found, {"x": X}), found)
    log = lima.lineage(found).log()
    LIVE.clear()
    with pytest.raises(ReplayError, match="cannot hold"):
        lima.recompute(loads(log), {"x": X})
    with pytest.raises(ReplayError, match="callback"):
        lima.to_python(found)


def test_a_callback_that_has_changed_is_not_recomputed_with():
    global FACTOR
    FACTOR = 2.0
    found = lima.traced(lambda x: np.vectorize(scaled)(x))(X)
    assert np.array_equal(lima.recompute(found, {"x": X}), found)
    FACTOR = 9.0
    with pytest.raises(ReplayError):
        lima.recompute(found, {"x": X})
    FACTOR = 2.0
    assert np.array_equal(lima.recompute(found, {"x": X}), found)


CHANGED = {
    "a list": (lambda: [0.0], lambda p: p[0]),
    "a list in a list": (lambda: [[0.0], 1], lambda p: p[0][0]),
    "a dict": (lambda: {0: 0.0}, lambda p: p[0]),
    "an array": (lambda: np.zeros(1), lambda p: p[0]),
    "an array in a list": (lambda: [np.zeros(1)], lambda p: p[0][0]),
}


def counting(x, p):
    while not np.isscalar(p[0]) and not isinstance(p[0], np.generic) and np.ndim(p[0]):
        p = p[0]
    p[0] += 1
    return x * float(p[0])


@pytest.mark.parametrize("reuse", ["hybrid", "operation"])
@pytest.mark.parametrize("name", CHANGED)
def test_a_callback_that_changes_an_argument_does_so_every_time(name, reuse):
    make, count = CHANGED[name]

    def program(x):
        p = make()
        found = np.vectorize(counting, excluded=[1])(x, p)
        return found, float(count(p))

    wanted = program(X)
    traced = lima.traced(program)
    with eager(reuse=reuse):
        for _ in range(3):
            found = traced(X)
            assert np.asarray(found[0]).tobytes() == wanted[0].tobytes()
            assert found[1] == wanted[1] == len(X) + 1


def test_errors_are_those_of_the_callback_each_time():
    def work(x):
        return np.vectorize(lambda t: 1 / (t - 3))(x)

    with eager():
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                lima.traced(work)(N)


def test_a_callback_that_is_cheaper_than_looking_at_it_is_left_alone():
    big = list(range(200_000))
    traced = lima.traced(reuse="operation")(lambda x: np.vectorize(lambda t: big[int(t)])(x))
    with lima.session():
        for _ in range(20):
            found = traced(N[:5])
        assert found.tolist() == [0, 1, 2, 3, 4]


def test_threads_call_one_callback():
    wanted = np.vectorize(ramp)(X)
    traced = lima.traced(reuse="operation")(lambda x: np.vectorize(ramp)(x))
    found = []
    with eager():
        threads = [threading.Thread(target=lambda: found.append(traced(X))) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    for got in found:
        same(got, wanted)


def test_an_object_of_the_module_stays_what_it_is():
    lima.traced(lambda x: decorated(x))(X)
    assert isinstance(decorated, np.vectorize)
    same(decorated(X), np.vectorize(lambda x: -x if x < 0 else x + 0.25)(X))
    assert kept.otypes == np.vectorize(ramp, otypes=[float]).otypes
