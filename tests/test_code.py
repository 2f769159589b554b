"""What whole calls may stand for: code digests, the closed world, and every way to leave it."""

from __future__ import annotations

import argparse
import ast
import collections
import dataclasses
import dis
import enum
import functools
import inspect
import itertools
import logging
import math
import operator
import os
import random
import subprocess
import sys
import textwrap
import time
import types
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from eager import check, eager

import lima
from lima import bytecode
from lima.bytecode import NotReusable
from lima.code import Code, code_of
from lima.keys import Parameters

BASE = np.random.default_rng(5).standard_normal((5, 4))


def given() -> tuple[np.ndarray]:
    return (BASE.copy(),)


def compiled(source: str, name: str = "f", **scope: Any) -> Any:
    """A function made from text, in a module of its own."""
    module = types.ModuleType("made")
    vars(module).update({"np": np, "lima": lima, **scope})
    exec(compile(textwrap.dedent(source), "<made>", "exec"), vars(module))
    return getattr(module, name)


def digest(source: str, name: str = "f", **scope: Any) -> bytes:
    return Code(compiled(source, name, **scope)).digest()


# --------------------------------------------------------------------------- what may be reused

LIMIT = 3
WEIGHTS = {"a": 2.0, "b": [1.0, 2.0]}
OFFSET = np.arange(4.0)


def helper(x, by=LIMIT):
    return x * by + offset()


def offset():
    return OFFSET[1]


@dataclasses.dataclass
class Shape:
    sides: Any
    scale: float = 1.0
    tags: list[str] = dataclasses.field(default_factory=list)
    kinds: ClassVar[dict[str, int]] = {"a": 1}

    def area(self):
        return self.sides.sum() * self.scale * self.kinds["a"]

    @property
    def double(self):
        return self.area() * 2

    @staticmethod
    def unit():
        return 1.0

    @classmethod
    def made(cls, x):
        return cls(x, cls.unit())

    @functools.cached_property
    def cached(self):
        return self.sides * 2


class Mode(enum.Enum):
    FAST = 1
    SLOW = "slow"

    def factor(self):
        return 2.0 if self is Mode.FAST else 3.0


doubled = functools.partial(helper, by=2)
first = operator.itemgetter(0)
Pair = collections.namedtuple("Pair", "a b")


def uses_helpers(x):
    return helper(x) + doubled(x) + first([x])


def uses_data(x):
    return x * WEIGHTS["a"] + sum(WEIGHTS["b"]) + OFFSET


def uses_comprehensions(x):
    rows = [r * k for k, r in enumerate(x)]
    return np.stack(rows) + sum(v for v in (1.0, 2.0)) + {k: k for k in range(3)}[1]


def uses_nested_functions(x):
    power = 2

    def inner(y):
        return y**power + (lambda z: z + 1)(y)

    return inner(x)


def uses_classes(x):
    shape = Shape.made(x)
    shape.tags.append("new")
    return shape.area() + shape.double + shape.cached


def uses_enums(x):
    return [x * mode.factor() for mode in Mode]


def uses_named_tuples(x):
    return Pair(x, 1)._replace(b=x * 2).b


def uses_control_flow(x):
    with np.errstate(all="ignore"):
        try:
            for k in range(10):
                if k > 2:
                    raise ValueError(f"{k}")
                x = x / k
        except ValueError as error:
            return x, str(error)
        finally:
            x = None


def uses_libraries(x):
    values = [math.sqrt(v) for v in (1.0, 4.0)]
    pairs = list(itertools.combinations(values, 2))
    order = sorted(pairs, key=operator.itemgetter(1))
    return x * functools.reduce(operator.add, values) + order[0][0] + collections.Counter("aa")["a"]


def uses_linear_algebra(x):
    return np.linalg.solve(x.T @ x, x.T @ np.ones(5)), np.linalg.norm(x), np.fft.fft(x)


def uses_scipy(x):
    return scipy.linalg.solve_triangular(np.tril(x[:4]), np.ones(4), lower=True)


def uses_distributions(x):
    return scipy.stats.norm.cdf(float(x[0, 0]))


def uses_seeded_generators(x):
    return x + np.random.default_rng(3).standard_normal(x.shape)


def uses_isinstance(x):
    return isinstance(x, np.ndarray), isinstance(x.sum(), float), callable(len)


def uses_text(x):
    return f"{x.sum():.3f}", "-".join(["a", "b"]), "a".upper(), str(x.shape)


def uses_recursion(x, n=3):
    return x if n == 0 else uses_recursion(x + n, n - 1)


