"""One item of a parallel loop (`lima.parfor`), and what is noted while it runs.

What lima notes of plain arrays decides lineage: bytes that came out of one call and go into
another are recognised. If items saw what others note, lineage would depend on which of them ran
first. So an item sees what was noted before the loop, and by itself; the notes of all items
become those of the loop when it ends, in the order of the items.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from contextvars import ContextVar
from threading import Lock, RLock
from typing import Any

import numpy as np

from lima.errors import TracingError

SEVERAL = -1
"""Stands for the items that have an array, where they are more than one."""

Places = dict[tuple[int, int], int]
"""First and last byte -> the item."""


class Loop:
    """What the items of one parallel loop share.

    outer   the item of another loop in which this one runs, or None
    arrays  memory of plain arrays that went into traced calls, see `of`
    """

    def __init__(self, outer: Task | None = None) -> None:
        self.outer = outer
        self.arrays: dict[int, tuple[weakref.ref[Any], Places, Places]] = {}
        self.lock = Lock()

    def of(self, a: Any) -> tuple[Places, Places]:
        """Which items had which bytes of the memory of `a`, and which wrote them."""
        while isinstance(a.base, np.ndarray):
            a = a.base
        known = self.arrays.get(id(a))
        if known is None or known[0]() is not a:  # another array had its place
            known = self.arrays[id(a)] = weakref.ref(a), {}, {}
        return known[1:]


class Task:
    """One item of a loop: its place, and the tables of what it has noted."""

    def __init__(self, loop: Loop, index: int) -> None:
        self.loop = loop
        self.index = index
        self.tables: dict[Noted, OrderedDict[Any, Any]] = {}

    def within(self, loop: Loop) -> bool:
        """Whether it is an item of `loop`, or of a loop in such an item."""
        task: Task | None = self
        while task is not None:
            if task.loop is loop:
                return True
            task = task.loop.outer
        return False

    def merge(self) -> None:
        """Hand on what it has noted: to the item around its loop, or to the process."""
        for noted, table in self.tables.items():
            own = noted.table_of(self.loop.outer)
            for key, value in table.items():
                noted.add(own, key, value)


_task: ContextVar[Task | None] = ContextVar("lima_task", default=None)


def active_task() -> Task | None:
    """The item of a parallel loop that runs in this thread and context, or None."""
    return _task.get()


class Noted:
    """A table of bounded length; what an item of a parallel loop adds, it alone sees at first.

    >>> table = Noted(2)
    >>> for key in "abc":
    ...     table.note(key, key.upper())
    >>> table.get("a"), table.get("c"), table.latest()
    (None, 'C', ['C', 'B'])
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.table: OrderedDict[Any, Any] = OrderedDict()
        self.lock = Lock()
        _all.append(self)

    def table_of(self, task: Task | None) -> OrderedDict[Any, Any]:
        """Where `task` adds."""
        if task is None:
            return self.table
        return task.tables.setdefault(self, OrderedDict())

    def add(self, table: OrderedDict[Any, Any], key: Any, value: Any) -> None:
        with self.lock:
            table[key] = value
            table.move_to_end(key)
            if len(table) > self.limit:
                table.popitem(last=False)

    def note(self, key: Any, value: Any) -> None:
        self.add(self.table_of(_task.get()), key, value)

    def get(self, key: Any) -> Any:
        """What was noted of `key`; None if nothing was, or it was forgotten."""
        task = _task.get()
        while task is not None:
            found = task.tables.get(self, _NOTHING).get(key)
            if found is not None:
                return found
            task = task.loop.outer
        with self.lock:
            return self.table.get(key)

    def latest(self) -> list[Any]:
        """All that is seen from here, the latest first."""
        found: list[Any] = []
        task = _task.get()
        while task is not None:
            found += reversed(task.tables.get(self, _NOTHING).values())
            task = task.loop.outer
        with self.lock:
            return found + list(reversed(self.table.values()))


_NOTHING: OrderedDict[Any, Any] = OrderedDict()
_all: list[Noted] = []


def forget() -> None:
    """Empty all tables: plain arrays that come from now on are strangers."""
    for noted in _all:
        with noted.lock:
            noted.table.clear()


# --------------------------------------------------------------------------- arrays of items


def _bounds(a: Any) -> tuple[int, int]:
    return np.lib.array_utils.byte_bounds(a)


def _of_several(name: str, index: int) -> TracingError:
    return TracingError(
        f"lima.parfor: item {index} {name}, which a traced call of another item has as well: "
        "what that sees would depend on which comes first, and one write undoes the other. Let the "
        "body return the part, and put the parts together after the loop"
    )


def entered(a: Any) -> None:
    """A plain array goes into a traced call; nothing to do outside of parallel loops."""
    task = _task.get()
    while task is not None and a.size:
        bounds, loop = _bounds(a), task.loop
        with loop.lock:
            had, wrote = loop.of(a)
            if had.setdefault(bounds, task.index) != task.index:
                had[bounds] = SEVERAL
            clash = any(k != task.index for where, k in wrote.items() if _meet(where, bounds))
        if clash:
            raise _of_several("reads an array", task.index)
        task = loop.outer


def written(a: Any) -> None:
    """A traced call has written the plain array `a`, one of its arguments."""
    task = _task.get()
    while task is not None and a.size:
        bounds, loop = _bounds(a), task.loop
        with loop.lock:
            had, wrote = loop.of(a)
            wrote[bounds] = task.index
            clash = any(k != task.index for where, k in had.items() if _meet(where, bounds))
        if clash:
            raise _of_several("writes an array", task.index)
        task = loop.outer


def _meet(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] < b[1] and b[0] < a[1]


class Guard:
    """What is done before a traced array is written that several items of a loop can reach.

    Takes the place of the array's rivals (`lima.tree.Rivals`), which come after it.
    """

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.before: Any = None
        self.members: Iterable[Any] = ()

    def put(self, x: Any) -> None:
        """Guard the array that `x` is the handle of; loops of other threads may do so as well."""
        with _guarding:
            self.before = x._rivals
            self.members = getattr(self.before, "members", ())
            x._rivals = self

    def take_away(self, x: Any) -> None:
        """Guard it no longer; a loop that began later and still runs goes on to."""
        with _guarding:
            above = x._rivals
            if above is self:
                x._rivals = self.before
            while isinstance(above, Guard):
                if above.before is self:
                    above.before = self.before
                above = above.before

    def __call__(self) -> None:
        task = _task.get()
        if task is not None and task.within(self.loop):
            raise TracingError(
                f"lima.parfor: item {task.index} writes a traced array that other items can reach: "
                "what they see would depend on which comes first. Let the body write a copy, or "
                "return the part, and put the parts together after the loop"
            )
        if self.before is not None:
            self.before()


_guarding = Lock()

OBJECTS = RLock()
"""Held while a traced call of an item has objects of the user's among its arguments.

Their attributes mean traced arrays meanwhile, which no other item must see.
"""


def _in_child() -> None:
    """After a fork: another thread may have held a lock."""
    global OBJECTS, _guarding
    OBJECTS, _guarding = RLock(), Lock()
    for noted in _all:
        noted.lock = Lock()
    task = _task.get()
    while task is not None:
        task.loop.lock = Lock()
        task = task.loop.outer


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
