"""Traced generators: handles on NumPy's own, whose draws are steps of the lineage (D11)."""

from __future__ import annotations

import math
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from lima import drawn
from lima.barriers import barrier, has_gaps, opened, plain, write_untraced
from lima.calls import LIFT, result
from lima.entries import Entry
from lima.errors import NotCanonical
from lima.forcing import adopt_lineage, forced, mark_inexact
from lima.frame import active, as_numpy, refuse
from lima.handle import Handle, locked
from lima.node import OUTPUT, Node, Ref, Spec, new_node, resolve
from lima.op import OPS, BindError, Op, bind, own
from lima.ops.random import METHODS, draw, set_state, state_of
from lima.places import call_here
from lima.records import is_record
from lima.sessions import Session, current
from lima.stats import Outcome, outcome_row
from lima.values import Value, nodes_of
from lima.writes import refuse_readonly

_FIRST, _SECOND = (Spec(OUTPUT, (("index", k),)) for k in (0, 1))

KEEP_SECONDS = 200e-6
"""A draw is kept only if it took this long: keeping costs reading and later setting the state."""


class TracedGenerator:
    """A `numpy.random.Generator` or `RandomState` whose draws are traced.

    It draws from the generator that it wraps, so values and stream are NumPy's, and whoever else
    holds the plain generator sees it advance. Its state is a lineage value: a draw takes a state
    in and gives a state out, so equal seeds have equal lineage. Draws inside traced code give
    `lima.Array`s; outside of it, what NumPy gives.
    """

    __slots__ = (
        "__weakref__", "_always", "_generator", "_interface", "_left", "_node", "exposed", "lasting"
    )  # fmt: skip

    def __init__(self, generator: Any, node: Node | None = None, always: bool = False) -> None:
        frame = active()
        self._always = always or (frame is not None and frame.namespace)
        self._generator = generator
        self._node = node
        self.lasting = True  # whether another process may have one in the same state
        self.exposed = always  # whether others may advance it: then its state is looked at
        self._left: Any = None  # the state in which a draw left an exposed one
        self._interface = (
            "RandomState" if isinstance(generator, np.random.RandomState) else "Generator"
        )

    def state_node(self) -> Node:
        """The lineage of the present state; a state of unknown origin is recorded as it is."""
        if self._node is None or (self.exposed and self._left != self._present()):
            state = state_of(self._generator)
            row = OPS["generator"]
            self._node = Node(Spec(row.name, (("state", state),), 0, row.version))
        return self._node

    def seed(self, seed: Any = None) -> None:
        """Seed a RandomState again."""
        self._seed(plain(seed))
        twister = isinstance(self._generator._bit_generator, np.random.MT19937)
        self._node = _seed_node("RandomState", seed) if twister and seed is not None else None
        self.advanced()
        frame = active()
        if frame is not None:
            frame.refuse("it seeds a generator")

    def _seed(self, seed: Any) -> None:
        self._generator.seed(seed)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What `isinstance` sees: NumPy's class."""
        return type(self._generator)

    def __reduce__(self) -> Any:
        return _itself, (self._generator,)

    def spawn(self, n_children: int) -> list[Any]:
        """Independent generators, made of the seed of this one (which counts them)."""
        made = self._generator.spawn(plain(n_children))
        frame = active()
        if frame is None and not self._always:
            return made  # type: ignore[no-any-return]
        if frame is not None:
            frame.refuse("it spawns generators")
            frame.generators.update(map(id, made))
        return [TracedGenerator(child, always=self._always) for child in made]

    @property
    def bit_generator(self) -> Any:
        """NumPy's bit generator; from now on it may be advanced directly."""
        if not self.exposed:
            self.exposed = True
            self._left = self._present()
        frame = active()
        if frame is not None:
            frame.refuse("it reaches into the bit generator")
        return self._generator.bit_generator

    def advanced(self) -> None:
        """Called after each draw."""
        if self.exposed:
            self._left = self._present()

    def _present(self) -> tuple[Any, ...]:
        """The present state, to be compared: numbers that wait for the next draw belong to it."""
        found = []
        for key, value in state_of(self._generator).items():
            inner = sorted(value.items()) if type(value) is dict else ((key, value),)
            found += [v.tobytes() if type(v) is np.ndarray else v for _, v in inner]
        return tuple(found)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self._generator, name)
        if name in METHODS[self._interface] and (self._always or active() is not None):
            return _Method(self, name)
        if not callable(found):
            return found
        return _Untraced(self, found)

    def __repr__(self) -> str:
        return repr(self._generator) if as_numpy() else f"<traced {self._generator!r}>"

    def __str__(self) -> str:
        return str(self._generator)


def _is_array(x: Any) -> bool:
    """Whether `x` is a traced array, not a record: NumPy shuffles that as any sequence."""
    return isinstance(x, Handle) and not is_record(x)


def _itself(generator: Any) -> Any:
    """Pickled and copied generators are plain ones."""
    return generator


