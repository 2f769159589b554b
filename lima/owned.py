"""A lineage in which every write may go into the memory of what it writes.

A node is a value, and a write makes another one of it; a program has variables, and a write changes
what they hold. So a program that writes in place as the traced one did must read every value before
the write that ends it, and copy the values that are needed longer. Both are settled here, once for
all kinds of programs (`lima.source`, `lima.looped`): the nodes come in an order that reads before
it writes, and what still clashes is made again (`np.zeros`), or copied by a node of its own.

`copy.deepcopy` of an array is the same value in new memory, also when it is traced, so a program
with such copies has the lineage that it was written from.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lima.log import distinct
from lima.node import OUTPUT, Node, Spec
from lima.op import OPS, Kind, Op
from lima.ops.index import Path
from lima.ops.of_scipy import row_of

SAME = "copy.deepcopy"
"""Copies that keep the memory order, as no gaps have to be kept."""

CLONE = "clone"
"""Copies that keep gaps between elements, by a helper of the program."""

COPIES = frozenset({SAME, CLONE})
"""What makes such copies."""

AGAIN = "again"
"""A parameter that tells apart nodes that make one value; it is written nowhere."""

AUGMENTED = "augmented"
"""A parameter of a write through a view that `base[index] += other` says, assignment included."""

WINDOW = "window"
"""A parameter of a write through a view: the operand that is the very view, not another of it."""

UNWRITTEN = frozenset({AGAIN, AUGMENTED, WINDOW, "alias"})
"""Parameters that no call shows."""

AUGMENTING = frozenset({"+", "-", "*", "/", "//", "%", "&", "|", "^", "<<", ">>"})
"""Operators that write in place what the function writes with `out=`, as `a += b`."""

READERS = 64
"""Readers of one value that are put before the write that ends it; of more, none are."""

SEARCHED = 10_000
"""Nodes among which a reader is looked for that cannot come before a write."""


class Owned(NamedTuple):
    """The nodes in the order of a program, its outputs among them.

    origins  of nodes that stand for another one the digest of that
    """

    nodes: list[Node]
    outputs: dict[str, Node]
    origins: dict[bytes, bytes]


def owned(outputs: Mapping[str, Node]) -> Owned:
    """The lineage of `outputs` with the copies that writes in place need.

    Leaves stay what they are, and are never written: they belong to the caller.
    """
    count = itertools.count(1)
    origins: dict[bytes, bytes] = {}
    named = _changed(distinct(outputs.values()), outputs, origins, _Windows(outputs))
    named = _changed(distinct(named.values()), named, origins, _Apart(count))
    while True:
        nodes = list(_ordered(named.values()))
        clashes = _Clashes(nodes, named).found
        if not clashes:
            return Owned(nodes, named, origins)
        named = _changed(nodes, named, origins, _Copies(clashes, count))


# --------------------------------------------------------------------------- what is written


def targets_of(node: Node) -> tuple[int, ...]:
    """Which inputs a node writes, arrays or generators: none, one, or both of a shuffle.

    >>> from lima.node import Ref
    >>> targets_of(Node(Spec("add", (("out", Ref(2)),), 2), (1.0, 2.0, Node(Spec("zeros"), ()))))
    (2,)
    """
    return places_written(row_of(node.spec.op), node.spec, node.inputs, Node)


def places_written(
    row: Op | None, params: Spec | dict[str, Any], inputs: Sequence[Any], kind: type
) -> tuple[int, ...]:
    """The same of any call with these parameters, whose inputs are of a kind where no literals."""
    if row is None:
        return ()
    out = params.get("out")
    if row.threads_state is not None and params.get("path") is not None:
        return (0, 1)
    if out is None and row.into is None and row.threads_state is None:
        return ()
    place = 0 if out is None else out.index
    return (place,) if type(inputs[place]) is kind else ()


def shuffles(node: Node) -> bool:
    """Whether a node is a draw that writes an array: `rng.shuffle(a)`."""
    row = row_of(node.spec.op)
    return row is not None and row.threads_state is not None and node.spec.get("path") is not None


def splits(node: Node) -> bool:
    """Whether a call writes one thing and gives another."""
    row = row_of(node.spec.op)
    return row is not None and row.wrap is not None and node.spec.out is None


def is_copy(node: Node) -> bool:
    """Whether a node is one of the copies that are made here."""
    return node.spec.op in COPIES


def drawn(node: Node) -> int | None:
    """For an item of a draw: which one. Item 0 is what was drawn, item 1 the generator."""
    if node.spec.op != OUTPUT:
        return None
    row = row_of(node.inputs[0].spec.op)
    state = None if row is None else row.threads_state
    written = state is not None and type(node.inputs[0].inputs[0]) is Node
    return node.spec.get("index") if written else None


def _rests_on(node: Node, row: Op | None) -> bool | None:
    """Whether a value lies in the memory of its first operand; None where it may."""
    if row is None or node.is_leaf:
        return False
    if row.kind is Kind.VIEW:
        return True if row.infer is not None else None
    return None if row.gives else False


# --------------------------------------------------------------------------- other nodes


Change = Callable[[Node, Node], Node]
"""From a node, and that node with its changed inputs, the node to stand there."""


def _changed(
    nodes: Iterable[Node], outputs: Mapping[str, Node], origins: dict[bytes, bytes], change: Change
) -> dict[str, Node]:
    """The outputs after `change` of every node, inputs first; `origins` notes what stood there."""
    known: dict[bytes, Node] = {}
    for node in nodes:
        inputs = tuple([known[i.digest] if type(i) is Node else i for i in node.inputs])
        same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        made = known[node.digest] = change(node, node if same else _with(node, inputs))
        if made is not node:
            origins[made.digest] = origins.get(node.digest, node.digest)
    return {name: known[node.digest] for name, node in outputs.items()}


def _with(node: Node, inputs: tuple[Any, ...], **params: Any) -> Node:
    spec = node.spec
    if params:
        kept = {**dict(spec.params), **params}
        spec = Spec(spec.op, tuple(kept.items()), spec.npos, spec.version)
    made = Node(spec, inputs)
    made.place = node.place
    return made


class _Windows:
    """Writes through a view become one node: the call, with the path of the view it writes.

    lima records them as the call on the view, and an assignment of what came out to the base.
    """

    def __init__(self, outputs: Mapping[str, Node]) -> None:
        nodes = list(distinct(outputs.values()))
        self.uses = Counter(node.digest for node in outputs.values())
        for node in nodes:
            self.uses.update({i.digest for i in node.inputs if type(i) is Node})
        self.shuffles: dict[bytes, Path] = {}
        self.shuffled: set[bytes] = set()
        for node in nodes:
            self.note_shuffle(node)

    def note_shuffle(self, node: Node) -> None:
        """`rng.shuffle(a)` is recorded as a draw of a shuffled array, assigned to `a`."""
        if node.spec.op != "assign" or node.spec.get("index", ...) is not ...:
            return
        base, item = node.inputs
        if type(item) is not Node or drawn(item) != 0 or self.uses[item.digest] != 1:
            return
        (call,), path = item.inputs, node.spec.get("path", ())
        row = row_of(call.spec.op)
        shuffle = row is not None and row.threads_state == "shuffle"
        if shuffle and call.inputs[1].digest == follow(base, path).digest:
            self.shuffles[call.digest] = path
            self.shuffled.add(node.digest)

    def __call__(self, old: Node, node: Node) -> Node:
        path = self.shuffles.get(old.digest)
        if path is not None:
            base = node.inputs[1]
            for _ in path:
                base = base.inputs[0]
            return _with(node, (node.inputs[0], base, *node.inputs[2:]), path=path)
        if old.digest in self.shuffled:
            return node.inputs[1]  # type: ignore[no-any-return]
        if node.spec.op != "assign" or [type(i) for i in node.inputs] != [Node, Node]:
            return node
        return self.through(old, node) or self.augmented(old, node) or node

    def through(self, old: Node, node: Node) -> Node | None:
        """A call that writes the view that a path leads to, instead of the assignment of it."""
        base, call = node.inputs
        path: Path = node.spec.get("path", ())
        if not path or node.spec.get("index", ...) is not ...:
            return None
        if self.uses[old.inputs[1].digest] != 1:
            return None
        places = targets_of(call)
        if not places or call.spec.get("path") is not None or splits(call):
            return None
        (place,) = places
        view = call.inputs[place].digest
        if view != follow(base, path).digest:
            return None
        same = [k for k, i in enumerate(call.inputs) if type(i) is Node and i.digest == view]
        same.remove(place)
        shown = {WINDOW: same[0]} if same and not call.spec.get("alias") else {}
        inputs = [*call.inputs[:place], base, *call.inputs[place + 1 :]]
        return _with(call, tuple(inputs), path=path, **shown)

    def augmented(self, old: Node, node: Node) -> Node | None:
        """`base[index] += other`: Python assigns what it has written through the view."""
        call, view = node.inputs
        last = ("slice", (("index", node.spec.get("index", ...)),))
        path: Path = (*node.spec.get("path", ()), last)
        if call.spec.get(WINDOW) != 0:
            return None
        row = row_of(call.spec.op)
        if call.spec.get("path") != path or row is None or row.infix not in AUGMENTING:
            return None
        if view.digest != follow(call, path).digest or len(call.spec.params) != 3:
            return None
        if self.uses[old.inputs[0].digest] != 2 or self.uses[old.inputs[1].digest] != 1:
            return None
        base = call.inputs[2]
        return _with(call, (base, *call.inputs[1:]), **{AUGMENTED: True})


def follow(base: Node, path: Path) -> Node:
    """The view of `base` that the view operations of a path lead to."""
    for name, params in path:
        base = Node(Spec(name, params, 1, OPS[name].version), (base,))
    return base


class _Apart:
    """Operands that lay in two buffers lie in two.

    The kernels of products look at that, and so do assignments of vectors.
    """

    def __init__(self, count: Iterator[int]) -> None:
        self.homes: dict[bytes, bytes] = {}
        self.count = count

    def __call__(self, old: Node, node: Node) -> Node:
        row = row_of(node.spec.op)
        if _rests_on(node, row) and type(node.inputs[0]) is Node:
            self.homes[node.digest] = self.home(node.inputs[0])
        if row is None or node.spec.get("alias") or not (row.aliasing or row.into):
            return node
        seen: set[bytes] = set()
        inputs = list(node.inputs)
        apart = inputs[: node.spec.npos] if row.aliasing else inputs
        for k, item in enumerate(apart):
            if type(item) is Node:
                home = self.home(item) if row.aliasing else item.digest
                if home in seen and node.spec.get(WINDOW) != k:
                    inputs[k] = _copy(item, next(self.count), item.digest in self.homes)
                seen.add(home)
        return node if inputs == list(node.inputs) else _with(node, tuple(inputs))

    def home(self, item: Node) -> bytes:
        return self.homes.get(item.digest, item.digest)


def _copy(item: Node, number: int, gaps: bool) -> Node:
    made = Node(Spec(CLONE if gaps else SAME, ((AGAIN, number),)), (item,))
    made.place = 0
    return made


class _Copies:
    """Writes that clash get memory of their own: their target once more, or a copy of it."""

    def __init__(self, clashes: dict[bytes, dict[int, bool]], count: Iterator[int]) -> None:
        self.clashes = clashes
        self.count = count

    def __call__(self, old: Node, node: Node) -> Node:
        for place, gaps in self.clashes.get(old.digest, {}).items():
            target = node.inputs[place]
            number = next(self.count)
            if not target.inputs and not target.is_leaf:
                mine = _with(target, (), **{AGAIN: number})
            else:
                mine = _copy(target, number, gaps)
            window, views = node.spec.get(WINDOW), bool(node.spec.get("alias"))
            inputs = [
                _shown(i, target, mine, views or k == window) if type(i) is Node else i
                for k, i in enumerate(node.inputs)
            ]
            node = _with(node, tuple(inputs))
        return node


def _shown(item: Node, target: Node, mine: Node, views: bool) -> Node:
    """`item` with `mine` in the place of `target`, and with `views` also under views of it."""
    chain: list[Node] = []
    at = item
    while at.digest != target.digest:
        view = views and _rests_on(at, row_of(at.spec.op)) is not False
        if not view or type(at.inputs[0]) is not Node:
            return item
        chain.append(at)
        at = at.inputs[0]
    for at in reversed(chain):
        mine = _with(at, (mine, *at.inputs[1:]))
    return mine


# --------------------------------------------------------------------------- reading first


def _ordered(roots: Iterable[Node]) -> Iterator[Node]:
    """Inputs before users, and as far as that allows, readers of a value before what writes it."""
    roots = list(roots)
    readers: defaultdict[bytes, list[Node]] = defaultdict(list)
    for node in distinct(roots):
        for digest in {i.digest for i in node.inputs if type(i) is Node}:
            readers[digest].append(node)
    done: set[bytes] = set()
    begun: set[bytes] = set()

    def ended_by(node: Node) -> Iterator[Node]:
        """What reads the target of a write, or a view of it, and can do so before."""
        todo = [node.inputs[place] for place in targets_of(node)]
        while todo:
            found = readers[todo.pop().digest]
            if len(found) > READERS:
                continue
            for reader in found:
                if reader.digest == node.digest:
                    continue
                if reader.digest not in begun and not waits(reader):
                    yield reader
                if _rests_on(reader, row_of(reader.spec.op)) is not False:
                    todo.append(reader)

    def waits(reader: Node) -> bool:
        """Whether a node needs one that has been begun, and so cannot come before it."""
        seen, todo = {reader.digest}, [reader]
        while todo:
            for item in todo.pop().inputs:
                if type(item) is not Node or item.digest in seen or item.digest in done:
                    continue
                if item.digest in begun or len(seen) > SEARCHED:
                    return True
                seen.add(item.digest)
                todo.append(item)
        return False

    for root in roots:
        if root.digest in begun:
            continue
        begun.add(root.digest)
        stack = [(root, itertools.chain(root.inputs, ended_by(root)))]
        while stack:
            node, rest = stack[-1]
            for item in rest:
                if type(item) is Node and item.digest not in begun:
                    begun.add(item.digest)
                    stack.append((item, itertools.chain(item.inputs, ended_by(item))))
                    break
            else:
                stack.pop()
                done.add(node.digest)
                yield node


class _Clashes:
    """The writes whose target, or what lies in its memory, is read afterwards.

    found    of each such write which targets, and whether these have gaps between their elements
    cells    of a value the memory that it may lie in, named by the value that it was made for
    written  of calls that write and give something else the cells of their items
    live     of a memory the values in it that are still to be read, and when they are last
    """

    def __init__(self, nodes: list[Node], outputs: Mapping[str, Node]) -> None:
        self.found: defaultdict[bytes, dict[int, bool]] = defaultdict(dict)
        self.last: dict[bytes, int] = {}
        for k, node in enumerate(nodes):
            for item in node.inputs:
                if type(item) is Node:
                    self.last[item.digest] = k
        for node in outputs.values():
            self.last[node.digest] = len(nodes)
        writers = Counter(
            node.inputs[place].digest
            for node in nodes
            for place in targets_of(node)
            if not node.inputs[place].inputs
        )
        self.cells: dict[bytes, frozenset[bytes]] = {}
        self.gappy: set[bytes] = set()
        self.written: dict[bytes, dict[int, frozenset[bytes]]] = {}
        self.live: defaultdict[bytes, dict[bytes, int]] = defaultdict(dict)
        for k, node in enumerate(nodes):
            for place in targets_of(node):
                target = node.inputs[place]
                shared = writers[target.digest] > 1 and not target.is_leaf
                if shared or self.is_read(target, k):
                    self.found[node.digest][place] = target.digest in self.gappy
            self.cells[node.digest] = cells = self.memory(node)
            for cell in cells:
                self.live[cell][node.digest] = self.last.get(node.digest, k)

    def is_read(self, target: Node, now: int) -> bool:
        """Whether a value in the memory of `target` is read later than `now`."""
        for cell in self.cells[target.digest]:
            live = self.live[cell]
            for digest in [digest for digest, last in live.items() if last <= now]:
                del live[digest]
            if live:
                return True
        return False

    def memory(self, node: Node) -> frozenset[bytes]:
        """The cells of a node; notes whether it may have gaps."""
        own = frozenset((node.digest,))
        if node.is_leaf:
            layout = node.spec.get("layout")
            if type(layout) is tuple:
                self.gappy.add(node.digest)
            self.last[node.digest] = 1 << 62  # for the caller, who may look at it
            return own
        inputs = [i for i in node.inputs if type(i) is Node]
        row = row_of(node.spec.op)
        places = targets_of(node)
        written: list[frozenset[bytes]] = []
        for place in places:
            target = node.inputs[place].digest
            if target in self.gappy:
                self.gappy.add(node.digest)
            clashes = place in self.found.get(node.digest, ())  # so it will have its own
            fresh = frozenset((node.digest + bytes([place]),))
            written.append(fresh if clashes else self.cells[target])
        if places and not splits(node):
            return written[0]
        if places:  # what is written is one of two items, or both
            first, *second = written
            draws = row is not None and row.threads_state is not None
            drawn_item = frozenset((node.digest + b"item",))
            items = {1: first, 0: second[0] if second else drawn_item} if draws else {0: first}
            self.written[node.digest] = items
            return own
        if node.spec.op == OUTPUT:
            (call,) = inputs
            if call.digest in self.gappy:
                self.gappy.add(node.digest)
            items = self.written.get(call.digest, {})
            given = own if items else self.cells[call.digest]
            # Items of one call lie apart, unless they lie in what it has been given.
            return items.get(node.spec.get("index"), own if given == {call.digest} else given)
        rests = _rests_on(node, row)
        if is_copy(node):
            if node.spec.op == CLONE:
                self.gappy.add(node.digest)
            return own
        if rests is False or not inputs:
            return own
        self.gappy.add(node.digest)
        if rests:
            return self.cells[inputs[0].digest]
        return own.union(*[self.cells[i.digest] for i in inputs])
