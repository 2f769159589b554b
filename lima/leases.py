"""Leases: of several processes that want one thing, one computes it and the others wait (D9, D10).

They lie in a file of their own beside the index. A beat a second must not make every process read
the index anew, and nothing here needs to last: whoever deletes the file costs others a computation.

No clock is compared with another one. An owner counts its beats, and who waits counts its own
looks at that number, so that a clock that jumps or a process that was stopped does no harm. Nothing
is locked while anything computes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock, get_ident
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote

from lima import alive, catalog
from lima.trouble import Trouble

if TYPE_CHECKING:
    from sqlite3 import Connection

R = TypeVar("R")

FILE_PATIENCE = 0.5
"""Seconds that a change waits for those of others; then the work is done without a lease."""

LONGEST_CHAIN = 256
"""Owners that are followed to see who waits for whom."""

SCHEMA = """
CREATE TABLE owners (id BLOB PRIMARY KEY, host TEXT, pid INTEGER, start TEXT, beat INTEGER)
 WITHOUT ROWID;
CREATE TABLE leases (key BLOB PRIMARY KEY, owner BLOB, thread INTEGER) WITHOUT ROWID;
CREATE TABLE waits (owner BLOB, thread INTEGER, key BLOB, PRIMARY KEY (owner, thread)) WITHOUT ROWID
"""

_SEEN = """
SELECT l.owner, o.beat, o.host, o.pid, o.start FROM leases l LEFT JOIN owners o ON o.id = l.owner
 WHERE l.key = ?
"""

MINE, WAITS, ALONE = "mine", "waits", "alone"
"""What becomes of a wish: its maker computes for all, waits, or computes for itself."""


class Seen(NamedTuple):
    """The owner of a lease, and how often it has beaten."""

    owner: bytes
    beat: Any
    host: Any
    pid: Any
    start: Any

    def is_dead(self) -> bool:
        """Whether it is surely no more; False where that cannot be told."""
        if self.beat is None:  # it was buried
            return True
        if not self.host or self.host != alive.host() or type(self.pid) is not int:
            return False
        return alive.started(self.pid) != str(self.start)


class Held:
    """A lease of this process. `queued`: the value is on its way to the disk."""

    __slots__ = ("doomed", "queued")

    def __init__(self, doomed: Callable[[], bool] | None) -> None:
        self.doomed = doomed
        self.queued = False


class Leases:
    """The leases of one store, as this process sees them; `waits` counts how often it waited."""

    def __init__(self, folder: Path, trouble: Trouble, usable: bool) -> None:
        self.path = folder / "leases.sqlite"
        self.trouble = trouble
        self.usable = usable
        self.waits = 0
        self.held: dict[bytes, Held] = {}
        self._late: set[bytes] = set()  # given back, which the file does not say yet
        self._lock = Lock()
        self._db: Connection | None = None

    # ------------------------------------------------------------ the file

    def _opened(self) -> Connection:
        if self._db is None:
            sqlite3 = catalog.sqlite()
            if self.path.is_symlink():
                raise catalog.Unusable("its leases are a link")
            name = f"file:{quote(os.fspath(self.path.absolute()))}?mode=rwc"
            made: Connection = sqlite3.connect(
                name, uri=True, timeout=FILE_PATIENCE, isolation_level=None, check_same_thread=False
            )
            made.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 16)
            for word in ("trusted_schema=OFF", "journal_mode=WAL", "synchronous=OFF"):
                _said(made, f"PRAGMA {word}")
            self._db = made
            self._in_turn(made, _found)
        return self._db

    def change(self, step: Callable[..., R], *args: Any) -> R | None:
        """What `step` gives, in one transaction; None where the file is busy or of no use."""
        if not self.usable:
            return None
        try:
            with self._lock:
                return self._in_turn(self._opened(), step, *args)
        except (catalog.sqlite().Error, catalog.Unusable) as error:
            if not catalog.is_busy(error):
                self.usable = False
                self.trouble.note("processes do not wait for each other", error)
        return None

    @staticmethod
    def _in_turn(db: Connection, step: Callable[..., R], *args: Any) -> R:
        db.execute("BEGIN IMMEDIATE")
        try:
            made = step(db, *args)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return made

    def seen(self, key: bytes) -> Seen | None:
        """Who computes `key` now."""
        try:
            with self._lock:
                row = self._opened().execute(_SEEN, (key,)).fetchone() if self.usable else None
        except (catalog.sqlite().Error, catalog.Unusable):
            return None
        return None if row is None else Seen._make(row)

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None

    def mend(self) -> None:
        """Delete the file if it is of no use; nothing in it needs to last."""
        self.change(_beat, b"")
        if self.usable:
            return
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.usable = True

    def before_fork(self) -> None:
        self._lock.acquire()
        self._let_go()

    def after_fork(self) -> None:
        self._lock.release()

    def reset(self) -> None:
        """In a forked child: what is held is its parent's."""
        self.held, self._late = {}, set()

    # ------------------------------------------------------------ leases

    def take(self, key: bytes, threads: set[int], stale: Seen | None = None) -> str:
        """Ask for the lease of `key`: `MINE`, `WAITS` or `ALONE`.

        `threads`: this one, and those of this process that wait for it. `stale`: an owner that
        has not beaten for too long.
        """
        return self.change(_take, key, alive.me(), get_ident(), threads, stale) or ALONE

    def hold(self, key: bytes, doomed: Callable[[], bool] | None) -> None:
        """Beat for a lease until it is given back, or nobody has anything of it."""
        self.held[key] = Held(doomed)
        alive.heart.look_after(self)

    def queue(self, key: bytes, on_its_way: bool) -> None:
        """The value of `key` is on its way to the disk, and its lease lasts until it is there."""
        held = self.held.get(key)
        if held is not None:
            held.queued = on_its_way

    def give_back(self, key: bytes) -> None:
        """The value of `key` is there, or will not be."""
        if self.held.pop(key, None) is None:
            return
        if self.change(_give_back, key, alive.me().ident) is None and self.usable:
            self._late.add(key)
            alive.heart.look_after(self)

    def leave(self, threads: set[int]) -> None:
        """These threads wait no more."""
        self.change(_leave, alive.me().ident, threads)

    def beat(self) -> bool:
        """Say that the owner is alive; whether there is anything to beat for."""
        for key, held in list(self.held.items()):
            if held.doomed is not None and held.doomed():
                self.give_back(key)
        for key in list(self._late):
            if self.change(_give_back, key, alive.me().ident) is not None or not self.usable:
                self._late.discard(key)
        if self.held:
            self.change(_beat, alive.me().ident)
        return bool(self.held or self._late)


