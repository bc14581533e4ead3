"""The audit as a section of a study's report: words and numbers, read from files, without a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from duelist.audit.comparison import REPEATS, Difference, number_of_folds
from duelist.audit.labels import FEWEST, audit_labels
from duelist.audit.power import power
from duelist.audit.result import read_audit
from duelist.report.record import read_arm


@dataclass(frozen=True)
class AuditRow:
    """One number of both models, with the interval of their difference, as text.

    Attributes:
        name: what was measured.
        random: of the models trained on random labels.
        active: of those trained on labels that the rule chose.
        difference: active − random.
        interval: its 95 % interval.
    """

    name: str
    random: str
    active: str
    difference: str
    interval: str


@dataclass(frozen=True)
class AuditSection:
    """What a report says about the worth of active labels.

    Attributes:
        title: heading of the section.
        sentences: what is known, one after the other.
        rows: the numbers; empty before an audit.
    """

    title: str
    sentences: tuple[str, ...]
    rows: tuple[AuditRow, ...] = ()


TITLE = "Active labels beside random ones"


def report_section(folder: Path) -> AuditSection | None:
    """Return the section about a study's audit; None for a study without a control slice, or of a random rule.

    Before `duelist audit`, it says what one could see. After it, it says what it found, and whether labels have come
    or changed since.

    Args:
        folder: the study's folder.

    Raises:
        StorageError: if there is no study in it.
    """
    arm = read_arm(folder)
    if not any(x.control for x in arm.asked) or all(x.control for x in arm.asked):
        return None
    labels = audit_labels(arm)
    found = read_audit(folder)
    if found is None:
        enough = min(labels.control, labels.active) >= FEWEST
        so_far = (
            f"The study has {labels.control} decided pairs that were drawn at random and {labels.active} that "
            f"{arm.label} chose."
        )
        remedy = "Run `duelist audit` on it." if enough else f"An audit needs {FEWEST} of each."
        folds = number_of_folds(labels.groups_X2, labels.control_X)
        return AuditSection(TITLE, (so_far, power(labels.control, folds, REPEATS).words, remedy))
    sentences = (found.power.words, *found.verdict, f"The models see {found.features}.")
    if found.labels != labels.digest:
        sentences += ("Labels have come or changed since this audit: run `duelist audit` again.",)
    rows = (_row("accuracy", found.accuracy), _row("log-loss in nats", found.log_loss))
    return AuditSection(TITLE, sentences, rows)


def _row(name: str, d: Difference) -> AuditRow:
    return AuditRow(
        name, f"{d.random:.3f}", f"{d.active:.3f}", f"{d.difference:+.3f}", f"{d.low:+.3f} to {d.high:+.3f}"
    )
