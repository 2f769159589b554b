"""Lineage: what was computed from what, as immutable nodes with 128-bit content digests.

A node never holds array data (design decision D5). Its digest is xxh3-128 over the byte encoding
of `docs/digest.md`; two nodes with equal digests stand for equal bits in one numeric environment.
All walks are iterative: a chain of a million operations is an ordinary lineage.
"""

from __future__ import annotations

import functools
import itertools
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from xxhash import xxh3_128_digest

from lima.errors import NotCanonical
from lima.nesting import each
from lima.places import Line, line_of, stand

ENCODING_VERSION = 1
"""Version of the byte encoding; it begins every digest, so a change forgets old digests."""

LEAF = "leaf"
"""Name of the operation of a node whose bytes came from outside."""

OUTPUT = "output"
"""Name of the operation that picks one item (`index`) of a call with several results."""

Param = Any
"""A canonical parameter: see `encode` for the types that have an encoding."""


class Ref:
    """The place of input `index` of a node inside one of its parameters."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __repr__(self) -> str:
        return f"@{self.index}"

    def __eq__(self, other: object) -> bool:
        return type(other) is Ref and other.index == self.index

    def __hash__(self) -> int:
        return hash((Ref, self.index))


class Unique:
    """Stands for an object without canonical encoding: its digest equals no other (a sure miss)."""

    __slots__ = ("token", "what")

    def __init__(self, what: str = "object", token: bytes | None = None) -> None:
        self.what = what
        self.token = os.urandom(16) if token is None else token

    def __repr__(self) -> str:
        return f"unique({self.what!r}, {self.token.hex()!r})"


# --------------------------------------------------------------------------- byte encoding

_u32 = struct.Struct("<I").pack
_f64 = struct.Struct("<d").pack
_c128 = struct.Struct("<dd").pack


def _encode_int(x: int) -> bytes:
    raw = x.to_bytes((x.bit_length() + 8) // 8, "little", signed=True)
    return b"i" + _u32(len(raw)) + raw


def _encode_text(tag: bytes, raw: bytes) -> bytes:
    return tag + _u32(len(raw)) + raw


def _encode_items(tag: bytes, items: Sequence[Param]) -> bytes:
    parts = []
    for item in items:
        if type(item) in _NESTING:
            parts = each(encode, items)
            break
        parts.append(encode(item))
    return tag + _u32(len(items)) + b"".join(parts)


_NESTING = frozenset({tuple, list, dict})


def _encode_pair(pair: tuple[Any, Any]) -> bytes:
    return encode(pair[0]) + encode(pair[1])


def _encode_dict(x: dict[Any, Any]) -> bytes:
    parts = sorted(each(_encode_pair, x.items()))
    return b"{" + _u32(len(parts)) + b"".join(parts)


PLAIN_DTYPES = {id(np.dtype(c)): np.dtype(c).str for c in "?bhilqBHILQefdFD"}
"""Spellings of NumPy's own dtype objects, which live for ever."""


def dtype_text(dtype: np.dtype[Any]) -> str:
    """The spelling of `dtype` that identifies it: byte order, kind, size, fields, offsets, units.

    >>> dtype_text(np.dtype("float64")), dtype_text(np.dtype([("a", "<i2"), ("b", "f4", (2,))]))
    ('<f8', "[('a', '<i2'), ('b', '<f4', (2,))]")
    """
    known = PLAIN_DTYPES.get(id(dtype))
    if known is not None:
        return known
    if dtype.hasobject:
        raise NotCanonical(f"dtype {dtype} holds Python objects, whose bytes are only addresses")
    if dtype.metadata:
        raise NotCanonical(f"dtype {dtype} carries metadata, which has no canonical encoding")
    try:
        if dtype.subdtype is not None:
            return str((dtype_text(dtype.base), dtype.shape))
        text = dtype.str if dtype.names is None else str(dtype.descr)
        same = np.dtype(text if dtype.names is None else dtype.descr) == dtype
    except (TypeError, ValueError):
        same = False
    if not same:
        raise NotCanonical(f"dtype {dtype} is not spelled by its own description")
    return text


def _encode_scalar(x: np.generic) -> bytes:
    return b"n" + encode(dtype_text(x.dtype)) + _encode_text(b"b", x.tobytes())


