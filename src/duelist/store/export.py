"""Export of the recorded preferences, in formats that other tools read."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise, permutations
from typing import Any, Literal

import numpy as np

from duelist.answers import REST
from duelist.errors import DataError
from duelist.store.decisions import question_of, written_answers
from duelist.store.row_codecs import DRAWN, UNDONE, AskedQuestion
from duelist.store.store import Store
from duelist.types import Answer, Decision, Label, Preference, Prompt, RankedSet, Retraction

ImpliedPairs = Literal["all", "adjacent"]
_FORMULA = re.compile(r"[=+\-@\t\r]|'[=+\-@\t\r']")  # or what an apostrophe in front would make look like one


def trl_rows(store: Store, implied: ImpliedPairs = "all") -> Iterator[dict[str, Any]]:
    """Return rows in TRL's preference format (`prompt`, `chosen`, `rejected`), one per label that is a preference.

    Rows are sorted by question and annotator. Conversational prompts give lists of messages, plain ones text. An answer
    to a larger question gives a row for each pair of responses of which it says that one is better, with a `weight`
    (`implied_pairs`) and the `question_id`.

    Args:
        store: the record.
        implied: which pairs of a ranking to give.

    Raises:
        DataError: if a pair's responses answer two prompts, which TRL's format cannot represent.
    """
    return map(require_one_prompt, preference_rows(store, implied))


def require_one_prompt(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of `preference_rows` that TRL's format can represent.

    Raises:
        DataError: if its responses answer two prompts.
    """
    if "prompt" not in row:
        raise DataError(
            "TRL's format has one prompt for both responses, but this study's pairs cross prompts: export them with "
            "`--format jsonl`."
        )
    return row


def preference_rows(store: Store, implied: ImpliedPairs = "all") -> Iterator[dict[str, Any]]:
    """Yield the rows of `trl_rows`; cross-prompt pairs have `prompt_chosen` and `prompt_rejected` for `prompt`."""
    prompts = store.prompts()
    decisions = store.decisions()
    written = list(written_rows(store, prompts))
    # One answer gives several rows: they name its question, so that the answers can be counted.
    weighted = bool(written) or any(isinstance(x, RankedSet) for x in decisions)
    for decision in decisions:
        for row, weight in decision_rows(decision, prompts, implied):
            yield {**row, "weight": weight, "question_id": decided_question(decision)} if weighted else row
    for label, row in written:
        yield {**row, "weight": 1.0, "question_id": label.pair_id}


def written_rows(store: Store, prompts: Mapping[str, Prompt]) -> Iterator[tuple[Label, dict[str, Any]]]:
    """Yield the preferences for the better answers that people wrote, each with its label."""
    pairs = {x.question.id: x.question for x in store.asked()}
    for label, place in written_answers(store.current_answers(), pairs):
        bad = pairs[label.pair_id].responses[place]
        prompt = prompts[bad.prompt_id]
        better = label.better if prompt.plain else [{"role": "assistant", "content": label.better}]
        yield label, {"prompt": prompt.as_trl(), "chosen": better, "rejected": bad.as_trl(prompt)}


def decided_question(decision: Decision) -> str:
    """Return the id of the question that was decided."""
    return decision.pair_id if isinstance(decision, Preference) else decision.question_id


def decision_rows(
    decision: Decision, prompts: Mapping[str, Prompt], implied: ImpliedPairs
) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield the rows in TRL's format that a decision makes, each with its weight among the decision's own."""
    if isinstance(decision, Preference):
        yield _preference_row(decision, prompts), 1.0
        return
    prompt, responses = decision.prompt, decision.responses
    for chosen, rejected, weight in implied_pairs(decision, implied):
        texts = {"chosen": responses[chosen].as_trl(prompt), "rejected": responses[rejected].as_trl(prompt)}
        yield {"prompt": prompt.as_trl(), **texts}, weight


def _preference_row(p: Preference, prompts: Mapping[str, Prompt]) -> dict[str, Any]:
    own, other = p.prompt, prompts[p.rejected.prompt_id]
    asked = (
        {"prompt": own.as_trl()}
        if own.id == other.id
        else {"prompt_chosen": own.as_trl(), "prompt_rejected": other.as_trl()}
    )
    return {**asked, "chosen": p.chosen.as_trl(own), "rejected": p.rejected.as_trl(other)}


def implied_pairs(decision: RankedSet, implied: ImpliedPairs = "all") -> list[tuple[int, int, float]]:
    """Return (place of the better response, place of the worse one, weight) for the pairs that an answer implies.

    A loss over pairs counts an answer's pairs as independent, which they are not. With `all` pairs of a complete
    ranking of k, the weight that keeps the ranking's information at equal rewards is

        4 / (k (k − 1)) · Σ_{n=2..k} (n − 1) / n      (0.778 for k = 3, 0.639 for k = 4),

    and of a partial one, of one with ties, of the best, or of the best and the worst of k, the ratio of the two traces
    of information. An answer that leaves an order open has the likelihood of all orders that agree with it.
    With `adjacent`, only neighbours in the ranking make pairs, with weight 1. A reward fitted to these is too small:
    responses that became neighbours were often ordered by noise (benchmarks/ranking_export.py).
    No pair is made of two responses that were called equal, or that were not ordered.
    """
    ranks = decision.ranks
    better = [(i, j) for i, j in permutations(range(len(ranks)), 2) if ranks[i] < ranks[j]]
    if implied == "adjacent":
        next_rank = dict(pairwise(sorted(set(ranks))))
        return [(i, j, 1.0) for i, j in better if next_rank.get(ranks[i]) == ranks[j]]
    return [(i, j, _information(decision) / (0.5 * len(better))) for i, j in better]


def _information(decision: RankedSet) -> float:
    """Return the trace of the answer's information matrix over the responses, at equal rewards; of a pair, 1/2."""
    k, ranks = len(decision.ranks), decision.ranks
    if decision.asks == "best_worst":
        # Var of (indicator of the best − indicator of the worst), uniform over ordered pairs: trace 2, mean 0.
        return 2.0
    left, trace = k, 0.0
    for rank in sorted(set(ranks)):
        group = ranks.count(rank)
        if rank == REST or left == group:
            break
        # A stage with n responses left has the covariance of a uniform choice: trace (n − 1)/n. The likelihood of a tie
        # is the sum over its orders, so the variance of the scores among them is lost: that of Σ 1/n up to a place.
        left_X = np.arange(left, left - group, -1)
        trace += float((1 - 1 / left_X).sum() - group * np.cumsum(1 / left_X).var())
        left -= group
    return trace


