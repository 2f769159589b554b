"""Sessions, values, and the one pipeline that every traced operation runs through.

    bind -> node -> wait | probe -> force operands -> execute -> admit -> outcome

`apply` is the pipeline. A `Value` ties a lineage node to data that is present, or (`Pending`) to
operands it will be computed from. When to wait is decided by `waits`, in one place.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from lima.cache import FIRST_SIGHT, MIN_SECONDS, SURELY, TINY_BYTES, Cache
from lima.config import Config
from lima.errors import InternalError
from lima.node import Node, Spec
from lima.op import Kind, Meta, Op, clone, evaluate, owner
from lima.stats import Outcome, Stats, outcome_row

OUTPUT = "output"
"""Opcode of the projection of a tuple result on one of its items."""

MIN_EFFORT = 8192
"""Elements of work below which an operation is cheaper to run than to probe and keep (D9)."""

FLIGHT_BYTES = 1 << 16
"""Operand bytes from which equal work in several threads is worth coordinating."""

CREDIT = 8_000_000
"""Bytes of results of one operation that are kept on trust (see `Session.keep`)."""

POOL_SHARE = 32
"""The part of the memory budget, one in so many, that dead buffers may take."""

CALL_SECONDS = 1e-4
"""Seconds from which a whole call is worth keeping."""

MAX_DEPTH = 64
"""Longest chain of operations that waits."""

MAX_HELD = 1 << 28
"""Bytes of computed operands that one waiting result may keep alive."""


class Value:
    """Data with its lineage.

    data     ndarray, NumPy scalar, tuple of these (multi-output call), or None while it waits
    root     the value whose buffer this is a view of; None if the buffer is its own
    shared   others may see the buffer (cache, caller, exported view): it is never written again
    users    weak references to values that read this buffer (views, waiting operations)
    """

    __slots__ = ("__weakref__", "data", "node", "root", "shared", "users")

    def __init__(self, node: Node, data: Any, root: Value | None = None) -> None:
        self.node = node
        self.data = data
        self.root = root
        self.shared = False
        self.users: list[weakref.ref[Value]] | None = None

    @property
    def meta(self) -> Meta:
        """Shape and dtype, whether or not the data has been computed."""
        return self.data.shape, self.data.dtype


class Foreign(Value):
    """A plain array met inside traced code: a leaf by its content now, which its owner may change.

    What uses it runs at once.
    """

    __slots__ = ()


class Pending(Value):
    """A value that waits: `row` applied to `args` (values and literals) when first needed."""

    __slots__ = ("_meta", "args", "depth", "handle", "held", "row")

    def __init__(self, node: Node, row: Op, args: Sequence[Any], meta: Meta) -> None:
        super().__init__(node, None)
        self.row = row
        self.args: Sequence[Any] | None = args
        self._meta = meta
        self.handle: weakref.ref[Any] | None = None
        depth = held = 0
        me = weakref.ref(self)
        for arg in args:
            if not isinstance(arg, Value):
                continue
            root = arg.root or arg
            if arg.data is not None:
                if not arg.shared and root is arg:
                    held += arg.data.nbytes
            elif isinstance(arg, Pending):
                held += arg.held
                if arg.depth > depth:
                    depth = arg.depth
            if root.users is None:
                root.users = [me]
            else:
                _add_user(root.users, me)
        self.depth, self.held = depth + 1, held

    @property
    def meta(self) -> Meta:
        return self._meta if self.data is None else (self.data.shape, self.data.dtype)


def watch(value: Value, user: Value) -> None:
    """Remember that `user` reads the buffer of `value`."""
    root = value.root or value
    if root.users is None:
        root.users = [weakref.ref(user)]
    else:
        _add_user(root.users, weakref.ref(user))


def _add_user(users: list[weakref.ref[Value]], user: weakref.ref[Value]) -> None:
    if len(users) >= 32 and len(users) & (len(users) - 1) == 0:
        users[:] = [ref for ref in users if ref() is not None]
    users.append(user)


def live_users(value: Value) -> Iterator[Value]:
    """The values still alive that read the buffer of `value`."""
    for ref in value.users or ():
        user = ref()
        if user is not None:
            yield user


class Pool:
    """Dead buffers of temporaries, for results of the same shape and dtype.

    A buffer that is used again has its pages and is in the processor's cache; one from the
    allocator may have neither. Bounded in bytes; one per session and thread.
    """

    __slots__ = ("buffers", "bytes", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.buffers: dict[Meta, list[Any]] = {}

    def give(self, buffer: Any) -> None:
        if self.bytes + buffer.nbytes <= self.limit and buffer.flags.c_contiguous:
            self.bytes += buffer.nbytes
            self.buffers.setdefault((buffer.shape, buffer.dtype), []).append(buffer)

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        kept = self.buffers.get((shape, dtype))
        if not kept:
            return None
        buffer = kept.pop()
        self.bytes -= buffer.nbytes
        return buffer


# --------------------------------------------------------------------------- sessions


class Session:
    """A cache with its options and statistics; made by `lima.session`.

    Attributes: `config` (the options in force), `cache`, `stats` (a record, see `lima.Stats`).
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cache = Cache(config.memory, config.policy)
        self.counts = Stats()
        self.reuses = config.reuse != "none"
        self.functions = config.reuse in ("hybrid", "full")
        self.call_seconds = CALL_SECONDS
        self.credit: dict[str, int] = {}
        self._pools = threading.local()

    @property
    def pool(self) -> Pool:
        """The dead buffers of this thread."""
        found = getattr(self._pools, "pool", None)
        if found is None:
            found = self._pools.pool = Pool(self.config.memory // POOL_SHARE)
        return found  # type: ignore[no-any-return]

    def keep(self, row: Op, node: Node, result: Any, seconds: float, flight: Any = None) -> bool:
        """Offer a result to the cache.

        Keeping what is never asked for again costs the fresh pages that the next result takes.
        So each operation has a credit of bytes for results that are kept at first sight although
        they took little time for their size; hits fill it up again.
        """
        nbytes = result.nbytes if type(result) is np.ndarray else 0
        first_sight = FIRST_SIGHT
        if nbytes > TINY_BYTES and seconds < SURELY * nbytes:
            left = self.credit.get(row.name, CREDIT) - nbytes
            if left < 0:
                first_sight = SURELY
            elif seconds >= FIRST_SIGHT * nbytes:
                self.credit[row.name] = left
        put = flight.deliver if flight is not None else partial(self.cache.put, node.digest)
        return bool(
            put(result, seconds=seconds, height=node.height, owned=True, first_sight=first_sight)
        )

    def repaid(self, row: Op, value: Any) -> None:
        """A result of `row` was asked for again."""
        if row.name in self.credit:
            more = value.nbytes if type(value) is np.ndarray else 0
            self.credit[row.name] = min(CREDIT, self.credit[row.name] + 2 * more)

    @property
    def stats(self) -> Stats:
        """Counts and seconds so far, by level: hits, misses, seconds saved, bytes held."""
        return self.counts.with_cache(self.cache)

    def report(self) -> str:
        """The statistics as a table for reading."""
        return self.stats.table()

    def clear(self) -> None:
        """Forget every cached value."""
        self.cache.clear()

    def __repr__(self) -> str:
        return f"<lima.Session {self.config.summary()}; {self.stats.summary()}>"


_session: ContextVar[Session | None] = ContextVar("lima_session", default=None)
_default: Session | None = None


def current() -> Session:
    """The session in force here: the innermost `with lima.session(...)`, else the process-wide one."""
    global _default
    session = _session.get()
    if session is not None:
        return session
    if _default is None:
        _default = Session(Config.load())
    return _default


def configure(**options: Any) -> Session:
    """Replace the process-wide default session by one with these options; returns it.

    Takes the options of `lima.session`. What the old default session had cached is dropped.

    >>> configure(memory="64MB").config.memory
    64000000
    """
    global _default
    _default = Session(Config.load(**options))
    return _default


@contextmanager
def session(**options: Any) -> Iterator[Session]:
    """A session of its own for the `with` block: an empty cache, options, statistics.

    memory     byte budget of the cache, a number of bytes or text such as "2GB"
    policy     row of the eviction table: "cost-size", "lru", "dag-height"
    reuse      "none" (trace only), "operation", "full" (operations and calls), "hybrid"
    exactness  "bitwise" or "rounding"; every reuse of this version is bitwise

    Raises ConfigError for an unknown option or value.

    >>> with session(memory="100MB") as s:
    ...     s.stats.hits
    0
    """
    made = Session(Config.load(**options))
    token = _session.set(made)
    try:
        yield made
    finally:
        _session.reset(token)


# --------------------------------------------------------------------------- the pipeline


def apply(row: Op, spec: Spec, inputs: Sequence[Any]) -> Value:
    """Trace one operation on values and literals, and compute it now or let it wait."""
    here = _session.get() or current()
    node = Node(spec, tuple([i.node if isinstance(i, Value) else i for i in inputs]))
    kind = row.kind
    if kind is not Kind.HEAVY and kind is not Kind.EFFECT:
        present = True
        large = not inputs
        for i in inputs:
            if isinstance(i, Value):
                if i.data is None:
                    present = False
                elif i.data.size > row.small:
                    large = True
        if kind is Kind.VIEW:
            if present:
                return run_view(row, spec, node, inputs)
            meta = row.infer(inputs, spec) if row.infer is not None else None
            if meta is None:
                return run_view(row, spec, node, inputs)
            value = Pending(node, row, inputs, meta)
            value.root = inputs[0].root or inputs[0]
            return value
        if large or not present:
            meta = waits(here, row, spec, inputs)
            if meta is not None:
                return Pending(node, row, inputs, meta)
            if here.reuses and large:
                return probe(here, row, spec, node, inputs)
        return run(row, spec, node, inputs)
    if here.reuses and kind is Kind.HEAVY and effort(row, inputs) > MIN_EFFORT:
        return probe(here, row, spec, node, inputs)
    return run(row, spec, node, inputs)


def effort(row: Op, inputs: Sequence[Any]) -> float:
    """Estimated work of a heavy operation, in elements touched once."""
    elements = 0
    for i in inputs:
        if isinstance(i, Value):
            data = i.data
            if data is None:
                elements += _size(i.meta[0])
            elif type(data) is tuple:
                return MIN_EFFORT + 1
            else:
                elements += data.size
    growth = row.growth
    return row.weight * (elements if growth == 1.0 else elements**growth)


def waits(here: Session, row: Op, spec: Spec, inputs: Sequence[Any]) -> Meta | None:
    """Shape and dtype of a light result that shall wait; None when it must run at once.

    The one place of the policy: without reuse nothing waits (no plan could use the structure);
    small results are cheaper to compute than to keep waiting; `np.errstate(...="raise")` wants
    errors where they happen; chains and the memory they hold are bounded.
    """
    if not here.reuses or row.infer is None or _raising():
        return None
    meta = row.infer(inputs, spec)
    if meta is None or _size(meta[0]) <= row.small:
        return None
    held = 0
    for i in inputs:
        if isinstance(i, Pending):
            if i.data is None:
                held += i.held
                if i.depth >= MAX_DEPTH:
                    return None
        elif isinstance(i, Foreign):
            return None
    return meta if held < MAX_HELD else None


_calm: Any = object()
_errstate: ContextVar[Any] = getattr(np._core.umath, "_extobj_contextvar", ContextVar("none"))


def _raising() -> bool:
    """Whether floating point errors raise here (`np.errstate(all="raise")`).

    NumPy keeps the error state in a context variable; while that holds the object that was looked
    at last, nothing changed.
    """
    global _calm
    state = _errstate.get(None)
    if state is _calm:
        return False
    if "raise" in np.geterr().values():
        return True
    _calm = state
    return False


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def tied(data: Any) -> Any:
    """A read-only view of `data` for code that must not write it; scalars as they are."""
    if type(data) is np.ndarray:
        data = data.view()
        data.setflags(write=False)
    return data


def binary(row: Op, a: Any, b: Any, run: Any) -> Value:
    """`apply` for an elementwise operation of two operands: the hot path, small results at once."""
    left, right = isinstance(a, Value), isinstance(b, Value)
    x = a.data if left else a
    y = b.data if right else b
    if x is None or y is None:
        return apply(row, row.spec, (a, b))
    small = row.small
    if (left and x.size > small) or (right and y.size > small):
        if (_session.get() or current()).reuses:
            return apply(row, row.spec, (a, b))
    node = Node(row.spec, (a.node if left else a, b.node if right else b))
    return Value(node, run(x, y))


def run_view(row: Op, spec: Spec, node: Node, inputs: Sequence[Any]) -> Value:
    """A view of data that is present. Rows whose result may be a copy are looked at."""
    base = inputs[0]
    if not isinstance(base, Value):
        return run(row, spec, node, inputs)
    data = evaluate(row, spec, [force(i) if isinstance(i, Value) else i for i in inputs])
    if type(data) is np.ndarray and (data is base.data or owner(data) is owner(base.data)):
        value = Value(node, data, base.root or base)
        watch(base, value)
        return value
    return Value(node, data)


def run(row: Op, spec: Spec, node: Node, inputs: Sequence[Any], buffer: Any = None) -> Value:
    """Compute at once, without the cache."""
    data = [force(i) if isinstance(i, Value) else i for i in inputs]
    return Value(node, own(evaluate(row, spec, data, buffer), data))


def own(result: Any, data: Sequence[Any]) -> Any:
    """`result`, or a private copy of it where it is an operand or a view of one."""
    if type(result) is np.ndarray:
        memory = owner(result)
        if any(type(d) is np.ndarray and owner(d) is memory for d in data):
            return clone(result)
    elif type(result) is tuple:
        return tuple(own(item, data) for item in result)
    elif isinstance(result, tuple):
        return type(result)(*[own(item, data) for item in result])
    return result


def probe(here: Session, row: Op, spec: Spec, node: Node, inputs: Sequence[Any]) -> Value:
    """Look the result up; on a miss compute it and offer it to the cache."""
    digest = node.digest
    entry = here.cache.get(digest)
    if entry is not None:
        here.repaid(row, entry.value)
        return _hit(node, entry.value, entry.seconds)
    data = [force(i) if isinstance(i, Value) else i for i in inputs]
    if sum([d.nbytes for d in data if type(d) is np.ndarray]) < FLIGHT_BYTES:
        result, seconds = _timed(here, row, spec, node, data)
        if seconds > MIN_SECONDS and here.keep(row, node, result, seconds):
            return _kept(node, result)
        return Value(node, result)
    with here.cache.flight(digest, probed=True) as flight:
        if flight.entry is not None:
            return _hit(node, flight.entry.value, flight.entry.seconds)
        if flight.delivered:
            return _hit(node, flight.value, 0.0)
        result, seconds = _timed(here, row, spec, node, data)
        kept = here.keep(row, node, result, seconds, flight)
    return _kept(node, result) if kept else Value(node, result)


def _hit(node: Node, data: Any, seconds: float) -> Value:
    node.outcome = outcome_row(Outcome.HIT, seconds)
    return _kept(node, data)


def _kept(node: Node, data: Any) -> Value:
    value = Value(node, data)
    value.shared = True
    return value


def _timed(here: Session, row: Op, spec: Spec, node: Node, data: Sequence[Any]) -> tuple[Any, float]:
    start = perf_counter()
    result = own(evaluate(row, spec, data), data)
    seconds = perf_counter() - start
    node.outcome = outcome_row(Outcome.COMPUTED, seconds)
    here.counts.computed += 1
    here.counts.seconds_computed += seconds
    return result, seconds


# --------------------------------------------------------------------------- forcing


def force(value: Value) -> Any:
    """The data of `value`; what waits below it is computed first, in one iterative pass."""
    if value.data is not None:
        return value.data
    if not isinstance(value, Pending):
        raise InternalError("a value lost its data although something still refers to it")
    here = current()
    plan: list[tuple[Pending, Sequence[Any]]] = []
    seen: set[int] = set()
    stack: list[tuple[Pending, bool]] = [(value, False)]
    while stack:
        item, ready = stack.pop()
        args = item.args
        if item.data is not None or args is None:
            continue
        if ready:
            plan.append((item, args))
            continue
        if id(item) in seen:
            continue
        seen.add(id(item))
        if here.reuses and item.row.kind is not Kind.VIEW and _found(here, item):
            continue
        stack.append((item, True))
        for a in reversed(args):  # the first operand first, as the program would have
            if isinstance(a, Pending) and a.data is None:
                stack.append((a, False))
    return _Pass(here, value, plan).run()


def _found(here: Session, item: Pending) -> bool:
    entry = here.cache.get(item.node.digest)
    if entry is None:
        return False
    here.repaid(item.row, entry.value)
    item.node.outcome = outcome_row(Outcome.HIT, entry.seconds)
    item.shared = True
    item.data = entry.value
    item.args = None
    return True


class _Pass:
    """One pass over values that wait.

    What nothing but this pass will read (no handle, no other user) is a temporary: it stays in
    `local`, unknown to other threads, and its buffer takes the result of its last reader where
    NumPy would have reused it too.
    """

    __slots__ = ("goal", "here", "local", "plan", "pool", "readers")

    def __init__(
        self, here: Session, goal: Pending, plan: list[tuple[Pending, Sequence[Any]]]
    ) -> None:
        self.here = here
        self.goal = goal
        self.plan = plan
        self.pool = here.pool
        self.local: dict[int, Any] = {}
        self.readers: dict[int, int] = {}
        for _, args in plan:
            for a in args:
                if isinstance(a, Pending):
                    self.readers[id(a)] = self.readers.get(id(a), 0) + 1

    def run(self) -> Any:
        members = {id(item) for item, _ in self.plan}
        for item, args in self.plan:
            if item.data is not None:  # another thread was faster
                continue
            result = self.compute(item, args)
            if item is not self.goal and self.temporary(item, members):
                self.local[id(item)] = result
            else:
                item.data = result
                item.args = None
        return self.goal.data

    def temporary(self, item: Pending, members: set[int]) -> bool:
        """Whether nobody outside of this pass can ask for `item`."""
        if item.shared or item.root is not None:
            return False
        if item.handle is not None and item.handle() is not None:
            return False
        return all(id(u) in members and u.root is None for u in live_users(item))

    def compute(self, item: Pending, args: Sequence[Any]) -> Any:
        here, node, row = self.here, item.node, item.row
        data = [self.read(a) if isinstance(a, Value) else a for a in args]
        start = perf_counter()
        buffer = self.spare(item, args, data)
        if row.elides and not node.spec.params:
            result = row.kernel(*data, out=buffer)
        else:
            result = evaluate(row, node.spec, data)
        seconds = perf_counter() - start
        shape, dtype = item._meta
        if result.shape != shape or result.dtype != dtype:
            raise InternalError(
                f"{row.name}: inferred {shape} {dtype}, computed {result.shape} {result.dtype}"
            )
        if row.kind is Kind.VIEW:
            return result
        result = result if row.elides else own(result, data)
        node.outcome = outcome_row(Outcome.COMPUTED, seconds)
        here.counts.computed += 1
        here.counts.seconds_computed += seconds
        if seconds > MIN_SECONDS and here.keep(row, node, result, seconds):
            item.shared = True
        return result

    def read(self, a: Value) -> Any:
        data = a.data
        return self.local[id(a)] if data is None else data

    def spare(self, item: Pending, args: Sequence[Any], data: Sequence[Any]) -> Any:
        """A buffer for the result of `item`: that of a temporary it reads last, or a pooled one.

        Only where every operand of full size lies in C order: there the result does so anyway.
        """
        shape, dtype = item._meta
        found = None
        for a in args:
            left = self.readers.get(id(a))
            if left is None:
                continue
            self.readers[id(a)] = left - 1
            if left > 1:
                continue
            buffer = self.local.pop(id(a), None)
            if buffer is None or buffer.base is not None or not buffer.flags.writeable:
                continue
            if found is None and buffer.shape == shape and buffer.dtype == dtype:
                found = buffer
            else:
                self.pool.give(buffer)
        if not item.row.elides:
            return None
        for d in data:
            if type(d) is np.ndarray and d.shape == shape and not d.flags.c_contiguous:
                return None
        return found if found is not None else self.pool.take(shape, dtype)
