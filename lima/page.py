"""The page around a picture: its style and its script, with marks where the content goes."""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title><!--TITLE--></title>
<style>
body { margin: 0; font: 13px sans-serif; display: grid; height: 100vh; color: #111;
  grid-template: auto 1fr / 1fr 26em; }
header { grid-column: 1 / 3; padding: .5em 1em; border-bottom: 1px solid #ccc; }
header input { width: 16em; }
header span { padding: 0 .5em; margin-left: .5em; border-radius: 3px; }
main { overflow: hidden; cursor: grab; }
aside { overflow: auto; border-left: 1px solid #ccc; padding: 0 1em; }
aside pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.box { cursor: pointer; }
.box.found rect { stroke: #d0007a; stroke-width: 3; }
.box.chosen rect { stroke: #111; stroke-width: 3; }
.faded .box:not(.found) { opacity: .35; }
</style>
</head>
<body>
<header><b><!--TITLE--></b> &nbsp; <input type="search" placeholder="find an operation or name"
  aria-label="find"> <small></small> <button>whole</button><!--LEGEND--></header>
<main><!--SVG--></main>
<aside><p>Choose a box for what it holds. Drag to move, turn the wheel to zoom.</p>
<!--NOTES--></aside>
<script type="application/json" id="details"><!--DETAILS--></script>
<script>
"use strict";
const details = JSON.parse(document.getElementById("details").textContent);
const main = document.querySelector("main"), svg = main.querySelector("svg");
const boxes = [...svg.querySelectorAll(".box")], aside = document.querySelector("aside");
const whole = svg.viewBox.baseVal, start = [whole.x, whole.y, whole.width, whole.height];
let view = start.slice();
svg.setAttribute("width", "100%"); svg.setAttribute("height", "100%");
const show = () => svg.setAttribute("viewBox", view.join(" "));
const scale = () => Math.max(view[2] / main.clientWidth, view[3] / main.clientHeight);
function first() {
  const wide = main.clientWidth, high = main.clientHeight;
  view = start.slice();
  const left = start[0] + start[2] / 2 - wide / 2, top = start[1] + start[3] - high;
  if (scale() > 2) view = [left, top, wide, high];
  show();
}
document.querySelector("button").onclick = () => { view = start.slice(); show(); };
main.addEventListener("wheel", event => {
  event.preventDefault();
  const by = event.deltaY > 0 ? 1.2 : 1 / 1.2;
  const pixel = new DOMPoint(event.clientX, event.clientY);
  const p = pixel.matrixTransform(svg.getScreenCTM().inverse());
  view = [p.x - (p.x - view[0]) * by, p.y - (p.y - view[1]) * by, view[2] * by, view[3] * by];
  show();
}, { passive: false });
main.addEventListener("pointerdown", event => {
  const from = [event.clientX, event.clientY], was = view.slice(), s = scale();
  const move = e => {
    view = [was[0] - (e.clientX - from[0]) * s, was[1] - (e.clientY - from[1]) * s, was[2], was[3]];
    show();
  };
  const stop = () => {
    removeEventListener("pointermove", move); removeEventListener("pointerup", stop);
  };
  addEventListener("pointermove", move); addEventListener("pointerup", stop);
});
for (const box of boxes) box.addEventListener("click", () => {
  boxes.forEach(b => b.classList.remove("chosen"));
  box.classList.add("chosen");
  const d = details[box.dataset.k], head = document.createElement("h3");
  const about = document.createElement("p"), list = document.createElement("pre");
  head.textContent = d.title; about.textContent = d.about; list.textContent = d.lines.join("\\n");
  aside.replaceChildren(head, about, list);
});
document.querySelector("input").addEventListener("input", event => {
  const text = event.target.value.toLowerCase();
  let count = 0;
  for (const box of boxes) {
    const d = details[box.dataset.k];
    const hit = text && (d.title + d.about + d.lines.join(" ")).toLowerCase().includes(text);
    box.classList.toggle("found", Boolean(hit));
    count += Boolean(hit);
  }
  svg.classList.toggle("faded", Boolean(text));
  document.querySelector("small").textContent = text ? count + " boxes" : "";
});
first();
</script>
</body>
</html>
"""
"""The title stands in two places; other marks in one."""
