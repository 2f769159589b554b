"""Runs of one function, plain and traced, that must not differ."""

import warnings
from contextlib import contextmanager

import numpy as np

import lima
from bench.fuzz import describe, stress


def left_by(function, arguments):
    """What a call leaves: its result or the kind of its error, and the arguments."""
    arrays = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = describe(function(*arguments), arrays, {})
        except Exception as error:
            found = public(type(error))
    return found, describe(list(arguments), arrays, {}), sharing(arrays)


def public(kind):
    """The kind of an error as a plain program would catch it."""
    return next(
        c
        for c in kind.__mro__
        if c.__module__.partition(".")[0] != "lima" and not c.__module__.startswith("numpy._core")
    )


def sharing(arrays):
    """Which arrays share memory with which."""
    return [[np.may_share_memory(a, b) for a in arrays] for b in arrays]


@contextmanager
def as_usual():
    yield


def same(function, make=tuple, runs=2):
    """Assert that the traced function does what the plain one does.

    `make()` gives fresh arguments, as each run may write them. Returns the plain result.
    """
    __tracebackhide__ = True
    wanted = left_by(function, make())
    for mode, reuse in ((as_usual, "hybrid"), (stress, "hybrid"), (stress, "operation"),
                        (as_usual, "none")):  # fmt: skip
        with mode(), lima.session(memory="200MB", reuse=reuse):
            traced = lima.traced(function)
            for run in range(runs):
                found = left_by(traced, make())
                assert found == wanted, f"{mode.__name__}, reuse={reuse}, run {run}"
    return wanted[0]
