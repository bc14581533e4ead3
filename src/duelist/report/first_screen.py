"""First screen of the report: what was asked, what it cost, what came of it, and what the next label is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from duelist.evaluation.metrics import MetricSpec, finite, shown_in
from duelist.judges.summary import judges_of
from duelist.recipe.values import name_of
from duelist.report import described, held_out
from duelist.report.charts import Intervals, Picture, metric_chart, metric_intervals, metric_series, spark
from duelist.report.formats import count, duration, few_digits, number, signed
from duelist.report.record import Arm
from duelist.store.decisions import question_of
from duelist.types import Label

CHART = (480.0, 300.0)
GAINS = {"gain_nats": "nats", "gain_reward": "of expected reward"}
REWARD = "mean_reward"


@dataclass(frozen=True)
class Tile:
    """One number with its name, a note on how to read it, and a small chart or nothing."""

    name: str
    value: str
    note: str = ""
    chart: Markup | None = None


@dataclass(frozen=True)
class FirstScreen:
    """Contents of the first screen.

    Attributes:
        headline: what came of the study, in a sentence.
        notes: further sentences on it.
        facts: what was asked, by name.
        tiles: what it cost, and what the next label is worth.
        chart: the main learning curve; None if nothing is measured.
        metric: the metric of the curve; None likewise.
        intervals: what the chart's bands are; empty without any.
    """

    headline: str
    notes: Sequence[str]
    facts: Sequence[tuple[str, str]]
    tiles: Sequence[Tile]
    chart: Picture | None
    metric: MetricSpec | None
    intervals: str


def first_screen(arms: Sequence[Arm]) -> FirstScreen:
    """Return the first screen of a study and its comparison arms; the study itself is the first."""
    main = arms[0]
    metric = main_metric(main)
    if metric is None:
        return FirstScreen(_unmeasured(main), (), _facts(main), _tiles(main, None, {}), None, None, "")
    rewards = _rewards(main) if metric.name == REWARD else {}
    intervals = _intervals(main, metric, rewards)
    return FirstScreen(
        headline=_headline(main, metric),
        notes=_notes(main, metric, rewards),
        facts=_facts(main),
        tiles=_tiles(main, metric, rewards),
        chart=metric_chart(arms, metric, [intervals], CHART, "main"),
        metric=metric,
        intervals=_interval_words(metric, rewards) if len(intervals) > 1 else "",
    )


def main_metric(arm: Arm) -> MetricSpec | None:
    """Return the first metric with a figure that a study has measured."""
    return next((m for m in shown_in("figures") if metric_series(arm, "labels", m.name)), None)


def _rewards(arm: Arm) -> dict[int, held_out.Rewards]:
    """Return the rewards by prompt of each round that kept them."""
    found = {int(m["round"]): held_out.rewards_by_prompt(arm.folder, int(m["round"])) for m in arm.measured}
    return {t: rewards for t, rewards in found.items() if rewards}


def _intervals(arm: Arm, metric: MetricSpec, rewards: Mapping[int, held_out.Rewards]) -> Intervals:
    if not rewards:
        return metric_intervals(arm, metric)
    found = {float(m["labels"]): held_out.mean(rewards[m["round"]]) for m in arm.measured if m["round"] in rewards}
    return {labels: x.ends for labels, x in found.items() if x is not None and x.ends is not None}


def _interval_words(metric: MetricSpec, rewards: Mapping[int, held_out.Rewards]) -> str:
    if rewards:
        return "Band: 95 % interval of this study's mean over the held-out prompts; it does not include other seeds."
    return f"Band: 95 % interval that the evaluation recorded with the {metric.title}."


def _headline(arm: Arm, metric: MetricSpec) -> str:
    points, digits = metric_series(arm, "labels", metric.name), metric.digits - 1
    title = metric.title[0].upper() + metric.title[1:]
    unit = f" {metric.unit}" if metric.unit else ""
    (_, first), (labels, last) = points[0], points[-1]
    before, after, spent = number(first, digits), number(last, digits), count(int(labels), "label")
    if len(points) == 1:
        return f"{title} is {after}{unit} with {spent}; no later round is measured yet."
    if before == after:
        return f"{title} stayed at {after}{unit} with {spent}."
    return f"{title} {'rose' if last > first else 'fell'} from {before} to {after}{unit} with {spent}."


def _notes(arm: Arm, metric: MetricSpec, rewards: Mapping[int, held_out.Rewards]) -> list[str]:
    notes = []
    rounds = sorted(rewards)
    moved = held_out.change(rewards[rounds[0]], rewards[rounds[-1]]) if len(rounds) > 1 else None
    if moved is not None and moved.ends is not None:
        inside = f"95 % interval {signed(moved.ends[0])} to {signed(moved.ends[1])}"
        notes.append(f"A change of {signed(moved.value)} ({inside}, paired over {moved.n} held-out prompts).")
    if metric.better == "lower":
        notes.append("Lower is better.")
    wins = finite(arm.measured[-1].get("win_rate"))
    if metric.name != "win_rate" and wins is not None and arm.rounds_closed:
        notes.append(f"Its responses win {100 * wins:.0f} % of comparisons with the initial model's.")
    return notes


def _unmeasured(arm: Arm) -> str:
    if arm.answers:
        return f"{count(len(arm.answers), 'label')} collected; what came of it is not measured."
    return "No label yet, and nothing to measure the model by." if arm.metrics else "Nothing is measured yet."


def _facts(arm: Arm) -> list[tuple[str, str]]:
    return [
        ("Question", described.question(arm)),
        ("Chosen by", described.rule(arm)),
        ("Answered by", described.annotator(arm)),
        ("Model", described.model(arm)),
        ("Budget", described.budget(arm)),
    ]


def _tiles(arm: Arm, metric: MetricSpec | None, rewards: Mapping[int, held_out.Rewards]) -> list[Tile]:
    sizes = {x.question.id: x.question.k for x in arm.asked}
    by_judge = sum(isinstance(x, Label) and x.judgement is not None for x in arm.answers)
    read = sum(sizes[question_of(x)] for x in arm.answers if not (isinstance(x, Label) and x.judgement is not None))
    answered = len({question_of(x) for x in arm.answers})
    constant = arm.recipe.get("schedule", "constant") == "constant"
    planned = f" of {arm.recipe['budget'] * arm.rounds:,} planned" if constant else ""
    return [
        Tile("Labels", f"{len(arm.answers):,}", f"on {answered:,} {described.noun(arm)}s{planned}"),
        Tile(
            "Responses read",
            f"{read:,}",
            f"besides {count(by_judge, 'label')} by a judge" if by_judge else "in all labels",
        ),
        _time(arm),
        *_money(arm),
        Tile("Computing", duration(sum(s.seconds for s in arm.stages)), "all stages, on this machine"),
        _next_label(arm, metric, rewards),
    ]


def _time(arm: Arm) -> Tile:
    recorded = [x.seconds for x in arm.answers if x.seconds is not None]
    if recorded:
        every = len(recorded) == len(arm.answers)
        of_labels = "all labels" if every else f"{len(recorded)} of {len(arm.answers)} labels"
        return Tile("People's time", duration(sum(recorded)), f"recorded, of {of_labels}")
    expected = finite(arm.metrics[-1].get("annotation_seconds")) if arm.metrics else None
    if not expected:
        return Tile("People's time", "–", "no time is recorded")
    simulated = name_of(arm.recipe, "annotator") not in ("", "people", "cascade")
    note = "expected from the tokens to read" + ("; no person answered" if simulated else "")
    return Tile("People's time", duration(expected), note)


def _money(arm: Arm) -> list[Tile]:
    uses = judges_of(arm.judged)
    cost = sum(use.cost for use in uses)
    tokens = sum(use.tokens_in + use.tokens_out for use in uses)
    return [Tile("Judge's cost", f"{cost:.2f}", f"{tokens:,} tokens, in the currency of its prices")] if cost else []


def _next_label(arm: Arm, metric: MetricSpec | None, rewards: Mapping[int, held_out.Rewards]) -> Tile:
    """Return the worth of the next label: the rule's bound on it if it has one, and what the last labels brought."""
    step = None if metric is None else _last_step(arm, metric, rewards)
    selections = sorted((s for s in arm.stages if s.name == "select"), key=lambda s: s.round)
    for gain, unit in GAINS.items():
        found = [(s.round, value) for s in selections if (value := finite(s.info.get(gain))) is not None]
        if found:
            (first, was), (last, now) = found[0], found[-1]
            before = "" if first == last else f"; {few_digits(was)} in round {first}"
            note = f"at most, by the rule{before}" + ("" if step is None else f". {step}")
            by_round = ", ".join(few_digits(v) for _, v in found)
            words = f"Gain of the best remaining question by round: {by_round} {unit}."
            return Tile("Next label", f"{few_digits(now)} {unit}", note, spark([v for _, v in found], words))
    unknown = f"{described.rule(arm)} tells no gain"
    if step is None:
        return Tile("Next label", "–", unknown)
    return Tile("Next label", "–", f"{unknown}. {step}")


def _last_step(arm: Arm, metric: MetricSpec, rewards: Mapping[int, held_out.Rewards]) -> str | None:
    """Return what the labels of the last evaluated round changed, in a sentence."""
    rows = [m for m in arm.measured if finite(m.get(metric.name)) is not None]
    if len(rows) < 2:
        return None
    before, after = rows[-2:]
    moved = held_out.change(rewards.get(before["round"], {}), rewards.get(after["round"], {}))
    inside = "" if moved is None or moved.ends is None else f" ({signed(moved.ends[0])} to {signed(moved.ends[1])})"
    value = signed(after[metric.name] - before[metric.name])
    labels = count(int(after["labels"] - before["labels"]), "label")
    return f"The last {labels} changed {metric.title} by {value}{inside}."
