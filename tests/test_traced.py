"""Traced calls are plain calls: results, arguments, aliasing, flags, identity; cold and warm."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import itertools
import pickle
import types
import typing
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from typing import Any, NamedTuple

import numpy as np
import pytest
from eager import check, eager, picture
from hypothesis import given
from hypothesis import strategies as st
from same import same

import lima
from lima import function, kept

RNG = np.random.default_rng(8)
BASE = RNG.standard_normal((6, 4))


def matrix() -> np.ndarray:
    return BASE.copy()


# --------------------------------------------------------------------------- arrays in and out


def returns_argument(x):
    return x


def returns_twice(x):
    y = x * 2
    return y, y


def returns_view_of_argument(x):
    return x[1:, ::2], x.T


def returns_view_of_result(x):
    y = x + 1
    return y[1:], y.T, y


def writes_argument(x):
    x[0] = 5
    x *= 2


def writes_and_returns_argument(x):
    x -= x.mean(axis=0)
    return x


def writes_through_view(x):
    row = x[1]
    row += 10
    return row


def reads_before_writing(x):
    before = x * 2
    x[...] = 0
    return before


def keeps_a_view_while_writing(x):
    view = x[2:]
    x += 1
    return view.sum(), view


def writes_a_copy(x):
    y = x.copy()
    y[0] = 1
    return y


def out_of_argument(x):
    return np.multiply(x, 3, out=x)


def scalar(x):
    return x.sum(), x[0, 0], float(x.max()), x.shape, len(x)


def zero_dimensional(x):
    return np.array(x.sum()), np.asarray(2.5)


def other_dtypes(x):
    return x.astype(np.float32), x > 0, x.argmax(axis=1), x.astype(complex), x.astype("M8[s]")


def other_orders(x):
    return np.asfortranarray(x), x[::-1], np.broadcast_to(x[0], (3, 4)), x.T.copy(), x.T + 0.0


def empty(x):
    return x[:0], np.zeros((0, 3)), x[:, 4:] @ np.ones((0, 2))


def sorts_in_place(x):
    x.sort(axis=0)
    np.fill_diagonal(x, 0)


def sets_shape(x):
    x.shape = (4, 6)


def locks_argument(x):
    x.setflags(write=False)
    return x * 2


def structure(x):
    return {"a": [x + 1, (x, x.T)], "b": ({"c": x.sum()}, None, "text", 3)}


ARRAYS = [
    (returns_argument, 2),
    (returns_twice, 2),
    (returns_view_of_argument, 2),
    (returns_view_of_result, 2),
    (writes_argument, 2),
    (writes_and_returns_argument, 2),
    (writes_through_view, 2),
    (reads_before_writing, 2),
    (keeps_a_view_while_writing, 2),
    (writes_a_copy, 2),
    (out_of_argument, 2),
    (scalar, 2),
    (zero_dimensional, 2),
    (other_dtypes, 2),
    (other_orders, 2),
    (empty, 2),
    (sorts_in_place, 2),
    (sets_shape, 0),
    (locks_argument, 0),
    (structure, 2),
]


@pytest.mark.parametrize("reuse", ["hybrid", "operation", "none"])
@pytest.mark.parametrize(("program", "hits"), ARRAYS, ids=lambda x: getattr(x, "__name__", ""))
def test_arrays(program, hits, reuse):
    check(program, lambda: (matrix(),), hits=hits if reuse == "hybrid" else 0, reuse=reuse)


@pytest.mark.parametrize(("program", "hits"), ARRAYS, ids=lambda x: getattr(x, "__name__", ""))
def test_read_only_arguments(program, hits):
    def make():
        x = matrix()
        x.setflags(write=False)
        return (x,)

    check(program, make, hits=None)


LAYOUTS = {
    "fortran": lambda: np.asfortranarray(BASE),
    "reversed": lambda: matrix()[::-1, ::-1],
    "stepped": lambda: np.repeat(BASE, 2, axis=0)[::2],
    "window": lambda: np.pad(BASE, 2)[2:-2, 2:-2],
    "float32": lambda: BASE.astype(np.float32),
    "swapped": lambda: BASE.astype(">f8"),
    "integers": lambda: (BASE * 10).astype(np.int64),
    "buffer": lambda: np.frombuffer(bytearray(BASE.tobytes())).reshape(6, 4),
    "one column": lambda: matrix()[:, :1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "program",
    [writes_argument, returns_view_of_argument, structure, reads_before_writing, writes_a_copy],
)
def test_other_layouts(program, layout):
    check(program, lambda: (LAYOUTS[layout](),), hits=None)


def test_memory_mapped_arguments(tmp_path):
    def make():
        mapped = np.memmap(tmp_path / "x.bin", dtype=float, mode="w+", shape=(6, 4))
        mapped[...] = BASE
        return mapped

    plain, traced = make(), lima.traced(writes_argument)
    writes_argument(plain)
    wanted = np.array(plain)
    with eager():
        for _ in range(2):
            x = make()
            traced(x)
            assert np.array_equal(x, wanted)
            x.flush()
            again = np.memmap(tmp_path / "x.bin", dtype=float, mode="r", shape=(6, 4))
            assert np.array_equal(again, wanted)
    assert traced.cache_info().hits == 1


# -------------------------------------------------------------- arguments in common memory


def writes_first_reads_second(a, b):
    a[0] = 7
    return b.sum()


def writes_second_reads_first(a, b):
    b += 1
    return a * 1, b.shape


def reads_both(a, b):
    return a.sum() + b.sum()


def writes_both(a, b):
    a *= 2
    b += 1
    a[0] = b.sum()


def product_of_both(a, b):
    return a.T @ b


OVERLAPS = {
    "one": lambda x: (x, x),
    "equal": lambda x: (x, x.copy()),
    "rows": lambda x: (x, x[:2]),
    "rows apart": lambda x: (x[:3], x[3:]),
    "overlapping windows": lambda x: (x[:4], x[2:]),
    "columns": lambda x: (x[:, ::2], x[:, 1::2]),
    "transposed": lambda x: (x, x.T.reshape(6, 4, order="A") if x.size == 0 else x[::-1]),
    "flat": lambda x: (x, x.reshape(-1)[:4]),
    "nested": lambda x: (x[1:], x[1:][1:]),
}


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize(
    "program",
    [
        writes_first_reads_second,
        writes_second_reads_first,
        reads_both,
        writes_both,
        product_of_both,
    ],
)
def test_arguments_in_common_memory(program, overlap):
    check(program, lambda: OVERLAPS[overlap](RNG.standard_normal((6, 6)) * 0 + 1.5), hits=None)


@pytest.mark.parametrize("program", [writes_first_reads_second, writes_both])
def test_one_call_never_stands_for_another_aliasing(program):
    """Arguments with equal content, in all kinds of common memory, in one session."""
    traced = lima.traced(program)
    cases = [f for name, f in OVERLAPS.items() if name not in ("transposed",)]
    with eager():
        for make in [*cases, *reversed(cases)]:
            wanted, got = make(np.ones((6, 6))), make(np.ones((6, 6)))
            assert picture(traced(*got), got) == picture(program(*wanted), wanted)


@given(data=st.data())
def test_any_two_windows_of_one_array(data):
    index = st.tuples(*[st.slices(5)] * 2)
    one, two = data.draw(index), data.draw(index)
    change = data.draw(st.sampled_from(["first", "second", "both", "none"]))

    def program(a, b):
        if change in ("first", "both"):
            a *= 2
        total = b.sum()
        if change in ("second", "both"):
            b -= 1
        return total, a + 0, b

    check(program, lambda: (lambda x: (x[one], x[two]))(np.arange(25.0).reshape(5, 5)), hits=None)


SHARED = np.arange(6.0)


@lima.traced
def reaches_argument_as_global(x, how):
    if how == "parameter":
        x += 1
        return SHARED.sum()
    if how == "global":
        SHARED[0] = 50
        return x.sum(), x * 2
    return x.sum() + SHARED.sum()


@pytest.mark.parametrize("how", ["parameter", "global", "none"])
def test_an_argument_that_is_a_global_too(how):
    def make():
        SHARED[...] = np.arange(6.0)
        return (SHARED, how)

    check(reaches_argument_as_global, make, hits=None)


def test_an_argument_that_a_callback_reaches_too():
    def program(x, change, look):
        x[0] = 3
        seen = look()
        change()
        return seen, x.sum(), (x * 2)[1]

    def make():
        x = np.arange(5.0)

        def change():
            x[1] = 40

        return x, change, lambda: float(x.sum())

    plain, traced = program(*make()), lima.traced(program)
    with eager():
        for _ in range(3):
            assert traced(*make()) == plain


# --------------------------------------------------------------------------- containers and objects

Point = namedtuple("Point", "x y")


class Fit(NamedTuple):
    coef: Any
    steps: int = 0


@dataclasses.dataclass
class Model:
    weights: Any
    names: list[str] = dataclasses.field(default_factory=list)

    def score(self, x):
        return x @ self.weights


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    weights: Any
    scale: float = 1.0


class Slotted:
    __slots__ = ("__hidden", "open")

    def __init__(self, hidden, open_):
        self.__hidden = hidden
        self.open = open_

    def total(self):
        return self.__hidden.sum() + self.open


class Child(Slotted):
    def __init__(self, hidden, open_, more):
        super().__init__(hidden, open_)
        self.more = more


class Bag(list):
    pass


class Table(dict):
    pass


class Color(enum.Enum):
    RED = 1
    BLUE = 2


def sums(x):
    """The sum of every array inside, whatever holds it."""
    if isinstance(x, np.ndarray):
        return x.sum()
    if isinstance(x, dict):
        return {k: sums(v) for k, v in x.items()}
    if isinstance(x, (list, tuple, deque)):
        return [sums(v) for v in x]
    if isinstance(x, (Slotted, types.SimpleNamespace, Model, Frozen)):
        held = [getattr(x, n, None) for n in ("weights", "open", "more", "a", "scale")]
        return [sums(v) for v in held]
    return x


CONTAINERS = {
    "list": lambda: [matrix(), 2, [matrix()]],
    "tuple": lambda: (matrix(), (matrix(), "x")),
    "dict": lambda: {"a": matrix(), 1: {"b": matrix()}, (1, 2): None},
    "namedtuple": lambda: Point(matrix(), 2.0),
    "typed namedtuple": lambda: Fit(matrix(), 3),
    "dataclass": lambda: Model(matrix(), ["a"]),
    "frozen dataclass": lambda: Frozen(matrix(), 2.0),
    "slots": lambda: Slotted(matrix(), matrix()),
    "slots and attributes": lambda: Child(matrix(), 1, matrix()),
    "namespace": lambda: types.SimpleNamespace(a=matrix(), b=[matrix()]),
    "ordered": lambda: OrderedDict(b=matrix(), a=1),
    "deque": lambda: deque([matrix(), 2], maxlen=4),
    "counter": lambda: Counter("abca"),
    "own list": lambda: Bag([matrix(), 1]),
    "own dict": lambda: Table(a=matrix()),
    "enum": lambda: Color.BLUE,
    "range": lambda: range(3),
    "slice": lambda: slice(1, 3),
    "dtype": lambda: np.dtype("f4"),
    "type": lambda: np.float32,
    "set": lambda: {1, 2},
    "frozenset": lambda: frozenset({"a"}),
    "bytes": lambda: b"abc",
    "none": lambda: None,
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers_in(kind):
    check(sums_of, lambda: (CONTAINERS[kind](),), hits=2)


def sums_of(x):
    return sums(x)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers_in_and_out(kind):
    check(lambda x, y: (y * 2, x), lambda: (CONTAINERS[kind](), matrix()), hits=2)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_equal_containers_hit_and_others_do_not(kind):
    traced = lima.traced(lambda x, y: [x, y + 1])
    x, others = CONTAINERS[kind](), [f() for name, f in CONTAINERS.items() if name != kind]
    with eager():
        traced(x, matrix())
        for other in others:
            before = traced.cache_info().hits
            got = traced(other, matrix())
            assert got[0] is other
            assert traced.cache_info().hits == before


def makes_containers(x):
    y = x + 1
    inner = [y, y.T]
    return {
        "list": inner,
        "same": inner,
        "point": Point(y, x),
        "fit": Fit(y.sum(), 1),
        "model": Model(y, ["a", "b"]),
        "frozen": Frozen(y[0]),
        "slots": Slotted(y, 2),
        "child": Child(y, 2, [y]),
        "namespace": types.SimpleNamespace(a=y),
        "ordered": OrderedDict(a=y),
        "bag": Bag([y]),
        "table": Table(a=y),
        "color": Color.RED.value,
        "set": {1, 2},
    }


def test_containers_out():
    check(makes_containers, lambda: (matrix(),))


def cyclic_result(x):
    loop: list[Any] = [x * 2]
    loop.append(loop)
    loop.append({"up": loop, "pair": (loop, x)})
    return loop


def cyclic_object(x):
    model = Model(x + 1)
    model.names = [model]
    return model


@pytest.mark.parametrize("program", [cyclic_result, cyclic_object])
def test_cycles_out(program):
    check(program, lambda: (matrix(),))


def cyclic_argument():
    loop: list[Any] = [matrix(), None]
    pair = (matrix(), loop)
    loop[1] = pair
    loop.append({"loop": loop, "pair": pair})
    return loop


@pytest.mark.parametrize(
    "program",
    [
        lambda x: x[0].sum() + x[1][0].sum(),
        lambda x: x[2]["pair"][1][1][0] * 2,
        lambda x: x.append(x[1][0].T),
        lambda x: x[0].fill(3),
    ],
)
def test_cycles_in(program):
    check(program, lambda: (cyclic_argument(),))


def test_a_chain_of_objects_longer_than_the_stack():
    def program(chain):
        return chain.weights * 2, chain

    def make():
        chain = None
        for _ in range(5000):
            chain = types.SimpleNamespace(next=chain, weights=matrix())
        return chain

    traced = lima.traced(program)
    chain = make()
    with eager():
        for _ in range(2):
            got, same = traced(chain)
            assert same is chain
            assert np.array_equal(got, BASE * 2)
            assert type(chain.next.next.weights) is np.ndarray
    assert traced.cache_info().hits == 1


def test_tuples_nested_deeper_than_the_stack():
    deep: Any = (matrix(),)
    for _ in range(100_000):
        deep = (deep,)
    traced = lima.traced(lambda t, x: x + 1)
    with eager():
        assert np.array_equal(traced(deep, matrix()), BASE + 1)
    while isinstance(deep, tuple):  # freeing it at once would overflow some stacks too
        deep = deep[0]


# --------------------------------------------------------------------------- effects on containers


def appends(items, x):
    items.append(x * 2)
    items.append(items[0])
    return items


def replaces(items, x):
    items[0] = 5
    del items[1]


def fills(table, x):
    table["sum"] = x.sum()
    table["twice"] = table.pop("a") * 2
    return table["twice"]


def fits(model, x):
    model.weights = x.sum(axis=0)
    model.names.append("fitted")
    model.new = {"x": x}
    return model


def slots_change(slotted, x):
    slotted.open = x + slotted.open
    return slotted.total()


def forgets(model, x):
    del model.weights
    return x + 1


def writes_inside(model, x):
    model.weights += x
    model.weights[0] = -1


def writes_in_frozen(model, x):
    model.weights[0] = -x[1]


def grows(queue, x):
    queue.appendleft(x + 1)
    queue.rotate(1)


def adds(members, x):
    members.add(int(x.shape[0]))


EFFECTS = [
    (appends, lambda: ([matrix(), 1], matrix())),
    (replaces, lambda: ([1, 2, matrix()], matrix())),
    (fills, lambda: ({"a": matrix(), "b": 1}, matrix())),
    (fills, lambda: (OrderedDict(a=matrix(), b=1), matrix())),
    (fills, lambda: (Table(a=matrix(), b=1), matrix())),
    (fits, lambda: (Model(matrix(), ["new"]), matrix())),
    (slots_change, lambda: (Slotted(matrix(), matrix()), matrix())),
    (slots_change, lambda: (Child(matrix(), matrix(), 3), matrix())),
    (forgets, lambda: (Model(matrix()), matrix())),
    (writes_inside, lambda: (Model(matrix()), matrix())),
    (writes_in_frozen, lambda: (Frozen(matrix()), matrix())),
    (grows, lambda: (deque([matrix(), 1]), matrix())),
    (adds, lambda: ({1, 2}, matrix())),
]


@pytest.mark.parametrize(("program", "make"), EFFECTS)
def test_effects_on_containers_are_repeated_by_a_hit(program, make):
    check(program, make)


def test_an_array_that_stands_in_several_places():
    def program(one, model, x):
        x[0] = 9
        return one["a"].sum(), model.weights.sum()

    def make():
        x = matrix()
        return {"a": x, "b": [x]}, Model(x), x

    check(program, make)


@given(
    st.recursive(
        st.one_of(
            st.integers(0, 3),
            st.sampled_from([0.0, -0.0, 1.0, float("nan"), True, None, "a"]),
            st.builds(lambda: np.arange(3.0)),
            st.builds(lambda: np.ones((2, 0))),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.builds(Point, inner, inner),
            st.builds(Model, inner),
            st.builds(Frozen, inner),
        ),
        max_leaves=6,
    ),
    st.data(),
)
def test_any_structure(x, data):
    """Every structure goes in, is changed inside, comes out, is recognised."""
    blank = pickle.dumps(x)
    reuse = data.draw(st.sampled_from(["hybrid", "operation"]))
    check(touch, lambda: (pickle.loads(blank),), hits=2 if reuse == "hybrid" else 0, reuse=reuse)


def touch(x):
    """Changes what can be changed, somewhere inside."""
    if isinstance(x, np.ndarray):
        x *= 2
    elif isinstance(x, list):
        x.append([touch(v) for v in x])
    elif isinstance(x, dict):
        x["new"] = [touch(v) for v in x.values()]
    elif isinstance(x, tuple):
        return [touch(v) for v in x], x
    elif isinstance(x, Model):
        x.names.append("touched")
        x.weights = [x.weights, touch(x.weights)]
    return x


# --------------------------------------------------------------------------- exceptions


class OwnError(Exception):
    pass


def fails_after_writing(x, items, model):
    x += 1
    items.append(x.sum())
    model.weights = x * 2
    raise OwnError(f"{x.sum():.1f}")


def fails_in_numpy(x, items, model):
    x[0] = 4
    return x @ x


def fails_in_assignment(x, items, model):
    x[0] = 4
    x[:, 0] = [1, 2]


def fails_with_bad_index(x, items, model):
    items.append(1)
    return x[100]


@pytest.mark.parametrize(
    "program", [fails_after_writing, fails_in_numpy, fails_in_assignment, fails_with_bad_index]
)
def test_what_was_done_before_an_exception_stays_done(program):
    check(program, lambda: (matrix(), [], Model(matrix())), hits=0)


def test_an_exception_leaves_no_trace_in_the_thread():
    traced = lima.traced(fails_after_writing)
    with pytest.raises(OwnError) as info:
        traced(matrix(), [], Model(1))
    assert info.value.__cause__ is None and info.value.__context__ is None
    assert type(np.zeros(3)) is np.ndarray
    assert lima.frame.active() is None


def test_an_exception_after_a_caught_one():
    @lima.traced
    def program(x):
        try:
            x[50]
        except IndexError:
            x[0] = 1
        return x.sum()

    check(program, lambda: (matrix(),))


# --------------------------------------------------------------------------- traced arrays in


def test_traced_arrays_in_traced_arrays_out():
    @lima.traced
    def program(x, y, items):
        y += 1
        return x + y, [x], y, items[0].T, 3

    y, item = matrix(), matrix()
    x = lima.array(BASE, name="X")
    with eager():
        for k in range(3):
            total, (same,), z, view, number = program(x, y, [item])
            assert type(total) is lima.Array and same is x and z is y and number == 3
            assert type(view) is np.ndarray and view.base is item
            assert np.allclose(total, BASE * 2 + k + 1)
            assert np.allclose(y, BASE + k + 1)


def test_traced_arrays_are_written_in_place():
    @lima.traced
    def program(x):
        x[0] = 1
        return x

    with eager():
        for _ in range(2):
            x = lima.array(BASE).copy()
            assert program(x) is x
            assert np.array_equal(x[0], np.ones(4)) and np.array_equal(x[1:], BASE[1:])
    assert program.cache_info().hits == 1


def test_nested_calls_pass_traced_arrays():
    kinds = []

    @lima.traced
    def inner(x):
        kinds.append(type(x))
        return x * 2

    @lima.traced
    def outer(x):
        y = inner(x)
        kinds.append(type(y))
        return inner(y)

    assert type(outer(matrix())) is np.ndarray
    assert set(kinds) == {lima.Array}


# --------------------------------------------------------------------------- nesting and recursion


def test_nested_calls_hit_inside_of_a_call_that_misses():
    @lima.traced
    def gram(x):
        return x.T @ x

    @lima.traced
    def shifted(x, by):
        g = gram(x)
        g += by
        return g, gram(x)

    with eager():
        for by in (1.0, 2.0, 3.0):
            one, two = shifted(matrix(), by)
            assert np.array_equal(two, BASE.T @ BASE)
            assert np.array_equal(one, BASE.T @ BASE + by)
    assert gram.cache_info().hits == 5
    assert shifted.cache_info().hits == 0


def test_effects_of_nested_calls():
    @lima.traced
    def inner(x, items):
        x += 1
        items.append(x[0])
        return x[1:]

    @lima.traced
    def outer(x, items):
        a = inner(x, items)
        a *= 2
        b = inner(x, items)
        return a, b, x

    check(outer, lambda: (matrix(), []))
    assert outer.cache_info().hits == 2


def test_recursion():
    @lima.traced
    def power(x, n):
        return x if n == 0 else x @ power(x, n - 1)

    with eager():
        for n in (3, 3, 8):
            wanted = matrix()[:4]
            for _ in range(n):
                wanted = BASE[:4] @ wanted
            assert np.array_equal(power(BASE[:4].copy(), n), wanted)


def test_recursion_into_the_same_call_ends_as_in_python():
    @lima.traced
    def forever(x):
        return forever(x)

    with eager(), pytest.raises(RecursionError):
        forever(matrix())


# --------------------------------------------------------------------------- what can be decorated


class Estimator:
    scale = 2.0

    def __init__(self, weights):
        self.weights = weights

    @lima.traced
    def apply(self, x):
        return x * self.weights * self.scale

    @lima.traced
    def fit(self, x):
        self.weights = x.mean(axis=0)
        return self

    @staticmethod
    @lima.traced
    def twice(x):
        return x * 2

    @lima.traced
    @staticmethod
    def thrice(x):
        return x * 3

    @classmethod
    @lima.traced
    def scaled(cls, x):
        return x * cls.scale

    @lima.traced
    @classmethod
    def scaled_again(cls, x):
        return x * cls.scale + 1

    @property
    @lima.traced
    def norm(self):
        return np.sqrt((self.weights**2).sum())

    @lima.traced
    def __call__(self, x):
        return self.apply(x) + 1


def test_methods():
    with eager():
        for _ in range(2):
            model = Estimator(BASE[0].copy())
            assert np.array_equal(model.apply(BASE), BASE * BASE[0] * 2.0)
            assert np.array_equal(model.twice(BASE), BASE * 2)
            assert np.array_equal(model.thrice(BASE), BASE * 3)
            assert np.array_equal(Estimator.scaled(BASE), BASE * 2.0)
            assert np.array_equal(Estimator.scaled_again(BASE), BASE * 2.0 + 1)
            assert model.norm == np.sqrt((BASE[0] ** 2).sum())
            assert np.array_equal(model(BASE), BASE * BASE[0] * 2.0 + 1)
            assert model.fit(BASE) is model
            assert np.array_equal(model.weights, BASE.mean(axis=0))
            assert type(model.weights) is np.ndarray
    assert Estimator.apply.cache_info().hits >= 1
    assert Estimator.fit.cache_info().hits == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda f: f(1.0, 2.0),
        lambda f: f(1.0, b=2.0),
        lambda f: f(b=2.0, a=1.0),
        lambda f: f(1.0, 2.0, 3.0, 4.0, key=5.0, more=6.0),
        lambda f: f(*[1.0, 2.0], key=9.0, z=1.0, y=2.0),
        lambda f: f(1.0),
        lambda f: f(),
        lambda f: f(1.0, 2.0, a=3.0),
        lambda f: f(2.0, 1.0, nothing=3),
    ],
)
def test_every_way_to_pass_arguments(call):
    def program(a, b=10.0, *rest, key=20.0, **more):
        return [np.ones(2) * a + b * key, rest, more]

    traced = lima.traced(program)

    def tried(f):
        try:
            return picture(call(f))
        except TypeError as error:
            return str(error)

    wanted = tried(program)
    with eager():
        assert [tried(traced) for _ in range(2)] == [wanted] * 2


def test_positional_only_names_may_be_keywords_too():
    traced = lima.traced(lambda a, /, b=1.0, **more: (np.ones(1) * a, b, more))
    plain = traced.__wrapped__
    with eager():
        for kwargs in ({"a": 5.0}, {"b": 2.0}, {"a": 1.0, "b": 3.0}, {"a": 5.0}):
            assert picture(traced(2.0, **kwargs)) == picture(plain(2.0, **kwargs))


def test_spelling_a_default_or_a_keyword_changes_nothing():
    traced = lima.traced(lambda x, a=1, *, b=2: x * a + b)
    with eager():
        for args, kwargs in [
            ((BASE,), {}),
            ((BASE, 1), {}),
            ((BASE,), {"a": 1, "b": 2}),
            ((), {"b": 2, "x": BASE}),
        ]:
            assert np.array_equal(traced(*args, **kwargs), BASE + 2)
    assert traced.cache_info().hits == 3


def test_array_defaults():
    def program(x, w=np.ones(4), *, u=[1.0]):  # noqa: B006, B008
        return x * w + u[0], w

    check(program, lambda: (matrix(),))
    assert program(matrix())[1] is program.__defaults__[0]


def test_closures_and_lambdas():
    def scaled(by, offsets):
        return lima.traced(lambda x: x * by + offsets[0])

    offsets = [BASE[0].copy()]
    one, two = scaled(2.0, offsets), scaled(3.0, offsets)
    with eager():
        for _ in range(2):
            assert np.array_equal(one(BASE), BASE * 2 + BASE[0])
            assert np.array_equal(two(BASE), BASE * 3 + BASE[0])
        assert one.cache_info().hits == two.cache_info().hits == 1
        offsets[0][...] = 0
        assert np.array_equal(one(BASE), BASE * 2)


async def coroutine(x):
    return x


def generator(x):
    yield x


async def asynchronous_generator(x):
    yield x


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (coroutine, "a coroutine function"),
        (generator, "a generator function"),
        (asynchronous_generator, "an asynchronous generator"),
        (Estimator, "a class"),
        (functools.partial(sums, 1), "takes a Python function"),
        (np.sum, "takes a Python function"),
        (len, "takes a Python function"),
        (Estimator(1).fit, "takes a Python function"),
        (Estimator(1), "takes a Python function"),
        (property(sums), "below @property"),
        (3, "takes a Python function"),
    ],
)
def test_what_cannot_be_decorated(thing, said):
    with pytest.raises(lima.TracingError, match=said) as info:
        lima.traced(thing)
    assert isinstance(info.value, TypeError)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"reuse": "everything"}, lima.ConfigError, "choose one of none, operation, full, hybrid"),
        ({"ignore": ("verbos",)}, lima.ConfigError, "no such parameter"),
        ({"version": 2}, lima.ConfigError, "give text"),
        ({"cache": True}, TypeError, "they are reuse, version, ignore, modules"),
    ],
)
def test_wrong_options(options, error, said):
    def program(x, verbose=False):
        return x

    with pytest.raises(error, match=said):
        lima.traced(**options)(program)


# --------------------------------------------------------------------------- what a wrapper shows


@lima.traced
def documented(x: np.ndarray, power: int = 2, *, flag: bool = False) -> np.ndarray:
    """Raise to a power."""
    return x**power


documented.note = "kept"


def test_the_wrapper_looks_like_the_function():
    plain = documented.__wrapped__
    assert documented.__name__ == "documented"
    assert documented.__qualname__ == plain.__qualname__
    assert documented.__module__ == plain.__module__
    assert documented.__doc__ == "Raise to a power."
    assert inspect.signature(documented) == inspect.signature(plain)
    assert typing.get_type_hints(documented) == typing.get_type_hints(plain)
    assert inspect.isfunction(documented)
    assert inspect.unwrap(documented) is plain
    assert inspect.getsource(documented) == inspect.getsource(plain)
    assert documented.note == "kept"


def test_the_wrapper_is_pickled_by_name():
    assert pickle.loads(pickle.dumps(documented)) is documented
    model = pickle.loads(pickle.dumps(Estimator(BASE)))
    assert np.array_equal(model.weights, BASE)


def test_arguments_can_be_pickled_after_a_call():
    model = Estimator(BASE.copy())
    model.apply(BASE)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).weights, BASE)


def test_cache_info_and_cache_clear():
    traced = lima.traced(lambda x: x + 1)
    with eager(memory="10MB") as session:
        for _ in range(3):
            traced(BASE)
        info = traced.cache_info()
        assert (info.hits, info.misses, info.maxsize) == (2, 1, 10_000_000)
        assert BASE.nbytes <= info.currsize <= session.stats.bytes
        assert info.seconds_saved > 0
        assert session.stats.function_hits == 2
        traced.cache_clear()
        assert traced.cache_info()[:2] == (0, 0)
        assert traced.cache_info().currsize == 0
        assert np.array_equal(traced(BASE), BASE + 1)
        assert traced.cache_info().misses == 1
        session.cache.check()


def test_lineage_of_a_call():
    @lima.traced
    def program(x, y):
        return x.T @ x, {"b": y * 2}, 3

    record = program.lineage(BASE, y=BASE[0])
    assert list(record.outputs) == ["result", "result2"]
    assert {leaf.name for leaf in record.leaves} == {"x", "y"}
    assert len(record.find(np.matmul)) == 1
    with eager():
        program(BASE, BASE[0])
        assert program.lineage(BASE, y=BASE[0]) == record


def test_lineage_of_a_call_does_what_the_call_does():
    traced = lima.traced(writes_and_returns_argument)
    x, wanted = matrix(), matrix()
    writes_and_returns_argument(wanted)
    traced.lineage(x)
    assert np.array_equal(x, wanted)


def test_disabled(monkeypatch):
    kinds = []

    @lima.traced
    def program(x):
        kinds.append(type(x))
        return x

    with lima.disabled():
        program(BASE)
    monkeypatch.setenv("LIMA_DISABLE", "1")
    program(BASE)
    monkeypatch.setenv("LIMA_DISABLE", "0")
    program(BASE)
    assert kinds == [np.ndarray, np.ndarray, lima.Array]


# --------------------------------------------------------------------------- results in plain hands


def test_writing_into_a_result_does_no_harm():
    traced = lima.traced(lambda x: (x @ x.T, x.sum(axis=0)))
    with eager():
        for _ in range(4):
            gram, total = traced(BASE)
            assert np.array_equal(gram, BASE @ BASE.T)
            assert np.array_equal(total, BASE.sum(axis=0))
            gram[...] = -1
            total *= 0
    assert traced.cache_info().hits == 3


def test_results_of_two_hits_are_apart():
    traced = lima.traced(lambda x: x * 2)
    with eager():
        results = [traced(BASE) for _ in range(4)]
    for k, a in enumerate(results):
        assert not any(np.shares_memory(a, b) for b in results[:k])


def test_a_result_goes_on_with_its_lineage_until_it_is_written():
    @lima.traced
    def first(x):
        return x * 2

    @lima.traced
    def second(y):
        return y + 1

    middle = first(BASE)
    assert {leaf.name for leaf in lima.lineage(second(middle)).leaves} == {"x"}
    assert len(lima.lineage(second(middle)).find(np.multiply)) == 1
    middle[0] = 0
    record = lima.lineage(second(middle))
    assert {leaf.name for leaf in record.leaves} == {"y"}
    assert not record.find(np.multiply)
    with pytest.raises(lima.UnknownLineage):
        lima.lineage(middle)


KEPT: list[Any] = []


@lima.traced
def keeps(x):
    y = x * 3
    KEPT.append((x, y, y[1:]))
    x += 1
    return y


def test_arrays_kept_in_a_global_mean_the_plain_arrays():
    """Whoever keeps a traced array sees what plain code does to it, and the other way round."""
    KEPT.clear()
    x = matrix()
    y = keeps(x)
    kept_x, kept_y, kept_view = KEPT[0]
    x[0] = 100
    y[1] = 200
    assert np.array_equal(kept_x, x) and np.array_equal(kept_y, y)
    assert np.array_equal(kept_view, y[1:])
    kept_x[2] = 300
    kept_view[1] = 400
    assert (x[2] == 300).all() and (y[2] == 400).all()
    with eager():
        again = lima.traced(lambda a: (a @ a.T).sum())
        assert again(x) == (x @ x.T).sum()
        kept_x[3] = 7
        assert again(x) == (x @ x.T).sum()


def test_a_kept_array_that_is_no_result_does_not_follow_the_argument():
    """What waits to read the caller's memory is computed before the caller gets it back."""
    KEPT.clear()

    @lima.traced
    def program(x):
        KEPT.append(x * 2)
        KEPT.append(x[::2] + 1)

    x = np.ones(200_000)
    program(x)
    x[...] = 5
    assert (np.asarray(KEPT[0]) == 2).all() and (np.asarray(KEPT[1]) == 2).all()


