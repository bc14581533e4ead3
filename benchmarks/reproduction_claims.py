"""What the papers claim, as data, and the verdict of a paired interval: read by `reproduction.py`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

from duelist.compare.arms import PlannedStudy, parse_arm, plan_studies
from duelist.compare.curves import Rows, curve, parse_metric
from duelist.compare.statistics import FEWEST_SEEDS, LEVEL, Mean, area_under, mean_interval, paired
from duelist.settings.validation import read_yaml

CLAIMS = Path(__file__).with_name("reproduction.yaml")
RELEVANT = 0.1  # of how far the second arm gets from the start: a smaller difference is of no note
Verdict = Literal["not run yet", "not reproduced", "cannot be told here", "reproduced"]


class Plain(BaseModel):
    """Abstract base of what the file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Comparison(Plain):
    """What runs: a recipe with its changes and arms, and what was scaled down."""

    recipe: str
    set: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    scaled_down: str

    def studies(self, folder: Path, seeds: Sequence[int]) -> list[PlannedStudy]:
        """Return every study, seed by seed."""
        return plan_studies(folder, self.recipe, self.set, [parse_arm(arm) for arm in self.arms], seeds)

    def command(self, name: str, seeds: str) -> str:
        """Return the `duelist compare` command that runs the same studies."""
        options = [word for change in self.set for word in ("--set", change)]
        options += [word for arm in self.arms for word in ("--arm", arm)]
        return shlex.join(["duelist", "compare", self.recipe, *options, "--seeds", seeds, "-o", name])


class Claim(Plain):
    """What a paper's figure shows, as contrasts of arms; the first metric decides, the others stand beside it."""

    paper: str
    figure: str
    says: str
    comparison: str
    metrics: tuple[str, ...]
    statistic: Literal["area", "end"]
    contrasts: tuple[tuple[str, str], ...]
    expects: Literal["better", "equal"]


class NotRun(Plain):
    """A figure that has a command, and no result here."""

    paper: str
    figure: str
    why: str
    command: str


class Claims(Plain):
    """The whole file."""

    papers: dict[str, str]
    comparisons: dict[str, Comparison]
    claims: tuple[Claim, ...]
    not_run: tuple[NotRun, ...]


@dataclass(frozen=True)
class Judged:
    """One contrast in one metric; numbers are signed so that above 0 the first arm is better.

    Attributes:
        difference: paired difference with its 95 % interval; None if no seed has both arms.
        wins: number of seeds on which the first arm is better.
        relevant: the smallest relevant difference; None if it cannot be told whether the second arm moved at all.
        verdict: what the interval says of the claim.
        why: the reason, in words.
    """

    difference: Mean | None
    wins: int
    relevant: float | None
    verdict: Verdict
    why: str


def read_claims(path: Path = CLAIMS) -> Claims:
    """Return the comparisons and claims."""
    return Claims.model_validate(read_yaml(path.read_text(encoding="utf-8")))


def judge(rows: Rows, metric: str, statistic: str, arms: tuple[str, str], expects: str, contrasts: int = 1) -> Judged:
    """Judge one of several contrasts by the paired differences on the seeds that both arms have finished."""
    better = parse_metric(metric)
    sign = 1.0 if better.higher_is_better else -1.0
    values, moved = [], []
    for seed in sorted(set(rows.get(arms[0], {})) & set(rows.get(arms[1], {}))):
        own, other = (curve(rows[arm][seed], better.name) for arm in arms)
        if own is None or other is None:
            continue
        if statistic == "end":
            pair = [float(c.values_E[-1]) for c in (own, other)]
        else:
            low = max(float(c.labels_E[0]) for c in (own, other))
            high = min(float(c.labels_E[-1]) for c in (own, other))
            pair = [area_under(c.labels_E, c.values_E, low, high) for c in (own, other)]
        values.append([sign * x for x in pair])
        moved.append(pair[1] - float(other.values_E[0]))
    if not values:
        return Judged(None, 0, None, "not run yet", "no seed has both arms")
    first_S, second_S = np.array(values).T
    found = paired(first_S.tolist(), second_S.tolist())
    way = mean_interval(moved)
    known = way.half_width is not None and abs(way.mean) > way.half_width
    relevant = RELEVANT * abs(way.mean) if known else None
    return Judged(found.difference, found.wins, relevant, *verdict(expects, found.difference, relevant, contrasts))


def verdict(expects: str, difference: Mean, relevant: float | None, contrasts: int = 1) -> tuple[Verdict, str]:
    """Return what an interval says of a claim, and why.

    `better` is reproduced where the whole interval is above 0, and not reproduced where it is below the smallest
    relevant difference. `equal` is reproduced where the whole interval is within that difference of 0, and not
    reproduced where it is outside. Everything else cannot be told. "Not reproduced" takes Bonferroni's wider interval,
    because any contrast of a claim can bring it down.

    Args:
        expects: `better` or `equal`.
        difference: paired difference; above 0 the first arm is better.
        relevant: the smallest relevant difference; None if not known.
        contrasts: number of contrasts of the claim.
    """
    if difference.seeds < FEWEST_SEEDS or difference.half_width is None:
        return "cannot be told here", f"{difference.seeds} seeds; {FEWEST_SEEDS} are the fewest"
    low, high = difference.mean - difference.half_width, difference.mean + difference.half_width
    wider, single = (stats.t.ppf(1 - (1 - LEVEL) / (2 * k), difference.seeds - 1) for k in (contrasts, 1))
    wide = difference.half_width * float(wider / single)
    least, most = difference.mean - wide, difference.mean + wide
    if expects == "better":
        if low > 0:
            return "reproduced", "the interval is above 0"
        if most < 0:
            return "not reproduced", "the interval is below 0"
        if relevant is not None and most < relevant:
            return "not reproduced", "the interval excludes a relevant difference"
    elif relevant is not None:
        if -relevant < low and high < relevant:
            return "reproduced", "the interval excludes a relevant difference"
        if least > relevant or most < -relevant:
            return "not reproduced", "the interval is beyond a relevant difference"
    if relevant is None:
        return "cannot be told here", "the second arm's way from the start cannot be told from none: no yardstick"
    return "cannot be told here", "the interval holds relevant differences and none"


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Return a claim's verdict: all its contrasts must be reproduced, and one that is not decides."""
    return next(v for v in get_args(Verdict) if v in verdicts)
