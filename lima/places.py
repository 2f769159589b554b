"""Lines of the user's program: where an operation stands, and warnings that belong there.

An operation that waits runs at another line than where it was written. What NumPy then says of
floating point errors is taken down, and said at the line where the operation stands.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from sys import _getframe
from threading import Lock
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

OWN = "lima."


Place = tuple[CodeType, int, dict[str, Any]]
"""A point in a program: its code, the instruction, and the globals of the module."""


def here() -> Place | None:
    """Where the innermost code that is not lima's runs."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        scope = frame.f_globals
        name = scope.get("__name__")
        if type(name) is not str or name[:5] != OWN:
            return frame.f_code, frame.f_lasti, scope
        frame = frame.f_back
    return None


class Line(NamedTuple):
    """A line of a program.

    >>> print(Line("/home/me/model.py", 12, "fit"))
    fit (model.py:12)
    """

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.function} ({os.path.basename(self.file)}:{self.line})"


MOST = 1 << 16
"""Lines that are told apart; operations at further ones have none."""

DEEPEST = 64
"""Calls above an operation that are looked at for a line of the program itself."""

_LIBRARY, _OWN = 1, 2
_places: list[tuple[CodeType, int] | None] = [None]
_numbers: dict[int, dict[int, int]] = {}
_passed: dict[int, tuple[int, CodeType]] = {}
"""Code of libraries and of lima, by identity, which it keeps since it is held here."""
_adding = Lock()

_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_STANDARD = os.path.dirname(os.__file__) + os.sep


def stand() -> int:
    """A number for the user's line that runs; 0 where there is none. `line_of` tells the line.

    That is the innermost one that is neither lima's nor of an installed package, else the innermost
    that is not lima's.
    """
    frame: FrameType | None = _getframe()
    library: FrameType | None = None
    steps = 0
    while frame is not None and steps < DEEPEST:
        code = frame.f_code
        lines = _numbers.get(id(code))
        if lines is not None:
            number = lines.get(frame.f_lasti)
            return _number(code, frame.f_lasti) if number is None else number
        known = _passed.get(id(code))
        kind = _kind(frame) if known is None else known[0]
        if kind == 0:
            return _number(code, frame.f_lasti)
        if kind == _LIBRARY and library is None:
            library = frame
        frame = frame.f_back
        steps += 1
    return 0 if library is None else _number(library.f_code, library.f_lasti, True)


def _kind(frame: FrameType) -> int:
    """Whose code runs in a frame: lima's, a library's, or (0) the program's own."""
    code = frame.f_code
    name = frame.f_globals.get("__name__")
    file = code.co_filename
    if type(name) is str and (name[:5] == OWN or name == "lima"):
        kind = _OWN
    elif any(part in file for part in _PACKAGES) or file.startswith((_STANDARD, "<frozen ")):
        kind = _LIBRARY
    else:
        return 0
    with _adding:
        if len(_passed) >= MOST:
            _passed.clear()
        _passed[id(code)] = kind, code
    return kind


_of_libraries: dict[tuple[int, int], int] = {}


def _number(code: CodeType, instruction: int, library: bool = False) -> int:
    """The number of a place, a new one if there is room."""
    with _adding:
        if library:
            found = _of_libraries.get((id(code), instruction))
        else:
            found = _numbers.get(id(code), {}).get(instruction)
        if found is not None:
            return found
        number = len(_places)
        if number >= MOST:
            return 0
        _places.append((code, instruction))
        if library:
            _of_libraries[id(code), instruction] = number
        else:
            _numbers.setdefault(id(code), {})[instruction] = number
        return number


READ = 1 << 24
"""Numbers from here on are those of lines that were read, from a log or a store."""

_read: list[Line] = []
_read_numbers: dict[Line, int] = {}


def noted(line: Line) -> int:
    """The number of a line that was read; 0 where there is no room for more."""
    with _adding:
        number = _read_numbers.get(line)
        if number is None:
            if len(_read) >= MOST:
                return 0
            number = _read_numbers[line] = READ + len(_read)
            _read.append(line)
        return number


def line_of(number: int) -> Line | None:
    """The line that `stand` or `noted` gave this number."""
    if number >= READ:
        return _read[number - READ]
    place = _places[number]
    if place is None:
        return None
    code, instruction = place
    return Line(code.co_filename, _line(code, instruction), code.co_qualname)


def _line(code: CodeType, instruction: int) -> int:
    for start, end, line in code.co_lines():
        if start <= instruction < end and line is not None:
            return line
    return code.co_firstlineno


_say: CodeType = compile("lambda say, *said: say(*said)", OWN, "eval").co_consts[0]


def warn_at(place: Place | None, text: str) -> None:
    """Warn of a floating point error as if NumPy did it at `place`."""
    if place is None:
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return
    stands, instruction, scope = place
    line = _line(stands, instruction)
    code = _say.replace(co_filename=stands.co_filename, co_firstlineno=line)
    FunctionType(code, scope)(warnings.warn, text, RuntimeWarning)


def call_here(function: Any, *args: Any) -> Any:
    """Call as if the user's line did it: the warnings of what is called are given there."""
    place = here()
    if place is None:
        return function(*args)
    stands, instruction, scope = place
    code = _say.replace(co_filename=stands.co_filename, co_firstlineno=_line(stands, instruction))
    return FunctionType(code, scope)(function, *args)


class Said:
    """What NumPy says while an operation runs, to be said at the place where that stands.

    With `np.errstate(**modes(...), call=said)` NumPy writes into it instead of warning.
    """

    __slots__ = ("texts",)

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, text: str) -> None:
        """Called by NumPy, with "Warning: divide by zero encountered in divide"."""
        text = text.removeprefix("Warning: ").rstrip()
        if text not in self.texts:
            self.texts.append(text)


@functools.lru_cache(maxsize=256)
def modes(wanted: tuple[str, ...]) -> dict[str, str]:
    """`np.errstate`'s options for modes in the order of `np.geterr()`; warnings are taken down."""
    names = ("divide", "over", "under", "invalid")
    return {k: "log" if v == "warn" else v for k, v in zip(names, wanted, strict=True)}