def test_large_and_cheap_calls_are_not_kept():
    traced = lima.traced(lambda x: x + 1)
    x = np.zeros(2_000_000)
    with lima.session() as session:
        traced(x)
        assert traced.cache_info().currsize == 0
        assert session.stats.bytes < x.nbytes


def test_memory_goes_with_the_results():
    """No cycle of lima's keeps arrays of ended calls alive until the garbage collector runs."""
    import gc
    import weakref

    traced = lima.traced(lambda x: (x + 1, x * 2))
    gc.disable()
    try:
        x = np.ones(1000)
        one, two = traced(x)
        refs = [weakref.ref(one), weakref.ref(two), weakref.ref(x)]
        del one, two, x
        assert all(ref() is None for ref in refs)
    finally:
        gc.enable()


# --------------------------------------------------------------------------- default factories


def test_a_defaultdict_with_a_function_is_right_though_not_reusable():
    def program(table, x):
        table["new"].append(x.sum())
        return len(table)

    check(program, lambda: (defaultdict(list, a=[1]), matrix()))
    check(program, lambda: (defaultdict(lambda: [0], a=[1]), matrix()), hits=None)


def test_trouble_with_a_record_never_reaches_the_caller(monkeypatch):
    traced = lima.traced(appends)

    def broken(self, scan):
        raise ZeroDivisionError

    with eager():
        traced([matrix()], matrix())
        monkeypatch.setattr("lima.kept.Record.restore", broken)
        check(traced, lambda: ([matrix(), 1], matrix()), hits=0)


