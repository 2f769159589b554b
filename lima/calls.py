"""Calls on handles: binding arguments, views, writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from lima import gates, leaves
from lima.barriers import (
    AGAIN,
    adopt,
    barrier,
    leaf_value,
    plain,
    write_untraced,
)
from lima.errors import NotCanonical
from lima.forcing import force
from lima.frame import refuse
from lima.handle import (
    Handle,
    data_of,
    handle,
    locked,
    new_handle,
    settled_here,
    value_of,
    view_handle,
)
from lima.nesting import each
from lima.node import OUTPUT, Node, Spec, leaf, new_node
from lima.op import (
    CALLS,
    HEAVY,
    OPS,
    VIEW,
    BindError,
    Lift,
    Op,
    bind,
    evaluate,
    is_simple,
)
from lima.ops.coverage import why_not
from lima.ops.spelling import METADATA, SPELLINGS
from lima.others import SEQUENCES, of_their_own, untraceable, with_sequence
from lima.outs import fills, replace, without_out
from lima.runtime import apply
from lima.runtime import binary as _binary
from lima.trials import tick
from lima.values import (
    Foreign,
    Pending,
    Value,
    aliased,
    new_value,
    nodes_of,
    overlapping,
    spec_for,
    watch,
)
from lima.writes import refuse_readonly, write

PYTHON_SCALARS = (bool, int, float, complex)
LITERALS = frozenset(
    {*PYTHON_SCALARS, type(None), str, bytes} | {np.dtype(c).type for c in "?bhilqpBHILQPefdgFDG"}
)
"""Types that stand in a node as they are. NumPy scalars keep their dtype (NEP 50)."""


def foreign(a: Any) -> Value:
    """A plain array met inside traced code: what was given out before, or a leaf by its content."""
    given, known = gates.given_back(a)
    if given is not None:
        return value_of(given)
    if known is not None:
        return known  # type: ignore[no-any-return]
    entered = leaf(a)
    made = gates.made_by(a, entered)
    if made is None:
        gates.note_entry(entered)
        leaves.seen(entered.digest, a)
        made = entered
    value = Foreign(settled_here(made), a)
    value.shared = True
    return value


class _Lift(Lift):
    def operand(self, x: Any) -> Any:
        if isinstance(x, Handle):
            return value_of(x)
        kind = type(x)
        if kind in LITERALS:
            return x
        if kind is np.ndarray:
            return foreign(x)
        if kind in (list, tuple):
            return self.nested(x, SHORT)
        if isinstance(x, np.generic):
            return held(x) if x.dtype.kind in "SUV" else x
        raise NotCanonical(f"{kind.__module__}.{kind.__qualname__} is no operand")

    def nested(self, x: Sequence[Any], short: int) -> Value:
        """A list or tuple; one without arrays is a leaf if it has more elements than `short`."""
        if _has_handle(x):
            made = call(OPS["nested"], (x,), {})
            return value_of(made)
        plain = np.asarray(x)
        if plain.dtype.hasobject:
            raise NotCanonical("a nested sequence that NumPy takes for Python objects")
        if plain.size <= short and plain.dtype.kind in "biufc":
            return value_of(call(OPS["nested"], (x,), {}))
        return held(plain)

    def is_array(self, x: Any) -> bool:
        return isinstance(x, (Handle, np.ndarray))

    def numbers(self, x: Any) -> Any:
        if isinstance(x, (Handle, np.ndarray)):
            data: Any = data_of(x) if isinstance(x, Handle) else x
            if data.dtype.kind not in "iu":
                raise NotCanonical(f"an array of {data.dtype} that is to say which view")
            return data.tolist()
        return type(x)(each(self.numbers, x)) if type(x) in (list, tuple) else x


def held(a: Any) -> Value:
    """A value for data that exists nowhere else, so that a log can hold it."""
    value = leaf_value(a)
    leaves.hold(value.node.digest, a)
    return value


SHORT = 16
"""Elements of a list among the operands up to which logs say what they are."""

LIFT = _Lift()


def nested(x: Sequence[Any], dtype: np.dtype[Any]) -> Any:
    """A nested sequence as an array of a given dtype; a leaf if it is long, or not of numbers."""
    if _has_handle(x):
        return call(OPS["nested"], (x,), {"dtype": dtype})
    plain = np.asarray(x, dtype)
    if plain.size <= SHORT and plain.dtype.kind in "biufc":
        with suppress(NotCanonical):
            return call(OPS["nested"], (x,), {"dtype": dtype})
    return handle(held(plain))


def _has_handle(x: Any) -> bool:
    if isinstance(x, Handle):
        return True
    return type(x) in (list, tuple) and any(each(_has_handle, x))


# --------------------------------------------------------------------------- calls


def call(
    row: Op,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    asked: tuple[Any, Sequence[Any], dict[str, Any]] | None = None,
) -> Any:
    """A NumPy call with traced arguments, as its row says.

    `asked` is the call as the user spelled it, for NumPy to do if the row cannot.
    """
    form = _form(row, args, kwargs)
    if form is not None:
        known = _bound.get(form)
        if known is not None:
            inputs = [value_of(args[0])]
            if row.kind is VIEW:
                return _view_of(row, known, inputs, args[0])
            return result(apply(row, known, inputs), row)
    out = kwargs.get("out")
    if out is not None:
        return _call_out(row, args, kwargs, out)
    if row.into is not None and args and not isinstance(args[0], np.ndarray):
        return barrier(row.calls[0], args, kwargs, "it writes into what is no array")
    try:
        inputs, spec = bind(row, args, kwargs, LIFT)
    except (BindError, NotCanonical) as error:
        func = row.calls[0] if row.calls else row.kernel
        if asked is not None:
            func, args, kwargs = asked
        if row.into is not None and args and isinstance(args[0], Handle):
            return write_untraced(func, args[0], args, kwargs, str(error))
        return barrier(func, args, kwargs, str(error))
    if spec.out is not None:
        return _call_out(row, args, kwargs, args[row.names.index("out")])
    if row.into is not None:
        target = args[0] if args else kwargs[row.operands[0]]
        return write(target, row, overlapping(spec, inputs), inputs)
    if row.aliasing:
        spec = aliased(row, spec, inputs)
    elif form is not None and len(inputs) == 1:
        if len(_bound) > MAX_FORMS:
            _bound.clear()
        _bound[form] = spec
    if row.kind is not VIEW:
        return result(apply(row, spec, inputs), row)
    return _view_of(row, spec, inputs, args[0] if args else kwargs.get(row.operands[0]))


def _view_of(row: Op, spec: Spec, inputs: Sequence[Any], base: Any) -> Any:
    """The result of a view operation whose arguments are bound; `base` is the first."""
    if isinstance(base, Handle):
        return _view_result(apply(row, spec, inputs), inputs[0], base, spec)
    if isinstance(base, np.ndarray):  # a view of what stays plain
        return evaluate(row, spec, [base, *[force(i) for i in inputs[1:]]])
    first = inputs[0]
    made = handle(first if isinstance(first, Value) else leaf_value(np.asarray(first)))
    value = value_of(made)
    return _view_result(apply(row, spec, (value, *inputs[1:])), value, made, spec)


MAX_FORMS = 4096
_bound: dict[Any, Spec] = {}
"""What calls of one traced array and simple parameters were bound to, by their form."""


def _form(row: Op, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What the binding of a call of one traced array depends on; None for any other call."""
    if not args or not isinstance(args[0], Handle):
        return None
    form: list[Any] = [row]
    for a in args[1:]:
        if not (is_simple(a) or type(a) is type):
            return None
        form.append(type(a))
        form.append(a)
    for name, a in kwargs.items():
        if not (is_simple(a) or type(a) is type):
            return None
        form.append(name)
        form.append(type(a))
        form.append(a)
    return tuple(form)


