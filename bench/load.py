"""Faults and load: many processes on one store, some of them killed.

``python -m bench.load [kills] [herd] [load] [alone] [--quick]``

* kills: writers are killed at random moments (SIGKILL) while readers run. No reader may see a value
  that was not written, nothing that was committed may be lost, and `gc` gets back the space of what
  was half-written.
* herd: threads of several processes ask for the same calls at the same time. Each call should run
  once.
* load: look-ups and puts of threads of several processes on one store: how many a second, how long
  the slowest of a hundred look-ups takes, and what an entry takes in the index. alone: the same with
  one thread of one process.

Needs a system with `fork`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, NamedTuple

import numpy as np

import lima
from lima import store as stores
from lima.node import Node, Spec, leaf
from lima.store import Store

Figures = dict[str, Any]

SIZES = (10, 300, 3000, 3000, 3000, 40_000, 200_000)
"""Numbers of elements: in the index, in files that are read, in one that is mapped."""


def value_of(k: int) -> np.ndarray[Any, Any]:
    """The one right value of key `k`."""
    return np.full(SIZES[k % len(SIZES)], float(k))


def node_of(k: int) -> Node:
    return Node(Spec("sqrt"), (leaf(np.float64(k), "x"),))


@contextmanager
def everything_is_stored() -> Iterator[None]:
    """Whatever it took to compute."""
    before = stores.LEAST_SECONDS, stores.SECONDS_A_BYTE
    stores.LEAST_SECONDS = stores.SECONDS_A_BYTE = 0.0
    try:
        yield
    finally:
        stores.LEAST_SECONDS, stores.SECONDS_A_BYTE = before


class Child:
    """A forked process; `work` gets a function that reports a number, and returns figures."""

    def __init__(self, work: Callable[[Callable[[int], None]], Any]) -> None:
        self.reports, speaks = os.pipe()
        self.result, ends = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.reports), os.close(self.result)
                made = work(lambda k: os.write(speaks, k.to_bytes(4, "little")) and None)
                with os.fdopen(ends, "w") as stream:
                    json.dump(made, stream)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(speaks), os.close(ends)

    def kill(self) -> list[int]:
        """End it now; what it had reported."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        with os.fdopen(self.reports, "rb") as stream:
            raw = stream.read()
        os.close(self.result)
        return [int.from_bytes(raw[k : k + 4], "little") for k in range(0, len(raw) & ~3, 4)]

    def join(self) -> Any:
        """Its figures."""
        with os.fdopen(self.result) as stream:
            text = stream.read()
        os.close(self.reports)
        _, status = os.waitpid(self.pid, 0)
        if status:
            raise RuntimeError(f"a process ended with {status}")
        return json.loads(text)


# --------------------------------------------------------------------------- writers that are killed


class Kills(NamedTuple):
    """What became of a store whose writers were killed."""

    killed: int
    committed: int  # values that a writer saw on disk before it was killed
    lost: int
    reads: int
    broken: int
    warnings: int
    faults: int  # of `lima store verify`, before `gc`
    half_written: int  # bytes that `gc` got back
    left: int  # bytes of files that nothing refers to, after it


def write_for_ever(path: Path, seed: int, keys: int, report: Callable[[int], None]) -> None:
    """Write one value after the other, each in a turn as a session would take it."""
    order = random.Random(seed)
    opened = Store(path)
    while True:
        k = order.randrange(keys)
        node = node_of(k)
        with opened.turns.turn("op", node.digest, lambda: None):
            opened.offer(node, value_of(k), 1.0)
        opened.flush()
        report(k)


def read_on(path: Path, keys: int, stop: Path) -> dict[str, int]:
    """Read whatever is there until the file `stop` is."""
    order = random.Random(os.getpid())
    reads = broken = 0
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with Store(path) as opened:
            while not stop.exists():
                for k in [order.randrange(keys) for _ in range(50)]:
                    found = opened.find(node_of(k).digest)
                    if found is None:
                        continue
                    value = opened.read(found)
                    reads += 1
                    if value is None or value.tobytes() != value_of(k).tobytes():
                        broken += 1
    return {"reads": reads, "broken": broken, "warnings": len(told)}


