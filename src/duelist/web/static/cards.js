// Cards to order: rankings, best and worst, and the best of k. The cards keep their displayed places; the rail below
// shows the order that a person gives them.

import { el, sanitised, visible } from "./dom.js";
import { Dragging } from "./drag.js";
import { Order } from "./order.js";

const SPOKEN = { all_bad: "All bad", all_good: "All good", skip: "Skipped" };
const OUTCOME = { both_bad: "all_bad", both_good: "all_good", skip: "skip" };

const KINDS = {
  ranking: { title: "Order the responses from best to worst", limit: undefined, ties: true },
  best_worst: { title: "Choose the best response, then the worst", limit: 2, ties: false },
  best_of_k: { title: "Choose the best response", limit: 1, ties: false },
};

const ordinal = (n) => `${n}${{ 1: "st", 2: "nd", 3: "rd" }[n] ?? "th"}`;

export class CardsView {
  ordering = true;

  // host: {responses, rail, tools, say(text), answer(fields, spoken), seconds(), changed(), refresh()}; draft: an
  // order that was saved.
  constructor(task, host, draft) {
    this.task = task;
    this.host = host;
    this.kind = task.asks;
    this.title = KINDS[this.kind].title;
    const ids = task.responses.map((response) => response.id);
    this.number = new Map(ids.map((id, index) => [id, index + 1]));
    this.order = new Order(ids, KINDS[this.kind]);
    this.order.restore(draft);
    this.cards = task.responses.map((response, index) => this.#card(response, index));
    host.responses.className = `responses cards of-${ids.length}`;
    host.responses.replaceChildren(...this.cards);
    document.documentElement.classList.remove("apart");
    host.tools([]);
    host.rail.hidden = false;
    this.dragging = new Dragging([host.responses, host.rail], (id, target) => this.#drop(id, target));
    this.#refresh();
  }

  unmount() {
    this.dragging.stop();
    this.host.rail.hidden = true;
    this.host.rail.replaceChildren();
  }

  answers() {
    const ranking = this.kind === "ranking";
    return [
      { action: "submit", label: ranking ? "Submit order" : "Submit", main: true, weak: !this.order.complete },
      ...(ranking ? [{ action: "stop", label: "Stop here", main: true, keys: ["⇧↵"], weak: true }] : []),
      ...(ranking ? [{ action: "tie_next", label: "Tie next", keys: ["="], pressed: this.order.tieNext }] : []),
      { action: "take_back", label: "Take back", keys: ["⌫"] },
      { action: "both_bad", label: "All bad" },
      { action: "both_good", label: "All good" },
      { action: "skip", label: "Skip" },
    ];
  }

  actionOf(act) {
    const whole = { all_bad: "both_bad", all_good: "both_good", skip: "skip" };
    return whole[act.outcome] ?? (act.stopped ? "stop" : "submit");
  }

  // Show the order of an earlier act, which was undone.
  restore(act) {
    const groups = act.ranking ?? [act.best, act.worst].filter(Boolean).map((id) => [id]);
    if (act.outcome === "ranked") this.order.restore({ groups, placed: act.placed });
    this.#refresh();
  }

  perform(action) {
    if (action.startsWith("card:")) this.#place(this.task.responses[Number(action.slice(5)) - 1]?.id);
    else if (action === "take_back") this.#takeBack();
    else if (action === "tie_next") this.#tieNext();
    else if (action === "earlier" || action === "later") this.#move(action === "earlier" ? -1 : 1);
    else if (action === "submit") this.#submit(false);
    else if (action === "stop") this.#submit(this.kind === "ranking");
    else if (action in OUTCOME) this.host.answer({ outcome: OUTCOME[action] }, SPOKEN[OUTCOME[action]]);
    else return false;
    return true;
  }

  draft() {
    return this.order.toJSON();
  }

  #card(response, index) {
    const title = `response-${index}`;
    const body = el("div", { class: "body" });
    body.append(sanitised(response.html, response));
    const placed = el("button", { type: "button", class: "place", onclick: () => this.#toggle(response.id) });
    const heading = el(
      "h3",
      { id: title, class: "card-title", "data-drag": response.id },
      el("span", { class: "grip", "aria-hidden": "true" }),
      "Response",
      el("span", { class: "badge" }, String(index + 1)),
    );
    return el(
      "article",
      { class: "card", "data-response": response.id, "data-drop": response.id, "aria-labelledby": title },
      el("div", { class: "card-head" }, heading, placed),
      body,
    );
  }

  #name(id) {
    return `Response ${this.number.get(id)}`;
  }

  // Where a card is, or would be placed next, in words.
  #placeName(place) {
    if (this.kind === "ranking") return ordinal(place);
    return place === 1 ? "Best" : "Worst";
  }

  #described(id) {
    const place = this.#placeName(this.order.place(id));
    const tied = this.order.tiedWith(id).map((other) => this.number.get(other));
    return `${this.#name(id)} is ${place.toLowerCase()}${tied.length ? `, tied with ${tied.join(" and ")}` : ""}.`;
  }

  #place(id) {
    if (id === undefined) return;
    if (this.order.has(id)) this.host.say(this.#described(id));
    else if (this.order.append(id, this.host.seconds())) this.#changed(this.#described(id));
    else this.host.say("All places are taken. Take a card back first.");
  }

