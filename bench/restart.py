"""Warm restarts: a program with a store, run again in a new process.

``python -m bench.restart [NAME ...] [--quick]`` runs each program three times in processes of their
own: plain; with an empty store; and with the store that the second one left. It shows what the
call took in each, and beside the last what cannot be spared in any case: a digest of the
arguments, and reading the results from `.npy` files.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]


def _example(quick: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    from examples import adult, linear_grid

    grid = linear_grid.SUBSET
    data = adult.load()
    regs = grid["regs"][:3] if quick else grid["regs"]
    return linear_grid.main, (data, grid["num_bins"], grid["icpts"], regs, grid["num_folds"])


def _workload(name: str) -> Callable[[bool], tuple[Callable[..., Any], tuple[Any, ...]]]:
    def load(quick: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        from bench.rows import WORKLOADS

        (row,) = [row for row in WORKLOADS if row.name == name]
        module = importlib.import_module(f"bench.workloads.{row.module}")
        return module.plain, module.data(**(row.quick if quick else row.full))

    return load


PROGRAMS = {
    "linear_grid": _example,
    **{name: _workload(name) for name in ("hlm", "hcv", "steplm", "pcalm", "hl2svm", "ens")},
}


def arrays(x: Any) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays in a value, in a fixed order."""
    if isinstance(x, np.ndarray):
        yield x
    elif isinstance(x, dict):
        for value in x.values():
            yield from arrays(value)
    elif isinstance(x, tuple | list):
        for value in x:
            yield from arrays(value)


def child(name: str, store: str, folder: Path, quick: bool) -> dict[str, Any]:
    """One run in this process; its figures."""
    import lima

    program, arguments = PROGRAMS[name](quick)
    program = getattr(program, "__wrapped__", program)
    if not store:
        start = perf_counter()
        result = program(*arguments)
        seconds = perf_counter() - start
        for k, a in enumerate(arrays(result)):
            np.save(folder / f"{k}.npy", a)
        return {"seconds": seconds}
    modules = tuple(m for n, m in sys.modules.items() if n.startswith("examples."))
    traced = lima.traced(program, modules=modules)
    start = perf_counter()
    with lima.session(store=store) as session:
        opened = perf_counter()
        result = traced(*arguments)
        called = perf_counter()
    closed = perf_counter()
    info = traced.cache_info()
    start_digest = perf_counter()
    for a in arrays(arguments):
        lima.node.leaf(a).digest  # noqa: B018
    digest = perf_counter() - start_digest
    start_load = perf_counter()
    plain = [np.load(folder / f"{k}.npy") for k, _ in enumerate(arrays(result))]
    load = perf_counter() - start_load
    near = all(np.allclose(a, b) for a, b in zip(plain, arrays(result), strict=True))
    return {
        "seconds": called - opened,
        "session": (opened - start) + (closed - called),
        "hits": info.hits,
        "computed": session.stats.computed,
        "digest": digest,
        "load": load,
        "right": near,
        "refusal": info.refusal,
    }


def measured(name: str, quick: bool) -> dict[str, dict[str, Any]]:
    """The figures of one program, each run in a process of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for run in ("plain", "cold", "warm", "again"):
            store = "" if run == "plain" else str(Path(place) / "store")
            command = [sys.executable, "-m", "bench.restart", name, "--child", place]
            command += ["--store", store, *(["--quick"] if quick else [])]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            found[run] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Show the figures of the programs that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.restart", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROGRAMS))
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--store", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.names[0], options.store, options.child, options.quick)))
        return
    print(f"{'program':12} {'plain':>9} {'cold':>9} {'warm':>9} {'digest':>9} {'np.load':>9}  ms")
    for name in options.names or PROGRAMS:
        found = measured(name, options.quick)
        warm = min(found["warm"], found["again"], key=lambda run: run["seconds"])
        figures = [found["plain"]["seconds"], found["cold"]["seconds"], warm["seconds"]]
        figures += [warm["digest"], warm["load"]]
        said = " ".join(f"{1e3 * x:9.2f}" for x in figures)
        note = "" if warm["hits"] and warm["right"] else f"  NOT FOUND: {warm['refusal']}"
        print(f"{name:12} {said}  {warm['hits']} call hit, {warm['computed']} computed{note}")


if __name__ == "__main__":
    main()
