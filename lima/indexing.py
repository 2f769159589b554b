"""Indexing of traced arrays: views, elements, selections, assignment."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from lima import leaves
from lima.barriers import adopt, leaf_value, opened, plain, write_untraced
from lima.calls import LIFT, LITERALS, nested, result, view_of_present
from lima.errors import NotCanonical
from lima.forcing import force
from lima.gates import given_back
from lima.handle import Handle, data_of, root_of, value_of, view_handle
from lima.nesting import each
from lima.node import Ref, Spec, new_node
from lima.op import OPS, VIEW, Op, owner
from lima.runtime import apply
from lima.trials import tick
from lima.values import Foreign, Value, memory_of, new_value, overlapping, size_of
from lima.writes import kept, refuse_readonly, write

COPIED = 1 << 16
"""Bytes up to which a plain index array is copied."""

HELD = 1 << 13
"""Bytes up to which it is kept for logs and questions, although nothing else refers to it."""

KEPT = 1 << 22
"""Bytes up to which one is copied that chooses from an array of half its size or more."""


def index_param(index: Any, inputs: list[Any]) -> tuple[Any, str]:
    """The canonical form of an index, and the kind of result it gives, a row's name."""
    if type(index) is not tuple:
        item, kind = _index_item(index, inputs)
        return item, ("one" if kind == "int" else kind)
    items, kinds = [], set()
    for part in index:
        item, kind = _index_item(part, inputs)
        items.append(item)
        kinds.add(kind)
    if "gather" in kinds:
        return tuple(items), "gather"
    return tuple(items), ("one" if kinds <= {"int"} else "slice")


def _integer(x: Any) -> int | None:
    return None if x is None else operator.index(x)


def _index_item(item: Any, inputs: list[Any]) -> tuple[Any, str]:
    kind = type(item)
    if kind is int:
        return item, "int"
    if kind is slice:
        return slice(_integer(item.start), _integer(item.stop), _integer(item.step)), "slice"
    if item is None or item is Ellipsis or kind is str:
        return item, "slice"
    if kind is bool or kind is np.bool:
        return bool(item), "gather"
    if isinstance(item, (int, np.integer)):
        return operator.index(item), "int"
    if isinstance(item, Handle):
        inputs.append(value_of(item))
        return Ref(len(inputs) - 1), "gather"
    if hasattr(kind, "__index__") and not isinstance(item, np.ndarray):
        return operator.index(item), "int"
    if kind is list and all(type(v) is str for v in item) and item:
        return item, "slice"
    if kind is list and not item:
        item = np.zeros(0, np.intp)
    if kind is np.ndarray and item.nbytes <= COPIED:
        copied = leaf_value(item.copy())  # not the owner's: so the selection may wait
        if item.nbytes <= HELD:
            leaves.hold(copied.node.digest, copied.data)
        else:
            leaves.seen(copied.node.digest, item)
        inputs.append(copied)
    else:
        inputs.append(LIFT.nested(item, -1) if kind is list else LIFT.operand(item))
    return Ref(len(inputs) - 1), "gather"


def _own(index: Any, chosen_from: Value) -> Any:
    """An index array at hand, which the shape of a selection depends on.

    One that its owner may change is copied, so that the selection may wait.
    """
    if isinstance(index, Value) and index.data is None:
        force(index)
    if type(index) is not Foreign or type(index.data) is not np.ndarray:
        return index
    shape, dtype = chosen_from.meta
    size = index.data.nbytes
    if size > KEPT or 2 * dtype.itemsize * size_of(shape) < size:
        return index
    value = new_value(index.node, index.data.copy())
    value.shared = True
    return value


_index_specs: dict[Any, Spec] = {}


def _index_spec(row: Op, param: Any) -> Spec:
    """The spec of an index, shared between equal ones."""
    kind = type(param)
    if kind is slice:
        key: Any = (row.name, param.start, param.stop, param.step)
    elif kind is int or kind is Ref:
        key = (row.name, kind, param)
    else:
        key = _index_key(row, param) if kind is tuple else None
        if key is None:
            return Spec(row.name, (("index", param),), 1, row.version)
    spec = _index_specs.get(key)
    if spec is None:
        if len(_index_specs) > 4096:
            _index_specs.clear()
        spec = _index_specs[key] = Spec(row.name, (("index", param),), 1, row.version)
    return spec


