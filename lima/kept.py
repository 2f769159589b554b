"""Records of calls: results and effects, enough to do as if a call had run (D7)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from sys import getsizeof
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from lima import constants
from lima.draws import TracedGenerator
from lima.errors import NotCanonical
from lima.forcing import force
from lima.frame import active
from lima.frame_copies import PRICE, Copies, FrameCopy, held_by
from lima.frames import is_frame
from lima.handle import (
    Handle,
    handle,
    is_outside,
    locked,
    new_handle,
    root_of,
    value_of,
    view_handle,
)
from lima.keys import Scan
from lima.node import Node, Spec, encode, leaf
from lima.op import OPS, clone, owner
from lima.ops.random import set_state, state_of
from lima.runtime import apply
from lima.unread import Unread
from lima.values import Borrowed, Value, new_value
from lima.walk import ATOMS, assign, layout_of
from lima.writes import detach, repoint

Term = tuple[Any, ...]
"""A value in a record: what it is, then its parts. See `_MAKE`."""


class Kept(NamedTuple):
    """An array in a record: its lineage, and data that nobody writes (or `unread.Unread`)."""

    node: Node
    data: Any


class Box(NamedTuple):
    """A list, dict or object in a record: how to make it, what it holds, names of attributes."""

    blank: Callable[[], Any]
    items: list[Term]
    names: list[str]


class Restored(NamedTuple):
    """A use of a record: the results, and the effects, which are still to be done."""

    result: Any
    effects: Callable[[], None]


class Record:
    """The results and effects of one call."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.kept: list[Kept] = []
        self.recast: set[int] = set()  # places of arrays whose copies have other strides
        self.boxes: list[Box] = []
        self.views: list[tuple[Term, tuple[Spec, ...], bool]] = []
        self.frames: list[FrameCopy] = []
        self.result: Term = (_plain_term, None)
        self.written: list[tuple[int, int]] = []
        self.changed: list[tuple[int, list[Term], list[str]]] = []
        self.generators: list[tuple[int, Any, Node | None]] = []

    def buffers(self) -> Iterator[Any]:
        """The arrays that the cache must count."""
        return (k.data for k in self.kept if type(k.data) is np.ndarray)

    def with_buffers(self, old: Sequence[Any], new: Sequence[Any]) -> Record:
        """A record like this, with other arrays in the place of `buffers`."""
        made = copy.copy(self)
        rest = iter(new)
        given = {id(a) for a in old if a is not None}
        made.kept = [
            Kept(k.node, next(rest) if k.data is None or id(k.data) in given else k.data)
            for k in self.kept
        ]
        return made

    def __sizeof__(self) -> int:
        terms = [self.result, *(t for box in self.boxes for t in box.items)]
        held = sum(map(_size, terms)) + sum(5000 + x.nbytes for x in self.frames)
        return object.__sizeof__(self) + held + 300 * len(self.kept)

    def is_alone(self) -> bool:
        """Whether the call gave one array of its own and changed nothing."""
        if self.written or self.changed or self.generators or self.result[0] is not _array_term:
            return False
        return type(self.kept[self.result[1]].data) is not Unread

    def alone(self) -> Handle:
        """The one array that the call gave."""
        return _own_array(self.kept[self.result[1]], self.result[2])

    def restore(self, scan: Scan) -> Restored:
        """Results as handles, and what turns the arguments into what the call would leave."""
        now = _Restoring(self, scan)
        return Restored(now.build(), now.change)


def _size(term: Term) -> int:
    """Bytes of a term, about."""
    inner = term[2] if term[0] is _tuple_term else ()
    return 100 + getsizeof(term[1]) + sum(map(_size, inner))


# --------------------------------------------------------------------------- making a record


class Refused(Exception):
    """A call did something that no record can repeat; the message says what."""


