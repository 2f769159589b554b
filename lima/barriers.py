"""What lima cannot trace: NumPy does it on plain data, and the results enter without history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lima import gates, leaves
from lima.errors import UnsupportedError
from lima.forcing import force
from lima.frame import refuse
from lima.handle import Handle, data_of, handle, outside, root_of, value_of
from lima.nesting import each
from lima.node import Spec, leaf
from lima.on_copies import Copies, is_asked
from lima.op import OPS, clone, owner
from lima.sessions import current
from lima.stats import REFUSED, outcome_row
from lima.values import Value, tied
from lima.writes import kept, lent, refuse_readonly, share, write

AGAIN: list[Callable[..., Any]] = []
"""What makes a call with traced arrays in the place of other arguments (`lima.calls.function`)."""

_NUMBERS = (np.ndarray, np.generic)


def leaf_value(a: Any, name: str | None = None, kind: type[Value] = Value) -> Value:
    """A value for data from outside, identified by all of its bytes."""
    value = kind(leaf(a, name), a)
    value.shared = True
    return value


def plain(x: Any) -> Any:
    """`x` with every traced array inside containers replaced by its data (read-only)."""
    if isinstance(x, Handle):
        value = value_of(x)
        value.given = True
        if value.root is not None:
            value.root.given = True
        data = force(value)
        return tied(data)
    kind = type(x)
    if kind in (list, tuple):
        return _remade(x, x, each(plain, x))
    if kind is dict:
        return _remade(x, x.values(), each(plain, x.values()))
    made = PLAIN.get(kind)
    return x if made is None else made(x)


def _remade(x: Any, old: Any, items: Iterable[Any]) -> Any:
    """A container with other items; `x` itself where they are the old ones, as it may be kept."""
    new = list(items)
    if all(a is b for a, b in zip(new, old, strict=True)):
        return x
    return dict(zip(x, new, strict=True)) if type(x) is dict else type(x)(new)


def _for_numpy(x: Any) -> Any:
    """The same for NumPy's functions, to which a dict is one object: it stays that."""
    if type(x) in (list, tuple):
        return _remade(x, x, each(_for_numpy, x))
    return x if type(x) is dict else plain(x)


PLAIN: dict[type, Callable[[Any], Any]] = {}
"""Traced objects that are made of traced arrays, and what gives the plain ones."""


def barrier(func: Any, args: Sequence[Any], kwargs: dict[str, Any], why: str) -> Any:
    """Let NumPy do what lima cannot trace; the result is right and enters without history."""
    out = kwargs.get("out")
    if type(out) is tuple and len(out) == 1:
        out = out[0]
    if isinstance(out, Handle):
        return write_untraced(func, out, args, {**kwargs, "out": out}, why)
    return adopt(*_untraced(func, args, kwargs, why))


def _untraced(func: Any, args: Sequence[Any], kwargs: dict[str, Any], why: str) -> tuple[Any, str]:
    name = f"{getattr(func, '__module__', '') or ''}.{getattr(func, '__name__', func)}"
    here = current()
    here.counts.barriers += 1
    refuse(f"it calls {name}, which is not traced")
    numpys = str(getattr(func, "__module__", "numpy")).partition(".")[0] in ("numpy", "builtins")
    to_plain = _for_numpy if numpys else plain
    given = to_plain(tuple(args))
    if given and isinstance(given[0], np.generic) and hasattr(func, "__objclass__"):
        func = getattr(type(given[0]), func.__name__)  # a method of arrays, which scalars have too
    try:
        found = func(*given, **{k: to_plain(x) for k, x in kwargs.items()})
    except ValueError as error:
        arrays = opened(error, args, kwargs)
        if arrays is not None:
            return AGAIN[0](func, *arrays), ""
        found = on_copies(func, args, kwargs, name, error)
    if func is not np.ndarray.view and gives_view(found, given):
        found = outside(func(*lent(tuple(args)), **lent(kwargs)))
    return found, f"{name}: {why}"


def gives_view(found: Any, given: tuple[Any, ...]) -> bool:
    """Whether what NumPy made is a view of an operand, or more than that operand itself.

    Views by a dtype with metadata are not asked: they are copies with lineage, not windows.
    """
    if type(found) is not np.ndarray or found.base is None:
        return False
    whole = owner(found)
    arrays = [x for x in given if isinstance(x, np.ndarray)]
    return any(owner(x) is whole for x in arrays) and not any(x is found for x in arrays)


