"""Digests of Python functions and classes: bytecode, constants, and all that they reach.

A call may be reused as a whole only if everything that its code can reach is known: builtins
without effects, NumPy and SciPy, other functions and classes (followed transitively) and data.
The world is closed: what `lima.pure` does not list makes the call not reusable at this level
(decision D7); its operations still are.

The code of a function is what its digest stands for. The data that it uses (globals, closure
variables, defaults, attributes of classes) can change in place; it is listed beside the digest,
for `lima.keys` to look at in every call.
"""

from __future__ import annotations

import builtins
import enum
import functools
import operator
import re
import sys
import types
from abc import ABCMeta
from collections import namedtuple
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import numpy as np
from xxhash import xxh3_128_digest

from lima import pure
from lima.bytecode import Facts, NotReusable, facts_of
from lima.classes import LABELS, held_by, labels, metadata, registered
from lima.homes import is_marker, is_pure_home, module_refusal, own_name, own_refusal
from lima.node import encode

Getter = tuple[Callable[[Any], Any], Any]
"""A function and its argument: what they give now is asked for in every call."""


BEHIND: dict[type, Callable[[Any], Any]] = {}
"""What lima puts in the place of something in users' modules, and how to get at the original."""

TRACED: WeakSet[Any] = WeakSet()
"""The functions that `lima.traced` has made; their code is that of the function behind them."""


def behind(x: Any) -> Any:
    """The function or module that lima's stand-in `x` stands for; `x` itself otherwise."""
    get = BEHIND.get(type(x))
    if get is not None:
        return behind(get(x))
    if type(x) is types.FunctionType and x in TRACED:
        return behind(vars(x)["__wrapped__"])
    return x


class Code:
    """What a function or class reaches. The walk is done anew when a name means something else."""

    def __init__(self, root: Any, version: str | None = None) -> None:
        self.root = root
        self.version = version
        self._walk: _Walk | None = None

    def _present(self) -> _Walk:
        walk = self._walk
        if walk is None or not walk.holds():
            self._walk = walk = _walked(self.root, self.version)
        return walk

    def digest(self) -> bytes:
        """16 bytes for all the code; raises NotReusable."""
        walk = self._present()
        if walk.refusal is not None:
            raise NotReusable(walk.refusal)
        return walk.digest

    def data(self) -> list[Any]:
        """The data that the code uses, in a fixed order; also where there is no digest."""
        return self._present().values()

    def names(self) -> set[str]:
        """All names and attributes that the code mentions."""
        return self._present().names

    def uses_pandas(self) -> bool:
        """Whether it makes frames, whose methods are no code that is walked."""
        return self._present().frames

    def reads_labels(self) -> bool:
        """Whether it mentions the names of functions and classes, as `f.__name__`."""
        return self._present().labelled

    def says_all(self) -> bool:
        """Whether digest and data are all that a call depends on, beside its arguments."""
        walk = self._present()
        return not (walk.frames or walk.labelled)

    def labels(self) -> list[bytes]:
        """The names of all functions and classes that it reaches, as they are now."""
        return [labels(x) for x in self._present().walked]

    def hashed(self) -> bool:
        """Whether what the code does may depend on hashes, which differ between processes."""
        return self._present().hashed

    def only_computes(self) -> bool:
        """Whether it sets no attributes, flags or variables of functions around it, writes no file,
        draws from no generator of the process and knows nothing of lima, as far as names tell.
        """
        walk = self._present()
        return not walk.stores and _EVERYDAY_EFFECTS.isdisjoint(walk.names)

    def both(self) -> tuple[bytes, list[Any]]:
        """Digest and data; raises NotReusable."""
        walk = self._present()
        if walk.refusal is not None:
            raise NotReusable(walk.refusal)
        return walk.digest, walk.values()


_codes: dict[int, Code] = {}


def code_of(x: Any) -> Code:
    """The `Code` of a function or class, kept for those that live as long as their module."""
    known = _codes.get(id(x))
    if known is not None:
        return known
    made = Code(x)
    if isinstance(x, type) or (type(x) is types.FunctionType and not x.__closure__):
        if len(_codes) >= 1024:
            _codes.clear()
        _codes[id(x)] = made
    return made


# --------------------------------------------------------------------------- the walk


def _walked(root: Any, version: str | None) -> _Walk:
    walk = _Walk()
    try:
        walk.callable(str(getattr(root, "__name__", "it")), root)
        walk.digest = xxh3_128_digest(b"".join(walk.parts) + encode(version))
        walk.labelled = not walk.names.isdisjoint(LABELS)
    except Exception as error:  # whatever users' objects do when they are looked at
        walk.refuse(f"its code cannot be read: {error!r}")
    return walk


