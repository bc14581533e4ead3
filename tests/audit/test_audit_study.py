"""An audit of a study: which labels it compares, what it writes and says, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import audit_world
from duelist.audit import report_section
from duelist.audit.audit import audit_study
from duelist.audit.labels import audit_labels
from duelist.audit.result import FILE, read_audit
from duelist.audit.words import verdict
from duelist.choice_models.levelled_risk import lure_weights
from duelist.cli import report
from duelist.errors import DataError
from duelist.models.embeddings.cache import keep_vectors
from duelist.models.embeddings.files import embedding_id, write_embeddings
from duelist.progress import Silent
from duelist.report.record import read_arm
from duelist.store.store import Store
from duelist.types import Label


def audited(folder: Path, **options: Any) -> Any:
    return audit_study(folder, Silent(), **({"lengths_alone": True, "repeats": 2} | options))


def test_an_audit_and_its_section(tmp_path: Path) -> None:
    batch = audit_world.make(tmp_path)
    before = report_section(tmp_path)
    assert before is not None and not before.rows
    assert "16 decided pairs that were drawn at random and 32 that activedpo chose" in before.sentences[0]
    assert "With 16 control labels the 95 % interval will be about ±40 points" in before.sentences[1]
    assert before.sentences[2] == "Run `duelist audit` on it."

    found = audited(tmp_path)
    assert (found.control, found.active, found.rule) == (16, 32, "activedpo")
    assert found.features == "their lengths alone" and found.splits == 10
    assert read_audit(tmp_path) == found
    after = report_section(tmp_path)
    assert after is not None and [r.name for r in after.rows] == ["accuracy", "log-loss in nats"]
    assert after.sentences[0] == found.power.words and any("no estimate of a smaller" in s for s in after.sentences)
    assert after.rows[0].random == f"{found.accuracy.random:.3f}"
    assert not any("again" in s for s in after.sentences)
    (shown,) = report.audited(tmp_path)  # in the study's report
    assert shown.table is not None and [row[0] for row in shown.table.rows] == ["accuracy", "log-loss in nats"]

    # A label that was corrected leaves the counts as they are.
    other = "b" if audit_world.winner(batch[0]) == "a" else "a"
    store = Store(tmp_path)
    store.add_answers([Label(batch[0].question.id, "ann", other, adjudicates=True)])
    store.close()
    later = report_section(tmp_path)
    assert later is not None and "changed since this audit: run `duelist audit` again" in later.sentences[-1]
    assert (audited(tmp_path).control, read_audit(tmp_path).labels) == (16, audit_labels(read_arm(tmp_path)).digest)
    (tmp_path / FILE).write_text('{"of": "another version"}')
    assert read_audit(tmp_path) is None


def test_the_labels_that_count(tmp_path: Path) -> None:
    """Control pairs, and the rule's certain picks; a rest of the random order is neither, and a tie says nothing."""
    batch = audit_world.asked(6)
    rest = [x.question.id for x in batch[5::6]]
    odd = [*(x if x.question.id not in rest else vary(x, inclusion=0.2, control=False) for x in batch)]
    import made_by_hand

    made_by_hand.make_study(tmp_path, odd, audit_world.PROMPTS, acquisition={"name": "activedpo"})
    store = Store(tmp_path)
    store.add_answers([Label(x.question.id, "ann", audit_world.winner(x)) for x in odd[2:]])
    store.add_answers([Label(odd[0].question.id, "ann", "tie"), Label(odd[2].question.id, "bob", "skip")])
    against: Any = "b" if audit_world.winner(odd[3]) == "a" else "a"
    store.add_answers([Label(odd[3].question.id, "bob", against)])  # one against one
    store.close()
    labels = audit_labels(read_arm(tmp_path))
    ids = [q.id for q in labels.questions]
    assert not set(ids) & {*rest, odd[0].question.id, odd[1].question.id, odd[3].question.id}
    assert len(ids) == 48 - 8 - 3 and labels.control == 14
    wins = [audit_world.winner(x) == "a" for x in odd if x.question.id in ids]
    assert (labels.share_X == wins).all() and (labels.weight_X == 1).all()