def kills(path: Path, writers: int, keys: int, readers: int = 2, seconds: float = 0.06) -> Kills:
    """Kill `writers` processes at random moments of `seconds`, two at a time."""
    stop = path.with_name("stop")
    order = random.Random(7)
    committed: set[int] = set()
    Store(path).close()
    with everything_is_stored():
        watching = [Child(lambda _: read_on(path, keys, stop)) for _ in range(readers)]
        for turn in range(0, writers, 2):
            pair = [
                Child(lambda report, seed=seed: write_for_ever(path, seed, keys, report))
                for seed in range(turn, min(turn + 2, writers))
            ]
            for child in pair:
                sleep(order.uniform(0, seconds))
                committed.update(child.kill())
        stop.touch()
        seen = [child.join() for child in watching]
    with Store(path) as opened:
        held = [opened.find(node_of(k).digest) for k in sorted(committed)]
        found = [one is not None and opened.read(one) is not None for one in held]
        faults = len(opened.verify())
        aside = sum(file.stat().st_size for file in (path / "aside").iterdir())
        gone = opened.gc()
        facts = opened.info()
        left = facts["bytes of files"] - sum(
            part.nbytes for part in _parts(opened) if part.inline is None
        )
        left += sum(file.stat().st_size for file in (path / "aside").iterdir())
    assert gone.nbytes >= aside
    return Kills(
        writers,
        len(committed),
        found.count(False),
        *(sum(one[name] for one in seen) for name in ("reads", "broken", "warnings")),
        faults,
        gone.nbytes,
        left,
    )


def _parts(opened: Store) -> set[Any]:
    """The files that entries are made of, each once."""
    rows = [opened.catalog.find(bytes.fromhex(row.key), now=True) for row in opened.ls()]
    parts = [part for found in rows for one in found for part in one.parts]
    return set({part.name: part for part in parts}.values())


# --------------------------------------------------------------------------- herds


def hard(X: np.ndarray[Any, Any], k: int) -> Any:
    """A call that takes some ten milliseconds."""
    return np.linalg.inv(X @ X.T + k * np.eye(len(X))).sum()


def herd_member(path: Path, threads: int, calls: int, size: int, gate: Path) -> Figures:
    traced = lima.traced(hard)
    X = np.random.default_rng(3).standard_normal((size, size))
    ready = threading.Barrier(threads)

    def work() -> None:
        ready.wait()
        for k in range(calls):
            traced(X, k + 1)

    while not gate.exists():
        sleep(0.001)
    with lima.session(store=path, exactness="bitwise") as session:
        team = [threading.Thread(target=work) for _ in range(threads)]
        for one in team:
            one.start()
        for one in team:
            one.join()
        session.store.flush()
        waits = session.store.turns.leases.waits
    return {"ran": traced.cache_info().misses, "waits": waits}


def herd(path: Path, processes: int, threads: int, calls: int, size: int) -> Figures:
    """How often each of `calls` calls ran that all threads asked for in the same order."""
    gate = path.with_name("gate")
    with everything_is_stored():
        start = perf_counter()
        team = [
            Child(lambda _: herd_member(path, threads, calls, size, gate)) for _ in range(processes)
        ]
        gate.touch()
        seen = [child.join() for child in team]
    return {
        "asked": processes * threads * calls,
        "calls": calls,
        "ran": sum(one["ran"] for one in seen),
        "waits": sum(one["waits"] for one in seen),
        "seconds": perf_counter() - start,
    }


# --------------------------------------------------------------------------- look-ups and puts


