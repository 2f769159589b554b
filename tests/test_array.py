"""`lima.Array` behaves as ndarray does: values, types, protocols, attributes, errors.

Most tests are statements that `bench.fuzz.check` runs with plain NumPy and under lima in all its
ways (waiting or not, cached or not, with and without decorator) and compares to the last bit.
"""

import copy
import operator
import pickle
import zlib

import numpy as np
import pytest
from same import same

import lima
from bench.fuzz import check, report, stress

# A (6, 4), B (4, 4), C (6, 4) not in C order, D (5, 4) float32 or read-only, v (4,), w (6,),
# k (4,) integers, m (6, 4) mask, z (3,) complex, rng, box.a, pair: see `bench.fuzz.inputs`.

OPERATORS = [
    f"r = {left} {op} {right}"
    for op in ("+", "-", "*", "/", "//", "%", "**", "<", "<=", "==", "!=", ">", ">=")
    for left, right in (
        *(("B", "v"), ("v", "B"), ("B", "k"), ("k", "2"), ("2", "k"), ("B", "0.5"), ("0.5", "B")),
        *(("z", "2j"), ("True", "B"), ("np.float32(1.5)", "D"), ("D", "np.float64(2)")),
        *(("[1, 2, 3, 4]", "B"), ("B", "[1.0, 2, 3, 4]"), ("k", "np.array(3)"), ("PLAIN", "v")),
        *(("v", "PLAIN"), ("B", "np.array(1.5)"), ("k.max()", "v"), ("v", "k.max()")),
        *(("k.max()", "k.min()"), ("2", "v.sum()"), ("v.sum()", "2"), ("v.sum()", "k.sum()")),
        *(("A", "v[:3]"), ("B", "None"), ("B", "'x'"), ("m", "m"), ("k", "m[0]")),
    )
]
BITS = [f"r = {a} {op} {b}" for op in "& | ^ << >>".split()
        for a, b in (("k", "3"), ("3", "k"), ("k", "abs(k)"), ("m", "True"), ("B", "k"))]  # fmt: skip
UNARY = [f"r = {op}({a})" for op in ("-", "+", "abs", "~", "not ", "np.sqrt", "np.exp", "np.sign")
         for a in ("B", "k", "m", "z", "v.sum()", "k.max()", "D")]  # fmt: skip
