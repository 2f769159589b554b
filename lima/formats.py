"""SciPy's sparse arrays and matrices as what they are made of: a class, a shape and plain arrays.

`taken` takes one apart and `built` puts one together without a look at its content, so that every
dtype of indices, every order and every duplicate survives. SciPy is not imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

FORMATS: dict[str, tuple[str, ...]] = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "bsr": ("data", "indices", "indptr"),
    "coo": ("data", "coords"),
    "dia": ("data", "offsets"),
}
"""The attributes that hold the arrays of each format; `coords` is a tuple of arrays."""

KINDS = frozenset(f"{name}_{kind}" for name in FORMATS for kind in ("array", "matrix"))
"""Names of the classes that can be taken apart. LIL and DOK hold Python objects."""

FLAGS = {
    "_has_sorted_indices": "has_sorted_indices",
    "_has_canonical_format": "has_canonical_format",
}
"""What compressed formats remember of their content, and how they are asked for it."""

EXTRAS = frozenset({*FLAGS, "has_canonical_format", "maxprint"})

MAXPRINT = 50


class Parts(NamedTuple):
    """A sparse array, taken apart.

    kind    name of its class, such as "csr_array"
    shape   length of each axis
    extras  state beside the arrays that the arrays do not tell, as (attribute, value)
    arrays  data first, then indices and indptr, coordinates, or offsets
    """

    kind: str
    shape: tuple[int, ...]
    extras: tuple[tuple[str, Any], ...]
    arrays: tuple[Any, ...]


def kind_of(cls: type) -> str | None:
    """The name of a class of SciPy's that can be taken apart; None for any other, also a subclass.

    >>> kind_of(dict) is None
    True
    """
    name = cls.__name__
    if name not in KINDS or not str(cls.__module__).startswith("scipy.sparse"):
        return None
    return name if getattr(sys.modules.get("scipy.sparse"), name, None) is cls else None


def class_of(kind: str) -> Any:
    """The class of this name."""
    return getattr(import_module("scipy.sparse"), kind)


def names_of(kind: str, count: int) -> list[str]:
    """How `count` arrays of a kind are reached, such as "indptr" or "coords[1]"."""
    first, *rest = FORMATS[kind[:3]]
    return [first, *(rest if rest != ["coords"] else [f"coords[{k}]" for k in range(count - 1)])]


def named_arrays(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by name, those of a sparse array `A` as "A.data", "A.indices", ..."""
    found: dict[str, Any] = {}
    for name, x in inputs.items():
        parts = taken(x, check=False)
        if parts is None:
            found[name] = x
        else:
            names = names_of(parts.kind, len(parts.arrays))
            found.update((f"{name}.{part}", a) for part, a in zip(names, parts.arrays, strict=True))
    return found


def taken(x: Any, check: bool = True) -> Parts | None:
    """The parts of a sparse array; None for what is none, or holds more than SciPy gives it.

    Flags that agree with the content say nothing and are left out, so that an array that was asked
    for them is still the same; they are believed without `check`.
    """
    kind = kind_of(type(x))
    if kind is None:
        return None
    fields = dict(x.__dict__)
    shape = fields.pop("_shape", None)
    extras = {"maxprint": fields.pop("maxprint", MAXPRINT)}
    arrays: list[Any] = []
    for name in FORMATS[kind[:3]]:
        if name not in fields:
            return None
        part = fields.pop(name)
        arrays.extend(part if name == "coords" else (part,))
    for name in (*FLAGS, "has_canonical_format"):
        if name in fields:
            extras[name] = fields.pop(name)
    if fields or type(shape) is not tuple:
        return None
    if extras["maxprint"] == MAXPRINT:
        del extras["maxprint"]
    if not extras.get("has_canonical_format", True):
        del extras["has_canonical_format"]
    if any(name in extras for name in FLAGS):
        truth = built(kind, shape, (), arrays) if check else None
        for name, asked in FLAGS.items():
            if name in extras and (truth is None or getattr(truth, asked) == extras[name]):
                del extras[name]
    return Parts(kind, tuple(map(int, shape)), tuple(extras.items()), tuple(arrays))


def built(
    kind: str, shape: tuple[int, ...], extras: Iterable[tuple[str, Any]], arrays: Iterable[Any]
) -> Any:
    """The sparse array with these parts, which it shares."""
    cls = class_of(kind)
    made = cls.__new__(cls)
    fill(made, Parts(kind, shape, tuple(extras), tuple(arrays)))
    return made


def fill(x: Any, parts: Parts) -> None:
    """Let a sparse array consist of these parts."""
    names = FORMATS[parts.kind[:3]]
    first, *rest = parts.arrays
    fields: dict[str, Any] = {"_shape": parts.shape, "maxprint": MAXPRINT}
    if names[1] == "coords":
        fields.update(coords=tuple(rest), data=first, has_canonical_format=False)
    else:
        fields.update(zip(names, parts.arrays, strict=True))
    for name, value in parts.extras:
        if name not in EXTRAS:
            raise ValueError(f"{name!r} is no flag of a sparse array")
        fields[name] = value
    x.__dict__.clear()
    x.__dict__.update(fields)
