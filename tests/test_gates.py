"""Where lineage could get lost: code that takes plain arrays, and what it hands back."""

import subprocess
import sys
import tracemalloc
import types

import numpy as np
import pytest
from eager import eager
from same import left_by, same

import lima

third_party = types.ModuleType("third_party")
exec(
    """
import numpy

def itself(a):
    return numpy.asarray(a)

def copied(a):
    return numpy.array(a)

def checked(a):
    if not isinstance(a, numpy.ndarray):
        raise TypeError("no array")
    return numpy.asarray(a, dtype=float)

def shifted(a):
    return numpy.asarray(a) + 1.0

class Keeper:
    def __init__(self, *arrays):
        self.arrays = [numpy.asarray(a) for a in arrays]

    def total(self):
        return float(sum(a.sum() for a in self.arrays))

    def first(self):
        return self.arrays[0]
""",
    third_party.__dict__,
)
x = np.arange(6.0)


def leaves_of(result):
    return [leaf.name for leaf in lima.lineage(result).leaves]


@pytest.mark.parametrize("name", ["itself", "copied", "checked"])
def test_what_comes_back_keeps_its_lineage(name):
    pass_through = getattr(third_party, name)
    work = lima.traced(lambda x: (pass_through(x) * x).sum())
    with lima.session():
        found = work(x)
        assert leaves_of(found) == ["x"] and found == (x * x).sum()


def test_a_temporary_keeps_its_lineage_too():
    work = lima.traced(lambda x: x @ third_party.copied(x * 2))
    assert leaves_of(work(x)) == ["x"]
    big = np.arange(30_000.0)
    work = lima.traced(lambda x: (lambda y: y @ third_party.copied(y))(x * 2))
    assert leaves_of(work(big)) == ["x"]


def test_what_was_computed_outside_is_named_with_the_line():
    def work(x):
        y = third_party.shifted(x)
        return y @ x  # the line

    found = lima.traced(work)(x)
    line = work.__code__.co_firstlineno + 2
    text = str(lima.explain(found))
    assert f"{__file__}:{line}" in text and "entered" in text


def test_what_a_library_computed_is_named_with_its_function():
    code = compile("def work(a, b):\n    return a * b", "lib.py", "exec")
    library = {"__name__": "sklearn.made_up"}
    exec(code, library)
    found = lima.traced(lambda x: library["work"](third_party.shifted(x), x))(x)
    text = str(lima.explain(found))
    assert "in sklearn.made_up.work" in text and __file__ in text


def test_a_plain_array_that_is_returned_is_named():
    def work(x):
        return third_party.shifted(x)

    with lima.session():
        unseen = np.full(5, 0.31830988)  # what is known by its content is not named
        text = str(lima.explain(lima.traced(work)(unseen)))
    assert "work returned a plain array" in text


def test_a_global_array_is_named_by_the_line_that_reads_it():
    @lima.traced
    def work(a):
        return a + CONSTANT

    assert __file__ in str(lima.explain(work(x)))


CONSTANT = np.full(6, 0.125)


@pytest.mark.parametrize(
    "work",
    [
        lambda a: third_party.itself(a),
        lambda a: np.float64(a),
        lambda a: a.dtype.type(a),
        lambda a: (third_party.itself(a), a),
        lambda a: np.asarray_chkfinite(a),
        lambda a: [np.asarray(a) is a, isinstance(a, np.ndarray)],
        lambda a: np.int32(a),
        lambda a: (a.__iadd__(1), third_party.itself(a)),
    ],
)
def test_what_is_handed_back_is_the_callers_own(work):
    same(work, lambda: (x.copy(),))


def test_a_later_write_is_seen_where_numpy_would_show_it():
    def work(a):
        b = third_party.itself(a)
        a += 1
        return b * a, b

    same(work, lambda: (x.copy(),))


def test_a_digest_met_before_is_not_taken_for_another_array():
    """Equal bytes of another dtype or shape are other arrays."""

    def work(a):
        third_party.itself(a)
        return a.sum() + GLOBALS[0].sum() + GLOBALS[1][0].sum()

    GLOBALS[:] = [x.view(np.int64).copy(), x.reshape(2, 3).copy()]
    found = lima.traced(work)(x)
    assert found == work(x)


GLOBALS = []


# --------------------------------------------------------------------------- memory


def rebinding(a, count):
    for _ in range(count):
        a = a * 1.0009765625 + 1.0
    return a


def temporaries(a, count):
    total = 0.0
    for k in range(count):
        b = np.sqrt(np.abs(a - k))
        total += b.sum()
    return total


def growing(a, count):
    held = [a]
    for _ in range(count):
        held = [held[-1] + 1.0]
    return held[0]


@pytest.mark.parametrize("program", [rebinding, temporaries, growing])
@pytest.mark.parametrize("reuse", ["none", "hybrid"])
def test_memory_is_released_as_in_numpy(program, reuse):
    """At most a few arrays more than plain NumPy has at its peak, however long the loop."""
    a = np.ones(1 << 17)

    def peak(function, count):
        tracemalloc.start()
        function(a, count)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    with lima.session(memory="2MB", reuse=reuse):
        traced = lima.traced(program)
        traced(a, 2)
        plain, few, many = peak(program, 60), peak(traced, 60), peak(traced, 180)
    assert max(few, many) <= plain + 2_000_000 + 6 * a.nbytes


