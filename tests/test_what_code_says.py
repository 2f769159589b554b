"""Whole calls depend on more than code and data: on names, on who is registered, on how text is
made of arrays. Each case changes one of these between two calls."""

import abc
import dataclasses
import enum
import numbers
import operator
import types

import numpy as np
import pytest
from eager import eager

import lima

X = np.arange(1.0, 7.0).reshape(2, 3)


def relu(x):
    return np.maximum(x, 0) / 3


def ramp(x):
    return np.maximum(x, 0) / 3


def labelled(f, x):
    return {f.__name__: f(x)}


def text_of(f, x):
    return f.__doc__, x / 3


def described(f):
    def same(x):
        return x / 3

    same.__doc__ = f
    return same


def by_label(x):
    return {ramp.__name__: x / 3}


def renaming(name):
    ramp.__name__ = name


class Meta(type):
    scale = 2.0


class Made(metaclass=Meta):
    pass


def of_metaclass(x):
    return x * Made.scale


class Shape(abc.ABC):  # noqa: B024
    pass


class Round(Shape):
    pass


class Mine:
    pass


class Yours:
    pass


class Theirs:
    pass


def is_shape(one, x):
    return x / 3 if isinstance(one, Shape) else x / 7


def is_number(one, x):
    return x / 3 if isinstance(one, numbers.Number) else x / 7


class Unit(enum.Enum):
    METRE = 1

    def __init__(self, length):
        self.length = length


def in_units(x):
    return x * Unit.factor


def of_length(x):
    return x * Unit.METRE.length


def fielded(scale):
    @dataclasses.dataclass
    class Fit:
        rate: float = dataclasses.field(default=1.0, metadata={"scale": scale})

    return Fit()


def ordered(names):
    return dataclasses.make_dataclass("Fit", [(n, float) for n in names])(*range(len(names)))


def by_fields(fit, x):
    for field in dataclasses.fields(fit):
        x = x * field.metadata["scale"]
    return x


def field_names(fit, x):
    return [f.name for f in dataclasses.fields(fit)], x / 3


def annotated(kinds):
    made = type("Fit", (), {"a": 2.0, "b": 3.0})
    made.__annotations__ = kinds
    return made()


def by_annotations(fit, x):
    for name in type(fit).__annotations__:
        x = x * getattr(fit, name)
    return x


def formatted(x):
    return f"{x / 3}"


def applied(f, x):
    return f(x) / 3


def nothing(*_):
    pass


CASES = {
    "names of functions": (labelled, [(nothing, (relu, X)), (nothing, (ramp, X))]),
    "texts of functions": (text_of, [(nothing, (described(t), X)) for t in ("one", "two")]),
    "a function is renamed": (
        by_label,
        [(lambda: renaming("other"), (X,)), (lambda: renaming("ramp"), (X,))],
    ),
    "a metaclass": (
        of_metaclass,
        [(lambda v=v: setattr(Meta, "scale", v), (X,)) for v in (2.0, 5.0)],
    ),
    "a class is registered": (
        is_shape,
        [(nothing, (Mine(), X)), (lambda: Shape.register(Mine), (Mine(), X))],
    ),
    "with a class below": (
        is_shape,
        [(nothing, (Yours(), X)), (lambda: Round.register(Yours), (Yours(), X))],
    ),
    "with a class of Python": (
        is_number,
        [(nothing, (Theirs(), X)), (lambda: numbers.Real.register(Theirs), (Theirs(), X))],
    ),
    "an enumeration": (
        in_units,
        [(lambda v=v: setattr(Unit, "factor", v), (X,)) for v in (2.0, 5.0)],
    ),
    "a member of it": (
        of_length,
        [(lambda v=v: setattr(Unit.METRE, "length", v), (X,)) for v in (2.0, 5.0)],
    ),
    "metadata of fields": (by_fields, [(nothing, (fielded(v), X)) for v in (2.0, 5.0)]),
    "fields of nothing else": (field_names, [(nothing, (ordered(n), X)) for n in ("ab", "ba")]),
    "annotations": (
        by_annotations,
        [(nothing, (annotated({k: float}), X)) for k in ("a", "b")],
    ),
    "keywords of methods": (
        applied,
        [(nothing, (operator.methodcaller("sum", axis=k), X)) for k in (0, 1)],
    ),
    "names of keywords": (
        applied,
        [(nothing, (operator.methodcaller("std", **{k: 1}), X)) for k in ("axis", "ddof")],
    ),
    "digits of arrays": (
        formatted,
        [(lambda n=n: np.set_printoptions(precision=n), (X,)) for n in (8, 3)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_two_calls_are_not_one(name):
    function, steps = CASES[name]
    bare = types.FunctionType(function.__code__, function.__globals__, function.__name__)
    with np.printoptions(), eager():
        traced = lima.traced(function)
        for step, arguments in steps:
            step()
            for _ in range(2):
                assert repr(traced(*arguments)) == repr(bare(*arguments))


def test_methods_with_effects_are_refused(tmp_path):
    path = tmp_path / "a"

    @lima.traced
    def writing(write, x):
        write(x.__array__())
        return x / 3

    with eager():
        for _ in range(3):
            writing(operator.methodcaller("tofile", str(path)), X)
            path.unlink()
    assert "tofile" in writing.cache_info().refusal


def test_calls_that_do_not_ask_for_names_are_one():
    def applied(f, x):
        return f(x)

    with eager():
        traced = lima.traced(applied)
        for f in (relu, ramp):
            traced(f, X)
        assert traced.cache_info().hits == 1


def test_calls_with_classes_of_python_hit():
    with eager() as session:
        traced = lima.traced(is_number)
        for _ in range(3):
            traced(2.0, X)
        assert traced.cache_info().hits == 2
        assert session.stats.function_hits == 2
