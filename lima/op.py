"""The row type of the operation table, and the table.

Everything that lima knows of an operation stands in its row (`lima/ops/`): the NumPy spellings,
the kernel, how calls are bound to inputs and parameters, when it may wait, how source text is
written. No other module names an operation. Adding an operation is adding a row.
"""

from __future__ import annotations

import enum
import inspect
import operator
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import numpy as np

from lima.errors import InternalError, NotCanonical
from lima.nesting import each
from lima.node import PLAIN_DTYPES, Ref, Spec
from lima.pattern import Form, Rule

MISSING: Any = inspect.Parameter.empty
REQUIRED: Any = object()
"""Stands in `Op.params` for a parameter that NumPy does not do without."""

Meta = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and dtype of a result that has not been computed."""


SMALL = 32768
"""Additions up to which a light operation runs at once.

On a megabyte, which stays in the processor's cache, computing costs less than waiting, probing
and keeping do together."""


FUSED = 16384
"""Elements from which elementwise operations run together, in one pass over memory.

Below, temporaries stay in the processor's first caches, and putting a pass together costs more
than it saves. Measured by `bench` (mini-batches, the line search of a support vector machine)."""

FUSES = find_spec("lima.loops") is not None
"""Whether operations can run together: not where lima is not compiled."""


class Kind(enum.Enum):
    """How an operation is run (design decision D4)."""

    VIEW = "view"  # shares memory with its first input; costs nothing
    LIGHT = "light"  # elementwise or layout: waits until needed when its result is large
    HEAVY = "heavy"  # probes the cache and runs at the call
    EFFECT = "effect"  # runs at the call and is never kept (small draws, pass-through)


VIEW, LIGHT, HEAVY, EFFECT = Kind  # for hot paths: up to Python 3.11 `Kind.VIEW` is a slow call


class Fold(NamedTuple):
    """How a reduction takes the elements of a C-ordered array: `function` folds them.

    Without a function it takes whole rows, by its kernel.

    way     WHOLE all elements, DOWN the first axis, ALONG the last one
    shape   of the result; None for a scalar
    finish  makes the result of what was folded
    place   the function that gives an extreme, where the result is its place
    """

    function: np.ufunc | None
    way: int
    shape: tuple[int, ...] | None
    finish: Callable[[Any], Any] | None = None
    place: np.ufunc | None = None


WHOLE, DOWN, ALONG = range(3)  # as `loops.Way`


class BindError(TypeError):
    """The call does not fit the row; NumPy itself is asked, and answers or raises."""


class Op:
    """One operation: a row of the table, which nobody changes.

    `kernel(*operands, **params)` computes it on plain arrays.

    name        opcode of the log, statistics and digests
    kernel      plain NumPy computation; a NumPy function wherever one exists
    calls       NumPy callables that mean this operation with these argument names
    operands    names of the leading array arguments
    params      names and defaults of the other arguments; a value equal to its default is left out
    variadic    the first argument is a sequence of arrays
    readonly    NumPy gives this view read-only
    infer       shape and dtype of a result that waits; None where it must run at once
    form        how the result lies on its operands, for rules (`lima.pattern`)
    reach       which lines of the result hang on which of the operands (`lima.ops.reach`)
    rules       equations by which the result may be had from parts (`lima.pattern.Rule`)
    spared      shape and dtype of a heavy operation that had better wait, as a rule of what reads
                it may do without it; None where it runs at the call
    folds       how a reduction may take the elements of a value that waits, without writing it
    wrap        named-tuple type of a tuple result; `tuple` for a plain one; None for one array
    gives       a result may be an operand itself, as the edges of `np.histogram` are
    lenient     Python's operator answers for dtypes that the function refuses
    unboxes     for which first operand NumPy gives a number though `out=` has room for it, which is
                written as well; None where it gives `out`
    aliasing    the kernel may look at whether two operands are one buffer
    into        the argument that the call writes (`np.copyto`: "dst"); it re-points a handle
    threaded    the kernel takes `threads`, the most it may use
    threads_state  method of a generator: operand 0 is its state, item 1 of the result the new one
    source      writes the call as Python, given the texts of inputs and parameters
    infix       Python operator with this meaning, for readable source
    weight      work for one element, an addition being 1
    growth      work grows as this power of the number of operand elements
    inner       the function whose loop computes it from its first operands, for passes of several
                operations; or what tells it, given the operands. A ufunc's row has it by itself
    elides      the kernel can write into the buffer of an operand (derived)
    needs       some parameter has no default (derived)
    small       elements up to which a light result is neither looked up nor kept (derived)
    at_once     elements up to which a light operation need not ask whether to wait (derived)
    scalars     spec of the row that Python's operator is on complex scalars, whose bits differ
    version     enters the digest: a changed kernel forgets old values
    """

    __slots__ = (
        "aliasing", "at_once", "calls", "elides", "folds", "form", "gives", "growth", "infer",
        "infix", "inner", "into", "kernel", "kind", "lenient", "name", "names", "needs", "operands",
        "params", "reach", "readonly", "rules", "scalars", "small", "source", "spared", "spec",
        "threaded", "threads_state", "unboxes", "variadic", "version", "weight", "wrap",
    )  # fmt: skip

    def __init__(
        self,
        *,
        name: str,
        kernel: Callable[..., Any],
        kind: Kind,
        calls: tuple[Any, ...] = (),
        operands: tuple[str, ...] = ("a",),
        params: dict[str, Any] | None = None,
        variadic: bool = False,
        readonly: bool = False,
        infer: Callable[[Sequence[Any], Spec], Meta | None] | None = None,
        form: Callable[..., Form | None] | None = None,
        reach: Callable[..., Any] | None = None,
        rules: tuple[Rule, ...] = (),
        spared: Callable[[Any, Op, Spec, Sequence[Any]], Meta | None] | None = None,
        folds: Callable[[Spec, Meta], Fold | None] | None = None,
        wrap: Any = None,
        unboxes: Callable[[Any], bool] | None = None,
        aliasing: bool = False,
        gives: bool = False,
        lenient: bool = False,
        into: str | None = None,
        threaded: bool = False,
        threads_state: str | None = None,
        source: Callable[[list[str], dict[str, str]], str] | None = None,
        infix: str | None = None,
        weight: float = 1.0,
        growth: float = 1.0,
        version: int = 1,
        inner: Any = None,
    ) -> None:
        self.name = name
        self.kernel = kernel
        self.kind = kind
        self.calls = calls
        self.operands = operands
        self.params = params or {}
        self.variadic = variadic
        self.readonly = readonly
        self.infer = infer
        self.form = form
        self.reach = reach
        self.rules = rules
        self.spared = spared
        self.folds = folds if FUSES else None
        self.wrap = wrap
        self.unboxes = unboxes
        self.aliasing = aliasing
        self.gives = gives
        self.lenient = lenient
        self.into = into
        self.threaded = threaded
        self.threads_state = threads_state
        self.source = source
        self.infix = infix
        self.weight = weight
        self.growth = growth
        self.version = version
        self.spec = Spec(name, version=version)
        self.scalars: Spec | None = None
        self.names = operands + tuple(self.params)
        self.needs = any(default is REQUIRED for default in self.params.values())
        simple = isinstance(kernel, np.ufunc) and kernel.signature is None
        self.elides = simple and infer is not None
        self.inner = (kernel if self.elides else inner) if FUSES else None
        self.small = int(SMALL / weight)
        self.at_once = self.small if self.inner is None else min(self.small, FUSED)

    def __repr__(self) -> str:
        return f"<Op {self.name}>"


OPS: dict[str, Op] = {}
"""The operation table, by name."""

CALLS: dict[Any, Op] = {}
"""The operation that a NumPy callable spells."""


def op(name: str, kernel: Callable[..., Any], kind: Kind = Kind.HEAVY, **facts: Any) -> Op:
    """Add a row. `operands="a b"` names the leading array arguments.

    Without `params` the other arguments and their defaults are read off `signature=`, a string as
    in a `def` line, or off the kernel itself; without `calls` the kernel is its own spelling.
    """
    operands = tuple(facts.pop("operands", "a").split())
    text = facts.pop("signature", None)
    if "params" not in facts:
        facts["params"] = _parameters(kernel, operands, text)
    if "calls" not in facts:
        facts["calls"] = (kernel,)
    row = Op(name=name, kernel=kernel, kind=kind, operands=operands, **facts)
    if name in OPS:
        raise InternalError(f"two rows are named {name!r}")
    OPS[name] = row
    for call in row.calls:
        if CALLS.setdefault(call, row) is not row:
            raise InternalError(f"{call} is spelled by {CALLS[call].name!r} and by {name!r}")
    return row


def _parameters(kernel: Any, operands: tuple[str, ...], text: str | None) -> dict[str, Any]:
    if text is not None:
        scope: dict[str, Any] = {"np": np, "MISSING": REQUIRED}  # the two change places below
        exec(f"def f({text}): pass", scope)  # rows are our own code, never input
        signature = inspect.signature(scope["f"])
    else:
        signature = inspect.signature(kernel)
    swap = {id(MISSING): REQUIRED, id(REQUIRED): MISSING}
    named = {k: swap.get(id(p.default), p.default) for k, p in signature.parameters.items()}
    return {k: v for k, v in named.items() if k not in operands}


# --------------------------------------------------------------------------- binding


def bind(
    row: Op, args: Sequence[Any], kwargs: dict[str, Any], lift: Lift
) -> tuple[list[Any], Spec]:
    """The inputs (lifted) and the spec of a call of `row`.

    `lift.operand(x)` turns an array-like into a traced value or a literal; `lift.is_array(x)` says
    whether a parameter must become an input. Raises BindError or NotCanonical when the call does
    not fit the row; the caller then lets NumPy handle it.
    """
    if not kwargs and not row.needs and not row.variadic and len(args) == len(row.operands):
        return [lift.operand(a) for a in args], row.spec
    named = _by_name(row, args, kwargs)
    inputs: list[Any] = []
    rest = row.operands
    if row.variadic:
        items = named.pop(rest[0], MISSING)
        if type(items) not in (tuple, list):
            raise BindError(f"{row.name}: {rest[0]} is not a tuple or list of arrays")
        inputs.extend(map(lift.operand, items))
        rest = rest[1:]
    positional = True
    params: list[tuple[str, Any]] = []
    npos = len(inputs)
    for name in rest:
        value = named.pop(name, MISSING)
        if value is MISSING:
            positional = False
        elif positional:
            inputs.append(lift.operand(value))
            npos += 1
        else:
            raise BindError(f"{row.name}: {name} is given, an argument before it is not")
    if row.operands and not inputs and not row.variadic:
        raise BindError(f"{row.name}: {row.operands[0]} is missing")
    for name, default in row.params.items():
        value = named.get(name, MISSING)
        if value is MISSING:
            if default is REQUIRED:
                raise BindError(f"{row.name}: {name} is missing")
            continue
        if _is_default(value, default):
            continue
        if row.kind is VIEW and type(value) not in _SIMPLE:
            value = lift.numbers(value)
        params.append((name, _canonical(name, value, inputs, lift)))
    if not params and npos == len(inputs):
        return inputs, row.spec
    return inputs, _spec(row, tuple(params), npos)


_specs: dict[Any, Spec] = {}
_SIMPLE = frozenset({int, bool, str, type(None), type(Ellipsis)})


def is_simple(value: Any) -> bool:
    """Whether equal values of this type are the same parameter (`1 == True`, but not here)."""
    kind = type(value)
    if kind is tuple:
        return False not in [type(item) is int for item in value]
    return kind in _SIMPLE or id(value) in PLAIN_DTYPES


def _spec(row: Op, params: tuple[tuple[str, Any], ...], npos: int) -> Spec:
    """The spec of a call, shared between equal ones whose parameters are simple.

    Raises NotCanonical here, before anything runs.
    """
    if not all(map(is_simple, [v for _, v in params])):
        spec = Spec(row.name, params, npos, row.version)
        _ = spec.prefix
        return spec
    key = (row.name, npos, params, tuple([type(v) for _, v in params]))
    found = _specs.get(key)
    if found is None:
        if len(_specs) > 4096:
            _specs.clear()
        found = _specs[key] = Spec(row.name, params, npos, row.version)
    return found


class Lift(Protocol):
    """What binding needs to know of traced arrays (`lima.calls` has the one implementation)."""

    def operand(self, x: Any) -> Any:
        """The traced value or the literal that `x` stands for; NotCanonical if it is neither."""

    def is_array(self, x: Any) -> bool:
        """Whether `x` inside a parameter must become an input."""

    def numbers(self, x: Any) -> Any:
        """`x` with the numbers of arrays in their places, for what says which view of an array."""
        return x


def _by_name(row: Op, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    if len(args) > len(row.names):
        raise BindError(f"{row.name}: {len(args)} positional arguments")
    named = dict(zip(row.names, args, strict=False))
    for name, value in kwargs.items():
        if name in named or name not in row.names:
            raise BindError(f"{row.name}: argument {name!r}")
        named[name] = value
    return named


def _is_default(value: Any, default: Any) -> bool:
    if value is default:
        return True
    kind = type(value)
    return kind is type(default) and kind in (bool, int, float, str, tuple) and value == default


def _dtype(value: Any) -> Any:
    return None if value is None else np.dtype(value)


def _axis(value: Any) -> Any:
    if value is None:
        return None
    if type(value) in (tuple, list):
        return type(value)([_integer(v) for v in value])  # NumPy refuses some of the lists
    return _integer(value)


def _integer(value: Any) -> int:
    if isinstance(value, (bool, np.bool)):
        raise TypeError("a bool as an integer, which NumPy refuses in most places")
    return operator.index(value)


def _shape(value: Any) -> Any:
    return (
        tuple([_integer(v) for v in value]) if type(value) in (tuple, list) else (_integer(value),)
    )


NORMAL_FORMS: dict[str, Callable[[Any], Any]] = {"dtype": _dtype, "axis": _axis, "shape": _shape}
"""Parameters with several spellings of one meaning, by their name in NumPy's signatures."""


