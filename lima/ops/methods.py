"""Methods of ndarray as spellings of rows: `a.sum(axis=0)` is `np.sum(a, axis=0)`.

With these, `spell(np.ndarray.sum, (a,), {"axis": 0})` gives row and arguments of the method call.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.op import CALLS, OPS
from lima.ops import linalg, reduction, sorting, structure  # noqa: F401  (the rows meant below)
from lima.ops.spelling import SPELLINGS, Args, Kwargs, Respelled, by_name, spelling

METHODS = (
    "all", "any", "argmax", "argmin", "argpartition", "argsort", "choose", "cumprod", "cumsum",
    "diagonal", "dot", "max", "mean", "min", "nonzero", "prod", "ravel", "repeat", "round",
    "searchsorted", "squeeze", "std", "sum", "swapaxes", "take", "trace", "var",
)  # fmt: skip
"""Methods with the arguments of the NumPy function of the same name, in the same order."""

for _name in METHODS:
    CALLS[getattr(np.ndarray, _name)] = OPS[_name]


@spelling(np.ndarray.transpose)
def _transpose(args: Args, kwargs: Kwargs) -> Respelled:
    axes = args[1] if len(args) == 2 else args[1:] or None
    return OPS["transpose"], (args[0], (axes,) if isinstance(axes, int) else axes), kwargs


@spelling(np.ndarray.reshape)
def _reshape(args: Args, kwargs: Kwargs) -> Respelled:
    if len(args) == 1 and "shape" not in kwargs:
        return None, args, kwargs
    shape = args[1] if len(args) == 2 else args[1:]
    return OPS["reshape"], (args[0], shape), kwargs


@spelling(np.ndarray.copy)
def _copy(args: Args, kwargs: Kwargs) -> Respelled:
    """The method copies to C order, the function keeps the order."""
    named = by_name(("a", "order"), args, kwargs)
    return OPS["copy"], (), {"order": "C", **named}


@spelling(np.ndarray.compress)
def _compress(args: Args, kwargs: Kwargs) -> Respelled:
    named = by_name(("a", "condition", "axis", "out"), args, kwargs)
    return OPS["compress"], (), named


@spelling(np.ndarray.clip)
def _clip(args: Args, kwargs: Kwargs) -> Respelled:
    named = by_name(("a", "min", "max", "out"), args, kwargs)
    return SPELLINGS[np.clip]((named.pop("a"),), named)


@spelling(np.ndarray.conj, np.ndarray.conjugate)
def _conj(args: Args, kwargs: Kwargs) -> Respelled:
    """Real arrays give themselves, without a copy. What is no number, NumPy asks or refuses."""
    kind = args[0].dtype.kind
    if kind in "biuf" and len(args) == 1 and not kwargs:
        return _itself, args, kwargs
    return OPS["conjugate"] if kind == "c" else None, args, kwargs


def _itself(a: Any) -> Any:
    return a
