"""Pictures of lineage and exports: folded, self-contained, safe, valid."""

from __future__ import annotations

import json
import re
import uuid
import xml.etree.ElementTree as ET
from datetime import datetime
from html.parser import HTMLParser

import numpy as np
import pytest

import lima
from lima import cli
from lima.folding import fold, opened
from lima.node import Node, Spec, leaf
from lima.record import Lineage

X = leaf(np.arange(6.0).reshape(3, 2), "X")
NASTY = '<script>alert("1")</script>]] -->\\ `#;'


def node(op: str, *inputs, **params) -> Node:
    return Node(Spec(op, tuple(params.items())), inputs)


def loop(rounds: int, inner: int = 0) -> Node:
    x = X
    for _ in range(rounds):
        x = node("add", node("multiply", x, 2.0), X)
        for _ in range(inner):
            x = node("exp", node("sin", x))
    return x


def boxes_of(root: Node, limit: int):
    record = Lineage({"out": root})
    return fold(record.nodes, record.outputs, limit)


def svg_of(text: str) -> ET.Element:
    return ET.fromstring(text)


SVG = "{http://www.w3.org/2000/svg}"

# --------------------------------------------------------------------------- folding


def test_small_lineage_is_drawn_node_by_node():
    boxes = boxes_of(loop(3), 50)
    assert len(boxes) == 7 and all(len(box.nodes) == 1 for box in boxes)
    assert boxes[-1].results == ["out"]


@pytest.mark.parametrize("root", [loop(500), loop(200, 5), node("sum", loop(90, 3))])
def test_loops_are_folded(root):
    boxes = boxes_of(root, 20)
    assert len(boxes) <= 20
    assert any(box.kind == "loop" and box.rounds > 50 for box in boxes)


def test_folding_loses_nothing_and_makes_no_cycle():
    rng = np.random.default_rng(0)
    made = [X, leaf(np.ones(2), "Y")]
    for _ in range(2000):
        op = rng.choice(["add", "multiply", "subtract", "divide", "maximum"])
        made.append(node(str(op), *(made[-1 - int(k)] for k in rng.integers(0, 9, 2) % len(made))))
    record = Lineage({"out": made[-1]})
    boxes = fold(record.nodes, record.outputs, 30)
    assert len(boxes) <= 32
    assert sorted(n.digest for box in boxes for n in box.nodes) == sorted(
        n.digest for n in record.nodes
    )
    for k, box in enumerate(boxes):
        assert all(source < k for source in box.inputs)


def test_many_leaves():
    joined = node("hstack", *(leaf(np.full(2, k), f"x{k}") for k in range(300)))
    boxes = boxes_of(joined, 40)
    assert len(boxes) <= 41 and "more arrays" in "".join(box.title for box in boxes)


def test_a_hundred_thousand_nodes():
    record = Lineage({"out": loop(50_000)})
    assert len(record) == 100_001
    for text in (record.to_svg(), record.to_html(), record.to_dot(), record.to_mermaid()):
        assert len(text) < 60_000
        assert "50,000" in text


# --------------------------------------------------------------------------- drawings


def overlapping(rectangles):
    at = [tuple(float(r.get(k)) for k in ("x", "y", "width", "height")) for r in rectangles]
    return [
        (a, b)
        for k, a in enumerate(at)
        for b in at[:k]
        if a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
    ]


@pytest.mark.parametrize("limit", [10, 60, 500])
def test_boxes_do_not_overlap_and_lie_within_the_picture(limit):
    root = node("add", loop(30, 2), node("matmul", X, leaf(np.ones((2, 2)))))
    drawn = svg_of(Lineage({"out": root, "other": node("sin", X)}).to_svg(limit))
    rectangles = drawn.findall(f".//{SVG}rect")
    assert len(rectangles) > 5 and not overlapping(rectangles)
    left, top, width, height = map(float, drawn.get("viewBox").split())
    for r in rectangles:
        assert (
            left <= float(r.get("x")) and float(r.get("x")) + float(r.get("width")) <= left + width
        )
        assert (
            top <= float(r.get("y")) and float(r.get("y")) + float(r.get("height")) <= top + height
        )


def test_users_stand_below_what_they_use():
    drawn = svg_of(Lineage({"out": loop(20)}).to_svg())
    for path in drawn.findall(f".//{SVG}path"):
        numbers = [float(t) for t in re.findall(r"-?[0-9.]+", path.get("d"))]
        assert numbers[1] < numbers[-1]


