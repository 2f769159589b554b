"""`lima.traced`: calls of functions, traced inside and reused as a whole (D3, D7, D12)."""

from __future__ import annotations

import functools
import inspect
import os
import threading
from abc import ABC
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from time import perf_counter
from types import ModuleType
from typing import Any, Generic, NamedTuple, ParamSpec, Protocol, TypeVar, overload

import numpy as np
from xxhash import xxh3_128_digest

from lima.code import CodeDigest, NotReusable, class_digest
from lima.draws import TracedGenerator
from lima.errors import ConfigError, NotCanonical, TracingError
from lima.forcing import force
from lima.frame import Frame, _frame
from lima.handle import Handle, handle, is_outside, root_of, value_of, view_handle
from lima.helpers import bind_helpers
from lima.node import Node, Spec, encode
from lima.op import OPS, clone
from lima.ops.random import set_state, state_of
from lima.record import Lineage
from lima.runtime import apply
from lima.sessions import Session, current
from lima.tree import (
    Leaving,
    Walk,
    arrays_by_name,
    detach,
    entering,
    fields_of,
    is_record,
    is_users,
    settle,
    write_back,
)
from lima.twin import bind_module, plain_module, twin_of
from lima.values import Value

P = ParamSpec("P")
R = TypeVar("R")

LEVELS = ("none", "operation", "full", "hybrid")

MAX_BARREN = 64
"""Calls of a helper in a row without a hit, after which it is no longer looked up."""

_disabled: ContextVar[bool] = ContextVar("lima_disabled", default=False)


@contextmanager
def disabled() -> Iterator[None]:
    """Run traced functions as plain ones inside the `with` block.

    `LIMA_DISABLE=1` in the environment does it for the whole process.

    >>> import lima, numpy as np
    >>> @lima.traced
    ... def double(x):
    ...     return 2 * x
    >>> with lima.disabled():
    ...     double(np.ones(2))
    array([2., 2.])
    """
    token = _disabled.set(True)
    try:
        yield
    finally:
        _disabled.reset(token)


def _off() -> bool:
    return _disabled.get() or os.environ.get("LIMA_DISABLE", "") not in ("", "0")


class CallInfo(NamedTuple):
    """Reuse of a traced function's calls, in the manner of `functools.lru_cache`."""

    hits: int
    misses: int
    maxsize: int
    currsize: int
    seconds_saved: float


