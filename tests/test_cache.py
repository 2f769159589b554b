"""The memory tier: one contract for every policy, then admission, eviction order, single flight."""

from __future__ import annotations

import gc
import itertools
import linecache
import mmap
import os
import random
import signal
import sys
import threading
import warnings
import weakref
from _thread import interrupt_main
from collections.abc import Callable

import cachetools
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import lima
from lima import cache as module
from lima import entries, flight, policies
from lima.cache import Cache
from lima.entries import ENTRY_BYTES, worth_keeping
from lima.policies import POLICIES

LONG = 60  # seconds: a thread that takes longer hangs
ROOM = 1 << 20


def block(nbytes: int, fill: int = 0) -> np.ndarray:
    return np.full(nbytes, fill, np.uint8)


def cost(nbytes: int) -> int:
    """Bytes charged for an array of `nbytes`."""
    return nbytes + ENTRY_BYTES


def eviction_order(cache: Cache, keys: str) -> str:
    """The keys in the order in which a shrinking budget evicts them."""
    order = ""
    left = [key for key in keys if cache.peek(key.encode()) is not None]
    while left:
        cache.resize(cache.stats.bytes - 1)
        cache.check()
        gone = [key for key in left if cache.peek(key.encode()) is None]
        order += "".join(gone)
        left = [key for key in left if key not in gone]
    return order


@pytest.fixture(params=POLICIES)
def policy(request):
    return request.param


@pytest.fixture
def cache(policy):
    return Cache(ROOM, policy)


# -- the contract of every policy -----------------------------------------------------------------


def test_a_value_that_was_put_is_got(cache):
    value = np.arange(10.0)
    assert cache.put(b"k", value, seconds=0.5, height=3, level="function")
    entry = cache.get(b"k")
    assert entry.value is value
    assert (entry.key, entry.nbytes, entry.seconds) == (b"k", 80, 0.5)
    assert (entry.height, entry.level, entry.hits) == (3, "function", 1)
    assert len(cache) == 1
    cache.check()


def test_statistics_by_level(cache):
    cache.put(b"o", block(100), seconds=0.5)
    cache.put(b"f", block(50), seconds=2.0, level="function")
    for key, level in ((b"o", "operation"), (b"f", "function"), (b"f", "function")):
        assert cache.get(key, level) is not None
    for level in ("operation", "function", "operation"):
        assert cache.get(b"none", level) is None
    stats = cache.stats
    assert stats.hits == {"operation": 1, "function": 2}
    assert stats.misses == {"operation": 2, "function": 1}
    assert (stats.seconds_saved, stats.bytes_saved) == (4.5, 200)
    assert (stats.admitted, stats.refused, stats.evicted) == (2, 0, 0)
    assert stats.bytes == cost(100) + cost(50)
    assert cache.info() == (3, 3, ROOM, stats.bytes, 4.5)
    assert cache.info()._fields == ("hits", "misses", "maxsize", "currsize", "seconds_saved")


def test_peek_leaves_no_trace(cache):
    cache.put(b"k", block(10), seconds=1)
    assert cache.peek(b"k").hits == 0
    assert cache.peek(b"none") is None
    assert cache.info()[:2] == (0, 0)


def test_the_first_value_of_a_key_stays(cache):
    first = block(10)
    assert cache.put(b"k", first, seconds=1)
    assert cache.put(b"k", block(20), seconds=1)
    assert cache.put(b"k", block(20), seconds=0)
    assert cache.get(b"k").value is first
    assert (cache.stats.admitted, cache.stats.refused) == (1, 0)
    cache.check()


def test_the_budget_is_hard(policy):
    cache = Cache(3 * cost(5000), policy)
    for i in range(50):
        cache.put(bytes([i]), block(5000 if i % 7 else 9000), seconds=1 + i, height=i)
        cache.check()
    assert cache.stats.evicted > 40
    assert cache.stats.admitted - cache.stats.evicted == len(cache) >= 1


def test_what_exceeds_the_budget_is_refused_and_evicts_nothing(policy):
    cache = Cache(cost(5000), policy)
    assert cache.put(b"k", block(5000), seconds=1)
    assert not cache.put(b"big", block(5001), seconds=1e6)
    assert cache.peek(b"k") is not None
    assert (cache.stats.refused, cache.stats.evicted) == (1, 0)


def test_an_evicted_entry_stays_usable(policy):
    cache = Cache(cost(5000), policy)
    cache.put(b"k", block(5000, 7), seconds=1)
    entry = cache.get(b"k")
    cache.resize(0)
    assert cache.peek(b"k") is None
    assert entry.value[-1] == 7


def test_evict_and_clear_forget(cache):
    for key in (b"a", b"b", b"c"):
        cache.put(key, block(5000), seconds=1)
    cache.evict(b"a")
    cache.evict(b"none")
    assert (cache.peek(b"a"), cache.ghost(b"a")) == (None, None)
    assert (len(cache), cache.stats.evicted) == (2, 0)
    cache.check()
    cache.put(b"x", block(500_000), seconds=1e-4)  # refused at first sight, remembered
    cache.clear()
    assert (len(cache), cache.stats.bytes, cache.ghost(b"x")) == (0, 0, None)
    cache.check()


