"""Sparse arrays and matrices inside traced code: SciPy's classes over traced arrays.

A `Sparse` is to a sparse array of SciPy what `lima.Array` is to an ndarray, but it holds no data:
it is a class, a shape and the arrays of the format, each an ordinary array of lima's. What shares
memory in SciPy (`A.T` and `A`, an array and its `A.data`) shares these arrays, so writing one is
seen where it would be seen. Every method is an operation on the arrays (`lima.sparse_calls`).
"""

from __future__ import annotations

import copyreg
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lima import formats
from lima.barriers import PLAIN, plain
from lima.calls import LIFT
from lima.errors import UnsupportedError
from lima.formats import FORMATS, Parts, class_of
from lima.frame import active
from lima.handle import Handle
from lima.node import Node, Ref, Spec
from lima.ops.of_scipy import provide
from lima.ops.of_sparse import (
    BINARY,
    METHOD,
    OPERATORS,
    PROPERTIES,
    UNARY,
    WHOLE,
    method_of,
    rows_of,
    set_attribute,
)
from lima.sparse_calls import (
    SparseHandle,
    become,
    bound,
    call_function,
    call_method,
    carries_sparse,
    invoke,
    make_sparse,
    of_parts,
    parts_of,
    untraced,
)
from lima.walk import Layout, register


