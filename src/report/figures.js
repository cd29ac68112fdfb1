
// The figures: KL and top-1 against bits, both by position, speed by depth.

/** Names short enough to stand in a figure, by policy. */
function shortNames(policies) {
  const names = new Map();
  const used = new Map();
  for (const kv of policies) {
    const base = kv.length > 12 ? kv.split(":")[0].slice(0, 12) : kv;
    const n = (used.get(base) ?? 0) + 1;
    used.set(base, n);
    names.set(kv, n === 1 ? base : `${base} ${n}`);
  }
  return names;
}

const isFixed = (kv) => /^[fqkv0-9]+$/.test(kv);

/** A colour for each policy: one for all fixed widths, six for the others. */
function colours(policies) {
  const result = new Map();
  let next = 0;
  for (const kv of policies) {
    const name = kv === "f16" ? "f16" : isFixed(kv) ? "fixed" : String(next++ % 6);
    result.set(kv, `var(--s-${name})`);
  }
  return result;
}

/** Circle for fixed widths, diamond for the others: the difference does not hang on colour. */
function marker(x, y, fixed, colour) {
  const style = `fill: ${colour}`;
  if (fixed) return svg("circle", { cx: x, cy: y, r: 4.5, style });
  return svg("path", { d: `M${x} ${y - 6}L${x + 6} ${y}L${x} ${y + 6}L${x - 6} ${y}Z`, style });
}

const near = (x, y, r) => ({ left: x - r, right: x + r, top: y - r, bottom: y + r });

/** Boxes along a line of points, for labels to keep off. */
function along(points) {
  const boxes = [];
  for (let i = 1; i < points.length; i++) {
    const [a, b] = [points[i - 1], points[i]];
    const n = Math.ceil(Math.hypot(b[0] - a[0], b[1] - a[1]) / 6);
    for (let j = 0; j <= n; j++) boxes.push(near(a[0] + ((b[0] - a[0]) * j) / n, a[1] + ((b[1] - a[1]) * j) / n, 1.5));
  }
  return boxes;
}

function bitsAxis(policies) {
  const high = Math.ceil(Math.max(...policies.map((p) => p.bits)) + 0.4);
  const low = Math.max(0, Math.floor(Math.min(...policies.map((p) => p.bits)) - 0.2));
  return { title: "bits per element", domain: [low, high], ticks: linearTicks(low, high, 8).filter(Number.isInteger), text: String };
}

/** Every policy as a point (bits, key) with its interval; `line` are the points of the hull. */
function scatter(data, { width, height, y, key, interval, title, line, style }) {
  const shown = data.policies.filter((p) => p.kv !== "f16" && (!y.log || p[key] > 0));
  const description = shown.map((p) => `${p.kv}: ${short(p.bits)} bits, ${y.say(p[key])}`).join("; ");
  const { root, x: toX, y: toY, box } = frame({ width, height, right: 12, x: bitsAxis(shown), y, title, description });
  const path = line.map((p) => [toX(p.bits), toY(p[key])]);
  if (path.length > 1) root.append(svg("polyline", { class: "hull", points: path.join(" ") }));
  const obstacles = along(path);
  for (const p of shown) {
    const at = [toX(p.bits), toY(p[key])];
    const group = svg("g", {}, svg("title", {}, `${p.kv}: ${short(p.bits)} bits, ${y.say(p[key])}`));
    if (p[interval]) {
      const [low, high] = p[interval].map((v) => toY(Math.max(v, y.domain[0])));
      const d = `M${at[0]} ${low}V${high}M${at[0] - 4} ${low}h8M${at[0] - 4} ${high}h8`;
      group.append(svg("path", { d, fill: "none", style: `stroke: ${style.colour.get(p.kv)}; stroke-width: 1.5` }));
      obstacles.push({ left: at[0] - 4, right: at[0] + 4, top: high, bottom: low });
    }
    group.append(marker(...at, p.fixed, style.colour.get(p.kv)));
    root.append(group);
    obstacles.push(near(...at, 6));
  }
  const points = shown.map((p) => ({ x: toX(p.bits), y: toY(p[key]), text: style.name.get(p.kv) }));
  root.append(...nameEach(points, obstacles, box));
  return root;
}

function drawQuality(data, style) {
  const shown = data.policies.filter((p) => p.kl_mean > 0);
  if (shown.length === 0) return;
  byId("quality").hidden = false;
  const values = shown.flatMap((p) => [p.kl_mean, ...(p.kl_interval ?? [])]).filter((v) => v > 0);
  const kl = logDomain(values);
  const kls = { title: "mean KL from f16, nats", domain: kl, ticks: logTicks(...kl), text: (t) => short(t), log: true,
    say: (v) => `mean KL ${short(v)} nats` };
  responsive(byId("pareto"), "KL divergence, lower is better", (width) => scatter(data, {
    width, height: 360, y: kls, key: "kl_mean", interval: "kl_interval", style, title: "Mean KL against bits per element",
    line: data.hull.map((i) => data.policies[i]) }));
  const low = Math.min(...shown.flatMap((p) => [p.top1, ...(p.top1_interval ?? [])]));
  const top = [Math.max(0, low - 0.1 * (1 - low) - 0.001), 1];
  const tops = { title: "same likeliest token as f16", domain: top, ticks: linearTicks(...top, 5),
    text: (t) => percent(t, 1 - low < 0.02 ? 1 : 0), say: (v) => `top-1 ${percent(v)}` };
  responsive(byId("top1"), "Top-1 agreement, higher is better", (width) => scatter(data, {
    width, height: 360, y: tops, key: "top1", interval: "top1_interval", style, title: "Top-1 agreement against bits per element",
    line: data.hull.map((i) => data.policies[i]) }));
}

