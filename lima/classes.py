"""What classes and functions say beside their code: names, fields, and who is registered."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

from lima.node import encode
from lima.walk import is_users

LABELS = ("__name__", "__qualname__", "__module__", "__doc__")
"""Attributes that decide nothing, unless somebody reads them."""

_dump: Any = import_module("_abc")._get_dump
_registered: WeakKeyDictionary[type, tuple[Any, tuple[str, ...]]] = WeakKeyDictionary()


def labels(x: Any) -> bytes:
    """The names and the text of a function or class."""
    return encode([text if type(text) is str else None for text in _labels(x)])


def _labels(x: Any) -> Iterator[Any]:
    return (getattr(x, name, None) for name in LABELS)


def registered(c: Any) -> tuple[str, ...]:
    """The classes of the program that pass for one of `c` by `register`; one object while so.

    A class that is registered with one below `c` passes for one of `c`, too.
    """
    token = abc.get_cache_token()
    known = _registered.get(c)
    if known is not None and known[0] == token:
        return known[1]
    names: set[str] = set()
    todo, seen = [c], set()
    while todo:
        base = todo.pop()
        if base in seen:
            continue
        seen.add(base)
        found = {ref() for ref in _dump(base)[0]} if isinstance(base, abc.ABCMeta) else set()
        names.update(f"{k.__module__}.{k.__qualname__}" for k in found if k and is_users(k))
        todo += (k for k in (*type.__subclasses__(base), *found) if isinstance(k, type))
    made = tuple(sorted(names))
    if known is not None and known[1] == made:
        made = known[1]
    _registered[c] = token, made
    return made


def metadata(field: Any) -> tuple[tuple[Any, Any], ...]:
    """What the author of a dataclass noted with a field."""
    return tuple(field.metadata.items())


_OF_MEMBERS = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_"})


def of_member(x: Any) -> dict[str, Any]:
    """What a member of an enumeration holds: its value, and attributes of the user's."""
    held = {k: v for k, v in getattr(x, "__dict__", {}).items() if k not in _OF_MEMBERS}
    return {"value": x._value_, **held}


def held_by(member: Any) -> tuple[tuple[str, Any], ...]:
    """The same as pairs, which are equal as long as it holds the same."""
    return tuple(of_member(member).items())
