"""Labels that people gave already: looked up, never invented.

Reference: none needed.
Formula:   the recorded choice (`chosen` over `rejected`, or `label`); of votes `n_a`, `n_b`, `n_eq`, the majority of
           those who had a preference, or a tie if they were even or most called the two equal.
Cost:      none.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from duelist.annotators.base import Annotator
from duelist.errors import DataError
from duelist.progress import Progress
from duelist.rows import Row, RowSource, row_prompt, row_responses
from duelist.types import OUTCOMES, Batch, Label, Outcome, Votes

Key = tuple[str, str, str]  # prompt id, text a, text b
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
        self._known: dict[Key, list[tuple[str, Outcome, Votes | None]]] | None = None

    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label]:
        if self._known is None:
            self._known = self._read()
        labels: list[Label] = []
        with progress.stage("Looking labels up", len(batch.pairs)) as advance:
            for pair in batch.pairs:
                as_is = self._known.get((pair.a.prompt_id, pair.a.text, pair.b.text), [])
                flipped = self._known.get((pair.a.prompt_id, pair.b.text, pair.a.text), [])
                if not as_is and not flipped:
                    raise DataError(
                        f"Every pair that is asked must have a label in {self.config.path}, but pair {pair.id} "
                        f"({pair.a.text[:40]!r} against {pair.b.text[:40]!r}) has none: use sampler `dataset` with "
                        "pairing `as_given` on the same file, or another annotator."
                    )
                labels += [Label(pair.id, who, outcome, votes=votes) for who, outcome, votes in as_is]
                labels += [
                    Label(pair.id, who, FLIPPED[outcome], votes=votes and Votes(votes.n_b, votes.n_a, votes.n_eq))
                    for who, outcome, votes in flipped
                ]
                advance(1)
        return labels

    def _read(self) -> dict[Key, list[tuple[str, Outcome, Votes | None]]]:
        known: dict[Key, list[tuple[str, Outcome, Votes | None]]] = {}
        for where, row in RowSource(self.config.path, self.config.split, self.config.config):
            texts = row_responses(row, where)
            decision = _decision(row, where)
            if len(texts) != 2 or decision is None:
                continue  # a row without two responses or without a decision has no label to give
            who = str(row.get("annotator") or self.config.annotator)
            entry = known.setdefault((row_prompt(row, where).id, texts[0], texts[1]), [])
            entry[:] = [e for e in entry if e[0] != who] + [(who, *decision)]
        return known


def _decision(row: Row, where: str) -> tuple[Outcome, Votes | None] | None:
    if row.get("chosen") is not None:
        return "a", None  # row_responses lists chosen first
    if row.get("n_a") is not None and row.get("n_b") is not None:
        votes = Votes(int(row["n_a"]), int(row["n_b"]), int(row.get("n_eq") or 0))
        if votes.n_a == votes.n_b or votes.n_eq > max(votes.n_a, votes.n_b):
            return "tie", votes
        return ("a" if votes.n_a > votes.n_b else "b"), votes
    label: Any = row.get("label")
    if label is None:
        return None
    if label not in OUTCOMES:
        raise DataError(f"A label must be one of {', '.join(OUTCOMES)}, but that of {where} is {label!r}.")
    outcome: Outcome = label
    return outcome, None
