"""Rows of SciPy, added when a program or a log first names the module they belong to.

`import lima` does not import SciPy. Rows are named as SciPy names the function; what may be
overwritten, or how many workers compute, is no part of them.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from threading import RLock
from typing import Any

import numpy as np

from lima.op import CALLS, OPS, Op, op
from lima.ops import of_factors, of_sparse, reach, reach_axes, reach_matrices
from lima.ops.bordered import GROWN
from lima.ops.called import CALL, CALLED
from lima.ops.dual import DUAL
from lima.ops.ridge import PATH
from lima.ops.sides import SIDES
from lima.ops.solving import SOLVING
from lima.ops.spelling import packed, permitting, written

CUBIC = {"growth": 1.5, "weight": 4.0}


def _rows(module: Any, names: str, **facts: Any) -> None:
    """The rows of functions that differ in nothing but name and kernel."""
    for name in names.split():
        function = getattr(module, name, None)
        if function is not None:  # a later SciPy may lack it
            row = op(f"{module.__name__}.{name}", function, **facts)
            if any(p in row.params for p in ("overwrite_a", "overwrite_b", "overwrite_x")):
                permitting(function)


def _linalg(linalg: Any) -> None:
    sides: dict[str, Any] = {"operands": "a b", "reach": reach_matrices.solution, **CUBIC}
    _rows(linalg, "solve", rules=(SIDES, DUAL, SOLVING, PATH), **sides)
    _rows(linalg, "solve_triangular", **sides)
    for names, form in (("inv", "mn"), ("det", ""), ("svdvals", "k")):
        _rows(linalg, names, operands="a", reach=reach_matrices.matrices(form), **CUBIC)
    _rows(linalg, "expm sqrtm logm cosm sinm null_space orth", operands="A", **CUBIC)
    _rows(linalg, "eigvals eigvalsh norm", operands="a", **CUBIC)
    _rows(linalg, "cholesky", operands="a", rules=(GROWN,), **CUBIC)
    # One array or several, as the parameters say.
    _rows(
        linalg,
        "svd eig eigh qr lu lu_factor cho_factor schur hessenberg polar pinv",
        operands="a",
        wrap=tuple,
        **CUBIC,
    )
    _rows(linalg, "lstsq", operands="a b", wrap=tuple, **CUBIC)
    # What they solve with is a tuple of an array and how to read it.
    _rows(linalg, "lu_solve", operands="", signature=_names("lu_and_piv, b, trans=0"), **CUBIC)
    _rows(linalg, "cho_solve", operands="", signature=_names("c_and_lower, b"), **CUBIC)
    _rows(linalg, "solve_sylvester", operands="a b q", **CUBIC)
    _rows(linalg, "toeplitz hankel circulant", operands="c")
    op(
        "scipy.linalg.block_diag",
        lambda arrays: linalg.block_diag(*arrays),
        operands="arrays",
        calls=(),
        variadic=True,
        source=written("scipy.linalg.block_diag"),
    )
    packed(linalg.block_diag, "scipy.linalg.block_diag")


def _names(text: str) -> str:
    return f"{text}, overwrite_b=False, check_finite=True"


def _special(special: Any) -> None:
    for name, function in vars(special).items():
        ufunc = inspect.unwrap(function) if callable(function) else None
        if not isinstance(ufunc, np.ufunc) or ufunc.signature:
            continue
        if ufunc not in CALLS:
            operands = " ".join(f"x{k}" for k in range(ufunc.nin))
            op(
                f"scipy.special.{name}",
                ufunc,
                operands=operands,
                params={"out": None, "where": True, "casting": "same_kind", "dtype": None},
                wrap=tuple if ufunc.nout > 1 else None,
                weight=16.0,
            )
        CALLS.setdefault(function, CALLS[ufunc])  # a function with SCIPY_ARRAY_API=1
    _rows(special, "logsumexp", operands="a", wrap=tuple, weight=32.0, reach=reach.reduced)
    _rows(special, "softmax log_softmax", operands="x", weight=32.0, reach=reach_axes.normalized)


def _fft(fft: Any) -> None:
    _rows(
        fft,
        "fft ifft rfft irfft hfft ihfft fft2 ifft2 rfft2 irfft2 fftn ifftn rfftn irfftn"
        " dct idct dst idst dctn idctn dstn idstn",
        operands="x",
        weight=16.0,
    )


def _distance(distance: Any) -> None:
    more = "metric='euclidean', out=None, p=MISSING, V=MISSING, VI=MISSING, w=MISSING"
    cdist = {"signature": f"XA, XB, {more}", "reach": reach_axes.distances}
    _rows(distance, "cdist", operands="XA XB", growth=2.0, **cdist)
    _rows(distance, "pdist", operands="X", signature=f"X, {more}", growth=2.0)
    _rows(distance, "squareform", operands="X")


DENSITIES = "pdf logpdf pmf logpmf cdf logcdf sf logsf ppf isf".split()
"""Methods of distributions that are functions of their arguments alone."""

UNSTEADY = frozenset({"levy_stable"})
"""Distributions whose densities depend on settings of the distribution."""


def _stats(stats: Any) -> None:
    normal = stats.multivariate_normal
    more = "mean=None, cov=1, allow_singular=False"
    for method in ("pdf", "logpdf"):
        op(
            f"scipy.stats.multivariate_normal.{method}",
            getattr(normal, method),
            operands="x",
            signature=f"x, {more}",
            weight=64.0,
        )


def distribution(x: Any) -> str | None:
    """The name of a distribution of `scipy.stats`, whose rows are there afterwards."""
    stats = sys.modules.get("scipy.stats")
    name = getattr(x, "name", None)
    if stats is None or type(name) is not str or getattr(stats, name, None) is not x:
        return "multivariate_normal" if x is getattr(stats, "multivariate_normal", None) else None
    if not isinstance(x, (stats.rv_continuous, stats.rv_discrete)) or name in UNSTEADY:
        return None
    with _adding:
        if f"scipy.stats.{name}.cdf" not in OPS:
            _densities(name, x, isinstance(x, stats.rv_discrete))
    return name


def distribution_named(name: str) -> Any:
    """The distribution of this name."""
    return getattr(importlib.import_module("scipy.stats"), name)


def _densities(name: str, x: Any, discrete: bool) -> None:
    """The rows of one distribution. Its parameters are its shapes, location and scale."""
    shapes = f"{x.shapes}, " if x.shapes else ""
    for method in DENSITIES:
        found = getattr(x, method, None)
        if found is not None:
            op(
                f"scipy.stats.{name}.{method}",
                found,
                operands="x",
                signature=f"x, {shapes}loc=0" + ("" if discrete else ", scale=1"),
                weight=64.0,
                reach=reach.elementwise,
            )


def _sparse_linalg(linalg: Any) -> None:
    of_sparse.linalg(linalg)
    of_factors.factors(linalg)


MODULES: dict[str, Callable[[Any], None]] = {
    "scipy.linalg": _linalg,
    "scipy.special": _special,
    "scipy.fft": _fft,
    "scipy.spatial.distance": _distance,
    "scipy.stats": _stats,
    "scipy.sparse": of_sparse.sparse,
    "scipy.sparse.linalg": _sparse_linalg,
    "scipy.sparse.csgraph": of_sparse.csgraph,
}
"""Modules of SciPy that have rows, and what adds them."""

PLAIN = ("scipy.io", "scipy.datasets")
"""Modules that stay as they are: files are no arrays."""


def is_twinned(name: str) -> bool:
    """Whether the functions of a module of SciPy are seen by lima."""
    if name.partition(".")[0] != "scipy":
        return False
    return not any(f"{name}.".startswith(f"{plain}.") for plain in PLAIN)


_added: set[str] = set()
_adding = RLock()


def provide(home: str) -> None:
    """Add the rows of the module that is `home`, or in which it is, if it has rows."""
    for name, add in MODULES.items():
        if name in _added or not f"{home}.".startswith(f"{name}."):
            continue
        with _adding:
            if name not in _added:
                add(importlib.import_module(name))
                _added.add(name)


def row_of(name: str) -> Op | None:
    """The row of this name, of SciPy too, or of a call in a program; None where there is none."""
    row = OPS.get(name)
    if row is None and name.startswith(CALL):
        return CALLED
    if row is None and name.startswith("scipy."):
        home = name.rpartition(".")[0]
        provide(home)
        if home.startswith("scipy.stats."):
            distribution(getattr(sys.modules["scipy.stats"], home[len("scipy.stats.") :], None))
        row = OPS.get(name)
    return row


def module_of(name: str) -> str:
    """The module to import for a function: `scipy.stats` for `scipy.stats.norm.pdf`.

    >>> module_of("scipy.stats.norm.pdf"), module_of("scipy.linalg.inv")
    ('scipy.stats', 'scipy.linalg')
    """
    found = [module for module in MODULES if name.startswith(f"{module}.")]
    return max(found, key=len, default=name.rpartition(".")[0])
