"""Recomputing a lineage and writing it as a program give the bits that were recorded.

The lineage under test is generated: from the sample calls of every row, and by Hypothesis. Every
program is run in a namespace that holds nothing but what it imports.
"""

from __future__ import annotations

import gc
import operator
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from row_samples import samples_of
from strategies import params

import lima  # fills the operation table
from lima.errors import ReplayError
from lima.literal import strided
from lima.node import OUTPUT, Node, Ref, Spec, Unique, encode, layout_of, leaf
from lima.op import OPS, Lift, bind, evaluate
from lima.ops import spell
from lima.record import Lineage, check_of, loads, read, write
from lima.replay import ReplayWarning, recompute, to_python
from lima.spelled import literal

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

OPERATORS = (operator.pow, operator.ipow)
"""Python operators that are rows of their own."""

RNG = np.random.default_rng(3)
DATA = {"X": RNG.normal(size=(300, 6)), "y": RNG.normal(size=300), "w": np.float64(0.25)}
X, Y, W = (leaf(value, name) for name, value in DATA.items())


def node(op, *inputs, npos=None, **named):
    return Node(Spec(op, tuple(named.items()), npos), inputs)


def item(call, index):
    return node(OUTPUT, call, index=index)


def run_program(text, inputs):
    """The outputs of a program, as a tuple; no warning of the compiler is accepted."""
    space = {"__name__": "program"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", SyntaxWarning)
        code = compile(text, "program", "exec")
    exec(code, space)
    return space["program"](*inputs.values())


def assert_bits(found, wanted):
    sequence = isinstance(wanted, tuple | list)
    assert isinstance(found, tuple | list) if sequence else type(found) is type(wanted)
    if sequence:
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted):
            assert_bits(f, w)
    elif isinstance(wanted, np.ndarray | np.generic):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        assert np.asarray(found).tobytes() == np.asarray(wanted).tobytes()
    else:
        assert found == wanted


def assert_replays(outputs, inputs=DATA, wanted=None):
    """Recompute, the written log recomputed, and the program give equal bits; returns the text."""
    lineage = Lineage(outputs)
    used = {leaf.name: inputs[leaf.name] for leaf in lineage.leaves}
    found = recompute(lineage, used)
    again = recompute(loads(lineage.log()), used)
    text = lineage.to_python()
    ran = run_program(text, used)
    ran = ran if len(outputs) > 1 else (ran,)
    for name, value in zip(outputs, ran):
        assert_bits(again[name], found[name])
        assert_bits(value, found[name])
        if wanted is not None:
            assert_bits(found[name], wanted[name])
    return text


# ------------------------------------------------------------------------------- every row


class SampleLift(Lift):
    def operand(self, x):
        return np.asarray(x) if isinstance(x, list | tuple) else x

    def is_array(self, x):
        return isinstance(x, np.ndarray)


def sample_lineages(row):
    """(inputs by name, node, its value) for the sample calls of a row."""
    for function, args, kwargs in samples_of(row):
        if function not in OPERATORS:
            _, args, kwargs = spell(function, args, kwargs)
        data, spec = bind(row, args, kwargs, SampleLift())
        leaves = {}
        items = []
        for k, value in enumerate(data):
            array = isinstance(value, np.ndarray)
            items.append(leaf(value, f"a{k}") if array else value)
            if array and items[-1].digest not in {leaf(v).digest for v in leaves.values()}:
                leaves[f"a{k}"] = value
        with np.errstate(all="ignore"):
            yield leaves, Node(spec, tuple(items)), evaluate(row, spec, data)


SAMPLED = [row for row in OPS.values() if samples_of(row)]


@pytest.mark.parametrize("row", SAMPLED, ids=lambda row: row.name)
def test_rows(row):
    for leaves, made, value in sample_lineages(row):
        if isinstance(value, tuple | list) and row.wrap is not None:
            outputs = {f"out_{k}": item(made, k) for k in range(len(value))}
            wanted = {f"out_{k}": v for k, v in enumerate(value)}
        else:
            outputs, wanted = {"out": made}, {"out": value}
        assert_replays(outputs, leaves, wanted)


