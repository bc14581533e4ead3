"""An audit's numbers in sentences, which never say more than the interval."""

from __future__ import annotations

from duelist.audit.comparison import Difference

ACTIVE_RUN = (
    "The labels compared are a sample of what the rule chose in the whole study, with a model that learned from all of "
    "them. A study with that many labels would have chosen others, so this is no estimate of a smaller active study, "
    "nor of the labels that active choice saves: that needs `duelist compare`."
)


def verdict(rule: str, trained_on: float, active: int, accuracy: Difference, log_loss: Difference) -> tuple[str, ...]:
    """Return what an audit says.

    Args:
        rule: the rule's name.
        trained_on: labels of each model.
        active: labels that the rule chose, in all.
        accuracy: accuracy on held-out control pairs.
        log_loss: log-loss there, in nats; lower is better.
    """
    points = f"{100 * accuracy.low:+.0f} to {100 * accuracy.high:+.0f} points"
    if not accuracy.is_told:
        first = (
            f"On this data it cannot be told whether labels that {rule} chose teach more or less than random ones: "
            f"the difference in accuracy is between {points}."
        )
    else:
        more = "more" if accuracy.difference > 0 else "less"
        first = f"Labels that {rule} chose taught {more} than as many random ones: {points} of accuracy."
    nats = f"{log_loss.low:+.3f} to {log_loss.high:+.3f} nats"
    less = "lower" if log_loss.difference < 0 else "higher"
    second = f"Their log-loss was {less} ({nats})." if log_loss.is_told else f"Their log-loss differs by {nats}."
    third = f"Each model was trained on {trained_on:.0f} labels, of {active} that {rule} chose."
    return first, second, third, ACTIVE_RUN
