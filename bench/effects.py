"""Kinds of statements with state: random draws, ufunc methods, records, control flow.

Beside `bench.statements`, whose kinds compute; see `bench.programs` for how they are run.
"""

from __future__ import annotations

import textwrap

import numpy as np

from bench.programs import SCALARS, Writer

# --------------------------------------------------------------------------- random numbers

SEEDED = "len(str({g}.bit_generator.seed_seq.entropy)) < 30"
"""Whether a generator's children are the same in every run: those of jumped ones are not."""

MAKERS = (
    "np.random.default_rng({n})", "np.random.Generator(np.random.PCG64({n}))",
    "np.random.Generator(np.random.Philox({n}))", "np.random.Generator(np.random.SFC64({n}))",
    "np.random.Generator(np.random.MT19937({n}))", "np.random.Generator(np.random.PCG64DXSM({n}))",
    "np.random.Generator(np.random.PCG64({n}).jumped())",
    f"rng.spawn(2)[1] if {SEEDED.replace('{g}', 'rng')} else rng",
    f"held.rng.spawn(1)[0] if {SEEDED.replace('{g}', 'held.rng')} else held.rng",
    "np.random.default_rng(np.random.SeedSequence({n}).spawn(2)[1])",
    "np.random.default_rng([{n}, 7])", "np.random.default_rng(np.random.PCG64({n}).jumped(2))",
    "np.random.default_rng(3 if rng is None else rng)", "held.rng", "rng",
)  # fmt: skip
"""Ways to come by a generator."""

DRAWS = (
    "random({size})", "random({size}, dtype=np.float32)", "standard_normal({size})",
    "standard_normal({size}, dtype='f4')", "normal({a}, 2.0)", "normal(0, 1, {size})",
    "integers(0, 9, {size})", "integers(5)", "integers(0, 200, {size}, dtype=np.uint8)",
    "integers(1, 6, {size}, endpoint=True)", "uniform(-1, 1, {size})", "exponential(2.0, {size})",
    "gamma(2.0, 1.0, {size})", "beta(0.5, 2.0, {size})", "poisson(3, {size})",
    "binomial(9, 0.3, {size})", "multinomial(5, [0.2, 0.8], {n})", "dirichlet([1, 2, 3], {n})",
    "multivariate_normal([0, 1], [[2, 0.5], [0.5, 1]], {n})",
    "multivariate_normal([0, 1], [[2, 0.5], [0.5, 1]], {n}, method='cholesky')",
    "hypergeometric(5, 4, 3, {size})", "multivariate_hypergeometric([3, 4], 5, {n})",
    "standard_t(4, {size})", "vonmises(0, 1, {size})", "zipf(3.0, {size})", "geometric(0.4, {size})",
    "triangular(0, 1, 3, {size})", "laplace(0, 1, {size})", "logistic(0, 1, {size})",
    "gumbel(0, 1, {size})", "lognormal(0, 1, {size})", "pareto(3, {size})", "power(2, {size})",
    "rayleigh(1, {size})", "wald(1, 2, {size})", "weibull(2, {size})", "chisquare(3, {size})",
    "f(3, 4, {size})", "noncentral_chisquare(3, 1, {size})", "noncentral_f(3, 4, 1, {size})",
    "logseries(0.5, {size})", "negative_binomial(3, 0.5, {size})", "standard_cauchy({size})",
    "standard_exponential({size})", "standard_exponential({size}, method='inv')",
    "standard_gamma(2.0, {size})", "choice({a}, {n})", "choice({a}, 1, replace=False)",
    "choice(4, {n}, p=[0.1, 0.2, 0.3, 0.4])", "choice({a}, 2, axis=-1)", "permutation({a})",
    "permutation(5)", "permuted({a})", "permuted({a}, axis=0)", "permuted({a}, axis=-1, out={a})",
    "permutation({a}, axis=-1)", "choice({a}, 2, shuffle=False, replace=False)", "bytes({n})",
)  # fmt: skip
"""Draws from a `Generator`."""

