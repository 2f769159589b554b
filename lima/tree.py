"""Arrays at the door of a traced call: leaves on the way in, plain arrays on the way out (D3)."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from lima.bytecode import NotReusable
from lima.code import CALLABLES, Code, code_of
from lima.draws import TracedGenerator
from lima.errors import InternalError
from lima.forcing import force
from lima.handle import (
    Handle,
    data_of,
    handle,
    is_outside,
    locked,
    release,
    root_of,
    value_of,
)
from lima.keys import Parameters, share_memory
from lima.leaves import seen
from lima.node import Node, leaf, settled
from lima.op import OPS, clone, evaluate, owner
from lima.sessions import current
from lima.twin import plain_module, twin_of
from lima.values import Borrowed, Value
from lima.walk import ATOMS, Walk, arrays_by_name, layout_of
from lima.writes import detach, is_private

# ----------------------------------------------------------------- lineage of plain arrays

KNOWN_LIMIT = 1 << 16
_known: OrderedDict[bytes, Node] = OrderedDict()
_known_lock = Lock()


def remember(a: Any, node: Node) -> None:
    """Note that the bytes of the plain array `a` were made by `node`."""
    digest = leaf(a).digest
    with _known_lock:
        _known[digest] = node
        _known.move_to_end(digest)
        if len(_known) > KNOWN_LIMIT:
            _known.popitem(last=False)


def recall(a: Any) -> tuple[Node, Node | None]:
    """The leaf of the plain array `a`, and the node that made these bytes, if one is known."""
    entered = leaf(a)
    with _known_lock:
        return entered, _known.get(entered.digest)


def recent(count: int) -> list[Node]:
    """The nodes that made what traced functions returned lately, the latest first."""
    with _known_lock:
        return list(islice(reversed(_known.values()), count))


def entering(a: Any, name: str | None) -> Value:
    """The value of a plain array that enters: recognised by content, or a leaf."""
    entered, made = recall(a)
    if made is None or made.is_leaf:  # an argument that was handed through has no history
        made = None
        entered.name = name
        seen(entered.digest, a)
    elif made.digest and made.inexact and not current().rounds:
        (made,) = settled([made])  # here only what gave its bits identifies it
    return Borrowed(made or entered, a)


class Rivals:
    """Arguments that lie in common memory.

    Each is traced by itself until one of them is about to be written. From then on they all are
    what they are in the plain program: windows on one memory, read anew at each use.
    """

    def __init__(self, members: list[tuple[Handle, Any]]) -> None:
        self.members = members
        for h, _ in members:
            h._rivals = self

    def __call__(self) -> None:
        for h, original in self.members:
            h._rivals = None
            detach(h._value)
            release(h, original)


# ----------------------------------------------------------------- arrays on their way out


class Leaving:
    """Turns handles into plain arrays with the aliasing that the plain program would have.

    An argument comes back as the caller's own array, a view as a view of its plain base, any other
    array as one that the caller owns.
    """

    def __init__(self, originals: dict[int, tuple[Handle, Any]]) -> None:
        self.originals = originals

    def __call__(self, h: Handle) -> Any:
        if is_outside(h):
            return value_of(h).data
        base = h._base
        if base is not None:
            return self._view(h, self(base))
        known = self.originals.get(id(h))
        if known is not None:
            return known[1]
        value = value_of(h)
        data = force(value)
        if isinstance(data, np.generic):
            remember(data, value.node)
            return data
        if type(data) is not np.ndarray:
            raise InternalError(f"a handle on {type(data)}")
        if not is_private(value):
            data = clone(data)
        data.setflags(write=True)
        remember(data, value.node)
        self.originals[id(h)] = (h, data)
        return data

    def _view(self, h: Handle, data: Any) -> Any:
        for spec in h._path:
            data = evaluate(OPS[spec.op], spec, (data,))
        if locked(h):
            data.setflags(write=False)
        elif not data.flags.writeable and h._path:
            data.setflags(write=True)  # made before its base was locked
        remember(data, value_of(h).node)
        return data

    def finish(self) -> None:
        """Cut the ties between what lima still holds and the memory that the caller owns now."""
        for h, data in self.originals.values():
            detach(h._value)
            if locked(h) and data.flags.writeable:
                data.setflags(write=False)
            release(h, data)


def settle(h: Handle, original: Any) -> None:
    """Bring the caller's array up to date with what the call wrote into it."""
    data = data_of(h)
    if data is not original:
        if data.shape != original.shape:
            original.shape = data.shape
        if owner(data) is not owner(original):
            original[...] = data


# --------------------------------------------------------------------------- a call from plain code


