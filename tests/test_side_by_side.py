"""Two lineages in one picture: what stands where, in which colour, and that it holds any lineage."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lima
from lima import cli
from lima.side_by_side import AFTER, APARTS, COLOURS, SAME

SVG = "{http://www.w3.org/2000/svg}"
X = np.random.default_rng(0).standard_normal((20, 3))


def ridge(reg, more=False):
    x, y = lima.array(X, name="X"), lima.array(np.ones(20), name="y")
    gram = x.T @ x
    right = x.T @ y
    beta = np.linalg.solve(
        gram + reg * lima.array(np.eye(3), name="eye"), right * 2.0 if more else right
    )
    return lima.lineage(beta=beta)


def boxes(text):
    """(number of the side, text, fill, x, y) of every box."""
    found = []
    for side, group in enumerate(ET.fromstring(text).findall(f"{SVG}g")):
        for g in group.iter(f"{SVG}g"):
            if g.get("class") == "box":
                rect = g.find(f"{SVG}rect")
                words = g.find(f"{SVG}text").text
                found.append((side, words, rect.get("fill"), rect.get("x"), float(rect.get("y"))))
    return found


def by_colour(text, side):
    kinds = {fill: name for name, (fill, _) in COLOURS.items()}
    return {words: kinds[fill] for k, words, fill, _, _ in boxes(text) if k == side}


def test_what_differs_is_marked_and_what_is_common_left_out():
    found = lima.diff(ridge(0.1), ridge(0.2))
    left, right = by_colour(found.to_svg(), 0), by_colour(found.to_svg(), 1)
    assert left["multiply(0.1, ·): ≠ 1"] == right["multiply(0.2, ·): ≠ 1"] == APARTS
    assert left["linalg.solve(·, ·) → beta"] == AFTER == left["add(·, ·)"]
    assert left["eye: <f8 3×3"] == SAME == right["matmul(·, ·)"]
    assert not any("transpose" in words or words.startswith("X") for words in left)


def test_what_was_compared_stands_at_one_height():
    drawn = boxes(lima.diff(ridge(0.1), ridge(0.2, more=True)).to_svg())
    heights = [
        {words.partition("(")[0]: y for k, words, _, _, y in drawn if k == side} for side in (0, 1)
    ]
    for op in ("linalg.solve", "add"):
        assert heights[0][op] == heights[1][op]
    assert (
        len([1 for k, words, *_ in drawn if k == 1 and words.startswith("multiply(·, 2.0)")]) == 1
    )


def test_the_sides_do_not_overlap_and_lie_within_the_picture():
    root = ET.fromstring(lima.diff(ridge(0.1), ridge(0.2, more=True)).to_svg())
    spans = []
    for group in root.findall(f"{SVG}g"):
        shift = float(re.match(r"translate\(([-.0-9]+)", group.get("transform"))[1])
        rects = list(group.iter(f"{SVG}rect"))
        left = [shift + float(r.get("x")) for r in rects]
        right = [x + float(r.get("width")) for x, r in zip(left, rects, strict=True)]
        spans.append((min(left), max(right)))
    _, _, width, height = map(float, root.get("viewBox").split())
    assert 0 <= spans[0][0] < spans[0][1] < spans[1][0] < spans[1][1] <= width
    assert max(y for *_, y in boxes(ET.tostring(root))) < height


def test_steps_that_changed_places():
    x = lima.array(X, name="X")
    found = lima.diff(np.exp(np.sin(x)) + 1.0, np.sin(np.exp(x)) + 1.0)
    assert found and len(boxes(found.to_svg())) >= 6


def test_one_lineage_and_results_that_only_one_has():
    same = lima.diff(ridge(0.1), ridge(0.1))
    assert set(by_colour(same.to_svg(), 0).values()) == {SAME}
    x = lima.array(X, name="X")
    found = lima.diff(lima.lineage(a=x + 1.0, b=x * 2.0), lima.lineage(a=x + 1.0, c=x - 1.0))
    assert "multiply(·, 2.0): ≠ 1 → b" in by_colour(found.to_svg(), 0)


def test_loops_are_folded():
    def rounds(n, rate):
        x = lima.array(np.ones(3), name="start")
        for _ in range(n):
            x = np.sqrt(x * rate + 1.0)
        return x

    text = lima.diff(rounds(2000, 0.5), rounds(2000, 0.6)).to_svg(limit=20)
    assert len(boxes(text)) < 30 and len(text) < 20_000 and "2,000 ×" in text
    kinds = by_colour(text, 0)
    assert APARTS in kinds.values()


def test_the_page_needs_nothing_and_lists_what_differs():
    x = lima.array(X, name="</script><b>")
    found = lima.diff(x + 1.0, x + 2.0)
    page = found.to_html()
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert "<b>" not in page.replace("<b>1 difference</b>", "")
    assert page.count("</script>") == 2 and "1. literal: 1.0 | 2.0" in page
    details = json.loads(re.search(r'id="details">(.*?)</script>', page, re.S)[1])
    drawn = re.findall(r'data-k="(\d+)"', page)
    assert sorted(map(int, drawn)) == list(range(len(details)))
    assert any("1. literal: 1.0 | 2.0" in line for d in details for line in d["lines"])
    shown = found._repr_html_()
    assert "<svg" in shown and "literal: 1.0 | 2.0" in shown


def test_nothing_is_written_over_what_was_compared():
    a, b = ridge(0.1), ridge(0.2)
    before = a.log(), b.log()
    lima.diff(a, b).to_html()
    assert (a.log(), b.log()) == before


OPS = [np.sin, np.exp, np.tanh, lambda x: x + 1.0, lambda x: x * 2.0, lambda x: x @ x]


@given(st.lists(st.integers(0, 5), max_size=8), st.lists(st.integers(0, 5), max_size=8))
def test_any_two_programs(one, other):
    def run(steps):
        x = y = lima.array(np.eye(3) * 0.1, name="x")
        for k in steps:
            x, y = OPS[k](x), x
        return x + y

    with np.errstate(all="ignore"):
        found = lima.diff(run(one), run(other))
    drawn = boxes(found.to_svg())
    assert drawn
    assert {0, 1} == {side for side, *_ in drawn}
    assert (APARTS in {*by_colour(found.to_svg(), 0).values()}) == bool(found)
    ET.fromstring(found.to_svg(limit=6))


@pytest.mark.parametrize("other", [0.1, 0.2])
def test_command(tmp_path, other, capsys):
    paths = [tmp_path / "a.lima", tmp_path / "b.lima"]
    for path, reg in zip(paths, (0.1, other), strict=True):
        with open(path, "w") as file:
            file.writelines(ridge(reg).lines())
    page = tmp_path / "diff.html"
    status = cli.main(["diff", *map(str, paths), "--html", str(page)])
    assert status == int(other != 0.1)
    assert page.read_text().startswith("<!DOCTYPE html>")
    capsys.readouterr()