LEGACY = (
    "rand({n}, 2)", "randn({n})", "randint(0, 9, {size})", "normal(0, 1, {size})", "random({size})",
    "random_sample({size})", "choice({n} + 1, 2)", "permutation({a})", "permutation(4)",
    "uniform(0, 2, {size})", "standard_normal({size})", "poisson(2, {size})", "gamma(2, 1, {size})",
    "multivariate_normal([0, 0], [[1, 0], [0, 1]], {n})", "exponential(1.0, {size})",
    "binomial(5, 0.5, {size})", "dirichlet([1, 1], {n})", "random_integers(1, 6, {size})",
    "standard_cauchy({size})", "beta(1, 2, {size})", "tomaxint({size})", "multinomial(4, [0.5] * 2)",
)  # fmt: skip
"""Draws from a `RandomState`, and from the global one."""

QUIET = (
    "{r}.shuffle({a})", "{r}.shuffle({a}, axis=-1)", "{r}.shuffle({a}[1:])", "{r}.random(out={a})",
    "{r}.standard_normal(out={a})", "{r}.standard_exponential(out={a})", "{r}.shuffle({a}.T)",
    "{r}.permuted({a}, out={a})", "{r}.shuffle(pair)", "held.rng = {r}", "held.draw({n})",
    "np.random.seed({n})", "np.random.shuffle({a})", "np.random.set_state(np.random.get_state())",
    "{r}.bit_generator.state = {r}.bit_generator.state", "held.rng, rng = rng, held.rng",
    "_s = {r}.bit_generator.state; {r}.random(3); {r}.bit_generator.state = _s",
)  # fmt: skip
"""What advances or sets a generator, or writes an array, and gives nothing."""


def generators(g: Writer, kind: type) -> list[str]:
    """The names of generators of a kind."""
    return [name for name in g.names if isinstance(g.get(name), kind)]


def _filled(g: Writer, text: str, **more: str) -> str:
    n = str(g.number(0, 5))
    size = g.one([n, f"({n}, 2)", "None", "(2, 0, 3)", "3"])
    a = g.array(lambda a: a.ndim and a.dtype.kind in "fi")
    return text.format(n=n, size=size, a=a, **more)


def maker(g: Writer) -> str:
    made = _filled(g, g.one(MAKERS))
    if g.chance(4):
        made = f"np.random.RandomState({g.number(0, 9)})"
    return g.new(made)


def drawing(g: Writer) -> str:
    names = ["rng", "held.rng", *generators(g, np.random.Generator) * 2]
    owner = g.one(names) if not g.chance(8) else g.one(MAKERS).format(n=3)
    text = f"{owner}.{g.one(DRAWS)}"
    if g.chance(4):
        names = ["np.random", *generators(g, np.random.RandomState) * 2]
        text = f"{g.one(names)}.{g.one(LEGACY)}"
    elif g.chance(6):
        text = g.one(["held.draw({n})", "drawn({g}, {n})", "noisy({a}, {g})", "closed({g})({n})"])
        text = text.replace("{g}", g.one(["rng", "held.rng"]))
    return g.new(_filled(g, text))


def advancing(g: Writer) -> str:
    names = ["rng", "held.rng", *generators(g, np.random.Generator)]
    return _filled(g, g.one(QUIET), r=g.one(names))


# --------------------------------------------------------------------------- universal functions

PAIRS = (
    "add subtract multiply maximum minimum fmax fmin hypot arctan2 logical_and logical_or"
    " bitwise_or bitwise_xor gcd left_shift power float_power divide floor_divide remainder fmod"
    " copysign nextafter logaddexp heaviside greater equal ldexp"
).split()
SINGLES = (
    "exp2 expm1 log log2 log10 sin cos tan arcsin arccos arctan sinh cosh arcsinh arctanh degrees"
    " radians ceil trunc isfinite isinf signbit spacing positive fabs logical_not conjugate"
).split()


