"""What of NumPy is traced: the count over NumPy's own registries, and why the rest is not.

NumPy lists the functions that another array type may answer (`numpy.testing.overrides`). Each of
them has a row, is composed of calls that have, asks for shape or dtype only, or is a barrier: NumPy
computes it, and the lineage of its result begins there.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np

from lima.op import CALLS, OPS
from lima.ops.spelling import METADATA, SPELLINGS

BARRIERS: dict[str, str] = {
    "writes or reads a file": "save savetxt savez savez_compressed loadtxt genfromtxt fromfile"
    " fromregex",
    "makes an array of what is no array": "frombuffer fromstring fromiter",
    "gives text": "array2string array_repr array_str datetime_as_string",
    "gives a plan, not an array": "einsum_path",
    "calls its function for thousands of lines": "apply_along_axis",
}
"""Functions of `np` without a row, by the reason."""

MODULES = {
    "numpy.strings": "works on text",
    "numpy.char": "works on text",
    "numpy._core.strings": "works on text",
    "numpy.lib.recfunctions": "works on records",
}
"""Modules none of whose functions has a row, with the reason."""

PRIVATE = "is called by NumPy only, within functions that have rows"

_REASONS = {name: why for why, names in BARRIERS.items() for name in names.split()}

REGISTERED = (
    "numpy.fft", "numpy.strings", "numpy.char", "numpy.polynomial", "numpy.lib.recfunctions",
    "numpy.lib.scimath", "numpy.lib.stride_tricks",
)  # fmt: skip
"""Modules whose functions NumPy lists once they are imported."""


class Coverage(NamedTuple):
    """What lima does with one function of NumPy.

    name   where NumPy has it, such as "linalg.solve"
    how    "traced", "composed" of traced calls, "answered" (a shape, say) or "barrier"
    why    of a barrier the reason, of a traced function the operation that it is

    >>> import lima
    >>> [c for c in lima.coverage() if c.name == "linalg.solve"]
    [Coverage(name='linalg.solve', how='traced', why='linalg.solve')]
    """

    name: str
    how: str
    why: str


def coverage() -> tuple[Coverage, ...]:
    """What lima does with each function and universal function that NumPy lets others answer.

    These are the two registries of `numpy.testing.overrides`, after the modules whose functions
    enter them on import have been imported. Sorted by name.

    >>> import lima
    >>> found = [c.how for c in lima.coverage()]
    >>> found.count("traced") > found.count("barrier")
    True
    """
    for module in REGISTERED:
        importlib.import_module(module)
    overrides = importlib.import_module("numpy.testing.overrides")

    found = {_covered(f) for f in overrides.get_overridable_numpy_array_functions()}
    found |= {_covered(f) for f in overrides.get_overridable_numpy_ufuncs()}
    return tuple(sorted(found))


def _covered(function: Any) -> Coverage:
    name = _name(function)
    public = getattr(np, function.__name__, None)
    known = [f in CALLS or f in SPELLINGS for f in (function, public)]
    if known == [False, True]:
        function = public  # of `np.zeros` and its kin a second object answers `like=`
    row = CALLS.get(function)
    if row is not None:
        return Coverage(name, "traced", row.name)
    if function in SPELLINGS:
        is_row = function.__name__ in OPS
        return Coverage(name, "traced" if is_row else "composed", name if is_row else "")
    if function in METADATA:
        return Coverage(name, "answered", "")
    return Coverage(name, "barrier", why_not(function))


def _name(function: Any) -> str:
    """The name below `np`; ufuncs do not tell their module."""
    name: str = function.__name__
    if isinstance(function, np.ufunc):
        return f"strings.{name}" if name in _text_ufuncs() else name
    module = (function.__module__ or "numpy").replace("._core.", ".").removeprefix("numpy")
    return f"{module.lstrip('.')}.{name}".lstrip(".")


def _text_ufuncs() -> frozenset[str]:
    found = vars(np.strings).items()
    return frozenset(n for n, f in found if isinstance(f, np.ufunc) and not hasattr(np, n))


def why_not(function: Any) -> str:
    """Why `function` has no row; "no row" if nobody has thought of it."""
    name = getattr(function, "__name__", "")
    if isinstance(function, np.ufunc):
        if name in _text_ufuncs():
            return "works on text"
        return PRIVATE if getattr(np, name, None) is not function else "no row"
    return MODULES.get(getattr(function, "__module__", ""), _REASONS.get(name, "no row"))
