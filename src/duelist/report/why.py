"""Why a study asked what it asked, in sentences: the rule, its certificate and the questions drawn at random."""

from __future__ import annotations

from duelist.evaluation.metrics import finite
from duelist.recipe.values import name_of
from duelist.report import described
from duelist.report.formats import count, few_digits
from duelist.report.record import Arm


def why(arm: Arm) -> list[str]:
    """Return the sentences; none before anything is asked."""
    if not arm.asked:
        return []
    summary = described.rule_summary(name_of(arm.recipe, "acquisition"))
    sentences = [f"The rule is {described.rule(arm)}. {summary}".strip()]
    asks = described.noun(arm)
    at_random = min(int(arm.recipe.get("initial_random") or 0), len(arm.asked))
    if at_random:
        sentences.append(f"The first {count(at_random, asks)} came at random, before the rule began.")
    control = sum(bool(x.control) for x in arm.asked) - at_random  # those before the rule are control pairs too
    if arm.recipe.get("control_fraction") and control > 0:
        sentences.append(f"{count(control, asks)} came at random beside the rule's, as a control slice.")
    latest = max((s for s in arm.stages if s.name == "select"), key=lambda s: s.round, default=None)
    percent = None if latest is None else finite(latest.info.get("within_percent_of_optimum"))
    if percent is not None:
        sentences.append(f"The last batch is within {few_digits(percent)} % of the best batch possible (D-efficiency).")
    return [" ".join(sentences)]
