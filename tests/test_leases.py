"""Leases: of several processes that want one thing, one computes it, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import lima
from lima import alive, store, turns
from lima.cache import Cache, blocked_by
from lima.store import Store

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
needs_proc = pytest.mark.skipif(not alive.host(), reason="needs /proc")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def silence(monkeypatch):
    """A warning that a test does not expect is an error; results are stored however fast."""
    monkeypatch.setattr(store, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(store, "SECONDS_A_BYTE", 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", lima.StoreWarning)
        yield


def never() -> None:
    """What an index says that does not have the value."""


def turn(opened: Store, key: bytes = b"key", look=never, **options):
    return opened.turns.turn("op", key, look, **options)


def rows(path, table: str) -> list[tuple]:
    with sqlite3.connect(path / "leases.sqlite") as db:
        return db.execute(f"SELECT * FROM {table}").fetchall()


def until(path, table: str, count: int) -> None:
    """Return when so many rows are there."""
    while len(rows(path, table)) != count:
        os.sched_yield()


class Child:
    """A forked process that runs `work(tell, hear)`; `wait` gives its exit status."""

    def __init__(self, work) -> None:
        self.hears, tells = os.pipe()
        listens, self.tells = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self.hears), os.close(self.tells)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                status = work(lambda: os.write(tells, b"."), lambda: os.read(listens, 1)) or 0
            except KeyboardInterrupt:
                status = 2
            finally:
                os._exit(status)
        os.close(tells), os.close(listens)

    def hear(self) -> None:
        assert os.read(self.hears, 1) == b"."

    def tell(self) -> None:
        os.write(self.tells, b".")

    def wait(self) -> int:
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.hears), os.close(self.tells)
        return status

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.wait()


def owner(path, key=b"key", stays=False):
    """A child that holds the lease of `key` until it is told something; it `stays` until it is told
    something more: an owner that was seen dead is another matter than one that has given back.
    """

    def work(tell, hear):
        with turn(Store(path), key) as mine:
            tell()
            hear()
        if stays:
            hear()
        return 0 if mine.fruitful is False else 3

    child = Child(work)
    child.hear()
    return child


@contextmanager
def waiter(path, key=b"key", look=never, count=1):
    """A thread that asks for its turn; what it got is in the list when the block has ended."""
    opened, got = Store(path), []

    def work():
        with turn(opened, key, look) as mine:
            got.append((mine.owns, mine.found))

    thread = threading.Thread(target=work)
    thread.start()
    until(path, "waits", count)
    yield got
    thread.join()


# --------------------------------------------------------------------------- herds

HERD = """
import sys, numpy as np, lima
from lima import store, turns
store.LEAST_SECONDS = store.SECONDS_A_BYTE = turns.LEASE_SECONDS = 0.0
X = np.random.default_rng(3).standard_normal((500, 300))

@lima.traced
def model(X):
    G = X.T @ X
    values, vectors = np.linalg.eigh(G)
    return np.linalg.inv(G), values, vectors

plain = model.__wrapped__(X)
print("ready", flush=True)
sys.stdin.readline()
with lima.session(store=sys.argv[1], reuse=sys.argv[2], exactness="bitwise") as s:
    found = model(X)
    s.store.flush()
print(model.cache_info().misses, s.stats.computed, s.stats.store_hits)
assert all(a.tobytes() == b.tobytes() for a, b in zip(found, plain))
"""


DRAWS = """
import sys, numpy as np, lima
from lima import draws, store, turns
store.LEAST_SECONDS = store.SECONDS_A_BYTE = turns.LEASE_SECONDS = draws.KEEP_SECONDS = 0.0
made = []
draws.draw = lambda *args, draw=draws.draw: made.append(1) or draw(*args)

def plain(seed):
    rng = np.random.default_rng(seed)
    old = np.random.RandomState(seed)
    a = rng.standard_normal((300, 1000))
    b = rng.permutation(a)
    return a, b, rng.random(3), old.normal(size=200_000), old.random_sample(2)

