"""Pieces of Python source: literals, operators, calls of rows, helpers a program may need."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lima.errors import ReplayError
from lima.literal import NUMBERS
from lima.node import Node, Ref, Unique, content_bytes, dtype_text, layout_of
from lima.op import OPS, REQUIRED, Op
from lima.ops import by_rows, in_blocks, labelled, solutions, sparse_text, tall
from lima.ops.index import Path
from lima.ops.spelling import path
from lima.owned import AUGMENTED, AUGMENTING, UNWRITTEN, WINDOW
from lima.streams import Slot

PRIMARY, UNARY, COMPARISON = 9, 7, 0

LEVELS = {
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), (1, 1, COMPARISON)),
    **dict.fromkeys(("|",), (1, 2, 1)),
    **dict.fromkeys(("^",), (2, 3, 2)),
    **dict.fromkeys(("&",), (3, 4, 3)),
    **dict.fromkeys(("<<", ">>"), (4, 5, 4)),
    **dict.fromkeys(("+", "-"), (5, 6, 5)),
    **dict.fromkeys(("*", "/", "//", "%", "@"), (6, 7, 6)),
    **dict.fromkeys(("**",), (PRIMARY, UNARY, 8)),
}
"""Python's operators: how strongly left and right operand must bind, and how the result does."""

MAX_LISTED = 64
"""Elements of the largest array that is written as a list."""


class Text(str):
    """A piece of source with its level of precedence, and how it reads between brackets."""

    level: int
    inner: str

    def __new__(cls, text: str, level: int = PRIMARY, inner: str | None = None) -> Text:
        made = super().__new__(cls, text)
        made.level = level
        made.inner = text if inner is None else inner
        return made


Refer = Callable[[Any], Text]


def wrapped(text: Text, level: int) -> str:
    """`text`, in parentheses where it binds less than `level`."""
    return str(text) if text.level >= level else f"({text})"


def operator_text(sign: str, items: Sequence[Any], texts: Sequence[Text]) -> Text | None:
    """`a sign b`; None where the operator might not mean what the function does.

    Python itself would take an operator between two of its own numbers or containers, and turns a
    comparison with one of them on the left round.
    """
    plain = [not isinstance(item, Node | np.generic) for item in items]
    numbers = [type(item) in (bool, int, float, complex) for item in items]
    if all(plain) or any(p and not n for p, n in zip(plain, numbers, strict=True)):
        return None
    left, right, level = LEVELS[sign]
    if plain[0] and level == COMPARISON:
        return None
    return Text(f"{wrapped(texts[0], left)} {sign} {wrapped(texts[1], right)}", level)


# --------------------------------------------------------------------------- literals


def literal(value: Any, refer: Refer | None = None) -> Text:
    """`value` as source; `refer` gives the text of a `Ref` inside.

    >>> literal((slice(1, None), 0)), literal(np.float32(0.5)), literal(-0.0)
    ('np.s_[1:, 0]', 'np.float32(0.5)', '-0.0')
    """
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value, refer)
    if isinstance(value, np.generic):
        return _scalar(value)
    if isinstance(value, type) and issubclass(value, np.generic):
        value = np.dtype(value)
    if isinstance(value, np.dtype):
        return Text(dtype_source(value))
    raise ReplayError(f"{type(value).__qualname__} cannot be written as Python source")


def _int(x: int, refer: Refer | None = None) -> Text:
    return Text(str(x) if abs(x) < 10**18 else hex(x), PRIMARY if x >= 0 else UNARY)


def _float(x: float, refer: Refer | None = None) -> Text:
    if math.isinf(x):
        return Text("np.inf") if x > 0 else Text("-np.inf", UNARY)
    if x == x:
        return Text(repr(x), PRIMARY if math.copysign(1, x) > 0 else UNARY)
    bits = struct.unpack("<Q", struct.pack("<d", x))[0]
    if bits == 0x7FF8 << 48:
        return Text("np.nan")
    return Text(f"np.uint64({bits:#x}).view(np.float64).item()")


def _complex(x: complex, refer: Refer | None = None) -> Text:
    return Text(f"complex({_float(x.real)}, {_float(x.imag)})")


def _tuple(x: tuple[Any, ...], refer: Refer | None) -> Text:
    if any(type(item) is slice for item in x):
        inner = ", ".join(_between(item, refer) for item in x) + ("," if len(x) == 1 else "")
        return Text(f"np.s_[{inner}]", PRIMARY, inner)
    inner = ", ".join(literal(item, refer) for item in x) + ("," if len(x) == 1 else "")
    return Text(f"({inner})", PRIMARY, inner or "()")


