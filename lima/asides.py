"""Calls that run as plain NumPy, since tracing them does not pay (D16).

`lima.trials` notices while a call runs that its operations are tiny and none is found. The call
is run anew then, untraced, on copies of its arguments, and so are later calls of the function with
arguments of that size. What it gives is taken only if it has done nothing but compute: where it
wrote an argument, returned a part of one, changed a global or raised, everything is put back, it
runs traced after all, and the function is not tried again. The lineage is there for those who
ask: the call is traced then (`lima.histories`).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from functools import lru_cache
from types import CellType, FunctionType, ModuleType
from typing import Any

import numpy as np

from lima import histories, leaves
from lima.barriers import leaf_value
from lima.bytecode import NotReusable
from lima.code import BEHIND, MAKERS, TRACED, behind, code_of, is_code
from lima.errors import NotCanonical
from lima.frame import PLAINLY, Frame, _frame
from lima.handle import Handle, data_of, handle, locked, new_handle, value_of
from lima.kept import Kept, overwrite
from lima.node import Node, leaf
from lima.op import clone
from lima.sessions import _session, current
from lima.stats import Outcome, outcome_row
from lima.tree import remember
from lima.trials import Trial
from lima.values import Foreign, error_modes, new_value, size_of
from lima.walk import ATOMS

LARGEST = 1 << 21
"""Bytes of arguments and globals up to which a call may run untraced: heavy operations, whose reuse
would pay, have larger operands."""

ITEM = 512
"""Bytes of an array that take as long to copy as an item of a list, with what it is, about."""

KINDS = frozenset("biufcmM")
"""Kinds of arrays that such a call may be given and may give."""


class Aside:
    """A call that could run as plain NumPy.

    whole   whether all its arrays are plain ones that entered with it, so that its results are
            handed out as they are
    nbytes  of its arrays, and about those of its lists, tuples and dicts
    """

    def __init__(self, work: Any, look: Any, args: Any, kwargs: Any, whole: bool) -> None:
        self.work = work
        self.look = look
        self.args = args
        self.kwargs = kwargs
        self.whole = whole
        metas = [root._value.meta for root in look.scan.arrays]
        self.nbytes = sum([dtype.itemsize * size_of(shape) for shape, dtype in metas])
        self.nbytes += sum([a.nbytes for a in look.scan.plain])
        boxes = [box for box in look.scan.boxes if type(box) in (list, dict)]
        self.nbytes += ITEM * sum(map(len, [*boxes, *look.scan.given_tuples]))

    def trial(self, here: Any) -> Trial:
        """What notices whether this call had better run so."""
        return Trial(here, self.look.untouched, self._note)

    def _note(self) -> None:
        """Copy what the call was given and uses, as long as it is as it was at the start."""
        scan = self.look.scan
        self.noted = [Kept(h._value.node, clone(data_of(h))) for h in scan.arrays]
        self.plain = [a.copy() for a in scan.plain]
        self.held = [(box, box.copy()) for box in scan.boxes if type(box) in (list, dict)]

    def put_back(self) -> None:
        """Undo what the traced call went on to write after it had been ended."""
        if self.look.untouched():
            return
        for h, kept in zip(self.look.scan.arrays, self.noted, strict=True):
            overwrite(h, kept)
        self._put_back_plain(self.plain)
        for box, old in self.held:
            box.clear()
            (box.extend if type(box) is list else box.update)(old)
        self.look.begin()

    def _put_back_plain(self, before: list[Any]) -> None:
        for a, old in zip(self.look.scan.plain, before, strict=True):
            if a.tobytes() != old.tobytes():
                a[...] = old

    def run(self, originals: dict[int, tuple[Handle, Any]], trial: Trial | None) -> Any:
        """What the plain function gives; NOTHING where it does more than compute."""
        copies = Copies(originals, set(map(id, self.look.scan.arrays)))
        before = [a.copy() for a in self.look.scan.plain]
        args, kwargs = copies.of(self.args), copies.of(self.kwargs)
        reasons: list[str] = []
        token, plainly = _frame.set(None), PLAINLY.set(reasons)
        try:
            result = _untwined(self.work)(*args, **kwargs)
            fits = self._fits(result, copies) and not reasons
        except KeyboardInterrupt:
            raise
        except BaseException:  # it will be raised by the traced call, as it always is
            fits = False
        finally:
            _frame.reset(token)
            PLAINLY.reset(plainly)
        if not fits:
            self._put_back_plain(before)
            return NOTHING
        return self._adopted(result, copies, trial)

    def _fits(self, result: Any, copies: Copies) -> bool:
        """Whether the call has only computed, and gave plain arrays of its own."""
        found = list(_arrays(result, copies.boxes()))
        given = copies.arrays()
        for x in found:
            if x is None or isinstance(x, Handle) or x.dtype.kind not in KINDS:
                return False
            if type(x) is np.ndarray and any(np.may_share_memory(x, a) for a in given):
                return False
        if not self.whole:
            owners = [x for x in found if type(x) is np.ndarray]
            known = set(map(id, self.look.scan.plain))
            fresh = all(x.base is None and x.flags.writeable and id(x) not in known for x in owners)
            if not fresh or len(set(map(id, owners))) < len(owners):
                return False
        return copies.hold() and self.look.untouched()

    def _adopted(self, result: Any, copies: Copies, trial: Trial | None) -> Any:
        """The result as the caller gets it, with a history for those who ask."""
        why = f"{self.work.function.__qualname__} ran as plain NumPy: tracing it does not pay"
        if trial is not None:
            mean = trial.seconds / trial.operations * 1e6
            why += f" ({trial.operations:,} operations took {mean:.1f} µs each, traced)"
        nodes: list[Node] = []
        found = list(_arrays(result))
        for x in found:
            node = leaf(x)
            node.outcome = outcome_row(Outcome.ASIDE, why=why)
            nodes.append(node)
            remember(x, node)
        digests = [node.digest for node in nodes]
        anew = _Anew(self, copies, digests)
        histories.note(digests, anew.trace, self.nbytes)
        return result if self.whole else _handles(result, iter(nodes), {})


NOTHING = object()
"""What `Aside.run` gives where a call cannot run so."""


def aside(
    work: Any,
    look: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    frame: Frame,
    originals: dict[int, tuple[Handle, Any]],
) -> Aside | None:
    """The call as one that can run untraced, if it can."""
    scan = look.scan
    if work.barred or work.ignore or scan.generators or scan.frames or scan.given_views:
        return None
    if not work.code.only_computes():
        return None
    given = _met((args, kwargs), set())
    for box in scan.boxes:
        if type(box) in (list, dict):
            if id(box) not in given:
                return None  # what it did to a list of its own could not be taken back
        elif not is_code(behind(box)) or not code_of(behind(box)).only_computes():
            return None
    if not all(id(root) in given for root in scan.arrays):
        return None
    arrays = [root._value.data for root in scan.arrays]
    if any(np.may_share_memory(a, b) for a in scan.plain for b in arrays if b is not None):
        return None
    if not all(a.dtype.kind in KINDS for a in scan.plain):
        return None
    for root in scan.arrays:
        value = root._value
        if root._base is not None or type(value) is Foreign or value.meta[1].kind not in KINDS:
            return None
        if getattr(root, "_rivals", None) is not None:
            return None
    outer = frame.outer
    while outer is not None:
        if outer.trial is not None:
            return None  # that one is judged
        outer = outer.outer
    whole = frame.outer is None and all(id(root) in originals for root in scan.arrays)
    made = Aside(work, look, args, kwargs, whole)
    return made if made.nbytes <= LARGEST else None


def _untwined(work: Any) -> Any:
    """The function with NumPy's own names, and those of its module, in the place of traced twins.

    Twins do what the originals do while nothing is traced, but each call of one takes longer. Those
    that may draw random numbers stay: they know what only traced calls can do (`only_traced`).
    The code assigns no global (`lima.bytecode`), so a copy of them does. What warnings were given
    is remembered among the globals.
    """
    function = work.function
    scope = function.__globals__
    scope.setdefault("__warningregistry__", {})
    made = dict(scope)
    draws = not MAKERS.isdisjoint(work.code.names())
    for name, value in scope.items():
        if type(value) in BEHIND or (type(value) is FunctionType and value in TRACED):
            plain = behind(value)
            own = type(plain) is FunctionType and plain.__globals__ is scope
            if own:
                made[name] = _with_globals(plain, made)
            elif plain is np and draws:
                made[name] = _with_random(value.random)
            elif _is_of_numpy(plain, draws):
                made[name] = plain
    return _with_globals(function, made, not draws)


@lru_cache(maxsize=4)
def _with_random(twin: Any) -> ModuleType:
    """NumPy, but for its random numbers."""
    made = ModuleType("numpy")
    made.__dict__.update(vars(np), random=twin)
    return made


def _is_of_numpy(x: Any, draws: bool = False) -> bool:
    """Whether a module or function is NumPy's, and where code `draws`, none of random numbers."""
    home = str(x.__name__ if isinstance(x, ModuleType) else getattr(x, "__module__", None))
    return home.partition(".")[0] == "numpy" and not (draws and home.startswith("numpy.random"))


