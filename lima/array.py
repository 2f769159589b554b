"""`lima.Array`: the duck array that NumPy programs meet inside traced code."""

from __future__ import annotations

import html
import math
import operator
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from lima import gates, in_place
from lima.barriers import barrier, leaf_value, plain, write_untraced
from lima.calls import function, method_of, transposed
from lima.calls import ufunc as ufunc_call
from lima.environment import compiled
from lima.flat import Fact, Flags, Flat
from lima.forcing import force
from lima.frame import active, as_numpy
from lima.handle import (
    data_of,
    handle,
    locked,
    make_handles,
    root_of,
    value_of,
)
from lima.indexing import getitem, setitem
from lima.leaves import seen
from lima.methods import Methods, is_scalar, shared
from lima.node import Node, leaf
from lima.op import CALLS, OPS
from lima.operators import Operators
from lima.ops.spelling import SPELLINGS
from lima.records import fields, is_record
from lima.stats import Outcome
from lima.values import Value, new_value
from lima.writes import set_in_place, share

if compiled():
    from lima.buffers import Buffered
else:

    class Buffered:  # type: ignore[no-redef]
        """Nothing: only a class of C offers the buffer protocol."""

        __slots__ = ()


_TYPE = type
_EMPTY = np.zeros(0)
_ONE = np.zeros(1)

HAVE_PARTS = "c" if np.zeros(1, object).real.flags.writeable else "cO"
"""Kinds of elements whose real part is not the array itself: also objects' since NumPy 2.5."""


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


class Array(Methods, Buffered):
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
        if not is_scalar(self):
            _ONE.shape = (1,)  # NumPy 2.5 and later warn, at the user's line
        set_in_place(self, OPS["reshape"], shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type; known without computing."""
        return value_of(self).meta[1]

    @dtype.setter
    def dtype(self, dtype: Any) -> None:
        if not is_scalar(self):
            setattr(_ONE, "dtype", np.float64)  # noqa: B010  # the same
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
        return shared(self).data  # type: ignore[no-any-return]

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def T(self) -> Any:
        return transposed(self)

    @property
    def mT(self) -> Any:
        if is_scalar(self):
            raise AttributeError("a NumPy scalar has no attribute mT")
        if self.ndim < 2:
            raise ValueError("matrix transpose with ndim < 2 is undefined")
        return function(np.matrix_transpose, (self,), {})

    @property
    def real(self) -> Any:
        return function(np.real, (self,), {}) if self.dtype.kind in HAVE_PARTS else self

    @real.setter
    def real(self, item: Any) -> None:
        kind = self.dtype.kind
        if kind == "c":
            self.real[...] = item
        elif kind in HAVE_PARTS:
            np.zeros(1, object).real = item  # which raises
        else:
            self[...] = item

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
            data = shared(self)
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
        value = value_of(self)
        data = force(value)
        if type(data) is np.ndarray and data.flags.aligned:
            made = data.copy("K")
            if made.strides == data.strides:
                return handle(new_value(value.node, made))  # the very value, made the same way
        return self.copy("K")

    def __reduce__(self) -> Any:
        return _unpickled, (data_of(self) if is_scalar(self) else np.array(plain(self)),)

    def __getattr__(self, name: str) -> Any:
        """What NumPy's scalars alone have, such as `is_integer`; else the error of NumPy."""
        kind = self.__class__
        if name[:2] != "__" and kind is not np.ndarray and hasattr(kind, name):
            return getattr(data_of(self), name)
        raise AttributeError(f"{_shown(kind)} object has no attribute {name!r}")

    # ---------------------------------------------------------------- its memory

    def _lend(self, writable: bool) -> np.ndarray[Any, Any]:
        """The memory for compiled code; what may write it shares it from then on."""
        return share(self) if writable else np.asarray(plain(self))


def _install() -> None:
    for name, fact in [*vars(Methods).items(), *vars(Array).items()]:
        if type(fact) is property and name[:2] != "__":
            setattr(Array, name, Fact(fact.fget, fact.fset, None, fact.__doc__))
    for name, row_name in in_place.OPERATORS.items():
        setattr(Array, f"__i{name}__", in_place.operator_of(name, OPS[row_name]))
    for name, method in vars(np.ndarray).items():
        known = callable(method) and (method in CALLS or method in SPELLINGS)
        if known and not any(name in vars(kind) for kind in (Array, Methods, Operators)):
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
