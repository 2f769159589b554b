"""`lima.parfor`: the results, lineage, random numbers and errors of a plain loop."""

import functools
import io
import os
import random
import re
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext

import numpy as np
import parallel_bodies as bodies
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

import lima
from bench import fuzz
from lima import environment, leaves, placeholders, progress, sessions, tasks, transport, tree
from lima.environment import blas_limited, thread_budget
from lima.sessions import current

LONG = 60  # seconds: what takes longer hangs
X = np.random.default_rng(1).standard_normal((300, 20))
Y = X @ np.arange(20.0)
BIG = np.random.default_rng(2).standard_normal((400, 300))
REGS = [0.0, 0.5, 1.0, 2.0, 0.5]


def cloudpickle():
    found = transport._base()
    return found.__module__ != "_pickle"


def same(found, wanted):
    assert type(found) is type(wanted)
    assert (found.dtype, found.shape, found.strides) == (wanted.dtype, wanted.shape, wanted.strides)
    assert found.tobytes() == wanted.tobytes()


def digests(results):
    return [lima.lineage(r).outputs["result"].digest for r in results]


def plain_ridge(reg):
    with lima.disabled():
        return bodies.ridge(X, Y, reg)


# --------------------------------------------------------------------------- results and lineage


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_results_of_a_plain_loop_in_order(workers):
    with lima.session():
        found = lima.parfor(lambda reg: bodies.ridge(X, Y, reg), REGS, workers=workers)
    for a, reg in zip(found, REGS):
        same(a, plain_ridge(reg))


def test_lineage_is_the_same_for_any_number_of_workers():
    seen = []
    for workers in (1, 2, 4):
        with lima.session():
            found = lima.parfor(lambda reg: bodies.ridge(X, Y, reg), REGS, workers=workers)
            seen.append((digests(found), lima.lineage(*found).log()))
    assert seen[0] == seen[1] == seen[2]


def test_an_empty_loop_and_any_iterable():
    assert lima.parfor(len, []) == []
    assert lima.parfor(len, iter(["a", "bb"]), workers=2) == [1, 2]
    assert lima.parfor(lambda n: n * 2, range(50), workers=3) == [2 * n for n in range(50)]


def test_bodies_that_are_not_traced_run_as_they_are():
    (found,) = lima.parfor(lambda k: np.full(3, k), [1.5], workers=2)
    assert type(found) is np.ndarray
    with pytest.raises(lima.UnknownLineage):
        lima.lineage(found)


def test_equal_work_is_done_once():
    with lima.session() as s:
        gate = threading.Barrier(4)

        def body(k):
            gate.wait(LONG)
            return bodies.gram(X)

        found = lima.parfor(body, range(4), workers=4)
        assert s.stats.computed <= 2  # not four products
    for a in found:
        same(a, X.T @ X)


def test_items_use_what_the_program_had_computed():
    with lima.session() as s:
        bodies.gram(X)
        before = s.stats.computed
        lima.parfor(lambda k: bodies.gram(X), range(4), workers=2)
        assert s.stats.computed == before


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_loop_inside_of_a_traced_function(workers):
    with lima.session():
        found = bodies.grid(X, Y, REGS, workers)
        log = lima.lineage(found).log()
    with lima.disabled():
        same(found, bodies.grid(X, Y, REGS, workers))
    with lima.session():
        assert lima.lineage(bodies.grid(X, Y, REGS, 1)).log() == log
    same(lima.recompute(lima.lineage(found)), found)


@pytest.mark.parametrize("reuse", ["none", "operation", "hybrid"])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_items_read_what_waits_and_views_of_what_is_written(workers, reuse):
    with lima.disabled():
        wanted = bodies.waiting(BIG, 1)
    for _ in range(5):
        with lima.session(reuse=reuse):
            for _ in range(2):
                found = bodies.waiting(BIG, workers)
                for a, b in zip(found[0], wanted[0]):
                    for x, y in zip(a, b):
                        same(x, y)
                for x, y in zip(found[1:], wanted[1:]):
                    same(x, y)
                assert np.shares_memory(found[0][2][2], found[1])