class Draft:
    """Turns what a call returned and changed into a record.

    before      the arguments and data as they were when the call began
    originals   ids of the handles of all plain arrays that entered, ignored ones included

    `own` is the number of boxes, arrays or generators that the arguments hold; the rest is data.
    """

    def __init__(self, before: Scan, originals: set[int], seconds: float) -> None:
        self.before = before
        self.originals = originals
        self.record = Record(seconds)
        self._hashes: set[int] | None = None  # of boxes, as far as these are their addresses
        self.values: list[Value] = []
        self._places: dict[int, int] = {}
        self._boxes: dict[int, int] = {}
        self._views: dict[int, int] = {}
        self._frames: dict[int, int] = {}
        self._foreign: set[int] | None = None
        self._alive: list[Any] = []

    def term(self, x: Any) -> Term:
        """The term of one value; raises NotCanonical where there is none."""
        kind = type(x)
        if kind in ATOMS:
            if self._is_address(kind, x):
                raise Refused("it gives the address of an object, which an equal one has not")
            if kind is slice and not {type(x.start), type(x.stop), type(x.step)} <= ATOMS:
                raise NotCanonical("a slice of more than numbers")
            return (_plain_term, x)
        if isinstance(x, Handle):
            return self._array(x)
        if isinstance(x, tuple):
            if id(x) in self.before.tuples:
                return (_given_tuple, self.before.tuples[id(x)])
            if kind is not tuple and (getattr(x, "__dict__", None) or not hasattr(x, "_fields")):
                raise NotCanonical(f"a {kind.__qualname__}, a kind of tuple")
            return (_tuple_term, kind, [self.term(v) for v in x])
        known = self._known(x)
        if known is not None:
            return known
        if kind is np.ndarray:
            return self._plain_array(x)
        if constants.is_member(x):
            return (_plain_term, x)
        if is_frame(x):
            return self._frame(x)
        layout = layout_of(x)
        if layout is not None:
            return self._box(x, layout)
        if constants.content(x) is not None:
            return (_plain_term, x)
        if isinstance(x, frozenset):
            if not all(type(v) in ATOMS for v in x):
                raise NotCanonical("a frozenset of more than numbers and text")
        else:
            encode(x)
        return (_plain_term, x)

    def _is_address(self, kind: Any, x: Any) -> bool:
        """Whether text holds the address of what the call was given (`<A at 0x7f...>`), or a number
        is the hash that is made of it."""
        if kind is str and "0x" in x:
            text = x.lower()
            return any(f"{id(box):x}" in text for box in self.before.boxes)
        if kind is not int or x.bit_length() < 20:
            return False
        if self._hashes is None:
            self._hashes = set(map(object.__hash__, self.before.boxes))
        return x in self._hashes

    def _known(self, x: Any) -> Term | None:
        """A list, object, generator, ... that the call was given."""
        place = self.before.places.get(id(x))
        if place is not None:
            return (_GIVEN[place[:1]], int.from_bytes(place[1:], "little"))
        return None

    def _array(self, h: Handle) -> Term:
        known = self.before.views.get(id(h))
        if known is not None:
            return (_view_term, known)
        root = root_of(h)
        if h is root:
            return self._owner(h)
        if id(h) not in self._views:
            self._views[id(h)] = len(self.record.views)
            self._alive.append(h)
            self.record.views.append((self._owner(root), h._path, locked(h)))
        return (_new_view_term, self._views[id(h)])

    def _owner(self, root: Handle) -> Term:
        """An array that is no view."""
        place = self.before.places.get(id(root))
        if place is not None:
            return (_argument_term, int.from_bytes(place[1:], "little"))
        if is_outside(root) or id(root) in self.originals:
            raise NotCanonical("an array that belongs to plain code")
        return (_array_term, self.keep(root), locked(root))

    def keep(self, root: Handle) -> int:
        """The place of an array in the record."""
        if id(root) not in self._places:
            value = value_of(root)
            if value.data is None and value.node.derived is not None:
                raise Refused("what it returns is a part of what is kept already")
            start = perf_counter()
            force(value)  # the call's own work, which it only left waiting
            self.record.seconds += perf_counter() - start
            self._add(root, value)
        return self._places[id(root)]

    def _add(self, x: Any, value: Value) -> None:
        self._places[id(x)] = len(self.values)
        self._alive.append(x)
        self.values.append(value)

    def _plain_array(self, a: Any) -> Term:
        """A plain array that the call made: SciPy's, or of a module that is not traced."""
        if a.base is not None or not a.flags.owndata:
            raise NotCanonical("a view of plain memory")
        if id(a) not in self._places:
            self._add(a, Borrowed(leaf(a), a))
        return (_fresh_term, self._places[id(a)], a.flags.writeable)

    def _frame(self, x: Any) -> Term:
        """A frame of pandas that the call made; what it shares with arguments is shared again."""
        if id(x) not in self._frames:
            if self._foreign is None:
                given = [a for f in self.before.frames for a in held_by(f)]
                data = [h._value.data for h in self.before.arrays]
                self._foreign = {id(owner(a)) for a in (*given, *data, *self.before.plain)}
            made = FrameCopy(x, self.before, self._foreign)
            self._frames[id(x)] = len(self.record.frames)
            self._alive.append(x)
            self.record.frames.append(made)
        return (_frame_term, self._frames[id(x)])

    def _box(self, x: Any, layout: Any) -> Term:
        if any(x is getattr(f, "attrs", None) for f in self.record.frames):
            raise NotCanonical("the attrs of a frame")
        if id(x) not in self._boxes:
            if layout.blank is None or not layout.known:
                raise NotCanonical(f"a {type(x).__module__}.{type(x).__qualname__}")
            place = self._boxes[id(x)] = len(self.record.boxes)
            self._alive.append(x)
            box = Box(layout.blank, [], layout.fields(x) if layout.fields else [])
            self.record.boxes.append(box)
            box.items.extend(self.term(v) for v in layout.items(x))
            return (_box_term, place)
        return (_box_term, self._boxes[id(x)])

    # ------------------------------------------------------------ effects

    def changes(self, own: int, after: Scan) -> None:
        """The lists and objects that hold something else than before."""
        for k, (old, new) in enumerate(zip(self.before.forms, after.forms, strict=False)):
            if old == new:
                continue
            box = self.before.boxes[k]
            layout = layout_of(box)
            if k >= own or layout is None:
                raise Refused(f"it changes a {type(box).__name__} that is no argument")
            names = layout.fields(box) if layout.fields else []
            self.record.changed.append((k, [self.term(v) for v in layout.items(box)], names))

    def writes(self, own: int, old: list[Value], digests: list[bytes]) -> None:
        """The arrays that were written."""
        for k, (root, value) in enumerate(zip(self.before.arrays, old, strict=True)):
            if is_outside(root):
                changed = value_of(root).node.digest != digests[k]
            else:
                changed = root._value is not value
            if changed and (k >= own or is_outside(root)):
                raise Refused("it writes into an array that is no argument")
            if changed:
                self.record.written.append((k, self.keep(root)))

    def draws(self, own: int, old: list[bytes]) -> None:
        """The generators that were advanced."""
        for k, (generator, digest) in enumerate(zip(self.before.generators, old, strict=True)):
            if generator.state_node().digest == digest:
                continue
            if k >= own:
                raise Refused("it draws from a generator that is no argument")
            state = state_of(generator._generator)
            self.record.generators.append((k, state, generator._node))

    # ------------------------------------------------------------ data

    def copied_bytes(self) -> int:
        """Bytes that must be copied if the record is kept."""
        copied: int = sum(v.data.nbytes for v in self.values if _needs_copy(v))
        return copied + PRICE * sum(x.nbytes for x in self.record.frames)

    def finish(self) -> Record:
        """The record with its data: the results' own buffers, copies of what others can write."""
        for value in self.values:
            data = clone(value.data) if _needs_copy(value) else value.data
            if getattr(data, "strides", ()) != getattr(value.data, "strides", ()):
                self.record.recast.add(len(self.record.kept))
            self.record.kept.append(Kept(value.node, data))
        copies: Copies = {}
        for x in self.record.frames:
            x.freeze(copies)
            if not x.is_right(self.before):
                raise NotCanonical("a frame that cannot be copied")
        return self.record

    def settle(self) -> None:
        """Buffers that the cache took are shared from now on."""
        for value, kept in zip(self.values, self.record.kept, strict=True):
            if kept.data is value.data and type(kept.data) is np.ndarray:
                value.shared = value.shared or not kept.data.flags.writeable


