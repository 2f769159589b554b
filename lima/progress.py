"""How far a long loop is, on a terminal."""

from __future__ import annotations

import sys
import threading
from time import perf_counter
from typing import Any

PATIENCE = 1.0
"""Seconds that a loop takes before it says how far it is, unless it was asked to."""


class Progress:
    """A bar on the terminal while a loop runs; nothing where the output is no terminal.

    wanted  True or text: at once; None: if it takes long; False: never
    """

    def __init__(self, wanted: bool | str | None, total: int) -> None:
        self.text = wanted if isinstance(wanted, str) else "lima.parfor"
        self.total = total
        self.count = 0
        self._lock = threading.Lock()
        self._bar: Any = None
        shows = wanted is not False and sys.stderr is not None and sys.stderr.isatty()
        self._due = perf_counter() + (PATIENCE if wanted is None else 0.0) if shows else None

    def done(self) -> None:
        """One more item is done; any thread may say so."""
        with self._lock:
            self.count += 1

    def show(self) -> None:
        """Bring the bar up to date; called by the thread that waits for the loop."""
        if self._due is None or perf_counter() < self._due:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._bar.add_task(self.text, total=self.total)
        self._bar.update(0, completed=self.count)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()
