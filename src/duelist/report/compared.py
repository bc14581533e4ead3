"""The study beside its comparison arms, after the last evaluated round that all of them have closed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from duelist.evaluation.metrics import MetricSpec, finite
from duelist.report.described import noun
from duelist.report.formats import number
from duelist.report.record import Arm, Selected

GROUPS_SHOWN = 60


def comparison(arms: Sequence[Arm], measured: Sequence[MetricSpec]) -> dict[str, Any] | None:
    """Compare the arms after the last evaluated round that all of them have closed; None if there is only one arm."""
    if len(arms) == 1:
        return None
    t = max(set.intersection(*({m["round"] for m in arm.measured} for arm in arms)), default=0)
    if t < 1:
        return {"round": None, "sentences": ["No round is closed in every study yet: there is nothing to compare."]}
    rows = [(arm.label, arm.recipe["seed"], arm.metrics[t]) for arm in arms]
    values = {m.name: [finite(row.get(m.name)) for _, _, row in rows] for m in measured}
    ranked = [m for m in measured if m.better == "higher"]
    labels = [label for label, _, _ in rows]
    sentences = [_leader(labels, values[m.name], m) for m in ranked if None not in values[m.name]]
    return {
        "round": t,
        "rows": rows,
        "best": {
            m.name: number(max((v for v in values[m.name] if v is not None), default=None), m.digits - 1)
            for m in ranked
        },
        "sentences": sentences or ["No reward was measured, so the arms cannot be ranked."],
        "seeds": sorted({seed for _, seed, _ in rows}),
    }


def groups(arms: Sequence[Arm], of_arms: Sequence[Sequence[Selected]]) -> dict[str, Any] | None:
    """Count asked pairs by group and round: the same groups for every arm, most asked first; None without groups."""
    totals = [Counter[str]() for _ in arms]
    for total, rounds in zip(totals, of_arms, strict=True):
        for c in rounds:
            total.update(c.groups)
    over_arms = sum(totals, Counter[str]())
    order = sorted(over_arms, key=lambda g: (-over_arms[g], g))
    if not order:
        return None
    tables = [
        {
            "label": arm.label,
            "noun": noun(arm),
            "rounds": [c.round for c in rounds],
            "rows": [(g, [c.groups.get(g, 0) for c in rounds], total[g]) for g in order[:GROUPS_SHOWN]],
        }
        for arm, rounds, total in zip(arms, of_arms, totals, strict=True)
    ]
    column = next(a.recipe["evaluation"]["group_by"] for a, total in zip(arms, totals, strict=True) if total)
    counts = [(g, [total[g] for total in totals]) for g in order]
    left_out = max(len(order) - GROUPS_SHOWN, 0)
    return {"column": column, "tables": tables, "counts": counts, "left_out": left_out}


def _leader(labels: Sequence[str], values: Sequence[float | None], metric: MetricSpec) -> str:
    order = sorted(zip(labels, (v for v in values if v is not None), strict=True), key=lambda x: -x[1])
    # Values that print the same count as equal: a reader cannot see which is better.
    shown = [(label, number(value, metric.digits - 1)) for label, value in order]
    best = shown[0][1]
    first = [label for label, value in shown if value == best]
    if len(first) == len(shown):
        return f"By {metric.heading} the arms are equal ({best})."
    others = ", ".join(f"{label} {value}" for label, value in shown[len(first) :])
    if len(first) > 1:
        return f"By {metric.heading} the highest value, {best}, is shared by {' and '.join(first)}, against {others}."
    return f"By {metric.heading} {first[0]} did better: {best}, against {others}."