  #toggle(id) {
    if (!this.order.has(id)) this.#place(id);
    else if (this.order.remove(id)) this.#changed(`${this.#name(id)} is taken out.`);
  }

  #takeBack() {
    const id = this.order.takeBack();
    if (id) this.#changed(`${this.#name(id)} is taken out.`);
    else this.host.say("No card is placed.");
  }

  #tieNext() {
    const on = this.order.toggleTie();
    const last = this.order.placed.at(-1);
    this.#changed(on ? `The next card ties with ${this.#name(last.id).toLowerCase()}.` : "The next card does not tie.");
  }

  // The card of the focused entry of the rail, or the one placed last.
  #move(step) {
    const focused = document.activeElement?.closest?.(".entry")?.dataset.drag;
    const id = focused ?? this.order.placed.at(-1)?.id;
    if (id && this.order.move(id, step)) this.#changed(this.#described(id), focused);
  }

  #drop(id, target) {
    const seconds = this.host.seconds();
    let done = false;
    if (target.kind === "card" && this.order.ties) done = this.order.tie(id, target.id, seconds);
    else if (target.kind === "card") done = this.order.insert(id, this.order.groups.length, seconds);
    else if (target.kind === "before") done = this.order.insert(id, this.#groupIndex(target.id), seconds);
    else if (target.kind === "after") done = this.order.insert(id, this.#groupIndex(target.id) + 1, seconds);
    else if (target.kind === "rail") done = this.order.insert(id, this.order.groups.length, seconds);
    else if (target.kind === "away") done = this.order.remove(id);
    if (!done) return;
    this.#changed(this.order.has(id) ? this.#described(id) : `${this.#name(id)} is taken out.`);
  }

  #groupIndex(id) {
    return this.order.groups.findIndex((group) => group.includes(id));
  }

  #changed(spoken, focused) {
    this.#refresh();
    this.host.changed();
    this.host.say(spoken);
    if (focused) this.host.rail.querySelector(`[data-drag="${CSS.escape(focused)}"]`)?.focus();
  }

  #refresh() {
    for (const card of this.cards) this.#refreshCard(card, card.dataset.response);
    this.#refreshRail();
    this.host.refresh();
  }

  #refreshCard(card, id) {
    const button = card.querySelector(".place");
    const place = this.order.place(id);
    card.classList.toggle("placed", place !== null);
    const tied = this.order.tiedWith(id).length > 0;
    if (place === null) {
      const next = 1 + this.order.placed.length;
      const placing = this.order.tieNext ? "Tie" : `Place ${this.#placeName(next).toLowerCase()}`;
      button.replaceChildren(
        this.order.complete ? "No place left" : placing,
        el("kbd", { "aria-hidden": "true" }, String(this.number.get(id))),
      );
      button.setAttribute("aria-label", `Place ${this.#name(id).toLowerCase()} next`);
    } else {
      button.replaceChildren(el("strong", {}, `${tied ? "= " : ""}${this.#placeName(place)}`), " take out");
      button.setAttribute("aria-label", `${this.#described(id)} Take it out`);
    }
    button.disabled = place === null && this.order.complete;
    button.setAttribute("aria-pressed", String(place !== null));
  }

  #refreshRail() {
    const list = el("ol", { class: "places", "aria-label": "Your order" });
    let place = 1;
    for (const group of this.order.groups) {
      const entries = group.map((id) => this.#entry(id));
      list.append(el("li", { class: "group" }, el("span", { class: "rank" }, this.#placeName(place)), ...entries));
      place += group.length;
    }
    for (let free = place; free <= this.order.limit; free += 1) {
      list.append(el("li", { class: "free" }, el("span", { class: "rank" }, this.#placeName(free))));
    }
    this.host.rail.replaceChildren(list);
    this.host.rail.dataset.dropRail = "";
  }

  #entry(id) {
    const response = this.task.responses[this.number.get(id) - 1];
    return el(
      "button",
      {
        type: "button",
        class: "entry",
        "data-drag": id,
        "data-drop": id,
        "aria-label": `${this.#described(id)} Arrow keys move it, backspace takes it out`,
        onkeydown: (event) => {
          if (event.key !== "Backspace" && event.key !== "Delete") return;
          event.stopPropagation();
          this.#toggle(id);
        },
      },
      el("span", { class: "badge" }, String(this.number.get(id))),
      el("span", { class: "snippet", dir: "auto" }, visible(response.text.slice(0, 80))),
    );
  }

  #submit(stopped) {
    const { order, host } = this;
    const left = order.limit - order.placed.length;
    if (left > 0 && (!stopped || order.placed.length === 0)) {
      const stop = this.kind === "ranking" && order.placed.length > 0 ? " Or stop here with Shift and Enter." : "";
      host.say(`${left === 1 ? "1 card is" : `${left} cards are`} not placed yet.${stop}`);
      return;
    }
    const best = order.groups[0][0];
    if (this.kind === "ranking") {
      host.answer({ outcome: "ranked", ranking: order.toJSON().groups, stopped: left > 0 }, this.#spokenOrder());
    } else if (this.kind === "best_worst") {
      host.answer({ outcome: "ranked", best, worst: order.groups[1][0] }, this.#spokenOrder());
    } else host.answer({ outcome: "ranked", best }, this.#spokenOrder());
  }

  #spokenOrder() {
    const numbers = this.order.groups.map((group) => group.map((id) => this.number.get(id)).join(" = "));
    if (this.kind === "ranking") return `Order ${numbers.join(", ")}`;
    return this.kind === "best_worst" ? `Best ${numbers[0]}, worst ${numbers[1]}` : `Best ${numbers[0]}`;
  }
}