def layout_of(a: np.ndarray[Any, Any]) -> str | tuple[int, ...]:
    """Memory order of `a`: "C", "F", or its strides in bytes; these and a 1 if it is not aligned.

    Kernels look at strides (a BLAS call with another leading dimension may round differently), so
    the layout is part of a leaf's digest. What is not aligned is added up by pieces of a buffer. A
    single element with a negative stride is taken for a vector with gaps (`np.arcsinh(x[0::-2])`).

    >>> a = np.zeros((3, 4))
    >>> layout_of(a), layout_of(a.T), layout_of(a[:, ::2])
    ('C', 'F', (32, 16))
    """
    flags = a.flags
    if not flags.aligned:
        return (*a.strides, 1)
    if flags.c_contiguous:
        return "C" if a.size != 1 or min(a.strides, default=0) >= 0 else a.strides
    return "F" if flags.f_contiguous else a.strides


_LONG = np.dtype(np.longdouble).itemsize
_LONG_USED = 10 if np.finfo(np.longdouble).nmant == 63 else _LONG


def content_bytes(a: np.ndarray[Any, Any]) -> Any:
    """A C-contiguous buffer of the elements of `a`: its own memory where that is possible.

    Extended-precision numbers have bytes that mean nothing; they are left out.
    """
    if _LONG_USED < _LONG and a.dtype.kind in "fc" and a.dtype.char in "gG" and a.size:
        turned = a.flags.f_contiguous and a.flags.aligned and not a.flags.c_contiguous
        words = (a.T if turned else a).ravel().view(np.uint8).reshape(-1, _LONG)
        return np.ascontiguousarray(words[:, :_LONG_USED]).reshape(-1)
    if a.flags.c_contiguous:
        flat = a
    else:
        flat = a.T if a.flags.f_contiguous and a.flags.aligned else np.ascontiguousarray(a)
    return flat.reshape(-1).view(np.uint8) if flat.dtype.itemsize and flat.size else b""


def _encode_array(x: np.ndarray[Any, Any]) -> bytes:
    head = encode((dtype_text(x.dtype), x.shape, layout_of(x)))
    return b"a" + head + xxh3_128_digest(content_bytes(x))


ENCODERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda x: b"N",
    bool: lambda x: b"T" if x else b"F",
    int: _encode_int,
    float: lambda x: b"f" + _f64(x),
    complex: lambda x: b"c" + _c128(x.real, x.imag),
    str: lambda x: _encode_text(b"s", x.encode("utf-8", "surrogatepass")),
    bytes: lambda x: _encode_text(b"b", x),
    tuple: lambda x: _encode_items(b"(", x),
    list: lambda x: _encode_items(b"[", x),
    dict: _encode_dict,
    slice: lambda x: b":" + encode(x.start) + encode(x.stop) + encode(x.step),
    type(Ellipsis): lambda x: b".",
    Ref: lambda x: b"@" + _u32(x.index),
    Unique: lambda x: b"u" + x.token,
    np.ndarray: _encode_array,
}


def encode(x: Param) -> bytes:
    """The canonical bytes of a parameter or literal.

    Types are told apart (`1`, `1.0`, `True` and `np.float64(1)` differ, as NEP 50 treats them
    differently), floats go by their bits (so `-0.0` is not `0.0` and NaN equals itself).
    Raises NotCanonical for a type without an encoding.

    >>> encode(1) != encode(1.0) != encode(True)
    True
    """
    encoder = ENCODERS.get(type(x))
    if encoder is not None:
        return encoder(x)
    if issubclass(type(x), np.generic):
        return _encode_scalar(x)
    if isinstance(x, np.dtype):
        return b"d" + encode(dtype_text(x))
    if isinstance(x, type) and issubclass(x, np.generic):
        return b"d" + encode(dtype_text(np.dtype(x)))
    raise NotCanonical(f"{type(x).__module__}.{type(x).__qualname__} has no canonical encoding")


# --------------------------------------------------------------------------- specs and nodes


def _encode_params(params: tuple[tuple[str, Param], ...]) -> bytes:
    """`encode(params)`, without the care that deep nesting takes."""
    text = b"(" + _u32(len(params))
    for name, value in params:
        text += b"(" + _u32(2) + encode(name) + encode(value)
    return text


