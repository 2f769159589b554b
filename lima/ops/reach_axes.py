"""More of `reach`: products of any axes, windows, lookups, random draws.

Functions here are as those of `lima.ops.reach`. Some want to know the elements of operands that say
where others go, and have their places in `wants`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lima.node import Ref, Spec, refs_in
from lima.op import Op
from lima.ops.infer import place
from lima.ops.reach import (
    LIMIT,
    Part,
    Reach,
    elementwise,
    given,
    is_scalar,
    onward,
    run,
    union,
    whole,
)

Labels = Sequence[Hashable]


class Several(NamedTuple):
    """The parts of the items of a tuple; None for an item whose shape is not known."""

    parts: tuple[Part | None, ...]

    @property
    def touched(self) -> bool:
        return any(part is None or part.touched for part in self.parts)

    @property
    def shape(self) -> None:
        return None


# --------------------------------------------------------------------------- sums over labels


def labelled(
    parts: Sequence[Part],
    terms: Sequence[Labels],
    after: Labels,
    more: Mapping[Hashable, int] | None = None,
) -> Part | None:
    """The result of an operation whose axes have labels, those of each operand in `terms`.

    A line of the result comes of the lines with its labels; labels that are in no operand (`more`,
    with their lengths) are reached by all. An axis of length 1 is repeated.
    """
    lengths: dict[Hashable, int] = {}
    for term, part in zip(terms, parts, strict=True):
        if len(term) != len(part.shape):
            return None
        for label, n in zip(term, part.shape, strict=True):
            if lengths.setdefault(label, n) != n:
                if 1 not in (n, lengths[label]):
                    return None
                lengths[label] = max(n, lengths[label]) if 0 not in (n, lengths[label]) else 0
    lengths.update(more or {})
    if any(label not in lengths for label in after):
        return None
    shape = tuple([lengths[label] for label in after])
    found = []
    for term, part in zip(terms, parts, strict=True):
        lines = _by_label(term, part, lengths)
        if lines is not None:
            found.append(Part(shape, tuple([lines.get(label) for label in after])))
    return Part(shape, union(found) if 0 not in shape else None)


def _by_label(
    term: Labels, part: Part, lengths: Mapping[Hashable, int]
) -> dict[Hashable, Any] | None:
    """The lines of a part by label; None where it is empty. On a diagonal both axes must agree."""
    if part.lines is None:
        return None
    found: dict[Hashable, Any] = {}
    for label, one, n in zip(term, part.lines, part.shape, strict=True):
        if one is None or n != lengths[label]:
            found.setdefault(label, None)
            continue
        other = found.get(label)
        found[label] = one if other is None else one & other
        if not found[label].any():
            return None
    return found


def stack_of(ndim: int, core: int) -> list[int]:
    """Labels of the axes before the last `core` ones, which are repeated as NumPy does."""
    return list(range(core - ndim, 0))


def gufunc(text: str) -> Reach:
    """What a signature such as `(n?,k),(k,m?)->(n?,m?)` says of a product."""
    before, _, after = text.partition("->")
    cores = [one.strip("()").split(",") for one in before.split("),(")]
    result = [label for label in after.strip("()").split(",") if label]

    def reach(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
        parts = given(inputs)
        if len(parts) != len(inputs) != 0 or any(name != "alias" for name, _ in spec.params):
            return None
        terms, missing, deepest = [], set[str](), 0
        for part, core in zip(parts, cores, strict=True):
            core = list(core)
            if len(part.shape) < len(core):
                missing.update(label for label in core if label.endswith("?"))
                core = [label for label in core if not label.endswith("?")]
            stack = stack_of(len(part.shape), len(core))
            deepest = max(deepest, len(stack))
            terms.append([*stack, *core])
        kept = [label for label in result if label not in missing]
        return labelled(parts, terms, [*range(-deepest, 0), *kept])

    return reach


def dotted(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """`np.dot`: the last axis of the first with the last but one of the second."""
    return _dotted(spec, inputs, -2)


def inner(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """`np.inner`: the last axes with each other."""
    return _dotted(spec, inputs, -1)


def _dotted(spec: Spec, inputs: Sequence[Any], axis: int) -> Part | None:
    parts = given(inputs)
    if len(parts) != 2 or len(inputs) != 2 or any(name != "alias" for name, _ in spec.params):
        return None
    a, b = parts
    left: list[Hashable] = [("a", k) for k in range(len(a.shape))]
    right: list[Hashable] = [("b", k) for k in range(len(b.shape))]
    if left and right:
        left[-1] = right[max(axis, -len(right))] = "k"
    return labelled(parts, [left, right], [label for label in (*left, *right) if label != "k"])


def tensordot(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """Axes of one with axes of the other."""
    parts, axes = given(inputs), spec.get("axes", 2)
    if len(parts) != 2 or any(name not in ("alias", "axes") for name, _ in spec.params):
        return None
    a, b = parts
    left: list[Hashable] = [("a", k) for k in range(len(a.shape))]
    right: list[Hashable] = [("b", k) for k in range(len(b.shape))]
    if type(axes) is int:
        pairs = [(len(left) - axes + k, k) for k in range(axes)]
    else:
        first, second = [[one] if type(one) is int else list(one) for one in axes]
        pairs = list(zip(first, second, strict=True))
    for n, (i, j) in enumerate(pairs):
        left[i] = right[j] = ("k", n)
    after = [label for label in (*left, *right) if label[0] != "k"]  # type: ignore[index]
    return labelled(parts, [left, right], after)


def contracted(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """A sum over the labels of `np.einsum`."""
    text, parts = spec.get("subscripts"), given(inputs)
    if type(text) is not str or any(True for _ in refs_in(dict(spec.params))):
        return None
    before, arrow, after = text.replace(" ", "").partition("->")
    texts = before.split(",")
    if len(texts) != len(parts) or len(parts) != len(inputs):
        return None
    if not arrow:
        once = sorted(c for c in {*before} - {*",."} if before.count(c) == 1)
        after = "".join([*(["..."] if "..." in before else []), *once])
    terms = [_expanded(one, len(part.shape)) for one, part in zip(texts, parts, strict=True)]
    deepest = -min((label for term in terms for label in term if type(label) is int), default=0)
    return labelled(parts, terms, _expanded(after, len(after.replace("...", "")) + deepest))


def _expanded(term: str, ndim: int) -> list[Hashable]:
    """The labels of a term; `...` stands for numbers."""
    if "..." not in term:
        return list(term)
    head, _, tail = term.partition("...")
    return [*head, *stack_of(ndim, len(head) + len(tail)), *tail]


def kron(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """Every element of one array with all of the other."""
    parts = given(inputs)
    if len(parts) != 2 or len(inputs) != 2 or len(parts[0].shape) != len(parts[1].shape):
        return None
    a, b = parts
    shape = tuple([n * m for n, m in zip(a.shape, b.shape, strict=True)])
    found = []
    if a.lines is not None:
        pairs = zip(a.lines, b.shape, strict=True)
        found.append(Part(shape, tuple([None if x is None else np.repeat(x, m) for x, m in pairs])))
    if b.lines is not None:
        pairs = zip(b.lines, a.shape, strict=True)
        found.append(Part(shape, tuple([None if x is None else np.tile(x, n) for x, n in pairs])))
    return Part(shape, union(found))


def distances(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """Each row of one matrix with each row of another."""
    parts = given(inputs)
    if len(parts) != 2 or len(inputs) != 2 or any(len(part.shape) != 2 for part in parts):
        return None
    if any(name != "metric" or type(value) is not str for name, value in spec.params):
        return None
    if spec.get("metric") in ("seuclidean", "mahalanobis"):  # scaled by what all rows are like
        return None
    return labelled(parts, [("n", "k"), ("m", "k")], ("n", "m"))


# --------------------------------------------------------------------------- along a line


def linear(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """An operation that is linear in each operand: run on random numbers where lines are meant.

    So windows come out to the element: convolutions, differences, derivatives. Where an operand
    is not part of what was asked for, any values stand for it.
    """
    parts = given(inputs)
    if len(parts) != len(inputs) or sum(math.prod(part.shape) for part in parts) > LIMIT >> 4:
        return None
    if any(True for _ in refs_in(dict(spec.params))):
        return None
    named = {name: value for name, value in spec.params if name != "alias"}
    rng = np.random.default_rng(len(parts))
    data = [rng.uniform(1.0, 2.0, part.shape) for part in parts]
    found: list[Part] = []
    shape: tuple[int, ...] | None = None
    for k, part in enumerate(parts):
        meant = [*data]
        meant[k] = data[k] * _marks_of(part)
        made = row.kernel(*meant, **named)
        for one in made if type(made) is tuple or type(made) is list else [made]:
            one = np.asarray(one)
            if shape not in (None, one.shape):
                return None
            shape = one.shape
            found.append(_box_of(one != 0))
    return None if shape is None else Part(shape, union(found))


def _marks_of(part: Part) -> Any:
    """Booleans for the elements of a part."""
    marks = np.full(part.shape, part.lines is not None)
    for axis, one in enumerate(part.lines or ()):
        if one is not None:
            marks &= one.reshape([-1 if k == axis else 1 for k in range(len(part.shape))])
    return marks


def _box_of(marks: Any) -> Part:
    if not marks.any():
        return Part(marks.shape, None)
    lines: list[Any] = []
    for axis in range(marks.ndim):
        one = marks.any(axis=tuple([k for k in range(marks.ndim) if k != axis]))
        lines.append(None if one.all() else one)
    return Part(marks.shape, tuple(lines))


def spectrum(length: Callable[[int], int], axes: str = "") -> Reach:
    """A transform along an axis, or along some (`axes` names the default), of its own lengths.

    `length` gives that of the result along the last axis that is transformed.
    """

    def reach(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
        first = inputs[0]
        if not isinstance(first, Part) or len(inputs) != 1 or not first.shape:
            return None
        if any(name not in ("axis", "axes", "norm") for name, _ in spec.params):
            return None
        ndim = len(first.shape)
        if axes:
            default = range(-2, 0) if axes == "last two" else range(-ndim, 0)
            named = spec.get("axes", row.params.get("axes"))
            asked = [place(one, ndim) for one in (default if named is None else named)]
        else:
            asked = [place(spec.get("axis", -1), ndim)]
        if None in asked or not asked:
            return None
        shape = list(first.shape)
        last = asked[-1]
        assert last is not None
        shape[last] = length(shape[last])
        if shape[last] < 1:
            return None
        lines = first.lines
        if lines is not None:
            lines = tuple([None if k in asked else one for k, one in enumerate(lines)])
        return Part(tuple(shape), lines)

    return reach


def normalized(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """Along one axis, some, or all: the shape stays."""
    first, axis = inputs[0], spec.get("axis", row.params.get("axis"))
    if not isinstance(first, Part) or len(inputs) != 1:
        return None
    ndim = len(first.shape)
    asked = range(ndim) if axis is None else axis if type(axis) is tuple else (axis,)
    places = {place(one, ndim) for one in asked}
    if None in places:
        return None
    lines = first.lines
    if lines is not None:
        lines = tuple([None if k in places else one for k, one in enumerate(lines)])
    return Part(first.shape, lines)


def summed_on(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """`np.cumulative_sum`: as cumulative sums, with a first line of zeros if asked for."""
    initial = spec.get("include_initial", False)
    found = onward(row, spec, inputs)
    if found is None or type(initial) is not bool or not initial:
        return found
    k = place(spec.get("axis", -1), len(found.shape))
    if k is None:
        return None
    shape = tuple([n + (axis == k) for axis, n in enumerate(found.shape)])
    if found.lines is None:
        return Part(shape, None)
    lines = list(found.lines)
    one = np.ones(found.shape[k], bool) if lines[k] is None else lines[k]
    lines[k] = np.concatenate([[False], one])
    return Part(shape, tuple(lines))


def permuted(row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """A shuffle along an axis, all of it; the state of the generator does not depend on values."""
    x, axis = inputs[-1], spec.get("axis", row.params.get("axis", 0))
    if len(inputs) != 2 or not isinstance(x, Part) or len(x.shape) == 0:
        return None
    if axis is None:
        return Several((whole(x.shape) if x.touched else x._replace(value=None), Part((), None)))
    k = place(axis, len(x.shape))
    if k is None:
        return None
    lines = x.lines
    if lines is not None:
        lines = tuple([None if n == k else one for n, one in enumerate(lines)])
    return Several((Part(x.shape, lines), Part((), None)))


def drawn(row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """Random numbers: of their parameters all may depend on each, as does the state."""
    size, operands = spec.get("size"), inputs[1:]
    values = [*operands, *[value for name, value in spec.params if name != "size"]]
    if any(type(value) is Ref or isinstance(value, list | tuple | np.ndarray) for value in values):
        return None
    if size is None:
        shape = np.broadcast_shapes(*[part.shape for part in given(operands)], ())
    elif type(size) is int:
        shape = (size,)
    elif type(size) is tuple and all(type(n) is int for n in size):
        shape = size
    else:
        return None
    if any(part.touched for part in given(inputs)):
        return Several((whole(shape), whole(())))
    return Several((Part(shape, None), Part((), None)))


# --------------------------------------------------------------------------- lookups


def looked_up(*tables: int) -> Reach:
    """Elementwise but for some operands, of which each element may depend on all."""

    def reach(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
        others = [item for k, item in enumerate(inputs) if k not in tables]
        found = elementwise(row, _without(spec), others)
        if any(True for _ in refs_in(dict(spec.params))):
            return None
        known = [inputs[k] for k in tables if k < len(inputs)]
        if found is None or any(not isinstance(item, Part) for item in known):
            return None
        return whole(found.shape) if any(item.touched for item in known) else found

    return reach


def _without(spec: Spec) -> Spec:
    """Without parameters that are flags and words, of which a lookup has many."""
    kept = [(k, v) for k, v in spec.params if not is_scalar(v)]
    return Spec(spec.op, tuple(kept), spec.npos, spec.version)


def each(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """As `elementwise`, of functions whose parameters decide no shape."""
    return elementwise(row, _without(spec), inputs)


def moved_by(*places: int, blank: str = "", otherwise: Reach | None = None) -> Reach:
    """As `moved`, where operands say where the elements go: they must be known, and untouched.

    `blank` is the parameter with values that are put in, which are not part of what was asked for.
    """

    def reach(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
        count = len(inputs) if spec.npos is None else spec.npos
        operands, rest = list(inputs[:count]), list(inputs[count:])
        params = spec.params
        put = spec.get(blank) if blank else None
        if type(put) is Ref and put.index >= count:
            part = rest[put.index - count]
            if part.touched:
                return None
            rest[put.index - count] = part._replace(value=np.zeros(part.shape or 1, bool))
        elif put is not None:
            none = np.zeros(np.shape(put) or 1, bool)
            params = tuple([(key, none if key == blank else value) for key, value in params])
        known = [operands[k] for k in places if k < count] + rest
        if any(isinstance(i, Part) and (i.value is None or i.touched) for i in known):
            return None if otherwise is None else otherwise(row, spec, inputs)
        fixed = {
            k: operands[k].value if isinstance(operands[k], Part) else operands[k]
            for k in places
            if k < count
        }
        meant = Spec(spec.op, params, spec.npos, spec.version)
        return run(row, meant, operands, [part.value for part in rest], fixed)

    reach.wants = frozenset(places)  # type: ignore[attr-defined]
    return reach


def across(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """Each element comes of those at its place in arrays that stand in lists (`np.select`)."""
    for _, value in spec.params:
        items = value if type(value) in (list, tuple) else [value]
        lists = type(value) in (list, tuple)
        if any(not is_scalar(item) and not (lists and type(item) is Ref) for item in items):
            return None
    return elementwise(row, Spec(spec.op), inputs)


def along_axis(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """Elements picked along an axis by indices that are not known."""
    parts = given(inputs)
    if len(parts) != 2 or len(inputs) != 2:
        return None
    first, indices = parts
    ndim, axis = len(first.shape), spec.get("axis", row.params.get("axis"))
    k = place(axis, ndim)
    if k is None or len(indices.shape) != ndim:
        return None
    labels = [("i" if n == k else n) for n in range(ndim)]
    return labelled(parts, [["a" if n == k else n for n in range(ndim)], labels], labels)


def written_at(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """`np.add.at` and its kind: what is written, and at which places."""
    first = inputs[0]
    others = [item for item in inputs[1:] if isinstance(item, Part)]
    if not isinstance(first, Part):
        return None
    return (
        whole(first.shape) if any(part.touched for part in others) else first._replace(value=None)
    )


def padded(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """`np.pad` in modes that move elements."""
    mode = spec.get("mode", "constant")
    plain = type(mode) is str and mode in ("constant", "edge", "reflect", "symmetric", "wrap")
    known = ("pad_width", "mode", "constant_values")
    if not plain or any(name not in known for name, _ in spec.params):
        return None
    kept = tuple([(k, v) for k, v in spec.params if k != "constant_values"])
    return run(row, Spec(spec.op, kept, spec.npos, spec.version), list(inputs), [])


def sums_of_stretches(row: Op, spec: Spec, inputs: Sequence[Any]) -> Part | None:
    """`np.add.reduceat`: a line of the result for a stretch of lines between two indices."""
    first, indices = inputs
    if not isinstance(first, Part) or any(name not in ("axis", "dtype") for name, _ in spec.params):
        return None
    starts = indices.value if isinstance(indices, Part) else indices
    if starts is None or (isinstance(indices, Part) and indices.touched):
        return None
    starts = np.asarray(starts)
    k = place(spec.get("axis", 0), len(first.shape))
    if k is None or starts.ndim != 1 or starts.dtype.kind not in "iu":
        return None
    shape = (*first.shape[:k], len(starts), *first.shape[k + 1 :])
    if first.lines is None:
        return Part(shape, None)
    lines = list(first.lines)
    one = lines[k]
    if one is not None:
        ends = [*starts[1:], len(one)]
        pairs = zip(starts, ends, strict=True)
        met = np.array([one[a:b].any() if a < b else one[a] for a, b in pairs], bool)
        if not met.any():
            return Part(shape, None)
        lines[k] = met
    return Part(shape, tuple(lines))


sums_of_stretches.wants = frozenset({1})  # type: ignore[attr-defined]
