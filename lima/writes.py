"""Writes: into the old buffer where nobody else sees it, else into a copy."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from lima.errors import UnsupportedError
from lima.forcing import force, forced
from lima.frame import refuse
from lima.gates import give, known
from lima.handle import Handle, is_outside, locked, release, root_of, turn_writing, value_of
from lima.nesting import each
from lima.node import OUTPUT, Node, Spec, leaf, new_node
from lima.op import OPS, Op, clone, evaluate, moved, owner
from lima.ops.index import open_window
from lima.runtime import apply, raising
from lima.tasks import Guard
from lima.values import Borrowed, Pending, Value, live_users, nodes_of, tied


def write(
    target: Any,
    row: Op,
    spec: Spec,
    inputs: Sequence[Any],
    asked: Handle | None = None,
    node: Node | None = None,
) -> Any:
    """Run a call that writes into `target` and re-point its handle. Returns `target` for `out=`.

    asked  the view of it by which the program writes, if it is another: it may be writable where
           the array is no longer
    node   what is written, if the spec says more than that
    """
    if not isinstance(target, Handle):
        return _write_plain(target, row, spec, inputs)
    if locked(target) and (asked is None or locked(asked)):
        if is_outside(target):
            return _write_plain(value_of(target).data, row, spec, inputs, target)
        return _write_locked(target, row, spec, inputs)
    if asked is None:
        refuse_readonly(target)
    if is_outside(target):
        window = value_of(target).data
        if asked is not None and not locked(asked) and not window.flags.writeable:
            window = window.view()
            turn_writing(window, True)
        return _write_plain(window, row, spec, inputs, target)
    node = new_node(spec, nodes_of(inputs)) if node is None else node
    data = forced(inputs)
    base = root_of(target)
    old = base._value
    memory = force(old)
    if old.given:
        detach(old)  # so that it can be written where it lies
    buffer = memory if is_private(old) or _is_lent(old) else None
    spent = None if buffer is None else old
    if buffer is None and (
        row.into
        or target is not base
        or memory.dtype.hasobject
        or raising()
        or spec.get("alias")
        or _overlaps(data, memory)
    ):
        # What NumPy's kernels do depends on overlaps, and they may fail half-way: the copy is
        # written as the original would be.
        buffer = clone(memory)
        data = [moved(d, memory, buffer) for d in data]
    if target is not base:
        return _write_view(target, row, node, data, buffer, spent)
    written = _evaluated(base, row, spec, data, buffer, buffer, spent)
    extra = None
    if type(written) is tuple:
        written, extra = written
        node = Node(Spec(OUTPUT, (("index", 0),)), (node,))
    repoint(target, Value(node, written), spent)
    return extra if extra is not None else (target if spec.out is not None else None)


def _write_locked(target: Handle, row: Op, spec: Spec, inputs: Sequence[Any]) -> Any:
    """A write into a read-only array. NumPy raises, unless there is nothing to change."""
    data, memory = force(value_of(target)), force(root_of(target)._value)
    if type(data) is not np.ndarray or type(memory) is not np.ndarray:
        refuse_readonly(target)
    copy = clone(memory)
    copy.setflags(write=False)
    # What it reads of the array itself lies in the same places, which NumPy looks at.
    given = [moved(d, memory, copy) for d in forced(inputs)]
    evaluate(row, spec, given, tied(moved(data, memory, copy)))
    if copy.tobytes() != memory.tobytes():  # it has overlooked the flag
        refuse_readonly(target)
    return None if row.into else target


def _overlaps(data: Sequence[Any], memory: Any) -> bool:
    """Whether an operand is another view of `memory`."""
    whole = owner(memory)
    return any(type(d) is np.ndarray and d is not memory and owner(d) is whole for d in data)


def _evaluated(
    base: Handle,
    row: Op,
    spec: Spec,
    data: Sequence[Any],
    window: Any,
    buffer: Any,
    spent: Value | None,
) -> Any:
    """What was written, the `window` of `buffer`. A call that fails leaves what NumPy leaves."""
    try:
        return evaluate(row, spec, data, window)
    except BaseException as error:
        if buffer is None and isinstance(error, Exception):
            buffer = _half_written(base, row, spec, data)
        if buffer is not None:
            repoint(base, Value(leaf(buffer), buffer), spent)
        raise


def _half_written(base: Handle, row: Op, spec: Spec, data: Sequence[Any]) -> Any:
    """What a call that fails leaves in the array; None if it changes nothing.

    `np.round(z, out=x)` of complex `z` writes the real parts, then finds no place for the others.
    """
    memory = force(base._value)
    copy = clone(memory)
    with suppress(Exception):
        evaluate(row, spec, data, copy)
    return None if copy.tobytes() == memory.tobytes() else copy


def _write_view(
    target: Handle, row: Op, node: Node, data: Sequence[Any], buffer: Any, spent: Value | None
) -> Any:
    """Write through a view: the call on the view's elements, then an assignment to the base."""
    assign = OPS["assign"]
    base = root_of(target)
    path = tuple((s.op, s.params) for s in target._path)
    spec = Spec(assign.name, (("path", path),), 2, assign.version)
    whole = Node(spec, (base._value.node, node))
    window = open_window(buffer, path)
    _evaluated(base, row, node.spec, data, window, buffer, spent)
    repoint(base, Value(whole, buffer), spent)
    return target if node.spec.out is not None else None


