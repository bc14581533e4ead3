"""The result of an audit, and its file `audit.json` in the study's folder: no part of the record, it may be deleted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from duelist.audit.comparison import Difference
from duelist.audit.power import Power
from duelist.store.artifacts import write_json

FILE = "audit.json"


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Attributes:
        rule: the acquisition's name.
        control: number of decided control pairs.
        active: number of decided pairs that the rule chose.
        labels: name of the decided pairs and their labels (`AuditLabels.digest`).
        features: what the models see, in words.
        power: what so many pairs can see, known beforehand.
        trained_on: mean number of labels of each model.
        splits: number of pairs of models.
        left_out: number of folds with too few labels.
        accuracy: accuracy on held-out control pairs.
        log_loss: log-loss there, in nats.
        verdict: what the numbers say, in sentences.
    """

    rule: str
    control: int
    active: int
    labels: str
    features: str
    power: Power
    trained_on: float
    splits: int
    left_out: int
    accuracy: Difference
    log_loss: Difference
    verdict: tuple[str, ...]


def write_audit(folder: Path, audit: Audit) -> None:
    """Write an audit beside the study's record."""
    write_json(folder / FILE, asdict(audit))


def read_audit(folder: Path) -> Audit | None:
    """Return the last audit of a study; None if there is none, or an earlier version wrote another form."""
    try:
        return TypeAdapter(Audit).validate_json((folder / FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
