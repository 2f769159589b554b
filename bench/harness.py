"""Run the variants of a program in turn, in one process, and compare their times and results."""

import gc
import importlib
import importlib.util
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np

from bench.rows import Options, Shape, Workload

Figures = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run of one variant: its seconds, its result, and the session's hits (if it had one)."""

    seconds: float
    result: Any
    hits: Mapping[str, int]


Variant = Callable[[tuple[Any, ...]], Run]


def timed(program: Callable[..., Any]) -> Variant:
    """A variant that runs ``program`` as it is."""

    def run(arguments: tuple[Any, ...]) -> Run:
        start = perf_counter()
        result = program(*arguments)
        return Run(perf_counter() - start, result, {})

    return run


def timed_in_session(program: Callable[..., Any], options: Options) -> Variant:
    """A variant that runs ``program`` in a lima session of its own, so that each run starts cold.

    Opening and closing the session is part of the measured time.
    """
    import lima

    def run(arguments: tuple[Any, ...]) -> Run:
        start = perf_counter()
        with lima.session(**options) as session:
            result = program(*arguments)
        return Run(perf_counter() - start, result, hits(session.stats))

    return run


def hits(stats: object) -> dict[str, int]:
    """Every positive whole-number statistic whose name speaks of hits, by dotted name."""
    return {
        name: value
        for name, value in _counters("", stats)
        if "hit" in name and isinstance(value, int) and value > 0
    }


def _counters(prefix: str, record: object) -> Iterator[tuple[str, object]]:
    fields = record if isinstance(record, Mapping) else _attributes(record)
    for name, value in fields.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, int | float):
            yield path, value
        elif isinstance(value, Mapping):
            yield from _counters(path, value)


def _attributes(record: object) -> dict[str, object]:
    names = [name for name in dir(record) if not name.startswith("_")]
    return {name: getattr(record, name) for name in names}


def load(module: str) -> ModuleType:
    """The workload's module, as plain and hand use it."""
    return importlib.import_module(f"bench.workloads.{module}")


def load_traced(module: str) -> ModuleType:
    """A second copy of the workload's module for lima alone.

    ``lima.traced`` binds a module's NumPy names to twins; on a copy, that leaves the plain program
    beside it as fast as it was.
    """
    name = f"bench.workloads.{module}_traced"
    if name not in sys.modules:
        path = Path(__file__).parent / "workloads" / f"{module}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        copy = importlib.util.module_from_spec(spec)
        sys.modules[name] = copy
        spec.loader.exec_module(copy)
    return sys.modules[name]


def variants(row: Workload, with_lima: bool, **forced: object) -> dict[str, Variant]:
    """The variants of a workload by name; ``forced`` options override those of every session."""
    module = load(row.module)
    made = {"plain": timed(module.plain)}
    if with_lima:
        import lima

        traced = lima.traced(load_traced(row.module).plain)
        for name, options in row.sessions.items():
            made[name] = timed_in_session(traced, {**options, **forced})
    if module.hand is not None:
        made["hand"] = timed(module.hand)
    return made


def measure(row: Workload, shape: Shape, rounds: int | None, with_lima: bool) -> Figures:
    """Run a workload's variants in turn and return its figures, ready for JSON.

    A lima variant that raises is left out of the later rounds, and its error is reported.
    """
    arguments = load(row.module).data(**shape)
    runners = variants(row, with_lima)
    plain_rounds = min(row.plain_rounds, rounds or row.plain_rounds)
    runs: dict[str, list[Run]] = {name: [] for name in runners}
    errors: dict[str, str] = {}
    _warm_up(row, runners, errors)
    for turn in range(rounds or row.rounds):
        for name in _rotated(list(runners), turn):
            if name in errors or (name == "plain" and turn >= plain_rounds):
                continue
            gc.collect()
            run = _attempt(runners[name], arguments, name, errors)
            if run is not None:
                runs[name] = [*_without_results(runs[name]), run]
    return {
        "shape": dict(shape),
        "variants": _summaries(runs, errors),
        "ratios": _ratios(runs, statistics.median),
        "ratios_of_minima": _ratios(runs, min),
        "spread": max(_spread(done) for done in runs.values() if done),
    }


def _spread(done: list[Run]) -> float:
    """How far a variant's times lie apart: the median over the least."""
    seconds = [run.seconds for run in done]
    return statistics.median(seconds) / min(seconds)


def _warm_up(row: Workload, runners: Mapping[str, Variant], errors: dict[str, str]) -> None:
    """Start the BLAS threads, and bind what lima binds at a first call, outside of the times."""
    arguments = load(row.module).data(**row.tiny)
    for name, runner in runners.items():
        _attempt(runner, arguments, name, errors)


def _rotated(names: list[str], turn: int) -> list[str]:
    """Each round begins with another variant, so that none always follows the same one."""
    start = turn % len(names)
    return names[start:] + names[:start]


def _attempt(
    runner: Variant, arguments: tuple[Any, ...], name: str, errors: dict[str, str]
) -> Run | None:
    if name in ("plain", "hand"):
        return runner(arguments)
    try:
        return runner(arguments)
    except Exception as error:
        errors[name] = first_line(error)
        return None


def first_line(error: Exception) -> str:
    """The kind of an exception and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _without_results(runs: list[Run]) -> list[Run]:
    """Only the latest result of a variant is compared; the earlier ones may go."""
    return [Run(run.seconds, None, run.hits) for run in runs]


def _summaries(runs: Mapping[str, list[Run]], errors: Mapping[str, str]) -> Figures:
    expected = runs["plain"][-1].result
    return {
        name: {"error": errors[name]} if name in errors else _summary(done, expected)
        for name, done in runs.items()
    }


def _summary(done: list[Run], expected: Any) -> Figures:
    seconds = [run.seconds for run in done]
    difference = max_difference(done[-1].result, expected)
    return {
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "seconds": seconds,
        "difference": difference,
        "bit_equal": bit_equal(done[-1].result, expected),
        "hits": dict(done[-1].hits),
    }


def _ratios(
    runs: Mapping[str, list[Run]], typical: Callable[[list[float]], float]
) -> dict[str, float]:
    """Ratios of typical times: each lima variant over hand, plain and trace, plain over hand."""
    times = {name: typical([run.seconds for run in done]) for name, done in runs.items() if done}
    return {
        f"{name}/{base}": times[name] / times[base]
        for base in ("hand", "plain", "trace")
        for name in times
        if base in times and name not in (base, "hand") and (name, base) != ("plain", "trace")
    }


def leaves(result: Any) -> list[np.ndarray]:
    """The arrays of a result, through tuples, lists and dictionaries, in order."""
    if isinstance(result, dict):
        return [leaf for key in sorted(result) for leaf in leaves(result[key])]
    if isinstance(result, tuple | list):
        return [leaf for item in result for leaf in leaves(item)]
    return [np.asarray(result)]


def max_difference(a: Any, b: Any) -> float:
    """The largest absolute difference of two results; infinite when their shapes differ."""
    if bit_equal(a, b):
        return 0.0
    if [x.shape for x in leaves(a)] != [y.shape for y in leaves(b)]:
        return float("inf")
    pairs = zip(leaves(a), leaves(b), strict=True)
    return max(
        (float(np.max(np.abs(x.astype(float) - y.astype(float)))) for x, y in pairs if x.size),
        default=0.0,
    )


def bit_equal(a: Any, b: Any) -> bool:
    """Whether two results agree in shapes, dtypes and every bit."""
    xs, ys = leaves(a), leaves(b)
    return len(xs) == len(ys) and all(
        x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()
        for x, y in zip(xs, ys, strict=True)
    )
