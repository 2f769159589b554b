"""Functions of SciPy without a row: called with plain data, their callbacks stay traced.

SciPy gets plain arrays and gives plain results, which enter as leaves that name the call. A user's
function among the arguments is called as from plain code: arrays that SciPy hands to it are
traced arrays inside, what it returns is plain again, and what is dear in it is reused.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from lima import gates, twin
from lima.barriers import adopt, on_copies, plain, with_copies, write_untraced
from lima.code import BEHIND, behind
from lima.draws import TracedGenerator
from lima.frame import PLAINLY, active, only_traced, refuse
from lima.handle import Handle, value_of
from lima.nesting import each
from lima.on_copies import are_apart
from lima.sessions import current
from lima.tree import Entry
from lima.walk import is_users

TRIALS = 16
"""Calls of a callback that are traced before it is decided whether that pays."""

CHEAP = 2e-4
"""Mean seconds of a traced call below which later calls of a callback are plain."""

GENERATORS = ("rng", "random_state", "seed")
"""Names of arguments from which SciPy draws; without them from a generator that lima cannot see."""

OUTPUTS = ("out", "output")
"""Names of arguments that SciPy writes."""


class Outside:
    """A function that is not traced; inside traced code its results enter with its name."""

    def __init__(self, function: Any, name: str | None = None) -> None:
        self._plain = function
        self._name = name or _public_name(function)
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if active() is None:
            if PLAINLY.get() is not None:
                drawing = self._generators(args, kwargs)
                if drawing and all(given is None for given in drawing):
                    only_traced(f"it calls {self._name}, which may draw random numbers")
            return self._plain(*plain(args), **plain(kwargs))
        for name in OUTPUTS:
            if isinstance(kwargs.get(name), Handle):
                return self._into(name, args, kwargs)
        return self._run(args, kwargs)

    def _generators(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """What it is given as generators or seeds; it draws of its own accord if all are None."""
        names = _names(self._plain)
        named = {**dict(zip(names, args, strict=False)), **kwargs}
        return [named.get(name) for name in GENERATORS if name in names]

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        current().counts.barriers += 1
        if twin.is_fortran(self._plain) and are_apart(args, kwargs):
            # It takes a read-only array for one that it need not write, and writes a copy.
            made = with_copies(self._plain, args, kwargs, self._name)
            return _adopted(made, f"{self._name}: no row")
        out = _Out()
        names = _names(self._plain)
        drawing = self._generators(args, kwargs)
        if drawing and all(given is None for given in drawing):
            refuse(f"it calls {self._name}, which may draw random numbers")
        given = tuple(
            [
                False if name.startswith("overwrite") else a
                for name, a in zip((*names, *[""] * len(args)), args, strict=False)
            ]
        )
        options = {k: v for k, v in kwargs.items() if not k.startswith("overwrite")}
        try:
            found = self._plain(*map(out, given), **{k: out(v) for k, v in options.items()})
        except (ValueError, RuntimeError) as error:
            found = on_copies(self._plain, given, options, self._name, error, not drawing)
        finally:
            out.close()
        return _adopted(found, f"{self._name}: no row")

    def _into(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that writes an argument: it writes a copy, which is assigned."""
        target = kwargs.pop(name)

        def run(copy: Any, *args: Any, **kwargs: Any) -> Any:
            return self._plain(*args, **{**kwargs, name: copy})

        run.__module__, run.__name__ = self._name.rpartition(".")[::2]
        return write_untraced(run, target, (target, *args), kwargs, "no row")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def __eq__(self, other: object) -> bool:
        return bool(self._plain == behind(other))

    def __hash__(self) -> int:
        return hash(self._plain)

    def __reduce__(self) -> Any:
        return _itself, (self._plain,)

    def __repr__(self) -> str:
        return repr(self._plain)


def _itself(x: Any) -> Any:
    return x


def _public_name(function: Any) -> str:
    """As users write it: without the private modules in which SciPy keeps it."""
    if twin.is_fortran(function):
        return f"scipy.linalg.{function.__name__.rpartition(' ')[2]}"
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", "?")
    parts = f"{getattr(function, '__module__', '')}.{name}".split(".")
    return ".".join(part for part in parts if not part.startswith("_"))


