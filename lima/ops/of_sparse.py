"""Rows of `scipy.sparse`: its functions, the methods of its classes, and its linear algebra.

A sparse operand stands in a call as `("csr_array", shape, extras, data, indices, indptr)`, its
arrays being inputs. So what is stored, hashed and cached are plain arrays; the sparse array itself
lives only while a kernel runs. Rows are read off SciPy's own classes: every public method has one.

SciPy changes sparse arrays behind the scenes (`A.max()` sums duplicates, in place). Kernels see
read-only arrays; where SciPy wants to write one, the call is run on copies, and what it changed is
part of the result (`lima.sparse` then does the same to the operands).
"""

from __future__ import annotations

import functools
import inspect
import operator
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lima.errors import UnsupportedError
from lima.formats import FLAGS, KINDS, Parts, built, class_of, kind_of, taken
from lima.node import content_bytes
from lima.op import MISSING, clone, op, owner
from lima.ops.callbacks import Unsteady
from lima.ops.spelling import spread

MATRIX = "np.matrix"
"""Stands before the array that a matrix is."""

AGAIN = "operand again"
"""Stands before the number of a sparse operand that was given before: one object, as it was."""

ATOMS = frozenset({type(None), bool, int, float, complex, str})

WRITES = frozenset({
    "__setitem__", "__imul__", "__itruediv__", "sum_duplicates", "sort_indices", "eliminate_zeros",
    "setdiag", "resize", "prune", "setattr",
})  # fmt: skip
"""Methods that are expected to write; others are first tried on read-only arrays."""

# --------------------------------------------------------------------------- one run


