"""Prompts from a data set, split into training prompts and prompts held out for the evaluation."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from duelist.data.rows import row_prompt, row_responses
from duelist.data.sources import RowSource
from duelist.data.stored_prompts import PromptRows, StoredPrompts, prompt_ids, prompts_by_id
from duelist.errors import DataError
from duelist.seeding import generator, hash_keys
from duelist.types import GivenResponses, Prompt

PerRound = int | tuple[int, ...] | None


class PromptsConfig(BaseModel):
    """Settings of the prompts: their source and their split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        description="A .jsonl, .jsonl.gz or .parquet file, or the name of a data set on the Hugging Face Hub."
    )
    split: str = Field(default="train", description="The split, for a data set on the Hub.")
    config: str | None = Field(default=None, description="The configuration, for a data set on the Hub.")
    limit: int | None = Field(
        default=None, gt=0, description="Number of prompts to use, drawn at random with the seed; null: all."
    )
    per_round: PerRound = Field(
        default=None,
        description="Number of prompts per round (at least 1), redrawn each round; null: all prompts. A list gives one "
        "number per round and splits the prompts: no prompt is used in two rounds.",
    )
    held_out: int = Field(default=0, ge=0, description="Number of prompts held out for the evaluation.")
    held_out_path: str | None = Field(default=None, description="Data set whose prompts are used for the evaluation.")
    held_out_split: str = Field(default="test", description="The split of `held_out_path`, if it is on the Hub.")

    @field_validator("per_round")
    @classmethod
    def _some_each_round(cls, per_round: PerRound) -> PerRound:
        each = per_round if isinstance(per_round, tuple) else () if per_round is None else (per_round,)
        if any(n < 1 for n in each):
            raise ValueError(f"every round must have 1 prompt or more, but got {per_round}: raise it.")
        return per_round


class TargetConfig(BaseModel):
    """Settings of the target prompts and of the responses drawn for each. Only some acquisitions use them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = Field(
        default=None, description="File or data set with the target prompts; null: the training prompts."
    )
    prompts: int = Field(default=64, ge=1, description="Number of target prompts, drawn at random once per study.")
    responses_per_prompt: int = Field(
        default=2,
        ge=2,
        description="Responses drawn per target prompt with the sampler's settings, paired within the prompt.",
    )


@dataclass(frozen=True)
class PromptSet:
    """Training prompts, held-out prompts, and the data set's responses to the training prompts.

    What was read from a data set is in a temporary file: a prompt or response takes memory while it is used.
    """

    train: Sequence[Prompt]
    held_out: tuple[Prompt, ...]
    given: GivenResponses

    @property
    def by_id(self) -> Mapping[str, Prompt]:
        """The training prompts by their ids."""
        return prompts_by_id(self.train)

    @cached_property
    def given_counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of different responses, and of different pairs in rows, of each training prompt."""
        counts = array("q"), array("q")
        for prompt_id in prompt_ids(self.train):
            counts[0].append(len(self.given.texts.get(prompt_id, ())))
            counts[1].append(len({tuple(sorted(pair)) for pair in self.given.pairs.get(prompt_id, ())}))
        texts_N, pairs_N = (np.array(some, np.int64) for some in counts)
        return texts_N, pairs_N