def _write_plain(target: Any, row: Op, spec: Spec, inputs: Sequence[Any], shown: Any = None) -> Any:
    """The written array is a plain one: NumPy writes it, its owner sees it."""
    refuse("it writes into an array that is no argument")
    data = forced(inputs)
    evaluate(row, spec, data, target)
    return (target if shown is None else shown) if spec.out is not None else None


def assign_attribute(array: Any, name: str, item: Any) -> None:
    """Assign the shape or the dtype; NumPy has methods for that since 2.5, and warns otherwise."""
    method = getattr(array, f"_set_{name}", None)
    if method is None:
        setattr(array, name, item)
    else:
        method(item)


def set_in_place(a: Handle, row: Op, setting: Any) -> None:
    """`a.shape = setting` or `a.dtype = setting`, which `row` gives as a view.

    The handle itself becomes another view, or gets its elements in another form.
    """
    (name,) = [n for n in ("shape", "dtype") if n in row.params]
    value = value_of(a)
    data = force(value)
    refuse(f"it sets the {name} of an array")
    rivals = root_of(a)._rivals
    if type(rivals) is Guard:
        rivals()
    if not isinstance(data, np.ndarray) or (is_outside(a) and root_of(a) is a):
        assign_attribute(data, name, setting)  # of a scalar NumPy refuses it
        return
    found = evaluate(row, Spec(row.name, ((name, setting),), 1), [data])
    if not np.shares_memory(found, data) and data.nbytes:
        raise AttributeError(
            "incompatible shape for in-place modification; use .reshape() to make a copy"
        )
    spec = Spec(row.name, ((name, getattr(found, name)),), 1, row.version)
    if a._base is not None:
        a._path = (*a._path, spec)
        a._value = apply(row, spec, (value,))
        return
    if any(user.root is value for user in live_users(value)):
        raise UnsupportedError(
            f"the {name} of a traced array that has views cannot be set; "
            f"make another array by a.reshape(...) or a.view(...)"
        )
    a._value = Value(Node(spec, (value.node,)), found)
    a._value.shared, a._value.given = value.shared, value.given


def repoint(target: Handle, value: Value, spent: Value | None) -> None:
    """Let `target` point to `value`; `spent` is the old value whose buffer was written."""
    if spent is not None:
        for user in live_users(spent):
            if user.root is spent:
                user.data = None  # a view of the old state; its handle derives it again
        spent.data = None
        if type(spent) is Borrowed:
            value = Borrowed(value.node, value.data)
        value.given = spent.given
    target._value = value


