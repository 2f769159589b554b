"""The traced call that is running: what it may hand back, and why its result must not be kept."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any


class Frame:
    """State of one call of a traced function.

    outer        the frame of the call that called it, or None
    refusal      why this call is not reusable as a whole; None while it is
    namespace    it is one call of a function of `lima.numpy`, not of a user's function
    generators   ids of generator handles that entered as arguments or were made inside
    inside       it is called by code that is not traced, in a traced call
    trial        what judges whether tracing the call pays (`lima.trials`); None where it must
    """

    __slots__ = ("generators", "inside", "namespace", "outer", "refusal", "trial")

    def __init__(self, outer: Frame | None, namespace: bool = False) -> None:
        self.outer = outer
        self.namespace = namespace
        self.refusal: str | None = None
        self.generators: set[int] = set()
        self.inside = False
        self.trial: Any = None

    def refuse(self, why: str, last: Frame | None = None) -> None:
        """The call, and all that called it up to `last`, did what a hit could not repeat."""
        frame: Frame | None = self
        while frame is not None:
            if frame.refusal is None:
                frame.refusal = why
            frame = None if frame is last else frame.outer

    def draws_from(self, generator: Any) -> None:
        """A draw advances a generator; every call that does not know it cannot be repeated."""
        frame: Frame | None = self
        while frame is not None and id(generator) not in frame.generators:
            if frame.refusal is None:
                frame.refusal = "it draws from a generator that is neither argument nor its own"
            frame = frame.outer


class Look:
    """How traced arrays print themselves: with facts of lima, or as NumPy's (`lima run`)."""

    as_numpy = False


_frame: ContextVar[Frame | None] = ContextVar("lima_frame", default=None)


PLAINLY: ContextVar[list[str] | None] = ContextVar("lima_plainly", default=None)
"""Where a call runs as plain NumPy, and the traced functions that it calls do too: why it should
have been traced."""


def only_traced(why: str) -> None:
    """End a call that runs as plain NumPy before it does what only a traced one takes note of."""
    reasons = PLAINLY.get()
    if reasons is not None:
        reasons.append(why)
        raise RuntimeError(why)


def active() -> Frame | None:
    """The innermost traced call in this thread and context, or None."""
    return _frame.get()


def as_numpy() -> bool:
    """Whether traced arrays print themselves exactly as NumPy's.

    In traced code they do: programs make text of arrays, and of lists that hold them.
    """
    return Look.as_numpy or _frame.get() is not None


def refuse(why: str) -> None:
    """Note on the running traced call, if there is one, that it is not reusable as a whole."""
    frame = _frame.get()
    if frame is not None:
        frame.refuse(why)
