"""Digests of Python functions: bytecode, constants, closures, used globals, called functions.

A call may be reused as a whole only if all that its code can reach is known: builtins without
effects, NumPy and SciPy, other functions (followed transitively) and data with an encoding. The
world is closed: what is not listed makes the function not reusable at this level (decision D7);
its operations still are.
"""

from __future__ import annotations

import builtins
import dis
import functools
import types
from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from xxhash import xxh3_128_digest

from lima.errors import NotCanonical
from lima.node import encode

PURE_BUILTINS = frozenset(
    [
        "abs",
        "all",
        "any",
        "bin",
        "bool",
        "bytes",
        "callable",
        "chr",
        "complex",
        "dict",
        "divmod",
        "enumerate",
        "filter",
        "float",
        "format",
        "frozenset",
        "getattr",
        "hasattr",
        "hex",
        "int",
        "isinstance",
        "issubclass",
        "iter",
        "len",
        "list",
        "map",
        "max",
        "min",
        "next",
        "oct",
        "ord",
        "pow",
        "property",
        "range",
        "repr",
        "reversed",
        "round",
        "set",
        "setattr",
        "slice",
        "sorted",
        "staticmethod",
        "str",
        "sum",
        "super",
        "classmethod",
        "tuple",
        "type",
        "zip",
        "object",
        "NotImplemented",
        "Ellipsis",
        "__build_class__",
        "__new__",
        "__name__",
    ]
)
"""Builtins that neither read nor change anything outside of their arguments."""

PURE_MODULES = frozenset(
    [
        "numpy",
        "scipy",
        "lima",
        "math",
        "cmath",
        "itertools",
        "functools",
        "operator",
        "collections",
        "dataclasses",
        "typing",
        "statistics",
        "enum",
        "abc",
        "fractions",
        "decimal",
        "string",
        "re",
        "copy",
    ]
)
"""Top-level modules whose functions a reusable call may use."""

EFFECTS = frozenset(
    [
        "load",
        "save",
        "savez",
        "savez_compressed",
        "savetxt",
        "loadtxt",
        "genfromtxt",
        "fromfile",
        "fromregex",
        "memmap",
        "open_memmap",
        "tofile",
        "dump",
        "seterr",
        "seterrcall",
        "setbufsize",
        "set_printoptions",
        "printoptions",
        "DataSource",
        "test",
        "read",
        "save_log",
        "configure",
        "loadmat",
        "savemat",
        "mmread",
        "mmwrite",
    ]
)
"""Names of NumPy, SciPy and lima functions with effects, or that read files."""


class NotReusable(Exception):
    """The code reaches something that a hit could not stand for; the message says what."""


class CodeDigest:
    """The digest of one function, renewed when something it reaches is replaced.

    The walk is done once; afterwards only the identity of what the names mean is compared, and
    data (arrays, lists, ...) is encoded again, since it can change in place.
    """

    def __init__(self, function: Callable[..., Any], version: str | None = None) -> None:
        self.function = function
        self.version = version
        self._watched: list[tuple[Callable[[], Any], Any]] = []
        self._data: list[Callable[[], Any]] = []
        self._static: bytes | None = None

    def __call__(self) -> bytes:
        """16 bytes; raises NotReusable."""
        if self._static is None or any(get() is not was for get, was in self._watched):
            walk = _Walk()
            walk.function(self.function)
            self._watched, self._data = walk.watched, walk.data
            self._static = xxh3_128_digest(b"".join(walk.parts) + encode(self.version))
        if not self._data:
            return self._static
        try:
            return xxh3_128_digest(self._static + b"".join(encode(get()) for get in self._data))
        except NotCanonical as error:
            raise NotReusable(f"data that it uses: {error}") from None


def class_digest(kind: type) -> bytes:
    """16 bytes for a class: its methods, constants and bases; raises NotReusable."""
    walk = _Walk()
    walk.cls(kind)
    return xxh3_128_digest(b"".join(walk.parts))


