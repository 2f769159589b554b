"""Elementwise operations that wait, as one pass over memory (D15).

A `Group` takes operations whose results have one shape and runs them block by block, by the loops
of NumPy itself (`lima.loops`), so that only what somebody will read is ever written to memory.
What it cannot take (other layouts, options, complex numbers) it refuses; that runs by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from lima.op import FUSES
from lima.values import Pending, Value

if FUSES:
    from lima.loops import Loop, Program

MOST = 32
"""Operations of a group."""

_UFUNC, _ARRAY, _SCALAR = np.ufunc, np.ndarray, np.generic  # attributes cost time in the hot path

_loops: dict[tuple[Any, ...], Any] = {}
"""The inner loop of a function for operands of these dtypes (types, if Python numbers), or None."""


class Group:
    """Operations that run in one pass.

    members   the values they make, with their operands, in an order in which they can be computed
    made      the ids of these values
    modes     what NumPy shall do about floating point errors, alike for all of them
    reads     how often members read a member, by its id
    """

    __slots__ = ("made", "members", "modes", "program", "reads", "shape", "slots")

    def __init__(self, item: Pending) -> None:
        self.shape = item._meta[0]
        self.modes = item.modes
        self.members: list[tuple[Pending, Sequence[Any]]] = []
        self.made: set[int] = set()
        self.reads: dict[int, int] = {}
        self.slots: dict[int, int] = {}
        self.program = Program(self.shape, MOST)

    def add(self, item: Pending, args: Sequence[Any], local: dict[int, Any]) -> bool:
        """Take one more operation; False if it must run by itself.

        `local` has the data of operands that are temporaries.
        """
        try:
            return self._add(item, args, local)
        except LookupError:  # the program is full, of operands of operations that were refused
            return False

    def _add(self, item: Pending, args: Sequence[Any], local: dict[int, Any]) -> bool:
        if len(self.members) == MOST or item._meta[0] != self.shape or item.modes != self.modes:
            return False
        found = inner_of(item, args)
        if found is None:
            return False
        function, operands = found
        program = self.program
        slots: list[int] = []
        key: list[Any] = [function]
        whole = repeated = False
        for a in operands:
            if not isinstance(a, Value):
                slots.append(-1)
                key.append(a.dtype if isinstance(a, _SCALAR) else type(a))
                continue
            slot = self.slots.get(id(a), -1)
            if slot < 0:
                data = local.get(id(a)) if a.data is None else a.data
                if type(data) is _ARRAY:
                    slot = program.operand(data)
                else:
                    slot = program.constant(data) if isinstance(data, _SCALAR) else -1
                if slot < 0:
                    return False
                self.slots[id(a)] = slot
            slots.append(slot)
            key.append(program.dtype(slot))
            whole = whole or program.is_whole(slot)
            repeated = repeated or program.is_repeated(slot)
        kinds = tuple(key)
        loop = _loops[kinds] if kinds in _loops else _learn(kinds)
        if loop is None or not whole or loop.dtype != item._meta[1]:
            return False
        if repeated and not loop.uneven:
            return False
        for k, a in enumerate(operands):
            if slots[k] < 0:
                if isinstance(a, _SCALAR):
                    slots[k] = program.constant(a)
                else:
                    slots[k] = program.number(a, loop.dtypes[k])
                if slots[k] < 0:
                    return False
        slot = program.step(loop, slots)
        if slot < 0:
            return False
        self.slots[id(item)] = slot
        self.made.add(id(item))
        self.members.append((item, args))
        for a in args:
            if isinstance(a, Pending):
                self.reads[id(a)] = self.reads.get(id(a), 0) + 1
        return True

    def needs(self, args: Sequence[Any]) -> bool:
        """Whether an operation reads what this group makes."""
        return True in [id(a) in self.made for a in args]

    def write(self, item: Pending, array: Any) -> None:
        """Put the value of a member into `array`."""
        self.program.output(self.slots[id(item)], array)

    def run(self) -> bool:
        """Compute; False if an error came up that NumPy would tell of."""
        raised = self.program.run()
        loud = [raised >> k & 1 and mode != "ignore" for k, mode in enumerate(self.modes)]
        return True not in loud


def inner_of(item: Pending, args: Sequence[Any]) -> Any:
    """The function whose loop computes `item`, and its operands; None if there is none."""
    inner = item.row.inner
    if inner is None or item.node.derived is not None or item.node.spec.params:
        return None
    return (inner, args) if type(inner) is _UFUNC else inner(args)


def _learn(key: tuple[Any, ...]) -> Any:
    function, *kinds = key
    found = None
    try:
        dtypes = _resolved(function, kinds)
    except TypeError:  # NumPy refuses, and will where it runs by itself
        dtypes = ()
    if dtypes:
        with suppress(LookupError):
            found = Loop(function, dtypes[:-1], dtypes[-1])
    _loops[key] = found
    return found


def _is_weak(kind: Any) -> bool:
    """Whether an operand is a Python number. (A dtype equals the type it is made from.)"""
    return isinstance(kind, type) and kind in (int, float, complex)


def _resolved(function: Any, kinds: Sequence[Any]) -> tuple[np.dtype[Any], ...]:
    """The dtypes that NumPy works with, the result last; none where no loop does it."""
    if function is np.where:
        sides = [kind(1) if _is_weak(kind) else np.dtype(kind) for kind in kinds[1:]]
        dtype = np.result_type(*sides)
        return (kinds[0], dtype, dtype, dtype) if kinds[0] == np.bool_ else ()
    asked = [kind if _is_weak(kind) else np.dtype(kind) for kind in kinds]
    return tuple(function.resolve_dtypes((*asked, None)))
