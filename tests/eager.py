"""Helpers for tests of traced calls: sessions that keep everything, pictures of what is held."""

from __future__ import annotations

import types
from collections import deque
from contextlib import contextmanager
from typing import Any

import numpy as np

import lima


@contextmanager
def eager(**options: Any) -> Any:
    """A session that keeps every call and operation that it can, however cheap."""
    with lima.session(**options) as session:
        session.call_seconds = -1.0
        session.cache.worth = -1.0
        yield session


def picture(*roots: Any) -> list[Any]:
    """All that some objects hold, with what is one object, and which arrays share memory.

    Equal pictures: nobody can tell the objects apart, but for their addresses.
    """
    numbers: dict[int, int] = {}
    arrays: list[np.ndarray] = []
    alive: list[Any] = []

    def see(x: Any) -> Any:
        if isinstance(x, (type(None), bool, int, float, complex, str, bytes)) and (
            type(x).__module__ == "builtins"
        ):
            return (type(x).__name__, repr(x))
        assert type(x) is not lima.Array, "a traced array in plain hands"
        if isinstance(x, (range, slice, frozenset)):
            return (type(x).__name__, repr(x))
        if isinstance(x, np.generic):
            return (type(x).__name__, x.tobytes())
        if id(x) in numbers:
            return ("same", numbers[id(x)])
        numbers[id(x)] = len(numbers)
        alive.append(x)
        return (type(x).__name__, *inside(x))

    def inside(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            arrays.append(x)
            flags = (x.flags.writeable, x.flags.c_contiguous, x.flags.f_contiguous)
            kind, owns = x.dtype.str, x.flags.owndata
            return [kind, x.shape, x.strides if x.size else None, flags, owns, x.tobytes()]
        if isinstance(x, (np.random.Generator, np.random.RandomState)):
            state = x.get_state(legacy=False) if hasattr(x, "get_state") else x.bit_generator.state
            return [repr(state)]
        parts: list[Any] = []
        if isinstance(x, (list, tuple, set, frozenset, deque)):
            parts += [see(v) for v in x]
        elif isinstance(x, dict):
            parts += [(see(k), see(v)) for k, v in x.items()]
        if isinstance(x, (types.ModuleType, type, types.FunctionType, np.dtype)):
            return [repr(x)]
        parts += [(k, see(v)) for k, v in getattr(x, "__dict__", {}).items()]
        for base in type(x).__mro__:
            for name in sorted(vars(base).get("__slots__", ())):
                mangled = f"_{base.__name__.lstrip('_')}{name}" if name.startswith("__") else name
                if hasattr(x, mangled):
                    parts.append((mangled, see(getattr(x, mangled))))
        return parts

    seen = [see(root) for root in roots]
    shared = [
        (k, n)
        for k, a in enumerate(arrays)
        for n, b in enumerate(arrays[:k])
        if a.size and b.size and np.shares_memory(a, b)
    ]
    return [seen, shared]


def outcome(call: Any, args: Any, kwargs: Any = None) -> list[Any]:
    """What a call gives, raises, and leaves behind in its arguments."""
    kwargs = kwargs or {}
    try:
        result = call(*args, **kwargs)
    except Exception as error:
        result = ("raised", type(error).__name__)
    return picture(result, args, kwargs)


def check(
    program: Any, make: Any, *, hits: int | None = 2, times: int = 3, **options: Any
) -> lima.Session:
    """Run a program plain, and traced cold and warm; nothing may tell the runs apart.

    make   makes new arguments for each run: a tuple, or a tuple and a dict
    hits   how many of the traced calls must be hits; None if that does not matter
    """
    traced = program if hasattr(program, "cache_info") else lima.traced(program)

    def arguments() -> tuple[Any, Any]:
        made = make()
        with_options = len(made) == 2 and type(made[0]) is tuple and type(made[1]) is dict
        return made if with_options else (made, {})

    plain = outcome(traced.__wrapped__, *arguments())
    before = traced.cache_info().hits
    with eager(**options) as session:
        for k in range(times):
            assert outcome(traced, *arguments()) == plain, f"run {k + 1}"
    if hits is not None:
        assert traced.cache_info().hits - before == hits, traced.cache_info().refusal
    return session


__all__ = ["check", "eager", "outcome", "picture"]
