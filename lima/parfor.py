"""`lima.parfor`: the items of a loop at the same time, with one cache and one lineage.

Everything that could depend on which item runs first is settled by the order of the items: the
results, what is noted of arrays (`lima.tasks`), random numbers, and which error is raised.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import Context, copy_context
from time import perf_counter
from typing import Any

import numpy as np

from lima.code import behind, code_of
from lima.draws import TracedGenerator
from lima.environment import blas_limited, note_threads, processors, thread_budget
from lima.errors import ConfigError, TracingError
from lima.frame import active
from lima.handle import Handle, root_of
from lima.processes import Legacy, Processes, noted
from lima.progress import Progress
from lima.sessions import Session, _session, current
from lima.tasks import Guard, Loop, Task, _task, active_task
from lima.walk import Walk

BACKENDS = ("threads", "processes")

LOOK_SECONDS = 0.01
"""Seconds that an item takes from which it is looked at by itself whether it drew."""

WAIT_SLICE = 0.1  # seconds between looks, so that Ctrl-C is seen on every platform


def parfor(
    body: Callable[..., Any],
    items: Iterable[Any],
    workers: int | None = None,
    backend: str = "threads",
    *,
    rng: Any = None,
    progress: bool | str | None = None,
    blas_threads: int | None = None,
) -> list[Any]:
    """`[body(item) for item in items]`, several items at a time on one shared cache.

    Results come in the order of the items. They, their lineage and the error that is raised do not
    depend on the number of workers; equal work of several items is done once.

    * `workers`: how many items run at a time; as many as there are processors by default, and one
      in a loop that stands inside of another. With one, items run one after the other.
    * `backend`: "threads" share the session's cache. "processes" have caches of their own, and
      share the session's store; body, items and results are pickled, with their lineage.
    * `rng`: a seed, `SeedSequence` or `Generator`, of which each item gets a generator of its own:
      the body is called as ``body(item, generator)``.
    * `progress`: whether to show how far the loop is, or text to show beside it; on a terminal
      only. By default a loop says so once it has taken a second.
    * `blas_threads`: BLAS threads of each worker. By default the workers share those of the caller,
      unless that could change bits that must not change: with ``exactness="bitwise"`` or a store
      each has as many as the caller.

    When an item fails the items behind it are not begun, and what runs is waited for; then the
    error of the first item that failed is raised, with a note that names the item. Ctrl-C does the
    same. Raises TracingError where items draw from one generator, or write one array; ConfigError
    for impossible options.

    >>> import lima, numpy as np
    >>> @lima.traced
    ... def ridge(X, y, reg):
    ...     return np.linalg.solve(X.T @ X + reg * np.eye(X.shape[1]), X.T @ y)
    >>> X, y = np.eye(3), np.ones(3)
    >>> lima.parfor(lambda reg: ridge(X, y, reg)[0], [0.0, 1.0, 3.0], workers=2)
    [np.float64(1.0), np.float64(0.5), np.float64(0.25)]
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend={backend!r}: choose one of {', '.join(BACKENDS)}")
    if not callable(body):
        raise TypeError(f"lima.parfor calls its body with each item; {body!r} cannot be called")
    listed = list(items)
    count = _workers(workers, len(listed))
    if not listed:
        return []
    here = current()
    share = _share(here, count, blas_threads)
    calls: list[tuple[Any, ...]] = [(item,) for item in listed]
    if rng is not None:
        calls = [(i, g) for i, g in zip(listed, _spawned(rng, len(listed)), strict=True)]
    if share != thread_budget():
        note_threads(share)
    loop = Loop(active_task())
    with ExitStack() as stack:
        stack.enter_context(_guarded(loop, body, listed))
        shown = stack.enter_context(Progress(progress, len(listed)))
        if backend == "processes":
            run: Any = Processes(loop, body, calls, count, share, here, shown)
        else:
            if share != thread_budget():
                stack.enter_context(blas_limited(share))
            run = Threads(loop, body, calls, count, share, here, shown)
        results, tasks = run()
    for task in tasks:
        task.merge()
    return results  # type: ignore[no-any-return]


def _workers(asked: int | None, items: int) -> int:
    if asked is None:
        asked = 1 if active_task() is not None else processors()
    return max(1, min(_whole("workers", asked), items))