DRAWS = {
    "Generator": {
        "normal": ((), {"size": (3,)}), "integers": ((2,), {"high": 9, "size": 4}),
        "permutation": ((Y,), {}), "shuffle": ((Y,), {}), "choice": ((Y,), {"size": 3}),
        "random": ((), {"size": (2, 2), "dtype": np.dtype("f4")}),
        "multivariate_normal": (([0.0, 1.0], np.eye(2)), {"size": 2}),
    },
    "RandomState": {
        "normal": ((), {"size": (3,)}), "rand": ((), {"size": (2, 3)}),
        "randn": ((), {"size": (4,)}), "shuffle": ((Y,), {}),
        "randint": ((5,), {"size": 3}), "permutation": ((7,), {}),
    },
}  # fmt: skip


def seeded(interface, seed=7):
    op = "default_rng" if interface == "Generator" else interface
    return Node(Spec(op, (("seed", seed),), 0), ())


@pytest.mark.parametrize(
    ("interface", "method"), [(i, method) for i, rows in DRAWS.items() for method in rows]
)
def test_draws(interface, method):
    inputs, named = DRAWS[interface][method]
    state = seeded(interface)
    first = node(f"{interface}.{method}", state, *inputs, npos=1 + len(inputs), **named)
    second = node(f"{interface}.{method}", item(first, 1), *inputs, npos=1 + len(inputs), **named)
    text = assert_replays({"a": item(first, 0), "b": item(second, 0)})
    assert ("deepcopy" not in text and "rng." in text) or "shuffled(rng" in text


@pytest.mark.parametrize("interface", ["Generator", "RandomState"])
def test_a_state_that_is_used_twice_is_copied(interface):
    state = seeded(interface)
    draws = {
        "a": node(f"{interface}.normal", state, npos=1, size=3),
        "b": node(f"{interface}.uniform", state, npos=1, size=3),
    }
    later = node(f"{interface}.normal", item(draws["a"], 1), npos=1, size=2)
    text = assert_replays({**{k: item(v, 0) for k, v in draws.items()}, "c": item(later, 0)})
    assert "deepcopy" not in text and text.count("np.random.") == 2  # the same seed, twice
    again = node(f"{interface}.uniform", item(draws["a"], 1), npos=1, size=2)
    text = assert_replays({"b": item(again, 0), "c": item(later, 0)})
    assert text.count("copy.deepcopy") == 1


@pytest.mark.parametrize("made", [np.random.default_rng, np.random.RandomState])
def test_a_state_of_unknown_origin(made):
    from lima.ops.random import state_of

    generator = made(11)
    generator.normal(size=5)
    state = Node(Spec("generator", (("state", state_of(generator)),), 0), ())
    interface = type(generator).__name__
    draw = node(f"{interface}.normal", state, npos=1, size=(4,))
    text = assert_replays({"a": item(draw, 0)})
    assert "generator({" in text
    assert (
        recompute(Lineage({"a": item(draw, 0)}))["a"].tobytes()
        == generator.normal(size=4).tobytes()
    )


# ------------------------------------------------------------------------------- programs


def test_a_program():
    xt = node("transpose", X)
    gram = node("add", node("matmul", xt, X, alias=True), node("multiply", W, node("eye", 6)))
    gram = Node(Spec("assign", (("index", (0, 0)),), 2), (gram, 0.0))
    beta = node("linalg.solve", gram, node("matmul", xt, Y))
    text = assert_replays({"beta": beta}).replace("np.transpose(X)", "X.T")
    body = text.partition("def program")[2].partition("def main")[0]
    assert [line.strip() for line in body.splitlines()] == [
        "(X, w, y):",
        '"""Returns beta.',
        "",
        "X: <f8 (300, 6)",
        "w: <f8 ()",
        "y: <f8 (300,)",
        '"""',
        "v1 = X.T @ X  # (6, 6)",
        "v2 = np.eye(6)",
        "v3 = w * v2",
        "v4 = v1 + v3",
        "v4[0, 0] = 0.0",
        "v5 = X.T @ y  # (6,)",
        "beta = np.linalg.solve(v4, v5)",
        "return beta",
        "",
        "",
    ]


def test_products_of_one_buffer_and_of_two_stay_apart():
    """The symmetric kernel rounds otherwise: the program must take the one that was taken."""
    xt = node("transpose", X)
    same, apart = node("matmul", xt, X, alias=True), node("matmul", xt, X)
    data = DATA["X"]
    text = assert_replays(
        {"same": same, "apart": apart},
        wanted={"same": data.T @ data, "apart": data.T @ data.copy()},
    )
    assert text.count("copy.deepcopy(X)") == 1


