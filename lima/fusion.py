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

from lima.op import ALONG, DOWN, FUSES, WHOLE, Fold
from lima.values import Pending, Value

if FUSES:
    from lima.loops import Loop, Program

MOST = 64
"""Operations of a group."""

_UFUNC, _ARRAY, _SCALAR = np.ufunc, np.ndarray, np.generic  # attributes cost time in the hot path

_WEAK: dict[type, int] = {int: 29, float: 30, complex: 31}
"""Codes of Python numbers, where operands with a dtype have `dtype.num`. Five bits are enough."""

_loops: dict[Any, dict[int, Any]] = {}
"""The inner loop of a function, or None, by the codes of its operands."""

_folding: dict[Any, Any] = {}
"""The inner loop by which a function folds, or None, by function and dtype."""


class Group:
    """Operations that run in one pass.

    members   the values they make, with their operands, in an order in which they can be computed
    made      these values
    modes     what NumPy shall do about floating point errors, alike for all of them
    slots     where the program has the values that it reads and makes
    """

    __slots__ = ("made", "members", "modes", "program", "shape", "slots")

    def __init__(self, item: Pending) -> None:
        self.shape = item._meta[0]
        self.modes = item.modes
        self.members: list[tuple[Pending, Sequence[Any]]] = []
        self.made: set[Value] = set()
        self.slots: dict[Value, int] = {}
        self.program = Program(self.shape, MOST)

    def add(self, item: Pending, args: Sequence[Any], local: dict[Value, Any]) -> bool:
        """Take one more operation; False if it must run by itself.

        `local` has the data of operands that are temporaries.
        """
        try:
            return self._add(item, args, local)
        except LookupError:  # the program is full, of operands of operations that were refused
            return False

    def _add(self, item: Pending, args: Sequence[Any], local: dict[Value, Any]) -> bool:
        if len(self.members) == MOST:
            return False
        shape, dtype = item._meta
        if shape != self.shape or (item.modes is not self.modes and item.modes != self.modes):
            return False
        node = item.node
        spec = node.spec
        if node.derived is not None or spec.params:
            return False
        function: Any = item.row.inner
        operands = args
        if type(function) is not _UFUNC:
            function = function(args)
            if function is None:
                return False
            operands = args[: getattr(function, "nin", len(args))]
        program = self.program
        slots: list[int] = []
        code = shift = 0
        whole = repeated = False
        for a in operands:
            slot = -1
            if isinstance(a, Value):
                slot = self._slot(a, local)
            elif type(a) not in _WEAK:
                slot = program.constant(a)
            if slot >= 0:
                code |= program.code(slot) << shift
                whole = whole or program.is_whole(slot)
                repeated = repeated or program.is_repeated(slot)
            elif type(a) in _WEAK:
                code |= _WEAK[type(a)] << shift
            else:
                return False
            slots.append(slot)
            shift += 5
        table = _loops.get(function)
        if table is None:
            table = _loops[function] = {}
        if code in table:
            loop = table[code]
        else:
            kinds = [
                type(a) if slot < 0 else program.dtype(slot)
                for a, slot in zip(operands, slots, strict=True)
            ]
            loop = table[code] = _learn(function, kinds)
        if loop is None or not whole or (repeated and not loop.uneven):
            return False
        if loop.dtype is not dtype and loop.dtype != dtype:
            return False
        for k in range(len(slots)):
            if slots[k] < 0:
                slots[k] = program.number(operands[k], loop.dtypes[k])
                if slots[k] < 0:
                    return False
        slot = program.step(loop, slots)
        if slot < 0:
            return False
        self.slots[item] = slot
        self.made.add(item)
        self.members.append((item, args))
        return True

    def _slot(self, a: Value, local: dict[Value, Any]) -> int:
        """Where the program has an operand; -1 where it cannot read it."""
        if a in self.slots:
            return self.slots[a]
        data = local.get(a) if a.data is None else a.data
        if type(data) is _ARRAY:
            slot = self.program.operand(data)
        else:
            slot = self.program.constant(data) if isinstance(data, _SCALAR) else -1
        if slot >= 0:
            self.slots[a] = slot
        return slot

    def needs(self, args: Sequence[Any]) -> bool:
        """Whether an operation reads what this group makes."""
        return True in [isinstance(a, Value) and a in self.made for a in args]

    def write(self, item: Pending, array: Any) -> None:
        """Put the value of a member into `array`."""
        self.program.output(self.slots[item], array)

    def run(self, threads: int) -> bool:
        """Compute; False if an error came up that NumPy would tell of."""
        return not self.is_loud(self.program.run(threads), self.modes)

    def fold(self, item: Pending, fold: Fold, modes: tuple[str, ...]) -> Any:
        """Compute, and give what a reduction makes of the last member, which is never written.

        None if an error came up that NumPy would tell of, or where its bits are not certain: which
        of two zeros or of several NaNs it finds depends on where in its vectors they meet. `modes`
        are those of the reduction.
        """
        dtype = item._meta[1]
        if (fold.function, dtype) not in _folding:
            _folding[fold.function, dtype] = _learn_fold(fold.function, dtype)
        loop = _folding[fold.function, dtype]
        if loop is None:
            return None
        total = np.empty(() if fold.shape is None else fold.shape, dtype)
        raised = self.program.fold(self.slots[item], loop, total, fold.way)
        if self.is_loud(raised, self.modes) or self.is_loud(raised, modes):
            return None
        if fold.way == WHOLE:
            number = total.item()
            if number != number or (number == 0.0 and not loop.adds):
                return None
        found = total if fold.shape is not None else total[()]
        return found if fold.finish is None else fold.finish(found)

    @staticmethod
    def is_loud(raised: int, modes: tuple[str, ...]) -> bool:
        """Whether NumPy would tell of an error that came up."""
        return True in [raised >> k & 1 and mode != "ignore" for k, mode in enumerate(modes)]


def _learn(function: Any, kinds: Sequence[Any]) -> Any:
    """The loop of a function for operands of these kinds; None where it has none that serves."""
    dtypes: tuple[np.dtype[Any], ...] = ()
    with suppress(TypeError):  # NumPy refuses, and will where it runs by itself
        dtypes = _resolved(function, kinds)
    if dtypes:
        with suppress(LookupError):
            return Loop(function, dtypes[:-1], dtypes[-1])
    return None


def _learn_fold(function: Any, dtype: np.dtype[Any]) -> Any:
    """The loop by which a function folds elements of a dtype; None where that is not what NumPy
    does in `reduce`, whose order is not documented."""
    loop = _learn(function, (dtype, dtype))
    copies = _learn(np.positive, (dtype,))
    if loop is None or copies is None:
        return None
    sample = np.random.default_rng(0).standard_normal(9_009).astype(dtype)
    for way, shape in ((WHOLE, (9_009,)), (DOWN, (273, 33)), (ALONG, (9, 1_001))):
        program = Program(shape, 1)
        a = sample.reshape(shape)
        slot = program.step(copies, [program.operand(a)])
        wanted = np.asarray(function.reduce(a, axis=-1 if way == ALONG else 0))
        total = np.empty(wanted.shape, dtype)
        program.fold(slot, loop, total, way)
        if total.tobytes() != wanted.tobytes():
            return None
    return loop


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