def imports_inside(x):
    import math as m
    from itertools import chain

    return x * m.pi + sum(chain([1], [2]))


REUSABLE = [
    uses_helpers, uses_data, uses_comprehensions, uses_nested_functions, uses_classes, uses_enums,
    uses_named_tuples, uses_control_flow, uses_libraries, uses_linear_algebra, uses_scipy,
    uses_distributions, uses_seeded_generators, uses_isinstance, uses_text, uses_recursion,
    imports_inside,
]  # fmt: skip


@pytest.mark.parametrize("program", REUSABLE)
def test_calls_that_are_reused(program):
    check(program, given)


# --------------------------------------------------------------------------- what may not

COUNTER = itertools.count()
NUMBERS = iter(range(1000))
LOG: list[float] = []
STATE = {"calls": 0}
TOGGLE = [0]
RNG = np.random.default_rng(1)
LEGACY = np.random.RandomState(2)
total = 0


class Registry:
    count = 0
    log: ClassVar[list[int]] = []


@functools.lru_cache(maxsize=8)
def remembered(n):
    return np.arange(float(n))


def counted(x):
    counted.calls += 1
    return x + counted.calls


counted.calls = 0


def decorated_to_print(function):
    @functools.wraps(function)
    def wrapper(*args):
        print("called")  # noqa: T201
        return function(*args)

    return wrapper


@decorated_to_print
def quiet(x):
    return x + 1


def prints(x):
    print("hello")  # noqa: T201
    return x + 1


def prints_in_a_helper(x):
    return prints(x)


def prints_by_decorator(x):
    return quiet(x)


def prints_by_another_name(x):
    say = print
    say("hello")
    return x + 1


def writes_to_stdout(x):
    sys.stdout.write("hello")
    return x + 1


def logs(x):
    logging.getLogger("test").warning("hello")
    return x + 1


def reads_the_clock(x):
    return x + time.perf_counter_ns() % 7


def reads_the_environment(x):
    return x + len(os.environ.get("LIMA_TEST_CODE", ""))


def draws_from_random(x):
    return x + random.random()


def draws_unseeded(x):
    return x + np.random.default_rng().random()


def draws_from_the_global_generator(x):
    return x + np.random.rand()


def draws_from_a_generator_of_the_module(x):
    return x + RNG.random()


def draws_from_an_old_generator_of_the_module(x):
    return x + LEGACY.rand()


def draws_with_scipy(x):
    return x + scipy.stats.norm.rvs()


def seeds(x):
    np.random.seed(3)
    return x + 1


def counts(x):
    return x + next(COUNTER)


def takes_numbers(x):
    return x + next(NUMBERS)


def assigns_a_global(x):
    global total
    total += 1
    return x + total


def appends_to_a_global(x):
    LOG.append(1.0)
    return x + len(LOG)


def counts_in_a_dict(x):
    STATE["calls"] += 1
    return x + STATE["calls"]


def toggles(x):
    TOGGLE[0] ^= 1
    return x + TOGGLE[0]


def writes_a_global_array(x):
    OFFSET[0] += 1
    return x + OFFSET


def sets_a_class_attribute(x):
    Registry.count += 1
    return x + Registry.count


def appends_to_a_class_attribute(x):
    Registry.log.append(1)
    return x + len(Registry.log)


def counts_on_itself(x):
    return counted(x)


def calls_what_remembers(x):
    return remembered(4) + x


def runs_a_process(x):
    subprocess.run([sys.executable, "-c", ""], check=True)
    return x + 1


def evaluates(x):
    return x + eval("LIMIT")


def looks_at_globals(x):
    return x + globals()["LIMIT"]


def sets_the_print_options(x):
    np.set_printoptions(precision=8)
    return x + 1


def sets_the_error_state(x):
    old = np.seterr(all="warn")
    np.seterr(**old)
    return x + 1


def sets_something_in_a_module(x):
    math.extra = 3
    return x + 1


def passes_a_module_on(x):
    return x + (attribute_of(np, "load") is None)


def attribute_of(thing, name):
    return getattr(thing, name)


def reflects(x):
    return x + helper.__globals__["LIMIT"]


def prints_the_identity(x):
    return x + id(x) % 2 * 0


