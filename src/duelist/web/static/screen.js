// One question on the screen: prompt, responses, the buttons of its answers and what belongs to an answer.

import { showButtons } from "./bar.js";
import { CardsView } from "./cards.js";
import { Clock } from "./clock.js";
import { byId, el, focusScrollers, sanitised } from "./dom.js";
import { say, showWaiting } from "./notices.js";
import { PairView } from "./pair.js";

const ROLES = { user: "User", assistant: "Assistant", system: "System" };
const MARGIN_PX = 9;
const KEEP_DRAFTS_MS = 7 * 24 * 3600 * 1000;
const bottom = () => document.querySelector(".bottom");
const milliseconds = (seconds) => Math.round(1000 * seconds) / 1000;

export class Screen {
  // onAnswer(task, content, spoken): content has every field of an act except its ids. perform(action): what a button
  // does.
  constructor({ bootstrap, keys, details, storage, onAnswer, perform }) {
    this.press = perform;
    this.idleAfter = bootstrap.idle_after_seconds;
    this.mayWriteBetter = bootstrap.write_better;
    this.study = bootstrap.study;
    this.keys = keys;
    this.details = details;
    this.storage = storage;
    this.onAnswer = onAnswer;
    this.task = null;
    this.view = null;
    this.clock = null;
    for (const name of storage.names("draft:")) {
      if (!(storage.get(name)?.at > Date.now() - KEEP_DRAFTS_MS)) storage.remove(name);
    }
    byId("show-prompt").addEventListener("click", () => this.#expandPrompt());
    byId("turns").addEventListener("scroll", () => this.#fadePrompt(), { passive: true });
    window.addEventListener("resize", () => this.layoutChanged());
  }

  // `previous`: this person's earlier act on the question, which was undone.
  show(task, previous) {
    this.close();
    const saved = this.storage.get(`draft:${task.question_id}`);
    const draft = saved ?? (previous ? draftOf(previous) : null);
    this.task = task;
    this.previous = previous;
    this.clock = new Clock(this.idleAfter, draft ?? {});
    if (!document.hidden) this.clock.show();
    byId("waiting").hidden = true;
    byId("question").hidden = false;
    bottom().classList.remove("waiting");
    byId("hint").textContent = "";
    this.details.reset(draft?.details);
    this.#showPrompt(task.prompt);
    const host = this.#host();
    this.view = task.asks === "pair" ? new PairView(task, host) : new CardsView(task, host, draft?.order);
    if (previous && !saved && this.view.ordering) this.view.restore(previous);
    byId("question-title").textContent = this.view.title;
    document.title = `${this.view.title} · ${this.study}`;
    this.refresh();
    window.scrollTo(0, 0);
    this.layoutChanged();
    if (document.activeElement === document.body) byId("question-title").focus({ preventScroll: true });
  }

  wait(reason) {
    this.close();
    byId("question").hidden = true;
    bottom().classList.add("waiting");
    byId("waiting").hidden = false;
    if (byId("waiting").dataset.reason !== reason) showWaiting(reason);
    document.title = `${byId("waiting-title").textContent} · ${this.study}`;
  }

  close() {
    this.view?.unmount();
    this.view = null;
    this.task = null;
    this.clock = null;
    this.previous = null;
  }

  // The ids of the responses in the order in which they stand on the screen.
  shown() {
    return [...byId("responses").querySelectorAll(":scope > [data-response]")].map((card) => card.dataset.response);
  }

  perform(action) {
    if (!this.view) return false;
    // After an undo, one key keeps the earlier answer.
    if (action === "submit" && this.previous && !this.view.ordering) {
      return this.view.perform(this.view.actionOf(this.previous));
    }
    return this.details.perform(action) || this.view.perform(action);
  }

  refresh() {
    if (!this.view) return;
    const earlier = this.previous ? this.view.actionOf(this.previous) : null;
    const mark = (spec) => (spec.action === earlier ? { ...spec, mark: "your answer" } : spec);
    const specs = this.view.answers().map(mark);
    showButtons(byId("answers-main"), specs.filter((spec) => spec.main), this.keys, this.press);
    showButtons(byId("answers-side"), specs.filter((spec) => !spec.main), this.keys, this.press);
  }

  // Keep the state of the question, so that a reload or another question loses nothing.
  saveDraft() {
    if (!this.task) return;
    const draft = { order: this.view.draft(), details: this.details.read(), ...this.clock.read(), at: Date.now() };
    this.storage.set(`draft:${this.task.question_id}`, draft);
  }

  layoutChanged() {
    const turns = byId("turns");
    const whole = turns.classList.contains("whole");
    byId("show-prompt").textContent = whole ? "Show less" : "Show all";
    byId("show-prompt").setAttribute("aria-expanded", String(whole));
    byId("show-prompt").hidden = !whole && turns.scrollHeight <= turns.clientHeight + 1;
    focusScrollers(byId("question"));
    this.#fadePrompt();
  }

  #host() {
    return {
      responses: byId("responses"),
      rail: byId("rail"),
      mayWriteBetter: this.mayWriteBetter,
      say,
      tools: (specs) => showButtons(byId("tools"), specs, this.keys, this.press),
      note: (text) => (byId("hint").textContent = text),
      preference: (name, value) => (value === undefined ? this.storage.get(name) : this.storage.set(name, value)),
      writeBetter: (written) => this.details.writeBetter(written),
      seconds: () => milliseconds(this.#elapsed()),
      changed: () => this.saveDraft(),
      refresh: () => this.refresh(),
      layoutChanged: () => {
        this.layoutChanged();
        this.#scrollToLastTurn();
      },
      answer: (fields, spoken) => this.#answer(fields, spoken),
    };
  }

  #elapsed() {
    const { active, idle } = this.clock.read();
    return active + idle;
  }

  #answer(fields, spoken) {
    const { active, idle } = this.clock.read();
    const { strength, reasons, comment } = this.details.read();
    const content = {
      shown: this.shown(),
      outcome: null,
      chosen: null,
      ranking: null,
      stopped: false,
      best: null,
      worst: null,
      placed: this.view.draft()?.placed ?? [],
      active_seconds: milliseconds(active),
      idle_seconds: milliseconds(idle),
      strength: fields.outcome === "prefer" ? strength : null,
      reasons,
      comment,
      better: null,
      ...fields,
    };
    const { task } = this;
    this.storage.remove(`draft:${task.question_id}`);
    this.onAnswer(task, content, spoken);
  }

