"""Commands over lineage logs: print, rebuild, recompute."""

from __future__ import annotations

import sys
import warnings
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import lima
from lima.cli.base import Failure, app, say

LogFile = Annotated[Path, typer.Argument(metavar="FILE", help="A lineage log, or STORE/KEY.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=x.npy", help="The array of a leaf; repeatable."),
]


def loaded(file: Path) -> lima.Lineage:
    """The lineage in a log; warnings go to stderr, each on a line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = lima.load_log(file)
    for warning in caught:
        say(f"lima: warning: {warning.message}")
    return record


@app.command("log")
def _log(
    file: LogFile,
    origins: Annotated[
        bool, typer.Option("--lines", help="With the lines of the program, if they are known.")
    ] = False,
) -> None:
    """Check a lineage log and print it."""
    for line in loaded(file).lines(origins):
        sys.stdout.write(line)
    sys.stdout.flush()


@app.command("to-python")
def _to_python(
    file: LogFile,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write.")] = None,
) -> None:
    """Write a lineage log as a program that needs NumPy alone."""
    text = lima.to_python(loaded(file))
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, "utf-8")


@app.command("recompute")
def _recompute(
    file: LogFile,
    inputs: Inputs = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="An .npz to write.")] = None,
) -> None:
    """Compute the results of a lineage log again and compare them with what was logged."""
    given = dict(map(array_of, inputs or []))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = lima.load_log(file)
        caught.clear()  # recomputing says the same
        found = lima.recompute(record, given)
    for warning in caught:
        say(f"lima: warning: {warning.message}")
    results = found if isinstance(found, dict) else dict.fromkeys(record.outputs, found)
    for name, value in results.items():
        sure = name in record.checks and not caught
        typer.echo(f"{name}{' (the bits that were logged)' if sure else ''}: {_shown(value)}")
    if out is not None:
        _write_npz(out, results)


def array_of(text: str) -> tuple[str, Any]:
    """Name and array of an option `NAME=x.npy`."""
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
