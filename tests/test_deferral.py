"""Light operations wait, heavy ones run (D4): when, in which order, and that nobody can tell."""

import gc
import operator
import threading
import warnings
import weakref
from functools import reduce

import numpy as np
import pytest
from same import same

import lima
from bench.fuzz import stress
from lima import runtime
from lima.handle import value_of
from lima.op import FUSES, OPS
from lima.values import Pending

N = 300  # N by N elements are more than any operation computes at once


def big(seed=0, *shape):
    return np.random.default_rng(seed).normal(size=shape or (N, N))


def waiting(x):
    value = value_of(x)
    return type(value) is Pending and value.data is None


@pytest.fixture
def session():
    with lima.session() as s:
        yield s


# --------------------------------------------------------------------------- what waits


LIGHT = {
    "elementwise": lambda a, b: a + b,
    "chain": lambda a, b: np.exp(-abs(a) / 2) * b + 1,
    "comparison": lambda a, b: (a > b) & (a != 0),
    "view of what waits": lambda a, b: (a + b)[1:, ::2].T,
    "stack": lambda a, b: np.vstack([a, b]),
    "columns": lambda a, b: np.column_stack([a, b[:, 0]]),
    "concatenation": lambda a, b: np.concatenate([a, b], axis=1),
    "where": lambda a, b: np.where(a > 0, a, b),
    "conversion": lambda a, b: a.astype("f4"),
    "fill": lambda a, b: np.zeros_like(a) + b,
    "triangle": lambda a, b: np.tril(a) + np.triu(b),
    "copy": lambda a, b: a.copy(),
}


@pytest.mark.parametrize("what", LIGHT)
def test_light_operations_wait_and_know_shape_and_dtype(what, session):
    x = LIGHT[what](lima.array(big(1)), lima.array(big(2)))
    assert waiting(x)
    wanted = LIGHT[what](big(1), big(2))
    assert (x.shape, x.dtype, x.ndim, x.size) == (
        wanted.shape, wanted.dtype, wanted.ndim, wanted.size)  # fmt: skip
    assert len(x) == len(wanted) and x.nbytes == wanted.nbytes and waiting(x)
    assert np.asarray(x).tobytes() == wanted.tobytes() and not waiting(x)
    assert x.strides == wanted.strides


HEAVY = {
    "product": lambda a, b: a @ b,
    "sum": lambda a, b: (a + b).sum(axis=0),
    "solve": lambda a, b: np.linalg.solve(a, b),
    "sort": lambda a, b: np.sort(a + b, axis=0),
    "number": lambda a, b: (a * b).max(),
}


@pytest.mark.parametrize("what", HEAVY)
def test_heavy_operations_run_at_the_call(what, session):
    assert not waiting(HEAVY[what](lima.array(big(1)), lima.array(big(2))))


def test_small_results_are_computed_at_once(session):
    x = lima.array(np.ones(100))
    assert not waiting(x + 1) and not waiting(np.concatenate([x, x]))


def test_without_reuse_nothing_waits_but_what_can_run_in_one_pass_with_others():
    with lima.session(reuse="none"):
        x = lima.array(big())
        assert waiting(x + 1) == FUSES
        assert not waiting(np.vstack([x, x])) and not waiting(x[:5] + 1)


def test_nothing_waits_where_floating_point_errors_raise(session):
    x = lima.array(big())
    for mode in ("raise", "call", "print"):
        with np.errstate(divide=mode, call=lambda *args: None):
            assert not waiting(x + 1)
    assert waiting(x + 1)


def test_plain_arrays_are_not_waited_on(session):
    """Their owner may write them."""
    plain = big(3)
    x = lima.array(big()) + plain
    assert not waiting(x)
    wanted = big() + plain
    plain[...] = 0
    assert np.array_equal(x, wanted)


# --------------------------------------------------------------------------- when it is computed


def test_what_nobody_asks_for_is_never_computed(session):
    x = lima.array(big())
    y = (x + 1) * 2
    y = x.T @ x
    assert session.stats.computed == 1
    assert y.shape == (N, N)


def test_what_waits_is_computed_once(session):
    x = lima.array(big())
    y = x + 1
    before = session.stats.computed
    for _ in range(3):
        np.asarray(y)
        np.asarray(y[1:])
    assert session.stats.computed == before + 1


def test_a_shared_part_is_computed_once(session):
    x = lima.array(big())
    part = np.exp(x)
    y = (part + 1) * part + part
    before = session.stats.computed
    assert (
        np.asarray(y).tobytes() == ((np.exp(big()) + 1) * np.exp(big()) + np.exp(big())).tobytes()
    )
    assert session.stats.computed == before + 4


