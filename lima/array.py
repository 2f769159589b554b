"""`lima.Array`: the duck array that NumPy programs meet inside traced code."""

from __future__ import annotations

import html
import importlib
import math
import operator
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from lima import gates, in_place
from lima.barriers import barrier, leaf_value, plain, write_untraced
from lima.calls import call, function, leaves_to, method_of, transposed
from lima.calls import ufunc as ufunc_call
from lima.environment import compiled
from lima.flat import Fact, Flags, Flat
from lima.frame import active, as_numpy, refuse
from lima.handle import (
    Handle,
    data_of,
    handle,
    locked,
    make_handles,
    root_of,
    value_of,
)
from lima.indexing import getitem, setitem
from lima.leaves import seen
from lima.node import Node, leaf
from lima.op import CALLS, OPS
from lima.operators import Operators
from lima.ops.spelling import SPELLINGS
from lima.records import as_lists, as_tuple, fields, is_record
from lima.stats import Outcome
from lima.values import Value
from lima.writes import set_in_place, share

if compiled():
    from lima.buffers import Buffered
else:

    class Buffered:  # type: ignore[no-redef]
        """Nothing: only a class of C offers the buffer protocol."""

        __slots__ = ()


_TYPE = type
_EMPTY = np.zeros(0)


def _shown(kind: Any) -> str:
    """A class as NumPy's error messages name it."""
    return f"'{kind.__module__}.{kind.__qualname__}'"


_KEEPERS = frozenset(
    "DataFrame.__init__ Series.__init__ sanitize_array Index.__new__ Categorical.__init__".split()
)
"""Functions of pandas that keep an ndarray as it is, and convert what has `__array__`."""


def _would_be_kept(by: frozenset[str] = _KEEPERS, home: str = "pandas.") -> bool:
    """Whether pandas asks, to hand what it takes for an ndarray to compiled code."""
    return _asking(by, home) is not None


def _asking(by: frozenset[str], home: str) -> Any:
    """The frame that asks something of an array, if it is one of these functions."""
    frame: Any = sys._getframe()
    while frame is not None and (
        frame.f_globals.get("__name__") == __name__  # only where this module is interpreted
        or frame.f_code.co_qualname == "_asarray"  # by which SciPy converts for its functions
    ):
        frame = frame.f_back
    if frame is None or frame.f_code.co_qualname not in by:
        return None
    return frame if str(frame.f_globals.get("__name__")).startswith(home) else None


_TAKERS = frozenset({"sanitize_array"})
"""Functions of pandas that make what they are given the memory of a frame, which is written."""


_MASKED = frozenset({"MaskedArray.__new__", "masked_where", "masked_invalid"})
"""Functions of `numpy.ma` whose results share memory with what they are given, unless they copy."""


def _would_be_masked() -> bool:
    frame = _asking(_MASKED, "numpy.ma.")
    return frame is not None and frame.f_locals.get("copy") is not True


_SOLVERS = frozenset(
    f"LinearOperator.{name}"
    for name in ("matvec", "rmatvec", "_shared_matvec")  # SciPy 1.18
)
"""Methods of SciPy that give what the user's function made to solvers, which write into it."""


_DTYPE_CLASS = type(np.dtype)
"""What `np.dtypes.Float32DType` and its kin are; NumPy takes them for dtypes in most places."""


def _is_scalar(a: Handle) -> bool:
    """Whether a plain program would have a NumPy scalar here, which has no view and no copy."""
    return issubclass(type(a._value.data), np.generic)


def _shared(a: Handle) -> Any:
    """The memory of `a` for plain code that may write it, or keep it; a scalar as it is."""
    return plain(a) if _is_scalar(a) else share(a)


