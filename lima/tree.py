"""Arrays at the door of a traced call: leaves on the way in, plain arrays on the way out (D3)."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

from lima import frames, tasks
from lima.barriers import plain
from lima.boxes import BOX, is_box
from lima.bytecode import NotReusable
from lima.code import CALLABLES, Code, code_of
from lima.draws import TracedGenerator
from lima.errors import InternalError
from lima.forcing import force
from lima.formats import Parts, fill, kind_of, taken
from lima.gates import given_back
from lima.graph import settled
from lima.handle import (
    Handle,
    data_of,
    handle,
    is_outside,
    locked,
    release,
    root_of,
    turn_writing,
    value_of,
)
from lima.keys import Parameters, share_memory
from lima.leaves import seen
from lima.node import Node, leaf
from lima.op import OPS, clone, evaluate, owner
from lima.placeholders import is_stand_in
from lima.sessions import current
from lima.sparse import Sparse, to_plain
from lima.sparse_calls import OPAQUE, of_parts, parts_of
from lima.stats import Outcome, outcome_row
from lima.tasks import Noted
from lima.twin import plain_module, twin_of
from lima.values import Borrowed, Value
from lima.walk import ATOMS, Walk, arrays_by_name, layout_of
from lima.writes import assign_attribute, detach, is_private

# ----------------------------------------------------------------- lineage of plain arrays

KNOWN_LIMIT = 1 << 16
_known = Noted(KNOWN_LIMIT)


def remember(a: Any, node: Node) -> None:
    """Note that the bytes of the plain array `a` were made by `node`."""
    _known.note(leaf(a).digest, node)


def recall(a: Any) -> tuple[Node, Node | None]:
    """The leaf of the plain array `a`, and the node that made these bytes, if one is known."""
    entered = leaf(a)
    return entered, _known.get(entered.digest)


def recent(count: int) -> list[Node]:
    """The nodes that made what traced functions returned lately, the latest first."""
    return _known.latest()[:count]


_parts = Noted(KNOWN_LIMIT)
"""Leaves that entered as arrays of sparse arguments."""


def entering(a: Any, name: str | None, part: bool = False) -> Value:
    """The value of a plain array that enters: recognised by content, or a leaf.

    As a `part` of a sparse array it stays the leaf that it once was: results such as `2 * A` have
    copies of the indices of `A`, which are not the history of `A`.
    """
    entered, made = recall(a)
    if part and made is not None and _parts.get(entered.digest):
        made = None
    if made is None or (made.is_leaf and not _has_history(made)) or _comes_of(made, entered.digest):
        made = None
        if part:
            _parts.note(entered.digest, True)
        entered.name = name
        seen(entered.digest, a)
    elif made.digest and made.inexact and not current().rounds:
        (made,) = settled([made])  # here only what gave its bits identifies it
    return Borrowed(made or entered, a)


NEAR = 16
"""Operations among which a result is looked for that has the elements of an argument of its own."""


def _comes_of(made: Node, digest: bytes) -> bool:
    """Whether some array is made of itself, as by `x + 0`. It stays the leaf that it was: else it
    were another one after each call, and none would be found."""
    line = [made]
    for node in line:
        if node.is_leaf:
            if node.digest == digest:
                return True
        elif len(line) < NEAR:
            line += [i for i in node.inputs if type(i) is Node]
    return False


def _has_history(made: Node) -> bool:
    """Whether a leaf stands for what a store has of it; an argument that was handed through has no
    history. Bits of rules are no others' business."""
    return is_stand_in(made) and (current().rounds or not made.inexact)


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
        self._made: dict[int, Any] = {}

    def __call__(self, h: Handle) -> Any:
        """The plain array for a handle."""
        data = self._plain(h)
        self._made[id(data)] = data
        return data

    def _plain(self, h: Handle) -> Any:
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
            turn_writing(data, True)
        remember(data, value_of(h).node)
        return data

    def knows(self, a: Any) -> bool:
        """Whether the plain array `a` stands for a traced one."""
        return id(a) in self._made or any(a is x for _, x in self.originals.values())

    def sparse(self, a: Sparse) -> Any:
        """The sparse array of SciPy's that `a` stands for."""
        return to_plain(a, self.part)

    def part(self, a: Any) -> Any:
        """An array of a sparse array, which may be a plain one."""
        return self(a) if isinstance(a, Handle) else a

    def finish(self) -> None:
        """Cut the ties between what lima still holds and the memory that the caller owns now."""
        for h, data in self.originals.values():
            detach(h._value)
            if locked(h) and data.flags.writeable:
                data.setflags(write=False)
            release(h, data)


