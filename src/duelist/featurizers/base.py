"""Interface of a featurizer, and `featurize`, which fills `Features` for candidates and past pairs together."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.errors import RecipeError, user_code
from duelist.featurizers.feature_folder import FeatureCache
from duelist.featurizers.identities import identities
from duelist.files.sequences import Computed, joined
from duelist.models.trained import Models
from duelist.progress import Progress
from duelist.settings.context import Checked
from duelist.types import FIELDS_OF_SETS, Features, Prompt, Question, Response

# Fields of pairs that a study knows without a featurizer.
KNOWN = frozenset({"past", "cost_N", "asked_margin_N", "votes_N2"})
KNOWN |= frozenset({"pair_id_N", "prompt_ids_N2", "response_ids_N2", "length_N2"})
# Fields without a counterpart where some question has more than two responses.
ONLY_OF_PAIRS = frozenset({"prompt_ids_N2", "response_ids_N2", "length_N2", "log_ratio_N2", "reward_N2K"})
# Those among the fields of sets: they have a row per answer, and belong to past questions.
RECORDED_OF_SETS = ("asked_reward_XQ", "rank_XQ", "answered_X")


@dataclass(frozen=True)
class FeatureJob:
    """Input of a featurizer.

    Attributes:
        models: the models of the study after the last round.
        candidates: the candidate questions.
        past: the past questions.
        prompts: the questions' prompts, by id.
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
    def questions(self) -> Sequence[Question]:
        """All questions: candidates, then past questions, then target pairs; N rows."""
        return joined(self.candidates, self.past, self.targets)


class Featurizer(Checked, ABC):
    """Computation of some fields of `Features` with a model."""

    @property
    @abstractmethod
    def provides(self) -> tuple[str, ...]:
        """Fields of `Features` that the featurizer fills."""

    @abstractmethod
    def compute(self, job: FeatureJob) -> Mapping[str, NDArray[Any]]:
        """Return at least the fields in `job.wanted`.

        Fields of pairs have one row per pair of `job.questions`. Fields whose name ends in `_R` or `_RD` have one row
        per response, in the order of `distinct_responses`; they are wanted where some question has more than two.
        """


def featurize(
    featurizers: Sequence[Featurizer],
    needs: frozenset[str],
    job: FeatureJob,
    recorded: Mapping[str, NDArray[Any]] | None = None,
) -> Features:
    """Return the features in `needs` of the candidates, and of the past questions if `needs` contains `past`.

    Past questions and target pairs are featurised with the current model, together with the candidates. If some
    question has more than two responses, the fields of `FIELDS_OF_SETS` take the place of those of pairs.

    Args:
        featurizers: the available featurizers.
        needs: fields of `Features`, and `past`.
        job: the pairs, models and settings. Target pairs are used only if `needs` contains `target_MD`.
        recorded: fields that need no model, over candidates and then past questions: `[N + P, ...]`; the fields of
            answers, over the X answers.

    Raises:
        RecipeError: if no featurizer provides a needed field, or one is defined for pairs only.
    """
    with_past, with_targets = "past" in needs, "target_MD" in needs
    job = replace(job, past=job.past if with_past else (), targets=job.targets if with_targets else ())
    sets = has_sets(joined(job.candidates, job.past))
    if sets:
        _require_of_sets(needs)
        needs = fields_of_sets(needs)
    features = _identities(job.candidates, sets)
    if needs & set(RECORDED_OF_SETS):  # answers are read together: the numbers, and to which question they belong
        needs |= set(RECORDED_OF_SETS)
    fields = {name: values for name, values in (recorded or {}).items() if name in needs}
    wanted = {x for x in needs - {"past", "target_MD", *fields} if getattr(features, x) is None}
    wanted -= set(RECORDED_OF_SETS)  # there are none before the first answer
    gradient = FIELDS_OF_SETS["gradient_ND"] if sets else "gradient_ND"
    wanted |= {gradient} if with_targets else set()
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
    if sets:
        return _of_sets(features, fields, job, with_past, with_targets)
    n, p = len(job.candidates), len(job.past)
    own: dict[str, Any] = {name: values[:n] for name, values in fields.items()}
    if with_targets:
        own["target_MD"] = fields["gradient_ND"][n + p :]
    if with_past:
        of_past: dict[str, Any] = {name: values[n : n + p] for name, values in fields.items()}
        own["past"] = replace(Features.identities(job.past), **of_past)
    return replace(features, **own)