def ufuncs(g: Writer) -> str:
    f = f"np.{g.one(PAIRS)}"
    a = g.array(lambda a: a.ndim and a.dtype.kind in "fiub")
    # Where a power of integers raises half-way, NumPy casts what its buffer held before.
    w = "np.float_power" if f == "np.power" else f
    b = g.operand(a)
    # NumPy itself crashes on `np.equal(unsigned, -1, where=...)`.
    c = g.like(a) if g.get(a).dtype.kind == "u" else b
    shape = np.shape(g.get(a))
    o = g.array(lambda o: o.dtype.kind == "f" and o.shape == shape)
    row = g.array(lambda o: o.dtype.kind == "f" and o.shape == shape[1:])
    axis = g.axis(a)
    n = max((*shape, 1)[0], 1)
    places = [g.number(-n, n - 1) for _ in range(3)]
    forms = [
        *(f"{f}.reduce({a}, axis={axis})", f"{f}.reduce({a}, {axis}, keepdims=True)"),
        *(f"{w}.reduce({a}, axis=0, out={row})", f"{f}.reduce({a}, axis=None, initial=1)"),
        *(f"{f}.reduce({a}, axis={axis}, where={a} > 0, initial=2)", f"{f}.accumulate({a})"),
        *(f"{f}.accumulate({a}, axis=-1)", f"{w}.accumulate({a}, axis=0, out={o})"),
        *(f"{f}.reduceat({a}, {[abs(p) % n for p in places]})", f"{f}.outer({a}, [1, 2])"),
        *(f"{f}.reduceat({a}, [0], axis=-1)", f"{f}.outer({a}, {g.one(SCALARS)})"),
        *(f"{w}({a}, {b}, out={o})", f"{w}({a}, {b}, {o})", f"{f}({a}, {b}, dtype='f8')"),
        *(f"{w}({a}, {c}, out={o}, where={a} > 0)", f"{w}({a}, {b}, out={o}, casting='unsafe')"),
        *(f"{f}({a}, {b}, dtype=np.float32, casting='same_kind')", f"{w}({a}, {a}[::-1], out={o})"),
        *(f"np.{g.one(SINGLES)}({a})", f"np.{g.one(SINGLES)}({a}, out={o}, where={a} != 0)"),
        *(f"np.{g.one(SINGLES)}({a}, {o})", f"{f}({a}, {b}, order='F')", f"{f}({b}, {a})"),
    ]
    if g.get(a).flags.writeable:  # NumPy writes into read-only arrays here, lima refuses
        forms += [f"{w}.at({a}, {places}, {g.one(SCALARS)})", f"{w}.at({a}, {a} > 0, 2)"]
        forms += [f"{w}.at({a}, slice(None, None, 2), {a}[0])"]
    return g.new(g.one(forms)) if g.chance(2) else str(g.one(forms))


def overlapping(g: Writer) -> str:
    a = g.array(lambda a: a.ndim and len(a) > 2 and a.dtype.kind in "fic")
    f = g.one("add multiply subtract maximum".split())
    s, p = g.one(SINGLES), g.one("arctan2 hypot logaddexp float_power multiply fmod".split())
    forms = [
        *(f"np.{f}({a}[1:], {a}[:-1], out={a}[1:])", f"np.{f}({a}[:-1], {a}[1:], out={a}[1:])"),
        *(f"{a}[1:] += {a}[:-1]", f"{a}[:-1] -= {a}[1:]", f"{a}[::-1] += {a}", f"{a} += {a}[::-1]"),
        *(f"{a}[...] = {a}[::-1]", f"{a}[::2] = {a}[: (len({a}) + 1) // 2]", f"{a} -= {a}[0]"),
        *(f"np.cumsum({a}, axis=0, out={a})", f"np.{f}({a}, {a}[::-1], out={a})", f"{a} *= {a}.T"),
        *(f"np.copyto({a}[1:], {a}[:-1])", f"np.{f}.accumulate({a}, out={a})", f"{a} += {a}.max()"),
        *(f"np.take({a}, [2, 1], axis=0, out={a}[:2])", f"{a}[1:][...] = {a}[:-1] + {a}[1:]"),
        *(f"np.clip({a}, {a}[0], None, out={a})", f"{a}[{a} > 0] = {a}[{a} > 0][::-1]"),
        *(f"{a}[[0, 1]] = {a}[[1, 0]]", f"{a}[1:2], {a}[:1] = {a}[:1], {a}[1:2]"),
        *(f"np.concatenate([{a}[1:], {a}[:1]], out={a})", f"np.dot({a}, {a}, out={a})"),
        *(f"{a}[:2] = [{a}[1], {a}[0]]", f"{a}[...] = [{a}[1], *{a}[:-1]]", f"{a}[0] = [1, -3, 2]"),
        *(f"np.{s}({a}[1:], out={a}[:-1])", f"np.{s}({a}[::-1], out={a})"),
        *(f"np.{p}({a}[:-1], {a}[1:], out={a}[:-1])", f"{a}[:-1] {g.one(['*', '**'])}= {a}[1:]"),
    ]
    return str(g.one(forms))


