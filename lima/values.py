"""Values: data with its lineage, present or waiting to be computed (D4, D5)."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextvars import ContextVar
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from lima.node import Node, Spec
from lima.op import Meta, Op, owner
from lima.places import Place


class Value:
    """Data with its lineage.

    data     ndarray, NumPy scalar, tuple of these (multi-output call), or None while it waits
    root     the value whose buffer this is a view of; None if the buffer is its own
    shared   others may see the buffer (cache, caller): it is never written again
    given    code that is not traced may see it, and shall see what is written to it
    users    weak references to values that read this buffer (views, waiting operations)
    """

    __slots__ = ("__weakref__", "data", "given", "node", "root", "shared", "users")

    def __init__(self, node: Node, data: Any, root: Value | None = None) -> None:
        self._hold(node, data, root)

    def _hold(self, node: Node, data: Any, root: Value | None) -> None:
        self.node = node
        self.data = data
        self.root = root
        self.shared = False
        self.given = False
        self.users: list[weakref.ref[Value]] | None = None

    @property
    def meta(self) -> Meta:
        """Shape and dtype, whether or not the data has been computed."""
        return self.data.shape, self.data.dtype


def new_value(node: Node, data: Any) -> Value:
    """`Value(node, data)`, at less cost where this module is compiled."""
    value = Value.__new__(Value)
    value._hold(node, data, None)
    return value


def nodes_of(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """What a node holds for the inputs of an operation: the nodes of values, and literals."""
    found = []
    for i in inputs:
        if isinstance(i, Value):
            value = i
            found.append(value.node)
        else:
            found.append(i)
    return tuple(found)


class Foreign(Value):
    """A plain array met inside traced code: a leaf by its content now, which its owner may change.

    What uses it runs at once.
    """

    __slots__ = ()


class Borrowed(Value):
    """An argument's own memory: written where it lies, so that plain code sees it at once."""

    __slots__ = ()

    def __init__(self, node: Node, data: Any) -> None:
        super().__init__(node, data)
        self.shared = True


class Pending(Value):
    """A value that waits: `row` applied to `args` (values and literals) when first needed.

    size    number of its elements
    modes   what NumPy shall then do about floating point errors
    depth   operations that wait in the longest chain up to here
    held    bytes of computed operands that all of them keep alive
    handle  what the program has of it (weak reference); None if it never had anything
    folded  whether a reduction has read it without having it written; the next one writes it
    notes   what the planner found out about its structure
    spares  whether it, or what it waits for, is a product that what reads it may do without
    place   the user's line, for warnings (`places.Place`)
    """

    __slots__ = (
        "_meta", "args", "depth", "folded", "handle", "held", "modes", "notes", "place",
        "row", "size", "spares",
    )  # fmt: skip

    def __init__(self, node: Node, row: Op, args: Sequence[Any], meta: Meta) -> None:
        self._hold(node, None, None)
        self._wait(row, args, meta, error_modes())

    def _wait(self, row: Op, args: Sequence[Any], meta: Meta, modes: tuple[str, ...]) -> None:
        """The operands learn that they are waited for."""
        self.row = row
        self.args: Sequence[Any] | None = args
        self._meta = meta
        self.size: int = size_of(meta[0])
        self.handle: weakref.ref[Any] | None = None
        self.modes = modes
        self.folded = False
        self.notes: dict[Any, Any] | None = None
        self.place: Place | None = None
        depth = 0
        held = 0
        spares = row.spared is not None
        me: weakref.ref[Value] = weakref.ref(self)
        for arg in args:
            if not isinstance(arg, Value):
                continue
            value = arg
            root = value.root or value
            if value.data is not None:
                if not value.shared and root is value:
                    held += value.data.nbytes
            elif isinstance(value, Pending):
                below = value
                held += below.held
                spares = spares or below.spares
                if below.depth > depth:
                    depth = below.depth
            if root.users is None:
                root.users = [me]
            else:
                _add_user(root.users, me)
        self.depth: int = depth + 1
        self.held: int = held
        self.spares: bool = spares

    def arrive(self, data: Any) -> None:
        """It waits no longer, and lets go of what it waited for."""
        self.data = data
        self.args = None
        self.notes = None

    @property
    def meta(self) -> Meta:
        return self._meta if self.data is None else (self.data.shape, self.data.dtype)


def new_pending(
    node: Node, row: Op, args: Sequence[Any], meta: Meta, modes: tuple[str, ...]
) -> Pending:
    """`Pending(node, row, args, meta)` under `modes`, at less cost where this is compiled."""
    value = Pending.__new__(Pending)
    value._hold(node, None, None)
    value._wait(row, args, meta, modes)
    return value


def size_of(shape: tuple[int, ...]) -> int:
    """The number of elements of an array of this shape."""
    size = 1
    for n in shape:
        size *= n
    return size


_umath: Any = import_module("numpy._core.umath")
_errstate: ContextVar[Any] | None = getattr(_umath, "_extobj_contextvar", None)
_seen_modes: dict[Any, tuple[str, ...]] = {}
"""The modes of error states that were looked at; who holds one keeps its identity taken."""


