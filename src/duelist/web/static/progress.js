// Progress of the batch, the person's own count and pace, and what is left of the budget.

import { byId } from "./dom.js";

export function showProgress(progress) {
  const { batch, batch_done: done, mine, budget_left: left, round, rounds, seconds_median: pace } = progress;
  const bar = byId("batch");
  bar.max = Math.max(1, batch);
  bar.value = done;
  bar.textContent = `${done} of ${batch}`;
  byId("batch-text").textContent = `${done} of ${batch}`;
  byId("round").textContent = rounds ? `Round ${round} of ${rounds}` : `Round ${round}`;
  byId("mine").textContent = String(mine);
  byId("budget").textContent = String(left);
  byId("pace").textContent = duration(pace);
}

function duration(seconds) {
  if (seconds === null) return "–";
  return seconds < 100 ? `${Math.round(seconds)} s` : `${(seconds / 60).toFixed(1)} min`;
}
