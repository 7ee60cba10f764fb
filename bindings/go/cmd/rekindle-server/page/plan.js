// The plan as a picture: each device a bar of its memory, to scale, its layers as cells below it; and memory against
// context length, in which the context can be pulled.

import { ask, model, size, trouble } from "./main.js";

const $ = (selector) => document.querySelector(selector);
const WIDTH = 860, LEFT = 10;
const PARTS = [
  ["taken by others", "taken"], ["weights", "weights"], ["weights, mapped file", "mapped"], ["KV cache and states", "kv"],
  ["compute", "compute"], ["driver", "driver"], ["free", "free"],
];

function element(name, attributes, text) {
  const at = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) at.setAttribute(key, value);
  if (text !== undefined) at.textContent = text;
  return at;
}

/** The bytes of a device's parts. */
function bytes(device, reserved) {
  const own = reserved[device.device] ?? 0;
  const parts = {
    taken: device.total_bytes - device.free_bytes + own, weights: device.weights_bytes, mapped: device.mapped_bytes,
    kv: device.kv_bytes, compute: device.compute_bytes, driver: device.driver_bytes,
  };
  const used = Object.values(parts).reduce((a, b) => a + b, 0);
  return { ...parts, used, free: Math.max(0, device.total_bytes - used) };
}

function bar(svg, device, parts, top, scale) {
  const words = device.shortfall_bytes > 0 ? `, ${size(device.shortfall_bytes)} are missing` : "";
  svg.append(element("text", { x: LEFT, y: top, "font-weight": "bold" },
    `device ${device.device}: ${device.name}, ${size(device.total_bytes)}${words}`));
  let x = LEFT;
  for (const [name, part] of PARTS) {
    const width = parts[part] * scale;
    if (width <= 0) continue;
    const rect = element("rect", { x, y: top + 8, width, height: 26, fill: `var(--${part})` });
    rect.append(element("title", {}, `${name}: ${parts[part].toLocaleString("en")} bytes`));
    svg.append(rect);
    x += width;
  }
  // The end of what there is: more than that does not fit.
  const end = LEFT + device.total_bytes * scale;
  svg.append(element("line", { x1: end, x2: end, y1: top + 4, y2: top + 38, stroke: "var(--over)", "stroke-width": 2 }));
}

function cells(svg, plan, device, top) {
  const all = plan.layers.length;
  if (!all) return;
  const step = WIDTH / all;
  for (const layer of plan.layers) {
    const own = layer.device === device.device;
    if (!own && layer.experts_device !== device.device) continue;
    const cell = element("rect", {
      x: LEFT + layer.layer * step, y: top + 42, width: Math.max(1, step - 1.5), height: 12, rx: 2,
      fill: own ? "var(--weights)" : "var(--mapped)",
    });
    const name = layer.layer === plan.n_layer ? "output" : `layer ${layer.layer}`;
    cell.append(element("title", {}, `${name}${own ? "" : ", its experts"}: ${layer.reason}`));
    svg.append(cell);
  }
}

function picture({ plan, reserved }) {
  const height = 84;
  const svg = element("svg", { viewBox: `0 0 ${WIDTH + 2 * LEFT} ${plan.devices.length * height + 6}` });
  const parts = plan.devices.map((d) => bytes(d, reserved));
  plan.devices.forEach((device, i) => {
    const top = 18 + i * height;
    bar(svg, device, parts[i], top, WIDTH / Math.max(device.total_bytes, parts[i].used));
    cells(svg, plan, device, top);
  });
  const legend = document.createElement("div");
  legend.className = "legend";
  for (const [name, part] of PARTS) {
    const box = element("svg", { width: 12, height: 12 });
    box.style.width = "12px";
    box.style.display = "inline-block";
    box.append(element("rect", { width: 12, height: 12, rx: 2, fill: `var(--${part})` }));
    const entry = document.createElement("span");
    entry.append(box, ` ${name}`);
    legend.append(entry);
  }
  $("#picture").replaceChildren(svg, legend);
}

function words({ plan }) {
  const verdict = $("#verdict");
  verdict.classList.toggle("no", !plan.fits);
  const speeds = plan.predicted
    ? `; predicted: ${plan.predicted.decode_tokens_per_second.toFixed(1)} tokens/s, ` +
      `${plan.predicted.decode_full_tokens_per_second.toFixed(1)} at a full context, ` +
      `prompt ${plan.predicted.prompt_tokens_per_second.toFixed(0)}`
    : "";
  verdict.textContent = `${plan.name}: ${plan.fits ? "fits" : "does not fit"} with ${plan.n_ctx} tokens of context${speeds}`;
  const list = (title, sentences) => {
    if (!sentences.length) return [];
    const head = document.createElement("h2");
    head.textContent = title;
    const at = document.createElement("ul");
    for (const s of sentences) at.append(Object.assign(document.createElement("li"), { textContent: s }));
    return [head, at];
  };
  $("#words").replaceChildren(...list(plan.fits ? "What else would fit" : "What would fit", plan.remedies), ...list("Why", plan.reasons));
}

