"""Reading the terms of the log's grammar: tokens, and the constants they spell.

Reading builds constants only: nothing is evaluated, nothing is looked up but the names in one table
here. Sizes are bounded before anything of that size is made. The grammar is written down in
`docs/log-format.md`; `lima.literal` writes it.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from lima.errors import LogError, NotCanonical
from lima.literal import NAN_BITS, NUMBERS, arrange, number
from lima.node import Ref, Unique, dtype_text, layout_of
from lima.streams import Slot

MAX_DEPTH = 100
"""Deepest nesting of parentheses in one value."""

MAX_DIGITS = 40
"""Longest decimal number; larger integers are hexadecimal, which reads in linear time."""

MAX_SPAN = 1 << 30
"""Bytes of memory that the strides of one array in a log may reach over."""

_UNESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "r": "\r", "t": "\t"}
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", re.DOTALL)

TOKEN = re.compile(
    r"""\s*(
      [%][0-9]{1,12}(?:/[0-9]{1,12})*(?:~[$]?[0-9]{1,12})?(?![0-9])           # node
    | [@$][0-9]{1,9}(?![0-9])                                               # reference, slot
    | \.\.\. | [()\[\]{},:=|]                                             # mark
    | b?"[^"\\]*(?:\\.[^"\\]*)*" | '[^'\\]*(?:\\.[^'\\]*)*'                 # bytes, string
    | -?[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_0-9]+)*(?:\#[0-9]{1,10})?        # name
    | -?(?:0x[0-9a-f]+|[0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?)                # number
    | $ | .                                                                 # end, anything else
    )""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
_SINGLE = {
    "": "end",
    **dict.fromkeys("()[]{},:=|", "mark"),
    **dict.fromkeys("0123456789", "number"),
    **dict.fromkeys(_LETTERS, "name"),
}
_FIRST = {
    **_SINGLE,
    "%": "node",
    "@": "ref",
    "$": "slot",
    ".": "mark",
    '"': "string",
    "'": "string",
}
"""Kinds of tokens: of those of at most one character, and of others by their first one."""


def kind_of(token: str) -> str | None:
    """What a token of `TOKEN` is; None for a character that begins nothing."""
    if len(token) < 2:
        return _SINGLE.get(token)
    first = token[0]
    if first == "-":
        return "number" if token[1].isdigit() else "name"
    return "bytes" if token[1] == '"' and first == "b" else _FIRST.get(first)


_CONSTANTS = {
    "None": None,
    "True": True,
    "False": False,
    "inf": math.inf,
    "-inf": -math.inf,
    "nan": struct.unpack("<d", NAN_BITS.to_bytes(8, "little"))[0],
}

_DTYPE = re.compile(r"[<>|][?bBiufcmMSUV][0-9]{1,9}(\[[0-9]{0,9}[A-Za-z]{1,2}\])?", re.ASCII)


class Scanner:
    """The tokens of one line. Methods raise LogError, which says what was expected and found."""

    __slots__ = ("at", "depth", "slots", "tokens")

    def __init__(self, line: str, slots: list[Slot] | None = None) -> None:
        """`slots` collects the slots of the line; without it there may be none."""
        self.tokens = TOKEN.findall(line)
        self.at = 0
        self.depth = 0
        self.slots = slots

    @property
    def kind(self) -> str | None:
        """The kind of the next token."""
        return kind_of(self.tokens[self.at])

    def next(self, kind: str, what: str) -> str:
        """The text of the next token, which must be of this kind."""
        token: str = self.tokens[self.at]
        if kind_of(token) != kind:
            raise LogError(f"expected {what}, found {self.here()}")
        self.at += 1
        return token

    def here(self) -> str:
        """The next token, for messages."""
        token = self.tokens[self.at]
        return (
            repr(token if len(token) <= 40 else token[:40] + "...")
            if token
            else "the end of the line"
        )

    def sees(self, mark: str) -> bool:
        """Whether the next token is this mark."""
        return bool(self.tokens[self.at] == mark)

    def took(self, mark: str) -> bool:
        """Skip this mark if it is next; says whether it was."""
        if self.tokens[self.at] != mark:
            return False
        self.at += 1
        return True

    def expect(self, mark: str) -> None:
        if not self.took(mark):
            raise LogError(f"expected {mark!r}, found {self.here()}")

    def keyword(self) -> str | None:
        """The name before the next "=", both skipped; None where no such name comes next."""
        text: str = self.tokens[self.at]
        if not text or self.tokens[self.at + 1] != "=" or kind_of(text) != "name":
            return None
        if not text.isidentifier():
            raise LogError(f"expected the name of a parameter, found {text!r}")
        self.at += 2
        return text

    def end(self) -> None:
        if self.tokens[self.at]:
            raise LogError(f"expected the end of the line, found {self.here()}")

    def value(self) -> Any:
        """A value, or a slice in its form with colons."""
        first = None if self.sees(":") else self.term()
        if not self.sees(":"):
            return first
        ends = [first]
        while len(ends) < 3 and self.took(":"):
            ends.append(self.term() if self.kind == "number" else None)
        if any(type(e) not in (int, type(None)) for e in ends):
            raise LogError("expected integers on both sides of ':'")
        return slice(*ends) if len(ends) == 3 else slice(ends[0], ends[1])

    def term(self) -> Any:
        """A value that is no slice with colons."""
        token = self.tokens[self.at]
        reader = _READERS.get(kind_of(token) or "")
        if reader is None:
            raise LogError(f"expected a value, found {self.here()}")
        self.at += 1
        return reader(self, token)

    def items(self, close: str, one: Callable[[], Any]) -> tuple[list[Any], bool]:
        """What `one` reads, separated by commas, up to `close`; and whether a comma came last."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise LogError(f"expected at most {MAX_DEPTH} levels of nesting")
        found: list[Any] = []
        comma = False
        while not self.took(close):
            if found and not comma:
                raise LogError(f"expected ',' or {close!r}, found {self.here()}")
            found.append(one())
            comma = self.took(",")
        self.depth -= 1
        return found, comma


def _read_number(scanner: Scanner, text: str) -> int | float:
    digits = text.lstrip("-")
    if digits.startswith("0x"):
        return int(text, 16)
    if len(digits) > MAX_DIGITS:
        raise LogError(f"expected at most {MAX_DIGITS} digits, found {len(digits)}")
    return int(text) if digits.isdigit() else float(text)


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    try:
        return chr(int(code, 16)) if code else _UNESCAPES[match[4]]
    except (KeyError, ValueError, OverflowError):
        raise LogError(f"unknown escape {match[0]!r}") from None


def _read_string(scanner: Scanner, text: str) -> str:
    inner = text[1:-1]
    return _ESCAPED.sub(_unescape, inner) if "\\" in inner else inner


def _read_bytes(scanner: Scanner, text: str) -> bytes:
    try:
        return _read_string(scanner, text[1:]).encode("latin-1")
    except UnicodeEncodeError:
        raise LogError("expected characters up to \\xff in bytes") from None


def _read_mark(scanner: Scanner, text: str) -> Any:
    if text == "...":
        return ...
    if text == "(":
        found, comma = scanner.items(")", scanner.value)
        return found[0] if len(found) == 1 and not comma else tuple(found)
    if text == "[":
        return scanner.items("]", scanner.value)[0]
    if text == "{":
        pairs = scanner.items("}", lambda: _pair(scanner))[0]
        try:
            made = dict(pairs)
        except TypeError as error:
            raise LogError(f"expected keys that can be looked up: {error}") from None
        if len(made) != len(pairs):
            raise LogError("expected every key once")
        return made
    raise LogError(f"expected a value, found {text!r}")


def _pair(scanner: Scanner) -> tuple[Any, Any]:
    key = scanner.term()
    scanner.expect(":")
    return key, scanner.term()


def _read_name(scanner: Scanner, text: str) -> Any:
    call = scanner.sees("(")
    if text in _CONSTANTS and not call:
        return _CONSTANTS[text]
    make = _MAKERS.get(text)
    if make is None or not call:
        raise LogError(f"expected a value, found {text!r}")
    scanner.expect("(")
    args, _ = scanner.items(")", scanner.value)
    try:
        return make(*args)
    except LogError:
        raise
    except Exception as error:  # NumPy refuses bad constants with many types of exceptions
        raise LogError(f"{text}(...) is no constant: {error}") from None


def _read_slot(scanner: Scanner, text: str) -> Slot:
    if scanner.slots is None:
        raise LogError(f"expected a value, found {text!r} outside of a patch")
    scanner.slots.append(Slot(int(text[1:])))
    return scanner.slots[-1]


_READERS: dict[str, Callable[[Scanner, str], Any]] = {
    "number": _read_number,
    "string": _read_string,
    "bytes": _read_bytes,
    "mark": _read_mark,
    "name": _read_name,
    "ref": lambda scanner, text: Ref(int(text[1:])),
    "slot": _read_slot,
}


# --------------------------------------------------------------------------- constants by name


def _want(kind: type, *values: Any) -> None:
    for value in values:
        if type(value) is not kind:
            raise LogError(f"expected {kind.__name__}, found {type(value).__name__}")


def read_dtype(text: Any) -> np.dtype[Any]:
    """The dtype that `dtype_text` spells as `text`; LogError if there is none.

    >>> read_dtype("<f8"), read_dtype("[('a', '<i2'), ('b', '<f4', (2,))]")
    (dtype('float64'), dtype([('a', '<i2'), ('b', '<f4', (2,))]))
    """
    _want(str, text)
    try:
        if text[:1] in ("[", "("):
            scanner = Scanner(text)
            made: np.dtype[Any] | None = np.dtype(_description(scanner.term()))
            scanner.end()
        else:
            made = np.dtype(text) if _DTYPE.fullmatch(text) else None
        if made is not None and dtype_text(made) == text:
            return made
    except (TypeError, ValueError, OverflowError, MemoryError, SyntaxError, NotCanonical):
        pass
    raise LogError(f"{text!r} spells no dtype")


def _description(value: Any) -> Any:
    """A parsed dtype description, with nothing in it but texts, numbers, tuples and lists."""
    if type(value) in (tuple, list):
        for item in value:
            _description(item)
    elif type(value) is not int and type(value) is not str:
        raise LogError(f"expected a dtype description, found {type(value).__name__}")
    return value


def _nan(bits: str) -> float:
    _want(str, bits)
    value: float = struct.unpack(">d", bytes.fromhex(bits))[0]
    if value == value:
        raise LogError(f"{bits!r} are not the bits of a NaN")
    return value


def _complex(re: float, im: float) -> complex:
    _want(float, re, im)
    return complex(re, im)


def _slice(start: Any, stop: Any, step: Any) -> slice:
    return slice(start, stop, step)


def _unique(what: str, token: str) -> Unique:
    _want(str, what, token)
    raw = bytes.fromhex(token)
    if len(raw) != 16:
        raise LogError(f"expected 16 bytes, found {len(raw)}")
    return Unique(what, raw)


def _scalar(kind: str, content: str) -> Any:
    _want(str, content)
    dtype, raw = read_dtype(kind), bytes.fromhex(content)
    if dtype.itemsize != len(raw):
        raise LogError(f"expected {dtype.itemsize} bytes, found {len(raw)}")
    return np.ndarray((), dtype, raw)[()] if raw else np.zeros((), dtype)[()]


def _array(kind: str, shape: tuple[int, ...], layout: Any, content: str) -> np.ndarray[Any, Any]:
    _want(str, content)
    check_shape(shape)
    check_layout(shape, layout)
    dtype, raw = read_dtype(kind), base64.b64decode(content, validate=True)
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise LogError(f"expected {math.prod(shape)} elements of {dtype}, found {len(raw)} bytes")
    if layout == "F":
        flat: np.ndarray[Any, Any] = np.ndarray(shape, dtype, raw, order="F")
    else:
        flat = np.ndarray(shape, dtype, raw)
    made = flat.copy(order="K") if type(layout) is str else arrange(flat, layout)
    if layout_of(made) != layout:
        raise LogError(f"an array of shape {shape} has layout {layout_of(made)}, not {layout}")
    return made


def check_shape(shape: Any) -> None:
    """Raise LogError unless `shape` is one that NumPy's arrays can have."""
    if type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape):
        raise LogError(f"expected a shape, found {shape!r:.80}")
    if len(shape) > 64 or math.prod(n for n in shape if n) >= 1 << 62:
        raise LogError(f"no array has shape {shape!r:.80}")


def check_layout(shape: tuple[int, ...], layout: Any) -> None:
    """Raise LogError unless `layout` is "C", "F", or strides of reasonable reach for `shape`."""
    if type(layout) is str and layout in ("C", "F"):
        return
    if type(layout) is not tuple or len(layout) not in (len(shape), len(shape) + 1):
        raise LogError(f'expected "C", "F" or {len(shape)} strides, found {layout!r:.80}')
    _want(int, *layout)
    if layout[len(shape) :] not in ((), (1,)):
        raise LogError(f"expected 1 behind the strides, found {layout[-1]}")
    if any(abs(s) >= 1 << 62 for s in layout):
        raise LogError(f"expected strides in bytes, found {layout!r:.80}")
    if 0 not in shape and sum(abs(s) * (n - 1) for s, n in zip(layout, shape)) > MAX_SPAN:  # noqa: B905
        raise LogError(f"strides {layout!r:.80} reach over more than {MAX_SPAN} bytes")


def _maker(name: str) -> Callable[..., Any]:
    kind, count = (int, 1) if "int" in name else (float, 2 if name.startswith("complex") else 1)

    def make(*parts: Any) -> Any:
        _want(kind, *parts)
        if len(parts) != count:
            raise LogError(f"expected {count} numbers in {name}(...), found {len(parts)}")
        return number(name, *parts)

    return make


def _bool(x: bool) -> Any:
    _want(bool, x)
    return np.bool(x)


def _bytes(x: bytes) -> Any:
    _want(bytes, x)
    return np.bytes_(x)


def _str(x: str) -> Any:
    _want(str, x)
    return np.str_(x)


_MAKERS: dict[str, Callable[..., Any]] = {
    "array": _array,
    "bool_": _bool,
    "bytes_": _bytes,
    "complex": _complex,
    "dtype": read_dtype,
    "nan": _nan,
    "scalar": _scalar,
    "slice": _slice,
    "str_": _str,
    "unique": _unique,
    **{name: _maker(name) for name in NUMBERS.values()},
}
