"""Calls of `scipy.sparse` on traced arrays: taking operands apart, doing what the call did.

A sparse operand is a class, a shape and the arrays of its format (`SparseHandle`). Operations have
arrays only for inputs; what they give is put together here (`lima.ops.of_sparse` has the rows).
"""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from lima import formats
from lima.barriers import PLAIN, adopt, plain
from lima.calls import LIFT, output, result
from lima.draws import TracedGenerator
from lima.errors import NotCanonical
from lima.forcing import forced
from lima.formats import Parts, taken
from lima.frame import refuse
from lima.handle import Handle
from lima.node import Ref, Spec, resolve
from lima.ops.callbacks import Unsteady
from lima.ops.of_scipy import row_of
from lima.ops.of_sparse import (
    AGAIN,
    BARRED,
    MATRIX,
    METHOD,
    called,
    key_of,
    method_of,
    run,
    signature,
)
from lima.runtime import apply
from lima.sessions import current


class SparseHandle:
    """The field of a traced sparse array, see `lima.sparse.Sparse`."""

    __slots__ = ("__weakref__", "_traced")

    _traced: Parts


_class: type[SparseHandle] = SparseHandle


def make_sparse(kind: type[SparseHandle]) -> None:
    """Let every new traced sparse array be one of this class."""
    global _class
    _class = kind


def parts_of(a: SparseHandle) -> Parts:
    """Class, shape, flags and arrays of a traced sparse array."""
    return a._traced


def become(a: SparseHandle, parts: Parts) -> None:
    """Let `a` consist of other parts."""
    object.__setattr__(a, "_traced", parts)


def of_parts(parts: Parts) -> Any:
    """A traced sparse array of these parts."""
    made = object.__new__(_class)
    become(made, parts)
    return made


def is_traced(x: Any) -> bool:
    """Whether `x` is a traced sparse array."""
    return type(x) is _class


def carries_sparse(x: Any) -> bool:
    """Whether a traced sparse array stands among some arguments."""
    if type(x) in (tuple, list):
        return any(map(carries_sparse, x))
    if type(x) is dict:
        return any(map(carries_sparse, x.values()))
    return is_traced(x)


# --------------------------------------------------------------------------- one call

SHORT = 64
"""Numbers up to which a list stands in the lineage as it is; a longer one is a leaf."""

_NUMBERS = frozenset({bool, int, float, complex})
_DTYPES = {kind: np.dtype(kind) for kind in _NUMBERS}


class Call:
    """A call of SciPy with its sparse operands taken apart.

    places    the arrays of the call (`lima.Array`s, plain arrays, numbers), as they stand
    firsts    for each place the first one that holds the same array
    inputs    the values of the distinct ones
    operands  the sparse ones: what the program has of it, as a traced one
    """

    def __init__(self) -> None:
        self.places: list[Any] = []
        self.firsts: list[int] = []
        self.inputs: list[Any] = []
        self.operands: list[tuple[Any, SparseHandle]] = []
        self._refs: dict[int, tuple[int, Ref]] = {}

    def term(self, x: Any, name: str = "") -> Any:
        """How an argument stands in the spec."""
        kind = type(x)
        if kind is _class:
            return self._sparse(x, x)
        if isinstance(x, Handle) or kind is np.ndarray:
            return self._array(x)
        if kind is list and len(x) > SHORT and all(type(item) in _NUMBERS for item in x):
            return self._array(np.asarray(x))
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
        return plain(x) if kind in PLAIN else drawable(x)

    def _sparse(self, x: Any, a: SparseHandle) -> Any:
        for m, (known, _) in enumerate(self.operands):
            if known is x:
                return (AGAIN, m)
        self.operands.append((x, a))
        parts = parts_of(a)
        return (*parts[:3], *[self._array(_plain_kind(item)) for item in parts.arrays])

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
    "view": lambda call, item, rest: call.places[rest[0]][...],
    "shaped": lambda call, item, rest: call.places[rest[0]].reshape(rest[1]),
    "cut": lambda call, item, rest: call.places[rest[0]][(*rest[1:-2], slice(*rest[-2:]))],
    "object": lambda call, item, rest: _shown(item(rest[0])),
    "locked": lambda call, item, rest: _locked(item(rest[0])),
    "NotImplemented": lambda call, item, rest: NotImplemented,
    MATRIX: lambda call, item, rest: np.array(plain(call._make(rest[0], item))).view(np.matrix),
}
"""What the forms of `Run.form` stand for."""


def _shown(x: Any) -> Any:
    """An object that is no array; those that take nothing but ndarrays get a stand-in."""
    return Opaque(x) if type(x).__name__ == "SuperLU" or type(x) in _FUNCTIONS else x


_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)