def error_modes() -> tuple[str, ...]:
    """What NumPy does about floating point errors here, as `np.geterr()` orders it.

    NumPy keeps the error state in a context variable, as an object that never changes.
    """
    state = object() if _errstate is None else _errstate.get(None)
    modes = _seen_modes.get(state)
    if modes is None:
        modes = tuple([str(mode) for mode in np.geterr().values()])
        if len(_seen_modes) >= 16 or _errstate is None:
            _seen_modes.clear()
        _seen_modes[state] = modes
    return modes


_make_state: Any = getattr(_umath, "_make_extobj", None)
_errstate = None if _make_state is None else _errstate
_SILENCE: Any = None if _make_state is None else _make_state(all="ignore")


def hush() -> Any:
    """Begin `np.errstate(all="ignore")` here, at less cost; what it gives is for `unhush`."""
    if _errstate is None:
        return np.seterr(all="ignore")
    usual = _errstate.get(None) is None
    return _errstate.set(_SILENCE if usual else _make_state(all="ignore"))


def unhush(before: Any) -> None:
    """End what `hush` began."""
    if _errstate is not None:
        _errstate.reset(before)
    else:
        np.seterr(**before)


def watch(value: Value, user: Value) -> None:
    """Remember that `user` reads the buffer of `value`."""
    root = value.root or value
    if root.users is None:
        root.users = [weakref.ref(user)]
    else:
        _add_user(root.users, weakref.ref(user))


def _add_user(users: list[weakref.ref[Value]], user: weakref.ref[Value]) -> None:
    if len(users) >= 32 and len(users) & (len(users) - 1) == 0:
        users[:] = [ref for ref in users if ref() is not None]
    users.append(user)


def live_users(value: Value) -> list[Value]:
    """The values still alive that read the buffer of `value`."""
    found: list[Value] = []
    if value.users is not None:
        for ref in value.users:
            user = ref()
            if user is not None:
                found.append(user)
    return found


def tied(data: Any) -> Any:
    """A read-only view of `data` for code that must not write it; scalars as they are."""
    if type(data) is np.ndarray:
        data = data.view()
        data.setflags(write=False)
    return data


def aliased(row: Op, spec: Spec, inputs: Sequence[Any]) -> Spec:
    """`spec`, marked where two operands are one buffer (kernels may look; see `op._apart`)."""
    if len(inputs) == 2:
        a, b = inputs
        if not (isinstance(a, Value) and isinstance(b, Value)) or memory_of(a) is not memory_of(b):
            return spec
    else:
        roots = [id(memory_of(i)) for i in inputs if isinstance(i, Value)]
        if len(set(roots)) == len(roots):
            return spec
    if spec is row.spec:
        return _alias_spec(row)
    return Spec(row.name, (*spec.params, ("alias", True)), spec.npos, row.version)


def spec_for(row: Op, found: Any, x: Any, y: Any = None) -> Spec:
    """The spec of Python's operator, which computes complex scalars by code of its own.

    `found` is what it made of `x` and `y`. Elsewhere its bits are those of the row.
    """
    if row.scalars is None or isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        return row.spec
    return (
        row.scalars if np.complexfloating in (*type(found).__mro__, *type(x).__mro__) else row.spec
    )


def overlapping(
    spec: Spec, inputs: Sequence[Any], target: int = 0, most: int = 1, itself: bool = True
) -> Spec:
    """`spec` of a write into an input, marked where another one lies in the memory written.

    NumPy copies such a vector element by element, without looking at what it has overwritten; what
    has more than `most` axes it copies first. With `itself` false the very array that is written
    does not count, unless loops compute it by other means where it lies.
    """
    memory = memory_of(inputs[target])
    itself = itself or rounds_in_place(inputs[target])
    for k, i in enumerate(inputs):
        if k == target or not isinstance(i, Value) or len(i.meta[0]) > most:
            continue
        if i is inputs[target] and not itself:
            continue
        if memory_of(i) is memory:
            return Spec(spec.op, (*spec.params, ("alias", True)), spec.npos, spec.version)
    return spec


def rounds_in_place(value: Value) -> bool:
    """Whether a universal function may round otherwise when it writes what it reads.

    NumPy's vector loops for complex and half precision numbers are not for single elements, nor for
    arrays with gaps, that are written in place: `np.multiply(z, w, z)` is not `z * w`.
    """
    data = value.data
    dtype = value.meta[1] if data is None else data.dtype
    if dtype.char not in "FDe":
        return False
    return size_of(value.meta[0]) == 1 or not (type(data) is np.ndarray and data.flags.forc)


def memory_of(value: Value) -> Any:
    """What two values have in common that are one buffer in the plain program as well."""
    root = value.root or value
    return owner(root.data) if isinstance(root, (Foreign, Borrowed)) else root


@lru_cache(maxsize=256)
def _alias_spec(row: Op) -> Spec:
    return Spec(row.name, (("alias", True),), None, row.version)