class _Walk:
    """One pass over everything that a function reaches."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.watched: list[tuple[Callable[[], Any], Any]] = []
        self.data: list[Callable[[], Any]] = []
        self.seen: dict[int, int] = {}
        self.alive: list[Any] = []

    def function(self, f: Any) -> None:
        f = getattr(f, "__wrapped__", f)
        if not self._first(f):
            return
        if not isinstance(f, types.FunctionType):
            raise NotReusable(f"it calls {f!r}, whose code cannot be read")
        self.parts.append(b"function")
        self.value(f.__name__, f.__defaults__)
        self.value(f.__name__, f.__kwdefaults__)
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                raise NotReusable(f"the closure variable {name!r} is empty") from None
            self._reach(name, value, functools.partial(getattr, cell, "cell_contents"))
        self.code(f.__code__, f.__globals__)

    def _first(self, x: Any) -> bool:
        """False, with a back reference written, for what was walked before."""
        known = self.seen.get(id(x))
        if known is not None:
            self.parts.append(b"see" + encode(known))
            return False
        self.seen[id(x)] = len(self.seen)
        self.alive.append(x)
        return True

    def code(self, code: types.CodeType, scope: dict[str, Any]) -> None:
        self.parts.append(encode(code.co_code))
        self.parts.append(encode((code.co_names, code.co_varnames, code.co_flags)))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.code(constant, scope)
            elif isinstance(constant, frozenset):
                self.parts.append(b"".join(sorted(map(encode, constant))))
            else:
                self.value("a constant", constant)
        for name, attributes in _globals(code):
            self.name(name, attributes, scope)

    def name(self, name: str, attributes: list[str], scope: dict[str, Any]) -> None:
        if name in scope:
            self._reach(name, scope[name], functools.partial(scope.get, name), attributes)
            return
        builtin = getattr(builtins, name, None)
        if name in PURE_BUILTINS or (
            isinstance(builtin, type) and issubclass(builtin, BaseException)
        ):
            self.watched.append((functools.partial(scope.get, name), None))
            return
        raise NotReusable(
            f"it uses the builtin {name}, which may have effects"
            if builtin is not None
            else f"the global {name!r} is not defined"
        )

    def _reach(
        self, name: str, value: Any, get: Callable[[], Any], attributes: list[str] | None = None
    ) -> None:
        self.parts.append(encode(name))
        if isinstance(value, types.ModuleType):
            self.watched.append((get, value))
            self.module(value, attributes or [])
        elif _is_code(value):
            self.watched.append((get, value))
            self.callable(name, value)
        else:
            self.value(name, value)
            if not isinstance(value, (int, float, complex, str, bytes, type(None))):
                self.data.append(get)
            self.watched.append((get, value))

    def module(self, module: types.ModuleType, attributes: list[str]) -> None:
        path = module.__name__
        for k, attribute in enumerate(attributes):
            if attribute in EFFECTS and path.partition(".")[0] in PURE_MODULES:
                raise NotReusable(f"it uses {path}.{attribute}, which has effects or reads files")
            found = getattr(module, attribute, None)
            if isinstance(found, types.ModuleType):
                return self.module(found, attributes[k + 1 :])
            if path.partition(".")[0] not in PURE_MODULES:
                get = functools.partial(getattr, module, attribute, None)
                return self._reach(attribute, found, get)
            break
        if path.partition(".")[0] not in PURE_MODULES:
            raise NotReusable(f"it uses the module {path}, whose effects are not known")
        self.parts.append(encode((path, str(getattr(module, "__version__", "")))))

    def callable(self, name: str, value: Any) -> None:
        home = str(getattr(value, "__module__", None) or type(value).__module__)
        if home.partition(".")[0] in PURE_MODULES and not hasattr(value, "__wrapped__"):
            if getattr(value, "__name__", "") in EFFECTS:
                raise NotReusable(f"it uses {home}.{value.__name__}, which has effects")
            self.parts.append(encode((home, str(getattr(value, "__qualname__", name)))))
        elif isinstance(value, type):
            self.cls(value)
        elif isinstance(value, (staticmethod, classmethod)):
            self.function(value.__func__)
        elif isinstance(value, types.MethodType):
            raise NotReusable(f"{name} is a bound method, whose object may change")
        elif isinstance(value, types.BuiltinFunctionType) and home == "builtins":
            if value.__name__ not in PURE_BUILTINS:
                raise NotReusable(f"it uses the builtin {value.__name__}, which may have effects")
            self.parts.append(encode(value.__name__))
        else:
            self.function(value)

    def cls(self, c: type) -> None:
        if not self._first(c):
            return
        if c.__module__ == "builtins":
            self.parts.append(encode(c.__qualname__))
            return
        self.parts.append(b"class" + encode(c.__qualname__))
        for base in c.__bases__:
            self.callable(base.__name__, base)
        for name, value in sorted(vars(c).items()):
            if name in _CLASS_BOOKKEEPING:
                continue
            self.parts.append(encode(name))
            if isinstance(value, property):
                for part in (value.fget, value.fset, value.fdel):
                    if part is not None:
                        self.function(part)
            elif _is_code(value):
                self.watched.append((functools.partial(vars(c).get, name), value))
                self.callable(name, value)
            elif not isinstance(value, _FIELD_ACCESS):
                self.value(name, value)

    def value(self, name: str, value: Any) -> None:
        try:
            self.parts.append(encode(value))
        except NotCanonical as error:
            raise NotReusable(f"{name} is data that cannot be digested: {error}") from None


_CLASS_BOOKKEEPING = frozenset(
    [
        "__module__",
        "__dict__",
        "__weakref__",
        "__doc__",
        "__firstlineno__",
        "__static_attributes__",
        "__qualname__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__orig_bases__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__match_args__",
        "__abstractmethods__",
        "_abc_impl",
        "__parameters__",
    ]
)


_FIELD_ACCESS = (
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    type(namedtuple("_OneField", "x").x),
)
"""Descriptors that only read a field; its name is in `__slots__` or `_fields`."""


def _is_code(x: Any) -> bool:
    return isinstance(x, (type, staticmethod, classmethod)) or (
        callable(x) and not isinstance(x, np.dtype)
    )


def _globals(code: types.CodeType) -> Iterator[tuple[str, list[str]]]:
    """Each use of a global name with the attributes read off it at once (`np.linalg.solve`)."""
    name: str | None = None
    chain: list[str] = []
    for step in dis.get_instructions(code):
        opcode = step.opname
        if name is not None and opcode in ("LOAD_ATTR", "LOAD_METHOD"):
            chain.append(str(step.argval))
            continue
        if opcode in ("CACHE", "PUSH_NULL", "PRECALL", "NOP", "EXTENDED_ARG"):
            continue
        if name is not None:
            yield name, chain
            name, chain = None, []
        if opcode in ("LOAD_GLOBAL", "LOAD_NAME"):
            name = str(step.argval)
        elif opcode in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            raise NotReusable(f"it assigns the global {step.argval!r}")
        elif opcode == "IMPORT_NAME":
            if str(step.argval).partition(".")[0] not in PURE_MODULES:
                raise NotReusable(f"it imports {step.argval}")
    if name is not None:
        yield name, chain