class Array(Operators, Buffered):
    """An array that knows how it was made.

    It behaves as an `ndarray` does in expressions, calls of NumPy functions, indexing, in-place
    operations and views, and every result is an `Array` again. `np.asarray(x)` gives a read-only
    view of the data, `np.array(x)` a copy, `float(x)`, `int(x)`, `x.item()`, `x.tolist()` Python
    values (which carry no lineage). A 0-d result acts as a NumPy scalar does: it can be hashed.

    Made by `lima.array`, `lima.read`, and inside functions under `lima.traced`.

    >>> import lima
    >>> x = lima.array([[1.0, 2.0], [3.0, 4.0]], name="x")
    >>> (x.T @ x)[0, 1]
    Array(14.0, dtype=float64, op='element')
    """

    __slots__ = ()
    __array_priority__ = 1000.0

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What `isinstance` sees: as a plain program's variable, an ndarray or a NumPy scalar."""
        kind = type(self._value.data)
        if issubclass(kind, np.generic):
            return kind
        return Array if "pandas" in sys.modules and _would_be_kept() else np.ndarray

    # ---------------------------------------------------------------- shape and type

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis; known without computing."""
        return value_of(self).meta[0]

    @shape.setter
    def shape(self, shape: Any) -> None:
        set_in_place(self, OPS["reshape"], shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type; known without computing."""
        return value_of(self).meta[1]

    @dtype.setter
    def dtype(self, dtype: Any) -> None:
        set_in_place(self, OPS["ndarray.view"], np.dtype(dtype))

    def _set_shape(self, shape: Any) -> None:
        """NumPy's way to set the shape since 2.5, which deprecates assigning it."""
        set_in_place(self, OPS["reshape"], shape)

    def _set_dtype(self, dtype: Any) -> None:
        """NumPy's way to set the dtype since 2.5, which deprecates assigning it."""
        set_in_place(self, OPS["ndarray.view"], np.dtype(dtype))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        return np.asarray(data_of(self)).strides

    @property
    def flags(self) -> Any:
        """Memory flags as NumPy shows them; WRITEABLE is that of the array, not of the buffer."""
        data = data_of(self)
        if isinstance(data, np.generic):
            return data.flags
        return Flags(self, data)

    @property
    def base(self) -> Any:
        """The array that this is a view of, or None."""
        return None if root_of(self) is self else self._base

    @property
    def data(self) -> memoryview:
        """The memory, which the array shares with who has this from then on."""
        return _shared(self).data  # type: ignore[no-any-return]

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def T(self) -> Any:
        return transposed(self)

    @property
    def mT(self) -> Any:
        if _is_scalar(self):
            raise AttributeError("a NumPy scalar has no attribute mT")
        if self.ndim < 2:
            raise ValueError("matrix transpose with ndim < 2 is undefined")
        return function(np.matrix_transpose, (self,), {})

    @property
    def real(self) -> Any:
        return function(np.real, (self,), {}) if self.dtype.kind == "c" else self

    @real.setter
    def real(self, item: Any) -> None:
        view = self.real
        if view is self:
            self[...] = item
        else:
            view[...] = item

    @property
    def imag(self) -> Any:
        return function(np.imag, (self,), {})

    @imag.setter
    def imag(self, item: Any) -> None:
        if self.dtype.kind != "c":
            np.empty(1, self.dtype).imag = item  # which raises
        self.imag[...] = item

    @property
    def flat(self) -> Any:
        """The elements in C order, to iterate over, to index and to assign to."""
        return Flat(self)

    @flat.setter
    def flat(self, item: Any) -> None:
        Flat(self)[...] = item

    # ---------------------------------------------------------------- NumPy's protocols

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if not copy and "numpy.ma" in sys.modules and _would_be_masked():
            data = _shared(self)
        else:
            data = plain(self)
        if type(data) is not np.ndarray:
            data = np.asarray(data)
        elif active() is not None:
            gates.give(data, self, value_of(self))
        if dtype is not None and np.dtype(dtype) != data.dtype:
            if copy is False:
                raise ValueError("a conversion of dtype needs a copy, copy=False was given")
            return data.astype(dtype)  # type: ignore[no-any-return]
        taken = copy is None and "pandas" in sys.modules and _would_be_kept(_TAKERS)
        if copy is None and not taken and "scipy.sparse.linalg" in sys.modules:
            taken = _would_be_kept(_SOLVERS, "scipy.")
        return data.copy(order="K") if copy or taken else data  # type: ignore[no-any-return]

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        for other in args:
            kind = type(other)
            if kind is not Array and getattr(kind, "__array_ufunc__", 0) is None:
                return NotImplemented
        if method == "__call__":
            return ufunc_call(ufunc, args, kwargs)
        call_of = getattr(ufunc, method)
        if method == "at" and call_of not in CALLS and type(args[0]) is Array:
            return write_untraced(call_of, args[0], args, kwargs, "no row")
        return function(call_of, args, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return function(func, args, kwargs)

    # ---------------------------------------------------------------- Python's protocols

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            if is_record(self):
                return len(self.dtype.names or ())
            kind = type(data_of(self))
            is_array = kind is np.ndarray
            said = (
                "len() of unsized object"
                if is_array
                else f"object of type {_shown(kind)} has no len()"
            )
            raise TypeError(said)
        return shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            if is_record(self):
                return iter(fields(self))
            kind = type(data_of(self))
            is_array = kind is np.ndarray
            raise TypeError(
                "iteration over a 0-d array"
                if is_array
                else f"{_shown(kind)} object is not iterable"
            )
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        return getitem(self, index)

    def __setitem__(self, index: Any, item: Any) -> None:
        setitem(self, index, item)

    def __contains__(self, item: Any) -> bool:
        return bool((self == item).any())

    def __bool__(self) -> bool:
        return bool(data_of(self))

    def __float__(self) -> float:
        return float(data_of(self))

    def __int__(self) -> int:
        return int(data_of(self))

    def __complex__(self) -> complex:
        return complex(data_of(self))

    def __index__(self) -> int:
        return operator.index(data_of(self))

    def __trunc__(self) -> int:
        return math.trunc(data_of(self))  # type: ignore[no-any-return]

    def __bytes__(self) -> bytes:
        return self.tobytes()

    def __sizeof__(self) -> int:
        return data_of(self).__sizeof__()  # type: ignore[no-any-return]

    def __round__(self, ndigits: int | None = None) -> Any:
        return round(data_of(self), ndigits)

    def __hash__(self) -> int:
        data = data_of(self)
        if type(data) is np.void:  # a record is hashed if nobody may write it
            memory = np.array(data).copy()
            memory.setflags(write=not locked(self))
            data = memory[()]
        return hash(data)

    def __format__(self, spec: str) -> str:
        return format(data_of(self), spec)

    def __str__(self) -> str:
        return str(data_of(self))

    def __repr__(self) -> str:
        data = data_of(self)
        if as_numpy():
            return repr(data)
        if isinstance(data, np.generic):
            body = str(data)
        else:
            body = np.array2string(data, separator=", ", prefix="Array(", threshold=100)
        facts = [f"shape={data.shape}"] if data.ndim else []
        return f"Array({', '.join([body, *facts, f'dtype={data.dtype}', *self._how()])})"

    def _how(self) -> list[str]:
        node = value_of(self).node
        facts = [f"op={node.spec.op!r}"]
        if node.name:
            facts.append(f"name={node.name!r}")
        if node.outcome is not None and node.outcome.outcome is Outcome.HIT:
            facts.append("reused")
        return facts

    def _repr_html_(self) -> str:
        """A small table for notebooks: shape, dtype, operation, and the first elements."""
        facts = html.escape(", ".join([f"shape={self.shape}", f"dtype={self.dtype}", *self._how()]))
        body = html.escape(np.array2string(np.asarray(self), threshold=100))
        return f"<div><b>lima.Array</b> <code>{facts}</code><pre>{body}</pre></div>"

    def __copy__(self) -> Any:
        return self.copy("K")

    def __deepcopy__(self, memo: Any) -> Any:
        if self.dtype.hasobject:  # which are copied as well
            return barrier(np.ndarray.__deepcopy__, (self, memo), {}, "Python objects")
        return self.copy("K")

    def __reduce__(self) -> Any:
        return _unpickled, (data_of(self) if _is_scalar(self) else np.array(plain(self)),)

    def __getattr__(self, name: str) -> Any:
        """What NumPy's scalars alone have, such as `is_integer`; else the error of NumPy."""
        kind = self.__class__
        if name[:2] != "__" and kind is not np.ndarray and hasattr(kind, name):
            return getattr(data_of(self), name)
        raise AttributeError(f"{_shown(kind)} object has no attribute {name!r}")

    # ---------------------------------------------------------------- methods without a function

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
        if _is_scalar(self):
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

    def _lend(self, writable: bool) -> np.ndarray[Any, Any]:
        """The memory for compiled code; what may write it shares it from then on."""
        return share(self) if writable else np.asarray(plain(self))

    def __dlpack_device__(self) -> Any:
        return _EMPTY.__dlpack_device__()

    def __delitem__(self, index: Any) -> None:
        raise ValueError("cannot delete array elements")

    @property
    def ctypes(self) -> Any:
        """The memory for C code, which the array shares with it from then on."""
        return _shared(self).ctypes

    def __array_namespace__(self, *, api_version: Any = None) -> Any:
        """`lima.numpy.array_api`; ValueError for versions of the standard it does not support."""
        return importlib.import_module("lima.numpy.array_api").supporting(api_version)

    def view(self, dtype: Any = None, type: Any = None) -> Any:
        """A view, with the bytes read as `dtype` if it is given."""
        if isinstance(dtype, _TYPE) and issubclass(dtype, np.ndarray):
            return self.view(type=dtype)
        if type is not None and type is not np.ndarray:
            options = {"type": type} if dtype is None else {"dtype": dtype, "type": type}
            if _is_scalar(self):
                return barrier(np.ndarray.view, (self,), options, "view as another class")
            return share(self).view(**options)
        if dtype is not None:
            return call(OPS["ndarray.view"], (self, np.dtype(dtype)), {})
        return self if _is_scalar(self) else self[...]

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
        if np.ndim(value):  # which NumPy takes for no element, or for one
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


def _install() -> None:
    for name, fact in list(vars(Array).items()):
        if type(fact) is property and name[:2] != "__":
            setattr(Array, name, Fact(fact.fget, fact.fset, None, fact.__doc__))
    for name, row_name in in_place.OPERATORS.items():
        setattr(Array, f"__i{name}__", in_place.operator_of(name, OPS[row_name]))
    for name, method in vars(np.ndarray).items():
        known = callable(method) and (method in CALLS or method in SPELLINGS)
        if known and name not in vars(Array) and name not in vars(Operators):
            made = method_of(method)
            made.__wrapped__ = method  # which has the signature
            setattr(Array, name, made)


make_handles(Array)
_install()


def array(data: Any, name: str | None = None, dtype: Any = None) -> Array:
    """A traced array with the elements of `data`: a leaf of the lineage, under `name`.

    data is anything `np.array` takes; the elements are copied, unless `data` is an ndarray that is
    read-only and owns its memory. All bytes are hashed once (xxh3-128).
    An `Array` is returned as it is, or renamed.

    >>> import lima
    >>> lima.array([1, 2, 3], name="x").sum()
    Array(6, dtype=int64, op='sum')
    """
    if isinstance(data, Array):
        if dtype is not None and np.dtype(dtype) != data.dtype:
            return array(data.astype(dtype), name)
        if name is not None and value_of(data).node.is_leaf:
            value_of(data).node.name = name
        return data
    own = np.asarray(data)
    frozen = own is data and own.base is None and not own.flags.writeable
    if type(data) is not np.ndarray or not frozen or (dtype is not None and own.dtype != dtype):
        own = np.array(data, dtype=dtype, order="K", copy=True, subok=False)
    own.setflags(write=False)
    value = Value(leaf(own, name), own)
    value.shared = True
    seen(value.node.digest, own)
    return handle(value)  # type: ignore[no-any-return]


def _unpickled(data: Any) -> Array:
    """A traced array or scalar, from a pickle."""
    return handle(leaf_value(data)) if isinstance(data, np.generic) else array(data)


def node_of(x: Array) -> Node:
    """The lineage node of a traced array."""
    return value_of(x).node
