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

from lima.barriers import adopt, barrier, opened, plain
from lima.calls import LITERALS, call, function
from lima.code import BEHIND
from lima.draws import GlobalGenerator, TracedGenerator, default_rng, random_state
from lima.formats import kind_of
from lima.frame import active, only_traced, refuse
from lima.handle import Handle, outside
from lima.indexing import getitem
from lima.op import CALLS, OPS, Kind, owner
from lima.ops import of_scipy
from lima.ops.coverage import why_not
from lima.ops.spelling import SPELLINGS
from lima.sparse import SCOPES, twin_class
from lima.sparse_calls import call_function, carries_sparse, drawable
from lima.stand_in import TWIN_OF, Twin, carries_array
from lima.writes import kept, share

TRACED_MODULES = (
    "numpy", "numpy.linalg", "numpy.fft", "numpy.random", "numpy.lib", "numpy.lib.stride_tricks",
)  # fmt: skip
"""Modules that have twins."""


# --------------------------------------------------------------------------- calls with own meaning


DEEPEST = 64
"""Levels of nesting that NumPy makes axes of."""

SHORT = 64
"""Numbers up to which a nested sequence stands in the lineage as it is; a longer one is a leaf."""


def _uncopied(plain: Any, x: Any, found: Any) -> Any:
    """What a conversion of `x` that need not copy found.

    It may lie in memory of the object, which others write: it is looked at anew at each use.
    """
    if found is x or np.isscalar(x) or type(x) is np.ndarray:
        return found
    if found.base is not None or hasattr(type(x), "__array__"):
        return outside(found)
    return adopt(found, f"{plain.__name__} of a {type(x).__qualname__}")


_ORDERED = (np.asarray, np.asanyarray)
"""Conversions that take the memory order by position."""


