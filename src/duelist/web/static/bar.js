// The buttons of the answers and tools. Each shows its keys; a button stays the same element from question to question,
// so that it keeps the focus.

import { el } from "./dom.js";
import { symbol } from "./keys.js";

const ARIA_NAMES = { "←": "ArrowLeft", "→": "ArrowRight", "↑": "ArrowUp", "↓": "ArrowDown", "↵": "Enter" };

// specs: {action, label, main, weak, pressed, keys, mark, wideOnly}; `keys` overrides the configured keys.
export function showButtons(container, specs, keys, perform) {
  const old = new Map([...container.children].map((button) => [button.dataset.action, button]));
  const buttons = specs.map((spec) => fill(old.get(spec.action) ?? make(spec, perform), spec, keys));
  const same = buttons.length === container.children.length && buttons.every((b, i) => b === container.children[i]);
  if (!same) container.replaceChildren(...buttons);
}

function make(spec, perform) {
  return el("button", { type: "button", "data-action": spec.action, onclick: () => perform(spec.action) });
}

function fill(button, spec, keys) {
  const symbols = spec.keys ?? keys.of(spec.action).map(symbol);
  button.className = [spec.main ? "main" : "side", spec.weak && "weak", spec.wideOnly && "wide-only"]
    .filter(Boolean)
    .join(" ");
  if (spec.pressed === undefined) button.removeAttribute("aria-pressed");
  else button.setAttribute("aria-pressed", String(spec.pressed));
  if (keys.enabled) button.setAttribute("aria-keyshortcuts", symbols.map((s) => ARIA_NAMES[s] ?? s).join(" "));
  button.replaceChildren(
    el("span", { class: "label" }, spec.label),
    spec.mark ? el("span", { class: "mark" }, spec.mark) : "",
    keys.enabled
      ? el("span", { class: "keys", "aria-hidden": "true" }, ...symbols.map((name) => el("kbd", {}, name)))
      : "",
  );
  return button;
}

// A key shown on a button that is made once. `refreshHints` fills it in.
export const hint = (action) => el("kbd", { "aria-hidden": "true", "data-key-of": action });

export function refreshHints(keys) {
  for (const element of document.querySelectorAll("[data-key-of]")) {
    const [key] = keys.of(element.dataset.keyOf);
    element.hidden = !keys.enabled || key === undefined;
    element.textContent = key === undefined ? "" : symbol(key);
  }
}