def test_resize_evicts_at_once(cache):
    for i in range(10):
        cache.put(bytes([i]), block(5000), seconds=1)
    cache.resize(4 * cost(5000))
    assert len(cache) == 4
    cache.check()


def test_many_deletions_do_not_pile_up_in_the_queue(policy):
    cache = Cache(20 * cost(5000), policy)
    for i in range(2000):
        cache.put(b"%d" % i, block(5000 - i % 9), seconds=1)
        cache.evict(b"%d" % (i - 3))
        if i == 500:
            cache.resize(10 * cost(5000))
            cache.put(b"large", block(45_000), seconds=1e3)  # an eviction: there is a queue now
    assert len(cache._entries._heap or ()) < 200
    cache.check()


def test_eviction_does_not_look_at_every_entry(policy, monkeypatch):
    kind, calls = POLICIES[policy], []
    score = kind.score
    monkeypatch.setattr(kind, "score", lambda *args: calls.append(1) or score(*args))
    cache = Cache(1000 * cost(100), policy)
    for i in range(4000):
        cache.put(b"%d" % i, block(100), seconds=1 + i % 13, height=i % 17)
        cache.get(b"%d" % (i // 2))
    assert cache.stats.evicted >= 2500
    assert len(calls) < 10 * 4000
    cache.check()


def interrupted_at(line: int, action: Callable[[], object]) -> KeyboardInterrupt | None:
    """Run `action` with a Ctrl-C at the nth `line` it executes in the cache; None past the end."""
    count, before = itertools.count(1), sys.gettrace()
    files = (*(m.__file__ for m in (module, entries, flight, policies)), cachetools.__file__)
    opened: set = set()

    def tracer(frame, event, _):
        code = frame.f_code
        if code.co_filename not in files or code.co_name == "__del__":  # there it would be lost
            return None
        # Python takes signals at calls and jumps: never at a `try:`, never on leaving a `with`.
        source, place = linecache.getline(code.co_filename, frame.f_lineno), (frame, frame.f_lineno)
        if source.lstrip().startswith("try:") or place in opened:
            return tracer
        if source.lstrip().startswith("with "):
            opened.add(place)
        if event == "line" and next(count) == line:
            sys.settrace(before)
            raise KeyboardInterrupt
        return tracer

    sys.settrace(tracer)
    try:
        action()
    except KeyboardInterrupt as error:
        return error
    finally:
        sys.settrace(before)
    return None


CHANGES = {
    "put": lambda cache: cache.put(b"d", block(70_000), seconds=9),
    "put of a ghost": lambda cache: cache.put(b"g", block(70_000), seconds=9),
    "evict": lambda cache: cache.evict(b"b"),
    "resize": lambda cache: cache.resize(cost(50_000)),
    "clear": lambda cache: cache.clear(),
    "flight": lambda cache: wish(cache, lambda: block(70_000), b"d"),
    "refused flight": lambda cache: wish(cache, lambda: block(70_000), b"d", seconds=1e-6),
}


by_lines = pytest.mark.skipif(
    lima.__compiled__, reason="tests each interpreted line; CI runs them so"
)


@by_lines
@pytest.mark.parametrize("change", CHANGES)
def test_ctrl_c_at_any_line_leaves_the_books_right(policy, change):
    for line in itertools.count(1):
        cache = Cache(3 * cost(50_000), policy)
        for key in (b"a", b"b", b"c"):
            cache.put(key, block(50_000), seconds=1)
        cache.put(b"g", block(70_000), seconds=50e-6)
        assert cache.ghost(b"g")
        if not interrupted_at(line, lambda cache=cache: CHANGES[change](cache)):
            break
        cache.check()
        assert not cache._calls
        assert CHANGES[change](cache) is not False
        cache.check()
    assert line > 10


def test_threads_at_random(policy):
    cache = Cache(30 * cost(3000), policy)

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(1500):
            i = dice.randrange(80)
            key = b"%d" % i
            entry = cache.get(key)
            if entry is not None:
                assert entry.value[0] == i
            elif dice.random() < 0.5:
                cache.put(key, block(dice.choice([10, 3000, 9000]), i), seconds=dice.random())
            else:
                with cache.flight(key, probed=True) as f:
                    if f.entry is not None or f.delivered:
                        assert (f.entry.value if f.entry else f.value)[0] == i
                    else:
                        f.deliver(block(3000, i), seconds=dice.choice([1e-6, 1.0]))
            if dice.random() < 0.02:
                cache.evict(key)
                cache.check()

    run(*[lambda seed=seed: work(seed) for seed in range(4)])
    cache.check()
    assert not cache._calls
    assert not cache._waiting
    assert cache.stats.evicted > 0


# -- budgets and names ----------------------------------------------------------------------------


def test_an_unknown_policy_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'mru'.*'lru', 'dag-height', 'cost-size'"):
        Cache(ROOM, "mru")


@pytest.mark.parametrize("budget", [-1, 1.5, "2GB", None])
def test_a_budget_is_a_number_of_bytes(budget):
    with pytest.raises(ValueError, match="number of bytes"):
        Cache(budget)
    cache = Cache(ROOM)
    with pytest.raises(ValueError, match="number of bytes"):
        cache.resize(budget)
    assert cache.budget == ROOM


def test_a_budget_of_nothing_keeps_nothing(policy):
    cache = Cache(0, policy)
    assert not cache.put(b"k", 1.0, seconds=1)
    cache.check()


# -- what may be kept -----------------------------------------------------------------------------


class Record:
    """As the results of function calls: an object that tells its arrays."""

    def __init__(self, *arrays: np.ndarray) -> None:
        self.arrays = arrays

    def buffers(self) -> tuple[np.ndarray, ...]:
        return self.arrays


class Sub(np.ndarray):
    pass


def cyclic() -> list:
    values: list = [1, block(10)]
    values.append(values)
    return values


GOOD: dict[str, Callable[[], object]] = {
    "array": lambda: np.ones((3, 4)),
    "fortran": lambda: np.ones((3, 4), order="F"),
    "0-d": lambda: np.array(1.5),
    "empty": lambda: np.empty((0, 3)),
    "structured": lambda: np.zeros(3, "i4,f8"),
    "text array": lambda: np.array(["a", "bc"]),
    "numpy scalar": lambda: np.float32(1),
    "datetime": lambda: np.datetime64("2020-01-01"),
    "int": lambda: 10**50,
    "complex": lambda: 1j,
    "text": lambda: "text",
    "none": lambda: None,
    "tuple": lambda: (np.ones(3), 2.0),
    "named tuple": lambda: np.linalg.svd(np.eye(3))._replace(S=np.ones(3)),
    "nested": lambda: {"a": [np.ones(3), (np.zeros(2), {"b": "c"})], 1: None},
    "cyclic": cyclic,
    "record": lambda: Record(np.ones(3), np.zeros(4)),
}

BAD: dict[str, Callable[[], object]] = {
    "view": lambda: np.ones(10)[2:],
    "transpose": lambda: np.ones((3, 4)).T,
    "view in a list": lambda: [1, {"x": np.ones(10)[::2]}],
    "view in a record": lambda: Record(np.ones(3), np.ones(4)[:2]),
    "bytes": lambda: np.frombuffer(b"12345678"),
    "map": lambda: np.frombuffer(mmap.mmap(-1, 64)),
    "objects": lambda: np.array([{}, []], dtype=object),
    "structured objects": lambda: np.zeros(2, [("a", "O")]),
    "void scalar": lambda: np.zeros(2, "i4,i4")[0],
    "subclass": lambda: Sub((3,)),
    "masked": lambda: np.ma.array([1.0, 2.0], mask=[0, 1]),
    "unknown": object,
    "record in a list": lambda: [Record(np.ones(3))],
    "set": lambda: {1, 2},
    "bytearray": lambda: bytearray(3),
    "function": lambda: len,
}


def arrays_in(value: object) -> list[np.ndarray]:
    return [value] if isinstance(value, np.ndarray) else list(entries.memory_of(value)[1])


@pytest.mark.parametrize("name", GOOD)
def test_good_values_are_kept_and_read_only(name):
    cache, value = Cache(ROOM), GOOD[name]()
    if name == "named tuple":
        value = type(value)(*(np.array(part) for part in value))
    assert cache.put(b"k", value, seconds=1)
    assert cache.get(b"k").value is value
    for array in arrays_in(value):
        assert not array.flags.writeable
    cache.check()


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_refused_and_left_alone(name):
    cache, value = Cache(ROOM), BAD[name]()
    flag = value.flags.writeable if isinstance(value, np.ndarray) else None
    assert not cache.put(b"k", value, seconds=1)
    assert (len(cache), cache.stats.refused) == (0, 1)
    if flag is not None:
        assert value.flags.writeable == flag


def test_a_refused_array_stays_writable():
    value = block(100)
    assert not Cache(ROOM).put(b"k", value, seconds=1e-6)
    assert value.flags.writeable


def test_an_owned_view_freezes_and_charges_its_base():
    cache, base = Cache(ROOM), np.zeros((100, 10))
    view = base[3:5].T
    assert cache.put(b"k", view, seconds=1, owned=True)
    assert not view.flags.writeable
    assert not base.flags.writeable
    assert cache.peek(b"k").nbytes == 8000
    assert cache.stats.bytes == cost(8000)
    assert not cache.put(b"b", np.frombuffer(b"12345678"), seconds=1, owned=True)
    assert not cache.put(b"o", np.array([{}], dtype=object)[:], seconds=1, owned=True)
    cache.check()


def test_scalars_and_containers_are_charged_too():
    cache = Cache(ROOM)
    cache.put(b"t", "x" * 10_000, seconds=1)
    assert cache.stats.bytes > cost(10_000)
    before = cache.stats.bytes
    cache.put(b"l", [float(i) for i in range(1000)], seconds=1)
    assert cache.stats.bytes - before > cost(1000 * 24)
    cache.check()


def test_a_shared_buffer_is_charged_once():
    cache, array, other = Cache(ROOM), block(50_000), block(7000)
    cache.put(b"op", array, seconds=1)
    cache.put(b"call", (array, [array, other]), seconds=1, level="function")
    cache.put(b"view", array[100:200], seconds=1, owned=True)
    loose = sum(cache.peek(key).loose for key in (b"op", b"call", b"view"))
    assert cache.stats.bytes == 3 * ENTRY_BYTES + 57_000 + loose
    cache.check()
    cache.evict(b"op")
    assert cache.stats.bytes == 2 * ENTRY_BYTES + 57_000 + loose
    cache.check()
    cache.evict(b"call")
    assert cache.stats.bytes == cost(50_000)
    cache.evict(b"view")
    assert cache.stats.bytes == 0
    cache.check()


def test_sharing_with_what_must_go_for_it_keeps_the_budget(policy):
    shared = block(20_000)
    cache = Cache(cost(20_000) + cost(5000), policy)
    cache.put(b"a", shared, seconds=1, height=9)
    cache.put(b"b", block(5000), seconds=1)
    cache.put(b"c", (shared, block(9000)), seconds=100)
    cache.check()
    assert cache.peek(b"c") is None or cache.peek(b"b") is None


def test_check_finds_what_is_wrong():
    def fresh() -> Cache:
        cache = Cache(ROOM)
        cache.put(b"k", block(5000), seconds=1)
        cache.check()
        return cache

    cache = fresh()
    cache.stats.bytes += 1
    with pytest.raises(AssertionError, match="bytes counted"):
        cache.check()
    cache = fresh()
    cache.budget = 10
    with pytest.raises(AssertionError, match="budget is 10"):
        cache.check()
    cache = fresh()
    cache._buffers.clear()
    with pytest.raises(AssertionError, match="buffers"):
        cache.check()
    cache = fresh()
    cache.peek(b"k").value.setflags(write=True)
    with pytest.raises(AssertionError, match="writable"):
        cache.check()
    cache = fresh()
    cache._entries.least()
    cache._entries._heap.clear()
    with pytest.raises(AssertionError, match="queued"):
        cache.check()


def test_victims_are_freed_outside_the_lock():
    cache, free = Cache(cost(5000)), []

    class Watched(Record):
        def __del__(self) -> None:
            reader = threading.Thread(target=cache.info, daemon=True)
            reader.start()
            reader.join(LONG)
            free.append(not reader.is_alive())

    cache.put(b"a", Watched(block(4000)), seconds=1)
    cache.put(b"b", block(4500), seconds=100)
    gc.collect()
    assert free == [True]


# -- admission ------------------------------------------------------------------------------------

ROWS = [  # seconds, bytes, seconds spent before, kept
    (1e-6, 8, 0.0, False),
    (1e-6, 8, 1.0, False),
    (19e-6, 8, 1.0, False),
    (21e-6, 8, 0.0, True),
    (21e-6, 4096, 0.0, True),
    (41e-6, 40_000, 0.0, False),  # 1 ns a byte
    (41e-6, 40_000, 41e-6, True),
    (81e-6, 40_000, 0.0, True),  # 2 ns a byte
    (1e-3, 490_000, 0.0, True),
    (1e-3, 510_000, 0.0, False),
    (1e-3, 19_000_000, 0.04, True),
    (1e-3, 21_000_000, 0.04, False),  # 41 ms spent, 42 ms are the price
    (float("nan"), 8, 1.0, False),
]


@pytest.mark.parametrize(("seconds", "nbytes", "spent", "kept"), ROWS)
def test_admission_rows(seconds, nbytes, spent, kept):
    assert worth_keeping(seconds, nbytes, spent) is kept


def test_what_is_kept_for_less_at_once_is_kept_for_less_later():
    """Calls: at half of the price, whether they are seen for the first or for the second time."""
    assert worth_keeping(1e-3, 1_000_000, first_sight=1e-9)
    assert not worth_keeping(0.6e-3, 1_000_000, first_sight=1e-9)
    assert worth_keeping(0.6e-3, 1_000_000, spent=0.6e-3, first_sight=1e-9)
    assert not worth_keeping(0.6e-3, 1_000_000, spent=0.6e-3)
    assert worth_keeping(0.6e-3, 1_000_000, spent=1.5e-3, first_sight=20e-9)


@pytest.mark.parametrize(("nbytes", "rounds"), [(400_000, 1), (800_000, 2), (2_400_000, 5)])
def test_what_is_computed_again_and_again_is_kept_in_the_end(nbytes, rounds):
    cache, value = Cache(1 << 30), np.empty(nbytes, np.uint8)
    kept = [cache.put(b"k", value, seconds=1e-3) for _ in range(rounds)]
    assert kept == [False] * (rounds - 1) + [True]
    assert not value.flags.writeable
    assert cache.peek(b"k").sights == rounds
    cache.check()


def test_sighted_remembers_as_a_refused_put_does():
    cache = Cache(ROOM)
    assert not cache.sighted(b"k", 1e-4, 90_000)
    assert cache.ghost(b"k").spent == 1e-4
    assert cache.sighted(b"k", 1e-4, 90_000)
    assert cache.put(b"k", block(90_000), seconds=1e-4)
    assert cache.sighted(b"k", 1e-4, 90_000)
    cache.check()


def test_what_shares_its_memory_with_the_cache_counts_as_small():
    cache, array = Cache(ROOM), block(500_000)
    assert cache.put(b"op", array, seconds=1)
    assert cache.put(b"call", (array, 1.0), seconds=30e-6, level="function")


def test_worth_is_the_least_time_that_is_kept():
    cache = Cache(ROOM)
    assert cache.worth == entries.MIN_SECONDS
    cache.worth = 0.0
    assert cache.put(b"k", 1.0, seconds=1e-7)


def test_a_caller_may_ask_more_of_what_it_sees_first():
    cache = Cache(ROOM)
    for kept in (False, True):  # 20 ns a byte
        assert cache.put(b"k", block(500_000), seconds=1e-2, first_sight=100e-9) is kept
    with cache.flight(b"j") as f:
        assert not f.deliver(block(400_000), seconds=1e-2, first_sight=100e-9)
    assert cache.put(b"tiny", block(100), seconds=1e-4, first_sight=1.0)


def test_ghosts_remember_and_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "GHOSTS", 10)
    cache = Cache(ROOM)
    for i in range(100):
        assert not cache.put(b"%d" % i, block(100_000), seconds=50e-6)
        cache.check()
    assert [i for i in range(100) if cache.ghost(b"%d" % i)] == list(range(90, 100))
    assert not cache.put(b"5", block(100_000), seconds=50e-6)  # forgotten: first sight again
    assert cache.put(b"99", block(100_000), seconds=200e-6)
    assert cache.ghost(b"99") is None
    assert cache.peek(b"99").sights == 2


def test_hopeless_values_leave_no_ghost():
    cache = Cache(ROOM)
    cache.put(b"cheap", block(8), seconds=1e-6)
    cache.put(b"huge", block(ROOM), seconds=1)
    cache.put(b"light", block(900_000), seconds=30e-6)
    assert [cache.ghost(key) for key in (b"cheap", b"huge", b"light")] == [None] * 3


def test_a_ghost_keeps_its_count_over_evictions():
    cache = Cache(cost(5000), "lru")
    cache.put(b"a", block(5000), seconds=1)
    cache.get(b"a")
    cache.get(b"a")
    for round_ in (1, 2):
        cache.put(b"b", block(5000), seconds=1)
        ghost = cache.ghost(b"a")
        assert (ghost.sights, ghost.evicted) == (2 + round_, round_)
        assert ghost.density == 1 / cost(5000)
        assert cache.put(b"a", block(5000), seconds=1)
        assert (cache.peek(b"a").sights, cache.peek(b"a").evicted) == (3 + round_, round_)


# -- the order of eviction, worked by hand --------------------------------------------------------


def filled(policy: str, **rows: dict) -> Cache:
    cache = Cache(ROOM, policy)
    for key, row in rows.items():
        nbytes = row.pop("nbytes", 2048 - ENTRY_BYTES)
        assert cache.put(key.encode(), block(nbytes), **{"seconds": 1, **row})
    return cache


def test_lru_order():
    cache = filled("lru", a={}, b={}, c={}, d={})
    for key in (b"b", b"a", b"b"):
        cache.get(key)
    cache.peek(b"c")
    assert eviction_order(cache, "abcd") == "cdab"


def test_lru_order_while_evicting():
    cache = Cache(3 * cost(5000), "lru")
    for key in (b"a", b"b", b"c"):
        cache.put(key, block(5000), seconds=1)
    kept = []
    for used, new in ((b"a", b"d"), (b"c", b"e"), (b"d", b"f")):
        cache.get(used)
        cache.put(new, block(5000), seconds=1)
        kept.append("".join(k for k in "abcdef" if cache.peek(k.encode())))
    assert kept == ["acd", "cde", "def"]


def test_dag_height_order():
    cache = filled(
        "dag-height",
        a={"height": 1},
        b={"height": 7},
        c={"height": 3, "seconds": 2},
        d={"height": 3, "seconds": 1},
        e={"height": 3, "seconds": 1},
        f={"height": 9, "level": "function", "seconds": 2},
    )
    for _ in range(5):
        cache.get(b"b")  # uses do not matter
    assert eviction_order(cache, "abcdef") == "bdecaf"


def test_cost_size_order():
    cache = filled(
        "cost-size",
        a={"seconds": 1},
        b={"seconds": 2},
        c={"seconds": 3},
        d={"seconds": 3, "nbytes": 6 * 2048 - ENTRY_BYTES},  # 1/2 by the size of the others
        e={"seconds": 1},
    )
    for _ in range(4):
        cache.get(b"a")  # 5
    cache.get(b"b")  # 4
    assert eviction_order(cache, "abcde") == "decba"


def test_cost_size_counts_what_its_ghosts_saw():
    cache = filled("cost-size", a={"seconds": 2}, b={"seconds": 5})
    for _ in range(2):  # 2 and 4 are less than 5
        cache.resize(cache.stats.bytes - 1)
        assert cache.peek(b"a") is None
        cache.resize(ROOM)
        cache.put(b"a", block(2048 - ENTRY_BYTES), seconds=2)
    assert cache.peek(b"a").sights == 3
    assert eviction_order(cache, "ab") == "ba"  # 6 is more


def test_cost_size_ages():
    """4 units of value, unused, give way to the fourth newcomer of 1 unit: L grows by 1 a time."""
    cache = Cache(2048, "cost-size")
    cache.put(b"old", block(2048 - ENTRY_BYTES), seconds=4)
    kept = [cache.put(b"%d" % i, block(2048 - ENTRY_BYTES), seconds=1) for i in range(4)]
    assert kept == [False, False, False, True]
    assert cache.peek(b"old") is None
    cache.check()


def test_cost_size_what_is_used_stays():
    cache = Cache(2048, "cost-size")
    cache.put(b"old", block(2048 - ENTRY_BYTES), seconds=4)
    for i in range(50):
        assert cache.get(b"old") is not None
        assert not cache.put(b"%d" % i, block(2048 - ENTRY_BYTES), seconds=1)


def test_cost_size_one_large_cheap_value_does_not_push_out_all_others():
    cache = Cache(100 * cost(1000), "cost-size")
    for i in range(100):
        cache.put(b"%d" % i, block(1000), seconds=1)
    large = block(90_000)
    assert not cache.put(b"large", large, seconds=0.1)
    assert (len(cache), cache.stats.evicted) == (100, 0)
    assert large.flags.writeable
    assert cache.put(b"dear", block(90_000), seconds=1000)
    cache.check()


def test_cost_size_beats_lru_on_a_mini_batch_pipeline():
    """A scale-and-train loop: small dear statistics, large cheap batches, ten epochs."""

    def saved(policy: str) -> float:
        cache = Cache(60_000, policy)
        for _ in range(10):
            for batch in range(20):
                for key, nbytes, seconds in (
                    (b"scale", 2000, 1.0),
                    (b"batch %d" % batch, 8000, 0.01),
                    (b"stat %d" % batch, 500, 0.1),
                ):
                    if cache.get(key) is None:
                        cache.put(key, block(nbytes), seconds=seconds)
                        cache.check()
        return cache.stats.seconds_saved

    assert saved("cost-size") > saved("lru") > 0


# -- a random life under every policy -------------------------------------------------------------

KEYS = st.sampled_from([b"%d" % i for i in range(12)])
SIZES = st.sampled_from([0, 1, 100, 5000, 20_000])
SECONDS = st.sampled_from([1e-6, 30e-6, 1e-3, 1.0])


class CacheMachine(RuleBasedStateMachine):
    """Any sequence of calls keeps the books right, and a key never gives another key's value."""

    @initialize(policy=st.sampled_from(list(POLICIES)), budget=st.integers(0, 60_000))
    def start(self, policy, budget):
        self.cache = Cache(budget, policy)
        self.shared = [block(3000) for _ in range(3)]
        self.asked = self.hits = 0

    def value(self, key, size, share):
        own = block(size, int(key))
        if share is None:
            return own
        base = self.shared[share]
        return (own, base, [base[10:20]], float(size))

    @rule(
        key=KEYS,
        size=SIZES,
        seconds=SECONDS,
        height=st.integers(0, 5),
        level=st.sampled_from(["operation", "function"]),
        share=st.none() | st.integers(0, 2),
    )
    def put(self, key, size, seconds, height, level, share):
        there = self.cache.put(
            key,
            self.value(key, size, share),
            seconds=seconds,
            height=height,
            level=level,
            owned=share is not None,
        )
        assert there == (self.cache.peek(key) is not None)

    @rule(key=KEYS)
    def get(self, key):
        self.asked += 1
        peeked, entry = self.cache.peek(key), self.cache.get(key)
        assert entry is peeked
        if entry is not None:
            self.hits += 1
            own = entry.value[0] if isinstance(entry.value, tuple) else entry.value
            assert (own == int(key)).all()

    @rule(key=KEYS, size=SIZES, seconds=SECONDS, fails=st.booleans())
    def fly(self, key, size, seconds, fails):
        self.asked += 1
        with self.cache.flight(key) as f:
            assert not f.delivered
            self.hits += f.entry is not None
            if f.entry is None and not fails:
                f.deliver(block(size, int(key)), seconds=seconds)

    @rule(key=KEYS)
    def evict(self, key):
        self.cache.evict(key)
        assert self.cache.peek(key) is None

    @rule(budget=st.integers(0, 60_000))
    def resize(self, budget):
        self.cache.resize(budget)

    @rule()
    def clear(self):
        self.cache.clear()
        assert len(self.cache) == 0

    @rule()
    def add_shared(self):
        self.shared = [*self.shared[1:], block(3000)]

    @invariant()
    def books(self):
        if not hasattr(self, "cache"):
            return
        self.cache.check()
        info = self.cache.info()
        assert (info.hits, info.hits + info.misses) == (self.hits, self.asked)
        assert not self.cache._calls


TestCacheMachine = CacheMachine.TestCase


# -- single flight --------------------------------------------------------------------------------


def run(*bodies: Callable[[], object]) -> list:
    """Run each body in a thread of its own; their results, or the exceptions they ended with."""
    results: list = [None] * len(bodies)

    def call(i: int) -> None:
        try:
            results[i] = bodies[i]()
        except BaseException as error:
            results[i] = error

    threads = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive(), "a thread hangs"
    for result in results:
        if isinstance(result, AssertionError):
            raise result
    return results


@pytest.fixture
def waiting(monkeypatch):
    """A semaphore that each waiter releases when it starts to wait."""
    count = threading.Semaphore(0)

    class Watched(threading.Event):
        def wait(self, timeout=None):
            if not hasattr(mine, "seen"):
                mine.seen = True
                count.release()
            return super().wait(timeout)

    mine = threading.local()
    monkeypatch.setattr(flight, "Event", Watched)
    return lambda n: [count.acquire(timeout=LONG) or pytest.fail("too few wait") for _ in range(n)]


def wish(cache: Cache, compute: Callable[[], object], key: bytes = b"k", **how) -> object:
    """What the runtime does for one operation."""
    with cache.flight(key) as f:
        if f.entry is not None:
            return f.entry.value
        if f.delivered:
            return f.value
        value = compute()
        f.deliver(value, **{"seconds": 1, **how})
    return value


def crowd(cache: Cache, compute: Callable[[bool], object], n: int = 8, **how) -> list:
    """n threads with one wish: the first owns it for certain, and is told so by True."""
    owned = threading.Event()

    def first() -> object:
        return wish(cache, lambda: owned.set() or compute(True), **how)

    def other() -> object:
        assert owned.wait(LONG)
        return wish(cache, lambda: compute(False), **how)

    return run(first, *[other] * (n - 1))


def test_eight_threads_compute_once(policy, waiting):
    cache, calls = Cache(ROOM, policy), []

    def compute(owner: bool) -> np.ndarray:
        calls.append(owner)
        waiting(7)
        return block(100, 5)

    values = crowd(cache, compute)
    assert calls == [True]
    assert all(value is values[0] for value in values)
    assert cache.info()[:2] == (7, 1)
    assert (cache.stats.waits, cache.stats.seconds_saved) == (7, 7.0)
    cache.check()


def test_eight_threads_from_one_barrier():
    cache, barrier, calls = Cache(ROOM), threading.Barrier(8), []

    def work() -> list:
        values = []
        for i in range(50):
            barrier.wait(LONG)
            values.append(wish(cache, lambda i=i: calls.append(i) or block(10, i), b"%d" % i))
        return values

    results = run(*[work] * 8)
    assert sorted(calls) == list(range(50))
    assert all(a is b for result in results for a, b in zip(result, results[0], strict=True))
    assert cache.info()[:2] == (350, 50)


def test_what_the_cache_refuses_is_handed_over_and_let_go(waiting):
    cache, made = Cache(ROOM), []

    def compute(owner: bool) -> np.ndarray:
        assert owner
        waiting(7)
        value = block(5000)
        made.append(weakref.ref(value))
        return value

    values = crowd(cache, compute, seconds=1e-6)
    assert all(value is values[0] for value in values)
    assert not values[0].flags.writeable  # eight threads hold it
    assert len(cache) == 0
    assert cache.info()[:2] == (7, 1)
    del values
    gc.collect()
    assert made[0]() is None


def test_what_nobody_waits_for_stays_writable():
    cache = Cache(ROOM)
    assert wish(cache, lambda: block(5000), seconds=1e-6).flags.writeable


def test_what_must_not_be_shared_is_not_handed_over(waiting):
    cache, calls = Cache(ROOM), []

    def compute(owner: bool) -> np.ndarray:
        calls.append(owner)
        if owner:
            waiting(3)
        return np.ones(10)[1:]

    values = crowd(cache, compute, n=4)
    assert sorted(calls) == [False, False, False, True]
    assert len({id(value) for value in values}) == 4
    assert all(value.flags.writeable for value in values)


def test_a_failure_releases_the_waiters_who_compute(waiting):
    cache, calls = Cache(ROOM), []

    def compute(owner: bool) -> np.ndarray:
        calls.append(owner)
        if owner:
            waiting(7)
            raise ZeroDivisionError
        return block(100, 5)

    results = crowd(cache, compute)
    assert isinstance(results[0], ZeroDivisionError)
    assert all((value == 5).all() for value in results[1:])
    assert calls[0]
    assert calls.count(False) == 7  # at once, as without a cache
    assert cache.get(b"k") is not None
    assert not cache._calls
    cache.check()


def test_leaving_without_delivering_releases_the_waiters(waiting):
    cache = Cache(ROOM)

    def leave() -> str:
        with cache.flight(b"k"):
            owned.set()
            waiting(1)
        return "left"

    def other() -> object:
        assert owned.wait(LONG)
        return wish(cache, lambda: 5)

    owned = threading.Event()
    assert run(leave, other) == ["left", 5]


def test_a_dropped_frame_releases_the_key():
    cache = Cache(ROOM)

    def generator():
        with cache.flight(b"k"):
            yield

    run(lambda: next(generator()))
    flight = cache.flight(b"j")
    flight.__enter__()  # and its __exit__ is never called
    del flight
    gc.collect()
    assert not cache._calls
    assert run(lambda: wish(cache, lambda: 1), lambda: wish(cache, lambda: 2, b"j")) == [1, 2]


def test_the_same_thread_may_enter_again():
    cache = Cache(ROOM)
    assert wish(cache, lambda: wish(cache, lambda: 5) + 1) == 6
    assert cache.get(b"k").value == 5  # the first one delivered
    assert not cache._calls


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_cycle_of_threads_is_broken(n):
    cache, barrier = Cache(ROOM), threading.Barrier(n)

    def work(i: int) -> object:
        def compute() -> int:
            barrier.wait(LONG)  # all own one key, and now want the next one's
            return wish(cache, lambda: 100 * j, b"%d" % j)

        j = (i + 1) % n
        return wish(cache, compute, b"%d" % i)

    results = run(*[lambda i=i: work(i) for i in range(n)])
    assert all(result in [100 * i for i in range(n)] for result in results)
    assert cache.stats.waits == n - 1  # the last one to ask computes
    assert not cache._waiting
    cache.check()


def test_a_chain_of_threads_is_no_cycle(waiting):
    """a waits for b, b waits for c: nobody computes what another one does."""
    cache, calls = Cache(ROOM), []
    c_owned, b_owned = threading.Event(), threading.Event()

    def compute_c() -> int:
        c_owned.set()
        waiting(2)
        calls.append("c")
        return 1

    def c() -> object:
        return wish(cache, compute_c, b"c")

    def b() -> object:
        assert c_owned.wait(LONG)
        return wish(
            cache, lambda: b_owned.set() or wish(cache, lambda: calls.append("x"), b"c"), b"b"
        )

    def a() -> object:
        assert b_owned.wait(LONG)
        return wish(cache, lambda: calls.append("y"), b"b")

    assert run(a, b, c) == [1, 1, 1]
    assert calls == ["c"]


@by_lines
def test_ctrl_c_on_entering_gives_the_key_back_while_its_traceback_lives():
    for line in itertools.count(1):
        cache = Cache(ROOM)
        error = interrupted_at(line, lambda cache=cache: cache.flight(b"k").__enter__())
        if error is None:
            break
        assert error.__traceback__ is not None  # as a notebook keeps it, with all its frames
        assert not cache._calls
    assert line > 10


@by_lines
@pytest.mark.parametrize("seconds", [1.0, 1e-6])
def test_ctrl_c_at_any_line_of_the_owner_releases_its_waiter(waiting, seconds):
    for line in itertools.count(1):
        cache, waiters, values = Cache(ROOM), [], []

        def wait(cache=cache, values=values) -> None:
            values.append(wish(cache, lambda: block(10, 5)))

        def compute(wait=wait, waiters=waiters) -> np.ndarray:
            waiters.append(threading.Thread(target=wait, daemon=True))
            waiters[0].start()
            waiting(1)
            return block(10, 5)

        def action(cache=cache, compute=compute) -> None:
            wish(cache, compute, seconds=seconds)

        done = interrupted_at(line, action) is None
        for waiter in waiters:
            waiter.join(LONG)
            assert not waiter.is_alive(), f"a waiter hangs after Ctrl-C at line {line}"
            assert (values[0] == 5).all()
        assert not cache._calls
        cache.check()
        if done:
            break
    assert line > 30


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(),
    reason="Ctrl-C reaches the main thread",
)
def test_ctrl_c_ends_a_wait(waiting, request):
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job may ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, handler))
    cache, owned, finish = Cache(ROOM), threading.Event(), threading.Event()

    def owner() -> None:
        wish(cache, lambda: owned.set() or finish.wait(LONG))

    def interrupt() -> None:
        waiting(1)
        interrupt_main()

    threads = [threading.Thread(target=body, daemon=True) for body in (owner, interrupt)]
    for thread in threads:
        thread.start()
    assert owned.wait(LONG)
    with pytest.raises(KeyboardInterrupt):
        wish(cache, lambda: pytest.fail("the owner computes"))
    assert not cache._waiting
    finish.set()
    for thread in threads:
        thread.join(LONG)
    assert cache.get(b"k").value is True
    cache.check()