class GlobalGenerator(TracedGenerator):
    """The legacy generator behind `np.random.rand` and kin, from which plain code may draw too."""

    def __init__(self, generator: Any, node: Node | None = None, always: bool = False) -> None:
        super().__init__(generator, node, always)
        self.exposed = True

    def _seed(self, seed: Any) -> None:
        np.random.seed(seed)  # which seeds any bit generator that `set_bit_generator` put in


class _Untraced:
    """A method without a row, or called outside of traced code: NumPy's, and the history ends."""

    def __init__(self, owner: TracedGenerator, method: Any) -> None:
        self.owner = owner
        self.method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.owner._node = None
        if active() is None:
            try:
                return self.method(*plain(args), **plain(kwargs))
            except ValueError as error:
                arrays = opened(error, args, kwargs)
                if arrays is None:
                    raise
                return self.method(*plain(arrays[0]), **plain(arrays[1]))
        return barrier(self.method, args, kwargs, "no row")


class _Method:
    """A traced method, bound to its generator."""

    __slots__ = ("name", "owner")

    def __init__(self, owner: TracedGenerator, name: str) -> None:
        self.owner = owner
        self.name = name

    @property
    def __name__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        """As of bound methods: each look at `rng.normal` gives another object."""
        if not isinstance(other, _Method):
            return NotImplemented
        return (self.owner._generator, self.name) == (other.owner._generator, other.name)

    def __hash__(self) -> int:
        return hash((id(self.owner._generator), self.name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        owner, row = self.owner, OPS[f"{self.owner._interface}.{self.name}"]
        state = Value(owner.state_node(), owner._generator)
        out = kwargs.pop("out", None)
        if out is not None:
            return self._fill(row, out, args, kwargs)
        if self.name == "shuffle" and not args and "x" in kwargs:
            args = (kwargs.pop("x"),)
        if self.name == "shuffle" and args and not _is_array(args[0]):
            refuse("it shuffles what is no traced array")
            owner._node = None
            method = owner._generator.shuffle
            return call_here(partial(method, **kwargs) if kwargs else method, *args)
        if self.name == "shuffle" and args:
            refuse_readonly(args[0])
            if has_gaps(args[0].dtype):  # NumPy moves what lies there as well
                owner._node = None
                method = owner._generator.shuffle
                return write_untraced(method, args[0], args, kwargs, "it shuffles parts of records")
        if row.operands == ("state",) and "size" in row.params and self.name in ("rand", "randn"):
            args = (tuple(int(n) for n in args),)
        try:
            inputs, spec = bind(row, (state, *args), kwargs, _STATE_LIFT)
        except (BindError, NotCanonical) as error:
            if self.name == "shuffle":
                owner._node = None
                return write_untraced(owner._generator.shuffle, args[0], args, kwargs, str(error))
            return _Untraced(owner, getattr(owner._generator, self.name))(*args, **kwargs)
        if self.name == "permutation" and _is_empty(*args, **kwargs):
            given: Any = args[0] if args else kwargs["x"]
            if locked(given):
                raise ValueError("array is read-only")
            return given  # there is nothing to draw for, and nothing to copy
        found = result(_drawn(owner, self.name, spec, inputs), row)
        if self.name == "shuffle":
            args[0][...] = found
            return None
        return found

    def _fill(self, row: Op, out: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A draw into an array; what NumPy would refuse, it refuses."""
        free = isinstance(out, Handle) and not locked(out)
        if free and out.flags.c_contiguous:
            sized = "size" in row.params and len(args) < len(row.operands)
            fits = sized and kwargs.get("size") in (None, out.shape)
            if fits and out.dtype == np.dtype(kwargs.get("dtype", float)) and out.ndim:
                out[...] = self(*args, **{**kwargs, "size": out.shape})
                return out
        method = getattr(self.owner._generator, self.name)
        self.owner._node = None
        if isinstance(out, Handle):
            return write_untraced(method, out, args, {**kwargs, "out": out}, "out=")
        return method(*plain(args), out=out, **plain(kwargs))


def _is_empty(x: Any, axis: Any = 0) -> bool:
    """Whether a permutation is one of no elements along the only axis."""
    return _is_array(x) and x.shape == (0,) and axis in (0, -1)


class _StateLift(type(LIFT)):  # type: ignore[misc]
    def operand(self, x: Any) -> Any:
        return x if isinstance(x, Value) else super().operand(x)


_STATE_LIFT = _StateLift()


def _drawn(owner: TracedGenerator, method: str, spec: Spec, inputs: list[Any]) -> Value:
    """The drawn value; the generator stands afterwards where NumPy's would."""
    frame = active()
    if frame is not None:
        frame.draws_from(owner._generator)
    here = current()
    node = new_node(spec, nodes_of(inputs))
    entry = here.look(node) if here.reuses else None
    store = here.store if here.reuses else None
    if entry is None and store is not None:
        entry = drawn.find(here, node, owner._generator)
    if entry is not None:
        made = _again(owner, node, entry)
    else:
        data = forced(inputs)
        params = {k: resolve(v, data) for k, v in spec.params}
        anew = partial(_anew, here, owner, method, node, data, params)
        if store is None or not owner.lasting or node.inexact:
            made = anew()
        else:
            look, again = (
                partial(store.find, node.digest, True),
                partial(_stored, here, owner, node),
            )
            made = store.turns.once(spec.op, _work(data, params), node.digest, look, again, anew)
    owner._node = Node(_SECOND, (node,))
    owner.advanced()
    value = Value(Node(_FIRST, (node,)), made.found)
    value.shared = made.kept
    value.node.outcome = outcome_row(made.outcome, made.seconds)
    return value


class _Made(NamedTuple):
    """What was drawn, how and in what time, and whether its buffer is shared."""

    found: Any
    outcome: Outcome
    seconds: float
    kept: bool


def _again(owner: TracedGenerator, node: Node, entry: Entry) -> _Made:
    """What was drawn before; the generator goes on from where that left it."""
    adopt_lineage(node, entry)
    found, state = entry.value
    set_state(owner._generator, state)
    return _Made(found, Outcome.HIT, entry.seconds, True)


def _stored(here: Session, owner: TracedGenerator, node: Node) -> _Made | None:
    """What another process has just drawn."""
    entry = drawn.find(here, node, owner._generator)
    return None if entry is None else _again(owner, node, entry)


def _anew(
    here: Session,
    owner: TracedGenerator,
    method: str,
    node: Node,
    data: list[Any],
    params: dict[str, Any],
) -> _Made:
    """What NumPy draws."""
    spec = node.spec
    start = perf_counter()
    npos = len(data) if spec.npos is None else spec.npos
    found = own(draw(owner._generator, method, tuple(data[1:npos]), params), data)
    seconds, kept = perf_counter() - start, False
    if here.counts.partial:
        mark_inexact(node)
    if seconds > KEEP_SECONDS and here.reuses and (here.rounds or not node.inexact):
        pair = (found, state_of(owner._generator))
        lineage = node if node.inexact else None
        if here.ledger is not None:
            here.ledger.drawn(spec.op, node, pair, seconds)
        else:
            kept = here.cache.put(
                node.digest, pair, seconds=seconds, height=node.height, lineage=lineage
            )
        if here.store is not None and owner.lasting:
            kept = drawn.offer(here, node, pair, seconds) or kept
    return _Made(found, Outcome.COMPUTED, seconds, kept)


def _work(data: list[Any], params: dict[str, Any]) -> float:
    """Elements that a draw gives, about: as many as it is told, or those of its arguments."""
    size = params.get("size")
    sizes = tuple(size) if isinstance(size, tuple | list) else (size,)
    told = math.prod([n for n in sizes if isinstance(n, int | np.integer)])
    return float(max(told, *[x.size for x in data if type(x) is np.ndarray], 1))


# --------------------------------------------------------------------------- making generators


def default_rng(seed: Any = None) -> Any:
    """`np.random.default_rng` inside traced code: without a seed, the entropy drawn is recorded."""
    if isinstance(seed, TracedGenerator):
        if isinstance(seed._generator, np.random.Generator):
            return seed
        seed.exposed = True  # the new one draws from the bits of this one
        seed = seed._generator
    return _make("default_rng", np.random.default_rng, seed)


def random_state(seed: Any = None) -> Any:
    """`np.random.RandomState` inside traced code."""
    return _make("RandomState", np.random.RandomState, seed)


def _make(name: str, maker: Any, seed: Any) -> TracedGenerator:
    frame = active()
    lasting = seed is not None
    if seed is None:
        if frame is not None:
            frame.refuse("it draws unseeded random numbers")
        seed = np.random.SeedSequence().entropy
        if name == "RandomState":
            seed = int(seed) % 2**32
    generator = maker(plain(seed))
    shares = isinstance(seed, (np.random.BitGenerator, np.random.Generator, np.random.RandomState))
    node = None if shares else _seed_node(name, seed)
    made = TracedGenerator(generator, node)
    made.exposed = shares
    made.lasting = lasting
    if frame is not None and shares:
        frame.refuse("it makes a generator from a bit generator")
    if frame is not None:
        frame.generators.add(id(generator))
    return made


def _seed_node(name: str, seed: Any) -> Node | None:
    """The lineage of a generator made from `seed`; None where the seed has no encoding."""
    inputs: tuple[Node, ...] = ()
    param = seed
    if isinstance(seed, (Handle, np.ndarray)):
        inputs, param = (LIFT.operand(seed).node,), Ref(0)
    try:
        spec = Spec(name, (("seed", param),), 0, OPS[name].version)
        _ = spec.prefix
    except NotCanonical:
        return None
    return Node(spec, inputs)