def _between(item: Any, refer: Refer | None) -> str:
    """An item of an index as it is written between brackets."""
    if type(item) is not slice:
        return literal(item, refer)
    start, stop, step = (
        "" if e is None else literal(e, refer) for e in (item.start, item.stop, item.step)
    )
    return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


def _slice(x: slice, refer: Refer | None) -> Text:
    inner = _between(x, refer)
    return Text(f"np.s_[{inner}]", PRIMARY, inner)


def _list(x: list[Any], refer: Refer | None) -> Text:
    return Text(f"[{', '.join(literal(item, refer) for item in x)}]")


def _dict(x: dict[Any, Any], refer: Refer | None) -> Text:
    pairs = (f"{literal(k, refer)}: {literal(v, refer)}" for k, v in x.items())
    return Text("{" + ", ".join(pairs) + "}")


def _ref(x: Ref | Slot, refer: Refer | None) -> Text:
    if refer is None:
        raise ReplayError(f"{x!r} stands where no input can be named")
    return refer(x)


def _unique(x: Unique, refer: Refer | None) -> Text:
    raise ReplayError(f"a {x.what} that a log cannot hold takes part, so no program can be written")


def _scalar(x: Any) -> Text:
    kind = dtype_text(x.dtype)
    name = NUMBERS.get(kind)
    if type(x) is np.bool:
        return Text(f"np.bool({bool(x)})")
    if name is not None and kind[1] in "iu":
        return Text(f"np.{name}({int(x)})")
    if name is not None and kind[1] == "f" and (x == x or kind == "<f8"):
        return Text(f"np.{name}({_float(float(x))})")
    if x.dtype.kind == "c" and type(x)(complex(x)).tobytes() == x.tobytes():
        return Text(f"np.{x.dtype.name}({_complex(complex(x))})")
    if type(x) is np.longdouble and x == x:
        return Text(f"np.longdouble({str(x)!r})")
    if type(x) is np.str_:
        return Text(f"np.str_({str.__str__(x)!a})")
    if type(x) is np.bytes_:
        return Text(f"np.bytes_({bytes(x)!r})")
    if x.dtype.kind in "mM" and x.dtype.isnative and np.datetime_data(x.dtype)[0] != "generic":
        unit, size = np.datetime_data(x.dtype)
        given = repr(str(x)) if x.dtype.kind == "M" else str(x.astype(np.int64))
        return Text(f"np.{type(x).__name__}({given}, '{size if size > 1 else ''}{unit}')")
    if not x.itemsize:
        return Text(f"np.zeros((), {dtype_source(x.dtype)})[()]")
    return Text(f"np.frombuffer(bytes.fromhex('{x.tobytes().hex()}'), {dtype_source(x.dtype)})[0]")


def dtype_source(dtype: np.dtype[Any]) -> str:
    """`dtype` as source: `np.float64`, or `np.dtype(...)` for what has no name of its own.

    >>> dtype_source(np.dtype("f8")), dtype_source(np.dtype("M8[s]"))
    ('np.float64', "np.dtype('<M8[s]')")
    """
    text = dtype_text(dtype)
    if text in NUMBERS or dtype.kind == "b":
        return f"np.{NUMBERS.get(text, 'bool')}"
    return f"np.dtype({text if text[0] in '[(' else repr(text)})"


def _array(x: np.ndarray[Any, Any], refer: Refer | None = None) -> Text:
    layout, dtype = layout_of(x), dtype_source(x.dtype)
    listed = x.size and x.size <= MAX_LISTED and dtype_text(x.dtype) in NUMBERS
    if layout == "C" and listed and x.dtype.kind in "iuf" and np.isfinite(x).all():
        return Text(f"np.array({x.tolist()!r}, {dtype})")
    flat = f"np.frombuffer(bytes.fromhex('{bytes(content_bytes(x)).hex()}'), {dtype})"
    if not x.size or not x.itemsize:
        return Text(f"np.empty({x.shape!r}, {dtype})")
    if layout == "F":
        return Text(f"{flat}.reshape({x.shape[::-1]!r}).T")
    made = f"{flat}.reshape({x.shape!r})"
    return Text(made if layout == "C" else f"strided({made}, {layout!r})")


_WRITERS: dict[type, Callable[[Any, Refer | None], Text]] = {
    type(None): lambda x, refer: Text("None"),
    bool: lambda x, refer: Text(repr(x)),
    int: _int,
    float: _float,
    complex: _complex,
    str: lambda x, refer: Text(ascii(x)),
    bytes: lambda x, refer: Text(repr(x)),
    tuple: _tuple,
    list: _list,
    dict: _dict,
    slice: _slice,
    type(Ellipsis): lambda x, refer: Text("..."),
    Ref: _ref,
    Slot: _ref,
    Unique: _unique,
    np.ndarray: _array,
}


