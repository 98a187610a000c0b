// The charts, drawn by uPlot (vendor/, a plain script that leaves `uPlot` on the window).

import { amount, percent, whole } from "./words.js";

const HEIGHT = 190;
const NANOS = 1e9;
const drawn = new Map();
let colours = {};

// As `askance.rules.spend.money` writes it.
export const money = (nanos) => (Math.abs(nanos) >= NANOS ? (nanos / NANOS).toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 }) : (nanos / NANOS).toFixed(4));

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "soft", "grid", "blue", "blue-soft", "amber", "good", "bad"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
}

const axis = (more = {}) => ({
  stroke: colours.soft, grid: { stroke: colours.grid, width: 1 }, ticks: { stroke: colours.grid, width: 1 }, font: "12px system-ui", ...more,
});

// Another version went live: a dotted line in every chart over time.
const swaps = (marks) => ({
  hooks: {
    draw: (plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      ctx.strokeStyle = colours.soft;
      ctx.setLineDash([2 * devicePixelRatio, 4 * devicePixelRatio]);
      for (const mark of marks()) {
        const x = Math.round(plot.valToPos(mark.at, "x", true));
        if (x < bbox.left || x > bbox.left + bbox.width) continue;
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
      ctx.restore();
    },
  },
});

// A version's interval, as a whisker.
const whiskers = (rows) => ({
  hooks: {
    draw: (plot) => {
      const { ctx } = plot;
      ctx.save();
      ctx.strokeStyle = colours.blue;
      ctx.lineWidth = 2 * devicePixelRatio;
      rows().forEach((row, place) => {
        if (!row.agreement) return;
        const x = plot.valToPos(place, "x", true);
        ctx.beginPath();
        ctx.moveTo(x, plot.valToPos(row.agreement.low, "y", true));
        ctx.lineTo(x, plot.valToPos(row.agreement.high, "y", true));
        ctx.stroke();
      });
      ctx.restore();
    },
  },
});

const shown = { marks: [], versions: [] };
const line = (label, colour, value, more = {}) => ({
  label, stroke: colours[colour], width: 2, spanGaps: true, points: { show: false }, value: (_, raw) => (raw == null ? "–" : value(raw)), ...more,
});

function overTime(series, { from = 0, to = null, ticks = whole, bands = [] } = {}) {
  return {
    legend: { show: true, live: true },
    scales: { x: { time: true }, y: { range: (_, low, high) => [from ?? low, Math.max(to ?? 0, high ?? 0) || 1] } },
    axes: [axis(), axis({ size: 62, values: (_, values) => values.map(ticks) })],
    series: [{}, ...series], bands, plugins: [swaps(() => shown.marks)],
  };
}

// Draws into `chart-NAME`, once; afterwards only its data changes. `key` names what cannot change without drawing anew.
function draw(name, key, options, data, words) {
  const place = document.getElementById(`chart-${name}`);
  const known = drawn.get(name);
  if (!data || !data[0].length || data.slice(1).every((row) => row.every((value) => value == null))) {
    if (known?.plot || !place.firstChild) {
      known?.plot?.destroy();
      drawn.delete(name);
      const node = document.createElement("p");
      node.className = "empty";
      node.textContent = "nothing to show yet";
      place.replaceChildren(node);
    }
    return;
  }
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", words);
  if (known?.key === key) {
    known.plot.setData(data);
    return;
  }
  known?.plot.destroy();
  place.replaceChildren();
  drawn.set(name, { key, plot: new uPlot({ width: place.clientWidth, height: HEIGHT, ...options() }, data, place) });
}

const column = (points, read) => points.map((point) => read(point) ?? null);
const lastOf = (values) => values.findLast((value) => value != null);

// What the spend is drawn in: what remains of the cap that is nearest to its end, else what was spent.
function burn(spend) {
  const capped = [...spend.caps].filter((cap) => cap.limit > 0).sort((a, b) => b.spent / b.limit - a.spent / a.limit)[0];
  const unit = capped?.unit ?? (spend.nanos ? "money" : "calls");
  return { capped, unit, place: { calls: 0, tokens: 1, money: 2 }[unit], words: unit === "money" ? money : (value) => `${whole(value)} ${unit}` };
}

function showSpend(at, points, { standing, flow }) {
  const spend = standing.spend ?? flow?.spend;
  const caption = document.getElementById("spend-caption");
  const list = document.getElementById("caps");
  if (!spend) {
    caption.textContent = "Neither a ledger here nor a worker tells.";
    draw("spend", "", null, null, "");
    return;
  }
  const { capped, unit, place, words } = burn(spend);
  const now = capped ? capped.limit - capped.spent : [spend.calls, spend.tokens, spend.nanos][place];
  caption.textContent = capped ? `What remains of spend.${capped.name}; calls under way count at their worst.` : standing.spend ? "What the teacher has taken; no cap is set." : "What the teacher has taken since the workers began, as they tell it.";
  const cap = spend.caps.indexOf(capped);
  const values = column(points, (point) => (capped ? point.left[cap] : point.spend?.[place]));
  const key = `${unit} ${capped?.name}`;
  draw("spend", key, () => overTime([line(capped ? "remaining" : "spent", "blue", words, { fill: colours["blue-soft"] })], { to: capped?.limit, ticks: unit === "money" ? money : whole }), [at, values], `${capped ? "remaining" : "spent"} ${words(now)}`);
  const lines = spend.caps.map((cap) => {
    const told = cap.unit === "money" ? money : whole;
    return `spend.${cap.name}: ${told(cap.spent)} of ${told(cap.limit)}`;
  });
  if (list.dataset.key !== lines.join()) {
    list.dataset.key = lines.join();
    list.replaceChildren(...lines.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  }
}

export function show(points, { standing, flow, budget_share, marks }) {
  const learned = standing.learned;
  const at = points.map((point) => point.at);
  shown.marks = marks;
  shown.versions = [...learned.versions].reverse();
  const rates = column(points, (point) => point.documents_per_second);
  draw("rate", "", () => overTime([line("documents a second", "blue", whole)]), [at, rates], `${whole(lastOf(rates))} documents a second`);
  const [p50, p99] = [column(points, (point) => point.p50_ms), column(points, (point) => point.p99_ms)];
  draw("latency", "", () => overTime([line("median", "blue", amount), line("99 %", "amber", amount)], { ticks: amount }), [at, p50, p99], `median ${amount(lastOf(p50))} ms, 99 % in ${amount(lastOf(p99))} ms`);
  const shares = column(points, (point) => point.share);
  const budgets = at.map(() => budget_share);
  draw("share", `${budget_share}`, () => overTime([line("accepted", "blue", percent), line("budget", "amber", percent, { dash: [6, 4] })], { to: (budget_share ?? 0) * 1.2, ticks: percent }), [at, shares, budgets], `${percent(lastOf(shares))} accepted, budget ${percent(budget_share)}`);
  showSpend(at, points, { standing, flow });
  const agreements = [0, 1, 2].map((place) => column(points, (point) => point.agreement?.[place]));
  draw("agreement", "", () => overTime(
    [line("agreement", "blue", percent), line("low", "blue-soft", percent, { width: 1 }), line("high", "blue-soft", percent, { width: 1 })],
    { from: null, to: 1, ticks: percent, bands: [{ series: [3, 2], fill: colours["blue-soft"] }] },
  ), [at, ...agreements], `agreement ${percent(lastOf(agreements[0]))}`);
  showVersions();
  showUncertainty(learned);
}

function showVersions() {
  const rows = shown.versions;
  const values = rows.map((row) => row.agreement?.value ?? null);
  const name = (place) => (Number.isInteger(place) ? rows[place]?.version.split("-")[0] ?? "" : "");
  draw("versions", rows.map((row) => row.version).join(), () => ({
    legend: { show: true, live: true },
    scales: { x: { time: false, range: [-0.5, rows.length - 0.5] }, y: { range: (_, low) => [Math.max(0, Math.min(...shown.versions.map((row) => row.agreement?.low ?? 1), low ?? 1) - 0.02), 1] } },
    axes: [axis({ values: (_, places) => places.map(name), incrs: [1, 2, 5, 10, 20, 50, 100] }), axis({ size: 62, values: (_, all) => all.map(percent) })],
    series: [{ label: "version", value: (_, place) => (place == null ? "–" : name(place)) }, line("agreement", "blue", percent, { paths: () => null, points: { show: true, size: 8, fill: colours.blue } })],
    plugins: [whiskers(() => shown.versions)],
  }), [rows.map((_, place) => place), values], rows.map((row) => `${row.version} ${percent(row.agreement?.value)}`).join(", "));
}

function showUncertainty({ uncertainties, uncertainties_of }) {
  const total = uncertainties.reduce((sum, count) => sum + count, 0);
  document.getElementById("uncertainty-caption").textContent = uncertainties_of
    ? `Of the ${whole(total)} documents that ${uncertainties_of} has scored.` : "No documents of the live version are counted here yet.";
  const middles = uncertainties.map((_, place) => (place + 0.5) / uncertainties.length);
  draw("uncertainty", "", () => ({
    legend: { show: true, live: true },
    scales: { x: { time: false, range: [0, 1] }, y: { range: (_, low, high) => [0, high || 1] } },
    axes: [axis(), axis({ size: 62, values: (_, all) => all.map(whole) })],
    series: [{ label: "uncertainty", value: (_, raw) => amount(raw) }, line("documents", "blue", whole, { width: 1, fill: colours["blue-soft"], paths: uPlot.paths.bars({ size: [1, 60], gap: 2 }) })],
  }), [middles, uncertainties], `histogram of ${whole(total)} documents by uncertainty`);
}

function forget() {
  for (const { plot } of drawn.values()) plot.destroy();
  drawn.clear();
  for (const place of document.querySelectorAll("[id^=chart-]")) place.replaceChildren();
}

// Colours and widths are the window's: when they change, everything is drawn anew.
export function redraw(again) {
  readColours();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readColours();
    forget();
    again();
  });
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    for (const { plot } of drawn.values()) plot.setSize({ width: plot.root.parentElement.clientWidth, height: HEIGHT });
  });
}
