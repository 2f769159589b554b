"""Traced twins of NumPy's module, functions and generators (D12).

Creation functions and `np.random` have no array argument to dispatch on. Inside traced code the
names `np`, `linalg`, `zeros`, ... of the user's module mean twins; a twin does what NumPy does
when no traced call is running. Nothing is changed inside NumPy.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from lima.calls import adopt, barrier, call, function, plain, ufunc
from lima.code import BEHIND
from lima.draws import GlobalGenerator, TracedGenerator, default_rng, random_state
from lima.frame import Frame, _frame, active
from lima.handle import Handle
from lima.op import CALLS, OPS, Kind
from lima.ops import of_scipy
from lima.ops.spelling import SPELLINGS

TRACED_MODULES = (
    "numpy", "numpy.linalg", "numpy.fft", "numpy.random", "numpy.lib", "numpy.lib.stride_tricks",
)  # fmt: skip
"""Modules that have twins."""


def _carries_array(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a traced array is among the arguments, also inside lists and tuples."""
    stack: list[Any] = [*args, *kwargs.values()]
    seen: set[int] = set()  # a list may contain itself
    while stack:
        x = stack.pop()
        if isinstance(x, Handle):
            return True
        if type(x) in (list, tuple) and id(x) not in seen:
            seen.add(id(x))
            stack.extend(x)
    return False


class Twin:
    """A NumPy callable that is traced while a traced call runs, or when given traced arrays."""

    def __init__(self, plain: Any, always: bool, shown: Callable[..., Any] | None = None) -> None:
        self._plain = plain
        self._always = always
        self._traced = shown or functools.partial(_through, plain)
        self._converts = shown is not None
        functools.update_wrapper(self, plain, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._converts and active() is None:
            return self._plain(*args, **kwargs)  # outside of traced code, to plain arrays
        for a in args:
            if isinstance(a, Handle):
                return self._traced(args, kwargs)
        if active() is None:
            if not _carries_array(args, kwargs):
                return self._plain(*args, **kwargs)
        elif not self._always and not _any_array(args, kwargs):
            return self._plain(*args, **kwargs)
        return self._traced(args, kwargs)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._plain, name)
        return twin_of(found) if callable(found) else found

    def __eq__(self, other: object) -> bool:
        return self._plain is other or (type(other) is Twin and other._plain is self._plain)

    def __hash__(self) -> int:
        return hash(self._plain)

    def __reduce__(self) -> Any:
        return twin_of, (self._plain,)

    def __repr__(self) -> str:
        return f"<traced {self._plain!r}>"


