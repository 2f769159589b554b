"""Whole calls in the store: another process has the results and effects, and runs nothing."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import lima
from lima import lasting, plainly, store, terms
from lima.objects import MAPPED_BYTES
from lima.store import Store

X = np.random.default_rng(17).standard_normal((120, 40))
LOG: list[str] = []


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def everything_is_worth_it(monkeypatch):
    """What is stored must not depend on how fast this machine is."""
    monkeypatch.setattr(store, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(store, "SECONDS_A_BYTE", 0.0)
    monkeypatch.setattr(lima.sessions, "CALL_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def silence():
    """A warning that a test does not expect is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", lima.StoreWarning)
        yield


def busy(X):
    """Work that is worth keeping as a whole."""
    for _ in range(30):
        X = np.linalg.inv(X.T @ X + np.eye(X.shape[1]))
    return X


def run(path, function, *args, **options):
    """What a call in a session of its own returns, the calls that were found, the session."""
    traced = lima.traced(function)
    with lima.session(store=path, **options) as session:
        found = traced(*args)
    return found, traced.cache_info().hits, session


def same(a, b):
    assert type(a) is type(b), (a, b)
    if isinstance(a, tuple | list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        same(list(a.values()), list(b.values()))
    elif isinstance(a, np.ndarray | np.generic):
        assert (a.dtype, a.shape, a.strides) == (b.dtype, b.shape, b.strides)
        assert a.tobytes() == b.tobytes()
        assert not isinstance(a, np.ndarray) or a.flags.writeable == b.flags.writeable
    else:
        assert repr(a) == repr(b)


# --------------------------------------------------------------------------- another process

PROGRAM = """
import hashlib, sys, numpy as np, lima
from lima import store
store.LEAST_SECONDS = store.SECONDS_A_BYTE = 0.0
POWER = {power}

class Settings:
    ridge = 1.0
    def __init__(self, names):
        self.names = names

def helper(G, settings):
    return np.linalg.inv(G + settings.ridge * np.eye(len(G)))

@lima.traced
def model(X, settings, rng, log):
    G = X.T @ X
    for _ in range(200):
        G = helper(G, settings) ** POWER
    log.append(len(log))
    X[0] = 7.0
    noise = rng.standard_normal(G.shape)
    if "a" in ("a", "b") and settings.names["x"] in {{"p", "q"}}:
        {line}
    return {{"G": G, "part": G[:, 1:3], "noise": noise, "sum": noise.sum(), "n": [1, None, "x"]}}

X = np.random.default_rng(3).standard_normal((90, 30))
rng, log = np.random.default_rng(4), ["begin"]
with lima.session(store=sys.argv[1]) as s:
    found = model(X, Settings({{"x": "p", "y": 1.5}}), rng, log)
    after = rng.standard_normal(5)
said = hashlib.md5()
for a in (found["G"], found["part"], found["noise"], found["sum"], X, after):
    said.update(np.asarray(a).tobytes())
assert np.shares_memory(found["G"], found["part"]) and found["part"].flags.writeable
print(model.cache_info().hits, s.stats.computed, said.hexdigest(), log, found["n"])
"""


def spawn(path, folder, seed, power=1.0, line="X[1] = 8.0"):
    program = folder / f"program{seed}.py"
    program.write_text(PROGRAM.format(power=power, line=line))
    done = subprocess.run(
        [sys.executable, program, path],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(lima.__file__).parents[1]),
            "PYTHONHASHSEED": str(seed),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "StoreWarning" not in done.stderr
    hits, computed, *rest = done.stdout.split(maxsplit=2)
    return int(hits), int(computed), rest


def test_another_process_runs_nothing(path, tmp_path):
    first = spawn(path, tmp_path, 1)
    second = spawn(path, tmp_path, 2)
    assert first[0] == 0 and first[1] > 100
    assert second[:2] == (1, 0)
    assert first[2] == second[2]


@pytest.mark.parametrize("change", [{"power": 1.5}, {"line": "X[1] = 9.0"}], ids=["data", "code"])
def test_changed_code_and_changed_data_miss(change, path, tmp_path):
    spawn(path, tmp_path, 1)
    assert spawn(path, tmp_path, 2, **change)[0] == 0
    assert spawn(path, tmp_path, 3, **change)[0] == 1


# --------------------------------------------------------------------------- what comes back


def views(X):
    G = busy(X)
    return G, G[1:, ::2], G.T, G.reshape(-1)[3:9], [G, G.diagonal()]


def numbers(X):
    G = busy(X)
    return (
        *(1, 2**200, -0.0, float("nan"), 1e-320, 1j, "é\udc80", b"\x00\xff", None, True, Ellipsis),
        *(slice(1, None, -1), range(3, 9, 2), np.float32(1.5), np.int8(-3), np.complex128(2j)),
        *(np.dtype("f4"), np.datetime64("2020-02-02"), G.sum(), G.max(), G.argmax(), G > 0),
    )


def named(X):
    return np.linalg.eigh(busy(X)), np.linalg.svd(busy(X)), np.linalg.slogdet(busy(X))


def nested(X):
    G = busy(X)
    inner = {"G": G, (1, "a"): [G, {}], 2.5: (G, ())}
    both = [inner, inner]
    both.append(both)
    return both[:2], G + 1


def layouts(X):
    G = busy(X)
    return np.asfortranarray(G), G[:0], np.ones((3, 0, 2)), np.array(G.sum()), G.astype("f4").T


def nothing(X):
    busy(X)


RESULTS = [views, numbers, named, nested, layouts, nothing]


@pytest.mark.parametrize("function", RESULTS, ids=lambda f: f.__name__)
def test_results_come_back_as_they_were(function, path):
    plain = function(X.copy())
    first, hits, _ = run(path, function, X.copy())
    assert hits == 0
    found, hits, session = run(path, function, X.copy())
    assert (hits, session.stats.computed) == (1, 0)
    same(first, plain)
    same(found, plain)


def test_views_share_memory_and_results_belong_to_the_caller(path):
    run(path, views, X.copy())
    for _ in range(2):
        found, hits, _ = run(path, views, X.copy())
        assert hits == 1
        assert found[0] is found[4][0]
        found[0][:] = 0.0
        assert not found[1].any() and not found[4][1].any()


def test_a_result_that_is_an_argument(path):
    def function(X, box):
        busy(X)
        box["seen"] = X
        return box, X, X[1:]

    for hits_so_far in (0, 1):
        mine, box = X.copy(), {"old": 1}
        (same_box, same_array, part), hits, _ = run(path, function, mine, box)
        assert hits == hits_so_far
        assert same_box is box and same_array is mine and box == {"old": 1, "seen": mine}
        assert np.shares_memory(part, mine)


def test_effects_are_done_again(path):
    @dataclass
    class Model:
        weights: object = None
        steps: int = 0

    def fit(model, X, log, target):
        model.weights = busy(X)
        model.steps += 1
        log.extend(["fit", model.steps])
        target += model.weights
        return model.steps

    kept = []
    for hits_so_far in (0, 1):
        model, log, target = Model(), ["begin"], np.ones((40, 40))
        found, hits, _ = run(path, fit, model, X.copy(), log, target)
        assert hits == hits_so_far
        kept.append((found, model.weights, model.steps, log, target))
    same(*kept)


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.random.default_rng(3),
        lambda: np.random.Generator(np.random.MT19937(3)),
        lambda: np.random.Generator(np.random.Philox(3)),
        lambda: np.random.Generator(np.random.SFC64(3)),
        lambda: np.random.RandomState(3),
    ],
    ids=["PCG64", "MT19937", "Philox", "SFC64", "RandomState"],
)
def test_generators_are_left_in_the_same_state(make, path):
    def function(rng, X):
        return busy(X) + rng.normal(size=(40, 40)), rng

    plain = make()
    expected = function(plain, X)[0]
    expected_next = plain.normal(size=7)
    for hits_so_far in (0, 1):
        rng = make()
        (found, again), hits, _ = run(path, function, rng, X.copy())
        assert hits == hits_so_far and again is rng
        same(found, expected)
        same(rng.normal(size=7), expected_next)


