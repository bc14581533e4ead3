// What the page tells a person: the line that says what was recorded, and banners about trouble.

import { byId, el } from "./dom.js";

export function say(text) {
  const line = byId("said");
  // The same text twice must be announced twice.
  line.replaceChildren(el("span", {}, text));
}

// One banner of each kind. actions: {label: function}.
export function notice(kind, text, actions = {}) {
  const old = byId("notices").querySelector(`[data-kind="${kind}"]`);
  if (old?.dataset.text === text) return;
  const buttons = Object.entries(actions).map(([label, act]) => el("button", { type: "button", onclick: act }, label));
  const banner = el("div", { class: "notice", "data-kind": kind, "data-text": text }, el("p", {}, text), ...buttons);
  if (old) old.replaceWith(banner);
  else byId("notices").append(banner);
}

export function clearNotice(kind) {
  byId("notices").querySelector(`[data-kind="${kind}"]`)?.remove();
}

const WAITING = {
  loading: ["One moment", "The next question is being fetched."],
  training: [
    "The model is learning from your answers",
    "The next questions appear here when the training round is done.",
  ],
  others_labelling: [
    "Others are still answering",
    "You have answered everything that is open to you. New questions appear here.",
  ],
  finished: ["All done, thank you", "This study needs no more answers. You can close this page."],
  paused: ["The study is paused", "Its owner has paused it. Questions appear here when it goes on."],
  offline: [
    "The server cannot be reached",
    "The page keeps trying. Your answers are kept in this browser until they are sent.",
  ],
  signed_out: [
    "Your session has ended",
    "Open your personal link again, in this tab or another. Your answers are kept in this browser.",
  ],
};

export function showWaiting(reason) {
  const [title, text] = WAITING[reason] ?? ["No question at the moment", "The next one appears here."];
  byId("waiting").dataset.reason = reason;
  byId("waiting-title").textContent = title;
  byId("waiting-text").textContent = text;
}
