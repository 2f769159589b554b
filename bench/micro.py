"""Micro-measurements: what one traced operation, probe, import or lineage node costs.

Each function takes its sizes and returns figures by name; the unit is the end of the name.
"""

import gc
import statistics
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import lima
from bench.harness import Figures, bit_equal, hits, leaves
from bench.rows import Options

MICROSECONDS = 1e6
PATIENCE_S = 120.0
WARM_CALLS = 20
MISSES = 1000


def operator(loops: int, rounds: int) -> Figures:
    """Microseconds that lima adds to one operator call.

    ``light_N_us``: one addition of N elements in a chain that is evaluated at its end, evaluation
    included, in the default session; ``trace_light_N_us``: the same with reuse="none".
    ``heavy_miss_us``: one 10 x 10 product of operands not seen before, so every probe misses.
    """
    sessions: dict[str, Options] = {"": {}, "trace_": {"reuse": "none"}}
    figures: Figures = {}
    for size in (10, 1000):
        x, y = np.linspace(0.0, 1.0, size), np.full(size, 1e-3)
        for prefix, options in sessions.items():
            added = _added(_additions, [[x], [y]], options, loops, rounds)
            figures[f"{prefix}light_{size}_us"] = added
    lefts = np.random.default_rng(0).standard_normal((loops, 10, 10))
    figures["heavy_miss_us"] = _added(_products, [list(lefts), [np.eye(10)]], {}, loops, rounds)
    return figures


def _additions(starts: list[Any], steps: list[Any], loops: int) -> Any:
    (x,), (y,) = starts, steps
    for _ in range(loops):
        x = x + y
    return np.asarray(x)


def _products(lefts: list[Any], rights: list[Any], loops: int) -> None:
    (right,) = rights
    for left in lefts[:loops]:
        left @ right


def _added(
    work: Callable[..., Any],
    operands: list[list[np.ndarray]],
    options: Options,
    loops: int,
    rounds: int,
) -> float:
    """Microseconds per loop that traced operands add to plain ones; medians of turns."""
    plain, traced = [], []
    for _ in range(rounds + 1):
        plain.append(_seconds(work, operands, np.array, loops))
        with lima.session(**options):
            traced.append(_seconds(work, operands, lima.array, loops))
    # The first turn warms up.
    added = statistics.median(traced[1:]) - statistics.median(plain[1:])
    return added / loops * MICROSECONDS


def _seconds(
    work: Callable[..., Any],
    operands: list[list[np.ndarray]],
    wrap: Callable[[np.ndarray], Any],
    loops: int,
) -> float:
    """Seconds of the work alone: the operands are wrapped, and so hashed, before."""
    wrapped = [[wrap(operand) for operand in group] for group in operands]
    gc.collect()
    start = perf_counter()
    work(*wrapped, loops)
    return perf_counter() - start


def probe(loops: int, rounds: int) -> Figures:
    """Microseconds of a whole call whose result is cached, for results of three sizes.

    Raises RuntimeError if the calls were not hits, for then the figure would mean nothing.
    """
    rng = np.random.default_rng(0)
    tall = rng.standard_normal(4_000_000)
    small = rng.standard_normal((362, 2000))
    thin = rng.standard_normal((3540, 50))
    other = lima.array(rng.standard_normal((50, 3540)))
    return {
        "hit_8B_us": _hit(lambda x: x.sum(), tall, loops, rounds),
        "hit_1MB_us": _hit(lambda x: x @ x.T, small, loops, rounds),
        "hit_100MB_us": _hit(lambda x: x @ other, thin, loops, rounds),
    }


def _hit(call: Callable[[Any], Any], operand: np.ndarray, loops: int, rounds: int) -> float:
    times = []
    with lima.session(memory="2GB") as session:
        x = lima.array(operand)
        for _ in range(WARM_CALLS):  # what is large and cheap is kept after several calls only
            call(x)
        before = sum(hits(session.stats).values())
        for _ in range(rounds):
            start = perf_counter()
            for _ in range(loops):
                call(x)
            times.append((perf_counter() - start) / loops)
        seen = sum(hits(session.stats).values()) - before
    if seen < loops * rounds:
        raise RuntimeError(
            f"probe: {loops * rounds} calls of a cached operation gave {seen} hits; "
            "their time is not that of a probe"
        )
    return statistics.median(times) * MICROSECONDS


def store(rows: int, rounds: int) -> Figures:
    """A large result from the store on disk beside `np.load` of the same array, page cache warm.

    ``hit_s`` is an operation of a new session: look-up, mapping, check of all bytes, and the
    result as an array that can be read. ``copy_s`` is the same with a copy of it, as a traced
    function returns. ``miss_us`` is what an operation that is not in the store costs more.
    """
    thin = np.random.default_rng(0).standard_normal((rows, 50))
    times: dict[str, list[float]] = {"load_s": [], "hit_s": [], "copy_s": []}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        plain = thin @ thin.copy().T  # two buffers, as below: no symmetric kernel
        np.save(place / "plain.npy", plain)
        with lima.session(store=place / "store") as session:
            node = (lima.array(thin) @ lima.array(thin).T)._value.node
            session.store.offer(node, plain, 1e3)
        for _ in range(rounds):
            start = perf_counter()
            np.load(place / "plain.npy")
            times["load_s"].append(perf_counter() - start)
            with lima.session(store=place / "store") as session:
                x, y = lima.array(thin), lima.array(thin)
                start = perf_counter()
                found = np.asarray(x @ y.T)
                times["hit_s"].append(perf_counter() - start)
                found = np.array(found)
                times["copy_s"].append(perf_counter() - start)
                if session.stats.store_hits != 1 or not bit_equal(found, plain):
                    raise RuntimeError("store: what was measured is no hit with the right bits")
        with lima.session(store=place / "store") as session:
            start = perf_counter()
            for _ in range(MISSES):
                session.store.find(bytes(16))
            missed = (perf_counter() - start) / MISSES
    figures = {name: statistics.median(found) for name, found in times.items()}
    figures["miss_us"] = missed * MICROSECONDS
    figures["hit_over_load"] = figures["hit_s"] / figures["load_s"]
    figures["copy_over_load"] = figures["copy_s"] / figures["load_s"]
    return figures