def loader(path: Path, first: int, threads: int, probes: int, puts: int, keys: int) -> Figures:
    """Look up and put, by several threads; the microseconds that each look-up took.

    Each thread puts keys of its own, ten at a time, and looks for those of all.
    """
    found: dict[str, list[float]] = {"hit": [], "miss": []}
    digests = [node_of(k).digest for k in range(keys)]
    with Store(path) as opened:

        def work(first: int) -> None:
            order = random.Random(first)
            mine: dict[str, list[float]] = {"hit": [], "miss": []}
            put = 0
            for k in range(probes):
                digest = order.choice(digests)
                start = perf_counter()
                one = opened.find(digest)
                value = None if one is None else opened.read(one)
                mine["miss" if value is None else "hit"].append(perf_counter() - start)
                while put * probes < k * puts:
                    n = first + put
                    while not opened.offer(node_of(n), np.full(20, float(n)), 1.0):
                        opened.flush()
                    put += 1
                    if put % 10 == 0:
                        opened.flush()
            for name, times in mine.items():
                found[name] += times

        start = perf_counter()
        team = [threading.Thread(target=work, args=(first + k * puts,)) for k in range(threads)]
        for one in team:
            one.start()
        for one in team:
            one.join()
        opened.flush()
        seconds = perf_counter() - start
        written = opened.written
    times = {name: _quantiles(values) for name, values in found.items()}
    return {"seconds": seconds, "written": written, **times}


def _quantiles(values: list[float]) -> list[float]:
    """How many, and the microseconds of the median and the slowest of a hundred and a thousand."""
    if not values:
        return [0, 0.0, 0.0, 0.0]
    return [len(values), *(1e6 * np.quantile(values, (0.5, 0.99, 0.999))).tolist()]


def load(path: Path, processes: int, threads: int, probes: int, puts: int) -> Figures:
    """Look-ups and puts of all threads together, and the bytes that the index takes for an entry."""
    Store(path).close()
    each, mine = probes // (processes * threads), puts // (processes * threads)
    with everything_is_stored():
        team = [
            Child(lambda _, k=k: loader(path, k * threads * mine, threads, each, mine, puts))
            for k in range(processes)
        ]
        seen = [child.join() for child in team]
    seconds = max(one["seconds"] for one in seen)
    with Store(path) as opened:
        entries = opened.info()["entries"]
        faults = len(opened.verify())
    size = sum(file.stat().st_size for file in path.glob("index.sqlite*"))
    worst = {
        f"{name} {what} us": max(one[name][k] for one in seen)
        for name in ("hit", "miss")
        for k, what in ((1, "median"), (2, "p99"), (3, "p99.9"))
    }
    looked = sum(one["hit"][0] + one["miss"][0] for one in seen)
    return {
        "probes": looked,
        "hits": sum(one["hit"][0] for one in seen),
        "puts": sum(one["written"] for one in seen),
        "seconds": seconds,
        "probes a second": looked / seconds,
        "puts a second": sum(one["written"] for one in seen) / seconds,
        **worst,
        "entries": entries,
        "bytes of index an entry": size / max(entries, 1),
        "faults": faults,
    }


def main() -> None:
    """Run what the command line asks for, and show its figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="kills, herd, load, alone")
    parser.add_argument("--quick", action="store_true", help="small numbers")
    options = parser.parse_args()
    quick = options.quick
    jobs: dict[str, Callable[[Path], Any]] = {
        "kills": lambda p: kills(p, 50 if quick else 1000, 1500)._asdict(),
        "herd": lambda p: herd(p, 8, 4, 10 if quick else 50, 600),
        "load": lambda p: load(p, 8, 4, *((20_000, 2000) if quick else (10**6, 10**5))),
        "alone": lambda p: load(p, 1, 1, *((10_000, 1000) if quick else (10**5, 10**4))),
    }
    for name in options.names or jobs:
        with tempfile.TemporaryDirectory() as place:
            start = perf_counter()
            figures = jobs[name](Path(place) / "store")
            print(f"{name} ({perf_counter() - start:.0f} s)")
        for what, number in figures.items():
            shown = f"{number:,.1f}" if isinstance(number, float) else f"{number:,}"
            print(f"  {what:26} {shown:>14}")


if __name__ == "__main__":
    main()
