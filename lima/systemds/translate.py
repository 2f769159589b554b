"""From the items of a SystemDS log to nodes of lima.

The log says neither what the inputs held nor how large they were. So the translation is made with
the inputs that there are, and made again where others are given. What the log does not tell, such
as which result of `eigen` an item is, becomes a node that cannot be computed (`node.Unique`), with
the reason; a value given for the item stands in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from xxhash import xxh3_128_digest

from lima.errors import LogError
from lima.graph import topological
from lima.node import Node, Unique, leaf, leaf_with
from lima.op import OPS
from lima.systemds import build
from lima.systemds.files import Read
from lima.systemds.measure import Measure
from lima.systemds.shapes import Dim, Misfit, Shape, same, settled, shape_text
from lima.systemds.table import GRAMS, REFUSED, TABLE, Missing, Operand, Plan, Rule
from lima.systemds.text import Step

NOTHING = Operand((None, None), None)
"""Stands for a step that is not needed."""

PASSES = 16
"""How often shapes are worked out again with what is known by then of `tsmm`."""

_INT = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?", re.ASCII)
_SPECIAL = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


class Inputs:
    """Where the values of files and of single items come from."""

    def of_file(self, source: Read) -> np.ndarray[Any, Any]:
        """The matrix of a file; Missing where there is none."""
        raise NotImplementedError

    def of_item(self, name: str | None) -> np.ndarray[Any, Any] | None:
        """The value given for an item, if one is."""
        raise NotImplementedError

    def name_of(self, source: Read) -> str:
        """What the leaf of a file is called."""
        raise NotImplementedError


class Translation:
    """The root of a trace as a node, and what is missing to compute it.

    missing  reasons, in the order of the log
    absent   files of known size that are not there
    unsure   whether the data decide what an operation is
    measure  computes sizes that depend on the data; without it, what needs them is missing
    arrays   data of leaves, by digest
    """

    def __init__(
        self,
        steps: Sequence[Step],
        inputs: Inputs,
        expected: Shape,
        measure: Measure | None = None,
    ) -> None:
        self.steps, self.inputs, self.expected = steps, inputs, expected
        self.measure = measure
        self.sides: dict[int, str | None] = {}
        self.needed = self._needed()
        self._pass()
        for _ in range(PASSES):
            found = self._decided()
            if not found:
                break
            self.sides.update(found)
            self._pass()
        if self.open:
            self.sides.update(dict.fromkeys(self.open))
            self._pass()
        self.root = self._as_node(self.values[-1].item)
        used = {id(node) for node in topological([self.root], self._below)}
        self.missing = [why for node, why in self.lacking if id(node) in used]
        self.absent = [why for node, why in self.unread if id(node) in used]

    def _needed(self) -> set[int]:
        """The steps that lead to the root, other than by way of a value that is given."""
        needed = {len(self.steps) - 1}
        for place in range(len(self.steps) - 1, -1, -1):
            step = self.steps[place]
            if place in needed and self.inputs.of_item(step.given) is None:
                needed.update(step.inputs)
        return needed

    def _decided(self) -> dict[int, str | None]:
        """For every `tsmm` of which one size is left: which one."""
        found: dict[int, str | None] = {}
        for place, (dim, sizes) in self.open.items():
            size = settled(dim)
            if type(size) is int:
                found[place] = "rows" if size == sizes[0] else "columns"
        return found

    def _pass(self) -> None:
        self.values: list[Operand] = []
        self.lacking: list[tuple[Node, str]] = []
        self.unread: list[tuple[Node, str]] = []
        self.unsure = False
        self.tainted: set[int] = set()  # steps that depend on what is lacking
        self.behind: dict[int, tuple[Any, ...]] = {}  # why a step is lacking: other nodes
        self.arrays: dict[bytes, np.ndarray[Any, Any]] = {}
        self.open: dict[int, tuple[Dim, Shape]] = {}
        for place, step in enumerate(self.steps):
            if place not in self.needed:
                self.values.append(NOTHING)
                continue
            try:
                self.values.append(self._given(step) or self._step(place, step))
            except Missing as lack:
                self.values.append(self._lacking(place, step, lack))
                self.tainted.add(place)
            except (Misfit, LogError) as error:
                raise LogError(f"line {step.item.line}: {error}") from None
            if not self.tainted.isdisjoint(step.inputs):
                self.tainted.add(place)
        root = self.values[-1]
        try:
            if self.expected and root.shape:
                same(root.shape[0], self.expected[0])
                same(root.shape[1], self.expected[1])
        except Misfit as error:
            said = f"the result is said to be {shape_text(self.expected)}"
            raise LogError(f"line {self.steps[-1].item.line}: {error}: {said}") from None

    def _below(self, node: Node) -> tuple[Any, ...]:
        return (*node.inputs, *self.behind.get(id(node), ()))

    def _given(self, step: Step) -> Operand | None:
        value = self.inputs.of_item(step.given)
        return None if value is None else self._leaf(value, step.given)

    def _leaf(self, value: np.ndarray[Any, Any], name: str | None) -> Operand:
        node = leaf(value if value.ndim else value[()], name)
        self.arrays[node.digest] = value
        return Operand(value.shape, node)

    def _lacking(self, place: int, step: Step, lack: Missing) -> Operand:
        """A value that cannot be computed: a node that says why."""
        item = step.item
        what = f"({item.label}) in line {item.line}: {lack}"
        if step.given is not None:
            what += f"; its value may be given as the input {step.given!r}"
        behind = tuple([self.values[k].item for k in step.inputs])
        known = [i.digest.hex() if type(i) is Node else repr(i) for i in behind]
        token = xxh3_128_digest(f"{place} {item.name} {what} {' '.join(known)}".encode())
        node = Node(OPS["asarray"].spec, (Unique(what, token),))
        if item.name in REFUSED or self.tainted.isdisjoint(step.inputs):
            self.lacking.append((node, what))
        else:  # nothing that the log itself lacks here, but the shape of an operand
            self.behind[id(node)] = behind
        return Operand(lack.shape, node)

    def _step(self, place: int, step: Step) -> Operand:
        item = step.item
        if item.kind == "L":
            return Operand((), literal(item.name))
        if item.kind == "C":
            return self._creation(item.name)
        operands = [self.values[k] for k in step.inputs]
        if item.name in REFUSED:
            raise Missing(f"{item.name}: {REFUSED[item.name]}")
        rule = TABLE.get(item.name)
        if rule is None:
            raise LogError(f"unknown opcode {item.name[:60]!r}")
        if not rule.least <= len(operands) <= rule.most:
            most = "or more" if rule.most > 9 else f"to {rule.most}"
            raise LogError(f"{item.name} has {len(operands)} inputs, expected {rule.least} {most}")
        try:
            plan, operands = self._planned(rule, operands)
            return self._measured(self._built(place, plan, operands), step, plan.least)
        except Misfit as error:
            of = ", ".join(shape_text(o.shape) for o in operands)
            raise Misfit(f"{item.name} of {of}: {error}") from None

    def _planned(self, rule: Rule, operands: list[Operand]) -> tuple[Plan, list[Operand]]:
        """The plan; where it needs numbers that the data decide, these are computed."""
        try:
            return rule.plan(*operands), operands
        except Missing:
            if self.measure is None:
                raise
        numbers = [self._number(operand) for operand in operands]
        return rule.plan(*numbers), numbers

    def _number(self, operand: Operand) -> Operand:
        if operand.shape or type(operand.item) is not Node or self.measure is None:
            return operand
        value = self.measure.value(operand.item, self.arrays)
        return operand if value is None else Operand((), float(value))

    def _measured(self, made: Operand, step: Step, least: int) -> Operand:
        """`made` with the size that it turns out to have, where the log does not tell it."""
        if all(settled(size) is not None for size in made.shape):
            return made
        self.unsure = self.unsure or least > 0
        if self.measure is None or not self.tainted.isdisjoint(step.inputs):
            return made
        value = self.measure.value(made.item, self.arrays)
        if value is None:
            return made
        shape = tuple([max(size, least) for size in value.shape])
        if shape != value.shape:
            return Operand(shape, build.call("zeros", [], {"shape": shape}))
        return Operand(shape, made.item)

    def _built(self, place: int, plan: Plan, operands: Sequence[Operand]) -> Operand:
        if plan.call != "tsmm":
            return Operand(plan.shape, build.build(plan, operands))
        sizes = operands[0].shape
        if place not in self.sides:
            self.open[place] = plan.shape[0], sizes
        side = self.sides.get(place, "columns")
        if side is None:
            both = f"both fit, {' and '.join(f'{size} x {size}' for size in map(settled, sizes))}"
            raise Missing(f"tsmm does not say whether it was t(X) %*% X or X %*% t(X); {both}")
        if place in self.sides:
            size = sizes[0] if side == "rows" else sizes[1]
            plan = Plan((size, size), GRAMS[side])
        else:
            plan = Plan(plan.shape, GRAMS[side])
        return Operand(plan.shape, build.build(plan, operands))

    # ----------------------------------------------------------------- matrices made or read

    def _creation(self, text: str) -> Operand:
        fields = text.split("°")
        if len(fields) < 2:
            raise LogError(f"expected an instruction such as CP°rand°..., found {text[:60]!r}")
        if fields[0] != "CP":
            raise Missing(f"what {fields[0][:20]} computes is not read, only local instructions")
        maker = CREATIONS.get(fields[1])
        if maker is None:
            raise Missing(f"{fields[1][:60]} is not an instruction whose result can be told")
        return maker(self, fields[2:])

    def _rand(self, fields: list[str]) -> Operand:
        if len(fields) != 11:
            raise LogError(f"expected 11 fields of rand, found {len(fields)}")
        shape = _count(fields[0]), _count(fields[1])
        low, high, sparsity = (_float(text) for text in (fields[3], fields[4], fields[5]))
        if sparsity == 1.0 and fields[7] == "uniform" and low == high:
            return Operand(shape, _constant(shape, low))
        seed = f"seed {fields[6][:20]}"
        raise Missing(f"rand draws from a generator that NumPy does not have ({seed})", shape)

    def _seq(self, fields: list[str]) -> Operand:
        if len(fields) != 7:
            raise LogError(f"expected 7 fields of seq, found {len(fields)}")
        first, last, step = (_float(field.split("·")[0]) for field in fields[3:6])
        if step == 0 or not np.isfinite([first, last, step]).all():
            raise LogError(f"there is no sequence from {first} to {last} by {step}")
        if (last - first) * step < 0:
            step = -step
        steps = (last - first) / step * (1 + 1e-15)
        if not steps < 1 << 31:
            raise LogError(f"a sequence from {first} to {last} by {step} is too long")
        count = int(steps) + 1
        places = build.call("arange", [], {"bounds": (0.0, float(count))})
        line = build.call("add", [first, build.call("multiply", [places, step], {})], {})
        return Operand((count, 1), build.call("reshape", [line], {"shape": (count, 1)}))

    def _createvar(self, fields: list[str]) -> Operand:
        source = _read(fields)
        name = self.inputs.name_of(source)
        try:
            return self._leaf(self.inputs.of_file(source), name)
        except Missing as lack:
            rows, columns = lack.shape
            if rows is None or columns is None:
                raise
            digest = xxh3_128_digest(f"file of a SystemDS log {source}".encode())
            node = leaf_with(digest, "<f8", lack.shape, "C", name)
            self.unread.append((node, str(lack)))
            return Operand(lack.shape, node)

    def _as_node(self, item: Any) -> Node:
        if type(item) is str:
            raise LogError(f"line {self.steps[-1].item.line}: the result is a text, no number")
        return item if type(item) is Node else Node(OPS["positive"].spec, (float(item),))


CREATIONS: dict[str, Callable[[Translation, list[str]], Operand]] = {
    "rand": Translation._rand,
    "seq": Translation._seq,
    "createvar": Translation._createvar,
}


def literal(text: str) -> Any:
    """The value of a scalar, from `value·SCALAR·TYPE·true`.

    >>> literal("2.5E-6·SCALAR·FP64·true"), literal("TRUE·SCALAR·BOOLEAN·true")
    (2.5e-06, 1)
    """
    parts = text.rsplit("·", 3)
    if len(parts) == 4 and parts[1] in ("MATRIX", "FRAME", "TENSOR", "LIST"):
        raise Missing(f"a {parts[1].lower()} that the log names but does not hold")
    if len(parts) != 4 or parts[1] != "SCALAR" or parts[3] not in ("true", "false"):
        raise LogError(f"expected value·SCALAR·TYPE·true, found {text[:60]!r}")
    value, kind = parts[0], parts[2]
    if kind in ("INT64", "INT32"):
        if _INT.fullmatch(value) and -(1 << 63) <= int(value) < 1 << 63:
            return int(value)
    elif kind in ("FP64", "FP32"):
        return _float(value)
    elif kind == "BOOLEAN":
        if value.lower() in ("true", "false"):
            return int(value.lower() == "true")
    elif kind == "STRING":
        return value
    raise LogError(f"expected a value of INT64, FP64, BOOLEAN or STRING, found {text[:60]!r}")


def _float(text: str) -> float:
    if text in _SPECIAL:
        return float(_SPECIAL[text])
    if not _FLOAT.fullmatch(text):
        raise LogError(f"expected a number, found {text[:60]!r}")
    return float(text)


def _count(field: str) -> int:
    """A number of rows or columns, as `8·SCALAR·INT64·true`."""
    value = literal(field)
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise LogError(f"expected a number of rows or columns, found {field[:60]!r}")
    return value


def _constant(shape: tuple[int, int], value: float) -> Node:
    """`matrix(value, rows, cols)`, as one would write it in NumPy."""
    plain = {0.0: "zeros", 1.0: "ones"}.get(value)
    if plain is None or str(value)[0] == "-":
        made = build.call("full", [], {"shape": shape, "fill_value": value})
    else:
        made = build.call(plain, [], {"shape": shape})
    assert isinstance(made, Node)
    return made


def _read(fields: list[str]) -> Read:
    """What `createvar` says: name, path, flag, type, format, sizes, then facts of the format."""
    if len(fields) < 8 or not fields[0].startswith("pREAD"):
        raise LogError("expected createvar°pREADxxx°PATH°false°MATRIX°FORMAT°rows°cols°...")
    if fields[3] != "MATRIX":
        raise Missing(f"{fields[1]} is a {fields[3][:20].lower()}; only matrices are read")
    for field in fields[5:7]:
        if not _INT.fullmatch(field):
            raise LogError(f"expected a number of rows or columns, found {field[:60]!r}")
    rows, columns, more = int(fields[5]), int(fields[6]), fields[10:]
    if fields[4] != "csv" or len(more) < 4:
        return Read(fields[1], fields[4], rows, columns)
    default = 0.0 if not _FLOAT.fullmatch(more[3]) else float(more[3])
    return Read(fields[1], "csv", rows, columns, more[0] == "true", more[1] or ",", default)