def _with_globals(f: Any, scope: dict[str, Any], cells_too: bool = False) -> Any:
    cells = [_plain_cell(cell) if cells_too else cell for cell in f.__closure__ or ()]
    made = FunctionType(f.__code__, scope, f.__name__, f.__defaults__, tuple(cells) or None)
    made.__kwdefaults__ = f.__kwdefaults__
    made.__dict__.update(f.__dict__)
    return made


def _plain_cell(cell: Any) -> Any:
    """A cell without a twin; no code assigns what it holds (`Code.only_computes`)."""
    try:
        held = cell.cell_contents
    except ValueError:  # it is empty
        return cell
    plain = behind(held) if type(held) in BEHIND else held
    return CellType(plain) if plain is not held and _is_of_numpy(plain) else cell


def _met(x: Any, found: set[int]) -> set[int]:
    """The ids of the traced arrays, lists and dicts in arguments."""
    if isinstance(x, Handle):
        found.add(id(x))
    elif isinstance(x, (tuple, list, dict)) and id(x) not in found:
        if not isinstance(x, tuple):
            found.add(id(x))
        for item in x.values() if isinstance(x, dict) else x:
            _met(item, found)
    return found


class Copies:
    """Arguments for plain code, which nobody else sees.

    looked_at   ids of the traced arrays that decide what the call gives; others are None
    """

    def __init__(self, originals: dict[int, tuple[Handle, Any]], looked_at: set[int]) -> None:
        self.originals = originals
        self.looked_at = looked_at
        self.made: dict[int, tuple[Any, Any]] = {}  # what was copied, by its id, and the copy

    def of(self, x: Any) -> Any:
        """An argument as a copy: arrays plain; what holds neither arrays nor lists is itself."""
        known = self.made.get(id(x))
        if known is not None:
            return known[1]
        kind = type(x)
        if isinstance(x, Handle):
            made = self._array(x) if id(x) in self.looked_at else None
        elif isinstance(x, tuple):
            items = [self.of(item) for item in x]
            if all(a is b for a, b in zip(items, x, strict=True)):
                return x
            made = tuple(items) if kind is tuple else tuple.__new__(kind, items)
        elif kind is list:
            made = []
            self.made[id(x)] = x, made
            made.extend([self.of(item) for item in x])
        elif kind is dict:
            made = {}
            self.made[id(x)] = x, made
            made.update([(key, self.of(item)) for key, item in x.items()])
        else:
            return x
        self.made[id(x)] = x, made
        return made

    def _array(self, h: Handle) -> Any:
        known = self.originals.get(id(h))
        data = data_of(h) if known is None else known[1]
        if type(data) is not np.ndarray:
            return data
        made = clone(data)
        made.setflags(write=not locked(h))
        return made

    def arrays(self) -> list[Any]:
        return [made for _, made in self.made.values() if type(made) is np.ndarray]

    def boxes(self) -> set[int]:
        """The ids of the copied lists and dicts."""
        return {id(made) for _, made in self.made.values() if type(made) in (list, dict)}

    def handles(self) -> Iterator[tuple[Handle, Any]]:
        """The traced arrays with their copies."""
        items = self.made.values()
        return ((x, made) for x, made in items if isinstance(x, Handle) and made is not None)

    def hold(self) -> bool:
        """Whether nobody has written them."""
        return all(self._is_as(x, made) for x, made in self.made.values())

    def _is_as(self, x: Any, made: Any) -> bool:
        if isinstance(x, Handle):
            if type(made) is not np.ndarray:
                return True
            a: Any = np.asarray(data_of(x))
            same = (made.shape, made.strides, made.dtype) == (a.shape, a.strides, a.dtype)
            return same and made.tobytes() == a.tobytes()
        if type(x) is dict:
            if list(map(id, x)) != list(map(id, made)):
                return False
            x, made = list(x.values()), list(made.values())
        return len(x) == len(made) and all(
            self._is_same(a, b) for a, b in zip(x, made, strict=True)
        )

    def _is_same(self, a: Any, b: Any) -> bool:
        known = self.made.get(id(a))
        if known is not None or not isinstance(a, tuple):
            return b is (a if known is None else known[1])
        return type(a) is type(b) and all(self._is_same(x, y) for x, y in zip(a, b, strict=True))


