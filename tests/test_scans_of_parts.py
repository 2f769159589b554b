"""Running sums, counts and sums of groups of joined vectors, from those of the parts."""

import numpy as np
import pytest

import lima
from lima import cost
from lima.ops import scans

LENGTH = 60_000


@pytest.fixture(autouse=True)
def always_pays(monkeypatch):
    monkeypatch.setattr(cost, "CALL", 2e-6)
    monkeypatch.setattr(cost, "DERIVATION", 1e-12)
    monkeypatch.setattr(cost, "_machine", cost.Machine(4e10, 8e9, 2e9))
    monkeypatch.setattr(scans, "STEP", 1e-12)
    monkeypatch.setattr(scans, "DEAR", 0.0)


def vector(seed, n=LENGTH, dtype="f8"):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iub":
        return rng.integers(0, 2 if dtype == "?" else 100, n).astype(dtype)
    made = rng.standard_normal(n) * np.logspace(-4, 4, n)
    return (made + 1j * made[::-1] if np.dtype(dtype).kind == "c" else made).astype(dtype)


JOINS = {
    "append": lambda x, d: np.append(x, d),
    "concatenate": lambda x, d: np.concatenate([x, d, d[:3]]),
    "hstack": lambda x, d: np.hstack([x, d]),
}


def grown(x, d, join, scan, rounds=4):
    found = [scan(x)]
    for k in range(rounds):
        x = join(x, d[k:])
        found.append(scan(x))
    return found


def same(got, want):
    for g, w in zip(got, want, strict=True):
        assert g.tobytes() == w.tobytes() and g.dtype == w.dtype and g.shape == w.shape
        assert g.flags.c_contiguous and g.flags.writeable


@pytest.mark.parametrize("name", JOINS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "c16", "i8", "i4", "u1", "?"])
@pytest.mark.parametrize("function", [np.cumsum, np.cumprod])
def test_running_sums_have_the_bits_of_numpy(name, dtype, function):
    arguments = vector(1, dtype=dtype), vector(2, 40, dtype), JOINS[name], function
    with np.errstate(all="ignore"):
        want = grown(*arguments)
        for exactness in ("bitwise", "rounding"):
            with lima.session(strict=True, exactness=exactness) as session:
                same(lima.traced(grown)(*arguments), want)
                finite = np.isfinite(want[-1]).all()
                assert session.stats.partial["scan-of-lines"] >= 3 or not finite


@pytest.mark.parametrize("axis", [0, -2])
def test_running_sums_down_the_columns(axis):
    def use(X, d):
        found = []
        for k in range(4):
            X = np.vstack([X, d[k:]])
            found += [np.cumsum(X, axis=axis), np.cumsum(X, axis=1), np.cumsum(X)]
        return found

    arguments = vector(1).reshape(-1, 6), vector(2, 60).reshape(-1, 6)
    with lima.session(strict=True, exactness="bitwise") as session:
        same(lima.traced(use)(*arguments), use(*arguments))
        assert session.stats.partial["scan-of-lines"] == 4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308, -0.0])
def test_running_sums_of_what_is_not_finite(value):
    for place in (5, LENGTH - 1):
        x, d = vector(1), vector(2, 40)
        x[place] = d[7] = value
        with np.errstate(all="ignore"), lima.session(strict=True, exactness="bitwise"):
            same(lima.traced(grown)(x, d, np.append, np.cumsum), grown(x, d, np.append, np.cumsum))
    zeros = np.full(LENGTH, -0.0)
    with lima.session(strict=True, exactness="bitwise"):
        same(
            lima.traced(grown)(zeros, zeros[:9], np.append, np.cumsum),
            grown(zeros, zeros[:9], np.append, np.cumsum),
        )


def test_other_parameters_and_other_beginnings():
    def use(x, d):
        a = np.append(x, d)
        b = np.append(a, d)
        return [
            *(np.cumsum(a), np.cumsum(b, dtype="f4"), np.cumsum(np.append(d, a))),
            *(np.cumsum(np.append(a[1:], d)), np.cumprod(b), np.cumsum(np.append(a, d + 1))),
        ]

    with lima.session(strict=True, exactness="bitwise"), np.errstate(all="ignore"):
        arguments = vector(1), vector(2, 50)
        same(lima.traced(use)(*arguments), use(*arguments))


