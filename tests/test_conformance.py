"""What NumPy's own tests and random programs found: cases in which lima was not NumPy's equal."""

import copy
import decimal
import operator
import pickle
import warnings

import numpy as np
import pytest
from same import public, same

import lima
import lima.numpy
from bench import numpy_suite
from bench.fuzz import stress

# --------------------------------------------------------------------------- errors

WRONG = (
    """
np.clip(a, 1); np.clip(a, a_min=1); np.clip(a, 1, 2, min=2); np.clip(a, max=1, a_max=2)
np.reshape(a); a.reshape(); np.full_like(a); a.reshape((True, -1)); a.sum(axis=True)
np.sum(a, axis=(0, True)); a[0.0]; a[0.0:2]; a["x"]; a.flat[1.5:]; a.flat[0, 1]; a.flat[99]
a.flat["x"]; a.mT; np.zeros(2**70); np.zeros((2**40, 2**40)); u[:] = [-3, 1]; u[:] = [1j, 2]
d.conj(); d.conjugate(); np.einsum(a, [-1], [-1]); np.array(loop); np.add(a, 1, out=[1, 2, 3])
a += "x"; a += None; a += thing; np.add(a, 1, bogus=2); a.sum(bogus=1); a.flat[0] = [1, 2]
a.flat[:2] = "x"; a.flat[()] = 1; np.linalg.cholesky(np.zeros((2, 2))); a @ np.ones(4)
np.concatenate([a, np.ones((2, 2))]); np.zeros(3, dtype="bogus"); a.astype(int, casting="safe")
""".replace("\n", "; ")
    .strip("; ")
    .split("; ")
)


class Thing:
    __array_ufunc__ = None


def raised(text, namespace):
    loop = []
    loop.append(loop)
    scope = {"np": namespace, "thing": Thing(), "loop": loop, "a": namespace.arange(3.0)}
    scope["u"] = namespace.zeros(2, "u1")
    scope["d"] = namespace.array(["2024-01-01"], "M8[D]")
    with pytest.raises(Exception) as caught:
        exec(text, scope)
    return public(caught.type), str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", WRONG)
def test_errors_have_numpys_class_and_text(text):
    assert raised(text, lima.numpy) == raised(text, np)


# --------------------------------------------------------------------------- flags and iterators

LAYOUTS = {
    "C": lambda m: m.zeros((3, 4)),
    "F": lambda m: m.zeros((3, 4)).T,
    "stepped": lambda m: m.zeros((3, 4))[1:, ::2],
    "vector": lambda m: m.zeros(3),
    "broadcast": lambda m: m.broadcast_to(m.zeros(3), (2, 3)),
    "empty": lambda m: m.zeros((0, 3)),
}
KEYS = (
    "C CONTIGUOUS C_CONTIGUOUS F F_CONTIGUOUS FORTRAN O OWNDATA W WRITEABLE A ALIGNED X"
    " WRITEBACKIFCOPY B BEHAVED CA CARRAY FA FARRAY FNC FORC"
).split()


@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_flags(make):
    ours, plain = make(lima.numpy).flags, make(np).flags
    for name in [name for name in dir(plain) if name[0] != "_"]:
        assert getattr(ours, name) == getattr(plain, name), name
    for key in KEYS:
        assert ours[key] == plain[key], key
    assert repr(ours) == repr(plain)
    assert ours == make(lima.numpy).flags
    with pytest.raises(KeyError, match="Unknown flag"):
        ours["nope"]


@pytest.mark.parametrize("key", [None, "W", "WRITEABLE"])
def test_flags_can_be_set(key):
    def use(a):
        if key is None:
            a.flags.writeable = False
        else:
            a.flags[key] = False
        try:
            a[0] = 1
        except ValueError:
            a.flags.writeable = True
            a[1] = 2
        return a.flags.writeable

    same(use, lambda: (np.zeros(3),))


INDICES = [0, -1, 9, slice(None), slice(0, 4, 2), slice(5, 1), ..., (1,), [0, 1], [[0, 1], [2, 3]],
           [], True, np.array([True] * 9), np.array([0, 1]), np.int8(2), [0, 0, 1]]  # fmt: skip
