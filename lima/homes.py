"""Where functions and modules come from, and why using one of them is not harmless (D7)."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import types
from typing import Any

import numpy as np

from lima import pure
from lima.walk import written_in_python


@functools.lru_cache(maxsize=1024)
def is_pure_home(path: str) -> bool:
    """Whether a module is a listed one, and not a file of the user's with the same name."""
    top = path.partition(".")[0]
    if top not in pure.MODULES:
        return False
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None)
    return top in ("numpy", "scipy", "lima") or not file or str(file).startswith(_libraries())


@functools.cache
def _libraries() -> tuple[str, ...]:
    """The folders of Python's own modules; `sysconfig` needs 2 ms to say the same."""
    file = getattr(os, "__file__", None)
    if file:
        compiled = f"python{sys.version_info.major}.{sys.version_info.minor}"
        compiled = os.path.join(sys.base_exec_prefix, sys.platlibdir, compiled)
        return os.path.dirname(file) + os.sep, compiled + os.sep
    return sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")


def _home_of(x: Any) -> str:
    home = getattr(x, "__module__", None)
    return home if isinstance(home, str) else ""


def own_name(x: Any) -> tuple[str, str] | None:
    """Module and name under which a listed module itself holds `x`; None for anything else.

    An object that merely says it comes from there (a partial, a fitted interpolation) is not it.
    """
    home = _home_of(x)
    name = str(getattr(x, "__qualname__", None) or getattr(x, "__name__", ""))
    if isinstance(x, np.ufunc):
        homes: tuple[str, ...] = (home, "numpy", "scipy.special")
    else:
        homes = (home,)
    if home.startswith("scipy.stats."):  # distributions are objects, which have no such names
        label, stats = getattr(x, "name", None), sys.modules.get("scipy.stats")
        if type(label) is str and getattr(stats, label, None) is x:
            return "scipy.stats", label
    for path in homes:
        found = sys.modules.get(path)
        if found is None or not is_pure_home(path):
            continue
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is x:
            return path, name
    return None


def is_marker(x: Any) -> bool:
    """Whether `x` is an object without content of a listed module, as `dataclasses.MISSING`."""
    kind = type(x)
    return (
        kind.__mro__[1:] == (object,)
        and written_in_python(kind)
        and not getattr(x, "__dict__", None)
        and own_name(kind) is not None
    )


def own_refusal(path: str, name: str) -> str | None:
    """Why a function of a listed module, imported by its name, is not harmless after all."""
    top = path.partition(".")[0]
    if name in pure.MODULE_EFFECTS:
        return f"{path}.{name}, which has effects or reads settings"
    if path.startswith("numpy.random"):
        return f"{path}.{name} in a module that is not traced"
    if top == "lima" and path != "lima.twin" and name not in pure.LIMA:
        return f"lima.{name}, which depends on the session"
    if top == "scipy" and not pure.SCIPY_PARTS & set(path.split(".")):
        return f"{path}.{name}, which may read files or draw random numbers"
    return None


def module_refusal(
    module: types.ModuleType, chain: tuple[str, ...], names: frozenset[str], traced: bool
) -> str | None:
    """Why reading `chain` off a listed module is not harmless."""
    path = module.__name__
    top = path.partition(".")[0]
    spelled = ".".join((path, *chain))
    if chain and chain[-1].endswith(" ="):
        return f"{spelled} ..., an assignment"
    if not chain:  # it may be passed on, and anything read off it later
        mentioned = names & (pure.MODULE_EFFECTS if traced else pure.MODULE_EFFECTS | {"random"})
        if mentioned or (not traced and names & pure.GETTERS):
            return f"{path} in a way that cannot be followed"
        return None
    if set(chain) & pure.MODULE_EFFECTS:
        return f"{spelled}, which has effects or reads files or settings"
    if top == "numpy" and not traced and "random" in (*path.split("."), *chain):
        return f"{spelled} in a module that is not traced"
    if top == "lima" and chain[0] not in pure.LIMA:
        return f"{spelled}, which depends on the session"
    return _part_refusal(module, chain, spelled)


_PARTS = {"numpy": pure.NUMPY_PARTS, "scipy": pure.SCIPY_PARTS}


def _part_refusal(module: Any, chain: tuple[str, ...], spelled: str) -> str | None:
    """Why a submodule that `chain` leads through may not be used."""
    top = module.__name__.partition(".")[0]
    allowed = _PARTS.get(top)
    if allowed is None:
        return None
    parts = module.__name__.split(".")[1:]
    for attribute in chain:
        module = getattr(module, attribute, None)
        if not isinstance(module, types.ModuleType):
            break
        parts.append(attribute)
    unknown = [part for part in parts if part not in allowed and not part.startswith("_")]
    return f"{spelled}, which may read files or draw random numbers" if unknown else None