model = lima.traced(plain)
expected = plain(7)
made.clear()
print("ready", flush=True)
sys.stdin.readline()
with lima.session(store=sys.argv[1], reuse=sys.argv[2]) as s:
    found = model(7)
    s.store.flush()
print(0, len(made), s.stats.store_hits)
assert all(a.tobytes() == b.tobytes() for a, b in zip(found, expected))
"""


PASSES = """
import sys, numpy as np, lima
from lima import store, turns
store.LEAST_SECONDS = store.SECONDS_A_BYTE = turns.LEASE_SECONDS = 0.0
def plain(x, y):
    a = np.exp(x) / (1 + np.exp(-y)) + np.tanh(x) ** 2
    return a, np.sum(np.log1p(np.exp(y) + np.abs(x))), (np.sin(x) * y).mean(axis=0)

model = lima.traced(plain)
x, y = np.random.default_rng(3).standard_normal((2, 600, 700))
expected = plain(x, y)
print("ready", flush=True)
sys.stdin.readline()
with lima.session(store=sys.argv[1], reuse=sys.argv[2], exactness="bitwise") as s:
    found = model(x, y)
    s.store.flush()
print(0, s.stats.computed, s.stats.store_hits)
assert all(a.tobytes() == b.tobytes() for a, b in zip(found, expected))
"""


@pytest.mark.parametrize(
    ("program", "reuse", "computed"),
    [(HERD, "full", 1), (HERD, "operation", 3), (DRAWS, "operation", 5), (PASSES, "operation", 16)],
    ids=["calls", "operations", "draws", "passes"],
)
def test_eight_processes_compute_once(program, reuse, computed, path):
    herd = [
        subprocess.Popen(
            [sys.executable, "-c", program, path, reuse],
            env={**os.environ, "PYTHONPATH": str(Path(lima.__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for one in herd:
        assert one.stdout.readline() == "ready\n"
    for one in herd:
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.communicate(timeout=120) for one in herd]
    assert not [error for _, error in said if error]
    misses, made, _ = np.sum([list(map(int, out.split())) for out, _ in said], axis=0)
    assert (misses if reuse == "full" else made) == computed
    assert rows(path, "leases") == rows(path, "waits") == []


# --------------------------------------------------------------------------- one owner, one waiter


@needs_fork
def test_who_waits_gets_what_is_there_in_the_end(path):
    child, there = owner(path), []
    with waiter(path, look=lambda: there[0] if there else None) as got:
        there.append("value")
        child.tell()
    assert got == [(False, "value")]
    assert child.wait() == 0
    assert rows(path, "leases") == rows(path, "waits") == []


@needs_fork
def test_an_owner_that_fails_has_a_successor(path):
    child = owner(path)
    with waiter(path) as got:
        child.tell()
    assert got == [(True, None)]
    assert child.wait() == 0


@needs_fork
@needs_proc
def test_an_owner_that_is_killed_has_a_successor(path):
    child = owner(path)
    with waiter(path) as got:
        os.kill(child.pid, signal.SIGKILL)  # and nobody has asked for its status yet
    assert got == [(True, None)]
    child.wait()
    assert [row[2] for row in rows(path, "owners")] == [os.getpid()]


@needs_fork
def test_after_some_failures_everybody_computes(path, monkeypatch):
    monkeypatch.setattr(turns, "TURNS", 1)
    child = owner(path, stays=True)
    with waiter(path) as got:
        child.tell()
    child.tell()
    assert got == [(False, None)]
    assert child.wait() == 0


@needs_fork
def test_an_owner_that_was_stopped_is_not_waited_for_and_may_go_on(path, monkeypatch):
    monkeypatch.setattr(turns, "STALE", 0.01)
    child = owner(path)
    os.kill(child.pid, signal.SIGSTOP)
    opened = Store(path)
    with turn(opened) as mine:
        assert mine.owns
        os.kill(child.pid, signal.SIGCONT)
        child.tell()
        child.wait()
        assert len(rows(path, "leases")) == 1  # it did not give back what is no longer its own
    assert rows(path, "leases") == []


@needs_fork
def test_an_owner_that_beats_is_waited_for(path, monkeypatch):
    """Looks are counted only while the number of beats stays the same."""
    monkeypatch.setattr(alive, "BEAT", 1e-4)
    child = owner(path)
    beats = rows(path, "owners")[0][4]
    while rows(path, "owners")[0][4] < beats + 3:
        os.sched_yield()
    child.tell()
    child.wait()


@needs_fork
def test_patience_ends(path, monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE", 0.01)
    child = owner(path)
    with turn(Store(path)) as mine:
        assert (mine.owns, mine.found) == (False, None)
    child.tell()
    child.wait()
    assert rows(path, "waits") == []


@needs_fork
def test_an_interrupt_ends_the_wait(path):
    child = owner(path)

    def work(tell, hear):
        with turn(Store(path)):
            return 3

    waits = Child(work)
    until(path, "waits", 1)
    os.kill(waits.pid, signal.SIGINT)
    assert waits.wait() == 2
    assert rows(path, "waits") == []
    child.tell()
    child.wait()


@needs_fork
def test_an_interrupt_ends_the_lease(path):
    child = owner(path)
    with waiter(path) as got:
        os.kill(child.pid, signal.SIGINT)
    assert child.wait() == 2
    assert got == [(True, None)]


# --------------------------------------------------------------------------- circles


@needs_fork
def test_two_that_would_wait_for_each_other_compute(path):
    def work(mine, others):
        def run(tell, hear):
            opened = Store(path)
            with turn(opened, mine) as first:
                tell()
                hear()
                with turn(opened, others) as second:
                    return 0 if first.owns and not second.owns else 10 + second.owns

        return run

    children = [Child(work(b"a", b"b")), Child(work(b"b", b"a"))]
    for child in children:
        child.hear()
    for child in children:
        child.tell()
    assert sorted(child.wait() for child in children) in ([0, 0], [0, 11])
    assert rows(path, "leases") == rows(path, "waits") == []


def test_a_thread_that_holds_a_lease_does_not_wait_for_it(path):
    with Store(path) as one, Store(path) as other, turn(one) as first, turn(other) as second:
        assert first.owns
        assert not second.owns


@needs_fork
def test_a_circle_through_a_thread_that_waits_for_another(path):
    """This process: one thread has lease "a" and waits, without a lease, for a second thread. The
    second wants "b" of a child, which wants "a"."""

    def work(tell, hear):
        opened = Store(path)
        with turn(opened, b"b"):
            tell()
            with turn(opened, b"a"):
                return 0

    opened, cache, at_work, ended = Store(path), Cache(1 << 20), threading.Event(), []

    def second():
        with cache.flight(b"flight"):
            at_work.set()
            with turn(opened, b"b"):
                ended.append("second")

    with turn(opened, b"a"):
        child = Child(work)
        child.hear()
        until(path, "waits", 1)
        thread = threading.Thread(target=second)
        thread.start()
        at_work.wait()
        with cache.flight(b"flight"):
            ended.append("first")
    thread.join()
    assert child.wait() == 0
    assert ended == ["second", "first"]
    assert rows(path, "leases") == rows(path, "waits") == []


def test_who_waits_for_a_thread_through_others():
    cache, boarded = Cache(1 << 20), threading.Barrier(3)
    names, go = {}, threading.Event()

    def work(name, own, other):
        names[name] = threading.get_ident()
        with cache.flight(own):
            boarded.wait()
            if other is None:
                go.wait()
            else:
                cache.flight(other).__enter__()

    jobs = [("low", b"low", None), ("mid", b"mid", b"low"), ("top", b"top", b"mid")]
    threads = [threading.Thread(target=work, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    while len(blocked_by(names.get("low", -1))) < 2:
        os.sched_yield()
    assert blocked_by(names["low"]) == {names["mid"], names["top"]}
    assert blocked_by(names["mid"]) == {names["top"]}
    assert blocked_by(names["top"]) == set()
    go.set()
    for thread in threads:
        thread.join()


# --------------------------------------------------------------------------- when there is no lease


def test_cheap_work_takes_no_lease(path, monkeypatch):
    monkeypatch.setattr(turns, "LEASE_SECONDS", 1e9)
    asked = []
    monkeypatch.setattr(
        "lima.leases.Leases.take", lambda self, key, *_: asked.append(key) or "alone"
    )

    @lima.traced
    def model(X):
        return np.linalg.inv(X.T @ X)

    with lima.session(store=path, reuse="operation"):
        model(np.eye(200))
    assert asked == []
    with lima.session(store=path):
        for k in range(3):
            model(k + np.eye(200))
    assert len(asked) == 1  # nobody knew yet what it takes


def test_what_is_never_stored_is_not_waited_for_again(path):
    with Store(path) as opened:
        for _ in range(turns.FRUITLESS):
            assert opened.turns.shares("op")
            with turn(opened):
                pass
        assert not opened.turns.shares("op")
        assert opened.turns.shares("another")


def test_who_waits_for_a_call_that_is_not_reusable_is_let_go(path, monkeypatch):
    opened, doomed = Store(path), []
    with turn(opened, doomed=lambda: bool(doomed)) as mine:
        assert opened.turns.leases.beat()
        assert len(rows(path, "leases")) == 1
        doomed.append(True)
        assert not opened.turns.leases.beat()
        assert rows(path, "leases") == []
    assert mine.fruitful is False


def test_a_call_that_turns_out_not_to_be_reusable_is_doomed(path, monkeypatch):
    seen = []
    turn_of = turns.Turns.turn

    def watched(self, name, key, look, doomed):
        seen.append(doomed)
        return turn_of(self, name, key, look, doomed)

    monkeypatch.setattr(turns.Turns, "turn", watched)

    @lima.traced
    def pure(X):
        return np.linalg.inv(X)

    @lima.traced
    def drawing(X):
        return X + np.random.default_rng().random()

    with lima.session(store=path, reuse="full"):
        pure(np.eye(3)), drawing(np.eye(3)), drawing(np.eye(3))
    assert [doomed() for doomed in seen] == [False, True]


def test_a_store_that_cannot_be_written_has_no_leases(path, monkeypatch):
    Store(path).close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Store(path) as opened, turn(opened) as mine:
        assert opened.readonly
        assert not mine.owns
    assert not (path / "leases.sqlite").exists()


def garbage(place):
    place.write_bytes(b"no database " * 1000)


def another(place):
    with sqlite3.connect(place) as db:
        db.execute("CREATE TABLE leases (key, owner, thread)")


def link(place):
    place.symlink_to(place.parent / "index.sqlite")


@pytest.mark.parametrize("fault", [garbage, another, link])
def test_a_broken_file_of_leases_costs_a_warning_and_gc_mends(fault, path):
    with Store(path) as opened:
        fault(path / "leases.sqlite")
        with turn(opened) as mine:
            assert not mine.owns
        with pytest.warns(lima.StoreWarning, match="do not wait"):
            opened.flush()
        opened.gc()
        with turn(opened) as mine:
            assert mine.owns


def hostile(path, column, value):
    with sqlite3.connect(path / "leases.sqlite") as db:
        table, name = column
        db.execute(f"UPDATE {table} SET {name}=?", (value,))


@needs_fork
@pytest.mark.parametrize("value", [None, "text", b"\xff", 2.5, -1, 2**62])
@pytest.mark.parametrize(
    "column", [("owners", c) for c in ("beat", "host", "pid", "start")] + [("leases", "thread")]
)
def test_nonsense_in_the_file_ends_nothing(column, value, path, monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE", 0.01)
    child = owner(path)
    hostile(path, column, value)
    with turn(Store(path)):
        pass
    child.kill()


@needs_fork
def test_a_forked_child_holds_nothing_of_its_parents(path):
    opened = Store(path)
    with turn(opened):

        def work(tell, hear):
            if opened.turns.leases.held:
                return 3
            opened.flush()
            opened.close()
            return 0

        assert Child(work).wait() == 0
        assert len(rows(path, "leases")) == 1
