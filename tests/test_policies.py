"""The policy that adapts, and the replay of traces that policies are judged by."""

from __future__ import annotations

import threading
import weakref

import numpy as np
import pytest

from bench import policies as bench
from lima import policies
from lima.cache import Cache
from lima.policies import POLICIES


def test_the_offline_rule_is_no_worse_than_any_policy():
    for name in ("phases", "batches", "steps"):
        trace = bench.TRACES[name]()
        budget = sum({p.key: p.nbytes for p in trace}.values()) // 4
        best = bench.offline(trace, budget)
        assert all(bench.replay(trace, policy, budget) >= 0.99 * best for policy in POLICIES)


def mixture(seed):
    """Loops, scans and skewed choices of random lengths, costs and sizes, one after the other."""
    rng = np.random.default_rng(seed)
    pools, found = [], []
    for k in range(3):
        n = int(rng.integers(5, 120))
        seconds, nbytes = 10 ** rng.uniform(-3, -1, n), 10 ** rng.uniform(4.5, 6, n)
        alike = rng.random(2) < 0.5
        pools.append((1000 * k, seconds[:1] if alike[0] else seconds, nbytes[: n >> alike[1]], n))
    for _ in range(6):
        first, seconds, nbytes, n = pools[rng.integers(3)]
        way = rng.integers(3)
        for t in range(int(rng.integers(100, 500))):
            k = int((t % n, min(rng.zipf(1.3), n) - 1, rng.integers(n))[way])
            cost, size = seconds[k % len(seconds)], nbytes[k % len(nbytes)]
            found.append(bench.Probe(first + k, float(cost), int(size)))
            if rng.random() < 0.2:  # what is never seen again
                found.append(bench.Probe(10_000 + len(found), 10 ** rng.uniform(-3, -1), 200_000))
    return found


MADE_UP = {
    name: bench.TRACES[name] for name in ("phases", "batches", "steps", "skewed", "shifting")
}
MADE_UP |= {f"mixture {seed}": lambda seed=seed: mixture(seed) for seed in range(5)}


@pytest.mark.parametrize("name", MADE_UP)
def test_it_is_near_the_best_of_the_others_at_every_budget(name):
    """Times are those of the trace, so the figures are the same on every machine."""
    trace = MADE_UP[name]()
    total = sum({p.key: p.nbytes for p in trace}.values())
    for share in bench.SHARES:
        lost = {policy: bench.replay(trace, policy, int(share * total)) for policy in POLICIES}
        best = min(lost[policy] for policy in POLICIES if policy != "adaptive")
        limit = 1.15 if name.startswith("mixture") else 1.1  # which are short
        assert lost["adaptive"] <= limit * best, (share, lost)


def replayed(trace, budget):
    cache = Cache(budget, "adaptive")
    for key, seconds, nbytes in trace:
        name = key.to_bytes(16, "little")
        if cache.get(name) is None:
            cache.put(name, np.empty(nbytes, np.uint8), seconds=seconds, first_sight=0.0)
    cache.check()
    return cache


def test_it_follows_recency_where_dear_values_are_of_no_use_any_more():
    def followed(trace, budget):
        held = replayed(trace, budget)._entries
        return next(name for name, one in held.shadows.items() if one is held.leader)

    assert followed(bench.phases(), 40 << 20) != "lru"
    assert followed(bench.steps(), 20 << 20) == "lru"


def test_books_hold_under_any_use(monkeypatch):
    monkeypatch.setattr(policies, "GHOSTS", 50)
    monkeypatch.setattr(policies, "MAX_USES", 20)
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
    assert cache.stats.evicted > 100


def test_what_was_evicted_is_not_held_by_the_books():
    cache = Cache(100_000, "adaptive")
    for k in range(40):
        cache.put(b"%d" % k, np.empty(10_000, np.uint8), seconds=0.1, first_sight=0.0)
    assert cache.stats.evicted > 0
    key = next(iter(cache._table))
    held = weakref.ref(cache.get(key).value)
    cache.evict(key)
    assert held() is None
    key = next(iter(cache._table))
    for _ in range(3 * policies.MAX_USES):
        cache.get(key)
    assert len(cache._entries.uses) == policies.MAX_USES


def test_uses_of_other_threads_are_noted():
    cache = replayed(bench.skewed()[:2000], 4 << 20)
    keys = list(cache._table)

    def use():
        for k in range(20_000):
            cache.get(keys[k % len(keys)])

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for k in range(100):
        cache.put(b"new %d" % k, np.empty(50_000, np.uint8), seconds=0.1, first_sight=0.0)
    for thread in threads:
        thread.join()
    cache.check()
