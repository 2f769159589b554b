"""Rows of products, factorisations, solvers and everything else that is linear algebra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lima.node import Spec
from lima.op import OPS, Kind, Op, op
from lima.ops import reach, reach_axes, reach_matrices
from lima.ops.bordered import GROWN
from lima.ops.contraction import CONTRACTION
from lima.ops.dual import DUAL, wide
from lima.ops.images import RULES as IMAGES
from lima.ops.in_blocks import IN_BLOCKS
from lima.ops.infer import as_view
from lima.ops.labelled import SUMS as LABELLED
from lima.ops.least_squares import AGAIN
from lima.ops.mirrored import MIRRORED
from lima.ops.normal import GRADIENTS, SQUARES
from lima.ops.normal import spared as of_residuals
from lima.ops.products import RULES
from lima.ops.ridge import INVERSES, PATH
from lima.ops.scaled import SCALED
from lima.ops.shifted import RULES as CENTRED
from lima.ops.sides import SIDES
from lima.ops.solving import SOLVING
from lima.ops.spelling import Args, Kwargs, Respelled, family, spelling
from lima.ops.straight import RULES as STRAIGHT
from lima.ops.subsets import RULES as SUBSETS
from lima.ops.tall import SOME, TALL
from lima.ops.weighted import RULES as WEIGHTED
from lima.ops.windows import WINDOW

# --------------------------------------------------------------------------- products

GUFUNC = (
    "out=None, casting='same_kind', order='K', dtype=None, subok=True, signature=None,"
    " axes=MISSING, keepdims=False"
)

PRODUCTS = (
    *(*GRADIENTS, *RULES, WINDOW, *CENTRED, *SUBSETS, SCALED, *IMAGES, *WEIGHTED, *STRAIGHT),
    *(*SQUARES, TALL, SOME, IN_BLOCKS, LABELLED, MIRRORED),
)
"""Rules of gradients come first, since they note which Gram matrices the others give."""


def spared(p: Any, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Shape and dtype of a product that had better wait for what reads it."""
    return wide(p, row, spec, inputs) if spec.params else of_residuals(p, row, spec, inputs)


op(
    "matmul",
    np.matmul,
    operands="x1 x2",
    signature=f"x1, x2, {GUFUNC}, axis=MISSING",
    calls=(np.matmul, np.linalg.matmul),
    aliasing=True,
    growth=1.5,
    rules=PRODUCTS,
    spared=spared,
    reach=reach_axes.gufunc("(n?,k),(k,m?)->(n?,m?)"),
    infix="@",
)
op(
    "vecdot",
    np.vecdot,
    operands="x1 x2",
    signature=f"x1, x2, {GUFUNC}, axis=-1",
    calls=(np.vecdot, np.linalg.vecdot),
    aliasing=True,
    reach=reach_axes.gufunc("(k),(k)->()"),
)
for _name, _axes in {"matvec": "(n,k),(k)->(n)", "vecmat": "(k),(k,m)->(m)"}.items():  # NumPy 2.2
    if hasattr(np, _name):
        op(
            _name,
            getattr(np, _name),
            operands="x1 x2",
            signature=f"x1, x2, {GUFUNC}",
            aliasing=True,
            reach=reach_axes.gufunc(_axes),
        )

op(
    "dot",
    np.dot,
    operands="a b",
    signature="a, b, out=None",
    aliasing=True,
    growth=1.5,
    rules=PRODUCTS,
    spared=spared,
    reach=reach_axes.dotted,
    unboxes=lambda a: True,
)
op("inner", np.inner, operands="a b", signature="a, b", aliasing=True, growth=1.5,
   reach=reach_axes.inner)  # fmt: skip
op("vdot", np.vdot, operands="a b", signature="a, b", aliasing=True, reach=reach_matrices.number)
op(
    "tensordot",
    np.tensordot,
    operands="a b",
    calls=(np.tensordot, np.linalg.tensordot),
    aliasing=True,
    growth=1.5,
    reach=reach_axes.tensordot,
)
op(
    "linalg.multi_dot",
    np.linalg.multi_dot,
    operands="arrays",
    variadic=True,
    aliasing=True,
    growth=1.5,
)
op("linalg.matrix_power", np.linalg.matrix_power, growth=1.5, reach=reach_matrices.matrices("mn"))


