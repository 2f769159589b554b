"""What the opcodes of SystemDS mean: each in terms of rows of lima, in one table.

An entry states the call in Python's syntax, with rows of lima as functions, `a`, `b`, `c`, ... for
the operands (`A`, `B`, ...: a literal as a floating point number; `all`: every operand), and
`fold(row, all)` for a row that is applied from the left. It is parsed, never run. SystemDS knows
scalars and matrices of doubles only, so whatever NumPy would give as booleans or integers is
turned into doubles, and aggregates keep two axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lima.node import Node
from lima.op import OPS, Kind
from lima.systemds.shapes import (
    Dim,
    Misfit,
    Shape,
    broadcast,
    known,
    same,
    settled,
    shape_text,
    total,
)


class Missing(Exception):
    """The log does not carry enough to compute a value; the message says what is missing."""

    def __init__(self, reason: str, shape: Shape = (None, None)) -> None:
        super().__init__(reason)
        self.shape = shape


class Operand(NamedTuple):
    """The value of an item: its shape, and its node or, for a known scalar, the value itself."""

    shape: Shape
    item: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """How a value is computed: its shape, the call, and what further names in the call mean.

    A result with fewer rows or columns than `least` is a matrix of zeros in SystemDS.
    """

    shape: Shape
    call: str
    names: dict[str, Any] = field(default_factory=dict)
    least: int = 0


class Rule(NamedTuple):
    """Number of operands (at least `least`, at most `most`) and what becomes of them."""

    least: int
    most: int
    plan: Callable[..., Plan]


MANY = 1 << 30

# --------------------------------------------------------------------------- shapes of results


def _matrix(a: Operand) -> Shape:
    if not a.shape:
        raise Misfit("expected a matrix, found a scalar")
    return a.shape


def _number(a: Operand, what: str) -> Any:
    """The value of a scalar that the log tells; Missing where it is known at run time only."""
    if a.shape:
        raise Misfit(f"expected a number as {what}, found {shape_text(a.shape)}")
    if isinstance(a.item, Node):
        raise Missing(f"{what} is known only when the program runs")
    return a.item


def _whole(a: Operand, what: str) -> int:
    value = _number(a, what)
    if type(value) not in (int, float) or not math.isfinite(value) or value != int(value):
        raise Misfit(f"expected a whole number as {what}, found {value!r:.40}")
    return int(value)


def _fixed(count: int, call: str, shape: Callable[..., Shape]) -> Rule:
    return Rule(count, count, lambda *operands: Plan(shape(*operands), call))


def each(count: int, call: str) -> Rule:
    """An elementwise operation."""
    return _fixed(count, call, lambda *operands: broadcast(o.shape for o in operands))


def truth(count: int, call: str) -> Rule:
    """A comparison: 1 or 0."""
    return each(count, f"astype({call}, dtype='float64')")


def _column(a: Operand) -> Shape:
    return _matrix(a)[0], 1


def _row(a: Operand) -> Shape:
    return 1, _matrix(a)[1]


def _scalar(*operands: Operand) -> Shape:
    for operand in operands[:1]:
        _matrix(operand)
    return ()


def aggregates(name: str, call: str) -> dict[str, Rule]:
    """An aggregate of all elements, of each row, of each column; `...` is where the axis stands."""
    return {
        f"ua{name}": _fixed(1, call.replace("...", ""), _scalar),
        f"uar{name}": _fixed(1, call.replace("...", ", axis=1, keepdims=True"), _column),
        f"uac{name}": _fixed(1, call.replace("...", ", axis=0, keepdims=True"), _row),
    }


def _product(a: Operand, b: Operand) -> Shape:
    left, right = _matrix(a), _matrix(b)
    same(left[1], right[0])
    return left[0], right[1]


def _chain(a: Operand, b: Operand, *more: Operand) -> Plan:
    left, right = _matrix(a), _matrix(b)
    same(left[1], right[0])
    shape = left[1], right[1]
    if more:
        raise Missing("mmchain does not say which of its two forms with weights it was", shape)
    return Plan(shape, "matmul(transpose(a), matmul(a, b))")


def _gram(a: Operand) -> Plan:
    """X'X or XX': what fits the shapes further down (see `Dim`)."""
    rows, columns = map(settled, _matrix(a))
    if type(rows) is not int or type(columns) is not int:
        raise Missing("tsmm does not say whether it was t(X) %*% X or X %*% t(X)")
    if rows == columns:
        reason = f"tsmm of a square matrix ({rows} x {columns})"
        raise Missing(f"{reason} does not say whether it was t(X) %*% X or X %*% t(X)", a.shape)
    size = Dim((rows, columns))
    return Plan((size, size), "tsmm")


GRAMS = {"columns": "matmul(transpose(a), a)", "rows": "matmul(a, transpose(a))"}
"""What `tsmm` was, by which size of its operand the result has."""


def _joined(axis: int) -> Rule:
    def plan(*operands: Operand) -> Plan:
        shapes = [_matrix(o) for o in operands]
        other = shapes[0][1 - axis]
        for shape in shapes[1:]:
            other = same(other, shape[1 - axis])
        length = total(shape[axis] for shape in shapes)
        shape = (length, other) if axis == 0 else (other, length)
        return Plan(shape, "vstack(all)" if axis == 0 else "hstack(all)")

    return Rule(1, MANY, plan)


def _folded(name: str) -> Rule:
    """An operation of two operands, applied to many from the left."""

    def plan(*operands: Operand) -> Plan:
        return Plan(broadcast(o.shape for o in operands), f"fold({name}, all)")

    return Rule(1, MANY, plan)


def _diagonal(a: Operand) -> Plan:
    rows, columns = map(settled, _matrix(a))
    if columns == 1:
        return Plan((rows, rows), "diagflat(a)")
    if type(columns) is int or (type(columns) is Dim and 1 not in columns.sizes):
        return Plan((rows, 1), "slice(diagonal(a), index=column)", {"column": (slice(None), None)})
    raise Missing("rdiag of a matrix of unknown shape: it makes a diagonal matrix of a column")


def _solved(a: Operand, b: Operand) -> Plan:
    left, right = _matrix(a), _matrix(b)
    same(left[0], right[0])
    shape = left[1], right[1]
    rows, columns = map(settled, left)
    if type(rows) is int and type(columns) is int and rows != columns:
        return Plan(shape, "output(linalg.lstsq(a, b), index=0)")
    return Plan(shape, "linalg.solve(a, b)")


# --------------------------------------------------------------------------- places


def _span(first: Operand, last: Operand, size: Any, what: str) -> tuple[slice, int]:
    """A range of rows or columns, counted from 1 to the last one, as a slice, and its length."""
    low, high = _whole(first, f"the first {what}"), _whole(last, f"the last {what}")
    length = known(size)
    if not 1 <= low <= high or (length is not None and high > length):
        there = "" if length is None else f" of {length}"
        raise Misfit(f"{what}s {low} to {high}{there} do not exist")
    whole = low == 1 and high == length
    return (slice(None) if whole else slice(low - 1, high)), high - low + 1


def _region(a: Operand, places: Sequence[Operand]) -> tuple[Shape, tuple[slice, slice]]:
    rows, columns = _matrix(a)
    down, height = _span(places[0], places[1], rows, "row")
    across, width = _span(places[2], places[3], columns, "column")
    return (height, width), (down, across)


def _taken(a: Operand, *places: Operand) -> Plan:
    shape, region = _region(a, places)
    return Plan(shape, "slice(a, index=region)", {"region": region})


def _put(a: Operand, value: Operand, *places: Operand) -> Plan:
    shape, region = _region(a, places)
    if value.shape:
        same(shape[0], value.shape[0])
        same(shape[1], value.shape[1])
    whole = "copy(a)" if _is_shared(a.item) else "a"
    return Plan(a.shape, f"assign({whole}, B, index=region)", {"region": region})


def _is_shared(item: Any) -> bool:
    """Whether an array is an input or a view: NumPy's programs copy it before they write."""
    if type(item) is not Node:
        return False
    return item.is_leaf or (item.spec.op in OPS and OPS[item.spec.op].kind is Kind.VIEW)


