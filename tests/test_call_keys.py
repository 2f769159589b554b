"""Which arguments a whole call is known by: what they hold decides, whatever class holds it."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import pathlib
import re
import uuid
import zoneinfo
from typing import NamedTuple

import numpy as np
import pytest
from eager import eager

import lima


class Bag(list):
    pass


class Pair(tuple):
    __slots__ = ()


class Options(dict):
    pass


class Number(float):
    pass


class Matrix(np.ndarray):
    pass


class Price(decimal.Decimal):
    pass


class Table(NamedTuple):
    rows: np.ndarray
    scale: float


def heavy(x: float) -> np.ndarray:
    A = np.full((200, 200), 1 / 200)
    for _ in range(20):
        A = A @ A
    return 200 * A * x


@lima.traced
def of_first(items):
    return heavy(float(next(iter(items))))


@lima.traced
def of_value(items):
    return heavy(float(items["a"]))


@lima.traced
def of_number(x):
    return heavy(float(x))


@lima.traced
def of_table(table):
    return heavy(1.0) * table.scale + table.rows.sum()


@pytest.mark.parametrize(
    ("function", "one", "two"),
    [
        (of_first, Bag([1.0]), Bag([2.0])),
        (of_first, Pair([1.0]), Pair([2.0])),
        (of_first, np.array([1.0]).view(Matrix), np.array([2.0]).view(Matrix)),
        (of_value, Options(a=1.0), Options(a=2.0)),
        (of_number, Number(1.0), Number(2.0)),
        (of_number, Price("1"), Price("2")),
        (of_table, Table(np.zeros(2), 1.0), Table(np.zeros(2), 2.0)),
        (of_table, Table(np.zeros(2), 1.0), Table(np.ones(2) / 2, 1.0)),
    ],
)
def test_content_is_part_of_the_key(function, one, two):
    with lima.session():
        first = np.asarray(function(one))
        second = np.asarray(function(two))
    assert first[0, 0] == pytest.approx(1.0)
    assert second[0, 0] == pytest.approx(2.0)


def test_named_tuples_are_recognised():
    with lima.session() as session:
        for _ in range(2):
            of_table(Table(np.zeros(2), 1.0))
    assert session.stats.function_hits == 1


def test_arrays_inside_of_arguments_are_named_by_how_one_reaches_them():
    @lima.traced
    def total(data, folds, named):
        return data.rows.sum() + folds[1].sum() + named["b"].sum()

    found = total(
        Table(np.array([0.625, 3.125]), 1.0),
        [np.ones(3), np.array([0.5, 7.25, 3.0])],
        {"b": np.array([0.375, 9.5, 2.0])},  # numbers that nothing else has made
    )
    names = [leaf.name for leaf in lima.lineage(found).leaves]
    assert names == ["data.rows", "folds[1]", "named['b']"]


# --------------------------------------------------------------------------- unused parameters


def solver(A, tol, *spare, verbose=False, **more):
    return A @ A


def by_locals(A, tol):
    return A * len(locals()) * locals()["tol"]


def by_name(A, tol):
    return A * eval("tol")


def in_closure(A, tol):
    def scaled():
        return A * tol

    return scaled()


def in_comprehension(A, tol):
    return np.stack([A * tol for _ in range(2)])


def in_branch(A, tol):
    if A.shape[0] > 99:
        A = A * tol
    return A + 1


def overwritten(A, tol):
    tol = 2.0
    return A * tol


def spare_used(A, tol, *spare):
    return A * len(spare)


def more_used(A, tol, **more):
    return A * more.get("scale", 1.0)


class Solver:
    def __init__(self, scale):
        self.scale = scale

    @lima.traced
    def fit(self, A, tol):
        return A @ A


@pytest.mark.parametrize(
    ("function", "hits"),
    [
        (solver, True),
        (by_locals, False),
        (by_name, False),
        (in_closure, False),
        (in_comprehension, False),
        (in_branch, False),
    ],
)
def test_parameters_that_are_never_looked_at_decide_nothing(function, hits):
    traced, A = lima.traced(function), np.arange(9.0).reshape(3, 3)
    with eager():
        for tol in (1e-3, 2.0, 3.0):
            np.testing.assert_array_equal(traced(A, tol), function(A, tol))
        found = traced.cache_info().hits
        assert found == 2 if hits else found == 0
        for call in ({"tol": object()}, {"tol": A, "verbose": True}) if hits else ():
            np.testing.assert_array_equal(traced(A, **call), A @ A)
        assert traced.cache_info().hits == found + (2 if hits else 0)
        with pytest.raises(TypeError):
            traced(A)
        with pytest.raises(TypeError):
            traced(A, 1.0, tol=2.0)


def test_other_arguments_decide_as_ever():
    A = np.arange(9.0).reshape(3, 3)
    with eager():
        for function in (spare_used, more_used, overwritten, solver):
            traced = lima.traced(function)
            for args, kwargs in (
                ((A, 1.0), {}),
                ((A + 1, 1.0), {}),
                ((A, 2.0, 5.0), {}),
                ((A, 2.0, 5.0, 6.0), {}),
                ((A, 2.0), {"scale": 3.0}),
            ):
                try:
                    wanted = function(*args, **kwargs)
                except TypeError:
                    continue
                np.testing.assert_array_equal(traced(*args, **kwargs), wanted)


def test_an_object_that_its_method_never_looks_at_decides_nothing():
    A = np.arange(9.0).reshape(3, 3)
    with eager() as session:
        Solver(1.0).fit(A, 1.0)
        Solver(2.0).fit(A, 2.0)
    assert session.stats.function_hits == 1


def test_code_that_is_replaced_is_looked_at_anew():
    def function(A, tol):
        return A + 1

    def other(A, tol):
        return A + tol

    traced, A = lima.traced(function), np.ones(3)
    with eager():
        traced(A, 1.0)
        function.__code__ = other.__code__
        assert traced(A, 5.0)[0] == 6.0
        assert traced(A, 7.0)[0] == 8.0


# --------------------------------------------------------------------------- values of Python's own


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Kind(enum.StrEnum):
    ONE = "1"
    TWO = "2"


class Other(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Setting:
    a: object
    b: int = 1


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: object
    b: int = 1


@dataclasses.dataclass(slots=True)
class Slotted:
    a: object
    b: int = 1


@dataclasses.dataclass(slots=True, frozen=True)
class Both:
    a: object
    b: int = 1


def plus(a, b):
    return a + b


def times(a, b):
    return a * b


day, noon = datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 12)
utc, berlin = datetime.UTC, zoneinfo.ZoneInfo("Europe/Berlin")
ones, twos = np.ones(2), np.ones(2) * 2

GROUPS = {
    "dates": lambda: [
        day, datetime.date(2020, 1, 3), noon, noon.replace(microsecond=1), noon.replace(fold=1),
        noon.replace(tzinfo=utc), noon.replace(tzinfo=berlin), noon.time(), datetime.time(13),
        noon.replace(tzinfo=datetime.timezone(datetime.timedelta(0), "X")), datetime.timedelta(1),
        datetime.timedelta(seconds=1), utc, berlin, "2020-01-02", np.datetime64("2020-01-02"),
    ],
    "numbers": lambda: [
        decimal.Decimal("1.1"), decimal.Decimal("1.10"), decimal.Decimal("NaN"), 1.1,
        decimal.Decimal("-0"), decimal.Decimal(0), fractions.Fraction(1, 2), fractions.Fraction(2),
        2, (1, 2), 0.5, range(2), range(0, 2, 2), range(3), slice(2), slice(0, 2), slice(2, None),
    ],
    "members": lambda: [
        *Color, *Access, Access.READ | Access.WRITE, Access(0), *Level, *Kind, Other.LOW, 1, "1",
        Color, Level,
    ],
    "text": lambda: [
        pathlib.Path("a/b"), pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("a/b"),
        pathlib.Path("a/c"), "a/b", uuid.UUID(int=1), uuid.UUID(int=2), re.compile("a"),
        re.compile("a", re.ASCII), re.compile(b"a"), "a", b"a",
    ],
    "records": lambda: [
        Setting(ones.copy()), Setting(twos.copy()), Setting(ones.copy(), 2), Frozen(ones.copy()),
        Frozen(twos.copy()), Slotted(ones.copy()), Slotted(ones.copy(), 2), Both(ones.copy()),
        Both(ones.copy(), 2), Table(ones.copy(), 1.0), Table(twos.copy(), 1.0),
        {"a": ones.copy()}, {"a": twos.copy()}, {"b": ones.copy()}, [ones.copy()], (ones.copy(),),
        [ones.copy(), 1], {1, 2}, {1, 3}, frozenset({1, 2}), frozenset({1, 3}),
    ],
    "functions": lambda: [
        plus, times, functools.partial(plus, 1), functools.partial(plus, 2), Setting,
        functools.partial(plus, b=1), functools.partial(plus, ones.copy()), np.add, np.multiply,
        functools.partial(plus, twos.copy()), lambda a, b: a + b, lambda a, b: a - b, abs, max,
        np.linalg.norm, np.linalg,
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", GROUPS)
def test_equal_values_are_one_argument_and_no_two_others(name):
    traced = lima.traced(lambda x, thing: (thing, x + 1)[1])
    with eager():
        for k, thing in enumerate(GROUPS[name]()):
            assert traced(ones, thing).tolist() == [2.0, 2.0]
            assert traced.cache_info().misses == k + 1, thing
        for k, thing in enumerate(GROUPS[name]()):
            assert traced(ones, thing).tolist() == [2.0, 2.0]
            assert traced.cache_info().hits == k + 1, (thing, traced.cache_info().refusal)


def test_the_settings_of_decimal_are_part_of_the_key():
    traced = lima.traced(lambda x, d: x + float(d / 3))
    with eager():
        for precision in (28, 3, 28):
            with decimal.localcontext(prec=precision):
                wanted = ones + float(decimal.Decimal(1) / 3)
                assert traced(ones, decimal.Decimal(1)).tolist() == wanted.tolist()


def test_methods_that_look_at_files_and_clocks_are_never_left_out(tmp_path):
    file = tmp_path / "n"
    reads = lima.traced(lambda x, path: x + float(path.read_text()))
    names = lima.traced(lambda x, path: x + len(path.name))
    clock = lima.traced(lambda x, d: (x + 1, d.now()))
    with eager() as s:
        for k in range(3):
            file.write_text(str(k))
            assert reads(ones, file).tolist() == [1 + k, 1 + k]
        first = clock(ones, noon)[1]
        assert clock(ones, noon)[1] >= first and s.stats.function_hits == 0
        assert [names(ones, file)[0] for _ in range(2)] == [2.0, 2.0]
        assert s.stats.function_hits == 1


def test_members_of_enumerations_are_themselves_in_results():
    traced = lima.traced(lambda x: (x + 1, Color.RED, [Level.HIGH], Access.READ | Access.WRITE))
    with eager():
        for _ in range(2):
            _, color, levels, access = traced(ones)
            assert color is Color.RED and levels[0] is Level.HIGH
            assert access is Access.READ | Access.WRITE
        assert traced.cache_info().hits == 1


def test_code_that_a_program_exchanges_brings_its_own_parameters():
    @lima.traced
    def first(x, unused):
        return heavy(x)

    def other(unused, x):  # what was never looked at now decides, and the other way round
        return heavy(x)

    with lima.session():
        first(1.0, 2.0)
        first.__wrapped__.__code__ = other.__code__
        np.testing.assert_array_equal(first(1.0, 2.0), heavy(2.0))
        np.testing.assert_array_equal(first(1.0, 3.0), heavy(3.0))
        hits = first.cache_info().hits
        np.testing.assert_array_equal(first(5.0, 3.0), heavy(3.0))
        assert first.cache_info().hits == hits + 1


class Plain:
    """An object whose text and hash are its address."""

    def __init__(self, n):
        self.n = n


class Spoken(Plain):
    def __repr__(self):
        return f"Spoken({self.n})"

    def __eq__(self, other):
        return isinstance(other, Spoken) and other.n == self.n

    def __hash__(self):
        return self.n


ASK = {
    "repr": repr,
    "hash": hash,
    "format": lambda o: f"{o}",
    "inside of a list": lambda o: {"told": str([o])},
}


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_the_address_of_an_object_is_no_result_of_another_call(ask):
    @lima.traced
    def told(x, o):
        return heavy(x), ask(o)

    one, equal = Plain(1), Plain(1)
    with lima.session():
        assert told(1.0, one)[1] == ask(one)
        assert "address" in told.cache_info().refusal
        assert told(1.0, equal)[1] == ask(equal)
    with lima.session():
        told(1.0, Spoken(2))
        assert told(1.0, Spoken(2))[1] == ask(Spoken(2))
        assert told.cache_info().hits == 1


def test_dates_that_are_made_of_text_may_mean_now():
    traced = lima.traced(lambda x: (x.astype("datetime64[us]"), x.astype(dtype="M8[s]").item()))
    with eager() as s:
        assert traced(np.array([1]))[1].year == 1970  # the same call, of numbers
        for _ in range(3):
            text = np.array(["today"])
            assert traced(text)[1] == text.astype("M8[s]").item()
        assert s.stats.function_hits == 0
        assert traced.cache_info().refusal == "it makes dates of text, which may mean now"


# --------------------------------------------------------------------------- forms of views


@lima.traced
def squared_parts(x, factor):
    """Dear enough to be kept."""
    found = x * factor
    for _ in range(40):
        found = np.sin(found) + x
    return found


def outer(a, calls, number):
    return [squared_parts(call(a), 2.0) for call in calls], number


VIEWS = {
    "rows": lambda a: a[2:4002],
    "other rows": lambda a: a[3:4003],
    "rows of rows": lambda a: a[1:][1:4001],
    "columns": lambda a: a[:4000, 1:3],
    "a column": lambda a: a[:, 1],
    "transposed": lambda a: a.T,
    "reshaped": lambda a: a.reshape(-1),
    "all": lambda a: a,
    "a copy": lambda a: a[2:4002].copy(),
}


def test_calls_with_views_are_found_by_their_form():
    a = np.random.default_rng(5).standard_normal((5000, 4))
    plain = squared_parts.__wrapped__
    with lima.session():
        calls = list(VIEWS.values())
        for k in range(4):
            got, _ = lima.traced(outer)(a, calls, k)
            for call, g in zip(calls, got, strict=True):
                np.testing.assert_array_equal(g, plain(call(a), 2.0))
                assert g.flags.c_contiguous == plain(call(a), 2.0).flags.c_contiguous
        assert squared_parts.cache_info().hits >= 2 * len(calls)


@lima.traced
def written_between(a, b):
    found = []
    for k in range(6):
        found.append(squared_parts(a[2:4002], 2.0))
        found.append(squared_parts(b[2:4002], 2.0))
        if k % 2:
            a[10] = k
        part = a[2:4002]
        found.append(squared_parts(part, 2.0))
        part[5] += 1.0
        found.append(squared_parts(part, 2.0))
    return found


def test_a_view_of_what_was_written_has_another_form():
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((5000, 4)), rng.standard_normal((5000, 4))
    want = written_between.__wrapped__(a.copy(), b.copy())
    with lima.session():
        for _ in range(3):
            for g, w in zip(written_between(a.copy(), b.copy()), want, strict=True):
                np.testing.assert_array_equal(g, w)


@lima.traced
def doubled_in_place(x):
    for _ in range(60):
        x += np.sin(x)
    return x.copy()


@lima.traced
def views_that_are_written(a):
    found = []
    for _ in range(3):
        found.append(doubled_in_place(a[:2000]))
        found.append(doubled_in_place(a[1000:3000]))
    return found


def test_a_call_that_writes_into_a_view_is_repeated_with_its_effect():
    a = np.random.default_rng(7).standard_normal((5000, 4)) / 100
    plain = a.copy()
    want = views_that_are_written.__wrapped__(plain)
    with lima.session():
        for _ in range(3):
            mine = a.copy()
            for g, w in zip(views_that_are_written(mine), want, strict=True):
                np.testing.assert_array_equal(g, w)
            np.testing.assert_array_equal(mine, plain)


@lima.traced
def of_two(x, y):
    found = x + y
    for _ in range(40):
        found = np.sin(found) + y
    return found, found * 2


@lima.traced
def sum_of_two(x, y):
    return of_two(x, y)[0] * 1.0


def test_views_of_one_array_and_of_two():
    rng = np.random.default_rng(8)
    a = rng.standard_normal((5000, 4))
    b = a.copy()
    plain = sum_of_two.__wrapped__

    @lima.traced
    def both(a, b):
        return [
            sum_of_two(a[:4000], a[1:4001]), sum_of_two(a[:4000], b[1:4001]),
            sum_of_two(a[:4000], a[:4000]), sum_of_two(a[:4000], b[:4000]),
        ]  # fmt: skip

    with lima.session():
        for _ in range(4):
            got = both(a, b)
            pairs = [(a[:4000], a[1:4001])] * 2 + [(a[:4000], a[:4000])] * 2
            for g, (x, y) in zip(got, pairs, strict=True):
                np.testing.assert_array_equal(g, plain(x, y))
