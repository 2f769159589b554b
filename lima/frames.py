"""pandas in traced code: frames are part of a key by their content, their arrays are traced.

lima does not import pandas. While a traced call runs, a Series or DataFrame among its arguments is
of a subclass whose `values` and `to_numpy()` give the user's code traced arrays; everything else is
pandas' own.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lima import gates
from lima.errors import NotCanonical
from lima.frame import active
from lima.handle import Handle, outside
from lima.node import encode, leaf


def is_frame(x: Any) -> bool:
    """Whether `x` is a Series, a DataFrame or an Index."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not hasattr(pandas, "DataFrame"):
        return False
    return issubclass(type(x), (pandas.DataFrame, pandas.Series, pandas.Index))


# --------------------------------------------------------------------------- content


def content(x: Any) -> bytes:
    """Bytes that two frames have in common only if nobody can tell them apart.

    Values with their dtypes and their layout in memory, index, columns, names and attributes.
    Raises NotCanonical for what lima does not know.
    """
    pandas = sys.modules["pandas"]
    try:
        if isinstance(x, pandas.Index):
            return b"index" + settings() + _index(x)
        return _frame(x)
    except (AttributeError, KeyError) as error:  # another pandas
        raise NotCanonical(
            f"a {type(x).__qualname__} that cannot be looked into: {error}"
        ) from None


def _frame(x: Any) -> bytes:
    kind = plain_class(type(x))
    if kind is None:
        raise NotCanonical(f"a {type(x).__qualname__}, a kind of frame that may hold more")
    if x.attrs:
        raise NotCanonical("a frame with attrs")
    parts = [b"frame", encode(kind.__name__), settings()]
    parts.append(encode(bool(x.flags.allows_duplicate_labels)))
    parts += [_index(axis) for axis in x.axes]
    if x.ndim == 1:
        parts.append(_label(x.name))
    for block in x._mgr.blocks:
        parts.append(leaf(np.asarray(block.mgr_locs.as_array)).digest)
        parts.append(_array(block.values))
        if type(block.values) is np.ndarray:
            parts.append(encode(bool(block.values.flags.writeable)))
    return b"".join(parts)


def arrays_of(x: Any) -> Iterator[Any]:
    """The arrays in which a frame holds its numbers."""
    pandas = sys.modules["pandas"]
    if not isinstance(x, pandas.Index):
        yield from (b.values for b in x._mgr.blocks if type(b.values) is np.ndarray)


def settings() -> bytes:
    """The options of pandas, some of which decide results."""
    config: Any = sys.modules.get("pandas._config.config")
    return encode(repr(getattr(config, "_global_config", None)))


def _label(x: Any) -> bytes:
    if x is None or isinstance(x, (str, bool, int, float, np.generic)):
        return encode(x)
    if type(x) is tuple:
        return b"(" + b"".join(map(_label, x)) + b")"
    raise NotCanonical(f"a label that is a {type(x).__qualname__}")


def _index(x: Any) -> bytes:
    pandas = sys.modules["pandas"]
    head = encode(type(x).__name__) + b"".join(map(_label, x.names))
    if isinstance(x, pandas.RangeIndex):
        return head + encode((x.start, x.stop, x.step))
    if isinstance(x, pandas.MultiIndex):
        levels = b"".join(map(_index, x.levels))
        return head + levels + b"".join([leaf(np.asarray(c)).digest for c in x.codes])
    if type(x).__module__.partition(".")[0] != "pandas":
        raise NotCanonical(f"a {type(x).__qualname__}, a kind of index")
    return head + encode(str(getattr(x, "freq", None))) + _array(x._data)


def _array(a: Any) -> bytes:
    """One array of a frame: NumPy's, or one of pandas' own kinds."""
    if type(a) is np.ndarray:
        return leaf(a).digest if not a.dtype.hasobject else _objects(a)
    kind = type(a).__name__
    parts = _PARTS.get(kind)
    if parts is None or type(a).__module__.partition(".")[0] != "pandas":
        raise NotCanonical(f"a column that is a {kind}")
    return b"".join([encode(kind), encode(repr(a.dtype)), *parts(a)])


def _objects(a: Any) -> bytes:
    """An array of text, numbers and missing values."""
    found = []
    for x in a.ravel().tolist():
        if type(x) in _PLAIN:
            found.append(encode(x))
        elif type(x).__name__ == "NAType":
            found.append(b"NA")
        else:
            raise NotCanonical(f"a column that holds a {type(x).__qualname__}")
    return b"objects" + encode(a.shape) + b"".join(found)