# --------------------------------------------------------------------------- calls


def call_text(row: Op, inputs: Sequence[Text], params: Mapping[str, Text]) -> str:
    """The call of `row` on inputs passed by position, written by the row or in the general form.

    A row that NumPy spells by no function takes elements (`index`) or is a draw of a generator.
    """
    primaries = [wrapped(text, PRIMARY) for text in inputs]
    if row.source is not None:
        return row.source(primaries, dict(params))
    given = dict(params)
    needed = [key for key, default in row.params.items() if default is REQUIRED]
    if row.calls and not row.operands and given.keys() >= {*needed}:
        inputs = [*inputs, *[given.pop(key) for key in needed]]  # `np.zeros((3,))`
    named = [f"{key}={text}" for key, text in given.items()]
    if row.threads_state is not None:
        draw = DRAWS.get(row.threads_state)
        if draw is not None:
            return draw(primaries, params)
        return f"{primaries[0]}.{row.threads_state}({', '.join([*inputs[1:], *named])})"
    if not row.calls and "index" in row.params:
        element = f"{primaries[0]}[{params['index'].inner if 'index' in params else '...'}]"
        return f"{element} = {inputs[1]}" if row.into is not None else element
    if not row.calls and list(row.params) == ["state"]:
        return f"generator({params['state']})"
    if row.variadic:
        inputs = [Text(f"[{', '.join(inputs)}]")]
    name = name_of(row)
    if name.startswith(METHOD):  # asked of the class, it would refuse a traced array
        return f"{primaries[0]}.{name.removeprefix(METHOD)}({', '.join([*inputs[1:], *named])})"
    return f"{name}({', '.join([*inputs, *named])})"


def view_text(
    base: Text,
    path: Path,
    inputs: list[Text],
    param: Callable[[Any, list[Text]], Text],
) -> Text:
    """The view of `base` that the view operations of a path lead to."""
    for op, given in path:
        shown = {key: param(value, inputs) for key, value in given}
        base = Text(call_text(OPS[op], [base], shown))
    return base


class Write(NamedTuple):
    """A call that writes: its row, how it is called, and which of its inputs it writes."""

    row: Op
    params: Sequence[tuple[str, Any]]
    npos: int | None
    places: tuple[int, ...]


def write_text(
    call: Write,
    inputs: Sequence[Text],
    same: Callable[[int, int], bool],
    param: Callable[[Any, list[Text]], Text],
    fresh: Callable[[], str],
) -> tuple[list[str], str]:
    """Assignments of views that need a name, and the call that writes what is meant.

    That is an input, or the view of it that `path` leads to; `same` tells whether two inputs are
    one value, `fresh` gives a name.
    """
    row, place = call.row, call.places[-1]
    texts, named, ahead = list(inputs), dict(call.params), []
    window, path = named.get(WINDOW), named.pop("path", None)
    if window is not None and not texts[window].isidentifier():
        view = Text(fresh())
        ahead.append(f"{view} = {texts[window]}")
        texts = [view if same(k, window) else text for k, text in enumerate(texts)]
    if window is not None and not named.get(AUGMENTED):
        texts[place] = texts[window]
    elif path:
        texts[place] = view_text(texts[place], path, texts, param)
        if row.into is not None and row.source is not None:  # a statement, such as `a **= b`
            view = Text(fresh())
            ahead.append(f"{view} = {texts[place]}")
            texts[place] = view
    written = {k: param(v, texts) for k, v in named.items() if k not in UNWRITTEN}
    if len(call.places) == 2:
        options = [f"{key}={text}" for key, text in written.items()]
        return (
            ahead,
            f"{texts[0]}.{row.threads_state}({', '.join([*texts[1 : call.npos], *options])})",
        )
    if window == 0 and row.infix in AUGMENTING and written.keys() == {"out"}:
        return ahead, f"{texts[place]} {row.infix}= {texts[1]}"
    return ahead, call_text(row, texts[: call.npos], written)


NOTED = 92
"""Characters of the longest line that gets a note of what it makes."""


def note_of(shape: tuple[int, ...], dtype: np.dtype[Any] | None) -> str:
    """What a comment says of an array: its shape, and its dtype if that is known, and not float64.

    >>> note_of((3, 4), np.dtype("f8")), note_of((2,), np.dtype("i4")), note_of((), np.dtype("f8"))
    ('(3, 4)', 'int32 (2,)', '')
    """
    if not shape:
        return ""
    if dtype is None or dtype == np.float64 or dtype.names:
        return str(shape)
    return f"{dtype.name} {shape}"


