"""The commands `lima store ...`: what a store holds, whether it is whole, clearing away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

import lima
from lima.cli.base import app

commands = typer.Typer(help="Look at a store of results on disk, and clear it away.")
app.add_typer(commands, name="store")

Place = Annotated[
    Path | None,
    typer.Argument(metavar="[PATH]", help="The store; default: $LIMA_STORE.", show_default=False),
]


def _place(path: Path | None) -> Path:
    found = path or Path(os.environ.get("LIMA_STORE", ""))
    if not (path or os.environ.get("LIMA_STORE")):
        raise lima.StoreError("which store? give its path, or set LIMA_STORE")
    if not (found / "index.sqlite").exists():
        raise lima.StoreError(f"{found}: there is no store")
    return found


def is_store(path: Path) -> bool:
    """Whether a folder is a store."""
    return (path / "index.sqlite").is_file()


def stored(path: Path) -> dict[str, list[Any]]:
    """The values of a store as columns, the dearest first."""
    query = (
        "SELECT substr(digest, 1, 16) AS key, iif(op = '(call)', 'call of ' || (SELECT value "
        "FROM parameters WHERE id = nodes.id AND name = 'function'), op) AS operation, "
        "iif(op = '(call)', NULL, stored.shape) AS shape, nbytes AS bytes, "
        "stored.seconds AS saves, hits AS uses, used, "
        "program, function || ' (' || file || ':' || line || ')' AS line "
        "FROM stored JOIN nodes USING (id) ORDER BY stored.seconds DESC"
    )
    return lima.sql(path, query).table()


def everything(path: Path) -> lima.Lineage:
    """The lineage of all values of a store; results are called by how their keys begin."""
    outputs = {}
    with lima.Store(path) as store:
        for row in store.ls():
            key = row.key[:16]
            for name, node in store.lineage(row.key).results.items():
                outputs[key if name == "result" else f"{key}.{name}"] = node
    return lima.Lineage(outputs)


@commands.command("info")
def _info(path: Place = None) -> None:
    """Show numbers of a store."""
    with lima.Store(_place(path)) as store:
        for name, value in store.info().items():
            shown = f"{value:,}" if type(value) is int else value
            typer.echo(f"{name:28} {shown}")


@commands.command("ls")
def _ls(
    path: Place = None,
    most: Annotated[int, typer.Option("-n", help="How many, the dearest first.")] = 50,
) -> None:
    """List the values of a store: key, bytes, seconds that a use saves, uses, operation."""
    with lima.Store(_place(path)) as store:
        rows = store.ls()
    for row in rows[:most]:
        where = "" if row.here else "  (of another environment)"
        size = f"{row.nbytes:>14,} B {row.seconds:10.4f} s {row.hits:6} uses"
        typer.echo(f"{row.key[:16]} {size}  {row.operation}{where}")
    if len(rows) > most:
        typer.echo(f"... and {len(rows) - most} more")


@commands.command("log")
def _log(path: Path, key: Annotated[str, typer.Argument(help="A key, or how it begins.")]) -> None:
    """Show how a value was made, from its first leaf on."""
    with lima.Store(_place(path)) as store:
        typer.echo(store.log(key), nl=False)


@commands.command("verify")
def _verify(path: Place = None) -> int:
    """Read everything and compare it with what was written; 1 if something is broken."""
    with lima.Store(_place(path)) as store:
        faults = store.verify()
    for fault in faults:
        typer.echo(fault)
    typer.echo(f"{len(faults) or 'no'} faults{'; `lima store gc` mends' if faults else ''}")
    return 1 if faults else 0


@commands.command("gc")
def _gc(
    path: Place = None,
    max_bytes: Annotated[
        int | None, typer.Option("--max-bytes", help="What may stay, in bytes.", min=0)
    ] = None,
) -> None:
    """Take out what is broken, what nobody refers to, and what is over the budget."""
    place = _place(path)
    try:
        store = lima.Store(place)
    except lima.StoreError as error:
        store = lima.Store.renewed(place)
        typer.echo(f"{error}; begun anew, the old index is broken.sqlite")
    with store:
        gone = store.gc(max_bytes)
    typer.echo(f"{gone.entries} values, {gone.nbytes:,} bytes, {gone.nodes} nodes of lineage")


Remote = Annotated[
    str, typer.Argument(metavar="REMOTE", help="A folder, or an address such as s3://bucket/lima.")
]


def _told(done: str, moved: Any) -> None:
    left = f", {moved.left} left out" if moved.left else ""
    typer.echo(
        f"{moved.entries} values {done} ({moved.nbytes:,} bytes), {moved.there} there before{left}"
    )


@commands.command("push")
def _push(remote: Remote, path: Place = None) -> None:
    """Write what another place lacks: values and their lineage."""
    with lima.Store(_place(path)) as store:
        _told("pushed", store.push(remote))


@commands.command("pull")
def _pull(
    remote: Remote,
    path: Place = None,
    digest: Annotated[
        str | None,
        typer.Option("--digest", help="That of an export: anything else is refused."),
    ] = None,
) -> None:
    """Take over what another place has, and this store lacks; the store is made if need be."""
    found = path or Path(os.environ.get("LIMA_STORE", ""))
    if found == Path(""):
        raise lima.StoreError("which store? give its path, or set LIMA_STORE")
    with lima.Store(found) as store:
        _told("pulled", store.pull(remote, digest))


@commands.command("export")
def _export(folder: Remote, path: Place = None) -> None:
    """Write everything into a folder; shows the digest that `pull --digest` asks for."""
    with lima.Store(_place(path)) as store:
        moved, digest = store.export(folder)
    _told("written", moved)
    typer.echo(digest)
