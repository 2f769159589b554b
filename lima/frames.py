"""pandas in traced code: frames are part of a key by their content, their arrays are traced.

lima does not import pandas. While a traced call runs, a Series or DataFrame among its arguments is
of a subclass whose `values` and `to_numpy()` give the user's code traced arrays; everything else is
pandas' own.
"""

from __future__ import annotations

import functools
import inspect
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lima import gates, pure
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
    _refuse_more(x)
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
    """The options of pandas, some of which decide results, and the width of what it prints."""
    config: Any = sys.modules.get("pandas._config.config")
    terminal = shutil.get_terminal_size()
    return encode((repr(getattr(config, "_global_config", None)), *terminal))


def _label(x: Any) -> bytes:
    if x is None or isinstance(x, (str, bool, int, float, np.generic)):
        return encode(x)
    if type(x) is tuple:
        return b"(" + b"".join(map(_label, x)) + b")"
    raise NotCanonical(f"a label that is a {type(x).__qualname__}")


def _refuse_more(x: Any) -> None:
    """Attributes that the user has set on a frame or an index, as `df.factor = 2` does."""
    for name in vars(x):
        if name not in _FIELDS:
            raise NotCanonical(f"a {type(x).__qualname__} with the attribute {name!r}")


_FIELDS = frozenset(
    "_mgr _attrs _flags _name _item_cache _is_copy _cacher str dt cat sparse list struct plot _data"
    " _cache _id _references _levels _codes _names sortorder _range _freq _typ _metadata"
    " _no_setting_name".split()
)
"""What pandas itself keeps in frames and indexes."""


def _index(x: Any) -> bytes:
    pandas = sys.modules["pandas"]
    _refuse_more(x)
    head = encode(type(x).__name__) + b"".join(map(_label, x.names))
    if isinstance(x, pandas.RangeIndex):
        return head + encode((x.start, x.stop, x.step))
    if isinstance(x, pandas.MultiIndex):
        levels = b"".join(map(_index, x.levels))
        codes = b"".join([leaf(np.asarray(c)).digest for c in x.codes])
        return head + levels + codes + encode(x.sortorder)
    if type(x).__module__.partition(".")[0] != "pandas":
        raise NotCanonical(f"a {type(x).__qualname__}, a kind of index")
    return head + _step(x) + _array(x._data)


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
    if _OF_THE_CLOCK.search("\0".join([x for x in a.flat if type(x) is str])):
        raise NotCanonical("a column of text that pandas may take for times of today")
    order = bool(a.flags.c_contiguous), bool(a.flags.f_contiguous)
    return b"objects" + encode((a.shape, order)) + b"".join(found)


_OF_THE_CLOCK = re.compile(pure.OF_THE_CLOCK.pattern.join(("(?:^|\0)(?:", ")")), re.IGNORECASE)


def _step(a: Any) -> bytes:
    """The step of regular dates, with all that it is made of (`str` leaves out holidays)."""
    step = getattr(a, "freq", None)
    if type(step).__module__.partition(".")[0] not in ("pandas", "builtins"):
        raise NotCanonical(f"dates in steps of a {type(step).__qualname__}")
    return encode(repr(getattr(step, "_params", step)))


def _zone(a: Any) -> bytes:
    """The time zone, of which the dtype tells no more than a name."""
    zone = getattr(a.dtype, "tz", None)
    kind = f"{type(zone).__module__}.{type(zone).__qualname__}"
    if kind not in _ZONES and not kind.startswith("pytz."):
        raise NotCanonical(f"a time zone that is a {kind}")
    if kind == "zoneinfo.ZoneInfo" and getattr(zone, "key", None) is None:
        raise NotCanonical("a time zone without a name")
    return encode((kind, repr(zone)))


_ZONES = frozenset({
    "builtins.NoneType", "datetime.timezone", "zoneinfo.ZoneInfo", "dateutil.tz.tz.tzutc",
    "dateutil.tz.tz.tzoffset",
})  # fmt: skip
"""Kinds of time zones whose `repr` says all of them; those of `pytz` have names as well."""


_PLAIN = frozenset({str, bytes, bool, int, float, complex, type(None)})

_masked = lambda a: (leaf(a._data).digest, leaf(a._mask).digest)  # noqa: E731
_dated = lambda a: (leaf(a.asi8).digest, _step(a), _zone(a))  # noqa: E731
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


def is_foreign(name: str) -> bool:
    """Whether frames have an attribute of this name that is no code of pandas'.

    Users give frames accessors, and methods.
    """
    pandas = sys.modules["pandas"]
    for kind in (pandas.DataFrame, pandas.Series, pandas.Index):
        found = inspect.getattr_static(kind, name, None)
        found = getattr(found, "fget", getattr(found, "_accessor", found))
        home = getattr(found, "__module__", None)
        if isinstance(home, str) and home.partition(".")[0] not in _HOMES:
            return True
    return False


_HOMES = frozenset({"pandas", "numpy", "builtins", "lima", "functools", "typing", "collections"})


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
                made = convert(item)
                if made is not item:
                    flat[k] = made


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
