"""Sparse arrays and matrices inside traced code: SciPy's classes over traced arrays.

A `Sparse` is to a sparse array of SciPy what `lima.Array` is to an ndarray, but it holds no data:
it is a class, a shape and the arrays of the format, each an ordinary array of lima's. What shares
memory in SciPy (`A.T` and `A`, an array and its `A.data`) shares these arrays, so writing one is
seen where it would be seen. Every method is an operation on the arrays (`lima.ops.of_sparse`).
"""

from __future__ import annotations

import functools
import inspect
import operator
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lima import formats
from lima.calls import LIFT, PLAIN, adopt, output, plain, result
from lima.draws import TracedGenerator
from lima.errors import NotCanonical, UnsupportedError
from lima.forcing import forced
from lima.formats import FORMATS, Parts, class_of, kind_of, names_of, taken
from lima.frame import active, refuse
from lima.handle import Handle
from lima.node import Node, Ref, Spec, resolve
from lima.ops.of_scipy import provide, row_of
from lima.ops.of_sparse import BINARY, MATRIX, METHOD, OPERATORS, UNARY, WHOLE, called, key_of, method_of, rows_of, run, signature
from lima.runtime import apply
from lima.sessions import current
from lima.walk import Layout, register

# --------------------------------------------------------------------------- one call

_DTYPES = {kind: np.dtype(kind) for kind in (bool, int, float, complex)}


class Call:
    """A call of SciPy with its sparse operands taken apart.

    places    the arrays of the call (`lima.Array`s, plain arrays, numbers), as they stand
    firsts    for each place the first one that holds the same array
    inputs    the values of the distinct ones
    operands  the sparse ones: what the program has of it, as a `Sparse`
    """

    def __init__(self) -> None:
        self.places: list[Any] = []
        self.firsts: list[int] = []
        self.inputs: list[Any] = []
        self.operands: list[tuple[Any, Sparse]] = []
        self._refs: dict[int, tuple[int, Ref]] = {}

    def term(self, x: Any, name: str = "") -> Any:
        """How an argument stands in the spec."""
        kind = type(x)
        if kind is Sparse:
            return self._sparse(x, x)
        if isinstance(x, Handle) or kind is np.ndarray:
            return self._array(x)
        if kind is tuple or kind is list:
            return kind([self.term(item) for item in x])
        if kind is dict:
            return {key: self.term(item) for key, item in x.items()}
        if isinstance(x, np.generic):
            self.firsts.append(len(self.places))
            self.places.append(x)
            return x
        if kind is slice:
            return slice(*[_end(e) for e in (x.start, x.stop, x.step)])
        if kind is np.matrix:
            return (MATRIX, self._array(np.asarray(x)))
        if isinstance(x, type):
            return np.dtype(x) if issubclass(x, np.generic) else _DTYPES.get(x, x)
        parts = taken(x)
        if parts is not None:
            return self._sparse(x, of_parts(parts))
        if kind is TracedGenerator:
            x.exposed = True  # it is drawn from by code that is not traced
            return x._generator
        return plain(x) if kind is Opaque else x

    def _sparse(self, x: Any, a: Sparse) -> Any:
        self.operands.append((x, a))
        parts = parts_of(a)
        return (*parts[:3], *[self._array(item) for item in parts.arrays])

    def _array(self, a: Any) -> Ref:
        known = self._refs.get(id(a))
        if known is None:
            known = self._refs[id(a)] = len(self.places), Ref(len(self.inputs))
            self.inputs.append(LIFT.operand(a))
        self.firsts.append(known[0])
        self.places.append(a)
        return known[1]

    def repeats(self) -> tuple[int, ...] | None:
        """Which places hold the same array; None where no two do."""
        firsts = tuple(self.firsts)
        return None if firsts == tuple(range(len(firsts))) else firsts

    # ------------------------------------------------------------ results

    def done(self, found: Any, item: Callable[[int], Any]) -> Any:
        """The result, after doing to the operands what the call did. See `Run.packed`."""
        form, writes, changes = found[0]
        for place, k in writes:
            _overwrite(self.places[place], item(k))
        for m, shape, extras, *refs in changes:
            x, a = self.operands[m]
            parts = Parts(parts_of(a).kind, shape, extras, tuple(self._make(r, item) for r in refs))
            become(a, parts)
            if x is not a:
                refuse("it changes a sparse array that is no argument")
                formats.fill(x, parts._replace(arrays=tuple(map(_kept_plain, parts.arrays))))
        return self._make(form, item)

    def _make(self, form: Any, item: Callable[[int], Any]) -> Any:
        if type(form) is int:
            return item(form)
        head, *rest = form
        if head in formats.KINDS:
            shape, extras, *refs = rest
            return of_parts(Parts(head, shape, extras, tuple(self._make(r, item) for r in refs)))
        return _MAKE[head](self, item, rest)