def test_importing_lima_loads_no_optional_package():
    code = "import sys, lima; assert not {'pandas', 'scipy', 'sklearn', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_estimators_with_state():
    class Scaler:
        def __init__(self, shift):
            self.shift = shift

        @lima.traced
        def fit(self, X):
            self.mean_ = X.mean(axis=0) + self.shift
            self.cov_ = (X - self.mean_).T @ (X - self.mean_)
            return self

        @lima.traced
        def predict(self, X):
            return (X - self.mean_) @ self.cov_

    X = np.random.default_rng(0).normal(size=(20, 3))

    def use(fit, predict, shift):
        scaler = Scaler(shift)
        assert fit(scaler, X) is scaler
        return scaler.mean_, scaler.cov_, predict(scaler, X), sorted(vars(scaler))

    plain = [use(Scaler.fit.__wrapped__, Scaler.predict.__wrapped__, s) for s in (0.0, 1.0)]
    with eager() as s:
        for _ in range(2):
            for shift, wanted in zip((0.0, 1.0), plain):
                found = use(Scaler.fit, Scaler.predict, shift)
                assert [f.tobytes() for f in found[:3]] == [w.tobytes() for w in wanted[:3]]
                assert found[3] == wanted[3] and type(found[0]) is np.ndarray
        assert s.stats.function_hits == 4


def test_an_array_on_a_buffer_is_read_anew():
    """Plain code may write the buffer after the array was made, in traced code too."""
    buffer = bytearray(16)

    def run(first):
        a = np.frombuffer(buffer, dtype=np.float64)
        before = a + 0
        memoryview(buffer).cast("d")[0] = first
        return before, a + 0

    for first in (1.0, 2.0):
        before, after = lima.traced(run)(first)
        assert after.tolist() == [first, 0.0]
    assert before.tolist() == [1.0, 0.0]
    assert lima.traced(lambda: np.frombuffer(bytes(8)) + 1)().tolist() == [1.0]


# --------------------------------------------------------------------------- what is kept outside


def as_plain(program, x):
    """Twice, where nothing is kept: lima's own copy of what it keeps stays as it was."""
    wanted = left_by(program, (x.copy(),))
    with lima.session(memory="1KB"):
        for reuse in ("hybrid", "none"):
            traced = lima.traced(reuse=reuse)(program)
            for _ in range(2):
                assert left_by(traced, (x.copy(),)) == wanted


def grown(y):
    y[0] = 99.0


def doubled(y):
    y *= 2.0


def by_a_view(y):
    part = y[2:]
    part[:] = 7.0


def by_out(y):
    np.add(y, 1.0, out=y)


def by_a_product(y):
    np.dot(np.diag(np.arange(1.0, len(y) + 1)), np.ones(len(y)), out=y)


def sorted_in_place(y):
    y.sort()


def filled(y):
    y.fill(3.0)


def while_others_wait(y):
    y[1] = -5.0


WRITES = (
    grown, doubled, by_a_view, by_out, by_a_product, sorted_in_place, filled, while_others_wait,
)  # fmt: skip


@pytest.mark.parametrize("change", WRITES)
@pytest.mark.parametrize("size", [6, 40_000])
def test_what_is_kept_outside_sees_later_writes(change, size):
    if change.__name__ == "by_a_product":
        size = min(size, 300)

    def program(x):
        y = x * 2.0 + 1.0
        keeper = third_party.Keeper(y, y[1:])
        waiting = y * 3.0
        found = [keeper.total()]
        for _ in range(2):
            change(y)
            found.append(keeper.total())
        part = keeper.first()
        part_sum = float(part.sum())
        z = y - 1.0
        return found, part_sum, waiting, z, y, keeper.arrays[0]

    as_plain(program, np.linspace(2.0, 1.0, size))


def test_what_is_kept_outside_outlives_the_array():
    def program(x):
        y = x + 1.0
        keeper = third_party.Keeper(y)
        y[2] = 5.0
        del y
        others = [x + float(k) for k in range(20)]
        for other in others:
            other += 1.0
        return keeper.total(), others[3]

    as_plain(program, np.arange(50_000.0))


def test_what_comes_back_after_a_write_is_the_array():
    def program(x):
        y = x + 1.0
        keeper = third_party.Keeper(y)
        y[0] = 8.0
        back = keeper.first()
        z = y * back
        y[1] = 9.0
        return z, y, back + 0.0, back.sum()

    as_plain(program, np.arange(7.0))
    found = lima.traced(program)(np.array([0.25, 9.75, 3.5]))
    assert leaves_of(found[0]) == ["x"]


def test_results_of_calls_that_code_outside_has_seen_are_found_unchanged():
    def made(x):
        y = np.cos(x) * 2.0
        third_party.keeper = third_party.Keeper(y)
        return y

    traced = lima.traced(lambda x: third_party.Keeper(np.exp(x)).total() + np.exp(x).sum())
    with lima.session():
        x = np.linspace(0.0, 1.0, 90_000)
        assert len({float(traced(x)) for _ in range(3)}) == 1
        first = lima.traced(made)(x)
        want = first.copy()
        first[:] = 0.0
        again = lima.traced(made)(x)
        assert again.tobytes() == want.tobytes()
