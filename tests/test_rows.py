"""Every row of the operation table against NumPy, generated from the rows.

A row without a sample call fails. Random draws have tests of their own, and so have the rows of
indexing, which no NumPy function spells.
"""

import contextlib
import copy
import operator
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing.overrides import (
    get_overridable_numpy_array_functions,
    get_overridable_numpy_ufuncs,
)
from row_samples import NO_LOOP, samples_of

import lima
from lima.calls import function as dispatch
from lima.op import CALLS, OPS, Kind, Lift, bind, evaluate, own
from lima.ops import SPELLINGS, spell

ELSEWHERE = (
    "lima.ops.index",
    "lima.ops.random",
    "lima.ops.parts",
    "lima.ops.callbacks",
    "lima.ops.solutions",
    "lima.ops.tall",
    "lima.ops.in_blocks",
    "lima.ops.by_rows",
    "lima.ops.labelled",
    "lima.ops.counted",
)
ROWS = [
    row
    for row in OPS.values()
    if getattr(row.kernel, "__module__", "") not in ELSEWHERE and not row.name.startswith("scipy.")
]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
OPERATORS = (operator.pow, operator.ipow, operator.mul, operator.abs)
"""Python operators that are rows of their own; the duck array's methods lead to them."""


class PlainLift(Lift):
    def operand(self, x):
        return np.asarray(x) if isinstance(x, (list, tuple)) else x

    def is_array(self, x):
        return isinstance(x, np.ndarray)


def bound(row, args, kwargs):
    return bind(row, args, kwargs, PlainLift())


def calls_of(row):
    """Sample calls: (NumPy callable, args, kwargs, args and kwargs as the row has them)."""
    for function, args, kwargs in samples_of(row):
        if function in OPERATORS:
            yield function, args, kwargs, args, kwargs
            continue
        meant, row_args, row_kwargs = spell(function, args, kwargs)
        assert meant is row, f"{function} with {kwargs} means {meant}"
        yield function, args, kwargs, row_args, row_kwargs


def assert_same(got, wanted):
    if isinstance(wanted, (tuple, list)):
        assert type(got) is type(wanted) or {type(got), type(wanted)} == {list, tuple}
        assert len(got) == len(wanted)
        for g, w in zip(got, wanted):
            assert_same(g, w)
        return
    assert type(got) is type(wanted)
    if isinstance(wanted, np.ndarray):
        assert (got.dtype, got.shape, got.strides) == (wanted.dtype, wanted.shape, wanted.strides)
    assert bits(got) == bits(wanted)


def bits(x):
    return x.tobytes() if isinstance(x, (np.ndarray, np.generic)) else repr(x)


def arrays_in(result):
    if isinstance(result, (tuple, list)):
        return [a for item in result for a in arrays_in(item)]
    return [result] if isinstance(result, np.ndarray) else []


by_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@by_row
def test_same_bits_as_numpy(row):
    used = 0
    for function, args, kwargs, row_args, row_kwargs in calls_of(row):
        used += 1
        inputs, spec = bound(row, row_args, row_kwargs)
        before = [bits(i) for i in inputs]
        got = evaluate(row, spec, inputs)
        assert [bits(i) for i in inputs] == before
        if row.into is not None or "out" in kwargs:
            args, kwargs = copy.deepcopy((args, kwargs))
        wanted = function(*args, **kwargs)
        if row.into is not None:
            assert wanted is None or wanted is args[0]
            wanted = args[0]
        assert_same(got, wanted)
        if isinstance(got, tuple):
            assert row.wrap is not None and type(got) in (row.wrap, tuple)
    assert used or row.name in NO_LOOP, f"{row.name} has no sample in tests/row_samples.py"


@pytest.mark.parametrize("function", [np.empty, np.empty_like])
def test_what_is_undetermined_is_zeros(function):
    """So results never hang on what memory held before."""
    zeros = {np.empty: np.zeros, np.empty_like: np.zeros_like}[function]
    samples = samples_of(OPS[zeros.__name__])
    assert len(samples) > 4
    for _, args, kwargs in samples:
        row, row_args, row_kwargs = spell(function, args, kwargs)
        assert row is OPS[zeros.__name__]
        got = evaluate(row, *reversed(bound(row, row_args, row_kwargs)))
        assert_same(got, zeros(*args, **kwargs))
    prototype = np.ones((2, 3), np.float32)
    row, args, kwargs = spell(np.empty_like, (), {"prototype": prototype, "order": "F"})
    got = evaluate(row, *reversed(bound(row, args, kwargs)))
    assert_same(got, np.zeros_like(prototype, order="F"))


