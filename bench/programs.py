"""Random NumPy programs, written while a plain run of them shows what fits.

A program is a list of statements in the text of Python. `write` draws a statement, runs it with
plain NumPy in a scope that holds the variables so far, and goes on from there, so that most
statements have operands that fit; some do not, on purpose, and both runs must then raise alike.
Choices come from an object with the interface of `random.Random`, which Hypothesis has as well.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

PRELUDE = """\
import numpy as np

PLAIN = np.arange(12.0).reshape(3, 4) / 7
COUNTS = np.array([3, 1, 2])


class Box:
    def __init__(self, a):
        self.a = a

    def bump(self, by):
        self.a = self.a + by
        return self.a

    def write(self, item):
        self.a[...] = item


def gram(x):
    return x.T @ x


def bump(x):
    x += 1
    return x


def halves(x):
    k = len(x) // 2
    return x[:k], x[k:]


def standard(x):
    return (x - x.mean(0)) / (x.std(0) + 1)


def total(x, **options):
    return np.sum(x, **options)


class Held:
    def __init__(self, rng):
        self.rng = rng

    def draw(self, n):
        return self.rng.normal(size=n)


def noisy(x, rng):
    return x + rng.standard_normal(x.shape)


def closed(rng):
    return lambda n: rng.random(n)


def both(x, y, z):
    x[:1] += y[-1:]
    y[-1:] = 3
    return x, y.sum(), z * 2


@traced
def scaled(x, factor=2.0):
    return x * factor


@traced
def cleared(x, y):
    x[:1] = 0
    return x, y[::2], x.sum()


@traced
def drawn(rng, n):
    return rng.normal(size=n), rng
