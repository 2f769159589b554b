"""What a code object says by itself: its bytes, the names it looks up, why it cannot be reused."""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import types
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

from xxhash import xxh3_128_digest

from lima.homes import is_pure_home
from lima.node import encode


class NotReusable(Exception):
    """The code reaches something that a hit could not stand for; the message says what."""


class Facts(NamedTuple):
    """What one code object says by itself, the code nested in it included.

    text     16 bytes that equal code shares, wherever it stands and whatever its comments say
    globals  names that are looked up, with the attributes read off them at once
    names    every name and text that it mentions
    refusal  why no call of it can be reused
    hashed   whether what it does may depend on hashes, which differ from process to process
    idle     parameters that its own instructions never look at
    assigns  variables of functions around it that it assigns
    stores   whether it sets attributes, of whatever
    """

    text: bytes
    globals: tuple[tuple[str, tuple[str, ...]], ...]
    names: frozenset[str]
    refusal: str | None
    hashed: bool
    idle: frozenset[str]
    assigns: frozenset[str]
    stores: bool


class Step(NamedTuple):
    """An instruction; `argval` is the name or the constant that its argument stands for."""

    opname: str
    opcode: int
    arg: int | None
    argval: Any


def steps_of(code: types.CodeType) -> list[Step]:
    """The instructions of a code object, without those that only lengthen arguments.

    As `dis` gives them, which takes three times as long: it also tells lines and goals of jumps.
    """
    if sys.version_info[:2] not in READ:
        found = [s for s in dis.get_instructions(code) if s.opname != "EXTENDED_ARG"]
        return [Step(s.opname, s.opcode, s.arg, s.argval) for s in found]
    raw, table, name_of = code.co_code, _table(), code._varname_from_oparg  # type: ignore[attr-defined]
    steps = []
    high = 0
    for k in range(0, len(raw), 2):
        opcode = raw[k]
        if not opcode:  # room that the interpreter keeps notes in
            continue
        name, kind, shift = table[opcode]
        if kind == _BARE:
            steps.append(Step(name, opcode, None, None))
            high = 0
            continue
        arg = raw[k + 1] | high
        if kind == _LONGER:
            high = arg << 8
            continue
        high = 0
        value: Any = arg
        if kind == _NAMED:
            value = code.co_names[arg >> shift]
        elif kind == _LOADED:
            value = code.co_consts[arg]
        elif kind == _LOCAL:
            value = name_of(arg)
        elif kind == _LOCALS:
            value = name_of(arg >> 4), name_of(arg & 15)
        steps.append(Step(name, opcode, arg, value))
    return steps


READ = frozenset({(3, 11), (3, 12), (3, 13), (3, 14)})
"""Versions of Python whose instructions are read here; a test compares them with `dis`."""

_BARE, _LONGER, _NAMED, _LOADED, _LOCAL, _LOCALS, _OTHER = range(7)
_SHIFTS = {"LOAD_GLOBAL": 1, "LOAD_ATTR": 1, "LOAD_SUPER_ATTR": 2}
"""Bits of an argument that say something else than the name."""


@functools.cache
def _table() -> list[tuple[str, int, int]]:
    """Name, kind of argument and shift of each instruction."""
    kinds = dict.fromkeys(dis.hasname, _NAMED) | dict.fromkeys(dis.hasconst, _LOADED)
    kinds |= dict.fromkeys((*dis.haslocal, *dis.hasfree), _LOCAL)
    made = []
    for opcode, name in enumerate(dis.opname):
        takes = opcode in dis.hasarg if hasattr(dis, "hasarg") else opcode >= dis.HAVE_ARGUMENT
        kind = kinds.get(opcode, _OTHER) if takes else _BARE
        if name == "EXTENDED_ARG":
            kind = _LONGER
        elif kind == _LOCAL and name.count("FAST") > 1:
            kind = _LOCALS
        shift = _SHIFTS.get(name, 0)
        if name == "LOAD_ATTR" and sys.version_info < (3, 12):
            shift = 0
        made.append((name, kind, shift))
    return made


