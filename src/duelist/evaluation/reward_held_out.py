"""Held-out data of a reward model: responses, pairs labelled by people, and true rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from duelist.data.prompts import PromptsConfig
from duelist.data.rows import row_decision, row_prompt, row_responses
from duelist.data.sources import RowSource
from duelist.models.policy.plain_tokens import plain_token_ids
from duelist.types import Prompt, Response


@dataclass(frozen=True)
class HeldOutResponses:
    """Responses to held-out prompts.

    Attributes:
        prompts: prompts by id.
        responses: distinct responses, prompt by prompt.
        preferred: labelled pairs: positions of the preferred response and of the other; ties are excluded.
    """

    prompts: Mapping[str, Prompt]
    responses: Sequence[Response]
    preferred: Sequence[tuple[int, int]]

    @property
    def groups(self) -> list[list[int]]:
        """Return the positions of each prompt's responses."""
        found: dict[str, list[int]] = {}
        for i, response in enumerate(self.responses):
            found.setdefault(response.prompt_id, []).append(i)
        return list(found.values())


def held_out_responses(config: PromptsConfig, prompts: Sequence[Prompt]) -> HeldOutResponses:
    """Return the responses and labels that the data set has for the held-out prompts.

    Args:
        config: the source of the prompts.
        prompts: the held-out prompts.

    Raises:
        DataError: if a row is not usable.
    """
    by_id = {p.id: p for p in prompts}
    position: dict[tuple[str, str], int] = {}
    responses: list[Response] = []
    preferred: list[tuple[int, int]] = []
    split = config.split if config.held_out_path is None else config.held_out_split
    for where, row in RowSource(config.held_out_path or config.path, split, config.config) if by_id else ():
        prompt = by_id.get(row_prompt(row, where).id)
        if prompt is None:
            continue
        texts = row_responses(row, where)
        for text in texts:
            if (prompt.id, text) not in position:
                position[prompt.id, text] = len(responses)
                tokens = plain_token_ids(str(prompt.messages[-1]["content"])), plain_token_ids(text)
                responses.append(Response.of(prompt, text, *tokens, 0))
        decision = row_decision(row, where) if len(texts) == 2 and texts[0] != texts[1] else None
        if decision is not None and decision[0] in ("a", "b"):
            first, second = texts if decision[0] == "a" else texts[::-1]
            preferred.append((position[prompt.id, first], position[prompt.id, second]))
    return HeldOutResponses(by_id, responses, preferred)