"""
"""What every program begins with. `traced` is in its scope."""

HEAD = "def program(A, B, C, D, v, w, k, m, z, rng, box, pair, t, d, u, e, held):"
ARGUMENTS = HEAD[HEAD.index("(") + 1 : -2].split(", ")
LARGEST = 3000  # elements of a variable
SCALARS = "0 1 2 -1 3 0.5 2.0 -1.5 1e-3 True 2j np.float32(1.5) np.int64(3) np.float64(0.1)".split()


class Writer:
    """Writes one program; `lines` are its statements, `scope` the variables of the plain run."""

    def __init__(
        self,
        choices: Any,
        arguments: dict[str, Any],
        scope: dict[str, Any],
        largest: int = LARGEST,
    ) -> None:
        self.choices = choices
        self.largest = largest
        self.scope = scope
        self.names = list(ARGUMENTS)
        self.lines: list[str] = []
        self.kinds: Counter[str] = Counter()
        self.inner: Sequence[Callable[[Writer], str]] = ()
        scope.update(arguments)

    # ------------------------------------------------------------ choices

    def one(self, items: Any) -> Any:
        return items[self.choices.randrange(len(items))]

    def number(self, low: int, high: int) -> int:
        return int(self.choices.randint(low, high))

    def chance(self, of: int) -> bool:
        return bool(self.choices.randrange(of) == 0)

    def arrays(self, test: Callable[[Any], bool] = lambda a: True) -> list[str]:
        found = []
        for name in self.names:
            a = self.scope.get(name)
            if isinstance(a, np.ndarray) and test(a):
                found.append(name)
        return found

    def array(self, test: Callable[[Any], bool] = lambda a: True) -> str:
        """The name of an array that passes the test; of any, if none does, and now and then."""
        found = self.arrays(test)
        if not found or self.chance(24):
            found = self.arrays()
        # what was made last is more likely to be used again
        return str(found[max(self.number(0, len(found) - 1), self.number(0, len(found) - 1))])

    def plain(self, test: Callable[[Any], bool] = lambda a: True) -> str:
        """The same of arrays that are no records, which as Python objects are views of their array."""
        found = [a for a in self.arrays(test) if self.get(a).dtype.names is None]
        if not found or self.chance(24):
            found = self.arrays(lambda a: a.dtype.names is None)
        return str(found[max(self.number(0, len(found) - 1), self.number(0, len(found) - 1))])

    def get(self, name: str) -> Any:
        return self.scope[name]

    def like(self, name: str) -> str:
        """An array that broadcasts with the named one."""
        shape = np.shape(self.get(name))

        def fits(a: Any) -> bool:
            try:
                return len(np.broadcast_shapes(shape, a.shape)) < 5
            except ValueError:
                return False

        return self.array(fits)

    def operand(self, name: str) -> str:
        """Something to combine with the named array."""
        shape = np.shape(self.get(name))
        kind = self.number(0, 11)
        if kind < 6:
            return self.like(name)
        if kind < 10:
            return str(self.one(SCALARS))
        if kind == 10 and shape and shape[-1] < 8:
            return str([self.number(-3, 3) for _ in range(shape[-1])])
        return str(self.one(["PLAIN", "COUNTS", "PLAIN[0]", f"{name}.sum()", f"{name}.max()"]))

    def axis(self, name: str) -> str:
        n = np.ndim(self.get(name))
        return str(self.number(-n, n - 1) if n and not self.chance(20) else None)

    # ------------------------------------------------------------ indices

    def bound(self, n: int) -> str:
        return "" if self.chance(2) else str(self.number(-n, n) if n else 0)

    def slice(self, n: int) -> str:
        step = self.one(["", "", ":2", ":-1", ":", ":3", ":-2"])
        return f"{self.bound(n)}:{self.bound(n)}{step}"

    def basic(self, name: str) -> str:
        """A basic index: a view or an element."""
        shape = np.shape(self.get(name))
        parts = []
        for n in shape[: self.number(0, len(shape))]:
            kind = self.number(0, 9)
            if kind < 2 and n:
                parts.append(str(self.number(-n, n - 1)))
            elif kind == 2:
                parts.append(":")
            else:
                parts.append(self.slice(n))
        if self.chance(6):
            parts.insert(self.number(0, len(parts)), self.one(["None", "...", "np.newaxis"]))
        return ", ".join(parts) or "..."

    def fancy(self, name: str) -> str:
        shape = np.shape(self.get(name))
        n = shape[0] if shape else 1
        places = [self.number(-n, n - 1) if n else 0 for _ in range(self.number(0, 4))]
        masks = self.arrays(lambda a: a.dtype == bool and a.shape == shape)
        rows = self.arrays(lambda a: a.dtype.kind in "iu" and a.ndim == 1 and a.size)
        forms = [str(places), f"{name} > 0", f"np.array({places}, dtype=int)", f"{name} == {name}"]
        if len(shape) > 1:
            forms += [f":, {[self.number(0, shape[1] - 1) if shape[1] else 0]}", f"{places}, 0"]
            forms += [f"{name}[:, 0] > 0", f"np.ix_({places}, [0])", f"{places}, 1:"]
        forms += masks * 2
        forms += [f"{r} % {n}" for r in rows[-2:] if n]
        return str(self.one(forms))

    # ------------------------------------------------------------ statements

    def new(self, text: str) -> str:
        """An assignment of an expression to a new name, or to one that is in use."""
        if self.chance(5):
            return f"{self.one(self.names[len(ARGUMENTS) :] or self.names)} = {text}"
        return f"{self.fresh()} = {text}"

    def fresh(self) -> str:
        return f"v{len(self.lines)}"

    def write(self, count: int, kinds: Sequence[Callable[[Writer], str]]) -> list[str]:
        """Add `count` statements of the given kinds."""
        self.inner = kinds
        while count:
            count -= 1
            kind = self.one(kinds)
            line = kind(self)
            if self.run(line):
                self.lines.append(line)
                self.kinds[kind.__name__] += 1
        return self.lines

    def run(self, line: str) -> bool:
        """Run the statement; False if what it makes is too large to go on with."""
        targets = targets_of(line)
        before = {name: self.scope.get(name) for name in targets}
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                exec(line, self.scope)
            except Exception:
                return True  # so be it: the traced run must raise the same
        for name in targets:
            made = self.scope.get(name)
            if isinstance(made, np.ndarray) and (made.size > self.largest or made.ndim > 5):
                self.scope.update(before)
                return False
            if name in self.scope and name not in self.names:
                self.names.append(name)
        return True


def targets_of(text: str) -> list[str]:
    """The variables that a statement assigns, those within its blocks included.

    Names that begin with an underscore are left alone: they may be gone at the end.
    """
    found: dict[str, None] = {}
    for line in text.split("\n"):
        left, equals, _ = line.strip().partition(" = ")
        if equals and re.fullmatch(r"\w+(, \w+)*", left):
            found.update(dict.fromkeys(left.split(", ")))
    return [name for name in found if name[0] != "_"]