def test_a_loop_inside_of_a_loop():
    def outer(k):
        return sum(lima.parfor(lambda j: bodies.ridge(X, Y, k + j)[0], range(3), workers=2))

    with lima.session():
        found = lima.parfor(outer, range(3), workers=2)
    expected = [sum(plain_ridge(k + j)[0] for j in range(3)) for k in range(3)]
    assert found == expected


def test_items_do_not_recognise_what_others_have_made():
    """Two items that make the same bytes in different ways: neither lends the other its lineage."""
    made, used = threading.Event(), []

    def body(item):
        k, n = item
        if k == 0:
            a = bodies.ones_by_sum(n)
            made.set()
            return a
        assert made.wait(LONG)
        return bodies.doubled(np.full(n, 1.0))  # the bytes that item 0 has made

    for workers in (1, 2):
        made.clear()
        with lima.session():
            size = 1237 + workers  # of ones that no other test has made
            found = lima.parfor(body, [(0, size), (1, size)], workers=workers)
            used.append([n.spec.op for n in lima.lineage(found[1]).nodes])
    assert used[0] == used[1] == ["leaf", "multiply"]


def test_the_last_of_the_items_names_equal_bytes_as_in_a_loop():
    def body(k):
        return bodies.ones_by_sum(5) if k == 0 else bodies.ones_by_product(5)

    for workers in (1, 2):
        with lima.session():
            first, last = lima.parfor(body, [0, 1], workers=workers)
            assert digests([first]) == digests([last])
            assert "multiply" in lima.lineage(first).log()


def test_the_log_of_a_thousand_items_is_small():
    with lima.session():
        found = bodies.grid(X[:30, :3], Y[:30], [k / 8 for k in range(1000)], 2)
        record = lima.lineage(found)
    assert len(record) > 3000
    assert len(record.log()) < 40_000
    short = lima.lineage(bodies.grid(X[:30, :3], Y[:30], [k / 8 for k in range(500)], 2)).log()
    assert len(record.log()) < len(short) * 2.1


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from("gram sin solve stack".split())), max_size=6
    ),
    st.sampled_from([2, 4]),
)
def test_random_loops_are_those_of_the_plain_program(items, workers):
    def body(item):
        k, name = item
        return bodies.KINDS[name](X[: 40 + k, :5], k)

    with lima.session():
        found = lima.parfor(body, items, workers=workers)
        lineage = digests(found)
    with lima.session():
        assert digests(lima.parfor(body, items, workers=1)) == lineage
    with lima.disabled():
        for a, b in zip(found, map(body, items)):
            same(a, b)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(24))
def test_random_programs_at_the_same_time(seed, monkeypatch):
    """Two programs, each in three items, twice: all share a session, and do what they do alone."""
    monkeypatch.setattr(np.random, "seed", lambda *seed: None)
    texts = [fuzz.source(program) for program in without_shared_draws(seed)]
    scopes = [fuzz.load(text, lambda f: f) for text in texts]
    wanted = [fuzz.run(scope, scope["program"], seed) for scope in scopes]

    def body(k):
        scope = fuzz.load(texts[k % 2], lima.traced)
        program = lima.traced(scope["program"])
        return [fuzz.run(scope, program, seed) for _ in range(2)]

    memory = "8KB" if seed % 3 == 0 else "200MB"
    with fuzz.stress() if seed % 2 else nullcontext(), lima.session(memory=memory):
        found = lima.parfor(body, range(6), workers=4)
    for k, outcomes in enumerate(found):
        for outcome in outcomes:
            assert not list(wanted[k % 2].differences(outcome))


def without_shared_draws(seed):
    choices = random.Random(seed)
    for _ in range(2):
        lines = fuzz.generate(choices, choices.randint(5, 25), seed)
        yield [line for line in lines if not re.search(r"random\.(?!default_rng|Generator)", line)]


# --------------------------------------------------------------------------- random numbers


@pytest.mark.parametrize("seed", [7, np.random.SeedSequence(7)])
def test_each_item_has_a_generator_of_its_own(seed):
    seeds = np.random.SeedSequence(7).spawn(4)
    found = lima.parfor(lambda k, rng: rng.normal(size=3), range(4), workers=2, rng=seed)
    for a, own in zip(found, seeds):
        same(a, np.random.default_rng(own).normal(size=3))


