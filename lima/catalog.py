"""The index of a store: which values there are, how they were made, in an SQLite file.

Two connections, so that a look-up never waits for a change: one reads, one writes. Every change is
one short transaction. Each row that leads from a key to a value carries a seal, the digest of what
it says: SQLite keeps no checksums, and a flipped bit must not turn one key into another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote

import numpy as np
from xxhash import xxh3_128_digest

from lima.known import Known
from lima.objects import MAPPED_BYTES, Broken, Part, read_form

if TYPE_CHECKING:
    from sqlite3 import Connection

VERSION = 1
"""Version of the schema; a store of another one is left alone."""

APPLICATION = 0x6C696D61
"""What tells an index of lima from any other SQLite file."""

MAX_PARTS = 256
"""Arrays that one value may be made of."""

KINDS = frozenset({"one", "tuple", "named", "call", "draw"})
"""What an entry may be: an array, several, several under names, a call, a random draw."""

MIXED = bytes(16)
"""The environment of results that may have come from values of several ones."""

PATIENCE = 10.0
"""Seconds that a change waits for those of other processes."""

READ_PATIENCE = 0.5
"""Seconds that a look-up waits where another process opens or closes the index."""

SHORT_LOG = 1 << 18
"""Bytes of SQLite's log that may be left to the next process: reading it takes 0.2 ms."""

MAX_TEXT = 1 << 20
"""Bytes of the longest text or value in the index."""

SCHEMA = """
CREATE TABLE entries (key BLOB, env BLOB, parts INTEGER, kind TEXT, seconds REAL, height INTEGER,
 nbytes INTEGER, rank REAL, hits INTEGER, created REAL, used REAL, run INTEGER,
 PRIMARY KEY (key, env)) WITHOUT ROWID;
CREATE TABLE parts (key BLOB, env BLOB, place INTEGER, object BLOB, nbytes INTEGER, form TEXT,
 inline BLOB, seal BLOB, PRIMARY KEY (key, env, place)) WITHOUT ROWID;
CREATE TABLE nodes (digest BLOB PRIMARY KEY, op TEXT, height INTEGER, name TEXT, inputs BLOB,
 text TEXT) WITHOUT ROWID;
CREATE TABLE environments (env BLOB PRIMARY KEY, facts TEXT) WITHOUT ROWID;
CREATE TABLE runs (id INTEGER PRIMARY KEY, started REAL, program TEXT, lima TEXT);
CREATE TABLE facts (name TEXT PRIMARY KEY, value REAL) WITHOUT ROWID;
CREATE INDEX by_rank ON entries (rank, used);
CREATE INDEX by_object ON parts (object)
"""

LINES = """
CREATE TABLE lines (digest BLOB PRIMARY KEY, file TEXT, line INTEGER, function TEXT) WITHOUT ROWID
"""
"""A table that is made when the first user's line is noted; stores without it are right as well."""

R = TypeVar("R")


class Stored(NamedTuple):
    """A value that is in the store, before any of it is read."""

    key: bytes
    env: bytes
    kind: str  # of `KINDS`; "named": of the named tuple that the operation gives
    seconds: float
    height: int
    parts: tuple[Part, ...]

    def large(self) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
        """Shape and dtype of one large array; None for any other value."""
        form = self.parts[0].form
        if self.kind != "one" or form.nbytes < MAPPED_BYTES:
            return None
        return form.shape, np.dtype(form.dtype)


class Unusable(Exception):
    """The index cannot be used; the message says why."""


class Newer(Unusable):
    """The index is of another version of lima, and right for that one."""


class Busy(Exception):
    """Other processes kept the index busy for too long."""


def sqlite() -> Any:
    """The module, which takes longer to load than the rest of lima's own modules together."""
    return import_module("sqlite3")


def seal(key: bytes, env: bytes, count: int, kind: str, place: int, part: Part) -> bytes:
    """The digest of what a row of `parts` and its entry say together."""
    words = (count, kind, place, part.name.hex(), part.nbytes, part.form.text())
    return xxh3_128_digest(b"%d;%d;" % (len(key), len(env)) + key + env + repr(words).encode())


