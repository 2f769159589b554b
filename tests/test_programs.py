"""Ordinary programs run unchanged, both ways, with the bits of plain NumPy."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import lima
import lima.numpy

FOLDER = Path(__file__).parent / "programs"
SCALES = {"p01_ridge_grid": 0.05, "p05_irls_logistic": 0.05, "p09_mlp_sgd": 0.02,
          "p13_als_missing": 0.05}  # fmt: skip


def load(name):
    """A fresh copy of a program, whose module nobody has bound yet."""
    spec = importlib.util.spec_from_file_location(f"{name}_copy", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_same_bits(got, wanted):
    assert got.keys() == wanted.keys()
    for name, w in wanted.items():
        g, w = np.asarray(got[name]), np.asarray(w)
        assert (g.dtype, g.shape) == (w.dtype, w.shape), name
        assert g.tobytes() == w.tobytes(), name


@pytest.mark.parametrize("reuse", ["none", "hybrid"])
@pytest.mark.parametrize("name", SCALES)
def test_traced(name, reuse):
    scale = SCALES[name]
    wanted = load(name).main(np, scale)
    main = lima.traced(load(name).main)
    with lima.session(reuse=reuse):
        for _ in range(2):
            got = main(np, scale)
            assert all(type(x) is not lima.Array for x in got.values())
            assert_same_bits(got, wanted)


@pytest.mark.parametrize("name", SCALES)
def test_namespace(name):
    wanted = load(name).main(np, SCALES[name])
    with lima.session():
        got = load(name).main(lima.numpy, SCALES[name])
        assert any(type(x) is lima.Array for x in got.values())
        assert_same_bits(got, wanted)


def test_a_module_that_imports_numpy_itself():
    wanted = load("m03_kmeans_minibatch").main()
    with lima.session():
        assert_same_bits(lima.traced(load("m03_kmeans_minibatch").main)(), wanted)
