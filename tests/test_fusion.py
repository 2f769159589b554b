"""Elementwise operations in one pass over memory have the bits of one call after the other."""

import os
import threading
import warnings

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import lima
from lima.handle import value_of
from lima.op import FUSES, OPS

SHAPE = (113, 611)  # more elements than run at once; no multiple of a block
SIZE = SHAPE[0] * SHAPE[1]

pytestmark = pytest.mark.skipif(not FUSES, reason="operations run together only when compiled")


def numbers(rng, dtype, size):
    """Numbers of all kinds: signed zeros, infinities, NaN of both signs, limits of integers."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, size).astype(bool)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        found = rng.integers(max(limits.min, -50), 50, size).astype(dtype)
        rare = rng.random(size) < 0.02
        found[rare] = rng.choice(np.array([limits.min, limits.max, 0], dtype), size)[rare]
        return found
    found = (rng.normal(size=size) * np.exp(rng.uniform(-9, 9, size))).astype(dtype)
    odd = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1, -1], dtype)
    return np.where(rng.random(size) < 0.05, rng.choice(odd, size), found)


# --------------------------------------------------------------------------- loops


def loops():
    seen = {}
    for row in OPS.values():
        f = row.inner
        if isinstance(f, np.ufunc):
            for types in f.types:
                if set(types) <= set("?bBhHiIlLqQfd->"):
                    seen[f"{f.__name__} {types}"] = f, types
    return seen


LOOPS = loops()


@pytest.mark.parametrize("name", LOOPS)
def test_every_loop_has_the_bits_of_a_call(name):
    from lima.loops import Loop, Program

    function, types = LOOPS[name]
    given, made = types.split("->")
    rng = np.random.default_rng(3)
    n = 3 * 1024 + 731
    operands = [numbers(rng, code, n) for code in given]
    if function is np.power and function(*operands[:1], 1).dtype.kind in "iu":
        operands[1] = np.abs(operands[1] // 2)  # it refuses negative powers
    with np.errstate(all="ignore"):
        wanted = function(*operands)
    try:
        loop = Loop(function, tuple(np.dtype(code) for code in given), np.dtype(made))
    except LookupError:
        # its own check refuses integer powers, which fail for negative ones and never wait
        assert function in (np.power, np.isnat)
        return
    program = Program((n,), 1)
    found = np.empty(n, made)
    slots = [program.operand(a) for a in operands]
    program.output(program.step(loop, slots), found)
    program.run()
    assert found.tobytes() == wanted.tobytes()


def test_nearly_every_loop_is_used():
    assert len(LOOPS) > 600


# --------------------------------------------------------------------------- random expressions

BINARY = (
    np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.fmax, np.less,
    np.greater_equal, np.equal, np.logical_and, np.arctan2, np.copysign, np.floor_divide,
    np.hypot, np.remainder,
)  # fmt: skip
UNARY = (np.exp, np.sqrt, np.negative, np.abs, np.square, np.tanh, np.log1p, np.sign, np.isnan,
         np.floor, np.logical_not, np.sin)  # fmt: skip
DTYPES = ("f8", "f8", "f8", "f4", "f4", "i8", "i4", "u1", "?", "f2", "c16", ">f8", ">i4")
SHAPES = (SHAPE, SHAPE, SHAPE, SHAPE[1:], (SHAPE[0], 1), (1, SHAPE[1]), (1,), (1, 1), ())
LITERALS = (0, 1, 2, -1, 0.5, 2.0, 1e-3, True, np.float32(1.5), np.float64(0.1), np.int8(3),
            float("nan"), float("inf"), 1e300)  # fmt: skip


def operands(seed):
    """Arrays of several types, shapes and layouts."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(7):
        shape = SHAPES[rng.integers(len(SHAPES))] if k else SHAPE
        a = numbers(rng, DTYPES[rng.integers(len(DTYPES) if k else 3)], shape)
        layout = rng.integers(8)
        if layout == 0:
            a = np.asfortranarray(a)
        elif layout == 1 and a.ndim == 2:
            a = np.repeat(a, 2, axis=1)[:, ::2]
        elif layout == 2 and a.ndim:
            a = np.ascontiguousarray(a[::-1])[::-1]
        made.append(a)
    return made


def program(seed, arrays):
    """Results of a random expression over arrays; each is used, held or dropped by chance."""
    rng = np.random.default_rng(seed)
    pool, held = list(arrays), []

    def one():
        if rng.integers(4) == 0:
            return LITERALS[rng.integers(len(LITERALS))]
        return pool[max(rng.integers(len(pool)), rng.integers(len(pool)))]

    for _ in range(int(rng.integers(3, 45))):
        kind = rng.integers(12)
        x = pool[max(rng.integers(len(pool)), rng.integers(len(pool)))]
        try:
            if kind < 7:
                f = BINARY[rng.integers(len(BINARY))]
                made = f(x, one()) if rng.integers(2) else f(one(), x)
            elif kind < 10:
                made = UNARY[rng.integers(len(UNARY))](x)
            elif kind == 10:
                made = np.where(x > 0, one(), x)
            else:
                made = x**2
        except (TypeError, OverflowError) as error:
            held.append(type(error).__name__)
            continue
        pool.append(made)
        if rng.integers(6) == 0:
            held.append(made)
        if rng.integers(6) == 0 and len(pool) > 4:
            pool.pop(rng.integers(len(pool)))
    return [*held, pool[-1], pool[-1].shape]


