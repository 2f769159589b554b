"""Work that is done behind the program: a queue, and a thread that lives while there is something.

Nothing that is put here ever makes the program wait: what does not fit is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock, RLock, Thread
from typing import Any

MAX_HELD = 1 << 28
"""Bytes that may wait; one piece of work always may."""

MANY = 200
"""Items that are not urgent, at which they are worked on all the same."""


class Behind:
    """Calls `work` for each item, in the order in which they came, one at a time.

    And `rest` when there are no more for the moment: some work is cheaper done together.
    """

    def __init__(self, work: Callable[[Any], None], rest: Callable[[], None]) -> None:
        self.work = work
        self.rest = rest
        self.reset()

    def reset(self) -> None:
        """Begin anew: a forked child has neither the thread nor its work."""
        self.queue: deque[tuple[Any, int]] = deque()
        self.held = 0
        self._lock = Lock()  # the books
        self._turn = RLock()  # held by whoever works
        self._running = False

    def put(self, item: Any, nbytes: int, soon: bool = True) -> bool:
        """Have an item worked on that holds `nbytes`; False if too much waits already.

        What need not be done soon waits for `flush`, for something else, or for many of its kind: a
        thread takes its time from the program.
        """
        with self._lock:
            if self.queue and self.held + nbytes > MAX_HELD:
                return False
            self.queue.append((item, nbytes))
            self.held += nbytes
            soon = soon or len(self.queue) >= MANY
            start = soon and not self._running
            self._running = self._running or soon
        if start:
            try:
                Thread(target=self.flush, name="lima-store", daemon=True).start()
            except RuntimeError:  # the interpreter is about to end: `flush` does it
                self._running = False
        return True

    def flush(self) -> None:
        """Return when everything that was put before is done."""
        with self._turn:
            while True:
                with self._lock:
                    if not self.queue:
                        self._running = False
                        break
                    item, nbytes = self.queue.popleft()
                try:
                    self.work(item)
                finally:
                    del item
                    with self._lock:
                        self.held -= nbytes
            self.rest()