# Of matrices these are `np.dot` inside, of the same operands: the bits are those of the row `dot`.


def _matrices(*arrays: Any) -> bool:
    return all(getattr(a, "ndim", None) == 2 for a in arrays)


@spelling(np.inner)
def _respell_inner(args: Args, kwargs: Kwargs) -> Respelled:
    if len(args) == 2 and not kwargs and _matrices(*args) and args[0].shape[1] == args[1].shape[1]:
        return OPS["dot"], (args[0], args[1].T), {}
    return OPS["inner"], args, kwargs


@spelling(np.tensordot, np.linalg.tensordot)
def _respell_tensordot(args: Args, kwargs: Kwargs) -> Respelled:
    if {"a", "b"}.isdisjoint(kwargs) and 1 < len(args) < 4 and _matrices(*args[:2]):
        a, b = args[:2]
        pair = _contracted(args[2] if len(args) == 3 else kwargs.get("axes", 2))
        if (
            pair is not None
            and len(kwargs) + len(args) < 4
            and a.shape[pair[0]] == b.shape[pair[1]]
        ):
            return OPS["dot"], (a if pair[0] % 2 else a.T, b.T if pair[1] % 2 else b), {}
    return OPS["tensordot"], args, kwargs


def _contracted(axes: Any) -> tuple[int, int] | None:
    """The one axis of either matrix over which `np.tensordot` sums; None if these are not two."""
    if type(axes) is int:
        return (1, 0) if axes == 1 else None
    if type(axes) not in (tuple, list) or len(axes) != 2:
        return None
    found = [k[0] if type(k) in (tuple, list) and len(k) == 1 else k for k in axes]
    if not all(type(k) is int and -2 <= k < 2 for k in found):
        return None
    return found[0], found[1]


@spelling(np.linalg.multi_dot)
def _respell_multi_dot(args: Args, kwargs: Kwargs) -> Respelled:
    arrays: Any = args[0] if len(args) == 1 and not kwargs else None
    if type(arrays) in (tuple, list) and 1 < len(arrays) < 4 and _matrices(*arrays):
        return _multi_dot, tuple(arrays), {}
    return OPS["linalg.multi_dot"], args, kwargs


def _multi_dot(a: Any, b: Any, c: Any = None) -> Any:
    """The products in the order that NumPy takes: fewer multiplications first."""
    if c is None:
        return np.dot(a, b)
    (m, k), (n, p) = a.shape, c.shape
    left_first = m * n * (k + p) < k * p * (m + n)
    return np.dot(np.dot(a, b), c) if left_first else np.dot(a, np.dot(b, c))


# These multiply element by element: it cannot matter whether two operands are one buffer.
op("outer", np.outer, operands="a b", growth=2, reach=reach.outer)
op("linalg.outer", np.linalg.outer, operands="x1 x2", growth=2, reach=reach.outer)
op("kron", np.kron, operands="a b", growth=2, reach=reach_axes.kron)
op("cross", np.cross, operands="a b", weight=16.0)
op("linalg.cross", np.linalg.cross, operands="x1 x2", weight=16.0)


def _einsum(arrays: Any, *, subscripts: str, **options: Any) -> Any:
    return np.einsum(subscripts, *arrays, **options)


def _einsum_view(a: Any, *, subscripts: str) -> Any:
    return np.einsum(subscripts, a)


def _einsum_text(inputs: list[str], params: dict[str, str]) -> str:
    rest = dict(params)
    parts = [rest.pop("subscripts"), *inputs, *[f"{k}={v}" for k, v in rest.items()]]
    return f"np.einsum({', '.join(parts)})"