def test_what_follows_a_stored_call_is_found_as_well(path):
    def function(rng, X):
        return busy(X), rng.normal(size=(40, 40))

    def after(rng, G, noise):
        return np.linalg.svd(G @ noise), rng.normal(size=(30, 40)) @ G

    found = []
    for _ in range(2):
        rng = np.random.default_rng(5)
        one, two = lima.traced(function), lima.traced(after)

        def program(rng, X, one=one, two=two):
            LOG.append("run")  # so it is not reused as a whole
            return two(rng, *one(rng, X))

        with lima.session(store=path) as session:
            found.append(lima.traced(program)(rng, X.copy()))
    assert (one.cache_info().hits, two.cache_info().hits) == (1, 1)
    assert session.stats.computed == 0
    same(*found)


@pytest.mark.parametrize("exactness", ["bitwise", "rounding"])
def test_what_follows_through_plain_code_is_found_as_well(exactness, path):
    def after(G):
        return np.linalg.svd(G @ G)

    X, found, logs = np.random.default_rng(6).standard_normal((60, 40)), [], []
    for _ in range(2):
        one, two = lima.traced(busy), lima.traced(after)
        with lima.session(store=path, exactness=exactness) as session:
            G = one(X)  # a plain array, which the next call knows by its bytes
            found.append(two(G))
            logs.append(lima.lineage(found[-1][0]).log().splitlines()[1:])
    assert (one.cache_info().hits, two.cache_info().hits) == (1, 1)
    assert session.stats.computed == 0
    same(*found)
    assert logs[0] == logs[1]


