// Which question comes next. One question is on the screen, one is fetched ahead, answers wait in the outbox, and an
// undone answer puts its question back on the screen, before the one that was there.

import { clearNotice, notice, say } from "./notices.js";

const LONGEST_POLL_SECONDS = 15;
const SIGNED_OUT =
  "Your session has ended. Open your personal link again, in this tab or another. " +
  "Your answers are kept in this browser and are sent then.";

export class Flow {
  constructor({ api, outbox, screen, tabs, storage, onProgress }) {
    Object.assign(this, { api, outbox, screen, tabs, storage, onProgress });
    this.ready = null; // fetched ahead: {task, until}
    this.ahead = []; // put aside by an undo, next last: {task, previous}
    this.seen = new Map(); // question id -> task, as shown in this tab
    this.history = []; // acts that can be undone, newest first
    this.asking = false;
    this.undoing = false;
    this.failures = 0;
    this.timer = null;
  }

  async start() {
    this.screen.wait("loading");
    this.fill();
    try {
      const { acts } = await this.api.get("/api/history");
      const known = new Set(this.history.map((act) => act.act_id));
      this.history.push(...acts.filter((act) => !known.has(act.act_id)));
    } catch {
      // Without the history, undo reaches back to the start of this page; the next request tells about the trouble.
    }
    const unsent = this.outbox.waiting().filter((act) => !this.history.some((known) => known.act_id === act.act_id));
    this.history.unshift(...unsent.reverse());
  }

  answered(task, content, spoken) {
    const act = { act_id: crypto.randomUUID(), task_id: task.task_id, question_id: task.question_id, ...content };
    this.history.unshift(act);
    this.tabs.post({ kind: "answered", act });
    this.outbox.add(act);
    say(`Recorded: ${spoken}.`);
    this.advance();
  }

  advance() {
    this.screen.close();
    const next = this.ahead.pop() ?? this.#takeReady();
    if (next) this.#show(next.task, next.previous);
    else this.screen.wait("loading");
    this.fill();
  }

  // Keep a question on the screen and one more fetched ahead.
  async fill() {
    if (this.asking) return;
    clearTimeout(this.timer);
    this.asking = true;
    try {
      while (!this.screen.task || !this.ready) {
        const answer = await this.api.post("/api/next", { hold: this.#held() });
        this.failures = 0;
        this.signedIn();
        this.onProgress(answer.progress);
        if (!answer.task || this.#held().includes(answer.task.question_id)) {
          this.#later(answer.wait?.retry_seconds ?? 1, answer.wait?.reason ?? "loading");
          break;
        }
        this.#accept(answer);
      }
    } catch (failure) {
      this.#failed(failure);
    } finally {
      this.asking = false;
    }
  }

  async undo() {
    if (this.undoing) return;
    const [last] = this.history;
    if (!last) {
      say("There is no answer of this batch to undo.");
      return;
    }
    this.undoing = true;
    say("Undoing …");
    try {
      const undone = (await this.#withdraw(last)) ?? (await this.#undoOnServer(last));
      if (undone) this.#goBack(last, undone);
    } catch (failure) {
      this.#undoFailed(last, failure);
    } finally {
      this.undoing = false;
    }
  }

  // A message from another tab of the same person.
  heard(message) {
    if (message.kind === "undone") this.#forget(message.act_id);
    if (message.kind === "signed-in") this.resume();
    if (message.kind !== "answered") return;
    const id = message.act.question_id;
    this.history.unshift(message.act);
    this.ahead = this.ahead.filter((next) => next.task.question_id !== id);
    if (this.ready?.task.question_id === id) this.ready = null;
    if (this.screen.task?.question_id === id) {
      say("You answered this question in another tab.");
      this.advance();
    } else this.fill();
  }

  signedOut() {
    notice("signed-out", SIGNED_OUT);
    this.sessionEnded = true;
  }

  signedIn() {
    if (!this.sessionEnded) return;
    this.sessionEnded = false;
    clearNotice("signed-out");
    this.tabs.post({ kind: "signed-in" });
    this.outbox.flush();
  }

  // Try again now: the connection or the session may be back.
  async resume() {
    if (this.sessionEnded && !(await this.api.renew())) return;
    this.signedIn();
    this.outbox.flush();
    this.fill();
  }

  #held() {
    const tasks = [this.screen.task, this.ready?.task, ...this.ahead.map((next) => next.task)].filter(Boolean);
    return [...new Set([...tasks, ...this.outbox.waiting()].map((one) => one.question_id))];
  }

  #accept(answer) {
    const { task } = answer;
    // By the server's clock: this computer's may be wrong.
    const lifetime = Date.parse(task.expires_at) - answer.serverTime;
    const until = Number.isFinite(lifetime) ? performance.now() + lifetime : Infinity;
    if (this.screen.task) this.ready = { task, until };
    else this.#show(task);
  }

  #takeReady() {
    const { ready } = this;
    this.ready = null;
    return ready && performance.now() < ready.until ? ready : null;
  }

