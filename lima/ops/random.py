"""Rows of random numbers (D11): a draw takes a generator state in and gives a state out.

A state is the dictionary that NumPy's bit generators show as `state`, under the key "interface"
the class that draws from it. A draw's kernel starts a generator from the state, so a log replays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lima.op import OPS, Kind, op
from lima.ops import reach_axes

State = dict[str, Any]

INTERFACES: dict[str, Callable[[Any], Any]] = {
    "Generator": np.random.Generator,
    "RandomState": np.random.RandomState,
}
BIT_GENERATORS: dict[str, Callable[[], Any]] = {
    "PCG64": np.random.PCG64,
    "PCG64DXSM": np.random.PCG64DXSM,
    "MT19937": np.random.MT19937,
    "Philox": np.random.Philox,
    "SFC64": np.random.SFC64,
}


def state_of(generator: Any) -> State:
    """The state of a Generator or RandomState, as a value that can be kept and digested."""
    interface = "RandomState" if isinstance(generator, np.random.RandomState) else "Generator"
    if interface == "RandomState":
        state = dict(generator.get_state(legacy=False))
    else:
        state = dict(generator.bit_generator.state)
    return {"interface": interface, **state}


def set_state(generator: Any, state: State) -> None:
    """Put a generator into a state that `state_of` gave."""
    bare = {k: v for k, v in state.items() if k != "interface"}
    if state["interface"] == "RandomState":
        generator.set_state(bare)
    else:
        generator.bit_generator.state = bare


def generator_in(state: State) -> Any:
    """A new generator in the given state."""
    bits = BIT_GENERATORS[state["bit_generator"]]()
    made = INTERFACES[state["interface"]](bits)
    set_state(made, state)
    return made


def _made(state: State) -> State:
    return state


def _seeded(seed: Any) -> State:
    return state_of(np.random.default_rng(seed))


def _seeded_legacy(seed: Any) -> State:
    return state_of(np.random.RandomState(seed))


op("generator", _made, Kind.EFFECT, calls=(), operands="", params={"state": None})
op("default_rng", _seeded, Kind.EFFECT, calls=(), operands="", params={"seed": None},
   source=lambda texts, params: f"np.random.default_rng({params.get('seed', '')})")  # fmt: skip
op("RandomState", _seeded_legacy, Kind.EFFECT, calls=(), operands="", params={"seed": None},
   source=lambda texts, params: f"np.random.RandomState({params.get('seed', '')})")  # fmt: skip

# --------------------------------------------------------------------------- draws

BOTH = """
beta: a, b, size=None
binomial: n, p, size=None
bytes: length
chisquare: df, size=None
dirichlet: alpha, size=None
exponential: scale=1.0, size=None
f: dfnum, dfden, size=None
gamma: shape, scale=1.0, size=None
geometric: p, size=None
gumbel: loc=0.0, scale=1.0, size=None
hypergeometric: ngood, nbad, nsample, size=None
laplace: loc=0.0, scale=1.0, size=None
logistic: loc=0.0, scale=1.0, size=None
lognormal: mean=0.0, sigma=1.0, size=None
logseries: p, size=None
multinomial: n, pvals, size=None
negative_binomial: n, p, size=None
noncentral_chisquare: df, nonc, size=None
noncentral_f: dfnum, dfden, nonc, size=None
normal: loc=0.0, scale=1.0, size=None
pareto: a, size=None
poisson: lam=1.0, size=None
power: a, size=None
rayleigh: scale=1.0, size=None
standard_cauchy: size=None
standard_t: df, size=None
triangular: left, mode, right, size=None
uniform: low=0.0, high=1.0, size=None
vonmises: mu, kappa, size=None
wald: mean, scale, size=None
weibull: a, size=None
zipf: a, size=None
"""
GENERATOR = """
choice: a, size=None, replace=True, p=None, axis=0, shuffle=True
integers: low, high=None, size=None, dtype=np.dtype('int64'), endpoint=False
multivariate_hypergeometric: colors, nsample, size=None, method='marginals'
multivariate_normal: mean, cov, size=None, check_valid='warn', tol=1e-08, method='svd'
permutation: x, axis=0
permuted: x, axis=None
random: size=None, dtype=np.dtype('float64')
standard_exponential: size=None, dtype=np.dtype('float64'), method='zig'
standard_gamma: shape, size=None, dtype=np.dtype('float64')
standard_normal: size=None, dtype=np.dtype('float64')
shuffle: x, axis=0
"""
RANDOM_STATE = """
choice: a, size=None, replace=True, p=None
multivariate_normal: mean, cov, size=None, check_valid='warn', tol=1e-08
permutation: x
rand: *size
randint: low, high=None, size=None, dtype=np.dtype('int64')
randn: *size
random: size=None
random_integers: low, high=None, size=None
random_sample: size=None
standard_exponential: size=None
standard_gamma: shape, size=None
standard_normal: size=None
tomaxint: size=None
shuffle: x
"""
"""Methods and their parameters; `*size` stands for lengths given one by one."""

VARIADIC_SIZE = {"rand", "randn"}

_ODD = frozenset("bytes choice dirichlet multinomial multivariate_hypergeometric".split())
_ODD |= {"multivariate_normal"}
_SHUFFLES = frozenset({"permutation", "permuted", "shuffle"})
"""Draws whose shape is not that which is asked for, and those that put an operand in order."""


def draw(generator: Any, method: str, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """Call a method of a plain generator; `shuffle` gives a shuffled copy instead of writing."""
    if method in VARIADIC_SIZE:
        return getattr(generator, method)(*params.get("size", ()))
    if method == "shuffle":
        (x,) = args
        copy = x.copy(order="K")
        generator.shuffle(copy, **params)
        return copy
    if any(isinstance(a, np.ndarray) and not a.size for a in args):
        # NumPy shuffles an empty operand in place, and refuses one that may not be written
        args = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in args)
    return getattr(generator, method)(*args, **params)


def _kernel(method: str) -> Callable[..., Any]:
    def kernel(state: State, *args: Any, **params: Any) -> tuple[Any, State]:
        generator = generator_in(state)
        found = draw(generator, method, args, params)
        return found, state_of(generator)

    return kernel


def _reach(method: str) -> Any:
    if method in _SHUFFLES:
        return reach_axes.permuted
    return None if method in _ODD else reach_axes.drawn


def _rows(interface: str, table: str) -> None:
    for line in table.strip().splitlines():
        method, _, signature = line.partition(": ")
        variadic = method in VARIADIC_SIZE
        arrays = [] if variadic else [p for p in signature.split(", ") if "=" not in p]
        op(
            f"{interface}.{method}",
            _kernel(method),
            Kind.EFFECT,
            calls=(),
            operands=" ".join(["state", *arrays]),
            signature=f"state, {'size=()' if variadic else signature}",
            wrap=tuple,
            threads_state=method,
            reach=_reach(method),
        )


_rows("Generator", BOTH + GENERATOR)
_rows("RandomState", BOTH + RANDOM_STATE)

METHODS: dict[str, frozenset[str]] = {
    interface: frozenset(
        row.threads_state
        for name, row in OPS.items()
        if row.threads_state and name.startswith(f"{interface}.")
    )
    for interface in INTERFACES
}
"""Traced methods of each interface."""
