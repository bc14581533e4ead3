// Active and idle time of one question. Time counts only while the tab is visible. After `idleAfter` seconds without
// input, time counts as idle until the next input.

export class Clock {
  constructor(idleAfter, { active = 0, idle = 0 } = {}, now = () => performance.now() / 1000) {
    this.idleAfter = idleAfter;
    this.now = now;
    this.active = active;
    this.idle = idle;
    this.since = null; // when the stretch without input began; null while the tab is hidden
    this.inactive = 0; // seconds without input that were counted before the tab was hidden
  }

  show() {
    if (this.since === null) this.since = this.now();
  }

  hide() {
    this.#settle();
    this.since = null;
  }

  input() {
    this.#settle();
    this.inactive = 0;
  }

  // {active, idle} in seconds up to now.
  read() {
    this.#settle();
    return { active: this.active, idle: this.idle };
  }

  #settle() {
    if (this.since === null) return;
    const now = this.now();
    const elapsed = Math.max(0, now - this.since);
    const active = Math.min(elapsed, Math.max(0, this.idleAfter - this.inactive));
    this.active += active;
    this.idle += elapsed - active;
    this.inactive += elapsed;
    this.since = now;
  }
}

const INPUTS = ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "input"];

// Tell `clock()`, the clock of the question on the screen if there is one, about input and visibility.
export function watchInput(clock) {
  for (const name of INPUTS) {
    document.addEventListener(name, () => clock()?.input(), { capture: true, passive: true });
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? clock()?.hide() : clock()?.show()));
}
