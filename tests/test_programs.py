"""Ordinary programs run unchanged, both ways, with the bits of plain NumPy.

`p*` take the array namespace, `m*` import NumPy themselves.
"""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

import lima
import lima.numpy
from bench.fuzz import stress

FOLDER = Path(__file__).parent / "programs"
SCALES = {"p01_ridge_grid": 0.05, "p05_irls_logistic": 0.05, "p09_mlp_sgd": 0.02,
          "p13_als_missing": 0.05, "p21_heat_stencil": 0.3, "p22_householder": 0.3,
          "p23_resampling": 0.2, "p24_tree": 0.3, "p25_kalman": 0.1, "p30_smo": 0.5}  # fmt: skip
MODULES = sorted(path.stem for path in FOLDER.glob("m*.py"))
SHRUNK = {"m03_kmeans_minibatch": ("axis=0)\n    X +=", "axis=0)[::15]\n    X +=")}
"""Programs that take long as they are: text, and what stands there for the test."""


def load(name, whole=False):
    """A fresh copy of a program, whose module nobody has bound yet."""
    path = FOLDER / f"{name}.py"
    text = path.read_text()
    if name in SHRUNK and not whole:
        assert text.count(SHRUNK[name][0]) == 1
        text = text.replace(*SHRUNK[name])
    module = types.ModuleType(f"{name}_copy")
    sys.modules[module.__name__] = module  # where dataclasses look for it
    exec(compile(text, path, "exec"), vars(module))
    return module


def arguments(name, namespace=np):
    return (namespace, SCALES[name]) if name in SCALES else ()


def assert_same_bits(got, wanted):
    assert got.keys() == wanted.keys()
    for name, w in wanted.items():
        assert isinstance(got[name], tuple) == isinstance(w, tuple)
        g, w = np.asarray(got[name]), np.asarray(w)
        assert (g.dtype, g.shape) == (w.dtype, w.shape), name
        assert g.tobytes() == w.tobytes(), name


@pytest.fixture(scope="module")
def plain():
    """What the plain programs give, each run once."""
    known = {}

    def result(name):
        if name not in known:
            known[name] = load(name).main(*arguments(name))
        return known[name]

    return result


def run_twice(main, name, wanted):
    for _ in range(2):
        got = main(*arguments(name))
        assert all(type(x) is not lima.Array for x in got.values())
        assert_same_bits(got, wanted)


def test_every_program_is_run():
    assert {path.stem for path in FOLDER.glob("*.py")} == {*SCALES, *MODULES}


@pytest.mark.parametrize("reuse", ["none", "hybrid"])
@pytest.mark.parametrize("name", [*SCALES, *MODULES])
def test_traced(name, reuse, plain):
    with lima.session(reuse=reuse):
        run_twice(lima.traced(load(name).main), name, plain(name))


@pytest.mark.parametrize("reuse", ["operation", "hybrid"])
@pytest.mark.parametrize("name", [*SCALES, *MODULES])
def test_where_everything_waits_and_is_kept(name, reuse, plain):
    with stress(), lima.session(reuse=reuse):
        run_twice(lima.traced(load(name).main), name, plain(name))


@pytest.mark.parametrize("name", SCALES)
def test_namespace(name, plain):
    with lima.session():
        got = load(name).main(*arguments(name, lima.numpy))
        assert any(type(x) is lima.Array for x in got.values())
        assert_same_bits(got, plain(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", SHRUNK)
def test_traced_as_it_is(name):
    wanted = load(name, whole=True).main()
    with lima.session():
        assert_same_bits(lima.traced(load(name, whole=True).main)(), wanted)
