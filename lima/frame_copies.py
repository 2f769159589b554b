"""Frames of pandas that a call returned, kept so that later calls can give equal ones.

A frame is taken apart into its blocks, its axes and what else it has; each use puts a new one
together, of copies. What a frame shares with an argument, it shares again: an axis that is that
object, and under copy-on-write (pandas 3) a block that is that of an argument.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from lima.errors import NotCanonical
from lima.frames import content, enter, plain_class
from lima.keys import Scan
from lima.op import clone, owner

PARTS = ("_data", "_mask", "_ndarray", "_codes")
"""Where the columns that pandas has kinds of its own for keep their arrays."""

PRICE = 20
"""What keeping a byte of a frame costs, in bytes that are copied: it is also looked at twice."""

Shared = tuple[int, int, tuple[Any, ...] | None]
"""A part of an argument: which argument, which of its blocks, which of the block's elements."""

Copies = dict[int, tuple[Any, Any]]
"""By its id an index, and what stands for it in the results of one use."""

_FIXED = (str, bytes, bool, int, float, complex, type(None), np.generic)


class FrameCopy:
    """A frame that a call returned. Until `freeze` it refers to the frame itself.

    given   the arguments, among which parts of the frame are looked for
    nbytes  bytes of the blocks that must be copied
    """

    def __init__(self, x: Any, given: Scan, foreign: set[int]) -> None:
        self.frame = x
        self.kind: Any = None
        self.attrs: Any = None
        self.nbytes = 0
        self.axes: list[tuple[Any, ...]] = []
        self.blocks: list[tuple[Any, ...]] = []
        self.categories = list(_categories(given))
        try:
            self._take(x, given, foreign)
        except NotCanonical:
            raise
        except (AttributeError, TypeError) as error:  # another pandas
            raise NotCanonical(f"a {type(x).__qualname__} that cannot be copied: {error}") from None

    def _take(self, x: Any, given: Scan, foreign: set[int]) -> None:
        if is_index(x):
            self.axes.append(_axis(x, given))
            return
        self.kind = plain_class(type(x))
        if self.kind is None:
            raise NotCanonical(f"a {type(x).__qualname__}, a kind of frame that may hold more")
        self.entered = type(x) is not self.kind
        self.name = x.name if x.ndim == 1 else None
        self.unique = not x.flags.allows_duplicate_labels
        self.attrs = x.attrs
        if not all(isinstance(v, _FIXED) for pair in x.attrs.items() for v in pair):
            raise NotCanonical("a frame whose attrs hold more than numbers and text")
        manager = x._mgr
        self.manager = type(manager)
        self.axes = [_axis(axis, given) for axis in manager.axes]
        for block in manager.blocks:
            place = np.array(block.mgr_locs.as_array)
            shared = _shared(block, given)
            if shared is None:
                if any(id(owner(a)) in foreign for a in memories(block.values)):
                    raise NotCanonical("a frame that shares memory with an argument")
                self.nbytes += block.values.nbytes
            self.blocks.append((shared, type(block), block.values, place, block.ndim))

    def freeze(self, copies: Copies) -> None:
        """Let it hold copies. Raises NotCanonical for what two frames could not have in common."""
        wanted = content(self._plain_content())
        self.frame = None
        self.attrs = copy.deepcopy(self.attrs)
        copies.update((id(x), (x, x)) for x in self.categories)
        self.axes = [(*term[:2], _copied(term[2], copies)) if term[0] == "own" else term
                     for term in self.axes]  # fmt: skip
        self.blocks = [
            (shared, kind, None if shared else _values(values, copies), place, ndim)
            for shared, kind, values, place, ndim in self.blocks
        ]
        self.wanted = wanted

    def _plain_content(self) -> Any:
        """The frame, as something whose content can be told: attrs are looked at by themselves."""
        x = self.frame
        if is_index(x) or not x.attrs:
            return x
        bare = x.copy(deep=False)
        bare.attrs = {}
        return bare

    def make(self, given: Scan, copies: Copies) -> Any:
        """A new frame, beside the arguments of a call with an equal key."""
        for mine, theirs in zip(self.categories, _categories(given), strict=True):
            copies[id(mine)] = mine, theirs
        axes = [_made_axis(term, given, copies) for term in self.axes]
        if self.kind is None:
            return axes[0]
        blocks = []
        for shared, kind, values, place, ndim in self.blocks:
            if shared is None:
                values = _values(values, copies)
                blocks.append(kind(values, placement=_placed(place), ndim=ndim))
            else:
                block = given.frames[shared[0]]._mgr.blocks[shared[1]]
                values = block.values if shared[2] is None else block.values[shared[2]]
                blocks.append(kind(values, placement=_placed(place), ndim=ndim, refs=block.refs))
        single = self.kind is _pandas().Series
        parts, held = (blocks[0], axes[0]) if single else (tuple(blocks), axes)
        manager = self.manager(parts, held, verify_integrity=False)
        made = self.kind._from_mgr(manager, axes=manager.axes)
        if single:
            object.__setattr__(made, "_name", self.name)
        if self.unique:
            made.flags.allows_duplicate_labels = False
        if self.attrs:
            made.attrs = copy.deepcopy(self.attrs)
        if self.entered:
            enter(made)
        return made

    def is_right(self, given: Scan) -> bool:
        """Whether what is made is what was returned, as far as anybody can tell."""
        made = self.make(given, {})
        if not is_index(made) and made.attrs:
            made.attrs = {}
        return content(made) == self.wanted


def _pandas() -> Any:
    return sys.modules["pandas"]


def is_index(x: Any) -> bool:
    return isinstance(x, _pandas().Index)


