"""Training items of people and of a judge: the prediction-powered loss of each pair as its weight and its target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from duelist.choice_models.prediction_powered import coefficients, share_and_weight, tuned_omegas
from duelist.errors import DataError
from duelist.progress import Progress
from duelist.study.draw_weights import weighted
from duelist.study.judged_pool import JudgedPools
from duelist.trainers.judge_use import JudgeUse
from duelist.types import Answer, Decision, Label, Preference, Prompt, Question

OUTSIDE = 1e-6  # how far a target may be outside [0, 1] before it is reported


def with_judge(
    use: JudgeUse,
    pools: JudgedPools,
    decisions: Sequence[Decision],
    answers: Sequence[Label | Answer],
    rounds: range,
    prompts: Mapping[str, Prompt],
    progress: Progress,
    weights: Mapping[str, float],
) -> tuple[list[Decision], dict[str, float]]:
    """Return the training items of people's decisions together with a judge's, and numbers to report.

    Args:
        use: how the judge is used.
        pools: the judgements.
        decisions: people's decisions on pairs asked in `rounds`, and on answers that they wrote themselves.
        answers: their answers.
        rounds: the rounds to train on. Decisions known before round 1 count as without a judge.
        prompts: the prompts of the pools, by id.
        progress: is told of targets outside [0, 1].
        weights: weights of pairs drawn with known probabilities, by id.
    """
    people = {"preferences": float(len(decisions))}
    rounds = range(max(1, rounds.start), rounds.stop)  # preferences known before round 1 have no pool and no judge
    if use.how == "as_people":
        known = {x.pair_id for x in decisions if isinstance(x, Preference)}
        judged = _as_people(pools, rounds, prompts)
        added = [judged[i] for i in sorted(judged.keys() - known)]
        return _sorted([*weighted(decisions, weights), *added]), people | {"judged_pairs": float(len(added))}
    items, report = _corrected(use, pools, decisions, answers, rounds, prompts, weights)
    outside = int(report["targets_outside"])
    if outside:
        progress.note(
            f"{outside} of {len(items)} pairs have an effective target outside [0, 1], by up to "
            f"{report['furthest_target']:.3g}: people contradict the judge there. "
            + (
                f"`kl_penalty: {use.kl_penalty:g}` bounds their loss."
                if use.kl_penalty
                else "Nothing bounds their loss."
            )
        )
    return items, people | report


def _as_people(pools: JudgedPools, rounds: range, prompts: Mapping[str, Prompt]) -> dict[str, Preference]:
    found: dict[str, Preference] = {}
    for t in rounds:
        judged = pools.round(t)
        probability = {x.pair_id: x.judgement.probability for x in judged.pairs}
        for q in pools.further(t):
            p = probability[q.id]
            if p is not None:
                found[q.id] = replace(_item(q, p, q.weight, prompts), annotator=judged.judge)
    return found


def _corrected(
    use: JudgeUse,
    pools: JudgedPools,
    decisions: Sequence[Decision],
    answers: Sequence[Label | Answer],
    rounds: range,
    prompts: Mapping[str, Prompt],
    weights: Mapping[str, float],
) -> tuple[list[Decision], dict[str, float]]:
    by_round = pools.samples(answers, decisions, rounds, weights)
    samples = [sample for _, sample in by_round]
    omegas = tuned_omegas(samples) if use.omega is None else [np.full(len(s.fold_P), use.omega) for s in samples]
    questions: dict[str, Question] = {}
    total: dict[str, NDArray[np.float64]] = {}  # coefficients for a and for b, and the part to be bounded
    asked_ids: set[str] = set()
    for t, (asked, sample), omega_P in zip(rounds, by_round, omegas, strict=True):
        found = coefficients(sample, omega_P, use.weights)
        further = pools.further(t)
        rows = np.concatenate(
            [
                np.concatenate([found.asked_P2, found.corrected_P[:, None]], axis=1),
                np.concatenate([found.further_R2, np.zeros((len(further), 1))], axis=1),
            ]
        )
        asked_ids |= {x.question.id for x in asked}
        for q, row in zip((*(x.question for x in asked), *further), rows, strict=True):
            questions[q.id] = q
            total[q.id] = total.get(q.id, np.zeros(3)) + row
    used = sorted(i for i, row in total.items() if row.any())
    others = [x for x in decisions if isinstance(x, Preference) and x.pair_id not in asked_ids]  # known, or written
    labels = sum(s.labels for s in samples) + len(others)
    share_N, weight_N = share_and_weight(np.array([total[i][:2] for i in used]).reshape(-1, 2))
    scale = (len(used) + len(others)) / labels if labels else 1.0  # the trainer takes the mean over its items
    who = {x.pair_id: x.annotator for x in decisions if isinstance(x, Preference)}
    items: list[Decision] = [
        replace(
            _item(questions[i], share, scale * weight, prompts),
            annotator=who.get(i, "judge"),
            labelled=i in who,
            penalty=scale * use.kl_penalty * float(total[i][2]),
        )
        for i, share, weight in zip(used, share_N.tolist(), weight_N.tolist(), strict=True)
    ]
    items += [replace(x, weight=scale * x.weight) for x in others]
    beyond_N = np.maximum(-share_N, share_N - 1.0)
    sampled = np.concatenate([o[s.sampled_P] for o, s in zip(omegas, samples, strict=True)])
    return _sorted(items), {
        "judged_pairs": float(len(used) - len(asked_ids & set(used))),
        "omega": float(sampled.mean()) if len(sampled) else 0.0,
        "targets_outside": float((beyond_N > OUTSIDE).sum()),
        "furthest_target": float(max(beyond_N.max(initial=0.0), 0.0)),
    }


def _item(q: Question, share: float, weight: float, prompts: Mapping[str, Prompt]) -> Preference:
    """Return a pair with the target `share` for a; the response with the larger coefficient is the chosen one."""
    if q.a.prompt_id != q.b.prompt_id:
        raise DataError(
            f"A judge compares responses to one prompt, but pair {q.id} crosses two: use another pairing than "
            "`cross_prompt`, or set `judged_pool` to null."
        )
    origins = None if q.drawn_from is None else (q.drawn_from[0], q.drawn_from[1])
    if weight * share >= weight * (1.0 - share):
        return Preference(prompts[q.a.prompt_id], q.a, q.b, q.id, "judge", share, weight, origins)
    swapped = None if origins is None else (origins[1], origins[0])
    return Preference(prompts[q.a.prompt_id], q.b, q.a, q.id, "judge", 1.0 - share, weight, swapped)


def _sorted(items: Sequence[Decision]) -> list[Decision]:
    return sorted(items, key=lambda x: (x.pair_id if isinstance(x, Preference) else x.question_id, x.annotator))