ITEMS = [5, [1, 2], [], np.array([7.5]), [[1, 2], [3, 4]], "a", None, 2j, np.arange(20)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_flat(index):
    def use(a, item):
        found = a.flat[index] if item is None else None
        a.flat[index] = item
        return found

    for item in ITEMS:
        same(use, lambda item=item: (np.arange(9).reshape(3, 3), item), runs=1)


def test_flat_of_an_array_of_no_axes():
    def use(a):
        a.flat[:] = 5
        a.flat[0] += 1
        return a.flat[0]

    same(use, lambda: (np.array(3.0),))


# --------------------------------------------------------------------------- views and writes


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"dtype": "f4"}, {"order": "F"}])
def test_einsum_gives_views_whatever_is_asked_for(options):
    def use(a):
        b = np.einsum("ij->ji", a, **options)
        b[0] = 7
        c = np.einsum("ii->i", a[:, :3], **options)
        c[...] += 1
        return b.dtype, b, c

    same(use, lambda: (np.arange(12.0).reshape(3, 4),))


def test_as_strided_is_a_view():
    def use(a):
        v = np.lib.stride_tricks.as_strided(a, (2, 2), (8, 16))
        v[0, 0] = 7
        total = v.sum()
        a[3] = 9
        return v, total, v + 1

    same(use, lambda: (np.arange(12.0),))


def test_as_strided_beyond_the_array_is_not_keyed_by_it():
    """What lies between the elements of an argument is no part of its content."""

    def use(a):
        return np.lib.stride_tricks.as_strided(a, (5,), (8,)) + 0.0

    with stress(), lima.session():
        traced = lima.traced(use)
        for between in (1.0, 2.0):
            base = np.arange(6.0)
            base[1::2] = between
            assert traced(base[::2]).tolist() == use(base[::2]).tolist()


def test_a_window_that_may_be_written():
    def use(a):
        v = np.lib.stride_tricks.sliding_window_view(a, 2, writeable=True)
        v[0, 0] = 9
        return v

    same(use, lambda: (np.arange(5.0),))


RECORD = np.dtype([("x", "f8"), ("y", "i4"), ("p", "f4", (2,))])


def records(n=4):
    t = np.zeros(n, RECORD)
    t["x"] = np.arange(n)
    return (t,)


def test_one_record_is_a_view():
    def use(t):
        t[0]["x"] = 5
        r = t[1]
        r["y"] = 7
        t["y"][1] = 9
        q = t[2]["p"]
        q[0] = 4
        t[3] = t[0]
        return r, r["y"], q, t[1]["y"] * 2

    same(use, records)


def test_records_and_dates_are_compared_however_many():
    def use(t, d):
        return t == t, t[1:] != t[:-1], d == 0.5, d != "x"

    same(use, lambda: (*records(60_000), np.arange(60_000).astype("M8[D]")), runs=1)


def test_lists_become_the_dtype_of_the_array():
    def use(a, b):
        a[:2] = [1.7, True]
        a[2:] = [b[0], 3]
        return a

    same(use, lambda: (np.zeros(4, "u1"), np.array([250.5])))


def test_a_write_that_raises_half_way():
    def use(a, b):
        with np.errstate(divide="raise"):
            np.divide(a, b, out=b)

    same(use, lambda: (np.ones(5), np.array([1.0, 2.0, 0.0, 4.0, 5.0])), runs=1)


@pytest.mark.filterwarnings("ignore")
def test_in_place_operators_take_what_numpy_takes():
    numbers = np.arange(3.0)

    class Column:
        def __array__(self, dtype=None, copy=None):
            return numbers

    def use(a):
        a += Column()
        b = a.astype(object)
        b *= decimal.Decimal(2) if a.sum() < 0 else 2
        return b.tolist()

    same(use, lambda: (np.ones(3),))
    w = lima.numpy.array([decimal.Decimal(1)] * 4)
    w /= w.sum()
    assert w.tolist() == [decimal.Decimal("0.25")] * 4


def test_objects_and_dates_have_no_short_cut_for_conj():
    z = lima.numpy.array([1j, 2.0], dtype=object)
    assert z.conj().tolist() == [-1j, 2.0]
    b = lima.numpy.ones(3, bool)
    assert b.conj().dtype == np.conj(np.ones(3, bool)).dtype or b.conj() is b


def test_fill_with_one_object():
    a = lima.numpy.zeros(2, object)
    a.fill([1])
    assert a.tolist() == [[1], [1]]
    a.flat[1] = (1, 2)
    assert a.flat[1] == (1, 2)


def test_require_copies_to_c_order():
    def use(a):
        b = np.broadcast_to(a.T, (2, 4, 3))
        return np.require(b, requirements="W"), np.require(b, "f4", "W")

    same(use, lambda: (np.arange(12.0).reshape(3, 4),))