class Sparse(SparseHandle):
    """A traced sparse array or matrix.

    It passes for one of SciPy's: `isinstance`, `scipy.sparse.issparse`, attributes, methods and
    operators are those of its class. Arrays that it gives and takes are `lima.Array`s.
    """

    __slots__ = ()
    __array_priority__ = 10.1

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError("type(A)(...) makes no traced sparse array: use A.__class__(...)")

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return twin_class(self._traced.kind)

    # ---------------------------------------------------------------- attributes

    @property
    def shape(self) -> tuple[int, ...]:
        return self._traced.shape

    @property
    def ndim(self) -> int:
        return len(self._traced.shape)

    @property
    def dtype(self) -> Any:
        return self._traced.arrays[0].dtype

    @property
    def format(self) -> str:
        return self._traced.kind[:3]

    def __getattr__(self, name: str) -> Any:
        parts = self._traced
        place = _place(parts, name)
        if place is not None:
            found = parts.arrays[place]
            return plain(found) if _asked_by_library(sys._getframe(1)) else found
        found = getattr(class_of(parts.kind), name, None)
        if inspect.isfunction(found) and not name.startswith("_"):
            asked = _asked_by_library(sys._getframe(1))
            return functools.partial(_plainly if asked else bound, self, name)
        if name in PROPERTIES:
            return invoke(METHOD + name, functools.partial(_get, name), {"self": self})
        return getattr(plain(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        parts = self._traced
        place = _place(parts, name)
        if place is None:
            arguments = {"self": self, "name": name, "value": value}
            invoke(METHOD + "setattr", set_attribute, arguments)
            return
        arrays = list(parts.arrays)
        if type(place) is slice:
            arrays[place] = [_as_part(v, v.dtype) for v in value]
        else:
            cast = parts.kind[:3] == "coo" and place > 0
            arrays[place] = _as_part(value, arrays[place].dtype if cast else None)
        become(self, parts._replace(arrays=tuple(arrays)))

    def __dir__(self) -> list[str]:
        return dir(class_of(self._traced.kind))

    # ---------------------------------------------------------------- Python's protocols

    def __repr__(self) -> str:
        return repr(plain(self))

    def __str__(self) -> str:
        return str(plain(self))

    def __len__(self) -> int:
        return len(plain(self))

    def __bool__(self) -> bool:
        return bool(plain(self))

    def __iter__(self) -> Iterator[Any]:
        return iter(invoke(METHOD + "iter", rows_of, {"self": self}))

    def __hash__(self) -> int:
        return hash(plain(self))  # refuses, in SciPy's words

    def __copy__(self) -> Any:
        return of_parts(self._traced)

    def __deepcopy__(self, memo: Any) -> Any:
        return of_parts(self._traced._replace(arrays=tuple(a.copy() for a in self._traced.arrays)))

    def __reduce__(self) -> Any:
        parts = self._traced
        return formats.built, (*parts[:3], tuple(np.array(plain(a)) for a in parts.arrays))

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        """Functions that are a method or an operator; what NumPy makes of the others has no use."""
        name = _UFUNCS.get(ufunc.__name__, ufunc.__name__)
        if method == "__call__" and not kwargs:
            if name in (UNARY if len(args) == 1 else BINARY):
                return _operate(name, *args)
            if len(args) == 1 and method_of(self._traced.kind, name):
                return call_method(self, name, (), {})
        return untraced(getattr(ufunc, method), args, kwargs)


SCOPES: set[str] = set()
"""Names of the modules in which functions are traced."""

_libraries: dict[str, bool] = {}


def _asked_by_library(frame: types.FrameType) -> bool:
    """Whether installed code asks that is not traced. It may hand arrays to compiled code.

    NumPy hands on what it gets (`np.sum(A)` is `A.sum()`).
    """
    scope = frame.f_globals
    name = scope.get("__name__", "")
    known = _libraries.get(name)
    if known is None:
        path = str(scope.get("__file__") or "")
        installed = "site-packages" in path or "dist-packages" in path
        known = installed and not name.startswith("numpy")
        _libraries[name] = known
    return known and name not in SCOPES


def _plainly(a: Sparse, name: str, *args: Any, **kwargs: Any) -> Any:
    return _own(call_method(a, name, args, kwargs))


def _own(x: Any) -> Any:
    """`x` as a plain result of its own."""
    if isinstance(x, Handle):
        found = plain(x)
        return found.copy(order="K") if type(found) is np.ndarray else found
    if type(x) is Sparse:
        return to_plain(x, _own)
    return type(x)(map(_own, x)) if type(x) in (tuple, list) else x


def _get(name: str, self: Any) -> Any:
    return getattr(self, name)


_UFUNCS = {
    "absolute": "abs", "negative": "neg", "subtract": "sub", "multiply": "mul",
    "divide": "truediv", "power": "pow", "equal": "eq", "not_equal": "ne", "less": "lt",
    "less_equal": "le", "greater": "gt", "greater_equal": "ge",
}  # fmt: skip
"""Operators and methods by the names of universal functions, where these differ."""


def _place(parts: Parts, name: str) -> Any:
    """Which of its arrays an attribute is: a number, or a slice for `coords`."""
    names = FORMATS[parts.kind[:3]]
    if name == "coords" and name in names:
        return slice(1, None)
    if names[1] == "coords":
        dims = len(parts.arrays) - 1
        return {"data": 0, "col": dims, "row": dims - 1 if dims > 1 else None}.get(name)
    return names.index(name) if name in names else None


def _as_part(a: Any, dtype: Any) -> Any:
    """An array as it may stand in a sparse array."""
    if not isinstance(a, (Handle, np.ndarray)):
        a = np.asarray(a)
    return a if dtype is None or a.dtype == dtype else a.astype(dtype)


def _operate(name: str, *operands: Any) -> Any:
    return invoke(METHOD + name, OPERATORS[name], dict(zip("ab", operands, strict=False)))


def _binary(name: str) -> Callable[..., Any]:
    def operation(a: Any, b: Any) -> Any:
        found = _operate(name, a, b)
        return _own(found) if _asked_by_library(sys._getframe(1)) else found

    return operation


def _reflected(name: str) -> Callable[..., Any]:
    return lambda a, b: _operate(name, b, a)


def _unary(name: str) -> Callable[..., Any]:
    return lambda a: _operate(name, a)


def _by_name(name: str) -> Callable[..., Any]:
    return lambda a, *args: call_method(a, name, args, {})


def _install() -> None:
    for name in OPERATORS:
        setattr(Sparse, f"__{name}__", (_unary if name in UNARY else _binary)(name))
    for name in "add sub mul truediv floordiv mod pow matmul".split():
        setattr(Sparse, f"__r{name}__", _reflected(name))
    for name in ("__getitem__", "__setitem__", "__imul__", "__itruediv__", "__round__"):
        setattr(Sparse, name, _by_name(name))


_install()
make_sparse(Sparse)


# --------------------------------------------------------------------------- plain ones


def to_plain(a: Sparse, array: Callable[[Any], Any] = plain) -> Any:
    """A sparse array of SciPy's; `array` gives its arrays, read-only ones if nothing is said."""
    parts = a._traced
    return formats.built(*parts[:3], [array(x) for x in parts.arrays])


PLAIN[Sparse] = to_plain


def lineage_of(a: Sparse) -> Node:
    """The lineage of a traced sparse array."""
    parts = parts_of(a)
    return sparse_node(parts, [LIFT.operand(x).node for x in parts.arrays])


def sparse_node(parts: Parts, nodes: list[Node]) -> Node:
    """The lineage of a sparse array, given that of its arrays."""
    provide("scipy.sparse")
    term = (*parts[:3], *map(Ref, range(len(nodes))))
    return Node(Spec(WHOLE, (("parts", term),), 0), tuple(nodes))


# Calls look into it as into a list: a few words and arrays.
register(
    Sparse,
    Layout(
        lambda a: [*parts_of(a)[:3], *parts_of(a).arrays],
        lambda a, items: become(a, Parts(items[0], items[1], items[2], tuple(items[3:]))),
        None,
        functools.partial(object.__new__, Sparse),
    ),
)


@functools.cache
def twin_class(kind: str) -> Any:
    """The class that a traced sparse array shows; called in traced code, it makes a traced one."""
    cls = class_of(kind)

    class Twin(type(cls)):  # type: ignore[misc]
        """Users' subclasses of the twin have it too, and are ordinary classes."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            if self is not made:
                return super().__call__(*args, **kwargs)
            if active() is None and not carries_sparse((args, kwargs)):
                return cls(*args, **kwargs)
            return call_function(cls, args, kwargs)

        def __instancecheck__(self, x: Any) -> bool:
            return isinstance(x, cls) if self is made else super().__instancecheck__(x)

        def __subclasscheck__(self, other: Any) -> bool:
            # Not as an ABC, which asks its subclasses, and so the twin.
            return type.__subclasscheck__(cls if self is made else self, other)

        def __eq__(self, other: object) -> bool:
            return other is self or (self is made and other is cls)

        def __hash__(self) -> int:
            return hash(cls) if self is made else super().__hash__()

    made: Any = None
    made = Twin(kind, (cls,), {"__doc__": cls.__doc__, "__module__": cls.__module__})
    copyreg.pickle(Twin, lambda x: (class_of, (kind,)) if x is made else x.__qualname__)
    return made
