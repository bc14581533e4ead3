"""A rehearsal's numbers in sentences, which never say more than the intervals."""

from __future__ import annotations

from duelist.rehearsal.saving import MetricSavings, Saving

LIMITS = (
    "This is about choosing among the pairs of this file, for a linear model on fixed vectors. New responses, other "
    "people and a policy that changes as it learns may need other labels: `control_fraction: 0.1` and `duelist audit` "
    "watch that in the study itself."
)


def verdict(labels: int, seeds: int, found: MetricSavings, *, higher: bool) -> tuple[str, ...]:
    """Return what a rehearsal says.

    Args:
        labels: labels of each study.
        seeds: number of seeds.
        found: the savings in the deciding metric.
        higher: whether a higher value of it is better.
    """
    gained = (found.end - found.start) * (1 if higher else -1)
    first = (
        f"{seeds} seeds, {labels} labels each. Chance alone seems to save up to {100 * found.chance:.0f} % of the "
        "labels; smaller savings cannot be told from none."
    )
    if gained <= 0:
        return (
            first,
            f"Random labels beyond the first batch did not improve {found.metric} ({found.start:.3f} to "
            f"{found.end:.3f}): here no rule can save anything, and more labels or better features are needed.",
            LIMITS,
        )
    told = [_of_rule(s, found.chance, higher) for s in sorted(found.savings, key=lambda s: -s.saving)]
    return first, *told, LIMITS


def _of_rule(s: Saving, chance: float, higher: bool) -> str:
    interval = f"95 % interval {100 * s.low:.0f} to {100 * s.high:.0f} %"
    worse = s.final_high < 0 if higher else s.final_low > 0
    if worse:
        return f"{s.rule}: worse than random in the end ({s.final:+.4f}); do not use it on such data."
    if s.low > 0 and s.saving > chance:
        return f"{s.rule}: likely saves {100 * s.saving:.0f} % of the labels ({interval})."
    return f"{s.rule}: cannot be told from random (saving {100 * s.saving:.0f} %, {interval})."