PRODUCTS = [
    f"r = {text}"
    for text in (
        *("B @ v", "v @ B", "v @ v", "A.T @ C", "A @ 2", "[1, 2, 3, 4] @ B", "B @ [1, 2, 3, 4]"),
        *("np.ones((2, 4, 4)) @ B", "A @ A", "PLAIN @ B", "divmod(k, 3)", "divmod(3, k % 5 + 1)"),
        *("divmod(v, 2)", "pow(k, 2)", "pow(v, 0.5)", "B.__matmul__(v)", "v.__rsub__(2)"),
    )
]
SCALARS = [
    f"r = {text}"
    for text in (
        *("float(v.sum())", "int(k.sum())", "bool(k[0])", "complex(z[0])", "bool(B)", "float(B)"),
        *("range(int(abs(k).max()))", "[10, 20, 30][k.argmax() % 3]", "round(v.sum(), 2)"),
        *("round(v.sum())", "'%.3f' % v[0]", "f'{v.sum():.2f}'", "f'{k[0]:d}'", "format(v[1], 'g')"),
        *("str(v.sum())", "hash(k[1])", "{u: n for n, u in enumerate(np.unique(k))}", "len(B)"),
        *("{k[0]: 1}[k[0]]", "v[0] in {v[0], v[1]}", "sorted(v)", "max(v)", "min(k)", "sum(v)"),
        *("list(v)", "list(B)[1]", "tuple(k)", "[x for x in B]", "len(v.sum())", "len(k[0])"),
        *("1 in k", "99 in k", "B[0] in B", "v[0] in v", "list(zip(k, v))", "iter(k[0])"),
        *("all(x > -9 for x in k)", "any(v > 0)", "v[0] < v[1] < v[2]", "0 < v.sum() < 9"),
        *("k.item(0)", "v.sum().item()", "B.item(1, 2)", "B.item()", "B.tolist()", "k[0].tolist()"),
        *("B.tobytes()", "A[:, 0].tobytes()", "np.isscalar(v.sum())", "np.isscalar(v)"),
        *("isinstance(v.sum(), float)", "isinstance(k[0], np.integer)", "isinstance(B, np.ndarray)"),
        *("isinstance(v.sum(), np.ndarray)", "v.sum().dtype", "k.max().shape", "v.sum().T"),
        *("v.sum().reshape(1)", "v.sum()[()]", "v.sum()[...]", "v.sum()[0]", "v.sum()[None]"),
        *("v[0].real", "z[0].imag", "z[0].conjugate()", "abs(z[0])", "-k[0]", "~k[0]", "k[0] ** 2"),
        *("k[0] / 2", "2 ** k[3] if k[3] > 0 else 0", "k[0] // 0.3", "v.max() + k", "v.max() == v"),
        *("np.float64(v.sum())", "np.array([v.sum(), 1])", "np.where(v.sum() > 0, 1, 2)"),
        *("v.sum().astype(int)", "v.sum().copy()", "v.sum().mean()", "k[0].bit_length()"),
        *("not B", "not k[0]", "v if v.any() else k", "B and v", "k[0] or 5"),
    )
]  # fmt: skip
ATTRIBUTES = [
    f"r = {a}.{name}"
    for a in ("A", "C", "B.T", "w[::2]", "k", "z", "v.sum()", "m[:0]", "D")
    for name in (
        *("shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides", "T", "mT", "real"),
        *("imag", "flags.c_contiguous", "flags['F_CONTIGUOUS']", "flags.writeable", "device"),
    )
]
METHODS = [
    f"r = {a}.{call}"
    for a in ("A", "C", "k", "z", "m", "A[:0]", "np.zeros((0, 3))", "v.sum()")
    for call in (
        *("sum()", "sum(axis=0)", "mean(0)", "std(ddof=1)", "var(axis=-1, keepdims=True)", "max()"),
        *("min(axis=0)", "argmax()", "argmin(0)", "prod(dtype=float)", "all()", "any(axis=0)"),
        *("cumsum()", "cumprod(axis=0)", "ravel()", "flatten()", "reshape(-1, 1)", "copy()"),
        *(
            "argsort()",
            "nonzero()",
            "round(1)",
            "clip(0, 1)",
            "conj()",
            "astype(complex)",
            "T.copy()",
        ),
        *("squeeze()", "swapaxes(0, -1)", "take([0, 0])", "repeat(2)", "dot([1, 2, 3])", "trace()"),
        *("diagonal()", "sum(axis=5)", "reshape(99)", "view()", "transpose()", "searchsorted(0.5)"),
        *("max(initial=0)", "sum(where=True)", "flatten('F')", "tolist()", "astype('f4').sum()"),
    )
]
INDICES = [
    f"r = {a}[{index}]"
    for a in ("A", "C.T", "A[::-1]")
    for index in (
        *("0", "-1", "99", "1:3", "::-1", "1:3, ::2", "..., 0", "None", "0, 0", "5, 3", "0, 0, 0"),
        *("[0, 1]", "[True, False] * 3", "[]", "[[0, 1], [1, 0]]", "[0, 1], [1, 2]", ":, [0, 1]"),
        *("[0, 99]", "A[:4, :1].T > 0", "np.array([1, 0])", "np.array(1)", "k[0]", "k[:2] % 4"),
        *("np.ix_([0, 2], [1, 3])", "1.5", "'a'", "[0, 1], :, None", "True", "False", "np.True_"),
        *("(slice(0, 2), 1)", "...", "()", "1, ...", "np.int64(2)", "range(2)", "(0, 1), (1, 0)"),
        *("A.argmax() % 4", "slice(None, k.size)", "None, 0, None", "0:0", "3:1", "-3:, -2:"),
    )
]


def groups(*tables):
    """The statements in programs of some twenty, which costs less than a program for each."""
    lines = sorted({line for table in tables for line in table})
    programs = [lines[k : k + 24] for k in range(0, len(lines), 24)]
    return pytest.mark.parametrize("lines", programs, ids=lambda lines: lines[0])


