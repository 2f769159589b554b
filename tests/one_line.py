"""Programs of one line, plain and traced: value, flags, errors with their text, warnings with their line."""

import functools
import io
import itertools
import math
import re
import warnings
from contextlib import nullcontext

import numpy as np

import lima
from bench.fuzz import describe, stress
from lima.handle import value_of

HEAD = """
import copy, fractions, functools, io, itertools, math, operator, pickle, random, statistics
import numpy as np
from numpy import fft
"""
"""What a program imports; nothing is imported inside of the function."""

NAME = "<one line>"

AS_A_KEY = re.compile(r"^cannot use '[\w.]+' as a (dict key|set element) ")
"""Python 3.14 names the class of what cannot be hashed, which is lima's; NumPy's words follow."""


def inputs():
    rng = np.random.default_rng(5)
    return {
        "A": rng.normal(size=(6, 4)),
        "B": rng.normal(size=(4, 4)),
        "v": rng.normal(size=4),
        "w": rng.normal(size=6),
        "k": rng.integers(-4, 9, 4),
        "m": rng.random((6, 4)) < 0.5,
        "z": rng.normal(size=3) + 1j * rng.normal(size=3),
    }


def load(line, head=HEAD):
    """A module with the function; the last statement of the line is what it returns."""
    *first, last = line.split("; ")
    body = [*first, f"_result = {last}", "tell(_result)", "return _result"]
    text = f"{head}\ndef case(A, B, v, w, k, m, z):\n" + "".join(f"    {s}\n" for s in body)
    scope = {"__name__": "one_line_case", "tell": lambda x: None}
    exec(compile(text, NAME, "exec"), scope)
    return scope


def outcome(function):
    """What a call gives or raises, what is left of its arguments, and what it warns of."""
    arguments, arrays = inputs(), []
    with warnings.catch_warnings(record=True) as seen, np.errstate(all="warn", under="ignore"):
        warnings.simplefilter("always")
        try:
            found = describe(function(**arguments), arrays, {})
        except Exception as error:
            kind = next(c for c in type(error).__mro__ if c.__module__.partition(".")[0] != "lima")
            found = "raised", kind.__name__, AS_A_KEY.sub("", str(error))
    left = describe(list(arguments.values()), [], {})
    said = [(w.category.__name__, str(w.message), w.filename, w.lineno) for w in seen]
    return found, left, said


def compare(line, head=HEAD, said=True):
    """Assert that nobody can tell the traced program from the plain one, cold and warm.

    A hit does not warn, so warnings are looked at in the first run.
    """
    __tracebackhide__ = True
    plain = outcome(load(line, head)["case"])
    for mode, runs in ((nullcontext, 2), (stress, 1)):
        with mode(), lima.session(memory="200MB"):
            traced = lima.traced(load(line, head)["case"])
            for run in range(runs):
                found = outcome(traced)
                where = f"{line}: {mode.__name__}, run {run}"
                assert found[0] == plain[0], where
                assert found[1] == plain[1], where
                if said and not run:
                    assert found[2] == plain[2], where


def how(line, head=HEAD):
    """What the result is inside the function: "traced", a barrier's reason, "plain" or "other"."""
    told = []
    scope = load(line, head)
    scope["tell"] = lambda x: told.extend(_how(x))
    with lima.session(), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        lima.traced(scope["case"])(**inputs())
    return set(told)


def _how(x):
    if type(x) is lima.Array:
        node = value_of(x).node
        if not node.is_leaf or node.name:
            return ["traced"]
        return [node.outcome.why if node.outcome else "leaf"]
    if type(x) in (tuple, list):
        return [told for item in x for told in _how(item)]
    return ["plain" if isinstance(x, np.ndarray) else "other"]


__all__ = ["compare", "functools", "how", "inputs", "io", "itertools", "load", "math", "outcome"]