op(
    "einsum",
    _einsum,
    operands="arrays",
    signature="arrays, subscripts, out=None, dtype=None, order='K', casting='safe', optimize=False",
    calls=(),
    variadic=True,
    aliasing=True,
    growth=1.5,
    source=_einsum_text,
    rules=(CONTRACTION,),
    reach=reach_axes.contracted,
)
# One operand of which no label is summed or dropped: a transpose or a diagonal, which is a view.
op(
    "einsum.view",
    _einsum_view,
    Kind.VIEW,
    signature="a, subscripts",
    calls=(),
    infer=as_view,
    source=_einsum_text,
)


@spelling(np.einsum)
def _respell_einsum(args: Args, kwargs: Kwargs) -> Respelled:
    if args and isinstance(args[0], str):
        subscripts, arrays = args[0].replace(" ", ""), args[1:]
    else:
        arrays = args[: len(args) // 2 * 2 : 2]
        try:
            subscripts = _subscripts(args[1::2], args[-1] if len(args) % 2 else None)
        except (IndexError, TypeError):
            return None, args, kwargs
    if len(arrays) == 1 and _gives_view(kwargs) and _keeps_every_label(subscripts):
        return OPS["einsum.view"], arrays, {"subscripts": subscripts}
    return OPS["einsum"], (arrays,), {"subscripts": subscripts, **kwargs}


def _gives_view(kwargs: Kwargs) -> bool:
    """Whether NumPy looks for a view first: whatever dtype or order is asked for, without `out`."""
    return kwargs.get("out") is None and kwargs.keys() <= VIEW_OPTIONS


VIEW_OPTIONS = {"out", "dtype", "order", "casting", "optimize"}
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _subscripts(labels: Args, result: Any) -> str:
    """The string for `np.einsum(a, [0, 1], b, [1, 2], [0, 2])`; it sorts as the numbers do."""

    def one(part: Any) -> str:
        return "".join("..." if k is Ellipsis else LABELS[_label(k)] for k in part)

    return ",".join(map(one, labels)) + ("" if result is None else "->" + one(result))


def _label(k: Any) -> int:
    if not 0 <= k < len(LABELS):
        raise IndexError(k)  # which NumPy refuses
    return int(range(len(LABELS))[k])


def _keeps_every_label(subscripts: str) -> bool:
    before, arrow, after = subscripts.partition("->")
    if not arrow:
        return len(set(before) - {"."}) == len(before.replace("...", ""))
    return set(before) == set(after)


# --------------------------------------------------------------------------- factorisations

# Work grows as the cube of the order of a matrix: the power 1.5 of its elements. Weights are
# measured on matrices of order 32 to 300 and rounded to a power of two.
CUBIC: dict[str, Any] = {"weight": 2.0, "growth": 1.5}
SPECTRAL: dict[str, Any] = {"weight": 8.0, "growth": 1.5}
EIGEN: dict[str, Any] = {"reach": reach_matrices.matrices("m", "mn"), **SPECTRAL}

# The class of a named tuple, found on a matrix of one element: NumPy has no public name for them.
_ONE: Any = np.ones((1, 1))

op("linalg.eig", np.linalg.eig, wrap=type(np.linalg.eig(_ONE)), **EIGEN)
op("linalg.eigh", np.linalg.eigh, wrap=type(np.linalg.eigh(_ONE)), **EIGEN)
# One array with mode="r".
op("linalg.qr", np.linalg.qr, wrap=type(np.linalg.qr(_ONE)), reach=reach_matrices.orthogonal,
   **CUBIC)  # fmt: skip
# One array with compute_uv=False.
op("linalg.svd", np.linalg.svd, wrap=type(np.linalg.svd(_ONE)), reach=reach_matrices.singular,
   **SPECTRAL)  # fmt: skip
op("linalg.slogdet", np.linalg.slogdet, wrap=type(np.linalg.slogdet(_ONE)),
   reach=reach_matrices.matrices("", ""), **CUBIC)  # fmt: skip
op("linalg.cholesky", np.linalg.cholesky, rules=(GROWN,), reach=reach_matrices.triangular_factor,
   **CUBIC)  # fmt: skip
family((np.linalg.eigvals, np.linalg.eigvalsh), reach=reach_matrices.matrices("m"), **SPECTRAL)
op(
    "linalg.svdvals",
    np.linalg.svdvals,
    operands="x",
    reach=reach_matrices.matrices("k"),
    **SPECTRAL,
)

# --------------------------------------------------------------------------- solvers and inverses

op(
    "linalg.solve",
    np.linalg.solve,
    operands="a b",
    rules=(SIDES, DUAL, SOLVING, PATH),
    reach=reach_matrices.solution,
    **CUBIC,
)
op("linalg.tensorsolve", np.linalg.tensorsolve, operands="a b", **CUBIC)
op("linalg.lstsq", np.linalg.lstsq, operands="a b", wrap=tuple, rules=(AGAIN,),
   reach=reach_matrices.fitted, **SPECTRAL)  # fmt: skip
op("linalg.inv", np.linalg.inv, rules=INVERSES, reach=reach_matrices.matrices("mn"), **CUBIC)
op("linalg.tensorinv", np.linalg.tensorinv, **CUBIC)
op("linalg.pinv", np.linalg.pinv, reach=reach_matrices.matrices("nm"), **SPECTRAL)

# --------------------------------------------------------------------------- numbers of a matrix

op("linalg.det", np.linalg.det, reach=reach_matrices.matrices(""), **CUBIC)
op("linalg.matrix_rank", np.linalg.matrix_rank, operands="A", reach=reach_matrices.matrices(""),
   **SPECTRAL)  # fmt: skip
# Some norms are singular values.
op("linalg.norm", np.linalg.norm, operands="x", rules=SQUARES, reach=reach.reduced, **CUBIC)
family((np.linalg.cond, np.linalg.matrix_norm), operands="x", **CUBIC)
op("linalg.vector_norm", np.linalg.vector_norm, operands="x", weight=2.0, reach=reach.reduced)
op("linalg.trace", np.linalg.trace, operands="x", weight=2.0, reach=reach_matrices.traced)

# --------------------------------------------------------------------------- polynomials

# One array without `full` and `cov`.
op("polyfit", np.polyfit, operands="x y", wrap=tuple, weight=256.0)
op("polyval", np.polyval, operands="p x", weight=8.0, reach=reach_axes.looked_up(0))
op("poly", np.poly, operands="seq_of_zeros")
op("roots", np.roots, operands="p", weight=8.0, growth=3)
op("polyder", np.polyder, operands="p")
op("polyint", np.polyint, operands="p")
family((np.polyadd, np.polysub, np.polymul), operands="a1 a2")
op("polydiv", np.polydiv, operands="u v", wrap=tuple)
family(
    (np.polynomial.polynomial.polyval2d, np.polynomial.polynomial.polygrid2d),
    operands="x y c",
    weight=64.0,
)

if hasattr(np.polynomial.polynomial, "polyvalnd"):  # NumPy 2.5
    op(
        "polynomial.polynomial.polyvalnd",
        np.polynomial.polynomial.polyvalnd,
        operands="",
        signature="pts, c",
        weight=64.0,
    )

# --------------------------------------------------------------------------- signals

op("convolve", np.convolve, operands="a v", growth=1.5, reach=reach_axes.linear)
op("correlate", np.correlate, operands="a v", growth=1.5, reach=reach_axes.linear)
family((np.fft.fft, np.fft.ifft), weight=16.0, reach=reach.transformed)

_LENGTHS: dict[str, Any] = {
    "": lambda n: n,
    "r": lambda n: n // 2 + 1,
    "ir": lambda n: 2 * (n - 1),
}
_ALONG = {"rfft": "r", "irfft": "ir", "hfft": "ir", "ihfft": "r"}
_PLANES = {"fft2": "", "ifft2": "", "rfft2": "r", "irfft2": "ir"}
_ALL = {"fftn": "", "ifftn": "", "rfftn": "r", "irfftn": "ir"}
for _names, _axes in ((_ALONG, ""), (_PLANES, "last two"), (_ALL, "all")):
    for _name, _kind in _names.items():
        _reach = reach_axes.spectrum(_LENGTHS[_kind], _axes)
        family((getattr(np.fft, _name),), weight=16.0, reach=_reach)
family((np.fft.fftshift, np.fft.ifftshift), Kind.LIGHT, operands="x", reach=reach.moved)
