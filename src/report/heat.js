
// The text in the colours of its bits, and one token's bits by layer and head.

const STATES = ["attention sink, exact", "packed", "in the exact window"];
const PACKED = 1;
const HIGH = 6.8;  // bits from which the other ink reads better, in both colour schemes
const SIGNALS = [
  ["entropy", "nats, of the next token's distribution"], ["confidence", "probability of the likeliest next token"],
  ["rarity", "nats, −ln of the token's share so far"], ["attention variance", "of its row of attention in the last layer"],
  ["attention received", "sum over the next queries, mean over heads"], ["most received", "largest weight of any head"],
  ["key norm²", "|k − centre|², mean over heads"], ["value norm²", "|v − centre|², mean over heads"],
];

/** Colour of a mean width: the ramp between the two nearest widths, even in log2. */
function bitsColour(bits, widths) {
  const next = widths.findIndex((w) => w >= bits - 1e-9);
  if (next <= 0) return `var(--w${widths[Math.max(0, next)]})`;
  const [low, high] = [widths[next - 1], widths[next]];
  const share = (100 * Math.log(bits / low)) / Math.log(high / low);
  return `color-mix(in srgb, var(--w${high}) ${share.toFixed(1)}%, var(--w${low}))`;
}

/** Bits of each vector of a token, [layer][K heads, then V heads]. */
function vectors(map, token, widths) {
  const n = 2 * map.n_kv_heads;
  return Array.from({ length: map.n_layers }, (_, l) =>
    Array.from({ length: n }, (_, h) => widths[Number(token.widths[l * n + h])]));
}

function meanVectors(map, widths) {
  const all = map.tokens.filter((t) => t.state === PACKED).map((t) => vectors(map, t, widths));
  if (all.length === 0) return null;
  return all[0].map((row, l) => row.map((_, h) => all.reduce((sum, v) => sum + v[l][h], 0) / all.length));
}

const headNames = (map) => ["K", "V"].flatMap((side) => Array.from({ length: map.n_kv_heads }, (_, h) => `${side} ${h}`));

/** The grid of layers (across) and heads (down); returns {root, fill(bits, who)}. */
function grid(map, widths, width) {
  const rows = headNames(map);
  const left = 30;
  const cell = (width - left) / map.n_layers;
  const rowHeight = Math.max(9, Math.min(16, Math.floor(160 / rows.length)));
  const half = rows.length / 2;
  const top = (row) => row * rowHeight + (row >= half ? 4 : 0);
  const height = top(rows.length - 1) + rowHeight + 18;
  const title = svg("title");
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" }, title);
  const cells = rows.map((name, row) => {
    if (rowHeight >= 11 || row % half === 0) root.append(svg("text", { x: left - 6, y: top(row) + rowHeight - 3, "text-anchor": "end" }, name));
    return Array.from({ length: map.n_layers }, (_, l) => {
      const node = svg("rect", { class: "cell", x: left + l * cell, y: top(row), width: cell, height: rowHeight }, svg("title"));
      root.append(node);
      return node;
    });
  });
  const step = Math.max(1, Math.ceil(30 / cell));
  for (let l = 0; l < map.n_layers; l += step < 5 && step > 1 ? 5 : step) {
    root.append(svg("text", { x: left + (l + 0.5) * cell, y: height - 4, "text-anchor": "middle" }, l === 0 ? "layer 0" : l));
  }
  const fill = (bits, who) => {
    title.textContent = `Bits by layer and head of ${who}`;
    cells.forEach((line, row) => line.forEach((node, l) => {
      node.style.fill = bitsColour(bits[l][row], widths);
      node.firstChild.textContent = `layer ${l}, ${rows[row]}: ${short(bits[l][row])} bits`;
    }));
  };
  return { root, fill };
}

/** Spaces and line ends that show. */
const visible = (piece) => piece.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replace(/^ +$/, (s) => "␣".repeat(s.length));

class HeatView {
  constructor(map, widths) {
    this.map = map;
    this.widths = widths;
    this.chosen = null;
    this.mean = meanVectors(map, widths);
    this.head = html("h3");
    this.figure = html("div");
    this.signals = html("dl");
    byId("panel").replaceChildren(this.head, this.figure, this.signals);
    responsiveGrid(this);
    this.tokens = map.tokens.map((token, i) => this.span(token, i));
    byId("text").replaceChildren(...this.tokens);
    this.tokens[0].tabIndex = 0;
    this.show(null);
  }

  span(token, index) {
    const low = token.bits < HIGH;
    const packed = token.state === PACKED;
    const node = html("span", { role: "option", tabindex: -1, "aria-selected": "false", "data-index": index,
      class: packed ? `token ${low ? "low" : "high"}` : "token exact",
      "aria-label": `${visible(token.piece)}, ${packed ? `${short(token.bits)} bits` : STATES[token.state]}` }, token.piece);
    if (packed) node.style.background = bitsColour(token.bits, this.widths);
    return node;
  }