def is_busy(error: Exception) -> bool:
    """Whether SQLite only says that others use the index."""
    return bool(re.search("locked|busy", str(error)))


class Catalog:
    """The index in `folder`; made there if it is missing and `readonly` is not set.

    Raises Unusable where there is none that can be used. Other methods raise `sqlite3.Error`, and
    Broken for rows that are not what was written.
    """

    def __init__(self, folder: Path, readonly: bool = False) -> None:
        self.path = folder / "index.sqlite"
        self.readonly = readonly
        self.error: type[Exception] = sqlite().Error
        self._reading, self._writing = Lock(), Lock()
        self._reader: Connection | None = None
        self._writer: Connection | None = None
        self._wrote = False  # more than uses
        self.known = Known()
        if self.path.is_symlink():
            raise Unusable("its index is a link")
        if not readonly and not self._is_made():
            self.change(_found)
        with self._reading:
            self._check(self._connected())

    def _is_made(self) -> bool:
        """Whether there are tables. Who only looks does not write, which waits for the disk."""
        try:
            if self.path.stat().st_size:
                return bool(self.rows("SELECT 1 FROM sqlite_schema LIMIT 1"))
        except (OSError, self.error):  # the change that follows tells what it is
            self.close()
        return False

    # ------------------------------------------------------------ connections

    def _connect(self, how: str, patience: float = READ_PATIENCE) -> Connection:
        sqlite3 = sqlite()
        name = f"file:{quote(os.fspath(self.path.absolute()))}?{how}"
        made: Connection = sqlite3.connect(
            name, uri=True, timeout=patience, isolation_level=None, check_same_thread=False
        )
        made.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_TEXT)
        made.execute("PRAGMA trusted_schema=OFF")
        return made

    def _connected(self) -> Connection:
        if self._reader is None:
            if not self.readonly:
                self._reader = self._connect("mode=ro")
            else:
                try:
                    self._reader = self._connect("mode=ro")
                    self._reader.execute("SELECT 1 FROM facts")
                except self.error:  # no shared memory can be made beside it
                    self._reader = self._connect("mode=ro&immutable=1")
        return self._reader

    def _check(self, made: Connection) -> None:
        """Only our own tables may be asked: a view or trigger of others could do anything."""
        version = made.execute("PRAGMA user_version").fetchone()[0]
        if made.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise Unusable("its index is not one of lima's")
        if version != VERSION:
            raise Newer(f"its index has version {version}, this lima knows version {VERSION}")
        found = made.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
        tables, own = {plain(row[0]) for row in found}, set(map(plain, SCHEMA.split(";")))
        if not own <= tables <= own | {plain(LINES)}:
            raise Unusable("its index has other tables than lima makes")

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._reading, self._writing:
            self._let_go()

    def _let_go(self) -> None:
        """Close both; the last to close a file takes what is in its log into it.

        That waits for the disk some times, so who has only counted uses leaves a short log, as a
        killed process does: the connection that reads closes last. Whoever opens the file next
        reads the log as well.
        """
        pair = [self._writer, self._reader]
        for one in pair if self._leaves_log() else reversed(pair):
            if one is not None:
                one.close()
        self._reader = self._writer = None
        self._wrote = False
        self.known.forget()

    def _leaves_log(self) -> bool:
        if self._wrote:
            return False
        try:
            return os.stat(f"{self.path}-wal").st_size < SHORT_LOG
        except OSError:
            return False

    def before_fork(self) -> None:
        """SQLite's connections must not cross a fork: they are closed, and opened when needed."""
        self._reading.acquire()
        self._writing.acquire()
        self._let_go()

    def after_fork(self) -> None:
        self._writing.release()
        self._reading.release()

    # ------------------------------------------------------------ reading

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query."""
        with self._reading:
            return self._connected().execute(query, values).fetchall()

    def has_lines(self) -> bool:
        """Whether users' lines have been noted."""
        return bool(self.rows("SELECT 1 FROM sqlite_schema WHERE name='lines'"))

    def stream(self, query: str) -> Iterator[Any]:
        """The rows of a query one by one, by a connection of its own that nobody waits for."""
        reader = self._connect("mode=ro")
        try:
            yield from reader.execute(query)
        finally:
            reader.close()

    def find(self, key: bytes, now: bool = False) -> list[Stored]:
        """The values of `key`, one for each numeric environment; raises Broken.

        What another process has just added may be missed, but not where `now` asks for it.
        """
        if not now and self.known.lacks(key):
            return []
        with self._reading:
            reader = self._connected()
            rows = reader.execute(_FIND, (key,)).fetchall()
            if not rows:
                self._learn(reader)
            elif now:
                self.known.add(key)
        return _entries(key, rows) if rows else []

    def _learn(self, reader: Connection) -> None:
        def read(most: int) -> Iterable[bytes]:
            return (row[0] for row in reader.execute("SELECT key FROM entries LIMIT ?", (most,)))

        self.known.learn(reader.execute("PRAGMA data_version").fetchone()[0], read)

    # ------------------------------------------------------------ changing

    def change(self, step: Callable[[Connection], R], counts: bool = False) -> R:
        """What `step` gives, in one transaction; raises Busy where there was no turn for it.

        `counts`: it only counts uses, which may be lost.
        """
        self._wrote = self._wrote or not counts
        until, pause = monotonic() + PATIENCE, 0.0005
        while True:
            try:
                with self._writing:
                    return self._change(step)
            except sqlite().OperationalError as error:
                if not is_busy(error):
                    raise
                if monotonic() > until:
                    raise Busy("other processes keep its index busy") from error
            sleep(pause)  # without the lock
            pause = min(2 * pause, 0.01)

    def _change(self, step: Callable[[Connection], R]) -> R:
        writer = self._writer
        if writer is None:
            writer = self._connect("mode=rwc", 0.0)
            writer.execute("PRAGMA journal_mode=WAL")
            writer.execute("PRAGMA synchronous=NORMAL")
            self._writer = writer
        writer.execute("BEGIN IMMEDIATE")
        try:
            made = step(writer)
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        return made


