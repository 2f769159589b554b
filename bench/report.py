"""The report as tables."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

Figures = Mapping[str, Any]
NONE = "-"
VERDICT_STYLE = {"met": "green", "not met": "bold red", "not measured": "dim"}


def print_report(console: Console, report: Figures) -> None:
    """Print what the report holds: machine, workloads, micro-measurements, budgets."""
    machine = report["machine"]
    console.print(
        f"Python {machine['python']}, NumPy {machine['numpy']}, {machine['blas']} on "
        f"{machine['threads']} threads, {machine['processors']} processors, lima {machine['lima']}"
    )
    if report["workloads"]:
        console.print(workload_table(report["workloads"]))
    if report["micro"]:
        console.print(micro_table(report["micro"]))
    console.print(budget_table(report["budgets"]))
    for line in errors(report):
        console.print(f"FAILED {line}", style="bold red", markup=False)


def errors(report: Figures) -> list[str]:
    """A line for each program and measurement that raised an error."""
    runs = [
        (f"{name}, session {variant}", figures)
        for name, workload in report["workloads"].items()
        for variant, figures in workload["variants"].items()
    ]
    runs += list(report["micro"].items())
    return [f"{name}: {figures['error']}" for name, figures in runs if "error" in figures]


def _table(title: str, *columns: str, left: Iterable[str] = ()) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    return table


def workload_table(workloads: Figures) -> Table:
    """One line per workload and lima session."""
    table = _table(
        "Programs (seconds are medians, ratios are ratios of medians)",
        *("program", "session", "plain s", "hand s", "lima s", "lima/hand", "plain/hand"),
        *("lima/plain", "spread", "max |diff|", "same bits", "hits"),
        left=("program", "session"),
    )
    for name, figures in workloads.items():
        sessions = [v for v in figures["variants"] if v not in ("plain", "hand")]
        for session in sessions or [None]:
            table.add_row(name, *_workload_line(figures, session))
    return table


def _workload_line(figures: Figures, session: str | None) -> list[str]:
    variants, ratios = figures["variants"], figures["ratios"]
    run = variants.get(session, {})
    if "error" in run:
        return [session or NONE, "failed"]
    return [
        session or NONE,
        *(_number(variants.get(name, {}).get("median_s"), 4) for name in ("plain", "hand")),
        _number(run.get("median_s"), 4),
        _number(ratios.get(f"{session}/hand"), 2),
        _number(ratios.get("plain/hand"), 1),
        _number(ratios.get(f"{session}/plain"), 3),
        _number(figures["spread"], 2),
        NONE if session is None else f"{run['difference']:.1e}",
        NONE if session is None else ("yes" if run["bit_equal"] else "no"),
        ", ".join(f"{key} {value}" for key, value in run.get("hits", {}).items()) or NONE,
    ]


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def micro_table(micro: Figures) -> Table:
    """One line per figure."""
    table = _table(
        "Single operations", "measurement", "figure", "value", left=("measurement", "figure")
    )
    for name, figures in micro.items():
        for figure, value in figures.items():
            shown = "failed" if figure == "error" else f"{value:.4g}"
            table.add_row(name, figure, shown)
    return table


def budget_table(budgets: Iterable[Figures]) -> Table:
    """One line per budget."""
    columns = ("budget", "kind", "measured", "limit", "unit", "verdict")
    table = _table("Budgets", *columns, left=("budget", "kind", "unit", "verdict"))
    for row in budgets:
        style = VERDICT_STYLE[row["verdict"]]
        value = NONE if row["value"] is None else f"{row['value']:.4g}"
        verdict = f"[{style}]{row['verdict']}[/]"
        table.add_row(row["what"], row["kind"], value, f"{row['limit']:g}", row["unit"], verdict)
    return table