def test_draws_and_their_lineage_do_not_depend_on_workers():
    seen = []
    for workers in (1, 2, 4):
        with lima.session():
            found = lima.parfor(bodies.noisy, REGS, workers=workers, rng=3)
            seen.append(([a.tobytes() for a in found], digests(found)))
    assert seen[0] == seen[1] == seen[2]
    with lima.session():
        inside = bodies.noisy_grid(REGS, 2)
    with lima.disabled():
        same(inside, bodies.noisy_grid(REGS, 1))


def test_a_generator_is_spawned_from():
    mine, theirs = np.random.default_rng(5), np.random.default_rng(5)
    found = lima.parfor(lambda k, rng: rng.random(), range(3), workers=2, rng=mine)
    assert found == [g.random() for g in theirs.spawn(3)]


def test_a_generator_that_items_share_is_refused():
    rng = np.random.default_rng(1)
    for workers in (1, 2):
        with pytest.raises(lima.TracingError, match="rng=generator"):
            lima.parfor(lambda k: rng.random(), range(2), workers=workers)
        with pytest.raises(lima.TracingError, match="rng=generator"):
            lima.parfor(lambda pair: pair[0].random(), [(rng, 1), (rng, 2)], workers=workers)
        with pytest.raises(lima.TracingError, match=r"np\.random\.rand and kin"):
            lima.parfor(lambda k: np.random.rand(), range(2), workers=workers)
    own = [np.random.default_rng(k) for k in range(3)]
    expected = [np.random.default_rng(k).random() for k in range(3)]
    assert lima.parfor(lambda g: g.random(), own, workers=2) == expected
    with pytest.raises(TypeError, match="RandomState"):
        lima.parfor(len, [1], rng=np.random.RandomState(1))


# --------------------------------------------------------------------------- writes


def test_writes_to_a_shared_traced_array_are_refused():
    for workers in (1, 2):
        with lima.session(), pytest.raises(lima.TracingError, match="other items can reach"):
            bodies.writes_shared(X, workers)
    a = lima.array(np.zeros(4), name="a")

    def body(k):
        a[k] = k

    with pytest.raises(lima.TracingError, match="other items can reach"):
        lima.parfor(body, range(4), workers=2)
    a[0] = 5.0  # after the loop it can be written again
    same(np.asarray(a), np.array([5.0, 0, 0, 0]))


@pytest.mark.parametrize("name", sorted(bodies.WRITES))
def test_every_way_of_writing_is_refused(name):
    for workers in (1, 2):
        with lima.session(), pytest.raises(lima.TracingError, match="other items can reach"):
            bodies.writes_in(name, workers)


def test_items_that_are_traced_arrays_may_be_written():
    arrays = [lima.array(np.full(3, float(k))) for k in range(4)]

    def body(a):
        a += 1
        return a

    for k, a in enumerate(lima.parfor(body, arrays, workers=2)):
        same(np.asarray(a), np.full(3, k + 1.0))
    rows = lima.array(np.zeros((4, 3)))
    with pytest.raises(lima.TracingError, match="other items can reach"):
        lima.parfor(body, list(rows), workers=2)


@pytest.mark.parametrize("workers", [1, 2])
def test_writes_to_one_argument_by_several_items_are_refused(workers):
    out = np.zeros((4, 3))
    with lima.session(), pytest.raises(lima.TracingError, match="another item has as well"):
        lima.parfor(lambda k: bodies.fill_row(out, k), range(4), workers=workers)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_items_may_write_arguments_of_their_own(workers):
    out = np.zeros((4, 3))
    with lima.session():
        lima.parfor(lambda k: bodies.fill(out[k], float(k)), range(4), workers=workers)
    same(out, np.repeat(np.arange(4.0), 3).reshape(4, 3))


@pytest.mark.parametrize("workers", [1, 4])
def test_items_may_share_objects_that_hold_arrays(workers):
    model = bodies.Model(X)
    with lima.session():
        found = lima.parfor(lambda k: bodies.scaled(model, k), range(20), workers=workers)
    assert type(model.weights) is np.ndarray
    for k, a in enumerate(found):
        assert type(a) is np.ndarray
        same(a, X * k)