def noted(statement: str, note: str | None) -> str:
    """A statement with a comment of what it makes, if there is room."""
    text = f"{statement}  # {note}"
    return text if note and len(text) <= NOTED else statement


METHOD = "np.ndarray."

DRAWS: dict[str, Callable[[list[str], Mapping[str, Text]], str]] = {
    **{
        name: lambda inputs, params, name=name: (  # type: ignore[misc]
            f"{inputs[0]}.{name}({params['size'].inner.rstrip(',') if 'size' in params else ''})"
        )
        for name in ("rand", "randn")
    },
    "shuffle": lambda inputs, params: (
        f"shuffled({', '.join([*inputs, *[f'{k}={v}' for k, v in params.items()]])})"
    ),
}
"""Methods of generators that are not written as `rng.method(inputs, parameters)`."""


@functools.cache
def name_of(row: Op) -> str:
    """What the function of `row` is called in NumPy, such as `np.linalg.solve`."""
    if row.name.startswith("scipy."):
        return row.name
    for name in (row.name, *map(path, row.calls)):
        found: Any = np
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not None and any(found == call for call in (*row.calls, row.kernel)):
            return f"np.{name}"
    raise ReplayError(f"{row.name!r} has no spelling in NumPy alone")


# --------------------------------------------------------------------------- helpers

HELPERS: dict[str, Any] = {
    "clone": '''

def clone(a):
    """A copy of `a` with the same strides."""
    made = copy.deepcopy(a)
    return made if made.strides == a.strides else strided(a, a.strides)
''',
    "strided": '''

def strided(a, strides):
    """The elements of `a` in new memory with these strides (bytes), from one byte on."""
    strides, first = strides[: a.ndim], sum(strides[a.ndim :])
    reach = [s * (n - 1) for s, n in zip(strides, a.shape)]
    if a.size == 0:
        return a.copy()
    memory = np.zeros(first + sum(map(abs, reach)) + a.itemsize, np.uint8)
    start = first - sum(r for r in reach if r < 0)
    made = np.ndarray(a.shape, a.dtype, memory, start, strides)
    made[...] = a
    return made
''',
    "product_of_parts": '''

def product_of_parts(parts, b, widths):
    """`np.hstack(parts) @ b` without the joining; a number stands for a column of it."""
    total, rest, start = None, [], 0
    for part, width in zip(parts, widths):
        stretch = b[start : start + width]
        start += width
        if np.ndim(part) == 0:
            rest.append(stretch[0] if part == 1.0 else part * stretch[0])
            continue
        if np.ndim(part) == 1 and width == 1:
            term = part * stretch[0] if b.ndim == 1 else part[:, None] * stretch
        else:
            term = part @ stretch
        total = term if total is None else np.add(total, term, out=total)
    for term in rest:
        total = np.add(total, term, out=total)
    return total
''',
    "solve_again": '''

def solve_again(a, inverse, size, b):
    """`np.linalg.solve(a, b)` from an inverse, refined until only rounding errors are left."""
    limit = (len(a) + 8) * np.finfo(a.dtype).eps
    x = inverse @ b
    for _ in range(3):
        rest = b - a @ x
        if np.all(np.abs(rest) <= limit * (size @ np.abs(x) + np.abs(b))):
            return x
        x = x + inverse @ rest
    return np.full_like(x, np.nan)
''',
    "generator": '''

def generator(state):
    """A generator of random numbers in a known state."""
    names = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
    kinds = {name: getattr(np.random, name) for name in names}
    bits = kinds[state["bit_generator"]]()
    inner = {key: value for key, value in state.items() if key != "interface"}
    if state["interface"] == "RandomState":
        made = np.random.RandomState(bits)
        made.set_state(inner)
        return made
    bits.state = inner
    return np.random.Generator(bits)
''',
    "shuffled": '''

def shuffled(rng, x, **options):
    """A shuffled copy of `x`."""
    found = copy.deepcopy(x)
    rng.shuffle(found, **options)
    return found
''',
    **{
        function.__name__: function
        for module in (solutions, tall, in_blocks, by_rows, labelled)
        for function in module.HELPERS
    },
    **sparse_text.HELPERS,
}
"""What a program defines when it calls it, in the order in which it stands: text, or functions."""

NEEDS = {"clone": "strided", **solutions.NEEDS, **sparse_text.NEEDS}


def helper_text(name: str) -> str:
    """The text of a helper."""
    found = HELPERS[name]
    return found if type(found) is str else solutions.helper_text(found)
