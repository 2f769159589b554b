"""`lima.traced`: the decorator, and what switches it off (D3, D7, D12)."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar, overload

from lima.code import TRACED
from lima.errors import ConfigError, TracingError
from lima.function import LEVELS, TracedFunction
from lima.helpers import Helper

P = ParamSpec("P")
R = TypeVar("R")

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
    written. With a `lima.Array` among the arguments it returns such arrays. Works on functions,
    methods and nested functions, bare or with options:

    * ``reuse``: "none" (trace only), "operation" (single operations), "full" or "hybrid" (whole
      calls too); default: what the session says. It holds for what the function calls as well.
    * ``version``: text that enters the key of whole calls; change it to forget them.
    * ``ignore``: names of parameters that do not decide the result, such as "verbose".
    * ``modules``: further modules whose NumPy names shall be traced while the function runs.

    The wrapper has ``cache_info()``, ``cache_clear()``, ``lineage(*args)`` and ``__wrapped__``.
    Raises TracingError for generators, coroutines, classes and what is no function.

    >>> import lima, numpy as np
    >>> @lima.traced
    ... def gram(X):
    ...     return X.T @ X
    >>> gram(np.eye(2))
    array([[1., 0.],
           [0., 1.]])
    """
    unknown = sorted(set(options) - {"reuse", "version", "ignore", "modules"})
    if unknown:
        raise TypeError(
            f"lima.traced has no option {unknown[0]!r}; they are reuse, version, ignore, modules"
        )
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
    if isinstance(function, Helper):  # a traced function of its module ran before
        function = function.__wrapped__
    _refuse_untraceable(function)
    if reuse is not None and reuse not in LEVELS:
        raise ConfigError(f"reuse={reuse!r}: choose one of {', '.join(LEVELS)}")
    if version is not None and not isinstance(version, str):
        raise ConfigError(f"version={version!r}: give text")
    given: Any = ignore
    names = (given,) if isinstance(given, str) else tuple(given)
    work = TracedFunction(function, reuse, version, names, tuple(modules))
    unknown = sorted(set(names) - set(work.parameters.names))
    if unknown:
        raise ConfigError(f"ignore={unknown[0]!r}: {function.__qualname__} has no such parameter")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if _off():
            return function(*args, **kwargs)
        return work(args, kwargs)

    TRACED.add(wrapper)
    wrapper.cache_info = work.cache_info  # type: ignore[attr-defined]
    wrapper.cache_clear = work.cache_clear  # type: ignore[attr-defined]
    wrapper.lineage = work.lineage  # type: ignore[attr-defined]
    return wrapper


_UNTRACEABLE: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (inspect.isasyncgenfunction, "an asynchronous generator"),
    (inspect.iscoroutinefunction, "a coroutine function"),
    (inspect.isgeneratorfunction, "a generator function"),
    (inspect.isclass, "a class"),
)


def _refuse_untraceable(function: Any) -> None:
    name = getattr(function, "__qualname__", repr(function))
    for test, what in _UNTRACEABLE:
        if test(function):
            raise TracingError(
                f"lima.traced cannot trace {name}, {what}: put it on the functions that it calls, "
                "or on the function that consumes it"
            )
    if isinstance(function, property):
        raise TracingError("lima.traced cannot trace a property: put it below @property")
    if not inspect.isfunction(function):
        raise TracingError(
            f"lima.traced takes a Python function, not {function!r}: "
            "put it on the function behind that, or on a function that calls it"
        )