  #showPrompt(turns) {
    const several = turns.length > 1;
    byId("turns").classList.remove("whole");
    byId("turns").replaceChildren(
      ...turns.map((turn) =>
        el(
          "div",
          { class: `turn ${turn.role}` },
          el("h2", { class: "role" }, several ? (ROLES[turn.role] ?? turn.role) : "Prompt"),
          sanitised(turn.html, { level: 3 }),
        ),
      ),
    );
    this.#scrollToLastTurn();
  }

  // Fade the prompt where more of it is hidden.
  #fadePrompt() {
    const turns = byId("turns");
    turns.classList.toggle("more-above", turns.scrollTop > 2);
    turns.classList.toggle("more-below", turns.scrollTop + turns.clientHeight < turns.scrollHeight - 2);
  }

  #expandPrompt() {
    byId("turns").classList.toggle("whole");
    this.layoutChanged();
  }

  // The last turn is what the responses answer. Show it, and as many whole turns before it as there is room for.
  #scrollToLastTurn() {
    const turns = byId("turns");
    const top = turns.getBoundingClientRect().top - turns.scrollTop;
    const starts = [...turns.children].map((turn) => turn.getBoundingClientRect().top - top);
    const fits = starts.find((start) => turns.scrollHeight - start <= turns.clientHeight);
    turns.scrollTop = Math.min(fits ?? Infinity, starts.at(-1)) - MARGIN_PX;
  }
}

// What an undone act says, as a draft of the next answer to the same question.
function draftOf(act) {
  const { strength, reasons, comment, better } = act;
  return { details: { strength, reasons, comment, better }, active: act.active_seconds, idle: act.idle_seconds };
}