class Spec:
    """One operation with its parameters; `prefix` is the part of the digest that they decide.

    The first `npos` inputs are passed by position; the others stand where a `Ref` names them.
    `out` is the place of the input whose memory the call writes, if it writes one. Asking for the
    prefix of a spec with a parameter that has no encoding raises NotCanonical.
    """

    __slots__ = ("_fixed", "_prefix", "npos", "op", "out", "params", "version")

    def __init__(
        self,
        op: str,
        params: tuple[tuple[str, Param], ...] = (),
        npos: int | None = None,
        version: int = 1,
    ) -> None:
        self.op = op
        self.params = params
        self.npos = npos
        self.version = version
        self.out: Ref | None = self.get("out") if params else None
        self._prefix: bytes | None = None
        self._fixed: dict[str, Param] | bool | None = False

    def kwargs(self, inputs: Any) -> dict[str, Param]:
        """The parameters as keyword arguments, every `Ref` replaced by the input that it names."""
        fixed = self._fixed
        if fixed is False:
            named = {k: v for k, v in self.params if k != "alias"}
            fixed = self._fixed = named if next(iter(refs_in(named)), None) is None else None
        if fixed is None:
            return {k: resolve(v, inputs) for k, v in self.params if k != "alias"}
        return fixed  # type: ignore[return-value]

    @property
    def prefix(self) -> bytes:
        """The bytes that begin the digest of every node of this spec."""
        if self._prefix is None:
            self._prefix = (
                b"lima"
                + bytes((ENCODING_VERSION,))
                + encode(self.op)
                + _u32(self.version)
                + _encode_params(self.params)
            )
        return self._prefix

    def get(self, name: str, default: Param = None) -> Param:
        """The value of parameter `name`, or `default` where it is not given."""
        for key, value in self.params:
            if key == name:
                return value
        return default

    def __repr__(self) -> str:
        inner = ", ".join(f"{k}={v!r}" for k, v in self.params)
        return f"{self.op}({inner})"


class Node:
    """One step of a lineage: a spec applied to inputs (nodes, or literals with an encoding).

    `digest` and `height` are computed when first asked for. `outcome` says how the value was got in
    this process (see `lima.explain`); it is no part of the identity. `name` is the name of a leaf.
    `derived` is the node of the operations that gave the bits where a rule stood in for this one,
    and `inexact` says that there is such a node here or among the ancestors. `place` numbers the
    user's line that made it, where lines are recorded (`record_lines`); it is no part of the
    identity either. `mark` belongs to `lima.spools`, which keeps what came before in columns.
    """

    __slots__ = (
        "_digest", "_height", "_inputs", "derived", "inexact", "mark", "name", "outcome", "place",
        "spec",
    )  # fmt: skip

    def __init__(self, spec: Spec, inputs: tuple[Any, ...] = ()) -> None:
        self.spec = spec
        self._inputs: Any = inputs
        self._digest: bytes | None = None
        self._height = 0
        self.outcome: Any = None
        self.name: str | None = None
        self.derived: Node | None = None
        self.inexact = False
        self.place = 0
        self.mark = 0

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Nodes and literals; of a node whose ancestors are wound up they are made again."""
        items = self._inputs
        return items if type(items) is tuple else items.inputs_of(self)

    @inputs.setter
    def inputs(self, items: tuple[Any, ...]) -> None:
        self._inputs = items

    @property
    def digest(self) -> bytes:
        """16 bytes that identify the computation."""
        return self._digest or _finish(self)

    @property
    def height(self) -> int:
        """1 + the largest height of an input; leaves have height 1."""
        if self._digest is None:
            _finish(self)
        return self._height

    @property
    def is_leaf(self) -> bool:
        return self.spec.op == LEAF

    @property
    def line(self) -> Line | None:
        """The user's line that first asked for this operation, if it was recorded."""
        return line_of(self.place)

    def __repr__(self) -> str:
        label = f" {self.name!r}" if self.name else ""
        return f"<Node {self.spec!r}{label} of {len(self.inputs)} inputs>"


def new_node(spec: Spec, inputs: tuple[Any, ...]) -> Node:
    """`Node(spec, inputs)`, at less cost where this module is compiled."""
    global _left
    node = Node.__new__(Node)
    node.spec = spec
    node._inputs = inputs
    node._digest = None
    node._height = 0
    node.outcome = None
    node.name = None
    node.derived = None
    node.inexact = False
    node.place = stand() if _records else 0
    node.mark = 0
    _left -= 1
    if _left <= 0:
        _left = _grown(node)
    return node


def _never(node: Node) -> int:
    return 1 << 30


_grown: Callable[[Node], int] = _never
_left = 0


def when_grown(notice: Callable[[Node], int]) -> None:
    """Have `notice` called with a new node, after as many of them as it said the last time."""
    global _grown, _left
    _grown, _left = notice, 0