def _canonical(name: str, value: Any, inputs: list[Any], lift: Lift) -> Any:
    normal = NORMAL_FORMS.get(name)
    if normal is not None and not lift.is_array(value):
        try:
            return normal(value)
        except TypeError as error:
            raise BindError(str(error)) from None
    if _has_dict(value):
        raise NotCanonical("a dict, which is one Python object to NumPy")
    return reference(value, inputs, lift)


def _has_dict(x: Any) -> bool:
    return type(x) is dict or (type(x) in (list, tuple) and True in each(_has_dict, x))


def reference(value: Any, inputs: list[Any], lift: Lift) -> Any:
    """`value` with every array inside replaced by a `Ref` to a new input."""
    if lift.is_array(value):
        inputs.append(lift.operand(value))
        return Ref(len(inputs) - 1)
    kind = type(value)
    if kind in (tuple, list):
        return kind(each(lambda v: reference(v, inputs, lift), value))
    if kind is dict:
        items = each(lambda v: reference(v, inputs, lift), value.values())
        return dict(zip(value, items, strict=True))
    if isinstance(value, type) and issubclass(value, np.generic):
        return np.dtype(value)
    if isinstance(value, (tuple, list, dict)):
        raise NotCanonical(f"{kind.__name__} is a subclass of a container")
    return value