def test_writes_in_loops_inside_of_loops():
    out = np.zeros((4, 3))

    def outer(k):
        lima.parfor(lambda j: bodies.fill_row(out, k), [0], workers=1)

    with lima.session(), pytest.raises(lima.TracingError, match="another item has as well"):
        lima.parfor(outer, range(2), workers=1)


def test_what_a_callable_object_holds_is_shared():
    class Body:
        def __init__(self, held):
            self.held = held

        def __call__(self, k):
            return self.held[0] if k else None

        def method(self, k):
            return k

    for body in (Body(np.random.default_rng(1)), Body(np.random.default_rng(1)).method):
        with pytest.raises(lima.TracingError, match="rng=generator"):
            lima.parfor(body, range(2), workers=2)
    a = lima.array(np.zeros(3))

    def writes(held, k):
        held[k] = 1

    with pytest.raises(lima.TracingError, match="other items can reach"):
        lima.parfor(functools.partial(writes, a), range(2), workers=2)


def test_calls_with_loops_in_them_are_not_kept_as_wholes():
    with lima.session():
        bodies.grid(X, Y, REGS, 2)
        assert "parfor" in bodies.grid.cache_info().refusal


# --------------------------------------------------------------------------- errors


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_first_error_is_raised_with_its_item(workers):
    gate = threading.Barrier(min(workers, 2))
    begun = []

    def body(k):
        begun.append(k)
        if k < 2:
            gate.wait(LONG)
        if k in (1, 2):
            raise KeyError(k)
        return k

    with pytest.raises(KeyError) as caught:
        lima.parfor(body, range(100), workers=workers)
    assert caught.value.args == (1,)
    assert caught.value.__notes__ == ["lima.parfor: item 1 of 100: 1"]
    assert len(begun) <= 2 * workers + 1


def test_nothing_runs_any_more_when_an_error_is_raised():
    failed, ended = threading.Event(), []

    def body(k):
        if k == 0:
            failed.set()
            raise ValueError("no")
        assert failed.wait(LONG)
        ended.append(k)

    with pytest.raises(ValueError, match="no"):
        lima.parfor(body, range(2), workers=2)
    assert ended in ([], [1])
    assert not [t for t in threading.enumerate() if t.name.startswith("lima-parfor")]


def test_an_interrupt_ends_the_loop(monkeypatch):
    begun, go = threading.Event(), threading.Event()
    count = []

    def interrupt(self):
        assert begun.wait(LONG)
        go.set()
        if not count:
            count.append(1)
            raise KeyboardInterrupt

    monkeypatch.setattr(progress.Progress, "show", interrupt)

    def body(k):
        begun.set()
        assert go.wait(LONG)
        return k

    with pytest.raises(KeyboardInterrupt):
        lima.parfor(body, range(1000), workers=2)
    assert not [t for t in threading.enumerate() if t.name.startswith("lima-parfor")]