@by_row
def test_results_that_may_lie_in_operands_are_known(row):
    """Programs that write in place rely on it (`lima.owned`)."""
    if row.kind is Kind.VIEW or row.into is not None or row.gives:
        return
    for function, _, call, args, kwargs in calls_of(row):
        if "out" in call or function in OPERATORS:
            continue
        inputs, spec = bound(row, args, kwargs)
        given = inputs if spec.npos is None else inputs[: spec.npos]
        named = spec.kwargs(inputs)
        made = row.kernel(given, **named) if row.variadic else row.kernel(*given, **named)
        for found in arrays_in(made):
            for operand in inputs:
                if isinstance(operand, np.ndarray) and row.threads_state is None:
                    assert not np.shares_memory(found, operand)


@by_row
def test_what_is_inferred_is_what_is_computed(row):
    if row.infer is None or row.name in NO_LOOP:
        return
    inferred = 0
    for _, _, _, args, kwargs in calls_of(row):
        inputs, spec = bound(row, args, kwargs)
        known = [
            SimpleNamespace(meta=(i.shape, i.dtype), data=i) if isinstance(i, np.ndarray) else i
            for i in inputs
        ]
        meta = row.infer(known, spec)
        if meta is None:
            continue
        inferred += 1
        result = evaluate(row, spec, inputs)
        assert meta == (result.shape, result.dtype)
    assert inferred, "nothing was inferred for any sample"


@by_row
def test_one_meaning_has_one_key(row):
    for _, _, _, args, kwargs in calls_of(row):
        inputs, spec = bound(row, args, kwargs)
        named = dict(zip(row.names, args)) | kwargs
        defaults = {
            name: default
            for name, default in row.params.items()
            if default is not OPS["sum"].params["initial"] and name not in named
        }
        for more in ({}, defaults):
            again, same = bound(row, (), named | more)
            assert same.prefix == spec.prefix
            assert len(again) == len(inputs)


PROBES = {"axis": 97, "dtype": "complex64"}


@by_row
def test_every_parameter_is_in_the_key(row):
    for _, _, _, args, kwargs in calls_of(row):
        named = dict(zip(row.names, args)) | kwargs
        prefixes = [bound(row, (), named)[1].prefix]
        for name in row.params:
            if name != "out":
                probe = PROBES.get(name, 987654321)
                prefixes.append(bound(row, (), named | {name: probe})[1].prefix)
        assert len(set(prefixes)) == len(prefixes)


@by_row
def test_memory_is_shared_by_views_only(row):
    if row.into is not None:
        return
    shared = []
    for _, _, _, args, kwargs in calls_of(row):
        inputs, spec = bound(row, args, kwargs)
        if spec.out is not None:
            continue
        result = evaluate(row, spec, inputs)
        if row.kind is not Kind.VIEW:
            result = own(result, inputs)
        found = [np.shares_memory(a, i) for a in arrays_in(result) for i in arrays_in(inputs)]
        shared.append(any(found))
        if row.kind is Kind.VIEW and row.infer is not None and result.size:
            known = SimpleNamespace(meta=(inputs[0].shape, inputs[0].dtype), data=None)
            assert found == [True] or row.infer([known, *inputs[1:]], spec) is None
    assert any(shared) if row.kind is Kind.VIEW else not any(shared)


# --------------------------------------------------------------------------- traced calls


def traced(x):
    if isinstance(x, np.ndarray):
        return lima.array(x.copy(order="K")) if x.dtype.kind in "biufcM" else x
    if type(x) in (tuple, list):
        return type(x)(map(traced, x))
    return {k: traced(v) for k, v in x.items()} if type(x) is dict else x


