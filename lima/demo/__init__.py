"""The main job of `lima demo`: census models with and without lima, and the best one rebuilt."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console

import lima
from lima.demo import tables
from lima.demo.programs import (
    PROGRAMS,
    CheckFailed,
    limited_threads,
    load_examples,
    measure,
    require_bits,
)

__all__ = ["CheckFailed", "run"]

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS",
                    "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")  # fmt: skip

ALONE = """
import runpy, sys
sys.modules["lima"] = None  # whoever imports it gets an ImportError
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a program in an interpreter in which lima cannot be imported."""


def run(console: Console, full: bool = False, folder: Path | None = None) -> None:
    """Run everything and print it; raises CheckFailed where a promise of lima does not hold.

    `full` takes the whole grids instead of the subsets. The best model's log, program and betas
    are written to `folder`, by default a new temporary one.
    """
    folder = Path(tempfile.mkdtemp(prefix="lima-demo-")) if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    with limited_threads() as threads:
        plain, traced = load_examples("plain"), load_examples("traced")
        data = plain["adult"].load()
        tables.print_setting(console, data, threads, full)
        pairs = [measure(console, p, plain, traced, data, full) for p in PROGRAMS]
        tables.print_runs(console, pairs)
        tables.print_accuracies(console, pairs[0].found)
        rebuild(console, pairs[0].found["betas"], folder, threads)
    console.print("\n[bold green]All results and all rebuilt results have equal bits.[/]")


def rebuild(console: Console, betas: Any, folder: Path, threads: int) -> None:
    """Lineage, log, recomputation and program of the best model; CheckFailed if a bit differs."""
    lineage = lima.lineage(betas=betas)
    tables.print_lineage(console, lineage)
    log = lima.save(folder / "best_model.lima", lineage, leaf_data=True)
    record = lima.load_log(log)
    _line(console, f"Its log, with the data of its leaves beside it: {log}")

    start = perf_counter()
    again = lima.recompute(record)["betas"]
    require_bits(again, betas, "the betas recomputed from the log")
    _line(console, f"Recomputed from the log in {perf_counter() - start:.1f} s: equal bits.")

    program = folder / "best_model.py"
    program.write_text(lima.to_python(record), "utf-8")
    _line(console, f"The same as a NumPy program: {program}")
    start = perf_counter()
    rebuilt = run_alone(program, Path(f"{log}.data"), folder / "best_model.npz", threads)["betas"]
    require_bits(rebuilt, betas, f"the betas that {program} gives")
    seconds = perf_counter() - start
    _line(console, f"Run in a fresh interpreter without lima in {seconds:.1f} s: equal bits.")


def run_alone(program: Path, data: Path, out: Path, threads: int) -> dict[str, Any]:
    """The results of a reconstructed program, run by an interpreter that cannot import lima."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(program), str(data), str(out)],
        env=os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CheckFailed(f"{program} failed: {reason}")
    with np.load(out, allow_pickle=False) as arrays:
        return dict(arrays)


def _line(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)
