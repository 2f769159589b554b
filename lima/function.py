"""Calls of one traced function: traced inside, looked up as a whole (D3, D7)."""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Callable
from time import perf_counter
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from xxhash import xxh3_128_digest

from lima.bytecode import NotReusable
from lima.calls import detach
from lima.code import CALLABLES, Code, code_of
from lima.draws import TracedGenerator
from lima.entries import SECOND_SIGHT
from lima.errors import NotCanonical
from lima.frame import Frame, _frame
from lima.handle import Handle, handle, is_outside, release, root_of, value_of
from lima.helpers import bind_helpers
from lima.kept import Draft, Refused
from lima.keys import Parameters, Scan, share_memory
from lima.node import Node, encode
from lima.op import owner
from lima.record import Lineage
from lima.runtime import error_modes
from lima.sessions import Session, _session, current
from lima.tree import Leaving, Rivals, entering, settle
from lima.twin import bind_module, plain_module, twin_of
from lima.values import Value
from lima.walk import ATOMS, Walk, arrays_by_name, layout_of

MAX_BARREN = 64
"""Calls of a helper in a row without a hit, after which it is no longer looked up."""

LEVELS: dict[str, tuple[bool, bool]] = {
    "none": (False, False),
    "operation": (True, False),
    "full": (True, True),
    "hybrid": (True, True),
}
"""Whether operations and whole calls are reused, for each value of `reuse`."""


class CallInfo(NamedTuple):
    """Reuse of a traced function's calls, in the manner of `functools.lru_cache`."""

    hits: int
    misses: int
    maxsize: int
    currsize: int
    seconds_saved: float


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
        self.parameters = Parameters(function)
        self.hits = self.misses = 0
        self.seconds_saved = 0.0
        self.refusal: str | None = None
        self.barren = 0
        self._keys: weakref.WeakKeyDictionary[Any, set[bytes]] = weakref.WeakKeyDictionary()
        self._bound = False

    # ------------------------------------------------------------ calling

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the function returns, plain arrays for plain arrays."""
        if not self._bound:
            self._bind()
        outer = _frame.get()
        if outer is not None:
            return self._call(args, kwargs, outer, {})
        entry = Entry(self)
        try:
            entry.take(args, kwargs)
        except RecursionError:  # arguments that only the plain function can handle
            entry.leave(None)
            return self.function(*args, **kwargs)
        try:
            result = self._call(entry.args, entry.kwargs, None, entry.originals)
        except BaseException:
            entry.leave(None)
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
            return x

        self._bind()
        entry = Entry(self)
        result = None
        try:
            entry.take(args, kwargs)
            result = self._call(entry.args, entry.kwargs, _frame.get(), entry.originals)
            Walk(collect)(result)
        finally:
            entry.leave(result)
        names = ("result" if k == 0 else f"result{k + 1}" for k in range(len(found)))
        return Lineage(dict(zip(names, found, strict=False)))

    def as_helper(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call from traced code of a function that nobody decorated (`lima.helpers`)."""
        if self.barren > MAX_BARREN:
            return self.function(*args, **kwargs)
        hits = self.hits
        result = self._call(args, kwargs, _frame.get(), {})
        self.barren = 0 if self.hits > hits else self.barren + 1
        return result

    def _bind(self) -> None:
        scopes: list[dict[str, Any]] = [self.function.__globals__]
        for scope in (*scopes, *(m.__dict__ for m in self.modules)):
            bind_module(scope)
            bind_helpers(scope, lambda f: TracedFunction(f).as_helper)
        self._bound = True

    # ------------------------------------------------------------ reuse of whole calls

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
        look = None
        if here.functions:
            try:
                look = Look(self, args, kwargs)
            except (NotReusable, NotCanonical, RecursionError) as why:
                self._refused(f"{why}" or "its arguments are nested too deeply", outer)
        if look is None:  # outside of the handler, so that users' errors are not chained to it
            return self._run(args, kwargs, outer)
        with here.cache.flight(look.key, "function") as flight:
            if flight.entry is not None or flight.delivered:
                record = flight.entry.value if flight.entry is not None else flight.value
                self.hits += 1
                self.seconds_saved += record.seconds
                return record.restore(look.scan)
            self.misses += 1
            frame = Frame(outer)
            frame.generators.update(id(g._generator) for g in look.scan.generators[: look.own[2]])
            look.begin()
            start = perf_counter()
            result = self._run(args, kwargs, outer, frame)
            seconds = perf_counter() - start
            if frame.refusal is None and seconds > here.call_seconds:
                self._keep(here, look, flight, result, set(originals), seconds)
            else:
                self.refusal = frame.refusal
            return result

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
        draft = Draft(look.scan, originals, seconds)
        try:
            look.end(draft)
            draft.record.result = draft.term(result)
            if seconds < SECOND_SIGHT * draft.copied_bytes():
                raise Refused("what it returns is large and cheap to compute")
            record = draft.finish()
        except (Refused, NotReusable, NotCanonical, RecursionError) as why:
            self.refusal = f"{why}" or "its result is nested too deeply"
            return
        kept = flight.deliver(record, seconds=seconds, level="function")
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
        """Hits and misses of whole calls, byte budget and bytes held, seconds saved."""
        cache = current().cache
        held = [e for e in map(cache.peek, tuple(self._keys.get(cache, ()))) if e is not None]
        size = sum(e.nbytes for e in held)
        return CallInfo(self.hits, self.misses, cache.budget, size, self.seconds_saved)

    def cache_clear(self) -> None:
        """Forget the kept calls of this function (its operations stay cached)."""
        cache = current().cache
        for key in self._keys.pop(cache, set()):
            cache.evict(key)
        self.hits = self.misses = 0
        self.seconds_saved = 0.0


