"""Existing labels from a data set: looked up, never generated.

Reference: none needed.
Formula:   the recorded label (`chosen` over `rejected`, or `label`); for votes `n_a`, `n_b`, `n_eq`, the majority of
           the votes with a preference, or a tie if they are even or `n_eq` exceeds both. For larger questions: the
           row's `ranking` of its `responses`, or the decisions on all pairs of them; if these contradict one another,
           the answer is `skip`.
Cost:      none.
"""

from __future__ import annotations

from functools import partial

from pydantic import BaseModel, ConfigDict, Field

from duelist.annotators.base import Annotator, label_id
from duelist.annotators.recorded_decisions import RecordedDecisions, TextGroups
from duelist.data.rows import row_decision, row_pair, row_prompt, row_ranking, row_responses
from duelist.data.sources import RowSource
from duelist.errors import DataError
from duelist.progress import Progress
from duelist.types import Answer, Batch, Label, Question


class DatasetLabelsConfig(BaseModel):
    """Settings of the `dataset_labels` annotator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        description="The data set: rows with `chosen` and `rejected`, or `response_a`, `response_b` and `label` "
        "(a, b, tie, skip, both_bad, both_good) or votes `n_a`, `n_b`, `n_eq`; or a list `responses` and `ranking`, "
        "their positions from 0, best first."
    )
    split: str = Field(default="train", description="The split, for a data set on the Hugging Face Hub.")
    config: str | None = Field(default=None, description="The configuration, for a data set on the Hugging Face Hub.")
    annotator: str = Field(default="dataset", description="Annotator to record for rows without an `annotator`.")


class DatasetLabels(Annotator):
    """Labels and answers from a data set's rows; a question without a decision in the data set is an error."""

    def __init__(self, config: DatasetLabelsConfig) -> None:
        self.config = config
        self._known: RecordedDecisions | None = None

    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label | Answer]:
        if self._known is None:
            self._known = self._read()
        found: list[Label | Answer] = []
        with progress.stage("Looking labels up", len(batch.questions)) as advance:
            for question in batch.questions:
                of_one = _labels if question.k == 2 else _answers
                own = of_one(question, self._known, seed)
                if not own:
                    raise self._no_decision(question)
                found += own
                advance(1)
        return found

    def _no_decision(self, question: Question) -> DataError:
        texts = " against ".join(repr(r.text[:40]) for r in question.responses)
        if question.k > 2:
            return DataError(
                f"Every question that is asked must have a decision in {self.config.path}, but question {question.id} "
                f"({texts}) has neither a `ranking` there nor a label for each of its pairs: give it one, or use "
                "another annotator."
            )
        return DataError(
            f"Every pair that is asked must have a label in {self.config.path}, but pair {question.id} ({texts}) has "
            "none there (votes that are all 0 are none): give its row one, `label: skip` in place of the votes if "
            "nobody has decided; use sampler `dataset` with pairing `as_given` on the same file; or use another "
            "annotator."
        )

    def _read(self) -> RecordedDecisions:
        known = RecordedDecisions()
        for where, row in RowSource(self.config.path, self.config.split, self.config.config):
            who = str(row.get("annotator") or self.config.annotator)
            ranked = row_ranking(row, where)
            if ranked is not None:
                known.add_ranking(row_prompt(row, where).id, ranked[0], who, ranked[1])
            texts = row_pair(row, where) or row_responses(row, where)
            decision = row_decision(row, where)
            if len(texts) == 2 and decision is not None:  # another row has no label
                known.add_pair(row_prompt(row, where).id, texts, who, decision)
        return known


def _labels(pair: Question, known: RecordedDecisions, seed: int) -> list[Label | Answer]:
    decisions = known.of_pair(pair.a.prompt_id, pair.a.text, pair.b.text)
    return [
        Label(pair.id, who, outcome, id=label_id(seed, pair, who), votes=votes)
        for who, (outcome, votes) in decisions.items()
    ]


def _answers(question: Question, known: RecordedDecisions, seed: int) -> list[Label | Answer]:
    texts = [r.text for r in question.responses]
    rankings = known.of_set(question.responses[0].prompt_id, texts)
    return [_answer(question, who, rankings[who], seed) for who in sorted(rankings)]


def _answer(question: Question, who: str, ranking: TextGroups | None, seed: int) -> Answer:
    id_of = {r.text: r.id for r in question.responses}
    answer = partial(Answer, question.id, who, id=label_id(seed, question, who))
    groups = [tuple(id_of[t] for t in group) for group in ranking or []]
    left_out = set(id_of.values()).difference(*groups)
    if groups and len(left_out) == 1:  # below all others
        groups.append(tuple(left_out))
    named = sum(map(len, groups))
    one_best = bool(groups) and len(groups[0]) == 1
    # A ranking that leaves several responses out does not say which is the worst.
    one_worst = len(groups) > 1 and len(groups[-1]) == 1 and named == question.k
    if groups and question.asks == "ranking":
        return answer(ranking=groups, stopped=named < question.k)
    if one_best and question.asks == "best_of_k":
        return answer(best=groups[0][0])
    if one_best and one_worst and question.asks == "best_worst":
        return answer(best=groups[0][0], worst=groups[-1][0])
    return answer(outcome="skip")  # the data set does not say what is asked
