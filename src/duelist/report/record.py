"""Reading of a study folder for reports: without its lock or a model, while another process may write to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.acquisition.stopping import End, StopConfig, study_end
from duelist.evaluation.metrics import agreement, finite
from duelist.labels import PEOPLE_OUTCOMES
from duelist.recipe.values import name_of
from duelist.store.artifacts import read_jsonl
from duelist.store.codecs import STEPS
from duelist.store.damage import damage
from duelist.store.decisions import decided_margins, question_of
from duelist.store.layout import ARMS, DATABASE, RECIPE, require_study, round_folder
from duelist.store.recipe_file import read_recipe
from duelist.store.remains import is_filled, require_whole_record
from duelist.store.row_codecs import AskedQuestion, Stage
from duelist.store.store import Store
from duelist.types import Answer, Label, Prompt

_BLOCK = 256  # rows of the similarity matrix in memory at a time


@dataclass(frozen=True)
class Arm:
    """Current state of one study: the reported study, or one that it is compared with.

    Attributes:
        label: name of the study in the report.
        folder: its folder.
        recipe: recipe as plain data.
        metrics: one row per closed round, the initial model's first.
        stages: finished stages.
        asked: every asked pair, by round and pick.
        prompts: prompts by id.
        answers: the label or answer that counts for each question and annotator.
        known: number of preferences known before round 1, which are neither asked pairs nor answers here.
        damage: one message for each lost, deleted or changed part of the folder.
        judged: judges' labels, those that are not trained on included.
    """

    label: str
    folder: Path
    recipe: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    stages: Sequence[Stage]
    asked: Sequence[AskedQuestion]
    prompts: Mapping[str, Prompt]
    answers: Sequence[Label | Answer]
    damage: Sequence[str] = ()
    judged: Sequence[Label] = ()
    known: int = 0

    @property
    def labels(self) -> list[Label]:
        """The labels of pairs that count."""
        return [x for x in self.answers if isinstance(x, Label)]

    @property
    def rounds_closed(self) -> int:
        """Number of closed rounds, without the evaluation of the initial model."""
        return max(len(self.metrics) - 1, 0)

    @property
    def rounds(self) -> int:
        """Number of rounds in the recipe, T."""
        return int(self.recipe["rounds"])

    @property
    def measured(self) -> Sequence[Mapping[str, Any]]:
        """Metrics of the evaluated closed rounds; those of all closed rounds if none is marked as evaluated."""
        evaluated = [m for m in self.metrics if "evaluate" in (m.get("seconds") or {})]
        return evaluated or self.metrics

    @property
    def end(self) -> End:
        """Last round of the study as far as is known, and why the stopping rule ends it there."""
        rule = self.recipe.get("stop")
        latest = max((s for s in self.stages if s.name == "select"), key=lambda s: s.round, default=None)
        stop = None if rule is None else StopConfig.model_validate(rule)
        return study_end(stop, self.rounds, *((latest.round, latest.info) if latest else (0, {})))

    @property
    def finished(self) -> bool:
        """Whether no round is left."""
        return self.rounds_closed >= self.end.round


@dataclass(frozen=True)
class Selected:
    """Statistics of the pairs asked in one round.

    Attributes:
        round: the round.
        margin_B: |ρ| of each pair, the implicit reward margin before the round's training, in nats times β.
        ranking_accuracy: share of the `ranked` preferences that agree with the margin's sign; None if there are none.
        ranked: number of preferences on pairs whose margin is not 0.
        length: mean response length in tokens.
        longer_wins: share of the `unequal` preferences whose chosen response has more tokens.
        unequal: number of preferences between responses of different lengths.
        similarity: mean over pairs of the largest Jaccard similarity of the pair's set of response tokens to that of
            any pair asked earlier in the study; None if no pair was asked earlier.
        prompts: number of distinct prompts.
        answered: number of pairs with a label.
        outcomes: number of labels by outcome.
        groups: number of pairs by the value of the prompts' grouping column; empty without one.
    """

    round: int
    margin_B: NDArray[np.float64]
    ranking_accuracy: float | None
    ranked: int
    length: float
    longer_wins: float | None
    unequal: int
    similarity: float | None
    prompts: int
    answered: int
    outcomes: Mapping[str, int]
    groups: Mapping[str, int]


def read_arm(folder: Path, label: str | None = None) -> Arm:
    """Read one study.

    Args:
        folder: study folder.
        label: name of the study; its acquisition's name by default.

    Raises:
        StorageError: if there is no study in the folder, or its database is missing or empty.
    """
    require_study(folder)
    if not is_filled(folder / DATABASE):
        require_whole_record(folder)
    store = Store(folder, migrate=False)
    try:
        recipe = store.recipe() or read_recipe(folder)
        # In this order, later reads contain every row that earlier reads refer to, even while a writer adds rows.
        metrics, stages, every = store.metrics(), store.stages(), store.asked()
        prompts, answers = store.prompts(), store.current_answers()
        judged = [x for x in store.current_labels(advisory=True) if x.judgement is not None]
        wrong = damage(folder, store, recipe)
    finally:
        store.close()
    asked = [x for x in every if x.round > 0]  # of round 0: known before
    ids = {x.question.id for x in asked}
    counted = [x for x in answers if question_of(x) in ids]
    name = label or name_of(recipe, "acquisition").rpartition(":")[2]
    known = len(answers) - len(counted)
    return Arm(name, folder, recipe, metrics, stages, asked, prompts, counted, wrong, judged, known)


def read_arms(folder: Path) -> list[Arm]:
    """Read the study in a folder, followed by every study that has begun under `compare/`.

    Raises:
        StorageError: if there is no study in the folder.
    """
    main = read_arm(folder)
    others = [read_arm(path.parent, path.parent.name) for path in sorted(folder.glob(f"{ARMS}/*/{RECIPE}"))]
    if main.label in {x.label for x in others}:
        main = read_arm(folder, f"{main.label} (this study)")
    return [main, *others]


def reward_kl_rows(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Return the reward–KL curve of every arm: one row per measurement of both, in the arms' order.

    With `evaluation.every_steps`, the measurements within a round come before the round's own, and the rows have the
    optimizer `step` of the round's training; None at the end of a round.
    """
    rows: list[dict[str, Any]] = []
    within = any(arm.recipe["evaluation"].get("every_steps") for arm in arms)
    for arm in arms:
        for m in arm.metrics:
            for point in (*_steps(arm, m["round"]), m):
                values = {key: finite(point.get(key)) for key in ("kl", "mean_reward", "j")}
                if values["kl"] is not None and values["mean_reward"] is not None:
                    row = {"arm": arm.label, "round": m["round"], "labels": m["labels"], **values}
                    rows.append({**row, "step": point.get("step")} if within else row)
    return rows


