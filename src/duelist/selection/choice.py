"""Selection from a pool of unlabelled pairs without a study, for users with their own data and trainer.

import duelist

picks = duelist.select("pool.jsonl", "my-model", adapter="my-adapter", budget=100)
for pick in picks:
    print(pick.prompt, pick.response_a, pick.response_b, pick.score)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.base import Acquisition, choose
from duelist.acquisition.options import AcquisitionOptions
from duelist.annotators.reading_time import StudyReadingTime
from duelist.data.rows import as_json, explicit_prompt
from duelist.data.sources import Row
from duelist.data.stored_prompts import first_found
from duelist.display import table
from duelist.errors import BudgetError, RecipeError
from duelist.featurizers.base import FeatureJob, Featurizer, featurize
from duelist.featurizers.feature_folder import FeatureCache, Precision
from duelist.featurizers.gradient import Normalize
from duelist.files.sequences import joined
from duelist.models.trained import Models
from duelist.progress import Progress, Silent
from duelist.recipe.component import Component
from duelist.seeding import derived_seed, generator
from duelist.selection.model import ModelSource, opened
from duelist.selection.pool import Pool, read_pairs, read_some, rereadable, rows_at
from duelist.types import Question

Dtype = Literal["float32", "bfloat16", "float64"]


@dataclass(frozen=True)
class Pick:
    """A selected pair.

    Attributes:
        rank: position in pick order, from 1.
        row_number: index of its row in the pool, from 0.
        row: that row, unchanged.
        prompt: the prompt in TRL's format: text, or a list of messages.
        response_a: the text of one response. A hash decides which, so it does not reveal which one the row prefers.
        response_b: the text of the other response.
        score: the rule's score at the moment of the pick.
        reason: the meaning of the score.
    """

    rank: int
    row_number: int
    row: Row
    prompt: str | list[dict[str, Any]]
    response_a: str
    response_b: str
    score: float
    reason: str

    def as_row(self, *, keep_columns: bool = False) -> dict[str, Any]:
        """Return the pick as a row of JSON.

        Args:
            keep_columns: add the row's own columns, the score and the reason. Without them, the row can be shown to
                annotators: it does not reveal which response was preferred, or how certain the model is.
        """
        pick = {
            "prompt": as_json(self.prompt),
            "response_a": self.response_a,
            "response_b": self.response_b,
            "rank": self.rank,
            "row": self.row_number,
        }
        if not keep_columns:
            return pick
        row = explicit_prompt(self.row, f"row {self.row_number}")
        own = {name: as_json(value) for name, value in row.items()}
        # Labels and votes in a row with its own `response_a` and `response_b` refer to those two, in that order.
        texts = {name: own[name] for name in ("prompt", "response_a", "response_b") if own.get(name) is not None}
        return {**own, **pick, **texts, "score": self.score, "reason": self.reason}


class Picks(list[Pick]):
    """Picks in pick order.

    Attributes:
        diagnostics: the rule's numbers about its selection, e.g. `within_percent_of_optimum`.
    """

    def __init__(self, picks: Iterable[Pick], diagnostics: Mapping[str, float]) -> None:
        super().__init__(picks)
        self.diagnostics = dict(diagnostics)

    @property
    def rows(self) -> list[int]:
        """Numbers of the picks' rows in the pool, in pick order: `pool.select(picks.rows)` of a `datasets.Dataset`."""
        return [pick.row_number for pick in self]

    def to_dataset(self, *, keep_columns: bool = False) -> Any:
        """Return the picks as a `datasets.Dataset`, a row for each in pick order.

        Args:
            keep_columns: see `Pick.as_row`.
        """
        import datasets

        return datasets.Dataset.from_list([pick.as_row(keep_columns=keep_columns) for pick in self])

    def _repr_html_(self) -> str:
        rows = [(p.rank, p.prompt, p.response_a, p.response_b, f"{p.score:.4g}") for p in self]
        unit = self[0].reason.rpartition(":")[0] if self else "score"
        return table(f"{len(self)} picks", ("#", "prompt", "response a", "response b", unit), rows)


