"""Commands that run programs, and those that tell what lima can do."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Annotated

import typer
from rich.console import Console

import lima
from lima import demo
from lima.cli.base import Failure, app, say

# ------------------------------------------------------------------------------------------ demo


@app.command("demo")
def _demo(
    full: Annotated[bool, typer.Option("--full", help="All grids; takes hours and 8 GB.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Where to write the best model; default: a new folder."),
    ] = None,
) -> int:
    """Train models of census income, plain and traced; log, recompute, rebuild the best."""
    try:
        demo.run(Console(), full=full, folder=folder)
    except demo.CheckFailed as error:
        raise Failure(str(error)) from error
    return 0


# ------------------------------------------------------------------------------------------- run


@app.command("run", context_settings={"allow_interspersed_args": False})
def _run(
    script: Annotated[Path, typer.Argument(help="A Python script.", show_default=False)],
    args: Annotated[
        list[str] | None, typer.Argument(help="What the script gets.", show_default=False)
    ] = None,
) -> int:
    """Run a whole, unchanged script with NumPy traced in it; report on stderr at the end.

    The session takes its options from the environment (LIMA_MEMORY=2GB, ...).
    """
    with lima.session() as session:
        start = perf_counter()
        status = _run_as_python(script, args or [])
        seconds = perf_counter() - start
        sys.stdout.flush()
        say(f"\nlima run {script}: {seconds:.2f} s\n{session.report()}")
    return status


def _run_as_python(script: Path, args: list[str]) -> int:
    """The exit status that Python would give; errors are shown as Python shows them."""
    if not script.is_file():
        raise Failure(f"{script}: {'is no file' if script.exists() else 'no such file'}")
    try:
        lima.run_script(script, args)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        say(str(error.code))
        return 1
    except BaseException as error:
        _leave_out_own_frames(error)
        sys.stdout.flush()
        sys.excepthook(type(error), error, error.__traceback__)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _leave_out_own_frames(error: BaseException) -> None:
    """Keep in the tracebacks of `error`, and of what led to it, the frames that Python would show.

    Where lima itself broke, its frames stay: they are what one needs to report.
    """
    if isinstance(error, lima.InternalError):
        return
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = _chained(_users_frames(one.__traceback__))
        todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def _users_frames(first: TracebackType | None) -> list[TracebackType]:
    """The entries below the one that runs the script, without those of lima."""
    entries = []
    while first is not None:
        entries.append(first)
        first = first.tb_next
    # By module, since compiled code has no file of its own.
    modules = [str(entry.tb_frame.f_globals.get("__name__")) for entry in entries]
    runs = [k for k, module in enumerate(modules) if module == "lima.script"]
    below = runs[0] + 1 if runs else 0
    return [
        entry
        for entry, module in zip(entries[below:], modules[below:], strict=True)
        if module.partition(".")[0] != "lima"
    ]


def _chained(entries: Iterable[TracebackType]) -> TracebackType | None:
    found: TracebackType | None = None
    for entry in reversed(list(entries)):
        found = TracebackType(found, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return found


# ----------------------------------------------------------------------------------------- about


@app.command("rules")
def _rules() -> None:
    """List the rules by which results are had from parts."""
    for rule in lima.rules():
        typer.echo(f"{rule.name}  ({', '.join(rule.operations)}; {rule.exactness})")
        for equation in rule.equation.split(";  "):
            typer.echo(f"    {equation}")
        typer.echo(f"    saves {rule.saves}\n")


@app.command("coverage")
def _coverage() -> None:
    """List what is traced of NumPy's functions, and why the others are not."""
    found = lima.coverage()
    for row in found:
        typer.echo(f"{row.name:40} {row.how:9} {row.why}".rstrip())
    counts = Counter(row.how for row in found)
    typer.echo(", ".join(f"{count} {how}" for how, count in counts.most_common()))
