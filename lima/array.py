"""`lima.Array`: the duck array that NumPy programs meet inside traced code."""

from __future__ import annotations

import html
import importlib
import operator
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lima.calls import (
    LIFT,
    barrier,
    binary,
    call,
    function,
    method_of,
    plain,
    transposed,
    write_untraced,
)
from lima.calls import ufunc as ufunc_call
from lima.errors import NotCanonical, UnsupportedError
from lima.frame import Look, refuse
from lima.handle import Handle, data_of, handle, locked, make_handles, root_of, value_of
from lima.indexing import getitem, setitem
from lima.leaves import seen
from lima.node import Node, Ref, Spec, leaf
from lima.op import CALLS, OPS, Op
from lima.operators import Operators
from lima.ops.spelling import SPELLINGS
from lima.stats import Outcome
from lima.values import Value
from lima.writes import reshape_in_place, write

_TYPE = type


def _is_scalar(a: Handle) -> bool:
    """Whether a plain program would have a NumPy scalar here, which has no view and no copy."""
    return issubclass(type(a._value.data), np.generic)


class Array(Operators):
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
        return kind if issubclass(kind, np.generic) else np.ndarray

    # ---------------------------------------------------------------- shape and type

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis; known without computing."""
        return value_of(self).meta[0]

    @shape.setter
    def shape(self, shape: Any) -> None:
        reshape_in_place(self, shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type; known without computing."""
        return value_of(self).meta[1]

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
        return plain(self).data  # type: ignore[no-any-return]

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
            raise TypeError("array does not have imaginary part to set")
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
        data = np.asarray(plain(self))
        if dtype is not None and np.dtype(dtype) != data.dtype:
            if copy is False:
                raise ValueError("a conversion of dtype needs a copy, copy=False was given")
            return data.astype(dtype)
        return data.copy(order="K") if copy else data

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
            raise TypeError("len() of unsized object")
        return shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
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
        return data_of(self).__index__()  # type: ignore[no-any-return]

    def __round__(self, ndigits: int | None = None) -> Any:
        return round(data_of(self), ndigits)

    def __hash__(self) -> int:
        return hash(data_of(self))

    def __format__(self, spec: str) -> str:
        return format(data_of(self), spec)

    def __str__(self) -> str:
        return str(data_of(self))

    def __repr__(self) -> str:
        data = data_of(self)
        if Look.as_numpy:
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
        return self.copy("K")

    def __reduce__(self) -> Any:
        return array, (np.array(plain(self)) if self.shape else data_of(self),)

    # ---------------------------------------------------------------- methods without a function

    def item(self, *args: Any) -> Any:
        """The only element, or the one at `args`, as a Python scalar."""
        return data_of(self).item(*args)

    def tolist(self) -> Any:
        """The elements as nested lists of Python scalars."""
        return data_of(self).tolist()

    def tobytes(self, order: Any = "C") -> bytes:
        """The bytes of the elements."""
        return data_of(self).tobytes(order)  # type: ignore[no-any-return]

    def astype(self, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True,
               copy: bool = True) -> Any:  # fmt: skip
        """A copy with another dtype; itself with `copy=False` where nothing changes."""
        if not copy and np.dtype(dtype) == self.dtype and order == "K":
            return self
        options = {"order": order, "casting": casting}
        return function(np.ndarray.astype, (self, np.dtype(dtype)), options)

    def copy(self, order: Any = "C") -> Any:
        """A copy, a new step of the lineage; a scalar is its own copy."""
        if _is_scalar(self):
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

    def getfield(self, dtype: Any, offset: int = 0) -> Any:
        """The bytes from `offset` on in every element, read as `dtype`."""
        return barrier(np.ndarray.getfield, (self, dtype, offset), {}, "reads parts of elements")

    def to_device(self, device: str, /, *, stream: Any = None) -> Any:
        """The array itself, for the one device there is."""
        if device != "cpu" or stream is not None:
            raise ValueError(f"device={device!r}, stream={stream!r}: only 'cpu' and None are there")
        return self

    def __dlpack__(self, **options: Any) -> Any:
        return np.array(self).__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return np.zeros(0).__dlpack_device__()

    def __delitem__(self, index: Any) -> None:
        raise ValueError("cannot delete array elements")

    @property
    def ctypes(self) -> Any:
        """Not offered: C code could write what the cache and other arrays share."""
        raise UnsupportedError("a traced array has no pointer to give; use np.array(x).ctypes")

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return importlib.import_module("lima.numpy")

    def view(self, dtype: Any = None, type: Any = None) -> Any:
        """A view, with the bytes read as `dtype` if it is given."""
        if isinstance(dtype, _TYPE) and issubclass(dtype, np.ndarray):
            return self.view(type=dtype)
        if type is not None:
            options = {"type": type} if dtype is None else {"dtype": dtype, "type": type}
            return barrier(np.ndarray.view, (self,), options, "view as another class")
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
        """Sort in place."""
        self[...] = np.sort(self, axis=axis, kind=kind, order=order, stable=stable)

    def partition(
        self, kth: Any, axis: int = -1, kind: Any = "introselect", order: Any = None
    ) -> None:
        """Partition in place."""
        self[...] = np.partition(self, kth, axis=axis, kind=kind, order=order)

    def fill(self, value: Any) -> None:
        """Set every element."""
        if self.dtype.hasobject:
            function(np.ndarray.fill, (self, value), {})  # a list is one object
            return
        self[...] = value

    def setflags(self, write: Any = None, align: Any = None, uic: Any = None) -> None:
        """Make the array read-only, or writable again."""
        if write is None or bool(write) is not locked(self):
            return
        if write and self._base is not None and locked(self._base):
            raise ValueError("cannot set WRITEABLE flag to True of this array")
        refuse("it changes the flags of an array")
        self._locked = not write

    def resize(self, *shape: Any, refcheck: bool = True) -> None:
        """Not traced: it would change the buffer under views."""
        raise UnsupportedError("resize() in place is not traced; use np.resize(x, shape)")

    def __divmod__(self, other: Any) -> Any:
        return function(np.divmod, (self, other), {})

    def __rdivmod__(self, other: Any) -> Any:
        return function(np.divmod, (other, self), {})


