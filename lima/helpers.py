"""Functions of a traced module that nobody decorated: reused as whole calls when they are dear.

A traced program calls helpers of its own module over and over; when calls of one take long, it is
looked up as a whole, as if it were decorated, and its operations need not be traced again. What
is cheap runs straight through.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from time import perf_counter
from typing import Any

from lima.classes import LABELS
from lima.code import BEHIND
from lima.frame import active

DEAR = 2e-4
"""Mean seconds of a call from which a helper is looked up as a whole."""

TRIALS = 2
"""Calls that are measured before the decision; later calls that run go on being measured."""


class Helper:
    """A function of a user's module, under the same name, equal to it and hashed like it.

    Outside of traced calls it is the function.
    """

    def __init__(self, function: Callable[..., Any], reusable: Callable[..., Any]) -> None:
        self.__dict__["__wrapped__"] = function
        functools.update_wrapper(self, function)
        self._reusable = reusable
        self._calls = 0
        self._mean = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function = self.__wrapped__
        if active() is None:
            return function(*args, **kwargs)
        if self._calls >= TRIALS and self._mean >= DEAR:
            return self._reusable(args, kwargs)
        start = perf_counter()
        result = function(*args, **kwargs)
        self._calls += 1
        self._mean += (perf_counter() - start - self._mean) / self._calls
        return result

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["__wrapped__"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OF_FUNCTIONS:
            setattr(self.__wrapped__, name, value)
            if name in LABELS:
                self.__dict__[name] = value
        else:
            self.__dict__[name] = value

    def __eq__(self, other: object) -> bool:
        mine = self.__wrapped__
        return mine is getattr(other, "__wrapped__", other)

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    def __reduce__(self) -> Any:
        return self.__wrapped__.__qualname__

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


_OF_FUNCTIONS = frozenset({"__code__", "__defaults__", "__kwdefaults__", *LABELS})
"""What decides how a function runs, and its names; set on a helper, they are the function's."""

BEHIND[Helper] = lambda x: x.__wrapped__


def bind_helpers(
    scope: dict[str, Any], reusable: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Put helpers in the place of the plain functions that a module defines.

    `reusable(function)` makes the callable that looks up whole calls.
    """
    home = scope.get("__name__")
    for name, value in list(scope.items()):
        if not isinstance(value, types.FunctionType) or value.__module__ != home:
            continue
        if hasattr(value, "__wrapped__") or value.__name__ != name:
            continue
        if inspect.isgeneratorfunction(value) or inspect.iscoroutinefunction(value):
            continue
        if not inspect.isasyncgenfunction(value):
            scope[name] = Helper(value, reusable(value))
