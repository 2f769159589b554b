"""What `flags` and `flat` of a traced array give: objects that look at it, and write it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lima.calls import function
from lima.handle import Handle, data_of, locked, root_of

_BITS = {"c_contiguous": 1, "f_contiguous": 2, "owndata": 4, "aligned": 0x100, "writeable": 0x400}
_SHOWN = ("c_contiguous", "f_contiguous", "owndata", "writeable", "aligned", "writebackifcopy")
_SHORT = {
    "c": "c_contiguous", "f": "f_contiguous", "o": "owndata", "w": "writeable", "a": "aligned",
    "x": "writebackifcopy", "contiguous": "c_contiguous", "fortran": "f_contiguous",
}  # fmt: skip
"""Other spellings of the keys of `flags`."""


class Flags:
    """The memory flags of an `Array`, by the attribute names of `ndarray.flags`.

    WRITEABLE and OWNDATA are those of the array, not of the buffer behind it.
    """

    def __init__(self, array: Any) -> None:
        self._array: Handle = array
        self._flags = data_of(array).flags

    @property
    def writeable(self) -> bool:
        return not locked(self._array)

    @writeable.setter
    def writeable(self, value: Any) -> None:
        self._array.setflags(write=value)  # type: ignore[attr-defined]

    @property
    def owndata(self) -> bool:
        return root_of(self._array) is self._array

    @property
    def num(self) -> int:
        """All of them as the bits of a number."""
        return sum(bit for name, bit in _BITS.items() if getattr(self, name))

    @property
    def behaved(self) -> bool:
        return bool(self.aligned and self.writeable)

    @property
    def carray(self) -> bool:
        return self.behaved and bool(self.c_contiguous)

    @property
    def farray(self) -> bool:
        return self.behaved and bool(self.fortran and not self.c_contiguous)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._flags, name)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, self._attribute(name))

    def __setitem__(self, name: str, value: Any) -> None:
        if self._attribute(name) != "writeable":
            self._flags[name] = value  # NumPy refuses, or nothing changes
        self.writeable = value

    def _attribute(self, name: str) -> str:
        self._flags[name]  # raises NumPy's error for what is no flag
        return _SHORT.get(name.lower(), name.lower())

    def __eq__(self, other: object) -> bool:
        return getattr(other, "num", None) == self.num

    def __hash__(self) -> int:
        return self.num

    def __repr__(self) -> str:
        return "".join(f"  {name.upper()} : {getattr(self, name)}\n" for name in _SHOWN)


class Flat:
    """The elements of an `Array` in C order, as `ndarray.flat` gives them."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self.index = 0

    @property
    def coords(self) -> tuple[int, ...]:
        """The index of the next element."""
        return tuple(int(k) for k in np.unravel_index(self.index, self.base.shape))

    def __len__(self) -> int:
        return int(self.base.size)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.index >= len(self):
            raise StopIteration
        self.index += 1
        return self[self.index - 1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self.copy().__array__(dtype, copy)  # type: ignore[no-any-return]

    def copy(self) -> Any:
        """The elements as a one-dimensional array."""
        return self.base.flatten()

    def __getitem__(self, index: Any) -> Any:
        found = function(np.ravel, (self.base,), {})[index]
        return found.copy() if found.ndim else found

    def __setitem__(self, index: Any, item: Any) -> None:
        base = self.base
        places = np.arange(base.size)[np.asarray(index) if isinstance(index, Handle) else index]
        where = np.unravel_index(places, base.shape)
        if places.ndim:
            item = np.resize(np.ravel(item), places.shape)
        base[tuple(int(k) for k in where) if not places.ndim else where] = item
