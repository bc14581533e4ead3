"""Online mode: a round is one optimizer step; weights between checkpoints are replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from duelist import Label, Study, parse_recipe
from duelist.errors import RecipeError
from duelist.preflight.examination import examine
from duelist.report.page import write_report
from duelist.report.status import status
from duelist.seeding import derived_seed
from duelist.store import codecs
from duelist.store.artifacts import read_jsonl
from outcomes import require_equal


@pytest.fixture
def online(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    train = {"learning_rate": 1.0e-2, "per_device_train_batch_size": 4, "lr_scheduler_type": "cosine"}
    trainer = {"name": "dpo", "accumulate": "round", "train": train}
    prompts = {**tiny_recipe["prompts"], "per_round": 4, "held_out": 3}
    return {
        **tiny_recipe, "online": True, "rounds": 7, "budget": 3, "checkpoint_every": 3, "trainer": trainer,
        "prompts": prompts, "acquisition": {"name": "random"},
    }  # fmt: skip


def weights(study: Study, t: int) -> dict[str, torch.Tensor]:
    policy = study.stages._learner.models(t).policy_for("a test")
    trained = "lora_" if study.recipe.policy.adapter == "lora" else ""
    return {n: p.detach().clone() for n, p in policy.model.named_parameters() if trained in n}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.full
def test_weights_and_metrics_and_the_files_that_users_read_are_those_of_checkpoints(
    online: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    with Study.create(folder, parse_recipe(online)) as study:
        for _ in range(5):
            study.tell(study.stages.components.annotator.annotate(study.ask(), 0, study.progress))
            study.update()
        weights_file = "adapter_model.safetensors"
        assert len(read_jsonl(folder / "metrics.jsonl")) == 4 and len(study.store.metrics()) == 6
        assert (folder / "adapter" / weights_file).read_bytes() == (study.folder.trained(3) / weights_file).read_bytes()
        assert status(folder)["rounds_closed"] == 5 and status(folder)["metrics"]["round"] == 3
        study.run()
        of_rounds = {t: {s.name for s in study.store.stages() if s.round == t} for t in range(8)}
        assert [t for t in range(8) if "train" in of_rounds[t]] == [0, 3, 6, 7]
        assert [t for t in range(8) if "evaluate" in of_rounds[t]] == [0, 3, 6, 7]
        assert [t for t in range(8) if "step" in of_rounds[t]] == list(range(1, 8))
        assert [m["labels"] for m in study.store.metrics()] == [3 * t for t in range(8)]
    lines = read_jsonl(folder / "metrics.jsonl")
    assert [m["round"] for m in lines if m.get("kl") is not None] == [0, 3, 6, 7] and lines[3]["kl"] != 0
    page = write_report(folder).read_text("utf-8")
    assert "Finished: 7 of 7 rounds closed" in page
    assert status(folder)["metrics"]["round"] == 7


@pytest.mark.full
def test_a_policy_between_checkpoints_is_replayed_to_the_bit(online: dict[str, Any], tmp_path: Path) -> None:
    found = {}
    with Study.create(tmp_path / "study", parse_recipe(online)) as study:
        for t in range(1, 6):
            study.tell(study.stages.components.annotator.annotate(study.ask(), 0, study.progress))
            study.update()
            found[t] = weights(study, t)
        assert not same(found[4], found[5])
        for t in (2, 5, 4, 1, 3):  # backwards, and over a checkpoint
            assert same(weights(study, t), found[t]), t
    with Study.open(tmp_path / "study") as study:
        assert same(weights(study, 5), found[5])


@pytest.mark.full
def test_all_parameters_are_replayed_to_the_bit_too(online: dict[str, Any], tmp_path: Path) -> None:
    policy = {"model": online["policy"]["model"], "adapter": "none"}
    soft = {**online["trainer"], "ties": "half"}
    recipe = parse_recipe({**online, "annotator": None, "policy": policy, "trainer": soft, "checkpoint_every": 2})
    with Study.create(tmp_path / "study", recipe) as study:
        for t in (1, 2, 3):
            pairs = study.ask().pairs
            study.tell([Label(p.id, "ann", o) for p, o in zip(pairs, ("a", "b", "tie"), strict=True)])  # type: ignore[arg-type]
            assert study.update().training["preferences"] == 3, t
        found = weights(study, 3)
        assert not same(found, weights(study, 2))
    with Study.open(tmp_path / "study") as study:
        assert same(weights(study, 3), found)


def test_a_label_that_comes_late_does_not_change_what_a_step_was_taken_on(
    online: dict[str, Any], tmp_path: Path
) -> None:
    with Study.create(tmp_path / "study", parse_recipe({**online, "annotator": None})) as study:
        first = study.ask()
        study.tell([Label(p.id, "ann", "a", time="2026-01-01T10:00:00+00:00") for p in first.pairs[:2]])
        assert study.update(allow_partial=True).training["preferences"] == 2
        before = weights(study, 1)
    with Study.open(tmp_path / "study") as study:
        study.tell([Label(first.pairs[2].id, "ann", "a")])
        study.tell([Label(first.pairs[0].id, "ann", "b", time="2026-01-02T10:00:00+00:00")])  # a change of mind
        assert same(weights(study, 1), before)


def test_a_round_without_a_preference_takes_no_step(online: dict[str, Any], tmp_path: Path) -> None:
    with Study.create(tmp_path / "study", parse_recipe({**online, "annotator": None})) as study:
        batch = study.ask()
        study.tell([Label(p.id, "ann", "tie") for p in batch.pairs])
        assert study.update().training == {"preferences": 0.0}
        assert same(weights(study, 1), weights(study, 0))


def test_a_step_that_could_not_be_recorded_is_not_taken_twice(
    online: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full after the step: the same process tries again."""
    recipe = parse_recipe({**online, "rounds": 2})
    with Study.create(tmp_path / "undisturbed", recipe) as study:
        study.run()
    with Study.create(tmp_path / "study", recipe) as study:
        study.tell(study.stages.components.annotator.annotate(study.ask(), 0, study.progress))
        finish = study.folder._finish

        def fail(round: int, name: str, *rest: Any) -> None:
            raise OSError("no space")

        monkeypatch.setattr(study.folder, "_finish", fail)
        with pytest.raises(OSError, match="no space"):
            study.update()
        monkeypatch.setattr(study.folder, "_finish", finish)
        study.run()
    adapters = [(tmp_path / n / "adapter" / "adapter_model.safetensors").read_bytes() for n in ("study", "undisturbed")]
    assert adapters[0] == adapters[1]