class Run:
    """One run of a function of SciPy's on operands that were taken apart.

    `places` says which arrays of the call are one array, where some are; `private` lets the
    function write, namely copies.

    given     the arrays of the call, in the order in which they stand
    held      what the function gets in their place
    operands  the sparse ones: object, parts, places of its arrays, attributes
    items     the parts of the result
    """

    def __init__(self, places: tuple[int, ...] | None, private: bool) -> None:
        self.places = places
        self.private = private
        self.given: list[Any] = []
        self.held: list[Any] = []
        self.operands: list[tuple[Any, Parts, list[int], dict[str, Any]]] = []
        self.items: list[Any] = [None]

    def operand(self, x: Any) -> Any:
        """What the function gets for an argument."""
        kind = type(x)
        if kind is np.ndarray or isinstance(x, np.generic):
            return self._array(x)
        if kind is tuple and x and type(x[0]) is str:
            if x[0] in KINDS:
                return self._sparse(*x)
            if x[0] == AGAIN:
                return self.operands[x[1]][0]
            if x[0] == MATRIX:
                return np.asarray(self._array(x[1])).view(np.matrix)
        if kind in (tuple, list):
            return kind([self.operand(item) for item in x])
        if kind is dict:
            return {key: self.operand(item) for key, item in x.items()}
        return x

    def _array(self, a: Any) -> Any:
        place = len(self.given)
        first = place if self.places is None else self.places[place]
        if first < place:
            held = self.held[first]
        elif type(a) is not np.ndarray:
            held = a
        elif self.private:
            held = clone(a)
        else:
            held = a.view()
            held.setflags(write=False)
        self.given.append(a)
        self.held.append(held)
        return held

    def _sparse(self, kind: str, shape: Any, extras: Any, *arrays: Any) -> Any:
        start = len(self.given)
        held = [self._array(a) for a in arrays]
        made = built(kind, shape, extras, held)
        places = list(range(start, len(self.given)))
        parts = Parts(kind, shape, extras, tuple(held))
        self.operands.append((made, parts, places, dict(made.__dict__)))
        return made

    # ------------------------------------------------------------ what came of it

    def packed(self, found: Any) -> Any:
        """`found` itself where it is one array or number and nothing changed.

        Else a tuple: (form of the result, what was written, what operands became), then the parts:
        those of the result, the arrays of the call, those of its sparse operands. None stands for
        what is no news, so that a part has the same place however the call was run.
        """
        form = self.form(found)
        writes = tuple(self._writes())
        changes = tuple(self._changes(bool(writes)))
        if not writes and not changes:
            if form == 1:
                return self.items[1]
            if type(form) is tuple and form[0] == "plain":
                return found
        while len(self.items) > 1 and self.items[-1] is None:
            self.items.pop()
        self.items[0] = (form, writes, changes)
        return tuple(self.items)

    def form(self, x: Any) -> Any:
        """How a result is made of items: a place, or a tuple that says what to make of what."""
        kind = type(x)
        for m, operand in enumerate(self.operands):
            if x is operand[0]:
                return ("operand", m)
        if kind is np.ndarray or isinstance(x, np.generic):
            return self.part(x)
        if kind is np.matrix:
            return (MATRIX, self.part(np.asarray(x)))
        if kind is tuple or kind is list:
            return (kind.__name__, *[self.form(item) for item in x])
        if kind in ATOMS:
            return ("plain", x)
        parts = taken(x) if kind_of(kind) else None
        if parts is not None:
            kept = [self.part(np.asarray(a)) for a in parts.arrays]
            return (parts.kind, parts.shape, parts.extras, *kept)
        if x is NotImplemented:
            return ("NotImplemented",)
        self.items.append(x)
        return ("object", len(self.items) - 1)

    def part(self, a: Any) -> Any:
        """The place of an array among the items; or that it is, or is cut from, a given one."""
        same = self._shared(a)
        if same is not None:
            self.items.append(None)
            return same
        if type(a) is np.ndarray and a.base is not None:
            memory = owner(a)
            if type(memory) is not np.ndarray or any(owner(h) is memory for h in self.held):
                a = a.copy(order="K")
        self.items.append(a)
        place = len(self.items) - 1
        locked = type(a) is np.ndarray and not a.flags.writeable
        return ("locked", place) if locked else place

    def _shared(self, a: Any) -> Any:
        if type(a) is not np.ndarray or a.size == 0:
            return next((("same", n) for n, h in enumerate(self.held) if h is a), None)
        memory = owner(a)
        for n, h in enumerate(self.held):
            if h is a:
                return ("same", n)
        for n, h in enumerate(self.held):
            if type(h) is not np.ndarray or owner(h) is not memory or h.dtype != a.dtype:
                continue
            if a.shape == h.shape and a.strides == h.strides and _address(a) == _address(h):
                return ("view", n)
            if a.size == h.size and a.flags.c_contiguous and h.flags.c_contiguous:
                return ("shaped", n, a.shape)
            cut = _cut(a, h)
            if cut is not None:
                return ("cut", n, *cut)
        return None

    def _writes(self) -> Iterator[tuple[int, int]]:
        """The arrays of the call that have other elements now."""
        for n, (given, held) in enumerate(zip(self.given, self.held, strict=True)):
            repeated = self.places is not None and self.places[n] < n
            if self.private and not repeated and type(held) is np.ndarray and _differ(given, held):
                self.items.append(held)
                yield n, len(self.items) - 1
            else:
                self.items.append(None)

    def _changes(self, wrote: bool) -> Iterator[tuple[Any, ...]]:
        """The sparse operands that consist of something else now."""
        for m, (x, before, places, fields) in enumerate(self.operands):
            if not self.private and all(x.__dict__[k] is v for k, v in fields.items()):
                self.items.extend([None] * len(places))
                continue
            after = taken(x, check=self.private)
            if after is None:
                raise UnsupportedError(
                    f"a traced {before.kind} holds what SciPy gives it: arrays, shape and flags; "
                    "keep other attributes elsewhere"
                )
            if not self.private:  # flags that appeared are what SciPy found out
                flags = tuple(e for e in before.extras if e[0] in FLAGS)
                after = after._replace(extras=flags + after.extras)
            refs = [self.part(np.asarray(a)) for a in after.arrays]
            same = refs == [("same", n) for n in self._firsts(places)]
            if not same or after[:3] != before[:3] or wrote:
                yield (m, after.shape, after.extras, *refs)

    def _firsts(self, places: list[int]) -> list[int]:
        return places if self.places is None else [self.places[n] for n in places]


