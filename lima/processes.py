"""The loop of `lima.parfor` in processes: what is sent there, what they do, what comes back."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import tempfile
import traceback
import uuid
from contextvars import Context, copy_context
from dataclasses import asdict
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl

from lima.block import _off, disabled
from lima.code import behind
from lima.config import TEMPORARY, Config
from lima.draws import TracedGenerator
from lima.errors import LimaError, TracingError
from lima.frame import Frame, _frame, active, refuse
from lima.function import TracedFunction
from lima.progress import Progress
from lima.sessions import Session, _session
from lima.tasks import Loop, Task, _task
from lima.transport import Arrivals, dumps

WAIT_SLICE = 0.1  # seconds between looks at a loop
AHEAD = 2  # items sent to each worker: one that runs and one that waits


class Setting(NamedTuple):
    """What a worker needs to know of a loop."""

    key: str
    body: Any
    options: dict[str, Any]
    blas_threads: int
    traced: bool
    off: bool


class Processes:
    """One loop in other processes; called once."""

    def __init__(
        self, loop: Loop, body: Any, calls: list[Any], workers: int, share: int,
        here: Session, shown: Progress,
    ) -> None:  # fmt: skip
        self.calls = calls
        self.workers = workers
        self.shown = shown
        self.tasks = [Task(loop, k) for k in range(len(calls))]
        options = asdict(here.config)
        options["memory"] = here.config.memory // workers
        # A relative path means the folder that this session found, wherever the worker is.
        options["store"] = "" if here.store is None else os.fspath(here.store.path)
        if here.config.spill not in ("", TEMPORARY):
            options["spill"] = os.path.abspath(here.config.spill)
        traced = active() is not None
        self.setting = Setting(uuid.uuid4().hex, body, options, share, traced, _off())
        self.store = here.store
        self.results: list[Any] = [None] * len(calls)
        self.errors: dict[int, BaseException] = {}
        self.context = copy_context()
        self.arrivals = Arrivals()

    def __call__(self) -> tuple[list[Any], list[Task]]:
        """The results, and what is noted of the arrays in them."""
        refuse("it runs a loop in other processes")
        if self.store is not None:
            self.store.flush()
        handle, path = tempfile.mkstemp(prefix="lima-parfor-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._packed(self.setting, "the body"))
            self._run(path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if self.errors:
            first = min(self.errors)  # a process that died ends several items with one error
            raise noted(self.errors[first], first, self.calls)
        return self.results, self.tasks

    def _packed(self, x: Any, what: str) -> bytes:
        try:
            return dumps(x)
        except LimaError:
            raise
        except Exception as error:
            raise TracingError(
                f"lima.parfor: {what} cannot be sent to another process ({error!r}). Functions at "
                "the top of a module can; with cloudpickle or joblib installed "
                "(pip install 'lima-lineage[parallel]') others can, too; or use backend='threads'"
            ) from error

    def _run(self, path: str) -> None:
        from concurrent.futures import FIRST_COMPLETED, wait

        pool, end = _pool(self.workers)
        under_way: dict[Any, int] = {}
        numbers = iter(range(len(self.calls)))
        try:
            while True:
                while not self.errors and len(under_way) < AHEAD * self.workers:
                    k = next(numbers, None)
                    if k is None:
                        break
                    sent = self._packed(self.calls[k], f"item {k}")
                    under_way[pool.submit(work, path, self.setting.key, k, sent)] = k
                if not under_way:
                    break
                done, _ = wait(under_way, WAIT_SLICE, FIRST_COMPLETED)
                for future in done:
                    self._take(under_way.pop(future), future)
                if self.errors:
                    for future in [f for f in under_way if f.cancel()]:
                        del under_way[future]
                self.shown.show()
        except BaseException:
            end(True)
            raise
        end(False)

    def _take(self, k: int, future: Any) -> None:
        context: Context = self.context.copy()
        try:
            fine, found, text = pickle.loads(future.result())
            if fine:
                self.results[k] = context.run(self._arrived, k, found)
                self.shown.done()
                return
            error: BaseException = found
            error.add_note(f"in another process:\n{text}")
        except Exception as trouble:  # the process has died, or sent what cannot be read
            error = trouble
        self.errors[k] = error

    def _arrived(self, k: int, found: bytes) -> Any:
        _task.set(self.tasks[k])
        return self.arrivals.loads(found)


def _pool(workers: int) -> tuple[Any, Any]:
    """What runs functions in other processes, and how to end it: at once, or in peace."""
    reusable = _reusable()
    if reusable is not None:
        kept = reusable(max_workers=workers)
        return kept, lambda now: kept.shutdown(kill_workers=True) if now else None
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    quiet = signal.SIGINT, signal.SIG_IGN  # Ctrl-C goes to all; this process ends the others
    pool = ProcessPoolExecutor(workers, get_context("spawn"), signal.signal, quiet)

    def end(now: bool) -> None:
        processes = list((getattr(pool, "_processes", None) or {}).values()) if now else []
        for process in processes:
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)

    return pool, end


def _reusable() -> Any:
    """Loky's processes, which stay for the next loop, if it is installed."""
    try:
        from loky import get_reusable_executor
    except ImportError:
        try:
            from joblib.externals.loky import get_reusable_executor
        except ImportError:
            return None
    return get_reusable_executor