/** Memory of each device against the context; the line at the slider's place is the plan above. */
function curve(plans, now) {
  const height = 220, foot = 200;
  const svg = element("svg", { viewBox: `0 0 ${WIDTH + 2 * LEFT} ${height}` });
  const longest = Math.log2(plans.at(-1).plan.n_ctx), shortest = Math.log2(plans[0].plan.n_ctx);
  const x = (n) => LEFT + 40 + (WIDTH - 60) * (longest > shortest ? (Math.log2(n) - shortest) / (longest - shortest) : 0);
  const most = Math.max(1.1, ...plans.flatMap((p) => p.plan.devices.map((d) => bytes(d, p.reserved).used / d.total_bytes)));
  const y = (share) => foot - (foot - 12) * share / Math.min(most, 2);
  svg.append(element("line", { x1: x(plans[0].plan.n_ctx), x2: x(plans.at(-1).plan.n_ctx), y1: y(1), y2: y(1),
    stroke: "var(--over)", "stroke-dasharray": "4 3" }));
  svg.append(element("text", { x: LEFT, y: y(1) + 4, class: "faint" }, "full"));
  const taken = [];
  plans[0].plan.devices.forEach((device, i) => {
    const points = plans.map((p) => {
      const d = p.plan.devices[i];
      return `${x(p.plan.n_ctx).toFixed(1)},${y(Math.min(2, bytes(d, p.reserved).used / d.total_bytes)).toFixed(1)}`;
    });
    const colour = ["#8a63b8", "#c2703d", "#2f8f83", "#b04a6f"][i % 4];
    svg.append(element("polyline", { points: points.join(" "), fill: "none", stroke: colour, "stroke-width": 2.5 }));
    const [px, py] = points.at(-1).split(",");
    // Names of lines that lie together stand below each other.
    let label = Number(py) - 5;
    while (taken.some((other) => Math.abs(other - label) < 12)) label += 13;
    taken.push(label);
    svg.append(element("text", { x: Number(px) - 4, y: label, "text-anchor": "end", fill: colour }, `device ${i}`));
  });
  for (const p of plans) {
    svg.append(element("text", { x: x(p.plan.n_ctx), y: height - 4, "text-anchor": "middle",
      class: p.plan.fits ? "faint" : "over" }, p.plan.n_ctx.toLocaleString("en")));
  }
  const here = x(Math.min(Math.max(now, plans[0].plan.n_ctx), plans.at(-1).plan.n_ctx));
  svg.append(element("line", { x1: here, x2: here, y1: 8, y2: foot, stroke: "var(--ink)" }));
  $("#curve").replaceChildren(svg);
}

/** The context that the slider stands for: from 256 tokens to what the model was trained for. */
function context() {
  const most = Math.max(512, $("#model").meta[model()]?.n_ctx_train || 8192);
  const share = Number($("#context").value) / 100;
  return Math.round(256 * (most / 256) ** share);
}

const wanted = (n, remedies) => ask("plan", {
  model: model(), devices: $("#devices").value.trim(), n_ctx: n, n_seq_max: Number($("#sequences").value) || 1, remedies,
}).then((answer) => answer.json());

let round = 0, curves = { key: "", plans: [] };

async function show() {
  if (!model()) return;
  const mine = ++round, n = context();
  $("#tokens").textContent = `${n.toLocaleString("en")} tokens`;
  const now = await wanted(n, false);
  if (mine !== round) return;
  picture(now);
  words(now);
  const key = [model(), $("#devices").value, $("#sequences").value].join("|");
  if (curves.key !== key) {
    const most = Math.max(512, $("#model").meta[model()]?.n_ctx_train || 8192);
    const steps = [];
    for (let c = 256; c < most; c *= 2) steps.push(c);
    const plans = await Promise.all([...steps, most].map((c) => wanted(c, false)));
    if (mine !== round) return;
    curves = { key, plans };
  }
  curve(curves.plans, n);
  if (!now.plan.fits) {
    // What would fit takes longer, so it comes behind the picture.
    const more = await wanted(n, true);
    if (mine === round) words(more);
  }
  trouble();
}

let soon;
$("#wishes").addEventListener("input", () => {
  clearTimeout(soon);
  soon = setTimeout(() => show().catch(trouble), 60);
});
$("#wishes").addEventListener("submit", (event) => event.preventDefault());

export const plan = { show };
