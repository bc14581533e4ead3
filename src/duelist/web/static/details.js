// What a person may add to an answer: strength, reasons, a comment, and a better answer after "both bad".

import { hint } from "./bar.js";
import { byId, el } from "./dom.js";

const STRENGTHS = { slightly: "Slightly", clearly: "Clearly" };
const LONGEST_COMMENT = 4_000;
const LONGEST_ANSWER = 12_000; // characters; an act must stay under 64 KiB in UTF-8

export class Details {
  // onChange() is called after every change.
  constructor(bootstrap, onChange) {
    this.onChange = onChange;
    this.strength = null;
    this.root = byId("details");
    this.strengths = bootstrap.strength ? this.#strengths() : [];
    this.reasons = this.#reasons(bootstrap.reasons);
    this.comment = bootstrap.comment ? this.#comment() : null;
    this.better = byId("better-text");
    this.better.maxLength = LONGEST_ANSWER;
    this.better.addEventListener("input", () => this.#changed());
    this.#more();
    byId("better-save").addEventListener("click", () => this.#closeBetter(true));
    byId("better-cancel").addEventListener("click", () => this.#closeBetter(false));
    byId("better").addEventListener("keydown", (event) => this.#betterKey(event));
  }

  // Start a question, with what was saved about it.
  reset(saved) {
    this.#write(null);
    this.strength = saved?.strength ?? null;
    for (const box of this.reasons) box.checked = saved?.reasons?.includes(box.value) ?? false;
    if (this.comment) {
      this.comment.value = saved?.comment ?? "";
      this.#expandComment(this.comment.value !== "");
    }
    this.better.value = saved?.better ?? "";
    this.#show();
  }

  read() {
    return {
      strength: this.strength,
      reasons: this.reasons.filter((box) => box.checked).map((box) => box.value),
      comment: this.comment?.value.trim() ?? "",
      better: this.better.value.trim() || null,
    };
  }

  perform(action) {
    if (action in STRENGTHS && this.strengths.length > 0) this.#choose(action);
    else if (action === "comment" && this.comment) this.#openComment();
    else if (action === "reasons" && this.reasons.length > 0) this.#openReasons();
    else return false;
    return true;
  }

  // Ask for a better answer; `written(better)` gets the text, or null when none is given. Not called when cancelled.
  writeBetter(written) {
    this.#write(written);
    this.#show();
    this.better.focus();
  }

  #strengths() {
    const buttons = Object.entries(STRENGTHS).map(([name, label]) => {
      const attributes = { type: "button", class: "chip", "data-strength": name, onclick: () => this.#choose(name) };
      return el("button", attributes, label, hint(name));
    });
    this.root.append(el("div", { class: "set", role: "group", "aria-label": "How much better?" }, ...buttons));
    return buttons;
  }

  #reasons(names) {
    const boxes = names.map((name) => el("input", { type: "checkbox", value: name, onchange: () => this.#changed() }));
    if (boxes.length > 0) {
      const chips = boxes.map((box) => el("label", { class: "chip" }, box, box.value));
      this.root.append(
        el("fieldset", { class: "set" }, el("legend", {}, "Reasons", hint("reasons")), ...chips),
      );
    }
    return boxes;
  }

  #comment() {
    const text = el("textarea", { id: "comment", rows: "2", maxlength: LONGEST_COMMENT, "aria-label": "Comment" });
    text.hidden = true;
    text.addEventListener("input", () => this.#changed());
    text.addEventListener("keydown", (event) => {
      const done = event.key === "Escape" || (event.key === "Enter" && (event.ctrlKey || event.metaKey));
      if (!done) return;
      event.stopPropagation();
      this.#expandComment(text.value !== "");
      this.commentButton.focus();
    });
    const attributes = { type: "button", class: "chip", "aria-expanded": "false", "aria-controls": "comment" };
    this.commentButton = el("button", attributes, "Comment", hint("comment"));
    this.commentButton.addEventListener("click", () => this.#openComment());
    this.root.append(el("div", { class: "set" }, this.commentButton), text);
    return text;
  }

  // On a narrow screen, everything optional hides behind one button.
  #more() {
    this.moreButton = byId("more");
    this.moreButton.hidden = this.root.childElementCount === 0;
    this.moreButton.addEventListener("click", () => this.#expand(!this.root.classList.contains("open")));
  }

  #expand(open) {
    this.root.classList.toggle("open", open);
    this.moreButton.setAttribute("aria-expanded", String(open));
  }

  #choose(name) {
    this.strength = this.strength === name ? null : name;
    this.#changed();
  }

  #openReasons() {
    this.#expand(true);
    this.reasons[0].focus();
  }

  #openComment() {
    this.#expand(true);
    this.#expandComment(true);
    this.comment.focus();
  }

  #expandComment(open) {
    this.comment.hidden = !open;
    this.commentButton.setAttribute("aria-expanded", String(open));
  }

  #changed() {
    this.#show();
    this.onChange();
  }

  #show() {
    for (const button of this.strengths) {
      button.setAttribute("aria-pressed", String(button.dataset.strength === this.strength));
    }
    const { reasons, comment } = this.read();
    const count = reasons.length + (comment ? 1 : 0) + (this.strength ? 1 : 0);
    this.moreButton.textContent = count ? `Details (${count})` : "Add details";
    byId("better-save").textContent = this.better.value.trim() ? "Record with this answer" : "Record without an answer";
  }

  // While an answer is being written, it takes the place of the buttons.
  #write(whenWritten) {
    this.whenWritten = whenWritten;
    byId("better").closest(".bottom").classList.toggle("writing", whenWritten !== null);
  }

  #betterKey(event) {
    const empty = this.better.value.trim() === "";
    const enter = event.key === "Enter" && event.target === this.better && !event.isComposing;
    if (event.key === "Escape") this.#closeBetter(false);
    else if (enter && (event.ctrlKey || event.metaKey || (empty && !event.shiftKey))) this.#closeBetter(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #closeBetter(record) {
    const written = this.whenWritten;
    const { better } = this.read();
    this.#write(null);
    if (record) written?.(better);
    else byId("question-title").focus({ preventScroll: true });
  }
}