def test_the_memory_order_of_a_copy_is_kept():
    data = np.repeat(RNG.normal(size=(200, 40)), 2, axis=1)[:, ::2]
    sparse = leaf(data, "S")
    xt = node("transpose", sparse)
    written = Node(Spec("assign", (("index", (0, 0)),), 2), (sparse, 1.0))
    outputs = {"g": node("matmul", xt, sparse), "h": node("sum", written, axis=0)}
    text = assert_replays(outputs, {"S": data})
    assert "clone(S)" in text and "def strided" in text


def test_writes_do_not_reach_what_is_still_needed():
    base = node("add", X, 1.0)
    row = node("slice", base, index=0)
    first = Node(Spec("assign", (("index", 0),), 2), (base, 5.0))
    second = Node(Spec("assign", (("index", (slice(None), 1)),), 2), (first, 7.0))
    outputs = {"row": node("multiply", row, 2.0), "second": second, "base": node("sum", base)}
    wanted_base = DATA["X"] + 1.0
    wanted_second = wanted_base.copy()
    wanted_second[0], wanted_second[:, 1] = 5.0, 7.0
    wanted = {"row": wanted_base[0] * 2.0, "second": wanted_second, "base": wanted_base.sum()}
    text = assert_replays(outputs, wanted=wanted)
    assert "copy" not in text  # what reads the base stands before what writes it
    outputs["old"], wanted["old"] = base, wanted_base
    assert assert_replays(outputs, wanted=wanted).count("copy.deepcopy(") == 1


def test_writes_through_views_and_out():
    base = node("add", X, 0.0)
    path = (("slice", (("index", slice(1, 3)),)), ("transpose", ()))
    through = Node(Spec("assign", (("path", path), ("index", 2)), 2), (base, 9.0))
    out = Node(Spec("add", (("out", Ref(2)), ("where", Ref(3))), 2),
               (X, 1.0, through, node("greater", X, 0.0)))  # fmt: skip
    expected = DATA["X"] + 0.0
    expected[1:3].T[2] = 9.0
    out_expected = np.add(DATA["X"], 1.0, out=expected.copy(), where=DATA["X"] > 0)
    assert_replays({"t": through, "o": out}, wanted={"t": expected, "o": out_expected})


def test_scalars_are_written_where_they_are_used():
    half = node("divide", 1.0, node("add", W, 1))
    mixed = node("multiply", node("subtract", W, node("subtract", half, -2.0)), X)
    text = assert_replays({"z": mixed})
    assert "z = (w - (1.0 / (w + 1) - -2.0)) * X" in text


def test_named_and_strange_leaves():
    names = ["class", "X", "X ", "np", "1st", "", None, "program", "v1", "out1", "é", "main", "__a"]
    leaves = [leaf(np.full(3, float(k)), name) for k, name in enumerate(names)]
    total = leaves[0]
    for each in leaves[1:]:
        total = node("add", total, each)
    lineage = Lineage({"file": total, "it's": leaves[1], "class": node("sin", total)})
    values = [np.full(3, float(k)) for k in range(len(names))]
    space = {"__name__": "program"}
    exec(lineage.to_python(), space)
    found = space["program"](*values)
    assert found[0].tolist() == [78.0] * 3 and found[1].tolist() == [1.0] * 3


def test_a_hostile_log_writes_no_code_of_its_own():
    bad = '")); import os; os.abort() #'
    outputs = {bad: node("sin", leaf(np.zeros(2), bad)), '"""\n1/0': node("cos", leaf(np.ones(2)))}
    text = Lineage(outputs).to_python()
    space = {"__name__": "program"}
    exec(text, space)
    assert space["program"](np.zeros(2), np.ones(2))[0].tolist() == [0.0, 0.0]


def test_a_script(tmp_path):
    """The program in a fresh interpreter, with the leaves stored beside the log."""
    path = tmp_path / "run.log"
    outputs = {"g": node("matmul", node("transpose", X), X, alias=True), "s": node("add", W, 1.0)}
    write(path, Lineage(outputs), {X.digest: DATA["X"], W.digest: DATA["w"]})
    lineage = read(path)
    script = tmp_path / "program.py"
    script.write_text(to_python(lineage.outputs, lineage.data_dir), "utf-8")
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:];"
        "runpy.run_path(sys.argv[0], run_name='__main__');"
        "assert not {'lima', 'xxhash', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, script.name], cwd=tmp_path, check=True)
    with np.load(tmp_path / "results.npz") as saved:
        found = recompute(lineage)
        assert saved["g"].tobytes() == found["g"].tobytes()
        assert saved["s"].tobytes() == found["s"].tobytes()