def _view_result(value: Value, source: Value, base: Handle, spec: Spec) -> Any:
    """A handle on a view of `base`, whose present value is `source`; `base` if NumPy gives it."""
    if value is source or (value.data is not None and value.data is source.data):
        return base
    if value.root is not None:
        return view_handle(value, base, spec)
    made = result(value, OPS[spec.op])
    if type(value.data) is np.ndarray and not value.data.flags.writeable:
        made._locked = True  # no view, but NumPy gives it read-only (`imag` of a real array)
    return made


def result(value: Value, row: Op) -> Any:
    """What the user gets for `value`: a handle, a tuple of handles, or a plain Python object."""
    if type(value) is Pending:
        return handle(value)
    data = value.data
    if _is_number(data):
        return handle(value)
    if isinstance(data, (tuple, list)) and row.wrap is not None:
        items = [output(value, k) for k in range(len(data))]
        kind = type(data)
        return kind(*items) if hasattr(data, "_fields") else kind(items)
    return data


_ARRAY, _NUMBERS = np.ndarray, (np.ndarray, np.generic)


def _is_number(x: Any) -> bool:
    """Whether `x` is an array or a NumPy scalar, but not text: that has the methods of `str`."""
    return type(x) is _ARRAY or (isinstance(x, _NUMBERS) and not isinstance(x, np.character))