def _locked(h: Handle) -> Handle:
    h._locked = True
    return h


def drawable(x: Any) -> Any:
    """For a traced generator the plain one, which code that is not traced may draw from."""
    if type(x) is not TracedGenerator:
        return x
    x.exposed = True
    return x._generator


def _plain_kind(a: Any) -> Any:
    """An ndarray for an instance of a subclass, such as a memory map."""
    return a if isinstance(a, Handle) or type(a) is np.ndarray else np.asarray(a)


def _end(e: Any) -> Any:
    traced = isinstance(e, (Handle, np.integer))
    return operator.index(e) if traced else e


def _overwrite(target: Any, new: Any) -> None:
    if not isinstance(target, Handle):
        refuse("it writes into an array that is no argument")
        new = plain(new)
    target[...] = new


def _kept_plain(a: Any) -> Any:
    return np.array(plain(a)) if isinstance(a, Handle) else a


def invoke(
    name: str | None, function: Callable[..., Any], arguments: dict[str, Any], why: str = "no row"
) -> Any:
    """`function(**arguments)`, as the operation `name`; a barrier where it cannot be one."""
    call = Call()
    params = tuple([(key_of(key), call.term(value)) for key, value in arguments.items()])
    places = call.repeats()
    row = None if name is None else row_of(name)
    found: Any = _NOTHING
    if row is not None:
        spec = Spec(row.name, params + ((("places", places),) if places else ()), 0, row.version)
        try:
            _ = spec.prefix
        except NotCanonical as error:
            row, why = None, str(error)
    if row is not None:
        try:
            value = apply(row, spec, call.inputs)
        except Unsteady as unsteady:
            found, why = unsteady.found, str(unsteady)
        else:
            if type(value.data) is not tuple:
                return result(value, row)
            return call.done(value.data, lambda k: output(value, k))
    called = f"{getattr(function, '__module__', '')}.{getattr(function, '__name__', function)}"
    current().counts.barriers += 1
    refuse(f"it calls {called}, which is not traced")
    if found is _NOTHING:
        data = forced(call.inputs)
        named = {key: resolve(v, data) for key, (_, v) in zip(arguments, params, strict=True)}
        found = run(function, named, places, private=True)
    if type(found) is not tuple:
        return adopt(found, f"{called}: {why}")
    return call.done(found, lambda k: adopt(found[k], f"{called}: {why}"))


_NOTHING = object()


def call_function(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A function or class of `scipy.sparse`."""
    name = f"{_public(function)}.{function.__name__}"
    if row_of(name) is None:
        return untraced(function, args, kwargs)
    try:
        arguments = _arguments(function, args, kwargs)
    except TypeError:
        return untraced(function, args, kwargs)
    why = BARRED[name](arguments) if name in BARRED else None
    if why is not None:
        return untraced(function, args, kwargs, why)
    if name in OWN:
        found = OWN[name](function, arguments)
        if found is not None:
            return found
    return invoke(name, functools.partial(called, function), arguments)


OWN: dict[str, Callable[[Any, dict[str, Any]], Any]] = {}
"""Functions that give an object which is traced (`lima.factors`), or None for some arguments."""


def untraced(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], why: str = "no row"
) -> Any:
    def run(args: Any, kwargs: Any) -> Any:
        return function(*args, **kwargs)

    functools.update_wrapper(run, function, updated=())
    return invoke(None, run, {"args": args, "kwargs": kwargs}, why)


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
        found[key] = value if key != "dtype" or value is None else _dtype(value)
    return found


def _equal(value: Any, default: Any) -> bool:
    return type(value) in (bool, int, float, str) and bool(value == default)


def _dtype(value: Any) -> Any:
    try:
        return np.dtype(value)
    except TypeError:
        return value


def bound(a: SparseHandle, name: str, *args: Any, **kwargs: Any) -> Any:
    return call_method(a, name, args, kwargs)


def call_method(a: SparseHandle, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    function = method_of(a._traced.kind, name)
    if function is None:  # an operator that the class lacks: let Python say so
        return getattr(operator, name)(plain(a), *args)
    try:
        arguments = _arguments(function, (a, *args), kwargs)
    except TypeError:
        return untraced(function, (a, *args), kwargs)
    return invoke(METHOD + name.strip("_"), functools.partial(called, function), arguments)


# --------------------------------------------------------------------------- other objects


class Opaque:
    """An object of SciPy's that is none of the above: all calls of it are barriers."""

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
        return untraced(self.__dict__["_of"], args, kwargs)

    def __repr__(self) -> str:
        return repr(self.__dict__["_of"])


PLAIN[Opaque] = lambda x: x.__dict__["_of"]

OPAQUE: set[type] = {Opaque}
"""What stands for an object of SciPy's, which plain code gets in its place."""
