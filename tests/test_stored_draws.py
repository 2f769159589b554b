"""Random draws in the store: found again, and the generator stands where it would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import lima
from lima import drawn, draws, store
from lima.store import Store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def everything_is_worth_it(monkeypatch):
    monkeypatch.setattr(store, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(store, "SECONDS_A_BYTE", 0.0)
    monkeypatch.setattr(draws, "KEEP_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error", lima.StoreWarning)
        yield


def run(path, function, *args, **options):
    """What a traced function gives, and its hits in the store; no whole calls."""
    with lima.session(store=path, reuse="operation", **options) as session:
        found = lima.traced(function)(*args)
    return found, session.stats.store_hits


def kinds(path):
    with Store(path) as opened:
        return [row[0] for row in opened.catalog.rows("SELECT kind FROM entries")]


def same(a, b):
    assert type(a) is type(b)
    a, b = np.asarray(a), np.asarray(b)
    assert (a.dtype, a.shape, a.strides) == (b.dtype, b.shape, b.strides)
    assert a.tobytes() == b.tobytes()


MAKE = {
    "PCG64": lambda: np.random.default_rng(3),
    "PCG64DXSM": lambda: np.random.Generator(np.random.PCG64DXSM(3)),
    "MT19937": lambda: np.random.Generator(np.random.MT19937(3)),
    "Philox": lambda: np.random.Generator(np.random.Philox(3)),
    "SFC64": lambda: np.random.Generator(np.random.SFC64(3)),
    "RandomState": lambda: np.random.RandomState(3),
}


def drawing(rng):
    first = rng.normal(size=(300, 70))
    order = rng.permutation(500)
    few = rng.choice(1000, size=77, replace=False)
    few += rng.poisson(3.0, size=77)
    return first, order, few, rng.standard_normal(7).astype("f4")


@pytest.mark.parametrize("name", MAKE)
def test_draws_are_found_and_the_state_goes_on(name, path):
    plain = MAKE[name]()
    expected = [*drawing(plain), plain.normal(size=11), plain.normal(size=1)]
    for hits in (0, 5):
        rng = MAKE[name]()
        found, counted = run(path, drawing, rng)
        assert counted == hits
        for a, b in zip([*found, rng.normal(size=11), rng.normal(size=1)], expected, strict=True):
            same(a, b)
    assert kinds(path).count("draw") == 5


def test_draws_of_seeds_inside(path):
    def function(seed):
        rng = np.random.default_rng(seed)
        legacy = np.random.RandomState(seed)
        return rng.normal(size=300), legacy.rand(7, 9), rng.integers(0, 9, 40)

    for hits in (0, 3):
        found, counted = run(path, function, 11)
        assert counted == hits
        for a, b in zip(found, function(11), strict=True):
            same(a, b)
    assert run(path, function, 12)[1] == 0


def test_any_parameter_and_any_draw_before_decides(path):
    def function(rng, before, size, scale):
        for _ in range(before):
            rng.random(3)
        return rng.normal(scale=scale, size=size)

    for args in (
        (0, 50, 1.0),
        (1, 50, 1.0),
        (2, 50, 1.0),
        (0, (50,), 1.0),
        (0, 50, 1),
        (0, 49, 1.0),
    ):
        found, _ = run(path, function, np.random.default_rng(3), *args)
        same(found, function(np.random.default_rng(3), *args))


def test_a_half_used_word_is_part_of_the_state(path):
    """A draw of 32 bits leaves the other half of a word for the next one."""

    def function(rng):
        return rng.integers(0, 2**31, 3, dtype=np.int32), rng.integers(0, 2**31, 4, dtype=np.int32)

    plain = np.random.default_rng(3)
    expected = [*function(plain), plain.integers(0, 2**31, 3, dtype=np.int32)]
    for _ in range(2):
        rng = np.random.default_rng(3)
        found = [*run(path, function, rng)[0], rng.integers(0, 2**31, 3, dtype=np.int32)]
        for a, b in zip(found, expected, strict=True):
            same(a, b)


def test_shuffling(path):
    def function(rng, x):
        rng.shuffle(x)
        return rng.random(30)

    results = []
    for _ in range(2):
        x = np.arange(50.0)
        results.append((run(path, function, np.random.default_rng(3), x), x))
    (first, hits), x = results[0]
    (second, more), y = results[1]
    assert (hits, more) == (0, 2)
    same(first, second)
    same(x, y)


def test_draws_without_a_seed_are_not_stored(path):
    def function():
        return np.random.default_rng().normal(size=500)

    run(path, function)
    assert kinds(path) == []


PROGRAM = """
import hashlib, sys, numpy as np, lima
from lima import draws, store
store.LEAST_SECONDS = store.SECONDS_A_BYTE = draws.KEEP_SECONDS = 0.0

@lima.traced
def function(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(200, 30))
    rng.shuffle(X)
    return np.linalg.inv(X.T @ X), rng.random(40)

with lima.session(store=sys.argv[1], reuse="operation") as s:
    a, b = function(3)
print(s.stats.store_hits, s.stats.computed, hashlib.md5(a.tobytes() + b.tobytes()).hexdigest())
"""


def test_another_process(path):
    said = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, path],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(lima.__file__).parents[1]),
                "PYTHONHASHSEED": seed,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
    assert said[0][0] == "0"
    assert int(said[1][0]) >= 5
    assert said[0][2] == said[1][2]


def told(path, *args):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = run(path, *args)
    return *found, [w for w in caught if issubclass(w.category, lima.StoreWarning)]


HOSTILE = {
    "no text": b"\xff",
    "nothing": b"null",
    "a list": b"[]",
    "no state": b'["m"]',
    "another generator": json.dumps(
        drawn.words_of(drawn.state_of(np.random.Generator(np.random.MT19937(3))))
    ).encode(),
    "another interface": json.dumps(
        drawn.words_of(drawn.state_of(np.random.RandomState(3)))
    ).encode(),
    "no numbers": json.dumps(
        drawn.words_of(
            {**drawn.state_of(np.random.default_rng(3)), "state": {"state": "x", "inc": 1}}
        )
    ).encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_state_is_a_draw_that_is_done(name, path, monkeypatch):
    def function(rng):
        return rng.normal(size=300)

    with monkeypatch.context() as patch:
        patch.setattr(drawn, "_text", lambda state: HOSTILE[name])
        run(path, function, np.random.default_rng(3))
    rng, plain = np.random.default_rng(3), np.random.default_rng(3)
    found, hits, warned = told(path, function, rng)
    assert (hits, len(warned)) == (0, 1)
    same(found, plain.normal(size=300))
    same(rng.normal(size=4), plain.normal(size=4))
    assert told(path, function, np.random.default_rng(3))[1:] == (1, [])


@pytest.mark.parametrize("fault", ["changed", "missing"])
def test_a_broken_file_is_a_draw_that_is_done(fault, path):
    def function(rng):
        return rng.normal(size=3000)

    run(path, function, np.random.default_rng(3))
    for file in (path / "objects").iterdir():
        if fault == "changed":
            raw = bytearray(file.read_bytes())
            raw[-1] ^= 1
            file.write_bytes(raw)
        else:
            file.unlink()
    rng, plain = np.random.default_rng(3), np.random.default_rng(3)
    found, hits, warned = told(path, function, rng)
    assert (hits, len(warned)) == (0, 1)
    same(found, plain.normal(size=3000))
    same(rng.normal(size=4), plain.normal(size=4))
    assert told(path, function, np.random.default_rng(3))[1:] == (1, [])
