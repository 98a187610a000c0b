// The live page: listens to the stream of figures and shows them. Whatever comes from documents, labels or models
// becomes text of a node, never markup.

import * as charts from "./charts.js";
import { amount, interval, percent, whole } from "./words.js";

const MOST_POINTS = 1800;
const $ = (id) => document.getElementById(id);
let points = [];
let newest = null;

function say(id, text) {
  const node = $(id);
  if (node.textContent !== text) node.textContent = text;
}

function cell(text, kind = "", tag = "td") {
  const node = document.createElement(tag);
  node.textContent = text;
  if (kind) node.className = kind;
  if (tag === "th") node.scope = "row";
  return node;
}

// Rows are replaced only when something in them is different: focus and selection stay where they were.
function fill(id, rows, emptiness) {
  const body = document.querySelector(`#${id} tbody`);
  const key = JSON.stringify(rows.map((row) => row.key));
  if (body.dataset.key === key) return;
  body.dataset.key = key;
  const focused = document.activeElement?.dataset?.version;
  body.replaceChildren(...rows.map((row) => {
    const line = document.createElement("tr");
    line.append(...row.cells());
    return line;
  }));
  if (!rows.length) {
    const line = document.createElement("tr");
    const node = cell(emptiness, "soft");
    node.colSpan = document.querySelectorAll(`#${id} thead th`).length;
    line.append(node);
    body.append(line);
  }
  if (focused) body.querySelector(`button[data-version="${CSS.escape(focused)}"]`)?.focus();
}

function showTiles({ flow, standing, budget_share, point }) {
  const documents = flow?.documents ?? standing.documents;
  say("documents", whole(documents));
  say("documents-note", flow && standing.documents > flow.documents ? `${whole(standing.documents)} with earlier runs` : "");
  say("rate", flow?.documents_per_second == null ? "–" : whole(flow.documents_per_second));
  say("p50", flow?.p50_ms == null ? "–" : `${amount(flow.p50_ms)} ms`);
  say("p99", flow?.p99_ms == null ? "median" : `median; 99 % in ${amount(flow.p99_ms)} ms`);
  say("share", percent(point.share));
  const accepted = flow?.accepted ?? standing.accepted;
  say("budget", `${whole(accepted)} documents; ${budget_share == null ? "no budget by share" : `budget ${percent(budget_share)}`}`);
  const labels = standing.labels;
  say("labels", labels ? `${whole(labels.labelled)} labels` : "–");
  say("waiting", labels ? `${whole(labels.pending + labels.asked)} waiting, ${whole(labels.invalid + labels.failed + labels.lost)} without; ${standing.teacher_state}` : "");
  const spend = standing.spend ?? flow?.spend;
  say("spent", spend ? (spend.nanos ? charts.money(spend.nanos) : `${whole(spend.calls)} calls`) : "–");
  say("spent-note", spend ? `${whole(spend.calls)} calls, ${whole(spend.tokens)} tokens${standing.spend ? "" : " since the workers began"}` : "");
  const agreement = standing.learned.agreement;
  say("agreement", agreement ? percent(agreement.value) : "–");
  say("agreement-note", agreement ? `with the teacher, ${interval(agreement)}` : "too few labels yet");
  say("live", standing.live ?? "none");
  say("swaps", flow ? `${whole(flow.swaps)} swapped in` : `${standing.learned.versions.length} trained`);
  say("dead", whole(flow?.dead_letters ?? standing.dead_letters));
}

function showVersions(versions, mayChange) {
  const made = (at) => at.slice(0, 19).replace("T", " ");
  fill("version-table", versions.map((row) => ({
    key: [row, mayChange],
    cells: () => {
      const state = row.is_live ? "live" : row.trial ? `on trial (${row.trial})` : "";
      const change = document.createElement("td");
      if (!row.is_live) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = "Promote";
        button.dataset.version = row.version;
        button.setAttribute("aria-label", `Promote ${row.version}`);
        button.disabled = !mayChange;
        button.addEventListener("click", () => ask("promote", `Make ${row.version} the live version?`, { version: row.version }));
        change.append(button);
      }
      return [
        cell(row.version, "", "th"), cell(state, row.is_live ? "live" : ""), cell(made(row.created_at), "time"),
        cell(whole(row.labels), "number"), cell(held(row.held_out), "number"), cell(held(row.agreement), "number"),
        cell(whole(row.answered), "number"), cell(`${row.promoted ? "fit" : "not fit"}: ${row.why}`, "why"), change,
      ];
    },
  })), "no version yet");
}