def copies_on_write() -> bool:
    """Whether frames that share memory do not show it."""
    return int(str(_pandas().__version__).partition(".")[0]) >= 3


def _placed(place: Any) -> Any:
    internals: Any = sys.modules["pandas._libs.internals"]
    return internals.BlockPlacement(place)


# --------------------------------------------------------------------------- axes


def _axis(axis: Any, given: Scan) -> tuple[Any, ...]:
    """An axis that an argument has, or is; or one of the frame's own."""
    for k, x in enumerate(given.frames):
        if x is axis:
            return ("given", k, None)
        if not is_index(x):
            for n, other in enumerate(x._mgr.axes):
                if other is axis:
                    return ("axis", k, n)
    return ("own", 0, axis)


def _made_axis(term: tuple[Any, ...], given: Scan, copies: Copies) -> Any:
    how, k, part = term
    if how == "own":
        return _copied(part, copies)
    return given.frames[k] if how == "given" else given.frames[k]._mgr.axes[part]


def _copied(axis: Any, copies: Copies) -> Any:
    """Another index with the same labels: its name can be set, so it is never one for two.

    Results that have one index in common have one again.
    """
    if id(axis) not in copies:
        copies[id(axis)] = axis, _copy(axis, copies)
    return copies[id(axis)][1]


def _copy(axis: Any, copies: Copies) -> Any:
    pandas = _pandas()
    if isinstance(axis, pandas.MultiIndex):
        levels = [_copied(level, copies) for level in axis._levels]
        return axis.set_levels(levels, verify_integrity=False)
    if isinstance(axis, pandas.CategoricalIndex):
        return type(axis)._simple_new(_values(axis._data, copies), name=axis.name)
    if copies_on_write() and not hasattr(axis, "asi8"):  # whose memory can be written
        return axis.view()
    return axis.copy(deep=True)


def _categories(given: Scan) -> Iterator[Any]:
    """The indexes that the categories of the arguments are, in a fixed order."""
    for x in given.frames:
        for axis in (x,) if is_index(x) else x._mgr.axes:
            for level in (axis, *getattr(axis, "_levels", ())):
                yield from _of_categories(getattr(level, "_data", None))
        for block in () if is_index(x) else x._mgr.blocks:
            yield from _of_categories(block.values)


def _of_categories(values: Any) -> Iterator[Any]:
    if isinstance(values, _pandas().Categorical):
        yield values.dtype.categories


# --------------------------------------------------------------------------- blocks


def memories(values: Any) -> Iterator[Any]:
    """The arrays of NumPy that hold the elements of a block."""
    if type(values) is np.ndarray:
        yield values
    for name in PARTS:
        part = getattr(values, name, None)
        if type(part) is np.ndarray:
            yield part


def held_by(x: Any) -> Iterator[Any]:
    """The arrays of NumPy that hold the elements of a frame, or the labels of an index."""
    if is_index(x):
        yield from memories(x._data)
        return
    for block in x._mgr.blocks:
        yield from memories(block.values)


def _values(values: Any, copies: Copies) -> Any:
    """A copy of the elements of a block. Categories are an index: they can be given a name."""
    if type(values) is np.ndarray:
        return clone(values)
    if not isinstance(values, _pandas().Categorical):
        return values.copy()
    kind = type(values.dtype)(_copied(values.dtype.categories, copies), values.dtype.ordered)
    return type(values).from_codes(clone(values._ndarray), dtype=kind, validate=False)


def _shared(block: Any, given: Scan) -> Shared | None:
    """Of which block of which argument it is a view; only where nobody can tell."""
    if not copies_on_write():
        return None
    mine = _places(block)
    for k, x in enumerate(given.frames):
        for n, other in enumerate(() if is_index(x) else x._mgr.blocks):
            if mine[2:] and mine == _places(other):
                return k, n, None
            cut = _cut(block.values, other.values) if type(other) is type(block) else None
            if cut is not None:
                return k, n, cut
    return None


def _places(block: Any) -> list[Any]:
    """Where the elements of a block are, and how they are looked at."""
    kinds = [(type(block), block.ndim), type(block.values)]
    return kinds + [_place(a) for a in memories(block.values)]


def _cut(a: Any, b: Any) -> tuple[Any, ...] | None:
    """The index that gives `a`, whose memory is a part of that of the matrix `b`."""
    if not (type(a) is type(b) is np.ndarray and a.dtype == b.dtype and b.ndim == 2 and a.size):
        return None
    if owner(a) is not owner(b) or min(b.strides) <= 0:
        return None
    offset = _place(a)[0] - _place(b)[0]
    starts = [0, 0]
    for axis in sorted((0, 1), key=lambda k: -b.strides[k]):
        starts[axis], offset = divmod(offset, b.strides[axis])
    for axes in ((0, 1),) if a.ndim == 2 else ((1,), (0,)):
        index: list[Any] = list(starts)
        for n, stride, axis in zip(a.shape, a.strides, axes, strict=True):
            step = max(stride // b.strides[axis], 1) if n > 1 else 1
            index[axis] = slice(starts[axis], starts[axis] + (n - 1) * step + 1, step)
        fits = all(0 <= i < n for i, n in zip(starts, b.shape, strict=True))
        if fits and _is_place(b[tuple(index)], a):
            return tuple(index)
    return None


def _is_place(a: Any, b: Any) -> bool:
    """Whether two arrays look at the same elements in the same order."""
    strides = [[s for n, s in zip(x.shape, x.strides, strict=True) if n > 1] for x in (a, b)]
    return _place(a)[:2] == _place(b)[:2] and strides[0] == strides[1]


def _place(a: Any) -> tuple[Any, ...]:
    return a.__array_interface__["data"][0], a.shape, a.strides, a.dtype, a.flags.writeable