def _index_key(row: Op, param: tuple[Any, ...]) -> Any:
    """What tells tuples of numbers, slices and places of inputs apart; None if one has others."""
    key: list[Any] = [row.name, tuple]
    for item in param:
        kind = type(item)
        key.append(kind)
        if kind is slice:
            key += [item.start, item.stop, item.step]
        elif kind is int or kind is Ref:
            key.append(item)
        elif item is not None and item is not Ellipsis:
            return None
    return tuple(key)


def getitem(a: Handle, index: Any) -> Any:
    """`a[index]` with NumPy's meaning: a view, a scalar, or a selection."""
    tick()
    value = value_of(a)
    inputs: list[Any] = [value]
    try:
        param, kind = index_param(index, inputs)
        if kind == "gather" and value.meta[1].names is not None:
            whole = _whole_numbers(index)
            if whole is not index:
                return getitem(a, whole)
    except (NotCanonical, TypeError):  # NumPy takes it, or knows what is wrong with it
        try:
            return adopt(data_of(a)[plain(index)], "index without canonical form")
        except ValueError as error:
            arrays = opened(error, (index,), {})
            if arrays is None:
                raise
            return getitem(a, arrays[0][0])
    if kind == "one":
        count = len(param) if type(param) is tuple else 1
        whole = count == len(value.meta[0]) and value.meta[1].names is None
        kind = "element" if whole else "slice"  # one record of an array is a view of it
    if kind == "gather":
        inputs[1:] = [_own(item, value) for item in inputs[1:]]
    row = OPS[kind]
    spec = _index_spec(row, param)
    if kind != "gather" and value.data is not None:
        return _get_present(a, value, spec, param)
    found = apply(row, spec, inputs)
    if row.kind is VIEW and found.root is not None:
        return view_handle(found, a, spec)
    return result(found, row)


_VOID, _ARRAY = np.void, np.ndarray  # attributes cost time in the hot path


def _whole_numbers(index: Any) -> Any:
    """`index` with integers in the place of arrays of one: NumPy gives a view of a record."""
    parts = index if type(index) is tuple else (index,)
    dtypes = [None if np.ndim(part) else getattr(part, "dtype", None) for part in parts]
    if all(
        type(part) is int or getattr(dtype, "kind", "") in ("i", "u")
        for part, dtype in zip(parts, dtypes, strict=True)
    ):
        whole = tuple([operator.index(part) for part in parts])
        return whole if type(index) is tuple else whole[0]
    return index


def _get_present(a: Handle, value: Value, spec: Spec, param: Any) -> Any:
    """A view or an element of data that is there: what `apply` would do, in one step."""
    data = value.data
    item = data[param]
    if type(data) is _VOID or (type(item) is _VOID and item.dtype.names is not None):
        inside = isinstance(item, (_VOID, _ARRAY)) and owner(item) is owner(data)
        return view_of_present(a, value, spec, item) if inside else _alone(value, spec, item)
    if type(item) is not _ARRAY or type(data) is not _ARRAY:
        return item if isinstance(item, Handle) else _alone(value, spec, item)
    if data.dtype.hasobject and item is data[param]:  # a view is a new one each time
        known, _ = given_back(item)  # it is an element of an array of objects
        return item if known is None else known
    return view_of_present(a, value, spec, item)


def _alone(value: Value, spec: Spec, item: Any) -> Any:
    return result(new_value(new_node(spec, (value.node,)), item), OPS[spec.op])


def setitem(a: Handle, index: Any, item: Any) -> None:
    """`a[index] = item`."""
    if a._locked and type(a._value.data) is _VOID:
        a._value.data.copy()[index] = plain(item)  # an index that records refuse comes first
    refuse_readonly(a)
    base = root_of(a)
    assign = OPS["assign"]
    if value_of(a).meta[1].hasobject and _set_objects(a, index, item):
        return
    if type(item) in (list, tuple) and not _lifts_to_array(a, index):
        if _set_records_in_turn(a, index, item, base):
            return
        write_untraced(np.ndarray.__setitem__, a, (a, index, item), {}, "a sequence as an element")
        return
    if type(item) in (list, tuple):  # NumPy makes its items the array's, or refuses them
        parts = item
        try:
            item = nested(parts, value_of(a).meta[1])
        except (OverflowError, TypeError, ValueError) as error:  # with the first of them written
            write_untraced(np.ndarray.__setitem__, a, (a, index, parts), {}, str(error))
            return
        if _reads(parts, base) and _set_in_turn(a, index, parts, item):
            return
    try:
        value = LIFT.operand(item)
    except NotCanonical:
        try:
            array = np.asarray(plain(item))
        except ValueError as error:
            arrays = opened(error, (item,), {})
            if arrays is None:
                raise
            value = LIFT.operand(arrays[0][0])
        else:
            # NumPy casts an object even where there is nothing to write, and asks a masked number.
            if array.dtype.hasobject or (isinstance(item, np.ndarray) and _is_one(a, index)):
                put = np.ndarray.__setitem__
                write_untraced(put, a, (a, index, item), {}, "Python objects")
                return
            value = leaf_value(array)
    inputs: list[Any] = [base._value, value]
    try:
        param, _ = index_param(index, inputs)
    except NotCanonical as error:
        write_untraced(np.ndarray.__setitem__, a, (a, index, item), {}, str(error))
        return
    path = tuple((s.op, s.params) for s in a._path)
    params = (("index", param),) if not path else (("path", path), ("index", param))
    spec = Spec(assign.name, params, 2, assign.version)
    write(base, assign, overlapping(spec, inputs), inputs, a)