class _Exit(Walk):
    """Makes plain what leaves a call, wherever it stands: in containers, in arrays of objects.

    given   the sparse arguments, by the ids of those that stood for them
    mine    ids of the traced arrays that arguments became
    traced  whether other arrays stay traced
    """

    def __init__(
        self, leaving: Leaving, given: dict[int, Any], mine: set[int], traced: bool
    ) -> None:
        super().__init__(self._converted)
        self.leaving = leaving
        self.given = given
        self.mine = mine
        self.traced = traced

    def _converted(self, x: Any) -> Any:
        made = self._plain(x)
        if is_box(made):
            self.into(made, BOX)
        return made

    def _plain(self, x: Any) -> Any:
        if type(x) is np.ndarray:
            x = _behind(x)
        if isinstance(x, Handle):
            return x if self._stays([x]) else self.leaving(x)
        if type(x) is Sparse:
            if id(x) in self.given:
                return self.given[id(x)]
            return x if self._stays(parts_of(x).arrays) else self.leaving.sparse(x)
        if type(x) in OPAQUE:
            return plain(x)
        if isinstance(x, TracedGenerator):
            x.exposed = True
            return x._generator
        if frames.is_frame(x):
            frames.leave(x, self.visit)
        return plain_module(x) if isinstance(x, ModuleType) else x

    def _stays(self, arrays: Iterable[Any]) -> bool:
        """Whether arrays stay traced, as none is an argument's or a view of one."""
        roots = [id(root_of(a)) for a in arrays if isinstance(a, Handle)]
        return self.traced and self.mine.isdisjoint(roots)