def _said(db: Connection, statement: str) -> None:
    """Execute what SQLite refuses at once where another process is at it, without its patience."""
    last = monotonic() + FILE_PATIENCE
    while True:
        try:
            db.execute(statement)
            return
        except catalog.sqlite().OperationalError as error:
            if not catalog.is_busy(error) or monotonic() > last:
                db.close()
                raise
        sleep(RETRY)


RETRY = 0.002
"""Seconds between two tries."""


# ----------------------------------------------------------------- steps, each in a transaction


def _found(db: Connection) -> None:
    """Make the tables in a new file; raises Unusable for one that is not ours."""
    query = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"
    found = {catalog.plain(row[0]) for row in db.execute(query)}
    if not found:
        for statement in SCHEMA.split(";"):
            db.execute(statement)
    elif found != set(map(catalog.plain, SCHEMA.split(";"))):
        raise catalog.Unusable("the file of leases has other tables than lima makes")


def _take(
    db: Connection, key: bytes, me: alive.Me, thread: int, threads: set[int], stale: Seen | None
) -> str:
    row = db.execute(_SEEN, (key,)).fetchone()
    seen = None if row is None else Seen._make(row)
    if seen is not None and seen.owner == me.ident and _thread_of(db, key) in threads:
        return ALONE
    if seen is None or seen == stale or seen.is_dead():
        if seen is not None and seen.owner != me.ident:
            _bury(db, seen.owner)
        row = (me.ident, me.host, me.pid, me.start)
        if db.execute("INSERT OR IGNORE INTO owners VALUES (?,?,?,?,0)", row).rowcount:
            _bury_all(db, me)
        db.execute("INSERT OR REPLACE INTO leases VALUES (?,?,?)", (key, me.ident, thread))
        return MINE
    if _is_circular(db, key, me.ident, threads):
        return ALONE
    waits = [(me.ident, one, key) for one in threads]
    db.executemany("INSERT OR REPLACE INTO waits VALUES (?,?,?)", waits)
    return WAITS


def _thread_of(db: Connection, key: bytes) -> Any:
    return db.execute("SELECT thread FROM leases WHERE key=?", (key,)).fetchone()[0]


def _is_circular(db: Connection, key: bytes, me: bytes, threads: set[int]) -> bool:
    """Whether waiting for `key` would, owner by owner, come back to who wants it."""
    for _ in range(LONGEST_CHAIN):
        owner = db.execute("SELECT owner, thread FROM leases WHERE key=?", (key,)).fetchone()
        if owner is None:
            return False
        if owner[0] == me and owner[1] in threads:
            return True
        row = db.execute("SELECT key FROM waits WHERE owner=? AND thread=?", owner).fetchone()
        if row is None:
            return False
        key = row[0]
    return True


def _bury(db: Connection, owner: bytes) -> None:
    """Forget a process that has ended, or is taken for it: that costs a computation at most."""
    for table, column in (("leases", "owner"), ("waits", "owner"), ("owners", "id")):
        db.execute(f"DELETE FROM {table} WHERE {column}=?", (owner,))


def _bury_all(db: Connection, me: alive.Me) -> None:
    """Forget all that have ended."""
    rows = db.execute("SELECT id, beat, host, pid, start FROM owners WHERE id<>?", (me.ident,))
    for seen in [Seen._make(row) for row in rows.fetchall()]:
        if seen.is_dead():
            _bury(db, seen.owner)


def _give_back(db: Connection, key: bytes, me: bytes) -> bool:
    db.execute("DELETE FROM leases WHERE key=? AND owner=?", (key, me))
    return True


def _leave(db: Connection, me: bytes, threads: set[int]) -> bool:
    gone = [(me, one) for one in threads]
    db.executemany("DELETE FROM waits WHERE owner=? AND thread=?", gone)
    return True


def _beat(db: Connection, me: bytes) -> bool:
    db.execute("UPDATE owners SET beat=beat+1 WHERE id=?", (me,))
    return True
