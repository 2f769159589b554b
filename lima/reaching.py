"""Which results some rows or columns of the data reached, and which lines of them.

The boxes of `lima.ops.reach` go through the lineage from the data up. A box is never smaller than
what depends on the lines that were asked for; where nothing is known of an operation, all of its
result is taken to depend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lima.errors import UnknownLineage
from lima.node import LEAF, OUTPUT, Node
from lima.op import Meta
from lima.ops.of_scipy import row_of
from lima.ops.reach import Part, reach_of, whole
from lima.ops.reach_axes import Several

Shape = tuple[int, ...]

RANGES = 4
"""Stretches of lines that are printed."""


class Use:
    """How much of a result depends on what was asked for.

    name     of the result
    rows     the rows of it that may, as an array of their numbers; None for all of them
    columns  the columns that may; None for all of them
    lines    the same for every axis of the result; None where its shape is not known
    """

    def __init__(self, name: str, part: Part | Several | None) -> None:
        self.name = name
        found = part.lines if isinstance(part, Part) else None
        self.lines: tuple[np.ndarray[Any, Any] | None, ...] | None = None
        if found is not None:
            self.lines = tuple([None if one is None else np.flatnonzero(one) for one in found])

    @property
    def rows(self) -> np.ndarray[Any, Any] | None:
        return self.lines[0] if self.lines else None

    @property
    def columns(self) -> np.ndarray[Any, Any] | None:
        return self.lines[1] if self.lines and len(self.lines) > 1 else None

    def __str__(self) -> str:
        said = [
            f"{'rows columns'.split()[k] if k < 2 else f'axis {k}'} {_stretches(one)}"
            for k, one in enumerate(self.lines or ())
            if one is not None
        ]
        return f"{self.name}: {', '.join(said) if said else 'all of it'}"

    def __repr__(self) -> str:
        return f"<Use {self}>"


def _stretches(lines: np.ndarray[Any, Any]) -> str:
    """`0, 10 to 19` for the numbers of lines."""
    cuts = np.flatnonzero(np.diff(lines) != 1) + 1
    groups = [(int(one[0]), int(one[-1])) for one in np.split(lines, cuts)]
    texts = [f"{a}" if a == b else f"{a} to {b}" for a, b in groups[:RANGES]]
    return ", ".join(texts) + (f" and {len(groups) - RANGES} more" if groups[RANGES:] else "")


class Reached(Mapping[str, Use]):
    """The results that depend on some lines of the data, by name; false if none does.

    What is named here may depend on them, what is not named does not, as long as the program takes
    the same way: a branch that looks at the data is no operation of the lineage.
    """

    def __init__(self, uses: Sequence[Use], others: Sequence[str]) -> None:
        self._uses = {use.name: use for use in uses}
        self.others = tuple(others)

    def __getitem__(self, name: str) -> Use:
        return self._uses[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._uses)

    def __len__(self) -> int:
        return len(self._uses)

    def __str__(self) -> str:
        lines = [str(use) for use in self._uses.values()]
        lines += [f"not: {', '.join(self.others)}"] if self.others else []
        return "\n".join(lines) or "no results"

    __repr__ = __str__


# --------------------------------------------------------------------------- what was asked for


def part_of(shape: Shape, rows: Any, columns: Any, what: str) -> Part:
    """The part of an array that `rows` and `columns` mean; None stands for all of an axis.

    Each is a number, range, slice, booleans or a sequence of numbers; negative ones count from the
    end. Raises UnknownLineage for lines that the array does not have.
    """
    lines: list[Any] = [None] * len(shape)
    for axis, (name, asked) in enumerate((("rows", rows), ("columns", columns))):
        if asked is None:
            continue
        if axis >= len(shape):
            raise UnknownLineage(f"{what} has the shape {shape}: it has no {name}")
        lines[axis] = _marks(asked, shape[axis], f"{name} of {what}")
    if any(one is not None and not one.any() for one in lines) or 0 in shape:
        return Part(shape, None)
    return Part(shape, tuple([None if one is None or one.all() else one for one in lines]))


def _marks(asked: Any, length: int, what: str) -> np.ndarray[Any, Any]:
    marks = np.zeros(length, bool)
    if isinstance(asked, slice):
        marks[asked] = True
        return marks
    chosen = np.asarray(list(asked) if isinstance(asked, range) else asked)
    if not chosen.size and chosen.dtype.kind != "b":
        return marks
    chosen = np.atleast_1d(chosen)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iub":
        raise UnknownLineage(f"{what}: give a number, range, slice, booleans or numbers")
    if chosen.dtype.kind == "b":
        if len(chosen) != length:
            raise UnknownLineage(f"{what}: there are {length}, not {len(chosen)}")
        return chosen.copy()
    if chosen.min() < -length or chosen.max() >= length:
        worst = int(chosen.max()) if chosen.max() >= length else int(chosen.min())
        raise UnknownLineage(f"{what}: there are {length}, so there is no number {worst}")
    marks[chosen] = True
    return marks


# --------------------------------------------------------------------------- the walk


class Walk:
    """The parts of all values of a lineage that depend on what was asked for.

    start  parts of some nodes, by digest
    metas  shape and dtype by digest, where they are known
    known  the elements of a node's value, if they are at hand
    """

    def __init__(
        self,
        start: Mapping[bytes, Part],
        metas: Mapping[bytes, Meta],
        known: Callable[[Node], Any],
    ) -> None:
        self.start = start
        self.metas = metas
        self.known = known
        self.parts: dict[bytes, Part | Several | None] = {}

    def run(self, nodes: Sequence[Node]) -> dict[bytes, Part | Several | None]:
        """The part of every node by digest; None for all of a value whose shape is not known."""
        for node in nodes:
            self.parts[node.digest] = self.start.get(node.digest) or self.part(node)
        return self.parts

    def part(self, node: Node) -> Part | Several | None:
        meta = self.metas.get(node.digest)
        shape = None if meta is None else meta[0]
        if node.spec.op == LEAF:
            return Part(node.spec.get("shape"), None)
        below = [self.parts[i.digest] for i in node.inputs if isinstance(i, Node)]
        found = self.stated(node) if all(part is not None for part in below) else None
        if found is not None and shape in (None, found.shape):
            return found
        if not any(part is None or part.touched for part in below):
            return NOTHING if shape is None else Part(shape, None)
        return None if shape is None else whole(shape)

    def stated(self, node: Node) -> Part | Several | None:
        """What the row says of its result."""
        if node.spec.op == OUTPUT:
            (source,) = [i for i in node.inputs if isinstance(i, Node)]
            found = self.parts[source.digest]
            items = found.parts if isinstance(found, Several) else None
            return found if items is None else items[node.spec.get("index")]
        row = row_of(node.spec.op)
        first = int(row is not None and row.threads_state is not None)  # where arrays begin
        below = [i for i in node.inputs[first:] if isinstance(i, Node)]
        if any(self.parts[i.digest] is NOTHING for i in below):
            return None  # its shape is not known
        reach = None if row is None else reach_of(row)
        if row is None or reach is None:
            return None
        wants = getattr(reach, "wants", ())
        inputs: list[Any] = []
        positional = len(node.inputs) if node.spec.npos is None else node.spec.npos
        for k, item in enumerate(node.inputs):
            if not isinstance(item, Node):
                inputs.append(item)
                continue
            part = self.parts[item.digest]
            assert part is not None
            wanted = k >= positional or k in wants
            if wanted and isinstance(part, Part) and not part.touched:
                part = part._replace(value=self.known(item))
            inputs.append(part)
        try:
            return reach(row, node.spec, inputs)
        except (
            Exception
        ):  # a kernel that refuses booleans, shapes that do not fit: nothing is known
            return None


NOTHING = Part((), None)
"""Nothing of a value whose shape is not known."""


def reached(
    nodes: Sequence[Node],
    outputs: Mapping[str, Node],
    start: Mapping[bytes, Part],
    metas: Mapping[bytes, Meta],
    known: Callable[[Node], Any],
) -> Reached:
    """The results that depend on `start`."""
    parts = Walk(start, metas, known).run(nodes)
    uses, others = [], []
    for name, node in outputs.items():
        part = parts[node.digest]
        if part is None or part.touched:
            uses.append(Use(name, part))
        else:
            others.append(name)
    return Reached(uses, others)