def _reshaped(a: Operand, rows: Operand, columns: Operand, dims: Operand, byrow: Operand) -> Plan:
    there = [known(size) for size in _matrix(a)]
    shape = [_whole(rows, "the number of rows"), _whole(columns, "the number of columns")]
    if None not in there:
        count = math.prod(size for size in there if size is not None)
        for k in (0, 1):  # -1: what is left
            if shape[k] == -1 and shape[1 - k] > 0:
                shape[k] = count // shape[1 - k]
        if math.prod(shape) != count:
            raise Misfit(f"there is no matrix of {shape_text(tuple(shape))}")
    elif -1 in shape and max(shape) > 0:
        raise Missing("a size that rshape takes from a matrix of unknown shape")
    if min(shape) < 0:
        raise Misfit(f"there is no matrix of {shape_text(tuple(shape))}")
    order = "C" if _number(byrow, "the order") else "F"
    names = {"shape": tuple(shape), "order": order}
    return Plan(tuple(shape), "reshape(a, shape=shape, order=order)", names)


def _place(function: str, worst: float) -> Rule:
    """Where in its row the extreme is, from 1; as SystemDS has it the last one, NaN apart."""

    def plan(a: Operand) -> Plan:
        shape = _column(a)
        width = known(a.shape[1])
        if width is None:
            raise Missing("the number of columns is known only when the program runs", shape)
        last = f"{function}(fliplr(where(isnan(a), worst, a)), axis=1, keepdims=True)"
        names = {"width": float(width), "worst": worst}
        return Plan(shape, f"subtract(width, {last})", names)

    return Rule(1, 1, plan)


