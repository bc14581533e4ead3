// Small helpers to build the page. Text always enters as text; the only markup is HTML that the server has sanitised.

// el("p", {class: "note", hidden: true}, "text", element): attributes that are false, null or undefined are left out.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

// Control, invisible and bidirectional characters that can hide or reorder text. Joiners stay: emoji and some scripts
// need them.
const CONTROL = "\\u0000-\\u0008\\u000B\\u000C\\u000E-\\u001F\\u007F-\\u009F";
const INVISIBLE = "\\u00AD\\u180E\\u200B\\u2028\\u2029\\u2060-\\u2065\\uFEFF\\uFFF9-\\uFFFB";
const BIDIRECTIONAL = "\\u061C\\u200E\\u200F\\u202A-\\u202E\\u2066-\\u206F";
const HIDING = new RegExp(`[${CONTROL}${INVISIBLE}${BIDIRECTIONAL}]`, "g");

export function visible(text) {
  return text.replace(HIDING, (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

const RIGHT_TO_LEFT = /\p{Script=Arabic}|\p{Script=Hebrew}|\p{Script=Syriac}|\p{Script=Thaana}|\p{Script=Nko}/u;

// Direction of the first letter. (`dir="auto"` would skip the paragraphs, which have directions of their own.)
const directionOf = (text) => (RIGHT_TO_LEFT.test(/\p{L}/u.exec(text)?.[0] ?? "") ? "rtl" : "ltr");

// HTML that the server has sanitised, ready to be read by keyboard: wide code and tables scroll on their own.
// Its headings come at `level`, so that they fit into the page's own.
export function sanitised(html, { direction = "auto", level = 4 } = {}) {
  const text = el("div", { class: "text" });
  text.innerHTML = html;
  text.dir = direction === "auto" ? directionOf(text.textContent) : direction;
  // Every paragraph takes its own direction, whatever the language around it. (By attribute: `unicode-bidi: plaintext`
  // takes ten times as long to lay out a long text.)
  for (const block of text.querySelectorAll("p, li, h1, h2, h3, h4, h5, h6, td, th, blockquote")) block.dir = "auto";
  for (const heading of text.querySelectorAll("h1, h2, h3, h4, h5, h6")) heading.ariaLevel = String(level);
  for (const table of text.querySelectorAll("table")) {
    const wrapper = el("div", { class: "wide" });
    table.replaceWith(wrapper);
    wrapper.append(table);
  }
  for (const code of text.querySelectorAll("pre")) code.dir = code.matches(".plain") ? "auto" : "ltr";
  return text;
}

// Whatever scrolls can be focused, so that it can be read without a mouse.
export function focusScrollers(root) {
  for (const element of root.querySelectorAll(".text pre, .wide, .scrolls")) {
    const scrolls =
      element.scrollWidth > element.clientWidth + 1 ||
      (element.scrollHeight > element.clientHeight + 1 && getComputedStyle(element).overflowY !== "visible");
    if (scrolls) {
      element.tabIndex = 0;
      element.setAttribute("role", "group");
      element.setAttribute("aria-label", element.dataset.label ?? "Scrollable part");
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) element.removeAttribute(name);
    }
  }
}