def window(g: Writer) -> str:
    a = g.array(lambda a: a.ndim and len(a) > 1)
    view = "np.lib.stride_tricks.sliding_window_view"
    forms = [
        *(f"{view}({a}, 2, axis=0)", f"{view}({a}, 2, axis=-1)", f"{view}({a}, 2, axis=0).sum(-1)"),
        *(f"{view}({a}, {a}.shape)", f"{view}({a}, 2, 0)[1:]", f"{view}({a}, 2, 0).mean(axis=-1)"),
        *(f"np.broadcast_to({a}, (3, *{a}.shape))[:, 0]", f"np.resize({a}, 5)", f"{a}.real[1:]"),
        *(f"np.broadcast_to({a}, (2, *{a}.shape)).sum(0)", f"np.diagonal({a}, 1)", f"{a}.imag + 1"),
        *(f"np.resize({a}, (2, 3))", f"{a}.T.flat[:2]"),
        *(f"{a}.flat[1:]", f"{a}.flat[[0, -1]]", f"[x for x in {a}.flat][:3]", f"list({a}.T.flat)"),
        f"np.add({view}({a}, 2, axis=0)[..., 0], 1)",
    ]
    return g.new(g.one(forms))


# --------------------------------------------------------------------------- records and dates


def record(g: Writer) -> str:
    t = g.one(["t", "t", *g.arrays(lambda a: a.dtype.names is not None)])
    v = g.array(lambda a: a.ndim == 1)
    new = [
        *(f"{t}['x']", f"{t}['y'] * 2", f"{t}[1:]", f"{t}[['x', 'y']]", f"{t}['p'][:, 0]"),
        *(f"{t}[{t}['x'] > 0]", f"{t}[0]['x']", f"np.sort({t}, order='x')['x']", f"{t}.copy()"),
        *(
            f"np.zeros(2, {t}.dtype)",
            f"{t}.dtype.names",
            f"{t}['p'].sum(axis=0)",
            f"{t}['x'] + {v}",
        ),
        *(f"np.concatenate([{t}, {t}])", f"{t}[[0, 1]]", f"{t}['y'].astype(float)", f"{t} == {t}"),
        *(
            f"{t}[0].item()",
            f"[list(x) for x in {t}][:2]",
            f"{t}[0].copy()",
            f"{t}[[0, 1]].tolist()",
        ),
        *(f"[x for x, *_ in {t}]", f"len({t}[0])", f"tuple({t}[-1])", f"{t}[:, None].tolist()[0]"),
        *(f"{t}['p'].T", f"{t}.tolist()", f"{t}['x'][::2]", f"np.argsort({t}, order=['y', 'x'])"),
    ]
    done = [
        *(
            f"{t}['x'] += 1",
            f"{t}['y'][1:] = 3",
            f"{t}[0] = (1, 2, [3, 4])",
            f"{t}['x'] = {t}['y']",
        ),
        *(f"{t}['p'][:, 0] = 7", f"{t}[1:] = {t}[:-1]", f"{t}['x'][0] *= 2", f"{t}['x'] = {v}"),
        *(f"{t}[0]['x'] = 5", f"{t}['x'].sort()", f"{t}[::-1]['y'] = 4", f"{t}.sort(order='y')"),
        *(f"{t}.tolist()[0][-1][...] = 2", f"{t}.item(0)[-1][:1] = 3", f"list({t}[0])[-1][:] = 4"),
        *(f"{t}['nope'] = 1", f"{t}['p'] = {t}['p'][::-1]", f"np.copyto({t}['x'], 3)"),
    ]
    return g.new(g.one(new)) if g.chance(2) else str(g.one(done))


