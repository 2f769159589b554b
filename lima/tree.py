"""Plain values to traced ones at the door of a traced call, and back when it returns (D3)."""

from __future__ import annotations

import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any

import numpy as np

from lima.calls import is_private
from lima.errors import InternalError
from lima.forcing import force
from lima.handle import Handle, data_of, is_outside, locked, release, value_of
from lima.leaves import seen
from lima.node import Node, leaf
from lima.op import OPS, clone, evaluate, owner
from lima.values import Pending, Value, live_users

Convert = Callable[[Any], Any]
"""Replaces one plain object by its traced twin (or back); returns its argument where it has none."""


# --------------------------------------------------------------------------- lineage of plain arrays

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


def entering(a: Any, name: str | None) -> Value:
    """The value of a plain array that enters: recognised by content, or a leaf."""
    entered, made = recall(a)
    if made is None:
        entered.name = name
        seen(entered.digest, a)
    value = Value(made or entered, a)
    value.shared = True
    return value


# --------------------------------------------------------------------------- walking containers


def is_record(x: Any) -> bool:
    """Whether `x` is an instance of a class of the user's, whose attributes may hold arrays."""
    return is_users(type(x)) and not isinstance(x, (type, types.ModuleType, Handle))


def is_users(kind: type) -> bool:
    """Whether a class is written in Python and belongs neither to a known library nor to Python."""
    if not kind.__flags__ & _HEAP:
        return False
    home = (kind.__module__ or "").partition(".")[0]
    return home not in _FOREIGN_HOMES and home not in sys.stdlib_module_names - {"__main__"}


_HEAP = 1 << 9
_FOREIGN_HOMES = frozenset({"numpy", "scipy", "pandas", "lima", "builtins", "sklearn", "numba"})


def fields_of(x: Any) -> Iterator[tuple[str, Any]]:
    """The attributes that an object holds itself, in `__dict__` and in slots."""
    yield from list(getattr(x, "__dict__", {}).items())
    for kind in type(x).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(x, name):
                yield name, getattr(x, name)


def set_field(x: Any, name: str, item: Any) -> None:
    """Set an attribute of an object, frozen dataclasses included."""
    if name in getattr(x, "__dict__", {}):
        x.__dict__[name] = item
    else:
        object.__setattr__(x, name, item)


NAMED_ITEMS = 100
"""Items of a container that are given names; longer ones hold data, not parameters."""


def arrays_by_name(name: str, x: Any) -> Iterator[tuple[str, Any]]:
    """The plain arrays inside an argument with the expressions that reach them.

    >>> [path for path, _ in arrays_by_name("data", {"X": np.ones(2), "folds": [np.ones(1)]})]
    ["data['X']", "data['folds'][0]"]
    """
    todo, seen = [(name, x)], set()
    while todo:
        path, item = todo.pop()
        if isinstance(item, np.ndarray):
            yield path, item
        elif id(item) not in seen and type(item) not in _ATOMS:
            seen.add(id(item))
            todo += reversed(list(_parts(path, item)))


def _parts(path: str, x: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        yield from ((f"{path}.{name}", item) for name, item in zip(x._fields, x, strict=True))
    elif type(x) in (tuple, list):
        if len(x) <= NAMED_ITEMS:
            yield from ((f"{path}[{k}]", item) for k, item in enumerate(x))
    elif type(x) is dict:
        if len(x) <= NAMED_ITEMS:
            yield from ((f"{path}[{key!r}]", item) for key, item in x.items() if type(key) is str)
    elif is_record(x):
        yield from ((f"{path}.{name}", item) for name, item in fields_of(x))


class Walk:
    """Applies a conversion to everything inside containers and objects.

    in_place   lists, dicts and sets are changed themselves (on the way out); otherwise copied
               (on the way in, so that the caller's own containers never hold traced arrays)
    """

    def __init__(self, convert: Convert, in_place: bool) -> None:
        self.convert = convert
        self.in_place = in_place
        self.memo: dict[int, Any] = {}
        self.alive: list[Any] = []
        self.copied: list[tuple[Any, Any, Any]] = []
        self.changed: list[tuple[Any, str]] = []

    def __call__(self, x: Any) -> Any:
        if type(x) in _ATOMS:
            return x
        key = id(x)
        if key in self.memo:
            return self.memo[key]
        self.alive.append(x)
        made = self.convert(x)
        if made is not x:
            self.memo[key] = made
            return made
        self.memo[key] = x
        walker = _WALKERS.get(type(x))
        if walker is not None:
            made = walker(self, x)
        elif isinstance(x, tuple) and hasattr(x, "_fields"):
            items = [self(v) for v in x]
            made = type(x)(*items) if _differ(items, x) else x
        elif is_record(x):
            made = self._record(x)
        self.memo[key] = made
        return made

    def _tuple(self, x: tuple[Any, ...]) -> Any:
        items = [self(v) for v in x]
        return tuple(items) if _differ(items, x) else x

    def _list(self, x: list[Any]) -> Any:
        target = x if self.in_place else []
        self.memo[id(x)] = target
        items = [self(v) for v in x]
        if self.in_place:
            if _differ(items, x):
                x[:] = items
            return x
        target.extend(items)
        self.copied.append((x, target, list(target)))
        return target

    def _dict(self, x: dict[Any, Any]) -> Any:
        target = x if self.in_place else {}
        self.memo[id(x)] = target
        items = [(self(k), self(v)) for k, v in x.items()]
        if not self.in_place:
            target.update(items)
            self.copied.append((x, target, dict(target)))
        elif any(a is not k or b is not v for (a, b), (k, v) in zip(items, x.items(), strict=True)):
            x.clear()
            x.update(items)
        return target

    def _set(self, x: set[Any]) -> Any:
        items = {self(v) for v in x}
        if self.in_place and any(isinstance(v, Handle) for v in x):
            x.clear()
            x.update(items)
        return x

    def _record(self, x: Any) -> Any:
        for name, item in fields_of(x):
            made = self(item)
            if made is not item:
                set_field(x, name, made)
                self.changed.append((x, name))
        return x


_ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, bytes, type, types.FunctionType}
    | {np.float64, np.int64, np.float32, np.bool}
)
_WALKERS: dict[type, Callable[[Walk, Any], Any]] = {
    tuple: Walk._tuple,
    list: Walk._list,
    dict: Walk._dict,
    set: Walk._set,
}


def _differ(items: list[Any], old: Any) -> bool:
    return any(a is not b for a, b in zip(items, old, strict=True))


def write_back(walk: Walk, leave: Walk) -> None:
    """Let the caller's containers follow what the call did to their traced copies."""
    for original, copied, before in walk.copied:
        if isinstance(copied, list):
            changed = len(copied) != len(before) or _differ(copied, before)
        else:
            changed = list(copied) != list(before) or _differ(
                list(copied.values()), list(before.values())
            )
        if not changed:
            continue
        if isinstance(copied, list):
            original[:] = [leave(v) for v in copied]
        else:
            items = {leave(k): leave(v) for k, v in copied.items()}
            original.clear()
            original.update(items)


# --------------------------------------------------------------------------- arrays on their way out


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


def detach(value: Value) -> None:
    """Compute what waits to read the buffer of `value`, which plain code may write from now on."""
    for user in list(live_users(value)):
        if isinstance(user, Pending) and user.data is None and user.root is None:
            force(user)


def settle(h: Handle, original: Any) -> None:
    """Bring the caller's array up to date with what the call wrote into it."""
    data = data_of(h)
    if data is not original:
        if data.shape != original.shape:
            original.shape = data.shape
        if owner(data) is not owner(original):
            original[...] = data