SHOWN = 80
"""Characters of an item that the note on an error shows."""


def noted(error: BaseException, k: int, calls: list[Any]) -> BaseException:
    """`error` with a note that names the item."""
    try:
        text = " ".join(repr(calls[k][0]).split())
    except Exception:  # of a user's class
        text = object.__repr__(calls[k][0])
    text = text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
    error.add_note(f"lima.parfor: item {k} of {len(calls)}: {text}")
    return error


class Legacy:
    """Watches the generator behind `np.random.rand` and kin, which all items share."""

    def __init__(self) -> None:
        self._state = self._present()

    def _present(self) -> Any:
        state: Any = np.random.get_state(legacy=False)["state"]
        return (state["pos"], state["key"].tobytes()) if "pos" in state else repr(state)

    def check(self) -> None:
        """Raises TracingError if an item has drawn from it."""
        if self._present() != self._state:
            raise TracingError(
                "lima.parfor: the body draws from the generator behind np.random.rand and kin, "
                "which all items share, so that what an item draws would depend on which comes "
                "first. Give the loop rng=seed: the body is then called with the item and a "
                "generator of its own"
            )


# --------------------------------------------------------------------------- in the other process


class _Place:
    """What a worker has of the loop that it works for, and the session that it keeps."""

    setting: Setting | None = None
    around: Task | None = None  # the notes that came with the body
    session: Session | None = None


def work(path: str, key: str, k: int, sent: bytes) -> bytes:
    """One item, in a worker."""
    context = copy_context()
    try:
        context.run(_begin, path, key)
        found = copy_context().run(_one, k, sent)
    except Exception as error:
        return _failed(error)
    finally:
        if _Place.session is not None and _Place.session.store is not None:
            _Place.session.store.flush()
    return pickle.dumps((True, found, ""))


def _failed(error: Exception) -> bytes:
    text = "".join(traceback.format_exception(error))
    try:
        sent = pickle.dumps((False, error, text))
        pickle.loads(sent)
    except Exception:  # a class of the user's that cannot be pickled, or not read again
        sent = pickle.dumps((False, RuntimeError(f"{type(error).__qualname__}: {error}"), text))
    return sent


def _begin(path: str, key: str) -> None:
    """Read what there is to know of the loop, once."""
    if _Place.setting is not None and _Place.setting.key == key:
        return
    _Place.around = Task(Loop(), 0)
    _task.set(_Place.around)
    with open(path, "rb") as file:
        setting: Setting = Arrivals().loads(file.read())
    threadpoolctl.threadpool_limits(setting.blas_threads)
    config = Config.load(**setting.options)
    if _Place.session is None or _Place.session.config != config:
        if _Place.session is not None:
            _Place.session.close()
        _Place.session = Session(config)
    if setting.traced:
        function = behind(setting.body)
        function = behind(getattr(function, "func", function))
        if isinstance(function, FunctionType):
            TracedFunction(function).bind()
    _Place.setting = setting


def _one(k: int, sent: bytes) -> bytes:
    setting = _Place.setting
    assert setting is not None
    _task.set(Task(Loop(_Place.around), k))
    _session.set(_Place.session)
    args = Arrivals().loads(sent)
    with disabled() if setting.off else contextlib.nullcontext():
        if setting.traced:
            _frame.set(Frame(None))
            args = [TracedGenerator(a) if type(a) is np.random.Generator else a for a in args]
        legacy = Legacy()
        result = setting.body(*args)
        legacy.check()
        return dumps(result)
