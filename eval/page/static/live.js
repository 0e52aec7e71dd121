// Loads data.js again and again, which calls show(): a page from a disk may fetch scripts, but no JSON.
"use strict";
const EVERY = 4000, W = 360, H = 170, LEFT = 46, BOTTOM = 18, TOP = 6, RIGHT = 8;
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a8a8a", "#a58a00"];
const DASHES = ["", "6 3", "2 2"];
let last = "";

function load() {
  const script = document.createElement("script");
  script.src = "data.js?" + Date.now();
  script.onload = script.onerror = () => { script.remove(); setTimeout(load, EVERY); };
  document.head.append(script);
}

function show(told) {
  document.getElementById("title").textContent = document.title = told.title;
  const now = told.trainings.reduce((a, b) => (b.time >= a.time ? b : a), { time: 0, name: "", step: 0, steps: 0 });
  document.getElementById("state").textContent = state(now);
  const text = JSON.stringify(told.trainings);
  document.documentElement.dataset.ready ||= performance.now();
  if (text === last) return; // nothing new: what the pointer is on stays
  last = text;
  const main = document.getElementById("trainings"), folded = {};
  main.querySelectorAll("details").forEach((one) => { folded[one.id] = !one.open; });
  main.replaceChildren(...[...told.trainings].reverse().map((one, index) => {
    const box = element("details");
    box.id = "stage-" + one.name;
    box.open = !(folded[box.id] ?? index > 0);
    const head = element("summary");
    head.append(element("h2", one.name + ": step " + one.step + (one.steps ? " of " + one.steps : "")));
    const panels = element("div");
    panels.className = "panels";
    panels.append(...one.panels.map(panel));
    box.append(head, panels);
    return box;
  }));
}

function state(one) {
  if (!one.time) return one.name ? "When it was logged is not known." : "Waiting for the first logged step.";
  const ago = Math.max(0, Math.round(Date.now() / 1000 - one.time));
  const words = ago < 120 ? ago + " s" : ago < 7200 ? Math.round(ago / 60) + " min" : Math.round(ago / 3600) + " h";
  return one.name + ": step " + one.step + (one.steps ? " of " + one.steps : "") + ", logged " + words + " ago";
}

function panel(one) {
  const box = element("section"), legend = element("div");
  box.className = "panel";
  legend.className = "legend";
  const points = one.lines.flatMap((line) => line.points).filter((p) => Number.isFinite(p[1]));
  const [x0, x1] = range(points.map((p) => p[0]), 1), [y0, y1] = range(points.map((p) => p[1]), 0);
  const x = (value) => LEFT + ((value - x0) / (x1 - x0)) * (W - LEFT - RIGHT);
  const y = (value) => H - BOTTOM - ((value - y0) / (y1 - y0)) * (H - TOP - BOTTOM);
  const plot = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": one.title });
  for (const share of [0, 0.5, 1]) {
    const value = y0 + share * (y1 - y0);
    plot.append(svg("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value) }));
    plot.append(svg("text", { x: LEFT - 4, y: y(value) + 3, "text-anchor": "end" }, number(value)));
  }
  plot.append(svg("text", { x: LEFT, y: H - 5 }, "step " + x0));
  plot.append(svg("text", { x: W - RIGHT, y: H - 5, "text-anchor": "end" }, String(x1)));
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: H - BOTTOM, visibility: "hidden" });
  plot.append(cursor);
  const labels = one.lines.map((line, index) => {
    const colour = COLOURS[index % COLOURS.length], dash = DASHES[Math.floor(index / COLOURS.length) % 3];
    const there = line.points.filter((p) => Number.isFinite(p[1]));
    const path = there.map((p, n) => (n ? "L" : "M") + x(p[0]).toFixed(1) + " " + y(p[1]).toFixed(1)).join("");
    const style = { fill: "none", stroke: colour, "stroke-width": 1.6, "stroke-dasharray": dash };
    plot.append(svg("path", { d: path, ...style }));
    if (there.length === 1) plot.append(svg("circle", { cx: x(there[0][0]), cy: y(there[0][1]), r: 3, fill: colour }));
    const label = element("span"), mark = element("i"), value = element("span");
    mark.style.borderColor = colour;
    if (dash) mark.style.borderTopStyle = "dashed";
    label.append(mark, value);
    legend.append(label);
    return { line, value };
  });
  const write = (step) => labels.forEach(({ line, value }) => {
    const at = line.points.reduce((a, b) => (Math.abs(b[0] - step) <= Math.abs(a[0] - step) ? b : a));
    value.textContent = line.name + " " + number(at[1]);
  });
  write(x1);
  plot.addEventListener("pointermove", (event) => {
    const at = plot.getBoundingClientRect();
    const step = x0 + (((event.clientX - at.left) / at.width) * W - LEFT) / (W - LEFT - RIGHT) * (x1 - x0);
    const kept = Math.min(x1, Math.max(x0, step));
    cursor.setAttribute("x1", x(kept));
    cursor.setAttribute("x2", x(kept));
    cursor.setAttribute("visibility", "visible");
    write(kept);
  });
  plot.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); write(x1); });
  box.append(element("h3", one.title), plot, legend);
  return box;
}

function range(values, least) {
  const low = values.length ? values.reduce((a, b) => Math.min(a, b)) : 0;
  const high = values.length ? values.reduce((a, b) => Math.max(a, b)) : 1;
  if (high > low) return [low, high];
  const room = least || Math.abs(low) / 10 || 1;
  return [low - (least ? 0 : room), high + room];
}

function number(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size && (size < 0.001 || size >= 1e5)) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

load();
