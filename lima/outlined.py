"""The functions of a program: a lineage in which calls stand for the parts that calls made.

What a traced function made lies between its arguments and its results (`lima.spans`), so each of
the calls that are remembered becomes one node, and the part a function of its own, with the
arguments as leaves. Calls with equal parts, numbers that went in aside, share one function. A part
is written as it was recorded, also where two calls have something in common that lima computed
once: the function is whole, and so is each call of it.

A call stays what it is, operations, where a function could not stand for it: if it draws from a
generator that others draw from, if its result lies in memory that came from outside, or if nothing
but one operation would be in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lima.graph import topological
from lima.log import distinct
from lima.node import OUTPUT, Node, Spec, leaf_with
from lima.op import Kind
from lima.ops.called import CALL
from lima.ops.of_scipy import row_of
from lima.owned import targets_of
from lima.spans import Span

MOST_NODES = 20_000
"""Of a larger lineage no functions are looked for."""

MOST_CALLS = 512
"""Calls in one lineage that become functions; of more, none do."""

DEEPEST = 24
"""Calls in calls that become functions in functions."""

MOST_ARGUMENTS = 12
"""Arguments of a function, and leaves that it needs besides."""

_CALLER = b"the caller"
"""Stands for the digest of what reads an output."""

MOST_SEEN = 200_000
"""Nodes that are looked at for all calls together: those of an inner one are in its outer ones."""


class Function(NamedTuple):
    """A function of the program.

    name        what the traced function was called, and a number where that is not enough
    parameters  names and leaves, in the order of a call
    outputs     what it returns
    origins     of its nodes the digests of those in the lineage
    """

    name: str
    parameters: tuple[tuple[str, Node], ...]
    outputs: dict[str, Node]
    origins: dict[bytes, bytes]


class Outlined(NamedTuple):
    """Outputs in which calls of functions stand, the functions, inner ones first, and origins."""

    outputs: dict[str, Node]
    functions: list[Function]
    origins: dict[bytes, bytes]


def outlined(
    outputs: Mapping[str, Node], spans: Sequence[Span], taken: Iterable[str] = ()
) -> Outlined:
    """The lineage of `outputs` with functions, as far as `spans` tell of calls.

    `taken` are names that no function shall have.
    """
    nodes = list(distinct(outputs.values())) if spans else []
    calls = _calls(nodes, spans) if len(nodes) <= MOST_NODES else []
    whole = {node.digest for node in outputs.values() if not node.is_leaf}
    calls = [c for c in calls if not whole <= {node.digest for node in c.results}]
    if not calls or len(calls) > MOST_CALLS:
        return Outlined(dict(outputs), [], {})
    made = _Maker(nodes, calls, whole, set(taken))
    level = _Level(made, {}, len(calls), 0)
    roots = level.rewritten(outputs.values())
    if made.guesses():  # then they are constants
        made.begin(set(taken))
        level = _Level(made, {}, len(calls), 0)
        roots = level.rewritten(outputs.values())
    return Outlined(dict(zip(outputs, roots, strict=True)), made.functions, level.origins)


def _calls(nodes: Sequence[Node], spans: Sequence[Span]) -> list[Span]:
    """The calls that made something of the lineage, each once, inner ones before outer ones."""
    by_digest = {node.digest: node for node in nodes}
    found: dict[tuple[object, ...], Span] = {}
    for span in spans:
        results = {n.digest: by_digest[n.digest] for n in span.results if n.digest in by_digest}
        if not results:
            continue
        given = tuple([(name, _known(x, by_digest)) for name, x in span.given])
        key = (span.function, *results, *((n, getattr(x, "digest", x)) for n, x in given))
        found.pop(key, None)  # the last of equal calls, so that what it calls comes before it
        found[key] = span._replace(given=given, results=tuple(results.values()))
    return list(found.values())


def _known(x: Node | float, nodes: Mapping[bytes, Node]) -> Node | float:
    """The node of the lineage in the place of an equal one."""
    return nodes.get(x.digest, x) if isinstance(x, Node) else x


class Body(NamedTuple):
    """What a call made: its nodes, the leaves that are no arguments, and the arguments it used."""

    inside: set[bytes]
    leaves: list[Node]
    reached: set[bytes]


class _Maker:
    """What is known of the whole lineage, and the functions made so far.

    calls    the calls, inner ones before outer ones
    of       of a result the places of its calls among them
    readers  of each node the digests of those that read it
    states   what a write made: of arrays, and of the generators that something is drawn from
    writes   nodes that write an array
    constants  numbers that are no arguments, by function and name
    values   of numbers that are, by function and name, what they are in each function made
    bodies   of calls, once they are known
    known    functions by what they are called and what they return
    """

    def __init__(
        self, nodes: Sequence[Node], calls: Sequence[Span], whole: set[bytes], taken: set[str]
    ) -> None:
        self.calls = calls
        self.of: defaultdict[bytes, list[int]] = defaultdict(list)
        for place, call in enumerate(calls):
            for node in call.results:
                self.of[node.digest].append(place)
        self.readers: defaultdict[bytes, set[bytes]] = defaultdict(set)
        for digest in whole:
            self.readers[digest].add(_CALLER)
        self.states: set[bytes] = set()
        self.writes: dict[bytes, Node] = {}
        self.budget = MOST_SEEN
        for node in nodes:
            for item in _nodes(node.inputs):
                self.readers[item.digest].add(node.digest)
            row = row_of(node.spec.op)
            if row is not None and row.threads_state is not None:
                self.states.update((node.digest, *(x.digest for x in _nodes(node.inputs[:1]))))
            elif targets_of(node):
                self.states.add(node.digest)
                self.writes[node.digest] = node
        self.bodies: dict[int, Body | None] = {}
        self.constants: set[tuple[str, str]] = set()
        self.begin(taken)

    def begin(self, taken: set[str]) -> None:
        """No function is made yet."""
        self.known: dict[tuple[object, ...], Function] = {}
        self.functions: list[Function] = []
        self.names = taken
        self.values: defaultdict[tuple[str, str], defaultdict[str, set[float]]]
        self.values = defaultdict(lambda: defaultdict(set))

    def guesses(self) -> set[tuple[str, str]]:
        """Numbers that may stand in a function for another reason than that they were given.

        A number is an argument where functions hold for several values of it, or where none would
        stand in a function by chance.
        """
        for argument, found in self.values.items():
            single = all(len(values) == 1 for values in found.values())
            if single and any(
                (x * 4).is_integer() and abs(x) < 16 for x in set().union(*found.values())
            ):
                self.constants.add(argument)
        return self.constants

    def body(self, place: int) -> Body | None:
        """What a call made; None where a function cannot stand for it."""
        if place not in self.bodies:
            self.bodies[place] = self._body(self.calls[place]) if self.budget > 0 else None
        return self.bodies[place]

    def _body(self, call: Span) -> Body | None:
        entered = {x.digest for _, x in call.given if isinstance(x, Node)}
        if any(node.digest in entered for node in call.results):
            return None
        inside: set[bytes] = set()
        leaves: dict[bytes, Node] = {}
        reached: set[bytes] = set()

        def below(node: Node) -> tuple[Any, ...]:
            return () if node.digest in entered else node.inputs

        for node in topological(call.results, below):
            if node.digest in entered:
                reached.add(node.digest)
            elif node.is_leaf:
                leaves[node.digest] = node
            else:
                inside.add(node.digest)
        self.budget -= len(inside)
        if len(inside) < 2 or len(call.given) + len(leaves) > MOST_ARGUMENTS:
            return None
        if not all(self._is_fresh(node, inside, len(call.results)) for node in call.results):
            return None
        if self._writes_before(call, inside, entered):
            return None
        results = {node.digest for node in call.results}
        if any(not self.readers[digest] <= inside for digest in self.states & inside - results):
            return None
        return Body(inside, list(leaves.values()), reached)

    def _writes_before(self, call: Span, inside: set[bytes], entered: set[bytes]) -> bool:
        """Whether it writes memory that an argument is a view of: more of it than it is given."""
        written = [node for digest, node in self.writes.items() if digest in inside]
        if not written:
            return False
        before = {n.digest for n in topological([x for _, x in call.given if isinstance(x, Node)])}
        for node in written:
            while not node.is_leaf and node.digest not in entered:
                places, row = targets_of(node), row_of(node.spec.op)
                if not places and (row is None or row.kind is not Kind.VIEW):
                    break
                node = node.inputs[places[0] if places else 0]
            if node.digest in before - entered:
                return True
        return False

    def _is_fresh(self, node: Node, inside: set[bytes], count: int) -> bool:
        """Whether a result lies in memory that nothing else sees: a program may write it."""
        while node.digest in inside:
            made_by = node.inputs[0] if node.spec.op == OUTPUT else node
            row = row_of(made_by.spec.op)
            if row is None or row.gives:
                return False
            places = targets_of(made_by)
            if made_by is not node:
                return not places or node.spec.get("index") == 0
            if not places and row.kind is not Kind.VIEW:
                return True
            if not places and (count > 1 or row.infer is None):
                return False
            node = node.inputs[places[0] if places else 0]
            if node.digest not in inside:
                return bool(places)  # what comes from outside is copied before it is written
            if not places and not self.readers[node.digest] <= inside:
                return False
        return False

    def function(self, made: Function) -> Function:
        """The function with this name that returns the same: one that there is, or a new one."""
        key = made.name, *[root.digest for root in made.outputs.values()], *dict(made.parameters)
        known = self.known.get(key)
        if known is None:
            name, number = made.name, 1
            while name in self.names:
                number += 1
                name = f"{made.name}_{number}"
            self.names.add(name)
            known = self.known[key] = made._replace(name=name)
            self.functions.append(known)
        return known


class _Level:
    """Nodes of the program or of one function; `leaves` stand for its arguments, by digest.

    before   calls up to here in the order of calls may be in it: an inner one comes before
    inside   what it makes; what calls in it make is part of that. None for the program
    numbers  arguments that are numbers, by their bits
    """

    def __init__(
        self, made: _Maker, leaves: dict[bytes, Node], before: int, depth: int,
        inside: set[bytes] | None = None, numbers: Mapping[str, Node] | None = None,
    ) -> None:  # fmt: skip
        self.made, self.leaves, self.before, self.depth = made, leaves, before, depth
        self.inside = inside
        self.numbers = numbers or {}
        self.used: set[bytes] = set()
        self.origins: dict[bytes, bytes] = {}
        self.nodes: dict[bytes, Node] = {}
        self.written: dict[int, Node] = {}

    def rewritten(self, roots: Iterable[Node]) -> list[Node]:
        """The roots, with calls in them."""
        roots = list(roots)
        places: dict[bytes, int | None] = {}

        def below(node: Node) -> tuple[Any, ...]:
            if node.digest in self.leaves or node.digest in self.nodes:
                return ()
            place = places[node.digest] = self.call_of(node)
            if place is None:
                return node.inputs
            body = self.made.body(place)
            assert body is not None
            return (*_used(self.made.calls[place], body), *body.leaves)

        for node in topological(roots, below):
            if node.digest not in self.nodes:
                self.nodes[node.digest] = self.one(node, places.get(node.digest))
        return [self.nodes[root.digest] for root in roots]

    def call_of(self, node: Node) -> int | None:
        """The outermost call that may stand for a node here."""
        if self.depth >= DEEPEST:
            return None
        places = [p for p in self.made.of.get(node.digest, ()) if p < self.before]
        for place in reversed(places):
            body = self.made.body(place)
            if body is not None and (self.inside is None or body.inside <= self.inside):
                return place
        return None

    def one(self, node: Node, place: int | None) -> Node:
        leaf = self.leaves.get(node.digest)
        if leaf is not None:
            self.used.add(leaf.digest)
            return leaf
        if place is not None:
            return self.call(node, place)
        inputs = tuple([self.item(x) for x in node.inputs])
        if all(x is y for x, y in zip(inputs, node.inputs, strict=True)):
            return node
        made = Node(node.spec, inputs)
        made.place = node.place
        self.origins[made.digest] = node.digest
        return made

    def item(self, x: Any) -> Any:
        """An input as it reads here."""
        if type(x) is Node:
            return self.nodes[x.digest]
        leaf = self.numbers.get(x.hex()) if type(x) is float else None
        if leaf is None:
            return x
        self.used.add(leaf.digest)
        return leaf

    def call(self, node: Node, place: int) -> Node:
        """The call that makes `node`, or the item of it."""
        call = self.made.calls[place]
        if place not in self.written:
            self.written[place] = self._call(call, place)
        whole = self.written[place]
        if len(call.results) == 1:
            self.origins[whole.digest] = node.digest
            return whole
        index = [other.digest for other in call.results].index(node.digest)
        made = Node(Spec(OUTPUT, (("index", index),), 1), (whole,))
        self.origins[made.digest] = node.digest
        return made

    def _call(self, call: Span, place: int) -> Node:
        """The node of a call, whose function there is then."""
        body = self.made.body(place)
        assert body is not None
        used = {node.digest for node in _used(call, body)}
        items = [(n, x) for n, x in call.given if not isinstance(x, Node) or x.digest in used]
        items += [(leaf.name or f"x{k}", leaf) for k, leaf in enumerate(body.leaves, 1)]
        leaves: dict[bytes, Node] = {}
        numbers: dict[str, Node] = {}
        named: list[tuple[str, Node | float, Node]] = []
        for k, (name, x) in enumerate(items):
            if not isinstance(x, Node) and (call.function, name) in self.made.constants:
                continue
            leaf = _stand_in(k, name, x)
            if isinstance(x, Node):
                one = leaves.setdefault(x.digest, leaf)
            else:
                one = numbers.setdefault(x.hex(), leaf)
            if one is leaf:
                named.append((name, x, leaf))
        inner = _Level(self.made, leaves, place, self.depth + 1, body.inside, numbers)
        roots = inner.rewritten(call.results)
        kept = [(name, x, leaf) for name, x, leaf in named if leaf.digest in inner.used]
        results = [f"result_{k}" for k in range(1, len(roots) + 1)] if roots[1:] else ["result"]
        function = self.made.function(
            Function(
                call.function,
                tuple([(name, leaf) for name, _, leaf in kept]),
                dict(zip(results, roots, strict=True)),
                inner.origins,
            )
        )
        for name, x, _ in kept:
            if not isinstance(x, Node):
                self.made.values[call.function, name][function.name].add(x)
        inputs = tuple([self.item(x) for _, x, _ in kept])
        spec = Spec(CALL + function.name, (("function", function.name),), len(inputs))
        made = Node(spec, inputs)
        made.place = call.place if call.total == len(roots) else 0
        return made


def _stand_in(place: int, name: str, x: Node | float) -> Node:
    """The leaf for a parameter: the same for each call of a function.

    One for a number is another than one for an array, as programs nest arithmetic of numbers.
    """
    scalar = not isinstance(x, Node) or x.spec.get("layout") == "scalar"
    digest = (2 * place + scalar).to_bytes(16, "big")
    return leaf_with(digest, "<f8", (), "scalar" if scalar else "C", name)


def _used(call: Span, body: Body) -> Iterator[Node]:
    """The arguments of a call that it used."""
    return (x for _, x in call.given if isinstance(x, Node) and x.digest in body.reached)


def _nodes(items: Iterable[Any]) -> Iterator[Node]:
    return (item for item in items if type(item) is Node)