@given(params)
def test_literals_as_source(value):
    """Whatever a log can hold is written as an expression of the same encoding."""
    try:
        text = literal(value, lambda ref: literal(f"input {ref.index}"))
    except ReplayError:
        assert "Unique" in repr(value) or "unique(" in repr(value)
        return
    again = eval(text, {"np": np, "strided": lambda a, s: _restrided(a, s)})
    if "@" not in repr(value):
        assert encode(again) == encode(value)


def _restrided(a, strides):
    out = strided(a.shape, a.dtype, strides)
    out[...] = a
    return out


def test_programs_of_many_operations(monkeypatch):
    monkeypatch.setattr("lima.source.program_of", lambda nodes, outputs: None)
    last = X
    for k in range(20_000):
        last = node("add", last, float(k)) if k % 2 else node("multiply", last, 0.5)
    text = assert_replays({"x": last})
    assert text.count("\n    del ") > 19_000


def test_a_chain_of_views_is_no_deep_expression():
    last = X
    for _ in range(5_000):
        last = node("slice", last, index=slice(None))
    assert_replays({"x": node("add", last, 1.0)})


OPERATIONS = st.sampled_from(
    ["add", "matmul", "transpose", "slice", "assign", "multiply", "copyto"]
)


@given(st.lists(st.tuples(OPERATIONS, st.integers(0, 99), st.integers(0, 99)), max_size=25))
def test_random_programs(steps):
    """Views, writes and products of square matrices in any order, against plain NumPy."""
    data = RNG.normal(size=(5, 5))
    nodes, values = [leaf(data, "A")], [data]
    for op, i, j in steps:
        a, b = (nodes[k % len(nodes)] for k in (i, j))
        u, v = (values[k % len(nodes)] for k in (i, j))
        if op in ("add", "multiply"):
            made, value = node(op, a, b), OPS[op].kernel(u, v)
        elif op == "matmul":
            same = np.shares_memory(u, v)
            made = node(op, a, b, alias=True) if same else node(op, a, b)
            value = u @ v
        elif op == "transpose":
            made, value = node(op, a), u.T
        elif op == "slice":
            made, value = node(op, a, index=slice(None, None, -1)), u[::-1]
        else:
            value = u.copy(order="K") if u.flags.forc else None
            if value is None:
                continue
            if op == "assign":
                made = Node(Spec("assign", (("index", (slice(1, 3), 0)),), 2), (a, 1.5))
                value[1:3, 0] = 1.5
            else:
                made = node("copyto", a, b)
                np.copyto(value, v)
        nodes.append(made)
        values.append(value)
    pick = [k for k in (len(nodes) - 1, len(nodes) // 2, 0) if k >= 0]
    outputs = {f"o{n}": nodes[k] for n, k in enumerate(dict.fromkeys(pick))}
    wanted = {f"o{n}": values[k] for n, k in enumerate(dict.fromkeys(pick))}
    found = recompute(Lineage(outputs), {"A": data})
    ran = run_program(Lineage(outputs).to_python(), {"A": data})
    for (name, value), again in zip(wanted.items(), ran if len(outputs) > 1 else (ran,)):
        with np.errstate(all="ignore"):
            assert np.asarray(found[name]).tobytes() == value.tobytes()
            assert np.asarray(again).tobytes() == value.tobytes()


# ------------------------------------------------------------------------------- leaves


def test_leaves_by_name_by_digest_and_from_files(tmp_path):
    lineage = Lineage({"z": node("add", X, W)})
    wanted = DATA["X"] + DATA["w"]
    for inputs in (DATA | {}, {X.digest.hex(): DATA["X"], "w": DATA["w"]}):
        used = {k: v for k, v in inputs.items() if k != "y"}
        assert_bits(recompute(lineage, used)["z"], wanted)
    write(tmp_path / "z.log", lineage, {X.digest: DATA["X"], W.digest: DATA["w"]})
    assert_bits(recompute(read(tmp_path / "z.log"))["z"], wanted)


def test_memory_order_of_leaves_is_restored(monkeypatch):
    plain = RNG.normal(size=(4, 6))
    forms = {
        "F": np.asfortranarray(plain),
        "S": np.repeat(plain, 2, axis=1)[:, ::2],
        "R": plain[::-1, ::-1],
        "B": np.broadcast_to(plain[0], (3, 6)),
    }
    for name, form in forms.items():
        made = leaf(form, name)
        (found,) = recompute(Lineage({"x": made}), {name: np.array(form, order="C")}).values()
        assert found.tobytes() == form.tobytes()
        seen = []
        with monkeypatch.context() as patch:
            patch.setitem(
                OPS, "sin", SimpleNamespace(**{**_facts(OPS["sin"]), "kernel": seen.append})
            )
            recompute(Lineage({"x": node("sin", made)}), {name: np.array(form, order="C")})
        assert layout_of(seen[0]) == layout_of(form)


def _facts(row):
    return {name: getattr(row, name) for name in row.__slots__}


def test_results_belong_to_the_caller():
    lineage = Lineage({"x": X, "t": node("transpose", X), "again": X})
    found = recompute(lineage, {"X": DATA["X"]})
    assert not any(np.shares_memory(found[k], DATA["X"]) for k in found)
    assert not np.shares_memory(found["x"], found["again"])
    assert all(found[k].flags.writeable for k in found)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "leaf 'X' ((300, 6) <f8) is missing: give it in inputs="),
        ({"Z": 1}, "no leaf is named 'Z'; the leaves are X"),
        ({"X": DATA["X"][:9]}, "the input 'X' has shape (9, 6)"),
        ({"X": DATA["X"].astype("f4")}, "the input 'X' has dtype <f4"),
        ({"X": DATA["X"] + 1}, "the input 'X' has other elements"),
        ({"X": np.full((300, 6), None)}, "cannot be compared"),
    ],
)
def test_wrong_leaves(inputs, message):
    with pytest.raises(ReplayError) as error:
        recompute(Lineage({"z": node("sin", X)}), inputs)
    assert message in str(error.value)


