"""The disk tier: values that outlive the process, found again by their digest (D10).

A `Store` is a folder with an index (`catalog`) and files of arrays (`objects`). It knows what is
worth a place on disk, reads what is asked for and compares it with what was written, and writes
behind the program. Whatever goes wrong is a miss, and one `StoreWarning` says why.
"""

from __future__ import annotations

import atexit
import json
import os
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from typing import Any, TypeVar

from xxhash import xxh3_128_digest

from lima import exchange, folder, objects, upkeep
from lima.catalog import (
    MAX_PARTS,
    MIXED,
    Busy,
    Catalog,
    Newer,
    Row,
    Stored,
    Unusable,
    forget,
    is_busy,
)
from lima.entries import freeze, memory_of
from lima.environment import numeric
from lima.errors import StoreError, StoreWarning
from lima.leases import Leases
from lima.node import Node
from lima.objects import Broken, Part
from lima.remotes import place_of
from lima.second import Second
from lima.trouble import Trouble
from lima.turns import Turns
from lima.writing import Offer, Used, Writer

R = TypeVar("R")

LEAST_SECONDS = 0.01
"""Seconds that a result must have taken: some times what it costs to write one down, with its
lineage, and the program while that happens (1 to 2 ms)."""

SECONDS_A_BYTE = 2e-9
"""What writing to a disk and reading from it take, about: cheaper results are computed again."""

INDEX = "index.sqlite"
"""The file by which a folder is known for a store."""

MAPPED = 64
"""Mapped arrays that are held for the case that they are asked for again."""

APART = 1024
"""Arrays of calls that have not been read with these, and may be asked for by themselves."""