NOT_REUSABLE = [
    prints, prints_in_a_helper, prints_by_decorator, prints_by_another_name, writes_to_stdout, logs,
    reads_the_clock, reads_the_environment, draws_from_random, draws_unseeded,
    draws_from_the_global_generator, draws_from_a_generator_of_the_module,
    draws_from_an_old_generator_of_the_module, draws_with_scipy, seeds, counts, takes_numbers,
    assigns_a_global, appends_to_a_global, counts_in_a_dict, writes_a_global_array,
    sets_a_class_attribute, appends_to_a_class_attribute, counts_on_itself, calls_what_remembers,
    runs_a_process, evaluates, looks_at_globals, sets_the_print_options, sets_the_error_state,
    sets_something_in_a_module, passes_a_module_on, reflects, prints_the_identity,
]  # fmt: skip


def state_of_the_world() -> Any:
    """All that the functions above change or read."""
    world = (LOG, STATE, TOGGLE, OFFSET.tolist(), total, Registry.count, Registry.log)
    states = np.random.get_state(legacy=False), LEGACY.get_state(legacy=False), random.getstate()
    return repr(
        (*world, counted.calls, RNG.bit_generator.state, states, math.__dict__.get("extra"))
    )


def reset_the_world() -> None:
    global COUNTER, NUMBERS, total
    COUNTER, NUMBERS, total = itertools.count(), iter(range(1000)), 0
    for held in (LOG, Registry.log):
        held.clear()
    STATE["calls"], TOGGLE[0], Registry.count, counted.calls = 0, 0, 0, 0
    OFFSET[...] = np.arange(4.0)
    RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state
    LEGACY.seed(2)
    np.random.seed(9)
    random.seed(9)
    vars(math).pop("extra", None)


UNREPEATABLE = (reads_the_clock, draws_unseeded)


@pytest.mark.parametrize("program", [*NOT_REUSABLE, toggles])
def test_calls_with_effects_run_every_time(program, capfd):
    """Four calls in a row: the same results, output and world as from the plain function."""

    def four(call: Any) -> Any:
        reset_the_world()
        results = [np.asarray(call(BASE), dtype=object).tolist() for _ in range(4)]
        return results, state_of_the_world(), capfd.readouterr().out

    traced = lima.traced(program)
    plain = four(program)
    with eager():
        found = four(traced)
    if program in UNREPEATABLE:
        plain, found = plain[1:], found[1:]
    assert found == plain
    reset_the_world()
    assert traced.cache_info().hits == 0
    assert traced.cache_info().refusal


def test_the_refusal_is_said_in_words():
    traced = lima.traced(prints_in_a_helper)
    with eager():
        traced(BASE)
    assert traced.cache_info().refusal == "it uses the builtin print, which may have effects"


def test_a_function_with_effects_makes_its_callers_run_too(capfd):
    inner = lima.traced(prints)
    outer = lima.traced(lambda x, f: f(x) * 2)
    with eager():
        for _ in range(3):
            outer(BASE, inner)
    assert capfd.readouterr().out == "hello\n" * 3


def test_files_are_read_every_time(tmp_path):
    path = tmp_path / "x.npy"

    def loads(where):
        return np.load(where) + 1

    def opens(where):
        with open(where, "rb") as file:
            return np.zeros(2) + len(file.read())

    def saves(where, x):
        np.save(where, x)
        return x + 1

    loads, opens, saves = map(lima.traced, (loads, opens, saves))
    with eager():
        for k in range(3):
            np.save(path, np.full(k + 1, float(k)))
            assert np.array_equal(loads(path), np.full(k + 1, k + 1.0))
            assert opens(str(path))[0] == path.stat().st_size
            path.unlink()
            saves(path, BASE)
            assert np.array_equal(np.load(path), BASE)


def test_a_decimal_context_is_not_forgotten():
    """Settings of the process decide what such a function returns."""
    f = compiled(
        """
        import decimal
        def f(x):
            return x + float(decimal.Decimal(1) / 3)
        """
    )
    import decimal

    traced = lima.traced(f)
    with eager():
        for digits in (3, 5):
            with decimal.localcontext(prec=digits):
                assert np.array_equal(traced(BASE), BASE + float(decimal.Decimal(1) / 3))


# --------------------------------------------------------------------------- what changes between calls


def stages(call: Any, *changes: Any) -> None:
    """`call` with all its state as it is, then after each change: always the plain result."""
    with eager():
        for change in (lambda: None, *changes):
            change()
            for _ in range(2):
                with lima.disabled():
                    wanted = call()
                assert np.array_equal(call(), wanted), change


