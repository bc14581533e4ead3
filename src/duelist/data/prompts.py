"""Prompts from a data set, split into training prompts and prompts held out for the evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, field_validator

from duelist.data.rows import row_prompt, row_responses
from duelist.data.sources import RowSource
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
    """Training prompts, held-out prompts, and the data set's responses to the training prompts."""

    train: tuple[Prompt, ...]
    held_out: tuple[Prompt, ...]
    given: GivenResponses


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
        shared = {p.id for p in prompts} & {p.id for p in held_out}
        if shared:
            raise DataError(
                f"Held-out prompts must not be trained on, but {len(shared)} prompts of {config.held_out_path} stand "
                f"in {config.path} as well: remove them from one of the two."
            )
        if config.held_out:
            held_out = _draw(held_out, config.held_out, seed, "held-out", config.held_out_path)
    elif config.held_out:
        if config.held_out >= len(prompts):
            raise DataError(
                f"`held_out < prompts` must hold, but got held_out={config.held_out} and {len(prompts)} prompts in "
                f"{config.path}: lower held_out or give held_out_path."
            )
        held_out = _draw(prompts, config.held_out, seed, "held-out", config.path)
        aside = {p.id for p in held_out}
        prompts = [p for p in prompts if p.id not in aside]
    else:
        held_out = []
    if config.limit is not None and config.limit < len(prompts):
        prompts = _draw(prompts, config.limit, seed, "limit", config.path)
    _require_enough(config.per_round, len(prompts))
    return PromptSet(tuple(prompts), tuple(held_out), given)


def prompts_of_round(prompts: tuple[Prompt, ...], per_round: PerRound, seed: int, round: int) -> tuple[Prompt, ...]:
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
        return tuple(_draw(list(prompts), per_round, seed, f"round {round}", "the data set"))
    start = sum(per_round[: round - 1])
    order = hash_keys(generator(seed, "prompts", "parts"), [p.id for p in prompts]).argsort(kind="stable")
    return tuple(prompts[i] for i in sorted(order[start : start + per_round[round - 1]].tolist()))


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


def _draw(prompts: list[Prompt], n: int, seed: int, purpose: str, where: str) -> list[Prompt]:
    """Draw `n` prompts by hash of (seed, id), in the data set's order: added rows change few of the drawn prompts."""
    if n > len(prompts):
        raise DataError(f"{n} prompts were asked for, but {where} has {len(prompts)}: lower the number.")
    keys = hash_keys(generator(seed, "prompts", purpose), [p.id for p in prompts])
    return [prompts[i] for i in sorted(keys.argsort()[:n].tolist())]


def _read(source: RowSource, responses: bool) -> tuple[list[Prompt], GivenResponses]:
    prompts: dict[str, Prompt] = {}
    given = GivenResponses({}, {})
    for where, row in source:
        prompt = row_prompt(row, where)
        first = next(iter(prompts.values()), prompt)
        if prompt.plain != first.plain:
            kinds = ("plain text", "messages") if prompt.plain else ("messages", "plain text")
            raise DataError(
                f"The prompts of a data set must all be plain text or all be lists of messages, as TRL requires, but "
                f"that of {where} is {kinds[0]} and the first is {kinds[1]}: write them all in one form."
            )
        prompts.setdefault(prompt.id, prompt)
        texts = row_responses(row, where) if responses else []
        known = given.texts.setdefault(prompt.id, [])
        known.extend(dict.fromkeys(t for t in texts if t not in known))
        if len(texts) == 2 and texts[0] != texts[1]:
            given.pairs.setdefault(prompt.id, []).append((texts[0], texts[1]))
    if not prompts:
        raise DataError(f"A data set must have at least one prompt, but {source.path} has no rows: correct the path.")
    return list(prompts.values()), given