def test_an_array_instead_of_a_scalar():
    if np.lib.NumpyVersion(np.__version__) >= "2.3.0":
        found = lima.numpy.add(lima.numpy.float64(1), lima.numpy.array(2), out=...)
        assert isinstance(found, np.ndarray) and found.shape == () and float(found) == 3


def test_scalars_answer_what_has_no_row():
    x = lima.numpy.array([1 + 2j])[0]
    assert np.asarray(x.byteswap()) == np.complex128(1 + 2j).byteswap()
    assert np.asarray(lima.numpy.ones(1)[0].astype(object)) == 1.0


# --------------------------------------------------------------------------- identity


def test_python_operators_on_complex_scalars_are_operations_of_their_own():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(50, 2)) @ [1, 1j]
    with lima.session():
        traced = lima.array(z)
        for k in range(1, 50):
            for f in (operator.mul, np.multiply):
                found = f(traced[k], traced[k - 1])
                assert np.asarray(found).tobytes() == f(z[k], z[k - 1]).tobytes()
                assert lima.recompute(found).tobytes() == f(z[k], z[k - 1]).tobytes()
            for g in (abs, np.abs):
                assert lima.recompute(g(traced[k])).tobytes() == g(z[k]).tobytes()


def test_a_vector_copied_onto_itself():
    """NumPy reads what it has overwritten; not where another array holds the same elements."""

    def onto_itself(a, b):
        a[::2] = a[:3]
        return a.sum(), a

    def from_another(a, b):
        a[::2] = b[:3]
        return a.sum(), a

    for use in (onto_itself, from_another):
        same(use, lambda: (np.arange(6.0), np.arange(6.0)))
    with stress(), lima.session(exactness="bitwise"):
        for use in (onto_itself, from_another, onto_itself):
            found = lima.traced(reuse="operation")(use)(np.arange(6.0), np.arange(6.0))
            assert found[0] == use(np.arange(6.0), np.arange(6.0))[0]
    kept = np.arange(6.0)
    for write in (
        lambda w: w.__setitem__(slice(None, None, 2), w[:3]),
        lambda w: np.concatenate([w[1:], w[:1]], out=w),
        lambda w: np.copyto(w[::2], w[:3]),
    ):
        w = lima.array(np.arange(6.0))
        write(w)
        inputs = {leaf.digest.hex(): kept for leaf in lima.lineage(w).leaves}
        assert lima.recompute(lima.lineage(w), inputs).tolist() == np.asarray(w).tolist()


# --------------------------------------------------------------------------- generators


def test_spawned_generators():
    def use(rng, a):
        one, two = rng.spawn(2)
        one.shuffle(a)
        return one.normal(size=3), two.permuted(a), one, rng.spawn(1)[0].random(2)

    same(use, lambda: (np.random.default_rng(5), np.arange(12.0).reshape(4, 3)))


def test_generators_that_share_a_bit_generator():
    """One must not be taken to stand where its own draws left it."""

    def use(between):
        bits = np.random.PCG64(3)
        one, two = np.random.default_rng(bits), np.random.default_rng(bits)
        found = [one.random(4)]
        if between:
            found.append(two.random(5))
        return [*found, one.random(4)]

    same(lambda: [use(True), use(False), use(True)])
    with stress(), lima.session():
        traced = lima.traced(use)
        for between in (False, True, False, True):
            for found, wanted in zip(traced(between), use(between), strict=True):
                assert found.tolist() == wanted.tolist()


# --------------------------------------------------------------------------- twins


def test_twins_are_pickled_and_copied_as_what_they_stand_for():
    for f in (lima.numpy.sin, lima.numpy.linalg.solve, lima.numpy.zeros):
        assert pickle.loads(pickle.dumps(f)) is f and copy.deepcopy(f) is f
    assert lima.numpy.sin is lima.numpy.sin and lima.numpy.sin == np.sin
    assert lima.numpy.linalg is lima.numpy.linalg

    def use(x):
        return copy.deepcopy(np.sin)(x), pickle.loads(pickle.dumps(np.sin)) == np.sin

    same(use, lambda: (np.ones(3),))


def test_trim_zeros_of_no_axes():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.asarray(lima.numpy.trim_zeros(lima.numpy.array(0.0))).shape == ()


# --------------------------------------------------------------------------- NumPy's own tests


def test_numpys_own_tests_run_with_names_bound(tmp_path):
    """One small module: the rest is for `python -m bench.numpy_suite`."""
    module = pytest.importorskip("numpy.lib.tests.test_ufunclike")
    found = numpy_suite.child(module.__name__.removeprefix("numpy."), True, None)
    assert found and {outcome for outcome, _ in found.values()} <= {"passed", "skipped"}