  #show(task, previous = null) {
    this.seen.set(task.question_id, task);
    this.screen.show(task, previous);
    this.#reportShown();
  }

  // Tell the server what came on the screen, once it is really visible.
  #reportShown() {
    const { task } = this.screen;
    if (!task) return;
    if (document.hidden) {
      const later = () => this.screen.task === task && this.#reportShown();
      document.addEventListener("visibilitychange", later, { once: true });
      return;
    }
    const body = { task_id: task.task_id, question_id: task.question_id, shown: this.screen.shown() };
    // Only an event for the record: the act says what was shown, too.
    this.api.post("/api/shown", body).catch(() => {});
  }

  #later(seconds, reason) {
    if (!this.screen.task) this.screen.wait(reason);
    this.timer = setTimeout(() => this.fill(), 1000 * seconds);
  }

  #failed(failure) {
    if (!failure.kind) throw failure;
    if (failure.kind === "session") {
      this.signedOut();
      this.#later(LONGEST_POLL_SECONDS, "signed_out");
      return;
    }
    const seconds = failure.retrySeconds ?? Math.min(LONGEST_POLL_SECONDS, 2 ** this.failures);
    this.failures += 1;
    this.#later(seconds, "offline");
  }

  // Take back an answer that has not left this browser.
  async #withdraw(act) {
    await this.outbox.flush();
    const task = this.seen.get(act.question_id);
    if (!task || !(await this.outbox.withdraw(act.act_id))) return null;
    return { task, previous: act };
  }

  async #undoOnServer(act) {
    if (this.outbox.waiting().some((waiting) => waiting.act_id === act.act_id)) {
      say("This answer has not reached the server yet. Undo it when the connection is back.");
      return null;
    }
    // Kept, so that pressing undo again after a failure undoes once.
    act.undo_id ??= crypto.randomUUID();
    return this.api.post("/api/undo", { act_id: act.undo_id, undoes: act.act_id });
  }

  #goBack(act, { task, previous, progress }) {
    this.#forget(act.act_id);
    this.tabs.post({ kind: "undone", act_id: act.act_id });
    if (progress) this.onProgress(progress);
    if (this.ready?.task.question_id === task.question_id) this.ready = null;
    if (this.screen.task && this.screen.task.question_id !== task.question_id) {
      this.screen.saveDraft();
      this.ahead.push({ task: this.screen.task, previous: this.screen.previous });
    }
    this.#show(task, previous);
    say("Your answer is undone. Answer again, or press Enter to keep it.");
  }

  #undoFailed(act, failure) {
    if (!failure.kind) throw failure;
    if (failure.kind === "session") this.signedOut();
    else if (failure.kind === "refused") {
      this.#forget(act.act_id);
      say(`This answer cannot be undone. ${failure.message}`);
    } else say("The server cannot be reached, so nothing was undone. Try again.");
  }

  #forget(actId) {
    this.history = this.history.filter((act) => act.act_id !== actId);
  }
}
