"""What `flags` and `flat` of an `Array` give, and what it says of its attributes as NumPy does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lima.barriers import plain
from lima.calls import function
from lima.handle import Handle, locked, root_of


class Flags:
    """The memory flags of an `Array`, as `ndarray.flags` shows and sets them.

    WRITEABLE is that of the array a program sees, OWNDATA tells whether it is a view; the buffer
    behind it may be shared and read-only.
    """

    _array: Any
    _data: Any
    num: int
    """All flags in one number, by NumPy's bits."""

    def __init__(self, array: Any, data: np.ndarray[Any, Any]) -> None:
        num = data.flags.num & ~(OWNDATA | WRITEABLE)
        num |= 0 if locked(array) else WRITEABLE
        num |= OWNDATA if root_of(array) is array else 0
        vars(self).update(_array=array, _data=data.flags, num=num)

    def __getattr__(self, name: str) -> bool:
        test = FLAGS.get(name.upper()) if len(name) > 2 and name.islower() else None
        found: bool = getattr(self._data, name) if test is None else test(self.num)
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "writeable":
            setattr(self._data, name, value)
            return
        self._array.setflags(write=bool(value))
        vars(self)["num"] ^= (self.num ^ (WRITEABLE if value else 0)) & WRITEABLE

    def __delattr__(self, name: str) -> None:
        delattr(self._data, name)  # NumPy says why not

    def __getitem__(self, name: str) -> bool:
        test = FLAGS.get(name)
        found: bool = self._data[name] if test is None else test(self.num)
        return found

    def __setitem__(self, name: str, value: Any) -> None:
        if name in ("W", "WRITEABLE"):
            self.writeable = value
        else:
            self._data[name] = value

    def __eq__(self, other: object) -> bool:
        return self.num == getattr(other, "num", None)

    __hash__ = None  # type: ignore[assignment]  # as NumPy's flags

    def __repr__(self) -> str:
        shown = ("C_CONTIGUOUS", "F_CONTIGUOUS", "OWNDATA", "WRITEABLE", "ALIGNED")
        lines = [f"  {name} : {self[name]}" for name in (*shown, "WRITEBACKIFCOPY")]
        return "\n".join([*lines, ""])


OWNDATA, WRITEABLE = 0x4, 0x400
"""NumPy's bits for the flags that a traced array has of its own."""


def _flag(bits: int) -> Callable[[int], bool]:
    """Whether all of `bits` are set in a number."""
    return lambda num: num & bits == bits


FLAGS: dict[str, Callable[[int], bool]] = {
    **dict.fromkeys(("O", "OWNDATA"), _flag(OWNDATA)),
    **dict.fromkeys(("W", "WRITEABLE"), _flag(WRITEABLE)),
    **dict.fromkeys(("B", "BEHAVED"), _flag(WRITEABLE | 0x100)),
    **dict.fromkeys(("CA", "CARRAY"), _flag(WRITEABLE | 0x101)),
    **dict.fromkeys(("FA", "FARRAY"), lambda num: num & 0x502 != 0 and not num & 0x1),
}
"""Flags that depend on those. (FARRAY is any of three bits, where CARRAY is all, as in NumPy.)"""


MOST_AXES = 32
"""Axes up to which NumPy's iterators go."""


class Flat:
    """The elements of an `Array` in C order, as `ndarray.flat` gives them."""

    def __init__(self, base: Any) -> None:
        if base.ndim > MOST_AXES:
            raise RuntimeError(
                f"this function only supports up to {MOST_AXES} dimensions but the array has "
                f"{base.ndim}."
            )
        self._base = base
        self._index = 0

    @property
    def base(self) -> Any:
        """The array itself."""
        return self._base

    @property
    def index(self) -> int:
        """The place of the next element, in C order."""
        return self._index

    @property
    def coords(self) -> tuple[int, ...]:
        """The index of the next element."""
        return tuple(int(k) for k in np.unravel_index(self.index, self.base.shape))

    def __len__(self) -> int:
        return int(self.base.size)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._index >= len(self):
            raise StopIteration
        self._index += 1
        return self[self._index - 1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self.copy().__array__(dtype, copy)  # type: ignore[no-any-return]

    def copy(self) -> Any:
        """The elements as a one-dimensional array."""
        return self.base.flatten()

    def __getitem__(self, index: Any) -> Any:
        places = self._places(index)
        if not places.ndim and self.base.dtype.names is not None:  # a record is a view
            return self.base[tuple([int(k) for k in np.unravel_index(places, self.base.shape)])]
        found: Any = function(np.ravel, (self.base,), {})[places]
        array: bool = isinstance(found, Handle)
        return found.copy() if array and found.ndim else found

    def __setitem__(self, index: Any, item: Any) -> None:
        base = self.base
        if locked(base):
            raise ValueError("underlying array is read-only")
        alone = type(index) is int and -base.size <= index < base.size
        # NumPy's iterator tries it on zeros: it casts in its own way, and knows what is wrong
        trial = np.zeros(1 if alone else base.shape, base.dtype)
        trial.flat[0 if alone else plain(index)] = plain(item)
        if not np.size(item):
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has warned
            places = np.array(index % base.size) if alone else self._places(index)
        traced: bool = isinstance(item, Handle)
        if not traced:
            item = trial[0] if alone else trial.reshape(-1)[places]
        elif places.ndim:
            item = np.resize(np.ravel(item), places.shape)
        if not base.ndim:
            if places.size:
                base[()] = np.ravel(item)[-1]
            return
        where = np.unravel_index(places, base.shape)
        base[where if places.ndim else tuple([int(k) for k in where])] = item

    def __delitem__(self, index: Any) -> None:
        raise TypeError("Cannot delete iterator elements")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("base", "index", "coords"):
            raise AttributeError(f"attribute {name!r} of 'numpy.flatiter' objects is not writable")
        super().__setattr__(name, value)

    def _places(self, index: Any) -> Any:
        """The places that `index` means; NumPy's iterators take other indices than its arrays."""
        return np.asarray(np.arange(self.base.size).flat[plain(index)])


class Fact(property):
    """An attribute of an `Array` that says what NumPy says where it cannot be set or deleted."""

    def __set__(self, a: Any, item: Any) -> None:
        if self.fset is None:
            self._refuse(a)
        self.fset(a, item)  # type: ignore[misc]

    def __delete__(self, a: Any) -> None:
        if self.fset is None:
            self._refuse(a)
        raise AttributeError(f"Cannot delete array {_PARTS.get(self._name, self._name)}")

    @property
    def _name(self) -> str:
        return getattr(self.fget, "__name__", "")

    def _refuse(self, a: Any) -> None:
        scalar = isinstance(a._value.data, np.generic)
        kind = "numpy.generic" if scalar else "numpy.ndarray"
        raise AttributeError(f"attribute {self._name!r} of {kind!r} objects is not writable")


_PARTS = {"real": "real part", "imag": "imaginary part", "flat": "flat iterator"}
"""Attributes whose deletion NumPy refuses in words of their own."""