class Entry:
    """A call from plain code: arguments as traced ones, and everything back to plain at its end.

    traced   whether a traced array was among the arguments; then results stay traced
    """

    def __init__(self, parameters: Parameters, code: Code) -> None:
        self.parameters = parameters
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        self.originals: dict[int, tuple[Handle, Any]] = {}
        self.values: list[Value] = []
        self.traced = False
        self.walk = Walk(self._enter, copying=True)
        self._code: list[Code] = [code]
        self._names: dict[int, str] = {}
        self._generators: dict[int, TracedGenerator] = {}

    def take(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Convert the arguments."""
        walk, names = self.walk, self._names
        positional = zip(self.parameters.positional, args, strict=False)
        for name, value in (*positional, *kwargs.items()):
            if type(value) is np.ndarray:
                names.setdefault(id(value), name)
            elif type(value) not in ATOMS:
                for path, a in arrays_by_name(name, value):
                    names.setdefault(id(a), path)
        self.args = tuple([walk(a) for a in args])
        self.kwargs = {k: walk(v) for k, v in kwargs.items()} if kwargs else kwargs
        if len(self.originals) > 1:
            find_rivals(list(self.originals.values()))
        if self.originals:
            self._expose()

    def _enter(self, x: Any) -> Any:
        kind = type(x)
        if kind is np.ndarray or kind is np.memmap:
            value = entering(np.asarray(x), self._names.get(id(x)))
            h = handle(value)
            h._locked = not x.flags.writeable
            self.values.append(value)
            self.originals[id(h)] = (h, x)
            return h
        if kind in _GENERATORS:
            return self._generator(x)
        if isinstance(x, ModuleType):
            return twin_of(x)
        if isinstance(x, Handle):
            self.traced = True
        elif kind in CALLABLES:
            self._code.append(code_of(x))
        return x

    def _generator(self, x: Any) -> TracedGenerator:
        made = TracedGenerator(x)
        bits = x.bit_generator if isinstance(x, np.random.Generator) else x._bit_generator
        other = self._generators.setdefault(id(bits), made)
        if other is not made:  # two generators draw from one stream
            other.exposed = made.exposed = True
        return made

    def _expose(self) -> None:
        """What the function also reaches as plain data is read anew at each use.

        Plain code in the call may write it, which the traced argument would not see.
        """
        data: list[Any] = []
        for code in self._code:
            try:
                data += [x for x in code.data() if type(x) not in ATOMS]
            except NotReusable:
                continue
        if not data:
            return
        found: list[Any] = []

        def look(x: Any) -> Any:
            found.append(_plain_memory(x))
            return x

        Walk(look)(data)
        arrays = [a for a in found if a is not None]
        for h, x in self.originals.values():
            if any(share_memory(a, x) for a in arrays):
                release(h, x)

    def leave(self, result: Any) -> Any:
        """`result` for the caller; nothing waits on the caller's memory any more."""
        leaving = Leaving(self.originals)
        mine = set(self.originals)
        for value in self.values:
            detach(value)
        for h, original in list(self.originals.values()):
            settle(h, original)

        def convert(x: Any) -> Any:
            if isinstance(x, Handle):
                kept = self.traced and id(root_of(x)) not in mine
                return x if kept else leaving(x)
            if isinstance(x, TracedGenerator):
                x.exposed = True
                return x._generator
            return plain_module(x) if isinstance(x, ModuleType) else x

        for generator in self._generators.values():
            generator.exposed = True
        walk = self.walk
        leave = Walk(convert)
        for original, made in (*walk.tuples, *(pair[:2] for pair in walk.copied)):
            leave.stands_for(made, original)
        result = leave(result)
        for x in walk.objects:
            leave(x)
        for original, copied, before in walk.copied:
            layout = layout_of(copied)
            assert layout is not None
            items = layout.items(copied)
            if len(items) != len(before) or any(
                a is not b for a, b in zip(items, before, strict=True)
            ):
                layout.refill(original, [leave(v) for v in items])
        leaving.finish()
        walk.close()
        return result


def find_rivals(entered: list[tuple[Handle, Any]]) -> None:
    """Arguments in common memory: a write to one of them shows in the others."""
    if all(x.base is None for _, x in entered):
        return  # each has memory of its own
    by_owner: dict[int, list[tuple[Handle, Any]]] = {}
    for h, x in entered:
        memory = owner(x)
        by_owner.setdefault(id(memory) if isinstance(memory, np.ndarray) else 0, []).append((h, x))
    for group in by_owner.values():
        for k, (h, x) in enumerate(group):
            met = [p for p in group[k + 1 :] if share_memory(x, p[1])]
            if met:
                known = [getattr(p[0], "_rivals", None) for p in ((h, x), *met)]
                old = [m for rivals in known if rivals is not None for m in rivals.members]
                Rivals(list({id(m[0]): m for m in ((h, x), *met, *old)}.values()))


_GENERATORS = frozenset({np.random.Generator, np.random.RandomState})


def _plain_memory(x: Any) -> Any:
    """The plain array that `x` is, or that a handle left over from an earlier call means."""
    if isinstance(x, np.ndarray) and not isinstance(x, Handle):
        return x
    if isinstance(x, Handle) and is_outside(x):
        return value_of(x).data
    return None
