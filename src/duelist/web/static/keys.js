// Which key does what. The study sets the keys; a person may change them in the settings.

export const ACTIONS = {
  first: "First response is better",
  second: "Second response is better",
  tie: "Tie",
  both_bad: "Both bad (or all bad)",
  both_good: "Both good (or all good)",
  skip: "Skip",
  undo: "Undo the last answer",
  submit: "Submit an order",
  slightly: "Slightly better",
  clearly: "Clearly better",
  reasons: "Go to the reasons",
  comment: "Write a comment",
  diff: "Show the differences",
  scroll_together: "Scroll together or apart",
  guidelines: "Guidelines",
};

// Keys of actions for which the study names none.
const DEFAULTS = { slightly: [","], clearly: ["."], reasons: ["r"] };

const SYMBOLS = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  Enter: "↵",
  Backspace: "⌫",
  Escape: "Esc",
  " ": "Space",
};

// Keys that order cards; they come before the configured ones while cards are on the screen.
const ORDERING = {
  "=": "tie_next",
  Backspace: "take_back",
  ArrowUp: "earlier",
  ArrowLeft: "earlier",
  ArrowDown: "later",
  ArrowRight: "later",
};
const PAIR_ONLY = ["first", "second", "tie"];
const NEVER = ["Tab", "Escape", "Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock", "Dead", "Process", " "];
const ORDERING_ONLY = ["=", "Backspace", "3", "4", "5", "6", "7", "8", "9"];

export const symbol = (key) => SYMBOLS[key] ?? (key.length === 1 ? key.toUpperCase() : key);

// The key's name as in KeyboardEvent.key, letters in lower case. On a keyboard of another script (Arabic, Cyrillic) it
// is the letter at the same place of a Latin keyboard.
export function keyName(event) {
  if (event.key.length !== 1) return event.key;
  if (event.key.charCodeAt(0) > 127) {
    const latin = /^(?:Key([A-Z])|Digit(\d))$/.exec(event.code);
    if (latin) return (latin[1] ?? latin[2]).toLowerCase();
  }
  return event.key.toLowerCase();
}

// Whether the focus came by keyboard. After a click, Enter and the arrows still answer the question; for a person who
// moves by Tab, they operate the button or the scrolling part that has the focus.
let focusByKeyboard = false;
let lastInput = "pointer";
document.addEventListener("keydown", () => (lastInput = "key"), { capture: true });
document.addEventListener("pointerdown", () => ((lastInput = "pointer"), (focusByKeyboard = false)), { capture: true });
document.addEventListener("focusin", () => (focusByKeyboard = lastInput === "key"));

// True if the key belongs to what has the focus: text being written, a focused button, a part that scrolls.
function belongsToTarget(event) {
  const target = event.target;
  if (!(target instanceof Element)) return false;
  if (target.closest("textarea, select, [contenteditable], input:not([type=checkbox])")) return true;
  if (!focusByKeyboard) return false;
  if (event.key === "Enter") return target.closest("button, summary, a[href]") !== null;
  return event.key.startsWith("Arrow") && target.matches("[role=group][tabindex]");
}

export class Keys {
  constructor(fromStudy, storage) {
    this.fromStudy = fromStudy;
    this.storage = storage;
    this.changed = storage.get("keys") ?? {};
    this.enabled = storage.get("single_keys") ?? true;
  }

  of(action) {
    return this.changed[action] ?? this.fromStudy[action] ?? DEFAULTS[action] ?? [];
  }

  // What a key press asks for, or null. `ordering`: cards to order are on the screen.
  action(event, { ordering }) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return null;
    if (!this.enabled || belongsToTarget(event)) return null;
    const key = keyName(event);
    if (ordering) {
      if (/^[1-9]$/.test(key)) return `card:${key}`;
      if (ORDERING[key]) return ORDERING[key];
      if (event.shiftKey && this.of("submit").includes(key)) return "stop";
    }
    const names = Object.keys(ACTIONS).filter((name) => !(ordering && PAIR_ONLY.includes(name)));
    return names.find((name) => this.of(name).includes(key)) ?? null;
  }

  // Bind one key to an action. Returns why it is not possible, or "".
  bind(action, event) {
    const key = keyName(event);
    if (event.ctrlKey || event.metaKey || event.altKey || NEVER.includes(key)) {
      return `${symbol(key)} cannot be used here. Press another key.`;
    }
    if (ORDERING_ONLY.includes(key)) return `${symbol(key)} orders cards. Press another key.`;
    const owner = Object.keys(ACTIONS).find((name) => name !== action && this.of(name).includes(key));
    if (owner) return `${symbol(key)} already means “${ACTIONS[owner]}”. Press another key.`;
    this.changed = { ...this.changed, [action]: [key] };
    this.storage.set("keys", this.changed);
    return "";
  }

  reset() {
    this.changed = {};
    this.storage.remove("keys");
  }

  enable(enabled) {
    this.enabled = enabled;
    this.storage.set("single_keys", enabled);
  }
}
