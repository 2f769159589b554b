"""What a call is given, as bytes: the parameters by name, and a look at all that they hold (D7).

A `Scan` goes over arguments, and over the data that the code of the function uses, in an order
that every call with equal ones repeats. So a place in it (the third array, the second list) means
the same thing in a later call, and two scans tell what a call changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct
from types import ModuleType
from typing import Any

import numpy as np

from lima import constants, frames
from lima.bytecode import NotReusable
from lima.classes import of_member
from lima.code import Code, behind, code_of, is_code
from lima.draws import TracedGenerator
from lima.errors import NotCanonical
from lima.handle import Handle, locked, root_of, value_of
from lima.node import encode
from lima.op import owner
from lima.printing import print_options
from lima.pure import FRAME_EFFECTS, GETTERS, OF_THE_CLOCK, tells_time
from lima.sessions import current
from lima.values import Borrowed, Foreign
from lima.walk import ATOMS, SCALARS, Layout, layout_of

_u32 = Struct("<I").pack


class Parameters:
    """Python's rule for which argument goes to which parameter.

    >>> Parameters(lambda x, y=2, *rest, z=3, **more: None).bind((1,), {"z": 4})
    {'x': 1, 'y': 2, 'rest': (), 'z': 4, 'more': {}}
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        code = function.__code__
        self.function = function
        self.code = code
        self.positional = code.co_varnames[: code.co_argcount]
        cut = code.co_argcount + code.co_kwonlyargcount
        self.keyword_only = code.co_varnames[code.co_argcount : cut]
        self.by_keyword = frozenset(code.co_varnames[code.co_posonlyargcount : cut])
        rest = iter(code.co_varnames[cut:])
        self.rest = next(rest) if code.co_flags & 0x04 else None  # CO_VARARGS
        self.more = next(rest) if code.co_flags & 0x08 else None  # CO_VARKEYWORDS

    @property
    def names(self) -> list[str]:
        """All parameters, in the order of `bind`."""
        extra = (self.rest, *self.keyword_only, self.more)
        return [*self.positional, *(name for name in extra if name is not None)]

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """Arguments and defaults by name; None where the call raises TypeError."""
        positional = self.positional
        bound: dict[str, Any] = dict(zip(positional, args, strict=False))
        if len(args) > len(positional) and self.rest is None:
            return None
        more: dict[str, Any] = {}
        for name, value in kwargs.items():
            if name in self.by_keyword:
                if name in bound:
                    return None
                bound[name] = value
            elif self.more is None:
                return None
            else:
                more[name] = value
        if len(bound) < len(positional) + len(self.keyword_only) and not self._defaults(bound):
            return None
        if self.rest is None and self.more is None and not kwargs:
            return bound
        ordered = {name: bound[name] for name in positional}
        if self.rest is not None:
            ordered[self.rest] = args[len(positional) :]
        ordered.update((name, bound[name]) for name in self.keyword_only)
        if self.more is not None:
            ordered[self.more] = more
        return ordered

    def _defaults(self, bound: dict[str, Any]) -> bool:
        """Add what is not given; False where something has no default."""
        defaults = self.function.__defaults__ or ()
        first = len(self.positional) - len(defaults)
        for k, name in enumerate(self.positional):
            if name not in bound:
                if k < first:
                    return False
                bound[name] = defaults[k - first]
        given = self.function.__kwdefaults__ or {}
        for name in self.keyword_only:
            if name not in bound:
                if name not in given:
                    return False
                bound[name] = given[name]
        return True


# --------------------------------------------------------------------------- a look at everything