# --------------------------------------------------------------------------- evaluation


_ARRAY = np.ndarray  # an attribute costs time in the hot path


def evaluate(row: Op, spec: Spec, data: Sequence[Any], buffer: Any = None, threads: int = 1) -> Any:
    """Run the kernel of `row` on plain data. The only place where a kernel is called.

    A call that writes (`into` rows, `out=`) writes into `buffer`, which must hold the written
    operand's elements and be private; without one, into a private copy. Its result is that buffer.
    """
    if row.aliasing:
        data = _apart(spec, data)
    if row.into is not None:
        if buffer is None:
            data = _with_copy(spec, data, 0)
        target = data[0] if buffer is None else buffer
        data = [target, *data[1:]]
        result = _run(row, spec, data, {})
        return target if result is None or row.wrap is None else (target, result)
    if not spec.params:
        return row.kernel(data) if row.variadic else row.kernel(*data)
    if spec.out is not None:
        return _run_out(row, spec, data, buffer)
    return _run(row, spec, data, {"threads": threads} if row.threaded and threads > 1 else {})


def _run(row: Op, spec: Spec, data: Sequence[Any], extra: dict[str, Any]) -> Any:
    kwargs = spec.kwargs(data)
    if extra:
        kwargs = {**kwargs, **extra}
    if spec.npos is not None and spec.npos < len(data):
        data = data[: spec.npos]
    return row.kernel(data, **kwargs) if row.variadic else row.kernel(*data, **kwargs)