def _cut(a: Any, h: Any) -> tuple[int, ...] | None:
    """Where the stretch `a` begins and ends in a vector, or in which line of a matrix and where."""
    if a.ndim != 1 or not 1 <= h.ndim <= 2 or a.strides != h.strides[-1:] or min(h.strides) <= 0:
        return None
    line, offset = 0, _address(a) - _address(h)
    if h.ndim == 2:
        line, offset = divmod(offset, h.strides[0])
    start, rest = divmod(offset, h.strides[-1])
    if rest or start + len(a) > h.shape[-1] or not (start >= 0 <= line < h.shape[0]):
        return None
    return (start, start + len(a)) if h.ndim == 1 else (line, start, start + len(a))


def _address(a: Any) -> int:
    return int(a.__array_interface__["data"][0])


def _differ(a: Any, b: Any) -> bool:
    if a.dtype.hasobject:
        return any(x is not y for x, y in zip(a.flat, b.flat, strict=True))
    return not np.array_equal(content_bytes(a), content_bytes(b))


def run(
    function: Callable[..., Any],
    named: dict[str, Any],
    places: tuple[int, ...] | None,
    private: bool = False,
) -> Any:
    """`function(**named)` on operands that are put together for it; see `Run.packed`."""
    if not private:
        now = Run(places, False)
        try:
            return now.packed(function(**now.operand(named)))
        except ValueError as error:
            if "read-only" not in str(error):
                raise
    now = Run(places, True)
    return now.packed(function(**now.operand(named)))


# --------------------------------------------------------------------------- calls as rows


@functools.lru_cache(maxsize=1024)
def signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


def method_of(kind: str, name: str) -> Any:
    """The function behind a method of a class; None where the class has none."""
    found = getattr(class_of(kind), name, None)
    return found if inspect.isfunction(found) else None


def called(function: Any, /, **arguments: Any) -> Any:
    """The call with all arguments by name, also those that are given by position only."""
    bound = inspect.BoundArguments(signature(function), arguments)
    return function(*bound.args, **bound.kwargs)


def _method(name: str, /, **arguments: Any) -> Any:
    return called(getattr(type(arguments["self"]), name), **arguments)


def _property(name: str, self: Any) -> Any:
    return getattr(self, name)


def rows_of(self: Any) -> list[Any]:
    """What a loop over it meets."""
    return list(self)


def set_attribute(self: Any, name: str, value: Any) -> None:
    """`self.name = value`."""
    if name.startswith("_"):
        raise UnsupportedError(f"{name} of a traced sparse array cannot be set")
    setattr(self, name, value)


def _kernel(function: Callable[..., Any], private: bool = False) -> Callable[..., Any]:
    def kernel(*, places: Any = None, **named: Any) -> Any:
        named = {key.rstrip("_"): value for key, value in named.items()}
        return run(function, named, places, private)

    return kernel


def sparse_row(
    name: str, function: Callable[..., Any], names: Any, text: str, **facts: Any
) -> None:
    """A row whose calls are written as `sparse_call(text, ...)`, see `lima.ops.sparse_text`."""
    private = facts.pop("private", False)
    kernel = facts.pop("kernel", None) or _kernel(function, private)

    def source(inputs: list[str], params: dict[str, str]) -> str:
        named = [f"{key.rstrip('_')}={value}" for key, value in params.items()]
        return f"sparse_call({', '.join([text, *named])})"

    params = dict.fromkeys((*map(key_of, names), "places"), MISSING)
    op(
        name,
        kernel,
        operands="",
        params=params,
        calls=(),
        wrap=tuple,
        source=source,
        **{"weight": 8.0, **facts},
    )


def _function(name: str, function: Any, **facts: Any) -> None:
    names = signature(function).parameters
    sparse_row(name, functools.partial(called, function), names, name, **facts)


def key_of(name: str) -> str:
    """The parameter for an argument: `out` has a meaning of its own in specs."""
    return "out_" if name == "out" else name


METHOD = "scipy.sparse.sparray."
"""What names of rows begin with that are methods, properties or operators of sparse arrays."""