def test_operands_of_dead_variables_are_let_go(session):
    x = lima.array(big())
    y = (x + 1) * 2
    node = value_of(y)
    args = weakref.ref(node.args[0])
    assert args() is not None
    np.asarray(y)
    gc.collect()
    assert args() is None and node.args is None


def test_chains_that_wait_are_bounded(session):
    x = lima.array(big())
    depths = []
    for _ in range(3 * runtime.MAX_DEPTH):
        x = x + 1
        depths.append(value_of(x).depth if waiting(x) else 0)
    assert max(depths) == runtime.MAX_DEPTH and 0 in depths
    assert (
        np.asarray(x).tobytes()
        == reduce(operator.add, [1] * 3 * runtime.MAX_DEPTH, big()).tobytes()
    )


def test_memory_that_waiting_results_hold_is_bounded(session, monkeypatch):
    monkeypatch.setattr(runtime, "MAX_HELD", 10 * big().nbytes)
    kept = [lima.array(big()) + k for k in range(3)]
    total = kept[0]
    for k in range(30):
        fresh = np.sqrt(np.abs(lima.array(big(k)) @ lima.array(big(k + 1))))
        total = total + fresh
        if waiting(total):
            assert value_of(total).held <= runtime.MAX_HELD + 2 * big().nbytes


def test_long_chains_of_views(session):
    x = y = lima.array(big()) + 1
    for _ in range(5000):
        y = y.T
    assert np.asarray(y[:2]).tobytes() == (big() + 1)[:2].tobytes()
    assert x.shape == y.shape


# --------------------------------------------------------------------------- that nobody can tell


