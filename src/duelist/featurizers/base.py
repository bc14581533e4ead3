"""Interface of a featurizer, and `featurize`, which fills `Features` for candidates and past pairs together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.errors import RecipeError, user_code
from duelist.featurizers.feature_folder import FeatureCache
from duelist.models.trained import Models
from duelist.progress import Progress
from duelist.settings.context import Checked
from duelist.types import Features, Prompt, Question, Response

# Fields of pairs that a study knows without a featurizer.
KNOWN = frozenset({"past", "cost_N", "asked_margin_N", "votes_N2"})
KNOWN |= frozenset({"pair_id_N", "prompt_ids_N2", "response_ids_N2", "length_N2"})


@dataclass(frozen=True)
class FeatureJob:
    """Input of a featurizer.

    Attributes:
        models: the models of the study after the last round.
        candidates: the candidate pairs.
        past: the past pairs.
        prompts: the pairs' prompts, by id.
        beta: β of the implicit reward.
        seed: fixed for a study, so that projections agree from round to round.
        progress: reports progress.
        targets: the target pairs.
        cache: storage for the numbers of responses while features are computed.
        wanted: fields to compute, one or more of those the featurizer provides.
    """

    models: Models
    candidates: Sequence[Question]
    past: Sequence[Question]
    prompts: Mapping[str, Prompt]
    beta: float
    seed: int
    progress: Progress
    targets: Sequence[Question] = ()
    cache: FeatureCache = field(default_factory=FeatureCache)
    wanted: frozenset[str] = frozenset()

    @property
    def pairs(self) -> Sequence[Question]:
        """All pairs: candidates, then past pairs, then target pairs; N rows."""
        return [*self.candidates, *self.past, *self.targets]


class Featurizer(Checked, ABC):
    """Computation of some fields of `Features` with a model."""

    @property
    @abstractmethod
    def provides(self) -> tuple[str, ...]:
        """Fields of `Features` that the featurizer fills."""

    @abstractmethod
    def compute(self, job: FeatureJob) -> Mapping[str, NDArray[Any]]:
        """Return at least the fields in `job.wanted` over `job.pairs`, one row per pair."""


def featurize(
    featurizers: Sequence[Featurizer],
    needs: frozenset[str],
    job: FeatureJob,
    recorded: Mapping[str, NDArray[Any]] | None = None,
) -> Features:
    """Return the features in `needs` of the candidate pairs, and of the past pairs if `needs` contains `past`.

    Past and target pairs are featurised with the current model, together with the candidates.

    Args:
        featurizers: the available featurizers.
        needs: fields of `Features`, and `past`.
        job: the pairs, models and settings. Target pairs are used only if `needs` contains `target_MD`.
        recorded: fields that need no model, over candidates and then past pairs: `[N + P, ...]`.

    Raises:
        RecipeError: if no featurizer provides a needed field.
    """
    with_past, with_targets = "past" in needs, "target_MD" in needs
    job = replace(job, past=job.past if with_past else (), targets=job.targets if with_targets else ())
    features = Features.identities(job.candidates)
    fields = {name: values for name, values in (recorded or {}).items() if name in needs}
    wanted = {x for x in needs - {"past", "target_MD", *fields} if getattr(features, x) is None}
    wanted |= {"gradient_ND"} if with_targets else set()
    # Featurizers that provide most of the wanted fields come first: one pass may replace two.
    for featurizer in sorted(featurizers, key=lambda f: -len(wanted & set(f.provides))):
        of_this = frozenset(wanted & set(featurizer.provides))
        if of_this:
            with user_code(featurizer):
                computed = featurizer.compute(replace(job, wanted=of_this))
                fields |= {name: values for name, values in computed.items() if name in wanted}
            wanted -= fields.keys()
    if wanted:
        raise _not_provided(wanted, featurizers)
    n, p = len(job.candidates), len(job.past)
    own: dict[str, Any] = {name: values[:n] for name, values in fields.items()}
    if with_targets:
        own["target_MD"] = fields["gradient_ND"][n + p :]
    if with_past:
        of_past: dict[str, Any] = {name: values[n : n + p] for name, values in fields.items()}
        own["past"] = replace(Features.identities(job.past), **of_past)
    return replace(features, **own)


def require_provided(needs: frozenset[str], featurizers: Sequence[Featurizer]) -> None:
    """Require a featurizer for every field of `needs` that a study does not know without one.

    Raises:
        RecipeError: if no featurizer provides a field; the message names the missing fields.
    """
    fields = {"gradient_ND" if name == "target_MD" else name for name in needs - KNOWN}
    missing = fields - {name for f in featurizers for name in f.provides}
    if missing:
        raise _not_provided(missing, featurizers)


def _not_provided(fields: Set[str], featurizers: Sequence[Featurizer]) -> RecipeError:
    provided = sorted({name for f in featurizers for name in f.provides})
    return RecipeError(
        f"A featurizer must provide {', '.join(sorted(fields))}, but this recipe's provide {', '.join(provided)} "
        "only: add one to `featurizers` (`duelist methods` lists them), or choose another acquisition."
    )


def distinct_responses(pairs: Sequence[Question]) -> tuple[list[Response], NDArray[np.int64]]:
    """Return the R distinct responses of N pairs, and the positions `[N, 2]` of each pair's a and b among them."""
    position: dict[str, int] = {}
    responses: list[Response] = []
    for pair in pairs:
        for response in (pair.a, pair.b):
            if response.id not in position:
                position[response.id] = len(responses)
                responses.append(response)
    index_N2 = np.array([(position[p.a.id], position[p.b.id]) for p in pairs], dtype=np.int64).reshape(len(pairs), 2)
    return responses, index_N2
