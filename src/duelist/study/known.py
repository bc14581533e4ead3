"""Preferences known before round 1, as questions of round 0 with their labels.

They cost no budget. Later stages see them as past questions: rules count them into V, pairing leaves them out, and
trainers train on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, final

from duelist.data.known import KnownConfig
from duelist.data.prompts import PromptSet
from duelist.data.sources import RowSource
from duelist.errors import DataError
from duelist.exchange.reading import Problem
from duelist.exchange.trl import label_of, preference_texts, weight_of
from duelist.models.policy.plain_tokens import plain_token_ids
from duelist.models.policy.tokenization import check_length, encode_responses, require_chat_template, require_own_tokens
from duelist.settings.lookups import Lookups
from duelist.store.row_codecs import AskedQuestion
from duelist.store.store import Store
from duelist.study.components import StudyComponents
from duelist.types import Label, Prompt, Question, Response

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy

UNIT = "known before round 1"  # in place of what a rule's score measures
Encode = Callable[[Prompt, Sequence[str]], tuple[Sequence[int], Sequence[Sequence[int]]]]
_MOST_SHOWN = 3


@dataclass(frozen=True)
class Known:
    """Preferences to record: pairs of round 0, their prompts, and their labels, sorted by pair and annotator."""

    pairs: tuple[Question, ...]
    prompts: Mapping[str, Prompt]
    labels: tuple[Label, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def weighted(self) -> bool:
        """Whether any pair has a weight in the loss."""
        return any(q.weight != 1 for q in self.pairs)


# Of questions and of their prompts, by id: the rewards of the responses, the margins, and the KL.
Seen = Callable[
    [Sequence[Question], Mapping[str, Prompt]], tuple[Sequence[tuple[float, ...]], Sequence[float], float | None]
]


@final
class KnownRecorder:
    """Recording of preferences known before round 1, with their margins under the initial model.

    Args:
        components: the recipe's components.
        store: the record.
        policy: the initial policy, whose tokenizer encodes the responses; None if there is none.
        seen: what the initial model says of questions.
    """

    def __init__(self, components: StudyComponents, store: Store, policy: Policy | None, seen: Seen) -> None:
        self._components, self._store, self._seen = components, store, seen
        self._encode = plain_encode if policy is None else encoder(policy.tokenizer, policy.context_length, policy.name)

    def read(self) -> tuple[list[AskedQuestion], list[Prompt], Sequence[Label]]:
        """Return the preferences of the recipe's file as questions of round 0, their prompts and labels.

        Raises:
            DataError: if a row is not usable.
        """
        config = self._components.recipe.known
        assert config is not None
        return self._as_asked(read_known(config, self._components.prompts, self._encode))

    def add(self, rows: Iterable[tuple[str, Any]]) -> tuple[int, int, Sequence[Problem]]:
        """Record the preferences of some rows.

        Returns:
            The numbers of new and of repeated labels, and the rows that are not usable.
        """
        known = known_preferences(rows, self._components.prompts, self._encode)
        new = self._store.add_known(*self._as_asked(known))
        return new, len(known.labels) - new, known.problems

    def _as_asked(self, known: Known) -> tuple[list[AskedQuestion], list[Prompt], Sequence[Label]]:
        if known.weighted:
            context = self._components.context(Lookups(), self._components.prompts)
            self._components.check(replace(context, weighs_pairs=True))
        recorded = self._store.asked()
        ids = {x.question.id for x in recorded}
        new = [q for q in known.pairs if q.id not in ids]
        rewards, margins, _ = self._seen(new, known.prompts) if new else ((), (), None)
        places = enumerate(zip(new, margins, rewards, strict=True), start=sum(x.round == 0 for x in recorded))
        asked = [AskedQuestion(q, 0, i, 0.0, UNIT, m, r) for i, (q, m, r) in places]
        return asked, list(known.prompts.values()), known.labels


def encoder(tokenizer: Any, context_length: int | None, model: str) -> Encode:
    """Return what encodes responses with a policy's tokenizer, as sampler `dataset` does."""

    def encode(prompt: Prompt, texts: Sequence[str]) -> tuple[Sequence[int], Sequence[Sequence[int]]]:
        require_chat_template(tokenizer, [prompt], model)
        prompt_ids, ids = encode_responses(tokenizer, prompt, texts)
        require_own_tokens(prompt, prompt_ids)
        for token_ids in ids:
            check_length(prompt, len(prompt_ids) + len(token_ids), context_length, "a known response")
        return prompt_ids, ids

    return encode