const held = (estimate) => (estimate ? `${percent(estimate.value)} (${interval(estimate)})` : "too few labels");

function showTables({ standing, flow, shows_texts, may_change }) {
  const { versions, classes, disagreements } = standing.learned;
  showVersions(versions, may_change);
  fill("classes", classes.map((row) => ({
    key: row,
    cells: () => [
      cell(row.label, "", "th"), cell(held(row.share), "number"), cell(held(row.f1), "number"),
      cell(whole(row.accepted), "number"), cell(row.nanos ? charts.money(row.nanos) : "–", "number"),
    ],
  })), "no labels yet");
  const texts = shows_texts && $("texts").checked;
  $("texts").disabled = !shows_texts;
  fill("disagreements", disagreements.map((row) => ({
    key: [row, texts],
    cells: () => [
      cell(`${row.topic}/${row.partition}/${row.offset}`, "", "th"), cell(row.predicted), cell(row.label),
      cell(amount(row.uncertainty), "number"), cell(amount(row.propensity), "number"),
      cell(texts && row.text != null ? row.text : "hidden", texts ? "why" : "why soft"),
    ],
  })), "none among the newest labels");
  fill("lag", (flow?.lag ?? []).map((row) => ({
    key: row,
    cells: () => [cell(`${row.topic}/${row.partition}`, "", "th"), cell(whole(row.records), "number")],
  })), flow ? "the workers tell none: files have no partitions to lag behind" : "no metrics are read");
}

function show(figures) {
  newest = figures;
  say("title", figures.title);
  document.title = `${figures.standing.live ?? "no version"} · askance`;
  const problems = figures.problems.join("\n");
  if ($("problems").dataset.key !== problems) {
    $("problems").dataset.key = problems;
    $("problems").replaceChildren(...figures.problems.map((line) => cell(line, "", "li")));
  }
  $("rollback").disabled = $("token").disabled = !figures.may_change;
  if (!figures.may_change) say("told", "read-only: this page was started without a token (PAGE_TOKEN)");
  showTiles(figures);
  showTables(figures);
  charts.show(points, figures);
}

async function ask(path, question, body) {
  if (!window.confirm(question)) return;
  say("told", "asking …");
  try {
    const reply = await fetch(path, {
      method: "POST",
      headers: { authorization: `Bearer ${$("token").value}`, "content-type": "application/json" },
      body: body ? JSON.stringify(body) : undefined,
    });
    const told = await reply.json();
    say("told", reply.ok ? `${told.live} is live` : told.error);
  } catch (error) {
    say("told", `the page's server did not answer: ${error.message}`);
  }
}

function listen() {
  const stream = new EventSource("stream");
  stream.addEventListener("past", (event) => {
    points = JSON.parse(event.data).points;
  });
  stream.addEventListener("figures", (event) => {
    const figures = JSON.parse(event.data);
    if (points.at(-1)?.at !== figures.point.at) points.push(figures.point);
    if (points.length > MOST_POINTS) points = points.filter((_, place) => place % 2 === 0);
    say("connection", `as of ${new Date(figures.at * 1000).toLocaleTimeString()}`);
    $("connection").className = "soft";
    show(figures);
  });
  stream.addEventListener("error", () => {
    say("connection", "the page's server is away; trying again");
    $("connection").className = "bad";
    // The browser tries again by itself, but not after an answer that was an error.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  });
}

$("rollback").addEventListener("click", () => ask("rollback", "Make the previous version the live one?"));
$("change").addEventListener("submit", (event) => event.preventDefault());
$("texts").checked = localStorage.getItem("askance texts") !== "hidden";
$("texts").addEventListener("change", () => {
  localStorage.setItem("askance texts", $("texts").checked ? "shown" : "hidden");
  if (newest) showTables(newest);
});
charts.redraw(() => newest && charts.show(points, newest));
listen();