def test_bits_of_rules_that_a_stored_call_gave_are_not_those_that_another_session_asks_for(path):
    """What comes out of a stored call with parts of rules enters a session without rules."""
    X = np.random.default_rng(7).standard_normal((400, 12))

    def grams(X):
        for k in range(3, 12):
            G = X[:, :k].T @ X[:, :k]
        return G

    run(path, grams, X)
    G, hits, _ = run(path, grams, X)
    assert hits == 1
    with lima.session(store=path, exactness="bitwise") as session:
        found = lima.traced(lambda G: np.linalg.inv(G))(G)
        assert session.stats.store_hits == 0
    same(found, np.linalg.inv(G))


# --------------------------------------------------------------------------- what stays out


class Point:
    def __init__(self, value):
        self.value = value


class Colour(enum.Enum):
    RED = 1


TABLE = {"b", "a"}
of_text = hash

OUT = {
    "an object of the user's": lambda X: Point(busy(X)),
    "a member of an enumeration": lambda X: (busy(X), Colour.RED),
    "a set": lambda X: (busy(X), {1, 2}),
    "a set that is gone through": lambda X: busy(X) * sum(1 for c in {"a", "b"} if c),
    "a set of the module": lambda X: busy(X) * next(c == "a" for c in TABLE),
    "a hash": lambda X: busy(X) * (hash("a") % 7),
    "a hash under another name": lambda X: busy(X) * (of_text("a") % 7),
    "views of a dict": lambda X: (busy(X), [*({"a": 1, "b": 2}.keys() & {"b": 1, "a": 2}.keys())]),
    "records": lambda X: np.zeros(3, [("a", "f8"), ("b", "i4")]) if busy(X)[0, 0] else None,
}


@pytest.mark.parametrize("name", OUT)
def test_what_no_other_process_should_have_stays_in_memory(name, path):
    traced = lima.traced(OUT[name])
    with lima.session(store=path):
        traced(X.copy())
        traced(X.copy())
    assert traced.cache_info().hits == 1 or name in ("records", "a set that is gone through")
    with lima.session(store=path):
        traced(X.copy())
    with Store(path) as opened:
        assert "<lambda>(...)" not in [row.operation for row in opened.ls()]


