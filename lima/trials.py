"""Whether tracing a call pays while it runs: operations are counted, and now and then judged (D16).

Tracing costs microseconds an operation. Where the operations of a call take less than that
themselves and none is ever found, it gets out of the way: `TooTiny` ends the call, and
`lima.aside` runs the plain function instead.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from lima.frame import _frame

PERIOD = 2048
"""Operations from one look to the next."""

LEAST_OPERATIONS = 4096
"""Operations of a call before it is judged."""

LEAST_SECONDS = 0.02
"""Seconds of a call before it is judged."""

TINY = 2.5e-5
"""Mean seconds of an operation, tracing included, below which tracing is most of them."""

SAVED = 0.05
"""Part of its time that a call must save by reuse, or else nothing is reused."""


class TooTiny(BaseException):
    """Ends a call that is run anew as plain NumPy; no error, and not seen by the user.

    A program that catches it (`except:`, a `finally` that leaves) goes on as no plain program does.
    So no call that it has passed is kept, and `Trial.ended` says that what the judged one gives is
    not to be taken.
    """

    def __init__(self, trial: Trial) -> None:
        super().__init__("tracing this call does not pay")
        self.trial = trial


class Trial:
    """A call that could run untraced: what it has done so far.

    session     the session that it runs in
    untouched   whether it has changed nothing yet, so that it may be run anew
    ending      what is called before it is ended
    ended       whether it was
    """

    __slots__ = (
        "ended", "ending", "operations", "saved", "seconds", "session", "start", "untouched"
    )  # fmt: skip

    def __init__(self, session: Any, untouched: Any, ending: Any) -> None:
        self.session = session
        self.untouched = untouched
        self.ending = ending
        self.operations = 0
        self.ended = False
        self.saved = self._saved()
        self.start = perf_counter()
        self.seconds = 0.0

    def _saved(self) -> float:
        here = self.session
        saved: float = here.cache.stats.seconds_saved + here.counts.seconds_partial
        return saved

    def is_lost(self) -> bool:
        """Whether tracing goes on not to pay, as far as can be told."""
        self.seconds = seconds = perf_counter() - self.start
        if self.operations < LEAST_OPERATIONS or seconds < LEAST_SECONDS:
            return False
        tiny = seconds < TINY * self.operations
        return tiny and self._saved() - self.saved < SAVED * seconds


def tick() -> None:
    """Count an operation of whatever call is running; raises TooTiny."""
    global _left
    _left -= 1
    if _left < 0:
        _look()


def _look() -> None:
    global _left
    _left = PERIOD
    frame = _frame.get()
    while frame is not None and frame.trial is None:
        if frame.inside:
            return  # code that is not traced would be cut off
        frame = frame.outer
    if frame is None:
        return
    trial: Trial = frame.trial
    trial.operations += PERIOD
    if not trial.is_lost():
        return
    frame.trial = None
    if frame.refusal is None and trial.untouched():
        trial.ending()
        trial.ended = True
        here = _frame.get()
        assert here is not None
        here.refuse("its tracing was ended", frame)
        raise TooTiny(trial)


_left = PERIOD
