"""Containers and objects: what they hold, and replacing it (D3).

`layout_of` says how the content of a list, dict, object, ... is read and set; `Walk` replaces
arrays anywhere inside such a structure, whatever its depth, sharing and cycles.
"""

from __future__ import annotations

import functools
import struct
import sys
import types
import typing
from abc import ABC
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Generic, NamedTuple

import numpy as np

from lima.formats import kind_of, names_of, taken

Convert = Callable[[Any], Any]
"""Replaces one plain object by its traced twin, or back; gives its argument where it has none."""

ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, bytes, slice, range, type(Ellipsis)}
    | {np.dtype(c).type for c in "?bhilqpBHILQPefdgFDG"}
)
"""Types of values that hold nothing else and never change."""


_PLAIN = ATOMS - {slice}
"""Those that no walk looks into."""


class Layout(NamedTuple):
    """How to read and set what an object of one type holds.

    items    its content, as a list
    refill   sets the content; the attributes of an object stay those that it has
    fresh    a new empty object like a given one; None where objects are changed in place instead
    blank    a new empty object, whose content is then set; None where that is not enough
    fields   names of the attributes of an object, in the order of the last items; None if it has
             none
    content  the layout of what an object holds beside its attributes
    known    whether items and fields are all of its state
    """

    items: Callable[[Any], list[Any]]
    refill: Callable[[Any, list[Any]], None]
    fresh: Callable[[Any], Any] | None
    blank: Callable[[], Any] | None = None
    fields: Callable[[Any], list[str]] | None = None
    content: Any = None
    known: bool = True


# --------------------------------------------------------------------------- builtin containers


def _pairs(x: Any) -> list[Any]:
    return [part for pair in dict.items(x) for part in pair]


def _set_pairs(x: Any, items: list[Any]) -> None:
    dict.clear(x)
    for key, value in zip(items[::2], items[1::2], strict=True):
        dict.__setitem__(x, key, value)


def _set_ordered(x: Any, items: list[Any]) -> None:
    OrderedDict.clear(x)
    for key, value in zip(items[::2], items[1::2], strict=True):
        OrderedDict.__setitem__(x, key, value)


def _set_list(x: Any, items: list[Any]) -> None:
    list.__setitem__(x, slice(None), items)


def _set_set(x: Any, items: list[Any]) -> None:
    set.clear(x)
    set.update(x, items)


def _set_deque(x: Any, items: list[Any]) -> None:
    deque.clear(x)
    deque.extend(x, items)


_list_items: Callable[[Any], list[Any]] = lambda x: list(list.__iter__(x))  # noqa: E731
_set_items: Callable[[Any], list[Any]] = lambda x: list(set.__iter__(x))  # noqa: E731
_deque_items: Callable[[Any], list[Any]] = lambda x: list(deque.__iter__(x))  # noqa: E731

CONTAINERS: dict[type, Layout] = {
    list: Layout(_list_items, _set_list, lambda x: [], list),
    dict: Layout(_pairs, _set_pairs, lambda x: {}, dict),
    OrderedDict: Layout(_pairs, _set_ordered, lambda x: OrderedDict(), OrderedDict),
    defaultdict: Layout(_pairs, _set_pairs, lambda x: defaultdict(x.default_factory)),
    Counter: Layout(_pairs, _set_pairs, lambda x: Counter(), Counter),
    deque: Layout(_deque_items, _set_deque, lambda x: deque(maxlen=x.maxlen)),
    # What a set holds is hashed, so it is no array; objects in it are changed in place.
    set: Layout(_set_items, _set_set, None, set),
}
"""The containers that are copied on the way in, so that the caller's never hold traced arrays."""

CONSTANT: dict[type, tuple[Callable[[Any], list[Any]], Callable[[list[Any]], Any]]] = {
    frozenset: (list, frozenset),
    slice: (lambda x: [x.start, x.stop, x.step], lambda items: slice(*items)),
    functools.partial: (
        # not the dict of keywords: a copy of it would be empty until the walk ends
        lambda x: [x.func, x.args, tuple(x.keywords.items())],
        lambda items: functools.partial(items[0], *items[1], **dict(items[2])),
    ),
}
"""What never changes beside tuples: its parts, and how it is made of them."""

