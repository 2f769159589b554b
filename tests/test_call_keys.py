"""Which arguments a whole call is known by: what they hold decides, whatever class holds it."""

from __future__ import annotations

import decimal
from typing import NamedTuple

import numpy as np
import pytest

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
        Table(np.ones(2), 1.0), [np.ones(3), np.array([0.5, 7.25, 3.0])], {"b": np.ones(5)}
    )
    names = [leaf.name for leaf in lima.lineage(found).leaves]
    assert names == ["data.rows", "folds[1]", "named['b']"]
