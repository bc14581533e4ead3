// The settings: colour scheme, single-key shortcuts and which key does what. Kept in this browser.

import { byId, el } from "./dom.js";
import { ACTIONS, symbol } from "./keys.js";

const THEME = "duelist:theme";

export class Settings {
  constructor(keys, onChange) {
    this.keys = keys;
    this.onChange = onChange;
    this.listening = null;
    this.dialog = byId("settings");
    this.#theme();
    const single = byId("single-keys");
    single.checked = keys.enabled;
    single.addEventListener("change", () => {
      keys.enable(single.checked);
      onChange();
    });
    byId("keys-reset").addEventListener("click", () => {
      keys.reset();
      this.#changed("The keys of the study are back.");
    });
    this.dialog.addEventListener("keydown", (event) => this.#listen(event), { capture: true });
    this.dialog.addEventListener("close", () => this.#stop());
    this.#render();
  }

  open() {
    byId("keys-said").textContent = "";
    this.dialog.showModal();
  }

  #theme() {
    const choice = byId("theme");
    choice.value = document.documentElement.dataset.theme ?? "system";
    choice.addEventListener("change", () => {
      if (choice.value === "system") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = choice.value;
      try {
        localStorage.setItem(THEME, JSON.stringify(choice.value));
      } catch {
        // The choice then lasts until the page is closed.
      }
    });
  }

  #render() {
    const rows = Object.entries(ACTIONS)
      .filter(([action]) => this.keys.of(action).length > 0)
      .map(([action, title]) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, title),
          el("td", {}, ...this.keys.of(action).map((key) => el("kbd", {}, symbol(key)))),
          el("td", {}, this.#changeButton(action, title)),
        ),
      );
    byId("keys-list").replaceChildren(...rows);
  }

  #changeButton(action, title) {
    const attributes = { type: "button", "data-bind": action, "aria-label": `Change the key: ${title}` };
    return el("button", { ...attributes, onclick: () => this.#start(action) }, "Change");
  }

  #start(action) {
    this.listening = action;
    byId("keys-said").textContent = `Press the new key for “${ACTIONS[action]}”. Escape keeps the old one.`;
  }

  #stop() {
    this.listening = null;
  }

  #listen(event) {
    if (!this.listening || ["Shift", "Control", "Alt", "Meta", "AltGraph"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    const action = this.listening;
    if (event.key === "Escape") {
      this.#stop();
      byId("keys-said").textContent = "The key stays as it was.";
      return;
    }
    const problem = this.keys.bind(action, event);
    if (problem) {
      byId("keys-said").textContent = problem;
      return;
    }
    this.#stop();
    this.#changed(`“${ACTIONS[action]}” is now ${symbol(this.keys.of(action)[0])}.`);
    this.dialog.querySelector(`[data-bind="${action}"]`).focus();
  }

  #changed(text) {
    this.#render();
    byId("keys-said").textContent = text;
    this.onChange();
  }
}
