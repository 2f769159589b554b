"""What of NumPy writes into an argument is found by calling everything NumPy has.

So a new NumPy cannot add a name unseen: whatever writes must have the same effect on a traced
array, or be refused.
"""

import copy
import inspect
import warnings

import numpy as np
import pytest
from numpy.testing.overrides import get_overridable_numpy_array_functions
from same import public

import lima
from lima.errors import UnsupportedError
from lima.ops.coverage import BARRIERS

A = np.array([[3.0, -1.0, 2.0], [0.0, 5.0, -4.0], [1.0, 7.0, 6.0]])
V = np.array([4.0, -2.0, 9.0, np.nan])
K = np.array([2, 0, 1])
P = np.array([True, False, True, True])
ARGUMENTS = [
    (A,), (V,), (K,), (A, 1), (A, 1.5), (V, 0), (A, A.T), (V, V[::-1].copy()), (A, A[0]),
    (V, K, 8.0), (V, P, 8.0), (V, P, [8.0]), (A, K[None], 8.0, 0), (A, K[:, None], 8.0, 1),
    (A, A > 1, [5.0, 6.0]), (A, 5.0, False), (V, "i8"), (V, 3.0, "f8"), (A, (9,)), (A, 9), (A, 2, 0),
    (V, False), (V, True), (V, "quicksort"), (K, A), ([A, A.T],), (A, [0, 2], [1.0, 2.0]),
    (A, 0.5, 0),
]  # fmt: skip
"""Ways to call what nobody told us how to call."""

OPTIONS = [{}, {"copy": False}, {"inplace": True}, {"axis": 0}, {"write": False}]

_FILES = set(BARRIERS["writes or reads a file"].split())


def names(functions):
    """Functions by their names below `numpy`, in one order: `outer` and `linalg.outer` are two."""
    found = {}
    for f in functions:
        module = (getattr(f, "__module__", None) or "numpy").removeprefix("numpy").lstrip(".")
        if f.__name__ not in _FILES:
            found[f"{module}.{f.__name__}".lstrip(".")] = f
    return dict(sorted(found.items()))


METHODS = names(
    m for name, m in vars(np.ndarray).items()
    if callable(m) and name not in {"tofile", "dump", "__setstate__", "__new__", "__init__"}
)  # fmt: skip
FUNCTIONS = names(get_overridable_numpy_array_functions())
AT = {f.__name__: f.at for f in vars(np).values() if isinstance(f, np.ufunc) and f.nin <= 2}


def left(function, args, options):
    """Result or error of a call, and what it left of its arguments."""
    args = copy.deepcopy(args)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            function(*args, **options)
            kind = None
        except Exception as error:
            kind = type(error)
    return kind, [state(a) for a in args]


def state(a):
    if isinstance(a, list):
        return [state(x) for x in a]
    if not isinstance(a, np.ndarray):
        return a
    return a.dtype, a.shape, a.tobytes(), a.flags.writeable


def writing_calls(function):
    """The calls of a function that change an argument."""
    operator = function.__name__.startswith("__") and function.__name__ != "__setitem__"
    for args in ARGUMENTS:
        if operator and len(args) != 2:
            continue
        for options in OPTIONS:
            kind, after = left(function, args, options)
            if after != [state(a) for a in args]:
                yield args, options, kind, after


def found_among(functions):
    return {name for name, f in functions.items() if next(writing_calls(f), None) is not None}


def test_methods_that_write_are_found():
    assert found_among(METHODS) >= {
        "fill", "partition", "put", "resize", "setfield", "setflags", "sort", "byteswap",
        "__setitem__", "__iadd__", "__imatmul__", "__ipow__",
    }  # fmt: skip


def test_functions_that_write_are_found():
    assert found_among(FUNCTIONS) >= {
        "copyto", "fill_diagonal", "nan_to_num", "place", "put", "put_along_axis", "putmask",
    }  # fmt: skip


def same_effect(function, spelled):
    """The traced call leaves what the plain one leaves, or says that it cannot be traced."""
    for args, options, kind, after in writing_calls(function):

        def call(*args, options=options):
            spelled(*args, **options)

        with lima.session():
            found, left_over = left(lima.traced(call), args, {})
        if found is not None and issubclass(found, UnsupportedError):
            continue
        if spelled.__name__ == "resize" and found is ValueError:
            continue  # NumPy's own refusal, which there depends on reference counts
        label = f"{spelled.__name__}{args} {options}"
        assert left_over == after, label
        assert (found and public(found)) == (kind and public(kind)), label


@pytest.mark.parametrize("name", METHODS)
def test_methods(name):
    def spelled(a, *args, **options):
        getattr(a, name)(*args, **options)

    spelled.__name__ = name
    same_effect(METHODS[name], spelled)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    same_effect(FUNCTIONS[name], FUNCTIONS[name])


@pytest.mark.parametrize("name", AT)
def test_universal_functions_at_places(name):
    same_effect(AT[name], AT[name])


# --------------------------------------------------------------------------- out=


def takes_out(function):
    """Whether a function has a parameter for the array to write, by signature or by its text."""
    try:
        return "out" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return "out=None" in (function.__doc__ or "").partition("\n")[0]


WITH_OUT = sorted(name for name, f in FUNCTIONS.items() if takes_out(f))


def test_functions_with_out_are_found():
    assert {"sum", "dot", "clip", "take", "concatenate", "einsum", "median"} <= set(WITH_OUT)


@pytest.mark.parametrize("name", WITH_OUT)
def test_out(name):
    """What NumPy writes into `out=`, lima writes into a traced array."""
    function = FUNCTIONS[name]
    tried = 0
    first = [(name_,) for name_ in ("...,...->...",)] if name == "einsum" else [()]
    dates = "busday" in name  # NumPy takes lists of numbers for dates, arrays of numbers not
    for args in [(*more, *args) for more in first for args in ARGUMENTS]:
        if dates and isinstance(args[0], list):
            continue
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                result = function(*copy.deepcopy(args))
            except Exception:
                continue
            if not isinstance(result, np.ndarray):
                continue
            out = np.full_like(result, 3)

            def call(out, *args):
                return function(*args, out=out) is out

            plain = left(call, (out, *args), {})
            with lima.session():
                traced = left(lima.traced(call), (out, *args), {})
        tried += plain[0] is None
        assert traced[1] == plain[1] and (traced[0] is None) == (plain[0] is None), args
    assert tried or name in {"choose", "compress", "correlate", "busday_count", "busday_offset",
                             "is_busday", "frombuffer", "stack", "concatenate"}  # fmt: skip