def on_copies(
    run: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    name: str,
    error: Exception,
    again: bool = True,
) -> Any:
    """A call that refused read-only arrays, made with copies; what it writes is assigned.

    Raises `error` if it was another one. A call that may not be made `again` is refused.
    """
    if not again or not is_asked(error, args, kwargs):
        if "read-only" not in str(error):
            raise error
        raise UnsupportedError(
            f"{name} writes into a traced array, which lima cannot follow; "
            "let it write a copy and assign that: x[...] = copy"
        ) from error
    return with_copies(run, args, kwargs, name)


def with_copies(run: Any, args: Sequence[Any], kwargs: dict[str, Any], name: str) -> Any:
    """A call with a writable copy in the place of each traced array; what it writes is assigned."""
    copies = Copies()
    try:
        found = run(*copies(tuple(args)), **copies(kwargs))
    finally:  # what it wrote until it failed, if it did
        for target, copy in copies.written():
            refuse_readonly(target)
            _assign_all(target, value_of(adopt(copy, f"{name}: it was written there")))
    return copies.back(found, name)


def opened(error: ValueError, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Arguments with a traced array for each object whose `__array__` gives one.

    NumPy refuses such an array, by `error`, where the plain program has a plain one. None where
    it was not that.
    """
    if "not producing an array" not in str(error):
        return None
    found: list[Handle] = []
    arrays = _opened(tuple(args), found), {k: _opened(x, found) for k, x in kwargs.items()}
    return arrays if found else None


def _opened(x: Any, found: list[Handle]) -> Any:
    if type(x) in (list, tuple):
        return type(x)([_opened(item, found) for item in x])
    if isinstance(x, (Handle, *_NUMBERS)) or not hasattr(type(x), "__array__"):
        return x
    array = x.__array__()
    if not isinstance(array, Handle):
        return x
    found.append(array)
    return array


def write_untraced(
    func: Any, target: Handle, args: Sequence[Any], kwargs: dict[str, Any], why: str
) -> Any:
    """A barrier that writes `target`, its first argument or `out`, and that NumPy gives a copy."""
    refuse_readonly(target)
    dtype = value_of(target).meta[1]
    if (dtype.hasobject or has_gaps(dtype)) and type(data_of(target)) is np.ndarray:
        return _write_memory(func, target, args, kwargs, why)
    copy = clone(data_of(target))
    if kwargs.get("out") is target:
        kwargs = {**kwargs, "out": copy}
    else:
        args = (copy, *args[1:])
    try:
        found, why = _untraced(func, args, kwargs, why)
    finally:
        _assign_all(target, value_of(adopt(copy, why)))
    return target if found is copy else adopt(found, why)


def has_gaps(dtype: Any) -> bool:
    """Whether there are bytes between the fields of records: of a view, those of other fields."""
    fields = () if dtype.names is None else [dtype.fields[name][0] for name in dtype.names]
    return bool(fields) and sum(d.itemsize for d in fields) < dtype.itemsize


def _write_memory(
    func: Any, target: Handle, args: Sequence[Any], kwargs: dict[str, Any], why: str
) -> Any:
    """The same for an array of Python objects: NumPy writes its memory, which holds the very
    objects of the program, with the traced arrays in them, until the call ends. Of records with
    gaps, a copy would not have what lies there.
    """
    current().counts.barriers += 1
    window = share(target)
    if kwargs.get("out") is target:
        found = func(
            *kept(tuple(args)), **{k: kept(x) for k, x in kwargs.items() if k != "out"}, out=window
        )
    else:
        found = func(window, *kept(tuple(args[1:])), **{k: kept(x) for k, x in kwargs.items()})
    return target if found is window else adopt(found, why)


def _assign_all(target: Handle, value: Value) -> None:
    """`target[...] = value`."""
    assign, base = OPS["assign"], root_of(target)
    path = tuple((s.op, s.params) for s in target._path)
    params = (("path", path), ("index", ...)) if path else (("index", ...),)
    spec = Spec(assign.name, params, 2, assign.version)
    write(base, assign, spec, [base._value, value], target)


def adopt(found: Any, why: str) -> Any:
    """Plain results as leaves by content."""
    if type(found) is np.ndarray:
        given, known = gates.given_back(found)
        if given is not None or known is not None:
            return handle(known) if given is None else given
        value = leaf_value(found if found.base is None else clone(found))
        value.node.outcome = outcome_row(REFUSED, why=why)
        leaves.hold(value.node.digest, value.data)
        made = handle(value)
        made._locked = not found.flags.writeable
        return made
    if type(found) in (tuple, list):
        return type(found)(each(lambda item: adopt(item, why), found))
    if isinstance(found, tuple) and hasattr(found, "_fields"):
        return type(found)(*each(lambda item: adopt(item, why), found))
    return found