@by_row
def test_traced_calls_have_the_same_bits(row):
    """At the first call, and at the next, which may hit."""
    with lima.session(memory="50MB"):
        for function, args, kwargs, wanted in traced_calls_of(row):
            for _ in range(2):
                ours, options = traced(args), traced(kwargs)
                assert_same_values(call_traced(function, ours, options), wanted)
                if row.into is not None:
                    assert_same_values(ours[0], written_by(function, args, kwargs))


@by_row
def test_what_waits_has_the_same_bits(row):
    """Light calls of any size are made to wait; then their results are asked for."""
    if row.kind is not Kind.LIGHT or row.infer is None:
        return
    waited = 0
    with lima.session(memory="50MB"), everything_waits(row):
        for function, args, kwargs, wanted in traced_calls_of(row):
            got = call_traced(function, traced(args), traced(kwargs))
            waited += type(got) is lima.Array and got._value.data is None
            assert_same_values(got, wanted)
    assert waited


@contextlib.contextmanager
def everything_waits(row):
    limits = row.small, row.at_once
    row.small = row.at_once = -1
    try:
        yield
    finally:
        row.small, row.at_once = limits


def call_traced(function, args, kwargs):
    return function(*args) if function in OPERATORS else dispatch(function, args, kwargs)


def traced_calls_of(row):
    for function, args, kwargs, _, _ in calls_of(row):
        copies, options = copy.deepcopy((args, kwargs))
        yield function, args, kwargs, function(*copies, **options)


def written_by(function, args, kwargs):
    args, kwargs = copy.deepcopy((args, kwargs))
    function(*args, **kwargs)
    return args[0]


def assert_same_values(got, wanted):
    if isinstance(wanted, (tuple, list)):
        assert len(got) == len(wanted)
        for g, w in zip(got, wanted):
            assert_same_values(g, w)
        return
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    if wanted.dtype.kind != "O":
        assert bits(got) == bits(wanted)


# --------------------------------------------------------------------------- what has no row


COMPOSED = {
    "split": [(np.arange(12.0), 3), (np.arange(12.0).reshape(6, 2), [2, 3], 0)],
    "array_split": [(np.arange(7.0), 3)],
    "hsplit": [(np.ones((2, 4)), 2)],
    "vsplit": [(np.ones((4, 2)), 2)],
    "dsplit": [(np.ones((2, 2, 4)), 2)],
    "unstack": [(np.ones((3, 2)),)],
    "broadcast_arrays": [(np.ones((3, 1)), np.arange(2)), (np.ones(3), np.zeros(3))],
    "atleast_1d": [(np.float64(3), np.ones(2))],
    "atleast_2d": [(np.ones(2), 3.0)],
    "atleast_3d": [(np.ones(2), np.ones((2, 2)))],
}


@pytest.mark.parametrize("name", COMPOSED)
def test_compositions(name):
    function = getattr(np, name, None)
    if function is None:
        pytest.skip(f"this NumPy has no {name}")
    for args in COMPOSED[name]:
        target, row_args, row_kwargs = spell(function, args, {})
        assert callable(target)
        assert_same(target(*row_args, **row_kwargs), function(*args))
        assert_same_values(call_traced(function, traced(args), {}), function(*args))


def test_parts_are_views():
    a = lima.array(np.arange(6.0))
    np.split(a, 3)[1][:] = 0.0
    assert np.asarray(a).tolist() == [0.0, 1.0, 0.0, 0.0, 4.0, 5.0]


def test_a_row_is_named_for_its_place_in_numpy():
    """Source text spells a call by the name of its row."""
    for row in ROWS:
        if row.calls and row.source is None:
            assert operator.attrgetter(row.name)(np) == row.calls[0]


def test_numpy_has_nothing_that_the_table_overlooks():
    """What a new NumPy adds gets a row, or a reason in `lima.ops.coverage`."""
    found = lima.coverage()
    assert [c.name for c in found if c.why == "no row"] == []
    for functions in (get_overridable_numpy_array_functions(), get_overridable_numpy_ufuncs()):
        names = {f.__name__ for f in functions}
        assert names <= {c.name.rpartition(".")[2] for c in found}


def test_a_barrier_of_the_table_is_one_and_says_why():
    with lima.session() as s:
        text = lima.traced(lambda a: np.strings.upper(a))(np.array(["a", "b"]))
        assert text.tolist() == ["A", "B"]
        assert s.stats.barriers == 1