def _run_out(row: Op, spec: Spec, data: Sequence[Any], buffer: Any) -> Any:
    assert spec.out is not None
    if buffer is None:
        # where= leaves some elements as they are, so the copy must hold them, and so do functions
        # that do not look closely at the shape of out= (`np.add.accumulate`)
        if spec.get("alias") and not row.aliasing:
            data = _with_copy(spec, data, spec.out.index)
            buffer = data[spec.out.index]
        else:
            fill = spec.get("where") is not None or not isinstance(row.kernel, np.ufunc)
            buffer = clone(data[spec.out.index], fill)
    _run(row, spec, data, {"out": buffer})
    return buffer


def owner(a: Any) -> Any:
    """The object that owns the memory of array `a`; scalars and literals own themselves.

    Not every base is an array: `as_strided` puts an object of its own between.
    """
    while (base := getattr(a, "base", None)) is not None:
        a = base
    return a


def clone(a: np.ndarray[Any, Any], fill: bool = True) -> np.ndarray[Any, Any]:
    """A private array with the dtype, shape and strides of `a` (and its elements, if `fill`)."""
    if a.flags.c_contiguous or a.flags.f_contiguous or a.size == 0 or a.dtype.hasobject:
        made = a.copy(order="K") if fill else np.empty_like(a, order="K", subok=False)
        if made.strides == a.strides or a.size == 0 or a.dtype.hasobject:
            return made  # else they differ along axes of length 1
    span = sum(abs(s) * (n - 1) for s, n in zip(a.strides, a.shape, strict=True)) + a.itemsize
    start = sum(-s * (n - 1) for s, n in zip(a.strides, a.shape, strict=True) if s < 0)
    memory = np.empty(span, dtype=np.uint8)
    if 0 in a.strides:
        memory[:] = 0
    out: np.ndarray[Any, Any] = np.ndarray(a.shape, a.dtype, memory, start, a.strides)
    if fill:
        out[...] = a
    return out