def output(call_value: Value, index: int) -> Any:
    """Item `index` of a multi-output call, as a value of its own."""
    item = call_value.data[index]
    several = type(item) in (tuple, list)
    if not (several or _is_number(item)):
        return item
    value = Value(Node(Spec(OUTPUT, (("index", index),)), (call_value.node,)), item)
    value.shared = call_value.shared
    if several:
        return type(item)([output(value, k) for k in range(len(item))])
    return handle(value)


def binary(row: Op, x: Handle, y: Any, swapped: bool = False, run: Any = None) -> Any:
    """`x op y` (or `y op x`), the hot path of the operators.

    `run` is Python's operator, which the plain program would have used: it has NumPy's own short
    cuts for scalars. Its bits are the row's.
    """
    a = x._value
    base = x._base
    if base is not None and (base is x or a.root is not base._value):
        a = value_of(x)
    kind = type(y)
    if kind is type(x):
        b = value_of(y) if y._base is not None else y._value
    elif kind in LITERALS:
        b = y
        if kind in _TEXT and run is not None:  # which the operator compares, not the function
            data = data_of(x)
            found = run(y, data) if swapped else run(data, y)
            return adopt(found, f"{row.name} with {kind.__name__}")
    else:
        if hasattr(y, "__array_ufunc__") and kind is not np.ndarray:
            return of_their_own(row, x, y, swapped, run)
        if kind in SEQUENCES and run is not None and isinstance(x._value.data, np.generic):
            found = with_sequence(x, y, swapped, run)
            if type(found) in SEQUENCES:
                return found
        try:
            b = LIFT.operand(y)
        except NotCanonical as why:
            return untraceable(x, y, swapped, run, str(why))
    if row.lenient and run is not None and _refuses(row, a, b):
        return adopt(run(data_of(x), plain(y)), f"{row.name} of dtypes that it does not compare")
    if row.aliasing:
        pair = (b, a) if swapped else (a, b)
        if run is not None and not any(map(_may_have_axes, pair)):
            return run(*[i.data if isinstance(i, Value) else i for i in pair])  # an error
        return result(apply(row, aliased(row, row.spec, pair), pair), row)
    run = run or row.kernel
    made = _binary(row, b, a, run) if swapped else _binary(row, a, b, run)
    data = made.data
    if data is not None and type(data) is not _ARRAY and not isinstance(data, np.generic):
        return data  # what Python objects gave
    return handle(made)


def _may_have_axes(x: Any) -> bool:
    """Whether an operand may be an array: NumPy's scalars have no `@`."""
    return isinstance(x, Value) and (x.data is None or type(x.data) is _ARRAY)


def _refuses(row: Op, *operands: Any) -> bool:
    """Whether the function has no loop for operands that Python's operator answers for.

    These are records, and dates compared with numbers.
    """
    kinds = [o.meta[1] if isinstance(o, Value) else type(o) for o in operands]
    if not any(getattr(kind, "kind", "") in ("m", "M", "V") for kind in kinds):
        return False
    asked = [k if k in (int, float, complex) else np.dtype(k) for k in kinds]
    try:
        row.kernel.resolve_dtypes((*asked, None))  # type: ignore[attr-defined]
    except TypeError:
        return True
    return False


_TEXT = frozenset({str, bytes, np.str_, np.bytes_})


