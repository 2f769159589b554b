"""Values that cross to another machine: written once, and checked by a cryptographic digest.

An entry becomes a *record*, JSON that says which key, which environment, which arrays, and how it
was made, and files of arrays that are named by their BLAKE2b digest. Who reads a record believes
nothing of it: the lineage must have the digests that it states, the arrays the bytes, the headers
and the sizes. So a hostile place can give wrong numbers under a right name, as whoever may write
to a store can, and nothing else. A digest of a whole export rules that out, too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Iterable
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from xxhash import xxh3_128, xxh3_128_digest

from lima import objects
from lima.ancestry import rebuilt
from lima.catalog import KINDS, MAX_PARTS, MIXED, Row, Stored, evict, insert
from lima.errors import LogError, StoreError
from lima.objects import Broken, Part, read_form
from lima.remotes import Folder, Place, read
from lima.upkeep import CALL

if TYPE_CHECKING:
    from lima.store import Store

FORMAT = "lima entry 1"

MAX_RECORD = 1 << 22
"""Bytes of the longest record; what has a longer lineage stays where it is."""

MAX_MANIFEST = 1 << 26
"""Bytes of the longest list of records."""


class Moved(NamedTuple):
    """What crossed: entries, bytes of arrays, entries that were there already, and left out."""

    entries: int
    nbytes: int
    there: int
    left: int


class Record(NamedTuple):
    """An entry as it crosses."""

    entry: Stored
    digests: tuple[str, ...]  # BLAKE2b of each array, "" for those that lie in the record
    facts: str
    lima: str
    rows: tuple[Row, ...]


def name_of(key: bytes, env: bytes) -> str:
    return f"entries/{key.hex()}-{env.hex()}.json"


def key_of(name: str) -> tuple[bytes, bytes] | None:
    """Key and environment of the record of this name; None for any other name."""
    stem, _, kind = name.partition(".")
    try:
        key, env = map(bytes.fromhex, stem.split("-"))
    except ValueError:
        return None
    good = kind == "json" and (len(key), len(env)) == (16, 16)
    return (key, env) if good and f"entries/{name}" == name_of(key, env) else None


def blake(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()


# --------------------------------------------------------------------------- out


def push(store: Store, place: Place) -> Moved:
    """Write all entries that `place` does not have; arrays first, so that records are whole."""
    there = set(place.names("entries"))
    moved = [0, 0, 0, 0]
    for key, env in store.catalog.rows("SELECT key, env FROM entries"):
        if name_of(key, env).rpartition("/")[2] in there:
            moved[2] += 1
            continue
        nbytes = push_one(store, place, key, env)
        if nbytes is None:
            moved[3] += 1
        else:
            moved[0] += 1
            moved[1] += nbytes
    return Moved(*moved)


def push_one(store: Store, place: Place, key: bytes, env: bytes) -> int | None:
    """Write an entry; the bytes of its arrays, or None if it is not whole or too long."""
    try:
        record = _record(store, key, env)
        if record is None:
            return None
        text = spelled(record)
        if len(text) > MAX_RECORD:
            return None
        for part, digest in zip(record.entry.parts, record.digests, strict=True):
            name = f"objects/{digest}.npy"
            if digest and place.size(name) != part.nbytes:
                place.send(name, store.objects / objects.file_name(part.name))
    except (Broken, LogError, StoreError, FileNotFoundError):
        return None
    place.send(name_of(key, env), text)
    return sum(part.nbytes for part in record.entry.parts)


def export(store: Store, folder: Folder) -> tuple[Moved, str]:
    """`push` into a folder, with a list of all records; and the digest of that list."""
    moved = push(store, folder)
    lines = []
    for name in sorted(folder.names("entries")):
        if key_of(name) is not None:
            lines.append(f"{name} {blake(read(folder, 'entries/' + name, MAX_RECORD))}\n")
    text = "".join(lines).encode("ascii")
    folder.send("MANIFEST", text)
    return moved, blake(text)


def _record(store: Store, key: bytes, env: bytes) -> Record | None:
    found = [one for one in store.catalog.find(key, now=True) if one.env == env]
    query = (
        "SELECT f.facts, ifnull(r.lima, '') FROM entries e JOIN environments f USING (env) "
        "LEFT JOIN runs r ON r.id = e.run WHERE e.key=? AND e.env=?"
    )
    facts = store.catalog.rows(query, (key, env))
    if not found or not facts:
        return None
    rows = _ancestors(store, key)
    _check_lineage(key, rows)
    digests = tuple(_digest_of(store, part) for part in found[0].parts)
    return Record(found[0], digests, facts[0][0], facts[0][1], rows)


def _digest_of(store: Store, part: Part) -> str:
    """The BLAKE2b digest of a file that is as it was written."""
    if part.inline is not None:
        return ""
    strong, quick = hashlib.blake2b(digest_size=32), xxh3_128()
    with open(store.objects / objects.file_name(part.name), "rb") as stream:
        while piece := stream.read(objects.PIECE):
            strong.update(piece)
            quick.update(piece)
    if quick.digest() != part.name:
        raise Broken("its bytes have changed")
    return strong.hexdigest()


def _ancestors(store: Store, root: bytes) -> tuple[Row, ...]:
    """The rows of all that a value was made of, inputs before users."""
    query = "SELECT digest, op, height, name, inputs, text FROM nodes WHERE digest=?"
    found: dict[bytes, Row] = {}
    order: list[Row] = []
    todo: list[tuple[bytes, bool]] = [(root, False)]
    while todo:
        digest, done = todo.pop()
        if done:
            order.append(found[digest])
        elif digest not in found:
            rows = store.catalog.rows(query, (digest,))
            if not rows or type(rows[0][4]) is not bytes:
                raise LogError("a part of the lineage is missing")
            row = found[digest] = Row(*rows[0])
            todo.append((digest, True))
            todo += [(row.inputs[k : k + 16], False) for k in range(0, len(row.inputs), 16)]
    return tuple(order)


def _check_lineage(key: bytes, rows: tuple[Row, ...]) -> None:
    """Raise LogError where a row has not the digest of what it says, or is not asked for."""
    own = rows[-1] if rows else None
    if own is None or own.digest != key or len({row.digest for row in rows}) != len(rows):
        raise LogError("the lineage is damaged")
    nodes = rows[:-1] if own.op == CALL else rows
    made = {row.digest for row in nodes}
    asked = {row.inputs[k : k + 16] for row in rows for k in range(0, len(row.inputs), 16)}
    if not made <= asked | {key} or not asked <= made:
        raise LogError("the lineage is damaged")
    remade = rebuilt([(row.digest, row.inputs, row.text) for row in nodes])
    for row in nodes:
        node = remade[row.digest]
        if (row.op, row.height, row.name) != (node.spec.op, node.height, node.name):
            raise LogError("the lineage is damaged")


def spelled(record: Record) -> bytes:
    """A record as text."""
    entry = record.entry
    parts = [
        {
            "digest": digest,
            "name": part.name.hex(),
            "nbytes": part.nbytes,
            "form": part.form.text(),
            "inline": None if part.inline is None else base64.b64encode(part.inline).decode(),
        }
        for part, digest in zip(entry.parts, record.digests, strict=True)
    ]
    nodes = [
        [row.digest.hex(), row.op, row.height, row.name, row.inputs.hex(), row.text]
        for row in record.rows
    ]
    return json.dumps(
        {
            "format": FORMAT,
            "key": entry.key.hex(),
            "env": entry.env.hex(),
            "facts": record.facts,
            "lima": record.lima,
            "kind": entry.kind,
            "seconds": entry.seconds,
            "height": entry.height,
            "parts": parts,
            "nodes": nodes,
        }
    ).encode()


# --------------------------------------------------------------------------- in


def parsed(text: bytes, key: bytes, env: bytes) -> Record:
    """The record of a key that `spelled` wrote; raises Broken for any other text."""
    try:
        return _parsed(text, key, env)
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError, OverflowError) as why:
        raise Broken(f"it is no record of an entry: {why}") from None
    except LogError as why:
        raise Broken(str(why)) from None


def _parsed(text: bytes, key: bytes, env: bytes) -> Record:
    said = json.loads(text)
    if said["format"] != FORMAT or (said["key"], said["env"]) != (key.hex(), env.hex()):
        raise Broken("it is the record of another entry")
    facts, lima, kind = said["facts"], said["lima"], said["kind"]
    seconds, height = said["seconds"], said["height"]
    if any(type(word) is not str for word in (facts, lima, kind)) or kind not in KINDS:
        raise Broken("it is no record of an entry")
    if type(seconds) is not float or not 0.0 <= seconds < 1e9 or not _is_count(height):
        raise Broken("it is no record of an entry")
    if env != (MIXED if facts == "{}" else xxh3_128_digest(facts.encode())):
        raise Broken("its environment is another one than it says")
    parts = [_part(one) for one in said["parts"]]
    if not 0 < len(parts) <= MAX_PARTS:
        raise Broken(f"it is made of {len(parts)} arrays")
    rows = tuple(_row(*one) for one in said["nodes"])
    _check_lineage(key, rows)
    if (kind == "call") != (rows[-1].op == CALL):
        raise Broken("it is no record of an entry")
    entry = Stored(key, env, kind, seconds, height, tuple(part for part, _ in parts))
    return Record(entry, tuple(digest for _, digest in parts), facts, lima[:100], rows)


def _is_count(n: Any) -> bool:
    return type(n) is int and 0 <= n < 2**48


def _part(said: Any) -> tuple[Part, str]:
    name, nbytes, digest = bytes.fromhex(said["name"]), said["nbytes"], said["digest"]
    if len(name) != 16 or not _is_count(nbytes) or type(digest) is not str:
        raise Broken("it is no record of an entry")
    inline = said["inline"]
    if inline is None:
        if len(bytes.fromhex(digest)) != 32 or digest != digest.lower() or len(digest) != 64:
            raise Broken("it has no digest")
        return Part(name, nbytes, read_form(said["form"]), None), digest
    try:
        raw = base64.b64decode(inline, validate=True)
    except binascii.Error as error:
        raise Broken(str(error)) from None
    return Part(name, nbytes, read_form(said["form"]), raw), ""


def _row(digest: str, op: str, height: int, name: str | None, inputs: str, text: str) -> Row:
    words = (digest, op, inputs, text, name or "")
    if any(type(word) is not str for word in words) or not _is_count(height):
        raise Broken("it is no record of an entry")
    if len(bytes.fromhex(digest)) != 16 or len(bytes.fromhex(inputs)) % 16:
        raise Broken("it is no record of an entry")
    return Row(bytes.fromhex(digest), op, height, name, bytes.fromhex(inputs), text)


def pull(store: Store, place: Place, digest: str | None = None) -> Moved:
    """Take over all entries that the store does not have. `digest`: that of an export, without
    which nobody vouches for the numbers."""
    listed = None if digest is None else _listed(place, digest)
    moved = [0, 0, 0, 0]
    for name in list(place.names("entries") if listed is None else listed):
        found = key_of(name)
        if found is None:
            moved[3] += 1
        elif [one for one in store.catalog.find(found[0], now=True) if one.env == found[1]]:
            moved[2] += 1
        else:
            try:
                moved[1] += pull_one(store, place, *found, listed[name] if listed else None)
                moved[0] += 1
            except (Broken, FileNotFoundError, StoreError) as error:
                store.trouble.note("an entry of the remote store is left out", error)
                moved[3] += 1
    return Moved(*moved)


def _listed(place: Place, digest: str) -> dict[str, str]:
    """The records of an export, with the digest of each."""
    try:
        text = read(place, "MANIFEST", MAX_MANIFEST)
    except FileNotFoundError:
        raise StoreError("there is no MANIFEST: `lima store export` makes one") from None
    if blake(text) != digest.lower():
        raise StoreError("the list of entries has another digest: it is not that export")
    lines = text.decode("ascii").splitlines()
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}


def pull_one(store: Store, place: Place, key: bytes, env: bytes, digest: str | None = None) -> int:
    """Take over one entry; the bytes of its arrays. Raises Broken where it is not what it says."""
    text = read(place, name_of(key, env), MAX_RECORD)
    if digest is not None and blake(text) != digest:
        raise Broken("its record has another digest than the list says")
    record = parsed(text, key, env)
    return take(store, place, record)


def take(store: Store, place: Place, record: Record) -> int:
    """Bring the arrays of a record, and note the entry."""
    parts = record.entry.parts
    nbytes = sum(part.nbytes for part in parts)
    if nbytes > store.budget:
        raise Broken(f"{nbytes:,} bytes, more than the budget of the store")
    for part, digest in zip(parts, record.digests, strict=True):
        if part.inline is None and not objects.is_whole(store.objects, part):
            _bring(store, place, part, digest)
        else:
            objects.read(part, store.objects)  # digest, header and form
    _note(store, record)
    return nbytes


def _bring(store: Store, place: Place, part: Part, digest: str) -> None:
    """Copy a file into the store, if its size and its digest are those that were promised."""
    name = f"objects/{digest}.npy"
    size = place.size(name)
    if size != part.nbytes:
        raise Broken(f"{name}: {size} bytes instead of {part.nbytes}")

    def pieces() -> Iterable[bytes]:
        strong = hashlib.blake2b(digest_size=32)
        for piece in place.pieces(name, part.nbytes):
            strong.update(piece)
            yield piece
        if strong.hexdigest() != digest:
            raise Broken(f"{name}: its bytes have another digest")

    objects.receive(pieces(), part, store.objects, store.writer.aside)
    try:
        objects.read(part, store.objects)  # digest, header and form
    except Broken:
        objects.discard(store.objects / objects.file_name(part.name))
        raise


def _note(store: Store, record: Record) -> None:
    entry, writer = record.entry, store.writer

    def step(change: Any) -> list[bytes] | None:
        if not all(objects.is_whole(store.objects, part) for part in entry.parts):
            return None
        query = "INSERT OR IGNORE INTO environments VALUES (?, ?)"
        change.execute(query, (entry.env, record.facts))
        run = writer.run_of(change, record.lima)
        held = insert(change, entry, record.rows, time(), run)
        return evict(change, store.budget) if held > store.budget else []

    freed = store.catalog.change(step)
    if freed is None:
        raise Broken("its files were cleared away")
    store.catalog.known.add(entry.key)
    if freed:
        writer.remove(freed)


def local(where: str | os.PathLike[str], place: Place) -> Folder:
    """The place if it is a folder; raises StoreError for any other."""
    if not isinstance(place, Folder):
        raise StoreError(f"{os.fspath(where)}: export goes to a folder; `push` goes anywhere")
    return place