def settle(h: Handle, original: Any) -> None:
    """Bring the caller's array up to date with what the call wrote into it."""
    data = data_of(h)
    if data is not original:
        if data.dtype != original.dtype:
            assign_attribute(original, "dtype", data.dtype)
        if data.shape != original.shape:
            assign_attribute(original, "shape", data.shape)
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
        self.sparse: list[tuple[Sparse, Any, Parts, list[Any]]] = []
        self.traced = False
        self.walk = Walk(self._enter, copying=True)
        self._code: list[Code] = [code]
        self._names: dict[int, str] = {}
        self._in_sparse = False
        self._generators: dict[int, TracedGenerator] = {}
        self._frames: list[Any] = []
        self._used: list[Any] = []

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
        self._expose()

    def announce(self) -> None:
        """In a parallel loop: raises TracingError where another item writes what enters."""
        for _, x in self.originals.values():
            tasks.entered(x)

    def _written(self) -> list[Any]:
        """The arguments that the call has written, in a parallel loop."""
        if tasks.active_task() is None:
            return []
        pairs = zip(self.originals.values(), self.values, strict=False)
        return [x for (h, x), value in pairs if h._value is not value and not is_outside(h)]

    def _enter(self, x: Any) -> Any:
        kind = type(x)
        if kind in _ARRAYS:
            value = entering(np.asarray(x), self._names.get(id(x)), self._in_sparse)
            h = handle(value)
            h._locked = not x.flags.writeable
            self.values.append(value)
            self.originals[id(h)] = (h, x)
            return h
        if kind in _GENERATORS:
            return self._generator(x)
        if isinstance(x, ModuleType):
            return twin_of(x)
        if isinstance(x, Handle) or kind is Sparse:
            self.traced = True
        elif frames.is_frame(x):
            if frames.enter(x):
                self._frames.append(x)
        elif kind in CALLABLES:
            self._code.append(code_of(x))
        else:
            parts = taken(x)
            if parts is not None and all(type(a) in _ARRAYS for a in parts.arrays):
                return self._sparse(x, parts)
            if kind_of(kind) is not None:  # it holds something else besides, and stays plain
                for part in vars(x).values():
                    for a in part if type(part) is tuple else (part,):
                        self.walk.stands_for(a, a)
        return x

    def _sparse(self, x: Any, parts: Parts) -> Sparse:
        self._in_sparse = True
        parts = parts._replace(arrays=tuple([self.walk.visit(a) for a in parts.arrays]))
        self._in_sparse = False
        made: Sparse = of_parts(parts)
        self.sparse.append((made, x, parts, [a._value for a in parts.arrays]))
        return made

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
        self._used = [x for x in data if is_box(x) or layout_of(x) is not None]
        if not self.originals:
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
        written = self._written()
        leaving = Leaving(self.originals)
        mine = set(self.originals)
        for value in self.values:
            detach(value)
        for h, original in list(self.originals.values()):
            settle(h, original)

        for a, x, parts, values in self.sparse:
            now = parts_of(a)
            arrays = [h for h in now.arrays if isinstance(h, Handle)]
            if now is not parts or [h._value for h in arrays] != values:
                fill(x, now._replace(arrays=tuple(map(leaving.part, now.arrays))))
        leave = _Exit(leaving, {id(a): x for a, x, _, _ in self.sparse}, mine, self.traced)
        for x in self._frames:
            frames.leave(x, leave.visit)
        for generator in self._generators.values():
            generator.exposed = True
        walk = self.walk
        for original, made in (*walk.tuples, *(pair[:2] for pair in walk.copied)):
            leave.stands_for(made, original)
        result = leave(result)
        for x in (*walk.objects, *self._used):
            leave(x)
        for _, x in list(self.originals.values()):
            if is_box(x):
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
        leave.close()
        for x in result if type(result) is tuple else (result,):
            if type(x) is np.ndarray and not leaving.knows(x):
                self._note(x)
        for x in written:
            tasks.written(x)
        return result

    def fail(self, error: BaseException) -> None:
        """The call ends with an error, which may tell of arrays."""
        errors = _with_causes(error)
        held = [(x.args, dict(getattr(x, "__dict__", None) or {})) for x in errors]
        for x, (args, fields) in zip(errors, self.leave(held), strict=True):
            if args is not x.args:
                x.args = args
            for name, value in fields.items():
                if value is not x.__dict__[name]:
                    x.__dict__[name] = value

    def _note(self, a: Any) -> None:
        """A plain array is returned, which code that is not traced has made."""
        entered, made = recall(a)
        if made is None and entered.outcome is None:
            name = self._code[0].root.__qualname__
            why = f"{name} returned a plain array, which code that is not traced has made"
            entered.outcome = outcome_row(Outcome.ENTERED, why=why)
            remember(a, entered)


def _with_causes(error: BaseException) -> list[BaseException]:
    """An error, and those that led to it."""
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        x = todo.pop()
        if x is not None and not any(x is other for other in found):
            found.append(x)
            todo += [x.__cause__, x.__context__]
            todo += x.exceptions if isinstance(x, BaseExceptionGroup) else ()
    return found


def _behind(a: Any) -> Any:
    """The traced array that plain code was given as `a`; else `a`."""
    given, _ = given_back(a)
    return a if given is None else given


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


_ARRAYS = frozenset({np.ndarray, np.memmap})
_GENERATORS = frozenset({np.random.Generator, np.random.RandomState})


def _plain_memory(x: Any) -> Any:
    """The plain array that `x` is, or that a handle left over from an earlier call means."""
    if isinstance(x, np.ndarray) and not isinstance(x, Handle):
        return x
    if isinstance(x, Handle) and is_outside(x):
        return value_of(x).data
    return None