def plain(sql: str) -> str:
    return " ".join(sql.split())


def _found(writer: Connection) -> None:
    """Make the tables in a new file."""
    if writer.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        return
    for statement in SCHEMA.split(";"):
        writer.execute(statement)
    writer.execute(f"PRAGMA application_id={APPLICATION}")
    writer.execute(f"PRAGMA user_version={VERSION}")
    writer.execute("INSERT INTO facts VALUES ('bytes', 0), ('clock', 0)")


_LOWEST = "SELECT key, env, rank FROM entries ORDER BY rank, used LIMIT 1"

_FIND = """
SELECT e.env, e.parts, e.kind, e.seconds, e.height, p.place, p.object, p.nbytes, p.form, p.inline,
 p.seal FROM entries e JOIN parts p ON p.key = e.key AND p.env = e.env WHERE e.key = ?
 ORDER BY e.env, p.place LIMIT 1024
"""


def _entries(key: bytes, rows: Iterable[Any]) -> list[Stored]:
    """The entries that rows of `_FIND` spell."""
    by_env: dict[bytes, list[Any]] = {}
    for row in rows:
        by_env.setdefault(row[0], []).append(row[1:])
    return [_entry(key, env, group) for env, group in by_env.items()]


def _entry(key: bytes, env: bytes, rows: list[Any]) -> Stored:
    count, kind, seconds, height = rows[0][:4]
    if count != len(rows) or count > MAX_PARTS or kind not in KINDS:
        raise Broken("its index is damaged")
    if type(env) is not bytes or type(seconds) is not float or type(height) is not int:
        raise Broken("its index is damaged")
    parts = []
    for k, (place, name, nbytes, form, inline, sealed) in enumerate(row[4:] for row in rows):
        if type(name) is not bytes or type(nbytes) is not int or place != k:
            raise Broken("its index is damaged")
        if inline is not None and type(inline) is not bytes:
            raise Broken("its index is damaged")
        part = Part(name, nbytes, read_form(form), inline)
        if seal(key, env, count, kind, place, part) != sealed:
            raise Broken("its index is damaged")
        parts.append(part)
    return Stored(key, env, kind, seconds, height, tuple(parts))