def _needs_copy(value: Value) -> bool:
    data = value.data
    if type(data) is not np.ndarray:
        if not isinstance(data, np.generic) or isinstance(data, np.void):
            raise NotCanonical(f"a result that is a {type(data).__name__}")
        return False
    if type(value) is Borrowed or data.base is not None:
        return True
    return value.shared and data.flags.writeable


# --------------------------------------------------------------------------- doing as if it had run


class _Restoring:
    """One use of a record."""

    def __init__(self, record: Record, scan: Scan) -> None:
        self.record = record
        self.scan = scan
        self.arrays: dict[int, Handle] = {}
        self.fresh: dict[int, Any] = {}
        self.views: dict[int, Any] = {}
        self.frames: dict[int, Any] = {}
        self.copies: Copies = {}
        self.boxes = [box.blank() for box in record.boxes]

    def build(self) -> Any:
        """The results. Nothing that the call was given is changed yet."""
        record = self.record
        for made, box in zip(self.boxes, record.boxes, strict=True):
            assign(made, [self.make(t) for t in box.items], box.names)
        self.contents = [
            (k, [self.make(t) for t in items], names) for k, items, names in record.changed
        ]
        return self.make(record.result)

    def change(self) -> None:
        """The effects of the call."""
        record, scan = self.record, self.scan
        for argument, place in record.written:
            overwrite(scan.arrays[argument], record.kept[place])
        for k, state, node in record.generators:
            _advance(scan.generators[k], state, node)
        for k, items, names in self.contents:
            assign(scan.boxes[k], items, names)

    def make(self, term: Term) -> Any:
        return term[0](self, *term[1:])