class Flags:
    """The memory flags of an `Array`, as `ndarray.flags` shows and sets them.

    WRITEABLE is that of the array a program sees, OWNDATA tells whether it is a view; the buffer
    behind it may be shared and read-only.
    """

    _array: Array
    _data: Any
    num: int
    """All flags in one number, by NumPy's bits."""

    def __init__(self, array: Array, data: np.ndarray[Any, Any]) -> None:
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


class Flat:
    """The elements of an `Array` in C order, as `ndarray.flat` gives them."""

    def __init__(self, base: Array) -> None:
        self.base = base
        self.index = 0

    @property
    def coords(self) -> tuple[int, ...]:
        """The index of the next element."""
        return tuple(int(k) for k in np.unravel_index(self.index, self.base.shape))

    def __len__(self) -> int:
        return self.base.size

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
        found = function(np.ravel, (self.base,), {})[self._places(index)]
        return found.copy() if isinstance(found, Array) and found.ndim else found

    def __setitem__(self, index: Any, item: Any) -> None:
        base = self.base
        alone = type(index) is int and -base.size <= index < base.size
        # NumPy's iterator tries it on zeros: it casts in its own way, and knows what is wrong
        trial = np.zeros(1 if alone else base.shape, base.dtype)
        trial.flat[0 if alone else plain(index)] = plain(item)
        if not np.size(item):
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has warned
            places = np.array(index % base.size) if alone else self._places(index)
        if not isinstance(item, Array):
            item = trial[0] if alone else trial.reshape(-1)[places]
        elif places.ndim:
            item = np.resize(np.ravel(item), places.shape)
        if not base.ndim:
            if places.size:
                base[()] = np.ravel(item)[-1]
            return
        where = np.unravel_index(places, base.shape)
        base[where if places.ndim else tuple([int(k) for k in where])] = item

    def _places(self, index: Any) -> Any:
        """The places that `index` means; NumPy's iterators take other indices than its arrays."""
        return np.asarray(np.arange(self.base.size).flat[plain(index)])


# --------------------------------------------------------------------------- in-place operators

IN_PLACE = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide",
    "floordiv": "floor_divide", "mod": "remainder", "pow": "pow", "matmul": "matmul",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "left_shift", "rshift": "right_shift",
}  # fmt: skip
"""Python's in-place operators and the rows that they mean."""


def _in_place(name: str, row: Op) -> Any:
    run = getattr(operator, f"__{name}__")
    run_in_place = getattr(operator, f"__i{name}__")
    writing = OPS.get(f"i{row.name}", row)  # a row of its own where `out=` means something else
    spec = writing.spec if writing.into else Spec(row.name, (("out", Ref(2)),), 2, row.version)

    def in_place(self: Any, other: Any) -> Any:
        value = value_of(self)
        if isinstance(value.data, np.generic):
            return binary(row, self, other, False, run)  # scalars are immutable: a new one
        try:
            right = value_of(other) if type(other) is Array else LIFT.operand(other)
        except NotCanonical as why:
            return write_untraced(run_in_place, self, (self, other), {}, str(why))
        inputs = (value, right) if writing.into else (value, right, value)
        write(self, writing, spec, inputs)
        return self

    in_place.__name__ = f"__i{name}__"
    return in_place


def _install() -> None:
    for name, row_name in IN_PLACE.items():
        setattr(Array, f"__i{name}__", _in_place(name, OPS[row_name]))
    for name, method in vars(np.ndarray).items():
        known = callable(method) and (method in CALLS or method in SPELLINGS)
        if known and name not in vars(Array) and name not in vars(Operators):
            setattr(Array, name, method_of(method))


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


def node_of(x: Array) -> Node:
    """The lineage node of a traced array."""
    return value_of(x).node
