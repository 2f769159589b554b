"""Commands that ask lineage logs: show, compare, search, verify, draw, export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import lima
from lima.cli.base import app
from lima.cli.logs import Inputs, LogFile, array_of, loaded
from lima.cli.stores import everything, is_store, stored
from lima.cli.tables import FORMS, check_form, plain

Form = Annotated[str, typer.Option("--format", "-f", help=", ".join(FORMS))]


@app.command("show")
def _show(
    file: LogFile,
    depth: Annotated[int, typer.Option(help="Levels below a result.")] = 10,
    lines: Annotated[int, typer.Option(help="Lines in all.")] = 200,
) -> None:
    """Show how the results of a log were made, as a tree."""
    record = loaded(file)
    typer.echo(repr(record))
    typer.echo(record.tree(depth, lines))


@app.command("diff")
def _diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A lineage log, or STORE/KEY.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    first: Annotated[int, typer.Option(help="Differences to print.")] = 20,
    html: Annotated[
        Path | None, typer.Option("--html", help="Page to write, with both side by side.")
    ] = None,
) -> int:
    """Tell where the results of two logs part; the exit status is 1 if they do."""
    found = lima.diff(a, b, first=first)
    typer.echo(str(found))
    if html is not None:
        html.write_text(found.to_html(), "utf-8")
    return 1 if found.total else 0


@app.command("explain")
def _explain(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A lineage log, a store, or STORE/KEY.")
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A result of the log; a key of a store.")
    ] = None,
    form: Form = "table",
    most: Annotated[int, typer.Option("-n", help="Rows, the first ones.", min=1)] = 50,
) -> None:
    """Tell how results were made: operations, shapes, lines of the program, what a store holds.

    Of a store without a key: its values, the dearest first.
    """
    check_form(form)
    if is_store(file) and name is None:
        _write_table(stored(file), form, most, str(file))
        return
    record = loaded(file / name if name is not None and is_store(file) else file)
    if name is not None and not is_store(file):
        record = record.only(name)
    facts = [f"{key} {record.environment[key]}" for key in MADE if key in record.environment]
    table = lima.explain(record).table()
    if form == "table":
        table = _readable(table)
    _write_table(table, form, most, f"{record!r}\nmade with {', '.join(facts) or 'nothing known'}")


MADE = ("lima", "python", "numpy", "blas", "threads", "machine")
"""Facts of the environment that are shown."""


def _readable(table: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """An explanation for the eye: the line of the program in one cell."""
    places = zip(table.pop("file"), table.pop("line"), table.pop("function"), strict=True)
    why = table.pop("why")
    table["line"] = [
        None if file is None else f"{function} ({Path(file).name}:{line})"
        for file, line, function in places
    ]
    return {**table, "why": why}


def _write_table(table: dict[str, list[Any]], form: str, most: int, head: str) -> None:
    """Print a table; on a terminal, `head` and the first rows."""
    if form != "table":
        typer.echo(FORMS[form](table))
        return
    rows = len(table["operation"])
    typer.echo(head)
    typer.echo(plain({column: values[:most] for column, values in table.items()}))
    if rows > most:
        typer.echo(f"... {rows - most:,} more rows; -n {rows} shows all")


Lines = Annotated[
    str | None, typer.Option(metavar="A:B", help="Lines of what was used: 7, or 10:20.")
]


def _slice(text: str | None, option: str) -> int | slice | None:
    """The lines that `7` or `10:20` means."""
    if text is None:
        return None
    first, colon, last = text.partition(":")
    try:
        ends = [int(end) if end else None for end in (first, last)]
    except ValueError:
        raise typer.BadParameter(f"{text!r}: write 7 or 10:20", param_hint=option) from None
    if colon:
        return slice(*ends)
    if ends[0] is None:
        raise typer.BadParameter(f"{text!r}: write 7 or 10:20", param_hint=option)
    return ends[0]


@app.command("query")
def _query(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A log, a store, or STORE/KEY.")],
    sql: Annotated[str | None, typer.Argument(metavar="[SQL]", help="A SELECT.")] = None,
    op: Annotated[str | None, typer.Option(help="Operation, as linalg.solve or linalg.*.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of leaves or results.")] = None,
    uses: Annotated[str | None, typer.Option(help="Leaf or result that was used.")] = None,
    rows: Lines = None,
    columns: Lines = None,
    led_to: Annotated[str | None, typer.Option(help="Result that was made of it.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Print the number only.")] = False,
    form: Form = "table",
) -> None:
    """List nodes of a log, or of all values of a store: those for which all that is asked holds.

    With --rows or --columns: the results that depend on these lines of what --uses names. With
    a SELECT: what it finds in the tables nodes, edges, names, parameters, literals, seeds,
    environment and stored.
    """
    check_form(form)
    if sql is not None:
        found = lima.sql(file if is_store(file) else loaded(file), sql)
        typer.echo(str(found) if form == "table" else FORMS[form](found.table()))
        return
    record = everything(file) if is_store(file) else loaded(file)
    if rows is not None or columns is not None:
        if uses is None:
            raise typer.BadParameter("of which leaf? name it with --uses", param_hint="--rows")
        lines = {"rows": _slice(rows, "--rows"), "columns": _slice(columns, "--columns")}
        for use in lima.reached(record, uses, **lines).values():
            typer.echo(str(use))
        return
    wanted = [record.find(op, name=name)]
    wanted += [record.descendants(uses)] if uses is not None else []
    wanted += [record.ancestors(led_to)] if led_to is not None else []
    digests = set.intersection(*({node.digest.hex() for node in nodes} for nodes in wanted))
    if count:
        typer.echo(len(digests))
        return
    table = record.table()
    for number, call, digest in zip(table["id"], table["call"], table["digest"], strict=True):
        if digest in digests:
            typer.echo(f"%{number} {call}")


@app.command("verify")
def _verify(file: LogFile, inputs: Inputs = None) -> int:
    """Compute the results of a log again; the exit status is 1 if one differs."""
    found = lima.verify(file, dict(map(array_of, inputs or [])))
    typer.echo(str(found))
    return 0 if found else 1


@app.command("blame")
def _blame(
    file: LogFile,
    result: Annotated[str | None, typer.Option(help="The result; may be left out of one.")] = None,
    inputs: Inputs = None,
) -> None:
    """Tell which operation first made a NaN or an infinity."""
    record = loaded(file)
    if result is not None:
        record = record.only(result)
    typer.echo(str(lima.blame(record, dict(map(array_of, inputs or [])))))


FORMATS: dict[str, Callable[[lima.Lineage], str]] = {
    "dot": lima.Lineage.to_dot,
    "mermaid": lima.Lineage.to_mermaid,
    "svg": lima.Lineage.to_svg,
    "html": lima.Lineage.to_html,
    "prov": lima.Lineage.to_prov,
    "openlineage": lima.Lineage.to_openlineage,
    "json": lambda record: json.dumps(record.table(), indent=1) + "\n",
}
"""What `lima export` writes."""


@app.command("export")
def _export(
    file: LogFile,
    form: Annotated[str, typer.Option("--format", "-f", help=", ".join(FORMATS))],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write.")] = None,
) -> None:
    """Write a log as a picture or in another format."""
    if form not in FORMATS:
        allowed = ", ".join(FORMATS)
        raise typer.BadParameter(f"{form!r} is none of {allowed}", param_hint="--format")
    text = FORMATS[form](loaded(file))
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, "utf-8")
