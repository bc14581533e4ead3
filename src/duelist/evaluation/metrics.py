"""Table of metrics: every number in metrics.jsonl, its computation and its presentation.

Reference: ActiveDPO (arXiv 2505.19241), Section 4: mean reward, win rate against the initial model; PILAF (arXiv
           2502.04270), Section 6: KL(π_θ‖π_ref) and J; Shen, Sun, Ton (arXiv 2502.04354), Section 5.1: 1 − Spearman
           within prompts, best-of-N reward; Yang et al. (arXiv 2406.17312): margin, ranking accuracy and KL of the
           selected pairs; AlpacaEval 2 (arXiv 2404.04475): win rates by a judge.

The evaluations, the terminal, the report, the comparison and docs/metrics.md all read `METRICS`. To add a metric, add
an entry. The parameters of its function name its inputs: `INPUTS` or earlier metrics of the same subject.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Subject = Literal["round", "policy", "reward model", "selection"]
Place = Literal["terminal", "report", "figures", "comparison"]
EVERYWHERE: tuple[Place, ...] = get_args(Place)
NOT_COMPARED, IN_TABLES, NOT_ON_TERMINAL = EVERYWHERE[:3], EVERYWHERE[:2], EVERYWHERE[1:]
SHARE = (0.0, 1.0)
POSITIVE = (0.0, np.inf)

# Possible inputs of a metric, by subject; None if not known.
INPUTS: dict[Subject, tuple[str, ...]] = {
    # Of R responses to held-out prompts: reward, the initial model's reward, log(π_θ/π_ref) in nats, tokens, the
    # prompt's group and weight. β, and the Bradley–Terry temperature of the labels in units of the reward. Win rates by
    # a judge (`duelist.evaluation.win_rates.WinRates`).
    "policy": (
        *("rewards_R", "baseline_R", "log_ratio_R", "length_R", "group_R", "weight_R", "beta", "label_temperature"),
        "judged",
    ),
    # Of R held-out responses: score, true reward. Of the prompts that can be ranked: 1 − Spearman. Of the prompts: true
    # reward of the best-scored response. Of N labelled pairs, the preferred response first: probability that it is
    # preferred (never 0 or 1), and whether it is longer, or scores higher (equal: ½); without labelled pairs, `right_N`
    # has the share of right pairs of each prompt that can be ranked.
    "reward model": ("score_R", "truth_R", "errors", "best", "probability_N", "longer_N", "right_N"),
    # Of B asked questions: margin. Of each label: margin and outcome. The mean log(π_θ/π_ref) recorded at selection.
    "selection": ("margin_B", "decisions", "recorded_kl"),
}


@dataclass(frozen=True)
class MetricSpec:
    """A metric: its meaning, its computation, and where it is shown."""

    name: str  # key in metrics.jsonl
    of: Subject | None  # the subject; None for a number that is not in the table
    title: str  # heading without the unit
    compute: Callable[..., Any] | None = None  # None for numbers that the store records itself
    meaning: str = ""  # one or two sentences: the documentation, and the figure's caption
    unit: str = ""  # empty for shares and rewards
    better: Literal["higher", "lower"] | None = None  # None: neither; the comparison then assumes higher
    range: tuple[float, float] = (-np.inf, np.inf)  # the least and the largest possible value
    digits: int = 4  # decimals on the terminal and in comparisons; the report shows one fewer
    level: float | None = None  # a value to compare with, such as chance: a dotted line in the figure
    always: bool = False  # write null to metrics.jsonl if not measured, instead of omitting it
    shown: Sequence[Place] = EVERYWHERE  # terminal: rounds and `status`; comparison: metrics compared by default
    interval: str | None = None  # the metric that holds its 95 % interval: `low` and `high`

    @property
    def heading(self) -> str:
        """Return the title with the unit."""
        return self.title + (f" ({self.unit})" if self.unit else "")


def measure(of: Subject, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the metrics of a subject, in the table's order.

    Args:
        of: the subject.
        inputs: the known values of `INPUTS[of]`.

    Returns:
        Values by name. A metric whose inputs are not all known is None if it is always recorded, else omitted.
    """
    known: dict[str, Any] = dict.fromkeys((*INPUTS[of], *(m.name for m in METRICS))) | dict(inputs)
    found = {}
    for m in METRICS:
        if m.of != of or m.compute is None:
            continue
        values = [known[name] for name in inspect.signature(m.compute).parameters]
        value = None if any(v is None for v in values) else m.compute(*values)
        if value is not None or m.always:
            known[m.name] = found[m.name] = value if value is None or isinstance(value, Mapping) else float(value)
    return found