def _steps(arm: Arm, t: int) -> list[dict[str, Any]]:
    """Return what was measured between the optimizer steps of a round."""
    path = round_folder(arm.folder, t) / STEPS.file
    try:
        return read_jsonl(path) if path.is_file() else []
    except ValueError:
        return []  # damaged: the curve is of the other measurements


def selected(arm: Arm) -> list[Selected]:
    """Return the statistics of the asked questions, for each round with asked questions."""
    similarity_B = similarity_to_earlier([{t for r in x.question.responses for t in r.token_ids} for x in arm.asked])
    answers: dict[str, list[Label | Answer]] = {}
    for answer in arm.answers:
        answers.setdefault(question_of(answer), []).append(answer)
    column = arm.recipe["evaluation"].get("group_by")
    found = []
    for t in sorted({x.round for x in arm.asked}):
        of_round = [i for i, x in enumerate(arm.asked) if x.round == t]
        asked = [arm.asked[i] for i in of_round]
        given = [(x, answer) for x in asked for answer in answers.get(x.question.id, [])]
        accuracy, ranked = agreement([decision for x, answer in given for decision in decided_margins(x, answer)])
        longer, unequal = agreement([decision for x, answer in given for decision in _lengths(x, answer)])
        seen_before = [s for s in (similarity_B[i] for i in of_round) if not np.isnan(s)]
        responses = [r for x in asked for r in x.question.responses]
        found.append(
            Selected(
                round=t,
                margin_B=np.abs([x.margin for x in asked]),
                ranking_accuracy=accuracy,
                ranked=ranked,
                length=float(np.mean([len(r.token_ids) for r in responses])),
                longer_wins=longer,
                unequal=unequal,
                similarity=float(np.mean(seen_before)) if seen_before else None,
                prompts=len({r.prompt_id for r in responses}),
                answered=sum(x.question.id in answers for x in asked),
                outcomes=_outcomes([answer for _, answer in given]),
                groups=_groups(asked, arm.prompts, column),
            )
        )
    return found


def _lengths(asked: AskedQuestion, answer: Label | Answer) -> list[tuple[float, str]]:
    """Return (difference of lengths, outcome) of every pair that an answer decides."""
    lengths = tuple(float(len(r.token_ids)) for r in asked.question.responses)
    margin = lengths[0] - lengths[1]
    return decided_margins(replace(asked, rewards=lengths, margin=margin), answer)


def _outcomes(answers: Sequence[Label | Answer]) -> dict[str, int]:
    """Return the number of answers by outcome; those of judges and of larger questions only where there are any."""
    counts: Counter[str] = Counter(x.outcome for x in answers)
    others = {name: n for name, n in sorted(counts.items()) if name not in PEOPLE_OUTCOMES}
    return {name: counts[name] for name in PEOPLE_OUTCOMES} | others


def similarity_to_earlier(token_sets: Sequence[set[int]]) -> NDArray[np.float64]:
    """Return each set's largest Jaccard similarity |A ∩ B| / |A ∪ B| to any earlier set, `[B]`; NaN for the first."""
    n = len(token_sets)
    largest_B = np.full(n, np.nan)
    if n < 2:
        return largest_B
    columns = np.concatenate([np.fromiter(s, dtype=np.int64) for s in token_sets])
    size_B = np.array([len(s) for s in token_sets])
    starts = np.concatenate([[0], np.cumsum(size_B)])
    member = scipy.sparse.csr_array((np.ones(len(columns)), columns, starts), shape=(n, int(columns.max()) + 1))
    for first in range(0, n, _BLOCK):
        rows = np.arange(first, min(first + _BLOCK, n))
        common = (member[rows] @ member[: rows[-1] + 1].T).toarray()
        jaccard = common / (size_B[rows, None] + size_B[None, : rows[-1] + 1] - common)
        jaccard[np.arange(rows[-1] + 1)[None, :] >= rows[:, None]] = -np.inf  # the set itself and later sets
        largest_B[rows] = jaccard.max(axis=1)
    largest_B[0] = np.nan
    return largest_B


def _groups(pairs: Sequence[AskedQuestion], prompts: Mapping[str, Prompt], column: str | None) -> dict[str, int]:
    if column is None:
        return {}
    return dict(Counter(str(prompts[x.question.responses[0].prompt_id].columns.get(column)) for x in pairs))
