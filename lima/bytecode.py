"""What a code object says by itself: its bytes, the names it looks up, why it cannot be reused."""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from lima.homes import is_pure_home
from lima.node import encode


class NotReusable(Exception):
    """The code reaches something that a hit could not stand for; the message says what."""


class Facts(NamedTuple):
    """What one code object says by itself, the code nested in it included.

    text     bytes that equal code shares, wherever it stands: no line numbers, names or docstrings
    globals  names that are looked up, with the attributes read off them at once
    names    every name and text that it mentions
    refusal  why no call of it can be reused
    """

    text: bytes
    globals: tuple[tuple[str, tuple[str, ...]], ...]
    names: frozenset[str]
    refusal: str | None


@functools.lru_cache(maxsize=4096)
def facts_of(code: types.CodeType) -> Facts:
    """The facts of a code object; it is read once."""
    steps = list(dis.get_instructions(code))
    refusal = None
    uses: dict[tuple[str, tuple[str, ...]], None] = {}
    try:
        uses.update(dict.fromkeys(_uses(steps)))
    except NotReusable as why:
        refusal = str(why)
    names = set(code.co_names)
    arguments = code.co_argcount + code.co_kwonlyargcount
    parts = [
        code.co_code,
        code.co_exceptiontable,
        encode((code.co_names, code.co_varnames[:arguments], code.co_freevars)),
        encode((code.co_flags & ~_HAS_DOCSTRING, code.co_argcount, code.co_posonlyargcount)),
        encode((code.co_kwonlyargcount, len(code.co_cellvars))),
    ]
    for constant in _constants(code, steps):
        if isinstance(constant, types.CodeType):
            inner = facts_of(constant)
            parts.append(inner.text)
            uses.update(dict.fromkeys(inner.globals))
            names |= inner.names
            refusal = refusal or inner.refusal
        else:
            parts.append(_constant(constant))
            names |= {constant} if isinstance(constant, str) else set()
    text = b"".join(encode(part) for part in parts)
    return Facts(text, tuple(uses), frozenset(names), refusal)


def _constants(code: types.CodeType, steps: list[dis.Instruction]) -> Iterator[Any]:
    """The constants that the code loads: not a docstring."""
    loaded = {step.arg for step in steps if step.opcode in dis.hasconst}
    for k, constant in enumerate(code.co_consts):
        if k or not isinstance(constant, str) or k in loaded:
            yield constant


def _constant(x: Any) -> bytes:
    if isinstance(x, frozenset):
        return b"frozenset" + b"".join(sorted(map(_constant, x)))
    if isinstance(x, tuple):
        return b"(" + b"".join(map(_constant, x)) + b")"
    return encode(x)


_HAS_DOCSTRING = 0x4000000
_SILENT = frozenset({"CACHE", "PUSH_NULL", "PRECALL", "NOP", "EXTENDED_ARG", "RESUME"})
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_WRITES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_ATTRIBUTE_WRITES = frozenset({"STORE_ATTR", "DELETE_ATTR"})


def _uses(steps: list[dis.Instruction]) -> Iterator[tuple[str, tuple[str, ...]]]:
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
