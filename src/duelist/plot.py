"""matplotlib figures of studies and selections, for notebooks and papers. matplotlib's global state is not changed.

Each function takes a study, its folder, or several of them, and returns a `Figure`: show it in a notebook, change it,
or save it with `figure.savefig("curve.pdf")`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from duelist.errors import RecipeError
from duelist.evaluation.metrics import METRICS, finite, interval_of
from duelist.people.agreement import pairwise_agreement
from duelist.people.intervals import Estimate, clustered_proportion
from duelist.people.votes import ballots
from duelist.report.plots import colour, draw_level, draw_line, integer_axis, new_figure, style
from duelist.report.record import Arm, read_arms
from duelist.selection.choice import Picks
from duelist.settings.validation import nearest
from duelist.study.study import Study

Source = Study | str | Path


def curve(*studies: Source, metric: str = "mean_reward") -> Figure:
    """Draw a metric over labels, one line for each study and comparison arm, with its 95 % interval if it has one.

    Args:
        *studies: studies, or their folders.
        metric: a metric of docs/metrics.md.

    Raises:
        RecipeError: if there is no such metric, or no study has measured it.
        StorageError: if a folder holds no study.
    """
    found = {m.name: m for m in METRICS}
    if metric not in found:
        raise RecipeError(f"`metric` must be one of docs/metrics.md, but got {metric!r}.{nearest(metric, found)}")
    spec, arms = found[metric], _arms(studies)
    with style(metric):
        figure = new_figure(6.0, 3.6)
        axes = figure.add_subplot(xlabel="labels", ylabel=spec.heading)
        drawn = False
        for index, (label, arm) in enumerate(arms):
            lines = [line for line in arm.metrics if finite(line.get(metric)) is not None]
            if not lines:
                continue
            drawn = True
            x = [line["labels"] for line in lines]
            draw_line(axes, x, [line[metric] for line in lines], index, label)
            ends = [interval_of(spec, line) for line in lines]
            known = [(step, *e) for step, e in zip(x, ends, strict=True) if e is not None]
            if known:
                steps, low, high = zip(*known, strict=True)
                axes.fill_between(steps, low, high, color=colour(index), alpha=0.15, linewidth=0)
        if not drawn:
            have = sorted({k for _, a in arms for line in a.metrics for k, v in line.items() if finite(v) is not None})
            raise RecipeError(f"`metric` must have been measured, but {metric} was not. Measured: {', '.join(have)}.")
        if spec.level is not None:
            draw_level(axes, spec.level)
        integer_axis(axes)
        if len(arms) > 1:
            axes.legend()
    return figure


def margins(study: Source, bins: int = 20) -> Figure:
    """Draw the distribution of |margin| of the questions asked, for each round, before training on them.

    Raises:
        StorageError: if the folder holds no study.
        RecipeError: if nothing was asked yet.
    """
    (_, arm), *_ = _arms([study])
    by_round: dict[int, list[float]] = defaultdict(list)
    for x in arm.asked:
        by_round[x.round].append(abs(x.margin))
    if not by_round:
        raise RecipeError("A study must have asked questions for their margins to be drawn, but this one has not.")
    edges = np.linspace(0.0, max(max(values) for values in by_round.values()) or 1.0, bins + 1)
    with style("margins"):
        figure = new_figure(6.0, 3.6)
        axes = figure.add_subplot(xlabel="|margin| (nats · β)", ylabel="questions")
        for index, (t, values) in enumerate(sorted(by_round.items())):
            axes.hist(values, edges.tolist(), histtype="step", linewidth=1.6, color=colour(index), label=f"round {t}")
        axes.legend()
    return figure


def agreement(study: Source) -> Figure:
    """Draw how far annotators agree: all of them, and each with the others, with 95 % intervals.

    Raises:
        StorageError: if the folder holds no study.
        RecipeError: if no pair was answered by two annotators.
    """
    (_, arm), *_ = _arms([study])
    votes = [x for x in arm.labels if x.votes is None and x.judgement is None]
    said = ballots(votes)
    rows = [("all", pairwise_agreement(votes))]
    for name in sorted({x.annotator for x in votes}):
        rows.append((name, _with_the_others(name, said.values())))
    known = [(name, estimate) for name, estimate in rows if estimate is not None]
    if not known:
        raise RecipeError("Two annotators must have answered a pair for agreement to be drawn, but no pair has two.")
    with style("agreement"):
        figure = new_figure(6.0, 0.8 + 0.4 * len(known))
        axes = figure.add_subplot(xlabel="share of agreeing pairs of votes", xlim=(0.0, 1.0))
        for place, (_, e) in enumerate(known):
            axes.plot([e.low, e.high], [place, place], color=colour(0), linewidth=2)
            axes.plot([e.value], [place], marker="o", color=colour(0))
        axes.set_yticks(range(len(known)), [f"{name} ({e.n})" for name, e in known])
        axes.invert_yaxis()
    return figure


def picks(chosen: Picks) -> Figure:
    """Draw a selection: each pick's score in pick order, and the lengths of its responses in characters.

    Raises:
        RecipeError: if nothing was picked.
    """
    if not chosen:
        raise RecipeError("A selection must have picks to be drawn, but it is empty.")
    with style("picks"):
        figure = new_figure(8.0, 3.4)
        left, right = figure.subplots(1, 2)
        draw_line(left, [p.rank for p in chosen], [p.score for p in chosen], 0, "score")
        left.set(xlabel="pick", ylabel=chosen[0].reason.rpartition(":")[0])
        integer_axis(left)
        lengths = [(len(p.response_a), len(p.response_b)) for p in chosen]
        top = 1.05 * max(max(both) for both in lengths)
        points = right.scatter(*zip(*lengths, strict=True), c=[p.rank for p in chosen], cmap="viridis_r", s=18)
        right.plot([0, top], [0, top], color="#5b6470", linestyle=":", linewidth=1)
        right.set(xlabel="characters of response a", ylabel="characters of response b", xlim=(0, top), ylim=(0, top))
        figure.colorbar(points, ax=right, label="pick")
    return figure


def _with_the_others(name: str, said: Iterable[Mapping[str, str]]) -> Estimate | None:
    """Return the share of an annotator's votes that agree with each other annotator's on the same question."""
    shared = [one for one in said if name in one and len(one) > 1]
    agreeing = [sum(outcome == one[name] for outcome in one.values()) - 1 for one in shared]
    return clustered_proportion(agreeing, [len(one) - 1 for one in shared])


def _arms(studies: Sequence[Any]) -> list[tuple[str, Arm]]:
    """Return the studies with their arms; several studies are named by their folders."""
    if not studies:
        raise RecipeError("A study must be given to be drawn, but there is none: give a study or its folder.")
    found = []
    for study in studies:
        folder = study.folder.path if isinstance(study, Study) else Path(study)
        for arm in read_arms(folder):
            found.append((arm.label if len(studies) == 1 else f"{folder.name}: {arm.label}", arm))
    return found
