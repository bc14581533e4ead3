"""Judgement of a world's arms against random, and of whether the world can say anything about rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from duelist.compare.curves import Rows, curve, parse_metric
from duelist.compare.statistics import FEWEST_SEEDS, Floats, area_under, value_at
from duelist.errors import DataError
from duelist.seeding import generator
from duelist.suite.plan import BEST, LOOK_AHEAD, RANDOM
from duelist.suite.statistics import Effort, Interval, effort, share_of_gain, share_of_unit

MARGIN = 0.10  # share of the gain that a default may lose: the bar (b)
QUARTER = 0.25  # share of random's effort within which a reference must reach random's end: the bar (a) applies there

Unit = float | Literal["own"] | None


@dataclass(frozen=True)
class Matched:
    """Curves of an arm and of random on the same seeds; higher is better.

    Effort is that of random's evaluations, a mean over seeds. Within a seed the curves meet at its own efforts.
    """

    effort_E: Floats
    own_SE: Floats
    random_SE: Floats


@dataclass(frozen=True)
class ArmResult:
    """One arm against random in one metric; shares are of random's gain after the shared first batch.

    Attributes:
        arm: name of the arm.
        seeds: number of seeds that it shares with random.
        difference: difference of the mean heights of the curves from the first batch on, in the metric's own unit; None
            for fewer than two seeds.
        slack: the same plus 10 % of the gain; None for fewer than two seeds, or without a gain.
        area: the difference as a share of the gain; None too if the gain cannot be told from nothing.
        end_difference: difference of the last values, in the metric's own unit; None for fewer than two seeds.
        end: the same as a share of the gain.
        effort: effort to random's end.
    """

    arm: str
    seeds: int
    difference: Interval | None
    slack: Interval | None
    area: Interval | None
    end_difference: Interval | None
    end: Interval | None
    effort: Effort

    @property
    def never_worse(self) -> str | None:
        """Whether the bar (b) is met: the area's lower end is above −10 % of the gain. None with too few seeds.

        It needs no ratio: the area is above −10 % of the gain where difference + 10 % of the gain is above 0.
        """
        if self.seeds < FEWEST_SEEDS:
            return None
        if self.slack is not None and self.slack.low > 0:
            return "passes"
        return "fails" if self.slack is not None and self.slack.high < 0 else "cannot be told"


@dataclass(frozen=True)
class MetricResult:
    """Every arm in one metric of one world.

    Attributes:
        metric: the metric's name.
        effort: the column of metrics.jsonl that effort is counted in.
        whole: random's whole effort.
        gain: random's gain after the first batch, mean with its interval; None for fewer than two seeds.
        unit: what shares are of: `own`, this gain; otherwise the base world's, None if that is not known.
        arms: the arms other than random, in order.
    """

    metric: str
    effort: str
    whole: float
    gain: Interval | None
    unit: Unit
    arms: tuple[ArmResult, ...]

    def arm(self, name: str) -> ArmResult | None:
        """Return the result of an arm; None if it has none."""
        return next((a for a in self.arms if a.arm == name), None)

    @property
    def informative(self) -> bool | None:
        """Whether a reference beats random, so that the world says something about rules; None if none was run."""
        # The look-ahead chooses as it goes; the best subset is chosen for its end.
        found = [x.difference if x.arm == LOOK_AHEAD else x.end_difference for x in self._references]
        return any(x is not None and x.low > 0 for x in found) if found else None

    @property
    def has_end(self) -> bool:
        """Whether random surely gains, so that there is an end to reach."""
        return self.gain is not None and self.gain.low > 0

    @property
    def qualifies(self) -> bool:
        """Whether the bar (a) applies: a reference surely reaches random's end within a quarter of the effort."""
        # The bootstrap of a few seeds is narrow because it cannot be wide.
        return any(x.seeds >= FEWEST_SEEDS and x.effort.share.high <= QUARTER for x in self._references)

    @property
    def _references(self) -> list[ArmResult]:
        return [arm for arm in self.arms if arm.arm in (LOOK_AHEAD, BEST)]