def test_a_lineage_of_data_alone_and_one_of_nothing_else():
    for root in (X, node("eye", N=3)):
        assert len(svg_of(Lineage({"out": root}).to_svg()).findall(f".//{SVG}rect")) == 1


def opens_of(page: str):
    """What the page opens to: details by number, and the numbers of the boxes of each picture."""
    details = json.loads(re.search(r'id="details">(.*?)</script>', page, re.S)[1])
    body = re.search(r"<main>(.*?)</main>", page, re.S)[1]
    sheets = re.split(r"<template [^>]*>", body)
    return details, [[int(k) for k in re.findall(r'data-k="(\d+)"', text)] for text in sheets]


@pytest.mark.parametrize("root", [loop(500), node("sum", loop(90, 3)), loop(4)])
def test_boxes_open_to_what_they_hold(root):
    record = Lineage({"out": root})
    details, sheets = opens_of(record.to_html(limit=10))
    assert sorted(k for sheet in sheets for k in sheet) == list(range(len(details)))
    opened = [detail["opens"] for detail in details if detail["opens"]]
    assert sorted(opened) == list(range(1, len(sheets)))
    for k, detail in enumerate(details):
        assert detail["opens"] == 0 or k not in sheets[detail["opens"]]
        assert detail["opens"] == 0 or len(sheets[detail["opens"]]) > 1


def test_what_a_box_opens_to_holds_its_nodes_and_has_no_cycle():
    rng = np.random.default_rng(0)
    made = [X, leaf(np.ones(2), "Y")]
    for k in range(900):
        op = (
            ("add", "multiply", "divide")[k % 3]
            if 300 < k < 600
            else str(rng.choice(["sin", "exp"]))
        )
        made.append(node(op, *(made[-1 - int(k)] for k in rng.integers(0, 9, 2) % len(made))))
    record = Lineage({"out": made[-1]})
    todo = fold(record.nodes, record.outputs, 30)
    around = {n.digest: box for box in todo for n in box.nodes}
    found = 0
    while todo:
        box = todo.pop()
        inner = opened(box, record.outputs, around)
        held = [n.digest for part in inner if part.kind != "port" for n in part.nodes]
        assert not inner or held == [n.digest for n in box.nodes]
        assert inner or len(box.nodes) == 1 or "more rounds" in box.title
        for k, part in enumerate(inner):
            assert all(source < k for source in part.inputs)
        found += bool(inner)
        todo += [part for part in inner if part.kind != "port"]
    assert found > 5


def steps(x, seed):
    for k in np.random.default_rng(seed).integers(0, 4, 40).tolist():
        x = (np.sin, np.arctan, np.cumsum, np.tanh)[k](x)
    return x


@lima.traced
def pairs(x):
    return steps(np.cbrt(steps(x, 0) + 1.0) / 2.0, 1)


def test_what_one_function_asked_for_is_one_box():
    with lima.session(reuse="none", lines="all"):
        record = lima.lineage(pairs(np.arange(9.0)))
    boxes = fold(record.nodes, record.outputs, 20)
    assert any(box.kind == "function" and box.title == "steps: 40 operations" for box in boxes)


def test_costs_are_coloured():
    x = lima.array(np.random.default_rng(0).standard_normal((400, 300)), name="X")
    with lima.session():
        record = lima.lineage(np.linalg.svd(x.T @ x)[1].sum())
    assert "#d9483b" in record.to_svg(colours="cost")
    details, _ = opens_of(record.to_html())
    assert max(detail["cost"] for detail in details) == 5
    with pytest.raises(ValueError, match="'outcome' or 'cost'"):
        record.to_svg(colours="price")


def test_outcomes_are_coloured():
    with lima.session():

        @lima.traced
        def gram(X):
            return X.T @ X

        X = np.random.default_rng(0).standard_normal((3000, 60))
        gram(X), gram(X)
        x = lima.array(X, name="X")
        again = lima.lineage(x.T @ x).to_svg()
    assert "#d9f2dd" in again or "#dfe9f7" in again


