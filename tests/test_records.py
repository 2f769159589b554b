"""Records: a record of an array is a view, also where NumPy hands it out as an element or a tuple."""

import numpy as np
import pytest
from same import same

import lima

RECORD = np.dtype(
    [
        ("x", "f8"),
        ("p", "f4", (2,)),
        ("s", [("a", "i2"), ("b", "M8[D]"), ("q", "i1", (2, 2))]),
        ("c", "S3"),
    ]
)


def made():
    t = np.zeros(4, RECORD)
    t["x"], t["p"], t["c"] = np.arange(4) + 0.5, 2, b"ab"
    return t, np.ones((2, 3), [("x", "f8"), ("y", "i4")]), np.arange(3)


@pytest.mark.parametrize(
    "use",
    [
        lambda t, s, k: t.tolist(),
        lambda t, s, k: [t[k], t[k].tolist(), t[1:][::2].tolist()],
        lambda t, s, k: [t.item(0), t[1].item(), t[1].tolist(), t[k].item(-1), s.item(1, 2)],
        lambda t, s, k: [list(t[0]), tuple(t[k][0]), len(t[0]), len(t[k][1])],
        lambda t, s, k: [t[np.array(0)], t[k[1]], s[np.array(1), 0], t[np.array([1])]],
        lambda t, s, k: list(t.flat),
        lambda t, s, k: [
            t.flat[0],
            t.flat[np.array(1)],
            t.flat[:2],
            s.T.flat[1],
            s[:, ::2].flat[1],
        ],
        lambda t, s, k: [s.tolist(), s[0].tolist(), s[0, 1].item(), [list(r) for r in s[0]]],
        lambda t, s, k: [(x + 1, y) for x, y in s[1]],
        lambda t, s, k: [t["s"].tolist(), t["s"][0].item(), t["p"].tolist(), t["s"]["q"].tolist()],
        lambda t, s, k: [
            t.take(0),
            np.take(t, [1]),
            t[0].copy(),
            t[k][0].copy(),
            s[0, 0] == s[0, 1],
        ],
        lambda t, s, k: [t[k][0]["c"], t[k][0]["s"], t[k][0]["s"]["b"], t[k]["s"][1]["q"]],
    ],
)
def test_elements(use):
    same(use, made)


def test_what_is_written_into_the_items_of_a_list():
    def use(t, k):
        g = t[k]
        items, whole = g.tolist(), list(g.flat)
        items[0][1][0] = 7
        t.tolist()[1][1][:] = 5
        t[2].item()[2][2][0] = 3
        t.flat[0]["x"] = 8
        np.copyto(g["x"], 3)
        return g, items, whole, t

    same(use, lambda: (made()[0], made()[2]))


def test_a_copy_of_a_record_does_not_change_with_it():
    @lima.traced
    def use(t):
        one = t[0].copy()
        t["x"] = 9
        return one, t

    one, t = use(made()[0])
    assert type(one) is np.void
    assert one["x"] == 0.5
    assert (t["x"] == 9).all()


def test_comparisons_of_records_are_computed_again_from_a_log():
    t = lima.array(np.ones(3, [("x", "f8"), ("y", "i4")]))
    same_as = t == t
    assert lima.recompute(lima.lineage(x=same_as * 1))["x"].tolist() == [1, 1, 1]
    assert lima.recompute(lima.lineage(x=(t != t[:1]) * 1))["x"].tolist() == [0, 0, 0]


def test_operations_on_python_objects_raise_where_they_stand():
    def use(n):
        found = np.array([np.datetime64("2020-01-01"), 1.5] * n)
        try:
            found - 0.5
        except TypeError as error:
            return type(error).__name__

    same(use, lambda: (70_000,))
