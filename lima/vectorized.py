"""`np.vectorize` and `np.fromfunction` in traced code: the callback is a part of the operation.

A callback of `np.vectorize` gets numbers of Python's, one element at a time, so there is nothing
in it to trace. But its code, and all that this uses, has a digest, as that of a traced function
has. The call is one operation, named by that digest and by its arguments, if the callback turns
out to have had no effects; otherwise its result is a leaf.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from xxhash import xxh3_128_digest

from lima import twin
from lima.barriers import adopt, plain
from lima.bytecode import NotReusable
from lima.calls import LIFT, function, output, result
from lima.code import CALLABLES
from lima.errors import NotCanonical
from lima.frame import Frame, _frame, active
from lima.handle import Handle
from lima.keys import Scan
from lima.node import Spec, Unique, encode
from lima.op import OPS, clone, reference
from lima.ops.callbacks import RUNNING, Unsteady, remember
from lima.ops.spelling import SPELLINGS
from lima.runtime import apply
from lima.values import Value, error_modes

TRIALS = 16
"""Calls of a callback after which it is decided whether looking at what it uses pays."""

SHARE = 0.5
"""Part of the time of the calls that looking may take."""

KINDS = frozenset("biufcmM")
"""Kinds of results that are a step of the lineage; text and objects are leaves."""


class Account:
    """Seconds that the calls of one callback have taken, and looking at what it uses."""

    def __init__(self) -> None:
        self.calls = 0
        self.looking = 0.0
        self.running = 0.0
        self.runs = 0

    def pays(self) -> bool:
        """Whether calls take so long that looking is little beside it."""
        if self.calls < TRIALS or not self.runs:
            return True
        return self.looking / self.calls < SHARE * self.running / self.runs


_accounts: weakref.WeakKeyDictionary[Any, Account] = weakref.WeakKeyDictionary()
"""By the code of the callback: the `np.vectorize` object is often made for one call."""


def _account(callback: Any) -> Account:
    try:
        return _accounts.setdefault(getattr(callback, "__code__", callback), Account())
    except TypeError:  # what cannot be hashed, or referred to weakly
        return Account()


class Pinned:
    """A callback as it is now: what its code uses, and what that holds.

    token   16 bytes that two callbacks share only if they compute the same
    arrays  the traced arrays that it uses

    Raises NotReusable or NotCanonical for what has effects, or no bytes.
    """

    def __init__(self, owner: Vectorized) -> None:
        self.owner = owner
        self.how = owner.how()
        scan, self.token = self._look()
        self.arrays = scan.arrays
        self.light = not (scan.arrays or scan.plain or scan.frames)

    def _look(self) -> tuple[Scan, bytes]:
        scan = Scan()
        references = scan.look([self.owner.pyfunc])
        contents = scan.contents()
        scan.refuse_effects()
        modes = error_modes()
        if not _QUIET.issuperset(modes):
            raise NotReusable("np.errstate has effects")
        parts = [encode((modes, self.how)), scan.settings(), *references, *scan.forms, *contents]
        return scan, xxh3_128_digest(b"".join(parts))

    def __call__(self, args: Any, kwargs: Any) -> Any:
        """What NumPy gives; raises Unsteady where the callback has done more than compute."""
        frame = Frame(active())
        frame.inside = True
        token = _frame.set(frame)
        passed = self._as_they_are(args, kwargs)
        copies = _apart(passed)
        args = tuple([copies.get(k, x) for k, x in enumerate(args)])
        kwargs = {key: copies.get(key, x) for key, x in kwargs.items()}
        try:
            found = np.vectorize.__call__(self.owner, *args, **kwargs)
        finally:
            _frame.reset(token)
        if not _same(copies, passed):
            raise Unsteady(NOTHING, "which changes an argument")
        found = _plain(found)
        why = frame.refusal or _no_numbers(found)
        if why is None and not self.holds():
            why = "which changes something that it uses"
        if why is not None:
            raise Unsteady(found, why)
        return found

    def _as_they_are(self, args: Any, kwargs: Any) -> dict[Any, Any]:
        """The arguments that are excluded: the callback gets them whole, and may change them."""
        named = {**dict(enumerate(args)), **kwargs}
        return {key: named[key] for key in self.owner.excluded if key in named}

    def holds(self) -> bool:
        """Whether the callback is as it was."""
        try:
            return self._look()[1] == self.token
        except (NotReusable, NotCanonical, RecursionError):
            return False

    def live(self) -> Callable[[], Any]:
        """What gives the callback, as long as it is there and as it was, to recompute with.

        One that uses arrays is not kept alive for that.
        """
        owner = weakref.ref(self.owner)
        kept, token = self if self.light else None, self.token

        def get() -> Any:
            pinned, there = kept, owner()
            if pinned is None and there is not None:
                try:
                    pinned = Pinned(there)
                except (NotReusable, NotCanonical, RecursionError):
                    return None
            fresh = pinned is not None and pinned.token == token and pinned.holds()
            return (token, pinned) if fresh else None

        return get


_QUIET = frozenset({"ignore", "warn", "raise"})

NOTHING = object()
"""In the place of a result that is still to be computed."""


def _apart(x: Any) -> Any:
    """Copies of the arrays, lists and dicts that a callback is given as they are."""
    if isinstance(x, dict):
        return {key: _apart(item) for key, item in x.items()}
    if type(x) in (list, tuple):
        return type(x)(map(_apart, x))
    return clone(x) if type(x) is np.ndarray else x


def _same(x: Any, y: Any) -> bool:
    """Whether such copies hold what they held."""
    if isinstance(x, dict):
        return list(x) == list(y) and _same(list(x.values()), list(y.values()))
    if type(x) in (list, tuple):
        return type(x) is type(y) and len(x) == len(y) and all(map(_same, x, y))
    if type(x) is np.ndarray is type(y):
        return (x.shape, x.dtype) == (y.shape, y.dtype) and x.tobytes() == y.tobytes()
    return x is y


def _plain(found: Any) -> Any:
    """A callback with a signature may make traced arrays, and NumPy then puts such together."""
    if type(found) is tuple:
        return tuple([_plain(item) for item in found])
    return clone(plain(found)) if isinstance(found, Handle) else found


def _no_numbers(found: Any) -> str | None:
    items = found if type(found) is tuple else (found,)
    fits = all(type(item) is np.ndarray and item.dtype.kind in KINDS for item in items)
    return None if fits else "it gives no numbers"


class Vectorized(np.vectorize):
    """`np.vectorize`, whose results say where they come from."""

    _first: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if active() is None or not callable(self.pyfunc):
            return super().__call__(*args, **kwargs)
        name = str(getattr(self.pyfunc, "__qualname__", type(self.pyfunc).__qualname__))
        found, why = self._as_operation(name, args, kwargs)
        if why is None:
            return found
        if found is NOTHING:
            found = super().__call__(*args, **kwargs)
        return adopt(found, f"numpy.vectorize: calls {name} for each element; {why}")

    def _as_operation(self, name: str, args: Any, kwargs: Any) -> tuple[Any, str | None]:
        """The result as a step of the lineage, and None; or else what there is of it, and why."""
        if not self.is_first():
            return NOTHING, "which was exchanged"
        account = _account(self.pyfunc)
        if not account.pays():
            return NOTHING, "which takes less time than looking at what it uses"
        start = perf_counter()
        try:
            inputs: list[Any] = []
            pinned = Pinned(self)
            given = {
                "function": Unique(f"callback {name}", pinned.token),
                "args": reference(args, inputs, LIFT),
                "kwargs": reference(kwargs, inputs, LIFT),
                **dict(zip(HOW, pinned.how, strict=True)),
                "uses": reference(tuple(pinned.arrays), inputs, LIFT),
            }
            spec = Spec(_ROW.name, tuple(given.items()), 0, _ROW.version)
            _ = spec.prefix
        except (NotReusable, NotCanonical, RecursionError) as error:
            return NOTHING, f"{error}" or "which is nested too deeply"
        finally:
            account.calls += 1
            account.looking += perf_counter() - start
        found, why = _computed(account, pinned, spec, inputs)
        self._settle(args, kwargs)
        return (_shown(found) if why is None else found), why

    def how(self) -> tuple[Any, ...]:
        """The settings, as `HOW` names them."""
        otypes = self.otypes if self.otypes is None or type(self.otypes) is str else [*self.otypes]
        if not all(type(e) in (int, str) for e in self.excluded):
            raise NotCanonical("what is excluded is neither a number nor a name")
        excluded = sorted(self.excluded, key=lambda e: (type(e) is str, e))
        return otypes, self.signature, tuple(excluded), bool(self.cache)

    def is_first(self) -> bool:
        """Whether it has always been this callback: NumPy keeps what it made of an earlier one."""
        if self._first is None:
            self._first = (self.pyfunc, not vars(self)["_ufunc"])
        return self._first[0] is self.pyfunc and bool(self._first[1])

    def _settle(self, args: Any, kwargs: Any) -> None:
        """A reused call leaves behind what NumPy would: the universal function that it made."""
        if self.otypes is not None and self.signature is None and not (kwargs or self.excluded):
            nin, made = len(args), vars(self)["_ufunc"]
            if nin and nin not in made:
                made[nin] = np.frompyfunc(self.pyfunc, nin, len(self.otypes))


HOW = ("otypes", "signature", "excluded", "cache")
_ROW = OPS["vectorize"]


def _computed(
    account: Account, pinned: Pinned, spec: Spec, inputs: list[Any]
) -> tuple[Any, str | None]:
    def run(args: Any, kwargs: Any) -> Any:
        start = perf_counter()
        try:
            return pinned(args, kwargs)
        finally:
            account.runs += 1
            account.running += perf_counter() - start

    token = RUNNING.set((pinned.token, run))
    try:
        value = apply(_ROW, spec, inputs)
    except Unsteady as unsteady:
        return unsteady.found, f"{unsteady}"
    finally:
        RUNNING.reset(token)
    remember(pinned.token, pinned.live())
    return value, None


def _shown(value: Value) -> Any:
    if type(value.data) is tuple:
        return tuple([output(value, k) for k in range(len(value.data))])
    return result(value, _ROW)


def _of_plain(x: np.vectorize) -> Vectorized:
    """An `np.vectorize` of the user's module, under the same name and with the same state."""
    made: Vectorized = Vectorized.__new__(Vectorized)
    made.__dict__ = x.__dict__
    made.is_first()
    return made


def _fromfunction(*args: Any, **kwargs: Any) -> Any:
    """`np.fromfunction`: the function is called once, with traced indices."""
    frame = active()
    if frame is None or frame.namespace:  # of `lima.numpy`, where callbacks are plain code
        return np.fromfunction(*args, **kwargs)
    rest = dict(kwargs)
    rest.pop("like", None)
    named = dict(zip(("function", "shape"), args, strict=False))
    for name in ("function", "shape"):
        if name in rest and name not in named:
            named[name] = rest.pop(name)
    if len(named) != 2 or len(args) > 2:
        return np.fromfunction(*args, **kwargs)  # which raises
    indices = function(np.indices, (plain(named["shape"]),), {"dtype": rest.pop("dtype", float)})
    return named["function"](*indices, **rest)


CALLABLES[Vectorized] = CALLABLES[np.vectorize]
twin.SPECIAL[id(np.vectorize)] = Vectorized
twin.OBJECTS[np.vectorize] = _of_plain
SPELLINGS[np.fromfunction] = lambda args, kwargs: (_fromfunction, args, kwargs)
