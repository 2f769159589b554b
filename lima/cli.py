"""The `lima` command. It knows of lima what a user knows: the public names."""

from __future__ import annotations

import os
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Annotated, Any, cast

import numpy as np
import typer
from rich.console import Console

import lima
from lima import cli_store, demo

WrongUsage = cast(type[Exception], typer.BadParameter.__mro__[2])
"""What typer raises for a wrong command line, a class that not all of its releases name alike."""

app = typer.Typer(
    name="lima",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Lineage tracing and reuse for NumPy programs.",
)


app.add_typer(cli_store.app, name="store")


class Failure(Exception):
    """A command cannot do what was asked; the message is the line that the user sees."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 1 for a failure, 2 for wrong usage.

    >>> main(["--version"])  # doctest: +ELLIPSIS
    lima ...
    0
    """
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        found = typer.main.get_command(app).main(given, prog_name="lima", standalone_mode=False)
    except WrongUsage as error:
        text = error.format_message()  # type: ignore[attr-defined]
        return _complain(f"{text} See `lima --help`.", 2)
    except (typer.Abort, KeyboardInterrupt):
        return _complain("interrupted", 130)
    except BrokenPipeError:  # whoever read our output has had enough of it: `lima log x | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _complain(": ".join(filter(None, [error.filename, error.strerror or str(error)])))
    except (Failure, lima.LimaError) as error:
        return _complain(str(error))
    return found if isinstance(found, int) else 0


def _complain(text: str, status: int = 1) -> int:
    line = " ".join(str(text).split())
    print(f"lima: error: {line}", file=sys.stderr)  # noqa: T201
    return status


def _say(text: str = "") -> None:
    print(text, file=sys.stderr)  # noqa: T201


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(
            f"lima {lima.__version__} ({'compiled' if lima.__compiled__ else 'interpreted'})"
        )
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


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
        _say(f"\nlima run {script}: {seconds:.2f} s\n{session.report()}")
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
        _say(str(error.code))
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


# ------------------------------------------------------------------------------------------ logs

LogFile = Annotated[Path, typer.Argument(metavar="FILE", help="A lineage log.")]


@app.command("log")
def _log(file: LogFile) -> None:
    """Check a lineage log and print it."""
    for line in lima.load_log(file).lines():
        sys.stdout.write(line)
    sys.stdout.flush()


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


@app.command("to-python")
def _to_python(
    file: LogFile,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write.")] = None,
) -> None:
    """Write a lineage log as a program that needs NumPy alone."""
    text = lima.to_python(lima.load_log(file))
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, "utf-8")


@app.command("recompute")
def _recompute(
    file: LogFile,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=x.npy", help="The array of a leaf; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="An .npz to write.")] = None,
) -> None:
    """Compute the results of a lineage log again and compare them with what was logged."""
    given = dict(map(_input, inputs or []))
    record = lima.load_log(file)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = lima.recompute(record, given)
    for warning in caught:
        _say(f"lima: warning: {warning.message}")
    results = found if isinstance(found, dict) else dict.fromkeys(record.outputs, found)
    for name, value in results.items():
        sure = name in record.checks and not caught
        typer.echo(f"{name}{' (the bits that were logged)' if sure else ''}: {_shown(value)}")
    if out is not None:
        _write_npz(out, results)


def _input(text: str) -> tuple[str, Any]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise typer.BadParameter(f"{text!r}: write NAME=x.npy", param_hint="--input")
    try:
        return name, np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise Failure(f"{path}: no array that NumPy can load: {error}") from error


def _write_npz(path: Path, results: dict[str, Any]) -> None:
    """As `np.savez`, which cannot write arrays named `file` or `allow_pickle`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in results.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(value), allow_pickle=False)


def _shown(value: Any) -> str:
    array = np.asarray(value)
    if not array.shape:
        return f"{array.dtype} {array[()]}"
    text = np.array2string(array, threshold=20, edgeitems=3, max_line_width=88)
    kind = f"{array.dtype}{list(array.shape)}"
    return f"{kind} {text}" if "\n" not in text else f"{kind}\n{text}"
