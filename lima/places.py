"""Lines of the user's program: where an operation stands, and warnings that belong there.

An operation that waits runs at another line than where it was written. What NumPy then says of
floating point errors is taken down, and said at the line where the operation stands.
"""

from __future__ import annotations

import functools
import sys
import warnings
from types import CodeType, FrameType, FunctionType
from typing import Any

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