def test_a_changed_helper():
    scope: dict[str, Any] = {}
    f = compiled(
        """
        def inner(x): return x + K[0]
        def helper(x): return inner(x) * 2
        @lima.traced
        def f(x): return helper(x)
        """,
        K=[1.0],
    )
    scope = f.__wrapped__.__globals__
    stages(
        lambda: f(BASE),
        lambda: scope.update(inner=lambda x: x + 10),
        lambda: scope.update(helper=lambda x: x * 7),
        lambda: scope.update(helper=lima.traced(lambda x: x * 8)),
        lambda: scope.update(helper=functools.partial(np.multiply, 9)),
        lambda: scope.update(helper=functools.partial(np.multiply, 11)),
        lambda: scope.update(helper=np.negative),
        lambda: scope.update(helper=np.frompyfunc(lambda v: v + 1, 1, 1)),
        lambda: scope.update(helper=np.frompyfunc(lambda v: v + 2, 1, 1)),
        lambda: scope.update(helper=np.vectorize(lambda v: v + 3)),
        lambda: scope.update(helper=np.vectorize(lambda v: v + 4)),
        lambda: scope.update(helper=np.poly1d([1.0, 2.0])),
        lambda: scope.update(helper=np.poly1d([1.0, 3.0])),
        lambda: scope.update(helper=operator.itemgetter(0)),
        lambda: scope.update(helper=operator.itemgetter(1)),
        lambda: scope.update(helper=operator.methodcaller("sum")),
        lambda: scope.update(helper=operator.methodcaller("sum", axis=0)),
    )


def test_changed_data():
    f = compiled(
        """
        def helper(x, w={"a": 1.0}): return x * w["a"]
        @lima.traced
        def f(x): return helper(x) + A + L[0] + D["k"] + S
        """,
        A=np.zeros(4),
        L=[1.0],
        D={"k": 2.0, "j": 0.0},
        S=3,
    )
    scope = f.__wrapped__.__globals__
    stages(
        lambda: f(BASE),
        lambda: scope["A"].__setitem__(0, 5.0),
        lambda: scope.update(A=np.zeros(4)),
        lambda: scope["L"].__setitem__(0, 6.0),
        lambda: scope["L"].__setitem__(0, True),
        lambda: scope["D"].update(k=7.0),
        lambda: scope.update(S=3.0),
        lambda: scope.update(S=np.float32(3.5)),
        lambda: scope.update(S=-0.0),
        lambda: scope["helper"].__defaults__[0].update(a=9.0),
        lambda: setattr(scope["helper"], "__defaults__", ({"a": 10.0},)),
    )


def test_the_order_of_a_dict_counts():
    f = compiled(
        """
        @lima.traced
        def f(x): return np.array(list(D.values())) + 0
        """,
        D={"a": 1.0, "b": 2.0},
    )
    table = f.__wrapped__.__globals__["D"]
    stages(lambda: f(BASE), lambda: table.update(a=table.pop("a")))


def test_a_changed_function_body():
    f = compiled(
        """
        def helper(x): return x + 1
        @lima.traced
        def f(x): return helper(x)
        """
    )
    helper_ = f.__wrapped__.__globals__["helper"]

    def body(x):
        return x + 2

    stages(
        lambda: f(BASE),
        lambda: setattr(helper_, "__code__", body.__code__),
        lambda: setattr(f.__wrapped__, "__code__", (lambda x: x * 5).__code__),
    )


def test_changed_closures():
    weights, factor = [1.0], 2.0

    def set_factor(value):
        nonlocal factor
        factor = value

    @lima.traced
    def f(x):
        return x * factor + weights[0]

    stages(lambda: f(BASE), lambda: set_factor(3.0), lambda: weights.__setitem__(0, 5.0))


def test_an_own_closure_that_the_function_changes():
    calls = 0

    @lima.traced
    def f(x):
        nonlocal calls
        calls += 1
        return x + calls

    with eager():
        assert [f(BASE)[0, 0] - BASE[0, 0] for _ in range(3)] == pytest.approx([1, 2, 3])


def test_changed_classes():
    class Base:
        offset = 1.0

        def shift(self, x):
            return x + self.offset

    class Model(Base):
        scale = 2.0
        table: ClassVar[list[float]] = [0.0]

        def apply(self, x):
            return self.shift(x) * self.scale + self.table[0]

    model = Model()
    traced = lima.traced(lambda m, x: m.apply(x))
    stages(
        lambda: traced(model, BASE),
        lambda: setattr(Model, "scale", 3.0),
        lambda: setattr(Base, "offset", 4.0),
        lambda: Model.table.append(1.0) or Model.table.reverse(),
        lambda: setattr(Base, "shift", lambda self, x: x - 1),
        lambda: setattr(Model, "shift", lambda self, x: x - 2),
        lambda: setattr(Model, "apply", lambda self, x: x * 11),
        lambda: setattr(Model, "__getattribute__", object.__getattribute__),
        lambda: setattr(model, "apply", lambda x: x * 12),
    )


