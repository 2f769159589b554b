"""Parameters and literals as text, exactly: the terms of the log's grammar.

`spell` writes any value that has an encoding (`lima.node.encode`); `lima.scan` reads it back to a
value of the same encoding. The grammar is written down in `docs/log-format.md`.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from lima.errors import NotCanonical
from lima.node import Ref, Unique, content_bytes, dtype_text, encode, layout_of
from lima.streams import Slot

# --------------------------------------------------------------------------- arrays with strides


def strided(
    shape: tuple[int, ...], dtype: np.dtype[Any], strides: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    """A new array with exactly these strides (bytes); its elements are arbitrary, gaps are zero.

    One more number is the byte at which it begins.

    >>> strided((2, 3), np.dtype("f8"), (-64, 16)).strides
    (-64, 16)
    """
    strides, first = strides[: len(shape)], sum(strides[len(shape) :])
    reach = [s * (n - 1) for s, n in zip(strides, shape, strict=True)]
    empty = 0 in shape
    start = 0 if empty else -sum(r for r in reach if r < 0)
    span = 0 if empty else sum(map(abs, reach)) + dtype.itemsize
    memory = np.zeros(first + span, dtype=np.uint8)
    return np.ndarray(shape, dtype, memory, first + start, strides)


def arrange(a: np.ndarray[Any, Any], layout: Any) -> np.ndarray[Any, Any]:
    """The elements of `a` in memory order `layout` (of `layout_of`)."""
    if layout_of(a) == layout:
        return a
    if layout in ("C", "F"):
        return np.array(a, order=layout)
    out = strided(a.shape, a.dtype, layout)
    out[...] = a
    return out


# --------------------------------------------------------------------------- writing

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}

NUMBERS = {
    np.dtype(kind).str: kind
    for kind in (
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
}
"""NumPy scalars that are written by value, by dtype spelling."""

NAN_BITS = 0x7FF8 << 48


def number(name: str, *parts: Any) -> Any:
    """A NumPy number of the type `name`; the parts of a complex one are rounded each by itself."""
    kind = getattr(np, name)
    if not name.startswith("complex"):
        return kind(*parts)
    one = np.empty((), kind)
    one.real, one.imag = parts
    return one[()]


def quoted(text: str) -> str:
    """`text` between double quotes on one line; what does not print is escaped.

    >>> print(quoted('a "b"'), quoted("tab\\t, \\x00"))
    "a \\"b\\"" "tab\\t, \\x00"
    """
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_ESCAPES.get(c) or _plain(c) for c in text) + '"'


def _plain(c: str) -> str:
    if c.isprintable():
        return c
    code = ord(c)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def _spell_int(x: int) -> str:
    return str(x) if -(10**18) < x < 10**18 else hex(x)


def spell_float(x: float) -> str:
    """The shortest decimal that reads back as `x`; a NaN with an unusual payload by its bits."""
    if x == x:
        return repr(x)
    bits = int.from_bytes(struct.pack("<d", x), "little")
    return "nan" if bits == NAN_BITS else f'nan("{bits:016x}")'


def _spell_bytes(x: bytes) -> str:
    plain = {34: '\\"', 92: "\\\\"}
    return (
        'b"'
        + "".join(plain.get(c) or (chr(c) if 32 <= c < 127 else f"\\x{c:02x}") for c in x)
        + '"'
    )


def _spell_slice(x: slice) -> str:
    ends = (x.start, x.stop, x.step)
    if any(type(e) not in (int, type(None)) for e in ends):
        return f"slice({', '.join(_spell(e) for e in ends)})"
    start, stop, step = ("" if e is None else _spell_int(e) for e in ends)
    return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


def _spell_dict(x: dict[Any, Any]) -> str:
    items = sorted(x.items(), key=lambda item: encode(item[0]) + encode(item[1]))
    return "{" + ", ".join(f"{_entry(k)}: {_entry(v)}" for k, v in items) + "}"


def _entry(x: Any) -> str:
    """A key or value of a dict, where the colons of a slice would be ambiguous."""
    if type(x) is slice:
        return f"slice({', '.join(_spell(e) for e in (x.start, x.stop, x.step))})"
    return _spell(x)


def _spell_tuple(x: tuple[Any, ...]) -> str:
    return f"({_spell(x[0])},)" if len(x) == 1 else f"({', '.join(map(_spell, x))})"


def _spell_array(x: np.ndarray[Any, Any]) -> str:
    kind, layout = quoted(dtype_text(x.dtype)), layout_of(x)
    content = base64.b64encode(bytes(content_bytes(x))).decode()
    return f'array({kind}, {x.shape}, {_spell(layout)}, "{content}")'


def _spell_scalar(x: np.generic) -> str:
    kind = dtype_text(x.dtype)
    short = _short_scalar(x, kind)
    return f'scalar({quoted(kind)}, "{x.tobytes().hex()}")' if short is None else short


def _short_scalar(x: Any, kind: str) -> str | None:
    """A NumPy scalar by value, where that gives back the same bytes."""
    if type(x) is np.bool:
        return f"bool_({bool(x)})"
    if type(x) is np.str_:
        return f"str_({quoted(str.__str__(x))})"  # NumPy's own `str` drops zeros at the end
    if type(x) is np.bytes_:
        return f"bytes_({_spell_bytes(bytes(x))})"
    name = NUMBERS.get(kind)
    if name is None:
        return None
    text = f"{x.real!s}, {x.imag!s}" if kind[1] == "c" else str(x)
    made = number(name, *(float(t) if kind[1] in "fc" else int(t) for t in text.split(", ")))
    return f"{name}({text})" if made.tobytes() == x.tobytes() else None


_SPELLERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda x: "None",
    bool: repr,
    int: _spell_int,
    float: spell_float,
    complex: lambda x: f"complex({spell_float(x.real)}, {spell_float(x.imag)})",
    str: quoted,
    bytes: _spell_bytes,
    tuple: _spell_tuple,
    list: lambda x: f"[{', '.join(map(_spell, x))}]",
    dict: _spell_dict,
    slice: _spell_slice,
    type(Ellipsis): lambda x: "...",
    Ref: repr,
    Slot: repr,
    Unique: lambda x: f'unique({quoted(x.what)}, "{x.token.hex()}")',
    np.ndarray: _spell_array,
}


def _spell(x: Any) -> str:
    speller = _SPELLERS.get(type(x))
    if speller is not None:
        return speller(x)
    if isinstance(x, np.generic):
        return _spell_scalar(x)
    if isinstance(x, np.dtype):
        return f"dtype({quoted(dtype_text(x))})"
    if isinstance(x, type) and issubclass(x, np.generic):
        return f"dtype({quoted(dtype_text(np.dtype(x)))})"
    raise NotCanonical(f"{type(x).__module__}.{type(x).__qualname__} has no spelling")


def spell(x: Any) -> str:
    """`x` as one line of text that reads back to a value of the same encoding.

    Raises NotCanonical for a value without an encoding.

    >>> spell((slice(1, None), ..., 0.1, np.float32(0.1), Ref(2), -0.0, b"\\x00"))
    '(1:, ..., 0.1, float32(0.1), @2, -0.0, b"\\\\x00")'
    """
    return _spell(x)
