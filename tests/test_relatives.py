"""Every row with operands of every kind: the relatives of the samples in `row_samples.py`.

A relative is a sample call with other arrays in the same places: other dtypes, among them those
that the call refuses, and other layouts. Values, dtypes, flags, errors, warnings and what is left of
the operands are NumPy's, at the first call and the next, and in what is computed again from the log.
"""

import random
import warnings

import numpy as np
import pytest
from row_samples import NO_LOOP, samples_of
from test_rows import OPERATORS, ROWS, call_traced
from test_sweep import DTYPES, elements, picture, public

import lima
from bench.fuzz import stress
from lima import leaves
from lima.op import Kind
from lima.record import loads

LAYOUTS = {
    "as it is": lambda a: a,
    "F": lambda a: np.copy(a, order="F"),
    "reversed": lambda a: a[::-1] if a.ndim else a,
    "stepped": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape) if a.ndim and len(a) else a,
    "no lines": lambda a: a[:0] if a.ndim else a,
    "one line": lambda a: a[:1] if a.ndim else a,
    "a line": lambda a: a[0] if a.ndim > 1 and len(a) else a,
    "transposed": lambda a: a.T,
}


PADDED = ("g", "G")
"""Elements of these have bytes that mean nothing: what reads bytes may give anything."""


class Relative:
    """A sample call with other arrays; `arguments` makes them anew, in traced form or plain."""

    def __init__(self, sample, choices, dtypes, layouts):
        self.function, self.args, self.kwargs = sample
        self.writes = self.function in OPERATORS or "out" in self.kwargs
        own = choices.random() < 0.3
        first = choices.random() < 0.3
        dtype, layout = choices.choice(dtypes), choices.choice(layouts)
        self.forms, self.whole = {}, []
        for k, a in enumerate(arrays_in([self.args, self.kwargs])):
            if own:
                dtype, layout = choices.choice(dtypes), choices.choice(layouts)
            kept = first and k
            self.forms[id(a)] = (a.dtype.str if kept else dtype, "as it is" if kept else layout)

    def arguments(self, wrap):
        made = {}

        def other(x):
            if type(x) is np.ndarray:
                if id(x) not in made:
                    made[id(x)] = self._made(x, wrap)
                return made[id(x)]
            if type(x) in (list, tuple):
                return type(x)(map(other, x))
            return {k: other(v) for k, v in x.items()} if type(x) is dict else x

        return other(self.args), other(self.kwargs)

    def _made(self, a, wrap):
        dtype, layout = self.forms[id(a)]
        if np.dtype(dtype) != a.dtype:
            a = np.resize(elements(dtype).ravel(), a.shape)
        self.whole.append(wrap(a.copy(order="K")))  # for as long as logs may ask for it
        return LAYOUTS[layout](self.whole[-1])

    def __repr__(self):
        args, kwargs = self.arguments(lambda a: a)
        return f"{self.function.__name__}(*{args!r}, **{kwargs!r})"


def arrays_in(x):
    if type(x) in (list, tuple):
        return [a for item in x for a in arrays_in(item)]
    if type(x) is dict:
        return arrays_in(list(x.values()))
    return [x] if type(x) is np.ndarray or type(x) is lima.Array else []


def outcome(function, args, kwargs):
    """What a call gives or the error, what it warns of, and what it leaves of its operands."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = function(*args, **kwargs)
            shown = pictures(found)
        except Exception as error:
            found, shown = None, ("raised", public(type(error)))
    left = [picture(a) for a in arrays_in([args, kwargs])]
    return found, shown, left, sorted({(w.category, str(w.message)) for w in caught}, key=repr)


def pictures(x):
    """What can be seen of a result."""
    if type(x) in (list, tuple) or hasattr(x, "_fields"):
        return [pictures(item) for item in x]
    if isinstance(x, (np.ndarray, np.generic)):
        return picture(x)
    return type(x), repr(x)


def check(relative):
    """Does it do what NumPy does? Gives whether the second call found the result, or was refused."""
    function = relative.function
    wanted = outcome(function, *relative.arguments(lambda a: a))

    def traced(*args, **kwargs):
        return call_traced(function, args, kwargs)

    with lima.session(exactness="bitwise") as session:
        for run in ("first", "again"):
            found = outcome(traced, *relative.arguments(lima.array))
            assert found[1:3] == wanted[1:3], f"{run}: {relative!r}"
            if run == "first":
                assert found[3] == wanted[3], f"{relative!r}: {found[3]}, not {wanted[3]}"
        if not relative.writes:  # into leaves, it may be, that nobody has then
            recompute(found[0], relative)
    return session.stats.hits > 0 or wanted[1][0] == "raised"


def recompute(found, relative):
    """The log of each result, written and read, gives its bits."""
    for x in arrays_in(list(found) if isinstance(found, tuple) else found):
        if type(x) is lima.Array and x.dtype.kind not in "OUSV" and x.dtype.char not in "gG":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                log = lima.lineage(x=x)
                data = {node.digest.hex(): leaves.find(node.digest) for node in log.leaves}
                again = lima.recompute(loads(log.log()), data)["x"]
            assert picture(again)[3] == picture(x)[3], f"recomputed: {relative!r}"


def relatives(row, count, seed=0):
    # `overwrite_input` leaves whatever NumPy's sorting leaves, which lima does not.
    samples = [s for s in samples_of(row) if "overwrite_input" not in s[2]]
    choices = random.Random(f"{row.name} {seed}")
    # `np.add.at` of NumPy writes what is read-only, and elements that lie on one another.
    layouts = [name for name in LAYOUTS if row.into is None or name != "broadcast"]
    dtypes = [d for d in DTYPES if d not in PADDED or row.name not in BYTES]
    for _ in range(count if samples else 0):
        yield Relative(choices.choice(samples), choices, dtypes, layouts)


BYTES = ("ndarray.view", "ndarray.byteswap")
ELSEWHERE = {"lib.stride_tricks.as_strided", "ix_"}
"""The first reads memory that does not belong to a smaller array, the second gives copies, not views."""

TRIED = [row for row in ROWS if row.name not in {*NO_LOOP, *ELSEWHERE}]


@pytest.mark.parametrize("row", TRIED, ids=lambda row: row.name)
def test_every_row_with_operands_of_every_kind(row):
    with stress():
        hits = [check(relative) for relative in relatives(row, 12)]
    assert any(hits) or row.kind is not Kind.HEAVY or row.into is not None


@pytest.mark.slow
@pytest.mark.parametrize("row", TRIED, ids=lambda row: row.name)
def test_every_row_with_many_operands(row):
    with stress():
        for relative in relatives(row, 100, 1):
            check(relative)