# --------------------------------------------------------------------------- changes


class Row(NamedTuple):
    """A node as the index keeps it: `text` is its line of a log, with inputs numbered from 1."""

    digest: bytes
    op: str
    height: int
    name: str | None
    inputs: bytes
    text: str


def insert(writer: Connection, entry: Stored, nodes: Iterable[Row], now: float, run: int) -> int:
    """Add an entry and its lineage; the bytes that the store holds then."""
    nbytes = sum(part.nbytes for part in entry.parts)
    writer.executemany("INSERT OR IGNORE INTO nodes VALUES (?,?,?,?,?,?)", nodes)
    known = writer.execute(
        "SELECT 1 FROM entries WHERE key=? AND env=?", (entry.key, entry.env)
    ).fetchone()
    if known is None:
        rank = fact(writer, "clock") + worth(entry.seconds, nbytes)
        writer.execute(
            "INSERT INTO entries VALUES (?,?,?,?,?,?,?,?,0,?,?,?)",
            (
                *(entry.key, entry.env, len(entry.parts), entry.kind, entry.seconds),
                *(entry.height, nbytes, rank, now, now, run),
            ),
        )
        for place, part in enumerate(entry.parts):
            sealed = seal(entry.key, entry.env, len(entry.parts), entry.kind, place, part)
            writer.execute(
                "INSERT INTO parts VALUES (?,?,?,?,?,?,?,?)",
                (
                    *(entry.key, entry.env, place, part.name, part.nbytes, part.form.text()),
                    *(part.inline, sealed),
                ),
            )
        writer.execute("UPDATE facts SET value=value+? WHERE name='bytes'", (nbytes,))
    return int(fact(writer, "bytes"))


def fact(writer: Connection, name: str) -> float:
    row = writer.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
    return float(row[0]) if row is not None else 0.0


def worth(seconds: float, nbytes: int) -> float:
    """Seconds that a use saves for each byte held."""
    return seconds / (nbytes + 4096)


def touch(writer: Connection, used: Iterable[tuple[bytes, bytes]], now: float) -> None:
    """These entries were used. What is used again gets older than what is not (`evict`)."""
    clock = fact(writer, "clock")
    writer.executemany(
        "UPDATE entries SET hits=hits+1, used=?, rank=max(rank, ?+seconds/(nbytes+4096.0)) "
        "WHERE key=? AND env=?",
        [(now, clock, key, env) for key, env in used],
    )


def evict(writer: Connection, budget: int) -> list[bytes]:
    """Take out what is worth least until the rest fits; the digests of what it was made of.

    An entry ranks by the seconds that a use saves for each byte, on top of the rank of what went
    last: so it ages by what comes and goes, not by a clock that may jump (and decides between
    equals only).
    """
    freed: list[bytes] = []
    while fact(writer, "bytes") > budget:
        row = writer.execute(_LOWEST).fetchone()
        if row is None:
            writer.execute("UPDATE facts SET value=0 WHERE name='bytes'")
            break
        freed += forget(writer, row[0], row[1])
        writer.execute("UPDATE facts SET value=? WHERE name='clock'", (row[2],))
    return freed


def forget(writer: Connection, key: bytes, env: bytes) -> list[bytes]:
    """Take out one entry; the digests of what it was made of."""
    where = " WHERE key=? AND env=?"
    found = writer.execute("SELECT object, nbytes, inline FROM parts" + where, (key, env))
    parts = found.fetchall()
    writer.execute(
        "UPDATE facts SET value=max(0, value-ifnull((SELECT nbytes FROM entries"
        + where
        + "), 0)) WHERE name='bytes'",
        (key, env),
    )
    writer.execute("DELETE FROM parts" + where, (key, env))
    writer.execute("DELETE FROM entries" + where, (key, env))
    return [name for name, _, inline in parts if inline is None]


def unused(writer: Connection, names: Iterable[bytes]) -> list[bytes]:
    """Those of the objects that no entry is made of."""
    query = "SELECT 1 FROM parts WHERE object=? LIMIT 1"
    return [name for name in names if writer.execute(query, (name,)).fetchone() is None]