def test_changed_attributes_of_functions():
    f = compiled(
        """
        def helper(x): return x * helper.scale
        helper.scale = 2.0
        @lima.traced
        def f(x): return helper(x) + f.shift
        f.shift = 1.0
        """
    )
    scope = f.__wrapped__.__globals__
    f(BASE)  # from here on the module's helper is what lima put there
    stages(
        lambda: f(BASE),
        lambda: setattr(scope["helper"], "scale", 3.0),
        lambda: setattr(f, "shift", 4.0),
    )


def test_changed_decorators():
    def scaled(k):
        def decorate(function):
            @functools.wraps(function)
            def wrapper(x):
                return function(x) * k

            return wrapper

        return decorate

    def plain(x):
        return x + 1

    f = compiled(
        """
        @lima.traced
        def f(x): return helper(x)
        """,
        helper=scaled(2.0)(plain),
    )
    stages(lambda: f(BASE), lambda: f.__wrapped__.__globals__.update(helper=scaled(3.0)(plain)))
    one, two = (lima.traced(scaled(k)(plain)) for k in (2.0, 3.0))
    with eager():
        for _ in range(2):
            assert np.array_equal(one(BASE), (BASE + 1) * 2)
            assert np.array_equal(two(BASE), (BASE + 1) * 3)


