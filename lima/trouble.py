"""Saying once what is wrong with a store, on the thread of the program."""

from __future__ import annotations

import warnings

from lima.errors import StoreWarning


class Trouble:
    """The warnings of one store; `usable` and `writable` say what is left of it."""

    def __init__(self, name: str, writable: bool) -> None:
        self.name = name
        self.usable = True
        self.writable = writable
        self._told: set[str] = set()
        self._untold: list[str] = []

    def note(self, what: str, why: object) -> None:
        """Keep something to say, each kind of trouble once; it is said by `say`."""
        if what not in self._told:
            self._told.add(what)
            self._untold.append(f"the store {self.name}: {what}: {why}")

    def tell(self, what: str, why: object) -> None:
        """Say it now."""
        self.note(what, why)
        self.say()

    def give_up(self, why: object) -> None:
        """The store is not used any more."""
        self.usable = False
        self.note("it is not used any more", why)

    def stop(self, why: object) -> None:
        """Nothing is written any more; what is there can still be read."""
        self.writable = False
        self.note("nothing is written any more", why)

    def say(self) -> None:
        while self._untold:
            warnings.warn(self._untold.pop(0), StoreWarning, stacklevel=2)