class _Walk:
    """One pass over everything that a function or class reaches."""

    digest = b""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.data: list[Getter] = []
        self.refusal: str | None = None
        self.names: set[str] = set()
        self.frames = self.hashed = self.labelled = self.stores = False
        self._watched: list[tuple[Callable[[Any], Any], Any, Any]] = []
        self.walked: list[Any] = []
        self._seen: dict[int, int] = {}

    def holds(self) -> bool:
        """Whether every name still means what it meant."""
        try:
            for get, what, was in self._watched:
                if get(what) is not was:
                    return False
        except (LookupError, AttributeError, ValueError):
            return False
        return True

    def values(self) -> list[Any]:
        """The data as it is now."""
        found = []
        for get, what in self.data:
            try:
                found.append(get(what))
            except (LookupError, AttributeError, ValueError):
                raise NotReusable(f"{what!r} is not defined") from None
        return found

    def refuse(self, why: str) -> None:
        """Not reusable; the walk goes on, for what it finds on the way."""
        if self.refusal is None:
            self.refusal = why

    def watch(self, get: Callable[[Any], Any], what: Any, value: Any) -> None:
        self._watched.append((get, what, value))

    def first(self, x: Any) -> bool:
        """False, with a back reference written, for what was walked before."""
        known = self._seen.get(id(x))
        if known is not None:
            self.parts.append(b"see" + encode(known))
            return False
        self._seen[id(x)] = len(self._seen)
        self.walked.append(x)
        return True

    # ------------------------------------------------------------ names and values

    def reach(
        self,
        name: str,
        get: Callable[[Any], Any],
        what: Any,
        chain: tuple[str, ...] = (),
        names: frozenset[str] = frozenset(),
    ) -> None:
        """What a name means: code is walked and watched, data is listed."""
        self.parts.append(encode(name))
        try:
            value = get(what)
        except (LookupError, AttributeError, ValueError):
            return self.refuse(f"{name!r} is not defined")
        if isinstance(value, types.ModuleType):
            self.watch(get, what, value)
            self.module(value, chain, names)
        elif is_code(value):
            self.watch(get, what, value)
            self.callable(name, value)
        elif is_marker(value):
            self.watch(get, what, value)
            own = own_name(type(value))
            assert own is not None
            self.parts.append(encode(own))
            self.known((*own[0].split("."), own[1]))  # a traced generator, of a global
        else:
            self.data.append((get, what))

    def name(
        self, name: str, chain: tuple[str, ...], names: frozenset[str], scope: dict[str, Any]
    ) -> None:
        """A global name, else a builtin."""
        if name in scope:
            return self.reach(name, scope.__getitem__, name, chain, names)
        self.watch(scope.get, name, None)
        builtin = getattr(builtins, name, None)
        if name in pure.BUILTINS or _is_exception(builtin):
            self.parts.append(encode(name))
        elif builtin is None:
            self.refuse(f"the global {name!r} is not defined")
        else:
            self.refuse(f"it uses the builtin {name}, which may have effects")

    def module(
        self, module: types.ModuleType, chain: tuple[str, ...], names: frozenset[str]
    ) -> None:
        """Attributes read off a module; of a listed one only that they are harmless matters."""
        traced = type(module) in BEHIND
        plain = behind(module)
        path = plain.__name__
        if path.partition(".")[0] in pure.OPAQUE:
            known = path == "pandas" and chain and self.of_pandas(plain, chain[0])
            harmless = known and pure.EFFECTS.isdisjoint(chain) and not chain[-1].endswith(" =")
            return self.parts.append(encode(chain)) if harmless else self.opaque(path)
        if not is_pure_home(path):
            return self.foreign(module, chain, names)
        self.parts.append(encode((path, str(getattr(plain, "__version__", "")), chain)))
        self.known((*path.split("."), *chain))
        if path.partition(".")[0] not in ("numpy", "scipy", "lima"):
            found = functools.reduce(lambda x, name: getattr(x, name, None), chain, plain)
            if isinstance(found, ABCMeta):
                self.registered(found)
        reason = module_refusal(plain, chain, names, traced)
        if reason is not None:
            self.refuse(f"it uses {reason}")

    def known(self, path: tuple[str, ...]) -> None:
        """Something of NumPy or lima that is used: what is not only to be computed with?"""
        drawn = path[0] == "numpy" and path[1:2] in ((), ("random",))
        if path[0] == "lima" or (drawn and MAKERS.isdisjoint(path[2:3])):
            self.stores = True

    def foreign(
        self, module: types.ModuleType, chain: tuple[str, ...], names: frozenset[str]
    ) -> None:
        """A module of the user's: the attribute that is read off it, as if it were a global."""
        if not chain or chain[0].endswith(" ="):
            what = "passes it on" if not chain else f"sets {chain[0][:-2]} in it"
            return self.refuse(f"it uses the module {module.__name__} and {what}")
        get = functools.partial(getattr, module)
        self.reach(chain[0], get, chain[0], chain[1:], names)

    def of_pandas(self, pandas: Any, name: str) -> bool:
        """Whether a name of pandas is a listed one, and still pandas' own."""
        value = getattr(pandas, name, None)
        home = getattr(value, "__module__", None) or type(value).__module__
        self.watch(functools.partial(getattr, pandas), name, value)
        if name not in pure.PANDAS or str(home).partition(".")[0] != "pandas":
            return False
        self.frames = True
        self.parts.append(b"pandas" + encode((name, str(getattr(pandas, "__version__", "")))))
        return True

    def opaque(self, what: str) -> None:
        """Something of a large package: it is not walked, which would take seconds."""
        self.parts.append(encode(what))
        self.refuse(f"it uses {what}, which may read files or settings")

    # ------------------------------------------------------------ code

    def callable(self, name: str, value: Any) -> None:
        """A function, class, or anything else that is called."""
        plain = behind(value)
        if plain is not value and type(value) is not types.ModuleType:
            self.attributes(value)
        value = plain
        if value is hash or value is set or value is frozenset:  # under whatever name
            self.hashed = True
        home = str(getattr(value, "__module__", None) or "")
        if home.partition(".")[0] in pure.OPAQUE:
            pandas, called = sys.modules.get("pandas"), getattr(value, "__name__", "")
            if value is getattr(pandas, called, None) and self.of_pandas(pandas, called):
                return None
            return self.opaque(f"{home}.{name}")
        own = own_name(value)
        if own is not None:
            self.parts.append(encode(own))
            self.known((*own[0].split("."), own[1]))
            if isinstance(value, ABCMeta):
                self.registered(value)
            reason = own_refusal(*own)
            if reason is not None:
                self.refuse(f"it uses {reason}")
        elif isinstance(value, type):
            self.cls(value)
        else:
            walk = CALLABLES.get(type(value))
            if walk is not None:
                walk(self, name, value)
            elif _is_wrapper_of_lima(value):
                self.parts.append(encode(name))
            else:
                self.data.append((operator.itemgetter(0), (value,)))  # an object with `__call__`

    def function(self, name: str, f: Any) -> None:
        """A Python function: its code, defaults, closure and attributes."""
        if _is_wrapper_of_lima(f):
            self.parts.append(encode(f.__name__))
            self.stores = self.stores or hasattr(np.random.RandomState, f.__name__)
            return
        if not self.first(f):
            return
        self.parts.append(b"function")
        for part in ("__code__", "__defaults__", "__kwdefaults__"):
            get = functools.partial(getattr, f)
            self.watch(get, part, getattr(f, part))
        for k in range(len(f.__defaults__ or ())):
            self.reach(f"default {k}", f.__defaults__.__getitem__, k)
        for key in f.__kwdefaults__ or ():
            self.reach(key, f.__kwdefaults__.__getitem__, key)
        facts = facts_of(f.__code__)
        home = str(f.__globals__.get("__name__", ""))
        generated = home in pure.GENERATORS or is_pure_home(home)
        for key, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            if generated and key == "repr_running":  # a set of what is being printed
                continue
            self.reach(key, functools.partial(getattr, cell), "cell_contents", (), facts.names)
        self.attributes(f)
        self.code(facts, f.__globals__)

    def attributes(self, f: Any) -> None:
        """What users have set on a function, or on what lima put in its place."""
        held = getattr(f, "__dict__", {})
        self.watch(len, held, len(held))
        for key in held:
            if key not in _OF_STAND_INS:
                self.reach(key, held.__getitem__, key)

    def code(self, facts: Facts, scope: dict[str, Any]) -> None:
        self.parts.append(facts.text)
        home = str(scope.get("__name__", ""))
        if home in pure.GENERATORS or is_pure_home(home):
            return  # methods that Python's own modules generate, as for a dataclass
        self.names |= facts.names
        self.hashed = self.hashed or facts.hashed
        self.stores = self.stores or facts.stores or bool(facts.assigns)
        mentioned = {x for x in facts.names if x in pure.EFFECTS or pure.tells_time(x, False)}
        if facts.refusal is not None:
            self.refuse(facts.refusal)
        elif mentioned:
            self.refuse(f"it mentions {min(mentioned)}, which may have effects or read settings")
        for name, chain in facts.globals:
            self.name(name, chain, facts.names, scope)

    def builtin(self, name: str, value: Any) -> None:
        """A function written in C: of `builtins`, or a method of some object."""
        home = value.__self__
        if home is builtins and value.__name__ in pure.BUILTINS:
            self.parts.append(encode(value.__name__))
            self.names.add(value.__name__)
        elif (isinstance(home, type) and own_name(home)) or home in vars(builtins).values():
            self.parts.append(encode((home.__qualname__, value.__name__)))
        else:
            self.refuse(f"it uses {value.__name__}, which may have effects")

    def partial(self, name: str, value: Any) -> None:
        """`functools.partial`: the function, and its arguments as data."""
        self.parts.append(b"partial")
        self.callable(name, value.func)
        self.data.append((operator.itemgetter(0), (value.args,)))
        self.data.append((operator.itemgetter(0), (value.keywords,)))

    def method(self, name: str, value: Any) -> None:
        """A method bound to an object: the function, and the object as data."""
        self.parts.append(b"method")
        self.callable(name, value.__func__)
        self.data.append((operator.itemgetter(0), (value.__self__,)))

    def vectorize(self, name: str, value: Any) -> None:
        """`np.vectorize`: the function that it calls, and how.

        It keeps what it made of its function, so one that was given another function has the old.
        """
        first = getattr(value, "_first", (None, False))
        if value._ufunc and not (first[0] is value.pyfunc and first[1]):
            self.refuse(f"it calls {name}, whose function may have been exchanged")
        self.parts.append(b"vectorize")
        self.watch(functools.partial(getattr, value), "pyfunc", value.pyfunc)
        self.callable(name, value.pyfunc)
        how = (value.otypes, value.signature, value.excluded, value.cache)
        self.data.append((operator.itemgetter(0), (how,)))

    def getter(self, name: str, value: Any) -> None:
        """`operator.itemgetter` and its kin: what they were made with."""
        made, arguments = value.__reduce__()[:2]
        options = {}
        if isinstance(made, functools.partial):  # a `methodcaller` with keywords
            arguments, options = (*made.args, *arguments), made.keywords
        self.parts.append(encode((type(value).__name__, tuple(options))))
        named = {part for x in arguments if type(x) is str for part in x.split(".")}
        self.names |= named
        if type(value) is not operator.itemgetter and not pure.EFFECTS.isdisjoint(named):
            self.refuse(f"it calls {min(named & pure.EFFECTS)}, which may have effects")
        self.data.append((operator.itemgetter(0), ((*arguments, *options.values()),)))

    def descriptor(self, name: str, value: Any) -> None:
        """A method of a builtin class, as `str.upper`."""
        if own_name(value.__objclass__) is None and not _is_builtin(value.__objclass__):
            self.refuse(f"it uses {value!r}, whose code cannot be read")
        elif value.__name__ in pure.EFFECTS:
            self.refuse(f"it uses {value.__name__}, which has effects")
        self.parts.append(encode((value.__objclass__.__qualname__, value.__name__)))

    def remembering(self, name: str, value: Any) -> None:
        self.refuse(f"it calls {name}, which keeps results between calls")

    # ------------------------------------------------------------ classes

    def cls(self, c: type) -> None:
        """A class: its methods, constants and bases."""
        if not self.first(c):
            return
        if _is_builtin(c):
            self.parts.append(encode(c.__qualname__))
            return
        self.parts.append(b"class" + encode(c.__qualname__))
        self.watch(type, c, type(c))
        if type(c) is not type:
            self.callable(type(c).__name__, type(c))
        if isinstance(c, ABCMeta):
            self.registered(c)
        self.watch(functools.partial(getattr, c), "__bases__", c.__bases__)
        for base in c.__bases__:
            self.callable(base.__name__, base)
        self.watch(len, vars(c), len(vars(c)))
        if issubclass(c, enum.Enum):
            return self.enumeration(c)
        if "__dataclass_fields__" in vars(c):
            self.fields(vars(c)["__dataclass_fields__"])
        for name, value in sorted(vars(c).items()):
            if name not in _CLASS_BOOKKEEPING and not isinstance(value, _FIELD_ACCESS):
                self.member(name, value, vars(c))

    def registered(self, c: Any) -> None:
        """The classes that pass for subclasses of an abstract one."""
        found = registered(c)
        self.parts.append(encode(found))
        self.watch(registered, c, found)

    def fields(self, fields: dict[str, Any]) -> None:
        """The fields of a dataclass, which it gives to whoever asks for them."""
        for name, field in fields.items():
            flags = (field.init, field.repr, field.hash, field.compare, field.kw_only)
            self.parts.append(encode((name, *map(repr, flags))))
            if field.metadata:
                self.data.append((metadata, field))

    def member(self, name: str, value: Any, members: Any) -> None:
        """One entry of a class."""
        parts = _PARTS_OF_MEMBERS.get(type(value))
        if parts is None:
            return self.reach(name, members.__getitem__, name)
        self.parts.append(encode(name))
        self.watch(members.__getitem__, name, value)
        for part in parts:
            function = getattr(value, part)
            if function is not None:
                self.callable(name, function)

    def enumeration(self, c: Any) -> None:
        """An Enum class: its members in order, and the methods that its author wrote."""
        for name, member in c.__members__.items():
            self.parts.append(encode(name))
            self.data.append((held_by, member))
        for name, value in sorted(vars(c).items()):
            if name in _OF_ENUM or name in c.__members__ or isinstance(value, enum.property):
                continue
            if type(value) in (types.FunctionType, *_PARTS_OF_MEMBERS) or not _IS_SUNDER(name):
                self.member(name, value, vars(c))