def test_another_bit_generator_behind_the_legacy_functions():
    def use():
        np.random.seed(3)
        return np.random.random(4)

    before = np.random.get_bit_generator()
    with stress(), lima.session():
        traced = lima.traced(use)
        try:
            for bits in (np.random.MT19937(), np.random.PCG64(), np.random.MT19937()):
                np.random.set_bit_generator(bits)
                assert traced().tolist() == use().tolist()
        finally:
            np.random.set_bit_generator(before)


def test_copies_keep_the_order():
    def use(a):
        return copy.copy(a), copy.deepcopy(a), a.copy()

    same(use, lambda: (np.asfortranarray(np.arange(6.0).reshape(2, 3)),))


def test_seeds_that_are_arrays():
    def use(a):
        seeds = np.random.SeedSequence(a)
        bits = np.random.PCG64(a)
        kind = isinstance(bits, np.random.PCG64)
        return seeds.generate_state(3), np.random.Generator(bits).random(3), kind

    same(use, lambda: (np.arange(4),))
    assert isinstance(lima.numpy.random.PCG64(1), lima.numpy.random.PCG64)
    assert isinstance(lima.numpy.random.default_rng(1), lima.numpy.random.Generator)


def test_dates_compared_with_numbers_are_logged_as_what_python_answers():
    """The function has no loop for them; Python's operator says that they differ."""

    def run(d, n):
        return d == 3, d != 0.5, d == n, d == d, d != np.timedelta64(1, "D")

    d = np.arange("2020-01", "2020-04", dtype="M8[D]")
    n = np.arange(len(d))
    for array in (d, d[:1], d - d[0]):
        m = n[: len(array)]
        x, y = lima.array(array), lima.array(m)
        found = lima.traced(run)(x, y)
        for ours, plain in zip(found, run(array, m)):
            assert np.asarray(ours).tolist() == plain.tolist()
            assert lima.recompute(ours).tolist() == plain.tolist()


def test_a_write_that_changes_nothing_is_none():
    """NumPy looks at the flag of an array only where there is something to write."""

    def run(a, v):
        a.setflags(write=False)
        np.concatenate([a[:1], a[1:]], out=a)
        found = np.diag(v * np.ones((4, 1)))
        np.concatenate([found[:1], found[1:]], out=found)
        for write in (
            lambda: np.copyto(a, 1),
            lambda: np.add(a, 1, out=a),
            lambda: a.sort(),
            lambda: np.concatenate([a[1:], a[:1]], out=a),
        ):
            with pytest.raises(ValueError, match="read-only"):
                write()
        return a + 0, found.shape

    a = np.arange(4.0)
    plain, traced = run(a.copy(), a), lima.traced(run)(a.copy(), a)
    assert traced[0].tolist() == plain[0].tolist() == a.tolist() and traced[1] == plain[1]


def test_flags_of_an_array_that_plain_code_owns_are_its_own():
    import lima.numpy as xp

    a = np.arange(3.0)
    made = xp.logaddexp.reduce(np.ones((2, 3)), axis=0, out=a)
    made.setflags(write=False)
    assert not a.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        a[0] = 1


def test_arrays_without_elements_can_be_written_after_a_hit():
    def run(seed):
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((0, 3))
        np.round(a, 1, out=a)
        b = rng.uniform(-1, 1, (2, 0, 3))
        c = np.cumsum(b, axis=0, out=b)
        d = b.clip(0, 1, b[:, :])
        return a, b, c, d

    with stress(), lima.session(exactness="bitwise"):
        for _ in range(3):
            for found, wanted in zip(lima.traced(run)(3), run(3)):
                assert found.shape == wanted.shape and found.flags.writeable


def test_plain_code_locks_its_own_array_later():
    v = np.arange(4.0)
    x = lima.numpy.maximum(v, 1.0, out=v)
    v.setflags(write=False)
    assert not x.flags.writeable
    for write in (lambda: setattr(x, "real", 2), lambda: x.__setitem__(0, 2), lambda: x.fill(3)):
        with pytest.raises(ValueError, match="read-only"):
            write()
    assert v.tolist() == [1.0, 1.0, 2.0, 3.0]


def test_nothing_is_written_into_what_is_locked_and_empty():
    a = np.ones((5, 4))
    a.setflags(write=False)
    none = a[:0]
    x = lima.numpy.atleast_2d(none)
    assert lima.numpy.concatenate([none[:1], none[1:]], out=x) is x