def holds(*lines):
    """The statements do the same in a plain and in a traced program."""
    __tracebackhide__ = True
    seed = zlib.crc32(lines[0].encode()) % 1000
    program = [line.replace("r =", f"r{k} =") for k, line in enumerate(lines)]
    if check(program, seed) is not None:
        pytest.fail(report(program, seed), pytrace=False)


@groups(OPERATORS, BITS, UNARY, PRODUCTS)
def test_operators(lines):
    holds(*lines)


@groups(SCALARS)
def test_scalars(lines):
    holds(*lines)


@groups(ATTRIBUTES)
def test_attributes(lines):
    holds(*lines)


@groups(METHODS)
def test_methods(lines):
    holds(*lines)


@groups(INDICES)
def test_indices(lines):
    holds(*lines)


# --------------------------------------------------------------------------- dtypes and layouts


def sample(dtype):
    rng = np.random.default_rng(5)
    dtype = np.dtype(dtype)
    if dtype.kind in "Mm":
        return rng.integers(0, 1000, (6, 4)).astype(dtype)
    if dtype.kind in "US":
        return rng.integers(0, 1000, (6, 4)).astype(dtype)
    if dtype.kind == "O":
        return rng.integers(0, 9, (6, 4)).astype(object)
    if dtype.kind == "V":
        return np.array([(k, k / 2, b"x") for k in range(6)], dtype=dtype)
    return (rng.normal(size=(6, 4)) * 4).astype(dtype)


DTYPES = ("?", "i1", "u2", "i4", "u8", "f2", "f4", "f8", "longdouble", "c8", "c16", ">f8", ">i4",
          "M8[D]", "m8[s]", "U5", "S3", "O")  # fmt: skip
USES = {
    "elementwise": lambda a: (a + a, a == a, -a, a * 2, abs(a)),
    "compared": lambda a: (a == a[0], a != a[::-1], a < a[0], a >= a[:, :1]),
    "views": lambda a: (a.T, a[::2, 1:], a.reshape(4, 6), a.ravel()[3], a[..., None], a[a == a]),
    "written": lambda a: (a.__setitem__((0, slice(None)), a[1]), a[:2].sort(), a),
    "reduced": lambda a: (a.max(), a.min(axis=0), a.argmax(), np.sort(a, axis=0), np.unique(a)),
    "summed": lambda a: (a.sum(), a.mean(axis=0), a.cumsum()),
    "joined": lambda a: (np.concatenate([a, a]), np.vstack([a[0], a]), np.where(a == a, a, a)),
    "product": lambda a: (a.T @ a, a.T @ a.copy(), np.dot(a[0], a[1])),
    "copied": lambda a: (a.copy(), a.astype(a.dtype), np.array(a), a.tolist()),
    "looped": lambda a: [list(row) for row in a],
    "scalar": lambda a: (a[0, 0], str(a[0, 0]), a[0, 0] == a[0, 1], a[1, 1].dtype, a.item(3)),
    "in place": lambda a: (a.__iadd__(a[0]), a),
    "filled": lambda a: (a.fill(a[1, 1]), np.zeros_like(a), np.full_like(a, a[0, 0])),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype, use):
    same(USES[use], lambda: (sample(dtype),))


LAYOUTS = {
    "C": lambda a: a,
    "Fortran": np.asfortranarray,
    "backwards": lambda a: a[::-1, ::-1],
    "every other": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "read-only": lambda a: tied(a),
    "broadcast": lambda a: np.broadcast_to(a[0], a.shape),
    "empty": lambda a: a[:0],
    "no columns": lambda a: a[:, :0],
    "one": lambda a: a[:1, :1],
    "NaN": lambda a: np.where(a > 1, np.nan, a),
    "unaligned": lambda a: unaligned(a),
}


def tied(a):
    a = a.copy()
    a.setflags(write=False)
    return a


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    raw[...] = a
    return raw


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, use):
    same(USES[use], lambda: (LAYOUTS[layout](sample("f8")),))


def test_memory_mapped_input(tmp_path):
    plain = sample("f8")
    plain.tofile(tmp_path / "a")

    def use(a):
        a[0] += 1
        return a.T @ a, a[::2].sum(axis=0)

    def make():
        plain.tofile(tmp_path / "a")
        return (np.memmap(tmp_path / "a", dtype=float, mode="r+", shape=plain.shape),)

    wanted, (traced, mapped) = use(plain.copy()), (lima.traced(use), make()[0])
    for got, want in zip(traced(mapped), wanted):
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, want)
    mapped.flush()
    assert np.fromfile(tmp_path / "a")[0] == plain[0, 0] + 1


