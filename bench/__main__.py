"""The command: ``python -m bench [--only NAME ...] [--quick] [--json FILE] [--repeats N]``."""

import argparse
import importlib
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_info, threadpool_limits

from bench.budgets import judge
from bench.check import check
from bench.harness import first_line, measure
from bench.paper import PAPER
from bench.report import errors, print_report
from bench.rows import MICROS, WORKLOADS, Micro, Shape, Workload

RESULTS = Path(__file__).parent / "results.json"
NAMES = [row.name for row in [*WORKLOADS, *PAPER]] + [row.name for row in MICROS]
Report = dict[str, Any]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=NAMES, help=", ".join(NAMES))
    parser.add_argument("--paper", action="store_true", help="the reference's experiments alone")
    parser.add_argument("--quick", action="store_true", help="small shapes, three rounds")
    parser.add_argument("--repeats", type=int, metavar="N", help="rounds of each program")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="BLAS threads (2)")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="report file")
    parser.add_argument("--no-lima", action="store_true", help="the plain and hand versions alone")
    parser.add_argument("--check", action="store_true", help="compare results at tiny sizes")
    options = parser.parse_args(arguments)
    if options.repeats is not None and options.repeats < 1:
        parser.error(f"--repeats must be 1 or more, got {options.repeats}")
    if not options.no_lima and importlib.util.find_spec("lima") is None:
        parser.error("lima cannot be imported; run from the root of the repository, or --no-lima")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit status is 1 if something failed to run."""
    options = parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 180)
    asked = [*WORKLOADS, *PAPER] if options.only else PAPER if options.paper else WORKLOADS
    workloads = [row for row in asked if not options.only or row.name in options.only]
    micros = [row for row in MICROS if not options.only or row.name in options.only]
    micros = [] if options.paper else micros
    with threadpool_limits(options.threads):
        if options.check:
            return 0 if check(workloads, not options.no_lima, console) else 1
        report = run(options, workloads, [] if options.no_lima else micros)
    print_report(console, report)
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"Written: {options.json}")
    return 1 if errors(report) else 0


def run(options: argparse.Namespace, workloads: list[Workload], micros: list[Micro]) -> Report:
    """Measure the rows; the report holds only what JSON can."""
    progress = Console(stderr=True)
    size = "quick" if options.quick else "full"
    rounds = options.repeats or (3 if options.quick else None)
    report: Report = {"machine": machine(options), "size": size, "workloads": {}, "micro": {}}
    for row in workloads:
        progress.print(f"measuring {row.name} ...")
        figures = measure(row, getattr(row, size), rounds, not options.no_lima)
        report["workloads"][row.name] = figures
    for micro in micros:
        progress.print(f"measuring {micro.name} ...")
        report["micro"][micro.name] = measure_micro(micro, getattr(micro, size))
    report["budgets"] = judge(report)
    return report


def measure_micro(micro: Micro, shape: Shape) -> Report:
    """The figures of one micro-measurement, or its error."""
    try:
        measurement = getattr(importlib.import_module("bench.micro"), micro.name)
        figures: Report = measurement(**shape)
    except Exception as error:
        return {"error": first_line(error)}
    return figures


def machine(options: argparse.Namespace) -> Report:
    """What the figures depend on."""
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    names = [f"{pool['internal_api']} {pool['version']}" for pool in blas]
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": ", ".join(names) or "no known BLAS",
        "threads": options.threads,
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "lima": "left out" if options.no_lima else _lima_version(),
    }


def _lima_version() -> str:
    lima = importlib.import_module("lima")
    return f"{lima.__version__} ({'compiled' if lima.__compiled__ else 'interpreted'})"


if __name__ == "__main__":
    sys.exit(main())
