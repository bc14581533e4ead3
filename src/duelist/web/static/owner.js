// The owner's dashboard: draws the state that the server sends, and sends what the owner decides.

import { barChart, lineChart } from "./charts.js";
import { duration, money, number, percent } from "./format.js";
import { table } from "./table.js";

const bootstrap = JSON.parse(document.getElementById("bootstrap").textContent);
const byId = (id) => document.getElementById(id);
const CONNECTION = ["connecting", "live", "not connected: signed out, or the server ended"];
let state = null;

function say(text) {
  byId("said").textContent = text;
}

async function post(path, body) {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": bootstrap.csrf },
      body: JSON.stringify(body),
    });
    const data = await response.json();
    if (response.ok) return data;
    say(data.message);
  } catch {
    say("The server cannot be reached. Nothing was changed.");
  }
  return null;
}

async function change(path, body, done) {
  if (await post(path, body)) say(done);
}

// Drawing

function draw() {
  byId("standing").textContent = standing();
  const { batch } = state;
  byId("batch").max = Math.max(batch.size, 1);
  byId("batch").value = batch.done;
  byId("pause").disabled = false;
  byId("pause").setAttribute("aria-pressed", String(state.paused));
  byId("pause").textContent = state.paused ? "Resume" : "Pause";
  drawNumbers();
  drawCharts();
  drawCost();
  drawPeople();
  drawDisputed();
  drawGold();
}

function standing() {
  const where = `Round ${state.round} of ${state.rounds}`;
  if (state.paused) return `${where}: paused, nobody is given a question.`;
  if (state.phase === "training") return `${where}: training.`;
  if (state.phase === "finished") return "The study is finished.";
  return `${where}: ${state.batch.done} of ${state.batch.size} questions answered, ${state.batch.open_leases} being answered.`;
}

function drawNumbers() {
  const { agreement, labels, cost, stopping } = state;
  const rows = [
    ["Labels", number(labels.answers)],
    ["Labels in this hour", number(labels.hours.at(-1).labels)],
    ["Budget left, questions", number(state.budget_left)],
    ["Median time of a label", duration(state.seconds_median)],
    ["Active time", duration(cost.total.seconds)],
    ["Money", money(cost.total.money, cost.currency)],
    [`Agreement of two people (${number(agreement.compared)} compared)`, percent(agreement.pairwise)],
    ...Object.entries(agreement)
      .filter(([name]) => name !== "pairwise" && name !== "compared")
      .map(([name, value]) => [name.replaceAll("_", " "), typeof value === "number" ? number(value, 3) : String(value ?? "–")]),
    ["Worth of the next label, nats", number(state.next_label_nats, 4)],
    ["Stopping now would save", saved(stopping, cost.currency)],
  ];
  byId("numbers").replaceChildren(
    ...rows.map(([name, value]) => {
      const row = document.createElement("div");
      row.append(document.createElement("dt"), document.createElement("dd"));
      [row.firstChild.textContent, row.lastChild.textContent] = [name, value];
      return row;
    }),
  );
}

function saved(stopping, currency) {
  if (!stopping) return "–";
  const parts = [`${number(stopping.labels)} labels`, duration(stopping.seconds)];
  if (stopping.money !== null) parts.push(money(stopping.money, currency));
  return parts.join(", ");
}

function drawCharts() {
  const hours = state.labels.hours.slice(-24);
  const points = hours.map(({ hour, labels }) => ({ label: `${new Date(hour).getHours()}:00`, value: labels }));
  byId("pace").replaceChildren(barChart(points, "Labels in each of the last 24 hours"));
  const metrics = metricsOf(state.curve);
  const select = byId("metric");
  const chosen = metrics.includes(select.value) ? select.value : metrics[0];
  if (metrics.join() !== [...select.options].map((option) => option.value).join()) {
    select.replaceChildren(...metrics.map((name) => new Option(name.replaceAll("_", " "), name)));
  }
  select.value = chosen ?? "";
  select.disabled = metrics.length === 0;
  const curve = state.curve.filter((point) => Number.isFinite(point[chosen]));
  const line = curve.map((point) => ({ x: point.labels ?? point.round, y: point[chosen] }));
  byId("curve").replaceChildren(lineChart(line, `${chosen ?? "No metric yet"}, by labels`));
}

