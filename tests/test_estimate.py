"""What-if: the estimate of what reuse would save, beside what a session with reuse then does."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import lima

RNG = np.random.default_rng(23)
X = RNG.standard_normal((400, 60))
Y = RNG.standard_normal(400)


@lima.traced
def ridge(X, y, reg):
    return np.linalg.inv(X.T @ X + reg * np.eye(X.shape[1])) @ (X.T @ y)


@lima.traced
def score(X, y, reg, power):
    b = ridge(X, y, reg)
    return np.linalg.norm(X @ b - y) ** power


def grid():
    return [(reg, power) for reg in (0.1, 1.0, 10.0) for power in (1, 2)]


def run(**options):
    with lima.session(**options) as s:
        found = [score(X, Y, *item) for item in grid()]
        return s, found, s.stats


def inv_of(X):
    """Something that takes long enough to be kept on any machine."""
    return np.linalg.inv(X.T @ X)


def test_calls_that_would_be_hits_are_those_of_a_session_with_reuse():
    big = RNG.standard_normal((4000, 200))
    heavy = lima.traced(inv_of)
    with lima.session(reuse="full") as real:
        for k in (1, 2, 1, 1, 2, 3):
            heavy(big * k)
    with lima.session(reuse="estimate") as s:
        for k in (1, 2, 1, 1, 2, 3):
            heavy(big * k)
    found = s.estimate()
    assert found.call_hits == real.stats.function_hits == 3
    assert found.calls["inv_of"].runs == 6
    assert found.hits == real.stats.hits


def test_operations_that_would_be_hits_are_those_of_a_session_with_reuse():
    big = RNG.standard_normal((4000, 200))

    def work(X, k):
        return np.linalg.matrix_power(X.T @ X, k)

    figures = []
    for reuse in ("full", "estimate"):
        traced = lima.traced(work)
        with lima.session(reuse=reuse) as s:
            for k in (2, 3, 4, 3):
                traced(big, k)
            figures.append((s.stats, s.estimate() if reuse == "estimate" else None))
    (real, _), (_, found) = figures
    assert found.operations["matmul"].hits == 2  # and the fourth call is a hit as a whole
    assert (found.hits, found.call_hits) == (real.hits, real.function_hits)
    assert 0.9 * real.bytes <= found.bytes <= 1.1 * real.bytes


def test_nothing_is_kept_and_nothing_else_changes():
    s, found, stats = run(reuse="estimate")
    plain = [score.__wrapped__(X, Y, *item) for item in grid()]
    assert [a.tobytes() for a in found] == [np.asarray(b).tobytes() for b in plain]
    assert (stats.bytes, stats.entries, stats.hits, stats.function_hits) == (0, 0, 0, 0)
    assert len(s.cache) == 0


def test_the_shadow_keeps_to_the_budget():
    arrays = [RNG.standard_normal((300, 300)) for _ in range(6)]
    heavy = lima.traced(inv_of)
    with lima.session(reuse="estimate", memory=1_600_000) as s:
        for _ in range(2):
            for a in arrays:
                heavy(a)
        found = s.estimate()
    assert found.most <= found.budget == 1_600_000
    assert found.evicted > 0
    assert found.call_hits < 6


def test_values_stay_as_writable_as_without_reuse():
    @lima.traced
    def work(X):
        A = np.linalg.inv(X.T @ X)
        A += 1
        A[0] = A.sum(axis=0)
        return A

    big = RNG.standard_normal((4000, 200))
    plain = work.__wrapped__(big)
    with lima.session(reuse="estimate") as s:
        for _ in range(3):
            np.testing.assert_array_equal(work(big), plain)
        assert s.estimate().call_hits == 2


def test_draws_are_drawn():
    @lima.traced
    def work(seed):
        return np.random.default_rng(seed).standard_normal((700, 700))

    plain = work.__wrapped__(3)
    with lima.session(reuse="estimate") as s:
        for _ in range(2):
            np.testing.assert_array_equal(work(3), plain)
        assert s.estimate().call_hits == 1
        assert len(s.cache) == 0


def test_a_call_that_raises_is_none():
    @lima.traced
    def work(X):
        np.linalg.inv(X.T @ X)
        raise KeyError("no")

    with lima.session(reuse="estimate") as s:
        for _ in range(2):
            with pytest.raises(KeyError):
                work(X)
        assert s.estimate().call_hits == 0
        assert not s.ledger.free


def test_threads():
    big = RNG.standard_normal((4000, 200))
    heavy = lima.traced(inv_of)
    with lima.session(reuse="estimate") as s:
        threads = [threading.Thread(target=heavy, args=(big * k,)) for k in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for k in (1, 2, 3):
            heavy(big * k)
        assert s.estimate().call_hits == 3


def test_neither_store_nor_spill(tmp_path):
    with lima.session(reuse="estimate", store=tmp_path / "store", spill=tmp_path / "spill") as s:
        ridge(X, Y, 1.0)
        assert s.store is None
        assert s.cache.spill is None
    assert list(tmp_path.iterdir()) == []


def test_another_session_says_what_to_do():
    with lima.session() as s, pytest.raises(lima.ConfigError, match="reuse='estimate'"):
        s.estimate()


@pytest.mark.parametrize(
    "grid",
    [
        {"X": [X], "y": [Y], "reg": [0.1, 1.0]},
        [(X, Y, 0.1), (X, Y, 1.0)],
        [{"X": X, "y": Y, "reg": 0.1}, {"X": X, "y": Y, "reg": 1.0}],
    ],
    ids=["combinations", "tuples", "dicts"],
)
def test_a_grid(grid):
    found = lima.estimate(ridge, grid)
    assert found.calls["ridge"].runs == 2
    assert found.plain > 0
    assert found.predicted >= 0


def test_a_grid_of_single_arguments_and_a_plain_function():
    found = lima.estimate(inv_of, [X, X + 1, X], plain=False)
    assert found.calls["inv_of"].runs == 3
    assert found.plain is None


def test_what_it_shows():
    line = lima.ledger.Line(runs=10, hits=9, seconds=20.0, saved=18.0)
    found = lima.Estimate(21.0, 20.5, 18.0, 9, 0, 0.5, 800, 1600, 10**9, 2, {"inv": line}, {})
    text = repr(found)
    assert text.startswith("with reuse 3 s instead of 20.5 s (plain): 18 s saved, 500 ms of")
    assert "1,600 bytes at most, of 1,000,000,000, and lets 2 values go" in text
    assert text.splitlines()[-1].split() == ["inv", "10", "9", "20.0000", "18.0000"]