@functools.lru_cache(maxsize=4096)
def facts_of(code: types.CodeType) -> Facts:
    """The facts of a code object; it is read once."""
    steps = steps_of(code)
    refusal = None
    uses: dict[tuple[str, tuple[str, ...]], None] = {}
    try:
        uses.update(dict.fromkeys(_uses(steps)))
    except NotReusable as why:
        refusal = str(why)
    names = set(code.co_names)
    hashed = _hashes(steps) or not _HASHES.isdisjoint(names)
    stores = not _SETTERS.isdisjoint(names) or any(s.opname in _ATTRIBUTE_WRITES for s in steps)
    assigns = {str(step.argval) for step in steps if step.opname in _CELL_WRITES}
    arguments = code.co_argcount + code.co_kwonlyargcount
    flags = code.co_flags & ~_HAS_DOCSTRING
    head = (flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    parts = [
        encode((*head, len(code.co_cellvars), code.co_freevars, code.co_names)),
        encode((code.co_varnames[:arguments], code.co_exceptiontable)),
    ]
    for constant in _spelled(code, steps, parts):
        if isinstance(constant, types.CodeType):
            inner = facts_of(constant)
            parts.append(inner.text)
            uses.update(dict.fromkeys(inner.globals))
            names |= inner.names
            refusal = refusal or inner.refusal
            hashed = hashed or inner.hashed
            stores = stores or inner.stores
            assigns |= inner.assigns
        else:
            parts.append(_constant(constant))
            names.update(_texts(constant))
    text = xxh3_128_digest(b"".join(parts))
    idle = _idle(code, steps)
    outside = frozenset(assigns.intersection(code.co_freevars))
    return Facts(text, tuple(uses), frozenset(names), refusal, hashed, idle, outside, stores)


def _idle(code: types.CodeType, steps: list[Step]) -> frozenset[str]:
    """The parameters that the instructions take and never look at."""
    if code.co_flags & _IS_GENERATOR:
        return frozenset()
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    idle = set(code.co_varnames[:count])
    for step in steps:
        if step.opcode in _OF_LOCALS:
            idle.difference_update(step.argval if type(step.argval) is tuple else (step.argval,))
            if type(step.argval) not in (str, tuple):
                return frozenset()
    return frozenset(idle)


def idle_parameters(code: types.CodeType) -> frozenset[str]:
    """The parameters that a function takes and never looks at, such as `tol` of a direct solver."""
    facts = facts_of(code)
    return frozenset() if facts.names & _SEES_LOCALS else facts.idle


_OF_LOCALS = frozenset((*dis.haslocal, *dis.hasfree))
_SEES_LOCALS = frozenset(
    {"locals", "vars", "dir", "eval", "exec", "super", "_getframe", "currentframe", "breakpoint"}
)
_IS_GENERATOR = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _spelled(code: types.CodeType, steps: list[Step], parts: list[bytes]) -> Iterator[Any]:
    """Write the instructions; gives each constant where it is loaded, then those that are not.

    The first constant counts only if it is loaded: it may be the docstring.
    """
    loaded = {0}
    for step in steps:
        if step.opname in _CONSTANTS:
            parts.append(encode(step.opcode))
            loaded.add(step.arg or 0)
            yield code.co_consts[step.arg or 0]
        else:
            parts.append(_step(step.opcode, step.arg))
    yield from (x for k, x in enumerate(code.co_consts) if k not in loaded)


@functools.lru_cache(maxsize=4096)
def _step(opcode: int, argument: int | None) -> bytes:
    return encode((opcode, argument))


def _texts(x: Any) -> Iterator[str]:
    """The text in a constant, as that of `["mean", "sample"]`."""
    if isinstance(x, str):
        yield x
    elif isinstance(x, (tuple, frozenset)):
        for item in x:
            yield from _texts(item)


def _constant(x: Any) -> bytes:
    if isinstance(x, frozenset):
        return b"frozenset" + b"".join(sorted(map(_constant, x)))
    if isinstance(x, tuple):
        return b"(" + b"".join(map(_constant, x)) + b")"
    return encode(x)


_HASHES = frozenset({"set", "frozenset", "hash", "__hash__"})
_SETS = frozenset({"BUILD_SET", "SET_ADD", "SET_UPDATE"})
_VIEWS = frozenset({"keys", "items"})


@functools.cache
def _algebra() -> frozenset[int | None]:
    """What tells operators that are also those of sets."""
    texts = [f"a {sign}{end} b" for sign in "&|^-" for end in ("", "=")]
    steps = [step for text in texts for step in steps_of(compile(text, "", "exec"))]
    return frozenset(step.arg for step in steps if step.opname == "BINARY_OP")


def _hashes(steps: list[Step]) -> bool:
    """Whether sets are made or gone through, whose order depends on the hashes of what they hold.

    That are set displays, sets among the constants that are used for more than `in`, and the views
    of a dict where they may be operands (`a.keys() & b.keys()`) and not only gone through.
    """
    views = algebra = False
    for step, after in zip_longest(steps, steps[1:]):
        constant = step.opname in _CONSTANTS and _holds_set(step.argval)
        if step.opname in _SETS or (constant and (not after or after.opname != "CONTAINS_OP")):
            return True
        algebra = algebra or (step.opname == "BINARY_OP" and step.arg in _algebra())
        views = views or (step.argval in _VIEWS and not _is_gone_through(step, steps))
    return views and algebra


def _holds_set(x: Any) -> bool:
    return isinstance(x, frozenset) or (isinstance(x, tuple) and any(map(_holds_set, x)))


def _is_gone_through(step: Step, steps: list[Step]) -> bool:
    """Whether a method is called at once, and what it gives is gone through or handed on."""
    if step.opname not in _ATTRIBUTES:
        return False
    k = next(k for k, other in enumerate(steps) if other is step)
    rest = [other for other in steps[k + 1 : k + 8] if other.opname not in _SILENT][:2]
    names = [other.opname for other in rest]
    return len(names) == 2 and names[0] == "CALL" and names[1] in ("GET_ITER", "CALL")


_HAS_DOCSTRING = 0x4000000
_SILENT = frozenset({"CACHE", "PUSH_NULL", "PRECALL", "NOP", "EXTENDED_ARG", "RESUME"})
_CONSTANTS = frozenset({"LOAD_CONST", "RETURN_CONST", "KW_NAMES"})
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_WRITES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_CELL_WRITES = frozenset({"STORE_DEREF", "DELETE_DEREF"})
_SETTERS = frozenset({"setattr", "delattr", "__setattr__", "__delattr__", "__dict__", "vars"})
_ATTRIBUTE_WRITES = frozenset({"STORE_ATTR", "DELETE_ATTR"})


def _uses(steps: list[Step]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each use of a global name with the attributes read off it at once (`np.linalg.solve`)."""
    name: str | None = None
    chain: list[str] = []
    for k, step in enumerate(steps):
        opcode = step.opname
        if name is not None and opcode in _ATTRIBUTES:
            chain.append(str(step.argval))
            continue
        if opcode in _SILENT:
            continue
        if name is not None:
            yield name, (*chain, f"{step.argval} =") if opcode in _ATTRIBUTE_WRITES else (*chain,)
            name, chain = None, []
        if opcode in _LOADS:
            name = str(step.argval)
        elif opcode in _WRITES:
            raise NotReusable(f"it assigns the global {step.argval!r}")
        elif opcode == "IMPORT_NAME":
            _check_import(str(step.argval), [s.argval for s in steps[max(0, k - 2) : k]])
    if name is not None:
        yield name, tuple(chain)


def _check_import(path: str, before: list[Any]) -> None:
    """An import inside a function: of listed modules, and not of NumPy, which has no twin then."""
    top = path.partition(".")[0]
    relative = not before or before[0] != 0
    if relative or top in ("numpy", "scipy", "lima") or not is_pure_home(top):
        raise NotReusable(f"it imports {path or 'a module'} while it runs")