def _arrays(x: Any, not_these: set[int] | frozenset[int] = frozenset()) -> Iterator[Any]:
    """The arrays and NumPy numbers in a result, in its order; None for what may be anything, and
    for lists and dicts that are `not_these`.
    """
    kind = type(x)
    if kind is np.ndarray or isinstance(x, (Handle, np.generic)):
        yield x
    elif kind in (list, dict) and id(x) in not_these:
        yield None
    elif kind in (list, tuple) or (isinstance(x, tuple) and hasattr(x, "_fields")):
        for item in x:
            yield from _arrays(item, not_these)
    elif kind is dict:
        for key, item in x.items():
            if type(key) not in ATOMS:
                yield None
            yield from _arrays(item, not_these)
    elif kind not in ATOMS:
        yield None


def _handles(x: Any, nodes: Iterator[Node], made: dict[int, Any]) -> Any:
    """A result with traced arrays in the place of plain ones; what is one thing stays one."""
    kind = type(x)
    if kind is np.ndarray or isinstance(x, np.generic):
        value = leaf_value(x)
        value.node = next(nodes)
        return handle(value)
    if isinstance(x, (tuple, list, dict)):
        held = x.values() if isinstance(x, dict) else x
        items = [_handles(item, nodes, made) for item in held]
        if id(x) not in made:
            if isinstance(x, tuple):
                made[id(x)] = tuple(items) if kind is tuple else tuple.__new__(kind, items)
            else:
                made[id(x)] = items if kind is list else dict(zip(x, items, strict=True))
        return made[id(x)]
    return x


