"""Prompts, responses, questions about them, and decided questions: frozen records of plain Python."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from duelist.answers import QUESTION_TYPES, QuestionType
from duelist.errors import DataError

Message = Mapping[str, Any]
# How the votes on a pair are used: of several people, or the counts of one label.
VoteRule = Literal["every", "majority", "soft", "reliability"]
Distribution = Literal["policy", "reference", "plus", "minus", "dataset", "written"]
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

    texts: Mapping[str, list[str]]
    pairs: Mapping[str, list[tuple[str, str]]]


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
class Question:
    """Responses to judge, and what is asked about them. The question of two responses is a pair.

    `asks` is `pair` (which of two is better), `best_of_k`, `best_worst`, or `ranking` of three or more responses to one
    prompt. The two responses of a pair may answer different prompts. `drawn_from` holds the distribution that drew each
    response for this question; None if they are not known.

    Neither the id nor the order of the responses depends on how they were drawn, scored or labelled: the order is that
    of a hash, so the annotator stays blind. A stored question keeps the order it was stored with.
    """

    id: str
    responses: tuple[Response, ...]
    round: int
    weight: float = 1.0
    drawn_from: tuple[Distribution, ...] | None = None
    asks: QuestionType = "pair"

    @staticmethod
    def pair(a: Response, b: Response, round: int, weight: float = 1.0, drawn_from: Origins | None = None) -> Question:
        """Create the comparison of two responses; swapping them, together with their origins, changes nothing."""
        if a.id == b.id:
            raise DataError(f"A pair must hold two different responses, but got response {a.id} twice.")
        first, second = (a, b) if a.id < b.id else (b, a)
        pair_id = content_id("pair", first.id, second.id)
        if int(content_id("sides", pair_id), 16) % 2:
            first, second = second, first
        origins = drawn_from if drawn_from is None or first is a else (drawn_from[1], drawn_from[0])
        return Question(pair_id, (first, second), round, weight, origins)

    @staticmethod
    def of(
        responses: Sequence[Response],
        asks: QuestionType,
        round: int,
        drawn_from: Sequence[Distribution] | None = None,
    ) -> Question:
        """Create a question about some responses; their order, together with that of their origins, changes nothing.

        Whatever is asked about two responses is a pair.

        Raises:
            DataError: if a response comes twice, there are fewer than two, more than two of them answer different
                prompts or are asked about as a pair, or there is no such type of question.
        """
        if asks not in QUESTION_TYPES:
            raise DataError(f"A question asks for one of {', '.join(QUESTION_TYPES)}, but got {asks!r}: correct it.")
        if len(responses) == 2:
            return Question.pair(responses[0], responses[1], round, 1.0, _both(drawn_from))
        if len({r.id for r in responses}) != len(responses) or len(responses) < 2:
            raise DataError(
                f"A question must hold two or more different responses, but got {[r.id for r in responses]}: leave the "
                "repeated ones out."
            )
        if asks == "pair" or len({r.prompt_id for r in responses}) != 1:
            raise DataError(
                f"A question of {len(responses)} responses asks for a ranking, the best, or the best and the worst of "
                f"responses to one prompt, but got {asks!r} about {len({r.prompt_id for r in responses})} prompts: "
                "correct it."
            )
        question_id = content_id("question", asks, *sorted(r.id for r in responses))
        order = sorted(range(len(responses)), key=lambda i: content_id("place", question_id, responses[i].id))
        origins = None if drawn_from is None else tuple(drawn_from[i] for i in order)
        return Question(question_id, tuple(responses[i] for i in order), round, 1.0, origins, asks)

    @property
    def k(self) -> int:
        """The number of responses."""
        return len(self.responses)

    @property
    def a(self) -> Response:
        """The first response of a pair."""
        return self._of_pair(0)

    @property
    def b(self) -> Response:
        """The second response of a pair."""
        return self._of_pair(1)

    def _of_pair(self, place: int) -> Response:
        if len(self.responses) != 2:
            raise DataError(
                f"Only a pair has responses a and b, but question {self.id} has {self.k} responses: use "
                "`question.responses`."
            )
        return self.responses[place]


def _both(drawn_from: Sequence[Distribution] | None) -> Origins | None:
    return None if drawn_from is None else (drawn_from[0], drawn_from[1])


@dataclass(frozen=True)
class Preference:
    """A decided comparison, ready to train on: `chosen` was preferred to `rejected`.

    `share` is the fraction of the votes for `chosen`: 1 for a plain decision, 0.5 for a tie, other values if a label
    aggregates several people's votes. `weight` multiplies the pair's loss if the way its responses were drawn requires
    one. `drawn_from` holds the distributions that drew the chosen and the rejected response, which XPO's loss needs;
    None if they are not known. Only where people's labels correct a judge's, the share may leave [0, 1], the weight may
    be negative, and `penalty` bounds the loss (`trainers.losses`, equation (6)). `labelled` says whether people decided
    the pair, and not a judge alone: a judge's pairs add no optimizer steps.
    """

    prompt: Prompt
    chosen: Response
    rejected: Response
    pair_id: str
    annotator: str
    share: float = 1.0
    weight: float = 1.0
    drawn_from: Origins | None = None
    penalty: float = 0.0
    labelled: bool = True


@dataclass(frozen=True)
class RankedSet:
    """A decided question, ready to train on with the losses of rankings.

    Attributes:
        prompt: the prompt.
        responses: the responses, in the question's order.
        ranks: the rank of each response, 0 best; equally good responses have equal ranks, and `REST` is below every
            ranked response, in no known order. In a best-and-worst answer 0 is the best, 2 the worst, and 1 the others.
        asks: what was asked; a decided pair is a `ranking` of two.
        question_id: the question.
        annotator: who decided.
        weight: factor of its loss.
        drawn_from: the distribution that drew each response; None if they are not known.
    """

    prompt: Prompt
    responses: tuple[Response, ...]
    ranks: tuple[int, ...]
    asks: QuestionType
    question_id: str
    annotator: str
    weight: float = 1.0
    drawn_from: tuple[Distribution, ...] | None = None


Decision = Preference | RankedSet
