"""lima with a store beside joblib.Memory, put by hand where it does most.

``python -m bench.memoizer [NAME ...] [--quick]`` runs each program in processes of their own: plain;
with joblib.Memory around some of its functions, once for each choice of them in `PLACES`; and with
lima. Cold is the first run, on an empty folder, warm the second, in a new process. Of the choices
for joblib the best is shown, for cold and for warm apart.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import subprocess
import sys
import tempfile
from time import perf_counter, process_time
from typing import Any

import numpy as np

import lima
from bench.restart import PROGRAMS, ROOT, arrays

Place = tuple[str, tuple[str, ...]]

PLACES: dict[str, list[list[Place]]] = {
    "linear_grid": [
        [("main", ("progress",))],
        [("adult.binned_design", ())],
        [("adult.binned_design", ()), ("linear.fit", ()), ("main", ("progress",))],
    ],
    "logistic_grid": [
        [("main", ("progress",))],
        [("adult.binned_design", ()), ("main", ("progress",))],
        [("adult.binned_design", ()), ("multilogreg.fit", ())],
    ],
    "forward_selection": [
        [("main", ("progress",))],
        [("akaike", ())],
        [("adult.binned_design", ()), ("main", ("progress",))],
    ],
    "hlm": [[("plain", ())], [("lm", ("tol",))], [("lm", ("tol",)), ("plain", ())]],
    "hcv": [[("plain", ())], [("ridge", ())]],
    "steplm": [[("plain", ())], [("criterion", ())]],
    "pcalm": [[("plain", ())], [("pca", ())], [("adjusted_r2", ())]],
    "hl2svm": [[("plain", ())], [("l2svm", ())]],
    "ens": [
        [("plain", ())],
        [("svm_probabilities", ()), ("multinomial_probabilities", ())],
    ],
}
"""For each program the choices: functions that are memoized, with arguments that are ignored."""


def _example(name: str) -> Any:
    def load(quick: bool) -> tuple[Any, tuple[Any, ...]]:
        from examples import adult

        module = importlib.import_module(f"examples.{name}")
        grid = dict(module.SUBSET)
        if quick and "regs" in grid:
            grid["regs"] = grid["regs"][:2]
        return module.main, (adult.load(), *grid.values())

    return load


ALL = {
    **{name: _example(name) for name in ("linear_grid", "logistic_grid", "forward_selection")},
    **{name: load for name, load in PROGRAMS.items() if name != "linear_grid"},
}


def memoized(program: Any, places: list[Place], folder: str) -> Any:
    """The program, some of whose functions are memoized; the program itself may be one."""
    from joblib import Memory

    memory = Memory(folder, verbose=0)
    home = sys.modules[program.__module__]
    for name, ignore in places:
        path, _, last = name.rpartition(".")
        module = getattr(home, path) if path else home
        function = getattr(module, last)
        function = getattr(function, "__wrapped__", function)
        setattr(module, last, memory.cache(function, ignore=list(ignore)))
        if function is program:
            program = getattr(module, last)
    return program


def child(name: str, how: str, folder: str, quick: bool) -> dict[str, Any]:
    """One run in this process: seconds, and a number that stands for the result."""
    program, arguments = ALL[name](quick)
    plain = getattr(program, "__wrapped__", program)
    importlib.import_module("sqlite3")  # nor is importing joblib counted
    start, used = perf_counter(), process_time()
    if how == "plain":
        result = plain(*arguments)
    elif how == "lima":
        modules = tuple(m for n, m in sys.modules.items() if n.startswith("examples."))
        traced = lima.traced(plain, modules=modules)
        start, used = perf_counter(), process_time()
        with lima.session(store=folder):
            result = traced(*arguments)
    else:
        work = memoized(plain, PLACES[name][int(how)], folder)
        start, used = perf_counter(), process_time()
        result = work(*arguments)
    seconds, used = perf_counter() - start, process_time() - used
    total = [float(np.abs(a).sum()) for a in arrays(result)]
    return {"seconds": seconds, "used": used, "total": total}


def run(name: str, how: str, folder: str, quick: bool) -> dict[str, Any]:
    """`child` in a process of its own."""
    command = [sys.executable, "-m", "bench.memoizer", name, "--child", how, "--folder", folder]
    command += ["--quick"] if quick else []
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(name: str, quick: bool, repeats: int, what: str) -> dict[str, float]:
    """The least seconds of each way to run a program; `what`: "seconds" or "used"."""
    hows = ["plain", "lima", *map(str, range(len(PLACES[name])))]
    least: dict[str, float] = {}
    totals = []
    for how in hows * repeats:
        with tempfile.TemporaryDirectory() as folder:
            for turn in ("cold",) if how == "plain" else ("cold", "warm", "warm"):
                found = run(name, how, folder, quick)
                totals.append(found["total"])
                key = how if how in ("plain", "lima") else "joblib"
                key = f"{key} {turn}"
                least[key] = min(least.get(key, np.inf), found[what])
    if not all(np.allclose(one, totals[0], rtol=1e-6) for one in totals):
        raise AssertionError(f"{name}: the results differ")
    return least


def main() -> None:
    """Show the figures of the programs that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.memoizer", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="folders for each (1)")
    parser.add_argument(
        "--cpu", action="store_true", help="seconds of the processor, not the clock"
    )
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.names[0], options.child, options.folder, options.quick)))
        return
    heads = ("plain", "joblib cold", "lima cold", "joblib warm", "lima warm")
    print(f"{'program':18}" + "".join(f"{head:>13}" for head in heads) + "  ms")
    what = "used" if options.cpu else "seconds"
    work = functools.partial(measured, quick=options.quick, repeats=options.repeats, what=what)
    for name in options.names or ALL:
        found = work(name)
        figures = [found["plain cold"], *(found[head] for head in heads[1:])]
        print(f"{name:18}" + "".join(f"{1e3 * x:13.1f}" for x in figures), flush=True)


if __name__ == "__main__":
    main()
