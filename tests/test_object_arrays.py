"""Arrays of Python objects hold the very objects of the program, and plain arrays when they leave."""

from collections import defaultdict

import numpy as np
import pytest
from same import same

import lima


def vector():
    return (np.arange(4.0),)


def boxes(*items):
    made = np.empty(len(items), object)
    for k, item in enumerate(items):
        made[k] = item
    return made


def parts(v):
    return {k: v[k:] for k in range(3)}


def in_dicts(v):
    held = parts(v)
    return np.dstack([held, held]), held


def in_lists(v):
    made = np.empty(3, object)
    made[0] = [v + 1, v]
    made[1] = (v, {1: v * 2})
    made[2] = v[1:]
    return made


def in_itself(v):
    made = np.empty(2, object)
    made[0] = {1: (v + 1, v)}
    made[1] = made
    return made[0], made[1] is made


def in_records(v):
    made = np.zeros(2, [("a", object), ("b", "f8"), ("c", [("d", object, (2,))])])
    made[0] = ({1: (v + 1, v)}, 2.0, ([None, [v]],))
    made["a"][1] = [v]
    return made, made[0], made["a"]


def filled(v):
    made = np.full(3, None)
    made.fill([v + 1])
    return made, made[0] is made[1]


def joined(v):
    held = np.array([{1: v}])
    return np.concatenate([held, held]), np.append(held, [{2: v + 1}]), np.where([True], held, None)


def made_by_a_callback(v):
    return np.frompyfunc(lambda i: {i: v + i}, 1, 1)(np.arange(3))


class Model:
    pass


def in_attributes(v):
    model = Model()
    model.x = v + 1
    model.boxes = np.array([model, {1: v}])
    return np.array([model.boxes[1], None]), model.x


def locked(v):
    made = np.array([{1: v + 1}, None])
    made.setflags(write=False)
    return made, made[:1]


def changed_by_index(v):
    made = np.empty((2, 2), object)
    made[0] = {1: v}
    made[1, 1] = {2: 3}
    made[1:, 0] = {1: v}
    made[made == None] = {4: 5}  # noqa: E711
    return made


@pytest.mark.parametrize(
    "program",
    [in_dicts, in_lists, in_itself, in_records, filled, joined, made_by_a_callback, in_attributes,
     locked, changed_by_index],
)  # fmt: skip
def test_what_leaves_holds_plain_arrays(program):
    same(program, vector)


def test_elements_are_the_objects_themselves():
    def program():
        d, pair, one = {1: 2}, [1, 2], Model()
        made = np.empty(4, object)
        made[0], made[1], made[2], made[3] = d, pair, one, {1, 2}
        row = np.empty(2, object)
        row[:] = [pair, None]
        some = np.empty(3, object)
        some[[0, 2]] = [d, None]
        put = np.empty(2, object)
        np.put(put, [0], [d])
        np.copyto(put[1:], [d])
        found = [np.full(2, d)[1], np.array([d, None])[0], some[0], np.asarray(d)[()], *put]
        same_list = made[1] is pair is row[0]
        return [x is d for x in (made[0], *found)], same_list, made[2] is one, type(made[3])

    same(program)


def test_arguments_hold_plain_arrays_afterwards():
    def program(held, v):
        held[0][1] = v + 1
        held[1] = [v, v + 2]
        held[2] = held
        return held[0][1] is v

    v, held = np.arange(3.0), boxes({}, None, None)
    lima.traced(program)(held, v)
    assert type(held[0][1]) is type(held[1][1]) is np.ndarray
    assert held[1][0] is v and held[2] is held


KEPT, TABLE, MODEL, BOXES = [], defaultdict(dict), Model(), np.empty(2, object)


@lima.traced
def keeping(v):
    w = v * 3
    KEPT.append((v, w, w[1:]))
    TABLE["a"]["b"] = w
    MODEL.w, MODEL.v = w, v
    BOXES[0] = {1: w}
    return w


def test_globals_hold_plain_arrays_afterwards():
    v = np.arange(3.0)
    w = keeping(v)
    assert KEPT[0][0] is MODEL.v is v
    assert KEPT[0][1] is TABLE["a"]["b"] is MODEL.w is BOXES[0][1] is w
    assert type(KEPT[0][2]) is np.ndarray and KEPT[0][2].base is w


def test_errors_hold_plain_arrays():
    def program(v):
        try:
            raise KeyError({1: v})
        except KeyError as error:
            raise ValueError(boxes({1: v + 1}, v)) from error

    v = np.arange(3.0)
    with pytest.raises(ValueError) as info:
        lima.traced(program)(v)
    (held,) = info.value.args
    assert type(held) is type(held[0][1]) is np.ndarray and held[1] is v
    assert info.value.__cause__.args[0][1] is v