class Scan:
    """Everything that some values hold, each thing once.

    arrays      root handles of the traced arrays, in the order in which they were met
    plain       plain arrays (of globals, closures, defaults)
    boxes       lists, dicts, sets, objects, functions with data: everything that has content
    generators  traced random generators
    frames      Series, DataFrames and Indexes of pandas
    wary        names of methods with effects that what was met has
    texts       text that names such a method of frames, or a time of today
    views       place of each view among the traced arrays, by its id; see `given_views`
    tuples      the same for tuples; see `given_tuples`
    hashed      whether there are sets, whose order differs between processes
    codes       of the functions and classes among the boxes
    forms       for each box bytes that say what it holds; arrays, boxes and generators by place

    With `before`, what was met in that scan has the same places as there.
    """

    def __init__(self, before: Scan | None = None) -> None:
        self.arrays: list[Handle] = []
        self.plain: list[np.ndarray[Any, Any]] = []
        self.boxes: list[Any] = []
        self.generators: list[TracedGenerator] = []
        self.frames: list[Any] = []
        self.wary: set[str] = set()
        self.texts: set[str] = set()
        self.hashed = False
        self.forms: list[bytes] = []
        self.codes: list[Code] = []
        self.places: dict[int, bytes] = {}
        self.views: dict[int, int] = {}
        self.given_views: list[Handle] = []
        self.tuples: dict[int, int] = {}
        self.given_tuples: list[tuple[Any, ...]] = []
        self._alive: list[Any] = []
        if before is not None:
            for name in _LISTS:
                getattr(self, name).extend(getattr(before, name))
            for name in ("places", "views", "tuples"):
                getattr(self, name).update(getattr(before, name))

    def look(self, values: Iterable[Any]) -> list[bytes]:
        """References to values; what they hold is looked at too.

        Raises NotCanonical or NotReusable for what has no bytes (open files, locks, ...).
        """
        found = [self.reference(x) for x in values]
        self.complete()
        return found

    def complete(self) -> None:
        """Look into every box that was met."""
        while len(self.forms) < len(self.boxes):
            self.forms.append(self.form(self.boxes[len(self.forms)]))

    def reference(self, x: Any) -> bytes:
        """`x` itself, if it is plain and has no content; otherwise its place."""
        kind = type(x)
        if kind in ATOMS:
            if kind is str and (x in FRAME_EFFECTS or OF_THE_CLOCK.match(x)):
                self.texts.add(x)
            return _atom(x)
        if isinstance(x, Handle):
            return self._array(x)
        if isinstance(x, tuple):
            return self._tuple(x)
        place = self.places.get(id(x))
        if place is not None:
            return place
        if kind is np.ndarray:
            self.plain.append(x)
            return self._place(x, b"p", len(self.plain))
        if isinstance(x, TracedGenerator):
            self.generators.append(x)
            return self._place(x, b"g", len(self.generators))
        if constants.is_member(x):
            held = of_member(x)
            head = self.reference(kind) + encode(x._name_) + encode(list(held))
            return b"member" + head + b"".join([self.reference(v) for v in held.values()])
        if layout_of(x) is not None or is_code(x):
            self.hashed = self.hashed or isinstance(x, set)
            self.boxes.append(x)
            return self._place(x, b"@", len(self.boxes))
        if frames.is_frame(x):
            self.frames.append(x)
            self.wary |= FRAME_EFFECTS
            return self._place(x, b"f", len(self.frames))
        if isinstance(x, ModuleType):
            return _module(x)
        constant = constants.content(x)
        if constant is not None:
            self.wary |= constants.effects(x)
            return constant
        if isinstance(x, frozenset):
            self.hashed = True
            return b"frozen" + _u32(len(x)) + b"".join([self.reference(v) for v in x])
        return encode(x)

    def _place(self, x: Any, tag: bytes, count: int) -> bytes:
        place = tag + _u32(count - 1)
        self.places[id(x)] = place
        self._alive.append(x)
        return place

    def _array(self, h: Handle) -> bytes:
        """A traced array: the place of the array that owns its elements, and the way to it."""
        root = root_of(h)
        place = self.places.get(id(root))
        if place is None:
            self.arrays.append(root)
            place = self._place(root, b"#", len(self.arrays))
        end = b"r" if locked(h) else b"w"
        if h is root:
            return place + end
        if id(h) not in self.views:
            self.views[id(h)] = len(self.given_views)
            self.given_views.append(h)
        return place + b"".join([spec.prefix for spec in h._path]) + b"/" + end

    def _tuple(self, x: tuple[Any, ...]) -> bytes:
        """Tuples never change, so they are written out; which one it is can matter to a result."""
        kind = type(x)
        if x and id(x) not in self.tuples:
            self.tuples[id(x)] = len(self.given_tuples)
            self.given_tuples.append(x)
        items = b"".join([self.reference(v) for v in x])
        if kind is tuple:
            return b"(" + _u32(len(x)) + items
        if not hasattr(kind, "_fields") or getattr(x, "__dict__", None):
            raise NotCanonical(f"a {kind.__qualname__}, a kind of tuple that lima does not know")
        return b"named" + self.reference(kind) + items

    def form(self, box: Any) -> bytes:
        """What one box holds."""
        layout = layout_of(box)
        if layout is None:
            code = code_of(behind(box))
            self.hashed = self.hashed or code.hashed()
            self.codes.append(code)
            head = b"code" + code.digest() + self.of_code(code)
            return head + b"".join([self.reference(v) for v in code.data()])
        if layout.fields is None:
            head = encode(type(box).__name__) + _settings(box)
        else:
            head = self._class(box, layout)
        items = layout.items(box)
        return head + _u32(len(items)) + b"".join([self.reference(v) for v in items])

    def _class(self, x: Any, layout: Layout) -> bytes:
        """The class of an object, its value where it is a number or text, and its fields."""
        kind = type(x)
        if not layout.known:
            raise NotCanonical(f"a {kind.__module__}.{kind.__qualname__}, which may hold more")
        scalar = next((base for base in SCALARS if isinstance(x, base)), None)
        value = b"" if scalar is None else encode(_scalar(scalar, x))
        assert layout.fields is not None
        return b"object" + self.reference(kind) + value + encode(layout.fields(x))

    def of_code(self, code: Code) -> bytes:
        """What code depends on that it does not hold: the options of pandas, if it uses that."""
        if not code.uses_pandas():
            return b""
        self.wary |= FRAME_EFFECTS
        return frames.settings()

    def settings(self, *codes: Code) -> bytes:
        """How NumPy makes text of arrays; and the names of what is called, where one is read."""
        every = (*codes, *self.codes)
        if not any(code.reads_labels() for code in every):
            return print_options()
        return print_options() + b"".join([text for code in every for text in code.labels()])

    def refuse_effects(self, codes: Iterable[Code] = ()) -> None:
        """Methods of frames and paths are not walked as code; those with effects have names.

        Raises NotReusable where the functions that were met, or `codes`, mention one.
        """
        telling = {x for x in self.texts if x in self.wary or tells_time(x, bool(self.wary))}
        if telling:
            raise NotReusable(f"it is given {min(telling)!r}, which may mean a time or an effect")
        if not self.wary:
            return
        foreign = frames.is_foreign if self.wary >= FRAME_EFFECTS else lambda name: False
        for code in (*codes, *(code_of(behind(b)) for b in self.boxes if is_code(b))):
            names = code.names()
            mentioned = names & (self.wary | GETTERS)
            mentioned = mentioned or {x for x in names if OF_THE_CLOCK.match(x) or foreign(x)}
            if mentioned:
                raise NotReusable(f"it mentions {min(mentioned)}, which may have effects")

    # ------------------------------------------------------------ contents of arrays

    def contents(self) -> list[bytes]:
        """The digests of arrays and generator states, in their order, and how arrays overlap."""
        nodes = [value_of(root).node for root in self.arrays]
        found = [node.digest for node in nodes]
        if not current().rounds and any(node.inexact for node in nodes):
            raise NotCanonical("an array that a rule derived in a session of another exactness")
        if self.plain:
            found += self.plain_contents(len(self.plain))
        found += [generator.state_node().digest for generator in self.generators]
        arrays = [*map(_plain_memory, self.arrays), *self.plain]
        for x in self.frames:
            found.append(frames.content(x))
            arrays += frames.arrays_of(x)
        views = any(a is not None and a.base is not None for a in arrays)
        if len(arrays) > 1 and (self.plain or views):
            found.append(overlaps(arrays))
        return found

    def frame_contents(self, count: int) -> list[bytes]:
        """What the frames hold that were met first."""
        return [frames.content(x) for x in self.frames[:count]]

    def plain_contents(self, count: int) -> list[bytes]:
        """The bytes of the plain arrays that were met first."""
        return [encode(a) + (b"w" if a.flags.writeable else b"r") for a in self.plain[:count]]