def _through(plain: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return (ufunc if isinstance(plain, np.ufunc) else function)(plain, args, kwargs)


def _any_array(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Traced arrays anywhere, or a plain array (a leaf by its content) as an argument."""
    return _carries_array(args, kwargs) or any(type(a) is np.ndarray for a in args)


# --------------------------------------------------------------------------- calls with own meaning


DEEPEST = 64
"""Levels of nesting that NumPy makes axes of."""

SHORT = 64
"""Numbers up to which a nested sequence stands in the lineage as it is; a longer one is a leaf."""


def _from_sequence(plain: Any) -> Callable[..., Any]:
    """`np.array` and kin: a sequence becomes a step, or a leaf if it is long and has no history."""

    def made(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else None
        if type(x) in (list, tuple):
            if not _carries_array(args, kwargs) and _count(x, SHORT) > SHORT:
                return adopt(plain(*args, **kwargs), f"{plain.__name__} of a sequence")
            options = dict(zip(("dtype",), args[1:2], strict=False)) | kwargs
            options.pop("copy", None)
            return call(OPS["nested"], (x,), {k: v for k, v in options.items() if v is not None})
        if plain is not np.array and not isinstance(x, Handle):
            return plain(*args, **kwargs)
        return function(plain, args, kwargs)

    return made


def _count(x: Any, limit: int, depth: int = 0) -> int:
    """Number of items in a nested sequence, counted up to a little over `limit`."""
    if type(x) not in (list, tuple):
        return 1
    if depth > DEEPEST:
        return limit + 1
    total = 0
    for item in x:
        total += _count(item, limit, depth + 1)
        if total > limit:
            break
    return total


OWN: dict[Any, Callable[[tuple[Any, ...], dict[str, Any]], Any]] = {
    plain: _from_sequence(plain)
    for plain in (np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray)
}
"""Functions with a meaning for traced arrays that no row expresses."""


RANGES = (np.linspace, np.logspace, np.geomspace)
"""Functions that make arrays although they have operands, which are mostly numbers."""


class Joined:
    """`np.r_` and `np.c_`: what they make of traced arrays is a concatenation."""

    def __init__(self, plain: Any, columns: bool) -> None:
        self._plain = plain
        self._columns = columns
        self.__doc__ = plain.__doc__

    def __getitem__(self, key: Any) -> Any:
        items = key if type(key) is tuple else (key,)
        ends = [e for i in items if type(i) is slice for e in (i.start, i.stop, i.step)]
        if not _carries_array((items, *ends), {}):
            return self._plain[key]
        if any(isinstance(item, str) for item in items):
            return barrier(self._plain.__getitem__, (key,), {}, "a directive as text")
        parts = [self._part(item) for item in items]
        dtype = np.result_type(*[getattr(p, "dtype", p) for p in parts])
        return function(
            np.concatenate,
            (tuple([self._shaped(p, dtype) for p in parts]),),
            {"axis": self._plain.axis},
        )

    def _part(self, item: Any) -> Any:
        if type(item) is slice:
            return self._plain[slice(*plain((item.start, item.stop, item.step)))]
        if isinstance(item, (Handle, np.ndarray, bool, int, float, complex, np.generic)):
            return item
        return function(np.array, (item,), {})

    def _shaped(self, part: Any, dtype: Any) -> Any:
        is_array = isinstance(part, (Handle, np.ndarray))
        if not is_array:
            return function(np.array, ([[part]] if self._columns else [part],), {"dtype": dtype})
        if part.dtype != dtype:
            part = part.astype(dtype)
        if self._columns and part.ndim == 1:
            return part[:, None]
        missing = self._plain.ndmin - part.ndim
        return part.reshape((1,) * missing + part.shape) if missing > 0 else part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"<traced {self._plain!r}>"


class TwinModule(types.ModuleType):
    """A module whose callables are twins; everything else is the plain module's."""

    def __init__(self, plain: types.ModuleType) -> None:
        super().__init__(plain.__name__, plain.__doc__)
        self.__dict__["_plain"] = plain

    def __getattr__(self, name: str) -> Any:
        plain = self.__dict__["_plain"]
        made = self.__dict__.get("_wrap", twin_of)(getattr(plain, name))
        self.__dict__[name] = made
        return made

    def __dir__(self) -> list[str]:
        return dir(self.__dict__["_plain"])

    def __repr__(self) -> str:
        return f"<traced {self.__dict__['_plain']!r}>"


BEHIND[Twin] = BEHIND[Joined] = lambda x: x._plain
BEHIND[TwinModule] = lambda x: x.__dict__["_plain"]

_twins: dict[int, tuple[Any, Any]] = {}


def twin_of(x: Any) -> Any:
    """The traced twin of a NumPy module or callable; everything else as it is."""
    known = _twins.get(id(x))
    if known is not None and known[0] is x:
        return known[1]
    made = _make_twin(x)
    if made is not x:
        _twins[id(x)] = (x, made)
    return made


def _make_twin(x: Any) -> Any:
    if isinstance(x, types.ModuleType):
        name = x.__name__
        if type(x) is TwinModule:
            return x
        of_scipy.provide(name)
        traced = name in TRACED_MODULES or name in of_scipy.MODULES or name in of_scipy.PACKAGES
        return TwinModule(x) if traced else x
    special = SPECIAL.get(id(x))
    if special is not None:
        return special
    if isinstance(x, type) or not callable(x):
        return x
    home = _home(x)
    of_scipy.provide(home)
    try:
        row = CALLS.get(x)
    except TypeError:
        return x
    own = OWN.get(x)
    if row is None and x in SPELLINGS and home.startswith("scipy."):
        return Twin(x, False)  # SciPy does not dispatch on its arguments
    if row is None and own is None:
        return Twin(x, False) if isinstance(x, np.ufunc) else x
    always = own is not None or x in RANGES
    always |= row is not None and not row.operands and row.kind is not Kind.VIEW
    return Twin(x, always, own)


class Always:
    """A twin that is traced outside of traced calls too (`lima.numpy`)."""

    def __init__(self, twin: Any) -> None:
        self._twin = twin
        functools.update_wrapper(self, twin, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if active() is not None:
            return self._twin(*args, **kwargs)
        token = _frame.set(Frame(None, namespace=True))
        try:
            return self._twin(*args, **kwargs)
        finally:
            _frame.reset(token)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._twin, name)
        return Always(found) if callable(found) else found

    def __getitem__(self, index: Any) -> Any:
        return self._twin[index]

    def __instancecheck__(self, x: Any) -> bool:
        return isinstance(x, self._twin)

    def __eq__(self, other: object) -> bool:
        return bool(self._twin == (other._twin if type(other) is Always else other))

    def __hash__(self) -> int:
        return hash(self._twin)

    def __reduce__(self) -> Any:
        return always, (BEHIND[type(self._twin)](self._twin),)

    def __repr__(self) -> str:
        return repr(self._twin)


BEHIND[Always] = lambda x: x._twin


def always_traced(plain: types.ModuleType) -> TwinModule:
    """The twin of a module whose functions are traced everywhere."""
    made = TwinModule(plain)
    made.__dict__["_wrap"] = always
    return made


_always: dict[int, tuple[Any, Any]] = {}


def always(x: Any) -> Any:
    """The twin that is traced everywhere of a NumPy module or callable; else `x` as it is."""
    known = _always.get(id(x))
    if known is not None and known[0] is x:
        return known[1]
    if isinstance(x, types.ModuleType):
        made: Any = always_traced(x) if x.__name__ in TRACED_MODULES else x
    else:
        twin = twin_of(x)
        made = x if twin is x else Always(twin)
    if made is not x:
        _always[id(x)] = x, made
    return made


def plain_module(x: Any) -> Any:
    """The plain module behind a twin."""
    return x.__dict__["_plain"] if type(x) is TwinModule else x


def bind_module(scope: dict[str, Any]) -> None:
    """Let the NumPy names of a module's globals, and its generators, mean their twins."""
    generators: dict[int, TracedGenerator] = {}
    for name, value in list(scope.items()):
        if name.startswith("__"):
            continue
        if isinstance(value, types.ModuleType) or is_numpy(value):
            made = twin_of(value)
            if made is not value:
                scope[name] = made
        elif type(value) in (np.random.Generator, np.random.RandomState):
            scope[name] = generators.setdefault(id(value), _exposed(value))


def bind_closure(function: Any) -> None:
    """Let the generators in the closure of a function mean traced ones."""
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # empty as yet
            continue
        if type(value) in (np.random.Generator, np.random.RandomState):
            cell.cell_contents = _exposed(value)


def _exposed(generator: Any) -> TracedGenerator:
    """A traced generator, of which others may hold the plain one."""
    made = TracedGenerator(generator)
    made.exposed = True
    return made


def is_numpy(x: Any) -> bool:
    """Whether `x` is a callable of NumPy or SciPy."""
    if id(x) in SPECIAL:
        return True
    if not callable(x) or isinstance(x, type):
        return False
    return _home(x).partition(".")[0] in ("numpy", "scipy")


def _home(x: Any) -> str:
    """The module of a callable. Universal functions do not tell theirs."""
    if isinstance(x, np.ufunc):
        special = sys.modules.get("scipy.special")
        ours = special is not None and getattr(special, x.__name__, None) is x
        return "scipy.special" if ours else "numpy"
    return str(getattr(x, "__module__", None) or type(x).__module__)


# --------------------------------------------------------------------------- random numbers

_global = GlobalGenerator(np.random.mtrand._rand)


def _legacy(name: str) -> Callable[..., Any]:
    plain = getattr(np.random, name)

    @functools.wraps(plain)
    def twin(*args: Any, **kwargs: Any) -> Any:
        if active() is None:
            return plain(*args, **kwargs)
        return getattr(_global, name)(*args, **kwargs)

    return twin


def _traced_maker(plain: Any, made: Callable[..., Any]) -> Any:
    class Maker(type):
        def __instancecheck__(cls, x: Any) -> bool:
            return isinstance(x, plain) or (
                isinstance(x, TracedGenerator) and isinstance(x._generator, plain)
            )

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if active() is None:
                return plain(*args, **kwargs)
            return made(*args, **kwargs)

    return Maker(plain.__name__, (), {"__doc__": plain.__doc__})


def _rng_twin(*args: Any, **kwargs: Any) -> Any:
    if args and active() is None and isinstance(args[0], TracedGenerator):
        return args[0]
    return (
        np.random.default_rng(*args, **kwargs) if active() is None else default_rng(*args, **kwargs)
    )


SEEDED = (
    np.random.SeedSequence, np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937,
    np.random.Philox, np.random.SFC64,
)  # fmt: skip
"""Classes that take a seed, which may be an array."""


def _seeded(kind: Any) -> Any:
    return _traced_maker(kind, lambda *args, **kwargs: kind(*plain(args), **plain(kwargs)))


def _wrap_generator(bits: Any) -> TracedGenerator:
    made = TracedGenerator(np.random.Generator(bits))
    made.exposed = True
    frame = active()
    if frame is not None:
        frame.refuse("it makes a generator from a bit generator")
    return made


SPECIAL: dict[int, Any] = {
    id(np.random.default_rng): _rng_twin,
    id(np.random.RandomState): _traced_maker(np.random.RandomState, random_state),
    id(np.random.Generator): _traced_maker(np.random.Generator, _wrap_generator),
    **{id(kind): _seeded(kind) for kind in SEEDED},
    id(np.r_): Joined(np.r_, False),
    id(np.c_): Joined(np.c_, True),
    **{
        id(getattr(np.random, name)): _legacy(name)
        for name in dir(np.random.RandomState)
        if not name.startswith("_") and hasattr(np.random, name)
    },
}
"""Twins of what makes generators, of the legacy functions, and of `np.r_` and `np.c_`."""