@functools.lru_cache(maxsize=1024)
def _names(function: Any) -> tuple[str, ...]:
    """Names of the parameters, where they can be told."""
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return ()


BEHIND[Outside] = lambda x: x._plain
twin.OUTSIDE.append(Outside)


# --------------------------------------------------------------------------- arguments on their way


class _Out:
    """Arguments for plain code: plain arrays, generators and functions."""

    def __init__(self) -> None:
        self._functions: dict[int, Any] = {}
        self._generators: list[TracedGenerator] = []

    def __call__(self, x: Any) -> Any:
        kind = type(x)
        if isinstance(x, Handle):
            data = plain(x)
            if type(data) is np.ndarray:
                gates.give(data, x, value_of(x))
            return data
        if kind in (list, tuple):
            items = list(each(self, x))
            return x if _unchanged(items, x) else kind(items)
        if kind is dict:
            items = list(each(self, x.values()))
            return x if _unchanged(items, x.values()) else dict(zip(x, items, strict=True))
        if isinstance(x, TracedGenerator):
            frame = active()
            if frame is not None:
                frame.draws_from(x._generator)
            self._generators.append(x)
            return x._generator
        if kind in BEHIND and not is_users_function(behind(x)):
            return behind(x)
        if is_users_function(x):
            return self._functions.setdefault(id(x), Callback(x))
        return x

    def close(self) -> None:
        """The generators may have been drawn from: their history ends."""
        for generator in self._generators:
            generator._node = None
            generator.advanced()


def _unchanged(items: list[Any], old: Any) -> bool:
    """Whether a container can be passed as it is, so that who fills it fills the user's own."""
    return all(a is b for a, b in zip(items, old, strict=True))


def is_users_function(x: Any) -> bool:
    """Whether `x` is a function, or an object that is called, of the user's own."""
    plain = behind(x)
    if isinstance(plain, functools.partial):
        return is_users_function(plain.func)
    function = getattr(plain, "__func__", plain)
    if isinstance(function, types.FunctionType):
        return str(function.__module__).partition(".")[0] not in gates.LIBRARIES
    return is_users(type(plain)) and callable(plain)


def _adopted(found: Any, why: str) -> Any:
    """`found` with arrays in it as leaves that say where they come from.

    Functions of Fortran, as `get_blas_funcs` gives them, become twins.
    """
    if twin.is_fortran(found):
        return twin.twin_of(found)
    if type(found) is list and all(map(twin.is_fortran, found)):
        return [twin.twin_of(item) for item in found]
    if isinstance(found, dict):  # an OptimizeResult too: it is new, and nobody else has it
        for key, value in found.items():
            found[key] = _adopted(value, why)
        return found
    kind = type(found)
    if isinstance(found, tuple) and kind is not tuple:
        items = [adopt(item, why) for item in found]
        if all(a is b for a, b in zip(items, found, strict=True)):
            return found
        made = tuple.__new__(kind, items)
        if getattr(found, "__dict__", None):
            made.__dict__.update(found.__dict__)
        return made
    return adopt(found, why)


# --------------------------------------------------------------------------- callbacks


class Callback:
    """A user's function for code that is not traced: plain arrays in, plain results out."""

    tracing: Callable[[Callable[..., Any]], Callable[..., Any]]
    """Makes of a function one whose dear calls are looked up as wholes (`lima.function`)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._traced: Any = None
        self._calls = 0
        self._seconds = 0.0
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = any(isinstance(a, (np.ndarray, list, tuple)) for a in args)
        if active() is None or not given or self._is_cheap():
            return plain(self._function(*args, **kwargs))
        if self._traced is None:
            self._traced = Callback.tracing(self._function)
        start = perf_counter()
        found = self._traced(args, kwargs)
        self._calls += 1
        self._seconds += perf_counter() - start
        return found

    def _is_cheap(self) -> bool:
        return self._calls >= TRIALS and self._seconds < CHEAP * self._calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_function"], name)


class Inward(Entry):
    """A call of traced code by code that is not traced, within a traced call."""

    def _enter(self, x: Any) -> Any:
        if type(x) is np.ndarray:
            given, _ = gates.given_back(x)
            if given is not None:
                return given
        return super()._enter(x)
