"""The interface of a featurizer, and `featurize`, which fills `Features` for candidates and past pairs at once."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.errors import RecipeError, user_code
from duelist.models.trained import Models
from duelist.progress import Progress
from duelist.settings.context import Checked
from duelist.types import Features, Pair, Prompt, Response

# What a study knows of pairs without a featurizer.
KNOWN = frozenset({"past", "cost_N", "asked_margin_N", "votes_N2"})
KNOWN |= frozenset({"pair_id_N", "prompt_ids_N2", "response_ids_N2", "length_N2"})


@dataclass(frozen=True)
class FeatureJob:
    """What a featurizer is to work on.

    Attributes:
        models: the models of the study, as the last round left them.
        pairs: candidates, then past pairs, then target pairs: N rows in all.
        candidates: how many of `pairs` are candidates.
        past: how many are past pairs.
        prompts: the pairs' prompts, by id.
        wanted: which of the fields that the featurizer provides to compute, one or more.
        beta: β of the implicit reward.
        seed: fixed for a study, so that projections agree from round to round.
        progress: told how much is done.
    """

    models: Models
    pairs: Sequence[Pair]
    candidates: int
    past: int
    prompts: Mapping[str, Prompt]
    wanted: frozenset[str]
    beta: float
    seed: int
    progress: Progress


class Featurizer(Checked, ABC):
    """Computes some of the fields of `Features` with a model."""

    @property
    @abstractmethod
    def provides(self) -> tuple[str, ...]:
        """The fields of `Features` that it fills."""

    @abstractmethod
    def compute(self, job: FeatureJob) -> Mapping[str, NDArray[Any]]:
        """The fields `job.wanted` (others may come along) over `job.pairs`, one row each."""


def featurize(
    featurizers: Sequence[Featurizer],
    needs: frozenset[str],
    models: Models,
    candidates: Sequence[Pair],
    past: Sequence[Pair],
    *,
    prompts: Mapping[str, Prompt],
    beta: float,
    seed: int,
    progress: Progress,
    targets: Sequence[Pair] = (),
    recorded: Mapping[str, NDArray[Any]] | None = None,
) -> Features:
    """The features of the candidate pairs that `needs` names, and of the past pairs if it names `past`.

    Past and target pairs are featurised with the current model, together with the candidates.

    Args:
        featurizers: what may be asked.
        needs: fields of `Features`, and `past`.
        models: the models of the study.
        candidates: N pairs.
        past: P pairs.
        prompts: the prompts of all pairs, by id.
        beta: β of the implicit reward.
        seed: of projections and posterior draws.
        progress: told how much is done.
        targets: M pairs on the prompts that matter, where `needs` names `target_MD`.
        recorded: fields that no model is needed for, over candidates and then past pairs: `[N + P, ...]`.

    Raises:
        RecipeError: if no featurizer provides a field that is needed.
    """
    n, with_past, with_targets = len(candidates), "past" in needs, "target_MD" in needs
    features, features_past = Features.identities(candidates), Features.identities(past)
    for name, values in (recorded or {}).items():
        if name in needs:
            known: dict[str, Any] = {name: values[:n]}
            known_of_past: dict[str, Any] = {name: values[n:]}
            features = dataclasses.replace(features, **known)
            features_past = dataclasses.replace(features_past, **known_of_past)
    wanted = {name for name in needs - {"past", "target_MD"} if getattr(features, name) is None}
    wanted |= {"gradient_ND"} if with_targets else set()
    pairs = [*candidates, *(past if with_past else ()), *(targets if with_targets else ())]
    p = len(past) if with_past else 0
    # One featurizer may give in one pass what two would in two: those that provide most of what is wanted come first.
    for featurizer in sorted(featurizers, key=lambda f: -len(wanted & set(f.provides))):
        of_this = frozenset(wanted & set(featurizer.provides))
        if of_this:
            job = FeatureJob(models, pairs, n, p, prompts, of_this, beta, seed, progress)
            with user_code(featurizer):
                fields = {name: values for name, values in featurizer.compute(job).items() if name in wanted}
            of_candidates: dict[str, Any] = {k: v[:n] for k, v in fields.items()}
            of_past: dict[str, Any] = {k: v[n : n + p] for k, v in fields.items()}
            if with_targets and "gradient_ND" in fields:
                of_candidates["target_MD"] = fields["gradient_ND"][n + p :]
            features = dataclasses.replace(features, **of_candidates)
            features_past = dataclasses.replace(features_past, **of_past)
            wanted -= set(fields)
    if wanted:
        raise _not_provided(wanted, featurizers)
    return dataclasses.replace(features, past=features_past) if with_past else features


def require_provided(needs: frozenset[str], featurizers: Sequence[Featurizer]) -> None:
    """Require a featurizer for every field of `needs` that a study does not know without one.

    Raises:
        RecipeError: naming those that none provides.
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


def distinct_responses(pairs: Sequence[Pair]) -> tuple[list[Response], NDArray[np.int64]]:
    """The R distinct responses of N pairs, and the positions `[N, 2]` of each pair's a and b among them."""
    position: dict[str, int] = {}
    responses: list[Response] = []
    for pair in pairs:
        for response in (pair.a, pair.b):
            if response.id not in position:
                position[response.id] = len(responses)
                responses.append(response)
    index_N2 = np.array([(position[p.a.id], position[p.b.id]) for p in pairs], dtype=np.int64).reshape(len(pairs), 2)
    return responses, index_N2