def _size(axis: int) -> Rule:
    def plan(a: Operand) -> Plan:
        size = known(_matrix(a)[axis])
        if size is None:
            raise Missing(f"the number of {('rows', 'columns')[axis]} is not known", ())
        return Plan((), "size", {"size": size})

    return Rule(1, 1, plan)


def _length(a: Operand) -> Plan:
    rows, columns = map(known, _matrix(a))
    if rows is None or columns is None:
        raise Missing("the number of elements is not known", ())
    return Plan((), "size", {"size": rows * columns})


# --------------------------------------------------------------------------- the rest


def _to_scalar(a: Operand) -> Plan:
    if not a.shape:
        return Plan((), "a")
    same(a.shape[0], 1)
    same(a.shape[1], 1)
    return Plan((), "element(a, index=first)", {"first": (0, 0)})


def _to_matrix(a: Operand) -> Plan:
    return Plan(a.shape, "a") if a.shape else Plan((1, 1), "full(shape=(1, 1), fill_value=A)")


def _replaced(a: Operand, old: Operand, new: Operand) -> Plan:
    value = _number(old, "the pattern")
    found = "isnan(a)" if value != value else "equal(a, b)"
    _number(new, "the replacement")
    return Plan(_matrix(a), f"where({found}, C, a)")


def _selected(a: Operand, margin: Operand, *select: Operand) -> Plan:
    by = _number(margin, "the margin")
    if by not in ("rows", "cols"):
        raise Misfit(f"expected rows or cols as the margin, found {by!r:.40}")
    axis = 0 if by == "rows" else 1
    rows, columns = _matrix(a)
    given = bool(select) and bool(select[0].shape)
    kept = "ravel(not_equal(c, 0))" if given else f"any(not_equal(a, 0), axis={1 - axis})"
    shape = (None, columns) if axis == 0 else (rows, None)
    return Plan(shape, f"compress({kept}, a, axis={axis})", least=1)