def shown_in(place: Place) -> list[MetricSpec]:
    """Return the metrics shown in a place, in order."""
    return [m for m in METRICS if place in m.shown]


def finite(value: Any) -> float | None:
    """Return the value as a number, or None if it is missing, not a number or not finite."""
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return number if number is not None and np.isfinite(number) else None


def interval_of(metric: MetricSpec, line: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the 95 % interval of a metric in a line of metrics.jsonl; None if it has none."""
    ends = line.get(metric.interval) if metric.interval else None
    return (float(ends["low"]), float(ends["high"])) if isinstance(ends, Mapping) else None


def agreement(decisions: Sequence[tuple[float, str]]) -> tuple[float | None, int]:
    """Return the share of preferences for the response with the advantage, and how many preferences are decided.

    Args:
        decisions: the advantage of response a, and the outcome. Ties and advantages of 0 are excluded.
    """
    decided = [(advantage > 0) == (o == "a") for advantage, o in decisions if o in ("a", "b") and advantage != 0]
    return (sum(decided) / len(decided) if decided else None), len(decided)


def _per_group(rewards_R: Floats, group_R: NDArray[np.str_]) -> dict[str, float]:
    return {str(g): float(rewards_R[group_R == g].mean()) for g in sorted(set(group_R.tolist()))}


def _value(estimate: Any) -> float | None:
    return None if estimate is None else estimate.value


def _ends(estimate: Any) -> dict[str, float] | None:
    return None if estimate is None else {"low": estimate.low, "high": estimate.high}


def _calibration_error(probability_N: Floats, bins: int = 10) -> float:
    confidence_N = np.maximum(probability_N, 1 - probability_N)
    hit_N = np.where(probability_N == 0.5, 0.5, (probability_N > 0.5).astype(float))
    bin_N = np.minimum(((confidence_N - 0.5) * 2 * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_N, weights=hit_N - confidence_N, minlength=bins)
    return float(np.abs(gaps).sum() / len(probability_N))


# fmt: off
METRICS = [
    MetricSpec("round", "round", "round", meaning="The round; 0 is the initial model.", shown=()),
    MetricSpec("labels", "round", "labels", meaning="Labels that count, so far.", shown=()),

    MetricSpec("mean_reward", "policy", "mean reward", lambda rewards_R: rewards_R.mean(), better="higher", always=True,
        meaning="Learning curve: mean reward on held-out prompts after each round; 0 labels is the initial model."),
    MetricSpec("win_rate", "policy", "win rate", better="higher", range=SHARE, level=0.5, always=True,
        compute=lambda rewards_R, baseline_R: (rewards_R > baseline_R).mean() + 0.5 * (rewards_R == baseline_R).mean(),
        meaning="Share of held-out prompts won against the initial model; equal is ½.", shown=NOT_COMPARED),
    MetricSpec("kl", "policy", "KL", lambda log_ratio_R: log_ratio_R.mean(), unit="nats", better="lower", always=True,
        meaning="Mean log(π_θ(y|x) / π_ref(y|x)) of the policy's responses, π_ref the base model, wherever round 0 "
        "starts.", shown=IN_TABLES),
    MetricSpec("j", "policy", "J", unit="label log-odds", better="higher", always=True, shown=NOT_COMPARED,
        compute=lambda mean_reward, kl, beta, label_temperature: mean_reward / label_temperature - beta * kl,
        meaning="Mean reward over the annotator's Bradley–Terry temperature, less β · KL: what DPO maximises if the "
        "reward is its own."),
    MetricSpec("mean_reward_per_group", "policy", "mean reward per group", _per_group,
        meaning="Mean reward of each group of prompts (`evaluation.group_by`).", shown=()),
    MetricSpec("mean_reward_over_groups", "policy", "mean reward over groups", better="higher", shown=NOT_ON_TERMINAL,
        compute=lambda mean_reward_per_group: np.mean(list(mean_reward_per_group.values())),
        meaning="Each group of prompts counts the same."),
    MetricSpec("mean_reward_weighted", "policy", "weighted mean reward", better="higher", shown=NOT_ON_TERMINAL,
        compute=lambda rewards_R, weight_R: np.average(rewards_R, weights=weight_R),
        meaning="Each prompt counts by the recipe's weight column."),
    MetricSpec("kl_weighted", "policy", "weighted KL", unit="nats", better="lower", shown=(),
        compute=lambda log_ratio_R, weight_R: np.average(log_ratio_R, weights=weight_R),
        meaning="KL, each prompt counted by the recipe's weight column."),
    MetricSpec("j_weighted", "policy", "weighted J", unit="label log-odds", better="higher", shown=(),
        compute=lambda mean_reward_weighted, kl_weighted, beta, label_temperature: mean_reward_weighted
        / label_temperature - beta * kl_weighted,
        meaning="J, each prompt counted by the recipe's weight column."),
    MetricSpec("mean_length", "policy", "length", lambda length_R: length_R.mean(), unit="tokens", range=POSITIVE,
        meaning="Mean length of the policy's responses.", shown=("report",)),
    MetricSpec("judge_win_rate", "policy", "win rate by judge", lambda judged: _value(judged.weighted), better="higher",
        range=SHARE, level=0.5, interval="judge_win_rate_interval",
        meaning="Mean probability, by the judge of `evaluation.judge`, that the policy's output is better than the one "
        "it is compared with, over both orders; equal is ½."),
    MetricSpec("judge_win_rate_interval", "policy", "win rate by judge, 95 % interval",
        lambda judged: _ends(judged.weighted), shown=(), meaning="By bootstrap over prompts: `low` and `high`."),
    MetricSpec("judge_lc_win_rate", "policy", "length-controlled win rate", lambda judged: _value(
        judged.length_controlled), better="higher", range=SHARE, level=0.5, interval="judge_lc_win_rate_interval",
        meaning="Win rate by the judge if both outputs were equally long, by AlpacaEval 2's regression."),
    MetricSpec("judge_lc_win_rate_interval", "policy", "length-controlled win rate, 95 % interval",
        lambda judged: _ends(judged.length_controlled), shown=(),
        meaning="By bootstrap over prompts: `low` and `high`."),
    MetricSpec("judge_discrete_win_rate", "policy", "discrete win rate", lambda judged: _value(judged.discrete),
        better="higher", range=SHARE, level=0.5, interval="judge_discrete_win_rate_interval",
        meaning="Share of outputs that the judge prefers in both orders; ties and contradictions count ½.",
        shown=IN_TABLES),
    MetricSpec("judge_discrete_win_rate_interval", "policy", "discrete win rate, 95 % interval",
        lambda judged: _ends(judged.discrete), shown=(), meaning="By bootstrap over prompts: `low` and `high`."),
    MetricSpec("judge_inconsistent", "policy", "inconsistent verdicts", lambda judged: judged.inconsistent,
        better="lower", range=SHARE, shown=IN_TABLES,
        meaning="Share of the judge's usable verdicts whose two orders disagree."),
    MetricSpec("judge_unparsed", "policy", "unusable verdicts", lambda judged: judged.unparsed, better="lower",
        range=POSITIVE, digits=1, shown=IN_TABLES,
        meaning="Comparisons for which the judge gave no usable verdict; the win rates leave them out."),
    MetricSpec("judge_tokens", "policy", "judge's tokens", lambda judged: judged.tokens, better="lower",
        range=POSITIVE, digits=1, shown=("report",), meaning="Tokens that the judge read and wrote here."),
    MetricSpec("judge_cost", "policy", "judge's cost", lambda judged: judged.cost, better="lower", range=POSITIVE,
        shown=("report",), meaning="Money that the judge cost here, in the currency of its prices."),

    MetricSpec("spearman_error", "reward model", "1 − Spearman", lambda errors: np.mean(errors), better="lower",
        range=(0.0, 2.0),
        meaning="1 − rank correlation with the true reward within prompts; lower is better."),
    MetricSpec("best_of_n_reward", "reward model", "best-of-N reward", lambda best: np.mean(best), better="higher",
        meaning="True reward of the response that scores highest."),
    MetricSpec("pair_accuracy", "reward model", "pair accuracy", lambda right_N: np.mean(right_N), better="higher",
        range=SHARE, level=0.5, always=True, meaning="Held-out pairs that the reward model orders right."),
    MetricSpec("log_loss", "reward model", "log loss", lambda probability_N: -np.log(probability_N).mean(), unit="nats",
        better="lower", range=POSITIVE, meaning="Of held-out labels under the reward model, in nats.",
        shown=NOT_COMPARED),
    MetricSpec("brier", "reward model", "Brier", lambda probability_N: ((1 - probability_N) ** 2).mean(),
        better="lower", range=SHARE, shown=("report",),
        meaning="Mean squared distance of the preferred response's probability from 1."),
    MetricSpec("ece", "reward model", "ECE", lambda probability_N: _calibration_error(probability_N), better="lower",
        range=SHARE, shown=("report",),
        meaning="Expected calibration error: mean distance of confidence from accuracy, over ten bins of confidence."),
    MetricSpec("longer_wins", "reward model", "longer wins", lambda longer_N: longer_N.mean(), range=SHARE,
        meaning="Share of held-out pairs whose preferred response is longer; equal is ½. Baseline of pair accuracy.",
        shown=IN_TABLES),

    MetricSpec("selected_mean_margin", "selection", "mean |margin|", unit="nats · β", range=POSITIVE, always=True,
        compute=lambda margin_B: np.abs(margin_B).mean() if len(margin_B) else None,
        meaning="Mean |margin| of the asked questions, before training on them; of a larger one, its largest.",
        shown=()),
    MetricSpec("selected_ranking_accuracy", "selection", "ranking accuracy", lambda decisions: agreement(decisions)[0],
        range=SHARE, always=True, shown=(),
        meaning="Share of preferences that the model already ranked right, before training on them."),
    MetricSpec("selected_kl", "selection", "KL of the asked questions", lambda recorded_kl: recorded_kl, unit="nats",
        better="lower", shown=(),
        meaning="Mean log(π_θ(y|x) / π_ref(y|x)) over the responses of the asked questions, before training on them."),

    MetricSpec("asked", "round", "asked", meaning="Questions asked so far.", shown=()),
    MetricSpec("responses", "round", "responses read", meaning="Responses in the questions asked so far.", shown=()),
    MetricSpec("comparisons", "round", "comparisons", shown=(),
        meaning="Expected comparisons of two responses in the questions asked so far (`reading_time`)."),
    MetricSpec("annotation_seconds", "round", "annotation time", unit="s", shown=(),
        meaning="Expected annotation time of the questions asked so far, by the default model of reading time."),
    MetricSpec("lookahead_kept", "round", "kept by fresher features", range=SHARE, shown=(),
        meaning="With `lookahead`: share of the batch that features of the latest model would have selected, too."),
    MetricSpec("seconds", "round", "seconds", meaning="Seconds spent in each stage of the round.", shown=()),
]
# fmt: on