def select(
    pool: Pool,
    model: str | Any,
    *,
    budget: int,
    tokenizer: Any = None,
    reference: Any = None,
    adapter: str | Path | None = None,
    labelled: Pool | None = None,
    targets: Pool | None = None,
    acquisition: str | Mapping[str, Any] | Acquisition = "activedpo",
    normalize: Normalize = "response",
    dimension: int | None = 8192,
    beta: float | None = None,
    seed: int = 0,
    features: str | Path | None = None,
    precision: Precision | None = None,
    max_tokens: int = 8192,
    lora: Mapping[str, Any] | None = None,
    dtype: Dtype = "float32",
    progress: Progress | None = None,
) -> Picks:
    """Select the pairs of a pool that are most informative for a model.

    Args:
        pool: a JSONL or Parquet file, a data set on the Hugging Face Hub, or rows: TRL's `prompt` with `response_a` and
            `response_b`, `chosen` and `rejected`, or a list `responses` (all its pairs are candidates). If a row has a
            list and two named responses, as picks from a list do, only those two are a candidate.
        model: a folder or a name on the Hub; a causal language model or a PEFT model in memory, with `tokenizer`; or a
            trainer (TRL's `DPOTrainer` or a like one), before, between or after its training. What is in memory is as
            it was afterwards.
        budget: number of pairs to select.
        tokenizer: tokenizer of the model in memory.
        reference: for a plain model in memory, the model that DPO holds it close to, for rules that need margins and
            no gradients.
        adapter: a PEFT LoRA adapter of the model; without one, gradients are those of a fresh adapter.
        labelled: pairs that already have labels, in the pool's formats; they count as past pairs and are not selected.
        targets: pairs on the target prompts, in the pool's formats, for a rule that needs them.
        acquisition: a rule's name, its name and settings, a dotted path, or a rule.
        normalize: how gradients are scaled, see `featurizers.gradient`.
        dimension: D of the projection; None for whole gradients.
        beta: β of the implicit reward; a trainer's own by default, otherwise 0.1.
        seed: the only source of randomness.
        features: a folder to store features in, from which a killed run resumes.
        precision: how gradients are stored; float16 above 8 GiB by default.
        max_tokens: tokens per forward pass, padding included.
        lora: arguments of peft.LoraConfig for the fresh adapter.
        dtype: type of the base weights when a model is loaded.
        progress: receives the progress.

    Returns:
        `budget` picks, in pick order: a list that also has the rule's `diagnostics`.

    Raises:
        DataError: if a row is not usable; the message names it.
        ModelError: if the model or adapter cannot be used.
        BudgetError: if there are fewer pairs than the budget.
        StorageError: if `features` holds another model's or projection's features, or cannot be used.
    """
    progress = progress or Silent()
    rule, options, needs = checked_rule(acquisition, targets, beta)
    pool = rereadable(pool)
    source = ModelSource(model, tokenizer, reference, adapter, lora, dtype, beta)
    with opened(source, needs, seed) as (policy, found_beta):
        candidates = read_some(pool, policy, "the pool")
        # Labelled data may be empty, before the first batch.
        past = read_pairs([] if labelled is None else labelled, policy, "the labelled data")
        aims = read_pairs([], policy, "the targets")
        if targets is not None and "target_MD" in needs:
            aims = read_some(targets, policy, "the targets")
        candidates = candidates.without(past)
        if budget < 1 or budget > len(candidates):
            raise BudgetError(
                f"`1 <= budget <= candidate pairs` must hold, but got budget={budget} and {len(candidates)} distinct "
                "pairs that have no label yet: lower the budget or enlarge the pool."
            )
        candidates = candidates.some(options.draw(candidates.ids, budget, generator(seed, "candidates")))
        settings = (
            {"name": "margin", "max_tokens": max_tokens},
            {"name": "gradient", "dimension": dimension, "normalize": normalize, "max_tokens": max_tokens},
            {"name": "embedding"},
        )
        featurizers = [Component.of(Featurizer, setting).build() for setting in settings]
        job = FeatureJob(
            Models(policy),
            candidates.questions,
            past.questions,
            prompts=first_found(candidates.prompts, past.prompts, aims.prompts),
            beta=found_beta,
            seed=derived_seed(seed, "projection"),
            progress=progress,
            targets=aims.questions,
            cache=FeatureCache(None if features is None else Path(features), precision or "automatic"),
        )
        seen = featurize(featurizers, needs, job, _recorded(needs, candidates.questions, past.questions))
    selection = choose(rule, seen, budget, generator(seed, "select"))
    picked = [candidates[i] for i in selection.indices_B]
    chosen = zip(picked, rows_at(pool, picked, "the pool"), selection.scores_B.tolist(), strict=True)
    picks = (
        Pick(
            rank,
            found.row_number,
            row,
            found.prompt.as_trl(),
            found.pair.a.text,
            found.pair.b.text,
            score,
            f"{selection.unit}: {score:.4g}",
        )
        for rank, (found, row, score) in enumerate(chosen, start=1)
    )
    return Picks(picks, selection.diagnostics)


def checked_rule(
    acquisition: str | Mapping[str, Any] | Acquisition, targets: Pool | None, beta: float | None
) -> tuple[Acquisition, AcquisitionOptions, frozenset[str]]:
    """Return a rule, its options, and the fields that it needs, for arguments of `select` that go together.

    Raises:
        RecipeError: if there is no such rule, or the arguments are not usable.
    """
    if isinstance(acquisition, Acquisition):
        rule, options = acquisition, AcquisitionOptions()
    else:
        component = Component.of(Acquisition, acquisition)
        rule, options = component.build(), component.options
    needs = options.needs(rule)
    if options.lure is not None:
        raise RecipeError(
            "`lure` weights the labels in a study's training, but a selection without a study trains nothing: leave it "
            "out, or run a study."
        )
    if "target_MD" in needs and targets is None:
        raise RecipeError(
            "This acquisition needs pairs on the prompts that matter, but `targets` is not given: give a file or rows "
            "with two or more responses to each, or choose another acquisition."
        )
    if beta is not None and not 0 < beta < np.inf:
        raise RecipeError(f"`beta` must be positive and finite, but is {beta}: give the β you train with, or 0.1.")
    return rule, options, needs


def _recorded(needs: frozenset[str], pairs: Sequence[Question], past: Sequence[Question]) -> dict[str, NDArray[Any]]:
    """Return the needed ones of the recorded fields that a study knows, but a file of labelled pairs does not.

    Votes and the margins before training are not known and set to 0; cost is estimated from length, because the
    annotation times are not known.
    """
    n = len(pairs) + len(past)
    fields: dict[str, Callable[[], NDArray[Any]]] = {
        "votes_N2": lambda: np.zeros((n, 2), np.int64),
        "asked_margin_N": lambda: np.zeros(n),
        "cost_N": lambda: StudyReadingTime({}).seconds(joined(pairs, past)),
    }
    return {name: field() for name, field in fields.items() if name in needs}