HARMLESS = {
    "membership": lambda X: busy(X) * ("a" in {"a", "b"}),
    "items": lambda X: busy(X) - sum(v - 1 for k, v in {"a": 1, "b": 2}.items()),
    "sorted keys": lambda X: (busy(X) - 1, sorted({"b": 1, "a": 2}.keys()), list({"a": 1}.keys())),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_like_a_set_is_stored(name, path):
    run(path, HARMLESS[name], X.copy())
    assert run(path, HARMLESS[name], X.copy())[1] == 1


A, B = np.random.default_rng(5).standard_normal((3000, 60)), np.ones((3000, 1))


def grown(A, B):
    first = A.T @ A
    both = np.hstack([A, B])
    G = both.T @ both
    return first, G, float(G[0, 0])


def test_results_with_parts_of_rules_are_for_sessions_with_the_same_rules(path):
    plain = grown(A, B)
    _, _, session = run(path, grown, A.copy(), B.copy(), exactness="rounding")
    assert sum(session.stats.partial.values()) > 0
    found, hits, _ = run(path, grown, A.copy(), B.copy(), exactness="bitwise")
    assert hits == 0
    same(found, plain)
    assert run(path, grown, A.copy(), B.copy(), exactness="guarded")[1] == 1  # the exact one
    found, hits, _ = run(path, grown, A.copy(), B.copy(), exactness="bitwise")
    assert hits == 1
    same(found, plain)


def test_a_stored_call_with_parts_of_rules_is_found_and_stays_marked(path):
    first, _, _ = run(path, grown, A.copy(), B.copy(), exactness="rounding")
    traced, after = lima.traced(grown), lima.traced(busy)
    logs = []
    for hits in (1, 3):  # of the call and of the question
        with lima.session(store=path, exactness="rounding") as session:
            found = traced(A.copy(), B.copy())
            assert traced.cache_info().hits == hits
            assert session.stats.partial[lasting.DERIVED] == 1
            logs.append([n.spec.op for n in traced.lineage(A.copy(), B.copy()).nodes])
        same(found, first)
    assert logs[0] == logs[1] and "matmul" in logs[0]

    def program(A, B):
        LOG.append("run")  # so it is not reused as a whole
        return after(traced(A, B)[1])

    run(path, program, A.copy(), B.copy(), exactness="rounding")
    after.cache_clear()
    run(path, after.__wrapped__, first[1], exactness="bitwise")
    found, _, _ = run(path, program, A.copy(), B.copy(), exactness="bitwise")
    same(found, busy(grown(A, B)[1]))


def test_values_of_another_environment_are_not_used(path, monkeypatch):
    run(path, views, X.copy())
    facts = store.numeric()
    monkeypatch.setattr(store, "numeric", lambda: {**facts, "threads": "77"})
    assert run(path, views, X.copy())[1] == 0
    assert run(path, views, X.copy(), environment="any")[1] == 1


@pytest.mark.parametrize("what", ["python", "lima", "format"])
def test_calls_of_another_version_are_not_used(what, path, monkeypatch):
    run(path, views, X.copy())
    if what == "python":
        monkeypatch.setattr(lasting.sys, "version_info", (3, 99, 0))
    elif what == "lima":
        facts = lasting.environment()
        monkeypatch.setattr(lasting, "environment", lambda: {**facts, "lima": "99"})
    else:
        monkeypatch.setattr(lasting, "FORMAT", 99)
    assert run(path, views, X.copy(), environment="any")[1] == 0


def test_cheap_calls_are_not_stored(path, monkeypatch):
    monkeypatch.setattr(store, "LEAST_SECONDS", 1e9)
    run(path, views, X.copy())
    with Store(path) as opened:
        assert opened.ls() == []


# --------------------------------------------------------------------------- lineage


def test_the_lineage_of_a_stored_call_is_that_of_the_operations(path):
    def function(X):
        return busy(X), X.sum(axis=0)

    logs = []
    for _ in range(2):
        traced = lima.traced(function)
        with lima.session(store=path):
            mine = X.copy()
            logs.append(traced.lineage(mine))
    assert traced.cache_info().hits == 1
    assert len(logs[0].nodes) > 30
    assert [n.digest for n in logs[0].nodes] == [n.digest for n in logs[1].nodes]


def test_upkeep_knows_calls(path):
    run(path, views, X.copy())
    with Store(path) as opened:
        (call,) = [row for row in opened.ls() if row.operation == "views(...)"]
        assert "linalg.inv" in opened.log(call.key)
        assert opened.verify() == []
        opened.gc()
    assert run(path, views, X.copy())[1] == 1
    with Store(path) as opened:
        assert "linalg.inv" in opened.log(call.key)


# --------------------------------------------------------------------------- faults


def big(X):
    return busy(X), np.full(MAPPED_BYTES // 8 + 5, X[0, 0])


def told(path, function, *args):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, hits, _ = run(path, function, *args)
    return found, hits, [w for w in caught if issubclass(w.category, lima.StoreWarning)]


def spoil(path):
    for file in (path / "objects").iterdir():
        raw = bytearray(file.read_bytes())
        raw[-1] ^= 1
        file.write_bytes(raw)


def remove(path):
    for file in (path / "objects").iterdir():
        file.unlink()


@pytest.mark.parametrize("fault", [spoil, remove], ids=["changed", "missing"])
def test_a_broken_file_is_a_call_that_runs(fault, path):
    first, _, _ = run(path, big, X.copy())
    fault(path)
    found, hits, warned = told(path, big, X.copy())
    assert (hits, len(warned)) == (0, 1)
    same(found, first)
    found, hits, warned = told(path, big, X.copy())
    assert (hits, len(warned)) == (1, 0)
    same(found, first)


def overwritten(path, monkeypatch, function, spelled, arrays=(), args=(X,)):
    """A store whose record of a call says something else, with everything else as it should be."""
    keep = terms.written

    def other(record):
        if function is not busy and not record.written:  # of the helper
            return keep(record)
        text, _, roots = keep(record)
        made = spelled(json.loads(text)) if callable(spelled) else spelled
        return json.dumps(made).encode() if not isinstance(made, bytes) else made, arrays, roots

    with monkeypatch.context() as patch:
        patch.setattr(lasting, "written", other)
        run(path, function, *(a.copy() for a in args))


GIVEN = np.arange(6.0)


def edit(**changes):
    return lambda spelled: {**spelled, **changes}


HOSTILE = {
    "no text": b"\xff\xfe",
    "no JSON": b"{",
    "another thing": [1, 2],
    "nothing": {},
    "deep": b"[" * 100_000,
    "no seconds": edit(seconds="x"),
    "endless": edit(seconds=["f", "000000000000f07f"]),
    "an unknown word": edit(result=["eval", "1"]),
    "an unknown value": edit(result=["plain", ["pickle", "00"]]),
    "an object": edit(result=["plain", {"a": 1}]),
    "a class": edit(result=["tuple", ["os", "stat_result"], []]),
    "a class of NumPy's": edit(result=["tuple", ["numpy", "ndarray"], []]),
    "no place": edit(result=["array", 99, False]),
    "a place before the first": edit(result=["array", -1, False]),
    "text for a place": edit(result=["array", "0", False]),
    "an argument that is not there": edit(result=["argument", 99]),
    "a box of another kind": edit(boxes=[["Popen", [], []]]),
    "a view by an operation": edit(views=[[["array", 0, False], [["sum", ["t"], None, 1]], False]]),
    "a view of nothing": edit(
        views=[[["array", 0, False], [["transpose", ["t"], None, 1]], False]],
        result=["new view", 7],
    ),
    "it writes": edit(written=[[0, 0]]),
    "it writes elsewhere": edit(written=[[9, 0]]),
    "it changes": edit(changed=[[0, [["plain", 1]], []]]),
    "it draws": edit(generators=[[0, ["m"], None]]),
    "a dtype of objects": edit(result=["plain", ["d", "|O"]]),
    "a huge array": edit(result=["plain", ["a", "<f8", [2**60], "00", True]]),
    "a huge number": edit(result=["plain", ["n", "<V99999999", ""]]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_is_a_call_that_runs(name, path, monkeypatch):
    overwritten(path, monkeypatch, busy, HOSTILE[name], (GIVEN,))
    found, hits, warned = told(path, busy, X.copy())
    same(found, busy(X))
    assert hits == 0
    assert len(warned) == 1
    assert run(path, busy, X.copy())[1] == 1


def test_arrays_that_do_not_fit(path, monkeypatch):
    def function(X, target):
        target[:] = busy(X)

    overwritten(path, monkeypatch, function, lambda s: s, (GIVEN,), (X, np.zeros((40, 40))))
    target = np.zeros((40, 40))
    _, hits, warned = told(path, function, X.copy(), target)
    assert (hits, len(warned)) == (0, 1)
    same(target, busy(X))


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(2**100), "x", 1.5, -0.0, float("inf"), 1 - 2j, b"x", ..., (1, [2, {3: 4}])],
    ids=repr,
)
def test_plain_words(value):
    same(plainly.read_words(json.loads(json.dumps(plainly.words_of(value)))), value)


# --------------------------------------------------------------------------- stores of others


def test_a_store_of_an_older_lima_is_used(path, monkeypatch):
    """Its index has the same tables; it only lacks calls."""
    monkeypatch.setattr(lasting, "offer", lambda *args: None)
    run(path, views, X.copy())
    monkeypatch.undo()
    monkeypatch.setattr(store, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(store, "SECONDS_A_BYTE", 0.0)
    assert run(path, views, X.copy())[1] == 0
    assert run(path, views, X.copy())[1] == 1


def test_a_store_that_cannot_be_written_is_read(path, monkeypatch):
    run(path, views, X.copy())
    monkeypatch.setattr(store.folder, "prepare", lambda where: True)
    assert run(path, views, X.copy())[1] == 1
    same(run(path, named, X.copy())[0], named(X))