class _Anew:
    """What traces a call that ran untraced, as long as its function is what it was."""

    def __init__(self, call: Aside, copies: Copies, digests: list[bytes]) -> None:
        self.work = call.work
        self.key = call.look.key
        self.args, self.kwargs = copies.of(call.args), copies.of(call.kwargs)
        self.given = {id(made): (h._value.node, made, locked(h)) for h, made in copies.handles()}
        self.modes = error_modes()
        self.digests = digests

    def trace(self) -> list[Node] | None:
        """The nodes of its results; None if it gives other ones now."""
        made: dict[int, Any] = {}
        args, kwargs = self._traced(self.args, made), self._traced(self.kwargs, made)
        here = copy.copy(current())
        here.reuses = here.functions = here.asides = False
        token, outside = _session.set(here), _frame.set(None)
        modes = dict(zip(np.geterr(), self.modes, strict=True))
        try:
            with warnings.catch_warnings(), np.errstate(**modes):  # type: ignore[arg-type]
                warnings.simplefilter("ignore")
                if self.work.key_of(args, kwargs) != self.key:
                    return None
                found = list(_arrays(self.work.traced(args, kwargs)))
                nodes = [value_of(x).node if isinstance(x, Handle) else leaf(x) for x in found]
                data = [data_of(x) if isinstance(x, Handle) else x for x in found]
                same = [leaf(x).digest for x in data] == self.digests
        except (Exception, NotReusable, NotCanonical):
            return None
        finally:
            _frame.reset(outside)
            _session.reset(token)
        return nodes if same else None

    def _traced(self, x: Any, made: dict[int, Any]) -> Any:
        """An argument with traced arrays in the place of the plain copies, once each."""
        if id(x) in made:
            return made[id(x)]
        if id(x) in self.given:
            node, data, readonly = self.given[id(x)]
            if node.is_leaf and type(data) is np.ndarray:
                leaves.hold(node.digest, data)  # so that the lineage can be computed again
            value = new_value(node, data)
            value.shared = True
            made[id(x)] = h = new_handle(value)
            h._locked = readonly
            return h
        if isinstance(x, tuple):
            items = [self._traced(item, made) for item in x]
            if all(a is b for a, b in zip(items, x, strict=True)):
                return x
            made[id(x)] = tuple(items) if type(x) is tuple else tuple.__new__(type(x), items)
            return made[id(x)]
        if type(x) is list:
            made[id(x)] = found = []
            found.extend([self._traced(item, made) for item in x])
            return found
        if type(x) is dict:
            pairs: dict[Any, Any] = {}
            made[id(x)] = pairs
            pairs.update([(key, self._traced(item, made)) for key, item in x.items()])
            return pairs
        return x
