"""Columns of values in little memory, and parameters taken apart into such columns."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from lima.node import Ref, Spec

_SIZES = ("i1", "i2", "i4", "i8")


def pack(values: list[Any]) -> Any:
    """A column in little memory; `unpack` gives equal values of the same types.

    >>> unpack(pack([1, 2, 3])), unpack(pack([0.5, -0.0])), unpack(pack(["a", None]))
    ([1, 2, 3], [0.5, -0.0], ['a', None])
    """
    first = values[0]
    if all(value is first for value in values):
        return None, len(values), first
    kinds = set(map(type, values))
    kind = kinds.pop() if len(kinds) == 1 else object
    if kind is int and max(map(abs, values)) < 1 << 62:
        steps = np.diff(np.array(values, np.int64), prepend=np.int64(0))
        most = max(abs(int(steps.min())), abs(int(steps.max())))
        small = next(code for code in _SIZES if most <= np.iinfo(code).max)
        return int, small, zlib.compress(steps.astype(small).tobytes(), 1)
    if kind is float or kind is np.float64:
        # The first bytes of all numbers, then the second ones ...: signs and exponents are alike.
        raw = np.ascontiguousarray(np.array(values, np.float64).view(np.uint8).reshape(-1, 8).T)
        return kind, len(values), zlib.compress(raw.tobytes(), 1)
    if kind is bytes and all(len(value) == 16 for value in values):
        return bytes, 16, b"".join(values)
    return object, len(values), tuple(values)


def unpack(column: Any) -> list[Any]:
    """The values of a packed column."""
    kind, size, data = column
    if kind is None:
        return [data] * size
    if kind is int:
        steps = np.frombuffer(zlib.decompress(data), size)
        return np.cumsum(steps, dtype=np.int64).tolist()  # type: ignore[no-any-return]
    if kind is bytes:
        return [data[k : k + size] for k in range(0, len(data), size)]
    if kind is object:
        return list(data)
    raw = np.frombuffer(zlib.decompress(data), np.uint8).reshape(8, size)
    numbers = np.ascontiguousarray(raw.T).view(np.float64).ravel()
    return numbers.tolist() if kind is float else list(numbers)


_PLAIN = frozenset({type(None), bool, str, bytes, type(...), Ref})


def frame_of(value: Any, atoms: list[Any]) -> Any:
    """What a parameter shares with others of its form; the numbers and data in it go to `atoms`."""
    kind = type(value)
    if kind is tuple or kind is list:
        return (kind, *[frame_of(item, atoms) for item in value])
    if kind is slice:
        ends = (value.start, value.stop, value.step)
        return (kind, *[frame_of(item, atoms) for item in ends])
    if kind in _PLAIN:
        return (None, kind, value)
    atoms.append(value)
    return None


def framed(frame: Any, atoms: Iterator[Any]) -> Any:
    """The parameter that `frame_of` took apart."""
    if frame is None:
        return next(atoms)
    kind = frame[0]
    if kind is None:
        return frame[2]
    return (
        slice(*[framed(f, atoms) for f in frame[1:]])
        if kind is slice
        else kind([framed(f, atoms) for f in frame[1:]])
    )


def frame_of_spec(spec: Spec, atoms: list[Any]) -> tuple[Any, ...]:
    params = tuple([(name, frame_of(value, atoms)) for name, value in spec.params])
    return spec.op, spec.npos, spec.version, params


def framed_spec(frame: tuple[Any, ...], atoms: Iterator[Any]) -> Spec:
    op, npos, version, params = frame
    return Spec(op, tuple([(name, framed(f, atoms)) for name, f in params]), npos, version)
