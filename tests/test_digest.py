"""Digests: golden vectors, the written specification, stability, and what must differ."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import params

from lima.errors import NotCanonical
from lima.graph import topological
from lima.node import Node, Ref, Spec, Unique, encode, leaf

NAMES = {"np": np, "leaf": leaf, "Node": Node, "Spec": Spec, "Ref": Ref}

PAGE = Path(__file__).parents[1] / "docs" / "digest.md"

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="vectors are little-endian")

# fmt: off
VALUES = {
    "None": "4e",
    "True": "54",
    "False": "46",
    "0": "690100000000",
    "1": "690100000001",
    "-1": "6901000000ff",
    "127": "69010000007f",
    "128": "69020000008000",
    "-128": "690200000080ff",
    "-129": "69020000007fff",
    "2**64": "6909000000000000000000000001",
    "0.0": "660000000000000000",
    "-0.0": "660000000000000080",
    "1.5": "66000000000000f83f",
    "float('nan')": "66000000000000f87f",
    "float('-inf')": "66000000000000f0ff",
    "1+2j": "63000000000000f03f0000000000000040",
    "'a'": "730100000061",
    "'é'": "7302000000c3a9",
    "'\\ud800'": "7303000000eda080",
    "b'a'": "620100000061",
    "()": "2800000000",
    "(1,)": "2801000000690100000001",
    "(1, 2)": "2802000000690100000001690100000002",
    "[1, 2]": "5b02000000690100000001690100000002",
    "{'b': 1, 'a': 2}": "7b02000000730100000061690100000002730100000062690100000001",
    "slice(1, None, 2)": "3a6901000000014e690100000002",
    "...": "2e",
    "Ref(3)": "4003000000",
    "np.float64(1.0)": "6e73030000003c66386208000000000000000000f03f",
    "np.float32(1.0)": "6e73030000003c663462040000000000803f",
    "np.int64(1)": "6e73030000003c693862080000000100000000000000",
    "np.bool(True)": "6e73030000007c6231620100000001",
    "np.datetime64('2020-01-01')": "6e73060000003c4d385b445d62080000005647000000000000",
    "np.dtype('float64')": "6473030000003c6638",
    "np.float64": "6473030000003c6638",
    "np.dtype([('a', '<i2'), ('b', '<f4', (2,))])": "6473220000005b282761272c20273c693227292c20282762272c20273c6634272c2028322c29295d",
    "np.arange(3.0)": "61280300000073030000003c66382801000000690100000003730100000043eb04e7d859156de249bcbcb7671c6bd4",
}
"""Encodings of values."""

NODES = {
    "leaf(np.arange(3.0))": "26f1a407dd530cabcd65d478d36a3919",
    "leaf(np.arange(3.0), 'X')": "26f1a407dd530cabcd65d478d36a3919",
    "leaf(np.arange(6.0).reshape(2, 3))": "bcb3d67911254f31332ff4108359a3c7",
    "leaf(np.arange(6.0).reshape(3, 2).T)": "9d6fc71be95154801b5ca0d396c72078",
    "leaf(np.arange(12.0).reshape(3, 4)[:, ::2])": "b1db20b0a095897521dd4ef37c87681b",
    "leaf(np.arange(3, dtype='>i4'))": "ae172271aed50421d20200a2d691e454",
    "leaf(np.zeros((0, 3)))": "95131e1abfb32449819f9100db39d181",
    "leaf(np.array(1.0))": "e5b785ddd58d1e7f242d7afa8d137545",
    "leaf(np.float64(1.0))": "3d5e9190b70daa9d0300d75c5b2f774d",
    "leaf(np.array(['a', 'bc']))": "4f342aaa9c6c80279a3284519cd1a36d",
    "Node(Spec('eye'), (5,))": "12ab88bd312d4918ad40cfb45a135fa3",
    "Node(Spec('add'), (leaf(np.arange(3.0)), 1.0))": "caee4de7cf720b8c02c58cfaa459e393",
    "Node(Spec('add'), (leaf(np.arange(3.0)), 1))": "ba1fa04d63f335b90ab6d4c9d62c8e3c",
    "Node(Spec('add', (), None, 2), (leaf(np.arange(3.0)), 1))": "8a54b32422ec58a36448b270e27c102f",
    "Node(Spec('sum', (('axis', 0),), 1), (leaf(np.arange(3.0)),))": "a1f8e33993ffa2bec0db8fe4b6ead003",
    "Node(Spec('matmul'), (leaf(np.ones((2, 2))), leaf(np.ones((2, 2)))))": "b60b5780981fa93b809de70829d79eb8",
    "Node(Spec('matmul', (('alias', True),)), (leaf(np.ones((2, 2))), leaf(np.ones((2, 2)))))": "3859349ff055236fd2aac48645d9e39d",
    "Node(Spec('add', (('where', Ref(2)),), 2), (leaf(np.arange(3.0)), 1.0, leaf(np.array([True, False, True]))))": "6df3cdcb2cbbad90dce6386af2c6e84e",
    "Node(Spec('output', (('index', 1),)), (Node(Spec('linalg.svd'), (leaf(np.ones((2, 2))),)),))": "9a47ceeebf0d97c096f6d2469d5972ef",
}
"""Digests of nodes."""
# fmt: on


@little_endian
@pytest.mark.parametrize("text", VALUES)
def test_encoding(text):
    assert encode(eval(text, NAMES)).hex() == VALUES[text]


@little_endian
@pytest.mark.parametrize("text", NODES)
def test_digest(text):
    assert eval(text, NAMES).digest.hex() == NODES[text]


def test_the_page_has_the_same_vectors():
    rows = re.findall(r"^\| `(.*)` \| `([0-9a-f]+)` \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert dict(rows) == {**VALUES, **NODES}


# ------------------------------------------------------------------------------- properties


def decode(raw: bytes, at: int = 0) -> tuple[object, int]:
    """The structure that an encoding spells, read by the specification alone."""
    tag, at = raw[at : at + 1], at + 1
    if tag in b"NTF.":
        return tag, at
    if tag in b"fc@u":
        size = {b"f": 8, b"c": 16, b"@": 4, b"u": 16}[tag]
        return (tag, raw[at : at + size]), at + size
    if tag in b"(:[{dna":
        (count,) = struct.unpack_from("<I", raw, at) if tag in b"([{" else (0,)
        at += 4 if tag in b"([{" else 0
        count = {b"{": 2 * count, b":": 3, b"d": 1, b"n": 2, b"a": 1}.get(tag, count)
        parts = []
        for _ in range(count):
            part, at = decode(raw, at)
            parts.append(part)
        end = at + (16 if tag == b"a" else 0)
        return (tag, parts, raw[at:end]), end
    assert tag in b"isb", tag
    (size,) = struct.unpack_from("<I", raw, at)
    return (tag, raw[at + 4 : at + 4 + size]), at + 4 + size


@given(params)
def test_encodings_delimit_themselves(value):
    raw = encode(value)
    assert decode(raw)[1] == len(raw)


@given(st.lists(params, max_size=4), st.lists(params, max_size=4))
def test_inputs_are_told_apart(first, second):
    nodes = [Node(Spec("add"), tuple(items)) for items in (first, second)]
    same = [encode(i) for i in first] == [encode(i) for i in second]
    assert (nodes[0].digest == nodes[1].digest) == same


def test_numbers_of_other_types_differ():
    numbers = [1, 1.0, True, 1 + 0j, np.float64(1), np.float32(1), np.int64(1), np.bool(True), "1"]
    assert len({encode(x) for x in numbers}) == len(numbers)


def test_signs_and_nans_go_by_their_bits():
    odd = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
    assert len({encode(x) for x in (0.0, -0.0, float("nan"), odd)}) == 4
    assert encode(float("nan")) == encode(float("nan"))


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=5)))
def test_a_leaf_depends_on_every_byte(a):
    digest = leaf(a).digest
    assert leaf(a.copy()).digest == digest
    b = a.copy()
    b.view(np.uint8).reshape(-1)[-1] ^= 1
    assert leaf(b).digest != digest


def test_a_leaf_depends_on_dtype_shape_and_layout():
    a = np.arange(12.0).reshape(3, 4)
    wide = np.zeros((3, 8))
    wide[:, ::2] = a
    twins = [a, np.asfortranarray(a), wide[:, ::2], a.reshape(4, 3), a.view("i8"), a.astype(">f8")]
    assert len({leaf(x).digest for x in twins}) == len(twins)


def test_names_are_no_part_of_the_identity():
    assert leaf(np.ones(2), "a").digest == leaf(np.ones(2), "b").digest


def test_what_has_no_encoding():
    with pytest.raises(NotCanonical):
        encode(object())
    with pytest.raises(NotCanonical):
        encode(np.dtype(object))
    assert encode(Unique()) != encode(Unique())
    objects = np.array([None, 1], dtype=object)
    assert leaf(objects).digest != leaf(objects).digest


def test_dict_order_does_not_matter():
    assert encode({"a": 1, "b": 2}) == encode({"b": 2, "a": 1})


def test_digests_are_those_of_another_process():
    code = (
        "import numpy as np; from lima.node import *;"
        "spec = Spec('add', (('where', {'k': ('x', 1.5)}),));"
        "print(Node(spec, (leaf(np.arange(9.)), 'q')).digest.hex())"
    )
    here = Node(Spec("add", (("where", {"k": ("x", 1.5)}),)), (leaf(np.arange(9.0)), "q"))
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(p for p in sys.path if p)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here.digest.hex()


def test_long_chains():
    spec, node = Spec("add"), leaf(np.ones(1))
    for _ in range(200_000):
        node = Node(spec, (node, 1.0))
    assert len(node.digest) == 16
    assert node.height == 200_001
    assert sum(1 for _ in topological([node])) == 200_001