@pytest.mark.parametrize("weights", ["lure", "equal"])
def test_draws_by_gain_count_with_the_weights_that_the_study_trains_with(weights: str, tmp_path: Path) -> None:
    batch = audit_world.asked(6, inclusion=None)
    q_M = np.random.default_rng(0).uniform(0.005, 0.03, len(batch))
    left_M = 100 - np.arange(len(batch))
    drawn = [vary(x, propensity=float(q), candidates_left=int(n)) for x, q, n in zip(batch, q_M, left_M, strict=True)]
    import made_by_hand

    made_by_hand.make_study(
        tmp_path, drawn, audit_world.PROMPTS, acquisition={"name": "v_opt", "lure": {"weights": weights}}
    )
    store = Store(tmp_path)
    store.add_answers([Label(x.question.id, "ann", "a") for x in drawn])
    store.close()
    labels = audit_labels(read_arm(tmp_path))
    expected = lure_weights(q_M, left_M) if weights == "lure" else np.ones(len(batch))
    assert labels.weight_X == pytest.approx(expected) and labels.active == 32


def test_vectors_come_from_a_file_or_from_the_study(tmp_path: Path) -> None:
    batch = audit_world.make(tmp_path / "study")
    responses = [r for x in batch for r in x.question.responses]
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(responses), 3)) + [[3.0 * r.text.startswith("yes"), 0, 0] for r in responses]
    texts = {p.id: p.as_trl() for p in audit_world.PROMPTS}
    write_embeddings(tmp_path / "own.npz", [embedding_id(texts[r.prompt_id], r.text) for r in responses], vectors)
    of_file = audited(tmp_path / "study", lengths_alone=False, embeddings=tmp_path / "own.npz")
    assert of_file.features == "the vectors of own.npz, with their lengths" and of_file.accuracy.random > 0.9
    keep_vectors(tmp_path / "study/embeddings/featurizer", [r.id for r in responses], vectors.astype(np.float32))
    of_study = audited(tmp_path / "study", lengths_alone=False)
    assert of_study.features == "the study's own vectors (featurizer), with their lengths"
    assert of_study.accuracy.random == pytest.approx(of_file.accuracy.random, abs=0.02)


def test_too_few_labels_are_refused_with_the_remedy(tmp_path: Path) -> None:
    audit_world.make(tmp_path / "none", control=False, inclusion=1.0)
    assert report_section(tmp_path / "none") is None
    with pytest.raises(DataError, match=r"10 decided control pairs.*has 0: .*control_fraction: 0.1"):
        audited(tmp_path / "none")
    audit_world.make(tmp_path / "random", control=True, inclusion=0.5)
    with pytest.raises(DataError, match=r"that the rule chose, but .* has 0.*acquisition is not `random`"):
        audited(tmp_path / "random")
    audit_world.make(tmp_path / "few", 3)
    early = report_section(tmp_path / "few")
    assert early is not None and early.sentences[-1] == "An audit needs 10 of each."
    with pytest.raises(DataError, match="1 <= repeats"):
        audited(tmp_path / "few", repeats=0)


def test_the_verdict_says_no_more_than_the_interval_of_each_metric() -> None:
    from duelist.audit.comparison import CrossFitted, Difference

    open_ = Difference(0.7, 0.75, 0.05, -0.1, 0.2)
    better, worse = Difference(0.7, 0.8, 0.1, 0.02, 0.18), Difference(0.7, 0.6, -0.1, -0.18, -0.02)
    lower = Difference(0.6, 0.5, -0.1, -0.2, -0.05)

    def told(accuracy: Difference, log_loss: Difference, left_out: int = 0) -> tuple[str, ...]:
        return verdict("v_opt", 90, CrossFitted(32, 20, left_out, accuracy, log_loss))

    first, second, both, trained, last = told(open_, open_)
    assert first.startswith("In accuracy, it cannot be told") and "-10 to +20 points" in first
    assert second.startswith("In log-loss, of which less is better, it cannot be told") and "+0.200 nats" in second
    assert "two tests at 5 % each" in both and "trained on 32 labels, of 90" in trained and "no estimate" in last
    # One metric says something, the other nothing: no sentence says more than its own.
    first, second, *_ = told(open_, lower)
    assert (
        first.startswith("In accuracy, it cannot be told")
        and "less is better, labels that v_opt chose taught more" in second
    )
    first, second, *_ = told(worse, better)
    assert "In accuracy, labels that v_opt chose taught less" in first and "taught less" in second
    assert "taught more" in told(better, lower)[0]
    assert "4 of 24 folds were left out" in told(open_, open_, 4)[4]


def vary(x: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(x, **changes)