STORIES = {
    "operand written": lambda a, b: (c := a + b, a.__imul__(0), c, c.sum()),
    "operand rebound": lambda a, b: (c := a + b, a := c * 2, c.__iadd__(1), a + c),
    "view of an operand written": lambda a, b: (
        c := a.T + b, d := np.vstack([a, c]), a[0].fill(9), c, d.T @ d),
    "operand sorted": lambda a, b: (c := a * 1, d := a - b, a.sort(), b.sort(axis=0), c, d),
    "half of it written": lambda a, b: (
        c := np.concatenate([a, b]), c[: len(a)].__imul__(2), a.fill(1), c),
    "written through a view of what waits": lambda a, b: (
        c := a + b, d := c[1:], d.__iadd__(1), e := d.T, c.fill(3), e, d, c),
    "swapped": lambda a, b: (
        c := a + 0, a.__setitem__(slice(None), b), b.__setitem__(slice(None), c), a - b),
    "read twice, written between": lambda a, b: (
        c := np.where(a > 0, a, b), c.sum(), c.__iadd__(1), c.sum(), b.fill(0), c),
    "drawn in between": lambda a, b: (
        c := a + b, r := np.random.default_rng(3).normal(size=a.shape), c.__iadd__(r), c),
    "reductions over chains": lambda a, b: (
        (a - a.mean(axis=0)) / a.std(axis=0), ((a - b) ** 2).sum(), np.abs(a * b).max(axis=1)),
    "assigned rows": lambda a, b: (
        c := np.empty_like(a), c.__setitem__(slice(None, None, 2), (a + b)[::2]),
        c.__setitem__(slice(1, None, 2), (a - b)[1::2]), c),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_stories(story):
    same(STORIES[story], lambda: (big(1), big(2)))


def test_products_of_one_array_and_of_two_equal_ones():
    """`X.T @ X` takes a symmetric kernel, with other last bits; twins in content must not."""

    def use(X, Y):
        twin, Z = X.copy(), X * 1
        return (
            *(X.T @ X, X.T @ Y, X.T @ twin, Z.T @ Z, X.T @ Z, twin.T @ twin, Y.T @ Y, X.T @ X),
            *(np.dot(X.T, X), np.dot(X.T, Y), np.inner(X.T, X.T), np.einsum("ij,ik->jk", X, X)),
            *(X[:, :9].T @ X[:, :9], X[:, :9].T @ Y[:, :9], X @ X.T, X @ Y.T, X[0] @ X[0]),
            *((X + 1).T @ (X + 1), (c := X + 1).T @ c, np.c_[X, X].T @ np.c_[X, X]),
        )

    def make():
        return big(5, 400, 37), big(5, 400, 37)

    wanted = use(*make())
    assert any(
        wanted[0].tobytes() != w.tobytes() for w in wanted[1:6]
    )  # there is something to tell
    same(use, make)
    with lima.session():
        traced = lima.traced(use)
        X, Y = make()
        for pair in ((X, X), (X, Y), (Y, X), (X, X)):
            for got, want in zip(traced(*pair), use(*pair)):
                assert got.tobytes() == want.tobytes()


def test_buffers_of_temporaries_are_never_those_of_variables():
    def use(a, b):
        c = a + b
        kept = [c]
        for k in range(6):
            c = np.sqrt(np.abs(c * k + a)) - b
            if k % 2:
                kept.append(c)
        d = (c + 1) * (c - 1) + (c * 2)
        return kept, d, sum(kept) + d

    same(use, lambda: (big(1), big(2)), runs=3)


def test_memory_orders_of_results():
    def use(a, b):
        f = np.asfortranarray(a)
        return (
            *(a + b, f + f, a.T + b.T, a + f, f.T * 2, (f + f) * 2, f + a, a[::2] + 1),
            *(a[:, ::2] * f[:, ::2], np.where(f > 0, f, f), (f > 0) & (f < 1), f.copy()),
            *(f.astype("f4"), np.zeros_like(f) + f, f[0] + f[:, :1], np.concatenate([f, f])),
        )

    same(use, lambda: (big(1), big(2)))


def test_errors_come_at_the_call_although_operands_wait(session):
    x = lima.array(big())
    y = x + 1
    for wrong in (lambda: y + y[:5].T, lambda: np.vstack([y, y[:, 1:]]), lambda: y[N],
                  lambda: y.reshape(7), lambda: y[0, 0, 0], lambda: np.concatenate([y, y[0]]),
                  lambda: y @ y[1:], lambda: np.transpose(y, (0, 0))):  # fmt: skip
        with pytest.raises((ValueError, IndexError)):
            wrong()


def test_floating_point_modes_are_those_of_where_the_operation_stands(session):
    x = lima.array(np.zeros((N, N)))
    with np.errstate(divide="ignore"):
        y = 1 / x
    z = x + 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(np.asarray(y)).all()
    w = 1 / z
    with np.errstate(divide="raise"), pytest.warns(RuntimeWarning, match="divide"):
        np.asarray(w)


def test_a_failing_computation_can_be_asked_for_again(session):
    x = lima.array(big()) + 1
    y = np.vstack([x, x])
    row = OPS["vstack"]
    kernel = row.kernel

    def fails(*args, **kwargs):
        raise MemoryError("no memory")

    object.__setattr__(row, "kernel", fails)
    try:
        with pytest.raises(MemoryError):
            np.asarray(y)
    finally:
        object.__setattr__(row, "kernel", kernel)
    assert np.asarray(y).tobytes() == np.vstack([big() + 1, big() + 1]).tobytes()


def test_threads_ask_for_the_same_waiting_value():
    x = lima.array(big())
    with lima.session():
        y = x
        for k in range(20):
            y = np.tanh(y) + k
        seen = []
        threads = [threading.Thread(target=lambda: seen.append(np.asarray(y))) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    wanted = big()
    for k in range(20):
        wanted = np.tanh(wanted) + k
    assert len(seen) == 4 and all(s.tobytes() == wanted.tobytes() for s in seen)


# --------------------------------------------------------------------------- the end of a call


def test_nothing_waits_on_the_callers_memory_after_a_call():
    kept = []

    def use(a):
        kept.extend([a + 1, np.vstack([a, a]), a.T * 2])
        return a.sum()

    with lima.session():
        a = big()
        lima.traced(use)(a)
        wanted = a + 1, np.vstack([a, a]), a.T * 2
        a[...] = 0
        for k, w in zip(kept, wanted):
            assert np.array_equal(k, w)


def test_results_that_waited_are_plain_and_owned():
    def use(a):
        return a + 1, [a * 2, {"x": a.T}], np.vstack([a, a])[1:]

    with lima.session():
        for _ in range(2):
            first, (second, third), last = lima.traced(use)(big())
            for x in (first, second, last):
                assert type(x) is np.ndarray and x.flags.writeable
            assert (third["x"] == big().T).all()


def test_structure_reaches_the_heavy_operation():
    """The lineage of a product shows the stack that fed it, which was never asked for alone."""

    def use(X, extra):
        design = np.column_stack([X, extra])
        return design.T @ design

    with stress(), lima.session():
        lineage = lima.traced(use).lineage(big(1, 50, 4), big(2, 50))
        assert [n.spec.op for n in lineage.nodes if not n.is_leaf] == [
            "column_stack", "transpose", "matmul"]  # fmt: skip