def test_broken_leaf_files(tmp_path):
    path = tmp_path / "z.log"
    write(path, Lineage({"z": node("sin", X)}), {X.digest: DATA["X"]})
    (file,) = (tmp_path / "z.log.data").iterdir()
    file.write_bytes(b"not an array")
    with pytest.raises(ReplayError, match="cannot be read"):
        recompute(read(path))
    np.save(file, DATA["X"] + 1)
    with pytest.raises(ReplayError, match="other elements"):
        recompute(read(path))
    np.save(file, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ReplayError, match="cannot be read"):
        recompute(read(path))
    file.unlink()
    with pytest.raises(ReplayError, match="does not exist"):
        recompute(read(path))
    with pytest.raises(ReplayError, match="Python objects"):
        write(path, Lineage({"z": X}), {X.digest: np.array([None])})


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Node(Spec("nothing"), (X,)), "has no operation 'nothing'"),
        (Node(Spec("sin", (("where", Unique("f")),), 1), (X,)), "that a log cannot hold"),
        (Node(Spec("sin"), (Unique("file"),)), "an object that a log cannot hold"),
        (Node(Spec("add", version=7), (X, 1.0)), "recorded in version 7"),
        (node("linalg.solve", X, X), "LinAlgError"),
        (node("sin"), "%1: sin() failed: TypeError"),
        (item(node("linalg.svd", X), 9), "there is no result 9"),
        (item(node("sin", X), 0), "there is no result 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_replayed(made, message):
    inputs = {"X": DATA["X"]} if Lineage({"z": made}).uses("X") else {}
    with pytest.raises(ReplayError) as error:
        recompute(Lineage({"z": made}), inputs)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "made", [Node(Spec("nothing"), (X,)), Node(Spec("sin"), (Unique("file"),))]
)  # fmt: skip
def test_what_cannot_be_written_as_a_program(made):
    with pytest.raises(ReplayError):
        Lineage({"z": made}).to_python()