  choose(index) {
    if (this.chosen !== null) {
      this.tokens[this.chosen].setAttribute("aria-selected", "false");
      this.tokens[this.chosen].tabIndex = -1;
    } else {
      this.tokens[0].tabIndex = -1;
    }
    this.chosen = index;
    this.tokens[index].setAttribute("aria-selected", "true");
    this.tokens[index].tabIndex = 0;
    this.show(index);
    fillHeatTable(this);
  }

  /** Fills the panel for a token, or for the mean of all packed ones. */
  show(index) {
    this.shown = index;
    const token = index === null ? null : this.map.tokens[index];
    const bits = token ? vectors(this.map, token, this.widths) : this.mean;
    if (bits) this.grid?.fill(bits, token ? `token ${index}, ${visible(token.piece)}` : "the mean of all packed tokens");
    this.head.replaceChildren(...(token
      ? [html("q", {}, visible(token.piece)), ` ${short(token.bits)} bits `,
        html("span", { class: "quiet" }, `token ${index}, ${STATES[token.state]}`)]
      : [html("span", { class: "quiet" }, "Mean of all packed tokens; choose a token for its own bits")]));
    this.signals.replaceChildren(...SIGNALS.flatMap(([name, meaning], i) =>
      [html("dt", { title: meaning }, name), html("dd", {}, token ? short(token.signals[i]) : "–")]));
  }
}

function responsiveGrid(view) {
  const update = () => {
    const width = Math.round(view.figure.clientWidth);
    if (width === 0 || width === view.gridWidth) return;
    view.gridWidth = width;
    view.grid = grid(view.map, view.widths, width);
    view.figure.replaceChildren(view.grid.root);
    view.show(view.shown ?? null);
  };
  new ResizeObserver(update).observe(view.figure);
}

function fillHeatTable(view) {
  const token = view.map.tokens[view.chosen];
  const rows = vectors(view.map, token, view.widths).map((bits, l) => [`layer ${l}`, ...bits]);
  byId("heat-table").replaceChildren(table(`Bits of token ${view.chosen}, “${visible(token.piece)}”`, ["", ...headNames(view.map)], rows));
}

/** The token of the line above (-1) or below (1) that is nearest across. */
function vertical(tokens, index, direction) {
  const box = (i) => tokens[i].getClientRects()[0];
  const from = box(index);
  let best = index;
  let line = null;
  for (let i = index + direction; i >= 0 && i < tokens.length; i += direction) {
    const to = box(i);
    if (!to || Math.abs(to.top - from.top) < 8) continue;
    line ??= to.top;
    if (Math.abs(to.top - line) > 8) break;
    if (best === index || Math.abs(to.left - from.left) < Math.abs(box(best).left - from.left)) best = i;
  }
  return best;
}

const KEYS = {
  ArrowRight: (v, i) => i + 1, ArrowLeft: (v, i) => i - 1, Home: () => 0, End: (v) => v.tokens.length - 1,
  ArrowDown: (v, i) => vertical(v.tokens, i, 1), ArrowUp: (v, i) => vertical(v.tokens, i, -1),
};

function listen(current) {
  const text = byId("text");
  const indexOf = (event) => event.target.dataset?.index === undefined ? null : Number(event.target.dataset.index);
  text.addEventListener("focusin", (event) => { if (indexOf(event) !== null) current().choose(indexOf(event)); });
  text.addEventListener("click", (event) => {
    if (indexOf(event) === null) return;
    current().choose(indexOf(event));
    event.target.focus({ preventScroll: true });
  });
  text.addEventListener("pointerover", (event) => { if (event.pointerType === "mouse" && indexOf(event) !== null) current().show(indexOf(event)); });
  text.addEventListener("pointerleave", () => current().show(current().chosen));
  text.addEventListener("keydown", (event) => {
    const move = KEYS[event.key];
    if (!move || indexOf(event) === null) return;
    event.preventDefault();
    const next = Math.min(current().tokens.length - 1, Math.max(0, move(current(), indexOf(event))));
    current().tokens[next].focus();
  });
}

function legend(widths) {
  const stops = Array.from({ length: 21 }, (_, i) => bitsColour(2 ** ((i / 20) * Math.log2(widths[widths.length - 1])), widths));
  const bar = html("i", { "aria-hidden": "true" });
  bar.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
  byId("legend").replaceChildren("bits", html("div", { class: "ramp", role: "img", "aria-label": "colours from 1 bit to 16 bits, even in log2" },
    bar, html("span", {}, ...["1", "2", "4", "8", "16"].map((t) => html("span", {}, t)))),
    html("span", { class: "exact" }, "kept exact: sink or window"));
}

function drawHeat(data) {
  if (data.heat_maps.length === 0) return;
  byId("heat").hidden = false;
  const maps = data.heat_maps.map((map) => ({ ...map, tokens: map.tokens.map(([piece, state, bits, widths, signals]) =>
    ({ piece, state, bits, widths, signals })) }));
  let view = null;
  const pick = byId("heat-policy");
  pick.replaceChildren(...maps.map((map, i) => html("option", { value: i }, map.kv)));
  byId("heat-pick").hidden = maps.length < 2;
  pick.addEventListener("change", () => { view = new HeatView(maps[Number(pick.value)], data.widths); });
  legend(data.widths);
  view = new HeatView(maps[0], data.widths);
  listen(() => view);
}
