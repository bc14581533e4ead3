// Starts the page: reads what the server wrote into it and connects its parts.

import { Api, readBootstrap } from "./api.js";
import { refreshHints } from "./bar.js";
import { watchInput } from "./clock.js";
import { Details } from "./details.js";
import { byId, sanitised } from "./dom.js";
import { Flow } from "./flow.js";
import { Keys } from "./keys.js";
import { clearNotice, notice, say } from "./notices.js";
import { showProgress } from "./progress.js";
import { Outbox } from "./queue.js";
import { Screen } from "./screen.js";
import { Settings } from "./settings.js";
import { Storage } from "./storage.js";
import { Tabs } from "./tabs.js";

const SESSION_CHECK_MS = 5_000;

const bootstrap = readBootstrap(document);
const { annotator, study } = bootstrap;
const storage = new Storage([study, annotator.role, annotator.name].map(encodeURIComponent).join("/"), () =>
  notice("storage", "This browser keeps no data for this page. Do not close it until all answers are saved."),
);
const keys = new Keys(bootstrap.keys, storage);
const api = new Api(bootstrap);
const details = new Details(bootstrap, () => screen.saveDraft());
const onAnswer = (task, content, spoken) => flow.answered(task, content, spoken);
const screen = new Screen({ bootstrap, keys, details, storage, onAnswer, perform });
const outbox = new Outbox(storage, api, { onRecorded, onRefused: showRefused, onState: showSaving });
const tabs = new Tabs(storage.prefix, (message) => flow.heard(message));
const flow = new Flow({ api, outbox, screen, tabs, storage, onProgress: showProgress });
const settings = new Settings(keys, () => {
  refreshHints(keys);
  screen.refresh();
});

function onRecorded(act, answer) {
  showProgress(answer.progress);
  flow.signedIn();
  flow.fill();
  if (!answer.counts && answer.note) say(answer.note);
}

function showSaving(state) {
  const count = outbox.waiting().length;
  byId("saved").textContent = count === 0 ? "Saved" : `${count} to send`;
  byId("saved").dataset.state = state;
  if (state === "signed-out") flow.signedOut();
  if (state === "retrying") {
    const kept = count === 1 ? "1 answer is" : `${count} answers are`;
    const text = `${kept} kept in this browser, and sent when it is back. You can go on.`;
    notice("retrying", `The server cannot be reached. ${text}`);
  } else clearNotice("retrying");
}

function showRefused() {
  const [kept] = outbox.refused();
  if (!kept) {
    clearNotice("refused");
    return;
  }
  notice("refused", `The server did not accept an answer: ${kept.message} It is kept in this browser.`, {
    "Send it again": () => {
      outbox.sendRefusedAgain(kept.act.act_id);
      showRefused();
    },
    "Discard it": () => {
      outbox.discardRefused(kept.act.act_id);
      showRefused();
    },
  });
}

function openGuidelines() {
  if (bootstrap.guidelines_html) byId("guidelines").showModal();
}

function perform(action) {
  if (flow.undoing) return true;
  if (action === "undo") flow.undo();
  else if (action === "guidelines") openGuidelines();
  else return screen.perform(action);
  return true;
}

document.addEventListener("keydown", (event) => {
  const dialog = document.querySelector("dialog[open]");
  const action = keys.action(event, { ordering: screen.view?.ordering ?? false });
  if (dialog) {
    if (dialog.id === "guidelines" && action === "guidelines") dialog.close();
    else return;
  } else if (!action || !perform(action)) return;
  event.preventDefault();
});

byId("undo").addEventListener("click", () => perform("undo"));
byId("open-guidelines").addEventListener("click", openGuidelines);
byId("open-guidelines").hidden = !bootstrap.guidelines_html;
byId("guidelines-text").append(sanitised(bootstrap.guidelines_html, { level: 3 }));
byId("open-settings").addEventListener("click", () => settings.open());
for (const button of document.querySelectorAll("dialog .close")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}

watchInput(() => screen.clock);
window.addEventListener("online", () => flow.resume());
window.addEventListener("pagehide", () => screen.saveDraft());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) screen.saveDraft();
  else flow.resume();
});
setInterval(() => {
  if (flow.sessionEnded && !document.hidden) flow.resume();
}, SESSION_CHECK_MS);

refreshHints(keys);
showRefused();
showSaving("idle");
flow.start();
outbox.flush();
tabs.post({ kind: "signed-in" }); // a tab whose session ended goes on with this one
