"""Lists of indices without elements: NumPy takes them for integers, not for floats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lima.op import OPS, Op
from lima.ops import elementwise, reduction  # noqa: F401 - they add the rows
from lima.ops.spelling import SPELLINGS, Args, Kwargs, Respelled

NONE = np.zeros(0, np.intp)
NONE.setflags(write=False)


def _indices_in(row: Op, place: int) -> Callable[[Args, Kwargs], Respelled]:
    """The respelling of calls of `row` whose argument at `place` may be such a list."""
    name = row.operands[place]

    def respell(args: Args, kwargs: Kwargs) -> Respelled:
        given = args[place] if len(args) > place else kwargs.get(name)
        if type(given) not in (list, tuple) or given:
            return row, args, kwargs
        if name in kwargs:
            return row, args, {**kwargs, name: NONE}
        return row, (*args[:place], NONE, *args[place + 1 :]), kwargs

    return respell


def _register(row: Op, place: int) -> None:
    SPELLINGS.update((call, _indices_in(row, place)) for call in row.calls)


_register(OPS["bincount"], 0)
for _row in [row for name, row in OPS.items() if name.endswith(".reduceat")]:
    _register(_row, 1)