_MAKE: dict[str, Callable[[Call, Any, Any], Any]] = {
    "plain": lambda call, item, rest: rest[0],
    "tuple": lambda call, item, rest: tuple([call._make(form, item) for form in rest]),
    "list": lambda call, item, rest: [call._make(form, item) for form in rest],
    "operand": lambda call, item, rest: call.operands[rest[0]][0],
    "same": lambda call, item, rest: call.places[rest[0]],
    "cut": lambda call, item, rest: call.places[rest[0]][rest[1] : rest[2]],
    "object": lambda call, item, rest: _shown(item(rest[0])),
    "locked": lambda call, item, rest: _locked(item(rest[0])),
    "NotImplemented": lambda call, item, rest: NotImplemented,
    MATRIX: lambda call, item, rest: np.asmatrix(np.array(plain(call._make(rest[0], item)))),
}
"""What the forms of `Run.form` stand for."""


def _shown(x: Any) -> Any:
    """An object that is no array; those that take nothing but ndarrays get a stand-in."""
    return Opaque(x) if type(x).__name__ == "SuperLU" or type(x) in _FUNCTIONS else x


_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)


def _locked(h: Handle) -> Handle:
    h._locked = True
    return h


def _end(e: Any) -> Any:
    return int(e) if isinstance(e, (Handle, np.integer)) else e


def _overwrite(target: Any, new: Any) -> None:
    if not isinstance(target, Handle):
        refuse("it writes into an array that is no argument")
        new = plain(new)
    target[...] = new


def _kept_plain(a: Any) -> Any:
    return np.array(plain(a)) if isinstance(a, Handle) else a