def _indicators(start: Operand, places: Operand, weight: Operand, *more: Operand) -> Plan:
    """One row for each place, with the weight in the column that it names."""
    rows, _ = _column(places)
    text = _number(start, "the sequence")
    if type(text) is not str or not text.replace(" ", "").startswith("seq(1,") or more:
        raise Missing("only table(seq(1, n), x) can be told from the log", (rows, None))
    columns = "arange(bounds=(1.0, add(max(b), 1.0)))"
    found = f"astype(equal(b, {columns}), dtype='float64')"
    unit = not weight.shape and weight.item == 1
    return Plan((rows, None), found if unit else f"multiply(c, {found})")


def _expanded(places: Operand, size: Operand, margin: Operand, *more: Operand) -> Plan:
    """As `_indicators`, for a number of columns (or rows) that is given."""
    rows, _ = _column(places)
    width, by = _whole(size, "the number of columns"), _number(margin, "the direction")
    if by not in ("rows", "cols"):
        raise Misfit(f"expected rows or cols as the direction, found {by!r:.40}")
    names = {"bounds": (1.0, width + 1.0), "line": (width, 1)}
    if by == "cols":
        call = "astype(equal(floor(a), arange(bounds=bounds)), dtype='float64')"
        return Plan((rows, width), call, names)
    lines = "reshape(arange(bounds=bounds), shape=line)"
    call = f"astype(equal(transpose(floor(a)), {lines}), dtype='float64')"
    return Plan((width, rows), call, names)


def _triple(axis: int | None) -> Rule:
    """The sum of the products of two or three operands."""

    def plan(a: Operand, b: Operand, c: Operand) -> Plan:
        _matrix(a)
        shape = broadcast((a.shape, b.shape, c.shape))
        unit = not c.shape and c.item == 1
        product = "multiply(a, b)" if unit else "multiply(multiply(a, b), c)"
        if axis is None:
            return Plan((), f"sum({product})")
        return Plan((1, shape[1]), f"sum({product}, axis=0, keepdims=True)")

    return Rule(3, 3, plan)


def _chosen(test: Operand, then: Operand, other: Operand) -> Plan:
    shape = broadcast((test.shape, then.shape, other.shape))
    if not test.shape and not isinstance(test.item, Node):
        picked = "b" if test.item else "c"
        if shape == (then if picked == "b" else other).shape:
            return Plan(shape, picked)
    return Plan(shape, "where(not_equal(a, 0), B, C)")


def _log(a: Operand, *base: Operand) -> Plan:
    shape = broadcast(o.shape for o in (a, *base))
    return Plan(shape, "divide(log(a), log(b))" if base else "log(a)")


def _difference(a: Operand, *b: Operand) -> Plan:
    shape = broadcast(o.shape for o in (a, *b))
    return Plan(shape, "subtract(a, b)" if b else "negative(a)")