SCALARS = (int, float, complex, str, bytes)
STATELESS = frozenset({object, ABC, Generic, typing.Protocol, Enum})
"""Classes of Python's that add nothing to what an object holds."""

RECORDS = frozenset({("types", "SimpleNamespace"), ("argparse", "Namespace")})
"""Classes of Python's whose objects are nothing but their attributes."""


# --------------------------------------------------------------------------- objects of users

_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made at run time, as by a class statement
_MANAGED_WEAKREF, _MANAGED_DICT = 1 << 3, 1 << 4
_POINTER = struct.calcsize("P")
_FOREIGN_HOMES = frozenset({"numpy", "scipy", "pandas", "lima", "builtins", "sklearn", "numba"})


def is_users(kind: type) -> bool:
    """Whether a class belongs neither to a known library nor to Python."""
    if not kind.__flags__ & _HEAP:
        return False
    module: Any = kind.__module__  # a class may put anything there
    home = module.partition(".")[0] if isinstance(module, str) else "builtins"
    return home not in _FOREIGN_HOMES and home not in sys.stdlib_module_names - {"__main__"}


def written_in_python(kind: type) -> bool:
    """Whether attributes and slots explain the size of the objects of a class.

    A class of an extension module keeps its state in memory that Python does not see.
    """
    base = kind.__base__
    if base is None:
        return False
    slots = sum(type(d) is types.MemberDescriptorType for d in vars(kind).values())
    expected = base.__basicsize__ + slots * _POINTER
    if kind.__dictoffset__ and not base.__dictoffset__ and not kind.__flags__ & _MANAGED_DICT:
        expected += _POINTER
    if (
        kind.__weakrefoffset__
        and not base.__weakrefoffset__
        and not kind.__flags__ & _MANAGED_WEAKREF
    ):
        expected += _POINTER
    return kind.__basicsize__ == expected


def _is_open(kind: type) -> bool:
    """Whether all the state of the objects of a class can be seen."""
    return all(
        base in CONTAINERS
        or base in STATELESS
        or base in SCALARS
        or base is tuple
        or (base.__module__, base.__qualname__) in RECORDS
        or (is_users(base) and written_in_python(base))
        for base in kind.__mro__
    )


def slots_of(kind: type) -> list[tuple[str, types.MemberDescriptorType]]:
    """Names and descriptors of the slots of a class and its bases, mangled names included."""
    return [
        (name, member)
        for base in kind.__mro__
        if is_users(base)
        for name, member in vars(base).items()
        if type(member) is types.MemberDescriptorType
    ]


def _object_layout(kind: type) -> Layout:
    """The layout of the objects of a class: content of its builtin base, slots, attributes."""
    base = next(b for b in kind.__mro__ if b not in STATELESS - {object} and not is_users(b))
    content = next((CONTAINERS[b] for b in kind.__mro__ if b in CONTAINERS), None)
    slots = dict(slots_of(kind))

    def fields(x: Any) -> dict[str, Any]:
        held = {name: _slot(x, member) for name, member in slots.items()}
        found = {name: value for name, value in held.items() if value is not _EMPTY}
        return {**found, **_attributes(x)}

    def items(x: Any) -> list[Any]:
        inner = [] if content is None else content.items(x)
        return [*inner, *fields(x).values()]

    def refill(x: Any, new: list[Any]) -> None:
        assign(x, new, list(fields(x)))

    blank = None if issubclass(kind, SCALARS) else functools.partial(base.__new__, kind)
    return Layout(items, refill, None, blank, lambda x: list(fields(x)), content, _is_open(kind))


