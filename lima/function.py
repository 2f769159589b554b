"""Calls of one traced function: traced inside, looked up as a whole (D3, D7)."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import lima.factors
import lima.iterators
import lima.vectorized  # noqa: F401  they say what the twins of some functions are
from lima import lasting, spans, tasks
from lima.asides import NOTHING, Aside, aside
from lima.bytecode import NotReusable, idle_parameters
from lima.code import Code, behind
from lima.entries import FIRST_SIGHT, SECOND_SIGHT
from lima.errors import NotCanonical
from lima.frame import PLAINLY, Frame, _frame
from lima.handle import Handle, root_of, value_of
from lima.helpers import DEAR, bind_helpers
from lima.kept import Draft, Record, Refused, Restored
from lima.keys import Parameters
from lima.look import Look
from lima.node import Node, encode
from lima.outside import Callback, Inward
from lima.printing import print_options
from lima.record import Lineage
from lima.sessions import Session, _session, current
from lima.sparse import Sparse, lineage_of
from lima.sparse_calls import parts_of
from lima.tasks import active_task
from lima.tree import Entry
from lima.twin import bind_closure, bind_module
from lima.values import Borrowed, Foreign, error_modes
from lima.walk import Walk, may_hold_objects

MAX_FORMS = 1024
"""Forms of calls that are remembered for each function."""

NO_TURN: AbstractContextManager[bool] = nullcontext(False)

_SIMPLE = frozenset({bool, int, float, complex, str, type(None)})

PROVEN = 4
"""How many times cheaper calls of a function are kept once some were hits."""

CALLS_RECUR = 2
"""How many times cheaper a byte a call may be than an operation, to be kept at first sight."""

MAX_BARREN = 64
"""Calls of a helper in a row without a hit, after which it is no longer looked up."""

LASTING = 5e-3
"""Seconds of a call from which looking it up costs next to nothing, so that it always is."""

LEVELS: dict[str, tuple[bool, bool]] = {
    "none": (False, False),
    "operation": (True, False),
    "full": (True, True),
    "hybrid": (True, True),
}
"""Whether operations and whole calls are reused, for each value of `reuse`."""


class CallInfo(NamedTuple):
    """Reuse of a traced function's calls, in the manner of `functools.lru_cache`.

    maxsize and currsize are bytes: the budget of the session's cache, and what it holds of this
    function's calls. refusal says why the last call was not kept; None if it was, or was a hit.
    """

    hits: int
    misses: int
    maxsize: int
    currsize: int
    seconds_saved: float
    refusal: str | None


class TracedFunction:
    """The work behind one decorated function."""

    def __init__(
        self,
        function: Callable[..., Any],
        reuse: str | None = None,
        version: str | None = None,
        ignore: tuple[str, ...] = (),
        modules: tuple[Any, ...] = (),
    ) -> None:
        self.function = function
        self.reuse = reuse
        self.ignore = ignore
        self.modules = modules
        self.code = Code(function, version)
        self._parameters = Parameters(function)
        self.hits = self.misses = 0
        self.seconds_saved = 0.0
        self.refusal: str | None = None
        self.unstored: str | None = None  # why the last call that was kept is not in the store
        self.barren = 0
        self._mean = 0.0
        self.aside = 0  # bytes of arguments with which calls run as plain NumPy (`lima.asides`)
        self.barred = False  # it does more than compute
        self.cost: float | None = None  # seconds that the last call took that ran
        self._idle: tuple[CodeType | None, frozenset[str], frozenset[int]] = (None, _NONE, _NONE)
        self._forms: dict[Any, bytes] = {}
        self._keys: weakref.WeakKeyDictionary[Any, set[bytes]] = weakref.WeakKeyDictionary()
        self._bound = False

    # ------------------------------------------------------------ calling

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the function returns, plain arrays for plain arrays."""
        if PLAINLY.get() is not None:
            return self.function(*args, **kwargs)
        if not self._bound:
            self.bind()
        outer = _frame.get()
        if outer is not None:
            parts = spans.given(self.parameters.positional, args, kwargs)
            result = self._call(args, kwargs, outer, {})
            spans.note(self.function, parts, result)
            return result
        if active_task() is not None and may_hold_objects((args, kwargs)):
            with tasks.OBJECTS:
                return self._enter(args, kwargs)
        return self._enter(args, kwargs)

    def _enter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call from plain code."""
        entry = Entry(self.parameters, self.code)
        try:
            entry.take(args, kwargs)
        except RecursionError:  # arguments that only the plain function can handle
            entry.leave(None)
            return self.function(*args, **kwargs)
        try:
            entry.announce()
            parts = spans.given(self.parameters.positional, entry.args, entry.kwargs)
            result = self._call(entry.args, entry.kwargs, None, entry.originals)
            spans.note(self.function, parts, result)
        except BaseException as error:
            entry.fail(error)
            raise
        return entry.leave(result)

    def lineage(self, *args: Any, **kwargs: Any) -> Lineage:
        """How the results of a call are made; several results are named result, result2, ...

        The function is called, with all that it does. Numbers and text among its results have no
        lineage.
        """
        found: list[Node] = []

        def collect(x: Any) -> Any:
            if isinstance(x, Handle):
                found.append(value_of(x).node)
            elif type(x) is Sparse:
                found.append(lineage_of(x))
                for a in parts_of(x).arrays:  # which are no results of their own
                    if id(a) not in direct:
                        walk.stands_for(a, a)
            return x

        self.bind()
        entry = Entry(self.parameters, self.code)
        walk = Walk(collect)
        direct: set[int] = set()
        result = None
        try:
            entry.take(args, kwargs)
            token = _session.set(_without_asides(current()))
            try:
                result = self._call(entry.args, entry.kwargs, _frame.get(), entry.originals)
            finally:
                _session.reset(token)
            direct = set(map(id, result)) if isinstance(result, tuple) else set()
            walk(result)
        finally:
            entry.leave(result)
        names = ("result" if k == 0 else f"result{k + 1}" for k in range(len(found)))
        return Lineage(dict(zip(names, found, strict=False)))

    def as_helper(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call from traced code of a function that nobody decorated (`lima.helpers`)."""
        if self.barren > MAX_BARREN:
            return self.function(*args, **kwargs)
        hits = self.hits
        looked = current().functions  # else it is no wonder that there are no hits
        result = self._call(args, kwargs, _frame.get(), {})
        if looked:
            dear = self.cost is not None and self.cost >= LASTING
            self.barren = 0 if dear or self.hits > hits else self.barren + 1
        return result

    def as_callback(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call by code that is not traced, in a traced call (`lima.outside`)."""
        entry = Inward(self.parameters, self.code)
        outer = Frame(_frame.get())
        outer.inside = True
        try:
            entry.take(args, kwargs)
            if self._mean >= DEAR and self.barren <= MAX_BARREN:
                hits = self.hits
                result = self._call(entry.args, entry.kwargs, outer, entry.originals)
                self.barren = 0 if self.hits > hits else self.barren + 1
            else:
                start = perf_counter()
                result = self._run(entry.args, entry.kwargs, outer)
                self._mean = max(self._mean, perf_counter() - start)
        except BaseException as error:
            entry.fail(error)
            raise
        return entry.leave(result)

    def bind(self) -> None:
        scopes: list[dict[str, Any]] = [self.function.__globals__]
        for scope in (*scopes, *(m.__dict__ for m in self.modules)):
            bind_module(scope)
            bind_helpers(scope, lambda f: TracedFunction(f).as_helper)
        bind_closure(self.function)
        self._bound = True

    # ------------------------------------------------------------ reuse of whole calls

    @property
    def parameters(self) -> Parameters:
        """Those of the code that the function has now: a program may exchange it."""
        if self._parameters.code is not self.function.__code__:
            self._parameters = Parameters(self.function)
        return self._parameters

    @property
    def idle(self) -> frozenset[str]:
        """Parameters that the function never looks at: they decide nothing."""
        code = self.function.__code__
        if code is not self._idle[0]:
            names = idle_parameters(code)
            positional = enumerate(code.co_varnames[: code.co_argcount])
            self._idle = code, names, frozenset(k for k, name in positional if name in names)
        return self._idle[1]

    def _call(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outer: Frame | None,
        originals: dict[int, tuple[Handle, Any]],
    ) -> Any:
        here = current()
        if self.reuse is not None and LEVELS[self.reuse] != (here.reuses, here.functions):
            token = _session.set(_at_level(here, *LEVELS[self.reuse]))
            try:
                return self._call(args, kwargs, outer, originals)
            finally:
                _session.reset(token)
        look = form = None
        if here.functions:
            form = self._form(args, kwargs)
            known = self._forms.get(form) if form is not None else None
            if known is not None:
                entry = here.cache.peek(known) and here.cache.get(known, "function")
                if entry is not None:
                    return self._hit(entry.value).alone()
            try:
                look = Look(self, args, kwargs)
            except (NotReusable, NotCanonical, RecursionError) as why:
                self._refused(f"{why}" or "its arguments are nested too deeply", outer)
        if look is None:  # outside of the handler, so that users' errors are not chained to it
            return self._run(args, kwargs, outer)
        if here.cache.spill is not None:
            here.cache.reload(look.key)
        with here.cache.flight(look.key, "function") as flight:
            restored = self._restored(here, look, flight)
            if restored is not None:
                restored.effects()
                if form is not None and flight.entry is not None and flight.entry.value.is_alone():
                    if len(self._forms) >= MAX_FORMS:
                        self._forms.clear()
                    self._forms[form] = look.key
                return restored.result
            frame = Frame(outer)
            with self._turn(here, look, frame) as elsewhere:
                restored = self._recalled(here, look, flight) if elsewhere else None
                if restored is not None:
                    restored.effects()
                    return restored.result
                return self._computed(here, look, flight, frame, args, kwargs, originals)

    def _turn(self, here: Session, look: Look, frame: Frame) -> AbstractContextManager[bool]:
        """What a call runs in that is not in memory; gives whether another process has run it."""
        if here.ledger is not None:
            self.hits += here.ledger.knows(look.key)
            noted: AbstractContextManager[bool] = here.ledger.call(
                look.key, self.function.__qualname__
            )
            return noted
        return NO_TURN if here.store is None else lasting.turn(here, look, frame)

    def _computed(
        self,
        here: Session,
        look: Look,
        flight: Any,
        frame: Frame,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        originals: dict[int, tuple[Handle, Any]],
    ) -> Any:
        """Run the function, and offer what it did to the cache."""
        self.misses += 1
        frame.generators.update(id(g._generator) for g in look.scan.generators[: look.own[2]])
        look.begin()
        start = perf_counter()
        call = aside(self, look, args, kwargs, frame, originals) if here.asides else None
        result = NOTHING
        if call is not None:
            result, frame = self._apart(here, call, frame, originals)
        if result is NOTHING:
            result = self._run(args, kwargs, frame.outer, frame)
        self.cost = seconds = perf_counter() - start
        if frame.refusal is None and seconds > here.call_seconds / (PROVEN if self.hits else 1):
            self._keep(here, look, flight, result, set(originals), seconds)
        else:
            self.refusal = frame.refusal or "it is too cheap to be kept"
        return result

    def _apart(
        self, here: Session, call: Aside, frame: Frame, originals: dict[int, tuple[Handle, Any]]
    ) -> tuple[Any, Frame]:
        """A call that may run as plain NumPy: its result, or NOTHING, to be traced in the frame."""
        trial = None
        if call.nbytes > self.aside or not self.aside:
            frame.trial = trial = call.trial(here)
            try:
                result = self._run(call.args, call.kwargs, frame.outer, frame)
            except KeyboardInterrupt:
                raise
            except BaseException:
                if not trial.ended:
                    raise
            if not trial.ended:
                return result, frame
            call.put_back()
            frame = Frame(frame.outer)
        found = call.run(originals, trial)
        if found is NOTHING:
            self.barred = True
            return found, frame
        self.aside = max(self.aside, call.nbytes, 1)
        here.counts.asides += 1
        return found, frame

    def key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """What identifies a call; raises NotReusable or NotCanonical."""
        return Look(self, args, kwargs).key

    def traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call with traced arrays, whatever calls of the function are."""
        return self._run(args, kwargs, None)

    def _restored(self, here: Session, look: Look, flight: Any) -> Restored | None:
        """What a kept record gives; None where there is none, or trouble with it."""
        if flight.entry is None and not flight.delivered:
            return None if here.store is None else self._recalled(here, look, flight)
        record = flight.entry.value if flight.entry is not None else flight.value
        try:
            found: Restored = record.restore(look.scan)
        except Exception:  # a call that runs instead is right
            here.cache.evict(look.key)
            return None
        self._hit(record)
        return found

    def _recalled(self, here: Session, look: Look, flight: Any) -> Restored | None:
        """What the store gives; from then on it is in memory."""
        made = lasting.find(here, look)
        if made is None:
            return None
        record, found = made
        seconds = max(record.seconds, here.cache.worth)
        flight.deliver(record, seconds=seconds, owned=True, first_sight=0.0)
        self._remember(here, look.key)
        self._hit(record)
        return found

    def _hit(self, record: Record) -> Record:
        self.hits += 1
        self.refusal = None
        self.seconds_saved += record.seconds
        return record

    def _form(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...] | None:
        """What decides a call of a few separate arrays, or views, numbers and text; else None.

        Equal forms have equal keys, which take several times as long to make (`Look`).
        """
        if kwargs or self.ignore:
            return None
        arrays: list[Handle] = []
        found: list[Any] = []
        idle = self._idle[2] if self.idle else ()
        for k, a in enumerate(args):
            if k in idle:
                found.append(None)
            elif isinstance(a, Handle):
                root = root_of(a)
                value = root._value
                if root._base is not None or a._locked:
                    return None
                if isinstance(value, Foreign) or any(root is other for other in arrays):
                    return None
                if isinstance(value, Borrowed) and value.data.base is not None:
                    return None
                arrays.append(root)
                digest = value.node.digest
                if value.node.inexact and not current().rounds:
                    return None
                try:
                    found.append((digest, *[spec.prefix for spec in a._path]))
                except NotCanonical:
                    return None
            elif type(a) in _SIMPLE:
                found.append(encode(a))
            else:
                return None
        try:
            code, data = self.code.both()
            settings = print_options()
        except NotReusable:
            return None
        whole = not data and self.code.says_all()
        return (code, settings, error_modes(), *found) if whole else None

    def _refused(self, why: str, outer: Frame | None) -> None:
        self.refusal = why
        if outer is not None:
            outer.refuse(f"{self.function.__qualname__} is not reusable: {why}")

    def _keep(
        self,
        here: Session,
        look: Look,
        flight: Any,
        result: Any,
        originals: set[int],
        seconds: float,
    ) -> None:
        """Offer a record of the call to the cache."""
        if here.ledger is not None and here.ledger.free:
            return
        draft = Draft(look.scan, originals, seconds)
        try:
            look.end(draft)
            draft.record.result = draft.term(result)
            seconds = draft.record.seconds
            if seconds < SECOND_SIGHT * draft.copied_bytes():
                raise Refused("what it returns is large and cheap to compute")
            record = draft.finish()
        except (Refused, NotReusable, NotCanonical, RecursionError) as why:
            self.refusal = f"{why}" or "its result is nested too deeply"
            return
        first_sight = FIRST_SIGHT / CALLS_RECUR
        if here.ledger is not None:
            here.ledger.offered(look.key, record, seconds, first_sight)
            return
        kept = flight.deliver(record, seconds=seconds, level="function", first_sight=first_sight)
        if here.store is not None:
            self.unstored = lasting.offer(here, look, self.function.__qualname__, record)
        draft.settle()
        self.refusal = None if kept else "it is too large or too cheap to be kept"
        if kept:
            self._remember(here, look.key)

    def _run(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outer: Frame | None,
        frame: Frame | None = None,
    ) -> Any:
        token = _frame.set(frame or Frame(outer))
        try:
            return self.function(*args, **kwargs)
        finally:
            _frame.reset(token)

    # ------------------------------------------------------------ what users ask

    def _remember(self, here: Session, key: bytes) -> None:
        keys = self._keys.setdefault(here.cache, set())
        keys.add(key)
        if len(keys) > 1024 and len(keys) & (len(keys) - 1) == 0:
            keys.intersection_update([k for k in keys if here.cache.peek(k) is not None])

    def cache_info(self) -> CallInfo:
        """Hits and misses of whole calls, bytes, seconds saved, why the last call was not kept."""
        cache = current().cache
        held = [e for e in map(cache.peek, tuple(self._keys.get(cache, ()))) if e is not None]
        size = sum(e.nbytes for e in held)
        return CallInfo(
            self.hits, self.misses, cache.budget, size, self.seconds_saved, self.refusal
        )

    def cache_clear(self) -> None:
        """Forget the kept calls of this function (its operations stay cached)."""
        cache = current().cache
        for key in self._keys.pop(cache, set()):
            cache.evict(key)
        self.hits = self.misses = 0
        self.seconds_saved = 0.0


def _at_level(here: Session, reuses: bool, functions: bool) -> Session:
    """The same session, cache and statistics, with other levels of reuse."""
    _ = here.planner  # one for all levels
    made = copy.copy(here)
    made.reuses, made.functions = reuses, functions
    return made


def _without_asides(here: Session) -> Session:
    """The same session, where every call is traced."""
    _ = here.planner
    made = copy.copy(here)
    made.asides = False
    return made


def _tracing(function: Callable[..., Any]) -> Callable[..., Any]:
    """What calls a user's function for code that is not traced."""
    known = behind(function)
    if isinstance(known, FunctionType):
        return TracedFunction(known).as_callback

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return TracedFunction(call).as_callback


Callback.tracing = staticmethod(_tracing)


_NONE: frozenset[Any] = frozenset()