_TEXTS = {
    "neg": "-a", "abs": "abs(a)", "add": "a + b", "sub": "a - b", "mul": "a * b",
    "truediv": "a / b", "floordiv": "a // b", "mod": "a % b", "pow": "a**b", "matmul": "a @ b",
    "eq": "a == b", "ne": "a != b", "lt": "a < b", "le": "a <= b", "gt": "a > b", "ge": "a >= b",
}  # fmt: skip

UNARY = frozenset({"neg", "abs"})
BINARY = frozenset(_TEXTS) - UNARY


def _operator(name: str) -> Callable[..., Any]:
    function = getattr(operator, f"__{name}__")
    return (lambda a: function(a)) if name in UNARY else (lambda a, b: function(a, b))


OPERATORS = {name: _operator(name) for name in _TEXTS}
"""Python's operators as functions of `a` and `b`."""

PROPERTIES = ("T", "real", "imag")
DUNDERS = "__getitem__ __setitem__ __imul__ __itruediv__ __round__"


def sparse(module: Any) -> None:
    """The rows of `scipy.sparse`."""
    classes = [class_of(kind) for kind in sorted(KINDS)]
    public = {n for c in classes for n in dir(c) if not n.startswith("_")} | set(DUNDERS.split())
    for name in sorted(public):
        found = [f for c in classes if inspect.isfunction(f := getattr(c, name, None))]
        if found:
            names = {n: None for f in found for n in signature(f).parameters}
            function = functools.partial(_method, name)
            private = name in WRITES
            sparse_row(METHOD + name.strip("_"), function, names, repr(name), private=private)
    for name in PROPERTIES:
        text = f"lambda self: self.{name}"
        sparse_row(METHOD + name, functools.partial(_property, name), ("self",), text)
    text = "lambda self, name, value: setattr(self, name, value)"
    sparse_row(METHOD + "setattr", set_attribute, ("self", "name", "value"), text, private=True)
    sparse_row(METHOD + "iter", rows_of, ("self",), "lambda self: list(self)")
    for name, operation in OPERATORS.items():
        operands = signature(operation).parameters
        sparse_row(
            METHOD + name, operation, operands, f"lambda {', '.join(operands)}: {_TEXTS[name]}"
        )
    for name in sorted(KINDS):
        _function(f"scipy.sparse.{name}", class_of(name))
    _functions(module, CONSTRUCTION)
    op(WHOLE, _whole, operands="", params={"parts": MISSING}, calls=(), source=_whole_text)


CONSTRUCTION = """
    eye eye_array identity diags diags_array spdiags kron kronsum hstack vstack bmat block_array
    block_diag tril triu find expand_dims swapaxes permute_dims
"""

SOLVERS = """
    spsolve spsolve_triangular norm inv cg cgs bicg bicgstab gmres minres qmr lsqr lsmr
"""

EIGEN = "eigsh eigs"
"""They begin with a random vector, and go on with another where they have found an invariant
subspace. What they drew can be told by the generator that they are given."""

ESTIMATES = "expm expm_multiply onenormest"
"""They may estimate norms with random vectors, drawn from NumPy's global generator."""

GRAPHS = """
    connected_components shortest_path dijkstra bellman_ford johnson floyd_warshall yen laplacian
    minimum_spanning_tree breadth_first_order depth_first_order breadth_first_tree
    depth_first_tree reverse_cuthill_mckee structural_rank maximum_bipartite_matching
    min_weight_full_bipartite_matching csgraph_from_dense csgraph_to_dense construct_dist_matrix
    reconstruct_path
"""
"""Not those that work on masked arrays, nor `maximum_flow`, which gives an object."""

UNSEEDED = "draws random numbers that nobody seeded"


def _without_seed(named: dict[str, Any]) -> str | None:
    rng = named.get("rng")
    if rng is None:
        return UNSEEDED if named.get("v0") is None else None
    return None if _is_seed(rng) else "draws from a generator that it is given"


def _is_seed(x: Any) -> bool:
    return type(x) is int or isinstance(x, np.integer)