IMPORT_PROGRAM = """
import sys, time, numpy
start = time.perf_counter()
import lima
print(time.perf_counter() - start, "numba" in sys.modules, "scipy" in sys.modules)
"""


def startup(runs: int) -> Figures:
    """Seconds that ``import lima`` takes in a fresh interpreter that has imported NumPy."""
    seconds, heavy = [], 0
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-c", IMPORT_PROGRAM],
            cwd=Path(lima.__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        )
        elapsed, *loaded = done.stdout.split()
        seconds.append(float(elapsed))
        heavy = loaded.count("True")
    return {"import_s": statistics.median(seconds), "heavy_modules": heavy}


def memory(operations: int) -> Figures:
    """Bytes that stay allocated per operation of a chain of additions whose end is held.

    Tracing alone, on four elements, and evaluated before the count: what is left is lineage.
    """
    with lima.session(reuse="none"):
        x = lima.array(np.ones(4))
        gc.collect()
        tracemalloc.start()
        try:
            x = _alternating(x, operations)
            np.asarray(x)
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    return {"lineage_bytes": held / operations}


def _alternating(x: Any, operations: int) -> Any:
    """A chain of distinct operations with values that stay bounded and do round."""
    for _ in range(operations // 2):
        x = x * 0.999
        x = x + 0.1
    return x


def loop(rounds: int) -> Figures:
    """What the lineage of a loop of three operations takes: in memory, as a log, read back.

    Bytes that stay allocated per round while the result is held (tracemalloc), bytes of the log, and
    bytes per round that reading the log leaves behind.
    """
    figures: Figures = {}
    with lima.session(reuse="none"):
        a, x = (lima.array(np.full(s, 0.4), name=n) for n, s in (("a", (2, 2)), ("x", 2)))
        gc.collect()
        tracemalloc.start()
        try:
            y = x
            for _ in range(rounds):
                y = 0.85 * (a @ y) + 0.15
            gc.collect()
            figures["traced_bytes_per_round"] = tracemalloc.get_traced_memory()[0] / rounds
        finally:
            tracemalloc.stop()
        clock = _Clock(figures)
        text = lima.lineage(y).log()
        clock.lap("log_s")
        figures["log_bytes"] = len(text)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "loop.lima"
            path.write_text(text, encoding="utf-8")
            lima.load_log(path)  # what is kept from the first time on is no part of it
            tracemalloc.start()
            try:
                record = lima.load_log(path)
                gc.collect()
                figures["read_bytes_per_round"] = tracemalloc.get_traced_memory()[0] / rounds
            finally:
                tracemalloc.stop()
        if record != lima.lineage(y):
            raise RuntimeError("loop: the log that was read is of another lineage")
    return figures


def chain(operations: int) -> Figures:
    """Seconds to trace one long chain, write its log, save it, read it back and recompute it.

    A hundredth of the length goes first: if that foretells more than two minutes (time that grows
    faster than the chain), a RuntimeError says so instead of running on.
    """
    start = perf_counter()
    _chain(operations // 100)
    trial = perf_counter() - start
    if trial * 100 > PATIENCE_S:
        raise RuntimeError(f"chain: {operations // 100:,} operations took {trial:.1f} s")
    return _chain(operations)


def _chain(operations: int) -> Figures:
    data = np.linspace(0.0, 1.0, 4)
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder, lima.session(reuse="none"):
        path = Path(folder) / "chain.lima"
        clock = _Clock(figures)
        x = _alternating(lima.array(data, name="x"), operations)
        value = np.array(x)
        clock.lap("trace_s")
        text = lima.lineage(x).log()
        clock.lap("log_s")
        lima.save(path, x=x)
        clock.lap("save_s")
        figures["log_bytes_per_operation"] = len(text) / operations
        del x, text
        clock.restart()
        lineage = lima.load_log(path)
        clock.lap("read_s")
        (again,) = leaves(lima.recompute(lineage, inputs={"x": data}))
        clock.lap("recompute_s")
    start = perf_counter()
    expected = _alternating(data, operations)
    figures["plain_s"] = perf_counter() - start
    same = bit_equal(value, expected) and bit_equal(again, expected)
    figures["wrong_results"] = 0 if same else 1
    return figures


class _Clock:
    """Writes the seconds since the last lap into a dictionary."""

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self.restart()

    def restart(self) -> None:
        self.start = perf_counter()

    def lap(self, name: str) -> None:
        self.figures[name] = perf_counter() - self.start
        self.restart()