def plain_encode(prompt: Prompt, texts: Sequence[str]) -> tuple[Sequence[int], Sequence[Sequence[int]]]:
    """Encode responses without a tokenizer, for a study without a policy."""
    return plain_token_ids(str(prompt.messages[-1]["content"])), [plain_token_ids(text) for text in texts]


def known_preferences(rows: Iterable[tuple[str, Any]], prompts: PromptSet, encode: Encode) -> Known:
    """Return the preferences of some rows, and the rows that are not usable.

    A prompt of the study keeps the columns that it has there. A row that says again what its annotator has said of the
    pair counts once; one that contradicts it is a problem.

    Args:
        rows: rows in TRL's preference format, with their places.
        prompts: the study's prompts.
        encode: returns the token ids of a prompt and of responses to it.
    """
    own = prompts.by_id
    held_out = {p.id for p in prompts.held_out}
    plain = next((p.plain for p in chain(prompts.train, prompts.held_out)), None)
    pairs: dict[str, Question] = {}
    used: dict[str, Prompt] = {}
    labels: dict[tuple[str, str], Label] = {}
    problems: list[Problem] = []
    for where, row in rows:
        try:
            prompt, texts = preference_texts(row, where)
            _require_usable(prompt, held_out, plain)
            pair = _pair(prompt, texts, weight_of(row), encode)
            known = pairs.setdefault(pair.id, pair)
            if known.weight != pair.weight:
                raise DataError(f"A pair has one weight, but has {known.weight} and {pair.weight}: make them equal.")
            label = label_of(row, pair, texts)
            said = labels.setdefault((pair.id, label.annotator), label)
            if said.outcome != label.outcome:
                raise DataError(
                    f"{label.annotator!r} prefers the other response in an earlier row, which is kept: drop one of "
                    "the two rows, or name the annotators (column `annotator`)."
                )
            used[prompt.id] = own.get(prompt.id, prompt)
        except DataError as error:
            problems.append(Problem(where, str(error)))
    said_of = {pair_id for pair_id, _ in labels}
    kept = tuple(pairs[i] for i in sorted(said_of))
    return Known(kept, used, tuple(labels[key] for key in sorted(labels)), tuple(problems))


def read_known(config: KnownConfig, prompts: PromptSet, encode: Encode) -> Known:
    """Return the preferences of the recipe's file.

    Raises:
        DataError: if the file cannot be read, has no row, or any row is not usable; the message names the first ones.
    """
    known = known_preferences(RowSource(config.path, config.split, config.config), prompts, encode)
    if known.problems:
        first = "; ".join(map(str, known.problems[:_MOST_SHOWN]))
        raise DataError(
            f"Every row of known.path must be a preference that can be trained on, but {len(known.problems)} of "
            f"{config.path} are not: {first}"
        )
    if not known.labels:
        raise DataError(f"known.path must have at least one row, but {config.path} has none: fill it, or drop `known`.")
    return known


def _require_usable(prompt: Prompt, held_out: set[str], plain: bool | None) -> None:
    if prompt.id in held_out:
        raise DataError(
            "A known preference must not be on a prompt held out for the evaluation, but this one is: drop the row, or "
            "name other prompts (`prompts.held_out_path`)."
        )
    if plain is not None and prompt.plain != plain:
        kinds = ("plain text", "messages") if prompt.plain else ("messages", "plain text")
        raise DataError(f"The study's prompts are {kinds[1]}, but this one is {kinds[0]}: write it as they are.")


def _pair(prompt: Prompt, texts: Sequence[str], weight: float, encode: Encode) -> Question:
    prompt_ids, ids = encode(prompt, texts)
    chosen, rejected = (Response.of(prompt, text, prompt_ids, i, 0) for text, i in zip(texts, ids, strict=True))
    return Question.pair(chosen, rejected, 0, weight, ("dataset", "dataset"))