def _svds(named: dict[str, Any]) -> str | None:
    if named.get("solver", "arpack") in ("propack", "lobpcg"):
        return None if _is_seed(named.get("rng")) else UNSEEDED
    return "may draw random numbers that cannot be seeded"


BARRED: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "scipy.sparse.linalg.norm": lambda named: (
        UNSEEDED if _is_number(named.get("ord"), 2, -2) else None
    ),
    "scipy.sparse.linalg.eigsh": _without_seed,
    "scipy.sparse.linalg.eigs": _without_seed,
    "scipy.sparse.linalg.svds": _svds,
    "scipy.sparse.csgraph.laplacian": lambda named: (
        None if named.get("form", "array") == "array" else "gives a function"
    ),
}
"""Why a function with a row is a barrier for some arguments."""


def _is_number(x: Any, *wanted: int) -> bool:
    return isinstance(x, (int, float, np.number)) and x in wanted


def _functions(module: Any, names: str, **facts: Any) -> None:
    for name in names.split():
        function = getattr(module, name, None)
        if function is not None:  # a later SciPy may lack it, an earlier one have it not yet
            _function(f"{module.__name__}.{name}", function, **facts)


WHOLE = f"{METHOD}of"
"""The row that puts the arrays of a sparse result together, where lineage ends with it."""


def _whole(parts: Any) -> Any:
    kind, shape, extras, *arrays = parts
    return built(kind, shape, extras, [np.array(a) for a in arrays])


def _whole_text(inputs: list[str], params: dict[str, str]) -> str:
    return f"sparse({spread(params['parts'])})"


def linalg(module: Any) -> None:
    """The rows of `scipy.sparse.linalg`."""
    _functions(module, SOLVERS, weight=64.0)
    # They write their first vectors, and compute otherwise where these are read-only.
    _functions(module, "svds lobpcg", weight=64.0, private=True)
    for name in EIGEN.split():
        function = getattr(module, name)
        if "rng" in signature(function).parameters:  # before SciPy 1.17 it draws unseen
            _drawing(f"{module.__name__}.{name}", functools.partial(_with_generator, function))
    estimating = inspect.getmodule(module.onenormest)
    if estimating and "np.random.randint(" in inspect.getsource(estimating):
        for name in ESTIMATES.split():
            function = getattr(module, name)
            _drawing(f"{module.__name__}.{name}", functools.partial(_watching, function))


def csgraph(module: Any) -> None:
    """The rows of `scipy.sparse.csgraph`."""
    _functions(module, GRAPHS, weight=64.0)


# --------------------------------------------------------------------------- random numbers


Drawn = Callable[[], bool]
"""Says whether random numbers were drawn since."""


def _drawing(name: str, watched: Callable[[dict[str, Any]], tuple[Any, Drawn]]) -> None:
    """A row of a function that may draw random numbers: its kernel raises Unsteady if it did."""
    function = watched.args[0]  # type: ignore[attr-defined]

    def kernel(*, places: Any = None, **named: Any) -> Any:
        named = {key.rstrip("_"): value for key, value in named.items()}
        run_it, drawn = watched(named)
        found = run(run_it, named, places)
        if drawn():
            raise Unsteady(found, UNSEEDED)
        return found

    names = signature(function).parameters
    sparse_row(name, functools.partial(called, function), names, name, weight=64.0, kernel=kernel)


def _with_generator(function: Any, named: dict[str, Any]) -> tuple[Any, Drawn]:
    """The function with a generator as it would make itself, if it is given none."""
    if named.get("rng") is not None:
        return functools.partial(called, function), lambda: False
    rng = np.random.default_rng()
    before = rng.bit_generator.state
    return functools.partial(called, function, rng=rng), lambda: rng.bit_generator.state != before


def _watching(function: Any, named: dict[str, Any]) -> tuple[Any, Drawn]:
    """The function, and a look at NumPy's global generator."""
    before = _state()
    return functools.partial(called, function), lambda: _state() != before


def _state() -> bytes:
    return pickle.dumps(np.random.get_state(legacy=False))