def _whole(name: str, number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise ConfigError(f"{name}={number!r}: give a whole number from 1 on, or None")
    return int(number)


def _share(here: Session, workers: int, asked: int | None) -> int:
    """BLAS threads of each worker."""
    now = thread_budget()
    strict = here.config.exactness == "bitwise"
    if asked is None:
        return now if strict or here.store is not None else max(1, now // workers)
    asked = _whole("blas_threads", asked)
    if strict and asked != now:
        raise ConfigError(
            f"blas_threads={asked} in a session with exactness='bitwise', while BLAS has {now}: "
            "products of the loop would have other bits than those of the program around it. Set "
            "the number for the whole program: OPENBLAS_NUM_THREADS, or threadpoolctl"
        )
    return asked


# --------------------------------------------------------------------------- what items share


def _spawned(rng: Any, count: int) -> list[Any]:
    """A generator for each item, which does not depend on who runs the item."""
    if isinstance(rng, TracedGenerator):
        return rng.spawn(count)
    if isinstance(rng, np.random.Generator):
        made: list[Any] = rng.spawn(count)
    elif isinstance(rng, np.random.RandomState):
        raise TypeError("lima.parfor: a RandomState has no seeds to spawn; give a Generator")
    else:
        seeds = rng if isinstance(rng, np.random.SeedSequence) else np.random.SeedSequence(rng)
        made = [np.random.default_rng(seed) for seed in seeds.spawn(count)]
    frame = active()
    if frame is None:
        return made
    frame.refuse("it spawns generators")
    frame.generators.update(map(id, made))
    return [TracedGenerator(generator) for generator in made]


@contextmanager
def _guarded(loop: Loop, body: Any, items: list[Any]) -> Iterator[None]:
    """Traced arrays that several items can reach are not written in the loop.

    Raises TracingError for a generator that several items can reach.
    """
    shared = _reached([_data_of(body)])
    several: dict[int, tuple[int, Any]] = {}
    for k, item in enumerate(items):
        for key, x in _reached([item]).items():
            first, _ = several.setdefault(key, (k, x))
            if first != k:
                shared[key] = x
    for x in shared.values():
        if not isinstance(x, Handle):
            raise TracingError(
                "lima.parfor: the body draws from a generator that all items share, so that what "
                "an item draws would depend on which comes first. Give the loop rng=generator (or "
                "a seed): the body is then called with the item and a generator of its own"
            )
    guards = [(x, Guard(loop)) for x in shared.values()]
    for x, guard in guards:
        guard.put(x)
    try:
        yield
    finally:
        for x, guard in guards:
            guard.take_away(x)


def _data_of(body: Any) -> list[Any]:
    """What the code of the body uses besides its arguments."""
    plain = behind(body)
    found = [getattr(plain, "__self__", None), getattr(plain, "args", None)]
    found += [getattr(plain, "keywords", None), code_of(plain).data()]
    return found


def _reached(x: Any) -> dict[int, Any]:
    """Arrays and generators in `x`: those that own the elements, by identity."""
    found: dict[int, Any] = {}

    def look(item: Any) -> Any:
        if isinstance(item, Handle):
            found[id(root_of(item))] = root_of(item)
        elif type(item) is TracedGenerator:
            _note_generator(found, item._generator)
        elif type(item) in (np.random.Generator, np.random.RandomState):
            _note_generator(found, item)
        return item

    Walk(look)(x)
    return found


def _note_generator(found: dict[int, Any], generator: Any) -> None:
    legacy = isinstance(generator, np.random.RandomState)
    bits = generator._bit_generator if legacy else generator.bit_generator
    found[id(bits)] = bits


# --------------------------------------------------------------------------- threads


class Threads:
    """One loop in threads of this process; called once."""

    def __init__(
        self, loop: Loop, body: Any, calls: list[Any], workers: int, share: int,
        here: Session, shown: Progress,
    ) -> None:  # fmt: skip
        self.body = body
        self.calls = calls
        self.workers = workers
        self.shown = shown
        budget = here.config.threads or share
        self.session = here if workers == 1 else here.with_threads(min(budget, share))
        self.tasks = [Task(loop, k) for k in range(len(calls))]
        self.results: list[Any] = [None] * len(calls)
        self.errors: dict[int, BaseException] = {}
        self.context = copy_context()
        self.numbers = iter(range(len(calls)))
        self.lock = threading.Lock()
        self.stopped = False
        self.legacy = Legacy()

    def __call__(self) -> tuple[list[Any], list[Task]]:
        """The results, and what the items have noted. Nothing runs any more when it returns."""
        if self.workers == 1:
            self._work()
        else:
            self._together()
        if self.errors:
            first = min(self.errors)
            raise noted(self.errors[first], first, self.calls)
        self.legacy.check()
        return self.results, self.tasks

    def _together(self) -> None:
        threads = [
            threading.Thread(target=self._work, name=f"lima-parfor-{k}", daemon=True)
            for k in range(self.workers)
        ]
        try:
            for thread in threads:
                thread.start()
            self._wait(threads)
        except BaseException:  # Ctrl-C: what has begun ends, unless it comes again
            self.stopped = True
            self._wait([t for t in threads if t.ident is not None])
            raise

    def _wait(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            while thread.is_alive():
                thread.join(WAIT_SLICE)
                self.shown.show()

    def _next(self) -> int | None:
        with self.lock:
            return None if self.stopped else next(self.numbers, None)

    def _work(self) -> None:
        """Take items in turn until there are none, or one has failed."""
        while (k := self._next()) is not None:
            context: Context = self.context.copy()
            try:
                self.results[k] = context.run(self._run, k)
            except BaseException as error:
                self.errors[k] = error
                self.stopped = True
            else:
                self.shown.done()
                if self.workers == 1:
                    self.shown.show()

    def _run(self, k: int) -> Any:
        _task.set(self.tasks[k])
        _session.set(self.session)
        start = perf_counter()
        result = self.body(*self.calls[k])
        if perf_counter() - start > LOOK_SECONDS:
            self.legacy.check()
        return result