class Store:
    """Values on disk, found by digest, shared by any number of processes.

    `path` is made if it does not exist. `budget` is a number of bytes; what is worth least goes
    when it is reached. `environment` is "same" (values that were made with another NumPy, BLAS,
    number of threads or kind of processor are not used) or "any". `remote` is a folder or address
    that is asked for what the store lacks, and given what it gets. Raises StoreError where there is
    no store that can be used.

    >>> import tempfile
    >>> store = Store(Path(tempfile.mkdtemp()) / "store")
    >>> store.info()["entries"]
    0
    >>> store.close()
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        budget: int = 10**10,
        environment: str = "same",
        remote: str | os.PathLike[str] = "",
    ) -> None:
        self.path = Path(os.path.abspath(os.path.expanduser(path)))
        self.budget = budget
        self.any = environment == "any"
        self.hits = self.refused = 0
        facts = numeric()
        self.lima = facts["lima"]
        self.facts = json.dumps(facts)
        self.env = xxh3_128_digest(self.facts.encode())
        self.mixed = False
        readonly = folder.prepare(self.path)
        self.objects = self.path / "objects"
        self.trouble = Trouble(os.fspath(self.path), not readonly)
        self._mapped: OrderedDict[tuple[bytes, bytes], Any] = OrderedDict()
        self._apart: OrderedDict[bytes, tuple[Stored, Stored]] = OrderedDict()
        try:
            self.catalog = Catalog(self.path, readonly)
        except (Unusable, Busy) as error:
            raise StoreError(f"{self.path}: {error}") from error
        except Exception as error:  # SQLite's
            raise StoreError(
                f"{self.path}: its index cannot be opened ({error}); `lima store gc` begins anew"
            ) from error
        self.turns = Turns(Leases(self.path, self.trouble, not readonly), self.env)
        self.second = self._behind(remote)
        self.writer = self._new_writer()
        _stores.add(self)

    def _behind(self, remote: str | os.PathLike[str]) -> Second | None:
        try:
            return Second(place_of(remote), self) if remote else None
        except StoreError as error:
            self.trouble.tell("no remote store is used", error)
            return None

    def _new_writer(self) -> Writer:
        done = self.turns.leases.give_back
        made = Writer(self.path, self.catalog, self.budget, self.trouble, done)
        if self.second is not None:
            made.wrote = self.second.wrote
        return made

    @property
    def readonly(self) -> bool:
        """Whether nothing can be written, or no more."""
        return not self.trouble.writable

    @property
    def written(self) -> int:
        """How many values this store object has written."""
        return self.writer.written

    # ------------------------------------------------------------ reading

    def find(self, key: bytes, now: bool = False) -> Stored | None:
        """What the store has of `key`, from the index alone; `now`: also of a moment ago."""
        if not self.trouble.usable:
            return None
        try:
            found = self.catalog.find(key, now)
        except Broken as error:
            self.trouble.tell("an entry is left out", error)
            return None
        except Exception as error:  # SQLite's, or of a row whose values are of other kinds
            if not is_busy(error):
                self.trouble.give_up(error)
                self.trouble.say()
            return None
        fits = self._fitting(found) if found else None
        if fits is None and (apart := self._apart.get(key)) is not None:
            fits = self._fitting([apart[0]])
        if fits is None and self.second is not None and not self.readonly:
            if self.second.bring(key):
                return self.find(key, True)
            self.trouble.say()
        return fits

    def _fitting(self, found: list[Stored]) -> Stored | None:
        own = None if self._changed() else self.env
        for one in found:
            if one.env == own:
                return one
        return found[0] if self.any else None

    def _changed(self) -> bool:
        """Whether the numeric environment is another one than when the store was opened.

        If it ever was, what is in memory may be of either, and so is what is computed of it.
        """
        changed = json.dumps(numeric()) != self.facts
        self.mixed = self.mixed or changed
        return changed

    def set_apart(self, one: Stored, call: Stored) -> None:
        """An array of a call that is not read with it may be asked for by its own digest."""
        self._apart[one.key] = one, call
        while len(self._apart) > APART:
            self._apart.popitem(last=False)

    def _home(self, found: Stored) -> Stored:
        """The entry of the index that an entry stands for: that of its call, if it is set apart."""
        one, call = self._apart.get(found.key, (None, found))
        return call if one is not None and one.parts == found.parts else found

    def read(
        self,
        found: Stored,
        wrap: Any = None,
        later: Callable[[int, Part, Any], Any] | None = None,
    ) -> Any:
        """The value of an entry, read-only; None if there is trouble with it.

        `wrap`: the named tuple that the operation gives. Large arrays are mapped into memory.
        `later` is given the place of each part, the part, and what the first one is, and may give
        something that stands for it.
        """
        known = self._mapped.get((found.key, found.env))
        if known is not None:
            return known
        if sum(part.nbytes for part in found.parts) > self.budget:
            return None  # nor would it be kept: a session with a larger budget wrote it
        parts: list[Any] = []
        for k, part in enumerate(found.parts):
            waits = later(k, part, parts[0]) if later is not None and k else None
            try:
                parts.append(objects.read(part, self.objects) if waits is None else waits)
            except (Broken, OSError, MemoryError) as error:
                self._spoilt(found, part, error)
                return None
        self.hits += 1
        if found.env != self.env:
            self.mixed = True
        if not self.readonly:
            self.writer.behind.put(Used(self._home(found).key, found.env), 0, soon=False)
        if found.kind == "named":
            return wrap(*parts) if wrap is not None else None
        value = parts[0] if found.kind == "one" else tuple(parts)
        if later is None and max(part.nbytes for part in found.parts) >= objects.MAPPED_BYTES:
            self._mapped[found.key, found.env] = value
            while len(self._mapped) > MAPPED:
                self._mapped.popitem(last=False)
        return value

    def refuse(self, found: Stored, error: Exception) -> None:
        """An entry whose parts are whole, and yet of no use: it goes, and one warning says why."""
        self._spoilt(found, found.parts[0], Broken(str(error)))

    def _spoilt(self, found: Stored, part: Part, error: Exception) -> None:
        """An entry that cannot be read: it goes, so that the value can be stored again."""
        home = self._home(found)
        self._apart.pop(found.key, None)
        found = home
        gone = isinstance(error, FileNotFoundError)
        if not (gone or isinstance(error, Broken)):
            self.trouble.tell("a value cannot be read", error)
            return
        try:
            if gone and not [one for one in self.catalog.find(found.key, now=True) if one == found]:
                return  # another process made room
            self.trouble.tell("a value is left out", "its file is missing" if gone else error)
            if not self.readonly:
                self.catalog.change(lambda w: forget(w, found.key, found.env))
                self._discard(found.parts)
        except Exception as another:
            if not isinstance(another, Busy):
                self.trouble.give_up(another)
                self.trouble.say()

    def _discard(self, parts: tuple[Part, ...]) -> None:
        """Delete the files that are not whole, so that such a value can be written again."""
        for part in parts:
            try:
                objects.read(part, self.objects)
            except FileNotFoundError:
                continue
            except (Broken, OSError, MemoryError):
                if part.inline is None:
                    objects.discard(self.objects / objects.file_name(part.name))

    # ------------------------------------------------------------ writing

    def worth(self, seconds: float, nbytes: int) -> bool:
        """Whether reading a value of this size is surely faster than computing it again."""
        return seconds >= LEAST_SECONDS + SECONDS_A_BYTE * nbytes

    def offer(self, node: Node, value: Any, seconds: float, wrap: Any = None) -> bool:
        """Have a result written if it is worth it; then it is read-only from now on.

        Results that a rule derived are no business of other sessions: they would be others' bits
        under the digest of what was asked for. So they stay out, with all that is made of them.
        """
        kind = _kind(value, wrap)
        if node.inexact or kind is None:
            return False
        return self.put(kind, node.digest, node.height, tuple(_parts(value)), seconds, (node,))

    def put(
        self,
        kind: str,
        key: bytes,
        height: int,
        values: tuple[Any, ...],
        seconds: float,
        roots: tuple[Node, ...],
        row: Row | None = None,
        wanted: bytes = b"",
    ) -> bool:
        """Have arrays written under a key, if it is worth it; they are read-only from now on.

        `wanted`: the key under which others wait for it, if that is another one.
        """
        nbytes = sum(getattr(part, "nbytes", 0) for part in values)
        if not self.worth(seconds, nbytes) or nbytes > self.budget or len(values) > MAX_PARTS:
            return False
        if self.readonly or not self.trouble.usable:
            return False
        if any(objects.form_of(x) is None for x in values):
            return False
        memory = memory_of(values, owned=True)
        if memory is None or self._changed():
            return False
        freeze(memory[1])
        env, facts = (MIXED, "{}") if self.mixed else (self.env, self.facts)
        lease = self.turns.lease(wanted or key)
        offer = Offer(key, height, env, facts, kind, values, seconds, self.lima, roots, row, lease)
        self.turns.leases.queue(lease, True)
        taken = self.writer.behind.put(offer, nbytes)
        if not taken:
            self.refused += 1
            self.turns.leases.queue(lease, False)
        return taken

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
        self.writer.behind.flush()
        self.catalog.close()
        upkeep.set_aside(self.path)
        self.catalog = Catalog(self.path)
        self.writer = self._new_writer()

    def info(self) -> dict[str, Any]:
        """Numbers: entries, bytes, files, nodes of lineage, runs."""
        return self._asked(upkeep.info)

    def ls(self) -> list[upkeep.Listed]:
        """The values that are kept, the dearest first, each with the operation that made it."""
        return self._asked(upkeep.listed)

    def lineage(self, key: str) -> upkeep.Told:
        """What is known of a value and how it was made; `key` as for `log`."""
        return self._asked(upkeep.told, key)

    def log(self, key: str) -> str:
        """The log of the lineage of a value; no value is read. `key`: hexadecimal, or its begin."""
        return self._asked(upkeep.log, key)

    def verify(self) -> list[str]:
        """Read everything; what is not as it was written, one line each."""
        return [fault.what for fault in self._asked(upkeep.faults)]

    def gc(self, budget: int | None = None) -> upkeep.Cleared:
        """Take out what is broken, over the budget, or used by nothing."""
        return self._asked(upkeep.clear, budget)

    def push(self, where: str | os.PathLike[str]) -> exchange.Moved:
        """Write what another place lacks: a folder, or an address that fsspec knows."""
        return self._asked(exchange.push, place_of(where))

    def pull(self, where: str | os.PathLike[str], digest: str | None = None) -> exchange.Moved:
        """Take over what another place has; `digest`: the one that its export gave."""
        moved = self._asked(exchange.pull, place_of(where), digest)
        self.trouble.say()
        return moved

    def export(self, folder: str | os.PathLike[str]) -> tuple[exchange.Moved, str]:
        """Write everything into a folder, and give the digest that `pull` may ask for."""
        return self._asked(exchange.export, exchange.local(folder, place_of(folder)))

    def _asked(self, work: Callable[..., R], *args: Any) -> R:
        """What upkeep finds; trouble with the index as a StoreError."""
        try:
            return work(self, *args)
        except (self.catalog.error, Busy, Broken, OSError) as error:
            raise StoreError(f"{self.path}: {error}") from error

    # ------------------------------------------------------------ the end, and trouble

    def flush(self) -> None:
        """Return when all that was offered before is on disk."""
        self.writer.behind.flush()
        if self.second is not None:
            self.second.behind.flush()
        self.trouble.say()

    def close(self) -> None:
        """Write what is left, and let go of the files; the store stays usable."""
        self.flush()
        self._mapped.clear()
        self.turns.leases.close()
        self.catalog.close()

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


def opened(path: str, budget: int, environment: str, remote: str) -> Store | None:
    """The store of a session, or None and a warning: the program is right without one."""
    if not path:
        return None
    try:
        return Store(path, budget, environment, remote)
    except StoreError as error:
        warnings.warn(f"no store: {error}", StoreWarning, stacklevel=2)
        return None


# -- fork and exit --------------------------------------------------------------------------------

_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_forking: dict[int, list[Store]] = {}  # thread -> the stores it holds while it forks


def _before_fork() -> None:
    _forking[get_ident()] = stores = sorted(_stores, key=id)
    for store in stores:
        store.catalog.before_fork()
        store.turns.leases.before_fork()


def _after_fork() -> None:
    for store in _forking.pop(get_ident(), ()):
        store.turns.leases.after_fork()
        store.catalog.after_fork()


def _in_child() -> None:
    for store in _forking.get(get_ident(), ()):
        store.writer.behind.reset()
        store.turns.leases.reset()
        if store.second is not None:
            store.second.reset()
    _after_fork()


def _at_exit() -> None:
    for store in list(_stores):
        store.flush()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
atexit.register(_at_exit)
