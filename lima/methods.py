"""The methods of traced arrays that no function of NumPy has, or not with the same arguments."""

from __future__ import annotations

import importlib
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from lima import in_place
from lima.barriers import barrier, plain
from lima.calls import call, function
from lima.frame import refuse
from lima.handle import Handle, data_of, locked
from lima.indexing import getitem
from lima.op import OPS
from lima.operators import Operators
from lima.others import leaves_to
from lima.records import as_lists, as_tuple, is_record
from lima.writes import share

_TYPE = type
_EMPTY = np.zeros(0)

_DTYPE_CLASS = type(np.dtype)
"""What `np.dtypes.Float32DType` and its kin are; NumPy takes them for dtypes in most places."""


def is_scalar(a: Handle) -> bool:
    """Whether a plain program would have a NumPy scalar here, which has no view and no copy."""
    return issubclass(type(a._value.data), np.generic)


def shared(a: Handle) -> Any:
    """The memory of `a` for plain code that may write it, or keep it; a scalar as it is."""
    return plain(a) if is_scalar(a) else share(a)


class Methods(Operators):
    """What `lima.Array` has by name; the methods that functions spell are added there."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def item(self, *args: Any) -> Any:
        """The only element, or the one at `args`, as a Python scalar."""
        if self.dtype.names is None:
            return data_of(self).item(*args)
        found: Any = np.arange(self.size).reshape(self.shape).item(*args)
        return as_tuple(self.flat[found] if self.shape else self)

    def tolist(self) -> Any:
        """The elements as nested lists of Python scalars."""
        return data_of(self).tolist() if self.dtype.names is None else as_lists(self)

    def tobytes(self, order: Any = "C") -> bytes:
        """The bytes of the elements."""
        return data_of(self).tobytes(order)  # type: ignore[no-any-return]

    def astype(self, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True,
               copy: bool = True) -> Any:  # fmt: skip
        """A copy with another dtype; itself with `copy=False` where nothing changes."""
        options: dict[str, Any] = {"order": order, "casting": casting}
        if isinstance(dtype, _DTYPE_CLASS):
            if self.dtype.kind not in "biufc":  # whose elements decide how long text is
                options |= {"dtype": dtype, "copy": copy}
                return barrier(np.ndarray.astype, (self,), options, "a class of dtypes")
            dtype = np.empty(0, self.dtype).astype(dtype).dtype
        if not copy and np.dtype(dtype) == self.dtype and order == "K":
            return self
        return function(np.ndarray.astype, (self, np.dtype(dtype)), options)

    def copy(self, order: Any = "C") -> Any:
        """A copy, a new step of the lineage; a scalar is its own copy."""
        if is_scalar(self):
            if is_record(self):
                return barrier(np.void.copy, (self,), {}, "one record")
            return self
        return call(OPS["copy"], (self,), {"order": order})

    def tofile(self, file: Any, sep: str = "", format: str = "%s") -> None:
        """Write the elements to a file."""
        refuse("it writes a file")
        plain(self).tofile(file, sep, format)

    def dump(self, file: Any) -> None:
        """Pickle the plain array to a file."""
        refuse("it writes a file")
        np.array(self).dump(file)

    def dumps(self) -> bytes:
        """The pickle of the plain array."""
        return np.array(self).dumps()

    def setfield(self, val: Any, dtype: Any, offset: int = 0) -> None:
        """Write `val` as `dtype` into the bytes from `offset` on of every element."""
        self.getfield(dtype, offset)[...] = val

    def to_device(self, device: str, /, *, stream: Any = None) -> Any:
        """The array itself, for the one device there is."""
        if device != "cpu" or stream is not None:
            data_of(self).to_device(device, stream=stream)  # raises
        return self

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
                   copy: bool | None = None) -> Any:  # fmt: skip
        """A capsule of a copy, since not every library heeds that memory is read-only.

        With `copy=False` of the array's own memory: it belongs to plain code from then on, and the
        array is read anew at each use.
        """
        data = share(self) if copy is False else np.array(self)
        return data.__dlpack__(
            stream=stream, max_version=max_version, dl_device=dl_device, copy=copy
        )

    def __dlpack_device__(self) -> Any:
        return _EMPTY.__dlpack_device__()

    def __delitem__(self, index: Any) -> None:
        raise ValueError("cannot delete array elements")

    @property
    def ctypes(self) -> Any:
        """The memory for C code, which the array shares with it from then on."""
        return shared(self).ctypes

    def __array_namespace__(self, *, api_version: Any = None) -> Any:
        """`lima.numpy.array_api`; ValueError for versions of the standard it does not support."""
        return importlib.import_module("lima.numpy.array_api").supporting(api_version)

    def view(self, dtype: Any = None, type: Any = None) -> Any:
        """A view, with the bytes read as `dtype` if it is given."""
        if isinstance(dtype, _TYPE) and issubclass(dtype, np.ndarray):
            return self.view(type=dtype)
        if type is not None and type is not np.ndarray:
            options = {"type": type} if dtype is None else {"dtype": dtype, "type": type}
            if is_scalar(self):
                return barrier(np.ndarray.view, (self,), options, "view as another class")
            return share(self).view(**options)
        if dtype is not None:
            return call(OPS["ndarray.view"], (self, np.dtype(dtype)), {})
        return self if is_scalar(self) else getitem(self, ...)

    def reshape(self, *shape: Any, order: Any = "C", copy: Any = None) -> Any:
        """The elements in another shape; a view where NumPy gives one."""
        if not shape:
            return function(np.ndarray.reshape, (self,), {})  # NumPy says what is missing
        target = shape[0] if len(shape) == 1 else shape
        more = {} if copy is None else {"copy": copy}
        return function(np.reshape, (self, target), {"order": order, **more})

    def transpose(self, *axes: Any) -> Any:
        """The axes in reverse or in the given order."""
        order = axes[0] if len(axes) == 1 else (axes or None)
        return function(np.transpose, (self, order), {})

    def flatten(self, order: Any = "C") -> Any:
        """A one-dimensional copy."""
        return function(np.ravel, (self,), {"order": order}).copy()

    def sort(
        self, axis: int = -1, kind: Any = None, order: Any = None, *, stable: Any = None
    ) -> None:
        """Sort in place, along one axis."""
        axis = operator.index(axis)
        if locked(self):
            plain(self).sort(axis, kind, order, stable=stable)  # NumPy says why not
        self[...] = np.sort(self, axis=axis, kind=kind, order=order, stable=stable)

    def partition(
        self, kth: Any, axis: int = -1, kind: Any = "introselect", order: Any = None
    ) -> None:
        """Partition in place, along one axis."""
        axis = operator.index(axis)
        if locked(self):
            plain(self).partition(plain(kth), axis, kind, order)  # NumPy says why not
        self[...] = np.partition(self, kth, axis=axis, kind=kind, order=order)

    def fill(self, value: Any) -> None:
        """Set every element."""
        if self.dtype.hasobject:
            in_place.fill_objects(self, value)
            return
        if np.ndim(value) or isinstance(value, np.ndarray):  # no element, or one, or a masked one
            made = np.empty((), self.dtype)
            made.fill(plain(value))
            value = made[()]
        self[...] = value

    def setflags(self, write: Any = None, align: Any = None, uic: Any = None) -> None:
        """Make the array read-only, or writable again."""
        if write is not None:
            in_place.set_writeable(self, bool(write))

    def resize(self, *shape: Any, refcheck: bool = True) -> None:
        """Change shape and size in place; zeros follow where it grows.

        Where NumPy may refuse for the sake of others that see the memory, lima does.
        """
        operator.index(refcheck)
        target = shape[0] if len(shape) == 1 else shape or None
        if target is not None:
            in_place.resize(self, target, refcheck)

    def __divmod__(self, other: Any) -> Any:
        if leaves_to(other):
            return NotImplemented
        return function(np.divmod, (self, other), {})

    def __rdivmod__(self, other: Any) -> Any:
        return function(np.divmod, (other, self), {})
