"""Records passed between the stages: frozen, and made of NumPy arrays and plain Python only.

Dimension suffixes (CONTRIBUTING.md lists those of the whole package):

    N  candidate pairs          P  past pairs (selected earlier, regardless of outcome)
    D  feature dimensions       B  pairs picked
    M  target pairs             K  posterior samples
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from duelist.errors import DataError
from duelist.labels import OUTCOMES as OUTCOMES
from duelist.labels import Label as Label
from duelist.labels import Outcome as Outcome
from duelist.labels import Votes as Votes

Message = Mapping[str, Any]
VoteRule = Literal["majority", "soft"]
Distribution = Literal["policy", "reference", "plus", "minus", "dataset"]
Origins = tuple[Distribution, Distribution]


def content_id(*parts: Any) -> str:
    """Return a 16-hex-digit id that depends only on the content of `parts`."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Prompt:
    """Input given to the model.

    `messages` is the conversational format; the last message is the user's. A `plain` prompt is one user message whose
    text is given to the model unchanged, without a chat template (TRL's "standard" format). `columns` are the row's
    other columns: passed to reward functions, as TRL does, and usable for grouping in the evaluation.
    """

    id: str
    messages: tuple[Message, ...]
    plain: bool = False
    columns: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(content: str | Sequence[Message], columns: Mapping[str, Any] | None = None) -> Prompt:
        """Create a prompt from plain text or from messages; its id is a hash of that content."""
        plain = isinstance(content, str)
        messages = ({"role": "user", "content": content},) if isinstance(content, str) else tuple(map(dict, content))
        return Prompt(content_id("prompt", plain, messages), messages, plain, dict(columns or {}))

    def as_trl(self) -> str | list[dict[str, Any]]:
        """Return the value of TRL's `prompt` column: text, or a list of messages."""
        return str(self.messages[0]["content"]) if self.plain else [dict(m) for m in self.messages]


@dataclass(frozen=True)
class Response:
    """The model's text for a prompt, with the exact token ids that log-probabilities, gradients and training use.

    `prompt_token_ids` and `token_ids` are computed once, when the response is drawn or read. `token_ids` ends with an
    end-of-sequence token unless the response was cut at the length limit. The id is a hash of the prompt and the
    tokens, so drawing the same tokens twice gives the same response.
    """

    id: str
    prompt_id: str
    text: str
    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    round: int

    @staticmethod
    def of(
        prompt: Prompt, text: str, prompt_token_ids: Sequence[int], token_ids: Sequence[int], round: int
    ) -> Response:
        """Create a response whose id is a hash of its prompt and tokens."""
        ids = tuple(map(int, token_ids))
        if not ids:
            raise DataError(f"A response must have at least one token, but prompt {prompt.id} got one with none.")
        response_id = content_id("response", prompt.id, text, ids)
        return Response(response_id, prompt.id, text, tuple(map(int, prompt_token_ids)), ids, round)

    def as_trl(self, prompt: Prompt) -> str | list[dict[str, Any]]:
        """Return the value of TRL's `chosen` or `rejected` column: text, or a list of one assistant message."""
        return self.text if prompt.plain else [{"role": "assistant", "content": self.text}]


@dataclass(frozen=True)
class GivenResponses:
    """The data set's own responses by prompt id: texts in order, and the pairs as they appear in rows."""

    texts: dict[str, list[str]]
    pairs: dict[str, list[tuple[str, str]]]


@dataclass(frozen=True)
class DrawnSet:
    """Two responses drawn together, by id.

    Attributes:
        a: the first response.
        b: the second response.
        weight: weight of their comparison in the loss.
        drawn_from: the distributions that drew the two; None for those of `Draws.drawn_from`.
    """

    a: str
    b: str
    weight: float = 1.0
    drawn_from: Origins | None = None


@dataclass(frozen=True)
class Draws:
    """Responses drawn by a sampler.

    Attributes:
        responses: distinct responses, prompt by prompt; equal draws appear once.
        sets: the responses drawn together; a set may contain one response twice.
        notes: remarks for the user on how the responses were drawn, one sentence each.
        drawn_from: the distribution of each response's first draw, by the response's id.
    """

    responses: tuple[Response, ...]
    sets: tuple[DrawnSet, ...] = ()
    notes: tuple[str, ...] = ()
    drawn_from: Mapping[str, Distribution] = field(default_factory=dict)

    def origins(self, a: str, b: str) -> Origins | None:
        """Return the distributions that first drew two responses, by id; None if they are not known."""
        one, other = self.drawn_from.get(a), self.drawn_from.get(b)
        return None if one is None or other is None else (one, other)


