"use strict";

// Elements, scales, axes and labels: what every figure is made of.

const make = (space) => (name, attributes = {}, ...children) => {
  const node = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};
const html = make(null);
const svg = make("http://www.w3.org/2000/svg");
const byId = (id) => document.getElementById(id);

/** `value` with about `digits` significant digits, without an exponent where that is readable. */
function short(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  if (Math.abs(value) < 1e-4) return value.toExponential(1).replace("e-", "e−");
  const rounded = Number(value.toPrecision(digits));
  return rounded.toLocaleString("en", { maximumSignificantDigits: Math.max(digits, Math.ceil(Math.log10(Math.abs(rounded) + 1))) });
}
const percent = (share, digits = 1) => (share === null ? "–" : `${(100 * share).toFixed(digits)} %`);

const ruler = document.createElement("canvas").getContext("2d");
/** Width of a label in pixels. */
function textWidth(text, size = 12) {
  ruler.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}

/** Round steps that cut [low, high] into about `n` parts. */
function linearTicks(low, high, n) {
  const raw = (high - low) / n || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step);
  return ticks;
}

/** Powers of ten in [low, high], and twice and five times those where that leaves few. */
function logTicks(low, high) {
  const ticks = [];
  const few = Math.log10(high / low) < 2;
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
    for (const m of few ? [1, 2, 5] : [1]) {
      const tick = m * 10 ** e;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks;
}

/** Maps `domain` to pixels; `log` makes the scale logarithmic. */
function scale([low, high], [from, to], log = false) {
  const f = log ? Math.log : (x) => x;
  const span = f(high) - f(low) || 1;
  return (x) => from + ((f(x) - f(low)) / span) * (to - from);
}

/**
 * The frame of a figure: grid, axes and their titles. `x` and `y` are {title, domain, ticks, text, log}.
 * Returns {root, x, y, box}: the svg, both scales, and the plot's edges in pixels.
 */
function frame({ width, height, right, x, y, title, description }) {
  const left = Math.max(...y.ticks.map((t) => textWidth(y.text(t)))) + 10;
  const box = { left, right: width - right, top: 26, bottom: height - 40 };
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" },
    svg("title", {}, title), svg("desc", {}, description));
  const toX = scale(x.domain, [box.left, box.right], x.log);
  const toY = scale(y.domain, [box.bottom, box.top], y.log);
  root.append(svg("text", { x: 0, y: 12 }, y.title));
  root.append(svg("text", { x: box.right, y: height - 5, "text-anchor": "end" }, x.title));
  for (const tick of y.ticks) {
    const at = toY(tick);
    root.append(svg("line", { class: "gridline", x1: box.left, x2: box.right, y1: at, y2: at }));
    root.append(svg("text", { x: box.left - 8, y: at + 4, "text-anchor": "end" }, y.text(tick)));
  }
  let free = -Infinity;
  for (const tick of x.ticks) {
    const at = toX(tick);
    const half = textWidth(x.text(tick)) / 2;
    root.append(svg("line", { class: "axis", x1: at, x2: at, y1: box.bottom, y2: box.bottom + 5 }));
    if (at - half < free) continue;  // no room beside the last one
    root.append(svg("text", { x: at, y: box.bottom + 18, "text-anchor": "middle" }, x.text(tick)));
    free = at + half + 6;
  }
  root.append(svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  return { root, x: toX, y: toY, box };
}

/** Keeps what `draw(width)` returns in `host`, drawn anew when its width changes. */
function responsive(host, caption, draw) {
  let drawn = 0;
  const update = () => {
    const width = Math.round(host.clientWidth);
    if (width === drawn || width === 0) return;
    drawn = width;
    host.replaceChildren(html("figcaption", {}, caption), draw(width));
  };
  new ResizeObserver(update).observe(host.parentElement);
  host.replaceChildren(html("figcaption", {}, caption));
  update();
}

const overlap = (a, b) =>
  Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) *
  Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));

/** Sides of a point where its name may stand, best first. */
const SIDES = [[8, 4, 0], [-8, 4, 1], [0, -9, 0.5], [0, 18, 0.5], [7, -7, 0], [7, 16, 0], [-7, -7, 1], [-7, 16, 1],
  [14, -16, 0], [14, 26, 0], [-14, -16, 1], [-14, 26, 1]];

/** Names points [{x, y, text}] where they cover least; `obstacles` are boxes {left, right, top, bottom}. */
function nameEach(points, obstacles, box) {
  const taken = [...obstacles];
  return points.map(({ x, y, text }) => {
    const width = textWidth(text);
    const options = SIDES.map(([dx, dy, anchor], rank) => {
      const left = x + dx - anchor * width;
      const area = { left, right: left + width, top: y + dy - 11, bottom: y + dy + 3 };
      const outside = Math.max(0, box.left - area.left) + Math.max(0, area.right - box.right) +
        Math.max(0, box.top - area.top) + Math.max(0, area.bottom - box.bottom);
      return { area, left, y: y + dy, cost: rank + outside * 20 + taken.reduce((sum, o) => sum + overlap(area, o), 0) };
    });
    const best = options.reduce((a, b) => (b.cost < a.cost ? b : a));
    taken.push(best.area);
    return svg("text", { class: "name", x: best.left, y: best.y }, text);
  });
}

/** Moves heights apart until neighbours are `gap` apart, all of them between top and bottom if they fit. */
function spread(heights, gap, top, bottom) {
  const order = heights.map((y, i) => [y, i]).sort((a, b) => a[0] - b[0]);
  let floor = top;
  for (const item of order) {
    item[0] = Math.max(item[0], floor);
    floor = item[0] + gap;
  }
  let ceiling = bottom;
  for (const item of order.reverse()) {
    item[0] = Math.min(item[0], ceiling);
    ceiling = item[0] - gap;
  }
  const result = [];
  for (const [y, i] of order) result[i] = y;
  return result;
}
