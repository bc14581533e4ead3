"""The interface of a featurizer, and `featurize`, which fills `Features` for candidates and past pairs at once."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.errors import DuelistError
from duelist.models.logprobs import TokenizedResponse
from duelist.models.policy import Policy
from duelist.progress import Progress
from duelist.types import Features, Pair, Response


class Featurizer(ABC):
    """Computes some of the fields of `Features` with a model."""

    @property
    @abstractmethod
    def provides(self) -> tuple[str, ...]:
        """The fields of `Features` that it fills."""

    @abstractmethod
    def compute(
        self, policy: Policy, pairs: Sequence[Pair], wanted: frozenset[str], beta: float, seed: int, progress: Progress
    ) -> Mapping[str, NDArray[Any]]:
        """Fields over `pairs`.

        Args:
            policy: the model, with its reference.
            pairs: N pairs.
            wanted: which of the fields it provides to compute, one or more.
            beta: β of the implicit reward.
            seed: fixed for a study, so that projections agree from round to round.
            progress: told how many responses are done.
        """


def featurize(
    featurizers: Sequence[Featurizer],
    needs: frozenset[str],
    policy: Policy,
    candidates: Sequence[Pair],
    past: Sequence[Pair],
    *,
    beta: float,
    seed: int,
    progress: Progress,
) -> Features:
    """The features of the candidate pairs that `needs` names, and of the past pairs if it names `past`.

    Past pairs are featurised with the current model, together with the candidates.

    Raises:
        DuelistError: if no featurizer provides a field that is needed.
    """
    features = Features.identities(candidates)
    features_past = Features.identities(past)
    free = {f.name for f in dataclasses.fields(Features) if getattr(features, f.name) is not None}
    wanted = needs - free - {"past"}
    with_past = "past" in needs
    pairs = [*candidates, *past] if with_past else list(candidates)
    # One featurizer may give in one pass what two would in two: those that provide most of what is wanted come first.
    for featurizer in sorted(featurizers, key=lambda f: -len(wanted & set(f.provides))):
        fields_wanted = wanted & set(featurizer.provides)
        if fields_wanted:
            fields = featurizer.compute(policy, pairs, fields_wanted, beta, seed, progress)
            filled = {name: values for name, values in fields.items() if name in wanted}
            of_candidates: dict[str, Any] = {k: v[: features.n] for k, v in filled.items()}
            of_past: dict[str, Any] = {k: v[features.n :] for k, v in filled.items()}
            features = dataclasses.replace(features, **of_candidates)
            features_past = dataclasses.replace(features_past, **of_past)
            wanted = wanted - set(filled)
    if wanted:
        provided = sorted({name for f in featurizers for name in f.provides})
        raise DuelistError(
            f"A featurizer must provide {', '.join(sorted(wanted))}, but this recipe's provide {', '.join(provided)} "
            f"only."
        )
    return dataclasses.replace(features, past=features_past) if with_past else features


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


def tokenized(responses: Sequence[Response]) -> list[TokenizedResponse]:
    """The token ids that log-probabilities and gradients are taken of."""
    return [TokenizedResponse(r.prompt_token_ids, r.token_ids) for r in responses]