def _from_sequence(plain: Any) -> Callable[..., Any]:
    """`np.array` and kin: a sequence becomes a step, or a leaf if it is long and has no history."""

    def made(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else None
        if type(kwargs.get("copy")) is str or len(args) > (3 if plain in _ORDERED else 2):
            return plain(*args, **kwargs)  # which raises
        if type(x) in (list, tuple):
            named = dict(zip(("object", "dtype", "order"), args, strict=False)) | kwargs
            named.pop("like", None)
            device, copies = named.pop("device", None), named.pop("copy", None)
            if device not in (None, "cpu") or copies is False:
                return plain(*args, **kwargs)  # which raises
            carried = carries_array(args, kwargs)
            if carried and _keeps(named.get("dtype"), ()):
                return adopt(_of_objects(plain, args, kwargs), f"{plain.__name__} of objects")
            if not carried and (_count(x, SHORT) > SHORT or _keeps(named.get("dtype"), x)):
                return _of_sequence(plain, args, kwargs, made)
            if plain is np.asfortranarray:
                named["order"] = "F"
            del named["object"]
            return call(OPS["nested"], (x,), {k: v for k, v in named.items() if v is not None})
        copies = plain is np.array and kwargs.get("copy", True) is True
        if copies or isinstance(x, Handle):
            return function(plain, args, kwargs)
        try:
            found = plain(*args, **kwargs)
        except ValueError as error:
            arrays = opened(error, args, kwargs)
            if arrays is None:
                raise
            return function(plain, *arrays)
        return _uncopied(plain, x, found)

    return made


def _of_sequence(convert: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> Any:
    """A sequence as a leaf; again, as `made` does, where objects in it hand out traced arrays."""
    try:
        return adopt(convert(*args, **kwargs), f"{convert.__name__} of a sequence")
    except ValueError as error:
        arrays = opened(error, args, kwargs)
        if arrays is None:
            raise
        return made(*arrays)


def _of_objects(convert: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An array of Python objects. Where arrays are among them, they stay what they are."""
    found = convert(*plain(args), **kwargs)
    holds = any(type(item) is np.ndarray for item in found.flat)
    return convert(kept(args[0]), *args[1:], **kwargs) if holds else found


def _keeps(dtype: Any, x: Any) -> bool:
    """Whether an array of the sequence would hold objects themselves, which others may change."""
    if dtype is not None:
        return bool(np.dtype(dtype).hasobject)
    stack = list(x)
    while stack:
        item = stack.pop()
        if type(item) in (list, tuple):
            stack.extend(item)
        elif type(item) not in LITERALS:
            return not isinstance(item, np.generic)
    return False


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


def _chkfinite(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`np.asarray_chkfinite`."""
    made = OWN[np.asarray](args, kwargs)
    if made.dtype.char in np.typecodes["AllFloat"] and not np.isfinite(made).all():
        raise ValueError("array must not contain infs or NaNs")
    return made


def _entering(made_by: Any) -> Callable[..., Any]:
    """A function that makes an array of files or bytes: a leaf that names it."""

    def made(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        views = made_by is np.frombuffer
        if views and args and isinstance(args[0], Handle):
            args = (share(args[0]), *args[1:])
        found = made_by(*plain(tuple(args)), **plain(kwargs))
        ours = bytes if views else (np.ndarray, bytes)  # memory that nobody else writes
        if isinstance(found, np.ndarray) and not isinstance(owner(found), ours):
            return outside(np.asarray(found))  # of a buffer or a file, which others may write
        return adopt(found, f"numpy.{made_by.__name__}: {why_not(made_by)}")

    return made


OWN[np.asarray_chkfinite] = _chkfinite
OWN.update(
    (f, _entering(f))
    for f in (np.load, np.loadtxt, np.genfromtxt, np.fromfile, np.fromregex, np.fromstring,
              np.frombuffer, np.fromiter)
)  # fmt: skip


def _from_dlpack(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A traced array shares memory with what is made of it, as one of NumPy does."""
    x = args[0] if len(args) == 1 else None
    if not isinstance(x, Handle) or not kwargs.keys() <= {"device", "copy"}:
        return np.from_dlpack(*plain(args), **kwargs)
    _EMPTY.to_device(kwargs.get("device") or "cpu")  # NumPy says which device there is
    return function(np.array, (x,), {}) if kwargs.get("copy") else getitem(x, ...)


_EMPTY = np.zeros(0)
OWN[np.from_dlpack] = _from_dlpack


RANGES = (np.linspace, np.logspace, np.geomspace, np.ix_)
"""Functions that make arrays although they have operands, which are mostly numbers."""

COMPOSED = (np.fromfunction,)
"""Functions that make arrays although they are given none, composed of traced calls."""


class Joined:
    """`np.r_` and `np.c_`: what they make of traced arrays is a concatenation."""

    def __init__(self, plain: Any, columns: bool) -> None:
        self._plain = plain
        self._columns = columns
        self.__doc__ = plain.__doc__

    def __getitem__(self, key: Any) -> Any:
        items = key if type(key) is tuple else (key,)
        ends = [e for i in items if type(i) is slice for e in (i.start, i.stop, i.step)]
        if not carries_array((items, *ends), {}):
            return _of_numbers(self._plain, key)
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


class Grid:
    """`np.mgrid` and `np.ogrid`."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self.__doc__ = plain.__doc__

    def __getitem__(self, key: Any) -> Any:
        items = key if type(key) is tuple else (key,)
        ends = [e for i in items if type(i) is slice for e in (i.start, i.stop, i.step)]
        return self._plain[key] if carries_array((*ends,), {}) else _of_numbers(self._plain, key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def __repr__(self) -> str:
        return f"<traced {self._plain!r}>"


def _of_numbers(maker: Any, key: Any) -> Any:
    """What `np.mgrid` and its kin make of numbers: inside traced code a leaf that says so."""
    found = maker[key]
    name = type(maker).__name__.removesuffix("_class").replace("Class", "_").lower()
    return found if active() is None else adopt(found, f"numpy.{name}: made of numbers")


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


class SparseTwin(Twin):
    """A function of `scipy.sparse`; given traced sparse arrays, it is traced anywhere."""

    def __init__(self, plain: Any) -> None:
        super().__init__(plain, True, functools.partial(call_function, plain))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if active() is None and not carries_sparse((args, kwargs)):
            return self._plain(*map(drawable, args), **{k: drawable(x) for k, x in kwargs.items()})
        return self._traced(args, kwargs)


BEHIND[SparseTwin] = BEHIND[Joined] = BEHIND[Grid] = lambda x: x._plain
BEHIND[TwinModule] = lambda x: x.__dict__["_plain"]

_twins: dict[int, tuple[Any, Any]] = {}


def twin_of(x: Any) -> Any:
    """The traced twin of a NumPy module or callable; everything else as it is, twins too."""
    if type(x) in BEHIND:
        return x
    known = _twins.get(id(x))
    if known is not None and known[0] is x:
        return known[1]
    made = _make_twin(x)
    if made is not x:
        _twins[id(x)] = (x, made)
    return made


TWIN_OF.append(twin_of)


def _make_twin(x: Any) -> Any:
    if isinstance(x, types.ModuleType):
        name = x.__name__
        of_scipy.provide(name)
        traced = name in TRACED_MODULES or (of_scipy.is_twinned(name) and "._" not in name)
        return TwinModule(x) if traced else x
    special = SPECIAL.get(id(x))
    if special is not None:
        return special
    made = OBJECTS.get(type(x))
    if made is not None:
        return made(x)
    if isinstance(x, type):
        kind = kind_of(x)
        return x if kind is None else twin_class(kind)
    if not callable(x):
        return x
    home = _home(x)
    if home.startswith("scipy.sparse"):
        name = getattr(x, "__name__", "")
        return SparseTwin(x) if name and not name.startswith(("is", "aslinear")) else x
    of_scipy.provide(home)
    distribution = of_scipy.distribution(x) if home.startswith("scipy.stats.") else None
    if distribution is not None:
        return TwinDistribution(x)
    try:
        row = CALLS.get(x)
    except TypeError:
        return x
    own = OWN.get(x)
    if row is None and x in SPELLINGS and home.startswith("scipy."):
        return Twin(x, False)  # SciPy does not dispatch on its arguments
    if row is None and own is None and x not in COMPOSED:
        if isinstance(x, np.ufunc):
            return Twin(x, False)
        return OUTSIDE[0](x) if OUTSIDE and of_scipy.is_twinned(home) else x
    always = own is not None or x in RANGES or x in COMPOSED
    always |= row is not None and not row.operands and row.kind is not Kind.VIEW
    return Twin(x, always, own)


OBJECTS: dict[type, Callable[[Any], Any]] = {}
"""What makes the twin of an object of NumPy's that is called, by its class."""

OUTSIDE: list[Callable[..., Any]] = []
"""What makes the twin of a function of SciPy without a row (`lima.outside`)."""


class TwinDistribution:
    """A distribution of `scipy.stats`, whose densities are traced."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What `isinstance` sees: SciPy's class."""
        return type(self._plain)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._plain, name)
        if not isinstance(found, types.MethodType):
            return found
        known = CALLS.get(found)
        return twin_of(found) if known else OUTSIDE[0](found, f"{self._shown()}.{name}")

    def _shown(self) -> str:
        return f"scipy.stats.{of_scipy.distribution(self._plain)}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if active() is None:
            return self._plain(*args, **kwargs)
        return TwinFrozen(self, args, kwargs)

    def __reduce__(self) -> Any:
        return of_scipy.distribution_named, (self._plain.name,)

    def __repr__(self) -> str:
        return f"<traced {self._plain!r}>"


class TwinFrozen(TwinDistribution):
    """A distribution with its parameters, as `norm(0, 2)`: its densities are those of `norm`."""

    def __init__(self, family: TwinDistribution, args: Any, kwargs: Any) -> None:
        super().__init__(family._plain(*plain(args), **plain(kwargs)))
        self._family = family
        self._parameters = args, kwargs

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._family._plain, name, None)
        if name not in of_scipy.DENSITIES or method not in CALLS:
            return super().__getattr__(name)
        args, kwargs = self._parameters
        return lambda x: twin_of(method)(x, *args, **kwargs)

    def _shown(self) -> str:
        return self._family._shown()

    def __reduce__(self) -> Any:
        return _frozen, (self._plain,)


def _frozen(plain: Any) -> Any:
    return plain


BEHIND[TwinDistribution] = BEHIND[TwinFrozen] = lambda x: x._plain


def plain_module(x: Any) -> Any:
    """The plain module behind a twin."""
    return x.__dict__["_plain"] if type(x) is TwinModule else x


def bind_module(scope: dict[str, Any]) -> None:
    """Let the NumPy names of a module's globals, and its generators, mean their twins."""
    generators: dict[int, TracedGenerator] = {}
    SCOPES.add(str(scope.get("__name__")))
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
    if isinstance(x, type):
        return kind_of(x) is not None
    if not callable(x):
        return False
    return _home(x).partition(".")[0] in ("numpy", "scipy")


def _home(x: Any) -> str:
    """The module of a callable. Universal functions do not tell theirs."""
    if isinstance(x, np.ufunc):
        special = sys.modules.get("scipy.special")
        ours = special is not None and getattr(special, x.__name__, None) is x
        return "scipy.special" if ours else "numpy"
    if is_fortran(x):
        return "scipy.linalg"
    return str(getattr(x, "__module__", None) or type(x).__module__)


def is_fortran(x: Any) -> bool:
    """Whether `x` is a function that f2py has wrapped, as those of BLAS: they tell no module."""
    return type(x).__name__ == "fortran" and callable(x)


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


def traced_maker(plain: Any, made: Callable[..., Any]) -> Any:
    """What stands for the class `plain`; calling it in traced code is `made(...)`."""

    class Maker(type):
        def __instancecheck__(cls, x: Any) -> bool:
            return isinstance(x, plain) or (
                isinstance(x, TracedGenerator) and isinstance(x._generator, plain)
            )

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if active() is None:
                if plain.__module__.startswith("numpy.random"):
                    _check_seed(args, kwargs)
                return plain(*args, **kwargs)
            return made(*args, **kwargs)

    return Maker(plain.__name__, (), {"__doc__": plain.__doc__})


def _rng_twin(*args: Any, **kwargs: Any) -> Any:
    if args and active() is None and isinstance(args[0], TracedGenerator):
        return args[0]
    if active() is not None:
        return default_rng(*args, **kwargs)
    _check_seed(args, kwargs)
    return np.random.default_rng(*args, **kwargs)


def _check_seed(args: Any, kwargs: Any) -> None:
    """Without a seed, each call gives something else, which traced calls take note of."""
    if _is_unseeded(args, kwargs):
        only_traced("it draws unseeded random numbers")


def _is_unseeded(args: Any, kwargs: Any) -> bool:
    return all(x is None for x in (*args[:1], kwargs.get("seed"), kwargs.get("entropy")))


SEEDED = (
    np.random.SeedSequence, np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937,
    np.random.Philox, np.random.SFC64,
)  # fmt: skip
"""Classes that take a seed, which may be an array."""


def _seeded(kind: Any) -> Any:
    def made(*args: Any, **kwargs: Any) -> Any:
        if _is_unseeded(args, kwargs):
            refuse("it draws unseeded random numbers")
        return kind(*plain(args), **plain(kwargs))

    return traced_maker(kind, made)


def _wrap_generator(bits: Any) -> TracedGenerator:
    made = TracedGenerator(np.random.Generator(bits))
    made.exposed = True
    frame = active()
    if frame is not None:
        frame.refuse("it makes a generator from a bit generator")
    return made


SPECIAL: dict[int, Any] = {
    id(np.random.default_rng): _rng_twin,
    id(np.random.RandomState): traced_maker(np.random.RandomState, random_state),
    id(np.random.Generator): traced_maker(np.random.Generator, _wrap_generator),
    **{id(kind): _seeded(kind) for kind in SEEDED},
    id(np.r_): Joined(np.r_, False),
    id(np.c_): Joined(np.c_, True),
    id(np.mgrid): Grid(np.mgrid),
    id(np.ogrid): Grid(np.ogrid),
    **{
        id(getattr(np.random, name)): _legacy(name)
        for name in dir(np.random.RandomState)
        if not name.startswith("_") and hasattr(np.random, name)
    },
}
"""Twins of what makes generators, of the legacy functions, of `np.r_` and its kin."""
