"""An audit's numbers in sentences, which never say more than the intervals."""

from __future__ import annotations

from duelist.audit.comparison import FEWEST_TESTED, FEWEST_TRAINED, CrossFitted

ACTIVE_RUN = (
    "The labels compared are a sample of what the rule chose in the whole study, with a model that learned from all of "
    "them. A study with that many labels would have chosen others, so this is no estimate of a smaller active study, "
    "nor of the labels that active choice saves: that needs `duelist compare`."
)
TWO_TESTS = (
    "These are two tests at 5 % each: where there is no difference, at least one of them still sees one in up to 10 % "
    "of studies."
)


def verdict(rule: str, active: int, found: CrossFitted) -> tuple[str, ...]:
    """Return what an audit says.

    Args:
        rule: the rule's name.
        active: labels that the rule chose, in all.
        found: the numbers.
    """
    accuracy, log_loss = found.accuracy, found.log_loss
    points = f"{100 * accuracy.low:+.0f} to {100 * accuracy.high:+.0f} points"
    nats = f"{log_loss.low:+.3f} to {log_loss.high:+.3f} nats"
    said = [
        _told(rule, "accuracy", points, accuracy.is_told, accuracy.difference > 0),
        _told(rule, "log-loss, of which less is better", nats, log_loss.is_told, log_loss.difference < 0),
        TWO_TESTS,
        f"Each model was trained on {found.trained_on:.0f} labels, of {active} that {rule} chose.",
    ]
    if found.left_out:
        said.append(
            f"{found.left_out} of {found.left_out + found.splits} folds were left out, because they had fewer than "
            f"{FEWEST_TESTED} pairs to test on or {FEWEST_TRAINED} labels of each kind to train on."
        )
    return (*said, ACTIVE_RUN)


def _told(rule: str, metric: str, interval: str, is_told: bool, more: bool) -> str:
    if not is_told:
        return (
            f"In {metric}, it cannot be told whether labels that {rule} chose teach more or less than as many random "
            f"ones: {interval}."
        )
    taught = "more" if more else "less"
    return f"In {metric}, labels that {rule} chose taught {taught} than as many random ones: {interval}."
