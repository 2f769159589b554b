"""Histograms of samples to which more was appended: the bits of NumPy's."""

import numpy as np
import pytest

import lima
from lima.record import loads

rng = np.random.default_rng(41)
A, D = rng.standard_normal(80_000), rng.standard_normal(300)
EDGES = np.linspace(-3.0, 3.0, 31)
UNEVEN = np.sort(rng.standard_normal(20))

BINS = {
    "edges": lambda x: np.histogram(x, EDGES),
    "uneven": lambda x: np.histogram(x, bins=UNEVEN),
    "list": lambda x: np.histogram(x, [-1.0, 0.0, 0.5, 2.0]),
    "range": lambda x: np.histogram(x, 40, range=(-2.5, 2.5)),
    "default number": lambda x: np.histogram(x, range=(-2.0, 1.0)),
}
OTHERS = {
    "of the sample": lambda x: np.histogram(x, 40),
    "rule": lambda x: np.histogram(x, "sturges"),
    "density": lambda x: np.histogram(x, EDGES, density=True),
    "weights": lambda x: np.histogram(x, EDGES, weights=np.abs(x)),
}
EDGY = np.where(A > 1.0, np.round(A), A)


def program(count, x, d):
    first = count(x)
    y = np.append(x, d)
    second = count(y)
    z = np.concatenate([y, d, x[:50]])
    return first, second, count(z), count(z[::-1])


def same(got, wanted):
    for g, w in zip(got, wanted, strict=True):
        for a, b in zip(g, w, strict=True):
            assert a.tobytes() == b.tobytes() and a.dtype == b.dtype and a.shape == b.shape
            assert a.flags.writeable == b.flags.writeable


def run(count, x, d, **options):
    wanted = program(count, x, d)
    options = {"exactness": "bitwise", "reuse": "partial", "strict": True, **options}
    with lima.session(**options) as session:
        got = lima.traced(lambda x, d: program(count, x, d))(x, d)
        same(got, wanted)
        return session.stats.partial["histogram-of-lines"]


@pytest.mark.parametrize("name", BINS)
@pytest.mark.parametrize("exactness", ["bitwise", "rounding"])
def test_counts_add_up(name, exactness):
    assert run(BINS[name], A, D, exactness=exactness) >= 1
    assert run(BINS[name], EDGY, np.round(D), exactness=exactness) >= 1


@pytest.mark.parametrize("dtype", ["f4", "i8", "i2", "u1"])
def test_dtypes(dtype):
    run(BINS["edges"], (A * 10).astype(dtype), D.astype(dtype))
    run(BINS["range"], (A * 10).astype(dtype), D.astype(dtype))


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_computed_as_asked(name):
    assert run(OTHERS[name], A, D) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad):
    x = A.copy()
    x[5] = bad
    run(BINS["edges"], x, D)
    run(BINS["uneven"], A, x[:10])


def test_other_edges_and_writes_in_between():
    def writing(x, d):
        x, edges = x.copy(), EDGES.copy()
        found = [np.histogram(x, edges)]
        found.append(np.histogram(np.append(x, d), UNEVEN))
        edges = edges + 0.0
        edges[3] += 0.05
        found.append(np.histogram(np.append(x, d), edges))
        x[0] = 0.5
        found.append(np.histogram(np.append(x, d), EDGES))
        found[0][0][0] = 99
        found.append(np.histogram(np.append(x, d), EDGES))
        found.append(np.histogram(np.append(x, x), 30, range=(-3.0, 3.0)))
        return found

    with lima.session(exactness="bitwise", reuse="partial", strict=True):
        same(lima.traced(writing)(A, D), writing(A, D))


def of_arguments(x, d):
    first = np.histogram(x, EDGES)
    return first[0], np.histogram(np.append(x, d), EDGES)[0]


def test_its_lineage_computes_the_same_bits():
    given = {"x": A, "d": D}
    with lima.session(reuse="partial", strict=True) as here:
        found = lima.traced(of_arguments)(**given)[1]
        assert here.stats.partial["histogram-of-lines"] == 1
        record = lima.lineage(found)
        leaves = {item.digest.hex(): data for item in record.leaves for data in (A, D, EDGES)
                  if item.spec.get("shape") == data.shape}  # fmt: skip
        assert lima.recompute(loads(record.log()), leaves).tobytes() == found.tobytes()


def with_edges(x, d, edges):
    first = np.histogram(x, edges)
    return first[0], np.histogram(np.append(x, d), edges)[0]


def test_its_lineage_as_a_program():
    given = {"x": A, "d": D, "edges": np.array(sorted(D[::20].tolist()))}
    with lima.session(reuse="partial", strict=True):
        found = lima.traced(with_edges)(**given)[1]
        scope = {}
        exec(lima.to_python(lima.lineage(found)), scope)
        assert scope["program"](**given).tobytes() == found.tobytes()