def _with_copy(spec: Spec, data: Sequence[Any], place: int) -> list[Any]:
    """`data` with a private copy of the operand at `place`, which is going to be written.

    In a call marked "alias" other operands lie in its memory: they lie in the copy likewise.
    """
    found = list(data)
    whole = owner(data[place])
    if spec.params and spec.get("alias") and type(whole) is _ARRAY:
        copy = clone(whole)
        return [moved(d, whole, copy) for d in found]
    found[place] = clone(data[place])
    return found


def moved(d: Any, memory: Any, copy: Any) -> Any:
    """The view of `copy`, a clone of `memory`, that lies in it as `d` lies in `memory`."""
    if type(d) is not np.ndarray or owner(d) is not owner(memory):
        return d
    if d is memory:
        return copy
    if memory.dtype.hasobject:
        return d
    offset = _address(d) - _address(memory)
    if copy.flags.c_contiguous or copy.flags.f_contiguous:
        room = copy if copy.flags.c_contiguous else copy.T
    else:
        room = owner(copy)
        offset += _address(copy) - _address(room)
    if not d.size:  # it lies anywhere
        offset = min(max(offset, 0), room.nbytes)
    return np.ndarray(d.shape, d.dtype, room, offset, d.strides)


def _address(a: Any) -> int:
    return int(a.__array_interface__["data"][0])


def _apart(spec: Spec, data: Sequence[Any]) -> Sequence[Any]:
    """Operands that the plain program holds in different buffers must not meet in one.

    BLAS-backed kernels take a symmetric path, with other rounding, when two operands are one
    buffer; a cache hit could otherwise make one buffer of two.
    """
    if spec.params and spec.get("alias"):
        return data
    if len(data) == 2:
        if owner(data[0]) is not owner(data[1]):
            return data
    elif len({id(owner(d)) for d in data}) == len(data):
        return data
    seen: set[int] = set()
    apart: list[Any] = []
    for d in data:
        if type(d) is _ARRAY and id(owner(d)) in seen:
            d = clone(d)
        seen.add(id(owner(d)))
        apart.append(d)
    return apart


def own(result: Any, data: Sequence[Any]) -> Any:
    """`result`, or a private copy of it where it is an operand or a view of one."""
    if type(result) is _ARRAY:
        memory = result if result.base is None else owner(result)
        for d in data:
            if d is memory or (type(d) is _ARRAY and d.base is not None and owner(d) is memory):
                return clone(result)
    elif type(result) is tuple:
        return tuple([own(item, data) for item in result])
    elif isinstance(result, tuple):
        return type(result)(*[own(item, data) for item in result])
    return result