TABLE: dict[str, Rule] = {
    # arithmetic
    "+": each(2, "add(a, b)"),
    "-": Rule(1, 2, _difference),
    "*": each(2, "multiply(a, b)"),
    "/": each(2, "divide(a, b)"),
    "^": each(2, "power(A, B)"),
    "%%": each(2, "fmod(a, b)"),  # both truncate towards zero
    "%/%": each(2, "trunc(divide(a, b))"),
    "min": each(2, "minimum(a, b)"),
    "max": each(2, "maximum(a, b)"),
    "*2": each(2, "multiply(a, 2)"),
    "^2": each(2, "square(A)"),
    "1-*": each(2, "subtract(1, multiply(a, b))"),
    "-*": each(3, "subtract(a, multiply(b, c))"),
    "+*": each(3, "add(a, multiply(b, c))"),
    "n+": _folded("add"),
    "n*": _folded("multiply"),
    "nmin": _folded("minimum"),
    "nmax": _folded("maximum"),
    # comparison
    ">": truth(2, "greater(a, b)"),
    "<": truth(2, "less(a, b)"),
    ">=": truth(2, "greater_equal(a, b)"),
    "<=": truth(2, "less_equal(a, b)"),
    "==": truth(2, "equal(a, b)"),
    "!=": truth(2, "not_equal(a, b)"),
    "&&": truth(2, "logical_and(a, b)"),
    "||": truth(2, "logical_or(a, b)"),
    "xor": truth(2, "logical_xor(a, b)"),
    "!": truth(1, "logical_not(a)"),
    "ifelse": Rule(3, 3, _chosen),
    # functions of elements
    **{name: each(1, f"{name}(a)") for name in ("exp", "sqrt", "floor", "ceil", "sign")},
    **{name: each(1, f"{name}(a)") for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{name: each(1, f"arc{name[1:]}(a)") for name in ("asin", "acos", "atan")},
    "abs": each(1, "absolute(a)"),
    "round": each(1, "floor(add(a, 0.5))"),
    "log": Rule(1, 2, _log),
    "sigmoid": each(1, "divide(1.0, add(1.0, exp(negative(a))))"),
    "sprop": each(1, "multiply(a, subtract(1, a))"),
    "isna": truth(1, "isnan(a)"),
    "isnan": truth(1, "isnan(a)"),
    "replace": Rule(3, 3, _replaced),
    # aggregates
    **aggregates("k+", "sum(a...)"),
    **aggregates("+", "sum(a...)"),
    **aggregates("sqk+", "sum(square(a)...)"),
    **aggregates("mean", "mean(a...)"),
    **aggregates("min", "min(a...)"),
    **aggregates("max", "max(a...)"),
    **aggregates("var", "var(a..., ddof=1)"),
    **aggregates("*", "prod(a...)"),
    "uaktrace": _fixed(1, "trace(a)", _scalar),
    "uarimax": _place("argmax", -math.inf),
    "uarimin": _place("argmin", math.inf),
    "tak+*": _triple(None),
    "tack+*": _triple(0),
    "ucumk+": _fixed(1, "cumsum(a, axis=0)", _matrix),
    "ucum*": _fixed(1, "cumprod(a, axis=0)", _matrix),
    "ucummin": _fixed(1, "minimum.accumulate(a, axis=0)", _matrix),
    "ucummax": _fixed(1, "maximum.accumulate(a, axis=0)", _matrix),
    "nrow": _size(0),
    "ncol": _size(1),
    "length": Rule(1, 1, _length),
    # products, solvers
    "ba+*": _fixed(2, "matmul(a, b)", _product),
    "tsmm": Rule(1, 1, _gram),
    "mmchain": Rule(2, 3, _chain),
    "solve": Rule(2, 2, _solved),
    "inverse": _fixed(1, "linalg.inv(a)", _matrix),
    "cholesky": _fixed(1, "linalg.cholesky(a)", _matrix),
    "det": _fixed(1, "linalg.det(a)", _scalar),
    # layout
    "r'": _fixed(1, "transpose(a)", lambda a: _matrix(a)[::-1]),
    "rev": _fixed(1, "flipud(a)", _matrix),
    "rdiag": Rule(1, 1, _diagonal),
    "rshape": Rule(5, 5, _reshaped),
    "cbind": _joined(1),
    "rbind": _joined(0),
    "rightIndex": Rule(5, 5, _taken),
    "leftIndex": Rule(6, 6, _put),
    "castdts": Rule(1, 1, _to_scalar),
    "castdtm": Rule(1, 1, _to_matrix),
    "castvtd": each(1, "A"),
    "castvti": each(1, "trunc(a)"),
    "castvtb": truth(1, "not_equal(a, 0)"),
    "rmempty": Rule(2, 3, _selected),
    "ctableexpand": Rule(3, 5, _indicators),
    "rexpand": Rule(3, 5, _expanded),
}
"""By opcode, in the order of the language's reference."""

SEVERAL = "has several results, and the log does not say which of them is meant"

REFUSED: dict[str, str] = {
    "rsort": "the log does not say by which column, in which order, or whether of places or values",
    **dict.fromkeys(("eigen", "svd", "qr", "lu", "lstm", "batch_norm2d"), SEVERAL),
}
"""Opcodes whose parameters are not in the log, and what is missing."""
