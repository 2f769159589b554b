"""Which keys an index has, in memory: most look-ups find nothing, and need not ask the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic

LAG = 0.1
"""Seconds for which what other processes add may go unseen."""

SHARE = 50
"""Reading the keys takes at most one part in so many of the time."""

MAX_KEYS = 100_000
"""Keys that are kept in memory; the index of a larger store is asked each time."""


class Known:
    """The keys that were in an index a moment ago."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Know nothing, as at the beginning."""
        self.keys: set[bytes] | None = None
        self.version: int | None = None
        self.until = 0.0

    def lacks(self, key: bytes) -> bool:
        """Whether `key` is surely not there; False where the index must be asked."""
        keys = self.keys
        return keys is not None and key not in keys and monotonic() < self.until

    def add(self, key: bytes) -> None:
        keys = self.keys
        if keys is not None:
            keys.add(key)

    def learn(self, version: int, read: Callable[[int], Iterable[bytes]]) -> None:
        """Take the keys that `read` gives, at most so many, unless the index is as it was."""
        start = monotonic()
        if version != self.version:
            keys = set(read(MAX_KEYS + 1))
            self.keys = keys if len(keys) <= MAX_KEYS else None
            self.version = version
        now = monotonic()
        self.until = now + max(LAG, SHARE * (now - start))
