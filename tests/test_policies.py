"""The policy that adapts, and the replay of traces that policies are judged by."""

from __future__ import annotations

import numpy as np
import pytest

from bench import policies as bench
from lima import policies
from lima.cache import Cache
from lima.policies import POLICIES, Adaptive


def test_the_offline_rule_is_no_worse_than_any_policy():
    for name in ("phases", "batches", "steps"):
        trace = bench.TRACES[name]()
        budget = sum({p.key: p.nbytes for p in trace}.values()) // 4
        best = bench.offline(trace, budget)
        assert all(bench.replay(trace, policy, budget) >= 0.99 * best for policy in POLICIES)


@pytest.mark.parametrize("name", ["phases", "batches", "steps", "skewed", "shifting"])
def test_it_is_near_the_better_of_recency_and_cost(name):
    """Times are those of the trace, so the figures are the same on every machine."""
    trace = bench.TRACES[name]()
    budget = sum({p.key: p.nbytes for p in trace}.values()) // 4
    lost = {policy: bench.replay(trace, policy, budget) for policy in POLICIES}
    best, worst = sorted((lost["lru"], lost["cost-size"]))
    assert lost["adaptive"] <= 1.25 * best
    assert lost["adaptive"] <= 1.02 * worst


def test_trust_goes_to_recency_where_dear_values_are_of_no_use_any_more():
    def trust(trace):
        cache = Cache(40 << 20, "adaptive")
        for key, seconds, nbytes in trace:
            name = key.to_bytes(16, "little")
            if cache.get(name) is None:
                cache.put(name, np.empty(nbytes, np.uint8), seconds=seconds, first_sight=0.0)
        cache.check()
        return cache._entries.recency

    assert trust(bench.phases()) < 0.15
    assert trust(bench.steps()) > 0.25


def test_books_hold_under_any_use(monkeypatch):
    monkeypatch.setattr(policies, "BLAMES", 50)
    rng = np.random.default_rng(1)
    cache = Cache(200_000, "adaptive")
    for k in range(6000):
        key = b"%d" % rng.zipf(1.3)
        what = rng.random()
        if what < 0.02:
            cache.evict(key)
        elif what < 0.022:
            cache.resize(int(rng.integers(50_000, 200_000)))
        elif cache.get(key) is None:
            nbytes, seconds = int(rng.integers(1, 40_000)), 10 ** rng.uniform(-4, 0)
            cache.put(key, np.empty(nbytes, np.uint8), seconds=seconds, first_sight=0.0)
        if k % 50 == 0:
            cache.check()
            assert len(cache._entries._blames) <= 50
    assert cache.stats.evicted > 100


def test_levels_of_ageing_are_bounded():
    made = Adaptive()
    for k in range(20_000):
        made.clock = float(k)
        made._age(k * 1e-3)
    assert len(made._times) == len(made._levels) <= 4097
    assert made._times == sorted(made._times) and made._levels == sorted(made._levels)