@dataclass(frozen=True)
class Pair:
    """Two responses to compare.

    `drawn_from` holds the distributions that drew a and b for this comparison; None if they are not known.

    The id does not depend on which response is `a`, on the weight in the loss, or on the origins. `Pair.of` decides
    which one is `a` by a hash of the id. So the sides reveal nothing about how the two were drawn, scored or labelled,
    and the annotator stays blind. A stored pair keeps the sides it was stored with.
    """

    id: str
    a: Response
    b: Response
    round: int
    weight: float = 1.0
    drawn_from: Origins | None = None

    @staticmethod
    def of(a: Response, b: Response, round: int, weight: float = 1.0, drawn_from: Origins | None = None) -> Pair:
        """Create the comparison of two responses; swapping them, together with their origins, changes nothing."""
        if a.id == b.id:
            raise DataError(f"A pair must hold two different responses, but got response {a.id} twice.")
        first, second = (a, b) if a.id < b.id else (b, a)
        pair_id = content_id("pair", first.id, second.id)
        if int(content_id("sides", pair_id), 16) % 2:
            first, second = second, first
        origins = drawn_from if drawn_from is None or first is a else (drawn_from[1], drawn_from[0])
        return Pair(pair_id, first, second, round, weight, origins)


@dataclass(frozen=True)
class Preference:
    """A decided comparison, ready to train on: `chosen` was preferred to `rejected`.

    `share` is the fraction of the votes for `chosen`: 1 for a plain decision, 0.5 for a tie, other values if a label
    aggregates several people's votes. `weight` multiplies the pair's loss if the way its responses were drawn requires
    one. `drawn_from` holds the distributions that drew the chosen and the rejected response, which XPO's loss needs;
    None if they are not known.
    """

    prompt: Prompt
    chosen: Response
    rejected: Response
    pair_id: str
    annotator: str
    share: float = 1.0
    weight: float = 1.0
    drawn_from: Origins | None = None


@dataclass(frozen=True)
class Features:
    """Inputs of an acquisition rule: arrays over N candidate pairs, never a model or a text.

    Attributes:
        pair_id_N: ids of the candidate pairs.
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
        past: the same fields for the P pairs selected earlier, computed with the current model.
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

    @property
    def n(self) -> int:
        """The number of pairs, N."""
        return len(self.pair_id_N)

    @staticmethod
    def identities(pairs: Sequence[Pair]) -> Features:
        """Return the features that cost nothing to compute: ids and lengths."""
        n = len(pairs)
        return Features(
            pair_id_N=np.array([p.id for p in pairs], dtype=np.str_),
            prompt_ids_N2=np.array([(p.a.prompt_id, p.b.prompt_id) for p in pairs], dtype=np.str_).reshape(n, 2),
            response_ids_N2=np.array([(p.a.id, p.b.id) for p in pairs], dtype=np.str_).reshape(n, 2),
            length_N2=np.array([(len(p.a.token_ids), len(p.b.token_ids)) for p in pairs], dtype=np.int64).reshape(n, 2),
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
    """Pairs to label this round, in pick order, as returned by `Study.ask`."""

    round: int
    pairs: tuple[Pair, ...]
    prompts: Mapping[str, Prompt]
    scores_B: tuple[float, ...]
    unit: str

    def only(self, pair_ids: Collection[str]) -> Batch:
        """Return the batch restricted to these pairs, in the same order."""
        wanted = set(pair_ids)
        kept = [i for i, p in enumerate(self.pairs) if p.id in wanted]
        pairs, scores = tuple(self.pairs[i] for i in kept), tuple(self.scores_B[i] for i in kept)
        return Batch(self.round, pairs, self.prompts, scores, self.unit)


@dataclass(frozen=True)
class Evaluation:
    """Metrics, and the samples behind them (one record per response)."""

    metrics: Mapping[str, Any]
    samples: Sequence[Mapping[str, Any]]
