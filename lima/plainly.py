"""Plain data as JSON of a closed set of words, and back: nothing that is read can run code.

Numbers go by their bits. What JSON has itself stands for itself (None, booleans, integers, text);
anything else is a list that begins with a word of `_MAKE`.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

import numpy as np

from lima.errors import NotCanonical
from lima.node import Ref, dtype_text
from lima.objects import Broken, is_plain_dtype

_f64 = Struct("<d")
_c128 = Struct("<dd")

MAX_INLINE = 1 << 14
"""Bytes of the largest array that is written out, such as the state of a generator."""


def words_of(x: Any) -> Any:
    """What stands for `x`; raises NotCanonical for anything that has no words."""
    kind = type(x)
    if x is None or kind in (bool, int, str):
        return x
    write = _WRITE.get(kind)
    if write is not None:
        return write(x)
    if isinstance(x, np.number | np.bool_ | np.datetime64):
        return ["n", _dtype(x.dtype), x.tobytes().hex()]
    if isinstance(x, np.dtype):
        return ["d", _dtype(x)]
    raise NotCanonical(f"a {kind.__module__}.{kind.__qualname__}, which a store cannot hold")


def _dtype(dtype: Any) -> str:
    text = dtype_text(dtype)
    if not is_plain_dtype(text):
        raise NotCanonical(f"dtype {dtype}, which a store cannot hold")
    return text


def _array(x: Any) -> list[Any]:
    if x.nbytes > MAX_INLINE or not x.flags.c_contiguous:
        raise NotCanonical("an array in the place of a number")
    return ["a", _dtype(x.dtype), list(x.shape), x.tobytes().hex(), x.flags.writeable]


_WRITE: dict[type, Callable[[Any], list[Any]]] = {
    float: lambda x: ["f", _f64.pack(x).hex()],
    complex: lambda x: ["c", _c128.pack(x.real, x.imag).hex()],
    bytes: lambda x: ["b", x.hex()],
    slice: lambda x: ["s", *map(words_of, (x.start, x.stop, x.step))],
    range: lambda x: ["r", x.start, x.stop, x.step],
    type(Ellipsis): lambda x: ["e"],
    tuple: lambda x: ["t", *map(words_of, x)],
    list: lambda x: ["l", *map(words_of, x)],
    dict: lambda x: ["m", *(words_of(v) for pair in x.items() for v in pair)],
    np.ndarray: _array,
    Ref: lambda x: ["@", x.index],
}


def read_words(x: Any) -> Any:
    """What `words_of` had been given; raises Broken, or one of `FAULTS`, for anything else."""
    if x is None or type(x) in (bool, int, str):
        return x
    if type(x) is not list or not x or type(x[0]) is not str or x[0] not in _MAKE:
        raise Broken(f"{x!r:.80} stands for nothing")
    return _MAKE[x[0]](*x[1:])


def _read_dtype(text: Any) -> Any:
    if not is_plain_dtype(text):
        raise Broken(f"{text!r:.80} is no dtype")
    return np.dtype(text)


def _number(text: Any, raw: str) -> Any:
    (found,) = np.frombuffer(bytes.fromhex(raw), _read_dtype(text))
    return found


def _read_array(text: Any, shape: list[int], raw: str, writeable: bool) -> Any:
    made = np.frombuffer(bytes.fromhex(raw), _read_dtype(text)).reshape(shape).copy()
    made.setflags(write=writeable is True)
    return made


def _mapping(*items: Any) -> dict[Any, Any]:
    read = [read_words(v) for v in items]
    return dict(zip(read[::2], read[1::2], strict=True))


def natural(x: Any, below: int | None = None) -> int:
    """`x`, if it is a place: a number from 0, less than `below`; raises Broken otherwise."""
    if type(x) is not int or x < 0 or (below is not None and x >= below):
        raise Broken(f"{x!r:.80} is no place")
    return x


_MAKE: dict[str, Callable[..., Any]] = {
    "f": lambda raw: _f64.unpack(bytes.fromhex(raw))[0],
    "c": lambda raw: complex(*_c128.unpack(bytes.fromhex(raw))),
    "b": bytes.fromhex,
    "s": lambda *ends: slice(*map(read_words, ends)),
    "r": range,
    "e": lambda: Ellipsis,
    "t": lambda *items: tuple(map(read_words, items)),
    "l": lambda *items: list(map(read_words, items)),
    "m": _mapping,
    "n": _number,
    "d": _read_dtype,
    "a": _read_array,
    "@": lambda index: Ref(natural(index)),
}

FAULTS = (Broken, TypeError, ValueError, LookupError, RecursionError, AttributeError, OverflowError)
"""What reading words that nobody wrote may raise."""