def test_it_stops_by_the_rule_and_keeps_the_last_weights(online: dict[str, Any], tmp_path: Path) -> None:
    rule = {"acquisition": {"name": "activedpo"}, "stop": {"below_nats": 100.0}}
    with Study.create(tmp_path / "study", parse_recipe({**online, **rule})) as study:
        study.run()
        assert study.round == 2 and study.folder.stage(1, "train") is not None
        assert "kl" in study.store.metrics()[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trainer": {"name": "dpo"}}, "`trainer.accumulate` must be `round`, but is `all`"),
        ({"trainer": {"name": "dpo", "accumulate": "round", "reference": "previous"}}, "`trainer.reference` must be"),
        (
            {"trainer": {"name": "dpo", "accumulate": "round", "train": {"num_train_epochs": 2}}},
            "`trainer.train.num_train_epochs` says how many to take",
        ),
        ({"trainer": {"name": "rlhf"}}, "needs a trainer that takes single steps, but rlhf"),
    ],
)
def test_what_contradicts_one_step_a_round_is_refused(online: dict[str, Any], change: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        examine(parse_recipe({**online, **change}))


def test_epochs_are_for_the_labelled_start_alone(online: dict[str, Any], tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.jsonl"
    labelled.write_text('{"prompt": "w1 ", "chosen": "w2", "rejected": "w3"}\n', encoding="utf-8")
    online["trainer"]["train"]["num_train_epochs"] = 3
    start = {"initial": {"labelled": str(labelled)}}
    with Study.create(tmp_path / "study", parse_recipe({**online, **start, "rounds": 2})) as study:
        study.run()
        first = study.folder.stage(0, "train")
        assert first is not None and first.info["optimizer_steps"] == 3
        steps = [study.folder.read(t, "step", codecs.STEP)["info"] for t in (1, 2)]
        assert [info["optimizer_steps"] for info in steps] == [1, 1]


def test_checkpoints_are_for_online_studies(tiny_recipe: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="`checkpoint_every` is for `online: true`"):
        parse_recipe({**tiny_recipe, "checkpoint_every": 5})


@pytest.mark.full
def test_evaluation_every_so_many_rounds_in_iterative_mode(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = {**tiny_recipe, "rounds": 5, "budget": 2, "evaluation": {**tiny_recipe["evaluation"], "every": 2}}
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.run()
    lines = read_jsonl(tmp_path / "study" / "metrics.jsonl")
    assert [m["round"] for m in lines if "kl" in m] == [0, 2, 4, 5] and len(lines) == 6


@pytest.mark.full
def test_pilaf_online_opened_anew_every_round_equals_one_run(online: dict[str, Any], tmp_path: Path) -> None:
    """Every opening replays the steps since the checkpoint; PILAF's draws depend on all the policy's logits."""
    sampler = {"name": "pilaf", "pairs_per_prompt": 1, "max_new_tokens": 6}
    recipe = parse_recipe({**online, "rounds": 5, "sampler": sampler, "pairing": "as_drawn"})
    with Study.create(tmp_path / "one", recipe) as study:
        study.run()
    Study.create(tmp_path / "other", recipe).close()
    for _ in range(5):
        with Study.open(tmp_path / "other") as study:
            study.tell(
                study.stages.components.annotator.annotate(study.ask(), derived_seed(0, "annotate"), study.progress)
            )
            study.update()
    require_equal(tmp_path / "other", tmp_path / "one")