def _at_level(here: Session, reuses: bool, functions: bool) -> Session:
    """The same session, cache and statistics, with other levels of reuse."""
    made = copy.copy(here)
    made.reuses, made.functions = reuses, functions
    return made


# ----------------------------------------------------------------- one call, seen as a key


class Look:
    """What a call depends on: its key before it runs, what became of that afterwards."""

    def __init__(self, work: TracedFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.work = work
        arguments = work.parameters.bind(args, kwargs)
        if arguments is None:
            raise NotReusable("the arguments do not fit its parameters")
        if work.ignore:
            arguments = {k: v for k, v in arguments.items() if k not in work.ignore}
        self.arguments = arguments
        self.scan = scan = Scan()
        self.code, data = work.code.both()
        self.references = scan.look(arguments.values())
        self.own = (len(scan.boxes), len(scan.arrays), len(scan.generators))
        self.data = scan.look(data) if data else []
        self.contents = scan.contents()
        head = [b"call", self.code, _error_state(), _encoded_names(tuple(arguments))]
        self.key = xxh3_128_digest(
            b"".join(head + self.references + self.data + scan.forms + self.contents)
        )

    def begin(self) -> None:
        """Note the values that the arrays have as the call begins."""
        self.values: list[Value] = [root._value for root in self.scan.arrays]

    def end(self, draft: Draft) -> None:
        """What the call changed goes into the draft; raises Refused for what must not change."""
        scan, (boxes, arrays, generators) = self.scan, self.own
        if self.work.code.digest() != self.code:
            raise Refused("it changes a function or class that it uses")
        after = Scan(scan)
        same = after.look(self.arguments.values()) == self.references
        if not same or after.look(self.work.code.data()) != self.data:
            raise Refused("it changes a variable that it uses, or the flags of an array")
        plain = slice(len(scan.arrays), len(scan.arrays) + len(scan.plain))
        if after.plain_contents(len(scan.plain)) != self.contents[plain]:
            raise Refused("it writes into an array that is no argument")
        draft.writes(arrays, self.values, self.contents)
        draft.changes(boxes, after)
        draft.draws(generators, self.contents[plain.stop : plain.stop + len(scan.generators)])


@functools.lru_cache(maxsize=4096)
def _encoded_names(names: tuple[str, ...]) -> bytes:
    return encode(names)


def _error_state() -> bytes:
    """NumPy's error state. Modes that call or print something make a call not reusable."""
    modes = error_modes()
    if not _QUIET.issuperset(modes):
        raise NotReusable(f"np.errstate has effects: {', '.join(sorted(set(modes) - _QUIET))}")
    return _encoded_names(modes)


_QUIET = frozenset({"ignore", "warn", "raise"})


# ----------------------------------------------------------------- one call from plain code


class Entry:
    """A call from plain code: arguments as traced ones, and everything back to plain at its end.

    traced   whether a traced array was among the arguments; then results stay traced
    """

    def __init__(self, work: TracedFunction) -> None:
        self.work = work
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        self.originals: dict[int, tuple[Handle, Any]] = {}
        self.values: list[Value] = []
        self.traced = False
        self.walk = Walk(self._enter, copying=True)
        self._code: list[Code] = [work.code]
        self._names: dict[int, str] = {}
        self._generators: dict[int, TracedGenerator] = {}

    def take(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Convert the arguments."""
        walk, names = self.walk, self._names
        positional = zip(self.work.parameters.positional, args, strict=False)
        for name, value in (*positional, *kwargs.items()):
            if type(value) is np.ndarray:
                names.setdefault(id(value), name)
            elif type(value) not in ATOMS:
                for path, a in arrays_by_name(name, value):
                    names.setdefault(id(a), path)
        self.args = tuple([walk(a) for a in args])
        self.kwargs = {k: walk(v) for k, v in kwargs.items()} if kwargs else kwargs
        if len(self.originals) > 1:
            find_rivals(list(self.originals.values()))
        if self.originals:
            self._expose()

    def _enter(self, x: Any) -> Any:
        kind = type(x)
        if kind is np.ndarray or kind is np.memmap:
            value = entering(np.asarray(x), self._names.get(id(x)))
            h = handle(value)
            h._locked = not x.flags.writeable
            self.values.append(value)
            self.originals[id(h)] = (h, x)
            return h
        if kind in _GENERATORS:
            return self._generator(x)
        if isinstance(x, ModuleType):
            return twin_of(x)
        if isinstance(x, Handle):
            self.traced = True
        elif kind in CALLABLES:
            self._code.append(code_of(x))
        return x

    def _generator(self, x: Any) -> TracedGenerator:
        made = TracedGenerator(x)
        bits = x.bit_generator if isinstance(x, np.random.Generator) else x._bit_generator
        other = self._generators.setdefault(id(bits), made)
        if other is not made:  # two generators draw from one stream
            other.exposed = made.exposed = True
        return made

    def _expose(self) -> None:
        """What the function also reaches as plain data is read anew at each use.

        Plain code in the call may write it, which the traced argument would not see.
        """
        data: list[Any] = []
        for code in self._code:
            try:
                data += [x for x in code.data() if type(x) not in ATOMS]
            except NotReusable:
                continue
        if not data:
            return
        found: list[Any] = []

        def look(x: Any) -> Any:
            found.append(_plain_memory(x))
            return x

        Walk(look)(data)
        arrays = [a for a in found if a is not None]
        for h, x in self.originals.values():
            if any(share_memory(a, x) for a in arrays):
                release(h, x)

    def leave(self, result: Any) -> Any:
        """`result` for the caller; nothing waits on the caller's memory any more."""
        leaving = Leaving(self.originals)
        mine = set(self.originals)
        for value in self.values:
            detach(value)
        for h, original in list(self.originals.values()):
            settle(h, original)

        def convert(x: Any) -> Any:
            if isinstance(x, Handle):
                kept = self.traced and id(root_of(x)) not in mine
                return x if kept else leaving(x)
            if isinstance(x, TracedGenerator):
                x.exposed = True
                return x._generator
            return plain_module(x) if isinstance(x, ModuleType) else x

        for generator in self._generators.values():
            generator.exposed = True
        walk = self.walk
        leave = Walk(convert)
        for original, copied, _ in walk.copied:
            leave.stands_for(copied, original)
        result = leave(result)
        for x in walk.objects:
            leave(x)
        for original, copied, before in walk.copied:
            layout = layout_of(copied)
            assert layout is not None
            items = layout.items(copied)
            if len(items) != len(before) or any(
                a is not b for a, b in zip(items, before, strict=True)
            ):
                layout.refill(original, [leave(v) for v in items])
        leaving.finish()
        return result


def find_rivals(entered: list[tuple[Handle, Any]]) -> None:
    """Arguments in common memory: a write to one of them shows in the others."""
    if all(x.base is None for _, x in entered):
        return  # each has memory of its own
    by_owner: dict[int, list[tuple[Handle, Any]]] = {}
    for h, x in entered:
        memory = owner(x)
        by_owner.setdefault(id(memory) if isinstance(memory, np.ndarray) else 0, []).append((h, x))
    for group in by_owner.values():
        for k, (h, x) in enumerate(group):
            met = [p for p in group[k + 1 :] if share_memory(x, p[1])]
            if met:
                known = [getattr(p[0], "_rivals", None) for p in ((h, x), *met)]
                old = [m for rivals in known if rivals is not None for m in rivals.members]
                Rivals(list({id(m[0]): m for m in ((h, x), *met, *old)}.values()))


_GENERATORS = frozenset({np.random.Generator, np.random.RandomState})


def _plain_memory(x: Any) -> Any:
    """The plain array that `x` is, or that a handle left over from an earlier call means."""
    if isinstance(x, np.ndarray) and not isinstance(x, Handle):
        return x
    if isinstance(x, Handle) and is_outside(x):
        return value_of(x).data
    return None
