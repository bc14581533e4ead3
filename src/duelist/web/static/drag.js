// Dragging by mouse, pen or touch (pointer events). An element with `data-drag` is picked up; targets are elements with
// `data-drop` (another card) and the rail (`data-drop-rail`).

const THRESHOLD_PX = 6; // shorter movements are clicks
const EDGE = 0.25; // part of a rail entry's width, at each end, that means "before" or "after" instead of a tie

export class Dragging {
  // onDrop(id, target): target is {kind, id}, with kind "card" (onto a card: a tie), "before", "after", "rail" (at the
  // end) or "away" (out of the rail).
  constructor(roots, onDrop) {
    this.roots = roots;
    this.onDrop = onDrop;
    this.drag = null;
    this.controller = new AbortController();
    const { signal } = this.controller;
    for (const root of roots) {
      root.addEventListener("pointerdown", (event) => this.#press(event), { signal });
      root.addEventListener("click", (event) => this.#click(event), { signal, capture: true });
    }
    // Otherwise a browser takes the end of a quick drag for the start of a fling, and swallows the tap that follows.
    const still = (event) => this.drag && event.preventDefault();
    document.addEventListener("touchmove", still, { signal, passive: false });
    document.addEventListener("pointermove", (event) => this.#follow(event), { signal });
    document.addEventListener("pointerup", (event) => this.#release(event), { signal });
    document.addEventListener("pointercancel", () => this.#end(), { signal });
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.#end(), { signal });
  }

  stop() {
    this.#end();
    this.controller.abort();
  }

  #press(event) {
    const source = event.target.closest("[data-drag]");
    if (!source || event.button !== 0 || !event.isPrimary) return;
    this.dropped = false;
    this.drag = { source, pointer: event.pointerId, x: event.clientX, y: event.clientY, ghost: null, over: null };
  }

  #follow(event) {
    const { drag } = this;
    if (!drag || event.pointerId !== drag.pointer) return;
    if (event.buttons === 0) {
      this.#end(); // released outside the window
      return;
    }
    const moved = Math.hypot(event.clientX - drag.x, event.clientY - drag.y);
    if (!drag.ghost && moved < THRESHOLD_PX) return;
    if (!drag.ghost) this.#begin();
    drag.ghost.style.translate = `${event.clientX}px ${event.clientY}px`;
    this.#mark(this.#target(event));
    const edge = 48;
    if (event.clientY < edge) window.scrollBy(0, -12);
    else if (event.clientY > window.innerHeight - edge && !drag.over) window.scrollBy(0, 12);
  }

  #begin() {
    const { drag } = this;
    drag.ghost = drag.source.cloneNode(true);
    for (const name of ["id", "data-drag", "data-drop"]) drag.ghost.removeAttribute(name);
    drag.ghost.setAttribute("aria-hidden", "true");
    drag.ghost.classList.add("ghost");
    document.body.append(drag.ghost);
    document.documentElement.classList.add("dragging");
    getSelection().removeAllRanges();
  }

  #target(event) {
    const { drag } = this;
    const under = document.elementFromPoint(event.clientX, event.clientY);
    const rail = under?.closest("[data-drop-rail]") ?? null;
    const card = under?.closest("[data-drop]") ?? null;
    const id = card?.dataset.drop;
    if (card && id !== drag.source.dataset.drag) {
      if (!rail) return { kind: "card", id, element: card };
      const box = card.getBoundingClientRect();
      const along = (event.clientX - box.left) / box.width;
      const kind = along < EDGE ? "before" : along > 1 - EDGE ? "after" : "card";
      return { kind, id, element: card };
    }
    if (rail) return card ? null : this.#between(rail, event);
    return drag.source.closest("[data-drop-rail]") ? { kind: "away", element: null } : null;
  }

  // Between the entries of the rail: before the first entry that lies to the right, else at the end.
  #between(rail, event) {
    const entries = [...rail.querySelectorAll("[data-drop]")];
    const next = entries.find((entry) => event.clientX < entry.getBoundingClientRect().left);
    return next ? { kind: "before", id: next.dataset.drop, element: next } : { kind: "rail", element: rail };
  }

  #mark(target) {
    this.drag.over?.element?.removeAttribute("data-over");
    this.drag.over = target;
    target?.element?.setAttribute("data-over", target.kind);
  }

  #release(event) {
    const { drag } = this;
    if (!drag || event.pointerId !== drag.pointer) return;
    const target = drag.ghost ? this.#target(event) : null;
    this.dropped = drag.ghost !== null;
    setTimeout(() => (this.dropped = false), 0); // the click, if there is one, comes before
    const id = drag.source.dataset.drag;
    this.#end();
    if (target) this.onDrop(id, target);
  }

  // The click that follows a drag is not a click on the card's button.
  #click(event) {
    if (!this.dropped) return;
    this.dropped = false;
    event.stopPropagation();
    event.preventDefault();
  }

  #end() {
    if (!this.drag) return;
    this.#mark(null);
    this.drag.ghost?.remove();
    this.drag = null;
    document.documentElement.classList.remove("dragging");
  }
}
