// The outbox: answers wait in the browser's storage until the server acknowledges them. An answer keeps the id that it
// got when it was given, so sending it again records it once. Answers are sent in order, by one tab at a time.

const FIRST_WAIT_SECONDS = 1;
const LONGEST_WAIT_SECONDS = 30;

export class Outbox {
  // events: onRecorded(act, answer), onRefused(act, failure), onState(state); state is one of
  // "idle", "sending", "retrying", "signed-out".
  constructor(storage, api, events) {
    this.storage = storage;
    this.api = api;
    this.events = events;
    this.state = "idle";
    this.failures = 0;
    this.timer = null;
    this.running = null;
    this.lock = `${storage.prefix}outbox`;
  }

  add(act) {
    const number = 1 + Math.max(0, ...this.#entries().map((entry) => entry.number));
    this.storage.set(`act:${act.act_id}`, { number, act, tried: false });
    this.flush();
  }

  // Acts that are not acknowledged yet, oldest first.
  waiting() {
    return this.#entries().map((entry) => entry.act);
  }

  refused() {
    return this.storage.names("refused:").map((name) => this.storage.get(name));
  }

  // Send what waits. Resolves when nothing is left or when sending must wait.
  flush() {
    clearTimeout(this.timer);
    this.running ??= navigator.locks.request(this.lock, () => this.#drain()).finally(() => {
      this.running = null;
      // An answer given while the lock was being released.
      if (this.state === "idle" && this.waiting().length > 0) this.flush();
    });
    return this.running;
  }

  // Take back an answer that was never sent. False if it may have reached the server.
  withdraw(actId) {
    return navigator.locks.request(this.lock, () => {
      const entry = this.storage.get(`act:${actId}`);
      if (!entry || entry.tried) return false;
      this.storage.remove(`act:${actId}`);
      this.#enter(this.state);
      return true;
    });
  }

  sendRefusedAgain(actId) {
    const kept = this.storage.get(`refused:${actId}`);
    this.discardRefused(actId);
    this.add(kept.act);
  }

  discardRefused(actId) {
    this.storage.remove(`refused:${actId}`);
  }

  #entries() {
    const entries = this.storage.names("act:").map((name) => this.storage.get(name));
    return entries.filter(Boolean).sort((one, other) => one.number - other.number);
  }

  #enter(state) {
    this.state = state;
    this.events.onState(state);
  }

  async #drain() {
    for (let entry = this.#entries()[0]; entry; entry = this.#entries()[0]) {
      const name = `act:${entry.act.act_id}`;
      this.storage.set(name, { ...entry, tried: true });
      this.#enter(this.failures ? this.state : "sending");
      try {
        const answer = await this.api.post("/api/acts", entry.act);
        this.storage.remove(name);
        this.failures = 0;
        this.events.onRecorded(entry.act, answer);
      } catch (failure) {
        if (failure.kind !== "refused") return this.#wait(failure);
        this.storage.set(`refused:${entry.act.act_id}`, { act: entry.act, message: failure.message });
        this.storage.remove(name);
        this.events.onRefused(entry.act, failure);
      }
    }
    return this.#enter("idle");
  }

  #wait(failure) {
    if (failure.kind === "session") return this.#enter("signed-out");
    if (!failure.kind) throw failure;
    const backOff = Math.min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** this.failures);
    // Spread the retries of many people over time after the server was away.
    const seconds = failure.retrySeconds ?? backOff * (0.8 + 0.4 * Math.random());
    this.failures += 1;
    this.timer = setTimeout(() => this.flush(), 1000 * seconds);
    return this.#enter("retrying");
  }
}
