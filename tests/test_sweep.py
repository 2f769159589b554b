"""Every universal function, reduction and copy over dtypes and layouts: NumPy's answer, twice.

Values, dtype, shape, whether it may be written, contiguity, warnings, and the bits of what is
computed again from the log. SciPy's universal functions are among them, in tests that are slow all together.
"""

import functools
import importlib
import re
import warnings

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import scipy.special
from same import public

import lima
from bench.fuzz import stress
from lima.ops import of_scipy
from lima.twin import twin_of

DTYPES = "? b h i q B H I Q e f d g F D G >f8 >i4 M8[D] m8[s] U3 S2".split()
LAYOUTS = {
    "C": lambda a: a,
    "F": np.asfortranarray,
    "reversed": lambda a: a[::-1],
    "stepped": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "broadcast": lambda a: np.broadcast_to(a[0], a.shape),
    "empty": lambda a: a[:0],
    "vector": lambda a: a[0],
    "no axes": lambda a: a[0, 0, ...],
}


@functools.cache
def sample(dtype):
    """Three by four elements of a dtype. Kept, so that logs find them."""
    a = elements(dtype)
    a.setflags(write=False)  # so that `lima.array` takes it as it is
    return a


def elements(dtype):
    kind = np.dtype(dtype).kind
    if kind in "US":
        return np.array([["a", "bb", "", "c"]] * 3, dtype)
    numbers = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 1, 1]])
    if kind == "b":
        return numbers % 2 == 0
    a = numbers.astype(dtype)
    if kind in "fc":
        a = a / 4 - 1
        a[2] = [np.nan, np.inf, -np.inf, -0.0]
    return a.astype(dtype)


def outcome(call):
    """Result or error, and the warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = call()
        except Exception as error:
            return ("raised", public(type(error))), []
        shown = [picture(x) for x in (found if isinstance(found, (tuple, list)) else [found])]
    return shown, sorted({(w.category, str(w.message)) for w in caught}, key=repr)


def picture(x):
    if type(x) in (bool, int, float, complex, type(None)):
        return type(x), repr(x)  # as `scipy.linalg.norm` gives them
    a = np.asarray(x)
    flags = x.flags.writeable, x.flags.c_contiguous, x.flags.f_contiguous
    bits = repr(a.tolist()) if a.dtype.char in "gGO" else a.tobytes()
    return a.dtype.str, a.shape, flags, bits


def check(function, traced, ways):
    """Compare the calls of a function, plain and traced, with arguments of many kinds.

    A way makes the arguments of one call, given what makes an array traced.
    """
    for way in ways:
        wanted = outcome(lambda way=way: function(*way(plain)))
        with lima.session(exactness="bitwise"):
            given = way(lima.array)
            label = ", ".join(f"{getattr(a, 'dtype', a)}{np.shape(a)}" for a in given)
            label = f"{function.__name__}({label})"
            first = outcome(lambda given=given: traced(*given))
            assert first[0] == wanted[0], label
            assert first[1] == wanted[1], f"{label}: {first[1]}, not {wanted[1]}"
            again = outcome(lambda given=given: traced(*given))
            assert again[0] == wanted[0], f"{label} again"
            a = given[0]
            if wanted[0][0] != "raised" and np.ndim(a) == 2 and a.flags.c_contiguous:
                recomputed(traced, given, label)


def plain(a):
    return a.copy()


def recomputed(traced, given, label):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = traced(*given)
        for x in found if isinstance(found, (tuple, list)) else [found]:
            if (
                isinstance(x, lima.Array)
                and x.dtype.kind not in "OUSV"
                and x.dtype.char not in "gG"
            ):
                assert picture(lima.recompute(x))[3] == picture(x)[3], f"{label} recomputed"


def ways(nin):
    for k, dtype in enumerate(DTYPES):
        some = LAYOUTS if dtype == "d" else ("C", list(LAYOUTS)[1 + k % 7])
        for lay in some:
            yield functools.partial(laid_out, nin, dtype, LAYOUTS[lay])
        if nin == 2:
            for other in (2, 1.5, True, np.float32(2), sample("b"), sample("d")):
                yield lambda wrap, dtype=dtype, other=other: [wrap(sample(dtype)), other]
                yield lambda wrap, dtype=dtype, other=other: [other, wrap(sample(dtype))]


def laid_out(nin, dtype, lay, wrap):
    a = lay(wrap(sample(dtype)))
    return [a] * nin if nin != 2 else [a, a[::-1] if a.ndim else a]


def ufuncs_of(module):
    """The universal functions of a module, each once, by their first name."""
    found = {id(f): f for f in vars(module).values() if isinstance(f, np.ufunc)}
    return list(found.values())


UFUNCS = [f for f in ufuncs_of(np) if not f.signature]


@pytest.mark.parametrize("function", UFUNCS, ids=lambda f: f.__name__)
def test_universal_functions(function):
    with stress():
        check(function, function, ways(function.nin))


ONE = (
    "sum prod max min mean std var any all argmax argmin cumsum cumprod ptp median sort argsort"
    " ravel copy transpose unique nonzero diff flip squeeze round count_nonzero nanmax nansum"
    " nanmean trace tril roll real imag isfinite nan_to_num"
).split()


@pytest.mark.parametrize("name", ONE)
def test_functions_of_one_array(name):
    function = getattr(np, name)
    more = {"roll": (1,)}.get(name, ())
    axes = {
        "sum",
        "prod",
        "max",
        "min",
        "mean",
        "std",
        "var",
        "any",
        "all",
        "argmax",
        "cumsum",
        "sort",
    }

    def calls():
        for way in ways(1):
            yield lambda wrap, way=way: [*way(wrap), *more]
            if name in axes:
                yield lambda wrap, way=way: [*way(wrap), 0]

    with stress():
        check(function, function, calls())


SPECIAL = [f for f in ufuncs_of(scipy.special) if not f.signature and f not in UFUNCS]


@pytest.mark.slow
@pytest.mark.parametrize("function", SPECIAL, ids=lambda f: f.__name__)
def test_universal_functions_of_scipy(function):
    """All of `scipy.special` that have rows: those without core dimensions."""
    of_scipy.provide("scipy.special")
    of_orders = re.fullmatch(ENDLESS, function.__name__)
    with stress():
        check(function, twin_of(function), whole(function) if of_orders else ways(function.nin))


LINALG = (
    "inv det svdvals expm sqrtm logm cosm sinm null_space orth eigvals eigvalsh cholesky norm svd eig"
    " eigh qr lu lu_factor cho_factor schur hessenberg polar pinv toeplitz hankel circulant"
).split()
FFT = (
    "fft ifft rfft irfft hfft ihfft fft2 ifft2 rfft2 irfft2 fftn ifftn rfftn irfftn"
    " dct idct dst idst dctn idctn dstn idstn"
).split()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(f"linalg.{n}" for n in LINALG), *(f"fft.{n}" for n in FFT)])
def test_functions_of_scipy(name):
    """Rows of one array, a matrix for `scipy.linalg`, that are found where SciPy is."""
    module, _, name = name.partition(".")
    of_scipy.provide(f"scipy.{module}")
    function = getattr(importlib.import_module(f"scipy.{module}"), name)
    given = square if module == "linalg" else sample
    with stress():
        check(function, twin_of(function), arranged(given, UNFIT.get(name, ())))


UNFIT = {"inv": ["?"], "lu": [">f8", ">i4"]}
"""Dtypes of which SciPy 1.17 makes nothing: it ends the process, or overlooks an error of its own."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["solve", "lstsq", "solve_triangular"])
def test_solvers_of_scipy(name):
    of_scipy.provide("scipy.linalg")
    function = getattr(scipy.linalg, name)
    ways = [
        lambda wrap, way=way, right=right: [*way(wrap), wrap(square(right))]
        for way in arranged(square)
        for right in ("d", "f", "D", "q", "?")
    ]
    with stress():
        check(function, twin_of(function), ways)


