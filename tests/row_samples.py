"""Sample calls of the rows of the operation table, by the name of the row.

A sample is `call(*args, **kwargs)`, or `(function, args, kwargs)` for rows that are reached by
another callable than their first. Universal functions and their methods take all of the
operands below that NumPy accepts.
"""

import contextlib
import functools
import operator
import warnings

import numpy as np

rng = np.random.default_rng(7)
V, W = rng.standard_normal(12), rng.standard_normal(12) + 2.0
M, N = rng.standard_normal((6, 4)), rng.standard_normal((4, 5))
F = np.asfortranarray(rng.standard_normal((6, 4)))
T = rng.standard_normal((2, 3, 4))
S = M.T @ M + np.eye(4)
C = rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4))
K, J = rng.integers(-5, 9, 12), rng.integers(1, 9, 12)
P = rng.integers(0, 6, (6, 4))
B, D = V > 0, W > 2
NANS = np.where(rng.random((6, 4)) < 0.3, np.nan, M)
DAYS = np.array(["2020-01-01", "NaT"], dtype="M8[D]")
WEEKS = np.arange("2026-01-01", "2026-01-13", dtype="M8[D]")


def call(*args, **kwargs):
    return args, kwargs


def reductions(*more):
    return [call(M), call(F, axis=0), call(T, axis=(0, 2), keepdims=True), *more]


AXIS = [call(M), call(F, axis=0), call(M, 1)]

UNARY_LINALG = [call(S), call(np.stack([S, 2 * S]))]
FFT = [call(V), call(M, axis=0), call(V, 8, norm="ortho")]
FFTN = [call(M), call(T, axes=(0, 1)), call(M, norm="forward")]
VIEWS_2D = [call(M), call(F), call(np.broadcast_to(V, (3, 12)))]
WINDOW = [call(7)]
SETS = [call(K, J), call(P, J)]
JOINS = [call((M, F)), call([M, M.astype("f4"), P]), call((V, W), dtype="f4", casting="same_kind")]
PERCENTILES = [
    call(M, 30), call(F, [5.0, 50.0], axis=0), call(M, np.array([20.0, 80.0]), 1, method="lower"),
    call(M, 25.0, keepdims=True, overwrite_input=True),
]  # fmt: skip
QUANTILES = [
    call(M, 0.3), call(F, [0.05, 0.5], axis=0), call(M, np.array([0.2, 0.8]), 1, method="lower"),
    call(V, 0.5, weights=W, method="inverted_cdf") if W.min() > 0 else call(V, 0.5),
]  # fmt: skip
NEW = [call(5000), call((70, 80)), call((3, 4), "f4", "F"), call([2, 3], dtype=int)]
LIKES = [call(M), call(F), call(M, dtype="i4"), call(M, shape=(3,)), call(F, order="C")]

