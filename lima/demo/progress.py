"""A progress bar that knows how dear each step is."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET = 30.0
"""Seconds between two lines where there is no terminal to draw a bar in."""


class Progressing:
    """The progress of one run, called with the number of settings that are done.

    On a terminal it is a bar with an estimate of the time that is left, elsewhere a line now and
    then. `seconds` is the duration, once the `with` block ended.
    """

    def __init__(self, console: Console, title: str, weights: Sequence[float]) -> None:
        self.console = console
        self.title = title
        self.weights = weights
        self.seconds = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]} of {task.fields[count]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=sum(weights), done=0, count=len(weights))

    def __enter__(self) -> Self:
        self._bar.start()
        self._start = self._said = perf_counter()
        return self

    def __call__(self, done: int) -> None:
        """Tell that `done` settings are done."""
        part = sum(self.weights[:done])
        self._bar.update(self._task, completed=part, done=done)
        now = perf_counter()
        if not self.console.is_terminal and now - self._said > QUIET:
            self._said = now
            left = (now - self._start) * (sum(self.weights) / part - 1.0)
            self._print(f"{done} of {len(self.weights)} settings, about {duration(left)} left")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds = perf_counter() - self._start
        self._bar.stop()
        if error is None:
            self._print(f"{self.seconds:.2f} s")

    def _print(self, text: str) -> None:
        self.console.print(f"{self.title}: {text}", highlight=False, markup=False)


def duration(seconds: float) -> str:
    """Seconds as a person would say them.

    >>> duration(8.2), duration(200.0), duration(9000.0)
    ('8 s', '3 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
