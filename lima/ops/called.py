"""Calls of functions in programs that are written from lineages (`lima.outlined`).

They are no operations that a lineage can have: no log can name them, as their names hold a space.
"""

from __future__ import annotations

from typing import Any, NoReturn

from lima.errors import InternalError
from lima.op import Kind, Op

CALL = "call "
"""Begins the name of such a call; the name of the function follows."""


def _never(*inputs: Any, **params: Any) -> NoReturn:
    raise InternalError("a call in a written program was run")


def _text(inputs: list[str], params: dict[str, str]) -> str:
    return f"{params['function'].strip(chr(39))}({', '.join(inputs)})"


CALLED = Op(name=CALL, kernel=_never, kind=Kind.HEAVY, operands=(), source=_text)
"""The row of all of them."""
