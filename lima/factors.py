"""Factorisations of traced sparse matrices: `splu(A).solve(b)` is an operation on `A` and `b`.

The object is lazy where it can be: if the cache has what is known of the factorisation of a matrix
(so it is not singular), and what it is asked for, the matrix is not factorised at all.
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

from lima.barriers import PLAIN, plain
from lima.forcing import force
from lima.handle import Handle, value_of
from lima.ops.of_factors import FACTORS, LIVE, MADE, PART, SOLVE, Live
from lima.ops.of_sparse import called
from lima.sparse_calls import OPAQUE, OWN, call_method, invoke, is_traced, parts_of

HOME = "scipy.sparse.linalg."


class Factor:
    """What `splu` gives of a traced matrix: its own copy of that, and the factorisation itself once
    it is needed."""

    def __init__(self, name: str, function: Any, arguments: dict[str, Any]) -> None:
        own = self.__dict__
        own.update(_name=name, _function=function, _live=None, _arguments=arguments, _parts={})
        own["_facts"] = self._invoke("", {})  # it may bring the matrix in order, as SciPy does
        matrix = call_method(arguments["A"], "copy", (), {})
        own["_arguments"] = {**arguments, "A": matrix}
        if own["_live"] is not None:
            self._keep(own["_live"].factor)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What `isinstance` sees: SciPy's class."""
        if self.__dict__["_name"].endswith("factorized"):
            return types.BuiltinFunctionType
        return sys.modules["scipy.sparse.linalg"].SuperLU

    def _invoke(self, end: str, more: dict[str, Any]) -> Any:
        own = self.__dict__
        box: list[Any] = []
        live, made = LIVE.set(own["_live"]), MADE.set(box)
        try:
            found = invoke(f"{own['_name']}{end}", own["_function"], {**own["_arguments"], **more})
        finally:
            LIVE.reset(live)
            MADE.reset(made)
        if box and own["_live"] is None:
            self._keep(box[-1])
        return found

    def _part(self, name: str) -> Any:
        """One of the two factors: the same each time it is asked for, as SciPy's."""
        known = self.__dict__["_parts"]
        if name not in known:
            known[name] = self._invoke(PART, {"part": name})
        return known[name]

    def _keep(self, factor: Any) -> None:
        own = self.__dict__
        arrays = [force(value_of(a)) if isinstance(a, Handle) else a
                  for a in parts_of(own["_arguments"]["A"]).arrays]  # fmt: skip
        how = {key: value for key, value in own["_arguments"].items() if key != "A"}
        own["_live"] = Live(factor, tuple(arrays), how)

    def made(self) -> Any:
        """SciPy's own object."""
        own = self.__dict__
        if own["_live"] is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they were given when it was first factorised
                self._keep(called(own["_function"], **plain(own["_arguments"])))
        return own["_live"].factor

    def __call__(self, b: Any) -> Any:
        if not self.__dict__["_name"].endswith("factorized"):
            return self.made()(b)  # which raises
        return self._invoke(SOLVE, {"rhs": b})

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if own["_name"].endswith("factorized") or name not in _OF_FACTORS:
            return getattr(self.made(), name)
        return _OF_FACTORS[name](self)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.made(), name, plain(value))

    def __repr__(self) -> str:
        return repr(self.made())


def _solver(self: Factor) -> Any:
    def solve(rhs: Any, trans: str = "N") -> Any:
        return self._invoke(SOLVE, {"rhs": rhs} | ({"trans": trans} if trans != "N" else {}))

    return solve


_OF_FACTORS: dict[str, Callable[[Factor], Any]] = {
    "solve": _solver,
    "L": lambda self: self._part("L"),
    "U": lambda self: self._part("U"),
    "perm_c": lambda self: self.__dict__["_facts"][0],
    "perm_r": lambda self: self.__dict__["_facts"][1],
    "nnz": lambda self: self.__dict__["_facts"][2],
    "shape": lambda self: self.__dict__["_arguments"]["A"].shape,
}
"""What the object has, from the operations that give it."""


def _own(name: str) -> Any:
    def make(function: Any, arguments: dict[str, Any]) -> Any:
        fits = is_traced(arguments["A"]) and arguments["A"].format in ("csc", "csr")
        how = [value for key, value in arguments.items() if key != "A"]
        plain_how = all(isinstance(v, (int, float, str, dict, type(None))) for v in how)
        return Factor(name, function, arguments) if fits and plain_how else None

    return make


for _name in FACTORS.split():
    OWN[HOME + _name] = _own(HOME + _name)
PLAIN[Factor] = Factor.made
OPAQUE.add(Factor)
