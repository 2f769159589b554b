"""Records of calls as text and arrays, and back: what a store keeps of a whole call.

The text is JSON of a closed set of words (`lima.plainly`); arrays lie beside it. Whatever has no
words here, such as an object of a class of the user's, keeps its record in memory.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from lima import kept
from lima.errors import NotCanonical
from lima.graph import settled
from lima.handle import value_of
from lima.kept import Box, Kept, Record, Term
from lima.keys import Scan
from lima.node import Node, Spec
from lima.objects import Broken
from lima.op import OPS, Kind
from lima.ops.random import generator_in
from lima.placeholders import remember, stand_in, stated, unfolded
from lima.plainly import FAULTS, natural, read_words, words_of
from lima.store import Store
from lima.unread import Unread
from lima.walk import assign, layout_of

FORMAT = 1
"""Version of the text; records of another one are not looked for."""

MAX_TEXT = 1 << 22
"""Bytes of the longest text."""

BLANKS: dict[str, Callable[[], Any]] = {"list": list, "dict": dict, "OrderedDict": OrderedDict}
"""Containers that a text may hold. Not sets: their order differs from process to process."""

_BY_PLACE: dict[str, Callable[..., Any]] = {
    "box": kept._box_term,
    "argument": kept._argument_term,
    "view": kept._view_term,
    "new view": kept._new_view_term,
    "given box": kept._given_box,
    "given tuple": kept._given_tuple,
    "given array": kept._given_array,
    "given generator": kept._given_generator,
}
_BY_PLACE_AND_FLAG: dict[str, Callable[..., Any]] = {
    "array": kept._array_term,
    "fresh": kept._fresh_term,
}
_WORDS = {make: word for word, make in (_BY_PLACE | _BY_PLACE_AND_FLAG).items()}


# --------------------------------------------------------------------------- writing


def written(record: Record) -> tuple[bytes, tuple[Any, ...], tuple[Node, ...]]:
    """Text, arrays, and the nodes whose lineage goes with them; raises NotCanonical."""
    held = [k.node for k in record.kept]
    nodes = unfolded(settled(held)) if any(n.inexact for n in held) else held
    arrays = tuple(k.data for k in record.kept if type(k.data) is np.ndarray)
    spelled = {
        "seconds": words_of(record.seconds),
        "kept": [
            [
                k.node.digest.hex(),
                k.node.height,
                node.digest.hex(),
                None if type(k.data) is np.ndarray else words_of(k.data),
            ]
            for k, node in zip(record.kept, nodes, strict=True)
        ],
        "recast": sorted(record.recast),
        "boxes": [[_blank(b.blank), [*map(_term, b.items)], b.names] for b in record.boxes],
        "views": [[_term(t), [*map(_spec, path)], locked] for t, path, locked in record.views],
        "result": _term(record.result),
        "written": record.written,
        "changed": [[k, [*map(_term, items)], names] for k, items, names in record.changed],
        "generators": [
            [k, words_of(state), None if node is None else [node.digest.hex(), node.height]]
            for k, state, node in record.generators
        ],
    }
    try:
        text = json.dumps(spelled, allow_nan=False).encode()
    except (ValueError, TypeError) as error:  # an integer of thousands of digits
        raise NotCanonical(str(error)) from None
    if len(text) > MAX_TEXT:
        raise NotCanonical("more numbers and text than a store holds beside arrays")
    drawn = [node for _, _, node in record.generators if node is not None]
    return text, arrays, (*nodes, *drawn)


def _term(term: Term) -> list[Any]:
    make = term[0]
    if make is kept._plain_term:
        return ["plain", words_of(term[1])]
    if make is kept._tuple_term:
        return ["tuple", _tuple_name(term[1]), [*map(_term, term[2])]]
    if make not in _WORDS:
        raise NotCanonical("a frame of pandas, which a store cannot hold")
    return [_WORDS[make], *term[1:]]


def _tuple_name(kind: type) -> list[str] | None:
    if kind is tuple:
        return None
    name = [kind.__module__, kind.__qualname__]
    if _named_tuple(*name) is not kind:
        raise NotCanonical(f"a {'.'.join(name)}, which a store cannot hold")
    return name


def _named_tuple(module: str, name: str) -> Any:
    """A named tuple of NumPy's or SciPy's that this process has; None for anything else."""
    if module.partition(".")[0] not in ("numpy", "scipy"):
        return None
    kind = vars(sys.modules[module]).get(name) if module in sys.modules else None
    named = isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")
    return kind if named else None


def _blank(make: Callable[[], Any]) -> str:
    for name, known in BLANKS.items():
        if make is known:
            return name
    raise NotCanonical("an object of a class that a store cannot hold")


def _spec(spec: Spec) -> list[Any]:
    return [spec.op, words_of(spec.params), spec.npos, spec.version]


# --------------------------------------------------------------------------- reading


def read(text: Any, arrays: tuple[Any, ...], store: Store) -> Record:
    """The record that `written` spelled; raises Broken for any other text."""
    try:
        return _read(json.loads(text), list(arrays), store)
    except FAULTS as error:
        raise Broken(f"the record of a call is damaged: {error}") from None


def _read(spelled: dict[str, Any], arrays: list[Any], store: Store) -> Record:
    record = Record(_seconds(spelled["seconds"]))
    for digest, height, settled_as, number in spelled["kept"]:
        data = arrays.pop(0) if number is None else read_words(number)
        shown = data.blank() if type(data) is Unread else data
        if not isinstance(shown, np.ndarray | np.generic):
            raise Broken("a number in the place of an array")
        node = stand_in(_digest(digest), natural(height), shown, _digest(settled_as), store)
        record.kept.append(Kept(node, data))
    if arrays:
        raise Broken("arrays that nobody mentions")
    record.boxes = [
        Box(BLANKS[name], [*map(_read_term, items)], _names(names))
        for name, items, names in spelled["boxes"]
    ]
    record.views = [
        (_read_term(term), tuple(map(_read_spec, path)), locked is True)
        for term, path, locked in spelled["views"]
    ]
    record.result = _read_term(spelled["result"])
    record.written = [
        (natural(k), natural(place, len(record.kept))) for k, place in spelled["written"]
    ]
    record.changed = [
        (natural(k), [*map(_read_term, items)], _names(names))
        for k, items, names in spelled["changed"]
    ]
    record.generators = [_read_state(store, *parts) for parts in spelled["generators"]]
    return record


def _seconds(words: Any) -> float:
    found = read_words(words)
    if type(found) is not float or not 0.0 <= found < 1e12:
        raise Broken("no number of seconds")
    return found


def _digest(text: str) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != 16:
        raise Broken("no digest")
    return found


def _names(names: Any) -> list[str]:
    if type(names) is not list or any(type(name) is not str for name in names):
        raise Broken("no names")
    return names


def _read_term(spelled: list[Any]) -> Term:
    word, *rest = spelled
    if word == "plain":
        (value,) = rest
        return (kept._plain_term, read_words(value))
    if word == "tuple":
        name, items = rest
        kind: Any = tuple if name is None else _named_tuple(*name)
        if kind is None or (kind is not tuple and len(kind._fields) > len(items)):
            raise Broken(f"a tuple of the kind {name!r:.80}")
        return (kept._tuple_term, kind, [*map(_read_term, items)])
    if word in _BY_PLACE:
        (place,) = rest
        return (_BY_PLACE[word], natural(place))
    place, flag = rest
    return (_BY_PLACE_AND_FLAG[word], natural(place), flag is True)


def _read_spec(spelled: list[Any]) -> Spec:
    op, params, npos, version = spelled
    row = OPS[op]
    if row.kind is not Kind.VIEW or row.version != version:
        raise Broken(f"{op} makes no view")
    return Spec(op, read_words(params), npos if npos is None else natural(npos), version)


def _read_state(store: Store, k: Any, state: Any, node: Any) -> tuple[int, Any, Node | None]:
    """What a generator is left with. The state itself is its lineage until that is read."""
    found = read_words(state)
    generator_in(found)  # whether it is one
    if node is None:
        return natural(k), found, None
    digest, height = _digest(node[0]), natural(node[1])
    row = OPS["generator"]
    remember(digest, digest, store)
    spec = Spec(row.name, (("state", found),), 0, row.version)
    return natural(k), found, stated(spec, digest, height)


# --------------------------------------------------------------------------- fitting a call


def check(record: Record, scan: Scan, own: tuple[int, int, int]) -> None:
    """Raise Broken where the effects of a record could not be carried out on these arguments.

    `own`: how many boxes, arrays and generators the arguments hold.
    """
    boxes, arrays, generators = own
    for k, place in record.written:
        data, target = record.kept[place].data, value_of(scan.arrays[natural(k, arrays)])
        if (data.shape, data.dtype) != target.meta:
            raise Broken("it was written to an array of another form")
    for k, items, names in record.changed:
        box = scan.boxes[natural(k, boxes)]
        layout = layout_of(box)
        if layout is None or (layout.fields is None) != (not names):
            raise Broken("it changed an object of another kind")
        if layout.fields is None and layout.blank is not None:
            assign(layout.blank(), [object() for _ in items], [])
        if len(names) > len(items):
            raise Broken("it changed an object of another kind")
    for k, state, _ in record.generators:
        generator = scan.generators[natural(k, generators)]._generator
        bits = getattr(generator, "bit_generator", None) or generator._bit_generator
        if state["bit_generator"] != type(bits).__name__:
            raise Broken("it drew from another generator")