def test_a_helper_in_another_module_that_is_edited(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "lima_test_other.py"
    path.write_text("import lima_test_third as t\ndef h(x):\n    return t.g(x) + 1\n")
    third = tmp_path / "lima_test_third.py"
    third.write_text("K = 2.0\ndef g(x):\n    return x * K\n")
    import lima_test_other
    import lima_test_third

    f = compiled(
        """
        @lima.traced
        def f(x): return other.h(x)
        """,
        other=lima_test_other,
    )

    def rewritten(file, text, module):
        file.write_text(text)
        exec(compile(text, str(file), "exec"), vars(module))

    stages(
        lambda: f(BASE),
        lambda: setattr(lima_test_third, "K", 3.0),
        lambda: rewritten(third, "K = 2.0\ndef g(x):\n    return x - K\n", lima_test_third),
        lambda: rewritten(
            path, "import lima_test_third as t\ndef h(x):\n    return t.g(x) * 5\n", lima_test_other
        ),
    )
    assert f.cache_info().hits > 0


def test_random_numbers_in_a_module_that_is_not_traced(tmp_path, monkeypatch):
    """Their generators cannot be seen, so calls that reach them are never reused."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "lima_test_draws.py").write_text(
        "import numpy as np\nfrom numpy import random\nfrom numpy.random import rand, default_rng\n"
        "def a(x): return x + np.random.rand()\n"
        "def b(x): return x + random.rand()\n"
        "def c(x): return x + rand()\n"
        "def d(x): return x + default_rng().random()\n"
        "def e(x):\n    import numpy.random as r\n    return x + r.rand()\n"
        "def f(x): return x + getattr(np, 'random').rand()\n"
        "def g(x):\n    m = np\n    return x + m.random.rand()\n"
    )
    import lima_test_draws as other

    for name in "abcdefg":
        traced = compiled("@lima.traced\ndef f(x): return h(x)", h=getattr(other, name))
        np.random.seed(1)
        wanted = [getattr(other, name)(BASE) for _ in range(3)]
        np.random.seed(1)
        with eager():
            found = [traced(BASE) for _ in range(3)]
        assert traced.cache_info().hits == 0, name
        if name != "d":
            assert np.array_equal(found, wanted), name
        assert not np.array_equal(found[0], found[1]), name


def test_arguments_that_are_functions():
    traced = lima.traced(lambda x, f: f(x))
    factor = [2.0]
    functions = [
        lambda x: x + 1,
        lambda x: x + 2,
        lambda x: x * factor[0],
        lambda x, k=3.0: x * k,
        lambda x, k=4.0: x * k,
        functools.partial(np.add, 5.0),
        functools.partial(np.add, 6.0),
        np.sin,
        np.cos,
        np.linalg.norm,
        operator.neg,
        Shape(BASE[0]).__eq__,
        list,
        np.poly1d([1, 2]),
        np.poly1d([1, 3]),
    ]
    with eager():
        for _ in range(2):
            for f in functions:
                with lima.disabled():
                    wanted = repr(traced(BASE, f))
                assert repr(traced(BASE, f)) == wanted
        factor[0] = 9.0
        assert np.array_equal(traced(BASE, functions[2]), BASE * 9.0)
    assert traced.cache_info().hits >= 6


def test_equal_lambdas_hit():
    traced = lima.traced(lambda x, f: f(x))
    with eager():
        for _ in range(3):
            traced(BASE, lambda x: x + 1)
    assert traced.cache_info().hits == 2


def test_effects_of_callbacks():
    seen: list[float] = []

    def program(x, callback):
        callback(float(x.sum()))
        return x + 1

    traced = lima.traced(program)
    with eager():
        for _ in range(3):
            traced(BASE, seen.append)
            traced(BASE, lambda v: seen.append(v))
            traced(BASE, functools.partial(list.append, seen))
    assert len(seen) == 9
    assert traced.cache_info().hits == 0


def test_methods_bound_to_objects():
    class Model:
        def __init__(self, k):
            self.k = k

        def scale(self, x):
            return x * self.k

    one, two = Model(2.0), Model(3.0)
    traced = lima.traced(lambda x, f: f(x))
    with eager():
        for _ in range(2):
            assert np.array_equal(traced(BASE, one.scale), BASE * 2)
            assert np.array_equal(traced(BASE, two.scale), BASE * 3)
        two.k = 2.0
        assert np.array_equal(traced(BASE, two.scale), BASE * 2)
    assert traced.cache_info().hits == 3


def test_callable_objects():
    class Poly:
        def __init__(self, *k):
            self.k = k

        def __call__(self, x):
            return sum(k * x**n for n, k in enumerate(self.k))

    traced = lima.traced(lambda x, f: f(x))
    with eager():
        for _ in range(2):
            for f in (Poly(1.0, 2.0), Poly(1.0, 3.0)):
                assert np.array_equal(traced(BASE, f), f(BASE))
    assert traced.cache_info().hits == 2


# --------------------------------------------------------------------------- options


def test_version_forgets():
    calls = []

    def make(version):
        @lima.traced(version=version)
        def f(x):
            return x * 2

        calls.append(f)
        return f

    with eager():
        make("1")(BASE)
        make("1")(BASE)
        make("2")(BASE)
        make(None)(BASE)
    assert [f.cache_info().hits for f in calls] == [0, 1, 0, 0]


def test_ignored_parameters():
    @lima.traced(ignore=("verbose", "work"))
    def f(x, verbose=False, work=None):
        if work is not None:
            work[0] = x.sum()
        return x * 2

    with eager():
        for verbose in (False, True, object()):
            assert np.array_equal(f(BASE, verbose=verbose), BASE * 2)
        assert f.cache_info().hits == 2
        for _ in range(3):  # an effect on an ignored argument is still an effect
            work = np.zeros(2)
            f(BASE + 1, work=work)
            assert work[0] == (BASE + 1).sum()
        assert f.cache_info().hits == 2


def test_an_ignored_argument_that_is_returned():
    @lima.traced(ignore="extra")
    def f(x, extra):
        return x + 1, extra

    with eager():
        for k in range(3):
            extra = np.full(2, float(k))
            assert f(BASE, extra)[1] is extra


@pytest.mark.parametrize(
    ("reuse", "operations", "calls"),
    [("none", 0, 0), ("operation", 2, 0), ("full", 0, 2), ("hybrid", 0, 2), (None, 0, 2)],
)
def test_reuse_of_one_function(reuse, operations, calls, monkeypatch):
    monkeypatch.setattr("lima.runtime.MIN_EFFORT", -1)
    traced = lima.traced(reuse=reuse)(lambda x: x.T @ x)
    with eager() as session:
        for _ in range(3):
            assert np.array_equal(traced(BASE), BASE.T @ BASE)
        assert (session.stats.hits, session.stats.function_hits) == (operations, calls)


# --------------------------------------------------------------------------- what enters a digest

SAME = """
def f(x, k=1):
    y = x + k
    return [y * 2, "text"]
"""


@pytest.mark.parametrize(
    "source",
    [
        SAME,
        "\n\n\n" + SAME,
        "# a comment\n" + SAME.replace("y = x + k", "y = x + k  # plus"),
        SAME.replace("y = x + k", '"""A docstring."""\n    y = x + k'),
        SAME.replace("y = x + k", "\n\n    y = (x  +  k)"),
        SAME.replace("def f(x, k=1):", "def f(x: int, k: 'other' = 1) -> list:"),
    ],
)
def test_what_does_not_change_a_digest(source):
    assert digest(source) == digest(SAME)


def test_a_name_does_not_change_a_digest():
    assert digest(SAME.replace("def f", "def g"), "g") == digest(SAME)


DIFFERENT = [
    SAME,
    SAME.replace("x + k", "x - k"),
    SAME.replace("x + k", "k + x"),
    SAME.replace("* 2", "* 3"),
    SAME.replace("* 2", "* 2.0"),
    SAME.replace("* 2", "* True"),
    SAME.replace("* 2", "* -0.0"),
    SAME.replace("* 2", "* 0.0"),
    SAME.replace("* 2", "* 2j"),
    SAME.replace('"text"', '"Text"'),
    SAME.replace('"text"', 'b"text"'),
    SAME.replace('"text"', '("text",)'),
    SAME.replace("[y", "(y").replace("]", ")"),
    SAME.replace("x, k=1", "x, /, k=1"),
    SAME.replace("x, k=1", "x, *, k=1"),
    SAME.replace("x, k=1", "k, x=1"),
    SAME.replace("x + k", "x.real + k"),
    SAME.replace("x + k", "x.imag + k"),
    SAME.replace("x + k", "abs(x) + k"),
    SAME.replace("x + k", "np.abs(x) + k"),
    SAME.replace("x + k", "np.sin(x) + k"),
    SAME.replace("x + k", "np.linalg.norm(x) + k"),
    SAME.replace("x + k", "np.sum(x, axis=0) + k"),
    SAME.replace("x + k", "np.sum(x, axis=1) + k"),
    SAME.replace("x + k", "np.sum(x, dtype=0) + k"),
    SAME.replace("x + k", "(lambda z: z + 1)(x) + k"),
    SAME.replace("x + k", "(lambda z: z + 2)(x) + k"),
    SAME.replace("x + k", "[v for v in x] + k"),
    SAME.replace("x + k", "{v for v in x} + k"),
    SAME.replace("x + k", "x in {1, 2}"),
    SAME.replace("x + k", "x in {1, 3}"),
    "def f(x, k=1):\n    try:\n        g = x.a\n        h = x.b\n    except ValueError:\n        g = h = 1\n    return g, h\n",
    "def f(x, k=1):\n    try:\n        g = x.a\n    except ValueError:\n        g = h = 1\n    h = x.b\n    return g, h\n",
    "def f(x, k=1):\n    try:\n        g = x.a\n        h = x.b\n    except TypeError:\n        g = h = 1\n    return g, h\n",
    "def f(x, k=1):\n    class C:\n        a = 1\n    return C\n",
    "def f(x, k=1):\n    class C:\n        a = 2\n    return C\n",
]


def test_what_changes_a_digest():
    assert len({digest(source) for source in DIFFERENT}) == len(DIFFERENT)


def test_code_is_a_function_of_the_source_alone():
    """The same source in another process: the same digest, whatever the hash seed."""
    program = "import test_code as t; print([t.digest(s).hex() for s in t.DIFFERENT])"
    found = [
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=120,
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
        )
        for seed in ("1", "2")
    ]
    assert found[0].stdout == found[1].stdout == f"{[digest(s).hex() for s in DIFFERENT]}\n", found


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def f(x): return open(x)", "the builtin open"),
        ("def f(x): return undefined(x)", "'undefined' is not defined"),
        ("def f(x): import os; return os", "it imports os"),
        ("def f(x): from . import a; return a", "it imports"),
        ("def f(x): from .math import a; return a", "it imports"),
        ("def f(x): import numpy; return numpy", "it imports numpy"),
        ("def f(x): import numpy.random as r; return r", "it imports numpy.random"),
        ("def f(x):\n    global y\n    y = 1", "it assigns the global 'y'"),
        ("def f(x):\n    global np\n    del np", "it assigns the global 'np'"),
        ("def f(x): return np.load(x)", "load"),
        ("def f(x): return np.testing.suppress_warnings", None),
        ("def f(x): return np.lib.format.read_array(x)", "read_array"),
        ("def f(x): return np.ctypeslib.as_array(x)", "ctypeslib"),
        ("def f(x): m = np; return m.save(x)", "in a way that cannot be followed"),
        ("def f(x): return x.tofile('a')", "it mentions tofile"),
        ("def f(x): return x.dump('a')", "it mentions dump"),
        ("def f(x): return getattr(x, 'tofile')('a')", "it mentions tofile"),
        ("def f(x): return lima.session()", "depends on the session"),
        ("def f(x): np.extra = 1", "an assignment"),
        ("def f(x): return [print(v) for v in x]", "the builtin print"),
        ("def f(x): return (lambda: print(x))()", "the builtin print"),
        ("def f(x):\n    class C:\n        print(x)", "the builtin print"),
        (
            "def f(x):\n    def g():\n        global h\n        h = 1\n    g()",
            "it assigns the global",
        ),
    ],
)
def test_refusals(source, why):
    if why is None:
        digest(source)
        return
    with pytest.raises(NotReusable, match=why):
        digest(source)


def test_a_module_of_the_user_with_the_name_of_a_listed_one(tmp_path):
    """`statistics.py` beside the script is not Python's."""
    (tmp_path / "statistics.py").write_text("def mean(x):\n    print('mine')\n    return x\n")
    (tmp_path / "main.py").write_text(
        "import lima, numpy as np, statistics\n"
        "@lima.traced\n"
        "def f(x): return statistics.mean(x)\n"
        "with lima.session() as s:\n"
        "    s.call_seconds = s.cache.worth = -1.0\n"
        "    for _ in range(3): f(np.ones(2))\n"
    )
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[1:])},
    )
    assert done.stdout == "mine\n" * 3, done.stderr


