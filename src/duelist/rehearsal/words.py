"""A rehearsal's numbers in sentences, which never say more than the tests."""

from __future__ import annotations

from collections.abc import Sequence

from duelist.compare.statistics import FEWEST_SEEDS, LEVEL
from duelist.rehearsal.saving import MetricSavings, Saving

LIMITS = (
    "This is about choosing among the pairs of this file, for a linear model on fixed vectors. All seeds replay the "
    "same pairs: more seeds narrow the intervals, but say no more about other pairs. New responses, other people and a "
    "policy that changes as it learns may need other labels: `control_fraction: 0.1` and `duelist audit` watch that in "
    "the study itself."
)


def verdict(labels: int, seeds: int, found: MetricSavings, left_out: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what a rehearsal says.

    Args:
        labels: labels of each study.
        seeds: number of seeds.
        found: the savings in the deciding metric.
        left_out: rules without finished studies.
    """
    missing = [f"{', '.join(left_out)}: left out, without two finished studies."] if left_out else []
    if seeds < FEWEST_SEEDS:
        return (
            f"{seeds} seeds, {labels} labels each: whether a rule saves labels cannot be told from fewer than "
            f"{FEWEST_SEEDS} seeds. Raise --seeds; finished studies are kept.",
            *missing,
            LIMITS,
        )
    rules = len(found.savings)
    of_rules = "one rule" if rules == 1 else f"{rules} rules"
    adjusted = "" if rules == 1 else f" p-values are adjusted for the {rules} rules (Holm)."
    first = (
        f"{seeds} seeds, {labels} labels each, {of_rules} tried. Where choosing makes no difference, some rule is said "
        f"to save labels in at most {100 * (1 - LEVEL):.0f} % of rehearsals, and likewise to be worse.{adjusted}"
    )
    gained = (found.end - found.start) * (1 if found.higher_is_better else -1)
    if gained <= 0:
        return (
            first,
            f"Here a saving has no meaning: random labels beyond the first batch did not improve {found.metric} "
            f"({found.start:.3f} to {found.end:.3f}). More labels or better features are needed.",
            *missing,
            LIMITS,
        )
    told = [_of_rule(s, found.higher_is_better) for s in sorted(found.savings, key=lambda s: -s.saving)]
    return first, *told, *missing, LIMITS


def _of_rule(s: Saving, higher: bool) -> str:
    if s.final_p_value <= 1 - LEVEL and (s.final < 0) == higher:
        return f"{s.rule}: worse than random in the end, on these pairs ({s.final:+.4f}, p = {s.final_p_value:.3f})."
    numbers = f"95 % interval {100 * s.low:.0f} to {100 * s.high:.0f} %, p = {s.p_value:.3f}"
    if s.p_value <= 1 - LEVEL and s.low > 0:
        return f"{s.rule}: likely saves {100 * s.saving:.0f} % of the labels ({numbers})."
    return f"{s.rule}: cannot be told from random (saving {100 * s.saving:.0f} %, {numbers})."