_owed = 0


def hasten() -> None:
    """Have the notice come with the next node already."""
    global _left, _owed
    if _left > 1:
        _left, _owed = 1, _left - 1


def owed() -> int:
    """How many nodes before its time a notice has come."""
    global _owed
    rest, _owed = _owed, 0
    return rest


_records = False
_large = True


def record_lines(every: bool, large: bool) -> None:
    """Whether every node remembers the user's line that made it, or at least those of much work."""
    global _records, _large
    _records, _large = every, every or large


def large_line() -> int:
    """The `place` of an operation of much work; 0 where lines are not recorded."""
    return stand() if _large else 0


def _finish(root: Node) -> bytes:
    """Fill in digest and height of `root` and of every ancestor that lacks them."""
    stack = [root]
    push, pop = stack.append, stack.pop
    while stack:
        node = stack[-1]
        if node._digest is not None:
            pop()
            continue
        spec = node.spec
        text = spec._prefix or spec.prefix
        height = 0
        waiting = inexact = False
        items = node._inputs
        if type(items) is not tuple:
            lacking = items.lacking()
            if lacking:
                stack += lacking
            else:
                items.finish(node)
                pop()
            continue
        for item in items:
            if type(item) is Node:
                below = item
                digest = below._digest
                if digest is None:
                    push(below)
                    waiting = True
                elif not waiting:
                    text += b"#" + digest
                    if below._height > height:
                        height = below._height
                    if below.inexact:
                        inexact = True
            elif not waiting:
                text += encode(item)
        if not waiting:
            node._height = height + 1
            node.inexact = node.inexact or inexact
            node._digest = xxh3_128_digest(text)
            pop()
    assert root._digest is not None
    return root._digest


def leaf(a: np.ndarray[Any, Any] | np.generic, name: str | None = None) -> Node:
    """The node of an array that came from outside, identified by all of its bytes.

    dtype, shape, memory order and every element enter the digest; nothing is sampled. An array
    of Python objects has no canonical bytes: it gets an identity of its own (a sure miss).

    >>> leaf(np.zeros(3)).digest == leaf(np.zeros(3)).digest != leaf(np.zeros((3, 1))).digest
    True
    """
    scalar = isinstance(a, np.generic)
    arr: np.ndarray[Any, Any] = np.asarray(a)
    try:
        kind = dtype_text(arr.dtype)
        content = xxh3_128_digest(content_bytes(arr))
    except NotCanonical:
        kind, content = str(arr.dtype), Unique("object array").token
    layout: Param = "scalar" if scalar else layout_of(arr)
    spec = _leaf_spec(kind, arr.shape, layout)
    node = Node(spec)
    node._digest = xxh3_128_digest(spec.prefix + content)
    node._height = 1
    node.name = name
    return node


@functools.lru_cache(maxsize=4096)
def _leaf_spec(kind: str, shape: tuple[int, ...], layout: Param) -> Spec:
    """The spec of a leaf, shared between those of one form: its bytes are written once."""
    return Spec(LEAF, (("dtype", kind), ("shape", shape), ("layout", layout)))


def leaf_with(
    digest: bytes, dtype: str, shape: tuple[int, ...], layout: Param, name: str | None = None
) -> Node:
    """A leaf known by its digest alone, as a log records it."""
    node = Node(Spec(LEAF, (("dtype", dtype), ("shape", shape), ("layout", layout))))
    node._digest = digest
    node._height = 1
    node.name = name
    return node


def refs_in(value: Param) -> Iterable[Ref]:
    """The input places inside a parameter, in order."""
    kind = type(value)
    if kind is Ref:
        return (value,)
    if kind is dict:
        value = list(value.values())
    elif kind is not tuple and kind is not list:
        return ()
    return itertools.chain.from_iterable(each(refs_in, value)) if value else ()


def resolve(value: Param, inputs: tuple[Any, ...] | list[Any]) -> Any:
    """`value` with every `Ref` replaced by the input that it names."""
    kind = type(value)
    if kind is Ref:
        return inputs[value.index]
    if kind is tuple:
        return tuple(each(functools.partial(resolve, inputs=inputs), value))
    if kind is list:
        return each(functools.partial(resolve, inputs=inputs), value)
    if kind is dict:
        items = each(functools.partial(resolve, inputs=inputs), value.values())
        return dict(zip(value, items, strict=True))
    return value
