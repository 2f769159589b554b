"""How NumPy makes text of arrays, which a program may change at any time."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from lima.bytecode import NotReusable
from lima.errors import NotCanonical
from lima.node import encode

_state: Any = None
try:
    _state = import_module("numpy._core.printoptions").format_options
except (ImportError, AttributeError):  # before NumPy 2.1
    pass

_seen: tuple[Any, bytes | None] = (None, None)


def print_options() -> bytes:
    """NumPy's options for text as bytes; raises NotReusable where functions are among them.

    NumPy keeps them in a context variable, as a dict that is replaced when they change.
    """
    global _seen
    options = np.get_printoptions() if _state is None else _state.get()
    known, found = _seen
    if options is not known:
        try:
            found = encode(sorted(options.items()))
        except NotCanonical:
            found = None
        _seen = options, found
    if found is None:
        raise NotReusable("functions of the program make text of arrays (np.set_printoptions)")
    return found