def test_what_a_call_left_waiting_counts_as_its_work(monkeypatch):
    """Seconds decide whether a call is kept; computing its result is part of them."""
    clock = itertools.count()
    monkeypatch.setattr(kept, "perf_counter", lambda: float(next(clock)))

    @lima.traced
    def prepare(x):
        return x * 2.0 + 1.0

    x = np.arange(400_000.0)
    with lima.session() as s:
        s.call_seconds = 0.0
        for _ in range(2):
            assert np.array_equal(prepare(x), x * 2.0 + 1.0)
        assert s.stats.function_hits == 1


def test_an_array_that_a_call_leaves_as_it_is_stays_the_same_argument():
    @lima.traced
    def clean(x):
        return np.nan_to_num(x) + 0.0

    x = np.random.default_rng(8).normal(size=(7, 5))
    with eager():
        found = [clean(x) for _ in range(3)]
        assert clean.cache_info().hits == 2
        assert len(lima.lineage(found[2])) == len(lima.lineage(found[0]))


def test_slices_sets_and_partial_functions_leave_as_plain():
    def program(x, k):
        bound = functools.partial(np.add, x * 2, where=x > 1)
        return (
            slice(k[0], k[2], k[1]), frozenset(k), {frozenset([k[0]]): [x[0]]}, slice(1, 2),
            bound.args, bound.keywords, bound.func is np.add, slice(None, x * 2),
        )  # fmt: skip

    def parts(x, k):
        found = program(x, k)
        return [(s.start, s.stop, s.step) for s in (found[0], found[-1])], found[1:-1]

    same(parts, lambda: (np.arange(3.0), np.arange(3)))
    with lima.session():
        for _ in range(2):
            found = lima.traced(program)(np.arange(3.0), np.arange(3))
            assert type(found[0].start) is np.int64 and type(found[-1].stop) is np.ndarray
            assert {type(v) for v in found[1]} == {np.int64}
            partial = lima.traced(lambda x: functools.partial(np.dot, x * 2))(np.ones(3))
            assert type(partial.args[0]) is np.ndarray and type(partial(np.ones(3))) is np.float64