def test_vectors_that_were_written_since():
    def use(x, d):
        a = np.append(x, d)
        first = np.cumsum(a)
        b = np.append(a, d)
        d[3] = 50.0
        a[7] = 9.0
        second = np.cumsum(b), np.cumsum(np.append(a, d))
        first[:] = 0.0
        return first, *second, np.cumsum(np.append(b, d))

    with lima.session(strict=True, exactness="bitwise"):
        got = lima.traced(use)(vector(1), vector(2, 50))
        same(got, use(vector(1), vector(2, 50)))


def test_nothing_is_kept_for_ever_without_use():
    with lima.session(strict=True, exactness="bitwise") as session:
        for seed in range(12):
            x = lima.array(vector(seed))
            np.cumsum(np.append(x, x[:5]))
        assert session.stats.partial["scan-of-lines"] <= 4


# --------------------------------------------------------------------------- groups


def grouped(i, v, j, w, **options):
    found = [np.bincount(i, **options), np.bincount(i, v, **options)]
    for k in range(4):
        i, v = np.append(i, j[k:]), np.append(v, w[k:])
        found += [np.bincount(i, **options), np.bincount(i, weights=v, **options)]
    return found


@pytest.mark.parametrize("dtype", ["i8", "i4", "u1"])
@pytest.mark.parametrize("more", [0, 50])
@pytest.mark.parametrize("options", [{}, {"minlength": 120}, {"minlength": 3}])
def test_groups(dtype, more, options):
    n = 4 * LENGTH
    i, j = vector(1, n, dtype), vector(2, 70, dtype) + np.dtype(dtype).type(more)
    v, w = vector(3, n), vector(4, 70)
    want = grouped(i, v, j, w, **options)
    scale = np.bincount(np.append(i, j), np.abs(np.append(v, w))).max()
    for exactness in ("bitwise", "rounding"):
        with lima.session(strict=True, exactness=exactness) as session:
            got = lima.traced(grouped)(i, v, j, w, **options)
            same(got[::2], want[::2])
            for g, x in zip(got[1::2], want[1::2], strict=True):
                assert g.dtype == x.dtype and g.shape == x.shape
                np.testing.assert_allclose(g, x, rtol=0, atol=n * 1e-16 * scale)
            assert session.stats.partial["counts-of-lines"] >= 3
            assert (session.stats.partial["groups-of-lines"] >= 3) == (exactness == "rounding")


def test_groups_that_numpy_refuses():
    i, bad = lima.array(vector(1, 4 * LENGTH, "i8")), np.array([3, -1, 2])
    with lima.session(strict=True, exactness="rounding"):
        np.bincount(i)
        for j in (bad, bad.astype("u8"), bad.astype(float)):
            with pytest.raises((ValueError, TypeError)):
                np.bincount(np.append(i, j))
        np.bincount(i, i * 0.5)
        with pytest.raises(ValueError, match="same length"):
            np.bincount(np.append(i, i[:5]), np.append(i * 0.5, np.ones(4)))


def test_groups_joined_at_other_places_and_written_since():
    def use(i, v):
        found = [np.bincount(i, v)]
        found.append(np.bincount(np.append(i, i[:6]), np.append(v[:6], v)))
        a, b = np.append(i, i[:6]), np.append(v, v[:6])
        i[:3] = 9
        v[2] = 40.0
        found += [np.bincount(a, b), np.bincount(np.append(i, i[:6]), np.append(v, v[:6]))]
        return [*found, np.bincount(np.append(i, i[:2])), np.bincount(a)]

    with lima.session(strict=True, exactness="rounding"):
        got = lima.traced(use)(vector(1, 4 * LENGTH, "i8"), vector(3, 4 * LENGTH))
        for g, w in zip(got, use(vector(1, 4 * LENGTH, "i8"), vector(3, 4 * LENGTH)), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-5)


def test_their_lineage_computes_the_same_bits():
    i, v = lima.array(vector(1, 4 * LENGTH, "i8"), name="i"), lima.array(vector(2, 4 * LENGTH), name="v")  # fmt: skip
    with lima.session(strict=True, exactness="rounding") as session:
        a, b = np.append(i, i[:9]), np.append(v, v[:9])
        np.bincount(i), np.bincount(i, v)
        found = np.bincount(a), np.bincount(a, b)
        np.cumsum(b)
        found = *found, np.cumsum(np.append(b, v[:9]))
        assert {*session.stats.partial} == {"counts-of-lines", "groups-of-lines", "scan-of-lines"}
        for x in found:
            assert lima.recompute(lima.lineage(x)).tobytes() == np.asarray(x).tobytes()