def test_structured_arrays():
    kind = [("n", "i4"), ("x", "f8"), ("s", "S3")]

    def use(a):
        a["x"] *= 2
        a[0] = (7, 0.5, b"ab")
        a["n"][1:3] = 5
        first = a[0]
        return a, a["x"].sum(), a[["n", "x"]], first["n"], np.sort(a, order="x"), a[a["n"] > 2]

    same(use, lambda: (sample(kind),))


def test_object_arrays_are_right_and_never_reused():
    def use(a):
        return a.sum(), a * 2, a.reshape(-1), np.array([1, None])

    same(use, lambda: (sample("O"),))
    with stress(), lima.session() as s:
        traced = lima.traced(use)
        traced(sample("O"))
        traced(sample("O"))
        assert s.stats.hits == 0


def test_masked_arrays_and_matrices_are_left_to_numpy():
    def use(a):
        masked = np.ma.masked_less(a, 0)
        return masked.sum(), masked.filled(9), np.ma.mean(masked), np.matrix(a) * np.matrix(a.T)

    same(use, lambda: (sample("f8"),))


def test_a_plain_copy_has_the_memory_order_of_the_array():
    x = lima.array(np.asfortranarray(np.arange(12.0).reshape(3, 4)))
    assert np.array(x).flags.f_contiguous
    assert np.array(x.T, copy=True).flags.c_contiguous
    assert np.ma.array(x, copy=True).data.flags.f_contiguous


def test_scalars_have_no_matrix_product():
    def products(x):
        for call in (
            lambda s: s @ s,
            lambda s: 3 @ s,
            lambda s: operator.imatmul(s, np.float32(2)),
            lambda s: s @ x,
            lambda s: (s > 0) @ s,
        ):
            with pytest.raises((TypeError, ValueError)) as error:
                call(x.sum())
            yield type(error.value), str(error.value)

    def run(x):
        return list(products(x))

    x = np.arange(3.0)
    assert lima.traced(run)(x) == run(x)


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("shape, dtype", [((3,), "i8"), ((2,), "f8"), ((), "f8"), ((2, 3), "f8")])
def test_several_results_that_do_not_fit_are_refused_as_by_numpy(shape, dtype, locked):
    def divide(x):
        out = np.zeros(shape, dtype)
        out.setflags(write=not locked)
        try:
            return np.divmod(x, 2, out=(out, np.zeros(x.shape)))[0].sum()
        except (TypeError, ValueError) as error:
            return type(error).__name__, str(error)

    x = np.arange(3.0)
    assert lima.traced(divide)(x) == divide(x)


@pytest.mark.parametrize(
    "masked", [np.ma.masked, np.ma.masked_less([3, 1], 2)], ids=["one", "some"]
)
def test_powers_with_masked_exponents(masked):
    """Those note the class of the base."""
    found = lima.traced(lambda x: x**masked)(np.array([2.0, 3.0]))
    wanted = np.array([2.0, 3.0]) ** masked
    assert type(found) is type(wanted) and found.dtype == wanted.dtype
    assert repr(found) == repr(wanted)


def test_one_element_that_runs_backwards_is_another_leaf():
    """NumPy takes it for a vector with gaps, whose functions may round otherwise."""

    def root(a):
        return np.cbrt(a)

    traced = lima.traced(root)
    with stress(), lima.session():
        for number in np.random.default_rng(0).random(40):
            pair = np.array([number, number])
            for a in (pair[:1], pair[0::-2]):
                assert traced(a).tobytes() == root(a).tobytes()


def test_masked_arrays_and_matrices_as_arguments():
    def use(masked, matrix):
        return masked + 1, matrix * matrix, np.sqrt(matrix), masked.mean()

    same(use, lambda: (np.ma.masked_less(sample("f8"), 0), np.matrix([[1.0, 2], [3, 4]])))


# --------------------------------------------------------------------------- outside of traced code


