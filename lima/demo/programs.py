"""The example programs: two copies of them, their runs, and the comparison of their results.

They are plain NumPy with nothing of lima but the decorator. Two copies are loaded, and only one is
ever traced, so that the plain runs are plain.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_info, threadpool_limits

import lima
from lima.demo.progress import Progressing

Result = dict[str, Any]
Modules = dict[str, ModuleType]

MAX_THREADS = 2
"""BLAS threads at most: both runs get the same, and a small machine can tell the same story."""


class CheckFailed(Exception):
    """Something that lima promises did not hold."""


@dataclass(frozen=True)
class Program:
    """One of the example programs; its time grows with columns of the design to the `power`."""

    name: str
    title: str
    power: float = 0.0

    def weights(self, grid: dict[str, Any], columns: dict[int, int]) -> list[float]:
        """Relative time of every setting, in the order in which they run: for the progress."""
        settings = len(grid["icpts"]) * len(grid["regs"])
        return [float(columns[k]) ** self.power for k in _bins(grid) for _ in range(settings)]


PROGRAMS = (
    Program("logistic_grid", "logistic grid", 1.0),
    Program("linear_grid", "linear grid, 5 folds", 1.7),
    Program("forward_selection", "forward selection"),
)


@dataclass
class Pair:
    """The two runs of a program."""

    title: str
    plain_seconds: float
    lima_seconds: float
    stats: lima.Stats
    difference: float
    found: Result


# --------------------------------------------------------------------------- loading


def load_examples(label: str) -> Modules:
    """A copy of the example programs, as modules of a package `lima_examples_<label>`.

    They lie inside of the installed package, or in a checkout beside it. Raises CheckFailed where
    they are missing.
    """
    here = Path(lima.__file__).parent
    folder = next((f for f in (here / "_examples", here.parent / "examples") if f.is_dir()), None)
    if folder is None:
        raise CheckFailed(f"the example programs are missing: neither in {here} nor beside it")
    package = f"lima_examples_{label}"
    if package not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            package, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[package] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])
    names = ("adult", *(program.name for program in PROGRAMS))
    return {name: importlib.import_module(f"{package}.{name}") for name in names}


@contextlib.contextmanager
def limited_threads() -> Iterator[int]:
    """At most `MAX_THREADS` BLAS threads, fewer on a busy machine; gives their number.

    BLAS threads that wait for a processor hold up all others, which would time the waiting.
    """
    pools = [int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    threads = max(1, min([MAX_THREADS, (os.cpu_count() or 1) - round(load), *pools]))
    with threadpool_limits(threads, user_api="blas"):
        yield threads


# --------------------------------------------------------------------------- measuring


def measure(
    console: Console, program: Program, plain: Modules, traced: Modules, data: Any, full: bool
) -> Pair:
    """Run a program without lima, then in a lima session of its own, and compare the results.

    By default rules may round in another order than the program. Here they may not, for the bits
    are compared; it costs little of the time.
    """
    grid = getattr(plain[program.name], "FULL" if full else "SUBSET")
    weights = program.weights(grid, _columns(plain["adult"], data, _bins(grid)))
    with lima.disabled(), Progressing(console, f"{program.title}: plain", weights) as plainly:
        expected = plain[program.name].main(data, **grid, progress=plainly)
    with lima.session(exactness="bitwise") as session:
        with Progressing(console, f"{program.title}: lima", weights) as with_lima:
            found = traced[program.name].main(data, **grid, progress=with_lima)
        stats = session.stats
    difference = compare(found, expected, program.title)
    return Pair(program.title, plainly.seconds, with_lima.seconds, stats, difference, found)


def _bins(grid: dict[str, Any]) -> Sequence[int]:
    bins = grid["num_bins"]
    return (bins,) if isinstance(bins, int) else bins


def _columns(adult: ModuleType, data: Any, num_bins: Sequence[int]) -> dict[int, int]:
    """Columns of the binned design for each number of bins: only occupied bins become columns."""
    found = {}
    for bins in num_bins:
        codes = [adult.bin_codes(v, v.min(), v.max(), bins) for v in data.train.numeric.T]
        found[bins] = sum(data.sizes) + sum(len(np.unique(c)) for c in codes)
    return found


def compare(found: Result, expected: Result, what: str) -> float:
    """The largest absolute difference of two results; CheckFailed if any bit differs."""
    if expected.keys() != found.keys():
        raise CheckFailed(f"{what}: results {list(found)} with lima, {list(expected)} without")
    for name in expected:
        require_bits(found[name], expected[name], f"{what}: {name} with lima")
    return max(_difference(found[name], expected[name]) for name in expected)


def require_bits(found: Any, expected: Any, what: str) -> None:
    """Raise CheckFailed unless both arrays have the same dtype, shape and bytes."""
    a, b = np.asarray(found), np.asarray(expected)
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        raise CheckFailed(f"{what}: {a.dtype} {a.shape} instead of {b.dtype} {b.shape}")
    if a.tobytes() != b.tobytes():
        raise CheckFailed(f"{what}: other bits, the largest difference is {_difference(a, b):.3g}")


def _difference(a: Any, b: Any) -> float:
    distance = np.abs(np.asarray(a, float) - np.asarray(b, float))
    return float(np.max(distance, initial=0.0, where=~np.isnan(distance)))
