"""The place behind a store (`remote=`): asked for what it lacks, given what it gets (D10)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any

from lima.behind import Behind
from lima.catalog import Stored
from lima.errors import StoreError
from lima.exchange import MAX_RECORD, key_of, name_of, parsed, push_one, take
from lima.objects import Broken
from lima.remotes import Place, read

if TYPE_CHECKING:
    from lima.store import Store

LATENCY = 0.05
"""Seconds that asking another machine takes, about."""

SECONDS_A_BYTE = 2e-8
"""What the way takes before it has been measured."""

MEASURED = 1 << 20
"""Bytes from which a transfer says something of the speed."""

RELIST = 60.0
"""Seconds after which what others have added is asked for, behind the program."""

MAX_LISTED = 1_000_000
"""Entries that are known by name."""

LIST = object()


class Second:
    """What a store does with a place on another machine; trouble with it costs a warning.

    Which entries there are is asked once and then from time to time, so that a look-up of what is
    not there costs nothing.
    """

    def __init__(self, place: Place, store: Store) -> None:
        self.place = place
        self.store = store
        self.usable = True
        self.brought = self.sent = 0
        self.seconds_a_byte = SECONDS_A_BYTE
        self.reset()

    def reset(self) -> None:
        """Begin anew: a forked child has neither the thread nor its work."""
        self.behind = Behind(self._work, lambda: None)
        self._keys: dict[bytes, list[bytes]] | None = None
        self._until = 0.0
        self._lock = RLock()

    def worth(self, seconds: float, nbytes: int) -> bool:
        """Whether the way takes less time than computing."""
        return seconds > 2 * LATENCY + self.seconds_a_byte * nbytes

    # ------------------------------------------------------------ bringing

    def bring(self, key: bytes) -> bool:
        """Whether there is an entry of `key` now that was not in the store before."""
        if not self.usable:
            return False
        keys = self._keys
        if keys is None:
            with self._lock:
                if self._keys is None:
                    self._tried(self._list)
                keys = self._keys or {}
        elif monotonic() > self._until:
            self._until = monotonic() + RELIST
            self.behind.put(LIST, 0)
        if key not in keys:
            return False
        with self._lock:
            envs = (self._keys or {}).pop(key, [])
            mine = [env for env in envs if env == self.store.env or self.store.any]
            return any(self._tried(partial(self._bring, key, env)) for env in mine)

    def _bring(self, key: bytes, env: bytes) -> bool:
        record = parsed(read(self.place, name_of(key, env), MAX_RECORD), key, env)
        nbytes = sum(part.nbytes for part in record.entry.parts)
        if not self.worth(record.entry.seconds, nbytes) or nbytes > self.store.budget:
            return False
        start = monotonic()
        take(self.store, self.place, record)
        self._measure(monotonic() - start, nbytes)
        self.brought += 1
        return True

    def _measure(self, seconds: float, nbytes: int) -> None:
        if nbytes >= MEASURED:
            self.seconds_a_byte = (self.seconds_a_byte + seconds / nbytes) / 2

    def _list(self) -> bool:
        keys: dict[bytes, list[bytes]] = {}
        for count, name in enumerate(self.place.names("entries")):
            found = key_of(name)
            if found is not None:
                keys.setdefault(found[0], []).append(found[1])
            if count >= MAX_LISTED:
                break
        self._keys = keys
        self._until = monotonic() + RELIST
        return True

    # ------------------------------------------------------------ sending

    def wrote(self, entry: Stored) -> None:
        """The store has a new entry: send it if others have something of it."""
        nbytes = sum(part.nbytes for part in entry.parts)
        if self.usable and self.worth(entry.seconds, nbytes):
            self.behind.put(entry, 0)

    def _work(self, item: Any) -> None:
        if self.usable:
            self._tried(self._list if item is LIST else lambda: self._send(item))

    def _send(self, entry: Stored) -> bool:
        if self.place.size(name_of(entry.key, entry.env)) is None:
            start = monotonic()
            nbytes = push_one(self.store, self.place, entry.key, entry.env)
            if nbytes is not None:
                self._measure(monotonic() - start, nbytes)
                self.sent += 1
        return True

    def _tried(self, work: Callable[[], bool]) -> bool:
        """What `work` gives. Another machine fails in its own ways: each is a miss."""
        try:
            return work()
        except (Broken, StoreError, FileNotFoundError) as error:
            self.store.trouble.note("an entry of the remote store is left out", error)
        except Exception as error:
            self.usable = False
            self.store.trouble.note("the remote store is not used any more", error)
        return False
