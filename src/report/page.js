
// Tables, commands, and the call of everything.

/** A table in a scroller of its own. Cells are text or nodes; the first of a row is its header. */
function table(caption, head, rows) {
  const cell = (name) => (content, i) => {
    const node = i === 0 ? html("th", { scope: name === "th" ? "col" : "row" }) : html(name, name === "th" ? { scope: "col" } : {});
    node.append(...[content].flat().map((part) => (part instanceof Node ? part : String(part))));
    return node;
  };
  return html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, html("table", {},
    html("caption", {}, caption),
    html("thead", {}, html("tr", {}, ...head.map(cell("th")))),
    html("tbody", {}, ...rows.map((row) => html("tr", {}, ...row.map(cell("td")))))));
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // no permission, or a page without one: the old way
    const area = html("textarea", { class: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  byId("status").textContent = `Copied: ${text}`;
}

function copyButton(text, label = "Copy") {
  const button = html("button", { type: "button", title: text, "aria-label": `${label}: ${text}` }, label);
  button.addEventListener("click", async () => {
    await copy(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}

function withInterval(text, interval, write) {
  return interval && interval[0] < interval[1] ? [text, html("small", {}, `${write(interval[0])} – ${write(interval[1])}`)] : text;
}

function drawPolicies(data) {
  if (data.policies.length === 0) return;
  const head = ["policy", "bits per element", "cache, KiB", "KL mean, nats", "KL median", "KL 99th percentile", "top-1", "perplexity",
    "ratio to f16", "vectors packed", "run it"];
  const rows = data.policies.map((p) => [html("span", { title: p.kv }, p.kv), short(p.bits), short(p.bytes / 1024, 4),
    withInterval(short(p.kl_mean), p.kl_interval, short), short(p.kl_median), short(p.kl_p99),
    withInterval(percent(p.top1), p.top1_interval, percent), short(p.perplexity, 4),
    withInterval(p.ratio.toFixed(4), p.ratio_interval, (v) => v.toFixed(4)), percent(p.compressed),
    p.runs ? copyButton(`miser run --kv ${p.kv} -p "Once upon a time"`) : "–"]);
  byId("policies").replaceChildren(table("All policies; small print: 95 % intervals", head, rows));
}

function drawTables(data) {
  const buckets = data.policies.flatMap((p) => p.positions.map((b) => [p.kv, `${b.from}–${b.to - 1}`, short(b.kl_mean), short(b.perplexity, 5)]));
  byId("position-table").replaceChildren(table("KL and perplexity by position", ["policy", "positions", "KL mean, nats", "perplexity"], buckets));
  const speeds = data.speed.map((r) => [r.kv, r.depth.toLocaleString("en"), short(r.prefill), short(r.decode), percent(r.roofline),
    r.bytes === null ? "–" : short(r.bytes / 1024, 4)]);
  byId("speed-table").replaceChildren(table("Speed and size by depth",
    ["policy", "depth", "prefill, tok/s", "decode, tok/s", "of the memory roofline", "cache, KiB"], speeds));
}

function drawSpeeds(data, style) {
  if (data.speed.length === 0) return;
  byId("speed").hidden = false;
  byId("speed-note").textContent = data.speed_note;
  drawSpeed(data, style, { id: "speed-decode", key: "decode", caption: "Decoding", title: "tokens per second" });
  drawSpeed(data, style, { id: "speed-prefill", key: "prefill", caption: "Prefill", title: "tokens per second" });
  drawSpeed(data, style, { id: "speed-bytes", key: "bytes", caption: "Size of the cache", title: "MiB", unit: 2 ** 20 });
}

function drawRest(data) {
  byId("commands").replaceChildren(...data.commands.flatMap(([what, line]) => [html("p", { class: "what" }, what),
    html("div", { class: "command" }, html("code", {}, line), copyButton(line))]));
  byId("facts").replaceChildren(html("dl", { class: "facts" },
    ...data.facts.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)])));
}

/** Names and colours that are the same in all figures. */
function styleOf(rows) {
  const policies = [...new Set(rows.map((row) => row.kv))];
  return { name: shortNames(policies), colour: colours(policies) };
}

function main() {
  const data = JSON.parse(byId("data").textContent);
  document.title = `${data.title} · Miser report`;
  byId("title").textContent = data.title;
  byId("summary").textContent = data.summary;
  const style = styleOf([...data.policies, ...data.speed]);
  drawQuality(data, style);
  drawPolicies(data);
  drawPositions(data, style);
  drawSpeeds(data, style);
  drawTables(data);
  drawHeat(data);
  drawRest(data);
}

main();