def _plain_term(now: _Restoring, x: Any) -> Any:
    return x


def _tuple_term(now: _Restoring, kind: type[tuple[Any, ...]], items: list[Term]) -> Any:
    return tuple.__new__(kind, [now.make(t) for t in items])


def _box_term(now: _Restoring, place: int) -> Any:
    return now.boxes[place]


def _array_term(now: _Restoring, place: int, readonly: bool) -> Any:
    if place not in now.arrays:
        kept = now.record.kept[place]
        if type(kept.data) is Unread:
            made = now.arrays[place] = handle(kept.data.value(kept.node, now.scan.arrays))
            made._locked = readonly
        else:
            now.arrays[place] = _own_array(kept, readonly)
    return now.arrays[place]


def _own_array(kept: Kept, readonly: bool) -> Handle:
    value = new_value(kept.node, kept.data)
    value.shared = True
    made: Handle = new_handle(value)
    made._locked = readonly
    return made


def _argument_term(now: _Restoring, place: int) -> Any:
    return now.scan.arrays[place]


def _view_term(now: _Restoring, place: int) -> Any:
    return now.scan.given_views[place]


def _new_view_term(now: _Restoring, place: int) -> Any:
    if place not in now.views:
        root, path, readonly = now.record.views[place]
        base = now.make(root)
        for spec in path:
            base = view_handle(apply(OPS[spec.op], spec, (value_of(base),)), base, spec)
        base._locked = readonly
        now.views[place] = base
    return now.views[place]


def _fresh_term(now: _Restoring, place: int, writeable: bool) -> Any:
    if place not in now.fresh:
        now.fresh[place] = clone(now.record.kept[place].data)
        now.fresh[place].setflags(write=writeable)
    return now.fresh[place]


def _frame_term(now: _Restoring, place: int) -> Any:
    if place not in now.frames:
        now.frames[place] = now.record.frames[place].make(now.scan, now.copies)
    return now.frames[place]


def _given_box(now: _Restoring, place: int) -> Any:
    return now.scan.boxes[place]


def _given_tuple(now: _Restoring, place: int) -> Any:
    return now.scan.given_tuples[place]


def _given_array(now: _Restoring, place: int) -> Any:
    return now.scan.plain[place]


def _given_generator(now: _Restoring, place: int) -> Any:
    return now.scan.generators[place]


def _given_frame(now: _Restoring, place: int) -> Any:
    return now.scan.frames[place]


_GIVEN = {b"@": _given_box, b"p": _given_array, b"g": _given_generator, b"f": _given_frame}
"""What was given to the call, by the tag of its place in a `Scan`."""


def overwrite(target: Handle, kept: Kept) -> None:
    """Let an array have the elements that a call wrote into it."""
    old = target._value
    if is_outside(target):
        old.data[...] = kept.data
    elif type(old) is Borrowed:
        detach(old)
        old.data[...] = kept.data
        repoint(target, Value(kept.node, old.data), old)
    else:
        value = Value(kept.node, kept.data)
        value.shared = True
        repoint(target, value, None)


def _advance(generator: TracedGenerator, state: Any, node: Node | None) -> None:
    frame = active()
    if frame is not None:
        frame.draws_from(generator._generator)
    set_state(generator._generator, state)
    generator._node = node