def load_prompts(config: PromptsConfig, seed: int, *, responses: bool = True) -> PromptSet:
    """Read the prompts that a recipe names. Equal prompts are merged, and their responses are pooled.

    Args:
        config: the source of the prompts.
        seed: draws the held-out prompts and the limit.
        responses: whether to read the data set's responses too; if not, errors in them are ignored.

    Raises:
        DataError: if a row is not usable, or there are too few prompts; the message names the row.
    """
    prompts, given = _read(RowSource(config.path, config.split, config.config), responses)
    if config.held_out_path is not None:
        held_out, _ = _read(RowSource(config.held_out_path, config.held_out_split, config.config), False)
        shared = int(np.isin(held_out.id_N, prompts.id_N).sum())
        if shared:
            raise DataError(
                f"Held-out prompts must not be trained on, but {shared} prompts of {config.held_out_path} stand "
                f"in {config.path} as well: remove them from one of the two."
            )
        if config.held_out:
            held_out = held_out.some(_drawn(held_out, config.held_out, seed, "held-out", config.held_out_path))
    elif config.held_out:
        if config.held_out >= len(prompts):
            raise DataError(
                f"`held_out < prompts` must hold, but got held_out={config.held_out} and {len(prompts)} prompts in "
                f"{config.path}: lower held_out or give held_out_path."
            )
        held_out = prompts.some(_drawn(prompts, config.held_out, seed, "held-out", config.path))
        prompts = prompts.some(~np.isin(prompts.id_N, held_out.id_N))
    else:
        held_out = prompts.some(np.empty(0, np.int64))
    if config.limit is not None and config.limit < len(prompts):
        prompts = prompts.some(_drawn(prompts, config.limit, seed, "limit", config.path))
    _require_enough(config.per_round, len(prompts))
    return PromptSet(prompts, tuple(held_out), given)


def prompts_of_round(prompts: Sequence[Prompt], per_round: PerRound, seed: int, round: int) -> Sequence[Prompt]:
    """Return the prompts of one round, in the data set's order.

    Args:
        prompts: the prompts of the study.
        per_round: None: all prompts; a number: redraw this many each round; a tuple: split them, one number per round.
        seed: the only source of randomness.
        round: the round, from 1.
    """
    if per_round is None:
        return prompts
    if isinstance(per_round, int):
        drawn = _drawn(prompts, per_round, seed, f"round {round}", "the data set")
    else:
        start = sum(per_round[: round - 1])
        order = hash_keys(generator(seed, "prompts", "parts"), prompt_ids(prompts)).argsort(kind="stable")
        drawn = np.sort(order[start : start + per_round[round - 1]])
    return tuple(prompts[i] for i in drawn.tolist())


def per_round_counts(per_round: PerRound, rounds: int, prompts: int) -> tuple[int, ...]:
    """Return the number of prompts in each of `rounds` rounds, from a total of `prompts`."""
    if isinstance(per_round, tuple):
        return per_round
    return (prompts if per_round is None else per_round,) * rounds


def _require_enough(per_round: PerRound, prompts: int) -> None:
    """Check that there are enough prompts for the rounds.

    Raises:
        DataError: if there are too few; the message names both numbers.
    """
    if isinstance(per_round, tuple) and sum(per_round) > prompts:
        raise DataError(
            f"The parts in `prompts.per_round` share no prompt, so their sum must not exceed the prompts, but they "
            f"need {sum(per_round)} and there are {prompts}: lower them, or use more prompts."
        )
    if isinstance(per_round, int) and per_round > prompts:
        raise DataError(
            f"`per_round <= prompts` must hold, but got per_round={per_round} and {prompts} prompts: lower it."
        )


def _drawn(prompts: Sequence[Prompt], n: int, seed: int, purpose: str, where: str) -> NDArray[np.int64]:
    """Draw `n` prompts by hash of (seed, id); return their positions, ascending. Added rows change few of the draws."""
    if n > len(prompts):
        raise DataError(f"{n} prompts were asked for, but {where} has {len(prompts)}: lower the number.")
    keys = hash_keys(generator(seed, "prompts", purpose), prompt_ids(prompts))
    return np.sort(keys.argsort()[:n])


def _read(source: RowSource, responses: bool) -> tuple[StoredPrompts, GivenResponses]:
    found, plain = PromptRows(), None
    for where, row in source:
        prompt = row_prompt(row, where)
        plain = prompt.plain if plain is None else plain
        if prompt.plain != plain:
            kinds = ("plain text", "messages") if prompt.plain else ("messages", "plain text")
            raise DataError(
                f"The prompts of a data set must all be plain text or all be lists of messages, as TRL requires, but "
                f"that of {where} is {kinds[0]} and the first is {kinds[1]}: write them all in one form."
            )
        found.add(prompt, row_responses(row, where) if responses else None)
    prompts, given = found.read()
    if not prompts:
        raise DataError(f"A data set must have at least one prompt, but {source.path} has no rows: correct the path.")
    return prompts, given
