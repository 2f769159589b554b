"""The walk over two lineages side by side, and what it finds: places where they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from lima.errors import NotCanonical
from lima.labels import cut, is_seed, label, short
from lima.node import LEAF, Node, Param, encode

PARTNERS = 4
"""Nodes of the other lineage that a node is compared with: bounds the walk over unlike graphs."""

SHOWN_STEPS = 6
"""Steps of a path that are printed."""

KINDS = {
    "data": "input data",
    "literal": "literal",
    "seed": "seed",
    "parameter": "parameter",
    "operation": "operation",
    "operand": "operand",
    "order": "order of operands",
    "count": "number of operands",
    "version": "version of an operation",
    "memory": "operands in one buffer",
    "output": "result",
    "rounds": "rounds of a loop",
    "bits": "bits of the result",
    "environment": "environment",
}
"""Kinds of differences, with the words that they are printed in."""


class Step(NamedTuple):
    """One step of a path: the operation that is left, and which of its inputs is entered."""

    operation: str
    input: int


_Places: TypeAlias = "list[tuple[Node, Node, int, int]]"
_Unlike: TypeAlias = "list[tuple[int, Any, Any]]"


class Difference:
    """One place where two results part.

    kind    see below
    a, b    the two nodes; None for what only one of them has and for the environment
    then    what the first has there, as text
    now     what the second has there
    output  name of the result through which it was found
    path    the way from the result down to the nodes, as steps (operation, input), in the first

    Kinds are "data", "literal", "seed", "parameter", "operation", "operand" (a value in the place
    of a node), "order" and "count" of operands, "version" of an operation, "memory" (whether
    operands are one buffer), "output", "rounds" of a loop, "bits" (one lineage, two contents), and
    "environment".

    In a loop the difference stands for that place of each round: `rounds` are those in which it
    was found, as (first, last, how many); None outside of loops.

    >>> import lima, numpy as np
    >>> x = lima.array(np.ones(3), name="x")
    >>> (found,) = lima.diff(np.exp(x + 1.0), np.exp(x + 2.0))
    >>> found.kind, found.then, found.now, found.path
    ('literal', '1.0', '2.0', (Step(operation='exp', input=0),))
    """

    __slots__ = ("_place", "_places", "a", "b", "kind", "now", "output", "rounds", "then")

    def __init__(
        self,
        kind: str,
        a: Node | None,
        b: Node | None,
        then: str,
        now: str,
        output: str = "",
        places: _Places | None = None,
        place: int = -1,
    ) -> None:
        """`places` are the pairs that were walked; the way to number `place` leads through them."""
        self.kind = kind
        self.a = a
        self.b = b
        self.then = then
        self.now = now
        self.output = output
        self.rounds: tuple[int, int, int] | None = None
        self._places = places
        self._place = place

    @property
    def path(self) -> tuple[Step, ...]:
        """The way from the result down to the nodes, in the first lineage."""
        steps: list[Step] = []
        places, k = self._places, self._place
        while places is not None and k >= 0:
            node, _, parent, slot = places[k]
            if parent >= 0 and places[parent][0] is not node:  # else the other has one step more
                steps.append(Step(places[parent][0].spec.op, slot))
            k = parent
        return tuple(reversed(steps))

    def __str__(self) -> str:
        head = f"{KINDS[self.kind]}: {self.then} | {self.now}"
        if self.a is None and self.b is None:
            return head
        lines = [head]
        if self.a is not None and not self.a.is_leaf:
            lines.append(f"in {label(self.a)}{self._lines()}")
        lines.append(f"by {self.output}{_spelled(self.path)}")
        if self.rounds is not None:
            first, last, count = self.rounds
            many = f"{count:,} rounds of a loop, the first is {first:,}, the last {last:,}"
            lines.append(f"in {many if count > 1 else f'round {first:,} of a loop'}")
        return "\n     ".join(lines)

    def _lines(self) -> str:
        """The user's lines of the two nodes, as far as they are known."""
        known = [str(n.line) for n in (self.a, self.b) if n is not None and n.line is not None]
        return f" at {' | '.join(dict.fromkeys(known))}" if known else ""

    def __repr__(self) -> str:
        return f"<Difference of {KINDS[self.kind]}: {self.then} | {self.now}>"