@overload
def traced(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def traced(
    *,
    reuse: str | None = None,
    version: str | None = None,
    ignore: tuple[str, ...] = (),
    modules: tuple[Any, ...] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def traced(function: Any = None, /, **options: Any) -> Any:
    """Trace the NumPy operations of a function, and reuse what was computed before.

    The function is called as before: ndarrays in, ndarrays out, arguments that it writes are
    written. With `lima.Array` arguments it returns `lima.Array`s. Works on functions, methods and
    nested functions, bare or with options:

    reuse    "none" (trace only), "operation" (single operations), "full" or "hybrid" (whole calls
             too); default: what the session says
    version  text that enters the key of whole calls; change it to forget them
    ignore   names of parameters that do not decide the result (`verbose`, ...)
    modules  further modules whose NumPy names shall be traced while the function runs

    The wrapper has `cache_info()`, `cache_clear()`, `lineage(*args)`, `__wrapped__`.
    Raises TracingError for generators, coroutines, classes and what is no function.

    >>> import lima, numpy as np
    >>> @lima.traced
    ... def gram(X):
    ...     return X.T @ X
    >>> gram(np.eye(2))
    array([[1., 0.],
           [0., 1.]])
    """
    if function is None:
        return functools.partial(_traced, **options)
    return _traced(function, **options)


def _traced(
    function: Callable[..., Any],
    reuse: str | None = None,
    version: str | None = None,
    ignore: tuple[str, ...] = (),
    modules: tuple[Any, ...] = (),
) -> Callable[..., Any]:
    if isinstance(function, (staticmethod, classmethod)):
        inner = _traced(function.__func__, reuse, version, ignore, modules)
        return type(function)(inner)
    _refuse_untraceable(function)
    if reuse is not None and reuse not in LEVELS:
        raise ConfigError(f"reuse={reuse!r}: choose one of {', '.join(LEVELS)}")
    names = (ignore,) if isinstance(ignore, str) else tuple(ignore)
    unknown = sorted(set(names) - set(inspect.signature(function).parameters))
    if unknown:
        raise ConfigError(f"ignore={unknown[0]!r}: {function.__qualname__} has no such parameter")
    work = TracedFunction(function, reuse, version, names, modules)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if _off():
            return function(*args, **kwargs)
        return work(args, kwargs)

    wrapper.cache_info = work.cache_info  # type: ignore[attr-defined]
    wrapper.cache_clear = work.cache_clear  # type: ignore[attr-defined]
    wrapper.lineage = functools.partial(_lineage_of_call, work)  # type: ignore[attr-defined]
    return wrapper


def _refuse_untraceable(function: Any) -> None:
    name = getattr(function, "__qualname__", repr(function))
    for test, what in (
        (inspect.isasyncgenfunction, "an asynchronous generator"),
        (inspect.iscoroutinefunction, "a coroutine function"),
        (inspect.isgeneratorfunction, "a generator function"),
        (inspect.isclass, "a class"),
    ):
        if test(function):
            raise TracingError(
                f"lima.traced cannot trace {name}, {what}: put it on the functions that it calls, "
                "or on the function that consumes it"
            )
    if not inspect.isfunction(function):
        raise TracingError(f"lima.traced takes a Python function, not {function!r}")


def _lineage_of_call(work: TracedFunction, *args: Any, **kwargs: Any) -> Lineage:
    """How the results of a call are made; several results are named result, result2, ..."""
    found: list[Handle] = []

    def collect(x: Any) -> Any:
        if isinstance(x, Handle):
            found.append(x)
        return x

    Walk(collect, in_place=False)(work.trace(args, kwargs))
    names = ("result" if k == 0 else f"result{k + 1}" for k in range(len(found)))
    return Lineage({name: value_of(h).node for name, h in zip(names, found, strict=True)})


# --------------------------------------------------------------------------- one traced function


class Arguments(NamedTuple):
    """What entered a call: how it was converted, and what must be brought back."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    walk: Walk
    originals: dict[int, tuple[Handle, Any]]
    generators: list[TracedGenerator]
    values: list[Value]


class TracedFunction:
    """The work behind one decorated function."""

    def __init__(
        self,
        function: Callable[..., Any],
        reuse: str | None,
        version: str | None,
        ignore: tuple[str, ...],
        modules: tuple[Any, ...],
    ) -> None:
        self.function = function
        self.reuse = reuse
        self.ignore = ignore
        self.modules = modules
        self.code = CodeDigest(function, version)
        self.keys: set[bytes] = set()
        self.hits = self.misses = 0
        self.seconds_saved = 0.0
        self.barren = 0
        self._signature = inspect.signature(function)
        self._bound = False
        self._lock = threading.Lock()

    # ------------------------------------------------------------ calling

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._bind()
        outer = _frame.get()
        inner = outer is not None or _any_handle(args, kwargs)
        entered = self._enter(args, kwargs, inner)
        try:
            result = self._call(entered, outer)
        except BaseException:
            self._leave(entered, None, inner)
            raise
        return self._leave(entered, result, inner)

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The traced result of a call, for looking at its lineage."""
        self._bind()
        entered = self._enter(args, kwargs, True)
        return self._call(entered, _frame.get())

    def _bind(self) -> None:
        if not self._bound:
            for scope in (self.function.__globals__, *map(vars, self.modules)):
                bind_module(scope)
                bind_helpers(scope, lambda f: TracedFunction(f, None, None, (), ()).as_helper)
            self._bound = True

    def as_helper(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call from traced code of a function that nobody decorated (`lima.helpers`)."""
        if self.barren > MAX_BARREN:
            return self.function(*args, **kwargs)
        hits = self.hits
        result = self._call(self._enter(args, kwargs, True), _frame.get())
        self.barren = 0 if self.hits > hits else self.barren + 1
        return result

    def _enter(self, args: tuple[Any, ...], kwargs: dict[str, Any], inner: bool) -> Arguments:
        originals: dict[int, tuple[Handle, Any]] = {}
        generators: list[TracedGenerator] = []
        values: list[Value] = []
        names: dict[int, str] = {}
        if not inner:
            for name, value in _named(self._signature, args, kwargs):
                for path, a in arrays_by_name(name, value):
                    names.setdefault(id(a), path)

        def convert(x: Any) -> Any:
            if type(x) is np.ndarray or type(x) is np.memmap:
                values.append(entering(np.asarray(x), names.get(id(x))))
                h = handle(values[-1])
                h._locked = not x.flags.writeable
                originals[id(h)] = (h, x)
                return h
            if isinstance(x, (np.random.Generator, np.random.RandomState)):
                generators.append(TracedGenerator(x))
                return generators[-1]
            if isinstance(x, TracedGenerator):
                generators.append(x)
                return x
            return twin_of(x) if isinstance(x, ModuleType) else x

        walk = Walk(convert, in_place=False)
        if inner:
            return Arguments(args, kwargs, walk, originals, _generators_in(args, kwargs), values)
        return Arguments(
            tuple(walk(a) for a in args),
            {k: walk(v) for k, v in kwargs.items()},
            walk,
            originals,
            generators,
            values,
        )

    def _leave(self, entered: Arguments, result: Any, inner: bool) -> Any:
        """Plain arrays for the caller; nothing waits on the caller's memory any more."""
        if inner:
            return result
        leaving = Leaving(entered.originals)
        for value in entered.values:
            detach(value)
        for h, original in list(entered.originals.values()):
            settle(h, original)

        def convert(x: Any) -> Any:
            if isinstance(x, Handle):
                return leaving(x)
            if isinstance(x, TracedGenerator):
                return x._generator
            return plain_module(x) if isinstance(x, ModuleType) else x

        leave = Walk(convert, in_place=True)
        result = leave(result)
        for record, _ in entered.walk.changed:
            leave(record)
        for value in (*entered.args, *entered.kwargs.values()):
            if is_record(value):
                leave(value)
        write_back(entered.walk, leave)
        leaving.finish()
        return result

    # ------------------------------------------------------------ reuse of whole calls

    def _call(self, entered: Arguments, outer: Frame | None) -> Any:
        here = current()
        level = self.reuse or here.config.reuse
        if level not in ("full", "hybrid") or not here.functions:
            return self._run(entered, outer)
        key = None
        try:
            key = self._key(entered)
        except (NotReusable, NotCanonical) as why:
            if outer is not None:
                outer.refuse(f"{self.function.__qualname__} is not reusable: {why}")
            self.refusal = str(why)
        if key is None:  # outside of the handler, so that the user's errors are not chained to it
            return self._run(entered, outer)
        with here.cache.flight(key, "function") as flight:
            record = flight.entry.value if flight.entry is not None else flight.value
            if flight.entry is not None or flight.delivered:
                self.hits += 1
                self.seconds_saved += record.seconds
                return record.restore(entered)
            return self._run_and_keep(here, entered, outer, flight, key)

    def _run_and_keep(
        self, here: Session, entered: Arguments, outer: Frame | None, flight: Any, key: bytes
    ) -> Any:
        self.misses += 1
        before = _Before(entered)
        frame = Frame(outer)
        frame.generators.update(id(g._generator) for g in entered.generators)
        start = perf_counter()
        result = self._run(entered, outer, frame)
        seconds = perf_counter() - start
        self.refusal = frame.refusal
        if frame.refusal is None and seconds > here.call_seconds:
            record = Record.make(entered, before, result, seconds)
            if isinstance(record, Record):
                self.keys.add(key)
                flight.deliver(record, seconds=seconds, level="function")
            else:
                self.refusal = record
        return result

    def _run(self, entered: Arguments, outer: Frame | None, frame: Frame | None = None) -> Any:
        token = _frame.set(frame or Frame(outer))
        try:
            return self.function(*entered.args, **entered.kwargs)
        finally:
            _frame.reset(token)

    def _key(self, entered: Arguments) -> bytes:
        parts = [b"call", self.code(), encode(tuple(np.geterr().values()))]
        seen: dict[int, int] = {}
        for name, value in _named(self._signature, entered.args, entered.kwargs):
            if name not in self.ignore:
                parts.append(encode(name) + canonical(value, seen))
        return xxh3_128_digest(b"".join(parts))

    # ------------------------------------------------------------ what users ask

    def cache_info(self) -> CallInfo:
        """Hits and misses of whole calls, byte budget and bytes held, seconds saved."""
        cache = current().cache
        held = [e for e in map(cache.peek, tuple(self.keys)) if e is not None]
        size = sum(e.nbytes for e in held)
        return CallInfo(self.hits, self.misses, cache.budget, size, self.seconds_saved)

    def cache_clear(self) -> None:
        """Forget the kept calls of this function (its operations stay cached)."""
        cache = current().cache
        for key in self.keys:
            cache.evict(key)
        self.keys.clear()
        self.hits = self.misses = 0
        self.seconds_saved = 0.0


def _named(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Arguments by parameter name; defaults included, so that spelling them changes nothing."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return  # the call itself raises, with Python's own message
    bound.apply_defaults()
    yield from bound.arguments.items()


def _any_handle(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    found = False

    def look(x: Any) -> Any:
        nonlocal found
        found = found or isinstance(x, Handle)
        return x

    walk = Walk(look, in_place=False)
    for x in (*args, *kwargs.values()):
        if isinstance(x, Handle):
            return True
        if type(x) in (list, tuple, dict) and not found:
            walk(x)
    return found


def _generators_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[TracedGenerator]:
    return [x for x in (*args, *kwargs.values()) if isinstance(x, TracedGenerator)]


# --------------------------------------------------------------------------- keys of arguments


def canonical(x: Any, seen: dict[int, int]) -> bytes:
    """The bytes that identify an argument: lineage of arrays, content of everything else.

    `seen` numbers the objects met so far in the call. Which arrays are one, or views of one, is
    part of the key: it decides what a write changes, and which kernel a product takes.
    Raises NotCanonical or NotReusable for what has no such bytes (open files, locks, ...).
    """
    if isinstance(x, Handle):
        place = encode(seen.setdefault(id(root_of(x)), len(seen)))
        return b"#" + value_of(x).node.digest + (b"w" if _writable(x) else b"r") + place
    if isinstance(x, TracedGenerator):
        place = encode(seen.setdefault(id(x._generator), len(seen)))
        return b"g" + x.state_node().digest + place
    if isinstance(x, ModuleType):
        home = plain_module(x)
        if home.__name__.partition(".")[0] not in ("numpy", "scipy"):
            raise NotCanonical(f"the module {home.__name__}")
        return b"m" + encode(home.__name__)
    kind = type(x)
    if kind in (list, tuple, dict) or is_record(x):
        known = seen.get(id(x))
        if known is not None:
            return b"see" + encode(known)
        seen[id(x)] = len(seen)
    if kind in (list, tuple):
        return encode(kind.__name__) + encode(len(x)) + b"".join(canonical(v, seen) for v in x)
    if kind is dict:
        items = b"".join(canonical(k, seen) + canonical(v, seen) for k, v in x.items())
        return b"dict" + encode(len(x)) + items
    if inspect.isfunction(x):
        return b"function" + CodeDigest(x)()
    if is_record(x):
        fields = b"".join(encode(n) + canonical(v, seen) for n, v in fields_of(x))
        return b"object" + _class_digest(kind) + _items(x, seen) + fields
    return encode(x)


_WITHOUT_STATE = frozenset({object, ABC, Generic, Protocol, Enum})
_CONTENTS: dict[type, Callable[[Any], Any]] = {
    tuple: tuple.__iter__,
    list: list.__iter__,
    dict: lambda x: (part for pair in dict.items(x) for part in pair),
    **{scalar: lambda x, plain=scalar: (plain(x),) for scalar in (int, float, complex, str, bytes)},  # type: ignore[misc]
}


def _items(x: Any, seen: dict[int, int]) -> bytes:
    """What an object holds beside its attributes, being of a class derived from a builtin one."""
    parts = []
    for base in type(x).__mro__:
        if base in _CONTENTS:
            items = list(_CONTENTS[base](x))
            parts += [encode(len(items)), *(canonical(v, seen) for v in items)]
        elif base not in _WITHOUT_STATE and not is_users(base):
            raise NotCanonical(f"{type(x).__qualname__} derives from {base.__qualname__}")
    return b"".join(parts)


def _writable(x: Handle) -> bool:
    return not getattr(x, "_locked", False)


@functools.lru_cache(maxsize=1024)
def _class_digest(kind: type) -> bytes:
    return class_digest(kind)


# --------------------------------------------------------------------------- records of calls


class _Before:
    """What the arguments were when the call began, to see what it changed."""

    def __init__(self, entered: Arguments) -> None:
        self.entered = entered
        self.handles = list(_handles_in(entered))
        self.values = [h._value for h in self.handles]
        self.containers = self._digest()

    def _digest(self) -> bytes:
        """The containers and objects among the arguments, arrays in them by place, not content."""
        place = {id(h): k for k, h in enumerate(self.handles)}
        parts: list[Any] = []

        def look(x: Any) -> Any:
            if isinstance(x, Handle):
                parts.append(("array", place.get(id(x), -1)))
            elif type(x) in (list, tuple, dict, set):
                parts.append((type(x).__name__, len(x)))
            elif is_record(x):
                parts.append((type(x).__qualname__, len(list(fields_of(x)))))
            elif not isinstance(x, TracedGenerator):
                parts.append(x if type(x) in (bool, int, float, complex, str) else id(x))
            return x

        walk = Walk(look, in_place=False)
        for x in (*self.entered.args, *self.entered.kwargs.values()):
            walk(x)
        return repr(parts).encode()

    def written(self) -> list[int] | None:
        """Places of the arrays that were written; None when containers or objects changed."""
        if self._digest() != self.containers:
            return None
        return [k for k, h in enumerate(self.handles) if h._value is not self.values[k]]


def _handles_in(entered: Arguments, views: bool = False) -> Iterator[Handle]:
    """The arrays among the arguments that own their elements; or those that are views."""
    found: list[Handle] = []

    def look(x: Any) -> Any:
        if isinstance(x, Handle):
            found.append(x)
            if x._base is not None and x._base is not x:
                look(x._base)
        return x

    walk = Walk(look, in_place=False)
    for x in (*entered.args, *entered.kwargs.values()):
        walk(x)
    seen: set[int] = set()
    for h in found:
        if id(h) not in seen and (h._base is None) is not views:
            seen.add(id(h))
            yield h


class Kept(NamedTuple):
    """A result array: its lineage, and data that nobody else can write."""

    node: Node
    data: Any


class ViewOf(NamedTuple):
    """A result that is a view: place of its base (argument or result), and the path to it."""

    argument: bool
    place: int
    path: tuple[Any, ...]


class Record:
    """The results and effects of one call, enough to do as if it had run."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.kept: list[Kept] = []
        self.template: Any = None
        self.written: list[tuple[int, int]] = []
        self.generators: list[tuple[Any, Node | None]] = []
        self._places: dict[int, int] = {}
        self._alive: list[Any] = []

    def buffers(self) -> Iterator[Any]:
        """The arrays that the cache must count."""
        return (k.data for k in self.kept if type(k.data) is np.ndarray)

    @classmethod
    def make(cls, entered: Arguments, before: _Before, result: Any, seconds: float) -> Record | str:
        """A record of the call, or the reason why there can be none."""
        written = before.written()
        if written is None:
            return "it changes a list, dict or object that it was given"
        made = cls(seconds)
        arguments = {id(h): k for k, h in enumerate(before.handles)}
        try:
            made.template = made._template(result, arguments)
        except NotCanonical as why:
            return f"its result cannot be kept: {why}"
        made.written = [(k, made._keep(before.handles[k])) for k in written]
        made.generators = [(state_of(g._generator), g._node) for g in entered.generators]
        made._places.clear()
        made._alive.clear()
        return made

    def _keep(self, h: Handle) -> int:
        if id(h) not in self._places:
            value = value_of(h)
            if value.data is None:
                raise NotCanonical("it still waits, and what it will be made of is kept")
            data = force(value)
            if type(data) is np.ndarray and not (value.shared and _keepable(data)):
                data = clone(data)
            self._places[id(h)] = len(self.kept)
            self._alive.append(h)
            self.kept.append(Kept(value.node, data))
        return self._places[id(h)]

    def _template(self, x: Any, arguments: dict[int, int]) -> Any:
        if isinstance(x, Handle):
            if is_outside(x):
                raise NotCanonical("an array that belongs to plain code")
            root = root_of(x)
            place = arguments.get(id(root))
            if place is not None:
                return ViewOf(True, place, x._path)
            return ViewOf(False, self._keep(root), x._path)
        kind = type(x)
        if kind in (list, tuple):
            return kind(self._template(v, arguments) for v in x)
        if kind is dict:
            return {k: self._template(v, arguments) for k, v in x.items()}
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            return kind(*[self._template(v, arguments) for v in x])
        encode(x)  # raises NotCanonical for anything that is not plain data
        if isinstance(x, np.ndarray):
            raise NotCanonical("a plain array made outside of traced code")
        return x

    def restore(self, entered: Arguments) -> Any:
        """Results as handles, arguments and generators as the call would have left them."""
        handles = list(_handles_in(entered))
        views = list(_handles_in(entered, views=True))
        results: dict[int, Any] = {}
        for argument, place in self.written:
            handles[argument]._value = self._value(place)
        for generator, (state, node) in zip(entered.generators, self.generators, strict=True):
            set_state(generator._generator, state)
            generator._node = node
        return self._restored(self.template, (handles, views), results)

    def _value(self, place: int) -> Value:
        kept = self.kept[place]
        value = Value(kept.node, kept.data)
        value.shared = True
        return value

    def _restored(
        self, x: Any, arguments: tuple[list[Handle], list[Handle]], results: dict[int, Any]
    ) -> Any:
        if type(x) is ViewOf:
            if x.argument:
                base = arguments[0][x.place]
                for h in arguments[1]:
                    if h._base is base and _steps(h._path) == _steps(x.path):
                        return h
            else:
                if x.place not in results:
                    results[x.place] = handle(self._value(x.place))
                base = results[x.place]
            return _view(base, x.path)
        kind = type(x)
        if kind in (list, tuple):
            return kind(self._restored(v, arguments, results) for v in x)
        if kind is dict:
            return {k: self._restored(v, arguments, results) for k, v in x.items()}
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            return kind(*[self._restored(v, arguments, results) for v in x])
        return x


def _keepable(data: np.ndarray[Any, Any]) -> bool:
    """Cached arrays own their memory and are read-only; such a buffer can be shared."""
    return data.base is None and not data.flags.writeable


def _steps(path: tuple[Spec, ...]) -> list[tuple[Any, ...]]:
    return [(spec.op, spec.params) for spec in path]


def _view(base: Handle, path: tuple[Any, ...]) -> Any:
    made: Any = base
    for spec in path:
        made = view_handle(apply(OPS[spec.op], spec, (value_of(made),)), made, spec)
    return made