def test_every_universal_function_has_a_row():
    functions = [f for f in list(vars(np).values()) if isinstance(f, np.ufunc)]
    assert [f.__name__ for f in functions if f not in CALLS] == []


@pytest.mark.parametrize("wrap", [np.array, lima.array], ids=["plain", "traced"])
def test_on_request_in_place(wrap):
    a = wrap(np.array([1.0, np.nan, np.inf]))
    target, args, kwargs = spell(np.nan_to_num, (a,), {"copy": False, "posinf": 2.0})
    assert target(*args, **kwargs) is a
    assert np.asarray(a).tolist() == [1.0, 0.0, 2.0]
    target, args, kwargs = spell(np.ndarray.byteswap, (a, True), {})
    assert target(*args, **kwargs) is a
    assert np.asarray(a).tobytes() == np.array([1.0, 0.0, 2.0]).byteswap().tobytes()


ARRAY_OWN = {
    "dump", "dumps", "getfield", "item", "resize", "setflags", "to_device", "tobytes", "tofile",
    "tolist", "tostring",
}  # fmt: skip
"""Methods of ndarray that the duck array answers without a row, or refuses."""


def test_every_method_of_ndarray_has_a_row():
    methods = {name: m for name, m in vars(np.ndarray).items() if name[0] != "_" and callable(m)}
    unknown = {name for name, m in methods.items() if m not in CALLS and m not in SPELLINGS}
    assert unknown <= ARRAY_OWN


METHOD_CALLS = [
    ("sum", (), {"axis": 0}), ("std", (1,), {}), ("clip", (2.0, 5.0), {}), ("clip", (), {"max": 3}),
    ("transpose", (), {}), ("transpose", (1, 0), {}), ("transpose", ((1, 0),), {}),
    ("reshape", (2, -1), {}), ("reshape", ((2, -1),), {"order": "F"}), ("copy", (), {}),
    ("copy", ("F",), {}), ("astype", ("f4",), {}), ("astype", (float,), {"copy": False}),
    ("compress", ([True, False, True], 0), {}), ("conj", (), {}), ("conjugate", (), {}),
    ("flatten", (), {}), ("argsort", (0,), {}), ("take", ([0, 2],), {"axis": 0}),
    ("dot", (np.arange(4.0),), {}), ("round", (1,), {}), ("diagonal", (), {}),
    ("byteswap", (), {}), ("view", ("i8",), {}), ("nonzero", (), {}), ("repeat", (2, 0), {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "kwargs"), METHOD_CALLS)
def test_methods_are_spellings_of_rows(name, args, kwargs):
    a = np.asfortranarray(np.linspace(-3.0, 7.0, 12).reshape(3, 4))
    target, row_args, row_kwargs = spell(getattr(np.ndarray, name), (a, *args), kwargs)
    if target in OPS.values():
        inputs, spec = bound(target, row_args, row_kwargs)
        got = evaluate(target, spec, inputs)
    else:
        got = target(*row_args, **row_kwargs)
    assert_same(got, getattr(a, name)(*args, **kwargs))


def test_source_of_a_row_reproduces_the_call():
    """Rows that write their own text: the text, run with NumPy alone, gives the same bits."""
    written = [row for row in ROWS if row.source is not None and row.into is None]
    for row in written:
        for _, _, _, args, kwargs in calls_of(row):
            inputs, spec = bound(row, args, kwargs)
            if spec.out is not None:
                continue
            scope = {"np": np} | {f"v{k}": x for k, x in enumerate(inputs)}
            npos = len(inputs) if spec.npos is None else spec.npos
            params = {k: param_text(v) for k, v in spec.params}
            text = row.source([f"v{k}" for k in range(npos)], params)
            assert_same(eval(text, scope), evaluate(row, spec, inputs))
    assert len(written) > 10


def param_text(value):
    if isinstance(value, tuple):
        return "(" + "".join(param_text(v) + ", " for v in value) + ")"
    if isinstance(value, list):
        return f"[{', '.join(map(param_text, value))}]"
    if isinstance(value, np.dtype):
        return f"np.dtype({value.str!r})"
    return f"v{value.index}" if type(value).__name__ == "Ref" else repr(value)