def test_what_isinstance_sees():
    x = lima.array([[1.0, 2.0], [3.0, 4.0]])
    assert isinstance(x, np.ndarray) and isinstance(x, lima.Array)
    assert isinstance(x.sum(), float) and isinstance(x.argmax(), np.integer)
    assert not isinstance(x.sum(), np.ndarray) and not isinstance(x, np.generic)
    assert np.isscalar(x.sum()) and not np.isscalar(x)


def test_conversion_to_plain_arrays():
    x = lima.array(np.arange(6.0).reshape(2, 3))
    view, copied = np.asarray(x), np.array(x)
    assert type(view) is np.ndarray is type(copied)
    assert not view.flags.writeable and copied.flags.writeable
    assert np.asarray(x, dtype="f4").dtype == np.float32
    assert np.asarray(x, copy=True).flags.writeable
    with pytest.raises(ValueError, match="copy"):
        np.asarray(x, dtype=int, copy=False)
    copied[...] = 9
    assert x[0, 0] == 0


def test_a_view_given_out_sees_what_is_written_as_that_of_a_plain_array():
    def program(x):
        seen = np.asarray(x)
        x += 1
        return seen.tolist(), x.tolist(), seen.flags.writeable

    plain = program(np.arange(4.0) + 1)
    traced = program(lima.array(np.arange(4.0)) + 1)
    assert traced[:2] == plain[:2] == ([2, 3, 4, 5], [2, 3, 4, 5])
    assert not traced[2]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    for x in (lima.array([1.5, 2]), lima.array([1.5, 2]).sum(), lima.array([[1, 2]]).T):
        back = pickle.loads(pickle.dumps(x, protocol))
        assert type(back) is lima.Array
        assert (back.dtype, back.shape, back.tobytes()) == (x.dtype, x.shape, x.tobytes())


def test_copies():
    x = lima.array([1.0, 2.0])
    for copied in (copy.copy(x), copy.deepcopy(x), x.copy(), np.copy(x)):
        copied[0] = 9
        assert x[0] == 1
    held = {"x": x, "again": x}
    deep = copy.deepcopy(held)
    assert deep["x"] is deep["again"] is not x


def test_texts():
    x = lima.array([[1.0, 2.0], [3.0, 4.0]], name="x")
    assert str(x) == str(np.asarray(x))
    assert "shape=(2, 2)" in repr(x) and "float64" in repr(x) and "'x'" in repr(x)
    assert "op='matmul'" in repr(x.T @ x)
    assert "<script>" not in lima.array(["<script>"])._repr_html_()
    assert "float64" in x._repr_html_() and "lima.Array" in x._repr_html_()
    assert repr(x.sum()).startswith("Array(10.0")
    large = lima.array(np.zeros(100_000))
    assert len(repr(large)) < 500 and len(large._repr_html_()) < 2000


def test_a_reused_result_says_so():
    with stress(), lima.session():
        x = lima.array(np.ones((4, 4)))
        assert "reused" not in repr(x @ x)
        assert "reused" in repr(x @ x)


def test_attribute_errors_are_those_of_arrays():
    x = lima.array([1.0])
    for name in ("no_such", "append", "values"):
        assert not hasattr(x, name)
    with pytest.raises(AttributeError):
        x.new = 1
    with pytest.raises(AttributeError):
        x.sum().dot(x)


def test_arrays_are_unhashable_and_scalars_are_not():
    x = lima.array([1.0, 2.0])
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)
    assert {x[0]: 1}[1.0] == 1 and hash(x.sum()) == hash(3.0)


def test_other_classes_that_refuse_ufuncs_have_the_last_word():
    class Other:
        __array_ufunc__ = None

        def __radd__(self, other):
            return "other"

        __rmatmul__ = __radd__

    x = lima.array([1.0])
    assert x + Other() == "other" and x @ Other() == "other"


def test_array_api_namespace():
    xp = lima.array([1.0]).__array_namespace__()
    assert xp.sum(xp.ones(3)) == 3 and type(xp.ones(3)) is lima.Array