def test_a_probed_flight_counts_one_request():
    cache = Cache(ROOM)
    assert cache.get(b"k", "function") is None
    with cache.flight(b"k", "function", probed=True) as f:
        f.deliver(1, seconds=1)
    assert cache.peek(b"k").level == "function"
    assert cache.stats.misses["function"] == 1
    assert cache.get(b"j") is None
    cache.put(b"j", 1, seconds=1)  # by another thread, in between
    with cache.flight(b"j", probed=True) as f:
        assert f.entry.value == 1
    assert cache.stats.misses["operation"] == 0
    assert cache.stats.hits["operation"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_waits_for_nobody():
    cache, owned, finish = Cache(ROOM), threading.Event(), threading.Event()
    owner = threading.Thread(
        target=lambda: wish(cache, lambda: owned.set() or finish.wait(LONG)), daemon=True
    )
    owner.start()
    assert owned.wait(LONG)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads: the point here
        child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(LONG)
        try:
            right = wish(cache, lambda: 5) == 5 and wish(cache, lambda: 6, b"j") == 6
            cache.check()
            status = 0 if right else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    finish.set()
    owner.join(LONG)
    assert os.waitstatus_to_exitcode(status) == 0
    assert cache.get(b"k").value is True
    cache.check()


@pytest.mark.parametrize("reuse", ["operation", "hybrid"])
def test_what_a_session_kept_is_freed_when_it_ends(reuse):
    """At once, not when the garbage collector next comes by: it may be gigabytes."""

    @lima.traced
    def products(x):
        return [np.hstack([x, x[:, k : k + 1]]).T @ x for k in range(3)]

    gc.collect()
    gc.disable()
    try:
        with lima.session(reuse=reuse) as session:
            products(np.ones((300, 40)))
            assert session.stats.entries
        kept = weakref.ref(session.cache)
        del session
        assert kept() is None
    finally:
        gc.enable()