def test_a_bar_is_shown_on_terminals_alone(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, wanted, shown in (
        (Terminal(), "fitting", True), (Terminal(), True, True), (Terminal(), None, False),
        (Terminal(), False, False), (io.StringIO(), True, False), (None, True, False),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.Progress(wanted, 3) as bar:
            bar.done()
            bar.show()
        assert (stream is not None and bool(stream.getvalue())) == shown
        if wanted == "fitting":
            assert "fitting" in stream.getvalue()
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    assert lima.parfor(len, ["a"], workers=1) == [1]
    assert "lima.parfor" in sys.stderr.getvalue()


def test_a_failed_item_lets_those_that_wait_compute():
    """Waiters of a computation whose owner fails do it themselves (`lima.flight`)."""
    for workers in (1, 4):
        with lima.session(), pytest.raises(FloatingPointError, match="bad") as caught:
            lima.parfor(lambda k: bodies.fails(X, k), [0, 0, 0, 0], workers=workers)
        assert caught.value.__notes__[-1].startswith("lima.parfor: item 0")


def test_options_that_make_no_sense():
    for options, error in (
        ({"workers": 0}, lima.ConfigError), ({"workers": True}, lima.ConfigError),
        ({"backend": "cluster"}, lima.ConfigError), ({"blas_threads": 0}, lima.ConfigError),
    ):  # fmt: skip
        with pytest.raises(error):
            lima.parfor(len, ["a"], **options)
    with pytest.raises(TypeError, match="cannot be called"):
        lima.parfor(3, [1])


# --------------------------------------------------------------------------- BLAS threads


@pytest.fixture(autouse=True)
def own_notes_of_threads(monkeypatch):
    monkeypatch.setattr(environment, "_also", set())


def test_logs_say_when_loops_had_another_number_of_threads():
    with threadpool_limits(2, "blas"):
        if thread_budget() != 2:
            pytest.skip("this BLAS has one thread")
        with lima.session(exactness="bitwise"):
            (found,) = lima.parfor(bodies.gram, [X], 2)
            assert lima.lineage(found).environment["threads"] == "2"
            same(lima.recompute(found), found)
        big = np.random.default_rng(1).standard_normal((500, 300))
        with lima.session(exactness="rounding"):
            found, _ = lima.parfor(bodies.gram, [big, X], 2)
            record = lima.lineage(found)
            assert record.environment["threads"] == "1 or 2"
            with pytest.warns(lima.ReplayWarning, match="threads 1 or 2"):
                again = lima.recompute(record)
        np.testing.assert_allclose(again, found, atol=1e-9)


def test_bitwise_sessions_keep_the_threads_of_the_caller():
    with threadpool_limits(2, "blas"):
        if thread_budget() != 2:
            pytest.skip("this BLAS has one thread")
        with lima.session(exactness="bitwise"):
            assert set(lima.parfor(lambda k: thread_budget(), range(4), workers=2)) == {2}
            with pytest.raises(lima.ConfigError, match="other bits"):
                lima.parfor(len, ["a"], blas_threads=1)
        with lima.session(exactness="rounding"):
            assert set(lima.parfor(lambda k: thread_budget(), range(4), workers=2)) == {1}
            found = lima.parfor(lambda k: current().threads, range(4), workers=2)
            assert set(found) == {1}
            assert lima.parfor(lambda k: thread_budget(), [1], workers=1) == [2]
        assert thread_budget() == 2


def test_limits_of_several_loops_end_in_any_order():
    with threadpool_limits(2, "blas"):
        if thread_budget() != 2:
            pytest.skip("this BLAS has one thread")
        one, two = blas_limited(1), blas_limited(2)
        one.__enter__()
        two.__enter__()
        assert thread_budget() == 1
        one.__exit__(None, None, None)
        assert thread_budget() == 2
        two.__exit__(None, None, None)
        assert thread_budget() == 2


# --------------------------------------------------------------------------- sessions and threads


def in_thread(work):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(LONG)


def test_threads_see_the_session_of_the_main_thread():
    with lima.session() as outer:
        assert in_thread(current) is outer
        with lima.session() as inner:
            assert in_thread(current) is inner
        assert in_thread(current) is outer


def test_sessions_of_several_threads_do_not_leak():
    opened, looked = threading.Barrier(3), threading.Barrier(3)
    found = {}

    def work(name):
        with lima.session() as mine:
            opened.wait(LONG)
            found[name] = current() is mine
            looked.wait(LONG)

    for main in (True, False):
        threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in "ab"]
        with lima.session() if main else lima.disabled() as session:
            for t in threads:
                t.start()
            opened.wait(LONG)
            seen = in_thread(current)
            own = current()
            looked.wait(LONG)
            for t in threads:
                t.join(LONG)
        assert found == {"a": True, "b": True}
        assert seen is own and (not main or seen is session)


def test_items_do_not_see_the_sessions_of_others():
    opened, looked = threading.Event(), threading.Event()

    def body(k):
        if k == 0:
            with lima.session() as mine:
                opened.set()
                assert looked.wait(LONG)
                return current() is mine
        assert opened.wait(LONG)
        looked.set()
        return current().cache is around.cache

    around = current()
    assert lima.parfor(body, [0, 1], workers=2) == [True, True]


def test_the_main_thread_does_not_see_the_session_of_another():
    opened, looked = threading.Event(), threading.Event()

    def work():
        with lima.session():
            opened.set()
            assert looked.wait(LONG)

    before = current()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert opened.wait(LONG)
    assert current() is before
    looked.set()
    thread.join(LONG)


def test_a_session_in_one_thread_alone_is_seen_by_its_workers():
    def work():
        with lima.session() as mine:
            return in_thread(current) is mine

    assert in_thread(work)


def test_pools_share_the_session():
    with lima.session() as s, ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda k: bodies.gram(X), range(6)))
        assert s.stats.computed <= 2
    for a in found:
        same(a, X.T @ X)


