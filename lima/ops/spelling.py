"""From NumPy's spellings of a call to the row and arguments that stand for it, and back to text.

Most calls need nothing of this: `CALLS` has their row and the arguments fit it. `SPELLINGS` holds
those that do not: calls that take `*args`, calls whose row depends on an argument (`np.where` with
one argument, `copy=False`), methods whose arguments stand in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lima.op import CALLS, OPS, BindError, Kind, Op, op

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Respelled = tuple[Any, Args, Kwargs]
"""What is called, with which arguments.

What is called is a row; or a Python function that composes other calls and is run on the traced
arrays themselves (`np.split` is a list of slices); or None where no row fits.
"""

SPELLINGS: dict[Any, Callable[[Args, Kwargs], Respelled]] = {}
"""How a NumPy callable is respelled, for those that need it."""

METADATA: tuple[Any, ...] = (
    np.shape, np.ndim, np.size, np.iscomplexobj, np.isrealobj, np.isfortran, np.isscalar,
    np.iterable, np.result_type, np.can_cast, np.common_type, np.min_scalar_type,
    np.may_share_memory, np.shares_memory, np.broadcast_shapes,
)  # fmt: skip
"""Functions whose answer depends on shape, dtype or memory of arrays only: a Python object."""


def spell(call: Any, args: Args, kwargs: Kwargs) -> Respelled:
    """The row (or composing function) that `call(*args, **kwargs)` means, and its arguments.

    The row is None where lima has none. Raises BindError for arguments that NumPy refuses as well.

    >>> spell(np.where, (np.array([0, 1]),), {})[0]
    <Op nonzero>
    """
    respell = SPELLINGS.get(call)
    return (CALLS.get(call), args, kwargs) if respell is None else respell(args, kwargs)


def spelling(*calls: Any) -> Callable[[Callable[[Args, Kwargs], Respelled]], Any]:
    """Register the decorated function as the respelling of each of `calls`."""

    def register(respell: Callable[[Args, Kwargs], Respelled]) -> Any:
        SPELLINGS.update(dict.fromkeys(calls, respell))
        return respell

    return register


# --------------------------------------------------------------------------- common respellings


def packed(call: Any, name: str) -> None:
    """`call(*arrays, **params)` is the row `name`, whose first argument is all the arrays."""
    SPELLINGS[call] = lambda args, kwargs: (OPS[name], (args,), kwargs)


def renamed(call: Any, name: str, **names: str) -> None:
    """`call` is the row `name`, keywords spelled otherwise (`newshape="shape"`)."""

    def respell(args: Args, kwargs: Kwargs) -> Respelled:
        return OPS[name], args, {names.get(k, k): v for k, v in kwargs.items()}

    SPELLINGS[call] = respell


PERMITS: dict[str, tuple[Any, ...] | None] = {
    **dict.fromkeys(("overwrite_input", "overwrite_a", "overwrite_b", "overwrite_x")),
    "like": None,
    "device": (None, "cpu"),
}
"""Arguments that results do not depend on, with the values that NumPy takes (None: any)."""


def permitting(*calls: Any) -> None:
    """Arguments of `calls` that only permit or place something are left out of the call."""
    for call in calls:
        SPELLINGS[call] = _dropping(CALLS[call])


def _dropping(row: Op) -> Callable[[Args, Kwargs], Respelled]:
    first = min((row.names.index(p) for p in PERMITS if p in row.names), default=len(row.names))

    def respell(args: Args, kwargs: Kwargs) -> Respelled:
        if len(args) <= first and PERMITS.keys().isdisjoint(kwargs):
            return row, args, kwargs
        named = by_name(row.names, args, kwargs)
        for name, allowed in PERMITS.items():
            value = named.pop(name, None)
            if allowed is not None and value not in allowed:
                return None, args, kwargs
        return row, (), named

    return respell


def by_name(names: Sequence[str], args: Args, kwargs: Kwargs) -> Kwargs:
    """All arguments by name, given the names in the order of positions."""
    if len(args) > len(names):
        raise BindError(f"{len(args)} positional arguments where at most {len(names)} fit")
    named = dict(zip(names, args, strict=False))
    twice = named.keys() & kwargs.keys()
    if twice:
        raise BindError(f"argument {min(twice)!r} is given by position and by name")
    return named | kwargs


# --------------------------------------------------------------------------- names and text


def path(function: Any) -> str:
    """Where `np` has `function`: the name of its row, and how source text spells it.

    >>> path(np.linalg.solve), path(np.sum), path(np.ndarray.fill)
    ('linalg.solve', 'sum', 'ndarray.fill')
    """
    if hasattr(function, "__objclass__"):
        return f"ndarray.{function.__name__}"
    module = (getattr(function, "__module__", None) or "numpy").removeprefix("numpy").lstrip(".")
    return f"{module}.{function.__name__}" if module else str(function.__name__)


def family(functions: Iterable[Any], kind: Kind = Kind.HEAVY, **facts: Any) -> None:
    """The rows of functions that differ in nothing but name and kernel."""
    for function in functions:
        op(path(function), function, kind, **facts)


def written(
    function: str, *placed: str, listed: bool = False
) -> Callable[[list[str], dict[str, str]], str]:
    """A `source` of a row: `function(inputs, placed parameters, other=...)`.

    Parameters `placed` are written by position, `*name` with its items spread out; `listed` writes
    the inputs as one list.
    """

    def source(inputs: list[str], params: dict[str, str]) -> str:
        rest = dict(params)
        parts = [f"[{', '.join(inputs)}]"] if listed else list(inputs)
        for name in placed:
            text = rest.pop(name.lstrip("*"), None)
            if text is not None:
                parts.append(spread(text) if name.startswith("*") else text)
        return f"{function}({', '.join(parts + [f'{k}={v}' for k, v in rest.items()])})"

    return source


def spread(text: str) -> str:
    """The items of a tuple, given the text of the tuple."""
    return text[1:-1].rstrip(", ") if text.startswith("(") else f"*{text}"