function metricsOf(curve) {
  const names = new Set(curve.flatMap((point) => Object.keys(point).filter((name) => Number.isFinite(point[name]))));
  return [...names].filter((name) => name !== "round" && name !== "labels");
}

function drawCost() {
  const { cost } = state;
  const names = {
    questions: "Questions, first answer",
    overlap: "Overlap, further answers",
    gold: "Gold questions",
    repeats: "Repeats",
    adjudication: "Adjudication",
    unused: "Recorded, not used",
  };
  const rows = Object.entries(cost.by_purpose).map(([purpose, spent]) => [names[purpose] ?? purpose, spent]);
  rows.push(["Total", cost.total]);
  table(byId("cost"), ["For", "Acts", "Active time", "Money"], rows, ([name, spent]) => [
    { text: name, head: true },
    { text: number(spent.acts), number: true },
    { text: duration(spent.seconds), number: true },
    { text: money(spent.money, cost.currency), number: true },
  ]);
}

function drawPeople() {
  const heads = ["Name", "Role", "Labels", "Median time", "First displayed chosen", "Gold right", "Repeats equal", "Last", ""];
  table(byId("people"), heads, state.annotators, (one) => [
    { text: one.name, head: true },
    { text: one.active ? one.role : `${one.role}, revoked` },
    { text: number(one.labels), number: true },
    { text: duration(one.seconds_median), number: true },
    { text: share(one.first_chosen, one.chosen), number: true },
    { text: share(one.gold - one.gold_failed, one.gold), number: true },
    { text: share(one.repeats_equal, one.repeats), number: true },
    { text: one.last ? new Date(one.last).toLocaleTimeString() : "–" },
    one.active && one.name !== bootstrap.name
      ? { action: "Revoke", label: `Revoke the access of ${one.name}`, run: () => revoke(one.name) }
      : { text: "" },
  ]);
}

function share(part, whole) {
  return whole ? `${part} of ${whole} (${percent(part / whole)})` : "–";
}

function drawDisputed() {
  const heads = ["Question", "Dispute", "Answers", "Adjudicated", ""];
  table(byId("disputed"), heads, state.disputed, (one) => [
    { text: one.title, head: true, words: true },
    { text: number(one.dispute, 2), number: true },
    { text: `${one.answers} of ${one.places}`, number: true },
    { text: one.adjudicated ? "yes" : "no" },
    one.open
      ? {
          action: "Ask one more",
          label: `Ask one more person about: ${one.title}`,
          run: () => change("/api/owner/overlap", { question_id: one.question_id, labels: one.places + 1 }, "One more person will be asked."),
        }
      : { text: "round closed" },
  ], "Nobody disagrees yet.");
}

function drawGold() {
  table(byId("gold"), ["Question", "Annotator", "Answer", "When"], state.gold_failures, (one) => [
    { text: one.title, head: true, words: true },
    { text: one.annotator },
    { text: one.outcome.replaceAll("_", " ") },
    { text: new Date(one.at).toLocaleString() },
  ], "None.");
}

// What the owner decides

function revoke(name) {
  if (confirm(`Revoke the access of ${name}? The recorded labels stay.`)) {
    change("/api/owner/revoke", { name }, `The access of ${name} has ended.`);
  }
}

byId("pause").addEventListener("click", () => {
  const paused = !state.paused;
  change("/api/owner/pause", { paused }, paused ? "Paused." : "Resumed.");
});

byId("metric").addEventListener("change", drawCharts);

byId("invite").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const made = await post("/api/owner/invite", { name: form.elements.name.value.trim(), role: form.elements.role.value });
  if (!made) return;
  say(`Invited ${form.elements.name.value.trim()}. Send the link below: it is shown once.`);
  byId("link-text").value = made.link;
  byId("link").hidden = false;
  byId("link-text").select();
  form.elements.name.value = "";
});

byId("link-copy").addEventListener("click", async () => {
  byId("link-text").select();
  try {
    await navigator.clipboard.writeText(byId("link-text").value);
    say("Copied.");
  } catch {
    say("The link is selected: copy it by keyboard.");
  }
});

// Live

const events = new EventSource("/owner/events");
events.addEventListener("state", (event) => {
  state = JSON.parse(event.data);
  byId("connection").textContent = CONNECTION[1];
  draw();
});
events.addEventListener("error", () => {
  byId("connection").textContent = CONNECTION[events.readyState === EventSource.CLOSED ? 2 : 0];
});
