"""Matrices, records, masked arrays and buffers made of traced arrays share memory with them."""

import numpy as np
import pytest
from same import same

import lima

RECORDS = [("a", "i4"), ("b", "f8")]


def numbers(count):
    """Of no other test: what was returned once is known by its content when it comes in again."""
    return np.arange(count) * 1.25 + 0.03125


def matrix_sees_writes(x):
    m = x.view(np.matrix)
    x[0] = 9
    return m.sum(), m[0, 0]


def matrix_writes(x):
    m = np.asmatrix(x)
    m[0, 1] = 9
    y = x * 2
    m += 1
    return x, y, m


def matrix_without_a_copy(x):
    m = np.matrix(x, copy=False)
    x += 1
    return m, np.asmatrix(x, dtype=int)


def matrix_of_a_view(x):
    m = x[1:4].view(np.matrix)
    x[2] = 9
    m[0, 0] = 8
    return x, m, x[1:3]


def records(x):
    t = np.zeros(3, RECORDS)
    r = t.view(np.recarray)
    r.a = 5
    r.b[1] = 3
    t["a"][0] = 77
    return t, r.a.sum(), t["b"] * 2, r


def records_without_a_copy(x):
    t = np.array([(1, 2.0)], dtype=RECORDS)
    r = np.rec.array(t, copy=False)
    r.a[0] = 5
    return t, r.a


def masked_sees_writes(x):
    m = np.ma.array(x, mask=x > 3)
    x[0] = 9
    return m.sum(), m


def masked_writes(x):
    m = np.ma.masked_greater(x, 3, copy=False)
    m += 1
    m[0] = np.ma.masked
    return x, m, x.sum()


def masked_with_a_mask(x):
    mask = x > 3
    m = np.ma.MaskedArray(x, mask)
    mask[0] = True
    m[1] = 7
    return m, x, mask


def masked_invalid(x):
    x[2] = np.nan
    m = np.ma.masked_invalid(x, copy=False)
    x[0] = 6
    n = np.ma.masked_invalid(x)
    x[1] = 6
    return m, n, x


def masked_computed(x):
    y = x * 2
    m = np.ma.asarray(y)
    y -= 1
    m[-1] = 0
    return y, m.mean(), y + 1


def buffer(x):
    b = np.frombuffer(x, "u1")
    x[0] = 9
    return b, b.sum()


def buffer_writes(x):
    b = np.frombuffer(x.data)
    b[0] = 3
    y = x + 1
    x[1] = 4
    return b, x, y, x.data.nbytes


def buffers_of_others(x):
    m = np.ma.masked_less(x, 0, copy=False)
    np.frombuffer(m.data, m.dtype)[:1] = 2
    b = np.frombuffer(np.asmatrix(x), "u1")
    x[1] = 7
    return x, m, b


def broadcast_of_others(x):
    m = np.ma.array(x, mask=x > 4)
    b = np.broadcast_to(m, np.append(2, m.shape))
    x[1] = 7
    return x, b, b.sum(), np.broadcast_to(x.view(np.matrix), np.array([2, 1, 6]))


def pointer(x):
    p = x.ctypes.data_as(np.ctypeslib.ctypes.POINTER(np.ctypeslib.ctypes.c_double))
    p[0] = 5.0
    y = x + 1
    x[1] = 8
    return x, y, p[1]


def iterated(x):
    with np.nditer(x, op_flags=["readwrite"]) as it:
        for v in it:
            v[...] = 2 * v
    y = x + 1
    x[0] = 9
    return x, y


def iterated_with_others(x):
    y = np.zeros(6)
    it = np.nditer([x, y, None], [], [["readonly"], ["writeonly"], ["writeonly", "allocate"]])
    with it:
        for a, b, c in it:
            b[...] = a * 3
            c[...] = b + 1
        found = it.operands[2]
    outer, inner = np.nested_iters(y.reshape(2, 3), [[0], [1]], op_flags=["readwrite"])
    for k, _ in enumerate(outer):
        for v in inner:
            v[...] += k
    return x, y, found, isinstance(it, np.nditer)


def iterated_to_read(x):
    it = np.nditer(x, flags=["multi_index"])
    return [(it.multi_index, float(v)) for v in it], np.nditer(op=x, flags=[], op_flags=None).shape


PROGRAMS = (
    matrix_sees_writes, matrix_writes, matrix_without_a_copy, matrix_of_a_view, records,
    records_without_a_copy, masked_sees_writes, masked_writes, masked_with_a_mask, masked_invalid,
    masked_computed, buffer, buffer_writes, pointer, buffers_of_others, broadcast_of_others,
    iterated, iterated_with_others, iterated_to_read,
)  # fmt: skip


def made(program):
    """A program that makes the array itself."""

    def run(start):
        return program(numbers(6) + start)

    return run


def kept(program):
    """One whose array other results are computed from, and may be kept."""

    def run(start):
        x = numbers(6) + start
        y = np.sort(x)
        return program(y), x, np.sort(x)

    return run


def of_a_view(program):
    def run(x):
        return program(x[1:]), x

    return run


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_programs(program):
    same(program, lambda: (numbers(6),))
    same(made(program), lambda: (0,))
    same(kept(program), lambda: (0,))
    same(of_a_view(program), lambda: (numbers(7),))


@pytest.mark.parametrize(
    "options",
    [
        {"op_flags": [["readwrite"], ["readonly"]]}, {"op_flags": ["rubbish"]}, {"flags": 3},
        {"op_flags": ["readwrite"], "op_dtypes": ["f4"]}, {"op_flags": 5},
    ],
)  # fmt: skip
def test_iterators_refuse_as_numpy_does(options):
    def program(x):
        try:
            np.nditer(x, **options)
        except (TypeError, ValueError) as error:
            return str(error)

    same(program, lambda: (numbers(3),))


def test_what_is_locked_stays_so():
    def refused(x):
        x.setflags(write=False)
        m = x.view(np.matrix)
        m[0, 0] = 5

    with lima.session(), pytest.raises(ValueError, match="read-only"):
        lima.traced(refused)(numbers(3))


def test_lineage_goes_on_while_nobody_writes():
    def program(x):
        y = np.sort(x)
        y.view(np.matrix)
        return y + 1

    with lima.session():
        found = lima.traced(program)(np.array([7.25, -31.5, 8.125]))
        assert [n.spec.op for n in lima.lineage(found).nodes if n.inputs] == ["sort", "add"]
