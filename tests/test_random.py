"""Random numbers inside of traced code are NumPy's, and generators stand where NumPy's would."""

import copy
import pickle
import threading

import numpy as np
import pytest
from same import same

import lima
import lima.numpy
from bench.fuzz import stress
from lima.ops.random import METHODS

# --------------------------------------------------------------------------- every method

ARGUMENTS = {
    "beta": "2.0, 3.0, size=5", "binomial": "9, 0.3, 5", "bytes": "7", "chisquare": "3.0, 5",
    "dirichlet": "[1.0, 2.0], 3", "exponential": "2.0, 5", "f": "3.0, 4.0, 5",
    "gamma": "2.0, 1.5, 5", "geometric": "0.3, 5", "gumbel": "0, 1, 5",
    "hypergeometric": "5, 6, 4, 5", "laplace": "size=5", "logistic": "size=5",
    "lognormal": "size=5", "logseries": "0.4, 5", "multinomial": "9, [0.2, 0.3, 0.5], 4",
    "negative_binomial": "4, 0.4, 5", "noncentral_chisquare": "3, 1.0, 5",
    "noncentral_f": "3, 4, 1.0, 5", "normal": "x, 2.0", "pareto": "2.0, 5", "poisson": "abs(x)",
    "power": "2.0, 5", "rayleigh": "1.0, 5", "standard_cauchy": "5", "standard_t": "4, 5",
    "triangular": "0, 1, 2, 5", "uniform": "-1, x + 5, size=(2, 6)", "vonmises": "0, 1, 5",
    "wald": "1.0, 2.0, 5", "weibull": "2.0, 5", "zipf": "2.5, 5", "choice": "x, 4, p=p",
    "integers": "0, 9, (2, 3)", "multivariate_hypergeometric": "[3, 4, 5], 4, 2",
    "multivariate_normal": "[0, 1], [[1, 0.5], [0.5, 2]], 4", "permutation": "x",
    "permuted": "m, axis=1", "random": "(2, 2)", "standard_exponential": "5",
    "standard_gamma": "2.0, 5", "standard_normal": "(2, 3)", "shuffle": "m", "rand": "2, 3",
    "randint": "0, 9, 5", "randn": "2, 3", "random_integers": "1, 6, 5", "random_sample": "4",
    "tomaxint": "3",
}  # fmt: skip
MAKERS = {"Generator": "np.random.default_rng(7)", "RandomState": "np.random.RandomState(7)"}


def drawing(draws, maker=""):
    """A function that draws from its argument, or from a generator that it makes."""
    lines = [
        "def use(rng):",
        "    x = np.arange(6.0)",
        "    m = x.reshape(3, 2) + 0",
        "    p = np.full(6, 1 / 6)",
        f"    rng = {maker or 'rng'}",
        "    found = []",
        *[f"    found.append({draw})" for draw in draws],
        "    return found, m, rng.random(2)",
    ]
    scope = {"np": np, "__name__": "drawing"}
    exec("\n".join(lines), scope)
    return scope["use"]


def plain_maker(interface):
    return lambda: (eval(MAKERS[interface], {"np": np}),)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("interface", METHODS)
def test_every_method_gives_numpys_values_and_leaves_numpys_state(interface):
    assert METHODS[interface] <= ARGUMENTS.keys()
    for method in sorted(METHODS[interface]):
        draw = f"rng.{method}({ARGUMENTS[method]})"
        same(drawing([draw, draw]), plain_maker(interface))
        same(drawing([draw], MAKERS[interface]), lambda: (None,))