SAMPLES = {
    # ---------------------------------------------------------------- elementwise
    "pow": [(operator.pow, a, {}) for a in ((M, 2), (W, 0.5), (J, 2), (M, F), (V, W))],
    "mul": [(operator.mul, (C[0], C[1]), {}), (operator.mul, (C[2], 2.5), {})],
    "abs": [(operator.abs, (C[3],), {})],
    "ipow": [(operator.ipow, a, {}) for a in ((M, 2), (J, 2), (M, F))],
    "where": [call(B, V, W), call(B, V, 0.0), call(M > 0, M, F)],
    "clip": [call(M, -0.5, 0.5), call(M, None, 0.5), call(V, W, None, out=V), call(P, 1, 4)],
    "isclose": [call(V, W), call(V, V + 1e-9, rtol=0.0), call(NANS, NANS, equal_nan=True)],
    "round": [call(M), call(M, 2), call(P, -1)],
    "angle": [call(C), call(C, deg=True)],
    "unwrap": [call(np.cumsum(W)), call(M, axis=0, period=1.0)],
    "nan_to_num": [call(NANS), call(NANS, nan=1.5), call(NANS, True, 2.0)],
    "isposinf": [call(NANS)], "isneginf": [call(NANS)], "sinc": [call(V)], "i0": [call(V)],
    "fix": [call(V)], "iscomplex": [call(C)], "isreal": [call(C)],
    "emath.logn": [call(2.0, V)], "emath.power": [call(V, 0.5)],
    **{f"emath.{n}": [call(V)]
       for n in ("sqrt", "log", "log2", "log10", "arccos", "arcsin", "arctanh")},

    # ---------------------------------------------------------------- calendars
    "is_busday": [call(WEEKS), call(DAYS, "1110000"), call(WEEKS, holidays=["2026-01-05"])],
    "busday_offset": [call(WEEKS, 3, roll="forward"), call(WEEKS, J, "preceding")],
    "busday_count": [call(WEEKS, WEEKS[::-1]), call(WEEKS, WEEKS + 9, "1111000")],
    **{f"polynomial.polynomial.{n}": [call(V, W, M)] for n in ("polyval2d", "polygrid2d")},
    "polynomial.polynomial.polyvalnd": [call((V, W), M), call([V, W, V], T)],

    # ---------------------------------------------------------------- reductions
    **{n: reductions(call(M, where=P > 2), call(F, 0, keepdims=False)) for n in ("all", "any")},
    **{n: reductions(call(M, where=P > 2, initial=0.5), call(P)) for n in ("max", "min")},
    **{n: reductions(call(M, where=P > 2, initial=0.5), call(NANS)) for n in ("nanmax", "nanmin")},
    **{n: reductions(call(M, where=P > 2, initial=0.5), call(P, dtype="f4"), call(P, 1))
       for n in ("sum", "prod", "nansum", "nanprod")},
    **{n: reductions(call(M, where=P > -1), call(P, dtype="f4")) for n in ("mean", "nanmean")},
    **{n: reductions(call(M, ddof=1), call(M, correction=1), call(F, 0, mean=F.mean(0)[None]))
       for n in ("std", "var", "nanstd", "nanvar")},
    **{n: [call(M), call(F, axis=0), call(M, axis=1, keepdims=True)]
       for n in ("argmax", "argmin", "nanargmax", "nanargmin", "ptp")},
    **{n: [*AXIS, call(P, dtype="f4"), call(M, out=np.empty(24))]
       for n in ("cumsum", "cumprod", "nancumsum", "nancumprod")},
    **{n: [call(V), call(M, axis=0), call(M, axis=1, include_initial=True)]
       for n in ("cumulative_sum", "cumulative_prod")},
    "count_nonzero": reductions(call(P)),
    "trace": [call(S), call(T, 1, 0, 2), call(S, dtype="f4")],
    "average": [call(M), call(M, axis=0, weights=W[:6]), call(M, 1, returned=True)],
    **{n: reductions(call(M, overwrite_input=True), call(NANS, 0))
       for n in ("median", "nanmedian")},
    "percentile": PERCENTILES, "nanpercentile": PERCENTILES,
    "quantile": QUANTILES, "nanquantile": QUANTILES,
    "cov": [call(M), call(M, rowvar=False), call(V, W, ddof=0), call(M, aweights=np.arange(1.0, 5)),
            call(M, fweights=np.array([1, 2, 1, 1]), aweights=np.arange(1.0, 5))],
    "corrcoef": [call(M), call(V, W), call(M, rowvar=False, dtype="f4")],
    "bincount": [call(J), call(J, W), call(J, minlength=20)],
    "histogram": [call(V), call(V, 4, (0, 1)), call(V, np.array([-1.0, 0, 1])),
                  call(V, "auto", density=True), call(V, weights=W)],
    "histogram_bin_edges": [call(V), call(V, "fd"), call(V, 3, range=(0, 1))],
    "histogram2d": [call(V, W), call(V, W, bins=[3, 4]), call(V, W, bins=(W[:0:-1].cumsum(), 3))
                    if W.min() > 0 else call(V, W, 3)],
    "histogramdd": [call(M), call([V, W], bins=(3, 4))],

    # ---------------------------------------------------------------- products
    "matmul": [call(M, N), call(M.T, M), call(M, V[:4]), call(M, N, dtype="f4", casting="unsafe"),
               call(M, N, out=np.empty((6, 5))), (np.linalg.matmul, (M, N), {})],
    "vecdot": [call(M, F), call(M, F, axis=0), (np.linalg.vecdot, (C, C), {})],
    "matvec": [call(M, V[:4])], "vecmat": [call(V[:6], M)],
    "dot": [call(M, N), call(V, W), call(M, N, out=np.empty((6, 5))), call(V, 2.0)],
    "inner": [call(T, M), call(V, W)], "vdot": [call(V, W), call(C, C)],
    "tensordot": [call(T, N, 1), call(T, T, axes=([0, 1], [0, 1])),
                  (np.linalg.tensordot, (M, F), {"axes": 2})],
    "linalg.multi_dot": [call([M, N, N.T, N]), call((M, N, N[0]))],
    "linalg.matrix_power": [call(S, 3), call(S, n=-2), call(S, 0)],
    "outer": [call(V, W), call(M, N)], "linalg.outer": [call(V, W)],
    "kron": [call(S, M), call(V, W)],
    "cross": [call(M[:, :3], F[:, 1:]), call(T, T, axis=1)],
    "linalg.cross": [call(M[:, :3], F[:, 1:]), call(M[:, :3].T, F[:, 1:].T, axis=0)],
    "einsum": [(np.einsum, *c) for c in (
        call("ij,jk->ik", M, N), call("ij, jk", M, N, optimize=True), call("ii", S),
        call(M, [0, 1], N, [1, 2], [0, 2]), call("ij->i", M), call("...i,...i", M, F),
        call("ij->i", M, dtype="f4", casting="same_kind"), call(S, [0, 0], []),
        call("ij,jk", M, N, out=np.empty((6, 5))))],
    "einsum.view": [(np.einsum, ("ij->ji", M), {"dtype": "f4"})] + [(np.einsum, a, {}) for a in (
        ("ij->ji", M), ("ii->i", S), ("ij", M), (T, [0, 1, 2], [2, 0, 1]), ("...i->i...", T))],

    # ---------------------------------------------------------------- factorisations, solvers
    **{f"linalg.{n}": UNARY_LINALG for n in ("eigvals", "inv", "det", "slogdet", "eig", "cond")},
    "linalg.eigh": [*UNARY_LINALG, call(S, "U")], "linalg.eigvalsh": [*UNARY_LINALG, call(S, "U")],
    "linalg.qr": [call(M), call(M, "complete"), call(M, mode="r"), call(M, mode="raw")],
    "linalg.svd": [call(M), call(M, False), call(M, compute_uv=False), call(S, hermitian=True)],
    "linalg.svdvals": [call(M)],
    "linalg.cholesky": [*UNARY_LINALG, call(S, upper=True)],
    "linalg.solve": [call(S, V[:4]), call(S, N), call(np.stack([S, S + 1]), N)],
    "linalg.tensorsolve": [call(np.eye(12).reshape(3, 4, 3, 4) * 2, T[0])],
    "linalg.lstsq": [call(M, V[:6]), call(M, F, rcond=1e-3)],
    "linalg.pinv": [call(M), call(M, 1e-3), call(S, hermitian=True)],
    "linalg.tensorinv": [call(np.eye(12).reshape(3, 4, 12) * 2, ind=2)],
    "linalg.matrix_rank": [call(M), call(S, hermitian=True), call(M, tol=W[:1].max())],
    "linalg.norm": [call(M), call(V, 1), call(T, axis=2, keepdims=True), call(M, "nuc")],
    "linalg.matrix_norm": [call(M), call(T, ord=1)],
    "linalg.vector_norm": [call(V), call(M, axis=0, ord=1)],
    "linalg.trace": [call(S), call(T, offset=1)],

    # ---------------------------------------------------------------- polynomials, signals
    "polyfit": [call(V, W, 2), call(V, W, 1, full=True), call(V, W, 1, cov=True)],
    "polyval": [call(W[:3], V), call([1, 2, 3], V)], "poly": [call(V[:4]), call(S)],
    "roots": [call(W[:4])], "polyder": [call(W[:4]), call(W[:4], 2)],
    "polyint": [call(W[:4]), call(W[:4], 2, k=[1, 2])],
    **{n: [call(V[:3], W[:4])] for n in ("polyadd", "polysub", "polymul")},
    "polydiv": [call(W[:5], W[5:8])],
    "convolve": [call(V, W[:4]), call(V, W[:4], "same")],
    "correlate": [call(V, W[:4]), call(V, W[:4], mode="full")],
    **{f"fft.{n}": FFT for n in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")},
    **{f"fft.{n}": FFTN for n in ("fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn", "rfftn",
                                  "irfftn")},
    "fft.fftshift": [call(V), call(M, axes=0)], "fft.ifftshift": [call(V), call(M, axes=0)],

    # ---------------------------------------------------------------- views
    "transpose": [*VIEWS_2D, call(T, (1, 0, 2)), call(V), (np.permute_dims, (T, (2, 0, 1)), {})],
    "matrix_transpose": [*VIEWS_2D, (np.linalg.matrix_transpose, (T,), {})],
    "swapaxes": [call(T, 0, 2), call(M, axis1=1, axis2=0)],
    "moveaxis": [call(T, 0, -1), call(T, [0, 1], [1, 2])], "rollaxis": [call(T, 2), call(T, 1, 3)],
    "squeeze": [call(T[:1]), call(T[:1], axis=0), call(M)],
    "expand_dims": [call(M, 0), call(M, (0, 3))],
    "diagonal": [call(M), call(T, 1, 0, 2), (np.diag, (S,), {}), (np.diag, (S, 1), {})],
    "linalg.diagonal": [call(M), call(T, offset=1)],
    "flip": [call(M), call(T, axis=(0, 1))], "fliplr": [call(M)], "flipud": [call(M)],
    "rot90": [call(M), call(M, 2), call(T, axes=(1, 2)), call(M, 4)],
    "real": [call(C), call(M)], "imag": [call(C), call(M)],
    "broadcast_to": [call(V, (3, 12)), call(M, (2, 6, 4)), call(V, 12)],
    "lib.stride_tricks.as_strided": [call(V, (3,), (8,)), call(V, (2, 2), (8, 16))],
    "lib.stride_tricks.sliding_window_view": [call(V, 3), call(M, (2, 2)), call(M, 2, axis=0)],
    **{f"atleast_{k}d": [call(V), call(M), call(T)] for k in (1, 2, 3)},
    "reshape": [call(M, (4, 6)), call(M, -1), call(F, (4, 6)), call(F, (4, 6), order="F"),
                call(V, [3, 4], "C")],
    "ravel": [call(M), call(F), call(F, "K")],
    "ndarray.view": [call(V, "i8"), call(M)],
    "ndarray.getfield": [call(V, "f4"), call(M, "i2", 2)],

    # ---------------------------------------------------------------- copies, joining
    "copy": [call(M), call(F), call(F, "C"), call(DAYS)],
    "astype": [call(M, "f4"), call(M, int), call(P, complex), call(F, bool),
               (np.ndarray.astype, (M, "i4", "C", "unsafe"), {}), call(C, complex)],
    "astype.view": [(np.astype, (M, "f8"), {"copy": False}),
                    (np.astype, (M, "f4"), {"copy": False})],
    "ndarray.flatten": [call(M), call(F), call(M, "F")],
    "concatenate": [*JOINS, call((M, N.T), 0), call((M, F), axis=1), call([M, N], axis=None),
                    call((M, F), out=np.empty((12, 4))), call((V, V > 0))],
    "stack": [call((M, F)), call([V, W], axis=-1), call([M, F], 1, dtype="f4")],
    "vstack": [*JOINS, call([V, W]), call([M, W[:4]])],
    "hstack": [*JOINS, call([V, W[:3]]), call([M, F])],
    "dstack": [call([V, W]), call([M, F]), call([T, T])],
    "column_stack": [call([V, W]), call([M, W[:6]]), call([V[:6], P])],
    "block": [call([[M, F], [F, M]]), call([V, W]), call([[V], [W]]), call([[M, W[:6, None]]]),
              call([np.ones((2, 2, 2)), np.zeros((2, 2, 1))])],
    "append": [call(V, W), call(M, F), call(M, F, axis=0), call(M, V, None), call(V, 3.0)],

    # ---------------------------------------------------------------- rearranging, picking
    "roll": [call(M, 2), call(M, 1, axis=0), call(M, (1, 2), axis=(0, 1))],
    "repeat": [call(V, 3), call(M, 2, axis=1), call(M, [1, 0, 2, 1, 1, 1], 0)],
    "tile": [call(V, 3), call(M, (2, 2)), call(M, (2, 1, 1)), call(T, 2)],
    "resize": [call(M, (3, 3)), call(V, 30)],
    "insert": [call(V, 2, 9.0), call(M, [1, 3], V[:4], axis=0), call(V, slice(1, 3), W[:2])],
    "delete": [call(V, 2), call(M, [0, 2], 1), call(V, slice(2, 5)), call(V, B)],
    "pad": [call(M, 2), call(M, ((1, 2), (0, 1)), constant_values=7), call(V, 3, "reflect"),
            call(V, 2, mode="linear_ramp", end_values=1.0), call(V, 2, mode="mean", stat_length=3)],
    "packbits": [call(B), call(P.astype("u1"), axis=0, bitorder="little")],
    "unpackbits": [call(P.astype("u1")), call(P.astype("u1"), axis=1, count=5)],
    "tril": [call(M), call(M, 1), call(T, k=-1)], "triu": [call(M), call(M, 1), call(V)],
    "diag": [call(V), call(V, 2), call(P[0], k=-1)], "diagflat": [call(M), call(V, -2)],
    "vander": [call(V), call(V, 3, increasing=True)],
    "take": [call(V, [1, 2]), call(M, K % 4, axis=1), call(V, 99, mode="wrap")],
    "take_along_axis": [call(M, np.argsort(M, 1), axis=1)],
    "compress": [call(B, V), call([True, False, True], M, axis=0)],
    "extract": [call(M > 0, M)],
    "choose": [call(P % 2, [M, F]), call(P, (1.0, 2.0), mode="clip")],
    "select": [call([M > 1, M > 0], [M, F]), call([B], [V], default=-1.0)],
    "ravel_multi_index": [call((P % 3, P), (3, 6)), call(P.T % 2, (2, 2, 2, 2, 2, 2), order="F")
                          if P.shape[1] == 6 else call((P[0] % 2, P[1] % 2), (2, 2), order="F")],
    "unravel_index": [call(J, (3, 4)), call(5, (3, 4), order="F")],
    "diag_indices_from": [call(S)], "tril_indices_from": [call(S), call(S, 1)],
    "triu_indices_from": [call(S), call(S, k=1)],
    "ix_": [(np.ix_, (J, [0, 1]), {}), (np.ix_, (B, J), {})],
    "meshgrid": [(np.meshgrid, (V, W), {}), (np.meshgrid, (V, J), {"indexing": "ij"}),
                 (np.meshgrid, (V[:2], W[:3], J[:2]), {"sparse": True})],

    # ---------------------------------------------------------------- creation
    "zeros": [*NEW, call(3, like=V), call((2, 2), device="cpu")], "ones": NEW,
    "full": [call((70, 80), 1.5), call(3, 7), call(3, 1.5, int), call((3, 12), V), call(3, 2, "f4"),
             call(2, 1j), call(3, True), call(3, 2**40), call(2, 300, "u8")],
    "zeros_like": LIKES, "ones_like": LIKES,
    "full_like": [call(M, 1.5), call(P, 7), call(M, 2, dtype="f4"), call(M, V[:4]), call(P, 1.5)],
    "eye": [call(70), call(3, 4), call(3, k=1, dtype=int), call(3, M=5, order="F")],
    "identity": [call(70), call(3, "f4")], "tri": [call(70), call(3, 4, 1), call(3, dtype="i4")],
    "arange": [call(5), call(2, 9), call(2, 9, 3), call(0.0, 1.0, 0.1), call(5, dtype="f4"),
               call(9, step=2), call(2, stop=7), call(np.float32(3)), call(3, None),
               call(5, like=V)],
    "linspace": [call(0, 1), call(0.0, 1, 7, False), call(V[:3], W[:3], 4, axis=1),
                 call(0, 1, 5, retstep=True), call(0, 9, num=4, dtype=int, device=None)],
    "logspace": [call(0, 3, 5), call(0, 3, num=4, base=2.0)],
    "geomspace": [call(1, 1000, 4), call(1, 100, num=5, endpoint=False)],
    "indices": [call((2, 3)), call((2, 3), sparse=True), call((2, 3), dtype="i4")],
    "tril_indices": [call(4), call(4, 1, 5)], "triu_indices": [call(4), call(4, k=1)],
    "diag_indices": [call(4), call(3, 3)],
    "fft.fftfreq": [call(8), call(9, 0.1)], "fft.rfftfreq": [call(8), call(9, d=0.1)],
    "bartlett": WINDOW, "blackman": WINDOW, "hamming": WINDOW, "hanning": WINDOW,
    "kaiser": [call(7, 14.0)],
    "array": [call(M), call(F), call(M, "f4"), call(V, ndmin=3), call(F, order="C"),
              call(M, copy=True)],
    "array.view": [(np.array, (M,), {"copy": None}), (np.array, (M,), {"copy": False}),
                   (np.array, (M, "f4"), {"copy": None, "ndmin": 3})],
    "nested": [(np.array, ([V, W],), {}), (np.array, (([1, 2.0], [3, 4]), "f4"), {})],
    "asarray": [call(M), call(M, "f4"), call(F, order="C"), call(M, copy=True)],
    "asanyarray": [call(M), call(M, dtype="f4")],
    "ascontiguousarray": [call(M), call(F), call(M, "f4")],
    "asfortranarray": [call(M), call(F)],
    "require": [call(M), call(F, requirements="C"), call(M, "f4", ["C", "A"])],

    # ---------------------------------------------------------------- sorting, searching, sets
    "sort": [*AXIS, call(M, None), call(K, kind="stable"), call(V, stable=True)],
    "argsort": [*AXIS, call(M, None), call(K, kind="stable")],
    "sort_complex": [call(C)], "partition": [call(V, 3), call(M, (1, 2), axis=0)],
    "argpartition": [call(V, 3), call(M, 2, axis=0)],
    "lexsort": [call((V, K)), call([K, J]), call(M), call((K, V), axis=0)],
    "nonzero": [call(M), call(B), (np.where, (P,), {})],
    "argwhere": [call(P)], "flatnonzero": [call(P)],
    "searchsorted": [call(np.sort(V), W), call(V, 0.1, "right", np.argsort(V))],
    "digitize": [call(V, np.sort(W)), call(V, [0, 1], True)],
    "interp": [call(V, np.sort(W), V), call(3.0, [1, 2], [3, 4], left=0.0, period=5.0)],
    "unique": [call(P), call(P, True), call(P, return_inverse=True, return_counts=True),
               call(P, axis=0), call(NANS, equal_nan=False)],
    **{n: [call(P)] for n in ("unique_values", "unique_all", "unique_counts", "unique_inverse")},
    "intersect1d": [*SETS, call(K, J, return_indices=True)],
    "union1d": SETS, "setdiff1d": SETS, "setxor1d": SETS,
    "isin": [*SETS, call(P, [1, 2], invert=True)],
    "allclose": [call(V, W), call(V, V), call(V, V + 1e-3, atol=0.1)],
    "array_equal": [call(V, W), call(NANS, NANS, equal_nan=True)],
    "array_equiv": [call(V, W), call(V, np.stack([V, V]))],
    "diff": [call(V), call(M, 2, 0), call(V, prepend=0.0, append=W)],
    "ediff1d": [call(V), call(V, to_end=[1.0, 2.0])],
    "trapezoid": [call(V), call(M, axis=0, dx=0.5), call(V, W)],
    "gradient": [(np.gradient, (V,), {}), (np.gradient, (M, 0.5), {"axis": 0}),
                 (np.gradient, (M, 0.5, W[:4].cumsum()), {}), (np.gradient, (V, W.cumsum()),
                 {"edge_order": 2})],

    # ---------------------------------------------------------------- mutation
    "copyto": [call(M, F), call(M, 0.0, where=P > 2), call(P, M, "unsafe")],
    "put": [call(V, [1, 2], [9.0]), call(M, 99, 1.0, mode="clip"),
            (np.ndarray.put, (V,), {"indices": [3], "values": 2.0})],
    "place": [call(V, B, [1.0, 2.0])], "putmask": [call(V, B, W)],
    "put_along_axis": [call(M, np.argmax(M, 1)[:, None], 9.0, 1)],
    "fill_diagonal": [call(M, 5.0), call(M, [1.0, 2.0], wrap=True)],
    "ndarray.fill": [call(F, 3.0)],
    "ndarray.sort": [call(M), call(F, axis=0), call(M, 0, "stable")],
    "ndarray.partition": [call(V, 3), call(M, 2, axis=0)],
    "ndarray.setfield": [call(V, 3.0, "f8")], "ndarray.byteswap": [call(V), call(F)],
}  # fmt: skip

# --------------------------------------------------------------------------- universal functions

OPERANDS = {
    1: [(V,), (W,), (K,), (B,), (C,), (DAYS,)],
    2: [(V, W), (M, F), (W, J), (V, 2.0), (K, J), (J, J), (B, D)],
}
METHODS = {
    "reduce": [((V,), {}), ((M,), {"axis": 1, "keepdims": True}), ((J,), {}), ((B,), {})],
    "accumulate": [((M,), {}), ((M, 1), {}), ((J,), {}), ((B,), {})],
    "reduceat": [((V, [0, 3, 7]), {}), ((J, [0, 5]), {}), ((B, [0, 5]), {})],
    "outer": [((V, W), {}), ((J, J), {}), ((B, D), {}), ((V, J), {})],
    "at": [((V, [0, 3, 3], W[:3]), {}), ((J, [1, 1], 2), {}), ((B, [1, 1], True), {})],
}

NO_LOOP = {"ldexp.accumulate", "ldexp.reduceat"}
"""Methods that NumPy gives every universal function, though it has no loop that they could use."""


def _accepted(function, calls):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for args, kwargs in calls:
            copies = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
            with contextlib.suppress(TypeError, ValueError):
                function(*copies, **kwargs)
                yield function, args, kwargs


@functools.cache
def samples_of(row):
    """(function, args, kwargs) for every sample call of a row."""
    if row.name in SAMPLES:
        return [s if len(s) == 3 else (row.calls[0], *s) for s in SAMPLES[row.name]]
    if isinstance(row.kernel, np.ufunc):
        calls = [(args, {}) for args in OPERANDS[row.kernel.nin]]
        return list(_accepted(row.kernel, calls))
    method = row.calls[0] if row.calls else None
    if isinstance(getattr(method, "__self__", None), np.ufunc):
        return list(_accepted(method, METHODS[method.__name__]))
    return []
