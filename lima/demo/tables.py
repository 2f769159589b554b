"""What the demo prints."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_info

import lima
from lima.demo.programs import Pair, Result

VARIANTS = (
    ("one_hot", "one-hot categoricals", 82.35),
    ("binned", "one-hot categoricals, binned numerics", 84.73),
    ("best", "best of the grid", 90.07),
)
"""Of the logistic models: name in the results, what it is, percent reported by the lecture."""

NOTE = """The lecture that this example comes from prepared its data in another way and had another
grid; nothing here was tuned towards its figures."""

SHOWN = 5
"""First and last lines of the log that are printed."""


def print_setting(console: Console, data: Any, threads: int, full: bool) -> None:
    """What runs where, on which data."""
    blas = next((p for p in threadpool_info() if p["user_api"] == "blas"), None)
    name = f"{blas['internal_api']} {blas['version']}" if blas else "BLAS"
    console.print(
        f"lima {lima.__version__}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"{name} with {threads} thread{'s' if threads > 1 else ''}, {platform.machine()}",
        highlight=False,
    )
    console.print(
        f"UCI Adult: does a person earn more than 50,000 dollars? {len(data.train.label):,} rows "
        f"to train, {len(data.test.label):,} to test. Each program runs without lima, then with it "
        "in an empty session; other work on this machine moves the seconds.",
        highlight=False,
    )
    if full:
        console.print("The whole grids take hours and about 8 GB of memory.", highlight=False)
    console.print()


def print_runs(console: Console, pairs: Sequence[Pair]) -> None:
    """Seconds, speed-up, hits and differences of the programs."""
    table = Table(box=SIMPLE, padding=(0, 0, 0, 1))
    table.add_column("program", no_wrap=True)
    for column in ("plain s", "lima s", "speed-up", "op hits", "call hits", "max diff"):
        table.add_column(column, justify="right")
    for pair in pairs:
        table.add_row(
            pair.title,
            f"{pair.plain_seconds:.2f}",
            f"{pair.lima_seconds:.2f}",
            f"{pair.plain_seconds / pair.lima_seconds:.2f}",
            f"{pair.stats.hits:,}",
            f"{pair.stats.function_hits:,}",
            f"{pair.difference:g}",
        )
    plain = sum(pair.plain_seconds for pair in pairs)
    traced = sum(pair.lima_seconds for pair in pairs)
    table.add_section()
    table.add_row("together", f"{plain:.2f}", f"{traced:.2f}", f"{plain / traced:.2f}")
    console.print(table)
    console.print(
        "max diff: the largest difference of any result with lima; the bits are compared too"
        " (sessions with exactness='bitwise').",
        style="dim",
    )


def print_accuracies(console: Console, found: Result) -> None:
    """Accuracies of the logistic models beside those of the lecture."""
    table = Table("logistic regression", box=SIMPLE, padding=(0, 0, 0, 1))
    for column in ("train %", "test %", "lecture %"):
        table.add_column(column, justify="right")
    bins, icpt, reg, *best = found["best"]
    for name, what, lecture in VARIANTS:
        train, test = best if name == "best" else found[name]
        more = f" ({bins:g} bins, icpt {icpt:g}, reg {reg:g})" if name == "best" else ""
        table.add_row(what + more, f"{100 * train:.2f}", f"{100 * test:.2f}", f"{lecture:.2f}")
    console.print()
    console.print(table)
    console.print(" ".join(NOTE.split()), style="dim")


def print_lineage(console: Console, lineage: lima.Lineage) -> None:
    """How the best model was made, in brief."""
    nodes, leaves = lineage.nodes, lineage.leaves
    frequent = Counter(node.spec.op for node in nodes if not node.is_leaf).most_common(6)
    depth = max(node.height for node in lineage.outputs.values())
    lines = lineage.log().splitlines()
    console.print()
    _text(console, f"Lineage of the best model: {len(nodes) - len(leaves):,} operations on "
                   f"{len(leaves)} leaves, {depth:,} deep.")  # fmt: skip
    _text(console, f"Most frequent: {', '.join(f'{op} {count:,}' for op, count in frequent)}.")
    left_out = f"... {len(lines) - 2 * SHOWN:,} lines ..."
    for line in (*lines[:SHOWN], left_out, *lines[-SHOWN:]):
        console.print("  " + line, style="dim", overflow="ellipsis", no_wrap=True, markup=False)


def _text(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False)