function logDomain(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return [low / 1.5, high * 1.5];
}

/** Lines [{kv, points: [[x, y]]}], each with its name at its end. */
function lines(series, { width, height, x, y, title, style }) {
  const right = Math.max(...series.map((s) => textWidth(style.name.get(s.kv)))) + 14;
  const end = (s) => s.points[s.points.length - 1];
  const description = series.map((s) => `${s.kv}: ${s.points.map(([a, b]) => `${x.text(a)}: ${y.text(b)}`).join(", ")}`).join("; ");
  const plot = frame({ width, height, right, x, y, title, description });
  const labels = spread(series.map((s) => plot.y(end(s)[1])), 14, plot.box.top, plot.box.bottom);
  series.forEach((s, i) => {
    const colour = style.colour.get(s.kv);
    const at = s.points.map(([a, b]) => [plot.x(a), plot.y(b)]);
    const [endX, endY] = at[at.length - 1];
    plot.root.append(svg("polyline", { class: "series", points: at.join(" "), style: `stroke: ${colour}` }));
    at.forEach(([a, b], j) => {
      const dot = marker(a, b, isFixed(s.kv), colour);
      dot.append(svg("title", {}, `${s.kv}, ${x.text(s.points[j][0])}: ${y.text(s.points[j][1])}`));
      plot.root.append(dot);
    });
    if (Math.abs(labels[i] - endY) > 3) {
      plot.root.append(svg("path", { class: "gridline", d: `M${endX + 6} ${endY}L${plot.box.right + 10} ${labels[i]}` }));
    }
    plot.root.append(svg("text", { class: "name", x: plot.box.right + 11, y: labels[i] + 4 }, style.name.get(s.kv)));
  });
  return plot.root;
}

const middle = (bucket) => Math.sqrt(Math.max(1, bucket.from) * bucket.to);

function drawPositions(data, style) {
  const policies = data.policies.filter((p) => p.positions.length > 1);
  if (policies.length === 0) return;
  byId("position").hidden = false;
  const buckets = policies[0].positions;
  const ticks = buckets.map(middle);
  const text = (t) => { const b = buckets[ticks.indexOf(t)]; return `${b.from}–${b.to - 1}`; };
  const x = { title: "position in the context", domain: [ticks[0] / 1.2, ticks[ticks.length - 1]], ticks, text, log: true };
  const of = (list, key) => list.map((p) => ({ kv: p.kv, points: p.positions.map((b) => [middle(b), b[key]]) }));
  const kl = of(policies.filter((p) => p.positions.every((b) => b.kl_mean > 0)), "kl_mean");
  if (kl.length > 0) {
    const domain = logDomain(kl.flatMap((s) => s.points.map((p) => p[1])));
    const y = { title: "mean KL from f16, nats", domain, ticks: logTicks(...domain), text: (t) => short(t), log: true };
    responsive(byId("position-kl"), "KL divergence", (width) => lines(kl, { width, height: 300, x, y, style, title: "Mean KL by position" }));
  }
  const perplexity = of(policies, "perplexity");
  const values = perplexity.flatMap((s) => s.points.map((p) => p[1]));
  const low = Math.min(...values);
  const margin = 0.08 * (Math.max(...values) - low);
  const domain = [Math.max(0, low - margin), Math.max(...values) + margin];
  const y = { title: "perplexity", domain, ticks: linearTicks(...domain, 5), text: (t) => short(t, 4) };
  responsive(byId("position-perplexity"), "Perplexity", (width) => lines(perplexity, { width, height: 300, x, y, style, title: "Perplexity by position" }));
}

/** One figure of `key` by depth; nothing when it was not measured. */
function drawSpeed(data, style, { id, key, caption, title, unit = 1 }) {
  const series = [...new Set(data.speed.map((row) => row.kv))].map((kv) => ({ kv, points: data.speed
    .filter((row) => row.kv === kv && row[key] !== null).map((row) => [row.depth, row[key] / unit])
    .sort((a, b) => a[0] - b[0]) })).filter((s) => s.points.length > 0);
  if (series.length === 0) return;
  const depths = [...new Set(series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
  const high = Math.max(...series.flatMap((s) => s.points.map((p) => p[1])));
  const x = { title: "tokens in the cache", domain: [depths[0], Math.max(depths[depths.length - 1], depths[0] + 1)], ticks: depths,
    text: (t) => t.toLocaleString("en") };
  const y = { title, domain: [0, high * 1.05 || 1], ticks: linearTicks(0, high * 1.05 || 1, 5), text: (t) => short(t) };
  responsive(byId(id), caption, (width) => lines(series, { width, height: 280, x, y, style, title: `${caption} by depth` }));
}
