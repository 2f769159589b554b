"""Random programs of matrices that are cut, joined and multiplied, in sessions that use rules.

Their numbers are few bits long, so that sums and products are exact in whatever order they are
computed. What a rule gives must then be *equal* to NumPy's result, for rules of every class.
"""

from __future__ import annotations

import random
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import lima
from bench.fuzz import load, reduced, stress
from lima import cost, rewrite
from lima.node import leaf
from lima.ops import straight

HEAD = """\
import numpy as np


def gram(Z):
    return Z.T @ Z


def moments(Z, t):
    Z = np.column_stack([Z, np.ones(Z.shape[0])])
    return Z.T @ Z, Z.T @ t


@traced
def centred(Z):
    C = Z - Z.mean(axis=0)
    return C.T @ C


def program(X, Y, W, F, y, t, rng):
"""
ARGUMENTS = ["X", "Y", "W", "F", "y", "t"]
FACTORS = ["2.0", "0.5", "-1.0", "4.0", "1.0", "-0.25"]
ROWS = 16
ANY = 60.0
"""Bits of the elements of an array that is only cut and joined."""

Choices = Any


def inputs(seed: int) -> dict[str, Any]:
    """The arguments of a program: small integers, in one layout or another."""
    rng, layout = np.random.default_rng(seed), random.Random(seed)

    def integers(*shape: int, dtype: str = "f8") -> Any:
        a = rng.integers(-3, 4, shape).astype(dtype)
        order = layout.choice([lambda a: a, np.asfortranarray, lambda a: np.repeat(a, 2, 0)[::2]])
        return order(a)

    X = integers(ROWS, 6)
    return {
        "X": X,
        "Y": integers(ROWS, 3),
        "W": layout.choice([integers(6, 4), integers(6, 6), X[:6]]),
        "F": integers(ROWS // 2, 6, dtype=layout.choice(["f8", "f8", "f4", "c16", "i8"])),
        "y": layout.choice([integers(ROWS), X[:, 1]]),
        "t": integers(6),
        "rng": np.random.default_rng(seed),
    }


def text_of(lines: list[str]) -> str:
    """The module of a program. It gives all its variables, and which statements raised what."""
    body = ["seen = []"]
    for k, line in enumerate(lines):
        body += ["try:", *(f"    {part}" for part in line.split("\n"))]
        body += ["except Exception as error:", f"    seen.append(({k}, type(error).__name__))"]
    names = "{k: v for k, v in locals().items() if k[0] != '_' and k not in ('error', 'rng')}"
    return HEAD + "\n".join(f"    {line}" for line in [*body, f"return {names}"])


# --------------------------------------------------------------------------- what fits


def width(a: Any) -> float:
    """Bits from the highest to the lowest that any element of `a` uses, about; inf for NaN."""
    parts = (a.real, a.imag) if a.dtype.kind == "c" else (a,)
    most, least = 0.0, 1.0
    for part in parts:
        values = np.abs(np.asarray(part, dtype=float))
        if not np.isfinite(values).all():
            return np.inf
        most = max(most, float(values.max(initial=0.0)))
        while least > 2.0**-30 and (values / least % 1.0).any():
            least /= 2
    return float(np.log2(max(most, least) / least)) + 1


def room(a: Any) -> float:
    """Bits that a number of the dtype of `a` has."""
    return {"f": 23, "F": 23, "d": 52, "D": 52}.get(a.dtype.char, 62)


class Writer:
    """Writes one program, running every statement with plain NumPy as it goes."""

    def __init__(self, choices: Choices, seed: int) -> None:
        self.choices = choices
        self.scope = load(text_of(["pass"]), lambda f: f)
        self.scope.update(inputs(seed))
        self.names = list(ARGUMENTS)
        self.lines: list[str] = []
        self.made: list[str] = []
        self.kinds: Counter[str] = Counter()

    def one(self, items: Any) -> Any:
        return items[self.choices.randrange(len(items))]

    def number(self, low: int, high: int) -> int:
        return int(self.choices.randint(low, high))

    def get(self, name: str) -> Any:
        return self.scope[name]

    def array(self, test: Callable[[Any], bool], bits: float = ANY) -> str:
        """The name of an array that passes the test and whose elements have at most so many bits."""
        found = [
            name
            for name in self.names
            if isinstance(a := self.scope.get(name), np.ndarray)
            and test(a)
            and width(a) <= min(bits, room(a))
            and (room(a) > 30 or width(a) <= 9 or bits == ANY)
        ]
        if not found:
            raise LookupError
        return str(found[max(self.number(0, len(found) - 1), self.number(0, len(found) - 1))])

    def matrix(self, bits: float = ANY, test: Callable[[Any], bool] = lambda a: True) -> str:
        return self.array(lambda a: a.ndim == 2 and a.size > 0 and test(a), bits)

    def lines_of(self, n: int) -> str:
        """Some of `n` lines: a slice, a list, a mask."""
        start, stop = sorted((self.number(0, n), self.number(0, n)))
        some = [self.number(0, n - 1) for _ in range(self.number(1, n))] if n else []
        forms = [f"{start}:{stop}", f"{start}:", f":{stop}", "::-1", "::2", "1::2", f"{some}"]
        forms += [f"{sorted(set(some))}", f"np.isin(np.arange({n}), {some})", f"-{max(1, stop)}:"]
        return str(self.one(forms))

    def write(self, count: int) -> list[str]:
        """A program of so many statements."""
        while len(self.lines) < count:
            kind = self.one(STATEMENTS)
            try:
                line = kind(self)
            except LookupError:
                continue
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                before = dict(self.scope)
                try:
                    exec(line, self.scope)
                except Exception:
                    self.scope = before
                    continue
            if any(np.size(v) > 2000 for v in self.scope.values() if isinstance(v, np.ndarray)):
                self.scope = before
                continue
            self.lines.append(line)
            self.kinds[kind.__name__] += 1
            left, _, right = line.rpartition("\n")[2].partition(" = ")
            if left.isidentifier():
                self.made.append(right)
                if left not in self.names:
                    self.names.append(left)
        return self.lines

    def new(self, text: str) -> str:
        name = self.one(self.names[len(ARGUMENTS) :] or self.names)
        return f"{name if self.number(0, 7) == 0 else f'v{len(self.lines)}'} = {text}"


# --------------------------------------------------------------------------- statements


def cut(g: Writer) -> str:
    a = g.matrix()
    n, m = g.get(a).shape
    rows, columns = g.lines_of(n), g.lines_of(m)
    forms = [f"{a}[:, {columns}]", f"{a}[:, {columns}]", f"{a}[{rows}]", f"{a}[{rows}]"]
    forms += [
        f"{a}.T",
        f"{a}[:, {g.number(0, m - 1)}]",
        f"{a}[{g.number(0, n - 1)}]",
        f"{a}.copy()",
    ]
    forms += [f"np.delete({a}, {g.number(0, m - 1)}, axis=1)", f"np.ascontiguousarray({a}.T).T"]
    forms += [f"np.delete({a}, {g.number(0, n - 1)}, axis=0)", f"{a}[{rows}][:, {columns}]"]
    forms += [f"np.take({a}, [0, -1, 0], axis={g.number(0, 1)})", f"np.flip({a}, axis=1)"]
    forms += [f"{a}[:, {g.number(0, m - 1)}:][:, :1]", f"np.roll({a}, 1, axis=1)"]
    if n % 4 == 0:
        forms += [f"np.split({a}, 4)[{g.number(0, 3)}]", f"np.vstack(np.split({a}, 4)[1:])"]
        forms += [f"np.concatenate([{a}[{n // 2}:], {a}[: {n // 2}]])"]
    return g.new(g.one(forms))


def join(g: Writer) -> str:
    a = g.matrix()
    n, m = g.get(a).shape
    beside = g.array(lambda x: x.ndim == 2 and x.shape[0] == n)
    below = g.array(lambda x: x.ndim == 2 and x.shape[1] == m)
    line = f"np.full(({n}, 1), {g.one(['1.0', '2.0', '-0.5', '0.0'])})"
    forms = [f"np.hstack([{a}, {beside}])", f"np.column_stack([{a}, {beside}, {line}])"]
    forms += [f"np.hstack([{a}, {line}])", f"np.hstack([np.ones(({n}, 1)), {a}])"]
    forms += [f"np.append({a}, {beside}, axis=1)", f"np.concatenate(({beside}, {a}), axis=1)"]
    forms += [f"np.vstack([{a}, {below}])", f"np.concatenate([{below}, {a}, {below}])"]
    forms += [f"np.insert({a}, {g.number(0, m)}, 1.0, axis=1)", f"np.c_[{a}, {beside}]"]
    forms += [f"np.r_[{a}, {below}]", f"np.hstack([{a}[:, [0]], {line}, {beside}[:, -1:]])"]
    forms += [f"np.block([[{a}, {beside}], [{a}, {beside}]])", f"np.pad({a}, ((0, 0), (0, 1)))"]
    return g.new(g.one(forms))


def product(g: Writer) -> str:
    a = g.matrix(bits=22)
    n, m = g.get(a).shape
    left = 48 - width(g.get(a)) if room(g.get(a)) > 30 else 8
    try:
        rows = g.array(lambda x: x.ndim == 2 and x.shape[0] == n, left)
        after = g.array(lambda x: x.ndim == 2 and x.shape[0] == m, left)
        long = g.array(lambda x: x.shape == (n,), left)
        short = g.array(lambda x: x.shape == (m,), left)
    except LookupError:
        rows = a
        after = long = short = f"{a}.T" if n == m else "np.ones(1)"
        return g.new(g.one([f"{a}.T @ {a}", f"{a} @ {a}.T", f"np.dot({a}.T, {a})", f"gram({a})"]))
    forms = [f"{a}.T @ {a}", f"{a}.T @ {rows}", f"{a} @ {after}", f"{a} @ {a}.T", f"{a}.T @ {long}"]
    forms += [f"{a} @ {short}", f"{long} @ {a}", f"np.dot({a}.T, {rows})", f"gram({a})"]
    forms += [f"np.tensordot({a}, {rows}, (0, 0))", f"np.einsum('ij,ik->jk', {a}, {rows})"]
    forms += [f"np.einsum('ij,j->i', {a}, {short})", f"np.inner({a}.T, {rows}.T)"]
    forms += [f"np.matmul({a}.T, {rows})", f"{a} @ {after}[:, :{g.number(1, 4)}]", f"gram({a}.T)"]
    forms += [f"{a}[:, {g.lines_of(m)}].T @ {rows}", f"({a} @ {after}).T", f"moments({a}, {long})"]
    forms += [f"{a}[{g.lines_of(n)}] @ {after}", f"{rows}.T @ {a}", f"{a}.T @ {rows}"]
    forms += [f"{a}.conj().T @ {a}", f"{a}.T.conj() @ {rows}", f"{rows}.T @ np.conj({a})"]
    return g.new(g.one(forms))


def centred_product(g: Writer) -> str:
    a = g.matrix(bits=8, test=lambda x: x.shape[0] in (2, 4, 8, 16))
    n = g.get(a).shape[0]
    b = g.array(lambda x: x.ndim == 2 and x.shape[0] == n, 8)
    forms = [f"centred({a})", f"({a} - {a}.mean(axis=0)).T @ {b}", f"({a} - 1.0).T @ ({a} - 1.0)"]
    forms += [f"({a} * {g.one(FACTORS)}).T @ {b}", f"({a} * {a}[0]).T @ {b}", f"({a} / 2).T @ {a}"]
    forms += [f"{a}.T @ ({b} - {b}.mean(axis=0))", f"{a}.T @ ({b}[:, :1] * {a})"]
    return g.new(g.one(forms))


def normal(g: Writer) -> str:
    """Residuals, weights and steps along a line, of a matrix that is tall."""
    a = g.matrix(bits=6, test=lambda x: x.shape[0] >= 4 * x.shape[1])
    n = g.get(a).shape[0]
    y = g.array(lambda x: x.shape == (n,), 6)
    v = f"({a}[{g.number(0, n - 1)}] * 1.0)"
    r = f"({a} @ {v} - {y})"
    forms = [f"{a}.T @ {r}", f"{r} @ {a}", f"({r} ** 2).sum()", f"{r}.sum()", f"{r} @ {r}"]
    forms += [f"np.linalg.norm({r})", f"{a}.T @ ({a} @ {v})", f"np.mean({r} ** 2)", f"{a}.T @ {y}"]
    forms += [
        f"({a} @ {v}).T @ {y}",
        f"{a}.T @ ({y} - {a} @ {v})",
        f"np.sum(({y} - {a} @ {v}) ** 2)",
    ]
    weights = f"_w = np.ones({n})\n_w[{g.number(0, n - 1)}:{g.number(0, n)}] = {g.one(FACTORS)}\n"
    made = f"v{len(g.lines)}"
    if g.number(0, 3) == 0:
        return f"{weights}{made} = {a}.T @ (_w[:, None] * {a})"
    if g.number(0, 3) == 0:
        steps = f"for _t in (1.0, 2.0, 0.5, -1.0):\n    {made}.append({a} @ ({v} + _t * {a}[0]))"
        return f"{made} = []\n{steps}"
    return f"_G = {a}.T @ {a}\n{made} = {g.one(forms)}"


def scan(g: Writer) -> str:
    """What goes on where it ended: running sums, counts and sums of groups."""
    a = g.array(lambda x: x.ndim == 1 and x.size > 1 and x.dtype.kind in "fi", 30)
    n = g.number(1, 3)
    longer = f"np.append({a}, {a}[:{n}])"
    groups = f"np.abs({a}).astype('i8') % 5"
    forms = [f"np.cumsum({longer})", f"np.cumsum(np.concatenate([{longer}, {a}]))"]
    forms += [f"np.bincount(np.append({groups}, {groups}[:{n}]))", f"np.cumsum({a})"]
    forms += [f"np.bincount(np.append({groups}, {groups}[:{n}]), {longer})"]
    forms += [f"np.bincount({groups}, {a}, minlength=7)", f"np.bincount({groups})"]
    forms += [
        f"np.histogram({longer}, np.arange(-4.0, 5.0))[0]",
        f"np.histogram({a}, 5, (-3, 3))[0]",
    ]
    return g.new(g.one(forms))


def scale(g: Writer) -> str:
    a = g.matrix(bits=14)
    like = g.array(lambda x: x.shape == g.get(a).shape, 14)
    forms = [
        f"{a} * {g.one(FACTORS)}",
        f"{a} + {g.one(FACTORS)}",
        f"{a} / 2.0",
        f"-{a}",
        f"{a} - 3",
    ]
    forms += [f"{a} + {like}", f"{a} - {like}", f"{a} * {like}", f"{a} * {a}[0]", f"np.abs({a})"]
    forms += [f"{a}.astype('f8')", f"np.maximum({a}, {like})", f"np.where({a} > 0, {a}, 0.0)"]
    return g.new(g.one(forms))


def reduce(g: Writer) -> str:
    a = g.array(lambda x: 0 < x.ndim < 3 and x.size > 0, 40)
    shape = g.get(a).shape
    axis = g.one([None, *range(-len(shape), len(shape))])
    count = g.get(a).size if axis is None else shape[axis]
    forms = [f"{name}({a}, axis={axis})" for name in ("np.sum", "np.max", "np.min", "np.any")]
    forms += [f"{a}.sum(axis={axis}, keepdims=True)", f"np.count_nonzero({a}, axis={axis})"]
    if room(g.get(a)) < 30 and width(g.get(a)) > 8:
        forms = forms[1:4]
    if count & (count - 1) == 0:
        forms += [f"{a}.mean(axis={axis})", f"np.mean({a}, axis={axis})"]
        if width(g.get(a)) <= 7 and room(g.get(a)) > 30:
            forms += [f"{a}.var(axis={axis})", f"np.std({a}, axis={axis})"]
    return g.new(g.one(forms))


def write(g: Writer) -> str:
    a = g.array(lambda x: x.ndim in (1, 2) and x.size > 0, 14)
    n = g.get(a).shape[0]
    row, c = g.number(0, n - 1), g.one(FACTORS)
    forms = [f"{a}[{row}] = {c}", f"{a}[{row}:] += 1", f"{a} *= 2", f"{a}[...] = {a}[::-1]"]
    if g.get(a).ndim == 2:
        j = g.number(0, g.get(a).shape[1] - 1)
        forms += [f"{a}[:, {j}] = {c}", f"{a}[:, {j}] += 1", f"{a}.T[{j}] = {a}[:, 0]"]
    return str(g.one(forms))


def again(g: Writer) -> str:
    """What was asked for before, perhaps of arrays that are others now."""
    if not g.made:
        raise LookupError
    return g.new(g.one(g.made))


def loop(g: Writer) -> str:
    a = g.matrix(bits=14, test=lambda x: x.shape[0] > 3 and x.shape[1] > 1)
    n, m = g.get(a).shape
    b = g.array(lambda x: x.ndim in (1, 2) and x.shape[0] == n, 14)
    made = f"v{len(g.lines)}"
    columns = f"for _k in range(1, {m + 1}):\n    {made}.append({a}[:, :_k].T @ {b})"
    rows = (
        f"for _k in range(2, {n + 1}, {max(1, n // 5)}):\n    {made}.append({a}[:_k].T @ {b}[:_k])"
    )
    single = f"for _k in range({m}):\n    _Z = np.hstack([{a}, {a}[:, [_k]]])\n    {made}.append(gram(_Z))"
    without = (
        f"for _k in range({m}):\n    _Z = np.delete({a}, _k, axis=1)\n    {made}.append(_Z.T @ {b})"
    )
    pairs = f"for _k in range({m}):\n    _Z = {a}[:, [_k, (3 * _k + 1) % {m}]]\n    {made}.append(gram(_Z))"
    forms = [columns, rows, single, without, pairs]
    if n % 4 == 0:
        folds = f"_F = np.split({a}, 4)\nfor _k in range(4):\n"
        forms.append(
            folds + f"    _Z = np.vstack(_F[:_k] + _F[_k + 1:])\n    {made}.append(gram(_Z))"
        )
        mask = f"_g = np.arange({n}) % 4\nfor _k in range(4):\n"
        forms.append(mask + f"    {made}.append({a}[_g != _k].T @ {b}[_g != _k])")
    return f"{made} = []\n{g.one(forms)}"


STATEMENTS = [cut, cut, cut, join, join, product, product, product, product, centred_product]
STATEMENTS += [scale, reduce, reduce, write, again, again, loop, normal, normal, scan]


def generate(choices: Choices, count: int, seed: int) -> tuple[list[str], Counter[str]]:
    """A program of `count` statements, and how many there are of each kind."""
    writer = Writer(choices, seed)
    return writer.write(count), writer.kinds


# --------------------------------------------------------------------------- runs


@contextmanager
def always_pays() -> Iterator[None]:
    """Calls cost nothing, reading and multiplying much, so that rules apply to small matrices."""
    with ExitStack() as stack:
        for name in ("CALL", "DERIVATION", "AT_HAND"):
            stack.enter_context(mock.patch.object(cost, name, 1e-15))
        machine = cost.Machine(flops=4e5, stream=8e4, fresh=2e9)
        stack.enter_context(mock.patch.object(cost, "_machine", machine))
        stack.enter_context(mock.patch.object(rewrite, "VENTURE", 0.0))
        for module in [m for name, m in sys.modules.items() if name.startswith("lima.ops.")]:
            for name in SMALLEST.keys() & vars(module).keys():
                stack.enter_context(mock.patch.object(module, name, SMALLEST[name]))
        stack.enter_context(mock.patch.object(straight, "on_line", short_on_line))
        yield


def short_on_line(v: Any, u: Any, w: Any, on_line: Any = straight.on_line) -> float | None:
    """A place on a line that has few bits, as all numbers here: two thirds of the way are not exact."""
    t = on_line(v, u, w)
    return t if t is not None and (t * 2**10).is_integer() else None


SMALLEST: dict[str, Any] = {"STEP": 1e-15, "DEAR": 0.0, "LEAST": 1}
"""What some rules ask of sizes and seconds, for `always_pays`."""


def left_by(function: Callable[..., Any], seed: int) -> dict[str, Any]:
    """All variables of a program at its end, arguments included."""
    arguments = inputs(seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found: dict[str, Any] = function(**arguments)
    return {**found, **{f"argument {name}": arguments[name] for name in ARGUMENTS}}


def differences(wanted: Any, found: Any, name: str) -> Iterator[str]:
    """Where two results differ in dtype, shape, writeability or value; zeros may differ in sign."""
    if isinstance(wanted, (list, tuple)):
        if type(found) is not type(wanted) or len(found) != len(wanted):
            yield f"{name}: {len(wanted)} items -> {found!r}"
            return
        for k, (a, b) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(a, b, f"{name}[{k}]")
    elif isinstance(wanted, (np.ndarray, np.generic)):
        same = isinstance(found, type(wanted)) and found.dtype == wanted.dtype
        if not (same and found.shape == wanted.shape and np.array_equal(wanted, found)):
            yield f"{name}: {np.asarray(wanted).tolist()} -> {np.asarray(found).tolist()}"
        elif isinstance(wanted, np.ndarray) and wanted.flags.writeable != found.flags.writeable:
            yield f"{name}: writeable {wanted.flags.writeable} -> {found.flags.writeable}"
    elif wanted != found:
        yield f"{name}: {wanted!r} -> {found!r}"


def check(
    lines: list[str], seed: int, exactness: str = "guarded", rules: Counter[str] | None = None
) -> str | None:
    """What goes wrong when the program runs with rules; None if nothing does."""
    text = text_of(lines)
    wanted = left_by(load(text, lambda f: f)["program"], seed)
    try:
        with always_pays(), stress(), lima.session(exactness=exactness, strict=True) as session:
            function = lima.traced(load(text, lima.traced)["program"])
            for which in ("cold", "warm"):
                found = left_by(function, seed)
                problems = [p for k, v in wanted.items() for p in differences(v, found[k], k)]
                if problems:
                    return f"{exactness}, {which}:\n  " + "\n  ".join(problems[:4])
            problems = list(recomputed(found, seed))
            if rules is not None:
                rules.update(session.stats.partial)
    except Exception as error:
        return f"{exactness}: {type(error).__name__}: {error}"
    return f"{exactness}, recomputed:\n  " + "\n  ".join(problems[:4]) if problems else None


def recomputed(found: dict[str, Any], seed: int) -> Iterator[str]:
    """What goes wrong when results are computed again from their log, written and read."""
    results: dict[str, Any] = {}
    data = {leaf(a).digest.hex(): a for a in inputs(seed).values() if isinstance(a, np.ndarray)}
    for name, a in found.items():
        with suppress(lima.UnknownLineage):
            if isinstance(a, np.ndarray) and a.flags.owndata:
                if all(n.digest.hex() in data for n in lima.lineage(x=a).leaves):
                    results[name] = a
    if not results:
        return
    with tempfile.TemporaryDirectory() as folder:
        log = lima.lineage(**results)
        path = lima.save(Path(folder) / "x.lima", log)
        given = {n.digest.hex(): data[n.digest.hex()] for n in log.leaves}
        again = lima.recompute(lima.load_log(path), given)
    for name, a in results.items():
        yield from differences(a, np.asarray(again[name]), name)


def tried(seed: int) -> tuple[int, Counter[str], str | None]:
    """One program: its kinds of statements and the rules that were used; a report if it went wrong."""
    choices = random.Random(seed)
    lines, kinds = generate(choices, choices.randint(5, 30), seed)
    rules: Counter[str] = Counter()
    exactness = choices.choice(["rounding", "guarded"])
    problem = check(lines, seed, exactness, rules)
    if problem is not None:
        lines = reduced(lines, lambda some: check(some, seed, exactness) is not None)
        problem = "\n".join([f"inputs({seed})", *lines, str(check(lines, seed, exactness))])
    return seed, kinds + rules, problem
