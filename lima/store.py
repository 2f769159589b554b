"""The disk tier: values that outlive the process, found again by their digest (D10).

A `Store` is a folder with an index (`catalog`) and files of arrays (`objects`). It knows what is
worth a place on disk, reads what is asked for and compares it with what was written, and writes
behind the program. Whatever goes wrong is a miss, and one `StoreWarning` says why.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any, NamedTuple

from xxhash import xxh3_128_digest

from lima import folder, objects, upkeep
from lima.ancestry import MAX_NODES, NODES_A_SECOND, TooLong, ancestry
from lima.behind import Behind
from lima.catalog import (
    Busy,
    Catalog,
    Newer,
    Stored,
    Unusable,
    evict,
    fact,
    forget,
    insert,
    touch,
    unused,
)
from lima.entries import freeze, memory_of
from lima.environment import numeric
from lima.errors import StoreError, StoreWarning
from lima.node import Node
from lima.objects import Broken, Packed, Part

LEAST_SECONDS = 1e-3
"""Seconds that a result must have taken: some times what looking it up on disk takes."""

SECONDS_A_BYTE = 1e-9
"""What reading from a disk takes, about: cheaper results are computed again as fast."""

MIXED = bytes(16)
"""The environment of results that may have come from values of several ones."""

MAPPED = 64
"""Mapped arrays that are held for the case that they are asked for again."""


class Offer(NamedTuple):
    """A value on its way to the disk."""

    node: Node
    env: bytes
    facts: str
    kind: str
    values: tuple[Any, ...]
    seconds: float


class Store:
    """Values on disk, found by digest, shared by any number of processes.

    `path` is made if it does not exist. `budget` is a number of bytes; what is worth least goes
    when it is reached. `environment` is "same" (values that were made with another NumPy, BLAS,
    number of threads or kind of processor are not used) or "any". Raises StoreError where there is
    no store that can be used.

    >>> import tempfile
    >>> store = Store(Path(tempfile.mkdtemp()) / "store")
    >>> store.info()["entries"]
    0
    >>> store.close()
    """

    def __init__(
        self, path: str | os.PathLike[str], budget: int = 10**10, environment: str = "same"
    ) -> None:
        self.path = Path(os.path.abspath(os.path.expanduser(path)))
        self.budget = budget
        self.any = environment == "any"
        self.hits = self.written = self.refused = 0
        facts = numeric()
        self.facts = json.dumps(facts)
        self.env = xxh3_128_digest(self.facts.encode())
        self.mixed = False
        self.readonly = folder.prepare(self.path)
        self.objects, self.aside = self.path / "objects", self.path / "aside"
        self._usable = True
        self._mapped: OrderedDict[bytes, Any] = OrderedDict()
        self._told: set[str] = set()
        self._untold: list[str] = []
        self._lineage: tuple[float, set[bytes]] = -1.0, set()  # epoch, digests that are recorded
        self._run: int | None = None
        try:
            self.catalog = Catalog(self.path, self.readonly)
        except (Unusable, Busy) as error:
            raise StoreError(f"{self.path}: {error}") from error
        except Exception as error:  # SQLite's
            raise StoreError(
                f"{self.path}: its index cannot be opened ({error}); `lima store gc` begins anew"
            ) from error
        self.behind = Behind(self._work)
        _stores.add(self)

    # ------------------------------------------------------------ reading

    def find(self, key: bytes) -> Stored | None:
        """What the store has of `key`, from the index alone."""
        if not self._usable:
            return None
        try:
            found = self.catalog.find(key)
        except Broken as error:
            self._tell(f"an entry is left out: {error}")
            return None
        except Exception as error:  # SQLite's; a row whose values are of other kinds
            self._give_up(error)
            return None
        return self._fitting(found) if found else None

    def _fitting(self, found: list[Stored]) -> Stored | None:
        own = None if self._changed() else self.env
        for one in found:
            if one.env == own:
                return one
        return found[0] if self.any else None

    def _changed(self) -> bool:
        """Whether the numeric environment is another one than when the store was opened."""
        return json.dumps(numeric()) != self.facts

    def read(self, found: Stored, wrap: Any = None) -> Any:
        """The value of an entry, read-only; None if there is trouble with it.

        `wrap`: the named tuple that the operation gives. Large arrays are mapped into memory.
        """
        known = self._mapped.get(found.key)
        if known is not None:
            return known
        parts: list[Any] = []
        for part in found.parts:
            try:
                if part.nbytes > max(self.budget, objects.INLINE_BYTES):
                    raise Broken(f"{part.nbytes} bytes, more than the whole store may have")
                parts.append(objects.read(part, self.objects))
            except (Broken, OSError, MemoryError) as error:
                self._spoilt(found, part, error)
                return None
        self.hits += 1
        if found.env != self.env:
            self.mixed = True
        if not self.readonly:
            self.behind.put((found.key, found.env), 0)
        if found.kind == "one":
            value = parts[0]
            if found.parts[0].nbytes >= objects.MAPPED_BYTES:
                self._mapped[found.key] = value
                while len(self._mapped) > MAPPED:
                    self._mapped.popitem(last=False)
            return value
        return tuple(parts) if found.kind == "tuple" else wrap(*parts)

    def _spoilt(self, found: Stored, part: Part, error: Exception) -> None:
        """An entry that cannot be read: it goes, so that the value can be stored again."""
        gone = isinstance(error, FileNotFoundError)
        if not (gone or isinstance(error, Broken)):
            self._tell(f"a value cannot be read: {error}")
            return
        try:
            if gone and not [one for one in self.catalog.find(found.key) if one == found]:
                return  # another process made room
            self._tell(f"a value is left out: {'its file is missing' if gone else error}")
            if not self.readonly:
                self.catalog.change(lambda w: forget(w, found.key, found.env))
                if part.inline is None:
                    objects.discard(self.objects / objects.file_name(part.name))
        except Exception as another:
            self._give_up(another)

    # ------------------------------------------------------------ writing

    def worth(self, seconds: float, nbytes: int) -> bool:
        """Whether reading a value of this size is surely faster than computing it again."""
        return seconds >= LEAST_SECONDS + SECONDS_A_BYTE * nbytes

    def offer(self, node: Node, value: Any, seconds: float, wrap: Any = None) -> bool:
        """Have a result written if it is worth it; then it is read-only from now on.

        Results that a rule derived are no business of other sessions: they would be others' bits
        under the digest of what was asked for. So they stay out, with all that is made of them.
        """
        nbytes = sum(getattr(part, "nbytes", 0) for part in _parts(value))
        if not self.worth(seconds, nbytes) or nbytes > self.budget or node.inexact:
            return False
        if self.readonly or not self._usable:
            return False
        kind = _kind(value, wrap)
        values = tuple(_parts(value))
        if kind is None or any(objects.form_of(x) is None for x in values):
            return False
        memory = memory_of(value, owned=True)
        if memory is None or self._changed():
            return False
        freeze(memory[1])
        env, facts = (MIXED, "{}") if self.mixed else (self.env, self.facts)
        taken = self.behind.put(Offer(node, env, facts, kind, values, seconds), nbytes)
        self.refused += not taken
        return taken

    def _work(self, item: Any) -> None:
        """One thing to do behind the program: a value to write, or a use to note."""
        if not self._usable or self.readonly:
            return
        try:
            if isinstance(item, Offer):
                self._write(item)
            else:
                self.catalog.change(lambda w: touch(w, [item], time()))
        except Busy as error:
            self._tell(f"a value was not written: {error}", later=True)
        except OSError as error:
            self._tell(f"nothing is written any more: {error}", later=True)
            self.readonly = True
        except Exception as error:
            full = "full" in str(error) or "readonly" in str(error)
            if full:
                self._tell(f"nothing is written any more: {error}", later=True)
                self.readonly = True
            else:
                self._give_up(error, later=True)

    def _write(self, offer: Offer) -> None:
        query = "SELECT 1 FROM entries WHERE key=? AND env=?"
        if self.catalog.rows(query, (offer.node.digest, offer.env)):
            return
        packed = [objects.pack(x) for x in offer.values]
        if None in packed:
            return
        parts = tuple(one.part for one in packed if one is not None)
        entry = Stored(
            *(offer.node.digest, offer.env, offer.kind, offer.seconds, offer.node.height, parts)
        )
        for _ in range(3):  # what was written may be cleared away before it is in the index
            try:
                if self._commit(offer, entry, [one for one in packed if one is not None]):
                    self.written += 1
                    return
            except TooLong:
                return

    def _commit(self, offer: Offer, entry: Stored, packed: list[Packed]) -> bool:
        epoch, known = self._lineage
        most = int(MAX_NODES + NODES_A_SECOND * offer.seconds)
        rows = ancestry(offer.node, known, most)
        for one in packed:
            if one.part.inline is None:
                objects.write(one, self.objects, self.aside)

        def step(writer: Any) -> list[bytes] | None:
            now = fact(writer, "epoch")
            if now != epoch and known:
                self._lineage = now, set()
                return None
            if not all(objects.is_whole(self.objects, part) for part in entry.parts):
                return None
            facts = (entry.env, offer.facts)
            writer.execute("INSERT OR IGNORE INTO environments VALUES (?, ?)", facts)
            held = insert(writer, entry, rows, time(), self._run_of(writer))
            self._lineage = now, known
            return evict(writer, self.budget) if held > self.budget else []

        freed = self.catalog.change(step)
        if freed is None:
            return False
        known.update(row.digest for row in rows)
        if freed:
            self.remove(freed)
        return True

    def _run_of(self, writer: Any) -> int:
        if self._run is None:
            row = (time(), os.path.basename(sys.argv[0]) if sys.argv else "", "")
            made = writer.execute(
                "INSERT INTO runs (started, program, lima) VALUES (?, ?, ?)",
                (*row[:2], json.loads(self.facts)["lima"]),
            )
            self._run = int(made.lastrowid)
        return self._run

    def remove(self, names: list[bytes]) -> int:
        """Delete files that no entry is made of any more; their bytes.

        While the index cannot be changed, so that nobody begins to refer to them.
        """

        def step(writer: Any) -> int:
            freed = 0
            for name in unused(writer, names):
                try:
                    freed += objects.discard(self.objects / objects.file_name(name))
                except OSError as error:
                    self._tell(f"a file cannot be deleted: {error}", later=True)
            return freed

        return self.catalog.change(step)

    # ------------------------------------------------------------ upkeep

    @classmethod
    def renewed(cls, path: str | os.PathLike[str]) -> Store:
        """The store at `path`; an index that cannot be used is set aside for an empty one.

        Raises StoreError for the index of another version of lima, which is none of our business.
        """
        place = Path(os.path.abspath(os.path.expanduser(path)))
        try:
            return cls(place)
        except StoreError as error:
            if isinstance(error.__cause__, Newer | Busy) or folder.prepare(place):
                raise
        upkeep.set_aside(place)
        return cls(place)

    def renew(self) -> None:
        """Begin with an empty index; the old one is set aside."""
        self.behind.flush()
        self.catalog.close()
        upkeep.set_aside(self.path)
        self.catalog = Catalog(self.path)

    def info(self) -> dict[str, Any]:
        """Numbers: entries, bytes, files, nodes of lineage, runs."""
        return upkeep.info(self)

    def ls(self) -> list[upkeep.Listed]:
        """The values that are kept, the dearest first, each with the operation that made it."""
        return upkeep.listed(self)

    def log(self, key: str) -> str:
        """The log of the lineage of a value; no value is read. `key`: hexadecimal, or its begin."""
        return upkeep.log(self, key)

    def verify(self) -> list[str]:
        """Read everything; what is not as it was written, one line each."""
        return [fault.what for fault in upkeep.faults(self)]

    def gc(self, budget: int | None = None) -> upkeep.Cleared:
        """Take out what is broken, over the budget, or used by nothing."""
        return upkeep.clear(self, budget)

    # ------------------------------------------------------------ the end, and trouble

    def flush(self) -> None:
        """Return when all that was offered before is on disk."""
        self.behind.flush()
        self._say()

    def close(self) -> None:
        """Write what is left, and let go of the files; the store stays usable."""
        self.flush()
        self._mapped.clear()
        self.catalog.close()

    def _give_up(self, error: Exception, later: bool = False) -> None:
        self._tell(f"it is not used any more: {error}", later)
        self._usable = False

    def _tell(self, what: str, later: bool = False) -> None:
        """Warn of a kind of trouble once; `later` where the user's thread must do it."""
        kind = what.partition(":")[0]
        if kind in self._told:
            return
        self._told.add(kind)
        self._untold.append(f"the store {self.path}: {what}")
        if not later:
            self._say()

    def _say(self) -> None:
        while self._untold:
            warnings.warn(self._untold.pop(0), StoreWarning, stacklevel=2)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<lima.Store {os.fspath(self.path)!r}>"