def arranged(given, without=()):
    """Arguments of functions of one array, in two layouts for each dtype, and in all for one."""
    for k, dtype in enumerate(DTYPES):
        if dtype in without:
            continue
        for lay in LAYOUTS if dtype == "d" else ("C", list(LAYOUTS)[1 + k % 7]):
            yield lambda wrap, dtype=dtype, lay=LAYOUTS[lay]: [lay(wrap(given(dtype)))]


@functools.cache
def square(dtype):
    """A matrix that has a factor, an inverse and a logarithm."""
    kind = np.dtype(dtype).kind
    a = np.array([[5, 1, 0, 1], [1, 4, 1, 0], [0, 1, 6, 1], [1, 0, 1, 3]])
    a = a.astype(dtype) if kind not in "US" else a.astype(str).astype(dtype)
    a.setflags(write=False)
    return a


def test_what_the_sweep_of_scipy_calls():
    assert len(SPECIAL) > 200
    assert 15 < sum(bool(re.fullmatch(ENDLESS, f.__name__)) for f in SPECIAL) < 20


ENDLESS = "mathieu_(mod)?[cs]em[12]?|(obl|pro)_(cv|rad[12](_cv)?)"
"""Functions that SciPy never ends, or the process with them, for orders that are no whole numbers."""


def whole(function):
    """Arguments of such functions: two orders, of which the first is the smaller, then numbers.

    The last may be that of a radial function, which is defined from one on. Characteristic values
    of spheroidal functions are given no float32, in which SciPy looks for some of them for ever.
    """
    nin = function.nin
    doubles = function.__name__[:4] in ("obl_", "pro_") and nin < 5
    for k, dtype in enumerate(DTYPES):
        short = doubles and np.can_cast(dtype, "f")
        if np.dtype(dtype).kind in "biufc" and not short:
            some = LAYOUTS if dtype == "d" else ("C", list(LAYOUTS)[1 + k % 7])
            for lay in some:
                yield lambda wrap, dtype=dtype, lay=LAYOUTS[lay]: [
                    lay(wrap(order(j, dtype))) for j in range(nin)
                ]
            yield lambda wrap, dtype=dtype: [1, 2, *[wrap(order(2, dtype))] * (nin - 2)]


@functools.cache
def order(j, dtype):
    """Whole numbers for the argument at a place: 0 or 1, then what is not less, then 2 to 4."""
    numbers = np.arange(12).reshape(3, 4)
    a = [numbers % 2, numbers % 2 + numbers % 3, numbers % 3 + 2][min(j, 2)].astype(dtype)
    a.setflags(write=False)
    return a