def assign(x: Any, items: list[Any], names: list[str]) -> None:
    """Let `x` hold these items, the last of them as the attributes `names`, and nothing else."""
    layout = layout_of(x)
    assert layout is not None
    if layout.fields is None:
        return layout.refill(x, items)
    cut = len(items) - len(names)
    if layout.content is not None:
        layout.content.refill(x, items[:cut])
    fields = dict(zip(names, items[cut:], strict=True))
    slots = dict(slots_of(type(x)))
    for name, member in slots.items():
        if name in fields:
            member.__set__(x, fields[name])
        elif _slot(x, member) is not _EMPTY:
            member.__delete__(x)
    if type(x).__dictoffset__:
        rest = {name: value for name, value in fields.items() if name not in slots}
        attributes = x.__dict__
        if list(attributes) != list(rest):
            attributes.clear()
        attributes.update(rest)
    return None


_EMPTY = object()


def _attributes(x: Any) -> dict[str, Any]:
    return x.__dict__ if type(x).__dictoffset__ else {}


def _slot(x: Any, member: types.MemberDescriptorType) -> Any:
    try:
        return member.__get__(x)
    except AttributeError:
        return _EMPTY


_layouts: dict[type, Layout | None] = dict(CONTAINERS)


def register(kind: type, layout: Layout) -> None:
    """Let objects of a class be looked into in this way."""
    CONTAINERS[kind] = _layouts[kind] = layout


def layout_of(x: Any) -> Layout | None:
    """How to look into `x`; None for what holds nothing or cannot be looked into."""
    kind = type(x)
    try:
        return _layouts[kind]
    except KeyError:
        pass
    if len(_layouts) > 4096:  # classes made over and over
        _layouts.clear()
        _layouts.update(CONTAINERS)
    named = (kind.__module__, kind.__qualname__) in RECORDS
    users = named or (is_users(kind) and not issubclass(kind, (type, types.ModuleType)))
    found = _object_layout(kind) if users and not issubclass(kind, tuple) else None
    if kind_of(kind) is not None:  # SciPy's sparse arrays are nothing but their attributes
        found = _object_layout(kind)._replace(known=True)
    _layouts[kind] = found
    return found


# --------------------------------------------------------------------------- walking


def _same(x: Any) -> Any:
    return x


class Walk:
    """Applies a conversion to everything inside containers and objects; nothing is visited twice.

    With `copying`, containers of Python's own types are copied (on the way in); objects are
    changed themselves, since they must stay the objects that they are.

    copied   (original, its copy, the content that the copy got)
    tuples   (original, the tuple in its place)
    objects  what was visited and not copied
    """

    def __init__(self, convert: Convert, copying: bool = False) -> None:
        self.convert = convert
        self.copying = copying
        self.copied: list[tuple[Any, Any, list[Any]]] = []
        self.tuples: list[tuple[Any, Any]] = []
        self.objects: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._alive: list[Any] = []
        self._queue: list[tuple[Any, Any, Layout]] = []

    def __call__(self, x: Any) -> Any:
        """`x` with everything in it converted; `x` itself where nothing had to be."""
        made = self.visit(x)
        if self._queue:
            self._fill()
        return made

    def stands_for(self, x: Any, made: Any) -> None:
        """Let `x` be converted to `made` wherever it is met."""
        self._memo[id(x)] = made
        self._alive.append(x)

    def into(self, x: Any, layout: Layout) -> None:
        """Let what `x` holds be converted as well, before the walk ends."""
        self._queue.append((x, x, layout))

    def close(self) -> None:
        """Let go of everything that was visited, without waiting for the garbage collector."""
        self.convert = _same
        for held in (self._memo, self._alive, self.copied, self.tuples, self.objects):
            held.clear()

    def visit(self, x: Any) -> Any:
        """`x` converted; what it holds is converted before the walk ends."""
        kind = type(x)
        if kind in _PLAIN:
            return x
        if id(x) in self._memo:
            return self._memo[id(x)]
        made = self.convert(x)
        if made is x:
            layout = layout_of(x)
            if layout is not None:
                made = layout.fresh(x) if self.copying and layout.fresh else x
                self._queue.append((x, made, layout))
            elif isinstance(x, tuple):
                made = self._tuple(x)
            elif kind in CONSTANT:
                parts, make = CONSTANT[kind]
                made = self._constant(x, parts(x), make)
        self.stands_for(x, made)
        return made

    def _tuple(self, x: tuple[Any, ...]) -> Any:
        items = [self.visit(v) for v in x]
        if all(a is b for a, b in zip(items, x, strict=True)):
            return x
        made = tuple.__new__(type(x), items)
        if _attributes(x):
            made.__dict__.update(x.__dict__)
        self.tuples.append((x, made))
        return made

    def _constant(self, x: Any, parts: list[Any], make: Callable[[list[Any]], Any]) -> Any:
        items = [self.visit(v) for v in parts]
        return x if all(a is b for a, b in zip(items, parts, strict=True)) else make(items)

    def _fill(self) -> None:
        """Visit the content of what is queued, then set it: cycles meet what was made before."""
        filled = []
        k = 0
        while k < len(self._queue):
            x, made, layout = self._queue[k]
            old = layout.items(x)
            plain = _PLAIN.issuperset(map(type, old))
            filled.append((old, old if plain else [self.visit(v) for v in old]))
            k += 1
        for (x, made, layout), (old, new) in zip(self._queue, filled, strict=True):
            if made is not x:
                layout.refill(made, new)
                self.copied.append((x, made, new))
                continue
            self.objects.append(x)
            if any(a is not b for a, b in zip(old, new, strict=True)):
                layout.refill(x, new)
        self._queue.clear()


