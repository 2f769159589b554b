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
.box.opens text { text-decoration: underline; }
.costs, .cost .outcomes { display: none; }
.cost .costs { display: inline; }
<!--COSTS-->
nav a { color: #3567a8; cursor: pointer; text-decoration: underline; }
</style>
</head>
<body>
<header><b><!--TITLE--></b> &nbsp; <input type="search" placeholder="find an operation or name"
  aria-label="find"> <small></small> <button id="fit">fit</button>
  <button id="colours">colour by cost</button><!--LEGEND--><nav></nav></header>
<main><!--SVG--></main>
<aside><p>Choose a box for what it holds; open an underlined one by a double click,
and leave it by Escape. Drag to move, turn the wheel to zoom.</p>
<!--NOTES--></aside>
<script type="application/json" id="details"><!--DETAILS--></script>
<script>
"use strict";
const details = JSON.parse(document.getElementById("details").textContent);
const main = document.querySelector("main"), aside = document.querySelector("aside");
const sheets = [main.querySelector("svg"), ...main.querySelectorAll("template")];
const small = document.querySelector("small"), find = document.querySelector("input");
const nav = document.querySelector("nav");
let svg, boxes, start, view, at = 0;
const show = () => svg.setAttribute("viewBox", view.join(" "));
const scale = () => Math.max(view[2] / main.clientWidth, view[3] / main.clientHeight);
function first() {
  const wide = main.clientWidth, high = main.clientHeight;
  view = start.slice();
  const left = start[0] + start[2] / 2 - wide / 2, top = start[1] + start[3] - high;
  if (scale() > 2) view = [left, top, wide, high];
  if (scale() < .7) view = [left + .15 * wide, start[1] + start[3] / 2 - .35 * high,
    .7 * wide, .7 * high];
  show();
}
function go(number) {
  at = number;
  svg = number ? sheets[number].content.firstElementChild.cloneNode(true) : sheets[0];
  main.replaceChildren(svg);
  const whole = svg.viewBox.baseVal;
  start = svg.start = svg.start || [whole.x, whole.y, whole.width, whole.height];
  svg.setAttribute("width", "100%"); svg.setAttribute("height", "100%");
  boxes = [...svg.querySelectorAll(".box")];
  for (const box of boxes) {
    const d = details[box.dataset.k];
    box.classList.toggle("opens", Boolean(d.opens));
    box.dataset.c = d.cost || 0;
    box.onclick = () => choose(box, d);
    box.ondblclick = () => { if (d.opens) go(d.opens); };
  }
  const way = [];
  for (let k = number; k; k = Number(sheets[k].dataset.outer)) way.unshift(k);
  nav.replaceChildren();
  if (way.length) for (const k of [0, ...way]) {
    const step = document.createElement(k === number ? "b" : "a");
    step.textContent = k ? sheets[k].dataset.title : "whole";
    if (k !== number) step.onclick = () => go(k);
    nav.append(...(k ? [" › ", step] : [step]));
  }
  search();
  first();
}
function choose(box, d) {
  boxes.forEach(b => b.classList.remove("chosen"));
  box.classList.add("chosen");
  const head = document.createElement("h3"), about = document.createElement("p");
  const list = document.createElement("pre");
  head.textContent = d.title; about.textContent = d.about; list.textContent = d.lines.join("\\n");
  aside.replaceChildren(head, about, list);
  if (!d.opens) return;
  const open = document.createElement("button");
  open.textContent = "open"; open.onclick = () => go(d.opens);
  head.after(open);
}
const inner = new Map();  // the boxes of each sheet that is no more than described
function within(number) {
  if (!inner.has(number)) {
    const found = sheets[number].content.querySelectorAll(".box");
    inner.set(number, [...found].map(box => details[box.dataset.k]));
  }
  return inner.get(number);
}
const holds = (d, text) =>
  (d.title + d.about + d.lines.join(" ")).toLowerCase().includes(text)
  || Boolean(d.opens) && within(d.opens).some(e => holds(e, text));
function search() {
  const text = find.value.toLowerCase();
  let count = 0;
  for (const box of boxes) {
    const hit = text && holds(details[box.dataset.k], text);
    box.classList.toggle("found", Boolean(hit));
    count += Boolean(hit);
  }
  svg.classList.toggle("faded", Boolean(text));
  small.textContent = text ? count + " boxes" : "";
}
document.getElementById("fit").onclick = () => { view = start.slice(); show(); };
const colours = document.getElementById("colours");
colours.onclick = () => {
  const cost = document.body.classList.toggle("cost");
  colours.textContent = cost ? "colour by outcome" : "colour by cost";
};
colours.hidden = !details.some(d => d.cost);
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
find.addEventListener("input", search);
addEventListener("keydown", event => {
  if (event.key === "Escape" && at) go(Number(sheets[at].dataset.outer));
});
go(0);
</script>
</body>
</html>
"""
"""The title stands in two places; other marks in one."""