def _set_objects(a: Handle, index: Any, item: Any) -> bool:
    """`a[index] = item` of Python objects; False where that is as for any array.

    What becomes an element is the very object. Who keeps an array sees later writes to it.
    """
    if type(item) in LITERALS:
        return False
    one = _is_one(a, index)
    if isinstance(item, np.generic) or (isinstance(item, np.ndarray) and not one):
        return False  # arrays and numbers of NumPy, traced or not
    given = kept(item) if isinstance(item, Handle) or not one else item

    def put(target: Any, index: Any) -> None:
        target[index] = given

    write_untraced(put, a, (a, plain(index)), {}, "Python objects")
    return True


def _reads(item: Any, base: Handle) -> bool:
    """Whether arrays in nested sequences lie in the memory of `base`."""
    if type(item) in (list, tuple):
        return True in each(lambda part: _reads(part, base), item)
    if not isinstance(item, Handle) or not value_of(item).meta[0]:
        return False
    return memory_of(value_of(item)) is memory_of(base._value)


def _set_in_turn(a: Handle, index: Any, parts: Any, made: Any) -> bool:
    """`a[index] = parts` where those lie in the memory written: NumPy writes one after the other.

    False, and nothing is done, where it makes an array of them first.
    """
    _, kind = index_param(index, [])
    if kind == "gather":
        return False
    target = getitem(a, index)
    if not isinstance(target, Handle) or value_of(target).meta[0] != made.shape:
        return False
    _set_each(target, parts)
    return True


def _set_each(target: Handle, parts: Any) -> None:
    for k, part in enumerate(parts):
        if type(part) in (list, tuple):
            _set_each(getitem(target, k), part)
        else:
            setitem(target, k, part)


def _set_records_in_turn(a: Handle, index: Any, parts: Any, base: Handle) -> bool:
    """The same for an array of records, some of which are written over others: `t[:] = [t[1], *t]`.

    A record that was read off an array is a view of it, unlike a number.
    """
    if value_of(a).meta[1].names is None or not _has_records_of(base, parts):
        return False
    _, kind = index_param(index, [])
    target = None if kind == "gather" else getitem(a, index)
    if not isinstance(target, Handle) or not _are_records(parts, value_of(target).meta[0]):
        return False
    _set_records(target, parts)
    return True


def _has_records_of(base: Handle, parts: Any) -> bool:
    if type(parts) is list:
        return any(_has_records_of(base, part) for part in parts)
    return isinstance(parts, Handle) and root_of(parts) is base


def _are_records(parts: Any, shape: tuple[int, ...]) -> bool:
    """Whether nested lists have this shape, and records in them."""
    if shape:
        return (
            type(parts) is list
            and len(parts) == shape[0]
            and all(_are_records(part, shape[1:]) for part in parts)
        )
    return type(parts) is tuple or (isinstance(parts, Handle) and not value_of(parts).meta[0])


def _set_records(target: Handle, parts: Any) -> None:
    for k, part in enumerate(parts):
        if type(part) is list:
            _set_records(getitem(target, k), part)
        else:
            setitem(target, k, part)


def _lifts_to_array(a: Handle, index: Any) -> bool:
    """Whether `a[index] = sequence` sets several elements, each a number."""
    return not _is_one(a, index) and value_of(a).meta[1].kind not in "VO"


def _is_one(a: Handle, index: Any) -> bool:
    """Whether `index` names one element."""
    parts = index if type(index) is tuple else (index,)
    parts = tuple(p for p in parts if p is not Ellipsis)
    one = len(parts) == len(value_of(a).meta[0])
    return one and all(isinstance(p, (int, np.integer)) for p in parts)
