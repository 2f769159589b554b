"""A program written from a lineage has the same bits, and the same lineage when it is traced."""

import copy
import linecache
import re

import numpy as np
import pytest
from round_trips import assert_round_trip, known, strangers, written
from test_demo import SMALL, data  # noqa: F401  (a fixture)
from test_programs import MODULES, SCALES, arguments, load

import lima
from examples import quickstart
from lima import named
from lima.demo import programs

pytestmark = pytest.mark.filterwarnings("ignore")


def traced_once(function, *args):
    """The lineage of what a function gives, without reuse, and the results."""
    strangers()
    with lima.session(reuse="none"):
        results = known(lima.traced(function)(*args))
        return lima.lineage(**results), results


@pytest.mark.parametrize("name", [*SCALES, *MODULES])
def test_programs(name):
    record, results = traced_once(load(name).main, *arguments(name))
    assert results
    assert_round_trip(record, results)


@pytest.mark.parametrize("name", SMALL)
def test_examples(name, data):  # noqa: F811
    module = programs.load_examples("traced")[name]
    strangers()
    with lima.session(reuse="none"):
        results = module.main(data, **SMALL[name])
        record = lima.lineage(**results)
    assert_round_trip(record, results)


def test_quickstart():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 8)), rng.normal(size=300)
    strangers()
    with lima.session(reuse="none"):
        results = {f"beta{k}": quickstart.lm(X, y, reg) for k, reg in enumerate((1e-3, 1.0, 1e3))}
        record = lima.lineage(**results)
    assert_round_trip(record, results)


# ------------------------------------------------------------------------------- writes


def buffers(x):
    """Two buffers that are swapped: neither is copied."""
    u, new = x + 0.5, np.zeros_like(x)
    for k in range(12):
        new[1:-1] = u[1:-1] + 0.1 * (u[2:] - u[:-2])
        new[0] = k
        u, new = new, u
    return {"u": u, "new": new}


def triangle(x):
    """Windows of one matrix are written in turn."""
    a = np.outer(x, x) + np.eye(len(x))
    for k in range(len(a) - 1):
        a[k + 1 :, k] /= a[k, k]
        a[k + 1 :, k + 1 :] -= np.outer(a[k + 1 :, k], a[k, k + 1 :])
    return {"a": a, "last": a[-1] * 2.0}


def through_out(x):
    a = np.empty((3, len(x)))
    np.multiply(x, 2.0, out=a[0])
    np.subtract(a[0], x, out=a[1])
    np.add(a[0], a[1], out=a[2])
    np.sqrt(np.abs(a[2]), out=a[2])
    return {"a": a}


def read_before(x):
    a = x * 2.0
    before, view = a.sum(), a[::2]
    product = view @ view
    a[0] = 7.0
    return {"before": before, "product": product, "a": a}


def zeros_of_one_shape(x):
    """They are one value, and two arrays."""
    counts, sums = np.zeros(5), np.zeros(5)
    for k in range(5):
        counts[k] += 1.0
        sums[k] += x[k]
    return {"counts": counts, "sums": sums}


def both_are_wanted(x):
    old = x + 1.0
    new = old.copy()
    new[1:] *= 3.0
    return {"old": old, "new": new}


def shuffled(x):
    rng = np.random.default_rng(4)
    order = np.arange(len(x))
    rng.shuffle(order)
    first = x[order]
    rng.shuffle(order[2:])
    return {"first": first, "order": order, "noise": rng.normal(size=3)}


def through_views(x):
    """Operators say some of these calls, and others not."""
    a = np.outer(x, x)
    v = a[1]
    np.greater(v, v, v)
    w = a[2:6, 2:6]
    np.matmul(w, w + 1.0, out=w)
    np.power(a[7], 2.0, out=a[7])
    a[8] **= 3.0
    a.T[0] *= 2.0
    a[3:5, ::2] -= 1.0
    np.maximum(a[4], 0.0, out=a[4])
    return {"a": a}


def methods(x):
    a = x[::-1] + 0.0
    a.sort()
    b = np.tile(a, (2, 1))
    b[1].partition(3)
    b[0, ::2].fill(9.0)
    np.fill_diagonal(b, -1.0)
    return {"a": a, "b": b, "swapped": a.byteswap()}


def in_itself(x):
    a = x + 0.0
    a[1:] += a[:-1]
    a[:] = a[::-1]
    a **= 2
    z = a[:1] + 1j
    z *= z
    return {"a": a, "z": z}


def argument(x):
    """What belongs to the caller is copied first."""
    a = x
    total = a.sum()
    a = a.copy()
    a -= total
    return {"a": a, "total": total}


def lists_and_dates(x):
    days = np.datetime64("2024-02-28") + np.arange(4)
    a = np.zeros((2, 3))
    a[1] = [1, 2.5, 3]
    a[0, [0, 2]] = x[:2]
    return {"days": days, "a": a, "late": days[2:] - np.timedelta64(12, "h")}