def invoke(name: str | None, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """`function(**arguments)`, as the operation `name`; a barrier where it cannot be one."""
    call = Call()
    params = tuple([(key_of(key), call.term(value)) for key, value in arguments.items()])
    places = call.repeats()
    why = "no row"
    row = None if name is None else row_of(name)
    if row is not None:
        spec = Spec(row.name, params + ((("places", places),) if places else ()), 0, row.version)
        try:
            _ = spec.prefix
        except NotCanonical as error:
            row, why = None, str(error)
    if row is not None:
        value = apply(row, spec, call.inputs)
        if type(value.data) is not tuple:
            return result(value, row)
        return call.done(value.data, lambda k: output(value, k))
    called = f"{getattr(function, '__module__', '')}.{getattr(function, '__name__', function)}"
    current().counts.barriers += 1
    refuse(f"it calls {called}, which is not traced")
    data = forced(call.inputs)
    named = {key: resolve(v, data) for key, (_, v) in zip(arguments, params, strict=True)}
    found = run(function, named, places, private=True)
    if type(found) is not tuple:
        return adopt(found, f"{called}: {why}")
    return call.done(found, lambda k: adopt(found[k], f"{called}: {why}"))


def call_function(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A function or class of `scipy.sparse`."""
    name = f"{_public(function)}.{function.__name__}"
    if row_of(name) is None:
        return _untraced(function, args, kwargs)
    try:
        arguments = _arguments(function, args, kwargs)
    except TypeError:
        return _untraced(function, args, kwargs)
    return invoke(name, functools.partial(called, function), arguments)


def _untraced(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    def run(args: Any, kwargs: Any) -> Any:
        return function(*args, **kwargs)

    functools.update_wrapper(run, function, updated=())
    return invoke(None, run, {"args": args, "kwargs": kwargs})


def _public(function: Any) -> str:
    """The public module of a function, such as "scipy.sparse.linalg"."""
    return ".".join(
        part for part in str(function.__module__).split(".")[:3] if not part.startswith("_")
    )


def _arguments(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name, without those equal to their defaults."""
    form = signature(function)
    named = form.bind(*args, **kwargs).arguments
    found = {}
    for key, value in named.items():
        default = form.parameters[key].default
        if value is default or (type(value) is type(default) and _equal(value, default)):
            continue
        found[key] = value if key != "dtype" else _dtype(value)
    return found


def _equal(value: Any, default: Any) -> bool:
    return type(value) in (bool, int, float, str) and bool(value == default)


def _dtype(value: Any) -> Any:
    try:
        return np.dtype(value)
    except TypeError:
        return value


# --------------------------------------------------------------------------- the class


class Sparse:
    """A traced sparse array or matrix.

    It passes for one of SciPy's: `isinstance`, `scipy.sparse.issparse`, attributes, methods and
    operators are those of its class. Arrays that it gives and takes are `lima.Array`s.
    """

    __slots__ = ("__weakref__", "_traced")
    __array_priority__ = 10.1
    _traced: Parts

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
            return parts.arrays[place]
        found = getattr(class_of(parts.kind), name, None)
        if inspect.isfunction(found) and not name.startswith("_"):
            return functools.partial(_bound, self, name)
        if f"{METHOD}{name}" in _properties():
            return invoke(METHOD + name, functools.partial(_get, name), {"self": self})
        return getattr(plain(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        parts = self._traced
        place = _place(parts, name)
        if place is None:
            arguments = {"self": self, "name": name, "value": value}
            invoke(METHOD + "setattr", _set, arguments)
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
        return _untraced(getattr(ufunc, method), args, kwargs)


def _get(name: str, self: Any) -> Any:
    return getattr(self, name)


def _set(self: Any, name: str, value: Any) -> None:
    setattr(self, name, value)


_UFUNCS = {
    "absolute": "abs", "negative": "neg", "subtract": "sub", "multiply": "mul", "divide": "truediv", "power": "pow", "equal": "eq",
    "not_equal": "ne", "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge",
}  # fmt: skip
"""Operators and methods by the names of universal functions, where these differ."""


@functools.cache
def _properties() -> frozenset[str]:
    provide("scipy.sparse")
    return frozenset(METHOD + name for name in ("T", "real", "imag"))


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


def parts_of(a: Sparse) -> Parts:
    return a._traced


def become(a: Sparse, parts: Parts) -> None:
    """Let `a` consist of other parts."""
    object.__setattr__(a, "_traced", parts)


def of_parts(parts: Parts) -> Sparse:
    """A traced sparse array of these parts."""
    made: Sparse = object.__new__(Sparse)
    become(made, parts)
    return made


def _bound(a: Sparse, name: str, *args: Any, **kwargs: Any) -> Any:
    return call_method(a, name, args, kwargs)


def call_method(a: Sparse, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    function = method_of(a._traced.kind, name)
    if function is None:  # an operator that the class lacks: let Python say so
        return getattr(operator, name)(plain(a), *args)
    try:
        arguments = _arguments(function, (a, *args), kwargs)
    except TypeError:
        return _untraced(function, (a, *args), kwargs)
    return invoke(METHOD + name.strip("_"), functools.partial(called, function), arguments)


def _operate(name: str, *operands: Any) -> Any:
    return invoke(METHOD + name, OPERATORS[name], dict(zip("ab", operands, strict=False)))


def _binary(name: str) -> Callable[..., Any]:
    return lambda a, b: _operate(name, a, b)


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


# --------------------------------------------------------------------------- other objects


class Opaque:
    """An object of SciPy's that is none of the above (`splu`, `factorized`): all calls of it are
    barriers."""

    def __init__(self, of: Any) -> None:
        self.__dict__["_of"] = of

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.__dict__["_of"])

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__dict__["_of"], name)
        if callable(found):
            return Opaque(found)
        return invoke(None, lambda x: x, {"x": found}) if taken(found) else found

    def __setattr__(self, name: str, value: Any) -> None:
        refuse("it changes an object that is not traced")
        setattr(self.__dict__["_of"], name, plain(value))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _untraced(self.__dict__["_of"], args, kwargs)

    def __repr__(self) -> str:
        return repr(self.__dict__["_of"])


PLAIN[Opaque] = lambda x: x.__dict__["_of"]

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
        lambda a, items: become(a, Parts(*items[:3], tuple(items[3:]))),
        None,
        functools.partial(object.__new__, Sparse),
    ),
)


# --------------------------------------------------------------------------- classes


class TwinClass(type):
    """The class of classes that stand for SciPy's in traced code: what they make is traced."""


@functools.cache
def twin_class(kind: str) -> Any:
    """The class that a traced sparse array shows; called in traced code, it makes a traced one."""
    cls = class_of(kind)

    class Twin(type(cls)):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            if active() is None and not carries_sparse((args, kwargs)):
                return cls(*args, **kwargs)
            return call_function(cls, args, kwargs)

        def __instancecheck__(self, x: Any) -> bool:
            return isinstance(x, cls)

        def __subclasscheck__(self, other: Any) -> bool:
            return type.__subclasscheck__(cls, other)  # ABCs ask their subclasses, this one too

        def __eq__(self, other: object) -> bool:
            return other is self or other is cls

        def __hash__(self) -> int:
            return hash(cls)

    made = Twin(kind, (cls,), {"__doc__": cls.__doc__, "__module__": cls.__module__})
    return made


def carries_sparse(x: Any) -> bool:
    """Whether a traced sparse array stands among some arguments."""
    if type(x) in (tuple, list):
        return any(map(carries_sparse, x))
    if type(x) is dict:
        return any(map(carries_sparse, x.values()))
    return type(x) is Sparse
