"""Existing labels from a data set: looked up, never generated.

Reference: none needed.
Formula:   the recorded label (`chosen` over `rejected`, or `label`); for votes `n_a`, `n_b`, `n_eq`, the majority of
           the votes with a preference, or a tie if they are even or `n_eq` exceeds both.
Cost:      none.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from duelist.annotators.base import Annotator, label_id
from duelist.data.rows import Decision, row_decision, row_pair, row_prompt, row_responses
from duelist.data.sources import RowSource
from duelist.errors import DataError
from duelist.progress import Progress
from duelist.types import Batch, Label, Outcome, Votes

Key = tuple[str, str, str]  # prompt id and the two texts, sorted
FLIPPED: dict[Outcome, Outcome] = {"a": "b", "b": "a", "tie": "tie", "skip": "skip", "both_bad": "both_bad"}


class DatasetLabelsConfig(BaseModel):
    """Settings of the `dataset_labels` annotator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        description="The data set: rows with `chosen` and `rejected`, or `response_a`, `response_b` and `label` "
        "(a, b, tie, skip, both_bad) or votes `n_a`, `n_b`, `n_eq`."
    )
    split: str = Field(default="train", description="The split, for a data set on the Hugging Face Hub.")
    config: str | None = Field(default=None, description="The configuration, for a data set on the Hugging Face Hub.")
    annotator: str = Field(default="dataset", description="Annotator to record for rows without an `annotator`.")


class DatasetLabels(Annotator):
    """Labels from a data set's rows; a pair without a label in the data set is an error."""

    def __init__(self, config: DatasetLabelsConfig) -> None:
        self.config = config
        self._known: dict[Key, dict[str, Decision]] | None = None

    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label]:
        if self._known is None:
            self._known = self._read()
        labels: list[Label] = []
        with progress.stage("Looking labels up", len(batch.pairs)) as advance:
            for pair in batch.pairs:
                key = _key(pair.a.prompt_id, pair.a.text, pair.b.text)
                decisions = self._known.get(key, {})
                if not decisions:
                    raise DataError(
                        f"Every pair that is asked must have a label in {self.config.path}, but pair {pair.id} "
                        f"({pair.a.text[:40]!r} against {pair.b.text[:40]!r}) has none there (votes that are all 0 are "
                        "none): give its row one, `label: skip` in place of the votes if nobody has decided; use "
                        "sampler `dataset` with pairing `as_given` on the same file; or use another annotator."
                    )
                for who, decision in decisions.items():
                    outcome, votes = decision if pair.a.text == key[1] else _flipped(decision)
                    labels.append(Label(pair.id, who, outcome, id=label_id(seed, pair, who), votes=votes))
                advance(1)
        return labels

    def _read(self) -> dict[Key, dict[str, Decision]]:
        """Return the decisions by annotator; if an annotator decided a pair several times, the last row counts."""
        known: dict[Key, dict[str, Decision]] = {}
        for where, row in RowSource(self.config.path, self.config.split, self.config.config):
            texts = row_pair(row, where) or row_responses(row, where)
            decision = row_decision(row, where)
            if len(texts) != 2 or decision is None:
                continue  # a row without two responses or without a decision has no label
            who = str(row.get("annotator") or self.config.annotator)
            key = _key(row_prompt(row, where).id, texts[0], texts[1])
            known.setdefault(key, {})[who] = decision if texts[0] == key[1] else _flipped(decision)
        return known


def _key(prompt_id: str, a: str, b: str) -> Key:
    return prompt_id, min(a, b), max(a, b)


def _flipped(decision: Decision) -> Decision:
    outcome, votes = decision
    return FLIPPED[outcome], votes and Votes(votes.n_b, votes.n_a, votes.n_eq)
