"""Rows of products, factorisations, solvers and everything else that is linear algebra."""

from __future__ import annotations

from typing import Any

import numpy as np

from lima.op import OPS, Kind, op
from lima.ops.spelling import Args, Kwargs, Respelled, path, spelling
from lima.ops.structure import as_view

# --------------------------------------------------------------------------- products

GUFUNC = (
    "out=None, casting='same_kind', order='K', dtype=None, subok=True, signature=None,"
    " axes=MISSING, keepdims=False"
)

op(
    "matmul",
    np.matmul,
    operands="x1 x2",
    signature=f"x1, x2, {GUFUNC}, axis=MISSING",
    calls=(np.matmul, np.linalg.matmul),
    aliasing=True,
    infix="@",
)
op(
    "vecdot",
    np.vecdot,
    operands="x1 x2",
    signature=f"x1, x2, {GUFUNC}, axis=-1",
    calls=(np.vecdot, np.linalg.vecdot),
    aliasing=True,
)
for _name in ("matvec", "vecmat"):  # NumPy 2.2 and later
    if hasattr(np, _name):
        op(
            _name,
            getattr(np, _name),
            operands="x1 x2",
            signature=f"x1, x2, {GUFUNC}",
            aliasing=True,
        )

op("dot", np.dot, operands="a b", signature="a, b, out=None", aliasing=True)
op("inner", np.inner, operands="a b", signature="a, b", aliasing=True)
op("vdot", np.vdot, operands="a b", signature="a, b", aliasing=True)
op(
    "tensordot",
    np.tensordot,
    operands="a b",
    calls=(np.tensordot, np.linalg.tensordot),
    aliasing=True,
)
op("linalg.multi_dot", np.linalg.multi_dot, operands="arrays", variadic=True, aliasing=True)
op("linalg.matrix_power", np.linalg.matrix_power)

# These multiply element by element: it cannot matter whether two operands are one buffer.
op("outer", np.outer, operands="a b")
op("linalg.outer", np.linalg.outer, operands="x1 x2")
op("kron", np.kron, operands="a b")
op("cross", np.cross, operands="a b")
op("linalg.cross", np.linalg.cross, operands="x1 x2")


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
    signature="arrays, subscripts, out=None, dtype=None, order='K', casting='safe',"
    " optimize=False",
    calls=(),
    variadic=True,
    aliasing=True,
    source=_einsum_text,
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
    if len(arrays) == 1 and not kwargs and _keeps_every_label(subscripts):
        return OPS["einsum.view"], arrays, {"subscripts": subscripts}
    return OPS["einsum"], (arrays,), {"subscripts": subscripts, **kwargs}


LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _subscripts(labels: Args, result: Any) -> str:
    """The string for `np.einsum(a, [0, 1], b, [1, 2], [0, 2])`; it sorts as the numbers do."""

    def one(part: Any) -> str:
        return "".join("..." if k is Ellipsis else LABELS[range(52)[k]] for k in part)

    return ",".join(map(one, labels)) + ("" if result is None else "->" + one(result))


def _keeps_every_label(subscripts: str) -> bool:
    before, arrow, after = subscripts.partition("->")
    if not arrow:
        return len(set(before) - {"."}) == len(before.replace("...", ""))
    return set(before) == set(after)


# --------------------------------------------------------------------------- factorisations

# The class of a named tuple, found on a matrix of one element: NumPy has no public name for them.
_ONE: Any = np.ones((1, 1))

op("linalg.eig", np.linalg.eig, wrap=type(np.linalg.eig(_ONE)))
op("linalg.eigh", np.linalg.eigh, wrap=type(np.linalg.eigh(_ONE)))
op("linalg.qr", np.linalg.qr, wrap=type(np.linalg.qr(_ONE)))  # one array with mode="r"
op("linalg.svd", np.linalg.svd, wrap=type(np.linalg.svd(_ONE)))  # one array with compute_uv=False
op("linalg.slogdet", np.linalg.slogdet, wrap=type(np.linalg.slogdet(_ONE)))
family((np.linalg.cholesky, np.linalg.eigvals, np.linalg.eigvalsh))
op("linalg.svdvals", np.linalg.svdvals, operands="x")

# --------------------------------------------------------------------------- solvers and inverses

op("linalg.solve", np.linalg.solve, operands="a b")
op("linalg.tensorsolve", np.linalg.tensorsolve, operands="a b")
op("linalg.lstsq", np.linalg.lstsq, operands="a b", wrap=tuple)
family((np.linalg.inv, np.linalg.pinv, np.linalg.tensorinv))

# --------------------------------------------------------------------------- numbers of a matrix

op("linalg.det", np.linalg.det)
op("linalg.matrix_rank", np.linalg.matrix_rank, operands="A")
family((
    np.linalg.norm, np.linalg.cond, np.linalg.matrix_norm, np.linalg.vector_norm, np.linalg.trace,
), operands="x")  # fmt: skip

# --------------------------------------------------------------------------- polynomials

op("polyfit", np.polyfit, operands="x y", wrap=tuple)  # one array without `full` and `cov`
op("polyval", np.polyval, operands="p x")
op("poly", np.poly, operands="seq_of_zeros")
op("roots", np.roots, operands="p")
op("polyder", np.polyder, operands="p")
op("polyint", np.polyint, operands="p")
family((np.polyadd, np.polysub, np.polymul), operands="a1 a2")
op("polydiv", np.polydiv, operands="u v", wrap=tuple)

# --------------------------------------------------------------------------- signals

op("convolve", np.convolve, operands="a v")
op("correlate", np.correlate, operands="a v")
family((
    np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.hfft, np.fft.ihfft, np.fft.fft2,
    np.fft.ifft2, np.fft.rfft2, np.fft.irfft2, np.fft.fftn, np.fft.ifftn, np.fft.rfftn,
    np.fft.irfftn,
))  # fmt: skip
family((np.fft.fftshift, np.fft.ifftshift), Kind.LIGHT, operands="x")