def told(run, *args):
    """What a run gives, and the kinds of warnings that it told of."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = run(*args)
    return found, {str(w.message) for w in seen}


def bits(result):
    found = []
    for item in result:
        if isinstance(item, str | tuple):
            found.append(item)
        else:
            item = np.asarray(item)
            found.append((item.dtype, item.shape, item.strides, item.tobytes()))
    return found


@pytest.mark.parametrize(("reuse", "threads"), [("none", 1), ("none", 3), ("operation", 3)])
@pytest.mark.parametrize("seed", range(120))
def test_random_expressions_have_the_bits_and_warnings_of_numpy(seed, reuse, threads):
    arrays = operands(seed)
    wanted, warned = told(program, seed, arrays)
    # what nobody reads is never computed, so it gives no warning: there may be fewer, never others
    with lima.session(reuse=reuse, threads=threads):
        found, heard = told(lima.traced(program), seed, arrays)
    assert bits(found) == bits(wanted)
    assert heard <= warned


# --------------------------------------------------------------------------- what runs together


def traced(*arrays):
    return [lima.array(a) for a in arrays]


def whys(x):
    return [n.outcome.why for n in lima.lineage(x).nodes if n.outcome is not None]


def test_a_chain_runs_in_one_pass():
    with lima.session(reuse="none"):
        (x,) = traced(np.random.default_rng(0).normal(size=SHAPE))
        y = np.exp(-(x**2) / 2) * (x > 0) + np.where(x < 0, x, 1)
        np.asarray(y)
        assert whys(y).count("in one pass with 8 others") == 9


def test_vectors_and_other_shapes_join():
    rng = np.random.default_rng(0)
    X, mean, scale = rng.normal(size=SHAPE), rng.normal(size=SHAPE[1]), rng.normal(size=(113, 1))
    with lima.session(reuse="none"):
        x, m, s = traced(X, mean, scale)
        y = ((x - m) / s + 1) * m
        assert np.asarray(y).tobytes() == (((X - mean) / scale + 1) * mean).tobytes()
        assert whys(y).count("in one pass with 3 others") == 4


def test_weighted_sums_have_the_bits_of_numpy():
    """Whatever was combined before, with other weights."""

    def ensemble(models, draws):
        rng = np.random.default_rng(1)
        found = []
        for _ in range(draws):
            votes = 0.0
            for model in models:
                votes = votes + rng.random() * model
            found.append(votes)
        return found

    models = [np.random.default_rng(k).normal(size=SHAPE) for k in range(5)]
    with lima.session():
        assert bits(lima.traced(ensemble)(models, 6)) == bits(ensemble(models, 6))


def test_nothing_is_kept_without_reuse():
    def run(a):
        b = np.tanh(a)
        c = np.tanh(np.tanh(b) + np.exp(b))
        return np.concatenate([c, b]).sum()

    with lima.session(reuse="none") as s:
        lima.traced(run)(np.random.default_rng(0).normal(size=(1000, 400)))
    assert s.stats.entries == 0


def test_a_temporary_that_stands_twice_is_freed_once():
    """Else two later temporaries share its place."""

    def run(a):
        m, n = a > 0, a < 1
        chosen = np.where(m, n, m)  # the last use of both
        del m, n
        left, right = a + 2, a * 3
        made = (left - right) * (left + right)
        return (chosen + made) * (made + chosen)

    a = np.random.default_rng(0).normal(size=SHAPE)
    with lima.session(reuse="none"):
        (x,) = traced(a)
        found = run(x)
        assert np.asarray(found).tobytes() == run(a).tobytes()
        assert whys(found).count("in one pass with 10 others") == 11


def test_values_in_use_are_written_and_others_are_not():
    a = np.random.default_rng(0).normal(size=SHAPE)
    with lima.session(reuse="none"):
        (x,) = traced(a)
        y = x * 2
        z = (y + 1) / 3
        np.asarray(z)
        assert value_of(y).data is not None
        assert np.asarray(y).tobytes() == (a * 2).tobytes()
        assert np.asarray(z).tobytes() == ((a * 2 + 1) / 3).tobytes()


@pytest.mark.parametrize("mode", ["warn", "ignore", "raise"])
def test_errors_are_told_as_numpy_tells_them(mode):
    a = np.zeros(SHAPE)

    def run(a):
        with np.errstate(all=mode):
            return ((a + 0) / a < 1) * 1.0 + 2

    def outcome(f):
        try:
            return bits(list(told(f, a)[0])), told(f, a)[1]
        except FloatingPointError as error:
            return str(error)

    with lima.session(reuse="none"):
        assert outcome(lima.traced(run)) == outcome(run)


def test_an_error_in_a_step_that_a_comparison_follows_is_told():
    a = np.zeros(SHAPE)
    with lima.session(reuse="none"):
        (x,) = traced(a)
        with pytest.warns(RuntimeWarning, match="invalid value encountered in divide"):
            np.asarray(~((x + 0) / x < 1))


def test_operands_change_after_the_pass_only():
    a = np.random.default_rng(0).normal(size=SHAPE)

    def run(a):
        b = a * 2 + 1
        a += 5
        c = b / 3 - a
        a[0] = 0
        return b, c, a + 0

    with lima.session():
        found = lima.traced(run)(a.copy())
    assert bits(found) == bits(run(a.copy()))


def test_long_chains_and_wide_trees():
    a = np.random.default_rng(0).normal(size=SHAPE)

    def run(a):
        b = a
        for k in range(150):
            b = (b + k) * 0.5
        terms = [a * k for k in range(90)]
        return b, sum(terms)

    with lima.session(reuse="none"):
        assert bits(lima.traced(run)(a)) == bits(run(a))


def test_threads_force_the_same_values():
    a = np.random.default_rng(0).normal(size=SHAPE)
    with lima.session():
        (x,) = traced(a)
        parts = [x]
        for k in range(40):
            parts.append((parts[-1] + k) / 2)
        seen = {}

        def read(k):
            seen[k] = np.asarray(parts[k]).tobytes()

        threads = [threading.Thread(target=read, args=(k,)) for k in (40, 20, 39, 5)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    b = [a]
    for k in range(40):
        b.append((b[-1] + k) / 2)
    assert all(seen[k] == b[k].tobytes() for k in seen)
    assert len(seen) == 4


def test_what_ran_together_is_recomputed_and_reconstructed():
    a = np.random.default_rng(0).normal(size=SHAPE)
    with lima.session():
        x = lima.array(a, name="x")
        y = np.sqrt(np.abs(x * 2 - 1)) + x
        wanted = np.asarray(y).tobytes()
        lineage = lima.lineage(y)
        assert lima.recompute(lineage, inputs={"x": a}).tobytes() == wanted


# --------------------------------------------------------------------------- several threads


def damped(a, steps):
    for k in range(steps):
        a = (a - k) * 0.5 + 1 / (k + 1)
    return a


@pytest.mark.parametrize("threads", [1, 2, 3, 16, 40])
@pytest.mark.parametrize("size", [16385, 100_003, 1024 * 300, 1024 * 300 + 1])
def test_the_bits_do_not_depend_on_the_number_of_threads(size, threads):
    a = np.random.default_rng(size).normal(size=size)
    with lima.session(reuse="none", threads=threads):
        found = [lima.traced(damped)(a, steps) for steps in (1, 2, 12, 40)]
    assert bits(found) == bits([damped(a, steps) for steps in (1, 2, 12, 40)])


@pytest.mark.parametrize("place", [0, 500_000, 999_999])
def test_an_error_in_any_thread_is_told(place):
    a = np.ones(1_000_000)
    a[place] = 0

    def run(a):
        return (1 / a + 1) * 2 + a - 3

    with (
        lima.session(reuse="none", threads=4),
        pytest.warns(RuntimeWarning, match="divide by zero"),
    ):
        found = lima.traced(run)(a)
    with np.errstate(divide="ignore"):
        assert found.tobytes() == run(a).tobytes()


def test_threads_of_the_program_may_all_want_helpers():
    arrays = [np.random.default_rng(k).normal(size=300_000) for k in range(6)]
    wanted = [damped(a, 20).tobytes() for a in arrays]
    found = {}

    def work(k):
        found[k] = [lima.traced(damped)(arrays[k], 20).tobytes() for _ in range(8)]

    with lima.session(reuse="none", threads=4):
        threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert found == {k: [wanted[k]] * 8 for k in range(6)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_helpers_of_its_own():
    a = np.random.default_rng(0).normal(size=300_000)
    wanted = damped(a, 20).tobytes()
    with lima.session(reuse="none", threads=3):
        assert lima.traced(damped)(a, 20).tobytes() == wanted
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            child = os.fork()
        if child == 0:
            same = lima.traced(damped)(a, 20).tobytes() == wanted
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert lima.traced(damped)(a, 20).tobytes() == wanted


def test_the_number_of_threads_is_that_of_blas_or_as_asked():
    with threadpool_limits(1, "blas"), lima.session() as s:
        assert s.threads == 1
    with lima.session(threads="3") as s:
        assert s.threads == 3
    with pytest.raises(lima.ConfigError, match="whole number"), lima.session(threads=-1):
        pass
