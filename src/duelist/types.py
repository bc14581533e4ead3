"""Records passed between the stages: frozen, and made of NumPy arrays and plain Python only.

Dimension suffixes (CONTRIBUTING.md lists those of the whole package):

    N  candidate questions      P  past questions (selected earlier, regardless of outcome)
    D  feature dimensions       B  questions picked
    M  target pairs             K  posterior samples
    R  responses                Q  places: the responses of a question, padded to the largest
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.answers import REST as REST
from duelist.answers import Answer as Answer
from duelist.answers import QuestionType as QuestionType
from duelist.answers import Retraction as Retraction
from duelist.display import table
from duelist.errors import DataError
from duelist.labels import OUTCOMES as OUTCOMES
from duelist.labels import Label as Label
from duelist.labels import Outcome as Outcome
from duelist.labels import Votes as Votes
from duelist.questions import Decision as Decision
from duelist.questions import Distribution as Distribution
from duelist.questions import DrawnSet as DrawnSet
from duelist.questions import Draws as Draws
from duelist.questions import GivenResponses as GivenResponses
from duelist.questions import Message as Message
from duelist.questions import Origins as Origins
from duelist.questions import Preference as Preference
from duelist.questions import Prompt as Prompt
from duelist.questions import Question as Question
from duelist.questions import RankedSet as RankedSet
from duelist.questions import Response as Response
from duelist.questions import VoteRule as VoteRule
from duelist.questions import content_id as content_id

# The fields of pairs, and those that take their place where some questions have more than two responses.
FIELDS_OF_SETS: Mapping[str, str] = {
    "gradient_ND": "gradient_RD",
    "embedding_ND": "embedding_RD",
    "margin_N": "reward_R",
    "asked_margin_N": "asked_reward_XQ",
    "votes_N2": "rank_XQ",
}
# The fields with a row per response.
PER_RESPONSE = ("gradient_RD", "embedding_RD", "reward_R")


@dataclass(frozen=True)
class Features:
    """Inputs of an acquisition rule: arrays over N candidate questions, never a model or a text.

    If every question is a pair, the fields of pairs are filled. If some have more responses, those of `FIELDS_OF_SETS`
    are filled in their place, over the R distinct responses, and `place_NQ` says which are in which question.

    Attributes:
        pair_id_N: ids of the candidate questions.
        prompt_ids_N2: ids of the prompts of responses a and b (equal unless the pair is cross-prompt).
        response_ids_N2: ids of responses a and b.
        length_N2: response lengths in tokens.
        margin_N: margins ρ = r(x, y_a) − r(x, y_b) under the trained model: the policy's implicit reward (nats times
            β), or the reward model's reward.
        log_ratio_N2: log(π_θ(y|x) / π_ref(y|x)) of responses a and b, in nats.
        prompt_entropy_N: the policy's predictive entropy at the pair's prompt, estimated as the mean of −log π(y|x)
            over the responses drawn for it, in nats.
        gradient_ND: φ, the gradient of the margin with respect to the trained weights: projected LoRA gradients of the
            implicit reward, normalised according to the featurizer's settings; or the difference of a reward model's
            last-layer features, which is the gradient with respect to its last layer's weights.
        embedding_ND: differences of frozen embeddings of prompt and response.
        reward_N2K: rewards of responses a and b under K ensemble members or K draws from a posterior. Draw k is the
            same reward function for all pairs.
        cost_N: expected annotation time in seconds, positive.
        votes_N2: number of times a and b were preferred so far; for past pairs.
        asked_margin_N: margin when the pair was asked, before training on it; for past pairs.
        target_MD: gradient differences φ of M pairs on the target prompts.
        past: the same fields for the P questions selected earlier, computed with the current model.
        asks_N: what each question asks.
        place_NQ: the positions among the R responses of each question's responses; −1 beyond its last one.
        gradient_RD: ∇r of each response, scaled by the featurizer's settings; φ of a pair is a difference of two.
        embedding_RD: frozen embeddings of prompt and response.
        reward_R: reward of each response under the trained model; ρ of a pair is a difference of two.
        asked_reward_XQ: rewards at the places of the question of each of the X answers so far, when it was asked; 0
            beyond its last response; for past questions.
        rank_XQ: the ranks that each answer gives these responses (`RankedSet.ranks`); −1 beyond the last one.
        answered_X: position of each answer's question among the past questions.
    """

    pair_id_N: NDArray[np.str_]
    prompt_ids_N2: NDArray[np.str_]
    response_ids_N2: NDArray[np.str_]
    length_N2: NDArray[np.int64]
    margin_N: NDArray[np.float64] | None = None
    log_ratio_N2: NDArray[np.float64] | None = None
    prompt_entropy_N: NDArray[np.float64] | None = None
    gradient_ND: NDArray[np.float32] | NDArray[np.float64] | None = None
    embedding_ND: NDArray[np.float32] | NDArray[np.float64] | None = None
    reward_N2K: NDArray[np.float64] | None = None
    cost_N: NDArray[np.float64] | None = None
    votes_N2: NDArray[np.int64] | None = None
    asked_margin_N: NDArray[np.float64] | None = None
    target_MD: NDArray[np.float32] | NDArray[np.float64] | None = None
    past: Features | None = None
    asks_N: NDArray[np.str_] | None = None
    place_NQ: NDArray[np.int64] | None = None
    gradient_RD: NDArray[np.float32] | NDArray[np.float64] | None = None
    embedding_RD: NDArray[np.float32] | NDArray[np.float64] | None = None
    reward_R: NDArray[np.float64] | None = None
    asked_reward_XQ: NDArray[np.float64] | None = None
    rank_XQ: NDArray[np.int64] | None = None
    answered_X: NDArray[np.int64] | None = None

    @property
    def n(self) -> int:
        """The number of questions, N."""
        return len(self.pair_id_N)

    @staticmethod
    def identities(pairs: Sequence[Question]) -> Features:
        """Return the features of pairs that cost nothing to compute: ids and lengths."""
        n, both = len(pairs), [(p.a, p.b) for p in pairs]
        return Features(
            pair_id_N=np.array([p.id for p in pairs], dtype=np.str_),
            prompt_ids_N2=np.array([(a.prompt_id, b.prompt_id) for a, b in both], dtype=np.str_).reshape(n, 2),
            response_ids_N2=np.array([(a.id, b.id) for a, b in both], dtype=np.str_).reshape(n, 2),
            length_N2=np.array([(len(a.token_ids), len(b.token_ids)) for a, b in both], dtype=np.int64).reshape(n, 2),
        )


@dataclass(frozen=True)
class Selection:
    """Pairs picked by an acquisition rule.

    Attributes:
        indices_B: positions in the candidate pool, in pick order.
        scores_B: the score of each pick at the moment it was picked.
        unit: the quantity that the score measures, in words.
        diagnostics: numbers to report about the selection.
    """

    indices_B: NDArray[np.int64]
    scores_B: NDArray[np.float64]
    unit: str
    diagnostics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Questions to answer this round, in pick order, as returned by `Study.ask`."""

    round: int
    questions: tuple[Question, ...]
    prompts: Mapping[str, Prompt]
    scores_B: tuple[float, ...]
    unit: str

    @property
    def pairs(self) -> tuple[Question, ...]:
        """The questions of a study that asks about pairs only."""
        larger = next((q for q in self.questions if q.k > 2), None)
        if larger is not None:
            raise DataError(
                f"`batch.pairs` holds questions of two responses, but question {larger.id} has {larger.k}: use "
                "`batch.questions`, and answer those with `Answer`."
            )
        return self.questions

    def _repr_html_(self) -> str:
        rows = []
        for place, (q, score) in enumerate(zip(self.questions, self.scores_B, strict=True), start=1):
            prompt = self.prompts[q.responses[0].prompt_id].as_trl()
            rows.append((place, q.id, q.asks, prompt, *(r.text for r in q.responses), f"{score:.4g}"))
        most = max((q.k for q in self.questions), default=2)
        rows = [(*row[:-1], *[""] * (most + 5 - len(row)), row[-1]) for row in rows]
        responses = [f"response {'abcdefghijklmnopqrstuvwxyz'[i % 26]}" for i in range(most)]
        head = ("#", "id", "asks", "prompt", *responses, self.unit)
        return table(f"Round {self.round}: {len(self.questions)} questions", head, rows)

    def only(self, question_ids: Collection[str]) -> Batch:
        """Return the batch restricted to these questions, in the same order."""
        wanted = set(question_ids)
        kept = [i for i, q in enumerate(self.questions) if q.id in wanted]
        questions, scores = tuple(self.questions[i] for i in kept), tuple(self.scores_B[i] for i in kept)
        return Batch(self.round, questions, self.prompts, scores, self.unit)


@dataclass(frozen=True)
class Evaluation:
    """Metrics, and the samples behind them (one record per response)."""

    metrics: Mapping[str, Any]
    samples: Sequence[Mapping[str, Any]]