def test_objects_that_break_when_looked_at_make_a_call_not_reusable():
    class Broken:
        def __getattr__(self, name):
            raise ZeroDivisionError(name)

        @property
        def __module__(self):
            raise ZeroDivisionError

        def __hash__(self):
            raise ZeroDivisionError

    f = compiled("@lima.traced\ndef f(x): return (broken, x + 1)[1]", broken=Broken())
    with eager():
        for _ in range(2):
            assert np.array_equal(f(BASE), BASE + 1)


def test_code_that_is_nested_deeply():
    scope: dict[str, Any] = {"f0": lambda x: x + 1}
    for k in range(600):
        scope[f"f{k + 1}"] = eval(f"lambda x: f{k}(x)", scope)
    traced = lima.traced(scope["f100"])
    deep = lima.traced(lambda x, f: x + 1)
    with eager():
        for _ in range(2):
            assert np.array_equal(traced(BASE), BASE + 1)
            assert np.array_equal(deep(BASE, scope["f600"]), BASE + 1)


def test_code_objects_are_read_once():
    f = compiled(SAME)
    assert code_of(f) is code_of(f)
    assert code_of(f).digest() == digest(SAME)


def test_parameters_bind_as_python_does():
    def f(a, b=2, /, c=3, *rest, d, e=5, **more):
        return None

    parameters = Parameters(f)
    assert parameters.names == ["a", "b", "c", "rest", "d", "e", "more"]
    assert parameters.bind((1,), {"d": 4}) == {
        "a": 1, "b": 2, "c": 3, "rest": (), "d": 4, "e": 5, "more": {},
    }  # fmt: skip
    assert parameters.bind((1, 2, 3, 4), {"d": 5, "a": 6})["more"] == {"a": 6}
    for args, kwargs in [((), {"d": 1}), ((1,), {}), ((1, 2, 3), {"c": 4, "d": 1})]:
        assert parameters.bind(args, kwargs) is None
        with pytest.raises(TypeError):
            f(*args, **kwargs)


