"""This process as others know it, and the thread that tells them that it lives."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple, Protocol

BEAT = 1.0
"""Seconds between two beats of an owner."""

LINGERS = 5
"""Beats without a lease after which the thread that beats ends."""


class Beats(Protocol):
    """What is alive for as long as this process says so."""

    def beat(self) -> bool:
        """Say so; whether it is still of use."""


class Me(NamedTuple):
    """This process, as others know it."""

    ident: bytes
    host: str
    pid: int
    start: str


class Heart:
    """The thread that beats for what this process holds; it lives while there is something."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holders: set[Beats] = set()
        self._running = self._called = False
        self._end = Event()

    def look_after(self, holder: Beats) -> None:
        with self._lock:
            self._holders.add(holder)
            self._called = True
            if self._running:
                return
            self._running = True
        try:
            Thread(target=self._run, name="lima-leases", daemon=True).start()
        except RuntimeError:  # the interpreter is about to end, and others will see that
            self._running = False

    def _run(self) -> None:
        idle = 0
        while not self._end.wait(BEAT):
            busy = [one.beat() for one in list(self._holders)]
            idle = 0 if any(busy) else idle + 1
            with self._lock:
                if idle >= LINGERS and not self._called:
                    self._holders.clear()
                    self._running = False
                    return
                self._called = False


heart = Heart()
_own: Me | None = None


def me() -> Me:
    global _own
    if _own is None:
        _own = Me(os.urandom(16), host(), os.getpid(), started(os.getpid()) or "")
    return _own


def host() -> str:
    """What tells this machine, since its last start, and this table of processes from any other."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except (OSError, ValueError):
        return ""  # nobody can look for this process: its beats alone tell that it lives


def started(pid: int) -> str | None:
    """When a process was started, in ticks since the machine was; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
        words = text.rpartition(")")[2].split()
        return None if words[0] in "ZX" else words[19]
    except (OSError, IndexError):
        return None


def _in_child() -> None:
    global heart, _own
    heart, _own = Heart(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