def detach(value: Value) -> None:
    """Compute what waits to read the buffer of `value`, which is about to be written.

    What waits for that in turn, elementwise, is computed along with it: one pass instead of many.
    """
    if value.users is None:
        return
    tops = _tops(value)
    while tops:
        force(tops.pop())
    for item in _waiting(live_users(value)):
        force(item)  # what waited for it was found in the cache, and did not compute it


def _tops(value: Value) -> list[Pending]:
    """What waits to read the buffer of `value`, or for that in turn, and nobody waits for."""
    waiting = _waiting(live_users(value))
    seen = set(waiting)
    tops: list[Pending] = []
    while waiting:
        item = waiting.pop()
        above = [user for user in _waiting(live_users(item)) if user.row.inner is not None]
        if not above:
            tops.append(item)
        waiting.extend([user for user in above if user not in seen])
        seen.update(above)
    return tops


def _waiting(users: list[Value]) -> list[Pending]:
    return [u for u in users if isinstance(u, Pending) and u.data is None and u.root is None]


def _is_lent(value: Value) -> bool:
    """Whether the buffer is an argument's own, which is written after all that waits for it."""
    if type(value) is not Borrowed or not value.data.flags.writeable:
        return False
    detach(value)
    return True


def is_private(value: Value) -> bool:
    """Whether nothing but the handle, and views of it that are derived again, sees the buffer."""
    data = value.data
    if value.shared or type(data) is not np.ndarray or data.base is not None:
        return False
    if not data.flags.writeable:
        return False
    return not any(
        user.data is None or (user.root is value and user.shared) for user in live_users(value)
    )


def share(a: Handle) -> np.ndarray[Any, Any]:
    """The memory of `a`, for plain code that may read and write it from now on.

    `a` and its base mean that memory afterwards: they are read anew at each use. What else sees
    the buffer, such as the cache, keeps it to itself; `a` then moves to a copy.
    """
    refuse("it shares the memory of an array")
    root = root_of(a)
    if root._rivals is not None:
        root._rivals()
    if not is_outside(root):
        value = root._value
        data = force(value)
        if type(data) is not np.ndarray:
            raise BufferError(f"a {type(data).__name__} has no memory to share; use copy=None")
        detach(value)
        mine = is_private(value) or type(value) is Borrowed
        memory = data if mine else clone(data)
        known(memory, value.node)
        release(root, memory)
    window = value_of(a).data
    if locked(a) and window.flags.writeable:
        window = window.view()
        window.setflags(write=False)
    return window  # type: ignore[no-any-return]


def kept(x: Any) -> Any:
    """`x`, and what lists and tuples in it hold, as an array of Python objects keeps it.

    Who keeps an array sees what is written to it later, so its memory is shared.
    """
    if isinstance(x, Handle):
        if type(force(value_of(x))) is not np.ndarray:
            return x
        memory = share(x)
        give(memory, x, value_of(x))  # as an element it is `x` again
        return memory
    if type(x) not in (list, tuple):
        return x
    items = list(each(kept, x))
    return x if all(a is b for a, b in zip(items, x, strict=True)) else type(x)(items)


def lent(x: Any) -> Any:
    """`x` with the memory of each traced array in its place, shared from now on."""
    if isinstance(x, Handle):
        return share(x) if type(force(value_of(x))) is np.ndarray else value_of(x).data
    if type(x) in (list, tuple):
        return type(x)(each(lent, x))
    return dict(zip(x, each(lent, x.values()), strict=True)) if type(x) is dict else x


def refuse_readonly(target: Handle) -> None:
    """Raise what NumPy raises for a write into a read-only array or a scalar."""
    if locked(target):
        raise ValueError("assignment destination is read-only")
    part = root_of(target)._rivals
    if part is not None:
        part()
    kind = type(target._value.data)
    if kind is np.void and target._base is not None:
        return  # one record of an array, which is a view of it
    if kind is not np.ndarray and issubclass(kind, np.generic):
        raise TypeError(f"a {kind.__name__} is a scalar, not an array that can be written")