@pytest.mark.parametrize("package", ["joblib", "dask"])
def test_other_schedulers_share_the_session(package):
    pytest.importorskip(package)
    with lima.session() as s:
        if package == "joblib":
            import joblib

            work = joblib.Parallel(2, backend="threading")
            found = work(joblib.delayed(bodies.gram)(X) for _ in range(6))
        else:
            import dask

            tasks = [dask.delayed(lambda k: bodies.gram(X))(k) for k in range(6)]
            found = dask.compute(*tasks, scheduler="threads")
        assert 1 <= s.stats.computed <= 2
    for a in found:
        same(a, X.T @ X)


# --------------------------------------------------------------------------- processes


def test_processes_give_what_threads_give():
    with lima.session():
        found = lima.parfor(bodies.ridge_of, [(X, Y, r) for r in REGS], 2, "processes")
        with lima.session():
            expected = lima.parfor(bodies.ridge_of, [(X, Y, r) for r in REGS], 2)
            for a, b in zip(found, expected):
                same(a, b)
            there, log = digests(expected), lima.lineage(*expected).log()
        assert digests(found) == there
        assert lima.lineage(*found).log() == log


def test_traced_arrays_keep_their_lineage_in_other_processes():
    a = lima.array(X, name="X")
    scaled = a * 2 + 1
    there = lima.parfor(bodies.traced_pair, [(scaled, k) for k in range(3)], 2, "processes")
    here = lima.parfor(bodies.traced_pair, [(scaled, k) for k in range(3)], 2)
    for x, y in zip(there, here):
        assert type(x["total"]) is lima.Array and x["twice"] is x["again"]
        for name in ("total", "twice"):
            same(np.asarray(x[name]), np.asarray(y[name]))
            assert lima.lineage(x[name]).log() == lima.lineage(y[name]).log()
    same(np.asarray(lima.recompute(there[2]["total"])), np.asarray(here[2]["total"]))


def test_arrays_with_a_history_are_known_in_other_processes():
    G = bodies.gram(X)
    (there,) = lima.parfor(bodies.doubled, [G], 1, "processes")
    (here,) = lima.parfor(bodies.doubled, [G], 1)
    assert digests([there]) == digests([here])
    assert "matmul" in lima.lineage(there).log()


def test_draws_in_processes_are_those_in_threads():
    there = lima.parfor(bodies.noisy, REGS, 2, "processes", rng=3)
    here = lima.parfor(bodies.noisy, REGS, 2, rng=3)
    for a, b in zip(there, here):
        same(a, b)
    assert digests(there) == digests(here)
    with pytest.raises(lima.TracingError, match=r"np\.random\.rand and kin"):
        lima.parfor(bodies.draws_from_all, [1, 2], 2, "processes")


@pytest.mark.skipif(not cloudpickle(), reason="needs cloudpickle, for functions in functions")
def test_a_loop_of_processes_inside_of_a_traced_function():
    for grid, args in ((bodies.grid, (X, Y, REGS, 2)), (bodies.noisy_grid, (REGS, 2))):
        with lima.session():
            there = grid(*args, "processes")
        with lima.session():
            here = grid(*args)
        same(there, here)
        with lima.session():
            assert lima.lineage(grid(*args, "processes")).log() == lima.lineage(grid(*args)).log()


