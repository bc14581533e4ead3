// A pair: two responses side by side and one key to vote.

import { compare } from "./diff.js";
import { el, sanitised, visible } from "./dom.js";

const NEARLY_EQUAL = 0.75; // shared part of the words from which the differences are offered
const LETTERS = ["A", "B"];
const SPOKEN = { tie: "Tie", both_bad: "Both bad", both_good: "Both good", skip: "Skipped" };

export class PairView {
  title = "Which response is better?";
  ordering = false;

  // host: {responses, tools, preference(name, value), say(text), answer(fields, spoken), writeBetter()}
  constructor(task, host) {
    this.task = task;
    this.host = host;
    this.diff = false;
    this.cards = task.responses.map((response, index) => this.#card(response, index));
    host.responses.className = "responses pair";
    host.responses.replaceChildren(...this.cards);
    this.#renderTools();
    this.hint = setTimeout(() => this.#offerDiff(), 0);
  }

  unmount() {
    clearTimeout(this.hint);
  }

  answers() {
    return [
      { action: "first", label: "A is better", main: true },
      { action: "tie", label: "Tie", main: true },
      { action: "second", label: "B is better", main: true },
      { action: "both_bad", label: "Both bad" },
      { action: "both_good", label: "Both good" },
      { action: "skip", label: "Skip" },
    ];
  }

  // The action that gives the same answer as an earlier act, which was undone.
  actionOf(act) {
    if (act.outcome !== "prefer") return act.outcome;
    return act.chosen === this.task.responses[0].id ? "first" : "second";
  }

  perform(action) {
    if (action === "first" || action === "second") {
      const index = action === "first" ? 0 : 1;
      const chosen = this.cards[index].dataset.response;
      this.host.answer({ outcome: "prefer", chosen }, `${LETTERS[index]} is better`);
    } else if (action === "both_bad" && this.host.mayWriteBetter) {
      this.host.writeBetter((better) => {
        this.host.answer({ outcome: "both_bad", better }, better ? "Both bad, with a better answer" : SPOKEN.both_bad);
      });
    } else if (action in SPOKEN) {
      this.host.answer({ outcome: action }, SPOKEN[action]);
    } else if (action === "diff") this.#toggleDiff();
    else if (action === "scroll_together") this.#toggleScroll();
    else return false;
    return true;
  }

  draft() {
    return null;
  }

  #card(response, index) {
    const title = `response-${index}`;
    const body = el("div", { class: "body scrolls", "data-label": `Response ${LETTERS[index]}` });
    body.append(sanitised(response.html, response));
    return el(
      "article",
      { class: "card", "data-response": response.id, "aria-labelledby": title },
      el("h3", { id: title, class: "card-title" }, "Response", el("span", { class: "badge" }, LETTERS[index])),
      body,
    );
  }

  #renderTools() {
    const apart = this.host.preference("apart") ?? false;
    document.documentElement.classList.toggle("apart", apart);
    this.host.tools([
      { action: "diff", label: this.diff ? "Hide differences" : "Show differences", pressed: this.diff },
      { action: "scroll_together", label: apart ? "Scroll together" : "Scroll apart", wideOnly: true },
    ]);
  }

  #toggleScroll() {
    const apart = !(this.host.preference("apart") ?? false);
    this.host.preference("apart", apart);
    this.#renderTools();
    this.host.layoutChanged();
    this.host.say(apart ? "The responses scroll apart." : "The responses scroll together.");
  }

  #compare() {
    const [first, second] = this.task.responses;
    this.difference ??= compare(first.text, second.text);
    return this.difference;
  }

  #offerDiff() {
    const difference = this.#compare();
    if (difference && difference.similarity >= NEARLY_EQUAL) {
      this.host.note(
        difference.similarity === 1 ? "The two texts are equal." : "The two texts are nearly equal.", "diff");
    }
  }

  #toggleDiff() {
    const difference = this.#compare();
    if (difference === null) {
      this.host.say("These texts are too long and too different to compare word by word.");
      return;
    }
    this.diff = !this.diff;
    this.cards.forEach((card, index) => {
      const response = this.task.responses[index];
      const runs = index === 0 ? difference.first : difference.second;
      const text = this.diff ? marked(runs, index) : sanitised(response.html, response);
      card.querySelector(".body").replaceChildren(text);
    });
    this.host.layoutChanged();
    this.#renderTools();
    this.host.say(this.diff ? "Differences are marked." : "Differences are hidden.");
  }
}

// The text of one response; words that the other does not have are in <del> (A) or <ins> (B).
function marked(runs, index) {
  const only = index === 0 ? "del" : "ins";
  const legend = el("p", { class: "legend" }, "Marked: ", el(only, {}, `only in ${LETTERS[index]}`));
  const text = el("div", { class: "text plain", dir: "auto" });
  text.append(...runs.map((run) => (run.changed ? el(only, {}, visible(run.text)) : visible(run.text))));
  return el("div", {}, legend, text);
}