def test_checks_and_environments():
    made = node("sin", X)
    check = {"z": check_of(np.sin(DATA["X"]))}
    wrong = {"z": check_of(np.cos(DATA["X"]))}
    here = Lineage({"z": made}).environment
    elsewhere = {**here, "numpy": "1.0", "threads": "77"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recompute(Lineage({"z": made}, checks=check), {"X": DATA["X"]})
        recompute(Lineage({"z": made}, environment={"lima": "0"}), {"X": DATA["X"]})
    with pytest.raises(ReplayError, match="z came out differently"):
        recompute(Lineage({"z": made}, checks=wrong), {"X": DATA["X"]})
    with pytest.warns(ReplayWarning, match=r"numpy 1\.0, now .*; threads 77, now"):
        recompute(Lineage({"z": made}, checks=check, environment=elsewhere), {"X": DATA["X"]})
    with (
        pytest.warns(ReplayWarning, match="other bits than were logged"),
        pytest.warns(ReplayWarning, match="another environment"),
    ):
        recompute(Lineage({"z": made}, checks=wrong, environment=elsewhere), {"X": DATA["X"]})
    assert check_of(np.array([None])) is None


def test_memory_is_freed_after_the_last_use(monkeypatch):
    """A chain holds two results at a time, however long it is."""
    import lima.replay

    most = 0
    keep = lima.replay.Run.keep

    def spy(self, *args):
        nonlocal most
        keep(self, *args)
        most = max(most, len(self.present))

    monkeypatch.setattr(lima.replay.Run, "keep", spy)
    last = X
    for _ in range(100):
        last = node("add", last, 1.0)
    recompute(Lineage({"z": last}), {"X": DATA["X"]})
    assert most == 2


def test_a_chain_of_200_000_operations():
    last = start = leaf(np.ones(2), "a")
    for k in range(200_000):
        last = node("add", last, 1.0) if k % 2 else node("multiply", last, 0.5)
    (found,) = recompute(Lineage({"x": last}), {"a": np.ones(2)}).values()
    value = np.ones(2)
    for k in range(200_000):
        value = value + 1.0 if k % 2 else value * 0.5
    assert found.tobytes() == value.tobytes()
    assert start.is_leaf


def test_the_table_is_filled():
    assert lima.__version__ and len(SAMPLED) > 100


def test_a_leaf_is_found_although_an_equal_array_came_and_went():
    data = np.random.default_rng(5).normal(size=37)
    x = lima.array(data, name="x")
    total = x.sum()
    other = data.copy()
    lima.traced(lambda a: a + 1)(other)
    del other
    gc.collect()
    assert lima.recompute(total) == data.sum()


@pytest.mark.parametrize("call", [
    lambda x: np.percentile(x, [25, 75.0]),
    lambda x: x + [1, 2, 3],
    lambda x: np.add.reduceat(x, [0, 2]),
    lambda x: np.where(x > 1, [[1.5, 2, 3]], (x, x)),
    lambda x: np.interp(x, [0, 3], [True, False]),
])  # fmt: skip
def test_short_lists_stand_in_the_log(call):
    """The log asks for no other leaf than `x`."""
    a = np.arange(3.0)
    text = lima.lineage(y=call(lima.array(a, name="x"))).log()
    found = lima.recompute(loads(text), {"x": a})["y"]
    assert np.asarray(found).tobytes() == call(a).tobytes()


def test_long_lists_are_leaves_that_are_found():
    x, listed = lima.array(np.arange(40.0)), list(range(40))
    y = x + listed
    del listed
    assert np.array_equal(lima.recompute(y), np.arange(40.0) * 2)


FACTORS = np.array([0.5, 0.25, 0.125])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * FACTORS,
        lambda x: np.hypot(FACTORS, x),
        lambda x: np.concatenate([x, FACTORS]),
        lambda x: x + [1.5, 2.5, 3.5],
        lambda x: np.interp(x, [0.25, 1.25], [7.0, 9.0]),
    ],
)
def test_plain_arrays_and_lists_that_a_function_names_are_found(function, tmp_path):
    """Constants of a module are no arguments, yet leaves that still exist."""
    x = np.array([0.5, 1.0, 2.0])
    record = lima.lineage(lima.traced(function)(x))
    gc.collect()
    recomputed = lima.recompute(record)
    np.testing.assert_array_equal(recomputed, function(x), strict=True)
    lima.save(tmp_path / "log", record, leaf_data=True)
    stored = lima.recompute(lima.load_log(tmp_path / "log"))
    np.testing.assert_array_equal(stored, recomputed, strict=True)


def test_a_plain_array_that_was_changed_is_not_taken_for_the_leaf_it_was():
    weights = np.arange(400.0)
    y = lima.array(np.full(400, 3.0)) * weights
    weights[0] = 5.0
    with pytest.raises(ReplayError, match="missing"):
        lima.recompute(y)


def test_a_small_plain_array_is_kept_as_it_was():
    weights = np.array([3.0, 1.0, 4.0])
    y = lima.array(np.array([1.0, 2.0, 3.0])) * weights
    weights[0] = 5.0
    assert lima.recompute(y).tolist() == [3.0, 2.0, 12.0]


def test_an_array_of_no_axes_keeps_its_byte_order():
    """A NumPy scalar, which it is not, would have the machine's."""
    e = lima.array(np.arange(16.0).reshape(4, 4).astype(">f8"))
    found = lima.recompute(e[0, -4, ...])
    assert found.dtype == np.dtype(">f8") and found == 0.0
