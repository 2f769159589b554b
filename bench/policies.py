"""Policies of the cache on recorded or made-up traces of probes, without the programs.

``python -m bench.policies [NAME ...]`` replays each trace against every policy at five budgets, with
lima's own cache: a probe that misses costs the seconds that computing took, and offers the value.
What is shown is the time lost beside that of an unlimited cache, as a multiple of what an offline rule
loses that knows the future (it evicts what saves least for each byte until its next use, which is
good but not proven best).
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from lima import sessions
from lima.cache import Cache
from lima.policies import POLICIES

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75)
"""Budgets, as shares of the bytes of all values."""


class Probe(NamedTuple):
    """One look-up, and what the value costs if it is missed."""

    key: int
    seconds: float
    nbytes: int


Trace = list[Probe]

# --------------------------------------------------------------------------- traces


def phases() -> Trace:
    """Fig. 8a of LIMA: dear operations, then cheap ones used again and again, then the first."""
    dear = [p for k in range(35) for p in (Probe(k, 50e-3, 800_000), Probe(100 + k, 4e-3, 800_000))]
    cheap = [Probe(200 + k % 7, 1.5e-3, 800_000) for k in range(20 * 7 * 3)]
    fresh = [p for k in range(140) for p in (cheap[k], Probe(1000 + k, 1.5e-3, 800_000))]
    return dear + fresh + [p for _ in range(3) for p in dear]


def batches() -> Trace:
    """Fig. 8b, first: mini-batches that are scaled in every epoch, and what is never seen again."""
    found = []
    for epoch in range(10):
        for k in range(100):
            found += [Probe(k, 1e-3, 1_600_000), Probe(1000 + k, 2e-3, 1_600_000)]
            found.append(Probe(10_000 + 100 * epoch + k, 1.5e-3, 1_600_000))
    return found


def steps() -> Trace:
    """Fig. 8b, second: stepwise selection; each round uses what the last one chose, and then not."""
    rng = np.random.default_rng(4)
    found = []
    for round_ in range(30):
        for k in range(30):
            found.append(Probe(1000 * round_, 40e-3, 6_000_000))
            if rng.random() < 0.5:
                found.append(Probe(1000 * round_ + 1 + k, 8e-3, 400_000))
            if round_:
                found.append(Probe(1000 * (round_ - 1), 40e-3, 6_000_000))
    return found


def skewed() -> Trace:
    """Independent probes of Zipf's distribution, sizes and costs of all kinds."""
    rng = np.random.default_rng(5)
    seconds = 10 ** rng.uniform(-3, -0.5, 2000)
    nbytes = (10 ** rng.uniform(4, 6.7, 2000)).astype(int)
    keys = np.minimum(rng.zipf(1.2, 8000), 2000) - 1
    return [Probe(int(k), float(seconds[k]), int(nbytes[k])) for k in keys]


def shifting() -> Trace:
    """As `skewed`, and every 1500 probes other values are wanted."""
    trace = skewed()
    return [p._replace(key=p.key + 10_000 * (k // 1500)) for k, p in enumerate(trace)]


def recorded(name: str) -> Trace:
    """The probes of one of the bench's programs, at its quick size."""
    import importlib

    import lima
    from bench.rows import WORKLOADS

    (row,) = [row for row in WORKLOADS if row.name == name]
    module = importlib.import_module(f"bench.workloads.{row.module}")
    seen: Trace = []
    costs: dict[bytes, tuple[float, int]] = {}
    asked: list[bytes] = []

    class Recording(Cache):
        def get(self, key, level="operation"):  # type: ignore[no-untyped-def]
            asked.append(key)
            return super().get(key, level)

        def _offer(self, key, value, seconds, *rest, **options):  # type: ignore[no-untyped-def]
            costs[key] = seconds, getattr(value, "nbytes", 0) or value.__sizeof__()
            return super()._offer(key, value, seconds, *rest, **options)

    if not hasattr(sessions, "Cache"):
        raise SystemExit(f"the trace of {name} can be recorded only where lima is not compiled")
    plain, sessions.Cache = sessions.Cache, Recording  # type: ignore[misc]
    try:
        with lima.session(reuse="operation"):
            lima.traced(module.plain)(*module.data(**row.quick))
    finally:
        sessions.Cache = plain  # type: ignore[misc]
    names = {key: k for k, key in enumerate(dict.fromkeys(asked))}
    for key in asked:
        if key in costs:
            seen.append(Probe(names[key], *costs[key]))
    return seen


TRACES: dict[str, Callable[[], Trace]] = {
    "phases": phases,
    "batches": batches,
    "steps": steps,
    "skewed": skewed,
    "shifting": shifting,
    **{name: (lambda name=name: recorded(name)) for name in ("hlm", "hl2svm", "epochs")},
}


# --------------------------------------------------------------------------- replay


def replay(trace: Iterable[Probe], policy: str, budget: int) -> float:
    """Seconds that the misses cost."""
    cache = Cache(budget, policy)
    lost = 0.0
    for key, seconds, nbytes in trace:
        name = key.to_bytes(16, "little")
        if cache.get(name) is None:
            lost += seconds
            cache.put(name, np.empty(nbytes, np.uint8), seconds=seconds, first_sight=0.0)
    return lost


def offline(trace: Trace, budget: int) -> float:
    """Seconds that the misses cost with a rule that knows when each value is wanted next."""
    last: dict[int, int] = {}
    after = [0] * len(trace)
    for k in range(len(trace) - 1, -1, -1):
        after[k] = last.get(trace[k].key, len(trace) * 1000)
        last[trace[k].key] = k
    held: dict[int, tuple[float, int, int]] = {}
    lost, total = 0.0, 0
    for k, (key, seconds, nbytes) in enumerate(trace):
        if key in held:
            held[key] = (seconds, nbytes, after[k])
            continue
        lost += seconds
        if nbytes + 760 > budget or after[k] >= len(trace):
            continue
        held[key] = (seconds, nbytes, after[k])
        total += nbytes + 760
        if total > budget:
            order = [(s / (b * (n - k)), name) for name, (s, b, n) in held.items()]
            heapq.heapify(order)
            while total > budget:
                total -= held.pop(heapq.heappop(order)[1])[1] + 760
    return lost


def main() -> None:
    """Show how far each policy is from the offline rule."""
    parser = argparse.ArgumentParser(prog="python -m bench.policies", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TRACES))
    names = parser.parse_args().names or list(TRACES)
    print(f"{'trace':10} {'budget':>9} {'offline s':>10} " + " ".join(f"{p:>11}" for p in POLICIES))
    for name in names:
        trace = TRACES[name]()
        sizes = {p.key: p.nbytes for p in trace}
        for share in SHARES:
            budget = int(share * sum(sizes.values()))
            best = offline(trace, budget)
            times = [replay(trace, policy, budget) / best for policy in POLICIES]
            print(
                f"{name:10} {budget / 1e6:7.1f}MB {best:10.3f} "
                + " ".join(f"{x:11.2f}" for x in times)
            )


if __name__ == "__main__":
    main()
