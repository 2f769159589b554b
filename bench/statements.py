"""The kinds of statements that random programs are made of (see `bench.programs`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.programs import SCALARS, Writer

BINARY = "+ + + - - * * / / // % ** < <= == != > >= & | ^ << >>".split()
UNARY = (
    "np.exp np.sqrt np.abs np.negative np.square np.sign np.floor np.isnan np.sin np.tanh np.log1p"
    " np.conj np.rint np.logical_not np.reciprocal np.cbrt np.invert - + abs ~"
).split()
DTYPES = "float np.float32 int 'i4' bool complex np.uint8 '>f8' np.float16 'i8'".split()

BYTES = "'i8' if {a}.dtype.char not in 'gG' else 'g'"  # which have padding


def binary(g: Writer) -> str:
    a = g.array()
    b = g.operand(a)
    x, y = (b, a) if g.chance(3) else (a, b)
    return g.new(f"{x} {g.one(BINARY)} {y}")


def in_place(g: Writer) -> str:
    a = g.array(lambda a: a.dtype.kind == "f")
    # Where a power of integers raises half-way, what NumPy leaves there is undefined.
    signs = BINARY[:12] if g.get(a).dtype.kind in "fc" else BINARY[:11]
    return f"{a} {g.one(signs)}= {g.operand(a)}"


def in_place_view(g: Writer) -> str:
    a = g.array(lambda a: a.dtype.kind == "f" and a.ndim)
    place = g.fancy(a) if g.chance(4) else g.basic(a)
    return f"{a}[{place}] {g.one(['+', '-', '*', '/'])}= {g.one(SCALARS[:8])}"


def shifted(g: Writer) -> str:
    a = g.array(lambda a: a.ndim and len(a) > 1)
    x, y = g.one([("1:", ":-1"), (":-1", "1:"), ("::-1", ":"), ("1:", "1:")])
    return f"{a}[{x}] {g.one(['', '+', '*'])}= {a}[{y}]"


def unary(g: Writer) -> str:
    f, a = g.one(UNARY), g.array()
    return g.new(f"{f}{a}" if f in "-+~" else f"{f}({a})")


def view(g: Writer) -> str:
    a = g.array()
    shape = np.shape(g.get(a))
    n = len(shape)
    forms = [
        *(f"{a}.T", f"{a}.ravel()", f"{a}.reshape(-1)", f"{a}[...]", f"{a}.view()", f"{a}.real"),
        *(f"{a}.imag", f"np.asarray({a})", f"np.atleast_2d({a})", f"np.expand_dims({a}, 0)"),
        *(f"np.squeeze({a})", f"np.flip({a})", f"{a}[None]", f"np.reshape({a}, {shape[::-1]})"),
        *(f"np.broadcast_to({a}, {(2, *shape)})", f"np.ravel({a}, order='F')", f"{a}.squeeze()"),
        *(f"{a}.reshape({shape[::-1]}, order='F')", f"np.ascontiguousarray({a})"),
        *(f"np.diagonal({a})", f"{a}.diagonal()", f"np.swapaxes({a}, 0, -1)", f"{a}.mT"),
        *(f"np.split({a}, {max(n, 1)})[0]", f"np.array_split({a}, 3)[-1]", f"np.rot90({a})"),
        *(f"np.transpose({a})", f"{a}.transpose({', '.join(map(str, range(n)))})", f"{a}[:, 0]"),
        *(f"np.moveaxis({a}, 0, -1)", f"np.require({a}, requirements='W')", f"np.fliplr({a})"),
        *(f"np.array({a}, copy=None)", f"{a}.astype({a}.dtype, copy=False)", f"np.diag({a})"),
        *(f"np.einsum('ij->ji', {a})", f"{a}.view({BYTES.format(a=a)})"),
        *(f"np.nan_to_num({a}, copy=False)", f"np.real_if_close({a})", f"np.trim_zeros({a})"),
        *(f"np.broadcast_arrays({a}, {g.like(a)})[0] + 0", f"np.atleast_1d({a})", f"{a}.conj()"),
        *(f"np.lib.stride_tricks.sliding_window_view({a}, 1, axis=0)", f"np.asfortranarray({a})"),
    ]
    if 0 not in shape:  # of (0, 2) NumPy gives two elements that lie outside of the array
        forms.append(f"np.einsum('ii->i', {a})")
    if g.chance(2):
        forms = [f"{a}[{g.basic(a)}]"]
    return g.new(g.one(forms))


def gather(g: Writer) -> str:
    a = g.array(lambda a: a.ndim)
    forms = [
        f"{a}[{g.fancy(a)}]",
        f"{a}[{g.fancy(a)}]",
        f"np.take({a}, [0, -1], axis={g.axis(a)})",
        f"np.compress([True, False], {a}, axis=0)",
        f"{a}.take([0, 0, 1])",
        f"np.delete({a}, 0, axis=0)",
        f"np.roll({a}, 1, axis=0)",
        f"np.repeat({a}, 2, axis=0)",
        f"np.tile({a}, 2)",
        f"np.extract({a} > 0, {a})",
        f"np.where({a} > 0, {a}, {g.operand(a)})",
        f"np.where({a} > 0)",
        f"np.nonzero({a})[0]",
        f"np.insert({a}, 1, 7, axis=0)",
        f"np.pad({a}, 1)",
        f"np.take_along_axis({a}, np.argsort({a}, axis=0), axis=0)",
    ]
    return g.new(g.one(forms))


def assign(g: Writer) -> str:
    a = g.array(lambda a: a.ndim)
    place = g.fancy(a) if g.chance(3) else g.basic(a)
    item = g.operand(a)
    if g.get(a).dtype.names and item in g.names and not g.get(item).dtype.names:
        item = "7"  # NumPy asks what it is given whether it is an array of its own
    return f"{a}[{place}] = {item}"


def write_through(g: Writer) -> str:
    a = g.array(lambda a: a.dtype.kind in "fc" and a.ndim)
    forms = [
        *(f"{a}.T[0] = {g.operand(a)}", f"{a}.real = 2", f"{a}.imag = 3", f"{a}.flat = 1.5"),
        *(f"{a}.reshape(-1)[::2] = 9", f"{a}.ravel()[:2] = -4", f"{a}.T[...] *= 2"),
        *(f"{a}.flat[1] = 8", f"{a}.real[...] = {a}.real * 2", f"np.diagonal({a})[0] = 1"),
        *(f"{a}[::-1][0] = 5", f"{a}[None][0, ...] += 1", f"np.asarray({a})[0] = 6"),
        *(f"{a}.view()[:1] = 0", f"np.broadcast_to({a}, (2, *{a}.shape))[0] = 1"),
        *(f"np.ravel({a})[-1:] -= 1", f"np.squeeze({a})[...] = {a} + 1"),
    ]
    return str(g.one(forms))


def out(g: Writer) -> str:
    a = g.array(lambda a: a.dtype.kind == "f")
    b = g.like(a)
    shape = np.shape(g.get(a))
    o = g.array(lambda o: o.dtype.kind in "fc" and o.shape == shape)
    forms = [
        *(f"np.add({a}, {b}, out={o})", f"np.multiply({a}, {b}, {a})", f"np.exp({a}, out={o})"),
        *(f"np.clip({a}, 0, 1, out={o})", f"np.maximum({a}, {g.one(SCALARS)}, out={a})"),
        *(f"np.sum({a}, axis=0, out={o}[0])", f"np.add({a}, 1, out={o}, where={a} > 0)"),
        *(f"np.matmul({a}, {b}, out={o})", f"np.dot({a}, {a}.T, out={o})", f"{a}.clip(0, 1, {o})"),
        *(f"np.add({a}[::2], 1, out={o}[::2])", f"np.cumsum({a}, axis=0, out={o})"),
        *(f"np.negative({a}.T, out={o}.T)", f"np.take({a}, [0], axis=0, out={o}[:1])"),
        *(f"{a}.mean(axis=0, out={o}[-1])", f"np.concatenate([{a}[:1], {a}[1:]], out={o})"),
        *(f"np.divide({a}, {b}, out=({o},))", f"np.divmod({a}, 2, out=({o}, {o}.copy()))"),
        *(f"np.add({a}, {b}, out=PLAIN)", f"np.round({a}, 1, out={o})"),
    ]
    return g.new(g.one(forms)) if g.chance(2) else str(g.one(forms))


def reduction(g: Writer) -> str:
    a = g.array()
    name = g.one(
        "sum mean std var max min prod any all argmax argmin cumsum cumprod ptp median".split()
    )
    axis = g.axis(a)
    keep = ", keepdims=True" if g.chance(4) and not name.startswith("cum") else ""
    if g.chance(2) and name not in ("ptp", "median"):
        return g.new(f"{a}.{name}(axis={axis}{keep})")
    forms = [
        f"np.{name}({a}, axis={axis}{keep})",
        f"np.{name}({a}, {axis})",
        f"np.add.reduce({a}, axis={axis})",
        f"np.maximum.accumulate({a}, axis=0)",
        f"np.multiply.outer({a}, [1, 2])",
        f"np.quantile({a}, 0.3, axis={axis})",
        f"np.linalg.norm({a}, axis={axis})",
        f"np.count_nonzero({a}, axis={axis})",
        f"np.average({a}, axis={axis})",
        f"np.nansum({a}, axis={axis})",
        f"np.trace({a})",
        f"np.add.reduceat({a}, [0, 1])",
        f"total({a}, axis={axis})",
    ]
    return g.new(g.one(forms))


def join(g: Writer) -> str:
    a = g.array(lambda a: a.ndim)
    shape = np.shape(g.get(a))
    b = g.array(lambda b: b.ndim == len(shape) and b.shape[1:] == shape[1:])
    c = g.array(lambda b: b.ndim and b.shape[:1] == shape[:1])
    p = g.plain(lambda a: a.ndim)
    forms = [
        *(f"np.concatenate([{a}, {b}])", f"np.vstack(({a}, {b}))", f"np.hstack([{a}, {c}])"),
        *(f"np.column_stack([{a}, {c}])", f"np.stack([{a}, {a}], axis=1)", f"np.c_[{a}, {c}]"),
        *(f"np.r_[{a}, {b}]", f"np.append({a}, {b})", f"np.block([[{a}], [{b}]])"),
        *(f"np.concatenate([{a}, {c}], axis=1)", f"np.array([{a}, {a}])", f"np.dstack([{a}, {a}])"),
        *(f"np.concatenate([{a}, PLAIN])", f"np.array([{p}[0], 1.5, 2])", f"np.stack([{a}, {b}])"),
    ]
    return g.new(g.one(forms))


def product(g: Writer) -> str:
    a = g.plain(lambda a: a.ndim == 2 and a.dtype.kind == "f")
    rows, columns = (*np.shape(g.get(a)), 1, 1)[:2]
    b = g.plain(lambda b: b.ndim in (1, 2) and len(b) == columns and b.dtype.kind == "f")
    c = g.plain(lambda b: b.ndim in (1, 2) and len(b) == rows and b.dtype.kind == "f")
    forms = [
        *(f"{a} @ {b}", f"{a}.T @ {c}", f"{a}.T @ {a}", f"{a} @ {a}.T", f"{a}.T @ {a}.copy()"),
        *(f"np.dot({a}, {b})", f"{a}.T.dot({c})", f"np.matmul({a}.T, {c})", f"gram({a})"),
        *(f"np.inner({a}, {a})", f"np.einsum('ij,ik->jk', {a}, {a})", f"np.outer({a}, {b})"),
        *(f"np.tensordot({a}, {a}, axes=(0, 0))", f"{a}[:, 0] @ {a}[:, 0]", f"np.vdot({a}, {a})"),
        *(f"({a} * 2).T @ ({a} * 2)", f"{a}[::2].T @ {a}[::2]", f"{a}.T @ (+{a})", f"{a} @ {c}"),
        *(f"np.linalg.multi_dot([{a}.T, {a}, {a}.T])", f"np.kron({a}, [1, 2])"),
        *(f"np.einsum('ij,j->i', {a}, {b})", f"np.cov({a})", f"{a}.T @ np.asarray({a})"),
        *(f"{a}[:, :2].T @ {a}", f"np.c_[{a}, {a}].T @ np.c_[{a}, {a}]", f"np.vecdot({a}, {a})"),
    ]
    return g.new(g.one(forms))


def _solvable(a: Any) -> bool:
    """Whether LAPACK may be given an array: on some that are not finite it never returns."""
    return a.dtype.kind == "f" and bool((np.abs(a) < 1e30).all())


def algebra(g: Writer) -> str:
    a = g.array(lambda a: _solvable(a) and a.ndim == 2 and a.shape[0] == a.shape[1])
    n = (*np.shape(g.get(a)), 1)[0]
    b = g.array(lambda b: _solvable(b) and b.ndim and len(b) == n)
    if not (_solvable(g.get(a)) and _solvable(g.get(b))):
        return view(g)
    s = f"({a} @ {a}.T + np.eye({n}))"
    pair = f"{g.fresh()}, {g.fresh()}x"
    forms = [
        *(g.new(f"np.linalg.solve({s}, {b})"), g.new(f"np.linalg.inv({s})")),
        *(f"{pair} = np.linalg.eigh({s})", f"{pair} = np.linalg.qr({b})"),
        *(g.new(f"np.linalg.eigh({s})[1]"), g.new(f"np.linalg.cholesky({s})")),
        *(g.new(f"np.linalg.cholesky(-{s})"), g.new(f"np.linalg.svd({b}, full_matrices=False)[2]")),
        *(g.new(f"np.linalg.lstsq({b}, {b}, rcond=None)[0]"), g.new(f"np.linalg.det({a})")),
        *(g.new(f"np.linalg.eigh({s}).eigenvalues * 3"), g.new(f"np.linalg.qr({b})[1] * 3")),
        *(g.new(f"np.linalg.solve({a}, {b})"), g.new(f"np.linalg.pinv({a})")),
        *(g.new(f"np.linalg.slogdet({s})[1]"), g.new(f"np.linalg.matrix_rank({a})")),
        *(g.new(f"np.linalg.solve(np.zeros(({n}, {n})), {b})"), g.new(f"np.linalg.svdvals({b})")),
    ]
    return str(g.one(forms))


def draw(g: Writer) -> str:
    a = g.array(lambda a: a.ndim)
    n = g.number(0, 6)
    forms = [
        *(f"rng.normal(size={n})", f"rng.standard_normal(({n}, 3))", f"rng.integers(0, 9, {n})"),
        *(
            f"rng.permutation({a})",
            f"rng.permutation({n})",
            f"rng.choice({a}, {n})",
            "rng.random()",
        ),
        *(f"rng.uniform(-1, 1, {a}.shape)", f"rng.choice(5, {min(n, 5)}, replace=False)"),
        *(f"np.random.rand({n})", f"np.random.default_rng({n}).normal(size=3)", f"drawn(rng, {n})"),
        *(f"np.random.RandomState({n}).randn(2, {n})", f"np.random.permutation({a})"),
        *(f"rng.normal({a}, 0.1)", f"np.random.normal(size={n})", f"rng.permuted({a}, axis=0)"),
        *(f"rng.multivariate_normal([0, 0], np.eye(2), {n})", f"rng.poisson(np.abs({a}))"),
        *(f"np.random.randint(0, 5, size=({n},))", f"rng.random({n}, dtype=np.float32)"),
        *(f"rng.standard_normal(out={a})", f"np.random.default_rng({a}.astype(int)).random(2)"),
    ]
    if g.chance(3):
        plain = [
            *(f"rng.shuffle({a})", f"np.random.seed({n})", f"np.random.shuffle({a})"),
            *(
                f"rng.shuffle({a}[1:])",
                f"rng.shuffle({a}.T, axis=0)",
                "rng.bit_generator.advance(3)",
            ),
            f"rng.random(out={a})",
        ]
        return str(g.one(plain))
    return g.new(g.one(forms))


def create(g: Writer) -> str:
    a = g.array()
    n = g.number(0, 5)
    t = g.one(DTYPES)
    forms = [
        *(f"np.zeros(({n}, 2))", f"np.ones({n}, dtype={t})", f"np.arange({n})", f"np.eye({n})"),
        *(f"np.full(({n}, 3), {g.one(SCALARS)})", f"np.linspace(0, 1, {n})", f"np.zeros_like({a})"),
        *(f"np.array([[{n}, 2], [3, 4.5]])", f"np.array({a})", f"{a}.copy()", f"np.copy({a})"),
        *(f"{a}.astype({t})", f"np.arange(0.0, {n}, 0.5)", f"np.full_like({a}, 2)", f"{a} + 0"),
        *(f"np.asarray({a}, dtype={t})", f"{a}.flatten()", f"{a}.copy(order='F')", f"np.tri({n})"),
        *(
            f"np.array({a}, order='F')",
            f"np.identity({n})",
            f"np.diag({a})",
            f"np.meshgrid({a}, [1])",
        ),
        *(f"np.array([{a}.sum(), {n}])", f"np.float64({n})", f"np.ones_like({a}, dtype={t})"),
    ]
    return g.new(g.one(forms))


def mutate(g: Writer) -> str:
    a = g.array(lambda a: a.dtype.kind == "f" and a.ndim)
    forms = [
        *(f"np.copyto({a}, {g.operand(a)})", f"np.put({a}, [0, 1], [5, 6])", f"{a}.sort()"),
        *(f"np.place({a}, {a} > 0, [1, 2])", f"np.putmask({a}, {a} > 0, 7)", f"{a}.fill(3)"),
        *(f"np.fill_diagonal({a}, 4)", f"{a}.partition(0)"),
        *(f"np.put_along_axis({a}, np.argmax({a}, axis=0)[None], 9, axis=0)", f"{a}.put([0], 1)"),
        *(
            f"np.copyto({a}[:1], {a}[-1:] * 2)",
            f"np.copyto({a}, 1, where={a} > 0)",
            f"{a}.sort(axis=0)",
        ),
        *(f"{a}.setflags(write=False)", f"{a}[1:].sort()"),
        *(f"{a}.T.sort()", f"np.copyto({a}.T, {a}.T * 2)"),
        *(f"np.fill_diagonal({a}[::2], {a}[0])", f"{a}.itemset(0, 1)"),
        *(f"np.nan_to_num({a}, copy=False)", f"{a}.byteswap(inplace={a}.dtype.char not in 'gG')"),
    ]
    if g.get(a).flags.writeable:  # NumPy writes into read-only arrays here, lima refuses
        at = (f"np.add.at({a}, [0, 0], 1)", f"np.subtract.at({a}, ..., 2)")
        forms += [*at, f"np.negative.at({a}, [0])"]
    return str(g.one(forms))


def scalar(g: Writer) -> str:
    a = g.array()
    forms = [
        *(f"float({a}.sum())", f"len({a})", f"int({a}.size)", f"bool(({a} > 0).any())", f"{a}.T"),
        *(f"{a}.tolist()", f"{a}.shape", f"max({a}.ravel())", f"sum({a})", f"list({a})"),
        *(f"{{u: 1 for u in np.unique({a})}}", f"[x * 2 for x in {a}]", f"{a}.item(0)"),
        *(f"{a}.sum() if {a}.sum() > 0 else -{a}.sum()", f"1 in {a}", f"round({a}.sum(), 2)"),
        *(f"sorted({a}.ravel()[:3])", f"'%g' % {a}.max()", f"f'{{{a}.sum():.3f}}'", f"{a}.nbytes"),
        *(f"hash({a}.argmax())", f"np.shape({a})", f"{a}.max() ** 2", f"divmod({a}, 2)[1]"),
        *(f"min({a}.max(), 3)", f"range(int(np.argmax({a})))[-1:]", f"{a}.sum().item()"),
        *(
            f"any(r is None for r in {a})",
            f"np.allclose({a}, {a})",
            f"{a}.dtype",
            f"{a} is {a}.T.T",
        ),
        *(f"isinstance({a}, np.ndarray)", f"np.array_equal({a}, {g.like(a)})"),
        f"{a}.dtype if {a}.dtype.char in 'gGVO' else {a}.tobytes()",  # padding, addresses
        *(f"{a}.flags.writeable", f"{a}.flags['C_CONTIGUOUS']", f"{a}.ndim", f"str({a})"),
        *(f"{a}.strides", f"np.isscalar({a}.sum())"),
    ]
    return g.new(g.one(forms))


def other(g: Writer) -> str:
    a = g.array(lambda a: a.ndim)
    forms = [
        *(f"np.sort({a}, axis={g.axis(a)})", f"np.argsort({a}, axis=0)", f"np.unique({a})"),
        *(f"np.unique({a}, return_counts=True)[1]", f"np.lexsort(({a}, {a}))", f"np.diff({a})"),
        *(f"np.searchsorted(np.sort({a}.ravel()), 0.5)", f"np.histogram({a}, bins=3)[0]"),
        *(f"np.bincount(np.abs({a}.ravel()).astype(int) % 5)", f"np.gradient({a}.ravel())"),
        *(f"np.isclose({a}, 0)", f"np.round({a}, 1)", f"np.interp({a}, [0, 1], [2, 3])"),
        *(f"np.modf({a})", f"np.divmod({a}, 3)", f"np.frexp({a})[1]", f"np.select([{a} > 0], [{a}])"),
        *(f"np.tril({a})", f"np.digitize({a}, [0, 1])", f"np.isin({a}, [1, 2])", f"np.fft.fft({a})"),
        *(f"np.apply_along_axis(np.sum, 0, {a})", f"np.vectorize(abs)({a})", f"np.piecewise({a},"
          f" [{a} > 0], [1])", f"np.ma.masked_less({a}, 0).sum()", f"np.partition({a}, 0)"),
        *(f"np.argwhere({a})", f"np.clip({a}, {g.operand(a)}, None)", f"np.convolve({g.plain()}, [1, 2])"),
    ]  # fmt: skip
    return g.new(g.one(forms))


def objects(g: Writer) -> str:
    a = g.array()
    forms = [
        *(f"box.a = {a}", "box.a += 1", g.new("box.a"), g.new(f"box.bump({a})"), "box.write(2)"),
        *(f"pair[0] = {a}", "pair[1] *= 2", g.new("pair[0]"), f"pair.append({a})", "pair.reverse()"),
        *(f"bump({a})", g.new(f"bump({a})"), f"{g.fresh()}, {g.fresh()}x = halves({a})"),
        *(g.new(f"standard({a})"), g.new(f"scaled({a})"), g.new(f"cleared({a}, {g.array()})")),
        *(g.new(f"scaled({a}, factor={g.operand(a)})"), g.new("PLAIN * 2"), "PLAIN[1] += 1"),
        *(f"PLAIN[0] = {a}", f"PLAIN[...] = PLAIN + {a}", "COUNTS[1] += 2", g.new("COUNTS + 0")),
        *(g.new(f"PLAIN.T @ PLAIN + {a}"), g.new(f"np.add(PLAIN, {a})"), "PLAIN.sort()"),
        *(g.new(f"({a}, [{a}, 1], {{'x': {a}}})"), g.new(f"Box({a})"), g.new(f"Box({a}).bump(1)")),
        *(f"for row in {a}: row *= 2", f"for i in range(len({a})): {a}[i] = {a}[i] + i"),
        *(f"for i, row in enumerate({a}): {a}[i] = row.sum()", g.new(f"[r for r in {a}][-1]")),
        *(g.new(f"{a} if {a}.sum() > 1 else {g.array()}"), g.new(a), f"{g.one(g.names)} = None"),
    ]  # fmt: skip
    return str(g.one(forms))


STATEMENTS = (
    *(binary,) * 6, *(in_place,) * 3, in_place_view, shifted, *(unary,) * 2, *(view,) * 6,
    *(gather,) * 3, *(assign,) * 3, *(write_through,) * 2, *(out,) * 2, *(reduction,) * 3,
    *(join,) * 2, *(product,) * 4, *(algebra,) * 2, *(draw,) * 2, *(create,) * 2, *(mutate,) * 2,
    *(scalar,) * 2, *(other,) * 2, *(objects,) * 3,
)  # fmt: skip
"""Kinds of statements, as often as they shall be drawn."""