CALLABLES: dict[type, Callable[[_Walk, str, Any], None]] = {
    types.FunctionType: _Walk.function,
    types.BuiltinFunctionType: _Walk.builtin,
    types.MethodType: _Walk.method,
    types.MethodDescriptorType: _Walk.descriptor,
    types.WrapperDescriptorType: _Walk.descriptor,
    types.ClassMethodDescriptorType: _Walk.descriptor,
    functools.partial: _Walk.partial,
    np.vectorize: _Walk.vectorize,
    operator.itemgetter: _Walk.getter,
    operator.attrgetter: _Walk.getter,
    operator.methodcaller: _Walk.getter,
    type(functools.lru_cache(len)): _Walk.remembering,
}
"""How to walk what can be called, by its type."""

_PARTS_OF_MEMBERS: dict[type, tuple[str, ...]] = {
    property: ("fget", "fset", "fdel"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    functools.cached_property: ("func",),
}
"""Members of classes that wrap functions, and the names under which these are found."""

MAKERS = frozenset(
    {"default_rng", "Generator", "RandomState", "SeedSequence", "BitGenerator"}
    | {"PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"}
)
"""Names of NumPy that make generators."""

_EVERYDAY_EFFECTS = frozenset({"setflags", "flags", "resize", "seed", "dump", "__setstate__"})
"""Methods of arrays and generators whose effects cannot be taken back, or not be seen."""

_CLASS_BOOKKEEPING = frozenset(
    {"__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__qualname__"}
    | {"__static_attributes__", "__annotations__", "__annotate__", "__annotate_func__"}
    | {"__annotations_cache__", "__orig_bases__", "__parameters__", "__abstractmethods__"}
    | {"__dataclass_fields__", "__dataclass_params__", "__match_args__", "_abc_impl"}
)
_OF_STAND_INS = frozenset(
    {"__wrapped__", "__name__", "__qualname__", "__module__", "__doc__", "__annotations__"}
    | {"__type_params__", "__annotate__", "cache_info", "cache_clear", "lineage"}
    | {"_reusable", "_calls", "_mean", "_plain", "_always", "_traced", "_twin"}
)
"""Attributes of functions that say nothing of what they do, or are lima's own."""

_OF_ENUM = frozenset({"__new__", "__new_member__", "_generate_next_value_"})
_IS_SUNDER = re.compile(r"_.*_").fullmatch
_FIELD_ACCESS = (
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    type(vars(namedtuple("_OneField", "x"))["x"]),
)
"""Descriptors that only read a field; its name is in `__slots__` or `_fields`."""


def is_code(x: Any) -> bool:
    """Whether `x` is a function, a class or anything else that is called rather than read."""
    if isinstance(x, type) or type(x) in CALLABLES or type(x) in BEHIND:
        return True
    return isinstance(x, np.ufunc) or (callable(x) and own_name(x) is not None)


def _is_builtin(c: type) -> bool:
    return getattr(builtins, c.__qualname__, None) is c or c in _UNNAMED


_UNNAMED = frozenset(vars(types)[n] for n in ("FunctionType", "MethodType", "NoneType"))


def _is_exception(x: Any) -> bool:
    return isinstance(x, type) and issubclass(x, BaseException)


def _is_wrapper_of_lima(f: Any) -> bool:
    """Twins of generators and drawing functions; what they do is seen while it happens."""
    scope = getattr(f, "__globals__", None)
    return scope is not None and scope.get("__name__") == "lima.twin"