def unary(row: Op, x: Handle, run: Any = None) -> Any:
    """An elementwise function of one array, as `binary` is of two."""
    value = value_of(x)
    data = value.data
    if data is None or data.size > row.at_once:
        return result(apply(row, row.spec, (value,)), row)
    found = (run or row.kernel)(data)
    if type(found) is not _ARRAY and not isinstance(found, np.generic):
        return found
    spec = row.spec if run is None else spec_for(row, found, data)
    return new_handle(new_value(new_node(spec, (value.node,)), found))


def ufunc(func: np.ufunc, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A call of a universal function; without options it takes the path of the operators."""
    if not kwargs and len(args) == func.nin:
        row = CALLS.get(func)
        if row is not None and row.infer is not None:
            x = args[0]
            if len(args) == 1:
                if isinstance(x, Handle):
                    return unary(row, x)
            elif len(args) == 2:
                found: Any = NotImplemented
                if isinstance(x, Handle):
                    found = binary(row, x, args[1])
                elif isinstance(args[1], Handle):
                    found = binary(row, args[1], x, True)
                if found is not NotImplemented:
                    return found
    if len(args) > func.nin and "out" not in kwargs:
        outs = (*args[func.nin :], *[None] * (func.nin + func.nout - len(args)))
        if any(out is not None for out in outs):
            kwargs = {**kwargs, "out": outs}
        args = args[: func.nin]
    return function(func, args, kwargs)


def function(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A NumPy function on traced arguments: by its row, or as a barrier."""
    meant: Any
    tick()
    asked = func, args, kwargs
    try:
        respell = SPELLINGS.get(func)
        if respell is None:
            meant = CALLS.get(func)
        else:
            meant, args, kwargs = respell(tuple(args), kwargs)
    except (BindError, TypeError) as error:
        return barrier(func, args, kwargs, str(error))
    if isinstance(meant, Op):
        return call(meant, args, kwargs, asked)
    if meant is not None:
        return meant(*args, **kwargs)
    if func in METADATA:
        return func(*plain(tuple(args)), **plain(kwargs))
    return barrier(func, args, kwargs, why_not(func))


def transposed(a: Handle) -> Any:
    """`a.T`."""
    value = value_of(a)
    data = value.data
    if type(data) is np.ndarray and data.ndim > 1:
        return view_of_present(a, value, _TRANSPOSE.spec, data.T)
    return _view_result(apply(_TRANSPOSE, _TRANSPOSE.spec, (value,)), value, a, _TRANSPOSE.spec)


_TRANSPOSE = OPS["transpose"]


def view_of_present(a: Handle, value: Value, spec: Spec, data: Any) -> Any:
    """`data`, a view of that of `value`, which is there: what `apply` would do, in one step."""
    found = new_value(new_node(spec, (value.node,)), data)
    found.root = value.root or value
    watch(value, found)
    return view_handle(found, a, spec)


# --------------------------------------------------------------------------- writes


def _call_out(row: Op, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> Any:
    if type(out) is tuple:
        if len(out) != getattr(row.calls[0], "nout", len(out)):
            raise ValueError("The 'out' tuple must have exactly one entry per ufunc output")
        if len(out) > 1:
            return _call_outs(row, args, kwargs, out)
        out = out[0]
    args = [a for k, a in enumerate(args) if k >= len(row.names) or row.names[k] != "out"]
    if isinstance(out, np.ndarray) and not isinstance(out, Handle):
        refuse("it writes into an array that is no argument")
        rest = {k: v for k, v in kwargs.items() if k != "out"}
        named = row.calls[0](*plain(tuple(args)), out=out, **plain(rest))
        return out if named is out else named
    if not isinstance(out, Handle):  # `...` (NumPy 2.3 and later), or an error
        return barrier(row.calls[0], args, {**kwargs, "out": out}, "out= is no array")
    kwargs = {**kwargs, "out": out}
    try:
        inputs, spec = bind(row, args, kwargs, LIFT)
    except (BindError, NotCanonical) as error:
        return write_untraced(row.calls[0], out, args, kwargs, str(error))
    if row.aliasing:
        spec = aliased(row, spec, inputs[: spec.npos])
    elif spec.out is not None:
        # Universal functions copy what overlaps where the order of elements decides; their loops
        # still look at it, and then compute by other means. Other functions copy nothing.
        itself = not isinstance(row.kernel, np.ufunc)
        spec = overlapping(spec, inputs, spec.out.index, 32, itself)
    if not locked(out):
        refuse_readonly(out)  # now it may belong to plain code
    if out._base is not None or locked(out):
        given = write(out, row, spec, inputs)
    else:
        given = _write_whole(out, row, spec, inputs, without_out(row, spec, inputs))
    if row.unboxes is not None and given is out and not value_of(out).meta[0]:
        first = inputs[0]
        if row.unboxes(first.data if isinstance(first, Value) else first):
            return out[()]
    return given


def _write_whole(out: Any, row: Op, spec: Spec, inputs: Sequence[Any], bare: Spec | None) -> Any:
    """A call that writes a whole array; `bare` is the one that gives it, if `out=` adds nothing."""
    node = None
    if bare is not None:
        if row.kind is HEAVY or row.infer is None:
            if replace(out, row, bare, inputs):
                return out
        elif fills(row, bare, inputs):
            node = Node(bare, nodes_of(inputs[:-1]))
    return write(out, row, spec, inputs, None, node)


def _has_ufunc_of_its_own(x: Any) -> bool:
    return hasattr(type(x), "__array_ufunc__") and not isinstance(x, (Handle, *_NUMBERS))


def _call_outs(
    row: Op, args: Sequence[Any], kwargs: dict[str, Any], outs: tuple[Any, ...]
) -> tuple[Any, ...]:
    """A call with several results, each written into the array that is given for it, if any."""
    rest = {k: v for k, v in kwargs.items() if k != "out"}
    operands = args[: len(row.operands)]
    if any(_has_ufunc_of_its_own(x) for x in (*operands, *outs)):
        given = {**rest, "out": outs}
        return barrier(row.calls[0], operands, given, "out=")  # type: ignore[no-any-return]
    if any(isinstance(out, Handle) and locked(out) for out in outs):
        return _refused(row, operands, rest, outs)
    results = function(row.calls[0], operands, rest)
    if type(results) is not tuple or len(outs) != len(results):
        return _refused(row, operands, rest, outs)
    options: dict[str, Any] = {k: rest[k] for k in ("where", "casting") if k in rest}
    casting = options.get("casting", "same_kind")
    pairs = [(o, r) for o, r in zip(outs, results, strict=True) if o is not None]
    if not all(isinstance(out, np.ndarray) for out, _ in pairs):
        return _refused(row, operands, rest, outs)
    try:
        shape = np.broadcast_shapes(*[r.shape for r in results], *[o.shape for o, _ in pairs])
    except ValueError:
        return _refused(row, operands, rest, outs)
    if any(o.shape != shape or not np.can_cast(r.dtype, o.dtype, casting) for o, r in pairs):
        return _refused(row, operands, rest, outs)
    for out, found in pairs:
        function(np.copyto, (out, found), options)
    return tuple([r if o is None else o for o, r in zip(outs, results, strict=True)])


def _refused(
    row: Op, operands: Sequence[Any], rest: dict[str, Any], outs: Sequence[Any]
) -> tuple[Any, ...]:
    """What NumPy says of arrays for results that do not seem to fit: an error, as a rule."""
    copies: list[Any] = []
    for out in outs:
        copy = out
        if isinstance(out, np.ndarray):
            copy = np.array(plain(out), order="K")
            copy.setflags(write=bool(out.flags.writeable))
        copies.append(copy)
    made = row.calls[0](*plain(tuple(operands)), **plain(rest), out=tuple(copies))
    for out, copy in zip(outs, copies, strict=True):
        if isinstance(out, np.ndarray):
            function(np.copyto, (out, copy), {})
    return tuple([m if o is None else o for o, m in zip(outs, made, strict=True)])


def method_of(function_: Callable[..., Any]) -> Any:
    """An ndarray method that means `function_(self, ...)`."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not in_scalars and issubclass(type(self._value.data), np.generic):
            raise AttributeError(f"a NumPy scalar has no method {method.__name__}")
        return function(function_, (self, *args), kwargs)

    in_scalars = hasattr(np.generic, getattr(function_, "__name__", ""))
    method.__name__ = method.__qualname__ = getattr(function_, "__name__", "method")
    method.__doc__ = f"As `numpy.ndarray.{method.__name__}`."
    return method


AGAIN.append(function)