def label_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yield every asked question with all its answers: ties, skips, superseded and retracted ones too."""
    prompts = store.prompts()
    by_question: dict[str, list[dict[str, Any]]] = {}
    for act in store.acts():
        by_question.setdefault(question_of(act), []).append(act_row(act))
    for x in store.asked():
        selected = {"round": x.round, "position": x.position, "score": x.score, "score_unit": x.unit}
        selected |= {name: value for name in DRAWN if (value := getattr(x, name)) is not None}  # what is known of it
        answers = by_question.get(x.question.id, [])
        yield _pair_row(x, selected, prompts, answers) if x.question.k == 2 else _set_row(x, selected, prompts, answers)


CSV_COLUMNS = (
    "question_id", "asks", "round", "position", "annotator", "outcome", "ranking", "best", "worst", "stopped", "shown",
    "seconds", "time", "n_a", "n_b", "n_eq", "better", "adjudicates", "advisory", "id", "replaces", "retracts",
    "judgement", "prompt", "responses", "inclusion", "control", "propensity", "candidates_left",
)  # fmt: skip


def csv_text(store: Store) -> str:
    """Return every act on every asked question as CSV, one line each; a question without an answer has one line too.

    Texts, lists of responses and rankings are JSON within their cells. A cell that a spreadsheet would take for a
    formula begins with an apostrophe.
    """
    target = io.StringIO()
    writer = csv.DictWriter(target, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in label_rows(store):
        pair = "pair_id" in row
        responses = [row["response_a"], row["response_b"]] if pair else row["responses"]
        same = {
            "question_id": row["pair_id" if pair else "question_id"],
            "asks": "pair" if pair else row["asks"],
            "round": row["round"],
            "position": row["position"],
            **{name: row.get(name) for name in DRAWN},
            "prompt": json.dumps(row["prompt"], ensure_ascii=False),
            "responses": json.dumps(responses, ensure_ascii=False),
        }
        for act in row["labels" if pair else "answers"] or [{}]:
            cells = {**same, **act, **(act.get("votes") or {})}
            writer.writerow({name: _cell(cells.get(name)) for name in CSV_COLUMNS})
    return target.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def act_row(answer: Label | Answer | Retraction) -> dict[str, Any]:
    """Return an act as plain data, without its question."""
    if isinstance(answer, Retraction):
        taken_back = {"outcome": UNDONE, "retracts": answer.retracts}
        return {"id": answer.id, "annotator": answer.annotator, **taken_back}
    same = {name: getattr(answer, name) for name in ("id", "annotator", "outcome", "seconds", "shown", "time")}
    if isinstance(answer, Label):
        own = {name: value for name in ("better", "adjudicates", "advisory") if (value := getattr(answer, name))}
        if answer.judgement is not None:
            own["judgement"] = answer.judgement.as_json()
        return {**same, "votes": None if answer.votes is None else vars(answer.votes), **own}
    ranking = [list(group) for group in answer.groups]
    shown = None if answer.shown is None else list(answer.shown)
    given = {name: getattr(answer, name) for name in ("best", "worst", "stopped", "replaces")}
    adjudicates = {"adjudicates": True} if answer.adjudicates else {}
    return {**same, "shown": shown, "ranking": ranking, **given, **adjudicates}


def _pair_row(
    x: AskedQuestion, selected: dict[str, Any], prompts: Mapping[str, Prompt], labels: list[dict[str, Any]]
) -> dict[str, Any]:
    pair = x.question
    prompt, other = prompts[pair.a.prompt_id], prompts[pair.b.prompt_id]
    return {
        "pair_id": pair.id,
        **selected,
        "margin": x.margin,
        "weight": pair.weight,
        "prompt": prompt.as_trl(),
        **({} if other.id == prompt.id else {"prompt_b": other.as_trl()}),  # a pair that crosses prompts
        "response_a": pair.a.text,
        "response_b": pair.b.text,
        "labels": labels,
    }


def _set_row(
    x: AskedQuestion, selected: dict[str, Any], prompts: Mapping[str, Prompt], answers: list[dict[str, Any]]
) -> dict[str, Any]:
    responses, rewards = x.question.responses, x.rewards or (None,) * x.question.k
    return {
        "question_id": x.question.id,
        "asks": x.question.asks,
        **selected,
        "weight": x.question.weight,
        "prompt": prompts[responses[0].prompt_id].as_trl(),
        "responses": [{"id": r.id, "text": r.text, "reward": v} for r, v in zip(responses, rewards, strict=True)],
        "answers": answers,
    }
