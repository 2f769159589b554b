"""Large arrays of a call that was found in a store, before anybody has read them.

A program that is traced may find a call of which it uses one array of ten, or none, since what it
makes of them is found as well. Such an array waits as an operation does. It is read when its
elements are wanted; if its file has gone or is broken by then, it is computed by its recipe: the
operations that lead to it from the arguments of the call. So an array waits only if its recipe is
here before the program goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from lima.catalog import Stored
from lima.errors import StoreError
from lima.graph import topological
from lima.handle import Handle, is_outside
from lima.node import LEAF, OUTPUT, Node
from lima.objects import MAPPED_BYTES, Broken, Form, Part
from lima.op import Kind, Op
from lima.ops.of_scipy import row_of
from lima.plainly import FAULTS
from lima.replay import Run
from lima.store import SECONDS_A_BYTE, Store
from lima.upkeep import below
from lima.values import Foreign, Pending, Value, error_modes, new_pending, new_value

BYTES_A_NODE = 1 << 17
"""Bytes that are read, and compared, in the time that it takes to read a node of a recipe."""

MAX_DEPTH = 32
"""Operations in the longest chain of what waits that a recipe may begin with."""

MAX_HELD = 1 << 28
"""Bytes that may be kept for a recipe."""


class Unread:
    """One array of a found call: where it lies, and how it is made.

    found   its entry in the store, as if it were there by itself
    call    the entry of the call
    inputs  digests of the arguments that the recipe begins with
    plan    the operations of the recipe, operands before their users
    """

    __slots__ = ("call", "found", "inputs", "plan", "store")

    def __init__(
        self, store: Store, found: Stored, call: Stored, inputs: list[bytes], plan: list[Node]
    ) -> None:
        self.store = store
        self.found = found
        self.call = call
        self.inputs = inputs
        self.plan = plan

    @property
    def form(self) -> Form:
        return self.found.parts[0].form

    def blank(self) -> np.ndarray[Any, Any]:
        """An array of its form, but for the elements."""
        form = self.form
        one = np.zeros((), form.dtype)
        return np.lib.stride_tricks.as_strided(one, form.shape, form.strides, writeable=False)

    def value(self, node: Node, arrays: Iterable[Handle]) -> Value:
        """A value that waits to be read; `arrays` are those that the call was given.

        It is read at once where they are not what the recipe begins with. Raises Broken if that
        cannot be done.
        """
        made = self._waiting(node, at_hand(arrays))
        if made is None:
            data = self.read()
            if data is None:
                raise Broken("an array of it cannot be read")
            made = new_value(node, data)
        made.shared = True
        return made

    def _waiting(self, node: Node, given: dict[bytes, Value]) -> Value | None:
        if not given.keys() >= set(self.inputs):
            return None
        args = (self, *[given[digest] for digest in self.inputs])
        meta = self.form.shape, np.dtype(self.form.dtype)
        self.store.set_apart(self.found, self.call)
        made: Pending = new_pending(node, READ, args, meta, error_modes())
        return made if made.held <= MAX_HELD else None

    def read(self) -> Any:
        """The array, compared with what was written; None if there is trouble with it."""
        return self.store.read(self.found)

    def computed(self, data: tuple[Any, ...]) -> Any:
        """The array by its recipe, from the arguments."""
        known = {}
        for digest, x in zip(self.inputs, data, strict=True):
            if type(x) is np.ndarray:
                x = x.view()
                x.setflags(write=False)  # no operation of the recipe may take it for its own
            known[digest] = x
        root = self.plan[-1]
        numbers = {node.digest: k for k, node in enumerate(self.plan, 1)}
        leaves: Any = None  # it has none
        return Run(self.plan, [root], leaves, numbers, known).all()[root.digest]


def _kernel(unread: Unread, *data: Any, **form: Any) -> Any:
    found = unread.read()
    return unread.computed(data) if found is None else found


READ = Op(name="read", kernel=_kernel, kind=Kind.HEAVY, operands=())
"""What a value that waits to be read is said to be made by; no node and no log has it."""


def at_hand(arrays: Iterable[Handle]) -> dict[bytes, Value]:
    """The arrays that a recipe may begin with, by digest: they have the bits that it says.

    And they are told of who waits before they are written, which arrays of plain code are not.
    """
    found = {}
    for h in arrays:
        value = h._value
        if is_outside(h) or isinstance(value, Foreign) or value.node.inexact:
            continue
        if isinstance(value, Pending) and value.data is None and value.depth >= MAX_DEPTH:
            continue
        found[value.node.digest] = value
    return found


class Later:
    """Tells of the parts of a call which of them may wait: an array in the place of one, or None.

    `arrays` are those that the call was given.
    """

    def __init__(self, store: Store, found: Stored, arrays: Iterable[Handle]) -> None:
        self.store = store
        self.found = found
        self.nodes = {digest: value.node for digest, value in at_hand(arrays).items()}
        self.known = dict(self.nodes)
        self._names: list[bytes | None] | None = None

    def __call__(self, place: int, part: Part, text: Any) -> Unread | None:
        """`text`: the first part, which has been read."""
        if place == 0 or part.nbytes < MAPPED_BYTES or part.form.scalar:
            return None
        if self._names is None:
            self._names = _waiting(text)
        name = self._names[place - 1] if place <= len(self._names) else None
        plan = None if name is None else self.recipe(name, part.nbytes // BYTES_A_NODE)
        if name is None or not plan:
            return None
        inputs = dict.fromkeys(
            i.digest for node in plan for i in node.inputs
            if isinstance(i, Node) and i.digest in self.nodes
        )  # fmt: skip
        seconds = SECONDS_A_BYTE * part.nbytes  # the rest was saved by finding the call
        alone = Stored(name, self.found.env, "one", seconds, plan[-1].height, (part,))
        return Unread(self.store, alone, self.found, list(inputs), plan)

    def recipe(self, name: bytes, most: int) -> list[Node] | None:
        """The operations that make an array from the arguments; None if that cannot be told."""
        try:
            made = below(self.store, name, self.known, most)
        except (StoreError, self.store.catalog.error):
            return None
        plan = list(topological([made], lambda n: () if n.digest in self.nodes else n.inputs))
        plan = [node for node in plan if node.digest not in self.nodes]
        return plan if all(map(_can_run, plan)) else None


def _can_run(node: Node) -> bool:
    """Whether an operation can be run again."""
    if node.spec.op in (LEAF, OUTPUT):
        return node.spec.op == OUTPUT
    row = row_of(node.spec.op)
    return row is not None and row.version == node.spec.version


def _waiting(text: Any) -> list[bytes | None]:
    """The digest of each array of a call that may wait, in the order of its parts.

    Those may not that a rule had a part in, whose bits are not those of the digest; those that were
    stored with other strides than the operation gives; and what the call writes or gives as a plain
    array needs elements at once.
    """
    try:
        spelled = json.loads(text.tobytes())
        recast = spelled["recast"]
        boxes = [box[1] for box in (*spelled["boxes"], *spelled["changed"])]
        if spelled["written"] or _mentions([spelled["result"], boxes], "fresh"):
            return []
        return [
            bytes.fromhex(digest) if digest == settled and k not in recast else None
            for k, (digest, _, settled, number) in enumerate(spelled["kept"])
            if number is None
        ]
    except FAULTS:  # whoever reads it will say so
        return []


def _mentions(words: Any, word: str) -> bool:
    """Whether a word stands anywhere in nested lists."""
    return words == word or (type(words) is list and any(_mentions(one, word) for one in words))