def _spelled(path: tuple[Step, ...]) -> str:
    """` < solve[0] < add[1]`, the middle of a long path counted only."""
    texts = [f" < {step.operation}[{step.input}]" for step in path]
    if len(texts) > SHOWN_STEPS:
        half = SHOWN_STEPS // 2
        texts[half:-half] = [f" < ... {len(texts) - 2 * half} more steps"]
    return "".join(texts)


class Walk:
    """The walk over pairs of nodes that stand at the same place of two lineages.

    places   pairs in the order in which they are visited, each with the place that it was reached
             from and by which input: nodes are held, paths are not
    """

    def __init__(self, pairs: int | None = None) -> None:
        """`pairs`: how many are compared at most; `gave_up` says that there were more."""
        self.pairs = pairs
        self.gave_up = False
        self.counts: Counter[str] = Counter()
        self.places: _Places = []
        self.partners: dict[bytes, bytes | list[bytes]] = {}
        self.output = ""
        self.place = -1

    def differences(self, output: str, a: Node, b: Node) -> Iterator[Difference]:
        """What differs in and below two nodes, each pair once."""
        self.output = output
        at = len(self.places)
        self.visit(a, b, -1, 0)
        while at < len(self.places):
            self.place = at
            x, y, _, _ = self.places[at]
            if at == self.pairs:
                self.gave_up = True
                return
            yield from self.pair(x, y)
            at += 1

    def visit(self, a: Node, b: Node, parent: int, slot: int) -> None:
        """Queue a pair, unless it is equal or was queued before."""
        left, right = a.digest, b.digest
        if left == right:
            return
        known = self.partners.get(left)
        if known is None:
            self.partners[left] = right
        elif type(known) is list:
            if right in known or (len(known) >= PARTNERS and not a.is_leaf):
                return
            known.append(right)
        elif known == right:
            return
        else:
            self.partners[left] = [known, right]  # type: ignore[list-item]
        self.places.append((a, b, parent, slot))

    def note(
        self,
        kind: str,
        a: Node | None,
        b: Node | None,
        then: str,
        now: str,
        output: str | None = None,
    ) -> Difference:
        """A difference at the present place, or of a whole output."""
        self.counts[kind] += 1
        if output is not None:
            return Difference(kind, a, b, then, now, output)
        return Difference(kind, a, b, then, now, self.output, self.places, self.place)

    def pair(self, a: Node, b: Node) -> Iterator[Difference]:
        """What differs between two nodes themselves; their inputs are queued."""
        if a.is_leaf and b.is_leaf:
            yield self.note("data", a, b, *_data(a, b))
        elif a.spec.op != b.spec.op:
            yield from self.other_operation(a, b)
        else:
            yield from self.same_operation(a, b)

    def other_operation(self, a: Node, b: Node) -> Iterator[Difference]:
        """Align what follows: another operation in this place, or one more on one side."""
        more_a, more_b = (None, None) if _share(a, b) else (_through(a, b), _through(b, a))
        if more_a is not None:
            yield self.note("operation", a, b, label(a), f"nothing, but its operand {label(b)}")
            self.visit(a.inputs[more_a], b, self.place, more_a)
        elif more_b is not None:
            yield self.note("operation", a, b, f"nothing, but the operand {label(a)}", label(b))
            self.visit(a, b.inputs[more_b], self.place, 0)
        else:
            yield self.note("operation", a, b, _origin(a), _origin(b))
            if len(a.inputs) == len(b.inputs):
                yield from self.inputs(a, b, _unlike(a, b))

    def same_operation(self, a: Node, b: Node) -> Iterator[Difference]:
        before = self.counts.total()
        if a.spec.version != b.spec.version:
            yield self.note("version", a, b, str(a.spec.version), str(b.spec.version))
        if a.spec.params or b.spec.params:
            yield from self.parameters(a, b)
        if len(a.inputs) != len(b.inputs):
            yield self.note("count", a, b, str(len(a.inputs)), str(len(b.inputs)))
        unlike = _unlike(a, b)
        if len(unlike) > 1 and self.counts.total() == before and _reordered(unlike):
            yield self.note("order", a, b, *_order(a, b))
        else:
            yield from self.inputs(a, b, unlike)

    def parameters(self, a: Node, b: Node) -> Iterator[Difference]:
        left, right = dict(a.spec.params), dict(b.spec.params)
        kind = "seed" if is_seed(a) else "parameter"
        for key in dict.fromkeys((*left, *right)):
            there, here = key in left, key in right
            if there and here and _equal(left[key], right[key]):
                continue
            then = short(left[key]) if there else "the default"
            now = short(right[key]) if here else "the default"
            if key == "alias":
                yield self.note("memory", a, b, _buffers(there), _buffers(here))
            else:
                then, now = _apart(left.get(key), right.get(key), then, now)
                yield self.note(kind, a, b, f"{key}={then}", f"{key}={now}")

    def inputs(self, a: Node, b: Node, unlike: _Unlike) -> Iterator[Difference]:
        """Queue the operands that are nodes; of the others, say what differs."""
        for k, x, y in unlike:
            if isinstance(x, Node) and isinstance(y, Node):
                self.visit(x, y, self.place, k)
            elif isinstance(x, Node) or isinstance(y, Node):
                yield self.note("operand", a, b, f"input {k} is {_item(x)}", _item(y))
            else:
                yield self.note("literal", a, b, *_apart(x, y, short(x), short(y)))