def _parts(value: Any) -> Any:
    return value if isinstance(value, tuple) else (value,)


def _kind(value: Any, wrap: Any) -> str | None:
    if not isinstance(value, tuple):
        return "one"
    if type(value) is tuple:
        return "tuple"
    return "named" if type(value) is wrap else None


def opened(path: str, budget: int, environment: str) -> Store | None:
    """The store of a session, or None and a warning: the program is right without one."""
    if not path:
        return None
    try:
        return Store(path, budget, environment)
    except StoreError as error:
        warnings.warn(f"no store: {error}", StoreWarning, stacklevel=2)
        return None


# -- fork and exit --------------------------------------------------------------------------------

_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_forking: list[Store] = []


def _each(stores: list[Store], step: Callable[[Store], None]) -> None:
    for store in stores:
        step(store)


def _before_fork() -> None:
    _forking[:] = sorted(_stores, key=id)
    _each(_forking, lambda s: s.catalog.before_fork())


def _after_fork() -> None:
    _each(_forking, lambda s: s.catalog.after_fork())
    _forking.clear()


def _in_child() -> None:
    _each(_forking, lambda s: s.behind.reset())
    _after_fork()


def _at_exit() -> None:
    for store in list(_stores):
        store.flush()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
atexit.register(_at_exit)
