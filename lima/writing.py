"""Writing values into a store, behind the program."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from time import time
from typing import Any, NamedTuple

from lima import objects
from lima.ancestry import MAX_NODES, NODES_A_SECOND, TooLong, ancestry, lines_of, note_lines
from lima.behind import MANY, Behind
from lima.catalog import Busy, Catalog, Row, Stored, evict, fact, insert, touch, unused
from lima.node import Node
from lima.objects import Packed
from lima.trouble import Trouble

FULL = re.compile("full|readonly|read-only")
"""What SQLite says where nothing can be written."""

ATTEMPTS = 3
"""How often a value is written that is cleared away before it is in the index."""


class Offer(NamedTuple):
    """A value on its way to the disk.

    `roots` are the nodes whose lineage is recorded with it; `row` stands for what is no node.
    `lease` is what others wait for while it is on its way.
    """

    key: bytes
    height: int
    env: bytes
    facts: str
    kind: str
    values: tuple[Any, ...]
    seconds: float
    lima: str
    roots: tuple[Node, ...]
    row: Row | None = None
    lease: bytes = b""


class Used(NamedTuple):
    """An entry that was read."""

    key: bytes
    env: bytes


class Writer:
    """Writes what is offered, one thing after the other; `written` counts the values."""

    def __init__(
        self,
        folder: Path,
        catalog: Catalog,
        budget: int,
        trouble: Trouble,
        done: Callable[[bytes], None],
    ) -> None:
        self.objects, self.aside = folder / "objects", folder / "aside"
        self.catalog = catalog
        self.budget = budget
        self.trouble = trouble
        self.wrote: Callable[[Stored], None] = lambda entry: None
        self.done = done  # called with the lease of what was written, or will not be
        self.behind = Behind(self._work, self._rest)
        self._used: list[Used] = []
        self.written = 0
        self._epoch, self._known = -1.0, set[bytes]()  # the lineage that is recorded
        self._run: int | None = None

    def _work(self, item: Offer | Used) -> None:
        if isinstance(item, Used):
            self._used.append(item)
            if len(self._used) >= MANY:
                self._rest()
            return
        try:
            self._tried(partial(self._write, item))
        finally:
            self.done(item.lease)

    def _rest(self) -> None:
        """Note what was used, all in one transaction."""
        used, self._used = self._used, []
        if used:
            self._tried(partial(self.catalog.change, lambda w: touch(w, used, time()), True))

    def _tried(self, work: Callable[[], object]) -> None:
        trouble = self.trouble
        if not (trouble.usable and trouble.writable):
            return
        try:
            work()
        except Busy as error:
            trouble.note("a value was not written", error)
        except OSError as error:
            trouble.stop(error)
        except self.catalog.error as error:
            trouble.stop(error) if FULL.search(str(error)) else trouble.give_up(error)
        except Exception as error:  # of one value, not of the store
            trouble.note("a value was not written", error)

    def _write(self, offer: Offer) -> None:
        query = "SELECT 1 FROM entries WHERE key=? AND env=?"
        if self.catalog.rows(query, (offer.key, offer.env)):
            return
        packed = [one for one in map(objects.pack, offer.values) if one is not None]
        if len(packed) < len(offer.values):
            return
        parts = tuple(one.part for one in packed)
        entry = Stored(offer.key, offer.env, offer.kind, offer.seconds, offer.height, parts)
        for attempt in range(ATTEMPTS):
            try:
                if self._commit(offer, entry, packed):
                    self.written += 1
                    self.wrote(entry)
                    return
            except TooLong:
                return
            except FileNotFoundError:  # another process cleared it away half-written
                if attempt == ATTEMPTS - 1:
                    raise

    def _commit(self, offer: Offer, entry: Stored, packed: Iterable[Packed]) -> bool:
        """Write and record a value; False where it must be tried again."""
        epoch, known = self._epoch, self._known
        rows = ancestry(offer.roots, known, int(MAX_NODES + NODES_A_SECOND * offer.seconds))
        lines = lines_of(offer.roots, rows)
        rows += [offer.row] if offer.row is not None else []
        for one in packed:
            if one.part.inline is None:
                objects.write(one, self.objects, self.aside)

        def step(writer: Any) -> list[bytes] | None:
            now = fact(writer, "epoch")
            if now != epoch and known:  # lineage that we noted may have been cleared away
                self._epoch, self._known = now, set()
                return None
            if not all(objects.is_whole(self.objects, part) for part in entry.parts):
                return None
            facts = (entry.env, offer.facts)
            writer.execute("INSERT OR IGNORE INTO environments VALUES (?, ?)", facts)
            held = insert(writer, entry, rows, time(), self.run_of(writer, offer.lima))
            note_lines(writer, lines)
            self._epoch = now
            return evict(writer, self.budget) if held > self.budget else []

        freed = self.catalog.change(step)
        if freed is None:
            return False
        known.update(row.digest for row in rows)
        self.catalog.known.add(entry.key)
        if freed:
            self.remove(freed)
        return True

    def run_of(self, writer: Any, lima: str) -> int:
        """The row of this run, made with the first value."""
        if self._run is None:
            program = os.path.basename(sys.argv[0]) if sys.argv else ""
            query = "INSERT INTO runs (started, program, lima) VALUES (?, ?, ?)"
            self._run = int(writer.execute(query, (time(), program, lima)).lastrowid)
        return self._run

    def remove(self, names: Iterable[bytes]) -> int:
        """Delete files that no entry is made of any more; their bytes.

        While the index cannot be changed, so that nobody begins to refer to them.
        """

        def step(writer: Any) -> int:
            freed = 0
            for name in unused(writer, names):
                try:
                    freed += objects.discard(self.objects / objects.file_name(name))
                except OSError as error:
                    self.trouble.note("a file cannot be deleted", error)
            return freed

        return self.catalog.change(step)