@pytest.mark.parametrize("bits", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_bit_generator(bits):
    use = drawing(["rng.normal(size=5)", "rng.integers(0, 9, 3, dtype=np.int32)", "rng.random()"])
    kind = getattr(np.random, bits)
    same(use, lambda: (np.random.Generator(kind(3)),))
    same(drawing(["rng.normal(size=3)"], f"np.random.Generator(np.random.{bits}(3))"), lambda: (1,))


# --------------------------------------------------------------------------- where generators live


class Sampler:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.seen = []

    def draw(self, n):
        self.seen.append(self.rng.normal(size=n))
        return self.seen[-1].sum()


def state(rng):
    return copy.deepcopy(rng.bit_generator.state)


def stories(function, make, times=3):
    """What the function gives, and where the generators stand, call after call."""
    found = []
    for _ in range(times):
        result, rngs = function(*make()), RNGS
        found.append((np.asarray(result).tobytes(), [state(r) for r in rngs]))
    return found


RNGS = []


def agree(function, make):
    wanted = stories(function, make)
    for reuse in ("none", "operation", "hybrid"):
        with stress(), lima.session(reuse=reuse):
            assert stories(lima.traced(function), make) == wanted, reuse
    return wanted


def fresh(seed=5):
    RNGS[:] = [np.random.default_rng(seed)]
    return RNGS[0]


def test_as_argument():
    agree(lambda rng: rng.normal(size=4) + rng.random(), lambda: (fresh(),))


def test_in_an_object():
    def make():
        sampler = Sampler(3)
        RNGS[:] = [sampler.rng]
        return (sampler,)

    def use(sampler):
        return [sampler.draw(3), sampler.draw(4), len(sampler.seen)]

    agree(use, make)


def test_in_a_list_and_a_dict():
    def make():
        RNGS[:] = [np.random.default_rng(1), np.random.default_rng(2)]
        return [RNGS[0]], {"rng": RNGS[1]}

    agree(lambda a, b: a[0].normal(size=3) - b["rng"].random(3), make)


def test_in_a_closure():
    rng = fresh(9)

    def use(n):
        x = np.zeros((n, 2)) + np.arange(n)[:, None]
        rng.shuffle(x)
        return x + rng.normal(size=(n, 2))

    wanted = []
    for _ in range(3):
        wanted.append(use(4).tobytes())
    for reuse in ("none", "hybrid"):
        with stress(), lima.session(reuse=reuse):
            rng.bit_generator.state = np.random.default_rng(9).bit_generator.state
            traced = lima.traced(use)
            assert [traced(4).tobytes() for _ in range(3)] == wanted


GLOBAL_RNG = np.random.default_rng(4)


def test_as_a_global():
    def use(n):
        x = np.zeros((n, 2)) + np.arange(n)[:, None]
        GLOBAL_RNG.shuffle(x)
        return x + GLOBAL_RNG.normal(size=(n, 2))

    def run(function):
        GLOBAL_RNG.bit_generator.state = np.random.default_rng(4).bit_generator.state
        return [function(4).tobytes() for _ in range(3)], GLOBAL_RNG.random()

    wanted = run(use)
    for reuse in ("none", "operation", "hybrid"):
        with stress(), lima.session(reuse=reuse):
            assert run(lima.traced(use)) == wanted
    assert isinstance(GLOBAL_RNG, np.random.Generator)
    assert np.random.default_rng(GLOBAL_RNG) is not None


def test_one_generator_by_two_names():
    """A draw through one name moves the other on."""

    def use(a, b):
        return np.array([a.random(), b.random(), a.random(), GLOBAL_RNG.random(), a.random()])

    def make():
        GLOBAL_RNG.bit_generator.state = np.random.default_rng(8).bit_generator.state
        RNGS[:] = [getattr(GLOBAL_RNG, "_generator", GLOBAL_RNG)]
        return RNGS[0], np.random.Generator(RNGS[0].bit_generator)

    agree(use, make)


def test_plain_code_that_draws_between_traced_calls():
    def use(rng):
        return rng.normal(size=3)

    def run(function):
        rng = np.random.default_rng(2)
        return [(function(rng).tobytes(), rng.random(), function(rng).sum()) for _ in range(3)]

    with stress(), lima.session():
        assert run(lima.traced(use)) == run(use)
        assert run(lima.traced(use)) == run(use)


def test_a_generator_set_back_draws_the_same_again():
    def use(rng):
        return rng.normal(size=3).sum()

    with stress(), lima.session() as s:
        traced, rng = lima.traced(use), np.random.default_rng(6)
        start = state(rng)
        first, after = traced(rng), state(rng)
        rng.bit_generator.state = start
        assert traced(rng) == first and state(rng) == after
        assert s.stats.function_hits == 1
        assert traced(rng) != first


# --------------------------------------------------------------------------- seeds


def test_equal_seeds_are_reused_and_different_ones_are_not():
    def use(seed):
        return np.random.default_rng(seed).normal(size=(50, 50)).sum()

    with stress(), lima.session(reuse="operation") as s:
        traced = lima.traced(use)
        assert traced(1) == traced(1) == use(1)
        hits = s.stats.hits
        assert hits > 0
        assert traced(2) == use(2) != use(1)


@pytest.mark.parametrize("seed", ["3", "[1, 2]", "np.random.SeedSequence(5)", "np.array([1, 2])",
                                  "np.int64(3)", "2**70", "np.random.PCG64(4)", "k", "k.max()"])  # fmt: skip
def test_kinds_of_seeds(seed):
    scope = {"np": np, "__name__": "seeds"}
    exec(
        "def use(k):\n"
        f"    rng = np.random.default_rng({seed})\n"
        "    return rng.normal(size=3), rng.integers(9)\n",
        scope,
    )
    same(scope["use"], lambda: (np.array([4, 5]),))


def test_unseeded_generators_differ_and_are_not_frozen():
    def use():
        return np.random.default_rng().random(), np.random.RandomState().random_sample()

    with stress(), lima.session():
        traced = lima.traced(use)
        found = {x for _ in range(4) for x in traced()}
    assert len(found) == 8


def test_spawned_and_jumped_generators():
    def use(rng):
        a, b = rng.spawn(2)
        c = np.random.Generator(rng.bit_generator.jumped())
        return a.random(), b.normal(size=2), c.random(), rng.random()

    same(use, lambda: (np.random.default_rng(3),))


def test_a_generator_takes_no_attributes():
    def use(rng):
        found = []
        for made in (rng, np.random.default_rng(3), np.random.RandomState(3)):
            try:
                made.other = 1
            except AttributeError:
                found.append(hasattr(made, "other"))
        return found

    assert lima.traced(use)(np.random.default_rng(3)) == [False] * 3


# --------------------------------------------------------------------------- legacy functions


def test_legacy_functions():
    def use(n):
        np.random.seed(n)
        a = np.random.rand(n), np.random.randn(2, n), np.random.randint(0, 9, n)
        b = np.random.normal(size=n), np.random.choice(n, 2), np.random.permutation(n)
        deck = np.arange(n)
        np.random.shuffle(deck)
        return a, b, deck, np.random.uniform(), np.random.get_state()[1][:3]

    def run(function):
        found = same_as_lists(function(5)), same_as_lists(function(5))
        return found, np.random.random()

    wanted = run(use)
    for reuse in ("none", "operation", "hybrid"):
        with stress(), lima.session(reuse=reuse):
            assert run(lima.traced(use)) == wanted


def same_as_lists(x):
    if isinstance(x, (tuple, list)):
        return [same_as_lists(v) for v in x]
    return np.asarray(x).tolist()


def test_legacy_functions_without_a_seed_go_on_with_the_global_stream():
    def use():
        return np.random.normal(size=3).tolist() + np.random.rand(2).tolist()

    def run(function):
        np.random.seed(12)
        found = [function(), np.random.normal(), function(), np.random.randn(), function()]
        return found, np.random.get_state()[2:]

    wanted = run(use)
    for reuse in ("none", "hybrid"):
        with stress(), lima.session(reuse=reuse):
            traced = lima.traced(use)
            assert run(traced) == wanted == run(traced)


def test_normals_come_in_pairs_from_the_legacy_generator():
    """The second of a pair waits inside of the generator, where plain code may take it."""

    def use():
        return np.random.standard_normal()

    def run(function):
        np.random.seed(1)
        return [function(), np.random.standard_normal(), function(), function(), np.random.randn()]

    with stress(), lima.session():
        traced = lima.traced(use)
        assert run(traced) == run(use) == run(traced)


def test_set_state():
    def use():
        np.random.seed(3)
        kept = np.random.get_state()
        first = np.random.rand()
        np.random.set_state(kept)
        return first, np.random.rand()

    same(use)


# --------------------------------------------------------------------------- in-place draws


IN_PLACE = {
    "shuffle": lambda rng, a: (rng.shuffle(a), a),
    "shuffle rows": lambda rng, a: (rng.shuffle(a.reshape(3, 4)), a),
    "shuffle columns": lambda rng, a: (rng.shuffle(a.reshape(3, 4), axis=1), a),
    "shuffle part": lambda rng, a: (rng.shuffle(a[2:9:2]), a),
    "shuffle list": lambda rng, a: (x := [1, 2, 3, 4], rng.shuffle(x), x, a),
    "random into": lambda rng, a: (rng.random(out=a), a),
    "normal into": lambda rng, a: (rng.standard_normal(out=a), a[:2]),
    "exponential into": lambda rng, a: (rng.standard_exponential(out=a), rng.standard_gamma(2, out=a), a),
    "into a view": lambda rng, a: (rng.random(out=a[3:]), a),
    "into something else": lambda rng, a: (rng.random(out=a, dtype="f4"), a),
    "permuted into": lambda rng, a: (rng.permuted(a, out=a), a),
    "what waits": lambda rng, a: (b := a + 1, rng.shuffle(b), a, b),
}  # fmt: skip


@pytest.mark.parametrize("what", IN_PLACE)
def test_draws_in_place(what):
    same(IN_PLACE[what], lambda: (np.random.default_rng(8), np.arange(12.0)))


def test_shuffle_of_a_read_only_array_raises_and_draws_nothing():
    def use(rng, a):
        try:
            rng.shuffle(a)
        except ValueError:
            return rng.random()
        return "shuffled"

    def make():
        a = np.arange(5.0)
        a.setflags(write=False)
        return np.random.default_rng(1), a

    same(use, make)


def test_wrong_arguments_raise_and_draw_nothing():
    def use(rng):
        kinds = []
        for wrong in (
            lambda: rng.normal(scale=-1), lambda: rng.choice(3, 5, replace=False), lambda: rng.integers(5, 2),
            lambda: rng.binomial(-1, 0.5), lambda: rng.normal(size="x"), lambda: rng.no_such(),
            lambda: rng.multinomial(3, [0.9, 0.9]), lambda: rng.permutation(), lambda: rng.random(2, size=2),
        ):  # fmt: skip
            try:
                wrong()
            except Exception as error:
                kinds.append(type(error).__name__)
        return kinds, rng.random()

    same(use, lambda: (np.random.default_rng(3),))


# --------------------------------------------------------------------------- lineage, surroundings


def test_draws_of_large_arrays_are_kept_and_served():
    def use(seed):
        rng = np.random.default_rng(seed)
        first = rng.normal(size=(400, 400))
        return (first @ first).sum(), rng.normal(size=400).sum()

    with lima.session(reuse="operation") as s:
        traced = lima.traced(use)
        assert traced(3) == traced(3) == use(3)
        assert s.stats.hits >= 1


def test_seeds_and_draws_are_in_the_lineage():
    def use(seed):
        return np.random.default_rng(seed).normal(size=3) + 1

    log = lima.traced(use).lineage(1234).log()
    assert "1234" in log and "default_rng" in log and "normal" in log
    again = lima.recompute(lima.traced(use).lineage(1234))
    assert np.asarray(again).tobytes() == use(1234).tobytes()


def test_traced_generators_outside_of_traced_code():
    rng = lima.numpy.random.default_rng(5)
    plain = np.random.default_rng(5)
    x = rng.normal(size=3)
    assert type(x) is lima.Array and x.tolist() == plain.normal(size=3).tolist()
    assert isinstance(rng, np.random.Generator)
    again = pickle.loads(pickle.dumps(rng))
    assert type(again).__module__.startswith("numpy")
    assert again.random() == plain.random() == rng.random()
    assert copy.deepcopy(rng).random() == copy.deepcopy(plain).random()


def test_threads_with_generators_of_their_own():
    def use(rng):
        return sum(rng.normal(size=50).sum() for _ in range(20))

    wanted = [use(np.random.default_rng(k)) for k in range(4)]
    found = {}
    with stress(), lima.session():
        traced = lima.traced(use)

        def work(k):
            for _ in range(3):
                found[k] = traced(np.random.default_rng(k))

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert [found[k] for k in range(4)] == wanted


def test_a_generator_made_of_a_random_state_shares_its_bits():
    def program(seed):
        state = np.random.RandomState(seed)
        made = np.random.default_rng(state)
        first = state.random_sample(2), made.random(2), made.integers(0, 9, 3)
        return *first, state.random_sample(2), made, state

    def seen(found):
        arrays = [np.asarray(a).tolist() for a in found[:4]]
        return arrays, type(found[4]), type(found[5]), found[4].bit_generator.state["state"]["pos"]

    with lima.session():
        for _ in range(2):
            got = lima.traced(program)(9)
            assert seen(got) == seen(program(9))
            assert got[4].bit_generator is got[5]._bit_generator


def test_a_normal_that_plain_code_takes_from_a_pair_is_missed():
    """The second of a pair waits in the generator, which looks as before but for it."""

    def draw():
        return np.random.normal(size=40_001) * 2.0  # an odd number: one is left over

    def program(function, between):
        np.random.seed(0)
        function()
        if between:
            np.random.normal()
        return function()

    with stress(), lima.session():
        traced = lima.traced(draw)
        for between in (False, True, False, True):
            assert np.array_equal(program(traced, between), program(draw, between))


@pytest.mark.parametrize("new", [True, False])
def test_draws_from_bits_that_others_hold_follow_each_other(new):
    """Others may advance them, and then the history begins anew."""

    @lima.traced
    def draws(between):
        bits = np.random.MT19937(3)
        rng = np.random.Generator(bits) if new else np.random.RandomState(bits)
        first = rng.normal(size=3)
        if between:
            bits.random_raw()
        return first + rng.normal(size=3)

    assert len(lima.lineage(draws(False)).find("generator")) == 1
    assert len(lima.lineage(draws(True)).find("generator")) == 2


@pytest.mark.parametrize("maker", MAKERS.values())
def test_a_permutation_of_nothing_is_the_array_itself(maker):
    scope = {"np": np}
    exec(f"def f(x):\n    y = {maker}.permutation(x)\n    return y is x, y.shape", scope)
    for x in (np.zeros(0), np.zeros((0, 2)), np.ones(1)):
        assert lima.traced(scope["f"])(x) == ((x.shape == (0,)), x.shape)


def test_a_refused_permutation_draws_nothing():
    """NumPy takes no copy of an array without elements, and does not write one that is read-only."""
    with lima.session():
        rng = lima.numpy.random.default_rng(3)
        with pytest.raises(ValueError, match="read-only"):
            rng.permutation(lima.numpy.diagonal(np.zeros((0, 2))))
        x = rng.random(3)
        assert "permutation" not in lima.lineage(x).log()
    assert np.array_equal(np.asarray(x), np.random.default_rng(3).random(3))
