"""Reductions of what waits: NumPy's bits, and the operand is not written."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lima
from lima.op import FUSES, OPS

pytestmark = pytest.mark.skipif(not FUSES, reason="lima is not compiled: NumPy itself runs")

NAMES = ["sum", "mean", "max", "min"]
SHAPES = [
    (20_011,),
    (9_001, 2),
    (3, 7_001),
    (700, 33),
    (64, 1_024),
    (41, 17, 29),
    (300_001,),
    (1, 20_000),
]


def same(found, wanted):
    assert type(found) is type(wanted)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert found.tobytes() == wanted.tobytes()


def both(program, *args, **options):
    """The results of a program under lima and of plain NumPy, which must be the same bits."""
    with lima.session(**options):
        for _ in range(2):
            same(lima.traced(program)(*args), program(*args))


def is_folded(x):
    return "as its operand was computed" in x._value.node.outcome.why


@pytest.mark.parametrize("reuse", ["none", "hybrid"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_bits_are_those_of_numpy_along_every_axis(name, shape, dtype, reuse):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    function = getattr(np, name)
    for axis in (None, *range(-len(shape), len(shape))):
        for keepdims in (False, True):

            def program(a, b, axis=axis, keepdims=keepdims):
                return function(a * b + 0.5, axis=axis, keepdims=keepdims)

            both(program, a, b, reuse=reuse)


@given(
    st.sampled_from(NAMES),
    st.sampled_from([(17_001,), (8_209, 3), (3, 8_209), (257, 65)]),
    st.sampled_from([None, 0, -1]),
    st.lists(
        st.sampled_from([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e308, 5e-324]), max_size=3
    ),
    st.sampled_from([0.0, -0.0, 1.0, -1.0]),
    st.integers(0, 2**32 - 1),
)
def test_zeros_of_both_signs_and_what_is_not_finite(name, shape, axis, wild, most, seed):
    rng = np.random.default_rng(seed)
    a = np.where(rng.random(shape) < 0.5, most, rng.choice([-1.0, 0.0, -0.0, 1.0], shape))
    for item in wild:
        a[tuple(rng.integers(0, n) for n in shape)] = item
    with np.errstate(all="ignore"):
        both(lambda a: getattr(np, name)(np.abs(a) * most, axis=axis), a, reuse="none")


def test_the_operand_is_not_written_and_may_be_asked_for_later():
    rng = np.random.default_rng(0)
    a, b = map(lima.array, rng.standard_normal((2, 300, 100)))

    @lima.traced
    def program(a, b):
        d = a - b
        return d, np.sum(d), np.max(d, axis=0), d.mean(axis=1)

    with lima.session(threads=1):
        d, total, most, mean = program(a, b)
        assert is_folded(total) and not is_folded(most)  # the second one has it written
        a, b = np.asarray(a), np.asarray(b)
        same(np.asarray(total)[()], np.sum(a - b))
        same(np.asarray(most), np.max(a - b, axis=0))
        same(np.asarray(mean), np.mean(a - b, axis=1))
        same(np.asarray(d), a - b)


def test_an_operand_that_is_written_later_was_read_before():
    def program(a, b):
        d = a * b
        first = d.sum()
        a[0] = 7.0
        second = d.max()
        d += 1.0
        return np.array([first, second, d.sum(), (a * b).sum(), d[::2].sum()])

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 40_000))
    wanted = program(a.copy(), b)
    for reuse in ("none", "hybrid"):
        with lima.session(reuse=reuse):
            for _ in range(2):
                same(lima.traced(program)(a.copy(), b), wanted)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda a: np.sum(a * 1e308), "overflow encountered in multiply"),
        (lambda a: np.sum(a + 1.7e308), "overflow encountered in reduce"),
        (lambda a: np.max(np.sqrt(a - 0.5)), "invalid value encountered in sqrt"),
        (lambda a: np.mean(1.0 / (a - a)), "divide by zero|invalid"),
    ],
)
def test_warnings_and_errors_are_those_of_numpy(program, message):
    a = np.random.default_rng(0).random(30_000) * 4.0
    results, texts = [], []
    for run in (program, lima.traced(program)):
        with pytest.warns(RuntimeWarning, match=message) as seen:
            results.append(run(a))
        texts.append({str(one.message) for one in seen})
    same(*results)
    assert texts[0] == texts[1]
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match=message):
        lima.traced(program)(a)


def test_a_long_chain_is_written_where_threads_can_share_it():
    @lima.traced
    def program(a):
        for k in range(5):
            a = a * 1.5 - k
        return a.sum()

    small, large = (lima.array(np.random.default_rng(0).random(n)) for n in (20_000, 60_000))
    for a, threads, folds in ((small, 2, True), (large, 1, True), (large, 2, False)):
        with lima.session(threads=threads):
            assert is_folded(program(a)) == folds


def test_logs_of_folded_reductions_recompute_the_same_bits():
    @lima.traced
    def program(a, b):
        return ((a - b) * (a - b)).sum(axis=0), np.abs(a - b).max(), (a + b).mean(axis=-1)

    rng = np.random.default_rng(0)
    a, b = map(lima.array, rng.standard_normal((2, 3_000, 20)))
    for found in program(a, b):
        same(np.asarray(lima.recompute(lima.lineage(found))), np.asarray(found))


def test_rules_that_do_not_apply_are_no_hindrance():
    """An operation may have rules: they are asked first, and then it is folded."""
    asked = []
    row = OPS["multiply"]
    rule = dataclasses.replace(
        OPS["matmul"].rules[0], structured=False, plan=lambda *call: asked.append(call)
    )
    x = np.linspace(0.0, 1.0, 300_000)
    object.__setattr__(row, "rules", (rule,))
    try:
        with lima.session(exactness="rounding", strict=True):
            total = (lima.array(x) * 3.0).sum()
    finally:
        object.__setattr__(row, "rules", ())
    assert asked and is_folded(total)
    assert np.asarray(total).tobytes() == (x * 3.0).sum().tobytes()
