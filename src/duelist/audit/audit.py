"""Audit of a study: what a label that the rule chose was worth beside a random one, by its own control slice."""

from __future__ import annotations

from pathlib import Path

from duelist.audit.comparison import REPEATS, cross_fitted, number_of_folds
from duelist.audit.features import response_vectors
from duelist.audit.head import pair_rows
from duelist.audit.labels import audit_labels, require_both_kinds
from duelist.audit.power import power
from duelist.audit.result import Audit, write_audit
from duelist.audit.words import verdict
from duelist.errors import DataError
from duelist.progress import Progress
from duelist.report.record import read_arm
from duelist.seeding import generator


def audit_study(
    folder: Path,
    progress: Progress,
    *,
    embeddings: Path | None = None,
    lengths_alone: bool = False,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Audit:
    """Compare heads trained on equally many active and random labels, and keep the result in the study's folder.

    The study may be running: its record is read without its lock.

    Args:
        folder: the study's folder.
        progress: receives the number of embedded responses.
        embeddings: a file of embeddings; by default what the study has (`features.response_vectors`).
        lengths_alone: use no vectors, only the lengths of the responses.
        repeats: how often the prompts are divided into folds.
        seed: the only source of randomness.

    Raises:
        DataError: if there are too few decided pairs of one kind.
    """
    if repeats < 1:
        raise DataError(f"`1 <= repeats` must hold, but got {repeats}: raise it.")
    arm = read_arm(folder)
    labels = audit_labels(arm)
    require_both_kinds(labels, folder)
    questions, vectors, words = labels.questions, None, "their lengths alone"
    if not lengths_alone:
        responses = [r for q in questions for r in q.responses]
        vectors, words = response_vectors(folder, arm.recipe, arm.prompts, responses, embeddings, progress)
        words += ", with their lengths"
    first, second = (None, None) if vectors is None else (vectors[::2], vectors[1::2])
    rows_XD = pair_rows(questions, first, second)
    split = (labels.share_X, labels.control_X, labels.weight_X, labels.groups_X2)
    found = cross_fitted(rows_XD, *split, repeats, generator(seed, "audit"))
    folds = number_of_folds(labels.groups_X2, labels.control_X)
    audit = Audit(
        arm.label,
        labels.control,
        labels.active,
        labels.digest,
        words,
        power(labels.control, folds, repeats),
        found.trained_on,
        found.splits,
        found.left_out,
        found.accuracy,
        found.log_loss,
        verdict(arm.label, labels.active, found),
    )
    write_audit(folder, audit)
    return audit