def test_errors_leave_with_plain_arrays():
    class Diverged(ArithmeticError):
        def __init__(self, x, steps):
            super().__init__("diverged", x.sum())
            self.x, self.steps, self.best = x, steps, {"best": x[0]}

    def program(x):
        x[0] = 7
        raise Diverged(x * 2 if x[1] else x, 5)

    with lima.session():
        for x in (np.arange(3.0), np.zeros(3)):
            with pytest.raises(Diverged) as caught:
                lima.traced(program)(x)
            error = caught.value
            assert str(error) == f"('diverged', {error.args[1]!r})" and x[0] == 7
            assert (error.x is x) == (x[1] == 0)
            kinds = [type(v) for v in (error.args[1], error.x, error.best["best"])]
            assert kinds == [np.float64, np.ndarray, np.float64]


BARREN = """
import numpy as np

def fit(X, k):
    for _ in range(5):
        X = np.tanh(X @ X.T / (k + 60.0) + 1.0)
    return X

def program(X, count, times):
    for _ in range(times):
        found = [fit(X, k) for k in range(count)]
    return found
"""


def test_helpers_are_looked_up_after_sessions_that_do_not():
    """Calls that were not looked up, or that take long, are no sign that none will recur."""
    scope = {"__name__": "barren"}
    exec(BARREN, scope)
    traced, X = lima.traced(scope["program"]), np.eye(150) * 0.1
    with lima.session(reuse="none"):
        traced(X, 2, 50)
    with lima.session() as session:
        traced(X, 2, 4)
        assert session.stats.function_hits >= 2


def test_helpers_that_take_long_are_looked_up_always(monkeypatch):
    monkeypatch.setattr(function, "LASTING", 0.0)
    scope = {"__name__": "barren"}
    exec(BARREN, scope)
    with lima.session() as session:
        lima.traced(scope["program"])(np.eye(150) * 0.1, 80, 3)
        assert session.stats.function_hits >= 80


def test_partial_functions_enter_with_their_keywords():
    def called(f, x):
        return f(x)

    x = np.arange(6.0).reshape(2, 3)
    held = [2.0]
    for f in (
        functools.partial(np.sum, axis=0),
        functools.partial(np.add, np.ones(3)),
        functools.partial(np.clip, a_min=np.full(3, 2.0), a_max=None),
        functools.partial(lambda x, by, k=1: x * by[0] + k, by=held, k=np.ones(3)),
    ):
        with lima.session():
            for _ in range(2):
                np.testing.assert_array_equal(lima.traced(called)(f, x), f(x))
        assert f.keywords.get("by", held) is held
