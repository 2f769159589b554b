"""Whole calls in the store of a session: found by a process that never ran the function."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh3_128_digest

from lima.catalog import Row, Stored
from lima.environment import environment
from lima.errors import NotCanonical
from lima.frame import Frame, active
from lima.kept import Record, Restored
from lima.node import encode
from lima.objects import Broken
from lima.plainly import FAULTS
from lima.sessions import Session
from lima.stats import HIT, outcome_row
from lima.terms import FORMAT, check, read, written
from lima.unread import Later
from lima.upkeep import CALL

if TYPE_CHECKING:
    from lima.look import Look

DERIVED = "stored call"
"""Under this name, calls whose bits rules had a part in are counted among results from parts."""


def find(here: Session, look: Look) -> tuple[Record, Restored] | None:
    """What the store has of a call: of the exact one, else of one with bits of the same rules.

    The effects are still to be done.
    """
    store = here.store
    if store is None or not lasts(look):
        return None
    for derived in (False, True) if here.rounds else (False,):
        found = store.find(_key(here, look, derived))
        if found is None or found.kind != "call":
            continue
        made = _restored(here, look, found)
        if made is not None:
            here.counts.store_hits += 1
            if derived:
                here.counts.partial[DERIVED] += 1  # from now on what is computed may be inexact
            return made
    return None


def _restored(here: Session, look: Look, found: Stored) -> tuple[Record, Restored] | None:
    store = here.store
    assert store is not None
    inside = active() is not None  # who is not traced gets arrays, which have elements
    later = Later(store, found, look.scan.arrays) if inside else None
    parts = store.read(found, later=later)
    if parts is None:
        return None
    text, *arrays = parts
    try:
        if text.dtype != np.uint8 or text.ndim != 1:
            raise Broken("the record of a call has no text")
        record = read(text.tobytes(), tuple(arrays), store)
        check(record, look.scan, look.own)
        row = outcome_row(HIT, found.seconds)
        for kept in record.kept:
            kept.node.outcome = row
        return record, record.restore(look.scan)
    except FAULTS as error:
        store.refuse(found, error)
        return None


def offer(here: Session, look: Look, name: str, record: Record) -> str | None:
    """Have a record written, if the store has a use for it; why it cannot hold it, if so.

    A rule may have had a part in anything that is computed once one was taken in the session, in a
    number as well as in an array. Such a call is found by sessions of the same exactness only.
    """
    store = here.store
    if store is None or store.readonly:
        return None
    if not lasts(look):
        return "what it does may depend on hashes, which differ from process to process"
    nbytes = sum(k.data.nbytes for k in record.kept)
    if not store.worth(record.seconds, nbytes):
        return None
    nodes = [*(k.node for k in record.kept), *(v.node for v in look.values)]
    nodes += [h._value.node for h in look.scan.arrays]
    derived = here.rounds and (bool(here.counts.partial) or any(n.inexact for n in nodes))
    try:
        text, arrays, roots = written(record)
    except (NotCanonical, RecursionError) as why:
        return f"{why}" or "its result is nested too deeply"
    key = _key(here, look, derived)
    height = max((node.height for node in roots), default=1)
    inputs = b"".join(dict.fromkeys(node.digest for node in roots))
    row = Row(key, CALL, height, name[:200], inputs, f"{name[:200]}(...)")
    values = (np.frombuffer(text, np.uint8).copy(), *arrays)
    wanted = _key(here, look, False)
    store.put("call", key, height, values, record.seconds, roots, row, wanted)
    return None


@contextmanager
def turn(here: Session, look: Look, frame: Frame) -> Iterator[bool]:
    """Run a call in the `with` block that no other process runs at the time.

    Unless the last one was cheap, or not reusable. True where another process has just run it: then
    `find` finds it. Who waits for a call that turns out not to be reusable is let go.
    """
    store, work = here.store, look.work
    name = work.function.__qualname__
    known = store is not None and store.turns.lasts(work.cost) and store.turns.shares(name)
    if store is None or not known or work.refusal is not None or not lasts(look):
        yield False
        return
    keys = [_key(here, look, derived) for derived in ((False, True) if here.rounds else (False,))]

    def found() -> bool | None:
        return any(store.find(key, True) is not None for key in keys) or None

    with store.turns.turn(name, keys[0], found, lambda: frame.refusal is not None) as taken:
        yield taken.found is not None


def lasts(look: Look) -> bool:
    """Whether the key of a call means the same thing in every process."""
    scan = look.scan
    return not (scan.hashed or scan.frames or look.work.code.hashed())


def _key(here: Session, look: Look, derived: bool) -> bytes:
    """The key of a call on disk: besides that in memory, what is one for all calls of a process."""
    facts: Any = (FORMAT, environment()["lima"], sys.version_info[:3], sys.implementation.name)
    rules = tuple(sorted(here.allowed)) if derived else ()
    return xxh3_128_digest(b"stored call" + encode((*facts, rules)) + look.key)
