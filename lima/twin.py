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

from lima.barriers import plain
from lima.code import BEHIND
from lima.conversions import COMPOSED, OWN, RANGES, Grid, Joined
from lima.draws import GlobalGenerator, TracedGenerator, default_rng, random_state
from lima.formats import kind_of
from lima.frame import active, only_traced, refuse
from lima.op import CALLS, Kind
from lima.ops import of_scipy
from lima.ops.spelling import SPELLINGS
from lima.sparse import SCOPES, twin_class
from lima.sparse_calls import call_function, carries_sparse, drawable
from lima.stand_in import TWIN_OF, Twin

TRACED_MODULES = (
    "numpy", "numpy.linalg", "numpy.fft", "numpy.random", "numpy.lib", "numpy.lib.stride_tricks",
)  # fmt: skip
"""Modules that have twins."""


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