class Tags(HTMLParser):
    """The tags of a page, and what its attributes name."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.named: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.named += [value for key, value in attrs if key in ("src", "href")]


def test_pages_need_no_network_and_run_nothing_of_the_data():
    record = Lineage({NASTY: node("add", leaf(np.zeros(2), NASTY), NASTY)})
    page = record.to_html()
    parser = Tags()
    parser.feed(page)
    assert parser.tags.count("script") == 2 and parser.named == []
    assert "default-src 'none'" in page
    assert "alert" in page and "<script>alert" not in page
    details = re.search(r'id="details">(.*?)</script>', page, re.S)[1]
    assert len(json.loads(details)) == 2
    assert svg_of(record.to_svg()) is not None
    assert "<script>" not in record._repr_html_()


def test_mermaid_and_dot_escape():
    record = Lineage({NASTY: node("add", leaf(np.zeros(2), NASTY), NASTY)})
    for line in record.to_mermaid().splitlines()[1:]:
        assert re.fullmatch(
            r'  (n\d+ --> (n\d+|out\d+\(\["[^"<>`]*"\]\))|n\d+(\(\[|\[)"[^"<>`]*"(\]\)|\])'
            r"|class(Def)? .*)",
            line,
        ), line
    assert '\\"1\\"' in record.to_dot()


# --------------------------------------------------------------------------- exports


@pytest.fixture
def record():
    x = lima.array(np.ones((4, 2)), name="X")
    gram = x.T @ x
    return lima.lineage(gram=gram, inverse=np.linalg.pinv(gram + np.eye(2)))


def test_networkx(record):
    nx = pytest.importorskip("networkx")
    graph = record.to_networkx()
    assert len(graph) == len(record) and nx.is_directed_acyclic_graph(graph)
    (product,) = [n for n, data in graph.nodes(data=True) if data["op"] == "matmul"]
    assert graph.nodes[product]["results"] == ["gram"] and graph.nodes[product]["shape"] == (2, 2)
    assert sorted(data["input"] for *_, data in graph.in_edges(product, data=True)) == [0, 1]


def test_prov(record):
    model = pytest.importorskip("prov.model")
    text = record.to_prov()
    document = model.ProvDocument.deserialize(content=text, format="json")
    kinds = [type(found).__name__ for found in document.get_records()]
    operations = sum(not n.is_leaf for n in record.nodes)
    edges = sum(isinstance(i, Node) for n in record.nodes for i in n.inputs)
    assert kinds.count("ProvEntity") == len(record)
    assert kinds.count("ProvActivity") == kinds.count("ProvGeneration") == operations
    assert kinds.count("ProvUsage") == edges
    assert document == model.ProvDocument.deserialize(
        content=document.serialize(format="json"), format="json"
    )
    assert record.to_prov() == text


def test_openlineage(record):
    event = json.loads(record.to_openlineage(job="gram", time=datetime(2024, 5, 1)))
    assert event["eventTime"] == "2024-05-01T00:00:00+00:00"
    assert uuid.UUID(event["run"]["runId"])
    assert event["job"] == {"namespace": "lima", "name": "gram"}
    assert event["inputs"][0]["name"] == "X"
    assert [d["name"] for d in event["outputs"]] == ["gram", "inverse"]
    for facets in (event["run"]["facets"], *(d["facets"] for d in event["inputs"])):
        for facet in facets.values():
            assert facet["_producer"] and facet["_schemaURL"]
    assert event["eventType"] == "COMPLETE" and event["producer"] and event["schemaURL"]
    again = json.loads(record.to_openlineage())
    assert again["run"]["runId"] == event["run"]["runId"]


def test_openlineage_is_read_by_its_package(record):
    client = pytest.importorskip("openlineage.client.event_v2")
    event = json.loads(record.to_openlineage())
    run = client.Run(runId=event["run"]["runId"])
    job = client.Job(**event["job"])
    made = client.RunEvent(
        eventType=client.RunState[event["eventType"]],
        eventTime=event["eventTime"],
        inputs=[client.InputDataset(d["namespace"], d["name"]) for d in event["inputs"]],
        outputs=[client.OutputDataset(d["namespace"], d["name"]) for d in event["outputs"]],
        run=run,
        job=job,
        producer=event["producer"],
    )
    assert made.schemaURL == event["schemaURL"]


@pytest.mark.parametrize("form", ["dot", "mermaid", "svg", "html", "prov", "openlineage", "json"])
def test_export_command(record, form, tmp_path, capsys):
    log = lima.save(tmp_path / "x.lima", record)
    assert cli.main(["export", str(log), "--format", form, "-o", str(tmp_path / "out")]) == 0
    assert cli.main(["export", str(log), "--format", form]) == 0
    shown = capsys.readouterr().out
    written = (tmp_path / "out").read_text()
    assert shown and (form == "openlineage" or shown == written)  # an event has its time


def test_export_command_refuses(record, tmp_path, capsys):
    log = lima.save(tmp_path / "x.lima", record)
    assert cli.main(["export", str(log), "--format", "pdf"]) == 2
    assert "'pdf' is none of dot, mermaid" in capsys.readouterr().err