def date(g: Writer) -> str:
    d = g.one(["d", "d", *g.arrays(lambda a: a.dtype.kind in "mM" and a.ndim > 0)])
    new = [
        *(f"{d} + 1", f"{d} - {d}[0]", f"np.diff({d})", f"{d}.astype('M8[s]')", f"{d}.max()"),
        *(f"np.sort({d})", f"{d} > {d}[0]", f"np.isnat({d})", f"({d} - {d}[0]).astype(int)"),
        *(f"{d}[::-1]", f"np.unique({d})", f"np.argsort({d})", f"{d} + np.timedelta64(2, 'D')"),
        *(f"({d} - {d}[0]) / np.timedelta64(1, 'h')", f"np.where({d} > {d}[0], {d}, {d}[0])"),
        *(f"np.concatenate([{d}, {d}])", f"{d}.astype('M8[M]')", f"{d}.view('i8')", f"{d}.min()"),
    ]
    done = [f"{d}[1:] = {d}[:-1]", f"{d} += np.timedelta64(1, 'D')", f"{d}[0] = '2024-02-29'"]
    done += [f"{d}.sort()", f"{d}[{d} > {d}[0]] = 'NaT'", f"np.copyto({d}, {d}[0])"]
    return g.new(g.one(new)) if g.chance(2) else str(g.one(done))


# --------------------------------------------------------------------------- control flow

SIMPLE = (ufuncs, overlapping, window, drawing, advancing)


def flow(g: Writer) -> str:
    """A branch, a loop, a block or a function around other statements."""
    a = g.array(lambda a: a.ndim and a.dtype.kind == "f")
    b = g.array(lambda b: b.ndim and b.dtype.kind in "fi")
    kinds = g.inner or SIMPLE

    def statement() -> str:
        return str(g.one(kinds)(g))

    def body(count: int = 1) -> str:
        return textwrap.indent("\n".join(statement() for _ in range(count)), "    ")

    n = g.number(1, 3)
    numbers = all(g.get(x).dtype.kind in "fiuc" for x in (a, b))
    item = "_x" if numbers else f"{a}[0]"  # plain dates take no traced numbers, nor the reverse
    forms = (
        lambda: f"if {a}.sum() > {g.one(['0', '1', 'v.sum()'])}:\n{body()}\nelse:\n{body()}",
        lambda: f"for _i in range({n}):\n{body(2)}",
        lambda: (
            f"for _i, _x in enumerate({b}):\n    if _i == 3: break\n    {a}[_i] = {item}\n{body()}"
        ),
        lambda: f"_i = 0\nwhile _i < {n} and {a}.max() < 50:\n    _i += 1\n    {a} += _i\n{body()}",
        lambda: f"try:\n{body()}\nexcept (ValueError, TypeError, IndexError):\n{body()}",
        lambda: f"with np.errstate(divide='raise', invalid='raise'):\n{body()}",
        lambda: f"for _x in ({a}, {b}, {a}):\n    _x *= 2\n{body()}",
        lambda: (
            f"def _f(x, y={g.one(SCALARS)}):\n    x += y\n    return x - {b}\n{g.new(f'_f({a})')}"
        ),
        lambda: f"_f = lambda x: x * 2 + {b}\n{g.new(f'[_f(x) for x in ({a}, {a}[:1])]')}",
        lambda: f"{g.new(f'{{i: {a}[i:] for i in range({n})}}')}\n{statement()}",
        lambda: f"_x = {a}[:1]\ndel _x\n{statement()}",
        lambda: f"_x = {a}\n_x[:1] = 5\n{g.new(f'both({a}, {a}, {b})')}",
        lambda: g.new(f"both({a}, {a}[::-1], {b})"),
    )
    return str(g.one(forms)())


EFFECTS = (
    *(drawing,) * 4, *(advancing,) * 2, maker, *(ufuncs,) * 4, *(overlapping,) * 2, *(window,) * 2,
    *(record,) * 2, date, *(flow,) * 3,
)  # fmt: skip
"""Kinds of statements, as often as they shall be drawn."""