@pytest.mark.parametrize("module", [argparse, dataclasses, inspect, ast, np.ma.core, np.polynomial])
def test_instructions_are_those_of_dis(module):
    """Names and constants decide what a function reaches; all else of them counts as it is."""
    found = [compile(inspect.getsource(module), "", "exec")]
    while found:
        code = found.pop()
        found += [x for x in code.co_consts if isinstance(x, types.CodeType)]
        theirs = [s for s in dis.get_instructions(code) if s.opname != "EXTENDED_ARG"]
        mine = bytecode.steps_of(code)
        assert [s[:3] for s in mine] == [(s.opname, s.opcode, s.arg) for s in theirs]
        for step, other in zip(mine, theirs, strict=True):
            if step.opcode in dis.hasname or step.opcode in dis.haslocal + dis.hasfree:
                assert step.argval == other.argval
            elif step.opcode in dis.hasconst:  # `dis` does not always tell
                assert step.argval is code.co_consts[step.arg]
                assert step.opname == "KW_NAMES" or step.argval is other.argval
            else:
                assert step.argval == step.arg


def test_instructions_of_an_unknown_python_come_from_dis(monkeypatch):
    known = bytecode.steps_of(dataclasses.dataclass.__code__)
    monkeypatch.setattr(bytecode, "READ", frozenset())
    other = bytecode.steps_of(dataclasses.dataclass.__code__)
    assert [s[:3] for s in known] == [s[:3] for s in other]