def test_an_interrupt_ends_processes(monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(progress.Progress, "show", interrupt)
        with pytest.raises(KeyboardInterrupt):
            lima.parfor(bodies.square, range(1000), 2, "processes")
    assert lima.parfor(bodies.square, range(4), 2, "processes") == [0, 1, 4, 9]


def test_a_body_that_cannot_be_sent_is_explained():
    lock = threading.Lock()
    with pytest.raises(lima.TracingError, match="cannot be sent to another process"):
        lima.parfor(lambda k: lock, [1, 2], 2, "processes")


def test_errors_of_other_processes():
    with pytest.raises(KeyError) as caught:
        lima.parfor(bodies.fails_at_two, range(20), 2, "processes")
    assert caught.value.args == (2,)
    assert caught.value.__notes__[-1] == "lima.parfor: item 2 of 20: 2"
    assert "fails_at_two" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="Awkward: a, b"):
        lima.parfor(bodies.fails_awkwardly, [1], 1, "processes")
    with pytest.raises(Exception, match=r"(?i)terminated|broken"):
        lima.parfor(bodies.dies, [1, 2], 2, "processes")
    assert lima.parfor(bodies.square, range(4), 2, "processes") == [0, 1, 4, 9]


def test_processes_share_the_store(tmp_path):
    heavy = np.random.default_rng(0).standard_normal((700, 700))
    with lima.session(store=tmp_path / "s") as s:
        lima.parfor(bodies.inverse_of, [heavy], 1, "processes")
        assert not s.stats.computed
        found = bodies.inverse_of(heavy)
        assert s.stats.store_hits >= 1
    with lima.disabled():
        same(found, bodies.inverse_of(heavy))


def test_other_processes_find_the_store_of_a_session_wherever_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with lima.session(store="results"):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        found = lima.parfor(bodies.store_of, [1], 1, "processes")
    assert found == [os.fspath(tmp_path / "results")]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_process_that_dies_names_one_item():
    with pytest.raises(Exception, match="terminated") as caught:
        lima.parfor(bodies.dies_at_two, range(8), 2, "processes")
    assert len([n for n in caught.value.__notes__ if n.startswith("lima.parfor: item")]) == 1


def test_loops_of_several_threads_leave_no_guards_on_an_array():
    A = lima.array(X)
    order = [threading.Event() for _ in range(3)]

    def waits(begun, go_on):
        def body(k):
            begun.set()
            assert go_on.wait(LONG)
            return A[k, 0]

        return body

    first = threading.Thread(target=lima.parfor, args=(waits(order[0], order[1]), [0, 1], 2))
    second = threading.Thread(target=lima.parfor, args=(waits(order[1], order[2]), [0, 1], 2))
    first.start()
    assert order[0].wait(LONG)
    second.start()  # begins later, and ends later
    first.join(LONG)
    order[2].set()
    second.join(LONG)
    assert A._rivals is None


# --------------------------------------------------------------------------- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_child_that_is_forked_in_a_loop_has_a_usable_cache():
    inside, finish = threading.Event(), threading.Event()
    children = []

    def body(k):
        if k == 0:
            inside.set()
            assert finish.wait(LONG)
            return 0
        assert inside.wait(LONG)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: the point
            child = os.fork()
        if child == 0:
            good = np.array_equal(bodies.gram(X), X.T @ X)
            with lima.session():
                good = good and np.array_equal(bodies.gram(X), X.T @ X)
            os._exit(0 if good else 1)
        children.append(os.waitpid(child, 0)[1])
        finish.set()
        return k

    with lima.session():
        bodies.gram(X)
        assert lima.parfor(body, [0, 1], workers=2) == [0, 1]
    assert children == [0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_child_is_not_stopped_by_locks_that_other_threads_held():
    held, finish = threading.Event(), threading.Event()

    def hold():
        locks = tree._known.lock, leaves._lock, tasks.OBJECTS, sessions._opening
        with ExitStack() as stack:
            for lock in (*locks, tasks._guarding, placeholders._lock):
                stack.enter_context(lock)
            held.set()
            assert finish.wait(LONG)

    bodies.gram(X)
    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert held.wait(LONG)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        with lima.session():
            found = lima.parfor(lambda k: bodies.scaled(bodies.Model(X), k), [1, 2], workers=2)
            lima.lineage(*found).log()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    finish.set()
    thread.join(LONG)