def has_sets(questions: Sequence[Question]) -> bool:
    """Return whether some question has more than two responses."""
    return any(q.k > 2 for q in questions)


def fields_of_sets(needs: Set[str]) -> frozenset[str]:
    """Return the fields that take the place of `needs` where some question has more than two responses."""
    return frozenset({FIELDS_OF_SETS.get(name, name) for name in needs})


def _require_of_sets(needs: Set[str]) -> None:
    of_pairs = sorted(needs & ONLY_OF_PAIRS)
    if of_pairs:
        raise RecipeError(
            f"{', '.join(of_pairs)} are defined for two responses, but some questions have more: set "
            "`pairing.sets_of` to 2, or choose an acquisition that scores larger questions."
        )


def _identities(questions: Sequence[Question], sets: bool) -> Features:
    """Return the features that cost nothing to compute; those of pairs are empty where there are larger questions."""
    if not sets:
        return identities(questions)
    asks_N = np.array([q.asks for q in questions], dtype=np.str_)
    return replace(Features.identities([]), pair_id_N=np.array([q.id for q in questions], dtype=np.str_), asks_N=asks_N)


def _of_sets(
    features: Features, fields: dict[str, Any], job: FeatureJob, with_past: bool, with_targets: bool
) -> Features:
    """Return the features of questions of several sizes: the numbers of all R responses, and who is where."""
    _, place_NQ = distinct_responses(job.questions)
    n, p = len(job.candidates), len(job.past)
    of_answers = {name: fields.pop(name) for name in RECORDED_OF_SETS if name in fields}
    per_question = {name: values for name, values in fields.items() if name.endswith("_N")}
    shared = {name: values for name, values in fields.items() if name not in per_question}
    own: dict[str, Any] = {**shared, **{name: values[:n] for name, values in per_question.items()}}
    if with_targets:
        gradient_RD, target_M2 = fields[FIELDS_OF_SETS["gradient_ND"]], place_NQ[n + p :, :2]
        own["target_MD"] = gradient_RD[target_M2[:, 0]] - gradient_RD[target_M2[:, 1]]
    if with_past:
        of_past = {name: values[n : n + p] for name, values in per_question.items()}
        past = _identities(job.past, sets=True)
        own["past"] = replace(past, place_NQ=place_NQ[n : n + p], **shared, **of_past, **of_answers)
    return replace(features, place_NQ=place_NQ[:n], **own)


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


def distinct_responses(questions: Sequence[Question]) -> tuple[Sequence[Response], NDArray[np.int64]]:
    """Return the R distinct responses of N questions, and the positions `[N, Q]` of each question's among them.

    Q is the size of the largest question, at least 2; positions beyond a question's last response are −1. The responses
    are in the order of their first appearance, and each is taken from its question when it is asked for.
    """
    id_X, end_N = array("Q"), array("q")  # X: the responses of all questions, repetitions included
    for question in questions:
        id_X.extend(_digest(response.id) for response in question.responses)
        end_N.append(len(id_X))
    stop_N = np.array(end_N, np.int64)
    size_N = np.diff(stop_N, prepend=0)
    _, first_R, number_X = np.unique(np.array(id_X, np.uint64), return_index=True, return_inverse=True)
    place_R = np.empty(len(first_R), np.int64)
    place_R[np.argsort(first_R)] = np.arange(len(first_R))
    place_NQ = np.full((len(questions), size_N.max(initial=2)), -1, np.int64)
    place_NQ[np.arange(place_NQ.shape[1]) < size_N[:, None]] = place_R[number_X]
    first_R.sort()
    question_R = np.searchsorted(stop_N, first_R, "right")

    def response(position: int) -> Response:
        responses = questions[int(question_R[position])].responses
        return responses[int(first_R[position] - stop_N[question_R[position]])]  # counted from the last one

    return Computed(len(first_R), response), place_NQ


def _digest(response_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(response_id.encode(), digest_size=8).digest(), "little")