def may_hold_objects(x: Any) -> bool:
    """Whether there may be objects in `x` that are changed in place: of the user's, or frames."""
    todo = [x]
    seen: set[int] = set()
    while todo:
        item = todo.pop()
        kind = type(item)
        if kind in ATOMS or id(item) in seen:
            continue
        layout = layout_of(item)
        if kind in CONTAINERS:
            seen.add(id(item))
            todo += CONTAINERS[kind].items(item)
        elif isinstance(item, tuple):
            seen.add(id(item))
            todo += item
        elif layout is not None or str(kind.__module__).startswith("pandas."):
            return True
    return False


# --------------------------------------------------------------------------- names

NAMED_ITEMS = 100
"""Items of a container that are given names; longer ones hold data, not parameters."""


def arrays_by_name(name: str, x: Any) -> Iterator[tuple[str, Any]]:
    """The plain arrays inside an argument with the expressions that reach them.

    >>> [path for path, _ in arrays_by_name("data", {"X": np.ones(2), "folds": [np.ones(1)]})]
    ["data['X']", "data['folds'][0]"]
    """
    todo: list[tuple[str, Any]] = [(name, x)]
    seen: set[int] = set()
    while todo:
        path, item = todo.pop()
        if type(item) is np.ndarray:
            yield path, item
        elif type(item) not in ATOMS and id(item) not in seen:
            seen.add(id(item))
            todo += reversed(list(_parts(path, item)))


def _parts(path: str, x: Any) -> Iterator[tuple[str, Any]]:
    layout = layout_of(x)
    parts = taken(x, check=False)
    if parts is not None:
        names = names_of(parts.kind, len(parts.arrays))
        yield from ((f"{path}.{name}", a) for name, a in zip(names, parts.arrays, strict=True))
    elif isinstance(x, tuple) and hasattr(x, "_fields"):
        yield from ((f"{path}.{name}", item) for name, item in zip(x._fields, x, strict=True))
    elif type(x) in (tuple, list):
        if len(x) <= NAMED_ITEMS:
            yield from ((f"{path}[{k}]", item) for k, item in enumerate(x))
    elif type(x) is dict:
        if len(x) <= NAMED_ITEMS:
            yield from ((f"{path}[{key!r}]", item) for key, item in x.items() if type(key) is str)
    elif layout is not None and layout.fields is not None:
        names, items = layout.fields(x), layout.items(x)
        for name, item in zip(names, items[len(items) - len(names) :], strict=True):
            yield f"{path}.{name}", item