def matched(rows: Rows, arm: str, metric: str, over: str) -> Matched | None:
    """Return the curves of an arm and of random in a metric; None if no seed has both.

    Raises:
        DataError: if random was not evaluated equally often on every seed: its curves have no mean then.
    """
    better = parse_metric(metric)
    sign = 1.0 if better.higher_is_better else -1.0
    shared = sorted(set(rows.get(arm, {})) & set(rows.get(RANDOM, {})))
    pairs = [[curve(rows[name][seed], better.name, over) for name in (arm, RANDOM)] for seed in shared]
    known = [(own, other) for own, other in pairs if own is not None and other is not None]
    if not known:
        return None
    counts = {seed: len(c.labels_E) for seed, (_, c) in zip(shared, pairs, strict=True) if c is not None}
    if len(set(counts.values())) > 1:
        least, most = min(counts, key=lambda s: counts[s]), max(counts, key=lambda s: counts[s])
        raise DataError(
            f"Every study of {RANDOM} must have as many evaluations with a {better.name} over {over}, but seed {least} "
            f"has {counts[least]} and seed {most} has {counts[most]}: run the suite again, or leave seed {least} out."
        )
    effort_E = np.mean([random.labels_E for _, random in known], axis=0)
    own_SE = np.array([sign * np.interp(random.labels_E, own.labels_E, own.values_E) for own, random in known])
    return Matched(effort_E, own_SE, np.array([sign * random.values_E for _, random in known]))


def gain_S(curves: Matched, first: float) -> Floats:
    """Return random's gain after the shared first batch, on each seed."""
    return np.array([value_E[-1] - value_at(curves.effort_E, value_E, first) for value_E in curves.random_SE])


def area_differences(curves: Matched, first: float) -> Floats:
    """Return the difference to random of the mean height of the curve from an effort on, for each seed."""
    x_E, last = curves.effort_E, float(curves.effort_E[-1])
    pairs = zip(curves.own_SE, curves.random_SE, strict=True)
    return np.array([area_under(x_E, own, first, last) - area_under(x_E, random, first, last) for own, random in pairs])


def judge(rows: Rows, metric: str, first_batch: int, unit: Unit = "own", over: str = "labels") -> MetricResult:
    """Judge every arm of a world in one metric.

    Args:
        rows: rows of the finished studies, by arm and seed.
        metric: the metric, as `duelist compare --metric` takes it.
        first_batch: labels of the shared first batch.
        unit: what shares are of: random's own gain here, or a number, random's mean gain in the base world; None if it
            is that and not known.
        over: the column that effort is counted in.
    """
    own = matched(rows, RANDOM, metric, over)
    name = parse_metric(metric).name
    if own is None:
        return MetricResult(name, over, 0.0, None, unit, ())
    first = _effort_of(rows, first_batch, over)
    arms = [
        _judge_arm(arm, curves, first, unit)
        for arm in rows
        if arm != RANDOM and (curves := matched(rows, arm, metric, over)) is not None
    ]
    gain = share_of_unit(gain_S(own, first))
    return MetricResult(name, over, float(own.effort_E[-1]), gain, unit, tuple(arms))


def surely_gained(rows: Rows, metric: str, first_batch: int, over: str = "labels") -> float | None:
    """Return random's mean gain after the first batch; None if it cannot be told from nothing."""
    own = matched(rows, RANDOM, metric, over)
    gain = None if own is None else share_of_unit(gain_S(own, _effort_of(rows, first_batch, over)))
    return None if gain is None or gain.low <= 0 else gain.value


def _effort_of(rows: Rows, labels: int, over: str) -> float:
    """Return the effort of random's first `labels` labels, a mean over seeds."""
    found = [curve(of_seed, over, "labels") for of_seed in rows[RANDOM].values()]
    return float(np.mean([value_at(c.labels_E, c.values_E, labels) for c in found if c is not None]))


def _judge_arm(arm: str, curves: Matched, first: float, unit: Unit) -> ArmResult:
    gain = gain_S(curves, first) if unit == "own" else unit

    def share(difference_S: Floats) -> Interval | None:
        if isinstance(gain, np.ndarray):
            return share_of_gain(difference_S, gain)
        return None if gain is None else share_of_unit(difference_S, gain)

    difference_S = area_differences(curves, first)
    end_S = curves.own_SE[:, -1] - curves.random_SE[:, -1]
    return ArmResult(
        arm,
        len(curves.own_SE),
        share_of_unit(difference_S),
        None if gain is None else share_of_unit(difference_S + MARGIN * gain),
        share(difference_S),
        share_of_unit(end_S),
        share(end_S),
        effort(curves.effort_E, curves.own_SE, curves.random_SE, generator(0, "suite", "bootstrap", arm)),
    )


def p_values(
    results: Mapping[str, MetricResult], arms: Sequence[str], data_sets: Collection[str] = ()
) -> dict[tuple[str, str], float]:
    """Return the p-values of "it needs more than half" of the arms, where that is asked.

    Args:
        results: the results of each world.
        arms: the arms that are judged.
        data_sets: worlds that are data sets, where it is asked whatever a reference reaches.
    """
    return {
        (world, arm): found.effort.p_half
        for world, result in results.items()
        if result.has_end and (result.qualifies or world in data_sets)
        for arm in arms
        if (found := result.arm(arm)) is not None and found.seeds >= FEWEST_SEEDS
    }