_PLAIN = frozenset({str, bytes, bool, int, float, complex, type(None)})

_masked = lambda a: (leaf(a._data).digest, leaf(a._mask).digest)  # noqa: E731
_dated = lambda a: (leaf(a.asi8).digest, encode(str(getattr(a, "freq", None))))  # noqa: E731
_texts = lambda a: (_objects(np.asarray(a, dtype=object)),)  # noqa: E731

_PARTS: dict[str, Any] = {
    **dict.fromkeys(("IntegerArray", "FloatingArray", "BooleanArray"), _masked),
    **dict.fromkeys(("DatetimeArray", "TimedeltaArray", "PeriodArray"), _dated),
    **dict.fromkeys(("StringArray", "ArrowStringArray", "StringArrayNumpySemantics"), _texts),
    "ArrowStringArrayNumpySemantics": _texts,
    "NumpyExtensionArray": lambda a: (_array(a._ndarray),),
    "Categorical": lambda a: (_index(a.categories), leaf(a.codes).digest),
}
"""What the columns that pandas has kinds of its own for consist of."""


# --------------------------------------------------------------------------- traced arrays


def enter(x: Any) -> bool:
    """Let the arrays of a frame be traced ones; says whether it is a frame that can do so."""
    kinds = _classes()
    made = kinds.get(type(x))
    if made is None:
        return False
    object.__setattr__(x, "__class__", made)
    return True


def leave(x: Any, convert: Callable[[Any], Any]) -> None:
    """What `enter` did, undone; also for frames that were made of such ones.

    Traced arrays that pandas has kept all the same are converted.
    """
    plain = plain_class(type(x))
    if plain is not None and plain is not type(x):
        object.__setattr__(x, "__class__", plain)
    for block in getattr(getattr(x, "_mgr", None), "blocks", ()):
        values = block.values
        if isinstance(values, Handle):
            block.values = convert(values)
        elif type(values) is np.ndarray and values.dtype.hasobject:
            flat = values.reshape(-1)
            for k, item in enumerate(flat):
                if isinstance(item, Handle):
                    flat[k] = convert(item)


def plain_class(kind: type) -> type | None:
    """pandas' class for one of its classes or one of lima's; None for a class of the user's."""
    kinds = _classes()
    if kind in kinds:
        return kind
    return next((plain for plain, made in kinds.items() if made is kind), None)


def _classes() -> dict[type, type]:
    pandas = sys.modules.get("pandas")
    ready = pandas is not None and hasattr(pandas, "DataFrame")
    return _made_classes() if ready else {}


@functools.cache
def _made_classes() -> dict[type, type]:
    pandas: Any = sys.modules["pandas"]

    class TracedSeries(pandas.Series):  # type: ignore[misc]
        values = property(lambda self: _given(pandas.Series.values.fget(self)))

        def to_numpy(self, *args: Any, **kwargs: Any) -> Any:
            return _given(pandas.Series.to_numpy(self, *args, **kwargs))

    class TracedFrame(pandas.DataFrame):  # type: ignore[misc]
        values = property(lambda self: _given(pandas.DataFrame.values.fget(self)))

        def to_numpy(self, *args: Any, **kwargs: Any) -> Any:
            return _given(pandas.DataFrame.to_numpy(self, *args, **kwargs))

    TracedFrame._constructor = property(lambda self: TracedFrame)
    TracedFrame._constructor_sliced = property(lambda self: TracedSeries)
    TracedSeries._constructor = property(lambda self: TracedSeries)
    TracedSeries._constructor_expanddim = property(lambda self: TracedFrame)
    made: dict[type, Any] = {pandas.DataFrame: TracedFrame, pandas.Series: TracedSeries}
    for plain, kind in made.items():
        kind.__name__, kind.__qualname__ = plain.__name__, plain.__qualname__
        kind.__reduce__ = _reduced
    return made


def _reduced(x: Any) -> Any:
    """Pickled frames are pandas' own."""
    plain: Any = plain_class(type(x))
    made = plain.__new__(plain)
    made.__setstate__(x.__getstate__())
    return plain.__reduce__(made)


def _given(a: Any) -> Any:
    """A traced array that means the memory of the plain array `a`, for the user's code."""
    if active() is None or type(a) is not np.ndarray or a.dtype.hasobject:
        return a
    caller = sys._getframe(2).f_globals.get("__name__") or ""
    if str(caller).partition(".")[0] in gates.LIBRARIES:
        return a
    return outside(a)
