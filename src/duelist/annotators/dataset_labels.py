"""Labels that people gave already: looked up, never invented.

Reference: none needed.
Formula:   the recorded choice (`chosen` over `rejected`, or `label`); of votes `n_a`, `n_b`, `n_eq`, the majority of
           those who had a preference, or a tie if they were even or most called the two equal.
Cost:      none.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from duelist.annotators.base import Annotator, label_id
from duelist.data.rows import Row, RowSource, row_pair, row_prompt, row_responses
from duelist.errors import DataError
from duelist.progress import Progress
from duelist.types import OUTCOMES, Batch, Label, Outcome, Votes

Key = tuple[str, str, str]  # prompt id and the two texts, sorted
Decision = tuple[Outcome, Votes | None]
FLIPPED: dict[Outcome, Outcome] = {"a": "b", "b": "a", "tie": "tie", "skip": "skip", "both_bad": "both_bad"}


class DatasetLabelsConfig(BaseModel):
    """Settings of the `dataset_labels` annotator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        description="The data set: rows with `chosen` and `rejected`, or `response_a`, `response_b` and `label` "
        "(a, b, tie, skip, both_bad) or votes `n_a`, `n_b`, `n_eq`."
    )
    split: str = Field(default="train", description="The split, for a data set of the hub.")
    config: str | None = Field(default=None, description="The configuration, for a data set of the hub.")
    annotator: str = Field(default="dataset", description="Noted as the annotator where a row has no `annotator`.")


class DatasetLabels(Annotator):
    """Answers a pair with what the data set says of it; a pair it does not have is an error."""

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
        """The decisions by annotator; of an annotator's several decisions on one pair, the last row's counts."""
        known: dict[Key, dict[str, Decision]] = {}
        for where, row in RowSource(self.config.path, self.config.split, self.config.config):
            texts = row_pair(row, where) or row_responses(row, where)
            decision = row_decision(row, where)
            if len(texts) != 2 or decision is None:
                continue  # a row without two responses or without a decision has no label to give
            who = str(row.get("annotator") or self.config.annotator)
            key = _key(row_prompt(row, where).id, texts[0], texts[1])
            known.setdefault(key, {})[who] = decision if texts[0] == key[1] else _flipped(decision)
        return known


def _key(prompt_id: str, a: str, b: str) -> Key:
    return prompt_id, min(a, b), max(a, b)


def _flipped(decision: Decision) -> Decision:
    outcome, votes = decision
    return FLIPPED[outcome], votes and Votes(votes.n_b, votes.n_a, votes.n_eq)


def row_decision(row: Row, where: str) -> Decision | None:
    """What a row says of its two responses, and the votes behind it; None if it says nothing.

    Raises:
        DataError: if its label or votes are not usable.
    """
    if row.get("chosen") is not None:
        return "a", None  # row_pair lists chosen first
    if row.get("n_a") is not None and row.get("n_b") is not None:
        counts = [row["n_a"], row["n_b"], row.get("n_eq") or 0]
        if any(not isinstance(n, int | float) or n < 0 or n % 1 != 0 for n in counts):
            raise DataError(
                f"Votes must be counts of people, but those of {where} are n_a, n_b, n_eq = {counts}: correct them."
            )
        votes = Votes(*map(int, counts))
        if not any(counts):
            return None  # nobody voted: that is no label, and no tie either
        if votes.n_a == votes.n_b or votes.n_eq > max(votes.n_a, votes.n_b):
            return "tie", votes
        return ("a" if votes.n_a > votes.n_b else "b"), votes
    label: Any = row.get("label")
    if label is None:
        return None
    if label not in OUTCOMES:
        raise DataError(f"A label must be one of {', '.join(OUTCOMES)}, but that of {where} is {label!r}: rewrite it.")
    outcome: Outcome = label
    return outcome, None