def _unlike(a: Node, b: Node) -> _Unlike:
    """The operands at the same place of both that are not equal, with their place."""
    found: _Unlike = []
    for k, (x, y) in enumerate(zip(a.inputs, b.inputs, strict=False)):
        if x is y and isinstance(x, Node):
            continue
        if isinstance(x, Node) and isinstance(y, Node):
            same = x.digest == y.digest
        else:
            same = not isinstance(x, Node) and not isinstance(y, Node) and _equal(x, y)
        if not same:
            found.append((k, x, y))
    return found


def _equal(x: Param, y: Param) -> bool:
    try:
        return encode(x) == encode(y)
    except NotCanonical:
        return False


def _apart(x: Param, y: Param, then: str, now: str) -> tuple[str, str]:
    """The two texts; of values that look alike what tells them apart, such as types."""
    if then != now:
        return then, now
    if type(x) is dict and type(y) is dict:
        for key in x:
            if key in y and not _equal(x[key], y[key]):
                return f"{key}: {short(x[key])}", short(y[key])
    return f"{then} of one content", "another content"


def _item(x: Any) -> str:
    return _origin(x) if isinstance(x, Node) else short(x)


def _origin(node: Node) -> str:
    return f"data from outside, {label(node)}" if node.is_leaf else label(node)


def _buffers(alias: bool) -> str:
    return "two operands are one buffer" if alias else "each operand has its own"


def _data(a: Node, b: Node) -> tuple[str, str]:
    """What tells two leaves apart."""
    same = [key for key in ("dtype", "shape", "layout") if a.spec.get(key) == b.spec.get(key)]
    if "dtype" in same and "shape" in same:
        then, now = label(a), label(b)
        if "layout" not in same:
            then += f", layout {a.spec.get('layout')}"
            now += f", layout {b.spec.get('layout')}"
        elif then == now:
            now = "other elements"
        return then, now
    return label(a), label(b)


def _share(a: Node, b: Node) -> bool:
    """Whether two nodes have a node in common among their operands, at the same place."""
    pairs = zip(a.inputs, b.inputs, strict=False)
    return any(
        isinstance(x, Node) and isinstance(y, Node) and x.digest == y.digest for x, y in pairs
    )


def _through(longer: Node, other: Node) -> int | None:
    """The input of `longer` that stands where `other` does, if `longer` is one operation more."""
    items = [(k, i) for k, i in enumerate(longer.inputs) if isinstance(i, Node)]
    for k, item in items:
        if item.digest == other.digest:
            return k
    for k, item in items:
        if item.spec.op == other.spec.op and item.spec.op != LEAF:
            return k
        if item.is_leaf and other.is_leaf and item.name and item.name == other.name:
            return k
    return None


def _reordered(unlike: _Unlike) -> bool:
    """Whether the operands that differ are the same ones, in another order."""
    return sorted(_key(x) for _, x, _ in unlike) == sorted(_key(y) for _, _, y in unlike)


def _key(item: Any) -> bytes:
    try:
        return item.digest if isinstance(item, Node) else encode(item)
    except NotCanonical:
        return b""


def _order(a: Node, b: Node) -> tuple[str, str]:
    texts = [", ".join(cut(_item(i), 24) for i in node.inputs[:4]) for node in (a, b)]
    return texts[0], texts[1]
