"""Upkeep of a store: what is in it, whether it is whole, and clearing away."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from lima import objects
from lima.ancestry import rebuilt, stand
from lima.catalog import Stored, evict, fact, forget
from lima.errors import LogError, StoreError
from lima.graph import topological
from lima.log import Log, lines
from lima.node import Node
from lima.objects import Broken

if TYPE_CHECKING:
    from lima.store import Store


CALL = "(call)"
"""The operation in the row of a whole call, whose inputs are the arrays that it gave.

No operation has such a name, so no log can mention it.
"""


class Listed(NamedTuple):
    """One value of a store: key in hexadecimal, operation, bytes, seconds saved by a use, uses."""

    key: str
    operation: str
    nbytes: int
    seconds: float
    hits: int
    used: float
    here: bool  # whether it was made in the numeric environment of this process


class Kept(NamedTuple):
    """A value that a store holds: seconds that a use saves, uses, bytes, form of its array."""

    seconds: float
    uses: int
    nbytes: int
    shape: tuple[int, ...]
    dtype: str


class Told(NamedTuple):
    """What is known of a value: the lineage of its arrays by name, where it was computed.

    kept   the nodes whose values the store holds, by digest
    value  the value itself, if it is one array that can be read
    """

    digest: bytes
    results: dict[str, Node]
    facts: dict[str, str]
    kept: dict[bytes, Kept]
    value: Any


class Cleared(NamedTuple):
    """What a clearing took away."""

    entries: int
    nbytes: int
    nodes: int


def info(store: Store) -> dict[str, Any]:
    """Numbers of a store: entries, bytes, files, nodes, runs, environments."""
    (row,) = store.catalog.rows(
        "SELECT (SELECT count(*) FROM entries), (SELECT value FROM facts WHERE name='bytes'), "
        "(SELECT count(*) FROM nodes), (SELECT count(*) FROM runs), "
        "(SELECT count(*) FROM entries WHERE env=?), (SELECT count(*) FROM environments)",
        (store.env,),
    )
    entries, nbytes, nodes, runs, here, environments = row
    files = list(_files(store.objects))
    return {
        "path": os.fspath(store.path),
        "entries": entries,
        "entries of this environment": here,
        "bytes": int(nbytes),
        "budget": store.budget,
        "files": len(files),
        "bytes of files": sum(size for _, size in files),
        "nodes": nodes,
        "runs": runs,
        "environments": environments,
        "read-only": store.readonly,
    }


def listed(store: Store) -> list[Listed]:
    """The values of a store, the dearest first."""
    rows = store.catalog.rows(
        "SELECT e.key, ifnull(n.text, ''), e.nbytes, e.seconds, e.hits, e.used, e.env=? "
        "FROM entries e LEFT JOIN nodes n ON n.digest = e.key ORDER BY e.seconds DESC",
        (store.env,),
    )
    return [Listed._make((bytes(row[0]).hex(), *row[1:6], bool(row[6]))) for row in rows]


def log(store: Store, key: str) -> str:
    """The log of the lineage of a value, without its values; `key` may be cut short."""
    digest = digest_of(store, key)
    return "".join(lines(Log(results(store, digest), {}, facts_of(store, digest))))


def told(store: Store, key: str) -> Told:
    """All that is known of a value, or of an ancestor of one. Looking at it is no use of it."""
    digest = digest_of(store, key)
    made = results(store, digest)
    query = (
        "SELECT e.seconds, e.hits, e.nbytes, p.form FROM entries e JOIN parts p USING (key, env) "
        "WHERE key=? AND p.place=0 ORDER BY env<>? LIMIT 1"
    )
    kept = {}
    for node in {node.digest: node for node in topological(made.values())}.values():
        for row in store.catalog.rows(query, (node.digest, store.env)):
            form = objects.read_form(row[3])
            kept[node.digest] = Kept(
                float(row[0]), int(row[1]), int(row[2]), form.shape, form.dtype
            )
    return Told(digest, made, facts_of(store, digest), kept, _value(store, digest))


def _value(store: Store, digest: bytes) -> Any:
    found = [one for one in store.catalog.find(digest, now=True) if one.kind == "one"]
    found.sort(key=lambda one: one.env != store.env)
    try:
        return objects.read(found[0].parts[0], store.objects) if found else None
    except (Broken, OSError):
        return None


def results(store: Store, digest: bytes) -> dict[str, Node]:
    """The lineage of a value, by the names that a log gives to results; a call may have several."""
    query = "SELECT inputs FROM nodes WHERE digest=? AND op=?"
    calls = store.catalog.rows(query, (digest, CALL))
    inputs = calls[0][0] if calls else digest
    if type(inputs) is not bytes or not inputs or len(inputs) % 16:
        raise StoreError(f"{digest.hex()}: a call that gave no array has no lineage")
    roots = [inputs[k : k + 16] for k in range(0, len(inputs), 16)]
    return {
        "result" if k == 0 else f"result{k + 1}": lineage(store, root.hex())
        for k, root in enumerate(roots)
    }


def facts_of(store: Store, digest: bytes) -> dict[str, str]:
    """The environment in which a value was computed; ours, if it is none or was computed in it."""
    rows = store.catalog.rows(
        "SELECT f.facts FROM entries e JOIN environments f USING (env) WHERE e.key=? "
        "ORDER BY e.env<>?",
        (digest, store.env),
    )
    facts = json.loads(rows[0][0] if rows else store.facts)
    return {str(name): str(value) for name, value in facts.items()}


def lineage(store: Store, key: str) -> Node:
    """The lineage of a value or of any of its ancestors, from the index alone."""
    return below(store, digest_of(store, key), {})


def below(store: Store, root: bytes, known: dict[bytes, Node], most: float = math.inf) -> Node:
    """The lineage of a node down to those that are `known`, which learn of the others.

    Raises StoreError where it is not there, is damaged, or has more than `most` other nodes.
    """
    found: dict[bytes, tuple[bytes, bytes, str]] = {}
    todo: list[tuple[bytes, bool]] = [(root, False)]
    order: list[bytes] = []
    while todo:
        digest, done = todo.pop()
        if done:
            order.append(digest)
        elif digest not in found and digest not in known:
            rows = store.catalog.rows("SELECT inputs, text FROM nodes WHERE digest=?", (digest,))
            if not rows:
                raise StoreError(f"{digest.hex()}: its lineage is not in the store")
            inputs, text = rows[0]
            if type(inputs) is not bytes:
                raise StoreError(f"{digest.hex()}: its lineage is damaged")
            found[digest] = (digest, inputs, text)
            if len(found) > most:
                raise StoreError(f"{root.hex()}: its lineage is long")
            todo.append((digest, True))
            todo += [(inputs[k : k + 16], False) for k in range(0, len(inputs), 16)]
    try:
        made = rebuilt([found[digest] for digest in order], known)
        stand(store.catalog, made.values())
        return made[root]
    except LogError as error:
        raise StoreError(f"{root.hex()}: {error}") from error


def digest_of(store: Store, key: str) -> bytes:
    """The one digest that begins with `key`."""
    try:
        low = bytes.fromhex(key + "0" * (32 - len(key)))
        high = bytes.fromhex(key + "f" * (32 - len(key)))
    except ValueError:
        raise StoreError(f"{key!r} is no digest: give hexadecimal digits") from None
    query = "SELECT digest FROM nodes WHERE digest BETWEEN ? AND ? LIMIT 2"
    found = store.catalog.rows(query, (low, high))
    if len(found) != 1:
        raise StoreError(
            f"{key!r} is the beginning of {'no' if not found else 'more than one'} key"
        )
    return bytes(found[0][0])


# --------------------------------------------------------------------------- verify


class Fault(NamedTuple):
    """Something that is not as it was written. `entry` is its key and environment."""

    what: str
    entry: tuple[Any, Any] | None = None


def faults(store: Store) -> list[Fault]:
    """Read everything and tell what is broken."""
    try:
        return list(_faults(store))
    except store.catalog.error as error:
        return [Fault(f"the index cannot be read: {error}")]


def _faults(store: Store) -> Iterator[Fault]:
    for (text,) in store.catalog.rows("PRAGMA integrity_check(10)"):
        if text != "ok":
            yield Fault(f"the index: {text}")
    for key, env in store.catalog.rows("SELECT key, env FROM entries"):
        name = key.hex() if type(key) is bytes else repr(key)
        try:
            found = [one for one in store.catalog.find(key, now=True) if one.env == env]
            if not found:
                raise Broken("it has no parts")
            _read(store, found[0])
        except (Broken, OSError) as error:
            there = "SELECT 1 FROM entries WHERE key=? AND env=?"
            if not store.catalog.rows(there, (key, env)):
                continue  # another process has just made room
            said = "its file is missing" if isinstance(error, FileNotFoundError) else str(error)
            yield Fault(f"{name}: {said}", (key, env))


def _read(store: Store, found: Stored) -> None:
    for part in found.parts:
        objects.read(part, store.objects)


# --------------------------------------------------------------------------- clearing away


def clear(store: Store, budget: int | None = None) -> Cleared:
    """Take out what is broken, unused or over the budget; what nobody refers to is deleted.

    An index that cannot be read is set aside, and a new one begun: the files of its values say
    nothing of how they were made, so they go as well.
    """
    if store.readonly:
        raise StoreError(f"{store.path} cannot be written")
    store.turns.leases.mend()
    found = faults(store)
    if any(fault.entry is None for fault in found):
        store.renew()
        found = []
    broken = [fault.entry for fault in found if fault.entry is not None]
    limit = store.budget if budget is None else budget

    def step(writer: Any) -> tuple[int, int]:
        count = "SELECT count(*) FROM entries"
        before = writer.execute(count).fetchone()[0]
        for key, env in broken:
            forget(writer, key, env)
        writer.execute("DELETE FROM parts WHERE (key, env) NOT IN (SELECT key, env FROM entries)")
        held = "SELECT ifnull(sum(nbytes), 0) FROM entries"
        writer.execute(f"UPDATE facts SET value=({held}) WHERE name='bytes'")
        evict(writer, limit)
        after = writer.execute(count).fetchone()[0]
        return before - after, _clear_nodes(writer)

    entries, nodes = store.catalog.change(step)
    freed = objects.sweep(store.writer.aside, time())
    freed += store.writer.remove([name for name, _ in _files(store.objects)])
    return Cleared(entries, freed, nodes)


def _clear_nodes(writer: Any) -> int:
    """Delete the nodes that lead to no entry; those who noted what is recorded learn of it."""
    writer.execute("CREATE TEMP TABLE IF NOT EXISTS reached (digest BLOB PRIMARY KEY)")
    writer.execute("DELETE FROM reached")
    todo = [row[0] for row in writer.execute("SELECT DISTINCT key FROM entries")]
    while todo:
        digest = todo.pop()
        made = writer.execute("INSERT OR IGNORE INTO reached VALUES (?)", (digest,))
        if made.rowcount:
            row = writer.execute("SELECT inputs FROM nodes WHERE digest=?", (digest,)).fetchone()
            inputs = row[0] if row is not None else b""
            todo += [inputs[k : k + 16] for k in range(0, len(inputs), 16)]
    gone = writer.execute("DELETE FROM nodes WHERE digest NOT IN (SELECT digest FROM reached)")
    if writer.execute("SELECT 1 FROM sqlite_schema WHERE name='lines'").fetchone():
        writer.execute("DELETE FROM lines WHERE digest NOT IN (SELECT digest FROM reached)")
    if gone.rowcount:
        writer.execute("INSERT OR REPLACE INTO facts VALUES ('epoch', ?)", (_later(writer),))
    return int(gone.rowcount)


def _later(writer: Any) -> float:
    return fact(writer, "epoch") + 1.0


def _files(folder: Path) -> Iterator[tuple[bytes, int]]:
    """Digests and sizes of the files of arrays."""
    with os.scandir(folder) as found:
        for entry in found:
            stem = entry.name.removesuffix(".npy")
            try:
                name = bytes.fromhex(stem)
            except ValueError:
                continue
            if len(name) == 16 and entry.name == objects.file_name(name):
                yield name, entry.stat(follow_symlinks=False).st_size


def set_aside(folder: Path) -> bool:
    """Give an index that cannot be used another name, so that a new one is begun."""
    path = folder / "index.sqlite"
    if not path.exists():
        return False
    for suffix in ("", "-wal", "-shm"):
        old = folder / f"index.sqlite{suffix}"
        if old.exists():
            os.replace(old, folder / f"broken.sqlite{suffix}")
    return True