def test_flat():
    x = lima.array(np.arange(6).reshape(2, 3)).T + 0
    assert list(x.flat) == [0, 3, 1, 4, 2, 5] and len(x.flat) == 6
    x.flat[1::2] = [7, 8]
    assert x.tolist() == [[0, 7], [1, 8], [2, 7]]
    x.flat[-1] = 9
    x.flat[x.flat.copy() == 7] = 0
    assert x.flat[:].tolist() == [0, 0, 1, 8, 2, 9]
    x.flat = 5
    assert x.sum() == 30 and next(x.flat) == 5 and np.asarray(x.flat).shape == (6,)


# --------------------------------------------------------------------------- errors

ERRORS = {
    "shapes": lambda a: a + a.T[:3],
    "product": lambda a: a @ a,
    "axis": lambda a: a.sum(axis=2),
    "bounds": lambda a: a[99],
    "bounds of a list": lambda a: a[[0, 99]],
    "index": lambda a: a["x"],
    "too many": lambda a: a[0, 0, 0],
    "mask": lambda a: a[np.ones(3, bool)],
    "reshape": lambda a: (a + 1).reshape(5, 5),
    "stack": lambda a: np.vstack([a, a.T]),
    "assign": lambda a: a.__setitem__(0, [1, 2, 3]),
    "singular": lambda a: np.linalg.solve(a[:4] * 0, a[0]),
    "not positive": lambda a: np.linalg.cholesky(-a[:4]),
    "not square": lambda a: np.linalg.inv(a),
    "truth": lambda a: bool(a),
    "float": lambda a: float(a),
    "len": lambda a: len(a.sum()),
    "iterate": lambda a: list(a.sum()),
    "power": lambda a: a.astype(int) ** -1,
    "bits": lambda a: a & 1,
    "unknown argument": lambda a: a.sum(axes=1),
    "missing argument": lambda a: np.take(a),
    "einsum": lambda a: np.einsum("ij,jk", a, a),
    "dtype": lambda a: a.astype("no such"),
    "concatenate": lambda a: np.concatenate([]),
    "no axes": lambda a: np.transpose(a, (0, 2)),
}


@pytest.mark.parametrize("what", ERRORS)
def test_errors_are_of_numpys_kind_and_come_at_the_call(what):
    """Also when the operands wait, and inside a `try` of the user's."""
    wanted = same(ERRORS[what], lambda: (sample("f8"),))
    assert isinstance(wanted, type) and issubclass(wanted, Exception)

    def caught(a):
        waiting = a + 1
        try:
            ERRORS[what](waiting)
        except wanted:
            return "caught"
        return "raised nothing"

    assert same(caught, lambda: (sample("f8"),)) == ("str", "'caught'")


def test_linear_algebra_error_inside_try():
    def use(a, b):
        try:
            return np.linalg.solve(a, b)
        except np.linalg.LinAlgError:
            return np.linalg.lstsq(a, b, rcond=None)[0]

    same(use, lambda: (np.zeros((3, 3)), np.ones(3)))
    same(use, lambda: (np.eye(3), np.ones(3)))


def test_floating_point_errors_that_raise():
    def use(a):
        with np.errstate(all="raise"):
            try:
                return a / 0
            except FloatingPointError as error:
                return str(error)

    same(use, lambda: (np.ones(5),))
    same(use, lambda: (np.ones((200, 300)),))


def test_waiting_operations_of_a_raising_program_raise_where_they_stand():
    seen = []

    def use(a):
        b = a - 1
        with np.errstate(divide="raise"):
            seen.append("before")
            c = 1 / b
            seen.append("after")
        return c

    with pytest.raises(FloatingPointError):
        lima.traced(use)(np.ones((300, 300)))
    assert seen == ["before"]


def test_in_traced_code_arrays_print_themselves_as_in_numpy():
    """Programs make text of arrays and of what holds them; what `lima.array` gives says how."""

    def program(x):
        held = [x[0], x * 2], {"total": x.sum()}
        return repr(x), f"{x!r} {x.mean()!r}", str(held), f"{(x > 1,)}", repr(np.float32(1) + x)

    same(program, lambda: (np.array([1.0, 2.5]),))
    same(program, lambda: (np.arange(2000).reshape(2, -1),))
    assert repr(lima.array([1.0])).startswith("Array(")


def test_generators_print_themselves_as_in_numpy():
    def program(rng):
        return repr(rng)[:16], str(rng)

    same(program, lambda: (np.random.default_rng(1),))