_LISTS = ("arrays", "plain", "boxes", "generators", "frames", "given_views", "given_tuples")


def _plain_memory(root: Handle) -> Any:
    """The array in plain code's memory that a root handle means; None for one of lima's."""
    value = root._value
    return value.data if isinstance(value, (Borrowed, Foreign)) else None


def overlaps(arrays: list[Any]) -> bytes:
    """Which arrays lie in common memory, and where in it; empty where all lie apart."""
    groups: dict[int, list[int]] = {}
    for k, a in enumerate(arrays):
        if a is not None:
            groups.setdefault(id(owner(a)), []).append(k)
    found = b""
    for group in groups.values():
        if len(group) > 1 and _touch([arrays[k] for k in group]):
            starts = [arrays[k].__array_interface__["data"][0] for k in group]
            found += encode((*group, *(s - min(starts) for s in starts)))
    return found


def _touch(arrays: list[Any]) -> bool:
    return any(share_memory(a, b) for k, a in enumerate(arrays) for b in arrays[:k])


def share_memory(a: Any, b: Any) -> bool:
    """Whether two arrays have an element in common; True also where that is too hard to say."""
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


# --------------------------------------------------------------------------- leaves of the look


def _atom(x: Any) -> bytes:
    if type(x) is range:
        return b"range" + encode((x.start, x.stop, x.step))
    return encode(x)


def _scalar(base: Any, x: Any) -> Any:
    """The number or text that an instance of a subclass is, whatever the subclass overrides."""
    if base is str:
        return str.__str__(x)
    return bytes.__getitem__(x, slice(None)) if base is bytes else base.__pos__(x)


def _module(x: ModuleType) -> bytes:
    plain = behind(x)
    if plain.__name__.partition(".")[0] not in ("numpy", "scipy"):
        raise NotCanonical(f"the module {plain.__name__}")
    return b"module" + encode(plain.__name__)


def _settings(box: Any) -> bytes:
    """What containers of Python's own have beside their items."""
    if hasattr(box, "maxlen"):
        return encode(box.maxlen)
    factory = getattr(box, "default_factory", None)
    if factory is None:
        return b""
    if not isinstance(factory, type):
        raise NotCanonical("a defaultdict whose factory is a function")
    return encode(f"{factory.__module__}.{factory.__qualname__}")