def compared(x):
    return {"a": np.equal(0.5, x), "b": 0.5 < x, "c": np.complex64(1 + 2j) * x, "d": 2.0 - x}


WRITES = (
    buffers, triangle, through_out, through_views, read_before, zeros_of_one_shape, both_are_wanted, shuffled,
    methods, in_itself, argument, lists_and_dates, compared,
)  # fmt: skip


@pytest.mark.parametrize("function", WRITES, ids=lambda f: f.__name__)
def test_writes(function):
    x = np.linspace(-1.0, 2.0, 9)
    record, results = traced_once(function, x)
    text = assert_round_trip(record, results)
    assert "deepcopy" not in text and "clone" not in text
    body = text.split('"""')[-3 if "def main" in text else -1]
    assert not re.search(r"\bx = |x\[.*\] [-+*/]?= ", body)  # what is given is not written


def test_a_written_program_does_not_write_what_it_is_given():
    @lima.traced
    def f(x):
        x[1:] = x[0]
        return x + 1.0

    record = lima.lineage(f(np.arange(4.0)))
    _, program = written(record)
    given = np.arange(4.0)
    assert program(given).tolist() == [1.0, 1.0, 1.0, 1.0]
    assert given.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_deep_copy_is_the_same_value():
    a = lima.array(np.arange(6.0)) * 2.0
    made = copy.deepcopy(a), copy.deepcopy(a[::2]), copy.copy(a)
    found = [lima.lineage(x).outputs["result"].spec.op for x in made]
    assert found == ["multiply", "copy", "copy"]  # the second has no gaps any more
    made[0][0] = 9.0
    assert a[0] == 0.0


def test_comments_tell_shapes_and_dtypes_where_they_are_the_same_in_all_rounds():
    def f(x):
        gram = np.outer(x, x).T @ np.ones((9, 2))
        flags = gram > 0.0
        for k in range(1, 8):
            x = x[:-1] * 2.0 if k % 2 else np.tanh(x)
        return {"flags": flags, "x": x, "count": flags.sum(axis=0)}

    text = traced_once(f, np.linspace(-1.0, 2.0, 9))[0].to_python()
    assert "= np.ones((9, 2))  # (9, 2)\n" in text
    assert ".T @ v" in text and text.count("  # (9, 2)\n") == 3
    assert "> 0.0  # (9, 2)\n" in text  # of a heavy operation, and what follows, shapes alone


def test_values_keep_their_names(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(
        "import numpy as np\n"
        "def fit(X, y):\n"
        "    gram = X.T @ X\n"
        "    Q, R = np.linalg.qr(gram +\n"
        "                        np.eye(3))\n"
        "    scaled = np.linalg.solve(R, Q.T @ y[:3]).sum()\n"
        "    R[0] *= 2.0\n"
        "    return {'a': gram.sum(axis=0), 'b': R + Q, 'c': scaled}\n"
    )
    space = {"__name__": "program"}
    exec(compile(path.read_text(), str(path), "exec"), space)
    rng = np.random.default_rng(0)
    strangers()
    with lima.session(reuse="none", lines="all"):
        results = lima.traced(space["fit"])(rng.normal(size=(9, 3)), rng.normal(size=9))
        record = lima.lineage(**results)
    text = assert_round_trip(record, results)
    assert "    gram = X.T @ X  # (3, 3)\n" in text
    assert "    Q = " in text and "    R = " in text
    assert "    R[0] *= 2.0\n" in text
    assert "scaled =" not in text.partition("return")[0]  # the solution is not what was assigned
    path.unlink()
    assert "gram = " not in record.to_python()


def test_names_that_a_program_needs_itself_are_not_taken():
    x, y = (lima.array(np.arange(4.0) + k, name=name) for k, name in enumerate(("range", "zip")))
    for k in range(40):
        x = np.tanh(x) + y * float(k)
    _, program = written(lima.lineage(x))
    assert program(np.arange(4.0), np.arange(4.0) + 1.0).tobytes() == np.asarray(x).tobytes()


def test_names_are_read_from_programs_alone(tmp_path):
    """A log from elsewhere may name any file."""
    text = tmp_path / "secret.txt"
    text.write_text("gram = X @ X\n")
    large = tmp_path / "large.py"
    large.write_text("x = 1\n" * (1 << 18))
    broken = tmp_path / "broken.py"
    broken.write_text("gram = (\n")
    for file in (text, large, broken, tmp_path, tmp_path / "absent.py", "/dev/zero", ""):
        assert named._statements(str(file)) == {}
    linecache.cache["<cell 1>"] = (13, None, ["gram = X @ X\n"], "<cell 1>")
    try:
        assert named._statements("<cell 1>")[1] == ("@", ("gram",))
    finally:
        del linecache.cache["<cell 1>"]
